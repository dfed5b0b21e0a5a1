//! From an object's canonical JSON to what `eval` compiles.
//!
//! A client refuses objects one by one: what this version cannot read is named, everything else is used.

use std::sync::Arc;

use serde_json::Value;

use super::object::{Entry, KIND_FLAG, KIND_SEGMENT, ObjectKey, ObjectState};
use crate::eval::object::Object;
use crate::flag::diagnostic::Diagnostic;
use crate::flag::parse::{allocation_from_json, definition_from_json, segment_from_json};
use crate::flag::time::Revision;

/// Why an object cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable identifier.
    pub code: &'static str,
    /// In words for people.
    pub message: String,
}

impl From<&Diagnostic> for Refusal {
    fn from(diagnostic: &Diagnostic) -> Self {
        Self { code: diagnostic.code, message: format!("{}: {}", diagnostic.pointer, diagnostic.message) }
    }
}

/// What to compile for an object; none for one of a kind that this version does not know, which is not an error.
///
/// # Errors
/// The object is of a known kind and cannot be read.
pub fn object(entry: &Entry) -> Result<Option<Object>, Refusal> {
    match entry {
        Entry::Live(state) => live(state),
        Entry::Gone { key, revision } => Ok(gone(key, *revision)),
    }
}

/// The removal of an object; none for one that can never have been compiled.
pub fn gone(key: &ObjectKey, revision: Revision) -> Option<Object> {
    match key {
        ObjectKey::Flag(id) => Some(Object::FlagGone { id: id.clone(), revision }),
        ObjectKey::Segment(name) => Some(Object::SegmentGone { name: name.clone(), revision }),
        ObjectKey::Other { .. } => None,
    }
}

fn live(state: &ObjectState) -> Result<Option<Object>, Refusal> {
    let revision = state.revision;
    match &state.key {
        ObjectKey::Flag(id) => {
            let definition = definition_from_json(&json(&state.payload)?).map_err(|faults| first(&faults))?;
            let allocation = match &state.allocation {
                Some(allocation) => Some(allocation_from_json(&json(allocation)?).map_err(|faults| first(&faults))?),
                None => None,
            };
            Ok(Some(Object::Flag { id: id.clone(), revision, definition: Arc::new(definition), allocation }))
        }
        ObjectKey::Segment(name) => {
            let segment = segment_from_json(&json(&state.payload)?).map_err(|faults| first(&faults))?;
            Ok(Some(Object::Segment { name: name.clone(), revision, segment: Arc::new(segment) }))
        }
        ObjectKey::Other { kind: KIND_FLAG | KIND_SEGMENT, .. } => {
            Err(Refusal { code: "name", message: "the name is not one that this version takes".to_owned() })
        }
        ObjectKey::Other { .. } => Ok(None),
    }
}

fn json(text: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(text).map_err(|error| Refusal { code: "json", message: format!("not JSON: {error}") })
}

fn first(diagnostics: &[Diagnostic]) -> Refusal {
    let nothing = Refusal { code: "definition", message: "the definition cannot be read".to_owned() };
    diagnostics.iter().find(|diagnostic| diagnostic.is_error()).map_or(nothing, Refusal::from)
}
