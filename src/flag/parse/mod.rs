//! From text to typed definitions: the tree is walked by hand, and everything that is wrong is said in one go.
//!
//! A document yields the good flags and segments, the names of the bad ones and the diagnostics; a bad flag never
//! spoils its neighbours, and only what makes the whole document doubtful (it cannot be read, or it does not say which
//! flags it means) makes it unreadable. Whether other flags and segments that are named exist is found by
//! `eval::compile`. The way back to text is `print`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as FilePath;

use serde_json::Value;

use super::definition::{Allocation, Definition, FlagFile, Segment};
use super::diagnostic::{Diagnostic, Position, Positions};
use super::key::{FlagId, FlagSetName};
use super::limits::{DOCUMENT_NESTING_MAX, FILE_BYTES_MAX};
use super::tree::{NOWHERE, Node, NodeValue};
use super::words::FLAG;
use super::{json, yaml};

use flag::SetRule;
use walk::{Path, Walk};

mod condition;
mod document;
mod evaluators;
mod flag;
mod operator;
mod rule;
mod serve;
#[cfg(test)]
mod tests;
pub(in crate::flag) mod walk;

/// How deeply a flag or segment that stands alone may nest, so that it still fits into a document.
pub const OBJECT_NESTING_MAX: usize = DOCUMENT_NESTING_MAX - 2;

/// The two formats of definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// YAML 1.2.
    Yaml,
}

impl Format {
    /// The format that a file's name ends with: `.json`, `.yaml` or `.yml`.
    pub fn of_path(path: &FilePath) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }

    /// The format that a text without a name looks like: JSON begins with a bracket.
    pub fn of_text(text: &[u8]) -> Self {
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        match text.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{' | b'[') => Self::Json,
            _ => Self::Yaml,
        }
    }
}

/// What a document says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parsed {
    /// The good flags and segments; empty where the document is unreadable.
    pub file: FlagFile,
    /// Flags that the document names and that cannot be used: their last good definition keeps serving.
    pub bad_flags: BTreeSet<FlagId>,
    /// Keys of flags of which not even the flag set is clear: no flag of such a key may be taken as deleted.
    pub bad_keys: BTreeSet<String>,
    /// Segments that the document names and that cannot be used.
    pub bad_segments: BTreeSet<String>,
    /// Everything that is wrong, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Where everything stands, for what is found later.
    pub positions: Positions,
    /// The flags' pointers, since a list of flags has other pointers than a map.
    pub pointers: BTreeMap<FlagId, String>,
    /// The document itself could not be read: nothing in `file` may be used and nothing counts as deleted.
    pub unreadable: bool,
}

impl Parsed {
    /// True where nothing refuses the document or a part of it.
    pub fn is_good(&self) -> bool {
        !self.unreadable && !self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// Reads a whole document. `file_name` stands in the diagnostics.
pub fn parse_document(text: &[u8], format: Format, file_name: Option<&str>) -> Parsed {
    let mut walk = Walk::new(file_name);
    let mut parsed = Parsed::default();
    match read_tree(&mut walk, text, format, DOCUMENT_NESTING_MAX) {
        Some(node) => {
            let broken = walk.error_count() > 0;
            document::read(&mut walk, &node, &mut parsed);
            parsed.unreadable |= broken;
        }
        None => parsed.unreadable = true,
    }
    if parsed.unreadable {
        parsed.file = FlagFile::default();
    }
    (parsed.diagnostics, parsed.positions) = walk.finish();
    parsed
}

/// Reads a text as a tree, with the same limits as a document, for those who give it another meaning.
///
/// # Errors
/// Everything that keeps it from being read.
pub(in crate::flag) fn read_node(
    text: &[u8],
    format: Format,
    file_name: Option<&str>,
) -> Result<Node, Vec<Diagnostic>> {
    let mut walk = Walk::new(file_name);
    let node = read_tree(&mut walk, text, format, DOCUMENT_NESTING_MAX);
    let broken = walk.error_count() > 0;
    node.filter(|_| !broken).ok_or_else(|| walk.finish().0)
}

/// Reads one flag that stands alone, as the admin API takes it; pointers begin at the flag. `set` is the flag set that
/// the request names: `metadata.flagSetId` may repeat it, and may not differ from it.
pub fn parse_definition(
    text: &[u8],
    format: Format,
    set: Option<&FlagSetName>,
) -> (Option<Definition>, Vec<Diagnostic>, Positions) {
    alone(text, format, |walk, node| flag::read(walk, &Path::TOP, node, FLAG, &SetRule::Exactly(set)).definition)
}

/// Reads one segment (a condition map) that stands alone; pointers begin at the segment.
pub fn parse_segment(text: &[u8], format: Format) -> (Option<Segment>, Vec<Diagnostic>, Positions) {
    alone(text, format, |walk, node| document::segment(walk, &Path::TOP, node))
}

/// Reads the canonical form of a flag, as `print::definition_to_json` writes it.
///
/// # Errors
/// Everything that refuses it.
pub fn definition_from_json(value: &Value) -> Result<Definition, Vec<Diagnostic>> {
    from_json(value, |walk, node| flag::read(walk, &Path::TOP, node, FLAG, &SetRule::Exactly(None)).definition)
}

/// Reads the canonical form of a segment.
///
/// # Errors
/// Everything that refuses it.
pub fn segment_from_json(value: &Value) -> Result<Segment, Vec<Diagnostic>> {
    from_json(value, |walk, node| document::segment(walk, &Path::TOP, node))
}

/// Reads the canonical form of an allocation: variant → percentage.
///
/// # Errors
/// Everything that refuses it.
pub fn allocation_from_json(value: &Value) -> Result<Allocation, Vec<Diagnostic>> {
    from_json(value, |walk, node| {
        walk.writing(&Path::TOP, node);
        let entries = walk.map(&Path::TOP, node, "an allocation")?;
        Some(Allocation { percentages: serve::percentages(walk, &Path::TOP, entries, None)? })
    })
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

type Alone<T> = (Option<T>, Vec<Diagnostic>, Positions);

fn alone<T>(text: &[u8], format: Format, read: impl FnOnce(&mut Walk, &Node) -> Option<T>) -> Alone<T> {
    let mut walk = Walk::new(None);
    let object = read_tree(&mut walk, text, format, OBJECT_NESTING_MAX).and_then(|node| read(&mut walk, &node));
    let good = walk.error_count() == 0;
    let (diagnostics, positions) = walk.finish();
    (object.filter(|_| good), diagnostics, positions)
}

fn from_json<T>(value: &Value, read: impl FnOnce(&mut Walk, &Node) -> Option<T>) -> Result<T, Vec<Diagnostic>> {
    let mut walk = Walk::new(None);
    let node = Node::from_json(value, OBJECT_NESTING_MAX);
    if node.is_none() {
        walk.error((&Path::TOP, NOWHERE), "nesting", "lists and maps are nested too deeply", json::nesting_help());
    }
    let object = node.and_then(|node| read(&mut walk, &node));
    let good = walk.error_count() == 0;
    let (diagnostics, _) = walk.finish();
    object.filter(|_| good).ok_or(diagnostics)
}

fn read_tree(walk: &mut Walk, text: &[u8], format: Format, nesting: usize) -> Option<Node> {
    let start = Position { line: 1, column: 1 };
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the document has {} bytes, at most {FILE_BYTES_MAX} are allowed", text.len());
        walk.error((&Path::TOP, start), "too-large", message, "split it into several files");
        return None;
    }
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => {
            let place = end_of(&text[..error.valid_up_to()]);
            let help = "save the file as UTF-8";
            walk.error((&Path::TOP, place), "not-utf8", "the document is not UTF-8 text from here on", help);
            return None;
        }
    };
    if text.trim().is_empty() {
        let help = "a document without flags is `flags: {}`; was the file cut while being saved?";
        walk.error((&Path::TOP, start), "empty", "the document is empty", help);
        return None;
    }
    let (node, diagnostics) = match format {
        Format::Json => match json::read(text, nesting) {
            Ok(node) => (Some(node), Vec::new()),
            Err(diagnostic) => (None, vec![*diagnostic]),
        },
        Format::Yaml => match yaml::read(text, nesting) {
            Ok((node, diagnostics)) => (Some(node), diagnostics),
            Err(diagnostics) => (None, diagnostics),
        },
    };
    diagnostics.into_iter().for_each(|diagnostic| walk.push(diagnostic));
    node.filter(|node| {
        let empty = node.value == NodeValue::Null;
        if empty {
            let help = "a document without flags is `flags: {}`";
            walk.error((&Path::TOP, node.position), "empty", "the document holds no value", help);
        }
        !empty
    })
}

/// The place behind a valid text.
fn end_of(text: &[u8]) -> Position {
    let text = String::from_utf8_lossy(text);
    let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
    let number = |count: usize| u32::try_from(count + 1).unwrap_or(u32::MAX);
    Position {
        line: number(text.bytes().filter(|byte| *byte == b'\n').count()),
        column: number(text[line_start..].chars().count()),
    }
}
