//! The settings for people: the effective ones as TOML, and the reference table of the README.

use std::fmt::Write;

use super::environment::COMMAND_VARIABLES;
use super::table::{Kind, TABLE};
use super::{Effective, Resolved};

/// The effective settings as a TOML file that would set them again, each with its source. Secrets are redacted and
/// commented out, as is what is not set.
pub fn config(resolved: &Resolved) -> String {
    let mut text = String::new();
    let mut table = "";
    for effective in &resolved.effective {
        let (own, key) = effective.setting.name.split_once('.').unwrap_or(("", effective.setting.name));
        if own != table {
            text.push_str(&format!("\n[{own}]\n"));
            table = own;
        }
        text.push_str(&line(key, effective));
    }
    text
}

fn line(key: &str, effective: &Effective) -> String {
    let source = &effective.source;
    match effective.shown() {
        None => format!("# {key} is not set\n"),
        Some(shown) if effective.setting.is_secret() => format!("# {key} = \"{shown}\"  # {source}\n"),
        Some(shown) => format!("{key} = {}  # {source}\n", literal(effective.setting.kind, shown)),
    }
}

fn literal(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Switch | Kind::Count(..) => text.to_owned(),
        Kind::Path
        | Kind::Address
        | Kind::Environment
        | Kind::Choice(_)
        | Kind::Duration(..)
        | Kind::Bytes(..)
        | Kind::Filter
        | Kind::Secret
        | Kind::Token
        | Kind::Pairs
        | Kind::Headers
        | Kind::Origins
        | Kind::Url => toml::Value::String(text.to_owned()).to_string(),
    }
}

/// Every setting as a Markdown table, for the README.
pub fn reference() -> String {
    let mut text = String::from("| setting | variable | value | default | what it does |\n|---|---|---|---|---|\n");
    for setting in TABLE {
        let default = setting.default.map_or_else(|| "not set".to_owned(), |default| format!("`{default}`"));
        let row =
            [format!("`{}`", setting.name), format!("`{}`", setting.variable()), setting.kind.describe(), default];
        let _infallible = writeln!(text, "| {} | {} |", row.join(" | "), setting.doc);
    }
    for (name, doc) in COMMAND_VARIABLES {
        let _infallible = writeln!(text, "| | `{name}` | | | {doc} |");
    }
    text
}
