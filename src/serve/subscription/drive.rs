//! The driver of one subscription: it moves messages, keeps deadlines and ends the stream; what to send next is decided
//! in `sync::server`.
//!
//! A stream costs a task, two messages of buffer and a few integers. It is driven by its own task and not by its
//! connection, since a peer that reads nothing keeps its connection from asking. One timer serves every deadline.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::admission::Ticket;
use super::frame::{Frame, Inbound, Piece, Wire};
use super::outbox::Outbox;
use super::shelf::{Reach, Shelf, Shelved};
use super::{End, Entrance, Subscriptions};
use crate::access::token::{Principal, Tokens, hex};
use crate::serve::metrics::Open;
use crate::snapshot::Snapshot;
use crate::snapshot::roster::{Seat, Who};
use crate::sync::message::{ClientMessage, Hello, Lane, Resume, ServerBody, ServerMessage};
use crate::sync::outgoing::Outgoing;
use crate::sync::server::{Event, Pace, ServerSession};
use crate::sync::transfer::Part;

/// Below this many streams a stopping server says goodbye to all at once.
const SPREAD_FROM: usize = 100;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Turn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// One subscription.
pub struct Driver<W, I> {
    shared: Arc<Subscriptions>,
    /// Who subscribed, if it said so, and by which route: it is judged again and again.
    principal: Option<Principal>,
    route: (&'static str, &'static str),
    snapshots: watch::Receiver<Arc<Snapshot>>,
    tokens: watch::Receiver<Arc<Tokens>>,
    session: ServerSession,
    seat: Seat,
    shelf: Arc<Shelf>,
    taken: Option<Arc<Shelved>>,
    /// The turn to send everything, and until when others wait for it.
    permit: Option<(OwnedSemaphorePermit, Instant)>,
    turn: Option<Turn>,
    inbound: I,
    listening: bool,
    out: Outbox,
    wire: W,
    times: Times,
    spread: u64,
    _ticket: Ticket,
    _open: Open,
}

impl<W, I> fmt::Debug for Driver<W, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("session", &self.session).finish_non_exhaustive()
    }
}

/// When what is due.
#[derive(Debug)]
struct Times {
    began: Instant,
    every: Duration,
    /// The next look at deadlines, and sign of life.
    tick: Instant,
    /// Something waits for room since then.
    waiting: Option<Instant>,
    /// The server stops, and this stream's turn to go comes then.
    leave: Option<Instant>,
    /// No transfer begins before then: a kill has the streams for itself.
    held: Option<Instant>,
    /// A sign of life is to be sent when there is room.
    bookmark: bool,
}

/// What ended a wait.
enum Woke {
    Draining,
    Replaced,
    Tokens,
    Timer,
    Closed,
    Said(Result<Option<ClientMessage>, End>),
    Published(bool),
    Room,
    Turn(Option<OwnedSemaphorePermit>),
}

impl<W: Wire, I: Inbound> Driver<W, I> {
    /// Takes in a client that has introduced itself.
    ///
    /// # Errors
    /// The environment is gone, or Hello is not as it should be; with the outbox, to say so.
    pub fn open(
        shared: Arc<Subscriptions>,
        (hello, entrance): (Hello, Entrance),
        (inbound, out): (I, Outbox),
        (wire, ticket): (W, Ticket),
    ) -> Result<Self, (End, Outbox)> {
        let environment = &entrance.snapshot.environment;
        let hub = &shared.door.gate.hub;
        let (Some(snapshots), Some(roster)) = (hub.subscribe(environment), hub.roster(environment)) else {
            return Err((End::EnvironmentGone, out));
        };
        let mut session = ServerSession::new(Arc::from(environment.as_str()));
        let view = snapshots.borrow().view.clone();
        let who = Who {
            instance_id: hello.instance_id.clone(),
            name: hello.name.clone(),
            sdk: format!("{} {}", hello.sdk, hello.sdk_version).trim().to_owned(),
            labels: hello.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
            surface: W::SURFACE,
            acks: hello.acks,
        };
        let spread = xxhash_rust::xxh3::xxh3_64(hello.instance_id.as_bytes());
        if let Err(fault) = session.on_message(ClientMessage::Hello(Box::new(hello)), &view) {
            return Err((End::Fault(fault), out));
        }
        let now = Instant::now();
        // Between 0.8 and 1.2 of the interval, so that streams that began together do not tick together.
        let every = shared.limits.bookmark.mul_f64(0.8 + 0.4 * (spread % 1_000) as f64 / 1_000.0);
        let times = Times {
            began: now,
            every,
            tick: now + every,
            waiting: Some(now),
            leave: None,
            held: None,
            bookmark: false,
        };
        Ok(Self {
            tokens: hub.follow_tokens(),
            seat: roster.enter(who),
            shelf: shared.shelves.of(environment),
            _open: Open::new(&shared.metrics.open(W::SURFACE)),
            taken: None,
            permit: None,
            turn: None,
            listening: true,
            _ticket: ticket,
            shared,
            // Not the snapshot: it would be kept as long as the stream.
            principal: entrance.principal,
            route: entrance.route,
            snapshots,
            session,
            inbound,
            out,
            wire,
            times,
            spread,
        })
    }

    /// Drives the stream to its end.
    pub async fn run(mut self) {
        let opening = self.wire.opening(self.shelf.environment());
        if let Some(frame) = opening {
            // There is room: nothing was sent yet.
            drop(self.out.put(Piece::Frame(frame)));
        }
        let end = self.drive().await;
        self.shared.metrics.ended(end.reason());
        tracing::debug!(%end, instance = %self.seat.instance(), "a subscription ended");
        let window = u64::try_from(self.shared.limits.drain_window.as_millis()).unwrap_or(10_000).max(1);
        let after = u32::try_from(self.spread.rotate_left(32) % window).unwrap_or(0);
        let error = match &end {
            End::Fault(_) | End::Unreadable(_) => {
                let body = ServerBody::Error { code: end.code().to_owned(), message: end.to_string() };
                W::message(&ServerMessage { nonce: 0, body }, None)
            }
            _ => None,
        };
        let goodbye = W::message(&ServerSession::goodbye(end.reason(), after), None);
        let Self { out, seat, permit, turn, inbound, _ticket: ticket, _open: open, .. } = self;
        // What holds a place is given back before anybody waits for a client to listen.
        drop((seat, permit, turn, ticket, open, inbound));
        let words = error.into_iter().chain(goodbye).map(Piece::Frame);
        let pieces = words.chain([Piece::End(Box::new(end))]);
        let last_words = async {
            for piece in pieces {
                out.send(piece).await;
            }
        };
        // The stream may be gone already; there is nobody to tell then.
        drop(timeout(LAST_WORDS, last_words).await);
    }

    async fn drive(&mut self) -> End {
        let mut timer = pin!(sleep_until(self.times.tick));
        loop {
            if self.times.waiting.is_some() {
                self.pump();
            }
            let due = self.due();
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            let woke = self.woken(timer.as_mut()).await;
            if let Err(end) = self.act(woke) {
                return end;
            }
        }
    }

    /// Waits until there is something to do. What is to be sent waits for room beside everything else, so that a
    /// client which reads slowly is still heard: its receipt for one kill set is what lets the next one pass a long
    /// transfer.
    async fn woken(&mut self, timer: Pin<&mut Sleep>) -> Woke {
        let waits = self.times.waiting.is_some();
        let turn = async |turn: &mut Option<Turn>| match turn {
            Some(turn) => turn.as_mut().await,
            None => std::future::pending().await,
        };
        tokio::select! {
            biased;
            () = self.shared.draining.cancelled(), if self.times.leave.is_none() => Woke::Draining,
            () = self.seat.replaced.cancelled() => Woke::Replaced,
            _ = self.tokens.changed() => Woke::Tokens,
            () = timer => Woke::Timer,
            said = self.inbound.next(), if self.listening => Woke::Said(said),
            changed = self.snapshots.changed() => Woke::Published(changed.is_ok()),
            permit = turn(&mut self.turn), if self.turn.is_some() => Woke::Turn(permit),
            room = self.out.room(waits) => if room.is_ok() { Woke::Room } else { Woke::Closed },
        }
    }

    fn act(&mut self, woke: Woke) -> Result<(), End> {
        match woke {
            Woke::Draining => self.times.leave = Some(self.leaves_at()),
            Woke::Replaced => return Err(End::Replaced),
            Woke::Closed => return Err(End::Gone),
            Woke::Tokens => {
                self.tokens.borrow_and_update();
                self.judge()?;
            }
            Woke::Timer => self.timers()?,
            Woke::Said(said) => self.hear(said?)?,
            Woke::Published(true) => self.wants_room(),
            Woke::Published(false) => return Err(End::EnvironmentGone),
            Woke::Room => {}
            Woke::Turn(permit) => {
                self.turn = None;
                let until = Instant::now() + self.shared.limits.transfer_hold;
                self.permit = permit.map(|permit| (permit, until));
                self.wants_room();
            }
        }
        Ok(())
    }

    /// Sends as much as there is room for, of the newest state.
    fn pump(&mut self) {
        // Not the guard: nobody who publishes waits for a chunk to be filled.
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        let now = self.elapsed_ms();
        let connected = || self.shared.door.gate.hub.roster(&snapshot.environment).map_or(0, |all| all.connected());
        self.times.held = self.shelf.held_until(snapshot.view.kill_list(), connected);
        while self.out.has_room() {
            self.times.waiting = Some(Instant::now());
            match self.next(&snapshot, now) {
                // There is room; where nobody reads any more, the wait that follows says so.
                Some(Some(frame)) => drop(self.out.put(Piece::Frame(frame))),
                // Nothing that this protocol says by itself.
                Some(None) => {}
                None => {
                    self.times.waiting = None;
                    break;
                }
            }
        }
        self.queue_for_a_turn();
        for event in self.session.events() {
            self.note(event);
        }
    }

    /// What to send next; a bookmark, where one is due, when there is nothing else.
    fn next(&mut self, snapshot: &Snapshot, now: u64) -> Option<Option<Frame>> {
        let mut reach = Reach { shelf: &self.shelf, taken: &mut self.taken };
        let pace = match (self.times.held, &self.permit) {
            (Some(_), _) => Pace::None,
            (None, None) => Pace::Deltas,
            (None, Some(_)) => Pace::All,
        };
        let step = self.session.step(&snapshot.view, now, &mut reach, pace);
        if let Some(outgoing) = step {
            return Some(self.frame(&outgoing));
        }
        std::mem::take(&mut self.times.bookmark).then(|| {
            let bookmark = ServerSession::bookmark(&snapshot.view, self.shared.door.gate.clock.now());
            let at = self.session.place().filter(|at| at.revision == snapshot.view.revision());
            W::message(&bookmark, at.as_ref().map(resume_text).as_deref())
        })
    }

    fn frame(&self, outgoing: &Outgoing) -> Option<Frame> {
        match outgoing {
            Outgoing::Kills { nonce, epoch, list, part } => {
                W::kills_frame(*nonce, &self.shelf.kills::<W>(*epoch, list, *part), *part + 1 == list.parts())
            }
            Outgoing::Transfer { nonce, part: Part::Chunk(at), .. } => {
                let shared = self.taken.as_ref().and_then(|taken| taken.chunk::<W>(*at))?;
                Some(W::chunk_frame(*nonce, shared))
            }
            Outgoing::Transfer { plan, part: Part::Commit, .. } => {
                let commit = plan.commit();
                let id = resume_text(&Resume {
                    epoch: commit.epoch,
                    revision: commit.revision,
                    digest: commit.digest,
                    kill_generation: self.session.kills_sent(),
                });
                W::message(&outgoing.message(self.shelf.environment())?, Some(&id))
            }
            Outgoing::Transfer { .. } | Outgoing::Pong(_) => {
                W::message(&outgoing.message(self.shelf.environment())?, None)
            }
        }
    }

    /// Asks for a turn to send everything where one is needed, and gives it back when everything was sent.
    fn queue_for_a_turn(&mut self) {
        if self.session.waits_to_fill() && self.permit.is_none() && self.turn.is_none() {
            self.turn = Some(Box::pin(Arc::clone(&self.shared.admission).transfer()));
        }
        let held = self.times.held.is_some();
        if self.permit.is_some() && !held && !self.session.is_transferring() && !self.session.waits_to_fill() {
            self.permit = None;
        }
        if !self.session.is_transferring() {
            self.taken = None;
        }
    }

    /// When the timer is to ring.
    fn due(&self) -> Instant {
        let stalled = self.times.waiting.map(|since| since + self.shared.limits.stall);
        let held = self.permit.as_ref().map(|(_, until)| *until);
        let others = [stalled, held, self.times.leave, self.times.held];
        others.into_iter().flatten().fold(self.times.tick, Instant::min)
    }

    fn timers(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.times.leave.is_some_and(|leave| leave <= now) {
            return Err(End::Draining);
        }
        if self.times.waiting.is_some_and(|since| since + self.shared.limits.stall <= now) {
            return Err(End::TooSlow);
        }
        if self.permit.as_ref().is_some_and(|(_, until)| *until <= now) {
            // It reads slowly. It goes on, or asks for another turn; others do not wait for it any longer.
            self.permit = None;
        }
        if self.times.held.is_some_and(|held| held <= now) {
            self.times.held = None;
            self.wants_room();
        }
        if self.times.tick <= now {
            self.times.tick = now + self.times.every;
            self.judge()?;
            self.overdue()?;
            self.shelf.tidy();
            self.session.nudge();
            self.times.bookmark = true;
            self.wants_room();
        }
        Ok(())
    }

    /// Whether the client may still be here.
    fn judge(&self) -> Result<(), End> {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        self.shared.door.readmit(self.principal.as_ref(), &snapshot, self.route).map_err(|_| End::TokenRevoked)
    }

    /// Whether it acknowledges.
    fn overdue(&self) -> Result<(), End> {
        let (now, limits) = (self.elapsed_ms(), &self.shared.limits);
        for (lane, limit) in [(Lane::Kills, limits.kill_ack), (Lane::Objects, limits.change_ack)] {
            let waited = self.session.waiting(lane).map_or(0, |since| now.saturating_sub(since));
            if u128::from(waited) > limit.as_millis() {
                return Err(End::AckOverdue);
            }
        }
        Ok(())
    }

    fn hear(&mut self, said: Option<ClientMessage>) -> Result<(), End> {
        let Some(message) = said else {
            // One that acknowledges nothing may have no more to say.
            self.listening = false;
            return if self.session.acks() { Err(End::Gone) } else { Ok(()) };
        };
        let view = self.snapshots.borrow().view.clone();
        let taken = self.session.on_message(message, &view);
        self.seat.heard();
        let mut left = false;
        // Also of a message that ends the stream.
        for event in self.session.events() {
            left |= matches!(event, Event::Left(_));
            self.note(event);
        }
        taken.map_err(End::Fault)?;
        self.wants_room();
        if left { Err(End::Gone) } else { Ok(()) }
    }

    fn note(&self, event: Event) {
        if event.betrays_rollback() {
            self.shared.metrics.rollback_detected();
            tracing::error!(
                ?event,
                "a subscriber knows a future or a past that this server does not: was a backup restored?"
            );
        }
        match event {
            Event::Applied { lane, position, proven, rejected, .. } => {
                if !rejected.is_empty() {
                    self.shared.metrics.refused_objects(rejected.len());
                    tracing::warn!(objects = rejected.len(), "a subscriber cannot use objects: see its receipts");
                }
                for took in self.seat.applied((lane, position), proven, rejected) {
                    self.shared.metrics.propagated(lane, took);
                }
            }
            Event::Differs(lane) => {
                self.shared.metrics.differs();
                tracing::error!(?lane, "a subscriber acknowledged another state than it was sent");
            }
            Event::Full(reason) => self.shared.metrics.full(reason),
            Event::Left(_) => self.seat.leaves(),
            Event::Greeted(_) | Event::Resumed(_) | Event::KillsAhead(_) | Event::ResyncRequested(_) => {}
        }
    }

    fn wants_room(&mut self) {
        self.times.waiting.get_or_insert_with(Instant::now);
    }

    /// When this stream says goodbye: a few at once, many spread over a quarter of the window, each kept up to date
    /// until then.
    fn leaves_at(&self) -> Instant {
        let roster = self.shared.door.gate.hub.roster(&self.snapshots.borrow().environment);
        let many = roster.is_some_and(|roster| roster.connected() > SPREAD_FROM);
        let share = (self.spread % 1_000) as f64 / 1_000.0;
        let over = if many { self.shared.limits.drain_window / 4 } else { Duration::ZERO };
        Instant::now() + over.mul_f64(share)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.times.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A place in history as text: `EPOCH.REVISION.DIGEST.GENERATION`, the bytes in hex.
pub fn resume_text(at: &Resume) -> String {
    format!("{}.{}.{}.{}", hex(&at.epoch), at.revision, hex(&at.digest), at.kill_generation)
}
