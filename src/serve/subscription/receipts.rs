//! Asking who has a generation or a revision, and waiting for the answer to be good enough: the same for gRPC, the admin
//! API and a kill that waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::clock::Clock;
use crate::flag::key::EnvironmentName;
use crate::serve::http::problem::{Missing, Problem};
use crate::snapshot::hub::Hub;
use crate::snapshot::roster::receipts::{NotPublished, Receipts, Word, name};
use crate::sync::message::Lane;

/// Requests that may wait at once: each looks at every subscriber again and again.
const WAITERS_MAX: usize = 256;
/// The longest wait.
pub const WAIT_MAX: Duration = Duration::from_secs(60);
/// Subscribers that one answer names at most.
pub const NAMES_MAX: usize = 1_000;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Where.
    pub environment: EnvironmentName,
    /// On which lane.
    pub lane: Lane,
    /// Which generation or revision.
    pub position: u64,
    /// How many must have it before the answer comes.
    pub word: Word,
    /// When the answer comes in any case; at most [`WAIT_MAX`].
    pub timeout: Duration,
    /// How many of those that do not have it to name; at most [`NAMES_MAX`].
    pub names: usize,
}

/// Who may wait. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Waiters {
    places: Arc<Semaphore>,
    draining: CancellationToken,
}

impl Waiters {
    /// Nobody waits; a server that begins to stop answers at once.
    pub fn new(draining: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(WAITERS_MAX)), draining }
    }
}

/// Answers a question.
///
/// # Errors
/// The environment is not there, the position is not served yet, or too many wait already.
pub async fn ask(hub: &Hub, clock: &Clock, waiters: &Waiters, question: Question) -> Result<Receipts, Problem> {
    let Question { environment, lane, position, word, timeout, names } = question;
    let missing = || Problem::NotFound(Missing::Environment, environment.to_string());
    let roster = hub.roster(&environment).ok_or_else(missing)?;
    let wrong = |fault: NotPublished| Problem::InvalidValue {
        detail: fault.to_string(),
        pointer: format!("/{}", name(fault.lane)),
    };
    if word != Word::Now {
        let place = waiters.places.try_acquire();
        let _place = place.map_err(|_| Problem::TooManyRequests { retry_after: 1 })?;
        let deadline = Instant::now() + timeout.min(WAIT_MAX);
        tokio::select! {
            () = waiters.draining.cancelled() => {}
            waited = roster.wait((lane, position), word, deadline, || clock.now()) => drop(waited.map_err(wrong)?),
        }
    }
    roster.receipts(lane, position, names.min(NAMES_MAX), clock.now()).map_err(wrong)
}
