//! A strict JSON reader (RFC 8259) that knows where everything stands.
//!
//! `serde_json` forgets lines, duplicate keys and the text of numbers, and this is all that diagnostics are about;
//! so the few productions of the grammar are read here. Recursion ends at the nesting limit, long before the stack
//! does. One fault ends the reading: what follows a syntax error means nothing.

use std::rc::Rc;

use super::diagnostic::{Diagnostic, Position, join_pointer};
use super::limits::{DOCUMENT_NESTING_MAX, TEXT_BYTES_MAX};
use super::tree::{Entry, KeyKind, Node, NodeValue};

/// Reads one document that nests at most `nesting` lists and maps.
///
/// # Errors
/// The first thing that is not JSON, where it stands and inside what.
pub fn read(text: &str, nesting: usize) -> Result<Node, Box<Diagnostic>> {
    let mut reader = Reader { rest: text, line: 1, column: 1, nesting };
    let node = reader.document().map_err(|fault| Box::new(fault.diagnostic()))?;
    Ok(node)
}

/// Something that is not JSON, with the keys and indexes that lead to it, innermost first.
struct Fault {
    code: &'static str,
    position: Position,
    message: String,
    help: String,
    path: Vec<String>,
}

impl Fault {
    fn diagnostic(self) -> Diagnostic {
        let pointer = self.path.iter().rev().fold(String::new(), |pointer, token| join_pointer(&pointer, token));
        Diagnostic::error(self.code, pointer, self.message, self.help).at(self.position)
    }
}

struct Reader<'t> {
    rest: &'t str,
    line: u32,
    column: u32,
    /// How many lists and maps may still be opened.
    nesting: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Node, Fault> {
        let node = self.value()?;
        self.skip_space();
        match self.peek() {
            None => Ok(node),
            Some(_) => Err(self.fault("text follows the end of the document", "remove it, or check the brackets")),
        }
    }

    fn value(&mut self) -> Result<Node, Fault> {
        self.skip_space();
        let position = self.position();
        let value = match self.peek() {
            Some('{') => self.nested(Self::map)?,
            Some('[') => self.nested(Self::list)?,
            Some('"') => NodeValue::Text { text: self.string()?.into(), quoted: true },
            Some('-' | '0'..='9') => NodeValue::Number(self.number()?.into()),
            Some(first) if first.is_ascii_alphabetic() => self.word()?,
            Some(other) => return Err(self.fault(format!("{other:?} where a value should begin"), VALUE_HELP)),
            None => return Err(self.fault("the document ends where a value should begin", ENDED_HELP)),
        };
        Ok(Node { position, value })
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<NodeValue, Fault>) -> Result<NodeValue, Fault> {
        let Some(nesting) = self.nesting.checked_sub(1) else {
            let fault = self.fault("lists and maps are nested too deeply", &nesting_help());
            return Err(Fault { code: "nesting", ..fault });
        };
        self.nesting = nesting;
        let value = read(self)?;
        self.nesting += 1;
        Ok(value)
    }

    fn map(&mut self) -> Result<NodeValue, Fault> {
        self.bump();
        let mut entries = Vec::new();
        self.skip_space();
        if self.take('}') {
            return Ok(NodeValue::Map(Rc::new(entries)));
        }
        loop {
            entries.push(self.entry()?);
            self.skip_space();
            if self.take('}') {
                return Ok(NodeValue::Map(Rc::new(entries)));
            }
            self.expect(',', "after a map's value")?;
        }
    }

    fn entry(&mut self) -> Result<Entry, Fault> {
        self.skip_space();
        let position = self.position();
        if self.peek() != Some('"') {
            return Err(match self.peek() {
                Some('}') => self.fault("a comma before the end of the map", "remove the comma"),
                Some(other) => self.fault(
                    format!("{other:?} where a key should begin"),
                    "JSON keys stand in double quotes; is this YAML, then name the file .yaml",
                ),
                None => self.fault("the document ends inside a map", ENDED_HELP),
            });
        }
        let key = self.string()?;
        if key.len() > TEXT_BYTES_MAX {
            let fault = self.fault(long_key(&key), "shorten it");
            return Err(Fault { code: "too-long", position, ..fault });
        }
        self.skip_space();
        let value = self.expect(':', "after a key").and_then(|()| self.value());
        match value {
            Ok(value) => Ok(Entry { key, position, kind: KeyKind::Quoted, value }),
            Err(mut fault) => {
                fault.path.push(key);
                Err(fault)
            }
        }
    }

    fn list(&mut self) -> Result<NodeValue, Fault> {
        self.bump();
        let mut items = Vec::new();
        self.skip_space();
        if self.take(']') {
            return Ok(NodeValue::List(Rc::new(items)));
        }
        loop {
            self.skip_space();
            if self.peek() == Some(']') {
                return Err(self.fault("a comma before the end of the list", "remove the comma"));
            }
            items.push(self.value().map_err(|mut fault| {
                fault.path.push(items.len().to_string());
                fault
            })?);
            self.skip_space();
            if self.take(']') {
                return Ok(NodeValue::List(Rc::new(items)));
            }
            self.expect(',', "after a list's value")?;
        }
    }

    fn word(&mut self) -> Result<NodeValue, Fault> {
        let length = self.rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let word = &self.rest[..length];
        let value = match word {
            "null" => NodeValue::Null,
            "true" => NodeValue::Bool(true),
            "false" => NodeValue::Bool(false),
            _ => {
                let shown: String = word.chars().take(32).collect();
                return Err(self.fault(format!("`{shown}` is not a JSON value"), VALUE_HELP));
            }
        };
        self.advance(length);
        Ok(value)
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<String, Fault> {
        let bytes = self.rest.as_bytes();
        let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let whole_at = usize::from(bytes.first() == Some(&b'-'));
        let whole = digits(whole_at);
        let mut end = whole_at + whole;
        let mut complete = whole > 0 && (whole == 1 || bytes[whole_at] != b'0');
        if bytes.get(end) == Some(&b'.') {
            let fraction = digits(end + 1);
            complete &= fraction > 0;
            end += 1 + fraction;
        }
        if matches!(bytes.get(end), Some(b'e' | b'E')) {
            end += 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = digits(end);
            complete &= exponent > 0;
            end += exponent;
        }
        if !complete {
            return Err(self.fault("not a JSON number", "write it as 5, -5, 0.5 or 1e3, without leading zeros"));
        }
        let text = self.rest[..end].to_owned();
        self.advance(end);
        Ok(text)
    }

    fn string(&mut self) -> Result<String, Fault> {
        let opened = self.position();
        self.bump();
        let mut text = String::new();
        loop {
            let plain = self.rest.find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(self.rest.len());
            text.push_str(&self.rest[..plain]);
            self.advance(plain);
            match self.peek() {
                Some('"') => {
                    self.bump();
                    return Ok(text);
                }
                Some('\\') => text.push(self.escape()?),
                Some(control) => {
                    let message = format!("the control character U+{:04X} inside a string", u32::from(control));
                    return Err(self.fault(message, "escape it, as in \\n, or close the string before the line ends"));
                }
                None => {
                    let fault = self.fault("a string is never closed", ENDED_HELP);
                    return Err(Fault { position: opened, ..fault });
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let short = match self.rest.as_bytes().get(1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => {
                return Err(
                    self.fault("an unknown escape in a string", "JSON knows \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX")
                );
            }
        };
        self.advance(2);
        Ok(short)
    }

    /// `\uXXXX`, or two of them as a surrogate pair.
    fn unicode(&mut self) -> Result<char, Fault> {
        let hex = |rest: &str| {
            let digits = rest.get(2..6).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
            u32::from_str_radix(digits, 16).ok()
        };
        let Some(first) = hex(self.rest) else {
            return Err(self.fault("\\u without four hexadecimal digits", "write it as \\u00e9"));
        };
        if let Some(character) = char::from_u32(first) {
            self.advance(6);
            return Ok(character);
        }
        let second = self.rest.get(6..).filter(|rest| rest.starts_with("\\u")).and_then(hex);
        if let (0xD800..=0xDBFF, Some(second @ 0xDC00..=0xDFFF)) = (first, second) {
            let character = char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00));
            if let Some(character) = character {
                self.advance(12);
                return Ok(character);
            }
        }
        let message = format!("\\u{first:04x} is half of a surrogate pair and stands alone");
        Err(self.fault(message, "write the character itself, or both halves"))
    }

    fn expect(&mut self, wanted: char, place: &str) -> Result<(), Fault> {
        if self.take(wanted) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(found) => {
                self.fault(format!("{found:?} where {wanted:?} should stand {place}"), "add the missing sign")
            }
            None => self.fault(format!("the document ends where {wanted:?} should stand {place}"), ENDED_HELP),
        })
    }

    fn fault(&self, message: impl Into<String>, help: &str) -> Fault {
        let (message, help) = (message.into(), help.to_owned());
        Fault { code: "syntax", position: self.position(), message, help, path: Vec::new() }
    }

    fn position(&self) -> Position {
        Position { line: self.line, column: self.column }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.bump();
        }
        there
    }

    fn skip_space(&mut self) {
        while let Some(' ' | '\t' | '\r' | '\n') = self.peek() {
            self.bump();
        }
    }

    /// Steps over one character.
    fn bump(&mut self) {
        let mut characters = self.rest.chars();
        match characters.next() {
            Some('\n') => (self.line, self.column) = (self.line.saturating_add(1), 1),
            Some(_) => self.column = self.column.saturating_add(1),
            None => {}
        }
        self.rest = characters.as_str();
    }

    /// Steps over that many bytes, which hold no line break.
    fn advance(&mut self, bytes: usize) {
        let (passed, rest): (&'t str, &'t str) = self.rest.split_at(bytes);
        let characters = u32::try_from(passed.chars().count()).unwrap_or(u32::MAX);
        self.column = self.column.saturating_add(characters);
        self.rest = rest;
    }
}

/// What is wrong with a key that would make every pointer through it too long to show.
pub(super) fn long_key(key: &str) -> String {
    format!("a key has {} bytes, at most {TEXT_BYTES_MAX} are allowed anywhere", key.len())
}

/// What to do about a document that nests too deeply.
pub(super) fn nesting_help() -> String {
    format!("keep to {DOCUMENT_NESTING_MAX} levels of lists and maps, those of the document's own frame counted")
}

const VALUE_HELP: &str = "a JSON value is a map, a list, a string in double quotes, a number, true, false or null";
const ENDED_HELP: &str = "the text stops too early; was it cut while being saved?";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fault(text: &str) -> (u32, u32, String, String) {
        let diagnostic = read(text, 8).expect_err("not JSON");
        let position = diagnostic.position.expect("a place");
        (position.line, position.column, diagnostic.pointer, diagnostic.message)
    }

    #[test]
    fn places_count_lines_and_characters() {
        let node = read("{\n  \"é\": [1,\n   \"x\"]}", 8).expect("valid JSON");
        let NodeValue::Map(entries) = &node.value else { unreachable!("a map") };
        assert_eq!(entries[0].position, Position { line: 2, column: 3 });
        assert_eq!(entries[0].value.position, Position { line: 2, column: 8 });
        let NodeValue::List(items) = &entries[0].value.value else { unreachable!("a list") };
        assert_eq!(items[1].position, Position { line: 3, column: 4 });
    }

    #[test]
    fn every_fault_says_where_and_inside_what() {
        for (text, line, column, pointer, message) in [
            ("", 1, 1, "", "ends where a value"),
            ("{\"a\": 1} x", 1, 10, "", "follows the end"),
            ("{\"a\": [1, tru]}", 1, 11, "/a/1", "`tru` is not"),
            ("{\"a\": {\"b\" 1}}", 1, 12, "/a/b", "':' should stand"),
            ("[1,]", 1, 4, "", "comma before the end"),
            ("{\"a\": 1,}", 1, 9, "", "comma before the end"),
            ("{a: 1}", 1, 2, "", "where a key"),
            ("[\"a\nb\"]", 1, 4, "/0", "U+000A"),
            ("[\"\\ud800\"]", 1, 3, "/0", "half of a surrogate"),
            ("[\"\\u00g0\"]", 1, 3, "/0", "four hexadecimal"),
            ("[\"\\x\"]", 1, 3, "/0", "unknown escape"),
            ("[01]", 1, 2, "/0", "not a JSON number"),
            ("[1.]", 1, 2, "/0", "not a JSON number"),
            ("[-]", 1, 2, "/0", "not a JSON number"),
            ("[1e]", 1, 2, "/0", "not a JSON number"),
            ("[NaN]", 1, 2, "/0", "`NaN` is not"),
            ("{\"a\": \"b", 1, 7, "/a", "never closed"),
        ] {
            let found = fault(text);
            assert_eq!((found.0, found.1, found.2.as_str()), (line, column, pointer), "{text}: {}", found.3);
            assert!(found.3.contains(message), "{text}: {}", found.3);
        }
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_is_at_risk() {
        let text = "[".repeat(100_000);
        assert_eq!(read(&text, 32).expect_err("too deep").code, "nesting");
        let text = "{\"a\":".repeat(100_000);
        assert_eq!(read(&text, 32).expect_err("too deep").code, "nesting");
        assert!(read(&format!("{}{}", "[".repeat(32), "]".repeat(32)), 32).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_json_where_serde_json_says_so(text in "[\\[\\]{}\",:0-9eE.truefalsn\\\\u -]{0,40}") {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            match (read(&text, 100), theirs) {
                (Err(_), theirs) => prop_assert!(theirs.is_err()),
                // Integers beyond 64 bits and the sign of zero are the two differences that are meant.
                (Ok(ours), Ok(theirs)) => if !text.contains("-0") && theirs.to_string().len() < 18 {
                    prop_assert_eq!(ours.to_json(), theirs);
                },
                (Ok(_), Err(error)) => prop_assert!(error.to_string().contains("out of range")),
            }
        }
    }
}
