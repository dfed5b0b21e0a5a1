//! Randomness: names for processes, and the spread that keeps a fleet from acting as one.

use std::time::Duration;

/// A random name for this process: 32 hexadecimal digits.
pub fn id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A small generator: what counts is the spread among clients, not secrecy.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Default for Dice {
    fn default() -> Self {
        Self::new(getrandom::u64().expect("the operating system gives random bytes"))
    }
}

impl Dice {
    /// A generator that always gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A share from 0 to below 1.
    pub fn share(&mut self) -> f64 {
        // xorshift64, Marsaglia 2003; the upper bits are the better ones.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f64 / f64::from(1_u32 << 24)
    }

    /// A duration, up to a fifth longer or shorter.
    pub fn about(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(0.8 + 0.4 * self.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_lie_where_they_should_and_ids_differ() {
        let mut dice = Dice::new(7);
        let shares: Vec<f64> = (0..10_000).map(|_| dice.share()).collect();
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        let mean = shares.iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        let about = dice.about(Duration::from_secs(10));
        assert!((8.0..=12.0).contains(&about.as_secs_f64()), "{about:?}");
        assert_ne!(id(), id());
        assert_eq!(id().len(), 32);
    }
}
