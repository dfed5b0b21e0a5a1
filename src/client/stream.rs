//! One stream on the wire: how it is opened, what its end means, and how to go politely.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};

use super::convert;
use super::options::{Options, Target};
use crate::proto::rampart_v1 as wire;
use crate::proto::rampart_v1::subscription_client::SubscriptionClient;
use crate::sync::message::{ClientMessage, Hello, Resume};

/// Bytes of one message of the server: a chunk is about 32 KiB, one object may be as large as a flag file.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// In the trailers of a refused stream: when to come back, in milliseconds. gRPC's name.
const PUSHBACK: &str = "grpc-retry-pushback-ms";
/// How long the server has to hear that this client goes.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where what is said to the server is put.
pub type Outbox = mpsc::Sender<wire::ClientMessage>;
/// What the server says.
pub type Inbound = Streaming<wire::ServerMessage>;

/// How a stream ended, or why there was none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In words for people.
    pub why: String,
    /// When the server wants this client back.
    pub pushback: Option<Duration>,
    /// The server does not let this client in.
    pub denied: bool,
}

impl Ended {
    /// An end without a word of the server.
    pub fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), pushback: None, denied: false }
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        let pushback = status.metadata().get(PUSHBACK).and_then(|value| value.to_str().ok()?.parse().ok());
        let denied = matches!(
            status.code(),
            Code::Unauthenticated | Code::PermissionDenied | Code::NotFound | Code::InvalidArgument
        );
        let why = if status.message().is_empty() { status.code().description() } else { status.message() };
        Self { why: why.to_owned(), pushback: pushback.map(Duration::from_millis), denied }
    }
}

/// The first message of a stream.
pub fn hello(options: &Options, resume: Option<Resume>) -> ClientMessage {
    ClientMessage::Hello(Box::new(Hello {
        instance_id: options.instance_id.clone(),
        name: options.name.clone(),
        sdk: "rampart-rust".to_owned(),
        sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
        labels: options.labels.clone(),
        resume,
        schema_max: 1,
        acks: true,
        environment: options.environment.clone(),
    }))
}

/// Opens a stream. It may take as long as a connection and the server's first word may.
pub async fn open(
    options: &Options,
    target: &Target,
    outbox: mpsc::Receiver<wire::ClientMessage>,
) -> Result<Inbound, Ended> {
    let patience = options.connect.saturating_add(options.silence);
    let late = || Ended::because("the server accepts connections and does not answer");
    timeout(patience, opened(options, target, outbox)).await.unwrap_or_else(|_| Err(late()))
}

async fn opened(
    options: &Options,
    target: &Target,
    outbox: mpsc::Receiver<wire::ClientMessage>,
) -> Result<Inbound, Ended> {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.authority))
        .map_err(|error| Ended::because(format!("the address cannot be used: {error}")))?
        .connect_timeout(options.connect)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true);
    let channel =
        endpoint.connect().await.map_err(|error| Ended::because(format!("cannot connect: {}", deepest(&error))))?;
    let mut request = Request::new(ReceiverStream::new(outbox));
    if let Some(value) = options.bearer().map_err(|fault| Ended::because(fault.to_string()))? {
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = SubscriptionClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    Ok(client.subscribe(request).await?.into_inner())
}

/// Says goodbye, so that this client is not counted as missing, and waits until the server heard it.
pub async fn leave(out: Outbox, mut inbound: Inbound) {
    let Some(message) = convert::client_message(ClientMessage::Leave("stopping".to_owned())) else { return };
    let farewell = async move {
        if out.send(message).await.is_ok() {
            drop(out);
            while matches!(inbound.message().await, Ok(Some(_))) {}
        }
    };
    // A server that does not answer is left all the same.
    let _heard = timeout(FAREWELL, farewell).await;
}

/// What an error comes from in the end.
pub fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_who_is_denied_and_when_to_come_back() {
        let mut status = Status::unavailable("full");
        status.metadata_mut().insert(PUSHBACK, "7250".parse().unwrap());
        let pushback = Some(Duration::from_millis(7250));
        assert_eq!(Ended::from(status), Ended { why: "full".to_owned(), pushback, denied: false });
        let mut never = Status::unavailable("");
        never.metadata_mut().insert(PUSHBACK, "-1".parse().unwrap());
        assert_eq!(Ended::from(never).pushback, None);
        for code in [Code::Unauthenticated, Code::PermissionDenied] {
            assert!(Ended::from(Status::new(code, "no")).denied);
        }
        for code in [Code::Unavailable, Code::Internal, Code::Unimplemented, Code::ResourceExhausted] {
            assert!(!Ended::from(Status::new(code, "")).denied);
        }
    }
}
