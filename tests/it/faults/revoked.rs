//! A token that is revoked while a stream that it opened is running.

use serde_json::json;

use super::{connected, server, subscribers, until};
use crate::harness::http::Client;
use crate::harness::sse::EventStream;
use crate::harness::{Lines, RAMPART, Server};
use std::process::{Command, Stdio};

/// A token that may read, and the path that revokes it.
fn token(admin: &mut Client) -> (String, String) {
    let created = admin.post("/v1/tokens", &json!({"scopes": ["read"], "name": "follower"})).json();
    let text = |name: &str| created[name].as_str().unwrap_or_else(|| panic!("{name} in {created}")).to_owned();
    (text("token"), format!("/v1/tokens/{}", text("id")))
}

/// Revokes it, and waits until nobody is listed.
fn revoke(server: &Server, path: &str) {
    let mut admin = server.admin();
    assert_eq!(admin.send("DELETE", path, &[], b"").status, 200);
    until("the subscriber is gone from the list", || (subscribers(&mut admin)["total"] == 0).then_some(()));
}

#[test]
fn an_event_stream_whose_token_is_revoked_says_so_ends_and_is_listed_no_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &["--streams-lost-for", "0s"]);
    let (token, path) = token(&mut server.admin());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let mut stream = EventStream::open(&server.data, "/v1/stream", &headers).expect("a stream");
    connected(&mut server.admin(), 1);
    revoke(&server, &path);
    let mut last = None;
    while let Some(block) = stream.event() {
        last = Some(block);
    }
    let last = last.expect("it said something");
    assert_eq!((last.event.as_deref(), &last.json()["reason"]), (Some("goodbye"), &json!("token-revoked")));
    assert_eq!(EventStream::open(&server.data, "/v1/stream", &headers).expect_err("it opens nothing"), 401);
}

#[test]
fn a_subscription_whose_token_is_revoked_says_so_ends_and_is_listed_no_more() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &["--streams-lost-for", "0s"]);
    let (token, path) = token(&mut server.admin());
    let mut process = Command::new(RAMPART)
        .args(["watch", "--output", "json", "--server", &format!("http://{}", server.data)])
        .env_clear()
        .env("RAMPART_TOKEN", token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let lines = Lines::of(process.stdout.take().expect("a pipe"));
    connected(&mut server.admin(), 1);
    revoke(&server, &path);
    lines.wait_for("token-revoked");
    // It does not come back with a token that is gone: the process ends, and says why.
    let ended = process.wait_with_output().expect("it ends");
    let words = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && words.contains("token"), "{}: {words}", ended.status);
}
