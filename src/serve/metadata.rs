//! What an answer says beside its value: the flag's own metadata, and what this evaluation adds to it.
//!
//! One rule for every surface that evaluates; how it looks on the wire is theirs.

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::eval::outcome::Evaluation;
use crate::flag::key::FlagSetName;

/// The value of one entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'s> {
    /// What a person wrote.
    Written(&'s Value),
    /// A name of ours.
    Text(&'s str),
    /// `true`.
    Yes,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Written(value) => value.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Yes => serializer.serialize_bool(true),
        }
    }
}

/// The entries of an answer, each name once: the flag's own, the flag set, a kill, a missing unit. Ours win over entries
/// of the same name; null says nothing, as flagd has it.
pub fn entries<'s>(evaluation: &Evaluation<'s>) -> impl Iterator<Item = (&'s str, Entry<'s>)> + use<'s> {
    let flag_set = evaluation.flag.id().flag_set.as_ref().map(FlagSetName::as_str);
    let ours = [
        flag_set.map(|name| ("flagSetId", Entry::Text(name))),
        evaluation.killed.map(|_| ("killed", Entry::Yes)),
        evaluation.no_unit.then_some(("noUnit", Entry::Yes)),
    ];
    let written = evaluation
        .flag
        .metadata()
        .iter()
        .filter(move |(name, value)| !value.is_null() && !ours.iter().flatten().any(|(held, _)| held == name));
    written.map(|(name, value)| (name.as_str(), Entry::Written(value))).chain(ours.into_iter().flatten())
}
