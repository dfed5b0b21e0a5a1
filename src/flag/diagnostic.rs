//! What is wrong with a definition, where, and how to put it right.
//!
//! One type for everything that reads definitions: files, imports, the admin API and `compile`. Not an error type:
//! a document yields all its diagnostics in one go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Whether the document is refused for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The object cannot be used.
    Error,
    /// The object can be used; `--strict` treats it as an error.
    Warning,
}

/// A place in a text: line and column count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it refuses the object.
    pub severity: Severity,
    /// A stable identifier such as `unknown-variant`, for scripts.
    pub code: &'static str,
    /// The file, where the text came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Where in the text; none where the object did not come from a text.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// RFC 6901 pointer to the value, from the top of the document.
    pub pointer: String,
    /// What is wrong, in lower case without a final dot.
    pub message: String,
    /// How to put it right.
    pub help: String,
}

impl Diagnostic {
    /// An error at `pointer`.
    pub fn error(
        code: &'static str,
        pointer: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            code,
            file: None,
            position: None,
            pointer: pointer.into(),
            message: message.into(),
            help: help.into(),
        }
    }

    /// A warning at `pointer`.
    pub fn warning(
        code: &'static str,
        pointer: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, pointer, message, help) }
    }

    /// The same diagnostic at a place in the text.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// True where it refuses the object.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: error[code] at /pointer: message; help: …`, one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
        }
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if self.file.is_some() || self.position.is_some() {
            f.write_str(" ")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let pointer = if self.pointer.is_empty() { "(document)" } else { &self.pointer };
        write!(f, "{severity}[{}] at {pointer}: {}", self.code, self.message)?;
        if !self.help.is_empty() {
            write!(f, "; help: {}", self.help)?;
        }
        Ok(())
    }
}

/// Appends one token to an RFC 6901 pointer, escaped.
pub fn join_pointer(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// Where each value of a document stands, by pointer, so that what is found later (in `compile`) has a place too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    /// The file's name, as the user gave it.
    pub file: Option<String>,
    /// Pointer → the place of the value.
    pub places: BTreeMap<String, Position>,
}

impl Positions {
    /// The place of `pointer`, or of its nearest parent that has one.
    pub fn find(&self, pointer: &str) -> Option<Position> {
        let mut pointer = pointer;
        loop {
            if let Some(position) = self.places.get(pointer) {
                return Some(*position);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }

    /// Gives a diagnostic this document's file, and a place where it has none.
    #[must_use]
    pub fn locate(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        diagnostic.file = diagnostic.file.or_else(|| self.file.clone());
        diagnostic.position = diagnostic.position.or_else(|| self.find(&diagnostic.pointer));
        diagnostic
    }
}

/// Where flags and segments that were found in several documents stand, by the pointer that `compile` gives them.
#[derive(Debug, Clone, Default)]
pub struct Places(BTreeMap<String, (String, Arc<Positions>)>);

impl Places {
    /// The object that `compile` calls `object` (`/flags/<key>`) stands in that document at `pointer`.
    pub fn insert(&mut self, object: String, pointer: String, document: &Arc<Positions>) {
        self.0.insert(object, (pointer, Arc::clone(document)));
    }

    /// Gives a diagnostic of `compile` the file, the place and the pointer that its object has there.
    #[must_use]
    pub fn locate(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        let object = object_of(&diagnostic.pointer);
        let Some((pointer, document)) = self.0.get(object) else { return diagnostic };
        diagnostic.pointer = format!("{pointer}{}", &diagnostic.pointer[object.len()..]);
        document.locate(diagnostic)
    }
}

/// The object that a pointer of `compile` is in: `/flags/<key>` or `/segments/<name>`, still escaped.
pub fn object_of(pointer: &str) -> &str {
    let end = pointer.match_indices('/').nth(2).map_or(pointer.len(), |(at, _)| at);
    &pointer[..end]
}
