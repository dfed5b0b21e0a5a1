//! Opening a data folder: take it, look at what is there, compare it with what was acknowledged, and only then write.
//!
//! A database behind the head file has lost acknowledged records, and one that holds another record at the acknowledged
//! revision has another history: both are refused until the operator accepts the loss. Acceptance is a declared restore:
//! it appends a record that says what was lost and begins a new epoch, so that no subscriber mistakes the reused
//! revisions for those it knows.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tracing::{info, warn};

use super::super::error::JournalError;
use super::super::folder::{DATABASE, open_private};
use super::super::head_file::{self, Found, HeadFile};
use super::fault::{read_fault, write_fault};
use super::{Options, rows, schema};
use crate::flag::time::Revision;
use crate::world::chain::seal;
use crate::world::change::Change;
use crate::world::digest::{Epoch, Salt};
use crate::world::record::{Actor, Draft, Head};

/// The oldest SQLite whose write-ahead log is sound: versions before it can corrupt a database when the log restarts.
const SQLITE_OLDEST: i32 = 3_051_003;
/// How long a SQL shell that holds the database may keep a write or a read waiting.
const BUSY: Duration = Duration::from_secs(2);

/// An opened database.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) head: Head,
    pub(super) head_file: HeadFile,
}

/// Opens the database of a folder that is already taken.
pub(super) fn open(folder: &Path, options: &Options) -> Result<Opened, JournalError> {
    if rusqlite::version_number() < SQLITE_OLDEST {
        let what = format!("SQLite {} is too old, 3.51.3 is needed", rusqlite::version());
        return Err(JournalError::Unavailable { what, source: None });
    }
    let unreadable = |error| JournalError::unavailable("cannot read the head file", error);
    let found = head_file::read(folder).map_err(unreadable)?;
    let mut connection = connect_for_writing(folder)?;
    let kind = schema::kind(&connection)?;
    let (mut head, at_acknowledged) = match kind {
        schema::Kind::Blank => (Head::empty(Epoch(random()?)), None),
        schema::Kind::Journal => (current_head(&connection)?, record_at(&connection, &found)?),
    };
    let lost = accepted_loss(folder, &found, &head, at_acknowledged, options)?;
    set_up(&connection, folder)?;
    if kind == schema::Kind::Blank {
        schema::create(&mut connection, folder, head.epoch)?;
    }
    if let Some(acknowledged) = lost {
        head = declare_restore(&mut connection, folder, &head, &acknowledged, options)?;
    }
    let unwritten = |error| JournalError::unavailable("cannot write the head file", error);
    let mut head_file = HeadFile::open(folder, &head).map_err(unwritten)?;
    if found != Found::Acknowledged(head) {
        head_file.write(&head).map_err(unwritten)?;
    }
    Ok(Opened { connection, head, head_file })
}

/// Opens a second connection that can only read.
pub(crate) fn connect_for_reading(folder: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.join(DATABASE), flags)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Where the journal in a database stands.
pub(crate) fn current_head(connection: &Connection) -> Result<Head, JournalError> {
    let empty = Head::empty(schema::first_epoch(connection)?);
    Ok(rows::head(connection)?.unwrap_or(empty))
}

/// What the database holds at the revision that was acknowledged last, or now stands at.
pub(crate) fn record_at(connection: &Connection, found: &Found) -> Result<Option<Head>, JournalError> {
    let Found::Acknowledged(acknowledged) = found else { return Ok(None) };
    let page = rows::read(connection, acknowledged.revision, 1)?;
    Ok(page.first().map(crate::world::record::StoredRecord::head).filter(|head| head.revision == acknowledged.revision))
}

/// Compares a database with the acknowledged head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Every acknowledged record is there.
    Whole,
    /// Acknowledged records are gone.
    Cut(Head),
    /// There is another record in the acknowledged one's place.
    Forked(Head),
}

/// Compares a database that stands at `head` with what was acknowledged.
pub(crate) fn standing(found: &Found, head: &Head, at_acknowledged: Option<Head>) -> Standing {
    match found {
        Found::Acknowledged(acknowledged) if acknowledged.revision > head.revision => Standing::Cut(*acknowledged),
        Found::Acknowledged(acknowledged) if acknowledged.revision > Revision::ZERO => {
            if at_acknowledged == Some(*acknowledged) { Standing::Whole } else { Standing::Forked(*acknowledged) }
        }
        _ => Standing::Whole,
    }
}

/// What is wrong with a database that has another history than the one that was acknowledged.
pub(crate) fn forked(acknowledged: &Head) -> JournalError {
    JournalError::corrupt(
        acknowledged.revision,
        format!(
            "the record with hash {} was acknowledged, but the database holds another one in its place: the database \
             was replaced or rewritten. Restore the newest copy of the whole folder, or accept the database as it is \
             with --accept-cut-tail",
            acknowledged.hash
        ),
    )
}

/// What the operator accepted to lose, if anything is lost; an error where it was not accepted.
fn accepted_loss(
    folder: &Path,
    found: &Found,
    head: &Head,
    at_acknowledged: Option<Head>,
    options: &Options,
) -> Result<Option<Head>, JournalError> {
    let path = head_file::path(folder);
    match found {
        Found::Damaged if !options.accept_cut_tail => {
            let what = format!(
                "the head file {} cannot be read, so nobody can tell whether records are missing. Restore it from a \
                 copy of the folder, or start with --accept-cut-tail to go on without it",
                path.display()
            );
            return Err(JournalError::corrupt(Revision::ZERO, what));
        }
        Found::Damaged => {
            warn!(path = %path.display(), "damaged head file replaced");
            std::fs::remove_file(&path)
                .map_err(|error| JournalError::unavailable("cannot replace the head file", error))?;
        }
        Found::Missing if head.revision > Revision::ZERO => {
            warn!(path = %path.display(), revision = %head.revision, "head file is missing and made anew: whether records are missing cannot be told");
        }
        Found::Missing | Found::Acknowledged(_) => {}
    }
    match standing(found, head, at_acknowledged) {
        Standing::Whole => Ok(None),
        Standing::Cut(acknowledged) | Standing::Forked(acknowledged) if options.accept_cut_tail => {
            Ok(Some(acknowledged))
        }
        Standing::Cut(acknowledged) => {
            Err(JournalError::CutTail { path: folder.to_owned(), acknowledged, database: head.revision })
        }
        Standing::Forked(acknowledged) => Err(forked(&acknowledged)),
    }
}

fn declare_restore(
    connection: &mut Connection,
    folder: &Path,
    head: &Head,
    acknowledged: &Head,
    options: &Options,
) -> Result<Head, JournalError> {
    let change = Change::EpochStarted { ended: acknowledged.epoch, lost_through: acknowledged.revision };
    let mut draft = Draft::new(options.now, Actor::system("accept-cut-tail"), vec![change]);
    draft.reason = Some("the operator accepted that acknowledged records are lost".to_owned());
    let salts: [[u8; 16]; 2] = [random()?, random()?];
    let mut salts = salts.into_iter();
    let after = Head { epoch: Epoch(random()?), ..*head };
    let stored = seal(&draft, &after, &mut || Salt(salts.next().unwrap_or_default())).stored;
    let fault = |error| write_fault(folder, error);
    let transaction = connection.transaction().map_err(fault)?;
    rows::insert(&transaction, &stored).map_err(fault)?;
    transaction.commit().map_err(fault)?;
    warn!(lost_after = %head.revision, lost_through = %acknowledged.revision, "loss of acknowledged records accepted, a new epoch begins");
    Ok(stored.head())
}

fn connect_for_writing(folder: &Path) -> Result<Connection, JournalError> {
    let path = folder.join(DATABASE);
    let cannot = |error| JournalError::unavailable(format!("cannot open {}", path.display()), error);
    // SQLite gives its log and index the permissions of the database.
    open_private(&path).map_err(cannot)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags).map_err(|error| write_fault(folder, error))?;
    connection.busy_timeout(BUSY).map_err(|error| write_fault(folder, error))?;
    Ok(connection)
}

fn set_up(connection: &Connection, folder: &Path) -> Result<(), JournalError> {
    let fault = |error| write_fault(folder, error);
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(fault)?;
    if mode != "wal" {
        let what = format!("the file system of {} cannot keep a write-ahead log (got {mode:?})", folder.display());
        return Err(JournalError::Unavailable { what, source: None });
    }
    let set = |name: &str, value: &str| connection.pragma_update(None, name, value).map_err(fault);
    // FULL: the log is synced in every commit; NORMAL loses acknowledged records when the power goes.
    set("synchronous", "FULL")?;
    set("fullfsync", "ON")?;
    set("wal_autocheckpoint", "0")?;
    // Erased payloads are overwritten, not only unlinked.
    set("secure_delete", "ON")?;
    set("foreign_keys", "ON")?;
    set("cell_size_check", "ON")?;
    set("trusted_schema", "OFF")?;
    let synchronous: i64 = connection
        .query_row("PRAGMA synchronous", [], |row| row.get(0))
        .map_err(|error| read_fault(Revision::ZERO, error))?;
    if synchronous < 2 {
        return Err(JournalError::Unavailable { what: "SQLite refuses synchronous=FULL".to_owned(), source: None });
    }
    info!(folder = %folder.display(), sqlite = rusqlite::version(), "journal opened");
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], JournalError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| JournalError::unavailable("the system gives no random bytes", error))?;
    Ok(bytes)
}
