//! Clients of server-sent events: of the bare server, whose events carry a number, and of Rampart's `/v1/stream`, whose
//! kills and commits they acknowledge over a small pool of other connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::board::{Board, Mark};
use crate::converse::{Talk, pieces};
use crate::http1::Keep;

/// Connections that carry receipts.
pub const POSTERS: usize = 64;
/// Receipts that may wait to be posted: two lanes of the largest crowd.
pub const OUTBOX: usize = 262_144;
/// Receipts that a connection sends before it reads the answers.
const BATCH: usize = 16;

/// A reader of events.
#[derive(Debug)]
pub struct Events {
    board: Arc<Board>,
    mark: Mark,
    path: String,
    acks: Option<mpsc::Sender<Vec<u8>>>,
    head: bool,
    wire: Vec<u8>,
    body: Vec<u8>,
    stream: String,
    kills: bool,
    objects: bool,
}

/// The members of an event's data that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Said {
    stream: String,
    nonce: u64,
    generation: u64,
    revision: u64,
    set_hash: String,
    reconnect_after_ms: u32,
    code: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ack<'a> {
    nonce: u64,
    lane: &'static str,
    applied: u64,
    set_hash: &'a str,
}

#[derive(Debug, Serialize)]
struct Acks<'a> {
    stream: &'a str,
    acks: [Ack<'a>; 1],
}

impl Events {
    /// A reader of the bare server.
    pub fn bare(board: &Arc<Board>) -> Self {
        Self::new(board, "/".to_owned(), None)
    }

    /// A subscriber of Rampart.
    pub fn subscriber(board: &Arc<Board>, number: usize, acks: mpsc::Sender<Vec<u8>>) -> Self {
        Self::new(board, format!("/v1/stream?instance=fanout-{number}&acks=true"), Some(acks))
    }

    fn new(board: &Arc<Board>, path: String, acks: Option<mpsc::Sender<Vec<u8>>>) -> Self {
        Self {
            board: Arc::clone(board),
            mark: Mark::default(),
            path,
            acks,
            head: true,
            wire: Vec::new(),
            body: Vec::new(),
            stream: String::new(),
            kills: false,
            objects: false,
        }
    }

    /// The connection is gone.
    pub fn ended(&mut self, why: &str) {
        self.board.lost(&mut self.mark, why);
    }

    /// Takes the head off; true when it is all there.
    fn head(&mut self, bytes: &[u8]) -> Result<bool> {
        self.wire.extend_from_slice(bytes);
        let Some(end) = self.wire.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
        ensure!(
            self.wire.starts_with(b"HTTP/1.1 200"),
            "{} answered {}",
            self.path,
            String::from_utf8_lossy(&self.wire)
        );
        self.wire.drain(..end + 4);
        self.head = false;
        Ok(true)
    }

    fn event(&mut self, event: &str, at: Instant) -> Result<()> {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
        let data = field("data:");
        self.board.heard();
        let Some(acks) = self.acks.clone() else {
            let Some(data) = data else { return Ok(()) };
            let number =
                data.split(' ').next().and_then(|word| word.parse().ok()).context("an event without a number")?;
            self.board.arrived(&mut self.mark, number, at);
            self.board.synced(&mut self.mark, at);
            return Ok(());
        };
        let kind = field("event:").unwrap_or_default();
        if !matches!(kind, "open" | "kill" | "commit" | "goodbye" | "error") {
            return Ok(());
        }
        let said: Said =
            serde_json::from_str(data.unwrap_or_default()).with_context(|| format!("the event {event}"))?;
        let (lane, applied) = match kind {
            "open" => {
                self.stream = said.stream;
                return Ok(());
            }
            "goodbye" => {
                self.board.goodbye(said.reconnect_after_ms);
                return Ok(());
            }
            "error" => bail!("the server says {}", said.code),
            "kill" => ("kills", said.generation),
            _ => ("objects", said.revision),
        };
        if lane == "kills" {
            self.board.arrived(&mut self.mark, applied, at);
            self.kills = true;
        } else {
            self.objects = true;
        }
        let ack = Ack { nonce: said.nonce, lane, applied, set_hash: &said.set_hash };
        let body = serde_json::to_vec(&Acks { stream: &self.stream, acks: [ack] })?;
        acks.try_send(body).context("receipts are not posted fast enough")?;
        if self.kills && self.objects {
            self.board.synced(&mut self.mark, at);
        }
        Ok(())
    }
}

impl Talk for Events {
    fn open(&mut self, out: &mut Vec<u8>) {
        let request = format!("GET {} HTTP/1.1\r\nhost: fanout\r\naccept: text/event-stream\r\n\r\n", self.path);
        out.extend_from_slice(request.as_bytes());
    }

    fn take(&mut self, bytes: &[u8], at: Instant, _: &mut Vec<u8>) -> Result<()> {
        let mut bytes = bytes;
        if self.head {
            if !self.head(bytes)? {
                return Ok(());
            }
            bytes = &[];
        }
        let (mut wire, mut body) = (std::mem::take(&mut self.wire), std::mem::take(&mut self.body));
        pieces(&mut wire, bytes, chunk_length, |chunk| {
            let begin = chunk.iter().position(|byte| *byte == b'\n').map_or(0, |place| place + 1);
            let data = chunk.get(begin..chunk.len() - 2).unwrap_or_default();
            ensure!(!data.is_empty(), "the server ended the stream");
            pieces(&mut body, data, event_length, |event| self.event(std::str::from_utf8(event)?, at))
        })?;
        (self.wire, self.body) = (wire, body);
        Ok(())
    }
}

/// A chunk with its length before it and its line end behind it.
fn chunk_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.iter().position(|byte| *byte == b'\n')?;
    let digits = std::str::from_utf8(bytes.get(..line)?).ok()?.trim();
    Some(line + 1 + usize::from_str_radix(digits, 16).ok()? + 2)
}

fn event_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|window| window == b"\n\n").map(|place| place + 2)
}

/// Posts receipts as they come, several at a time, until there is nobody left to send any.
pub async fn post(server: SocketAddr, outbox: &tokio::sync::Mutex<mpsc::Receiver<Vec<u8>>>) -> Result<()> {
    let mut connection = Keep::connect(server, None).await?;
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        // Whoever has the lock waits for receipts, the others for the lock.
        if outbox.lock().await.recv_many(&mut batch, BATCH).await == 0 {
            return Ok(());
        }
        connection.pipeline("POST", "/v1/stream/acks", &batch).await?;
        batch.clear();
    }
}
