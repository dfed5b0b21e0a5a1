//! The Python and Node scripts that hold a published client: started, fed lines of JSON, read line by line.

use std::collections::VecDeque;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{GUARD, repository};

/// Which interpreter runs a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// The virtual environment of this folder.
    Python,
    /// The machine's Node.js with the packages of this folder.
    Node,
}

/// Where this folder is.
pub fn folder() -> PathBuf {
    repository("tests/clients")
}

/// The command that runs a script of either language, with what `make clients` installed.
pub fn interpreter(language: Language) -> Command {
    assert!(
        folder().join(".installed").exists(),
        "the published clients are not installed: run `make clients` (it asks PyPI and npm), or `make test-offline` \
         for everything that needs no client"
    );
    match language {
        Language::Python => Command::new(folder().join(".venv/bin/python")),
        Language::Node => Command::new("node"),
    }
}

/// A running script; ended when dropped.
#[derive(Debug)]
pub struct Script {
    process: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Lines that were read while another was waited for.
    held: VecDeque<Value>,
    /// What the script is, for the words of a failure.
    name: String,
}

impl Script {
    /// Starts a script of this folder.
    pub fn start(language: Language, file: &str, arguments: &[&str]) -> Self {
        let mut command = interpreter(language);
        command.arg(folder().join(file)).args(arguments).current_dir(folder());
        // Its complaints stand beside the test's own, which the test runner shows when a test fails.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().expect("the interpreter starts");
        let out = process.stdout.take().expect("a pipe");
        let (send, lines) = sync_channel(100_000);
        thread::spawn(move || {
            use std::io::{BufRead, BufReader};
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let input = process.stdin.take();
        Self { process, input, lines, held: VecDeque::new(), name: format!("{file} {}", arguments.join(" ")) }
    }

    /// Sends one line.
    pub fn send(&mut self, line: &Value) {
        let input = self.input.as_mut().expect("open until the end");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{} takes no more input: {error}", self.name));
    }

    /// Sends one line and waits for the answer under a name. Lines of other names are held for [`Script::wait_for`].
    pub fn ask(&mut self, line: &Value, answer: &str) -> Value {
        self.ask_within(line, answer, GUARD + GUARD)
    }

    /// The same with a guard of its own, for what takes its time.
    pub fn ask_within(&mut self, line: &Value, answer: &str, guard: Duration) -> Value {
        self.send(line);
        loop {
            let mut line = self.next(guard, &format!("an answer to {line}"));
            if let Some(answer) = line.get_mut(answer) {
                return answer.take();
            }
            self.held.push_back(line);
        }
    }

    /// Waits for a line that says what is wanted; all lines before it are dropped.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        while let Some(line) = self.held.pop_front() {
            if wanted(&line) {
                return line;
            }
        }
        loop {
            let line = self.next(GUARD, what);
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Forgets what was said so far and not waited for.
    pub fn forget(&mut self) {
        self.held.clear();
        while self.lines.try_recv().is_ok() {}
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Waits for the end, after a line that says it comes.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.process.wait().expect("it ends")
    }

    fn next(&mut self, guard: Duration, what: &str) -> Value {
        match self.lines.recv_timeout(guard) {
            Ok(line) => {
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("{} printed what is no JSON: {line}", self.name))
            }
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} did not say {what} within the guard; it said {:?}", self.name, self.held)
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{} ended without {what}; it said {:?}", self.name, self.held)
            }
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
