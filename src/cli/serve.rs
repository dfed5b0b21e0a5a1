//! `rampart serve`: the settings from the command line, the environment and a file.
//!
//! Every setting of the table is an option, so that the list here cannot fall behind.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::app::Start;
use crate::app::settings::environment::read_environment;
use crate::app::settings::table::{Kind, TABLE};
use crate::app::settings::{Resolved, fault::SettingFault, load, print};

use super::failure::Failure;
use super::running;

/// Serve flags.
#[derive(Debug, Default)]
pub struct Serve {
    options: BTreeMap<&'static str, String>,
    config: Option<PathBuf>,
    print_config: bool,
    accept_cut_tail: bool,
}

impl Args for Serve {
    fn augment_args(command: Command) -> Command {
        let command = command
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .help("A TOML file with settings [env: RAMPART_CONFIG]"),
            )
            .arg(
                Arg::new("print_config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Print the effective settings, secrets redacted, and exit"),
            )
            .arg(Arg::new("accept_cut_tail").long("accept-cut-tail").action(ArgAction::SetTrue).help(
                "Start although acknowledged records are missing from the journal: they are lost, a new epoch begins",
            ));
        TABLE.iter().fold(command, |command, setting| {
            let default = setting.default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
            let help = format!("{} [env: {}]{default}", capital(setting.doc), setting.variable());
            let arg = Arg::new(setting.name).long(setting.option().trim_start_matches("--").to_owned()).help(help);
            // The rarely touched ones are in the long help only.
            let arg = arg.hide_short_help(setting.name.contains('.'));
            command.arg(match setting.kind {
                Kind::Switch => {
                    arg.num_args(0..=1).default_missing_value("true").require_equals(true).value_name("BOOL")
                }
                _ => arg.value_name("VALUE"),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Serve {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut serve = Self::default();
        serve.update_from_arg_matches(matches)?;
        Ok(serve)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        self.options = TABLE.iter().filter_map(|setting| Some((setting.name, text(setting.name)?))).collect();
        self.config = text("config").map(PathBuf::from);
        self.print_config = matches.get_flag("print_config");
        self.accept_cut_tail = matches.get_flag("accept_cut_tail");
        Ok(())
    }
}

/// A sentence of the tables, as help shows it.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl Serve {
    /// Runs the server.
    ///
    /// # Errors
    /// Settings that are wrong, or why the server could not start or go on.
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub fn run(self) -> Result<(), Failure> {
        let resolved = self.resolve().map_err(|faults| running::refused(&faults))?;
        if self.print_config {
            print!("{}", print::config(&resolved));
            return Ok(());
        }
        running::run(
            Start { settings: resolved.settings, sources: Vec::new(), accept_cut_tail: self.accept_cut_tail },
            &resolved.warnings,
        )
    }

    fn resolve(&self) -> Result<Resolved, Vec<SettingFault>> {
        let environment = read_environment()?;
        let config = self.config.clone().or_else(|| environment.get("RAMPART_CONFIG").map(PathBuf::from));
        load(&self.options, &environment, config.as_deref())
    }
}
