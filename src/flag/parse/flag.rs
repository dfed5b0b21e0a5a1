//! One flag: its own keys in the order of the table in `words`, and how strictly it is taken.
//!
//! A flag that uses only flagd's keys is taken as flagd takes it: what flagd ignores is a warning. As soon as it uses
//! one key that only Rampart knows, no other tool reads it, and every mistake is an error.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::OBJECT_NESTING_MAX;
use super::document::{Inherited, name, warn_of_odd_name};
use super::evaluators::Evaluators;
use super::rule::{requires, rules};
use super::serve::{self, Known};
use super::walk::{Path, Walk, get, shorten};
use crate::flag::definition::{Definition, State, VariantType};
use crate::flag::json::nesting_help;
use crate::flag::key::{FlagSetName, VariantName};
use crate::flag::limits::{TAGS_MAX, VARIANTS_MAX};
use crate::flag::tree::{Entry, Node, NodeValue, NumberFault, number};
use crate::flag::words::{Word, nearest};

/// Where a flag's flag set comes from.
pub(super) enum SetRule<'s> {
    /// `metadata.flagSetId`, else the document's.
    Inherit(&'s Inherited),
    /// The caller knows it; the flag may repeat it.
    Exactly(Option<&'s FlagSetName>),
}

/// What reading a flag yields.
pub(super) struct Reading {
    /// The flag set; none where it cannot be told.
    pub(super) set: Option<Option<FlagSetName>>,
    /// The flag; none where there was an error.
    pub(super) definition: Option<Definition>,
}

/// Reads one flag. `words` are its known keys.
pub(super) fn read(walk: &mut Walk, path: &Path<'_>, node: &Node, words: &[Word], rule: &SetRule<'_>) -> Reading {
    let before = walk.error_count();
    walk.remember(path, node.position);
    walk.writing(path, node);
    let Some(entries) = walk.map(path, node, "a flag") else { return Reading { set: None, definition: None } };
    let strict = entries.iter().any(|entry| words.iter().any(|word| word.native && word.name == entry.key));
    walk.unknown_keys(path, entries, words, strict);
    let flag = Flag { path, entries, strict };
    let (metadata, set) = flag.metadata(walk, rule);
    let variants = flag.variants(walk, node);
    let known = Known(variants.as_ref());
    let definition = Definition {
        description: flag.text(walk, "description"),
        state: flag.state(walk, node),
        default_variant: flag.default_variant(walk, known),
        safe_variant: flag.field(walk, "safeVariant", |walk, path, node| serve::variant(walk, path, node, known)),
        owner: flag.text(walk, "owner"),
        tags: flag.field(walk, "tags", tags).unwrap_or_default(),
        expires: flag.field(walk, "expires", expires),
        requires: flag.field(walk, "requires", requires).unwrap_or_default(),
        rules: flag.field(walk, "rules", |walk, path, node| rules(walk, path, node, known)).unwrap_or_default(),
        serve: serve::read(walk, path, entries, known, strict),
        targeting: flag.targeting(walk, rule),
        source: flag.text(walk, "source"),
        metadata,
        variants: variants.unwrap_or_default(),
    };
    let good = walk.error_count() == before;
    Reading { set, definition: good.then_some(definition) }
}

/// The flag set that some metadata names.
pub(super) enum NamedSet {
    /// It names none.
    Unnamed,
    /// It names this one; an empty `flagSetId` names "no set".
    Named(Option<FlagSetName>),
    /// It names one that cannot be read.
    Unclear,
}

/// Reads metadata and the flag set it names; what is no string, number or boolean is dropped.
pub(super) fn metadata(
    walk: &mut Walk,
    path: &Path<'_>,
    node: &Node,
    strict: bool,
) -> (BTreeMap<String, Value>, NamedSet) {
    let Some(entries) = walk.map(path, node, "`metadata`") else { return (BTreeMap::new(), NamedSet::Unclear) };
    let mut metadata = BTreeMap::new();
    let mut set = NamedSet::Unnamed;
    for entry in entries {
        let path = path.key(&entry.key);
        if entry.key == FLAG_SET_ID {
            set = flag_set(walk, &path, &entry.value).map_or(NamedSet::Unclear, NamedSet::Named);
            continue;
        }
        match &entry.value.value {
            NodeValue::Bool(_) | NodeValue::Text { .. } => {
                metadata.insert(entry.key.clone(), entry.value.to_json());
            }
            NodeValue::Number(_) => {
                if numbers(walk, &path, &entry.value) {
                    metadata.insert(entry.key.clone(), entry.value.to_json());
                }
            }
            _ => {
                let message = format!("metadata `{}` is {}, and is left out", shorten(&entry.key), entry.value.kind());
                let help = "metadata values are strings, numbers or booleans";
                walk.fault(strict, (&path, entry.value.position), "bad-metadata", message, help);
            }
        }
    }
    (metadata, set)
}

const FLAG_SET_ID: &str = "flagSetId";

fn flag_set(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<Option<FlagSetName>> {
    match walk.string(path, node, "`flagSetId`")? {
        "" => Some(None),
        text => {
            warn_of_odd_name(walk, (path, node.position), text, "the flag set");
            name(walk, (path, node.position), text, "the flag set", FlagSetName::new).map(Some)
        }
    }
}

/// True where every number in the value fits into 64 bits; reports all that do not.
pub(super) fn numbers(walk: &mut Walk, path: &Path<'_>, node: &Node) -> bool {
    let before = walk.error_count();
    match &node.value {
        NodeValue::Number(text) => {
            number_fits(walk, path, node, text);
        }
        NodeValue::List(items) => {
            for (index, item) in items.iter().enumerate() {
                numbers(walk, &path.index(index), item);
            }
        }
        NodeValue::Map(entries) => {
            for entry in entries.iter() {
                numbers(walk, &path.key(&entry.key), &entry.value);
            }
        }
        _ => {}
    }
    walk.error_count() == before
}

/// True where a number fits into 64 bits; reports it where not.
pub(super) fn number_fits(walk: &mut Walk, path: &Path<'_>, node: &Node, text: &str) -> bool {
    let (message, help) = match number(text) {
        Ok(_) => return true,
        Err(NumberFault::NotFinite) => ("is not finite", "write a number between -1.7e308 and 1.7e308"),
        Err(NumberFault::TooLong) => {
            ("does not fit into 64 bits", "write it as a float, such as 1.5e20, or as a string")
        }
    };
    walk.error((path, node.position), "bad-number", format!("the number {} {message}", shorten(text)), help);
    false
}

/// A flag's map while it is read.
struct Flag<'f> {
    path: &'f Path<'f>,
    entries: &'f [Entry],
    /// True where a mistake that flagd tolerates is an error.
    strict: bool,
}

impl Flag<'_> {
    fn field<T>(
        &self,
        walk: &mut Walk,
        key: &str,
        read: impl FnOnce(&mut Walk, &Path<'_>, &Node) -> Option<T>,
    ) -> Option<T> {
        let node = get(self.entries, key)?;
        let path = self.path.key(key);
        walk.remember(&path, node.position);
        read(walk, &path, node)
    }

    fn text(&self, walk: &mut Walk, key: &str) -> Option<String> {
        self.field(walk, key, |walk, path, node| walk.free_text(path, node, &format!("`{key}`")))
    }

    fn state(&self, walk: &mut Walk, flag: &Node) -> State {
        let state = self.field(walk, "state", |walk, path, node| {
            match walk.string(path, node, "`state`")? {
                "ENABLED" => return Some(State::Enabled),
                "DISABLED" => return Some(State::Disabled),
                other => {
                    let message = format!("the state `{}` is unknown", shorten(other));
                    let help = match nearest(other, ["ENABLED", "DISABLED"]) {
                        Some(near) => format!("did you mean {near}?"),
                        None => "write ENABLED or DISABLED".to_owned(),
                    };
                    walk.error((path, node.position), "unknown-state", message, help);
                }
            }
            None
        });
        if !self.strict && get(self.entries, "state").is_none() {
            let place = (self.path, flag.position);
            walk.warning(place, "missing-state", "the flag has no `state`", "add `state: ENABLED`; flagd requires it");
        }
        state.unwrap_or_default()
    }

    /// The metadata with what it inherits, and the flag set; none where that cannot be told.
    fn metadata(&self, walk: &mut Walk, rule: &SetRule<'_>) -> (BTreeMap<String, Value>, Option<Option<FlagSetName>>) {
        let own = self.field(walk, "metadata", |walk, path, node| {
            let (own, set) = metadata(walk, path, node, self.strict);
            if let (SetRule::Exactly(wanted), NamedSet::Named(set)) = (rule, &set)
                && set.as_ref() != *wanted
            {
                let path = path.key(FLAG_SET_ID);
                let help = "name the flag set in the request (`flagSet`), and the same here or none";
                walk.error((&path, node.position), "other-flag-set", "the flag names another flag set", help);
            }
            Some((own, set))
        });
        let (own, named) = own.unwrap_or((BTreeMap::new(), NamedSet::Unnamed));
        match rule {
            SetRule::Exactly(set) => (own, Some(set.cloned())),
            SetRule::Inherit(inherited) => {
                let mut metadata = inherited.metadata.clone();
                metadata.extend(own);
                let set = match named {
                    NamedSet::Unnamed => Some(inherited.set.clone()),
                    NamedSet::Named(set) => Some(set),
                    NamedSet::Unclear => None,
                };
                (metadata, set)
            }
        }
    }

    /// The variants; none where they are missing or no map. A value that is refused stays as null, so that its name is
    /// known.
    fn variants(&self, walk: &mut Walk, flag: &Node) -> Option<BTreeMap<VariantName, Value>> {
        let Some(node) = get(self.entries, "variants") else {
            let help = "add `variants`, such as {\"on\": true, \"off\": false}";
            walk.error((self.path, flag.position), "missing-key", "the flag has no `variants`", help);
            return None;
        };
        let path = self.path.key("variants");
        walk.remember(&path, node.position);
        let entries = walk.map(&path, node, "`variants`")?;
        if entries.is_empty() || entries.len() > VARIANTS_MAX {
            let message = format!("{} variants, 1 to {VARIANTS_MAX} are allowed", entries.len());
            walk.error((&path, node.position), "variant-count", message, "a flag needs a variant to serve");
        }
        let mut first: Option<(&str, VariantType)> = None;
        let mut variants = BTreeMap::new();
        for entry in entries {
            let path = path.key(&entry.key);
            let name = name(walk, (&path, entry.position), &entry.key, "the variant", VariantName::new);
            let value = variant_value(walk, &path, entry, &mut first);
            if let Some(name) = name {
                variants.insert(name, value.unwrap_or(Value::Null));
            }
        }
        Some(variants)
    }

    fn default_variant(&self, walk: &mut Walk, known: Known<'_>) -> Option<VariantName> {
        self.field(walk, "defaultVariant", |walk, path, node| {
            let nothing = node.value == NodeValue::Null || node.text() == Some("");
            if nothing { None } else { serve::variant(walk, path, node, known) }
        })
    }

    fn targeting(&self, walk: &mut Walk, rule: &SetRule<'_>) -> Option<Value> {
        self.field(walk, "targeting", |walk, path, node| {
            if is_empty_map(node) {
                return None;
            }
            for native in ["rules", "serve"] {
                if get(self.entries, native).is_some() {
                    let message = format!("`targeting` stands beside `{native}`");
                    let help = format!("keep one: `targeting` is flagd's way, `{native}` is Rampart's");
                    walk.error((path, node.position), "two-ways", message, help);
                }
            }
            if !matches!(node.value, NodeValue::Map(_)) {
                let message = format!("`targeting` is {}, not a JSONLogic rule", node.kind());
                walk.warning((path, node.position), "odd-targeting", message, "write a rule, such as {\"if\": […]}");
            }
            if !numbers(walk, path, node) {
                return None;
            }
            let none = Evaluators::default();
            let evaluators = if let SetRule::Inherit(inherited) = rule { &inherited.evaluators } else { &none };
            let placed = evaluators.put_in_place(walk, path, node)?;
            // The canonical form of the flag holds the targeting one level below its top.
            if placed.depth() > OBJECT_NESTING_MAX - 1 {
                let message = "with its evaluators the targeting nests too deeply";
                walk.error((path, node.position), "nesting", message, nesting_help());
                return None;
            }
            (!is_empty_map(&placed)).then(|| placed.to_json())
        })
    }
}

/// flagd's way to write a rule that is none.
fn is_empty_map(node: &Node) -> bool {
    matches!(&node.value, NodeValue::Map(entries) if entries.is_empty())
}

fn variant_value<'n>(
    walk: &mut Walk,
    path: &Path<'_>,
    entry: &'n Entry,
    first: &mut Option<(&'n str, VariantType)>,
) -> Option<Value> {
    let place = (path, entry.value.position);
    let value = numbers(walk, path, &entry.value).then(|| entry.value.to_json())?;
    let Some(kind) = VariantType::of(&value) else {
        let message = format!("the variant `{}` is {}", shorten(&entry.key), entry.value.kind());
        walk.error(place, "bad-variant", message, "variants are booleans, strings, numbers or objects");
        return None;
    };
    let (other, wanted) = *first.get_or_insert((&entry.key, kind));
    if kind != wanted {
        let (name, other) = (shorten(&entry.key), shorten(other));
        let message = format!("the variant `{name}` is a {}, but `{other}` is a {}", kind.name(), wanted.name());
        walk.error(place, "mixed-variants", message, "all variants of a flag have one type");
    }
    Some(value)
}

fn tags(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<BTreeSet<String>> {
    let items = walk.list(path, node, "`tags`")?;
    if items.len() > TAGS_MAX {
        let message = format!("{} tags, at most {TAGS_MAX} are allowed", items.len());
        walk.error((path, node.position), "too-many", message, "keep those that somebody searches for");
        return None;
    }
    let mut tags = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        let Some(tag) = walk.free_text(&path, item, "a tag") else { continue };
        let place = (&path, item.position);
        if tag.is_empty() {
            walk.error(place, "empty-text", "a tag is empty", "remove it");
        } else if !tags.insert(tag) {
            walk.warning(place, "duplicate-tag", "the tag stands twice", "remove it");
        }
    }
    Some(tags)
}

fn expires(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<String> {
    let text = walk.string(path, node, "`expires`")?;
    let digits = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<i16>().ok());
    let shaped = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    let date = || {
        let (month, day) = (i8::try_from(digits(5..7)?).ok()?, i8::try_from(digits(8..10)?).ok()?);
        jiff::civil::Date::new(digits(0..4)?, month, day).ok()
    };
    if shaped && date().is_some() {
        return Some(text.to_owned());
    }
    let message = format!("`{}` is not a day", shorten(text));
    walk.error((path, node.position), "bad-day", message, "write it as YYYY-MM-DD, such as 2026-01-31");
    None
}
