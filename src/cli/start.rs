//! `rampart start`: flagd's own command line, variables and configuration file, so that a deployment of flagd is
//! replaced by changing the image.
//!
//! Every option of the table of `app::flagd` is here; what is said is judged there, all of it at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::app::Start as Process;
use crate::app::flagd::options::{FlagdOption, Kind, OPTIONS, Support};
use crate::app::flagd::{Composed, PREFIXES, load};
use crate::app::settings::JournalKind;
use crate::app::settings::environment::read_variables;
use crate::app::settings::fault::SettingFault;
use crate::app::settings::print;

use super::failure::Failure;
use super::running;
use super::serve::capital;

/// Serve flags with the command line of flagd.
#[derive(Debug, Default)]
pub struct Start {
    options: BTreeMap<&'static str, Vec<String>>,
    own: BTreeMap<&'static str, String>,
    config: Option<PathBuf>,
    print_config: bool,
    accept_cut_tail: bool,
}

impl Args for Start {
    fn augment_args(command: Command) -> Command {
        let command = OPTIONS.iter().fold(command, |command, option| command.arg(argument(option)));
        command
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .help("flagd's configuration file: JSON or YAML with the long names of these options as keys"),
            )
            .arg(Arg::new("data_dir").long("data-dir").value_name("DIR").help(
                "Rampart's own: keep changes and kills in this folder; without it they end with the process \
                     [env: RAMPART_DATA_DIR]",
            ))
            .arg(
                Arg::new("print_config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Rampart's own: print the settings that come of it, secrets redacted, and exit"),
            )
            .arg(
                Arg::new("accept_cut_tail").long("accept-cut-tail").action(ArgAction::SetTrue).help(
                    "Rampart's own: start although acknowledged records are missing from the journal: they are lost",
                ),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(option: &'static FlagdOption) -> Arg {
    let about = match option.support {
        Support::Setting(_) | Support::Sources => "",
        Support::NoEffect(_) => " (accepted, has no effect)",
        Support::Instead(_) => " (refused, with what to use instead)",
    };
    let help = format!("{}{about} [env: {}]", capital(option.doc), option.variable());
    let arg = Arg::new(option.long).long(option.long).help(help);
    // The refused ones are in the long help only.
    let arg = arg.hide_short_help(matches!(option.support, Support::NoEffect(_) | Support::Instead(_)));
    let arg = option.short.iter().fold(arg, |arg, short| arg.short(*short));
    // As in flagd, an option may stand again; what that means is decided with the rest.
    let arg = arg.action(ArgAction::Append);
    match option.kind {
        Kind::Switch => arg.num_args(0..=1).default_missing_value("true").require_equals(true).value_name("BOOL"),
        Kind::Port => arg.value_name("PORT"),
        Kind::Number => arg.value_name("NUMBER"),
        Kind::Duration => arg.value_name("TIME"),
        Kind::Text | Kind::Texts | Kind::Pairs => arg.value_name("VALUE"),
    }
}

impl FromArgMatches for Start {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut start = Self::default();
        start.update_from_arg_matches(matches)?;
        Ok(start)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let texts = |name: &str| Some(matches.get_many::<String>(name)?.cloned().collect());
        self.options = OPTIONS.iter().filter_map(|option| Some((option.long, texts(option.long)?))).collect();
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        self.own = text("data_dir").map(|folder| ("data_dir", folder)).into_iter().collect();
        self.config = text("config").map(PathBuf::from);
        self.print_config = matches.get_flag("print_config");
        self.accept_cut_tail = matches.get_flag("accept_cut_tail");
        Ok(())
    }
}

impl Start {
    /// Runs the server.
    ///
    /// # Errors
    /// Options that are wrong, or why the server could not start or go on.
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub fn run(self) -> Result<(), Failure> {
        let Composed { resolved, sources } = self.compose().map_err(|faults| running::refused(&faults))?;
        if self.print_config {
            print!("{}", print::config(&resolved));
            return Ok(());
        }
        let settings = resolved.settings;
        let mut notes = resolved.warnings;
        if settings.journal == JournalKind::Memory {
            notes.push(
                "changes and kills are kept in memory and end with the process; --data-dir DIR or RAMPART_DATA_DIR \
                 keeps them"
                    .to_owned(),
            );
        }
        running::run(Process { settings, sources, accept_cut_tail: self.accept_cut_tail }, &notes)
    }

    fn compose(&self) -> Result<Composed, Vec<SettingFault>> {
        let environment = read_variables(&PREFIXES)?;
        load(&self.options, &self.own, &environment, self.config.as_deref())
    }
}
