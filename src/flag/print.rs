//! The canonical JSON of definitions: what the journal keeps, what the wire carries and what digests are made of.
//!
//! It is the file form with defaults left out (`state` is always there: flagd requires it), so that what is printed
//! can be read by `parse`, edited by a person, and yields the same definition again. Values are built as
//! `serde_json::Value`; bytes are written by [`to_canonical_bytes`], which sorts keys itself, whatever order the map
//! type keeps.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::definition::{
    Allocation, AttributePath, Condition, Definition, Hash, Operator, Rule, Scalar, Segment, Serve, ServeTo, State,
    Test,
};
use super::diagnostic::Diagnostic;
use super::parse::{allocation_from_json, definition_from_json, segment_from_json};
use super::words::CONDITION;

/// The canonical form of a flag.
pub fn definition_to_json(definition: &Definition) -> Value {
    Printer { redact: false }.definition(definition)
}

/// The canonical form of a segment: its condition map.
pub fn segment_to_json(segment: &Segment) -> Value {
    Value::Object(Printer { redact: false }.condition(&segment.when))
}

/// The canonical form of an allocation: variant → percentage.
pub fn allocation_to_json(allocation: &Allocation) -> Value {
    percentages(&allocation.percentages)
}

/// A flag for audit views and logs: lists of values, what is compared with `targetingKey`, and JSONLogic are replaced
/// by `{"redacted": how many}`, since they may name people. It does not read back.
pub fn definition_to_json_redacted(definition: &Definition) -> Value {
    Printer { redact: true }.definition(definition)
}

/// A segment for audit views and logs, as [`definition_to_json_redacted`] prints flags.
pub fn segment_to_json_redacted(segment: &Segment) -> Value {
    Value::Object(Printer { redact: true }.condition(&segment.when))
}

/// Writes JSON without spaces and with the keys of every map in byte order.
pub fn to_canonical_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(value, &mut bytes);
    bytes
}

fn write(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            into.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    into.push(b',');
                }
                write(item, into);
            }
            into.push(b']');
        }
        Value::Object(entries) => {
            let mut sorted: Vec<(&String, &Value)> = entries.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            into.push(b'{');
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    into.push(b',');
                }
                into.extend(Value::from(key.as_str()).to_string().into_bytes());
                into.push(b':');
                write(value, into);
            }
            into.push(b'}');
        }
        scalar => into.extend(scalar.to_string().into_bytes()),
    }
}

struct Printer {
    /// True where values that may name people are replaced.
    redact: bool,
}

impl Printer {
    fn definition(&self, flag: &Definition) -> Value {
        let mut map = Map::new();
        let state = match flag.state {
            State::Enabled => "ENABLED",
            State::Disabled => "DISABLED",
        };
        put(&mut map, "state", Some(json!(state)));
        put(&mut map, "description", flag.description.as_ref().map(|text| json!(text)));
        let variants = flag.variants.iter().map(|(name, value)| (name.as_str().to_owned(), value.clone()));
        put(&mut map, "variants", Some(Value::Object(variants.collect())));
        put(&mut map, "defaultVariant", flag.default_variant.as_ref().map(|name| json!(name)));
        put(&mut map, "safeVariant", flag.safe_variant.as_ref().map(|name| json!(name)));
        put(&mut map, "owner", flag.owner.as_ref().map(|text| json!(text)));
        put(&mut map, "tags", (!flag.tags.is_empty()).then(|| json!(flag.tags)));
        put(&mut map, "expires", flag.expires.as_ref().map(|text| json!(text)));
        let requires = || flag.requires.iter().map(|it| json!({"flag": it.flag, "variant": it.variant})).collect();
        put(&mut map, "requires", (!flag.requires.is_empty()).then(requires));
        let rules = || flag.rules.iter().map(|rule| self.rule(rule)).collect();
        put(&mut map, "rules", (!flag.rules.is_empty()).then(rules));
        if let Some(serve) = &flag.serve {
            put_serve(&mut map, serve);
        }
        put(&mut map, "targeting", flag.targeting.as_ref().map(|targeting| self.targeting(targeting)));
        put(&mut map, "source", flag.source.as_ref().map(|text| json!(text)));
        let metadata = || flag.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        put(&mut map, "metadata", (!flag.metadata.is_empty()).then(|| Value::Object(metadata())));
        Value::Object(map)
    }

    fn rule(&self, rule: &Rule) -> Value {
        let mut map = Map::new();
        put(&mut map, "name", rule.name.as_ref().map(|text| json!(text)));
        put(&mut map, "when", Some(Value::Object(self.condition(&rule.when))));
        put_serve(&mut map, &rule.serve);
        Value::Object(map)
    }

    fn targeting(&self, targeting: &Value) -> Value {
        if self.redact { json!({ "redacted": 1 }) } else { targeting.clone() }
    }

    /// A condition as a map that reads back as exactly this condition.
    fn condition(&self, condition: &Condition) -> Map<String, Value> {
        let list = |conditions: &[Condition]| {
            conditions.iter().map(|condition| Value::Object(self.condition(condition))).collect::<Value>()
        };
        let mut map = Map::new();
        match condition {
            Condition::All(conditions) if is_flat(conditions) => {
                for condition in conditions {
                    match condition {
                        Condition::Test(test) => self.test(&mut map, test),
                        // Its entries would mingle with its neighbours'.
                        Condition::All(conditions) => put(&mut map, "all", Some(list(conditions))),
                        other => map.extend(self.condition(other)),
                    }
                }
            }
            Condition::All(conditions) => put(&mut map, "all", Some(list(conditions))),
            Condition::Any(conditions) => put(&mut map, "any", Some(list(conditions))),
            Condition::Not(inner) => put(&mut map, "not", Some(Value::Object(self.condition(inner)))),
            Condition::Segment(name) => put(&mut map, "segment", Some(json!(name))),
            Condition::Test(test) => self.test(&mut map, test),
        }
        map
    }

    /// Adds a test, to what is asked of the same attribute already if there is something.
    fn test(&self, map: &mut Map<String, Value>, test: &Test) {
        let (word, operand) = (test.operator.word(), self.operand(test));
        let key = test_key(&test.attribute);
        if key != LITERAL && word == "eq" && !operand.is_object() && !map.contains_key(&key) {
            map.insert(key, operand);
            return;
        }
        let entry = map.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
        if !entry.is_object() {
            // An `eq` in its short form stands there.
            *entry = json!({ "eq": entry.take() });
        }
        if let Value::Object(operators) = entry {
            if key == LITERAL {
                operators.insert("name".to_owned(), json!(test.attribute.dotted()));
            }
            operators.insert(word.to_owned(), operand);
        }
    }

    fn operand(&self, test: &Test) -> Value {
        let personal = self.redact && test.attribute.dotted() == "targetingKey";
        match &test.operator {
            Operator::Equals(_) if personal => json!({ "redacted": 1 }),
            Operator::In(values) | Operator::NotIn(values) if self.redact => json!({ "redacted": values.len() }),
            Operator::StartsWith(values) | Operator::EndsWith(values)
                if self.redact && (personal || values.len() != 1) =>
            {
                json!({ "redacted": values.len() })
            }
            Operator::Contains(_) | Operator::Matches(_) if personal => json!({ "redacted": 1 }),
            Operator::Equals(value) | Operator::Contains(value) => scalar(value),
            Operator::In(values) | Operator::NotIn(values) => values.iter().map(scalar).collect(),
            Operator::StartsWith(values) | Operator::EndsWith(values) => match values.as_slice() {
                [value] => json!(value),
                values => json!(values),
            },
            Operator::Matches(text) | Operator::Semver(_, text) | Operator::Before(text) | Operator::After(text) => {
                json!(text)
            }
            Operator::Compare(_, number) => Value::Number(number.clone()),
            Operator::Exists(exists) => json!(exists),
        }
    }
}

/// The word under which attributes stand whose names cannot be keys.
const LITERAL: &str = "attr";

/// True where the conditions can be the entries of one map and read back in the same order: two or more, their keys
/// ascending, equal only for several operators of one attribute.
fn is_flat(conditions: &[Condition]) -> bool {
    let ascends = |pair: &[Condition]| {
        let keys = (key(&pair[0]), key(&pair[1]));
        match (&pair[0], &pair[1]) {
            (Condition::Test(left), Condition::Test(right)) if left.attribute == right.attribute => {
                left.operator.word() < right.operator.word()
            }
            _ => keys.0 < keys.1,
        }
    };
    conditions.len() != 1 && conditions.windows(2).all(ascends)
}

/// The key of a condition in a condition map.
fn key(condition: &Condition) -> String {
    match condition {
        Condition::All(_) => String::from("all"),
        Condition::Any(_) => String::from("any"),
        Condition::Not(_) => String::from("not"),
        Condition::Segment(_) => String::from("segment"),
        Condition::Test(test) => test_key(&test.attribute),
    }
}

fn test_key(attribute: &AttributePath) -> String {
    match attribute.parts() {
        [name] if name.contains('.') || CONDITION.iter().any(|(word, _)| word == name) => LITERAL.to_owned(),
        _ => attribute.dotted(),
    }
}

fn put(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

fn put_serve(map: &mut Map<String, Value>, serve: &Serve) {
    let to = match &serve.to {
        ServeTo::Variant(name) => json!(name),
        ServeTo::Percentages(shares) => percentages(shares),
    };
    put(map, "serve", Some(to));
    put(map, "by", serve.by.as_ref().map(|path| json!(path.dotted())));
    put(map, "salt", serve.salt.as_ref().map(|text| json!(text)));
    let hash = Hash::ALL.iter().find(|(_, hash)| *hash == serve.hash && *hash != Hash::default());
    put(map, "hash", hash.map(|(word, _)| json!(word)));
}

fn percentages(shares: &std::collections::BTreeMap<super::key::VariantName, super::percent::Percent>) -> Value {
    Value::Object(shares.iter().map(|(name, share)| (name.as_str().to_owned(), share.to_number().into())).collect())
}

fn scalar(value: &Scalar) -> Value {
    match value {
        Scalar::Bool(bool) => Value::Bool(*bool),
        Scalar::Number(number) => Value::Number(number.clone()),
        Scalar::String(text) => Value::String(text.clone()),
    }
}

/// Serializes as the canonical form and reads it back, so that other types can hold definitions.
macro_rules! canonical {
    ($type:ident, $to:path, $from:path) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $to(self).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $from(&Value::deserialize(deserializer)?).map_err(|diagnostics| D::Error::custom(Faults(&diagnostics)))
            }
        }
    };
}

canonical!(Definition, definition_to_json, definition_from_json);
canonical!(Segment, segment_to_json, segment_from_json);
canonical!(Allocation, allocation_to_json, allocation_from_json);

/// The errors among some diagnostics as one line.
struct Faults<'d>(&'d [Diagnostic]);

impl std::fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, diagnostic) in self.0.iter().filter(|diagnostic| diagnostic.is_error()).enumerate() {
            let comma = if index > 0 { "; " } else { "" };
            write!(f, "{comma}{diagnostic}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::generate::{allocations, definitions, segments};
    use crate::flag::parse::{Format, parse_definition};
    use proptest::prelude::*;

    #[test]
    fn the_canonical_form_is_the_shortest_file_form() {
        let text = br#"
state: ENABLED
variants: {"on": true, "off": false}
defaultVariant: "off"
rules:
  - {when: {country: {in: [DE, AT]}, age: {lt: 65, gte: 18}, all: [{b: 1}, {a: 10.0}]}, serve: {"on": "12.5%"}, by: targetingKey}
  - {when: {attr: {name: any, eq: 1}}, serve: "on", by: account.id, hash: murmur3}
"#;
        let (definition, diagnostics, _) = parse_definition(text, Format::Yaml, None);
        assert_eq!(diagnostics, []);
        let printed = to_canonical_bytes(&definition_to_json(&definition.expect("a valid flag")));
        let wanted = concat!(
            r#"{"defaultVariant":"off","rules":[{"serve":{"on":12.5},"when":{"age":{"gte":18,"lt":65},"#,
            r#""all":[{"b":1},{"a":10.0}],"country":{"in":["DE","AT"]}}},"#,
            r#"{"by":"account.id","hash":"murmur3","serve":"on","when":{"attr":{"eq":1,"name":"any"}}}],"#,
            r#""state":"ENABLED","variants":{"off":false,"on":true}}"#,
        );
        assert_eq!(String::from_utf8(printed).expect("text"), wanted);
    }

    #[test]
    fn redacted_flags_name_nobody() {
        let text = br#"{"variants": {"on": true}, "rules": [
            {"when": {"targetingKey": "ann"}, "serve": "on"},
            {"when": {"email": {"in": ["bob@example.com", "eve@example.com"]}}, "serve": "on"},
            {"when": {"targetingKey": {"starts_with": "carl"}}, "serve": "on"}]}"#;
        let (definition, _, _) = parse_definition(text, Format::Json, None);
        let printed = definition_to_json_redacted(&definition.expect("a valid flag"));
        assert_eq!(printed["rules"][0]["when"], json!({"targetingKey": {"eq": {"redacted": 1}}}));
        assert_eq!(printed["rules"][1]["when"], json!({"email": {"in": {"redacted": 2}}}));
        for name in ["ann", "bob", "carl", "eve"] {
            assert!(!printed.to_string().contains(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_definition_reads_back_from_its_canonical_form(definition in definitions()) {
            let json = definition_to_json(&definition);
            prop_assert_eq!(definition_from_json(&json), Ok(definition.clone()));
            let bytes = to_canonical_bytes(&json);
            for format in [Format::Json, Format::Yaml] {
                let (read, diagnostics, _) = parse_definition(&bytes, format, None);
                prop_assert_eq!(read.as_ref(), Some(&definition), "{:?}", diagnostics);
            }
            let text = serde_json::to_string(&definition).expect("serializes");
            prop_assert_eq!(serde_json::from_str::<Definition>(&text).expect("deserializes"), definition);
        }

        #[test]
        fn every_segment_and_allocation_reads_back(segment in segments(), allocation in allocations()) {
            prop_assert_eq!(segment_from_json(&segment_to_json(&segment)), Ok(segment));
            prop_assert_eq!(allocation_from_json(&allocation_to_json(&allocation)), Ok(allocation));
        }

        #[test]
        fn canonical_bytes_do_not_depend_on_the_order_of_keys(keys in prop::collection::btree_set("[a-z\"é]{0,4}", 0..6)) {
            let forward: Map<String, Value> = keys.iter().map(|key| (key.clone(), json!([key]))).collect();
            let backward: Map<String, Value> = keys.iter().rev().map(|key| (key.clone(), json!([key]))).collect();
            let bytes = to_canonical_bytes(&Value::Object(forward.clone()));
            prop_assert_eq!(&bytes, &to_canonical_bytes(&Value::Object(backward)));
            prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).expect("JSON"), Value::Object(forward));
        }
    }
}
