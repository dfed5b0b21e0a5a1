//! What the journal says about a kill afterwards: who had it when its receipts were collected.

use super::{FLAG, Watcher, connected, kill, server, settled, until};
use crate::harness::sse::EventStream;
use crate::harness::{stderr, stdout};
use serde_json::{Value, json};

#[test]
fn the_audit_trail_notes_who_had_confirmed_a_kill() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &["--streams-observe-for", "1s"]);
    let mut admin = server.admin();
    let _watchers = ["first", "second"].map(|name| Watcher::start(&server, name));
    settled(&mut admin, 2);
    let _silent = EventStream::open(&server.data, "/v1/stream?name=silent", &[]).expect("a stream");
    connected(&mut admin, 3);
    let generation = kill(&mut admin, "0.6")["generation"].as_u64().expect("a generation");

    let observed = until("the journal notes it", || {
        let done = server.cli(&["audit", "tail", "--output", "json"]);
        assert!(done.status.success(), "{}", stderr(&done));
        let records: Value = serde_json::from_str(&stdout(&done)).expect("JSON");
        let changes = records.as_array().into_iter().flatten().flat_map(|record| {
            let by = record["actorId"].clone();
            record["changes"].as_array().cloned().into_iter().flatten().map(move |change| (by.clone(), change))
        });
        changes.into_iter().find(|(_, change)| change["kind"] == "propagation_observed")
    });
    let (actor, change) = observed;
    assert_eq!(actor, "witness");
    let text = change.to_string();
    assert!(text.contains(&generation.to_string()), "it names the kill {generation}: {text}");
    let counts = find(&change, "propagation").unwrap_or_else(|| panic!("counts in {text}"));
    let expected = [("subscribers", 3), ("confirmed", 2), ("unconfirmable", 1), ("pending", 0), ("disconnected", 0)];
    for (name, count) in expected {
        assert_eq!(counts[name], json!(count), "{name} in {text}");
    }
    assert!(counts["maxUs"].as_u64().expect("a time") >= counts["firstUs"].as_u64().expect("a time"), "{text}");
    assert_ne!(counts["firstUs"], 0, "{text}");

    let history = admin.get("/v1/audit?limit=10").json();
    let kinds = history["records"].as_array().into_iter().flatten().flat_map(|record| record["changes"].as_array());
    let kinds: Vec<&str> = kinds.flatten().filter_map(|change| change["kind"].as_str()).collect();
    assert_eq!(kinds.first(), Some(&"propagation_observed"), "once, after the kill of {FLAG}: {kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "propagation_observed").count(), 1, "{kinds:?}");
}

/// A member somewhere in a document.
fn find<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Object(members) => members.get(name).or_else(|| members.values().find_map(|value| find(value, name))),
        _ => None,
    }
}
