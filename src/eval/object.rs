//! What `compile` is told: one flag or segment as it now is, or that it is gone.
//!
//! An object always carries the whole of its present state and the revision that last touched it, never a difference,
//! so that a late reader needs no history.

use std::sync::Arc;

use crate::flag::definition::{Allocation, Definition, Segment};
use crate::flag::key::{FlagId, SegmentName};
use crate::flag::time::Revision;

/// One object of an environment.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// A flag as it is now.
    Flag {
        /// Its identity.
        id: FlagId,
        /// The revision that last touched it.
        revision: Revision,
        /// What a person wrote.
        definition: Arc<Definition>,
        /// The percentages that a running rollout put in force instead of the definition's `serve`.
        allocation: Option<Allocation>,
    },
    /// A flag that was deleted.
    FlagGone {
        /// Its identity.
        id: FlagId,
        /// The revision that deleted it.
        revision: Revision,
    },
    /// A segment as it is now.
    Segment {
        /// Its name.
        name: SegmentName,
        /// The revision that last touched it.
        revision: Revision,
        /// What a person wrote.
        segment: Arc<Segment>,
    },
    /// A segment that was deleted.
    SegmentGone {
        /// Its name.
        name: SegmentName,
        /// The revision that deleted it.
        revision: Revision,
    },
}

impl Object {
    /// The revision that last touched the object.
    pub fn revision(&self) -> Revision {
        match self {
            Self::Flag { revision, .. }
            | Self::FlagGone { revision, .. }
            | Self::Segment { revision, .. }
            | Self::SegmentGone { revision, .. } => *revision,
        }
    }
}
