//! Both machines against each other under a seeded network: messages are lost or repeated, streams are cut, the server
//! restarts, forgets, compacts and comes back from older backups, with and without saying so.
//!
//! After every step the invariants of a subscription are checked; in the end everything must have converged. A seed that
//! fails is named by the assertion and replays exactly.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::hash::SetHash;
use super::kills::set_hash;
use super::message::{ClientMessage, Digest, Epoch, FullReason, Hello, Lane, Mode, ServerBody, ServerMessage};
use super::object::{ObjectKey, ObjectState};
use super::objects::Objects;
use super::replica::{Event as ReplicaEvent, Replica};
use super::server::{Event, ServerSession};
use super::view::View;
use crate::flag::key::{FlagId, FlagKey};
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::{Generation, Revision};

const SEEDS: u64 = 300;
const STEPS: usize = 400;
const CLIENTS: usize = 3;
const ACK_DEADLINE_MS: u64 = 60;

/// xorshift64*: the same numbers for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

struct Client {
    replica: Replica,
    session: ServerSession,
    to_client: VecDeque<ServerMessage>,
    to_server: VecDeque<ClientMessage>,
    /// The nonce of the kill set and of the transfer that are not acknowledged, as the network saw them.
    in_flight: HashMap<Lane, u64>,
    first: bool,
}

struct World {
    seed: u64,
    dice: Dice,
    now_ms: u64,
    view: View,
    kills: KillSet,
    last_generation: Generation,
    backup: (View, KillSet),
    /// The set hash of every state that any store was ever in, by digest.
    states: HashMap<Digest, SetHash>,
    clients: Vec<Client>,
    seen: HashSet<String>,
}

fn flag(n: u64) -> FlagId {
    FlagId::plain(FlagKey::new(&format!("flag-{n}")).expect("a valid key"))
}

/// One definition in eight is one that no client can use.
fn payload(n: u64) -> Arc<[u8]> {
    let default = if n.is_multiple_of(8) { "nowhere" } else { "off" };
    let text = format!(r#"{{"defaultVariant":"{default}","description":"{n}","variants":{{"off":false,"on":true}}}}"#);
    text.into_bytes().into()
}

fn is_usable(state: &ObjectState) -> bool {
    !String::from_utf8_lossy(&state.payload).contains("nowhere")
}

fn session() -> ServerSession {
    ServerSession::new(Arc::from("production"))
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let view = View::empty([u8::try_from(dice.roll(250)).expect("small"); 16]);
        let clients = (0..CLIENTS).map(|_| Client {
            replica: Replica::default(),
            session: session(),
            to_client: VecDeque::new(),
            to_server: VecDeque::new(),
            in_flight: HashMap::new(),
            first: true,
        });
        let mut world = Self {
            seed,
            dice,
            now_ms: 0,
            backup: (view.clone(), KillSet::default()),
            states: HashMap::from([([0; 16], SetHash::EMPTY)]),
            kills: KillSet::default(),
            last_generation: Generation::ZERO,
            view,
            clients: clients.collect(),
            seen: HashSet::new(),
        };
        for client in 0..CLIENTS {
            world.connect(client);
        }
        world
    }

    fn connect(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.replica.disconnected();
        client.session = session();
        client.to_client.clear();
        client.in_flight.clear();
        client.first = true;
        let instance_id = format!("client-{index}");
        let hello = Hello { instance_id, resume: client.replica.resume(), acks: true, ..Hello::default() };
        client.to_server = VecDeque::from([ClientMessage::Hello(Box::new(hello))]);
    }

    fn publish(&mut self, epoch: Epoch, objects: Objects) {
        let revision = self.view.revision().next();
        // The dice stand in for the chain hash: two histories never share a digest.
        let digest = (u128::from(self.dice.roll(1 << 31)) << 64 | u128::from(revision.0)).to_be_bytes();
        self.view = self.view.advance(epoch, revision, digest, objects);
        self.states.insert(digest, self.view.objects().set_hash());
    }

    fn change(&mut self) {
        let (n, revision) = (self.dice.roll(12), self.view.revision().next());
        let key = ObjectKey::flag(&flag(n));
        let mut objects = self.view.objects().clone();
        if self.dice.one_in(3) {
            objects = objects.remove(&key, revision);
        } else {
            let payload = payload(self.dice.roll(1000));
            objects = objects.put(ObjectState { key, revision, payload, allocation: None });
        }
        if self.dice.one_in(10) {
            objects = objects.compact(Revision(self.dice.roll(revision.0)));
        }
        self.publish(self.view.epoch(), objects);
    }

    fn mark(&mut self) {
        self.last_generation = Generation(self.last_generation.0 + 1 + self.dice.roll(5));
        let mark = KillMark { generation: self.last_generation, killed: self.dice.one_in(2) };
        self.kills.merge(&flag(self.dice.roll(12)), mark);
        self.view = self.view.with_kills(Arc::new(self.kills.clone()));
    }

    /// The server comes back: as it was, without its memory of digests, or as it was when the backup was made.
    fn restart(&mut self) {
        let (view, kills) = match self.dice.roll(3) {
            0 => (self.view.clone(), self.kills.clone()),
            _ => self.backup.clone(),
        };
        let epoch =
            if self.dice.one_in(3) { [u8::try_from(self.dice.roll(250)).expect("small"); 16] } else { view.epoch() };
        let digest =
            if epoch == view.epoch() { view.digest() } else { u128::from(self.dice.roll(1 << 31)).to_be_bytes() };
        self.states.insert(digest, view.objects().set_hash());
        let fresh = View::empty(epoch).advance(epoch, view.revision(), digest, view.objects().clone());
        self.view = fresh.with_kills(Arc::new(kills.clone()));
        self.kills = kills;
        for client in 0..CLIENTS {
            self.connect(client);
        }
    }

    fn step(&mut self) {
        self.now_ms += 1;
        let index = usize::try_from(self.dice.roll(CLIENTS as u64)).expect("small");
        let act = self.dice.roll(100);
        match act {
            0..12 => self.change(),
            12..17 => self.mark(),
            17 => self.backup = (self.view.clone(), self.kills.clone()),
            18 => self.restart(),
            19..21 => self.connect(index),
            21..45 => drop(self.send(index, true)),
            45..70 => drop(self.server_reads(index, true)),
            _ => drop(self.client_reads(index, true)),
        }
        self.give_up_on_the_silent();
    }

    /// What the driver's acknowledgement deadline does.
    fn give_up_on_the_silent(&mut self) {
        for index in 0..CLIENTS {
            let session = &self.clients[index].session;
            let since = session.waiting(Lane::Kills).into_iter().chain(session.waiting(Lane::Objects)).min();
            if since.is_some_and(|since| since + ACK_DEADLINE_MS < self.now_ms) {
                self.connect(index);
            }
        }
    }

    fn send(&mut self, index: usize, faults: bool) -> bool {
        let lost = faults && self.dice.one_in(60);
        let seed = self.seed;
        let client = &mut self.clients[index];
        let Some(message) = client.session.next(&self.view, self.now_ms) else { return false };
        if std::mem::take(&mut client.first) {
            assert!(matches!(message.body, ServerBody::Kills(_)), "seed {seed}: the kill set comes first");
        }
        let lane = match &message.body {
            ServerBody::Kills(_) => Some(Lane::Kills),
            ServerBody::Begin(begin) => {
                self.seen.insert(match begin.mode {
                    Mode::Full(reason) => reason.as_str().to_owned(),
                    mode => format!("{mode:?}"),
                });
                Some(Lane::Objects)
            }
            _ => None,
        };
        if let Some(lane) = lane {
            let held = client.in_flight.insert(lane, message.nonce);
            assert!(held.is_none() || held == Some(message.nonce), "seed {seed}: one at a time on {lane:?}");
        }
        if !lost {
            client.to_client.push_back(message);
        }
        true
    }

    fn server_reads(&mut self, index: usize, faults: bool) -> bool {
        let repeated = faults && self.dice.one_in(40);
        let client = &mut self.clients[index];
        let Some(message) = client.to_server.pop_front() else { return false };
        if repeated && !matches!(message, ClientMessage::Hello(_)) {
            client.to_server.push_front(message.clone());
        }
        match &message {
            ClientMessage::Ack(ack) if client.in_flight.get(&ack.lane) == Some(&ack.nonce) => {
                client.in_flight.remove(&ack.lane);
            }
            ClientMessage::Resync(_) => {
                client.in_flight.remove(&Lane::Objects);
            }
            _ => {}
        }
        if client.session.on_message(message, &self.view).is_err() {
            self.seen.insert("fault".to_owned());
            self.connect(index);
            return true;
        }
        for event in client.session.events() {
            if event.betrays_rollback() {
                self.seen.insert("rollback".to_owned());
            }
            if event == Event::Differs(Lane::Objects) {
                client.in_flight.remove(&Lane::Objects);
                self.seen.insert("differs".to_owned());
            }
        }
        true
    }

    fn client_reads(&mut self, index: usize, faults: bool) -> bool {
        let repeated = faults && self.dice.one_in(60);
        let Some(message) = self.clients[index].to_client.pop_front() else { return false };
        if repeated {
            self.clients[index].to_client.push_front(message.clone());
        }
        let client = &mut self.clients[index];
        let revision = client.replica.revision();
        let outcome = client.replica.on_message(message);
        client.to_server.extend(outcome.send);
        for event in outcome.events {
            match event {
                ReplicaEvent::Objects { revision: after, full: None, .. } => {
                    assert!(
                        revision.is_some_and(|before| before <= after),
                        "seed {}: no way back without a reason",
                        self.seed
                    );
                }
                ReplicaEvent::Resync(reason) => {
                    self.seen.insert(format!("{reason:?}"));
                }
                ReplicaEvent::Objects { rejected, .. } if !rejected.is_empty() => {
                    self.seen.insert("rejected".to_owned());
                }
                _ => {}
            }
        }
        self.check(index);
        true
    }

    /// A copy is always some state that a store was in, whole; and the kills it holds are the kills it answers with.
    fn check(&self, index: usize) {
        let (seed, replica) = (self.seed, &self.clients[index].replica);
        let digest = replica.resume().map_or([0; 16], |resume| resume.digest);
        assert_eq!(
            Some(&replica.objects().set_hash()),
            self.states.get(&digest),
            "seed {seed}: a state that never was"
        );
        assert_eq!(replica.kills().kills(), replica.set().kills(), "seed {seed}: kills that do not count");
    }

    /// No more faults: everybody comes to rest.
    fn quiesce(&mut self) {
        for round in 0.. {
            assert!(round < 100_000, "seed {}: it never comes to rest", self.seed);
            self.now_ms += 1;
            let mut busy = false;
            for index in 0..CLIENTS {
                busy |= self.send(index, false);
                busy |= self.server_reads(index, false);
                busy |= self.client_reads(index, false);
                let session = &self.clients[index].session;
                busy |= session.waiting(Lane::Kills).is_some() || session.waiting(Lane::Objects).is_some();
            }
            self.give_up_on_the_silent();
            if !busy {
                return;
            }
        }
    }

    fn converged(&self) {
        let seed = self.seed;
        for Client { replica, .. } in &self.clients {
            let objects = self.view.objects();
            let refused_empty = objects.is_empty() && !objects.ever_deleted();
            assert!(
                refused_empty || replica.objects().set_hash() == objects.set_hash(),
                "seed {seed}: not the server's objects"
            );
            assert_eq!(
                set_hash(replica.kills().kills()),
                self.view.kill_list().set_hash(),
                "seed {seed}: not its kills"
            );
            if refused_empty {
                continue;
            }
            assert_eq!(replica.revision(), Some(self.view.revision()), "seed {seed}");
            let refused: Vec<&ObjectKey> = replica.rejected().map(|error| &error.key).collect();
            let expected: Vec<&ObjectKey> =
                objects.full().filter(|state| !is_usable(state)).map(|state| &state.key).collect();
            assert_eq!(refused, expected, "seed {seed}: what cannot be used is refused, nothing else");
            for state in objects.full().filter(|state| is_usable(state)) {
                let ObjectKey::Flag(id) = &state.key else { continue };
                assert_eq!(
                    replica.set().get(id).map(|flag| flag.revision()),
                    Some(state.revision),
                    "seed {seed}: {id}"
                );
            }
            let unknown = replica.set().iter().filter(|flag| objects.get(&ObjectKey::flag(flag.id())).is_none());
            assert_eq!(unknown.count(), 0, "seed {seed}: flags that are gone");
        }
    }
}

#[test]
fn copies_converge_and_never_lie_whatever_the_network_and_the_store_do() {
    let mut seen = HashSet::new();
    for seed in 1..=SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        // A later word than any that a lost journal may have given out.
        world.change();
        world.mark();
        world.quiesce();
        world.converged();
        seen.extend(world.seen);
    }
    let mut wanted: Vec<&str> = FullReason::ALL.into_iter().map(FullReason::as_str).collect();
    wanted.extend(["Delta", "None", "rollback", "rejected", "SetMismatch", "SuspiciousEmpty"]);
    let missing: Vec<&str> = wanted.into_iter().filter(|word| !seen.contains(*word)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "the simulation no longer reaches what it is for: {seen:?}");
}
