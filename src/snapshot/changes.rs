//! What happened between two snapshots, for followers that are told of changes flag by flag.
//!
//! Costs as much as has changed, not as much as there is. Kills count as changes, and so does everything that reaches a
//! flag through its segments and prerequisites.

use std::collections::BTreeSet;

use super::Snapshot;
use crate::eval::affected::affected;
use crate::flag::key::FlagId;
use crate::flag::time::Generation;
use crate::sync::object::ObjectKey;

/// What became of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Write,
    /// It may answer differently.
    Update,
    /// It is gone.
    Delete,
}

/// The flags whose answers may differ in `after`, by identity. None where that cannot be told (another history, or one
/// whose deletions are forgotten): everything may differ then.
pub fn between(before: &Snapshot, after: &Snapshot) -> Option<Vec<(FlagId, ChangeKind)>> {
    if before.view.epoch() != after.view.epoch() {
        return None;
    }
    let (mut flags, mut segments) = (BTreeSet::new(), BTreeSet::new());
    for entry in after.view.objects().delta(before.view.revision())? {
        match entry.key() {
            ObjectKey::Flag(id) => drop(flags.insert(id.clone())),
            ObjectKey::Segment(name) => drop(segments.insert(name.clone())),
            ObjectKey::Other { .. } => {}
        }
    }
    if before.kills() != after.kills() {
        let changed = after.kills().marks().filter(|(id, mark)| before.kills().mark(id) != Some(*mark));
        flags.extend(changed.map(|(id, _)| id.clone()));
    }
    let kind = |id: FlagId| {
        let kind = match (before.set.get(&id).is_some(), after.set.get(&id).is_some()) {
            (false, true) => ChangeKind::Write,
            (true, true) => ChangeKind::Update,
            (true, false) => ChangeKind::Delete,
            // It came and went, or it was never usable.
            (false, false) => return None,
        };
        Some((id, kind))
    };
    Some(affected(&after.set, flags, segments).into_iter().filter_map(kind).collect())
}

/// The flags that were killed or restored after a generation, and those that ask them: what a client that was away for
/// a moment must ask again, whatever it keeps.
pub fn kills_after(snapshot: &Snapshot, since: Generation) -> Vec<FlagId> {
    if snapshot.kills().generation() <= since {
        return Vec::new();
    }
    let recent = snapshot.kills().marks().filter(|(_, mark)| mark.generation > since);
    let flags = recent.map(|(id, _)| id.clone()).collect();
    affected(&snapshot.set, flags, BTreeSet::new()).into_iter().filter(|id| snapshot.set.get(id).is_some()).collect()
}
