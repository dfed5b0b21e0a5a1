//! OFREP's change notification (ADR-0008): a stream of server-sent events that say "ask again", never what changed.
//!
//! Bulk answers name the stream; a client that holds it open asks again when a flag that it sees may answer differently.
//! A stream costs a task and two events of buffer, holds on to no snapshot but the present one, and ends when the server
//! drains, when its token or its environment goes, or when its reader takes nothing. Clients that reconnect do not ask
//! by themselves, so a stream begins with an event where its client may have missed one. Time passing is no change: a
//! rule that asks for the time is seen at the next question.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus_client::metrics::gauge::Gauge;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::answer;
use super::{Ofrep, REVISION, refuse, ticket};
use crate::access::policy::{self, Plane};
use crate::access::token::{Principal, TokenInfo};
use crate::flag::key::{EnvironmentName, FlagSetName};
use crate::flag::time::Timestamp;
use crate::serve::door::{Admitted, Door};
use crate::serve::http::caller::{permit, presented};
use crate::serve::http::problem::{Missing, Problem};
use crate::serve::metrics::Open;
use crate::serve::selection::Selector;
use crate::snapshot::{Snapshot, changes};

/// The stream of everything that a caller sees.
pub const PATH: &str = "/ofrep/v1/sse";
/// The stream of what a selector selects.
pub const SELECTED_PATH: &str = "/ofrep/v1/sse/{selector}";
/// What may stand in a path as it is (RFC 3986, unreserved).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx passes a stream on as it comes only where it is told so.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Events that wait for the transport.
const BUFFER: usize = 2;
/// A client that does not say what it heard last is told of a change this young, in microseconds: its bulk answer may
/// be older, and the change would fall between the two.
const RECENT: i64 = 60_000_000;

/// How streams are kept and named.
#[derive(Debug, Clone)]
pub struct EventSettings {
    /// Where clients find this server, as far as it is not where they send their evaluations.
    pub public_url: Option<String>,
    /// How long a page may be in the background before its client closes the stream.
    pub inactivity: Duration,
    /// Between two signs of life on a quiet stream.
    pub keep_alive: Duration,
    /// How long a client may read nothing.
    pub stall: Duration,
}

/// The change streams of a server.
#[derive(Debug, Clone)]
pub struct Events {
    settings: EventSettings,
    draining: CancellationToken,
    tasks: TaskTracker,
    open: Gauge,
    begun: Arc<AtomicU64>,
}

impl Events {
    /// `draining` ends the streams, `tasks` counts them, `open` shows how many there are.
    pub fn new(settings: EventSettings, draining: CancellationToken, tasks: TaskTracker, open: Gauge) -> Self {
        Self { settings, draining, tasks, open, begun: Arc::default() }
    }

    /// The value of `eventStreams` in a bulk answer. The same for a while, so that equal answers have equal tags.
    pub fn advertise(
        &self,
        environment: &EnvironmentName,
        selector: Selector<'_>,
        token: Option<&TokenInfo>,
        now: Timestamp,
    ) -> String {
        let mut uri = PATH.to_owned();
        let selected = selector.canonical();
        if !selected.is_empty() {
            uri.push('/');
            uri.extend(utf8_percent_encode(&selected, ESCAPED));
        }
        if let Some(token) = token {
            uri.push_str("?ticket=");
            uri.push_str(&ticket::issue(token, environment, &selected, now));
        }
        let inactivity = self.settings.inactivity.as_secs().max(1);
        let stream = match &self.settings.public_url {
            Some(base) => {
                let url = format!("{}{uri}", base.trim_end_matches('/'));
                json!([{"type": "sse", "url": url, "inactivityDelaySec": inactivity}])
            }
            None => json!([{"type": "sse", "endpoint": {"requestUri": uri}, "inactivityDelaySec": inactivity}]),
        };
        stream.to_string()
    }

    /// When a client should come back after the stream ended: spread, so that a restart does not bring all at once.
    fn retry(&self) -> Duration {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        Duration::from_millis(1000 + number.wrapping_mul(617) % 2000)
    }
}

/// Opens a stream.
pub async fn subscribe(
    State(ofrep): State<Ofrep>,
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let Some(events) = ofrep.events.clone() else {
        return Problem::NotFound(Missing::Route, String::new()).into_response();
    };
    let Ok(params) = params else {
        return refuse(
            None,
            Problem::BadRequest("the selector is not UTF-8 once its percent signs are decoded".into()),
        );
    };
    let (parts, _) = request.into_parts();
    let named = params.iter().next().map(|(_, selector)| selector);
    let route = ("GET", if named.is_some() { SELECTED_PATH } else { PATH });
    let selector = named.map_or_else(|| Selector::of(&parts.headers), |text| Selector::parse(Some(text)));
    let selected = match selector {
        Ok(selector) => selector.canonical(),
        Err(fault) => return refuse(None, Problem::BadRequest(format!("invalid selector: {fault}").into())),
    };
    match enter(&ofrep.door, &parts, &selected, route) {
        Ok(admitted) => open(events, ofrep.door, &parts, (selected, route), admitted),
        Err(problem) => refuse(None, problem),
    }
}

/// Who opens the stream: by a token in the headers like everywhere, else by a ticket in the URL.
fn enter(door: &Door, parts: &Parts, selected: &str, route: (&str, &str)) -> Result<Admitted, Problem> {
    let query = parts.uri.query();
    let ticket = query.unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("ticket="));
    match (presented(&parts.headers, query)?, ticket) {
        (None, Some(ticket)) => {
            let (now, tokens) = (door.gate.clock.now(), door.gate.hub.tokens());
            let holder = ticket::holder(ticket, &tokens, &door.default_environment, selected, now);
            let principal = holder.map_err(|fault| {
                debug!(%fault, "ticket refused");
                Problem::Unauthenticated { presented: true }
            })?;
            door.admit_as(Some(principal), route, now)
        }
        _ => door.admit(&parts.headers, query, route),
    }
}

fn open(
    events: Events,
    door: Door,
    parts: &Parts,
    (selected, route): (String, (&'static str, &'static str)),
    admitted: Admitted,
) -> Response {
    let Admitted { principal, snapshot, now } = admitted;
    let Some(snapshots) = door.gate.hub.subscribe(&snapshot.environment) else {
        return refuse(None, Problem::Unavailable { detail: "the environment is gone".into(), retry_after: 1 });
    };
    let heard = parts.headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let (out, answers) = mpsc::channel(BUFFER);
    let mut stream = Stream { settings: events.settings.clone(), door, principal, route, selected, snapshots, out };
    let seen = stream.snapshots.borrow_and_update().clone();
    let missed = match heard {
        Some(heard) => heard != answer::State::of(&seen).to_string(),
        None => now.micros().saturating_sub(seen.published_at.micros()) < RECENT,
    };
    let greeting = Event::default().comment("ok").retry(events.retry()).id(answer::State::of(&seen).to_string());
    let (draining, open) = (events.draining, Open::new(&events.open));
    events.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = draining.cancelled() => {}
            () = stream.drive(seen, greeting, missed) => {}
        }
        drop(open);
    });
    let mut response = Sse::new(ReceiverStream::new(answers)).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    headers.insert(REVISION, HeaderValue::from(snapshot.revision.0));
    response
}

/// One open stream.
struct Stream {
    settings: EventSettings,
    door: Door,
    principal: Option<Principal>,
    route: (&'static str, &'static str),
    selected: String,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    out: mpsc::Sender<Result<Event, Infallible>>,
}

impl Stream {
    /// Drives the stream to its end. What is to be sent waits for room beside everything else; several changes that
    /// wait for the same room are one event.
    async fn drive(&mut self, mut seen: Arc<Snapshot>, greeting: Event, mut refetch: bool) {
        let mut tokens = self.door.gate.hub.follow_tokens();
        let every = self.settings.keep_alive;
        let mut tick = interval_at(Instant::now() + every, every);
        let mut comment = false;
        let mut waiting = Instant::now();
        // What was taken back between the door and here is heard of now.
        if !self.may_go_on(&seen) || self.out.send(Ok(greeting)).await.is_err() {
            return;
        }
        let out = self.out.clone();
        loop {
            let was_ready = refetch || comment;
            tokio::select! {
                biased;
                () = out.closed() => return,
                changed = tokens.changed() => {
                    if changed.is_err() || !self.may_go_on(&seen) {
                        return;
                    }
                }
                changed = self.snapshots.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let after = self.snapshots.borrow_and_update().clone();
                    refetch |= touches(&self.selected, &seen, &after);
                    seen = after;
                    if !self.may_go_on(&seen) {
                        return;
                    }
                }
                // A token's time may be over without anybody saying so.
                _ = tick.tick() => match self.may_go_on(&seen) {
                    true => comment = true,
                    false => return,
                },
                room = timeout_at(waiting + self.settings.stall, out.reserve()), if was_ready => {
                    let Ok(Ok(room)) = room else { return };
                    let event = if refetch { refetch_event(&seen) } else { Event::default().comment("still here") };
                    (refetch, comment) = (false, false);
                    tick.reset();
                    room.send(Ok(event));
                }
            }
            if !was_ready {
                waiting = Instant::now();
            }
        }
    }

    /// True where whoever opened the stream still may.
    fn may_go_on(&self, snapshot: &Snapshot) -> bool {
        let principal = match &self.principal {
            None => None,
            Some(principal) => match self.door.gate.hub.tokens().holder(principal.id, self.door.gate.clock.now()) {
                Ok(principal) => Some(principal),
                Err(_) => return false,
            },
        };
        let Some(row) = policy::find(Plane::Data, self.route.0, self.route.1) else { return false };
        permit(principal.as_ref(), row, Some(&snapshot.environment), snapshot.data_plane_auth).is_ok()
    }
}

fn refetch_event(snapshot: &Snapshot) -> Event {
    let state = answer::State::of(snapshot).to_string();
    let (modified, r#type) = (snapshot.published_at.seconds(), "refetchEvaluation");
    let data = json!({"type": r#type, "etag": state, "lastModified": modified}).to_string();
    Event::default().id(state).event("message").data(data)
}

/// True where a flag that the selector selects may answer differently in `after`.
fn touches(selected: &str, before: &Snapshot, after: &Snapshot) -> bool {
    // It was read before, so it can be read now.
    let selector = Selector::parse(Some(selected)).unwrap_or(Selector::Everything);
    let Some(changed) = changes::between(before, after) else { return true };
    changed.iter().any(|(id, _)| match selector {
        Selector::Everything => true,
        Selector::FlagSet(name) => id.flag_set.as_ref().map(FlagSetName::as_str) == name,
        Selector::Source(source) => [before, after].iter().any(|snapshot| {
            snapshot.set.get(id).is_some_and(|flag| flag.definition().source.as_deref() == Some(source))
        }),
    })
}
