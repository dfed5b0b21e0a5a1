//! Between the wire and the state machine, the client's half: what the server says comes in, what the client says goes
//! out. A kind or value that this version does not know becomes "unknown" and is ignored by the machine.

use std::sync::Arc;

use prost::bytes::Bytes;

use crate::eval::fractional::FractionalHash;
use crate::flag::time::{Generation, Revision, Timestamp};
use crate::proto::rampart_v1 as wire;
use crate::proto::rampart_v1::client_message::Message as Out;
use crate::proto::rampart_v1::server_message::Message as In;
use crate::sync::hash::SetHash;
use crate::sync::message::{
    Ack, Begin, Bookmark, ClientMessage, Commit, FullReason, Goodbye, GoodbyeReason, Hello, KillEntry, KillPart, Lane,
    Mode, ResyncReason, ServerBody, ServerMessage,
};
use crate::sync::object::{Entry, ObjectKey, ObjectState};

/// A message whose hashes or digests do not have 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} does not have 16 bytes")]
pub struct WireFault {
    /// Which field.
    pub field: &'static str,
}

/// What the server says.
///
/// # Errors
/// A digest or hash of another length: the stream cannot be trusted.
pub fn server_message(message: wire::ServerMessage) -> Result<ServerMessage, WireFault> {
    let body = match message.message {
        None => ServerBody::Unknown,
        Some(In::KillSet(part)) => ServerBody::Kills(kill_part(part)?),
        Some(In::Begin(begin)) => match self::begin(&begin)? {
            Some(begin) => ServerBody::Begin(begin),
            None => ServerBody::Unknown,
        },
        Some(In::Chunk(chunk)) => ServerBody::Chunk(chunk.objects.iter().map(entry).collect()),
        Some(In::Commit(commit)) => ServerBody::Commit(Commit {
            revision: Revision(commit.revision),
            epoch: sixteen(&commit.epoch, "commit.epoch")?,
            digest: sixteen(&commit.digest, "commit.digest")?,
            set_hash: SetHash::from_bytes(sixteen(&commit.set_hash, "commit.set_hash")?),
            object_count: commit.object_count,
        }),
        Some(In::Bookmark(bookmark)) => ServerBody::Bookmark(Bookmark {
            revision: Revision(bookmark.revision),
            kill_generation: Generation(bookmark.kill_generation),
            digest: sixteen(&bookmark.digest, "bookmark.digest")?,
            server_time: Timestamp::from_micros(bookmark.server_time_us),
        }),
        Some(In::Pong(pong)) => ServerBody::Pong(pong.token),
        Some(In::Goodbye(goodbye)) => ServerBody::Goodbye(Goodbye {
            reconnect_after_ms: goodbye.reconnect_after_ms,
            reason: goodbye_reason(goodbye.reason()),
        }),
        Some(In::Error(error)) => ServerBody::Error { code: error.code, message: error.message },
    };
    Ok(ServerMessage { nonce: message.nonce, body })
}

fn kill_part(part: wire::KillSet) -> Result<KillPart, WireFault> {
    let entries = part.entries.into_iter().map(|entry| KillEntry {
        flag_set: entry.flag_set.map(Arc::from),
        key: Arc::from(entry.key),
        generation: Generation(entry.generation),
        restored: entry.restored,
    });
    Ok(KillPart {
        epoch: sixteen(&part.epoch, "kill_set.epoch")?,
        generation: Generation(part.generation),
        environment: Arc::from(part.environment),
        entries: entries.collect(),
        count: part.count,
        set_hash: SetHash::from_bytes(sixteen(&part.set_hash, "kill_set.set_hash")?),
        part: part.part,
        parts: part.parts,
        complete_to: Generation(part.complete_to),
    })
}

fn begin(begin: &wire::Begin) -> Result<Option<Begin>, WireFault> {
    let reason = match begin.reason() {
        wire::FullReason::Unspecified | wire::FullReason::Initial => FullReason::Initial,
        wire::FullReason::Compacted => FullReason::Compacted,
        wire::FullReason::EpochChanged => FullReason::EpochChanged,
        wire::FullReason::DigestMismatch => FullReason::DigestMismatch,
        wire::FullReason::FutureRevision => FullReason::FutureRevision,
        wire::FullReason::Requested => FullReason::Requested,
        wire::FullReason::ConfirmedEmpty => FullReason::ConfirmedEmpty,
    };
    let mode = match begin.mode() {
        wire::TransferMode::Full => Mode::Full(reason),
        wire::TransferMode::Delta => Mode::Delta,
        wire::TransferMode::None => Mode::None,
        wire::TransferMode::Unspecified => return Ok(None),
    };
    Ok(Some(Begin {
        mode,
        from: Revision(begin.from),
        to: Revision(begin.to),
        objects: begin.objects,
        tombstones: begin.tombstones,
        epoch: sixteen(&begin.epoch, "begin.epoch")?,
        fractional_hash: match begin.fractional_hash() {
            wire::FractionalHash::Unspecified | wire::FractionalHash::V2 => FractionalHash::V2,
            wire::FractionalHash::V3 => FractionalHash::V3,
        },
    }))
}

fn goodbye_reason(reason: wire::GoodbyeReason) -> GoodbyeReason {
    match reason {
        wire::GoodbyeReason::Unspecified => GoodbyeReason::Unspecified,
        wire::GoodbyeReason::Draining => GoodbyeReason::Draining,
        wire::GoodbyeReason::TokenRevoked => GoodbyeReason::TokenRevoked,
        wire::GoodbyeReason::EnvironmentGone => GoodbyeReason::EnvironmentGone,
        wire::GoodbyeReason::TooSlow => GoodbyeReason::TooSlow,
        wire::GoodbyeReason::AckOverdue => GoodbyeReason::AckOverdue,
        wire::GoodbyeReason::Replaced => GoodbyeReason::Replaced,
        wire::GoodbyeReason::Rebalance => GoodbyeReason::Rebalance,
        wire::GoodbyeReason::Overloaded => GoodbyeReason::Overloaded,
    }
}

fn entry(object: &wire::Object) -> Entry {
    let kind = u32::try_from(object.kind).unwrap_or(0);
    let key = ObjectKey::from_parts(kind, object.flag_set.as_deref(), &object.key);
    let revision = Revision(object.revision);
    if object.tombstone {
        return Entry::Gone { key, revision };
    }
    let allocation = (!object.allocation.is_empty()).then(|| Arc::from(object.allocation.as_ref()));
    Entry::Live(Arc::new(ObjectState { key, revision, payload: Arc::from(object.definition.as_ref()), allocation }))
}

fn sixteen(bytes: &[u8], field: &'static str) -> Result<[u8; 16], WireFault> {
    bytes.try_into().map_err(|_| WireFault { field })
}

/// What the client says; none for what only a machine of another version could mean.
pub fn client_message(message: ClientMessage) -> Option<wire::ClientMessage> {
    let message = match message {
        ClientMessage::Hello(hello) => Out::Hello(self::hello(*hello)),
        ClientMessage::Ack(ack) => Out::Ack(self::ack(ack)),
        ClientMessage::Ping(token) => Out::Ping(wire::Ping { token }),
        ClientMessage::Resync(reason) => Out::Resync(wire::Resync {
            reason: match reason {
                ResyncReason::Gap => wire::ResyncReason::Gap,
                ResyncReason::SetMismatch => wire::ResyncReason::SetMismatch,
                ResyncReason::SuspiciousEmpty => wire::ResyncReason::SuspiciousEmpty,
                ResyncReason::Requested => wire::ResyncReason::Requested,
            } as i32,
        }),
        ClientMessage::Leave(reason) => Out::Leave(wire::Leave { reason }),
        ClientMessage::Unknown => return None,
    };
    Some(wire::ClientMessage { message: Some(message) })
}

fn hello(hello: Hello) -> wire::Hello {
    wire::Hello {
        instance_id: hello.instance_id,
        name: hello.name,
        sdk: hello.sdk,
        sdk_version: hello.sdk_version,
        labels: hello.labels.into_iter().collect(),
        resume: hello.resume.map(|resume| wire::Resume {
            epoch: Bytes::copy_from_slice(&resume.epoch),
            revision: resume.revision.0,
            digest: Bytes::copy_from_slice(&resume.digest),
            kill_generation: resume.kill_generation.0,
        }),
        schema_max: hello.schema_max,
        acks: hello.acks,
        environment: hello.environment,
    }
}

fn ack(ack: Ack) -> wire::Ack {
    let lane = match ack.lane {
        Lane::Kills => wire::Lane::Kills,
        Lane::Objects => wire::Lane::Objects,
    };
    let rejected = ack.rejected.into_iter().map(|error| wire::ObjectError {
        kind: i32::try_from(error.key.kind()).unwrap_or(0),
        flag_set: error.key.flag_set().map(str::to_owned),
        key: error.key.key().to_owned(),
        revision: error.revision.0,
        code: error.code,
        message: error.message,
    });
    wire::Ack {
        nonce: ack.nonce,
        lane: lane as i32,
        applied: ack.applied,
        set_hash: ack.set_hash.map(|hash| Bytes::copy_from_slice(&hash.to_bytes())).unwrap_or_default(),
        apply_us: ack.apply_us,
        rejected: rejected.collect(),
    }
}
