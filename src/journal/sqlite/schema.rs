//! The database's tables. Append-only is said twice: here by triggers, for every hand that holds a SQL shell, and in the
//! chain, for those who drop the triggers first.
//!
//! One row of `record` per revision, one row of `payload` per erasable part; `world::chain` says what they mean and what
//! the hashes cover. `meta` holds the epoch of a journal without records. `user_version` is the number of this schema.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::super::error::JournalError;
use super::fault::{read_fault, write_fault};
use crate::flag::time::Revision;
use crate::world::digest::Epoch;

/// `RAMP`: what `file` and SQLite show as the database's kind.
pub(crate) const APPLICATION_ID: i64 = 0x5241_4d50;
/// The schema that this version writes, and the newest it reads.
pub(crate) const SCHEMA: i64 = 1;

const TABLES: &str = "
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE record (
    revision INTEGER PRIMARY KEY CHECK (revision > 0),
    format INTEGER NOT NULL,
    epoch BLOB NOT NULL CHECK (length(epoch) = 16),
    prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
    at INTEGER NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    idempotency_token TEXT,
    idempotency_key TEXT,
    idempotency_fingerprint BLOB,
    writer TEXT NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE payload (
    revision INTEGER NOT NULL REFERENCES record (revision),
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    salt BLOB CHECK (length(salt) = 16),
    body TEXT,
    PRIMARY KEY (revision, position),
    CHECK ((salt IS NULL) = (body IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER record_is_next BEFORE INSERT ON record
WHEN NEW.revision <> (SELECT coalesce(max(revision), 0) + 1 FROM record)
  OR NEW.prev_hash <> coalesce((SELECT hash FROM record WHERE revision = NEW.revision - 1), zeroblob(32))
BEGIN SELECT RAISE(ABORT, 'the record does not follow the head'); END;

CREATE TRIGGER record_stays BEFORE UPDATE ON record
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER record_is_kept BEFORE DELETE ON record
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER payload_stays BEFORE UPDATE ON payload
WHEN NEW.revision IS NOT OLD.revision OR NEW.position IS NOT OLD.position OR NEW.kind IS NOT OLD.kind
  OR NEW.digest IS NOT OLD.digest OR NEW.salt IS NOT NULL OR NEW.body IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a payload can only be erased'); END;
CREATE TRIGGER payload_is_kept BEFORE DELETE ON payload
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;

CREATE TRIGGER meta_stays BEFORE UPDATE ON meta
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER meta_is_kept BEFORE DELETE ON meta
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
";

/// What kind of database a connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An empty one.
    Blank,
    /// A journal that this version reads and writes.
    Journal,
}

/// Looks at what kind of database this is.
///
/// # Errors
/// Where it is no journal, or one of a newer version.
pub(crate) fn kind(connection: &Connection) -> Result<Kind, JournalError> {
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let fault = |error| read_fault(Revision::ZERO, error);
    let (application, schema) = (number("application_id").map_err(fault)?, number("user_version").map_err(fault)?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fault)?;
    match (application, schema) {
        (0, 0) if tables == 0 => Ok(Kind::Blank),
        (APPLICATION_ID, SCHEMA) => Ok(Kind::Journal),
        (APPLICATION_ID, newer) if newer > SCHEMA => Err(JournalError::NewerFormat {
            needs: format!("the database has schema {newer}, this version reads up to {SCHEMA}"),
        }),
        _ => Err(JournalError::corrupt(Revision::ZERO, "the database is not a Rampart journal")),
    }
}

/// Makes a blank database a journal.
///
/// # Errors
/// Where it cannot be written.
pub(crate) fn create(connection: &mut Connection, folder: &Path, epoch: Epoch) -> Result<(), JournalError> {
    let fault = |error| write_fault(folder, error);
    let transaction = connection.transaction().map_err(fault)?;
    transaction.execute_batch(TABLES).map_err(fault)?;
    transaction.execute("INSERT INTO meta (name, value) VALUES ('epoch', ?1)", [epoch.0]).map_err(fault)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(fault)?;
    transaction.pragma_update(None, "user_version", SCHEMA).map_err(fault)?;
    transaction.commit().map_err(fault)
}

/// The epoch in which the journal was created.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn first_epoch(connection: &Connection) -> Result<Epoch, JournalError> {
    let found: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0))
        .optional()
        .map_err(|error| read_fault(Revision::ZERO, error))?;
    let epoch = found.as_deref().and_then(Epoch::from_slice);
    epoch.ok_or_else(|| JournalError::corrupt(Revision::ZERO, "the epoch of its creation is missing"))
}
