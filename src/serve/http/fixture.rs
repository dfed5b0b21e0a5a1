//! For the tests of `serve`: a gate over a hub that serves what a test wants.

use std::sync::Arc;

use super::caller::Gate;
use crate::access::policy::DataPlaneAuth;
use crate::access::token::Tokens;
use crate::control::clock::Clock;
use crate::eval::set::CompiledSet;
use crate::flag::key::{EnvironmentName, FlagSetName};
use crate::flag::time::{Revision, Timestamp};
use crate::snapshot::Snapshot;
use crate::snapshot::hub::Hub;
use crate::sync::view::View;

/// A gate with these tokens, at this time, over a hub without environments.
pub(in crate::serve) fn gate(tokens: Tokens, now: Timestamp) -> Gate {
    let hub = Hub::default();
    hub.publish_tokens(tokens);
    Gate { hub: Arc::new(hub), clock: Clock::manual(now) }
}

/// Serves a set in an environment.
pub(in crate::serve) fn publish(gate: &Gate, name: &str, set: CompiledSet, revision: Revision, auth: DataPlaneAuth) {
    let environment = EnvironmentName::new(name).expect("a valid name");
    let mut flag_sets: Vec<FlagSetName> = set.iter().filter_map(|flag| flag.id().flag_set.clone()).collect();
    flag_sets.sort();
    flag_sets.dedup();
    gate.hub.publish(&environment, |_| Snapshot {
        environment: environment.clone(),
        production: false,
        data_plane_auth: auth,
        revision,
        published_at: gate.clock.now(),
        set,
        flag_sets: flag_sets.into(),
        view: View::empty([0; 16]),
    });
}
