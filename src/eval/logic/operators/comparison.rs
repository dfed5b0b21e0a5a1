//! `==`, `!=`, `===`, `!==`, `<`, `<=`, `>` and `>=`.
//!
//! Two texts compare by their characters; otherwise both sides are numbers, and what is none compares with nothing.
//! null equals only null, as in JavaScript and in flagd's daemon; lists and objects equal nothing, themselves included,
//! as in the daemon. The orders take any number of arguments, each of which must stand so to the next one: `<` with three
//! asks whether one lies between.

use std::cmp::Ordering;

use crate::eval::logic::budget::{Budget, Fault};
use crate::eval::logic::machine::{Machine, Yield};
use crate::eval::logic::scope::Scope;
use crate::eval::logic::tree::{Arguments, Operator};
use crate::eval::logic::value::{Value, double};

pub(super) fn compare<'v>(
    machine: &mut Machine<'_, 'v>,
    operator: Operator,
    arguments: &'v Arguments,
    scope: Scope<'_, 'v>,
) -> Yield<'v> {
    let stands: fn(Ordering) -> bool = match operator {
        Operator::Less => Ordering::is_lt,
        Operator::LessOrEqual => Ordering::is_le,
        Operator::Greater => Ordering::is_gt,
        Operator::GreaterOrEqual => Ordering::is_ge,
        _ => {
            let [left, right] = machine.first(arguments, scope)?;
            let equal = match operator {
                Operator::Equal | Operator::NotEqual => equal(&left, &right, machine.budget)?,
                _ => strictly_equal(&left, &right, machine.budget)?,
            };
            let turned = matches!(operator, Operator::NotEqual | Operator::NotStrictlyEqual);
            return Ok(Value::Bool(equal != turned));
        }
    };
    let mut before: Option<Value<'v>> = None;
    let mut compared = false;
    let mut holds = true;
    machine.for_each(arguments, scope, |budget, value| {
        if let Some(before) = &before {
            compared = true;
            holds = holds && order(before, &value, budget)?.is_some_and(stands);
        }
        before = Some(value);
        Ok(())
    })?;
    Ok(Value::Bool(compared && holds))
}

/// Equality of values of one type, without conversion.
pub(super) fn strictly_equal(left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<bool, Fault> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Number(left), Value::Number(right)) => same(double(*left), double(*right)),
        (Value::Text(left), Value::Text(right)) => {
            // Texts of different lengths are told apart without looking at them.
            if left.len() != right.len() {
                return Ok(false);
            }
            budget.bytes(left.len())?;
            **left == **right
        }
        _ => false,
    })
}

fn equal(left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<bool, Fault> {
    Ok(match (left, right) {
        (Value::Null, _) | (_, Value::Null) | (Value::Text(_), Value::Text(_)) => {
            return strictly_equal(left, right, budget);
        }
        (Value::List(_) | Value::Object(_), _) | (_, Value::List(_) | Value::Object(_)) => false,
        (left, right) => same(number(left, budget)?, number(right, budget)?),
    })
}

fn order(left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<Option<Ordering>, Fault> {
    if let (Value::Text(left), Value::Text(right)) = (left, right) {
        budget.bytes(left.len().min(right.len()))?;
        return Ok(Some((**left).cmp(right)));
    }
    Ok(number(left, budget)?.partial_cmp(&number(right, budget)?))
}

fn number(value: &Value<'_>, budget: &mut Budget) -> Result<f64, Fault> {
    if let Value::Text(text) = value {
        budget.bytes(text.len())?;
    }
    Ok(value.to_number())
}

/// JavaScript's equality of numbers: NaN equals nothing, and both zeros are one.
fn same(left: f64, right: f64) -> bool {
    left.partial_cmp(&right) == Some(Ordering::Equal)
}
