//! The hub: the current snapshot of each environment, swapped whole, and the wake-up of those who follow it.
//!
//! There is one way to publish, [`Hub::publish`], for boot, change and kill alike. Writers take turns; readers never
//! wait. Kills only ever grow by merging, so a publish that was prepared before a kill cannot undo it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::Snapshot;
use super::roster::{KEEP_LOST, Roster};
use crate::access::token::Tokens;
use crate::eval::fractional::FractionalHash;
use crate::flag::key::EnvironmentName;
use crate::sync::message::Lane;

/// One environment's place in the hub.
#[derive(Debug)]
struct Slot {
    current: ArcSwap<Snapshot>,
    followers: watch::Sender<Arc<Snapshot>>,
    roster: Arc<Roster>,
}

/// The current snapshots and tokens of this node.
#[derive(Debug)]
pub struct Hub {
    slots: ArcSwap<HashMap<EnvironmentName, Arc<Slot>>>,
    tokens: ArcSwap<Tokens>,
    token_followers: watch::Sender<Arc<Tokens>>,
    turn: Mutex<()>,
    fractional_hash: FractionalHash,
    keep_lost: Duration,
}

impl Default for Hub {
    fn default() -> Self {
        let tokens = Arc::new(Tokens::default());
        Self {
            slots: ArcSwap::default(),
            token_followers: watch::Sender::new(Arc::clone(&tokens)),
            tokens: ArcSwap::new(tokens),
            turn: Mutex::new(()),
            fractional_hash: FractionalHash::default(),
            keep_lost: KEEP_LOST,
        }
    }
}

impl Hub {
    /// A hub whose every set has this generation of flagd's `fractional`, where a flag's metadata names none, and whose
    /// rosters count lost clients as missing for `keep_lost`.
    pub fn new(fractional_hash: FractionalHash, keep_lost: Duration) -> Self {
        Self { fractional_hash, keep_lost, ..Self::default() }
    }

    /// What an environment serves now; none where there is no such environment.
    pub fn current(&self, environment: &EnvironmentName) -> Option<Arc<Snapshot>> {
        self.slots.load().get(environment).map(|slot| slot.current.load_full())
    }

    /// Follows an environment: the receiver holds the newest snapshot and wakes when it is replaced. It ends when the
    /// environment goes.
    pub fn subscribe(&self, environment: &EnvironmentName) -> Option<watch::Receiver<Arc<Snapshot>>> {
        self.slots.load().get(environment).map(|slot| slot.followers.subscribe())
    }

    /// Who follows an environment on this node; none where there is no such environment.
    pub fn roster(&self, environment: &EnvironmentName) -> Option<Arc<Roster>> {
        self.slots.load().get(environment).map(|slot| Arc::clone(&slot.roster))
    }

    /// The rosters of all environments.
    pub fn rosters(&self) -> Vec<(EnvironmentName, Arc<Roster>)> {
        self.slots.load().iter().map(|(name, slot)| (name.clone(), Arc::clone(&slot.roster))).collect()
    }

    /// All current snapshots, in no particular order.
    pub fn snapshots(&self) -> Vec<Arc<Snapshot>> {
        self.slots.load().values().map(|slot| slot.current.load_full()).collect()
    }

    /// Replaces an environment's snapshot with what `make` builds from the present one (none at first). Publishers
    /// take turns, so `make` sees what its forerunner published; it must not block.
    ///
    /// The kills of the present snapshot are merged into the new one, whatever `make` did.
    pub fn publish(
        &self,
        environment: &EnvironmentName,
        make: impl FnOnce(Option<&Snapshot>) -> Snapshot,
    ) -> Arc<Snapshot> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = self.slots.load().get(environment).cloned();
        let before = slot.as_ref().map(|slot| slot.current.load_full());
        let mut after = make(before.as_deref());
        if after.set.fractional_hash() != self.fractional_hash {
            after.set = after.set.with_fractional_hash(self.fractional_hash);
        }
        after.view = after.view.with_fractional_hash(self.fractional_hash);
        if let Some(before) = &before {
            let at = after.published_at;
            if !Arc::ptr_eq(before.kills(), after.kills()) {
                after = after.with_kills(before.kills(), at);
            }
        }
        let after = Arc::new(after);
        match slot {
            Some(slot) => {
                announce(&slot.roster, before.as_deref(), &after);
                slot.current.store(Arc::clone(&after));
                slot.followers.send_replace(Arc::clone(&after));
            }
            None => self.open(environment, &after),
        }
        after
    }

    /// The tokens in force.
    pub fn tokens(&self) -> Arc<Tokens> {
        self.tokens.load_full()
    }

    /// Follows the tokens, so that a stream can end when its token is revoked.
    pub fn follow_tokens(&self) -> watch::Receiver<Arc<Tokens>> {
        self.token_followers.subscribe()
    }

    /// Replaces the tokens in force.
    pub fn publish_tokens(&self, tokens: Tokens) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = Arc::new(tokens);
        self.tokens.store(Arc::clone(&tokens));
        self.token_followers.send_replace(tokens);
    }

    fn open(&self, environment: &EnvironmentName, first: &Arc<Snapshot>) {
        let roster = Arc::new(Roster::new(self.keep_lost));
        announce(&roster, None, first);
        let followers = watch::Sender::new(Arc::clone(first));
        let slot = Slot { current: ArcSwap::new(Arc::clone(first)), followers, roster };
        let mut slots = HashMap::clone(&self.slots.load());
        slots.insert(environment.clone(), Arc::new(slot));
        self.slots.store(Arc::new(slots));
    }
}

/// Tells the roster what is about to be served, so that no receipt can come before its publish.
fn announce(roster: &Roster, before: Option<&Snapshot>, after: &Snapshot) {
    let generation = |snapshot: &Snapshot| snapshot.kills().generation().0;
    if before.is_none_or(|before| generation(before) != generation(after)) {
        roster.publish(Lane::Kills, generation(after), after.published_at);
    }
    let changed = |before: &Snapshot| after.view.objects().newest() > before.view.revision();
    if before.is_none_or(changed) {
        roster.publish(Lane::Objects, after.revision.0, after.published_at);
    } else {
        roster.serve(Lane::Objects, after.revision.0);
    }
}
