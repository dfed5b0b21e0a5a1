//! Subscriptions, whatever they are spoken in: who is let in, what is shared among them, and how each is driven.
//!
//! What to send next is decided in `sync::server`; how it looks on the wire is a [`frame::Wire`] of the surfaces
//! (`serve::grpc`, `serve::http::stream`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::admission::Admission;
use self::metrics::StreamMetrics;
use self::receipts::Waiters;
use self::shelf::Shelves;
use crate::access::token::Principal;
use crate::serve::door::Door;
use crate::serve::http::problem::Problem;
use crate::snapshot::Snapshot;
use crate::sync::message::GoodbyeReason;
use crate::sync::server::ProtocolFault;

pub mod admission;
pub mod drive;
pub mod frame;
pub mod metrics;
pub mod outbox;
pub mod receipts;
pub mod shelf;

/// How streams are kept.
#[derive(Debug, Clone)]
pub struct StreamLimits {
    /// Between two bookmarks on a quiet stream.
    pub bookmark: Duration,
    /// How long the first message may take.
    pub hello: Duration,
    /// How long a client may read nothing.
    pub stall: Duration,
    /// How long the receipt of a kill set may take.
    pub kill_ack: Duration,
    /// How long the receipt of a transfer may take.
    pub change_ack: Duration,
    /// Over how long clients are told to come back when the server stops.
    pub drain_window: Duration,
    /// How long a full transfer may keep others waiting.
    pub transfer_hold: Duration,
    /// About when SSE clients come back after a lost stream.
    pub retry: Duration,
}

/// What all subscriptions of a server share.
#[derive(Debug)]
pub struct Subscriptions {
    /// Who calls, and what it sees.
    pub door: Door,
    /// How streams are kept.
    pub limits: Arc<StreamLimits>,
    /// Who is let in.
    pub admission: Arc<Admission>,
    /// What is made once for many.
    pub shelves: Arc<Shelves>,
    /// Who waits for receipts.
    pub waiters: Waiters,
    /// What is counted.
    pub metrics: StreamMetrics,
    /// Cancelled when the server begins to stop.
    pub draining: CancellationToken,
    /// Where streams are counted.
    pub tasks: TaskTracker,
}

/// Why a stream ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The server stops.
    Draining,
    /// The token does not count any more.
    TokenRevoked,
    /// The environment is there no more.
    EnvironmentGone,
    /// The client took nothing for too long.
    TooSlow,
    /// The client did not acknowledge in time.
    AckOverdue,
    /// Another stream of the same client took its place.
    Replaced,
    /// The client left, or its stream is lost.
    Gone,
    /// The client does not keep to the protocol.
    Fault(ProtocolFault),
    /// The client said something that cannot be read.
    Unreadable(String),
    /// The client did not introduce itself in time.
    Silent,
    /// The client may not subscribe to what it asked for.
    Refused(Problem),
}

impl End {
    /// What the last message says.
    pub fn reason(&self) -> GoodbyeReason {
        match self {
            Self::Draining => GoodbyeReason::Draining,
            Self::TokenRevoked => GoodbyeReason::TokenRevoked,
            Self::EnvironmentGone => GoodbyeReason::EnvironmentGone,
            Self::TooSlow => GoodbyeReason::TooSlow,
            Self::AckOverdue => GoodbyeReason::AckOverdue,
            Self::Replaced => GoodbyeReason::Replaced,
            Self::Gone | Self::Silent | Self::Fault(_) | Self::Unreadable(_) | Self::Refused(_) => {
                GoodbyeReason::Unspecified
            }
        }
    }

    /// The stable identifier of what went wrong, as `Error.code` says it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Fault(fault) => match fault {
                ProtocolFault::HelloExpected => "hello-expected",
                ProtocolFault::HelloRepeated => "hello-repeated",
                ProtocolFault::HelloField(_) => "hello-field",
                ProtocolFault::AckTooEarly => "ack-too-early",
                ProtocolFault::ResyncLoop => "resync-loop",
                ProtocolFault::TooLong => "too-long",
            },
            Self::Unreadable(_) => "unreadable",
            Self::Silent => "hello-expected",
            Self::Refused(problem) => problem.code(),
            other => other.reason().as_str(),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Draining => f.write_str("the server is stopping"),
            Self::TokenRevoked => f.write_str("the token was revoked or has expired"),
            Self::EnvironmentGone => f.write_str("the environment is gone"),
            Self::TooSlow => f.write_str("the client does not read"),
            Self::AckOverdue => f.write_str("an acknowledgement is overdue"),
            Self::Replaced => f.write_str("another stream of the same client took this one's place"),
            Self::Gone => f.write_str("the client is gone"),
            Self::Fault(fault) => write!(f, "{}: {fault}", self.code()),
            Self::Unreadable(detail) => f.write_str(detail),
            Self::Silent => f.write_str("the first message did not come"),
            Self::Refused(problem) => f.write_str(&problem.detail()),
        }
    }
}

/// Who subscribes to what.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// The token, where one was presented.
    pub principal: Option<Principal>,
    /// What it sees.
    pub snapshot: Arc<Snapshot>,
    /// The route by which it came, as the policy table has it.
    pub route: (&'static str, &'static str),
}
