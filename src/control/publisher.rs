//! From what is recorded to what is served: the same path for boot and for every change.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::access::scope::Scopes;
use crate::access::token::{Environments, TokenHash, TokenId, TokenInfo};
use crate::eval::compile::compile;
use crate::eval::object::Object;
use crate::eval::set::CompiledSet;
use crate::flag::key::{EnvironmentName, FlagSetName};
use crate::flag::time::{Revision, Timestamp};
use crate::snapshot::Snapshot;
use crate::snapshot::following::{Place, advance};
use crate::snapshot::hub::Hub;
use crate::world::change::Reach;
use crate::world::environment::Environment;
use crate::world::fold::{TokenState, World};
use crate::world::record::Head;

/// Publishes one environment as the world has it now. `prepared` is its compiled form where a command made it already.
///
/// Objects that do not compile are named in the log and keep their last good form; everything else serves.
pub fn publish(hub: &Hub, world: &World, name: &EnvironmentName, prepared: Option<CompiledSet>, now: Timestamp) {
    let Some(environment) = world.environment(name) else { return };
    let served = hub.current(name);
    let since = served.as_ref().map_or(Revision::ZERO, |served| served.revision);
    let changed = changed_since(environment, since);
    let set = prepared.unwrap_or_else(|| {
        let before = served.as_ref().map(|served| served.set.clone()).unwrap_or_default();
        if changed.is_empty() { before } else { compiled(&before, &changed, name) }
    });
    let kills = Arc::new(world.kills(name).cloned().unwrap_or_default());
    hub.publish(name, |before| {
        let flag_sets = match before {
            Some(before) if !touches_flag_sets(&changed) => Arc::clone(&before.flag_sets),
            _ => flag_sets(&set),
        };
        let place = place(world.head());
        let view = before.map(|before| &before.view);
        Snapshot {
            environment: name.clone(),
            production: environment.production,
            data_plane_auth: environment.data_plane_auth,
            revision: world.head().revision,
            published_at: now,
            flag_sets,
            view: advance(view, place, &changed, Arc::clone(&kills)),
            set: set.with_kills(kills),
        }
    });
}

/// Whether a change may bring or take away a flag set.
fn touches_flag_sets(changed: &[Object]) -> bool {
    changed.iter().any(|object| match object {
        Object::Flag { id, .. } | Object::FlagGone { id, .. } => id.flag_set.is_some(),
        Object::Segment { .. } | Object::SegmentGone { .. } => false,
    })
}

fn flag_sets(set: &CompiledSet) -> Arc<[FlagSetName]> {
    let names: BTreeSet<FlagSetName> = set.iter().filter_map(|flag| flag.id().flag_set.clone()).collect();
    names.into_iter().collect()
}

/// Publishes every environment, and the tokens: the boot.
pub fn publish_all(hub: &Hub, world: &World, now: Timestamp) {
    for name in world.environments().keys() {
        publish(hub, world, name, None, now);
    }
    publish_tokens(hub, world);
}

fn compiled(before: &CompiledSet, changed: &[Object], name: &EnvironmentName) -> CompiledSet {
    let (set, diagnostics) = compile(before, changed);
    for diagnostic in diagnostics.iter().filter(|diagnostic| diagnostic.is_error()) {
        tracing::error!(environment = %name, "a recorded definition does not compile: {diagnostic}");
    }
    set
}

/// Publishes the tokens in force.
pub fn publish_tokens(hub: &Hub, world: &World) {
    hub.publish_tokens(world.tokens().iter().filter_map(|(id, token)| token_info(id, token)).collect());
}

/// What changed in an environment after a revision, tombstones included, as the compiler takes it.
fn changed_since(environment: &Environment, since: Revision) -> Vec<Object> {
    use crate::world::environment::{Object as Recorded, ObjectName};
    let object = |recorded| match recorded {
        Recorded::Flag(id, state) => Object::Flag {
            id: id.clone(),
            revision: state.revision,
            definition: Arc::clone(&state.definition),
            allocation: state.allocation.clone(),
        },
        Recorded::Segment(name, state) => {
            Object::Segment { name: name.clone(), revision: state.revision, segment: Arc::clone(&state.definition) }
        }
        Recorded::Gone(ObjectName::Flag(id), revision) => Object::FlagGone { id: id.clone(), revision },
        Recorded::Gone(ObjectName::Segment(name), revision) => Object::SegmentGone { name: name.clone(), revision },
    };
    environment.changed_since(since).map(object).collect()
}

fn place(head: &Head) -> Place {
    Place { epoch: head.epoch.0, revision: head.revision, hash: head.hash.0 }
}

fn token_info(id: &str, token: &TokenState) -> Option<TokenInfo> {
    let id: TokenId = id.parse().ok()?;
    // A scope of a later version grants nothing here.
    let scopes: Scopes = token.scopes.iter().filter_map(|word| word.parse().ok()).collect();
    Some(TokenInfo {
        id,
        name: token.name.as_str().into(),
        hash: TokenHash(token.secret_hash.0),
        scopes,
        environments: match &token.environments {
            Reach::All => Environments::All,
            Reach::Only(names) => Environments::Only(Arc::new(names.clone())),
        },
        expires: token.expires,
        revoked: token.revoked.is_some(),
    })
}
