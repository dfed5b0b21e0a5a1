//! gRPC: the services of `rampart.v1` and the standard health service, on the data plane's port.
//!
//! The wire's types end in `convert`; what is sent to subscribers is decided in `sync`, what flags answer in `eval`.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use prometheus_client::metrics::counter::Counter;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::proto::rampart_v1::evaluation_server::EvaluationServer;
use crate::serve::door::Door;
use crate::serve::flagd;
use crate::serve::subscription::Subscriptions;

pub mod convert;
pub mod evaluation;
pub mod status;
pub mod subscribe;
pub mod subscription;

/// Bytes of one request message: a context of 64 KiB, with room to say that one is too large.
const REQUEST_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one answer: a bulk answer of 100,000 flags.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the services share.
#[derive(Debug, Clone)]
pub struct Grpc {
    /// Who calls, and what it sees.
    pub door: Door,
    /// Who follows.
    pub subscriptions: Arc<Subscriptions>,
    /// Counts evaluations.
    pub evaluations: Counter,
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
    let subscriptions = subscription::routes(grpc.subscriptions.clone());
    let evaluation = EvaluationServer::new(evaluation::EvaluationService(grpc))
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let alone = Routes::new(health.clone()).prepare().into_axum_router().reset_fallback();
    let routes = Routes::new(health).add_service(evaluation);
    (routes.prepare().into_axum_router().merge(subscriptions), Health { reporter, routes: alone })
}
