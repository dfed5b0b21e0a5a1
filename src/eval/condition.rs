//! A condition in the form that requests run: operands parsed, lists sorted, patterns built.
//!
//! The tree has the same shape as the definition's, so that an explanation can walk both side by side. Segments are
//! looked up in the set that is asked, so that a changed segment is in force in every flag at once. A missing or
//! differently typed attribute makes a test false, and nothing here can fail.

use std::cmp::Ordering;

use regex::Regex;

use crate::flag::definition::{AttributePath, Comparison, SemverTest};
use crate::flag::limits::{NESTING_MAX, REGEX_HAYSTACK_BYTES_MAX};
use crate::flag::time::Timestamp;

use super::context::{Attribute, Context};
use super::number::Number;
use super::rfc3339;
use super::semver::{OwnedVersion, Version};
use super::set::CompiledSet;
use super::table::Reference;

/// What must hold.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Every one holds.
    All(Box<[Self]>),
    /// At least one holds.
    Any(Box<[Self]>),
    /// It does not hold.
    Not(Box<Self>),
    /// The context belongs to the segment.
    Segment(Reference),
    /// An attribute passes a check.
    Test(AttributePath, Check),
}

/// What is asked of one attribute.
#[derive(Debug, Clone)]
pub enum Check {
    /// Equal to one of them; a list has such an element.
    OneOf(Scalars),
    /// A scalar that is equal to none of them.
    NoneOf(Scalars),
    /// Equal to the one; unlike [`Self::OneOf`] never true for a list.
    Equals(Scalars),
    /// A text that begins with one of them.
    StartsWith(Box<[Box<str>]>),
    /// A text that ends with one of them.
    EndsWith(Box<[Box<str>]>),
    /// A text that has the part, or a list that has the element.
    Contains(Option<Box<str>>, Scalars),
    /// A text in which the pattern finds a match.
    Matches(Regex),
    /// A number on that side of the operand.
    Compare(Comparison, Number),
    /// A version in that relation to the operand.
    Semver(SemverTest, OwnedVersion),
    /// A time before the operand.
    Before(Timestamp),
    /// A time after the operand.
    After(Timestamp),
    /// There and not null, or not.
    Exists(bool),
}

/// Values to find an attribute among, apart by type and sorted.
#[derive(Debug, Clone, Default)]
pub struct Scalars {
    /// Sorted texts.
    pub texts: Box<[Box<str>]>,
    /// Sorted numbers.
    pub numbers: Box<[Number]>,
    /// Whether `false` and `true` are among them.
    pub bools: [bool; 2],
}

impl Condition {
    /// Whether the condition holds for a context.
    pub fn holds(&self, set: &CompiledSet, context: &Context<'_>) -> bool {
        self.holds_within(set, context, NESTING_MAX)
    }

    /// `segments` is how many more segments may be entered; `compile` refuses longer chains, so this is never used up.
    fn holds_within(&self, set: &CompiledSet, context: &Context<'_>, segments: usize) -> bool {
        match self {
            Self::All(inner) => inner.iter().all(|condition| condition.holds_within(set, context, segments)),
            Self::Any(inner) => inner.iter().any(|condition| condition.holds_within(set, context, segments)),
            Self::Not(inner) => !inner.holds_within(set, context, segments),
            Self::Segment(reference) => match (set.segment_at(reference), segments.checked_sub(1)) {
                (Some(segment), Some(left)) => segment.when().holds_within(set, context, left),
                _ => false,
            },
            Self::Test(path, check) => check.passes(context.at(path.parts())),
        }
    }
}

impl Check {
    /// Whether an attribute passes.
    #[inline]
    pub fn passes(&self, attribute: Option<&Attribute<'_>>) -> bool {
        let Some(attribute) = attribute.filter(|attribute| !matches!(attribute, Attribute::Null)) else {
            return matches!(self, Self::Exists(false));
        };
        match self {
            Self::Equals(scalars) => scalars.has(attribute),
            Self::OneOf(scalars) => scalars.has_any(attribute),
            Self::NoneOf(scalars) => is_scalar(attribute) && !scalars.has(attribute),
            Self::StartsWith(parts) => {
                text(attribute).is_some_and(|text| parts.iter().any(|part| text.starts_with(&**part)))
            }
            Self::EndsWith(parts) => {
                text(attribute).is_some_and(|text| parts.iter().any(|part| text.ends_with(&**part)))
            }
            Self::Contains(part, scalars) => match (attribute, part) {
                (Attribute::List(elements), _) => elements.iter().any(|element| scalars.has(element)),
                (Attribute::String(text), Some(part)) => text.contains(&**part),
                _ => false,
            },
            Self::Matches(pattern) => {
                text(attribute).is_some_and(|text| text.len() <= REGEX_HAYSTACK_BYTES_MAX && pattern.is_match(text))
            }
            Self::Compare(comparison, operand) => {
                Number::of_attribute(attribute).is_some_and(|number| stands(*comparison, number.compare(*operand)))
            }
            Self::Semver(test, operand) => {
                text(attribute).and_then(Version::parse).is_some_and(|version| version.passes(*test, operand))
            }
            Self::Before(moment) => text(attribute).and_then(rfc3339::parse).is_some_and(|time| time < *moment),
            Self::After(moment) => text(attribute).and_then(rfc3339::parse).is_some_and(|time| time > *moment),
            Self::Exists(wanted) => *wanted,
        }
    }
}

impl Scalars {
    /// Whether a scalar attribute is among them.
    fn has(&self, attribute: &Attribute<'_>) -> bool {
        match attribute {
            Attribute::Bool(value) => self.bools[usize::from(*value)],
            Attribute::String(text) => match &*self.texts {
                [] => false,
                [only] => **only == **text,
                many => many.binary_search_by(|candidate| (**candidate).cmp(text)).is_ok(),
            },
            _ => Number::of_attribute(attribute)
                .is_some_and(|number| self.numbers.binary_search_by(|candidate| candidate.compare(number)).is_ok()),
        }
    }

    /// Whether a scalar attribute, or some element of a list, is among them.
    fn has_any(&self, attribute: &Attribute<'_>) -> bool {
        match attribute {
            Attribute::List(elements) => elements.iter().any(|element| self.has(element)),
            scalar => self.has(scalar),
        }
    }
}

fn text<'c>(attribute: &'c Attribute<'_>) -> Option<&'c str> {
    if let Attribute::String(text) = attribute { Some(text) } else { None }
}

fn is_scalar(attribute: &Attribute<'_>) -> bool {
    !matches!(attribute, Attribute::Null | Attribute::List(_) | Attribute::Object(_))
}

fn stands(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{always, answer, boolean, equals, flag, number, rule, set_of, string, test};
    use super::*;
    use crate::flag::definition::{Condition as Source, Definition, Operator};

    /// The contexts for which the condition holds.
    fn holding<'c>(when: Source, contexts: &[&'c str]) -> Vec<&'c str> {
        let set = set_of([flag("f", Definition { rules: vec![rule(when, always("on"))], ..boolean() })]);
        contexts.iter().copied().filter(|context| answer(&set, "f", context).0 == Some("on")).collect()
    }

    fn check(operator: &Operator, holds: &[&str], fails: &[&str]) {
        let all: Vec<&str> = holds.iter().chain(fails).copied().collect();
        assert_eq!(holding(test("a", operator.clone()), &all), holds, "{operator:?}");
    }

    /// What no test but `exists: false` takes, and what is never the right type by accident.
    const NOTHING: [&str; 2] = ["{}", r#"{"a":null}"#];

    #[test]
    fn equality_wants_the_same_type_and_value() {
        check(
            &Operator::Equals(string("1")),
            &[r#"{"a":"1"}"#],
            &[r#"{"a":1}"#, r#"{"a":["1"]}"#, NOTHING[0], NOTHING[1]],
        );
        check(
            &Operator::Equals(number(1)),
            &[r#"{"a":1}"#, r#"{"a":1.0}"#],
            &[r#"{"a":"1"}"#, r#"{"a":true}"#, NOTHING[0]],
        );
        check(&Operator::Equals(Scalar::Bool(true)), &[r#"{"a":true}"#], &[r#"{"a":false}"#, r#"{"a":1}"#, NOTHING[0]]);
        check(
            &Operator::Equals(number(9_007_199_254_740_993_i64)),
            &[r#"{"a":9007199254740993}"#],
            &[r#"{"a":9007199254740992}"#, r#"{"a":9007199254740992.0}"#],
        );
    }

    use crate::flag::definition::Scalar;

    #[test]
    fn lists_take_any_of_their_values_and_of_the_elements() {
        let list = vec![string("x"), number(2), Scalar::Bool(false), string("b"), string("y")];
        check(
            &Operator::In(list.clone()),
            &[r#"{"a":"b"}"#, r#"{"a":2.0}"#, r#"{"a":false}"#, r#"{"a":["q","y"]}"#],
            &[
                r#"{"a":"q"}"#,
                r#"{"a":true}"#,
                r#"{"a":[]}"#,
                r#"{"a":[["x"]]}"#,
                r#"{"a":{"x":1}}"#,
                NOTHING[0],
                NOTHING[1],
            ],
        );
        check(
            &Operator::NotIn(list),
            &[r#"{"a":"q"}"#, r#"{"a":3}"#, r#"{"a":true}"#],
            &[r#"{"a":"b"}"#, r#"{"a":2}"#, r#"{"a":["q"]}"#, r#"{"a":{}}"#, NOTHING[0], NOTHING[1]],
        );
    }

    #[test]
    fn texts_are_compared_by_their_ends_and_parts() {
        let parts = || vec!["ab".to_owned(), "é".to_owned()];
        check(
            &Operator::StartsWith(parts()),
            &[r#"{"a":"abc"}"#, r#"{"a":"ét"}"#],
            &[r#"{"a":"cab"}"#, r#"{"a":1}"#, NOTHING[0]],
        );
        check(
            &Operator::EndsWith(parts()),
            &[r#"{"a":"cab"}"#, r#"{"a":"té"}"#],
            &[r#"{"a":"abc"}"#, r#"{"a":["ab"]}"#, NOTHING[1]],
        );
        check(
            &Operator::Contains(string("b")),
            &[r#"{"a":"abc"}"#, r#"{"a":["a","b"]}"#],
            &[r#"{"a":"ac"}"#, r#"{"a":["abc"]}"#, r#"{"a":1}"#, NOTHING[0]],
        );
        check(&Operator::Contains(number(1)), &[r#"{"a":[1.0]}"#], &[r#"{"a":"1"}"#, r#"{"a":1}"#, r#"{"a":["1"]}"#]);
        check(&Operator::Matches("b+$".into()), &[r#"{"a":"abb"}"#], &[r#"{"a":"ba"}"#, r#"{"a":1}"#, NOTHING[0]]);
        let long = format!(r#"{{"a":"{}"}}"#, "b".repeat(REGEX_HAYSTACK_BYTES_MAX + 1));
        check(&Operator::Matches("b".into()), &[r#"{"a":"b"}"#], &[&long]);
    }

    #[test]
    fn numbers_versions_and_times_stand_before_or_after() {
        let compare = |comparison| Operator::Compare(comparison, 2.into());
        let (low, equal, high) = (r#"{"a":1.9}"#, r#"{"a":2.0}"#, r#"{"a":18446744073709551615}"#);
        let text = r#"{"a":"2"}"#;
        check(&compare(Comparison::Less), &[low], &[equal, high, text, NOTHING[0]]);
        check(&compare(Comparison::LessOrEqual), &[low, equal], &[high, text, NOTHING[1]]);
        check(&compare(Comparison::Greater), &[high], &[low, equal, text]);
        check(&compare(Comparison::GreaterOrEqual), &[equal, high], &[low, text]);
        check(
            &Operator::Semver(SemverTest::GreaterOrEqual, "2.4.0".into()),
            &[r#"{"a":"2.4.0"}"#, r#"{"a":"2.10.0"}"#],
            &[r#"{"a":"2.4.0-rc.1"}"#, r#"{"a":"2.4"}"#, r#"{"a":2.4}"#, NOTHING[0]],
        );
        let (early, late) = (r#"{"a":"2025-10-16T09:59:59+02:00"}"#, r#"{"a":"2025-10-16T08:00:00.1Z"}"#);
        let (same, date) = (r#"{"a":"2025-10-16T10:00:00+02:00"}"#, r#"{"a":"2025-10-16"}"#);
        check(&Operator::Before("2025-10-16T08:00:00Z".into()), &[early], &[late, same, date, NOTHING[0]]);
        check(&Operator::After("2025-10-16T08:00:00Z".into()), &[late], &[early, same, date, r#"{"a":1}"#]);
    }

    #[test]
    fn existence_counts_null_as_missing() {
        check(&Operator::Exists(true), &[r#"{"a":0}"#, r#"{"a":[]}"#], &NOTHING);
        check(&Operator::Exists(false), &NOTHING, &[r#"{"a":0}"#, r#"{"a":""}"#]);
    }

    #[test]
    fn a_missing_attribute_makes_the_inner_test_false_also_under_not() {
        let not_german = Source::Not(Box::new(equals("country", "DE")));
        let contexts = ["{}", r#"{"country":1}"#, r#"{"country":"AT"}"#, r#"{"country":"DE"}"#];
        assert_eq!(holding(not_german, &contexts), contexts[..3]);
        assert_eq!(holding(Source::All(vec![]), &["{}"]), ["{}"]);
        assert_eq!(holding(Source::Any(vec![]), &["{}"]), Vec::<&str>::new());
    }
}
