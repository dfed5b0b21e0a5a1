//! Why a command was not carried out. Each variant is a different thing for the caller to do.

use crate::flag::diagnostic::Diagnostic;
use crate::flag::key::{EnvironmentName, FlagId, SegmentName};
use crate::flag::time::{Generation, Revision};
use crate::journal::error::JournalError;

/// Why a command was not carried out; nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such environment.
    #[error("there is no environment {0}")]
    UnknownEnvironment(EnvironmentName),
    /// There is no such flag.
    #[error("there is no flag {0}")]
    UnknownFlag(FlagId),
    /// No flag has the tag.
    #[error("no flag has the tag {0:?}")]
    UnknownTag(String),
    /// There is no such segment.
    #[error("there is no segment {0}")]
    UnknownSegment(SegmentName),
    /// There is no such token.
    #[error("there is no token with the identifier {0}")]
    UnknownToken(String),
    /// A definition cannot be used.
    #[error("the definition cannot be used: {}", first(.0))]
    Invalid(Vec<Diagnostic>),
    /// A limit would be passed.
    #[error("{what} is limited to {max}")]
    Limit {
        /// What is limited.
        what: &'static str,
        /// To how many.
        max: usize,
    },
    /// The object is not what the caller thought it is.
    #[error("the object changed since it was read: it is now at {}", current.map_or("no revision (it does not exist)".to_owned(), |r| format!("revision {r}")))]
    Precondition {
        /// Its last revision; none where it does not exist.
        current: Option<Revision>,
    },
    /// The kill in force is another than the one to be undone.
    #[error("{flag} was killed again: generation {current} is in force, the restore names {named}")]
    NewerKill {
        /// The flag.
        flag: FlagId,
        /// The generation in force.
        current: Generation,
        /// The generation that was named.
        named: Generation,
    },
    /// A file would delete too much at once.
    #[error(
        "the file would delete {deletes} of the {of} flags that came from it, more than a fifth; if that is meant, start with --allow-deletes"
    )]
    TooManyDeletes {
        /// How many it would delete.
        deletes: usize,
        /// How many came from it.
        of: usize,
    },
    /// The last way in must not be closed.
    #[error("this is the last token with the scope admin; create another one first")]
    LastAdmin,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyMismatch,
    /// There is no space left for the journal; kills are still taken.
    #[error("nothing was changed: {0}")]
    DiskFull(JournalError),
    /// The journal cannot be read or written until somebody looks after it; kills are still taken.
    #[error("nothing was changed: {0}")]
    JournalDown(JournalError),
    /// The journal is not what it was.
    #[error("nothing was changed: {0}")]
    JournalDamaged(JournalError),
    /// Too much is waiting.
    #[error("too many changes are waiting; try again in a moment")]
    Overloaded,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Full { .. } => Self::DiskFull(error),
            JournalError::Busy | JournalError::Conflict { .. } => Self::Overloaded,
            JournalError::Unavailable { .. } | JournalError::CutTail { .. } | JournalError::Locked { .. } => {
                Self::JournalDown(error)
            }
            JournalError::Corrupt { .. } | JournalError::NewerFormat { .. } | JournalError::NoSuchPayload { .. } => {
                Self::JournalDamaged(error)
            }
        }
    }
}

fn first(diagnostics: &[Diagnostic]) -> String {
    let more = diagnostics.len().saturating_sub(1);
    let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
    if more == 0 { first } else { format!("{first} (and {more} more)") }
}
