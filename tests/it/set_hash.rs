//! The published set hashes: what a subscriber in any language must come to. `set_hash_v1.py` beside the vectors comes
//! to the same by another implementation.

use std::path::PathBuf;

use rampart::flag::key::{FlagId, FlagKey, FlagSetName};
use rampart::flag::kill::{KillMark, KillSet};
use rampart::flag::time::{Generation, Revision};
use rampart::sync::hash::SetHash;
use rampart::sync::kills;
use rampart::sync::object::{ObjectKey, ObjectState};
use serde_json::{Value, json};

use crate::harness::repository;

fn file() -> PathBuf {
    repository("tests/vectors/set-hash-v1.json")
}

fn hex(hash: SetHash) -> String {
    hash.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(value: &Value, name: &str) -> Option<String> {
    value[name].as_str().map(str::to_owned)
}

/// The hash of a set of objects as the file describes them.
fn objects(described: &Value) -> SetHash {
    described.as_array().expect("a list").iter().fold(SetHash::EMPTY, |hash, object| {
        let kind = u32::try_from(object["kind"].as_u64().expect("a kind")).expect("a small number");
        let key = text(object, "key").expect("a key");
        let state = ObjectState {
            key: ObjectKey::from_parts(kind, text(object, "flagSet").as_deref(), &key),
            revision: Revision(object["revision"].as_u64().expect("a revision")),
            payload: text(object, "definition").expect("a definition").into_bytes().into(),
            allocation: text(object, "allocation").map(|allocation| allocation.into_bytes().into()),
        };
        hash.with(state.hash())
    })
}

/// The hash of a kill set as the file describes it.
fn killed(described: &Value) -> SetHash {
    let mut set = KillSet::default();
    for kill in described.as_array().expect("a list") {
        let flag_set = text(kill, "flagSet").map(|name| FlagSetName::new(&name).expect("a name"));
        let key = FlagKey::new(&text(kill, "key").expect("a key")).expect("a key");
        let generation = Generation(kill["generation"].as_u64().expect("a generation"));
        let killed = kill["restored"] != true;
        set.merge(&FlagId { flag_set, key }, KillMark { generation, killed });
    }
    kills::set_hash(&set)
}

#[test]
fn the_published_sets_have_the_published_hashes() {
    let vectors: Value = serde_json::from_slice(&std::fs::read(file()).expect("the vectors")).expect("JSON");
    let cases = vectors["cases"].as_array().expect("cases");
    assert!(cases.len() >= 8);
    for case in cases {
        let found = if case["objects"].is_array() { objects(&case["objects"]) } else { killed(&case["kills"]) };
        assert_eq!(case["hash"], hex(found), "{}", case["name"]);
    }
}

#[test]
#[ignore = "writes the published vectors: only ever for a new version of the hash"]
fn write_the_set_hashes() {
    let flag = |key: &str, revision: u64, definition: &str| json!({"kind": 1, "key": key, "revision": revision, "definition": definition});
    let bare = r#"{"defaultVariant":"off","state":"ENABLED","variants":{"off":false,"on":true}}"#;
    let mut allocated = flag("sliceB_documents", 18, bare);
    allocated["allocation"] = json!(r#"{"on":5}"#);
    let mut grouped = flag("Käse/1", u64::MAX, "{}");
    grouped["flagSet"] = json!("legacy");
    let segment =
        json!({"kind": 2, "key": "internal", "revision": 3, "definition": r#"{"email":{"ends_with":"@example.com"}}"#});
    let foreign = json!({"kind": 77, "key": "later", "revision": 4, "definition": "{}"});
    let kill = |key: &str, generation: u64| json!({"key": key, "generation": generation});
    let mut restored = kill("b", 9);
    restored["restored"] = json!(true);
    let mut in_set = kill("a", 7);
    in_set["flagSet"] = json!("legacy");
    let one = flag("sliceB_documents", 17, bare);
    let sets = [
        ("no objects", "objects", json!([])),
        ("one flag", "objects", json!([one])),
        ("with an allocation", "objects", json!([allocated])),
        ("in a flag set, outside of ASCII", "objects", json!([grouped])),
        ("flag, segment and a kind of later", "objects", json!([one, segment, foreign])),
        ("the order does not matter", "objects", json!([foreign, segment, one])),
        ("no kills", "kills", json!([])),
        ("two kills", "kills", json!([kill("a", 7), kill("b", 8)])),
        ("a kill in a flag set; a restore is no element", "kills", json!([in_set, restored])),
    ];
    let cases: Vec<Value> = sets
        .into_iter()
        .map(|(name, what, set)| {
            let hash = if what == "objects" { objects(&set) } else { killed(&set) };
            let mut case = json!({"name": name, "hash": hex(hash)});
            case[what] = set;
            case
        })
        .collect();
    let document =
        json!({"about": "set hashes of rampart.v1, see proto/rampart/v1/subscription.proto", "cases": cases});
    std::fs::write(file(), format!("{document:#}\n")).expect("the file");
}
