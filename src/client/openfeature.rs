//! The client as a provider of the OpenFeature SDK for Rust (crate `open-feature`, cargo feature `openfeature`).
//!
//! The SDK has no events: whether flags are stale is the provider's status, and [`Client::events`] says the rest.

use std::borrow::Cow;

use open_feature::provider::{FeatureProvider, ProviderMetadata, ProviderStatus, ResolutionDetails};
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationError, EvaluationErrorCode, EvaluationReason,
    EvaluationResult, FlagMetadata, FlagMetadataValue, StructValue, Value as SdkValue, async_trait,
};
use serde_json::{Map, Value};

use super::Client;
use super::evaluation::{Details, FlagValue};
use super::state::Source;
use crate::eval::context::{Attribute, Context, TARGETING_KEY};
use crate::eval::outcome::{ErrorCode, Reason};

/// A provider that answers from a client.
#[derive(Debug, Clone)]
pub struct RampartProvider {
    client: Client,
    metadata: ProviderMetadata,
}

impl RampartProvider {
    /// A provider of a client, which stays usable beside it.
    pub fn new(client: Client) -> Self {
        Self { client, metadata: ProviderMetadata::new("rampart") }
    }

    /// The client that answers.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks for a value of type `T`. A flag that says "use the code default" is an error here, since the SDK keeps the
    /// default to itself and takes it where there is one; the reason is in the message.
    fn resolve<T: FlagValue + Default>(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<T>> {
        let context = context_of(context)?;
        let Details { value, variant, reason, error, metadata } = self.client.evaluate(key, &context, T::default());
        if let Some(code) = error {
            return Err(fault(code_of(code), &format!("the flag {key:?}: {code}")));
        }
        if variant.is_none() {
            let what = format!("the flag {key:?} serves no value ({reason}): the code default counts");
            return Err(fault(EvaluationErrorCode::General(reason.as_str().to_owned()), &what));
        }
        Ok(ResolutionDetails {
            value,
            variant,
            reason: Some(reason_of(reason)),
            flag_metadata: Some(metadata_of(metadata)),
        })
    }
}

#[async_trait]
impl FeatureProvider for RampartProvider {
    fn status(&self) -> ProviderStatus {
        let status = self.client.status();
        match (status.source, status.stale) {
            (Source::Nothing, _) => ProviderStatus::NotReady,
            (_, true) => ProviderStatus::STALE,
            (_, false) => ProviderStatus::Ready,
        }
    }

    fn metadata(&self) -> &ProviderMetadata {
        &self.metadata
    }

    async fn resolve_bool_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<bool>> {
        self.resolve(flag_key, context)
    }

    async fn resolve_int_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<i64>> {
        self.resolve(flag_key, context)
    }

    async fn resolve_float_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<f64>> {
        self.resolve(flag_key, context)
    }

    async fn resolve_string_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<String>> {
        self.resolve(flag_key, context)
    }

    async fn resolve_struct_value(
        &self,
        flag_key: &str,
        context: &EvaluationContext,
    ) -> EvaluationResult<ResolutionDetails<StructValue>> {
        let answer: ResolutionDetails<Map<String, Value>> = self.resolve(flag_key, context)?;
        Ok(ResolutionDetails {
            value: struct_of(&answer.value),
            variant: answer.variant,
            reason: answer.reason,
            flag_metadata: answer.flag_metadata,
        })
    }
}

fn fault(code: EvaluationErrorCode, message: &str) -> EvaluationError {
    EvaluationError { code, message: Some(message.to_owned()) }
}

/// The SDK's context as ours. Nothing of it stands in an error.
fn context_of(context: &EvaluationContext) -> EvaluationResult<Context<'_>> {
    let key = context.targeting_key.as_deref();
    let mut attributes = Vec::with_capacity(context.custom_fields.len() + 1);
    if let Some(key) = key {
        attributes.push((Cow::Borrowed(TARGETING_KEY), Attribute::String(Cow::Borrowed(key))));
    }
    // The targeting key proper goes before a field of its name.
    let fields = context.custom_fields.iter().filter(|(name, _)| key.is_none() || name.as_str() != TARGETING_KEY);
    for (name, value) in fields {
        let attribute = attribute_of(value).ok_or_else(|| {
            fault(EvaluationErrorCode::InvalidContext, "a struct in the context is neither a StructValue nor JSON")
        })?;
        attributes.push((Cow::Borrowed(name.as_str()), attribute));
    }
    Context::new(attributes).map_err(|error| fault(EvaluationErrorCode::InvalidContext, &error.to_string()))
}

fn attribute_of(value: &EvaluationContextFieldValue) -> Option<Attribute<'_>> {
    Some(match value {
        EvaluationContextFieldValue::Bool(value) => Attribute::Bool(*value),
        EvaluationContextFieldValue::Int(value) => Attribute::Integer(*value),
        EvaluationContextFieldValue::Float(value) => Attribute::from_double(*value),
        EvaluationContextFieldValue::String(text) => Attribute::String(Cow::Borrowed(text)),
        EvaluationContextFieldValue::DateTime(moment) => {
            // RFC 3339, which is what rules compare times by.
            let moment = jiff::Timestamp::from_nanosecond(moment.unix_timestamp_nanos()).ok()?;
            Attribute::String(Cow::Owned(moment.to_string()))
        }
        EvaluationContextFieldValue::Struct(any) => {
            if let Some(inner) = any.downcast_ref::<StructValue>() {
                attribute_of_struct(inner)
            } else if let Some(json) = any.downcast_ref::<Value>() {
                attribute_of_json(json)
            } else {
                let map = any.downcast_ref::<Map<String, Value>>()?;
                Attribute::Object(map.iter().map(|(name, value)| (name.into(), attribute_of_json(value))).collect())
            }
        }
    })
}

fn attribute_of_struct(value: &StructValue) -> Attribute<'_> {
    Attribute::Object(value.fields.iter().map(|(name, value)| (name.into(), attribute_of_value(value))).collect())
}

fn attribute_of_value(value: &SdkValue) -> Attribute<'_> {
    match value {
        SdkValue::Bool(value) => Attribute::Bool(*value),
        SdkValue::Int(value) => Attribute::Integer(*value),
        SdkValue::Float(value) => Attribute::from_double(*value),
        SdkValue::String(text) => Attribute::String(Cow::Borrowed(text)),
        SdkValue::Array(elements) => Attribute::List(elements.iter().map(attribute_of_value).collect()),
        SdkValue::Struct(inner) => attribute_of_struct(inner),
    }
}

fn attribute_of_json(value: &Value) -> Attribute<'_> {
    match value {
        Value::Null => Attribute::Null,
        Value::Bool(value) => Attribute::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Attribute::Integer(whole),
            (None, Some(whole)) => Attribute::Unsigned(whole),
            (None, None) => number.as_f64().map_or(Attribute::Null, Attribute::Float),
        },
        Value::String(text) => Attribute::String(Cow::Borrowed(text)),
        Value::Array(elements) => Attribute::List(elements.iter().map(attribute_of_json).collect()),
        Value::Object(map) => {
            Attribute::Object(map.iter().map(|(name, value)| (name.into(), attribute_of_json(value))).collect())
        }
    }
}

fn code_of(code: ErrorCode) -> EvaluationErrorCode {
    match code {
        ErrorCode::FlagNotFound => EvaluationErrorCode::FlagNotFound,
        ErrorCode::ParseError => EvaluationErrorCode::ParseError,
        ErrorCode::TypeMismatch => EvaluationErrorCode::TypeMismatch,
        ErrorCode::TargetingKeyMissing => EvaluationErrorCode::TargetingKeyMissing,
        ErrorCode::InvalidContext => EvaluationErrorCode::InvalidContext,
        ErrorCode::ProviderNotReady => EvaluationErrorCode::ProviderNotReady,
        ErrorCode::General => EvaluationErrorCode::General(code.as_str().to_owned()),
    }
}

fn reason_of(reason: Reason) -> EvaluationReason {
    match reason {
        Reason::Static => EvaluationReason::Static,
        Reason::Default => EvaluationReason::Default,
        Reason::TargetingMatch => EvaluationReason::TargetingMatch,
        Reason::Split => EvaluationReason::Split,
        Reason::Disabled => EvaluationReason::Disabled,
        Reason::Error => EvaluationReason::Error,
    }
}

/// The SDK's metadata holds no lists and objects: those are left out.
fn metadata_of(metadata: impl IntoIterator<Item = (String, Value)>) -> FlagMetadata {
    let plain = |value: Value| match value {
        Value::Bool(value) => Some(FlagMetadataValue::Bool(value)),
        Value::String(text) => Some(FlagMetadataValue::String(text)),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => Some(FlagMetadataValue::Int(whole)),
            None => number.as_f64().map(FlagMetadataValue::Float),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let values = metadata.into_iter().filter_map(|(name, value)| Some((name, plain(value)?)));
    FlagMetadata { values: values.collect() }
}

fn struct_of(map: &Map<String, Value>) -> StructValue {
    StructValue { fields: map.iter().filter_map(|(name, value)| Some((name.clone(), value_of(value)?))).collect() }
}

/// The SDK has no null: it is left out, as a missing field is.
fn value_of(value: &Value) -> Option<SdkValue> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => SdkValue::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => SdkValue::Int(whole),
            None => SdkValue::Float(number.as_f64()?),
        },
        Value::String(text) => SdkValue::String(text.clone()),
        Value::Array(elements) => SdkValue::Array(elements.iter().filter_map(value_of).collect()),
        Value::Object(map) => SdkValue::Struct(struct_of(map)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_sdks_context_becomes_ours_whole() {
        let mut inner = StructValue::default();
        inner.fields.insert("n".to_owned(), SdkValue::Float(2.0));
        let context = EvaluationContext::default()
            .with_targeting_key("user-1")
            .with_custom_field("age", 42)
            .with_custom_field("targetingKey", "not this one")
            .with_custom_field("inner", EvaluationContextFieldValue::new_struct(inner))
            .with_custom_field("json", EvaluationContextFieldValue::new_struct(json!([1, null, "x"])));
        let ours = context_of(&context).unwrap();
        let wanted = br#"{"targetingKey":"user-1","age":42,"inner":{"n":2},"json":[1,null,"x"]}"#;
        assert_eq!(ours.digest(), Context::from_json(wanted).unwrap().digest());
    }

    #[test]
    fn what_the_sdk_cannot_carry_is_refused_without_repeating_it() {
        let secret = EvaluationContextFieldValue::new_struct(String::from("secret-value"));
        let fault = context_of(&EvaluationContext::default().with_custom_field("secret-name", secret)).unwrap_err();
        assert_eq!(fault.code, EvaluationErrorCode::InvalidContext);
        assert!(!format!("{fault:?}").contains("secret-"));
    }

    #[test]
    fn values_keep_their_types() {
        let Value::Object(map) = json!({"a": 1, "b": 1.5, "c": [true, null], "d": {"e": "x"}, "f": null}) else {
            panic!("an object")
        };
        let value = struct_of(&map);
        assert_eq!(value.fields.len(), 4, "null is no field");
        assert_eq!((&value.fields["a"], &value.fields["b"]), (&SdkValue::Int(1), &SdkValue::Float(1.5)));
        assert_eq!(value.fields["c"], SdkValue::Array(vec![SdkValue::Bool(true)]));
    }
}
