//! LaunchDarkly's segments: those listed are in; of the others, those who are not excluded and match a rule.

use crate::flag::parse::walk::shorten;
use std::collections::{BTreeMap, BTreeSet};

use super::super::ledger::Ledger;
use super::super::place::At;
use super::super::truth::Truth;
use super::clause;
use crate::flag::definition::{AttributePath, Condition, Operator, Scalar, Segment};
use crate::flag::key::SegmentName;
use crate::flag::limits::NESTING_MAX;

const KEYS: &[&str] = &[
    "key",
    "version",
    "included",
    "excluded",
    "includedContexts",
    "excludedContexts",
    "rules",
    "salt",
    "unbounded",
    "unboundedContextKind",
    "generation",
    "deleted",
];
const RULE_KEYS: &[&str] = &["id", "clauses", "weight", "bucketBy", "rolloutContextKind"];

/// The segments of an export, translated when they are first used.
#[derive(Debug, Default)]
pub(super) struct Segments<'n> {
    found: BTreeMap<String, At<'n>>,
    known: BTreeMap<String, Option<Truth>>,
    open: BTreeSet<String>,
    /// Those that hold for some users only.
    pub(super) kept: BTreeMap<SegmentName, Segment>,
}

impl<'n> Segments<'n> {
    /// Finds the segments of an export and translates them.
    pub(super) fn of(ledger: &mut Ledger<'_>, top: &At<'n>) -> Self {
        let list = top.get("segments").map(|segments| segments.entries()).unwrap_or_default();
        let found = list.into_iter().filter(|(_, at)| !at.says("deleted")).map(|(key, at)| (key.to_owned(), at));
        let mut segments = Self { found: found.collect(), ..Self::default() };
        let keys: Vec<String> = segments.found.keys().cloned().collect();
        for key in keys {
            segments.translate(ledger, &key);
        }
        segments
    }

    /// Whether the context belongs to the segment that a clause names.
    pub(super) fn member(&mut self, ledger: &mut Ledger<'_>, value: &At<'n>) -> Option<Truth> {
        let key = value.text().unwrap_or_default();
        if self.open.contains(key) {
            return ledger.refuse(
                value,
                "the segment contains itself, through other segments",
                "take one of them apart",
            );
        }
        if self.open.len() >= NESTING_MAX / 2 {
            return ledger.refuse(
                value,
                "segments name each other more deeply than can be nested here",
                "take them apart",
            );
        }
        if !self.known.contains_key(key) && self.found.contains_key(key) {
            let outer = ledger.subject();
            self.translate(ledger, key);
            ledger.resume(outer);
        }
        match self.known.get(key) {
            Some(Some(truth)) => Some(truth.clone()),
            Some(None) => ledger.refuse(value, format!("the segment `{}` is left out", shorten(key)), ""),
            None => {
                let why = format!("the segment `{}` is not in the export", shorten(key));
                ledger.refuse(value, why, "import the SDK's data, which holds flags and segments")
            }
        }
    }

    fn translate(&mut self, ledger: &mut Ledger<'_>, key: &str) {
        let Some(at) = self.found.get(key).cloned() else { return };
        if self.known.contains_key(key) {
            return;
        }
        ledger.segment(key);
        self.open.insert(key.to_owned());
        let truth = self.read(ledger, &at).filter(|_| !ledger.is_refused());
        self.open.remove(key);
        let truth = match truth {
            Some(Truth::When(when)) => match SegmentName::new(key) {
                Ok(name) => {
                    self.kept.insert(name.clone(), Segment { when });
                    Some(Truth::When(Condition::Segment(name)))
                }
                Err(_) => Some(Truth::When(when)),
            },
            other => other,
        };
        self.known.insert(key.to_owned(), truth);
    }

    fn read(&mut self, ledger: &mut Ledger<'_>, at: &At<'n>) -> Option<Truth> {
        ledger.only(at, KEYS, "the segment");
        if at.says("unbounded") {
            let why = "a big segment: its members are not in the export";
            return ledger.refuse(at, why, "let the application send an attribute that says it");
        }
        for key in ["includedContexts", "excludedContexts"] {
            if let Some(other) = at.list(key).into_iter().find(|target| !target.list("values").is_empty()) {
                return ledger.refuse(
                    &other,
                    "the segment lists contexts that are no users",
                    "use an attribute of users",
                );
            }
        }
        let included = listed(ledger, &at.list("included"))?;
        let excluded = listed(ledger, &at.list("excluded"))?;
        let mut rules = Vec::new();
        for rule in at.list("rules") {
            ledger.only(&rule, RULE_KEYS, "the segment's rule");
            let clauses = clause::all(ledger, &rule.list("clauses"), self);
            rules.push(match rule.get("weight").map(|weight| weight.integer()) {
                None | Some(Some(100_000)) => clauses?,
                Some(Some(0)) => Truth::Never,
                Some(_) => {
                    let why = "a rule of a segment with a percentage: segments here hold none";
                    return ledger.refuse(&rule, why, "write the percentage into the rules of the flags");
                }
            });
        }
        Some(Truth::any([included, Truth::all([excluded.not(), Truth::any(rules)])]))
    }
}

/// One of these users.
pub(super) fn listed(ledger: &mut Ledger<'_>, keys: &[At<'_>]) -> Option<Truth> {
    let mut list = Vec::new();
    for key in keys {
        match key.text() {
            Some(text) => list.push(Scalar::String(text.to_owned())),
            None => return ledger.refuse(key, "the key of a user is no text", "put it in quotes"),
        }
    }
    let path = AttributePath::literal("targetingKey")?;
    Some(if list.is_empty() { Truth::Never } else { Truth::test(&path, Operator::In(list)) })
}
