//! OFREP's JSON, read and written without a tree in between: a context borrowed from the body, an answer written
//! straight from an evaluation.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize as _, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::eval::context::Context;
use crate::eval::outcome::{ErrorCode, Evaluation};
use crate::serve::metadata::entries;
use crate::serve::selection::Selector;

/// Room for one ordinary item, taken at once.
pub const USUAL_ITEM_BYTES: usize = 192;

/// Why a body holds no context. Says nothing of its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeFault {
    /// Not JSON, or cut off.
    #[error("the body is not valid JSON (line {line}, column {column})")]
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column in bytes, from 1.
        column: usize,
    },
    /// JSON of another shape.
    #[error("the body must be an object such as {{\"context\": {{\"targetingKey\": \"user-1\"}}}}")]
    NotAnObject,
    /// A context over a limit, in the words of `eval`.
    #[error("{0}")]
    Context(String),
}

/// The request's context. An empty body, a missing context and one that is no object count as an empty context, as
/// flagd has it; so does a body of `null`.
///
/// # Errors
/// The body is no JSON object, or the context exceeds a limit.
pub fn context(body: &[u8]) -> Result<Context<'_>, EnvelopeFault> {
    if body.trim_ascii().is_empty() {
        return Ok(Context::empty());
    }
    let mut refused = None;
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = EnvelopeSeed { refused: &mut refused }.deserialize(&mut reader);
    read.and_then(|context| reader.end().map(|()| context)).map_err(|error| match (error.classify(), refused) {
        (Category::Data, Some(text)) => EnvelopeFault::Context(text),
        (Category::Data, None) => EnvelopeFault::NotAnObject,
        _ => EnvelopeFault::NotJson { line: error.line(), column: error.column() },
    })
}

/// Writes one evaluated flag: a success, or a failure item.
pub fn item(out: &mut Vec<u8>, evaluation: &Evaluation<'_>) {
    let id = evaluation.flag.id();
    if let Some(code) = evaluation.error {
        let key = id.key.as_str();
        let details = match code {
            ErrorCode::ParseError => format!("error parsing the flag `{key}`"),
            _ => "error processing the flag for evaluation".to_owned(),
        };
        write_failure(out, Some(key), code, &details, Some(evaluation));
        return;
    }
    out.extend_from_slice(b"{\"key\":");
    value(out, id.key.as_str());
    out.extend_from_slice(b",\"reason\":\"");
    out.extend_from_slice(evaluation.reason.as_str().as_bytes());
    out.push(b'"');
    if let Some(variant) = evaluation.variant {
        out.extend_from_slice(b",\"variant\":");
        value(out, variant.as_str());
    }
    if let Some(served) = evaluation.value {
        out.extend_from_slice(b",\"value\":");
        value(out, served);
    }
    metadata(out, evaluation);
    out.push(b'}');
}

/// The body of a bulk answer; `expected` is about how many items there will be, `event_streams` a JSON value.
pub fn list<'s>(
    evaluations: impl Iterator<Item = Evaluation<'s>>,
    selector: Selector<'_>,
    expected: usize,
    event_streams: Option<&str>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + expected * USUAL_ITEM_BYTES);
    out.extend_from_slice(b"{\"flags\":[");
    for (at, evaluation) in evaluations.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item(&mut out, &evaluation);
    }
    out.extend_from_slice(b"],\"metadata\":{");
    if let Some((name, selected)) = selector.reflected() {
        value(&mut out, name);
        out.push(b':');
        value(&mut out, selected);
    }
    out.push(b'}');
    if let Some(event_streams) = event_streams {
        out.extend_from_slice(b",\"eventStreams\":");
        out.extend_from_slice(event_streams.as_bytes());
    }
    out.push(b'}');
    out
}

/// The body of a failure; without a key it concerns the whole request.
pub fn failure(key: Option<&str>, code: ErrorCode, details: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(USUAL_ITEM_BYTES);
    write_failure(&mut out, key, code, details, None);
    out
}

/// The codes that OFREP knows for a failure; the others concern typed calls, which it has not.
fn word(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::FlagNotFound
        | ErrorCode::ParseError
        | ErrorCode::TargetingKeyMissing
        | ErrorCode::InvalidContext
        | ErrorCode::General => code.as_str(),
        ErrorCode::TypeMismatch | ErrorCode::ProviderNotReady => ErrorCode::General.as_str(),
    }
}

fn write_failure(
    out: &mut Vec<u8>,
    key: Option<&str>,
    code: ErrorCode,
    details: &str,
    evaluation: Option<&Evaluation<'_>>,
) {
    out.push(b'{');
    if let Some(key) = key {
        out.extend_from_slice(b"\"key\":");
        value(out, key);
        out.push(b',');
    }
    out.extend_from_slice(b"\"errorCode\":\"");
    out.extend_from_slice(word(code).as_bytes());
    out.extend_from_slice(b"\",\"errorDetails\":");
    value(out, details);
    match evaluation {
        Some(evaluation) => metadata(out, evaluation),
        None => out.extend_from_slice(b",\"metadata\":{}"),
    }
    out.push(b'}');
}

fn metadata(out: &mut Vec<u8>, evaluation: &Evaluation<'_>) {
    out.extend_from_slice(b",\"metadata\":{");
    for (at, (name, entry)) in entries(evaluation).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        value(out, name);
        out.push(b':');
        value(out, &entry);
    }
    out.push(b'}');
}

fn value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let mut writer = &mut *out;
    if serde_json::to_writer(&mut writer, value).is_err() {
        // Strings and JSON values always have a JSON form, and a vector takes every byte.
        let _ = writer.write_all(b"null");
    }
}

/// Reads `{"context": {…}}`. `refused` takes what a context was refused for.
struct EnvelopeSeed<'f> {
    refused: &'f mut Option<String>,
}

/// Reads the value of `context`: an object, or anything else for nothing.
struct InnerSeed<'f> {
    refused: &'f mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for EnvelopeSeed<'_> {
    type Value = Context<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Context<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EnvelopeSeed<'_> {
    type Value = Context<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Context<'de>, E> {
        Ok(Context::empty())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Context<'de>, A::Error> {
        let mut context = Context::empty();
        while let Some(name) = map.next_key_seed(Name)? {
            if name {
                context = map.next_value_seed(InnerSeed { refused: &mut *self.refused })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(context)
    }
}

/// Whether a name is `context`.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == "context")
    }
}

impl<'de> DeserializeSeed<'de> for InnerSeed<'_> {
    type Value = Context<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Context<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What is no object is an empty context.
macro_rules! empty {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Ok(Context::empty())
        })*
    };
}

impl<'de> Visitor<'de> for InnerSeed<'_> {
    type Value = Context<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a context")
    }

    empty!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E: Error>(self) -> Result<Context<'de>, E> {
        Ok(Context::empty())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Context<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Context::empty())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Context<'de>, A::Error> {
        Context::deserialize(MapAccessDeserializer::new(map)).inspect_err(|error| {
            *self.refused = Some(error.to_string());
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = context(&body);
        }

        #[test]
        fn no_body_that_looks_like_json_panics(body in r#"[\[\]{}":, a-c0-9\\etnull.-]{0,60}"#) {
            let _ = context(format!("{{\"context\":{body}}}").as_bytes());
        }

        #[test]
        fn a_context_in_its_envelope_is_the_context_alone(name in ".{0,8}", text in ".*", number: f64, after: bool) {
            let inner = json!({ name: text, "n": number, "o": {"l": [1, null, true]} });
            let alone = serde_json::to_vec(&inner).unwrap();
            let envelope = if after { json!({"a": [{}], "context": inner}) } else { json!({"context": inner, "z": 1}) };
            let envelope = serde_json::to_vec(&envelope).unwrap();
            prop_assert_eq!(context(&envelope).unwrap().digest(), Context::from_json(&alone).unwrap().digest());
        }

        #[test]
        fn a_failure_is_json_whatever_it_names(key in ".*", details in ".*") {
            let body: Value = serde_json::from_slice(&failure(Some(&key), ErrorCode::TypeMismatch, &details)).unwrap();
            let expected = json!({"key": key, "errorCode": "GENERAL", "errorDetails": details, "metadata": {}});
            prop_assert_eq!(body, expected);
        }
    }
}
