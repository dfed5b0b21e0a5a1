//! flagd's protocols, spoken through `connectrpc`: gRPC, gRPC-Web and Connect, over HTTP/1.1 and HTTP/2, on the data
//! plane's port.
//!
//! What travels around a message (envelopes, codecs, compression, trailers, HTTP statuses) is the library's; what is
//! asked and answered is decided in the services. flagd's types stop here.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use connectrpc::{ConnectRpcBody, ConnectRpcService, Limits};
use http::header::ALLOW;
use http::{HeaderValue, StatusCode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::serve::door::Door;
use crate::serve::http::body::{BodyLimit, EVALUATE, Timed};

use self::driven::Drive;
use self::evaluation::Evaluation;
use self::judged::judge;

pub mod driven;
pub mod evaluation;
pub mod fault;
pub mod judged;
pub mod structs;
pub mod sync;

/// The services, as the health service names them.
pub const SERVICES: [&str; 2] = ["flagd.evaluation.v1.Service", "flagd.evaluation.v2.Service"];

/// Bytes of a request that flagd takes, and so do we where nobody has set another limit.
const REQUEST_BYTES: usize = 1_000_000;

/// How flagd's protocols are served.
#[derive(Debug, Clone, Copy)]
pub struct FlagdSettings {
    /// Whether a general error is UNKNOWN, as flagd has it. Its clients try such a call again for seconds.
    pub strict_status: bool,
    /// How long an event stream may be silent.
    pub keep_alive: Duration,
    /// How long an event stream may last; none: for ever.
    pub stream_deadline: Option<Duration>,
}

/// What the services share.
#[derive(Debug, Clone)]
pub struct Flagd {
    /// Who calls, and what it sees.
    pub door: Door,
    /// How they are served.
    pub settings: FlagdSettings,
    /// How large a request may be, and how long it may take to arrive.
    pub body: BodyLimit,
    /// Cancelled when the server begins to stop.
    pub draining: CancellationToken,
    /// How event streams are kept going.
    pub drive: Drive,
    /// Counts evaluations of the first and of the second version.
    pub evaluations: [Counter; 2],
    /// The event streams that are open.
    pub streams: Gauge,
}

/// The routes: every method of the services, and their own answer to those that they do not have.
pub fn routes(flagd: Flagd) -> Router {
    let bytes = if flagd.body.bytes == EVALUATE.bytes { REQUEST_BYTES } else { flagd.body.bytes };
    let body = BodyLimit { bytes, ..flagd.body };
    let door = flagd.door.clone();
    let limits = Limits::default().with_max_request_body_size(body.bytes).with_max_message_size(body.bytes);
    let service = ConnectRpcService::new(Evaluation::new(flagd)).with_limits(limits);
    let service = service.map_request(move |request: Request| request.map(|inner: Body| Timed::new(inner, body.time)));
    let service = service.map_response(complete);
    SERVICES
        .iter()
        .fold(Router::new(), |router, name| router.route_service(&format!("/{name}/{{*method}}"), service.clone()))
        .route_layer(from_fn_with_state(door, judge))
}

/// Gives a whole answer its length, which the library's own body does not know, and says which method is taken wherever
/// another one is refused.
fn complete(response: Response<ConnectRpcBody>) -> Response {
    let mut response = response.map(|body| match body {
        ConnectRpcBody::Full(whole) => Body::new(whole),
        streamed => Body::new(streamed),
    });
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().entry(ALLOW).or_insert(HeaderValue::from_static("POST"));
    }
    response
}

#[cfg(test)]
mod tests;
