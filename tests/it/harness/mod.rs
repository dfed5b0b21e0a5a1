//! Real servers and real clients for tests: the built binary on ports of its own, and a small HTTP client.
//!
//! Nothing here sleeps: a test waits for an event (a line, an answer, an exit) under a guard of 30 s.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

pub mod flagd;
pub mod http;
pub mod sse;

/// How long a test waits for something that will happen.
pub const GUARD: Duration = Duration::from_secs(30);

/// The binary under test.
pub const RAMPART: &str = env!("CARGO_BIN_EXE_rampart");

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Child,
    /// `127.0.0.1:PORT` of the data plane.
    pub data: String,
    /// `127.0.0.1:PORT` of the admin plane.
    pub admin: String,
    /// The data folder.
    pub dir: PathBuf,
    /// What it logs, line by line.
    pub log: Lines,
}

/// The lines that a process prints.
#[derive(Debug)]
pub struct Lines(Receiver<String>);

impl Lines {
    /// Follows a stream until it ends.
    pub fn of(stream: impl std::io::Read + Send + 'static) -> Self {
        let (send, lines) = sync_channel(100_000);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// Waits for a line with a text in it.
    pub fn wait_for(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.0.recv_timeout(GUARD) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("no line with {text:?} within the guard; seen: {seen:#?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without a line with {text:?}; seen: {seen:#?}"),
            }
        }
    }

    /// Every line until the stream ends.
    pub fn rest(&self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(line) = self.0.recv_timeout(GUARD) {
            lines.push(line);
        }
        lines
    }
}

/// The command that serves a folder on free ports.
pub fn serve(dir: &Path, options: &[&str]) -> Command {
    serve_at(dir, ["127.0.0.1:0"; 2], options)
}

/// The command that serves a folder on given ports: the data plane's and the admin plane's.
pub fn serve_at(dir: &Path, [data, admin]: [&str; 2], options: &[&str]) -> Command {
    let mut command = Command::new(RAMPART);
    command.args(["serve", "--listen", data, "--admin-listen", admin, "--data-dir"]);
    command.arg(dir).args(options).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts a server on a folder and waits until it serves.
    pub fn start(dir: &Path, options: &[&str]) -> Self {
        Self::run(dir, serve(dir, options))
    }

    /// Runs a command of `serve` or `serve_at` and waits until it serves.
    pub fn run(dir: &Path, mut command: Command) -> Self {
        let mut process = command.spawn().expect("the binary starts");
        let out = Lines::of(process.stdout.take().expect("a pipe"));
        let log = Lines::of(process.stderr.take().expect("a pipe"));
        let line = match out.0.recv_timeout(GUARD) {
            Ok(line) => line,
            Err(_) => panic!("the server did not come up: {:#?}", log.rest()),
        };
        let address = |plane: &str| {
            let rest = line.split_once(&format!("{plane} http://")).map(|(_, rest)| rest).expect("the serving line");
            rest.split_whitespace().next().expect("an address").to_owned()
        };
        Self { data: address("data"), admin: address("admin"), process, dir: dir.to_owned(), log }
    }

    /// The first admin token.
    pub fn token(&self) -> String {
        std::fs::read_to_string(self.dir.join("admin.token")).expect("the first start wrote it").trim().to_owned()
    }

    /// A client of the data plane.
    pub fn data(&self) -> http::Client {
        http::Client::new(&self.data, None)
    }

    /// A client of the admin plane with the admin token.
    pub fn admin(&self) -> http::Client {
        http::Client::new(&self.admin, Some(self.token()))
    }

    /// Runs a command of the binary against this server, with the admin token.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        cli(&[("RAMPART_SERVER", &format!("http://{}", self.admin)), ("RAMPART_TOKEN", &self.token())], arguments)
    }

    /// SIGKILL, and waits for the end.
    pub fn kill_9(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        self.signal("TERM");
        self.process.wait().expect("it ends")
    }

    /// Sends a signal: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Runs a command of the binary with these variables and no others.
pub fn cli(variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(RAMPART);
    command.args(arguments).env_clear().envs(variables.iter().copied()).stdin(Stdio::null());
    command.output().expect("the binary runs")
}

/// What a command printed on standard output.
pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a command printed on standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
