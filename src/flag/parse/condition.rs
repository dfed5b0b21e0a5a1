//! Condition maps: `when` and segments. A map is an AND of its entries, in the order of their keys, so that two
//! files that differ in order only are one definition.

use super::document::name;
use super::operator;
use super::serve::attribute;
use super::walk::{Path, Walk, get, shorten};
use crate::flag::definition::{AttributePath, Condition, Operator, Scalar, Test};
use crate::flag::key::SegmentName;
use crate::flag::limits::CONDITIONS_MAX;
use crate::flag::tree::{Entry, Node, NodeValue};

/// Reads the conditions of one flag or segment and counts them.
#[derive(Default)]
pub(super) struct Conditions {
    count: usize,
}

impl Conditions {
    /// Reads one condition map; `what` it is stands in messages. One entry is that condition itself.
    pub(super) fn map(&mut self, walk: &mut Walk, path: &Path<'_>, node: &Node, what: &str) -> Option<Condition> {
        walk.remember(path, node.position);
        let entries = walk.map(path, node, what)?;
        let mut sorted: Vec<&Entry> = entries.iter().collect();
        sorted.sort_by(|left, right| left.key.cmp(&right.key));
        let before = walk.error_count();
        let mut conditions = Vec::new();
        for entry in sorted {
            self.entry(walk, &path.key(&entry.key), entry, &mut conditions);
        }
        if walk.error_count() > before {
            return None;
        }
        Some(if conditions.len() == 1 { conditions.swap_remove(0) } else { Condition::All(conditions) })
    }

    fn entry(&mut self, walk: &mut Walk, path: &Path<'_>, entry: &Entry, into: &mut Vec<Condition>) {
        if !self.within_limit(walk, path, entry) {
            return;
        }
        let node = &entry.value;
        match entry.key.as_str() {
            "all" => into.extend(self.list(walk, path, node).map(Condition::All)),
            "any" => {
                let conditions = self.list(walk, path, node);
                if conditions.as_ref().is_some_and(Vec::is_empty) {
                    let help = "add a condition, or remove it";
                    walk.warning((path, node.position), "never", "an empty `any` never holds", help);
                }
                into.extend(conditions.map(Condition::Any));
            }
            "not" => {
                let inner = self.map(walk, path, node, "`not`");
                into.extend(inner.map(|inner| Condition::Not(Box::new(inner))));
            }
            "segment" => {
                walk.remember(path, node.position);
                let Some(text) = walk.string(path, node, "`segment`") else { return };
                let segment = name(walk, (path, node.position), text, "the segment", SegmentName::new);
                into.extend(segment.map(Condition::Segment));
            }
            "attr" => self.literal(walk, path, node, into),
            key => {
                let Some(attribute) = attribute(walk, path, entry.position, key) else { return };
                self.tests(walk, path, &attribute, node, into);
            }
        }
    }

    fn list(&mut self, walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<Vec<Condition>> {
        let NodeValue::List(items) = &node.value else {
            let help = "write a list of condition maps; for an attribute of that name, `attr: {name: …, eq: …}`";
            let message = format!("a reserved word takes a list of conditions, this is {}", node.kind());
            walk.error((path, node.position), "wrong-type", message, help);
            return None;
        };
        let mut conditions = Vec::new();
        for (index, item) in items.iter().enumerate() {
            conditions.push(self.map(walk, &path.index(index), item, "a condition"));
        }
        conditions.into_iter().collect()
    }

    /// `attr: {name: …, operator: operand}`: the name is taken as it is, dots and all.
    fn literal(&mut self, walk: &mut Walk, path: &Path<'_>, node: &Node, into: &mut Vec<Condition>) {
        let Some(entries) = walk.map(path, node, "`attr`") else { return };
        let Some(name) = get(entries, "name") else {
            let help = "`attr` is {name: attribute, operator: operand}";
            walk.error((path, node.position), "missing-key", "`attr` without `name`", help);
            return;
        };
        let name_path = path.key("name");
        let Some(text) = walk.string(&name_path, name, "`name`") else { return };
        let Some(attribute) = AttributePath::literal(text) else {
            walk.error((&name_path, name.position), "bad-attribute", "the attribute's name is empty", "write its name");
            return;
        };
        let operators: Vec<&Entry> = entries.iter().filter(|entry| entry.key != "name").collect();
        self.operators(walk, path, &attribute, (node, operators), into);
    }

    /// What is asked of one attribute: a scalar, or a map of operators that all must hold.
    fn tests(
        &mut self,
        walk: &mut Walk,
        path: &Path<'_>,
        attribute: &AttributePath,
        node: &Node,
        into: &mut Vec<Condition>,
    ) {
        let test = |operator| Condition::Test(Test { attribute: attribute.clone(), operator });
        match &node.value {
            NodeValue::Map(entries) => self.operators(walk, path, attribute, (node, entries.iter().collect()), into),
            NodeValue::List(_) => {
                let help = format!("write {{{}: {{in: […]}}}}", shorten(&attribute.dotted()));
                walk.error((path, node.position), "wrong-type", "an attribute cannot equal a list", help);
            }
            NodeValue::Null => {
                let help = "to ask whether it is missing, write {exists: false}";
                walk.error((path, node.position), "wrong-type", "an attribute cannot equal null", help);
            }
            _ => into.extend(operator::scalar(walk, path, node).map(|scalar: Scalar| test(Operator::Equals(scalar)))),
        }
    }

    fn operators(
        &mut self,
        walk: &mut Walk,
        path: &Path<'_>,
        attribute: &AttributePath,
        (node, mut entries): (&Node, Vec<&Entry>),
        into: &mut Vec<Condition>,
    ) {
        if entries.is_empty() {
            let help = "add an operator, such as {in: [DE, AT]}";
            walk.error((path, node.position), "missing-key", "nothing is asked of the attribute", help);
        }
        entries.sort_by(|left, right| left.key.cmp(&right.key));
        for (index, entry) in entries.into_iter().enumerate() {
            // The first one has been counted with the attribute.
            if index > 0 && !self.within_limit(walk, path, entry) {
                return;
            }
            if let Some(operator) = operator::read(walk, &path.key(&entry.key), entry) {
                into.push(Condition::Test(Test { attribute: attribute.clone(), operator }));
            }
        }
    }

    /// False beyond the limit, which is reported once.
    fn within_limit(&mut self, walk: &mut Walk, path: &Path<'_>, entry: &Entry) -> bool {
        self.count = self.count.saturating_add(1);
        if self.count == CONDITIONS_MAX + 1 {
            let message = format!("more than {CONDITIONS_MAX} conditions");
            let help = "gather values in one `in` list, or share a segment";
            walk.error((path, entry.position), "too-many", message, help);
        }
        self.count <= CONDITIONS_MAX
    }
}
