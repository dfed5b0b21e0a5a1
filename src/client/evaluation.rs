//! Questions and answers in process: the same `eval` core as the server's, in OpenFeature's words.
//!
//! An answer is never an error: what cannot be answered is the caller's default, and the details say why. Nothing waits
//! and nothing is locked.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::Client;
use super::clock;
use super::state::Source;
use crate::eval::context::Context;
use crate::eval::evaluate::evaluate;
use crate::eval::outcome::{ErrorCode, Evaluation, Reason};
use crate::flag::key::FlagSetName;

/// The largest whole number up to which all are exact as a float: 2^53 − 1.
const WHOLE_MAX: f64 = 9_007_199_254_740_991.0;

/// A type that a flag can have. `serde_json::Value` takes any.
pub trait FlagValue: Sized {
    /// The value in this type; none where it has another. Nothing is rounded.
    fn read(value: &Value) -> Option<Self>;
}

impl FlagValue for bool {
    fn read(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FlagValue for String {
    fn read(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl FlagValue for i64 {
    fn read(value: &Value) -> Option<Self> {
        let number = value.as_number()?;
        let whole = |number: &f64| number.fract() == 0.0 && number.abs() <= WHOLE_MAX;
        number.as_i64().or_else(|| number.as_f64().filter(whole).map(|number| number as Self))
    }
}

impl FlagValue for f64 {
    fn read(value: &Value) -> Option<Self> {
        value.as_number().and_then(Number::as_f64)
    }
}

impl FlagValue for Map<String, Value> {
    fn read(value: &Value) -> Option<Self> {
        value.as_object().cloned()
    }
}

impl FlagValue for Value {
    fn read(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

/// An answer with all that there is to say about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Details<T> {
    /// The value; the caller's default where there is no variant.
    pub value: T,
    /// The variant; none where the caller's default is used.
    pub variant: Option<String>,
    /// Why.
    pub reason: Reason,
    /// What kept the flag from being evaluated; there exactly where the reason is [`Reason::Error`].
    pub error: Option<ErrorCode>,
    /// The flag's own metadata, and what this answer adds: `flagSetId`, `killed`, `noUnit`.
    pub metadata: BTreeMap<String, Value>,
}

impl<T> Details<T> {
    fn fault(default: T, error: ErrorCode) -> Self {
        Self { value: default, variant: None, reason: Reason::Error, error: Some(error), metadata: BTreeMap::new() }
    }
}

impl Client {
    /// The value of a flag that says yes or no.
    pub fn bool(&self, key: &str, context: &Context<'_>, default: bool) -> bool {
        self.value(key, context).unwrap_or(default)
    }

    /// The value of a flag that is a text.
    pub fn string(&self, key: &str, context: &Context<'_>, default: &str) -> String {
        self.value(key, context).unwrap_or_else(|| default.to_owned())
    }

    /// The value of a flag that is a whole number.
    pub fn integer(&self, key: &str, context: &Context<'_>, default: i64) -> i64 {
        self.value(key, context).unwrap_or(default)
    }

    /// The value of a flag that is a number.
    pub fn float(&self, key: &str, context: &Context<'_>, default: f64) -> f64 {
        self.value(key, context).unwrap_or(default)
    }

    /// The value of a flag that is an object.
    pub fn object(&self, key: &str, context: &Context<'_>, default: Map<String, Value>) -> Map<String, Value> {
        self.value(key, context).unwrap_or(default)
    }

    /// The answer with its details; the type is the default's.
    pub fn evaluate<T: FlagValue>(&self, key: &str, context: &Context<'_>, default: T) -> Details<T> {
        self.ask(key, context, |answer| match answer {
            Ok(evaluation) => details(&evaluation, default),
            Err(error) => Details::fault(default, error),
        })
    }

    fn value<T: FlagValue>(&self, key: &str, context: &Context<'_>) -> Option<T> {
        self.ask(key, context, |answer| T::read(answer.ok()?.value?))
    }

    #[inline]
    fn ask<T>(&self, key: &str, context: &Context<'_>, then: impl FnOnce(Result<Evaluation<'_>, ErrorCode>) -> T) -> T {
        self.state().read(|served| {
            if served.status.source == Source::Nothing {
                return then(Err(ErrorCode::ProviderNotReady));
            }
            let Some(flag) = served.find(self.flag_set(), key) else { return then(Err(ErrorCode::FlagNotFound)) };
            then(Ok(evaluate(&served.set, flag, context, clock::now())))
        })
    }
}

fn details<T: FlagValue>(evaluation: &Evaluation<'_>, default: T) -> Details<T> {
    if let Some(error) = evaluation.error {
        return Details { metadata: metadata(evaluation), ..Details::fault(default, error) };
    }
    let value = match evaluation.value.map(T::read) {
        Some(Some(value)) => value,
        Some(None) => {
            return Details { metadata: metadata(evaluation), ..Details::fault(default, ErrorCode::TypeMismatch) };
        }
        None => default,
    };
    Details {
        value,
        variant: evaluation.variant.map(|variant| variant.as_str().to_owned()),
        reason: evaluation.reason,
        error: None,
        metadata: metadata(evaluation),
    }
}

/// What every surface of the server says beside a value: `serve::metadata` has the same rule.
fn metadata(evaluation: &Evaluation<'_>) -> BTreeMap<String, Value> {
    let written = evaluation.flag.metadata().iter().filter(|(_, value)| !value.is_null());
    let mut metadata: BTreeMap<String, Value> = written.map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(name) = evaluation.flag.id().flag_set.as_ref().map(FlagSetName::as_str) {
        metadata.insert("flagSetId".to_owned(), Value::from(name));
    }
    if evaluation.killed.is_some() {
        metadata.insert("killed".to_owned(), Value::Bool(true));
    }
    if evaluation.no_unit {
        metadata.insert("noUnit".to_owned(), Value::Bool(true));
    }
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_has_the_type_that_is_asked_for_or_none() {
        assert_eq!((bool::read(&json!(true)), bool::read(&json!(1))), (Some(true), None));
        assert_eq!((String::read(&json!("x")), String::read(&json!(1))), (Some("x".to_owned()), None));
        for (value, whole) in [
            (json!(5), Some(5)),
            (json!(5.0), Some(5)),
            (json!(i64::MAX), Some(i64::MAX)),
            (json!(5.5), None),
            (json!(1e300), None),
            (json!(u64::MAX), None),
            (json!("5"), None),
        ] {
            assert_eq!(i64::read(&value), whole, "{value}");
        }
        assert_eq!(
            (f64::read(&json!(5)), f64::read(&json!(0.5)), f64::read(&json!(true))),
            (Some(5.0), Some(0.5), None)
        );
        assert!(Map::read(&json!({"a": 1})).is_some() && Map::read(&json!([1])).is_none());
        assert_eq!(Value::read(&json!([1])), Some(json!([1])));
    }
}
