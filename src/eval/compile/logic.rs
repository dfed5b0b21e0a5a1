//! A JSONLogic rule from its JSON: operators resolved, paths split, literals ready to be borrowed.
//!
//! What flagd finds only when it evaluates keeps no flag from being used here either: it is a warning, and evaluation
//! fails when it gets there. Refused is only what is too deep or too large.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Number, Value};

use crate::flag::diagnostic::join_pointer;
use crate::flag::key::VariantName;
use crate::flag::limits::{DIAGNOSTICS_MAX, DOCUMENT_NESTING_MAX, LOGIC_VALUES_MAX};
use crate::flag::words::nearest;

use crate::eval::context::{Attribute, sort_names};
use crate::eval::logic::Logic;
use crate::eval::logic::text;
use crate::eval::logic::tree::{Arguments, Each, Node, Operator, Variable};

use super::condition::Gathered;

/// The operators that evaluate their arguments themselves.
const LAZY: [&str; 7] = ["if", "?:", "and", "or", "!", "!!", "reduce"];

/// What an unresolved reference to an evaluator looks like; the parser has said that there is no such evaluator.
const REFERENCE: &str = "$ref";

/// Compiles the rule that stands at `pointer`.
pub(super) fn logic(
    gathered: &mut Gathered,
    pointer: &str,
    rule: &Value,
    variants: &BTreeMap<VariantName, Value>,
) -> Logic {
    let mut compiler = Compiler { gathered, values: 0, too_deep: false };
    let root = compiler.node(&Place { parent: None, pointer }, rule, 0);
    let values = compiler.values;
    if values > LOGIC_VALUES_MAX {
        let message =
            format!("the rule has {values} values with its evaluators, at most {LOGIC_VALUES_MAX} are allowed");
        gathered.error("too-many-values", pointer, message, "give those users a common attribute and test that");
    }
    results(gathered, &Place { parent: None, pointer }, rule, variants, 0);
    Logic::new(root)
}

/// A place in the rule, made a pointer only where one is shown.
struct Place<'p> {
    parent: Option<&'p Place<'p>>,
    pointer: &'p str,
}

impl Place<'_> {
    fn pointer(&self) -> String {
        match self.parent {
            Some(parent) => join_pointer(&parent.pointer(), self.pointer),
            None => self.pointer.to_owned(),
        }
    }
}

struct Compiler<'g> {
    gathered: &'g mut Gathered,
    values: usize,
    too_deep: bool,
}

impl Compiler<'_> {
    fn node(&mut self, place: &Place<'_>, value: &Value, depth: usize) -> Node {
        self.values += 1;
        if depth > DOCUMENT_NESTING_MAX {
            if !std::mem::replace(&mut self.too_deep, true) {
                let message = format!("the rule nests more than {DOCUMENT_NESTING_MAX} levels deep");
                self.gathered.error("too-deep", place.pointer(), message, "split it into several flags");
            }
            return NULL;
        }
        match value {
            Value::Object(entries) => match entries.iter().next() {
                Some((word, arguments)) if entries.len() == 1 => {
                    let place = Place { parent: Some(place), pointer: word };
                    self.operation(&place, word, arguments, depth + 1)
                }
                first => {
                    self.values += inner(value);
                    if first.is_some() && self.gathered.diagnostics.len() < DIAGNOSTICS_MAX {
                        let message = "an object with several keys is no rule, and stands for itself";
                        let help = "write one operator, such as {\"and\": […]}, around several conditions";
                        self.gathered.warning("odd-rule", place.pointer(), message, help);
                    }
                    Node::Literal(literal(value))
                }
            },
            Value::Array(items) => {
                let nodes = self.listed(place, items, depth + 1);
                if nodes.iter().all(|node| matches!(node, Node::Literal(_))) {
                    Node::Literal(literal(value))
                } else {
                    Node::List(nodes)
                }
            }
            scalar => Node::Literal(literal(scalar)),
        }
    }

    fn operation(&mut self, place: &Place<'_>, word: &str, value: &Value, depth: usize) -> Node {
        match word {
            "var" => return self.variable(place, value, depth),
            "if" | "?:" => return Node::If(self.parts(place, value, depth)),
            "and" => return Node::And(self.parts(place, value, depth)),
            "or" => return Node::Or(self.parts(place, value, depth)),
            "!" | "!!" => {
                let of = Box::new(take_first(&mut self.parts(place, value, depth).into_iter()));
                return Node::Truth { of, turned: word == "!" };
            }
            "reduce" => {
                let mut parts = self.parts(place, value, depth).into_iter();
                let [list, rule, first] = [(); 3].map(|()| Box::new(take_first(&mut parts)));
                return Node::Reduce { list, rule, first };
            }
            _ => {}
        }
        if let Some(kind) = Each::named(word) {
            let mut parts = self.parts(place, value, depth).into_iter();
            let [list, rule] = [(); 2].map(|()| Box::new(take_first(&mut parts)));
            return Node::Each { kind, list, rule };
        }
        match Operator::named(word) {
            Some(operator) => Node::Apply(operator, self.arguments(place, value, depth)),
            None => self.unknown(place, word),
        }
    }

    fn unknown(&mut self, place: &Place<'_>, word: &str) -> Node {
        if word != REFERENCE && self.gathered.diagnostics.len() < DIAGNOSTICS_MAX {
            let known = Operator::ALL.iter().map(|(word, _)| *word).chain(Each::ALL.iter().map(|(word, _)| *word));
            let help = match nearest(word, known.chain(LAZY)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => {
                    "use the operators of JSONLogic, `fractional`, `sem_ver`, `starts_with` or `ends_with`".to_owned()
                }
            };
            let message = "the operator is unknown; whoever gets here is answered PARSE_ERROR";
            self.gathered.warning("unknown-operator", place.pointer(), message, &help);
        }
        Node::Unknown
    }

    /// `path` or `[path, default]`.
    fn variable(&mut self, place: &Place<'_>, value: &Value, depth: usize) -> Node {
        let (path, default) = match value {
            Value::Array(items) => (items.first().unwrap_or(&Value::Null), items.get(1)),
            path => (path, None),
        };
        let path = match path {
            Value::Null => String::new(),
            Value::String(path) => path.clone(),
            Value::Number(number) => text::of_number(double(number)),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Node::Apply(Operator::Var, self.arguments(place, value, depth));
            }
        };
        self.values += 1;
        let names = if path.is_empty() { Box::default() } else { path.split('.').map(Box::from).collect() };
        let default = default.filter(|default| !default.is_null());
        let default = default
            .map(|default| Box::new(self.node(&Place { parent: Some(place), pointer: "1" }, default, depth + 1)));
        Node::Variable(Variable { path: names, default })
    }

    fn arguments(&mut self, place: &Place<'_>, value: &Value, depth: usize) -> Arguments {
        match value {
            Value::Array(items) => Arguments::Listed(self.listed(place, items, depth + 1)),
            Value::Object(_) => Arguments::Spread(Box::new(self.node(place, value, depth))),
            _ => Arguments::Listed([self.node(place, value, depth)].into()),
        }
    }

    /// The parts of an operator that evaluates them itself.
    fn parts(&mut self, place: &Place<'_>, value: &Value, depth: usize) -> Box<[Node]> {
        match value {
            Value::Array(items) => self.listed(place, items, depth + 1),
            single => [self.node(place, single, depth)].into(),
        }
    }

    fn listed(&mut self, place: &Place<'_>, items: &[Value], depth: usize) -> Box<[Node]> {
        let mut nodes = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let index = index.to_string();
            nodes.push(self.node(&Place { parent: Some(place), pointer: &index }, item, depth));
        }
        nodes.into()
    }
}

const NULL: Node = Node::Literal(Attribute::Null);

fn take_first(parts: &mut impl Iterator<Item = Node>) -> Node {
    parts.next().unwrap_or(NULL)
}

/// How many values lie inside of one that stands for itself.
fn inner(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(|item| 1 + inner(item)).sum(),
        Value::Object(entries) => entries.values().map(|item| 1 + inner(item)).sum(),
        _ => 0,
    }
}

/// JSON as values are borrowed from.
fn literal(value: &Value) -> Attribute<'static> {
    match value {
        Value::Null => Attribute::Null,
        Value::Bool(value) => Attribute::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Attribute::Integer(value),
            (None, Some(value)) => Attribute::Unsigned(value),
            (None, None) => Attribute::Float(double(number)),
        },
        Value::String(text) => Attribute::String(Cow::Owned(text.clone())),
        Value::Array(items) => Attribute::List(items.iter().map(literal).collect()),
        Value::Object(entries) => {
            let mut entries: Vec<_> =
                entries.iter().map(|(name, value)| (Cow::Owned(name.clone()), literal(value))).collect();
            // A JSON object in memory has every name once.
            let _ = sort_names(&mut entries);
            Attribute::Object(entries)
        }
    }
}

fn double(number: &Number) -> f64 {
    // Without `arbitrary_precision` every number is one.
    number.as_f64().unwrap_or(f64::NAN)
}

/// Warns of what a rule spells out as its result and what is no variant, as far as one can tell without evaluating.
fn results(
    gathered: &mut Gathered,
    place: &Place<'_>,
    value: &Value,
    variants: &BTreeMap<VariantName, Value>,
    depth: usize,
) {
    let name = match value {
        Value::String(name) => name.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => text::of_number(double(number)),
        Value::Object(entries) if entries.len() == 1 && depth <= DOCUMENT_NESTING_MAX => {
            for (word, parts) in entries {
                let place = Place { parent: Some(place), pointer: word };
                let Value::Array(parts) = parts else { continue };
                for (index, part) in parts.iter().enumerate() {
                    let index_text = index.to_string();
                    let place = Place { parent: Some(&place), pointer: &index_text };
                    match (word.as_str(), part) {
                        ("if" | "?:", part) if index % 2 == 1 || index + 1 == parts.len() => {
                            results(gathered, &place, part, variants, depth + 1);
                        }
                        ("fractional", Value::Array(share)) => {
                            let place = Place { parent: Some(&place), pointer: "0" };
                            let variant = share.first().unwrap_or(&Value::Null);
                            results(gathered, &place, variant, variants, depth + 1);
                        }
                        _ => {}
                    }
                }
            }
            return;
        }
        Value::Null | Value::Array(_) | Value::Object(_) => return,
    };
    if !variants.contains_key(name.as_str()) && gathered.diagnostics.len() < DIAGNOSTICS_MAX {
        let help = "name a variant of the flag; whoever gets here is answered with the error GENERAL";
        let message = "the rule yields what is no variant of the flag";
        gathered.warning("unknown-variant", place.pointer(), message, help);
    }
}
