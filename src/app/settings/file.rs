//! The settings file: TOML with positions. A key that no setting has is refused, since it would silently do nothing.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{SettingFault, Source};
use super::table::{self, Setting, TABLE};
use super::{Given, Layer};

/// What the file sets, and everything that is wrong with its shape. A file that is not TOML sets nothing.
pub(super) fn read(name: &str, text: &str) -> (Layer, Vec<SettingFault>) {
    let mut file = File { name, text, layer: Layer::new(), faults: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = file.place(error.span().map_or(0, |span| span.start));
        let problem = format!("this is not TOML ({})", error.message().trim_end().replace('\n', ", "));
        file.faults.push(SettingFault::new(place, problem, "write `name = value`; texts stand in quotes".to_owned()));
    }
    if file.faults.is_empty() {
        file.table("", table.get_ref());
    }
    (file.layer, file.faults)
}

struct File<'f> {
    name: &'f str,
    text: &'f str,
    layer: Layer,
    faults: Vec<SettingFault>,
}

impl File<'_> {
    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn place(&self, offset: usize) -> String {
        format!("{}:{}", self.name, self.line(offset))
    }

    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            self.entry(&name, key.span().start, value);
        }
    }

    fn entry(&mut self, name: &str, offset: usize, value: &Spanned<DeValue<'_>>) {
        let inside = format!("{name}.");
        let is_table = TABLE.iter().any(|setting| setting.name.starts_with(&inside));
        match (Setting::named(name), value.get_ref()) {
            (None, DeValue::Table(table)) if is_table => self.table(&inside, table),
            (None, _) if is_table => {
                let fix = format!("write [{name}] and its settings below");
                self.fault(offset, format!("`{name}` is a table of settings"), fix);
            }
            (None, _) => {
                let fault = table::unknown(self.place(offset), name);
                self.faults.push(fault);
            }
            (Some(setting), value) => match text_of(value) {
                Some(text) => {
                    let source = Source::File { name: self.name.to_owned(), line: self.line(offset) };
                    self.layer.insert(setting.name, Given { text, source });
                }
                None => {
                    let fix = format!("write {}", setting.kind.describe());
                    self.fault(offset, format!("`{name}` cannot be a {}", value.type_str()), fix);
                }
            },
        }
    }

    fn fault(&mut self, offset: usize, problem: String, fix: String) {
        let place = self.place(offset);
        self.faults.push(SettingFault::new(place, problem, fix));
    }
}

/// A value as a variable would carry it; none for what no setting takes.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
