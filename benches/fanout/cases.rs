//! The cases: so many subscribers of one server, told the same thing a few times.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::{Bare, Load, Transport};
use crate::board::Times;
use crate::clock::{self, ms};
use crate::crowd::{Crowd, Speak};
use crate::http1::Keep;
use crate::load::{self, Busy, Done};
use crate::machine::{self, Machine};
use crate::process::{BareServer, Rampart};

/// How long a message may take to everybody.
const ROUND: Duration = Duration::from_secs(60);
/// Subscribers from which on they share connections: a process cannot hold as many sockets.
const SHARED_FROM: usize = 19_000;
/// Subscribers on a shared connection.
const SHARE: usize = 100;

/// Everything that was measured of one case.
#[derive(Debug, Serialize)]
pub struct Case {
    /// `rampart` or what kind of bare writer.
    pub server: &'static str,
    /// How clients subscribe.
    pub transport: &'static str,
    /// What else the server did.
    pub load: Load,
    /// How many there were.
    pub subscribers: usize,
    /// On how many connections.
    pub connections: usize,
    /// Until all were connected and in sync.
    pub gather_ms: f64,
    /// Memory of the server for each, when nothing happened.
    pub memory_kib: f64,
    /// Each message.
    pub rounds: Vec<Round>,
    /// What was changed meanwhile.
    pub churn: Option<Done>,
    /// What was evaluated meanwhile.
    pub flood: Option<Done>,
}

/// One message to everybody.
#[derive(Debug, Serialize)]
pub struct Round {
    /// When clients had it.
    #[serde(flatten)]
    pub times: Times,
    /// When whoever sent it was answered, receipts included where the server waits for them.
    pub answered_us: Option<u64>,
    /// When the server had the last receipt, as it says.
    pub last_receipt_us: Option<u64>,
    /// What it says about receipts.
    pub receipts: Option<Value>,
    /// Processor time of the server for each client, receipts included; only where it had nothing else to do.
    pub cpu_us: Option<f64>,
    /// Messages to each client until the server was quiet again; only where it had nothing else to do.
    pub messages: Option<f64>,
}

/// A case before it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many subscribers.
    pub subscribers: usize,
    /// How many messages.
    pub rounds: usize,
    /// How many flags Rampart has, the one that is killed not counted.
    pub flags: usize,
}

impl Plan {
    /// True where subscribers share connections.
    pub fn is_shared(self) -> bool {
        self.subscribers >= SHARED_FROM
    }

    fn connections(self) -> usize {
        if self.is_shared() { self.subscribers.div_ceil(SHARE) } else { self.subscribers }
    }
}

/// The middle one.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

/// Of how many KiB more a process has than before, each of `subscribers` has so much.
fn each(before: u64, after: u64, subscribers: usize) -> f64 {
    after.saturating_sub(before) as f64 / subscribers.max(1) as f64
}

struct Gathered {
    crowd: Crowd,
    gather_ms: f64,
    memory_kib: f64,
}

async fn gather(plan: Plan, speak: Speak, address: SocketAddr, process: u32) -> Result<Gathered> {
    machine::until_quiet(process).await?;
    let before = machine::memory_kib(process, "VmRSS")?;
    let began = clock::now();
    let crowd = Crowd::gather(speak, address, plan.subscribers, plan.connections()).await?;
    let gather_ms = ms(began.elapsed());
    machine::until_quiet(process).await?;
    let memory_kib = each(before, machine::memory_kib(process, "VmRSS")?, plan.subscribers);
    Ok(Gathered { crowd, gather_ms, memory_kib })
}

/// Measures a bare writer.
pub async fn bare(machine: &Machine, plan: Plan, kind: Bare) -> Result<Case> {
    let (server, transport, speak) = match kind {
        Bare::Tcp => ("bare tcp", "tcp", Speak::Plain),
        Bare::Tonic => ("bare tonic", "grpc", Speak::Watch),
        Bare::Receipts => ("bare tonic + receipts", "grpc", Speak::Subscribe),
        Bare::Sse => ("bare axum sse", "sse", Speak::BareEvents),
    };
    let mut writer = BareServer::start(machine, kind).await?;
    let process = writer.running.id();
    let Gathered { crowd, gather_ms, memory_kib } = gather(plan, speak, writer.clients, process).await?;
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let spent = machine::processor_time(process)?;
        let heard = crowd.board.read().messages;
        let began = crowd.board.begin();
        writer.fire().await?;
        let answered_us = began.elapsed().as_micros();
        let times = crowd.board.round(ROUND).await?;
        machine::until_quiet(process).await?;
        let cpu = machine::processor_time(process)?.saturating_sub(spent);
        let counted = kind == Bare::Receipts;
        let answered_us = counted.then(|| u64::try_from(answered_us).unwrap_or(u64::MAX));
        rounds.push(Round {
            times,
            answered_us,
            last_receipt_us: answered_us,
            receipts: None,
            cpu_us: Some(cpu.as_secs_f64() * 1e6 / plan.subscribers as f64),
            messages: Some((crowd.board.read().messages - heard) as f64 / plan.subscribers as f64),
        });
    }
    crowd.leave().await;
    Ok(Case {
        server,
        transport,
        load: Load::Idle,
        subscribers: plan.subscribers,
        connections: plan.connections(),
        gather_ms,
        memory_kib,
        rounds,
        churn: None,
        flood: None,
    })
}

/// Puts the flags that the cases need.
pub async fn furnish(admin: &mut Keep, flags: usize) -> Result<()> {
    let churned = (0..flags).map(|number| format!("fanout-{number}"));
    for key in churned.chain([load::KILLED.to_owned()]) {
        let body = load::definition(0);
        admin.ask("PUT", &load::flag_path(&key), body.as_bytes()).await?.json().context("a flag cannot be put")?;
    }
    Ok(())
}

/// True where this server has a way of subscribing.
pub async fn has(rampart: &Rampart, transport: Transport) -> Result<bool> {
    if transport == Transport::Grpc {
        return Ok(true);
    }
    // A body that means nothing is refused by the route itself, with another status than that of a missing route.
    let answer = Keep::connect(rampart.data, None).await?.ask("POST", "/v1/stream/acks", b"{}").await?;
    Ok(!matches!(answer.status, 404 | 405))
}

/// Measures Rampart, once for each load with the same subscribers; none where it has no such way of subscribing.
pub async fn rampart(machine: &Machine, plan: Plan, transport: Transport, loads: &[Load]) -> Result<Option<Vec<Case>>> {
    let server = Rampart::start(machine)?;
    if !has(&server, transport).await? {
        return Ok(None);
    }
    let mut admin = Keep::connect(server.admin, Some(server.token()?)).await?;
    furnish(&mut admin, plan.flags).await?;
    let (word, speak) = match transport {
        Transport::Grpc => ("grpc", Speak::Subscribe),
        Transport::Sse => ("sse", Speak::Events),
    };
    // Events have a connection each in HTTP/1.1.
    if transport == Transport::Sse && plan.is_shared() {
        return Ok(None);
    }
    let process = server.running.id();
    let Gathered { crowd, gather_ms, memory_kib } = gather(plan, speak, server.data, process).await?;
    let mut cases = Vec::new();
    for load in loads {
        // The idle connection may have been closed in the meantime.
        let mut admin = Keep::connect(server.admin, Some(server.token()?)).await?;
        let busy = match load {
            Load::Idle => None,
            Load::Busy => Some(Busy::start(machine, &server, plan.flags).await?),
        };
        let mut rounds = Vec::new();
        for _ in 0..plan.rounds {
            rounds.push(kill(&mut admin, &crowd, process, busy.is_none(), plan).await?);
            crowd.board.begin();
            let path = format!("{}/restore", load::flag_path(load::KILLED));
            admin.ask("POST", &path, b"").await?.json().context("a restore")?;
            crowd.board.round(ROUND).await.context("a restore")?;
        }
        let (churn, flood) = match busy {
            None => (None, None),
            Some(busy) => busy.stop().await.map(|(churn, flood)| (Some(churn), Some(flood)))?,
        };
        cases.push(Case {
            server: "rampart",
            transport: word,
            load: *load,
            subscribers: plan.subscribers,
            connections: plan.connections(),
            gather_ms,
            memory_kib,
            rounds,
            churn,
            flood,
        });
    }
    crowd.leave().await;
    Ok(Some(cases))
}

async fn kill(admin: &mut Keep, crowd: &Crowd, process: u32, idle: bool, plan: Plan) -> Result<Round> {
    if idle {
        machine::until_quiet(process).await?;
    }
    let path = format!("{}/kill?wait=all&timeout=30s", load::flag_path(load::KILLED));
    let spent = machine::processor_time(process)?;
    let heard = crowd.board.read().messages;
    let began = crowd.board.begin();
    let answer = admin.ask("POST", &path, b"").await?;
    let answered_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let receipts = answer.json().context("a kill")?.get("receipts").cloned();
    let times = crowd.board.round(ROUND).await.context("a kill")?;
    let (mut cpu_us, mut messages) = (None, None);
    if idle {
        machine::until_quiet(process).await?;
        let spent = machine::processor_time(process)?.saturating_sub(spent);
        cpu_us = Some(spent.as_secs_f64() * 1e6 / plan.subscribers as f64);
        messages = Some((crowd.board.read().messages - heard) as f64 / plan.subscribers as f64);
    }
    let last_receipt_us = receipts.as_ref().and_then(|receipts| last_receipt(receipts, times));
    Ok(Round { times, answered_us: Some(answered_us), last_receipt_us, receipts, cpu_us, messages })
}

/// When the server had the last receipt, if it had all. It counts from its own publishing and not from the request, so
/// its word is not taken for less than what the last client saw: no receipt comes before what it is for.
fn last_receipt(receipts: &Value, times: Times) -> Option<u64> {
    receipts.get("reached").and_then(Value::as_bool).filter(|reached| *reached)?;
    Some(receipts.get("maxUs")?.as_u64()?.max(times.max_us.into()))
}
