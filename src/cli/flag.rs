//! `rampart flag`: list, show, put, kill, restore and set, on a running server.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::flag::percent::Percent;

use super::confirm::{self, Waiting, Word};
use super::failure::Failure;
use super::http::{Admin, Answer, Ask, encode};
use super::session::{admin, block_on};
use super::{Output, ServerArgs, print_json, table};

/// Flags of a running server.
#[derive(Debug, Args)]
pub struct Flag {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Args)]
struct Place {
    #[command(flatten)]
    server: ServerArgs,
    /// The environment.
    #[arg(long, default_value = "production", value_name = "NAME")]
    environment: String,
    /// The flag set, for flags that belong to one.
    #[arg(long, value_name = "NAME")]
    flag_set: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the flags.
    List(Place),
    /// Show one flag: its definition and whether it is killed.
    Show {
        /// The flag.
        key: String,
        #[command(flatten)]
        place: Place,
    },
    /// Create or replace flags from a flag file, all or nothing.
    Put {
        /// A flag file (YAML or JSON); `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Serve the safe variant to everybody, at once.
    Kill(Switch),
    /// Serve by the definition again.
    Restore {
        #[command(flatten)]
        switch: Switch,
        /// Only where this is the kill in force.
        #[arg(long, value_name = "G")]
        generation: Option<u64>,
    },
    /// Change what a flag serves to everybody that no rule matched.
    Set {
        /// The flag.
        key: String,
        /// A variant (`on`) or percentages (`on=25`, `red=10,green=5`).
        #[arg(long, value_name = "VARIANT[=PERCENT][,…]")]
        serve: String,
        /// Why; recorded in the audit trail.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Switch {
    /// The flags.
    #[arg(required_unless_present = "tag")]
    keys: Vec<String>,
    /// Every flag with this tag instead.
    #[arg(long, value_name = "TAG", conflicts_with = "keys")]
    tag: Option<String>,
    /// Why; recorded in the audit trail.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait until this many subscribers have confirmed: `all`, or a percentage such as `99.9%`. Exits with 5 where they
    /// have not in time, and names them.
    #[arg(long, value_name = "all|PERCENT%", value_parser = confirm::word)]
    wait: Option<Word>,
    /// How long to wait for them.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = confirm::patience)]
    timeout: Duration,
    #[command(flatten)]
    place: Place,
}

impl Place {
    fn path(&self, tail: &str) -> String {
        let set = self.flag_set.as_deref().map(|set| format!("?flagSet={}", encode(set))).unwrap_or_default();
        format!("/v1/environments/{}{tail}{set}", encode(&self.environment))
    }
}

impl Flag {
    /// Carries out the command.
    ///
    /// # Errors
    /// Those of the server, and what is wrong with the arguments.
    pub fn run(self, out: &mut dyn Write) -> Result<(), Failure> {
        match self.verb {
            Verb::List(place) => list(out, &place),
            Verb::Show { key, place } => show(out, &place, &key),
            Verb::Put { file, dry_run, place } => put(out, &place, &file, dry_run),
            Verb::Kill(switch) => flip(out, &switch, "kill", None),
            Verb::Restore { switch, generation } => flip(out, &switch, "restore", generation),
            Verb::Set { key, serve, reason, place } => set(out, &place, &key, &serve, reason.as_deref()),
        }
    }
}

fn list(out: &mut dyn Write, place: &Place) -> Result<(), Failure> {
    let admin = admin(&place.server)?;
    let flags = block_on(all_flags(&admin, place))?;
    if place.server.output == Output::Json {
        return print_json(out, &Value::Array(flags));
    }
    let cell = |flag: &Value, key: &str| flag.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let rows: Vec<[String; 6]> = flags
        .iter()
        .map(|flag| {
            [
                cell(flag, "key"),
                cell(flag, "flagSet"),
                cell(flag, "state"),
                serving(flag),
                cell(flag, "owner"),
                flag["revision"].to_string(),
            ]
        })
        .collect();
    Ok(table::print(out, ["FLAG", "FLAG SET", "STATE", "SERVES", "OWNER", "REVISION"], &rows)?)
}

async fn all_flags(admin: &Admin, place: &Place) -> Result<Vec<Value>, Failure> {
    let mut flags = Vec::new();
    let mut path = place.path("/flags");
    loop {
        let mut page = admin.ask(Ask::get(&path)).await?.body;
        if let Some(Value::Array(more)) = page.get_mut("flags").map(Value::take) {
            flags.extend(more);
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => path = next.to_owned(),
            None => return Ok(flags),
        }
    }
}

/// What a flag serves, in a few words.
fn serving(flag: &Value) -> String {
    if !flag["killed"].is_null() {
        return format!("KILLED: {}", flag["safeVariant"].as_str().unwrap_or("code default"));
    }
    let definition = &flag["definition"];
    let rest = definition["defaultVariant"].as_str().unwrap_or("code default");
    let serve = match flag.get("allocation").filter(|allocation| !allocation.is_null()).unwrap_or(&definition["serve"])
    {
        Value::String(variant) => variant.clone(),
        Value::Object(shares) => {
            let shares = shares.iter().map(|(variant, share)| format!("{variant} {share}%"));
            format!("{}, rest {rest}", shares.collect::<Vec<_>>().join(", "))
        }
        _ => rest.to_owned(),
    };
    match definition["rules"].as_array().map_or(0, Vec::len) {
        0 if definition.get("targeting").is_some() => "by targeting".to_owned(),
        0 => serve,
        1 => format!("1 rule, then {serve}"),
        rules => format!("{rules} rules, then {serve}"),
    }
}

fn show(out: &mut dyn Write, place: &Place, key: &str) -> Result<(), Failure> {
    let admin = admin(&place.server)?;
    let flag = block_on(get(&admin, place, key))?.body;
    if place.server.output == Output::Json {
        return print_json(out, &flag);
    }
    writeln!(out, "{key}  revision {}  serves {}", flag["revision"], serving(&flag))?;
    if !flag["killed"].is_null() {
        writeln!(out, "killed at generation {}; restore: rampart flag restore {key}", flag["killed"]["generation"])?;
    }
    print_json(out, &flag["definition"])
}

async fn get(admin: &Admin, place: &Place, key: &str) -> Result<Answer, Failure> {
    admin.ask(Ask::get(&place.path(&format!("/flags/{}", encode(key))))).await
}

fn put(out: &mut dyn Write, place: &Place, file: &PathBuf, dry_run: bool) -> Result<(), Failure> {
    let text = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?
    };
    let admin = admin(&place.server)?;
    let name = encode(&file.display().to_string());
    let query = if dry_run { format!("?dry_run=true&name={name}") } else { format!("?name={name}") };
    let path = format!("/v1/environments/{}/import{query}", encode(&place.environment));
    let answer = block_on(admin.ask_text(Method::POST, &path, text, "application/yaml"))?;
    report(out, place, &answer.body, if dry_run { "would be " } else { "" })
}

fn flip(out: &mut dyn Write, switch: &Switch, verb: &str, generation: Option<u64>) -> Result<(), Failure> {
    let admin = admin(&switch.place.server)?;
    let mut body = Map::new();
    match &switch.tag {
        Some(tag) => body.insert("tag".to_owned(), json!(tag)),
        None => {
            let flag = |key: &String| match &switch.place.flag_set {
                Some(set) => json!({"key": key, "flagSet": set}),
                None => json!({"key": key}),
            };
            body.insert("flags".to_owned(), switch.keys.iter().map(flag).collect())
        }
    };
    body.extend(switch.reason.iter().map(|reason| ("reason".to_owned(), json!(reason))));
    body.extend(generation.iter().map(|generation| ("generation".to_owned(), json!(generation))));
    let path = format!("/v1/environments/{}/{verb}", encode(&switch.place.environment));
    let body = Value::Object(body);
    let Some(word) = switch.wait.clone() else {
        let answer = block_on(admin.ask(Ask::send(Method::POST, &path, body)))?;
        return report(out, &switch.place, &answer.body, "");
    };
    let place = &switch.place;
    let waiting = Waiting::new(&admin, &place.environment, word, switch.timeout);
    block_on(async {
        let began = Instant::now();
        let path = path + &waiting.query();
        let answer = admin.ask(Ask::send(Method::POST, &path, body)).await?;
        let generation = answer.body["generation"].as_u64();
        if place.server.output != Output::Json {
            report(out, place, &answer.body, "")?;
        }
        let Some(generation) = generation else { return Ok(()) };
        let receipts = waiting.follow(generation, &answer.body["receipts"], began).await?;
        if place.server.output == Output::Json {
            let mut document = answer.body;
            document["receipts"] = receipts.clone();
            print_json(out, &document)?;
        }
        confirm::conclude(out, &receipts, place.server.output)
    })
}

fn set(out: &mut dyn Write, place: &Place, key: &str, serve: &str, reason: Option<&str>) -> Result<(), Failure> {
    let serve = parse_serve(serve)?;
    let admin = admin(&place.server)?;
    let path = place.path(&format!("/flags/{}", encode(key)));
    let answer = block_on(async {
        let held = get(&admin, place, key).await?;
        let mut definition = held.body["definition"].clone();
        if definition.get("targeting").is_some() {
            return Err(Failure::refused(format!(
                "{key} is served by its targeting; put a definition with rules and serve instead"
            )));
        }
        if let Value::Object(fields) = &mut definition {
            fields.insert("serve".to_owned(), serve);
        }
        let mut ask = Ask::send(Method::PUT, &path, definition);
        ask.condition = held.etag.map(|etag| ("if-match", etag));
        let reasoned = reason.map(|reason| {
            let mark = if path.contains('?') { '&' } else { '?' };
            format!("{path}{mark}reason={}", encode(reason))
        });
        ask.path = reasoned.as_deref().unwrap_or(&path);
        admin.ask(ask).await
    })?;
    report(out, place, &answer.body, "")
}

/// `on` → a variant; `on=25,red=5` → percentages.
fn parse_serve(text: &str) -> Result<Value, Failure> {
    if !text.contains('=') {
        return Ok(json!(text));
    }
    let mut shares = Map::new();
    for part in text.split(',') {
        let (variant, share) = part
            .rsplit_once('=')
            .ok_or_else(|| Failure::usage(format!("--serve: {part:?} has no percentage; write {part}=PERCENT")))?;
        let percent = Percent::parse(share)
            .map_err(|fault| Failure::usage(format!("--serve: {share:?} is no percentage: {fault}")))?;
        shares.insert(variant.to_owned(), Value::Number(percent.to_number()));
    }
    Ok(Value::Object(shares))
}

/// Prints what a write did.
fn report(out: &mut dyn Write, place: &Place, outcome: &Value, mood: &str) -> Result<(), Failure> {
    if place.server.output == Output::Json {
        return print_json(out, outcome);
    }
    for object in outcome["objects"].as_array().into_iter().flatten() {
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        writeln!(out, "{} {}: {mood}{}", text("kind"), text("key"), text("effect"))?;
    }
    for note in outcome["notes"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        writeln!(out, "note: {note}")?;
    }
    let generation =
        outcome.get("generation").map(|generation| format!(", generation {generation}")).unwrap_or_default();
    match (&outcome["revision"], outcome["durability"].as_str()) {
        (Value::Null, Some("node")) => {
            writeln!(
                out,
                "in force{generation}; on this node's disk, and in the journal as soon as that can be written"
            )?;
        }
        (Value::Null, Some("memory")) => {
            writeln!(out, "in force{generation}; WARNING: only in memory, a restart would lose it")?;
        }
        (Value::Null, _) => {}
        (revision, _) => writeln!(out, "revision {revision}{generation}")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serve_takes_a_variant_or_percentages() {
        assert_eq!(parse_serve("on").expect("a variant"), json!("on"));
        assert_eq!(parse_serve("on=25").expect("a share"), json!({"on": 25}));
        assert_eq!(parse_serve("red=10%,green=0.5").expect("shares"), json!({"red": 10, "green": 0.5}));
        for wrong in ["on=", "on=101", "on=1,red", "on=NaN"] {
            assert_eq!(parse_serve(wrong).expect_err(wrong).code(), 2, "{wrong}");
        }
    }
}
