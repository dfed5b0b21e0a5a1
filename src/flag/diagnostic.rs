//! What is wrong with a definition, where, and how to put it right.
//!
//! One type for everything that reads definitions: files, imports, the admin API and `compile`. Not an error type:
//! a document yields all its diagnostics in one go.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::key::{FlagId, SegmentName};

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

/// The object that a diagnostic is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A segment.
    Segment(SegmentName),
    /// A flag.
    Flag(FlagId),
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
    /// The object, where `compile` found it: flags of several flag sets may share a key, and so a pointer.
    #[serde(skip)]
    pub subject: Option<Subject>,
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
            subject: None,
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

    /// The same diagnostic about an object.
    #[must_use]
    pub fn about(mut self, subject: Subject) -> Self {
        self.subject = Some(subject);
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

/// Where flags and segments that were found in several documents stand.
#[derive(Debug, Clone, Default)]
pub struct Places(BTreeMap<Subject, (String, Arc<Positions>)>);

impl Places {
    /// The object stands in that document at `pointer`.
    pub fn insert(&mut self, object: Subject, pointer: String, document: &Arc<Positions>) {
        self.0.insert(object, (pointer, Arc::clone(document)));
    }

    /// Gives a diagnostic of `compile` the file, the place and the pointer that its object has there.
    #[must_use]
    pub fn locate(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        let found = diagnostic.subject.as_ref().and_then(|subject| self.0.get(subject));
        let Some((pointer, document)) = found else { return diagnostic };
        diagnostic.pointer = format!("{pointer}{}", inside_object(&diagnostic.pointer));
        document.locate(diagnostic)
    }
}

/// The part of a pointer of `compile` below its object: without `/flags/<key>` or `/segments/<name>`.
pub fn inside_object(pointer: &str) -> &str {
    let start = pointer.match_indices('/').nth(2).map_or(pointer.len(), |(at, _)| at);
    &pointer[start..]
}
