//! The payload over plain HTTP, as newer versions of flagd serve and fetch it: `GET /v1/flags`, with an entity tag.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{QueryRejection, RawPathParamsRejection};
use axum::extract::{Query, RawPathParams, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LAST_MODIFIED, VARY};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use jiff::fmt::rfc2822::DateTimePrinter;

use super::Shared;
use crate::flag::time::Timestamp;
use crate::serve::connection::Peer;
use crate::serve::http::entity_tag;
use crate::serve::http::problem::{Missing, Problem};
use crate::serve::selection::{SELECTOR, Selector};

const FLAGS: &str = "/v1/flags";
const SELECTED: &str = "/v1/flags/{selector}";

/// The routes.
pub(super) fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route(FLAGS, get(flags))
        .route(SELECTED, get(flags))
        .method_not_allowed_fallback(only_get)
        .with_state(shared)
}

async fn only_get() -> Problem {
    Problem::MethodNotAllowed { allow: vec!["GET", "HEAD"] }
}

async fn flags(
    State(shared): State<Arc<Shared>>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    query: Result<Query<BTreeMap<String, String>>, QueryRejection>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    answer(&shared, path, query, &head).await.unwrap_or_else(Problem::into_response)
}

async fn answer(
    shared: &Shared,
    path: Result<RawPathParams, RawPathParamsRejection>,
    query: Result<Query<BTreeMap<String, String>>, QueryRejection>,
    head: &Parts,
) -> Result<Response, Problem> {
    let headers = &head.headers;
    let path = path.map_err(|_| malformed())?;
    let path = path.iter().next().map(|(_, selector)| selector);
    let route = if path.is_some() { SELECTED } else { FLAGS };
    let admitted = shared.sync.door.admit(headers, head.uri.query(), ("GET", route))?;
    let peer = head.extensions.get::<Peer>().and_then(Peer::ip);
    shared.sync.door.spend(admitted.principal.as_ref(), peer, admitted.now)?;
    let Query(query) = query.map_err(|_| malformed())?;
    // The header counts before the path, the path before the query.
    let text = match headers.get(SELECTOR) {
        Some(header) => Some(header.to_str().map_err(|_| malformed())?),
        None => path.or_else(|| query.get("selector").map(String::as_str)),
    };
    let shown = || text.unwrap_or_default().chars().take(64).collect();
    let selector = Selector::parse(text).map_err(|_| Problem::NotFound(Missing::FlagSet, shown()))?;
    let payload = shared.payloads.current(&admitted.snapshot.environment, &selector.canonical()).await;
    let payload = payload.ok_or(Problem::Internal)?;
    let held = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = held.into_iter().any(|value| entity_tag::names(value, &payload.etag));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], payload.body.clone()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, HeaderValue::from_str(&payload.etag).map_err(|_| Problem::Internal)?);
    headers.insert(VARY, HeaderValue::from_static("Flagd-Selector"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Only told: a time in seconds cannot tell two changes in one second apart, so nothing is left out because of it.
    if let Some(date) = payload.changed.and_then(date) {
        headers.insert(LAST_MODIFIED, date);
    }
    Ok(response)
}

/// A moment as HTTP writes it, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(moment: Timestamp) -> Option<HeaderValue> {
    let moment = jiff::Timestamp::from_second(moment.seconds()).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&moment).ok()?.try_into().ok()
}

fn malformed() -> Problem {
    Problem::BadRequest("the selector is not UTF-8 once its percent signs are decoded".into())
}
