//! What is made once for all subscribers of an environment: plans of transfers, and the bytes of chunks and kill sets.
//!
//! Most subscribers are at the same revision, so one change is one plan and one encoding, whatever their number. What
//! nobody asked for in a while is dropped; a stream holds on to the plan that it is sending.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::Instant;

use super::frame::{FORMS, Wire};
use crate::flag::key::EnvironmentName;
use crate::flag::time::{Generation, Revision};
use crate::sync::kills::KillList;
use crate::sync::message::{Epoch, Mode};
use crate::sync::transfer::{Plan, Plans};
use crate::sync::view::View;

/// Plans that are kept for the next who needs the same.
const PLANS: usize = 32;
/// How long one is kept after it was last needed.
const KEPT: Duration = Duration::from_secs(10);
/// A full plan this young serves although newer revisions are there: a delta follows it. Without this, every change in
/// a reconnect storm would mean a new plan of everything.
const YOUNG: Duration = Duration::from_secs(2);

/// How long a new kill set has the streams for itself, for each subscriber: what telling one and hearing from it costs.
const HOLD_EACH: Duration = Duration::from_micros(50);
/// And at most.
const HOLD_MAX: Duration = Duration::from_secs(1);

/// The shared bytes of several parts, by protocol.
type Forms = [Vec<OnceLock<Bytes>>; FORMS];

fn forms(parts: usize) -> Forms {
    std::array::from_fn(|_| std::iter::repeat_with(OnceLock::new).take(parts).collect())
}

/// A plan and the bytes of its chunks.
#[derive(Debug)]
pub struct Shelved {
    /// The plan.
    pub plan: Arc<Plan>,
    forms: Arc<Forms>,
    made: Instant,
}

impl Shelved {
    fn new(plan: Plan) -> Self {
        let forms = Arc::new(forms(plan.chunks().len()));
        Self { plan: Arc::new(plan), forms, made: Instant::now() }
    }

    /// The bytes of a chunk; none for a chunk that is not there.
    pub fn chunk<W: Wire>(&self, at: usize) -> Option<&Bytes> {
        let entries = self.plan.chunks().get(at)?;
        Some(self.forms.get(W::FORM)?.get(at)?.get_or_init(|| W::chunk(entries)))
    }
}

/// A time in which no transfer begins.
#[derive(Debug, Clone, Copy)]
struct Hold {
    generation: Generation,
    from: Instant,
    until: Instant,
}

/// The shelf of one environment.
#[derive(Debug)]
pub struct Shelf {
    environment: Arc<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kills: Option<(Epoch, Arc<KillList>, Arc<Forms>)>,
    /// The newest kill set, and until when it has the streams for itself.
    hold: Option<Hold>,
    /// Newest last, each with when it was last needed.
    plans: VecDeque<(Instant, Arc<Shelved>)>,
}

impl Shelf {
    fn new(environment: Arc<str>) -> Self {
        Self { environment, state: Mutex::default() }
    }

    /// The name of the environment.
    pub fn environment(&self) -> &Arc<str> {
        &self.environment
    }

    /// The bytes of a part of a kill set.
    pub fn kills<W: Wire>(&self, epoch: Epoch, list: &Arc<KillList>, part: usize) -> Bytes {
        let held = {
            let mut state = self.lock();
            let fits = |held: &&(Epoch, Arc<KillList>, Arc<Forms>)| held.0 == epoch && Arc::ptr_eq(&held.1, list);
            match state.kills.as_ref().filter(fits) {
                Some(held) => Arc::clone(&held.2),
                None => {
                    let fresh = Arc::new(forms(list.parts()));
                    state.kills = Some((epoch, Arc::clone(list), Arc::clone(&fresh)));
                    fresh
                }
            }
        };
        let make = || W::kills(list, part, epoch, &self.environment);
        held.get(W::FORM).and_then(|parts| parts.get(part)).map_or_else(make, |cell| cell.get_or_init(make).clone())
    }

    /// Until when transfers of objects are held back because a kill set is on its way to `subscribers` clients: as long
    /// as it takes to tell them all, so that a kill never waits for what is not one. None where nothing is held back.
    pub fn held_until(&self, list: &Arc<KillList>, subscribers: impl FnOnce() -> usize) -> Option<Instant> {
        let mut state = self.lock();
        let now = Instant::now();
        let generation = list.generation();
        match state.hold {
            // The first set is nobody's news, and only a newer one is a kill or a restore.
            None => state.hold = Some(Hold { generation, from: now, until: now }),
            // Objects have the streams as long as kills had them.
            Some(Hold { generation: held, from, until }) if generation > held => {
                let each = u32::try_from(subscribers()).unwrap_or(u32::MAX);
                let time = if now < until + (until - from) && now >= until {
                    Duration::ZERO
                } else {
                    HOLD_EACH.saturating_mul(each).min(HOLD_MAX)
                };
                let (from, until) = if now < until { (from, until.max(from + time)) } else { (now, now + time) };
                state.hold = Some(Hold { generation, from, until });
            }
            Some(_) => {}
        }
        state.hold.map(|hold| hold.until).filter(|until| *until > now)
    }

    /// Drops what nobody needed in a while.
    pub fn tidy(&self) {
        let now = Instant::now();
        self.lock().plans.retain(|(needed, _)| now.duration_since(*needed) < KEPT);
    }

    fn plan(&self, mode: Mode, from: Revision, view: &View) -> Arc<Shelved> {
        let mut state = self.lock();
        let now = Instant::now();
        let fits = |held: &Shelved| {
            let begin = held.plan.begin();
            begin.epoch == view.epoch()
                && match (begin.mode, mode) {
                    (Mode::Full(_), Mode::Full(_)) => {
                        begin.to == view.revision() || now.duration_since(held.made) < YOUNG && begin.objects > 0
                    }
                    (held, wanted) => held == wanted && begin.from == from && begin.to == view.revision(),
                }
        };
        if let Some((needed, held)) = state.plans.iter_mut().rev().find(|(_, held)| fits(held)) {
            *needed = now;
            let held = Arc::clone(held);
            return match mode {
                Mode::Full(reason) if held.plan.begin().mode != mode => Arc::new(Shelved {
                    plan: Arc::new(held.plan.because(reason)),
                    forms: Arc::clone(&held.forms),
                    made: held.made,
                }),
                _ => held,
            };
        }
        let fresh = Arc::new(Shelved::new(Plan::new(mode, from, view)));
        if state.plans.len() == PLANS {
            state.plans.pop_front();
        }
        state.plans.push_back((now, Arc::clone(&fresh)));
        fresh
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes plans from a shelf and remembers the one that was taken last.
#[derive(Debug)]
pub struct Reach<'a> {
    /// The shelf.
    pub shelf: &'a Shelf,
    /// What was taken last.
    pub taken: &'a mut Option<Arc<Shelved>>,
}

impl Plans for Reach<'_> {
    fn plan(&mut self, mode: Mode, from: Revision, view: &View) -> Arc<Plan> {
        let shelved = self.shelf.plan(mode, from, view);
        let plan = Arc::clone(&shelved.plan);
        *self.taken = Some(shelved);
        plan
    }
}

/// The shelves of all environments.
#[derive(Debug, Default)]
pub struct Shelves(Mutex<HashMap<EnvironmentName, Arc<Shelf>>>);

impl Shelves {
    /// The shelf of an environment.
    pub fn of(&self, environment: &EnvironmentName) -> Arc<Shelf> {
        let mut shelves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(Shelf::new(Arc::from(environment.as_str())));
        Arc::clone(shelves.entry(environment.clone()).or_insert_with(fresh))
    }
}
