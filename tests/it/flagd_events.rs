//! `EventStream`: ready at once, exactly what changed for a selector, a sign of life, and never an end with OK.

use serde_json::{Value, json};

use crate::harness::Server;
use crate::harness::flagd::{ConnectEvents, Flagd, GrpcEvents};

const ENV: &str = "/v1/environments/production";

fn flag(serve: &str) -> Value {
    json!({"variants": {"on": true, "off": false}, "defaultVariant": "off", "serve": serve})
}

fn server(options: &[&str]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::start(dir.path(), options);
    for path in ["a", "b", "a?flagSet=mobile"] {
        put(&server, path, "on");
    }
    (dir, server)
}

fn put(server: &Server, path: &str, serve: &str) {
    let answer = server.admin().put(&format!("{ENV}/flags/{path}"), &flag(serve));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn post(server: &Server, path: &str) {
    let answer = server.admin().post(&format!("{ENV}/flags/{path}"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn delete(server: &Server, path: &str) {
    assert_eq!(server.admin().send("DELETE", &format!("{ENV}/flags/{path}"), &[], b"").status, 200);
}

/// Either kind of stream.
trait Events {
    fn event(&mut self) -> Result<Value, (String, String)>;

    /// What changed, where nothing else came before it.
    fn changed(&mut self) -> Value {
        let event = self.event().expect("a stream that goes on");
        assert_eq!(event["type"], "configuration_change", "{event}");
        event["data"]["flags"].clone()
    }

    fn is(&mut self, kind: &str) {
        assert_eq!(self.event(), Ok(json!({"type": kind, "data": {}})));
    }

    fn ends(&mut self, code: &str) -> String {
        let (ended, message) = self.event().expect_err("an end");
        assert_eq!(ended, code, "{message}");
        message
    }
}

impl Events for GrpcEvents<'_> {
    fn event(&mut self) -> Result<Value, (String, String)> {
        self.next()
    }
}

impl Events for ConnectEvents {
    fn event(&mut self) -> Result<Value, (String, String)> {
        self.next()
    }
}

/// One stream of each kind and version.
fn streams<'f>(flagd: &'f Flagd, headers: &[(&str, &str)]) -> Vec<Box<dyn Events + 'f>> {
    let mut all: Vec<Box<dyn Events>> = Vec::new();
    for version in ["v1", "v2"] {
        all.push(Box::new(flagd.events(version, headers).expect("a stream")));
        all.push(Box::new(flagd.connect_events(version, headers)));
    }
    for stream in &mut all {
        stream.is("provider_ready");
    }
    all
}

#[test]
fn every_change_is_told_with_the_keys_that_it_concerns() {
    let (_dir, server) = server(&[]);
    let flagd = Flagd::of(&server);
    let mut all = streams(&flagd, &[]);
    let expect = |all: &mut Vec<Box<dyn Events + '_>>, expected: Value| {
        for stream in all {
            assert_eq!(stream.changed(), expected);
        }
    };
    put(&server, "a", "off");
    expect(&mut all, json!({"a": {"type": "update"}}));
    put(&server, "new", "on");
    expect(&mut all, json!({"new": {"type": "write"}}));
    post(&server, "b/kill");
    expect(&mut all, json!({"b": {"type": "update"}}));
    post(&server, "b/restore");
    expect(&mut all, json!({"b": {"type": "update"}}));
    delete(&server, "new");
    expect(&mut all, json!({"new": {"type": "delete"}}));
    let document = json!({"flags": {"b": flag("off"), "c": flag("on"), "a": flag("off")}});
    assert_eq!(server.admin().post(&format!("{ENV}/import"), &document).status, 200);
    // `a` is as it was.
    expect(&mut all, json!({"b": {"type": "update"}, "c": {"type": "write"}}));
}

#[test]
fn a_flag_changes_with_what_it_asks() {
    let (_dir, server) = server(&[]);
    let mut admin = server.admin();
    let document = json!({
        "segments": {"staff": {"group": "staff"}},
        "flags": {
            "by-segment": {"variants": {"on": true, "off": false}, "defaultVariant": "off",
                "rules": [{"when": {"segment": "staff"}, "serve": "on"}]},
            "requiring": {"variants": {"on": true, "off": false}, "defaultVariant": "off", "serve": "on",
                "requires": [{"flag": "b", "variant": "on"}]},
        },
    });
    assert_eq!(admin.post(&format!("{ENV}/import"), &document).status, 200);
    let flagd = Flagd::of(&server);
    let mut stream = flagd.connect_events("v1", &[]);
    stream.is("provider_ready");
    assert_eq!(admin.put(&format!("{ENV}/segments/staff"), &json!({"group": "all"})).status, 200);
    assert_eq!(stream.changed(), json!({"by-segment": {"type": "update"}}));
    post(&server, "b/kill");
    assert_eq!(stream.changed(), json!({"b": {"type": "update"}, "requiring": {"type": "update"}}));
}

#[test]
fn a_selector_hears_of_its_own_flags_alone() {
    let (_dir, server) = server(&[]);
    let flagd = Flagd::of(&server);
    let mut mobile = streams(&flagd, &[("flagd-selector", "flagSetId=mobile")]);
    let mut unset = streams(&flagd, &[("flagd-selector", "flagSetId=")]);
    let mut every = streams(&flagd, &[]);
    // `a` in no set answers for its key where nothing is selected.
    put(&server, "a?flagSet=mobile", "off");
    put(&server, "b", "off");
    put(&server, "m?flagSet=mobile", "on");
    delete(&server, "a");
    put(&server, "end", "on");
    put(&server, "end?flagSet=mobile", "on");
    for stream in &mut mobile {
        assert_eq!(stream.changed(), json!({"a": {"type": "update"}}));
        assert_eq!(stream.changed(), json!({"m": {"type": "write"}}));
        assert_eq!(stream.changed(), json!({"end": {"type": "write"}}));
    }
    for stream in &mut unset {
        assert_eq!(stream.changed(), json!({"b": {"type": "update"}}));
        assert_eq!(stream.changed(), json!({"a": {"type": "delete"}}));
        assert_eq!(stream.changed(), json!({"end": {"type": "write"}}));
    }
    for stream in &mut every {
        assert_eq!(stream.changed(), json!({"b": {"type": "update"}}));
        assert_eq!(stream.changed(), json!({"m": {"type": "write"}}));
        // The one in the set takes over.
        assert_eq!(stream.changed(), json!({"a": {"type": "update"}}));
        assert_eq!(stream.changed(), json!({"end": {"type": "write"}}));
    }
    let wrong = [("flagd-selector", "team=a")];
    assert_eq!(flagd.events("v2", &wrong).expect_err("refused").code(), tonic::Code::InvalidArgument);
    flagd.connect_events("v2", &wrong).ends("invalid_argument");
}

#[test]
fn a_change_of_many_flags_comes_in_parts() {
    let (_dir, server) = server(&[]);
    let flagd = Flagd::of(&server);
    let mut stream = flagd.connect_events("v2", &[]);
    stream.is("provider_ready");
    let flags: serde_json::Map<String, Value> = (0..12_000).map(|n| (format!("f{n}"), flag("on"))).collect();
    let imported = server.admin().post(&format!("{ENV}/import"), &json!({"flags": flags}));
    assert_eq!(imported.status, 200, "{}", imported.text());
    let parts = [stream.changed(), stream.changed()];
    let keys: std::collections::BTreeSet<String> =
        parts.iter().flat_map(|part| part.as_object().expect("flags").keys().cloned()).collect();
    assert_eq!(keys, flags.keys().cloned().collect());
}

#[test]
fn a_silent_stream_shows_signs_of_life_and_ends_at_its_deadline() {
    let options = ["--flagd-keep-alive", "1s", "--flagd-stream-deadline", "3s"];
    let (_dir, server) = server(&options);
    let flagd = Flagd::of(&server);
    for stream in &mut streams(&flagd, &[]) {
        stream.is("keep_alive");
        while stream.event() == Ok(json!({"type": "keep_alive", "data": {}})) {}
    }
    let mut stream = flagd.events("v1", &[]).expect("a stream");
    while stream.event().is_ok() {}
    let mut stream = flagd.connect_events("v1", &[]);
    let ended = std::iter::from_fn(|| Some(stream.event())).find_map(Result::err).expect("an end");
    assert_eq!(ended, ("deadline_exceeded".into(), "stream closed due to server-side timeout".into()));
}

#[test]
fn a_stopping_server_says_so_and_counts_no_stream_as_open() {
    let (_dir, mut server) = server(&[]);
    let flagd = Flagd::of(&server);
    let mut all = streams(&flagd, &[]);
    let open = "rampart_event_streams{surface=\"flagd\"}";
    let metrics = server.admin().get("/metrics").text();
    assert!(metrics.contains(&format!("{open} 4")), "{metrics}");
    server.signal("TERM");
    for stream in &mut all {
        stream.is("provider_shutdown");
        stream.ends("unavailable");
    }
    drop(all);
    drop(flagd);
    assert!(server.process.wait().expect("it ends").success(), "a drained server ends well");
}

#[test]
fn a_stream_ends_with_the_right_to_it() {
    let (_dir, server) = server(&["--flagd-keep-alive", "1s"]);
    let mut admin = server.admin();
    let mut token = |more: Value| {
        let mut body = json!({"scopes": ["evaluate"], "name": "reader"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let created = admin.post("/v1/tokens", &body);
        assert!(created.status < 300, "{}", created.text());
        created.json()
    };
    let revoked = token(json!({}));
    let flagd = Flagd::of(&server);
    let key = |token: &Value| token["token"].as_str().expect("a token").to_owned();
    let mut anonymous = streams(&flagd, &[]);
    let mut named = streams(&flagd, &[("x-api-key", &key(&revoked))]);
    let path = format!("/v1/tokens/{}", revoked["id"].as_str().expect("an id"));
    assert_eq!(server.admin().send("DELETE", &path, &[], b"").status, 200);
    let end = |stream: &mut Box<dyn Events + '_>| {
        let ended = std::iter::from_fn(|| Some(stream.event())).find_map(Result::err).expect("an end");
        assert_eq!(ended.0, "unauthenticated", "{}", ended.1);
    };
    named.iter_mut().for_each(end);
    let required = json!({"dataPlaneAuth": "required"});
    assert_eq!(server.admin().put("/v1/environments/production", &required).status, 200);
    anonymous.iter_mut().for_each(end);
    assert_eq!(flagd.events("v1", &[]).expect_err("refused").code(), tonic::Code::Unauthenticated);
    flagd.connect_events("v1", &[]).ends("unauthenticated");
}

/// A client that comes back may hold what it cached before a kill that it did not hear of.
#[test]
fn a_new_stream_begins_with_the_kills_of_the_last_minute() {
    let (_dir, server) = server(&[]);
    post(&server, "a/kill");
    let flagd = Flagd::of(&server);
    for mut stream in streams(&flagd, &[]) {
        assert_eq!(stream.changed(), json!({"a": {"type": "update"}}));
    }
    post(&server, "a/restore");
    post(&server, "a/kill?flagSet=mobile");
    let mobile = [("flagd-selector", "flagSetId=mobile")];
    let (mut everything, mut of_the_set) = (streams(&flagd, &[]), streams(&flagd, &mobile));
    for stream in everything.iter_mut().chain(&mut of_the_set) {
        assert_eq!(stream.changed(), json!({"a": {"type": "update"}}));
    }
    // Nothing else is told before the next change.
    put(&server, "b", "off");
    for mut stream in everything {
        assert_eq!(stream.changed(), json!({"b": {"type": "update"}}));
    }
}
