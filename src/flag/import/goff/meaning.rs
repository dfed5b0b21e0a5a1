//! What a query means, as conditions with the same answers.
//!
//! Facts of the other side: texts are compared after lowering both (except by `in`, which is exact), only with texts; a
//! missing attribute makes every comparison false, also `ne`; whole numbers cut the attribute's decimals off before
//! they compare; `key` is the targeting key, and is always there; `anonymous` is false where it is missing. A path
//! through objects keeps the value of the comparison before it where a step is missing, so it is taken only where
//! nothing comes before it and nothing can turn its answer round.

use serde_json::Number;

use super::super::ledger::Ledger;
use super::super::pattern::{has_no_case, lowered};
use super::super::place::At;
use super::super::truth::Truth;
use super::query::{Op, Operand, Query};
use crate::flag::definition::{AttributePath, Comparison, Operator, Scalar, SemverTest};

/// Translates the query that stands at `at`.
pub(super) fn meaning(ledger: &mut Ledger<'_>, at: &At<'_>, query: &Query) -> Option<Truth> {
    let nested_at = nested_comparisons(query, &mut 0);
    let chain = matches!(query, Query::Compare(..) | Query::Present(_))
        || matches!(query, Query::And(parts) if parts.iter().all(|part| matches!(part, Query::Compare(..) | Query::Present(_))));
    if nested_at.iter().any(|index| *index > 0) || (!nested_at.is_empty() && !chain) {
        let why = "an attribute inside an object is asked after another one or together with `or` or `not`: where a \
                   step of the path is missing, the answer depends on what was asked before";
        return ledger.refuse(at, why, "ask it first, joined by `and` only, or let the application send it flat");
    }
    of(ledger, at, query)
}

/// The places of comparisons whose path has several steps, counted in the order of evaluation.
fn nested_comparisons(query: &Query, count: &mut usize) -> Vec<usize> {
    match query {
        Query::And(parts) | Query::Or(parts) => parts.iter().flat_map(|part| nested_comparisons(part, count)).collect(),
        Query::Not(inner) => nested_comparisons(inner, count),
        Query::Present(path) | Query::Compare(path, ..) => {
            *count += 1;
            if path.len() > 1 { vec![*count - 1] } else { Vec::new() }
        }
    }
}

fn of(ledger: &mut Ledger<'_>, at: &At<'_>, query: &Query) -> Option<Truth> {
    let each = |ledger: &mut Ledger<'_>, parts: &[Query]| -> Vec<Option<Truth>> {
        parts.iter().map(|part| of(ledger, at, part)).collect()
    };
    match query {
        Query::And(parts) => Some(Truth::all(each(ledger, parts).into_iter().collect::<Option<Vec<_>>>()?)),
        Query::Or(parts) => Some(Truth::any(each(ledger, parts).into_iter().collect::<Option<Vec<_>>>()?)),
        Query::Not(inner) => of(ledger, at, inner).map(Truth::not),
        Query::Present(path) => match path.join(".").as_str() {
            "key" | "targetingKey" | "anonymous" => Some(Truth::Always),
            name => Some(Truth::test(&AttributePath::parse(name)?, Operator::Exists(true))),
        },
        Query::Compare(path, op, operand) => Asked { at, name: path.join("."), op: *op }.compare(ledger, operand),
    }
}

/// One comparison.
struct Asked<'a, 'n> {
    at: &'a At<'n>,
    name: String,
    op: Op,
}

impl Asked<'_, '_> {
    fn compare(&self, ledger: &mut Ledger<'_>, operand: &Operand) -> Option<Truth> {
        if self.name == "anonymous" {
            return self.anonymous(ledger, operand);
        }
        let is_key = matches!(self.name.as_str(), "key" | "targetingKey");
        let path = AttributePath::parse(if is_key { "targetingKey" } else { &self.name })?;
        match operand {
            Operand::Text(text) if is_key && text.is_empty() => {
                ledger.refuse(self.at, "the targeting key is compared with the empty text", "remove the comparison")
            }
            Operand::Text(text) => self.text(ledger, &path, text, is_key),
            Operand::Texts(texts) if self.op == Op::In => {
                let list = texts.iter().map(|text| Scalar::String(text.clone())).collect();
                Some(Truth::all([is_text(&path, is_key), Truth::test(&path, Operator::In(list))]))
            }
            _ if is_key => self.senseless(ledger),
            Operand::Bool(bool) => match self.op {
                Op::Eq => Some(Truth::test(&path, Operator::Equals(Scalar::Bool(*bool)))),
                Op::Ne => Some(Truth::test(&path, Operator::Equals(Scalar::Bool(!bool)))),
                _ => self.senseless(ledger),
            },
            Operand::Null => match self.op {
                Op::Eq if path.parts().len() == 1 => Some(Truth::test(&path, Operator::Exists(false))),
                Op::Ne => Some(Truth::test(&path, Operator::Exists(true))),
                _ => self.senseless(ledger),
            },
            Operand::Int(int) => self.whole(ledger, &path, *int),
            Operand::Double(double) => self.double(ledger, &path, double),
            Operand::Version(version) => self.version(ledger, &path, version),
            Operand::Ints(list) if self.op == Op::In => Some(one_of(&path, list.iter().map(|int| Number::from(*int)))),
            Operand::Doubles(list) if self.op == Op::In => Some(one_of(&path, list.iter().cloned())),
            Operand::Texts(_) | Operand::Ints(_) | Operand::Doubles(_) => self.senseless(ledger),
        }
    }

    fn anonymous(&self, ledger: &mut Ledger<'_>, operand: &Operand) -> Option<Truth> {
        let wanted = match (self.op, operand) {
            (Op::Eq, Operand::Bool(bool)) => *bool,
            (Op::Ne, Operand::Bool(bool)) => !bool,
            _ => return self.senseless(ledger),
        };
        let is = Truth::test(&AttributePath::parse("anonymous")?, Operator::Equals(Scalar::Bool(true)));
        Some(if wanted { is } else { is.not() })
    }

    fn text(&self, ledger: &mut Ledger<'_>, path: &AttributePath, text: &str, is_key: bool) -> Option<Truth> {
        let owned = || text.to_owned();
        if !has_no_case(text) {
            let Some(pattern) = lowered(text) else {
                let why = "texts are compared without regard to case there, and for letters beyond ASCII there is no \
                           such test here";
                return ledger.refuse(self.at, why, "let the application send a text of ASCII letters");
            };
            let pattern = match self.op {
                Op::Eq | Op::Ne => format!("^{pattern}$"),
                Op::Sw => format!("^{pattern}"),
                Op::Ew => format!("{pattern}$"),
                Op::Co => pattern,
                _ => return self.senseless(ledger),
            };
            let matches = Truth::test(path, Operator::Matches(pattern));
            return Some(if self.op == Op::Ne { Truth::all([is_text(path, is_key), matches.not()]) } else { matches });
        }
        Some(match self.op {
            Op::Eq => Truth::test(path, Operator::Equals(Scalar::String(owned()))),
            Op::Ne => {
                let equal = Truth::test(path, Operator::Equals(Scalar::String(owned())));
                Truth::all([is_text(path, is_key), equal.not()])
            }
            Op::Sw => Truth::test(path, Operator::StartsWith(vec![owned()])),
            Op::Ew => Truth::test(path, Operator::EndsWith(vec![owned()])),
            Op::Co => {
                Truth::all([is_text(path, is_key), Truth::test(path, Operator::Contains(Scalar::String(owned())))])
            }
            _ => return self.senseless(ledger),
        })
    }

    /// The attribute without its decimals, compared with a whole number.
    fn whole(&self, ledger: &mut Ledger<'_>, path: &AttributePath, int: i64) -> Option<Truth> {
        let compare = |comparison, int: i64| Truth::test(path, Operator::Compare(comparison, int.into()));
        let above = |int: i64| match int.checked_add(1) {
            Some(next) if int >= 0 => compare(Comparison::GreaterOrEqual, next),
            _ => compare(Comparison::Greater, int),
        };
        let below = |int: i64| match int.checked_sub(1) {
            Some(next) if int <= 0 => compare(Comparison::LessOrEqual, next),
            _ => compare(Comparison::Less, int),
        };
        let (Some(before), Some(after)) = (int.checked_sub(1), int.checked_add(1)) else {
            return ledger.refuse(self.at, "the number is at the end of the 64-bit range", "use a smaller one");
        };
        Some(match self.op {
            Op::Gt => above(int),
            Op::Ge => above(before),
            Op::Lt => below(int),
            Op::Le => below(after),
            Op::Eq => Truth::all([above(before), below(after)]),
            Op::Ne => Truth::any([below(int), above(int)]),
            _ => return self.senseless(ledger),
        })
    }

    fn double(&self, ledger: &mut Ledger<'_>, path: &AttributePath, double: &Number) -> Option<Truth> {
        let compare = |comparison| Truth::test(path, Operator::Compare(comparison, double.clone()));
        Some(match self.op {
            Op::Gt => compare(Comparison::Greater),
            Op::Ge => compare(Comparison::GreaterOrEqual),
            Op::Lt => compare(Comparison::Less),
            Op::Le => compare(Comparison::LessOrEqual),
            Op::Eq => Truth::test(path, Operator::Equals(Scalar::Number(double.clone()))),
            Op::Ne => Truth::any([compare(Comparison::Less), compare(Comparison::Greater)]),
            _ => return self.senseless(ledger),
        })
    }

    fn version(&self, ledger: &mut Ledger<'_>, path: &AttributePath, version: &str) -> Option<Truth> {
        let test = |test| Truth::test(path, Operator::Semver(test, version.to_owned()));
        Some(match self.op {
            Op::Gt => test(SemverTest::Greater),
            Op::Ge => test(SemverTest::GreaterOrEqual),
            Op::Lt => test(SemverTest::Less),
            Op::Le => test(SemverTest::LessOrEqual),
            Op::Eq => test(SemverTest::Equal),
            Op::Ne => Truth::any([test(SemverTest::Less), test(SemverTest::Greater)]),
            _ => return self.senseless(ledger),
        })
    }

    fn senseless(&self, ledger: &mut Ledger<'_>) -> Option<Truth> {
        let why = format!("the operator does not fit what `{}` is compared with, or has no counterpart", self.name);
        ledger.refuse(self.at, why, "write the comparison in another way")
    }
}

/// Holds for texts only. The targeting key always is one.
fn is_text(path: &AttributePath, is_key: bool) -> Truth {
    if is_key { Truth::Always } else { Truth::test(path, Operator::StartsWith(vec![String::new()])) }
}

/// Equal to one of these numbers; unlike `in`, never true for a list.
fn one_of(path: &AttributePath, list: impl Iterator<Item = Number>) -> Truth {
    Truth::any(list.map(|number| Truth::test(path, Operator::Equals(Scalar::Number(number)))))
}
