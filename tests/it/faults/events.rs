//! Subscribers over plain HTTP: events, receipts by POST, coming back with `Last-Event-ID`, and the kill set for those
//! who have no stream at all.

use serde_json::{Value, json};

use super::{FLAG, connected, definition, kill, metric, receipts, restore, server, until};
use crate::harness::Server;
use crate::harness::sse::{Block, EventStream};

/// A subscriber that reads events and posts receipts.
struct Subscriber {
    stream: EventStream,
    id: String,
}

impl Subscriber {
    fn open(server: &Server, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = EventStream::open(&server.data, &format!("/v1/stream{query}"), headers).expect("a stream");
        let open = stream.event().expect("the first event");
        assert_eq!(open.event.as_deref(), Some("open"));
        let id = open.json()["stream"].as_str().expect("its name").to_owned();
        Self { stream, id }
    }

    /// The next event of a kind; those before it as well.
    fn until(&mut self, kind: &str) -> Vec<Block> {
        let mut seen = Vec::new();
        loop {
            let block = self.stream.event().unwrap_or_else(|| panic!("the stream ended before {kind}: {seen:?}"));
            seen.push(block);
            if seen.last().and_then(|block| block.event.as_deref()) == Some(kind) {
                return seen;
            }
        }
    }

    /// Waits for a lane's next state and says that it is in force.
    fn acknowledge(&mut self, server: &Server, lane: &str) -> Block {
        let (kind, position) = if lane == "kills" { ("kill", "generation") } else { ("commit", "revision") };
        let block = self.until(kind).pop().expect("the last one");
        let said = block.json();
        let receipt =
            json!({"nonce": said["nonce"], "lane": lane, "applied": said[position], "setHash": said["setHash"]});
        assert_eq!(post(server, &self.id, &receipt), (204, Value::Null));
        block
    }
}

fn post(server: &Server, stream: &str, receipt: &Value) -> (u16, Value) {
    let answer = server.data().post("/v1/stream/acks", &json!({"stream": stream, "acks": [receipt]}));
    (answer.status, answer.json())
}

#[test]
fn a_kill_is_confirmed_by_receipts_and_never_by_a_stream_that_sends_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &[]);
    let mut subscriber = Subscriber::open(&server, "?acks=true&name=checkout&instance=i1", &[]);
    subscriber.acknowledge(&server, "kills");
    subscriber.acknowledge(&server, "objects");
    let mut silent = Subscriber::open(&server, "?name=dashboard", &[]);
    silent.until("commit");
    let mut admin = server.admin();
    connected(&mut admin, 2);

    let generation = kill(&mut admin, "0.5&timeout=0s")["generation"].as_u64().expect("a generation");
    let path = format!("/v1/environments/production/receipts?generation={generation}");
    let before = admin.get(&path).json();
    assert_eq!((&before["confirmed"], &before["pending"]), (&json!(0), &json!(1)), "nobody said a word: {before}");

    let told = subscriber.acknowledge(&server, "kills").json();
    assert_eq!((&told["generation"], &told["killed"][0]["key"]), (&json!(generation), &json!("slice")));
    let after = admin.get(&format!("{path}&wait=0.5&timeout=30s")).json();
    assert_eq!((&after["reached"], &after["confirmed"]), (&json!(true), &json!(1)), "{after}");
    assert_eq!((&after["pending"], &after["unconfirmable"]), (&json!(0), &json!(1)), "{after}");
    let missing = &after["missing"][0];
    let named = (&missing["name"], &missing["state"], &missing["surface"]);
    assert_eq!(named, (&json!("dashboard"), &json!("unconfirmable"), &json!("sse")), "{after}");

    let heard = silent.until("kill").pop().expect("the kill").json();
    assert_eq!(heard["killed"][0]["key"], "slice", "it hears of the kill like everybody");
    let all = admin.get(&format!("{path}&wait=all&timeout=0s")).json();
    assert_eq!(all["reached"], json!(false), "all is never claimed while one cannot confirm: {all}");
}

#[test]
fn a_wrong_hash_confirms_nothing_and_receipts_for_no_stream_are_not_found() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &[]);
    let mut subscriber = Subscriber::open(&server, "?acks=true&name=liar", &[]);
    let said = subscriber.until("kill").pop().expect("the kill set").json();
    subscriber.acknowledge(&server, "objects");
    let receipt = |said: &Value, hash: &Value| json!({"nonce": said["nonce"], "lane": "kills", "applied": said["generation"], "setHash": hash});
    assert_eq!(post(&server, &subscriber.id, &receipt(&said, &said["setHash"])).0, 204);

    let mut admin = server.admin();
    let generation = kill(&mut admin, "all&timeout=0s")["generation"].as_u64().expect("a generation");
    let said = subscriber.until("kill").pop().expect("the kill").json();
    let stranger = post(&server, &"0".repeat(32), &receipt(&said, &said["setHash"]));
    assert_eq!(stranger.0, 404, "{}", stranger.1);
    assert_eq!(post(&server, &subscriber.id, &receipt(&said, &json!("f".repeat(32)))).0, 204);
    until("the lie is noticed", || {
        (metric(&mut admin, "rampart_subscribers_differing_total") as u64 == 1).then_some(())
    });
    let judged = receipts(&mut admin, "generation", generation);
    assert_eq!((&judged["confirmed"], &judged["pending"]), (&json!(0), &json!(1)), "{judged}");

    // The truth about the next one is believed.
    restore(&mut admin);
    subscriber.acknowledge(&server, "kills");
    until("it is confirmed", || (receipts(&mut admin, "generation", generation)["confirmed"] == 1).then_some(()));
}

#[test]
fn a_stream_goes_on_where_its_last_event_id_says() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &[]);
    let mut first = Subscriber::open(&server, "", &[]);
    let seen = first.until("commit");
    assert!(seen.iter().any(|block| block.event.as_deref() == Some("put")), "everything: {seen:?}");
    let id = seen.last().and_then(|commit| commit.id.clone()).expect("a commit has an id");
    drop(first);

    let mode = |seen: &[Block]| {
        let begin = seen.iter().find(|block| block.event.as_deref() == Some("begin")).expect("it begins");
        begin.json()["mode"].as_str().map(str::to_owned).expect("a mode")
    };
    let keys = |seen: &[Block]| -> Vec<String> {
        let puts = seen.iter().filter(|block| block.event.as_deref() == Some("put"));
        puts.map(|put| put.json()["key"].as_str().expect("a key").to_owned()).collect()
    };
    let mut same = Subscriber::open(&server, "", &[("last-event-id", &id)]);
    let seen = same.until("commit");
    assert_eq!((mode(&seen), keys(&seen)), ("none".to_owned(), vec![]));
    drop(same);

    let mut admin = server.admin();
    assert_eq!(admin.put("/v1/environments/production/flags/later", &definition()).status, 200);
    kill(&mut admin, "all&timeout=0s");
    let mut behind = Subscriber::open(&server, "", &[("last-event-id", &id)]);
    let seen = behind.until("commit");
    assert_eq!((mode(&seen), keys(&seen)), ("delta".to_owned(), vec!["later".to_owned()]));
    let killed = seen.iter().find(|block| block.event.as_deref() == Some("kill")).expect("the kill set").json();
    assert_eq!(killed["killed"][0]["key"], "slice", "what was missed meanwhile is in force at once");
    assert!(seen[0].event.as_deref() == Some("kill"), "before anything else: {seen:?}");
    drop(behind);

    let foreign = format!("{}{}", "0".repeat(32), &id[32..]);
    let mut stranger = Subscriber::open(&server, "", &[("last-event-id", &foreign)]);
    assert_eq!(mode(&stranger.until("commit")), "full", "another store's past is no past of this one");
}

#[test]
fn the_kill_set_costs_nothing_to_ask_for_again_until_it_changes() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = server(dir.path(), &["--streams-enabled=false"]);
    let (mut admin, mut data) = (server.admin(), server.data());
    let empty = data.get("/v1/kills");
    assert_eq!((empty.status, &empty.json()["killed"]), (200, &json!([])));
    let tag = empty.header("etag").expect("a tag").to_owned();
    assert_eq!(data.send("GET", "/v1/kills", &[("if-none-match", &tag)], b"").status, 304);
    let mut later = definition();
    later["serve"] = json!("off");
    assert_eq!(admin.put(FLAG, &later).status, 200);
    assert_eq!(data.send("GET", "/v1/kills", &[("if-none-match", &tag)], b"").status, 304, "a change is no kill");

    kill(&mut admin, "all&timeout=0s");
    let killed = data.send("GET", "/v1/kills", &[("if-none-match", &tag)], b"");
    assert_eq!((killed.status, &killed.json()["killed"][0]["key"]), (200, &json!("slice")));
    let after = killed.header("etag").expect("a tag").to_owned();
    assert_ne!(after, tag);
    assert_eq!(data.send("GET", "/v1/kills", &[("if-none-match", &after)], b"").status, 304);
    assert_eq!(data.get("/v1/stream").status, 503, "streams are off here, and kills are heard of all the same");
}
