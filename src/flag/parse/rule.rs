//! What a flag says in lists of its own: prerequisites and rules.

use super::condition::Conditions;
use super::document::name;
use super::serve::{self, Known};
use super::walk::{Path, Walk, get};
use crate::flag::definition::{Requirement, Rule};
use crate::flag::key::{FlagKey, VariantName};
use crate::flag::limits::{REQUIRES_MAX, RULES_MAX};
use crate::flag::tree::Node;
use crate::flag::words::{REQUIREMENT, RULE};

/// Reads `requires`. Whether the flags exist is found by `compile`.
pub(super) fn requires(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<Vec<Requirement>> {
    let items = walk.list(path, node, "`requires`")?;
    if items.len() > REQUIRES_MAX {
        let message = format!("{} prerequisites, at most {REQUIRES_MAX} are allowed", items.len());
        walk.error((path, node.position), "too-many", message, "let one flag stand for several");
        return None;
    }
    let mut requires = Vec::new();
    for (index, item) in items.iter().enumerate() {
        requires.extend(requirement(walk, &path.index(index), item));
    }
    Some(requires)
}

fn requirement(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<Requirement> {
    walk.remember(path, node.position);
    let entries = walk.map(path, node, "a prerequisite")?;
    walk.unknown_keys(path, entries, REQUIREMENT, true);
    let mut text = |key: &str| {
        let Some(value) = get(entries, key) else {
            let help = "a prerequisite is {flag: other_flag, variant: \"on\"}";
            walk.error((path, node.position), "missing-key", format!("a prerequisite without `{key}`"), help);
            return None;
        };
        let path = path.key(key);
        let text = walk.string(&path, value, &format!("`{key}`"))?;
        Some((text, value.position))
    };
    let (flag, variant) = (text("flag"), text("variant"));
    let ((flag, flag_at), (variant, variant_at)) = (flag?, variant?);
    Some(Requirement {
        flag: name(walk, (&path.key("flag"), flag_at), flag, "the flag key", FlagKey::new)?,
        variant: name(walk, (&path.key("variant"), variant_at), variant, "the variant", VariantName::new)?,
    })
}

/// Reads `rules`; their conditions are counted together.
pub(super) fn rules(walk: &mut Walk, path: &Path<'_>, node: &Node, known: Known<'_>) -> Option<Vec<Rule>> {
    let items = walk.list(path, node, "`rules`")?;
    if items.len() > RULES_MAX {
        let message = format!("{} rules, at most {RULES_MAX} are allowed", items.len());
        walk.error((path, node.position), "too-many", message, "gather conditions in segments and lists");
        return None;
    }
    let mut conditions = Conditions::default();
    let mut rules = Vec::new();
    for (index, item) in items.iter().enumerate() {
        rules.extend(one_rule(walk, &path.index(index), item, known, &mut conditions));
    }
    Some(rules)
}

fn one_rule(
    walk: &mut Walk,
    path: &Path<'_>,
    node: &Node,
    known: Known<'_>,
    conditions: &mut Conditions,
) -> Option<Rule> {
    walk.remember(path, node.position);
    let entries = walk.map(path, node, "a rule")?;
    walk.unknown_keys(path, entries, RULE, true);
    let name = get(entries, "name").and_then(|name| walk.free_text(&path.key("name"), name, "`name`"));
    let when = match get(entries, "when") {
        Some(when) => conditions.map(walk, &path.key("when"), when, "`when`"),
        None => {
            let help = "add `when`, such as `when: {country: DE}`; `when: {}` matches everybody";
            walk.error((path, node.position), "missing-key", "a rule without `when`", help);
            None
        }
    };
    if get(entries, "serve").is_none() {
        let help = "add `serve` with a variant or percentages";
        walk.error((path, node.position), "missing-key", "a rule without `serve`", help);
    }
    let serve = serve::read(walk, path, entries, known, true);
    Some(Rule { name, when: when?, serve: serve? })
}
