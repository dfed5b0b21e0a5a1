//! Two ends of a server with everybody connected: SIGKILL and a restart, after which all come back by themselves; and
//! SIGTERM, after which it must be gone in time.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::board::Times;
use crate::cases::furnish;
use crate::clock::{self, ms};
use crate::crowd::{Crowd, Speak};
use crate::http1::Keep;
use crate::machine::{Machine, memory_kib};
use crate::process::Rampart;

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What became of a restart.
#[derive(Debug, Serialize)]
pub struct Storm {
    /// Subscribers.
    pub subscribers: usize,
    /// From SIGKILL to a server that serves again.
    pub down_ms: f64,
    /// From SIGKILL until the last one was in sync.
    pub since_kill_ms: f64,
    /// From the moment that it served again until the last one was in sync.
    pub since_restart_ms: f64,
    /// Memory of the new process at its highest.
    pub peak_kib: u64,
}

/// What became of a stop.
#[derive(Debug, Serialize)]
pub struct Drain {
    /// Subscribers.
    pub subscribers: usize,
    /// From SIGTERM to the end of the process.
    pub took_ms: f64,
    /// Its exit code; none where it was killed by a signal.
    pub exit_code: Option<i32>,
    /// Streams that were told to leave.
    pub goodbyes: usize,
    /// When they were asked to come back, in milliseconds: the first.
    pub after_min_ms: u32,
    /// Half of them.
    pub after_p50_ms: u32,
    /// The last.
    pub after_max_ms: u32,
    /// Of ten equal parts of that time the fullest, as a multiple of the mean.
    pub after_peak_of_mean: f64,
}

/// Kills the server under its subscribers and starts it again.
pub async fn storm(machine: &Machine, subscribers: usize, flags: usize) -> Result<Storm> {
    let mut server = Rampart::start(machine)?;
    furnish(&mut Keep::connect(server.admin, Some(server.token()?)).await?, flags).await?;
    let crowd = Crowd::faithful(server.data, subscribers).await?;
    clock::pause(Duration::from_secs(1)).await;
    let killed = clock::now();
    server.running.kill_9()?;
    // Everybody hears of it before the server is there again.
    clock::pause(Duration::from_secs(1)).await;
    ensure!(crowd.board.read().synced == 0, "{} subscribers did not notice", crowd.board.read().synced);
    server.again(machine)?;
    let serving = clock::now();
    crowd.board.all_synced(PATIENCE).await?;
    let last = crowd.board.read().synced_last;
    let peak_kib = memory_kib(server.running.id(), "VmHWM")?;
    crowd.leave().await;
    Ok(Storm {
        subscribers,
        down_ms: ms(serving.saturating_duration_since(killed)),
        since_kill_ms: ms(last.saturating_duration_since(killed)),
        since_restart_ms: ms(last.saturating_duration_since(serving)),
        peak_kib,
    })
}

/// Stops the server under its subscribers.
pub async fn drain(machine: &Machine, subscribers: usize, flags: usize) -> Result<Drain> {
    let mut server = Rampart::start(machine)?;
    furnish(&mut Keep::connect(server.admin, Some(server.token()?)).await?, flags).await?;
    let crowd = Crowd::gather(Speak::Subscribe, server.data, subscribers, subscribers).await?;
    let began = clock::now();
    server.running.terminate()?;
    let status = server.running.ended(PATIENCE).await?;
    let took_ms = ms(began.elapsed());
    let mut after = crowd.board.read().goodbyes.clone();
    after.sort_unstable();
    crowd.leave().await;
    let (first, last) = (after.first().copied().unwrap_or(0), after.last().copied().unwrap_or(0));
    let mut parts = [0_usize; 10];
    for wait in &after {
        let part = (wait - first) as usize * 10 / ((last - first) as usize + 1);
        if let Some(part) = parts.get_mut(part) {
            *part += 1;
        }
    }
    let fullest = parts.iter().max().copied().unwrap_or(0) as f64;
    Ok(Drain {
        subscribers,
        took_ms,
        exit_code: status.code(),
        goodbyes: after.len(),
        after_min_ms: first,
        after_max_ms: last,
        after_peak_of_mean: fullest * 10.0 / (after.len().max(1)) as f64,
        after_p50_ms: Times::of(after).map_or(0, |times| times.p50_us),
    })
}
