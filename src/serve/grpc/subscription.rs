//! `rampart.v1.Subscription`: the routes of the service, and those of its methods that are plain gRPC: the kill lane
//! alone, and receipts. `subscribe` has the subscription itself.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response as HttpResponse;
use axum::routing::post;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc as Server, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::{convert, subscribe};
use crate::proto::rampart_v1 as wire;
use crate::serve::door::Admitted;
use crate::serve::home::{self, Home};
use crate::serve::http::caller::authenticate;
use crate::serve::subscription::Subscriptions;
use crate::serve::subscription::admission::Ticket;
use crate::serve::subscription::receipts::{self, Question};
use crate::snapshot::roster::receipts::{Receipts, Word};
use crate::sync::message::Lane;

const WATCH_KILLS: &str = "/rampart.v1.Subscription/WatchKills";
const GET_RECEIPTS: &str = "/rampart.v1.Subscription/GetReceipts";
/// Kill sets that wait for the transport.
const BUFFER: usize = 2;

/// The routes of the service.
pub fn routes(subscriptions: Arc<Subscriptions>) -> Router {
    Router::new()
        .route(subscribe::PATH, post(subscribe::subscribe))
        .route(WATCH_KILLS, post(watch_kills))
        .route(GET_RECEIPTS, post(get_receipts))
        .with_state(subscriptions)
}

async fn watch_kills(State(shared): State<Arc<Subscriptions>>, request: HttpRequest) -> HttpResponse {
    let ticket = match shared.admission.enter() {
        Ok(ticket) => ticket,
        Err(refused) => {
            shared.metrics.refused(refused.why);
            return subscribe::overloaded(refused);
        }
    };
    let gate = &shared.door.gate;
    if let Err(problem) = authenticate(request.headers(), None, &gate.hub.tokens(), gate.clock.now()) {
        return Status::from(problem).into_http();
    }
    let hello = shared.limits.hello;
    let watching = Watching { shared, ticket: Some(ticket), home: home::of(request.extensions()) };
    let mut server = Server::new(ProstCodec::default());
    match timeout(hello, server.server_streaming(watching, request)).await {
        Ok(answer) => answer.map(axum::body::Body::new),
        Err(_) => Status::deadline_exceeded("the request did not come").into_http(),
    }
}

async fn get_receipts(State(shared): State<Arc<Subscriptions>>, request: HttpRequest) -> HttpResponse {
    Server::new(ProstCodec::default()).unary(Receiving(shared), request).await.map(axum::body::Body::new)
}

struct Watching {
    shared: Arc<Subscriptions>,
    ticket: Option<Ticket>,
    home: Home,
}

impl ServerStreamingService<wire::WatchKillsRequest> for Watching {
    type Response = wire::KillSet;
    type ResponseStream = ReceiverStream<Result<wire::KillSet, Status>>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<wire::WatchKillsRequest>) -> Self::Future {
        let (metadata, _, asked) = request.into_parts();
        let (shared, ticket, home) = (self.shared.clone(), self.ticket.take(), self.home.clone());
        Box::pin(async move {
            let admitted =
                shared.door.admit_to(&metadata.into_headers(), None, ("POST", WATCH_KILLS), &asked.environment)?;
            let (out, answers) = mpsc::channel(BUFFER);
            let tasks = shared.tasks.clone();
            home.settle().spawn(&tasks, async move {
                tell_kills(shared, admitted, out).await;
                drop(ticket);
            });
            Ok(Response::new(ReceiverStream::new(answers)))
        })
    }
}

/// The kill lane alone: the whole set at once, whenever it changes, and as a sign of life.
async fn tell_kills(shared: Arc<Subscriptions>, admitted: Admitted, out: mpsc::Sender<Result<wire::KillSet, Status>>) {
    let environment: Arc<str> = Arc::from(admitted.snapshot.environment.as_str());
    let hub = &shared.door.gate.hub;
    let Some(mut snapshots) = hub.subscribe(&admitted.snapshot.environment) else { return };
    let mut tokens = hub.follow_tokens();
    let every = shared.limits.bookmark;
    let mut again = tokio::time::interval_at(Instant::now() + every, every);
    let mut sent = None;
    let ended = loop {
        let snapshot = Arc::clone(&snapshots.borrow_and_update());
        tokens.borrow_and_update();
        if shared.door.readmit(admitted.principal.as_ref(), &snapshot, ("POST", WATCH_KILLS)).is_err() {
            break Status::unauthenticated("the token was revoked or has expired");
        }
        let (list, epoch) = (snapshot.view.kill_list(), snapshot.view.epoch());
        let state = (epoch, list.generation(), list.set_hash());
        if sent != Some(state) {
            sent = Some(state);
            for part in (0..list.parts()).filter_map(|part| list.part(part, epoch, &environment)) {
                if timeout(shared.limits.stall, out.send(Ok(convert::kill_set(&part)))).await.is_err() {
                    return;
                }
            }
        }
        tokio::select! {
            biased;
            () = out.closed() => return,
            () = shared.draining.cancelled() => break Status::unavailable("the server is stopping"),
            changed = tokens.changed() => if changed.is_err() { return },
            changed = snapshots.changed() => if changed.is_err() { break Status::not_found("the environment is gone") },
            _ = again.tick() => sent = None,
        }
    };
    // The stream may be gone already; there is nobody to tell then.
    drop(timeout(Duration::from_secs(1), out.send(Err(ended))).await);
}

struct Receiving(Arc<Subscriptions>);

impl UnaryService<wire::GetReceiptsRequest> for Receiving {
    type Response = wire::GetReceiptsResponse;
    type Future = BoxFuture<Response<Self::Response>, Status>;

    fn call(&mut self, request: Request<wire::GetReceiptsRequest>) -> Self::Future {
        let (metadata, _, asked) = request.into_parts();
        let shared = self.0.clone();
        Box::pin(async move {
            let headers = metadata.into_headers();
            let admitted = shared.door.admit_to(&headers, None, ("POST", GET_RECEIPTS), &asked.environment)?;
            let lane = match asked.lane() {
                wire::Lane::Kills => Lane::Kills,
                wire::Lane::Objects => Lane::Objects,
                wire::Lane::Unspecified => return Err(Status::invalid_argument("lane: say KILLS or OBJECTS")),
            };
            let word = match asked.wait_share {
                share if !(0.0..=1.0).contains(&share) => {
                    return Err(Status::invalid_argument("wait_share: from 0 to 1"));
                }
                share if share <= 0.0 => Word::Now,
                share if share >= 1.0 => Word::All,
                share => Word::Share(share),
            };
            let question = Question {
                environment: admitted.snapshot.environment.clone(),
                lane,
                position: asked.position,
                word,
                timeout: Duration::from_millis(u64::from(asked.timeout_ms)),
                names: usize::try_from(asked.name_max).unwrap_or(usize::MAX),
            };
            let gate = &shared.door.gate;
            let receipts = receipts::ask(&gate.hub, &gate.clock, &shared.waiters, question).await?;
            Ok(Response::new(answer(&receipts)))
        })
    }
}

fn answer(receipts: &Receipts) -> wire::GetReceiptsResponse {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let missing = receipts.missing.iter().map(|(_, client)| wire::Missing {
        instance_id: client.who.instance_id.clone(),
        name: client.who.name.clone(),
        applied: match receipts.lane {
            Lane::Kills => client.generation,
            Lane::Objects => client.revision,
        },
        connected: client.connected,
        last_seen_us: client.last_seen.micros(),
        rejected: client.rejected.iter().map(convert::object_error).collect(),
    });
    wire::GetReceiptsResponse {
        subscribers: count(receipts.subscribers),
        confirmed: count(receipts.confirmed),
        pending: count(receipts.pending),
        rejected: count(receipts.rejected),
        unconfirmable: count(receipts.unconfirmable),
        disconnected: count(receipts.disconnected),
        late_joined: count(receipts.late_joined),
        p50_us: receipts.p50_us,
        p99_us: receipts.p99_us,
        max_us: receipts.max_us,
        missing: missing.collect(),
    }
}
