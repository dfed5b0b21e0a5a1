//! The one writer: takes commands in turn, records what they change, folds and publishes it, and only then answers.
//!
//! It owns the world. Kills come to it already in force; it only gives them their place in the journal, before anything
//! else that waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::control::clock::Clock;
use crate::control::command::{Call, Command, Outcome};
use crate::control::kill::{KillLane, Unjournaled};
use crate::control::plan::{Plan, Scene, plan};
use crate::control::publisher;
use crate::control::refusal::Refusal;
use crate::control::replies::Replies;
use crate::control::{Random, draw};
use crate::flag::time::Revision;
use crate::journal::Journal;
use crate::journal::error::JournalError;
use crate::snapshot::hub::Hub;
use crate::world::chain::seal;
use crate::world::change::Change;
use crate::world::checkpoint;
use crate::world::digest::Salt;
use crate::world::fold::World;
use crate::world::record::Draft;

/// How long until a kill that the journal would not take is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// Records between two checkpoints: what a restart folds at most.
const CHECKPOINT_EVERY: u64 = 1_000;

/// A command and who waits for its answer.
#[derive(Debug)]
pub struct Job {
    /// What is wanted.
    pub command: Command,
    /// Who wants it.
    pub call: Call,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Outcome, Refusal>>,
}

/// The writer and all that it owns.
pub struct Writer {
    /// Everything that is true.
    pub world: World,
    /// Where it is kept.
    pub journal: Arc<dyn Journal>,
    /// Where it is served.
    pub hub: Arc<Hub>,
    /// Kills that are in force already.
    pub lane: Arc<KillLane>,
    /// Answers given before.
    pub replies: Arc<Replies>,
    /// The time.
    pub clock: Clock,
    /// Whether the last write found the journal working.
    pub journal_works: Arc<AtomicBool>,
    /// Random bytes for salts.
    pub random: Random,
    /// The revision of the newest checkpoint.
    pub checkpointed: Revision,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("head", self.world.head()).finish_non_exhaustive()
    }
}

impl Writer {
    /// Works until told to stop and nothing waits any more.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>, stop: CancellationToken) {
        let mut retry = tokio::time::interval(RETRY_EVERY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.lane.woken() => self.retry_kills().await,
                job = jobs.recv() => match job {
                    Some(job) => self.serve(job).await,
                    None => break,
                },
                _ = retry.tick() => self.retry_kills().await,
                () = stop.cancelled(), if jobs.is_empty() => break,
            }
        }
        self.retry_kills().await;
        self.checkpoint(true).await;
    }

    async fn serve(&mut self, job: Job) {
        let Job { command, call, answer } = job;
        let result = self.carry_out(command, call).await;
        // Whoever asked may have gone away; what was done is done.
        let _gone = answer.send(result);
    }

    async fn carry_out(&mut self, command: Command, call: Call) -> Result<Outcome, Refusal> {
        let now = self.clock.now();
        if let Some(earlier) = self.replies.find(call.idempotency.as_ref(), now)? {
            return Ok(earlier);
        }
        // What is recorded next must see the kills that are in force; a restore cannot do without.
        let journaled = self.journal_kills().await;
        if matches!(command, Command::Restore { .. }) {
            journaled?;
        }
        let dry = matches!(command, Command::Import { dry_run: true, .. });
        let next = self.world.head().revision.next();
        let scene = Scene { world: &self.world, hub: &self.hub, lane: &self.lane, next, now };
        let plan = plan(scene, command)?;
        if dry || plan.changes.is_empty() {
            return Ok(plan.outcome(None));
        }
        let revision = self.record(&plan.changes, &call).await?;
        let outcome = plan.outcome(Some(revision));
        self.publish(plan);
        self.replies.remember(call.idempotency.as_ref(), &outcome, now);
        self.checkpoint(false).await;
        Ok(outcome)
    }

    /// Appends one record and folds it once it is durable.
    async fn record(&mut self, changes: &[Change], call: &Call) -> Result<Revision, JournalError> {
        let draft = Draft {
            reason: call.reason.clone(),
            idempotency: call.idempotency.clone(),
            ..Draft::new(self.clock.now(), call.actor.clone(), changes.to_vec())
        };
        let random = self.random;
        let sealed = seal(&draft, self.world.head(), &mut || Salt(draw(random)));
        let stored = sealed.stored;
        let appended = self.journal.append(vec![stored]).await;
        self.journal_works.store(appended.is_ok(), Ordering::Relaxed);
        appended?;
        let revision = sealed.record.revision;
        self.world.apply(&sealed.record);
        Ok(revision)
    }

    fn publish(&self, plan: Plan) {
        let now = self.clock.now();
        let touches = |change: &Change| match change {
            Change::EnvironmentPut { environment, .. } | Change::FlagRestored { environment, .. } => {
                Some(environment.clone())
            }
            _ => None,
        };
        if plan.changes.iter().any(|change| matches!(change, Change::TokenIssued { .. } | Change::TokenRevoked { .. }))
        {
            publisher::publish_tokens(&self.hub, &self.world);
        }
        if let Some((environment, set)) = plan.compiled {
            publisher::publish(&self.hub, &self.world, &environment, Some(set), now);
            return;
        }
        let mut environments: Vec<_> = plan.changes.iter().filter_map(touches).collect();
        environments.dedup();
        for environment in environments {
            publisher::publish(&self.hub, &self.world, &environment, None, now);
        }
    }

    async fn retry_kills(&mut self) {
        // Said in the log where it fails, and tried again at the next tick.
        let _waits = self.journal_kills().await;
    }

    /// Gives every kill that is in force its place in the journal, oldest first.
    async fn journal_kills(&mut self) -> Result<(), JournalError> {
        let mut waiting = self.lane.take_unjournaled().into_iter();
        while let Some(kill) = waiting.next() {
            if let Err((kill, error)) = self.journal_kill(kill).await {
                let generation = kill.generation.0;
                tracing::error!(%error, generation, "a kill is in force but not in the journal yet; trying again");
                self.lane.put_back(std::iter::once(kill).chain(waiting).collect());
                return Err(error);
            }
        }
        Ok(())
    }

    async fn journal_kill(&mut self, mut kill: Unjournaled) -> Result<(), (Unjournaled, JournalError)> {
        let change = |flag: &crate::flag::key::FlagId| Change::FlagKilled {
            environment: kill.environment.clone(),
            flag: flag.clone(),
            generation: kill.generation,
        };
        let changes: Vec<Change> = kill.flags.iter().map(change).collect();
        let revision = match self.record(&changes, &kill.call).await {
            Ok(revision) => revision,
            Err(error) => return Err((kill, error)),
        };
        if kill.waited {
            tracing::info!(
                revision = revision.0,
                generation = kill.generation.0,
                "a kill that waited is in the journal"
            );
        }
        self.lane.settled(kill.generation);
        if let Some(outcome) = kill.outcome.take() {
            let outcome = Outcome { revision: Some(revision), ..outcome };
            self.replies.remember(kill.call.idempotency.as_ref(), &outcome, self.clock.now());
        }
        publisher::publish(&self.hub, &self.world, &kill.environment, None, self.clock.now());
        if let Some(waiting) = kill.journaled.take() {
            let _gone = waiting.send(revision);
        }
        Ok(())
    }

    /// Keeps the folded world beside the chain, so that the next start is quick. A cache: failing to write it is no
    /// loss.
    async fn checkpoint(&mut self, last: bool) {
        let revision = self.world.head().revision;
        let due =
            if last { revision > self.checkpointed } else { revision.0 >= self.checkpointed.0 + CHECKPOINT_EVERY };
        if !due {
            return;
        }
        let bytes = checkpoint::encode(&self.world);
        let journal = Arc::clone(&self.journal);
        let kept = tokio::task::spawn_blocking(move || journal.put_checkpoint(&bytes)).await;
        match kept.unwrap_or_else(|_| Err(JournalError::Busy)) {
            Ok(()) => self.checkpointed = revision,
            Err(error) => tracing::warn!(%error, "no checkpoint could be written; the next start folds more records"),
        }
    }
}
