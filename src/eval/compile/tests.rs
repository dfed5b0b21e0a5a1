//! What `compile` refuses and how it says so, what it shares, and that its order does not matter.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use crate::eval::compile::{compile, compile_all};
use crate::eval::compiled::Compiled;
use crate::eval::object::Object;
use crate::eval::samples::{
    allocated, always, answer, boolean, colours, equals, flag, flag_gone, id, in_segment, named, number, requires,
    rule, segment, segment_gone, set_of, split, string, test, variant,
};
use crate::eval::set::CompiledSet;
use crate::flag::definition::{Comparison, Condition, Definition, Hash, Operator, SemverTest, Serve};
use crate::flag::limits::{LIST_VALUES_MAX, NESTING_MAX, RULES_MAX};
use crate::flag::time::Revision;

fn requiring(flags: &[(&str, &str)]) -> Definition {
    Definition { requires: flags.iter().map(|(key, name)| requires(key, name)).collect(), ..boolean() }
}

fn ruled(when: Condition) -> Definition {
    Definition { rules: vec![rule(when, always("on"))], ..boolean() }
}

#[test]
fn everything_wrong_with_a_flag_is_named_at_once_with_its_pointer() {
    let rules = vec![
        rule(test("age", Operator::Matches("(".into())), always("on")),
        rule(
            Condition::All(vec![
                equals("country", "DE"),
                Condition::Any(vec![test("v", Operator::Semver(SemverTest::Caret, "2.4".into()))]),
                Condition::Not(Box::new(test("a/b.c", Operator::Before("yesterday".into())))),
                Condition::All(vec![test("x", Operator::In(vec![string("v"); LIST_VALUES_MAX + 1]))]),
            ]),
            split(&[("on", 60_000), ("off", 60_000)]),
        ),
        rule(Condition::always(), Serve { hash: Hash::Murmur3, ..split(&[("blue", 1)]) }),
    ];
    let definition = Definition {
        rules,
        default_variant: Some(variant("none")),
        safe_variant: Some(variant("safe")),
        serve: Some(always("green")),
        targeting: Some(json!({})),
        ..boolean()
    };
    let (set, diagnostics) = compile_all([flag("f/g", definition.clone()), flag("f", definition)]);
    assert!(set.is_empty());
    let mut found = named(&diagnostics);
    found.retain(|(_, pointer)| pointer.starts_with("/flags/f/"));
    assert_eq!(
        found,
        [
            ("unknown-variant", "/flags/f/defaultVariant"),
            ("bad-pattern", "/flags/f/rules/0/when/age/matches"),
            ("percentages-over-100", "/flags/f/rules/1/serve"),
            ("too-many-values", "/flags/f/rules/1/when/all/0/x/in"),
            ("bad-semver", "/flags/f/rules/1/when/any/0/v/semver_caret"),
            ("bad-time", "/flags/f/rules/1/when/not/a~1b.c/before"),
            ("unknown-variant", "/flags/f/rules/2/serve/blue"),
            ("unknown-variant", "/flags/f/safeVariant"),
            ("unknown-variant", "/flags/f/serve"),
        ]
    );
    assert!(diagnostics.iter().all(|diagnostic| diagnostic.is_error() && !diagnostic.help.is_empty()));
}

#[test]
fn a_bad_regex_is_explained_in_one_line() {
    let (_, diagnostics) = compile_all([flag("f", ruled(test("a", Operator::Matches("a(?=b)".into()))))]);
    assert!(diagnostics[0].message.contains("look-around"), "{}", diagnostics[0]);
    assert!(!diagnostics[0].message.contains('\n'));
}

#[test]
fn ordinary_patterns_fit_and_huge_ones_are_refused() {
    for pattern in [r"^\w+@example\.com$", r"(?i)iphone|ipad", r"^\d{3}-\d{4}$", r"^[^@\s]+@[^@\s]+\.[a-z]{2,}$", ".*"]
    {
        set_of([flag("f", ruled(test("a", Operator::Matches(pattern.into()))))]);
    }
    for pattern in [r"\w{200}", r"(a{100}){100}{100}", &"(".repeat(500)] {
        let (_, diagnostics) = compile_all([flag("f", ruled(test("a", Operator::Matches(pattern.into()))))]);
        assert_eq!(named(&diagnostics), [("bad-pattern", "/flags/f/rules/0/when/a/matches")], "{pattern}");
    }
}

#[test]
fn conditions_that_nest_too_deeply_are_refused() {
    let nest = |levels: usize| (1..levels).fold(equals("a", "b"), |inner, _| Condition::Not(Box::new(inner)));
    set_of([flag("f", ruled(nest(NESTING_MAX)))]);
    let (_, diagnostics) = compile_all([flag("f", ruled(nest(NESTING_MAX + 1)))]);
    assert_eq!(diagnostics[0].code, "too-deep");
    let too_many = Definition { rules: vec![rule(Condition::always(), always("on")); RULES_MAX + 1], ..boolean() };
    assert_eq!(named(&compile_all([flag("f", too_many)]).1), [("too-many", "/flags/f/rules")]);
}

#[test]
fn references_to_nothing_are_named_where_they_stand() {
    let when = Condition::All(vec![equals("a", "b"), Condition::Any(vec![in_segment("staff")])]);
    let definition = Definition { requires: vec![requires("b", "on"), requires("c", "red")], ..ruled(when.clone()) };
    let (set, diagnostics) = compile_all([flag("f", definition), flag("c", boolean()), segment("s", when)]);
    assert_eq!(set.len(), 1);
    assert_eq!(
        named(&diagnostics),
        [
            ("unknown-flag", "/flags/f/requires/0/flag"),
            ("unknown-variant", "/flags/f/requires/1/variant"),
            ("unknown-segment", "/flags/f/rules/0/when/any/0/segment"),
            ("unknown-segment", "/segments/s/any/0/segment"),
        ]
    );
}

#[test]
fn a_chain_of_references_falls_with_its_last_link() {
    let chain = |n: usize| flag(&format!("f{n}"), requiring(&[(&format!("f{}", n + 1), "on")]));
    let (set, diagnostics) = compile_all((0..10_000).map(chain));
    assert!(set.is_empty());
    assert_eq!(diagnostics.len(), 10_000);
    assert!(diagnostics.iter().filter(|diagnostic| diagnostic.message.contains("errors of its own")).count() == 9_999);
}

#[test]
fn circles_are_named_with_their_path_and_the_rest_goes_on() {
    let (set, diagnostics) = compile_all([
        flag("a", requiring(&[("b", "on")])),
        flag("b", requiring(&[("c", "on")])),
        flag("c", requiring(&[("a", "on")])),
        flag("self", requiring(&[("self", "on")])),
        flag("fine", boolean()),
        segment("s", in_segment("t")),
        segment("t", in_segment("s")),
    ]);
    assert_eq!(set.iter().map(|flag| flag.id().key.as_str()).collect::<Vec<_>>(), ["fine"]);
    let circles: Vec<_> = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.code.ends_with("-cycle"))
        .map(|diagnostic| (diagnostic.pointer.as_str(), diagnostic.message.split(": ").nth(1).unwrap()))
        .collect();
    assert_eq!(
        circles,
        [
            ("/flags/a/requires", "a → b → c → a"),
            ("/flags/b/requires", "b → c → a → b"),
            ("/flags/c/requires", "c → a → b → c"),
            ("/flags/self/requires", "self → self"),
            ("/segments/s", "s → t → s"),
            ("/segments/t", "t → s → t"),
        ]
    );
}

#[test]
fn a_change_that_closes_a_circle_is_refused_and_its_last_good_form_stays() {
    let set = set_of([flag("a", requiring(&[("b", "off")])), flag("b", boolean())]);
    let (after, diagnostics) = compile(&set, &[flag("b", requiring(&[("a", "on")]))]);
    assert_eq!(named(&diagnostics), [("requires-cycle", "/flags/b/requires")]);
    assert!(same(&set, &after, "b"));
}

#[test]
fn chains_of_references_and_their_cost_are_limited() {
    let chain = |length: usize| {
        (0..length).map(move |n| {
            let next = (n + 1 < length).then(|| requires(&format!("f{}", n + 1), "off"));
            flag(&format!("f{n}"), Definition { requires: next.into_iter().collect(), ..boolean() })
        })
    };
    set_of(chain(NESTING_MAX));
    let (set, diagnostics) = compile_all(chain(NESTING_MAX + 1));
    assert_eq!(named(&diagnostics), [("too-deep", "/flags/f0")]);
    assert_eq!(set.len(), NESTING_MAX);
    // Each segment names the next one four times: 4^20 conditions to look at.
    let bomb = (0..20).map(|n| match n {
        19 => segment("s19", equals("a", "b")),
        n => segment(&format!("s{n}"), Condition::Any(vec![in_segment(&format!("s{}", n + 1)); 4])),
    });
    let (_, diagnostics) = compile_all(bomb);
    assert!(diagnostics.iter().any(|diagnostic| diagnostic.code == "too-many-steps"));
    let twice = |n: usize| {
        let next = format!("f{}", n + 1);
        let requires = if n < 24 { vec![requires(&next, "off"), requires(&next, "off")] } else { Vec::new() };
        flag(&format!("f{n}"), Definition { requires, ..boolean() })
    };
    assert!(compile_all((0..25).map(twice)).1.iter().any(|diagnostic| diagnostic.code == "too-many-steps"));
}

#[test]
fn an_unchanged_user_is_not_blamed_for_a_cost_that_grew_below_it() {
    let many = |count: usize| Condition::Any(vec![equals("a", "b"); count]);
    let set = set_of([
        segment("s", many(10)),
        flag("f", ruled(Condition::Any(vec![in_segment("s"); 100]))),
        flag("g", requiring(&[("f", "on")])),
    ]);
    let (after, diagnostics) = compile(&set, &[segment("s", many(5_000))]);
    assert_eq!(named(&diagnostics)[0], ("too-many-steps", "/segments/s"));
    assert!(Arc::ptr_eq(set.segments()[0], after.segments()[0]));
}

#[test]
fn what_is_in_use_cannot_be_deleted_and_its_users_are_named() {
    let set = set_of([
        segment("staff", equals("a", "b")),
        segment("all", in_segment("staff")),
        flag("base", colours(&["red", "blue"])),
        flag("f", Definition { requires: vec![requires("base", "blue")], ..ruled(in_segment("staff")) }),
    ]);
    let (after, diagnostics) = compile(&set, &[segment_gone("staff"), flag_gone("base")]);
    assert_eq!(named(&diagnostics), [("flag-in-use", "/flags/base"), ("segment-in-use", "/segments/staff")]);
    assert_eq!(diagnostics[0].message, "the flag `base` is required by the flag `f`");
    assert_eq!(diagnostics[1].message, "the segment `staff` is used by the flag `f`, the segment `all`");
    assert!(same(&set, &after, "base") && after.segment("staff").is_some());
    let (after, diagnostics) = compile(&set, &[flag("base", colours(&["red"]))]);
    assert_eq!(named(&diagnostics), [("variant-in-use", "/flags/base")]);
    assert!(same(&set, &after, "base"));
    // Together with their users they go.
    let (after, diagnostics) =
        compile(&set, &[segment_gone("staff"), flag_gone("base"), flag_gone("f"), segment_gone("all")]);
    assert_eq!(diagnostics, []);
    assert!(after.is_empty() && after.segments().is_empty());
}

#[test]
fn a_refused_change_keeps_what_its_old_form_needs() {
    let set = set_of([segment("staff", equals("a", "b")), flag("f", ruled(in_segment("staff")))]);
    let bad = Definition { default_variant: Some(variant("none")), ..boolean() };
    let (after, diagnostics) = compile(&set, &[flag("f", bad), segment_gone("staff")]);
    assert_eq!(
        named(&diagnostics),
        [("unknown-variant", "/flags/f/defaultVariant"), ("segment-in-use", "/segments/staff")]
    );
    assert_eq!(answer(&after, "f", r#"{"a":"b"}"#).0, Some("on"));
}

#[test]
fn a_flag_in_a_set_that_takes_the_place_of_another_must_fit_its_users() {
    let set = set_of([flag("base", boolean()), flag("shop/f", requiring(&[("base", "on")]))]);
    let (after, diagnostics) = compile(&set, &[flag("shop/base", colours(&["red"]))]);
    assert_eq!(named(&diagnostics), [("variant-in-use", "/flags/base")]);
    assert!(after.get(&id("shop/base")).is_none());
    let (after, diagnostics) = compile(&set, &[flag("shop/base", boolean()), flag_gone("base")]);
    assert_eq!(diagnostics, []);
    assert_eq!(after.len(), 2);
}

#[test]
fn an_allocation_is_checked_against_the_variants() {
    let (set, diagnostics) = compile_all([allocated("f", boolean(), &[("green", 1)])]);
    assert_eq!(named(&diagnostics), [("unknown-variant", "/flags/f/allocation/green")]);
    assert!(set.is_empty());
}

#[test]
fn of_two_objects_of_one_name_the_later_revision_counts() {
    let at = |revision: u64, definition: Definition| match flag("f", definition) {
        Object::Flag { id, definition, allocation, .. } => {
            Object::Flag { id, revision: Revision(revision), definition, allocation }
        }
        other => other,
    };
    let (old, new) = (at(3, boolean()), at(4, Definition { serve: Some(always("on")), ..boolean() }));
    for objects in [[old.clone(), new.clone()], [new, old]] {
        let set = set_of(objects);
        assert_eq!(answer(&set, "f", "{}").0, Some("on"));
        assert_eq!(set.get(&id("f")).map(Compiled::revision), Some(Revision(4)));
    }
}

#[test]
fn one_change_shares_every_flag_that_it_does_not_touch() {
    let flags = (0..3_000).map(|n| flag(&format!("{}f{n:04}", if n % 3 == 0 { "shop/" } else { "" }), boolean()));
    let set = set_of(flags);
    let (after, _) =
        compile(&set, &[flag("f0001", ruled(Condition::always())), flag("new", boolean()), flag_gone("f0002")]);
    assert_eq!(after.len(), 3_000);
    for old in set.iter() {
        let kept = after.get_shared(old.id()).is_some_and(|new| std::ptr::eq(Arc::as_ptr(new), old));
        assert_eq!(kept, !["f0001", "f0002"].contains(&old.id().key.as_str()), "{}", old.id());
    }
    let ids: Vec<_> = after.iter().map(|flag| flag.id().clone()).collect();
    assert!(ids.is_sorted());
    assert!(ids.contains(&id("new")) && !ids.contains(&id("f0002")));
    assert_eq!(after.in_flag_set(Some("shop")).count(), 1_000);
    assert_eq!(after.in_flag_set(None).count(), 2_000);
    assert_eq!(after.in_flag_set(Some("nowhere")).count(), 0);
}

#[test]
fn a_changed_segment_is_in_force_in_flags_that_are_shared() {
    let set = set_of([segment("staff", equals("a", "b")), flag("f", ruled(in_segment("staff")))]);
    let (after, _) = compile(&set, &[segment("staff", equals("a", "c"))]);
    assert!(same(&set, &after, "f"));
    assert_eq!(answer(&after, "f", r#"{"a":"c"}"#).0, Some("on"));
    assert_eq!(answer(&set, "f", r#"{"a":"c"}"#).0, Some("off"));
}

fn same(before: &CompiledSet, after: &CompiledSet, key: &str) -> bool {
    matches!((before.get_shared(&id(key)), after.get_shared(&id(key))), (Some(old), Some(new)) if Arc::ptr_eq(old, new))
}

/// What a set holds, without the compiled forms.
fn sources(set: &CompiledSet) -> BTreeMap<String, String> {
    let flags = set.iter().map(|flag| {
        let source = format!("{:?} {:?} {:?}", flag.revision(), flag.definition(), flag.allocation());
        (format!("flag {}", flag.id()), source)
    });
    let segments = set.segments().into_iter().map(|segment| {
        (format!("segment {}", segment.name()), format!("{:?} {:?}", segment.revision(), segment.segment()))
    });
    flags.chain(segments).collect()
}

/// The objects that make a set.
fn objects(set: &CompiledSet) -> Vec<Object> {
    let flags = set.iter().map(|flag| Object::Flag {
        id: flag.id().clone(),
        revision: flag.revision(),
        definition: Arc::clone(flag.definition()),
        allocation: flag.allocation().cloned(),
    });
    let segments = set.segments().into_iter().map(|segment| Object::Segment {
        name: segment.name().clone(),
        revision: segment.revision(),
        segment: Arc::clone(segment.segment()),
    });
    flags.chain(segments).collect()
}

fn a_condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        (0..4u8).prop_map(|n| in_segment(&format!("s{n}"))),
        Just(equals("a", "b")),
        Just(test("n", Operator::Compare(Comparison::Less, 3.into()))),
        Just(test("n", Operator::In(vec![number(1), string("x")]))),
        Just(test("bad", Operator::Matches("(".into()))),
    ]
}

fn an_object() -> impl Strategy<Value = Object> {
    let key = prop_oneof![(0..5u8).prop_map(|n| format!("f{n}")), (0..3u8).prop_map(|n| format!("shop/f{n}")),];
    let names = prop::sample::select(vec![&["a", "b"][..], &["a"], &["a", "b", "c"]]);
    let required = prop::collection::vec((0..5u8, prop::sample::select(vec!["a", "b", "c"])), 0..3);
    let put = (key.clone(), names, required, prop::collection::vec(a_condition(), 0..2)).prop_map(
        |(key, names, required, rules)| {
            let requires = required.iter().map(|(n, name)| requires(&format!("f{n}"), name)).collect();
            let rules = rules.into_iter().map(|when| rule(when, always("a"))).collect();
            flag(&key, Definition { requires, rules, ..colours(names) })
        },
    );
    prop_oneof![
        6 => put,
        2 => key.prop_map(|key| flag_gone(&key)),
        3 => (0..4u8, prop::collection::vec(a_condition(), 1..3))
            .prop_map(|(n, inner)| segment(&format!("s{n}"), Condition::Any(inner))),
        1 => (0..4u8).prop_map(|n| segment_gone(&format!("s{n}"))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// The invariant that makes boot a reload: whatever was refused on the way, the set that is left compiles without a
    /// complaint from its own objects, into the same answers.
    #[test]
    fn a_set_that_grew_change_by_change_is_the_set_of_its_objects(
        batches in prop::collection::vec(prop::collection::vec(an_object(), 1..8), 1..6),
        seed: usize,
    ) {
        let mut set = CompiledSet::default();
        for batch in &batches {
            let (next, diagnostics) = compile(&set, batch);
            if diagnostics.is_empty() {
                for object in batch {
                    if let Object::FlagGone { id, .. } = object {
                        let put_again = batch.iter().any(|other| matches!(other, Object::Flag { id: put, .. } if put == id));
                        prop_assert!(put_again || next.get(id).is_none());
                    }
                }
            }
            set = next;
        }
        let mut objects = objects(&set);
        let turn = seed % objects.len().max(1);
        objects.rotate_left(turn);
        let (whole, diagnostics) = compile_all(objects);
        prop_assert_eq!(diagnostics, vec![]);
        prop_assert_eq!(sources(&whole), sources(&set));
        prop_assert!(set.iter().map(Compiled::id).is_sorted());
        for flag in set.iter() {
            prop_assert!(std::ptr::eq(set.get(flag.id()).unwrap(), flag));
            let key = match &flag.id().flag_set { Some(set) => format!("{set}/{}", flag.id().key), None => flag.id().key.to_string() };
            for context in ["{}", r#"{"a":"b"}"#, r#"{"n":1}"#] {
                prop_assert_eq!(answer(&set, &key, context), answer(&whole, &key, context));
            }
        }
    }
}
