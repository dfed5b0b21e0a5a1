//! The journal in a folder under attack and misfortune: altered rows, flipped bits, cut files, full disks.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use rampart::flag::time::{Generation, Revision};
use rampart::journal::Journal;
use rampart::journal::audit::{Verified, verify_dir};
use rampart::journal::error::JournalError;
use rampart::journal::pending::{Pending, PendingKill};
use rampart::journal::replay::replay;
use rampart::world::change::Change;
use rampart::world::record::{Actor, Draft, Head};
use rusqlite::Connection;

use crate::journal_sample::{NOW, copy_folder, draft, environment, flag, following, open, open_accepting, put, sealed};

const RECORDS: u64 = 40;

/// Numbers that a seed decides (splitmix64).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }
}

/// A closed folder with some records, one payload of which was erased as it should be.
fn closed_folder(folder: &Path) -> Verified {
    let journal = open(folder).unwrap();
    journal.append(following(journal.head(), RECORDS - 1)).wait().unwrap();
    let declared = Change::PayloadErased { revision: Revision(5), payload: 1 };
    let declaration = sealed(&journal.head(), &Draft::new(NOW, Actor::system("erase"), vec![declared]));
    journal.append(vec![declaration]).wait().unwrap();
    journal.erase(Revision(5), 1).unwrap();
    drop(journal);
    verify_dir(folder).unwrap()
}

/// A connection to which no rule of the database applies.
fn attacker(folder: &Path) -> Connection {
    let connection = Connection::open(folder.join("journal.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; PRAGMA synchronous = OFF;
             DROP TRIGGER record_is_next; DROP TRIGGER record_stays; DROP TRIGGER record_is_kept;
             DROP TRIGGER payload_stays; DROP TRIGGER payload_is_kept;
             DROP TRIGGER meta_stays; DROP TRIGGER meta_is_kept;",
        )
        .unwrap();
    connection
}

/// Every way to alter one row. `:r` is the record, `:p` the payload, `:b` some byte.
const ALTERATIONS: [&str; 25] = [
    "UPDATE record SET format = 0 WHERE revision = :r",
    "UPDATE record SET revision = 1000 + :r WHERE revision = :r",
    "UPDATE record SET epoch = randomblob(16) WHERE revision = :r",
    "UPDATE record SET prev_hash = randomblob(32) WHERE revision = :r",
    "UPDATE record SET at = at + 1 + :b WHERE revision = :r",
    "UPDATE record SET actor_kind = actor_kind || char(65 + :b % 26) WHERE revision = :r",
    "UPDATE record SET actor_id = 'mallory' WHERE revision = :r",
    "UPDATE record SET idempotency_token = 't', idempotency_key = 'k', idempotency_fingerprint = randomblob(32)
     WHERE revision = :r",
    "UPDATE record SET idempotency_key = 'k' WHERE revision = :r",
    "UPDATE record SET writer = '0.0.' || :b WHERE revision = :r",
    "UPDATE record SET hash = randomblob(32) WHERE revision = :r",
    "UPDATE record SET hash = x'00' WHERE revision = :r",
    "UPDATE record SET actor_id = CAST(x'ff' AS TEXT) WHERE revision = :r",
    "DELETE FROM record WHERE revision = :r",
    "UPDATE payload SET kind = 'flag_deleted' WHERE revision = :r AND position = :p",
    "UPDATE payload SET digest = randomblob(32) WHERE revision = :r AND position = :p",
    "UPDATE payload SET salt = randomblob(16), body = '{}' WHERE revision = :r AND position = :p",
    "UPDATE payload SET body = coalesce(body, '') || ' ', salt = coalesce(salt, zeroblob(16))
     WHERE revision = :r AND position = :p",
    "UPDATE payload SET body = CAST(x'ff' AS TEXT), salt = zeroblob(16) WHERE revision = :r AND position = :p",
    "UPDATE payload SET body = NULL, salt = zeroblob(16) WHERE revision = :r AND position = :p",
    "UPDATE payload SET position = 7 WHERE revision = :r AND position = :p",
    "UPDATE payload SET revision = 1000 WHERE revision = :r AND position = :p",
    "DELETE FROM payload WHERE revision = :r AND position = :p",
    "DELETE FROM payload WHERE revision = :r",
    "INSERT INTO payload SELECT revision, position + 100, kind, digest, salt, body FROM payload
     WHERE revision = :r AND position = :p",
];
const SILENT_ERASURE: &str =
    "UPDATE payload SET salt = NULL, body = NULL WHERE revision = :r AND position = :p AND body IS NOT NULL";

#[test]
fn every_altered_row_is_found_and_its_record_named() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    closed_folder(&whole);
    for seed in 0..208 {
        let mut random = Seeded(seed);
        let folder = root.path().join("altered");
        copy_folder(&whole, &folder);
        // The last record has one payload; the others have four.
        let revision = 1 + random.below(RECORDS);
        let payload = if revision == RECORDS { 0 } else { random.below(4) };
        let number = usize::try_from(seed).unwrap() % (ALTERATIONS.len() + 1);
        let alteration = ALTERATIONS.get(number).copied().unwrap_or(SILENT_ERASURE);
        let connection = attacker(&folder);
        let mut statement = connection.prepare(alteration).unwrap();
        for (name, value) in [(":r", revision), (":p", payload), (":b", random.below(256))] {
            if let Some(at) = statement.parameter_index(name).unwrap() {
                statement.raw_bind_parameter(at, i64::try_from(value).unwrap()).unwrap();
            }
        }
        let changed = statement.raw_execute().unwrap();
        drop(statement);
        connection.close().unwrap();
        let found = verify_dir(&folder);
        if changed == 0 {
            assert_eq!((alteration, revision), (SILENT_ERASURE, 5), "only what is erased cannot be erased");
            continue;
        }
        assert!(
            matches!(&found, Err(JournalError::Corrupt { revision: bad, .. }) if bad.0 == revision),
            "seed {seed}, record {revision}, payload {payload}: {alteration}\n{found:?}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn of_several_bad_records_the_first_is_named() {
    let root = tempfile::tempdir().unwrap();
    closed_folder(root.path());
    let connection = attacker(root.path());
    let bad = || match verify_dir(root.path()) {
        Err(JournalError::Corrupt { revision, .. }) => revision.0,
        other => panic!("{other:?}"),
    };
    for (revision, alteration) in [
        (30, "DELETE FROM record WHERE revision = 30"),
        (20, "UPDATE payload SET body = CAST(x'ff' AS TEXT) WHERE revision = 20 AND position = 2"),
        (15, "UPDATE record SET hash = x'00' WHERE revision = 15"),
        (12, "DELETE FROM payload WHERE revision = 12 AND position = 1"),
        (10, "UPDATE record SET at = 0 WHERE revision = 10"),
    ] {
        connection.execute(alteration, []).unwrap();
        assert_eq!(bad(), revision, "{alteration}");
    }
}

#[test]
fn what_a_newer_version_wrote_is_named_and_not_called_damaged() {
    let root = tempfile::tempdir().unwrap();
    closed_folder(root.path());
    attacker(root.path()).execute_batch("UPDATE record SET format = 2, writer = '9.1.0' WHERE revision = 3").unwrap();
    let message = verify_dir(root.path()).unwrap_err().to_string();
    assert!(message.contains("record 3") && message.contains("9.1.0"), "{message}");
    attacker_again(root.path(), "PRAGMA user_version = 7");
    let newer = open(root.path()).unwrap_err();
    assert!(matches!(&newer, JournalError::NewerFormat { needs } if needs.contains('7')), "{newer}");
    attacker_again(root.path(), "PRAGMA application_id = 7");
    let foreign = open(root.path()).unwrap_err();
    assert!(matches!(&foreign, JournalError::Corrupt { revision: Revision::ZERO, .. }), "{foreign}");
}

fn attacker_again(folder: &Path, sql: &str) {
    Connection::open(folder.join("journal.db")).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn the_database_itself_refuses_to_be_altered() {
    let root = tempfile::tempdir().unwrap();
    closed_folder(root.path());
    let connection = Connection::open(root.path().join("journal.db")).unwrap();
    for sql in [
        "UPDATE record SET actor_id = 'x' WHERE revision = 1",
        "DELETE FROM record WHERE revision = 40",
        "UPDATE payload SET body = '{}' WHERE revision = 1 AND position = 0",
        "DELETE FROM payload WHERE revision = 1",
        "UPDATE meta SET value = zeroblob(16)",
        "DELETE FROM meta",
        "INSERT INTO record SELECT 41, format, epoch, prev_hash, at, actor_kind, actor_id, NULL, NULL, NULL, writer, hash
         FROM record WHERE revision = 40",
        "INSERT INTO record SELECT 42, format, epoch, hash, at, actor_kind, actor_id, NULL, NULL, NULL, writer, hash
         FROM record WHERE revision = 40",
    ] {
        assert!(connection.execute(sql, []).is_err(), "{sql}");
    }
    verify_dir(root.path()).unwrap();
}

#[test]
fn no_flipped_bit_of_the_database_changes_what_is_true() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    let verified = closed_folder(&whole);
    let bytes = std::fs::read(whole.join("journal.db")).unwrap();
    let folder = root.path().join("flipped");
    copy_folder(&whole, &folder);
    let mut detected = 0;
    for seed in 0..300 {
        let mut random = Seeded(1_000 + seed);
        let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << random.below(8);
        std::fs::write(folder.join("journal.db"), &flipped).unwrap();
        match verify_dir(&folder) {
            Ok(found) => assert_eq!(found, verified, "byte {at}"),
            Err(_) => detected += 1,
        }
    }
    assert!(detected > 100, "only {detected} of 300 flips hit anything");
}

#[test]
fn a_truncated_database_is_refused_at_every_length() {
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    closed_folder(&whole);
    let bytes = std::fs::read(whole.join("journal.db")).unwrap();
    let folder = root.path().join("cut");
    copy_folder(&whole, &folder);
    for length in (0..bytes.len()).step_by(1_999) {
        std::fs::write(folder.join("journal.db"), &bytes[..length]).unwrap();
        let audited = verify_dir(&folder);
        assert!(audited.is_err(), "{length} bytes: {audited:?}");
        let refused = open(&folder).map(|journal| replay(&journal).map(|replayed| replayed.records));
        assert!(matches!(&refused, Err(_) | Ok(Err(_))), "{length} bytes: {refused:?}");
    }
}

/// A folder whose records are all in the write-ahead log, as a crash leaves it.
fn crashed_folder(root: &Path) -> (PathBuf, Head) {
    let journal = open(&root.join("running")).unwrap();
    for _ in 0..20 {
        journal.append(following(journal.head(), 1)).wait().unwrap();
    }
    let crashed = root.join("crashed");
    copy_folder(&root.join("running"), &crashed);
    (crashed, journal.head())
}

#[test]
fn a_cut_log_leaves_a_clean_prefix_and_the_head_file_tells_what_is_lost() {
    let root = tempfile::tempdir().unwrap();
    let (crashed, head) = crashed_folder(root.path());
    assert_eq!(verify_dir(&crashed).unwrap().tally.head, head);
    let log = std::fs::read(crashed.join("journal.db-wal")).unwrap();
    let folder = root.path().join("cut");
    let mut seen = std::collections::BTreeSet::new();
    for length in (0..log.len()).step_by(4_999) {
        std::fs::remove_dir_all(&folder).ok();
        copy_folder(&crashed, &folder);
        std::fs::write(folder.join("journal.db-wal"), &log[..length]).unwrap();
        let lost = |error: JournalError| match error {
            JournalError::CutTail { acknowledged, database, .. } => {
                assert_eq!(acknowledged, head);
                database
            }
            other => panic!("{length} bytes: {other:?}"),
        };
        let left = lost(verify_dir(&folder).unwrap_err());
        assert_eq!(lost(open(&folder).unwrap_err()), left);
        assert!(left < head.revision);
        if seen.insert(left) {
            let journal = open_accepting(&folder).unwrap();
            let replayed = replay(&journal).unwrap();
            assert_eq!(replayed.world.revision(), left.next());
            assert_ne!(replayed.world.head().epoch, head.epoch);
            let last = journal.read(left.next(), 1).unwrap().remove(0);
            let changes = rampart::world::chain::open(&last).unwrap().changes;
            assert_eq!(changes, [Change::EpochStarted { ended: head.epoch, lost_through: head.revision }]);
            journal.append(following(journal.head(), 1)).wait().unwrap();
            drop(journal);
            assert_eq!(open(&folder).unwrap().head().revision, left.next().next());
            verify_dir(&folder).unwrap();
        }
    }
    assert!(seen.len() > 15, "{seen:?}");
}

#[test]
fn a_flipped_bit_of_the_log_never_loses_an_acknowledged_record_in_silence() {
    let root = tempfile::tempdir().unwrap();
    let (crashed, head) = crashed_folder(root.path());
    let log = std::fs::read(crashed.join("journal.db-wal")).unwrap();
    let folder = root.path().join("flipped");
    for seed in 0..100 {
        std::fs::remove_dir_all(&folder).ok();
        copy_folder(&crashed, &folder);
        let mut random = Seeded(2_000 + seed);
        let at = usize::try_from(random.below(log.len() as u64)).unwrap();
        let mut flipped = log.clone();
        flipped[at] ^= 1 << random.below(8);
        std::fs::write(folder.join("journal.db-wal"), &flipped).unwrap();
        if let Ok(found) = verify_dir(&folder) {
            assert_eq!(found.tally.head, head, "byte {at}");
        }
    }
}

#[test]
fn a_head_file_behind_the_database_is_fine_and_a_missing_one_is_made_anew() {
    let root = tempfile::tempdir().unwrap();
    let old = root.path().join("old");
    let folder = root.path().join("data");
    let head = {
        let journal = open(&folder).unwrap();
        journal.append(following(journal.head(), 3)).wait().unwrap();
        copy_folder(&folder, &old);
        journal.append(following(journal.head(), 2)).wait().unwrap()
    };
    std::fs::copy(old.join("head"), folder.join("head")).unwrap();
    verify_dir(&folder).unwrap();
    assert_eq!(open(&folder).unwrap().head(), head);
    std::fs::remove_file(folder.join("head")).unwrap();
    assert_eq!(open(&folder).unwrap().head(), head);
    assert!(folder.join("head").exists());
}

#[test]
fn an_older_copy_another_history_and_a_damaged_head_file_are_refused_until_accepted() {
    let root = tempfile::tempdir().unwrap();
    let (first, second) = (root.path().join("first"), root.path().join("second"));
    closed_folder(&first);
    closed_folder(&second);

    let older = root.path().join("older");
    copy_folder(&first, &older);
    {
        let journal = open(&first).unwrap();
        journal.append(following(journal.head(), 1)).wait().unwrap();
    }
    std::fs::copy(first.join("head"), older.join("head")).unwrap();
    let error = open(&older).unwrap_err();
    assert!(error.to_string().contains("1 record(s) are lost"), "{error}");

    let mixed = root.path().join("mixed");
    copy_folder(&second, &mixed);
    std::fs::copy(older.join("head"), mixed.join("head")).unwrap();
    assert!(matches!(open(&mixed), Err(JournalError::CutTail { .. })));
    copy_folder(&first, &mixed);
    std::fs::copy(second.join("head"), mixed.join("head")).unwrap();
    assert!(matches!(open(&mixed), Err(JournalError::Corrupt { revision: Revision(RECORDS), .. })));
    assert!(matches!(verify_dir(&mixed), Err(JournalError::Corrupt { revision: Revision(RECORDS), .. })));

    let damaged = root.path().join("damaged");
    copy_folder(&first, &damaged);
    std::fs::write(damaged.join("head"), vec![b'x'; 8192]).unwrap();
    assert!(matches!(open(&damaged), Err(JournalError::Corrupt { .. })));
    assert!(matches!(verify_dir(&damaged), Err(JournalError::Corrupt { .. })));

    for folder in [older, mixed, damaged] {
        drop(open_accepting(&folder).unwrap());
        verify_dir(&folder).unwrap();
        replay(&open(&folder).unwrap()).unwrap();
    }
    // The database is gone altogether.
    std::fs::remove_file(second.join("journal.db")).unwrap();
    assert!(matches!(verify_dir(&second), Err(JournalError::CutTail { database: Revision::ZERO, .. })));
    assert!(matches!(open(&second), Err(JournalError::CutTail { database: Revision::ZERO, .. })));
    assert_eq!(open_accepting(&second).unwrap().head().revision, Revision(1));
    verify_dir(&second).unwrap();
}

#[test]
fn a_database_that_is_replaced_under_the_server_takes_no_more_writes() {
    let root = tempfile::tempdir().unwrap();
    let journal = open(root.path()).unwrap();
    journal.append(following(journal.head(), 2)).wait().unwrap();
    let path = root.path().join("journal.db");
    std::fs::copy(&path, root.path().join("copy")).unwrap();
    std::fs::rename(root.path().join("copy"), &path).unwrap();
    for _ in 0..2 {
        let refused = journal.append(following(journal.head(), 1)).wait();
        assert!(matches!(refused, Err(JournalError::Unavailable { .. })), "{refused:?}");
    }
}

/// A small file system of its own; gone when dropped. None, with a loud word, where this machine allows no mounts.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            other => {
                eprintln!("SKIPPED: no tmpfs can be mounted here, the full disk is not tested: {other:?}");
                None
            }
        }
    }

    /// Takes all the space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for size in [65_536, 4_096, 512, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}

fn pending(generation: u64) -> PendingKill {
    PendingKill {
        environment: environment(),
        flag: flag(1),
        generation: Generation(generation),
        at: NOW,
        actor: Actor::token("tok", "Ada"),
        reason: None,
    }
}

/// Appends until the disk is full; the head that was acknowledged last.
fn append_until_full(journal: &dyn Journal) -> Head {
    for _ in 0..10_000 {
        match journal.append(following(journal.head(), 1)).wait() {
            Ok(head) => assert_eq!(head, journal.head()),
            Err(JournalError::Full { .. }) => return journal.head(),
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the disk never filled");
}

#[test]
fn a_full_disk_refuses_writes_takes_kills_and_recovers() {
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&root.path().join("disk"), "4m") else { return };
    let folder = disk.0.join("data");
    let journal = open(&folder).unwrap();
    let mut kills = Pending::open(&folder).unwrap();
    journal.append(following(journal.head(), 3)).wait().unwrap();
    let filler = disk.fill();
    let head = append_until_full(&journal);

    kills.put(&[pending(1), pending(2)]).unwrap();
    assert!(matches!(journal.put_checkpoint(&[0; 100_000]), Err(JournalError::Full { .. })));
    assert_eq!(replay(&journal).unwrap().world.revision(), head.revision);
    assert_eq!(verify_dir(&folder).unwrap().tally.head, head);
    assert!(matches!(journal.append(following(head, 1)).wait(), Err(JournalError::Full { .. })));

    std::fs::remove_file(&filler).unwrap();
    let head = journal.append(following(head, 1)).wait().unwrap();
    journal.put_checkpoint(&[0; 100_000]).unwrap();

    disk.fill();
    let last = append_until_full(&journal);
    assert!(last.revision >= head.revision);
    drop(journal);
    std::fs::remove_file(&filler).unwrap();
    let journal = open(&folder).unwrap();
    assert_eq!(journal.head(), last);
    verify_dir(&folder).unwrap();
    assert_eq!(Pending::open(&folder).unwrap().entries().len(), 2);
}

#[test]
fn what_is_too_large_for_the_disk_does_not_keep_out_what_fits() {
    let root = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&root.path().join("disk"), "2m") else { return };
    let journal = open(&disk.0.join("data")).unwrap();
    let small = following(journal.head(), 1);
    let mut import = draft(2);
    import.changes = vec![put(1, &"x".repeat(4 * 1024 * 1024))];
    let import = sealed(&small[0].head(), &import);
    let (small, import) = (journal.append(small), journal.append(vec![import]));
    assert_eq!(small.wait().unwrap().revision, Revision(1));
    assert!(matches!(import.wait(), Err(JournalError::Full { .. })));
    drop(journal);
    assert_eq!(verify_dir(&disk.0.join("data")).unwrap().tally.records, 1);
}
