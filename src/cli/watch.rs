//! `rampart watch`: subscribe over the data plane, apply, acknowledge, and print what changes and how long it took.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::client::options::Options;
use crate::client::random;
use crate::client::subscription::{FollowFault, Update, follow};
use crate::flag::key::FlagId;
use crate::sync::replica::{Changed, Event, Replica};

use super::Output;
use super::failure::Failure;
use super::session::{block_on, environment, token};

/// The data plane's address where nobody says otherwise.
const DEFAULT_SERVER: &str = "http://127.0.0.1:8013";

/// Follow a server's flags and print what changes.
#[derive(Debug, Args)]
pub struct Watch {
    /// The server's data address [env: RAMPART_DATA_SERVER] [default: http://127.0.0.1:8013].
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// On the server's own machine: take the admin token from its data folder. Otherwise set RAMPART_TOKEN.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The environment; the one that the token decides where left out.
    #[arg(long, default_value = "", value_name = "NAME")]
    environment: String,
    /// A name under which the server lists this subscriber.
    #[arg(long, default_value = "", value_name = "NAME")]
    name: String,
    /// How to print: sentences, or one JSON document per line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Watch {
    /// Follows until interrupted.
    ///
    /// # Errors
    /// The server refuses this client.
    pub fn run(self) -> Result<(), Failure> {
        let server = self.server.or(environment()?.get("RAMPART_DATA_SERVER").cloned());
        let server = server.unwrap_or_else(|| DEFAULT_SERVER.to_owned());
        let server = if server.contains("://") { server } else { format!("http://{server}") };
        let mut options = Options::new(&server, random::id());
        options.token = token(self.data_dir.as_deref())?;
        options.environment = self.environment;
        options.name = self.name;
        let output = self.output;
        let stop = CancellationToken::new();
        block_on(async {
            let mut broken = None;
            let following = follow(&options, &stop, |update, replica| {
                let line = match output {
                    Output::Json => in_json(update, replica).map(|value| value.to_string()),
                    Output::Table => in_words(update, replica, &server),
                };
                if let Some(Err(error)) = line.map(|line| print_line(&line)) {
                    broken.get_or_insert(error);
                    stop.cancel();
                }
            });
            let ended = tokio::select! {
                ended = following => ended,
                _ = tokio::signal::ctrl_c() => Ok(()),
            };
            match (ended, broken) {
                (Err(FollowFault::Denied(why)), _) => Err(Failure::denied(why)),
                (Err(FollowFault::Options(fault)), _) => Err(Failure::usage(fault.to_string())),
                (Ok(()), Some(error)) => Err(error.into()),
                (Ok(()), None) => Ok(()),
            }
        })
    }
}

fn print_line(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn names<'a>(flags: impl IntoIterator<Item = &'a FlagId>) -> String {
    flags.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn in_words(update: &Update, replica: &Replica, server: &str) -> Option<String> {
    Some(match update {
        Update::Connected => format!("connected to {server}"),
        Update::Stale => format!("nothing was heard of {server} for too long; the last state stays in force"),
        Update::Fresh => format!("{server} is heard again"),
        Update::Disconnected { why, retry_in, .. } => {
            format!("disconnected: {why}; the last state stays in force, trying again in {retry_in:.1?}")
        }
        Update::Event { event, took } => event_in_words(event, *took, replica)?,
    })
}

fn event_in_words(event: &Event, took: Duration, replica: &Replica) -> Option<String> {
    Some(match event {
        Event::Kills { generation, killed, restored } => {
            let mut parts = Vec::new();
            if !killed.is_empty() {
                parts.push(format!("KILLED {}", names(killed)));
            }
            if !restored.is_empty() {
                parts.push(format!("restored {}", names(restored)));
            }
            if parts.is_empty() {
                parts.push(format!("{} flags killed", replica.kills().kills().len()));
            }
            format!("{}  generation {generation}, applied and acknowledged in {took:.0?}", parts.join("; "))
        }
        Event::Objects { revision, before, full, changed, rejected } => {
            let what = match full {
                Some(reason) => format!("{} flags ({})", replica.set().len(), reason.as_str()),
                None if before == &Some(*revision) => return None,
                None => changed.iter().map(changed_in_words).collect::<Vec<_>>().join(", "),
            };
            let what = if what.is_empty() { "no definition changed".to_owned() } else { what };
            let refused = rejected.len();
            let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
            format!("revision {revision}: {what}, applied and acknowledged in {took:.0?}{refused}")
        }
        Event::Resync(reason) => format!("asked for everything again: {reason:?}"),
        Event::KillsUnusable => "a kill set could not be used".to_owned(),
        Event::Goodbye(goodbye) => format!("the server says goodbye: {}", goodbye.reason.as_str()),
        Event::Error { code, message } => format!("the server reports {code}: {message}"),
        Event::Bookmark(_) | Event::Pong(_) => return None,
    })
}

fn changed_in_words(changed: &Changed) -> String {
    let key = changed.key.key();
    if changed.gone { format!("{key} deleted") } else { format!("{key} changed") }
}

fn in_json(update: &Update, replica: &Replica) -> Option<Value> {
    let flags =
        |ids: &[FlagId]| ids.iter().map(|id| json!({"key": id.key, "flagSet": id.flag_set})).collect::<Vec<_>>();
    Some(match update {
        Update::Connected => json!({"event": "connected"}),
        Update::Stale => json!({"event": "stale"}),
        Update::Fresh => json!({"event": "fresh"}),
        Update::Disconnected { why, retry_in, .. } => {
            json!({"event": "disconnected", "why": why, "retryInMs": u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX)})
        }
        Update::Event { event, took } => {
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            match event {
                Event::Kills { generation, killed, restored } => json!({"event": "kills", "generation": generation,
                    "killed": flags(killed), "restored": flags(restored), "inForce": replica.kills().kills().len(), "tookUs": took_us}),
                Event::Objects { revision, full, changed, rejected, .. } => {
                    json!({"event": "objects", "revision": revision,
                    "full": full.map(|reason| reason.as_str()), "flags": replica.set().len(), "rejected": rejected.len(), "tookUs": took_us,
                    "changed": changed.iter().map(|changed| json!({"key": changed.key.key(), "gone": changed.gone})).collect::<Vec<_>>()})
                }
                Event::Resync(reason) => json!({"event": "resync", "reason": format!("{reason:?}")}),
                Event::KillsUnusable => json!({"event": "kills-unusable"}),
                Event::Goodbye(goodbye) => json!({"event": "goodbye", "reason": goodbye.reason.as_str()}),
                Event::Error { code, message } => json!({"event": "error", "code": code, "message": message}),
                Event::Bookmark(bookmark) => {
                    json!({"event": "bookmark", "revision": bookmark.revision, "generation": bookmark.kill_generation})
                }
                Event::Pong(_) => return None,
            }
        }
    })
}
