//! `head`: the last head that was acknowledged, kept beside the database, so that a database that lost its tail is
//! noticed. It is written after the commit and before the answer.
//!
//! Two slots of 4,096 bytes, written in turn and in place: a torn write can only hurt the slot that was being written,
//! and no write needs space on the disk. A slot is one line of text, padded with spaces:
//! `rampart-head 1 <sequence> <revision> <epoch> <hash> <sum>`, where the sum is SHA-256 of the line before it
//! (its last space included), all in lower-case hexadecimal. The valid slot with the larger sequence counts.
//! It is a witness and no truth: nothing is ever restored from it.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::folder::{open_private, replace_private};
use crate::flag::time::Revision;
use crate::world::digest::Digest;
use crate::world::record::Head;

/// The file's name inside the data folder.
pub const NAME: &str = "head";
const MARK: &str = "rampart-head";
const FORM: &str = "1";
const SLOT_BYTES: usize = 4096;
const SLOTS: u64 = 2;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is no file.
    Missing,
    /// There is one, and neither slot can be read.
    Damaged,
    /// The head that was acknowledged last.
    Acknowledged(Head),
}

/// The file, open for writing.
#[derive(Debug)]
pub struct HeadFile {
    file: File,
    sequence: u64,
}

impl HeadFile {
    /// Opens the file for writing; creates it with that head, durably, where it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(folder: &Path, head: &Head) -> io::Result<Self> {
        let path = folder.join(NAME);
        if !path.exists() {
            let mut bytes = slot(0, head);
            bytes.resize(SLOT_BYTES * 2, b' ');
            replace_private(&path, &bytes)?;
        }
        let sequence = newest(&std::fs::read(&path)?).map_or(0, |(sequence, _)| sequence);
        Ok(Self { file: open_private(&path)?, sequence })
    }

    /// Makes a head durable.
    ///
    /// # Errors
    /// What the system says; the older slot still holds the head before.
    pub fn write(&mut self, head: &Head) -> io::Result<()> {
        self.sequence += 1;
        self.file.seek(SeekFrom::Start(self.sequence % SLOTS * SLOT_BYTES as u64))?;
        self.file.write_all(&slot(self.sequence, head))?;
        self.file.sync_data()
    }
}

/// What the file in a data folder says.
///
/// # Errors
/// What the system says, unless it says that there is no file.
pub fn read(folder: &Path) -> io::Result<Found> {
    match std::fs::read(path(folder)) {
        Ok(bytes) => Ok(newest(&bytes).map_or(Found::Damaged, |(_, head)| Found::Acknowledged(head))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Missing),
        Err(error) => Err(error),
    }
}

/// Where the file is.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

fn slot(sequence: u64, head: &Head) -> Vec<u8> {
    let line = format!("{MARK} {FORM} {sequence} {} {} {} ", head.revision, head.epoch, head.hash);
    let mut bytes = format!("{line}{}", sum(&line)).into_bytes();
    bytes.resize(SLOT_BYTES - 1, b' ');
    bytes.push(b'\n');
    bytes
}

fn newest(bytes: &[u8]) -> Option<(u64, Head)> {
    bytes.chunks(SLOT_BYTES).filter_map(read_slot).max_by_key(|(sequence, _)| *sequence)
}

fn read_slot(bytes: &[u8]) -> Option<(u64, Head)> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end();
    let (line, found) = text.split_at_checked(text.rfind(' ')? + 1)?;
    let [mark, form, sequence, revision, epoch, hash] = line.trim_end().split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    if (mark, form) != (MARK, FORM) || found.parse() != Ok(sum(line)) {
        return None;
    }
    let head =
        Head { epoch: epoch.parse().ok()?, revision: Revision(revision.parse().ok()?), hash: hash.parse().ok()? };
    Some((sequence.parse().ok()?, head))
}

fn sum(line: &str) -> Digest {
    Digest(Sha256::digest(line.as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::digest::Epoch;

    fn head(revision: u64) -> Head {
        Head { epoch: Epoch([7; 16]), revision: Revision(revision), hash: Digest([revision as u8; 32]) }
    }

    #[test]
    fn the_last_write_counts_and_a_torn_one_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap(), Found::Missing);
        let mut file = HeadFile::open(folder.path(), &head(0)).unwrap();
        for revision in 1..=5 {
            file.write(&head(revision)).unwrap();
            assert_eq!(read(folder.path()).unwrap(), Found::Acknowledged(head(revision)));
        }
        let whole = std::fs::read(path(folder.path())).unwrap();
        assert_eq!(whole.len(), SLOT_BYTES * 2);
        let line = whole[SLOT_BYTES..].split(|byte| *byte == b' ').map(<[u8]>::len).take(7).sum::<usize>() + 6;
        for at in SLOT_BYTES..SLOT_BYTES + line {
            let mut torn = whole.clone();
            torn[at] ^= 1;
            std::fs::write(path(folder.path()), &torn).unwrap();
            assert_eq!(read(folder.path()).unwrap(), Found::Acknowledged(head(4)), "byte {at}");
        }
        std::fs::write(path(folder.path()), b"").unwrap();
        assert_eq!(read(folder.path()).unwrap(), Found::Damaged);
    }

    #[test]
    fn reopening_goes_on_counting() {
        let folder = tempfile::tempdir().unwrap();
        HeadFile::open(folder.path(), &head(0)).unwrap().write(&head(1)).unwrap();
        HeadFile::open(folder.path(), &head(9)).unwrap().write(&head(2)).unwrap();
        assert_eq!(read(folder.path()).unwrap(), Found::Acknowledged(head(2)));
    }
}
