//! What is gathered while an export is translated: the reasons why a flag is left out, and what there is to say of the
//! others. One reason is enough to leave a flag out whole: a flag without one of its rules would give other answers.

use super::Options;
use super::place::At;
use super::report::{Remark, RemarkKind};
use crate::flag::parse::walk::shorten;

/// The remarks so far, and what is being translated.
#[derive(Debug)]
pub(super) struct Ledger<'o> {
    /// What was asked for.
    pub(super) options: &'o Options,
    /// Everything said so far.
    pub(super) remarks: Vec<Remark>,
    flag: Option<String>,
    segment: Option<String>,
    refused: bool,
}

impl<'o> Ledger<'o> {
    /// An empty one.
    pub(super) fn new(options: &'o Options) -> Self {
        Self { options, remarks: Vec::new(), flag: None, segment: None, refused: false }
    }

    /// From here on, remarks are about this flag.
    pub(super) fn flag(&mut self, key: &str) {
        (self.flag, self.segment, self.refused) = (Some(key.to_owned()), None, false);
    }

    /// From here on, remarks are about this segment.
    pub(super) fn segment(&mut self, name: &str) {
        (self.flag, self.segment, self.refused) = (None, Some(name.to_owned()), false);
    }

    /// What remarks are about, to come back to it.
    pub(super) fn subject(&mut self) -> Subject {
        Subject { flag: self.flag.take(), segment: self.segment.take(), refused: self.refused }
    }

    /// Comes back to what remarks were about before.
    pub(super) fn resume(&mut self, subject: Subject) {
        (self.flag, self.segment, self.refused) = (subject.flag, subject.segment, subject.refused);
    }

    /// True where the present flag or segment must be left out.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Leaves the present flag or segment out. Yields none, so that it can end a translation.
    pub(super) fn refuse<T>(&mut self, at: &At<'_>, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.refused = true;
        self.say(RemarkKind::LeftOut, at, message, help);
        None
    }

    /// Says that the present flag's shares go to other users.
    pub(super) fn rebucket(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.say(RemarkKind::Rebucketed, at, message, "");
    }

    /// Says something that changes no answer.
    pub(super) fn note(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.say(RemarkKind::Note, at, message, "");
    }

    /// True where `--plain-context` was given, which is then noted; otherwise the flag is left out with `why`.
    pub(super) fn plain(&mut self, at: &At<'_>, promise: String, why: &str) -> bool {
        if self.options.plain_context {
            self.say(RemarkKind::Assumed, at, promise, "");
            return true;
        }
        let help = format!("if {promise}, import with --plain-context");
        self.refuse::<()>(at, why, help);
        false
    }

    /// Leaves the present flag or segment out for each key that is not among the known ones: what it does is unknown.
    /// Keys that begin with `_` never decide anything.
    pub(super) fn only(&mut self, at: &At<'_>, known: &[&str], what: &str) {
        for (key, value) in at.entries() {
            if !key.starts_with('_') && !known.contains(&key) {
                let message = format!("{what} has the key `{}`, whose meaning is not known here", shorten(key));
                self.refuse::<()>(&value, message, "remove it from the export if no answer depends on it");
            }
        }
    }

    fn say(&mut self, kind: RemarkKind, at: &At<'_>, message: impl Into<String>, help: impl Into<String>) {
        self.remarks.push(Remark {
            kind,
            flag: self.flag.clone(),
            segment: self.segment.clone(),
            position: at.position(),
            pointer: at.pointer.clone(),
            message: message.into(),
            help: help.into(),
            count: 1,
        });
    }
}

/// What remarks are about.
#[derive(Debug)]
pub(super) struct Subject {
    flag: Option<String>,
    segment: Option<String>,
    refused: bool,
}
