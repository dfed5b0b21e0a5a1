//! OFREP, the OpenFeature Remote Evaluation Protocol (OpenAPI 0.3.0): one flag or all of them for one context, and a
//! stream that says when to ask again.
//!
//! Everything that a request decides happens in `answer`, which is pure. Around it stands what HTTP adds: who asks, how
//! often, which environment, how large a body, gzip. Where flagd and the published clients go beyond the
//! specification, they are followed: a missing body is an empty context, `metadata` is always an object,
//! `errorDetails` is always there, `reason` is never an invented word. The JSON itself is written in `json`, changes
//! are told in `events`.

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Query, RawPathParams, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use hyper::body::Bytes;
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate as _, SizeAbove};

use super::body::{self, BodyFault, BodyLimit};
use super::problem::Problem;
use crate::access::token::Principal;
use crate::eval::outcome::ErrorCode;
use crate::flag::key::EnvironmentName;
use crate::flag::time::Timestamp;
use crate::serve::connection::Peer;
use crate::serve::door::{self, Door};
use crate::serve::selection::{SELECTOR, Selector};

use self::answer::{Answer, Asked, Served};
use self::events::Events;

pub mod answer;
pub mod events;
pub mod json;
pub mod ticket;

/// The revision of the snapshot that answered; bodies carry nothing that changes without the flag.
pub const REVISION: HeaderName = HeaderName::from_static("rampart-revision");
const SINGLE: &str = "/ofrep/v1/evaluate/flags/{key}";
const BULK: &str = "/ofrep/v1/evaluate/flags";
const BULK_SLASH: &str = "/ofrep/v1/evaluate/flags/";
/// Bodies below this are not worth compressing: a header more, and no packet less.
const GZIP_FROM: u16 = 1024;

/// What the handlers need from the rest of the server.
#[derive(Debug, Clone)]
pub struct Ofrep {
    /// Who asks, and what it sees.
    pub door: Door,
    /// How large a body may be.
    pub body: BodyLimit,
    /// Counts single evaluations.
    pub single: Counter,
    /// Counts bulk evaluations.
    pub bulk: Counter,
    /// Tells clients of changes; none where that is switched off.
    pub events: Option<Events>,
}

/// The OFREP routes.
pub fn routes(ofrep: Ofrep) -> Router {
    // Problems are rendered anew with the request's id, so they are left as they are.
    let json = |_: StatusCode, _: http::Version, headers: &HeaderMap, _: &http::Extensions| {
        headers.get(CONTENT_TYPE).is_some_and(|value| value == "application/json")
    };
    let gzip =
        CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(GZIP_FROM).and(json));
    let evaluations = Router::new()
        .route(SINGLE, post(answer_single))
        .route(BULK, post(answer_bulk))
        .route(BULK_SLASH, post(answer_bulk))
        .method_not_allowed_fallback(only_post)
        .layer(gzip);
    let mut routes = evaluations;
    if ofrep.events.is_some() {
        let streams = Router::new()
            .route(events::PATH, get(events::subscribe))
            .route(events::SELECTED_PATH, get(events::subscribe))
            .method_not_allowed_fallback(only_get);
        routes = routes.merge(streams);
    }
    routes.with_state(ofrep)
}

async fn only_post() -> Problem {
    Problem::MethodNotAllowed { allow: vec!["POST"] }
}

async fn only_get() -> Problem {
    Problem::MethodNotAllowed { allow: vec!["GET"] }
}

async fn answer_single(
    State(ofrep): State<Ofrep>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let key = params.ok().and_then(|params| params.iter().next().map(|(_, key)| key.to_owned()));
    let Some(key) = key else {
        let fault = "the key is not UTF-8 once its percent signs are decoded";
        return refuse(None, Problem::BadRequest(fault.into()));
    };
    let admitted = match admit(&ofrep, SINGLE, Some(&key), request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let Admitted { served, headers, body, now, .. } = &admitted;
    ofrep.single.inc();
    let enrich = |context| ofrep.door.enrichment.apply(headers, context);
    respond(served, answer::single(served, &key, selector_of(headers), body, enrich, *now))
}

/// What the query of a bulk request may say.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BulkQuery {
    flag_config_etag: Option<String>,
    flag_config_last_modified: Option<String>,
}

async fn answer_bulk(State(ofrep): State<Ofrep>, request: Request) -> Response {
    let admitted = match admit(&ofrep, BULK, None, request).await {
        Ok(admitted) => admitted,
        Err(refused) => return refused,
    };
    let Admitted { served, headers, uri, body, now, principal, environment } = &admitted;
    // A query that cannot be read is one that says nothing.
    let query = Query::<BulkQuery>::try_from_uri(uri).map(|query| query.0).unwrap_or_default();
    ofrep.bulk.inc();
    let streams = Selector::of(headers).ok().zip(ofrep.events.as_ref()).map(|(selector, events)| {
        let tokens = ofrep.door.gate.hub.tokens();
        let token = principal.as_ref().and_then(|principal| tokens.get(principal.id));
        events.advertise(environment, selector, token, *now)
    });
    let asked = Asked {
        selector: selector_of(headers),
        if_none_match: headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).collect(),
        config_etag: query.flag_config_etag.as_deref(),
        config_last_modified: query.flag_config_last_modified.as_deref(),
        event_streams: streams.as_deref(),
    };
    let enrich = |context| ofrep.door.enrichment.apply(headers, context);
    respond(served, answer::bulk(served, &asked, body, enrich, *now))
}

/// A request that may be answered.
struct Admitted {
    served: Served,
    headers: HeaderMap,
    uri: Uri,
    body: Bytes,
    now: Timestamp,
    principal: Option<Principal>,
    environment: EnvironmentName,
}

/// Who asks, for which environment, with which body, and whether it asks too often.
async fn admit(ofrep: &Ofrep, path: &str, key: Option<&str>, request: Request) -> Result<Admitted, Response> {
    let (parts, body) = request.into_parts();
    let admitted = ofrep.door.admit(&parts.headers, parts.uri.query(), ("POST", path));
    let door::Admitted { snapshot, now, principal } = admitted.map_err(|problem| refuse(key, problem))?;
    let peer = parts.extensions.get::<Peer>().and_then(Peer::ip);
    ofrep.door.spend(principal.as_ref(), peer, now).map_err(|problem| refuse(key, problem))?;
    let served = Served::of(&snapshot);
    let body = body::read(body, ofrep.body).await.map_err(|fault| match fault {
        BodyFault::TooLarge { .. } => {
            let body = json::failure(key, ErrorCode::General, "request body too large");
            respond(&served, Answer::new(StatusCode::PAYLOAD_TOO_LARGE, body))
        }
        fault => refuse(key, Problem::from(fault)),
    })?;
    let environment = snapshot.environment.clone();
    Ok(Admitted { served, headers: parts.headers, uri: parts.uri, body, now, principal, environment })
}

/// The selector as sent; one that is no text is as wrong as any other.
fn selector_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(SELECTOR).map(|value| value.to_str().unwrap_or("\u{fffd}=\u{fffd}"))
}

/// A problem in OFREP's words: its clients read `errorCode` and `errorDetails` from every body but those of 401 and 403,
/// for which OFREP has none.
fn refuse(key: Option<&str>, problem: Problem) -> Response {
    if matches!(problem.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return problem.into_response();
    }
    let mut response = Response::new(json::failure(key, ErrorCode::General, &problem.detail()).into());
    *response.status_mut() = problem.status();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    problem.headers(response.headers_mut());
    response
}

fn respond(served: &Served, answer: Answer) -> Response {
    let empty = answer.status == StatusCode::NOT_MODIFIED;
    let mut response = Response::new(answer.body.into());
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    if !empty {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.insert(REVISION, HeaderValue::from(served.revision.0));
    if let Some(etag) = answer.etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
        headers.insert(ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests;
