//! The stable place of one user in 0..100,000: `bucket = (xxh3_64(salt ‖ 0x1F ‖ unit) · 100,000) >> 64`.
//!
//! The formula is for life: every node and every client must place the same user alike, across restarts and versions.
//! `tests/vectors/cohorts-v1.json` publishes it. A user is inside a percentage where the bucket is below its thousandths
//! of a percent, so that a smaller cohort always lies inside a larger one.

use std::ops::Deref;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::context::Attribute;

/// How many buckets there are: one per thousandth of a percent.
pub const BUCKETS: u32 = 100_000;

/// The byte between the parts that are hashed; no name can hold it, since names hold no control characters.
pub const SEPARATOR: u8 = 0x1F;

/// Bytes of prefix and unit that are hashed in one go from the stack; longer ones are streamed.
const AT_ONCE: usize = 512;

/// The digits of `u64::MAX` and a sign.
const DECIMAL_BYTES_MAX: usize = 21;

/// What is placed in a bucket, as the bytes that are hashed; never empty.
#[derive(Clone, Copy)]
pub struct Unit<'c>(Bytes<'c>);

#[derive(Clone, Copy)]
enum Bytes<'c> {
    Text(&'c str),
    Decimal { digits: [u8; DECIMAL_BYTES_MAX], start: usize },
}

impl<'c> Unit<'c> {
    /// The unit that an attribute names: a string as its UTF-8, an integer as its decimal digits. Anything else, and
    /// the empty string, is none.
    #[inline]
    pub fn of(attribute: &'c Attribute<'_>) -> Option<Self> {
        match attribute {
            Attribute::String(text) if !text.is_empty() => Some(Self(Bytes::Text(text))),
            Attribute::Integer(value) => Some(Self::decimal(value.unsigned_abs(), *value < 0)),
            Attribute::Unsigned(value) => Some(Self::decimal(*value, false)),
            _ => None,
        }
    }

    fn decimal(mut value: u64, negative: bool) -> Self {
        let mut digits = [0; DECIMAL_BYTES_MAX];
        let mut start = DECIMAL_BYTES_MAX;
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        if negative {
            start -= 1;
            digits[start] = b'-';
        }
        Self(Bytes::Decimal { digits, start })
    }
}

impl Deref for Unit<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Text(text) => text.as_bytes(),
            Bytes::Decimal { digits, start } => &digits[*start..],
        }
    }
}

impl std::fmt::Debug for Unit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unit")
    }
}

/// The bytes that come before the unit: every part followed by the separator.
pub fn prefix(parts: &[&str]) -> Box<[u8]> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part.as_bytes());
        bytes.push(SEPARATOR);
    }
    bytes.into()
}

/// XXH3-64 of `prefix` and `unit` in a row, without allocating.
#[inline]
pub fn hash(prefix: &[u8], unit: &Unit<'_>) -> u64 {
    let unit: &[u8] = unit;
    let length = prefix.len() + unit.len();
    if length <= AT_ONCE {
        let mut bytes = [0; AT_ONCE];
        bytes[..prefix.len()].copy_from_slice(prefix);
        bytes[prefix.len()..length].copy_from_slice(unit);
        return xxh3_64(&bytes[..length]);
    }
    let mut hasher = Xxh3::new();
    hasher.update(prefix);
    hasher.update(unit);
    hasher.digest()
}

/// The bucket of a hash, 0 to 99,999.
#[inline]
pub fn of_hash(hash: u64) -> u32 {
    ((u128::from(hash) * u128::from(BUCKETS)) >> 64) as u32
}

/// The bucket of a unit under a salt.
pub fn bucket(salt: &str, unit: &Unit<'_>) -> u32 {
    of_hash(hash(&prefix(&[salt]), unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_integers_and_texts_that_are_not_empty_are_units() {
        for attribute in [
            Attribute::Null,
            Attribute::Bool(true),
            Attribute::Float(1.0),
            Attribute::String("".into()),
            Attribute::List(vec![Attribute::Integer(1)]),
            Attribute::Object(vec![]),
        ] {
            assert!(Unit::of(&attribute).is_none(), "{attribute:?}");
        }
    }

    #[test]
    fn buckets_cover_the_whole_range_and_nothing_else() {
        assert_eq!(of_hash(0), 0);
        assert_eq!(of_hash(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn an_integer_is_the_unit_of_its_decimal_text(value: i64, unsigned: u64) {
            let (text, other) = (value.to_string(), unsigned.to_string());
            let (signed, unsigned) = (Attribute::Integer(value), Attribute::Unsigned(unsigned));
            prop_assert_eq!(&*Unit::of(&signed).unwrap(), text.as_bytes());
            prop_assert_eq!(&*Unit::of(&unsigned).unwrap(), other.as_bytes());
        }

        #[test]
        fn long_units_hash_like_short_ones(salt in "[a-z]{0,40}", length in 0usize..2_000) {
            let text = "u".repeat(length + 1);
            let attribute = Attribute::String(text.as_str().into());
            let whole = format!("{salt}\u{1F}{text}");
            prop_assert_eq!(hash(&prefix(&[&salt]), &Unit::of(&attribute).unwrap()), xxh3_64(whole.as_bytes()));
        }
    }
}
