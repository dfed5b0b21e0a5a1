//! The witness: notes in the journal how far each kill and restore got among the subscribers of this node.
//!
//! It waits until everybody has confirmed, or until the time that is given to receipts has passed; then the counts and
//! times become a record of their own, which names the kill by its generation. Kills that had nobody to reach are not
//! noted. It holds up nothing: what it cannot write it says in the log.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Control;
use super::command::{Call, Command};
use crate::flag::key::EnvironmentName;
use crate::flag::time::Generation;
use crate::snapshot::roster::receipts::Receipts;
use crate::world::change::Propagation;

/// Between two looks at what is still on its way.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Watches until told to stop; what is on its way then is noted as far as it got.
pub async fn watch(control: Control, patience: Duration, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => {}
            _ = looks.tick() => {}
        }
        // The last look, when the server stops, notes everything as far as it got.
        let stopping = stop.is_cancelled();
        let patience = if stopping { Duration::ZERO } else { patience };
        for (environment, roster) in control.hub().rosters() {
            for receipts in roster.settled(patience, control.clock().now()) {
                note(&control, environment.clone(), &receipts).await;
            }
        }
        if stopping {
            return;
        }
    }
}

async fn note(control: &Control, environment: EnvironmentName, receipts: &Receipts) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let propagation = Propagation {
        subscribers: count(receipts.subscribers),
        confirmed: count(receipts.confirmed),
        late_joined: count(receipts.late_joined),
        pending: count(receipts.pending),
        rejected: count(receipts.rejected),
        unconfirmable: count(receipts.unconfirmable),
        disconnected: count(receipts.disconnected),
        first_us: receipts.first_us,
        p50_us: receipts.p50_us,
        p99_us: receipts.p99_us,
        max_us: receipts.max_us,
    };
    let generation = Generation(receipts.position);
    tracing::info!(%environment, %generation, ?propagation, "a kill or restore was told to the subscribers");
    let command = Command::ObservePropagation { environment, generation, propagation };
    if let Err(refusal) = control.submit(command, Call::of_system("witness")).await {
        tracing::warn!(%refusal, %generation, "the receipts of a kill could not be noted in the journal");
    }
}
