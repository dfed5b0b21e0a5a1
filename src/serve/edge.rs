//! Both planes of a server, put together: which routers stand behind which ports, with which limits, from when on.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::ConnectionLimits;
use super::door::{Door, Enrichment};
use super::flagd::driven::Drive;
use super::flagd::sync::{self, FlagSync, SyncSettings};
use super::flagd::{self, Flagd, FlagdSettings};
use super::grpc::{self, Grpc, Health};
use super::home::Lanes;
use super::http::admin::{self, Admin};
use super::http::body::BodyLimits;
use super::http::caller::{Gate, admin_gate};
use super::http::cors::{self, Origins};
use super::http::ofrep::events::{EventSettings, Events};
use super::http::ofrep::{self, Ofrep};
use super::http::problem;
use super::http::request_id::{RequestIds, number_requests};
use super::http::stream;
use super::listen::{DrainReport, ListenMetrics, ListenOptions, Listener};
use super::metrics::Metrics;
use super::rate::RateLimit;
use super::subscription::admission::{Admission, AdmissionLimits};
use super::subscription::receipts::Waiters;
use super::subscription::{StreamLimits, Subscriptions};
use crate::control::{Control, Random, draw};
use crate::flag::key::EnvironmentName;

/// What the edge is told by the settings.
#[derive(Debug, Clone)]
pub struct EdgeSettings {
    /// The environment of data-plane callers whose token does not decide it.
    pub default_environment: EnvironmentName,
    /// What is added to every context.
    pub enrichment: Enrichment,
    /// What `/metrics` asks for, where it asks for something.
    pub metrics_token: Option<String>,
    /// Connections of the data plane.
    pub data_connections_max: u32,
    /// Connections of the admin plane.
    pub admin_connections_max: u32,
    /// What each connection may take.
    pub connection: ConnectionLimits,
    /// What each request's body may take.
    pub bodies: BodyLimits,
    /// How streams are kept.
    pub streams: StreamLimits,
    /// Which streams are taken.
    pub admission: AdmissionLimits,
    /// Connections of the data plane that are accepted in a second.
    pub accepts_per_second: u32,
    /// The threads that are kept for subscriptions.
    pub lanes: Lanes,
    /// How flagd's protocols are served.
    pub flagd: FlagdSettings,
    /// How flagd's sync is served.
    pub sync: SyncSettings,
    /// How long the drain lets requests and streams finish.
    pub drain_deadline: Duration,
    /// From when on it serves.
    pub opening: Opening,
    /// Evaluation requests that one caller may make in a second; none: as many as it can.
    pub evaluations_per_second: Option<u32>,
    /// The web pages that may read what the data plane answers; none: no page of another origin.
    pub cors: Option<Origins>,
    /// OFREP's change streams; none: they are switched off.
    pub events: Option<EventSettings>,
}

/// Two moments of a start. Both have come where a server waits for nothing.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// The data plane answers from here on; until then its connections wait to be accepted.
    pub open: CancellationToken,
    /// Every source of flags was read once: the server is ready from here on.
    pub synced: CancellationToken,
}

impl Opening {
    /// Both moments have come.
    pub fn done() -> Self {
        let opening = Self::default();
        opening.open.cancel();
        opening.synced.cancel();
        opening
    }
}

/// The bound ports.
#[derive(Debug)]
pub struct Planes {
    /// Answers and subscriptions.
    pub data: Vec<Port>,
    /// Administration.
    pub admin: Listener,
}

/// A port of the data plane.
#[derive(Debug)]
pub struct Port {
    /// Its name in logs.
    pub name: &'static str,
    /// Where it listens.
    pub listener: Listener,
    /// True where it serves OFREP alone, and not all of the data plane.
    pub only_ofrep: bool,
}

/// The routers and how they are served.
#[derive(Debug)]
pub struct Edge {
    data: (Router, ListenOptions),
    ofrep: Router,
    admin: (Router, ListenOptions),
    health: Health,
    opening: Opening,
}

/// What became of the connections when the server stopped.
#[derive(Debug, Clone, Copy)]
pub struct Drained {
    /// Of the data plane, all its ports together.
    pub data: DrainReport,
    /// Of the admin plane.
    pub admin: DrainReport,
}

type BoxFuture = Pin<Box<dyn Future<Output = DrainReport> + Send>>;

impl Edge {
    /// Puts the routers together. `draining` is cancelled when the server begins to stop.
    pub fn new(
        settings: &EdgeSettings,
        control: Control,
        random: Random,
        stopping: (CancellationToken, TaskTracker),
    ) -> Self {
        let (draining, tasks) = stopping;
        let ids = RequestIds::new(u32::from_be_bytes(draw(random)));
        let gate = Gate { hub: Arc::clone(control.hub()), clock: control.clock().clone() };
        let (data_metrics, admin_metrics) = (ListenMetrics::default(), ListenMetrics::default());
        let metrics = Metrics::new(&data_metrics, &admin_metrics);
        let options = |name, connections_max, metrics| ListenOptions {
            name,
            connections_max,
            drain_time: settings.drain_deadline,
            limits: settings.connection,
            metrics,
            accepts_per_second: settings.accepts_per_second,
            lanes: settings.lanes.clone(),
        };
        let door = Door {
            gate: gate.clone(),
            default_environment: settings.default_environment.clone(),
            enrichment: Arc::new(settings.enrichment.clone()),
            rate: settings.evaluations_per_second.map(|requests| Arc::new(RateLimit::per_second(requests))),
        };
        let events = settings
            .events
            .clone()
            .map(|settings| Events::new(settings, draining.clone(), tasks.clone(), metrics.change_streams()));
        let waiters = Waiters::new(draining.clone());
        let subscriptions = Arc::new(Subscriptions {
            door: door.clone(),
            limits: Arc::new(settings.streams.clone()),
            admission: Arc::new(Admission::new(settings.admission)),
            shelves: Arc::default(),
            // Of its own, so that nobody on the data plane can keep an operator from waiting.
            waiters: Waiters::new(draining.clone()),
            metrics: metrics.subscriptions(),
            draining: draining.clone(),
            tasks: tasks.clone(),
        });
        let events_of_flags = stream::routes(subscriptions.clone(), random, settings.bodies.evaluate);
        let grpc = Grpc { door: door.clone(), subscriptions, evaluations: metrics.evaluations("grpc") };
        let flagd = flagd_routes(settings, &door, &metrics, &draining, tasks);
        let ofrep = ofrep_routes(settings, door, &metrics, events);
        let (services, health) = grpc::routes(grpc);
        let data = ofrep.clone().merge(services).merge(events_of_flags).merge(flagd);
        let finished = |routes: Router| {
            let routes = routes.fallback(problem::not_found);
            match &settings.cors {
                Some(origins) => routes.layer(cors::layer(origins)),
                None => routes,
            }
        };
        let admin = admin_plane(settings, (control, waiters), random, gate, metrics, draining).merge(health.routes());
        let number = from_fn_with_state(ids, number_requests);
        Self {
            ofrep: finished(ofrep).layer(number.clone()),
            data: (finished(data).layer(number.clone()), options("data", settings.data_connections_max, data_metrics)),
            admin: (admin.layer(number), options("admin", settings.admin_connections_max, admin_metrics)),
            health,
            opening: settings.opening.clone(),
        }
    }

    /// Serves both planes until `stop`, then drains them. The admin plane drains last, so that a kill gets through as
    /// long as anybody is connected.
    pub async fn serve(self, planes: Planes, tasks: TaskTracker, stop: CancellationToken) -> Drained {
        let admin_stop = CancellationToken::new();
        let draining = stop.clone();
        let (router, options) = self.admin;
        let admin = planes.admin.serve(router, options, tasks.clone(), admin_stop.clone());
        let (router, options) = self.data;
        let mut data: BoxFuture = Box::pin(std::future::ready(DrainReport::default()));
        for Port { name, listener, only_ofrep } in planes.data {
            let options = ListenOptions { name, ..options.clone() };
            let router = if only_ofrep { self.ofrep.clone() } else { router.clone() };
            let (tasks, stop, open) = (tasks.clone(), stop.clone(), self.opening.open.clone());
            let port = async move {
                tokio::select! {
                    () = open.cancelled() => {}
                    () = stop.cancelled() => {}
                }
                listener.serve(router, options, tasks, stop).await
            };
            data = Box::pin(async move {
                let (others, own) = tokio::join!(data, port);
                DrainReport { open: others.open + own.open, aborted: others.aborted + own.aborted }
            });
        }
        let data = async {
            let report = data.await;
            admin_stop.cancel();
            report
        };
        // The health service says that it serves unless it is told otherwise, and the admin plane answers at once.
        self.health.set(false).await;
        let health = async {
            tokio::select! {
                () = self.opening.synced.cancelled() => self.health.set(true).await,
                () = draining.cancelled() => {}
            }
            draining.cancelled().await;
            self.health.set(false).await;
        };
        let (data, admin, ()) = tokio::join!(data, admin, health);
        Drained { data, admin }
    }
}

fn flagd_routes(
    settings: &EdgeSettings,
    door: &Door,
    metrics: &Metrics,
    draining: &CancellationToken,
    tasks: TaskTracker,
) -> Router {
    let drive = Drive { tasks: tasks.clone(), stall: settings.streams.stall };
    let evaluation = Flagd {
        door: door.clone(),
        settings: settings.flagd,
        body: settings.bodies.evaluate,
        draining: draining.clone(),
        drive: drive.clone(),
        evaluations: [metrics.evaluations("flagd_v1"), metrics.evaluations("flagd_v2")],
        streams: metrics.streams("flagd"),
    };
    let sync = FlagSync {
        door: door.clone(),
        settings: settings.sync,
        body_time: settings.bodies.evaluate.time,
        drive,
        draining: draining.clone(),
        tasks,
        metrics: metrics.sync(),
    };
    flagd::routes(evaluation).merge(sync::routes(sync))
}

fn ofrep_routes(settings: &EdgeSettings, door: Door, metrics: &Metrics, events: Option<Events>) -> Router {
    ofrep::routes(Ofrep {
        door,
        body: settings.bodies.evaluate,
        single: metrics.evaluations("ofrep"),
        bulk: metrics.evaluations("ofrep_bulk"),
        events,
    })
}

fn admin_plane(
    settings: &EdgeSettings,
    (control, waiters): (Control, Waiters),
    random: Random,
    gate: Gate,
    metrics: Metrics,
    draining: CancellationToken,
) -> Router {
    let (routes, document) = admin::routes();
    let state = Admin {
        control,
        waiters,
        random,
        metrics,
        metrics_token: settings.metrics_token.as_deref().map(Arc::from),
        draining,
        synced: settings.opening.synced.clone(),
        openapi: document.into(),
        bodies: settings.bodies,
    };
    routes
        .method_not_allowed_fallback(problem::not_found)
        .route_layer(from_fn_with_state(gate, admin_gate))
        .layer(from_fn(hardened))
        .fallback(problem::not_found)
        .with_state(state)
}

/// Headers for whoever opens the admin API in a browser.
async fn hardened(request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    use http::HeaderValue;
    use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}
