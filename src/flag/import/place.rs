//! A value of the export together with the pointer that leads to it, so that every remark can say where.
//!
//! Null counts as missing, as all the systems take it. Asking for the wrong kind yields nothing; saying so is the
//! caller's matter.

use serde_json::Number;

use crate::flag::diagnostic::{Diagnostic, Position, join_pointer};
use crate::flag::tree::{NOWHERE, Node, NodeValue, number};

/// One value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<'n> {
    /// The value.
    pub(super) node: &'n Node,
    /// The RFC 6901 pointer to it.
    pub(super) pointer: String,
}

impl<'n> At<'n> {
    /// The top of a document.
    pub(super) fn top(node: &'n Node) -> Self {
        Self { node, pointer: String::new() }
    }

    /// The value of a key; none where it is missing or null, or where this is no map.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        let NodeValue::Map(entries) = &self.node.value else { return None };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        (entry.value.value != NodeValue::Null)
            .then(|| Self { node: &entry.value, pointer: join_pointer(&self.pointer, key) })
    }

    /// The entries of a map, nulls included; empty for anything else.
    pub(super) fn entries(&self) -> Vec<(&'n str, Self)> {
        let NodeValue::Map(entries) = &self.node.value else { return Vec::new() };
        let entry = |entry: &'n crate::flag::tree::Entry| {
            let pointer = join_pointer(&self.pointer, &entry.key);
            (entry.key.as_str(), Self { node: &entry.value, pointer })
        };
        entries.iter().map(entry).collect()
    }

    /// The elements of a list; empty for anything else.
    pub(super) fn items(&self) -> Vec<Self> {
        let NodeValue::List(items) = &self.node.value else { return Vec::new() };
        let item = |(index, node): (usize, &'n Node)| Self { node, pointer: format!("{}/{index}", self.pointer) };
        items.iter().enumerate().map(item).collect()
    }

    /// The elements of the list under a key; empty where there is none.
    pub(super) fn list(&self, key: &str) -> Vec<Self> {
        self.get(key).map(|list| list.items()).unwrap_or_default()
    }

    /// The string.
    pub(super) fn text(&self) -> Option<&'n str> {
        self.node.text()
    }

    /// The string under a key.
    pub(super) fn word(&self, key: &str) -> Option<&'n str> {
        self.get(key)?.text()
    }

    /// The boolean.
    pub(super) fn bool(&self) -> Option<bool> {
        if let NodeValue::Bool(bool) = self.node.value { Some(bool) } else { None }
    }

    /// True where a key holds `true`.
    pub(super) fn says(&self, key: &str) -> bool {
        self.get(key).and_then(|value| value.bool()) == Some(true)
    }

    /// The number.
    pub(super) fn number(&self) -> Option<Number> {
        if let NodeValue::Number(text) = &self.node.value { number(text).ok() } else { None }
    }

    /// The number, where it is a whole one of 64 bits.
    pub(super) fn integer(&self) -> Option<i64> {
        self.number()?.as_i64()
    }

    /// True for a map.
    pub(super) fn is_map(&self) -> bool {
        matches!(self.node.value, NodeValue::Map(_))
    }

    /// True for a list.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, NodeValue::List(_))
    }

    /// Where it stands, if it came from a text.
    pub(super) fn position(&self) -> Option<Position> {
        (self.node.position != NOWHERE).then_some(self.node.position)
    }

    /// An error about the whole document at this place.
    pub(super) fn fault(&self, code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
        Diagnostic { position: self.position(), ..Diagnostic::error(code, self.pointer.clone(), message, help) }
    }
}
