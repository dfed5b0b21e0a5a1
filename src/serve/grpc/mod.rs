//! gRPC: the services of `rampart.v1` and the standard health service, on the data plane's port.
//!
//! The wire's types end in `convert`; what is sent to subscribers is decided in `sync`, what flags answer in `eval`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use prometheus_client::metrics::counter::Counter;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::access::policy::{self, DataPlaneAuth, Plane, Refusal};
use crate::flag::key::EnvironmentName;
use crate::proto::rampart_v1::evaluation_server::EvaluationServer;
use crate::proto::rampart_v1::subscription_server::SubscriptionServer;
use crate::serve::door::{Admitted, Door};
use crate::serve::flagd;
use crate::serve::http::caller::{authenticate, decide_environment, permit};
use crate::serve::http::problem::{Missing, Problem};
use crate::snapshot::subscribers::Subscribers;

pub mod convert;
pub mod evaluation;
pub mod status;
pub mod subscription;

/// Bytes of one request message: a context of 64 KiB, or a client's acknowledgement with a thousand refusals.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one answer: a bulk answer of 100,000 flags.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How streams are kept.
#[derive(Debug, Clone)]
pub struct StreamLimits {
    /// Between two bookmarks on a quiet stream.
    pub bookmark: Duration,
    /// How long the first message may take.
    pub hello: Duration,
    /// How long a client may read nothing.
    pub stall: Duration,
    /// How long the receipt of a kill set may take.
    pub kill_ack: Duration,
    /// How long the receipt of a transfer may take.
    pub change_ack: Duration,
    /// Over how long clients are told to come back when the server stops.
    pub drain_window: Duration,
}

/// What the services share.
#[derive(Debug, Clone)]
pub struct Grpc {
    /// Who calls, and what it sees.
    pub door: Door,
    /// Who follows.
    pub subscribers: Arc<Subscribers>,
    /// How streams are kept.
    pub limits: StreamLimits,
    /// Cancelled when the server begins to stop.
    pub draining: CancellationToken,
    /// Where streams are counted.
    pub tasks: TaskTracker,
    /// Counts evaluations.
    pub evaluations: Counter,
}

impl Grpc {
    /// Who calls, and what it sees. `wanted` is the environment it names; empty for the one its token decides.
    ///
    /// # Errors
    /// 401, 403 and 404 as on HTTP.
    pub fn admit(&self, headers: &http::HeaderMap, method: &str, wanted: &str) -> Result<Admitted, Problem> {
        let now = self.door.gate.clock.now();
        let route = policy::find(Plane::Data, "POST", method).ok_or(Problem::Internal)?;
        let principal = authenticate(headers, None, &self.door.gate.hub.tokens(), now)?;
        let environment = match EnvironmentName::new(wanted) {
            Ok(named) => named,
            Err(_) if wanted.is_empty() => {
                decide_environment(principal.as_ref(), &self.door.default_environment)?.clone()
            }
            Err(fault) => return Err(Problem::BadRequest(format!("environment: {fault}").into())),
        };
        // A name never widens what a caller sees: without a token that is the default environment.
        if principal.is_none() && environment != self.door.default_environment {
            return Err(Problem::Forbidden(Refusal::OtherEnvironment));
        }
        let may = |auth| permit(principal.as_ref(), route, Some(&environment), auth);
        let Some(snapshot) = self.door.gate.hub.current(&environment) else {
            // Nobody without a right to this environment learns whether it is there.
            may(DataPlaneAuth::Required)?;
            return Err(Problem::NotFound(Missing::Environment, environment.to_string()));
        };
        may(snapshot.data_plane_auth)?;
        Ok(Admitted { principal, snapshot, now })
    }
}

/// The health service's other end.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    routes: Router,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health")
    }
}

impl Health {
    /// The health service alone, for the admin plane, where flagd has it.
    pub fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Says that the services serve, or do not any more.
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        let ours = ["", "rampart.v1.Evaluation", "rampart.v1.Subscription"];
        for name in ours.into_iter().chain(flagd::SERVICES).chain([flagd::sync::SERVICE]) {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// The gRPC routes.
pub fn routes(grpc: Grpc) -> (Router, Health) {
    let (reporter, health) = health_reporter();
    let evaluation = EvaluationServer::new(evaluation::EvaluationService(grpc.clone()))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let subscription = SubscriptionServer::new(subscription::SubscriptionService(grpc))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let alone = Routes::new(health.clone()).prepare().into_axum_router().reset_fallback();
    let routes = Routes::new(health).add_service(evaluation).add_service(subscription);
    (routes.prepare().into_axum_router(), Health { reporter, routes: alone })
}
