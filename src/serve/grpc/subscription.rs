//! `rampart.v1.Subscription`: the driver of the server's state machine. It moves messages, keeps deadlines and ends
//! streams; what to send next is decided in `sync::server`.
//!
//! A stream costs a task, two messages of buffer and a few integers. A client that does not read is cut after a
//! deadline and holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};
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
        crate::serve::http::caller::authenticate(
            &headers,
            None,
            &self.0.door.gate.hub.tokens(),
            self.0.door.gate.clock.now(),
        )?;
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
            grpc.door.gate.hub.subscribe(&environment).ok_or_else(|| Status::not_found("no such environment"))?;
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

    /// The loop of the stream. What is to be sent waits for room beside everything else, so that a client which reads
    /// slowly is still heard: its receipt for one kill set is what lets the next one pass a long transfer.
    async fn drive(&mut self, inbound: &mut Streaming<wire::ClientMessage>) -> End {
        let mut tokens = self.grpc.door.gate.hub.follow_tokens();
        let draining = self.grpc.draining.clone();
        let out = self.out.clone();
        // Between 0.8 and 1.2 of the interval, so that streams that began together do not tick together.
        let every = self.grpc.limits.bookmark.mul_f64(0.8 + 0.4 * (self.spread % 1_000) as f64 / 1_000.0);
        let mut tick = tokio::time::interval_at(Instant::now() + every, every);
        // Whether there may be something to send, and since when it waits for room.
        let (mut ready, mut waiting, mut bookmark) = (true, Instant::now(), false);
        loop {
            let was_ready = ready;
            tokio::select! {
                biased;
                () = draining.cancelled() => return End(GoodbyeReason::Draining, Status::unavailable("the server is stopping")),
                changed = tokens.changed() => {
                    let valid = changed.is_ok() && self.token_counts(&tokens.borrow_and_update());
                    if !valid {
                        return revoked();
                    }
                }
                _ = tick.tick() => match self.deadlines() {
                    Ok(()) => (ready, bookmark) = (true, true),
                    Err(end) => return end,
                },
                said = inbound.message() => match self.hear(said) {
                    Ok(()) => ready = true,
                    Err(end) => return end,
                },
                changed = self.snapshots.changed() => match changed {
                    Ok(()) => ready = true,
                    Err(_) => return End(GoodbyeReason::EnvironmentGone, Status::not_found("the environment is gone")),
                },
                room = timeout_at(waiting + self.grpc.limits.stall, out.reserve()), if ready => match room {
                    Ok(Ok(room)) => {
                        waiting = Instant::now();
                        match self.next(&mut bookmark) {
                            Some(message) => room.send(Ok(convert::server_message(message))),
                            None => ready = false,
                        }
                    }
                    Ok(Err(_)) => return End(GoodbyeReason::Unspecified, Status::cancelled("the client is gone")),
                    Err(_) => return End(GoodbyeReason::TooSlow, Status::resource_exhausted("the client does not read")),
                },
            }
            if ready && !was_ready {
                waiting = Instant::now();
            }
            for event in self.session.events() {
                self.note(event);
            }
        }
    }

    /// What to send next, of the newest state; a bookmark, where one is due, when there is nothing else.
    fn next(&mut self, bookmark: &mut bool) -> Option<ServerMessage> {
        let now = self.elapsed_ms();
        // Not the guard: nobody who publishes waits for a chunk to be filled.
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        let message = self.session.next(&snapshot.view, now);
        message.or_else(|| {
            std::mem::take(bookmark).then(|| ServerSession::bookmark(&snapshot.view, self.grpc.door.gate.clock.now()))
        })
    }

    /// Once per interval: a look at what may have run out.
    fn deadlines(&self) -> Result<(), End> {
        if !self.token_counts(&self.grpc.door.gate.hub.tokens()) {
            return Err(revoked());
        }
        let now = self.elapsed_ms();
        for (lane, limit) in [(Lane::Kills, self.grpc.limits.kill_ack), (Lane::Objects, self.grpc.limits.change_ack)] {
            let waited = self.session.waiting(lane).map_or(0, |since| now.saturating_sub(since));
            if u128::from(waited) > limit.as_millis() {
                return Err(End(GoodbyeReason::AckOverdue, Status::deadline_exceeded("an acknowledgement is overdue")));
            }
        }
        Ok(())
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

    async fn put(&self, message: ServerMessage) -> bool {
        self.out.send(Ok(convert::server_message(message))).await.is_ok()
    }

    fn token_counts(&self, tokens: &Tokens) -> bool {
        let now = self.grpc.door.gate.clock.now();
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
    let Some(mut snapshots) = grpc.door.gate.hub.subscribe(&admitted.snapshot.environment) else { return };
    let mut tokens = grpc.door.gate.hub.follow_tokens();
    let every = grpc.limits.bookmark;
    let mut again = tokio::time::interval_at(Instant::now() + every, every);
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
                let now = grpc.door.gate.clock.now();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::DataPlaneAuth;
    use crate::access::scope::{Scope, Scopes};
    use crate::access::token::{Environments, IssuedToken, TokenInfo, issue};
    use crate::control::clock::Clock;
    use crate::eval::set::CompiledSet;
    use crate::flag::key::{EnvironmentName, FlagId, FlagKey};
    use crate::flag::kill::{KillMark, KillSet};
    use crate::flag::time::{Generation, Revision, Timestamp};
    use crate::proto::rampart_v1::server_message::Message;
    use crate::serve::door::Door;
    use crate::serve::grpc::StreamLimits;
    use crate::serve::http::caller::Gate;
    use crate::snapshot::hub::Hub;
    use crate::snapshot::subscribers::Subscribers;
    use crate::sync::object::{ObjectKey, ObjectState};
    use crate::sync::objects::Objects;
    use crate::sync::view::View;
    use hyper::body::{Bytes, Frame};
    use prost::Message as _;
    use tonic::Code;
    use tonic::codec::Codec as _;

    type Body = mpsc::Sender<Result<Frame<Bytes>, Status>>;
    type Answers = mpsc::Receiver<Result<wire::ServerMessage, Status>>;

    const NOW: Timestamp = Timestamp::from_micros(1);
    /// Only there so that a test that would hang fails instead.
    const GUARD: Duration = Duration::from_secs(60);

    fn production() -> EnvironmentName {
        EnvironmentName::new("production").unwrap()
    }

    fn flag(n: usize) -> FlagId {
        FlagId::plain(FlagKey::new(&format!("flag-{n}")).unwrap())
    }

    /// A server of 400 flags of about a kilobyte: a transfer of more than ten chunks.
    fn grpc(stall: Duration) -> Grpc {
        let payload: Arc<[u8]> = format!(r#"{{"description":"{}"}}"#, "x".repeat(1000)).into_bytes().into();
        let objects = (0..400).fold(Objects::default(), |objects, n| {
            let key = ObjectKey::flag(&flag(n));
            objects.put(ObjectState { key, revision: Revision(1), payload: Arc::clone(&payload), allocation: None })
        });
        let hub = Hub::default();
        hub.publish(&production(), |_| Snapshot {
            environment: production(),
            production: true,
            data_plane_auth: DataPlaneAuth::Optional,
            revision: Revision(1),
            published_at: NOW,
            set: CompiledSet::default(),
            flag_sets: Arc::default(),
            view: View::empty([1; 16]).advance([1; 16], Revision(1), [2; 16], objects),
        });
        let long = Duration::from_secs(600);
        Grpc {
            door: Door {
                gate: Gate { hub: Arc::new(hub), clock: Clock::manual(NOW) },
                default_environment: production(),
                enrichment: Arc::default(),
                rate: None,
            },
            subscribers: Arc::new(Subscribers::default()),
            limits: StreamLimits {
                bookmark: long,
                hello: long,
                stall,
                kill_ack: long,
                change_ack: long,
                drain_window: Duration::from_secs(10),
            },
            draining: tokio_util::sync::CancellationToken::new(),
            tasks: tokio_util::task::TaskTracker::new(),
            evaluations: prometheus_client::metrics::counter::Counter::default(),
        }
    }

    /// A stream without a network: what the client sends, and what it is sent. It has said Hello.
    async fn stream(grpc: &Grpc, token: Option<&str>) -> (Body, Answers) {
        let (body, frames) = mpsc::channel(16);
        let decoder = tonic_prost::ProstCodec::<wire::ServerMessage, wire::ClientMessage>::default().decoder();
        let frames = http_body_util::StreamBody::new(ReceiverStream::new(frames));
        let inbound = Streaming::new_request(decoder, frames, None, None);
        let (out, answers) = mpsc::channel(BUFFER);
        let mut headers = http::HeaderMap::new();
        if let Some(token) = token {
            headers.insert("x-api-key", token.parse().unwrap());
        }
        grpc.tasks.spawn(accept(grpc.clone(), headers, inbound, out));
        let hello = wire::Hello { instance_id: "test".into(), acks: true, ..wire::Hello::default() };
        say(&body, wire::client_message::Message::Hello(hello)).await;
        (body, answers)
    }

    async fn say(body: &Body, message: wire::client_message::Message) {
        let message = wire::ClientMessage { message: Some(message) }.encode_to_vec();
        let mut frame = vec![0];
        frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        frame.extend(message);
        body.send(Ok(Frame::data(frame.into()))).await.unwrap();
    }

    async fn acknowledge_kills(body: &Body, nonce: u64, kills: &wire::KillSet) {
        let lane = wire::Lane::Kills as i32;
        let (applied, set_hash) = (kills.generation, kills.set_hash.clone());
        say(
            body,
            wire::client_message::Message::Ack(wire::Ack { nonce, lane, applied, set_hash, ..Default::default() }),
        )
        .await;
    }

    async fn next(answers: &mut Answers) -> wire::ServerMessage {
        timeout(GUARD, answers.recv()).await.unwrap().expect("the stream goes on").expect("without a status")
    }

    /// Reads to the end: the goodbye, if there was one, and the status.
    async fn end(mut answers: Answers) -> (Option<wire::Goodbye>, Status) {
        let mut goodbye = None;
        loop {
            match timeout(GUARD, answers.recv()).await.unwrap().expect("a status ends the stream") {
                Err(status) => return (goodbye, status),
                Ok(wire::ServerMessage { message: Some(Message::Goodbye(said)), .. }) => goodbye = Some(said),
                Ok(_) => {}
            }
        }
    }

    #[tokio::test]
    async fn a_kill_passes_a_transfer_that_is_under_way() {
        let grpc = grpc(GUARD);
        let (body, mut answers) = stream(&grpc, None).await;
        let first = next(&mut answers).await;
        let Some(Message::KillSet(kills)) = first.message else { panic!("the kill set comes first") };
        assert!(matches!(next(&mut answers).await.message, Some(Message::Begin(begin)) if begin.objects == 400));
        assert!(matches!(next(&mut answers).await.message, Some(Message::Chunk(_))));

        let mut more = KillSet::default();
        more.merge(&flag(7), KillMark { generation: Generation(5), killed: true });
        grpc.door.gate.hub.publish(&production(), |before| before.unwrap().with_kills(&more, NOW));
        acknowledge_kills(&body, first.nonce, &kills).await;
        let mut ahead = 0;
        loop {
            // The task hears the receipt when it runs; what was in the buffer by then comes first.
            tokio::task::yield_now().await;
            match next(&mut answers).await.message {
                Some(Message::KillSet(kills)) => break assert_eq!((kills.generation, kills.entries.len()), (5, 1)),
                Some(Message::Chunk(_)) => ahead += 1,
                _ => panic!("the transfer ended before the kill was sent"),
            }
        }
        assert!(ahead <= BUFFER + 1, "{ahead} chunks came first");
        let mut behind = 0;
        while !matches!(next(&mut answers).await.message, Some(Message::Commit(_))) {
            behind += 1;
        }
        assert!(behind > BUFFER, "the transfer goes on after it");
    }

    #[tokio::test]
    async fn a_revoked_token_ends_a_stream_in_the_middle_of_a_transfer() {
        let grpc = grpc(GUARD);
        let IssuedToken { id, text, hash } = issue([1; 8], [1; 32]);
        let token = TokenInfo {
            id,
            name: "t".into(),
            hash,
            scopes: Scopes::only(Scope::Read),
            environments: Environments::All,
            expires: None,
            revoked: false,
        };
        grpc.door.gate.hub.publish_tokens([token.clone()].into_iter().collect());
        let (_body, mut answers) = stream(&grpc, Some(&text)).await;
        next(&mut answers).await;
        grpc.door.gate.hub.publish_tokens([TokenInfo { revoked: true, ..token }].into_iter().collect());
        let mut messages = 0;
        let status = loop {
            match timeout(GUARD, answers.recv()).await.unwrap().expect("a status ends the stream") {
                Err(status) => break status,
                Ok(_) => messages += 1,
            }
        };
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(messages <= BUFFER + 2, "{messages} messages were sent to a token that no longer counts");
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_ended_and_forgotten() {
        let grpc = grpc(Duration::ZERO);
        let (_body, answers) = stream(&grpc, None).await;
        while answers.len() < BUFFER {
            tokio::task::yield_now().await;
        }
        // It reads again only after the server gave it up.
        while !grpc.subscribers.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(end(answers).await.1.code(), Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn a_drain_says_goodbye_and_unavailable() {
        let grpc = grpc(GUARD);
        let (_body, mut answers) = stream(&grpc, None).await;
        next(&mut answers).await;
        grpc.draining.cancel();
        let (goodbye, status) = end(answers).await;
        assert_eq!(status.code(), Code::Unavailable);
        let goodbye = goodbye.unwrap();
        assert_eq!(goodbye.reason(), wire::GoodbyeReason::Draining);
        assert!(goodbye.reconnect_after_ms < 10_000);
    }

    #[tokio::test]
    async fn a_caller_without_a_token_sees_the_default_environment_and_no_other() {
        let grpc = grpc(GUARD);
        let staging = EnvironmentName::new("staging").unwrap();
        let here = grpc.door.gate.hub.current(&production()).unwrap();
        grpc.door.gate.hub.publish(&staging, |_| Snapshot { environment: staging.clone(), ..Snapshot::clone(&here) });
        let admit = |wanted| grpc.admit(&http::HeaderMap::new(), "/rampart.v1.Subscription/Subscribe", wanted);
        assert_eq!(admit("").unwrap().snapshot.environment, production());
        assert_eq!(admit("production").unwrap().snapshot.environment, production());
        assert_eq!(Status::from(admit("staging").unwrap_err()).code(), Code::PermissionDenied);
    }
}
