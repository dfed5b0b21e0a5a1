//! The hash chain: what makes a list of records evidence. This is the specification of record format 1.
//!
//! **Notation.** `u8`, `u32`, `u64` and `i64` are big-endian; `text` is a `u32` length in bytes followed by that much
//! UTF-8; `‖` joins bytes.
//!
//! **A payload's digest** is `SHA-256("rampart.journal.payload.1" ‖ 0x00 ‖ salt ‖ body)`: the domain is 25 bytes of
//! ASCII, the salt 16 random bytes, the body the canonical JSON (see `canonical`) as stored.
//!
//! **A record's hash** is SHA-256 over:
//!
//! | part | form |
//! |---|---|
//! | domain | `"rampart.journal.record.1" ‖ 0x00` |
//! | format | `u32`, 1 |
//! | revision | `u64`, 1 for the first record, then one more each |
//! | epoch | 16 bytes |
//! | previous hash | 32 bytes: the hash of the record before; zeros before the first |
//! | at | `i64`, microseconds since the Unix epoch |
//! | actor kind, actor id | `text`, `text` |
//! | idempotency | `u8` 0 for none; `u8` 1, then token `text`, key `text`, fingerprint 32 bytes |
//! | writer | `text`, the version of Rampart |
//! | payloads | `u32` count, then per payload its kind `text` and its digest, 32 bytes |
//!
//! Salts and bodies are not under the hash, their digests are: an erased payload leaves its kind and digest, and the
//! chain still verifies. **Order of payloads**: `actor_name`, `reason` (each where there is one), then the changes.
//!
//! **Rules between records**: revisions have no gaps; the epoch is that of the record before, unless the first change
//! is an `epoch_started`; an erased payload is named by some record's `payload_erased`, and only the kinds of
//! [`is_erasable`] are ever erased. A chain alone cannot show that its tail was cut: the journal's head file does that.
//!
//! Random bytes are arguments here, and nothing is kept.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::canonical;
use super::change::Change;
use super::digest::{Digest, Salt};
use super::record::{ACTOR_NAME, Actor, Content, Draft, Erased, FORMAT, Head, Payload, REASON, Record, StoredRecord};
use crate::flag::time::Revision;

const PAYLOAD_DOMAIN: &[u8] = b"rampart.journal.payload.1\0";
const RECORD_DOMAIN: &[u8] = b"rampart.journal.record.1\0";

/// A draft that has its place: the form to keep, and the form to fold once it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Sealed {
    /// What the journal keeps.
    pub stored: StoredRecord,
    /// What `World::apply` takes.
    pub record: Record,
}

/// Why a record is not what the chain says it is. Each names the first bad record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// It was written by a newer Rampart; nothing is wrong with it.
    #[error("record {revision} has format {format}, written by Rampart {writer}; this version reads up to {FORMAT}")]
    Newer {
        /// The record.
        revision: Revision,
        /// Its format.
        format: u32,
        /// The version that wrote it.
        writer: String,
    },
    /// It was altered, or stands in the wrong place.
    #[error("record {revision}: {what}")]
    Tampered {
        /// The record.
        revision: Revision,
        /// What does not hold.
        what: Tamper,
    },
}

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Tamper {
    /// The next record has another revision.
    #[error("is missing: revision {found} follows {}", .found_after)]
    Gap {
        /// The revision before.
        found_after: Revision,
        /// What came instead.
        found: Revision,
    },
    /// It does not follow the record before it.
    #[error("the previous hash is not the hash of the record before it")]
    PrevHash,
    /// Its epoch changed, and it is no declared restore.
    #[error("the epoch changes although no new epoch was declared")]
    Epoch,
    /// Its header, its hash or its list of payloads was altered.
    #[error("the header, its hash or the list of payloads was altered")]
    Header,
    /// A payload was altered.
    #[error("payload {payload} ({kind}) does not match its digest")]
    Payload {
        /// Its place, from 0.
        payload: u32,
        /// What it is.
        kind: String,
    },
    /// A payload is gone that may not go, or whose erasure no record tells of.
    #[error("payload {payload} ({kind}) is gone, and no record says that it was erased")]
    Vanished {
        /// Its place, from 0.
        payload: u32,
        /// What it was.
        kind: String,
    },
}

/// Why a record that verifies cannot be folded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenFault {
    /// It holds a kind of change that this version does not know.
    #[error("record {revision} holds a change of the unknown kind {kind:?}, written by Rampart {writer}")]
    UnknownKind {
        /// The record.
        revision: Revision,
        /// The word that is not known.
        kind: String,
        /// The version that wrote it, which can read it.
        writer: String,
    },
    /// A payload holds what this version cannot read.
    #[error("record {revision}: payload {payload} ({kind}), written by Rampart {writer}, cannot be read: {what}")]
    Unreadable {
        /// The record.
        revision: Revision,
        /// The payload's place, from 0.
        payload: u32,
        /// What it is.
        kind: String,
        /// The version that wrote it, which can read it.
        writer: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Gives a draft its place after `head`. `salt` yields fresh random salts, one per payload.
pub fn seal(draft: &Draft, head: &Head, salt: &mut dyn FnMut() -> Salt) -> Sealed {
    let text = |text: &str| canonical::to_text(&text).expect("a text has a JSON form");
    let name = draft.actor.name.as_ref().map(|name| (ACTOR_NAME, text(name)));
    let reason = draft.reason.as_ref().map(|reason| (REASON, text(reason)));
    let changes = draft
        .changes
        .iter()
        .map(|change| (change.kind(), canonical::to_text(change).expect("the maps in changes have texts as keys")));
    let payloads = name.into_iter().chain(reason).chain(changes).map(|(kind, body)| {
        let content = Content { salt: salt(), body };
        Payload { kind: kind.to_owned(), digest: payload_digest(&content), content: Some(content) }
    });
    let mut stored = StoredRecord {
        format: FORMAT,
        revision: head.revision.next(),
        epoch: head.epoch,
        prev_hash: head.hash,
        at: draft.at,
        actor_kind: draft.actor.kind.clone(),
        actor_id: draft.actor.id.clone(),
        idempotency: draft.idempotency.clone(),
        writer: draft.writer.clone(),
        payloads: payloads.collect(),
        hash: Digest::ZERO,
    };
    stored.hash = record_hash(&stored);
    let record = Record {
        actor: draft.actor.clone(),
        reason: draft.reason.clone(),
        changes: draft.changes.clone(),
        ..bare_record(&stored)
    };
    Sealed { stored, record }
}

/// Reads the payloads of a record. Erased ones are left out and listed.
///
/// # Errors
/// What this version cannot read; see [`OpenFault`]. It does not verify: that is [`verify`].
pub fn open(stored: &StoredRecord) -> Result<Record, OpenFault> {
    let mut record = bare_record(stored);
    for (payload, part) in (0u32..).zip(&stored.payloads) {
        let Some(content) = &part.content else {
            record.erased.push(Erased { payload, kind: part.kind.clone() });
            continue;
        };
        let unreadable = |what: String| OpenFault::Unreadable {
            revision: stored.revision,
            payload,
            kind: part.kind.clone(),
            writer: stored.writer.clone(),
            what,
        };
        let fault = |error: serde_json::Error| unreadable(error.to_string());
        match part.kind.as_str() {
            ACTOR_NAME => record.actor.name = Some(serde_json::from_str(&content.body).map_err(fault)?),
            REASON => record.reason = Some(serde_json::from_str(&content.body).map_err(fault)?),
            kind if Change::KINDS.contains(&kind) => {
                let change: Change = serde_json::from_str(&content.body).map_err(fault)?;
                if change.kind() != kind {
                    return Err(unreadable(format!("it holds a {}", change.kind())));
                }
                record.changes.push(change);
            }
            kind => {
                return Err(OpenFault::UnknownKind {
                    revision: stored.revision,
                    kind: kind.to_owned(),
                    writer: stored.writer.clone(),
                });
            }
        }
    }
    Ok(record)
}

/// Checks that a record follows `head` and is what it was when it was sealed. Yields the new head.
///
/// # Errors
/// What does not hold. Whether erasures were declared is left to [`Verifier`], which sees all records.
pub fn verify(head: &Head, stored: &StoredRecord) -> Result<Head, ChainFault> {
    let revision = head.revision.next();
    let tampered = |what: Tamper| Err(ChainFault::Tampered { revision, what });
    if stored.revision != revision {
        return tampered(Tamper::Gap { found_after: head.revision, found: stored.revision });
    }
    if stored.format > FORMAT {
        let writer = stored.writer.clone();
        return Err(ChainFault::Newer { revision, format: stored.format, writer });
    }
    if record_hash(stored) != stored.hash {
        return tampered(Tamper::Header);
    }
    if stored.prev_hash != head.hash {
        return tampered(Tamper::PrevHash);
    }
    if stored.epoch != head.epoch && !starts_epoch(stored) {
        return tampered(Tamper::Epoch);
    }
    for (payload, part) in (0u32..).zip(&stored.payloads) {
        match &part.content {
            Some(content) if payload_digest(content) != part.digest => {
                return tampered(Tamper::Payload { payload, kind: part.kind.clone() });
            }
            None if !is_erasable(&part.kind) => {
                return tampered(Tamper::Vanished { payload, kind: part.kind.clone() });
            }
            Some(_) | None => {}
        }
    }
    Ok(stored.head())
}

/// True for payloads that may be erased: free text and what people wrote. Kills, restores, revocations, deletions and
/// the chain's own facts hold identifiers only and stay for ever, since their absence would undo them.
pub fn is_erasable(kind: &str) -> bool {
    kind == REASON || kind == ACTOR_NAME || Change::ERASABLE.contains(&kind)
}

/// Verifies a whole journal record by record, erasures included.
#[derive(Debug, Clone)]
pub struct Verifier {
    head: Head,
    records: u64,
    erased: u64,
    undeclared: BTreeSet<(Revision, u32, String)>,
    unfinished: BTreeSet<(Revision, u32)>,
}

/// What a whole journal came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Where it stands.
    pub head: Head,
    /// How many records it has.
    pub records: u64,
    /// How many payloads were erased.
    pub erased: u64,
    /// Erasures that were declared and not carried out: record and payload.
    pub unfinished: Vec<(Revision, u32)>,
}

impl Verifier {
    /// Begins before the first record, in the epoch that the first record has.
    pub fn new(first: &StoredRecord) -> Self {
        Self::after(Head::empty(first.epoch))
    }

    /// Begins after a head that is trusted.
    pub fn after(head: Head) -> Self {
        Self { head, records: 0, erased: 0, undeclared: BTreeSet::new(), unfinished: BTreeSet::new() }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, stored: &StoredRecord) -> Result<(), ChainFault> {
        self.head = verify(&self.head, stored)?;
        self.records += 1;
        for (payload, part) in (0u32..).zip(&stored.payloads) {
            match &part.content {
                None => {
                    self.erased += 1;
                    self.undeclared.insert((stored.revision, payload, part.kind.clone()));
                }
                Some(content) if part.kind == Change::PAYLOAD_ERASED => self.declared(content),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn declared(&mut self, content: &Content) {
        if let Ok(Change::PayloadErased { revision, payload }) = serde_json::from_str(&content.body) {
            let before = self.undeclared.len();
            self.undeclared.retain(|(at, place, _)| (*at, *place) != (revision, payload));
            if self.undeclared.len() == before {
                self.unfinished.insert((revision, payload));
            }
        }
    }

    /// Where it stands now.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Ends after the last record.
    ///
    /// # Errors
    /// The first record that lost a payload without a word.
    pub fn finish(self) -> Result<Tally, ChainFault> {
        if let Some((revision, payload, kind)) = self.undeclared.into_iter().next() {
            return Err(ChainFault::Tampered { revision, what: Tamper::Vanished { payload, kind } });
        }
        let unfinished = self.unfinished.into_iter().collect();
        Ok(Tally { head: self.head, records: self.records, erased: self.erased, unfinished })
    }
}

fn bare_record(stored: &StoredRecord) -> Record {
    Record {
        format: stored.format,
        revision: stored.revision,
        epoch: stored.epoch,
        prev_hash: stored.prev_hash,
        hash: stored.hash,
        at: stored.at,
        actor: Actor { kind: stored.actor_kind.clone(), id: stored.actor_id.clone(), name: None },
        reason: None,
        idempotency: stored.idempotency.clone(),
        writer: stored.writer.clone(),
        changes: Vec::new(),
        erased: Vec::new(),
    }
}

fn starts_epoch(stored: &StoredRecord) -> bool {
    let change = stored.payloads.iter().find(|part| part.kind != ACTOR_NAME && part.kind != REASON);
    change.is_some_and(|part| part.kind == Change::EPOCH_STARTED)
}

fn payload_digest(content: &Content) -> Digest {
    let hasher = Sha256::new().chain_update(PAYLOAD_DOMAIN).chain_update(content.salt.0);
    Digest(hasher.chain_update(content.body.as_bytes()).finalize().into())
}

fn record_hash(stored: &StoredRecord) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(RECORD_DOMAIN);
    hasher.update(stored.format.to_be_bytes());
    hasher.update(stored.revision.0.to_be_bytes());
    hasher.update(stored.epoch.0);
    hasher.update(stored.prev_hash.0);
    hasher.update(stored.at.micros().to_be_bytes());
    update_text(&mut hasher, &stored.actor_kind);
    update_text(&mut hasher, &stored.actor_id);
    match &stored.idempotency {
        None => hasher.update([0]),
        Some(request) => {
            hasher.update([1]);
            update_text(&mut hasher, &request.token);
            update_text(&mut hasher, &request.key);
            hasher.update(request.fingerprint.0);
        }
    }
    update_text(&mut hasher, &stored.writer);
    hasher.update(length(stored.payloads.len()));
    for part in &stored.payloads {
        update_text(&mut hasher, &part.kind);
        hasher.update(part.digest.0);
    }
    Digest(hasher.finalize().into())
}

fn update_text(hasher: &mut Sha256, text: &str) {
    hasher.update(length(text.len()));
    hasher.update(text.as_bytes());
}

/// A length as the encoding has it; what is longer than 4 GiB cannot be stored anyway and must not alias.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::super::digest::Epoch;
    use super::super::samples::{EPOCH, chain, draft, records};
    use super::*;
    use proptest::prelude::*;

    fn erased(revision: u64, payload: u32) -> Draft {
        draft(Change::PayloadErased { revision: Revision(revision), payload })
    }

    fn revoked() -> Draft {
        draft(Change::TokenRevoked { id: "t1".to_owned() })
    }

    fn verified(chain: &[Sealed]) -> Result<Tally, ChainFault> {
        let mut verifier = Verifier::after(Head::empty(EPOCH));
        chain.iter().try_for_each(|sealed| verifier.take(&sealed.stored))?;
        verifier.finish()
    }

    proptest! {
        #[test]
        fn what_is_sealed_verifies_and_opens_to_itself(chain in records()) {
            let tally = verified(&chain).unwrap();
            prop_assert_eq!(tally.records, chain.len() as u64);
            for sealed in &chain {
                prop_assert_eq!(&open(&sealed.stored).unwrap(), &sealed.record);
                let line = serde_json::to_string(&sealed.stored).unwrap();
                prop_assert_eq!(&serde_json::from_str::<StoredRecord>(&line).unwrap(), &sealed.stored);
            }
        }
    }

    #[test]
    fn every_field_of_the_header_is_under_the_hash() {
        let mut request = revoked();
        request.idempotency = Some(super::super::record::Idempotency {
            token: "t".to_owned(),
            key: "k".to_owned(),
            fingerprint: Digest([1; 32]),
        });
        let stored = chain(&[request])[0].stored.clone();
        let alterations: [fn(&mut StoredRecord); 11] = [
            |record| record.format = 0,
            |record| record.epoch = Epoch([1; 16]),
            |record| record.prev_hash = Digest([1; 32]),
            |record| record.at = record.at.plus_micros(1),
            |record| record.actor_kind.push('x'),
            |record| record.actor_id.push('x'),
            |record| record.idempotency = None,
            |record| record.writer.push('x'),
            |record| record.payloads[0].kind.push('x'),
            |record| record.payloads[0].digest = Digest([1; 32]),
            |record| record.payloads.clear(),
        ];
        for (number, alter) in alterations.into_iter().enumerate() {
            let mut altered = stored.clone();
            alter(&mut altered);
            let fault = ChainFault::Tampered { revision: Revision(1), what: Tamper::Header };
            assert_eq!(verify(&Head::empty(EPOCH), &altered), Err(fault), "alteration {number}");
        }
        // Letters that move from one text to the next do not cancel out.
        let mut moved = stored;
        (moved.actor_kind, moved.actor_id) = ("systemt".to_owned(), "est".to_owned());
        assert!(verify(&Head::empty(EPOCH), &moved).is_err());
    }

    #[test]
    fn a_declared_erasure_verifies_and_a_silent_one_does_not() {
        let mut reason = revoked();
        reason.reason = Some("a person's words".to_owned());
        let mut chain = chain(&[reason, revoked(), erased(1, 0)]);
        assert_eq!(verified(&chain).unwrap().unfinished, [(Revision(1), 0)]);
        chain[0].stored.payloads[0].content = None;
        let tally = verified(&chain).unwrap();
        assert_eq!((tally.erased, tally.unfinished), (1, Vec::new()));
        let record = open(&chain[0].stored).unwrap();
        assert_eq!((record.reason, record.changes.len()), (None, 1));
        assert_eq!(record.erased, [Erased { payload: 0, kind: REASON.to_owned() }]);
        chain[1].stored.payloads[0].content = None;
        let vanished = Tamper::Vanished { payload: 0, kind: "token_revoked".to_owned() };
        assert_eq!(verified(&chain), Err(ChainFault::Tampered { revision: Revision(2), what: vanished }));
        chain.remove(1);
        assert!(matches!(
            verified(&chain),
            Err(ChainFault::Tampered { revision: Revision(2), what: Tamper::Gap { .. } })
        ));
    }

    #[test]
    fn the_declaration_of_an_erasure_cannot_be_erased() {
        let mut reason = revoked();
        reason.reason = Some("a person's words".to_owned());
        let mut chain = chain(&[reason, erased(1, 0)]);
        chain[0].stored.payloads[0].content = None;
        chain[1].stored.payloads[0].content = None;
        let what = Tamper::Vanished { payload: 0, kind: Change::PAYLOAD_ERASED.to_owned() };
        assert_eq!(verified(&chain), Err(ChainFault::Tampered { revision: Revision(2), what }));
    }

    #[test]
    fn a_revocation_cannot_be_erased_even_when_declared() {
        let mut chain = chain(&[revoked(), erased(1, 0)]);
        chain[0].stored.payloads[0].content = None;
        let what = Tamper::Vanished { payload: 0, kind: "token_revoked".to_owned() };
        assert_eq!(verified(&chain), Err(ChainFault::Tampered { revision: Revision(1), what }));
    }

    #[test]
    fn the_epoch_changes_only_with_a_declaration() {
        let first = chain(&[revoked()]).remove(0);
        let after = Head { epoch: Epoch([9; 16]), ..first.stored.head() };
        let salt = &mut || Salt([0; 16]);
        let silent = seal(&revoked(), &after, salt).stored;
        let what = Tamper::Epoch;
        assert_eq!(verify(&first.stored.head(), &silent), Err(ChainFault::Tampered { revision: Revision(2), what }));
        let mut restore = draft(Change::EpochStarted { ended: EPOCH, lost_through: Revision(7) });
        restore.reason = Some("accepted".to_owned());
        let declared = seal(&restore, &after, salt).stored;
        assert_eq!(verify(&first.stored.head(), &declared), Ok(declared.head()));
    }

    #[test]
    fn an_unknown_kind_or_format_names_the_version_that_knows_it() {
        let mut stored = chain(&[revoked()]).remove(0).stored;
        stored.writer = "9.9.9".to_owned();
        stored.payloads[0].kind = "stage_entered".to_owned();
        stored.hash = record_hash(&stored);
        assert!(verify(&Head::empty(EPOCH), &stored).is_ok());
        let message = open(&stored).unwrap_err().to_string();
        assert!(
            message.contains("record 1 ") && message.contains("stage_entered") && message.contains("9.9.9"),
            "{message}"
        );
        stored.format = 2;
        let fault = verify(&Head::empty(EPOCH), &stored).unwrap_err();
        assert!(matches!(fault, ChainFault::Newer { revision: Revision(1), format: 2, .. }), "{fault}");
    }
}
