//! The numbers of receipts are what happened, whatever comes in which order.

use super::*;
use crate::flag::time::Revision;
use crate::sync::object::ObjectKey;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);

fn roster() -> Arc<Roster> {
    let roster = Arc::new(Roster::new(Duration::from_secs(300)));
    roster.publish(Lane::Kills, 1, NOW);
    roster.publish(Lane::Objects, 1, NOW);
    roster
}

fn client(roster: &Arc<Roster>, id: &str) -> Seat {
    roster.enter(Who { instance_id: id.to_owned(), acks: true, ..Who::default() })
}

/// Subscribers, then confirmed, late, pending, rejected, unconfirmable, disconnected.
fn counts(roster: &Roster, lane: Lane, position: u64) -> (usize, [usize; 6]) {
    let r = roster.receipts(lane, position, 0, NOW).expect("published");
    (r.subscribers, [r.confirmed, r.late_joined, r.pending, r.rejected, r.unconfirmable, r.disconnected])
}

#[tokio::test(start_paused = true)]
async fn every_client_is_counted_once_and_by_what_became_of_it() {
    let roster = roster();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| client(&roster, id));
    let deaf = roster.enter(Who { instance_id: "deaf".to_owned(), ..Who::default() });
    roster.publish(Lane::Kills, 5, NOW);
    let late = client(&roster, "late");
    tokio::time::advance(Duration::from_millis(100)).await;
    a.applied((Lane::Kills, 5), true, Vec::new());
    // Without a hash it proves nothing.
    b.applied((Lane::Kills, 5), false, Vec::new());
    drop(c);
    d.applied((Lane::Kills, 1), true, Vec::new());
    late.applied((Lane::Kills, 5), true, Vec::new());
    assert_eq!(counts(&roster, Lane::Kills, 5), (6, [1, 1, 1, 0, 2, 1]));
    let receipts = roster.receipts(Lane::Kills, 5, 10, NOW).unwrap();
    let missing: Vec<(&str, Fate)> =
        receipts.missing.iter().map(|(fate, client)| (client.who.instance_id.as_str(), *fate)).collect();
    assert_eq!(
        missing,
        [("b", Fate::Unconfirmable), ("d", Fate::Pending), ("deaf", Fate::Unconfirmable), ("c", Fate::Disconnected)]
    );
    // One receipt of one that was there counts among the times; within a percent.
    assert!((99_000..=101_000).contains(&receipts.max_us), "{}", receipts.max_us);
    drop(deaf);
}

#[tokio::test(start_paused = true)]
async fn everybody_has_it_only_where_nobody_is_missing() {
    let roster = roster();
    let (a, b) = (client(&roster, "a"), client(&roster, "b"));
    roster.publish(Lane::Kills, 5, NOW);
    a.applied((Lane::Kills, 5), true, Vec::new());
    let reached = |word| roster.receipts(Lane::Kills, 5, 0, NOW).unwrap().has_reached(word);
    assert!(!reached(Word::All) && reached(Word::Share(0.5)) && !reached(Word::Share(0.51)));
    drop(b);
    assert!(!reached(Word::All), "one that was lost is missing");
    tokio::time::advance(Duration::from_secs(301)).await;
    assert!(reached(Word::All), "until it is forgotten");
    let again = client(&roster, "b");
    assert!(!reached(Word::All));
    again.leaves();
    assert!(reached(Word::All), "one that left is not missing");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_comes_back_is_the_same_client() {
    let roster = roster();
    let first = client(&roster, "a");
    first.applied((Lane::Kills, 1), true, Vec::new());
    roster.publish(Lane::Kills, 5, NOW);
    let second = client(&roster, "a");
    assert!(first.replaced.is_cancelled() && !second.replaced.is_cancelled());
    // Whatever the replaced stream still says is not the client's word any more.
    first.applied((Lane::Kills, 5), true, Vec::new());
    assert_eq!(counts(&roster, Lane::Kills, 5), (1, [0, 0, 1, 0, 0, 0]));
    drop(first);
    assert_eq!(roster.connected(), 1);
    second.applied((Lane::Kills, 5), true, Vec::new());
    assert_eq!(counts(&roster, Lane::Kills, 5), (1, [1, 0, 0, 0, 0, 0]), "it was there before: not late");
    drop(second);
    assert_eq!((roster.connected(), counts(&roster, Lane::Kills, 5)), (0, (1, [1, 0, 0, 0, 0, 0])));
}

#[tokio::test]
async fn a_revision_that_changed_nothing_needs_no_receipt_of_its_own() {
    let roster = roster();
    let a = client(&roster, "a");
    roster.publish(Lane::Objects, 3, NOW);
    a.applied((Lane::Objects, 3), true, Vec::new());
    roster.serve(Lane::Objects, 8);
    assert_eq!(counts(&roster, Lane::Objects, 8), (1, [1, 0, 0, 0, 0, 0]));
    roster.publish(Lane::Objects, 9, NOW);
    assert_eq!(counts(&roster, Lane::Objects, 9), (1, [0, 0, 1, 0, 0, 0]));
    assert_eq!(counts(&roster, Lane::Objects, 8), (1, [1, 0, 0, 0, 0, 0]));
    let fault = roster.receipts(Lane::Objects, 10, 0, NOW).unwrap_err();
    assert_eq!(fault.to_string(), "revision 10 is not served yet; the newest is 9");
}

#[tokio::test]
async fn what_a_client_cannot_use_is_told_until_it_can() {
    let roster = roster();
    let a = client(&roster, "a");
    roster.publish(Lane::Objects, 2, NOW);
    let error = ObjectError {
        key: ObjectKey::from_parts(1, None, "k"),
        revision: Revision(2),
        code: "unknown-operator".to_owned(),
        message: String::new(),
    };
    a.applied((Lane::Objects, 2), true, vec![error]);
    assert_eq!(counts(&roster, Lane::Objects, 2), (1, [0, 0, 0, 1, 0, 0]));
    assert_eq!(counts(&roster, Lane::Kills, 1).1[3], 0, "kills have nothing to do with it");
    a.applied((Lane::Objects, 2), true, Vec::new());
    assert_eq!(counts(&roster, Lane::Objects, 2), (1, [1, 0, 0, 0, 0, 0]));
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_the_last_receipt_or_at_the_deadline() {
    let roster = roster();
    let (a, b) = (client(&roster, "a"), client(&roster, "b"));
    roster.publish(Lane::Kills, 5, NOW);
    let deadline = Instant::now() + Duration::from_secs(25);
    let wait = |word| {
        let roster = Arc::clone(&roster);
        async move { roster.wait((Lane::Kills, 5), word, deadline, || NOW).await.unwrap() }
    };
    a.applied((Lane::Kills, 5), true, Vec::new());
    let (half, all, last) = tokio::join!(wait(Word::Share(0.5)), wait(Word::All), async {
        sleep(Duration::from_secs(3)).await;
        b.applied((Lane::Kills, 5), true, Vec::new())
    });
    assert_eq!((half.confirmed, all.confirmed, last.len()), (1, 2, 1));
    roster.publish(Lane::Kills, 6, NOW);
    let began = Instant::now();
    let missed = roster.wait((Lane::Kills, 6), Word::All, began + Duration::from_secs(25), || NOW).await.unwrap();
    assert_eq!((missed.pending, began.elapsed() >= Duration::from_secs(25)), (2, true));
}

#[tokio::test(start_paused = true)]
async fn a_kill_is_reported_once_when_all_have_it_or_when_its_time_is_up() {
    let roster = roster();
    let patience = Duration::from_secs(30);
    let a = client(&roster, "a");
    assert_eq!(roster.settled(patience, NOW), [], "the boot is nobody's kill");
    roster.publish(Lane::Kills, 5, NOW);
    assert_eq!(roster.settled(patience, NOW), []);
    a.applied((Lane::Kills, 5), true, Vec::new());
    let settled = roster.settled(patience, NOW);
    assert_eq!((settled.len(), settled[0].confirmed), (1, 1));
    assert_eq!(roster.settled(patience, NOW), []);
    roster.publish(Lane::Kills, 6, NOW);
    tokio::time::advance(patience).await;
    let settled = roster.settled(patience, NOW);
    assert_eq!((settled.len(), settled[0].pending, settled[0].position), (1, 1, 6));
    a.leaves();
    roster.publish(Lane::Kills, 7, NOW);
    assert_eq!(roster.settled(patience, NOW), [], "nobody was there to be told");
}

#[tokio::test]
async fn those_who_are_there_are_named_before_those_who_are_gone() {
    let roster = roster();
    for n in 0..50 {
        drop(client(&roster, &format!("gone-{n}")));
    }
    let _frozen = client(&roster, "frozen");
    roster.publish(Lane::Kills, 5, NOW);
    let receipts = roster.receipts(Lane::Kills, 5, 3, NOW).unwrap();
    assert_eq!((receipts.missing.len(), receipts.missing[0].1.who.instance_id.as_str()), (3, "frozen"));
}

#[tokio::test]
async fn a_copy_that_is_made_anew_is_not_counted_twice() {
    let roster = roster();
    let a = client(&roster, "a");
    roster.publish(Lane::Objects, 9, NOW);
    assert_eq!(a.applied((Lane::Objects, 9), true, Vec::new()).len(), 1);
    assert_eq!(a.applied((Lane::Objects, 1), true, Vec::new()).len(), 0);
    assert_eq!(counts(&roster, Lane::Objects, 9).1[2], 1, "it went back, and is pending");
    assert_eq!(a.applied((Lane::Objects, 9), true, Vec::new()).len(), 0);
    assert_eq!(counts(&roster, Lane::Objects, 9).1[0], 1);
}

#[test]
fn words_are_all_a_share_or_a_percentage() {
    for (text, word) in [
        ("all", Some(Word::All)),
        ("1", Some(Word::All)),
        ("100%", Some(Word::All)),
        ("0.999", Some(Word::Share(0.999))),
        ("99.9%", Some(Word::Share(99.9 / 100.0))),
        ("0", Some(Word::Now)),
        ("101%", None),
        ("-1", None),
        ("NaN", None),
        ("some", None),
    ] {
        assert_eq!(Word::parse(text), word, "{text}");
    }
}
