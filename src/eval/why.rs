//! Why a condition did not hold: the first part of it that failed, shown by the definition.

use serde::Serialize;
use serde_json::{Value, json};

use crate::flag::definition::{Condition as Source, Operator, Scalar};
use crate::flag::limits::NESTING_MAX;

use super::condition::Condition;
use super::context::{Attribute, Context};
use super::set::CompiledSet;

/// How many values of a list are shown.
const SHOWN_MAX: usize = 10;

/// A condition that did not hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure<'s> {
    /// The attribute that was asked for; none for a condition that asks for none, or for several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribute: Option<String>,
    /// The operator's word, or `any`, `not` or `segment`.
    pub operator: &'static str,
    /// The definition's operand; of a long list only the first values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operand: Option<Value>,
    /// True where the context does not have the attribute at all.
    pub missing: bool,
    /// The segments that were entered on the way, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<&'s str>,
}

/// The first part of a condition that does not hold for a context; none where all of it holds. `source` is what
/// `condition` was compiled from.
pub(super) fn failure<'s>(
    set: &'s CompiledSet,
    context: &Context<'_>,
    condition: &'s Condition,
    source: &'s Source,
) -> Option<Failure<'s>> {
    if condition.holds(set, context) { None } else { Some(first_failure(set, context, condition, source, NESTING_MAX)) }
}

/// The condition is known not to hold.
fn first_failure<'s>(
    set: &'s CompiledSet,
    context: &Context<'_>,
    condition: &'s Condition,
    source: &'s Source,
    segments: usize,
) -> Failure<'s> {
    match (condition, source) {
        (Condition::All(inner), Source::All(sources)) => {
            let failed = inner.iter().zip(sources).find(|(condition, _)| !condition.holds(set, context));
            match failed {
                Some((condition, source)) => first_failure(set, context, condition, source, segments),
                None => Failure::of("all"),
            }
        }
        // Every alternative failed; where there is only one, that one is the reason.
        (Condition::Any(inner), Source::Any(sources)) => match (&**inner, &**sources) {
            ([condition], [source]) => first_failure(set, context, condition, source, segments),
            _ => Failure::of("any"),
        },
        (Condition::Segment(reference), _) => {
            let entered = set.segment_at(reference).zip(segments.checked_sub(1));
            let mut failure = entered.map_or_else(
                || Failure::of("segment"),
                |(segment, left)| first_failure(set, context, segment.when(), &segment.segment().when, left),
            );
            failure.segments.insert(0, reference.name().as_str());
            failure
        }
        (Condition::Test(path, _), Source::Test(test)) => Failure {
            attribute: Some(path.dotted()),
            operand: Some(operand(&test.operator)),
            missing: matches!(context.at(path.parts()), None | Some(Attribute::Null)),
            ..Failure::of(test.operator.word())
        },
        (Condition::Not(_), _) => Failure::of("not"),
        // Both sides have one shape, since one was compiled from the other.
        (Condition::All(_), _) => Failure::of("all"),
        (Condition::Any(_), _) => Failure::of("any"),
        (Condition::Test(path, _), _) => Failure { attribute: Some(path.dotted()), ..Failure::of("test") },
    }
}

impl Failure<'_> {
    fn of(operator: &'static str) -> Self {
        Self { attribute: None, operator, operand: None, missing: false, segments: Vec::new() }
    }
}

fn operand(operator: &Operator) -> Value {
    match operator {
        Operator::Equals(value) | Operator::Contains(value) => scalar(value),
        Operator::In(list) | Operator::NotIn(list) => shown(list, scalar),
        Operator::StartsWith(list) | Operator::EndsWith(list) => shown(list, |text| Value::from(text.as_str())),
        Operator::Matches(text) | Operator::Semver(_, text) | Operator::Before(text) | Operator::After(text) => {
            Value::from(text.as_str())
        }
        Operator::Compare(_, number) => Value::Number(number.clone()),
        Operator::Exists(wanted) => Value::Bool(*wanted),
    }
}

fn shown<T>(list: &[T], show: impl Fn(&T) -> Value) -> Value {
    let mut values: Vec<Value> = list.iter().take(SHOWN_MAX).map(show).collect();
    if list.len() > SHOWN_MAX {
        values.push(json!(format!("… {} more", list.len() - SHOWN_MAX)));
    }
    Value::Array(values)
}

fn scalar(value: &Scalar) -> Value {
    match value {
        Scalar::Bool(value) => Value::Bool(*value),
        Scalar::Number(number) => Value::Number(number.clone()),
        Scalar::String(text) => Value::from(text.as_str()),
    }
}
