//! A world as bytes and back: what makes restarts fast. A cache that can always be rebuilt from the journal.
//!
//! The form is one line, `rampart-checkpoint <form> <version> <digest>`, then the world as canonical JSON; the digest is
//! SHA-256 of that JSON. A checkpoint of another form or another version of Rampart is of no use, since the fold may
//! have learned something: it is left aside and the journal folded from its beginning. The JSON alone ([`to_json`]) is
//! what the published vectors compare: parts that are empty and came later are left out of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::canonical;
use super::digest::Digest;
use super::environment::{Environment, FlagState, ObjectName, SegmentState};
use super::fold::{Answered, SourceState, TokenState, World};
use super::record::{Head, WRITER};
use crate::access::policy::DataPlaneAuth;
use crate::flag::key::{EnvironmentName, FlagId, SegmentName};
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::Revision;

const MARK: &str = "rampart-checkpoint";
const FORM: &str = "1";

/// Why bytes are not a checkpoint that this version can use.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointFault {
    /// Another form, or written by another version.
    #[error("the checkpoint was written by another version of Rampart")]
    Foreign,
    /// The bytes are not those that were written.
    #[error("the checkpoint is damaged: {0}")]
    Damaged(&'static str),
    /// The bytes are those that were written, and still cannot be read.
    #[error("the checkpoint cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

/// The bytes of a checkpoint.
pub fn encode(world: &World) -> Vec<u8> {
    let json = to_json(world);
    let digest = digest_of(json.as_bytes());
    format!("{MARK} {FORM} {WRITER} {digest}\n{json}").into_bytes()
}

/// The world in a checkpoint.
///
/// # Errors
/// Why it is of no use; the journal has everything that it had.
pub fn decode(bytes: &[u8]) -> Result<World, CheckpointFault> {
    let line = bytes.iter().position(|byte| *byte == b'\n').ok_or(CheckpointFault::Damaged("it has no first line"))?;
    let (line, json) = (&bytes[..line], &bytes[line + 1..]);
    let line = std::str::from_utf8(line).map_err(|_| CheckpointFault::Damaged("its first line is not text"))?;
    let [mark, form, version, digest] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(CheckpointFault::Damaged("its first line has not four words"));
    };
    if (mark, form, version) != (MARK, FORM, WRITER) {
        return Err(CheckpointFault::Foreign);
    }
    if digest.parse() != Ok(digest_of(json)) {
        return Err(CheckpointFault::Damaged("its digest does not match"));
    }
    let form: WorldForm = serde_json::from_slice(json).map_err(CheckpointFault::Unreadable)?;
    Ok(form.into_world())
}

/// The world as canonical JSON.
pub fn to_json(world: &World) -> String {
    canonical::to_text(&WorldForm::of(world)).expect("the maps of the form have texts as keys")
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WorldForm {
    head: Head,
    environments: BTreeMap<EnvironmentName, EnvironmentForm>,
    departed: BTreeMap<EnvironmentName, Revision>,
    kills: BTreeMap<EnvironmentName, Vec<Named<FlagId, KillMark>>>,
    tokens: BTreeMap<String, TokenState>,
    sources: BTreeMap<String, SourceState>,
    requests: Vec<RequestForm>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EnvironmentForm {
    production: bool,
    data_plane_auth: DataPlaneAuth,
    created: Revision,
    revision: Revision,
    flags: Vec<Named<FlagId, FlagState>>,
    segments: BTreeMap<SegmentName, SegmentState>,
    gone_flags: Vec<Named<FlagId, Revision>>,
    gone_segments: BTreeMap<SegmentName, Revision>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Named<N, S> {
    name: N,
    state: S,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestForm {
    token: String,
    key: String,
    answer: Answered,
}

impl WorldForm {
    fn of(world: &World) -> Self {
        let requests = world.requests.iter().map(|((token, key), answer)| RequestForm {
            token: token.clone(),
            key: key.clone(),
            answer: answer.clone(),
        });
        Self {
            head: world.head,
            environments: world
                .environments
                .iter()
                .map(|(name, held)| (name.clone(), EnvironmentForm::of(held)))
                .collect(),
            departed: world.departed.clone(),
            kills: world.kills.iter().map(|(name, kills)| (name.clone(), marks(kills))).collect(),
            tokens: world.tokens.clone(),
            sources: world.sources.clone(),
            requests: requests.collect(),
        }
    }

    fn into_world(self) -> World {
        let mut world = World::empty(self.head.epoch);
        world.head = self.head;
        world.environments =
            self.environments.into_iter().map(|(name, form)| (name, form.into_environment())).collect();
        world.departed = self.departed;
        for (name, marks) in self.kills {
            let kills = world.kills.entry(name).or_default();
            for mark in marks {
                kills.merge(&mark.name, mark.state);
            }
        }
        world.tokens = self.tokens;
        world.sources = self.sources;
        for request in self.requests {
            world.remember_answer((request.token, request.key), request.answer);
        }
        world
    }
}

impl EnvironmentForm {
    fn of(held: &Environment) -> Self {
        let flags = held.flags().iter().map(|(name, state)| Named { name: name.clone(), state: state.clone() });
        let mut form = Self {
            production: held.production,
            data_plane_auth: held.data_plane_auth,
            created: held.created,
            revision: held.revision,
            flags: flags.collect(),
            segments: held.segments().clone(),
            gone_flags: Vec::new(),
            gone_segments: BTreeMap::new(),
        };
        for (name, revision) in held.tombstones() {
            match name {
                ObjectName::Flag(flag) => form.gone_flags.push(Named { name: flag.clone(), state: *revision }),
                ObjectName::Segment(name) => {
                    form.gone_segments.insert(name.clone(), *revision);
                }
            }
        }
        form
    }

    fn into_environment(self) -> Environment {
        let mut held = Environment::new(self.production, self.data_plane_auth, self.created);
        held.revision = self.revision;
        for flag in self.flags {
            held.place_flag(flag.name, flag.state);
        }
        for (name, state) in self.segments {
            held.place_segment(name, state);
        }
        for gone in self.gone_flags {
            held.place_tombstone(ObjectName::Flag(gone.name), gone.state);
        }
        for (name, revision) in self.gone_segments {
            held.place_tombstone(ObjectName::Segment(name), revision);
        }
        held
    }
}

fn marks(kills: &KillSet) -> Vec<Named<FlagId, KillMark>> {
    let mut marks: Vec<_> = kills.marks().map(|(flag, mark)| Named { name: flag.clone(), state: mark }).collect();
    marks.sort_by(|left, right| left.name.cmp(&right.name));
    marks
}

#[cfg(test)]
mod tests {
    use super::super::samples::{EPOCH, records};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_world_reads_back_from_its_checkpoint_and_folds_on_the_same(chain in records(), split in 0usize..24) {
            let mut straight = World::empty(EPOCH);
            let mut stopped = World::empty(EPOCH);
            for (at, sealed) in chain.iter().enumerate() {
                if at == split {
                    stopped = decode(&encode(&stopped)).unwrap();
                }
                straight.apply(&sealed.record);
                stopped.apply(&sealed.record);
            }
            prop_assert_eq!(&stopped, &straight);
            prop_assert_eq!(&decode(&encode(&straight)).unwrap(), &straight);
        }

        #[test]
        fn no_altered_byte_is_read_as_a_checkpoint(chain in records(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut world = World::empty(EPOCH);
            chain.iter().for_each(|sealed| world.apply(&sealed.record));
            let mut bytes = encode(&world);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode(&bytes).is_err());
            prop_assert!(decode(&bytes[..at]).is_err());
        }
    }
}
