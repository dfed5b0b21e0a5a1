//! What is counted about subscriptions: a fixed list of series.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::admission::Why;
use crate::sync::message::{FullReason, GoodbyeReason, Lane};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLane {
    lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySurface {
    surface: &'static str,
}

/// Seconds from publish to receipt: from what one subscriber takes to the 30 s that a rollback may take.
const SECONDS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];

/// The counts. Clones count together.
#[derive(Debug, Clone)]
pub struct StreamMetrics {
    open: Family<BySurface, Gauge>,
    propagation: Family<ByLane, Histogram>,
    ended: Family<ByReason, Counter>,
    refused: Family<ByReason, Counter>,
    full: Family<ByReason, Counter>,
    refused_objects: Counter,
    differs: Counter,
    rollback: Counter,
}

impl Default for StreamMetrics {
    fn default() -> Self {
        Self {
            open: Family::default(),
            propagation: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            ended: Family::default(),
            refused: Family::default(),
            full: Family::default(),
            refused_objects: Counter::default(),
            differs: Counter::default(),
            rollback: Counter::default(),
        }
    }
}

impl StreamMetrics {
    /// Registers all of them.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("subscriptions", "Open subscriptions, by surface", self.open.clone());
        registry.register(
            "propagation_seconds",
            "From publish to a subscriber's receipt, by lane",
            self.propagation.clone(),
        );
        registry.register("subscriptions_ended", "Subscriptions that ended, by reason", self.ended.clone());
        registry.register(
            "subscriptions_refused",
            "Subscriptions that were not taken, by reason",
            self.refused.clone(),
        );
        registry.register("full_transfers", "Transfers of everything, by reason", self.full.clone());
        registry.register(
            "objects_refused",
            "Objects that a subscriber said it cannot use",
            self.refused_objects.clone(),
        );
        registry.register(
            "subscribers_differing",
            "Acknowledgements of another state than was sent",
            self.differs.clone(),
        );
        registry.register(
            "rollback_detected",
            "Subscribers that knew a past or a future which this server does not",
            self.rollback.clone(),
        );
    }

    /// The open subscriptions of a surface.
    pub fn open(&self, surface: &'static str) -> Gauge {
        self.open.get_or_create(&BySurface { surface }).clone()
    }

    /// Something reached a subscriber.
    pub fn propagated(&self, lane: Lane, took: Duration) {
        let lane = match lane {
            Lane::Kills => "kills",
            Lane::Objects => "objects",
        };
        self.propagation.get_or_create(&ByLane { lane }).observe(took.as_secs_f64());
    }

    /// A subscription ended.
    pub fn ended(&self, reason: GoodbyeReason) {
        self.ended.get_or_create(&ByReason { reason: reason.as_str() }).inc();
    }

    /// A subscription was not taken.
    pub fn refused(&self, why: Why) {
        self.refused.get_or_create(&ByReason { reason: why.as_str() }).inc();
    }

    /// Everything is sent to a subscriber.
    pub fn full(&self, reason: FullReason) {
        self.full.get_or_create(&ByReason { reason: reason.as_str() }).inc();
    }

    /// A subscriber cannot use this many objects.
    pub fn refused_objects(&self, objects: usize) {
        self.refused_objects.inc_by(u64::try_from(objects).unwrap_or(u64::MAX));
    }

    /// A subscriber holds something else than it was sent.
    pub fn differs(&self) {
        self.differs.inc();
    }

    /// A subscriber bears witness that records were lost.
    pub fn rollback_detected(&self) {
        self.rollback.inc();
    }
}
