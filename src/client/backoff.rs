//! How long to wait before connecting again. Numbers only: who waits, and for what, is `subscription`'s.
//!
//! Full jitter: a wait is drawn between nothing and a cap that doubles with every failure, so that a fleet spreads out.
//! What the server asks for goes before it. There is always a wait, also after a stream that ended well: a proxy that
//! ends streams at once would be hammered otherwise.

use std::time::Duration;

use super::random::Dice;

/// The waits of one client.
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    failures: u32,
    dice: Dice,
}

impl Backoff {
    /// Waits from `base`, which doubles up to `cap`.
    pub fn new(base: Duration, cap: Duration, dice: Dice) -> Self {
        Self { base, cap, failures: 0, dice }
    }

    /// A stream was healthy for long enough: the next wait is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after a connection ended. What the server asked for is kept to exactly.
    pub fn next(&mut self, pushback: Option<Duration>) -> Duration {
        let cap = self.base.saturating_mul(1 << self.failures.min(20)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let drawn = cap.mul_f64(self.dice.share()).max((self.base / 10).min(self.cap));
        pushback.filter(|wait| !wait.is_zero()).unwrap_or(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const CAP: Duration = Duration::from_secs(10);

    #[test]
    fn waits_fill_the_room_below_a_cap_that_doubles() {
        let caps = [1, 2, 4, 8, 10, 10, 10].map(Duration::from_secs);
        let mut longest = [Duration::ZERO; 7];
        for seed in 0..2_000 {
            let mut backoff = Backoff::new(BASE, CAP, Dice::new(xxhash_rust::xxh3::xxh3_64(&u64::to_le_bytes(seed))));
            for (longest, cap) in longest.iter_mut().zip(caps) {
                let wait = backoff.next(None);
                assert!(wait <= cap && wait >= BASE / 10, "{wait:?} of {cap:?}");
                *longest = wait.max(*longest);
            }
        }
        for (longest, cap) in longest.iter().zip(caps) {
            assert!(*longest > cap.mul_f64(0.9), "full jitter reaches {longest:?} of {cap:?}");
        }
    }

    #[test]
    fn what_the_server_asks_for_is_kept_to_and_nothing_is_still_a_wait() {
        let mut backoff = Backoff::new(BASE, CAP, Dice::new(1));
        let asked = Duration::from_millis(61_234);
        assert_eq!(backoff.next(Some(asked)), asked, "also beyond the cap");
        assert!(backoff.next(Some(Duration::ZERO)) >= BASE / 10);
        let waits: Vec<Duration> = (0..100).map(|_| backoff.next(None)).collect();
        assert!(waits.iter().any(|wait| *wait > BASE));
        backoff.reset();
        assert!(backoff.next(None) <= BASE);
    }
}
