//! A flag file as YAML for people: the keys of a flag in the order in which the language lists them, what is short on
//! one line, every text that a YAML reader of any version could take for something else in quotes.
//!
//! Only for JSON values; it knows the shape of flag files and nothing about what they mean.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::flag::words::{DOCUMENT, FLAG, RULE, Word};

/// Characters of a value that stays on the line of its key.
const LINE_MAX: usize = 96;

/// Writes a document as block YAML.
pub fn write(document: &Value) -> String {
    let mut text = String::new();
    match document {
        Value::Object(entries) if !entries.is_empty() => block_map(&mut text, entries, 0, DOCUMENT),
        other => {
            flow(&mut text, other);
            text.push('\n');
        }
    }
    text
}

/// The keys of a map in the order of a table, the others after them.
fn ordered<'m>(entries: &'m Map<String, Value>, words: &[Word]) -> Vec<(&'m String, &'m Value)> {
    let mut ordered: Vec<(&String, &Value)> = entries.iter().collect();
    let place = |key: &str| words.iter().position(|word| word.name == key).unwrap_or(words.len());
    ordered.sort_by_key(|(key, _)| (place(key), *key));
    ordered
}

fn block_map(text: &mut String, entries: &Map<String, Value>, indent: usize, words: &[Word]) {
    for (index, (key, value)) in ordered(entries, words).into_iter().enumerate() {
        // The first line of a list's element stands behind its dash.
        if index > 0 || !text.ends_with("- ") {
            let _ = write!(text, "{:indent$}", "");
        }
        scalar_text(text, key);
        text.push(':');
        // Flags and rules are read line by line, however short they are.
        let (inner, always): (&[Word], bool) = match key.as_str() {
            "flags" if words == DOCUMENT => (&[], true),
            "segments" if words == DOCUMENT => (&[], true),
            "rules" if words == FLAG => (RULE, true),
            _ => (&[], false),
        };
        match value {
            Value::Object(entries) if !entries.is_empty() && (always || !is_short(value, indent + key.len())) => {
                text.push('\n');
                if always && key == "flags" {
                    flags(text, entries, indent + 2);
                } else {
                    block_map(text, entries, indent + 2, inner);
                }
            }
            Value::Array(items) if !items.is_empty() && (always || !is_short(value, indent + key.len())) => {
                text.push('\n');
                block_list(text, items, indent + 2, inner);
            }
            other => {
                text.push(' ');
                flow(text, other);
                text.push('\n');
            }
        }
    }
}

fn flags(text: &mut String, entries: &Map<String, Value>, indent: usize) {
    for (key, flag) in entries {
        let _ = write!(text, "{:indent$}", "");
        scalar_text(text, key);
        match flag {
            Value::Object(flag) if !flag.is_empty() => {
                text.push_str(":\n");
                block_map(text, flag, indent + 2, FLAG);
            }
            other => {
                text.push_str(": ");
                flow(text, other);
                text.push('\n');
            }
        }
    }
}

fn block_list(text: &mut String, items: &[Value], indent: usize, words: &[Word]) {
    for item in items {
        let _ = write!(text, "{:indent$}- ", "");
        match item {
            Value::Object(entries) if !entries.is_empty() && !is_short(item, indent) => {
                block_map(text, entries, indent + 2, if words.is_empty() { &[] } else { words });
            }
            other => {
                flow_in(text, other, words);
                text.push('\n');
            }
        }
    }
}

fn is_short(value: &Value, before: usize) -> bool {
    let mut text = String::new();
    flow(&mut text, value);
    before + text.chars().count() <= LINE_MAX
}

fn flow(text: &mut String, value: &Value) {
    flow_in(text, value, &[]);
}

fn flow_in(text: &mut String, value: &Value, words: &[Word]) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                flow(text, item);
            }
            text.push(']');
        }
        Value::Object(entries) => {
            text.push('{');
            for (index, (key, value)) in ordered(entries, words).into_iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                scalar_text(text, key);
                text.push_str(": ");
                flow(text, value);
            }
            text.push('}');
        }
        Value::String(value) => scalar_text(text, value),
        other => text.push_str(&other.to_string()),
    }
}

/// A text without quotes where nothing else could be meant, otherwise in double quotes.
fn scalar_text(text: &mut String, value: &str) {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let plain = value.starts_with(|first: char| first.is_ascii_alphabetic() || first == '$')
        && value.bytes().skip(1).all(word)
        && !value.ends_with('.')
        && !matches!(
            value.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        );
    if plain {
        text.push_str(value);
        return;
    }
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            other if crate::flag::key::is_invisible(other) || matches!(u32::from(other), 0xFFFE | 0xFFFF) => {
                let code = u32::from(other);
                let _ = if code > 0xFFFF { write!(text, "\\U{code:08X}") } else { write!(text, "\\u{code:04X}") };
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::yaml;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn flags_read_line_by_line_and_short_things_stay_on_one() {
        let document = json!({"flags": {"a.b": {
            "variants": {"on": true, "off": false}, "state": "ENABLED", "defaultVariant": "off",
            "rules": [{"when": {"country": {"in": ["DE", "NO"]}}, "serve": "on"}], "description": "1: x"}}});
        let wanted = "flags:\n  a.b:\n    description: \"1: x\"\n    state: ENABLED\n    \
                      variants: {\"off\": false, \"on\": true}\n    defaultVariant: \"off\"\n    rules:\n      \
                      - {when: {country: {in: [DE, \"NO\"]}}, serve: \"on\"}\n";
        assert_eq!(write(&document), wanted);
    }

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z .:#\\-\\\\\"'\\n\u{e9}\u{200b}\u{1F600}]{0,12}".prop_map(Value::from),
            prop_oneof![Just("on"), Just("null"), Just("1"), Just("~"), Just("-"), Just("0x1"), Just("=")]
                .prop_map(Value::from),
        ];
        scalar.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z\\-: \"]{0,30}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(flags in prop::collection::btree_map("[a-z$]{1,8}", values(), 0..4)) {
            let document = json!({"flags": Value::Object(flags.into_iter().collect()), "metadata": {"rules": [1]}});
            let (node, diagnostics) = yaml::read(&write(&document), 32).expect("YAML");
            prop_assert_eq!(diagnostics, []);
            prop_assert_eq!(node.to_json(), document);
        }
    }
}
