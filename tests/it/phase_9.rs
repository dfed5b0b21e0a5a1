//! The canary plan by hand: 10,000 users over real HTTP, up through the stages and back, a kill, a restart.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::{Lines, RAMPART, Server, http::Client, repository, stdout};

const USERS: usize = 10_000;

/// The users that the flag is on for.
fn cohort(client: &mut Client) -> BTreeSet<usize> {
    let on = |user: &usize| {
        let body = json!({"context": {"targetingKey": format!("user-{user}"), "plan": "pro"}});
        let answer = client.post("/ofrep/v1/evaluate/flags/sliceB_documents", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["value"].as_bool().expect("a boolean flag")
    };
    (0..USERS).filter(on).collect()
}

/// `rampart watch` as a process of its own, and the lines it prints.
fn watch(server: &Server) -> (Child, Lines) {
    let mut process = Command::new(RAMPART)
        .args(["watch", "--name", "test", "--output", "json", "--server", &format!("http://{}", server.data)])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let lines = Lines::of(process.stdout.take().expect("a pipe"));
    (process, lines)
}

fn set(server: &Server, percent: &str) {
    let done =
        server.cli(&["flag", "set", "sliceB_documents", "--serve", &format!("on={percent}"), "--reason", "stage"]);
    assert!(done.status.success(), "{}{}", stdout(&done), crate::harness::stderr(&done));
}

#[test]
fn ten_thousand_users_go_up_through_the_stages_and_back_and_a_kill_outlives_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let flags = repository("examples/phase-9.flags.yaml");
    let options = ["--flags", flags.to_str().expect("a path in UTF-8")];
    let mut server = Server::start(dir.path(), &options);
    let mut client = server.data();
    set(&server, "0");
    assert_eq!(cohort(&mut client).len(), 0);

    let mut last = BTreeSet::new();
    // Four standard deviations of a binomial count around the share.
    for (percent, expected, within) in [("5", 500, 88), ("25", 2_500, 174), ("50", 5_000, 200), ("100", 10_000, 0)] {
        set(&server, percent);
        let now = cohort(&mut client);
        assert!(now.len().abs_diff(expected) <= within, "{percent} %: {} users", now.len());
        assert!(last.is_subset(&now), "{percent} % lost users of the stage before");
        last = now;
        if percent == "50" {
            let (mut watcher, told) = watch(&server);
            told.wait_for("\"full\":\"initial\"");
            let killed = server.cli(&["flag", "kill", "sliceB_documents", "--reason", "drill"]);
            assert!(killed.status.success());
            let line = told.wait_for("\"inForce\":1");
            assert!(line.contains("sliceB_documents"), "the subscriber was told which flag: {line}");
            watcher.kill().expect("it can be killed");
            watcher.wait().expect("it ends");
            assert_eq!(cohort(&mut client).len(), 0, "after a kill nobody is on at the next request");

            server.terminate();
            server = Server::start(dir.path(), &options);
            client = server.data();
            assert_eq!(cohort(&mut client).len(), 0, "the restart imported the same file and did not undo the kill");

            let restored = server.cli(&["flag", "restore", "sliceB_documents"]);
            assert!(restored.status.success());
            assert_eq!(cohort(&mut client), last, "a restore brings back exactly the earlier answers");
        }
    }
    set(&server, "0");
    assert_eq!(cohort(&mut client).len(), 0);
}
