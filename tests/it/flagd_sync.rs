//! flagd's sync protocol against the real binary, as a client without any library sees it: Connect's streaming over
//! HTTP/1.1, in JSON, and plain HTTP.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{GUARD, Server};

const SYNC: &str = "/flagd.sync.v1.FlagSyncService/SyncFlags";
const FETCH: &str = "/flagd.sync.v1.FlagSyncService/FetchAllFlags";
const METADATA: &str = "/flagd.sync.v1.FlagSyncService/GetMetadata";

/// The keys that Python's client takes; it drops the whole payload for any other.
const TAKEN: [&str; 6] = ["state", "variants", "defaultVariant", "targeting", "source", "metadata"];

/// What comes out of a stream.
#[derive(Debug, PartialEq)]
enum Said {
    /// A payload that was looked at, and the sync context.
    Payload(Value, Value),
    /// The end, with the code of the error; none for OK.
    End(Option<String>),
}

/// An open `SyncFlags` stream.
struct Stream {
    reader: BufReader<TcpStream>,
    pending: Vec<u8>,
}

impl Stream {
    fn open(server: &Server, headers: &[(&str, &str)], request: &Value) -> Self {
        let mut stream = TcpStream::connect(&server.data).expect("a connection");
        stream.set_read_timeout(Some(GUARD)).expect("a socket");
        let message = request.to_string().into_bytes();
        let mut body = vec![0];
        body.extend(u32::try_from(message.len()).expect("small").to_be_bytes());
        body.extend(message);
        let mut head = format!(
            "POST {SYNC} HTTP/1.1\r\nhost: x\r\ncontent-type: application/connect+json\r\ncontent-length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).expect("written");
        stream.write_all(&body).expect("written");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status line");
        assert!(line.contains(" 200 "), "{line}");
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).expect("a header");
        }
        Self { reader, pending: Vec::new() }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.pending.len() < count {
            let mut line = String::new();
            self.reader.read_line(&mut line).expect("a chunk");
            let size = usize::from_str_radix(line.trim(), 16).expect("the size of a chunk");
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).expect("the chunk");
            assert!(size > 0, "the stream ended within a message");
            self.pending.extend_from_slice(&chunk[..size]);
        }
        self.pending.drain(..count).collect()
    }

    fn next(&mut self) -> Said {
        let head = self.bytes(5);
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
        let body: Value = serde_json::from_slice(&self.bytes(length as usize)).expect("JSON");
        if head[0] & 2 != 0 {
            return Said::End(body["error"]["code"].as_str().map(str::to_owned));
        }
        let context = body.get("syncContext").expect("the sync context is always there").clone();
        Said::Payload(payload(body["flagConfiguration"].as_str().expect("a text")), context)
    }

    fn flags(&mut self) -> Value {
        match self.next() {
            Said::Payload(payload, _) => payload["flags"].clone(),
            end @ Said::End(_) => panic!("{end:?}"),
        }
    }
}

/// Reads a payload and looks at its shape as the strictest published client does.
fn payload(text: &str) -> Value {
    let payload: Value = serde_json::from_str(text).expect("JSON");
    let keys: Vec<&String> = payload.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["flags"]);
    for (key, flag) in payload["flags"].as_object().expect("flags by key") {
        let flag = flag.as_object().expect("a flag");
        let unknown: Vec<&String> = flag.keys().filter(|name| !TAKEN.contains(&name.as_str())).collect();
        assert!(unknown.is_empty(), "{key} has {unknown:?}");
        assert!(["ENABLED", "DISABLED"].contains(&flag["state"].as_str().expect("a state")));
        let variants = flag["variants"].as_object().expect("variants");
        let default = flag["defaultVariant"].as_str().expect("a default, if only an empty one");
        assert!(!variants.is_empty() && (default.is_empty() || variants.contains_key(default)), "{key}");
        assert!(flag.get("targeting").is_none_or(Value::is_object), "{key}");
        for value in flag.get("metadata").and_then(Value::as_object).into_iter().flatten() {
            assert!(value.1.is_string() || value.1.is_number() || value.1.is_boolean(), "{key}: {value:?}");
        }
    }
    payload
}

fn names(flags: &Value) -> BTreeSet<String> {
    flags.as_object().expect("flags").keys().cloned().collect()
}

fn put(server: &Server, path: &str, flag: &Value) {
    let answer = server.admin().send(
        "PUT",
        &format!("/v1/environments/production/flags/{path}"),
        &[("content-type", "application/json"), ("if-none-match", "*")],
        flag.to_string().as_bytes(),
    );
    assert!(answer.status < 300, "{}", answer.text());
}

fn import(server: &Server, document: &Value) {
    let answer = server.admin().post("/v1/environments/production/import", document);
    assert!(answer.status < 300, "{}", answer.text());
}

fn boolean(extra: &Value) -> Value {
    let mut flag = json!({"variants": {"on": true, "off": false}, "defaultVariant": "off"});
    for (name, value) in extra.as_object().expect("an object") {
        flag[name] = value.clone();
    }
    flag
}

#[test]
fn every_change_reaches_a_stream_as_a_whole_payload() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &[]);
    put(&server, "f", &boolean(&json!({"safeVariant": "off", "owner": "us", "tags": ["x"], "serve": "on"})));
    let mut stream = Stream::open(&server, &[], &json!({"providerId": "test"}));
    let Said::Payload(first, context) = stream.next() else { panic!("a payload comes first") };
    assert_eq!(context, json!({}));
    assert_eq!(first["flags"]["f"]["defaultVariant"], "on");
    assert!(first["flags"]["f"].get("targeting").is_none());

    put(&server, "g", &boolean(&json!({"rules": [{"when": {"country": "DE"}, "serve": "on"}]})));
    let flags = stream.flags();
    assert_eq!(names(&flags), BTreeSet::from(["f".to_owned(), "g".to_owned()]));
    assert_eq!(flags["g"]["targeting"], json!({"if": [{"===": [{"var": "country"}, "DE"]}, "on", null]}));

    let killed = server.admin().post("/v1/environments/production/flags/f/kill", &json!({"reason": "test"}));
    assert!(killed.status < 300, "{}", killed.text());
    let flags = stream.flags();
    assert_eq!(flags["f"]["state"], "ENABLED");
    assert_eq!(flags["f"]["defaultVariant"], "off");
    assert_eq!(flags["f"]["targeting"], json!({"if": [false, "off", null]}));
    assert_eq!(flags["f"]["metadata"]["killed"], true);

    let restored = server.admin().post("/v1/environments/production/flags/f/restore", &json!({"reason": "test"}));
    assert!(restored.status < 300, "{}", restored.text());
    assert_eq!(stream.flags()["f"], first["flags"]["f"]);
}

#[test]
fn what_has_no_translation_is_left_out_counted_and_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &[]);
    put(&server, "own", &boolean(&json!({"serve": {"on": 5}})));
    put(&server, "plain", &boolean(&json!({})));
    let mut stream = Stream::open(&server, &[], &json!({}));
    assert_eq!(names(&stream.flags()), BTreeSet::from(["plain".to_owned()]));
    let line = server.log.wait_for("no exact translation");
    assert!(line.contains("own-hash") && line.contains("own"), "{line}");
    let metrics = server.admin().get("/metrics").text();
    assert!(metrics.contains("rampart_flagd_sync_left_out{environment=\"production\"} 1"), "{metrics}");
    assert!(metrics.contains("rampart_flagd_sync_streams 1"), "{metrics}");
    // A kill needs no translation of what the flag says, so it gets through.
    let killed = server.admin().post("/v1/environments/production/flags/own/kill", &json!({"reason": "test"}));
    assert!(killed.status < 300, "{}", killed.text());
    assert_eq!(stream.flags()["own"]["defaultVariant"], "off");
}

#[test]
fn a_selector_narrows_and_the_header_wins() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &[]);
    let flag =
        |set: &str| json!({"flags": {"f": boolean(&json!({"state": "ENABLED", "metadata": {"flagSetId": set}}))}});
    for set in ["a", "b"] {
        import(&server, &flag(set));
    }
    put(&server, "plain", &boolean(&json!({})));
    let fetch = |headers: &[(&str, &str)], body: Value| {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        let answer = server.data().send("POST", FETCH, &all, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        payload(answer.json()["flagConfiguration"].as_str().expect("a text"))["flags"].clone()
    };
    let set_of = |flags: &Value| flags["f"]["metadata"]["flagSetId"].clone();
    assert_eq!(set_of(&fetch(&[], json!({"selector": "flagSetId=b"}))), "b");
    assert_eq!(set_of(&fetch(&[("flagd-selector", "flagSetId=a")], json!({"selector": "flagSetId=b"}))), "a");
    assert_eq!(names(&fetch(&[], json!({}))), BTreeSet::from(["f".to_owned(), "plain".to_owned()]));
    assert_eq!(names(&fetch(&[], json!({"selector": "flagSetId="}))), BTreeSet::from(["plain".to_owned()]));
    assert_eq!(fetch(&[], json!({"selector": "flagSetId=none"})), json!({}));

    let wrong = server.data().post(FETCH, &json!({"selector": "team=a"}));
    assert_eq!((wrong.status, &wrong.json()["code"]), (400, &json!("invalid_argument")));
    assert!(wrong.text().contains("invalid selector key"), "{}", wrong.text());

    // A change elsewhere sends nothing: the next message is that of the set itself.
    let mut stream = Stream::open(&server, &[("flagd-selector", "flagSetId=a")], &json!({}));
    assert_eq!(set_of(&stream.flags()), "a");
    put(&server, "other", &boolean(&json!({})));
    let mut changed = flag("a");
    changed["flags"]["f"]["defaultVariant"] = json!("on");
    import(&server, &changed);
    assert_eq!(stream.flags()["f"]["defaultVariant"], "on");
}

#[test]
fn metadata_is_always_there_unless_it_is_switched_off() {
    for (options, status) in [(&[][..], 200), (&["--flagd-disable-sync-metadata"], 501)] {
        let dir = tempfile::tempdir().expect("a folder");
        let server = Server::start(dir.path(), options);
        let answer = server.data().post(METADATA, &json!({}));
        assert_eq!(answer.status, status, "{}", answer.text());
        let body = answer.json();
        if status == 200 {
            assert_eq!(body, json!({"metadata": {}}));
        } else {
            assert_eq!(body, json!({"code": "unimplemented", "message": "metadata endpoint disabled"}));
        }
    }
}

#[test]
fn a_stream_never_ends_with_ok() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(dir.path(), &[]);
    let mut stopped = Stream::open(&server, &[], &json!({}));
    assert!(matches!(stopped.next(), Said::Payload(..)));
    let created = server.admin().post("/v1/tokens", &json!({"scopes": ["read"], "name": "t"})).json();
    let bearer = format!("Bearer {}", created["token"].as_str().expect("a token"));
    let mut revoked = Stream::open(&server, &[("authorization", &bearer)], &json!({}));
    assert!(matches!(revoked.next(), Said::Payload(..)));
    let id = created["id"].as_str().expect("an id");
    assert!(server.admin().send("DELETE", &format!("/v1/tokens/{id}"), &[], b"").status < 300);
    assert_eq!(revoked.next(), Said::End(Some("unauthenticated".to_owned())));
    let mut refused = Stream::open(&server, &[("authorization", "Bearer nobody")], &json!({}));
    assert_eq!(refused.next(), Said::End(Some("unauthenticated".to_owned())));
    assert!(server.terminate().success());
    assert_eq!(stopped.next(), Said::End(Some("unavailable".to_owned())));
}

#[test]
fn a_stream_ends_at_its_deadline() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &["--flagd-stream-deadline", "1s"]);
    let mut stream = Stream::open(&server, &[], &json!({}));
    assert!(matches!(stream.next(), Said::Payload(..)));
    assert_eq!(stream.next(), Said::End(Some("deadline_exceeded".to_owned())));
}

#[test]
fn plain_http_serves_the_same_document_with_an_entity_tag() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &[]);
    import(&server, &json!({"flags": {"f": boolean(&json!({"state": "ENABLED", "metadata": {"flagSetId": "a/b"}}))}}));
    let mut client = server.data();
    let all = client.get("/v1/flags");
    assert_eq!((all.status, all.header("vary")), (200, Some("Flagd-Selector")));
    assert_eq!(names(&payload(&all.text())["flags"]), BTreeSet::from(["f".to_owned()]));
    let etag = all.header("etag").expect("an entity tag").to_owned();
    let again = client.send("GET", "/v1/flags", &[("if-none-match", &etag)], b"");
    assert_eq!((again.status, again.header("etag"), again.body.len()), (304, Some(etag.as_str()), 0));
    let modified = all.header("last-modified").expect("when it last changed").to_owned();
    assert!(modified.ends_with(" GMT") && modified.len() == "Sun, 06 Nov 1994 08:49:37 GMT".len(), "{modified}");
    assert_eq!(again.header("last-modified"), Some(modified.as_str()));
    let head = client.send("HEAD", "/v1/flags", &[], b"");
    assert_eq!((head.status, head.header("etag")), (200, Some(etag.as_str())));
    for (path, headers) in [
        ("/v1/flags/flagSetId%3Da%2Fb", &[][..]),
        ("/v1/flags?selector=flagSetId%3Da%2Fb", &[]),
        ("/v1/flags/flagSetId%3Dnone?selector=flagSetId%3Dnone", &[("flagd-selector", "flagSetId=a/b")]),
    ] {
        let answer = client.send("GET", path, headers, b"");
        assert_eq!(answer.text(), all.text(), "{path}");
    }
    assert_eq!(client.get("/v1/flags/flagSetId%3Dnone").json(), json!({"flags": {}}));
    assert_eq!(client.get("/v1/flags/team%3Da").status, 404);
    let posted = client.post("/v1/flags", &json!({}));
    assert_eq!(posted.status, 405);

    put(&server, "g", &boolean(&json!({})));
    let changed = client.send("GET", "/v1/flags", &[("if-none-match", &etag)], b"");
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
}

#[test]
fn a_changed_percentage_reaches_a_stream_as_changed_weights() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &[]);
    let ramp = |percent: u32| {
        let flag = boolean(&json!({"serve": {"on": percent}, "hash": "murmur3"}));
        import(&server, &json!({"flags": {"f": flag}}));
    };
    ramp(5);
    let mut stream = Stream::open(&server, &[], &json!({}));
    let split = |on: u32| {
        let unit = json!({"starts_with": [{"var": "targetingKey"}, ""]});
        json!({"if": [unit, {"fractional": [["on", on], ["off", 100_000 - on]]}, null]})
    };
    let first = stream.flags();
    assert_eq!(first["f"]["targeting"], split(5_000));
    assert_eq!(first["f"]["metadata"], json!({"fractionalHash": "v2"}));
    ramp(25);
    assert_eq!(stream.flags()["f"]["targeting"], split(25_000));
}

/// The number of renderings so far, as the metrics tell it.
fn renderings(server: &Server) -> u64 {
    let metrics = server.admin().get("/metrics").text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("rampart_flagd_sync_renderings_total "));
    line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{metrics}"))
}

#[test]
fn a_kill_reaches_a_stream_whatever_others_ask_for() {
    const THREADS: usize = 40;
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), &[]);
    for set in 0..10 {
        let flag = boolean(&json!({"state": "ENABLED", "metadata": {"flagSetId": format!("set-{set}")}}));
        let flags: serde_json::Map<String, Value> =
            (0..10).map(|number| (format!("f{number}-{set}"), flag.clone())).collect();
        import(&server, &json!({ "flags": flags }));
    }
    put(&server, "f", &boolean(&json!({"serve": "on"})));
    let mut stream = Stream::open(&server, &[], &json!({}));
    assert_eq!(stream.flags()["f"]["defaultVariant"], "on");
    let set_5 = server.data().get("/v1/flags?selector=flagSetId%3Dset-5");
    assert_eq!(set_5.json()["flags"].as_object().expect("flags").len(), 10);
    let before = renderings(&server);

    let enough = AtomicBool::new(false);
    let (asked, under_way) = sync_channel(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (asked, mut client, enough) = (asked.clone(), server.data(), &enough);
            scope.spawn(move || {
                let deadline = Instant::now() + GUARD;
                for number in 0.. {
                    for key in ["source", "flagSetId"] {
                        let path = format!("/v1/flags?selector={key}%3Dnone-{thread}-{number}");
                        assert_eq!(client.get(&path).text(), r#"{"flags":{}}"#);
                    }
                    if number == 5 {
                        asked.send(()).expect("the test waits");
                    }
                    if number >= 5 && (enough.load(Ordering::Relaxed) || deadline < Instant::now()) {
                        break;
                    }
                }
            });
        }
        for _ in 0..THREADS {
            under_way.recv_timeout(GUARD).expect("every thread is answered");
        }
        let killed = server.admin().post("/v1/environments/production/flags/f/kill", &json!({"reason": "test"}));
        assert!(killed.status < 300, "{}", killed.text());
        assert_eq!(stream.flags()["f"]["defaultVariant"], "off");
        enough.store(true, Ordering::Relaxed);
    });
    // The stream's payload alone, once for each snapshot that the kill gave; hundreds of selectors were asked for.
    let rendered = renderings(&server) - before;
    assert!((1..10).contains(&rendered), "{rendered}");

    let etag = set_5.header("etag").expect("an entity tag");
    let again = server.data().send("GET", "/v1/flags?selector=flagSetId%3Dset-5", &[("if-none-match", etag)], b"");
    assert_eq!(again.status, 304);
}
