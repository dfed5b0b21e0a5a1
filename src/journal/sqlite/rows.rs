//! Records as rows and back. What cannot be a record is reported with its revision, never skipped.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::error::JournalError;
use super::fault::read_fault;
use crate::flag::time::{Revision, Timestamp};
use crate::world::digest::{Digest, Epoch, Salt};
use crate::world::record::{Content, Head, Idempotency, Payload, StoredRecord};

const RECORDS: &str = "
SELECT revision, format, epoch, prev_hash, at, actor_kind, actor_id,
       idempotency_token, idempotency_key, idempotency_fingerprint, writer, hash
FROM record WHERE revision >= ?1 ORDER BY revision LIMIT ?2";
const PAYLOADS: &str = "
SELECT revision, position, kind, digest, salt, body
FROM payload WHERE revision BETWEEN ?1 AND ?2 ORDER BY revision, position";
const INSERT_RECORD: &str = "
INSERT INTO record (revision, format, epoch, prev_hash, at, actor_kind, actor_id,
                    idempotency_token, idempotency_key, idempotency_fingerprint, writer, hash)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
const INSERT_PAYLOAD: &str = "
INSERT INTO payload (revision, position, kind, digest, salt, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Writes one record inside the transaction that is under way.
pub(crate) fn insert(connection: &Connection, record: &StoredRecord) -> rusqlite::Result<()> {
    let request = record.idempotency.as_ref();
    connection.prepare_cached(INSERT_RECORD)?.execute(params![
        signed(record.revision.0),
        record.format,
        record.epoch.0,
        record.prev_hash.0,
        record.at.micros(),
        record.actor_kind,
        record.actor_id,
        request.map(|request| &request.token),
        request.map(|request| &request.key),
        request.map(|request| request.fingerprint.0),
        record.writer,
        record.hash.0,
    ])?;
    let mut statement = connection.prepare_cached(INSERT_PAYLOAD)?;
    for (position, part) in (0i64..).zip(&record.payloads) {
        let content = part.content.as_ref();
        let (salt, body) = (content.map(|content| content.salt.0), content.map(|content| &content.body));
        statement.execute(params![signed(record.revision.0), position, part.kind, part.digest.0, salt, body])?;
    }
    Ok(())
}

/// Up to `limit` records from `from` on.
pub(crate) fn read(connection: &Connection, from: Revision, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
    let (records, fault) = read_whole(connection, from, limit);
    fault.map_or(Ok(records), Err)
}

/// Up to `limit` records from `from` on, as far as they can be read, and what is wrong with the one after them.
pub(crate) fn read_whole(
    connection: &Connection,
    from: Revision,
    limit: usize,
) -> (Vec<StoredRecord>, Option<JournalError>) {
    let (mut records, mut fault) = read_headers(connection, from, limit);
    if let Err((bad, error)) = read_payloads(connection, &mut records) {
        records.retain(|record| record.revision < bad);
        fault = Some(error);
    }
    (records, fault)
}

/// The last record's place and hash; none where there are no records.
pub(crate) fn head(connection: &Connection) -> Result<Option<Head>, JournalError> {
    let found = connection
        .query_row("SELECT revision, epoch, hash FROM record ORDER BY revision DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 16]>(1)?, row.get::<_, [u8; 32]>(2)?))
        })
        .optional()
        .map_err(|error| read_fault(Revision::ZERO, error))?;
    Ok(found.map(|(revision, epoch, hash)| Head {
        epoch: Epoch(epoch),
        revision: Revision(unsigned(revision)),
        hash: Digest(hash),
    }))
}

/// SQLite's integers have a sign; revisions never come near the half that is lost.
pub(crate) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or(0)
}

fn read_headers(connection: &Connection, from: Revision, limit: usize) -> (Vec<StoredRecord>, Option<JournalError>) {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut records = Vec::new();
    let mut near = from;
    let mut read = || {
        let mut statement = connection.prepare_cached(RECORDS)?;
        let mut rows = statement.query(params![signed(from.0), limit])?;
        while let Some(row) = rows.next()? {
            near = Revision(unsigned(row.get(0)?));
            records.push(read_header(row, near)?);
            near = near.next();
        }
        Ok(())
    };
    let read: rusqlite::Result<()> = read();
    (records, read.err().map(|error| read_fault(near, error)))
}

/// Gives records their payloads. The fault comes with the first record that is not whole.
fn read_payloads(connection: &Connection, records: &mut [StoredRecord]) -> Result<(), (Revision, JournalError)> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
    let range = params![signed(first.revision.0), signed(last.revision.0)];
    let mut near = first.revision;
    let mut statement = connection.prepare_cached(PAYLOADS).map_err(|error| (near, read_fault(near, error)))?;
    let mut rows = statement.query(range).map_err(|error| (near, read_fault(near, error)))?;
    let mut owners = records.iter_mut().peekable();
    while let Some(row) = rows.next().map_err(|error| (near, read_fault(near, error)))? {
        near = Revision(row.get(0).map(unsigned).map_err(|error| (near, read_fault(near, error)))?);
        while owners.next_if(|record| record.revision < near).is_some() {}
        let Some(owner) = owners.peek_mut().filter(|record| record.revision == near) else {
            return Err((near, JournalError::corrupt(near, "the record is missing, but payloads of it are there")));
        };
        let position: i64 = row.get(1).map_err(|error| (near, read_fault(near, error)))?;
        if usize::try_from(position) != Ok(owner.payloads.len()) {
            return Err((near, JournalError::corrupt(near, format!("payload {} is missing", owner.payloads.len()))));
        }
        owner.payloads.push(read_payload(row, near).map_err(|error| (near, error))?);
    }
    Ok(())
}

fn read_header(row: &Row<'_>, revision: Revision) -> rusqlite::Result<StoredRecord> {
    let (token, key) = (row.get::<_, Option<String>>(7)?, row.get::<_, Option<String>>(8)?);
    let fingerprint = row.get::<_, Option<[u8; 32]>>(9)?;
    let idempotency = match (token, key, fingerprint) {
        (Some(token), Some(key), Some(fingerprint)) => {
            Some(Idempotency { token, key, fingerprint: Digest(fingerprint) })
        }
        (None, None, None) => None,
        // Half a request is not what was hashed, and neither is this: the header's hash will say so.
        _ => Some(Idempotency { token: String::new(), key: String::new(), fingerprint: Digest::ZERO }),
    };
    Ok(StoredRecord {
        format: row.get(1)?,
        revision,
        epoch: Epoch(row.get(2)?),
        prev_hash: Digest(row.get(3)?),
        at: Timestamp::from_micros(row.get(4)?),
        actor_kind: row.get(5)?,
        actor_id: row.get(6)?,
        idempotency,
        writer: row.get(10)?,
        payloads: Vec::new(),
        hash: Digest(row.get(11)?),
    })
}

fn read_payload(row: &Row<'_>, revision: Revision) -> Result<Payload, JournalError> {
    let fault = |error| read_fault(revision, error);
    let salt: Option<[u8; 16]> = row.get(4).map_err(fault)?;
    let body: Option<String> = row.get(5).map_err(fault)?;
    let content = match (salt, body) {
        (Some(salt), Some(body)) => Some(Content { salt: Salt(salt), body }),
        (None, None) => None,
        _ => return Err(JournalError::corrupt(revision, "a payload has lost half of its content")),
    };
    Ok(Payload { kind: row.get(2).map_err(fault)?, digest: Digest(row.get(3).map_err(fault)?), content })
}
