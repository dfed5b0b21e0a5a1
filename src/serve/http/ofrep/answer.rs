//! What OFREP answers, before HTTP: bytes in, status and bytes out.
//!
//! A published client would hold an answer that says STATIC; killed and allocated flags never say it, since the reasons
//! of `eval` do not. SPLIT stays SPLIT here, OFREP has the word. Who may ask is decided outside.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use xxhash_rust::xxh3::xxh3_128;

use super::json;
use crate::eval::context::Context;
use crate::eval::evaluate::evaluate;
use crate::eval::outcome::ErrorCode;
use crate::eval::set::CompiledSet;
use crate::flag::key::FlagSetName;
use crate::flag::time::{Revision, Timestamp};
use crate::serve::http::entity_tag;
use crate::serve::selection::{Selection, Selector};
use crate::snapshot::Snapshot;

/// What one environment serves.
#[derive(Debug, Clone)]
pub struct Served {
    pub(super) set: CompiledSet,
    flag_sets: Arc<[FlagSetName]>,
    /// The newest journal revision that is in it.
    pub revision: Revision,
    /// Names the configuration.
    state: State,
    published_at: Timestamp,
}

impl Served {
    /// What a snapshot serves.
    pub fn of(snapshot: &Snapshot) -> Self {
        Self {
            set: snapshot.set.clone(),
            flag_sets: Arc::clone(&snapshot.flag_sets),
            revision: snapshot.revision,
            state: State::of(snapshot),
            published_at: snapshot.published_at,
        }
    }

    /// Takes a compiled set; looks through it once for the names of its flag sets.
    #[cfg(test)]
    pub(super) fn new(set: CompiledSet, revision: Revision) -> Self {
        let mut flag_sets: Vec<_> = set.iter().filter_map(|flag| flag.id().flag_set.clone()).collect();
        flag_sets.sort();
        flag_sets.dedup();
        let (state, published_at) = (State(0x5a), Timestamp::from_micros(9_000_000));
        Self { set, flag_sets: flag_sets.into(), revision, state, published_at }
    }

    /// The flags that a request asks for.
    fn select<'s>(&'s self, selector: Selector<'s>) -> Selection<'s> {
        Selection::new(&self.set, &self.flag_sets, selector)
    }
}

/// The name of what an environment has configured: the same for the same flags and kills on every node and after every
/// restart, another one after every change. What change events carry and `flagConfigEtag` brings back. Not an answer's
/// entity tag: that depends on the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State(u128);

impl State {
    /// The name of what a snapshot serves.
    pub fn of(snapshot: &Snapshot) -> Self {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&snapshot.view.objects().set_hash().to_bytes());
        bytes[16..].copy_from_slice(&snapshot.kills().generation().0.to_be_bytes());
        Self(xxh3_128(&bytes))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// An answer before HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body; empty with 304.
    pub body: Vec<u8>,
    /// The quoted entity tag of a bulk answer.
    pub etag: Option<String>,
}

impl Answer {
    /// An answer without an entity tag.
    pub fn new(status: StatusCode, body: Vec<u8>) -> Self {
        Self { status, body, etag: None }
    }

    /// 400 for a request that cannot be understood.
    fn refused(key: Option<&str>, code: ErrorCode, details: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, json::failure(key, code, details))
    }
}

/// Answers for one flag. `body` is the request's, `selector` the header's text, `enrich` what the operator adds to the
/// context.
pub fn single<'a>(
    served: &Served,
    key: &str,
    selector: Option<&str>,
    body: &'a [u8],
    enrich: impl FnOnce(Context<'a>) -> Context<'a>,
    now: Timestamp,
) -> Answer {
    let selector = match Selector::parse(selector) {
        Ok(selector) => selector,
        Err(fault) => return Answer::refused(Some(key), ErrorCode::General, &format!("invalid selector: {fault}")),
    };
    let context = match json::context(body) {
        Ok(context) => enrich(context),
        Err(fault) => return Answer::refused(Some(key), ErrorCode::InvalidContext, &fault.to_string()),
    };
    let Some(flag) = served.select(selector).find(key) else {
        let details = format!("flag `{key}` does not exist");
        return Answer::new(StatusCode::NOT_FOUND, json::failure(Some(key), ErrorCode::FlagNotFound, &details));
    };
    let evaluation = evaluate(&served.set, flag, &context, now);
    let mut body = Vec::with_capacity(json::USUAL_ITEM_BYTES);
    json::item(&mut body, &evaluation);
    let status = if evaluation.error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Answer::new(status, body)
}

/// What a bulk request says beside its context.
#[derive(Debug, Clone, Default)]
pub struct Asked<'h> {
    /// The selector header's text.
    pub selector: Option<&'h str>,
    /// The values of `If-None-Match`.
    pub if_none_match: Vec<&'h str>,
    /// `flagConfigEtag`: the configuration that a change event named.
    pub config_etag: Option<&'h str>,
    /// `flagConfigLastModified`: when that configuration was made.
    pub config_last_modified: Option<&'h str>,
    /// The value of `eventStreams`, as JSON.
    pub event_streams: Option<&'h str>,
}

/// Answers for every flag.
///
/// The entity tag is a hash of the body, so it depends on the context exactly as far as the answers do, and also where
/// a rule asks for the time. A client that was told of another configuration than the one served here gets the whole
/// answer in any case: it may come from a node that is ahead, and must not believe that nothing has changed.
pub fn bulk<'a>(
    served: &Served,
    asked: &Asked<'_>,
    body: &'a [u8],
    enrich: impl FnOnce(Context<'a>) -> Context<'a>,
    now: Timestamp,
) -> Answer {
    let selector = match Selector::parse(asked.selector) {
        Ok(selector) => selector,
        Err(fault) => return Answer::refused(None, ErrorCode::General, &format!("invalid selector: {fault}")),
    };
    let context = match json::context(body) {
        Ok(context) => enrich(context),
        Err(fault) => return Answer::refused(None, ErrorCode::InvalidContext, &fault.to_string()),
    };
    let selection = served.select(selector);
    let flags = selection.iter().map(|flag| evaluate(&served.set, flag, &context, now));
    let body = json::list(flags, selector, selection.expected(), asked.event_streams);
    let etag = format!("\"{:032x}\"", xxh3_128(&body));
    let unchanged = asked.if_none_match.iter().any(|value| entity_tag::names(value, &etag));
    if unchanged && !told_of_another(served, asked) {
        return Answer { status: StatusCode::NOT_MODIFIED, body: Vec::new(), etag: Some(etag) };
    }
    Answer { status: StatusCode::OK, body, etag: Some(etag) }
}

/// True where the request was caused by a change event of another configuration than the one that is served, or of a
/// later time. What cannot be compared says nothing.
fn told_of_another(served: &Served, asked: &Asked<'_>) -> bool {
    let bare = |tag: &str| {
        let tag = tag.trim();
        tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned()
    };
    let named = asked.config_etag.map(bare).filter(|tag| !tag.is_empty());
    let seconds = |text: &str| text.trim().parse().ok().or_else(|| Some(Timestamp::parse(text.trim()).ok()?.seconds()));
    let modified: Option<i64> = asked.config_last_modified.and_then(seconds);
    match (named, modified) {
        (Some(named), _) => named != served.state.to_string(),
        (None, Some(modified)) => modified > served.published_at.seconds(),
        (None, None) => false,
    }
}
