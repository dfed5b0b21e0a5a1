//! Why a flag answered what it did: the path of one evaluation, step by step, for people.
//!
//! Walks the same compiled parts as `evaluate` and shows them by the definition. It never shows what a context holds,
//! only the names of attributes that the definition asks for. Not for the hot path: it allocates freely.

use serde::Serialize;
use serde_json::Value;

use crate::flag::key::{FlagId, VariantName};
use crate::flag::time::{Generation, Revision, Timestamp};

use super::compiled::Compiled;
use super::context::Context;
use super::evaluate::{Choice as Chosen, Limits, choose, evaluate, served_by};
use super::outcome::{ErrorCode, Reason};
use super::ranges::{Range, Ranges};
use super::serving::{Placement, Serving, VariantIndex};
use super::set::CompiledSet;
use super::why::{Failure, failure};
use super::{bucket, bucket::Unit};

/// The path of one evaluation and its end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation<'s> {
    /// The flag.
    pub flag: &'s FlagId,
    /// The revision that last touched it.
    pub revision: Revision,
    /// What was looked at, in order; the last step decided.
    pub steps: Vec<Step<'s>>,
    /// What the flag answered.
    pub result: Answer<'s>,
}

/// The answer at the end of the path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer<'s> {
    /// The variant; none means "use the code default".
    pub variant: Option<&'s VariantName>,
    /// Its value.
    pub value: Option<&'s Value>,
    /// OpenFeature's reason.
    #[serde(serialize_with = "reason_word")]
    pub reason: Reason,
    /// The kill in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killed: Option<Generation>,
    /// Percentages would have decided, but the context has no unit.
    pub no_unit: bool,
    /// OpenFeature's word for why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Step<'s> {
    /// The flag is killed; nothing else was looked at.
    Killed {
        /// The kill in force.
        generation: Generation,
    },
    /// The flag is disabled.
    Disabled,
    /// A prerequisite.
    Requires {
        /// The other flag, as the definition names it.
        flag: &'s str,
        /// The variant it must serve.
        variant: &'s VariantName,
        /// The variant it served to this context.
        served: Option<&'s VariantName>,
        /// Whether that is the one.
        met: bool,
    },
    /// A rule.
    Rule {
        /// Its place, from 0.
        index: usize,
        /// Its name.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'s str>,
        /// Whether it matched.
        matched: bool,
        /// The first condition that did not hold.
        #[serde(skip_serializing_if = "Option::is_none")]
        failed: Option<Failure<'s>>,
    },
    /// flagd's targeting.
    Targeting {
        /// The variant it chose; none where it yields null or fails.
        variant: Option<&'s VariantName>,
        /// Why it failed: an operator that nobody knows, a result that is no variant, or too much work.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'static str>,
    },
    /// What the matching rule, the allocation or the flag serves.
    Serve {
        /// Where it is defined.
        by: Origin,
        /// How it was chosen.
        #[serde(flatten)]
        choice: Choice<'s>,
    },
}

/// Who says what is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// The rule that matched.
    Rule,
    /// The percentages of a running rollout.
    Allocation,
    /// The flag's own `serve`.
    Flag,
    /// Nobody: the default variant.
    DefaultVariant,
}

/// How a variant was chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "method", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Choice<'s> {
    /// One variant for everybody.
    Variant {
        /// The variant.
        variant: Option<&'s VariantName>,
    },
    /// By a percentage: inside where the bucket is below the threshold.
    Threshold {
        /// The attribute that is the unit.
        unit: String,
        /// The unit's bucket, 0 to 99,999; none without a unit, or where none is needed.
        bucket: Option<u32>,
        /// Thousandths of a percent.
        threshold: u32,
        /// The variant for those inside.
        variant: Option<&'s VariantName>,
        /// Whether the unit is inside; none without a unit.
        inside: Option<bool>,
    },
    /// By weights: the smallest draw per weight wins.
    Weights {
        /// The attribute that is the unit.
        unit: String,
        /// Those among whom the unit is placed, the remainder last.
        shares: Vec<WeightedShare<'s>>,
        /// The name of the winner; none without a unit.
        winner: Option<&'s str>,
    },
    /// By flagd's hash: the first whose weights, summed from the first one on, exceed the bucket.
    Ranges {
        /// The attribute that is the unit.
        unit: String,
        /// The unit's bucket, 0 to 99,999; none without a unit.
        bucket: Option<u64>,
        /// Those that are listed; what is left is the default variant's.
        shares: Vec<WeightedShare<'s>>,
        /// The name of the winner; none for the remainder, and without a unit.
        winner: Option<&'s str>,
        /// True where the default variant is served because there is no unit.
        no_unit: bool,
    },
}

/// One participant of a choice by weights or ranges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightedShare<'s> {
    /// The variant's name; empty for a remainder without a default variant.
    pub name: &'s str,
    /// Thousandths of a percent.
    pub weight: u32,
}

/// Explains what `evaluate` answers with the same arguments.
pub fn explain<'s>(set: &'s CompiledSet, flag: &'s Compiled, context: &Context<'_>, now: Timestamp) -> Explanation<'s> {
    let evaluation = evaluate(set, flag, context, now);
    let result = Answer {
        variant: evaluation.variant,
        value: evaluation.value,
        reason: evaluation.reason,
        killed: evaluation.killed,
        no_unit: evaluation.no_unit,
        error: evaluation.error.map(ErrorCode::as_str),
    };
    Explanation { flag: flag.id(), revision: flag.revision(), steps: steps(set, flag, context, now), result }
}

fn steps<'s>(set: &'s CompiledSet, flag: &'s Compiled, context: &Context<'_>, now: Timestamp) -> Vec<Step<'s>> {
    if let Some(generation) = set.kills().killed(flag.id()) {
        return vec![Step::Killed { generation }];
    }
    if !flag.is_enabled() {
        return vec![Step::Disabled];
    }
    let mut steps = Vec::new();
    // One budget for all of it, as `evaluate` has it.
    let limits = &mut Limits::new(now);
    for required in flag.requires() {
        let served = served_by(set, flag, &required.flag, context, limits);
        let met = served == Some(&required.variant);
        steps.push(Step::Requires { flag: required.flag.as_str(), variant: &required.variant, served, met });
        if !met {
            steps.push(default_variant(flag));
            return steps;
        }
    }
    for (index, (rule, source)) in flag.rules().iter().zip(&flag.definition().rules).enumerate() {
        let failed = failure(set, context, rule.when(), &source.when);
        let matched = failed.is_none();
        steps.push(Step::Rule { index, name: source.name.as_deref(), matched, failed });
        if matched {
            steps.push(Step::Serve { by: Origin::Rule, choice: choice(flag, rule.serving(), context) });
            return steps;
        }
    }
    if let Some(targeting) = flag.targeting() {
        let chosen = choose(set, flag, targeting, context, limits);
        let variant = if let Chosen::Variant(index) = chosen { flag.variant(Some(index)) } else { None };
        let error = if let Chosen::Fault(error) = chosen { Some(error.as_str()) } else { None };
        steps.push(Step::Targeting { variant: variant.map(|(name, _)| name), error });
        if chosen != Chosen::Nothing {
            return steps;
        }
    }
    steps.push(match flag.otherwise() {
        Serving::Nothing => default_variant(flag),
        serving => {
            let by = if flag.allocation().is_some() { Origin::Allocation } else { Origin::Flag };
            Step::Serve { by, choice: choice(flag, serving, context) }
        }
    });
    steps
}

fn default_variant(flag: &Compiled) -> Step<'_> {
    let variant = flag.definition().default_variant.as_ref();
    Step::Serve { by: Origin::DefaultVariant, choice: Choice::Variant { variant } }
}

fn choice<'s>(flag: &'s Compiled, serving: &'s Serving, context: &Context<'_>) -> Choice<'s> {
    let name = |index: Option<VariantIndex>| flag.variant(index).map(|(name, _)| name);
    match serving {
        Serving::Nothing => Choice::Variant { variant: flag.definition().default_variant.as_ref() },
        Serving::Variant(index) => Choice::Variant { variant: name(Some(*index)) },
        Serving::Threshold(threshold) => {
            let bucket = |unit: Unit<'_>| bucket::of_hash(bucket::hash(&threshold.prefix, &unit));
            let placement = threshold.place(context);
            Choice::Threshold {
                unit: threshold.by.name(),
                bucket: threshold.by.unit(context).map(bucket),
                threshold: threshold.below,
                variant: name(threshold.variant),
                inside: (placement != Placement::NoUnit).then_some(matches!(placement, Placement::Share(_))),
            }
        }
        Serving::Ranges(ranges) => in_ranges(ranges, context),
        Serving::Weighted(weighted) => {
            let share = |share: &'s super::serving::Share| WeightedShare { name: &share.name, weight: share.weight };
            let placement = weighted.place(context);
            let won = |share: &&super::serving::Share| placement == Placement::Share(share.variant);
            Choice::Weights {
                unit: weighted.by.name(),
                shares: weighted.shares.iter().map(share).collect(),
                winner: weighted.shares.iter().find(won).map(|share| &*share.name),
            }
        }
    }
}

fn in_ranges<'s>(ranges: &'s Ranges, context: &Context<'_>) -> Choice<'s> {
    let share = |range: &'s Range| WeightedShare { name: &range.name, weight: range.weight };
    let placement = ranges.place(context);
    let won = |range: &&Range| placement == Placement::Share(range.variant);
    Choice::Ranges {
        unit: ranges.by.name(),
        bucket: ranges.bucket(context),
        shares: ranges.ranges.iter().map(share).collect(),
        winner: ranges.ranges.iter().find(won).map(|range| &*range.name),
        no_unit: placement == Placement::NoUnit,
    }
}

fn reason_word<S: serde::Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reason.as_str())
}
