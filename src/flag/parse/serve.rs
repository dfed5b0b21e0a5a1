//! `serve` with `by`, `salt` and `hash` beside it: one variant or exact percentages.

use std::collections::BTreeMap;

use serde_json::Value;

use super::document::name;
use super::walk::{Path, Walk, get, shorten};
use crate::flag::definition::{AttributePath, Hash, Serve, ServeTo};
use crate::flag::key::{VariantName, check_name};
use crate::flag::percent::{Percent, PercentFault};
use crate::flag::tree::{Entry, Node, NodeValue};
use crate::flag::words::nearest;

/// The variants of the flag; none where they could not be read, so that any name passes.
#[derive(Clone, Copy)]
pub(super) struct Known<'k>(pub(super) Option<&'k BTreeMap<VariantName, Value>>);

/// Reads `serve` and what stands beside it in the same map.
pub(super) fn read(
    walk: &mut Walk,
    path: &Path<'_>,
    entries: &[Entry],
    known: Known<'_>,
    strict: bool,
) -> Option<Serve> {
    let Some(node) = get(entries, "serve") else {
        without_serve(walk, path, entries, strict);
        return None;
    };
    let serve_path = path.key("serve");
    walk.remember(&serve_path, node.position);
    let to = match &node.value {
        NodeValue::Map(entries) if entries.is_empty() => {
            let help = "name a variant, or percentages such as {\"on\": 5}; leave `serve` out to serve the default";
            walk.error((&serve_path, node.position), "empty-serve", "`serve` names no variant", help);
            None
        }
        NodeValue::Map(entries) => percentages(walk, &serve_path, entries, Some(known)).map(ServeTo::Percentages),
        NodeValue::Text { .. } => variant(walk, &serve_path, node, known).map(ServeTo::Variant),
        _ => {
            walk.wrong_kind(&serve_path, node, "`serve`", "a variant's name in quotes or a map of percentages");
            None
        }
    };
    let by = get(entries, "by").and_then(|node| unit(walk, &path.key("by"), node));
    let salt = get(entries, "salt").and_then(|node| salt(walk, &path.key("salt"), node));
    let hash = get(entries, "hash").and_then(|node| hash(walk, &path.key("hash"), node));
    Some(Serve { to: to?, by, salt, hash: hash.unwrap_or_default() })
}

/// Reads the name of one of the flag's variants.
pub(super) fn variant(walk: &mut Walk, path: &Path<'_>, node: &Node, known: Known<'_>) -> Option<VariantName> {
    let text = walk.string(path, node, "the variant's name")?;
    known_variant(walk, (path, node.position), text, known)
}

/// Reads variant → percentage. Without `known`, any name passes.
pub(super) fn percentages(
    walk: &mut Walk,
    path: &Path<'_>,
    entries: &[Entry],
    known: Option<Known<'_>>,
) -> Option<BTreeMap<VariantName, Percent>> {
    let before = walk.error_count();
    let mut percentages = BTreeMap::new();
    for entry in entries {
        let path = path.key(&entry.key);
        let variant = known_variant(walk, (&path, entry.position), &entry.key, known.unwrap_or(Known(None)));
        let percent = percent(walk, &path, &entry.value);
        percentages.extend(variant.zip(percent));
    }
    if walk.error_count() > before {
        return None;
    }
    let sum: u64 = percentages.values().map(|percent| u64::from(percent.thousandths())).sum();
    if sum > u64::from(Percent::ALL.thousandths()) {
        let position = entries.first().map_or(crate::flag::tree::NOWHERE, |entry| entry.position);
        let message = format!("the percentages add up to {}.{:03} %, which is over 100", sum / 1000, sum % 1000);
        walk.error((path, position), "over-100", message, "lower them; what is left gets the default variant");
        return None;
    }
    Some(percentages)
}

fn known_variant(
    walk: &mut Walk,
    place: (&Path<'_>, crate::flag::diagnostic::Position),
    text: &str,
    known: Known<'_>,
) -> Option<VariantName> {
    let Some(variants) = known.0 else {
        return name(walk, place, text, "the variant", VariantName::new);
    };
    if let Some((name, _)) = variants.get_key_value(text) {
        return Some(name.clone());
    }
    let help = match nearest(text, variants.keys().map(VariantName::as_str)) {
        Some(near) => format!("did you mean `{}`?", shorten(near)),
        None => {
            let names: Vec<String> = variants.keys().take(8).map(|name| shorten(name.as_str())).collect();
            format!("the variants are: {}", names.join(", "))
        }
    };
    walk.error(place, "unknown-variant", format!("`{}` is not a variant of the flag", shorten(text)), help);
    None
}

fn without_serve(walk: &mut Walk, path: &Path<'_>, entries: &[Entry], strict: bool) {
    for entry in entries.iter().filter(|entry| matches!(entry.key.as_str(), "by" | "salt" | "hash")) {
        let message = format!("`{}` does nothing without `serve` in the same map", entry.key);
        let place = (&path.key(&entry.key), entry.position);
        walk.fault(strict, place, "without-serve", message, "add `serve`, or remove it; rules have their own");
    }
}

/// Reads a percentage from the number's own text, or from a string such as `"5%"`.
fn percent(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<Percent> {
    let text = match &node.value {
        NodeValue::Number(text) => text,
        NodeValue::Text { text, .. } if text.trim_end().ends_with('%') => text,
        NodeValue::Text { text, .. } => {
            let message = format!("`{}` is not a percentage", shorten(text));
            walk.error((path, node.position), "bad-percentage", message, PERCENT_HELP);
            return None;
        }
        _ => {
            walk.wrong_kind(path, node, "the percentage", "a number or a string such as \"5%\"");
            return None;
        }
    };
    let fault = match Percent::parse(text) {
        Ok(percent) => return Some(percent),
        Err(fault) => fault,
    };
    let help = match fault {
        PercentFault::NotANumber if text.contains(['e', 'E']) => "write it without an exponent, such as 10 or 0.125",
        PercentFault::NotANumber => PERCENT_HELP,
        PercentFault::OutOfRange => "percentages lie between 0 and 100",
        PercentFault::TooFine => "three decimals are the finest share: one user in 100,000",
    };
    let message = match fault {
        PercentFault::NotANumber => format!("the percentage `{}` is not a plain decimal number", shorten(text)),
        fault => format!(
            "the percentage `{}` {}{fault}",
            shorten(text),
            if fault == PercentFault::OutOfRange { "is " } else { "" }
        ),
    };
    walk.error((path, node.position), "bad-percentage", message, help);
    None
}

const PERCENT_HELP: &str = "write a number such as 5 or 0.125, or a string such as \"5%\"";

/// The path of the unit; the default is left out.
fn unit(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<AttributePath> {
    let text = walk.string(path, node, "`by`")?;
    let unit = attribute(walk, path, node.position, text)?;
    (unit.parts() != [TARGETING_KEY]).then_some(unit)
}

/// The attribute that units are by default.
const TARGETING_KEY: &str = "targetingKey";

/// Reads a dotted path of attribute names.
pub(super) fn attribute(
    walk: &mut Walk,
    path: &Path<'_>,
    position: crate::flag::diagnostic::Position,
    text: &str,
) -> Option<AttributePath> {
    let attribute = AttributePath::parse(text);
    if attribute.is_none() {
        let message = format!("`{}` is no attribute: a name between its dots is empty", shorten(text));
        let help = "write names joined by single dots; for a name that holds dots, `attr: {name: …}`";
        walk.error((path, position), "bad-attribute", message, help);
    }
    attribute
}

fn salt(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<String> {
    let text = walk.string(path, node, "`salt`")?;
    name(walk, (path, node.position), text, "the salt", |text| check_name(text).map(|()| text.to_owned()))
}

fn hash(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<Hash> {
    let text = walk.string(path, node, "`hash`")?;
    let hash = Hash::ALL.iter().find(|(word, _)| *word == text).map(|(_, hash)| *hash);
    if hash.is_none() {
        let words = Hash::ALL.map(|(word, _)| word);
        let help = match nearest(text, words) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known: {}", words.join(", ")),
        };
        walk.error((path, node.position), "unknown-hash", format!("the hash `{}` is unknown", shorten(text)), help);
    }
    hash
}
