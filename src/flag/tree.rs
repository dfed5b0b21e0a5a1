//! One positioned tree for both formats: what a document says, before anybody asks what it means.
//!
//! Numbers keep the text they were written with, so that percentages are read exactly and integers stay integers;
//! maps keep their order and their duplicate keys, so that the walk can report them. Contents are shared, so that what
//! YAML anchors and repeats is there once. Reading text is the work of
//! `json` and `yaml`; meaning is the work of `parse`.

use std::rc::Rc;

use serde_json::{Map, Number, Value};

use super::diagnostic::Position;

/// One value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where the value begins; line 0 where it did not come from a text.
    pub position: Position,
    /// What it is.
    pub value: NodeValue,
}

/// What a node can be.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeValue {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as the text that was written.
    Number(Rc<str>),
    /// A string.
    Text {
        /// The string itself.
        text: Rc<str>,
        /// False only for YAML's unquoted scalars.
        quoted: bool,
    },
    /// A list.
    List(Rc<Vec<Node>>),
    /// A map in the order of the text, duplicate keys included.
    Map(Rc<Vec<Entry>>),
}

/// One key of a map with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key as text.
    pub key: String,
    /// Where the key stands.
    pub position: Position,
    /// What the text would have been read as, had it not been a key.
    pub kind: KeyKind,
    /// The value.
    pub value: Node,
}

/// How a key was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A quoted string.
    Quoted,
    /// An unquoted string.
    Plain,
    /// An unquoted scalar that YAML reads as a number, a boolean or null.
    NotText,
}

/// Why a number's text is no usable number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFault {
    /// Infinite, not a number, or beyond the range of 64-bit floats.
    NotFinite,
    /// An integer that 64 bits cannot hold; a float would lose digits.
    TooLong,
}

/// The place of values that did not come from a text.
pub const NOWHERE: Position = Position { line: 0, column: 0 };

impl Node {
    /// What kind of value it is, with its article, for messages.
    pub fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Null => "null",
            NodeValue::Bool(_) => "a boolean",
            NodeValue::Number(_) => "a number",
            NodeValue::Text { .. } => "a string",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }

    /// The string, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// How many nodes it holds, itself included.
    pub fn size(&self) -> usize {
        1 + match &self.value {
            NodeValue::List(items) => items.iter().map(Self::size).sum(),
            NodeValue::Map(entries) => entries.iter().map(|entry| entry.value.size()).sum(),
            _ => 0,
        }
    }

    /// How many bytes of text it holds, keys included.
    pub fn bytes(&self) -> usize {
        match &self.value {
            NodeValue::Null | NodeValue::Bool(_) => 0,
            NodeValue::Number(text) | NodeValue::Text { text, .. } => text.len(),
            NodeValue::List(items) => items.iter().map(Self::bytes).sum(),
            NodeValue::Map(entries) => entries.iter().map(|entry| entry.key.len() + entry.value.bytes()).sum(),
        }
    }

    /// How many lists and maps lie inside each other, itself included; 0 for a scalar.
    pub fn depth(&self) -> usize {
        match &self.value {
            NodeValue::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            NodeValue::Map(entries) => 1 + entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The tree of a JSON value, without places. None where it nests deeper than `nesting`.
    pub fn from_json(value: &Value, nesting: usize) -> Option<Self> {
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(bool) => NodeValue::Bool(*bool),
            Value::Number(number) => NodeValue::Number(number.to_string().into()),
            Value::String(text) => NodeValue::Text { text: text.as_str().into(), quoted: true },
            Value::Array(items) => {
                let nesting = nesting.checked_sub(1)?;
                let items = items.iter().map(|item| Self::from_json(item, nesting)).collect::<Option<_>>()?;
                NodeValue::List(Rc::new(items))
            }
            Value::Object(entries) => {
                let nesting = nesting.checked_sub(1)?;
                let entry = |(key, value): (&String, &Value)| {
                    let value = Self::from_json(value, nesting)?;
                    Some(Entry { key: key.clone(), position: NOWHERE, kind: KeyKind::Quoted, value })
                };
                NodeValue::Map(Rc::new(entries.iter().map(entry).collect::<Option<_>>()?))
            }
        };
        Some(Self { position: NOWHERE, value })
    }

    /// The value as JSON; of duplicate keys the last one counts. Numbers that JSON cannot hold become null: the walk
    /// has reported them with [`number`] before anybody uses the result.
    pub fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(bool) => Value::Bool(*bool),
            NodeValue::Number(text) => number(text).map_or(Value::Null, Value::Number),
            NodeValue::Text { text, .. } => Value::String(text.as_ref().to_owned()),
            NodeValue::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            NodeValue::Map(entries) => {
                let mut map = Map::new();
                for entry in entries.iter() {
                    map.insert(entry.key.clone(), entry.value.to_json());
                }
                Value::Object(map)
            }
        }
    }
}

/// Reads the text of a JSON number or of a number in YAML's core schema: an integer stays one, a float stays one.
///
/// # Errors
/// Why no 64-bit number says the same.
pub fn number(text: &str) -> Result<Number, NumberFault> {
    let plain = text.strip_prefix('+').unwrap_or(text);
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = plain.strip_prefix(prefix) {
            return u64::from_str_radix(digits, radix).map(Number::from).map_err(|_| NumberFault::TooLong);
        }
    }
    let digits = plain.strip_prefix('-').unwrap_or(plain);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let unsigned = plain.parse::<u64>().map(Number::from);
        let signed = || plain.parse::<i64>().map(Number::from);
        return unsigned.or_else(|_| signed()).map_err(|_| NumberFault::TooLong);
    }
    let float = match plain.parse::<f64>() {
        Ok(float) if digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') => float,
        _ => return Err(NumberFault::NotFinite),
    };
    Number::from_f64(float).ok_or(NumberFault::NotFinite)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_integer_or_float_form() {
        for (text, json) in [
            ("10", "10"),
            ("10.0", "10.0"),
            ("-0", "0"),
            ("+7", "7"),
            ("007", "7"),
            ("0x1F", "31"),
            ("0o17", "15"),
            (".5", "0.5"),
            ("5.", "5.0"),
            ("1e3", "1000.0"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            assert_eq!(number(text).map(|number| number.to_string()), Ok(json.to_owned()), "{text}");
        }
    }

    #[test]
    fn numbers_that_64_bits_cannot_hold_are_named() {
        assert_eq!(number("18446744073709551616"), Err(NumberFault::TooLong));
        assert_eq!(number("0x1FFFFFFFFFFFFFFFF"), Err(NumberFault::TooLong));
        for text in ["1e999", ".inf", "-.INF", ".nan", "inf", "NaN"] {
            assert_eq!(number(text), Err(NumberFault::NotFinite), "{text}");
        }
    }

    #[test]
    fn a_json_value_that_nests_too_deeply_has_no_tree() {
        let value = serde_json::json!({"a": [[1]]});
        assert_eq!(Node::from_json(&value, 3).map(|node| (node.depth(), node.size())), Some((3, 4)));
        assert_eq!(Node::from_json(&value, 2), None);
        assert_eq!(Node::from_json(&value, 3).map(|node| node.to_json()), Some(value));
    }
}
