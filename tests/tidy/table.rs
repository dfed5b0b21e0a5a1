//! The rules as data: who may import whom, what pure code may not touch, and which things have one home.
//!
//! To change the architecture, change a row here and say why in the same commit; the rules themselves live beside it.

/// One folder of `src/` and the folders that it may import.
pub struct Row {
    /// The folder (or the file `main.rs`, `proto.rs`).
    pub folder: &'static str,
    /// What it may import.
    pub may: &'static [&'static str],
}

/// The import table, in reading order: a folder imports only what stands above it.
pub const MAY_IMPORT: &[Row] = &[
    Row { folder: "flag", may: &[] },
    Row { folder: "eval", may: &["flag"] },
    Row { folder: "rollout", may: &["flag"] },
    Row { folder: "access", may: &["flag"] },
    Row { folder: "world", may: &["flag", "rollout", "access"] },
    Row { folder: "sync", may: &["flag", "eval"] },
    Row { folder: "proto", may: &[] },
    Row { folder: "snapshot", may: &["sync", "eval", "access", "flag"] },
    Row { folder: "journal", may: &["world"] },
    Row { folder: "notify", may: &["rollout"] },
    Row { folder: "control", may: &["journal", "snapshot", "notify", "world", "rollout", "access", "eval", "flag"] },
    Row { folder: "source", may: &["control", "rollout", "flag"] },
    Row {
        folder: "serve",
        may: &["control", "snapshot", "sync", "eval", "rollout", "access", "world", "flag", "proto"],
    },
    Row { folder: "console", may: &["control", "snapshot", "sync", "eval", "rollout", "access", "world", "flag"] },
    Row { folder: "client", may: &["sync", "eval", "flag", "proto"] },
    Row { folder: "relay", may: &["client", "snapshot", "flag"] },
    // Everything below it; not `proto`, whose types stop at the door.
    Row {
        folder: "app",
        may: &[
            "flag", "eval", "rollout", "access", "world", "sync", "snapshot", "journal", "notify", "control", "source",
            "serve", "console", "client", "relay",
        ],
    },
    Row { folder: "cli", may: &["app", "client", "journal", "world", "eval", "rollout", "flag"] },
    Row { folder: "main", may: &["cli"] },
];

/// An import that the table of the design does not have.
pub struct Exception {
    /// Who imports.
    pub folder: &'static str,
    /// What.
    pub import: &'static str,
    /// Why that is right.
    pub reason: &'static str,
}

/// Each exception with its reason. They point downward like the rest.
pub const EXCEPTIONS: &[Exception] = &[
    Exception {
        folder: "journal",
        import: "flag",
        reason: "a record is found by its `Revision` and `Timestamp`, which are words of `flag`",
    },
    Exception {
        folder: "cli",
        import: "access",
        reason: "`token create --scope` parses the same scopes that the server checks",
    },
    Exception {
        folder: "cli",
        import: "control",
        reason: "`eval` needs the time, and the clock's one home is `control`",
    },
    Exception {
        folder: "cli",
        import: "sync",
        reason: "`watch` prints the events of the replica that `client` drives",
    },
];

/// The folders whose functions only compute: `now` and random bytes are arguments.
pub const PURE: &[&str] = &["flag", "eval", "rollout", "access", "world", "sync"];

/// The crates that pure folders may use; every other dependency of `Cargo.toml` is refused there.
pub const PURE_CRATES: &[&str] = &[
    "jiff",
    "regex",
    "saphyr_parser",
    "serde",
    "serde_json",
    "sha2",
    "strsim",
    "subtle",
    "thiserror",
    "unicode_normalization",
    "xxhash_rust",
];

/// What pure code may not name, and what that would be.
pub const IMPURE: &[(&str, &str)] = &[
    ("std::time::Instant", "the clock"),
    ("std::time::SystemTime", "the clock"),
    ("std::time::UNIX_EPOCH", "the clock"),
    ("std::fs", "IO"),
    ("std::net", "IO"),
    ("std::os", "IO"),
    ("std::env", "IO"),
    ("std::process", "IO"),
    ("std::io::stdin", "IO"),
    ("std::io::stdout", "IO"),
    ("std::io::stderr", "IO"),
    ("print!", "IO"),
    ("println!", "IO"),
    ("eprint!", "IO"),
    ("eprintln!", "IO"),
    ("dbg!", "IO"),
    ("std::sync::Mutex", "a lock"),
    ("std::sync::RwLock", "a lock"),
    ("std::sync::Once", "a lock"),
    ("std::sync::OnceLock", "a lock"),
    ("std::sync::LazyLock", "a lock"),
    ("std::sync::Condvar", "a lock"),
    ("std::sync::Barrier", "a lock"),
    ("std::sync::mpsc", "a lock"),
    ("std::sync::atomic", "a lock"),
    ("core::sync::atomic", "a lock"),
    ("thread_local!", "state outside the arguments"),
    ("std::thread", "a thread"),
    ("std::future", "async"),
    ("std::task", "async"),
    ("std::hash::RandomState", "randomness"),
    ("std::hash::random", "randomness"),
    ("std::collections::hash_map::RandomState", "randomness"),
];

/// Something that lives in one place.
pub struct Home {
    /// The paths that name it.
    pub paths: &'static [&'static str],
    /// The files and folders (prefixes below `src/`) that may; none: nobody may.
    pub homes: &'static [&'static str],
    /// True where tests are bound too.
    pub also_tests: bool,
    /// Why it has one home.
    pub reason: &'static str,
}

/// Things with one home.
pub const HOMES: &[Home] = &[
    Home {
        paths: &["arc_swap"],
        homes: &["snapshot/hub.rs", "client/state.rs"],
        also_tests: true,
        reason: "what is served is swapped in one place, whole; the client, which builds without the server, has its own",
    },
    Home {
        paths: &[
            "std::time::Instant::now",
            "std::time::SystemTime::now",
            "std::time::UNIX_EPOCH",
            "std::time::SystemTime::UNIX_EPOCH",
            "jiff::Timestamp::now",
            "jiff::Zoned::now",
        ],
        homes: &["control/clock.rs", "client/clock.rs"],
        also_tests: false,
        reason: "the server has one clock, and the client, which builds without the server, has its own; everybody \
                 else is told the time",
    },
    Home {
        paths: &[
            "std::env::var",
            "std::env::var_os",
            "std::env::vars",
            "std::env::vars_os",
            "std::env::set_var",
            "std::env::remove_var",
        ],
        homes: &["app/settings/environment.rs"],
        also_tests: true,
        reason: "settings are read once and composed in one place; nobody looks up a variable later",
    },
    Home {
        paths: &["tokio::spawn", "tokio::task::spawn", "tokio::task::spawn_local", "tokio::task::JoinSet"],
        homes: &["app/tasks.rs"],
        also_tests: false,
        reason: "a task that nobody waits for dies unseen; use the tracker that is handed in",
    },
    Home {
        paths: &["std::thread::spawn", "std::thread::Builder", "std::thread::scope"],
        homes: &["app/tasks.rs", "journal/sqlite"],
        also_tests: false,
        reason: "threads have names and owners: the tasks of the process and the journal's one writer",
    },
    Home {
        paths: &["anyhow"],
        homes: &["app/", "cli/", "main.rs"],
        also_tests: true,
        reason: "below the wiring an error is a decision that a caller makes",
    },
    Home {
        paths: &["tonic", "tonic_prost", "tonic_health", "prost"],
        homes: &["serve/grpc", "client/", "proto.rs"],
        also_tests: true,
        reason: "wire types stop at the door",
    },
    Home {
        paths: &["connectrpc", "buffa", "buffa_types"],
        homes: &["serve/flagd", "proto.rs"],
        also_tests: true,
        reason: "flagd's wire types stop at its door",
    },
    Home {
        paths: &["axum", "utoipa", "utoipa_axum"],
        homes: &["serve/", "console/"],
        also_tests: true,
        reason: "HTTP stops at the door",
    },
    Home {
        paths: &["rusqlite"],
        homes: &["journal/sqlite"],
        also_tests: true,
        reason: "one implementation of the journal knows SQL",
    },
    Home {
        paths: &["clap", "clap_complete"],
        homes: &["cli/"],
        also_tests: true,
        reason: "only the commands know the command line",
    },
    Home {
        paths: &[
            "tokio::sync::mpsc::unbounded_channel",
            "tokio::sync::mpsc::UnboundedSender",
            "tokio::sync::mpsc::UnboundedReceiver",
            "std::sync::mpsc::channel",
        ],
        homes: &[],
        also_tests: true,
        reason: "a queue without a limit is a leak with a delay; `std::sync::mpsc` has `sync_channel`",
    },
    Home {
        paths: &["std::thread::sleep"],
        homes: &[],
        also_tests: true,
        reason: "a sleeping thread cannot be stopped; wait for what you wait for, with a deadline",
    },
];

/// Lines of a file below `src/` without its tests: it stays under this.
pub const FILE_LINES: usize = 500;

/// Lines of a function from `fn` to its closing brace: it stays under this.
pub const FUNCTION_LINES: usize = 70;

/// Names of files and folders that say nothing.
pub const EMPTY_NAMES: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "manager", "prelude"];

/// Endings of type names that say nothing.
pub const EMPTY_ENDINGS: &[&str] = &["Manager", "Impl", "Helper", "Helpers", "Util", "Utils"];

/// What `folder` may import, exceptions included; none where the table has no such row.
pub fn may_import(folder: &str) -> Option<Vec<&'static str>> {
    let row = MAY_IMPORT.iter().find(|row| row.folder == folder)?;
    let more = EXCEPTIONS.iter().filter(|exception| exception.folder == folder).map(|exception| exception.import);
    Some(row.may.iter().copied().chain(more).collect())
}

/// The folder's place in reading order.
pub fn rank(folder: &str) -> Option<usize> {
    MAY_IMPORT.iter().position(|row| row.folder == folder)
}

/// Every import that does not point downward: the far end has no row, or does not stand above the folder.
pub fn upward(rows: &[Row], exceptions: &[Exception]) -> Vec<String> {
    let place = |folder: &str| rows.iter().position(|row| row.folder == folder);
    let table = rows.iter().flat_map(|row| row.may.iter().map(|import| (row.folder, *import)));
    let extra = exceptions.iter().map(|exception| (exception.folder, exception.import));
    table
        .chain(extra)
        .filter(|(folder, import)| !matches!((place(folder), place(import)), (Some(own), Some(far)) if far < own))
        .map(|(folder, import)| format!("{folder} → {import}"))
        .collect()
}

/// A cycle in the table, if there is one: found by following imports, not by trusting the order of the rows.
pub fn cycle(rows: &[Row]) -> Option<Vec<&'static str>> {
    fn visit(rows: &[Row], folder: &'static str, trail: &mut Vec<&'static str>) -> Option<Vec<&'static str>> {
        if let Some(start) = trail.iter().position(|seen| *seen == folder) {
            return Some(trail.get(start..).unwrap_or_default().to_vec());
        }
        trail.push(folder);
        let row = rows.iter().find(|row| row.folder == folder);
        let found = row.and_then(|row| row.may.iter().find_map(|import| visit(rows, import, trail)));
        trail.pop();
        found
    }
    rows.iter().find_map(|row| visit(rows, row.folder, &mut Vec::new()))
}

#[test]
fn the_table_points_downward() {
    assert_eq!(upward(MAY_IMPORT, EXCEPTIONS), Vec::<String>::new());
    let planted = [Row { folder: "low", may: &["high"] }, Row { folder: "high", may: &["nowhere"] }];
    assert_eq!(upward(&planted, &[]), ["low → high", "high → nowhere"]);
}

#[test]
fn the_table_has_no_cycle() {
    assert_eq!(cycle(MAY_IMPORT), None);
    let planted =
        [Row { folder: "a", may: &["b"] }, Row { folder: "b", may: &["c"] }, Row { folder: "c", may: &["b"] }];
    assert_eq!(cycle(&planted), Some(vec!["b", "c"]));
}

#[test]
fn every_exception_says_why_and_is_one() {
    for Exception { folder, import, reason } in EXCEPTIONS {
        assert!(reason.len() > 20, "{folder} → {import} says why");
        let row = MAY_IMPORT.iter().find(|row| row.folder == *folder).expect("an exception belongs to a row");
        assert!(!row.may.contains(import), "{folder} → {import} is in the table already");
    }
    assert!(HOMES.iter().all(|home| home.reason.len() > 20), "every home says why");
}
