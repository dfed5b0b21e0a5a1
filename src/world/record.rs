//! One revision of the journal: who changed what, when and why.
//!
//! A [`Draft`] is what `control` wants to record; `chain::seal` gives it its place and turns it into a [`StoredRecord`],
//! the form that is kept, sent and verified; `chain::open` turns that back into a [`Record`], the form that is folded.
//! Whatever could name a person or hold a person's words (the reason, the actor's name, every change) is a payload of
//! its own that can be erased; the header holds identifiers only. Hashes are specified in `chain`.

use serde::{Deserialize, Serialize};

use super::change::Change;
use super::digest::{Digest, Epoch, Salt};
use crate::flag::time::{Revision, Timestamp};

/// The record format that this Rampart writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// The version of Rampart that stands in records as their writer.
pub const WRITER: &str = env!("CARGO_PKG_VERSION");
/// The kind of the payload that holds [`Record::reason`]; never a kind of change.
pub const REASON: &str = "reason";
/// The kind of the payload that holds [`Actor::name`]; never a kind of change.
pub const ACTOR_NAME: &str = "actor_name";

/// Where a journal stands: the last record, or before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    /// The journal's life that the next record belongs to.
    pub epoch: Epoch,
    /// The last revision; 0 where there is none.
    pub revision: Revision,
    /// The last record's hash; zeros where there is none.
    pub hash: Digest,
}

impl Head {
    /// A journal without records.
    pub fn empty(epoch: Epoch) -> Self {
        Self { epoch, revision: Revision::ZERO, hash: Digest::ZERO }
    }
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Actor {
    /// What the identifier names: `token`, `file`, `system`; later kinds are read as they are.
    pub kind: String,
    /// A token's public half, a file's identity, a part of the server. Stands in the header and cannot be erased, so it
    /// must not name a person.
    pub id: String,
    /// What people call the actor; erasable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Actor {
    /// The holder of a token.
    pub fn token(id: &str, name: &str) -> Self {
        Self { kind: "token".to_owned(), id: id.to_owned(), name: Some(name.to_owned()) }
    }

    /// A flag file that was taken in.
    pub fn file(source: &str) -> Self {
        Self { kind: "file".to_owned(), id: source.to_owned(), name: None }
    }

    /// The server itself: `first-start`, `cut-tail`, …
    pub fn system(part: &str) -> Self {
        Self { kind: "system".to_owned(), id: part.to_owned(), name: None }
    }
}

/// The request that a record answers, so that a repeated request finds its first answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Idempotency {
    /// The token that sent it; keys of different tokens never meet.
    pub token: String,
    /// The client's `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of the request, so that the same key with another body is noticed.
    pub fingerprint: Digest,
}

/// What is to be recorded, before it has a place in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Why, in the actor's words.
    pub reason: Option<String>,
    /// The request it answers.
    pub idempotency: Option<Idempotency>,
    /// The version of Rampart that writes it.
    pub writer: String,
    /// What changes, all at once, in this order.
    pub changes: Vec<Change>,
}

impl Draft {
    /// A draft of this version without reason and idempotency.
    pub fn new(at: Timestamp, actor: Actor, changes: Vec<Change>) -> Self {
        Self { at, actor, reason: None, idempotency: None, writer: WRITER.to_owned(), changes }
    }
}

/// One revision as it is folded and shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The record format it was written in.
    pub format: u32,
    /// Its place.
    pub revision: Revision,
    /// The journal's life it belongs to.
    pub epoch: Epoch,
    /// The hash of the record before it; zeros before the first.
    pub prev_hash: Digest,
    /// Its own hash.
    pub hash: Digest,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
    /// The request it answers.
    pub idempotency: Option<Idempotency>,
    /// The version of Rampart that wrote it.
    pub writer: String,
    /// What changed, without what was erased.
    pub changes: Vec<Change>,
    /// What was erased.
    pub erased: Vec<Erased>,
}

impl Record {
    /// Where the journal stands with this record as its last.
    pub fn head(&self) -> Head {
        Head { epoch: self.epoch, revision: self.revision, hash: self.hash }
    }
}

/// A payload whose bytes are gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erased {
    /// Its place among the record's payloads, from 0.
    pub payload: u32,
    /// What it was: [`REASON`], [`ACTOR_NAME`] or a kind of change.
    pub kind: String,
}

/// One revision as it is kept: a header, its hash, and the payloads that the header names by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredRecord {
    /// The record format.
    pub format: u32,
    /// Its place.
    pub revision: Revision,
    /// The journal's life it belongs to.
    pub epoch: Epoch,
    /// The hash of the record before it; zeros before the first.
    pub prev_hash: Digest,
    /// When.
    pub at: Timestamp,
    /// [`Actor::kind`].
    pub actor_kind: String,
    /// [`Actor::id`].
    pub actor_id: String,
    /// The request it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// The version of Rampart that wrote it.
    pub writer: String,
    /// The payloads in order: the actor's name and the reason where there are some, then the changes.
    pub payloads: Vec<Payload>,
    /// The hash over everything above except the contents of payloads.
    pub hash: Digest,
}

impl StoredRecord {
    /// Where the journal stands with this record as its last.
    pub fn head(&self) -> Head {
        Head { epoch: self.epoch, revision: self.revision, hash: self.hash }
    }
}

/// One erasable part of a record. Kind and digest belong to the header and stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Payload {
    /// [`REASON`], [`ACTOR_NAME`] or the change's kind.
    pub kind: String,
    /// The digest of salt and body.
    pub digest: Digest,
    /// What it holds; none once erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// What a payload holds, and the salt that goes with it when it is erased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Content {
    /// Random; makes the digest of a guessable body say nothing once it is gone.
    pub salt: Salt,
    /// Canonical JSON: a text for reason and actor name, an object with its `kind` for a change.
    pub body: String,
}
