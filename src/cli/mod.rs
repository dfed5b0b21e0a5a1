//! The **commands**: what a person or a script types.
//!
//! `rampart` is one binary; each command is one file. Exit codes: 0 done; 1 the answer is no; 2 the command line or the
//! settings are wrong; 3 the server cannot be reached; 4 the token is missing or may not.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use self::check::{CheckFor, CheckFormat};
use self::failure::Failure;

pub mod audit;
pub mod check;
pub mod check_sync;
pub mod confirm;
pub mod eval;
pub mod failure;
pub mod flag;
pub mod health;
pub mod http;
pub mod import;
pub mod running;
pub mod serve;
pub mod session;
pub mod start;
pub mod table;
pub mod token;
pub mod watch;

/// A feature-flag server whose rollouts guard themselves.
#[derive(Debug, Parser)]
#[command(name = "rampart", version, propagate_version = true, max_term_width = 110)]
pub struct Rampart {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve flags.
    Serve(Box<serve::Serve>),
    /// Serve flags with the command line, variables and configuration file of flagd.
    Start(Box<start::Start>),
    /// Check flag files: exit code 0 when clean, 1 with diagnostics.
    Check {
        /// The files; `-` is standard input. They are checked together, as parts of one environment.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// How to print the diagnostics.
        #[arg(long, value_enum, default_value_t)]
        format: CheckOutput,
        /// Treat warnings as errors.
        #[arg(long)]
        strict: bool,
        /// Name everything that such clients cannot be told exactly, too, with what to write instead.
        #[arg(long = "for", value_enum, value_name = "CLIENTS")]
        clients: Option<CheckClients>,
    },
    /// Print the JSON Schema of flag files.
    Schema,
    /// Evaluate a flag of a file, offline.
    Eval(eval::Eval),
    /// Translate the export of another flag system into a flag file: exit code 0 when all of it was, 1 when something
    /// was left out.
    Import(import::Import),
    /// List, show, change, kill and restore flags of a running server.
    Flag(flag::Flag),
    /// Follow a server's flags and print what changes.
    Watch(watch::Watch),
    /// Create, list and revoke tokens.
    Token(token::Token),
    /// Read and verify the audit trail.
    Audit(audit::Audit),
    /// Ask a running server whether it serves: exit code 0 when it does.
    Health(health::Health),
    /// Print a completion script for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// Tables and sentences.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// How diagnostics are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum CheckOutput {
    /// One line each, with the line of the file it is about.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Clients that have to understand flag files in their own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CheckClients {
    /// flagd's in-process providers, which evaluate by themselves.
    FlagdSync,
}

/// Which server, and as whom.
#[derive(Debug, Clone, Args)]
pub struct ServerArgs {
    /// The server's admin address [env: RAMPART_SERVER] [default: http://127.0.0.1:8014].
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// On the server's own machine: take the admin token from its data folder. Otherwise set RAMPART_TOKEN.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

impl Rampart {
    /// What was typed. Ends the process where it makes no sense, or where help was asked for.
    pub fn typed() -> Self {
        Self::parse()
    }

    /// Carries out the command.
    ///
    /// # Errors
    /// Why it did not succeed, with the exit code.
    pub fn run(self) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match self.command {
            Command::Serve(serve) => {
                drop(out);
                serve.run()
            }
            Command::Start(start) => {
                drop(out);
                start.run()
            }
            Command::Watch(watch) => {
                drop(out);
                watch.run()
            }
            Command::Check { files, format, strict, clients } => {
                let format = match format {
                    CheckOutput::Text => CheckFormat::Text,
                    CheckOutput::Json => CheckFormat::Json,
                };
                let clients = clients.map(|CheckClients::FlagdSync| CheckFor::FlagdSync);
                if check::check(&files, format, strict, clients, &mut out)? { Ok(()) } else { Err(Failure::silent()) }
            }
            Command::Schema => print_json(&mut out, &crate::flag::schema::schema()),
            Command::Eval(eval) => eval.run(&mut out),
            Command::Import(import) => import.run(&mut out, &mut io::stderr().lock()),
            Command::Flag(flag) => flag.run(&mut out),
            Command::Token(token) => token.run(&mut out),
            Command::Audit(audit) => audit.run(&mut out),
            Command::Health(health) => health.run(&mut out),
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "rampart", &mut script);
                Ok(out.write_all(&script)?)
            }
        }
    }
}

/// Prints a JSON document for machines.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_json(out: &mut dyn Write, value: &serde_json::Value) -> Result<(), Failure> {
    Ok(writeln!(out, "{value:#}")?)
}
