//! What is asked: the flag's key and the context, from either codec.
//!
//! The five typed requests of both versions are one message under ten names, so one type reads them all. What cannot be
//! read is said without its content: contexts hold personal data.

use std::borrow::Cow;

use buffa::{DecodeOptions, Inline, MessageField, MessageFieldView};
use buffa_types::google::protobuf::{Struct, StructView};
use connectrpc::{CodecFormat, ConnectError};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::collections::BTreeMap;

use super::method::Call;
use crate::eval::context::{Context, ContextFault};
use crate::proto::flagd_wire::flagd::evaluation::{v1, v2};
use crate::serve::flagd::structs;

/// A request that was read.
pub struct Question<'b> {
    /// The flag's key; empty where all are asked for.
    pub key: Cow<'b, str>,
    held: Held<'b>,
}

/// The context as its codec gave it.
enum Held<'b> {
    View(MessageFieldView<StructView<'b>>),
    Owned(MessageField<Struct, Inline<Struct>>),
}

impl<'b> Question<'b> {
    /// Reads the request of a call.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn read(
        call: Call,
        body: &'b [u8],
        format: CodecFormat,
        options: &DecodeOptions,
    ) -> Result<Self, ConnectError> {
        let all = call == Call::ResolveAll;
        Ok(match (format, all) {
            (CodecFormat::Json, false) => {
                let v2::ResolveBooleanRequest { flag_key, context, .. } = json(body)?;
                Self { key: Cow::Owned(flag_key), held: Held::Owned(context) }
            }
            (CodecFormat::Json, true) => {
                let v1::ResolveAllRequest { context, .. } = json(body)?;
                Self { key: Cow::Borrowed(""), held: Held::Owned(context) }
            }
            (_, false) => {
                let request: v2::ResolveBooleanRequestView<'b> = options.decode_view(body).map_err(|_| malformed())?;
                Self { key: Cow::Borrowed(request.flag_key), held: Held::View(request.context) }
            }
            (_, true) => {
                let request: v1::ResolveAllRequestView<'b> = options.decode_view(body).map_err(|_| malformed())?;
                Self { key: Cow::Borrowed(""), held: Held::View(request.context) }
            }
        })
    }

    /// The caller's context; empty where it sent none.
    ///
    /// # Errors
    /// A limit that is exceeded, or a name that occurs twice.
    pub fn context(&self) -> Result<Context<'_>, ContextFault> {
        match &self.held {
            Held::View(view) => view.as_option().map_or_else(|| Ok(Context::empty()), structs::context),
            Held::Owned(owned) => owned.as_option().map_or_else(|| Ok(Context::empty()), structs::owned_context),
        }
    }
}

/// Reads a request that says nothing: that of an event stream.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn read_empty(body: &[u8], format: CodecFormat, options: &DecodeOptions) -> Result<(), ConnectError> {
    match format {
        CodecFormat::Json => json::<BTreeMap<String, IgnoredAny>>(body).map(drop),
        _ => options.decode_view::<v2::EventStreamRequestView<'_>>(body).map(drop).map_err(|_| malformed()),
    }
}

fn malformed() -> ConnectError {
    ConnectError::invalid_argument("the message is not the protobuf of this request")
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ConnectError> {
    if body.is_empty() {
        return Err(ConnectError::invalid_argument("zero-length payload is not a valid JSON object"));
    }
    // Generated code would read a list as the fields in their order.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ConnectError::invalid_argument("the message is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let message = format!("the message is not the JSON of this request (line {line}, column {column})");
        ConnectError::invalid_argument(message)
    })
}

#[cfg(test)]
mod tests {
    use super::super::method::Wanted;
    use super::*;
    use proptest::prelude::*;

    const ONE: Call = Call::Resolve(Wanted::Int);

    #[test]
    fn both_spellings_of_a_name_are_read() {
        for body in [r#"{"flagKey":"f","context":{"a":1},"more":[]}"#, r#"{"flag_key":"f","context":{"a":1}}"#] {
            let question = Question::read(ONE, body.as_bytes(), CodecFormat::Json, &DecodeOptions::new()).ok().unwrap();
            assert_eq!((question.key.as_ref(), question.context().unwrap().len()), ("f", 1));
        }
    }

    #[test]
    fn a_fault_does_not_repeat_the_content() {
        for body in [r#"{"context":"secret"}"#, r#"{"context":{"a":secret}}"#, r#"{"secret"#, r#"["secret"]"#, ""] {
            let fault = Question::read(ONE, body.as_bytes(), CodecFormat::Json, &DecodeOptions::new()).err().unwrap();
            assert!(!fault.to_string().contains("secret"), "{fault}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200), json: bool, all: bool) {
            let format = if json { CodecFormat::Json } else { CodecFormat::Proto };
            let call = if all { Call::ResolveAll } else { ONE };
            if let Ok(question) = Question::read(call, &body, format, &DecodeOptions::new()) {
                let _ = question.context();
            }
            let _ = read_empty(&body, format, &DecodeOptions::new());
        }
    }
}
