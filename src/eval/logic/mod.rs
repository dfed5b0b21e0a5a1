//! flagd's targeting: JSONLogic, in a tree of our own.
//!
//! `compile::logic` turns a rule into the tree once; per request nothing is parsed, and values are borrowed from the rule
//! and the context until an operator makes a new one. Semantics are those of the JSONLogic reference, as flagd's daemon
//! has them where implementations differ; every operator says where it departs. The work of one evaluation is limited,
//! since a rule may loop over what a stranger sends. What a result means for a flag is decided in `evaluate`.

use crate::flag::time::Timestamp;

use super::context::Context;
use super::fractional::FractionalHash;

use budget::{Budget, Fault};
use machine::Machine;
use scope::{Root, Scope};
use tree::Node;
use value::Value;

pub mod budget;
mod machine;
mod operators;
pub mod scope;
pub mod text;
pub mod tree;
pub mod value;

/// A rule that can be run.
#[derive(Debug)]
pub struct Logic {
    root: Node,
}

/// What a rule may know beside the context.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'v> {
    /// `$flagd.flagKey`.
    pub flag_key: &'v str,
    /// `$flagd.timestamp`, and the moment of the evaluation.
    pub now: Timestamp,
    /// The generation of `fractional`.
    pub hash: FractionalHash,
}

impl Logic {
    /// Wraps a tree, which must not nest deeper than `compile` lets it: evaluation descends as deep as the tree does.
    pub(super) fn new(root: Node) -> Self {
        Self { root }
    }

    /// What the rule yields for a context.
    ///
    /// # Errors
    /// An operator that nobody knows was reached, or the work went beyond its limit.
    pub fn run<'v>(
        &'v self,
        context: &'v Context<'v>,
        facts: Facts<'v>,
        budget: &mut Budget,
    ) -> Result<Value<'v>, Fault> {
        let root = Root { context, facts };
        Machine { facts, budget }.evaluate(&self.root, Scope::Root(root))
    }
}

#[cfg(test)]
mod tests;
