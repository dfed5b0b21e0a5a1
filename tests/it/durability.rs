//! `kill -9` again and again: whatever the server acknowledged is there after the next start, with its effect.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Server, cli, http::Client, stderr};

/// How often the server is killed.
const ROUNDS: u64 = 200;

/// A small generator whose seed is printed, so that a failing run can be repeated with RAMPART_TEST_SEED.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// What was acknowledged of one flag.
#[derive(Default)]
struct Known {
    description: String,
    killed: bool,
}

const ENVIRONMENT: &str = "/v1/environments/production";

fn put(client: &mut Client, key: &str, description: &str) -> Option<u64> {
    let body = json!({"description": description, "variants": {"on": true, "off": false}, "defaultVariant": "off",
        "serve": "on"});
    let path = format!("{ENVIRONMENT}/flags/{key}");
    let sent = client.try_send("PUT", &path, &[("content-type", "application/json")], body.to_string().as_bytes());
    sent.ok().filter(|answer| answer.status == 200).and_then(|answer| answer.json()["revision"].as_u64())
}

fn flip(client: &mut Client, key: &str, verb: &str) -> Value {
    let answer = client.post(&format!("{ENVIRONMENT}/flags/{key}/{verb}"), &json!({"reason": "durability"}));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn check(client: &mut Client, known: &BTreeMap<String, Known>) {
    for (key, known) in known {
        let flag = client.get(&format!("{ENVIRONMENT}/flags/{key}")).json();
        assert_eq!(flag["definition"]["description"], known.description, "{key} lost an acknowledged definition");
        assert_eq!(!flag["killed"].is_null(), known.killed, "{key} lost an acknowledged kill or restore");
    }
}

/// Writes to one flag until the server is gone; the number of the last acknowledged write.
fn keep_writing(address: &str, token: &str, from: u64) -> (u64, u64) {
    let mut client = Client::new(address, Some(token.to_owned()));
    let (mut acknowledged, mut sent) = (from, from);
    loop {
        sent += 1;
        match put(&mut client, "under_way", &sent.to_string()) {
            Some(_) => acknowledged = sent,
            None => return (acknowledged, sent),
        }
    }
}

#[test]
fn two_hundred_kills_lose_nothing_that_was_acknowledged() {
    let seed = std::env::var("RAMPART_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_123);
    println!("RAMPART_TEST_SEED={seed}");
    let mut dice = Dice(seed);
    let dir = tempfile::tempdir().expect("a folder");
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    let (mut newest, mut under_way) = (0, (0, 0));
    for round in 0..ROUNDS {
        let mut server = Server::start(dir.path(), &[]);
        let mut client = server.admin();
        check(&mut client, &known);
        let flag = client.get(&format!("{ENVIRONMENT}/flags/under_way")).json();
        let there = flag["definition"]["description"].as_str().map_or(0, |text| text.parse().expect("a number"));
        assert!((under_way.0..=under_way.1).contains(&there), "round {round}: {there} is not within {under_way:?}");
        let background = (dice.roll(2) == 0).then(|| {
            let (address, token) = (server.admin.clone(), server.token());
            std::thread::spawn(move || keep_writing(&address, &token, there))
        });
        for write in 0..=dice.roll(4) {
            let key = format!("flag-{}", dice.roll(5));
            let entry = known.get(&key);
            let revision = match (entry, dice.roll(3)) {
                (Some(flag), 0) => {
                    let verb = if flag.killed { "restore" } else { "kill" };
                    let revision = flip(&mut client, &key, verb)["revision"].as_u64().expect("journaled");
                    known.entry(key).and_modify(|flag| flag.killed = !flag.killed);
                    revision
                }
                _ => {
                    let description = format!("round {round} write {write}");
                    let revision = put(&mut client, &key, &description).expect("acknowledged");
                    known.entry(key).or_default().description = description;
                    revision
                }
            };
            assert!(revision > newest, "round {round}: revision {revision} was given out before");
            newest = revision;
        }
        server.kill_9();
        under_way = background.map_or((there, there), |thread| thread.join().expect("it ends with the server"));
    }
    let server = Server::start(dir.path(), &[]);
    check(&mut server.admin(), &known);
    let dir = dir.path().to_str().expect("UTF-8");
    let verified = cli(&[], &["audit", "verify", "--data-dir", dir]);
    assert!(verified.status.success(), "{}", stderr(&verified));
}
