//! One subscription, kept alive: connect, catch up, apply, acknowledge, and connect again with what is held.
//!
//! Between connections the last state stays in force; nothing expires. Waiting times are drawn at random (full jitter)
//! so that a fleet does not come back as one.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};

use super::convert;
use crate::proto::rampart_v1 as wire;
use crate::proto::rampart_v1::subscription_client::SubscriptionClient;
use crate::sync::message::{ClientMessage, Hello};
use crate::sync::replica::{Event, Replica};

/// Bytes of one message of the server: a chunk is about 32 KiB, one object may be as large as a flag file.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Messages that may wait to be sent; acknowledgements are small and few.
const OUTBOX: usize = 16;

/// Whom to follow, and how patiently.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data plane, such as `http://127.0.0.1:8013`.
    pub server: String,
    /// The token, where one is needed.
    pub token: Option<String>,
    /// The environment; empty for the one that the token decides.
    pub environment: String,
    /// A name for people.
    pub name: String,
    /// Random per process: 1 to 64 visible ASCII characters.
    pub instance_id: String,
    /// How long a connection may take.
    pub connect: Duration,
    /// The longest first wait before connecting again; doubles with every failure.
    pub backoff_base: Duration,
    /// The longest wait.
    pub backoff_cap: Duration,
    /// After this long without a message the stream counts as dead.
    pub silence: Duration,
}

impl Options {
    /// The defaults for a server.
    pub fn new(server: &str, instance_id: String) -> Self {
        Self {
            server: server.to_owned(),
            token: None,
            environment: String::new(),
            name: String::new(),
            instance_id,
            connect: Duration::from_secs(5),
            backoff_base: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(10),
            silence: Duration::from_secs(45),
        }
    }
}

/// What happens to a subscription.
#[derive(Debug)]
pub enum Update {
    /// A stream is open.
    Connected,
    /// The copy changed, or the server said something.
    Event {
        /// What.
        event: Event,
        /// From receipt to use.
        took: Duration,
    },
    /// The stream is gone; the copy stays in force.
    Disconnected {
        /// Why.
        why: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
}

/// Why there is no point in going on.
#[derive(Debug, thiserror::Error)]
pub enum FollowFault {
    /// The server does not let this client in.
    #[error("{0}")]
    Denied(String),
    /// The options are wrong.
    #[error("{0}")]
    Options(String),
}

/// Follows a server until told to stop, and tells every update together with the copy.
///
/// # Errors
/// The address or the token cannot be used, or the server refuses it.
pub async fn follow(
    options: &Options,
    stop: &CancellationToken,
    mut on_update: impl FnMut(&Update, &Replica),
) -> Result<(), FollowFault> {
    let mut replica = Replica::default();
    let mut failures = 0;
    let mut dice = xxhash_rust::xxh3::xxh3_64(options.instance_id.as_bytes()) | 1;
    while !stop.is_cancelled() {
        let ended = connection(options, stop, &mut replica, &mut on_update).await;
        replica.disconnected();
        let Ended { why, pushback, healthy } = match ended {
            Ok(Some(ended)) => ended,
            Ok(None) => return Ok(()),
            Err(fault) => return Err(fault),
        };
        failures = if healthy { 0 } else { failures + 1 };
        let retry_in = pushback.unwrap_or_else(|| jitter(&mut dice, failures, options));
        on_update(&Update::Disconnected { why, retry_in }, &replica);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(retry_in) => {}
        }
    }
    Ok(())
}

/// How a connection ended.
struct Ended {
    why: String,
    pushback: Option<Duration>,
    healthy: bool,
}

/// A wait between zero and the cap of this attempt, by a small generator: the spread matters, not secrecy.
fn jitter(dice: &mut u64, failures: u32, options: &Options) -> Duration {
    // xorshift64, Marsaglia 2003.
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    let cap = options.backoff_base.saturating_mul(1 << failures.min(10)).min(options.backoff_cap);
    let share = (*dice % 1_000) as f64 / 1_000.0;
    // Never at once, also after a clean end: a proxy that ends streams would be hammered.
    cap.mul_f64(share).max(options.backoff_base / 10)
}

/// One connection from Hello to its end; none where the caller wanted to stop.
async fn connection(
    options: &Options,
    stop: &CancellationToken,
    replica: &mut Replica,
    on_update: &mut impl FnMut(&Update, &Replica),
) -> Result<Option<Ended>, FollowFault> {
    let failed = |why: String| Ok(Some(Ended { why, pushback: None, healthy: false }));
    let (out, outbox) = mpsc::channel(OUTBOX);
    let opened = tokio::select! {
        () = stop.cancelled() => return Ok(None),
        opened = open(options, replica, &out, outbox) => opened,
    };
    let mut inbound = match opened {
        Ok(inbound) => inbound,
        Err(Opening::Fault(fault)) => return Err(fault),
        Err(Opening::Failed(why)) => return failed(why),
    };
    on_update(&Update::Connected, replica);
    let mut pushback = None;
    let mut healthy = false;
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => {
                leave(&out, inbound).await;
                return Ok(None);
            }
            next = timeout(options.silence, inbound.message()) => next,
        };
        let why = match next {
            Err(_) => "the server was silent for too long".to_owned(),
            Ok(Ok(None)) => "the server ended the stream".to_owned(),
            Ok(Err(status)) if is_denied(&status) => return Err(FollowFault::Denied(status.message().to_owned())),
            Ok(Err(status)) => status.message().to_owned(),
            Ok(Ok(Some(message))) => match take(message, replica, &out, on_update).await {
                Ok(wait) => {
                    healthy = true;
                    pushback = wait.or(pushback);
                    continue;
                }
                Err(why) => why,
            },
        };
        return Ok(Some(Ended { why, pushback, healthy }));
    }
}

/// Applies one message and answers it. Gives the wait that a goodbye asks for.
async fn take(
    message: wire::ServerMessage,
    replica: &mut Replica,
    out: &mpsc::Sender<wire::ClientMessage>,
    on_update: &mut impl FnMut(&Update, &Replica),
) -> Result<Option<Duration>, String> {
    let began = Instant::now();
    let message = convert::server_message(message).map_err(|fault| fault.to_string())?;
    let outcome = replica.on_message(message);
    let took = began.elapsed();
    let outcome = outcome.took(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    // The receipt goes out before anybody is told: it is what the other end waits for.
    for answer in outcome.send.into_iter().filter_map(convert::client_message) {
        out.send(answer).await.map_err(|_| "the stream is gone".to_owned())?;
    }
    let mut wait = None;
    let mut unusable = false;
    for event in outcome.events {
        if let Event::Goodbye(goodbye) = &event {
            wait = Some(Duration::from_millis(u64::from(goodbye.reconnect_after_ms)));
        }
        unusable |= matches!(event, Event::KillsUnusable);
        on_update(&Update::Event { event, took }, replica);
    }
    if unusable { Err("a kill set was not what it was announced to be".to_owned()) } else { Ok(wait) }
}

enum Opening {
    Fault(FollowFault),
    Failed(String),
}

async fn open(
    options: &Options,
    replica: &Replica,
    out: &mpsc::Sender<wire::ClientMessage>,
    outbox: mpsc::Receiver<wire::ClientMessage>,
) -> Result<Streaming<wire::ServerMessage>, Opening> {
    let wrong = |what: String| Opening::Fault(FollowFault::Options(what));
    let endpoint = Endpoint::from_shared(options.server.clone())
        .map_err(|error| wrong(format!("{} is not an address: {error}", options.server)))?
        .connect_timeout(options.connect)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    let channel =
        endpoint.connect().await.map_err(|error| Opening::Failed(format!("cannot connect: {}", deepest(&error))))?;
    let hello = ClientMessage::Hello(Box::new(Hello {
        instance_id: options.instance_id.clone(),
        name: options.name.clone(),
        sdk: "rampart-rust".to_owned(),
        sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
        resume: replica.resume(),
        schema_max: 1,
        acks: true,
        environment: options.environment.clone(),
        ..Hello::default()
    }));
    if let Some(message) = convert::client_message(hello) {
        out.send(message).await.map_err(|_| Opening::Failed("the stream is gone".to_owned()))?;
    }
    let mut request = Request::new(ReceiverStream::new(outbox));
    if let Some(token) = &options.token {
        let value: AsciiMetadataValue =
            format!("Bearer {token}").parse().map_err(|_| wrong("the token holds what no header can".to_owned()))?;
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = SubscriptionClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    match client.subscribe(request).await {
        Ok(response) => Ok(response.into_inner()),
        Err(status) if is_denied(&status) => Err(Opening::Fault(FollowFault::Denied(status.message().to_owned()))),
        Err(status) => Err(Opening::Failed(status.message().to_owned())),
    }
}

/// Says goodbye, so that this client is not counted as missing, and waits until the server heard it.
async fn leave(out: &mpsc::Sender<wire::ClientMessage>, mut inbound: Streaming<wire::ServerMessage>) {
    if let Some(message) = convert::client_message(ClientMessage::Leave("stopping".to_owned())) {
        let said = timeout(Duration::from_secs(1), out.send(message)).await;
        if said.is_ok() {
            let _answer = timeout(Duration::from_millis(50), inbound.message()).await;
        }
    }
}

fn is_denied(status: &Status) -> bool {
    matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::InvalidArgument)
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
