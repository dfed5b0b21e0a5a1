//! More clients than the server takes: they are told when to come back, and the way to kills stays open.

use std::collections::BTreeSet;

use rampart::proto::rampart_v1 as wire;
use serde_json::json;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

use super::{kill, metric, server, until};
use crate::harness::Server;
use crate::harness::sse::EventStream;

/// What a gRPC client hears that wants to subscribe; it is refused.
fn refusal(server: &Server) -> Status {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{}", server.data)).expect("an address");
        let channel = channel.connect().await.expect("it connects");
        let mut client = wire::subscription_client::SubscriptionClient::new(channel);
        let hello = wire::Hello { instance_id: "late".to_owned(), acks: true, ..wire::Hello::default() };
        let hello = wire::ClientMessage { message: Some(wire::client_message::Message::Hello(hello)) };
        client.subscribe(Request::new(tokio_stream::iter([hello]))).await.expect_err("there is no place")
    })
}

/// The kill set says that the flag is killed.
fn kills_are_heard_of(server: &Server) {
    let kills = server.data().get("/v1/kills");
    assert_eq!((kills.status, &kills.json()["killed"][0]["key"]), (200, &json!("slice")), "{}", kills.text());
}

#[test]
fn a_full_server_says_when_to_come_back_and_still_tells_kills() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &["--streams-max", "1"]);
    let mut admin = server.admin();
    let mut first = EventStream::open(&server.data, "/v1/stream", &[]).expect("the only place");
    kill(&mut admin, "all&timeout=0s");

    let refused = refusal(&server);
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    let pushback = refused.metadata().get("grpc-retry-pushback-ms").and_then(|value| value.to_str().ok());
    let pushback: u32 = pushback.expect("when to come back").parse().expect("milliseconds");
    assert!((1_000..=10_000).contains(&pushback), "{pushback}");
    let refused = server.data().get("/v1/stream");
    assert_eq!(refused.status, 503, "{}", refused.text());
    let seconds: u32 = refused.header("retry-after").expect("when to come back").parse().expect("seconds");
    assert!((1..=10).contains(&seconds), "{seconds}");
    kills_are_heard_of(&server);
    assert_eq!(metric(&mut admin, "rampart_subscriptions_refused_total{reason=\"full\"}") as u64, 2);

    let kill = std::iter::from_fn(|| first.event()).find(|block| block.event.as_deref() == Some("kill"));
    assert!(kill.is_some(), "whoever is in is served");
    drop(first);
    until("the place is free again", || EventStream::open(&server.data, "/v1/stream", &[]).ok());
}

#[test]
fn a_storm_is_let_in_at_its_rate_and_the_rest_is_spread_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &["--streams-opens-per-second", "1"]);
    let mut admin = server.admin();
    kill(&mut admin, "all&timeout=0s");
    let opened: Vec<_> = (0..2).map(|_| EventStream::open(&server.data, "/v1/stream", &[])).collect();
    assert!(opened.iter().all(Result::is_ok), "two seconds' worth at once");

    // However slow this machine is, a hundred a second are more than one.
    let waits = until("thirty are refused", {
        let mut waits = Vec::new();
        let server = &server;
        move || {
            for _ in 0..10 {
                if EventStream::open(&server.data, "/v1/stream", &[]).is_err_and(|status| status == 503) {
                    let refusal = refusal_of(server)?;
                    waits.push(refusal);
                }
            }
            (waits.len() >= 30).then(|| std::mem::take(&mut waits))
        }
    });
    let apart: BTreeSet<u32> = waits.iter().copied().collect();
    assert!(apart.len() > 10, "they are not told to come back as one: {waits:?}");
    kills_are_heard_of(&server);
    assert!(metric(&mut admin, "rampart_subscriptions_refused_total{reason=\"rate\"}") as u64 >= 30);
    until("whoever comes back later gets in", || EventStream::open(&server.data, "/v1/stream", &[]).ok());
}

/// When a gRPC client is told to come back.
fn refusal_of(server: &Server) -> Option<u32> {
    let refused = refusal(server);
    refused.metadata().get("grpc-retry-pushback-ms")?.to_str().ok()?.parse().ok()
}
