//! What holds for every export: nothing panics, what comes out is a flag file without errors, and what cannot be read
//! is refused with the reason.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::report::RemarkKind;
use super::{Options, Outcome, System, VariantAnswer, translate};
use crate::flag::limits::{FILE_BYTES_MAX, LIST_VALUES_MAX};
use crate::flag::parse::{Format, parse_document};

const SYSTEMS: [System; 4] = [System::Flagd, System::Goff, System::Unleash, System::LaunchDarkly];

fn everything() -> Options {
    let variants = Some(VariantAnswer::Payload);
    Options { environment: None, rebucket: true, plain_context: true, variants }
}

fn run(system: System, document: &Value, options: &Options) -> Result<Outcome, Vec<String>> {
    let outcome = translate(system, document.to_string().as_bytes(), Format::Json, Some("x"), options);
    outcome.map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The output is a good flag file in both formats, and the counts are right.
fn is_sound(outcome: &Outcome) {
    let json = parse_document(outcome.text(Format::Json).as_bytes(), Format::Json, None);
    let yaml = parse_document(outcome.text(Format::Yaml).as_bytes(), Format::Yaml, None);
    assert!(json.is_good() && yaml.is_good(), "{:?}\n{}", yaml.diagnostics, outcome.text(Format::Yaml));
    assert_eq!(json.file, yaml.file);
    assert_eq!((json.file.flags.len(), json.file.segments.len()), (outcome.report.translated, outcome.report.segments));
    assert!(outcome.report.translated <= outcome.report.flags);
    // No flag is both in the output and left out.
    for remark in outcome.report.remarks.iter().filter(|remark| remark.kind == RemarkKind::LeftOut) {
        let flag = remark.flag.as_deref().unwrap_or_default();
        assert!(!json.file.flags.keys().any(|id| id.key.as_str() == flag), "{remark:?}");
    }
}

fn vectors() -> [(System, Value); 6] {
    let json = |text| serde_json::from_str(text).expect("JSON");
    let yaml = include_str!("../../../tests/vectors/import/goff.yaml");
    let (goff, _) = crate::flag::yaml::read(yaml, 32).expect("YAML");
    [
        (System::Flagd, json(include_str!("../../../tests/vectors/import/flagd.json"))),
        (System::Goff, goff.to_json()),
        (System::Unleash, json(include_str!("../../../tests/vectors/import/unleash.json"))),
        (System::Unleash, json(include_str!("../../../tests/vectors/import/unleash-export.json"))),
        (System::LaunchDarkly, json(include_str!("../../../tests/vectors/import/launchdarkly.json"))),
        (System::LaunchDarkly, json(include_str!("../../../tests/vectors/import/launchdarkly-rest.json"))),
    ]
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0_i64..6).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["", "100", "50", "user", "in", "key", "on", "IN", "random", "[", "a eq 1", "1.2.3"])
            .prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"variation": 0})),
        Just(json!([{"feature": "plain-on"}, {"key": "base", "variation": 0}])),
    ]
}

fn word() -> impl Strategy<Value = String> {
    const WORDS: [&str; 24] = [
        "flags",
        "segments",
        "features",
        "name",
        "key",
        "items",
        "variations",
        "rules",
        "clauses",
        "values",
        "strategies",
        "enabled",
        "on",
        "fallthrough",
        "rollout",
        "targeting",
        "defaultRule",
        "percentage",
        "variants",
        "constraints",
        "environments",
        "flagValues",
        "featureEnvironments",
        "prerequisites",
    ];
    prop_oneof![4 => prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned), 1 => "\\PC{0,6}"]
}

fn document() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(6, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every value inside another, outermost first.
fn pointers(value: &Value, at: &str, into: &mut Vec<String>) {
    into.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| pointers(item, &format!("{at}/{i}"), into))
        }
        Value::Object(map) => {
            let join = |key: &str| crate::flag::diagnostic::join_pointer(at, key);
            map.iter().for_each(|(key, item)| pointers(item, &join(key), into));
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn any_document_is_translated_soundly_or_refused(document in document(), system in 0..4_usize) {
        if let Ok(outcome) = run(SYSTEMS[system], &document, &everything()) {
            is_sound(&outcome);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..64), system in 0..4_usize) {
        for format in [Format::Json, Format::Yaml] {
            let _ = translate(SYSTEMS[system], &bytes, format, None, &Options::default());
        }
    }

    #[test]
    fn an_export_with_anything_in_one_place_is_translated_soundly(
        which in 0..6_usize, place in any::<Index>(), other in any::<Index>(), value in leaf(),
    ) {
        let (system, mut document) = vectors()[which].clone();
        for (place, value) in [(place, value.clone()), (other, value)] {
            let mut all = Vec::new();
            pointers(&document, "", &mut all);
            *document.pointer_mut(place.get::<String>(&all).as_str()).expect("a place") = value;
        }
        if let Ok(outcome) = run(system, &document, &everything()) {
            is_sound(&outcome);
        }
    }
}

#[test]
fn an_environment_must_be_chosen_where_there_are_several() {
    let [.., (system, document)] = vectors();
    let chosen = |name: &str| Options { environment: Some(name.to_owned()), ..everything() };
    let several = run(system, &document, &everything()).expect_err("two environments");
    assert!(several[0].contains("choose one with --environment: production, test"), "{several:?}");
    let unknown = run(system, &document, &chosen("staging")).expect_err("no such environment");
    assert!(unknown[0].contains("`staging`") && unknown[0].contains("production, test"), "{unknown:?}");
    let test = run(system, &document, &chosen("test")).expect("an environment");
    assert_eq!(test.document["flags"]["search"]["serve"], "Fast");
    for (system, document) in &vectors()[..3] {
        assert!(run(*system, document, &chosen("x")).is_err(), "{system:?} names none");
    }
}

#[test]
fn what_is_no_export_is_refused_with_the_place() {
    for (system, text, wanted) in [
        (System::Unleash, "{\"flags\": {}}", "`features`"),
        (System::LaunchDarkly, "{\"features\": []}", "`items`"),
        (System::Goff, "[1]", "no map of flags"),
        (System::Goff, "{\"a\": 1,\n \"a\": 2}", "x:2:7: error[duplicate-key]"),
        (System::Flagd, "{\"features\": []}", "no `flags`"),
        (System::Unleash, "{\"features\": [", "ends"),
        (System::Unleash, "", "empty"),
    ] {
        let faults = translate(system, text.as_bytes(), Format::Json, Some("x"), &Options::default());
        let faults: Vec<String> = faults.expect_err("no export").iter().map(ToString::to_string).collect();
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{text}: {faults:?}");
    }
    let large = vec![b' '; FILE_BYTES_MAX + 1];
    let faults = translate(System::Goff, &large, Format::Json, None, &Options::default()).expect_err("too large");
    assert_eq!(faults[0].code, "too-large");
    let packed = translate(System::LaunchDarkly, b"\x1f\x8b\x08", Format::Json, None, &Options::default());
    assert_eq!(packed.expect_err("an archive")[0].code, "not-utf8");
}

/// A flag of LaunchDarkly with one clause.
fn clause(clause: &Value) -> Value {
    json!({"flags": {"f": {"on": true, "variations": [true, false], "offVariation": 1, "fallthrough": {"variation": 1},
        "rules": [{"variation": 0, "clauses": [clause]}]}}})
}

#[test]
fn what_the_file_may_not_hold_is_left_out() {
    let many: Vec<String> = (0..=LIST_VALUES_MAX).map(|number| number.to_string()).collect();
    let outcome =
        run(System::LaunchDarkly, &clause(&json!({"attribute": "a", "op": "in", "values": many})), &everything());
    let outcome = outcome.expect("an export");
    is_sound(&outcome);
    assert!(outcome.report.remarks[0].message.contains("at most"), "{:?}", outcome.report.remarks);
}

#[test]
fn what_is_not_known_is_not_guessed() {
    for known in [
        json!({"attribute": "a", "op": "in", "values": ["b"], "fuzzy": true}),
        json!({"attribute": "a", "op": "sounds like", "values": ["b"]}),
        json!({"attribute": "a", "op": "in", "values": [9_007_199_254_740_993_i64]}),
        json!({"attribute": "a", "op": "in", "values": [{"b": 1}]}),
        json!({"attribute": "anonymous", "op": "in", "values": [false]}),
        json!({"attribute": "kind", "op": "in", "values": ["user"]}),
        json!({"attribute": "/a.b/c", "contextKind": "user", "op": "in", "values": ["x"]}),
        json!({"attribute": "a", "op": "before", "values": ["tomorrow"]}),
        json!({"attribute": "a", "op": "semVerEqual", "values": ["v2"]}),
        json!({"attribute": "", "op": "segmentMatch", "values": ["nobody"]}),
    ] {
        let outcome = run(System::LaunchDarkly, &clause(&known), &everything()).expect("an export");
        assert_eq!((outcome.report.translated, outcome.report.is_complete()), (0, false), "{known}");
    }
}

#[test]
fn flags_and_segments_that_need_themselves_are_left_out() {
    let flag = |requires: &str| {
        json!({"on": true, "variations": [true, false], "offVariation": 1, "fallthrough": {"variation": 0},
            "prerequisites": [{"key": requires, "variation": 0}]})
    };
    let segment = |member: &str| json!({"rules": [{"clauses": [{"op": "segmentMatch", "values": [member]}]}]});
    let mut document = clause(&json!({"attribute": "", "op": "segmentMatch", "values": ["s"]}));
    document["segments"] = json!({"s": segment("t"), "t": segment("s")});
    document["flags"]["a"] = flag("b");
    document["flags"]["b"] = flag("a");
    document["flags"]["c"] = flag("a");
    let outcome = run(System::LaunchDarkly, &document, &everything()).expect("an export");
    is_sound(&outcome);
    assert_eq!((outcome.report.flags, outcome.report.translated), (4, 0), "{:?}", outcome.report.remarks);
}

#[test]
fn percentages_that_share_a_cohort_are_ordered_and_others_are_left_out() {
    let strategy = |rollout: u32, group: &str, country: &str| {
        json!({"name": "flexibleRollout", "parameters": {"rollout": rollout.to_string(), "stickiness": "userId", "groupId": group},
            "constraints": [{"contextName": "country", "operator": "IN", "values": [country]}]})
    };
    let export = |strategies: Value| json!({"features": [{"name": "f", "enabled": true, "strategies": strategies}]});
    let shared = export(json!([strategy(10, "g", "DE"), strategy(40, "g", "AT")]));
    let shared = run(System::Unleash, &shared, &everything()).expect("an export");
    let shares: Vec<&Value> =
        shared.document["flags"]["f"]["rules"].as_array().expect("rules").iter().map(|r| &r["serve"]).collect();
    assert_eq!(shares, [&json!({"on": 40}), &json!({"on": 10})], "the larger one first: cohorts are nested");
    let apart = export(json!([strategy(10, "g", "DE"), strategy(40, "h", "AT")]));
    let apart = run(System::Unleash, &apart, &everything()).expect("an export");
    assert_eq!(apart.report.translated, 0);
}

#[test]
fn what_stands_apart_or_is_filled_in_by_an_sdk_is_not_overlooked() {
    let strategy =
        json!({"id": "1", "strategyName": "default", "featureName": "f", "environment": "e", "constraints": []});
    let linked = json!({"features": [{"name": "f"}], "featureStrategies": [strategy],
        "featureEnvironments": [{"featureName": "f", "environment": "e", "enabled": true}],
        "featureStrategySegments": [{"featureStrategyId": "1", "segmentId": 3}]});
    let outcome = run(System::Unleash, &linked, &everything()).expect("an export");
    assert!(outcome.report.remarks[0].message.contains("stand apart"), "{:?}", outcome.report.remarks);
    let mut free = linked;
    free["featureStrategySegments"] = json!([]);
    assert_eq!(run(System::Unleash, &free, &everything()).expect("an export").report.translated, 1);

    let named = |name: &str| {
        json!({"features": [{"name": "f", "enabled": true, "strategies": [{"name": "default",
            "constraints": [{"contextName": name, "operator": "IN", "values": ["a"]}]}]}]})
    };
    let translated = |name: &str, options: &Options| {
        run(System::Unleash, &named(name), options).expect("an export").report.translated
    };
    assert_eq!(translated("appName", &Options::default()), 0);
    assert_eq!(translated("appName", &everything()), 1);
    assert_eq!(translated("plan", &Options::default()), 1);
}

#[test]
fn variants_that_chance_or_something_else_places_are_left_out() {
    let variant = |name: &str, stickiness: &str| json!({"name": name, "weight": 500, "stickiness": stickiness, "payload": {"type": "string", "value": name}});
    let translated = |rollout: &str, own: &str, of_strategy: bool| {
        let variants = json!([variant("a", own), variant("b", own)]);
        let none = json!([]);
        let (outer, inner) = if of_strategy { (&none, &variants) } else { (&variants, &none) };
        let strategy = json!({"name": "flexibleRollout", "variants": inner,
            "parameters": {"rollout": "100", "stickiness": rollout, "groupId": "f"}});
        let export = json!({"features": [{"name": "f", "enabled": true, "variants": outer, "strategies": [strategy]}]});
        run(System::Unleash, &export, &everything()).expect("an export").document["flags"]["f"].clone()
    };
    assert_eq!(translated("random", "random", true), Value::Null);
    assert_eq!(translated("default", "companyId", false), Value::Null);
    assert_eq!(translated("sessionId", "sessionId", true)["rules"][0]["by"], "sessionId");
    let by_user = translated("sessionId", "default", false);
    assert_eq!((&by_user["rules"][0]["serve"]["a"], &by_user["rules"][0]["by"]), (&json!(50), &Value::Null));
}
