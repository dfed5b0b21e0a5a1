//! `$evaluators`: named JSONLogic of a document, put in place of `{"$ref": "name"}` wherever `targeting` says so.
//!
//! Put in place once, as flagd does it: a reference inside an evaluator is not followed. What is left over fails when it
//! is evaluated. Evaluators are shared until a flag becomes JSON, so a document is limited by what it would come to. What
//! an evaluator means is not known here.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::flag::numbers;
use super::walk::{Path, Walk, get, shorten};
use crate::flag::limits::{EVALUATOR_BYTES_MAX, EVALUATOR_VALUES_MAX};
use crate::flag::tree::{Entry, Node, NodeValue};
use crate::flag::words::nearest;

/// The key under which a document names them.
const EVALUATORS: &str = "$evaluators";

/// The one key of an object that refers to one.
const REFERENCE: &str = "$ref";

/// The evaluators of a document.
#[derive(Debug)]
pub(super) struct Evaluators {
    named: BTreeMap<String, Evaluator>,
    /// Values that references may still add to the document.
    values_left: Cell<usize>,
    /// The same in bytes of text.
    bytes_left: Cell<usize>,
}

#[derive(Debug)]
struct Evaluator {
    rule: Node,
    values: usize,
    bytes: usize,
}

impl Default for Evaluators {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            values_left: Cell::new(EVALUATOR_VALUES_MAX),
            bytes_left: Cell::new(EVALUATOR_BYTES_MAX),
        }
    }
}

impl Evaluators {
    /// Reads those of a document.
    pub(super) fn read(walk: &mut Walk, entries: &[Entry]) -> Self {
        let mut evaluators = Self::default();
        let Some(node) = get(entries, EVALUATORS).filter(|node| node.value != NodeValue::Null) else {
            return evaluators;
        };
        let path = Path::TOP.key(EVALUATORS);
        walk.writing(&path, node);
        let Some(entries) = walk.map(&path, node, "`$evaluators`") else { return evaluators };
        for entry in entries {
            let path = path.key(&entry.key);
            let rule = entry.value.clone();
            numbers(walk, &path, &rule);
            if !matches!(rule.value, NodeValue::Map(_)) {
                let message = format!("the evaluator is {}, not a JSONLogic rule", rule.kind());
                walk.warning((&path, rule.position), "odd-evaluator", message, "write a rule, such as {\"==\": […]}");
            }
            warn_of_nested(walk, &path, &rule);
            let (values, bytes) = (rule.size(), rule.bytes());
            evaluators.named.insert(entry.key.clone(), Evaluator { rule, values, bytes });
        }
        evaluators
    }

    /// The rule with evaluators in the place of references; none where that would be too much.
    pub(super) fn put_in_place(&self, walk: &mut Walk, path: &Path<'_>, rule: &Node) -> Option<Node> {
        if !holds_reference(rule) {
            return Some(rule.clone());
        }
        let value = match &rule.value {
            NodeValue::List(items) => {
                let mut placed = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    placed.push(self.put_in_place(walk, &path.index(index), item)?);
                }
                NodeValue::List(Rc::new(placed))
            }
            NodeValue::Map(entries) => {
                if let Some(name) = reference(entries) {
                    return self.referred(walk, path, rule, name);
                }
                let mut placed = Vec::with_capacity(entries.len());
                for entry in entries.iter() {
                    let value = self.put_in_place(walk, &path.key(&entry.key), &entry.value)?;
                    placed.push(Entry { key: entry.key.clone(), value, ..*entry });
                }
                NodeValue::Map(Rc::new(placed))
            }
            _ => return Some(rule.clone()),
        };
        Some(Node { position: rule.position, value })
    }

    fn referred(&self, walk: &mut Walk, path: &Path<'_>, rule: &Node, name: &str) -> Option<Node> {
        let place = (path, rule.position);
        let Some(evaluator) = self.named.get(name) else {
            let help = match nearest(name, self.named.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{}`?", shorten(near)),
                None => "add it to the `$evaluators` of the document".to_owned(),
            };
            let message =
                format!("there is no evaluator `{}`; whoever gets here is answered PARSE_ERROR", shorten(name));
            walk.warning(place, "unknown-evaluator", message, help);
            return Some(rule.clone());
        };
        let values = self.values_left.get().checked_sub(evaluator.values);
        let bytes = self.bytes_left.get().checked_sub(evaluator.bytes);
        let Some((values, bytes)) = values.zip(bytes) else {
            let message = format!(
                "evaluators put in place add more than {EVALUATOR_VALUES_MAX} values or {EVALUATOR_BYTES_MAX} bytes"
            );
            walk.error(place, "too-large", message, "split the document into several files");
            return None;
        };
        self.values_left.set(values);
        self.bytes_left.set(bytes);
        Some(evaluator.rule.clone())
    }
}

/// The name in an object that is a reference and nothing else.
fn reference(entries: &[Entry]) -> Option<&str> {
    match entries {
        [only] if only.key == REFERENCE => only.value.text(),
        _ => None,
    }
}

fn holds_reference(node: &Node) -> bool {
    match &node.value {
        NodeValue::List(items) => items.iter().any(holds_reference),
        NodeValue::Map(entries) => {
            reference(entries).is_some() || entries.iter().any(|entry| holds_reference(&entry.value))
        }
        _ => false,
    }
}

fn warn_of_nested(walk: &mut Walk, path: &Path<'_>, node: &Node) {
    match &node.value {
        NodeValue::List(items) => {
            for (index, item) in items.iter().enumerate() {
                warn_of_nested(walk, &path.index(index), item);
            }
        }
        NodeValue::Map(entries) => {
            if reference(entries).is_some() {
                let message = "a reference inside of an evaluator is not followed; whoever gets here is answered \
                               PARSE_ERROR";
                walk.warning((path, node.position), "nested-evaluator", message, "write the rule itself here");
            }
            for entry in entries.iter() {
                warn_of_nested(walk, &path.key(&entry.key), &entry.value);
            }
        }
        _ => {}
    }
}
