//! `rampart.v1.Subscription`: the driver of the server's state machine. It moves messages, keeps deadlines and ends
//! streams; what to send next is decided in `sync::server`.
//!
//! A stream costs a task, two messages of buffer and a few integers. A client that does not read is cut after a
//! deadline and holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Admitted, Grpc, convert, status};
use crate::access::token::{Principal, Tokens};
use crate::proto::rampart_v1 as wire;
use crate::proto::rampart_v1::subscription_server::Subscription;
use crate::snapshot::Snapshot;
use crate::snapshot::subscribers::{Seat, Subscriber};
use crate::sync::message::{ClientMessage, GoodbyeReason, Hello, Lane, ServerMessage};
use crate::sync::server::{Event, ServerSession};

/// Messages that wait for the transport: enough to keep it busy, too few to count as a queue.
const BUFFER: usize = 2;

/// The service.
#[derive(Debug, Clone)]
pub struct SubscriptionService(pub Grpc);

type Out<T> = mpsc::Sender<Result<T, Status>>;

#[tonic::async_trait]
impl Subscription for SubscriptionService {
    type SubscribeStream = ReceiverStream<Result<wire::ServerMessage, Status>>;
    type WatchKillsStream = ReceiverStream<Result<wire::KillSet, Status>>;

    async fn subscribe(
        &self,
        request: Request<Streaming<wire::ClientMessage>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let (metadata, _, inbound) = request.into_parts();
        let headers = metadata.into_headers();
        // Whoever may not subscribe anywhere hears of it before it has said anything.
        crate::serve::http::caller::authenticate(&headers, None, &self.0.gate.hub.tokens(), self.0.gate.clock.now())?;
        let (out, answers) = mpsc::channel(BUFFER);
        let grpc = self.0.clone();
        self.0.tasks.spawn(async move { accept(grpc, headers, inbound, out).await });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn watch_kills(
        &self,
        request: Request<wire::WatchKillsRequest>,
    ) -> Result<Response<Self::WatchKillsStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let method = "/rampart.v1.Subscription/WatchKills";
        let admitted = self.0.admit(&metadata.into_headers(), method, &asked.environment)?;
        let (out, answers) = mpsc::channel(BUFFER);
        let grpc = self.0.clone();
        self.0.tasks.spawn(async move { watch_kills(grpc, admitted, out).await });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn get_receipts(
        &self,
        _: Request<wire::GetReceiptsRequest>,
    ) -> Result<Response<wire::GetReceiptsResponse>, Status> {
        Err(Status::unimplemented("this server keeps no receipts yet"))
    }
}

/// Reads Hello, finds out who that is, and drives the stream to its end.
async fn accept(
    grpc: Grpc,
    headers: http::HeaderMap,
    mut inbound: Streaming<wire::ClientMessage>,
    out: Out<wire::ServerMessage>,
) {
    let ended = match greet(&grpc, &headers, &mut inbound).await {
        Ok((hello, admitted)) => match Stream::open(grpc, hello, admitted, out.clone()) {
            Ok(stream) => stream.run(inbound).await,
            Err(status) => status,
        },
        Err(status) => status,
    };
    // The stream may be gone already; there is nobody to tell then.
    let _gone = timeout(Duration::from_secs(1), out.send(Err(ended))).await;
}

async fn greet(
    grpc: &Grpc,
    headers: &http::HeaderMap,
    inbound: &mut Streaming<wire::ClientMessage>,
) -> Result<(Hello, Admitted), Status> {
    let first = timeout(grpc.limits.hello, inbound.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("the first message did not come"))??;
    let first = first.ok_or_else(|| Status::cancelled("the stream ended before Hello"))?;
    let ClientMessage::Hello(hello) = convert::client_message(first)? else {
        return Err(Status::invalid_argument("the first message must be Hello"));
    };
    let admitted = grpc.admit(headers, "/rampart.v1.Subscription/Subscribe", &hello.environment)?;
    Ok((*hello, admitted))
}

/// One subscription.
#[derive(Debug)]
struct Stream {
    grpc: Grpc,
    principal: Option<Principal>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    session: ServerSession,
    seat: Seat,
    out: Out<wire::ServerMessage>,
    began: Instant,
    spread: u64,
}

/// Why a stream ends, and what is said last.
#[derive(Debug)]
struct End(GoodbyeReason, Status);

impl Stream {
    fn open(grpc: Grpc, hello: Hello, admitted: Admitted, out: Out<wire::ServerMessage>) -> Result<Self, Status> {
        let environment = admitted.snapshot.environment.clone();
        let snapshots =
            grpc.gate.hub.subscribe(&environment).ok_or_else(|| Status::not_found("no such environment"))?;
        let spread = xxhash_rust::xxh3::xxh3_64(hello.instance_id.as_bytes());
        let seat = grpc.subscribers.enter(Subscriber {
            instance_id: hello.instance_id.clone(),
            name: hello.name.clone(),
            environment: environment.clone(),
            acks: hello.acks,
            generation: 0,
            revision: 0,
            rejected: 0,
        });
        let mut session = ServerSession::new(Arc::from(environment.as_str()));
        let view = snapshots.borrow().view.clone();
        session
            .on_message(ClientMessage::Hello(Box::new(hello)), &view)
            .map_err(|fault| Status::invalid_argument(format!("{}: {fault}", status::code(fault))))?;
        let (principal, began) = (admitted.principal, Instant::now());
        Ok(Self { grpc, principal, snapshots, session, seat, out, began, spread })
    }

    /// Drives the stream; the status it ends with.
    async fn run(mut self, mut inbound: Streaming<wire::ClientMessage>) -> Status {
        let ended = self.drive(&mut inbound).await;
        let End(reason, status) = ended;
        let window = u64::try_from(self.grpc.limits.drain_window.as_millis()).unwrap_or(10_000).max(1);
        let after = u32::try_from(self.spread % window).unwrap_or(0);
        let _gone = timeout(Duration::from_secs(1), self.put(ServerSession::goodbye(reason, after))).await;
        status
    }

    async fn drive(&mut self, inbound: &mut Streaming<wire::ClientMessage>) -> End {
        let mut tokens = self.grpc.gate.hub.follow_tokens();
        let draining = self.grpc.draining.clone();
        // Between 0.8 and 1.2 of the interval, so that streams that began together do not tick together.
        let every = self.grpc.limits.bookmark.mul_f64(0.8 + 0.4 * (self.spread % 1_000) as f64 / 1_000.0);
        let mut bookmark = tokio::time::interval_at(Instant::now() + every, every);
        loop {
            if let Err(end) = self.flush().await {
                return end;
            }
            tokio::select! {
                biased;
                () = draining.cancelled() => return End(GoodbyeReason::Draining, Status::unavailable("the server is stopping")),
                changed = tokens.changed() => {
                    let valid = changed.is_ok() && self.token_counts(&tokens.borrow_and_update());
                    if !valid {
                        return revoked();
                    }
                }
                said = inbound.message() => if let Err(end) = self.hear(said) { return end; },
                changed = self.snapshots.changed() => if changed.is_err() {
                    return End(GoodbyeReason::EnvironmentGone, Status::not_found("the environment is gone"));
                },
                _ = bookmark.tick() => if let Err(end) = self.tick().await { return end; },
            }
        }
    }

    /// Sends all that can be sent now, newest state first.
    async fn flush(&mut self) -> Result<(), End> {
        loop {
            let view = self.snapshots.borrow_and_update().view.clone();
            let Some(message) = self.session.next(&view, self.elapsed_ms()) else { break };
            self.send(message).await?;
        }
        for event in self.session.events() {
            self.note(event);
        }
        Ok(())
    }

    /// Once per interval: a sign of life, and a look at the deadlines.
    async fn tick(&mut self) -> Result<(), End> {
        if !self.token_counts(&self.grpc.gate.hub.tokens()) {
            return Err(revoked());
        }
        let now = self.elapsed_ms();
        for (lane, limit) in [(Lane::Kills, self.grpc.limits.kill_ack), (Lane::Objects, self.grpc.limits.change_ack)] {
            let waited = self.session.waiting(lane).map_or(0, |since| now.saturating_sub(since));
            if u128::from(waited) > limit.as_millis() {
                return Err(End(GoodbyeReason::AckOverdue, Status::deadline_exceeded("an acknowledgement is overdue")));
            }
        }
        let view = self.snapshots.borrow().view.clone();
        self.send(ServerSession::bookmark(&view, self.grpc.gate.clock.now())).await
    }

    fn hear(&mut self, said: Result<Option<wire::ClientMessage>, Status>) -> Result<(), End> {
        let over = |status| End(GoodbyeReason::Unspecified, status);
        let message = said.map_err(over)?.ok_or_else(|| over(Status::cancelled("the client ended the stream")))?;
        let message = convert::client_message(message).map_err(over)?;
        let view = self.snapshots.borrow().view.clone();
        self.session
            .on_message(message, &view)
            .map_err(|fault| over(Status::invalid_argument(format!("{}: {fault}", status::code(fault)))))
    }

    async fn send(&self, message: ServerMessage) -> Result<(), End> {
        let stall = self.grpc.limits.stall;
        tokio::select! {
            biased;
            sent = timeout(stall, self.put(message)) => match sent {
                Ok(true) => Ok(()),
                Ok(false) => Err(End(GoodbyeReason::Unspecified, Status::cancelled("the client is gone"))),
                Err(_) => Err(End(GoodbyeReason::TooSlow, Status::resource_exhausted("the client does not read"))),
            },
            () = self.grpc.draining.cancelled() => Err(End(GoodbyeReason::Draining, Status::unavailable("the server is stopping"))),
        }
    }

    async fn put(&self, message: ServerMessage) -> bool {
        self.out.send(Ok(convert::server_message(message))).await.is_ok()
    }

    fn token_counts(&self, tokens: &Tokens) -> bool {
        let now = self.grpc.gate.clock.now();
        self.principal.as_ref().is_none_or(|principal| {
            tokens.get(principal.id).is_some_and(|token| !token.revoked && token.expires.is_none_or(|end| end > now))
        })
    }

    fn note(&self, event: Event) {
        if event.betrays_rollback() {
            tracing::error!(
                ?event,
                "a subscriber knows a future or a past that this server does not: was a backup restored?"
            );
        }
        match event {
            Event::Applied { lane: Lane::Kills, position, .. } => self.seat.update(|known| known.generation = position),
            Event::Applied { lane: Lane::Objects, position, .. } => self.seat.update(|known| {
                known.revision = position;
                known.rejected = 0;
            }),
            Event::Rejected(objects) => {
                for object in &objects {
                    tracing::warn!(key = object.key.key(), code = object.code, "a subscriber cannot use an object");
                }
                self.seat.update(|known| known.rejected = objects.len());
            }
            Event::Differs(lane) => tracing::error!(?lane, "a subscriber acknowledged another state than it was sent"),
            Event::Greeted(_)
            | Event::Resumed(_)
            | Event::Full(_)
            | Event::KillsAhead(_)
            | Event::ResyncRequested(_)
            | Event::Left(_) => {}
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn revoked() -> End {
    End(GoodbyeReason::TokenRevoked, Status::unauthenticated("the token was revoked or has expired"))
}

/// The kill lane alone: the whole set at once, whenever it changes, and as a sign of life.
async fn watch_kills(grpc: Grpc, admitted: Admitted, out: Out<wire::KillSet>) {
    let environment: Arc<str> = Arc::from(admitted.snapshot.environment.as_str());
    let Some(mut snapshots) = grpc.gate.hub.subscribe(&admitted.snapshot.environment) else { return };
    let mut tokens = grpc.gate.hub.follow_tokens();
    let mut again = tokio::time::interval(grpc.limits.bookmark);
    let mut sent = None;
    let ended = loop {
        let view = snapshots.borrow_and_update().view.clone();
        let list = view.kill_list();
        let state = (view.epoch(), list.generation(), list.set_hash());
        if sent != Some(state) {
            sent = Some(state);
            let parts = (0..list.parts()).filter_map(|part| list.part(part, view.epoch(), &environment));
            for part in parts {
                if timeout(grpc.limits.stall, out.send(Ok(convert::kill_set(&part)))).await.is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            biased;
            () = out.closed() => return,
            () = grpc.draining.cancelled() => break Status::unavailable("the server is stopping"),
            changed = tokens.changed() => {
                let now = grpc.gate.clock.now();
                let counts = |principal: &Principal| tokens.borrow_and_update().get(principal.id).is_some_and(|token| !token.revoked && token.expires.is_none_or(|end| end > now));
                if changed.is_err() || !admitted.principal.as_ref().is_none_or(counts) {
                    break Status::unauthenticated("the token was revoked or has expired");
                }
            }
            changed = snapshots.changed() => if changed.is_err() { break Status::not_found("the environment is gone"); },
            _ = again.tick() => sent = None,
        }
    };
    let _gone = out.send(Err(ended)).await;
}
