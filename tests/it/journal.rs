//! The conformance suite of `Journal`, for both implementations, and what only the one in a folder promises.

use std::sync::Arc;
use std::thread;

use rampart::flag::time::Revision;
use rampart::journal::Journal;
use rampart::journal::audit::verify_dir;
use rampart::journal::error::JournalError;
use rampart::journal::head_file::Found;
use rampart::journal::memory::{MemoryJournal, Trouble};
use rampart::journal::pending::{NAME, Pending, PendingFault, PendingKill, SLOTS};
use rampart::journal::replay::{catch_up, replay};
use rampart::world::chain::open as open_record;
use rampart::world::change::Change;
use rampart::world::checkpoint;
use rampart::world::digest::Epoch;
use rampart::world::fold::World;
use rampart::world::record::{Actor, Draft, Head};

use crate::journal_sample::{NOW, draft, environment, flag, following, open, sealed};

/// Every rule that a journal keeps, whatever it is made of.
fn conformance(make: &dyn Fn() -> Box<dyn Journal>) {
    appends_are_read_back(&*make());
    what_does_not_follow_is_refused(&*make());
    altered_records_are_refused(&*make());
    queued_appends_are_taken_in_order(&*make());
    erasing_takes_the_bytes_and_the_checkpoint(&*make());
    checkpoints_are_bytes(&*make());
    a_replay_folds_everything(&*make());
}

fn appends_are_read_back(journal: &dyn Journal) {
    let start = journal.head();
    assert_eq!(start.revision, Revision::ZERO);
    assert_eq!(journal.append(Vec::new()).wait().unwrap(), start);
    let records = following(start, 5);
    assert_eq!(journal.append(records[..2].to_vec()).wait().unwrap(), records[1].head());
    assert_eq!(journal.append(records[2..].to_vec()).wait().unwrap(), records[4].head());
    assert_eq!(journal.head(), records[4].head());
    assert_eq!(journal.read(Revision(1), 100).unwrap(), records);
    assert_eq!(journal.read(Revision(2), 2).unwrap(), records[1..3]);
    assert_eq!(journal.read(Revision(6), 2).unwrap(), []);
    let tally = journal.verify().unwrap();
    assert_eq!((tally.head, tally.records, tally.erased), (records[4].head(), 5, 0));
}

fn what_does_not_follow_is_refused(journal: &dyn Journal) {
    let records = following(journal.head(), 3);
    journal.append(records[..1].to_vec()).wait().unwrap();
    let conflict = |records: Vec<_>| match journal.append(records).wait() {
        Err(JournalError::Conflict { expected, found }) => (expected.0, found.0),
        other => panic!("expected a conflict, got {other:?}"),
    };
    assert_eq!(conflict(records[2..].to_vec()), (2, 3));
    assert_eq!(conflict(records[..1].to_vec()), (2, 1));
    let other = sealed(&Head { hash: records[1].hash, ..records[0].head() }, &draft(2));
    assert_eq!(conflict(vec![other]), (2, 2));
    // All or none: the first of the two would have fitted.
    assert_eq!(conflict(vec![records[1].clone(), records[1].clone()]), (3, 2));
    assert_eq!(journal.head(), records[0].head());
    assert_eq!(journal.read(Revision(2), 9).unwrap(), []);
    journal.append(records[1..].to_vec()).wait().unwrap();
}

fn altered_records_are_refused(journal: &dyn Journal) {
    let mut record = following(journal.head(), 1).remove(0);
    record.actor_id.push('x');
    let refused = journal.append(vec![record]).wait();
    assert!(matches!(refused, Err(JournalError::Corrupt { revision: Revision(1), .. })), "{refused:?}");
    journal.append(following(journal.head(), 1)).wait().unwrap();
}

fn queued_appends_are_taken_in_order(journal: &dyn Journal) {
    let records = following(journal.head(), 300);
    let waiting: Vec<_> = records.iter().map(|record| journal.append(vec![record.clone()])).collect();
    for (record, appending) in records.iter().zip(waiting) {
        assert_eq!(appending.wait().unwrap(), record.head());
    }
    assert_eq!(journal.verify().unwrap().records, 300);
}

fn erasing_takes_the_bytes_and_the_checkpoint(journal: &dyn Journal) {
    let records = following(journal.head(), 2);
    journal.append(records.clone()).wait().unwrap();
    journal.put_checkpoint(b"folded").unwrap();
    let declared = Change::PayloadErased { revision: Revision(1), payload: 1 };
    let declaration = sealed(&journal.head(), &Draft::new(NOW, Actor::system("erase"), vec![declared]));
    journal.append(vec![declaration]).wait().unwrap();
    assert_eq!(journal.verify().unwrap().unfinished, [(Revision(1), 1)]);
    for _ in 0..2 {
        journal.erase(Revision(1), 1).unwrap();
    }
    assert_eq!(journal.checkpoint().unwrap(), None);
    let record = open_record(&journal.read(Revision(1), 1).unwrap()[0]).unwrap();
    assert_eq!((record.reason, record.changes.len()), (None, 2));
    let tally = journal.verify().unwrap();
    assert_eq!((tally.erased, tally.unfinished), (1, Vec::new()));
    for (revision, payload) in [(1, 9), (9, 0), (0, 0), (3, 0)] {
        let refused = journal.erase(Revision(revision), payload);
        assert!(matches!(refused, Err(JournalError::NoSuchPayload { .. })), "{revision} {payload}: {refused:?}");
    }
    journal.erase(Revision(2), 0).unwrap();
    let silent = journal.verify();
    assert!(matches!(silent, Err(JournalError::Corrupt { revision: Revision(2), .. })), "{silent:?}");
}

fn checkpoints_are_bytes(journal: &dyn Journal) {
    assert_eq!(journal.checkpoint().unwrap(), None);
    for bytes in [&b"one"[..], b"", b"a longer one"] {
        journal.put_checkpoint(bytes).unwrap();
        assert_eq!(journal.checkpoint().unwrap().as_deref(), Some(bytes));
    }
}

fn a_replay_folds_everything(journal: &dyn Journal) {
    assert_eq!(replay(journal).unwrap().world, World::empty(journal.head().epoch));
    journal.append(following(journal.head(), 300)).wait().unwrap();
    let whole = replay(journal).unwrap();
    assert_eq!((whole.checkpoint, whole.records, *whole.world.head()), (None, 300, journal.head()));
    assert_eq!(whole.world.environment(&environment()).unwrap().flags().len(), 300);

    let mut world = World::empty(journal.head().epoch);
    for record in journal.read(Revision(1), 100).unwrap() {
        world.apply(&open_record(&record).unwrap());
    }
    let good = checkpoint::encode(&world);
    journal.put_checkpoint(&good).unwrap();
    let short = replay(journal).unwrap();
    assert_eq!((short.checkpoint, short.records), (Some(Revision(100)), 200));
    assert_eq!(short.world, whole.world);

    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut foreign = World::empty(Epoch([9; 16]));
    for record in following(Head::empty(Epoch([9; 16])), 3) {
        foreign.apply(&open_record(&record).unwrap());
    }
    for useless in [&flipped[..], &good[..good.len() - 1], b"", &checkpoint::encode(&foreign)] {
        journal.put_checkpoint(useless).unwrap();
        let rebuilt = replay(journal).unwrap();
        assert_eq!((rebuilt.checkpoint, rebuilt.world), (None, whole.world.clone()));
    }

    let mut behind = whole.world.clone();
    journal.append(following(journal.head(), 2)).wait().unwrap();
    assert_eq!(catch_up(&mut behind, journal).unwrap(), 2);
    assert_eq!(*behind.head(), journal.head());
}

#[test]
fn a_journal_in_memory_keeps_every_rule() {
    conformance(&|| Box::new(MemoryJournal::new(Epoch([1; 16]))));
}

#[test]
fn a_journal_in_a_folder_keeps_every_rule() {
    let root = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    conformance(&|| {
        number.set(number.get() + 1);
        Box::new(open(&root.path().join(number.get().to_string())).unwrap())
    });
}

#[test]
fn a_journal_in_memory_fails_when_told_and_recovers() {
    let journal = MemoryJournal::new(Epoch([1; 16]));
    let records = following(journal.head(), 1);
    journal.set_trouble(Some(Trouble::Full));
    assert!(matches!(journal.append(records.clone()).wait(), Err(JournalError::Full { .. })));
    journal.set_trouble(Some(Trouble::Failing));
    assert!(matches!(journal.append(records.clone()).wait(), Err(JournalError::Unavailable { .. })));
    journal.set_trouble(None);
    journal.append(records).wait().unwrap();
}

#[test]
fn a_restart_finds_everything_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut head = open(folder.path()).unwrap().head();
    for _ in 0..4 {
        let journal = open(folder.path()).unwrap();
        assert_eq!(journal.head(), head);
        let records = following(head, 3);
        head = journal.append(records).wait().unwrap();
    }
    let journal = open(folder.path()).unwrap();
    assert_eq!(journal.verify().unwrap().records, 12);
    assert_eq!(replay(&journal).unwrap().world.revision(), Revision(12));
}

#[test]
fn erased_words_are_nowhere_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    let mut personal = draft(1);
    personal.reason = Some("asked by Ottilie Unmistakable".to_owned());
    journal.append(vec![sealed(&journal.head(), &personal)]).wait().unwrap();
    journal.append(following(journal.head(), 50)).wait().unwrap();
    let holding = || {
        let files = folder.path().read_dir().unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
        files.filter(|bytes| bytes.windows(12).any(|part| part == b"Unmistakable")).count()
    };
    assert_ne!(holding(), 0);
    let declared = Change::PayloadErased { revision: Revision(1), payload: 1 };
    journal
        .append(vec![sealed(&journal.head(), &Draft::new(NOW, Actor::system("erase"), vec![declared]))])
        .wait()
        .unwrap();
    journal.erase(Revision(1), 1).unwrap();
    assert_eq!(holding(), 0);
    assert_eq!(journal.verify().unwrap().erased, 1);
}

#[test]
fn an_append_can_be_awaited() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    let records = following(journal.head(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(journal.append(records.clone())).unwrap(), records[0].head());
}

#[test]
fn two_writers_never_both_win() {
    let folder = tempfile::tempdir().unwrap();
    let journal: Arc<dyn Journal> = Arc::new(open(folder.path()).unwrap());
    let race = |journal: Arc<dyn Journal>, name: &'static str| {
        thread::spawn(move || {
            let mut won = 0;
            while won < 20 {
                let head = journal.head();
                let draft = Draft::new(NOW, Actor::system(name), Vec::new());
                match journal.append(vec![sealed(&head, &draft)]).wait() {
                    Ok(_) => won += 1,
                    Err(JournalError::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        })
    };
    let threads = ["one", "two", "three"].map(|name| race(Arc::clone(&journal), name));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let tally = journal.verify().unwrap();
    assert_eq!((tally.records, tally.head), (60, journal.head()));
}

#[test]
fn a_second_server_on_the_same_folder_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(&error, JournalError::Locked { pid: Some(pid), .. } if *pid == std::process::id()), "{error:?}");
    let message = error.to_string();
    assert!(
        message.contains(&std::process::id().to_string()) && message.contains(&folder.path().display().to_string())
    );
    drop(first);
    open(folder.path()).unwrap();
}

#[test]
fn an_audit_works_beside_a_running_server_and_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = verify_dir(folder.path());
    assert!(matches!(nothing, Err(JournalError::Unavailable { .. })), "{nothing:?}");
    let journal = open(folder.path()).unwrap();
    assert_eq!(verify_dir(folder.path()).unwrap().tally.records, 0);
    let head = journal.append(following(journal.head(), 7)).wait().unwrap();
    let beside = verify_dir(folder.path()).unwrap();
    assert_eq!((beside.tally.records, beside.tally.head), (7, head));
    assert_eq!(beside.acknowledged, Found::Acknowledged(head));
    drop(journal);
    assert_eq!(verify_dir(folder.path()).unwrap(), beside);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_what_the_folder_holds() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("data");
    let journal = open(&folder).unwrap();
    journal.append(following(journal.head(), 1)).wait().unwrap();
    journal.put_checkpoint(b"x").unwrap();
    Pending::open(&folder).unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut names = Vec::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(
        names,
        ["checkpoint", "head", "journal.db", "journal.db-shm", "journal.db-wal", "kills.pending", "rampart.lock"]
    );
}

fn pending(generation: u64) -> PendingKill {
    PendingKill {
        environment: environment(),
        flag: flag(generation),
        generation: rampart::flag::time::Generation(generation),
        at: NOW,
        actor: Actor::token("tok", "Ada"),
        reason: Some("checkout is down".to_owned()),
    }
}

#[test]
fn pending_kills_survive_a_restart_until_they_are_cleared() {
    let folder = tempfile::tempdir().unwrap();
    let kills: Vec<_> = (1..=5).map(pending).collect();
    Pending::open(folder.path()).unwrap().put(&kills).unwrap();
    let mut file = Pending::open(folder.path()).unwrap();
    assert_eq!(file.entries(), kills.iter().collect::<Vec<_>>());
    file.clear(rampart::flag::time::Generation(3)).unwrap();
    file.put(&[pending(9)]).unwrap();
    let file = Pending::open(folder.path()).unwrap();
    let left: Vec<_> = file.entries().iter().map(|kill| kill.generation.0).collect();
    assert_eq!((left, file.torn()), (vec![4, 5, 9], 0));
}

#[test]
fn the_longest_names_fit_and_a_long_reason_is_cut_between_letters() {
    let folder = tempfile::tempdir().unwrap();
    let long = |n: usize| "ä".repeat(n / 2);
    let mut kill = pending(1);
    kill.environment = rampart::flag::key::EnvironmentName::new(&"e".repeat(64)).unwrap();
    kill.flag.flag_set = Some(rampart::flag::key::FlagSetName::new(&long(256)).unwrap());
    kill.flag.key = rampart::flag::key::FlagKey::new(&long(256)).unwrap();
    kill.reason = Some(format!("x{}", long(4094)));
    Pending::open(folder.path()).unwrap().put(std::slice::from_ref(&kill)).unwrap();
    let file = Pending::open(folder.path()).unwrap();
    let found = file.entries()[0].clone();
    assert_eq!((&found.flag, &found.environment, &found.actor), (&kill.flag, &kill.environment, &kill.actor));
    let (reason, whole) = (found.reason.unwrap(), kill.reason.unwrap());
    assert!(reason.len() > 128 && whole.starts_with(&reason));
}

#[test]
fn a_torn_pending_kill_is_not_one_and_its_neighbours_stay() {
    let folder = tempfile::tempdir().unwrap();
    Pending::open(folder.path()).unwrap().put(&[pending(1), pending(2), pending(3)]).unwrap();
    let path = folder.path().join(NAME);
    let whole = std::fs::read(&path).unwrap();
    let used = whole[1024..2048].iter().rposition(|byte| *byte != 0).unwrap();
    for at in 0..=used {
        let mut torn = whole.clone();
        torn[1024 + at..2048].fill(0);
        std::fs::write(&path, &torn).unwrap();
        let file = Pending::open(folder.path()).unwrap();
        let left: Vec<_> = file.entries().iter().map(|kill| kill.generation.0).collect();
        assert_eq!(left, [1, 3], "torn at {at}");
    }
    std::fs::write(&path, &whole[..1100]).unwrap();
    let mut cut = Pending::open(folder.path()).unwrap();
    cut.put(&[pending(4)]).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), whole.len() as u64);
    assert_eq!(Pending::open(folder.path()).unwrap().entries().len(), 2);
}

#[test]
fn a_full_pending_file_says_so_and_takes_no_part_of_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = Pending::open(folder.path()).unwrap();
    let kills: Vec<_> = (1..=SLOTS as u64).map(pending).collect();
    file.put(&kills[..SLOTS - 1]).unwrap();
    let full = file.put(&[pending(1001), pending(1002)]);
    assert!(matches!(full, Err(PendingFault::Full { held, more: 2 }) if held == SLOTS - 1), "{full:?}");
    file.put(&kills[SLOTS - 1..]).unwrap();
    assert_eq!(Pending::open(folder.path()).unwrap().entries().len(), SLOTS);
}
