//! `SyncFlags`: the whole payload at once, and again whenever it is another one. It never ends with OK, since clients
//! take that for a stream that goes on.
//!
//! There is no queue: a client that reads slowly skips to the newest state.

use std::sync::Arc;

use connectrpc::{CodecFormat, ConnectError, EncodedBody, EncodedStream, RequestContext};
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::message::{self, Answer};
use super::{SYNC_FLAGS, Shared, selector_of};
use crate::access::token::{Principal, Tokens};
use crate::serve::flagd::driven::{self, Step, gone};
use crate::serve::flagd::fault;
use crate::serve::flagd::judged::admitted;
use crate::serve::metrics::Open;
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
    Ok(shared.sync.drive.start(follower))
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

impl driven::Follower for Follower {
    async fn next(mut self) -> Step<Self> {
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
}

impl Follower {
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
