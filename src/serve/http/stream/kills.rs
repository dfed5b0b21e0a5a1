//! `GET /v1/kills`: the kill set at this moment, for clients whose stream is down or forbidden.
//!
//! It needs nothing that streams need, so that whatever is wrong with those cannot hide a kill. Its tag changes with
//! the set, and with it alone: asking every ten seconds costs a 304.

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{KILLS_PATH, Streams, event};
use crate::access::token::hex;
use crate::serve::http::entity_tag;
use crate::serve::http::problem::Problem;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wanted {
    environment: String,
}

/// Answers with the set, or that it is the one that the client has.
pub async fn read(State(streams): State<Streams>, request: Request) -> Response {
    answer(&streams, &request).unwrap_or_else(|problem| problem.into_response())
}

fn answer(streams: &Streams, request: &Request) -> Result<Response, Problem> {
    let Query(wanted) =
        Query::<Wanted>::try_from_uri(request.uri()).map_err(|error| Problem::BadRequest(error.body_text().into()))?;
    let (headers, query) = (request.headers(), request.uri().query());
    let admitted = streams.subscriptions.door.admit_to(headers, query, ("GET", KILLS_PATH), &wanted.environment)?;
    let view = &admitted.snapshot.view;
    let list = view.kill_list();
    let tag =
        format!("\"{}.{}.{}\"", hex(&view.epoch()[..4]), list.generation(), hex(&list.set_hash().to_bytes()[..8]));
    let unchanged = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut response = if unchanged.into_iter().any(|value| entity_tag::names(value, &tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let environment: Arc<str> = Arc::from(admitted.snapshot.environment.as_str());
        let document = Value::Object(event::kill_document(list, view.epoch(), &environment));
        let mut response = Response::new(axum::body::Body::from(document.to_string()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(ETAG, HeaderValue::from_str(&tag).map_err(|_| Problem::Internal)?);
    Ok(response)
}
