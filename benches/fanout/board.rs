//! The board on which clients chalk up what reached them: who is in sync, and when the message of a round came.
//!
//! One thread writes it, so its lock is never waited for. It knows positions and times, not protocols.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde::Serialize;
use tokio::sync::Notify;

use crate::clock;

/// What all clients have seen.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    changed: Notify,
}

/// What is on the board.
#[derive(Debug)]
pub struct State {
    /// Clients that are there, or will be.
    pub expected: usize,
    /// Clients that have everything.
    pub synced: usize,
    /// When the last of them got there.
    pub synced_last: Instant,
    /// The newest position that anybody saw.
    pub newest: u64,
    /// Messages in all.
    pub messages: u64,
    /// Streams that ended.
    pub lost: usize,
    /// Why the first of them did.
    pub why: Option<String>,
    /// What the server asked those to wait whom it sent away.
    pub goodbyes: Vec<u32>,
    round: u32,
    threshold: u64,
    began: Instant,
    times: Vec<u32>,
}

/// What a client keeps of the board.
#[derive(Debug, Default, Clone, Copy)]
pub struct Mark {
    round: u32,
    synced: bool,
}

/// How long the message of a round took, in microseconds.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
pub struct Times {
    /// Half of all clients had it by then.
    pub p50_us: u32,
    /// 99 of 100.
    pub p99_us: u32,
    /// All.
    pub max_us: u32,
}

impl Times {
    /// Of any times; none where there are none.
    pub fn of(mut times: Vec<u32>) -> Option<Self> {
        times.sort_unstable();
        let at = |share: f64| times.get(((times.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
        Some(Self { p50_us: at(0.5)?, p99_us: at(0.99)?, max_us: at(1.0)? })
    }
}

impl Board {
    /// An empty board for this many clients.
    pub fn new(expected: usize) -> Self {
        let now = clock::now();
        let state = State {
            expected,
            synced: 0,
            synced_last: now,
            newest: 0,
            messages: 0,
            lost: 0,
            why: None,
            goodbyes: Vec::new(),
            round: 0,
            threshold: u64::MAX,
            began: now,
            times: Vec::new(),
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// What is on it.
    pub fn read(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a round: it ends when every client has seen something newer than anybody has seen until now.
    pub fn begin(&self) -> Instant {
        let mut state = self.read();
        state.round += 1;
        state.threshold = state.newest + 1;
        state.times = Vec::with_capacity(state.expected);
        state.began = clock::now();
        state.began
    }

    /// A client heard something, whatever it was.
    pub fn heard(&self) {
        self.read().messages += 1;
    }

    /// A client has a message of this position.
    pub fn arrived(&self, mark: &mut Mark, position: u64, at: Instant) {
        let mut state = self.read();
        state.newest = state.newest.max(position);
        if position < state.threshold || mark.round == state.round {
            return;
        }
        mark.round = state.round;
        let time = at.saturating_duration_since(state.began).as_micros();
        state.times.push(u32::try_from(time).unwrap_or(u32::MAX));
        if state.times.len() == state.expected {
            self.changed.notify_one();
        }
    }

    /// A client has everything that there is.
    pub fn synced(&self, mark: &mut Mark, at: Instant) {
        if std::mem::replace(&mut mark.synced, true) {
            return;
        }
        let mut state = self.read();
        state.synced += 1;
        state.synced_last = at;
        if state.synced == state.expected {
            self.changed.notify_one();
        }
    }

    /// A stream is gone, and with it what its client stood for.
    pub fn lost(&self, mark: &mut Mark, why: &str) {
        let mut state = self.read();
        if std::mem::take(&mut mark.synced) {
            state.synced -= 1;
        }
        state.lost += 1;
        state.why.get_or_insert_with(|| why.to_owned());
        self.changed.notify_one();
    }

    /// The server asked a client to come back after this many milliseconds.
    pub fn goodbye(&self, after_ms: u32) {
        self.read().goodbyes.push(after_ms);
    }

    /// Waits for every client of the round.
    pub async fn round(&self, limit: Duration) -> Result<Times> {
        // Who is gone gets no message: there is no point in waiting.
        self.until("the last client's message", limit, |state| state.lost > 0 || state.times.len() >= state.expected)
            .await?;
        let times = std::mem::take(&mut self.read().times);
        match Times::of(times) {
            Some(times) if self.read().lost == 0 => Ok(times),
            _ => bail!("{} streams were lost: {}", self.read().lost, self.read().why.as_deref().unwrap_or("-")),
        }
    }

    /// Waits until everybody has everything.
    pub async fn all_synced(&self, limit: Duration) -> Result<()> {
        self.until("the last client to be in sync", limit, |state| state.synced >= state.expected).await
    }

    /// The same, but whoever is lost is not coming back.
    pub async fn all_there(&self, limit: Duration) -> Result<()> {
        let what = "the last client to be in sync";
        self.until(what, limit, |state| state.lost > 0 || state.synced >= state.expected).await?;
        let state = self.read();
        ensure!(state.lost == 0, "{} streams were lost: {}", state.lost, state.why.as_deref().unwrap_or("-"));
        Ok(())
    }

    async fn until(&self, what: &str, limit: Duration, done: impl Fn(&State) -> bool) -> Result<()> {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if done(&self.read()) {
                    return;
                }
                changed.await;
            }
        };
        let waited = tokio::time::timeout(limit, waiting).await;
        let state = self.read();
        if waited.is_err() {
            bail!(
                "waited {} s for {what}: {} of {} in sync, {} with the message, {} streams lost ({})",
                limit.as_secs(),
                state.synced,
                state.expected,
                state.times.len(),
                state.lost,
                state.why.as_deref().unwrap_or("-")
            );
        }
        Ok(())
    }
}
