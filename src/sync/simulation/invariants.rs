//! The thirteen invariants, each under its name in the design (etcd's seven, and ours). A check reads what the machines
//! show to everybody and what the model says, never how a machine came to it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::client::{Client, Stream};
use super::history::{Invariant, Verdict};
use super::model::{FlagNumber, Held, Known, State, flag, number_of};
use super::store::{Node, Store};
use crate::eval::context::{Attribute, Context};
use crate::eval::evaluate::evaluate;
use crate::flag::time::Timestamp;
use crate::sync::kills::set_hash;
use crate::sync::message::{Begin, Bookmark, Digest, FullReason, Mode};
use crate::sync::object::ObjectKey;
use crate::sync::replica::{Changed, Replica};

/// Steps after which a kill must be seen by a client whose network works: an acknowledgement deadline, a reconnect,
/// and a queue that is read slowly.
pub(super) const KILL_BOUND: u64 = 70;

/// What a flag answers to a user; none where the copy has no such flag.
fn answer(replica: &Replica, environment: &str, number: FlagNumber, context: &Context<'_>) -> Option<u64> {
    let flag = replica.set().get(&flag(environment, number))?;
    let value = evaluate(replica.set(), flag, context, Timestamp::from_micros(0)).value;
    Some(value.and_then(serde_json::Value::as_u64).unwrap_or(0))
}

fn user() -> Context<'static> {
    Context::new(vec![(Cow::Borrowed("targetingKey"), Attribute::String(Cow::Borrowed("somebody")))]).expect("small")
}

/// **Ordered**: transfers are applied in the order in which their stream began them.
pub(super) fn ordered(stream: &Stream, nonce: u64) -> Verdict {
    Invariant::Ordered
        .holds(nonce >= stream.applied, || format!("transfer {nonce} was applied after transfer {}", stream.applied))
}

/// **Unique**: what happened to an object is told once.
pub(super) fn unique(held: &Held, environment: &str, changed: &[Changed]) -> Verdict {
    let mut told = held.told.clone();
    for change in changed {
        let Some(number) = number_of(environment, change.key.key()) else { continue };
        let word = (change.revision.0, change.gone);
        let again = told.insert(number, word) == Some(word);
        Invariant::Unique.holds(!again, || format!("{} at {} was told twice", change.key, change.revision))?;
    }
    Ok(())
}

/// **Reliable**: nothing is left out. Every object that a transfer made different is told.
pub(super) fn reliable(before: &Held, after: &State, environment: &str, changed: &[Changed]) -> Verdict {
    let told: BTreeSet<_> = changed.iter().filter_map(|change| number_of(environment, change.key.key())).collect();
    let none = BTreeMap::new();
    let before = before.state.as_ref().map_or(&none, |state| &state.flags);
    let all: BTreeSet<_> = before.keys().chain(after.flags.keys()).collect();
    for number in all {
        let same = before.get(number) == after.flags.get(number);
        Invariant::Reliable.holds(same || told.contains(number), || {
            format!("flag {number} is different at {} and nobody was told", after.revision)
        })?;
    }
    Ok(())
}

/// **Atomic**: a copy is one state that its store was in, whole: objects, refusals and answers.
pub(super) fn atomic(client: &Client, environment: &str) -> Verdict {
    let (replica, held) = (&client.replica, &client.held);
    let place = replica.resume().map(|resume| (resume.epoch, resume.revision.0, resume.digest));
    let expected = held.state.as_ref().map(|state| (state.epoch, state.revision, state.digest));
    let said = |what: &str| format!("{what}; {place:?}, and the history says {expected:?}");
    Invariant::Atomic.holds(place == expected, || said("the copy says that it is elsewhere"))?;
    let none = BTreeMap::new();
    let flags = held.state.as_ref().map_or(&none, |state| &state.flags);
    let same = replica.objects().full().all(|object| {
        let written = number_of(environment, object.key.key()).and_then(|number| flags.get(&number));
        written.is_some_and(|written| {
            let whole = (written.payload(), written.allocation());
            object.revision.0 == written.revision && object.payload == whole.0 && object.allocation == whole.1
        })
    });
    let all = replica.objects().full().count() == flags.len();
    Invariant::Atomic.holds(same && all, || said("the objects are not those of that state"))?;
    let refused: Vec<_> = replica.rejected().filter_map(|error| number_of(environment, error.key.key())).collect();
    let unusable: Vec<_> =
        flags.iter().filter(|(_, written)| !written.is_usable()).map(|(number, _)| *number).collect();
    Invariant::Atomic.holds(refused == unusable, || said(&format!("refused {refused:?}, unusable {unusable:?}")))?;
    let (killed, user) = (held.known.killed(), user());
    Invariant::Atomic.holds(replica.set().iter().count() == held.values.len(), || said("other flags answer"))?;
    for (number, value) in held.values.iter().filter(|(number, _)| !killed.contains_key(number)) {
        let answered = answer(replica, environment, *number, &user);
        Invariant::Atomic.holds(answered == Some(*value), || {
            said(&format!("flag {number} answers {answered:?} and should answer {value}"))
        })?;
    }
    Ok(())
}

/// **Resumable**: a place that the server knows is gone on from; one that it does not know is told why.
pub(super) fn resumable(stream: &Stream, node: &Node, timeline: &BTreeMap<u64, Digest>, begin: &Begin) -> Verdict {
    let first = stream.sent.is_empty() && !stream.resynced;
    let Some(resume) = stream.resume.filter(|_| first) else { return Ok(()) };
    let holds = match (node.worth(&resume, timeline), begin.mode) {
        (None, Mode::Delta | Mode::None) => begin.from == resume.revision,
        (Some(_), Mode::Full(FullReason::ConfirmedEmpty)) => true,
        (Some(reason), Mode::Full(said)) => said == reason,
        (None, Mode::Full(_)) | (Some(_), _) => false,
    };
    Invariant::Resumable.holds(holds, || {
        format!("{resume:?} is worth {:?}, and {:?} was begun", node.worth(&resume, timeline), begin.mode)
    })
}

/// **Bookmarkable**: a bookmark names a place where its store was, never goes back, and means what a copy there holds.
pub(super) fn bookmarkable(stream: &Stream, store: &Store, bookmark: &Bookmark) -> Verdict {
    let (revision, generation) = (bookmark.revision.0, bookmark.kill_generation.0);
    let real = store.states.get(&bookmark.digest).is_some_and(|state| state.revision == revision);
    Invariant::Bookmarkable.holds(real, || format!("{bookmark:?} names a place that never was"))?;
    Invariant::Bookmarkable.holds(revision >= stream.bookmark.0 && generation >= stream.bookmark.1, || {
        format!("{bookmark:?} came after {:?}", stream.bookmark)
    })
}

/// **Filtered**: a client sees its own environment and nothing else.
pub(super) fn filtered(client: &Client, environment: &str) -> Verdict {
    let foreign = |key: &str| number_of(environment, key).is_none();
    let object = client.replica.objects().full().find(|object| foreign(object.key.key()));
    Invariant::Filtered.holds(object.is_none(), || format!("{object:?} is not of {environment}"))?;
    let kills = client.replica.kills().kills();
    let kill = kills.entries().into_iter().find(|(flag, _)| foreign(flag.key.as_str()));
    Invariant::Filtered.holds(kill.is_none(), || format!("the kill {kill:?} is not of {environment}"))
}

/// **Convergent**: when the faults have stopped, everybody holds what the store holds.
pub(super) fn convergent(client: &Client, node: &Node) -> Verdict {
    let objects = node.view.objects();
    // An emptiness that nobody can confirm is not taken by who holds something.
    let refused_empty = objects.is_empty() && !objects.ever_deleted();
    let same = client.replica.objects().set_hash() == objects.set_hash();
    let at = client.replica.resume().map(|resume| (resume.epoch, resume.revision, resume.digest));
    let there = at == Some((node.view.epoch(), node.view.revision(), node.view.digest()));
    Invariant::Convergent.holds(refused_empty || (same && there), || {
        format!("the copy is at {at:?}, the store at {}", node.view.revision())
    })?;
    let kills = set_hash(client.replica.kills().kills());
    Invariant::Convergent.holds(kills == node.view.kill_list().set_hash(), || "the kills are not the store's".into())
}

/// **Kill-bounded**: a kill is in force at every client within [`KILL_BOUND`] steps in which its network works.
pub(super) fn kill_bounded(client: &Client, store: &Store, now: u64) -> Verdict {
    let node = &store.nodes[client.node];
    let calm_since = client.storm_until.max(client.disturbed);
    for (number, (at, since)) in &node.killed_since {
        // A store that lost words without saying so is behind its clients until it speaks a newer one.
        let overdue = now > calm_since.max(*since) + KILL_BOUND && *at > store.lost_up_to;
        let undone = || client.held.known.words.iter().any(|(word, (flag, _))| flag == number && word > at);
        let in_force = || client.replica.kills().kills().killed(&flag(&store.name, *number)).is_some();
        Invariant::KillBounded.holds(!overdue || undone() || in_force(), || {
            format!("the kill of flag {number} at {at} is served since step {since} and not in force")
        })?;
    }
    Ok(())
}

/// **No-resurrection**: a flag whose kill a client applied stays off there until a newer word restores it.
pub(super) fn no_resurrection(client: &Client, environment: &str) -> Verdict {
    let (replica, user) = (&client.replica, user());
    for (number, at) in client.held.kills.iter().chain(&client.held.known.killed()) {
        let answered = answer(replica, environment, *number, &user).unwrap_or(0);
        let held = replica.kills().kills().killed(&flag(environment, *number));
        Invariant::NoResurrection.holds(answered == 0 && held.is_some(), || {
            format!("flag {number} was killed at {at}, answers {answered}, and {held:?} is held")
        })?;
    }
    let (held, killed) = (replica.kills().kills(), client.held.known.killed());
    let more = held
        .entries()
        .into_iter()
        .find(|(flag, _)| number_of(environment, flag.key.as_str()).is_none_or(|number| !killed.contains_key(&number)));
    Invariant::Atomic.holds(more.is_none(), || format!("{more:?} is killed though it was restored"))
}

/// **Durable**: after a restart every acknowledged revision is there with its digest.
pub(super) fn durable(store: &Store, acknowledged: &BTreeMap<u64, Digest>) -> Verdict {
    store.durable(acknowledged).or_else(|what| Invariant::Durable.holds(false, || what))
}

/// **Durable**, the other half: the first client that knows what a store lost bears witness, and nobody else does.
pub(super) fn witnessed(store: &Store, wanted: bool, said: bool) -> Verdict {
    let lagging = store.nodes.len() > 1;
    Invariant::Durable.holds(!wanted || said, || "a rollback was met and not noticed".into())?;
    Invariant::Durable.holds(!said || store.rolled_back || lagging, || "a rollback was noticed that never was".into())
}

/// **Monotone**: a copy goes back only by a full transfer with a reason, of a store that did go back.
pub(super) fn monotone(before: Option<&State>, after: &State, full: Option<FullReason>, store: &Store) -> Verdict {
    let Some(before) = before else { return Ok(()) };
    let holds = match before.epoch == after.epoch {
        true if after.revision >= before.revision => true,
        true => full.is_some() && (store.rolled_back || store.nodes.len() > 1),
        false => full.is_some(),
    };
    Invariant::Monotone
        .holds(holds, || format!("from revision {} to {} ({full:?}) without a reason", before.revision, after.revision))
}

/// **Honest acknowledgements**: the server counts nobody as confirmed who did not hold what it sent.
pub(super) fn honest(stream: &Stream, nonce: u64, kills: bool) -> Verdict {
    let honest = if kills {
        stream.kills.get(&nonce).is_some_and(|sent: &std::rc::Rc<Known>| stream.kill_states.contains(&sent.killed()))
    } else {
        stream.sent.get(&nonce).is_some_and(|sent| stream.states.contains(&sent.state.digest))
    };
    Invariant::HonestAcknowledgements.holds(honest, || format!("{nonce} counts as confirmed and was never applied"))
}

/// **Honest acknowledgements**, counted: at no moment are more confirmed than hold the state.
pub(super) fn honest_count(clients: &[Client], store: usize, node: &Node) -> Verdict {
    let digest = node.state.digest;
    let here = || clients.iter().filter(|client| client.store == store);
    let confirmed = here().filter(|client| client.stream.confirmed == Some(digest)).count();
    let hash = node.view.objects().set_hash();
    let matching = here().filter(|client| client.replica.objects().set_hash() == hash).count();
    Invariant::HonestAcknowledgements.holds(confirmed <= matching, || {
        format!("{confirmed} are confirmed at revision {} and {matching} hold it", node.state.revision)
    })
}

/// The number of a changed object, for what is told.
pub(super) fn number(environment: &str, key: &ObjectKey) -> Option<FlagNumber> {
    number_of(environment, key.key())
}
