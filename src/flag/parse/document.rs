//! The frame of a document: environment, metadata, segments, and the flags as a map or, as flagd also takes them, a
//! list. Decides which flags and segments are bad, and when the whole document is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Parsed;
use super::condition::Conditions;
use super::evaluators::Evaluators;
use super::flag::{self, NamedSet, Reading, SetRule};
use super::walk::{Path, Walk, get, shorten};
use crate::flag::definition::Segment;
use crate::flag::diagnostic::Position;
use crate::flag::key::{EnvironmentName, FlagId, FlagKey, FlagSetName, NameFault, SegmentName, is_plain};
use crate::flag::limits::{FLAGS_MAX, SEGMENTS_MAX};
use crate::flag::tree::{Entry, Node, NodeValue};
use crate::flag::words::{DOCUMENT, FLAG, FLAG_KEY, Word};

/// Reads a document into `parsed`. Every error outside the flags and segments makes it unreadable: what the document
/// means as a whole is then in doubt.
pub(super) fn read(walk: &mut Walk, node: &Node, parsed: &mut Parsed) {
    let top = Path::TOP;
    walk.remember(&top, node.position);
    let Some(entries) = walk.map(&top, node, "the document") else {
        parsed.unreadable = true;
        return;
    };
    let before = walk.error_count();
    walk.keys_writing(&top, entries);
    walk.unknown_keys(&top, entries, DOCUMENT, uses_native_words(entries));
    parsed.file.environment = environment(walk, entries);
    let (metadata, set) = metadata(walk, entries);
    let inherited = Inherited { set, metadata, evaluators: Evaluators::read(walk, entries) };
    parsed.file.flag_set.clone_from(&inherited.set);
    parsed.unreadable |= walk.error_count() > before;
    parsed.unreadable |= !segments(walk, entries, parsed);
    parsed.unreadable |= !flags(walk, node, entries, &inherited, parsed);
}

/// Reads one segment.
pub(super) fn segment(walk: &mut Walk, path: &Path<'_>, node: &Node) -> Option<Segment> {
    let before = walk.error_count();
    walk.writing(path, node);
    let when = Conditions::default().map(walk, path, node, "a segment")?;
    (walk.error_count() == before).then_some(Segment { when })
}

/// Reads a name of one of the kinds of `flag::key`.
pub(super) fn name<N>(
    walk: &mut Walk,
    place: (&Path<'_>, Position),
    text: &str,
    what: &str,
    make: fn(&str) -> Result<N, NameFault>,
) -> Option<N> {
    match make(text) {
        Ok(name) => Some(name),
        Err(fault) => {
            let help = match fault {
                NameFault::Empty => "write 1 to 256 bytes",
                NameFault::TooLong { .. } => "shorten it",
                NameFault::Invisible { .. } => "type the name again instead of pasting it",
                NameFault::NotNormalized => "type accented letters as one character",
                NameFault::Alphabet { .. } => "use lower case letters, digits, '.', '_' and '-'",
            };
            walk.error(place, "bad-name", format!("{what} `{}`: {fault}", shorten(text)), help);
            None
        }
    }
}

/// Warns of names that other tools, shells and URLs must quote.
pub(super) fn warn_of_odd_name(walk: &mut Walk, place: (&Path<'_>, Position), text: &str, what: &str) {
    if !is_plain(text) {
        let message = format!("{what} `{}` holds characters other than A-Z a-z 0-9 . _ -", shorten(text));
        walk.warning(place, "odd-name", message, "such names must be quoted in URLs and shells");
    }
}

/// What the flags of a document have in common.
pub(super) struct Inherited {
    /// The flag set of flags that name none.
    pub(super) set: Option<FlagSetName>,
    /// Metadata under the flags' own.
    pub(super) metadata: BTreeMap<String, Value>,
    /// What `$ref` in their targeting stands for.
    pub(super) evaluators: Evaluators,
}

/// True where the document or one of its flags uses a word that only Rampart knows.
fn uses_native_words(entries: &[Entry]) -> bool {
    let native = |entries: &[Entry], words: &[Word]| {
        entries.iter().any(|entry| words.iter().any(|word| word.native && word.name == entry.key))
    };
    let flag = |node: &Node| matches!(&node.value, NodeValue::Map(entries) if native(entries, FLAG));
    native(entries, DOCUMENT)
        || match get(entries, "flags").map(|node| &node.value) {
            Some(NodeValue::Map(flags)) => flags.iter().any(|entry| flag(&entry.value)),
            Some(NodeValue::List(flags)) => flags.iter().any(flag),
            _ => false,
        }
}

fn environment(walk: &mut Walk, entries: &[Entry]) -> Option<EnvironmentName> {
    let node = get(entries, "environment")?;
    let path = Path::TOP.key("environment");
    walk.writing(&path, node);
    let text = walk.string(&path, node, "`environment`")?;
    name(walk, (&path, node.position), text, "the environment", EnvironmentName::new)
}

fn metadata(walk: &mut Walk, entries: &[Entry]) -> (BTreeMap<String, Value>, Option<FlagSetName>) {
    let Some(node) = get(entries, "metadata") else { return (BTreeMap::new(), None) };
    let path = Path::TOP.key("metadata");
    walk.writing(&path, node);
    let (metadata, set) = flag::metadata(walk, &path, node, false);
    let set = match set {
        NamedSet::Named(set) => set,
        // What is unclear has been reported and makes the document unreadable.
        NamedSet::Unnamed | NamedSet::Unclear => None,
    };
    (metadata, set)
}

/// Returns false where it is not clear which segments the document means.
fn segments(walk: &mut Walk, entries: &[Entry], parsed: &mut Parsed) -> bool {
    let Some(node) = get(entries, "segments") else { return true };
    let path = Path::TOP.key("segments");
    let Some(entries) = walk.map(&path, node, "`segments`") else { return false };
    if entries.len() > SEGMENTS_MAX {
        too_many(walk, (&path, node.position), "segments", entries.len(), SEGMENTS_MAX);
        return false;
    }
    walk.keys_writing(&path, entries);
    let mut seen = BTreeSet::new();
    for entry in entries {
        let path = path.key(&entry.key);
        let place = (&path, entry.position);
        walk.remember(&path, entry.position);
        let name = name(walk, place, &entry.key, "the segment", SegmentName::new);
        if name.is_some() {
            warn_of_odd_name(walk, place, &entry.key, "the segment");
        }
        let segment = segment(walk, &path, &entry.value);
        let first = seen.insert(entry.key.as_str());
        match (name, segment) {
            (Some(name), Some(segment)) if first => {
                parsed.file.segments.insert(name, segment);
            }
            _ => {
                parsed.bad_segments.insert(entry.key.clone());
            }
        }
    }
    parsed.file.segments.retain(|name, _| !parsed.bad_segments.contains(name.as_str()));
    true
}

/// Returns false where it is not clear which flags the document means.
fn flags(walk: &mut Walk, root: &Node, entries: &[Entry], inherited: &Inherited, parsed: &mut Parsed) -> bool {
    let path = Path::TOP.key("flags");
    let Some(node) = get(entries, "flags") else {
        let help = "add `flags:`; a document without flags says `flags: {}`";
        walk.error((&Path::TOP, root.position), "missing-key", "the document has no `flags`", help);
        return false;
    };
    let count = match &node.value {
        NodeValue::Map(entries) => entries.len(),
        NodeValue::List(items) => items.len(),
        _ => {
            walk.wrong_kind(&path, node, "`flags`", "a map");
            return false;
        }
    };
    if count > FLAGS_MAX {
        too_many(walk, (&path, node.position), "flags", count, FLAGS_MAX);
        return false;
    }
    let mut collected = Collected { parsed, inherited, seen: BTreeMap::new() };
    match &node.value {
        NodeValue::Map(entries) => {
            walk.keys_writing(&path, entries);
            for entry in entries.iter() {
                collected.flag(walk, (&path.key(&entry.key), entry.position), &entry.key, &entry.value, FLAG);
            }
        }
        NodeValue::List(items) => {
            for (index, item) in items.iter().enumerate() {
                collected.item(walk, &path.index(index), item);
            }
        }
        _ => {}
    }
    true
}

struct Collected<'d> {
    parsed: &'d mut Parsed,
    inherited: &'d Inherited,
    /// Every flag so far with its place.
    seen: BTreeMap<FlagId, Position>,
}

impl Collected<'_> {
    /// One element of a list of flags.
    fn item(&mut self, walk: &mut Walk, path: &Path<'_>, node: &Node) {
        let Some(entries) = walk.map(path, node, "a flag") else {
            // Any flag may be meant, so none counts as deleted.
            self.parsed.unreadable = true;
            return;
        };
        let key_path = path.key(FLAG_KEY.name);
        let key = get(entries, FLAG_KEY.name).and_then(|key| {
            let text = walk.string(&key_path, key, "`key`")?;
            Some((text, key.position))
        });
        let Some((key, position)) = key else {
            if get(entries, FLAG_KEY.name).is_none() {
                let help = "in a list, every flag holds its `key`";
                walk.error((path, node.position), "missing-key", "a flag without `key`", help);
            }
            self.parsed.unreadable = true;
            return;
        };
        let words: Vec<Word> = FLAG.iter().copied().chain([FLAG_KEY]).collect();
        self.flag(walk, (path, position), key, node, &words);
    }

    fn flag(&mut self, walk: &mut Walk, (path, at): (&Path<'_>, Position), key: &str, node: &Node, words: &[Word]) {
        let good_key = name(walk, (path, at), key, "the flag key", FlagKey::new);
        if good_key.is_some() {
            warn_of_odd_name(walk, (path, at), key, "the flag key");
        }
        let Reading { set, definition } = flag::read(walk, path, node, words, &SetRule::Inherit(self.inherited));
        walk.remember(path, at);
        let (Some(good_key), Some(flag_set)) = (good_key, set) else {
            self.parsed.bad_keys.insert(key.to_owned());
            return;
        };
        let id = FlagId { flag_set, key: good_key };
        self.parsed.pointers.insert(id.clone(), path.pointer());
        if let Some(first) = self.seen.insert(id.clone(), at) {
            // A map's duplicate keys have been reported as such.
            if path.ends_with_index() {
                let message = format!("the flag {id} stands twice, first in line {}", first.line);
                walk.error((path, at), "duplicate-key", message, "keep one of the two");
            }
            self.parsed.file.flags.remove(&id);
            self.parsed.bad_flags.insert(id);
            return;
        }
        match definition {
            Some(definition) => {
                self.parsed.file.flags.insert(id, definition);
            }
            None => {
                self.parsed.bad_flags.insert(id);
            }
        }
    }
}

fn too_many(walk: &mut Walk, place: (&Path<'_>, Position), what: &str, count: usize, max: usize) {
    let message = format!("{count} {what}, at most {max} are allowed");
    walk.error(place, "too-many", message, "split them over several environments");
}
