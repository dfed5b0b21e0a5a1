//! Flags over the admin API: list, get, put, delete, import.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::call::{Asked, Document, Params, Text, WriteQuery, environment, flag};
use super::refused::{bad, refused};
use super::{Admin, json, outcome};
use crate::control::command::{Command, Outcome};
use crate::eval::compiled::Compiled;
use crate::flag::diagnostic::Diagnostic;
use crate::flag::key::EnvironmentName;
use crate::flag::parse::{parse_definition, parse_document};
use crate::flag::print::{allocation_to_json, definition_to_json};
use crate::serve::http::problem::{Missing, Problem};
use crate::snapshot::Snapshot;

/// Flags in one page of a list.
const PAGE: usize = 500;

/// One flag as the admin API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlagView {
    /// Its key.
    key: String,
    /// Its flag set, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    flag_set: Option<String>,
    /// Its environment.
    environment: String,
    /// The revision that last touched it; also its ETag.
    revision: u64,
    /// `ENABLED` or `DISABLED`.
    state: &'static str,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// What a kill serves; none for the code default.
    safe_variant: Option<String>,
    /// The kill in force, if there is one.
    killed: Option<KilledView>,
    /// The percentages that a running rollout put in place of the definition's `serve`.
    allocation: Option<Value>,
    /// What a person or a tool wrote, in canonical form.
    definition: Value,
}

/// A kill in force.
#[derive(Debug, Serialize, ToSchema)]
pub struct KilledView {
    /// Its place in the kill lane.
    generation: u64,
}

/// A page of flags.
#[derive(Debug, Serialize, ToSchema)]
pub struct FlagList {
    /// The revision that the list shows.
    revision: u64,
    /// The flags, by flag set and key.
    flags: Vec<FlagView>,
    /// The path of the next page, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Query parameters of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Only flags of this flag set; empty for those that belong to none.
    flag_set: Option<String>,
    /// Only flags with this tag.
    tag: Option<String>,
    /// Where the page begins; take it from `next`.
    offset: Option<usize>,
}

/// Query parameters of an import.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ImportQuery {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
    /// The document's name, for diagnostics.
    name: Option<String>,
    /// Why; recorded in the audit trail.
    reason: Option<String>,
}

impl FlagView {
    fn of(snapshot: &Snapshot, flag: &Compiled) -> Self {
        let (id, definition) = (flag.id(), flag.definition());
        Self {
            key: id.key.to_string(),
            flag_set: id.flag_set.as_ref().map(ToString::to_string),
            environment: snapshot.environment.to_string(),
            revision: flag.revision().0,
            state: match definition.state {
                crate::flag::definition::State::Enabled => "ENABLED",
                crate::flag::definition::State::Disabled => "DISABLED",
            },
            owner: definition.owner.clone(),
            safe_variant: definition.safe().map(ToString::to_string),
            killed: snapshot.kills().killed(id).map(|generation| KilledView { generation: generation.0 }),
            allocation: flag.allocation().map(allocation_to_json),
            definition: definition_to_json(definition),
        }
    }
}

/// What an environment serves, or that there is no such environment.
///
/// # Errors
/// There is no such environment.
pub fn snapshot(admin: &Admin, name: &EnvironmentName) -> Result<Arc<Snapshot>, Problem> {
    admin.control.hub().current(name).ok_or_else(|| Problem::NotFound(Missing::Environment, name.to_string()))
}

/// List the flags of an environment.
#[utoipa::path(get, path = "/v1/environments/{env}/flags", params(("env" = String, Path), ListQuery),
    responses((status = 200, body = FlagList), (status = 404, description = "no such environment")), tag = "flags")]
pub async fn list(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    Params(query): Params<ListQuery>,
) -> Result<Response, Problem> {
    let snapshot = snapshot(&admin, &environment(&env)?)?;
    let wanted = |flag: &&Compiled| {
        let set = flag.id().flag_set.as_ref().map_or("", |set| set.as_str());
        query.flag_set.as_ref().is_none_or(|wanted| wanted == set)
            && query.tag.as_ref().is_none_or(|tag| flag.definition().tags.contains(tag))
    };
    let offset = query.offset.unwrap_or(0);
    let mut rest = snapshot.set.iter().filter(wanted).skip(offset);
    let flags: Vec<FlagView> = rest.by_ref().take(PAGE).map(|flag| FlagView::of(&snapshot, flag)).collect();
    let next = rest.next().map(|_| {
        let mut next = format!("/v1/environments/{env}/flags?offset={}", offset + PAGE);
        for (name, value) in [("flagSet", &query.flag_set), ("tag", &query.tag)] {
            if let Some(value) = value {
                next.push_str(&format!("&{name}={}", super::encode(value)));
            }
        }
        next
    });
    Ok(json(StatusCode::OK, &FlagList { revision: snapshot.revision.0, flags, next }))
}

/// Get one flag.
#[utoipa::path(get, path = "/v1/environments/{env}/flags/{key}",
    params(("env" = String, Path), ("key" = String, Path), WriteQuery),
    responses((status = 200, body = FlagView), (status = 404, description = "no such flag")), tag = "flags")]
pub async fn get(
    State(admin): State<Admin>,
    Path((env, key)): Path<(String, String)>,
    Params(query): Params<WriteQuery>,
) -> Result<Response, Problem> {
    let snapshot = snapshot(&admin, &environment(&env)?)?;
    let id = flag(&key, query.flag_set.as_deref())?;
    let flag = snapshot.set.get(&id).ok_or_else(|| Problem::NotFound(Missing::Flag, id.to_string()))?;
    let mut response = json(StatusCode::OK, &FlagView::of(&snapshot, flag));
    super::set_etag(&mut response, flag.revision());
    Ok(response)
}

/// Create or replace one flag.
#[utoipa::path(put, path = "/v1/environments/{env}/flags/{key}",
    params(("env" = String, Path), ("key" = String, Path), WriteQuery), request_body = Value,
    responses((status = 200, body = Value, description = "what was done"), (status = 412, description = "it changed meanwhile"),
        (status = 422, description = "the definition cannot be used")), tag = "flags")]
pub async fn put(
    State(admin): State<Admin>,
    Path((env, key)): Path<(String, String)>,
    Params(query): Params<WriteQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let environment = environment(&env)?;
    let id = flag(&key, query.flag_set.as_deref())?;
    let (definition, diagnostics, positions) = parse_definition(&body, asked.format, id.flag_set.as_ref());
    let Some(definition) = definition else {
        return Err(Problem::InvalidDefinition(diagnostics));
    };
    let command =
        Command::PutFlag { environment, flag: id, definition: Arc::new(definition), precondition: asked.precondition };
    let call = asked.call(query.reason, &body)?;
    let done = admin.control.submit(command, call).await.map_err(|refusal| {
        // The compiler points into a document of flags; the caller sent one flag.
        let prefix = crate::flag::diagnostic::join_pointer("/flags", &key);
        refused(refusal, |mut fault: Diagnostic| {
            if let Some(rest) = fault.pointer.strip_prefix(&prefix) {
                fault.pointer = rest.to_owned();
            }
            positions.locate(fault)
        })
    })?;
    Ok(outcome(&with_warnings(done, &diagnostics)))
}

fn with_warnings(mut done: Outcome, diagnostics: &[Diagnostic]) -> Outcome {
    done.notes.extend(diagnostics.iter().map(ToString::to_string));
    done
}

/// Delete one flag.
#[utoipa::path(delete, path = "/v1/environments/{env}/flags/{key}",
    params(("env" = String, Path), ("key" = String, Path), WriteQuery),
    responses((status = 200, body = Value, description = "what was done"), (status = 404, description = "no such flag")), tag = "flags")]
pub async fn delete(
    State(admin): State<Admin>,
    Path((env, key)): Path<(String, String)>,
    Params(query): Params<WriteQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    let flag = flag(&key, query.flag_set.as_deref())?;
    let command = Command::DeleteFlag { environment: environment(&env)?, flag, precondition: asked.precondition };
    let call = asked.call(query.reason, &[])?;
    Ok(outcome(&admin.control.submit(command, call).await.map_err(Problem::from)?))
}

/// Put every flag and segment of a document, all or nothing.
#[utoipa::path(post, path = "/v1/environments/{env}/import", params(("env" = String, Path), ImportQuery), request_body = Value,
    responses((status = 200, body = Value, description = "what was done, or with `dry_run` would be"),
        (status = 422, description = "something in it cannot be used; nothing was done")), tag = "flags")]
pub async fn import(
    State(admin): State<Admin>,
    Path(env): Path<String>,
    Params(query): Params<ImportQuery>,
    asked: Asked,
    Document(body): Document,
) -> Result<Response, Problem> {
    let environment = environment(&env)?;
    let parsed = parse_document(&body, asked.format, query.name.as_deref());
    if parsed.diagnostics.iter().any(Diagnostic::is_error) {
        return Err(Problem::InvalidDefinition(parsed.diagnostics));
    }
    // The path was authorized; a document that names another environment must not widen that.
    if let Some(named) = parsed.file.environment.as_ref().filter(|named| **named != environment) {
        return Err(bad(
            format!("the document is for the environment {named}, the path names {environment}"),
            "/environment",
        ));
    }
    let command = Command::Import { environment, file: parsed.file, dry_run: query.dry_run };
    let call = asked.call(query.reason, &body)?;
    let done = admin.control.submit(command, call).await;
    let done = done.map_err(|refusal| refused(refusal, |fault| parsed.positions.locate(fault)))?;
    Ok(outcome(&with_warnings(done, &parsed.diagnostics)))
}
