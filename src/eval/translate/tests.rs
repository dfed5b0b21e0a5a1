//! Translations by hand and by chance.
//!
//! [`cases`] makes whole worlds (flags, segments, prerequisites, kills, rollouts) with contexts that are chosen to be
//! mean to loosely typed evaluators, and what each flag must answer. flagd's own evaluators are asked in
//! `tests/clients/differential`.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::eval::context::Context;
use crate::eval::evaluate::evaluate;
use crate::eval::object::Object;
use crate::eval::samples::{
    NOW, allocated, always, boolean, colours, equals, flag, id, in_segment, number, requires, rule, segment, set_of,
    split, string, test, variant,
};
use crate::flag::definition::{
    AttributePath, Comparison, Condition, Definition, Hash, Operator, Scalar, SemverTest, Serve, State,
};
use crate::flag::key::FlagId;
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::parse::{Format, parse_document};
use crate::flag::time::{Generation, Revision};

fn killing(set: &CompiledSet, keys: &[&str]) -> CompiledSet {
    let mut kills = KillSet::default();
    for key in keys {
        kills.merge(&id(key), KillMark { generation: Generation(1), killed: true });
    }
    set.with_kills(Arc::new(kills))
}

fn translated(set: &CompiledSet, key: &str) -> Value {
    translate(set, set.get(&id(key)).expect("the flag is in the set")).expect("it has a translation")
}

fn obstacles(set: &CompiledSet, key: &str) -> Vec<(&'static str, String)> {
    let found = translate(set, set.get(&id(key)).expect("the flag is in the set")).expect_err("it has none");
    found.into_iter().map(|found| (found.code, found.pointer)).collect()
}

#[test]
fn a_flag_that_asks_nothing_needs_no_rule() {
    let set = set_of([
        flag("plain", boolean()),
        flag("on", Definition { serve: Some(always("on")), ..boolean() }),
        flag("none", Definition { default_variant: None, ..boolean() }),
    ]);
    let variants = json!({"on": true, "off": false});
    assert_eq!(translated(&set, "plain"), json!({"state": "ENABLED", "variants": variants, "defaultVariant": "off"}));
    assert_eq!(translated(&set, "on"), json!({"state": "ENABLED", "variants": variants, "defaultVariant": "on"}));
    assert_eq!(translated(&set, "none"), json!({"state": "ENABLED", "variants": variants, "defaultVariant": ""}));
}

#[test]
fn a_kill_is_the_safe_variant_behind_a_rule_that_yields_nothing() {
    let own_hash = Definition { serve: Some(split(&[("on", 5_000)])), safe_variant: Some(variant("on")), ..boolean() };
    let disabled = Definition { state: State::Disabled, default_variant: None, ..boolean() };
    let set = set_of([flag("own", own_hash), flag("disabled", disabled)]);
    let killed = killing(&set, &["own", "disabled"]);
    let nothing = json!({"if": [false, "off", null]});
    for (key, default) in [("own", "on"), ("disabled", "")] {
        let flag = translated(&killed, key);
        assert_eq!(flag["state"], "ENABLED");
        assert_eq!(flag["defaultVariant"], default);
        assert_eq!(flag["targeting"], nothing);
        assert_eq!(flag["metadata"], json!({"killed": true}));
    }
    assert_eq!(translated(&set, "disabled")["state"], "DISABLED");
}

#[test]
fn a_rollout_takes_the_place_of_serve_and_never_looks_static() {
    let set = set_of([
        allocated("none", Definition { serve: Some(always("on")), ..boolean() }, &[("on", 0)]),
        allocated("all", boolean(), &[("on", 100_000)]),
        allocated("some", boolean(), &[("on", 5_000)]),
    ]);
    assert_eq!(translated(&set, "none")["targeting"], json!({"if": [true, "off", null]}));
    assert_eq!(translated(&set, "all")["targeting"], json!({"if": [true, "on", null]}));
    assert_eq!(obstacles(&set, "some"), [("own-hash", "/flags/some/serve".to_owned())]);
}

#[test]
fn the_kill_of_a_prerequisite_is_written_out() {
    let needing = Definition { requires: vec![requires("base", "on")], serve: Some(always("on")), ..boolean() };
    let base = Definition { rules: vec![rule(equals("a", "x"), always("on"))], ..boolean() };
    let set = set_of([flag("base", base), flag("f", needing)]);
    let asked = json!({"===": [{"if": [{"===": [{"var": "a"}, "x"]}, "on", "off"]}, "on"]});
    assert_eq!(translated(&set, "f")["targeting"], json!({"if": [asked, "on", null]}));
    assert_eq!(translated(&killing(&set, &["base"]), "f")["targeting"], json!({"if": [false, "off", null]}));
}

#[test]
fn what_stands_in_the_way_is_named_where_it_stands() {
    let ask = |operator| Definition { rules: vec![rule(test("a", operator), always("on"))], ..boolean() };
    let version = Operator::Semver(SemverTest::Equal, "1.0.0".into());
    let literal = AttributePath::literal("a.b").expect("a name");
    let dotted =
        Condition::Test(crate::flag::definition::Test { attribute: literal, operator: Operator::Exists(true) });
    let set = set_of([
        segment("old", test("b", Operator::Before("2025-10-16T08:00:00Z".into()))),
        flag("matches", ask(Operator::Matches("x".into()))),
        flag("version", ask(version)),
        flag("large", ask(Operator::Equals(number(1_u64 << 53)))),
        flag("segment", Definition { rules: vec![rule(in_segment("old"), always("on"))], ..boolean() }),
        flag("dotted", Definition { rules: vec![rule(dotted, always("on"))], ..boolean() }),
        flag("needing", Definition { requires: vec![requires("matches", "on")], ..boolean() }),
        flag("split", Definition { rules: vec![rule(equals("a", "x"), split(&[("on", 1)]))], ..boolean() }),
    ]);
    for (key, code, place) in [
        ("matches", "no-counterpart", "/rules/0/when/a/matches"),
        ("version", "no-counterpart", "/rules/0/when/a/semver_eq"),
        ("large", "number-too-large", "/rules/0/when/a/eq"),
        ("segment", "no-counterpart", "/rules/0/when/segment"),
        ("dotted", "ambiguous-attribute", "/rules/0/when/a.b/exists"),
        ("needing", "no-counterpart", "/requires/0"),
        ("split", "own-hash", "/rules/0/serve"),
    ] {
        assert_eq!(obstacles(&set, key), [(code, format!("/flags/{key}{place}"))]);
    }
}

/// A prerequisite's percentages are written into the rule that asks, whose own `fractional` has a generation of its own:
/// the flag's, else the set's.
#[test]
fn a_rule_of_flagds_own_and_its_prerequisites_use_one_hash() {
    let base = |hash| Definition {
        serve: Some(Serve { salt: Some("s".to_owned()), hash, ..split(&[("on", 50_000)]) }),
        ..boolean()
    };
    let shares = json!({"if": [{"var": "x"}, {"fractional": [["on", 50], ["off", 50]]}]});
    let asking = |base: &str, rule: &Value, word: Option<&str>| Definition {
        requires: vec![requires(base, "on")],
        targeting: Some(rule.clone()),
        metadata: word.map(|word| ("fractionalHash".to_owned(), json!(word))).into_iter().collect(),
        ..boolean()
    };
    let plain = json!({"if": [{"var": "x"}, "on"]});
    let set = set_of([
        flag("second", base(Hash::Murmur3)),
        flag("third", base(Hash::Murmur3Cbor)),
        flag("2-by-set", asking("second", &shares, None)),
        flag("3-by-set", asking("third", &shares, None)),
        flag("2-by-flag", asking("second", &shares, Some("v2"))),
        flag("3-by-flag", asking("third", &shares, Some("v3"))),
        flag("2-not-3", asking("second", &shares, Some("v3"))),
        flag("3-plain", asking("third", &plain, None)),
        flag("3-plain-not-2", asking("third", &plain, Some("v2"))),
        flag("alone", Definition { requires: vec![], ..asking("third", &shares, None) }),
    ]);
    let third = set.with_fractional_hash(FractionalHash::V3);
    for (set, key, word) in [
        (&set, "2-by-set", Some("v2")),
        (&third, "3-by-set", Some("v3")),
        (&third, "2-by-flag", Some("v2")),
        (&set, "3-by-flag", Some("v3")),
        (&set, "3-plain", Some("v3")),
        (&set, "alone", None),
    ] {
        let written = translated(set, key);
        assert_eq!(written["metadata"]["fractionalHash"].as_str(), word, "{key}");
        // And the translation, by itself, answers as the flag does.
        let alone = alone(key, &written).with_fractional_hash(set.fractional_hash());
        for context in (0..40).map(|user| json!({"targetingKey": format!("user-{user}"), "x": user % 2})) {
            assert_eq!(expected(&alone, key, &context), expected(set, key, &context), "{key} {context}");
        }
    }
    for (set, key) in
        [(&third, "2-by-set"), (&set, "3-by-set"), (&set, "2-not-3"), (&third, "2-not-3"), (&set, "3-plain-not-2")]
    {
        assert_eq!(obstacles(set, key), [("two-hashes", format!("/flags/{key}/targeting"))], "{key}");
    }
}

#[test]
fn only_keys_that_every_client_takes_are_written() {
    let metadata = [("team", json!("t")), ("", json!(1)), ("list", json!([1])), ("none", Value::Null)];
    let definition = Definition {
        description: Some("d".into()),
        owner: Some("o".into()),
        tags: ["t".to_owned()].into(),
        expires: Some("2030-01-01".into()),
        source: Some("flags/a.json".into()),
        metadata: metadata.map(|(name, value)| (name.to_owned(), value)).into(),
        ..boolean()
    };
    let set = set_of([flag("s/f", definition)]);
    let written = translated(&set, "s/f");
    let keys: Vec<&str> = written.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["defaultVariant", "metadata", "source", "state", "variants"]);
    assert_eq!(written["metadata"], json!({"team": "t", "flagSetId": "s"}));
}

#[test]
fn what_grows_too_large_when_it_is_written_out_is_refused() {
    let list: Vec<Scalar> = (0..5_000).map(|n| string(&format!("user-{n}"))).collect();
    let many = Condition::Any(vec![in_segment("s"); 5]);
    let set = set_of([
        segment("s", test("a", Operator::In(list))),
        flag("f", Definition { rules: vec![rule(many, always("on"))], ..boolean() }),
    ]);
    assert_eq!(obstacles(&set, "f"), [("too-large", "/flags/f/rules/0/when/any/3/segment".to_owned())]);
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const TEXTS: [&str; 10] = ["DE", "de", "1", "0", "true", "True", "", "null", "[object Object]", "😀x"];

fn scalar() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        4 => prop::sample::select(TEXTS.to_vec()).prop_map(string),
        2 => (-1..3i64).prop_map(number),
        1 => prop::sample::select(vec![0.5, 1.0, -0.0, 1e15]).prop_map(|n| number(serde_json::Number::from_f64(n).expect("finite"))),
        2 => any::<bool>().prop_map(Scalar::Bool),
    ]
}

fn operator() -> impl Strategy<Value = Operator> {
    let texts = || prop::collection::vec(prop::sample::select(TEXTS.to_vec()).prop_map(str::to_owned), 0..3);
    let comparisons = vec![Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual];
    prop_oneof![
        3 => scalar().prop_map(Operator::Equals),
        3 => prop::collection::vec(scalar(), 0..4).prop_map(Operator::In),
        3 => prop::collection::vec(scalar(), 0..4).prop_map(Operator::NotIn),
        1 => texts().prop_map(Operator::StartsWith),
        1 => texts().prop_map(Operator::EndsWith),
        3 => scalar().prop_map(Operator::Contains),
        3 => (prop::sample::select(comparisons), -1..3i64).prop_map(|(how, n)| Operator::Compare(how, n.into())),
        1 => any::<bool>().prop_map(Operator::Exists),
    ]
}

const ATTRIBUTES: [&str; 6] = ["x", "y", "o.inner", "o.inner.deep", "targetingKey", "length"];

fn condition() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        6 => (prop::sample::select(ATTRIBUTES.to_vec()), operator()).prop_map(|(name, operator)| test(name, operator)),
        1 => Just(in_segment("s0")),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::Any),
            inner.prop_map(|inner| Condition::Not(Box::new(inner))),
        ]
    })
}

/// Percentages that need no hash.
fn whole_shares() -> impl Strategy<Value = Vec<(&'static str, u32)>> {
    prop::sample::select(vec![
        vec![("a", 0)],
        vec![("b", 100_000)],
        vec![("a", 0), ("b", 0)],
        vec![("c", 100_000), ("a", 0)],
    ])
}

fn some_shares() -> impl Strategy<Value = Vec<(&'static str, u32)>> {
    let weight = || prop_oneof![Just(0u32), 0..=33_000u32];
    let all = (weight(), weight(), weight()).prop_map(|(a, b, c)| vec![("a", a), ("b", b), ("c", c)]);
    prop_oneof![whole_shares(), all, (0..=100_000u32).prop_map(|a| vec![("a", a)])]
}

/// Percentages with either of flagd's hashes, which [`with_hash`] makes the same everywhere.
fn serve() -> impl Strategy<Value = Serve> {
    let by = prop::option::weighted(0.3, prop::sample::select(vec!["x", "o.inner", "targetingKey"]));
    let salt = prop::option::weighted(0.3, Just("salt".to_owned()));
    prop_oneof![
        3 => prop::sample::select(NAMES.to_vec()).prop_map(always),
        2 => (some_shares(), by, salt).prop_map(|(shares, by, salt)| Serve {
            by: by.and_then(AttributePath::parse),
            salt,
            hash: Hash::Murmur3,
            ..split(&shares)
        }),
    ]
}

fn with_hash(mut definition: Definition, hash: Hash) -> Definition {
    definition.rules.iter_mut().for_each(|rule| rule.serve.hash = hash);
    definition.serve.iter_mut().for_each(|serve| serve.hash = hash);
    definition
}

fn definition() -> impl Strategy<Value = Definition> {
    let name = || prop::option::of(prop::sample::select(NAMES.to_vec()).prop_map(variant));
    let rules = prop::collection::vec((condition(), serve()).prop_map(|(when, serve)| rule(when, serve)), 0..3);
    let state = prop_oneof![8 => Just(State::Enabled), 1 => Just(State::Disabled)];
    let needs = prop::option::of(prop::sample::select(NAMES.to_vec()));
    (state, name(), name(), rules, prop::option::of(serve()), needs).prop_map(
        |(state, default_variant, safe_variant, rules, serve, needs)| Definition {
            state,
            default_variant,
            safe_variant,
            rules,
            serve,
            requires: needs.into_iter().map(|name| requires("base", name)).collect(),
            ..colours(&NAMES)
        },
    )
}

fn world() -> impl Strategy<Value = CompiledSet> {
    let base =
        (prop::option::of(condition()), serve(), any::<bool>()).prop_map(|(when, serve, by_default)| Definition {
            rules: when.into_iter().map(|when| rule(when, serve.clone())).collect(),
            default_variant: by_default.then(|| variant("b")),
            ..colours(&NAMES)
        });
    let segment_test = (prop::sample::select(ATTRIBUTES.to_vec()), operator());
    let hash = prop::sample::select(vec![Hash::Murmur3, Hash::Murmur3Cbor]);
    let killed = prop_oneof![8 => Just(vec![]), 1 => Just(vec!["f"]), 1 => Just(vec!["base"])];
    (definition(), base, segment_test, prop::option::weighted(0.1, whole_shares()), killed, hash).prop_map(
        |(f, base, (name, operator), shares, killed, hash)| {
            let (f, base) = (with_hash(f, hash), with_hash(base, hash));
            let f = match shares {
                Some(shares) => allocated("f", f, &shares),
                None => flag("f", f),
            };
            killing(&set_of([segment("s0", test(name, operator)), flag("base", base), f]), &killed)
        },
    )
}

fn attribute() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        4 => prop::sample::select(TEXTS.to_vec()).prop_map(|text| json!(text)),
        1 => Just(json!("xDEx")),
        3 => prop::sample::select(vec![json!(0), json!(1), json!(2), json!(-1), json!(1.0), json!(0.5), json!(-0.0), json!(1e15), json!(1e300)]),
        2 => any::<bool>().prop_map(Value::Bool),
        1 => Just(Value::Null),
    ];
    scalar.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map(prop::sample::select(vec!["inner", "deep", "length", "0"]), inner, 0..3)
                .prop_map(|map| json!(map)),
        ]
    })
}

fn context() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["x", "y", "o", "length"]);
    let key = prop::option::of(prop::sample::select(vec!["u1", "DE", ""]));
    (prop::collection::btree_map(names, attribute(), 0..5), key).prop_map(|(attributes, key)| {
        let mut context = json!(attributes);
        if let Some(key) = key {
            context["targetingKey"] = json!(key);
        }
        context
    })
}

fn cases() -> impl Strategy<Value = (CompiledSet, Vec<Value>)> {
    (world(), prop::collection::vec(context(), 1..6))
}

fn expected(set: &CompiledSet, key: &str, context: &Value) -> Option<String> {
    let text = context.to_string();
    let context = Context::from_json(text.as_bytes()).expect("a context");
    let flag = set.get(&id(key)).expect("the flag is in the set");
    evaluate(set, flag, &context, NOW).variant.map(|name| name.as_str().to_owned())
}

/// Compiles a translated flag as a flag file of flagd's, without anything else beside it.
fn alone(key: &str, flag: &Value) -> CompiledSet {
    let text = json!({"flags": {key: flag}}).to_string();
    let parsed = parse_document(text.as_bytes(), Format::Json, None);
    assert_eq!(parsed.diagnostics, []);
    let object = |(id, definition): (FlagId, Definition)| Object::Flag {
        id,
        revision: Revision(1),
        definition: definition.into(),
        allocation: None,
    };
    set_of(parsed.file.flags.into_iter().map(object))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_translation_answers_as_the_flag_does((set, contexts) in cases()) {
        for key in ["f", "base"] {
            match translate(&set, set.get(&id(key)).expect("the flag is in the set")) {
                Ok(flag) => {
                    let alone = alone(key, &flag);
                    for context in &contexts {
                        prop_assert_eq!(expected(&alone, key, context), expected(&set, key, context), "{} {}", flag, context);
                    }
                }
                // flagd's shorthand hashes the key of the flag that asks, in a form that no argument can have.
                Err(found) => prop_assert!(found.iter().all(|found| found.code == "prerequisite"), "{:?}", found),
            }
        }
    }
}
