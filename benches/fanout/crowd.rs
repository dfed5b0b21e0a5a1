//! N clients on their connections, all on the thread of the generator, with one board between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::board::{Board, Mark};
use crate::clock;
use crate::converse::{connect, converse};
use crate::h2::{Call, Connection};
use crate::plain::Plain;
use crate::sse::{Events, OUTBOX, POSTERS, post};
use crate::subscriber::{SUBSCRIBE, Subscriber, WATCH_KILLS, Watcher};

/// Connections that are being made at the same time: below every backlog.
const DIALLING: usize = 256;
/// How long everybody may take to get everything.
const GATHERING: Duration = Duration::from_secs(120);
/// The first wait before a client comes back, at most; it doubles with every failure.
const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// The longest wait before a client comes back.
const BACKOFF_CAP: Duration = Duration::from_secs(10);

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speak {
    /// Messages of one length.
    Plain,
    /// A plain server stream.
    Watch,
    /// Subscriptions with receipts.
    Subscribe,
    /// Events with a number.
    BareEvents,
    /// `/v1/stream`, with receipts.
    Events,
}

/// Clients that are connected.
#[derive(Debug)]
pub struct Crowd {
    /// What they have seen.
    pub board: Arc<Board>,
    tasks: JoinSet<()>,
}

impl Crowd {
    /// Connects so many subscribers, so many on each connection, and waits until all are in sync.
    pub async fn gather(speak: Speak, address: SocketAddr, subscribers: usize, connections: usize) -> Result<Self> {
        let board = Arc::new(Board::new(subscribers));
        let mut crowd = Self { board: Arc::clone(&board), tasks: JoinSet::new() };
        let dialling = Arc::new(Semaphore::new(DIALLING));
        let acks = (speak == Speak::Events).then(|| crowd.posters(address));
        for connection in 0..connections {
            let own: Vec<usize> = (connection..subscribers).step_by(connections).collect();
            let (board, dialling, acks) = (Arc::clone(&board), Arc::clone(&dialling), acks.clone());
            crowd.tasks.spawn(async move {
                let ended = member(speak, address, &own, &board, &dialling, acks).await;
                if let Err(error) = ended {
                    board.lost(&mut Mark::default(), &format!("{error:#}"));
                }
            });
        }
        board.all_there(GATHERING).await?;
        Ok(crowd)
    }

    /// Connects so many subscribers that come back whenever their stream ends, and waits until all are in sync.
    pub async fn faithful(address: SocketAddr, subscribers: usize) -> Result<Self> {
        let board = Arc::new(Board::new(subscribers));
        let mut tasks = JoinSet::new();
        let dialling = Arc::new(Semaphore::new(DIALLING));
        for number in 0..subscribers {
            let (board, dialling) = (Arc::clone(&board), Arc::clone(&dialling));
            tasks.spawn(async move { come_back(address, Subscriber::new(&board, number), number, &dialling).await });
        }
        board.all_synced(GATHERING).await?;
        Ok(Self { board, tasks })
    }

    /// Closes every connection.
    pub async fn leave(mut self) {
        self.tasks.shutdown().await;
    }

    fn posters(&mut self, address: SocketAddr) -> mpsc::Sender<Vec<u8>> {
        let (acks, outbox) = mpsc::channel(OUTBOX);
        let outbox = Arc::new(tokio::sync::Mutex::new(outbox));
        for _ in 0..POSTERS {
            let (outbox, board) = (Arc::clone(&outbox), Arc::clone(&self.board));
            self.tasks.spawn(async move {
                if let Err(error) = post(address, &outbox).await {
                    board.lost(&mut Mark::default(), &format!("receipts: {error:#}"));
                }
            });
        }
        acks
    }
}

async fn member(
    speak: Speak,
    address: SocketAddr,
    own: &[usize],
    board: &Arc<Board>,
    dialling: &Semaphore,
    acks: Option<mpsc::Sender<Vec<u8>>>,
) -> Result<()> {
    let turn = dialling.acquire().await.context("no turn to connect")?;
    let stream = connect(address).await.context("cannot connect")?;
    drop(turn);
    let first = own.first().copied().unwrap_or_default();
    match speak {
        Speak::Plain => {
            let mut plain = Plain { board: Arc::clone(board), mark: Mark::default(), rest: Vec::new() };
            converse(stream, &mut plain).await
        }
        Speak::Watch => calls(stream, WATCH_KILLS, own.iter().map(|_| Watcher::new(board)).collect()).await,
        Speak::Subscribe => calls(stream, SUBSCRIBE, own.iter().map(|n| Subscriber::new(board, *n)).collect()).await,
        Speak::BareEvents => events(stream, Events::bare(board)).await,
        Speak::Events => events(stream, Events::subscriber(board, first, acks.context("no posters")?)).await,
    }
}

/// Why a conversation ended.
fn why(ended: Result<()>) -> String {
    ended.map_or_else(|error| format!("{error:#}"), |()| "the server closed the connection".to_owned())
}

async fn calls<C: Call + Unpin>(stream: tokio::net::TcpStream, path: &'static str, calls: Vec<C>) -> Result<()> {
    let mut connection = Connection::new(path, calls);
    let why = why(converse(stream, &mut connection).await);
    for mut call in connection.into_calls() {
        call.ended(&why);
    }
    Ok(())
}

async fn events(stream: tokio::net::TcpStream, mut events: Events) -> Result<()> {
    let why = why(converse(stream, &mut events).await);
    events.ended(&why);
    Ok(())
}

/// One subscriber for life: full jitter between streams, the server's own wish where it had one.
async fn come_back(address: SocketAddr, mut subscriber: Subscriber, number: usize, dialling: &Semaphore) {
    let mut dice = 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut failures = 0_u32;
    // Only the first time: later the waits are the clients' own.
    let mut turn = dialling.acquire().await.ok();
    loop {
        if let Ok(stream) = connect(address).await {
            drop(turn.take());
            let mut connection = Connection::new(SUBSCRIBE, vec![subscriber]);
            let why = why(converse(stream, &mut connection).await);
            let Some(mut back) = connection.into_calls().pop() else { return };
            back.ended(&why);
            failures = if back.was_synced() { 0 } else { failures + 1 };
            let pushback = back.pushback_ms.map(|wait| Duration::from_millis(wait.into()));
            subscriber = back.again();
            if let Some(wait) = pushback {
                clock::pause(wait).await;
                continue;
            }
        } else {
            failures += 1;
        }
        // xorshift64, Marsaglia 2003.
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let cap = BACKOFF_BASE.saturating_mul(1 << failures.min(10)).min(BACKOFF_CAP);
        clock::pause(cap.mul_f64((dice % 1_000_000) as f64 / 1_000_000.0)).await;
    }
}
