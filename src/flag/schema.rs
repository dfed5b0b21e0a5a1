//! The JSON Schema of flag files, for editors: completion, descriptions, most mistakes underlined while typing.
//!
//! Generated from the tables in `words`, which the parser reads by, too. Draft 07, since that is what YAML editors
//! know. A schema cannot say everything (names that must exist, sums of percentages, patterns that must compile): what
//! it accepts, `parse` may still refuse, and what `parse` takes without a warning, it accepts.

use serde_json::{Map, Value, json};

use super::definition::Hash;
use super::limits::{
    KEY_BYTES_MAX, LIST_VALUES_MAX, REGEX_BYTES_MAX, REQUIRES_MAX, RULES_MAX, TAGS_MAX, TEXT_BYTES_MAX, VARIANTS_MAX,
};
use super::words::{CONDITION, DOCUMENT, FLAG, FLAG_KEY, OPERATORS, Operand, REQUIREMENT, RULE, Shape, Word};

/// The schema of a whole document.
pub fn schema() -> Value {
    let mut schema = object(DOCUMENT, &["flags"]);
    set(&mut schema, "$schema", json!("http://json-schema.org/draft-07/schema#"));
    set(&mut schema, "title", json!("Rampart flag file"));
    set(&mut schema, "description", json!("Feature flags for Rampart; every flagd definition file is one, too."));
    let definitions = json!({
        "flag": flag(FLAG, &["variants"]),
        "listedFlag": flag(&[FLAG, &[FLAG_KEY]].concat(), &["key", "variants"]),
        "rule": closed(object(RULE, &["when", "serve"])),
        "requirement": closed(object(REQUIREMENT, &["flag", "variant"])),
        "condition": condition(),
        "test": {"anyOf": [scalar(), closed(operators())]},
        "attribute": literal_attribute(),
        "serve": serve(),
    });
    set(&mut schema, "definitions", definitions);
    schema
}

/// A map of these words.
fn object(words: &[Word], required: &[&str]) -> Value {
    let mut properties = Map::new();
    for word in words {
        let mut schema = shape(word.shape);
        set(&mut schema, "description", json!(word.doc));
        properties.insert(word.name.to_owned(), schema);
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// The same without room for other keys.
fn closed(mut schema: Value) -> Value {
    set(&mut schema, "additionalProperties", json!(false));
    schema
}

/// A flag: other keys are refused as soon as one is used that only Rampart knows.
fn flag(words: &[Word], required: &[&str]) -> Value {
    let mut schema = object(words, required);
    let native = words.iter().filter(|word| word.native).map(|word| json!({"required": [word.name]}));
    let names: Vec<&str> = words.iter().map(|word| word.name).collect();
    set(&mut schema, "if", json!({"anyOf": native.collect::<Vec<_>>()}));
    set(&mut schema, "then", json!({"propertyNames": {"enum": names}}));
    let beside = |name: &str| json!({"not": {"required": ["targeting", name]}});
    set(&mut schema, "allOf", json!([beside("rules"), beside("serve")]));
    schema
}

fn shape(shape: Shape) -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    match shape {
        Shape::Text => json!({"type": "string", "maxLength": TEXT_BYTES_MAX}),
        Shape::Name | Shape::Variant => name(),
        Shape::VariantOrNothing => json!({"type": ["string", "null"], "maxLength": KEY_BYTES_MAX}),
        Shape::Environment => json!({"type": "string", "pattern": "^[a-z0-9._-]{1,64}$"}),
        Shape::State => json!({"enum": ["ENABLED", "DISABLED"]}),
        Shape::Variants => variants(),
        Shape::Texts => {
            json!({"type": "array", "maxItems": TAGS_MAX, "items": {"type": "string", "minLength": 1, "maxLength": TEXT_BYTES_MAX}})
        }
        Shape::Day => json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
        Shape::Requirements => json!({"type": "array", "maxItems": REQUIRES_MAX, "items": reference("requirement")}),
        Shape::Rules => json!({"type": "array", "maxItems": RULES_MAX, "items": reference("rule")}),
        Shape::Serve => wrapped("serve"),
        Shape::Attribute => json!({"type": "string", "pattern": "^[^.]+(\\.[^.]+)*$"}),
        Shape::Hash => json!({"enum": Hash::ALL.map(|(word, _)| word)}),
        Shape::Targeting | Shape::Anything => json!({}),
        Shape::Metadata => json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}),
        Shape::Condition => wrapped("condition"),
        Shape::Segments => json!({"type": "object", "additionalProperties": reference("condition")}),
        Shape::Flags => json!({"anyOf": [
            {"type": "object", "additionalProperties": reference("flag")},
            {"type": "array", "items": reference("listedFlag")},
        ]}),
    }
}

/// A reference that may have a description beside it: in draft 07, what stands beside `$ref` is ignored.
fn wrapped(name: &str) -> Value {
    json!({"allOf": [{"$ref": format!("#/definitions/{name}")}]})
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX})
}

fn scalar() -> Value {
    json!({"type": ["string", "number", "boolean"]})
}

/// All of one type.
fn variants() -> Value {
    let kinds = ["boolean", "string", "number", "object"];
    let one_kind = kinds.map(|kind| json!({"additionalProperties": {"type": kind}}));
    json!({
        "type": "object",
        "minProperties": 1,
        "maxProperties": VARIANTS_MAX,
        "propertyNames": {"minLength": 1},
        "anyOf": one_kind,
    })
}

fn serve() -> Value {
    let percentage = json!({"anyOf": [
        {"type": "number", "minimum": 0, "maximum": 100},
        {"type": "string", "pattern": "^\\s*-?[0-9]+(\\.[0-9]+)?\\s*%\\s*$"},
    ]});
    json!({"anyOf": [name(), {"type": "object", "minProperties": 1, "additionalProperties": percentage}]})
}

fn condition() -> Value {
    let mut properties = Map::new();
    for (word, doc) in CONDITION {
        let condition = json!({"$ref": "#/definitions/condition"});
        let mut schema = match word {
            "all" | "any" => json!({"type": "array", "items": condition}),
            "not" => wrapped("condition"),
            "attr" => wrapped("attribute"),
            _ => name(),
        };
        set(&mut schema, "description", json!(doc));
        properties.insert(word.to_owned(), schema);
    }
    json!({"type": "object", "properties": properties, "additionalProperties": {"$ref": "#/definitions/test"}})
}

/// One or more operators.
fn operators() -> Value {
    let mut properties = Map::new();
    for (word, takes, doc) in OPERATORS {
        let mut schema = operand(takes);
        set(&mut schema, "description", json!(doc));
        properties.insert(word.to_owned(), schema);
    }
    json!({"type": "object", "minProperties": 1, "properties": properties})
}

/// Operators with the attribute's name beside them.
fn literal_attribute() -> Value {
    let mut schema = operators();
    if let Some(properties) = schema.get_mut("properties") {
        set(properties, "name", json!({"type": "string", "minLength": 1}));
    }
    set(&mut schema, "required", json!(["name"]));
    set(&mut schema, "minProperties", json!(2));
    closed(schema)
}

fn operand(operand: Operand) -> Value {
    let text = json!({"type": "string"});
    match operand {
        Operand::Scalar => scalar(),
        Operand::Scalars => json!({"type": "array", "maxItems": LIST_VALUES_MAX, "items": scalar()}),
        Operand::Strings => json!({"anyOf": [text, {"type": "array", "maxItems": LIST_VALUES_MAX, "items": text}]}),
        Operand::Pattern => json!({"type": "string", "maxLength": REGEX_BYTES_MAX}),
        Operand::Number => json!({"type": "number"}),
        Operand::Version => json!({"type": "string", "pattern": "^[0-9]+\\.[0-9]+\\.[0-9]+([-+].+)?$"}),
        Operand::Time => json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]"}),
        Operand::Bool => json!({"type": "boolean"}),
    }
}

fn set(schema: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = schema {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::generate::{definitions, segments};
    use crate::flag::parse::{Format, parse_document};
    use crate::flag::print::{definition_to_json, segment_to_json};
    use proptest::prelude::*;
    use regex::Regex;

    /// Enough of JSON Schema for the words that the schema above uses; any other word fails the test.
    fn accepts(root: &Value, schema: &Value, value: &Value) -> bool {
        let Value::Object(words) = schema else { return schema != &Value::Bool(false) };
        if let Some(reference) = words.get("$ref").and_then(Value::as_str) {
            let target = root.pointer(reference.trim_start_matches('#')).expect("the reference leads somewhere");
            return accepts(root, target, value);
        }
        let any = |list: &Value| list.as_array().expect("a list").iter().any(|schema| accepts(root, schema, value));
        let all = |list: &Value| list.as_array().expect("a list").iter().all(|schema| accepts(root, schema, value));
        words.iter().all(|(word, wanted)| match word.as_str() {
            "$schema" | "title" | "description" | "definitions" | "properties" | "then" => true,
            "type" => has_type(wanted, value),
            "enum" => wanted.as_array().expect("a list").contains(value),
            "anyOf" => any(wanted),
            "allOf" => all(wanted),
            "not" => !accepts(root, wanted, value),
            "if" => !accepts(root, wanted, value) || accepts(root, &words["then"], value),
            "required" => value.as_object().is_none_or(|map| {
                wanted.as_array().expect("a list").iter().all(|key| map.contains_key(key.as_str().expect("a key")))
            }),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| accepts(root, wanted, item))),
            "propertyNames" => {
                value.as_object().is_none_or(|map| map.keys().all(|key| accepts(root, wanted, &json!(key))))
            }
            "pattern" => value.as_str().is_none_or(|text| pattern(wanted).is_match(text)),
            "minLength" => value.as_str().is_none_or(|text| json!(text.chars().count()).as_u64() >= wanted.as_u64()),
            "maxLength" => value.as_str().is_none_or(|text| json!(text.chars().count()).as_u64() <= wanted.as_u64()),
            "minProperties" => value.as_object().is_none_or(|map| json!(map.len()).as_u64() >= wanted.as_u64()),
            "maxProperties" => value.as_object().is_none_or(|map| json!(map.len()).as_u64() <= wanted.as_u64()),
            "maxItems" => value.as_array().is_none_or(|items| json!(items.len()).as_u64() <= wanted.as_u64()),
            "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().expect("a number")),
            "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().expect("a number")),
            "additionalProperties" => value.as_object().is_none_or(|map| {
                let known = |key: &str| words.get("properties").is_some_and(|known| known.get(key).is_some());
                map.iter().all(|(key, value)| known(key) || accepts(root, wanted, value))
            }),
            other => unreachable!("the validator does not know `{other}`"),
        }) && words.get("properties").is_none_or(|properties| {
            let properties = properties.as_object().expect("a map");
            properties.iter().all(|(key, schema)| value.get(key).is_none_or(|value| accepts(root, schema, value)))
        })
    }

    fn pattern(wanted: &Value) -> Regex {
        Regex::new(wanted.as_str().expect("a pattern")).expect("a valid pattern")
    }

    fn has_type(wanted: &Value, value: &Value) -> bool {
        let is = |kind: &str| match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => unreachable!("unknown type {other}"),
        };
        match wanted {
            Value::String(kind) => is(kind),
            kinds => kinds.as_array().expect("a list").iter().any(|kind| is(kind.as_str().expect("a type"))),
        }
    }

    fn agree(document: &Value) -> (bool, bool) {
        let schema = schema();
        let parsed = parse_document(document.to_string().as_bytes(), Format::Json, None);
        (accepts(&schema, &schema, document), parsed.is_good())
    }

    #[test]
    fn every_word_of_the_tables_is_in_the_schema() {
        let schema = schema();
        for (pointer, words) in [
            ("/properties", DOCUMENT),
            ("/definitions/flag/properties", FLAG),
            ("/definitions/rule/properties", RULE),
            ("/definitions/requirement/properties", REQUIREMENT),
        ] {
            let properties = schema.pointer(pointer).and_then(Value::as_object).expect("properties");
            assert_eq!(properties.len(), words.len(), "{pointer}");
            assert!(words.iter().all(|word| properties.contains_key(word.name)), "{pointer}");
        }
    }

    #[test]
    fn the_schema_and_the_parser_refuse_the_same_shapes() {
        for flag in [
            json!({"variants": {}}),
            json!({"variants": {"a": 1, "b": "x"}}),
            json!({"variants": {"a": null}}),
            json!({"state": "on", "variants": {"a": 1}}),
            json!({"variants": {"a": 1}, "serve": {"a": 101}}),
            json!({"variants": {"a": 1}, "serve": {"a": "5"}}),
            json!({"variants": {"a": 1}, "serve": "a", "targeting": {"if": []}}),
            json!({"variants": {"a": 1}, "serve": "a", "unknown": 1}),
            json!({"variants": {"a": 1}, "rules": [{"serve": "a"}]}),
            json!({"variants": {"a": 1}, "rules": [{"when": {"x": {"is_in": [1]}}, "serve": "a"}]}),
            json!({"variants": {"a": 1}, "rules": [{"when": {"x": {"in": 1}}, "serve": "a"}]}),
            json!({"variants": {"a": 1}, "rules": [{"when": {"any": {}}, "serve": "a"}]}),
            json!({"variants": {"a": 1}, "rules": [{"when": {"attr": {"eq": 1}}, "serve": "a"}]}),
            json!({"variants": {"a": 1}, "requires": [{"flag": "b"}]}),
            json!({"variants": {"a": 1}, "tags": "x"}),
            json!({"variants": {"a": 1}, "serve": "a", "hash": "md5"}),
        ] {
            assert_eq!(agree(&json!({"flags": {"f": flag}})), (false, false), "{flag}");
        }
        // What flagd tolerates.
        assert_eq!(agree(&json!({"flags": {"f": {"variants": {"a": 1}, "unknown": 1}}})), (true, true));
        assert_eq!(
            agree(&json!({"flags": [{"key": "f", "variants": {"a": 1}, "defaultVariant": null}]})),
            (true, true)
        );
    }

    proptest! {
        #[test]
        fn the_schema_accepts_every_valid_definition(definition in definitions(), segment in segments()) {
            let document = json!({
                "flags": {"f": definition_to_json(&definition)},
                "segments": {"s": segment_to_json(&segment)},
            });
            prop_assert_eq!(agree(&document), (true, true), "{}", document);
        }
    }
}
