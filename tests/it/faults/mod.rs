//! Real process faults: real servers, real subscribers, real sockets, and something that goes wrong with one of them.
//!
//! What a user relies on is that a kill names exactly those who do not have it, and that one bad client, a storm of
//! good ones or a dying server takes nothing from the others. The state machine behind it is tested without sockets in
//! `src/sync`; here stands what only processes, kernels and cables can do.

mod churn;
mod crowd;
mod events;
mod frozen;
mod half_open;
mod observed;
mod revoked;
mod slow;
mod storm;
mod thousands;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{GUARD, Lines, RAMPART, Server, http::Client};

/// The flag that is killed.
const FLAG: &str = "/v1/environments/production/flags/slice";
/// Between two looks at something that is awaited.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A definition with two variants.
fn definition() -> Value {
    json!({"variants": {"on": true, "off": false}, "defaultVariant": "off", "safeVariant": "off", "serve": "on"})
}

/// A server with one flag.
fn server(dir: &Path, options: &[&str]) -> Server {
    let server = Server::start(dir, options);
    assert_eq!(server.admin().put(FLAG, &definition()).status, 200);
    server
}

/// Looks until there is something to see; the guard says what was not.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < GUARD, "within the guard: {what}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// What the admin API says of subscribers.
fn subscribers(admin: &mut Client) -> Value {
    admin.get("/v1/environments/production/subscribers?limit=1000").json()
}

/// Waits until so many are connected.
fn connected(admin: &mut Client, count: u64) {
    until(&format!("{count} are connected"), || (subscribers(admin)["connected"] == count).then_some(()));
}

/// Waits until so many are connected and have confirmed everything there is.
fn settled(admin: &mut Client, count: u64) {
    let revision = admin.get("/v1/audit?limit=1").json()["records"][0]["revision"].as_u64().expect("a revision");
    until(&format!("{count} have revision {revision}"), || {
        let receipts = receipts(admin, "revision", revision);
        let having = receipts["confirmed"].as_u64()? + receipts["lateJoined"].as_u64()?;
        (having >= count).then_some(())
    });
}

/// Receipts as they are now.
fn receipts(admin: &mut Client, lane: &str, position: u64) -> Value {
    admin.get(&format!("/v1/environments/production/receipts?{lane}={position}")).json()
}

/// Kills the flag and waits for all; what came of it.
fn kill(admin: &mut Client, wait: &str) -> Value {
    let answer = admin.post(&format!("{FLAG}/kill?wait={wait}"), &json!({"reason": "drill"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Puts the flag back.
fn restore(admin: &mut Client) {
    let answer = admin.post(&format!("{FLAG}/restore"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What a metric is now; 0 where it is not there.
fn metric(admin: &mut Client, name: &str) -> f64 {
    let text = admin.get("/metrics").text();
    let values = text.lines().filter(|line| !line.starts_with('#') && line.starts_with(name));
    values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Kilobytes of a process in memory.
fn resident(process: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches("kB").trim().parse().expect("a number")
}

/// `rampart watch` as a process of its own; killed when dropped.
struct Watcher {
    process: Child,
    lines: Lines,
}

impl Watcher {
    /// Starts one under a name.
    fn start(server: &Server, name: &str) -> Self {
        Self::run(Command::new(RAMPART), &format!("http://{}", server.data), name)
    }

    /// Starts one by a command that runs the binary.
    fn run(mut command: Command, url: &str, name: &str) -> Self {
        command.args(["watch", "--name", name, "--output", "json", "--server", url]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("the binary starts");
        let lines = Lines::of(process.stdout.take().expect("a pipe"));
        Self { process, lines }
    }

    /// Sends a signal: `STOP`, `CONT`.
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
