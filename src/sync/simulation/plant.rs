//! Mistakes that are planted, one for each invariant, to show that its check can fail and says its name.

use std::rc::Rc;
use std::sync::Arc;

use super::client::Client;
use super::history::Invariant;
use super::model::State;
use super::store::Store;
use crate::flag::time::Revision;
use crate::sync::hash::SetHash;
use crate::sync::kills::hash_of;
use crate::sync::message::{Ack, ClientMessage, FullReason, Lane, Mode, ServerBody, ServerMessage};
use crate::sync::replica::{Event, Outcome};
use crate::sync::transfer::{Plan, Transfer};

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// A client takes an old transfer again, as if it were another stream's.
    PlayAgain,
    /// A client tells every change twice.
    TellTwice,
    /// A client leaves one change out.
    LeaveOneOut,
    /// A server names another state than the one it sent.
    WrongName,
    /// A client comes back and does not say where it was.
    ForgetThePlace,
    /// A server's bookmark names what never was.
    InventABookmark,
    /// A server serves another environment.
    WrongEnvironment,
    /// A server sends no more objects.
    FallSilent,
    /// A server sends no more kills.
    SwallowKills,
    /// A server leaves a kill out that is in force.
    ForgetAKill,
    /// A store loses its last record in a restart.
    LoseTheTail,
    /// A client takes a full transfer of an older state.
    GoBack,
    /// A client acknowledges what it does not apply.
    AckTooEarly,
}

impl Bug {
    /// Each with the invariant that must name it.
    pub(super) const ALL: [(Self, Invariant); 13] = [
        (Self::PlayAgain, Invariant::Ordered),
        (Self::TellTwice, Invariant::Unique),
        (Self::LeaveOneOut, Invariant::Reliable),
        (Self::WrongName, Invariant::Atomic),
        (Self::ForgetThePlace, Invariant::Resumable),
        (Self::InventABookmark, Invariant::Bookmarkable),
        (Self::WrongEnvironment, Invariant::Filtered),
        (Self::FallSilent, Invariant::Convergent),
        (Self::SwallowKills, Invariant::KillBounded),
        (Self::ForgetAKill, Invariant::NoResurrection),
        (Self::LoseTheTail, Invariant::Durable),
        (Self::GoBack, Invariant::Monotone),
        (Self::AckTooEarly, Invariant::HonestAcknowledgements),
    ];

    /// Whether the store restarts beside it.
    pub(super) fn restarts(self) -> bool {
        matches!(self, Self::LoseTheTail | Self::ForgetThePlace)
    }

    /// Whether the network has faults beside it.
    pub(super) fn storms(self) -> bool {
        matches!(self, Self::ForgetThePlace)
    }

    pub(super) fn lose(self, store: &mut Store) {
        store.forget_the_last();
    }

    /// What a server says instead.
    pub(super) fn alter(self, message: &mut ServerMessage) {
        match (self, &mut message.body) {
            (Self::WrongName, ServerBody::Commit(commit)) => commit.digest = [7; 16],
            (Self::InventABookmark, ServerBody::Bookmark(bookmark)) => bookmark.digest = [7; 16],
            (Self::ForgetAKill, ServerBody::Kills(part)) if part.entries.len() > 1 => {
                part.entries.remove(0);
                part.count -= 1;
                part.set_hash = hash_of(&part.entries);
            }
            _ => {}
        }
    }

    /// What a server does not say.
    pub(super) fn swallows(self, message: &ServerMessage, now: u64, calm: bool) -> bool {
        match self {
            Self::FallSilent => calm && matches!(message.body, ServerBody::Commit(_)),
            Self::SwallowKills => now > 60 && matches!(message.body, ServerBody::Kills(_)),
            _ => false,
        }
    }

    /// What a client tells its user instead.
    pub(super) fn tell(self, outcome: &mut Outcome) {
        let told = |event: &&mut Event| matches!(event, Event::Objects { changed, .. } if !changed.is_empty());
        let Some(Event::Objects { changed, .. }) = outcome.events.iter_mut().find(told) else { return };
        match self {
            Self::TellTwice => changed.extend(changed.clone()),
            Self::LeaveOneOut => drop(changed.pop()),
            _ => {}
        }
    }

    /// What a client acknowledges instead of applying it.
    pub(super) fn lie(self, message: &ServerMessage) -> Option<ClientMessage> {
        let ServerBody::Commit(commit) = &message.body else { return None };
        let set_hash: Option<SetHash> = Some(commit.set_hash);
        let (nonce, applied) = (message.nonce, commit.revision.0);
        let ack = Ack { nonce, lane: Lane::Objects, applied, set_hash, apply_us: 0, rejected: Vec::new() };
        (self == Self::AckTooEarly).then_some(ClientMessage::Ack(ack))
    }

    /// What a client takes before a message, and the state it leads to where that is not recorded already.
    pub(super) fn replay(
        self,
        client: &mut Client,
        stores: &[Store],
        message: &ServerMessage,
    ) -> Vec<(ServerMessage, Option<Rc<State>>)> {
        let first = matches!(client.stream.sent.get(&message.nonce), Some(sent) if matches!(sent.mode, Mode::Full(_)));
        match self {
            Self::PlayAgain if first => client.stream.tape.push(message.clone()),
            Self::PlayAgain if client.stream.applied > 3 && !client.stream.tape.is_empty() => {
                client.replica.disconnected();
                return std::mem::take(&mut client.stream.tape).into_iter().map(|again| (again, None)).collect();
            }
            Self::GoBack if matches!(message.body, ServerBody::Bookmark(_)) => {
                let store = &stores[client.store];
                let here = client.held.state.as_ref().map_or(0, |state| state.revision);
                let backup = store.backup_of_before(here);
                let Some((view, state)) = backup else { return Vec::new() };
                client.replica.disconnected();
                let plan = Arc::new(Plan::new(Mode::Full(FullReason::Requested), Revision::ZERO, &view));
                let mut transfer = Transfer::new(Arc::clone(&plan));
                let bodies = std::iter::from_fn(|| transfer.next()).map(|part| plan.body(part));
                return bodies
                    .map(|body| (ServerMessage { nonce: 1_000_000, body }, Some(Rc::clone(&state))))
                    .collect();
            }
            _ => {}
        }
        Vec::new()
    }
}
