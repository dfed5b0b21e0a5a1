//! The short path: turning flags off. It never waits for the journal, the mailbox or a compile.
//!
//! A kill takes a generation, is merged into what is served, and is written to the pending file and to the journal at
//! the same time; the answer says how far that got. The kills that the journal does not hold yet are kept here until it
//! does. Restoring is an ordinary command (`plan`): turning on may wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::control::clock::Clock;
use crate::control::command::{Call, Durability, Effect, Outcome, Targets, Touched};
use crate::control::plan::resolve;
use crate::control::refusal::Refusal;
use crate::flag::key::{EnvironmentName, FlagId};
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::{Generation, Revision};
use crate::journal::pending::{Pending, PendingKill};
use crate::snapshot::Snapshot;
use crate::snapshot::hub::Hub;

/// A kill that is in force and that the journal does not hold yet.
#[derive(Debug)]
pub struct Unjournaled {
    /// Where.
    pub environment: EnvironmentName,
    /// Which flags.
    pub flags: Vec<FlagId>,
    /// Since which generation.
    pub generation: Generation,
    /// Who, why, and under which idempotency key.
    pub call: Call,
    /// What was answered, for a repetition of the call.
    pub outcome: Option<Outcome>,
    /// Whether the journal would not take it at first.
    pub waited: bool,
    /// Told when the journal holds it.
    pub journaled: Option<oneshot::Sender<Revision>>,
}

/// The kill lane of one node.
#[derive(Debug)]
pub struct KillLane {
    hub: Arc<Hub>,
    clock: Clock,
    state: Mutex<State>,
    pending: Arc<Mutex<Option<Pending>>>,
    wake: Notify,
    patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    last: Generation,
    unjournaled: Vec<Unjournaled>,
}

impl KillLane {
    /// A lane that waits at most `patience` for the journal before it answers. `pending` is the file that takes kills
    /// when the journal cannot; none where everything is in memory anyway.
    pub fn new(hub: Arc<Hub>, clock: Clock, pending: Option<Pending>, patience: Duration) -> Self {
        Self {
            hub,
            clock,
            state: Mutex::default(),
            pending: Arc::new(Mutex::new(pending)),
            wake: Notify::new(),
            patience,
        }
    }

    /// Takes up the count where an earlier process or the journal left it.
    pub fn resume(&self, generation: Generation) {
        let mut state = self.lock();
        state.last = state.last.max(generation);
    }

    /// Takes back a kill that an earlier process could only put into the pending file.
    pub fn readmit(&self, kill: Unjournaled) {
        let mut state = self.lock();
        state.last = state.last.max(kill.generation);
        state.unjournaled.push(kill);
        self.wake.notify_one();
    }

    /// The next generation of the lane, for a restore that is about to be recorded.
    pub fn claim(&self) -> Generation {
        let mut state = self.lock();
        state.last = state.last.following(self.clock.now());
        state.last
    }

    /// Turns flags off, then makes that durable as far as it can be.
    ///
    /// # Errors
    /// An environment, flag or tag that does not exist. Nothing else can refuse a kill.
    pub async fn kill(&self, environment: &EnvironmentName, targets: &Targets, call: Call) -> Result<Outcome, Refusal> {
        let (outcome, started) = self.apply(environment, targets, call)?;
        let Some((kills, journaled)) = started else {
            return Ok(outcome);
        };
        let pending = Arc::clone(&self.pending);
        let saved = tokio::task::spawn_blocking(move || save(&pending, &kills));
        let durability = match tokio::time::timeout(self.patience, journaled).await {
            Ok(Ok(revision)) => {
                return Ok(Outcome { revision: Some(revision), ..outcome });
            }
            Ok(Err(_)) | Err(_) => match tokio::time::timeout(self.patience, saved).await {
                Ok(Ok(true)) => Durability::Node,
                _ => Durability::Memory,
            },
        };
        Ok(Outcome { durability, ..outcome })
    }

    /// The part that is never waited for: a generation, and what is served from now on.
    #[expect(clippy::type_complexity, reason = "used once, named by its parts")]
    fn apply(
        &self,
        environment: &EnvironmentName,
        targets: &Targets,
        call: Call,
    ) -> Result<(Outcome, Option<(Vec<PendingKill>, oneshot::Receiver<Revision>)>), Refusal> {
        let mut state = self.lock();
        let snapshot = self.hub.current(environment).ok_or_else(|| Refusal::UnknownEnvironment(environment.clone()))?;
        let all = resolve(&snapshot.set, targets)?;
        let effect = |flag: &FlagId| match snapshot.kills().killed(flag) {
            Some(_) => Effect::Unchanged,
            None => Effect::Killed,
        };
        let touched: Vec<Touched> = all.iter().map(|flag| Touched::flag(flag, effect(flag))).collect();
        let flags: Vec<FlagId> = all.iter().filter(|flag| effect(flag) == Effect::Killed).cloned().collect();
        if flags.is_empty() {
            let held = all.iter().filter_map(|flag| snapshot.kills().killed(flag)).max();
            return Ok((Outcome { generation: held, ..Outcome::nothing(touched) }, None));
        }
        let now = self.clock.now();
        let generation = state.last.max(snapshot.kills().generation()).following(now);
        state.last = generation;
        let mut kills = KillSet::default();
        for flag in &flags {
            kills.merge(flag, KillMark { generation, killed: true });
        }
        self.hub.publish(environment, |before| match before {
            Some(before) => before.with_kills(&kills, now),
            None => Snapshot::with_kills(&snapshot, &kills, now),
        });
        let entry = |flag: &FlagId| PendingKill {
            environment: environment.clone(),
            flag: flag.clone(),
            generation,
            at: now,
            actor: call.actor.clone(),
            reason: call.reason.clone(),
        };
        let saves = flags.iter().map(entry).collect();
        let (journaled, wait) = oneshot::channel();
        let environment = environment.clone();
        let outcome = Outcome { generation: Some(generation), ..Outcome::nothing(touched) };
        let (answered, journaled) = (Some(outcome.clone()), Some(journaled));
        state.unjournaled.push(Unjournaled {
            environment,
            flags,
            generation,
            call,
            outcome: answered,
            waited: false,
            journaled,
        });
        drop(state);
        self.wake.notify_one();
        Ok((outcome, Some((saves, wait))))
    }

    /// Resolves when there may be something to journal.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes out the kills that the journal does not hold yet, oldest first.
    pub fn take_unjournaled(&self) -> Vec<Unjournaled> {
        std::mem::take(&mut self.lock().unjournaled)
    }

    /// Puts back kills that the journal would not take.
    pub fn put_back(&self, mut kills: Vec<Unjournaled>) {
        kills.iter_mut().for_each(|kill| kill.waited = true);
        let mut state = self.lock();
        kills.append(&mut state.unjournaled);
        state.unjournaled = kills;
    }

    /// How many kills are in force that the journal does not hold yet.
    pub fn unjournaled(&self) -> usize {
        self.lock().unjournaled.len()
    }

    /// Forgets the pending entries that the journal holds now.
    pub fn settled(&self, up_to: Generation) {
        let pending = Arc::clone(&self.pending);
        tokio::task::spawn_blocking(move || {
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Err(error)) = pending.as_mut().map(|file| file.clear(up_to)) {
                // Harmless: an entry that stays is merged again at the next start, and changes nothing.
                tracing::warn!(%error, "the pending kill file could not be cleared");
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn save(pending: &Mutex<Option<Pending>>, kills: &[PendingKill]) -> bool {
    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
    match pending.as_mut().map(|file| file.put(kills)) {
        Some(Ok(())) => true,
        Some(Err(error)) => {
            tracing::error!(%error, "a kill is in force but could not be written to the pending file");
            false
        }
        None => false,
    }
}
