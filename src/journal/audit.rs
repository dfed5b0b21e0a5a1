//! Verification of a whole data folder from outside: beside a running server or without one, and without writing.
//!
//! It reads what was acknowledged before it reads the database, so that a server that goes on writing can only be ahead.
//! It finds altered, missing, added and silently erased rows, a cut tail, another history and a damaged file, and names
//! the first bad record. What it cannot find is a database and a head file that were both rewritten by someone who
//! recomputed every hash; for that, compare [`Verified::tally`]'s head with one that was noted elsewhere.

use std::path::Path;

use rusqlite::Connection;

use super::error::JournalError;
use super::folder::DATABASE;
use super::head_file::{self, Found};
use super::sqlite::{open, rows, schema};
use super::{PAGE_RECORDS, head_file::NAME};
use crate::flag::time::Revision;
use crate::world::chain::{Tally, Verifier};
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
    let cannot_read =
        |error| JournalError::unavailable(format!("cannot read {}", data_dir.join(NAME).display()), error);
    let acknowledged = head_file::read(data_dir).map_err(cannot_read)?;
    let path = data_dir.join(DATABASE);
    if let (false, Found::Missing | Found::Damaged) = (path.is_file(), &acknowledged) {
        let what = format!("there is no journal in {}", data_dir.display());
        return Err(JournalError::Unavailable { what, source: None });
    }
    let cannot_open = |error| JournalError::unavailable(format!("cannot open {} for reading", path.display()), error);
    let tally = if path.is_file() {
        let connection = open::connect_for_reading(data_dir).map_err(cannot_open)?;
        // One transaction: everything is read at one moment.
        let moment = connection.unchecked_transaction().map_err(cannot_open)?;
        verify_database(&moment, data_dir, &acknowledged)?
    } else {
        verify_nothing(data_dir, &acknowledged)?
    };
    if acknowledged == Found::Damaged {
        let what = "the head file cannot be read, so nobody can tell whether the last records are missing";
        return Err(JournalError::corrupt(tally.head.revision, what));
    }
    Ok(Verified { tally, acknowledged })
}

fn verify_database(connection: &Connection, folder: &Path, acknowledged: &Found) -> Result<Tally, JournalError> {
    if schema::kind(connection)? == schema::Kind::Blank {
        return verify_nothing(folder, acknowledged);
    }
    let epoch = schema::first_epoch(connection)?;
    let tally = verify_records(connection, Verifier::after(Head::empty(epoch)))?;
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let unreadable = |error| super::sqlite::fault::read_fault(tally.head.revision, error);
    let records = count("SELECT count(*) FROM record").map_err(unreadable)?;
    let payloads = count("SELECT count(*) FROM payload WHERE revision NOT IN (SELECT revision FROM record)");
    if records != rows::signed(tally.records) || payloads.map_err(unreadable)? != 0 {
        return Err(JournalError::corrupt(tally.head.revision.next(), "there are rows outside the chain"));
    }
    match open::standing(acknowledged, &tally.head, open::record_at(connection, acknowledged)?) {
        open::Standing::Whole => {}
        open::Standing::Cut(lost) => return Err(cut(folder, lost, tally.head.revision)),
        open::Standing::Forked(other) => return Err(open::forked(&other)),
    }
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(unreadable)?;
    if found != "ok" {
        return Err(JournalError::corrupt(Revision::ZERO, format!("the database file is damaged: {found}")));
    }
    Ok(tally)
}

fn verify_records(connection: &Connection, mut verifier: Verifier) -> Result<Tally, JournalError> {
    loop {
        // What can be read is verified first, so that it is the first bad record that is named.
        let (page, fault) = rows::read_whole(connection, verifier.head().revision.next(), PAGE_RECORDS);
        for record in &page {
            verifier.take(record)?;
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        if page.len() < PAGE_RECORDS {
            return Ok(verifier.finish()?);
        }
    }
}

fn verify_nothing(folder: &Path, acknowledged: &Found) -> Result<Tally, JournalError> {
    let head = match acknowledged {
        Found::Acknowledged(head) if head.revision > Revision::ZERO => {
            return Err(cut(folder, *head, Revision::ZERO));
        }
        Found::Acknowledged(head) => *head,
        Found::Missing | Found::Damaged => Head::empty(Default::default()),
    };
    Ok(Verifier::after(head).finish()?)
}

fn cut(folder: &Path, acknowledged: Head, database: Revision) -> JournalError {
    JournalError::CutTail { path: folder.to_owned(), acknowledged, database }
}
