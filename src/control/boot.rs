//! The boot: fold the journal, put back the kills that it does not hold yet, publish. Boot is a reload.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::mpsc;

use super::clock::Clock;
use super::command::Call;
use super::kill::{KillLane, Unjournaled};
use super::publisher;
use super::replies::Replies;
use super::writer::{Job, Writer};
use super::{Control, MAILBOX, Random};
use crate::eval::fractional::FractionalHash;
use crate::flag::key::EnvironmentName;
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::{Generation, Revision};
use crate::journal::Journal;
use crate::journal::error::JournalError;
use crate::journal::pending::{Pending, PendingKill};
use crate::journal::replay::replay;
use crate::snapshot::Snapshot;
use crate::snapshot::following::{REMEMBERED, remembering};
use crate::snapshot::hub::Hub;
use crate::world::fold::World;

/// What a boot needs.
#[derive(Debug)]
pub struct Boot {
    /// Where truth is kept.
    pub journal: Arc<dyn Journal>,
    /// The file that takes kills when the journal cannot.
    pub pending: Option<Pending>,
    /// The time.
    pub clock: Clock,
    /// Random bytes for salts.
    pub random: Random,
    /// How long a kill waits for the journal before it is answered.
    pub patience: Duration,
    /// The generation of flagd's `fractional` for flags whose metadata names none.
    pub fractional_hash: FractionalHash,
    /// How long a subscriber whose stream was lost counts as missing.
    pub keep_lost: Duration,
}

/// A node that serves, and the writer that is to be run.
#[derive(Debug)]
pub struct Booted {
    /// The handle.
    pub control: Control,
    /// To be run as a task of its own, with `jobs`.
    pub writer: Writer,
    /// What the handle sends.
    pub jobs: mpsc::Receiver<Job>,
}

impl Boot {
    /// Folds, publishes, and makes the writer. Blocks on the disk.
    ///
    /// # Errors
    /// A journal that cannot be read or folded.
    pub fn run(self) -> Result<Booted, JournalError> {
        let replayed = replay(self.journal.as_ref())?;
        let world = replayed.world;
        tracing::info!(revision = world.revision().0, folded = replayed.records, "journal folded");
        let hub = Arc::new(Hub::new(self.fractional_hash, self.keep_lost));
        publisher::publish_all(&hub, &world, self.clock.now());
        remember(&hub, self.journal.as_ref())?;
        let waiting = self.pending.as_ref().map_or_else(Vec::new, |file| file.entries().into_iter().cloned().collect());
        let lane = Arc::new(KillLane::new(Arc::clone(&hub), self.clock.clone(), self.pending, self.patience));
        lane.resume(world.generation());
        readmit(&lane, &hub, &world, waiting, &self.clock);
        let replies = Arc::new(Replies::default());
        replies.recall(&world);
        let journal_works = Arc::new(AtomicBool::new(true));
        let (mailbox, jobs) = mpsc::channel(MAILBOX);
        let control = Control {
            mailbox,
            lane: Arc::clone(&lane),
            replies: Arc::clone(&replies),
            hub: Arc::clone(&hub),
            journal: Arc::clone(&self.journal),
            clock: self.clock.clone(),
            journal_works: Arc::clone(&journal_works),
        };
        let writer = Writer {
            journal_works,
            checkpointed: replayed.checkpoint.unwrap_or_default(),
            world,
            journal: self.journal,
            hub,
            lane,
            replies,
            clock: self.clock,
            random: self.random,
        };
        Ok(Booted { control, writer, jobs })
    }
}

/// Tells every view the digests of the newest records, so that a subscriber that was up to date before a restart gets
/// only what is new.
fn remember(hub: &Hub, journal: &dyn Journal) -> Result<(), JournalError> {
    let first = journal.head().revision.0.saturating_sub(REMEMBERED as u64).max(1);
    let records = journal.read(Revision(first), REMEMBERED)?;
    let earlier: Vec<_> = records.iter().map(|record| (record.revision, record.hash.0)).collect();
    for snapshot in hub.snapshots() {
        let view = remembering(&snapshot.view, &earlier);
        hub.publish(&snapshot.environment, |before| Snapshot { view, ..before.unwrap_or(&snapshot).clone() });
    }
    Ok(())
}

/// Puts the kills of the pending file that the journal does not hold back in force.
fn readmit(lane: &KillLane, hub: &Hub, world: &World, waiting: Vec<PendingKill>, clock: &Clock) {
    let mut calls: BTreeMap<(EnvironmentName, Generation), Vec<PendingKill>> = BTreeMap::new();
    for kill in waiting {
        let mark = world.kills(&kill.environment).and_then(|kills| kills.mark(&kill.flag));
        if mark.is_none_or(|mark| mark.generation < kill.generation) {
            calls.entry((kill.environment.clone(), kill.generation)).or_default().push(kill);
        }
    }
    for ((environment, generation), kills) in calls {
        let Some(served) = hub.current(&environment) else { continue };
        let mut marks = KillSet::default();
        for kill in &kills {
            marks.merge(&kill.flag, KillMark { generation, killed: true });
        }
        hub.publish(&environment, |before| before.unwrap_or(&served).with_kills(&marks, clock.now()));
        tracing::warn!(%environment, generation = generation.0, flags = kills.len(), "a kill from the pending file is in force again");
        let Some(first) = kills.first() else { continue };
        let call = Call { actor: first.actor.clone(), reason: first.reason.clone(), idempotency: None };
        let flags = kills.into_iter().map(|kill| kill.flag).collect();
        lane.readmit(Unjournaled {
            environment,
            flags,
            generation,
            call,
            outcome: None,
            waited: true,
            journaled: None,
        });
    }
}
