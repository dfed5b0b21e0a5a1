//! The calls of `rampart.v1.Subscription` as the generator makes them: a subscriber that acknowledges, and one that
//! watches kills only. They keep no flags: what is measured is the server, so an answer repeats what was announced.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use prost::Message as _;
use rampart::proto::rampart_v1 as wire;
use wire::client_message::Message as Out;
use wire::server_message::Message as In;

use crate::board::{Board, Mark};
use crate::h2::Call;

/// The path of [`Subscriber`].
pub const SUBSCRIBE: &str = "/rampart.v1.Subscription/Subscribe";
/// The path of [`Watcher`].
pub const WATCH_KILLS: &str = "/rampart.v1.Subscription/WatchKills";

/// A subscription with receipts.
#[derive(Debug)]
pub struct Subscriber {
    board: Arc<Board>,
    mark: Mark,
    instance: String,
    kills: bool,
    objects: bool,
    gone: bool,
    /// What it has, for the next stream.
    resume: Option<wire::Resume>,
    /// When the server asked it to come back.
    pub pushback_ms: Option<u32>,
}

impl Subscriber {
    /// The subscriber of this number.
    pub fn new(board: &Arc<Board>, number: usize) -> Self {
        Self {
            board: Arc::clone(board),
            mark: Mark::default(),
            instance: format!("fanout-{number}"),
            kills: false,
            objects: false,
            gone: false,
            resume: None,
            pushback_ms: None,
        }
    }

    /// The same subscriber before its next stream.
    pub fn again(self) -> Self {
        Self { kills: false, objects: false, gone: false, pushback_ms: None, ..self }
    }

    /// True where the last stream brought everything.
    pub fn was_synced(&self) -> bool {
        self.kills && self.objects
    }

    fn resume(&mut self) -> &mut wire::Resume {
        self.resume.get_or_insert_default()
    }

    fn check(&mut self, at: Instant) {
        if self.was_synced() {
            self.board.synced(&mut self.mark, at);
        }
    }
}

fn encoded(message: Out) -> Vec<u8> {
    wire::ClientMessage { message: Some(message) }.encode_to_vec()
}

fn ack(nonce: u64, lane: wire::Lane, applied: u64, set_hash: prost::bytes::Bytes) -> Option<Vec<u8>> {
    Some(encoded(Out::Ack(wire::Ack { nonce, lane: lane.into(), applied, set_hash, ..wire::Ack::default() })))
}

impl Call for Subscriber {
    fn first(&mut self) -> (Vec<u8>, bool) {
        // Something to continue from is a place on the lane of objects; without one everything is asked for.
        let resume = self.resume.clone().filter(|resume| !resume.digest.is_empty());
        let hello = wire::Hello {
            instance_id: self.instance.clone(),
            sdk: "fanout".to_owned(),
            schema_max: 1,
            acks: true,
            resume,
            ..wire::Hello::default()
        };
        (encoded(Out::Hello(hello)), false)
    }

    fn message(&mut self, message: &[u8], at: Instant) -> Result<Option<Vec<u8>>> {
        self.board.heard();
        let message = wire::ServerMessage::decode(message)?;
        let nonce = message.nonce;
        let answer = match message.message {
            Some(In::KillSet(set)) if set.part + 1 == set.parts => {
                self.board.arrived(&mut self.mark, set.generation, at);
                self.resume().kill_generation = set.generation;
                self.kills = true;
                ack(nonce, wire::Lane::Kills, set.generation, set.set_hash)
            }
            Some(In::Commit(commit)) => {
                let resume = self.resume();
                (resume.epoch, resume.digest, resume.revision) = (commit.epoch, commit.digest, commit.revision);
                self.objects = true;
                ack(nonce, wire::Lane::Objects, commit.revision, commit.set_hash)
            }
            Some(In::Goodbye(goodbye)) => {
                self.board.goodbye(goodbye.reconnect_after_ms);
                self.pushback_ms = Some(goodbye.reconnect_after_ms);
                None
            }
            Some(In::Error(error)) => bail!("the server says {}: {}", error.code, error.message),
            _ => None,
        };
        if answer.is_some() {
            self.check(at);
        }
        Ok(answer)
    }

    fn ended(&mut self, why: &str) {
        if !std::mem::replace(&mut self.gone, true) {
            self.board.lost(&mut self.mark, why);
        }
    }
}

/// A reader of a plain server stream.
#[derive(Debug)]
pub struct Watcher {
    board: Arc<Board>,
    mark: Mark,
    gone: bool,
}

impl Watcher {
    /// One more reader.
    pub fn new(board: &Arc<Board>) -> Self {
        Self { board: Arc::clone(board), mark: Mark::default(), gone: false }
    }
}

impl Call for Watcher {
    fn first(&mut self) -> (Vec<u8>, bool) {
        (wire::WatchKillsRequest::default().encode_to_vec(), true)
    }

    fn message(&mut self, message: &[u8], at: Instant) -> Result<Option<Vec<u8>>> {
        self.board.heard();
        let set = wire::KillSet::decode(message)?;
        self.board.arrived(&mut self.mark, set.generation, at);
        self.board.synced(&mut self.mark, at);
        Ok(None)
    }

    fn ended(&mut self, why: &str) {
        if !std::mem::replace(&mut self.gone, true) {
            self.board.lost(&mut self.mark, why);
        }
    }
}
