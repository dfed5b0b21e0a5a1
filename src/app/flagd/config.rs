//! flagd's configuration file: JSON or YAML, with the long option names as keys. A key that flagd does not have is
//! refused, since it would silently do nothing.

use std::path::Path;

use crate::app::settings::fault::{SettingFault, Source};
use crate::app::settings::table::nearest;
use crate::flag::diagnostic::Diagnostic;
use crate::flag::limits::NESTING_MAX;
use crate::flag::parse::Format;
use crate::flag::tree::{Node, NodeValue};
use crate::flag::{json, yaml};

use super::options::{FlagdOption, Kind, OPTIONS};
use super::{Said, Sayings};

/// What the file says, and everything that is wrong with its shape.
pub(super) fn read(name: &str, text: &str) -> (Sayings, Vec<SettingFault>) {
    let format = match Format::of_path(Path::new(name)) {
        Some(format) => format,
        None if Path::new(name).extension().is_none() => Format::of_text(text.as_bytes()),
        None => {
            let problem = "the configuration file of flagd is JSON or YAML".to_owned();
            let fix = "name it x.json or x.yaml; Rampart's own settings go into a file that RAMPART_CONFIG names";
            return (Sayings::new(), vec![SettingFault::new(name.to_owned(), problem, fix.to_owned())]);
        }
    };
    let tree = match format {
        Format::Json => json::read(text, NESTING_MAX).map_err(|diagnostic| vec![*diagnostic]),
        Format::Yaml => yaml::read(text, NESTING_MAX).map(|(node, _warnings)| node),
    };
    match tree {
        Ok(node) => entries(name, &node),
        Err(diagnostics) => (Sayings::new(), diagnostics.into_iter().map(|found| fault_of(name, found)).collect()),
    }
}

fn fault_of(name: &str, found: Diagnostic) -> SettingFault {
    let place = found.position.map_or_else(|| name.to_owned(), |position| format!("{name}:{}", position.line));
    SettingFault::new(place, found.message, if found.help.is_empty() { "mend it".to_owned() } else { found.help })
}

fn entries(name: &str, node: &Node) -> (Sayings, Vec<SettingFault>) {
    let (mut sayings, mut faults) = (Sayings::new(), Vec::new());
    let entries = match &node.value {
        NodeValue::Map(entries) => entries,
        // An empty document, as flagd takes it.
        NodeValue::Null => return (sayings, faults),
        _ => {
            let problem = format!("the configuration is {}, not a map", node.kind());
            let fix = "write option names and their values, such as `port: 8013`".to_owned();
            return (sayings, vec![SettingFault::new(name.to_owned(), problem, fix)]);
        }
    };
    for entry in entries.iter() {
        let line = entry.position.line as usize;
        let mut fault = |problem: String, fix: String| {
            faults.push(SettingFault::new(format!("{name}:{line}"), problem, fix));
        };
        let Some(option) = FlagdOption::named(&entry.key) else {
            let near = nearest(&entry.key, OPTIONS.iter().map(|option| option.long));
            let fix = near.map_or_else(
                || "remove it; `rampart start --help` shows every option".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            fault(format!("flagd has no option `{}`", entry.key), fix);
            continue;
        };
        match texts(option, &entry.value) {
            Some(texts) if texts.is_empty() => {}
            Some(texts) => {
                let source = Source::File { name: name.to_owned(), line };
                if sayings.insert(option.long, Said { texts, whole: true, source }).is_some() {
                    fault(format!("`{}` stands twice", option.long), "keep one of the two".to_owned());
                }
            }
            None => {
                let fix = format!("write {}", describe(option));
                fault(format!("`{}` cannot be {}", option.long, entry.value.kind()), fix);
            }
        }
    }
    (sayings, faults)
}

/// A value as the command line would carry it: nothing for null, none for what the option does not take.
fn texts(option: &FlagdOption, node: &Node) -> Option<Vec<String>> {
    if node.value == NodeValue::Null {
        return Some(Vec::new());
    }
    match (&node.value, option.kind) {
        (NodeValue::List(items), Kind::Texts) => items.iter().map(scalar).collect(),
        (NodeValue::List(_), _) if option.long == "sources" => Some(vec![node.to_json().to_string()]),
        (NodeValue::Map(entries), Kind::Pairs) => {
            let pair = |entry: &crate::flag::tree::Entry| Some((entry.key.clone(), scalar(&entry.value)?.into()));
            let map: serde_json::Map<String, serde_json::Value> = entries.iter().map(pair).collect::<Option<_>>()?;
            Some(vec![serde_json::Value::Object(map).to_string()])
        }
        _ => scalar(node).map(|text| vec![text]),
    }
}

fn scalar(node: &Node) -> Option<String> {
    match &node.value {
        NodeValue::Bool(value) => Some(value.to_string()),
        NodeValue::Number(text) => Some(text.to_string()),
        NodeValue::Text { text, .. } => Some(text.to_string()),
        NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => None,
    }
}

fn describe(option: &FlagdOption) -> &'static str {
    match option.kind {
        Kind::Text if option.long == "sources" => "a list of sources",
        Kind::Text => "a text",
        Kind::Texts => "a list of texts",
        Kind::Pairs => "a map of names and texts",
        Kind::Switch => "true or false",
        Kind::Number => "a whole number",
        Kind::Port => "a port",
        Kind::Duration => "a time such as 1m30s",
    }
}
