//! What `serve` and `start` have in common: start the log, run the server until it is told to stop, say where it is.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::settings::fault::SettingFault;
use crate::app::{Bound, Start, run as serve, telemetry};

use super::failure::Failure;

/// What is said when the settings cannot be used: everything, each with its place.
pub fn refused(faults: &[SettingFault]) -> Failure {
    let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    Failure::usage(format!("the settings cannot be used:{}", lines.concat()))
}

/// Runs a server.
///
/// # Errors
/// Why it could not start or go on.
pub fn run(start: Start, warnings: &[String]) -> Result<(), Failure> {
    let settings = &start.settings;
    telemetry::init(settings.log_format, &settings.log_filter).map_err(|fault| Failure::usage(fault.to_string()))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(until_stopped(start));
    // After a second signal nobody waits for what is still going on.
    runtime.shutdown_background();
    ended
}

#[expect(clippy::print_stderr, reason = "the log may be filtered; the reason why a process ended must not be")]
async fn until_stopped(start: Start) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let serving = serve(start, stop.clone(), announce);
    tokio::pin!(serving);
    let ended = loop {
        tokio::select! {
            ended = &mut serving => break ended,
            () = signals.next() => {
                if stop.is_cancelled() {
                    return Err(Failure::interrupted());
                }
                tracing::info!("stopping: draining connections; a second signal ends at once");
                stop.cancel();
            }
        }
    };
    ended.map_err(|error| {
        tracing::error!("{error:#}");
        eprintln!("error: {error:#}");
        Failure::silent()
    })
}

/// One line with every address, `data` and `admin` first; one with the admin token's file, if there is one.
#[expect(clippy::print_stdout, reason = "scripts wait for this line")]
fn announce(bound: &Bound) {
    let url = |(name, url): &(&str, String)| format!("{name} {url}");
    let mut places: Vec<String> = bound.data.iter().map(url).collect();
    places.insert(1.min(places.len()), format!("admin http://{}", bound.admin));
    println!("rampart is serving: {}", places.join("  "));
    if let Some(file) = &bound.admin_token {
        let folder = file.parent().unwrap_or(file).display();
        println!("admin token: {} (rampart flag list --data-dir {folder})", file.display());
    }
}

/// SIGTERM and SIGINT: the first drains, the second ends the process at once.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
