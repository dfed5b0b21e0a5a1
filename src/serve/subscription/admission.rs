//! Who may open a stream now: caps and rates that turn a storm of reconnects into a queue.
//!
//! A refusal costs next to nothing, comes before anybody is asked who it is, and says when to come back. Full transfers
//! take turns; kills never wait for one. The limits are of this process, not of a caller.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How long a look at the process's memory counts.
const MEMORY_LOOK: Duration = Duration::from_millis(250);
/// Refused clients come back after one to this many seconds.
const COME_BACK_WITHIN: u64 = 10;
/// The share of a cgroup's memory up to which streams are taken, in percent.
const CGROUP_SHARE: u64 = 85;

/// What may be open.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// False: no stream is taken at all.
    pub enabled: bool,
    /// Streams at once.
    pub streams: usize,
    /// Streams that are taken in a second; twice as many at once after a quiet time.
    pub per_second: u32,
    /// Full transfers at once.
    pub transfers: usize,
    /// Bytes of memory beyond which no stream is taken; none: 85 % of the cgroup's limit, if it has one.
    pub memory: Option<u64>,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self { enabled: true, streams: 60_000, per_second: 5_000, transfers: 32, memory: None }
    }
}

/// Why a stream was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// Streams are switched off.
    Disabled,
    /// There are too many.
    Full,
    /// Too many came at once.
    Rate,
    /// The process has too little memory left.
    Memory,
}

impl Why {
    /// The word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Full => "full",
            Self::Rate => "rate",
            Self::Memory => "memory",
        }
    }

    /// In words for people.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Disabled => {
                "subscriptions are switched off on this server: poll GET /v1/kills and evaluate by request"
            }
            Self::Full => "the server has as many subscriptions as it takes",
            Self::Rate => "too many subscriptions are being opened at once",
            Self::Memory => "the server is short of memory",
        }
    }
}

/// A stream that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: Why,
    /// When to come back: spread over some seconds, so that those who were refused do not come back as one.
    pub retry_after: Duration,
}

/// The admission of one server.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    open: AtomicUsize,
    refusals: AtomicU64,
    bucket: Mutex<Bucket>,
    transfers: Arc<Semaphore>,
    memory: Memory,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// A stream's place; dropping it gives it back.
#[derive(Debug)]
pub struct Ticket(Arc<Admission>);

impl Admission {
    /// Nobody is there yet.
    pub fn new(limits: AdmissionLimits) -> Self {
        let bucket = Bucket { tokens: f64::from(limits.per_second) * 2.0, at: Instant::now() };
        Self {
            open: AtomicUsize::new(0),
            refusals: AtomicU64::new(0),
            bucket: Mutex::new(bucket),
            transfers: Arc::new(Semaphore::new(limits.transfers.max(1))),
            memory: Memory::new(limits.memory),
            limits,
        }
    }

    /// Takes in a stream.
    ///
    /// # Errors
    /// Not now.
    pub fn enter(self: &Arc<Self>) -> Result<Ticket, Refused> {
        let refused = |why| Err(Refused { why, retry_after: self.come_back() });
        if !self.limits.enabled {
            return refused(Why::Disabled);
        }
        if self.memory.is_short() {
            return refused(Why::Memory);
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limits.streams {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return refused(Why::Full);
        }
        let ticket = Ticket(Arc::clone(self));
        if self.spend() { Ok(ticket) } else { refused(Why::Rate) }
    }

    /// Waits for a turn to send everything to one client.
    pub async fn transfer(self: Arc<Self>) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.transfers).acquire_owned().await.ok()
    }

    fn spend(&self) -> bool {
        let rate = f64::from(self.limits.per_second);
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let earned = now.duration_since(bucket.at).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + earned).min(rate * 2.0);
        bucket.at = now;
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }

    fn come_back(&self) -> Duration {
        // Weyl's sequence: evenly spread, whatever the number.
        let number = self.refusals.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Duration::from_millis(1_000 + (number >> 32) % ((COME_BACK_WITHIN - 1) * 1_000))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The process's memory, looked at a few times a second at most.
#[derive(Debug)]
struct Memory {
    limit: Option<u64>,
    short: AtomicBool,
    looked: Mutex<Option<Instant>>,
}

impl Memory {
    fn new(limit: Option<u64>) -> Self {
        let limit = limit.or_else(|| Some(cgroup_limit()? / 100 * CGROUP_SHARE));
        Self { limit, short: AtomicBool::new(false), looked: Mutex::new(None) }
    }

    fn is_short(&self) -> bool {
        let Some(limit) = self.limit else { return false };
        if let Ok(mut looked) = self.looked.try_lock()
            && looked.is_none_or(|at| at.elapsed() > MEMORY_LOOK)
        {
            *looked = Some(Instant::now());
            self.short.store(resident().is_some_and(|bytes| bytes > limit), Ordering::Relaxed);
        }
        self.short.load(Ordering::Relaxed)
    }
}

/// Bytes of this process in memory; none where the system does not say.
pub fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The memory limit of the cgroup that the process is in, version 2 or 1; none where there is none.
fn cgroup_limit() -> Option<u64> {
    let read = |path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit: u64 =
        read("/sys/fs/cgroup/memory.max").or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))?;
    // Version 1 writes a number near 2^63 for none.
    (limit < 1 << 60).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(limits: AdmissionLimits) -> Arc<Admission> {
        Arc::new(Admission::new(limits))
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_let_in_at_its_rate_and_the_rest_is_told_when_to_come_back() {
        let admission = admission(AdmissionLimits { per_second: 10, ..AdmissionLimits::default() });
        let mut tickets: Vec<Ticket> = std::iter::from_fn(|| admission.enter().ok()).collect();
        assert_eq!(tickets.len(), 20, "two seconds' worth at once");
        let refused: Vec<Refused> = (0..100).map(|_| admission.enter().expect_err("the rate")).collect();
        assert!(refused.iter().all(|refused| refused.why == Why::Rate));
        let seconds: std::collections::BTreeSet<u64> = refused.iter().map(|one| one.retry_after.as_secs()).collect();
        assert!(seconds.len() > 6 && seconds.iter().all(|at| (1..10).contains(at)), "spread: {seconds:?}");
        tokio::time::advance(Duration::from_millis(500)).await;
        tickets.extend(std::iter::from_fn(|| admission.enter().ok()));
        assert_eq!(tickets.len(), 25, "half a second's worth more");
    }

    #[test]
    fn streams_have_a_cap_and_give_their_place_back() {
        let admission = admission(AdmissionLimits { streams: 2, ..AdmissionLimits::default() });
        let (first, _second) = (admission.enter().unwrap(), admission.enter().unwrap());
        assert_eq!(admission.enter().unwrap_err().why, Why::Full);
        drop(first);
        assert!(admission.enter().is_ok());
    }

    #[test]
    fn nobody_is_let_in_when_memory_is_short_or_streams_are_off() {
        let tight = admission(AdmissionLimits { memory: Some(1), ..AdmissionLimits::default() });
        assert_eq!(tight.enter().unwrap_err().why, Why::Memory);
        let ample = admission(AdmissionLimits { memory: Some(u64::MAX), ..AdmissionLimits::default() });
        assert!(ample.enter().is_ok());
        let off = admission(AdmissionLimits { enabled: false, ..AdmissionLimits::default() });
        assert_eq!(off.enter().unwrap_err().why, Why::Disabled);
    }
}
