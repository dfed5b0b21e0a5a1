//! What the server counts: a fixed list of series, so that no flag, token or user can make it grow.
//!
//! Gauges of the present state are read when somebody asks; nothing on the evaluation path takes a lock here.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::control::Control;
use crate::flag::key::EnvironmentName;
use crate::serve::listen::ListenMetrics;
use crate::serve::subscription::metrics::StreamMetrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Environment {
    environment: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Surface {
    surface: &'static str,
}

/// What is counted about flagd's in-process clients. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct SyncMetrics {
    left_out: Family<Environment, Gauge>,
    payload_bytes: Family<Environment, Gauge>,
    /// Documents that were rendered.
    pub renderings: Counter,
    /// Open streams.
    pub streams: Gauge,
}

impl SyncMetrics {
    /// Notes how many flags of an environment have no translation.
    pub fn translated(&self, environment: &EnvironmentName, left_out: usize) {
        set(&self.left_out, environment, left_out);
    }

    /// Counts a rendering, and notes the size of the environment's largest payload.
    pub fn rendered(&self, environment: &EnvironmentName, payload_bytes: usize) {
        self.renderings.inc();
        set(&self.payload_bytes, environment, payload_bytes);
    }
}

fn set(gauges: &Family<Environment, Gauge>, environment: &EnvironmentName, value: usize) {
    let label = Environment { environment: environment.to_string() };
    gauges.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// The server's metrics. Clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    evaluations: Family<Surface, Counter>,
    streams: Family<Surface, Gauge>,
    flags: Family<Environment, Gauge>,
    killed: Family<Environment, Gauge>,
    revision: Family<Environment, Gauge>,
    generation: Family<Environment, Gauge>,
    journal: Gauge,
    unjournaled: Gauge,
    subscribers: Gauge,
    sync: SyncMetrics,
    change_streams: Gauge,
    subscriptions: StreamMetrics,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Registers everything that is counted.
    pub fn new(data: &ListenMetrics, admin: &ListenMetrics) -> Self {
        let mut registry = Registry::with_prefix("rampart");
        for (name, listener) in [("data", data), ("admin", admin)] {
            let plane = registry.sub_registry_with_label(("plane".into(), name.into()));
            plane.register("connections_accepted", "Connections taken", listener.accepted.clone());
            plane.register("connections_refused", "Connections above the cap", listener.refused.clone());
            plane.register("accept_failures", "Failures of accept", listener.failed.clone());
            plane.register("connections_open", "Connections open now", listener.open.clone());
        }
        let metrics = Self {
            evaluations: Family::default(),
            streams: Family::default(),
            flags: Family::default(),
            killed: Family::default(),
            revision: Family::default(),
            generation: Family::default(),
            journal: Gauge::default(),
            unjournaled: Gauge::default(),
            subscribers: Gauge::default(),
            sync: SyncMetrics::default(),
            change_streams: Gauge::default(),
            subscriptions: StreamMetrics::default(),
            registry: Arc::default(),
        };
        registry.register("evaluations", "Flags evaluated, by surface", metrics.evaluations.clone());
        registry.register("event_streams", "Open event streams, by surface", metrics.streams.clone());
        registry.register("flags", "Flags served", metrics.flags.clone());
        registry.register("flags_killed", "Flags killed now", metrics.killed.clone());
        registry.register("served_revision", "Newest journal revision that is served", metrics.revision.clone());
        registry.register("kill_generation", "Newest generation of the kill lane", metrics.generation.clone());
        registry.register("journal_revision", "Newest durable journal revision", metrics.journal.clone());
        registry.register(
            "kills_unjournaled",
            "Kills in force that the journal does not hold yet",
            metrics.unjournaled.clone(),
        );
        registry.register("subscribers", "Connected subscribers", metrics.subscribers.clone());
        metrics.subscriptions.register(&mut registry);
        let sync = &metrics.sync;
        registry.register("flagd_sync_streams", "Open streams of flagd.sync", sync.streams.clone());
        registry.register("flagd_sync_left_out", "Flags without an exact translation", sync.left_out.clone());
        registry.register("flagd_sync_payload_bytes", "Largest payload of flagd.sync", sync.payload_bytes.clone());
        registry.register("flagd_sync_renderings", "Payloads of flagd.sync rendered", sync.renderings.clone());
        registry.register("change_streams", "Open OFREP change streams", metrics.change_streams.clone());
        Self { registry: Arc::new(registry), ..metrics }
    }

    /// What is counted about flagd's in-process clients; to be kept by that surface.
    pub fn sync(&self) -> SyncMetrics {
        self.sync.clone()
    }

    /// The open event streams of one surface (`flagd`); to be kept by the surface.
    pub fn streams(&self, surface: &'static str) -> Gauge {
        self.streams.get_or_create(&Surface { surface }).clone()
    }

    /// The counter of one surface (`ofrep`, `ofrep_bulk`, `grpc`, `flagd_v1`, `flagd_v2`); to be kept by the surface.
    pub fn evaluations(&self, surface: &'static str) -> Counter {
        self.evaluations.get_or_create(&Surface { surface }).clone()
    }

    /// What is counted about subscriptions.
    pub fn subscriptions(&self) -> StreamMetrics {
        self.subscriptions.clone()
    }

    /// The gauge of open change streams; to be kept by those who open them.
    pub fn change_streams(&self) -> Gauge {
        self.change_streams.clone()
    }

    /// Everything as OpenMetrics text.
    ///
    /// # Errors
    /// Never in practice: writing into a string does not fail.
    pub fn render(&self, control: &Control) -> Result<String, fmt::Error> {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        for snapshot in control.hub().snapshots() {
            let label = Environment { environment: snapshot.environment.to_string() };
            self.flags.get_or_create(&label).set(count(snapshot.set.len()));
            self.killed.get_or_create(&label).set(count(snapshot.kills().len()));
            self.revision.get_or_create(&label).set(number(snapshot.revision.0));
            self.generation.get_or_create(&label).set(number(snapshot.kills().generation().0));
        }
        self.journal.set(number(control.journal().head().revision.0));
        self.unjournaled.set(count(control.unjournaled_kills()));
        let connected = control.hub().rosters().iter().map(|(_, roster)| roster.connected()).sum();
        self.subscribers.set(count(connected));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts a stream for as long as it lives.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    /// One more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
