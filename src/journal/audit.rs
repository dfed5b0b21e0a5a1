//! Verification of a whole data folder from outside: beside a running server or without one, and without writing.
//!
//! It reads what was acknowledged before it reads the database, so that a server that goes on writing can only be ahead.
//! It finds altered, missing, added and silently erased rows, a cut tail, another history and a damaged file, and names
//! the first bad record. What it cannot find is a database and a head file that were both rewritten by someone who
//! recomputed every hash; for that, compare [`Verified::tally`]'s head with one that was noted elsewhere.

use std::path::Path;

use super::error::JournalError;
use super::head_file::{self, Found};
use super::sqlite::verify::verify_database;
use crate::flag::time::Revision;
use crate::world::chain::{Tally, Verifier};
use crate::world::digest::Epoch;
use crate::world::record::Head;

/// A journal that is what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are, where they end and what was erased.
    pub tally: Tally,
    /// What the head file said before the database was read; the database may be ahead of it.
    pub acknowledged: Found,
}

/// Verifies the journal in a data folder.
///
/// # Errors
/// [`JournalError::Corrupt`] with the first bad record, [`JournalError::CutTail`], [`JournalError::NewerFormat`], or
/// [`JournalError::Unavailable`] where there is no journal or it cannot be read.
pub fn verify_dir(data_dir: &Path) -> Result<Verified, JournalError> {
    let acknowledged = head_file::read(data_dir).map_err(|error| {
        JournalError::unavailable(format!("cannot read {}", head_file::path(data_dir).display()), error)
    })?;
    let tally = match verify_database(data_dir, &acknowledged)? {
        Some(tally) => tally,
        None => verify_nothing(data_dir, &acknowledged)?,
    };
    if acknowledged == Found::Damaged {
        let what = "the head file cannot be read, so nobody can tell whether the last records are missing";
        return Err(JournalError::corrupt(tally.head.revision, what));
    }
    Ok(Verified { tally, acknowledged })
}

/// A folder without any database, or with an empty one.
fn verify_nothing(folder: &Path, acknowledged: &Found) -> Result<Tally, JournalError> {
    let head = match acknowledged {
        Found::Acknowledged(head) if head.revision > Revision::ZERO => {
            let path = folder.to_owned();
            return Err(JournalError::CutTail { path, acknowledged: *head, database: Revision::ZERO });
        }
        Found::Acknowledged(head) => *head,
        Found::Damaged => Head::empty(Epoch::ZERO),
        Found::Missing => {
            let what = format!("there is no journal in {}", folder.display());
            return Err(JournalError::Unavailable { what, source: None });
        }
    };
    Ok(Verifier::after(head).finish()?)
}
