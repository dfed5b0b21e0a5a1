//! `POST /v1/stream/acks`: the receipts of an event stream, several at once if a client likes.

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::{ACKS_PATH, Streams, event};
use crate::flag::time::Revision;
use crate::serve::http::body;
use crate::serve::http::caller::authenticate;
use crate::serve::http::problem::{Missing, Problem};
use crate::sync::hash::SetHash;
use crate::sync::message::{Ack, ClientMessage, Lane, ObjectError};
use crate::sync::object::ObjectKey;

/// Receipts that one request may bring.
const ACKS_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Posted {
    /// The stream, as its `open` event named it.
    stream: String,
    #[serde(default)]
    acks: Vec<Receipt>,
    /// The client goes and is not to be counted as missing; why, in words for people.
    leave: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Receipt {
    nonce: u64,
    lane: Word,
    applied: u64,
    set_hash: Option<String>,
    #[serde(default)]
    apply_us: u32,
    #[serde(default)]
    rejected: Vec<Rejected>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Kills,
    Objects,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rejected {
    kind: Value,
    flag_set: Option<String>,
    key: String,
    revision: u64,
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Takes receipts for the stream that they name, from whoever opened it.
pub async fn take(State(streams): State<Streams>, request: Request) -> Response {
    match taken(&streams, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => problem.into_response(),
    }
}

async fn taken(streams: &Streams, request: Request) -> Result<(), Problem> {
    let (parts, content) = request.into_parts();
    let door = &streams.subscriptions.door;
    let query = parts.uri.query();
    let principal = authenticate(&parts.headers, query, &door.gate.hub.tokens(), door.gate.clock.now())?;
    let bytes = body::read(content, streams.body).await?;
    let posted = serde_json::from_slice::<Posted>(&bytes);
    let owner = principal.as_ref().map(|principal| principal.id);
    // Whoever did not open it learns nothing of it.
    let named = posted.as_ref().ok().and_then(|posted| streams.inboxes.get(&posted.stream));
    let inbox = named.filter(|inbox| inbox.owner == owner);
    let inbox = inbox.map(|inbox| (inbox.messages.clone(), inbox.environment.clone()));
    let environment = inbox.as_ref().map_or("", |(_, environment)| environment.as_str());
    door.admit_to(&parts.headers, query, ("POST", ACKS_PATH), environment)?;
    // Not before it is known that they may post at all.
    let posted = posted.map_err(|error| Problem::BadJson { detail: error.to_string(), pointer: None })?;
    if posted.acks.len() > ACKS_MAX {
        return Err(wrong(format!("more than {ACKS_MAX} receipts at once"), "/acks"));
    }
    let messages: Vec<ClientMessage> = posted
        .acks
        .into_iter()
        .map(|receipt| message(receipt).map(ClientMessage::Ack))
        .chain(posted.leave.map(|reason| Ok(ClientMessage::Leave(reason))))
        .collect::<Result<_, _>>()?;
    let gone = || Problem::NotFound(Missing::Stream, posted.stream.clone());
    let (inbox, _) = inbox.ok_or_else(gone)?;
    for message in messages {
        inbox.send(message).await.map_err(|_| gone())?;
    }
    Ok(())
}

fn wrong(detail: String, pointer: &str) -> Problem {
    Problem::InvalidValue { detail, pointer: pointer.to_owned() }
}

fn message(receipt: Receipt) -> Result<Ack, Problem> {
    let hash = |text: String| {
        let bytes = event::sixteen(&text).ok_or_else(|| {
            wrong("setHash: 32 hex digits, as the stream said them or as computed".to_owned(), "/acks/setHash")
        })?;
        Ok::<_, Problem>(SetHash::from_bytes(bytes))
    };
    let rejected = receipt.rejected.into_iter().map(|error| {
        let kind = event::parse_kind(&error.kind)
            .ok_or_else(|| wrong("kind: \"flag\", \"segment\" or a number".to_owned(), "/acks/rejected/kind"))?;
        Ok(ObjectError {
            key: ObjectKey::from_parts(kind, error.flag_set.as_deref(), &error.key),
            revision: Revision(error.revision),
            code: error.code,
            message: error.message,
        })
    });
    Ok(Ack {
        nonce: receipt.nonce,
        lane: match receipt.lane {
            Word::Kills => Lane::Kills,
            Word::Objects => Lane::Objects,
        },
        applied: receipt.applied,
        set_hash: receipt.set_hash.map(hash).transpose()?,
        apply_us: receipt.apply_us,
        rejected: rejected.collect::<Result<_, Problem>>()?,
    })
}
