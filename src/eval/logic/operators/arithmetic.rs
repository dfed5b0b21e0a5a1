//! `+`, `-`, `*`, `/`, `%`, `min` and `max`, in doubles.
//!
//! Every argument is turned into a number as JavaScript does it; what is none makes the result NaN, which is false and
//! names no variant. `-` of one argument turns its sign, and `+`, `*` and `/` of one just make it a number.

use crate::eval::logic::machine::{Machine, Yield};
use crate::eval::logic::scope::Scope;
use crate::eval::logic::tree::{Arguments, Operator};
use crate::eval::logic::value::{Value, double};

pub(super) fn compute<'v>(
    machine: &mut Machine<'_, 'v>,
    operator: Operator,
    arguments: &'v Arguments,
    scope: Scope<'_, 'v>,
) -> Yield<'v> {
    let mut count = 0;
    let mut result: f64 = match operator {
        Operator::Multiply => 1.0,
        Operator::Least => f64::INFINITY,
        Operator::Greatest => f64::NEG_INFINITY,
        _ => 0.0,
    };
    machine.for_each(arguments, scope, |budget, value| {
        if let Value::Text(text) = &value {
            budget.bytes(text.len())?;
        }
        let number = if let Value::Number(number) = value { double(number) } else { value.to_number() };
        result = match operator {
            Operator::Add => result + number,
            Operator::Multiply => result * number,
            Operator::Least | Operator::Greatest if number.is_nan() || result.is_nan() => f64::NAN,
            Operator::Least => result.min(number),
            Operator::Greatest => result.max(number),
            _ if count == 0 => number,
            Operator::Divide => result / number,
            Operator::Remainder => result % number,
            _ => result - number,
        };
        count += 1;
        Ok(())
    })?;
    Ok(Value::number(match operator {
        Operator::Subtract if count == 1 => -result,
        Operator::Remainder if count < 2 => f64::NAN,
        _ => result,
    }))
}
