//! `rampart start` in flagd's place: its command line, its files, its ports.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::http::{Answer, Client};
use crate::harness::{GUARD, Lines, RAMPART, Server, cli, stderr, stdout};

/// A running `rampart start`; killed when dropped.
struct Flagd {
    process: Child,
    line: String,
    log: Lines,
    out: Lines,
    home: PathBuf,
}

/// The command on free ports, in a folder of its own, with these variables and no others.
fn command(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(RAMPART);
    command.arg("start").args(arguments).current_dir(home).env_clear().envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

const FREE: [&str; 8] = ["-p", "0", "-m", "0", "-g", "0", "-r", "0"];

impl Flagd {
    fn start(home: &Path, arguments: &[&str]) -> Self {
        Self::start_with(home, &[], &[&FREE, arguments].concat())
    }

    fn start_with(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut started = Self::begin(home, variables, arguments);
        started.line = started.out.wait_for("rampart is serving: ");
        started
    }

    /// A process that may not serve yet.
    fn begin(home: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Self {
        let mut process = command(home, variables, arguments).spawn().expect("the binary starts");
        let out = Lines::of(process.stdout.take().expect("a pipe"));
        let log = Lines::of(process.stderr.take().expect("a pipe"));
        Self { process, line: String::new(), log, out, home: home.to_owned() }
    }

    /// Where a port is: `127.0.0.1:PORT`, or the path of a Unix socket.
    fn place(&self, port: &str) -> String {
        let words: Vec<&str> = self.line.split_whitespace().collect();
        let at = words.iter().position(|word| *word == port).expect("the port is announced");
        let url = words[at + 1];
        let place = url.split_once("://").or_else(|| url.split_once(':')).expect("a URL").1;
        place.replace("0.0.0.0", "127.0.0.1")
    }

    fn client(&self, port: &str) -> Client {
        Client::new(&self.place(port), None)
    }

    /// The file with the admin token and the command to try it with, as the server prints them; only once.
    fn token_line(&self) -> (PathBuf, String) {
        let line = self.out.wait_for("admin token: ");
        let (file, command) = line["admin token: ".len()..].split_once(" (").expect("a file and a command");
        (self.home.join(file), command.trim_end_matches(')').to_owned())
    }

    fn token(&self) -> String {
        std::fs::read_to_string(self.token_line().0).expect("the start wrote it").trim().to_owned()
    }

    fn admin(&self) -> Client {
        Client::new(&self.place("admin"), Some(self.token()))
    }

    /// SIGTERM, and waits for the end.
    fn terminate(&mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        assert!(self.process.wait().expect("it ends").success());
    }

    fn ask(&self, key: &str) -> Answer {
        self.ask_with(key, &[])
    }

    fn ask_with(&self, key: &str, headers: &[(&str, &str)]) -> Answer {
        evaluate(&mut self.client("ofrep"), key, headers)
    }

    fn value(&self, key: &str) -> Value {
        self.ask(key).json()["value"].clone()
    }

    /// Waits until a flag has a value: asks again after every line of the log.
    fn wait_for(&self, key: &str, value: &Value) {
        while self.value(key) != *value {
            self.log.wait_for("flag");
        }
    }
}

impl Drop for Flagd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn evaluate(client: &mut Client, key: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"context": {"targetingKey": "user"}}).to_string();
    let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("content-type", "application/json")]).collect();
    client.send("POST", &format!("/ofrep/v1/evaluate/flags/{key}"), &headers, body.as_bytes())
}

fn flag(variant: &str) -> Value {
    json!({"state": "ENABLED", "variants": {"one": 1, "two": 2, "three": 3}, "defaultVariant": variant})
}

fn document(flags: &[(&str, Value)]) -> String {
    let flags: serde_json::Map<String, Value> =
        flags.iter().map(|(key, flag)| ((*key).to_owned(), flag.clone())).collect();
    json!({"flags": flags}).to_string()
}

/// Writes a file as configuration management does: beside it, then in its place.
fn write(home: &Path, name: &str, text: &str) {
    let new = home.join(format!("{name}.new"));
    std::fs::write(&new, text).expect("a file");
    std::fs::rename(new, home.join(name)).expect("it is replaced");
}

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().expect("a folder");
    write(home.path(), "a.json", &document(&[("x", flag("one")), ("only-a", flag("one"))]));
    write(home.path(), "b.json", &document(&[("x", flag("two")), ("only-b", flag("two"))]));
    home
}

#[test]
fn four_ports_answer_and_every_data_port_is_the_whole_data_plane() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["--uri", "file:a.json"]);
    for port in ["data", "sync", "ofrep"] {
        assert_eq!(evaluate(&mut flagd.client(port), "x", &[]).json()["value"], json!(1), "{port}");
    }
    let mut admin = flagd.client("admin");
    assert_eq!((admin.get("/healthz").status, admin.get("/readyz").status), (200, 200));
    assert!(admin.get("/metrics").text().contains("rampart_"));
    let line = flagd.log.wait_for("kept in memory");
    assert!(line.contains("RAMPART_DATA_DIR"), "{line}");
}

#[test]
fn the_management_port_has_the_grpc_health_service_too() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["--uri", "file:a.json"]);
    for port in ["admin", "data"] {
        assert_eq!(health(&flagd.place(port)), ServingStatus::Serving, "{port}");
    }
}

/// What the gRPC health service at an address says of the whole server.
fn health(place: &str) -> ServingStatus {
    let address = format!("http://{place}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async move {
        let channel = tonic::transport::Endpoint::from_shared(address).expect("a URL").connect().await;
        let mut client = HealthClient::new(channel.expect("it listens"));
        let answer = client.check(HealthCheckRequest { service: String::new() }).await.expect("it answers");
        answer.into_inner().status()
    })
}

#[test]
fn a_configuration_file_in_json_or_yaml_and_variables_say_the_same() {
    let home = home();
    let yaml = "sources:\n- uri: a.json\n  provider: file\n- uri: b.json\n  provider: fsnotify\n\
        port: 0\nmanagement-port: 0\nsync-port: 0\nofrep-port: 0\n";
    let json = json!({"sources": [{"uri": "a.json", "provider": "file"}, {"uri": "b.json", "provider": "file"}],
        "port": 0, "management-port": 0, "sync-port": 0, "ofrep-port": 0});
    write(home.path(), "c.yaml", yaml);
    write(home.path(), "c.json", &json.to_string());
    let variables = [
        ("FLAGD_URI", "file:a.json file:b.json"),
        ("FLAGD_PORT", "0"),
        ("FLAGD_MANAGEMENT_PORT", "0"),
        ("FLAGD_SYNC_PORT", "0"),
        ("FLAGD_OFREP_PORT", "0"),
    ];
    for (variables, arguments) in
        [(&[][..], &["--config", "c.yaml"][..]), (&[], &["--config", "c.json"]), (&variables, &[])]
    {
        let flagd = Flagd::start_with(home.path(), variables, arguments);
        let seen = ["x", "only-a", "only-b"].map(|key| flagd.value(key));
        assert_eq!(seen, [json!(2), json!(1), json!(2)], "{arguments:?}");
    }
}

#[test]
fn the_later_source_wins_and_a_selector_finds_a_source_by_its_name() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["-f", "file:a.json", "-f", "file:./b.json"]);
    assert_eq!(flagd.value("x"), json!(2));
    let selected = |key: &str, selector: &str| {
        let answer = flagd.ask_with(key, &[("flagd-selector", selector)]);
        (answer.status, answer.json()["value"].clone())
    };
    assert_eq!(selected("only-a", "source=a.json"), (200, json!(1)));
    assert_eq!(selected("only-a", "a.json"), (200, json!(1)));
    assert_eq!(selected("x", "source=./b.json"), (200, json!(2)));
    assert_eq!(selected("only-b", "source=a.json").0, 404);
    // The winner of a key is the only one there is, as in flagd's store.
    assert_eq!(selected("x", "source=a.json").0, 404);
}

#[test]
fn a_change_is_served_and_a_flag_that_leaves_the_winner_falls_back_to_the_other_source() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["-f", "file:a.json", "-f", "file:b.json"]);
    write(home.path(), "b.json", &document(&[("x", flag("three"))]));
    flagd.wait_for("x", &json!(3));
    assert_eq!(flagd.ask("only-b").status, 404, "a source may delete what it likes, as in flagd");
    write(home.path(), "b.json", &document(&[]));
    flagd.wait_for("x", &json!(1));
}

#[test]
fn a_bad_flag_keeps_its_last_good_definition_and_is_named_with_its_line() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["-f", "file:a.json", "-f", "file:b.json"]);
    let text = "{\"flags\": {\n  \"x\": {\"state\": \"ENABLED\", \"variants\": {\"two\": 2}, \"defaultVariant\": \"nonsense\"},\n\
        \"only-b\": {\"state\": \"ENABLED\", \"variants\": {\"n\": 7}, \"defaultVariant\": \"n\"}}}";
    write(home.path(), "b.json", text);
    let line = flagd.log.wait_for("nonsense");
    assert!(line.contains("b.json:2:") && line.contains("/flags/x"), "{line}");
    flagd.wait_for("only-b", &json!(7));
    assert_eq!(flagd.value("x"), json!(2), "not the other source's either");
    // A document that cannot be read at all changes nothing.
    write(home.path(), "b.json", "{\"flags\": {");
    flagd.log.wait_for("flag source not taken");
    assert_eq!((flagd.value("x"), flagd.value("only-b")), (json!(2), json!(7)));
}

#[test]
fn a_flag_that_only_fails_with_the_others_is_named_with_its_line_too() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["-f", "file:b.json"]);
    let text = "{\"flags\": {\n\n  \"x\": {\"variants\": {\"two\": 2}, \"defaultVariant\": \"two\",\n\
        \"requires\": [{\"flag\": \"ghost\", \"variant\": \"on\"}]}}}";
    write(home.path(), "b.json", text);
    let line = flagd.log.wait_for("ghost");
    assert!(line.contains("b.json:4:") && line.contains("/flags/x/requires/0"), "{line}");
    assert_eq!(flagd.value("x"), json!(2));
    // And so is what is odd and serves all the same.
    let text = text.replace(
        "\"requires\": [{\"flag\": \"ghost\", \"variant\": \"on\"}]",
        "\"targeting\": {\"iff\": [true, \"two\"]}",
    );
    write(home.path(), "b.json", &text);
    let line = flagd.log.wait_for("unknown-operator");
    assert!(line.contains("b.json:4:") && line.contains("/flags/x/targeting/iff"), "{line}");
}

#[test]
fn a_bad_flag_leaves_its_namesake_in_another_flag_set_alone() {
    let home = home();
    let bad = "{\"metadata\": {\"flagSetId\": \"A\"}, \"flags\": {\n\n\
        \"k\": {\"variants\": {\"one\": 1}, \"defaultVariant\": \"one\",\n\
        \"rules\": [{\"when\": {\"segment\": \"ghost\"}, \"serve\": \"one\"}]}}}";
    write(home.path(), "set-a.json", bad);
    let good = json!({"metadata": {"flagSetId": "B"}, "flags": {"k": flag("two")}});
    write(home.path(), "set-b.json", &good.to_string());
    for files in [["file:set-a.json", "file:set-b.json"], ["file:set-b.json", "file:set-a.json"]] {
        let flagd = Flagd::start(home.path(), &["--uri", files[0], "--uri", files[1]]);
        let line = flagd.log.wait_for("ghost");
        assert!(line.contains("set-a.json:4:") && !line.contains("set-b.json"), "{line}");
        let answer = flagd.ask_with("k", &[("flagd-selector", "flagSetId=B")]);
        assert_eq!((answer.status, &answer.json()["value"]), (200, &json!(2)), "{}", answer.text());
        assert_eq!(flagd.ask_with("k", &[("flagd-selector", "flagSetId=A")]).status, 404);
    }
    // The same mistake found without a server is laid at the same door.
    let files = ["set-b.json", "set-a.json"].map(|name| home.path().join(name).display().to_string());
    let checked = cli(&[], &["check", &files[0], &files[1]]);
    let found = stdout(&checked);
    let line = found.lines().find(|line| line.contains("ghost")).expect("it is found");
    assert!(line.contains("set-a.json:4:"), "{line}");
}

#[test]
fn a_kill_is_in_force_at_once_and_survives_a_change_of_the_file() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["-f", "file:a.json"]);
    let mut admin = flagd.admin();
    let killed = admin.post("/v1/environments/production/flags/x/kill", &json!({"reason": "bad"}));
    assert_eq!(killed.status, 200, "{}", killed.text());
    write(home.path(), "a.json", &document(&[("x", flag("three")), ("only-a", flag("three"))]));
    flagd.wait_for("only-a", &json!(3));
    let held = admin.get("/v1/environments/production/flags/x").json();
    assert_eq!(held["definition"]["defaultVariant"], json!("three"), "the file's new definition is there");
    assert!(!held["killed"].is_null(), "and the kill is in force");
}

#[test]
fn a_source_that_is_away_keeps_its_flags_and_is_read_when_it_is_back() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["-f", "file:a.json", "-f", "file:b.json"]);
    std::fs::rename(home.path().join("b.json"), home.path().join("elsewhere")).expect("it can be moved");
    flagd.log.wait_for("a flag source cannot be read");
    write(home.path(), "a.json", &document(&[("x", flag("three")), ("only-a", flag("three"))]));
    flagd.wait_for("only-a", &json!(3));
    assert_eq!((flagd.value("x"), flagd.value("only-b")), (json!(2), json!(2)));
    write(home.path(), "b.json", &document(&[("only-b", flag("three"))]));
    flagd.wait_for("only-b", &json!(3));
    assert_eq!(flagd.value("x"), json!(3), "now it is the other source's");
}

#[test]
fn a_source_that_is_missing_at_the_start_is_waited_for() {
    let home = home();
    let arguments = [&FREE[..], &["-f", "file:a.json", "-f", "file:late.json"]].concat();
    let mut flagd = Flagd::begin(home.path(), &[], &arguments);
    let bound = flagd.log.wait_for("port=\"admin\"");
    flagd.log.wait_for("not every flag source could be read");
    let address = bound.split_once("http://").expect("a URL").1.replace("0.0.0.0", "127.0.0.1");
    let mut admin = Client::new(address.trim(), None);
    assert_eq!((admin.get("/healthz").status, admin.get("/readyz").status), (200, 412));
    assert_eq!(health(address.trim()), ServingStatus::NotServing);
    write(home.path(), "late.json", &document(&[("late", flag("two"))]));
    flagd.log.wait_for("every flag source was read");
    assert_eq!(admin.get("/readyz").status, 200);
    flagd.line = flagd.out.wait_for("rampart is serving: ");
    assert_eq!(flagd.value("late"), json!(2));
    assert_eq!(flagd.value("x"), json!(1));
}

#[test]
fn with_a_data_folder_kills_and_flags_survive_a_restart_without_the_file() {
    let home = home();
    let data = ["--data-dir", "rampart-data", "-f", "file:a.json", "-f", "file:b.json"];
    let mut flagd = Flagd::start(home.path(), &data);
    assert_eq!(flagd.admin().post("/v1/environments/production/flags/only-a/kill", &json!({})).status, 200);
    drop(flagd.process.kill());
    drop(flagd.process.wait());
    std::fs::remove_file(home.path().join("b.json")).expect("it is there");
    let flagd = Flagd::start(home.path(), &data);
    assert_eq!((flagd.value("x"), flagd.value("only-b")), (json!(2), json!(2)), "what the journal holds is served");
    assert_eq!(flagd.client("admin").get("/readyz").status, 200);
    let held = flagd.admin().get("/v1/environments/production/flags/only-a").json();
    assert!(!held["killed"].is_null());
    // A source that is not named any more is gone, and its flags with it.
    drop(flagd);
    let flagd = Flagd::start(home.path(), &data[..4]);
    assert_eq!((flagd.value("x"), flagd.ask("only-b").status), (json!(1), 404));
}

#[test]
fn a_source_that_wins_is_taken_although_the_one_it_wins_over_is_away() {
    let home = home();
    let data = ["--data-dir", "rampart-data", "-f", "file:a.json", "-f", "file:b.json"];
    write(home.path(), "b.json", &document(&[("only-b", flag("two"))]));
    let mut flagd = Flagd::start(home.path(), &data);
    assert_eq!((flagd.value("x"), flagd.value("only-b")), (json!(1), json!(2)));
    flagd.terminate();
    std::fs::remove_file(home.path().join("a.json")).expect("it is there");
    write(home.path(), "b.json", &document(&[("x", flag("three")), ("only-b", flag("two"))]));
    let mut flagd = Flagd::start(home.path(), &data);
    assert_eq!((flagd.value("x"), flagd.value("only-a")), (json!(3), json!(1)));
    flagd.terminate();
    // The other way round, what the winner said last stays.
    write(home.path(), "a.json", &document(&[("x", flag("one")), ("only-b", flag("one"))]));
    std::fs::remove_file(home.path().join("b.json")).expect("it is there");
    let flagd = Flagd::start(home.path(), &data);
    assert_eq!((flagd.value("x"), flagd.value("only-b")), (json!(3), json!(2)));
}

#[test]
fn a_flag_whose_set_cannot_be_read_is_only_said_to_be_kept_where_no_later_source_says_it() {
    let home = home();
    let lost = json!({"variants": {"one": 1}, "defaultVariant": "one", "metadata": {"flagSetId": 7}});
    write(home.path(), "lost.json", &document(&[("x", lost)]));
    for (files, expected) in [(["file:a.json", "file:lost.json"], true), (["file:lost.json", "file:a.json"], false)] {
        let mut flagd = Flagd::start(home.path(), &["-f", files[0], "-f", files[1]]);
        assert_eq!(flagd.ask("x").status, if expected { 404 } else { 200 });
        flagd.terminate();
        let log = flagd.log.rest();
        assert!(log.iter().any(|line| line.contains("/flags/x")), "the fault itself is named: {log:#?}");
        assert_eq!(log.iter().any(|line| line.contains("x cannot be read")), expected, "{files:?}: {log:#?}");
    }
}

#[test]
fn an_environment_that_a_source_names_and_nobody_made_is_asked_for_once_and_waited_for() {
    let home = home();
    let staging = json!({"environment": "staging", "flags": {"x": flag("two")}});
    write(home.path(), "staging.json", &staging.to_string());
    let flagd = Flagd::start(home.path(), &["-f", "file:a.json", "-f", "file:staging.json"]);
    let line = flagd.log.wait_for("flag sources not taken");
    assert!(line.contains("PUT /v1/environments/staging"), "{line}");
    let mut admin = flagd.admin();
    assert_eq!((admin.get("/readyz").status, flagd.value("x")), (412, json!(1)), "the others are served");
    let made = admin.put("/v1/environments/staging", &json!({"production": false}));
    assert!(made.status < 300, "{}", made.text());
    flagd.log.wait_for("every flag source was read");
    assert_eq!(admin.get("/readyz").status, 200);
    let held = admin.get("/v1/environments/staging/flags/x").json();
    assert_eq!(held["definition"]["defaultVariant"], json!("two"));
}

#[test]
fn sources_that_hold_too_much_together_are_not_called_ready() {
    let home = home();
    let segments = |first: u32| {
        let named = (first..first + 6_000).map(|number| (format!("s{number}"), json!({"country": "fr"})));
        json!({"segments": named.collect::<serde_json::Map<_, _>>(), "flags": {}})
    };
    let mut one = segments(0);
    one["flags"]["big"] = flag("three");
    write(home.path(), "one.json", &one.to_string());
    write(home.path(), "two.json", &segments(6_000).to_string());
    let flagd = Flagd::start(home.path(), &["-f", "file:one.json", "-f", "file:two.json"]);
    let line = flagd.log.wait_for("flag sources not taken");
    assert!(line.contains("the number of segments in an environment is limited to 10000"), "{line}");
    let mut admin = flagd.client("admin");
    assert_eq!((admin.get("/readyz").status, flagd.ask("big").status), (412, 404));
    write(home.path(), "two.json", &document(&[]));
    flagd.log.wait_for("every flag source was read");
    assert_eq!((admin.get("/readyz").status, flagd.value("big")), (200, json!(3)));
}

#[test]
fn an_admin_token_of_the_environment_opens_the_admin_plane_and_no_file_is_written() {
    let home = home();
    let token = format!("rampart_{}_{}", "0123456789abcdef", "ab".repeat(32));
    let variables = [("RAMPART_ADMIN_TOKEN", token.as_str())];
    let flagd = Flagd::start_with(home.path(), &variables, &[&FREE[..], &["-f", "file:a.json"]].concat());
    let mut admin = Client::new(&flagd.place("admin"), Some(token.clone()));
    assert_eq!(admin.post("/v1/environments/production/flags/x/kill", &json!({})).status, 200);
    assert!(!home.path().join("rampart-data").exists());
    let refused = cli(&[("RAMPART_ADMIN_TOKEN", "hunter2")], &["start", "-f", "file:a.json"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!stderr(&refused).contains("hunter2"), "{}", stderr(&refused));
}

/// What the command line says in the folder of the server.
fn typed(home: &Path, variables: &[(&str, &str)], command: &str) -> std::process::Output {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("rampart"));
    let mut command = Command::new(RAMPART);
    command.args(words).current_dir(home).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().expect("it runs")
}

#[test]
fn health_finds_a_server_whose_admin_port_no_variable_names() {
    let home = home();
    let wrong = [("FLAGD_MANAGEMENT_PORT", "1"), ("RAMPART_ADMIN_LISTEN", "127.0.0.1:1")];
    let healthy = |variables: &[(&str, &str)], command: &str| typed(home.path(), variables, command).status.code();
    let mut one = Flagd::start(home.path(), &["-f", "file:a.json"]);
    assert_eq!((healthy(&[], "rampart health"), healthy(&wrong, "rampart health")), (Some(0), Some(0)));
    assert_eq!(healthy(&[], "rampart health --server http://127.0.0.1:1"), Some(3), "what is named is asked");
    assert_eq!(healthy(&[("RAMPART_SERVER", "http://127.0.0.1:1")], "rampart health"), Some(3));
    // Of two in one folder the last one is found, and its end leaves no address behind.
    let mut two = Flagd::start(home.path(), &["-f", "file:a.json"]);
    one.terminate();
    assert_eq!(healthy(&wrong, "rampart health"), Some(0));
    two.terminate();
    assert_eq!(healthy(&wrong, "rampart health"), Some(3));
    assert!(!home.path().join("rampart-data/admin.address").exists());
    // With a data folder elsewhere, and after a crash that left an address where nobody listens.
    let folder = home.path().join("elsewhere");
    let named = [wrong[0], ("RAMPART_DATA_DIR", "elsewhere")];
    let three = Flagd::start(home.path(), &["--data-dir", "elsewhere", "-f", "file:a.json"]);
    assert_eq!(healthy(&named, "rampart health"), Some(0));
    assert_eq!(healthy(&wrong, "rampart health --data-dir elsewhere"), Some(0));
    std::fs::write(folder.join("admin.address"), "127.0.0.1:1\n").expect("a file");
    let place = three.place("admin");
    let right = [("RAMPART_ADMIN_LISTEN", place.as_str()), named[1]];
    assert_eq!((healthy(&named, "rampart health"), healthy(&right, "rampart health")), (Some(3), Some(0)));
}

#[test]
fn servers_in_memory_leave_each_other_and_a_server_that_keeps_its_changes_their_tokens() {
    let home = home();
    let mut kept = Flagd::start(home.path(), &["--data-dir", "rampart-data", "-f", "file:a.json"]);
    let mut one = Flagd::start(home.path(), &["-f", "file:a.json"]);
    let mut two = Flagd::start(home.path(), &["-f", "file:a.json"]);
    let mut files = Vec::new();
    for server in [&kept, &one, &two] {
        let (file, command) = server.token_line();
        let token = std::fs::read_to_string(&file).expect("the start wrote it").trim().to_owned();
        let mut admin = Client::new(&server.place("admin"), Some(token));
        assert_eq!(admin.get("/v1/environments/production/flags/x").status, 200, "{}", file.display());
        let listed = typed(home.path(), &[], &command);
        assert!(stdout(&listed).contains("only-a"), "{command}: {}", stderr(&listed));
        files.push(file);
    }
    assert!(files[0].ends_with("rampart-data/admin.token"), "{}", files[0].display());
    assert!(files[0] != files[1] && files[0] != files[2] && files[1] != files[2], "{files:?}");
    [&mut kept, &mut one, &mut two].into_iter().for_each(Flagd::terminate);
    // A token that counts no more is gone; the one that the journal knows is there still.
    assert_eq!(files.iter().map(|file| file.exists()).collect::<Vec<_>>(), [true, false, false]);
    // What a crash leaves behind is taken over.
    let crashed = Flagd::start(home.path(), &["-f", "file:a.json"]);
    let left = crashed.token_line().0;
    drop(crashed);
    assert!(left.exists());
    let next = Flagd::start(home.path(), &["-f", "file:a.json"]);
    assert_eq!(next.admin().get("/v1/environments/production/flags/x").status, 200);
    assert_eq!(
        std::fs::read_dir(home.path().join("rampart-data"))
            .expect("a folder")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("memory-"))
            .count(),
        2,
        "no folder is added"
    );
}

#[test]
fn fixed_attributes_and_attributes_from_headers_are_evaluated() {
    let home = home();
    let rule = |attribute: &str, value: &str, variant: &str| json!({"when": {attribute: value}, "serve": variant});
    let flag = json!({"variants": {"one": 1, "two": 2, "three": 3}, "defaultVariant": "one",
        "rules": [rule("tier", "gold", "three"), rule("region", "eu", "two")]});
    write(home.path(), "r.json", &document(&[("r", flag)]));
    let flagd = Flagd::start(home.path(), &["-f", "file:r.json", "-X", "region=eu", "-H", "X-Tier=tier"]);
    assert_eq!(flagd.value("r"), json!(2), "{}", flagd.ask("r").text());
    assert_eq!(flagd.ask_with("r", &[("x-tier", "gold")]).json()["value"], json!(3));
}

/// One question over a stream of any kind, to its orderly end.
fn answers_over(stream: &mut (impl Read + Write)) {
    let body = "{\"context\":{\"targetingKey\":\"u\"}}";
    write!(
        stream,
        "POST /ofrep/v1/evaluate/flags/x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends as it should");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"value\":1"), "{answer}");
}

#[test]
fn tls_speaks_http_1_and_2_and_answers_over_it() {
    let home = home();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    write(home.path(), "cert.pem", &made.cert.pem());
    write(home.path(), "key.pem", &made.signing_key.serialize_pem());
    let flagd = Flagd::start(home.path(), &["-f", "file:a.json", "-c", "cert.pem", "-k", "key.pem"]);
    assert!(flagd.line.contains("data https://") && flagd.line.contains("admin http://"), "{}", flagd.line);
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    for port in ["data", "sync"] {
        for protocol in ["h2", "http/1.1"] {
            let mut config = ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            let name = ServerName::try_from("localhost").expect("a name");
            let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
            let socket = TcpStream::connect(flagd.place(port)).expect("it listens");
            socket.set_read_timeout(Some(GUARD)).expect("a timeout");
            let mut stream = StreamOwned::new(connection, socket);
            if protocol == "http/1.1" {
                answers_over(&mut stream);
            } else {
                stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("it is sent");
                let mut settings = [0; 9];
                stream.read_exact(&mut settings).expect("a frame");
                assert_eq!(settings[3], 4, "the server answers with its SETTINGS");
            }
            assert_eq!(stream.conn.alpn_protocol(), Some(protocol.as_bytes()), "{port}");
        }
        let plain = Client::new(&flagd.place(port), None).try_send("GET", "/", &[], b"");
        assert!(plain.is_err(), "nothing is answered without TLS");
    }
    // As in flagd: its clients ask the port for OFREP without TLS, whatever the others speak. Definitions and streams
    // are not to be had there.
    assert_eq!(flagd.value("x"), json!(1));
    let mut plain = flagd.client("ofrep");
    assert_eq!(plain.get("/v1/flags").status, 404);
    assert_eq!(plain.post("/flagd.sync.v1.FlagSyncService/FetchAllFlags", &json!({})).status, 404);
    assert_eq!(plain.post("/flagd.evaluation.v1.Service/ResolveAll", &json!({})).status, 404);
    assert_eq!(flagd.client("admin").get("/healthz").status, 200);
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let home = home();
    let pair = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let (one, other) = (pair(), pair());
    write(home.path(), "cert.pem", &one.cert.pem());
    write(home.path(), "key.pem", &one.signing_key.serialize_pem());
    write(home.path(), "other.pem", &other.signing_key.serialize_pem());
    for (cert, key, expected) in [
        ("none.pem", "key.pem", "none.pem cannot be used: No such file"),
        (
            "key.pem",
            "key.pem",
            "key.pem cannot be used: there is none in it; name a PEM file with the server's certificate",
        ),
        (
            "cert.pem",
            "cert.pem",
            "cert.pem cannot be used: there is none in it; name a PEM file with the certificate's private key",
        ),
        ("cert.pem", "other.pem", "the certificate cert.pem and the key other.pem cannot be used together"),
    ] {
        let arguments = [&FREE[..], &["-f", "file:a.json", "-c", cert, "-k", key]].concat();
        let output = command(home.path(), &[], &arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(expected), "{expected}: {}", stderr(&output));
    }
}

#[test]
fn unix_sockets_take_the_place_of_ports() {
    let home = home();
    let flagd = Flagd::start(home.path(), &["-f", "file:a.json", "-d", "e.sock", "-e", "s.sock"]);
    for port in ["data", "sync"] {
        let mut stream = UnixStream::connect(home.path().join(flagd.place(port))).expect("it listens");
        stream.set_read_timeout(Some(GUARD)).expect("a timeout");
        answers_over(&mut stream);
    }
    assert_eq!(flagd.value("x"), json!(1), "OFREP has its port still");
}

#[test]
fn what_cannot_be_done_is_refused_at_once_with_exit_code_2() {
    let home = home();
    write(home.path(), "c.yaml", "prot: 8013\n");
    let arguments =
        ["--uri", "https://flags.example/f.json", "-t", "otel", "--config", "c.yaml", "--stream-deadline", "5"];
    let output = command(home.path(), &[("FLAGD_PORT", "many")], &arguments).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for expected in [
        "source of the kind `http`, which Rampart does not have",
        "--metrics-exporter: `metrics-exporter` is an option of flagd that Rampart does not have",
        "c.yaml:1: flagd has no option `prot`; did you mean `port`?",
        "--stream-deadline: \"5\" is not a time",
        "FLAGD_PORT: \"many\" is not a port",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let unknown = cli(&[], &["start", "--urii", "file:a.json"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("'--uri'"), "{}", stderr(&unknown));
    let nothing = cli(&[], &["start"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(stderr(&nothing).contains("there is no source of flags"), "{}", stderr(&nothing));
}

#[test]
fn the_settings_that_come_of_it_can_be_printed() {
    let printed = cli(&[("FLAGD_SYNC_PORT", "9")], &["start", "-f", "file:a.json", "-p", "7", "--print-config"]);
    assert!(printed.status.success(), "{}", stderr(&printed));
    let text = stdout(&printed);
    assert!(text.contains("listen = \"0.0.0.0:7\"  # --port"), "{text}");
    assert!(text.contains("sync_listen = \"0.0.0.0:9\"  # FLAGD_SYNC_PORT"), "{text}");
}

#[test]
fn serve_has_tls_and_the_extra_ports_as_well() {
    let home = home();
    let data = home.path().join("data");
    let more = ["--ofrep-listen", "127.0.0.1:0", "--flags", home.path().join("a.json").to_str().expect("UTF-8")]
        .map(str::to_owned);
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let mut server = crate::harness::serve(&data, &more).spawn().expect("it starts");
    let out = Lines::of(server.stdout.take().expect("a pipe"));
    let line = out.wait_for("rampart is serving: ");
    let ofrep = line.split_once("ofrep http://").expect("the third port").1.trim().to_owned();
    assert_eq!(evaluate(&mut Client::new(&ofrep, None), "x", &[]).json()["value"], json!(1));
    server.kill().expect("it can be killed");
    server.wait().expect("it ends");
    // The harness finds its two planes in the line whatever else is in it.
    let plain = Server::start(&data, &[]);
    assert_eq!(plain.admin().get("/readyz").status, 200);
}
