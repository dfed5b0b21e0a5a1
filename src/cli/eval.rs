//! `rampart eval`: what a flag of a file answers, offline, with the reasons if wanted.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::control::clock::Clock;
use crate::eval::compile::compile_all;
use crate::eval::context::Context;
use crate::eval::evaluate::evaluate;
use crate::eval::explain::explain;
use crate::eval::object::Object;
use crate::flag::definition::FlagFile;
use crate::flag::parse::{Format, parse_document};
use crate::flag::time::{Revision, Timestamp};

use super::check::compile_diagnostics;
use super::failure::Failure;
use super::{Output, print_json};

/// Evaluate a flag of a file, offline.
#[derive(Debug, Args)]
pub struct Eval {
    /// The flag file.
    file: PathBuf,
    /// The flag.
    #[arg(long, value_name = "KEY")]
    flag: String,
    /// The flag set, for flags that belong to one.
    #[arg(long, value_name = "NAME")]
    flag_set: Option<String>,
    /// The evaluation context: a JSON object, with `targetingKey` for the user.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    context: String,
    /// Show the way to the answer.
    #[arg(long)]
    explain: bool,
    /// Evaluate as if it were this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Eval {
    /// Carries out the command.
    ///
    /// # Errors
    /// The file cannot be read, the flag is not in it or cannot be used, the context is no JSON object.
    pub fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        let now = match &self.at {
            Some(text) => Timestamp::parse(text).map_err(|fault| Failure::usage(format!("--at: {fault}")))?,
            None => Clock::system().now(),
        };
        let text = std::fs::read(&self.file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", self.file.display())))?;
        let name = self.file.display().to_string();
        let parsed =
            parse_document(&text, Format::of_path(&self.file).unwrap_or_else(|| Format::of_text(&text)), Some(&name));
        let mut diagnostics = parsed.diagnostics.clone();
        diagnostics.extend(compile_diagnostics(&[&parsed]));
        let (set, _) = compile_all(objects(parsed.file));
        let Some(flag) = set.flag(self.flag_set.as_deref(), &self.flag) else {
            let faults: Vec<String> = diagnostics.iter().filter(|d| d.is_error()).map(ToString::to_string).collect();
            let why = if faults.is_empty() {
                "is not in the file".to_owned()
            } else {
                format!("cannot be used:\n{}", faults.join("\n"))
            };
            return Err(Failure::refused(format!("flag {} {why}", self.flag)));
        };
        let context = Context::from_json(self.context.as_bytes()).map_err(|fault| {
            Failure::usage(format!("--context: {fault}; give a JSON object such as '{{\"targetingKey\": \"user-1\"}}'"))
        })?;
        if self.explain {
            let explanation = serde_json::to_value(explain(&set, flag, &context, now))
                .map_err(|error| Failure::refused(format!("the explanation cannot be printed: {error}")))?;
            return print_json(out, &explanation);
        }
        let answer = evaluate(&set, flag, &context, now);
        let variant = answer.variant.map(ToString::to_string);
        if self.output == Output::Json {
            let mut fields = json!({"key": self.flag, "reason": answer.reason.as_str()});
            if let (Some(value), Some(variant)) = (answer.value, variant) {
                fields["value"] = value.clone();
                fields["variant"] = Value::String(variant);
            }
            return print_json(out, &fields);
        }
        let value = answer.value.map_or("(the code default)".to_owned(), Value::to_string);
        let variant = variant.map(|variant| format!("  variant {variant}")).unwrap_or_default();
        Ok(writeln!(out, "{value}{variant}  reason {}", answer.reason.as_str())?)
    }
}

/// Everything in a file, as the compiler takes it.
pub fn objects(file: FlagFile) -> Vec<Object> {
    let revision = Revision::ZERO;
    let segments =
        file.segments.into_iter().map(|(name, segment)| Object::Segment { name, revision, segment: segment.into() });
    let flags = file.flags.into_iter().map(|(id, definition)| Object::Flag {
        id,
        revision,
        definition: definition.into(),
        allocation: None,
    });
    segments.chain(flags).collect()
}
