//! The walk over a tree: the path from the top, the places worth remembering and the list of what is wrong.
//!
//! A path is a chain on the stack and becomes a pointer only where one is needed, so that a document without mistakes
//! costs no pointers for its values. It knows nothing of flags.

use crate::flag::diagnostic::{Diagnostic, Position, Positions, Severity, join_pointer};
use crate::flag::limits::{DIAGNOSTICS_MAX, TEXT_BYTES_MAX};
use crate::flag::tree::{Entry, KeyKind, NOWHERE, Node, NodeValue};
use crate::flag::words::{Word, nearest};

/// The keys and indexes that lead to a value, innermost first.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    token: Token<'p>,
}

#[derive(Clone, Copy)]
enum Token<'p> {
    Top,
    Key(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    pub(super) const TOP: Path<'static> = Path { parent: None, token: Token::Top };

    pub(super) fn key(&'p self, key: &'p str) -> Self {
        Self { parent: Some(self), token: Token::Key(key) }
    }

    pub(super) fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), token: Token::Index(index) }
    }

    /// True for an element of a list.
    pub(super) fn ends_with_index(&self) -> bool {
        matches!(self.token, Token::Index(_))
    }

    /// The RFC 6901 pointer.
    pub(super) fn pointer(&self) -> String {
        let parent = self.parent.map_or_else(String::new, Path::pointer);
        match self.token {
            Token::Top => parent,
            Token::Key(key) => join_pointer(&parent, key),
            Token::Index(index) => format!("{parent}/{index}"),
        }
    }
}

/// What has been found so far.
#[derive(Default)]
pub(super) struct Walk {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    error_count: usize,
    warning_count: usize,
    pub(super) positions: Positions,
}

impl Walk {
    pub(super) fn new(file: Option<&str>) -> Self {
        let positions = Positions { file: file.map(str::to_owned), ..Positions::default() };
        Self { positions, ..Self::default() }
    }

    /// How many errors there are, those beyond the limit included.
    pub(super) fn error_count(&self) -> usize {
        self.error_count
    }

    /// Takes in a diagnostic; beyond the limit it is only counted.
    pub(super) fn push(&mut self, mut diagnostic: Diagnostic) {
        diagnostic.position = diagnostic.position.filter(|position| *position != NOWHERE);
        diagnostic.file = diagnostic.file.or_else(|| self.positions.file.clone());
        let (list, count) = match diagnostic.severity {
            Severity::Error => (&mut self.errors, &mut self.error_count),
            Severity::Warning => (&mut self.warnings, &mut self.warning_count),
        };
        *count += 1;
        if list.len() < DIAGNOSTICS_MAX {
            list.push(diagnostic);
        }
    }

    pub(super) fn error(
        &mut self,
        (path, position): (&Path<'_>, Position),
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Diagnostic::error(code, path.pointer(), message, help).at(position));
    }

    pub(super) fn warning(
        &mut self,
        (path, position): (&Path<'_>, Position),
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Diagnostic::warning(code, path.pointer(), message, help).at(position));
    }

    /// An error where `strict`, else a warning.
    pub(super) fn fault(
        &mut self,
        strict: bool,
        place: (&Path<'_>, Position),
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if strict {
            self.error(place, code, message, help);
        } else {
            self.warning(place, code, message, help);
        }
    }

    /// Remembers where a value stands, so that `compile` can say it.
    pub(super) fn remember(&mut self, path: &Path<'_>, position: Position) {
        if position != NOWHERE {
            self.positions.places.insert(path.pointer(), position);
        }
    }

    /// Everything that was found, in the order of the text, errors kept before warnings where there are too many, and
    /// the places.
    pub(super) fn finish(mut self) -> (Vec<Diagnostic>, Positions) {
        let mut found = std::mem::take(&mut self.errors);
        let room = DIAGNOSTICS_MAX - found.len();
        found.extend(self.warnings.drain(..).take(room));
        found.sort_by(|left, right| (left.position, &left.pointer).cmp(&(right.position, &right.pointer)));
        let more = self.error_count + self.warning_count - found.len();
        if more > 0 {
            let message = format!("{more} more diagnostics are not shown");
            let severity = if self.error_count > DIAGNOSTICS_MAX { Severity::Error } else { Severity::Warning };
            let last = Diagnostic::error("more", "", message, "correct those above and check again");
            found.push(Diagnostic { severity, file: self.positions.file.clone(), ..last });
        }
        (found, self.positions)
    }

    /// The map, or an error.
    pub(super) fn map<'n>(&mut self, path: &Path<'_>, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
        match &node.value {
            NodeValue::Map(entries) => Some(entries),
            _ => {
                self.wrong_kind(path, node, what, "a map");
                None
            }
        }
    }

    /// The list, or an error.
    pub(super) fn list<'n>(&mut self, path: &Path<'_>, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            NodeValue::List(items) => Some(items),
            _ => {
                self.wrong_kind(path, node, what, "a list");
                None
            }
        }
    }

    /// The string, or an error.
    pub(super) fn string<'n>(&mut self, path: &Path<'_>, node: &'n Node, what: &str) -> Option<&'n str> {
        let text = node.text();
        if text.is_none() {
            self.wrong_kind(path, node, what, "a string");
        }
        text
    }

    /// Free text within its limit, or an error.
    pub(super) fn free_text(&mut self, path: &Path<'_>, node: &Node, what: &str) -> Option<String> {
        let text = self.string(path, node, what)?;
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("{what} has {} bytes, at most {TEXT_BYTES_MAX} are allowed", text.len());
            self.error((path, node.position), "too-long", message, "shorten it");
            return None;
        }
        Some(text.to_owned())
    }

    pub(super) fn wrong_kind(&mut self, path: &Path<'_>, node: &Node, what: &str, wanted: &str) {
        let scalar = matches!(node.value, NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Null);
        let help = if wanted == "a string" && scalar && node.position != NOWHERE {
            "put it in quotes".to_owned()
        } else {
            format!("write {wanted}")
        };
        self.error((path, node.position), "wrong-type", format!("{what} is {}, not {wanted}", node.kind()), help);
    }

    /// Reports keys that are not in the table.
    pub(super) fn unknown_keys(&mut self, path: &Path<'_>, entries: &[Entry], words: &[Word], strict: bool) {
        for entry in entries {
            if words.iter().any(|word| word.name == entry.key) {
                continue;
            }
            let shown = shorten(&entry.key);
            let help = match nearest(&entry.key, words.iter().map(|word| word.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", words.iter().map(|word| word.name).collect::<Vec<_>>().join(", ")),
            };
            let place = (&path.key(&entry.key), entry.position);
            self.fault(strict, place, "unknown-key", format!("unknown key `{shown}`"), help);
        }
    }

    /// Reports what is wrong with the writing of a value and of everything in it: duplicate keys, keys that are no
    /// text, and the words that YAML 1.1 reads as booleans.
    pub(super) fn writing(&mut self, path: &Path<'_>, node: &Node) {
        match &node.value {
            NodeValue::Text { text, quoted: false } => self.boolean_word(path, node.position, text),
            NodeValue::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.writing(&path.index(index), item);
                }
            }
            NodeValue::Map(entries) => {
                self.keys_writing(path, entries);
                for entry in entries.iter() {
                    self.writing(&path.key(&entry.key), &entry.value);
                }
            }
            _ => {}
        }
    }

    /// The same for the keys of one map only.
    pub(super) fn keys_writing(&mut self, path: &Path<'_>, entries: &[Entry]) {
        for (key, first, second) in duplicates(entries) {
            let message = match first.position {
                NOWHERE => format!("the key `{}` stands twice in one map", shorten(key)),
                Position { line, .. } => {
                    format!("the key `{}` stands twice in one map, first in line {line}", shorten(key))
                }
            };
            let place = (&path.key(key), second.position);
            self.error(place, "duplicate-key", message, "keep one of the two");
        }
        for entry in entries {
            match entry.kind {
                KeyKind::Quoted => {}
                KeyKind::Plain => self.boolean_word(&path.key(&entry.key), entry.position, &entry.key),
                KeyKind::NotText => {
                    let message =
                        format!("the key `{}` is not a string in YAML; its text is used", shorten(&entry.key));
                    let place = (&path.key(&entry.key), entry.position);
                    self.warning(place, "key-not-text", message, "put the key in quotes");
                }
            }
        }
    }

    fn boolean_word(&mut self, path: &Path<'_>, position: Position, text: &str) {
        if matches!(text, "on" | "On" | "ON" | "off" | "Off" | "OFF" | "yes" | "Yes" | "YES" | "no" | "No" | "NO") {
            let message = format!("unquoted `{text}` is a string here, and a boolean for tools that read YAML 1.1");
            self.warning((path, position), "yaml-boolean", message, format!("write \"{text}\" in quotes"));
        }
    }
}

/// The value of a key; of duplicates the first, which are reported anyway.
pub(super) fn get<'n>(entries: &'n [Entry], key: &str) -> Option<&'n Node> {
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// Every later entry whose key stood before, with the first one of that key.
fn duplicates(entries: &[Entry]) -> Vec<(&str, &Entry, &Entry)> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by(|left, right| entries[*left].key.cmp(&entries[*right].key).then(left.cmp(right)));
    let mut first = 0;
    let mut found = Vec::new();
    for at in 1..order.len() {
        if entries[order[at]].key == entries[order[first]].key {
            found.push((entries[order[at]].key.as_str(), &entries[order[first]], &entries[order[at]]));
        } else {
            first = at;
        }
    }
    found
}

/// A text for a message, at most 64 characters of it, with what cannot be seen made visible.
pub(in crate::flag) fn shorten(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(64) {
        if crate::flag::key::is_invisible(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    if text.chars().nth(64).is_some() {
        shown.push('…');
    }
    shown
}
