//! One environment of the world: its flags and segments with the revision that last touched each, and what is gone.
//!
//! Objects are found by name and by revision, so that "what changed since R" costs as much as the answer is long.
//! Definitions are shared by `Arc`. It does not hold kills: they outlive the environment and stand beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::change::Origin;
use crate::access::policy::DataPlaneAuth;
use crate::flag::definition::{Allocation, Definition, Segment};
use crate::flag::key::{FlagId, SegmentName};
use crate::flag::percent::Percent;
use crate::flag::time::{Revision, Timestamp};

/// A flag as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlagState {
    /// What a person or a tool wrote.
    pub definition: Arc<Definition>,
    /// The percentages that a rollout put in place of the definition's `serve`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocation: Option<Allocation>,
    /// The revision that last touched the definition or the allocation; a kill touches it only through the allocation.
    pub revision: Revision,
    /// When it was created, or created again.
    pub created: Timestamp,
    /// When the definition or the allocation last changed.
    pub updated: Timestamp,
    /// Where the definition came from.
    pub origin: Origin,
    /// What a flag file last said of it, also where the definition was changed otherwise since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported<Definition>>,
}

/// What a flag file last said of an object, so that saving the file again does not undo later changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Imported<T> {
    /// The file's identity.
    pub source: String,
    /// What it said.
    pub definition: Arc<T>,
}

impl<T> Imported<T> {
    /// What is known of a file after a definition of that origin.
    fn after(before: Option<&Self>, origin: &Origin, definition: &Arc<T>) -> Option<Self> {
        match origin {
            Origin::File { source } => Some(Self { source: source.clone(), definition: Arc::clone(definition) }),
            Origin::Api => {
                before.map(|before| Self { source: before.source.clone(), definition: Arc::clone(&before.definition) })
            }
        }
    }
}

/// A segment as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SegmentState {
    /// What a person or a tool wrote.
    pub definition: Arc<Segment>,
    /// The revision that last touched it.
    pub revision: Revision,
    /// When it was created, or created again.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Where it came from.
    pub origin: Origin,
    /// What a flag file last said of it, also where it was changed otherwise since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported<Segment>>,
}

/// The name of an object inside its environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectName {
    /// A flag.
    Flag(FlagId),
    /// A segment.
    Segment(SegmentName),
}

/// An object or what is left of one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Object<'w> {
    /// A flag.
    Flag(&'w FlagId, &'w FlagState),
    /// A segment.
    Segment(&'w SegmentName, &'w SegmentState),
    /// A flag or segment that was deleted at that revision.
    Gone(&'w ObjectName, Revision),
}

/// One environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// Whether it counts as production.
    pub production: bool,
    /// Whether its data plane asks for a token.
    pub data_plane_auth: DataPlaneAuth,
    /// The revision that created it, or created it again. Who stood before it must start over.
    pub created: Revision,
    /// The revision that last touched its settings.
    pub revision: Revision,
    flags: BTreeMap<FlagId, FlagState>,
    segments: BTreeMap<SegmentName, SegmentState>,
    tombstones: BTreeMap<ObjectName, Revision>,
    by_revision: BTreeMap<Revision, BTreeSet<ObjectName>>,
}

impl Environment {
    pub(super) fn new(production: bool, data_plane_auth: DataPlaneAuth, created: Revision) -> Self {
        Self {
            production,
            data_plane_auth,
            created,
            revision: created,
            flags: BTreeMap::new(),
            segments: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            by_revision: BTreeMap::new(),
        }
    }

    /// A flag.
    pub fn flag(&self, flag: &FlagId) -> Option<&FlagState> {
        self.flags.get(flag)
    }

    /// All flags, by identity.
    pub fn flags(&self) -> &BTreeMap<FlagId, FlagState> {
        &self.flags
    }

    /// A segment.
    pub fn segment(&self, segment: &SegmentName) -> Option<&SegmentState> {
        self.segments.get(segment)
    }

    /// All segments, by name.
    pub fn segments(&self) -> &BTreeMap<SegmentName, SegmentState> {
        &self.segments
    }

    /// What was deleted and not created again, with the revision that deleted it.
    pub fn tombstones(&self) -> &BTreeMap<ObjectName, Revision> {
        &self.tombstones
    }

    /// The flags that carry a tag, by identity.
    pub fn flags_with_tag(&self, tag: &str) -> impl Iterator<Item = (&FlagId, &FlagState)> {
        self.flags.iter().filter(move |(_, state)| state.definition.tags.contains(tag))
    }

    /// What changed after `revision`, tombstones included, in the order of revisions.
    pub fn changed_since(&self, revision: Revision) -> impl Iterator<Item = Object<'_>> {
        self.by_revision.range(revision.next()..).flat_map(|(_, names)| names).filter_map(|name| self.object(name))
    }

    /// An object, or what is left of it, by name; none where it never was.
    pub fn object<'w>(&'w self, name: &ObjectName) -> Option<Object<'w>> {
        let living = match name {
            ObjectName::Flag(flag) => self.flags.get_key_value(flag).map(|(id, state)| Object::Flag(id, state)),
            ObjectName::Segment(name) => {
                self.segments.get_key_value(name).map(|(name, state)| Object::Segment(name, state))
            }
        };
        living.or_else(|| self.tombstones.get_key_value(name).map(|(name, revision)| Object::Gone(name, *revision)))
    }

    /// The newest revision that touched the environment or anything in it.
    pub fn newest(&self) -> Revision {
        self.by_revision.last_key_value().map_or(self.revision, |(revision, _)| self.revision.max(*revision))
    }

    pub(super) fn put_flag(&mut self, flag: &FlagId, definition: &Arc<Definition>, origin: &Origin, stamp: Stamp) {
        let before = self.flags.get(flag);
        let state = FlagState {
            definition: Arc::clone(definition),
            allocation: before.and_then(|state| state.allocation.clone()),
            revision: stamp.revision,
            created: before.map_or(stamp.at, |state| state.created),
            updated: stamp.at,
            origin: origin.clone(),
            imported: Imported::after(before.and_then(|state| state.imported.as_ref()), origin, definition),
        };
        self.place_flag(flag.clone(), state);
    }

    pub(super) fn put_segment(&mut self, name: &SegmentName, segment: &Arc<Segment>, origin: &Origin, stamp: Stamp) {
        let before = self.segments.get(name);
        let state = SegmentState {
            definition: Arc::clone(segment),
            revision: stamp.revision,
            created: before.map_or(stamp.at, |state| state.created),
            updated: stamp.at,
            origin: origin.clone(),
            imported: Imported::after(before.and_then(|state| state.imported.as_ref()), origin, segment),
        };
        self.place_segment(name.clone(), state);
    }

    pub(super) fn set_allocation(&mut self, flag: &FlagId, allocation: Option<&Allocation>, stamp: Stamp) {
        let Some(before) = self.flags.get(flag) else { return };
        let state = FlagState {
            allocation: allocation.cloned(),
            revision: stamp.revision,
            updated: stamp.at,
            ..before.clone()
        };
        self.place_flag(flag.clone(), state);
    }

    /// What a kill does to a flag that a rollout owns: everybody leaves, and a restore does not bring them back.
    pub(super) fn empty_allocation(&mut self, flag: &FlagId, stamp: Stamp) {
        let Some(held) = self.flags.get(flag).and_then(|state| state.allocation.as_ref()) else { return };
        let percentages = held.percentages.keys().map(|variant| (variant.clone(), Percent::ZERO)).collect();
        self.set_allocation(flag, Some(&Allocation { percentages }), stamp);
    }

    /// Leaves a tombstone where there was an object; does nothing where there was none.
    pub(super) fn delete(&mut self, name: ObjectName, revision: Revision) {
        let before = match &name {
            ObjectName::Flag(flag) => self.flags.remove(flag).map(|state| state.revision),
            ObjectName::Segment(segment) => self.segments.remove(segment).map(|state| state.revision),
        };
        if let Some(before) = before {
            self.forget(&name, before);
            self.place_tombstone(name, revision);
        }
    }

    pub(super) fn place_flag(&mut self, flag: FlagId, state: FlagState) {
        let name = ObjectName::Flag(flag.clone());
        let before = self.flags.get(&flag).map(|state| state.revision);
        self.index(name, before, state.revision);
        self.flags.insert(flag, state);
    }

    pub(super) fn place_segment(&mut self, segment: SegmentName, state: SegmentState) {
        let name = ObjectName::Segment(segment.clone());
        let before = self.segments.get(&segment).map(|state| state.revision);
        self.index(name, before, state.revision);
        self.segments.insert(segment, state);
    }

    pub(super) fn place_tombstone(&mut self, name: ObjectName, revision: Revision) {
        self.by_revision.entry(revision).or_default().insert(name.clone());
        self.tombstones.insert(name, revision);
    }

    fn index(&mut self, name: ObjectName, before: Option<Revision>, now: Revision) {
        let buried = self.tombstones.remove(&name);
        if let Some(before) = before.or(buried) {
            self.forget(&name, before);
        }
        self.by_revision.entry(now).or_default().insert(name);
    }

    fn forget(&mut self, name: &ObjectName, before: Revision) {
        if let Some(names) = self.by_revision.get_mut(&before) {
            names.remove(name);
            if names.is_empty() {
                self.by_revision.remove(&before);
            }
        }
    }
}

/// The place and time of the record that is being folded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    pub(super) revision: Revision,
    pub(super) at: Timestamp,
}
