//! `EventStream`: ready at once, then what changed, and a sign of life where nothing does. It never ends with OK, since
//! clients take that for a stream that goes on.
//!
//! It keeps the snapshot that it told last and one timer, and no queue: a client that reads slowly is told the difference
//! to the newest when it comes back.

use std::collections::VecDeque;
use std::sync::Arc;

use connectrpc::{CodecFormat, ConnectError, EncodedBody, EncodedStream, RequestContext};
use hyper::body::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::method::Method;
use super::{Shared, changes, encode, question};
use crate::access::token::{Principal, Tokens};
use crate::flag::time::Generation;
use crate::serve::flagd::driven::{self, Step, gone};
use crate::serve::flagd::fault;
use crate::serve::flagd::judged::admitted;
use crate::serve::metrics::Open;
use crate::serve::selection::{SELECTOR, Selector};
use crate::snapshot::Snapshot;

/// A client that lost its stream comes back within seconds, and some keep what they cached meanwhile: a kill of the last
/// minute is told to every new stream. An edit is not, since clients of flagd take no event for granted there.
const AWAY_MAX_MICROS: i64 = 60_000_000;

/// Opens a stream.
///
/// # Errors
/// Whoever may not, a wrong selector, a request that is none.
pub fn open(
    shared: &Arc<Shared>,
    method: Method,
    context: &RequestContext,
    request: &[u8],
    format: CodecFormat,
) -> Result<EncodedStream, ConnectError> {
    let (door, headers) = (&shared.flagd.door, context.headers());
    let admitted = admitted(context)?;
    let selector = Selector::of(headers).map_err(|fault| ConnectError::invalid_argument(fault.to_string()))?;
    question::read_empty(request, format, context.decode_options())?;
    let environment = &admitted.snapshot.environment;
    let tokens = door.gate.hub.follow_tokens();
    let snapshots = door.gate.hub.subscribe(environment).ok_or_else(gone)?;
    let told = Arc::clone(&snapshots.borrow());
    let mut waiting = VecDeque::from([encode::event("provider_ready", None, format)?]);
    let away = Generation(admitted.now.micros().saturating_sub(AWAY_MAX_MICROS).try_into().unwrap_or(0));
    waiting.extend(changes::missed(&told, away, selector, format)?);
    let now = Instant::now();
    let follower = Follower {
        principal: admitted.principal.clone(),
        route: method.route,
        selector: headers.get(SELECTOR).and_then(|value| value.to_str().ok()).map(Box::from),
        format,
        told,
        snapshots,
        tokens,
        waiting,
        quiet_until: now + shared.flagd.settings.keep_alive,
        ends: shared.flagd.settings.stream_deadline.and_then(|time| now.checked_add(time)),
        ending: None,
        _open: Open::new(&shared.flagd.streams),
        shared: Arc::clone(shared),
    };
    Ok(shared.flagd.drive.start(follower))
}

/// One stream between two messages.
struct Follower {
    shared: Arc<Shared>,
    principal: Option<Principal>,
    route: &'static str,
    selector: Option<Box<str>>,
    format: CodecFormat,
    /// The snapshot that the client knows of.
    told: Arc<Snapshot>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    tokens: watch::Receiver<Arc<Tokens>>,
    /// Messages of one change that have not been taken yet.
    waiting: VecDeque<Bytes>,
    quiet_until: Instant,
    ends: Option<Instant>,
    /// What the stream ends with after the message that was taken last.
    ending: Option<ConnectError>,
    _open: Open,
}

impl driven::Follower for Follower {
    async fn next(mut self) -> Step<Self> {
        if let Some(error) = self.ending.take() {
            return Err(error);
        }
        if let Some(message) = self.waiting.pop_front() {
            return Ok((EncodedBody::from(message), self));
        }
        let draining = self.shared.flagd.draining.clone();
        let alarm = self.ends.map_or(self.quiet_until, |ends| ends.min(self.quiet_until));
        let mut alarm = std::pin::pin!(sleep_until(alarm));
        loop {
            tokio::select! {
                biased;
                () = draining.cancelled() => {
                    self.ending = Some(ConnectError::unavailable("the server is stopping"));
                    return self.say("provider_shutdown");
                }
                changed = self.tokens.changed() => {
                    changed.map_err(|_| gone())?;
                    self.still_welcome()?;
                }
                changed = self.snapshots.changed() => {
                    changed.map_err(|_| gone())?;
                    if let Some(message) = self.look()? {
                        return Ok((EncodedBody::from(message), self));
                    }
                }
                () = alarm.as_mut() => {
                    self.still_welcome()?;
                    if self.ends.is_some_and(|ends| ends <= Instant::now()) {
                        return Err(ConnectError::deadline_exceeded("stream closed due to server-side timeout"));
                    }
                    return self.say("keep_alive");
                }
            }
        }
    }
}

impl Follower {
    /// The first message about a new snapshot; none where nothing differs for this stream.
    fn look(&mut self) -> Result<Option<Bytes>, ConnectError> {
        let now = Arc::clone(&self.snapshots.borrow_and_update());
        let before = std::mem::replace(&mut self.told, now);
        self.still_welcome()?;
        let changes = &self.shared.changes;
        let messages = changes.messages(&before, &self.told, self.selector.as_deref(), self.format)?;
        self.waiting.extend(messages.iter().cloned());
        let first = self.waiting.pop_front();
        if first.is_some() {
            self.quiet_until = Instant::now() + self.shared.flagd.settings.keep_alive;
        }
        Ok(first)
    }

    fn say(mut self, kind: &str) -> Step<Self> {
        self.quiet_until = Instant::now() + self.shared.flagd.settings.keep_alive;
        Ok((EncodedBody::from(encode::event(kind, None, self.format)?), self))
    }

    /// Its token may have been revoked or have expired, or the environment may ask for one now.
    fn still_welcome(&self) -> Result<(), ConnectError> {
        let door = &self.shared.flagd.door;
        let readmitted = door.readmit(self.principal.as_ref(), &self.told, ("POST", self.route));
        readmitted.map_err(|problem| fault::refused(&problem))
    }
}
