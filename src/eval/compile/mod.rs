//! From definitions to a set that can answer. Everything that can fail about a flag fails here.
//!
//! Each changed object is first compiled by itself (`flag`, `serving`, `condition`,
//! `logic`); then `settle` checks how objects
//! refer to each other and refuses whatever would leave a reference without a target. An object that is refused keeps
//! its last good form, or stays absent, and is named by the diagnostics; the rest goes on. What comes out always
//! compiles cleanly from its own definitions. Flags and segments that nobody changed are shared with the set before:
//! segments and prerequisites are looked up by name when a flag is asked, so their users need no new form.

pub(in crate::eval) mod condition;
mod drafts;
mod flag;
mod logic;
mod serving;
mod settle;
mod walk;

use crate::flag::diagnostic::Diagnostic;

use super::object::Object;
use super::set::CompiledSet;

/// Applies changed objects to a set. Their order does not matter; where two name the same thing, the later revision
/// counts. Pointers in diagnostics are those of a document that holds the object: `/flags/<key>/…`,
/// `/segments/<name>/…`.
pub fn compile(before: &CompiledSet, changed: &[Object]) -> (CompiledSet, Vec<Diagnostic>) {
    let mut drafts = drafts::Drafts::collect(before, changed);
    settle::settle(&mut drafts);
    drafts.finish()
}

/// Compiles a whole environment at once.
pub fn compile_all(objects: impl IntoIterator<Item = Object>) -> (CompiledSet, Vec<Diagnostic>) {
    let objects: Vec<Object> = objects.into_iter().collect();
    compile(&CompiledSet::default(), &objects)
}

#[cfg(test)]
mod tests;
