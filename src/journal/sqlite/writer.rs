//! The one thread that writes: it drains its queue into one transaction, so that a hundred appends cost one sync, and
//! answers after the commit and the head file.
//!
//! A full disk refuses what does not fit and goes on. After any other failure the thread refuses everything until the
//! journal is opened again: a sync that failed once may claim success the second time without having written.
//! The write-ahead log is moved into the database here and not by SQLite's own trigger, which ignores errors.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use rusqlite::{Connection, params};
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::super::error::JournalError;
use super::super::folder::{CHECKPOINT, DATABASE};
use super::super::follow;
use super::super::head_file::HeadFile;
use super::fault::{is_final, write_fault};
use super::{SharedHead, rows};
use crate::flag::time::Revision;
use crate::world::chain::is_erasable;
use crate::world::record::{Head, StoredRecord};

/// How many appends share a transaction at most; beyond it the first would wait too long for the last.
const BATCH_APPENDS: usize = 256;
/// How many bytes of the write-ahead log are moved into the database at once: some milliseconds of copying.
const LOG_BYTES: u64 = 4 * 1024 * 1024;
/// What an append costs in the log beyond its own bytes: the pages of two tables, whole.
const APPEND_LOG_BYTES: u64 = 16 * 1024;

/// What the thread is asked.
pub(super) enum Request {
    /// Append records and answer with the head after them.
    Append(Append),
    /// Erase one payload.
    Erase { revision: Revision, payload: u32, answer: SyncSender<Result<(), JournalError>> },
}

/// Records that want to be appended.
pub(super) struct Append {
    pub(super) records: Vec<StoredRecord>,
    pub(super) answer: oneshot::Sender<Result<Head, JournalError>>,
}

/// What the thread owns.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) folder: PathBuf,
    pub(super) identity: Identity,
    pub(super) head_file: HeadFile,
    pub(super) head: Arc<SharedHead>,
    pub(super) broken: Option<JournalError>,
    pub(super) log_bytes: u64,
}

impl Writer {
    /// Serves requests until nobody can ask any more.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut next = requests.recv().ok();
        while let Some(request) = next.take() {
            match request {
                Request::Append(first) => {
                    let mut batch = vec![first];
                    while batch.len() < BATCH_APPENDS {
                        match requests.try_recv() {
                            Ok(Request::Append(append)) => batch.push(append),
                            Ok(other) => {
                                next = Some(other);
                                break;
                            }
                            Err(_) => break,
                        }
                    }
                    self.append(batch);
                    self.move_log();
                }
                Request::Erase { revision, payload, answer } => {
                    // Whoever asked may have gone; the erasure stands.
                    answer.send(self.erase(revision, payload)).ok();
                }
            }
            next = next.or_else(|| requests.recv().ok());
        }
    }

    fn append(&mut self, mut batch: Vec<Append>) {
        if self.try_append(&mut batch) {
            return;
        }
        // What is too large for the disk must not take with it what still fits.
        let together = batch.len() > 1;
        for append in batch {
            let mut refused = vec![append];
            if together && self.try_append(&mut refused) {
                continue;
            }
            let full = JournalError::Full { path: self.folder.clone() };
            refused.into_iter().for_each(|append| reply(append, Err(full.clone())));
        }
    }

    /// Appends and answers a batch. False where the disk is full: nothing was written and those are left that could
    /// have been.
    fn try_append(&mut self, batch: &mut Vec<Append>) -> bool {
        let mut heads = Vec::new();
        let mut head = self.head.get();
        let mut fitting = Vec::new();
        for append in batch.drain(..) {
            match self.usable().and_then(|()| follow(head, &append.records)) {
                Ok(after) => {
                    head = after;
                    heads.push(after);
                    fitting.push(append);
                }
                Err(error) => reply(append, Err(error)),
            }
        }
        if head == self.head.get() {
            fitting.into_iter().for_each(|append| reply(append, Ok(head)));
            return true;
        }
        match self.commit(fitting.iter().flat_map(|append| &append.records), head) {
            Ok(()) => {
                self.head.set(head);
                fitting.into_iter().zip(heads).for_each(|(append, head)| reply(append, Ok(head)));
                true
            }
            Err(JournalError::Full { .. }) => {
                *batch = fitting;
                false
            }
            Err(error) => {
                self.note(&error);
                fitting.into_iter().for_each(|append| reply(append, Err(error.clone())));
                true
            }
        }
    }

    fn commit<'r>(&mut self, records: impl Iterator<Item = &'r StoredRecord>, head: Head) -> Result<(), JournalError> {
        self.identity.check(&self.folder)?;
        let fault = |error| write_fault(&self.folder, error);
        // Dropping an unfinished transaction rolls it back.
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(fault)?;
        for record in records {
            rows::insert(&transaction, record).map_err(fault)?;
            let bodies = record.payloads.iter().filter_map(|part| part.content.as_ref());
            self.log_bytes += APPEND_LOG_BYTES + bodies.map(|content| content.body.len() as u64).sum::<u64>();
        }
        transaction.commit().map_err(fault)?;
        self.identity.check(&self.folder)?;
        let unwritten = |error| JournalError::unavailable("cannot write the head file", error);
        self.head_file.write(&head).map_err(unwritten)
    }

    fn erase(&mut self, revision: Revision, payload: u32) -> Result<(), JournalError> {
        self.usable()?;
        let fault = |error| write_fault(&self.folder, error);
        let place = params![rows::signed(revision.0), payload];
        let kind: Result<String, _> =
            self.connection
                .query_row("SELECT kind FROM payload WHERE revision = ?1 AND position = ?2", place, |row| row.get(0));
        match kind {
            Ok(kind) if is_erasable(&kind) => {}
            Ok(_) | Err(rusqlite::Error::QueryReturnedNoRows) => {
                return Err(JournalError::NoSuchPayload { revision, payload });
            }
            Err(error) => return Err(fault(error)),
        }
        remove_checkpoint(&self.folder)?;
        let erased = self
            .connection
            .execute("UPDATE payload SET salt = NULL, body = NULL WHERE revision = ?1 AND position = ?2", place)
            .map_err(fault)
            // The log still holds the bytes until it is moved and cut.
            .and_then(|_| run_log_checkpoint(&self.connection, "TRUNCATE").map_err(fault));
        if let Err(error) = &erased {
            self.note(error);
        }
        erased
    }

    /// Moves the write-ahead log into the database once it has grown.
    fn move_log(&mut self) {
        if self.log_bytes < LOG_BYTES || self.broken.is_some() {
            return;
        }
        match run_log_checkpoint(&self.connection, "PASSIVE").map_err(|error| write_fault(&self.folder, error)) {
            Ok(()) => self.log_bytes = 0,
            Err(error) if is_final(&error) => self.note(&error),
            Err(error) => {
                self.log_bytes = 0;
                warn!(%error, "write-ahead log not moved into the database, it grows on");
            }
        }
    }

    fn usable(&self) -> Result<(), JournalError> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn note(&mut self, error: &JournalError) {
        if is_final(error) {
            error!(%error, "journal takes no more writes until it is opened again");
            self.broken = Some(error.clone());
        }
    }
}

/// Which file the database is, so that one that was put in its place is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(folder: &Path) -> std::io::Result<Self> {
        let file = std::fs::metadata(folder.join(DATABASE))?;
        #[cfg(unix)]
        return Ok(Self(std::os::unix::fs::MetadataExt::dev(&file), std::os::unix::fs::MetadataExt::ino(&file)));
        #[cfg(not(unix))]
        return Ok(Self(0, u64::from(file.is_file())));
    }

    fn check(self, folder: &Path) -> Result<(), JournalError> {
        let what = "the database file was moved or replaced under the running server";
        match Self::of(folder) {
            Ok(now) if now == self => Ok(()),
            Ok(_) => Err(JournalError::Unavailable { what: what.to_owned(), source: None }),
            Err(error) => Err(JournalError::unavailable(what, error)),
        }
    }
}

/// Moves the log into the database. A reader that is in the way is no error: the next call gets further.
pub(super) fn run_log_checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
}

fn remove_checkpoint(folder: &Path) -> Result<(), JournalError> {
    match std::fs::remove_file(folder.join(CHECKPOINT)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(JournalError::unavailable("cannot remove the checkpoint, which may hold what is to be erased", error))
        }
        _ => Ok(()),
    }
}

fn reply(append: Append, answer: Result<Head, JournalError>) {
    // Whoever asked may have gone; the records stand.
    append.answer.send(answer).ok();
}
