//! Every way the world may change: one enum, one variant per fact.
//!
//! As JSON a change is an object whose `kind` is the variant's name in snake_case; fields are in camelCase, absent where
//! they are none, and unknown fields are refused, so that an older Rampart never folds half of what a newer one meant.
//! This is for life: kinds are added, never changed and never reused. Changes are facts that were checked before they
//! were recorded; nothing here decides whether they may happen.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::digest::{Digest, Epoch};
use crate::access::policy::DataPlaneAuth;
use crate::flag::definition::{Allocation, Definition, Segment};
use crate::flag::key::{EnvironmentName, FlagId, SegmentName};
use crate::flag::time::{Generation, Revision, Timestamp};

/// One fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Change {
    /// An environment was created or its settings replaced.
    EnvironmentPut {
        /// Which one.
        environment: EnvironmentName,
        /// Whether it counts as production: approvals and warnings depend on it.
        production: bool,
        /// Whether the data plane asks for a token.
        data_plane_auth: DataPlaneAuth,
    },
    /// An environment went away with all its flags and segments. Its kill marks stay, so that an environment of the
    /// same name cannot bring a killed flag back.
    EnvironmentDeleted {
        /// Which one.
        environment: EnvironmentName,
    },
    /// A flag was created or its definition replaced. Never touches its allocation or a kill.
    FlagPut {
        /// Where.
        environment: EnvironmentName,
        /// Which flag.
        flag: FlagId,
        /// The whole new definition.
        definition: Arc<Definition>,
        /// Where the definition came from.
        origin: Origin,
    },
    /// A flag went away with its allocation; its kill mark stays.
    FlagDeleted {
        /// Where.
        environment: EnvironmentName,
        /// Which flag.
        flag: FlagId,
        /// Who took it away.
        origin: Origin,
    },
    /// A segment was created or replaced.
    SegmentPut {
        /// Where.
        environment: EnvironmentName,
        /// Which segment.
        segment: SegmentName,
        /// The whole new segment.
        definition: Arc<Segment>,
        /// Where it came from.
        origin: Origin,
    },
    /// A segment went away.
    SegmentDeleted {
        /// Where.
        environment: EnvironmentName,
        /// Which segment.
        segment: SegmentName,
        /// Who took it away.
        origin: Origin,
    },
    /// A rollout took over a flag's percentages, changed them, or (none) gave them back to the definition.
    AllocationSet {
        /// Where.
        environment: EnvironmentName,
        /// Which flag.
        flag: FlagId,
        /// The percentages in force from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allocation: Option<Allocation>,
    },
    /// A flag was killed: it serves its safe variant whatever else is true, and an allocation drops to 0 %.
    FlagKilled {
        /// Where.
        environment: EnvironmentName,
        /// Which flag; it need not exist.
        flag: FlagId,
        /// The kill's place in the kill lane.
        generation: Generation,
    },
    /// A kill was undone; an allocation stays at 0 %.
    FlagRestored {
        /// Where.
        environment: EnvironmentName,
        /// Which flag.
        flag: FlagId,
        /// The restore's own place in the kill lane, after `undoes`.
        generation: Generation,
        /// The kill that it undoes.
        undoes: Generation,
    },
    /// A token was issued, at the record's time.
    TokenIssued {
        /// The public half, never reused.
        id: String,
        /// What people call it.
        name: String,
        /// SHA-256 of the secret half.
        secret_hash: Digest,
        /// The words of its access scopes, as `access` spells them.
        scopes: Vec<String>,
        /// Where it may be used.
        environments: Reach,
        /// From when it no longer counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// A token stopped counting, at the record's time.
    TokenRevoked {
        /// The token's public half.
        id: String,
    },
    /// A flag file was taken in, so that the next start can tell whether it changed since.
    SourceImported {
        /// The source's identity: its path as configured.
        source: String,
        /// The environment it was taken into.
        environment: EnvironmentName,
        /// SHA-256 of the file's bytes.
        digest: Digest,
    },
    /// Who had confirmed a kill or a restore when its receipts were collected: everybody, or as far as it got in the
    /// time that was given. What one node saw; changes nothing.
    PropagationObserved {
        /// Where.
        environment: EnvironmentName,
        /// The kill or restore.
        generation: Generation,
        /// Who had, and how long it took.
        propagation: Propagation,
    },
    /// A new epoch begins with this record: an operator accepted that later revisions of the old one are lost.
    EpochStarted {
        /// The epoch that ended.
        ended: Epoch,
        /// The last revision of the ended epoch that is known to have been acknowledged; those after this record's
        /// predecessor are lost.
        lost_through: Revision,
    },
    /// A payload of an earlier record was erased by law; written before the bytes go, so that an erasure without it is
    /// known for a forgery.
    PayloadErased {
        /// The record.
        revision: Revision,
        /// The payload's place in it, from 0.
        payload: u32,
    },
}

impl Change {
    /// Every kind this Rampart can fold. A record that holds another is refused with the version that wrote it.
    pub const KINDS: [&'static str; 15] = [
        "environment_put",
        "environment_deleted",
        "flag_put",
        "flag_deleted",
        "segment_put",
        "segment_deleted",
        "allocation_set",
        "flag_killed",
        "flag_restored",
        "token_issued",
        "token_revoked",
        "source_imported",
        "propagation_observed",
        Self::EPOCH_STARTED,
        Self::PAYLOAD_ERASED,
    ];
    /// The kinds that may hold what a law wants erased: what people wrote. Only what a later record took the place of
    /// should be erased, since a fold skips what is gone.
    pub const ERASABLE: [&'static str; 4] = ["flag_put", "segment_put", "token_issued", "source_imported"];
    /// The kind of [`Change::EpochStarted`], which the chain itself looks for.
    pub const EPOCH_STARTED: &'static str = "epoch_started";
    /// The kind of [`Change::PayloadErased`], which the chain itself looks for.
    pub const PAYLOAD_ERASED: &'static str = "payload_erased";

    /// The word for this kind of change, as `kind` has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::EnvironmentPut { .. } => "environment_put",
            Self::EnvironmentDeleted { .. } => "environment_deleted",
            Self::FlagPut { .. } => "flag_put",
            Self::FlagDeleted { .. } => "flag_deleted",
            Self::SegmentPut { .. } => "segment_put",
            Self::SegmentDeleted { .. } => "segment_deleted",
            Self::AllocationSet { .. } => "allocation_set",
            Self::FlagKilled { .. } => "flag_killed",
            Self::FlagRestored { .. } => "flag_restored",
            Self::TokenIssued { .. } => "token_issued",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::SourceImported { .. } => "source_imported",
            Self::PropagationObserved { .. } => "propagation_observed",
            Self::EpochStarted { .. } => Self::EPOCH_STARTED,
            Self::PayloadErased { .. } => Self::PAYLOAD_ERASED,
        }
    }

    /// The environment it concerns; none for tokens and the journal's own affairs.
    pub fn environment(&self) -> Option<&EnvironmentName> {
        match self {
            Self::EnvironmentPut { environment, .. }
            | Self::EnvironmentDeleted { environment }
            | Self::FlagPut { environment, .. }
            | Self::FlagDeleted { environment, .. }
            | Self::SegmentPut { environment, .. }
            | Self::SegmentDeleted { environment, .. }
            | Self::AllocationSet { environment, .. }
            | Self::FlagKilled { environment, .. }
            | Self::FlagRestored { environment, .. }
            | Self::SourceImported { environment, .. }
            | Self::PropagationObserved { environment, .. } => Some(environment),
            Self::TokenIssued { .. }
            | Self::TokenRevoked { .. }
            | Self::EpochStarted { .. }
            | Self::PayloadErased { .. } => None,
        }
    }

    /// The flag it concerns, if it concerns one.
    pub fn flag(&self) -> Option<&FlagId> {
        match self {
            Self::FlagPut { flag, .. }
            | Self::FlagDeleted { flag, .. }
            | Self::AllocationSet { flag, .. }
            | Self::FlagKilled { flag, .. }
            | Self::FlagRestored { flag, .. } => Some(flag),
            _ => None,
        }
    }
}

/// How far something had got among the subscribers of one node. Counts of clients, and microseconds from publish to
/// receipt; 0 where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Propagation {
    /// All that were counted: the sum of the next six.
    pub subscribers: u64,
    /// They had it, with the server's set hash.
    pub confirmed: u64,
    /// They came later, and had it.
    pub late_joined: u64,
    /// Connected, and not yet.
    pub pending: u64,
    /// Applied, with something that they could not use.
    pub rejected: u64,
    /// Connected, and without acknowledgements.
    pub unconfirmable: u64,
    /// Lost without a word, and not yet.
    pub disconnected: u64,
    /// To the first receipt.
    pub first_us: u64,
    /// To the median receipt.
    pub p50_us: u64,
    /// To the 99th percentile of receipts.
    pub p99_us: u64,
    /// To the last receipt.
    pub max_us: u64,
}

/// Where an object came from: `"api"` or `{"file": {"source": …}}`. A file takes away only what came from that file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// The admin API, a command or the console.
    Api,
    /// A flag file.
    File {
        /// The file's identity, as [`Change::SourceImported`] has it.
        source: String,
    },
}

/// Where a token may be used: `"all"` or a list of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// In every environment, also in those that come later.
    All,
    /// In these only.
    Only(BTreeSet<EnvironmentName>),
}

impl Reach {
    /// Whether it holds an environment.
    pub fn includes(&self, environment: &EnvironmentName) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(environment),
        }
    }
}

impl Serialize for Reach {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Only(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Reach {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ReachVisitor;
        impl<'de> Visitor<'de> for ReachVisitor {
            type Value = Reach;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\" or a list of environment names")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reach, E> {
                if text == "all" { Ok(Reach::All) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Reach, A::Error> {
                let mut set = BTreeSet::new();
                while let Some(name) = names.next_element()? {
                    set.insert(name);
                }
                Ok(Reach::Only(set))
            }
        }
        deserializer.deserialize_any(ReachVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::canonical;
    use super::super::samples::change;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_change_reads_back_from_its_json_and_names_its_kind(change in change()) {
            let text = canonical::to_text(&change).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Change>(&text).unwrap(), &change);
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&value["kind"], change.kind());
            prop_assert!(Change::KINDS.contains(&change.kind()));
        }
    }

    #[test]
    fn what_this_version_does_not_know_is_refused_and_never_dropped() {
        for text in [
            r#"{"kind":"token_revoked","id":"a","why":"new field"}"#,
            r#"{"kind":"stage_entered"}"#,
            r#"{"kind":"token_revoked"}"#,
            r#"{"kind":"flag_deleted","environment":"a","flag":{"key":"k"},"origin":{"relay":{}}}"#,
            r#"{"kind":"flag_deleted","environment":"a","flag":{"key":"k"},"origin":{"file":{"source":"s","x":1}}}"#,
        ] {
            assert!(serde_json::from_str::<Change>(text).is_err(), "{text}");
        }
    }
}
