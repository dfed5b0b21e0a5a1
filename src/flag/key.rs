//! The names users give to things: flags, variants, segments, flag sets, environments.
//!
//! Each is a newtype that can only hold a valid name, so nothing downstream checks again. Names are compared byte by
//! byte and are case-sensitive; what could make two different names look alike (control, bidi and zero-width
//! characters, text that is not in NFC) is refused here. Not a place for parsing files.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::is_nfc;

use super::limits::{ENVIRONMENT_BYTES_MAX, KEY_BYTES_MAX};

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// The text is empty.
    #[error("the name is empty")]
    Empty,
    /// The text is longer than the limit.
    #[error("the name has {bytes} bytes, at most {max} are allowed")]
    TooLong {
        /// How many bytes of UTF-8 it has.
        bytes: usize,
        /// How many it may have.
        max: usize,
    },
    /// The text holds a character that cannot be seen or that reorders its neighbours.
    #[error("the name holds the invisible or control character U+{:04X} at byte {at}", *.character as u32)]
    Invisible {
        /// The character.
        character: char,
        /// Its offset in bytes.
        at: usize,
    },
    /// The text is not in Unicode normalization form C.
    #[error("the name is not in Unicode normalization form C (NFC): two spellings of one text would be two names")]
    NotNormalized,
    /// An environment name outside `[a-z0-9._-]`.
    #[error("environment names use a-z, 0-9, '.', '_' and '-' only; found {character:?}")]
    Alphabet {
        /// The first character outside the alphabet.
        character: char,
    },
}

/// True for characters that are invisible or that change how their neighbours are shown.
pub fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character as u32,
            0x00AD | 0x034F | 0x061C | 0x115F..=0x1160 | 0x17B4..=0x17B5 | 0x180B..=0x180F
            | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F
            | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0xE0000..=0xE0FFF)
}

/// Checks a name against the rules for keys: 1 to 256 bytes of UTF-8 in NFC, nothing invisible.
///
/// # Errors
/// The first rule that does not hold.
pub fn check_name(text: &str) -> Result<(), NameFault> {
    if text.is_empty() {
        return Err(NameFault::Empty);
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(NameFault::TooLong { bytes: text.len(), max: KEY_BYTES_MAX });
    }
    if let Some((at, character)) = text.char_indices().find(|(_, character)| is_invisible(*character)) {
        return Err(NameFault::Invisible { character, at });
    }
    if !is_nfc(text) {
        return Err(NameFault::NotNormalized);
    }
    Ok(())
}

/// Checks an environment name: 1 to 64 characters of `[a-z0-9._-]`, since it stands in URLs, settings and tokens.
///
/// # Errors
/// The first rule that does not hold.
pub fn check_environment(text: &str) -> Result<(), NameFault> {
    check_name(text)?;
    if text.len() > ENVIRONMENT_BYTES_MAX {
        return Err(NameFault::TooLong { bytes: text.len(), max: ENVIRONMENT_BYTES_MAX });
    }
    let foreign = |character: &char| !matches!(character, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    text.chars().find(foreign).map_or(Ok(()), |character| Err(NameFault::Alphabet { character }))
}

/// True where a name keeps to `[A-Za-z0-9._-]`, which every tool, shell and URL takes without quoting.
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a text that is a valid name.
            ///
            /// # Errors
            /// Why it is not one.
            pub fn new(text: &str) -> Result<Self, NameFault> {
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameFault;
            fn try_from(text: String) -> Result<Self, NameFault> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameFault;
            fn from_str(text: &str) -> Result<Self, NameFault> {
                Self::new(text)
            }
        }
    };
}

name!(
    /// The key of a flag inside its flag set.
    FlagKey,
    check_name
);
name!(
    /// The name of one of a flag's variants.
    VariantName,
    check_name
);
name!(
    /// The name of a segment inside its environment.
    SegmentName,
    check_name
);
name!(
    /// flagd's `flagSetId`: a group of flags inside an environment.
    FlagSetName,
    check_name
);
name!(
    /// The name of an environment, the unit of tenancy.
    EnvironmentName,
    check_environment
);

/// A flag's identity inside its environment: its flag set, if it has one, and its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlagId {
    /// The flag set; none for flags that belong to no set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag_set: Option<FlagSetName>,
    /// The key.
    pub key: FlagKey,
}

impl FlagId {
    /// The flag of that key in no flag set.
    pub fn plain(key: FlagKey) -> Self {
        Self { flag_set: None, key }
    }
}

impl fmt::Display for FlagId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.flag_set {
            Some(set) => write!(f, "{} (flag set {set})", self.key),
            None => self.key.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_like_others_are_refused() {
        for (text, fault) in [
            ("", NameFault::Empty),
            ("a\u{200b}b", NameFault::Invisible { character: '\u{200b}', at: 1 }),
            ("a\u{202e}b", NameFault::Invisible { character: '\u{202e}', at: 1 }),
            ("tab\t", NameFault::Invisible { character: '\t', at: 3 }),
            ("cafe\u{301}", NameFault::NotNormalized),
        ] {
            assert_eq!(FlagKey::new(text), Err(fault), "{text:?}");
        }
        assert!(matches!(FlagKey::new(&"k".repeat(257)), Err(NameFault::TooLong { bytes: 257, max: 256 })));
        assert!(FlagKey::new(&"k".repeat(256)).is_ok());
        assert!(FlagKey::new("café/Menü 1").is_ok());
    }

    #[test]
    fn environments_keep_to_a_small_alphabet() {
        assert!(EnvironmentName::new("production").is_ok());
        assert_eq!(EnvironmentName::new("Prod"), Err(NameFault::Alphabet { character: 'P' }));
    }
}
