//! Every way the world may change, in one list, and what an answer says about it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::access::policy::DataPlaneAuth;
use crate::access::scope::Scopes;
use crate::access::token::Environments;
use crate::flag::definition::{Definition, FlagFile, Segment};
use crate::flag::diagnostic::Places;
use crate::flag::key::{EnvironmentName, FlagId, SegmentName};
use crate::flag::time::{Generation, Revision, Timestamp};
use crate::world::change::Propagation;
use crate::world::digest::Digest;
pub use crate::world::digest::Digest as TextDigest;
use crate::world::record::{Actor, Idempotency};

/// Who asks, why, and whether it may be the repetition of an earlier call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Who asks.
    pub actor: Actor,
    /// Why, in the caller's words; at most `TEXT_BYTES_MAX` bytes.
    pub reason: Option<String>,
    /// Makes a repetition answer what the first call answered.
    pub idempotency: Option<Idempotency>,
}

impl Call {
    /// A flag file that is taken in.
    pub fn of_file(name: &str) -> Self {
        Self { actor: Actor::file(name), reason: None, idempotency: None }
    }

    /// A part of the server itself.
    pub fn of_system(part: &str) -> Self {
        Self { actor: Actor::system(part), reason: None, idempotency: None }
    }
}

/// SHA-256 of a file's text, by which it is recognised.
pub fn digest(text: &[u8]) -> Digest {
    Digest::of_bytes(text)
}

/// What must be true of an object for a command on it to be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// It does not exist (`If-None-Match: *`).
    Absent,
    /// It exists (`If-Match: *`).
    Present,
    /// Its last revision is this one (`If-Match: "17"`).
    Revision(Revision),
}

/// Which flags a kill or a restore is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// These flags; all must exist.
    Flags(BTreeSet<FlagId>),
    /// Every flag with this tag; at least one must exist.
    Tag(String),
}

/// A change that somebody wants. Kills are not among them: they do not queue (see `kill`).
#[derive(Debug, Clone)]
pub enum Command {
    /// Create or change an environment.
    PutEnvironment {
        /// Its name.
        environment: EnvironmentName,
        /// Whether people call it production.
        production: bool,
        /// Whether its data plane asks every caller for a token.
        data_plane_auth: DataPlaneAuth,
    },
    /// Create or replace a flag's definition.
    PutFlag {
        /// Where.
        environment: EnvironmentName,
        /// Which.
        flag: FlagId,
        /// What it shall be.
        definition: Arc<Definition>,
        /// What must hold.
        precondition: Precondition,
    },
    /// Delete a flag.
    DeleteFlag {
        /// Where.
        environment: EnvironmentName,
        /// Which.
        flag: FlagId,
        /// What must hold.
        precondition: Precondition,
    },
    /// Create or replace a segment.
    PutSegment {
        /// Where.
        environment: EnvironmentName,
        /// Which.
        segment: SegmentName,
        /// What it shall be.
        definition: Arc<Segment>,
        /// What must hold.
        precondition: Precondition,
    },
    /// Delete a segment that nothing uses.
    DeleteSegment {
        /// Where.
        environment: EnvironmentName,
        /// Which.
        segment: SegmentName,
        /// What must hold.
        precondition: Precondition,
    },
    /// Put everything that a document holds, all or nothing. Deletes nothing.
    Import {
        /// Where.
        environment: EnvironmentName,
        /// What the document holds.
        file: FlagFile,
        /// Only say what would change.
        dry_run: bool,
    },
    /// Take in a watched file, flag by flag.
    TakeFile(TakeFile),
    /// Serve flags by their definitions again.
    Restore {
        /// Where.
        environment: EnvironmentName,
        /// Which.
        targets: Targets,
        /// Only where this is the kill in force; a newer kill stays.
        generation: Option<Generation>,
    },
    /// Note who had confirmed a kill or a restore.
    ObservePropagation {
        /// Where.
        environment: EnvironmentName,
        /// The kill or restore.
        generation: Generation,
        /// Who had.
        propagation: Propagation,
    },
    /// Register a token whose secret the caller made.
    IssueToken(NewToken),
    /// End a token.
    RevokeToken {
        /// Its public identifier.
        id: String,
    },
}

/// A watched file's content.
#[derive(Debug, Clone)]
pub struct TakeFile {
    /// Where its flags belong unless it names an environment itself.
    pub environment: EnvironmentName,
    /// The file's identity: its name as the user gave it.
    pub source: String,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// The flags and segments in it that can be read.
    pub file: FlagFile,
    /// The flags in it that cannot: they keep their last good definition.
    pub bad: BTreeSet<FlagId>,
    /// Keys of flags in it that cannot, whose flag set is not clear.
    pub bad_keys: BTreeSet<String>,
    /// The segments in it that cannot.
    pub bad_segments: BTreeSet<String>,
    /// The flags' own sources (`Definition::source`) that could not be read, each with those that win over it: what came
    /// from it stays as it is, unless one of those says something else.
    pub unread: BTreeMap<String, BTreeSet<String>>,
    /// Where everything stands, for what is found when it is compiled.
    pub places: Places,
    /// Whether it may delete more than a fifth of the flags that came from it.
    pub allow_deletes: bool,
}

/// A token to register.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its public identifier.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// The hash of its secret.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
    /// Where it may do it.
    pub environments: Environments,
    /// When it ends by itself.
    pub expires: Option<Timestamp>,
}

/// How safe an acknowledged change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In the journal: it survives a power cut.
    Journal,
    /// In this node's pending file: it survives a power cut, and enters the journal when that can be written again.
    Node,
    /// Only in memory: it is in force, and a restart before the journal recovers would lose it.
    Memory,
}

/// What happened to one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It did not exist before.
    Created,
    /// It was another before.
    Changed,
    /// It is gone.
    Deleted,
    /// It serves its safe variant now.
    Killed,
    /// It serves by its definition again.
    Restored,
    /// It was so already.
    Unchanged,
}

/// One object and what happened to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Touched {
    /// `flag`, `segment`, `environment` or `token`.
    pub kind: &'static str,
    /// The flag set, for flags that belong to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag_set: Option<String>,
    /// Its key, name or identifier.
    pub key: String,
    /// What happened.
    pub effect: Effect,
}

impl Touched {
    /// What happened to a flag.
    pub fn flag(id: &FlagId, effect: Effect) -> Self {
        let flag_set = id.flag_set.as_ref().map(ToString::to_string);
        Self { kind: "flag", flag_set, key: id.key.to_string(), effect }
    }

    /// What happened to another named object.
    pub fn named(kind: &'static str, key: &(impl ToString + ?Sized), effect: Effect) -> Self {
        Self { kind, flag_set: None, key: key.to_string(), effect }
    }
}

/// The answer to a command that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The journal revision that holds it; none for a dry run, for nothing to do, and until a kill is journaled.
    pub revision: Option<Revision>,
    /// The kill lane's generation, for kills and restores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// How safe it is.
    pub durability: Durability,
    /// Whether this is the answer to an earlier call with the same idempotency key.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// What happened to which object.
    pub objects: Vec<Touched>,
    /// What is worth knowing though nothing was refused: warnings, and flags of a file that kept their last good form.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Outcome {
    /// The answer where there was nothing to do.
    pub fn nothing(objects: Vec<Touched>) -> Self {
        Self {
            revision: None,
            generation: None,
            durability: Durability::Journal,
            replayed: false,
            objects,
            notes: Vec::new(),
        }
    }
}
