//! What can go wrong with a journal: one enum whose variants are what the caller does next.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use crate::flag::time::Revision;
use crate::world::chain::{ChainFault, OpenFault};
use crate::world::record::Head;

/// The cause of an error, shared by all whom it concerns.
pub type Cause = Arc<dyn Error + Send + Sync + 'static>;

/// Why a journal did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Somebody else appended first: fold what is new and try again.
    #[error("revision {found} was to be appended, but the journal expects revision {expected} after the hash it holds")]
    Conflict {
        /// The revision that the journal expects next.
        expected: Revision,
        /// The revision that was to be appended.
        found: Revision,
    },
    /// The disk is full: nothing was written; try again when there is space.
    #[error("there is no space left for the journal in {}", .path.display())]
    Full {
        /// The data folder, or a name for it.
        path: PathBuf,
    },
    /// More appends wait than the queue holds: try again.
    #[error("too many writes are waiting for the journal")]
    Busy,
    /// The store failed and takes no more writes until it is opened again; whether the last append is in it can only be
    /// known then.
    #[error("the journal cannot be used until it is opened again: {what}")]
    Unavailable {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        source: Option<Cause>,
    },
    /// The journal is not what it was: stop, and look for a backup.
    #[error("the journal is damaged at record {revision}: {what}")]
    Corrupt {
        /// The first record that is not what it was; 0 where the damage lies before or beside all records.
        revision: Revision,
        /// What is wrong.
        what: String,
    },
    /// The journal was written by a newer Rampart: start that one.
    #[error("the journal needs a newer Rampart: {needs}")]
    NewerFormat {
        /// What it holds that this version does not know, and which version wrote it.
        needs: String,
    },
    /// Another process has the data folder: stop it, or use another folder.
    #[error(
        "the data folder {} is in use by {}; two servers on one folder would overwrite each other: stop that one or \
         use another --data-dir", .path.display(), holder(*.pid)
    )]
    Locked {
        /// The data folder.
        path: PathBuf,
        /// The process that has it, where the lock file tells.
        pid: Option<u32>,
    },
    /// Records that were acknowledged are gone: restore a backup, or accept the loss.
    #[error(
        "the journal in {} ends at revision {database}, but revision {} was acknowledged: {} record(s) are lost, \
         because the database was cut, replaced by an older copy or damaged. Restore the newest copy of the whole \
         folder, or accept the loss with --accept-cut-tail: a new epoch then begins after revision {database}, \
         and every subscriber starts over", .path.display(), .acknowledged.revision, .acknowledged.revision.0 - .database.0
    )]
    CutTail {
        /// The data folder.
        path: PathBuf,
        /// The head that was acknowledged last.
        acknowledged: Head,
        /// The last revision that is still there.
        database: Revision,
    },
    /// There is nothing to erase there.
    #[error("record {revision} has no payload {payload} that could be erased")]
    NoSuchPayload {
        /// The record.
        revision: Revision,
        /// The payload's place, from 0.
        payload: u32,
    },
}

impl JournalError {
    /// The store failed while doing something.
    pub fn unavailable(what: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable { what: what.into(), source: Some(Arc::new(source)) }
    }

    /// The journal is not what it was.
    pub fn corrupt(revision: Revision, what: impl Into<String>) -> Self {
        Self::Corrupt { revision, what: what.into() }
    }

    /// The journal was closed under the caller.
    pub(super) fn stopped() -> Self {
        Self::Unavailable { what: "its writer has stopped".to_owned(), source: None }
    }
}

impl From<ChainFault> for JournalError {
    fn from(fault: ChainFault) -> Self {
        match fault {
            ChainFault::Newer { .. } => Self::NewerFormat { needs: fault.to_string() },
            ChainFault::Tampered { revision, what } => Self::Corrupt { revision, what: what.to_string() },
        }
    }
}

impl From<OpenFault> for JournalError {
    /// Bytes that verify are those that were written: whoever wrote them knows more than this version.
    fn from(fault: OpenFault) -> Self {
        Self::NewerFormat { needs: fault.to_string() }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
