//! `rampart audit`: read the trail of a running server, and verify the chain in a data folder, with or without one.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::journal::audit::{Verified, verify_dir};

use super::failure::Failure;
use super::http::{Ask, encode};
use super::session::{admin, block_on};
use super::{Output, ServerArgs, print_json, table};

/// The audit trail.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the newest records of a running server.
    Tail(Tail),
    /// Verify the hash chain in a data folder: exit code 1 names the first bad record.
    Verify {
        /// The data folder; a server may be running on it.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
        /// How to print the result.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, Args)]
struct Tail {
    /// How many records.
    #[arg(short = 'n', long, default_value_t = 20)]
    lines: u32,
    /// Only records about this flag.
    #[arg(long, value_name = "KEY")]
    flag: Option<String>,
    /// Only records by this actor.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

impl Audit {
    /// Carries out the command.
    ///
    /// # Errors
    /// Those of the server; a chain that does not verify.
    pub fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        match self.verb {
            Verb::Tail(wanted) => tail(out, &wanted),
            Verb::Verify { data_dir, output } => verify(out, &data_dir, output),
        }
    }
}

fn tail(out: &mut dyn Write, wanted: &Tail) -> Result<(), Failure> {
    let mut path = format!("/v1/audit?limit={}", wanted.lines);
    for (key, value) in [("flag", &wanted.flag), ("actor", &wanted.actor)] {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", encode(value)));
        }
    }
    let admin = admin(&wanted.server)?;
    let answer = block_on(admin.ask(Ask::get(&path)))?.body;
    if wanted.server.output == Output::Json {
        return print_json(out, &answer["records"]);
    }
    let mut records: Vec<&Value> = answer["records"].as_array().into_iter().flatten().collect();
    records.reverse();
    let row = |record: &&Value| {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let changes: Vec<String> = record["changes"].as_array().into_iter().flatten().take(4).map(in_words).collect();
        let more = record["changes"].as_array().map_or(0, Vec::len).saturating_sub(4);
        let more = if more > 0 { format!(" (+{more} more)") } else { String::new() };
        [record["revision"].to_string(), text("at"), text("actor"), changes.join(", ") + &more, text("reason")]
    };
    let rows: Vec<[String; 5]> = records.iter().map(row).collect();
    Ok(table::print(out, ["REVISION", "AT", "ACTOR", "CHANGES", "REASON"], &rows)?)
}

/// `flag_killed sliceB_documents`, `propagation_observed 9998 of 10000 in 143 ms`
fn in_words(change: &Value) -> String {
    let kind = change["kind"].as_str().unwrap_or("?");
    let seen = &change["propagation"];
    if let Some(subscribers) = seen["subscribers"].as_u64() {
        let count = |name: &str| seen[name].as_u64().unwrap_or(0);
        let (having, slowest) = (count("confirmed") + count("lateJoined"), count("maxUs").div_ceil(1_000));
        return format!("{kind} {having} of {subscribers} in {slowest} ms");
    }
    let about = [&change["flag"]["key"], &change["segment"], &change["id"], &change["source"], &change["environment"]];
    match about.into_iter().find_map(Value::as_str) {
        Some(about) => format!("{kind} {about}"),
        None => kind.to_owned(),
    }
}

fn verify(out: &mut dyn Write, data_dir: &std::path::Path, output: Output) -> Result<(), Failure> {
    match verify_dir(data_dir) {
        Ok(Verified { tally, .. }) if output == Output::Json => print_json(
            out,
            &json!({"ok": true, "records": tally.records, "revision": tally.head.revision, "hash": tally.head.hash.to_string(), "erased": tally.erased}),
        ),
        Ok(Verified { tally, .. }) => Ok(writeln!(
            out,
            "ok: {} records, the chain holds up to revision {} ({})",
            tally.records, tally.head.revision, tally.head.hash
        )?),
        Err(fault) => {
            if output == Output::Json {
                print_json(out, &json!({"ok": false, "fault": fault.to_string()}))?;
                return Err(Failure::silent());
            }
            Err(Failure::refused(fault.to_string()))
        }
    }
}
