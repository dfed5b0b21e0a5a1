//! Environments over the admin API: list, get, put.

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call::{Asked, Params, Text, WriteQuery, environment};
use super::flags::snapshot;
use super::refused::bad_json;
use super::{Admin, json, outcome};
use crate::access::policy::DataPlaneAuth;
use crate::control::command::Command;
use crate::serve::http::caller::Caller;
use crate::serve::http::problem::Problem;
use crate::snapshot::Snapshot;

/// An environment as the admin API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentView {
    /// Its name.
    name: String,
    /// Whether people call it production.
    production: bool,
    /// `optional` or `required`: whether its data plane asks every caller for a token.
    #[schema(value_type = String)]
    data_plane_auth: DataPlaneAuth,
    /// The newest revision that it serves.
    revision: u64,
    /// How many flags it has.
    flags: usize,
    /// How many of them are killed.
    killed: usize,
}

/// All environments that the token may see.
#[derive(Debug, Serialize, ToSchema)]
pub struct EnvironmentList {
    /// The environments, by name.
    environments: Vec<EnvironmentView>,
}

/// What an environment shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvironmentBody {
    /// Whether people call it production; no where left out.
    #[serde(default)]
    production: bool,
    /// `optional` (the default) or `required`.
    #[serde(default)]
    #[schema(value_type = String)]
    data_plane_auth: DataPlaneAuth,
}

impl EnvironmentView {
    fn of(snapshot: &Snapshot) -> Self {
        Self {
            name: snapshot.environment.to_string(),
            production: snapshot.production,
            data_plane_auth: snapshot.data_plane_auth,
            revision: snapshot.revision.0,
            flags: snapshot.set.len(),
            killed: snapshot.kills().len(),
        }
    }
}

/// List the environments.
#[utoipa::path(get, path = "/v1/environments", responses((status = 200, body = EnvironmentList)), tag = "environments")]
pub async fn list(State(admin): State<Admin>, caller: Caller) -> Response {
    let mut snapshots = admin.control.hub().snapshots();
    snapshots.retain(|snapshot| caller.visible.contain(&snapshot.environment));
    snapshots.sort_by(|a, b| a.environment.cmp(&b.environment));
    let environments = snapshots.iter().map(|snapshot| EnvironmentView::of(snapshot)).collect();
    json(StatusCode::OK, &EnvironmentList { environments })
}

/// Get one environment.
#[utoipa::path(get, path = "/v1/environments/{env}", params(("env" = String, Path)),
    responses((status = 200, body = EnvironmentView), (status = 404, description = "no such environment")), tag = "environments")]
pub async fn get(State(admin): State<Admin>, Path(env): Path<String>) -> Result<Response, Problem> {
    let snapshot = snapshot(&admin, &environment(&env)?)?;
    Ok(json(StatusCode::OK, &EnvironmentView::of(&snapshot)))
}

/// Create or change an environment.
#[utoipa::path(put, path = "/v1/environments/{env}", params(("env" = String, Path), WriteQuery), request_body = EnvironmentBody,
    responses((status = 200, body = Value, description = "what was done")), tag = "environments")]
pub async fn put(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    Params(query): Params<WriteQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let said: EnvironmentBody = serde_json::from_slice(&body).map_err(|error| bad_json(&error))?;
    let (production, data_plane_auth) = (said.production, said.data_plane_auth);
    let command = Command::PutEnvironment { environment: environment(&env)?, production, data_plane_auth };
    let call = asked.call(query.reason, &body)?;
    Ok(outcome(&admin.control.submit(command, call).await?))
}
