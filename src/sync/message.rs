//! The messages of both directions, as the state machines see them. No wire types: `proto/rampart/v1/subscription.proto`
//! says what each field means, the edges convert.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::hash::SetHash;
use super::object::{Entry, ObjectKey};
use crate::eval::fractional::FractionalHash;
use crate::flag::time::{Generation, Revision, Timestamp};

/// The identity of a store's history: 128 random bits, new at every declared restore.
pub type Epoch = [u8; 16];

/// The first 128 bits of the journal's chain hash at a revision.
pub type Digest = [u8; 16];

/// The two independent lanes of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The kill set.
    Kills,
    /// Flags and segments.
    Objects,
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// Who is there and what it has.
    Hello(Box<Hello>),
    /// Something was applied or refused.
    Ack(Ack),
    /// Are you there? The number comes back.
    Ping(u64),
    /// Send everything.
    Resync(ResyncReason),
    /// It goes and is not to be counted as missing.
    Leave(String),
    /// A kind of message that this version does not know.
    Unknown,
}

/// Who subscribes and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// Random per process.
    pub instance_id: String,
    /// A name for people.
    pub name: String,
    /// The client library.
    pub sdk: String,
    /// Its version.
    pub sdk_version: String,
    /// At most eight words about the client.
    pub labels: BTreeMap<String, String>,
    /// What it has.
    pub resume: Option<Resume>,
    /// The newest schema of definitions it understands.
    pub schema_max: u32,
    /// Whether it acknowledges.
    pub acks: bool,
    /// The environment it asks for; empty for the one its token decides.
    pub environment: String,
}

/// A place in the history of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// Which history.
    pub epoch: Epoch,
    /// The last revision that was applied.
    pub revision: Revision,
    /// The digest that came with it.
    pub digest: Digest,
    /// The generation of the kill set that is applied.
    pub kill_generation: Generation,
}

/// What became of a kill set or a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Which one.
    pub nonce: u64,
    /// On which lane.
    pub lane: Lane,
    /// The generation or the revision that is applied now.
    pub applied: u64,
    /// The hash of what is held now on that lane; none where the client did not say.
    pub set_hash: Option<SetHash>,
    /// From receipt to use, in microseconds; the driver measures it.
    pub apply_us: u32,
    /// Objects that could not be used.
    pub rejected: Vec<ObjectError>,
}

/// One object that a client could not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectError {
    /// Which object.
    pub key: ObjectKey,
    /// The revision that was refused.
    pub revision: Revision,
    /// A stable identifier.
    pub code: String,
    /// In words for people.
    pub message: String,
}

/// Why a client cannot go on from what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResyncReason {
    /// A delta does not start where the client is.
    Gap,
    /// The count or the set hash was not the server's.
    SetMismatch,
    /// Everything was empty without confirmation, and the client holds objects.
    SuspiciousEmpty,
    /// The client lost or distrusts its copy.
    Requested,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMessage {
    /// Names a kill set or a transfer on its stream; 0 where nothing is to be acknowledged.
    pub nonce: u64,
    /// What is said.
    pub body: ServerBody,
}

/// The body of a server's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerBody {
    /// One part of the kill set.
    Kills(KillPart),
    /// The beginning of a transfer.
    Begin(Begin),
    /// Objects of a transfer.
    Chunk(Vec<Entry>),
    /// The end of a transfer.
    Commit(Commit),
    /// Nothing new.
    Bookmark(Bookmark),
    /// The answer to a ping.
    Pong(u64),
    /// The server ends the stream.
    Goodbye(Goodbye),
    /// What went wrong, before the stream ends.
    Error {
        /// A stable identifier.
        code: String,
        /// In words for people.
        message: String,
    },
    /// A kind of message that this version does not know.
    Unknown,
}

/// One part of the kill set of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillPart {
    /// The store's epoch.
    pub epoch: Epoch,
    /// The newest generation in the whole set.
    pub generation: Generation,
    /// The environment it speaks of.
    pub environment: Arc<str>,
    /// This part's flags.
    pub entries: Vec<KillEntry>,
    /// Entries in all parts.
    pub count: u32,
    /// The hash over the killed entries of all parts.
    pub set_hash: SetHash,
    /// This part, from 0.
    pub part: u32,
    /// Parts in all; at least 1.
    pub parts: u32,
    /// Every kill and restore up to this generation is known to the sender.
    pub complete_to: Generation,
}

/// The last word on one flag, as it travels. Names are plain text, so that one which this version would refuse still
/// counts in the hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KillEntry {
    /// Its flag set, if it has one.
    pub flag_set: Option<Arc<str>>,
    /// Its key.
    pub key: Arc<str>,
    /// When it was killed or restored.
    pub generation: Generation,
    /// Restored, not killed.
    pub restored: bool,
}

/// What a transfer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All objects: what is not in it is gone.
    Full(FullReason),
    /// What is newer than a revision.
    Delta,
    /// Nothing: the client is where the server is.
    None,
}

/// Why everything is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FullReason {
    /// The client has nothing.
    Initial,
    /// The client's revision is older than the server's memory.
    Compacted,
    /// The client knows another epoch.
    EpochChanged,
    /// The client's digest is not the server's at that revision.
    DigestMismatch,
    /// The client is ahead of the server.
    FutureRevision,
    /// The client asked for it.
    Requested,
    /// There are no objects, and the server knows that they were deleted.
    ConfirmedEmpty,
}

impl FullReason {
    /// Every reason, in the order of the wire.
    pub const ALL: [Self; 7] = [
        Self::Initial,
        Self::Compacted,
        Self::EpochChanged,
        Self::DigestMismatch,
        Self::FutureRevision,
        Self::Requested,
        Self::ConfirmedEmpty,
    ];

    /// The word for logs, metrics and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Compacted => "compacted",
            Self::EpochChanged => "epoch-changed",
            Self::DigestMismatch => "digest-mismatch",
            Self::FutureRevision => "future-revision",
            Self::Requested => "requested",
            Self::ConfirmedEmpty => "confirmed-empty",
        }
    }
}

/// The beginning of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// What it does.
    pub mode: Mode,
    /// The revision it starts from; zero for everything.
    pub from: Revision,
    /// The revision it leads to.
    pub to: Revision,
    /// Objects in its chunks.
    pub objects: u32,
    /// Tombstones in its chunks.
    pub tombstones: u32,
    /// The store's epoch.
    pub epoch: Epoch,
    /// Which generation of flagd's `fractional` counts where a flag names none.
    pub fractional_hash: FractionalHash,
}

/// The end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The revision the client is at now.
    pub revision: Revision,
    /// The store's epoch.
    pub epoch: Epoch,
    /// The digest at that revision.
    pub digest: Digest,
    /// The hash of all objects it holds now.
    pub set_hash: SetHash,
    /// How many objects it holds now.
    pub object_count: u32,
}

/// What the server serves now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bookmark {
    /// The revision.
    pub revision: Revision,
    /// The kill generation.
    pub kill_generation: Generation,
    /// The digest at that revision.
    pub digest: Digest,
    /// The server's clock.
    pub server_time: Timestamp,
}

/// Why a server ends a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GoodbyeReason {
    /// Not said, or not known to this version.
    Unspecified,
    /// The server stops or restarts.
    Draining,
    /// The token no longer counts.
    TokenRevoked,
    /// The environment was deleted.
    EnvironmentGone,
    /// The client did not read.
    TooSlow,
    /// The client did not acknowledge.
    AckOverdue,
    /// Another stream of the same instance took its place.
    Replaced,
    /// The stream is old.
    Rebalance,
    /// Too many streams.
    Overloaded,
}

impl GoodbyeReason {
    /// The word for logs, metrics and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Draining => "draining",
            Self::TokenRevoked => "token-revoked",
            Self::EnvironmentGone => "environment-gone",
            Self::TooSlow => "too-slow",
            Self::AckOverdue => "ack-overdue",
            Self::Replaced => "replaced",
            Self::Rebalance => "rebalance",
            Self::Overloaded => "overloaded",
        }
    }
}

/// The server ends the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    /// When to come back, in milliseconds.
    pub reconnect_after_ms: u32,
    /// Why.
    pub reason: GoodbyeReason,
}

impl ServerMessage {
    /// A message that nobody acknowledges.
    pub fn plain(body: ServerBody) -> Self {
        Self { nonce: 0, body }
    }
}
