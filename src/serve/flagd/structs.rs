//! `google.protobuf.Struct` in both directions, without copying texts: contexts come in, values and metadata go out.
//!
//! A `Struct` knows only doubles, so whole numbers become integers on the way in. The limits of a context are judged by
//! [`Context::new`], as on every surface.

use std::borrow::Cow;

use buffa::{MapView, RepeatedView};
use buffa_types::google::protobuf::__buffa::oneof::value::Kind;
use buffa_types::google::protobuf::__buffa::view::oneof::value::Kind as KindView;
use buffa_types::google::protobuf::{ListValueView, NullValue, Struct, StructView, Value as Owned, ValueView};
use serde_json::{Map, Value};

use crate::eval::context::{Attribute, Context, ContextFault};
use crate::serve::metadata::Entry;

/// The context in a message that was not copied.
///
/// # Errors
/// A limit that is exceeded, or a name that occurs twice.
pub fn context<'a>(view: &StructView<'a>) -> Result<Context<'a>, ContextFault> {
    Context::new(view.fields.iter().map(|(name, value)| (Cow::Borrowed(*name), attribute(value))).collect())
}

/// The context in a message that was read from JSON.
///
/// # Errors
/// A limit that is exceeded.
pub fn owned_context(owned: &Struct) -> Result<Context<'_>, ContextFault> {
    Context::new(
        owned.fields.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), owned_attribute(value))).collect(),
    )
}

fn attribute<'a>(view: &ValueView<'a>) -> Attribute<'a> {
    match &view.kind {
        None | Some(KindView::NullValue(_)) => Attribute::Null,
        Some(KindView::BoolValue(value)) => Attribute::Bool(*value),
        Some(KindView::NumberValue(number)) => Attribute::from_double(*number),
        Some(KindView::StringValue(text)) => Attribute::String(Cow::Borrowed(text)),
        Some(KindView::ListValue(list)) => Attribute::List(list.values.iter().map(attribute).collect()),
        Some(KindView::StructValue(inner)) => {
            let fields = inner.fields.iter();
            Attribute::Object(fields.map(|(name, value)| (Cow::Borrowed(*name), attribute(value))).collect())
        }
    }
}

fn owned_attribute(value: &Owned) -> Attribute<'_> {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Attribute::Null,
        Some(Kind::BoolValue(value)) => Attribute::Bool(*value),
        Some(Kind::NumberValue(number)) => Attribute::from_double(*number),
        Some(Kind::StringValue(text)) => Attribute::String(Cow::Borrowed(text)),
        Some(Kind::ListValue(list)) => Attribute::List(list.values.iter().map(owned_attribute).collect()),
        Some(Kind::StructValue(inner)) => {
            let fields = inner.fields.iter();
            Attribute::Object(
                fields.map(|(name, value)| (Cow::Borrowed(name.as_str()), owned_attribute(value))).collect(),
            )
        }
    }
}

/// A `Struct` of some entries.
pub fn structure<'a>(entries: impl Iterator<Item = (&'a str, ValueView<'a>)>) -> StructView<'a> {
    StructView { fields: MapView::new(entries.collect()), ..StructView::default() }
}

/// A JSON object.
pub fn object(map: &Map<String, Value>) -> StructView<'_> {
    structure(map.iter().map(|(name, inner)| (name.as_str(), value(inner))))
}

/// An entry of metadata.
pub fn entry<'a>(entry: &Entry<'a>) -> ValueView<'a> {
    match entry {
        Entry::Written(written) => value(written),
        Entry::Text(text) => of(KindView::StringValue(text)),
        Entry::Yes => of(KindView::BoolValue(true)),
    }
}

/// A `Struct` as a value.
pub fn nested(inner: StructView<'_>) -> ValueView<'_> {
    of(KindView::StructValue(Box::new(inner)))
}

/// A text.
pub fn text(text: &str) -> ValueView<'_> {
    of(KindView::StringValue(text))
}

fn value(value: &Value) -> ValueView<'_> {
    of(match value {
        Value::Null => KindView::NullValue(NullValue::NULL_VALUE.into()),
        Value::Bool(value) => KindView::BoolValue(*value),
        // Without arbitrary precision every number has a double.
        Value::Number(number) => KindView::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => KindView::StringValue(text),
        Value::Array(elements) => {
            let values = RepeatedView::new(elements.iter().map(self::value).collect());
            KindView::ListValue(Box::new(ListValueView { values, ..ListValueView::default() }))
        }
        Value::Object(map) => KindView::StructValue(Box::new(object(map))),
    })
}

fn of(kind: KindView<'_>) -> ValueView<'_> {
    ValueView { kind: Some(kind), ..ValueView::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use buffa::{Message as _, MessageView as _, ViewEncode as _};
    use proptest::prelude::*;
    use serde_json::json;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            (-1.0e9..1.0e9).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Out as an answer, in as a context: by the wire, by the message that JSON gives, and by OFREP's way.
        #[test]
        fn a_context_is_the_same_by_every_way(map in prop::collection::btree_map("[a-z]{0,6}", json(), 0..6)) {
            let map: Map<String, Value> = map.into_iter().collect();
            let bytes = object(&map).encode_to_bytes();
            let view = StructView::decode_view(&bytes).unwrap();
            let owned = Struct::decode_from_slice(&bytes).unwrap();
            let wire = context(&view).unwrap();
            prop_assert_eq!(wire.digest(), owned_context(&owned).unwrap().digest());
            let text = serde_json::to_vec(&map).unwrap();
            let from_json: Struct = serde_json::from_slice(&text).unwrap();
            prop_assert_eq!(wire.digest(), owned_context(&from_json).unwrap().digest());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(view) = StructView::decode_view(&bytes) {
                let _ = context(&view);
            }
        }
    }

    #[test]
    fn whole_numbers_are_integers() {
        let map = json!({"user": 42.0, "ratio": 0.5});
        let bytes = object(map.as_object().unwrap()).encode_to_bytes();
        let view = StructView::decode_view(&bytes).unwrap();
        let context = context(&view).unwrap();
        assert!(context.get("user") == Some(&Attribute::Integer(42)));
        assert!(context.get("ratio") == Some(&Attribute::Float(0.5)));
    }
}
