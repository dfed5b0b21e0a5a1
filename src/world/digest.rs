//! The fixed runs of bytes that the record format is made of: digests, epochs, salts.
//!
//! In JSON and in messages each is lower-case hexadecimal of its full length, and nothing else is accepted, so that two
//! spellings of one digest cannot exist. Not a place for computing digests: that is `chain`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not a run of bytes of the wanted length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {digits} lower-case hexadecimal digits, found {found} characters or another alphabet")]
pub struct HexFault {
    /// How many digits were wanted.
    pub digits: usize,
    /// How many bytes of text there were.
    pub found: usize,
}

fn read_hex<const N: usize>(text: &str) -> Result<[u8; N], HexFault> {
    let fault = HexFault { digits: N * 2, found: text.len() };
    if text.len() != N * 2 || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(fault);
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).map_err(|_| fault.clone())?;
    }
    Ok(bytes)
}

fn write_hex(bytes: &[u8], f: &mut impl fmt::Write) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// All zeros.
            pub const ZERO: Self = Self([0; $length]);

            /// The bytes, where a slice has exactly that many.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = HexFault;
            fn from_str(text: &str) -> Result<Self, HexFault> {
                read_hex(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = HexFault;
            fn try_from(text: String) -> Result<Self, HexFault> {
                read_hex(&text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                let mut text = String::with_capacity($length * 2);
                write_hex(&value.0, &mut text).expect("writing to a String cannot fail");
                text
            }
        }
    };
}

bytes!(
    /// A SHA-256 digest: of a record's header, of a payload, of a secret, of a file.
    Digest,
    32
);
bytes!(
    /// Which life of a journal a revision belongs to: random, new at creation and at every declared restore.
    Epoch,
    16
);
bytes!(
    /// What keeps a payload's digest from being guessed after the payload was erased: random, and erased with it.
    Salt,
    16
);

impl Digest {
    /// SHA-256 of bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_reads_back_and_has_one_spelling() {
        let epoch = Epoch([0xab; 16]);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        for text in ["", "ab", &"AB".repeat(16), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(text.parse::<Epoch>(), Err(HexFault { digits: 32, found: text.len() }), "{text}");
        }
    }
}
