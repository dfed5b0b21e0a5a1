//! Properties of whole evaluations over generated definitions and contexts.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::flag::definition::{
    Allocation, AttributePath, Comparison, Condition, Definition, Hash, Operator, Rule, SemverTest, Serve, State,
};
use crate::flag::diagnostic::Diagnostic;
use crate::flag::key::VariantName;
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::{Generation, Revision};

use super::compile::compile_all;
use super::context::{Attribute, Context};
use super::evaluate::evaluate;
use super::explain::{Choice, Explanation, Origin, Step, explain};
use super::fractional::FractionalHash;
use super::object::Object;
use super::outcome::Reason;
use super::samples::{
    NOW, allocated, always, answer, boolean, colours, flag, id, in_segment, named, number, percentages, requires,
    segment, set_of, split, string, test, variant,
};
use super::serving::{Placement, Serving};
use super::set::CompiledSet;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn an_operator() -> impl Strategy<Value = Operator> {
    let text = || prop::sample::select(vec!["DE", "de", "2.4.0", "2.4.0-rc.1", "2025-10-16T08:00:00Z", "", "x"]);
    prop_oneof![
        text().prop_map(|text| Operator::Equals(string(text))),
        (0..3i64).prop_map(|n| Operator::Equals(number(n))),
        prop::collection::vec(text(), 0..3).prop_map(|list| Operator::In(list.into_iter().map(string).collect())),
        prop::collection::vec(text(), 0..3).prop_map(|list| Operator::NotIn(list.into_iter().map(string).collect())),
        text().prop_map(|text| Operator::StartsWith(vec![text.to_owned()])),
        text().prop_map(|text| Operator::EndsWith(vec![text.to_owned()])),
        text().prop_map(|text| Operator::Contains(string(text))),
        Just(Operator::Matches("^[A-Z]+$".to_owned())),
        (0..3i64).prop_map(|n| Operator::Compare(Comparison::LessOrEqual, n.into())),
        Just(Operator::Semver(SemverTest::Caret, "2.4.0-rc.0".to_owned())),
        Just(Operator::Before("2025-10-17T00:00:00Z".to_owned())),
        Just(Operator::After("2025-10-17T00:00:00Z".to_owned())),
        any::<bool>().prop_map(Operator::Exists),
    ]
}

fn a_condition() -> impl Strategy<Value = Condition> {
    let attribute = prop::sample::select(vec!["country", "n", "o.inner", "targetingKey", "list"]);
    let leaf = prop_oneof![
        4 => (attribute, an_operator()).prop_map(|(attribute, operator)| test(attribute, operator)),
        1 => prop::sample::select(vec!["s0", "s1"]).prop_map(in_segment),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::All),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Condition::Any),
            inner.prop_map(|inner| Condition::Not(Box::new(inner))),
        ]
    })
}

fn shares() -> impl Strategy<Value = Vec<(&'static str, u32)>> {
    let weight = prop_oneof![Just(0u32), Just(25_000), 0u32..=25_000];
    prop_oneof![
        prop::collection::vec(weight, 4).prop_map(|weights| NAMES.into_iter().zip(weights).collect()),
        (prop::sample::select(NAMES.to_vec()), prop_oneof![Just(0u32), Just(100_000), 0u32..=100_000])
            .prop_map(|share| vec![share]),
    ]
}

fn a_serve() -> impl Strategy<Value = Serve> {
    let to =
        prop_oneof![prop::sample::select(NAMES.to_vec()).prop_map(always), shares().prop_map(|shares| split(&shares)),];
    let hash = prop::sample::select(Hash::ALL.map(|(_, hash)| hash).to_vec());
    (to, prop::option::of(Just("n")), prop::option::of(Just("salt".to_owned())), hash)
        .prop_map(|(serve, by, salt, hash)| Serve { by: by.and_then(AttributePath::parse), salt, hash, ..serve })
}

/// Rules of flagd's that choose, yield null, name no variant, or fail.
fn a_targeting() -> impl Strategy<Value = Json> {
    let result = prop::sample::select(vec![json!("a"), json!("b"), json!(null), json!("none"), json!({"nope": 1})]);
    let condition = prop::sample::select(vec![
        json!({"==": [{"var": "country"}, "DE"]}),
        json!({"in": [{"var": "country"}, {"var": "list"}]}),
        json!({">": [{"var": "o.inner"}, 1]}),
    ]);
    prop_oneof![
        (condition, result.clone(), result).prop_map(|(when, then, otherwise)| json!({"if": [when, then, otherwise]})),
        Just(json!({"fractional": [["a", 30], ["c", 70]]})),
    ]
}

fn a_definition() -> impl Strategy<Value = Definition> {
    let name = || prop::option::of(prop::sample::select(NAMES.to_vec()).prop_map(variant));
    let rule = (a_condition(), a_serve()).prop_map(|(when, serve)| Rule { name: None, when, serve });
    (
        prop_oneof![4 => Just(State::Enabled), 1 => Just(State::Disabled)],
        name(),
        name(),
        prop::collection::vec(rule, 0..4),
        prop::option::of(a_serve()),
        prop::option::of(prop::sample::select(vec!["on", "off"])),
        prop_oneof![3 => Just(None), 1 => a_targeting().prop_map(Some)],
    )
        .prop_map(|(state, default_variant, safe_variant, rules, serve, needs, targeting)| Definition {
            state,
            default_variant,
            safe_variant,
            // A flag has one or the other.
            rules: if targeting.is_some() { Vec::new() } else { rules },
            serve: if targeting.is_some() { None } else { serve },
            targeting,
            requires: needs.into_iter().map(|name| requires("base", name)).collect(),
            ..colours(&NAMES)
        })
}

fn a_context() -> impl Strategy<Value = String> {
    let country = prop::option::of(prop::sample::select(vec!["DE", "de", "2.4.1", "2025-10-16T08:00:00Z", ""]));
    let key =
        prop::option::of(prop_oneof!["[a-z]{0,8}".prop_map(|text| json!(text)), any::<i64>().prop_map(|n| json!(n))]);
    let number = prop::option::of(prop_oneof![Just(json!(1)), Just(json!(1.5)), Just(json!(null)), Just(json!("DE"))]);
    (country, key, number, any::<bool>()).prop_map(|(country, key, number, list)| {
        let mut context = json!({});
        let present = [
            ("country", country.map(|text| json!(text))),
            ("targetingKey", key),
            ("n", number.clone()),
            ("o", Some(json!({"inner": number}))),
            ("list", list.then(|| json!(["DE", 1, null]))),
        ];
        for (name, value) in present {
            if let Some(value) = value {
                context[name] = value;
            }
        }
        context.to_string()
    })
}

/// A set with the flag `f` and all that a generated definition may name.
fn world(definition: Definition, allocation: Option<Vec<(&str, u32)>>, first: &Condition) -> CompiledSet {
    let allocation = allocation.map(|shares| Allocation { percentages: percentages(&shares) });
    let f = Object::Flag { id: id("f"), revision: Revision(9), definition: Arc::new(definition), allocation };
    // What targeting may come to is a warning.
    let (set, diagnostics) = compile_all([
        f,
        segment("s0", strip_segments(first)),
        segment("s1", Condition::Any(vec![in_segment("s0"), test("n", Operator::Exists(true))])),
        flag("base", Definition { serve: Some(split(&[("on", 50_000)])), ..boolean() }),
    ]);
    assert!(!diagnostics.iter().any(Diagnostic::is_error), "{diagnostics:?}");
    set
}

/// The condition without segments, so that the segment `s0` names no other.
fn strip_segments(condition: &Condition) -> Condition {
    match condition {
        Condition::All(inner) => Condition::All(inner.iter().map(strip_segments).collect()),
        Condition::Any(inner) => Condition::Any(inner.iter().map(strip_segments).collect()),
        Condition::Not(inner) => Condition::Not(Box::new(strip_segments(inner))),
        Condition::Segment(_) => Condition::always(),
        Condition::Test(test) => Condition::Test(test.clone()),
    }
}

fn kills(flags: &[&str]) -> Arc<KillSet> {
    let mut kills = KillSet::default();
    for flag in flags {
        kills.merge(&id(flag), KillMark { generation: Generation(7), killed: true });
    }
    Arc::new(kills)
}

/// The variant and reason that the path alone leads to.
fn conclusion<'s>(set: &CompiledSet, explanation: &'s Explanation<'_>) -> (Option<&'s str>, Option<Reason>) {
    let flag = set.get(explanation.flag).unwrap();
    let default = flag.definition().default_variant.as_ref().map(VariantName::as_str);
    let name = |variant: &Option<&'s VariantName>| variant.map(VariantName::as_str);
    let by_name = |name: &str| flag.variants().iter().map(|(name, _)| name.as_str()).find(|held| *held == name);
    let leaked = |text: Option<&str>| text.map(|text| NAMES.into_iter().find(|name| *name == text).unwrap());
    match explanation.steps.last().unwrap() {
        Step::Killed { .. } => (leaked(flag.definition().safe().map(VariantName::as_str)), Some(Reason::Default)),
        Step::Disabled => (None, Some(Reason::Disabled)),
        Step::Serve { by, choice } => match choice {
            Choice::Variant { variant } => (name(variant), (*by == Origin::Rule).then_some(Reason::TargetingMatch)),
            Choice::Threshold { inside: Some(true), variant, .. } => (name(variant), Some(Reason::Split)),
            Choice::Threshold { inside: Some(false), .. } => (leaked(default), Some(Reason::Split)),
            Choice::Weights { winner: Some(winner), .. } => (leaked(by_name(winner)), Some(Reason::Split)),
            Choice::Ranges { no_unit: false, winner: Some(winner), .. } => {
                (leaked(by_name(winner)), Some(Reason::Split))
            }
            Choice::Ranges { no_unit: false, .. } => (leaked(default), Some(Reason::Split)),
            Choice::Threshold { .. } | Choice::Weights { .. } | Choice::Ranges { .. } => {
                (leaked(default), Some(Reason::Default))
            }
        },
        Step::Targeting { variant, error: None } => (name(variant), Some(Reason::TargetingMatch)),
        Step::Targeting { variant: None, error: Some(_) } => (None, Some(Reason::Error)),
        other => panic!("no path ends with {other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn an_explanation_leads_to_what_was_answered(
        definition in a_definition(), allocation in prop::option::of(shares()), first in a_condition(),
        context in a_context(), killed in prop::sample::select(vec![&[][..], &["f"], &["base"]]),
    ) {
        let set = world(definition, allocation, &first).with_kills(kills(killed));
        let context = Context::from_json(context.as_bytes()).unwrap();
        let flag = set.get(&id("f")).unwrap();
        let evaluation = evaluate(&set, flag, &context, NOW);
        let explanation = explain(&set, flag, &context, NOW);
        prop_assert_eq!(explanation.result.variant, evaluation.variant);
        prop_assert_eq!(explanation.result.value, evaluation.value);
        prop_assert_eq!(explanation.result.reason, evaluation.reason);
        let (variant, reason) = conclusion(&set, &explanation);
        prop_assert_eq!(variant, evaluation.variant.map(VariantName::as_str));
        match reason {
            Some(reason) => prop_assert_eq!(reason, evaluation.reason),
            None => prop_assert!(matches!(evaluation.reason, Reason::Static | Reason::Default)),
        }
        let matched = explanation.steps.iter().filter(|step| matches!(step, Step::Rule { matched: true, .. })).count();
        prop_assert!(matched <= 1);
        for step in &explanation.steps {
            if let Step::Rule { matched, failed, .. } = step {
                prop_assert_ne!(*matched, failed.is_some());
            }
        }
    }

    /// "Runs no rule code" as a property: whatever stands in the rules, the percentages, the prerequisites and the state,
    /// a killed flag answers the same, for every context, and looks at nothing.
    #[test]
    fn a_killed_flag_serves_its_safe_variant_whatever_else_is_defined(
        definition in a_definition(), allocation in prop::option::of(shares()), first in a_condition(), context in a_context(),
    ) {
        let safe = definition.safe().cloned();
        let value = safe.as_ref().map(|name| definition.variants[name].clone());
        let set = world(definition, allocation, &first).with_kills(kills(&["f"]));
        let context = Context::from_json(context.as_bytes()).unwrap();
        let flag = set.get(&id("f")).unwrap();
        let evaluation = evaluate(&set, flag, &context, NOW);
        prop_assert_eq!(evaluation.variant, safe.as_ref());
        prop_assert_eq!(evaluation.value, value.as_ref());
        prop_assert_eq!((evaluation.reason, evaluation.killed, evaluation.no_unit), (Reason::Default, Some(Generation(7)), false));
        prop_assert_eq!(explain(&set, flag, &context, NOW).steps, vec![Step::Killed { generation: Generation(7) }]);
        let restored = set.with_kills(Arc::default());
        prop_assert_eq!(evaluate(&restored, flag, &context, NOW).killed, None);
    }

    #[test]
    fn every_answer_names_a_variant_of_the_flag_with_its_value(
        definition in a_definition(), first in a_condition(), context in a_context(),
    ) {
        let set = world(definition, None, &first);
        let context = Context::from_json(context.as_bytes()).unwrap();
        let flag = set.get(&id("f")).unwrap();
        let evaluation = evaluate(&set, flag, &context, NOW);
        let value = evaluation.variant.map(|name| &flag.definition().variants[name]);
        prop_assert_eq!(value, evaluation.value);
        prop_assert_eq!(evaluation.error.is_some(), evaluation.reason == Reason::Error);
        prop_assert!(evaluation.error.is_none() || flag.targeting().is_some());
        prop_assert!(!evaluation.no_unit || evaluation.reason == Reason::Default);
    }
}

/// The serving of a flag with four variants, the first of them its default.
fn serving(shares: &[(&str, u32)]) -> Serving {
    let set = set_of([flag("f", Definition { serve: Some(split(shares)), ..colours(&NAMES) })]);
    set.get(&id("f")).unwrap().otherwise().clone()
}

fn place(serving: &Serving, user: u32) -> Placement {
    let context = Context::new(vec![("targetingKey".into(), Attribute::Integer(i64::from(user)))]).unwrap();
    match serving {
        Serving::Threshold(threshold) => threshold.place(&context),
        Serving::Weighted(weighted) => weighted.place(&context),
        Serving::Ranges(ranges) => ranges.place(&context),
        Serving::Nothing | Serving::Variant(_) => panic!("percentages expected"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_cohort_only_grows_as_its_percentage_grows(low in 0u32..=100_000, high in 0u32..=100_000) {
        let (low, high) = (low.min(high), low.max(high));
        let (small, large) = (serving(&[("b", low)]), serving(&[("b", high)]));
        for user in 0..500 {
            let inside = |serving| matches!(place(serving, user), Placement::Share(_));
            prop_assert!(!inside(&small) || inside(&large));
        }
    }

    /// Two weights change by the same amount in opposite directions, the other two stay: whoever moves, moves between
    /// those two, or else out of or into one of them alone when the remainder is the other.
    #[test]
    fn changing_a_weight_moves_users_only_into_or_out_of_that_variant(
        weights in prop::collection::vec(1u32..=20_000, 3), changed in 0usize..3, to in 0u32..=20_000,
    ) {
        let shares = |weights: &[u32]| -> Vec<(&str, u32)> { NAMES[1..].iter().copied().zip(weights.iter().copied()).collect() };
        let mut after = weights.clone();
        after[changed] = to;
        let (one, two) = (serving(&shares(&weights)), serving(&shares(&after)));
        // Names are sorted, so the variants b, c and d have the indexes 1, 2 and 3, and the remainder serves a.
        let (own, rest) = (Placement::Share(Some(u16::try_from(changed + 1).unwrap())), Placement::Share(Some(0)));
        for user in 0..500 {
            let (before, now) = (place(&one, user), place(&two, user));
            if before != now {
                prop_assert!([before, now].iter().any(|place| *place == own || *place == rest));
                let grows = to > weights[changed];
                // A weight that grows takes from the remainder's weight: users come to it, and leave the remainder.
                let expected = if grows { now == own || before == rest } else { before == own || now == rest };
                prop_assert!(expected);
            }
        }
    }

    /// The pure statement about rendezvous, without a remainder that changes with it.
    #[test]
    fn with_the_other_shares_fixed_only_the_changed_one_gains_or_loses(
        weights in prop::collection::vec(1u32..=30_000, 4), changed in 0usize..4, to in 1u32..=30_000,
    ) {
        use super::bucket::{Unit, hash, prefix};
        use super::weighted::Ticket;
        let winner = |weights: &[u32], user: i64| {
            let attribute = Attribute::Integer(user);
            let unit = Unit::of(&attribute).unwrap();
            let tickets: Vec<_> = NAMES.iter().zip(weights).map(|(name, weight)| Ticket {
                weight: *weight, hash: hash(&prefix(&["salt", name]), &unit), name,
            }).collect();
            (0..4).find(|at| tickets.iter().enumerate().all(|(other, ticket)| other == *at || tickets[*at].beats(ticket))).unwrap()
        };
        let mut after = weights.clone();
        after[changed] = to;
        for user in 0..200 {
            let (before, now) = (winner(&weights, user), winner(&after, user));
            let gainer_or_loser = if to > weights[changed] { now } else { before };
            prop_assert!(before == now || gainer_or_loser == changed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// By flagd's hashes as well: the first variant's cohort only grows, 0 % and 100 % need no unit, and only texts are
    /// units.
    #[test]
    fn flagds_cohorts_grow_from_the_left(
        low in 0u32..=90_000, high in 0u32..=90_000, salt in prop::option::of("[a-z]{1,4}"), cbor: bool, users in
        prop::collection::vec("[a-z0-9@.]{1,12}", 50),
    ) {
        let hash = if cbor { Hash::Murmur3Cbor } else { Hash::Murmur3 };
        let serving = |shares: &[(&str, u32)]| {
            let serve = Serve { hash, salt: salt.clone(), ..split(shares) };
            let set = set_of([flag("f", Definition { serve: Some(serve), ..colours(&NAMES) })]);
            set.get(&id("f")).unwrap().otherwise().clone()
        };
        let place = |serving: &Serving, unit: Option<Attribute<'_>>| {
            let context = Context::new(unit.map(|unit| ("targetingKey".into(), unit)).into_iter().collect()).unwrap();
            let Serving::Ranges(ranges) = serving else { panic!("ranges expected") };
            ranges.place(&context)
        };
        let (low, high) = (low.min(high), low.max(high));
        let (small, large) = (serving(&[("b", low), ("c", 10_000)]), serving(&[("b", high), ("c", 10_000)]));
        let first = Placement::Share(Some(1));
        for user in &users {
            let unit = || Some(Attribute::String(user.as_str().into()));
            prop_assert!(place(&small, unit()) != first || place(&large, unit()) == first);
        }
        for unit in [None, Some(Attribute::Integer(5)), Some(Attribute::String("".into())), Some(Attribute::Null)] {
            prop_assert_eq!(place(&small, unit.clone()), Placement::NoUnit);
            prop_assert_eq!(place(&serving(&[("b", 0), ("c", 100_000)]), unit.clone()), Placement::Share(Some(2)));
            prop_assert_eq!(place(&serving(&[("b", 0)]), unit.clone()), Placement::Remainder);
            prop_assert_eq!(place(&serving(&[("a", 40_000)]), unit), Placement::Remainder);
        }
        prop_assert_eq!(serving(&[("a", 90_000), ("b", 10_000)]), serving(&[("b", 10_000)]));
    }
}

#[test]
fn an_allocation_is_placed_by_the_hash_of_the_flag() {
    let by = AttributePath::parse("account");
    let serve = Serve { hash: Hash::Murmur3Cbor, by, ..always("b") };
    let definition = Definition { serve: Some(serve), ..colours(&NAMES) };
    let set = set_of([allocated("f", definition.clone(), &[("b", 30_000)])]);
    let with_own = Definition {
        serve: definition.serve.as_ref().map(|serve| Serve { to: split(&[("b", 30_000)]).to, ..serve.clone() }),
        ..definition
    };
    let own = set_of([flag("f", with_own)]);
    assert_eq!(set.get(&id("f")).unwrap().otherwise(), own.get(&id("f")).unwrap().otherwise());
    assert!(matches!(own.get(&id("f")).unwrap().otherwise(), Serving::Ranges(ranges) if ranges.hashing.joined));
}

#[test]
fn the_metadata_of_a_flag_chooses_the_generation_of_fractional_and_the_set_the_others() {
    let rule = json!({"fractional": [["heads", 1], ["tails", 1]]});
    let flag_with = |key: &str, generation: Option<&str>| {
        let metadata = generation.map(|word| ("fractionalHash".to_owned(), json!(word))).into_iter().collect();
        flag(key, Definition { targeting: Some(rule.clone()), metadata, ..colours(&["heads", "tails"]) })
    };
    let key = "fractional-flag-shorthand";
    let ask = |set: &CompiledSet| answer(set, key, r#"{"targetingKey":"jon@company.com"}"#).0.map(str::to_owned);
    let (heads, tails) = (Some("heads".to_owned()), Some("tails".to_owned()));
    let set = set_of([flag_with(key, None)]);
    assert_eq!(ask(&set), heads);
    let v3 = set.with_fractional_hash(FractionalHash::V3);
    assert_eq!(ask(&v3), tails);
    assert_eq!(ask(&set_of([flag_with(key, Some("v3"))])), tails);
    assert_eq!(ask(&set_of([flag_with(key, Some("v2"))]).with_fractional_hash(FractionalHash::V3)), heads);
    // Whatever is made of a set keeps its generation.
    assert_eq!(ask(&v3.with_kills(kills(&["other"]))), tails);
    let (after, _) = super::compile::compile(&v3, &[flag("other", boolean())]);
    assert_eq!((after.fractional_hash(), ask(&after)), (FractionalHash::V3, tails));
    let (set, diagnostics) = compile_all([flag_with(key, Some("v1"))]);
    assert_eq!(named(&diagnostics), [("unknown-hash", "/flags/fractional-flag-shorthand/metadata/fractionalHash")]);
    assert_eq!((diagnostics[0].is_error(), ask(&set)), (false, heads));
}

#[test]
fn an_allocation_serves_those_for_whom_targeting_says_nothing() {
    let targeting = Some(json!({"if": [{"==": [{"var": "country"}, "DE"]}, "c", null]}));
    let set = set_of([allocated("f", Definition { targeting, ..colours(&NAMES) }, &[("b", 100_000)])]);
    assert_eq!(answer(&set, "f", r#"{"country":"DE"}"#), (Some("c"), "TARGETING_MATCH"));
    assert_eq!(answer(&set, "f", "{}"), (Some("b"), "SPLIT"));
}

#[test]
fn prerequisites_see_the_answers_of_targeting_and_share_its_budget() {
    let on = |rule: Json| Definition { targeting: Some(rule), ..boolean() };
    let heavy = json!({"if": [{"all": [{"var": "n"}, {"all": [{"var": "n"}, {">": [{"var": ""}, -1]}]}]}, "x", "y"]});
    let chain = |key: &str, needs: &str| {
        flag(key, Definition { requires: vec![requires(needs, "on"); 32], serve: Some(always("on")), ..boolean() })
    };
    let (set, _) = compile_all([
        flag("base", on(json!({"if": [{"==": [{"var": "plan"}, "pro"]}, "on", null]}))),
        chain("needs-base", "base"),
        // Answers with an error, so nothing that requires it is on.
        flag("heavy", on(heavy)),
        chain("needs-heavy", "heavy"),
    ]);
    assert_eq!(answer(&set, "needs-base", r#"{"plan":"pro"}"#), (Some("on"), "DEFAULT"));
    assert_eq!(answer(&set, "needs-base", "{}"), (Some("off"), "DEFAULT"));
    let many = json!({ "n": (0..1000).collect::<Vec<u32>>() }).to_string();
    assert_eq!(answer(&set, "heavy", &many), (None, "ERROR"));
    assert_eq!(answer(&set, "needs-heavy", &many), (Some("off"), "DEFAULT"));
}

#[test]
fn the_default_variant_may_be_listed_or_left_out() {
    let listed = serving(&[("a", 90_000), ("b", 10_000)]);
    let bare = serving(&[("b", 10_000)]);
    assert_eq!(listed, bare);
    assert_eq!(serving(&[("a", 30_000), ("b", 10_000), ("c", 10_000)]), serving(&[("b", 10_000), ("c", 10_000)]));
}

#[test]
fn weighted_shares_get_what_they_weigh() {
    let serving = serving(&[("b", 50_000), ("c", 10_000), ("d", 25_000)]);
    let mut counts = BTreeMap::new();
    let users = 40_000;
    for user in 0..users {
        let Placement::Share(Some(index)) = place(&serving, user) else { panic!("everybody has a share") };
        *counts.entry(index).or_insert(0u32) += 1;
    }
    for (index, share) in [(0, 0.15), (1, 0.5), (2, 0.1), (3, 0.25)] {
        assert_within_four_sigma(counts[&index], users, share);
    }
}

#[test]
fn a_million_users_at_five_percent_land_within_four_sigma() {
    let Serving::Threshold(threshold) = serving(&[("b", 5_000)]) else { panic!("one name is a threshold") };
    let users = 1_000_000;
    let inside = |user: &u32| {
        let attribute = Attribute::Integer(i64::from(*user));
        let unit = super::bucket::Unit::of(&attribute).unwrap();
        super::bucket::of_hash(super::bucket::hash(&threshold.prefix, &unit)) < threshold.below
    };
    assert_within_four_sigma(u32::try_from((0..users).filter(inside).count()).unwrap(), users, 0.05);
}

#[test]
fn different_flags_have_independent_cohorts_and_a_common_salt_has_the_same() {
    let serve = |key: &str, salt: Option<&str>| {
        let serve = Serve { salt: salt.map(str::to_owned), ..split(&[("on", 30_000)]) };
        let set = set_of([flag(key, Definition { serve: Some(serve), ..boolean() })]);
        set.get(&id(key)).unwrap().otherwise().clone()
    };
    let inside = |serving: &Serving, user| matches!(place(serving, user), Placement::Share(_));
    let users = 40_000;
    let cohorts: Vec<Serving> = ["one", "two", "onf", "flag-1", "flag-2"].iter().map(|key| serve(key, None)).collect();
    for (at, left) in cohorts.iter().enumerate() {
        for right in &cohorts[at + 1..] {
            let both = (0..users).filter(|user| inside(left, *user) && inside(right, *user)).count();
            assert_within_four_sigma(u32::try_from(both).unwrap(), users, 0.09);
        }
    }
    let (left, right) = (serve("one", Some("shared")), serve("two", Some("shared")));
    assert!((0..1_000).all(|user| inside(&left, user) == inside(&right, user)));
}

fn assert_within_four_sigma(count: u32, of: u32, share: f64) {
    let (count, of) = (f64::from(count), f64::from(of));
    let sigma = (of * share * (1.0 - share)).sqrt();
    assert!((count - of * share).abs() <= 4.0 * sigma, "{count} of {of} at {share}, sigma {sigma}");
}
