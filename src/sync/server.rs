//! The server's side of one subscription: what a subscriber has, what is on its way, and what to send next.
//!
//! Two lanes, each with at most one kill set or transfer that is not yet acknowledged; the kill lane always goes first.
//! Every decision reads one view, the newest. A subscriber costs a few integers; what it lacks is found when it can
//! take it. No IO and no clock: `now_ms` is any clock that does not go back. Encoding and sending are `serve`'s work.

use std::collections::VecDeque;
use std::sync::Arc;

use super::hash::SetHash;
use super::kills::KillList;
use super::limits::{
    LABELS_MAX, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, PINGS_MAX, REJECTED_MAX, RESYNCS_MAX, WORD_BYTES_MAX,
};
use super::message::{
    Ack, Bookmark, ClientMessage, Epoch, FullReason, Goodbye, GoodbyeReason, Hello, Lane, Mode, ObjectError, Resume,
    ResyncReason, ServerBody, ServerMessage,
};
use super::outgoing::Outgoing;
use super::transfer::{Fresh, Plans, Transfer};
use super::view::{Standing, View};
use crate::flag::key::is_invisible;
use crate::flag::time::{Generation, Revision, Timestamp};

/// One subscriber, from its stream's beginning to its end.
#[derive(Debug)]
pub struct ServerSession {
    environment: Arc<str>,
    greeted: bool,
    acks: bool,
    nonce: u64,
    pongs: VecDeque<u64>,
    kills: KillLane,
    objects: ObjectLane,
    events: Vec<Event>,
}

#[derive(Debug, Default)]
struct KillLane {
    /// What was sent last.
    sent: Option<(Epoch, Generation, SetHash)>,
    /// A set whose parts are being taken: its nonce, the set, the next part.
    sending: Option<(u64, Epoch, Arc<KillList>, usize)>,
    flight: Option<Flight>,
}

#[derive(Debug, Default)]
struct ObjectLane {
    /// What the subscriber has; none where everything has to be sent.
    at: Option<Resume>,
    /// Why everything has to be sent, where that is known beforehand.
    why: Option<FullReason>,
    sending: Option<(u64, Transfer)>,
    flight: Option<Flight>,
    /// What the subscriber has when the flight is acknowledged.
    arriving: Option<Resume>,
    /// The subscriber refused an emptiness that was not confirmed: nothing is sent before there is something.
    refused_empty: bool,
    /// Something was sent on this lane.
    spoken: bool,
    /// The subscriber is to hear of the newest revision although that brings it nothing new.
    nudged: bool,
    /// Everything has to be sent, and may not be yet.
    waiting: bool,
    /// Full transfers asked for since the last acknowledgement.
    resyncs: u32,
}

/// Something sent that is not yet acknowledged.
#[derive(Debug, Clone, Copy)]
struct Flight {
    nonce: u64,
    position: u64,
    hash: SetHash,
    since_ms: u64,
}

/// Which transfers may begin now; what was begun goes on, and kills are sent at any pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// None.
    None,
    /// Only what is new; whoever needs everything waits.
    Deltas,
    /// All.
    All,
}

/// What the driver should know: for the log, the metrics, the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The subscriber said who it is.
    Greeted(Box<Hello>),
    /// It goes on from what it has.
    Resumed(Resume),
    /// Everything is sent.
    Full(FullReason),
    /// It knows kills that this server never made: records were lost, or a backup was restored.
    KillsAhead(Generation),
    /// It applied a kill set or a transfer.
    Applied {
        /// On which lane.
        lane: Lane,
        /// The generation or the revision.
        position: u64,
        /// From receipt to use, in microseconds, as it says.
        apply_us: u32,
        /// Its set hash is the server's: it holds exactly what was sent.
        proven: bool,
        /// All objects that it holds and cannot use now.
        rejected: Vec<ObjectError>,
    },
    /// It acknowledged, and holds something else than it was sent.
    Differs(Lane),
    /// It asked for everything.
    ResyncRequested(ResyncReason),
    /// It goes, and is not to be counted as missing.
    Left(String),
}

impl Event {
    /// True where a subscriber bears witness that this server's past is not what it was.
    pub fn betrays_rollback(&self) -> bool {
        matches!(self, Self::KillsAhead(_) | Self::Full(FullReason::DigestMismatch | FullReason::FutureRevision))
    }
}

/// Why a stream cannot go on. The client's mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolFault {
    /// Something else than Hello came first.
    #[error("the first message must be Hello")]
    HelloExpected,
    /// Hello came again.
    #[error("Hello comes once, first")]
    HelloRepeated,
    /// A field of Hello is missing or too long.
    #[error("{0}")]
    HelloField(&'static str),
    /// A transfer was acknowledged before its end.
    #[error("a kill set or transfer was acknowledged before its last part was sent")]
    AckTooEarly,
    /// It asked for everything again and again.
    #[error("everything was asked for {RESYNCS_MAX} times without an acknowledgement: reconnect later")]
    ResyncLoop,
    /// An acknowledgement or a farewell is longer than its limit.
    #[error("a message is longer than its limit")]
    TooLong,
}

impl ServerSession {
    /// A stream that has just begun, for an environment of this name.
    pub fn new(environment: Arc<str>) -> Self {
        Self {
            environment,
            greeted: false,
            acks: false,
            nonce: 0,
            pongs: VecDeque::new(),
            kills: KillLane::default(),
            objects: ObjectLane::default(),
            events: Vec::new(),
        }
    }

    /// Takes a message of the subscriber.
    ///
    /// # Errors
    /// The subscriber does not keep to the protocol: end the stream.
    pub fn on_message(&mut self, message: ClientMessage, view: &View) -> Result<(), ProtocolFault> {
        match message {
            ClientMessage::Hello(hello) => return self.greet(*hello, view),
            // An unknown kind may be anything, so it may come at any time.
            ClientMessage::Unknown => {}
            _ if !self.greeted => return Err(ProtocolFault::HelloExpected),
            ClientMessage::Ack(ack) => return self.acknowledged(ack),
            ClientMessage::Ping(token) => {
                if self.pongs.len() == PINGS_MAX {
                    self.pongs.pop_front();
                }
                self.pongs.push_back(token);
            }
            ClientMessage::Resync(reason) => return self.resync(reason),
            ClientMessage::Leave(reason) if reason.len() > NAME_BYTES_MAX => return Err(ProtocolFault::TooLong),
            ClientMessage::Leave(reason) => self.events.push(Event::Left(reason)),
        }
        Ok(())
    }

    /// The next message to send, spelled out; as [`ServerSession::step`] where everything may be sent and nobody shares.
    pub fn next(&mut self, view: &View, now_ms: u64) -> Option<ServerMessage> {
        let environment = Arc::clone(&self.environment);
        self.step(view, now_ms, &mut Fresh, Pace::All)?.message(&environment)
    }

    /// The next thing to send, if there is one: a kill set before anything else, then answers to pings, then objects.
    /// Call it again until there is none, whenever the stream can take one more. `pace` says which transfers may begin.
    pub fn step(&mut self, view: &View, now_ms: u64, plans: &mut impl Plans, pace: Pace) -> Option<Outgoing> {
        if !self.greeted {
            return None;
        }
        if let Some(kills) = self.next_kills(view, now_ms) {
            return Some(kills);
        }
        if let Some(token) = self.pongs.pop_front() {
            return Some(Outgoing::Pong(token));
        }
        self.next_objects(view, now_ms, plans, pace)
    }

    /// True where everything has to be sent and the last step might not begin it.
    pub fn waits_to_fill(&self) -> bool {
        self.objects.waiting
    }

    /// True while a transfer is being taken.
    pub fn is_transferring(&self) -> bool {
        self.objects.sending.is_some()
    }

    /// Lets the subscriber hear of the newest revision, even where that changed none of its objects. To be called from
    /// time to time: it keeps resume tokens young. What changes nothing is not told at once, since a kill or an audit
    /// entry would otherwise cost every subscriber a transfer.
    pub fn nudge(&mut self) {
        self.objects.nudged = true;
    }

    /// What happened since the last call.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What is not yet acknowledged longest, and since when.
    pub fn waiting(&self, lane: Lane) -> Option<u64> {
        let flight = match lane {
            Lane::Kills => self.kills.flight,
            Lane::Objects => self.objects.flight,
        };
        flight.map(|flight| flight.since_ms)
    }

    /// Whether it acknowledges.
    pub fn acks(&self) -> bool {
        self.acks
    }

    /// Where the subscriber is, as far as nothing is on its way to it: what a resume token may name.
    pub fn place(&self) -> Option<Resume> {
        let settled = self.kills.sending.is_none() && self.objects.sending.is_none() && self.objects.flight.is_none();
        let at = self.objects.at.filter(|_| settled)?;
        Some(Resume { kill_generation: self.kills_sent(), ..at })
    }

    /// The generation of the kill set that was sent last.
    pub fn kills_sent(&self) -> Generation {
        self.kills.sent.map_or(Generation::ZERO, |(_, generation, _)| generation)
    }

    /// A sign of life: what the server serves now.
    pub fn bookmark(view: &View, now: Timestamp) -> ServerMessage {
        ServerMessage::plain(ServerBody::Bookmark(Bookmark {
            revision: view.revision(),
            kill_generation: view.kill_list().generation(),
            digest: view.digest(),
            server_time: now,
        }))
    }

    /// The last message of a stream.
    pub fn goodbye(reason: GoodbyeReason, reconnect_after_ms: u32) -> ServerMessage {
        ServerMessage::plain(ServerBody::Goodbye(Goodbye { reconnect_after_ms, reason }))
    }

    fn greet(&mut self, hello: Hello, view: &View) -> Result<(), ProtocolFault> {
        if self.greeted {
            return Err(ProtocolFault::HelloRepeated);
        }
        check(&hello)?;
        self.greeted = true;
        self.acks = hello.acks;
        let resume = hello.resume;
        self.events.push(Event::Greeted(Box::new(hello)));
        self.objects.why = match resume {
            None => Some(FullReason::Initial),
            Some(resume) => match view.judge(&resume) {
                Standing::Known => {
                    self.objects.at = Some(resume);
                    self.events.push(Event::Resumed(resume));
                    None
                }
                Standing::Full(reason) => Some(reason),
            },
        };
        let same_store = resume.filter(|resume| resume.epoch == view.epoch());
        if let Some(ahead) = same_store.filter(|resume| resume.kill_generation > view.kill_list().generation()) {
            self.events.push(Event::KillsAhead(ahead.kill_generation));
        }
        Ok(())
    }

    fn acknowledged(&mut self, ack: Ack) -> Result<(), ProtocolFault> {
        if ack.rejected.len() > REJECTED_MAX || ack.rejected.iter().any(is_too_long) {
            return Err(ProtocolFault::TooLong);
        }
        let sending = match ack.lane {
            Lane::Kills => self.kills.sending.as_ref().map(|sending| sending.0),
            Lane::Objects => self.objects.sending.as_ref().map(|sending| sending.0),
        };
        if sending == Some(ack.nonce) {
            return Err(ProtocolFault::AckTooEarly);
        }
        let flight = match ack.lane {
            Lane::Kills => &mut self.kills.flight,
            Lane::Objects => &mut self.objects.flight,
        };
        // What was given up in the meantime (a resync) may still be acknowledged, and no longer matters.
        let Some(flown) = flight.take_if(|flight| flight.nonce == ack.nonce) else { return Ok(()) };
        let same = ack.set_hash.is_none_or(|hash| hash == flown.hash);
        match ack.lane {
            Lane::Kills if !same || ack.applied < flown.position => self.events.push(Event::Differs(Lane::Kills)),
            Lane::Objects if !same || ack.applied != flown.position => {
                self.events.push(Event::Differs(Lane::Objects));
                return self.start_over(FullReason::Requested);
            }
            lane => {
                let proven = ack.set_hash.is_some();
                let (position, apply_us, rejected) = (flown.position, ack.apply_us, ack.rejected);
                self.events.push(Event::Applied { lane, position, apply_us, proven, rejected });
            }
        }
        if ack.lane == Lane::Objects {
            self.objects.at = self.objects.arriving.take();
            self.objects.resyncs = 0;
        }
        Ok(())
    }

    fn resync(&mut self, reason: ResyncReason) -> Result<(), ProtocolFault> {
        self.events.push(Event::ResyncRequested(reason));
        self.objects.refused_empty = reason == ResyncReason::SuspiciousEmpty;
        self.start_over(FullReason::Requested)
    }

    fn start_over(&mut self, why: FullReason) -> Result<(), ProtocolFault> {
        let resyncs = self.objects.resyncs + 1;
        if resyncs > RESYNCS_MAX {
            return Err(ProtocolFault::ResyncLoop);
        }
        let refused_empty = self.objects.refused_empty;
        self.objects = ObjectLane { why: Some(why), resyncs, refused_empty, ..ObjectLane::default() };
        Ok(())
    }

    fn next_kills(&mut self, view: &View, now_ms: u64) -> Option<Outgoing> {
        if self.kills.sending.is_none() {
            let list = view.kill_list();
            let newest = (view.epoch(), list.generation(), list.set_hash());
            if self.kills.flight.is_some() || self.kills.sent == Some(newest) {
                return None;
            }
            self.kills.sent = Some(newest);
            self.nonce += 1;
            self.kills.sending = Some((self.nonce, view.epoch(), Arc::clone(list), 0));
        }
        let (nonce, epoch, list, next) = self.kills.sending.as_mut()?;
        let (nonce, part) = (*nonce, *next);
        let outgoing = Outgoing::Kills { nonce, epoch: *epoch, list: Arc::clone(list), part };
        *next += 1;
        if *next >= list.parts() {
            let position = list.generation().0;
            let flight = Flight { nonce, position, hash: list.set_hash(), since_ms: now_ms };
            self.kills.flight = self.acks.then_some(flight);
            self.kills.sending = None;
        }
        Some(outgoing)
    }

    fn next_objects(&mut self, view: &View, now_ms: u64, plans: &mut impl Plans, pace: Pace) -> Option<Outgoing> {
        if self.objects.sending.is_none() {
            let (mode, from) = self.due(view, pace)?;
            self.objects.nudged = false;
            self.nonce += 1;
            self.objects.sending = Some((self.nonce, Transfer::new(plans.plan(mode, from, view))));
        }
        let (nonce, transfer) = self.objects.sending.as_mut()?;
        let nonce = *nonce;
        let part = transfer.next()?;
        let plan = Arc::clone(transfer.plan());
        if transfer.is_done() {
            let commit = plan.commit();
            let arriving = Resume {
                epoch: commit.epoch,
                revision: commit.revision,
                digest: commit.digest,
                kill_generation: Generation::ZERO,
            };
            self.objects.sending = None;
            if self.acks {
                let position = commit.revision.0;
                self.objects.flight = Some(Flight { nonce, position, hash: commit.set_hash, since_ms: now_ms });
                self.objects.arriving = Some(arriving);
            } else {
                self.objects.at = Some(arriving);
            }
        }
        Some(Outgoing::Transfer { nonce, plan, part })
    }

    /// The transfer that is due, if one is and the window is free.
    fn due(&mut self, view: &View, pace: Pace) -> Option<(Mode, Revision)> {
        self.objects.waiting = false;
        if self.objects.flight.is_some() || pace == Pace::None {
            return None;
        }
        let Some(at) = self.objects.at else {
            let why = self.objects.why.unwrap_or(FullReason::Requested);
            return self.full(why, view, pace);
        };
        let standing = match view.judge(&at) {
            // The digest of a revision that was sent on this stream need not be remembered to be believed.
            Standing::Full(FullReason::Compacted)
                if self.objects.spoken && at.revision >= view.objects().compacted() =>
            {
                Standing::Known
            }
            standing => standing,
        };
        if let Standing::Full(reason) = standing {
            return self.full(reason, view, pace);
        }
        let spoken = std::mem::replace(&mut self.objects.spoken, true);
        let news = view.objects().newest() > at.revision || self.objects.nudged || !spoken;
        match () {
            () if at.revision < view.revision() && news => Some((Mode::Delta, at.revision)),
            // A subscriber that comes back and lacks nothing is told so, once.
            () if !spoken => Some((Mode::None, at.revision)),
            () => None,
        }
    }

    fn full(&mut self, reason: FullReason, view: &View, pace: Pace) -> Option<(Mode, Revision)> {
        let empty = view.objects().is_empty();
        let confirmed = empty && view.objects().ever_deleted();
        if empty && !confirmed && self.objects.refused_empty {
            return None;
        }
        if pace != Pace::All {
            self.objects.waiting = true;
            return None;
        }
        self.objects.refused_empty = false;
        self.objects.spoken = true;
        self.events.push(Event::Full(reason));
        let reason = if confirmed { FullReason::ConfirmedEmpty } else { reason };
        Some((Mode::Full(reason), Revision::ZERO))
    }
}

/// Whether what a client says of an object is longer than what is said here.
fn is_too_long(error: &ObjectError) -> bool {
    let name = error.key.key().len() + error.key.flag_set().map_or(0, str::len);
    name > 2 * NAME_BYTES_MAX || error.code.len() > WORD_BYTES_MAX || error.message.len() > MESSAGE_BYTES_MAX
}

/// Checks what stands in Hello against its limits.
fn check(hello: &Hello) -> Result<(), ProtocolFault> {
    let word =
        |text: &str| text.len() <= WORD_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let id = !hello.instance_id.is_empty() && hello.instance_id.bytes().all(|byte| byte.is_ascii_graphic());
    let labels = hello.labels.iter().all(|(key, value)| key.len() <= WORD_BYTES_MAX && value.len() <= WORD_BYTES_MAX);
    let fault = match () {
        () if !id || hello.instance_id.len() > WORD_BYTES_MAX => "instance_id: 1 to 64 characters of visible ASCII",
        () if hello.name.len() > NAME_BYTES_MAX || hello.name.chars().any(is_invisible) => {
            "name: at most 256 bytes, no invisible characters"
        }
        () if !word(&hello.sdk) || !word(&hello.sdk_version) => "sdk, sdk_version: at most 64 characters of ASCII",
        () if hello.labels.len() > LABELS_MAX || !labels => "labels: at most 8, keys and values of at most 64 bytes",
        () => return Ok(()),
    };
    Err(ProtocolFault::HelloField(fault))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::object::{ObjectKey, ObjectState};
    use crate::sync::objects::Objects;

    fn view(flags: u64) -> View {
        let objects = (1..=flags).fold(Objects::default(), |objects, n| {
            let key = ObjectKey::from_parts(1, None, &format!("flag-{n}"));
            objects.put(ObjectState { key, revision: Revision(n), payload: b"{}".as_slice().into(), allocation: None })
        });
        View::empty([1; 16]).advance([1; 16], Revision(flags), [9; 16], objects)
    }

    fn hello(resume: Option<Resume>) -> ClientMessage {
        ClientMessage::Hello(Box::new(Hello { instance_id: "i".into(), acks: true, resume, ..Hello::default() }))
    }

    fn greeted(view: &View, resume: Option<Resume>) -> ServerSession {
        let mut session = ServerSession::new("production".into());
        session.on_message(hello(resume), view).unwrap();
        session
    }

    /// Everything that can be sent now.
    fn drain(session: &mut ServerSession, view: &View) -> Vec<ServerMessage> {
        std::iter::from_fn(|| session.next(view, 0)).collect()
    }

    fn ack(lane: Lane, nonce: u64, applied: u64, set_hash: SetHash) -> ClientMessage {
        let (apply_us, rejected) = (0, Vec::new());
        ClientMessage::Ack(Ack { nonce, lane, applied, set_hash: Some(set_hash), apply_us, rejected })
    }

    #[test]
    fn nothing_is_said_before_hello_and_hello_comes_once() {
        let view = view(1);
        let mut session = ServerSession::new("production".into());
        assert_eq!(session.next(&view, 0), None);
        assert_eq!(session.on_message(ClientMessage::Ping(1), &view), Err(ProtocolFault::HelloExpected));
        session.on_message(hello(None), &view).unwrap();
        assert_eq!(session.on_message(hello(None), &view), Err(ProtocolFault::HelloRepeated));
    }

    #[test]
    fn a_hello_beyond_its_limits_is_refused() {
        let long = "x".repeat(65);
        let label = |n: usize| (format!("k{n}"), String::new());
        for wrong in [
            Hello::default(),
            Hello { instance_id: long.clone(), ..Hello::default() },
            Hello { instance_id: "a b".into(), ..Hello::default() },
            Hello { instance_id: "i".into(), name: "a\u{202e}b".into(), ..Hello::default() },
            Hello { instance_id: "i".into(), sdk: long, ..Hello::default() },
            Hello { instance_id: "i".into(), labels: (0..9).map(label).collect(), ..Hello::default() },
        ] {
            let mut session = ServerSession::new("production".into());
            let said = session.on_message(ClientMessage::Hello(Box::new(wrong.clone())), &view(1));
            assert!(matches!(said, Err(ProtocolFault::HelloField(_))), "{wrong:?}");
        }
    }

    #[test]
    fn the_window_is_one_and_what_changed_meanwhile_comes_as_one_step() {
        let (two, five) = (view(2), view(5));
        let mut session = greeted(&two, None);
        let sent = drain(&mut session, &two);
        let nonce = sent.last().unwrap().nonce;
        assert!(matches!(sent.last().unwrap().body, ServerBody::Commit(commit) if commit.revision == Revision(2)));
        assert_eq!(drain(&mut session, &five), [], "not before the receipt");
        session.on_message(ack(Lane::Objects, nonce, 2, two.objects().set_hash()), &five).unwrap();
        // The digest is no longer the newest, and was sent on this stream.
        let sent = drain(&mut session, &five);
        let ServerBody::Begin(begin) = sent[0].body else { panic!("{sent:?}") };
        assert_eq!((begin.from, begin.to, begin.objects), (Revision(2), Revision(5), 3));
    }

    #[test]
    fn a_receipt_that_proves_another_state_counts_for_nothing() {
        let view = view(2);
        let mut session = greeted(&view, None);
        let sent = drain(&mut session, &view);
        session.events();
        let wrong = SetHash::from_bytes([7; 16]);
        session.on_message(ack(Lane::Kills, sent[0].nonce, 0, wrong), &view).unwrap();
        assert_eq!(session.events(), [Event::Differs(Lane::Kills)]);
        session.on_message(ack(Lane::Objects, sent.last().unwrap().nonce, 2, wrong), &view).unwrap();
        assert_eq!(session.events(), [Event::Differs(Lane::Objects)]);
        let again = drain(&mut session, &view);
        assert!(matches!(again[0].body, ServerBody::Begin(begin) if begin.mode == Mode::Full(FullReason::Requested)));
    }

    #[test]
    fn a_receipt_before_the_end_is_a_fault() {
        let view = view(2);
        let mut session = greeted(&view, None);
        session.next(&view, 0);
        let begin = session.next(&view, 0).unwrap();
        let early = ack(Lane::Objects, begin.nonce, 2, view.objects().set_hash());
        assert_eq!(session.on_message(early, &view), Err(ProtocolFault::AckTooEarly));
    }

    #[test]
    fn asking_for_everything_again_and_again_ends_the_stream() {
        let view = view(1);
        let mut session = greeted(&view, None);
        for _ in 0..RESYNCS_MAX {
            session.on_message(ClientMessage::Resync(ResyncReason::SetMismatch), &view).unwrap();
            assert!(!drain(&mut session, &view).is_empty());
        }
        let once_more = session.on_message(ClientMessage::Resync(ResyncReason::SetMismatch), &view);
        assert_eq!(once_more, Err(ProtocolFault::ResyncLoop));
    }

    #[test]
    fn an_emptiness_that_was_refused_is_not_sent_again_before_there_is_something() {
        let empty = View::empty([1; 16]).advance([1; 16], Revision(1), [9; 16], Objects::default());
        let mut session = greeted(&empty, None);
        drain(&mut session, &empty);
        session.on_message(ClientMessage::Resync(ResyncReason::SuspiciousEmpty), &empty).unwrap();
        assert_eq!(drain(&mut session, &empty), []);
        let sent = drain(&mut session, &view(3));
        assert!(matches!(sent[0].body, ServerBody::Begin(begin) if begin.objects == 3));
    }

    #[test]
    fn a_client_that_comes_back_up_to_date_is_told_so_once() {
        let view = view(3);
        let kill_generation = Generation(4);
        let resume = Resume { epoch: [1; 16], revision: Revision(3), digest: [9; 16], kill_generation };
        let mut session = greeted(&view, Some(resume));
        assert_eq!(session.events().split_off(1), [Event::Resumed(resume), Event::KillsAhead(kill_generation)]);
        let sent = drain(&mut session, &view);
        assert!(matches!(sent[0].body, ServerBody::Kills(_)));
        assert!(matches!(sent[1].body, ServerBody::Begin(begin) if begin.mode == Mode::None));
        session.on_message(ack(Lane::Objects, sent[2].nonce, 3, view.objects().set_hash()), &view).unwrap();
        assert_eq!(drain(&mut session, &view), []);
    }

    #[test]
    fn pings_are_answered_and_a_flood_of_them_is_not_kept() {
        let view = view(1);
        let mut session = greeted(&view, None);
        drain(&mut session, &view);
        for token in 0..100 {
            session.on_message(ClientMessage::Ping(token), &view).unwrap();
        }
        let answers: Vec<_> = drain(&mut session, &view).into_iter().map(|message| message.body).collect();
        assert_eq!(answers, [96, 97, 98, 99].map(ServerBody::Pong));
    }

    #[test]
    fn a_client_without_receipts_is_sent_what_is_new_without_waiting() {
        let mut session = ServerSession::new("production".into());
        let hello = Hello { instance_id: "i".into(), ..Hello::default() };
        session.on_message(ClientMessage::Hello(Box::new(hello)), &view(1)).unwrap();
        drain(&mut session, &view(1));
        assert!(!drain(&mut session, &view(2)).is_empty());
        assert_eq!((session.waiting(Lane::Kills), session.waiting(Lane::Objects)), (None, None));
    }
}
