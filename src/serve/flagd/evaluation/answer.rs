//! What is answered: an evaluation in flagd's types and words.

use serde_json::{Map, Number, Value};

use super::method::Wanted;
use crate::eval::outcome::{ErrorCode, Evaluation, Reason};
use crate::flag::key::VariantName;

/// The largest whole number that every client can hold: 2^53 − 1.
const WHOLE_MAX: i64 = 9_007_199_254_740_991;

/// A value of the type that was asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Typed<'s> {
    /// `true` or `false`.
    Boolean(bool),
    /// A text.
    String(&'s str),
    /// Any number, as it was written.
    Float(&'s Number),
    /// A whole number.
    Int(i64),
    /// An object.
    Object(&'s Map<String, Value>),
}

/// An answer to one question.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'s> {
    /// None: use the code default.
    pub value: Option<Typed<'s>>,
    /// There where the value is.
    pub variant: Option<&'s str>,
    /// flagd's word.
    pub reason: &'static str,
}

impl<'s> Answer<'s> {
    /// The answer to a caller that wants a type.
    ///
    /// # Errors
    /// The flag cannot be evaluated, or has another type.
    pub fn of(evaluation: Evaluation<'s>, wanted: Wanted) -> Result<Self, ErrorCode> {
        if let Some(code) = evaluation.error {
            return Err(code);
        }
        let value = match evaluation.value {
            Some(value) => Some(typed(value, wanted).ok_or(ErrorCode::TypeMismatch)?),
            None => None,
        };
        Ok(Self { value, variant: evaluation.variant.map(VariantName::as_str), reason: reason(&evaluation) })
    }
}

/// flagd's word for a reason. Its clients keep what is STATIC, some for a minute whatever happens, so nothing is STATIC
/// that the next second may take back: a killed flag, or one that a rollout is moving.
pub fn reason(evaluation: &Evaluation<'_>) -> &'static str {
    let managed = evaluation.killed.is_some() || evaluation.flag.allocation().is_some();
    match evaluation.reason {
        Reason::Split => Reason::TargetingMatch,
        Reason::Static if managed => Reason::Default,
        reason => reason,
    }
    .as_str()
}

/// The value in a type; none where it has another. Nothing is rounded.
fn typed(value: &Value, wanted: Wanted) -> Option<Typed<'_>> {
    match (wanted, value) {
        (Wanted::Boolean, Value::Bool(value)) => Some(Typed::Boolean(*value)),
        (Wanted::String, Value::String(text)) => Some(Typed::String(text)),
        (Wanted::Float, Value::Number(number)) => Some(Typed::Float(number)),
        (Wanted::Int, Value::Number(number)) => whole(number).map(Typed::Int),
        (Wanted::Object, Value::Object(map)) => Some(Typed::Object(map)),
        _ => None,
    }
}

fn whole(number: &Number) -> Option<i64> {
    let fits = |whole: &i64| whole.unsigned_abs() <= WHOLE_MAX.unsigned_abs();
    match number.as_i64() {
        Some(whole) => Some(whole).filter(fits),
        None => number
            .as_f64()
            .filter(|number| number.fract() == 0.0 && number.abs() <= WHOLE_MAX as f64)
            .map(|number| number as i64)
            .filter(fits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_whole_numbers_that_every_client_holds_are_integers() {
        for (value, expected) in [
            (json!(0), Some(0)),
            (json!(-7), Some(-7)),
            (json!(10.0), Some(10)),
            (json!(9_007_199_254_740_991_i64), Some(WHOLE_MAX)),
            (json!(-9_007_199_254_740_991.0), Some(-WHOLE_MAX)),
            (json!(9_007_199_254_740_992_i64), None),
            (json!(9_007_199_254_740_992.0), None),
            (json!(u64::MAX), None),
            (json!(1e300), None),
            (json!(0.5), None),
            (json!("1"), None),
            (json!(true), None),
        ] {
            assert_eq!(typed(&value, Wanted::Int), expected.map(Typed::Int), "{value}");
        }
    }

    #[test]
    fn a_value_has_one_type() {
        let values = [json!(true), json!("t"), json!(1.5), json!({"a": 1})];
        let types = [Wanted::Boolean, Wanted::String, Wanted::Float, Wanted::Object];
        for (at, wanted) in types.into_iter().enumerate() {
            for (other, value) in values.iter().enumerate() {
                assert_eq!(typed(value, wanted).is_some(), at == other, "{wanted:?} of {value}");
            }
        }
    }
}
