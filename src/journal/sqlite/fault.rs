//! SQLite's errors as decisions: try again, wait for space, reopen, or stop.

use std::path::Path;

use rusqlite::{Error, ErrorCode, ffi};

use super::super::error::JournalError;
use crate::flag::time::Revision;

/// What an error while reading near a record means.
pub(crate) fn read_fault(revision: Revision, error: Error) -> JournalError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            JournalError::corrupt(revision, format!("the database cannot be read there ({error})"))
        }
        Some(_) => JournalError::unavailable("cannot read the database", error),
        None => JournalError::corrupt(revision, format!("its row cannot be read ({error})")),
    }
}

/// What an error while writing means.
pub(crate) fn write_fault(folder: &Path, error: Error) -> JournalError {
    let Error::SqliteFailure(ffi::Error { code, extended_code }, _) = &error else {
        return JournalError::unavailable("cannot write to the database", error);
    };
    match code {
        ErrorCode::DiskFull => JournalError::Full { path: folder.to_owned() },
        // The index of the write-ahead log could not grow.
        ErrorCode::SystemIoFailure if *extended_code == ffi::SQLITE_IOERR_SHMSIZE => {
            JournalError::Full { path: folder.to_owned() }
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => JournalError::Busy,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            JournalError::corrupt(Revision::ZERO, format!("the database cannot be written ({error})"))
        }
        _ => JournalError::unavailable("cannot write to the database", error),
    }
}

/// Whether the store takes no more writes after this error: what failed once in the disk's hands (a sync above all)
/// must not be tried again as if nothing had happened, since the system forgets what it could not write.
pub(crate) fn is_final(error: &JournalError) -> bool {
    matches!(error, JournalError::Unavailable { .. } | JournalError::Corrupt { .. })
}
