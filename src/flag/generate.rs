//! Valid definitions by chance, for the property tests of every module: all shapes that the language has, few names,
//! so that flags, attributes and variants meet often. Definitions are what `parse` would yield from their print.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Number, Value, json};

use super::definition::{
    Allocation, AttributePath, Comparison, Condition, Definition, Hash, Operator, Requirement, Rule, Scalar, Segment,
    SemverTest, Serve, ServeTo, State, Test,
};
use super::key::{FlagKey, SegmentName, VariantName};
use super::percent::Percent;

/// Any valid definition; half of them with rules and `serve`, some with JSONLogic instead.
pub(crate) fn definitions() -> impl Strategy<Value = Definition> {
    variants().prop_flat_map(|variants| {
        let names: Vec<VariantName> = variants.keys().cloned().collect();
        let some = option::of(prop::sample::select(names.clone()));
        let people = (option::of(text()), option::of(text()), btree_set("[a-z]{1,8}", 0..3), option::of(days()));
        let way = prop_oneof![4 => native(names).boxed(), 1 => targeting().boxed()];
        (Just(variants), some.clone(), some, people, requires(), way, metadata(), any::<bool>()).prop_map(assemble)
    })
}

/// Any valid segment.
pub(crate) fn segments() -> impl Strategy<Value = Segment> {
    conditions().prop_map(|when| Segment { when })
}

/// Any valid allocation over the variants `on`, `off` and `blue`.
pub(crate) fn allocations() -> impl Strategy<Value = Allocation> {
    let names = ["on", "off", "blue"].map(variant).to_vec();
    prop::sample::subsequence(names, 0..=3).prop_flat_map(shares).prop_map(|percentages| Allocation { percentages })
}

/// Any condition, a few levels deep.
pub(crate) fn conditions() -> impl Strategy<Value = Condition> {
    let leaf = prop_oneof![
        4 => (attributes(), operators()).prop_map(|(attribute, operator)| Condition::Test(Test { attribute, operator })),
        1 => prop::sample::select(vec!["internal", "beta"])
            .prop_map(|name| Condition::Segment(SegmentName::new(name).expect("a valid name"))),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            2 => vec(inner.clone(), 0..4).prop_map(Condition::All),
            1 => vec(inner.clone(), 0..4).prop_map(Condition::Any),
            1 => inner.prop_map(|inner| Condition::Not(Box::new(inner))),
        ]
    })
}

type Way = (Vec<Rule>, Option<Serve>, Option<Value>);
type People = (Option<String>, Option<String>, BTreeSet<String>, Option<String>);
type Parts = (
    BTreeMap<VariantName, Value>,
    Option<VariantName>,
    Option<VariantName>,
    People,
    Vec<Requirement>,
    Way,
    BTreeMap<String, Value>,
    bool,
);

fn assemble((variants, default_variant, safe_variant, people, requires, way, metadata, enabled): Parts) -> Definition {
    let (description, owner, tags, expires) = people;
    let (rules, serve, targeting) = way;
    let state = if enabled { State::Enabled } else { State::Disabled };
    Definition {
        description,
        state,
        variants,
        default_variant,
        safe_variant,
        owner,
        tags,
        expires,
        requires,
        rules,
        serve,
        targeting,
        source: None,
        metadata,
    }
}

fn variant(name: &str) -> VariantName {
    VariantName::new(name).expect("a valid name")
}

fn text() -> impl Strategy<Value = String> {
    "[a-zA-Zäß€ \"\\\\:#.{}-]{0,12}"
}

fn days() -> impl Strategy<Value = String> {
    (2000u16..2100, 1u8..=12, 1u8..=28).prop_map(|(year, month, day)| format!("{year}-{month:02}-{day:02}"))
}

fn numbers() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        (-1000i32..1000).prop_map(|number| Number::from_f64(f64::from(number) / 8.0).expect("finite")),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
    ]
}

fn variants() -> impl Strategy<Value = BTreeMap<VariantName, Value>> {
    let names = || {
        prop_oneof![Just("on".to_owned()), Just("off".to_owned()), Just("blue".to_owned()), "[a-z é]{1,6}"]
            .prop_map(|name| variant(&name))
    };
    let object = btree_map("[a-z]{0,3}", numbers(), 0..3).prop_map(|map| json!({"map": map, "list": [null, [1]]}));
    prop_oneof![
        btree_map(names(), any::<bool>().prop_map(Value::Bool), 1..4),
        btree_map(names(), text().prop_map(Value::String), 1..4),
        btree_map(names(), numbers().prop_map(Value::Number), 1..4),
        btree_map(names(), object, 1..4),
    ]
}

fn metadata() -> impl Strategy<Value = BTreeMap<String, Value>> {
    let value = prop_oneof![
        text().prop_map(Value::String),
        any::<bool>().prop_map(Value::Bool),
        numbers().prop_map(Value::Number)
    ];
    btree_map("[a-z]{0,5}", value, 0..3)
}

fn requires() -> impl Strategy<Value = Vec<Requirement>> {
    let flag = prop::sample::select(vec!["storage", "search"]).prop_map(|key| FlagKey::new(key).expect("a valid key"));
    vec((flag, "(on|off)").prop_map(|(flag, name)| Requirement { flag, variant: variant(&name) }), 0..3)
}

fn targeting() -> impl Strategy<Value = Way> {
    let rule = prop_oneof![
        Just(json!({"fractional": [["on", 50], ["off", 50]]})),
        Just(json!({"if": [{"==": [{"var": "email"}, "a@example.com"]}, "on", null]})),
        Just(Value::Null),
    ];
    rule.prop_map(|rule| (Vec::new(), None, Some(rule)))
}

fn native(names: Vec<VariantName>) -> impl Strategy<Value = Way> {
    let rule = (option::of(text()), conditions(), serves(names.clone())).prop_map(|(name, when, serve)| Rule {
        name,
        when,
        serve,
    });
    (vec(rule, 0..4), option::of(serves(names)), Just(None))
}

fn serves(names: Vec<VariantName>) -> impl Strategy<Value = Serve> {
    let some = prop::sample::subsequence(names.clone(), 1..=names.len());
    let to = prop_oneof![
        prop::sample::select(names).prop_map(ServeTo::Variant),
        some.prop_flat_map(shares).prop_map(ServeTo::Percentages),
    ];
    let by = option::of(prop::sample::select(vec!["account_id", "address.city", "email"]))
        .prop_map(|by| by.and_then(AttributePath::parse));
    let hash = prop::sample::select(Hash::ALL.map(|(_, hash)| hash).to_vec());
    (to, by, option::of("[a-z-]{1,6}"), hash).prop_map(|(to, by, salt, hash)| Serve { to, by, salt, hash })
}

/// Percentages of these variants whose sum is at most 100.
fn shares(names: Vec<VariantName>) -> impl Strategy<Value = BTreeMap<VariantName, Percent>> {
    let count = u32::try_from(names.len().max(1)).expect("few names");
    vec(prop_oneof![Just(0), Just(5_000), 0..=100_000u32], names.len()).prop_map(move |thousandths| {
        let share = |thousandths: u32| Percent::from_thousandths(thousandths / count).expect("at most 100 %");
        names.iter().cloned().zip(thousandths.into_iter().map(share)).collect()
    })
}

fn attributes() -> impl Strategy<Value = AttributePath> {
    let dotted = vec!["country", "age", "app_version", "address.city", "targetingKey", "email", "any.thing"];
    let literal = vec!["any", "attr", "address.city", "..", "segment"];
    prop_oneof![
        5 => prop::sample::select(dotted).prop_map(|name| AttributePath::parse(name).expect("a valid path")),
        1 => prop::sample::select(literal).prop_map(|name| AttributePath::literal(name).expect("a valid name")),
    ]
}

fn scalars() -> impl Strategy<Value = Scalar> {
    prop_oneof![
        any::<bool>().prop_map(Scalar::Bool),
        numbers().prop_map(Scalar::Number),
        prop_oneof![text(), "(DE|AT|FR)"].prop_map(Scalar::String),
    ]
}

fn operators() -> impl Strategy<Value = Operator> {
    let comparisons = vec![Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual];
    let semver = vec![
        SemverTest::Equal,
        SemverTest::Less,
        SemverTest::LessOrEqual,
        SemverTest::Greater,
        SemverTest::GreaterOrEqual,
        SemverTest::Caret,
        SemverTest::Tilde,
    ];
    let times = || prop::sample::select(vec!["2025-10-16T08:00:00Z", "2024-02-29T23:59:59.5+02:00"]);
    prop_oneof![
        scalars().prop_map(Operator::Equals),
        vec(scalars(), 0..4).prop_map(Operator::In),
        vec(scalars(), 0..4).prop_map(Operator::NotIn),
        vec(text(), 0..3).prop_map(Operator::StartsWith),
        vec(text(), 0..3).prop_map(Operator::EndsWith),
        scalars().prop_map(Operator::Contains),
        prop::sample::select(vec!["^a.*z$", "[0-9]{1,3}", ""]).prop_map(|text| Operator::Matches(text.to_owned())),
        (prop::sample::select(comparisons), numbers())
            .prop_map(|(comparison, number)| Operator::Compare(comparison, number)),
        (prop::sample::select(semver), "[0-9]\\.(0|[1-9][0-9]?)\\.[0-9](-rc\\.[1-9])?")
            .prop_map(|(test, version)| Operator::Semver(test, version)),
        times().prop_map(|time| Operator::Before(time.to_owned())),
        times().prop_map(|time| Operator::After(time.to_owned())),
        any::<bool>().prop_map(Operator::Exists),
    ]
}
