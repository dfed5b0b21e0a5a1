//! All flags and segments of one environment as subscribers keep up with them, tombstones included.
//!
//! Immutable and cheap to clone; one change among 100,000 objects copies a few hundred pointers. Two indexes: by key,
//! which is what a full transfer reads, and by the revision that last touched each object, which is what a delta reads.
//! The set hash is kept up to date with every change. It compiles nothing and knows no client.

use std::fmt;
use std::sync::Arc;

use super::hash::SetHash;
use super::object::{Entry, ObjectKey, ObjectState};
use super::sorted::Sorted;
use crate::flag::time::Revision;

/// A place among objects in order of revision: of the object that was read last.
pub type Place = (Revision, ObjectKey);

/// The objects of one environment. A clone shares everything; `Debug` counts them.
#[derive(Clone, Default)]
pub struct Objects {
    by_key: Sorted<ObjectKey, Entry>,
    by_revision: Sorted<Place, Entry>,
    live: usize,
    hash: SetHash,
    compacted: Revision,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("live", &self.live)
            .field("tombstones", &self.tombstones())
            .field("hash", &self.hash)
            .field("compacted", &self.compacted)
            .finish()
    }
}

impl Objects {
    /// These objects and one that was written. An object that is already newer stays as it is.
    #[must_use]
    pub fn put(self, state: ObjectState) -> Self {
        self.with(Entry::Live(Arc::new(state)))
    }

    /// These objects after one was deleted: a tombstone stays. An object that is already newer stays as it is.
    #[must_use]
    pub fn remove(self, key: &ObjectKey, revision: Revision) -> Self {
        self.with(Entry::Gone { key: key.clone(), revision })
    }

    /// These objects with the last word on one of them, unless a newer one is held.
    #[must_use]
    pub fn with(mut self, entry: Entry) -> Self {
        let held = self.by_key.get(entry.key());
        if held.is_some_and(|held| held.revision() > entry.revision()) {
            return self;
        }
        if let Some(held) = self.by_key.insert(entry.key().clone(), entry.clone()) {
            self.by_revision.remove(&(held.revision(), held.key().clone()));
            if let Some(state) = held.live() {
                self.live -= 1;
                self.hash = self.hash.without(state.hash());
            }
        }
        if let Some(state) = entry.live() {
            self.live += 1;
            self.hash = self.hash.with(state.hash());
        }
        self.by_revision.insert((entry.revision(), entry.key().clone()), entry);
        self
    }

    /// How many objects there are, tombstones not counted.
    pub fn len(&self) -> usize {
        self.live
    }

    /// True where there is no object; there may be tombstones.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// How many tombstones there are.
    pub fn tombstones(&self) -> usize {
        self.by_key.len() - self.live
    }

    /// True where objects were deleted, whether their tombstones are still there or not.
    pub fn ever_deleted(&self) -> bool {
        self.tombstones() > 0 || self.compacted > Revision::ZERO
    }

    /// The hash over all objects, tombstones not counted.
    pub fn set_hash(&self) -> SetHash {
        self.hash
    }

    /// The last word on an object; none where it never was, or where its tombstone is gone.
    pub fn get(&self, key: &ObjectKey) -> Option<&Entry> {
        self.by_key.get(key)
    }

    /// Every object, by key, without tombstones.
    pub fn full(&self) -> impl Iterator<Item = &Arc<ObjectState>> {
        self.full_after(None)
    }

    /// The objects whose keys come after `key`, in order, without tombstones.
    pub fn full_after(&self, key: Option<&ObjectKey>) -> impl Iterator<Item = &Arc<ObjectState>> {
        let before = move |held: &ObjectKey| key.is_some_and(|key| held <= key);
        self.by_key.starting(before).filter_map(|(_, entry)| entry.live())
    }

    /// Objects and tombstones newer than `from`, oldest first; none where tombstones that belong to it are gone, and
    /// only everything can help.
    pub fn delta(&self, from: Revision) -> Option<impl Iterator<Item = &Entry>> {
        (from >= self.compacted).then(|| self.newer_than(from, None))
    }

    /// Objects and tombstones newer than `from` that come after `place`, oldest first. The caller knows that `from` is
    /// not below [`Self::compacted`].
    pub fn newer_than(&self, from: Revision, place: Option<&Place>) -> impl Iterator<Item = &Entry> {
        let before = move |held: &Place| held.0 <= from || place.is_some_and(|place| held <= place);
        self.by_revision.starting(before).map(|(_, entry)| entry)
    }

    /// The revision of the newest change that is held; zero for none.
    pub fn newest(&self) -> Revision {
        self.by_revision.last().map_or(self.compacted, |(place, _)| place.0.max(self.compacted))
    }

    /// Tombstones at or below this revision are gone: who is below it needs everything.
    pub fn compacted(&self) -> Revision {
        self.compacted
    }

    /// These objects without the tombstones up to a revision.
    #[must_use]
    pub fn compact(mut self, upto: Revision) -> Self {
        let gone: Vec<Place> = self
            .by_revision
            .iter()
            .take_while(|((revision, _), _)| *revision <= upto)
            .filter(|(_, entry)| entry.live().is_none())
            .map(|(place, _)| place.clone())
            .collect();
        for place in &gone {
            self.by_key.remove(&place.1);
            self.by_revision.remove(place);
        }
        self.compacted = self.compacted.max(upto);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::key::{FlagId, FlagKey};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(n: u8) -> ObjectKey {
        ObjectKey::flag(&FlagId::plain(FlagKey::new(&format!("flag-{n}")).expect("a valid key")))
    }

    fn state(n: u8, revision: u64) -> ObjectState {
        let payload = format!("{{\"n\":{revision}}}").into_bytes().into();
        ObjectState { key: key(n), revision: Revision(revision), payload, allocation: None }
    }

    /// Edits as (which object, whether it is written or deleted), one revision each.
    fn after(edits: &[(u8, bool)]) -> Objects {
        (1u64..).zip(edits).fold(Objects::default(), |objects, (revision, (n, written))| match written {
            true => objects.put(state(*n, revision)),
            false => objects.remove(&key(*n), Revision(revision)),
        })
    }

    fn edits() -> impl Strategy<Value = Vec<(u8, bool)>> {
        prop::collection::vec((0u8..12, any::<bool>()), 0..60)
    }

    proptest! {
        #[test]
        fn the_set_hash_depends_on_what_is_there_and_not_on_how_it_came(edits in edits()) {
            let objects = after(&edits);
            let again = objects.full().fold(Objects::default(), |again, state| again.put(ObjectState::clone(state)));
            prop_assert_eq!(objects.set_hash(), again.set_hash());
            prop_assert_eq!(objects.len(), objects.full().count());
            if objects.is_empty() {
                prop_assert_eq!(objects.set_hash(), SetHash::EMPTY);
            }
        }

        #[test]
        fn a_delta_from_any_revision_leads_to_the_newest_state(edits in edits(), cut in 0usize..60, compact in 0u64..60) {
            let cut = cut.min(edits.len());
            let (early, late) = (after(&edits[..cut]), after(&edits).compact(Revision(compact)));
            let from = Revision(cut as u64);
            let Some(delta) = late.delta(from) else {
                prop_assert!(from < late.compacted());
                return Ok(());
            };
            let caught_up = delta.cloned().fold(early, Objects::with);
            prop_assert_eq!(caught_up.set_hash(), late.set_hash());
            prop_assert_eq!(caught_up.len(), late.len());
        }

        #[test]
        fn a_delta_has_each_object_once_in_order_of_revision(edits in edits(), from in 0u64..60) {
            let objects = after(&edits);
            let mut last = BTreeMap::new();
            for (revision, (n, _)) in (1u64..).zip(&edits) {
                last.insert(key(*n), Revision(revision));
            }
            let mut expected: Vec<Revision> = last.into_values().filter(|revision| *revision > Revision(from)).collect();
            expected.sort();
            let delta: Vec<Revision> = objects.delta(Revision(from)).expect("nothing is compacted").map(Entry::revision).collect();
            prop_assert_eq!(delta, expected);
        }
    }

    #[test]
    fn an_older_word_does_not_replace_a_newer_one() {
        let objects = after(&[(1, true), (1, true)]);
        let hash = objects.set_hash();
        let objects = objects.put(state(1, 1)).remove(&key(1), Revision(1));
        assert_eq!(objects.set_hash(), hash);
    }

    #[test]
    fn reading_can_go_on_from_any_place() {
        let objects = after(&[(1, true), (2, true), (3, false), (4, true), (5, true)]);
        let mut place = None;
        let mut seen = Vec::new();
        loop {
            let next = objects.newer_than(Revision(1), place.as_ref()).next().cloned();
            let Some(entry) = next else { break };
            seen.push(entry.revision().0);
            place = Some((entry.revision(), entry.key().clone()));
        }
        assert_eq!(seen, [2, 3, 4, 5]);
        let first = objects.full().next().expect("four objects").key.clone();
        assert_eq!(objects.full_after(Some(&first)).count(), 3);
    }
}
