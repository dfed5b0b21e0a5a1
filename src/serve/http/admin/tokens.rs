//! Tokens over the admin API: list, create, revoke. A secret leaves the server once, in the answer that creates it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as value};
use utoipa::ToSchema;

use super::call::{Asked, Params, Text, WriteQuery};
use super::refused::{bad, bad_json};
use super::{Admin, json, outcome};
use crate::access::scope::{Scope, Scopes};
use crate::access::token::{Environments, TokenInfo, issue};
use crate::control::command::{Command, NewToken};
use crate::control::draw;
use crate::flag::key::EnvironmentName;
use crate::flag::time::Timestamp;
use crate::serve::http::problem::Problem;

/// The longest name of a token, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// A token as the admin API shows it: never its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenView {
    /// Its public half.
    id: String,
    /// What people call it.
    name: String,
    /// What it may do.
    scopes: Vec<String>,
    /// Where: `"all"` or a list of names.
    environments: Value,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    /// Whether it was taken back.
    revoked: bool,
}

/// All tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// The tokens, by identifier.
    tokens: Vec<TokenView>,
}

/// A token that shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBody {
    /// What it may do: `evaluate`, `read`, `report`, `operate`, `write`, `kill`, `admin`.
    scopes: Vec<String>,
    /// Where; everywhere when left out.
    environments: Option<Vec<String>>,
    /// A name for people.
    #[serde(default)]
    name: String,
    /// When it ends by itself (RFC 3339).
    expires: Option<String>,
}

impl TokenView {
    fn of(token: &TokenInfo) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            scopes: token.scopes.iter().map(|scope| scope.to_string()).collect(),
            environments: match &token.environments {
                Environments::All => value!("all"),
                Environments::Only(names) => names.iter().map(|name| value!(name.as_str())).collect(),
            },
            expires: token.expires.map(|end| end.to_string()),
            revoked: token.revoked,
        }
    }
}

/// List the tokens, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", responses((status = 200, body = TokenList)), tag = "tokens")]
pub async fn list(State(admin): State<Admin>) -> Response {
    let tokens = admin.control.hub().tokens();
    let mut tokens: Vec<TokenView> = tokens.iter().map(TokenView::of).collect();
    tokens.sort_by(|a, b| a.id.cmp(&b.id));
    json(StatusCode::OK, &TokenList { tokens })
}

/// Create a token. The answer holds its secret, once.
#[utoipa::path(post, path = "/v1/tokens", request_body = TokenBody,
    responses((status = 201, body = Value, description = "`id` and `token`")), tag = "tokens")]
pub async fn create(State(admin): State<Admin>, asked: Asked, Text(body): Text) -> Result<Response, Problem> {
    let said: TokenBody = serde_json::from_slice(&body).map_err(|error| bad_json(&error))?;
    let issued = issue(draw(admin.random), draw(admin.random));
    let new = NewToken {
        id: issued.id.to_string(),
        name: name(said.name)?,
        hash: issued.hash.0,
        scopes: scopes(&said.scopes)?,
        environments: environments(said.environments.as_deref())?,
        expires: said.expires.as_deref().map(|text| expires(text, admin.control.clock().now())).transpose()?,
    };
    let done = admin.control.submit(Command::IssueToken(new), asked.call(None, &body)?).await?;
    let mut answer = value!({"id": issued.id.to_string(), "token": issued.text, "revision": done.revision});
    if done.replayed {
        // The first answer had the secret; it was never kept, so it cannot be given again.
        answer = value!({"id": done.objects.first().map(|object| object.key.as_str()), "token": null, "revision": done.revision, "replayed": true});
    }
    Ok(json(StatusCode::CREATED, &answer))
}

/// Revoke a token, at once: its streams end too.
#[utoipa::path(delete, path = "/v1/tokens/{id}", params(("id" = String, Path), WriteQuery),
    responses((status = 200, body = Value, description = "what was done"), (status = 404, description = "no such token")), tag = "tokens")]
pub async fn revoke(
    State(admin): State<Admin>,
    Path(id): Path<String>,
    Params(query): Params<WriteQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    let call = asked.call(query.reason, &[])?;
    Ok(outcome(&admin.control.submit(Command::RevokeToken { id }, call).await?))
}

fn name(name: String) -> Result<String, Problem> {
    if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(bad(format!("a name has at most {NAME_BYTES_MAX} bytes and no control characters"), "/name"));
    }
    Ok(name)
}

fn scopes(words: &[String]) -> Result<Scopes, Problem> {
    if words.is_empty() {
        return Err(bad("name at least one scope".to_owned(), "/scopes"));
    }
    let scope = |(at, word): (usize, &String)| {
        word.parse::<Scope>().map_err(|fault| bad(fault.to_string(), &format!("/scopes/{at}")))
    };
    words.iter().enumerate().map(scope).collect()
}

fn environments(names: Option<&[String]>) -> Result<Environments, Problem> {
    let Some(names) = names else { return Ok(Environments::All) };
    let name = |(at, name): (usize, &String)| {
        EnvironmentName::new(name).map_err(|fault| bad(fault.to_string(), &format!("/environments/{at}")))
    };
    let names: BTreeSet<EnvironmentName> = names.iter().enumerate().map(name).collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Err(bad("name at least one environment, or leave it out for all".to_owned(), "/environments"));
    }
    Ok(Environments::Only(Arc::new(names)))
}

fn expires(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let end = Timestamp::parse(text).map_err(|fault| bad(fault, "/expires"))?;
    if end <= now {
        return Err(bad(format!("{text} is over"), "/expires"));
    }
    Ok(end)
}
