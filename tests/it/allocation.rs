//! Evaluation and lookups allocate nothing, counted by an allocator of the test's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use allocation_counter::measure;
use rampart::eval::compile::compile_all;
use rampart::eval::context::Context;
use rampart::eval::evaluate::evaluate;
use rampart::eval::object::Object;
use rampart::eval::outcome::Reason;
use rampart::eval::set::CompiledSet;
use rampart::flag::definition::{
    AttributePath, Comparison, Condition, Definition, Hash, Operator, Requirement, Rule, Scalar, Segment, SemverTest,
    Serve, State, Test,
};
use rampart::flag::key::{FlagId, FlagKey, FlagSetName, SegmentName, VariantName};
use rampart::flag::kill::{KillMark, KillSet};
use rampart::flag::percent::Percent;
use rampart::flag::time::{Generation, Revision, Timestamp};
use serde_json::json;

const CONTEXT: &str = r#"{"targetingKey":"user-1","country":"DE","age":42,"size":1.5,"big":18446744073709551615,
    "version":"2.4.1-rc.1+build","since":"2025-10-16T08:00:00.5+02:00","tags":["a",1,null],"account":{"id":-7},
    "text":"not a time and not a version","nothing":null}"#;

fn variant(name: &str) -> VariantName {
    VariantName::new(name).unwrap()
}

fn test(attribute: &str, operator: Operator) -> Condition {
    Condition::Test(Test { attribute: AttributePath::parse(attribute).unwrap(), operator })
}

/// Every operator, on attributes of the right type, of a wrong type, and on none.
fn conditions() -> Vec<Condition> {
    let text = |text: &str| Scalar::String(text.to_owned());
    let list = || vec![text("AT"), text("DE"), Scalar::Number(42.into()), Scalar::Bool(true)];
    let versions = [
        SemverTest::Equal,
        SemverTest::Less,
        SemverTest::LessOrEqual,
        SemverTest::Greater,
        SemverTest::GreaterOrEqual,
        SemverTest::Caret,
        SemverTest::Tilde,
    ];
    let mut operators = vec![
        Operator::Equals(text("DE")),
        Operator::In(list()),
        Operator::NotIn(list()),
        Operator::StartsWith(vec!["x".into(), "D".into()]),
        Operator::EndsWith(vec!["x".into(), "E".into()]),
        Operator::Contains(text("a")),
        Operator::Matches("^[A-Z]{2}$".into()),
        Operator::Before("2025-10-16T08:00:00Z".into()),
        Operator::After("2025-10-16T08:00:00Z".into()),
        Operator::Exists(true),
        Operator::Exists(false),
    ];
    for comparison in [Comparison::Less, Comparison::LessOrEqual, Comparison::Greater, Comparison::GreaterOrEqual] {
        operators.push(Operator::Compare(comparison, 7.into()));
    }
    operators.extend(versions.map(|test| Operator::Semver(test, "2.4.0-rc.0".into())));
    let words: std::collections::BTreeSet<_> = operators.iter().map(Operator::word).collect();
    assert_eq!(words, Operator::WORDS.into_iter().collect());
    let attributes =
        ["country", "age", "size", "big", "version", "since", "tags", "account.id", "text", "nothing", "none"];
    let every = |operator: &Operator| attributes.map(|attribute| test(attribute, operator.clone()));
    operators.iter().flat_map(every).collect()
}

fn serves() -> Vec<Serve> {
    let split = |shares: &[(&str, u32)]| {
        Serve::percentages(
            shares.iter().map(|(name, n)| (variant(name), Percent::from_thousandths(*n).unwrap())).collect(),
        )
    };
    let by = |path: &str, serve: Serve| Serve { by: AttributePath::parse(path), ..serve };
    vec![
        Serve::variant(variant("on")),
        split(&[("on", 0)]),
        split(&[("on", 50_000)]),
        split(&[("on", 100_000)]),
        split(&[("on", 30_000), ("other", 30_000)]),
        by("account.id", split(&[("on", 30_000), ("other", 30_000)])),
        by("big", split(&[("on", 50_000)])),
        by("size", split(&[("on", 50_000)])),
        Serve { salt: Some("s".repeat(600)), ..split(&[("on", 50_000)]) },
        Serve { hash: Hash::Murmur3, ..split(&[("on", 30_000), ("other", 30_000)]) },
        Serve { hash: Hash::Murmur3Cbor, salt: Some("s".to_owned()), ..split(&[("on", 50_000)]) },
    ]
}

/// flagd's rules that make no value of their own: what they yield stands in the rule or in the context.
fn targeting() -> Vec<serde_json::Value> {
    vec![
        json!({"if": [{"in": [{"var": "country"}, ["AT", "DE"]]}, "on", "off"]}),
        json!({"if": [{"and": [{"==": [{"var": "country"}, "DE"]}, {">": [{"var": "age"}, 18]}]}, {"var": "text"}, "on"]}),
        json!({"if": [{"<": [1, {"var": "size"}, 2]}, "on", {"!": {"var": "country"}}, "off", null]}),
        json!({"if": [{"some": [{"var": "tags"}, {"==": [{"var": ""}, "a"]}]}, "on", "off"]}),
        json!({"if": [{"sem_ver": [{"var": "version"}, ">=", "2.4.0"]}, "on", "off"]}),
        json!({"if": [{"starts_with": [{"var": "text"}, "not"]}, {"substr": ["xon", 1]}, "off"]}),
        json!({"if": [{">": [{"+": [{"var": "age"}, 1]}, {"var": "$flagd.timestamp"}]}, "on", null]}),
        json!({"fractional": [["on", 50], ["off", 50]]}),
        json!({"fractional": [{"var": "country"}, ["on", 50], ["off", 50]]}),
        json!({"var": ["nowhere", "other"]}),
        json!({"nope": 1}),
    ]
}

fn flag(key: &str, definition: Definition) -> Object {
    let id = FlagId { flag_set: Some(FlagSetName::new("shop").unwrap()), key: FlagKey::new(key).unwrap() };
    Object::Flag { id, revision: Revision(1), definition: Arc::new(definition), allocation: None }
}

fn set() -> CompiledSet {
    let base = || Definition {
        variants: BTreeMap::from(["on", "off", "other"].map(|name| (variant(name), json!(name)))),
        default_variant: Some(variant("off")),
        ..Definition::default()
    };
    let staff = SegmentName::new("staff").unwrap();
    let mut objects = vec![
        Object::Segment {
            name: staff.clone(),
            revision: Revision(1),
            segment: Arc::new(Segment { when: Condition::Any(conditions()) }),
        },
        flag("plain", base()),
        flag("disabled", Definition { state: State::Disabled, ..base() }),
    ];
    let requires = vec![Requirement { flag: FlagKey::new("plain").unwrap(), variant: variant("off") }];
    let in_segment = [Condition::Segment(staff.clone()), Condition::Not(Box::new(Condition::Segment(staff)))];
    for (at, when) in conditions().into_iter().chain(in_segment).enumerate() {
        let serve = serves()[at % serves().len()].clone();
        let rules = vec![
            Rule { name: None, when: Condition::Not(Box::new(when.clone())), serve: serve.clone() },
            Rule { name: None, when, serve },
        ];
        objects.push(flag(&format!("rule-{at}"), Definition { rules, requires: requires.clone(), ..base() }));
    }
    for (at, rule) in targeting().into_iter().enumerate() {
        let metadata = [("fractionalHash".to_owned(), json!(if at % 2 == 0 { "v3" } else { "v2" }))].into();
        objects.push(flag(&format!("logic-{at}"), Definition { targeting: Some(rule), metadata, ..base() }));
    }
    for (at, serve) in serves().into_iter().enumerate() {
        objects.push(flag(&format!("serve-{at}"), Definition { serve: Some(serve), ..base() }));
    }
    let (set, diagnostics) = compile_all(objects);
    assert!(!diagnostics.iter().any(|diagnostic| diagnostic.is_error()), "{diagnostics:?}");
    let mut kills = KillSet::default();
    let killed = set.iter().step_by(7).map(|flag| flag.id().clone()).collect::<Vec<_>>();
    for id in &killed {
        kills.merge(id, KillMark { generation: Generation(1), killed: true });
    }
    set.with_kills(Arc::new(kills))
}

#[test]
fn evaluating_allocates_nothing_where_no_new_value_is_made() {
    let set = set();
    let keys: Vec<String> = set.iter().map(|flag| flag.id().key.as_str().to_owned()).collect();
    let context = Context::from_json(CONTEXT.as_bytes()).unwrap();
    let mut reasons = [0; 4];
    let mut run = || {
        for key in &keys {
            let flag = set.flag(Some("shop"), key).expect("a flag of the set");
            match evaluate(&set, flag, &context, Timestamp::default()).reason {
                Reason::Default => reasons[0] += 1,
                Reason::TargetingMatch => reasons[1] += 1,
                Reason::Split => reasons[2] += 1,
                Reason::Static | Reason::Disabled | Reason::Error => reasons[3] += 1,
            }
        }
    };
    // A regular expression takes its scratch space once, at its first use.
    run();
    assert_eq!(measure(run).count_total, 0);
    assert!(reasons.iter().all(|count| *count > 0), "{reasons:?}");
}

#[test]
fn walking_all_flags_and_swapping_kills_allocates_nothing_that_grows_with_the_flags() {
    let set = set();
    let kills = Arc::new(KillSet::default());
    let walk = measure(|| assert!(set.iter().count() == set.in_flag_set(Some("shop")).count()));
    assert_eq!(walk.count_total, 0);
    let swap = measure(|| assert!(set.with_kills(Arc::clone(&kills)).kills().is_empty()));
    assert_eq!(swap.count_total, 0);
}

#[test]
fn reading_a_flat_context_without_escapes_allocates_once() {
    let json = br#"{"targetingKey":"user-1","country":"DE","age":42,"size":1.5,"admin":false,"plan":"pro"}"#;
    let read = measure(|| assert_eq!(Context::from_json(json).unwrap().len(), 6));
    assert_eq!(read.count_total, 1);
    let context = Context::from_json(json).unwrap();
    assert_eq!(measure(|| assert_ne!(context.digest(), 0)).count_total, 0);
}
