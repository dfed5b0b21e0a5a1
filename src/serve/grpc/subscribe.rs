//! `rampart.v1.Subscription/Subscribe` on the wire: gRPC's frames in both directions.
//!
//! tonic would encode every message for every subscriber and keep 16 KiB of buffers for each; here what is shared is
//! encoded once, and a quiet stream keeps no buffer. The other methods of the service are in `subscription`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body_util::BodyExt as _;
use prost::Message as _;
use prost::bytes::{Buf as _, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::convert;
use crate::proto::rampart_v1 as wire;
use crate::serve::home::{self, Home};
use crate::serve::http::caller::authenticate;
use crate::serve::subscription::admission::{Refused, Ticket};
use crate::serve::subscription::drive::Driver;
use crate::serve::subscription::frame::{Frame, Inbound, Piece, StreamBody, Wire};
use crate::serve::subscription::outbox::{Outbox, outbox};
use crate::serve::subscription::{End, Entrance, Subscriptions};
use crate::sync::kills::KillList;
use crate::sync::message::{ClientMessage, Epoch, Hello, ServerMessage};
use crate::sync::object::Entry;

/// The path of the method.
pub const PATH: &str = "/rampart.v1.Subscription/Subscribe";
const ROUTE: (&str, &str) = ("POST", PATH);
/// Bytes of one message of a client: an acknowledgement with a thousand refusals.
const MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes before every message (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;
/// `ServerMessage.nonce`, `.kill_set` and `.chunk`.
const NONCE: u32 = 1;
const KILL_SET: u32 = 2;
const CHUNK: u32 = 4;
/// How gRPC's clients are told when to try again (gRFC A6), in milliseconds.
pub const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// How long the words to a client that is refused may wait to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// gRPC.
#[derive(Debug, Clone, Copy)]
pub struct Grpc;

impl Wire for Grpc {
    const SURFACE: &'static str = "grpc";
    const FORM: usize = 0;

    fn kills(list: &KillList, part: usize, epoch: Epoch, environment: &Arc<str>) -> Bytes {
        let set = list.part(part, epoch, environment).map(|part| convert::kill_set(&part)).unwrap_or_default();
        field(KILL_SET, &set)
    }

    fn chunk(entries: &[Entry]) -> Bytes {
        field(CHUNK, &wire::Chunk { objects: entries.iter().map(convert::object).collect() })
    }

    fn kills_frame(nonce: u64, shared: &Bytes, _last: bool) -> Option<Frame> {
        Some(Frame::joined(head(nonce, shared.len()), shared))
    }

    fn chunk_frame(nonce: u64, shared: &Bytes) -> Frame {
        Frame::joined(head(nonce, shared.len()), shared)
    }

    fn message(message: &ServerMessage, _id: Option<&str>) -> Option<Frame> {
        let message = convert::server_message(message.clone());
        let mut bytes = prefix(message.encoded_len());
        message.encode(&mut bytes).expect("a vector has room for everything");
        Some(Frame::whole(bytes))
    }

    fn opening(&self, _environment: &str) -> Option<Frame> {
        None
    }
}

/// A message as a field of another: tag, length, bytes.
fn field(number: u32, message: &impl prost::Message) -> Bytes {
    let mut bytes = Vec::with_capacity(message.encoded_len() + 8);
    encode_key(number, WireType::LengthDelimited, &mut bytes);
    message.encode_length_delimited(&mut bytes).expect("a vector has room for everything");
    bytes.into()
}

fn prefix(length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(PREFIX + length);
    // Not compressed.
    bytes.push(0);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    bytes
}

/// What comes before a shared field: the prefix and the nonce.
fn head(nonce: u64, shared: usize) -> Vec<u8> {
    let own = key_len(NONCE) + encoded_len_varint(nonce);
    let mut bytes = prefix(own + shared);
    encode_key(NONCE, WireType::Varint, &mut bytes);
    encode_varint(nonce, &mut bytes);
    bytes
}

/// The client's messages as they arrive.
#[derive(Debug)]
struct Messages {
    body: axum::body::Body,
    bytes: BytesMut,
}

impl Messages {
    /// The next whole message among what has arrived.
    fn take(&mut self) -> Result<Option<ClientMessage>, End> {
        let unreadable = |detail: &str| End::Unreadable(detail.to_owned());
        let Some(prefix) = self.bytes.first_chunk::<PREFIX>() else { return Ok(None) };
        let [compressed, length @ ..] = *prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if compressed != 0 {
            return Err(unreadable("messages are not to be compressed"));
        }
        if length > MESSAGE_BYTES_MAX {
            return Err(unreadable("a message is longer than 2 MiB"));
        }
        if self.bytes.len() < PREFIX + length {
            return Ok(None);
        }
        self.bytes.advance(PREFIX);
        let message = self.bytes.split_to(length).freeze();
        if self.bytes.is_empty() {
            // A quiet stream keeps no buffer.
            self.bytes = BytesMut::new();
        }
        let message = wire::ClientMessage::decode(message).map_err(|_| unreadable("a message is no ClientMessage"))?;
        convert::client_message(message).map(Some).map_err(|status| unreadable(status.message()))
    }
}

impl Inbound for Messages {
    async fn next(&mut self) -> Result<Option<ClientMessage>, End> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.bytes.extend_from_slice(&data);
                    }
                }
                Some(Err(_)) => return Err(End::Gone),
                None if self.bytes.is_empty() => return Ok(None),
                None => return Err(End::Gone),
            }
        }
    }
}

/// Opens a stream. Whoever may not subscribe anywhere hears of it before it has said anything.
pub async fn subscribe(State(shared): State<Arc<Subscriptions>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let is_grpc = |value: &HeaderValue| value.to_str().is_ok_and(|kind| kind.starts_with("application/grpc"));
    if parts.method != Method::POST || !parts.headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return at_once(Status::internal("this is a method of gRPC: POST with application/grpc"));
    }
    let ticket = match shared.admission.enter() {
        Ok(ticket) => ticket,
        Err(refused) => {
            shared.metrics.refused(refused.why);
            return overloaded(refused);
        }
    };
    let gate = &shared.door.gate;
    if let Err(problem) = authenticate(&parts.headers, parts.uri.query(), &gate.hub.tokens(), gate.clock.now()) {
        return at_once(problem.into());
    }
    let home = home::of(&parts.extensions);
    let (out, pieces) = outbox();
    let messages = Messages { body, bytes: BytesMut::new() };
    let tasks = shared.tasks.clone();
    tasks.spawn(accept((shared, home), parts.headers, messages, (out, ticket)));
    answer(StreamBody::new(pieces, Some(trailers)))
}

/// Reads Hello, finds out who that is, and drives the stream to its end.
async fn accept(
    (shared, home): (Arc<Subscriptions>, Home),
    headers: HeaderMap,
    mut messages: Messages,
    (out, ticket): (Outbox, Ticket),
) {
    let tasks = shared.tasks.clone();
    let greeted = greet(&shared, headers, &mut messages).await;
    let (end, out) = match greeted {
        Ok(who) => match Driver::open(shared, who, (messages, out), (Grpc, ticket)) {
            // Not before it may be here: from now on the connection is one of those that are told of kills.
            Ok(driver) => return home.settle().spawn(&tasks, driver.run()),
            Err(ended) => ended,
        },
        Err(end) => (end, out),
    };
    // The stream may be gone already; there is nobody to tell then.
    drop(timeout(LAST_WORDS, out.send(Piece::End(Box::new(end)))).await);
}

async fn greet(shared: &Subscriptions, headers: HeaderMap, messages: &mut Messages) -> Result<(Hello, Entrance), End> {
    let first = timeout(shared.limits.hello, messages.next()).await;
    let first = first.map_err(|_| End::Silent)??;
    let Some(ClientMessage::Hello(hello)) = first else {
        return Err(first.map_or(End::Gone, |_| End::Fault(crate::sync::server::ProtocolFault::HelloExpected)));
    };
    let admitted = shared.door.admit_to(&headers, None, ROUTE, &hello.environment);
    let admitted = admitted.map_err(End::Refused)?;
    let entrance = Entrance { principal: admitted.principal, snapshot: admitted.snapshot, route: ROUTE };
    Ok((*hello, entrance))
}

fn answer(body: StreamBody) -> Response {
    let mut response = Response::new(axum::body::Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// An answer that is its end: gRPC's "Trailers-Only".
fn at_once(status: Status) -> Response {
    status.into_http()
}

/// A refusal that says when to come back.
pub fn overloaded(refused: Refused) -> Response {
    let mut response = at_once(Status::unavailable(refused.why.detail()));
    let millis = u32::try_from(refused.retry_after.as_millis()).unwrap_or(u32::MAX);
    response.headers_mut().insert(PUSHBACK, HeaderValue::from(millis));
    response
}

/// The status of a stream's end.
fn trailers(end: &End) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if let Err(error) = status(end).add_header(&mut trailers) {
        tracing::debug!(%error, "a status that no header can hold");
    }
    trailers
}

fn status(end: &End) -> Status {
    let code = match end {
        End::Draining => Code::Unavailable,
        End::TokenRevoked => Code::Unauthenticated,
        End::EnvironmentGone => Code::NotFound,
        End::TooSlow => Code::ResourceExhausted,
        End::AckOverdue | End::Silent => Code::DeadlineExceeded,
        End::Replaced => Code::Aborted,
        End::Gone => Code::Cancelled,
        End::Fault(_) | End::Unreadable(_) => Code::InvalidArgument,
        End::Refused(problem) => return problem.clone().into(),
    };
    Status::new(code, end.to_string())
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
    use crate::proto::rampart_v1::client_message::Message as Said;
    use crate::proto::rampart_v1::server_message::Message;
    use crate::serve::door::Door;
    use crate::serve::http::caller::Gate;
    use crate::serve::subscription::StreamLimits;
    use crate::serve::subscription::admission::{Admission, AdmissionLimits};
    use crate::serve::subscription::outbox::ROOM as BUFFER;
    use crate::serve::subscription::receipts::Waiters;
    use crate::snapshot::Snapshot;
    use crate::snapshot::hub::Hub;
    use crate::sync::object::{ObjectKey, ObjectState};
    use crate::sync::objects::Objects;
    use crate::sync::view::View;
    use hyper::body::Frame as HttpFrame;
    use std::convert::Infallible;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    type Body = mpsc::Sender<Result<HttpFrame<Bytes>, Infallible>>;

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
    fn server(stall: Duration, admission: AdmissionLimits) -> Arc<Subscriptions> {
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
        let draining = tokio_util::sync::CancellationToken::new();
        Arc::new(Subscriptions {
            door: Door {
                gate: Gate { hub: Arc::new(hub), clock: Clock::manual(NOW) },
                default_environment: production(),
                enrichment: Arc::default(),
                rate: None,
            },
            limits: Arc::new(StreamLimits {
                bookmark: long,
                hello: long,
                stall,
                kill_ack: long,
                change_ack: long,
                drain_window: Duration::from_secs(10),
                transfer_hold: long,
                retry: long,
            }),
            admission: Arc::new(Admission::new(admission)),
            shelves: Arc::default(),
            waiters: Waiters::new(draining.clone()),
            metrics: Default::default(),
            draining,
            tasks: tokio_util::task::TaskTracker::new(),
        })
    }

    fn patient() -> Arc<Subscriptions> {
        server(GUARD, AdmissionLimits::default())
    }

    /// A client without a network.
    struct Client {
        says: Body,
        hears: axum::body::Body,
        bytes: BytesMut,
    }

    impl Client {
        /// One that has said Hello.
        async fn new(server: &Arc<Subscriptions>, id: &str, token: Option<&str>) -> Self {
            let (says, frames) = mpsc::channel(16);
            let body = axum::body::Body::new(http_body_util::StreamBody::new(ReceiverStream::new(frames)));
            let mut request = http::Request::post(PATH).header("content-type", "application/grpc");
            if let Some(token) = token {
                request = request.header("x-api-key", token);
            }
            let response = subscribe(State(server.clone()), request.body(body).unwrap()).await;
            let client = Self { says, hears: response.into_body(), bytes: BytesMut::new() };
            client.say(Said::Hello(wire::Hello { instance_id: id.into(), acks: true, ..Default::default() })).await;
            client
        }

        async fn say(&self, message: Said) {
            let message = wire::ClientMessage { message: Some(message) };
            let mut frame = prefix(message.encoded_len());
            message.encode(&mut frame).unwrap();
            self.says.send(Ok(HttpFrame::data(frame.into()))).await.unwrap();
        }

        async fn confirm(&self, nonce: u64, kills: &wire::KillSet) {
            let (lane, applied, set_hash) = (wire::Lane::Kills as i32, kills.generation, kills.set_hash.clone());
            self.say(Said::Ack(wire::Ack { nonce, lane, applied, set_hash, ..Default::default() })).await;
        }

        /// The next message, or the status at the end.
        async fn hear(&mut self) -> Result<wire::ServerMessage, HeaderMap> {
            loop {
                if let Some(head) = self.bytes.first_chunk::<PREFIX>() {
                    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                    if self.bytes.len() >= PREFIX + length {
                        self.bytes.advance(PREFIX);
                        return Ok(wire::ServerMessage::decode(self.bytes.split_to(length)).unwrap());
                    }
                }
                let frame = timeout(GUARD, self.hears.frame()).await.unwrap().expect("an end has a status").unwrap();
                match frame.into_data() {
                    Ok(data) => self.bytes.extend_from_slice(&data),
                    Err(frame) => return Err(frame.into_trailers().unwrap()),
                }
            }
        }

        async fn next(&mut self) -> wire::ServerMessage {
            self.hear().await.expect("the stream goes on")
        }

        async fn kills(&mut self) -> (u64, wire::KillSet) {
            let message = self.next().await;
            let Some(Message::KillSet(kills)) = message.message else { panic!("a kill set: {message:?}") };
            (message.nonce, kills)
        }

        /// Reads to the end: the goodbye, if there was one, the status, and how many messages came before.
        async fn end(mut self) -> (Option<wire::Goodbye>, Code, usize) {
            let (mut goodbye, mut messages) = (None, 0);
            loop {
                match self.hear().await {
                    Err(trailers) => {
                        let status = Status::from_header_map(&trailers).unwrap();
                        return (goodbye, status.code(), messages);
                    }
                    Ok(wire::ServerMessage { message: Some(Message::Goodbye(said)), .. }) => goodbye = Some(said),
                    Ok(_) => messages += 1,
                }
            }
        }
    }

    fn kill(server: &Arc<Subscriptions>, n: usize, generation: u64) {
        let mut more = KillSet::default();
        more.merge(&flag(n), KillMark { generation: Generation(generation), killed: true });
        server.door.gate.hub.publish(&production(), |before| before.unwrap().with_kills(&more, NOW));
    }

    fn connected(server: &Arc<Subscriptions>) -> usize {
        server.door.gate.hub.roster(&production()).unwrap().connected()
    }

    #[tokio::test]
    async fn a_kill_passes_a_transfer_that_is_under_way() {
        let server = patient();
        let mut client = Client::new(&server, "test", None).await;
        let (nonce, kills) = client.kills().await;
        assert!(matches!(client.next().await.message, Some(Message::Begin(begin)) if begin.objects == 400));
        assert!(matches!(client.next().await.message, Some(Message::Chunk(_))));
        kill(&server, 7, 5);
        client.confirm(nonce, &kills).await;
        let mut ahead = 0;
        loop {
            // The task hears the receipt when it runs; what was in the buffer by then comes first.
            tokio::task::yield_now().await;
            match client.next().await.message {
                Some(Message::KillSet(kills)) => break assert_eq!((kills.generation, kills.entries.len()), (5, 1)),
                Some(Message::Chunk(_)) => ahead += 1,
                _ => panic!("the transfer ended before the kill was sent"),
            }
        }
        assert!(ahead <= BUFFER + 1, "{ahead} chunks came first");
        let mut behind = 0;
        while !matches!(client.next().await.message, Some(Message::Commit(_))) {
            behind += 1;
        }
        assert!(behind > BUFFER, "the transfer goes on after it");
    }

    #[tokio::test]
    async fn a_revoked_token_ends_a_stream_in_the_middle_of_a_transfer() {
        let server = patient();
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
        server.door.gate.hub.publish_tokens([token.clone()].into_iter().collect());
        let mut client = Client::new(&server, "test", Some(&text)).await;
        client.next().await;
        server.door.gate.hub.publish_tokens([TokenInfo { revoked: true, ..token }].into_iter().collect());
        let (_, code, messages) = client.end().await;
        assert_eq!(code, Code::Unauthenticated);
        assert!(messages <= BUFFER + 2, "{messages} messages were sent to a token that no longer counts");
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_ended_and_forgotten() {
        let server = server(Duration::ZERO, AdmissionLimits::default());
        let client = Client::new(&server, "test", None).await;
        while connected(&server) == 0 {
            tokio::task::yield_now().await;
        }
        // It reads again only after the server gave it up.
        while connected(&server) > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(client.end().await.1, Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn a_drain_says_goodbye_and_unavailable() {
        let server = patient();
        let mut client = Client::new(&server, "test", None).await;
        client.next().await;
        server.draining.cancel();
        let (goodbye, code, _) = client.end().await;
        assert_eq!(code, Code::Unavailable);
        let goodbye = goodbye.unwrap();
        assert_eq!(goodbye.reason(), wire::GoodbyeReason::Draining);
        assert!(goodbye.reconnect_after_ms < 10_000);
    }

    #[tokio::test]
    async fn a_second_stream_of_the_same_client_takes_the_place_of_the_first() {
        let server = patient();
        let mut first = Client::new(&server, "same", None).await;
        first.next().await;
        let mut second = Client::new(&server, "same", None).await;
        second.next().await;
        let (goodbye, code, _) = first.end().await;
        assert_eq!((goodbye.unwrap().reason(), code), (wire::GoodbyeReason::Replaced, Code::Aborted));
        assert_eq!(connected(&server), 1);
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_to_get_everything_gets_kills_at_once() {
        let server = server(GUARD, AdmissionLimits { transfers: 1, ..AdmissionLimits::default() });
        let mut first = Client::new(&server, "first", None).await;
        first.next().await;
        assert!(matches!(first.next().await.message, Some(Message::Begin(_))));
        let mut second = Client::new(&server, "second", None).await;
        let (nonce, kills) = second.kills().await;
        kill(&server, 7, 5);
        second.confirm(nonce, &kills).await;
        assert_eq!(second.kills().await.1.generation, 5, "while the other one is in the middle of everything");
        while !matches!(first.next().await.message, Some(Message::Commit(_))) {}
        loop {
            // Both tasks have to run: one gives its turn back, the other takes it.
            if let Some(Message::Begin(begin)) = second.next().await.message {
                break assert_eq!(begin.objects, 400, "then it is its turn");
            }
        }
    }

    #[tokio::test]
    async fn a_storm_is_told_when_to_come_back() {
        let server = server(GUARD, AdmissionLimits { streams: 0, ..AdmissionLimits::default() });
        let request = http::Request::post(PATH).header("content-type", "application/grpc");
        let body = axum::body::Body::empty();
        let response = subscribe(State(server.clone()), request.body(body).unwrap()).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(status.code(), Code::Unavailable);
        let millis: u32 = response.headers()[PUSHBACK].to_str().unwrap().parse().unwrap();
        assert!((1_000..10_000).contains(&millis), "{millis}");
    }

    #[tokio::test]
    async fn what_is_the_same_for_all_is_encoded_once_and_reads_the_same() {
        let server = patient();
        let mut texts = Vec::new();
        for id in ["a", "b"] {
            let mut client = Client::new(&server, id, None).await;
            let mut objects = Vec::new();
            loop {
                match client.next().await.message {
                    Some(Message::Chunk(chunk)) => objects.extend(chunk.objects),
                    Some(Message::Commit(_)) => break,
                    _ => {}
                }
            }
            assert_eq!(objects.len(), 400);
            texts.push(objects);
        }
        assert_eq!(texts[0], texts[1]);
        let shelf = server.shelves.of(&production());
        let snapshot = server.door.gate.hub.current(&production()).unwrap();
        let list = snapshot.view.kill_list();
        let bytes = || shelf.kills::<Grpc>(snapshot.view.epoch(), list, 0);
        assert_eq!(bytes().as_ptr(), bytes().as_ptr());
    }
}
