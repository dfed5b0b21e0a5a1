//! The stream's messages as server-sent events.
//!
//! Only `commit`, and a `bookmark` of a client that lacks nothing, carry an `id`: `Last-Event-ID` can never name a
//! half-transferred state. An id is `EPOCH.REVISION.DIGEST.GENERATION`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use crate::access::token::hex;
use crate::eval::fractional::FractionalHash;
use crate::flag::time::{Generation, Revision};
use crate::serve::subscription::frame::{Frame, Wire};
use crate::sync::kills::KillList;
use crate::sync::message::{Begin, Commit, Epoch, KillEntry, Mode, Resume, ServerBody, ServerMessage};
use crate::sync::object::{Entry, ObjectKey};

/// Server-sent events, of one stream.
#[derive(Debug, Clone)]
pub struct Sse {
    /// Names the stream, for its receipts.
    pub id: String,
    /// When a client comes back after the stream was lost.
    pub retry: Duration,
}

impl Wire for Sse {
    const SURFACE: &'static str = "sse";
    const FORM: usize = 1;

    /// The members after the nonce; all of the set, with its last part.
    fn kills(list: &KillList, part: usize, epoch: Epoch, environment: &Arc<str>) -> Bytes {
        if part + 1 < list.parts() {
            return Bytes::new();
        }
        let document = kill_document(list, epoch, environment);
        let text = Value::Object(document).to_string();
        // Without the brace, behind which the nonce is written.
        format!("{}\n\n", &text[1..]).into()
    }

    fn chunk(entries: &[Entry]) -> Bytes {
        entries.iter().fold(String::new(), |events, entry| events + &object_event(entry)).into()
    }

    fn kills_frame(nonce: u64, shared: &Bytes, last: bool) -> Option<Frame> {
        last.then(|| Frame::joined(format!("event: kill\ndata: {{\"nonce\":{nonce},").into_bytes(), shared))
    }

    fn chunk_frame(_nonce: u64, shared: &Bytes) -> Frame {
        Frame::whole(shared.clone())
    }

    fn message(message: &ServerMessage, id: Option<&str>) -> Option<Frame> {
        let nonce = message.nonce;
        let text = match &message.body {
            ServerBody::Begin(begin) => event("begin", &begin_data(nonce, begin), None),
            ServerBody::Commit(commit) => event("commit", &commit_data(nonce, commit), id),
            ServerBody::Bookmark(bookmark) => {
                let data = json!({
                    "revision": bookmark.revision,
                    "killGeneration": bookmark.kill_generation,
                    "digest": hex(&bookmark.digest),
                    "serverTimeUs": bookmark.server_time.micros(),
                });
                event("bookmark", &data, id)
            }
            ServerBody::Goodbye(goodbye) => {
                let data = json!({"reason": goodbye.reason.as_str(), "reconnectAfterMs": goodbye.reconnect_after_ms});
                format!("retry: {}\n{}", goodbye.reconnect_after_ms, event("goodbye", &data, None))
            }
            ServerBody::Error { code, message } => event("error", &json!({"code": code, "message": message}), None),
            // Kills and chunks have frames of their own; nobody sends pings here.
            ServerBody::Kills(_) | ServerBody::Chunk(_) | ServerBody::Pong(_) | ServerBody::Unknown => return None,
        };
        Some(Frame::whole(text))
    }

    fn opening(&self, environment: &str) -> Option<Frame> {
        let data = json!({"stream": self.id, "environment": environment});
        Some(Frame::whole(format!("retry: {}\n{}", self.retry.as_millis(), event("open", &data, None))))
    }
}

fn event(name: &str, data: &Value, id: Option<&str>) -> String {
    // JSON text has no line breaks.
    let mut text = format!("event: {name}\ndata: {data}\n");
    if let Some(id) = id {
        let _infallible = writeln!(text, "id: {id}");
    }
    text.push('\n');
    text
}

/// A kill set as one JSON object.
pub fn kill_document(list: &KillList, epoch: Epoch, environment: &Arc<str>) -> Map<String, Value> {
    let parts = (0..list.parts()).filter_map(|part| list.part(part, epoch, environment));
    let entries: Vec<KillEntry> = parts.flat_map(|part| part.entries).collect();
    let entry = |entry: &KillEntry| {
        let mut document = Map::new();
        document.extend(entry.flag_set.as_deref().map(|set| ("flagSet".to_owned(), json!(set))));
        document.insert("key".to_owned(), json!(&*entry.key));
        document.insert("generation".to_owned(), json!(entry.generation));
        document.extend(entry.restored.then(|| ("restored".to_owned(), json!(true))));
        Value::Object(document)
    };
    let members = [
        ("epoch", json!(hex(&epoch))),
        ("environment", json!(&**environment)),
        ("generation", json!(list.generation())),
        // A single node knows every kill there is.
        ("completeTo", json!(list.generation())),
        ("count", json!(entries.len())),
        ("setHash", json!(hex(&list.set_hash().to_bytes()))),
        ("killed", entries.iter().map(entry).collect()),
    ];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn begin_data(nonce: u64, begin: &Begin) -> Value {
    let (mode, reason) = match begin.mode {
        Mode::Full(reason) => ("full", Some(reason.as_str())),
        Mode::Delta => ("delta", None),
        Mode::None => ("none", None),
    };
    json!({
        "nonce": nonce,
        "mode": mode,
        "reason": reason,
        "from": begin.from,
        "to": begin.to,
        "objects": begin.objects,
        "tombstones": begin.tombstones,
        "epoch": hex(&begin.epoch),
        "fractionalHash": match begin.fractional_hash {
            FractionalHash::V2 => "v2",
            FractionalHash::V3 => "v3",
        },
    })
}

fn commit_data(nonce: u64, commit: &Commit) -> Value {
    json!({
        "nonce": nonce,
        "revision": commit.revision,
        "epoch": hex(&commit.epoch),
        "digest": hex(&commit.digest),
        "setHash": hex(&commit.set_hash.to_bytes()),
        "objectCount": commit.object_count,
    })
}

/// `put` or `delete` of one object. Definitions are canonical JSON, which stands in JSON as it is.
fn object_event(entry: &Entry) -> String {
    let key = entry.key();
    let set = key.flag_set().map(|set| format!(",\"flagSet\":{}", json!(set))).unwrap_or_default();
    let name = format!("\"kind\":{}{set},\"key\":{},\"revision\":{}", kind(key), json!(key.key()), entry.revision());
    let Some(state) = entry.live() else { return format!("event: delete\ndata: {{{name}}}\n\n") };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let allocation = state.allocation.as_deref().map(|bytes| format!(",\"allocation\":{}", text(bytes)));
    let allocation = allocation.unwrap_or_default();
    format!("event: put\ndata: {{{name},\"definition\":{}{allocation}}}\n\n", text(&state.payload))
}

/// The word for a kind; its number where there is none.
fn kind(key: &ObjectKey) -> Value {
    match key.kind() {
        1 => json!("flag"),
        2 => json!("segment"),
        other => json!(other),
    }
}

/// Reads a word or a number for a kind.
pub fn parse_kind(value: &Value) -> Option<u32> {
    match value {
        Value::String(word) if word == "flag" => Some(1),
        Value::String(word) if word == "segment" => Some(2),
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        _ => None,
    }
}

/// Reads an event's id.
pub fn parse_resume(text: &str) -> Option<Resume> {
    let mut parts = text.trim().split('.');
    let resume = Resume {
        epoch: sixteen(parts.next()?)?,
        revision: Revision(parts.next()?.parse().ok()?),
        digest: sixteen(parts.next()?)?,
        kill_generation: Generation(parts.next()?.parse().ok()?),
    };
    parts.next().is_none().then_some(resume)
}

/// Reads 16 bytes in hex.
pub fn sixteen(text: &str) -> Option<[u8; 16]> {
    let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)).flatten()
}
