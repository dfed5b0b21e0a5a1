//! What is **served now**: one immutable snapshot per environment, the tokens that open it, and the hub that swaps them.
//!
//! The only shared mutable state that requests read. A request loads one `Arc` and sees flags, kills and settings of
//! one moment. Nothing here reads the journal or decides what may change (`control` does).

use std::sync::Arc;

use crate::access::policy::DataPlaneAuth;
use crate::eval::set::CompiledSet;
use crate::flag::key::{EnvironmentName, FlagSetName};
use crate::flag::kill::KillSet;
use crate::flag::time::{Revision, Timestamp};
use crate::sync::view::View;

pub mod changes;
pub mod following;
pub mod hub;
pub mod roster;

/// Everything that one environment serves at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Whose it is.
    pub environment: EnvironmentName,
    /// Whether people called this environment production.
    pub production: bool,
    /// Whether the data plane asks every caller for a token.
    pub data_plane_auth: DataPlaneAuth,
    /// The newest journal revision that is in it.
    pub revision: Revision,
    /// When it was published.
    pub published_at: Timestamp,
    /// The flags, compiled, with the kills in force.
    pub set: CompiledSet,
    /// The names of its flag sets, in order.
    pub flag_sets: Arc<[FlagSetName]>,
    /// The same state as subscribers keep up with it.
    pub view: View,
}

impl Snapshot {
    /// The kills in force.
    pub fn kills(&self) -> &Arc<KillSet> {
        self.set.kills()
    }

    /// The same snapshot with more kills merged in: the whole work of turning a flag off.
    #[must_use]
    pub fn with_kills(&self, more: &KillSet, now: Timestamp) -> Self {
        let mut kills = KillSet::clone(self.kills());
        kills.merge_all(more);
        let kills = Arc::new(kills);
        Self {
            set: self.set.with_kills(Arc::clone(&kills)),
            view: self.view.with_kills(kills),
            published_at: now,
            ..self.clone()
        }
    }
}
