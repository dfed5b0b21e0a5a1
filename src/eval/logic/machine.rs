//! Evaluates a tree: what is lazy, what has a scope of its own, and the arguments of everything else.
//!
//! Recursion goes as deep as the tree, which `compile` limits; the budget limits all the rest.

use super::Facts;
use super::budget::{Budget, Fault};
use super::operators;
use super::scope::Scope;
use super::tree::{Arguments, Each, Node, Variable};
use super::value::{List, Value};

/// One run of a rule.
pub(super) struct Machine<'m, 'v> {
    pub(super) facts: Facts<'v>,
    pub(super) budget: &'m mut Budget,
}

/// What a part of a rule yields.
pub(super) type Yield<'v> = Result<Value<'v>, Fault>;

impl<'v> Machine<'_, 'v> {
    /// What a part of a rule yields in a scope.
    pub(super) fn evaluate(&mut self, node: &'v Node, scope: Scope<'_, 'v>) -> Yield<'v> {
        self.budget.step()?;
        match node {
            Node::Literal(attribute) => Ok(Value::of(attribute)),
            Node::List(nodes) => {
                let elements: Result<_, _> = nodes.iter().map(|node| self.evaluate(node, scope)).collect();
                Value::list(elements?)
            }
            Node::Variable(variable) => self.variable(variable, scope),
            Node::If(branches) => self.branch(branches, scope),
            Node::And(nodes) => self.until(nodes, false, scope),
            Node::Or(nodes) => self.until(nodes, true, scope),
            Node::Truth { of, turned } => Ok(Value::Bool(self.evaluate(of, scope)?.is_true() != *turned)),
            Node::Each { kind, list, rule } => {
                let list = self.evaluate(list, scope)?;
                self.each(*kind, list, rule)
            }
            Node::Reduce { list, rule, first } => {
                let list = self.evaluate(list, scope)?;
                let first = self.evaluate(first, scope)?;
                self.reduce(list, rule, first)
            }
            Node::Apply(operator, arguments) => operators::apply(self, *operator, arguments, scope),
            Node::Unknown => Err(Fault::UnknownOperator),
        }
    }

    #[inline]
    fn variable(&mut self, variable: &'v Variable, scope: Scope<'_, 'v>) -> Yield<'v> {
        if variable.path.is_empty() {
            return scope.whole();
        }
        match (scope.at(variable.path.iter().map(|name| &**name)), &variable.default) {
            (Some(value), _) => Ok(value),
            (None, Some(default)) => self.evaluate(default, scope),
            (None, None) => Ok(Value::Null),
        }
    }

    fn branch(&mut self, branches: &'v [Node], scope: Scope<'_, 'v>) -> Yield<'v> {
        let (pairs, otherwise) = branches.as_chunks::<2>();
        for [condition, then] in pairs {
            if self.evaluate(condition, scope)?.is_true() {
                return self.evaluate(then, scope);
            }
        }
        otherwise.first().map_or(Ok(Value::Null), |otherwise| self.evaluate(otherwise, scope))
    }

    /// The first value whose truth is `wanted`, else the last one.
    fn until(&mut self, nodes: &'v [Node], wanted: bool, scope: Scope<'_, 'v>) -> Yield<'v> {
        let mut value = Value::Null;
        for node in nodes {
            value = self.evaluate(node, scope)?;
            if value.is_true() == wanted {
                break;
            }
        }
        Ok(value)
    }

    /// What is no list has no elements.
    fn each(&mut self, kind: Each, list: Value<'v>, rule: &'v Node) -> Yield<'v> {
        let list = if let Value::List(list) = list { list } else { List::Borrowed(&[]) };
        let mut made = Vec::new();
        for element in (0..list.len()).filter_map(|index| list.get(index)) {
            let value = self.evaluate(rule, Scope::Element(&element))?;
            match (kind, value.is_true()) {
                (Each::Map, _) => made.push(value),
                (Each::Filter, true) => made.push(element),
                (Each::All, false) | (Each::None, true) => return Ok(Value::Bool(false)),
                (Each::Some, true) => return Ok(Value::Bool(true)),
                (Each::Filter | Each::Some, false) | (Each::All, true) | (Each::None, false) => {}
            }
        }
        match kind {
            Each::Map | Each::Filter => Value::list(made),
            // As the reference has it: of no elements, not all do.
            Each::All => Ok(Value::Bool(!list.is_empty())),
            Each::Some => Ok(Value::Bool(false)),
            Each::None => Ok(Value::Bool(true)),
        }
    }

    fn reduce(&mut self, list: Value<'v>, rule: &'v Node, first: Value<'v>) -> Yield<'v> {
        let mut accumulator = first;
        if let Value::List(list) = list {
            for current in (0..list.len()).filter_map(|index| list.get(index)) {
                accumulator = self.evaluate(rule, Scope::Reduction(&accumulator, &current))?;
            }
        }
        Ok(accumulator)
    }

    /// The first `N` arguments, null where there are fewer.
    #[inline]
    pub(super) fn first<const N: usize>(
        &mut self,
        arguments: &'v Arguments,
        scope: Scope<'_, 'v>,
    ) -> Result<[Value<'v>; N], Fault> {
        let mut found = [const { Value::Null }; N];
        match arguments {
            Arguments::Listed(nodes) => {
                for (place, node) in found.iter_mut().zip(nodes) {
                    *place = self.evaluate(node, scope)?;
                }
            }
            Arguments::Spread(node) => {
                let value = self.evaluate(node, scope)?;
                if let Value::List(list) = value {
                    for (index, place) in found.iter_mut().enumerate() {
                        *place = list.get(index).unwrap_or(Value::Null);
                    }
                } else if let Some(place) = found.first_mut() {
                    *place = value;
                }
            }
        }
        Ok(found)
    }

    /// Hands each argument on in turn.
    #[inline]
    pub(super) fn for_each(
        &mut self,
        arguments: &'v Arguments,
        scope: Scope<'_, 'v>,
        mut take: impl FnMut(&mut Budget, Value<'v>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        match arguments {
            Arguments::Listed(nodes) => {
                for node in nodes {
                    let value = self.evaluate(node, scope)?;
                    take(self.budget, value)?;
                }
            }
            Arguments::Spread(node) => match self.evaluate(node, scope)? {
                Value::List(list) => {
                    self.budget.steps(list.len())?;
                    for value in (0..list.len()).filter_map(|index| list.get(index)) {
                        take(self.budget, value)?;
                    }
                }
                value => take(self.budget, value)?,
            },
        }
        Ok(())
    }

    /// What a path that a rule computes leads to: a number is an index or a name, null and the empty text everything.
    pub(super) fn look_up(&mut self, path: &Value<'v>, scope: Scope<'_, 'v>) -> Result<Option<Value<'v>>, Fault> {
        let path = path.clone().into_text(self.budget)?;
        if path.is_empty() {
            return scope.whole().map(Some);
        }
        self.budget.bytes(path.len())?;
        Ok(scope.at(path.split('.')))
    }
}
