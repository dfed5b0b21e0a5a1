//! What a hostile or confused client may send: it gets a clear refusal, nobody else notices, and nothing of an
//! evaluation context is ever written down.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{GUARD, Server, repository};

const FLAG: &str = "/v1/environments/production/flags/x";
const IMPORT: &str = "/v1/environments/production/import";

fn start(dir: &tempfile::TempDir, options: &[&str]) -> Server {
    let flags = repository("examples/phase-9.flags.yaml");
    Server::start(dir.path(), &[&["--flags", flags.to_str().expect("UTF-8")], options].concat())
}

fn serves(server: &Server) {
    let answer = server.data().post("/ofrep/v1/evaluate/flags/sliceB_documents", &json!({"context": {}}));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn definitions_that_cannot_be_used_are_refused_with_the_place_and_the_cure() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = start(&dir, &[]);
    let mut admin = server.admin();
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"variants\": {deep}");
    let yaml = [("content-type", "application/yaml")];
    for (body, headers, code) in [
        ("{", &[][..], "syntax"),
        ("{\"variants\": {\"on\": true}, \"variants\": {}}", &[], "duplicate-key"),
        ("variants: {on: true\n  off", &yaml, "syntax"),
        (&nested, &[], "nesting"),
        (&nested, &yaml, "nesting"),
        ("{\"variants\": {\"on\": true, \"off\": 1}, \"defaultVariant\": \"on\"}", &[], "mixed-variants"),
        ("{\"variants\": {\"on\": true}, \"serve\": {\"on\": 0.0001}}", &[], "bad-percentage"),
        (
            "{\"variants\": {\"on\": true}, \"rules\": [{\"when\": {\"a\": {\"matches\": \"(\"}}, \"serve\": \"on\"}]}",
            &[],
            "bad-pattern",
        ),
    ] {
        let answer = admin.send("PUT", FLAG, headers, body.as_bytes());
        let problem = answer.json();
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert_eq!(problem["type"], "urn:rampart:problem:invalid-definition");
        let found = problem["diagnostics"].as_array().expect("diagnostics");
        let with = |diagnostic: &&Value| {
            !diagnostic["message"].as_str().unwrap_or_default().is_empty()
                && !diagnostic["help"].as_str().unwrap_or_default().is_empty()
                && diagnostic["line"].is_u64()
        };
        assert!(found.iter().any(|found| with(&found) && found["code"] == code), "{code}: {}", answer.text());
    }
    for key in ["a%E2%80%8Bb", "a%E2%80%AEb", "%00", &"k".repeat(300)] {
        let path = format!("/v1/environments/production/flags/{key}");
        let body = json!({"variants": {"on": true}, "defaultVariant": "on"});
        assert_eq!(admin.put(&path, &body).status, 400, "{key}");
    }
    assert_eq!(admin.get(FLAG).status, 404, "nothing of it was taken");
    let import = json!({"flags": {"good": {"variants": {"on": true}, "defaultVariant": "on", "serve": "on"},
        "bad": {"variants": {"on": true}, "defaultVariant": "gone", "serve": "on"}}});
    assert_eq!(admin.post(IMPORT, &import).status, 422);
    assert_eq!(admin.get("/v1/environments/production/flags/good").status, 404, "an import is all or nothing");
    serves(&server);
}

#[test]
fn large_deep_and_broken_requests_are_refused_and_the_server_serves_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = start(&dir, &[]);
    for (address, path) in [(&server.data, "/ofrep/v1/evaluate/flags"), (&server.admin, FLAG), (&server.admin, IMPORT)]
    {
        let token = server.token();
        let method = if path == FLAG { "PUT" } else { "POST" };
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(GUARD)).expect("a timeout");
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 100000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the head");
        let block = vec![b' '; 1 << 20];
        // The server may hang up before it has everything; that is the point.
        for _ in 0..100 {
            if stream.write_all(&block).is_err() {
                break;
            }
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 413", "{path}");
    }
    let mut data = server.data();
    let deep = format!("{{\"context\": {{\"a\": {}", "[".repeat(50_000));
    for body in [deep.as_str(), "{", "[]x", "\u{feff}{}", "{\"context\": {\"a\": 1, \"a\": 2}}"] {
        let answer = data.send("POST", "/ofrep/v1/evaluate/flags/sliceB_documents", &[], body.as_bytes());
        assert_eq!((answer.status, &answer.json()["errorCode"]), (400, &json!("INVALID_CONTEXT")), "{}", answer.text());
    }
    for address in [&server.data, &server.admin] {
        for garbage in [
            &b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03"[..],
            b"GET / HTTP/9.9\r\n\r\n",
            &[0xff; 4096],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff",
        ] {
            let mut stream = TcpStream::connect(address).expect("a connection");
            stream.set_read_timeout(Some(GUARD)).expect("a timeout");
            drop(stream.write_all(garbage));
            drop(stream.shutdown(std::net::Shutdown::Write));
            let mut rest = Vec::new();
            // Closed or reset, within the guard.
            if let Err(error) = stream.read_to_end(&mut rest) {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{garbage:?} keeps its connection");
            }
        }
    }
    let mut admin = server.admin();
    for (method, path) in [
        ("TRACE", FLAG),
        ("GET", "/v1//environments"),
        ("GET", "/v1/environments/%2e%2e/flags"),
        ("GET", "/v1/environments/production%00/flags"),
    ] {
        let status = admin.send(method, path, &[], b"").status;
        assert!((400..500).contains(&status), "{method} {path}: {status}");
    }
    serves(&server);
}

#[test]
fn nothing_of_an_evaluation_context_is_ever_written_down() {
    const CANARY: &str = "canary-4711-jane.doe@example.org";
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = start(&dir, &["--log-filter", "trace"]);
    let mut data = server.data();
    let context = json!({"targetingKey": CANARY, "email": CANARY, "group": [CANARY], "deep": {"deeper": CANARY}});
    for path in
        ["/ofrep/v1/evaluate/flags/sliceB_documents", "/ofrep/v1/evaluate/flags/nope", "/ofrep/v1/evaluate/flags"]
    {
        let answer = data.post(path, &json!({"context": context}));
        assert!(!answer.text().contains(CANARY), "{}", answer.text());
    }
    let broken = format!("{{\"context\": {{\"targetingKey\": \"{CANARY}\", \"x\": tru");
    let answer = data.send("POST", "/ofrep/v1/evaluate/flags/sliceB_documents", &[], broken.as_bytes());
    assert!(answer.status == 400 && !answer.text().contains(CANARY), "{}", answer.text());
    for path in ["/metrics", "/v1/audit?limit=500"] {
        assert!(!server.admin().get(path).text().contains(CANARY), "{path}");
    }
    assert!(server.terminate().success());
    let log = server.log.rest();
    assert!(log.len() > 5 && !log.iter().any(|line| line.contains(CANARY)), "{log:#?}");
    for entry in std::fs::read_dir(dir.path()).expect("the folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        assert!(!bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()), "{}", path.display());
    }
}
