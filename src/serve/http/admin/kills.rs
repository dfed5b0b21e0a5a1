//! Kill and restore over the admin API: one flag, many, or all with a tag.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::call::{Asked, Params, Text, WriteQuery, environment, flag};
use super::refused::{bad, bad_json};
use super::{Admin, outcome};
use crate::control::command::{Command, Targets};
use crate::flag::time::Generation;
use crate::serve::http::problem::Problem;

/// What a kill or a restore of one flag may say. An empty body says nothing.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OneBody {
    /// Why; recorded in the audit trail.
    reason: Option<String>,
    /// For a restore: only where this is the kill in force.
    generation: Option<u64>,
}

/// What a kill or a restore of many flags says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ManyBody {
    /// These flags.
    flags: Option<Vec<FlagName>>,
    /// Or every flag with this tag.
    tag: Option<String>,
    /// Why; recorded in the audit trail.
    reason: Option<String>,
    /// For a restore: only where this is the kill in force.
    generation: Option<u64>,
}

/// A flag by name: its key, or its key and flag set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum FlagName {
    /// A flag that belongs to no flag set.
    Key(String),
    /// A flag of a flag set.
    #[serde(rename_all = "camelCase")]
    Full {
        /// Its key.
        key: String,
        /// Its flag set.
        flag_set: Option<String>,
    },
}

fn one_body(body: &[u8]) -> Result<OneBody, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(OneBody::default());
    }
    serde_json::from_slice(body).map_err(|error| bad_json(&error))
}

fn many(body: &[u8]) -> Result<(Targets, Option<String>, Option<Generation>), Problem> {
    let body: ManyBody = serde_json::from_slice(body).map_err(|error| bad_json(&error))?;
    let targets = match (body.flags, body.tag) {
        (Some(flags), None) if !flags.is_empty() => {
            let id = |name: &FlagName| match name {
                FlagName::Key(key) => flag(key, None),
                FlagName::Full { key, flag_set } => flag(key, flag_set.as_deref()),
            };
            Targets::Flags(flags.iter().map(id).collect::<Result<BTreeSet<_>, _>>()?)
        }
        (None, Some(tag)) => Targets::Tag(tag),
        _ => return Err(bad("name either `flags` (at least one) or `tag`".to_owned(), "/flags")),
    };
    Ok((targets, body.reason, body.generation.map(Generation)))
}

/// Kill one flag: serve its safe variant to everybody, at once. Answers 200 when it is journaled, 202 when it is in
/// force and the journal cannot be written yet; `durability` says where it is kept until then.
#[utoipa::path(post, path = "/v1/environments/{env}/flags/{key}/kill",
    params(("env" = String, Path), ("key" = String, Path), WriteQuery), request_body = OneBody,
    responses((status = 200, body = Value, description = "in force and journaled"), (status = 202, body = Value, description = "in force"),
        (status = 404, description = "no such flag")), tag = "kill")]
pub async fn kill(
    State(admin): State<Admin>,
    Path((env, key)): Path<(String, String)>,
    Params(query): Params<WriteQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let targets = Targets::Flags(BTreeSet::from([flag(&key, query.flag_set.as_deref())?]));
    let call = asked.call(one_body(&body)?.reason.or(query.reason), &body)?;
    Ok(outcome(&admin.control.kill(&environment(&env)?, &targets, call).await?))
}

/// Kill many flags in one record.
#[utoipa::path(post, path = "/v1/environments/{env}/kill", params(("env" = String, Path)), request_body = ManyBody,
    responses((status = 200, body = Value, description = "in force and journaled"), (status = 202, body = Value, description = "in force"),
        (status = 404, description = "no such flag or tag")), tag = "kill")]
pub async fn kill_many(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let (targets, reason, _) = many(&body)?;
    let call = asked.call(reason, &body)?;
    Ok(outcome(&admin.control.kill(&environment(&env)?, &targets, call).await?))
}

/// Restore one flag: serve by its definition again.
#[utoipa::path(post, path = "/v1/environments/{env}/flags/{key}/restore",
    params(("env" = String, Path), ("key" = String, Path), WriteQuery), request_body = OneBody,
    responses((status = 200, body = Value, description = "what was done"), (status = 409, description = "it was killed again")), tag = "kill")]
pub async fn restore(
    State(admin): State<Admin>,
    Path((env, key)): Path<(String, String)>,
    Params(query): Params<WriteQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let targets = Targets::Flags(BTreeSet::from([flag(&key, query.flag_set.as_deref())?]));
    let said = one_body(&body)?;
    let generation = said.generation.map(Generation);
    let command = Command::Restore { environment: environment(&env)?, targets, generation };
    let call = asked.call(said.reason.or(query.reason), &body)?;
    Ok(outcome(&admin.control.submit(command, call).await?))
}

/// Restore many flags in one record.
#[utoipa::path(post, path = "/v1/environments/{env}/restore", params(("env" = String, Path)), request_body = ManyBody,
    responses((status = 200, body = Value, description = "what was done"), (status = 409, description = "one was killed again")), tag = "kill")]
pub async fn restore_many(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let (targets, reason, generation) = many(&body)?;
    let command = Command::Restore { environment: environment(&env)?, targets, generation };
    let call = asked.call(reason, &body)?;
    Ok(outcome(&admin.control.submit(command, call).await?))
}
