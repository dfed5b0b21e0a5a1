//! Immutable tables from a name to a shared value: the building block of a set that changes by copying little.
//!
//! A table is a slice sorted by the hash of the name. A set keeps its flags in 1,024 of them, so that a change copies
//! one slice of about a hundred pointers among 100,000 flags; everything else is shared. Not a general map.

use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::flag::key::SegmentName;

use super::compiled::{Compiled, CompiledSegment};

/// The slices that flags are spread over; a power of two.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 10;

/// Something that a table finds by name.
pub(super) trait Named {
    /// The hash of its name.
    fn hash(&self) -> u64;
    /// True where both have the same name.
    fn same_name(&self, other: &Self) -> bool;
}

/// A change to a table: the new value, or the old one that is to go.
#[derive(Debug)]
pub(super) enum Edit<T> {
    /// Put in the place of what has this name.
    Put(Arc<T>),
    /// Take away what has this name.
    Remove(Arc<T>),
}

impl<T> Edit<T> {
    /// What carries the name.
    pub(super) fn subject(&self) -> &Arc<T> {
        match self {
            Self::Put(value) | Self::Remove(value) => value,
        }
    }
}

/// A segment's name with its hash, as conditions hold it.
#[derive(Debug, Clone)]
pub struct Reference {
    name: SegmentName,
    hash: u64,
}

impl Reference {
    /// A reference to the segment of that name.
    pub fn to(name: SegmentName) -> Self {
        let hash = hash_segment(name.as_str());
        Self { name, hash }
    }

    /// The name.
    pub fn name(&self) -> &SegmentName {
        &self.name
    }
}

/// One slice, sorted by hash.
#[derive(Debug)]
pub(super) struct Table<T>(Arc<[(u64, Arc<T>)]>);

/// All flags, spread over slices by the highest bits of their hash.
#[derive(Debug, Clone)]
pub(super) struct Flags(Arc<[Table<Compiled>]>);

/// All segments.
pub(super) type Segments = Table<CompiledSegment>;

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl<T: Named> Table<T> {
    #[inline]
    fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<&Arc<T>> {
        let start = self.0.partition_point(|(candidate, _)| *candidate < hash);
        let same_hash = self.0[start..].iter().take_while(|(candidate, _)| *candidate == hash);
        same_hash.map(|(_, value)| value).find(|value| is(value))
    }

    /// The table after some edits.
    pub(super) fn edited(&self, edits: &[Edit<T>]) -> Self {
        if edits.is_empty() {
            return self.clone();
        }
        let mut edits: Vec<_> = edits.iter().map(|edit| (edit.subject().hash(), edit)).collect();
        edits.sort_by_key(|(hash, _)| *hash);
        let edited = |hash: u64, value: &T| {
            let start = edits.partition_point(|(candidate, _)| *candidate < hash);
            edits[start..].iter().take_while(|(at, _)| *at == hash).any(|(_, edit)| edit.subject().same_name(value))
        };
        let kept = self.0.iter().filter(|(hash, value)| !edited(*hash, value)).cloned();
        let mut entries: Vec<(u64, Arc<T>)> = kept.collect();
        for (hash, edit) in &edits {
            if let Edit::Put(value) = edit {
                entries.push((*hash, Arc::clone(value)));
            }
        }
        entries.sort_by_key(|(hash, _)| *hash);
        Self(entries.into())
    }

    /// Every value, in no order that means anything.
    pub(super) fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl Segments {
    #[inline]
    pub(super) fn at(&self, reference: &Reference) -> Option<&Arc<CompiledSegment>> {
        self.find(reference.hash, |segment| segment.name() == &reference.name)
    }

    pub(super) fn named(&self, name: &str) -> Option<&Arc<CompiledSegment>> {
        self.find(hash_segment(name), |segment| segment.name().as_str() == name)
    }
}

impl Default for Flags {
    fn default() -> Self {
        let empty = Table::default();
        Self((0..SHARDS).map(|_| empty.clone()).collect())
    }
}

impl Flags {
    #[inline]
    pub(super) fn find(&self, flag_set: Option<&str>, key: &str) -> Option<&Arc<Compiled>> {
        let hash = hash_flag(flag_set, key);
        let is = |flag: &Compiled| {
            let id = flag.id();
            id.key.as_str() == key && id.flag_set.as_ref().map(|set| set.as_str()) == flag_set
        };
        self.0.get(shard(hash))?.find(hash, is)
    }

    /// The flags after some edits; slices without an edit are shared.
    pub(super) fn edited(&self, edits: Vec<Edit<Compiled>>) -> Self {
        if edits.is_empty() {
            return self.clone();
        }
        let mut shards = self.0.to_vec();
        let mut edits = edits;
        edits.sort_by_key(|edit| shard(edit.subject().hash()));
        for group in edits.chunk_by(|left, right| shard(left.subject().hash()) == shard(right.subject().hash())) {
            let index = shard(group[0].subject().hash());
            shards[index] = shards[index].edited(group);
        }
        Self(shards.into())
    }
}

impl Named for Compiled {
    fn hash(&self) -> u64 {
        hash_flag(self.id().flag_set.as_ref().map(|set| set.as_str()), self.id().key.as_str())
    }

    fn same_name(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Named for CompiledSegment {
    fn hash(&self) -> u64 {
        hash_segment(self.name().as_str())
    }

    fn same_name(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

fn shard(hash: u64) -> usize {
    (hash >> (64 - SHARD_BITS)) as usize
}

#[inline]
fn hash_flag(flag_set: Option<&str>, key: &str) -> u64 {
    match flag_set {
        None => xxh3_64(key.as_bytes()),
        Some(set) => xxh3_64_with_seed(key.as_bytes(), xxh3_64(set.as_bytes())),
    }
}

fn hash_segment(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}
