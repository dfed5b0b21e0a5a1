//! Ten thousand streams and a server that stops, or dies and comes back.

use std::collections::BTreeSet;

use rampart::proto::rampart_v1 as wire;
use serde_json::json;

use super::crowd::{Crowd, Member, members};
use super::{FLAG, definition, kill, metric, server};
use crate::harness::{GUARD, Server, serve_at};

const SUBSCRIBERS: usize = 10_000;
/// Nothing here is about how fast streams are let in.
const OPEN_DOOR: [&str; 2] = ["--streams-opens-per-second", "100000"];

#[test]
fn ten_thousand_streams_are_told_when_to_come_back_and_the_server_ends_well() {
    const WINDOW_MS: u32 = 2_000;
    let dir = tempfile::tempdir().expect("a folder");
    let options = [&OPEN_DOOR[..], &["--drain-window", "2s", "--drain-deadline", "25s"]].concat();
    let mut server = server(dir.path(), &options);
    let crowd = Crowd::gather(&server.data, members(SUBSCRIBERS));

    let ended = server.terminate();
    assert!(ended.success(), "{ended}: {:#?}", server.log.rest());
    crowd.wait("every stream is told, and ends", |board| board.goodbyes == SUBSCRIBERS && board.ended == SUBSCRIBERS);
    let goodbyes: Vec<wire::Goodbye> = crowd.leave().into_iter().filter_map(|member| member.goodbye).collect();
    assert!(goodbyes.iter().all(|goodbye| goodbye.reason() == wire::GoodbyeReason::Draining));
    // Each quarter of the window gets about its share of those who come back.
    let mut quarters = [0; 4];
    for goodbye in &goodbyes {
        quarters[(goodbye.reconnect_after_ms * 4 / WINDOW_MS) as usize] += 1;
    }
    let fair = SUBSCRIBERS / 4;
    assert!(quarters.iter().all(|count| (fair * 8 / 10..fair * 12 / 10).contains(count)), "{quarters:?}");
}

#[test]
fn ten_thousand_clients_come_back_after_a_crash_without_being_sent_everything_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut before = server(dir.path(), &OPEN_DOOR);
    let crowd = Crowd::gather(&before.data, members(SUBSCRIBERS));
    before.kill_9();
    crowd.wait("every stream is lost", |board| board.ended == SUBSCRIBERS);
    let mut lost = crowd.leave();

    let server = Server::run(dir.path(), serve_at(dir.path(), [&before.data, &before.admin], &OPEN_DOOR));
    let mut admin = server.admin();
    let same = Crowd::gather(&server.data, lost.split_off(SUBSCRIBERS / 2));
    let changed = json!({"serve": "off", "variants": {"on": true, "off": false}, "defaultVariant": "off"});
    assert_eq!(admin.put(FLAG, &changed).status, 200);
    let behind = Crowd::gather(&server.data, lost);
    assert_eq!(metric(&mut admin, "rampart_full_transfers_total") as u64, 0, "{}", admin.get("/metrics").text());

    let receipts = &kill(&mut admin, "all&timeout=30s")["receipts"];
    assert_eq!((&receipts["reached"], &receipts["subscribers"]), (&json!(true), &json!(SUBSCRIBERS)), "{receipts}");
    assert_eq!(receipts["confirmed"], json!(SUBSCRIBERS), "{receipts}");
    assert!(receipts["maxUs"].as_u64().expect("a time") < GUARD.as_micros() as u64, "{receipts}");

    let began = |members: &[Member]| members.iter().map(|member| member.modes[0] as i32).collect::<BTreeSet<_>>();
    let (same, behind) = (same.leave(), behind.leave());
    assert_eq!(began(&same), BTreeSet::from([wire::TransferMode::None as i32]));
    assert_eq!(began(&behind), BTreeSet::from([wire::TransferMode::Delta as i32]));
    assert_eq!(same.iter().chain(&behind).map(|member| member.generation).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(admin.put(FLAG, &definition()).status, 200, "and the server goes on");
}
