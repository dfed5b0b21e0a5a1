//! flagd's cohorts: which bytes of a unit are hashed, and where the hash falls among weights.
//!
//! Two generations are in the field and place the same user differently: v2 hashes the text as it is, v3 its
//! deterministic CBOR, so that numbers and objects can be units too. Both share hash and bucket,
//! `bucket = (murmur3_32(bytes) · sum of weights) >> 32`; a unit belongs to the first participant whose weights, summed
//! from the first one on, exceed its bucket. So where the first participant only grows, its users stay.

use super::cbor;
use super::murmur3::Murmur3;

/// The largest weight, and the largest sum of weights, that flagd takes.
pub const WEIGHTS_MAX: u64 = 2_147_483_647;

/// A generation of flagd's `fractional`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FractionalHash {
    /// The UTF-8 of a text: flagd up to 0.16 and the published cores for JavaScript.
    #[default]
    V2,
    /// Deterministic CBOR: the published cores for Python and Rust.
    V3,
}

impl FractionalHash {
    /// Every generation with the word that `metadata.fractionalHash` and the settings use for it.
    pub const ALL: [(&'static str, Self); 2] = [("v2", Self::V2), ("v3", Self::V3)];

    /// The generation of that name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == word).map(|(_, hash)| *hash)
    }

    /// The hash of `flagKey` and `targetingKey`, which is what flagd hashes where a rule does not say by what.
    #[inline]
    pub fn of_key(self, flag_key: &str, targeting_key: &str) -> u32 {
        let mut hasher = Murmur3::default();
        match self {
            Self::V2 => {
                hasher.update(flag_key.as_bytes());
                hasher.update(targeting_key.as_bytes());
            }
            Self::V3 => {
                let mut put = |bytes: &[u8]| hasher.update(bytes);
                cbor::list_head(2, &mut put);
                cbor::text(flag_key, &mut put);
                cbor::text(targeting_key, &mut put);
            }
        }
        hasher.finish()
    }

    /// The hash of a text that stands in two parts: `cat(salt, unit)`.
    #[inline]
    pub fn of_joined(self, salt: &str, unit: &str) -> u32 {
        let mut hasher = Murmur3::default();
        if self == Self::V3 {
            cbor::text_head(salt.len() + unit.len(), &mut |bytes| hasher.update(bytes));
        }
        hasher.update(salt.as_bytes());
        hasher.update(unit.as_bytes());
        hasher.finish()
    }
}

/// The bucket of a hash among that many.
#[inline]
pub fn bucket(hash: u32, weights: u64) -> u64 {
    (u64::from(hash) * weights) >> 32
}

/// The place of the first weight that a bucket falls into.
#[inline]
pub fn place(bucket: u64, weights: impl IntoIterator<Item = u64>) -> Option<usize> {
    let mut end = 0;
    weights.into_iter().position(|weight| {
        end += weight;
        bucket < end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_joined_text_hash_as_published() {
        for (key, user, v2, v3) in [
            ("fractional-flag-shorthand", "jon@company.com", 618_039_204, 3_783_143_057),
            ("fractional-flag-shorthand", "jane@company.com", 2_316_038_310, 4_250_290_490),
        ] {
            assert_eq!(FractionalHash::V2.of_key(key, user), v2);
            assert_eq!(FractionalHash::V3.of_key(key, user), v3);
        }
        for (user, v2, v3) in [("jack", 2_682_799_072, 1_435_348_822), ("3", 604_371_928, 3_444_928_664)] {
            assert_eq!(FractionalHash::V2.of_joined("fractional-flag", user), v2);
            assert_eq!(FractionalHash::V3.of_joined("fractional-flag", user), v3);
        }
    }

    #[test]
    fn the_ends_of_the_hash_range_are_the_first_and_the_last_bucket() {
        for (hash, expected) in [(0, 0), (1, 0), (2_147_483_647, 49), (2_147_483_648, 50), (u32::MAX, 99)] {
            assert_eq!(bucket(hash, 100), expected);
        }
        assert_eq!(place(49, [50, 50]), Some(0));
        assert_eq!(place(50, [50, 50]), Some(1));
        assert_eq!(place(0, [0, 1]), Some(1));
        assert_eq!(place(0, [0, 0]), None);
    }
}
