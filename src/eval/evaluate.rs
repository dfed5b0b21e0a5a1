//! The answer of one flag to one context: killed → state → requires → rules or targeting → serve → default variant.
//!
//! Total: no clock, no lock, and no allocation but for what flagd's targeting makes anew. The answer borrows from the set.

use crate::flag::key::{FlagKey, VariantName};
use crate::flag::limits::NESTING_MAX;
use crate::flag::time::{Generation, Timestamp};

use super::compiled::Compiled;
use super::context::Context;
use super::logic::budget::Budget;
use super::logic::value::{Value, double};
use super::logic::{Facts, Logic, text};
use super::outcome::{ErrorCode, Evaluation, Reason};
use super::serving::{Placement, Serving, VariantIndex};
use super::set::CompiledSet;

/// Answers for `flag`, which must come from `set`. The moment is an argument because flagd's rules may ask for it.
#[inline]
pub fn evaluate<'s>(set: &'s CompiledSet, flag: &'s Compiled, context: &Context<'_>, now: Timestamp) -> Evaluation<'s> {
    evaluate_within(set, flag, context, &mut Limits::new(now))
}

/// What one evaluation carries along to its prerequisites.
#[derive(Debug)]
pub(super) struct Limits {
    now: Timestamp,
    /// How many more prerequisites may be followed in a row; `compile` refuses longer chains.
    requires: usize,
    /// The work that all targeting together may take.
    budget: Budget,
}

impl Limits {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { now, requires: NESTING_MAX, budget: Budget::default() }
    }
}

/// The same as part of another evaluation.
pub(super) fn evaluate_within<'s>(
    set: &'s CompiledSet,
    flag: &'s Compiled,
    context: &Context<'_>,
    limits: &mut Limits,
) -> Evaluation<'s> {
    // First of all, and before anything that a definition could get wrong.
    if let Some(generation) = set.kills().killed(flag.id()) {
        return killed(flag, generation);
    }
    if !flag.is_enabled() {
        return answer(flag, None, Reason::Disabled);
    }
    for required in flag.requires() {
        if served_by(set, flag, &required.flag, context, limits) != Some(&required.variant) {
            return answer(flag, flag.default, Reason::Default);
        }
    }
    if let Some(targeting) = &flag.targeting {
        match choose(set, flag, targeting, context, limits) {
            Choice::Variant(index) => return answer(flag, Some(index), Reason::TargetingMatch),
            Choice::Nothing => {}
            Choice::Fault(error) => return Evaluation { error: Some(error), ..answer(flag, None, Reason::Error) },
        }
    }
    match flag.rules.iter().find(|rule| rule.when.holds(set, context)) {
        Some(rule) => serve(flag, &rule.serving, Reason::TargetingMatch, context),
        None => serve(flag, &flag.otherwise, flag.otherwise_reason, context),
    }
}

/// The variant that a prerequisite of `flag` serves.
pub(super) fn served_by<'s>(
    set: &'s CompiledSet,
    flag: &Compiled,
    required: &FlagKey,
    context: &Context<'_>,
    limits: &mut Limits,
) -> Option<&'s VariantName> {
    let other = set.required(flag, required)?;
    limits.requires = limits.requires.checked_sub(1)?;
    let served = evaluate_within(set, other, context, limits).variant;
    limits.requires += 1;
    served
}

/// What flagd's targeting comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// A variant.
    Variant(VariantIndex),
    /// null: as if there were no targeting, but for the reason.
    Nothing,
    /// An error.
    Fault(ErrorCode),
}

/// Runs the targeting of `flag`. Its result counts by its text: `true` is the variant `true`, and `1.0` is `1`.
pub(super) fn choose(
    set: &CompiledSet,
    flag: &Compiled,
    targeting: &Logic,
    context: &Context<'_>,
    limits: &mut Limits,
) -> Choice {
    let hash = flag.fractional_hash.unwrap_or(set.fractional_hash());
    let facts = Facts { flag_key: flag.id().key.as_str(), now: limits.now, hash };
    let index = match targeting.run(context, facts, &mut limits.budget) {
        Ok(Value::Null) => return Choice::Nothing,
        Ok(Value::Text(name)) => flag.index_of(&name),
        Ok(Value::Bool(value)) => flag.index_of(if value { "true" } else { "false" }),
        Ok(Value::Number(number)) => flag.index_of(&text::of_number(double(number))),
        Ok(Value::List(_) | Value::Object(_)) => None,
        Err(fault) => return Choice::Fault(fault.code()),
    };
    index.map_or(Choice::Fault(ErrorCode::General), Choice::Variant)
}

/// What a killed flag answers: its safe variant, whatever else is defined.
pub(super) fn killed(flag: &Compiled, generation: Generation) -> Evaluation<'_> {
    Evaluation { killed: Some(generation), ..answer(flag, flag.safe, Reason::Default) }
}

/// `reason` is for one variant served to everybody who comes here; percentages have their own.
#[inline]
fn serve<'s>(flag: &'s Compiled, serving: &Serving, reason: Reason, context: &Context<'_>) -> Evaluation<'s> {
    let placement = match serving {
        Serving::Nothing => return answer(flag, flag.default, reason),
        Serving::Variant(index) => return answer(flag, Some(*index), reason),
        Serving::Threshold(threshold) => threshold.place(context),
        Serving::Weighted(weighted) => weighted.place(context),
        Serving::Ranges(ranges) => ranges.place(context),
    };
    match placement {
        Placement::Share(index) => answer(flag, index, Reason::Split),
        Placement::Remainder => answer(flag, flag.default, Reason::Split),
        Placement::NoUnit => Evaluation { no_unit: true, ..answer(flag, flag.default, Reason::Default) },
    }
}

#[inline]
fn answer(flag: &Compiled, index: Option<VariantIndex>, reason: Reason) -> Evaluation<'_> {
    let (variant, value) = flag.variant(index).map(|(name, value)| (name, value)).unzip();
    Evaluation { flag, variant, value, reason, error: None, killed: None, no_unit: false }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{
        allocated, always, answer, ask, boolean, colours, equals, flag, id, in_segment, requires, rule, segment,
        set_of, split,
    };
    use super::*;
    use crate::flag::definition::{Condition, Definition, Serve, State};
    use crate::flag::kill::{KillMark, KillSet};
    use serde_json::json;
    use std::sync::Arc;

    fn killing(set: &CompiledSet, key: &str, generation: u64) -> CompiledSet {
        let mut kills = KillSet::default();
        kills.merge(&id(key), KillMark { generation: Generation(generation), killed: true });
        set.with_kills(Arc::new(kills))
    }

    #[test]
    fn the_first_rule_that_matches_wins() {
        let rules = vec![
            rule(equals("country", "DE"), always("on")),
            rule(equals("country", "AT"), split(&[("on", 100_000)])),
            rule(equals("country", "DE"), always("off")),
        ];
        let set = set_of([flag("f", Definition { rules, ..boolean() })]);
        assert_eq!(answer(&set, "f", r#"{"country":"DE"}"#), (Some("on"), "TARGETING_MATCH"));
        assert_eq!(answer(&set, "f", r#"{"country":"AT"}"#), (Some("on"), "SPLIT"));
        assert_eq!(answer(&set, "f", r#"{"country":"FR"}"#), (Some("off"), "DEFAULT"));
        assert_eq!(answer(&set, "f", "{}"), (Some("off"), "DEFAULT"));
        assert_eq!(ask(&set, "f", r#"{"country":"DE"}"#).value, Some(&json!(true)));
    }

    #[test]
    fn a_flag_that_asks_nothing_is_static() {
        let rules = vec![rule(equals("country", "DE"), always("off"))];
        let no_default = Definition { default_variant: None, ..boolean() };
        let set = set_of([
            flag("bare", boolean()),
            flag("serves", Definition { serve: Some(always("on")), ..boolean() }),
            flag("ruled", Definition { rules, serve: Some(always("on")), ..boolean() }),
            flag("requiring", Definition { requires: vec![requires("bare", "off")], ..boolean() }),
            flag("nothing", no_default),
        ]);
        assert_eq!(answer(&set, "bare", "{}"), (Some("off"), "STATIC"));
        assert_eq!(answer(&set, "serves", "{}"), (Some("on"), "STATIC"));
        assert_eq!(answer(&set, "ruled", "{}"), (Some("on"), "DEFAULT"));
        assert_eq!(answer(&set, "requiring", "{}"), (Some("off"), "DEFAULT"));
        assert_eq!(answer(&set, "nothing", "{}"), (None, "DEFAULT"));
    }

    #[test]
    fn a_disabled_flag_answers_use_the_code_default() {
        let rules = vec![rule(Condition::always(), always("on"))];
        let set = set_of([flag("f", Definition { state: State::Disabled, rules, ..boolean() })]);
        let evaluation = ask(&set, "f", "{}");
        assert_eq!((evaluation.variant, evaluation.value, evaluation.reason), (None, None, Reason::Disabled));
    }

    #[test]
    fn percentages_without_a_unit_serve_the_default_and_say_so() {
        let set = set_of([
            flag("five", Definition { serve: Some(split(&[("on", 5_000)])), ..boolean() }),
            flag("all", Definition { serve: Some(split(&[("on", 100_000)])), ..boolean() }),
            flag("nobody", Definition { serve: Some(split(&[("on", 0)])), ..boolean() }),
            flag("only-default", Definition { serve: Some(split(&[("off", 40_000)])), ..boolean() }),
            flag(
                "reserved",
                Definition { serve: Some(split(&[("b", 100_000), ("c", 0)])), ..colours(&["a", "b", "c"]) },
            ),
        ]);
        for context in ["{}", r#"{"targetingKey":""}"#, r#"{"targetingKey":null}"#, r#"{"targetingKey":1.5}"#] {
            let evaluation = ask(&set, "five", context);
            assert!(evaluation.no_unit);
            assert_eq!(answer(&set, "five", context), (Some("off"), "DEFAULT"));
            assert_eq!(answer(&set, "all", context), (Some("on"), "SPLIT"));
            assert_eq!(answer(&set, "nobody", context), (Some("off"), "SPLIT"));
            assert_eq!(answer(&set, "only-default", context), (Some("off"), "SPLIT"));
            assert_eq!(answer(&set, "reserved", context), (Some("b"), "SPLIT"));
            assert!(!ask(&set, "nobody", context).no_unit);
        }
    }

    #[test]
    fn an_allocation_takes_the_place_of_serve_and_keeps_its_unit() {
        let by = crate::flag::definition::AttributePath::parse("account.id");
        let serve = Serve { by, ..split(&[("on", 0)]) };
        let definition = Definition { serve: Some(serve), ..boolean() };
        let set = set_of([allocated("f", definition, &[("on", 50_000)])]);
        let on = (0..1000).filter(|n| answer(&set, "f", &format!(r#"{{"account":{{"id":{n}}}}}"#)).0 == Some("on"));
        assert!((400..600).contains(&on.count()));
        assert!(ask(&set, "f", r#"{"targetingKey":"u"}"#).no_unit);
        let set = set_of([allocated("g", Definition { serve: Some(always("on")), ..boolean() }, &[("on", 0)])]);
        assert_eq!(answer(&set, "g", r#"{"targetingKey":"u"}"#), (Some("off"), "SPLIT"));
    }

    #[test]
    fn a_prerequisite_must_serve_its_variant_and_sees_kills() {
        let rules = vec![rule(equals("country", "DE"), always("on"))];
        let set = set_of([
            flag("storage", Definition { rules, safe_variant: None, ..boolean() }),
            flag(
                "documents",
                Definition { requires: vec![requires("storage", "on")], serve: Some(always("on")), ..boolean() },
            ),
        ]);
        let german = r#"{"country":"DE"}"#;
        assert_eq!(answer(&set, "documents", german), (Some("on"), "DEFAULT"));
        assert_eq!(answer(&set, "documents", "{}"), (Some("off"), "DEFAULT"));
        let killed = killing(&set, "storage", 7);
        assert_eq!(answer(&killed, "documents", german), (Some("off"), "DEFAULT"));
        assert_eq!(ask(&killed, "documents", german).killed, None);
    }

    #[test]
    fn a_prerequisite_is_looked_up_in_the_same_flag_set_first() {
        let needs_on = Definition { requires: vec![requires("base", "on")], serve: Some(always("on")), ..boolean() };
        let on = Definition { serve: Some(always("on")), ..boolean() };
        let set = set_of([
            flag("base", on.clone()),
            flag("shop/base", boolean()),
            flag("shop/f", needs_on.clone()),
            flag("blog/f", needs_on),
        ]);
        assert_eq!(answer(&set, "shop/f", "{}").0, Some("off"));
        assert_eq!(answer(&set, "blog/f", "{}").0, Some("on"));
    }

    #[test]
    fn segments_are_asked_in_the_set_and_may_name_others() {
        let set = set_of([
            segment("staff", equals("group", "staff")),
            segment("internal", Condition::Any(vec![in_segment("staff"), equals("group", "qa")])),
            flag("f", Definition { rules: vec![rule(in_segment("internal"), always("on"))], ..boolean() }),
        ]);
        for (group, variant) in [("staff", "on"), ("qa", "on"), ("other", "off")] {
            assert_eq!(answer(&set, "f", &format!(r#"{{"group":"{group}"}}"#)).0, Some(variant));
        }
    }

    #[test]
    fn a_kill_serves_the_safe_variant_and_wins_over_disabled() {
        let set = set_of([
            flag("f", Definition { serve: Some(always("on")), ..boolean() }),
            flag(
                "safe",
                Definition { safe_variant: Some(super::super::samples::variant("c")), ..colours(&["a", "b", "c"]) },
            ),
            flag("off", Definition { state: State::Disabled, ..boolean() }),
            flag("none", Definition { default_variant: None, ..boolean() }),
        ]);
        for (key, variant) in [("f", Some("off")), ("safe", Some("c")), ("off", Some("off")), ("none", None)] {
            let killed = killing(&set, key, 7);
            assert_eq!(answer(&killed, key, "{}"), (variant, "DEFAULT"));
            assert_eq!(ask(&killed, key, "{}").killed, Some(Generation(7)));
            assert_eq!(ask(&set, key, "{}").killed, None);
        }
    }
}
