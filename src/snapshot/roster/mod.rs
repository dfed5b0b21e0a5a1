//! Who follows an environment on this node, what each has confirmed, and how long the word took to reach them.
//!
//! One entry per client process (its random instance id), kept for a while after its stream was lost, so that a client
//! that vanished counts as missing and not as never there. What a client says it applied counts as confirmed only with
//! a set hash that is the server's. Nothing here knows a user; nothing here is kept on disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use self::publish::Track;
use self::receipts::{Fate, NotPublished, Receipts, Word};
use crate::flag::time::Timestamp;
use crate::sync::message::{Lane, ObjectError};

pub mod publish;
pub mod receipts;
#[cfg(test)]
mod tests;

/// Lost clients that are remembered at most; beyond, those that were lost first are forgotten.
const LOST_MAX: usize = 20_000;
/// Objects that one client cannot use, of which more than the number is remembered.
const REJECTED_KEPT: usize = 32;
/// Between two looks of somebody who waits for receipts: thousands arrive at once, and each look reads them all.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Somebody who waits looks this often without being told: lost clients are forgotten in silence.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);
/// Whoever was lost counts as missing for this long unless a setting says otherwise.
pub const KEEP_LOST: Duration = Duration::from_secs(300);

/// A client process, as it introduced itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// Random per process.
    pub instance_id: String,
    /// A name for people; may be empty.
    pub name: String,
    /// The client library and its version, such as `rampart-rust 0.1.0`; may be empty.
    pub sdk: String,
    /// Words about it, `key=value`, such as `region=eu`.
    pub labels: Vec<String>,
    /// How it subscribes: `grpc` or `sse`.
    pub surface: &'static str,
    /// Whether it acknowledges. One that does not can never be confirmed.
    pub acks: bool,
}

/// What is known of one client.
#[derive(Debug)]
struct Known {
    who: Arc<Who>,
    /// The stream it has now; none where it was lost.
    seat: Option<(u64, CancellationToken)>,
    /// How many clients had come before it: tells who was there when something was published.
    joined: u64,
    /// When it was last heard of, or lost.
    heard: Instant,
    /// What it said it applied, by lane.
    applied: [u64; 2],
    /// The same where its set hash was the server's.
    confirmed: [u64; 2],
    /// The furthest it ever confirmed.
    reached: [u64; 2],
    rejected: Arc<[ObjectError]>,
}

/// One client, for a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    /// Who it is.
    pub who: Arc<Who>,
    /// Whether a stream of it is open.
    pub connected: bool,
    /// The kill generation that it confirmed; 0 for none.
    pub generation: u64,
    /// The revision that it confirmed; 0 for none.
    pub revision: u64,
    /// When it was last heard of, or lost.
    pub last_seen: Timestamp,
    /// What it holds and cannot use.
    pub rejected: Arc<[ObjectError]>,
}

/// The clients of one environment on this node.
#[derive(Debug)]
pub struct Roster {
    state: Mutex<State>,
    changed: Notify,
    keep: Duration,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<Arc<str>, Known>,
    seats: u64,
    joins: u64,
    connected: usize,
    tracks: [Track; 2],
}

/// A client's place. Dropping it means that the stream was lost.
#[derive(Debug)]
pub struct Seat {
    roster: Arc<Roster>,
    id: Arc<str>,
    number: u64,
    /// Cancelled when another stream of the same client took the place.
    pub replaced: CancellationToken,
}

fn index(lane: Lane) -> usize {
    match lane {
        Lane::Kills => 0,
        Lane::Objects => 1,
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self::new(KEEP_LOST)
    }
}

impl Roster {
    /// Nobody yet; lost clients count as missing for `keep`.
    pub fn new(keep: Duration) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), keep }
    }

    /// How many clients are connected.
    pub fn connected(&self) -> usize {
        self.lock().connected
    }

    /// Clients that are known, in order of name and instance id, at most `limit`; and how many there are.
    pub fn list(&self, now: Timestamp, limit: usize) -> (Vec<Client>, usize) {
        let mut state = self.lock();
        state.forget(self.keep);
        let mut clients: Vec<Client> = state.known.values().map(|known| known.client(now)).collect();
        drop(state);
        let total = clients.len();
        clients.sort_by(|a, b| (&a.who.name, &a.who.instance_id).cmp(&(&b.who.name, &b.who.instance_id)));
        clients.truncate(limit);
        (clients, total)
    }

    /// Takes in a stream. Another stream of the same instance id is told that its place is taken.
    pub fn enter(self: &Arc<Self>, who: Who) -> Seat {
        let id: Arc<str> = Arc::from(who.instance_id.as_str());
        let replaced = CancellationToken::new();
        let mut state = self.lock();
        state.seats += 1;
        let (number, joined) = (state.seats, state.joins);
        let seat = Some((number, replaced.clone()));
        let who = Arc::new(who);
        let fresh = Known {
            who: Arc::clone(&who),
            seat: None,
            joined,
            heard: Instant::now(),
            applied: [0; 2],
            confirmed: [0; 2],
            reached: [0; 2],
            rejected: Arc::default(),
        };
        let known = state.known.entry(Arc::clone(&id)).or_insert(fresh);
        // Those that came before have smaller numbers.
        let is_new = known.joined == joined;
        known.who = who;
        known.heard = Instant::now();
        let before = std::mem::replace(&mut known.seat, seat);
        match &before {
            Some((_, token)) => token.cancel(),
            None => state.connected += 1,
        }
        if is_new {
            state.joins += 1;
        }
        drop(state);
        self.changed.notify_waiters();
        Seat { roster: Arc::clone(self), id, number, replaced }
    }

    /// Notes what is about to be served on a lane: `position` is new there for its clients.
    pub fn publish(&self, lane: Lane, position: u64, at: Timestamp) {
        let mut state = self.lock();
        let (joins, now) = (state.joins, Instant::now());
        state.tracks[index(lane)].publish(position, joins, at, now);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Notes that a position is served on a lane that brings nothing new to its clients.
    pub fn serve(&self, lane: Lane, position: u64) {
        self.lock().tracks[index(lane)].serve(position);
    }

    /// Who has confirmed a generation or a revision. `names` is how many of those that have not are named.
    ///
    /// # Errors
    /// It was not published yet.
    pub fn receipts(&self, lane: Lane, position: u64, names: usize, now: Timestamp) -> Result<Receipts, NotPublished> {
        let mut state = self.lock();
        state.forget(self.keep);
        state.count(lane, position, names, now)
    }

    /// Waits until the word has reached as many as `word` asks for, or until `deadline`.
    ///
    /// # Errors
    /// It was not published yet.
    pub async fn wait(
        &self,
        (lane, position): (Lane, u64),
        word: Word,
        deadline: Instant,
        now: impl Fn() -> Timestamp,
    ) -> Result<Receipts, NotPublished> {
        loop {
            let changed = self.changed.notified();
            let receipts = self.receipts(lane, position, 0, now())?;
            if receipts.has_reached(word) || Instant::now() >= deadline {
                return Ok(receipts);
            }
            // Either way it is time for another look.
            drop(timeout_at(deadline.min(Instant::now() + LOOK_ANYWAY), changed).await);
            sleep(LOOK_EVERY.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// The kills whose propagation has come to an end (everybody confirmed, or `patience` has passed) and that were
    /// not given out before. Those that had nobody to reach are left out.
    pub fn settled(&self, patience: Duration, now: Timestamp) -> Vec<Receipts> {
        let mut state = self.lock();
        let open: Vec<u64> = state.tracks[index(Lane::Kills)].unreported().collect();
        if open.is_empty() {
            return Vec::new();
        }
        state.forget(self.keep);
        let mut settled = Vec::new();
        for position in open {
            let Ok(receipts) = state.count(Lane::Kills, position, 0, now) else { continue };
            let track = &mut state.tracks[index(Lane::Kills)];
            if receipts.has_reached(Word::All) || track.age(position) >= patience {
                track.report(position);
                settled.extend((receipts.subscribers > 0).then_some(receipts));
            }
        }
        settled
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets clients that were lost too long ago.
    fn forget(&mut self, keep: Duration) {
        if self.known.len() == self.connected {
            return;
        }
        let now = Instant::now();
        let lost = |known: &Known| known.seat.is_none();
        self.known.retain(|_, known| !lost(known) || now.duration_since(known.heard) < keep);
        let surplus = (self.known.len() - self.connected).saturating_sub(LOST_MAX);
        if surplus == 0 {
            return;
        }
        let mut oldest: Vec<(Instant, Arc<str>)> = self
            .known
            .iter()
            .filter(|(_, known)| lost(known))
            .map(|(id, known)| (known.heard, Arc::clone(id)))
            .collect();
        oldest.select_nth_unstable(surplus - 1);
        oldest.truncate(surplus);
        tracing::warn!(surplus, "more clients were lost than can be remembered: receipts no longer count them");
        for (_, id) in oldest {
            self.known.remove(&id);
        }
    }

    fn count(&self, lane: Lane, position: u64, names: usize, now: Timestamp) -> Result<Receipts, NotPublished> {
        let track = &self.tracks[index(lane)];
        let needed = track.needed(lane, position)?;
        let mut receipts = track.receipts(lane, position);
        let mut lacking = Vec::new();
        for known in self.known.values() {
            let fate = known.fate(lane, needed);
            receipts.note(fate);
            if names > 0 && !fate.has_it() {
                lacking.push((fate, known));
            }
        }
        // Those that are there and do not have it are worth more than those that are gone.
        lacking.sort_by_key(|(_, known)| (known.seat.is_none(), &known.who.name, &known.who.instance_id));
        let named = lacking.into_iter().take(names);
        receipts.missing = named.map(|(fate, known)| (fate, known.client(now))).collect();
        Ok(receipts)
    }
}

impl Known {
    fn fate(&self, lane: Lane, (needed, order): (u64, u64)) -> Fate {
        let at = index(lane);
        let has = self.confirmed[at] >= needed;
        match () {
            () if has && lane == Lane::Objects && !self.rejected.is_empty() => Fate::Rejected,
            () if has && self.joined >= order => Fate::LateJoined,
            () if has => Fate::Confirmed,
            () if self.seat.is_none() => Fate::Disconnected,
            () if !self.who.acks || self.applied[at] >= needed => Fate::Unconfirmable,
            () => Fate::Pending,
        }
    }

    fn client(&self, now: Timestamp) -> Client {
        let ago = i64::try_from(self.heard.elapsed().as_micros()).unwrap_or(i64::MAX);
        Client {
            who: Arc::clone(&self.who),
            connected: self.seat.is_some(),
            generation: self.confirmed[index(Lane::Kills)],
            revision: self.confirmed[index(Lane::Objects)],
            last_seen: now.plus_micros(-ago),
            rejected: Arc::clone(&self.rejected),
        }
    }
}

impl Seat {
    /// The client's instance id.
    pub fn instance(&self) -> &str {
        &self.id
    }

    /// The client said that it applied a position. Gives how long each of the things that it had not confirmed before
    /// took, from publish to this receipt.
    ///
    /// `rejected` is what it holds and cannot use; on the lane of kills there is nothing of the kind.
    pub fn applied(
        &self,
        (lane, position): (Lane, u64),
        proven: bool,
        mut rejected: Vec<ObjectError>,
    ) -> Vec<Duration> {
        let at = index(lane);
        let now = Instant::now();
        rejected.truncate(REJECTED_KEPT);
        let took = self.with(|known, tracks| {
            known.heard = now;
            known.applied[at] = position;
            if lane == Lane::Objects {
                known.rejected = rejected.into();
            }
            if !proven {
                return Vec::new();
            }
            known.confirmed[at] = position;
            // A copy that is made anew may go back for a moment; what reached it once is not counted again.
            let before = known.reached[at];
            known.reached[at] = before.max(position);
            tracks[at].received(before, position, known.joined, now)
        });
        self.roster.changed.notify_waiters();
        took.unwrap_or_default()
    }

    /// The client said something.
    pub fn heard(&self) {
        self.with(|known, _| known.heard = Instant::now());
    }

    /// The client goes and is not to be counted as missing.
    pub fn leaves(&self) {
        let mut state = self.roster.lock();
        if state.known.get(&self.id).is_some_and(|known| known.holds(self.number)) {
            state.known.remove(&self.id);
            state.connected -= 1;
        }
        drop(state);
        self.roster.changed.notify_waiters();
    }

    /// Does something with the client's entry, while this stream is the one it has.
    fn with<T>(&self, act: impl FnOnce(&mut Known, &mut [Track; 2]) -> T) -> Option<T> {
        let mut state = self.roster.lock();
        let State { known, tracks, .. } = &mut *state;
        known.get_mut(&self.id).filter(|known| known.holds(self.number)).map(|known| act(known, tracks))
    }
}

impl Known {
    fn holds(&self, number: u64) -> bool {
        self.seat.as_ref().is_some_and(|(held, _)| *held == number)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.roster.lock();
        let Some(known) = state.known.get_mut(&self.id).filter(|known| known.holds(self.number)) else { return };
        known.seat = None;
        known.heard = Instant::now();
        state.connected -= 1;
        drop(state);
        self.roster.changed.notify_waiters();
    }
}
