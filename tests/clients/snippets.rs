//! The snippets of `examples/clients`, as they are, against the real binary; and that the texts quote them.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Lines, Server, repository};
use crate::script::{Language, folder, interpreter};

const FLAG: &str = "/v1/environments/production/flags/sliceB_documents";
const SNIPPETS: [&str; 3] = ["python.py", "server.mjs", "web.mjs"];

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A server with the flags that the README starts one with, and the flag on for everybody.
fn server() -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a folder");
    let flags = repository("examples/phase-9.flags.yaml");
    let server = Server::start(dir.path(), &["--flags", flags.to_str().expect("UTF-8")]);
    let everybody = json!({"variants": {"on": true, "off": false}, "defaultVariant": "off", "serve": {"on": 100}});
    assert_eq!(server.admin().put(FLAG, &everybody).status, 200);
    (dir, server)
}

/// Puts a snippet into a folder of its own, where Node.js finds the installed packages; 8013 is the server's port.
fn place(work: &Path, name: &str, server: &Server) -> std::path::PathBuf {
    let text = read(&format!("examples/clients/{name}")).replace("localhost:8013", &server.data);
    symlink(folder().join("node_modules"), work.join("node_modules")).expect("a link");
    let path = work.join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

fn spawn(mut command: Command, server: &Server) -> (Running, Lines) {
    let (host, port) = server.data.rsplit_once(':').expect("an address");
    command.env("FLAGD_HOST", host).env("FLAGD_PORT", port).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("it starts");
    let lines = Lines::of(process.stdout.take().expect("a pipe"));
    (Running(process), lines)
}

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_python_snippet_prints_what_the_user_gets() {
    let (work, server) = server();
    let mut command = interpreter(Language::Python);
    command.arg(place(work.path(), "python.py", &server));
    let (mut running, lines) = spawn(command, &server);
    lines.wait_for("sliceB_documents: True");
    assert!(running.0.wait().expect("it ends").success());
}

#[test]
fn the_server_snippet_prints_what_the_user_gets() {
    let (work, server) = server();
    let mut command = interpreter(Language::Node);
    command.arg(place(work.path(), "server.mjs", &server));
    let (mut running, lines) = spawn(command, &server);
    lines.wait_for("sliceB_documents: true");
    assert!(running.0.wait().expect("it ends").success());
}

#[test]
fn the_browser_snippet_prints_what_the_user_gets_and_prints_again_after_a_kill() {
    let (work, server) = server();
    let snippet = place(work.path(), "web.mjs", &server);
    // What a browser has and Node.js has not.
    let events = work.path().join("browser.mjs");
    std::fs::write(&events, "import { EventSource } from 'eventsource'; globalThis.EventSource = EventSource;\n")
        .expect("a file");
    let mut command = interpreter(Language::Node);
    command.arg("--import").arg(events).arg(snippet);
    let (_running, lines) = spawn(command, &server);
    lines.wait_for("sliceB_documents: true");
    assert_eq!(server.admin().post(&format!("{FLAG}/kill"), &json!({"reason": "drill"})).status, 200);
    lines.wait_for("sliceB_documents: false");
}

#[test]
fn the_readme_quotes_the_snippets_word_for_word() {
    let readme = read("README.md");
    let (_, section) = readme.split_once("## Use it from your language").expect("the README has that section");
    for name in SNIPPETS {
        let snippet = read(&format!("examples/clients/{name}"));
        assert!(section.contains(&format!("\n{snippet}```\n")), "{name} is not quoted as it is");
    }
}
