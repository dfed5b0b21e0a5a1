//! What was answered under which idempotency key, so that a repeated request changes nothing and is answered alike.
//!
//! Keys belong to the token that sent them and are remembered for a day. After a restart the journal still knows which
//! record a key made: the answer then names the record, and the audit trail has the rest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::command::Outcome;
use crate::control::refusal::Refusal;
use crate::flag::time::Timestamp;
use crate::world::digest::Digest;
use crate::world::fold::World;
use crate::world::record::Idempotency;

/// How long a key is remembered, in microseconds.
pub const REMEMBERED_MICROS: i64 = 24 * 60 * 60 * 1_000_000;
/// How many keys are remembered; beyond that the oldest go first.
const REPLIES_MAX: usize = 100_000;

type Key = (String, String);

/// The remembered answers.
#[derive(Debug, Default)]
pub struct Replies(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashMap<Key, Reply>,
    order: VecDeque<(Timestamp, Key)>,
}

#[derive(Debug)]
struct Reply {
    fingerprint: Digest,
    outcome: Outcome,
}

impl Replies {
    /// The earlier answer to a repeated request; none for a new one.
    ///
    /// # Errors
    /// The key was used for another request.
    pub fn find(&self, asked: Option<&Idempotency>, now: Timestamp) -> Result<Option<Outcome>, Refusal> {
        let Some(asked) = asked else { return Ok(None) };
        let mut state = self.lock();
        state.forget(now);
        match state.known.get(&(asked.token.clone(), asked.key.clone())) {
            None => Ok(None),
            Some(reply) if reply.fingerprint == asked.fingerprint => {
                Ok(Some(Outcome { replayed: true, ..reply.outcome.clone() }))
            }
            Some(_) => Err(Refusal::IdempotencyMismatch),
        }
    }

    /// Takes over what the journal knows of earlier requests.
    pub fn recall(&self, world: &World) {
        let mut requests: Vec<_> = world.requests().collect();
        requests.sort_by_key(|(_, _, answered)| answered.at);
        for (token, key, answered) in requests {
            let (token, key, fingerprint) = (token.to_owned(), key.to_owned(), answered.fingerprint);
            let note = "this was answered before the server restarted; the audit trail has the record".to_owned();
            let outcome =
                Outcome { revision: Some(answered.revision), notes: vec![note], ..Outcome::nothing(Vec::new()) };
            self.remember(Some(&Idempotency { token, key, fingerprint }), &outcome, answered.at);
        }
    }

    /// Remembers an answer.
    pub fn remember(&self, asked: Option<&Idempotency>, outcome: &Outcome, now: Timestamp) {
        let Some(asked) = asked else { return };
        let mut state = self.lock();
        state.forget(now);
        let key = (asked.token.clone(), asked.key.clone());
        let reply = Reply { fingerprint: asked.fingerprint, outcome: outcome.clone() };
        if state.known.insert(key.clone(), reply).is_none() {
            state.order.push_back((now, key));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, now: Timestamp) {
        let old = |at: Timestamp| at.plus_micros(REMEMBERED_MICROS) <= now;
        while self.order.front().is_some_and(|(at, _)| old(*at)) || self.order.len() > REPLIES_MAX {
            if let Some((_, key)) = self.order.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}
