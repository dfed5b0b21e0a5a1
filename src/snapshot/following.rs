//! From what changed to what subscribers see: the view that follows a view.

use std::sync::Arc;

use crate::eval::object::Object;
use crate::flag::kill::KillSet;
use crate::flag::print::{allocation_to_json, definition_to_json, segment_to_json, to_canonical_bytes};
use crate::flag::time::Revision;
use crate::sync::limits::HISTORY_MAX;
use crate::sync::object::{ObjectKey, ObjectState};
use crate::sync::view::View;

/// How many revisions back a resume token is understood.
pub const REMEMBERED: usize = HISTORY_MAX;

/// A place in the journal: epoch, revision and chain hash.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Which history.
    pub epoch: [u8; 16],
    /// The revision.
    pub revision: Revision,
    /// The chain hash at that revision.
    pub hash: [u8; 32],
}

/// The view of an environment after some objects changed; `before` is none for an environment that is new here.
pub fn advance(before: Option<&View>, place: Place, changed: &[Object], kills: Arc<KillSet>) -> View {
    let empty = View::empty(place.epoch);
    let before = before.unwrap_or(&empty);
    let objects = changed.iter().fold(before.objects().clone(), |objects, object| match object {
        Object::Flag { id, revision, definition, allocation } => objects.put(ObjectState {
            key: ObjectKey::flag(id),
            revision: *revision,
            payload: to_canonical_bytes(&definition_to_json(definition)).into(),
            allocation: allocation
                .as_ref()
                .map(|allocation| to_canonical_bytes(&allocation_to_json(allocation)).into()),
        }),
        Object::Segment { name, revision, segment } => objects.put(ObjectState {
            key: ObjectKey::segment(name),
            revision: *revision,
            payload: to_canonical_bytes(&segment_to_json(segment)).into(),
            allocation: None,
        }),
        Object::FlagGone { id, revision } => objects.remove(&ObjectKey::flag(id), *revision),
        Object::SegmentGone { name, revision } => objects.remove(&ObjectKey::segment(name), *revision),
    });
    before.advance(place.epoch, place.revision, short(&place.hash), objects).with_kills(kills)
}

/// The same view with the chain hashes of earlier revisions, so that a subscriber that was up to date before a restart
/// gets only what is new.
pub fn remembering(view: &View, earlier: &[(Revision, [u8; 32])]) -> View {
    view.remembering(earlier.iter().map(|(revision, hash)| (*revision, short(hash))))
}

/// The first 128 bits of a chain hash: what subscribers carry as the digest of a revision.
fn short(hash: &[u8; 32]) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash[..16]);
    digest
}
