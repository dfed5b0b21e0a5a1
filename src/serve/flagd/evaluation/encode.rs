//! Answers as bytes, in either codec, written from what they borrow.
//!
//! One protobuf for both versions: v2's messages, whose fields are v1's with presence. The JSON is written here and not
//! by the generated code, since flagd's clients expect what protobuf calls unpopulated fields (`false`, `0`, `{}`),
//! which that leaves out.

use buffa::{MapView, MessageFieldView, ViewEncode as _};
use buffa_types::google::protobuf::StructView;
use connectrpc::{CodecFormat, ConnectError};
use hyper::body::Bytes;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::answer::{Answer, Typed, reason};
use crate::eval::outcome::{Evaluation, Reason};
use crate::flag::key::VariantName;
use crate::proto::flagd_wire::flagd::evaluation::v1::__buffa::view::oneof::any_flag::Value as AnyValue;
use crate::proto::flagd_wire::flagd::evaluation::{v1, v2};
use crate::serve::flagd::structs;
use crate::serve::metadata::{Entry, entries};
use crate::serve::selection::Selector;

/// The metadata of one answer: the reflected selector, and over it what the evaluation says.
#[derive(Debug, Clone, Copy)]
pub struct Metadata<'s> {
    selector: Option<(&'static str, &'s str)>,
    evaluation: Option<Evaluation<'s>>,
}

impl<'s> Metadata<'s> {
    /// Of an evaluation.
    pub fn new(selector: Selector<'s>, evaluation: &Evaluation<'s>) -> Self {
        let reflected = selector.reflected();
        let selector = reflected.filter(|(name, _)| !entries(evaluation).any(|(held, _)| held == *name));
        Self { selector, evaluation: Some(*evaluation) }
    }

    /// Of an answer about every flag.
    fn of_all(selector: Selector<'s>) -> Self {
        Self { selector: selector.reflected(), evaluation: None }
    }

    fn iter(&self) -> impl Iterator<Item = (&'s str, Entry<'s>)> + use<'s> {
        let selector = self.selector.map(|(name, value)| (name, Entry::Text(value)));
        selector.into_iter().chain(self.evaluation.as_ref().map(entries).into_iter().flatten())
    }

    fn view(&self) -> MessageFieldView<StructView<'s>> {
        MessageFieldView::set(structs::structure(self.iter().map(|(name, entry)| (name, structs::entry(&entry)))))
    }
}

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// One answer.
///
/// # Errors
/// INTERNAL; never in practice.
pub fn one(answer: &Answer<'_>, metadata: &Metadata<'_>, format: CodecFormat) -> Result<Bytes, ConnectError> {
    match format {
        CodecFormat::Json => json(&One { answer, metadata }),
        _ => Ok(one_view(answer, metadata)),
    }
}

fn one_view(answer: &Answer<'_>, metadata: &Metadata<'_>) -> Bytes {
    let Answer { reason, variant, .. } = *answer;
    let metadata = metadata.view();
    macro_rules! message {
        ($view:ident, $value:expr) => {
            v2::$view { value: $value, reason, variant, metadata, ..Default::default() }.encode_to_bytes()
        };
    }
    match answer.value {
        // Without a value they are all the same bytes.
        None => message!(ResolveBooleanResponseView, None),
        Some(Typed::Boolean(value)) => message!(ResolveBooleanResponseView, Some(value)),
        Some(Typed::String(text)) => message!(ResolveStringResponseView, Some(text)),
        Some(Typed::Float(number)) => message!(ResolveFloatResponseView, number.as_f64()),
        Some(Typed::Int(whole)) => message!(ResolveIntResponseView, Some(whole)),
        Some(Typed::Object(map)) => {
            message!(ResolveObjectResponseView, MessageFieldView::set(structs::object(map)))
        }
    }
}

struct One<'a, 's> {
    answer: &'a Answer<'s>,
    metadata: &'a Metadata<'s>,
}

impl Serialize for One<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.answer.value {
            None => {}
            Some(Typed::Boolean(value)) => map.serialize_entry("value", &value)?,
            Some(Typed::String(text)) => map.serialize_entry("value", text)?,
            Some(Typed::Float(number)) => map.serialize_entry("value", number)?,
            // protobuf's JSON has 64-bit integers as texts.
            Some(Typed::Int(whole)) => map.serialize_entry("value", &whole.to_string())?,
            Some(Typed::Object(object)) => map.serialize_entry("value", object)?,
        }
        map.serialize_entry("reason", self.answer.reason)?;
        if let Some(variant) = self.answer.variant {
            map.serialize_entry("variant", variant)?;
        }
        map.serialize_entry("metadata", self.metadata)?;
        map.end()
    }
}

/// Every flag that has an answer, by key. Flags that answer "use the code default" are left out: clients of v1 would
/// take a zero value for an answer. Those that fail are named without a value.
///
/// # Errors
/// INTERNAL; never in practice.
pub fn all<'s>(
    evaluations: impl Iterator<Item = Evaluation<'s>>,
    selector: Selector<'s>,
    format: CodecFormat,
) -> Result<Bytes, ConnectError> {
    let flags = evaluations.filter(|evaluation| evaluation.error.is_some() || any(evaluation).is_some());
    let flags: Vec<_> = flags.map(|evaluation| (evaluation, Metadata::new(selector, &evaluation))).collect();
    let metadata = Metadata::of_all(selector);
    if format == CodecFormat::Json {
        return json(&All { flags: &flags, metadata });
    }
    let flag = |(evaluation, metadata): &(Evaluation<'s>, Metadata<'s>)| {
        let view = v1::AnyFlagView {
            reason: reason(evaluation),
            variant: evaluation.variant.map_or("", VariantName::as_str),
            value: any(evaluation),
            metadata: metadata.view(),
            ..Default::default()
        };
        (evaluation.flag.id().key.as_str(), view)
    };
    let flags = MapView::new(flags.iter().map(flag).collect());
    let answer = v1::ResolveAllResponseView { flags, metadata: metadata.view(), ..Default::default() };
    Ok(answer.encode_to_bytes())
}

/// The value of a flag whose type nobody asked for.
fn any<'s>(evaluation: &Evaluation<'s>) -> Option<AnyValue<'s>> {
    use serde_json::Value;
    match evaluation.value? {
        Value::Bool(value) => Some(AnyValue::BoolValue(*value)),
        Value::String(text) => Some(AnyValue::StringValue(text)),
        Value::Number(number) => number.as_f64().map(AnyValue::DoubleValue),
        Value::Object(map) => Some(AnyValue::ObjectValue(Box::new(structs::object(map)))),
        Value::Null | Value::Array(_) => None,
    }
}

struct All<'a, 's> {
    flags: &'a [(Evaluation<'s>, Metadata<'s>)],
    metadata: Metadata<'s>,
}

struct Any<'a, 's>(&'a Evaluation<'s>, &'a Metadata<'s>);

impl Serialize for All<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Flags<'a, 's>(&'a [(Evaluation<'s>, Metadata<'s>)]);
        impl Serialize for Flags<'_, '_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let flag = |(evaluation, metadata)| (evaluation, Any(evaluation, metadata));
                let flags = self.0.iter().map(|(evaluation, metadata)| flag((evaluation, metadata)));
                serializer.collect_map(flags.map(|(evaluation, any)| (evaluation.flag.id().key.as_str(), any)))
            }
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("flags", &Flags(self.flags))?;
        map.serialize_entry("metadata", &self.metadata)?;
        map.end()
    }
}

impl Serialize for Any<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde_json::Value;
        let Self(evaluation, metadata) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("reason", reason(evaluation))?;
        map.serialize_entry("variant", evaluation.variant.map_or("", VariantName::as_str))?;
        if let Some(value) = evaluation.value.filter(|_| evaluation.reason != Reason::Error) {
            let name = match value {
                Value::Bool(_) => "boolValue",
                Value::String(_) => "stringValue",
                Value::Number(_) => "doubleValue",
                Value::Object(_) | Value::Null | Value::Array(_) => "objectValue",
            };
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("metadata", metadata)?;
        map.end()
    }
}

/// One event of a stream; `data` goes into its field of that name.
///
/// # Errors
/// INTERNAL; never in practice.
pub fn event(kind: &str, flags: Option<&[(&str, &str)]>, format: CodecFormat) -> Result<Bytes, ConnectError> {
    let change = |change| structs::nested(structs::structure([("type", structs::text(change))].into_iter()));
    if format == CodecFormat::Json {
        return json(&Event { kind, flags });
    }
    let flags =
        flags.map(|flags| structs::nested(structs::structure(flags.iter().map(|(key, kind)| (*key, change(*kind))))));
    let data = structs::structure(flags.into_iter().map(|flags| ("flags", flags)));
    let event = v2::EventStreamResponseView { r#type: kind, data: MessageFieldView::set(data), ..Default::default() };
    Ok(event.encode_to_bytes())
}

struct Event<'a> {
    kind: &'a str,
    flags: Option<&'a [(&'a str, &'a str)]>,
}

impl Serialize for Event<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Data<'a>(Option<&'a [(&'a str, &'a str)]>);
        struct Flags<'a>(&'a [(&'a str, &'a str)]);
        struct Change<'a>(&'a str);
        impl Serialize for Data<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.map(|flags| ("flags", Flags(flags))))
            }
        }
        impl Serialize for Flags<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(key, kind)| (key, Change(kind))))
            }
        }
        impl Serialize for Change<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map([("type", self.0)])
            }
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", self.kind)?;
        map.serialize_entry("data", &Data(self.flags))?;
        map.end()
    }
}

fn json(message: &impl Serialize) -> Result<Bytes, ConnectError> {
    let text = serde_json::to_vec(message).map_err(|_| ConnectError::internal("the answer cannot be written"))?;
    Ok(text.into())
}
