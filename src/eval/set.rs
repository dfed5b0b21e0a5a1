//! Every flag of one environment in the form that requests read, with the kills in force.
//!
//! Immutable and cheap to clone: a set is a handful of shared pointers. A new set after one change copies a slice of
//! about a hundred pointers and two small tables, and shares every other flag with the old one; new kills copy nothing.

use std::sync::Arc;

use crate::flag::key::{FlagId, FlagKey, FlagSetName, SegmentName};
use crate::flag::kill::KillSet;

use super::chunks::Chunks;
use super::compiled::{Compiled, CompiledSegment};
use super::fractional::FractionalHash;
use super::table::{Edit, Flags, Reference, Segments};

/// The flags and segments of one environment.
#[derive(Debug, Clone, Default)]
pub struct CompiledSet {
    flags: Flags,
    ordered: Chunks,
    /// Those among them that have prerequisites.
    requiring: Chunks,
    /// Those among them that name segments.
    segmented: Chunks,
    segments: Segments,
    kills: Arc<KillSet>,
    fractional_hash: FractionalHash,
}

impl CompiledSet {
    /// The flag of that key in a flag set, or in none. Allocates nothing.
    #[inline]
    pub fn flag(&self, flag_set: Option<&str>, key: &str) -> Option<&Compiled> {
        self.shared(flag_set, key).map(Arc::as_ref)
    }

    /// The flag of that identity.
    pub fn get(&self, id: &FlagId) -> Option<&Compiled> {
        self.get_shared(id).map(Arc::as_ref)
    }

    /// The flag of that identity, to be kept beyond the life of this set.
    pub fn get_shared(&self, id: &FlagId) -> Option<&Arc<Compiled>> {
        self.shared(id.flag_set.as_ref().map(FlagSetName::as_str), id.key.as_str())
    }

    /// Every flag: those without a flag set first, then set by set, each by key.
    pub fn iter(&self) -> impl Iterator<Item = &Compiled> {
        self.ordered.iter().map(Arc::as_ref)
    }

    /// The flags of one flag set, or of none, by key.
    pub fn in_flag_set<'s>(&'s self, flag_set: Option<&'s str>) -> impl Iterator<Item = &'s Compiled> {
        let set_of = |id: &'s FlagId| id.flag_set.as_ref().map(FlagSetName::as_str);
        let before = move |id: &FlagId| id.flag_set.as_ref().map(FlagSetName::as_str) < flag_set;
        self.ordered.starting(before).map(Arc::as_ref).take_while(move |flag| set_of(flag.id()) == flag_set)
    }

    /// How many flags there are.
    pub fn len(&self) -> usize {
        self.ordered.len()
    }

    /// True without any flag.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The segment of that name.
    pub fn segment(&self, name: &str) -> Option<&CompiledSegment> {
        self.segments.named(name).map(Arc::as_ref)
    }

    /// Every segment, by name.
    pub fn segments(&self) -> Vec<&Arc<CompiledSegment>> {
        let mut segments: Vec<_> = self.segments.values().collect();
        segments.sort_by(|left, right| left.name().cmp(right.name()));
        segments
    }

    /// The flag that a prerequisite of `flag` names: the one in the same flag set, else the one in none.
    #[inline]
    pub fn required(&self, flag: &Compiled, key: &FlagKey) -> Option<&Compiled> {
        self.required_shared(flag.id().flag_set.as_ref(), key).map(Arc::as_ref)
    }

    /// The same flags with other kills in force. Copies nothing.
    #[must_use]
    pub fn with_kills(&self, kills: Arc<KillSet>) -> Self {
        Self { kills, ..self.clone() }
    }

    /// The kills in force.
    pub fn kills(&self) -> &Arc<KillSet> {
        &self.kills
    }

    /// The same flags with another generation of flagd's `fractional` for those whose metadata names none. Copies
    /// nothing, and every set that is made from this one has it too. A set begins with v2; a subscriber's has what the
    /// server says at the beginning of a transfer.
    #[must_use]
    pub fn with_fractional_hash(&self, fractional_hash: FractionalHash) -> Self {
        Self { fractional_hash, ..self.clone() }
    }

    /// The generation of flagd's `fractional` for flags whose metadata names none.
    pub fn fractional_hash(&self) -> FractionalHash {
        self.fractional_hash
    }

    #[inline]
    pub(super) fn segment_at(&self, reference: &Reference) -> Option<&CompiledSegment> {
        self.segments.at(reference).map(Arc::as_ref)
    }

    pub(super) fn segment_shared(&self, name: &SegmentName) -> Option<&Arc<CompiledSegment>> {
        self.segments.named(name.as_str())
    }

    pub(super) fn required_shared(&self, flag_set: Option<&FlagSetName>, key: &FlagKey) -> Option<&Arc<Compiled>> {
        let in_set = flag_set.and_then(|set| self.shared(Some(set.as_str()), key.as_str()));
        in_set.or_else(|| self.shared(None, key.as_str()))
    }

    /// The flags that have prerequisites.
    pub(super) fn requiring(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.requiring.iter()
    }

    /// The flags that name segments.
    pub(super) fn segmented(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.segmented.iter()
    }

    /// The set after some edits, at most one for each name.
    pub(super) fn edited(&self, flags: Vec<Edit<Compiled>>, segments: &[Edit<CompiledSegment>]) -> Self {
        Self {
            ordered: self.ordered.edited(&flags),
            requiring: self.requiring.edited(&only(&flags, |flag| !flag.requires().is_empty())),
            segmented: self.segmented.edited(&only(&flags, |flag| !flag.uses.segments.is_empty())),
            flags: self.flags.edited(flags),
            segments: self.segments.edited(segments),
            kills: Arc::clone(&self.kills),
            fractional_hash: self.fractional_hash,
        }
    }

    #[inline]
    fn shared(&self, flag_set: Option<&str>, key: &str) -> Option<&Arc<Compiled>> {
        self.flags.find(flag_set, key)
    }
}

/// The same edits for an index of those flags only that belong in it.
fn only(edits: &[Edit<Compiled>], belongs: impl Fn(&Compiled) -> bool) -> Vec<Edit<Compiled>> {
    let edit = |edit: &Edit<Compiled>| match edit {
        Edit::Put(flag) if belongs(flag) => Edit::Put(Arc::clone(flag)),
        Edit::Put(flag) | Edit::Remove(flag) => Edit::Remove(Arc::clone(flag)),
    };
    edits.iter().map(edit).collect()
}
