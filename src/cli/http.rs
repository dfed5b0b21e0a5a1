//! The command line's HTTP client for the admin API: one request at a time, problems turned into words and exit codes.
//!
//! Not a general client: no redirects, no proxies, no TLS yet (put the admin plane behind a tunnel to reach it from
//! elsewhere).

use std::time::Duration;

use http::request::Builder;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::failure::Failure;

/// How long a connection may take before the server counts as unreachable.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a server's admin plane.
#[derive(Debug, Clone)]
pub struct Admin {
    server: String,
    token: Option<String>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// What the server answered when it did what it was asked.
#[derive(Debug)]
pub struct Answer {
    /// The status, 2xx.
    pub status: StatusCode,
    /// The flag's ETag, where the answer had one.
    pub etag: Option<String>,
    /// The body; null where there was none.
    pub body: Value,
}

/// One request.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: Method,
    /// The path and query, percent-encoded.
    pub path: &'a str,
    /// The body.
    pub body: Option<Value>,
    /// `If-Match` or `If-None-Match`, whole.
    pub condition: Option<(&'static str, String)>,
}

impl<'a> Ask<'a> {
    /// A read.
    pub fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: None, condition: None }
    }

    /// A write with a body.
    pub fn send(method: Method, path: &'a str, body: Value) -> Self {
        Self { method, path, body: Some(body), condition: None }
    }
}

impl Admin {
    /// A client for the server at `server`, such as `http://127.0.0.1:8014`.
    ///
    /// # Errors
    /// The address is not an `http://` URL.
    pub fn new(server: &str, token: Option<String>) -> Result<Self, Failure> {
        let server = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let server = server.trim_end_matches('/').to_owned();
        if !server.starts_with("http://") {
            return Err(Failure::usage(format!(
                "{server} is not an http:// address; TLS is not spoken here yet, use a tunnel"
            )));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_PATIENCE));
        connector.set_nodelay(true);
        Ok(Self { server, token, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses: in its own words.
    pub async fn ask(&self, ask: Ask<'_>) -> Result<Answer, Failure> {
        let mut request = self.request(ask.method, ask.path)?;
        if let Some((name, value)) = ask.condition {
            request = request.header(name, value);
        }
        let body = match ask.body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Bytes::from(body.to_string())
            }
            None => Bytes::new(),
        };
        self.exchange(request, body).await
    }

    /// Sends a text as it is, and waits for the answer.
    ///
    /// # Errors
    /// As [`Admin::ask`].
    pub async fn ask_text(&self, method: Method, path: &str, text: String, kind: &str) -> Result<Answer, Failure> {
        let request = self.request(method, path)?.header("content-type", kind);
        self.exchange(request, Bytes::from(text)).await
    }

    fn request(&self, method: Method, path: &str) -> Result<Builder, Failure> {
        let uri: Uri = format!("{}{path}", self.server)
            .parse()
            .map_err(|error| Failure::usage(format!("{}{path} is not a URL: {error}", self.server)))?;
        let request = Request::builder().method(method).uri(uri);
        Ok(match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        })
    }

    async fn exchange(&self, request: Builder, body: Bytes) -> Result<Answer, Failure> {
        let request =
            request.body(Full::new(body)).map_err(|error| Failure::usage(format!("not a request: {error}")))?;
        let response = self.client.request(request).await.map_err(|error| {
            Failure::unreachable(format!(
                "cannot reach {}: {}; is the server running, and is this its admin address (--server or RAMPART_SERVER)?",
                self.server,
                root_cause(&error)
            ))
        })?;
        let status = response.status();
        let etag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let bytes = response
            .into_body()
            .collect()
            .await
            .map_err(|error| Failure::unreachable(format!("{} broke off: {error}", self.server)))?
            .to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            if bytes.is_empty() { Value::Null } else { Value::String(String::from_utf8_lossy(&bytes).into_owned()) }
        });
        if status.is_success() {
            Ok(Answer { status, etag, body })
        } else {
            Err(refused(status, &body, self.token.is_some()))
        }
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

/// A problem (RFC 9457) in words.
fn refused(status: StatusCode, body: &Value, with_token: bool) -> Failure {
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let mut words = text("detail").or_else(|| text("title")).map_or_else(|| status.to_string(), str::to_owned);
    for diagnostic in body.get("diagnostics").and_then(Value::as_array).into_iter().flatten() {
        let part = |key: &str| diagnostic.get(key).and_then(Value::as_str).unwrap_or_default();
        let place = match (diagnostic.get("line"), diagnostic.get("column")) {
            (Some(line), Some(column)) => format!("{line}:{column}: "),
            _ => String::new(),
        };
        words.push_str(&format!(
            "\n  {place}{} at {}: {}; help: {}",
            part("severity"),
            part("pointer"),
            part("message"),
            part("help")
        ));
    }
    match status {
        StatusCode::UNAUTHORIZED if !with_token => Failure::denied(format!(
            "{words}; give a token in RAMPART_TOKEN, or on the server's own machine --data-dir DIR to use its admin token"
        )),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::denied(words),
        _ => Failure::refused(words),
    }
}

/// Percent-encodes one path segment or query value: everything but RFC 3986's unreserved characters.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
