//! A condition as JSONLogic that holds for exactly the same contexts.
//!
//! A native test is false for a missing or differently typed attribute, while JSONLogic converts: the text "1" is
//! below 2, `in` looks into texts, null is 0. So every test asks for the type first where its operator would convert.
//! Segments are written out where they are named.

use serde_json::{Number, Value, json};

use crate::flag::definition::{AttributePath, Comparison, Condition, Operator, Scalar, Test};
use crate::flag::diagnostic::{Diagnostic, join_pointer};
use crate::flag::key::SegmentName;
use crate::flag::limits::NESTING_MAX;

use super::logic;
use super::obstacle;
use super::path;
use super::{Translator, VALUES_MAX};
use crate::eval::compile::condition::{Place, children};

/// Below this every whole number is a double of its own.
const EXACT: u64 = 1 << 53;

impl Translator<'_> {
    /// The condition that stands at `pointer`. What has no translation is noted, and its result means nothing.
    pub(super) fn condition(&mut self, pointer: &str, condition: &Condition) -> Value {
        self.place(pointer, Place::Map, condition, NESTING_MAX)
    }

    /// `segments` is how many more segments may be entered; `compile` refuses longer chains.
    fn place(&mut self, pointer: &str, place: Place, condition: &Condition, segments: usize) -> Value {
        if !self.spend(1) {
            return Value::Bool(false);
        }
        match condition {
            Condition::All(_) | Condition::Any(_) => {
                let inner = children(pointer, place, condition);
                let inner =
                    inner.into_iter().map(|(pointer, place, inner)| self.place(&pointer, place, inner, segments));
                let inner = inner.collect();
                if matches!(condition, Condition::All(_)) { logic::all(inner) } else { logic::any(inner) }
            }
            Condition::Not(inner) => logic::not(self.place(&join_pointer(pointer, "not"), Place::Map, inner, segments)),
            Condition::Segment(name) => self.segment(&join_pointer(pointer, "segment"), name, segments),
            Condition::Test(test) => {
                let pointer = join_pointer(pointer, &test.attribute.dotted());
                self.test(&join_pointer(&pointer, test.operator.word()), test)
            }
        }
    }

    /// A segment, written out. What is wrong inside it is told at the place that names it.
    fn segment(&mut self, pointer: &str, name: &SegmentName, segments: usize) -> Value {
        let set = self.set;
        let (Some(segment), Some(left)) = (set.segment(name.as_str()), segments.checked_sub(1)) else {
            return Value::Bool(false);
        };
        let before = self.found.len();
        let inner = self.place(&join_pointer("/segments", name.as_str()), Place::Map, &segment.segment().when, left);
        for found in &mut self.found[before..] {
            let message = format!("in the segment `{name}`: {}", found.message);
            *found = Diagnostic { pointer: pointer.to_owned(), message, ..found.clone() };
        }
        inner
    }

    fn test(&mut self, pointer: &str, test: &Test) -> Value {
        let Some(name) = self.path(pointer, &test.attribute) else { return Value::Bool(false) };
        let (value, length) = (path::var(&name), path::length(&name));
        match &test.operator {
            Operator::Equals(scalar) => self.equals(pointer, &value, scalar),
            Operator::In(list) => {
                let test = self.among(pointer, &logic::element(), list);
                logic::some_element(&value, test)
            }
            Operator::NotIn(list) => {
                let among = self.among(pointer, &value, list);
                logic::all(vec![logic::is_scalar(&value, &length), logic::not(among)])
            }
            Operator::StartsWith(parts) => self.parts("starts_with", &value, parts),
            Operator::EndsWith(parts) => self.parts("ends_with", &value, parts),
            Operator::Contains(scalar) => self.contains(pointer, (&value, &length), scalar),
            Operator::Compare(comparison, number) => self.compare(pointer, (&value, &length), *comparison, number),
            Operator::Exists(true) => logic::is_there(&value),
            Operator::Exists(false) => logic::same(value, Value::Null),
            Operator::Matches(_) | Operator::Semver(..) | Operator::Before(_) | Operator::After(_) => {
                self.obstacle(obstacle::operator(pointer, &test.operator))
            }
        }
    }

    /// The name for `var`, where there is one.
    pub(super) fn path(&mut self, pointer: &str, attribute: &AttributePath) -> Option<String> {
        path::dotted(attribute).map_err(|fault| self.obstacle(obstacle::path(pointer, &attribute.dotted(), fault))).ok()
    }

    fn equals(&mut self, pointer: &str, value: &Value, scalar: &Scalar) -> Value {
        match scalar {
            Scalar::Bool(wanted) => logic::equals_bool(value, *wanted),
            Scalar::String(text) => logic::same(value.clone(), json!(text)),
            Scalar::Number(number) if is_exact(number) => logic::equals_number(value, number),
            Scalar::Number(_) => self.obstacle(obstacle::number(pointer)),
        }
    }

    /// The value equals one of the list. `in` of a list is strict, but for Python's booleans, which equal 0 and 1.
    fn among(&mut self, pointer: &str, value: &Value, list: &[Scalar]) -> Value {
        if !self.spend(list.len()) {
            return Value::Bool(false);
        }
        let is_plain = |scalar: &Scalar| match scalar {
            Scalar::String(_) => true,
            Scalar::Number(number) => is_exact(number) && number.as_f64().is_some_and(|n| !(0.0..=1.0).contains(&n)),
            Scalar::Bool(_) => false,
        };
        let (plain, apart): (Vec<&Scalar>, Vec<&Scalar>) = list.iter().partition(|scalar| is_plain(scalar));
        let mut tests: Vec<Value> = apart.iter().map(|scalar| self.equals(pointer, value, scalar)).collect();
        if !plain.is_empty() {
            let literals = plain.into_iter().map(literal).collect();
            tests.push(logic::operator("in", vec![value.clone(), Value::Array(literals)]));
        }
        logic::any(tests)
    }

    /// Texts are compared by Unicode character in every language, and null for anything else counts as false.
    fn parts(&mut self, operator: &str, value: &Value, parts: &[String]) -> Value {
        if !self.spend(parts.len()) {
            return Value::Bool(false);
        }
        let test = |part: &String| logic::operator(operator, vec![value.clone(), json!(part)]);
        logic::any(parts.iter().map(test).collect())
    }

    fn contains(&mut self, pointer: &str, (value, length): (&Value, &Value), scalar: &Scalar) -> Value {
        let equals = self.equals(pointer, &logic::element(), scalar);
        let element = logic::some_element(value, equals);
        match scalar {
            // JavaScript's evaluator finds nothing in an empty text, not even the empty one.
            Scalar::String(text) if text.is_empty() => logic::any(vec![logic::is_string(value), element]),
            Scalar::String(text) => {
                let part = logic::operator("in", vec![json!(text), value.clone()]);
                logic::any(vec![logic::all(vec![logic::is_string(value), part]), element])
            }
            // Only a list, a text or an object that says so has a length, and no text equals a number.
            Scalar::Bool(_) | Scalar::Number(_) => logic::all(vec![logic::has_length(length), element]),
        }
    }

    fn compare(
        &mut self,
        pointer: &str,
        (value, length): (&Value, &Value),
        comparison: Comparison,
        number: &Number,
    ) -> Value {
        if !is_exact(number) {
            return self.obstacle(obstacle::number(pointer));
        }
        let name = match comparison {
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        };
        let compared = logic::operator(name, vec![value.clone(), Value::Number(number.clone())]);
        logic::all(vec![logic::is_number(value, length), compared])
    }

    /// False once the flag has grown too large; that is noted once.
    pub(super) fn spend(&mut self, values: usize) -> bool {
        let enough = self.spent <= VALUES_MAX;
        self.spent = self.spent.saturating_add(values);
        if enough && self.spent > VALUES_MAX {
            let pointer = self.pointer.clone();
            self.obstacle(obstacle::too_large(&pointer));
        }
        self.spent <= VALUES_MAX
    }

    /// Notes what stands in the way. The value it returns stands for "no translation".
    pub(super) fn obstacle(&mut self, found: Diagnostic) -> Value {
        if self.found.len() < obstacle::OBSTACLES_MAX {
            self.found.push(found);
        }
        Value::Bool(false)
    }
}

fn literal(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Bool(value) => Value::Bool(*value),
        Scalar::Number(number) => Value::Number(number.clone()),
        Scalar::String(text) => Value::String(text.clone()),
    }
}

/// True where every client holds the number, and no other number is the same double.
fn is_exact(number: &Number) -> bool {
    let integer = number.as_i64().map(i64::unsigned_abs).or_else(|| number.as_u64());
    match (integer, number.as_f64()) {
        (Some(integer), _) => integer < EXACT,
        (None, Some(float)) => float.abs() < EXACT as f64,
        (None, None) => false,
    }
}
