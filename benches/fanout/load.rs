//! What keeps the server busy while it kills: a process that changes flags, and one that floods it with evaluations.
//! They work until their input closes, then print what they got done.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::board::Times;
use crate::clock;
use crate::http1::Keep;
use crate::machine::Machine;
use crate::process::{Rampart, Running, own_program, read_token};

/// Changes a second that are tried.
const RATE: u32 = 100;
/// Connections that ask for evaluations.
const CONNECTIONS: usize = 32;
/// The longest that a full second of load is waited for.
const WARM_UP: Duration = Duration::from_secs(2);

/// What a maker of load got done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Done {
    /// Per second.
    pub rate: f64,
    /// How long each took, in microseconds: half.
    pub p50_us: u32,
    /// 99 of 100.
    pub p99_us: u32,
    /// The longest.
    pub max_us: u32,
}

/// Both makers at work.
#[derive(Debug)]
pub struct Busy {
    churn: Running,
    flood: Running,
}

impl Busy {
    /// Starts them, and gives them time to get going.
    pub async fn start(machine: &Machine, rampart: &Rampart, flags: usize) -> Result<Self> {
        let program = own_program()?;
        let mut churn = machine.on_generator_core(&program);
        churn
            .args(["churn", &rampart.admin.to_string()])
            .arg(rampart.token_file())
            .args([RATE.to_string(), flags.to_string()]);
        let mut flood = machine.on_generator_core(&program);
        flood.args(["flood", &rampart.data.to_string(), &CONNECTIONS.to_string()]);
        let busy = Self { churn: Running::start(&mut churn)?, flood: Running::start(&mut flood)? };
        clock::pause(WARM_UP).await;
        Ok(busy)
    }

    /// Ends them: what was changed, and what was evaluated.
    pub async fn stop(self) -> Result<(Done, Done)> {
        let Self { churn, flood } = self;
        let read = |text: String| serde_json::from_str(&text).with_context(|| format!("not a report: {text}"));
        let ends = [churn, flood].map(|running| tokio::task::spawn_blocking(|| running.finish()));
        let [churn, flood] = ends;
        Ok((read(churn.await??)?, read(flood.await??)?))
    }
}

/// The definition of a flag that is changed; every version differs from the one before.
pub fn definition(version: u64) -> String {
    format!(
        r#"{{"variants": {{"on": true, "off": false}}, "defaultVariant": "off", "serve": {{"on": {}}}}}"#,
        version % 100 + 1
    )
}

/// The flag that is killed, asked for, and never changed.
pub const KILLED: &str = "fanout-killed";

/// The path of a flag in the admin API.
pub fn flag_path(key: &str) -> String {
    format!("/v1/environments/production/flags/{key}")
}

type Times64 = Arc<Mutex<Vec<u32>>>;

async fn input_closed() -> Result<()> {
    let read = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    read.await?.context("its input")?;
    Ok(())
}

fn report(began: std::time::Instant, times: &Times64) -> Result<()> {
    let times = std::mem::take(&mut *times.lock().unwrap_or_else(PoisonError::into_inner));
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    let Times { p50_us, p99_us, max_us } = Times::of(times).context("nothing was done")?;
    println!("{}", serde_json::to_string(&Done { rate, p50_us, p99_us, max_us })?);
    Ok(())
}

fn note(times: &Times64, began: std::time::Instant) {
    let took = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
    times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
}

/// Changes flags one after another, at most `rate` a second.
pub async fn churn(admin: SocketAddr, token: &Path, rate: u32, flags: usize) -> Result<()> {
    let mut connection = Keep::connect(admin, Some(read_token(token)?)).await?;
    let (began, times) = (clock::now(), Times64::default());
    let mut tick = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    // One that falls behind does not make up for it by a burst.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let working = async {
        for version in 1_u64.. {
            tick.tick().await;
            let key = format!("fanout-{}", version % flags as u64);
            let asked = clock::now();
            // Another version each time the flag's turn comes, so that there is something to change.
            let body = definition(version / flags as u64 + 50);
            let answer = connection.ask("PUT", &flag_path(&key), body.as_bytes()).await?;
            ensure!(answer.status < 300, "a change: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
            note(&times, asked);
        }
        Ok(())
    };
    tokio::select! {
        failed = working => failed?,
        closed = input_closed() => closed?,
    }
    report(began, &times)
}

/// Asks for evaluations as fast as they are answered.
pub async fn flood(data: SocketAddr, connections: usize) -> Result<()> {
    let (began, times) = (clock::now(), Times64::default());
    let mut asking: JoinSet<Result<()>> = JoinSet::new();
    for number in 0..connections {
        let times = Arc::clone(&times);
        asking.spawn(async move {
            let mut connection = Keep::connect(data, None).await?;
            let body = format!(r#"{{"context": {{"targetingKey": "user-{number}", "plan": "pro"}}}}"#);
            let request = connection.request("POST", "/ofrep/v1/evaluate/flags/fanout-0", body.as_bytes());
            loop {
                let asked = clock::now();
                let answer = connection.send(&request).await?;
                ensure!(answer.status == 200, "an evaluation: {}", answer.status);
                note(&times, asked);
            }
        });
    }
    tokio::select! {
        Some(failed) = asking.join_next() => failed??,
        closed = input_closed() => closed?,
    }
    report(began, &times)
}
