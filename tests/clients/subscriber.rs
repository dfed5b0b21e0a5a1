//! The example subscribers, which were written from the published contract alone: the server believes them.
//!
//! `subscriber.py` speaks gRPC and computes its set hashes by itself; `subscriber.mjs` reads server-sent events.

use serde_json::{Value, json};

use crate::harness::sse::EventStream;
use crate::harness::{Server, serve_at};
use crate::providers::free_port;
use crate::script::{Language, Script};

const ENV: &str = "/v1/environments/production";
const FLAGS: [&str; 2] = ["switch", "text"];

fn text(variant: &str) -> Value {
    json!({"variants": {"hi": "Grüß Gott 👋", "bye": "Servus"}, "defaultVariant": variant})
}

/// A server without flags, on ports to come back to.
fn server() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a folder");
    let [data, admin] = [free_port(), free_port()];
    let server = Server::run(dir.path(), serve_at(dir.path(), [&data, &admin], &[]));
    (dir, server)
}

/// Both subscribers with their streams open.
fn both(server: &Server) -> [Script; 2] {
    let python = Script::start(Language::Python, "subscriber.py", &[&server.data, "--name", "python"]);
    [opened(python), node(server, "node")]
}

fn node(server: &Server, name: &str) -> Script {
    let url = format!("http://{}", server.data);
    opened(Script::start(Language::Node, "subscriber.mjs", &[&url, "--name", name]))
}

fn opened(mut script: Script) -> Script {
    script.wait_for("that its stream is open", |line| line["event"] == "kills");
    script
}

/// Both subscribers with the flags applied.
fn with_flags(server: &Server) -> [Script; 2] {
    let mut scripts = both(server);
    let switch = json!({"variants": {"on": true, "off": false}, "defaultVariant": "on", "safeVariant": "off"});
    let document = json!({"flags": {"switch": switch, "text": text("hi")}});
    let answer = server.admin().post(&format!("{ENV}/import"), &document);
    assert_eq!(answer.status, 200, "{}", answer.text());
    for script in &mut scripts {
        script.wait_for("that it has the flags", |line| line["event"] == "commit" && line["keys"] == json!(FLAGS));
    }
    scripts
}

/// Kills or restores a flag and waits for everybody; the receipts.
fn confirmed(server: &Server, path: &str) -> Value {
    let answer = server.admin().post(&format!("{ENV}/flags/{path}?wait=all&timeout=30s"), &json!({"reason": "a test"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["receipts"].clone()
}

/// Asserts that the two have confirmed and nobody is missing.
fn assert_both(receipts: &Value) {
    assert_eq!(receipts["reached"], true, "{receipts}");
    let have = receipts["confirmed"].as_u64().zip(receipts["lateJoined"].as_u64()).map(|(a, b)| a + b);
    assert_eq!((have, &receipts["subscribers"]), (Some(2), &json!(2)), "{receipts}");
    assert_eq!(receipts["unconfirmable"], 0, "{receipts}");
    assert_eq!(receipts["missing"], json!([]), "{receipts}");
}

fn hear_killed(script: &mut Script, killed: &[&str]) {
    script.wait_for(&format!("that {killed:?} are killed"), |line| {
        line["event"] == "kills" && line["via"] != "poll" && line["killed"] == json!(killed)
    });
}

#[test]
fn both_confirm_a_kill_a_restore_and_a_change() {
    let (_dir, server) = server();
    let mut scripts = with_flags(&server);

    let receipts = confirmed(&server, "switch/kill");
    assert_both(&receipts);
    assert_eq!(receipts["confirmed"], 2, "{receipts}");
    scripts.iter_mut().for_each(|script| hear_killed(script, &["switch"]));
    assert_both(&confirmed(&server, "text/kill"));
    scripts.iter_mut().for_each(|script| hear_killed(script, &FLAGS));
    assert_both(&confirmed(&server, "switch/restore"));
    scripts.iter_mut().for_each(|script| hear_killed(script, &["text"]));

    let answer = server.admin().put(&format!("{ENV}/flags/text"), &text("bye"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let revision = answer.json()["revision"].clone();
    let path = format!("{ENV}/receipts?revision={revision}&wait=all&timeout=30s");
    let answer = server.admin().get(&path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_both(&answer.json());
    for script in &mut scripts {
        let line =
            script.wait_for("that text changed", |line| line["event"] == "commit" && line["keys"] == json!(["text"]));
        assert_eq!(line["mode"], "delta", "{line}");
    }
}

#[test]
fn both_resume_after_a_restart_without_a_full_transfer() {
    let (_dir, mut server) = server();
    let mut scripts = with_flags(&server);
    assert_both(&confirmed(&server, "switch/kill"));

    assert!(server.terminate().success());
    for script in &mut scripts {
        let line = script.wait_for("that the server says goodbye", |line| line["event"] == "goodbye");
        assert_eq!(line["reason"], "draining", "{line}");
    }
    let server = Server::run(&server.dir, serve_at(&server.dir, [&server.data, &server.admin], &[]));
    for script in &mut scripts {
        hear_killed(script, &["switch"]);
        let line = script.wait_for("that it resumed", |line| line["event"] == "commit");
        assert!(line["mode"] == "none" || line["mode"] == "delta", "{line}");
        assert_eq!((&line["keys"], &line["objects"]), (&json!([]), &json!(2)), "{line}");
    }
    let receipts = confirmed(&server, "text/kill");
    assert_both(&receipts);
    assert_eq!(receipts["confirmed"], 2, "{receipts}");
}

#[test]
fn one_that_leaves_is_not_missing_and_one_that_is_lost_is() {
    let (_dir, server) = server();
    let [python, lost] = with_flags(&server);
    for mut leaves in [python, node(&server, "leaves")] {
        leaves.terminate();
        leaves.wait_for("that it left", |line| line["event"] == "left");
        assert!(leaves.wait().success());
    }

    let receipts = confirmed(&server, "switch/kill");
    assert_eq!((&receipts["subscribers"], &receipts["confirmed"]), (&json!(1), &json!(1)), "{receipts}");
    assert_eq!((&receipts["reached"], &receipts["disconnected"]), (&json!(true), &json!(0)), "{receipts}");

    // Killed where it stands, by which it cannot say so.
    drop(lost);
    let answer =
        server.admin().post(&format!("{ENV}/flags/text/kill?wait=all&timeout=0s"), &json!({"reason": "a test"}));
    let receipts = answer.json()["receipts"].clone();
    assert_eq!((&receipts["subscribers"], &receipts["reached"]), (&json!(1), &json!(false)), "{receipts}");
    assert_eq!(receipts["missing"][0]["name"], "node", "{receipts}");
}

#[test]
fn both_end_where_they_may_not_come_back() {
    let (_dir, server) = server();
    let nowhere = ["--environment", "nowhere"];
    let node = format!("http://{}", server.data);
    for (language, file, address, status) in [
        (Language::Python, "subscriber.py", server.data.as_str(), json!("PERMISSION_DENIED")),
        (Language::Node, "subscriber.mjs", node.as_str(), json!(403)),
    ] {
        let mut script = Script::start(language, file, &[&[address], &nowhere[..]].concat());
        script.wait_for("why it is refused", |line| line["status"] == status);
        assert_eq!(script.wait().code(), Some(1), "{file}");
    }
}

#[test]
fn one_that_never_has_what_it_was_sent_is_told_so_before_the_end() {
    let (_dir, server) = server();
    let mut stream = EventStream::open(&server.data, "/v1/stream?acks=true", &[]).expect("a stream");
    let opened = stream.event().expect("its opening").json();
    let error = loop {
        let block = stream.event().expect("an error before the end");
        match block.event.as_deref() {
            Some("commit") => {
                let (commit, wrong) = (block.json(), "0".repeat(31) + "1");
                let ack = json!({"nonce": commit["nonce"], "lane": "objects", "applied": commit["revision"], "setHash": wrong});
                let answer = server.data().post("/v1/stream/acks", &json!({"stream": opened["stream"], "acks": [ack]}));
                assert_eq!(answer.status, 204, "{}", answer.text());
            }
            Some("error") => break block.json(),
            _ => {}
        }
    };
    assert_eq!(error["code"], "resync-loop", "{error}");
    assert_eq!(stream.event().expect("a goodbye").event.as_deref(), Some("goodbye"));
}
