//! Between the wire and the state machine, the server's half: what clients say comes in, what the server says goes out.

use std::collections::BTreeMap;

use prost::bytes::Bytes;
use tonic::Status;

use crate::eval::fractional::FractionalHash;
use crate::flag::time::{Generation, Revision};
use crate::proto::rampart_v1 as wire;
use crate::proto::rampart_v1::client_message::Message as In;
use crate::proto::rampart_v1::server_message::Message as Out;
use crate::sync::hash::SetHash;
use crate::sync::message::{
    Ack, Begin, ClientMessage, Commit, FullReason, GoodbyeReason, Hello, KillPart, Lane, Mode, ObjectError, Resume,
    ResyncReason, ServerBody, ServerMessage,
};
use crate::sync::object::{Entry, ObjectKey};

/// What a client says.
///
/// # Errors
/// A field that cannot be what it should be, as INVALID_ARGUMENT.
pub fn client_message(message: wire::ClientMessage) -> Result<ClientMessage, Status> {
    Ok(match message.message {
        None => ClientMessage::Unknown,
        Some(In::Hello(hello)) => ClientMessage::Hello(Box::new(self::hello(hello)?)),
        Some(In::Ack(ack)) => ClientMessage::Ack(self::ack(ack)?),
        Some(In::Ping(ping)) => ClientMessage::Ping(ping.token),
        Some(In::Resync(resync)) => ClientMessage::Resync(match resync.reason() {
            wire::ResyncReason::Gap => ResyncReason::Gap,
            wire::ResyncReason::SetMismatch => ResyncReason::SetMismatch,
            wire::ResyncReason::SuspiciousEmpty => ResyncReason::SuspiciousEmpty,
            wire::ResyncReason::Requested | wire::ResyncReason::Unspecified => ResyncReason::Requested,
        }),
        Some(In::Leave(leave)) => ClientMessage::Leave(leave.reason),
    })
}

fn hello(hello: wire::Hello) -> Result<Hello, Status> {
    Ok(Hello {
        instance_id: hello.instance_id,
        name: hello.name,
        sdk: hello.sdk,
        sdk_version: hello.sdk_version,
        labels: hello.labels.into_iter().collect::<BTreeMap<_, _>>(),
        resume: hello.resume.as_ref().map(resume).transpose()?,
        schema_max: hello.schema_max.max(1),
        acks: hello.acks,
        environment: hello.environment,
    })
}

fn resume(resume: &wire::Resume) -> Result<Resume, Status> {
    Ok(Resume {
        epoch: sixteen(&resume.epoch, "resume.epoch")?,
        revision: Revision(resume.revision),
        digest: sixteen(&resume.digest, "resume.digest")?,
        kill_generation: Generation(resume.kill_generation),
    })
}

fn ack(ack: wire::Ack) -> Result<Ack, Status> {
    let lane = match ack.lane() {
        wire::Lane::Kills => Lane::Kills,
        wire::Lane::Objects => Lane::Objects,
        wire::Lane::Unspecified => return Err(Status::invalid_argument("ack.lane: say which lane")),
    };
    let set_hash = match ack.set_hash.is_empty() {
        true => None,
        false => Some(SetHash::from_bytes(sixteen(&ack.set_hash, "ack.set_hash")?)),
    };
    let rejected = ack.rejected.into_iter().map(|error| ObjectError {
        key: ObjectKey::from_parts(u32::try_from(error.kind).unwrap_or(0), error.flag_set.as_deref(), &error.key),
        revision: Revision(error.revision),
        code: error.code,
        message: error.message,
    });
    Ok(Ack {
        nonce: ack.nonce,
        lane,
        applied: ack.applied,
        set_hash,
        apply_us: ack.apply_us,
        rejected: rejected.collect(),
    })
}

fn sixteen(bytes: &[u8], field: &str) -> Result<[u8; 16], Status> {
    bytes
        .try_into()
        .map_err(|_| Status::invalid_argument(format!("{field} has {} bytes, it must have 16", bytes.len())))
}

/// What the server says.
pub fn server_message(message: ServerMessage) -> wire::ServerMessage {
    let body = match message.body {
        ServerBody::Kills(part) => Out::KillSet(kill_set(&part)),
        ServerBody::Begin(begin) => Out::Begin(self::begin(&begin)),
        ServerBody::Chunk(entries) => Out::Chunk(wire::Chunk { objects: entries.iter().map(object).collect() }),
        ServerBody::Commit(commit) => Out::Commit(self::commit(&commit)),
        ServerBody::Bookmark(bookmark) => Out::Bookmark(wire::Bookmark {
            revision: bookmark.revision.0,
            kill_generation: bookmark.kill_generation.0,
            digest: Bytes::copy_from_slice(&bookmark.digest),
            server_time_us: bookmark.server_time.micros(),
        }),
        ServerBody::Pong(token) => Out::Pong(wire::Pong { token }),
        ServerBody::Goodbye(goodbye) => Out::Goodbye(wire::Goodbye {
            reconnect_after_ms: goodbye.reconnect_after_ms,
            reason: goodbye_reason(goodbye.reason) as i32,
        }),
        ServerBody::Error { code, message } => Out::Error(wire::Error { code, message }),
        ServerBody::Unknown => return wire::ServerMessage { nonce: message.nonce, message: None },
    };
    wire::ServerMessage { nonce: message.nonce, message: Some(body) }
}

/// One part of a kill set.
pub fn kill_set(part: &KillPart) -> wire::KillSet {
    let entry = |entry: &crate::sync::message::KillEntry| wire::KillEntry {
        flag_set: entry.flag_set.as_deref().map(str::to_owned),
        key: entry.key.as_ref().to_owned(),
        generation: entry.generation.0,
        restored: entry.restored,
    };
    wire::KillSet {
        epoch: Bytes::copy_from_slice(&part.epoch),
        generation: part.generation.0,
        environment: part.environment.as_ref().to_owned(),
        entries: part.entries.iter().map(entry).collect(),
        count: part.count,
        set_hash: Bytes::copy_from_slice(&part.set_hash.to_bytes()),
        part: part.part,
        parts: part.parts,
        complete_to: part.complete_to.0,
    }
}

fn begin(begin: &Begin) -> wire::Begin {
    let (mode, reason) = match begin.mode {
        Mode::Full(reason) => (wire::TransferMode::Full, full_reason(reason)),
        Mode::Delta => (wire::TransferMode::Delta, wire::FullReason::Unspecified),
        Mode::None => (wire::TransferMode::None, wire::FullReason::Unspecified),
    };
    wire::Begin {
        mode: mode as i32,
        from: begin.from.0,
        to: begin.to.0,
        objects: begin.objects,
        tombstones: begin.tombstones,
        reason: reason as i32,
        epoch: Bytes::copy_from_slice(&begin.epoch),
        fractional_hash: match begin.fractional_hash {
            FractionalHash::V2 => wire::FractionalHash::V2,
            FractionalHash::V3 => wire::FractionalHash::V3,
        } as i32,
    }
}

fn full_reason(reason: FullReason) -> wire::FullReason {
    match reason {
        FullReason::Initial => wire::FullReason::Initial,
        FullReason::Compacted => wire::FullReason::Compacted,
        FullReason::EpochChanged => wire::FullReason::EpochChanged,
        FullReason::DigestMismatch => wire::FullReason::DigestMismatch,
        FullReason::FutureRevision => wire::FullReason::FutureRevision,
        FullReason::Requested => wire::FullReason::Requested,
        FullReason::ConfirmedEmpty => wire::FullReason::ConfirmedEmpty,
    }
}

fn goodbye_reason(reason: GoodbyeReason) -> wire::GoodbyeReason {
    match reason {
        GoodbyeReason::Unspecified => wire::GoodbyeReason::Unspecified,
        GoodbyeReason::Draining => wire::GoodbyeReason::Draining,
        GoodbyeReason::TokenRevoked => wire::GoodbyeReason::TokenRevoked,
        GoodbyeReason::EnvironmentGone => wire::GoodbyeReason::EnvironmentGone,
        GoodbyeReason::TooSlow => wire::GoodbyeReason::TooSlow,
        GoodbyeReason::AckOverdue => wire::GoodbyeReason::AckOverdue,
        GoodbyeReason::Replaced => wire::GoodbyeReason::Replaced,
        GoodbyeReason::Rebalance => wire::GoodbyeReason::Rebalance,
        GoodbyeReason::Overloaded => wire::GoodbyeReason::Overloaded,
    }
}

/// One object or tombstone.
pub fn object(entry: &Entry) -> wire::Object {
    let key = entry.key();
    let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let live = entry.live();
    wire::Object {
        kind: i32::try_from(key.kind()).unwrap_or(0),
        flag_set: key.flag_set().map(str::to_owned),
        key: key.key().to_owned(),
        revision: entry.revision().0,
        tombstone: live.is_none(),
        definition: live.map(|state| bytes(&state.payload)).unwrap_or_default(),
        allocation: live.and_then(|state| state.allocation.as_deref()).map(bytes).unwrap_or_default(),
    }
}

fn commit(commit: &Commit) -> wire::Commit {
    wire::Commit {
        revision: commit.revision.0,
        epoch: Bytes::copy_from_slice(&commit.epoch),
        digest: Bytes::copy_from_slice(&commit.digest),
        set_hash: Bytes::copy_from_slice(&commit.set_hash.to_bytes()),
        object_count: commit.object_count,
    }
}

/// One object that a client cannot use.
pub fn object_error(error: &ObjectError) -> wire::ObjectError {
    wire::ObjectError {
        kind: i32::try_from(error.key.kind()).unwrap_or(0),
        flag_set: error.key.flag_set().map(str::to_owned),
        key: error.key.key().to_owned(),
        revision: error.revision.0,
        code: error.code.clone(),
        message: error.message.clone(),
    }
}
