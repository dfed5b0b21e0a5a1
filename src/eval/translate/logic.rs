//! JSONLogic as JSON, written so that both evaluators that flagd's clients use read it alike.
//!
//! Every test here yields `true`, `false` or null (which counts as false), never another value, and never asks an
//! operator for something on which one of the two evaluators stops with an error. Constants fold away. The facts
//! behind each guard stand beside it; they were found with the published packages.

use serde_json::{Value, json};

/// One operator with its operands.
pub(super) fn operator(name: &str, operands: Vec<Value>) -> Value {
    let mut map = serde_json::Map::new();
    map.insert(name.to_owned(), Value::Array(operands));
    Value::Object(map)
}

/// Every one holds.
pub(super) fn all(tests: Vec<Value>) -> Value {
    if tests.contains(&Value::Bool(false)) {
        return Value::Bool(false);
    }
    gather("and", tests, true)
}

/// At least one holds.
pub(super) fn any(tests: Vec<Value>) -> Value {
    if tests.contains(&Value::Bool(true)) {
        return Value::Bool(true);
    }
    gather("or", tests, false)
}

/// Puts tests together, of which those that are `neutral` say nothing.
fn gather(name: &str, mut tests: Vec<Value>, neutral: bool) -> Value {
    tests.retain(|test| *test != Value::Bool(neutral));
    match tests.len() {
        0 => Value::Bool(neutral),
        1 => tests.swap_remove(0),
        _ => operator(name, tests),
    }
}

/// It does not hold.
pub(super) fn not(test: Value) -> Value {
    match test {
        Value::Bool(known) => Value::Bool(!known),
        test => operator("!", vec![test]),
    }
}

/// The value where the test holds, the other one where not.
pub(super) fn either(test: Value, then: Value, otherwise: Value) -> Value {
    match test {
        Value::Bool(true) => then,
        Value::Bool(false) => otherwise,
        _ if then == otherwise => then,
        test => operator("if", vec![test, then, otherwise]),
    }
}

/// The first value whose test holds, else the last one.
pub(super) fn first_of(choices: Vec<(Value, Value)>, otherwise: Value) -> Value {
    let mut operands = Vec::with_capacity(choices.len() * 2 + 1);
    let mut last = otherwise;
    for (test, value) in choices {
        match test {
            Value::Bool(false) => {}
            Value::Bool(true) => {
                last = value;
                break;
            }
            test => operands.extend([test, value]),
        }
    }
    if operands.is_empty() {
        return last;
    }
    operands.push(last);
    operator("if", operands)
}

/// The same type and value. Python's evaluator compares as Python does, where `true` is 1: see [`equals_bool`].
pub(super) fn same(left: Value, right: Value) -> Value {
    operator("===", vec![left, right])
}

/// It is a string. Both evaluators answer null to `starts_with` of anything else, without an error.
pub(super) fn is_string(value: &Value) -> Value {
    operator("starts_with", vec![value.clone(), json!("")])
}

/// It is there and not null.
pub(super) fn is_there(value: &Value) -> Value {
    operator("!==", vec![value.clone(), Value::Null])
}

/// What `cat` makes of `true`, `false` and an object: JavaScript writes `true`, Python `True`.
const BOOLEAN_TEXTS: [[&str; 2]; 2] = [["false", "False"], ["true", "True"]];
const OBJECT_TEXT: &str = "[object Object]";

/// It is that boolean. The second half tells it from Python's 0 and 1.
pub(super) fn equals_bool(value: &Value, wanted: bool) -> Value {
    let texts = BOOLEAN_TEXTS[usize::from(wanted)];
    let text = operator("cat", vec![value.clone()]);
    all(vec![same(value.clone(), json!(wanted)), operator("in", vec![text, json!(texts)])])
}

/// It is that number, which a double holds exactly.
pub(super) fn equals_number(value: &Value, wanted: &serde_json::Number) -> Value {
    let equal = same(value.clone(), Value::Number(wanted.clone()));
    // Python's `True` equals 1 and its `False` 0.
    let twin = match wanted.as_f64() {
        Some(0.0) => "False",
        Some(1.0) => "True",
        _ => return equal,
    };
    let text = operator("cat", vec![value.clone()]);
    all(vec![equal, operator("!==", vec![text, json!(twin)])])
}

/// It is a number. `length` is what the value calls by that name: lists and strings have one, and whatever is an
/// object or an empty list shows in its text. Asked before every comparison, since JavaScript's evaluator stops at
/// those of anything but numbers.
pub(super) fn is_number(value: &Value, length: &Value) -> Value {
    let [[no, python_no], [yes, python_yes]] = BOOLEAN_TEXTS;
    let texts = json!([no, python_no, yes, python_yes, OBJECT_TEXT, ""]);
    let text = operator("cat", vec![value.clone()]);
    all(vec![is_there(value), not(is_string(value)), not(length.clone()), not(operator("in", vec![text, texts]))])
}

/// It is a string, a number or a boolean.
pub(super) fn is_scalar(value: &Value, length: &Value) -> Value {
    let text = operator("cat", vec![value.clone()]);
    let neither = not(operator("in", vec![text, json!([OBJECT_TEXT, ""])]));
    any(vec![is_string(value), all(vec![is_there(value), not(length.clone()), neither])])
}

/// It is a list, a text or an object that says so, and not empty.
pub(super) fn has_length(length: &Value) -> Value {
    operator("!!", vec![length.clone()])
}

/// Some element of the list passes; anything else that is no list counts as its own only element. `merge` makes the
/// list, since JavaScript's evaluator stops at `some` of anything else.
pub(super) fn some_element(value: &Value, test: Value) -> Value {
    match test {
        Value::Bool(false) => test,
        test => operator("some", vec![operator("merge", vec![value.clone()]), test]),
    }
}

/// The element that [`some_element`] looks at.
pub(super) fn element() -> Value {
    json!({"var": ""})
}
