//! flagd's cohorts for native percentages: `hash: murmur3` and `hash: murmur3_cbor`.
//!
//! Exactly who `fractional` chooses with the variants in the order of their names and the remainder last, so that servers
//! and in-process clients of flagd agree. Percentages lie end to end: the first variant's cohort only grows with its
//! percentage, but those of later variants move when an earlier one changes; `weighted` has no such neighbours.

use super::bucket::BUCKETS;
use super::context::{Attribute, Context};
use super::fractional::{FractionalHash, bucket, place};
use super::serving::{By, Placement, VariantIndex};

/// Percentages laid end to end.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges {
    /// The variants that are listed, the default variant apart, by name.
    pub ranges: Box<[Range]>,
    /// The unit.
    pub by: By,
    /// What is hashed of it.
    pub hashing: Hashing,
}

/// One variant's range.
#[derive(Debug, Clone, PartialEq)]
pub struct Range {
    /// The variant.
    pub variant: Option<VariantIndex>,
    /// Its name.
    pub name: Box<str>,
    /// Thousandths of a percent.
    pub weight: u32,
}

/// What is hashed of a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Hashing {
    /// How.
    pub generation: FractionalHash,
    /// The salt, or the flag's key.
    pub salt: Box<str>,
    /// True where salt and unit are one text, as a rule writes it that names what to hash by; false for flagd's short
    /// form.
    pub joined: bool,
}

impl Ranges {
    /// Places a context. Where one participant has all the weight, no unit is needed.
    #[inline]
    pub fn place(&self, context: &Context<'_>) -> Placement {
        if let Some(only) = self.ranges.iter().find(|range| range.weight == BUCKETS) {
            return Placement::Share(only.variant);
        }
        if self.ranges.iter().all(|range| range.weight == 0) {
            return Placement::Remainder;
        }
        match self.bucket(context) {
            Some(bucket) => self.owner(bucket).map_or(Placement::Remainder, |range| Placement::Share(range.variant)),
            None => Placement::NoUnit,
        }
    }

    /// The bucket of a context's unit, which is a text that is not empty.
    pub fn bucket(&self, context: &Context<'_>) -> Option<u64> {
        match self.by.attribute(context)? {
            Attribute::String(unit) if !unit.is_empty() => Some(bucket(self.hashing.hash(unit), u64::from(BUCKETS))),
            _ => None,
        }
    }

    /// The range that a bucket lies in; none for the remainder.
    pub fn owner(&self, bucket: u64) -> Option<&Range> {
        self.ranges.get(place(bucket, self.ranges.iter().map(|range| u64::from(range.weight)))?)
    }
}

impl Hashing {
    fn hash(&self, unit: &str) -> u32 {
        if self.joined { self.generation.of_joined(&self.salt, unit) } else { self.generation.of_key(&self.salt, unit) }
    }
}
