//! One run: stores, clients and the steps in which everything happens to them. After every step the invariants are
//! asked; in the end the faults stop and everybody must come to rest.

use std::rc::Rc;

use super::client::{Client, Sent};
use super::dice::Dice;
use super::history::{History, Invariant, Verdict, Violation};
use super::invariants as must;
use super::model::State;
use super::network::Fate;
use super::plant::Bug;
use super::store::{Return, Store};
use crate::flag::time::Timestamp;
use crate::sync::hash::SetHash;
use crate::sync::message::{ClientMessage, FullReason, Hello, Lane, Mode, ResyncReason, ServerBody, ServerMessage};
use crate::sync::replica::{Event as Told, Outcome};
use crate::sync::server::{Event, ServerSession};

/// Steps of most runs, and of one in eight.
const STEPS: u64 = 140;
const LONG: u64 = 400;
/// Steps without faults in which everybody must come to rest.
const REST: u64 = 250;
const ACK_DEADLINE: u64 = 20;
const SILENCE: u64 = 30;
const BOOKMARK_EVERY: u64 = 8;
/// Messages that a stream takes before its writer waits.
const ROOM: usize = 8;

pub(super) struct World {
    pub(super) dice: Dice,
    pub(super) now: u64,
    pub(super) stores: Vec<Store>,
    pub(super) clients: Vec<Client>,
    pub(super) history: History,
    pub(super) bug: Option<Bug>,
    /// No more faults.
    pub(super) calm: bool,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>, whole: bool) -> Self {
        let mut dice = Dice::of(seed);
        let two = |dice: &mut Dice, sides| 1 + usize::from(dice.one_in(sides));
        let nodes = if bug.is_some() { 1 } else { two(&mut dice, 4) };
        let environments = if bug.is_some() { 2 } else { two(&mut dice, 3) };
        let names = ["production", "staging"];
        let stores: Vec<Store> =
            names.iter().take(environments).map(|name| Store::new(name, nodes, &mut dice)).collect();
        let clients = 1 + dice.pick(5);
        let clients = (0..clients)
            .map(|index| Client::new(index % stores.len(), bug.is_some() || !dice.one_in(4), dice.one_in(4)))
            .collect();
        let history = History { whole, ..History::default() };
        Self { dice, now: 0, stores, clients, history, bug, calm: false }
    }

    /// Everything until the end, or until an invariant does not hold.
    pub(super) fn run(&mut self) -> Verdict {
        let steps = if self.dice.one_in(8) { LONG } else { STEPS };
        for _ in 0..steps {
            self.step()?;
        }
        self.calm = true;
        for client in &mut self.clients {
            client.storm_until = client.storm_until.min(self.now);
            (client.down.dead_until, client.up.dead_until) = (self.now, self.now);
        }
        for store in 0..self.stores.len() {
            // A later word than any that a lost journal may have given out.
            let write = !self.dice.one_in(4);
            self.stores[store].change(&mut self.dice, write);
            self.stores[store].mark(0, &mut self.dice, self.now);
            for node in (0..self.stores[store].nodes.len()).rev() {
                self.stores[store].gossip(node, self.now);
            }
            for node in 0..self.stores[store].nodes.len() {
                self.stores[store].gossip(node, self.now);
            }
        }
        let mut verdict = Ok(());
        for _ in 0..REST {
            self.step()?;
            verdict = self
                .clients
                .iter()
                .try_for_each(|client| must::convergent(client, &self.stores[client.store].nodes[client.node]));
            if verdict.is_ok() {
                break;
            }
        }
        verdict
    }

    fn step(&mut self) -> Verdict {
        self.now += 1;
        if !self.calm {
            for store in 0..self.stores.len() {
                self.disturb_store(store)?;
            }
        }
        for index in 0..self.clients.len() {
            if !self.calm {
                self.disturb_client(index);
            }
            self.turn(index)?;
        }
        self.check()
    }

    fn check(&mut self) -> Verdict {
        for (index, client) in self.clients.iter_mut().enumerate() {
            let store = &self.stores[client.store];
            let named = |verdict: Verdict| {
                verdict
                    .map_err(|violation| Violation { what: format!("client {index}: {}", violation.what), ..violation })
            };
            if std::mem::take(&mut client.dirty) {
                named(must::filtered(client, &store.name))?;
                named(must::no_resurrection(client, &store.name))?;
                named(must::atomic(client, &store.name))?;
            }
            named(must::kill_bounded(client, store, self.now))?;
        }
        for (index, store) in self.stores.iter().enumerate() {
            must::honest_count(&self.clients, index, &store.nodes[0])?;
        }
        Ok(())
    }

    fn disturb_store(&mut self, at: usize) -> Verdict {
        let Self { stores, dice, history, now, .. } = self;
        let (store, now) = (&mut stores[at], *now);
        match dice.roll(100) {
            0..12 => {
                store.change(dice, false);
                let revision = store.nodes[0].state.revision;
                history.note(now, || format!("{}: revision {revision}", store.name));
            }
            12..18 => {
                let node = dice.pick(store.nodes.len());
                let word = store.mark(node, dice, now);
                history.note(now, || format!("{} node {node}: flag, generation, killed {word:?}", store.name));
                let transfer = self.clients.iter().any(|client| {
                    let session = client.session.as_ref();
                    client.store == at && session.is_some_and(|session| session.waiting(Lane::Objects).is_some())
                });
                if transfer && word.2 {
                    history.reach("kill during a transfer");
                }
            }
            18..20 => {
                store.back_up();
                history.note(now, || format!("{}: a backup is made", store.name));
            }
            20..28 if store.nodes.len() > 1 => store.gossip(dice.pick(2), now),
            28 if self.bug.is_none_or(|bug| bug.restarts()) => return self.restart(at),
            _ => {}
        }
        Ok(())
    }

    fn restart(&mut self, at: usize) -> Verdict {
        let Self { stores, dice, history, now, .. } = self;
        let store = &mut stores[at];
        let how = match dice.roll(6) {
            0 | 1 => Return::AsItWas,
            2 => Return::Forgetful,
            3 => Return::Renamed,
            4 => Return::Declared,
            _ => Return::Undeclared,
        };
        let how = if self.bug.is_some() { Return::AsItWas } else { how };
        let acknowledged = store.timeline.clone();
        if self.bug == Some(Bug::LoseTheTail) {
            self.bug.iter().for_each(|bug| bug.lose(store));
        }
        store.restart(how, dice, *now);
        history.note(*now, || format!("{}: restarts, {how:?}", store.name));
        history.reach(match how {
            Return::AsItWas => "restart",
            Return::Forgetful => "restart without digests",
            Return::Renamed => "new epoch",
            Return::Declared => "declared restore",
            Return::Undeclared => "undeclared restore",
        });
        if matches!(how, Return::AsItWas | Return::Forgetful) {
            must::durable(store, &acknowledged)?;
        }
        for client in self.clients.iter_mut().filter(|client| client.store == at) {
            client.cut(*now + 1 + dice.roll(5));
            client.disturbed = *now + 5;
        }
        Ok(())
    }

    fn disturb_client(&mut self, index: usize) {
        let Self { stores, clients, dice, history, now, .. } = self;
        let (client, now) = (&mut clients[index], *now);
        if self.bug.is_some_and(|bug| !bug.storms()) {
            return;
        }
        let word = match dice.roll(400) {
            0..8 => {
                client.storm_until = now + 10 + dice.roll(50);
                "storm"
            }
            8..12 => {
                client.cut(now + dice.roll(10));
                "cut"
            }
            12..15 if client.in_storm(now) => {
                let until = now + dice.roll(40);
                let dead = if dice.one_in(2) { &mut client.down.dead_until } else { &mut client.up.dead_until };
                *dead = until;
                client.storm_until = client.storm_until.max(until);
                "half cut"
            }
            15 => {
                client.cut(now + dice.roll(10));
                (client.replica, client.held) = <_>::default();
                "client lost everything"
            }
            16..19 => {
                client.saved = Some((client.replica.clone(), client.held.clone()));
                "client saves"
            }
            19..21 if client.saved.is_some() => {
                client.cut(now + dice.roll(10));
                (client.replica, client.held) = client.saved.clone().expect("it is there");
                client.replica.disconnected();
                "client returns to an older state"
            }
            21..24 if stores[client.store].nodes.len() > 1 => {
                client.cut(now + dice.roll(5));
                client.node = 1 - client.node;
                "client goes to another node"
            }
            24 => {
                client.up.send(ClientMessage::Ping(now), now, false, dice);
                client.up.send(ClientMessage::Resync(ResyncReason::Requested), now, false, dice);
                "client asks for everything"
            }
            _ => return,
        };
        client.dirty = true;
        client.disturbed = now + 10;
        history.reach(word);
        history.note(now, || format!("client {index}: {word}"));
    }

    /// One step of a client, of its session, and of the network between them.
    fn turn(&mut self, index: usize) -> Verdict {
        let now = self.now;
        if self.clients[index].session.is_none() {
            if now >= self.clients[index].back_at {
                self.connect(index);
            }
            return Ok(());
        }
        while let Some(message) = self.clients[index].up.receive(now) {
            if !self.server_reads(index, message)? {
                self.clients[index].cut(now + 2);
                return Ok(());
            }
        }
        self.server_writes(index)?;
        let slow = self.clients[index].slow;
        let reads = if slow { usize::from(now.is_multiple_of(3)) } else { 6 };
        for _ in 0..reads {
            let Some(message) = self.clients[index].down.receive(now) else { break };
            self.clients[index].heard_at = now;
            self.client_reads(index, message)?;
            if self.clients[index].session.is_none() {
                return Ok(());
            }
        }
        let client = &mut self.clients[index];
        let session = client.session.as_ref();
        let waiting = |lane| session.and_then(|session| session.waiting(lane));
        let since = waiting(Lane::Kills).into_iter().chain(waiting(Lane::Objects)).min();
        let overdue = since.is_some_and(|since| since + ACK_DEADLINE < now);
        if overdue || client.heard_at + SILENCE < now || client.stream.behind >= 3 {
            self.history.reach(if overdue { "acknowledgement overdue" } else { "silence" });
            self.history.note(now, || format!("client {index}: given up, overdue {overdue}"));
            client.cut(now + 1);
        }
        Ok(())
    }

    fn connect(&mut self, index: usize) {
        let Self { stores, clients, dice, history, now, .. } = self;
        let client = &mut clients[index];
        client.begin_stream(&stores[client.store].name, *now);
        let mut resume = client.replica.resume();
        client.stream.resume = resume;
        if self.bug == Some(Bug::ForgetThePlace) {
            resume = None;
        }
        history.note(*now, || format!("client {index}: connects to node {} with {resume:?}", client.node));
        let instance_id = format!("client-{index}");
        let hello = Hello { instance_id, resume, acks: client.acks, ..Hello::default() };
        let storm = client.in_storm(*now);
        client.up.send(ClientMessage::Hello(Box::new(hello)), *now, storm, dice);
    }

    /// Whether the stream goes on.
    fn server_reads(&mut self, index: usize, message: ClientMessage) -> Result<bool, Violation> {
        let Self { stores, clients, history, now, .. } = self;
        let client = &mut clients[index];
        let (store, now) = (&stores[client.store], *now);
        let node = &store.nodes[client.node];
        history.note(now, || format!("server of {index}: reads {message:?}"));
        let Some(session) = client.session.as_mut() else { return Ok(false) };
        let stream = &mut client.stream;
        let nonce = if let ClientMessage::Ack(ack) = &message { ack.nonce } else { 0 };
        let ahead = match &message {
            ClientMessage::Hello(hello) => {
                let same = hello.resume.filter(|resume| resume.epoch == node.state.epoch);
                same.is_some_and(|resume| resume.kill_generation.0 > node.known.generation())
            }
            ClientMessage::Resync(_) => {
                stream.resynced = true;
                stream.confirmed = None;
                false
            }
            ClientMessage::Ack(_) | ClientMessage::Ping(_) | ClientMessage::Leave(_) | ClientMessage::Unknown => false,
        };
        if let Err(fault) = session.on_message(message, &node.view) {
            history.reach("protocol fault");
            history.note(now, || format!("server of {index}: {fault}"));
            return Ok(false);
        }
        stream.greeted = true;
        let events = session.events();
        must::witnessed(store, ahead, events.iter().any(Event::betrays_rollback))?;
        for event in events {
            match event {
                Event::Applied { lane, proven: true, rejected, .. } => {
                    if !rejected.is_empty() {
                        history.reach("rejected");
                    }
                    must::honest(stream, nonce, lane == Lane::Kills)?;
                    if lane == Lane::Objects {
                        stream.confirmed = stream.sent.get(&nonce).map(|sent| sent.state.digest);
                    }
                }
                Event::Differs(lane) => {
                    stream.resynced |= lane == Lane::Objects;
                    history.reach(if lane == Lane::Objects { "objects differ" } else { "kills differ" });
                }
                Event::KillsAhead(_) => history.reach("kills ahead"),
                _ => {}
            }
        }
        Ok(true)
    }

    /// The one place that asks a session for its next message.
    fn next(&mut self, index: usize) -> Option<ServerMessage> {
        let client = &mut self.clients[index];
        let other = self.bug == Some(Bug::WrongEnvironment) && self.now > 60;
        let store = if other { 1 - client.store } else { client.store };
        let view = &self.stores[store].nodes[client.node].view;
        client.session.as_mut()?.next(view, self.now)
    }

    /// The one place that asks a session for its sign of life.
    fn sign_of_life(&mut self, index: usize) -> ServerMessage {
        let client = &mut self.clients[index];
        client.session.iter_mut().for_each(ServerSession::nudge);
        let now = Timestamp::from_micros(i64::try_from(self.now).expect("small"));
        ServerSession::bookmark(&self.stores[client.store].nodes[client.node].view, now)
    }

    fn server_writes(&mut self, index: usize) -> Verdict {
        self.bookmark(index)?;
        for _ in 0..4 {
            if self.clients[index].down.len() >= ROOM {
                break;
            }
            let Some(message) = self.next(index) else { break };
            self.witness(index, &message)?;
            self.deliver(index, message);
        }
        Ok(())
    }

    /// A sign of life, when it is time and there is room; it waits for room and is not left out.
    fn bookmark(&mut self, index: usize) -> Verdict {
        let stream = &mut self.clients[index].stream;
        stream.bookmark_due |= self.now % BOOKMARK_EVERY == index as u64 && stream.greeted;
        if !stream.bookmark_due || self.clients[index].down.len() >= ROOM {
            return Ok(());
        }
        let mut message = self.sign_of_life(index);
        if let Some(bug) = self.bug {
            bug.alter(&mut message);
        }
        let client = &mut self.clients[index];
        client.stream.bookmark_due = false;
        if let ServerBody::Bookmark(bookmark) = &message.body {
            must::bookmarkable(&client.stream, &self.stores[client.store], bookmark)?;
            client.stream.bookmark = (bookmark.revision.0, bookmark.kill_generation.0);
        }
        self.deliver(index, message);
        Ok(())
    }

    /// Records what a session says, and asks what can be asked of it.
    fn witness(&mut self, index: usize, message: &ServerMessage) -> Verdict {
        let Self { stores, clients, history, now, .. } = self;
        let client = &mut clients[index];
        let store = &stores[client.store];
        let node = &store.nodes[client.node];
        let said = client.session.as_mut().map(ServerSession::events).unwrap_or_default();
        let stream = &mut client.stream;
        match &message.body {
            ServerBody::Kills(part) if part.part == 0 => {
                stream.kills.insert(message.nonce, Rc::clone(&node.known));
            }
            ServerBody::Begin(begin) => {
                must::resumable(stream, node, &store.timeline, begin)?;
                let first = stream.sent.is_empty() && !stream.resynced;
                let worth = stream.resume.filter(|_| first).and_then(|resume| node.worth(&resume, &store.timeline));
                let wanted = matches!(worth, Some(FullReason::DigestMismatch | FullReason::FutureRevision));
                let betrayed = said.iter().any(Event::betrays_rollback);
                must::witnessed(store, wanted, betrayed)?;
                if betrayed {
                    history.reach("rollback");
                }
                if let (Some((nonce, to)), Mode::Delta | Mode::None) = (stream.newest, begin.mode) {
                    Invariant::Ordered.holds(message.nonce > nonce && begin.from.0 == to, || {
                        format!("{begin:?} does not follow {to}")
                    })?;
                }
                stream.newest = Some((message.nonce, begin.to.0));
                history.reach(match begin.mode {
                    Mode::Full(reason) => reason.as_str(),
                    Mode::Delta => "delta",
                    Mode::None => "none",
                });
                stream.sent.insert(message.nonce, Sent { state: Rc::clone(&node.state), mode: begin.mode });
            }
            _ => {}
        }
        history.note(*now, || format!("server of {index}: says {} {:?}", message.nonce, message.body));
        Ok(())
    }

    /// Through the network, by way of the bug that is planted.
    fn deliver(&mut self, index: usize, message: ServerMessage) {
        let Self { stores, clients, dice, history, now, .. } = self;
        let client = &mut clients[index];
        let store = &stores[client.store];
        let node = &store.nodes[client.node];
        let known = client.stream.kills.get(&message.nonce);
        let mut message = match known {
            Some(known) if store.nodes.len() > 1 => node.word(&store.name, known, message),
            _ => message,
        };
        if let Some(bug) = self.bug {
            bug.alter(&mut message);
            if bug.swallows(&message, *now, self.calm) {
                return;
            }
        }
        let storm = client.in_storm(*now);
        let bursts = &mut client.stream.bursts;
        match &message.body {
            ServerBody::Begin(_) => {
                bursts.push_back(vec![message.clone()]);
                if bursts.len() > 3 {
                    bursts.pop_front();
                }
            }
            ServerBody::Chunk(_) | ServerBody::Commit(_) => bursts.back_mut().expect("begun").push(message.clone()),
            _ => {}
        }
        if storm && bursts.len() > 1 && dice.one_in(12) {
            let again = bursts[dice.pick(bursts.len() - 1)].clone();
            client.down.repeat(again, *now);
            history.reach("transfer repeated");
            history.note(*now, || format!("network of {index}: down, a whole transfer once more"));
        }
        for message in split(message, dice) {
            let fate = client.down.send(message, *now, storm, dice);
            if let Some(word) = fate.word() {
                history.reach(word);
                history.note(*now, || format!("network of {index}: down, {word}"));
            }
        }
    }

    fn client_reads(&mut self, index: usize, message: ServerMessage) -> Verdict {
        if let Some(bug) = self.bug
            && let Some(early) = bug.lie(&message)
        {
            self.clients[index].up.send(early, self.now, false, &mut self.dice);
            return Ok(());
        }
        if let Some(bug) = self.bug {
            for (replay, state) in bug.replay(&mut self.clients[index], &self.stores, &message) {
                if let Some(state) = state {
                    let sent = Sent { state, mode: Mode::Full(FullReason::Requested) };
                    self.clients[index].stream.sent.insert(replay.nonce, sent);
                }
                self.take(index, replay)?;
            }
        }
        self.take(index, message)
    }

    /// The client takes a message; what came of it is compared with what must be.
    fn take(&mut self, index: usize, message: ServerMessage) -> Verdict {
        let Self { stores, clients, dice, history, now, .. } = self;
        let (client, now) = (&mut clients[index], *now);
        let store = &stores[client.store];
        let nonce = message.nonce;
        history.note(now, || format!("client {index}: reads {nonce} {:?}", message.body));
        let mut outcome = client.replica.on_message(message);
        if let Some(bug) = self.bug {
            bug.tell(&mut outcome);
        }
        let Outcome { send, events } = outcome;
        for event in events {
            match event {
                Told::Objects { full, changed, .. } => {
                    let Some(sent) = client.stream.sent.get(&nonce).cloned() else { continue };
                    Self::applied(client, store, &sent.state, nonce, full, &changed)?;
                    history.note(now, || format!("client {index}: applied {}", sent.state.revision));
                }
                Told::Resync(reason) => history.reach(match reason {
                    ResyncReason::Gap => "gap",
                    ResyncReason::SetMismatch => "set mismatch",
                    ResyncReason::SuspiciousEmpty => "suspicious empty",
                    ResyncReason::Requested => "resync requested",
                }),
                Told::KillsUnusable => {
                    history.reach("kills unusable");
                    client.cut(now + 1);
                    client.dirty = true;
                    return Ok(());
                }
                Told::Bookmark(bookmark) => {
                    let resume = client.replica.resume();
                    let behind = bookmark.kill_generation > client.replica.kills().generation()
                        || resume.is_none_or(|resume| resume.digest != bookmark.digest);
                    client.stream.behind = if behind { client.stream.behind + 1 } else { 0 };
                }
                _ => {}
            }
        }
        for mut message in send {
            if client.in_storm(now)
                && dice.one_in(40)
                && let ClientMessage::Ack(ack) = &mut message
            {
                ack.set_hash = Some(SetHash::from_bytes([3; 16]));
                history.reach("wrong proof");
            }
            if let ClientMessage::Ack(ack) = &message
                && ack.lane == Lane::Kills
                && let Some(known) = client.stream.kills.get(&ack.nonce)
            {
                client.held.apply_kills(known, |at| store.lost.contains(&at));
                client.stream.kill_states.push(client.held.known.killed());
            }
            client.dirty = true;
            let silent = !client.acks && matches!(message, ClientMessage::Ack(_));
            let storm = client.in_storm(now);
            let fate = if silent { Fate::Sent } else { client.up.send(message, now, storm, dice) };
            if let Some(word) = fate.word() {
                history.reach(word);
            }
        }
        Ok(())
    }

    fn applied(
        client: &mut Client,
        store: &Store,
        state: &Rc<State>,
        nonce: u64,
        full: Option<FullReason>,
        changed: &[crate::sync::replica::Changed],
    ) -> Verdict {
        must::ordered(&client.stream, nonce)?;
        must::monotone(client.held.state.as_deref(), state, full, store)?;
        let before = client.held.state.as_ref();
        if before.is_some_and(|before| before.epoch != state.epoch || before.revision > state.revision)
            || (full.is_some() && store.rolled_back)
        {
            // It went back, with a reason: what follows may be told again.
            client.held.told.clear();
        }
        must::unique(&client.held, &store.name, changed)?;
        must::reliable(&client.held, state, &store.name, changed)?;
        client.stream.applied = nonce;
        client.stream.states.push(state.digest);
        client.held.apply(state);
        for change in changed {
            if let Some(number) = must::number(&store.name, &change.key) {
                client.held.told.insert(number, (change.revision.0, change.gone));
            }
        }
        Ok(())
    }
}

/// A kill set in two parts, now and then, as a large one comes.
fn split(message: ServerMessage, dice: &mut Dice) -> Vec<ServerMessage> {
    match message {
        ServerMessage { nonce, body: ServerBody::Kills(mut first) } if first.entries.len() > 1 && dice.one_in(4) => {
            let mut second = first.clone();
            second.entries = first.entries.split_off(1);
            (first.parts, second.parts, second.part) = (2, 2, 1);
            [first, second].map(|part| ServerMessage { nonce, body: ServerBody::Kills(part) }).into()
        }
        whole => vec![whole],
    }
}
