//! What became of an export: how much was translated, and one remark for each thing that was not, or not as it was.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::Serialize;

use crate::flag::diagnostic::Position;

/// What a remark means for the translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RemarkKind {
    /// There is no exact counterpart: the flag or segment is not in the output.
    LeftOut,
    /// The same share of users, but other users: no two systems share a hash.
    Rebucketed,
    /// Exact only for contexts as `--plain-context` promises them.
    Assumed,
    /// Not translated, and no answer depends on it.
    Note,
}

impl RemarkKind {
    /// The words at the head of a line.
    pub fn words(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::Rebucketed => "same share, other users",
            Self::Assumed => "assumed",
            Self::Note => "note",
        }
    }
}

/// One thing that was not translated, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Remark {
    /// What it means.
    pub kind: RemarkKind,
    /// The flag it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// The segment it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Where in the export.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// RFC 6901 pointer into the export.
    pub pointer: String,
    /// What, and why.
    pub message: String,
    /// What a person can do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub help: String,
    /// How often the same holds; only notes and assumptions are gathered.
    pub count: usize,
}

/// What became of an export.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Flags in the export.
    pub flags: usize,
    /// Flags in the output.
    pub translated: usize,
    /// Segments in the output.
    pub segments: usize,
    /// In the order of the export, what was left out first.
    pub remarks: Vec<Remark>,
}

impl Report {
    /// True where every flag and segment of the export is in the output.
    pub fn is_complete(&self) -> bool {
        !self.remarks.iter().any(|remark| remark.kind == RemarkKind::LeftOut)
    }

    /// How many flags carry a remark of that kind.
    pub fn flags_with(&self, kind: RemarkKind) -> usize {
        let with = self.remarks.iter().filter(|remark| remark.kind == kind);
        with.filter_map(|remark| remark.flag.as_ref()).collect::<BTreeSet<_>>().len()
    }

    /// The report for people: one line for each remark and one with the counts.
    pub fn to_text(&self, file: &str) -> String {
        let mut text = String::new();
        for remark in &self.remarks {
            let _ = writeln!(text, "{file}{}", remark.line());
        }
        let left = self.flags_with(RemarkKind::LeftOut);
        let moved = self.flags_with(RemarkKind::Rebucketed);
        let _ = write!(text, "{}: {} translated, {left} left out", counted(self.flags, "flag"), self.translated);
        if moved > 0 {
            let _ = write!(text, "; {} with the same shares of other users", counted(moved, "flag"));
        }
        let _ = writeln!(text, "; {}", counted(self.segments, "segment"));
        text
    }

    /// Puts remarks in order, and gathers notes and assumptions that say the same.
    pub(super) fn arrange(&mut self) {
        let mut gathered: BTreeMap<(RemarkKind, String), usize> = BTreeMap::new();
        let mut kept: Vec<Remark> = Vec::new();
        for remark in std::mem::take(&mut self.remarks) {
            if matches!(remark.kind, RemarkKind::LeftOut | RemarkKind::Rebucketed) {
                kept.push(remark);
                continue;
            }
            match gathered.get(&(remark.kind, remark.message.clone())) {
                Some(at) => {
                    kept[*at].count += remark.count;
                    kept[*at].flag = None;
                }
                None => {
                    gathered.insert((remark.kind, remark.message.clone()), kept.len());
                    kept.push(remark);
                }
            }
        }
        kept.sort_by_key(|remark| (remark.kind, remark.position));
        self.remarks = kept;
    }
}

impl Remark {
    /// `:line:column: kind: flag `x` at /pointer: message; help: …`.
    fn line(&self) -> String {
        let mut line = String::new();
        if let Some(Position { line: at, column }) = self.position {
            let _ = write!(line, ":{at}:{column}");
        }
        let _ = write!(line, ": {}: ", self.kind.words());
        match (&self.flag, &self.segment) {
            (Some(flag), _) => {
                let _ = write!(line, "flag `{flag}` ");
            }
            (None, Some(segment)) => {
                let _ = write!(line, "segment `{segment}` ");
            }
            (None, None) => {}
        }
        let pointer = if self.pointer.is_empty() { "(document)" } else { &self.pointer };
        let _ = write!(line, "at {pointer}: {}", self.message);
        if self.count > 1 {
            let _ = write!(line, " ({} times)", self.count);
        }
        if !self.help.is_empty() {
            let _ = write!(line, "; help: {}", self.help);
        }
        line
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
