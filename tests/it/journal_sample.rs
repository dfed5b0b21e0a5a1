//! Records and folders for the journal's tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rampart::flag::definition::Definition;
use rampart::flag::key::{EnvironmentName, FlagId, FlagKey, VariantName};
use rampart::flag::time::{Generation, Timestamp};
use rampart::journal::error::JournalError;
use rampart::journal::sqlite::{Options, SqliteJournal};
use rampart::world::chain::seal;
use rampart::world::change::{Change, Origin};
use rampart::world::digest::Salt;
use rampart::world::record::{Actor, Draft, Head, StoredRecord};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

pub(crate) fn environment() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

pub(crate) fn flag(n: u64) -> FlagId {
    FlagId::plain(FlagKey::new(&format!("flag-{n}")).unwrap())
}

pub(crate) fn variant(name: &str) -> VariantName {
    VariantName::new(name).unwrap()
}

pub(crate) fn definition(description: &str) -> Arc<Definition> {
    Arc::new(Definition {
        description: Some(description.to_owned()),
        variants: BTreeMap::from([(variant("on"), true.into()), (variant("off"), false.into())]),
        default_variant: Some(variant("off")),
        tags: BTreeSet::from(["documents".to_owned()]),
        ..Definition::default()
    })
}

pub(crate) fn put(n: u64, description: &str) -> Change {
    let definition = definition(description);
    Change::FlagPut { environment: environment(), flag: flag(n), definition, origin: Origin::Api }
}

pub(crate) fn killed(n: u64, generation: u64) -> Change {
    Change::FlagKilled { environment: environment(), flag: flag(n), generation: Generation(generation) }
}

pub(crate) fn draft(n: u64) -> Draft {
    let mut draft =
        Draft::new(NOW.plus_micros(n as i64), Actor::token("tok", "Ada"), vec![put(n, "one"), killed(n, n)]);
    draft.reason = Some(format!("reason {n}"));
    draft
}

/// Seals a draft after `head` with salts that depend on the place.
pub(crate) fn sealed(head: &Head, draft: &Draft) -> StoredRecord {
    let mut salt = 0u8;
    let place = head.revision.0 as u8;
    seal(draft, head, &mut || {
        salt += 1;
        Salt([place ^ salt; 16])
    })
    .stored
}

/// The records that follow `head`, `count` of them.
pub(crate) fn following(mut head: Head, count: u64) -> Vec<StoredRecord> {
    let next = |_| {
        let record = sealed(&head, &draft(head.revision.0 + 1));
        head = record.head();
        record
    };
    (0..count).map(next).collect()
}

pub(crate) const OPTIONS: Options = Options { now: NOW, accept_cut_tail: false };

pub(crate) fn open(folder: &Path) -> Result<SqliteJournal, JournalError> {
    SqliteJournal::open(folder, &OPTIONS)
}

pub(crate) fn open_accepting(folder: &Path) -> Result<SqliteJournal, JournalError> {
    SqliteJournal::open(folder, &Options { accept_cut_tail: true, ..OPTIONS })
}

/// Copies the files of a data folder as they are now.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "journal.db-shm" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
