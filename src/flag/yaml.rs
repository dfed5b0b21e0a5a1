//! YAML 1.2 (core schema) through `saphyr-parser`'s events, into the same tree as JSON.
//!
//! Only what a person needs in a flag file: one document, anchors and aliases within a budget of nodes. Merge keys,
//! tags, lists or maps as keys are refused by name. Unquoted `on`, `off`, `yes` and `no` are strings, as 1.2 says; the
//! walk warns of them. Events are pulled one by one and the nesting is counted here, so no recursion depends on the text.

use std::collections::HashMap;
use std::rc::Rc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::diagnostic::{Diagnostic, Position, join_pointer};
use super::json::{long_key, nesting_help};
use super::limits::{ALIAS_NODES_MAX, FILE_BYTES_MAX, TEXT_BYTES_MAX};
use super::tree::{Entry, KeyKind, Node, NodeValue};

/// Reads one document that nests at most `nesting` lists and maps. What is refused but does not keep the rest from
/// being read is among the diagnostics beside the tree; an empty text is null.
///
/// # Errors
/// What made reading on pointless, last; before it, what else was found.
pub fn read(text: &str, nesting: usize) -> Result<(Node, Vec<Diagnostic>), Vec<Diagnostic>> {
    if let Some(diagnostic) = unprintable(text) {
        return Err(vec![diagnostic]);
    }
    let mut builder = Builder { nesting, ..Builder::default() };
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(Box::new(builder.scan_error(&error))),
        };
        if let Err(diagnostic) = step {
            builder.diagnostics.push(*diagnostic);
            return Err(builder.diagnostics);
        }
    }
    let empty = Node { position: Position { line: 1, column: 1 }, value: NodeValue::Null };
    Ok((builder.root.unwrap_or(empty), builder.diagnostics))
}

/// What one scalar without quotes is in YAML's core schema.
pub fn plain(text: &str) -> NodeValue {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeValue::Null,
        "true" | "True" | "TRUE" => NodeValue::Bool(true),
        "false" | "False" | "FALSE" => NodeValue::Bool(false),
        _ if is_number(text) => NodeValue::Number(text.into()),
        _ => NodeValue::Text { text: text.into(), quoted: false },
    }
}

/// The numbers of the core schema (YAML 1.2.2, section 10.3.2).
fn is_number(text: &str) -> bool {
    let all = |digits: &str, is: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|byte| is(&byte));
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |byte| matches!(byte, b'0'..=b'7'));
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let some = !whole.is_empty() || !fraction.is_empty();
    some && digits(whole) && digits(fraction) && exponent.is_none_or(|exponent| all(exponent, u8::is_ascii_digit))
}

/// YAML allows no control characters; the parser would take U+0000 for the end of the text.
fn unprintable(text: &str) -> Option<Diagnostic> {
    let bad = |c: char| {
        (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || matches!(c, '\u{FFFE}' | '\u{FFFF}')
    };
    let (at, character) = text.char_indices().find(|(_, character)| bad(*character))?;
    let before = &text[..at];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let count = |number: usize| u32::try_from(number + 1).unwrap_or(u32::MAX);
    let position = Position {
        line: count(before.bytes().filter(|byte| *byte == b'\n').count()),
        column: count(before[line_start..].chars().count()),
    };
    let message = format!("the control character U+{:04X} is not allowed in YAML", u32::from(character));
    Some(Diagnostic::error("syntax", "", message, "remove it, or write it escaped in double quotes").at(position))
}

fn position(marker: &Marker) -> Position {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: number(marker.line().max(1)), column: number(marker.col().saturating_add(1)) }
}

type Step = Result<(), Box<Diagnostic>>;

/// A list or map that is not closed yet.
struct Frame {
    position: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(Vec<Entry>, Option<PendingKey>),
}

/// A key whose value has not been read yet.
struct PendingKey {
    key: String,
    position: Position,
    kind: KeyKind,
    /// A merge key: refused, its value forgotten.
    merge: bool,
}

/// A finished node that aliases may repeat.
struct Anchored {
    node: Node,
    size: usize,
    bytes: usize,
    depth: usize,
}

impl Anchored {
    fn new(node: Node) -> Self {
        let (size, bytes, depth) = (node.size(), node.bytes(), node.depth());
        Self { node, size, bytes, depth }
    }
}

#[derive(Default)]
struct Builder {
    nesting: usize,
    open: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    /// Nodes that aliases have added so far.
    repeated: usize,
    /// Bytes of text that aliases have added so far.
    repeated_bytes: usize,
    documents: usize,
    root: Option<Node>,
    diagnostics: Vec<Diagnostic>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Step {
        let at = position(&span.start);
        match event {
            Event::DocumentStart(_) => self.document(at),
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref(), at),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::SequenceStart(anchor, tag) => self.start(Content::List(Vec::new()), anchor, tag.as_deref(), at),
            Event::MappingStart(anchor, tag) => self.start(Content::Map(Vec::new(), None), anchor, tag.as_deref(), at),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn document(&mut self, at: Position) -> Step {
        self.documents += 1;
        if self.documents > 1 {
            let help = "keep one document per file: remove the `---` or `...`, or split the file";
            return Err(Box::new(self.error("several-documents", at, "a second YAML document begins", help)));
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, tag: Option<&Tag>, at: Position) -> Step {
        let as_text = |quoted| NodeValue::Text { text: text.into(), quoted };
        let value = match tag {
            Some(tag) if is_core(tag, "str") => as_text(true),
            Some(tag) => {
                self.refuse_tag(tag, at);
                as_text(true)
            }
            None if style == ScalarStyle::Plain => plain(text),
            None => as_text(true),
        };
        if let Some(Frame { content: Content::Map(_, pending @ None), .. }) = self.open.last_mut() {
            if text.len() > TEXT_BYTES_MAX {
                return Err(Box::new(self.error("too-long", at, long_key(text), "shorten it")));
            }
            let kind = match value {
                NodeValue::Text { quoted: true, .. } => KeyKind::Quoted,
                NodeValue::Text { quoted: false, .. } => KeyKind::Plain,
                _ => KeyKind::NotText,
            };
            let merge = text == "<<" && kind == KeyKind::Plain;
            *pending = Some(PendingKey { key: text.to_owned(), position: at, kind, merge });
            if merge {
                let help = "write the keys out; merge keys are not part of YAML 1.2";
                let diagnostic = self.error("merge-key", at, "merge keys (`<<`) are not supported", help);
                self.diagnostics.push(diagnostic);
            }
            if anchor > 0 {
                self.anchors.insert(anchor, Anchored::new(Node { position: at, value }));
            }
            return Ok(());
        }
        self.finish(Node { position: at, value }, anchor);
        Ok(())
    }

    fn start(&mut self, content: Content, anchor: usize, tag: Option<&Tag>, at: Position) -> Step {
        let core = if matches!(content, Content::List(_)) { "seq" } else { "map" };
        if let Some(tag) = tag.filter(|tag| !is_core(tag, core)) {
            self.refuse_tag(tag, at);
        }
        self.refuse_as_key(at)?;
        self.check_nesting(1, at)?;
        self.open.push(Frame { position: at, anchor, content });
        Ok(())
    }

    fn end(&mut self) -> Step {
        let Some(frame) = self.open.pop() else { return Ok(()) };
        let value = match frame.content {
            Content::List(items) => NodeValue::List(Rc::new(items)),
            Content::Map(entries, _) => NodeValue::Map(Rc::new(entries)),
        };
        self.finish(Node { position: frame.position, value }, frame.anchor);
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Position) -> Step {
        self.refuse_as_key(at)?;
        let Some(Anchored { node, size, bytes, depth }) = self.anchors.get(&anchor) else {
            let help = "an alias repeats what stands before it, never something it is part of";
            return Err(Box::new(self.error("bad-alias", at, "an alias to a value that is not complete", help)));
        };
        let (node, depth) = (Node { position: at, value: node.value.clone() }, *depth);
        self.repeated = self.repeated.saturating_add(*size);
        self.repeated_bytes = self.repeated_bytes.saturating_add(*bytes);
        if self.repeated > ALIAS_NODES_MAX || self.repeated_bytes > FILE_BYTES_MAX {
            let message = format!("aliases repeat more than {ALIAS_NODES_MAX} values or {FILE_BYTES_MAX} bytes");
            let help = "write the values out, or use a segment";
            return Err(Box::new(self.error("too-many-aliases", at, message, help)));
        }
        self.check_nesting(depth, at)?;
        self.finish(node, 0);
        Ok(())
    }

    /// Hands a complete value to the list, map or document it belongs to.
    fn finish(&mut self, node: Node, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored::new(node.clone()));
        }
        match self.open.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map(entries, pending)) => {
                if let Some(PendingKey { key, position, kind, .. }) = pending.take().filter(|pending| !pending.merge) {
                    entries.push(Entry { key, position, kind, value: node });
                }
            }
        }
    }

    fn check_nesting(&self, more: usize, at: Position) -> Step {
        if self.open.len() + more <= self.nesting {
            return Ok(());
        }
        Err(Box::new(self.error("nesting", at, "lists and maps are nested too deeply", nesting_help())))
    }

    fn refuse_as_key(&self, at: Position) -> Step {
        match self.open.last() {
            Some(Frame { content: Content::Map(_, None), .. }) => {
                let help = "write the key as a string; in flow style, quote text that holds braces, brackets or `*`";
                Err(Box::new(self.error("bad-key", at, "a list, a map or an alias stands where a key should", help)))
            }
            _ => Ok(()),
        }
    }

    fn refuse_tag(&mut self, tag: &Tag, at: Position) {
        let shown: String = tag.suffix.chars().take(32).collect();
        let message = format!("the YAML tag `{shown}` is not supported");
        let diagnostic = self.error("tag", at, message, "remove the tag; quote the value to make it a string");
        self.diagnostics.push(diagnostic);
    }

    /// The parser counts levels too, and ends at 255 while it looks ahead.
    fn scan_error(&self, error: &ScanError) -> Diagnostic {
        let at = position(error.marker());
        if error.info() == "recursion limit exceeded" {
            return self.error("nesting", at, "lists and maps are nested too deeply", nesting_help());
        }
        let help = "YAML 1.2: check the indentation, quotes and brackets on this line and above it";
        self.error("syntax", at, error.info(), help)
    }

    fn error(
        &self,
        code: &'static str,
        at: Position,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::error(code, self.pointer(), message, help).at(at)
    }

    /// The pointer to the value that is being read.
    fn pointer(&self) -> String {
        self.open.iter().fold(String::new(), |pointer, frame| match &frame.content {
            Content::List(items) => format!("{pointer}/{}", items.len()),
            Content::Map(_, Some(pending)) => join_pointer(&pointer, &pending.key),
            Content::Map(_, None) => pointer,
        })
    }
}

fn is_core(tag: &Tag, suffix: &str) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == suffix
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn value(text: &str) -> serde_json::Value {
        let (node, diagnostics) = read(text, 32).expect("valid YAML");
        assert_eq!(diagnostics, []);
        node.to_json()
    }

    fn fault(text: &str) -> (&'static str, Option<(u32, u32)>, String) {
        let diagnostics = match read(text, 32) {
            Ok((_, diagnostics)) | Err(diagnostics) => diagnostics,
        };
        let last = diagnostics.into_iter().last().expect("a diagnostic");
        (last.code, last.position.map(|position| (position.line, position.column)), last.pointer)
    }

    #[test]
    fn scalars_follow_the_core_schema_of_1_2() {
        let text = "{a: on, b: True, c: ~, d: 0x1F, e: 007, f: 1.5, g: '1', h: 1_000, i: .5, j: 12e03, k: , l: 2.4.0, m: 2026-01-31}";
        let wanted = json!({"a": "on", "b": true, "c": null, "d": 31, "e": 7, "f": 1.5, "g": "1", "h": "1_000", "i": 0.5,
            "j": 12000.0, "k": null, "l": "2.4.0", "m": "2026-01-31"});
        assert_eq!(value(text), wanted);
        for text in [".inf", "-.Inf", ".nan", "+12", "1.", "-.5e-3"] {
            assert_eq!(plain(text), NodeValue::Number(text.into()));
        }
        for text in [".", "-", "e5", "1e", "0x", "0o8", "1.2.3", "+.nan", "NaN"] {
            assert!(matches!(plain(text), NodeValue::Text { quoted: false, .. }), "{text}");
        }
    }

    #[test]
    fn places_count_lines_and_characters() {
        let (node, _) = read("é: x\nb:\n  - 1\n  - [2,\n    3]\n", 32).expect("valid YAML");
        let NodeValue::Map(entries) = node.value else { unreachable!("a map") };
        assert_eq!(entries[0].value.position, Position { line: 1, column: 4 });
        assert_eq!(entries[1].position, Position { line: 2, column: 1 });
        let NodeValue::List(items) = &entries[1].value.value else { unreachable!("a list") };
        assert_eq!(items[1].position, Position { line: 4, column: 5 });
    }

    #[test]
    fn aliases_repeat_values() {
        assert_eq!(value("a: &x {b: [1, 2]}\nc: *x\n"), json!({"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}));
        assert_eq!(fault("a: &x [*x]\n").0, "bad-alias");
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name_and_place() {
        for (text, code, place, pointer) in [
            ("a: 1\n---\nb: 2\n", "several-documents", (2, 1), ""),
            ("a:\n  <<: {b: 1}\n", "merge-key", (2, 3), "/a/<<"),
            ("a: !secret x\n", "tag", (1, 4), "/a"),
            ("? [a, b]\n: 1\n", "bad-key", (1, 3), ""),
            ("a: [1, 2\nb: 3\n", "syntax", (2, 2), "/a/1"),
            ("a: \"x\n", "syntax", (1, 4), "/a"),
            ("a: 1\nb: x\u{0}y\n", "syntax", (2, 5), ""),
            ("a: *nobody\n", "syntax", (1, 4), "/a"),
        ] {
            assert_eq!(fault(text), (code, Some(place), pointer.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn an_alias_bomb_is_refused_within_the_budget() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..10 {
            let alias = format!("*a{}", n - 1);
            text += &format!("a{n}: &a{n} [{}]\n", vec![alias; 9].join(", "));
        }
        assert_eq!(fault(&text).0, "too-many-aliases");
        let long = format!("a: &x {}\nb: [{}*x]\n", "x".repeat(100_000), "*x, ".repeat(1_000));
        assert_eq!(fault(&long).0, "too-many-aliases");
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_is_at_risk() {
        let block: String = (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
        let dashes = "- ".repeat(100_000);
        for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(100_000), dashes, block] {
            let start: String = text.chars().take(8).collect();
            assert!(matches!(fault(&text).0, "nesting" | "bad-key"), "{start}: {:?}", fault(&text));
        }
        let deepest = format!("{}{}", "[".repeat(32), "]".repeat(32));
        assert!(read(&deepest, 32).is_ok());
        assert!(read(&deepest, 31).is_err());
        // Aliases count with the depth of what they repeat.
        assert_eq!(read("a: &x [[1]]\nb: [*x]\n", 3).expect_err("four levels")[0].code, "nesting");
    }

    proptest! {
        #[test]
        fn json_reads_the_same_as_yaml(text in "[a-zé ]{0,6}", number in any::<i32>(), bool in any::<bool>()) {
            let value = json!({"text": text, "list": [number, bool, null], "map": {"deep": {"float": 0.5}}});
            let (node, diagnostics) = read(&value.to_string(), 32).expect("JSON is YAML");
            prop_assert_eq!(diagnostics, []);
            prop_assert_eq!(node.to_json(), value);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[a-c\\[\\]{}\",:&*!|>'%@?#<0-9\n\t -]{0,60}") {
            let _ = read(&text, 32);
        }
    }
}
