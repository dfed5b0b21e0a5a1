//! The text of a last-known-good file: one line that says what it is and names the SHA-256 of everything after it, then
//! one JSON document per line: where the copy is, the kills, the objects as they were sent.
//!
//! A reader takes all of it or nothing. It knows no folder and no disk.

use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::eval::fractional::FractionalHash;
use crate::flag::key::{FlagId, FlagKey, FlagSetName};
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::{Generation, Revision};
use crate::sync::kills::HeldKills;
use crate::sync::limits::{KILL_ENTRIES_MAX, OBJECTS_MAX};
use crate::sync::object::{ObjectKey, ObjectState};
use crate::sync::objects::Objects;
use crate::sync::replica::{Kept, Place};

/// How every file of this format begins.
const MAGIC: &str = "rampart-kept-flags 1 sha256:";

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatFault {
    /// It is something else, or of another version.
    #[error("it does not begin with {MAGIC:?}")]
    Foreign,
    /// It was cut off or changed.
    #[error("its content is not what its digest says: it was cut off or changed")]
    Damaged,
    /// It is whole, and says what cannot be.
    #[error("line {line} cannot be read: {what}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong. It repeats nothing of the content.
        what: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    environment: String,
    epoch: String,
    revision: u64,
    digest: String,
    fractional_hash: String,
    kill_epoch: Option<String>,
    kill_generation: u64,
    kill_complete_to: u64,
    kills: usize,
    objects: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kill<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    flag_set: Option<std::borrow::Cow<'a, str>>,
    key: std::borrow::Cow<'a, str>,
    generation: u64,
    killed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    kind: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flag_set: Option<String>,
    key: String,
    revision: u64,
    payload: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allocation: Option<Bytes>,
}

/// Bytes that are text but for objects of kinds to come.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Raw(Vec<u8>),
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        std::str::from_utf8(bytes).map_or_else(|_| Self::Raw(bytes.to_vec()), |text| Self::Text(text.to_owned()))
    }

    fn into_shared(self) -> Arc<[u8]> {
        match self {
            Self::Text(text) => text.into_bytes().into(),
            Self::Raw(bytes) => bytes.into(),
        }
    }
}

/// The file that keeps a copy.
pub fn write(kept: &Kept) -> Vec<u8> {
    let mut body = Vec::new();
    let mut line = |document: &dyn erased::Line| document.put(&mut body);
    let marks: Vec<_> = kept.kills.kills().marks().collect();
    line(&Head {
        environment: kept.environment.to_string(),
        epoch: hex(&kept.place.epoch),
        revision: kept.place.revision.0,
        digest: hex(&kept.place.digest),
        fractional_hash: word_of(kept.fractional_hash).to_owned(),
        kill_epoch: kept.kills.epoch().map(|epoch| hex(&epoch)),
        kill_generation: kept.kills.generation().0,
        kill_complete_to: kept.kills.complete_to().0,
        kills: marks.len(),
        objects: kept.objects.len(),
    });
    for (flag, mark) in marks {
        line(&Kill {
            flag_set: flag.flag_set.as_ref().map(|name| name.as_str().into()),
            key: flag.key.as_str().into(),
            generation: mark.generation.0,
            killed: mark.killed,
        });
    }
    for state in kept.objects.full() {
        line(&Object {
            kind: state.key.kind(),
            flag_set: state.key.flag_set().map(str::to_owned),
            key: state.key.key().to_owned(),
            revision: state.revision.0,
            payload: Bytes::of(&state.payload),
            allocation: state.allocation.as_deref().map(Bytes::of),
        });
    }
    let mut file = format!("{MAGIC}{}\n", hex(&Sha256::digest(&body))).into_bytes();
    file.extend(body);
    file
}

/// Writing any of the documents above.
mod erased {
    use serde::Serialize;

    pub(super) trait Line {
        fn put(&self, out: &mut Vec<u8>);
    }

    impl<T: Serialize> Line for T {
        fn put(&self, out: &mut Vec<u8>) {
            serde_json::to_writer(&mut *out, self).expect("numbers and texts become JSON, and memory takes all");
            out.push(b'\n');
        }
    }
}

/// The copy that a file keeps.
///
/// # Errors
/// It is no such file, it is not whole, or it says what cannot be.
pub fn read(file: &[u8]) -> Result<Kept, FormatFault> {
    let rest = file.strip_prefix(MAGIC.as_bytes()).ok_or(FormatFault::Foreign)?;
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or(FormatFault::Damaged)?;
    let (digest, body) = (&rest[..end], &rest[end + 1..]);
    if hex(&Sha256::digest(body)).as_bytes() != digest {
        return Err(FormatFault::Damaged);
    }
    let mut lines = Lines { body, line: 1 };
    let head: Head = lines.next()?;
    if head.kills > KILL_ENTRIES_MAX || head.objects > OBJECTS_MAX {
        return Err(lines.fault("it announces more than a client takes"));
    }
    let mut kills = KillSet::default();
    for _ in 0..head.kills {
        let kill: Kill<'_> = lines.next()?;
        let mark = KillMark { generation: Generation(kill.generation), killed: kill.killed };
        kills.merge(&flag(&kill).ok_or_else(|| lines.fault("a name that this version does not take"))?, mark);
    }
    let mut objects = Objects::default();
    for _ in 0..head.objects {
        let object: Object = lines.next()?;
        objects = objects.put(ObjectState {
            key: ObjectKey::from_parts(object.kind, object.flag_set.as_deref(), &object.key),
            revision: Revision(object.revision),
            payload: object.payload.into_shared(),
            allocation: object.allocation.map(Bytes::into_shared),
        });
    }
    let here =
        |text: &str| sixteen(text).ok_or(FormatFault::Line { line: 2, what: "32 hexadecimal digits are missing" });
    let (generation, complete_to) = (Generation(head.kill_generation), Generation(head.kill_complete_to));
    Ok(Kept {
        environment: Arc::from(head.environment),
        place: Place { epoch: here(&head.epoch)?, revision: Revision(head.revision), digest: here(&head.digest)? },
        objects,
        kills: match head.kill_epoch {
            Some(epoch) => HeldKills::kept(here(&epoch)?, generation, complete_to, kills),
            None => HeldKills::default(),
        },
        fractional_hash: FractionalHash::named(&head.fractional_hash)
            .ok_or(FormatFault::Line { line: 2, what: "a generation of fractional that this version does not know" })?,
    })
}

/// What is left to read.
struct Lines<'a> {
    body: &'a [u8],
    line: usize,
}

impl<'a> Lines<'a> {
    fn next<T: Deserialize<'a>>(&mut self) -> Result<T, FormatFault> {
        self.line += 1;
        let end = self.body.iter().position(|byte| *byte == b'\n').ok_or_else(|| self.fault("it is missing"))?;
        let line = &self.body[..end];
        self.body = &self.body[end + 1..];
        serde_json::from_slice(line).map_err(|_| self.fault("it is not the document that is expected here"))
    }

    fn fault(&self, what: &'static str) -> FormatFault {
        FormatFault::Line { line: self.line, what }
    }
}

fn flag(kill: &Kill<'_>) -> Option<FlagId> {
    let flag_set = kill.flag_set.as_deref().map(FlagSetName::new).transpose().ok()?;
    Some(FlagId { flag_set, key: FlagKey::new(&kill.key).ok()? })
}

fn word_of(hash: FractionalHash) -> &'static str {
    FractionalHash::ALL.iter().find(|(_, one)| *one == hash).map_or("", |(word, _)| word)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn sixteen(text: &str) -> Option<[u8; 16]> {
    (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten().map(u128::to_be_bytes)
}

#[cfg(test)]
pub(in crate::client) mod tests {
    use super::*;

    /// A copy at a revision, with one flag, one object of a kind to come, a kill and a restore.
    pub(in crate::client) fn kept(revision: u64) -> Kept {
        let payload = br#"{"defaultVariant":"on","variants":{"off":false,"on":true}}"#;
        let state = |key, payload: &[u8]| ObjectState {
            key,
            revision: Revision(revision),
            payload: payload.into(),
            allocation: Some(b"{\"on\":5}".as_slice().into()),
        };
        let objects = Objects::default()
            .put(state(ObjectKey::from_parts(1, Some("shop"), "grün"), payload))
            .put(ObjectState { allocation: None, ..state(ObjectKey::from_parts(77, None, "x"), &[0xFF, 0, 1]) });
        let mut kills = KillSet::default();
        for (name, generation, killed) in [("grün", 70, true), ("gone", 90, false)] {
            let flag = FlagId { flag_set: Some(FlagSetName::new("shop").unwrap()), key: FlagKey::new(name).unwrap() };
            kills.merge(&flag, KillMark { generation: Generation(generation), killed });
        }
        Kept {
            environment: Arc::from("production"),
            place: Place { epoch: [7; 16], revision: Revision(revision), digest: [9; 16] },
            objects,
            kills: HeldKills::kept([7; 16], Generation(90), Generation(80), kills),
            fractional_hash: FractionalHash::V3,
        }
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let kept = kept(5);
        let again = read(&write(&kept)).unwrap();
        assert_eq!((again.place, &again.kills, again.fractional_hash), (kept.place, &kept.kills, kept.fractional_hash));
        assert_eq!(again.environment, kept.environment);
        assert_eq!(again.objects.set_hash(), kept.objects.set_hash(), "byte for byte");
        assert_eq!(write(&again).len(), write(&kept).len());
    }

    #[test]
    fn a_file_is_used_whole_or_not_at_all() {
        let file = write(&kept(5));
        for end in 0..file.len() {
            let fault = read(&file[..end]).unwrap_err();
            assert!(matches!(fault, FormatFault::Foreign | FormatFault::Damaged), "cut at {end}: {fault}");
        }
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(read(&changed).is_err(), "changed at {at}");
        }
        assert_eq!(read(b"{\"flags\": {}}").unwrap_err(), FormatFault::Foreign);
    }

    #[test]
    fn a_file_with_a_right_digest_may_still_say_what_cannot_be() {
        let seal = |body: &str| format!("{MAGIC}{}\n{body}", hex(&Sha256::digest(body.as_bytes()))).into_bytes();
        let file = String::from_utf8(write(&kept(5))).unwrap();
        let body = file.split_once('\n').unwrap().1;
        for (from, to) in [
            ("\"v3\"", "\"v9\""),
            ("\"objects\":2", "\"objects\":3"),
            ("\"objects\":2", "\"objects\":9999999"),
            ("0707", "zz07"),
            ("\"kind\":1", "\"kind\":-1"),
        ] {
            let fault = read(&seal(&body.replacen(from, to, 1))).unwrap_err();
            assert!(matches!(fault, FormatFault::Line { .. }), "{from} → {to}: {fault}");
        }
    }
}
