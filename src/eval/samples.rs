//! Definitions for the tests of this folder, built by hand in few words.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Number, Value, json};

use crate::flag::definition::{
    Allocation, AttributePath, Condition, Definition, Operator, Requirement, Rule, Scalar, Segment, Serve, Test,
};
use crate::flag::diagnostic::Diagnostic;
use crate::flag::key::{FlagId, FlagKey, FlagSetName, SegmentName, VariantName};
use crate::flag::percent::Percent;
use crate::flag::time::{Revision, Timestamp};

use super::compile::compile_all;
use super::context::Context;
use super::evaluate::evaluate;
use super::object::Object;
use super::outcome::Evaluation;
use super::set::CompiledSet;

pub(super) const NOW: Timestamp = Timestamp::from_micros(1_760_000_000_000_000);

pub(super) fn variant(name: &str) -> VariantName {
    VariantName::new(name).unwrap()
}

pub(super) fn id(key: &str) -> FlagId {
    match key.split_once('/') {
        Some((set, key)) => FlagId { flag_set: Some(FlagSetName::new(set).unwrap()), key: FlagKey::new(key).unwrap() },
        None => FlagId::plain(FlagKey::new(key).unwrap()),
    }
}

/// A boolean flag with `on` and `off`, where `off` is the default.
pub(super) fn boolean() -> Definition {
    Definition {
        variants: BTreeMap::from([(variant("on"), json!(true)), (variant("off"), json!(false))]),
        default_variant: Some(variant("off")),
        ..Definition::default()
    }
}

/// A string flag with these variants, whose values are their names; the first is the default.
pub(super) fn colours(names: &[&str]) -> Definition {
    Definition {
        variants: names.iter().map(|name| (variant(name), Value::from(*name))).collect(),
        default_variant: names.first().map(|name| variant(name)),
        ..Definition::default()
    }
}

pub(super) fn percentages(shares: &[(&str, u32)]) -> BTreeMap<VariantName, Percent> {
    let share = |(name, thousandths): &(&str, u32)| (variant(name), Percent::from_thousandths(*thousandths).unwrap());
    shares.iter().map(share).collect()
}

/// Serves thousandths of a percent.
pub(super) fn split(shares: &[(&str, u32)]) -> Serve {
    Serve::percentages(percentages(shares))
}

pub(super) fn always(name: &str) -> Serve {
    Serve::variant(variant(name))
}

pub(super) fn rule(when: Condition, serve: Serve) -> Rule {
    Rule { name: None, when, serve }
}

pub(super) fn test(attribute: &str, operator: Operator) -> Condition {
    Condition::Test(Test { attribute: AttributePath::parse(attribute).unwrap(), operator })
}

pub(super) fn equals(attribute: &str, text: &str) -> Condition {
    test(attribute, Operator::Equals(string(text)))
}

pub(super) fn in_segment(name: &str) -> Condition {
    Condition::Segment(SegmentName::new(name).unwrap())
}

pub(super) fn string(text: &str) -> Scalar {
    Scalar::String(text.to_owned())
}

pub(super) fn number(number: impl Into<Number>) -> Scalar {
    Scalar::Number(number.into())
}

pub(super) fn requires(flag: &str, name: &str) -> Requirement {
    Requirement { flag: FlagKey::new(flag).unwrap(), variant: variant(name) }
}

pub(super) fn flag(key: &str, definition: Definition) -> Object {
    Object::Flag { id: id(key), revision: Revision(1), definition: Arc::new(definition), allocation: None }
}

pub(super) fn allocated(key: &str, definition: Definition, shares: &[(&str, u32)]) -> Object {
    let allocation = Some(Allocation { percentages: percentages(shares) });
    Object::Flag { id: id(key), revision: Revision(1), definition: Arc::new(definition), allocation }
}

pub(super) fn flag_gone(key: &str) -> Object {
    Object::FlagGone { id: id(key), revision: Revision(2) }
}

pub(super) fn segment(name: &str, when: Condition) -> Object {
    Object::Segment {
        name: SegmentName::new(name).unwrap(),
        revision: Revision(1),
        segment: Arc::new(Segment { when }),
    }
}

pub(super) fn segment_gone(name: &str) -> Object {
    Object::SegmentGone { name: SegmentName::new(name).unwrap(), revision: Revision(2) }
}

/// The set of these objects, which must be in order.
pub(super) fn set_of(objects: impl IntoIterator<Item = Object>) -> CompiledSet {
    let (set, diagnostics) = compile_all(objects);
    assert_eq!(diagnostics, []);
    set
}

/// Code and pointer of each diagnostic.
pub(super) fn named(diagnostics: &[Diagnostic]) -> Vec<(&'static str, &str)> {
    diagnostics.iter().map(|diagnostic| (diagnostic.code, diagnostic.pointer.as_str())).collect()
}

/// What a flag answers to a context in JSON.
pub(super) fn ask<'s>(set: &'s CompiledSet, key: &str, context: &str) -> Evaluation<'s> {
    let context = Context::from_json(context.as_bytes()).unwrap();
    evaluate(set, set.get(&id(key)).expect("the flag is in the set"), &context, NOW)
}

/// The variant and reason that a flag answers to a context in JSON.
pub(super) fn answer<'s>(set: &'s CompiledSet, key: &str, context: &str) -> (Option<&'s str>, &'static str) {
    let evaluation = ask(set, key, context);
    (evaluation.variant.map(VariantName::as_str), evaluation.reason.as_str())
}
