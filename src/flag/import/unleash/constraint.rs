//! Unleash's constraints and segments, as conditions with the same answers.
//!
//! Facts of the other side: a context is a map of texts; a missing value passes no test, so that `NOT_IN` and every
//! inverted constraint hold for it; constraints are joined by AND, and so are the constraints of all segments of a
//! strategy. Numbers are compared after reading the text as one. Dates are compared with the present time.

use crate::flag::parse::walk::shorten;
use std::collections::BTreeMap;

use serde_json::Number;

use super::super::ledger::Ledger;
use super::super::pattern::has_no_case;
use super::super::place::At;
use super::super::truth::Truth;
use crate::flag::definition::{AttributePath, Comparison, Condition, Operator, Scalar, Segment, SemverTest};
use crate::flag::key::SegmentName;
use crate::flag::tree::number;

/// What is known of each segment by its number; none where it could not be translated.
pub(super) type Segments = BTreeMap<i64, Option<Truth>>;

const KEYS: &[&str] = &["contextName", "operator", "values", "value", "inverted", "caseInsensitive"];

/// The attribute that Unleash calls by this name.
pub(super) fn attribute(name: &str) -> Option<AttributePath> {
    // Names are looked up as they are, dots and all.
    if name == "userId" { AttributePath::literal("targetingKey") } else { AttributePath::literal(name) }
}

/// Translates all segments that come with their constraints. Those that hold for some users only are kept by name.
pub(super) fn segments(ledger: &mut Ledger<'_>, top: &At<'_>, kept: &mut BTreeMap<SegmentName, Segment>) -> Segments {
    let mut known = Segments::new();
    for at in top.list("segments") {
        let Some(id) = at.get("id").and_then(|id| id.integer()) else { continue };
        // An export names the segments only; that is said where one of them is used.
        let Some(constraints) = at.get("constraints") else { continue };
        let name = at.word("name").unwrap_or_default();
        ledger.segment(name);
        let truth = all(ledger, &constraints.items());
        let truth = match truth {
            Some(Truth::When(when)) => match SegmentName::new(name) {
                Ok(name) if !kept.contains_key(&name) => {
                    kept.insert(name.clone(), Segment { when });
                    Some(Truth::When(Condition::Segment(name)))
                }
                // A name that is refused or taken here: the condition stands in each flag instead.
                _ => Some(Truth::When(when)),
            },
            other => other,
        };
        known.insert(id, truth);
    }
    known
}

/// All constraints of a list.
pub(super) fn all(ledger: &mut Ledger<'_>, constraints: &[At<'_>]) -> Option<Truth> {
    let each: Vec<Option<Truth>> = constraints.iter().map(|at| one(ledger, at)).collect();
    Some(Truth::all(each.into_iter().collect::<Option<Vec<_>>>()?))
}

fn one(ledger: &mut Ledger<'_>, at: &At<'_>) -> Option<Truth> {
    ledger.only(at, KEYS, "the constraint");
    let Some(path) = at.word("contextName").and_then(attribute) else {
        return ledger.refuse(at, "the constraint names no `contextName`", "name the attribute");
    };
    let operator = at.word("operator").unwrap_or_default();
    if let Some(name @ ("appName" | "environment")) = at.word("contextName") {
        let promise = format!("the application sends `{name}` with each context");
        let why = format!("`{name}` is filled in by Unleash's SDKs; here it is an attribute like any other");
        ledger.plain(at, promise, &why).then_some(())?;
    }
    let truth = match operator {
        "IN" => one_of(ledger, at, &path),
        "NOT_IN" => one_of(ledger, at, &path).map(Truth::not),
        "STR_STARTS_WITH" | "STR_ENDS_WITH" | "STR_CONTAINS" => text(ledger, at, &path, operator),
        "NUM_EQ" | "NUM_GT" | "NUM_GTE" | "NUM_LT" | "NUM_LTE" => numeric(ledger, at, &path, operator),
        "SEMVER_EQ" | "SEMVER_GT" | "SEMVER_LT" => version(ledger, at, &path, operator),
        "DATE_AFTER" | "DATE_BEFORE" => {
            let why = format!("`{operator}` asks for the present time, which rules here do not know");
            ledger.refuse(at, why, "change the flag at that date instead")
        }
        other => {
            let why = format!("the operator `{}` is not known here", shorten(other));
            ledger.refuse(at, why, "write the constraint in another way")
        }
    }?;
    Some(if at.says("inverted") { truth.not() } else { truth })
}

/// The texts of `values`. Some SDKs trim them and drop empty ones, others do not.
fn values(ledger: &mut Ledger<'_>, at: &At<'_>) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    for value in at.list("values") {
        match value.text() {
            Some(text) if !text.is_empty() && text.trim() == text => texts.push(text.to_owned()),
            Some(_) => {
                let why = "a value is empty or has spaces around it, which Unleash's SDKs read differently";
                return ledger.refuse(&value, why, "remove the spaces, or the value");
            }
            None => return ledger.refuse(&value, "a value is no text", "put it in quotes"),
        }
    }
    Some(texts)
}

fn one_of(ledger: &mut Ledger<'_>, at: &At<'_>, path: &AttributePath) -> Option<Truth> {
    let list: Vec<Scalar> = values(ledger, at)?.into_iter().map(Scalar::String).collect();
    Some(if list.is_empty() { Truth::Never } else { Truth::test(path, Operator::In(list)) })
}

fn text(ledger: &mut Ledger<'_>, at: &At<'_>, path: &AttributePath, operator: &str) -> Option<Truth> {
    let texts = values(ledger, at)?;
    if at.says("caseInsensitive") && !texts.iter().all(|text| has_no_case(text)) {
        let why = "`caseInsensitive`: tests here regard case, and lowering differs between Unleash's SDKs";
        return ledger.refuse(
            at,
            why,
            "let the application send the attribute in small letters, and compare with those",
        );
    }
    if texts.is_empty() {
        return Some(Truth::Never);
    }
    Some(match operator {
        "STR_STARTS_WITH" => Truth::test(path, Operator::StartsWith(texts)),
        "STR_ENDS_WITH" => Truth::test(path, Operator::EndsWith(texts)),
        _ => Truth::any(texts.into_iter().map(|text| Truth::test(path, Operator::Contains(Scalar::String(text))))),
    })
}

fn numeric(ledger: &mut Ledger<'_>, at: &At<'_>, path: &AttributePath, operator: &str) -> Option<Truth> {
    let operand = at.get("value").and_then(|value| match value.text() {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.')) => {
            number(text).ok()
        }
        Some(_) => None,
        None => value.number(),
    });
    let Some(operand) = operand else {
        return ledger.refuse(at, "`value` is no plain number", "write it as digits");
    };
    let promise = format!("the application sends `{}` as a number", shorten(&path.dotted()));
    let why = format!("`{operator}`: Unleash reads the number from a text; here only a number is compared");
    ledger.plain(at, promise, &why).then_some(())?;
    let compare = |comparison| Truth::test(path, Operator::Compare(comparison, operand.clone()));
    Some(match operator {
        "NUM_GT" => compare(Comparison::Greater),
        "NUM_GTE" => compare(Comparison::GreaterOrEqual),
        "NUM_LT" => compare(Comparison::Less),
        "NUM_LTE" => compare(Comparison::LessOrEqual),
        _ => Truth::test(path, Operator::Equals(Scalar::Number(Number::clone(&operand)))),
    })
}

fn version(ledger: &mut Ledger<'_>, at: &At<'_>, path: &AttributePath, operator: &str) -> Option<Truth> {
    let operand = at.word("value").unwrap_or_default();
    // The parser refuses what is no version; a build part is compared by some SDKs only.
    if !operand.starts_with(|first: char| first.is_ascii_digit()) || operand.contains('+') {
        let why = "the version begins with no digit or has a build part, which Unleash's SDKs read differently";
        return ledger.refuse(at, why, "write major.minor.patch, such as 2.4.0 or 2.4.0-rc.1");
    }
    let test = match operator {
        "SEMVER_GT" => SemverTest::Greater,
        "SEMVER_LT" => SemverTest::Less,
        _ => SemverTest::Equal,
    };
    Some(Truth::test(path, Operator::Semver(test, operand.to_owned())))
}
