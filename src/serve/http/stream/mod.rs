//! Keeping up over plain HTTP: `GET /v1/stream` (server-sent events), `POST /v1/stream/acks` for its receipts, and
//! `GET /v1/kills`, the way that needs no stream at all.
//!
//! The same machine as behind gRPC's subscription, in other words: see `proto/rampart/v1/subscription.proto` for what
//! each field means. Bytes are hex.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use dashmap::DashMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::sync::mpsc;

use self::event::Sse;
use crate::access::token::{TokenId, hex};
use crate::control::{Random, draw};
use crate::flag::key::EnvironmentName;
use crate::serve::home;
use crate::serve::http::body::BodyLimit;
use crate::serve::http::problem::Problem;
use crate::serve::subscription::admission::Refused;
use crate::serve::subscription::drive::Driver;
use crate::serve::subscription::frame::{Inbound, StreamBody};
use crate::serve::subscription::outbox::outbox;
use crate::serve::subscription::{End, Entrance, Subscriptions};
use crate::sync::message::{ClientMessage, Hello};
use crate::sync::server::ProtocolFault;

mod acks;
mod event;
mod kills;

/// The stream.
pub const PATH: &str = "/v1/stream";
/// Its receipts.
pub const ACKS_PATH: &str = "/v1/stream/acks";
/// The kill set.
pub const KILLS_PATH: &str = "/v1/kills";
const ROUTE: (&str, &str) = ("GET", PATH);
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx passes a stream on as it comes only where it is told so.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Receipts of one stream that wait for its driver.
const INBOX: usize = 16;

/// What the routes share.
#[derive(Debug, Clone)]
pub struct Streams {
    subscriptions: Arc<Subscriptions>,
    inboxes: Arc<DashMap<String, Inbox>>,
    random: Random,
    body: BodyLimit,
}

/// Where the receipts of an open stream go.
#[derive(Debug)]
struct Inbox {
    owner: Option<TokenId>,
    environment: EnvironmentName,
    messages: mpsc::Sender<ClientMessage>,
}

/// The routes.
pub fn routes(subscriptions: Arc<Subscriptions>, random: Random, body: BodyLimit) -> Router {
    let streams = Streams { subscriptions, inboxes: Arc::default(), random, body };
    Router::new()
        .route(PATH, get(open))
        .route(ACKS_PATH, post(acks::take))
        .route(KILLS_PATH, get(kills::read))
        .with_state(streams)
}

/// What a client says of itself; everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Introduction {
    /// Random per process; drawn where left out.
    instance: String,
    name: String,
    sdk: String,
    sdk_version: String,
    /// Whether it acknowledges by POST.
    acks: bool,
    environment: String,
    /// As `Last-Event-ID`, for clients that cannot send headers.
    resume: Option<String>,
}

async fn open(State(streams): State<Streams>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let shared = streams.subscriptions.clone();
    let ticket = match shared.admission.enter() {
        Ok(ticket) => ticket,
        Err(refused) => {
            shared.metrics.refused(refused.why);
            return overloaded(refused);
        }
    };
    let asked = match Query::<Introduction>::try_from_uri(&parts.uri) {
        Ok(Query(asked)) => asked,
        Err(error) => return Problem::BadRequest(error.body_text().into()).into_response(),
    };
    let admitted = match shared.door.admit_to(&parts.headers, parts.uri.query(), ROUTE, &asked.environment) {
        Ok(admitted) => admitted,
        Err(problem) => return problem.into_response(),
    };
    let hello = match introduce(&streams, asked, &parts.headers) {
        Ok(hello) => hello,
        Err(problem) => return problem.into_response(),
    };
    let home = home::of(&parts.extensions);
    let id = hex(&draw::<16>(streams.random));
    let owner = admitted.principal.as_ref().map(|principal| principal.id);
    let (messages, inbox) = mpsc::channel(INBOX);
    let environment = admitted.snapshot.environment.clone();
    streams.inboxes.insert(id.clone(), Inbox { owner, environment, messages });
    let inbox = Receipts { inbox, id: id.clone(), all: Arc::clone(&streams.inboxes) };
    let entrance = Entrance { principal: admitted.principal, snapshot: admitted.snapshot, route: ROUTE };
    let retry = shared.limits.retry.mul_f64(0.5 + f64::from(draw::<1>(streams.random)[0]) / 256.0);
    let (out, pieces) = outbox();
    let tasks = shared.tasks.clone();
    match Driver::open(shared, (hello, entrance), (inbox, out), (Sse { id, retry }, ticket)) {
        Ok(driver) => home.settle().spawn(&tasks, driver.run()),
        Err((End::Fault(ProtocolFault::HelloField(detail)), _)) => {
            return Problem::BadRequest(detail.into()).into_response();
        }
        // The environment went a moment ago: the stream ends at once.
        Err((_, out)) => drop(out),
    }
    event_stream(StreamBody::new(pieces, None))
}

/// What gRPC's clients say in Hello.
fn introduce(streams: &Streams, asked: Introduction, headers: &HeaderMap) -> Result<Hello, Problem> {
    let heard = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let resume = match (heard, asked.resume.as_deref()) {
        (Some(heard), _) => event::parse_resume(heard),
        (None, Some(text)) => Some(event::parse_resume(text).ok_or_else(|| {
            Problem::BadRequest("resume: give the id of an event of this stream, or leave it out".into())
        })?),
        (None, None) => None,
    };
    let instance_id = match asked.instance.is_empty() {
        true => hex(&draw::<16>(streams.random)),
        false => asked.instance,
    };
    Ok(Hello {
        instance_id,
        name: asked.name,
        sdk: asked.sdk,
        sdk_version: asked.sdk_version,
        labels: Default::default(),
        resume,
        schema_max: 1,
        acks: asked.acks,
        environment: asked.environment,
    })
}

fn overloaded(refused: Refused) -> Response {
    let seconds = u32::try_from(refused.retry_after.as_secs()).unwrap_or(1).max(1);
    let mut response =
        Problem::Unavailable { detail: refused.why.detail().into(), retry_after: seconds }.into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

fn event_stream(body: StreamBody) -> Response {
    let mut response = Response::new(axum::body::Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// The receipts of one stream, as they are posted.
#[derive(Debug)]
struct Receipts {
    inbox: mpsc::Receiver<ClientMessage>,
    id: String,
    all: Arc<DashMap<String, Inbox>>,
}

impl Inbound for Receipts {
    async fn next(&mut self) -> Result<Option<ClientMessage>, End> {
        Ok(self.inbox.recv().await)
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        self.all.remove(&self.id);
    }
}
