//! `SyncFlags`: the whole payload at once, and again whenever it is another one. It never ends with OK, since clients
//! take that for a stream that goes on.
//!
//! A stream is driven by its connection: no task and no queue. A client that reads slowly skips to the newest state.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use connectrpc::{CodecFormat, ConnectError, EncodedBody, EncodedStream, RequestContext};
use hyper::body::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_stream::Stream;
use tokio_util::sync::ReusableBoxFuture;

use super::message::{self, Answer};
use super::{SYNC_FLAGS, Shared, admitted, selector_of};
use crate::access::token::{Principal, Tokens};
use crate::serve::flagd::fault;
use crate::serve::http::problem::{Missing, Problem};
use crate::snapshot::Snapshot;

/// How often a stream asks whether its token has expired meanwhile; a revoked one ends it at once.
const LOOK: std::time::Duration = std::time::Duration::from_secs(15);

/// Opens a stream.
///
/// # Errors
/// Whoever may not, a wrong selector, a request that is none.
pub(super) fn open(
    shared: &Arc<Shared>,
    context: &RequestContext,
    request: &[u8],
    format: CodecFormat,
) -> Result<EncodedStream, ConnectError> {
    let admitted = admitted(context)?;
    let field = message::selector(request, format, context.decode_options())?;
    let hub = &shared.sync.door.gate.hub;
    let tokens = hub.follow_tokens();
    let snapshots = hub.subscribe(&admitted.snapshot.environment).ok_or_else(gone)?;
    let now = Instant::now();
    let follower = Follower {
        principal: admitted.principal.clone(),
        selector: selector_of(context, &field)?,
        format,
        snapshots,
        tokens,
        sent: None,
        ends: shared.sync.settings.stream_deadline.and_then(|time| now.checked_add(time)),
        _open: Open::new(&shared.sync.metrics.streams),
        shared: Arc::clone(shared),
    };
    Ok(Box::pin(Messages { next: ReusableBoxFuture::new(follower.next()), over: false }))
}

/// One stream between two messages.
struct Follower {
    shared: Arc<Shared>,
    principal: Option<Principal>,
    selector: String,
    format: CodecFormat,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    tokens: watch::Receiver<Arc<Tokens>>,
    /// The document that was sent last.
    sent: Option<Bytes>,
    ends: Option<Instant>,
    _open: Open,
}

/// What a stream does next: a message and how it goes on, or its end.
type Step = Result<(EncodedBody, Follower), ConnectError>;

impl Follower {
    async fn next(mut self) -> Step {
        let draining = self.shared.sync.draining.clone();
        if self.sent.is_none()
            && let Some(message) = self.look().await?
        {
            return Ok((message, self));
        }
        loop {
            let look = Instant::now() + LOOK;
            let alarm = self.ends.map_or(look, |ends| ends.min(look));
            tokio::select! {
                biased;
                () = draining.cancelled() => return Err(ConnectError::unavailable("the server is stopping")),
                changed = self.tokens.changed() => {
                    changed.map_err(|_| gone())?;
                    self.still_welcome()?;
                }
                changed = self.snapshots.changed() => {
                    changed.map_err(|_| gone())?;
                    if let Some(message) = self.look().await? {
                        return Ok((message, self));
                    }
                }
                () = sleep_until(alarm) => {
                    self.still_welcome()?;
                    if self.ends.is_some_and(|ends| ends <= Instant::now()) {
                        return Err(ConnectError::deadline_exceeded("stream closed due to server-side timeout"));
                    }
                }
            }
        }
    }

    /// The newest payload, where it is another one than the client has.
    async fn look(&mut self) -> Result<Option<EncodedBody>, ConnectError> {
        self.still_welcome()?;
        let environment = self.snapshots.borrow_and_update().environment.clone();
        let payload = self.shared.payload(&environment, &self.selector).await?;
        if self.sent.as_ref().is_some_and(|sent| *sent == payload.body) {
            return Ok(None);
        }
        let message = message::encode(Answer::Streamed, &payload, &self.shared.context, self.format)?;
        self.sent = Some(payload.body);
        Ok(Some(message))
    }

    /// Its token may have been revoked or have expired, or the environment may ask for one now.
    fn still_welcome(&self) -> Result<(), ConnectError> {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let readmitted = self.shared.sync.door.readmit(self.principal.as_ref(), &snapshot, ("POST", SYNC_FLAGS));
        readmitted.map_err(|problem| fault::refused(&problem))
    }
}

fn gone() -> ConnectError {
    fault::refused(&Problem::NotFound(Missing::Environment, "the environment".to_owned()))
}

/// Counts a stream for as long as it lives.
struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The follower as a stream.
struct Messages {
    next: ReusableBoxFuture<'static, Step>,
    over: bool,
}

impl Stream for Messages {
    type Item = Result<EncodedBody, ConnectError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match ready!(self.next.poll(cx)) {
            Ok((message, follower)) => {
                self.next.set(follower.next());
                Ok(message)
            }
            Err(error) => {
                self.over = true;
                Err(error)
            }
        }))
    }
}
