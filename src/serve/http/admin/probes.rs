//! What machines ask: is it alive, is it ready, what does it count, what can it do.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json as value;
use subtle::ConstantTimeEq;

use super::{Admin, json};
use crate::serve::http::problem::Problem;

/// The process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "alive")), tag = "probes")]
pub async fn healthz() -> Response {
    json(StatusCode::OK, &value!({"status": "ok"}))
}

/// Whether flags are served. A journal that cannot be written degrades a node, it does not stop it.
#[utoipa::path(get, path = "/readyz", responses((status = 200, description = "serving"), (status = 412, description = "a source of flags was not read yet"), (status = 503, description = "not yet, or not any more")),
    tag = "probes")]
pub async fn readyz(State(admin): State<Admin>) -> Response {
    if admin.draining.is_cancelled() {
        return json(StatusCode::SERVICE_UNAVAILABLE, &value!({"status": "draining"}));
    }
    if admin.control.hub().snapshots().is_empty() {
        return json(StatusCode::SERVICE_UNAVAILABLE, &value!({"status": "starting"}));
    }
    if !admin.synced.is_cancelled() {
        // The status that flagd gives.
        return json(StatusCode::PRECONDITION_FAILED, &value!({"status": "waiting for a source of flags"}));
    }
    let degraded: Vec<&str> = admin.degraded().into_iter().collect();
    let status = if degraded.is_empty() { "ready" } else { "degraded" };
    json(StatusCode::OK, &value!({"status": status, "degraded": degraded}))
}

/// Counts and gauges in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, description = "OpenMetrics text")), tag = "probes")]
pub async fn metrics(State(admin): State<Admin>, headers: HeaderMap) -> Result<Response, Problem> {
    if let Some(expected) = &admin.metrics_token {
        let presented = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let secret = presented.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or_default();
        if !bool::from(secret.as_bytes().ct_eq(expected.as_bytes())) {
            return Err(Problem::Unauthenticated { presented: presented.is_some() });
        }
    }
    let text = admin.metrics.render(&admin.control).map_err(|_| Problem::Internal)?;
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1")), tag = "probes")]
pub async fn openapi(State(admin): State<Admin>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], admin.openapi.as_ref().to_owned()).into_response()
}
