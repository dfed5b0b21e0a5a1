//! OFREP against a real server: what browsers need, what clients poll with, and the stream that tells them of changes.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::sse::{Block, EventStream};
use crate::harness::{Server, cli, serve, stderr};

const FLAG: &str = "/v1/environments/production/flags/checkout";
const BULK: &str = "/ofrep/v1/evaluate/flags";
const SSE: &str = "/ofrep/v1/sse";

fn flag(default: &str) -> Value {
    json!({"variants": {"on": true, "off": false}, "defaultVariant": default, "safeVariant": "off"})
}

struct Fixture {
    server: Server,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let server = Server::start(dir.path(), options);
        assert_eq!(server.admin().put(FLAG, &flag("off")).status, 200);
        Self { server, dir }
    }

    fn restart(&mut self, options: &[&str]) {
        assert!(self.server.terminate().success());
        self.server = Server::start(self.dir.path(), options);
    }

    fn edit(&self, default: &str) {
        assert_eq!(self.server.admin().put(FLAG, &flag(default)).status, 200);
    }

    fn post(&self, path: &str, body: &Value) {
        let answer = self.server.admin().post(path, body);
        assert!([200, 201].contains(&answer.status), "{path}: {}", answer.text());
    }

    /// The bulk answer of a client with this token.
    fn bulk(&self, token: Option<&str>) -> Value {
        self.server.data().with_token(token).post(BULK, &json!({})).json()
    }

    fn value(&self) -> Value {
        self.bulk(None)["flags"][0]["value"].clone()
    }

    fn open(&self, path: &str, headers: &[(&str, &str)]) -> Result<EventStream, u16> {
        EventStream::open(&self.server.data, path, headers)
    }

    /// A stream after its greeting, and the configuration that it names.
    fn listen(&self, path: &str, headers: &[(&str, &str)]) -> (EventStream, String) {
        let mut stream = self.open(path, headers).expect("it opens");
        let greeting = stream.next().expect("a greeting");
        assert_eq!((greeting.comment.as_deref(), &greeting.data), (Some("ok"), &None));
        assert!(greeting.retry.is_some());
        (stream, greeting.id.expect("an id"))
    }

    /// Requires tokens, and makes one that may evaluate: its text and its id.
    fn require_tokens(&self) -> (String, String) {
        let mut admin = self.server.admin();
        assert_eq!(admin.put("/v1/environments/production", &json!({"dataPlaneAuth": "required"})).status, 200);
        let body = json!({"scopes": ["evaluate"], "name": "shop", "environments": ["production"]});
        let created = admin.post("/v1/tokens", &body).json();
        let text = |name: &str| created[name].as_str().unwrap_or_else(|| panic!("{name} in {created}")).to_owned();
        (text("token"), text("id"))
    }

    fn ticket_uri(&self, token: &str) -> String {
        let uri = self.bulk(Some(token))["eventStreams"][0]["endpoint"]["requestUri"].clone();
        uri.as_str().expect("a URI").to_owned()
    }
}

fn is_refetch(block: &Block) -> String {
    let data = block.json();
    assert_eq!((block.event.as_deref(), &data["type"]), (Some("message"), &json!("refetchEvaluation")));
    assert!(data["lastModified"].as_i64().is_some_and(|seconds| seconds > 1_700_000_000));
    assert_eq!(data["etag"].as_str(), block.id.as_deref());
    data["etag"].as_str().expect("a text").to_owned()
}

#[test]
fn an_edit_a_kill_and_a_restore_are_told_and_can_be_fetched() {
    let fixture = Fixture::start(&[]);
    let (mut stream, first) = fixture.listen(SSE, &[]);
    let header = |name: &str| stream.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.clone());
    assert_eq!(header("content-type").as_deref(), Some("text/event-stream"));
    assert_eq!(header("cache-control").as_deref(), Some("no-store"));
    // The flag is younger than a minute, and this client did not say what it knows.
    assert_eq!(is_refetch(&stream.event().expect("an event")), first);
    let mut states = vec![first];
    let kill = format!("{FLAG}/kill");
    let restore = format!("{FLAG}/restore");
    let mut expect = |value: bool| {
        let state = is_refetch(&stream.event().expect("an event"));
        assert_eq!(fixture.value(), json!(value));
        let tag = fixture.server.data().post(BULK, &json!({})).header("etag").expect("a tag").to_owned();
        let ask = |state: &str| {
            let path = format!("{BULK}?flagConfigEtag={state}&flagConfigLastModified=1");
            fixture.server.data().send("POST", &path, &[("if-none-match", &tag)], b"{}").status
        };
        assert_eq!((ask(&state), ask(states.last().expect("one"))), (304, 200));
        states.push(state);
    };
    fixture.edit("on");
    expect(true);
    fixture.post(&kill, &json!({"reason": "it is broken"}));
    expect(false);
    fixture.post(&restore, &json!({}));
    expect(true);
    fixture.edit("off");
    expect(false);
    states.sort();
    states.dedup();
    assert_eq!(states.len(), 5, "each state has a name of its own");
}

#[test]
fn a_selector_hears_of_its_own_flag_set_alone() {
    let fixture = Fixture::start(&[]);
    let mut admin = fixture.server.admin();
    let shop = "/v1/environments/production/flags/banner?flagSet=shop";
    assert_eq!(admin.put(shop, &flag("off")).status, 200);
    let answer = fixture.server.data().send("POST", BULK, &[("flagd-selector", "flagSetId=shop")], b"{}").json();
    assert_eq!(answer["flags"][0]["key"], "banner");
    let uri = answer["eventStreams"][0]["endpoint"]["requestUri"].as_str().expect("a URI").to_owned();
    assert_eq!(uri, "/ofrep/v1/sse/flagSetId%3Dshop");
    let (_, known) = fixture.listen(&uri, &[]);
    let (mut stream, _) = fixture.listen(&uri, &[("last-event-id", &known)]);
    let (mut all, _) = fixture.listen(SSE, &[("last-event-id", &known)]);
    fixture.edit("on");
    let other = is_refetch(&all.event().expect("an event"));
    assert_eq!(admin.put(shop, &flag("on")).status, 200);
    let own = is_refetch(&all.event().expect("an event"));
    assert_ne!(own, other);
    assert_eq!(is_refetch(&stream.event().expect("an event")), own, "the other flag set's edit is no event here");
}

#[test]
fn who_reconnects_is_told_where_the_state_has_moved_and_else_not() {
    let mut fixture = Fixture::start(&[]);
    let (stream, known) = fixture.listen(SSE, &[]);
    drop(stream);
    fixture.restart(&[]);
    let (mut up_to_date, same) = fixture.listen(SSE, &[("last-event-id", &known)]);
    assert_eq!(same, known, "a restart changes nothing");
    fixture.edit("on");
    let (mut behind, _) = fixture.listen(SSE, &[("last-event-id", &known)]);
    let told = is_refetch(&behind.event().expect("an event"));
    assert_eq!(is_refetch(&up_to_date.event().expect("an event")), told, "the first event is that of the edit");
}

#[test]
fn a_stream_outlives_the_idle_timeout_and_ends_when_the_server_drains() {
    let mut fixture =
        Fixture::start(&["--limits-idle-timeout", "1s", "--limits-header-read-timeout", "1s", "--sse-keepalive", "1s"]);
    let (_, known) = fixture.listen(SSE, &[]);
    let (mut stream, _) = fixture.listen(SSE, &[("last-event-id", &known)]);
    for _ in 0..4 {
        let block = stream.next().expect("a sign of life");
        assert_eq!((block.comment.is_some(), block.data), (true, None));
    }
    fixture.edit("on");
    is_refetch(&stream.event().expect("an event"));
    fixture.server.signal("TERM");
    while stream.next().is_some() {}
    assert!(fixture.server.process.wait().expect("it ends").success());
}

#[test]
fn a_stream_needs_a_ticket_where_the_environment_asks_for_tokens() {
    let mut fixture = Fixture::start(&["--log-filter", "trace"]);
    let (anonymous, _) = fixture.listen(SSE, &[]);
    let (token, id) = fixture.require_tokens();
    let mut anonymous = anonymous;
    while anonymous.next().is_some() {}
    let uri = fixture.ticket_uri(&token);
    let ticket = uri.split_once("ticket=").expect("a ticket").1.to_owned();
    assert_eq!(fixture.open(SSE, &[]).err(), Some(401));
    let last = if ticket.ends_with('0') { '1' } else { '0' };
    for tampered in [format!("{}{last}", &uri[..uri.len() - 1]), uri.replace("ticket=", "ticket=0"), SSE.to_owned()] {
        assert_eq!(fixture.open(&tampered, &[]).err(), Some(401), "{tampered}");
    }
    let other = uri.replace(SSE, "/ofrep/v1/sse/flagSetId%3Dshop");
    assert_eq!(fixture.open(&other, &[]).err(), Some(401), "it is for one selector");
    let mut data = fixture.server.data().with_token(None);
    assert_eq!(data.post(&format!("{BULK}?ticket={ticket}"), &json!({})).status, 401, "it opens nothing else");

    let (stream, known) = fixture.listen(&uri, &[]);
    drop(stream);
    fixture.server.signal("TERM");
    assert!(fixture.server.process.wait().expect("it ends").success());
    let logged = fixture.server.log.rest();
    assert!(!logged.is_empty() && !logged.iter().any(|line| line.contains(&ticket)), "a ticket is never logged");
    fixture.server = Server::start(fixture.dir.path(), &[]);
    let (mut stream, _) = fixture.listen(&uri, &[("last-event-id", &known)]);
    assert_eq!(fixture.server.admin().send("DELETE", &format!("/v1/tokens/{id}"), &[], b"").status / 100, 2);
    while stream.next().is_some() {}
    assert_eq!(fixture.open(&uri, &[]).err(), Some(401), "it ended with its token");
}

#[test]
fn streams_can_be_switched_off_and_named_by_another_address() {
    let fixture = Fixture::start(&["--ofrep-sse=false"]);
    assert_eq!(fixture.bulk(None).get("eventStreams"), None);
    assert_eq!(fixture.open(SSE, &[]).err(), Some(404));
    let fixture = Fixture::start(&["--sse-public-url", "https://flags.example", "--sse-inactivity-delay", "5m"]);
    let expected = json!([{"type": "sse", "url": "https://flags.example/ofrep/v1/sse", "inactivityDelaySec": 300}]);
    assert_eq!(fixture.bulk(None)["eventStreams"], expected);
}

#[test]
fn pages_of_the_listed_origins_may_ask_and_read_what_clients_need() {
    let fixture = Fixture::start(&["--cors-origins", "https://shop.example,http://localhost:3000"]);
    fixture.require_tokens();
    let mut data = fixture.server.data();
    let preflight = [
        ("origin", "http://localhost:3000"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,authorization,if-none-match"),
    ];
    for path in [BULK, SSE, "/flagd.evaluation.v1.Service/ResolveBoolean"] {
        let answer = data.send("OPTIONS", path, &preflight, b"");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("http://localhost:3000"), "{path}");
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, Some("content-type,authorization,if-none-match"), "{path}");
        assert!(answer.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    }
    let (token, _) = fixture.require_tokens();
    let page = [("origin", "https://shop.example")];
    for token in [Some(token.as_str()), None] {
        let answer = data.with_token(token).send("POST", BULK, &page, b"{}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"), "{}", answer.status);
        let exposed = answer.header("access-control-expose-headers").expect("exposed headers");
        assert!(["etag", "retry-after", "rampart-revision"].iter().all(|name| exposed.contains(name)), "{exposed}");
    }
    let foreign = data.send("OPTIONS", BULK, &[("origin", "https://evil.example")], b"");
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    let admin = fixture.server.admin().send("GET", "/v1/environments", &page, b"");
    assert_eq!(admin.header("access-control-allow-origin"), None, "the admin plane has no CORS");

    let plain = Fixture::start(&[]);
    let answer = plain.server.data().send("OPTIONS", BULK, &preflight, b"");
    assert_eq!(answer.status, 405);
    let answer = plain.server.data().send("POST", BULK, &page, b"{}");
    assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("access-control-")), "{:?}", answer.headers);
}

#[test]
fn an_origin_that_would_match_no_page_is_refused_at_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = serve(dir.path(), &["--cors-origins", "https://shop.example/"]).output().expect("it runs");
    assert!(!output.status.success());
    let said = stderr(&output);
    assert!(said.contains("--cors-origins") && said.contains("the last slash too"), "{said}");
    let help = cli(&[], &["serve", "--help"]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("--cors-origins"));
}

#[test]
fn a_caller_beyond_its_rate_gets_429_and_the_time_to_wait() {
    let fixture = Fixture::start(&["--limits-evaluations-per-second", "2"]);
    let mut data = fixture.server.data();
    for path in [BULK, "/ofrep/v1/evaluate/flags/checkout"] {
        let refused = (0..100_000).map(|_| data.post(path, &json!({}))).find(|answer| answer.status != 200);
        let refused = refused.expect("one is refused");
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
        assert_eq!(refused.json()["errorCode"], "GENERAL");
    }
    let answer = data.with_token(Some(&fixture.server.token())).post(BULK, &json!({}));
    assert_eq!(answer.status, 200, "a token has a share of its own");
}

#[test]
fn a_large_answer_is_compressed_where_that_is_accepted_and_keeps_its_tag() {
    let fixture = Fixture::start(&[]);
    for number in 0..30 {
        let path = format!("/v1/environments/production/flags/flag-{number}");
        assert_eq!(fixture.server.admin().put(&path, &flag("off")).status, 200);
    }
    let mut data = fixture.server.data();
    let plain = data.send("POST", BULK, &[], b"{}");
    let zipped = data.send("POST", BULK, &[("accept-encoding", "br, gzip")], b"{}");
    assert_eq!((plain.header("content-encoding"), zipped.header("content-encoding")), (None, Some("gzip")));
    assert!(zipped.header("vary").is_some_and(|vary| vary.to_ascii_lowercase().contains("accept-encoding")));
    assert!(plain.body.len() > 1024 && zipped.body.len() * 3 < plain.body.len(), "{}", zipped.body.len());
    assert_eq!(unzip(&zipped.body), plain.body);
    let tag = plain.header("etag").expect("a tag").to_owned();
    assert_eq!(zipped.header("etag"), Some(tag.as_str()));
    for accepted in ["gzip", "identity"] {
        for sent in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let headers = [("accept-encoding", accepted), ("if-none-match", sent.as_str())];
            let answer = data.send("POST", BULK, &headers, b"{}");
            assert_eq!((answer.status, answer.header("etag")), (304, Some(tag.as_str())), "{accepted} {sent}");
        }
    }
    let small = data.send("POST", "/ofrep/v1/evaluate/flags/checkout", &[("accept-encoding", "gzip")], b"{}");
    assert_eq!((small.status, small.header("content-encoding")), (200, None));
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    gzip.stdin.take().expect("a pipe").write_all(bytes).expect("it reads");
    gzip.wait_with_output().expect("it ends").stdout
}

#[test]
fn numbers_keep_the_form_they_were_written_in_from_the_file_to_the_answer_and_over_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let numbers = [
        ("float", "10.0", "10.0"),
        ("integer", "10", "10"),
        ("negative", "-3", "-3"),
        ("exponent", "1e2", "100.0"),
        ("small", "1.5e-7", "1.5e-7"),
        ("tenth", "0.1", "0.1"),
        ("zero", "0.0", "0.0"),
        ("most", "18446744073709551615", "18446744073709551615"),
        ("least", "-9223372036854775808", "-9223372036854775808"),
        ("beyond-double", "9007199254740993", "9007199254740993"),
    ];
    let yaml: String = numbers
        .iter()
        .map(|(key, written, _)| format!("  {key}: {{variants: {{a: {written}}}, defaultVariant: a}}\n"))
        .collect();
    let file = dir.path().join("flags.yaml");
    std::fs::write(&file, format!("flags:\n{yaml}")).expect("a file");
    let data_dir = dir.path().join("data");
    let options = ["--flags", file.to_str().expect("UTF-8")];
    let mut server = Server::start(&data_dir, &options);
    for (key, written, _) in numbers {
        let body = format!(r#"{{"variants": {{"a": {written}}}, "defaultVariant": "a"}}"#);
        let path = format!("/v1/environments/production/flags/put-{key}");
        let answer = server.admin().send("PUT", &path, &[("content-type", "application/json")], body.as_bytes());
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        let object = format!(r#"{{"variants": {{"a": {{"n": [{written}]}}}}, "defaultVariant": "a"}}"#);
        let path = format!("/v1/environments/production/flags/in-{key}");
        let answer = server.admin().send("PUT", &path, &[("content-type", "application/json")], object.as_bytes());
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
    }
    for round in ["at first", "after a restart"] {
        for (key, _, expected) in numbers {
            for (key, value) in [
                (key.to_owned(), expected.to_owned()),
                (format!("put-{key}"), expected.to_owned()),
                (format!("in-{key}"), format!(r#"{{"n":[{expected}]}}"#)),
            ] {
                let answer = server.data().post(&format!("/ofrep/v1/evaluate/flags/{key}"), &json!({})).text();
                assert!(answer.contains(&format!("\"value\":{value},")), "{round}: {key}: {answer}");
            }
        }
        assert!(server.terminate().success());
        server = Server::start(&data_dir, &options);
    }
}

#[test]
fn what_was_taken_out_of_the_protocol_is_not_there() {
    let fixture = Fixture::start(&[]);
    let answer = fixture.server.data().get("/ofrep/v1/configuration");
    assert_eq!((answer.status, answer.json()["code"].clone()), (404, json!("route-not-found")));
    let head = fixture.server.data().send("HEAD", SSE, &[], b"");
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let answer = fixture.server.data().send("POST", SSE, &[], b"");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
}
