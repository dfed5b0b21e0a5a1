//! The **one writer**: command, check, append, fold, publish.
//!
//! [`Control`] is the handle that everything else holds: commands queue for the writer, kills do not, and reads never
//! come here (they read the hub, and the audit trail the journal).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use self::clock::Clock;
use self::command::{Call, Command, Outcome, Targets};
use self::kill::KillLane;
use self::refusal::Refusal;
use self::replies::Replies;
use self::writer::Job;
use crate::flag::key::EnvironmentName;
use crate::journal::Journal;
use crate::snapshot::hub::Hub;

pub mod boot;
pub mod clock;
pub mod command;
pub mod file;
pub mod kill;
pub mod plan;
pub mod publisher;
pub mod refusal;
pub mod replies;
pub mod trail;
pub mod witness;
pub mod writer;

/// How many commands may wait for the writer; one more is refused, so that waiting stays a matter of moments.
pub const MAILBOX: usize = 1_024;

/// Fills a buffer with bytes from the operating system's generator. Passed in, so that tests can repeat themselves.
pub type Random = fn(&mut [u8]);

/// Draws a fixed number of random bytes.
pub fn draw<const N: usize>(random: Random) -> [u8; N] {
    let mut bytes = [0; N];
    random(&mut bytes);
    bytes
}

/// The handle to the one writer of this node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    mailbox: mpsc::Sender<Job>,
    lane: Arc<KillLane>,
    replies: Arc<Replies>,
    hub: Arc<Hub>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    journal_works: Arc<AtomicBool>,
}

impl Control {
    /// Has a command carried out; the answer comes when it is durable and served.
    ///
    /// # Errors
    /// Why it was not carried out.
    pub async fn submit(&self, command: Command, call: Call) -> Result<Outcome, Refusal> {
        let (answer, wait) = oneshot::channel();
        self.mailbox.try_send(Job { command, call, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Overloaded,
            mpsc::error::TrySendError::Closed(_) => Refusal::Stopping,
        })?;
        wait.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Turns flags off, at once.
    ///
    /// # Errors
    /// An environment, flag or tag that does not exist; an idempotency key of another request.
    pub async fn kill(&self, environment: &EnvironmentName, targets: &Targets, call: Call) -> Result<Outcome, Refusal> {
        if let Some(earlier) = self.replies.find(call.idempotency.as_ref(), self.clock.now())? {
            return Ok(earlier);
        }
        self.lane.kill(environment, targets, call).await
    }

    /// What is served.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Where it is recorded, for reading.
    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// The time.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether the last write found the journal working.
    pub fn journal_works(&self) -> bool {
        self.journal_works.load(Ordering::Relaxed)
    }

    /// How many kills are in force that the journal does not hold yet: above zero, the node is degraded.
    pub fn unjournaled_kills(&self) -> usize {
        self.lane.unjournaled()
    }
}

#[cfg(test)]
mod tests;
