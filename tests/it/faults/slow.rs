//! Clients that ask for everything and then read nothing, or one byte a second.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rampart::proto::rampart_v1 as wire;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

use super::{Watcher, connected, definition, kill, metric, resident, server, settled, subscribers, until};
use crate::harness::GUARD;
use crate::harness::http::Client;
use crate::harness::sse::EventStream;

/// More than the kernel's buffers take.
const FLAGS: usize = 24;
const SLOW: usize = 11;
/// Places for streams: one well-behaved client and the slow ones.
const PLACES: &str = "12";
/// How much more memory all of them may cost, in kilobytes; one copy of all flags is about 14 MB.
const ROOM_KB: u64 = 100_000;

/// Opens a stream with as little room for bytes as the kernel allows, and reads nothing.
fn reader(address: &str, number: usize) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let address: SocketAddr = address.parse().expect("an address");
    socket.connect(&address.into()).expect("it listens");
    let mut stream = TcpStream::from(socket);
    let request = format!("GET /v1/stream?acks=true&name=slow-{number} HTTP/1.1\r\nhost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it is sent");
    stream
}

/// Reads one byte a second until it is told to stop or the stream ends.
fn trickle(mut stream: TcpStream) -> (SyncSender<()>, JoinHandle<()>) {
    let (stop, stopped) = sync_channel(1);
    let thread = std::thread::spawn(move || {
        let mut byte = [0];
        while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
            if !matches!(stream.read(&mut byte), Ok(1)) {
                return;
            }
        }
    });
    (stop, thread)
}

/// Defines about 14 MB of flags.
fn large_flags(admin: &mut Client) {
    for number in 0..FLAGS {
        let users: Vec<String> = (0..10_000).map(|user| format!("{number:04}-{user:050}")).collect();
        let mut flag = definition();
        flag["rules"] = json!([{"when": {"user": {"in": users}}, "serve": "on"}]);
        let answer = admin.put(&format!("/v1/environments/production/flags/large-{number}"), &flag);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[test]
fn readers_that_take_nothing_are_ended_cost_little_and_hold_up_nobody() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &["--streams-stall", "2s", "--streams-max", PLACES]);
    let mut admin = server.admin();
    large_flags(&mut admin);
    let good = Watcher::start(&server, "good");
    settled(&mut admin, 1);
    let before = resident(&server.process);

    let mut slow: Vec<TcpStream> = (0..SLOW).map(|number| reader(&server.data, number)).collect();
    let (stop, trickling) = trickle(slow.pop().expect("one of them"));
    // However slow this machine is: those that were ended by now are still remembered.
    until("all have come", || (subscribers(&mut admin)["total"] == SLOW + 1).then_some(()));
    let receipts = kill(&mut admin, "0.05&timeout=30s")["receipts"].take();
    assert_eq!((&receipts["reached"], &receipts["confirmed"]), (&json!(true), &json!(1)), "{receipts}");
    let others = ["pending", "disconnected"].map(|state| receipts[state].as_u64().expect("a count"));
    assert_eq!(others.iter().sum::<u64>(), SLOW as u64, "those who read nothing have confirmed nothing: {receipts}");
    good.lines.wait_for("\"slice\"");

    connected(&mut admin, 1);
    until("each was ended for what it did", || {
        let ended = metric(&mut admin, "rampart_subscriptions_ended_total{reason=\"too-slow\"}");
        (ended as usize == SLOW).then_some(())
    });
    let after = resident(&server.process);
    assert!(after < before + ROOM_KB, "from {before} kB to {after} kB");
    let place = |_| until("their places are free", || EventStream::open(&server.data, "/v1/stream", &[]).ok());
    let others: Vec<EventStream> = (0..SLOW).map(place).collect();
    assert_eq!(EventStream::open(&server.data, "/v1/stream", &[]).expect_err("and no more than those"), 503);
    drop(others);
    drop(stop);
    trickling.join().expect("it does not panic");
}

#[test]
fn a_grpc_client_that_takes_no_message_is_ended_and_hears_why_when_it_reads_at_last() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &["--streams-stall", "1s"]);
    let mut admin = server.admin();
    large_flags(&mut admin);
    // A thread of its own keeps the connection alive while nobody takes a message from the stream.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let hello = wire::Hello { instance_id: "idle".to_owned(), acks: true, ..wire::Hello::default() };
    let hello = wire::ClientMessage { message: Some(wire::client_message::Message::Hello(hello)) };
    let said = tokio_stream::iter([hello]).chain(tokio_stream::pending());
    let opening = async {
        let channel = Endpoint::from_shared(format!("http://{}", server.data)).expect("an address");
        let channel = channel.connect().await.expect("it connects");
        let mut client = wire::subscription_client::SubscriptionClient::new(channel);
        client.subscribe(Request::new(said)).await.expect("a stream").into_inner()
    };
    let mut stream = runtime.block_on(opening);
    until("it was ended for what it did", || {
        let ended = metric(&mut admin, "rampart_subscriptions_ended_total{reason=\"too-slow\"}");
        (ended as usize == 1).then_some(())
    });
    connected(&mut admin, 0);
    let reading = async {
        loop {
            let next = tokio::time::timeout(GUARD, stream.message()).await.expect("something within the guard");
            match next {
                Ok(message) => assert!(message.is_some(), "it ends with a status"),
                Err(status) => return status,
            }
        }
    };
    let status = runtime.block_on(reading);
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
}
