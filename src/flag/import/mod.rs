//! From the exports of other flag systems to flag files, exactly or not at all.
//!
//! Text in, a document and a report out. A flag is translated where it then gives the same answer to every user, apart
//! from the cohorts of percentages (no two systems share a hash, so a percentage strictly between 0 and 100 is kept
//! only where the caller asks for it). Otherwise it is left out whole, and the report says what, where, why, and what a
//! person can do. Nothing is guessed: a key whose meaning is not known leaves its flag out, too.
//!
//! The other systems' user is Rampart's `targetingKey` (`userId`, `key`); all other attributes keep their names. Where
//! the SDKs of one system disagree among themselves there is nothing to be equal to; such things are left out where
//! they can be seen, and named in the system's file where they cannot (values with line breaks, texts beyond 4096
//! bytes, which regular expressions do not look at here).

use crate::flag::parse::walk::shorten;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use self::ledger::Ledger;
use self::place::At;
use self::report::{Remark, RemarkKind, Report};
use super::definition::{Condition, Definition, Segment};
use super::diagnostic::{Diagnostic, Position};
use super::key::{FlagKey, SegmentName};
use super::parse::{Format, definition_from_json, parse_document, read_node};
use super::print::{definition_to_json, segment_to_json};
use super::tree::{Node, NodeValue};

mod flagd;
mod goff;
mod launchdarkly;
mod ledger;
mod pattern;
mod place;
pub mod report;
mod share;
#[cfg(test)]
mod tests;
mod truth;
mod unleash;
pub mod yaml_text;

/// A system whose exports can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// flagd's definition files.
    Flagd,
    /// GO Feature Flag's configuration files.
    Goff,
    /// Unleash's exports and the answers of its client API.
    Unleash,
    /// LaunchDarkly's SDK data and the answers of its REST API.
    LaunchDarkly,
}

/// What flags answer that have variants in Unleash, where one flag answers two questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VariantAnswer {
    /// Whether the flag is enabled; variants are dropped.
    Enabled,
    /// The payload of the variant; the code default where the flag is not enabled.
    Payload,
}

/// What the caller asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Which environment of the export.
    pub environment: Option<String>,
    /// Keep percentages although their users change.
    pub rebucket: bool,
    /// The caller's word that contexts are plain: numbers as numbers, versions with three parts, no lists where texts
    /// or numbers are compared.
    pub plain_context: bool,
    /// What flags with variants answer (Unleash).
    pub variants: Option<VariantAnswer>,
}

/// The translated document and what became of the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// A flag file as JSON.
    pub document: Value,
    /// What became of the export.
    pub report: Report,
    /// Where the flags and segments stand in the export, by their pointer in the document.
    places: BTreeMap<String, (String, Option<Position>)>,
}

/// What a system's reader yields.
#[derive(Debug, Default)]
struct Draft {
    /// Flags that are exact, by key.
    flags: BTreeMap<FlagKey, Definition>,
    /// Segments that are exact, used or not.
    segments: BTreeMap<SegmentName, Segment>,
    /// Every flag of the export, translated or not, with its pointer and place.
    found: BTreeMap<String, (String, Option<Position>)>,
}

impl Draft {
    /// Notes that the export has a flag of that key.
    fn find(&mut self, key: &str, at: &At<'_>) {
        self.found.insert(key.to_owned(), (at.pointer.clone(), at.position()));
    }
}

/// Translates an export. `file` stands in diagnostics.
///
/// # Errors
/// Why it cannot be read at all: no JSON or YAML, not an export of that system, an environment that must be named.
pub fn translate(
    system: System,
    text: &[u8],
    format: Format,
    file: Option<&str>,
    options: &Options,
) -> Result<Outcome, Vec<Diagnostic>> {
    let named = |diagnostic: Diagnostic| Diagnostic { file: file.map(str::to_owned), ..diagnostic };
    let node = read_node(text, format, file)?;
    let top = At::top(&node);
    if let Some(twin) = twin(&top) {
        return Err(vec![named(twin)]);
    }
    if matches!(system, System::Flagd | System::Goff) && options.environment.is_some() {
        let help = "leave --environment out";
        return Err(vec![named(top.fault("environment", "files of this system hold one environment, unnamed", help))]);
    }
    let mut ledger = Ledger::new(options);
    let draft = match system {
        System::Flagd => return flagd::translate(text, format, file, &node),
        System::Goff => goff::translate(&top, &mut ledger),
        System::Unleash => unleash::translate(&top, &mut ledger),
        System::LaunchDarkly => launchdarkly::translate(&top, &mut ledger),
    };
    Ok(finish(draft.map_err(|fault| vec![named(*fault)])?, ledger.remarks))
}

/// The first key that stands twice in one map: nobody could say which one counts.
fn twin(at: &At<'_>) -> Option<Diagnostic> {
    match &at.node.value {
        NodeValue::List(_) => at.items().iter().find_map(twin),
        NodeValue::Map(_) => {
            let mut seen = BTreeSet::new();
            at.entries().into_iter().find_map(|(key, value)| {
                if seen.insert(key) {
                    twin(&value)
                } else {
                    let message = format!("the key `{}` stands twice in one map", shorten(key));
                    Some(value.fault("duplicate-key", message, "keep one of the two"))
                }
            })
        }
        _ => None,
    }
}

fn finish(mut draft: Draft, mut remarks: Vec<Remark>) -> Outcome {
    check(&mut draft, &mut remarks);
    cascade(&mut draft, &mut remarks);
    let used = used_segments(&draft);
    draft.segments.retain(|name, _| used.contains(name));
    let mut document = Map::new();
    if !draft.segments.is_empty() {
        let segments = draft.segments.iter().map(|(name, segment)| (name.to_string(), segment_to_json(segment)));
        document.insert("segments".to_owned(), Value::Object(segments.collect()));
    }
    let flags = draft.flags.iter().map(|(key, flag)| (key.to_string(), definition_to_json(flag)));
    document.insert("flags".to_owned(), Value::Object(flags.collect()));
    let places = draft.found.iter().map(|(key, place)| (super::diagnostic::join_pointer("/flags", key), place.clone()));
    let mut outcome = Outcome {
        document: Value::Object(document),
        places: places.collect(),
        report: Report { flags: draft.found.len(), remarks, ..Report::default() },
    };
    // What is wrong with segments, or with the document as a whole.
    loop {
        let text = outcome.document.to_string();
        let faults = parse_document(text.as_bytes(), Format::Json, None).diagnostics;
        let faults: Vec<Diagnostic> = faults.into_iter().filter(Diagnostic::is_error).collect();
        if !outcome.leave_out(&faults) {
            break;
        }
    }
    outcome.settle();
    outcome
}

/// Leaves out flags that require a flag which is left out, or which requires them in turn.
fn cascade(draft: &mut Draft, remarks: &mut Vec<Remark>) {
    let mut dependents: BTreeMap<&FlagKey, Vec<&FlagKey>> = BTreeMap::new();
    let mut waiting: BTreeMap<&FlagKey, usize> = BTreeMap::new();
    let mut ready: Vec<&FlagKey> = Vec::new();
    for (key, flag) in &draft.flags {
        waiting.insert(key, flag.requires.len());
        flag.requires.iter().for_each(|required| dependents.entry(&required.flag).or_default().push(key));
        if flag.requires.is_empty() {
            ready.push(key);
        }
    }
    while let Some(key) = ready.pop() {
        waiting.remove(key);
        for dependent in dependents.get(key).into_iter().flatten().copied() {
            let left = waiting.entry(dependent).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                ready.push(dependent);
            }
        }
    }
    // Who still waits, waits for ever.
    let stuck: Vec<FlagKey> = waiting.into_keys().cloned().collect();
    for key in &stuck {
        let requires = draft.flags.get(key).map(|flag| flag.requires.as_slice()).unwrap_or_default();
        let gone = |name: &FlagKey| stuck.binary_search(name).is_ok() || !draft.flags.contains_key(name);
        let name = requires.iter().find(|required| gone(&required.flag)).map_or("", |required| required.flag.as_str());
        let message = format!("it requires the flag `{name}`, which is left out or requires this flag in turn");
        remarks.push(left_out(draft, key.as_str(), message, "translate that flag by hand first".to_owned()));
    }
    stuck.iter().for_each(|key| {
        draft.flags.remove(key);
    });
}

/// Leaves out flags that an ordinary flag file may not hold: a list that is too long, variants of several types.
fn check(draft: &mut Draft, remarks: &mut Vec<Remark>) {
    let faults = |flag: &Definition| definition_from_json(&definition_to_json(flag)).err().unwrap_or_default();
    let bad: Vec<(FlagKey, Diagnostic)> = draft
        .flags
        .iter()
        .filter_map(|(key, flag)| Some((key.clone(), faults(flag).into_iter().find(Diagnostic::is_error)?)))
        .collect();
    for (key, fault) in bad {
        remarks.push(left_out(draft, key.as_str(), fault.message, fault.help));
        draft.flags.remove(&key);
    }
}

fn left_out(draft: &Draft, key: &str, message: String, help: String) -> Remark {
    let (pointer, position) = draft.found.get(key).cloned().unwrap_or_default();
    let (kind, flag) = (RemarkKind::LeftOut, Some(key.to_owned()));
    Remark { kind, flag, segment: None, position, pointer, message, help, count: 1 }
}

fn used_segments(draft: &Draft) -> BTreeSet<SegmentName> {
    let mut used = BTreeSet::new();
    let mut open: Vec<&Condition> =
        draft.flags.values().flat_map(|flag| flag.rules.iter()).map(|rule| &rule.when).collect();
    while let Some(condition) = open.pop() {
        match condition {
            Condition::All(inner) | Condition::Any(inner) => open.extend(inner),
            Condition::Not(inner) => open.push(inner),
            Condition::Segment(name) => {
                if used.insert(name.clone()) {
                    open.extend(draft.segments.get(name).map(|segment| &segment.when));
                }
            }
            Condition::Test(_) => {}
        }
    }
    used
}

impl Outcome {
    /// Takes the flags and segments out that diagnostics about the document refuse. True where one was taken out: what
    /// is left must be looked at again, since flags may refer to each other.
    pub fn leave_out(&mut self, faults: &[Diagnostic]) -> bool {
        let mut done = BTreeSet::new();
        let mut removed = false;
        for fault in faults.iter().filter(|fault| fault.is_error()) {
            let mut tokens = fault.pointer.splitn(4, '/').skip(1);
            let (Some(part @ ("flags" | "segments")), Some(token)) = (tokens.next(), tokens.next()) else { continue };
            let name = token.replace("~1", "/").replace("~0", "~");
            let top = format!("/{part}/{token}");
            if !done.insert(top.clone()) || !remove(&mut self.document[part], &name) {
                continue;
            }
            removed = true;
            let (pointer, position) = self.places.get(&top).cloned().unwrap_or((top, None));
            let (flag, segment) = if part == "flags" { (Some(name), None) } else { (None, Some(name)) };
            self.report.remarks.push(Remark {
                kind: RemarkKind::LeftOut,
                flag,
                segment,
                position,
                pointer,
                message: fault.message.clone(),
                help: fault.help.clone(),
                count: 1,
            });
        }
        removed
    }

    /// Counts again and puts the remarks in order.
    pub fn settle(&mut self) {
        let count = |value: &Value| match value {
            Value::Object(entries) => entries.len(),
            Value::Array(items) => items.len(),
            _ => 0,
        };
        self.report.translated = count(&self.document["flags"]);
        self.report.segments = count(&self.document["segments"]);
        // Of a flag that is left out, nothing else matters.
        let left = self.report.remarks.iter().filter(|remark| remark.kind == RemarkKind::LeftOut);
        let left: BTreeSet<String> = left.filter_map(|remark| remark.flag.clone()).collect();
        self.report.remarks.retain(|remark| {
            remark.kind == RemarkKind::LeftOut || remark.flag.as_ref().is_none_or(|flag| !left.contains(flag))
        });
        self.report.arrange();
    }

    /// The document as text.
    pub fn text(&self, format: Format) -> String {
        match format {
            Format::Json => format!("{:#}\n", self.document),
            Format::Yaml => yaml_text::write(&self.document),
        }
    }
}

/// Takes a key out of a map, or the elements of that key out of a list.
fn remove(part: &mut Value, name: &str) -> bool {
    match part {
        Value::Object(entries) => entries.remove(name).is_some(),
        Value::Array(items) => {
            let before = items.len();
            items.retain(|item| item["key"] != name);
            items.len() < before
        }
        _ => false,
    }
}

/// The environment to read: the one that was asked for, or the only one.
fn choose_environment<'e>(
    top: &At<'_>,
    names: &BTreeSet<&'e str>,
    wanted: Option<&str>,
) -> Result<Option<&'e str>, Box<Diagnostic>> {
    let list = || names.iter().map(|name| shorten(name)).collect::<Vec<_>>().join(", ");
    let fault = |message: String, help: String| Err(Box::new(top.fault("environment", message, help)));
    match (wanted, names.len()) {
        (Some(wanted), 0) => {
            let message = format!("the export names no environment, so there is no `{}` in it", shorten(wanted));
            fault(message, "leave --environment out".to_owned())
        }
        (Some(wanted), _) => match names.get(wanted) {
            Some(name) => Ok(Some(*name)),
            None => fault(
                format!("the export has no environment `{}`", shorten(wanted)),
                format!("its environments are: {}", list()),
            ),
        },
        (None, 0) => Ok(None),
        (None, 1) => Ok(names.first().copied()),
        (None, many) => {
            fault(format!("the export holds {many} environments"), format!("choose one with --environment: {}", list()))
        }
    }
}

/// A flag key, or a reason why there is none.
fn flag_key(ledger: &mut Ledger<'_>, at: &At<'_>, key: &str) -> Option<FlagKey> {
    match FlagKey::new(key) {
        Ok(key) => Some(key),
        Err(fault) => ledger.refuse(at, format!("flag keys here are stricter: {fault}"), "rename the flag"),
    }
}

/// A JSON value that can be a variant, or a reason why not.
fn variant_value(ledger: &mut Ledger<'_>, at: &At<'_>, node: &Node) -> Option<Value> {
    match &node.value {
        NodeValue::Null | NodeValue::List(_) => {
            let message = format!("the value is {}; variants are booleans, strings, numbers or objects", node.kind());
            ledger.refuse(at, message, "wrap it in an object, in the export and in the application")
        }
        _ => Some(node.to_json()),
    }
}

/// Takes scalars as metadata; what is nested is noted.
fn metadata(ledger: &mut Ledger<'_>, at: &At<'_>) -> BTreeMap<String, Value> {
    let mut metadata = BTreeMap::new();
    for (key, value) in at.entries() {
        let scalar = matches!(value.node.value, NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text { .. });
        if !scalar || key == "flagSetId" {
            ledger.note(
                &value,
                format!("metadata `{}` is not kept: it is nested, or means something else here", shorten(key)),
            );
        } else {
            metadata.insert(key.to_owned(), json!(value.node.to_json()));
        }
    }
    metadata
}
