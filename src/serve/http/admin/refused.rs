//! From the writer's refusal to the caller's problem: the one place where that is decided.

use crate::control::refusal::Refusal;
use crate::flag::diagnostic::Diagnostic;
use crate::serve::http::problem::{Missing, Problem};

/// Seconds after which a busy or stopping server is worth another try.
const RETRY_AFTER: u32 = 1;

/// Seconds after which a journal that failed may have been looked after.
const RETRY_LATER: u32 = 30;
/// What goes on while the journal cannot be written.
const STILL: &str = "Kills are still taken; reads and evaluations go on";

/// A value in the body that cannot be used, or (without a pointer) something outside the body.
pub fn bad(detail: impl Into<String>, pointer: &str) -> Problem {
    let detail = detail.into();
    if pointer.is_empty() {
        return Problem::BadRequest(detail.into());
    }
    Problem::InvalidValue { detail, pointer: pointer.to_owned() }
}

/// A body that is not the JSON that is expected.
pub fn bad_json(error: &serde_json::Error) -> Problem {
    Problem::BadJson { detail: error.to_string(), pointer: None }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        refused(refusal, |diagnostic| diagnostic)
    }
}

/// The problem of a refusal, with its diagnostics placed in the caller's text.
pub fn refused(refusal: Refusal, locate: impl Fn(Diagnostic) -> Diagnostic) -> Problem {
    let words = refusal.to_string();
    match refusal {
        Refusal::UnknownEnvironment(name) => Problem::NotFound(Missing::Environment, name.to_string()),
        Refusal::UnknownFlag(id) => Problem::NotFound(Missing::Flag, id.to_string()),
        Refusal::UnknownTag(tag) => Problem::NotFound(Missing::Flag, format!("tag {tag}")),
        Refusal::UnknownSegment(name) => Problem::NotFound(Missing::Segment, name.to_string()),
        Refusal::UnknownToken(id) => Problem::NotFound(Missing::Token, id),
        Refusal::Invalid(found) => Problem::InvalidDefinition(found.into_iter().map(locate).collect()),
        Refusal::Limit { .. } | Refusal::NewerKill { .. } | Refusal::TooManyDeletes { .. } | Refusal::LastAdmin => {
            Problem::Conflict(words)
        }
        Refusal::Precondition { .. } => Problem::PreconditionFailed(words),
        Refusal::IdempotencyMismatch => Problem::IdempotencyMismatch,
        Refusal::Overloaded | Refusal::Stopping => {
            Problem::Unavailable { detail: words.into(), retry_after: RETRY_AFTER }
        }
        Refusal::DiskFull(_) => Problem::InsufficientStorage(format!("{words}. {STILL}")),
        Refusal::JournalDown(_) => {
            Problem::Unavailable { detail: format!("{words}. {STILL}").into(), retry_after: RETRY_LATER }
        }
        Refusal::JournalDamaged(error) => {
            tracing::error!(%error, "the journal refused");
            Problem::Internal
        }
    }
}
