//! One flag and one segment in the form that requests read.
//!
//! Names are resolved to indexes, operands are parsed, percentages are thresholds. Each keeps its definition, since
//! administration, streaming and explanations show what a person wrote. Built only by `compile`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::flag::definition::{Allocation, Definition, Requirement, Segment, State};
use crate::flag::key::{FlagId, SegmentName, VariantName};
use crate::flag::time::Revision;

use super::condition::Condition;
use super::fractional::FractionalHash;
use super::logic::Logic;
use super::outcome::Reason;
use super::serving::{Serving, VariantIndex};

/// A flag that can answer.
#[derive(Debug)]
pub struct Compiled {
    pub(super) id: FlagId,
    pub(super) revision: Revision,
    pub(super) definition: Arc<Definition>,
    pub(super) allocation: Option<Allocation>,
    pub(super) variants: Box<[(VariantName, Value)]>,
    pub(super) default: Option<VariantIndex>,
    pub(super) safe: Option<VariantIndex>,
    pub(super) rules: Box<[Rule]>,
    pub(super) targeting: Option<Logic>,
    /// The generation of `fractional` that the metadata names.
    pub(super) fractional_hash: Option<FractionalHash>,
    pub(super) otherwise: Serving,
    /// The reason where no rule matched and no percentages decide.
    pub(super) otherwise_reason: Reason,
    pub(super) uses: Uses,
}

/// A rule that can be run.
#[derive(Debug)]
pub struct Rule {
    pub(super) when: Condition,
    pub(super) serving: Serving,
}

/// A segment that can be asked.
#[derive(Debug)]
pub struct CompiledSegment {
    pub(super) name: SegmentName,
    pub(super) revision: Revision,
    pub(super) segment: Arc<Segment>,
    pub(super) when: Condition,
    pub(super) uses: Uses,
}

/// What an object needs from others, and what it costs by itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Uses {
    /// Segments, with how often each is named.
    pub(super) segments: BTreeMap<SegmentName, u64>,
    /// Conditions of its own.
    pub(super) conditions: u64,
}

impl Compiled {
    /// The flag's identity.
    pub fn id(&self) -> &FlagId {
        &self.id
    }

    /// The revision that last touched the flag.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What a person wrote.
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// The percentages that a running rollout put in force.
    pub fn allocation(&self) -> Option<&Allocation> {
        self.allocation.as_ref()
    }

    /// The variants with their values, by name.
    pub fn variants(&self) -> &[(VariantName, Value)] {
        &self.variants
    }

    /// The metadata that goes out with every answer.
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.definition.metadata
    }

    /// The prerequisites.
    pub fn requires(&self) -> &[Requirement] {
        &self.definition.requires
    }

    /// The rules, in the order of the definition's.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// flagd's rule, where the flag has one.
    pub fn targeting(&self) -> Option<&Logic> {
        self.targeting.as_ref()
    }

    /// The generation of flagd's `fractional` that the flag's metadata names; elsewhere it is the set's.
    pub fn fractional_hash(&self) -> Option<FractionalHash> {
        self.fractional_hash
    }

    /// What is served where no rule matches; the allocation, where there is one.
    pub fn otherwise(&self) -> &Serving {
        &self.otherwise
    }

    /// False for a flag that answers "use the code default".
    pub fn is_enabled(&self) -> bool {
        self.definition.state == State::Enabled
    }

    /// The index of the variant of that name.
    pub(super) fn index_of(&self, name: &str) -> Option<VariantIndex> {
        let found = self.variants.binary_search_by(|(variant, _)| variant.as_str().cmp(name)).ok()?;
        found.try_into().ok()
    }

    /// The name and value at an index.
    #[inline]
    pub(super) fn variant(&self, index: Option<VariantIndex>) -> Option<&(VariantName, Value)> {
        self.variants.get(usize::from(index?))
    }
}

impl Rule {
    /// What must hold.
    pub fn when(&self) -> &Condition {
        &self.when
    }

    /// What is served then.
    pub fn serving(&self) -> &Serving {
        &self.serving
    }
}

impl CompiledSegment {
    /// The segment's name.
    pub fn name(&self) -> &SegmentName {
        &self.name
    }

    /// The revision that last touched the segment.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What a person wrote.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// What must hold to belong to it.
    pub fn when(&self) -> &Condition {
        &self.when
    }
}
