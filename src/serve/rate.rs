//! How often one caller may ask: so many requests a second, and a second's worth of them at once.
//!
//! Every caller is one number, the moment until which what it asked keeps it busy (the generic cell rate algorithm), so
//! a caller that paused for a second is like one that never came, and is forgotten. How many callers are kept is
//! capped; beyond the cap strangers share one allowance. Not a defence against a flood of connections, which the accept
//! loop counts.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use crate::access::token::TokenId;
use crate::flag::time::Timestamp;

/// Locks: callers that differ seldom wait for each other.
const SHARDS: usize = 16;
/// Callers per lock: 65,536 in all, a few megabytes.
const CALLERS_MAX: usize = 4096;
/// What callers may ask at once, in nanoseconds of their rate.
const SECOND: i64 = 1_000_000_000;
/// The least time between two searches for callers to forget, so that a flood of strangers costs little.
const SWEEP_PAUSE: i64 = SECOND / 10;

/// Whose requests are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Everybody with this token.
    Token(TokenId),
    /// Everybody without a token at this address.
    Address(IpAddr),
}

impl Caller {
    /// A caller without a token. An IPv6 network of 64 bits is one caller: its owner has all of its addresses.
    pub fn at(peer: Option<IpAddr>) -> Self {
        match peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |address| address.to_canonical()) {
            IpAddr::V6(address) => Self::Address(IpAddr::V6((u128::from(address) >> 64 << 64).into())),
            address @ IpAddr::V4(_) => Self::Address(address),
        }
    }
}

/// A limit of requests per second and caller.
pub struct RateLimit {
    /// How long one request keeps a caller busy, in nanoseconds.
    each: i64,
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

/// Until when, in nanoseconds since 1970, callers are kept busy.
#[derive(Default)]
struct Shard {
    busy: HashMap<Caller, i64>,
    strangers: i64,
    swept: i64,
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("each_nanoseconds", &self.each).finish_non_exhaustive()
    }
}

impl RateLimit {
    /// So many requests per second, at least one.
    pub fn per_second(requests: u32) -> Self {
        let each = SECOND / i64::from(requests.max(1));
        Self { each, shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }

    /// Takes one request from what a caller may ask at `now`.
    ///
    /// # Errors
    /// It may not ask now; the whole seconds after which it may, at least 1.
    pub fn take(&self, caller: Caller, now: Timestamp) -> Result<(), u32> {
        let now = now.micros().saturating_mul(1000);
        #[allow(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let shard = &self.shards[self.hasher.hash_one(caller) as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = shard.slot(caller, now);
        // Nobody is ever busy for more than a second: then the clock was set back.
        let from = if *busy > now.saturating_add(SECOND) { now } else { now.max(*busy) };
        let until = from.saturating_add(self.each);
        let wait = until.saturating_sub(now).saturating_sub(SECOND);
        if wait > 0 {
            return Err(u32::try_from(wait.div_euclid(SECOND) + 1).unwrap_or(u32::MAX));
        }
        *busy = until;
        Ok(())
    }

    /// How many callers are remembered.
    #[cfg(test)]
    fn remembered(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().map_or(0, |shard| shard.busy.len())).sum()
    }
}

impl Shard {
    /// The caller's number; that of all strangers where there is no room for one more.
    fn slot(&mut self, caller: Caller, now: i64) -> &mut i64 {
        let full = self.busy.len() >= CALLERS_MAX && !self.busy.contains_key(&caller);
        if full && now.abs_diff(self.swept) >= SWEEP_PAUSE.unsigned_abs() {
            self.swept = now;
            self.busy.retain(|_, until| now < *until && *until <= now.saturating_add(SECOND));
        }
        if full && self.busy.len() >= CALLERS_MAX {
            return &mut self.strangers;
        }
        self.busy.entry(caller).or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(address: &str) -> Caller {
        Caller::at(Some(address.parse().unwrap()))
    }

    fn milliseconds(count: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + count * 1000)
    }

    #[test]
    fn a_second_s_worth_is_taken_at_once_and_the_rest_in_its_time() {
        let limit = RateLimit::per_second(5);
        let taken = (0..8).filter(|_| limit.take(at("10.0.0.1"), milliseconds(0)).is_ok()).count();
        assert_eq!(taken, 5);
        assert_eq!(limit.take(at("10.0.0.1"), milliseconds(199)), Err(1));
        assert_eq!(limit.take(at("10.0.0.1"), milliseconds(200)), Ok(()));
        assert_eq!(limit.take(at("10.0.0.1"), milliseconds(200)), Err(1));
        let taken = (0..8).filter(|_| limit.take(at("10.0.0.1"), milliseconds(60_000)).is_ok()).count();
        assert_eq!(taken, 5, "a pause saves up no more than a second's worth");
    }

    #[test]
    fn callers_are_counted_apart_and_an_ipv6_network_as_one() {
        let limit = RateLimit::per_second(1);
        let token = Caller::Token(TokenId([7; 8]));
        for (caller, taken) in [
            (at("10.0.0.1"), true),
            (at("10.0.0.2"), true),
            (at("::ffff:10.0.0.2"), false),
            (token, true),
            (token, false),
            (at("2001:db8::1"), true),
            (at("2001:db8::2"), false),
            (at("2001:db8:0:1::1"), true),
            (Caller::at(None), true),
        ] {
            assert_eq!(limit.take(caller, milliseconds(0)).is_ok(), taken, "{caller:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let limit = RateLimit::per_second(1);
        assert!(limit.take(at("10.0.0.1"), milliseconds(3_600_000)).is_ok());
        assert!(limit.take(at("10.0.0.1"), milliseconds(0)).is_ok());
    }

    #[test]
    fn a_flood_of_strangers_is_bounded_limited_and_forgotten() {
        let limit = RateLimit::per_second(1);
        let stranger = |number: u32| Caller::Address(IpAddr::V4(number.into()));
        let taken = (0..200_000).filter(|number| limit.take(stranger(*number), milliseconds(0)).is_ok()).count();
        assert_eq!(limit.remembered(), SHARDS * CALLERS_MAX);
        assert_eq!(taken, SHARDS * CALLERS_MAX + SHARDS, "what has no room shares one allowance for each lock");
        for number in 0..200_000 {
            let _taken_or_not = limit.take(stranger(1_000_000 + number), milliseconds(2_000));
        }
        assert!((0..10).all(|number| limit.take(stranger(number), milliseconds(4_000)).is_ok()), "there is room again");
        assert!(limit.remembered() <= SHARDS * CALLERS_MAX);
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_two_seconds_worth(rate in 1u32..50, steps in prop::collection::vec(0i64..400, 1..200)) {
            let limit = RateLimit::per_second(rate);
            let mut now = 0;
            let mut taken = Vec::new();
            for step in steps {
                now += step;
                match limit.take(at("10.0.0.1"), milliseconds(now)) {
                    Ok(()) => taken.push(now),
                    Err(wait) => {
                        prop_assert!(wait >= 1);
                        prop_assert!(!taken.is_empty(), "the first request is always taken");
                    }
                }
            }
            for start in &taken {
                let within = taken.iter().filter(|at| (*start..*start + 1000).contains(*at)).count();
                prop_assert!(within <= 2 * rate as usize);
            }
        }
    }
}
