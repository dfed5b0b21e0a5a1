//! A cable that is pulled: the client lives in a network namespace of its own, and no packet says that it is gone.

use std::process::Command;

use serde_json::json;

use super::{FLAG, Watcher, connected, definition, kill, receipts, settled, until};
use crate::harness::{RAMPART, Server, serve_at};

/// A cable between this machine and a namespace; removed when dropped.
struct Cable {
    namespace: String,
    near: String,
    far: String,
    /// This machine's end.
    address: String,
}

impl Cable {
    /// None, and a word about it, where this machine does not let us.
    fn lay() -> Option<Self> {
        let number = std::process::id();
        // A network that is kept for tests (RFC 2544); four addresses for every cable.
        let (third, fourth) = ((number >> 6) & 0xff, (number & 0x3f) * 4);
        let cable = Self {
            namespace: format!("rampart-{number}"),
            near: format!("rn{number}"),
            far: format!("rf{number}"),
            address: format!("198.18.{third}.{}", fourth + 1),
        };
        let (near, far, namespace) = (&cable.near, &cable.far, &cable.namespace);
        let steps = [
            format!("netns add {namespace}"),
            format!("link add {near} type veth peer name {far} netns {namespace}"),
            format!("addr add {}/30 dev {near}", cable.address),
            format!("link set {near} up"),
            format!("-n {namespace} addr add 198.18.{third}.{}/30 dev {far}", fourth + 2),
            format!("-n {namespace} link set {far} up"),
        ];
        for step in &steps {
            if let Err(why) = ip(step) {
                eprintln!("SKIPPED: this machine does not let us lay a cable, half-open peers are not tested: {why}");
                return None;
            }
        }
        Some(cable)
    }

    /// Pulls the plug at the client's end: nothing is said to anybody.
    fn pull(&self) {
        ip(&format!("-n {} link set {} down", self.namespace, self.far)).expect("it can be pulled");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        drop(ip(&format!("link del {}", self.near)));
        drop(ip(&format!("netns del {}", self.namespace)));
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let done = Command::new("ip").args(arguments.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
    if done.status.success() {
        return Ok(());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&done.stderr).trim()))
}

#[test]
fn a_client_whose_cable_is_pulled_is_found_out_and_counted_as_missing() {
    let Some(cable) = Cable::lay() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let options = ["--streams-keepalive-interval", "1s", "--streams-keepalive-timeout", "1s"];
    let data = format!("{}:0", cable.address);
    let server = Server::run(dir.path(), serve_at(dir.path(), [&data, "127.0.0.1:0"], &options));
    let mut admin = server.admin();
    assert_eq!(admin.put(FLAG, &definition()).status, 200);
    let url = format!("http://{}", server.data);
    let _near = Watcher::run(Command::new(RAMPART), &url, "near");
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", &cable.namespace, RAMPART]);
    let far = Watcher::run(inside, &url, "far");
    settled(&mut admin, 2);

    cable.pull();
    let killed = kill(&mut admin, "0.5&timeout=30s");
    assert_eq!(killed["receipts"]["confirmed"], json!(1), "the one with a cable: {killed}");
    connected(&mut admin, 1);
    let generation = killed["generation"].as_u64().expect("a generation");
    let missing = until("the other counts as lost", || {
        let receipts = receipts(&mut admin, "generation", generation);
        (receipts["disconnected"] == 1).then_some(receipts)
    });
    assert_eq!((&missing["reached"], &missing["missing"][0]["name"]), (&json!(false), &json!("far")), "{missing}");
    assert_eq!(missing["missing"][0]["connected"], json!(false), "{missing}");
    drop(far);
}
