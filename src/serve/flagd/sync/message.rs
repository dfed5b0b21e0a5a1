//! The messages of `flagd.sync.v1` around a payload that is shared.
//!
//! A message is the payload's bytes with a few before and behind, so it is put together from pieces that nobody
//! copies. The operator's context is always there, also when it is empty: one client stops without it.

use std::collections::BTreeMap;

use buffa::{DecodeOptions, Message as _, MessageField};
use buffa_types::google::protobuf::__buffa::oneof::value::Kind;
use buffa_types::google::protobuf::{Struct, Value};
use connectrpc::{CodecFormat, ConnectError, EncodedBody};
use hyper::body::Bytes;
use serde_json::json;

use super::payload::Payload;
use crate::proto::flagd_wire::flagd::sync::v1::{GetMetadataResponse, SyncFlagsRequest, SyncFlagsResponse};
use crate::serve::door::Enrichment;

/// Which message carries a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// `FetchAllFlagsResponse`.
    Fetched,
    /// `SyncFlagsResponse`, which has the operator's context too.
    Streamed,
}

/// What the operator adds to every context; clients add it by themselves.
#[derive(Debug)]
pub(super) struct SyncContext {
    texts: BTreeMap<String, String>,
    /// The field of `SyncFlagsResponse`.
    field: Bytes,
    metadata: GetMetadataResponse,
}

impl SyncContext {
    /// The fixed attributes.
    pub(super) fn of(enrichment: &Enrichment) -> Self {
        let texts: BTreeMap<String, String> = enrichment.fixed.iter().cloned().collect();
        let value = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())), ..Value::default() };
        let fields = texts.iter().map(|(name, text)| (name.clone(), value(text))).collect();
        let context = Struct { fields, ..Struct::default() };
        let message = SyncFlagsResponse { sync_context: MessageField::some(context.clone()), ..Default::default() };
        let metadata = GetMetadataResponse { metadata: MessageField::some(context), ..Default::default() };
        Self { texts, field: message.encode_to_bytes(), metadata }
    }

    /// `GetMetadataResponse`.
    pub(super) fn metadata(&self, format: CodecFormat) -> Result<EncodedBody, ConnectError> {
        let bytes = match format {
            CodecFormat::Json => json_bytes(&json!({"metadata": self.texts}))?,
            _ => self.metadata.encode_to_bytes(),
        };
        Ok(EncodedBody::from(bytes))
    }
}

/// The message around a payload.
///
/// # Errors
/// Never in practice: what is written is JSON.
pub(super) fn encode(
    answer: Answer,
    payload: &Payload,
    context: &SyncContext,
    format: CodecFormat,
) -> Result<EncodedBody, ConnectError> {
    if format == CodecFormat::Json {
        let text = std::str::from_utf8(&payload.body).map_err(|_| marshalling())?;
        let message = match answer {
            Answer::Fetched => json!({"flagConfiguration": text}),
            Answer::Streamed => json!({"flagConfiguration": text, "syncContext": context.texts}),
        };
        return Ok(EncodedBody::from(json_bytes(&message)?));
    }
    let mut pieces = vec![head(payload.body.len()), payload.body.clone()];
    if answer == Answer::Streamed {
        pieces.push(context.field.clone());
    }
    Ok(EncodedBody::from_segments(pieces))
}

/// The selector in a request; both requests that have one are alike.
///
/// # Errors
/// INVALID_ARGUMENT.
pub(super) fn selector(body: &[u8], format: CodecFormat, options: &DecodeOptions) -> Result<String, ConnectError> {
    let request: SyncFlagsRequest = match format {
        CodecFormat::Json if body.is_empty() => {
            return Err(ConnectError::invalid_argument("zero-length payload is not a valid JSON object"));
        }
        CodecFormat::Json => serde_json::from_slice(body)
            .map_err(|_| ConnectError::invalid_argument("the message is not the JSON of this request"))?,
        _ => options
            .decode_from_slice(body)
            .map_err(|_| ConnectError::invalid_argument("the message is not the protobuf of this request"))?,
    };
    Ok(request.selector)
}

/// Tag and length of a first field that has bytes.
fn head(length: usize) -> Bytes {
    const FIRST_FIELD: u8 = 1 << 3 | 2;
    let mut bytes = vec![FIRST_FIELD];
    let mut rest = length;
    while rest > 0x7f {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.into()
}

fn json_bytes(value: &serde_json::Value) -> Result<Bytes, ConnectError> {
    serde_json::to_vec(value).map(Bytes::from).map_err(|_| marshalling())
}

fn marshalling() -> ConnectError {
    ConnectError::data_loss("error marshalling flags")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::flagd_wire::flagd::sync::v1::FetchAllFlagsResponse;

    #[test]
    fn the_pieces_are_the_messages_whatever_the_length() {
        let enrichment = Enrichment { fixed: vec![("region".into(), "eu".into())], from_headers: Vec::new() };
        for enrichment in [Enrichment::default(), enrichment] {
            let context = SyncContext::of(&enrichment);
            for length in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
                let payload = Payload::new("x".repeat(length));
                let bytes = |answer| encode(answer, &payload, &context, CodecFormat::Proto).unwrap().into_contiguous();
                let fetched = FetchAllFlagsResponse::decode_from_slice(&bytes(Answer::Fetched)).unwrap();
                assert_eq!(fetched.flag_configuration.len(), length);
                let streamed = SyncFlagsResponse::decode_from_slice(&bytes(Answer::Streamed)).unwrap();
                assert_eq!(streamed.flag_configuration.len(), length);
                let sent = streamed.sync_context.as_option().expect("it is always there");
                assert_eq!(sent.fields.len(), enrichment.fixed.len());
            }
            let metadata = context.metadata(CodecFormat::Proto).unwrap().into_contiguous();
            let metadata = GetMetadataResponse::decode_from_slice(&metadata).unwrap();
            assert!(metadata.metadata.as_option().is_some());
        }
    }
}
