//! A number for every request, so that an answer, its problem and the log lines belong together.
//!
//! Made by us, never taken from the client: what a client sends could be a lie or a line break. Not a trace.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};

use super::problem::Problem;

/// The header that answers carry.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Where request ids come from; clones count on together.
#[derive(Debug, Clone)]
pub struct RequestIds {
    start: u32,
    next: Arc<AtomicU64>,
}

/// One request's id, in the extensions of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    start: u32,
    number: u64,
}

impl RequestIds {
    /// Counts from 1. `start` tells one run of the server from the next; the caller draws it at random.
    pub fn new(start: u32) -> Self {
        Self { start, next: Arc::new(AtomicU64::new(1)) }
    }

    /// The next one.
    pub fn draw(&self) -> RequestId {
        RequestId { start: self.start, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

impl fmt::Display for RequestId {
    /// `5f3a09c1-42`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.start, self.number)
    }
}

/// The middleware, outermost: numbers the request, and puts the number on the answer and into its problem.
pub async fn number_requests(State(ids): State<RequestIds>, mut request: Request, next: Next) -> Response {
    let id = ids.draw();
    request.extensions_mut().insert(id);
    let mut response = next.run(request).await;
    let text = id.to_string();
    if let Some(problem) = response.extensions_mut().remove::<Arc<Problem>>() {
        *response.body_mut() = problem.render(Some(&text)).into();
        response.headers_mut().remove(http::header::CONTENT_LENGTH);
    }
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::http::problem;
    use axum::Router;
    use axum::body::Body;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn the_id_stands_in_the_header_and_in_the_problem() {
        let layer = axum::middleware::from_fn_with_state(RequestIds::new(0xbeef), number_requests);
        let routes = Router::new().fallback(problem::not_found).layer(layer);
        for number in 1..3 {
            let request = Request::get("/nowhere").header("x-request-id", "mine").body(Body::empty()).unwrap();
            let response = routes.clone().oneshot(request).await.unwrap();
            let id = format!("0000beef-{number}");
            assert_eq!(response.headers()[REQUEST_ID], id);
            let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&body["request_id"], &body["code"]), (&id.into(), &"route-not-found".into()));
        }
    }
}
