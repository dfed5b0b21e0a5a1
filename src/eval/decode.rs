//! A context out of JSON, or out of any other serde format, without copying its texts.
//!
//! Counts while it reads, so that a hostile body is refused before it has cost much. What serde's own errors would
//! say about an unexpected value is replaced here, since they print the value.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::context::{Attribute, Budget, Context, ContextFault, sort_names};

/// Room for the attributes of an ordinary request, taken at once.
const USUAL_ATTRIBUTES: usize = 8;

impl<'a> Context<'a> {
    /// Reads a JSON object. Texts without escapes are borrowed from `json`.
    ///
    /// # Errors
    /// What is wrong, without any of the content.
    pub fn from_json(json: &'a [u8]) -> Result<Self, ContextFault> {
        let mut fault = None;
        let mut reader = serde_json::Deserializer::from_slice(json);
        let read = ContextSeed { fault: &mut fault }.deserialize(&mut reader);
        match read.and_then(|context| reader.end().map(|()| context)) {
            Ok(context) => Ok(context),
            Err(error) => Err(fault.unwrap_or(ContextFault::NotJson { line: error.line(), column: error.column() })),
        }
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for Context<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ContextSeed { fault: &mut None }.deserialize(deserializer)
    }
}

/// Reads a whole context; tells its fault beside the format's own error.
struct ContextSeed<'f> {
    fault: &'f mut Option<ContextFault>,
}

/// Reads one value `depth` levels deep.
struct AttributeSeed<'f> {
    fault: &'f mut Option<ContextFault>,
    budget: &'f mut Budget,
    depth: usize,
}

/// Reads a name, borrowed where the format can.
struct NameSeed;

fn refuse<E: Error>(place: &mut Option<ContextFault>, fault: ContextFault) -> E {
    *place = Some(fault);
    E::custom(fault)
}

impl<'de> DeserializeSeed<'de> for ContextSeed<'_> {
    type Value = Context<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Context<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Anything but an object, refused without serde's "invalid type: string \"…\"".
macro_rules! not_an_object {
    ($($visit:ident: $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<Self::Value, E> {
            Err(refuse(self.fault, ContextFault::NotAnObject))
        })*
    };
}

impl<'de> Visitor<'de> for ContextSeed<'_> {
    type Value = Context<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of attributes")
    }

    not_an_object!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str, visit_bytes: &[u8]);

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Err(refuse(self.fault, ContextFault::NotAnObject))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(refuse(self.fault, ContextFault::NotAnObject))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut budget = Budget::default();
        let mut attributes = Vec::with_capacity(USUAL_ATTRIBUTES);
        while let Some(name) = map.next_key_seed(NameSeed)? {
            let seed = AttributeSeed { fault: &mut *self.fault, budget: &mut budget, depth: 1 };
            attributes.push((name, map.next_value_seed(seed)?));
        }
        Context::from_checked(attributes).map_err(|fault| refuse(self.fault, fault))
    }
}

impl<'de> DeserializeSeed<'de> for AttributeSeed<'_> {
    type Value = Attribute<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Attribute<'de>, D::Error> {
        self.budget.pay(self.depth).map_err(|fault| refuse(self.fault, fault))?;
        deserializer.deserialize_any(self)
    }
}

impl AttributeSeed<'_> {
    fn inner(&mut self) -> AttributeSeed<'_> {
        AttributeSeed { fault: &mut *self.fault, budget: &mut *self.budget, depth: self.depth + 1 }
    }
}

impl<'de> Visitor<'de> for AttributeSeed<'_> {
    type Value = Attribute<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Attribute::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Attribute::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Attribute::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Attribute::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Attribute::Unsigned(value), Attribute::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(if value.is_finite() { Attribute::Float(value) } else { Attribute::Null })
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Attribute::String(Cow::Owned(text.to_owned())))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Attribute::String(Cow::Borrowed(text)))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Attribute::String(Cow::Owned(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(self.inner())? {
            elements.push(element);
        }
        Ok(Attribute::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut attributes = Vec::new();
        while let Some(name) = map.next_key_seed(NameSeed)? {
            attributes.push((name, map.next_value_seed(self.inner())?));
        }
        sort_names(&mut attributes).map_err(|fault| refuse(self.fault, fault))?;
        Ok(Attribute::Object(attributes))
    }
}

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameSeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an attribute's name")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::limits::{CONTEXT_ATTRIBUTES_MAX, CONTEXT_NESTING_MAX};

    #[test]
    fn texts_without_escapes_are_borrowed_and_numbers_keep_their_form() {
        let context = Context::from_json(br#"{"a":"plain","b":"es\"caped","c":-1,"d":18446744073709551615,"e":1.0}"#);
        let context = context.unwrap();
        assert!(matches!(context.get("a"), Some(Attribute::String(Cow::Borrowed("plain")))));
        assert!(matches!(context.get("b"), Some(Attribute::String(Cow::Owned(text))) if text == "es\"caped"));
        assert_eq!(context.get("c"), Some(&Attribute::Integer(-1)));
        assert_eq!(context.get("d"), Some(&Attribute::Unsigned(u64::MAX)));
        assert_eq!(context.get("e"), Some(&Attribute::Float(1.0)));
    }

    #[test]
    fn every_kind_of_bad_input_has_its_own_fault() {
        let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
        let many = format!("{{\"a\":[{}1]}}", "1,".repeat(CONTEXT_ATTRIBUTES_MAX));
        for (json, fault) in [
            ("[]", ContextFault::NotAnObject),
            ("null", ContextFault::NotAnObject),
            ("\"secret\"", ContextFault::NotAnObject),
            ("7", ContextFault::NotAnObject),
            (r#"{"a":1,"a":2}"#, ContextFault::DuplicateAttribute),
            (r#"{"o":{"a":1,"\u0061":2}}"#, ContextFault::DuplicateAttribute),
            (&many, ContextFault::TooManyAttributes),
            (&deep(CONTEXT_NESTING_MAX), ContextFault::TooDeep),
            (&deep(100_000), ContextFault::TooDeep),
        ] {
            assert_eq!(Context::from_json(json.as_bytes()).unwrap_err(), fault);
        }
        assert!(Context::from_json(deep(CONTEXT_NESTING_MAX - 1).as_bytes()).is_ok());
        for json in [&b"{"[..], b"", b"{\"a\":1} x", b"{\"a\":\xff}", b"{\"a\":\"\xff\"}", b"{\"a\":1e400}"] {
            assert!(matches!(Context::from_json(json), Err(ContextFault::NotJson { .. })));
        }
    }

    #[derive(Debug, serde::Deserialize)]
    struct Request<'a> {
        #[serde(borrow)]
        context: Context<'a>,
    }

    #[test]
    fn a_wire_type_can_borrow_a_context_and_errors_keep_the_content_to_themselves() {
        let request: Request<'_> = serde_json::from_str(r#"{"context":{"targetingKey":"u1"}}"#).unwrap();
        assert_eq!(request.context.targeting_key(), Some("u1"));
        for json in [r#"{"context":"secret"}"#, r#"{"context":{"secret":1,"secret":2}}"#, r#"{"context":{"a":"secret}"#]
        {
            let error = serde_json::from_str::<Request<'_>>(json).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
