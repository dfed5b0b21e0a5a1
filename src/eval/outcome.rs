//! What an evaluation says: the variant, its value, and why. All borrowed, so an answer costs nothing to make.

use std::fmt;

use serde_json::Value;

use crate::flag::key::VariantName;
use crate::flag::time::Generation;

use super::compiled::Compiled;

/// Why a flag answered what it did; OpenFeature's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The flag asks nothing of the context: everybody gets this until the flag is changed.
    Static,
    /// Nothing matched, a prerequisite did not hold, the unit was missing, or the flag is killed.
    Default,
    /// A rule matched and serves one variant.
    TargetingMatch,
    /// Percentages decided.
    Split,
    /// The flag is disabled: use the code default.
    Disabled,
    /// The flag could not be evaluated; see the error code.
    Error,
}

impl Reason {
    /// OpenFeature's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Error => "ERROR",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What kind of error kept a flag from being evaluated; OpenFeature's words. Of the flags in a set only those with
/// flagd's targeting need one; the surfaces do, for what happens before and after an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// There is no such flag.
    FlagNotFound,
    /// The request or the definition could not be read.
    ParseError,
    /// The flag's type is not the one that was asked for.
    TypeMismatch,
    /// The caller demands a targeting key and the context has none.
    TargetingKeyMissing,
    /// The context is not acceptable.
    InvalidContext,
    /// Anything else.
    General,
    /// There is no set of flags yet.
    ProviderNotReady,
}

impl ErrorCode {
    /// OpenFeature's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::ParseError => "PARSE_ERROR",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::TargetingKeyMissing => "TARGETING_KEY_MISSING",
            Self::InvalidContext => "INVALID_CONTEXT",
            Self::General => "GENERAL",
            Self::ProviderNotReady => "PROVIDER_NOT_READY",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer of one flag to one context.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'s> {
    /// The flag that answered.
    pub flag: &'s Compiled,
    /// The variant; none means "use the code default".
    pub variant: Option<&'s VariantName>,
    /// The variant's value; there exactly where the variant is.
    pub value: Option<&'s Value>,
    /// Why.
    pub reason: Reason,
    /// There exactly where the reason is [`Reason::Error`].
    pub error: Option<ErrorCode>,
    /// The kill that is in force; the variant is then the flag's safe one.
    pub killed: Option<Generation>,
    /// Percentages would have decided, but the context has no unit to place.
    pub no_unit: bool,
}
