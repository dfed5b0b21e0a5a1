//! The kill lane: from a kill set to its parts on the wire, and back to what a client holds.
//!
//! The set travels whole every time. A set says how far it is complete; up to there it is the truth, and leaving a flag
//! out means that the flag is not killed. Above, sets of different nodes are joined, so a node that does not yet know
//! what another knows can neither undo a kill nor bring an old one back. Independent of transfers.

use std::sync::Arc;

use super::hash::{Encoder, SetHash};
use super::limits::{KILL_ENTRIES_MAX, KILL_PART_BYTES, KILL_PART_ENTRIES};
use super::message::{Epoch, KillEntry, KillPart};
use crate::flag::key::{FlagId, FlagKey, FlagSetName};
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::Generation;

/// A kill set as it is sent: sorted and hashed once for all subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillList {
    generation: Generation,
    entries: Vec<KillEntry>,
    hash: SetHash,
    /// Where each part ends among the entries.
    ends: Vec<usize>,
}

impl KillList {
    /// The list of a set of which this node knows everything.
    pub fn of(kills: &KillSet) -> Self {
        let entries: Vec<KillEntry> = kills.entries().into_iter().map(|(flag, at)| entry(flag, at)).collect();
        let hash = hash_of(&entries);
        let ends = ends_of(&entries);
        Self { generation: kills.generation(), entries, hash, ends }
    }

    /// The newest generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The hash over the killed flags.
    pub fn set_hash(&self) -> SetHash {
        self.hash
    }

    /// How many parts it takes; at least one.
    pub fn parts(&self) -> usize {
        self.ends.len()
    }

    /// One part, from 0; none after the last.
    pub fn part(&self, part: usize, epoch: Epoch, environment: &Arc<str>) -> Option<KillPart> {
        let end = *self.ends.get(part)?;
        let start = part.checked_sub(1).map_or(0, |before| self.ends[before]);
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Some(KillPart {
            epoch,
            generation: self.generation,
            environment: Arc::clone(environment),
            entries: self.entries[start..end].to_vec(),
            count: count(self.entries.len()),
            set_hash: self.hash,
            part: count(part),
            parts: count(self.ends.len()),
            complete_to: self.generation,
        })
    }
}

/// Why the parts of a kill set do not make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KillFault {
    /// Parts are missing, repeated or of different sets.
    #[error("the parts of a kill set do not follow each other")]
    Order,
    /// The count or the hash is not what was announced.
    #[error("a kill set is not what it was announced to be")]
    Mismatch,
    /// More entries than there can be flags.
    #[error("a kill set has more entries than a client takes")]
    TooMany,
    /// It speaks of another environment than the one that is followed.
    #[error("a kill set is of another environment")]
    Environment,
}

/// The parts of one kill set as they arrive.
#[derive(Debug, Clone)]
pub struct Gathering {
    nonce: u64,
    first: KillPart,
    entries: Vec<KillEntry>,
    next: u32,
}

impl Gathering {
    /// Begins with a part, which must be the first.
    ///
    /// # Errors
    /// It is not the first.
    pub fn begin(nonce: u64, mut part: KillPart) -> Result<Self, KillFault> {
        if part.part != 0 || part.parts == 0 {
            return Err(KillFault::Order);
        }
        if usize::try_from(part.count).unwrap_or(usize::MAX) > KILL_ENTRIES_MAX {
            return Err(KillFault::TooMany);
        }
        let entries = std::mem::take(&mut part.entries);
        Ok(Self { nonce, first: part, entries, next: 1 })
    }

    /// Takes the next part.
    ///
    /// # Errors
    /// It is not the next one, or belongs to another set.
    pub fn take(&mut self, nonce: u64, part: KillPart) -> Result<(), KillFault> {
        let same = nonce == self.nonce && part.generation == self.first.generation && part.epoch == self.first.epoch;
        if !same || part.part != self.next || part.parts != self.first.parts {
            return Err(KillFault::Order);
        }
        if self.entries.len() + part.entries.len() > KILL_ENTRIES_MAX {
            return Err(KillFault::TooMany);
        }
        self.entries.extend(part.entries);
        self.next += 1;
        Ok(())
    }

    /// Which set this is.
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// True when the last part is there.
    pub fn is_complete(&self) -> bool {
        self.next == self.first.parts
    }

    /// The whole set.
    ///
    /// # Errors
    /// Its count or hash is not what was announced.
    pub fn finish(self) -> Result<Received, KillFault> {
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        if count != self.first.count || hash_of(&self.entries) != self.first.set_hash {
            return Err(KillFault::Mismatch);
        }
        let KillPart { epoch, generation, complete_to, environment, .. } = self.first;
        Ok(Received { epoch, generation, complete_to, environment, entries: self.entries })
    }
}

/// A kill set that arrived whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The store's epoch.
    pub epoch: Epoch,
    /// The newest generation in it.
    pub generation: Generation,
    /// Every kill and restore up to this generation is in it.
    pub complete_to: Generation,
    /// The environment it speaks of.
    pub environment: Arc<str>,
    entries: Vec<KillEntry>,
}

/// The kills that a client holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeldKills {
    epoch: Option<Epoch>,
    generation: Generation,
    complete_to: Generation,
    kills: Arc<KillSet>,
}

impl HeldKills {
    /// What was held before, as somebody kept it.
    pub fn kept(epoch: Epoch, generation: Generation, complete_to: Generation, kills: KillSet) -> Self {
        Self { epoch: Some(epoch), generation, complete_to, kills: Arc::new(kills) }
    }

    /// The epoch of the store that they come from; none before the first set.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    /// Every kill and restore up to here is known.
    pub fn complete_to(&self) -> Generation {
        self.complete_to
    }

    /// The newest generation that was taken in.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The newest generation that was taken in of this epoch; zero where what is held is another epoch's.
    pub fn generation_in(&self, epoch: Epoch) -> Generation {
        if self.epoch == Some(epoch) { self.generation } else { Generation::ZERO }
    }

    /// The kills in force.
    pub fn kills(&self) -> &Arc<KillSet> {
        &self.kills
    }

    /// What is held after a set arrived. In the same epoch the two are merged: whichever is complete further (the one
    /// that arrived, where both are equally far) decides up to there; above, the larger generation wins per flag.
    /// Another epoch's set takes the place of everything.
    ///
    /// Entries whose names this version refuses are left out: there can be no such flag to turn off.
    #[must_use]
    pub fn with(&self, received: &Received) -> Self {
        let nothing = Self::default();
        let held = if self.epoch == Some(received.epoch) { self } else { &nothing };
        let arrived = set_of(&received.entries);
        let (wiser, other) = match received.complete_to >= held.complete_to {
            true => (&arrived, &*held.kills),
            false => (&*held.kills, &arrived),
        };
        let complete_to = held.complete_to.max(received.complete_to);
        let mut kills = KillSet::default();
        // A restore has to be remembered only where somebody may still bring up the kill it undid.
        for (flag, mark) in wiser.marks().filter(|(_, mark)| mark.killed || mark.generation > complete_to) {
            kills.merge(flag, mark);
        }
        for (flag, mark) in other.marks().filter(|(_, mark)| mark.generation > complete_to) {
            kills.merge(flag, mark);
        }
        Self {
            epoch: Some(received.epoch),
            generation: held.generation.max(received.generation),
            complete_to,
            kills: Arc::new(kills),
        }
    }
}

/// The hash over the killed flags of a set, as an acknowledgement carries it.
pub fn set_hash(kills: &KillSet) -> SetHash {
    kills.marks().filter(|(_, mark)| mark.killed).fold(SetHash::EMPTY, |hash, (flag, mark)| {
        let flag_set = flag.flag_set.as_ref().map(FlagSetName::as_str);
        hash.with(element(flag_set, flag.key.as_str(), mark.generation))
    })
}

pub(super) fn hash_of(entries: &[KillEntry]) -> SetHash {
    entries
        .iter()
        .filter(|entry| !entry.restored)
        .fold(SetHash::EMPTY, |hash, entry| hash.with(element(entry.flag_set.as_deref(), &entry.key, entry.generation)))
}

/// A kill's share of the set hash: flag set, key, generation.
fn element(flag_set: Option<&str>, key: &str, generation: Generation) -> super::hash::ElementHash {
    let flag_set = flag_set.unwrap_or_default();
    Encoder::default().bytes(flag_set.as_bytes()).bytes(key.as_bytes()).u64(generation.0).finish()
}

fn entry(flag: &FlagId, generation: Generation) -> KillEntry {
    KillEntry {
        flag_set: flag.flag_set.as_ref().map(|set| Arc::from(set.as_str())),
        key: Arc::from(flag.key.as_str()),
        generation,
        restored: false,
    }
}

fn flag_of(entry: &KillEntry) -> Option<FlagId> {
    let flag_set = entry.flag_set.as_deref().map(FlagSetName::new).transpose().ok()?;
    Some(FlagId { flag_set, key: FlagKey::new(&entry.key).ok()? })
}

fn set_of(entries: &[KillEntry]) -> KillSet {
    let mut kills = KillSet::default();
    for entry in entries {
        if let Some(flag) = flag_of(entry) {
            kills.merge(&flag, KillMark { generation: entry.generation, killed: !entry.restored });
        }
    }
    kills
}

fn ends_of(entries: &[KillEntry]) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, entry) in entries.iter().enumerate() {
        let weight = entry.key.len() + entry.flag_set.as_ref().map_or(0, |set| set.len()) + 16;
        if at - start == KILL_PART_ENTRIES || (at > start && bytes + weight > KILL_PART_BYTES) {
            ends.push(at);
            (start, bytes) = (at, 0);
        }
        bytes += weight;
    }
    ends.push(entries.len());
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(name: &str) -> FlagId {
        FlagId::plain(FlagKey::new(name).expect("a valid key"))
    }

    fn kills(marks: &[(&str, u64, bool)]) -> KillSet {
        let mut kills = KillSet::default();
        for (name, generation, killed) in marks {
            kills.merge(&flag(name), KillMark { generation: Generation(*generation), killed: *killed });
        }
        kills
    }

    fn received(list: &KillList) -> Result<Received, KillFault> {
        let environment = Arc::from("production");
        let mut parts = (0..list.parts()).map(|part| list.part(part, [1; 16], &environment).expect("a part"));
        let mut gathering = Gathering::begin(7, parts.next().expect("the first part"))?;
        for part in parts {
            assert!(!gathering.is_complete());
            gathering.take(7, part)?;
        }
        assert!(gathering.is_complete());
        gathering.finish()
    }

    #[test]
    fn a_set_of_any_size_arrives_as_it_was() {
        for size in [0, 1, KILL_PART_ENTRIES, KILL_PART_ENTRIES + 1, 3 * KILL_PART_ENTRIES] {
            let mut sent = KillSet::default();
            for n in 0..size {
                let mark = KillMark { generation: Generation(n as u64 + 1), killed: true };
                sent.merge(&flag(&format!("a-flag-with-a-rather-long-name-{n}")), mark);
            }
            let list = KillList::of(&sent);
            let held = HeldKills::default().with(&received(&list).expect("a whole set"));
            assert_eq!(held.kills().entries(), sent.entries());
            assert_eq!(set_hash(held.kills()), list.set_hash());
        }
    }

    #[test]
    fn no_part_is_longer_than_its_limits() {
        let mut sent = KillSet::default();
        for n in 0..9000 {
            let mark = KillMark { generation: Generation(1), killed: true };
            sent.merge(&flag(&format!("{n}-{}", "x".repeat(200))), mark);
        }
        let list = KillList::of(&sent);
        for part in 0..list.parts() {
            let part = list.part(part, [0; 16], &Arc::from("e")).expect("a part");
            assert!(part.entries.len() <= KILL_PART_ENTRIES);
            assert!(part.entries.iter().map(|entry| entry.key.len()).sum::<usize>() <= KILL_PART_BYTES);
        }
    }

    fn arrived(marks: &[(&str, u64, bool)], epoch: u8, complete_to: Option<u64>) -> Received {
        let mut arrived = received(&KillList::of(&kills(marks))).expect("a whole set");
        arrived.epoch = [epoch; 16];
        arrived.complete_to = complete_to.map_or(arrived.generation, Generation);
        if let Some(known) = complete_to {
            arrived.entries.extend(
                marks
                    .iter()
                    .filter(|(_, at, killed)| !killed && *at > known)
                    .map(|(name, at, _)| KillEntry { restored: true, ..entry(&flag(name), Generation(*at)) }),
            );
        }
        arrived
    }

    fn killed(held: &HeldKills) -> Vec<&str> {
        held.kills().entries().into_iter().map(|(flag, _)| flag.key.as_str()).collect()
    }

    #[test]
    fn a_newer_set_restores_what_it_leaves_out() {
        let held = HeldKills::default().with(&arrived(&[("a", 5, true), ("b", 6, true)], 1, None));
        assert_eq!(killed(&held), ["a", "b"]);
        let held = held.with(&arrived(&[("b", 6, true), ("a", 9, false)], 1, None));
        assert_eq!((killed(&held), held.generation()), (vec!["b"], Generation(9)));
    }

    #[test]
    fn an_older_set_changes_nothing() {
        let newest = arrived(&[("a", 5, false), ("b", 6, true)], 1, None);
        let held = HeldKills::default().with(&newest).with(&arrived(&[("a", 2, true)], 1, None));
        assert_eq!((killed(&held), held.generation()), (vec!["b"], Generation(6)));
    }

    #[test]
    fn nodes_that_do_not_know_each_others_kills_cannot_undo_them() {
        let (left, right) = (arrived(&[("a", 50, true)], 1, Some(40)), arrived(&[("b", 60, true)], 1, Some(40)));
        let held = HeldKills::default().with(&left).with(&right);
        assert_eq!(killed(&held), ["a", "b"]);
        assert_eq!(killed(&HeldKills::default().with(&right).with(&left)), ["a", "b"], "in either order");
        let restored = arrived(&[("a", 70, false)], 1, Some(40));
        let held = held.with(&restored);
        assert_eq!(killed(&held), ["b"]);
        assert_eq!(killed(&held.with(&left)), ["b"], "the kill that was undone does not come back");
    }

    #[test]
    fn another_epochs_set_takes_the_place_of_everything() {
        let held = HeldKills::default().with(&arrived(&[("a", 50, true)], 1, None));
        let held = held.with(&arrived(&[("b", 3, true)], 2, None));
        assert_eq!((killed(&held), held.generation()), (vec!["b"], Generation(3)));
    }

    #[test]
    fn parts_that_do_not_belong_together_are_refused() {
        let list = KillList::of(&kills(&[("a", 5, true)]));
        let part = list.part(0, [1; 16], &Arc::from("e")).expect("a part");
        let wrong_count = KillPart { count: 2, ..part.clone() };
        assert_eq!(Gathering::begin(1, wrong_count).and_then(Gathering::finish), Err(KillFault::Mismatch));
        let wrong_hash = KillPart { set_hash: SetHash::EMPTY, ..part.clone() };
        assert_eq!(Gathering::begin(1, wrong_hash).and_then(Gathering::finish), Err(KillFault::Mismatch));
        let late = KillPart { part: 1, parts: 2, ..part.clone() };
        assert_eq!(Gathering::begin(1, late.clone()).map(|_| ()), Err(KillFault::Order));
        let mut gathering = Gathering::begin(1, KillPart { parts: 2, ..part }).expect("the first part");
        assert_eq!(gathering.take(2, late), Err(KillFault::Order));
    }
}
