//! flagd's definition files. They are flag files already, so nothing is translated: the document is taken as it
//! stands, JSONLogic, `$evaluators` and all, without the flags that could not be used.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Outcome;
use super::report::{Remark, RemarkKind, Report};
use crate::flag::diagnostic::Diagnostic;
use crate::flag::parse::{Format, parse_document};
use crate::flag::tree::Node;

/// Reads a document and keeps what is good of it.
///
/// # Errors
/// What makes the whole document unreadable.
pub(super) fn translate(
    text: &[u8],
    format: Format,
    file: Option<&str>,
    node: &Node,
) -> Result<Outcome, Vec<Diagnostic>> {
    let parsed = parse_document(text, format, file);
    if parsed.unreadable {
        return Err(parsed.diagnostics);
    }
    let mut document = node.to_json();
    let flags = match &document["flags"] {
        Value::Object(entries) => entries.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    let is_bad = |key: &str, set: Option<&str>| {
        parsed.bad_keys.contains(key)
            || parsed.bad_flags.iter().any(|id| {
                id.key.as_str() == key
                    && set.is_none_or(|set| id.flag_set.as_ref().map(|set| set.as_str()) == Some(set))
            })
    };
    match &mut document["flags"] {
        Value::Object(entries) => entries.retain(|key, _| !is_bad(key, None)),
        Value::Array(items) => items.retain(|flag| {
            let key = flag["key"].as_str().unwrap_or_default();
            !is_bad(key, flag["metadata"]["flagSetId"].as_str())
        }),
        _ => {}
    }
    if let Some(segments) = document.get_mut("segments").and_then(Value::as_object_mut) {
        segments.retain(|name, _| !parsed.bad_segments.contains(name));
    }
    // What is said of the evaluators is about serving them, not about this file: they are kept beside their uses.
    let said = parsed.diagnostics.into_iter().filter(|diagnostic| diagnostic.code != "evaluators");
    let remarks = said.map(|diagnostic| remark(&document, diagnostic)).collect();
    let mut outcome =
        Outcome { document, report: Report { flags, remarks, ..Report::default() }, places: BTreeMap::new() };
    for (id, pointer) in parsed.pointers {
        let position = parsed.positions.find(&pointer);
        outcome.places.insert(crate::flag::diagnostic::join_pointer("/flags", id.key.as_str()), (pointer, position));
    }
    outcome.settle();
    Ok(outcome)
}

fn remark(document: &Value, diagnostic: Diagnostic) -> Remark {
    let mut tokens = diagnostic.pointer.split('/').skip(1);
    let name = |token: Option<&str>| token.map(|token| token.replace("~1", "/").replace("~0", "~"));
    let (flag, segment) = match tokens.next() {
        Some("flags") => (name(tokens.next()), None),
        Some("segments") => (None, name(tokens.next())),
        _ => (None, None),
    };
    // In a list of flags the pointer has an index; such a flag is named by its place alone.
    let flag = if document["flags"].is_array() { flag.map(|index| format!("#{index}")) } else { flag };
    let kind = if diagnostic.is_error() { RemarkKind::LeftOut } else { RemarkKind::Note };
    let Diagnostic { position, pointer, message, help, .. } = diagnostic;
    Remark { kind, flag, segment, position, pointer, message, help, count: 1 }
}
