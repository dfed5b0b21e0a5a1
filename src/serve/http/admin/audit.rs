//! The audit trail over the admin API: what the journal holds, newest first, with target lists redacted.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::call::Params;
use super::refused::bad;
use super::{Admin, json};
use crate::access::token::Environments;
use crate::control::trail::Keep;
use crate::flag::print::{definition_to_json_redacted, segment_to_json_redacted};
use crate::flag::time::{Revision, Timestamp};
use crate::serve::http::caller::Caller;
use crate::serve::http::problem::Problem;
use crate::world::change::Change;
use crate::world::record::Record;

/// Records in one answer where the caller does not say, and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 500;

/// Query parameters of the audit trail.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// How many records at most.
    limit: Option<usize>,
    /// Only records before this revision; take it from `next`.
    before: Option<u64>,
    /// Only records about this flag.
    flag: Option<String>,
    /// Only records by this actor: a token's identifier or name, a file, a part of the server.
    actor: Option<String>,
    /// Only records since this time (RFC 3339).
    from: Option<String>,
    /// Only records until this time (RFC 3339).
    to: Option<String>,
}

/// A page of the audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditPage {
    /// The records, newest first.
    records: Vec<RecordView>,
    /// The `before` of the next page, where there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// One record.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordView {
    revision: u64,
    at: String,
    /// The actor's name where it has one, else its identifier.
    actor: String,
    actor_kind: String,
    actor_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What changed, each with its `kind`; lists of targets are counted, not shown.
    changes: Vec<Value>,
    /// Kinds of what was erased by law.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    erased: Vec<String>,
    /// The record's hash in the chain.
    hash: String,
    prev_hash: String,
}

/// What a page is asked for.
#[derive(Debug)]
struct Filter {
    limit: usize,
    flag: Option<String>,
    actor: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    within: Environments,
}

/// Read the audit trail.
#[utoipa::path(get, path = "/v1/audit", params(AuditQuery), responses((status = 200, body = AuditPage)), tag = "audit")]
pub async fn read(
    State(admin): State<Admin>,
    caller: Caller,
    Params(query): Params<AuditQuery>,
) -> Result<Response, Problem> {
    let time = |text: Option<&String>, pointer| {
        text.map(|text| Timestamp::parse(text).map_err(|fault| bad(fault, pointer))).transpose()
    };
    let filter = Filter {
        limit: query.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX),
        from: time(query.from.as_ref(), "from")?,
        to: time(query.to.as_ref(), "to")?,
        flag: query.flag,
        actor: query.actor,
        within: caller.visible,
    };
    let (before, limit) = (query.before.map(Revision), filter.limit);
    let page = admin.control.trail(before, limit, move |record| filter.keep(record)).await?;
    let next = page.next.map(|revision| revision.0);
    Ok(json(StatusCode::OK, &AuditPage { records: page.records, next }))
}

impl Filter {
    fn keep(&self, record: &Record) -> Keep<RecordView> {
        if self.from.is_some_and(|from| record.at < from) {
            return Keep::Stop;
        }
        self.view(record).map_or(Keep::No, Keep::Yes)
    }

    fn view(&self, record: &Record) -> Option<RecordView> {
        let actor =
            record.actor.name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| record.actor.id.clone());
        let by = self.actor.as_ref().is_none_or(|wanted| *wanted == actor || *wanted == record.actor.id);
        let in_time = self.to.is_none_or(|to| record.at <= to);
        let about = |change: &&Change| {
            let visible = match change.environment() {
                Some(environment) => self.within.contain(environment),
                None => self.within == Environments::All,
            };
            let flag =
                self.flag.as_ref().is_none_or(|wanted| change.flag().is_some_and(|flag| flag.key.as_str() == wanted));
            visible && flag
        };
        let changes: Vec<Value> = record.changes.iter().filter(about).map(redacted).collect();
        let nothing_left = changes.is_empty()
            && !(record.changes.is_empty() && self.flag.is_none() && (self.within == Environments::All));
        if !by || !in_time || nothing_left {
            return None;
        }
        Some(RecordView {
            revision: record.revision.0,
            at: record.at.to_string(),
            actor,
            actor_kind: record.actor.kind.clone(),
            actor_id: record.actor.id.clone(),
            reason: record.reason.clone(),
            changes,
            erased: record.erased.iter().map(|erased| erased.kind.clone()).collect(),
            hash: record.hash.to_string(),
            prev_hash: record.prev_hash.to_string(),
        })
    }
}

/// A change as people may see it: no secret hashes, no lists of targets.
fn redacted(change: &Change) -> Value {
    let mut view = serde_json::to_value(change).unwrap_or(Value::Null);
    if let Value::Object(fields) = &mut view {
        fields.remove("secretHash");
        match change {
            Change::FlagPut { definition, .. } => {
                fields.insert("definition".to_owned(), definition_to_json_redacted(definition));
            }
            Change::SegmentPut { definition, .. } => {
                fields.insert("definition".to_owned(), segment_to_json_redacted(definition));
            }
            _ => {}
        }
    }
    view
}
