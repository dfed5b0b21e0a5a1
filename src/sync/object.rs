//! What a subscriber holds: one object as it is now, whole, with the revision that last touched it.
//!
//! Definitions are canonical JSON here and not types: the server sends the bytes it was given, and a client keeps the
//! bytes of what it cannot read, since they count in the set hash. Reading them is `decode`.

use std::fmt;
use std::sync::Arc;

use super::hash::{ElementHash, Encoder};
use crate::flag::key::{FlagId, FlagKey, FlagSetName, SegmentName};
use crate::flag::time::Revision;

/// The number that stands for flags on the wire.
pub const KIND_FLAG: u32 = 1;
/// The number that stands for segments on the wire.
pub const KIND_SEGMENT: u32 = 2;

/// The identity of an object inside its environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKey {
    /// A flag.
    Flag(FlagId),
    /// A segment.
    Segment(SegmentName),
    /// An object of a kind, or of a name, that this version does not know. Kept, counted and never used.
    Other {
        /// The number of its kind on the wire.
        kind: u32,
        /// Its flag set, if it has one.
        flag_set: Option<Arc<str>>,
        /// Its key.
        key: Arc<str>,
    },
}

impl ObjectKey {
    /// The key of a flag.
    pub fn flag(id: &FlagId) -> Self {
        Self::Flag(id.clone())
    }

    /// The key of a segment.
    pub fn segment(name: &SegmentName) -> Self {
        Self::Segment(name.clone())
    }

    /// The key that these parts of the wire name. Total: what is not a valid flag or segment is something else.
    pub fn from_parts(kind: u32, flag_set: Option<&str>, key: &str) -> Self {
        let known = match (kind, flag_set) {
            (KIND_FLAG, None) => FlagKey::new(key).ok().map(|key| Self::Flag(FlagId::plain(key))),
            (KIND_FLAG, Some(set)) => FlagSetName::new(set)
                .ok()
                .zip(FlagKey::new(key).ok())
                .map(|(set, key)| Self::Flag(FlagId { flag_set: Some(set), key })),
            (KIND_SEGMENT, None) => SegmentName::new(key).ok().map(Self::Segment),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other { kind, flag_set: flag_set.map(Arc::from), key: Arc::from(key) })
    }

    /// The number of its kind on the wire.
    pub fn kind(&self) -> u32 {
        match self {
            Self::Flag(_) => KIND_FLAG,
            Self::Segment(_) => KIND_SEGMENT,
            Self::Other { kind, .. } => *kind,
        }
    }

    /// Its flag set, if it has one.
    pub fn flag_set(&self) -> Option<&str> {
        match self {
            Self::Flag(id) => id.flag_set.as_ref().map(FlagSetName::as_str),
            Self::Segment(_) => None,
            Self::Other { flag_set, .. } => flag_set.as_deref(),
        }
    }

    /// Its name.
    pub fn key(&self) -> &str {
        match self {
            Self::Flag(id) => id.key.as_str(),
            Self::Segment(name) => name.as_str(),
            Self::Other { key, .. } => key,
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(id) => write!(f, "flag {id}"),
            Self::Segment(name) => write!(f, "segment {name}"),
            Self::Other { kind, key, .. } => write!(f, "object of kind {kind} {key:?}"),
        }
    }
}

/// An object as it is now. Its `Debug` says how long the definition is, not what stands in it: rules may name people.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectState {
    /// Which object.
    pub key: ObjectKey,
    /// The revision that last touched it.
    pub revision: Revision,
    /// What a person wrote, as canonical JSON; never empty.
    pub payload: Arc<[u8]>,
    /// The percentages that a running rollout put in force, as canonical JSON; never empty.
    pub allocation: Option<Arc<[u8]>>,
}

impl fmt::Debug for ObjectState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectState")
            .field("key", &self.key)
            .field("revision", &self.revision)
            .field("payload_bytes", &self.payload.len())
            .field("allocation_bytes", &self.allocation.as_ref().map(|allocation| allocation.len()))
            .finish()
    }
}

impl ObjectState {
    /// Its share of the set hash: kind, flag set, key, revision, definition, allocation.
    pub fn hash(&self) -> ElementHash {
        Encoder::default()
            .u32(self.key.kind())
            .bytes(self.key.flag_set().unwrap_or_default().as_bytes())
            .bytes(self.key.key().as_bytes())
            .u64(self.revision.0)
            .bytes(&self.payload)
            .bytes(self.allocation.as_deref().unwrap_or_default())
            .finish()
    }
}

/// The last word on an object: what it is, or that it is gone. A clone shares everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It is there.
    Live(Arc<ObjectState>),
    /// It was deleted.
    Gone {
        /// Which object.
        key: ObjectKey,
        /// The revision that deleted it.
        revision: Revision,
    },
}

impl Entry {
    /// Which object.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Live(state) => &state.key,
            Self::Gone { key, .. } => key,
        }
    }

    /// The revision that last touched it.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Live(state) => state.revision,
            Self::Gone { revision, .. } => *revision,
        }
    }

    /// The object, unless it is gone.
    pub fn live(&self) -> Option<&Arc<ObjectState>> {
        match self {
            Self::Live(state) => Some(state),
            Self::Gone { .. } => None,
        }
    }

    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        const FRAME: usize = 24;
        let key = self.key();
        let names = key.flag_set().map_or(0, str::len) + key.key().len();
        let body = self.live().map_or(0, |state| {
            state.payload.len() + state.allocation.as_ref().map_or(0, |allocation| allocation.len())
        });
        FRAME + names + body
    }
}
