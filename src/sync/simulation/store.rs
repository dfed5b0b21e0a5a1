//! A store with one or two nodes: what is written, killed, compacted, backed up, restored and lost. Beside the views
//! that the machines read it keeps the model's own account of the same.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use super::dice::Dice;
use super::model::{FLAGS, FlagNumber, Known, State, Written, flag};
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::{Generation, Revision};
use crate::sync::message::{Digest, Epoch, FullReason, KillEntry, Resume, ServerBody, ServerMessage};
use crate::sync::object::{ObjectKey, ObjectState};
use crate::sync::objects::Objects;
use crate::sync::view::{Standing, View};

/// One server of a store: it serves what it has heard of.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) view: View,
    pub(super) state: Rc<State>,
    pub(super) known: Rc<Known>,
    pub(super) compacted: u64,
    /// The oldest revision whose digest it remembers.
    remembers: u64,
    /// Since which step each kill in force is served here.
    pub(super) killed_since: BTreeMap<FlagNumber, (u64, u64)>,
}

/// A node, its timeline, and the words of the kill lane that its journal holds.
type Backup = (Node, BTreeMap<u64, Digest>, BTreeMap<u64, (FlagNumber, bool)>);

/// One environment's truth.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) name: Arc<str>,
    /// The first commits; the others follow when they hear of it.
    pub(super) nodes: Vec<Node>,
    /// Every state that was ever published, by digest.
    pub(super) states: BTreeMap<Digest, Rc<State>>,
    /// Revision → digest of the history that counts now.
    pub(super) timeline: BTreeMap<u64, Digest>,
    /// The words of the kill lane in the history that counts now.
    words: BTreeMap<u64, (FlagNumber, bool)>,
    /// The newest generation ever given out: time goes on whatever is lost.
    given: u64,
    /// What was lost without a word: generations, and the newest of them. Within the present epoch.
    pub(super) lost: BTreeSet<u64>,
    pub(super) lost_up_to: u64,
    /// Records were lost without a new epoch.
    pub(super) rolled_back: bool,
    backup: Backup,
}

/// How a store comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Return {
    /// With everything.
    AsItWas,
    /// Without the digests of the past.
    Forgetful,
    /// As it was, under a new name: a restore that lost nothing.
    Renamed,
    /// From a backup, under a new name.
    Declared,
    /// From a backup, as if nothing had happened.
    Undeclared,
}

fn digest_of(dice: &mut Dice, revision: u64) -> Digest {
    // The dice stand in for the chain hash: two histories never share a digest.
    (u128::from(dice.roll(1 << 31)) << 96 | u128::from(dice.roll(1 << 31)) << 64 | u128::from(revision)).to_be_bytes()
}

fn epoch_of(dice: &mut Dice) -> Epoch {
    (u128::from(dice.roll(1 << 31)) << 64 | u128::from(dice.roll(1 << 31))).to_be_bytes()
}

impl Store {
    pub(super) fn new(name: &str, nodes: usize, dice: &mut Dice) -> Self {
        let epoch = epoch_of(dice);
        let state = Rc::new(State { epoch, revision: 0, digest: [0; 16], flags: BTreeMap::new() });
        let node = Node {
            view: View::empty(epoch),
            state: Rc::clone(&state),
            known: Rc::new(Known { epoch, ..Known::default() }),
            compacted: 0,
            remembers: 1,
            killed_since: BTreeMap::new(),
        };
        Self {
            name: Arc::from(name),
            nodes: vec![node.clone(); nodes],
            states: BTreeMap::from([([0; 16], state)]),
            timeline: BTreeMap::new(),
            words: BTreeMap::new(),
            given: 0,
            lost: BTreeSet::new(),
            lost_up_to: 0,
            rolled_back: false,
            backup: (node, BTreeMap::new(), BTreeMap::new()),
        }
    }

    pub(super) fn key(&self, number: FlagNumber) -> ObjectKey {
        ObjectKey::flag(&flag(&self.name, number))
    }

    /// Writes, deletes or compacts: one revision, at the first node.
    pub(super) fn change(&mut self, dice: &mut Dice, write: bool) {
        let node = &self.nodes[0];
        let (epoch, revision) = (node.state.epoch, node.state.revision + 1);
        let mut flags = node.state.flags.clone();
        let mut objects = node.view.objects().clone();
        let mut compacted = node.compacted;
        let number = u8::try_from(dice.roll(u64::from(FLAGS))).expect("small");
        let key = self.key(number);
        if !write && dice.one_in(2) {
            flags.remove(&number);
            objects = objects.remove(&key, Revision(revision));
        } else {
            let written = Written { revision, number: 1 + dice.roll(1000) };
            flags.insert(number, written);
            let (payload, allocation) = (written.payload(), written.allocation());
            objects = objects.put(ObjectState { key, revision: Revision(revision), payload, allocation });
        }
        if dice.one_in(10) {
            let upto = dice.roll(revision);
            objects = objects.compact(Revision(upto));
            compacted = compacted.max(upto);
        }
        let digest = digest_of(dice, revision);
        let state = Rc::new(State { epoch, revision, digest, flags });
        self.states.insert(digest, Rc::clone(&state));
        self.timeline.insert(revision, digest);
        let node = &mut self.nodes[0];
        node.view = node.view.advance(epoch, Revision(revision), digest, objects);
        node.state = state;
        node.compacted = compacted;
    }

    /// Kills or restores a flag at a node; the others hear of it later.
    pub(super) fn mark(&mut self, node: usize, dice: &mut Dice, now: u64) -> (FlagNumber, u64, bool) {
        self.given += 1 + dice.roll(5);
        let word = (u8::try_from(dice.roll(u64::from(FLAGS))).expect("small"), dice.one_in(2));
        self.words.insert(self.given, word);
        let mut known = Known::clone(&self.nodes[node].known);
        known.words.insert(self.given, word);
        self.learn(node, known, now);
        (word.0, self.given, word.1)
    }

    /// A node hears everything that the others know.
    pub(super) fn gossip(&mut self, node: usize, now: u64) {
        let source = self.nodes[0].clone();
        let mut known = Known::clone(&self.nodes[node].known);
        for other in &self.nodes {
            known.words.extend(other.known.words.iter());
        }
        let own = &self.nodes[node];
        let (own_known, killed_since) = (Rc::clone(&own.known), own.killed_since.clone());
        self.nodes[node] = Node { known: own_known, killed_since, ..source };
        self.learn(node, known, now);
    }

    fn learn(&mut self, node: usize, mut known: Known, now: u64) {
        let unknown = self.words.keys().find(|at| !known.words.contains_key(at));
        known.complete_to = match unknown {
            // Everything before the first word that it has not heard of.
            Some(first) => known.words.range(..first).next_back().map_or(0, |(at, _)| *at),
            None => known.generation(),
        };
        let mut kills = KillSet::default();
        for (at, (number, killed)) in &known.words {
            let mark = KillMark { generation: Generation(*at), killed: *killed };
            kills.merge(&flag(&self.name, *number), mark);
        }
        let node = &mut self.nodes[node];
        node.view = node.view.with_kills(Arc::new(kills));
        let since = |(number, at): (FlagNumber, u64)| {
            let before = node.killed_since.get(&number).filter(|(held, _)| *held == at);
            (number, before.copied().unwrap_or((at, now)))
        };
        node.killed_since = known.killed().into_iter().map(since).collect();
        node.known = Rc::new(known);
    }

    pub(super) fn back_up(&mut self) {
        // It holds what the node knows that makes it; what others know is not in its journal yet.
        let words = self.nodes[0].known.words.clone();
        self.backup = (self.nodes[0].clone(), self.timeline.clone(), words);
    }

    /// The store comes back. All its nodes are there again at once.
    pub(super) fn restart(&mut self, how: Return, dice: &mut Dice, now: u64) {
        for node in 1..self.nodes.len() {
            self.gossip(node, now);
        }
        // What one node knew, all know: a kill is in the journal, or in a node's pending file.
        self.gossip(0, now);
        let old = self.nodes[0].state.epoch;
        let from_backup = matches!(how, Return::Declared | Return::Undeclared);
        let undeclared = how == Return::Undeclared && self.backup.0.state.epoch == old;
        if from_backup {
            let (node, timeline, words) = self.backup.clone();
            if undeclared {
                self.rolled_back = true;
                self.lost.extend(self.words.keys().filter(|at| !words.contains_key(at)));
                self.lost_up_to = self.given;
            }
            (self.nodes[0], self.timeline, self.words) = (node, timeline, words);
        }
        let mut state = State::clone(&self.nodes[0].state);
        // A backup of another epoch is another history, whether somebody says so or not.
        if matches!(how, Return::Renamed | Return::Declared) || (from_backup && !undeclared) {
            state.epoch = epoch_of(dice);
            state.digest = digest_of(dice, state.revision);
            self.timeline = BTreeMap::from([(state.revision, state.digest)]);
            (self.rolled_back, self.lost_up_to) = (false, 0);
            self.lost.clear();
        }
        let objects = self.nodes[0].view.objects().clone();
        self.boot(state, objects, how == Return::Forgetful, now);
    }

    fn boot(&mut self, state: State, objects: Objects, forgetful: bool, now: u64) {
        self.timeline.insert(state.revision, state.digest);
        let fresh = View::empty(state.epoch).advance(state.epoch, Revision(state.revision), state.digest, objects);
        let node = &mut self.nodes[0];
        node.remembers = state.revision;
        node.view = fresh;
        if !forgetful {
            let digests = self.timeline.iter().map(|(revision, digest)| (Revision(*revision), *digest));
            node.view = node.view.remembering(digests);
            node.remembers = 0;
        }
        node.state = Rc::new(state);
        self.states.insert(node.state.digest, Rc::clone(&node.state));
        let mut known = Known::clone(&node.known);
        known.epoch = node.state.epoch;
        node.killed_since.clear();
        self.learn(0, known, now);
        let node = self.nodes[0].clone();
        self.nodes.fill(node);
    }

    /// Every revision that was acknowledged, and its digest, are still what they were.
    pub(super) fn durable(&self, acknowledged: &BTreeMap<u64, Digest>) -> Result<(), String> {
        for (revision, digest) in acknowledged {
            let resume = Resume {
                epoch: self.nodes[0].state.epoch,
                revision: Revision(*revision),
                digest: *digest,
                kill_generation: Generation::ZERO,
            };
            let said = self.nodes[0].view.judge(&resume);
            if !matches!(said, Standing::Known | Standing::Full(FullReason::Compacted)) {
                return Err(format!("revision {revision} was acknowledged, and now {said:?}"));
            }
        }
        Ok(())
    }
}

impl Node {
    /// What a resume token is worth here by the model's account: none for going on from there.
    pub(super) fn worth(&self, resume: &Resume, timeline: &BTreeMap<u64, Digest>) -> Option<FullReason> {
        let revision = resume.revision.0;
        if resume.epoch != self.state.epoch {
            return Some(FullReason::EpochChanged);
        }
        if revision > self.state.revision {
            return Some(FullReason::FutureRevision);
        }
        let digest = timeline.get(&revision).filter(|_| revision >= self.remembers);
        match digest {
            _ if revision < self.compacted => Some(FullReason::Compacted),
            None => Some(FullReason::Compacted),
            Some(digest) if *digest == resume.digest => None,
            Some(_) => Some(FullReason::DigestMismatch),
        }
    }

    /// A kill set as a node says it that does not know everything: how far it is complete, and the restores above.
    /// The present lists are of nodes that know everything; this is what theirs will be.
    pub(super) fn word(&self, environment: &str, known: &Known, mut message: ServerMessage) -> ServerMessage {
        let ServerBody::Kills(part) = &mut message.body else { return message };
        part.complete_to = Generation(known.complete_to);
        for (number, (at, killed)) in known.last() {
            if !killed && at > known.complete_to {
                let (key, generation) = (flag(environment, number).key, Generation(at));
                let key = Arc::from(key.as_str());
                part.entries.push(KillEntry { flag_set: None, key, generation, restored: true });
                part.count += 1;
            }
        }
        message
    }
}

/// What the planted mistakes need.
impl Store {
    /// The last record is gone: the revision before it is the newest.
    pub(super) fn forget_the_last(&mut self) {
        let Some((revision, _)) = self.timeline.pop_last() else { return };
        let node = &mut self.nodes[0];
        let digest = self.timeline.get(&(revision - 1)).copied().unwrap_or([0; 16]);
        node.state = Rc::new(State { revision: revision - 1, digest, ..State::clone(&node.state) });
    }

    /// The backup, where it is of an earlier revision of the present history and not empty.
    pub(super) fn backup_of_before(&self, revision: u64) -> Option<(View, Rc<State>)> {
        let node = &self.backup.0;
        let earlier = node.state.revision < revision && node.state.epoch == self.nodes[0].state.epoch;
        (earlier && !node.state.flags.is_empty()).then(|| (node.view.clone(), Rc::clone(&node.state)))
    }
}
