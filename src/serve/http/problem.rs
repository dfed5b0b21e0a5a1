//! Everything that can go wrong over HTTP, as one enum, and its one shape: RFC 9457 `application/problem+json`.
//!
//! `type` is `urn:rampart:problem:<code>` and stays the same for life; scripts branch on `code`, people read `detail`.
//! A problem never holds an evaluation context or a token, and an internal one says nothing of the inside. What the
//! input echoes goes into the JSON body alone, never into a header. OFREP's own errors are in `ofrep`.

use std::borrow::Cow;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use crate::access::policy::Refusal;
use crate::flag::diagnostic::Diagnostic;

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The path.
    Route,
    /// A flag.
    Flag,
    /// A segment.
    Segment,
    /// An environment.
    Environment,
    /// A token.
    Token,
    /// A flag set.
    FlagSet,
    /// An open stream.
    Stream,
}

/// Why a request is not answered as it asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A header, the query or the path cannot be used; says which and how.
    BadRequest(Cow<'static, str>),
    /// The body is not the JSON that is expected.
    BadJson {
        /// What is wrong.
        detail: String,
        /// Where, as an RFC 6901 pointer.
        pointer: Option<String>,
    },
    /// The body is larger than this many bytes.
    BodyTooLarge {
        /// The most that is taken.
        limit: usize,
    },
    /// The body did not arrive in time.
    RequestTimeout,
    /// The body is of a type that is not read here.
    UnsupportedMediaType {
        /// What is read.
        expected: &'static str,
    },
    /// There is no such thing.
    NotFound(Missing, String),
    /// The path is there, for other methods.
    MethodNotAllowed {
        /// Those methods.
        allow: Vec<&'static str>,
    },
    /// A token is needed, or the one that was presented proves nothing.
    Unauthenticated {
        /// Whether one was presented.
        presented: bool,
    },
    /// The token may not do this.
    Forbidden(Refusal),
    /// The state does not permit it.
    Conflict(String),
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed(String),
    /// The request must say which state it is about.
    PreconditionRequired(&'static str),
    /// The definition is wrong; says where and how to put it right.
    InvalidDefinition(Vec<Diagnostic>),
    /// A value is not acceptable.
    InvalidValue {
        /// What is wrong.
        detail: String,
        /// Where, as an RFC 6901 pointer.
        pointer: String,
    },
    /// The `Idempotency-Key` was used with another request.
    IdempotencyMismatch,
    /// Too many requests; seconds to wait.
    TooManyRequests {
        /// Seconds to wait.
        retry_after: u32,
    },
    /// The disk is full; nothing was changed.
    InsufficientStorage(String),
    /// Not now.
    Unavailable {
        /// Why.
        detail: Cow<'static, str>,
        /// Seconds to wait.
        retry_after: u32,
    },
    /// What was waited for did not happen in time.
    Timeout(String),
    /// A mistake of ours. The log knows more, by the request's id.
    Internal,
}

/// What a problem is called, apart from its details.
struct Kind {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
}

/// The body.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Diagnostic]>::is_empty")]
    diagnostics: &'a [Diagnostic],
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl Missing {
    const fn kind(self) -> (&'static str, &'static str) {
        match self {
            Self::Route => ("route-not-found", "No such path"),
            Self::Flag => ("flag-not-found", "No such flag"),
            Self::Segment => ("segment-not-found", "No such segment"),
            Self::Environment => ("environment-not-found", "No such environment"),
            Self::Token => ("token-not-found", "No such token"),
            Self::FlagSet => ("flag-set-not-found", "No such flag set"),
            Self::Stream => ("stream-not-found", "No such open stream"),
        }
    }
}

impl Problem {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.kind().status
    }

    /// The stable word that scripts branch on.
    pub fn code(&self) -> &'static str {
        self.kind().code
    }

    fn kind(&self) -> Kind {
        let (status, code, title) = match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad-request", "Bad request"),
            Self::BadJson { .. } => (StatusCode::BAD_REQUEST, "bad-json", "Not the JSON that is expected"),
            Self::BodyTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request-timeout", "Request too slow"),
            Self::UnsupportedMediaType { .. } => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "Unsupported media type")
            }
            Self::NotFound(missing, _) => {
                let (code, title) = missing.kind();
                (StatusCode::NOT_FOUND, code, title)
            }
            Self::MethodNotAllowed { .. } => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::Unauthenticated { .. } => (StatusCode::UNAUTHORIZED, "unauthenticated", "Token needed"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden", "Not allowed"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict", "Conflict"),
            Self::PreconditionFailed(_) => {
                (StatusCode::PRECONDITION_FAILED, "precondition-failed", "Precondition failed")
            }
            Self::PreconditionRequired(_) => {
                (StatusCode::PRECONDITION_REQUIRED, "precondition-required", "Precondition required")
            }
            Self::InvalidDefinition(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-definition", "Invalid definition")
            }
            Self::InvalidValue { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-value", "Invalid value"),
            Self::IdempotencyMismatch => {
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency-mismatch", "Idempotency key used before")
            }
            Self::TooManyRequests { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "Too many requests"),
            Self::InsufficientStorage(_) => (StatusCode::INSUFFICIENT_STORAGE, "insufficient-storage", "No space left"),
            Self::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable"),
            Self::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, "timeout", "Did not happen in time"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error"),
        };
        Kind { status, code, title }
    }

    /// What is wrong and what to do, in words for people.
    pub fn detail(&self) -> Cow<'_, str> {
        match self {
            Self::BadRequest(detail) => Cow::Borrowed(detail),
            Self::BadJson { detail, .. }
            | Self::Conflict(detail)
            | Self::PreconditionFailed(detail)
            | Self::InvalidValue { detail, .. }
            | Self::InsufficientStorage(detail)
            | Self::Timeout(detail) => Cow::Borrowed(detail),
            Self::BodyTooLarge { limit } => format!("the body has more than {limit} bytes").into(),
            Self::RequestTimeout => "the body did not arrive in time; send it again".into(),
            Self::UnsupportedMediaType { expected } => format!("send the body as {expected}").into(),
            Self::NotFound(Missing::Route, _) => "there is no such path; see /openapi.json on the admin plane".into(),
            Self::NotFound(_, name) => format!("`{name}` does not exist, or not here").into(),
            Self::MethodNotAllowed { allow } => format!("this path takes {}", allow.join(", ")).into(),
            Self::Unauthenticated { presented: false } => {
                "send a token: `Authorization: Bearer rampart_…` or `X-API-Key: rampart_…`".into()
            }
            Self::Unauthenticated { presented: true } => {
                "the token is malformed, unknown, revoked or expired; `rampart token list` shows those that are valid"
                    .into()
            }
            Self::Forbidden(refusal) => refusal.to_string().into(),
            Self::PreconditionRequired(detail) => Cow::Borrowed(detail),
            Self::InvalidDefinition(diagnostics) => {
                let errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).count();
                let first = diagnostics.iter().find(|diagnostic| diagnostic.is_error());
                let first = first.map_or(String::new(), |diagnostic| format!("; the first: {}", diagnostic.message));
                format!("{errors} error{}{first}", if errors == 1 { "" } else { "s" }).into()
            }
            Self::IdempotencyMismatch => {
                "this Idempotency-Key came with another request in the last 24 hours; choose a new one".into()
            }
            Self::TooManyRequests { retry_after } => format!("try again in {retry_after} s").into(),
            Self::Unavailable { detail, .. } => Cow::Borrowed(detail),
            Self::Internal => "something failed in the server; its log has more under the request id".into(),
        }
    }

    fn pointer(&self) -> Option<&str> {
        match self {
            Self::BadJson { pointer, .. } => pointer.as_deref(),
            Self::InvalidValue { pointer, .. } => Some(pointer),
            _ => None,
        }
    }

    /// The JSON body.
    pub fn render(&self, request_id: Option<&str>) -> Vec<u8> {
        let Kind { status, code, title } = self.kind();
        let diagnostics: &[Diagnostic] = match self {
            Self::InvalidDefinition(diagnostics) => diagnostics,
            _ => &[],
        };
        let document = Document {
            r#type: format!("urn:rampart:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: self.detail(),
            pointer: self.pointer(),
            diagnostics,
            request_id,
        };
        serde_json::to_vec(&document).expect("strings and numbers are always JSON")
    }

    /// Adds the headers that belong to the problem; made of constants and numbers, never of input.
    pub fn headers(&self, headers: &mut HeaderMap) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match self {
            Self::Unauthenticated { presented: false } => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"rampart\""));
            }
            Self::Unauthenticated { presented: true } => {
                let challenge = HeaderValue::from_static("Bearer realm=\"rampart\", error=\"invalid_token\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            Self::TooManyRequests { retry_after } | Self::Unavailable { retry_after, .. } => {
                headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after));
            }
            Self::MethodNotAllowed { allow } => {
                if let Ok(allow) = HeaderValue::from_str(&allow.join(", ")) {
                    headers.insert(ALLOW, allow);
                }
            }
            _ => {}
        }
    }
}

impl IntoResponse for Problem {
    /// Without the request's id, which `request_id` adds: the problem goes along in the extensions for that.
    fn into_response(self) -> Response {
        let mut response = Response::new(self.render(None).into());
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        self.headers(response.headers_mut());
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// For paths that no route takes: a router's fallback.
pub async fn not_found() -> Problem {
    Problem::NotFound(Missing::Route, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::scope::Scope;
    use serde_json::{Value, json};
    use std::collections::BTreeSet;

    fn every() -> Vec<Problem> {
        vec![
            Problem::BadRequest("x".into()),
            Problem::BadJson { detail: "x".into(), pointer: None },
            Problem::BodyTooLarge { limit: 65_536 },
            Problem::RequestTimeout,
            Problem::UnsupportedMediaType { expected: "application/json" },
            Problem::NotFound(Missing::Route, String::new()),
            Problem::NotFound(Missing::Flag, "f".into()),
            Problem::NotFound(Missing::Segment, "s".into()),
            Problem::NotFound(Missing::Environment, "e".into()),
            Problem::NotFound(Missing::Token, "t".into()),
            Problem::NotFound(Missing::FlagSet, "t".into()),
            Problem::MethodNotAllowed { allow: vec!["GET", "PUT"] },
            Problem::Unauthenticated { presented: false },
            Problem::Forbidden(Refusal::MissingScope(Scope::Write)),
            Problem::Conflict("x".into()),
            Problem::PreconditionFailed("x".into()),
            Problem::PreconditionRequired("x"),
            Problem::InvalidDefinition(vec![Diagnostic::error("c", "/a", "m", "h")]),
            Problem::InvalidValue { detail: "x".into(), pointer: "/a".into() },
            Problem::IdempotencyMismatch,
            Problem::TooManyRequests { retry_after: 3 },
            Problem::InsufficientStorage("x".into()),
            Problem::Unavailable { detail: "x".into(), retry_after: 5 },
            Problem::Timeout("x".into()),
            Problem::Internal,
        ]
    }

    fn body(problem: &Problem) -> Value {
        serde_json::from_slice(&problem.render(Some("r-1"))).unwrap()
    }

    #[test]
    fn every_problem_has_the_one_shape_and_a_code_of_its_own() {
        let mut codes = BTreeSet::new();
        for problem in every() {
            let body = body(&problem);
            assert_eq!(body["status"], problem.status().as_u16());
            assert_eq!(body["type"], format!("urn:rampart:problem:{}", problem.code()));
            assert_eq!(body["request_id"], "r-1");
            for member in ["title", "detail"] {
                assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{problem:?} {member}");
            }
            assert!(problem.status().is_client_error() || problem.status().is_server_error());
            assert!(codes.insert(problem.code()), "{problem:?}");
        }
    }

    #[test]
    fn a_problem_reads_as_documented() {
        let problem = Problem::InvalidDefinition(vec![
            Diagnostic::warning("w", "/flags/a", "odd", "think"),
            Diagnostic::error("unknown-variant", "/flags/a/defaultVariant", "no variant `of`", "did you mean `off`?"),
        ]);
        assert_eq!(
            body(&problem),
            json!({
                "type": "urn:rampart:problem:invalid-definition", "title": "Invalid definition", "status": 422,
                "code": "invalid-definition", "detail": "1 error; the first: no variant `of`", "request_id": "r-1",
                "diagnostics": [
                    {"severity": "warning", "code": "w", "pointer": "/flags/a", "message": "odd", "help": "think"},
                    {"severity": "error", "code": "unknown-variant", "pointer": "/flags/a/defaultVariant",
                     "message": "no variant `of`", "help": "did you mean `off`?"},
                ],
            })
        );
        let detail = body(&Problem::Forbidden(Refusal::MissingScope(Scope::Write)))["detail"].clone();
        assert_eq!(detail, "the token lacks the scope `write`");
    }

    #[test]
    fn problems_carry_the_headers_that_clients_act_on() {
        for (problem, name, value) in [
            (Problem::Unauthenticated { presented: false }, "www-authenticate", "Bearer realm=\"rampart\""),
            (
                Problem::Unauthenticated { presented: true },
                "www-authenticate",
                "Bearer realm=\"rampart\", error=\"invalid_token\"",
            ),
            (Problem::Unavailable { detail: "x".into(), retry_after: 5 }, "retry-after", "5"),
            (Problem::TooManyRequests { retry_after: 3 }, "retry-after", "3"),
            (Problem::MethodNotAllowed { allow: vec!["GET", "PUT"] }, "allow", "GET, PUT"),
            (Problem::Internal, "content-type", "application/problem+json"),
            (Problem::NotFound(Missing::Flag, "a\r\nx: y".into()), "cache-control", "no-store"),
        ] {
            let response = problem.clone().into_response();
            assert_eq!(response.headers()[name], value, "{problem:?}");
            assert_eq!(response.status(), problem.status());
        }
    }
}
