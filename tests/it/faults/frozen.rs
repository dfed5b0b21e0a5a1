//! A client process that is frozen in the middle of its life: it keeps its connection and says nothing.

use super::{Watcher, receipts, server, settled};
use crate::harness::{stderr, stdout};

const NAMES: [&str; 4] = ["billing", "checkout", "frozen-one", "search"];

#[test]
fn a_kill_that_waits_names_exactly_the_client_that_is_frozen() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &[]);
    let mut admin = server.admin();
    let watchers = NAMES.map(|name| Watcher::start(&server, name));
    settled(&mut admin, 4);
    let frozen = &watchers[2];
    frozen.signal("STOP");

    let kill = ["flag", "kill", "slice", "--reason", "drill", "--wait", "all", "--timeout", "3s"];
    let killed = server.cli(&kill);
    let (out, error) = (stdout(&killed), stderr(&killed));
    assert_eq!(killed.status.code(), Some(5), "{out}{error}");
    let named: Vec<&&str> = NAMES.iter().filter(|name| out.contains(**name)).collect();
    assert_eq!(named, [&"frozen-one"], "exactly the frozen one is named: {out}");
    assert!(out.contains("3 of 4 confirmed, 1 pending"), "{out}");
    for other in watchers.iter().enumerate().filter(|(place, _)| *place != 2).map(|(_, watcher)| watcher) {
        other.lines.wait_for("\"slice\"");
    }

    let trail = admin.get("/v1/environments/production/flags/slice").json();
    let generation = trail["killed"]["generation"].as_u64().unwrap_or_else(|| panic!("a generation: {trail}"));
    let then = receipts(&mut admin, "generation", generation);
    assert_eq!((&then["reached"], &then["confirmed"], &then["pending"]), (&false.into(), &3.into(), &1.into()));
    assert_eq!(then["missing"][0]["name"], "frozen-one", "{then}");

    frozen.signal("CONT");
    let restored = server.cli(&["flag", "restore", "slice", "--wait", "all", "--timeout", "30s"]);
    assert_eq!(restored.status.code(), Some(0), "{}{}", stdout(&restored), stderr(&restored));
    let now = receipts(&mut admin, "generation", generation);
    assert_eq!((&now["reached"], &now["confirmed"]), (&true.into(), &4.into()), "{now}");
    assert!(now["maxUs"].as_u64().expect("a time") >= 3_000_000, "the frozen one was as late as it was: {now}");
}
