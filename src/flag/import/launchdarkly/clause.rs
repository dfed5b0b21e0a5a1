//! LaunchDarkly's clauses, as conditions with the same answers.
//!
//! Facts of the other side: a missing attribute makes a clause false, also a negated one; an attribute that is a list
//! passes where one element does, with every operator, while here only equality looks into lists; times may be texts
//! or milliseconds; versions may leave out minor and patch numbers. Only contexts of the kind `user` are meant.

use crate::flag::parse::walk::shorten;
use serde_json::Number;

use super::super::ledger::Ledger;
use super::super::pattern;
use super::super::place::At;
use super::super::truth::Truth;
use super::segment::Segments;
use crate::flag::definition::{AttributePath, Comparison, Operator, Scalar, SemverTest};
use crate::flag::time::Timestamp;

const KEYS: &[&str] = &["attribute", "op", "values", "negate", "contextKind"];

/// Whole numbers below this are the same number there, where all numbers are floats.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// All clauses of a rule.
pub(super) fn all<'n>(ledger: &mut Ledger<'_>, clauses: &[At<'n>], segments: &mut Segments<'n>) -> Option<Truth> {
    let each: Vec<Option<Truth>> = clauses.iter().map(|at| one(ledger, at, segments)).collect();
    Some(Truth::all(each.into_iter().collect::<Option<Vec<_>>>()?))
}

fn one<'n>(ledger: &mut Ledger<'_>, at: &At<'n>, segments: &mut Segments<'n>) -> Option<Truth> {
    ledger.only(at, KEYS, "the clause");
    let values = at.list("values");
    let op = at.word("op").unwrap_or_default();
    let negate = at.says("negate");
    if op == "segmentMatch" {
        let parts: Vec<Option<Truth>> = values.iter().map(|value| segments.member(ledger, value)).collect();
        let any = Truth::any(parts.into_iter().collect::<Option<Vec<_>>>()?);
        return Some(if negate { any.not() } else { any });
    }
    if !is_user(at) {
        return ledger.refuse(at, "the clause asks a context that is no `user`", "send that attribute with the user");
    }
    let path = attribute(ledger, at, negate)?;
    let passes = Clause { at, path: &path, values }.passes(ledger, op)?;
    Some(if negate { Truth::all([Truth::test(&path, Operator::Exists(true)), passes.not()]) } else { passes })
}

/// True where the context kind is `user` or left out.
pub(super) fn is_user(at: &At<'_>) -> bool {
    at.word("contextKind").is_none_or(|kind| kind.is_empty() || kind == "user")
}

fn attribute(ledger: &mut Ledger<'_>, at: &At<'_>, negate: bool) -> Option<AttributePath> {
    let name = at.word("attribute").unwrap_or_default();
    match name {
        "key" | "/key" => return AttributePath::literal("targetingKey"),
        "kind" | "/kind" => {
            return ledger.refuse(at, "the clause asks for the kind of the context", "send it as an attribute");
        }
        "anonymous" | "/anonymous" => {
            let only_true = at.list("values").iter().all(|value| value.bool() == Some(true));
            if negate || !only_true {
                let why = "a missing `anonymous` counts as false in some SDKs and as missing in others";
                return ledger.refuse(at, why, "ask whether it is true, without negation");
            }
        }
        _ => {}
    }
    let path = path(name, at.get("contextKind").is_some());
    if path.is_none() {
        let why = format!("the attribute `{}` is no name and no path that can be written here", shorten(name));
        return ledger.refuse(at, why, "let the application send the attribute under a plain name");
    }
    path
}

/// The path of an attribute reference; where the clause says a context kind, a slash begins a path.
pub(super) fn path(name: &str, references: bool) -> Option<AttributePath> {
    let Some(reference) = name.strip_prefix('/').filter(|_| references) else { return AttributePath::literal(name) };
    let steps: Vec<String> = reference.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    match steps.as_slice() {
        [step] => AttributePath::literal(step),
        steps if steps.iter().any(|step| step.contains('.')) => None,
        steps => AttributePath::parse(&steps.join(".")),
    }
}

struct Clause<'a, 'n> {
    at: &'a At<'n>,
    path: &'a AttributePath,
    values: Vec<At<'n>>,
}

impl Clause<'_, '_> {
    /// Whether one of the values passes.
    fn passes(&self, ledger: &mut Ledger<'_>, op: &str) -> Option<Truth> {
        match op {
            "in" => self.one_of(ledger),
            "startsWith" | "endsWith" | "contains" | "matches" => self.text(ledger, op),
            "lessThan" => self.numeric(ledger, op, Comparison::Less),
            "lessThanOrEqual" => self.numeric(ledger, op, Comparison::LessOrEqual),
            "greaterThan" => self.numeric(ledger, op, Comparison::Greater),
            "greaterThanOrEqual" => self.numeric(ledger, op, Comparison::GreaterOrEqual),
            "before" | "after" => self.moment(ledger, op),
            "semVerEqual" => self.version(ledger, op, SemverTest::Equal),
            "semVerLessThan" => self.version(ledger, op, SemverTest::Less),
            "semVerGreaterThan" => self.version(ledger, op, SemverTest::Greater),
            other => {
                let why = format!("the operator `{}` is not known here", shorten(other));
                ledger.refuse(self.at, why, "write the clause in another way")
            }
        }
    }

    fn one_of(&self, ledger: &mut Ledger<'_>) -> Option<Truth> {
        let mut list = Vec::new();
        for value in &self.values {
            let scalar = match (value.text(), value.bool()) {
                (Some(text), _) => Some(Scalar::String(text.to_owned())),
                (None, Some(bool)) => Some(Scalar::Bool(bool)),
                (None, None) => exact(value).map(Scalar::Number),
            };
            match scalar {
                Some(scalar) => list.push(scalar),
                None => {
                    let why = "a value is no text, boolean or number that floats hold exactly";
                    return ledger.refuse(value, why, "remove it, or compare with a text");
                }
            }
        }
        Some(if list.is_empty() { Truth::Never } else { Truth::test(self.path, Operator::In(list)) })
    }

    fn text(&self, ledger: &mut Ledger<'_>, op: &str) -> Option<Truth> {
        let mut texts = Vec::new();
        for value in &self.values {
            match value.text() {
                Some(text) => texts.push(text.to_owned()),
                None => {
                    return ledger.refuse(value, format!("`{op}` with a value that is no text"), "put it in quotes");
                }
            }
        }
        if texts.is_empty() {
            return Some(Truth::Never);
        }
        self.single(ledger, op, "a text")?;
        Some(match op {
            "startsWith" => Truth::test(self.path, Operator::StartsWith(texts)),
            "endsWith" => Truth::test(self.path, Operator::EndsWith(texts)),
            "contains" => Truth::any(
                texts.into_iter().map(|text| Truth::test(self.path, Operator::Contains(Scalar::String(text)))),
            ),
            _ => {
                let mut parts = Vec::new();
                for (text, value) in texts.iter().zip(&self.values) {
                    match pattern::common(text) {
                        Ok(text) => parts.push(Truth::test(self.path, Operator::Matches(text))),
                        Err(what) => {
                            let why = format!("the pattern has {what}, which engines read differently");
                            return ledger.refuse(value, why, "write it without, or use startsWith and endsWith");
                        }
                    }
                }
                Truth::any(parts)
            }
        })
    }

    fn numeric(&self, ledger: &mut Ledger<'_>, op: &str, comparison: Comparison) -> Option<Truth> {
        let mut parts = Vec::new();
        for value in &self.values {
            match exact(value) {
                Some(number) => parts.push(Truth::test(self.path, Operator::Compare(comparison, number))),
                None => {
                    return ledger.refuse(value, format!("`{op}` with a value that is no such number"), "correct it");
                }
            }
        }
        self.single(ledger, op, "a number")?;
        Some(Truth::any(parts))
    }

    /// A time as text, or as milliseconds, whose decimals are cut off there.
    fn moment(&self, ledger: &mut Ledger<'_>, op: &str) -> Option<Truth> {
        let mut parts = Vec::new();
        for value in &self.values {
            let millis = match value.text() {
                Some(text) => {
                    Timestamp::parse(text).ok().map(Timestamp::micros).filter(|it| it % 1_000 == 0).map(|it| it / 1_000)
                }
                None => value.integer(),
            };
            // RFC 3339 names the years up to 9999.
            let Some(millis) = millis.filter(|millis| (1..253_402_300_800_000).contains(millis)) else {
                let why = format!("`{op}` with a value that is no time after 1970 in whole milliseconds");
                return ledger.refuse(value, why, "write it as RFC 3339, such as 2025-10-16T08:00:00Z");
            };
            let text = Timestamp::from_micros(millis * 1_000).to_string();
            let text = text.replace(".000000Z", "Z").replace("000Z", "Z");
            let compare =
                |comparison, millis: i64| Truth::test(self.path, Operator::Compare(comparison, millis.into()));
            parts.push(if op == "before" {
                Truth::any([Truth::test(self.path, Operator::Before(text)), compare(Comparison::Less, millis)])
            } else {
                let later = compare(Comparison::GreaterOrEqual, millis + 1);
                Truth::any([Truth::test(self.path, Operator::After(text)), later])
            });
        }
        self.single(ledger, op, "a time")?;
        Some(Truth::any(parts))
    }

    fn version(&self, ledger: &mut Ledger<'_>, op: &str, test: SemverTest) -> Option<Truth> {
        let mut parts = Vec::new();
        for value in &self.values {
            match value.text().and_then(complete) {
                Some(version) => parts.push(Truth::test(self.path, Operator::Semver(test, version))),
                None => return ledger.refuse(value, format!("`{op}` with a value that is no version"), "correct it"),
            }
        }
        self.single(ledger, op, "a version of three numbers")?;
        Some(Truth::any(parts))
    }

    /// LaunchDarkly looks into lists with every operator. The key never is one.
    fn single(&self, ledger: &mut Ledger<'_>, op: &str, what: &str) -> Option<()> {
        if self.path.parts() == ["targetingKey"] && !op.starts_with("semVer") {
            return Some(());
        }
        let promise = format!("the application sends `{}` as {what}, never as a list", shorten(&self.path.dotted()));
        let why = match op.starts_with("semVer") {
            true => format!("`{op}` also takes versions such as 2.5, and looks into lists; tests here do neither"),
            false => format!("`{op}` also looks into lists there, which only equality does here"),
        };
        ledger.plain(self.at, promise, &why).then_some(())
    }
}

/// A number that a 64-bit float holds exactly.
fn exact(value: &At<'_>) -> Option<Number> {
    let number = value.number()?;
    number.as_f64().filter(|float| float.abs() < EXACT_MAX)?;
    Some(number)
}

/// A version with the numbers that may be left out there.
fn complete(text: &str) -> Option<String> {
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let core = match core.split('.').count() {
        1 => format!("{core}.0.0"),
        2 => format!("{core}.0"),
        _ => core.to_owned(),
    };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (core.split('.').count() == 3 && core.split('.').all(digits)).then(|| format!("{core}{rest}"))
}
