//! The **wiring**: settings, telemetry, tasks, shutdown.
//!
//! [`run`] is the biography of the process. Nothing imports this but the command line.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::control::boot::{Boot, Booted};
use crate::control::clock::Clock;
use crate::control::command::{Call, Command};
use crate::control::{Control, draw, witness};
use crate::journal::Journal;
use crate::journal::folder::is_taken_up;
use crate::journal::memory::MemoryJournal;
use crate::journal::pending::Pending;
use crate::journal::sqlite::{Options, SqliteJournal};
use crate::serve::connection::ConnectionLimits;
use crate::serve::door::Enrichment;
use crate::serve::edge::{Edge, EdgeSettings, Opening, Planes};
use crate::serve::flagd::FlagdSettings;
use crate::serve::flagd::sync::SyncSettings;
use crate::serve::home::Lanes;
use crate::serve::http::body::{BodyLimit, BodyLimits};
use crate::serve::http::cors;
use crate::serve::http::ofrep::events::EventSettings;
use crate::serve::subscription::StreamLimits;
use crate::serve::subscription::admission::AdmissionLimits;
use crate::source::file::FileSource;
use crate::source::several::{NamedFile, SeveralFiles};
use crate::world::digest::Epoch;
use crate::world::record::Actor;

use self::address_file::AddressFiles;
use self::settings::{JournalKind, Origins, Settings};
use self::tasks::Tasks;

pub mod address_file;
pub mod first_start;
pub mod flagd;
mod ports;
pub mod settings;
pub mod tasks;
pub mod telemetry;

/// Where a server came to listen, and how it is entered.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The ports of the data plane, each with its name: URLs, or `unix:` and a path. The first is `data`.
    pub data: Vec<(&'static str, String)>,
    /// The admin plane.
    pub admin: SocketAddr,
    /// The file with the admin token that the server made, where it made one.
    pub admin_token: Option<PathBuf>,
}

/// How to start.
#[derive(Debug)]
pub struct Start {
    /// The settings.
    pub settings: Settings,
    /// Flag files that together are one source, in rising order of precedence; besides the one of the settings.
    pub sources: Vec<NamedFile>,
    /// Go on although acknowledged records are missing from the journal.
    pub accept_cut_tail: bool,
}

/// How long a start waits for sources that cannot be read before it serves what it has; as long as flagd.
const SOURCES_PATIENCE: Duration = Duration::from_secs(5);
/// How much longer a connection bears a peer that takes nothing than a subscription on it does, so that it is the
/// subscription that ends, and is counted under its reason.
const STREAMS_FIRST: Duration = Duration::from_secs(2);

/// Serves until `stop` is cancelled or a part fails; `ready` is told where, once everything answers.
///
/// # Errors
/// Why it could not start, or which part failed.
pub async fn run(start: Start, stop: CancellationToken, ready: impl FnOnce(&Bound)) -> anyhow::Result<()> {
    let Start { settings, sources, accept_cut_tail } = start;
    let ports::Ports { data, admin, urls } = ports::bind(&settings)?;
    let admin_address = admin.local_addr()?;

    let tasks = Tasks::new(stop.clone());
    // The writer outlives the listeners: what was taken is recorded before the process ends.
    let last = CancellationToken::new();
    let clock = Clock::system();
    let control = boot(&settings, accept_cut_tail, &clock, &tasks, &last).await?;

    default_environment(&settings, &control).await?;
    // Kept to the end: a token that ends with the process takes its file with it.
    let token_file = first_start::admin_token(&settings, &control, random).await?;
    let admin_token = token_file.as_ref().map(|file| file.path().to_owned());
    // Not before the boot, which refuses a folder that another server has.
    let _address_files = leave_address(&settings, admin_address, admin_token.as_deref());
    if let Some(path) = &settings.flags {
        import_and_watch(&settings, path, &control, &tasks, &stop).await;
    }
    let opening = watch_sources(&settings, sources, &control, &tasks, &stop).await;

    let (witnessing, patience, moment) = (control.clone(), settings.streams.observe_for, stop.clone());
    tasks.spawn("witness", async move {
        witness::watch(witnessing, patience, moment).await;
        Ok::<(), Infallible>(())
    });
    let lanes = (0..settings.streams.threads).map(|_| tasks.spawn_runtime("subscriptions", last.clone()));
    let lanes = Lanes::new(lanes.collect::<Result<_, _>>().context("no thread for subscriptions")?);
    let edge_settings = EdgeSettings { opening: opening.clone(), lanes, ..edge_settings(&settings) };
    let edge = Edge::new(&edge_settings, control, random, (stop.clone(), tasks.tracker().clone()));
    let serving = edge.serve(Planes { data, admin }, tasks.tracker().clone(), stop.clone());
    let announcing = async {
        tokio::select! {
            () = opening.open.cancelled() => ready(&Bound { data: urls, admin: admin_address, admin_token }),
            () = stop.cancelled() => {}
        }
    };
    let (report, ()) = tokio::join!(serving, announcing);
    tracing::info!(?report, "listeners drained");

    last.cancel();
    let unfinished = tasks.close_and_wait(settings.drain_deadline).await;
    match tasks.failed().into_iter().next() {
        Some(failure) => Err(failure.into()),
        None => Ok(unfinished?),
    }
}

async fn boot(
    settings: &Settings,
    accept_cut_tail: bool,
    clock: &Clock,
    tasks: &Tasks,
    last: &CancellationToken,
) -> anyhow::Result<Control> {
    let now = clock.now();
    let (dir, kind) = (settings.data_dir.clone(), settings.journal);
    let (clock, patience) = (clock.clone(), settings.kill_journal_wait);
    let (fractional_hash, keep_lost) = (settings.fractional_hash, settings.streams.lost_for);
    let booted = tokio::task::spawn_blocking(move || -> anyhow::Result<Booted> {
        let (journal, pending): (Arc<dyn Journal>, Option<Pending>) = match kind {
            JournalKind::Sqlite => {
                let journal = SqliteJournal::open(&dir, &Options { now, accept_cut_tail })?;
                (Arc::new(journal), Some(Pending::open(&dir)?))
            }
            JournalKind::Memory => (Arc::new(MemoryJournal::new(Epoch(draw(random)))), None),
        };
        Ok(Boot { journal, pending, clock, random, patience, fractional_hash, keep_lost }.run()?)
    });
    let Booted { control, writer, jobs } = booted.await.context("the boot failed")??;
    let last = last.clone();
    tasks.spawn("writer", async move {
        writer.run(jobs, last).await;
        Ok::<(), Infallible>(())
    });
    Ok(control)
}

/// The environment that data-plane callers without a token see exists from the first start on.
async fn default_environment(settings: &Settings, control: &Control) -> anyhow::Result<()> {
    let environment = settings.default_environment.clone();
    if control.hub().current(&environment).is_some() {
        return Ok(());
    }
    let production = environment.as_str() == "production";
    let data_plane_auth = settings.data_plane_auth;
    let call = Call { actor: Actor::system("first-start"), reason: None, idempotency: None };
    control.submit(Command::PutEnvironment { environment, production, data_plane_auth }, call).await?;
    Ok(())
}

/// Says where the admin plane is, in the data folder and in the one of the token. A server that keeps its changes in
/// memory does not speak for a folder in which another keeps a journal.
fn leave_address(settings: &Settings, admin: SocketAddr, token: Option<&Path>) -> AddressFiles {
    let data = settings.data_dir.as_path();
    let speaks = settings.journal == JournalKind::Sqlite || !is_taken_up(data);
    let token = token.and_then(Path::parent).filter(|folder| *folder != data);
    AddressFiles::leave(admin, speaks.then_some(data).into_iter().chain(token))
}

async fn import_and_watch(
    settings: &Settings,
    path: &Path,
    control: &Control,
    tasks: &Tasks,
    stop: &CancellationToken,
) {
    let source = FileSource {
        path: path.to_owned(),
        environment: settings.default_environment.clone(),
        allow_deletes: settings.allow_deletes,
        every: settings.flags_poll,
    };
    let taken = source.import(control).await;
    let (control, stop) = (control.clone(), stop.clone());
    tasks.spawn("flag file", async move {
        source.watch(taken, control, stop).await;
        Ok::<(), Infallible>(())
    });
}

/// Takes the sources in and watches them. The data plane opens at once where all of them could be read, else when they
/// can or after a few seconds, so that clients of a server whose files are still being mounted wait instead of falling
/// back to their defaults.
async fn watch_sources(
    settings: &Settings,
    sources: Vec<NamedFile>,
    control: &Control,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Opening {
    if sources.is_empty() {
        return Opening::done();
    }
    let mut files = SeveralFiles::new(sources, settings.default_environment.clone(), settings.flags_poll);
    files.first(control).await;
    let synced = files.is_synced(control);
    let opening = if synced { Opening::done() } else { Opening::default() };
    let (control, moment, until) = (control.clone(), opening.synced.clone(), stop.clone());
    tasks.spawn("flag sources", async move {
        files.watch(control, moment, until).await;
        Ok::<(), Infallible>(())
    });
    if synced {
        return opening;
    }
    tracing::warn!(
        "not every flag source could be read: /readyz answers 412 until they can, the data plane opens in {} s",
        SOURCES_PATIENCE.as_secs()
    );
    let (moments, stop) = (opening.clone(), stop.clone());
    tasks.spawn("opening", async move {
        tokio::select! {
            () = moments.synced.cancelled() => {}
            () = tokio::time::sleep(SOURCES_PATIENCE) => {}
            () = stop.cancelled() => {}
        }
        moments.open.cancel();
        Ok::<(), Infallible>(())
    });
    opening
}

fn edge_settings(settings: &Settings) -> EdgeSettings {
    let limits = &settings.limits;
    let body = |bytes| BodyLimit { bytes, time: limits.body_read_timeout };
    EdgeSettings {
        default_environment: settings.default_environment.clone(),
        enrichment: Enrichment {
            fixed: settings.context_values.clone(),
            from_headers: settings.context_from_headers.clone(),
        },
        metrics_token: settings.metrics_token.as_ref().map(|secret| secret.expose().to_owned()),
        data_connections_max: u32::try_from(limits.max_connections_data).unwrap_or(u32::MAX),
        admin_connections_max: u32::try_from(limits.max_connections_admin).unwrap_or(u32::MAX),
        connection: ConnectionLimits {
            head_timeout: limits.header_read_timeout,
            idle_timeout: limits.idle_timeout,
            ping_interval: settings.streams.keepalive_interval,
            ping_timeout: settings.streams.keepalive_timeout,
            http2_streams: limits.http2_max_concurrent_streams,
            handshakes: limits.handshakes,
            stall_timeout: settings.streams.stall + STREAMS_FIRST,
            http1_buffer: limits.header_bytes.max(ConnectionLimits::default().http1_buffer),
            http2_header_list: u32::try_from(limits.header_bytes).unwrap_or(u32::MAX),
            ..ConnectionLimits::default()
        },
        bodies: BodyLimits {
            evaluate: body(limits.evaluate_body_bytes),
            admin: body(limits.admin_body_bytes),
            // Sixteen times as large as the largest admin body, so it may take longer, too.
            import: BodyLimit { bytes: limits.import_body_bytes, time: limits.body_read_timeout * 6 },
        },
        streams: stream_limits(settings),
        admission: AdmissionLimits {
            enabled: settings.streams.enabled,
            streams: settings.streams.max,
            per_second: settings.streams.opens_per_second,
            transfers: settings.streams.transfers,
            memory: limits.memory.map(|bytes| bytes as u64),
        },
        accepts_per_second: limits.accepts_per_second,
        lanes: Lanes::default(),
        flagd: FlagdSettings {
            strict_status: settings.flagd.strict_status,
            keep_alive: settings.flagd.keep_alive,
            stream_deadline: Some(settings.flagd.stream_deadline).filter(|deadline| !deadline.is_zero()),
        },
        sync: SyncSettings {
            metadata: !settings.flagd.disable_sync_metadata,
            stream_deadline: Some(settings.flagd.stream_deadline).filter(|deadline| !deadline.is_zero()),
        },
        drain_deadline: settings.drain_deadline,
        opening: Opening::done(),
        evaluations_per_second: limits.evaluations_per_second,
        cors: settings.cors_origins.as_ref().map(cors_origins),
        events: settings.ofrep_sse.then(|| EventSettings {
            public_url: settings.sse_public_url.clone(),
            inactivity: settings.sse_inactivity_delay,
            keep_alive: settings.sse_keepalive,
            stall: connection_stall(),
        }),
    }
}

fn stream_limits(settings: &Settings) -> StreamLimits {
    StreamLimits {
        bookmark: settings.streams.bookmark_interval,
        hello: settings.limits.body_read_timeout,
        stall: settings.streams.stall,
        kill_ack: settings.streams.kill_ack_deadline,
        change_ack: settings.streams.change_ack_deadline,
        drain_window: settings.drain_window,
        transfer_hold: settings.streams.transfer_hold,
        retry: settings.streams.retry,
    }
}

fn cors_origins(origins: &Origins) -> cors::Origins {
    match origins {
        Origins::Any => cors::Origins::Any,
        // They were checked to be plain ASCII.
        Origins::Only(names) => cors::Origins::Only(names.iter().filter_map(|name| name.parse().ok()).collect()),
    }
}

/// How long a peer may take nothing: the same for a stream as for the socket under it.
fn connection_stall() -> Duration {
    ConnectionLimits::default().stall_timeout
}

/// Random bytes from the operating system.
fn random(bytes: &mut [u8]) {
    // Without randomness there are no secrets: nothing sensible can go on.
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
