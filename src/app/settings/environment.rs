//! The environment: the only place of the program that reads variables.
//!
//! It is read once into a map; who wants a variable asks the map. That keeps composing pure and the list complete.

use std::collections::BTreeMap;

use super::fault::{SettingFault, Source};
use super::table::{self, Setting};
use super::{Given, Layer};

/// What every variable of Rampart begins with.
pub const PREFIX: &str = "RAMPART_";

/// The variables that commands read instead of the server, with what each is for.
pub const COMMAND_VARIABLES: [(&str, &str); 4] = [
    ("RAMPART_CONFIG", "the TOML settings file of `serve` and `start`; for `serve` also `--config`"),
    ("RAMPART_SERVER", "the control plane that admin commands talk to"),
    ("RAMPART_DATA_SERVER", "the data plane that `watch` talks to"),
    ("RAMPART_TOKEN", "the token that commands carry"),
];

/// What Kubernetes sets in every pod beside a service called `rampart`: not meant for us, not worth a warning.
const KUBERNETES_PREFIXES: [&str; 2] = ["RAMPART_SERVICE_", "RAMPART_PORT"];

/// Every `RAMPART_*` variable of the process.
///
/// # Errors
/// The variables that are not UTF-8.
pub fn read_environment() -> Result<BTreeMap<String, String>, Vec<SettingFault>> {
    read_variables(&[PREFIX])
}

/// Every variable of the process that begins with one of these.
///
/// # Errors
/// Those that are not UTF-8.
#[expect(clippy::disallowed_methods, reason = "this is the home of the environment")]
pub fn read_variables(prefixes: &[&str]) -> Result<BTreeMap<String, String>, Vec<SettingFault>> {
    let mut variables = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => drop(variables.insert(name.to_owned(), value)),
            Err(_) => faults.push(SettingFault::new(
                name.to_owned(),
                "the value is not UTF-8".to_owned(),
                "write it in UTF-8".to_owned(),
            )),
        }
    }
    if faults.is_empty() { Ok(variables) } else { Err(faults) }
}

/// What the variables set.
pub(super) fn layer(variables: &BTreeMap<String, String>) -> Layer {
    let given = |setting: &'static Setting| {
        let name = setting.variable();
        let text = variables.get(&name)?.clone();
        Some((setting.name, Given { text, source: Source::Variable(name) }))
    };
    table::TABLE.iter().filter_map(given).collect()
}

/// A warning for every variable that looks like ours and is not.
pub(super) fn unknown(variables: &BTreeMap<String, String>) -> Vec<String> {
    let known: Vec<String> = table::TABLE
        .iter()
        .map(Setting::variable)
        .chain(COMMAND_VARIABLES.iter().map(|(name, _)| (*name).to_owned()))
        .collect();
    let foreign = |name: &&String| {
        name.starts_with(PREFIX)
            && !known.contains(name)
            && !KUBERNETES_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    let warning = |name: &String| match table::nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("{name} is not a variable of Rampart and has no effect; did you mean {near}?"),
        None => format!("{name} is not a variable of Rampart and has no effect"),
    };
    variables.keys().filter(foreign).map(warning).collect()
}
