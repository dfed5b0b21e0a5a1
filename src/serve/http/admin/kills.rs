//! Kill and restore over the admin API: one flag, many, or all with a tag.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::call::{Asked, Params, Text, environment, flag};
use super::receipts::{ReceiptsView, WaitQuery, of_kill};
use super::refused::{bad, bad_json};
use super::{Admin, json, status_of};
use crate::control::command::{Command, Outcome, Targets};
use crate::flag::key::EnvironmentName;
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

/// Query parameters of a kill or a restore.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct SwitchQuery {
    /// The flag set, for flags that belong to one.
    flag_set: Option<String>,
    /// Why; recorded in the audit trail.
    reason: Option<String>,
    /// Answer when this many subscribers have confirmed: `all`, a share (`0.999`) or a percentage (`99.9%`).
    wait: Option<String>,
    /// Answer after this long in any case: `25s`, `500ms`; at most `60s`.
    timeout: Option<String>,
    /// How many of those that have not confirmed to name; at most 1000, 100 where left out.
    names: Option<usize>,
}

/// What was done, and who has confirmed it where that was asked for.
#[derive(Debug, Serialize)]
struct Confirmed<'a> {
    #[serde(flatten)]
    outcome: &'a Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipts: Option<ReceiptsView>,
}

/// The answer to a kill or a restore that was carried out. It waits last, so that what is asked wrongly is refused
/// before anything is done, and what was done stands whoever confirms.
async fn confirmed(
    admin: &Admin,
    environment: &EnvironmentName,
    outcome: &Outcome,
    query: &WaitQuery,
) -> Result<Response, Problem> {
    let receipts = of_kill(admin, environment, outcome.generation, query).await?;
    Ok(json(status_of(outcome), &Confirmed { outcome, receipts }))
}

impl SwitchQuery {
    /// Its parts: how to wait, the flag set, the reason.
    fn parts(self) -> Result<(WaitQuery, Option<String>, Option<String>), Problem> {
        let wait = WaitQuery { wait: self.wait, timeout: self.timeout, names: self.names };
        wait.check()?;
        Ok((wait, self.flag_set, self.reason))
    }
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
    params(("env" = String, Path), ("key" = String, Path), SwitchQuery), request_body = OneBody,
    responses((status = 200, body = Value, description = "in force and journaled"), (status = 202, body = Value, description = "in force"),
        (status = 404, description = "no such flag")), tag = "kill")]
pub async fn kill(
    State(admin): State<Admin>,
    Path((env, key)): Path<(String, String)>,
    Params(query): Params<SwitchQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let (wait, flag_set, reason) = query.parts()?;
    let targets = Targets::Flags(BTreeSet::from([flag(&key, flag_set.as_deref())?]));
    let call = asked.call(one_body(&body)?.reason.or(reason), &body)?;
    let environment = environment(&env)?;
    let outcome = admin.control.kill(&environment, &targets, call).await?;
    confirmed(&admin, &environment, &outcome, &wait).await
}

/// Kill many flags in one record.
#[utoipa::path(post, path = "/v1/environments/{env}/kill", params(("env" = String, Path), SwitchQuery), request_body = ManyBody,
    responses((status = 200, body = Value, description = "in force and journaled"), (status = 202, body = Value, description = "in force"),
        (status = 404, description = "no such flag or tag")), tag = "kill")]
pub async fn kill_many(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    Params(query): Params<SwitchQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let (wait, _, asked_reason) = query.parts()?;
    let (targets, reason, _) = many(&body)?;
    let call = asked.call(reason.or(asked_reason), &body)?;
    let environment = environment(&env)?;
    let outcome = admin.control.kill(&environment, &targets, call).await?;
    confirmed(&admin, &environment, &outcome, &wait).await
}

/// Restore one flag: serve by its definition again.
#[utoipa::path(post, path = "/v1/environments/{env}/flags/{key}/restore",
    params(("env" = String, Path), ("key" = String, Path), SwitchQuery), request_body = OneBody,
    responses((status = 200, body = Value, description = "what was done"), (status = 409, description = "it was killed again")), tag = "kill")]
pub async fn restore(
    State(admin): State<Admin>,
    Path((env, key)): Path<(String, String)>,
    Params(query): Params<SwitchQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let (wait, flag_set, reason) = query.parts()?;
    let targets = Targets::Flags(BTreeSet::from([flag(&key, flag_set.as_deref())?]));
    let said = one_body(&body)?;
    let generation = said.generation.map(Generation);
    let environment = environment(&env)?;
    let command = Command::Restore { environment: environment.clone(), targets, generation };
    let call = asked.call(said.reason.or(reason), &body)?;
    let outcome = admin.control.submit(command, call).await?;
    confirmed(&admin, &environment, &outcome, &wait).await
}

/// Restore many flags in one record.
#[utoipa::path(post, path = "/v1/environments/{env}/restore", params(("env" = String, Path), SwitchQuery), request_body = ManyBody,
    responses((status = 200, body = Value, description = "what was done"), (status = 409, description = "one was killed again")), tag = "kill")]
pub async fn restore_many(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    Params(query): Params<SwitchQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let (wait, _, asked_reason) = query.parts()?;
    let (targets, reason, generation) = many(&body)?;
    let environment = environment(&env)?;
    let command = Command::Restore { environment: environment.clone(), targets, generation };
    let call = asked.call(reason.or(asked_reason), &body)?;
    let outcome = admin.control.submit(command, call).await?;
    confirmed(&admin, &environment, &outcome, &wait).await
}
