//! `tests/vectors/journal-v1`: records that every later version must verify and fold to the very same world.
//!
//! The files are written once, by the ignored tests at the end, and never again: a change that needs them rewritten is a
//! change of the record format. A kind of change that came later has a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use rampart::access::policy::DataPlaneAuth;
use rampart::flag::definition::{Allocation, Definition, Segment};
use rampart::flag::key::{EnvironmentName, FlagId, FlagKey, FlagSetName, SegmentName};
use rampart::flag::percent::Percent;
use rampart::flag::time::{Generation, Revision, Timestamp};
use rampart::world::chain::{Verifier, open, seal};
use rampart::world::change::{Change, Origin, Propagation, Reach};
use rampart::world::checkpoint::to_json;
use rampart::world::digest::{Digest, Epoch, Salt};
use rampart::world::fold::World;
use rampart::world::record::{Actor, Content, Draft, Head, Idempotency, StoredRecord};
use serde_json::{Value, json};

use crate::journal_sample::{NOW, variant};

/// The records of the one kind that came later.
const OBSERVED: &str = "propagation_observed.jsonl";
const OBSERVED_GENERATION: Generation = Generation(1_760_000_000_000_002);

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/journal-v1")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

fn records_of(name: &str) -> Vec<StoredRecord> {
    read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn records() -> Vec<StoredRecord> {
    records_of("records.jsonl")
}

#[test]
fn the_published_records_verify_and_fold_to_the_published_world() {
    let records = records();
    let mut verifier = Verifier::new(&records[0]);
    let mut world = World::empty(records[0].epoch);
    for stored in &records {
        verifier.take(stored).unwrap();
        world.apply(&open(stored).unwrap());
    }
    let tally = verifier.finish().unwrap();
    assert_eq!((tally.erased, tally.unfinished), (2, Vec::new()));
    assert_eq!(to_json(&world), read("world.json").trim_end());
}

#[test]
fn the_published_records_hold_every_kind_of_change() {
    let records: Vec<_> = records().into_iter().chain(records_of(OBSERVED)).collect();
    let kinds: BTreeSet<_> =
        records.iter().flat_map(|record| &record.payloads).map(|part| part.kind.as_str()).collect();
    let known: BTreeSet<_> = Change::KINDS.into_iter().chain(["actor_name", "reason"]).collect();
    assert_eq!(kinds, known);
}

#[test]
fn the_published_observation_verifies_folds_and_changes_nothing_but_the_head() {
    let records = records_of(OBSERVED);
    let mut verifier = Verifier::new(&records[0]);
    let mut world = World::empty(records[0].epoch);
    let mut before = Value::Null;
    for stored in &records {
        verifier.take(stored).unwrap();
        before = world_without_head(&world);
        world.apply(&open(stored).unwrap());
    }
    assert_eq!(verifier.finish().unwrap().unfinished, Vec::new());
    assert_eq!(world_without_head(&world), before, "an observation is no change");
    let last = open(&records[2]).unwrap();
    let Change::PropagationObserved { generation, propagation, .. } = &last.changes[0] else { panic!("{last:?}") };
    assert_eq!((*generation, *propagation), (OBSERVED_GENERATION, observed()));
}

/// The world without its place in the journal, which every record moves.
fn world_without_head(world: &World) -> Value {
    let mut world: Value = serde_json::from_str(&to_json(world)).unwrap();
    world["head"] = Value::Null;
    world
}

#[test]
fn sealing_the_published_records_again_yields_the_same_bytes() {
    seals_again("records.jsonl");
    seals_again(OBSERVED);
}

fn seals_again(name: &str) {
    let records = records_of(name);
    let mut head = Head::empty(records[0].epoch);
    for (line, stored) in read(name).lines().zip(records) {
        let record = open(&stored).unwrap();
        if record.erased.is_empty() {
            let draft = Draft {
                at: record.at,
                actor: record.actor,
                reason: record.reason,
                idempotency: record.idempotency,
                writer: record.writer,
                changes: record.changes,
            };
            let mut salts = stored.payloads.iter().map(|part| part.content.as_ref().unwrap().salt);
            let again = seal(&draft, &Head { epoch: stored.epoch, ..head }, &mut || salts.next().unwrap()).stored;
            assert_eq!(again, stored);
            assert_eq!(serde_json::to_string(&again).unwrap(), line);
        }
        head = stored.head();
    }
}

fn environment(name: &str) -> EnvironmentName {
    EnvironmentName::new(name).unwrap()
}

fn flag(key: &str) -> FlagId {
    FlagId::plain(FlagKey::new(key).unwrap())
}

fn grouped(set: &str, key: &str) -> FlagId {
    FlagId { flag_set: Some(FlagSetName::new(set).unwrap()), ..flag(key) }
}

fn definition(value: Value) -> Arc<Definition> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn segment(value: Value) -> Arc<Segment> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn slice_b() -> Value {
    json!({
        "state": "ENABLED", "description": "New document flow (Slice B) – größer",
        "variants": {"on": true, "off": false}, "defaultVariant": "off", "safeVariant": "off",
        "owner": "documents-team", "tags": ["documents", "phase-9"], "expires": "2027-01-31",
        "requires": [{"flag": "document_storage_v2", "variant": "on"}],
        "rules": [
            {"name": "staff first", "when": {"segment": "internal"}, "serve": "on"},
            {"when": {"country": {"in": ["DE", "AT"]}, "app_version": {"semver_gte": "2.4.0"}}, "serve": {"on": 5}}
        ],
        "serve": {"on": 0.125}
    })
}

fn file() -> Origin {
    Origin::File { source: "flags/production.yaml".to_owned() }
}

/// What the records say, one list of changes per record.
#[expect(clippy::too_many_lines, reason = "a list of every kind of change, one after the other")]
fn story() -> Vec<Vec<Change>> {
    let production = || environment("production");
    let slice = || flag("sliceB_documents");
    let put = |flag: FlagId, value: Value, origin: Origin| Change::FlagPut {
        environment: production(),
        flag,
        definition: definition(value),
        origin,
    };
    let storage = json!({"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "on"});
    let button = json!({
        "state": "DISABLED", "variants": {"blue": {"hex": "#00f", "z": 1, "a": 2.5}, "green": {"hex": "#0f0"}},
        "defaultVariant": "blue", "serve": {"green": "33.333%"}, "by": "account.id", "salt": "s", "hash": "murmur3"
    });
    let flagd = json!({
        "state": "ENABLED", "variants": {"a": 1, "b": 2.5}, "defaultVariant": "a",
        "targeting": {"fractional": [["a", 50], ["b", 50]]}, "metadata": {"team": "x", "cost": 3}
    });
    let percentages = |percent: u32| Allocation {
        percentages: BTreeMap::from([(variant("on"), Percent::from_thousandths(percent).unwrap())]),
    };
    let allocated = |percent: Option<u32>| Change::AllocationSet {
        environment: production(),
        flag: slice(),
        allocation: percent.map(percentages),
    };
    let killed = |flag: FlagId, generation: u64| Change::FlagKilled {
        environment: production(),
        flag,
        generation: Generation(1_760_000_000_000_000 + generation),
    };
    let restored = |flag: FlagId, generation: u64| Change::FlagRestored {
        environment: production(),
        flag,
        generation: Generation(1_760_000_000_000_000 + generation),
        undoes: Generation(1_760_000_000_000_000 + generation - 1),
    };
    let staff = || SegmentName::new("internal").unwrap();
    let put_segment = |value: Value| Change::SegmentPut {
        environment: production(),
        segment: staff(),
        definition: segment(value),
        origin: Origin::Api,
    };
    let gone = SegmentName::new("old testers").unwrap();
    let token = |id: &str, environments: Reach, expires: Option<Timestamp>| Change::TokenIssued {
        id: id.to_owned(),
        name: format!("token of {id}"),
        secret_hash: Digest([0x5e; 32]),
        scopes: vec!["kill".to_owned(), "read".to_owned()],
        environments,
        expires,
    };
    vec![
        vec![
            Change::EnvironmentPut {
                environment: production(),
                production: true,
                data_plane_auth: DataPlaneAuth::Optional,
            },
            Change::EnvironmentPut {
                environment: environment("staging.eu-1"),
                production: false,
                data_plane_auth: DataPlaneAuth::Required,
            },
            token("t1", Reach::All, None),
        ],
        vec![
            put_segment(json!({"any": [{"email": {"ends_with": ["@example.com"]}}, {"group": {"in": ["staff"]}}]})),
            Change::SegmentPut {
                environment: production(),
                segment: gone.clone(),
                definition: segment(json!({"user": {"exists": true}})),
                origin: file(),
            },
            put(flag("document_storage_v2"), storage.clone(), file()),
            put(slice(), slice_b(), file()),
            put(flag("checkout_button"), button, Origin::Api),
            put(grouped("legacy", "Käse/1"), flagd, Origin::Api),
            put(flag("short_lived"), storage, Origin::Api),
            Change::SourceImported {
                source: "flags/production.yaml".to_owned(),
                environment: production(),
                digest: Digest([0xd1; 32]),
            },
        ],
        vec![allocated(Some(25_000))],
        vec![killed(slice(), 1), killed(flag("never_defined"), 1)],
        vec![restored(slice(), 2)],
        vec![
            token("t2", Reach::Only(BTreeSet::from([production()])), Some(NOW.plus_micros(1))),
            Change::TokenRevoked { id: "t1".to_owned() },
        ],
        vec![
            Change::FlagDeleted { environment: production(), flag: flag("short_lived"), origin: Origin::Api },
            Change::SegmentDeleted { environment: production(), segment: gone, origin: file() },
        ],
        vec![Change::EnvironmentDeleted { environment: environment("staging.eu-1") }],
        vec![killed(grouped("legacy", "Käse/1"), 9)],
        vec![allocated(None), allocated(Some(500))],
        vec![],
        vec![Change::EpochStarted { ended: Epoch([0xe0; 16]), lost_through: Revision(14) }],
        vec![
            Change::PayloadErased { revision: Revision(9), payload: 1 },
            Change::PayloadErased { revision: Revision(6), payload: 1 },
        ],
    ]
}

#[test]
#[ignore = "writes the published vectors: only ever for a new record format"]
fn write_the_vectors() {
    let mut head = Head::empty(Epoch([0xe0; 16]));
    let mut world = World::empty(head.epoch);
    let mut salt = 0u8;
    let mut records = Vec::new();
    for (number, changes) in (1i64..).zip(story()) {
        if matches!(changes[..], [Change::EpochStarted { .. }]) {
            head.epoch = Epoch([0xe1; 16]);
        }
        // A pause of a day before the last records, so that the first requests are forgotten.
        let at = NOW.plus_micros(number * 60_000_000 + if number > 10 { 24 * 3_600_000_000 } else { 0 });
        let actor = match number % 3 {
            0 => Actor::token("t1", "Zoë \"the\" admin"),
            1 => Actor::system("first-start"),
            _ => Actor::file("flags/production.yaml"),
        };
        let mut draft = Draft::new(at, actor, changes);
        draft.writer = "0.1.0".to_owned();
        draft.reason = (number % 2 == 1).then(|| format!("because of\tthe plan, step {number} ✓"));
        draft.idempotency = (number % 4 == 0).then(|| Idempotency {
            token: "t1".to_owned(),
            key: format!("key {number}"),
            fingerprint: Digest([number as u8; 32]),
        });
        let mut next = || {
            salt += 1;
            Salt(std::array::from_fn(|at| salt.wrapping_mul(31).wrapping_add(at as u8)))
        };
        let sealed = seal(&draft, &head, &mut next);
        head = sealed.stored.head();
        records.push(sealed.stored);
    }
    let content: &mut Option<Content> = &mut records[8].payloads[1].content;
    *content = None;
    records[5].payloads[1].content = None;
    for stored in &records {
        world.apply(&open(stored).unwrap());
    }
    let lines: String = records.iter().map(|record| serde_json::to_string(record).unwrap() + "\n").collect();
    std::fs::create_dir_all(folder()).unwrap();
    std::fs::write(folder().join("records.jsonl"), lines).unwrap();
    std::fs::write(folder().join("world.json"), to_json(&world) + "\n").unwrap();
}

/// What the observation says.
fn observed() -> Propagation {
    Propagation {
        subscribers: 21,
        confirmed: 6,
        late_joined: 5,
        pending: 4,
        rejected: 3,
        unconfirmable: 2,
        disconnected: 1,
        first_us: 1_205,
        p50_us: 3_071,
        p99_us: 14_911,
        max_us: 30_000_001,
    }
}

#[test]
#[ignore = "writes the published observation: only ever for a new record format"]
fn write_the_observation() {
    let mut head = Head::empty(Epoch([0xe2; 16]));
    let production = || environment("production");
    let put = Change::EnvironmentPut {
        environment: production(),
        production: true,
        data_plane_auth: DataPlaneAuth::Optional,
    };
    let killed = Change::FlagKilled {
        environment: production(),
        flag: flag("sliceB_documents"),
        generation: OBSERVED_GENERATION,
    };
    let seen = Change::PropagationObserved {
        environment: production(),
        generation: OBSERVED_GENERATION,
        propagation: observed(),
    };
    let actors = [Actor::system("first-start"), Actor::token("t1", "Zoë"), Actor::system("witness")];
    let mut lines = String::new();
    for (number, (change, actor)) in (1u8..).zip([put, killed, seen].into_iter().zip(actors)) {
        let mut draft = Draft::new(NOW.plus_micros(i64::from(number) * 1_000_000), actor, vec![change]);
        draft.writer = "0.1.0".to_owned();
        draft.reason = (number == 2).then(|| "a drill".to_owned());
        let mut part = 0u8;
        let mut next = || {
            part += 1;
            Salt(std::array::from_fn(|at| (number * 16 + part).wrapping_add(at as u8)))
        };
        let stored = seal(&draft, &head, &mut next).stored;
        head = stored.head();
        lines.push_str(&(serde_json::to_string(&stored).unwrap() + "\n"));
    }
    std::fs::write(folder().join(OBSERVED), lines).unwrap();
}
