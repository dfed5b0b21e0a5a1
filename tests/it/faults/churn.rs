//! A kill while the server is busy with something else: a flood of writes, a flood of evaluations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::crowd::{Crowd, members};
use super::{definition, kill, restore, server, until};
use crate::harness::http::Client;

const SUBSCRIBERS: usize = 200;
const ROUNDS: usize = 5;

/// Threads that do something again and again.
struct Load {
    done: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(clients: Vec<Client>, act: impl Fn(&mut Client, usize) + Clone + Send + 'static) -> Self {
        let mut load = Self { done: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        for mut client in clients {
            let (done, stop, act) = (Arc::clone(&load.done), Arc::clone(&load.stop), act.clone());
            load.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    act(&mut client, done.fetch_add(1, Ordering::Relaxed));
                }
            }));
        }
        load
    }

    /// Waits until so many more were done.
    fn wait_for(&self, more: usize) {
        let before = self.done.load(Ordering::Relaxed);
        until("the load goes on", || (self.done.load(Ordering::Relaxed) >= before + more).then_some(()));
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("everything it did went well"));
    }
}

/// Kills and restores under a load: every one is confirmed by everybody, and the load went on throughout.
fn confirmed_under(load: &Load, admin: &mut Client) {
    for round in 0..ROUNDS {
        load.wait_for(20);
        let receipts: Value = kill(admin, "all&timeout=30s")["receipts"].take();
        let expected = (&json!(true), &json!(SUBSCRIBERS));
        assert_eq!((&receipts["reached"], &receipts["confirmed"]), expected, "round {round}: {receipts}");
        load.wait_for(20);
        restore(admin);
    }
}

#[test]
fn a_kill_is_confirmed_by_all_while_flags_are_written_without_a_pause() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &[]);
    let crowd = Crowd::gather(&server.data, members(SUBSCRIBERS));
    let load = Load::start(vec![server.admin(), server.admin()], |admin, number| {
        let mut flag = definition();
        flag["description"] = json!(format!("{number} {}", "x".repeat(2_000)));
        let answer = admin.put(&format!("/v1/environments/production/flags/busy-{}", number % 50), &flag);
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    confirmed_under(&load, &mut server.admin());
    load.stop();
    assert!(crowd.leave().iter().all(|member| member.goodbye.is_none()), "nobody was sent away");
}

#[test]
fn a_kill_is_confirmed_by_all_during_a_flood_of_evaluations() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &[]);
    let crowd = Crowd::gather(&server.data, members(SUBSCRIBERS));
    let clients = std::iter::repeat_with(|| server.data()).take(8).collect();
    let load = Load::start(clients, |data, number| {
        let context = json!({"context": {"targetingKey": format!("user-{number}")}});
        let answer = data.post("/ofrep/v1/evaluate/flags/slice", &context);
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
    confirmed_under(&load, &mut server.admin());
    kill(&mut server.admin(), "all&timeout=30s");
    let value = server.data().post("/ofrep/v1/evaluate/flags/slice", &json!({"context": {}})).json();
    assert_eq!(value["value"], json!(false), "{value}");
    load.stop();
    assert!(crowd.leave().iter().all(|member| member.goodbye.is_none()), "nobody was sent away");
}
