//! The set hash: 16 bytes that say whether two sets are equal, whatever the order in which they came to be.
//!
//! The sum, modulo 2^128, of XXH3-128 (seed 0) over the encoding of each element; the empty set's is zero. A sum and
//! not an exclusive or, so that an element that is there twice does not vanish. It is kept up to date in constant time
//! as elements come and go. It detects mistakes, not malice: whoever can write to the stream need not forge it.
//!
//! An element's encoding is its fields in order: integers little-endian, texts and bytes as their length (u32
//! little-endian) and their bytes, absent ones as length 0 (none of them is ever present and empty).

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// The hash of a set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SetHash(u128);

impl SetHash {
    /// The empty set's.
    pub const EMPTY: Self = Self(0);

    /// The hash as it travels: 16 bytes, big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads what travelled.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// The set with one more element.
    #[must_use]
    pub fn with(self, element: ElementHash) -> Self {
        Self(self.0.wrapping_add(element.0))
    }

    /// The set without one of its elements.
    #[must_use]
    pub fn without(self, element: ElementHash) -> Self {
        Self(self.0.wrapping_sub(element.0))
    }
}

impl fmt::Debug for SetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SetHash({:032x})", self.0)
    }
}

/// The hash of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElementHash(u128);

impl ElementHash {
    /// The hash of encoded fields that are at hand in one piece.
    pub fn of_encoded(encoded: &[u8]) -> Self {
        Self(xxh3_128(encoded))
    }
}

/// Encodes the fields of an element straight into the hash.
#[derive(Default)]
pub(super) struct Encoder(Xxh3);

impl Encoder {
    /// A whole number of 32 bits.
    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// A whole number of 64 bits.
    pub(super) fn u64(mut self, number: u64) -> Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    /// A text or bytes; empty for absent. Lengths beyond `u32` cannot occur: limits are far below.
    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut encoder = self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        encoder.0.update(bytes);
        encoder
    }

    /// The element's hash.
    pub(super) fn finish(self) -> ElementHash {
        ElementHash(self.0.digest128())
    }
}
