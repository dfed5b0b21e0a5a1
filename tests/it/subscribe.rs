//! Subscriptions against a real server: the kill set first, deltas, kills, revoked tokens, a server that stops; and the
//! other gRPC services by their generated clients.

use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use rampart::client::options::Options;
use rampart::client::subscription::{FollowFault, Update, follow};
use rampart::eval::context::Context;
use rampart::eval::evaluate::evaluate;
use rampart::flag::time::Timestamp;
use rampart::proto::rampart_v1 as wire;
use rampart::sync::message::{FullReason, GoodbyeReason};
use rampart::sync::replica::Event;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use crate::harness::{GUARD, Server, repository, stderr};

/// A subscriber in a thread of its own; what happens to it comes through a channel.
struct Follower {
    seen: Receiver<Seen>,
    stop: CancellationToken,
    thread: JoinHandle<Result<(), FollowFault>>,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Connected,
    Kills { killed: Vec<String>, restored: Vec<String> },
    Objects { full: Option<FullReason>, changed: Vec<String>, slice_b: Option<bool> },
    Goodbye(GoodbyeReason),
    Disconnected,
}

impl Follower {
    fn of(server: &Server, token: Option<String>) -> Self {
        let (send, seen) = channel();
        let mut options = Options::new(&format!("http://{}", server.data), "test-instance".to_owned());
        options.token = token;
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(follow(&options, &stopping, |update, replica| {
                let names = |flags: &[rampart::flag::key::FlagId]| flags.iter().map(ToString::to_string).collect();
                let seen = match update {
                    Update::Connected => Seen::Connected,
                    Update::Disconnected { .. } => Seen::Disconnected,
                    Update::Event { event: Event::Kills { killed, restored, .. }, .. } => {
                        Seen::Kills { killed: names(killed), restored: names(restored) }
                    }
                    Update::Event { event: Event::Objects { full, changed, .. }, .. } => {
                        let context = Context::from_json(br#"{"targetingKey": "user-1"}"#).expect("a context");
                        let flag = replica.set().flag(None, "sliceB_documents");
                        let value = flag.and_then(|flag| {
                            evaluate(replica.set(), flag, &context, Timestamp::from_micros(0)).value?.as_bool()
                        });
                        let changed = changed.iter().map(|changed| changed.key.key().to_owned()).collect();
                        Seen::Objects { full: *full, changed, slice_b: value }
                    }
                    Update::Event { event: Event::Goodbye(goodbye), .. } => Seen::Goodbye(goodbye.reason),
                    Update::Event { .. } | Update::Stale | Update::Fresh => return,
                };
                drop(send.send(seen));
            }))
        });
        Self { seen, stop, thread }
    }

    fn next(&self) -> Seen {
        self.seen.recv_timeout(GUARD).expect("something happens within the guard")
    }

    /// What happens next apart from transfers without a change.
    fn next_change(&self) -> Seen {
        loop {
            match self.next() {
                Seen::Objects { full: None, changed, .. } if changed.is_empty() => {}
                seen => return seen,
            }
        }
    }

    fn end(self) -> Result<(), FollowFault> {
        self.stop.cancel();
        self.thread.join().expect("the follower does not panic")
    }
}

fn server(dir: &tempfile::TempDir) -> Server {
    let flags = repository("examples/phase-9.flags.yaml");
    Server::start(dir.path(), &["--flags", flags.to_str().expect("UTF-8")])
}

fn run(server: &Server, arguments: &[&str]) {
    let done = server.cli(arguments);
    assert!(done.status.success(), "{arguments:?}: {}", stderr(&done));
}

#[test]
fn a_subscriber_hears_the_kill_set_first_then_everything_then_only_what_changes() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = server(&dir);
    run(&server, &["flag", "kill", "document_storage_v2", "--reason", "before anybody listens"]);
    let follower = Follower::of(&server, None);
    assert_eq!(follower.next(), Seen::Connected);
    assert_eq!(follower.next(), Seen::Kills { killed: vec!["document_storage_v2".into()], restored: vec![] });
    assert!(
        matches!(follower.next(), Seen::Objects { full: Some(FullReason::Initial), changed, .. } if changed.len() > 5)
    );

    run(&server, &["flag", "set", "sliceB_documents", "--serve", "on=100"]);
    let changed = vec!["sliceB_documents".to_owned()];
    assert_eq!(follower.next_change(), Seen::Objects { full: None, changed, slice_b: Some(true) });
    run(&server, &["flag", "kill", "sliceB_documents", "--reason", "drill"]);
    assert_eq!(follower.next_change(), Seen::Kills { killed: vec!["sliceB_documents".into()], restored: vec![] });
    run(&server, &["flag", "restore", "sliceB_documents"]);
    assert_eq!(follower.next_change(), Seen::Kills { killed: vec![], restored: vec!["sliceB_documents".into()] });

    server.signal("TERM");
    assert_eq!(follower.next_change(), Seen::Goodbye(GoodbyeReason::Draining));
    assert_eq!(follower.next(), Seen::Disconnected);
    assert!(server.process.wait().expect("it ends").success(), "a drained server ends well");
    follower.end().expect("a stopped follower ends well");
}

#[test]
fn a_revoked_token_ends_the_stream_and_a_wrong_one_opens_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(&dir);
    let mut admin = server.admin();
    let created = admin.post("/v1/tokens", &json!({"scopes": ["read"], "name": "follower"})).json();
    let follower = Follower::of(&server, created["token"].as_str().map(str::to_owned));
    assert_eq!(follower.next(), Seen::Connected);
    while !matches!(follower.next(), Seen::Objects { .. }) {}
    let path = format!("/v1/tokens/{}", created["id"].as_str().expect("an id"));
    assert_eq!(admin.send("DELETE", &path, &[], b"").status, 200);
    assert_eq!(follower.next_change(), Seen::Goodbye(GoodbyeReason::TokenRevoked));
    let ended = follower.thread.join().expect("the follower does not panic");
    assert!(matches!(ended, Err(FollowFault::Denied(_))), "{ended:?}");

    let kill_only = admin.post("/v1/tokens", &json!({"scopes": ["kill"]})).json();
    for token in [kill_only["token"].as_str().expect("a token"), "rampart_wrong"] {
        let ended = Follower::of(&server, Some(token.to_owned())).thread.join().expect("it does not panic");
        assert!(matches!(ended, Err(FollowFault::Denied(_))), "{ended:?}");
    }
}

#[test]
fn the_other_services_answer_over_grpc() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(&dir);
    run(&server, &["flag", "set", "sliceB_documents", "--serve", "on=100"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{}", server.data)).expect("an address");
        let channel = channel.connect().await.expect("it connects");
        let mut evaluation = wire::evaluation_client::EvaluationClient::new(channel.clone());
        let ask = |key: &str, context: &'static str| wire::EvaluateRequest {
            flag_key: key.to_owned(),
            flag_set: None,
            context_json: context.into(),
        };
        let user = r#"{"targetingKey": "user-1"}"#;
        let answer = evaluation.evaluate(ask("sliceB_documents", user)).await.expect("an answer").into_inner();
        let evaluated = answer.evaluated.expect("always there");
        assert_eq!((evaluated.value_json.as_ref(), evaluated.reason.as_str()), (&b"true"[..], "SPLIT"));
        assert_eq!(evaluated.variant.as_deref(), Some("on"));
        for (key, context, code) in [("nope", user, "FLAG_NOT_FOUND"), ("sliceB_documents", "[", "INVALID_CONTEXT")] {
            let answer = evaluation.evaluate(ask(key, context)).await.expect("an answer").into_inner();
            let evaluated = answer.evaluated.expect("always there");
            assert_eq!((evaluated.reason.as_str(), evaluated.error_code.as_deref()), ("ERROR", Some(code)));
        }
        let all = wire::EvaluateAllRequest { flag_set: None, context_json: user.into() };
        assert!(evaluation.evaluate_all(all).await.expect("an answer").into_inner().evaluated.len() > 5);

        let mut subscription = wire::subscription_client::SubscriptionClient::new(channel.clone());
        let receipts = subscription.get_receipts(wire::GetReceiptsRequest::default()).await;
        assert_eq!(receipts.expect_err("it names no lane").code(), Code::InvalidArgument);
        let ping = wire::client_message::Message::Ping(wire::Ping { token: 1 });
        let hasty = tokio_stream::iter([wire::ClientMessage { message: Some(ping) }]);
        let mut stream = subscription.subscribe(Request::new(hasty)).await.expect("a stream").into_inner();
        assert_eq!(stream.message().await.expect_err("Hello comes first").code(), Code::InvalidArgument);

        run(&server, &["flag", "kill", "sliceB_documents", "--reason", "drill"]);
        let asked = wire::WatchKillsRequest::default();
        let mut kills = subscription.watch_kills(asked).await.expect("a stream").into_inner();
        let set = kills.message().await.expect("a message").expect("the set comes at once");
        assert_eq!(set.entries.iter().map(|entry| entry.key.as_str()).collect::<Vec<_>>(), ["sliceB_documents"]);

        let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
        let asked = tonic_health::pb::HealthCheckRequest { service: "rampart.v1.Evaluation".into() };
        let status = health.check(asked).await.expect("an answer").into_inner().status;
        assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);
    });
}
