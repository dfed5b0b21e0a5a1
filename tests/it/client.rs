//! The Rust client against a real server process, and against one that says exactly what a test wants.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use rampart::client::Client;
use rampart::client::builder::Builder;
use rampart::client::events::{Event, Events};
use rampart::client::state::Source;
use rampart::eval::context::Context;
use rampart::eval::outcome::{ErrorCode, Reason};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::harness::{GUARD, Server, repository, serve_at, stderr};

const USER: &[u8] = br#"{"targetingKey": "user-1"}"#;
/// How soon these tests come back after a stream ended; there is nobody to protect.
const SOON: Duration = Duration::from_millis(20);

fn user() -> Context<'static> {
    Context::from_json(USER).expect("a context")
}

fn flags() -> Value {
    let one = |value: Value, other: Value| json!({"variants": {"on": value, "off": other}, "defaultVariant": "off", "safeVariant": "off", "serve": "on"});
    json!({"flags": {
        "yes": one(json!(true), json!(false)),
        "text": one(json!("red"), json!("blue")),
        "whole": one(json!(7), json!(0)),
        "part": one(json!(0.5), json!(0.0)),
        "thing": one(json!({"a": [1, null]}), json!({})),
        "half": {"variants": {"on": true, "off": false}, "defaultVariant": "off", "serve": {"on": 100},
            "metadata": {"team": "docs"}},
        "asleep": {"variants": {"on": true, "off": false}, "defaultVariant": "on", "state": "DISABLED"},
    }})
}

/// A server with these flags; on the same ports as before where there was one.
fn server(dir: &Path, before: Option<&Server>) -> Server {
    let file = dir.join("flags.json");
    std::fs::write(&file, flags().to_string()).expect("a file");
    let ports = before.map_or(["127.0.0.1:0"; 2], |server| [&server.data, &server.admin]);
    let options = ["--flags", file.to_str().expect("UTF-8")];
    Server::run(&dir.join("data"), serve_at(&dir.join("data"), ports, &options))
}

fn builder(server: &Server) -> Builder {
    Client::builder(&format!("http://{}", server.data)).backoff(SOON, SOON).wait(GUARD)
}

fn run(server: &Server, arguments: &[&str]) {
    let done = server.cli(arguments);
    assert!(done.status.success(), "{arguments:?}: {}", stderr(&done));
}

/// Waits for what must come, no longer than a test may take.
async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(GUARD, what).await.expect("it comes within the guard")
}

/// Waits for an event of a kind.
async fn until(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    within(async {
        loop {
            let event = events.next().await.expect("the client is not closed");
            if wanted(&event) {
                return event;
            }
        }
    })
    .await
}

fn names(event: &Event) -> Vec<String> {
    let Event::ConfigurationChanged { flags } = event else { panic!("{event:?}") };
    flags.iter().map(ToString::to_string).collect()
}

fn is_change(event: &Event) -> bool {
    matches!(event, Event::ConfigurationChanged { .. })
}

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

#[test]
fn a_client_answers_every_type_in_process_and_says_why() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), None);
    runtime().block_on(async {
        let client = builder(&server).connect().await.expect("options");
        let user = user();
        assert!(client.bool("yes", &user, false));
        let allocated = allocation_counter::measure(|| assert!(client.bool("half", &user, false)));
        assert_eq!(allocated.count_total, 0, "an answer costs no allocation");
        assert_eq!(client.string("text", &user, "none"), "red");
        assert_eq!(client.integer("whole", &user, -1), 7);
        assert_eq!((client.float("part", &user, -1.0), client.float("whole", &user, -1.0)), (0.5, 7.0));
        let thing = client.object("thing", &user, serde_json::Map::new());
        assert_eq!(Value::Object(thing), json!({"a": [1, null]}));

        let half = client.evaluate("half", &user, false);
        assert_eq!((half.value, half.variant.as_deref(), half.reason), (true, Some("on"), Reason::Split));
        assert_eq!((half.error, &half.metadata["team"]), (None, &json!("docs")));
        let asleep = client.evaluate("asleep", &user, true);
        assert_eq!((asleep.value, asleep.variant, asleep.reason), (true, None, Reason::Disabled));
        for (key, code) in [("nope", ErrorCode::FlagNotFound), ("text", ErrorCode::TypeMismatch)] {
            let answer = client.evaluate(key, &user, 5_i64);
            assert_eq!((answer.value, answer.reason, answer.error), (5, Reason::Error, Some(code)));
        }
        let status = client.status();
        assert_eq!((status.source, status.connected, status.flags), (Source::Server, true, 7));
        assert_eq!((status.stale, status.rejected, status.full_transfers), (false, 0, 1));
        assert_eq!(status.environment.as_deref(), Some("production"));
        within(client.close()).await;
        assert!(client.bool("yes", &user, false) && !client.status().connected, "the last flags go on answering");
    });
}

#[test]
fn edits_and_kills_arrive_by_themselves() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), None);
    runtime().block_on(async {
        let client = builder(&server).connect().await.expect("options");
        let (user, mut events) = (user(), client.events());
        assert_eq!(within(events.next()).await, Some(Event::Ready));
        run(&server, &["flag", "set", "half", "--serve", "on=0"]);
        assert_eq!(names(&until(&mut events, is_change).await), ["half"]);
        assert!(!client.bool("half", &user, true));

        run(&server, &["flag", "kill", "yes", "--reason", "drill"]);
        assert_eq!(names(&until(&mut events, is_change).await), ["yes"]);
        let killed = client.evaluate("yes", &user, true);
        assert_eq!((killed.value, killed.reason, &killed.metadata["killed"]), (false, Reason::Default, &json!(true)));
        assert!(client.status().kill_generation.0 > 0);
        run(&server, &["flag", "restore", "yes"]);
        assert_eq!(names(&until(&mut events, is_change).await), ["yes"]);
        assert!(client.bool("yes", &user, false));
        drop(client);
        assert_eq!(within(events.next()).await, None, "with the last handle the client ends");
    });
}

#[test]
fn the_last_good_flags_answer_without_a_server_and_only_what_is_new_is_sent_after_it_came_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut first = server(dir.path(), None);
    let kept = dir.path().join("flags.kept");
    let runtime = runtime();
    let start = |server: &Server| runtime.block_on(builder(server).keep(&kept).connect()).expect("options");

    let client = start(&first);
    let mut events = client.events();
    run(&first, &["flag", "kill", "yes", "--reason", "drill"]);
    runtime.block_on(until(&mut events, |event| is_change(event) && names(event) == ["yes"]));
    runtime.block_on(within(client.close()));
    assert!(first.terminate().success());

    // It is not waited for a server that is away where a file answers.
    let client = start(&first);
    let status = client.status();
    assert_eq!((status.source, status.connected, status.flags), (Source::File, false, 7));
    assert_eq!(client.string("text", &user(), "none"), "red");
    assert!(!client.bool("yes", &user(), true), "a kill outlives a restart of the client");
    let mut events = client.events();
    let second = server(dir.path(), Some(&first));
    run(&second, &["flag", "set", "half", "--serve", "on=0"]);
    assert_eq!(names(&runtime.block_on(until(&mut events, is_change))), ["half"]);
    let status = client.status();
    assert_eq!((status.source, status.connected, status.full_transfers), (Source::Server, true, 0), "a delta was sent");
    runtime.block_on(within(client.close()));
    drop(second);

    // The newest generation is cut off: the one before answers.
    let file = std::fs::read(&kept).expect("it was kept");
    std::fs::write(&kept, &file[..file.len() / 2]).expect("a file");
    let client = start(&first);
    assert_eq!(client.status().source, Source::File);
    assert!(client.bool("half", &user(), false), "as it was before the edit");
    assert!(!client.bool("yes", &user(), true));
    runtime.block_on(within(client.close()));
}

/// Whatever is wrong with streams, a kill arrives: here they are switched off.
#[test]
fn a_kill_arrives_where_streams_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut first = server(dir.path(), None);
    let kept = dir.path().join("flags.kept");
    let runtime = runtime();
    let client = runtime.block_on(builder(&first).keep(&kept).connect()).expect("options");
    runtime.block_on(within(client.close()));
    assert!(first.terminate().success());

    let data = dir.path().join("data");
    let off = ["--streams-enabled=false"];
    let second = Server::run(&data, serve_at(&data, [&first.data, &first.admin], &off));
    let polling = builder(&second).keep(&kept).kill_polls(SOON, SOON);
    let client = runtime.block_on(polling.connect()).expect("options");
    let mut events = client.events();
    assert!(client.bool("yes", &user(), false));
    run(&second, &["flag", "kill", "yes", "--reason", "drill"]);
    runtime.block_on(until(&mut events, |event| is_change(event) && names(event) == ["yes"]));
    assert!(!client.bool("yes", &user(), true));
    assert!(!client.status().connected, "it came by the third way");
    runtime.block_on(within(client.close()));
}

#[test]
fn without_a_server_and_without_a_file_code_defaults_count() {
    let dir = tempfile::tempdir().expect("a folder");
    let gone = server(dir.path(), None).data.clone();
    runtime().block_on(async {
        let kept = dir.path().join("foreign");
        std::fs::write(&kept, "{\"flags\": {}}").expect("a file");
        let client = Client::builder(&format!("http://{gone}")).wait(Duration::ZERO).keep(&kept).connect().await;
        let client = client.expect("a server that is away is no error");
        let answer = client.evaluate("yes", &user(), true);
        assert_eq!((answer.value, answer.error), (true, Some(ErrorCode::ProviderNotReady)));
        let mut events = client.events();
        until(&mut events, |event| matches!(event, Event::Error(_))).await;
        assert_eq!(client.status().source, Source::Nothing);
        within(client.close()).await;
        for url in ["https://localhost:8013", "localhost", "http://host/path"] {
            assert_eq!(Client::connect(url).await.expect_err("it cannot be used").option, "url");
        }
    });
}

#[test]
fn a_refused_token_is_no_end_and_the_flag_set_is_the_clients_choice() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), None);
    runtime().block_on(async {
        let refused = builder(&server).token("rampart_wrong").wait(Duration::ZERO).connect().await.expect("options");
        let mut events = refused.events();
        until(&mut events, |event| matches!(event, Event::Error(_))).await;
        assert!(refused.status().denied && !refused.status().connected);
        assert!(refused.bool("yes", &user(), true), "the code default");
        within(refused.close()).await;

        let elsewhere = builder(&server).flag_set("shop").connect().await.expect("options");
        assert_eq!(elsewhere.evaluate("yes", &user(), true).error, Some(ErrorCode::FlagNotFound));
        let in_none = builder(&server).flag_set("").connect().await.expect("options");
        assert!(in_none.bool("yes", &user(), false));
    });
}

#[test]
fn the_readme_shows_the_example() {
    let example = std::fs::read_to_string(repository("examples/client.rs")).expect("the example");
    let (_, code) = example.split_once("\n\n").expect("what it is, then the code");
    let readme = std::fs::read_to_string(repository("README.md")).expect("the README");
    assert!(readme.contains(&format!("```rust\n{code}```")), "README.md shows examples/client.rs as it is");
}

/// A server that records what clients say, and says what a test wants.
mod scripted {
    use std::sync::Mutex;

    use rampart::proto::rampart_v1 as wire;
    use rampart::proto::rampart_v1::client_message::Message;
    use rampart::proto::rampart_v1::subscription_server::{Subscription, SubscriptionServer};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
    use tonic::{Request, Response, Status, Streaming};

    type Answer = Result<wire::ServerMessage, Status>;
    type Answers = ReceiverStream<Answer>;

    /// Each stream gets what `answer` gives for its number, from 0: messages, or a refusal.
    pub struct Scripted<A> {
        answer: A,
        opened: Mutex<usize>,
        heard: mpsc::Sender<Message>,
        /// Streams stay open until the server ends.
        open: Mutex<Vec<mpsc::Sender<Answer>>>,
    }

    /// Starts one; gives its URL and what its clients say.
    pub async fn start<A>(answer: A) -> (String, mpsc::Receiver<Message>)
    where
        A: Fn(usize) -> Result<Vec<wire::ServerMessage>, Status> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (heard, said) = mpsc::channel(100);
        let scripted = Scripted { answer, opened: Mutex::new(0), heard, open: Mutex::default() };
        let serving = tonic::transport::Server::builder()
            .add_service(SubscriptionServer::new(scripted))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        (url, said)
    }

    #[tonic::async_trait]
    impl<A> Subscription for Scripted<A>
    where
        A: Fn(usize) -> Result<Vec<wire::ServerMessage>, Status> + Send + Sync + 'static,
    {
        type SubscribeStream = Answers;
        type WatchKillsStream = ReceiverStream<Result<wire::KillSet, Status>>;

        async fn subscribe(
            &self,
            request: Request<Streaming<wire::ClientMessage>>,
        ) -> Result<Response<Answers>, Status> {
            let number = {
                let mut opened = self.opened.lock().expect("no panic");
                *opened += 1;
                *opened - 1
            };
            let messages = (self.answer)(number)?;
            let (send, answers) = mpsc::channel(messages.len() + 1);
            for message in messages {
                send.send(Ok(message)).await.expect("there is room");
            }
            self.open.lock().expect("no panic").push(send);
            let (heard, mut stream) = (self.heard.clone(), request.into_inner());
            tokio::spawn(async move {
                while let Ok(Some(message)) = stream.message().await {
                    if let Some(message) = message.message {
                        drop(heard.send(message).await);
                    }
                }
            });
            Ok(Response::new(ReceiverStream::new(answers)))
        }

        async fn watch_kills(
            &self,
            _: Request<wire::WatchKillsRequest>,
        ) -> Result<Response<Self::WatchKillsStream>, Status> {
            Err(Status::unimplemented("not here"))
        }

        async fn get_receipts(
            &self,
            _: Request<wire::GetReceiptsRequest>,
        ) -> Result<Response<wire::GetReceiptsResponse>, Status> {
            Err(Status::unimplemented("not here"))
        }
    }
}

mod on_the_wire {
    use rampart::client::options::Options;
    use rampart::client::subscription::{Update, follow};
    use rampart::proto::rampart_v1 as wire;
    use rampart::proto::rampart_v1::client_message::Message;
    use rampart::proto::rampart_v1::server_message::Message as Say;
    use tokio_util::sync::CancellationToken;
    use tonic::Status;

    use super::*;

    fn say(nonce: u64, message: Say) -> wire::ServerMessage {
        wire::ServerMessage { nonce, message: Some(message) }
    }

    /// A kill set with nothing in it.
    fn kills() -> wire::ServerMessage {
        let set = wire::KillSet {
            epoch: vec![1; 16].into(),
            environment: "production".to_owned(),
            set_hash: vec![0; 16].into(),
            parts: 1,
            ..wire::KillSet::default()
        };
        say(1, Say::KillSet(set))
    }

    /// The wait before the next attempt, as the first end of a stream says it.
    async fn first_wait(url: &str) -> Duration {
        let options = Options { silence: GUARD, ..Options::new(url, "test".to_owned()) };
        let (stop, mut wait) = (CancellationToken::new(), None);
        let following = follow(&options, &stop, |update, _| {
            if let Update::Disconnected { retry_in, .. } = update {
                wait = Some(*retry_in);
                stop.cancel();
            }
        });
        within(following).await.expect("it is told to stop");
        wait.expect("the stream ended")
    }

    #[test]
    fn the_server_says_when_to_come_back() {
        runtime().block_on(async {
            let (url, _said) = scripted::start(|_| {
                let mut status = Status::unavailable("full");
                status.metadata_mut().insert("grpc-retry-pushback-ms", "61234".parse().expect("a value"));
                Err(status)
            })
            .await;
            assert_eq!(first_wait(&url).await, Duration::from_millis(61_234));
            let goodbye = wire::Goodbye { reconnect_after_ms: 43_210, ..wire::Goodbye::default() };
            // What follows cannot be read, which ends the stream.
            let broken = say(0, Say::Bookmark(wire::Bookmark::default()));
            let (url, _said) = scripted::start(move |_| Ok(vec![say(0, Say::Goodbye(goodbye)), broken.clone()])).await;
            assert_eq!(first_wait(&url).await, Duration::from_millis(43_210));
        });
    }

    #[test]
    fn silence_makes_flags_stale_and_the_stream_is_made_anew() {
        runtime().block_on(async {
            let (url, mut said) = scripted::start(|_| Ok(vec![kills()])).await;
            let client = Client::builder(&url).silence(SOON).backoff(SOON, SOON).wait(Duration::ZERO).connect().await;
            let client = client.expect("options");
            let mut events = client.events();
            until(&mut events, |event| *event == Event::Stale).await;
            until(&mut events, |event| *event == Event::Fresh).await;
            let mut hellos = 0;
            while hellos < 2 {
                hellos += usize::from(matches!(within(said.recv()).await, Some(Message::Hello(_))));
            }
            within(client.close()).await;
        });
    }

    #[test]
    fn receipts_are_sent_by_themselves_and_a_client_that_goes_says_so() {
        runtime().block_on(async {
            let (url, mut said) = scripted::start(|_| Ok(vec![kills()])).await;
            let builder = Client::builder(&url).name("worker").label("region", "eu").wait(Duration::ZERO);
            let client = builder.connect().await.expect("options");
            let Some(Message::Hello(hello)) = within(said.recv()).await else { panic!("Hello comes first") };
            assert_eq!((hello.name.as_str(), hello.labels["region"].as_str(), hello.acks), ("worker", "eu", true));
            assert!(!hello.instance_id.is_empty() && hello.resume.is_none());
            let Some(Message::Ack(ack)) = within(said.recv()).await else { panic!("then the receipt") };
            assert_eq!((ack.nonce, ack.lane()), (1, wire::Lane::Kills));
            let other = client.clone();
            drop(client);
            within(other.close()).await;
            assert!(matches!(within(said.recv()).await, Some(Message::Leave(_))));
        });
    }
}

#[cfg(feature = "openfeature")]
mod provider {
    use open_feature::{EvaluationContext, EvaluationErrorCode, EvaluationReason, OpenFeature, StructValue, Value};
    use rampart::client::openfeature::RampartProvider;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Thing(usize);

    impl TryFrom<StructValue> for Thing {
        type Error = String;

        fn try_from(value: StructValue) -> Result<Self, String> {
            match value.fields.get("a") {
                Some(Value::Array(list)) => Ok(Self(list.len())),
                _ => Err("no list".to_owned()),
            }
        }
    }

    #[test]
    fn the_openfeature_sdk_answers_from_the_client() {
        let dir = tempfile::tempdir().expect("a folder");
        let server = server(dir.path(), None);
        runtime().block_on(async {
            let ours = builder(&server).connect().await.expect("options");
            let mut api = OpenFeature::default();
            api.set_provider(RampartProvider::new(ours.clone())).await;
            assert_eq!(api.provider_metadata().await.name, "rampart");
            let (client, user) = (api.create_client(), EvaluationContext::default().with_targeting_key("user-1"));
            assert_eq!(client.get_bool_value("yes", Some(&user), None).await, Ok(true));
            assert_eq!(client.get_int_value("whole", Some(&user), None).await, Ok(7));
            assert_eq!(client.get_float_value("part", Some(&user), None).await, Ok(0.5));
            assert_eq!(client.get_string_value("text", Some(&user), None).await, Ok("red".to_owned()));
            let thing = client.get_struct_value::<Thing>("thing", Some(&user), None).await;
            assert_eq!(thing, Ok(Thing(1)));

            let half = client.get_bool_details("half", Some(&user), None).await.expect("an answer");
            assert_eq!((half.variant.as_deref(), half.reason), (Some("on"), Some(EvaluationReason::Split)));
            assert_eq!(half.flag_metadata.values.len(), 1);
            for (key, code) in [
                ("nope", EvaluationErrorCode::FlagNotFound),
                ("text", EvaluationErrorCode::TypeMismatch),
                ("asleep", EvaluationErrorCode::General("DISABLED".to_owned())),
            ] {
                let fault = client.get_bool_value(key, Some(&user), None).await.expect_err("the code default");
                assert_eq!(fault.code, code);
            }
            let mut events = ours.events();
            run(&server, &["flag", "kill", "yes", "--reason", "drill"]);
            until(&mut events, is_change).await;
            assert_eq!(client.get_bool_value("yes", Some(&user), None).await, Ok(false));
            within(ours.close()).await;
        });
    }
}
