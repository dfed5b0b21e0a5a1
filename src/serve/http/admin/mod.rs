//! The admin API: definitions, kills, tokens, audit and probes. Every route is in `access::policy`; what is not there
//! is denied, and what is there and not here is a failing test.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::command::{Durability, Outcome};
use crate::control::{Control, Random};
use crate::flag::time::Revision;
use crate::serve::http::body::BodyLimits;
use crate::serve::metrics::Metrics;
use crate::serve::subscription::receipts::Waiters;

pub mod audit;
pub mod call;
pub mod environments;
pub mod flags;
pub mod kills;
pub mod probes;
pub mod receipts;
pub mod refused;
pub mod segments;
pub mod tokens;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The one writer.
    pub control: Control,
    /// Who waits for receipts.
    pub waiters: Waiters,
    /// Random bytes for new tokens.
    pub random: Random,
    /// What is counted.
    pub metrics: Metrics,
    /// What `/metrics` asks for, where it asks for something.
    pub metrics_token: Option<Arc<str>>,
    /// Cancelled when the server begins to drain.
    pub draining: CancellationToken,
    /// Cancelled once every source of flags was read.
    pub synced: CancellationToken,
    /// The OpenAPI document.
    pub openapi: Arc<str>,
    /// How large bodies may be.
    pub bodies: BodyLimits,
}

impl Admin {
    /// What does not work as it should while flags are served.
    pub fn degraded(&self) -> Option<&'static str> {
        (self.control.unjournaled_kills() > 0 || !self.control.journal_works()).then_some("journal")
    }
}

#[derive(OpenApi)]
#[openapi(info(
    title = "Rampart admin API",
    description = "Flags, kills, tokens and the audit trail of a Rampart server.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Document;

/// The admin routes, without the gate, and their OpenAPI document.
pub fn routes() -> (Router<Admin>, String) {
    let (router, document) = OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(probes::healthz))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::metrics))
        .routes(routes!(probes::openapi))
        .routes(routes!(environments::list))
        .routes(routes!(environments::get, environments::put))
        .routes(routes!(flags::list))
        .routes(routes!(flags::get, flags::put, flags::delete))
        .routes(routes!(flags::import))
        .routes(routes!(kills::kill))
        .routes(routes!(kills::restore))
        .routes(routes!(kills::kill_many))
        .routes(routes!(kills::restore_many))
        .routes(routes!(receipts::read))
        .routes(routes!(receipts::subscribers))
        .routes(routes!(segments::list))
        .routes(routes!(segments::get, segments::put, segments::delete))
        .routes(routes!(audit::read))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .split_for_parts();
    let document = document.to_json().expect("the document is made of strings, numbers and maps");
    (router, document)
}

/// A JSON answer.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(body).expect("views are made of strings, numbers and maps with string keys");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer to a write: 202 while it is in force and not in the journal yet.
fn outcome(outcome: &Outcome) -> Response {
    json(status_of(outcome), outcome)
}

fn status_of(outcome: &Outcome) -> StatusCode {
    if outcome.durability == Durability::Journal { StatusCode::OK } else { StatusCode::ACCEPTED }
}

fn set_etag(response: &mut Response, revision: Revision) {
    let tag = HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits between quotes");
    response.headers_mut().insert(ETAG, tag);
}

/// Percent-encodes a query value: everything but RFC 3986's unreserved characters.
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}
