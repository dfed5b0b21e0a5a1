//! A full disk: writes are refused, answers go on, and turning off works, survives a restart and reaches the journal
//! as soon as there is space.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::Server;

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, and a word about it, where this machine does not let us mount.
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"]).arg(at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("SKIPPED: this machine does not let us mount a small tmpfs");
        None
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).expect("a file");
        let block = [0; 4096];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..1]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn on_a_full_disk_writes_are_refused_and_a_kill_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let dir = folder.path().join("data");
    let options = ["--kill-journal-wait", "200ms"];
    let mut server = Server::start(&dir, &options);
    let flag = "/v1/environments/production/flags/slice";
    let body = json!({"variants": {"on": true, "off": false}, "defaultVariant": "off", "serve": "on"});
    assert_eq!(server.admin().put(flag, &body).status, 200);
    disk.fill();

    let mut large = body.clone();
    large["description"] = json!("x".repeat(4000));
    // What the database has reserved takes a few more writes.
    let refused =
        (0..200).map(|number| server.admin().put(&format!("/v1/environments/production/flags/large-{number}"), &large));
    let refused = refused.into_iter().find(|answer| answer.status != 200).expect("the disk is full at last");
    assert_eq!(refused.status, 507, "{}", refused.text());
    assert!(refused.text().contains("insufficient-storage"), "{}", refused.text());

    let value = |server: &Server| {
        server.data().post("/ofrep/v1/evaluate/flags/slice", &json!({"context": {}})).json()["value"].clone()
    };
    assert_eq!(value(&server), json!(true));
    let killed = server.admin().post(&format!("{flag}/kill"), &json!({"reason": "x".repeat(4000)}));
    assert_eq!(killed.status, 202, "{}", killed.text());
    assert_eq!(killed.json()["durability"], "node");
    assert_eq!(value(&server), json!(false), "the kill is in force");
    let ready = server.admin().get("/readyz");
    assert_eq!((ready.status, &ready.json()["degraded"]), (200, &json!(["journal"])));

    server.kill_9();
    let server = Server::start(&dir, &options);
    assert_eq!(value(&server), json!(false), "the kill is in force after a restart on the full disk");
    disk.free();
    server.log.wait_for("a kill that waited is in the journal");
    let trail = server.admin().get("/v1/audit?limit=1").json();
    assert_eq!(trail["records"][0]["changes"][0]["kind"], "flag_killed");
    assert_eq!(server.admin().post(&format!("{flag}/restore"), &json!({})).status, 200);
    assert_eq!(value(&server), json!(true));
}
