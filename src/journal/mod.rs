//! Where truth is **kept**: the trait `Journal` and its implementations. It knows records, not flags.
//!
//! A journal is an append-only list of records with a head. Appending compares: records that do not follow the head are
//! refused, so that two writers can never both win. An append is answered after it is durable and never before. Beside
//! the list a journal keeps one checkpoint, a cache of bytes that it does not read. What is worth recording, and what a
//! record means, is decided elsewhere (`control`, `world`).

pub mod audit;
pub mod error;
pub mod folder;
pub mod head_file;
pub mod memory;
pub mod pending;
pub mod replay;
pub mod sqlite;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::flag::time::Revision;
use crate::world::chain::{ChainFault, Tally, Tamper, Verifier, verify};
use crate::world::record::{Head, StoredRecord};

use self::error::JournalError;

/// How many records are read at once when the whole journal is read: some hundred kilobytes of ordinary ones.
pub const PAGE_RECORDS: usize = 256;

/// The list of all records. Everything but [`Journal::head`] and [`Journal::append`] may block on a disk for
/// milliseconds and belongs on a thread that may wait.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Where the journal stands: the last record that is durable.
    fn head(&self) -> Head;

    /// Appends records, all or none, after the head. Several appends may be under way at once: they are written in
    /// the order of the calls, together where possible, and the later ones must follow the earlier ones' records. An
    /// answer with an error other than [`JournalError::Unavailable`] means that nothing was written; after that one
    /// only reopening the journal can tell.
    fn append(&self, records: Vec<StoredRecord>) -> Appending;

    /// Up to `limit` records in order, the first at `from` (revisions count from 1). Fewer at the end.
    ///
    /// # Errors
    /// Where the store cannot be read, or holds what cannot be a record.
    fn read(&self, from: Revision, limit: usize) -> Result<Vec<StoredRecord>, JournalError>;

    /// Erases the contents of one payload, for good; its kind and digest stay. A record that says so
    /// (`Change::PayloadErased`) must have been appended before. Erasing again does nothing. The checkpoint, which may
    /// hold what was erased, goes too; the world in memory is the caller's to fold again.
    ///
    /// # Errors
    /// Where there is no such payload, it may not be erased, or the store cannot be written.
    fn erase(&self, revision: Revision, payload: u32) -> Result<(), JournalError>;

    /// Keeps bytes in the place of the last checkpoint.
    ///
    /// # Errors
    /// Where they cannot be kept; nothing depends on them.
    fn put_checkpoint(&self, bytes: &[u8]) -> Result<(), JournalError>;

    /// The bytes kept last; none where there are none. Whether they are any good is for the reader to find out.
    ///
    /// # Errors
    /// Where the store cannot be read.
    fn checkpoint(&self) -> Result<Option<Vec<u8>>, JournalError>;

    /// Reads everything and checks the whole chain.
    ///
    /// # Errors
    /// The first record that is not what it was.
    fn verify(&self) -> Result<Tally, JournalError> {
        let mut verifier: Option<Verifier> = None;
        let mut from = Revision::ZERO.next();
        loop {
            let page = self.read(from, PAGE_RECORDS)?;
            for record in &page {
                verifier.get_or_insert_with(|| Verifier::new(record)).take(record)?;
            }
            if page.len() < PAGE_RECORDS {
                break;
            }
            from = Revision(from.0 + page.len() as u64);
        }
        Ok(verifier.unwrap_or_else(|| Verifier::after(Head::empty(self.head().epoch))).finish()?)
    }
}

/// The head after records that are to be appended.
///
/// # Errors
/// A conflict where they do not follow the head, corruption where they are not what they were when sealed.
fn follow(head: Head, records: &[StoredRecord]) -> Result<Head, JournalError> {
    records.iter().try_fold(head, |head, record| match verify(&head, record) {
        Ok(head) => Ok(head),
        Err(ChainFault::Tampered { what: Tamper::Gap { .. } | Tamper::PrevHash | Tamper::Epoch, .. }) => {
            Err(JournalError::Conflict { expected: head.revision.next(), found: record.revision })
        }
        Err(fault) => Err(fault.into()),
    })
}

/// An append under way: a future, for those who must not block. Dropping it does not undo the append.
#[derive(Debug)]
pub struct Appending(oneshot::Receiver<Result<Head, JournalError>>);

impl Appending {
    /// An append and the end through which it is answered with the head after its last record.
    pub fn new() -> (oneshot::Sender<Result<Head, JournalError>>, Self) {
        let (answer, answered) = oneshot::channel();
        (answer, Self(answered))
    }

    /// An append that is already answered.
    pub fn answered(answer: Result<Head, JournalError>) -> Self {
        let (sender, appending) = Self::new();
        sender.send(answer).expect("the receiver is held here");
        appending
    }

    /// Waits for the answer on a thread that may block: never inside an async task, where waiting so is a mistake that
    /// the runtime answers with a panic.
    ///
    /// # Errors
    /// As [`Journal::append`] says.
    pub fn wait(self) -> Result<Head, JournalError> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(JournalError::stopped()))
    }
}

impl Future for Appending {
    type Output = Result<Head, JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(JournalError::stopped())))
    }
}
