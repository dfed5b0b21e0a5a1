//! `flagd.sync.v1`: whole flag sets for clients that evaluate by themselves, as a stream, as one answer, and over HTTP.
//!
//! What a flag is for those clients is decided in `eval::translate`; here payloads are put together once and shared by
//! everybody who asks for the same, so that a thousand clients that come back at once cost one rendering. A flag
//! without an exact translation is left out, counted and named in the log; it is never sent as something else.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use connectrpc::dispatcher::{
    RequestStream, StreamingResult, UnaryResult, unimplemented_streaming, unimplemented_unary,
};
use connectrpc::{
    CodecFormat, ConnectError, ConnectRpcService, Dispatcher, EncodedResponse, Limits, MethodDescriptor,
    Payload as Body, RequestContext, Response,
};
use hyper::body::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::driven::Drive;
use super::judged::{admitted, judge};
use crate::flag::key::EnvironmentName;
use crate::serve::door::Door;
use crate::serve::http::body::Timed;
use crate::serve::metrics::SyncMetrics;
use crate::serve::selection::{SELECTOR, Selector};

use self::message::{Answer, SyncContext};
use self::payload::{Payload, Payloads};

mod http;
mod message;
mod payload;
mod stream;
mod translations;

/// The service, as the health service names it.
pub const SERVICE: &str = "flagd.sync.v1.FlagSyncService";

const SYNC_FLAGS: &str = "/flagd.sync.v1.FlagSyncService/SyncFlags";
const FETCH_ALL_FLAGS: &str = "/flagd.sync.v1.FlagSyncService/FetchAllFlags";
const GET_METADATA: &str = "/flagd.sync.v1.FlagSyncService/GetMetadata";

/// Bytes of a request: a name and a selector.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How the service is served.
#[derive(Debug, Clone, Copy)]
pub struct SyncSettings {
    /// Whether `GetMetadata` answers; flagd's `--disable-sync-metadata` is its opposite.
    pub metadata: bool,
    /// How long a stream may last; none: for ever.
    pub stream_deadline: Option<Duration>,
}

/// What the service needs from the rest of the server.
#[derive(Debug, Clone)]
pub struct FlagSync {
    /// Who calls, and what it sees.
    pub door: Door,
    /// How it is served.
    pub settings: SyncSettings,
    /// How long a request may take to arrive.
    pub body_time: Duration,
    /// Cancelled when the server begins to stop.
    pub draining: CancellationToken,
    /// Where payloads are rendered.
    pub tasks: TaskTracker,
    /// How streams are kept going.
    pub drive: Drive,
    /// What is counted.
    pub metrics: SyncMetrics,
}

/// What all calls share.
#[derive(Debug)]
struct Shared {
    sync: FlagSync,
    context: SyncContext,
    payloads: Payloads,
}

/// The service as connectrpc calls it.
#[derive(Debug, Clone)]
struct Service(Arc<Shared>);

/// The routes: the service's methods, and the same payload over plain HTTP.
pub fn routes(sync: FlagSync) -> Router {
    let context = SyncContext::of(&sync.door.enrichment);
    let (patience, door) = (sync.body_time, sync.door.clone());
    let payloads = Payloads::new(Arc::clone(&sync.door.gate.hub), sync.tasks.clone(), sync.metrics.clone());
    let shared = Arc::new(Shared { sync, context, payloads });
    let limits =
        Limits::default().with_max_request_body_size(REQUEST_BYTES_MAX).with_max_message_size(REQUEST_BYTES_MAX);
    let service = ConnectRpcService::new(Service(Arc::clone(&shared))).with_limits(limits);
    let service = service.map_request(move |request: Request| request.map(|body: HttpBody| Timed::new(body, patience)));
    let service = service.map_response(super::complete);
    Router::new()
        .route_service(&format!("/{SERVICE}/{{*method}}"), service)
        .route_layer(from_fn_with_state(door, judge))
        .merge(http::routes(shared))
}

impl Shared {
    /// The payload of now, where the environment is still there.
    async fn payload(&self, environment: &EnvironmentName, selector: &str) -> Result<Payload, ConnectError> {
        let payload = self.payloads.current(environment, selector).await;
        payload.ok_or_else(|| ConnectError::unavailable("the environment serves nothing"))
    }

    fn metadata(&self, context: &RequestContext, format: CodecFormat) -> Result<EncodedResponse, ConnectError> {
        admitted(context)?;
        if !self.sync.settings.metadata {
            return Err(ConnectError::unimplemented("metadata endpoint disabled"));
        }
        Ok(Response::new(self.context.metadata(format)?))
    }
}

/// Which flags a call is about: the header, where there is one, else the request's own field.
fn selector_of(context: &RequestContext, body: &str) -> Result<String, ConnectError> {
    let headers = context.headers();
    let selector = if headers.contains_key(SELECTOR) { Selector::of(headers) } else { Selector::parse(Some(body)) };
    let selector = selector.map_err(|fault| ConnectError::invalid_argument(fault.to_string()))?;
    Ok(selector.canonical())
}

async fn fetch(
    shared: Arc<Shared>,
    environment: EnvironmentName,
    selector: String,
    format: CodecFormat,
) -> Result<EncodedResponse, ConnectError> {
    let payload = shared.payload(&environment, &selector).await?;
    // Everybody is sent the same bytes; to compress them for each client anew would cost more than it saves.
    Ok(Response::new(message::encode(Answer::Fetched, &payload, &shared.context, format)?).compress(false))
}

impl Dispatcher for Service {
    fn lookup(&self, path: &str) -> Option<MethodDescriptor> {
        match with_slash(path) {
            Some(SYNC_FLAGS) => Some(MethodDescriptor::server_streaming()),
            Some(_) => Some(MethodDescriptor::unary(false)),
            None => None,
        }
    }

    fn call_unary(&self, path: &str, ctx: RequestContext, request: Body, format: CodecFormat) -> UnaryResult {
        let shared = Arc::clone(&self.0);
        match with_slash(path) {
            Some(FETCH_ALL_FLAGS) => {
                let asked = admitted(&ctx).and_then(|admitted| {
                    let field = message::selector(&request.encoded()?, format, ctx.decode_options())?;
                    Ok((admitted.snapshot.environment.clone(), selector_of(&ctx, &field)?))
                });
                match asked {
                    Ok((environment, selector)) => Box::pin(fetch(shared, environment, selector, format)),
                    Err(error) => Box::pin(ready(Err(error))),
                }
            }
            Some(GET_METADATA) => Box::pin(ready(shared.metadata(&ctx, format))),
            _ => unimplemented_unary(path),
        }
    }

    fn call_server_streaming(
        &self,
        path: &str,
        ctx: RequestContext,
        request: Bytes,
        format: CodecFormat,
    ) -> StreamingResult {
        if with_slash(path) != Some(SYNC_FLAGS) {
            return unimplemented_streaming(path);
        }
        let opened = stream::open(&self.0, &ctx, &request, format);
        Box::pin(ready(opened.map(|stream| Response::new(stream).compress(false))))
    }

    fn call_client_streaming(&self, path: &str, _: RequestContext, _: RequestStream, _: CodecFormat) -> UnaryResult {
        unimplemented_unary(path)
    }

    fn call_bidi_streaming(&self, path: &str, _: RequestContext, _: RequestStream, _: CodecFormat) -> StreamingResult {
        unimplemented_streaming(path)
    }
}

/// The route of a method, with or without the slash before it.
fn with_slash(path: &str) -> Option<&'static str> {
    let name = path.strip_prefix('/').unwrap_or(path);
    [SYNC_FLAGS, FETCH_ALL_FLAGS, GET_METADATA].into_iter().find(|route| route.strip_prefix('/') == Some(name))
}
