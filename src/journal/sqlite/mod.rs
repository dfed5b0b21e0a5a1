//! The journal in a folder: SQLite with a write-ahead log, one writer thread, one process.
//!
//! `open` compares what is there with what was acknowledged, `writer` is the thread, `rows` turns records into rows,
//! `schema` has the tables, `fault` turns SQLite's errors into decisions, `verify` reads everything from outside. The
//! folder's other files are described in `journal::folder`.

mod fault;
mod open;
mod rows;
mod schema;
pub(super) mod verify;
mod writer;

use std::fmt;
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use self::writer::{Append, Identity, Request, Writer};
use super::error::JournalError;
use super::folder::{CHECKPOINT, Folder, replace_private};
use super::{Appending, Journal};
use crate::flag::time::{Revision, Timestamp};
use crate::world::chain::Tally;
use crate::world::record::{Head, StoredRecord};

/// How many requests wait for the writer at most: some batches, so that it never idles, and then callers hear about it.
const QUEUE: usize = 1024;

/// How to open a folder.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Now; stands in the record that a declared restore appends.
    pub now: Timestamp,
    /// Go on although acknowledged records are missing: a declared restore.
    pub accept_cut_tail: bool,
}

/// The journal in a folder. Dropping it waits for what is being written.
pub struct SqliteJournal {
    folder: Folder,
    head: Arc<SharedHead>,
    reader: Mutex<Option<Connection>>,
    requests: Option<SyncSender<Request>>,
    thread: Option<JoinHandle<()>>,
}

/// The head, as the writer last left it.
#[derive(Debug)]
struct SharedHead(Mutex<Head>);

impl SharedHead {
    fn get(&self) -> Head {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, head: Head) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }
}

impl SqliteJournal {
    /// Opens the journal of a data folder, creating both where they are missing.
    ///
    /// # Errors
    /// [`JournalError::Locked`] where another server has it, [`JournalError::CutTail`] where acknowledged records are
    /// gone, [`JournalError::Corrupt`], [`JournalError::NewerFormat`], [`JournalError::Full`] and
    /// [`JournalError::Unavailable`] as they say.
    pub fn open(data_dir: &Path, options: &Options) -> Result<Self, JournalError> {
        let folder = Folder::take(data_dir)?;
        let opened = open::open(folder.path(), options)?;
        let cannot = |error| JournalError::unavailable("cannot open the database a second time", error);
        let reader = open::connect_for_reading(folder.path()).map_err(cannot)?;
        let identity = Identity::of(folder.path())
            .map_err(|error| JournalError::unavailable("cannot look at the database file", error))?;
        let head = Arc::new(SharedHead(Mutex::new(opened.head)));
        let writer = Writer {
            connection: opened.connection,
            folder: folder.path().to_owned(),
            identity,
            head_file: opened.head_file,
            head: Arc::clone(&head),
            broken: None,
            log_bytes: 0,
        };
        let (requests, queue) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("rampart-journal".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| JournalError::unavailable("cannot start the writer thread", error))?;
        let reader = Mutex::new(Some(reader));
        Ok(Self { folder, head, reader, requests: Some(requests), thread: Some(thread) })
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        self.folder.path()
    }

    fn reader(&self) -> MutexGuard<'_, Option<Connection>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, request: Request) -> Result<(), JournalError> {
        let requests = self.requests.as_ref().ok_or_else(JournalError::stopped)?;
        requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => JournalError::Busy,
            TrySendError::Disconnected(_) => JournalError::stopped(),
        })
    }
}

impl Journal for SqliteJournal {
    fn head(&self) -> Head {
        self.head.get()
    }

    fn append(&self, records: Vec<StoredRecord>) -> Appending {
        let (answer, appending) = Appending::new();
        match self.ask(Request::Append(Append { records, answer })) {
            Ok(()) => appending,
            Err(error) => Appending::answered(Err(error)),
        }
    }

    fn read(&self, from: Revision, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        self.reader().as_ref().map_or_else(|| Err(JournalError::stopped()), |reader| rows::read(reader, from, limit))
    }

    fn erase(&self, revision: Revision, payload: u32) -> Result<(), JournalError> {
        let (answer, answered) = sync_channel(1);
        self.ask(Request::Erase { revision, payload, answer })?;
        answered.recv().unwrap_or_else(|_| Err(JournalError::stopped()))
    }

    fn put_checkpoint(&self, bytes: &[u8]) -> Result<(), JournalError> {
        let path = self.folder.path().join(CHECKPOINT);
        replace_private(&path, bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => JournalError::Full { path: self.folder.path().to_owned() },
            _ => JournalError::unavailable("cannot write the checkpoint", error),
        })
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, JournalError> {
        match std::fs::read(self.folder.path().join(CHECKPOINT)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(JournalError::unavailable("cannot read the checkpoint", error)),
        }
    }

    fn verify(&self) -> Result<Tally, JournalError> {
        super::audit::verify_dir(self.folder.path()).map(|verified| verified.tally)
    }
}

impl Drop for SqliteJournal {
    /// Lets the writer finish its queue, and closes the reader first so that the writer can tidy the log away.
    fn drop(&mut self) {
        self.reader().take();
        self.requests.take();
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to finish; whoever waits for it hears that it stopped.
            thread.join().ok();
        }
    }
}

impl fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteJournal").field("folder", &self.folder.path()).field("head", &self.head.get()).finish()
    }
}
