//! `kills.pending`: kills that were applied and acknowledged while the journal could not take them.
//!
//! The file has its full size from the start and is written in place, so a kill fits on a full disk. It is a row of
//! slots of 1,024 bytes, one kill each:
//!
//! | bytes | what |
//! |---|---|
//! | 32 | SHA-256 of the rest of the slot's used part |
//! | 2 | length of what follows |
//! | 8, 8 | generation `u64`, time `i64` in microseconds |
//! | … | environment, flag set (empty for none), key, actor kind, actor id, actor name, reason: each `u16` length and UTF-8 |
//!
//! Numbers are big-endian; unused bytes are zero. A slot whose digest does not match was torn by a crash before it was
//! acknowledged, and is free. An empty actor name or reason stands for none; a reason or name that does not fit is cut,
//! since the kill matters more. Replaying a kill twice is harmless: kills merge by generation.
//!
//! Used from one thread that may block, by whoever holds the folder's lock. Which kills are still news, and telling the
//! journal, is `control`'s work.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::folder::{open_private, replace_private};
use crate::flag::key::{EnvironmentName, FlagId, FlagKey, FlagSetName};
use crate::flag::time::{Generation, Timestamp};
use crate::world::record::Actor;

/// The file's name inside the data folder.
pub const NAME: &str = "kills.pending";
/// How many kills the file holds: more than anybody kills by tag while a disk is full, in half a mebibyte.
pub const SLOTS: usize = 512;
const SLOT_BYTES: usize = 1024;
const DIGEST_BYTES: usize = 32;
const LENGTH_BYTES: usize = 2;
/// What an identifier of an actor may have; token identifiers are far shorter.
const ACTOR_ID_BYTES: usize = 128;
/// What an actor's kind and name may have each.
const ACTOR_WORD_BYTES: usize = 48;

/// One kill that the journal does not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingKill {
    /// Where.
    pub environment: EnvironmentName,
    /// Which flag.
    pub flag: FlagId,
    /// The kill's place in the kill lane.
    pub generation: Generation,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who killed.
    pub actor: Actor,
    /// Why.
    pub reason: Option<String>,
}

/// Why a kill is not in the file.
#[derive(Debug, thiserror::Error)]
pub enum PendingFault {
    /// There are not enough free slots; none of the kills was written.
    #[error("the pending file holds {held} of {SLOTS} kills and cannot take {more} more until the journal works again")]
    Full {
        /// How many kills wait already.
        held: usize,
        /// How many were to be added.
        more: usize,
    },
    /// The file cannot be read or written. After a failed write it is not used again.
    #[error("the pending file {} cannot be used", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The open file.
#[derive(Debug)]
pub struct Pending {
    path: PathBuf,
    file: File,
    held: BTreeMap<usize, PendingKill>,
    torn: usize,
    failed: bool,
}

impl Pending {
    /// Opens the file of a data folder and reads what waits in it; creates it at full size where it is missing.
    ///
    /// # Errors
    /// Where it cannot be created, read or brought to its size: on a full disk, a missing file.
    pub fn open(folder: &Path) -> Result<Self, PendingFault> {
        let path = folder.join(NAME);
        let failed = |source| PendingFault::Failed { path: path.clone(), source };
        if !path.exists() {
            replace_private(&path, &vec![0; SLOTS * SLOT_BYTES]).map_err(failed)?;
        }
        let mut file = open_private(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() < SLOTS * SLOT_BYTES {
            file.write_all(&vec![0; SLOTS * SLOT_BYTES - bytes.len()])
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
        }
        let mut pending = Self { path, file, held: BTreeMap::new(), torn: 0, failed: false };
        for (slot, bytes) in bytes.chunks(SLOT_BYTES).take(SLOTS).enumerate() {
            match read_slot(bytes) {
                Some(kill) => {
                    pending.held.insert(slot, kill);
                }
                None => pending.torn += usize::from(bytes.iter().any(|byte| *byte != 0)),
            }
        }
        Ok(pending)
    }

    /// Makes kills durable, all of them before it returns.
    ///
    /// # Errors
    /// [`PendingFault::Full`] where they do not fit, [`PendingFault::Failed`] where the disk fails.
    pub fn put(&mut self, kills: &[PendingKill]) -> Result<(), PendingFault> {
        self.usable()?;
        let free: Vec<usize> = (0..SLOTS).filter(|slot| !self.held.contains_key(slot)).take(kills.len()).collect();
        if free.len() < kills.len() {
            return Err(PendingFault::Full { held: self.held.len(), more: kills.len() });
        }
        let slots: Vec<_> = free.iter().copied().zip(kills.iter().map(write_slot)).collect();
        self.write(&slots)?;
        self.held.extend(free.into_iter().zip(kills.iter().cloned()));
        Ok(())
    }

    /// What waits, by generation.
    pub fn entries(&self) -> Vec<&PendingKill> {
        let mut entries: Vec<_> = self.held.values().collect();
        entries.sort_by_key(|kill| kill.generation);
        entries
    }

    /// How many slots were torn by a crash when the file was opened: kills that were never acknowledged.
    pub fn torn(&self) -> usize {
        self.torn
    }

    /// Frees the slots of kills that the journal has now: all up to that generation.
    ///
    /// # Errors
    /// [`PendingFault::Failed`] where the disk fails; what stays is replayed once more, which is harmless.
    pub fn clear(&mut self, up_to: Generation) -> Result<(), PendingFault> {
        self.usable()?;
        let done: Vec<usize> =
            self.held.iter().filter(|(_, kill)| kill.generation <= up_to).map(|(slot, _)| *slot).collect();
        if done.is_empty() {
            return Ok(());
        }
        let zeros: Vec<_> = done.iter().map(|slot| (*slot, [0; SLOT_BYTES])).collect();
        self.write(&zeros)?;
        self.held.retain(|slot, _| !done.contains(slot));
        Ok(())
    }

    fn write(&mut self, slots: &[(usize, [u8; SLOT_BYTES])]) -> Result<(), PendingFault> {
        let mut write = || {
            for (slot, bytes) in slots {
                self.file.seek(SeekFrom::Start((slot * SLOT_BYTES) as u64))?;
                self.file.write_all(bytes)?;
            }
            self.file.sync_data()
        };
        write().map_err(|source| {
            // A sync that failed may claim success the second time without having written.
            self.failed = true;
            PendingFault::Failed { path: self.path.clone(), source }
        })
    }

    fn usable(&self) -> Result<(), PendingFault> {
        if self.failed {
            let source = io::Error::other("an earlier write failed; restart to open the file again");
            return Err(PendingFault::Failed { path: self.path.clone(), source });
        }
        Ok(())
    }
}

fn write_slot(kill: &PendingKill) -> [u8; SLOT_BYTES] {
    let mut body = Vec::with_capacity(SLOT_BYTES);
    body.extend(kill.generation.0.to_be_bytes());
    body.extend(kill.at.micros().to_be_bytes());
    let set = kill.flag.flag_set.as_ref().map_or("", FlagSetName::as_str);
    for name in [kill.environment.as_str(), set, kill.flag.key.as_str()] {
        push_text(&mut body, name, usize::MAX);
    }
    push_text(&mut body, &kill.actor.kind, ACTOR_WORD_BYTES);
    push_text(&mut body, &kill.actor.id, ACTOR_ID_BYTES);
    push_text(&mut body, kill.actor.name.as_deref().unwrap_or(""), ACTOR_WORD_BYTES);
    let left = SLOT_BYTES - DIGEST_BYTES - LENGTH_BYTES - body.len() - LENGTH_BYTES;
    push_text(&mut body, kill.reason.as_deref().unwrap_or(""), left);
    let mut slot = [0; SLOT_BYTES];
    let used = DIGEST_BYTES + LENGTH_BYTES + body.len();
    slot[DIGEST_BYTES..DIGEST_BYTES + LENGTH_BYTES].copy_from_slice(&short(body.len()));
    slot[DIGEST_BYTES + LENGTH_BYTES..used].copy_from_slice(&body);
    let digest = Sha256::digest(&slot[DIGEST_BYTES..used]);
    slot[..DIGEST_BYTES].copy_from_slice(&digest);
    slot
}

// The longest names and words leave some hundred bytes for the reason.
const _: () = assert!(
    DIGEST_BYTES
        + LENGTH_BYTES
        + 16
        + 7 * LENGTH_BYTES
        + crate::flag::limits::ENVIRONMENT_BYTES_MAX
        + 2 * crate::flag::limits::KEY_BYTES_MAX
        + 2 * ACTOR_WORD_BYTES
        + ACTOR_ID_BYTES
        + 128
        <= SLOT_BYTES
);

fn push_text(body: &mut Vec<u8>, text: &str, most: usize) {
    let text = &text[..text.floor_char_boundary(most)];
    body.extend(short(text.len()));
    body.extend(text.as_bytes());
}

fn short(length: usize) -> [u8; LENGTH_BYTES] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn read_slot(slot: &[u8]) -> Option<PendingKill> {
    let (digest, rest) = slot.split_at_checked(DIGEST_BYTES)?;
    let length = usize::from(u16::from_be_bytes(rest.get(..LENGTH_BYTES)?.try_into().ok()?));
    let used = rest.get(..LENGTH_BYTES + length)?;
    if Sha256::digest(used)[..] != *digest {
        return None;
    }
    let (generation, body) = used[LENGTH_BYTES..].split_first_chunk()?;
    let (at, mut body) = body.split_first_chunk()?;
    let environment = EnvironmentName::new(take_text(&mut body)?).ok()?;
    let set = take_text(&mut body)?;
    let flag_set = if set.is_empty() { None } else { Some(FlagSetName::new(set).ok()?) };
    let key = FlagKey::new(take_text(&mut body)?).ok()?;
    let (kind, id) = (take_text(&mut body)?.to_owned(), take_text(&mut body)?.to_owned());
    let mut optional = || Some(Some(take_text(&mut body)?).filter(|text| !text.is_empty()).map(str::to_owned));
    Some(PendingKill {
        environment,
        flag: FlagId { flag_set, key },
        generation: Generation(u64::from_be_bytes(*generation)),
        at: Timestamp::from_micros(i64::from_be_bytes(*at)),
        actor: Actor { kind, id, name: optional()? },
        reason: optional()?,
    })
}

fn take_text<'b>(body: &mut &'b [u8]) -> Option<&'b str> {
    let (length, rest) = body.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    *body = rest;
    std::str::from_utf8(text).ok()
}
