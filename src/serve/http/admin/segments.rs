//! Segments over the admin API: list, get, put, delete.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::call::{Asked, Params, Text, WriteQuery, environment};
use super::flags::snapshot;
use super::refused::{bad, refused};
use super::{Admin, json, outcome, set_etag};
use crate::control::command::Command;
use crate::eval::compiled::CompiledSegment;
use crate::flag::diagnostic::join_pointer;
use crate::flag::key::SegmentName;
use crate::flag::parse::parse_segment;
use crate::flag::print::segment_to_json;
use crate::serve::http::problem::{Missing, Problem};

/// One segment as the admin API shows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct SegmentView {
    /// Its name.
    name: String,
    /// The revision that last touched it; also its ETag.
    revision: u64,
    /// What must hold to belong to it.
    definition: Value,
}

/// All segments.
#[derive(Debug, Serialize, ToSchema)]
pub struct SegmentList {
    /// The revision that the list shows.
    revision: u64,
    /// The segments, by name.
    segments: Vec<SegmentView>,
}

fn view(held: &CompiledSegment) -> SegmentView {
    let (name, revision) = (held.name().to_string(), held.revision().0);
    SegmentView { name, revision, definition: segment_to_json(held.segment()) }
}

fn name_of(text: &str) -> Result<SegmentName, Problem> {
    SegmentName::new(text).map_err(|fault| bad(format!("segment name: {fault}"), ""))
}

/// List the segments of an environment.
#[utoipa::path(get, path = "/v1/environments/{env}/segments", params(("env" = String, Path)),
    responses((status = 200, body = SegmentList), (status = 404, description = "no such environment")), tag = "segments")]
pub async fn list(State(admin): State<Admin>, Path(env): Path<String>) -> Result<Response, Problem> {
    let snapshot = snapshot(&admin, &environment(&env)?)?;
    let segments = snapshot.set.segments().into_iter().map(|held| view(held)).collect();
    Ok(json(StatusCode::OK, &SegmentList { revision: snapshot.revision.0, segments }))
}

/// Get one segment.
#[utoipa::path(get, path = "/v1/environments/{env}/segments/{name}", params(("env" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = SegmentView), (status = 404, description = "no such segment")), tag = "segments")]
pub async fn get(State(admin): State<Admin>, Path((env, name)): Path<(String, String)>) -> Result<Response, Problem> {
    let snapshot = snapshot(&admin, &environment(&env)?)?;
    let wanted = name_of(&name)?;
    let found = snapshot.set.segment(wanted.as_str());
    let held = found.ok_or_else(|| Problem::NotFound(Missing::Segment, wanted.to_string()))?;
    let mut response = json(StatusCode::OK, &view(held));
    set_etag(&mut response, held.revision());
    Ok(response)
}

/// Create or replace one segment.
#[utoipa::path(put, path = "/v1/environments/{env}/segments/{name}", params(("env" = String, Path), ("name" = String, Path), WriteQuery),
    request_body = Value, responses((status = 200, body = Value, description = "what was done"),
        (status = 422, description = "the segment cannot be used")), tag = "segments")]
pub async fn put(
    State(admin): State<Admin>,
    Path((env, name)): Path<(String, String)>,
    Params(query): Params<WriteQuery>,
    asked: Asked,
    Text(body): Text,
) -> Result<Response, Problem> {
    let environment = environment(&env)?;
    let (segment, diagnostics, positions) = parse_segment(&body, asked.format);
    let Some(definition) = segment else {
        return Err(Problem::InvalidDefinition(diagnostics));
    };
    let command = Command::PutSegment {
        environment,
        segment: name_of(&name)?,
        definition: Arc::new(definition),
        precondition: asked.precondition,
    };
    let call = asked.call(query.reason, &body)?;
    let done = admin.control.submit(command, call).await.map_err(|refusal| {
        let prefix = join_pointer("/segments", &name);
        refused(refusal, |mut fault| {
            if let Some(rest) = fault.pointer.strip_prefix(&prefix) {
                fault.pointer = rest.to_owned();
            }
            positions.locate(fault)
        })
    })?;
    Ok(outcome(&done))
}

/// Delete one segment that nothing uses.
#[utoipa::path(delete, path = "/v1/environments/{env}/segments/{name}", params(("env" = String, Path), ("name" = String, Path), WriteQuery),
    responses((status = 200, body = Value, description = "what was done"), (status = 422, description = "it is in use")), tag = "segments")]
pub async fn delete(
    State(admin): State<Admin>,
    Path((env, name)): Path<(String, String)>,
    Params(query): Params<WriteQuery>,
    asked: Asked,
) -> Result<Response, Problem> {
    let segment = name_of(&name)?;
    let command = Command::DeleteSegment { environment: environment(&env)?, segment, precondition: asked.precondition };
    let call = asked.call(query.reason, &[])?;
    Ok(outcome(&admin.control.submit(command, call).await?))
}
