//! The limits on the work of one evaluation, and what stops it.

use crate::eval::outcome::ErrorCode;
use crate::flag::limits::LOGIC_STEPS_MAX;

/// Bytes of text that count as one step.
const BYTES_OF_A_STEP: usize = 64;

/// What is left of the work that one evaluation may do, prerequisites included.
#[derive(Debug, Clone)]
pub struct Budget {
    left: u64,
}

/// Why a rule yields nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An operator that nobody knows was to be evaluated; an unresolved `$ref` is one.
    UnknownOperator,
    /// The rule takes more steps than one evaluation may.
    Exhausted,
    /// The rule makes lists inside of lists beyond any use.
    TooDeep,
}

impl Fault {
    /// What flagd's clients are told.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::UnknownOperator => ErrorCode::ParseError,
            Self::Exhausted | Self::TooDeep => ErrorCode::General,
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: LOGIC_STEPS_MAX }
    }
}

impl Budget {
    /// Pays for one step.
    ///
    /// # Errors
    /// Nothing is left.
    #[inline]
    pub fn step(&mut self) -> Result<(), Fault> {
        self.pay(1)
    }

    /// Pays for that many steps.
    ///
    /// # Errors
    /// Not enough is left.
    #[inline]
    pub fn steps(&mut self, steps: usize) -> Result<(), Fault> {
        self.pay(steps as u64)
    }

    /// Pays for bytes of text that are copied or looked at.
    ///
    /// # Errors
    /// Not enough is left.
    #[inline]
    pub fn bytes(&mut self, bytes: usize) -> Result<(), Fault> {
        self.pay((bytes / BYTES_OF_A_STEP) as u64)
    }

    #[inline]
    fn pay(&mut self, steps: u64) -> Result<(), Fault> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Fault::Exhausted),
        }
    }
}
