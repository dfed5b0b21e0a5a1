//! A watched flag file: what is taken, what is kept, what is never undone.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::Server;

const FLAGS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn flag(serve: u32) -> Value {
    json!({"variants": {"on": true, "off": false}, "defaultVariant": "off", "serve": {"on": serve}})
}

fn document(flags: &[(&str, Value)]) -> String {
    let flags: serde_json::Map<String, Value> =
        flags.iter().map(|(key, flag)| ((*key).to_owned(), flag.clone())).collect();
    json!({"flags": flags}).to_string()
}

fn all(serve: u32) -> Vec<(&'static str, Value)> {
    FLAGS.iter().map(|key| (*key, flag(serve))).collect()
}

struct Watched {
    server: Server,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

impl Watched {
    fn start(text: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("flags.json");
        std::fs::write(&file, text).expect("a file");
        let server = Self::serve(&dir.path().join("data"), &file);
        Self { server, file, _dir: dir }
    }

    fn serve(dir: &Path, file: &Path) -> Server {
        Server::start(dir, &["--flags", file.to_str().expect("UTF-8"), "--flags-poll", "100ms"])
    }

    fn write(&self, text: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, &self.file).expect("it is replaced");
    }

    fn share(&self, key: &str) -> Value {
        let answer = self.server.admin().get(&format!("/v1/environments/production/flags/{key}"));
        answer.json()["definition"]["serve"]["on"].clone()
    }

    fn revision(&self) -> Value {
        self.server.admin().get("/v1/environments/production").json()["revision"].clone()
    }
}

#[test]
fn a_change_is_taken_and_a_bad_flag_keeps_its_last_good_definition() {
    let watched = Watched::start(&document(&all(5)));
    let mut flags = all(10);
    flags[1].1["serve"] = json!({"on": 101});
    flags[2].1["requires"] = json!([{"flag": "ghost", "variant": "on"}]);
    watched.write(&document(&flags));
    watched.server.log.wait_for("flag file taken");
    watched.server.log.wait_for("flag file taken");
    for (key, share) in [("a", 10), ("b", 5), ("c", 5), ("d", 10)] {
        assert_eq!(watched.share(key), json!(share), "{key}");
    }
    let before = watched.revision();
    watched.write(&document(&all(20))[..60]);
    watched.server.log.wait_for("flag file not taken");
    assert_eq!(watched.revision(), before, "a document that cannot be read changes nothing");
}

#[test]
fn what_the_api_changed_stays_until_the_file_changes_that_flag() {
    let watched = Watched::start(&document(&all(5)));
    let mut admin = watched.server.admin();
    assert_eq!(admin.put("/v1/environments/production/flags/a", &flag(50)).status, 200);
    assert_eq!(admin.put("/v1/environments/production/flags/mine", &flag(7)).status, 200);
    assert_eq!(admin.post("/v1/environments/production/flags/b/kill", &json!({})).status, 200);
    let mut flags = all(5);
    flags[4].1 = flag(6);
    watched.server.log.wait_for("flag file taken");
    watched.write(&document(&flags));
    watched.server.log.wait_for("flag file taken");
    assert_eq!((watched.share("a"), watched.share("e"), watched.share("mine")), (json!(50), json!(6), json!(7)));
    flags[0].1 = flag(8);
    flags[1].1 = flag(9);
    watched.write(&document(&flags));
    watched.server.log.wait_for("flag file taken");
    assert_eq!((watched.share("a"), watched.share("b"), watched.share("mine")), (json!(8), json!(9), json!(7)));
    let killed = admin.get("/v1/environments/production/flags/b").json()["killed"].clone();
    assert!(!killed.is_null(), "a file never undoes a kill");
}

#[test]
fn a_file_deletes_only_what_came_from_it_and_never_much_at_once() {
    let watched = Watched::start(&document(&all(5)));
    assert_eq!(watched.server.admin().put("/v1/environments/production/flags/mine", &flag(7)).status, 200);
    watched.write(&document(&all(5)[..3]));
    let line = watched.server.log.wait_for("flag file not taken");
    assert!(line.contains("2 of the 5") && line.contains("--allow-deletes"), "{line}");
    assert_eq!(watched.share("e"), json!(5));
    watched.write(&document(&all(5)[..4]));
    watched.server.log.wait_for("flag file taken");
    assert_eq!((watched.share("e"), watched.share("mine")), (Value::Null, json!(7)));
}

#[test]
fn a_restart_with_the_same_file_imports_nothing() {
    let mut watched = Watched::start(&document(&all(5)));
    let before = watched.revision();
    assert!(watched.server.terminate().success());
    watched.server = Watched::serve(&watched.file.with_file_name("data"), &watched.file);
    assert_eq!(watched.revision(), before);
}
