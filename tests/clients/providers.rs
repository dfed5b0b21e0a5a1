//! Every client: every type, code defaults, targeting, changes, kills, and a server that goes away and comes back.

use serde_json::{Value, json};

use crate::differential::plain;
use crate::harness::{Server, serve_at};
use crate::script::Language;
use crate::table::{Client, Connected, Seen};

const ENV: &str = "/v1/environments/production";

/// The flags of these tests, as one document.
fn document() -> Value {
    let switch = json!({"on": true, "off": false});
    json!({"flags": {
        "switch": {"state": "ENABLED", "variants": switch, "defaultVariant": "on", "safeVariant": "off"},
        "text": {"state": "ENABLED", "variants": {"hi": "Grüß Gott 👋", "bye": "Servus"}, "defaultVariant": "hi"},
        "other": {"state": "ENABLED", "variants": {"hi": "hi", "bye": "bye"}, "defaultVariant": "hi"},
        "whole": {"state": "ENABLED", "variants": {"seven": 7, "eight": 8}, "defaultVariant": "seven"},
        "fraction": {"state": "ENABLED", "variants": {"half": 0.5, "ten": 10.25}, "defaultVariant": "ten"},
        "object": {"state": "ENABLED", "variants": {"o": {"list": [1, "x", null, true], "deep": {"n": 0.5}}},
            "defaultVariant": "o"},
        "targeted": {"state": "ENABLED", "variants": switch, "defaultVariant": "off",
            "targeting": {"if": [{"ends_with": [{"var": "email"}, "@staff.example"]}, "on", null]}},
        "ruled": {"variants": {"at": "Österreich", "else": "anderswo"}, "defaultVariant": "else",
            "rules": [{"when": {"country": "AT", "age": {"gte": 18}}, "serve": "at"}]},
        "split": {"state": "ENABLED", "variants": switch, "defaultVariant": "off",
            "targeting": {"fractional": [["on", 100], ["off", 0]]}},
        "ramp": {"variants": switch, "defaultVariant": "off", "serve": {"on": 0}, "hash": "murmur3"},
        "disabled": {"state": "DISABLED", "variants": switch, "defaultVariant": "on"},
        "nothing": {"state": "ENABLED", "variants": {"one": "eins"}},
        "no-default": {"state": "ENABLED", "variants": {"one": "eins"},
            "targeting": {"if": [{"==": [{"var": "email"}, "x"]}, "one", null]}},
        "broken": {"state": "ENABLED", "variants": switch, "defaultVariant": "on",
            "targeting": {"if": [true, "nowhere"]}},
    }})
}

/// A server with these flags, on ports that nothing else is given meanwhile: below those that the system hands out.
fn server() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a folder");
    let [data, admin] = [free_port(), free_port()];
    let server = Server::run(dir.path(), serve_at(dir.path(), [&data, &admin], &[]));
    let answer = server.admin().post(&format!("{ENV}/import"), &document());
    assert_eq!(answer.status, 200, "{}", answer.text());
    (dir, server)
}

/// An address to come back to after a restart. The system gives ports above 32767 to whoever connects; a client that
/// knocks on one of those while nobody listens there can be given it itself.
pub fn free_port() -> String {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000).expect("small");
    loop {
        let port = 21_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("127.0.0.1:{port}");
        }
    }
}

/// What a flag answers: value, variant, reason.
type Answer<'a> = (Value, &'a str, &'a str);

/// Asks, and expects a variant's value.
fn expect(client: &mut Connected, flag: &str, kind: &str, context: &Value, (value, variant, reason): Answer<'_>) {
    let default = match kind {
        "boolean" => json!(value == json!(false)),
        "string" => json!("code default"),
        "object" => json!({"code": "default"}),
        _ => json!(-1),
    };
    let seen = client.ask(flag, kind, &default, context);
    let wanted = Seen { value, variant: Some(variant.to_owned()), reason: reason.to_owned(), error: None };
    assert_same(client, flag, &seen, &wanted);
}

/// Why there is no value: the reason and the error code.
type NoAnswer<'a> = (&'a str, Option<&'a str>);

/// Asks, and expects the code default, for a reason or with an error code.
fn expect_default(client: &mut Connected, flag: &str, kind: &str, default: &Value, (reason, error): NoAnswer<'_>) {
    let seen = client.ask(flag, kind, default, &json!({}));
    let default = default.clone();
    let said = |value, reason: &str, error: Option<&str>| Seen {
        value,
        variant: None,
        reason: reason.to_owned(),
        error: error.map(str::to_owned),
    };
    let habit = client.client.habits.iter().find(|(name, _)| *name == flag);
    let wanted = match habit {
        None => said(default, reason, error),
        Some((_, code)) => said(default, "ERROR", Some(code)),
    };
    assert_same(client, flag, &seen, &wanted);
}

/// Numbers are compared as numbers: JavaScript has one kind of them, and so have flagd's objects on the wire.
fn assert_same(client: &Connected, flag: &str, seen: &Seen, wanted: &Seen) {
    let same = plain(&seen.value) == plain(&wanted.value);
    let rest = (&seen.variant, &seen.reason, &seen.error) == (&wanted.variant, &wanted.reason, &wanted.error);
    let Client { kind, language, .. } = client.client;
    assert!(same && rest, "{language:?} {kind}, flag {flag}:\n  saw {seen:?}\n  not {wanted:?}");
}

/// Every type, every kind of code default, targeting.
fn answers(language: Language, kind: &str) {
    let (_dir, server) = server();
    let mut client = Client::of(language, kind).connect(&server);
    let client = &mut client;
    expect(client, "switch", "boolean", &json!({}), (json!(true), "on", "STATIC"));
    expect(client, "text", "string", &json!({}), (json!("Grüß Gott 👋"), "hi", "STATIC"));
    expect(client, "whole", "integer", &json!({}), (json!(7), "seven", "STATIC"));
    expect(client, "fraction", "float", &json!({}), (json!(10.25), "ten", "STATIC"));
    let object = json!({"list": [1, "x", null, true], "deep": {"n": 0.5}});
    expect(client, "object", "object", &json!({}), (object, "o", "STATIC"));

    let staff = json!({"targetingKey": "u1", "email": "ada@staff.example"});
    expect(client, "targeted", "boolean", &staff, (json!(true), "on", "TARGETING_MATCH"));
    let guest = json!({"targetingKey": "u1", "email": "bob@example.org"});
    expect(client, "targeted", "boolean", &guest, (json!(false), "off", "DEFAULT"));
    let adult = json!({"targetingKey": "u1", "country": "AT", "age": 18});
    expect(client, "ruled", "string", &adult, (json!("Österreich"), "at", "TARGETING_MATCH"));
    let child = json!({"targetingKey": "u1", "country": "AT", "age": 17.5});
    expect(client, "ruled", "string", &child, (json!("anderswo"), "else", "DEFAULT"));
    expect(client, "split", "boolean", &json!({"targetingKey": "u1"}), (json!(true), "on", "TARGETING_MATCH"));

    expect_default(client, "unknown", "boolean", &json!(true), ("ERROR", Some("FLAG_NOT_FOUND")));
    // Of a flag that was not asked before: a client may answer from what it keeps without looking at the type.
    expect_default(client, "other", "boolean", &json!(true), ("ERROR", Some("TYPE_MISMATCH")));
    expect_default(client, "disabled", "boolean", &json!(true), ("DISABLED", None));
    expect_default(client, "no-default", "string", &json!("code default"), ("DEFAULT", None));
    expect_default(client, "nothing", "string", &json!("code default"), ("DEFAULT", None));
    expect_default(client, "broken", "boolean", &json!(false), ("ERROR", Some("GENERAL")));
}

fn put(server: &Server, flag: &str, definition: &Value) {
    let answer = server.admin().put(&format!("{ENV}/flags/{flag}"), definition);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn post(server: &Server, path: &str) {
    let answer = server.admin().post(&format!("{ENV}/{path}"), &json!({"reason": "a test"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// An edit, a kill, a restore and a step of a rollout, each seen after the client's own event.
fn changes(language: Language, kind: &str) {
    let (_dir, server) = server();
    let client = &mut Client::of(language, kind).connect(&server);
    // Asked first, so that a client that keeps answers has something to forget.
    expect(client, "text", "string", &json!({}), (json!("Grüß Gott 👋"), "hi", "STATIC"));
    expect(client, "switch", "boolean", &json!({}), (json!(true), "on", "STATIC"));
    client.script.forget();

    let mut text = document()["flags"]["text"].clone();
    text["defaultVariant"] = json!("bye");
    put(&server, "text", &text);
    client.hear("text");
    expect(client, "text", "string", &json!({}), (json!("Servus"), "bye", "STATIC"));

    post(&server, "flags/switch/kill");
    client.hear("switch");
    expect(client, "switch", "boolean", &json!({}), (json!(false), "off", "DEFAULT"));

    post(&server, "flags/switch/restore");
    client.hear("switch");
    expect(client, "switch", "boolean", &json!({}), (json!(true), "on", "STATIC"));

    let user = json!({"targetingKey": "u1"});
    assert_eq!(client.ask("ramp", "boolean", &json!(true), &user).value, json!(false), "0 percent");
    client.script.forget();
    let mut ramp = document()["flags"]["ramp"].clone();
    ramp["serve"] = json!({"on": 100});
    put(&server, "ramp", &ramp);
    client.hear("ramp");
    let seen = client.ask("ramp", "boolean", &json!(false), &user);
    assert_eq!((&seen.value, seen.variant.as_deref()), (&json!(true), Some("on")), "100 percent: {seen:?}");
}

/// The server is killed and comes back on the same ports with the same folder.
fn restarts(language: Language, kind: &str) {
    let (_dir, mut server) = server();
    let client = &mut Client::of(language, kind).connect(&server);
    expect(client, "text", "string", &json!({}), (json!("Grüß Gott 👋"), "hi", "STATIC"));

    server.kill_9();
    let away = client.ask("text", "string", &json!("code default"), &json!({}));
    if client.client.keeps {
        assert_eq!(away.value, json!("Grüß Gott 👋"), "the last known value: {away:?}");
    } else {
        // What a client without a copy of its own may hold is the answer to this very question.
        let held = json!("Grüß Gott 👋");
        assert!(away.value == json!("code default") && away.error.is_some() || away.value == held, "{away:?}");
    }

    client.script.forget();
    let server = Server::run(&server.dir, serve_at(&server.dir, [&server.data, &server.admin], &[]));
    if client.client.ready_again {
        client.script.wait_for("that it is ready again", |line| line["event"] == "ready");
    }
    // A flag that was not asked before: Python's provider keeps answers with the reason STATIC over a lost connection,
    // as long as that lasts shorter than its grace period. Kills are told to it anew, edits are not.
    let mut whole = document()["flags"]["whole"].clone();
    whole["defaultVariant"] = json!("eight");
    put(&server, "whole", &whole);
    let seen = client.ask_until("whole", "integer", &json!(-1), &json!(8));
    assert_eq!((plain(&seen.value), seen.error), (json!(8.0), None), "what was changed after the restart");

    // It is connected again: what comes now is pushed.
    client.script.forget();
    post(&server, "flags/switch/kill");
    client.hear("switch");
    expect(client, "switch", "boolean", &json!({}), (json!(false), "off", "DEFAULT"));
    expect(client, "text", "string", &json!({}), (json!("Grüß Gott 👋"), "hi", client.client.again));
}

/// The flag is killed while the client has no connection, after it kept the answer.
fn is_away_for_a_kill(language: Language, kind: &str) {
    let (_dir, mut server) = server();
    let client = &mut Client::of(language, kind).connect(&server);
    expect(client, "switch", "boolean", &json!({}), (json!(true), "on", "STATIC"));
    server.kill_9();
    let server = Server::run(&server.dir, serve_at(&server.dir, [&server.data, &server.admin], &[]));
    post(&server, "flags/switch/kill");
    let seen = client.ask_until("switch", "boolean", &json!(true), &json!(false));
    assert_eq!((seen.variant.as_deref(), seen.error), (Some("off"), None));
}

/// The four tests of one client.
macro_rules! client {
    ($name:ident, $language:ident, $kind:literal) => {
        mod $name {
            #[test]
            fn answers_every_type_and_gives_the_code_default_where_it_should() {
                super::answers(super::Language::$language, $kind);
            }

            #[test]
            fn sees_an_edit_a_kill_a_restore_and_a_rollout_step() {
                super::changes(super::Language::$language, $kind);
            }

            #[test]
            fn comes_back_after_a_crash_of_the_server() {
                super::restarts(super::Language::$language, $kind);
            }

            #[test]
            fn hears_of_a_kill_that_came_while_it_was_away() {
                super::is_away_for_a_kill(super::Language::$language, $kind);
            }
        }
    };
}

client!(python_flagd_rpc, Python, "flagd-rpc");
client!(python_flagd_in_process, Python, "flagd-in-process");
client!(python_ofrep, Python, "ofrep");
client!(node_flagd_rpc, Node, "flagd-rpc");
client!(node_flagd_in_process, Node, "flagd-in-process");
client!(node_flagd_web, Node, "flagd-web");
client!(node_ofrep, Node, "ofrep");
client!(node_ofrep_web, Node, "ofrep-web");
