//! flagd's own way to be started, as settings of Rampart: command line over `FLAGD_*` over the configuration file over
//! flagd's defaults, so that a deployment of flagd is replaced by changing the image.
//!
//! Composing is a pure function that reports everything that is wrong at once, as that of the settings is, whose layers
//! it goes between: Rampart's own options, then flagd's, then `RAMPART_*` and Rampart's settings file, then the defaults
//! of flagd.

use std::collections::BTreeMap;
use std::path::Path;

use crate::source::several::NamedFile;

use super::settings::fault::{SettingFault, Source};
use super::settings::table::{Setting, nearest};
use super::settings::value::{Wrong, show_duration};
use super::settings::{Given, Layer, Resolved, environment, read_file, resolve_over};

use options::{CLIENT_VARIABLES, FlagdOption, Kind, OPTIONS, Support};
use sources::Found;

mod config;
pub mod options;
mod sources;
#[cfg(test)]
mod tests;
mod value;

/// What one source of options says about one option.
#[derive(Debug, Clone)]
struct Said {
    texts: Vec<String>,
    /// True where each text is one value; false where commas part them.
    whole: bool,
    source: Source,
}

/// What is said, by the options' long names.
type Sayings = BTreeMap<&'static str, Said>;

/// What was typed and set.
#[derive(Debug, Clone, Copy)]
pub struct Words<'w> {
    /// flagd's options of the command line by their long names, each as often as it was given.
    pub options: &'w BTreeMap<&'static str, Vec<String>>,
    /// Rampart's own options of the command line by the names of their settings.
    pub own: &'w BTreeMap<&'static str, String>,
    /// The variables `FLAGD_*` and `RAMPART_*`.
    pub environment: &'w BTreeMap<String, String>,
    /// Name and text of flagd's configuration file.
    pub config: Option<(&'w str, &'w str)>,
    /// Name and text of Rampart's own settings file.
    pub settings: Option<(&'w str, &'w str)>,
}

/// How to start.
#[derive(Debug)]
pub struct Composed {
    /// The settings, with where they came from.
    pub resolved: Resolved,
    /// The flag files in rising order of precedence.
    pub sources: Vec<NamedFile>,
}

/// Reads the two files, if they are named, and composes.
///
/// # Errors
/// Everything that is wrong.
pub fn load(
    options: &BTreeMap<&'static str, Vec<String>>,
    own: &BTreeMap<&'static str, String>,
    environment: &BTreeMap<String, String>,
    config: Option<&Path>,
) -> Result<Composed, Vec<SettingFault>> {
    let read = |path: Option<&Path>, fix: &str| path.map(|path| read_file(path, fix)).transpose();
    let config = read(config, "name a readable JSON or YAML file with --config, or leave it out")?;
    let settings = environment.get("RAMPART_CONFIG").map(Path::new);
    let settings = read(settings, "name a readable TOML file with RAMPART_CONFIG, or leave it out")?;
    compose(Words {
        options,
        own,
        environment,
        config: config.as_ref().map(|(name, text)| (name.as_str(), text.as_str())),
        settings: settings.as_ref().map(|(name, text)| (name.as_str(), text.as_str())),
    })
}

/// Composes the settings.
///
/// # Errors
/// Everything that is wrong, flagd's words and Rampart's own together.
pub fn compose(words: Words<'_>) -> Result<Composed, Vec<SettingFault>> {
    let (from_config, mut faults) = words.config.map(|(name, text)| config::read(name, text)).unwrap_or_default();
    let mut warnings = Vec::new();
    let from_environment = variables(words.environment, &mut warnings);
    let from_options = typed(words.options, &mut faults);
    let layers = [from_options, from_environment, from_config];
    let said = |long: &str| layers.iter().find_map(|layer| layer.get(long));

    let mut over = Layer::new();
    for option in OPTIONS {
        let Some(said) = said(option.long) else { continue };
        match option.support {
            Support::Setting(name) => match (setting_text(option, said), Setting::named(name)) {
                (Ok(text), Some(setting)) => {
                    drop(over.insert(setting.name, Given { text, source: said.source.clone() }))
                }
                (Ok(_), None) => warnings.push(format!("{}: `{}` has no effect here", said.source, option.long)),
                (Err(wrong), _) => faults.push(fault(&said.source, &said.texts.join(","), wrong)),
            },
            Support::Sources => {}
            Support::NoEffect(why) => match checked(option, said) {
                Ok(()) => warnings.push(format!("{}: `{}` has no effect: {why}", said.source, option.long)),
                Err(wrong) => faults.push(fault(&said.source, &said.texts.join(","), wrong)),
            },
            Support::Instead(instead) => {
                let problem = format!("`{}` is an option of flagd that Rampart does not have", option.long);
                faults.push(SettingFault::new(said.source.to_string(), problem, instead.to_owned()));
            }
        }
    }
    let files = files(said("uri"), said("sources"), &mut warnings, &mut faults);
    let defaults = defaults(&words);
    match resolve_over(over, words.own, words.environment, words.settings, defaults) {
        Ok(mut resolved) if faults.is_empty() => {
            resolved.warnings.extend(warnings);
            Ok(Composed { resolved, sources: files })
        }
        Ok(_) => Err(faults),
        Err(more) => Err(faults.into_iter().chain(more).collect()),
    }
}

fn fault(source: &Source, text: &str, wrong: Wrong) -> SettingFault {
    SettingFault::new(source.to_string(), format!("{text:?} {}", wrong.problem), wrong.fix)
}

fn typed(options: &BTreeMap<&'static str, Vec<String>>, faults: &mut Vec<SettingFault>) -> Sayings {
    let mut sayings = Sayings::new();
    for (long, texts) in options {
        match FlagdOption::named(long) {
            Some(option) => {
                let source = Source::Option(format!("--{long}"));
                sayings.insert(option.long, Said { texts: texts.clone(), whole: false, source });
            }
            None => {
                let problem = format!("flagd has no option `{long}`");
                faults.push(SettingFault::new(format!("--{long}"), problem, "leave it out".to_owned()));
            }
        }
    }
    sayings
}

/// What the variables say. flagd takes an empty variable for none.
fn variables(environment: &BTreeMap<String, String>, warnings: &mut Vec<String>) -> Sayings {
    let mut sayings = Sayings::new();
    for option in OPTIONS {
        let name = option.variable();
        let Some(text) = environment.get(&name).filter(|text| !text.is_empty()) else { continue };
        if option.kind == Kind::Port && text.starts_with("tcp://") {
            // What Kubernetes sets in every pod beside a service called `flagd`.
            warnings.push(format!("{name} is the address of a Kubernetes service, not a port, and has no effect"));
            continue;
        }
        // flagd parts the texts of a variable by spaces.
        let apart = |text: &String| text.split_whitespace().map(str::to_owned).collect();
        let texts = if option.kind == Kind::Texts { apart(text) } else { vec![text.clone()] };
        sayings.insert(option.long, Said { texts, whole: false, source: Source::Variable(name) });
    }
    let known: Vec<String> = OPTIONS.iter().map(FlagdOption::variable).collect();
    for name in environment.keys().filter(|name| name.starts_with(options::PREFIX)) {
        let strange = !known.contains(name) && !CLIENT_VARIABLES.contains(&name.as_str());
        if let Some(near) = nearest(name, known.iter().map(String::as_str)).filter(|_| strange) {
            warnings.push(format!("{name} is not a variable of flagd and has no effect; did you mean {near}?"));
        }
    }
    sayings
}

/// The value of the setting that an option becomes.
fn setting_text(option: &FlagdOption, said: &Said) -> Result<String, Wrong> {
    checked(option, said)?;
    let last = said.texts.last().map(String::as_str).unwrap_or_default();
    Ok(match option.kind {
        Kind::Port => format!("0.0.0.0:{}", value::port(last)?),
        Kind::Duration => show_duration(value::duration(last)?),
        Kind::Pairs => serde_json::to_string(&value::pairs(&said.texts)?).unwrap_or_default(),
        Kind::Texts => apart(said).join(","),
        Kind::Switch => match (option.long, value::switch(last)?) {
            ("debug", true) => "info,rampart=debug".to_owned(),
            ("debug", false) => "info".to_owned(),
            (_, on) => on.to_string(),
        },
        Kind::Number if option.long == "ofrep-sse-inactivity-delay" => format!("{}s", value::number(last)?),
        Kind::Number => value::number(last)?.to_string(),
        Kind::Text if option.long == "log-format" => match last {
            "console" => "text".to_owned(),
            "json" => "json".to_owned(),
            _ => {
                let fix = "write console or json".to_owned();
                return Err(Wrong { problem: "is not a log format".to_owned(), fix });
            }
        },
        Kind::Text => last.to_owned(),
    })
}

/// Checks a value as far as its kind goes.
fn checked(option: &FlagdOption, said: &Said) -> Result<(), Wrong> {
    let last = said.texts.last().map(String::as_str).unwrap_or_default();
    match option.kind {
        Kind::Text | Kind::Texts => Ok(()),
        Kind::Pairs => value::pairs(&said.texts).map(drop),
        Kind::Switch => value::switch(last).map(drop),
        Kind::Number => value::number(last).map(drop),
        Kind::Port => value::port(last).map(drop),
        Kind::Duration => value::duration(last).map(drop),
    }
}

fn apart(said: &Said) -> Vec<String> {
    if said.whole { said.texts.clone() } else { said.texts.iter().flat_map(|text| value::list(text)).collect() }
}

/// The files of `--uri` and then those of `--sources`, which win, as in flagd.
fn files(
    uri: Option<&Said>,
    sources: Option<&Said>,
    warnings: &mut Vec<String>,
    faults: &mut Vec<SettingFault>,
) -> Vec<NamedFile> {
    let mut files = Vec::new();
    let mut nothing = true;
    let mut close = |found: Found, source: &Source| {
        nothing &= found.files.is_empty() && found.wrong.is_empty();
        files.extend(found.files);
        warnings.extend(found.notes.into_iter().map(|note| format!("{source}: {note}")));
        faults.extend(found.wrong.into_iter().map(|(text, wrong)| fault(source, &text, wrong)));
    };
    if let Some(said) = uri {
        let mut found = Found::default();
        apart(said).iter().for_each(|uri| found.uri(uri));
        close(found, &said.source);
    }
    if let Some(said) = sources {
        let mut found = Found::default();
        said.texts.last().into_iter().for_each(|text| found.sources(text));
        close(found, &said.source);
    }
    if nothing {
        let fix = "name a flag file with --uri file:PATH; to serve without one use `rampart serve`".to_owned();
        faults.push(SettingFault::new("--uri".to_owned(), "there is no source of flags".to_owned(), fix));
    }
    files
}

/// Where flagd and Rampart differ when nobody says anything. Without a data folder nothing is kept, as in flagd.
fn defaults(words: &Words<'_>) -> Layer {
    let folder = Setting::named("data_dir").map(Setting::variable).unwrap_or_default();
    let in_file = words
        .settings
        .is_some_and(|(_, text)| toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("data_dir")));
    let keeps = words.own.contains_key("data_dir") || words.environment.contains_key(&folder) || in_file;
    let journal = if keeps { "sqlite" } else { "memory" };
    let default = |(name, text): (&'static str, &str)| (name, Given { text: text.to_owned(), source: Source::Default });
    [
        ("journal", journal),
        ("listen", "0.0.0.0:8013"),
        ("admin_listen", "0.0.0.0:8014"),
        ("sync_listen", "0.0.0.0:8015"),
        ("ofrep_listen", "0.0.0.0:8016"),
        ("flags_poll", "250ms"),
        ("limits.evaluate_body_bytes", "1000000"),
        ("limits.header_bytes", "64KiB"),
    ]
    .into_iter()
    .map(default)
    .collect()
}

/// The port of the admin plane that the variables name, for probes.
pub fn management_port(environment: &BTreeMap<String, String>) -> Option<u16> {
    value::port(environment.get("FLAGD_MANAGEMENT_PORT")?).ok()
}

/// The prefixes of the variables that matter to `start`.
pub const PREFIXES: [&str; 2] = [environment::PREFIX, options::PREFIX];
