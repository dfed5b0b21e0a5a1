//! The bare writers beside which Rampart is judged, each in a process of its own: raw TCP, tonic with a server stream,
//! tonic with a stream that is acknowledged, and server-sent events on axum.
//!
//! They know no flags, tokens, limits or journal: a watch channel and N streams, as small as their libraries allow. A
//! process prints the ports of its clients and of its control connection. A byte on the latter makes it send the next
//! message; the server that counts receipts answers with a byte when it has them all.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::response::sse::{Event, Sse};
use prost::bytes::Bytes;
use rampart::proto::rampart_v1 as wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};
use wire::subscription_server::{Subscription, SubscriptionServer};

use crate::arguments::Bare;
use crate::plain;

/// Connections that may wait to be accepted: ten thousand dial at once.
const BACKLOG: u32 = 4096;

type Shared<T> = Arc<Mutex<T>>;

fn locked<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen() -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(socket.listen(BACKLOG)?)
}

/// Serves until the control connection closes.
pub async fn serve(kind: Bare) -> Result<()> {
    let (clients, control) = (listen()?, listen()?);
    println!("{} {}", clients.local_addr()?, control.local_addr()?);
    let (control, _) = control.accept().await?;
    control.set_nodelay(true)?;
    match kind {
        Bare::Tcp => tcp(clients, control).await,
        Bare::Tonic | Bare::Receipts => tonic(clients, control, kind == Bare::Receipts).await,
        Bare::Sse => sse(clients, control).await,
    }
}

/// Calls `fire` with the next number for every byte.
async fn obey(mut control: TcpStream, fire: impl Fn(u64), done: Option<Arc<Notify>>) -> Result<()> {
    let mut number = 0;
    let mut byte = [0];
    while control.read(&mut byte).await? > 0 {
        number += 1;
        fire(number);
        if let Some(done) = &done {
            done.notified().await;
            control.write_all(&byte).await?;
        }
    }
    Ok(())
}

async fn tcp(clients: TcpListener, control: TcpStream) -> Result<()> {
    let sockets: Shared<Vec<TcpStream>> = Arc::default();
    let accepted = Arc::clone(&sockets);
    let accepting = async move {
        loop {
            let (socket, _) = clients.accept().await?;
            socket.set_nodelay(true)?;
            socket.try_write(&plain::message(0))?;
            locked(&accepted).push(socket);
        }
    };
    let fire = |number| {
        let message = plain::message(number);
        for socket in locked(&sockets).iter() {
            // A client that is gone is missed by the one who measures.
            drop(socket.try_write(&message));
        }
    };
    tokio::select! {
        failed = accepting => failed,
        ended = obey(control, fire, None) => ended,
    }
}

fn kill_set(number: u64) -> wire::KillSet {
    let entries = vec![wire::KillEntry { key: "k".repeat(80), generation: number, ..wire::KillEntry::default() }];
    wire::KillSet {
        epoch: Bytes::from_static(&[1; 16]),
        generation: number,
        environment: "e".repeat(50),
        entries,
        count: 1,
        set_hash: Bytes::from_static(&[2; 16]),
        part: 0,
        parts: 1,
        complete_to: number,
    }
}

/// The service with nothing behind it.
struct Service {
    numbers: watch::Sender<u64>,
    tasks: TaskTracker,
    /// The number that is counted, the receipts for it, and the streams there are.
    receipts: Shared<(u64, usize, usize)>,
    done: Arc<Notify>,
}

#[tonic::async_trait]
impl Subscription for Service {
    type SubscribeStream = Pin<Box<dyn Stream<Item = Result<wire::ServerMessage, Status>> + Send>>;
    type WatchKillsStream = Pin<Box<dyn Stream<Item = Result<wire::KillSet, Status>> + Send>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<wire::ClientMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut inbound = request.into_inner();
        let (receipts, done) = (Arc::clone(&self.receipts), Arc::clone(&self.done));
        locked(&receipts).2 += 1;
        self.tasks.spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                let Some(wire::client_message::Message::Ack(ack)) = message.message else { continue };
                let mut receipts = locked(&receipts);
                if ack.applied == receipts.0 {
                    receipts.1 += 1;
                }
                if receipts.1 == receipts.2 && receipts.0 > 0 {
                    done.notify_one();
                }
            }
        });
        let messages = WatchStream::new(self.numbers.subscribe()).map(|number| {
            let message = Some(wire::server_message::Message::KillSet(kill_set(number)));
            Ok(wire::ServerMessage { nonce: number, message })
        });
        // The subscriber wants both lanes before it counts itself in sync.
        let commit = Some(wire::server_message::Message::Commit(wire::Commit::default()));
        let commit = tokio_stream::once(Ok(wire::ServerMessage { nonce: 0, message: commit }));
        Ok(Response::new(Box::pin(commit.chain(messages))))
    }

    async fn watch_kills(
        &self,
        _: Request<wire::WatchKillsRequest>,
    ) -> Result<Response<Self::WatchKillsStream>, Status> {
        Ok(Response::new(Box::pin(WatchStream::new(self.numbers.subscribe()).map(|number| Ok(kill_set(number))))))
    }

    async fn get_receipts(
        &self,
        _: Request<wire::GetReceiptsRequest>,
    ) -> Result<Response<wire::GetReceiptsResponse>, Status> {
        Err(Status::unimplemented("a bare server"))
    }
}

async fn tonic(clients: TcpListener, control: TcpStream, count: bool) -> Result<()> {
    let numbers = watch::Sender::new(0);
    let receipts = Shared::default();
    let done = Arc::new(Notify::new());
    let service = Service {
        numbers: numbers.clone(),
        tasks: TaskTracker::new(),
        receipts: Arc::clone(&receipts),
        done: Arc::clone(&done),
    };
    let incoming = TcpListenerStream::new(clients).map(|accepted| {
        let accepted = accepted?;
        accepted.set_nodelay(true)?;
        std::io::Result::Ok(accepted)
    });
    let serving =
        tonic::transport::Server::builder().add_service(SubscriptionServer::new(service)).serve_with_incoming(incoming);
    let fire = |number| {
        let mut counted = locked(&receipts);
        (counted.0, counted.1) = (number, 0);
        numbers.send_replace(number);
    };
    tokio::select! {
        ended = serving => ended.context("tonic"),
        ended = obey(control, fire, count.then_some(done)) => ended,
    }
}

async fn sse(clients: TcpListener, control: TcpStream) -> Result<()> {
    let numbers = watch::Sender::new(0_u64);
    let followed = numbers.clone();
    let answer = move || {
        let events = WatchStream::new(followed.subscribe()).map(|number| {
            let data = format!("{number} {}", "x".repeat(plain::MESSAGE - 16));
            Ok::<_, Infallible>(Event::default().data(data))
        });
        std::future::ready(Sse::new(events))
    };
    let routes = axum::Router::new().route("/", axum::routing::get(answer));
    let tasks = TaskTracker::new();
    let accepting = async {
        loop {
            let (socket, _) = clients.accept().await?;
            socket.set_nodelay(true)?;
            let service = hyper_util::service::TowerToHyperService::new(routes.clone());
            let socket = hyper_util::rt::TokioIo::new(socket);
            tasks.spawn(hyper::server::conn::http1::Builder::new().serve_connection(socket, service));
        }
    };
    tokio::select! {
        failed = accepting => failed,
        ended = obey(control, |number| numbers.send_modify(|now| *now = number), None) => ended,
    }
}
