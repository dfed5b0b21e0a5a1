//! Who waits for whom, what is rendered how often, and what is kept.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::*;
use crate::access::policy::DataPlaneAuth;
use crate::access::token::Tokens;
use crate::eval::compile::compile_all;
use crate::eval::object::Object;
use crate::flag::definition::Definition;
use crate::flag::key::{FlagId, FlagKey, FlagSetName, VariantName};
use crate::flag::time::Revision;
use crate::serve::http::caller::Gate;
use crate::serve::http::fixture;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

const GUARD: Duration = Duration::from_secs(30);

/// A flag: its set (none: `""`), its source (none: `""`), its default variant.
type Row<'r> = (&'r str, &'r str, &'r str);

struct World {
    gate: Gate,
    environment: EnvironmentName,
    payloads: Payloads,
}

impl World {
    fn of(rows: &[Row<'_>]) -> Self {
        let gate = fixture::gate(Tokens::default(), NOW);
        let payloads = Payloads::new(Arc::clone(&gate.hub), TaskTracker::new(), SyncMetrics::default());
        let world = Self { gate, environment: EnvironmentName::new("production").unwrap(), payloads };
        world.publish(rows);
        world
    }

    /// Publishes one flag for each row; its key is `f`, with the row's place behind it.
    fn publish(&self, rows: &[Row<'_>]) {
        let flags = rows.iter().enumerate().map(|(at, (flag_set, source, default))| {
            let variant = |name: &str| VariantName::new(name).unwrap();
            let definition = Definition {
                variants: [(variant("on"), json!(true)), (variant("off"), json!(false))].into_iter().collect(),
                default_variant: Some(variant(default)),
                source: (!source.is_empty()).then(|| (*source).to_owned()),
                ..Definition::default()
            };
            let flag_set = (!flag_set.is_empty()).then(|| FlagSetName::new(flag_set).unwrap());
            let id = FlagId { flag_set, key: FlagKey::new(&format!("f{at}")).unwrap() };
            Object::Flag { id, revision: Revision(1), definition: Arc::new(definition), allocation: None }
        });
        let (set, diagnostics) = compile_all(flags);
        assert_eq!(diagnostics, []);
        fixture::publish(&self.gate, "production", set, Revision(1), DataPlaneAuth::Optional);
    }

    async fn ask(&self, selector: &str) -> Payload {
        let payload = self.payloads.current(&self.environment, selector);
        let payload = tokio::time::timeout(GUARD, payload).await.expect("nobody is waited for");
        payload.expect("there is such an environment")
    }

    /// The default variants by key.
    async fn defaults(&self, selector: &str) -> Value {
        let payload = self.ask(selector).await;
        let document: Value = serde_json::from_slice(&payload.body).expect("JSON");
        let flags = document["flags"].as_object().expect("an object");
        flags.iter().map(|(key, flag)| (key.clone(), flag["defaultVariant"].clone())).collect()
    }

    fn renderings(&self) -> u64 {
        self.payloads.metrics.renderings.get()
    }

    fn kept(&self, selector: &str) -> bool {
        self.payloads.place(&self.environment).shelf().documents.contains_key(selector)
    }
}

const ROWS: [Row<'_>; 4] = [("", "x", "on"), ("a", "x", "off"), ("b", "y", "on"), ("b", "", "off")];

#[tokio::test]
async fn a_selector_gives_its_own_flags_of_the_newest_snapshot() {
    let world = World::of(&ROWS);
    let cases = [
        ("", json!({"f0": "on", "f1": "off", "f2": "on", "f3": "off"})),
        ("flagSetId=", json!({"f0": "on"})),
        ("flagSetId=b", json!({"f2": "on", "f3": "off"})),
        ("source=x", json!({"f0": "on", "f1": "off"})),
        ("source=y", json!({"f2": "on"})),
        ("source=", json!({})),
        ("source=z", json!({})),
        ("flagSetId=c", json!({})),
    ];
    for (selector, wanted) in &cases {
        assert_eq!(world.defaults(selector).await, *wanted, "{selector}");
    }
    world.publish(&[("a", "z", "on")]);
    for selector in ["", "flagSetId=a", "source=z"] {
        assert_eq!(world.defaults(selector).await, json!({"f0": "on"}), "{selector}");
    }
    for selector in ["flagSetId=", "flagSetId=b", "source=x"] {
        assert_eq!(world.defaults(selector).await, json!({}), "{selector}");
        assert!(!world.kept(selector), "{selector} selects nothing any more");
    }
}

#[tokio::test]
async fn selectors_do_not_wait_for_each_other_and_everything_waits_for_none() {
    let world = World::of(&ROWS);
    let place = world.payloads.place(&world.environment);
    // As if somebody were rendering this one for ever.
    let rendering = place.turn("flagSetId=a").lock_owned().await;
    assert_eq!(world.defaults("flagSetId=b").await, json!({"f2": "on", "f3": "off"}));
    // As if as many as may were at it.
    let room = Arc::clone(&world.payloads.room);
    let all = u32::try_from(room.available_permits()).expect("few");
    let permits = room.acquire_many_owned(all).await.expect("it is never closed");
    assert_eq!(world.ask("").await.changed, Some(NOW));
    world.publish(&[("a", "", "on")]);
    assert_eq!(world.defaults("").await, json!({"f0": "on"}));
    drop((rendering, permits));
    assert_eq!(world.defaults("flagSetId=a").await, json!({"f0": "on"}));
}

#[tokio::test]
async fn whoever_asks_for_the_same_shares_one_rendering() {
    let world = Arc::new(World::of(&ROWS));
    // So that nothing but the rendering is left to wait for.
    world.ask("").await;
    let place = world.payloads.place(&world.environment);
    let rendering = place.turn("source=x").lock_owned().await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let world = Arc::clone(&world);
        asking.spawn(async move { world.ask("source=x").await });
    }
    // One that goes away while it waits takes nothing with it.
    let (gone, leaves) = oneshot::channel::<()>();
    let left = Arc::clone(&world);
    asking.spawn(async move {
        tokio::select! {
            biased;
            payload = left.ask("source=x") => payload,
            _ = leaves => left.payloads.nothing.clone(),
        }
    });
    // All of them wait now, on this one thread.
    tokio::task::yield_now().await;
    drop((gone, rendering));
    let payloads = asking.join_all().await;
    assert_eq!(payloads.len(), 51);
    assert_eq!(world.renderings(), 2);
}

#[tokio::test]
async fn selectors_that_select_nothing_cost_no_rendering_and_no_place() {
    let world = World::of(&ROWS);
    let before = world.ask("flagSetId=b").await;
    for number in 0..2 * DOCUMENTS_MAX {
        for key in ["source", "flagSetId"] {
            let payload = world.ask(&format!("{key}=none-{number}")).await;
            assert_eq!((&payload.body[..], payload.changed), (&br#"{"flags":{}}"#[..], None));
            assert_eq!(payload.etag, world.payloads.nothing.etag);
        }
    }
    let after = world.ask("flagSetId=b").await;
    assert!(Arc::ptr_eq(&before.etag, &after.etag));
    assert_eq!(world.renderings(), 1);
    assert_eq!(world.payloads.place(&world.environment).shelf().documents.len(), 1);
}

#[tokio::test]
async fn only_the_document_that_was_not_asked_for_the_longest_is_dropped() {
    let names: Vec<String> = (0..=DOCUMENTS_MAX).map(|number| format!("set-{number}")).collect();
    let rows: Vec<Row<'_>> = names.iter().map(|name| (name.as_str(), "", "on")).collect();
    let world = World::of(&rows);
    let selectors: Vec<String> = names.iter().map(|name| format!("flagSetId={name}")).collect();
    world.ask("").await;
    for selector in &selectors[..DOCUMENTS_MAX - 1] {
        world.ask(selector).await;
    }
    // Everything was asked for before all others, and the first set is asked for again.
    world.ask(&selectors[0]).await;
    for selector in &selectors[DOCUMENTS_MAX - 1..] {
        world.ask(selector).await;
    }
    let rendered = world.renderings();
    assert_eq!(rendered, names.len() as u64 + 1);
    for selector in ["", &selectors[0], &selectors[3], &selectors[DOCUMENTS_MAX]] {
        world.ask(selector).await;
    }
    assert_eq!(world.renderings(), rendered, "these were kept");
    assert!(!world.kept(&selectors[1]) && !world.kept(&selectors[2]), "these had to go");
    assert_eq!(world.defaults(&selectors[1]).await, json!({"f1": "on"}));
}

#[tokio::test]
async fn the_same_text_stays_the_same_payload_with_its_time() {
    let world = World::of(&ROWS);
    let first = world.ask("flagSetId=b").await;
    world.gate.hub.publish(&world.environment, |before| {
        let before = before.expect("it is there");
        before.with_kills(before.kills(), NOW.plus_micros(5_000_000))
    });
    let same = world.ask("flagSetId=b").await;
    assert_eq!((world.renderings(), same.changed), (2, Some(NOW)));
    assert!(Arc::ptr_eq(&first.etag, &same.etag));
    let mut rows = ROWS;
    rows[2].2 = "off";
    world.publish(&rows);
    let changed = world.ask("flagSetId=b").await;
    assert_ne!(changed.etag, first.etag);
}
