//! Verification of a database that somebody else may be writing: everything is read at one moment, nothing is written.

use std::path::Path;

use rusqlite::Connection;

use super::super::PAGE_RECORDS;
use super::super::error::JournalError;
use super::super::folder::DATABASE;
use super::super::head_file::Found;
use super::{fault, open, rows, schema};
use crate::flag::time::Revision;
use crate::world::chain::{Tally, Verifier};
use crate::world::record::Head;

/// Verifies the database in a folder and compares it with what was acknowledged; none where there is no database, or
/// one without tables.
///
/// # Errors
/// As `journal::audit` says.
pub(crate) fn verify_database(folder: &Path, acknowledged: &Found) -> Result<Option<Tally>, JournalError> {
    let path = folder.join(DATABASE);
    if !path.is_file() {
        return Ok(None);
    }
    let cannot_open = |error| JournalError::unavailable(format!("cannot open {} for reading", path.display()), error);
    let connection = open::connect_for_reading(folder).map_err(cannot_open)?;
    // One transaction: everything is read at one moment.
    let moment = connection.unchecked_transaction().map_err(cannot_open)?;
    if schema::kind(&moment)? == schema::Kind::Blank {
        return Ok(None);
    }
    let tally = verify_records(&moment, Verifier::after(Head::empty(schema::first_epoch(&moment)?)))?;
    verify_nothing_else(&moment, &tally)?;
    match open::standing(acknowledged, &tally.head, open::record_at(&moment, acknowledged)?) {
        open::Standing::Whole => {}
        open::Standing::Cut(acknowledged) => {
            let path = folder.to_owned();
            return Err(JournalError::CutTail { path, acknowledged, database: tally.head.revision });
        }
        open::Standing::Forked(other) => return Err(open::forked(&other)),
    }
    let unreadable = |error| fault::read_fault(Revision::ZERO, error);
    let found: String = moment.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(unreadable)?;
    if found != "ok" {
        return Err(JournalError::corrupt(Revision::ZERO, format!("the database file is damaged: {found}")));
    }
    Ok(Some(tally))
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

/// Rows that no chain leads to were added by somebody.
fn verify_nothing_else(connection: &Connection, tally: &Tally) -> Result<(), JournalError> {
    let count = |sql: &str| {
        let found = connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        found.map_err(|error| fault::read_fault(tally.head.revision, error))
    };
    let records = count("SELECT count(*) FROM record")?;
    let payloads = count("SELECT count(*) FROM payload WHERE revision NOT IN (SELECT revision FROM record)")?;
    if records != rows::signed(tally.records) || payloads != 0 {
        return Err(JournalError::corrupt(tally.head.revision.next(), "there are rows outside the chain"));
    }
    Ok(())
}
