//! What admin requests have in common: who calls and why, preconditions, idempotency, formats.

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use hyper::body::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::Admin;
use super::refused::bad;
use crate::access::token::Principal;
use crate::control::command::{Call, Precondition};
use crate::flag::key::{EnvironmentName, FlagId, FlagKey, FlagSetName};
use crate::flag::limits::TEXT_BYTES_MAX;
use crate::flag::parse::Format;
use crate::flag::time::Revision;
use crate::serve::http::body;
use crate::serve::http::caller::Caller;
use crate::serve::http::problem::Problem;
use crate::world::digest::Digest;
use crate::world::record::{Actor, Idempotency};

/// The longest idempotency key: what the draft standard's examples use four times over.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// Query parameters of a write.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct WriteQuery {
    /// The flag set, for flags that belong to one.
    pub flag_set: Option<String>,
    /// Why; recorded in the audit trail.
    pub reason: Option<String>,
}

/// A write: who asks for it, and what the request's headers ask for.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The token.
    pub principal: Principal,
    /// `Idempotency-Key`.
    key: Option<String>,
    /// Method, path and query.
    target: String,
    /// `If-Match` and `If-None-Match`.
    pub precondition: Precondition,
    /// By `Content-Type`: YAML where it says so, else JSON.
    pub format: Format,
}

impl<S: Sync> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, state).await?;
        Ok(Self {
            principal: caller.principal.ok_or(Problem::Internal)?,
            key: idempotency_key(&parts.headers)?,
            target: format!("{} {}", parts.method, parts.uri),
            precondition: precondition(&parts.headers)?,
            format: format_of(&parts.headers)?,
        })
    }
}

/// The query string, read into its parameters; what is not among them is refused in the one shape of problems.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(params) = Query::try_from_uri(&parts.uri).map_err(|error| bad(error.body_text(), ""))?;
        Ok(Self(params))
    }
}

/// A request's whole body, of the size that the admin API takes.
#[derive(Debug)]
pub struct Text(pub Bytes);

/// A request's whole body, of the size that an import takes.
#[derive(Debug)]
pub struct Document(pub Bytes);

impl FromRequest<Admin> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Admin) -> Result<Self, Problem> {
        Ok(Self(body::read(request.into_body(), admin.bodies.admin).await?))
    }
}

impl FromRequest<Admin> for Document {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Admin) -> Result<Self, Problem> {
        Ok(Self(body::read(request.into_body(), admin.bodies.import).await?))
    }
}

impl Asked {
    /// The call as the writer takes it. `body` belongs to the request's fingerprint.
    ///
    /// # Errors
    /// The reason is too long.
    pub fn call(&self, reason: Option<String>, body: &[u8]) -> Result<Call, Problem> {
        if reason.as_ref().is_some_and(|reason| reason.len() > TEXT_BYTES_MAX) {
            return Err(bad(format!("the reason is longer than {TEXT_BYTES_MAX} bytes"), "/reason"));
        }
        let id = self.principal.id.to_string();
        let idempotency = self.key.as_ref().map(|key| {
            let mut request = self.target.clone().into_bytes();
            request.push(0);
            request.extend_from_slice(body);
            Idempotency { token: id.clone(), key: key.clone(), fingerprint: Digest::of_bytes(&request) }
        });
        Ok(Call { actor: Actor::token(&id, &self.principal.name), reason, idempotency })
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default().trim_matches('"');
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(bad(
            format!("Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters"),
            "",
        ));
    }
    Ok(Some(key.to_owned()))
}

fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    let text = |name| headers.get(name).map(|value: &http::HeaderValue| value.to_str().unwrap_or_default().trim());
    match (text(IF_MATCH), text(IF_NONE_MATCH)) {
        (None, None) => Ok(Precondition::None),
        (None, Some("*")) => Ok(Precondition::Absent),
        (Some("*"), None) => Ok(Precondition::Present),
        (Some(tag), None) => tag
            .trim_matches('"')
            .parse()
            .map(|revision| Precondition::Revision(Revision(revision)))
            .map_err(|_| bad(format!("If-Match: {tag} is not the ETag of a flag, such as \"17\""), "")),
        _ => Err(bad("use If-Match: \"REVISION\" or If-None-Match: *, one of them".to_owned(), "")),
    }
}

fn format_of(headers: &HeaderMap) -> Result<Format, Problem> {
    let Some(kind) = headers.get(CONTENT_TYPE) else { return Ok(Format::Json) };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        "application/json" | "" => Ok(Format::Json),
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => Ok(Format::Yaml),
        // What curl sends with --data when nobody says otherwise.
        "application/x-www-form-urlencoded" => Ok(Format::Json),
        _ => Err(Problem::UnsupportedMediaType { expected: "application/json or application/yaml" }),
    }
}

/// The environment that a path names.
///
/// # Errors
/// It cannot be a name.
pub fn environment(text: &str) -> Result<EnvironmentName, Problem> {
    EnvironmentName::new(text).map_err(|fault| bad(format!("environment {text:?}: {fault}"), ""))
}

/// The flag that a path and `?flagSet=` name.
///
/// # Errors
/// One of them cannot be a name.
pub fn flag(key: &str, flag_set: Option<&str>) -> Result<FlagId, Problem> {
    let key = FlagKey::new(key).map_err(|fault| bad(format!("flag key: {fault}"), ""))?;
    let flag_set = flag_set
        .filter(|set| !set.is_empty())
        .map(FlagSetName::new)
        .transpose()
        .map_err(|fault| bad(format!("flag set: {fault}"), ""))?;
    Ok(FlagId { flag_set, key })
}
