//! Thousands of subscribers on a few connections: a minimal HTTP/2 client on plain sockets, a thread per connection.
//!
//! It keeps no flags: it acknowledges what it is sent with the hashes that came along, and remembers where it is so
//! that it can come back. It never decodes a header. `benches/fanout` has a larger one that measures; this one counts.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use prost::Message as _;
use rampart::proto::rampart_v1 as wire;
use wire::client_message::Message as Out;
use wire::server_message::Message as In;

use crate::harness::GUARD;

/// The preface, SETTINGS with a stream window of 1 GiB and no push, and 4 MiB more for the connection.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x0c\x04\x00\x00\x00\x00\x00\x00\x04\x40\x00\x00\x00\x00\x02\x00\x00\x00\x00\
    \x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x40\x00\x00";
/// Streams of one connection.
const PER_CONNECTION: usize = 100;
/// Received bytes after which the connection's window is filled up.
const REFILL: u32 = 1024 * 1024;
const FRAME_HEAD: usize = 9;
const GRPC_HEAD: usize = 5;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A subscriber.
#[derive(Debug, Default)]
pub(super) struct Member {
    instance: String,
    /// What it has; without a digest nothing.
    resume: wire::Resume,
    /// The generation of the kill set that it has.
    pub(super) generation: u64,
    /// How the last transfers began.
    pub(super) modes: Vec<wire::TransferMode>,
    /// How the server ended its stream.
    pub(super) goodbye: Option<wire::Goodbye>,
    synced: bool,
    ended: bool,
    rest: Vec<u8>,
}

/// What happened so far, in all.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Streams that brought everything.
    pub(super) synced: usize,
    /// Streams that the server ended with a goodbye.
    pub(super) goodbyes: usize,
    /// Streams that are over, however they ended.
    pub(super) ended: usize,
}

/// Subscribers that are connected.
pub(super) struct Crowd {
    board: Arc<(Mutex<Board>, Condvar)>,
    sockets: Vec<TcpStream>,
    threads: Vec<JoinHandle<Vec<Member>>>,
}

/// So many that have nothing yet.
pub(super) fn members(count: usize) -> Vec<Member> {
    (0..count).map(|number| Member { instance: format!("member-{number}"), ..Member::default() }).collect()
}

impl Crowd {
    /// Connects them all, and waits until every one has everything.
    pub(super) fn gather(address: &str, members: Vec<Member>) -> Self {
        let count = members.len();
        let mut crowd = Self { board: Arc::default(), sockets: Vec::new(), threads: Vec::new() };
        let mut members = members.into_iter().map(Member::again).peekable();
        while members.peek().is_some() {
            let own: Vec<Member> = members.by_ref().take(PER_CONNECTION).collect();
            let socket = TcpStream::connect(address).expect("it listens");
            socket.set_nodelay(true).expect("a socket");
            socket.set_read_timeout(Some(GUARD)).expect("a guard");
            crowd.sockets.push(socket.try_clone().expect("a socket"));
            let board = Arc::clone(&crowd.board);
            crowd
                .threads
                .push(std::thread::spawn(move || Connection { socket, members: own, board, received: 0 }.run()));
        }
        crowd.wait("everybody has everything", |board| board.synced == count);
        crowd
    }

    /// Waits until the board says so.
    pub(super) fn wait(&self, what: &str, mut done: impl FnMut(&Board) -> bool) {
        let (board, changed) = &*self.board;
        let board = board.lock().expect("no thread panicked");
        let (board, waited) =
            changed.wait_timeout_while(board, GUARD, |board| !done(board)).expect("no thread panicked");
        assert!(!waited.timed_out(), "within the guard: {what}; now {board:?}");
    }

    /// Closes every connection; the subscribers as they are.
    pub(super) fn leave(self) -> Vec<Member> {
        // One that the server closed is closed already.
        self.sockets.iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
        self.threads.into_iter().flat_map(|thread| thread.join().expect("no thread panics")).collect()
    }
}

impl Member {
    /// The same before its next stream.
    fn again(self) -> Self {
        let Self { instance, resume, generation, .. } = self;
        Self { instance, resume, generation, ..Self::default() }
    }

    fn hello(&self) -> Vec<u8> {
        let resume = Some(self.resume.clone()).filter(|resume| !resume.digest.is_empty());
        let hello = wire::Hello {
            instance_id: self.instance.clone(),
            sdk: "crowd".to_owned(),
            schema_max: 1,
            acks: true,
            resume,
            ..wire::Hello::default()
        };
        encoded(Out::Hello(hello))
    }

    /// Takes a message; the receipt, where there is one.
    fn take(&mut self, message: &[u8], board: &mut Board) -> Option<Vec<u8>> {
        let wire::ServerMessage { nonce, message } = wire::ServerMessage::decode(message).expect("a message");
        match message? {
            In::KillSet(set) => {
                self.generation = set.generation;
                self.resume.kill_generation = set.generation;
                (set.part + 1 == set.parts).then(|| ack(nonce, wire::Lane::Kills, set.generation, set.set_hash))
            }
            In::Begin(begin) => {
                self.modes.push(begin.mode());
                None
            }
            In::Commit(commit) => {
                board.synced += usize::from(!std::mem::replace(&mut self.synced, true));
                self.resume.epoch = commit.epoch;
                (self.resume.revision, self.resume.digest) = (commit.revision, commit.digest);
                Some(ack(nonce, wire::Lane::Objects, commit.revision, commit.set_hash))
            }
            In::Goodbye(goodbye) => {
                board.goodbyes += 1;
                self.goodbye = Some(goodbye);
                None
            }
            In::Error(error) => panic!("{}: the server says {error:?}", self.instance),
            In::Chunk(_) | In::Bookmark(_) | In::Pong(_) => None,
        }
    }
}

fn encoded(message: Out) -> Vec<u8> {
    wire::ClientMessage { message: Some(message) }.encode_to_vec()
}

fn ack(nonce: u64, lane: wire::Lane, applied: u64, set_hash: prost::bytes::Bytes) -> Vec<u8> {
    encoded(Out::Ack(wire::Ack { nonce, lane: lane.into(), applied, set_hash, ..wire::Ack::default() }))
}

/// One connection: the first member has stream 1, the next 3.
struct Connection {
    socket: TcpStream,
    members: Vec<Member>,
    board: Arc<(Mutex<Board>, Condvar)>,
    received: u32,
}

impl Connection {
    /// Until the server or the test closes it.
    fn run(mut self) -> Vec<Member> {
        let mut out = OPENING.to_vec();
        let fields = fields();
        for (member, id) in self.members.iter().zip((1..).step_by(2)) {
            frame(&mut out, HEADERS, END_HEADERS, id, &fields);
            data(&mut out, id, &member.hello());
        }
        let (mut held, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        while self.socket.write_all(&out).is_ok() {
            out.clear();
            let Ok(count @ 1..) = self.socket.read(&mut buffer) else { break };
            held.extend_from_slice(&buffer[..count]);
            let mut rest = &held[..];
            while let Some((head, body)) = rest.split_first_chunk::<FRAME_HEAD>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let Some((payload, after)) = body.split_at_checked(length) else { break };
                self.take(head, payload, &mut out);
                rest = after;
            }
            held.drain(..held.len() - rest.len());
        }
        (0..self.members.len()).for_each(|place| self.end(place));
        self.members
    }

    fn take(&mut self, head: &[u8; FRAME_HEAD], payload: &[u8], out: &mut Vec<u8>) {
        let [_, _, _, kind, flags, a, b, c, d] = *head;
        let id = u32::from_be_bytes([a & 0x7f, b, c, d]);
        let place = (id as usize).saturating_sub(1) / 2;
        match kind {
            DATA => self.data(place, id, payload, out),
            SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(out, PING, ACK, 0, payload),
            _ => {}
        }
        if kind == RST_STREAM || (matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0) {
            self.end(place);
        }
    }

    fn data(&mut self, place: usize, id: u32, payload: &[u8], out: &mut Vec<u8>) {
        self.received += u32::try_from(payload.len()).expect("a frame is short");
        if self.received >= REFILL {
            frame(out, WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
            self.received = 0;
        }
        let member = &mut self.members[place];
        member.rest.extend_from_slice(payload);
        let mut rest = std::mem::take(&mut member.rest);
        while let Some((head, body)) = rest.split_first_chunk::<GRPC_HEAD>() {
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let Some((message, after)) = body.split_at_checked(length) else { break };
            let (board, changed) = &*self.board;
            let mut board = board.lock().expect("no thread panicked");
            if let Some(answer) = member.take(message, &mut board) {
                data(out, id, &answer);
            }
            drop(board);
            changed.notify_all();
            rest = after.to_vec();
        }
        member.rest = rest;
    }

    fn end(&mut self, place: usize) {
        if !std::mem::replace(&mut self.members[place].ended, true) {
            let (board, changed) = &*self.board;
            board.lock().expect("no thread panicked").ended += 1;
            changed.notify_all();
        }
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let [_, a, b, c] = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

fn data(out: &mut Vec<u8>, id: u32, message: &[u8]) {
    let length = u32::try_from(message.len()).expect("a message is short").to_be_bytes();
    frame(out, DATA, 0, id, &[&[0], &length[..], message].concat());
}

/// The header fields of a call: static ones by their place in HPACK's table, the others written out and not kept.
fn fields() -> Vec<u8> {
    let mut fields = vec![0x83, 0x86];
    let mut field = |name: &[u8], value: &str| {
        fields.extend_from_slice(name);
        fields.push(u8::try_from(value.len()).expect("a short value"));
        fields.extend_from_slice(value.as_bytes());
    };
    field(&[0x04], "/rampart.v1.Subscription/Subscribe");
    field(&[0x01], "crowd");
    field(&[0x0f, 0x10], "application/grpc");
    field(b"\x00\x02te", "trailers");
    fields
}
