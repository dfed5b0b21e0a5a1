//! `rampart import SYSTEM FILE`: the export of another flag system as a flag file, and a report of what is not in it.
//!
//! The translation is `flag::import`'s; here files are read and written, and what it yields is compiled before anybody
//! sees it, so that every flag of the output can be served.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::eval::compile::compile_all;
use crate::flag::diagnostic::Diagnostic;
use crate::flag::import::{Options, Outcome, System, VariantAnswer, translate};
use crate::flag::parse::{Format, parse_document};

use super::check::{read, visible};
use super::eval::objects;
use super::failure::Failure;

/// Translate the export of another flag system.
#[derive(Debug, Args)]
pub struct Import {
    /// Which system the export is from.
    #[arg(value_enum, value_name = "SYSTEM")]
    system: SystemName,
    /// The export; `-` is standard input.
    file: PathBuf,
    /// Which environment of the export; needed where it holds several.
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Keep percentages: the same share, but other users, since no two systems share a hash. Left out otherwise.
    #[arg(long)]
    rebucket: bool,
    /// You promise that contexts are plain: numbers are sent as numbers, versions with three parts, and no lists where
    /// texts or numbers are compared. What depends on it is left out otherwise.
    #[arg(long)]
    plain_context: bool,
    /// What flags with variants answer (Unleash). Left out otherwise.
    #[arg(long, value_enum, value_name = "ANSWER")]
    variants: Option<Variants>,
    /// The format of the flag file.
    #[arg(long, value_enum, default_value_t)]
    format: FileFormat,
    /// Write the flag file here instead of to standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How to write the report, which goes to standard error.
    #[arg(long, value_enum, default_value_t)]
    report: ReportFormat,
}

/// The systems by the names that people type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SystemName {
    /// flagd's definition files.
    Flagd,
    /// GO Feature Flag's configuration files.
    Goff,
    /// Unleash's exports, or the answer of /api/client/features.
    Unleash,
    /// LaunchDarkly's SDK data, or the answer of its REST API.
    #[value(name = "launchdarkly")]
    LaunchDarkly,
}

/// What flags with variants answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Variants {
    /// Whether the flag is enabled.
    Enabled,
    /// The payload of the variant.
    Payload,
}

/// The formats of flag files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum FileFormat {
    /// For people.
    #[default]
    Yaml,
    /// For machines.
    Json,
}

/// The formats of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum ReportFormat {
    /// One line for each remark, and the counts.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

impl Import {
    /// Carries out the command; the report goes to `err`.
    ///
    /// # Errors
    /// Exit code 1 where something was left out, 2 where the export cannot be read.
    pub fn run(self, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Failure> {
        let system = match self.system {
            SystemName::Flagd => System::Flagd,
            SystemName::Goff => System::Goff,
            SystemName::Unleash => System::Unleash,
            SystemName::LaunchDarkly => System::LaunchDarkly,
        };
        let options = Options {
            environment: self.environment,
            rebucket: self.rebucket,
            plain_context: self.plain_context,
            variants: self.variants.map(|variants| match variants {
                Variants::Enabled => VariantAnswer::Enabled,
                Variants::Payload => VariantAnswer::Payload,
            }),
        };
        let name = if self.file.as_os_str() == "-" { "<stdin>".to_owned() } else { self.file.display().to_string() };
        let outcome = outcome(system, &self.file, &name, &options)?;
        let text = outcome.text(match self.format {
            FileFormat::Yaml => Format::Yaml,
            FileFormat::Json => Format::Json,
        });
        match &self.output {
            Some(path) => fs::write(path, text)
                .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?,
            None => out.write_all(text.as_bytes())?,
        }
        match self.report {
            ReportFormat::Text => {
                for line in outcome.report.to_text(&name).lines() {
                    writeln!(err, "{}", visible(line))?;
                }
            }
            ReportFormat::Json => {
                serde_json::to_writer_pretty(&mut *err, &outcome.report).map_err(std::io::Error::from)?;
                writeln!(err)?;
            }
        }
        if outcome.report.is_complete() { Ok(()) } else { Err(Failure::silent()) }
    }
}

fn outcome(system: System, file: &Path, name: &str, options: &Options) -> Result<Outcome, Failure> {
    let unreadable = |faults: &[Diagnostic]| {
        let lines: Vec<String> = faults.iter().map(|fault| visible(&fault.to_string())).collect();
        Failure::usage(lines.join("\n"))
    };
    let text = read(file).map_err(|fault| unreadable(&[Diagnostic { file: Some(name.to_owned()), ..*fault }]))?;
    let format = Format::of_path(file).unwrap_or_else(|| Format::of_text(&text));
    let mut outcome = translate(system, &text, format, Some(name), options).map_err(|faults| unreadable(&faults))?;
    compile(&mut outcome);
    Ok(outcome)
}

/// Leaves out what does not compile, and what needed it in turn.
fn compile(outcome: &mut Outcome) {
    loop {
        let text = outcome.document.to_string();
        let parsed = parse_document(text.as_bytes(), Format::Json, None);
        let (_, mut faults) = compile_all(objects(parsed.file));
        // What this build cannot serve yet is no fault of the file.
        faults.retain(|fault| fault.is_error() && fault.code != "not-supported-yet");
        if !outcome.leave_out(&faults) {
            break;
        }
    }
    outcome.settle();
}
