//! The client's side of a subscription: an exact copy of one environment, compiled and ready to answer.
//!
//! Kills are applied as they arrive. A transfer is gathered beside the copy in force and takes its place at Commit,
//! whole, once its count and set hash are right; until then, and after every mistake, the old copy answers. What cannot
//! be compiled is refused object by object, and tried again whenever something else changes. No IO and no clock: the
//! driver in `client` moves messages and measures time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::decode::{self, Refusal};
use super::kills::{Gathering, HeldKills, KillFault, Received, set_hash};
use super::limits::{MESSAGE_BYTES_MAX, OBJECTS_MAX, REJECTED_MAX};
use super::message::{
    Ack, Begin, Bookmark, ClientMessage, Commit, Digest, Epoch, FullReason, Goodbye, KillPart, Lane, Mode, ObjectError,
    Resume, ResyncReason, ServerBody, ServerMessage,
};
use super::object::{Entry, ObjectKey};
use super::objects::Objects;
use crate::eval::compile::compile;
use crate::eval::fractional::FractionalHash;
use crate::eval::object::Object;
use crate::eval::set::CompiledSet;
use crate::flag::diagnostic::{Diagnostic, join_pointer};
use crate::flag::key::FlagId;
use crate::flag::time::{Generation, Revision};

/// One client's copy. A clone shares everything.
#[derive(Debug, Clone, Default)]
pub struct Replica {
    environment: Option<Arc<str>>,
    place: Option<Place>,
    objects: Objects,
    set: CompiledSet,
    kills: HeldKills,
    rejected: BTreeMap<ObjectKey, ObjectError>,
    gathering: Option<Gathering>,
    staging: Option<Staging>,
    /// The newest transfer that this stream began.
    newest: u64,
}

/// Where in a store's history the copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The store's epoch.
    pub epoch: Epoch,
    /// The revision of the last Commit.
    pub revision: Revision,
    /// The digest that came with it.
    pub digest: Digest,
}

/// All that has to be kept somewhere safe to make the same copy again. A clone shares everything.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The environment that it is a copy of.
    pub environment: Arc<str>,
    /// Where the copy is.
    pub place: Place,
    /// The objects as they were sent.
    pub objects: Objects,
    /// The kills in force.
    pub kills: HeldKills,
    /// The generation of flagd's `fractional` for flags that name none.
    pub fractional_hash: FractionalHash,
}

/// A transfer as it arrives.
#[derive(Debug, Clone)]
struct Staging {
    nonce: u64,
    begin: Begin,
    objects: Objects,
    touched: BTreeSet<ObjectKey>,
}

/// What a message led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// To be sent to the server, in this order, at once.
    pub send: Vec<ClientMessage>,
    /// To be told to whoever uses the copy.
    pub events: Vec<Event>,
}

/// What became of the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Kills are in force.
    Kills {
        /// The newest generation.
        generation: Generation,
        /// Flags that are killed now and were not.
        killed: Vec<FlagId>,
        /// Flags that were killed and are not any more.
        restored: Vec<FlagId>,
    },
    /// Objects are in force.
    Objects {
        /// The revision of the copy.
        revision: Revision,
        /// Where it was before; none for the first time.
        before: Option<Revision>,
        /// Why everything was sent; none for a delta.
        full: Option<FullReason>,
        /// What is different, by key.
        changed: Vec<Changed>,
        /// What is held and cannot be used.
        rejected: Vec<ObjectError>,
    },
    /// Something that was sent was not what it should be; the copy stays as it was, everything was asked for.
    Resync(ResyncReason),
    /// A kill set was not what it should be. The kills in force stay; the stream must be made anew.
    KillsUnusable,
    /// What the server serves now.
    Bookmark(Bookmark),
    /// The answer to a ping.
    Pong(u64),
    /// The server ends the stream.
    Goodbye(Goodbye),
    /// The server says what went wrong.
    Error {
        /// A stable identifier.
        code: String,
        /// In words for people.
        message: String,
    },
}

/// One object that is different from before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Which object.
    pub key: ObjectKey,
    /// The revision that touched it.
    pub revision: Revision,
    /// It was deleted.
    pub gone: bool,
}

impl Outcome {
    fn send(message: ClientMessage) -> Self {
        Self { send: vec![message], events: Vec::new() }
    }

    fn tell(event: Event) -> Self {
        Self { send: Vec::new(), events: vec![event] }
    }

    /// Writes into the acknowledgements how long it took, in microseconds.
    #[must_use]
    pub fn took(mut self, micros: u32) -> Self {
        for message in &mut self.send {
            if let ClientMessage::Ack(ack) = message {
                ack.apply_us = micros;
            }
        }
        self
    }
}

impl Replica {
    /// A copy that was kept, compiled again: it answers at once, and only what is newer has to be sent. What this
    /// version cannot use is refused, object by object, as if it had arrived.
    pub fn restored(kept: Kept) -> Self {
        let Kept { environment, place, objects, kills, fractional_hash } = kept;
        let touched = objects.full().map(|state| state.key.clone()).collect();
        let mut replica = Self { environment: Some(environment), place: Some(place), kills, ..Self::default() };
        replica.install(objects, touched, place.revision, fractional_hash);
        replica
    }

    /// What to keep of this copy; none before the first transfer.
    pub fn kept(&self) -> Option<Kept> {
        Some(Kept {
            environment: Arc::clone(self.environment.as_ref()?),
            place: self.place?,
            objects: self.objects.clone(),
            kills: self.kills.clone(),
            fractional_hash: self.set.fractional_hash(),
        })
    }

    /// The environment that kill sets spoke of; none before the first.
    pub fn environment(&self) -> Option<&Arc<str>> {
        self.environment.as_ref()
    }

    /// The flags, ready to answer.
    pub fn set(&self) -> &CompiledSet {
        &self.set
    }

    /// The revision of the copy; none before the first transfer.
    pub fn revision(&self) -> Option<Revision> {
        self.place.map(|place| place.revision)
    }

    /// The kills in force.
    pub fn kills(&self) -> &HeldKills {
        &self.kills
    }

    /// The objects as they were sent.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What is held and cannot be used, by key.
    pub fn rejected(&self) -> impl Iterator<Item = &ObjectError> {
        self.rejected.values()
    }

    /// What to say in Hello so that only what is new is sent.
    pub fn resume(&self) -> Option<Resume> {
        let place = self.place?;
        Some(Resume {
            epoch: place.epoch,
            revision: place.revision,
            digest: place.digest,
            // The lanes are independent: the objects may be of a new epoch already and the kills not yet. Generations
            // of two epochs must not be compared, or the server takes them for kills that it lost.
            kill_generation: self.kills.generation_in(place.epoch),
        })
    }

    /// The stream is gone: what was under way is dropped, what is in force stays.
    pub fn disconnected(&mut self) {
        self.gathering = None;
        self.staging = None;
        self.newest = 0;
    }

    /// Takes a message of the server.
    pub fn on_message(&mut self, message: ServerMessage) -> Outcome {
        let nonce = message.nonce;
        match message.body {
            ServerBody::Kills(part) => self.kill_part(nonce, part),
            ServerBody::Begin(begin) => self.begin(nonce, begin),
            ServerBody::Chunk(entries) => self.chunk(nonce, entries),
            ServerBody::Commit(commit) => self.commit(nonce, commit),
            ServerBody::Bookmark(bookmark) => Outcome::tell(Event::Bookmark(bookmark)),
            ServerBody::Pong(token) => Outcome::tell(Event::Pong(token)),
            ServerBody::Goodbye(goodbye) => Outcome::tell(Event::Goodbye(goodbye)),
            ServerBody::Error { code, message } => Outcome::tell(Event::Error { code, message }),
            ServerBody::Unknown => Outcome::default(),
        }
    }

    fn kill_part(&mut self, nonce: u64, part: KillPart) -> Outcome {
        let gathered = match self.gathering.take() {
            Some(mut gathering) if part.part != 0 => gathering.take(nonce, part).map(|()| gathering),
            _ => Gathering::begin(nonce, part),
        };
        let received = match gathered {
            Ok(gathering) if gathering.is_complete() => gathering.finish(),
            Ok(gathering) => {
                self.gathering = Some(gathering);
                return Outcome::default();
            }
            Err(fault) => Err(fault),
        };
        let Ok(received) = received else { return Outcome::tell(Event::KillsUnusable) };
        let event = self.take_kills(&received);
        let ack = ClientMessage::Ack(Ack {
            nonce,
            lane: Lane::Kills,
            applied: self.kills.generation().0,
            set_hash: Some(set_hash(self.kills.kills())),
            apply_us: 0,
            rejected: Vec::new(),
        });
        Outcome { send: vec![ack], events: event.into_iter().collect() }
    }

    /// Takes a whole kill set that was asked for beside the stream. It is merged as one of the stream is; nobody waits
    /// for an acknowledgement. Says what changed, if anything did.
    ///
    /// # Errors
    /// The set is not whole, or of another environment: the kills in force stay.
    pub fn on_polled_kills(&mut self, part: KillPart) -> Result<Option<Event>, KillFault> {
        let gathering = Gathering::begin(0, part)?;
        let received = if gathering.is_complete() { gathering.finish()? } else { return Err(KillFault::Order) };
        if self.environment.as_ref().is_some_and(|held| *held != received.environment) {
            return Err(KillFault::Environment);
        }
        Ok(self.take_kills(&received))
    }

    fn take_kills(&mut self, received: &Received) -> Option<Event> {
        // Generations of two environments cannot be compared: the set of another one is not merged with this one's.
        let same = self.environment.as_ref().is_none_or(|held| *held == received.environment);
        let held = if same { self.kills.with(received) } else { HeldKills::default().with(received) };
        self.environment = Some(Arc::clone(&received.environment));
        let before = std::mem::replace(&mut self.kills, held);
        self.set = self.set.with_kills(Arc::clone(self.kills.kills()));
        let only_in = |one: &HeldKills, other: &HeldKills| -> Vec<FlagId> {
            let entries = one.kills().entries().into_iter();
            entries.filter(|(flag, _)| other.kills().killed(flag).is_none()).map(|(flag, _)| flag.clone()).collect()
        };
        (before != self.kills).then(|| Event::Kills {
            generation: self.kills.generation(),
            killed: only_in(&self.kills, &before),
            restored: only_in(&before, &self.kills),
        })
    }

    fn begin(&mut self, nonce: u64, begin: Begin) -> Outcome {
        // Nonces of a stream only grow. An earlier transfer that comes once more is whole and right, and would lead
        // back, unseen by the server.
        if nonce < self.newest {
            return Outcome::default();
        }
        self.newest = nonce;
        self.staging = None;
        let here = self.place.is_some_and(|place| place.epoch == begin.epoch && place.revision == begin.from);
        let objects = match begin.mode {
            Mode::Full(_) => Objects::default(),
            Mode::Delta | Mode::None if here => self.objects.clone(),
            Mode::Delta if self.is_past(&begin) => return Outcome::send(self.ack(nonce)),
            Mode::Delta | Mode::None => return resync(ResyncReason::Gap),
        };
        self.staging = Some(Staging { nonce, begin, objects, touched: BTreeSet::new() });
        Outcome::default()
    }

    /// True for a delta that leads to where the copy is already, or to before it.
    fn is_past(&self, begin: &Begin) -> bool {
        self.place.is_some_and(|place| place.epoch == begin.epoch && begin.to <= place.revision)
    }

    fn chunk(&mut self, nonce: u64, entries: Vec<Entry>) -> Outcome {
        let Some(staging) = self.staging.as_mut().filter(|staging| staging.nonce == nonce) else {
            return Outcome::default();
        };
        let full = matches!(staging.begin.mode, Mode::Full(_));
        let mut objects = std::mem::take(&mut staging.objects);
        for entry in entries {
            if full && entry.live().is_none() {
                continue;
            }
            staging.touched.insert(entry.key().clone());
            objects = objects.with(entry);
        }
        staging.objects = objects;
        if staging.objects.len() > OBJECTS_MAX {
            self.staging = None;
            return resync(ResyncReason::SetMismatch);
        }
        Outcome::default()
    }

    fn commit(&mut self, nonce: u64, commit: Commit) -> Outcome {
        let Some(staging) = self.staging.take_if(|staging| staging.nonce == nonce) else { return Outcome::default() };
        let Staging { begin, objects, mut touched, .. } = staging;
        let count = u32::try_from(objects.len()).unwrap_or(u32::MAX);
        let announced = commit.revision == begin.to && commit.epoch == begin.epoch;
        if !announced || count != commit.object_count || objects.set_hash() != commit.set_hash {
            return resync(ResyncReason::SetMismatch);
        }
        let full = match begin.mode {
            Mode::Full(reason) => Some(reason),
            Mode::Delta | Mode::None => None,
        };
        if full.is_some_and(|reason| reason != FullReason::ConfirmedEmpty)
            && objects.is_empty()
            && !self.objects.is_empty()
        {
            return resync(ResyncReason::SuspiciousEmpty);
        }
        if full.is_some() {
            touched = self.different(&objects);
        }
        let changed = touched.iter().map(|key| changed(key, &objects, commit.revision)).collect();
        self.install(objects, touched, commit.revision, begin.fractional_hash);
        let before =
            self.place.replace(Place { epoch: commit.epoch, revision: commit.revision, digest: commit.digest });
        let mut outcome = Outcome::send(self.ack(nonce));
        outcome.events.push(Event::Objects {
            revision: commit.revision,
            before: before.map(|place| place.revision),
            full,
            changed,
            rejected: self.rejected.values().cloned().collect(),
        });
        outcome
    }

    /// Compiles what is different, and what could not be used before, and puts it in force.
    fn install(
        &mut self,
        objects: Objects,
        touched: BTreeSet<ObjectKey>,
        revision: Revision,
        fractional_hash: FractionalHash,
    ) {
        let mut wanted = touched;
        wanted.extend(std::mem::take(&mut self.rejected).into_keys());
        let mut readable = Vec::new();
        for key in wanted {
            let entry = objects.get(&key).cloned();
            let entry = entry.unwrap_or(Entry::Gone { key, revision });
            match decode::object(&entry) {
                Ok(Some(object)) => readable.push((entry, object)),
                Ok(None) => {}
                Err(refusal) => self.reject(&entry, refusal),
            }
        }
        let changes: Vec<Object> = readable.iter().map(|(_, object)| object.clone()).collect();
        let (set, diagnostics) = compile(&self.set, &changes);
        for (entry, object) in readable.iter().filter(|(_, object)| !is_in_force(&set, object)) {
            self.reject(entry, refusal_of(object, &diagnostics));
        }
        self.set = set.with_kills(Arc::clone(self.kills.kills())).with_fractional_hash(fractional_hash);
        // A client never serves deltas, so it needs no tombstones.
        self.objects = if objects.tombstones() > 0 { objects.compact(revision) } else { objects };
    }

    fn reject(&mut self, entry: &Entry, refusal: Refusal) {
        let error = ObjectError {
            key: entry.key().clone(),
            revision: entry.revision(),
            code: refusal.code.to_owned(),
            message: shortened(refusal.message),
        };
        self.rejected.insert(entry.key().clone(), error);
    }

    /// The keys of what differs between the copy in force and another.
    fn different(&self, other: &Objects) -> BTreeSet<ObjectKey> {
        let fresh = other.full().filter(|state| self.objects.get(&state.key).and_then(Entry::live) != Some(*state));
        let gone = self.objects.full().filter(|state| other.get(&state.key).is_none());
        fresh.chain(gone).map(|state| state.key.clone()).collect()
    }

    fn ack(&self, nonce: u64) -> ClientMessage {
        ClientMessage::Ack(Ack {
            nonce,
            lane: Lane::Objects,
            applied: self.place.map_or(0, |place| place.revision.0),
            set_hash: Some(self.objects.set_hash()),
            apply_us: 0,
            rejected: self.rejected.values().take(REJECTED_MAX).cloned().collect(),
        })
    }
}

fn resync(reason: ResyncReason) -> Outcome {
    Outcome { send: vec![ClientMessage::Resync(reason)], events: vec![Event::Resync(reason)] }
}

fn changed(key: &ObjectKey, objects: &Objects, revision: Revision) -> Changed {
    let entry = objects.get(key);
    Changed {
        key: key.clone(),
        revision: entry.map_or(revision, Entry::revision),
        gone: entry.and_then(Entry::live).is_none(),
    }
}

/// True where a set has an object in the very form that was to be compiled.
fn is_in_force(set: &CompiledSet, object: &Object) -> bool {
    match object {
        Object::Flag { id, definition, .. } => {
            set.get(id).is_some_and(|flag| Arc::ptr_eq(flag.definition(), definition))
        }
        Object::FlagGone { id, .. } => set.get(id).is_none(),
        Object::Segment { name, segment, .. } => {
            set.segment(name.as_str()).is_some_and(|held| Arc::ptr_eq(held.segment(), segment))
        }
        Object::SegmentGone { name, .. } => set.segment(name.as_str()).is_none(),
    }
}

fn refusal_of(object: &Object, diagnostics: &[Diagnostic]) -> Refusal {
    let pointer = match object {
        Object::Flag { id, .. } | Object::FlagGone { id, .. } => join_pointer("/flags", id.key.as_str()),
        Object::Segment { name, .. } | Object::SegmentGone { name, .. } => join_pointer("/segments", name.as_str()),
    };
    let within = |diagnostic: &&Diagnostic| {
        let rest = diagnostic.pointer.strip_prefix(&pointer);
        diagnostic.is_error() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let unsaid = Refusal { code: "compile", message: "the object does not compile".to_owned() };
    diagnostics.iter().find(within).map_or(unsaid, Refusal::from)
}

fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::key::FlagKey;
    use crate::flag::kill::{KillMark, KillSet};
    use crate::sync::kills::KillList;
    use crate::sync::object::ObjectState;
    use crate::sync::transfer::{Plan, Transfer};
    use crate::sync::view::View;

    const GOOD: &str = r#"{"defaultVariant":"off","variants":{"off":false,"on":true}}"#;
    const NO_SUCH_VARIANT: &str = r#"{"defaultVariant":"nowhere","variants":{"off":false,"on":true}}"#;
    const NEEDS_A_SEGMENT: &str = r#"{"defaultVariant":"off","rules":[{"serve":"on","when":{"segment":"staff"}}],"variants":{"off":false,"on":true}}"#;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::from_parts(1, None, name)
    }

    fn state(key: ObjectKey, revision: u64, payload: &str) -> ObjectState {
        ObjectState { key, revision: Revision(revision), payload: payload.as_bytes().into(), allocation: None }
    }

    fn view(objects: &Objects, revision: u64) -> View {
        View::empty([1; 16]).advance(
            [1; 16],
            Revision(revision),
            [u8::try_from(revision).unwrap(); 16],
            objects.clone(),
        )
    }

    fn messages(mode: Mode, from: u64, view: &View) -> Vec<ServerMessage> {
        let plan = Arc::new(Plan::new(mode, Revision(from), view));
        let mut transfer = Transfer::new(Arc::clone(&plan));
        std::iter::from_fn(|| transfer.next()).map(|part| ServerMessage { nonce: 1, body: plan.body(part) }).collect()
    }

    fn take(replica: &mut Replica, messages: Vec<ServerMessage>) -> Outcome {
        messages.into_iter().fold(Outcome::default(), |mut all, message| {
            let outcome = replica.on_message(message);
            all.send.extend(outcome.send);
            all.events.extend(outcome.events);
            all
        })
    }

    fn filled() -> (Replica, Objects) {
        let objects = Objects::default().put(state(key("a"), 1, GOOD));
        let mut replica = Replica::default();
        take(&mut replica, messages(Mode::Full(FullReason::Initial), 0, &view(&objects, 1)));
        assert_eq!(replica.set().len(), 1);
        (replica, objects)
    }

    #[test]
    fn nothing_of_a_transfer_counts_before_its_commit() {
        let (mut replica, objects) = filled();
        let newer = view(&objects.put(state(key("b"), 2, GOOD)), 2);
        let mut parts = messages(Mode::Delta, 1, &newer);
        let commit = parts.pop().unwrap();
        take(&mut replica, parts);
        assert_eq!((replica.set().len(), replica.revision()), (1, Some(Revision(1))));
        let outcome = replica.on_message(commit);
        assert_eq!((replica.set().len(), replica.revision()), (2, Some(Revision(2))));
        let [ClientMessage::Ack(ack)] = &outcome.send[..] else { panic!("{outcome:?}") };
        assert_eq!((ack.applied, ack.set_hash), (2, Some(newer.objects().set_hash())));
    }

    #[test]
    fn a_stream_that_is_cut_leaves_the_copy_as_it_was() {
        let (mut replica, objects) = filled();
        let mut parts = messages(Mode::Delta, 1, &view(&objects.put(state(key("b"), 2, GOOD)), 2));
        let commit = parts.pop().unwrap();
        take(&mut replica, parts);
        replica.disconnected();
        assert_eq!(replica.on_message(commit), Outcome::default());
        assert_eq!(replica.resume().unwrap().revision, Revision(1));
    }

    #[test]
    fn a_transfer_that_is_not_what_was_announced_is_dropped_and_everything_asked_for() {
        let (mut replica, objects) = filled();
        let newer = view(&objects.put(state(key("b"), 2, GOOD)), 2);
        let without_a_chunk = |message: &ServerMessage| !matches!(message.body, ServerBody::Chunk(_));
        let parts = messages(Mode::Delta, 1, &newer).into_iter().filter(without_a_chunk).collect();
        let outcome = take(&mut replica, parts);
        assert_eq!(outcome.send, [ClientMessage::Resync(ResyncReason::SetMismatch)]);
        assert_eq!(replica.revision(), Some(Revision(1)));
        let gap = take(&mut replica, messages(Mode::Delta, 2, &view(newer.objects(), 3)));
        assert_eq!(gap.send, [ClientMessage::Resync(ResyncReason::Gap)]);
    }

    #[test]
    fn a_delta_that_comes_twice_changes_nothing_and_is_acknowledged() {
        let (mut replica, objects) = filled();
        let newer = view(&objects.put(state(key("b"), 2, GOOD)), 2);
        let first = take(&mut replica, messages(Mode::Delta, 1, &newer));
        let second = take(&mut replica, messages(Mode::Delta, 1, &newer));
        assert_eq!((second.send, second.events), (first.send, Vec::new()));
    }

    /// Found by the simulation (Ordered): an early full transfer that a network repeated led a client back.
    #[test]
    fn an_earlier_transfer_that_comes_once_more_does_not_lead_back() {
        let (mut replica, objects) = filled();
        let newer = view(&objects.clone().put(state(key("b"), 2, GOOD)), 2);
        let later = messages(Mode::Delta, 1, &newer).into_iter().map(|message| ServerMessage { nonce: 2, ..message });
        take(&mut replica, later.collect());
        let full = || messages(Mode::Full(FullReason::Initial), 0, &view(&objects, 1));
        assert_eq!(take(&mut replica, full()), Outcome::default());
        assert_eq!((replica.set().len(), replica.revision()), (2, Some(Revision(2))));
        replica.disconnected();
        take(&mut replica, full());
        assert_eq!(replica.revision(), Some(Revision(1)), "another stream counts anew");
    }

    /// Found by the simulation (Durable): a new epoch's objects with the old epoch's kills raised a false alarm.
    #[test]
    fn a_resume_token_never_joins_the_epochs_of_two_lanes() {
        let mut replica = Replica::default();
        let mut kills = KillSet::default();
        kills.merge(&FlagId::plain(FlagKey::new("a").unwrap()), KillMark { generation: Generation(9), killed: true });
        let body = ServerBody::Kills(KillList::of(&kills).part(0, [2; 16], &Arc::from("production")).unwrap());
        replica.on_message(ServerMessage { nonce: 1, body });
        let objects = Objects::default().put(state(key("a"), 1, GOOD));
        take(&mut replica, messages(Mode::Full(FullReason::Initial), 0, &view(&objects, 1)));
        let resume = replica.resume().unwrap();
        assert_eq!((resume.epoch, resume.kill_generation), ([1; 16], Generation::ZERO));
        assert_eq!(replica.kills().generation(), Generation(9), "they stay in force all the same");
    }

    #[test]
    fn emptiness_needs_confirmation_where_there_was_something() {
        let (mut replica, _) = filled();
        let empty = view(&Objects::default(), 2);
        let outcome = take(&mut replica, messages(Mode::Full(FullReason::EpochChanged), 0, &empty));
        assert_eq!(outcome.send, [ClientMessage::Resync(ResyncReason::SuspiciousEmpty)]);
        assert_eq!(replica.set().len(), 1, "the last good copy answers");
        take(&mut replica, messages(Mode::Full(FullReason::ConfirmedEmpty), 0, &empty));
        assert_eq!((replica.set().len(), replica.revision()), (0, Some(Revision(2))));
    }

    #[test]
    fn an_object_that_cannot_be_used_is_refused_and_the_rest_is_used() {
        let (mut replica, objects) = filled();
        let newer = objects.put(state(key("a"), 2, NO_SUCH_VARIANT)).put(state(key("b"), 2, GOOD));
        let outcome = take(&mut replica, messages(Mode::Delta, 1, &view(&newer, 2)));
        let [ClientMessage::Ack(ack)] = &outcome.send[..] else { panic!("{outcome:?}") };
        assert_eq!((ack.applied, ack.rejected.len()), (2, 1));
        assert_eq!((&ack.rejected[0].key, ack.rejected[0].revision), (&key("a"), Revision(2)));
        assert_eq!(replica.set().flag(None, "a").unwrap().revision(), Revision(1), "its last good form answers");
        assert!(replica.set().flag(None, "b").is_some());
    }

    #[test]
    fn what_was_refused_for_want_of_another_object_is_used_when_that_comes() {
        let (mut replica, objects) = filled();
        let needy = objects.put(state(key("needy"), 2, NEEDS_A_SEGMENT));
        take(&mut replica, messages(Mode::Delta, 1, &view(&needy, 2)));
        assert_eq!(replica.rejected().count(), 1);
        let segment = state(ObjectKey::from_parts(2, None, "staff"), 3, r#"{"group":"staff"}"#);
        let outcome = take(&mut replica, messages(Mode::Delta, 2, &view(&needy.put(segment), 3)));
        let [ClientMessage::Ack(ack)] = &outcome.send[..] else { panic!("{outcome:?}") };
        assert_eq!(ack.rejected, []);
        assert!(replica.set().flag(None, "needy").is_some());
    }

    #[test]
    fn objects_of_unknown_kinds_count_and_are_otherwise_ignored() {
        let (mut replica, objects) = filled();
        let strange = objects.put(state(ObjectKey::from_parts(77, Some("set"), "x"), 2, "[]"));
        let outcome = take(&mut replica, messages(Mode::Delta, 1, &view(&strange, 2)));
        assert_eq!((replica.revision(), replica.rejected().count()), (Some(Revision(2)), 0), "{outcome:?}");
        assert_eq!(replica.on_message(ServerMessage::plain(ServerBody::Unknown)), Outcome::default());
    }

    #[test]
    fn a_copy_that_was_kept_answers_and_goes_on_from_where_it_was() {
        let (mut replica, objects) = filled();
        assert!(replica.kept().is_none(), "no kill set has come yet, so nobody knows which environment it is");
        replica.on_polled_kills(polled("production", &[("a", 7)])).unwrap();
        let objects = objects.put(state(key("bad"), 2, NO_SUCH_VARIANT));
        take(&mut replica, messages(Mode::Delta, 1, &view(&objects, 2)));
        let mut again = Replica::restored(replica.kept().unwrap());
        assert_eq!(again.resume(), replica.resume());
        assert_eq!((again.set().len(), again.rejected().count()), (1, 1), "a refused object is refused again");
        assert!(again.set().kills().killed(&FlagId::plain(FlagKey::new("a").unwrap())).is_some());
        let newer = view(&objects.put(state(key("b"), 3, GOOD)), 3);
        let outcome = take(&mut again, messages(Mode::Delta, 2, &newer));
        let [ClientMessage::Ack(ack)] = &outcome.send[..] else { panic!("{outcome:?}") };
        assert_eq!((ack.applied, ack.set_hash), (3, Some(newer.objects().set_hash())));
    }

    fn polled(environment: &str, killed: &[(&str, u64)]) -> KillPart {
        let mut kills = KillSet::default();
        for (name, generation) in killed {
            let mark = KillMark { generation: Generation(*generation), killed: true };
            kills.merge(&FlagId::plain(FlagKey::new(name).unwrap()), mark);
        }
        KillList::of(&kills).part(0, [1; 16], &Arc::from(environment)).unwrap()
    }

    #[test]
    fn polled_kills_are_merged_and_those_of_another_environment_are_not() {
        let mut replica = Replica::default();
        let event = replica.on_polled_kills(polled("production", &[("a", 7)])).unwrap();
        assert!(matches!(event, Some(Event::Kills { killed, .. }) if killed.len() == 1));
        assert_eq!(replica.on_polled_kills(polled("production", &[("a", 7)])), Ok(None), "nothing new");
        assert_eq!(replica.on_polled_kills(polled("staging", &[])), Err(KillFault::Environment));
        let wrong = KillPart { count: 5, ..polled("production", &[("a", 7)]) };
        assert_eq!(replica.on_polled_kills(wrong), Err(KillFault::Mismatch));
        let many = KillPart { parts: 2, ..polled("production", &[]) };
        assert_eq!(replica.on_polled_kills(many), Err(KillFault::Order));
        assert_eq!(replica.kills().kills().len(), 1);
        let elsewhere = polled("staging", &[("b", 3)]);
        take(&mut replica, vec![ServerMessage { nonce: 1, body: ServerBody::Kills(elsewhere) }]);
        assert_eq!(replica.kills().generation(), Generation(3), "the stream decides the environment");
        assert_eq!(replica.kills().kills().len(), 1);
    }

    #[test]
    fn debug_says_nothing_of_what_stands_in_definitions() {
        let (replica, objects) = filled();
        let printed = format!("{objects:?} {:?} {:?}", replica.objects(), objects.full().next());
        assert!(!printed.contains("defaultVariant") && !printed.contains("100, 101, 102"), "{printed}");
    }
}
