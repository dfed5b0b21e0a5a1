//! A transfer from one state to another: planned once, shared by every subscriber that needs the same, and taken one
//! message at a time.
//!
//! A plan holds pointers to objects, so what changes meanwhile does not disturb it; a subscriber's place in it is one
//! number, so one that reads slowly costs no copy and no queue. It does not know when it may be sent, nor how it looks
//! on the wire.

use std::sync::Arc;

use super::hash::SetHash;
use super::limits::{CHUNK_BYTES, CHUNK_OBJECTS};
use super::message::{Begin, Commit, FullReason, Mode, ServerBody};
use super::object::Entry;
use super::view::View;
use crate::flag::time::Revision;

/// Everything that one transfer sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    begin: Begin,
    chunks: Arc<Vec<Vec<Entry>>>,
    commit: Commit,
}

/// One message of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The beginning.
    Begin,
    /// A chunk, by its place.
    Chunk(usize),
    /// The end.
    Commit,
}

/// Where plans come from: made anew each time, or kept for those who need the same.
pub trait Plans {
    /// The plan that brings a subscriber to what a view shows, from `from` where the mode is a delta. A full one may
    /// lead to a slightly older state of the same epoch; a delta follows it then.
    fn plan(&mut self, mode: Mode, from: Revision, view: &View) -> Arc<Plan>;
}

/// Plans that are made anew each time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fresh;

impl Plans for Fresh {
    fn plan(&mut self, mode: Mode, from: Revision, view: &View) -> Arc<Plan> {
        Arc::new(Plan::new(mode, from, view))
    }
}

impl Plan {
    /// The plan that leads to what a view shows, from `from` where the mode is a delta.
    pub fn new(mode: Mode, from: Revision, view: &View) -> Self {
        let objects = view.objects();
        let from = if matches!(mode, Mode::Full(_)) { Revision::ZERO } else { from };
        let chunks = match mode {
            Mode::Full(_) => chunked(objects.full().map(|state| Entry::Live(Arc::clone(state)))),
            Mode::Delta => chunked(objects.newer_than(from, None).cloned()),
            Mode::None => Vec::new(),
        };
        let sent = chunks.iter().map(Vec::len).sum();
        let live = chunks.iter().flatten().filter(|entry| entry.live().is_some()).count();
        let begin = Begin {
            mode,
            from,
            to: view.revision(),
            objects: count(live),
            tombstones: count(sent) - count(live),
            epoch: view.epoch(),
            fractional_hash: view.fractional_hash(),
        };
        let commit = Commit {
            revision: view.revision(),
            epoch: view.epoch(),
            digest: view.digest(),
            set_hash: objects.set_hash(),
            object_count: count(objects.len()),
        };
        Self { begin, chunks: Arc::new(chunks), commit }
    }

    /// The same full plan for a subscriber that needs it for another reason; shares everything.
    #[must_use]
    pub fn because(&self, reason: FullReason) -> Self {
        let mut other = self.clone();
        if let Mode::Full(held) = &mut other.begin.mode {
            *held = reason;
        }
        other
    }

    /// How it begins.
    pub fn begin(&self) -> &Begin {
        &self.begin
    }

    /// Its chunks.
    pub fn chunks(&self) -> &Arc<Vec<Vec<Entry>>> {
        &self.chunks
    }

    /// How it ends.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// The hash of what the client holds after it.
    pub fn set_hash(&self) -> SetHash {
        self.commit.set_hash
    }

    /// The part after this one; none after the last.
    fn after(&self, part: Part) -> Option<Part> {
        let next = match part {
            Part::Begin => 0,
            Part::Chunk(at) => at + 1,
            Part::Commit => return None,
        };
        Some(if next < self.chunks.len() { Part::Chunk(next) } else { Part::Commit })
    }

    /// One part as a message.
    pub fn body(&self, part: Part) -> ServerBody {
        match part {
            Part::Begin => ServerBody::Begin(self.begin),
            Part::Chunk(at) => ServerBody::Chunk(self.chunks.get(at).cloned().unwrap_or_default()),
            Part::Commit => ServerBody::Commit(self.commit),
        }
    }
}

/// A plan and how much of it was taken.
#[derive(Debug, Clone)]
pub struct Transfer {
    plan: Arc<Plan>,
    next: Option<Part>,
}

impl Transfer {
    /// A transfer of which nothing was taken.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan, next: Some(Part::Begin) }
    }

    /// The next part; none when all was taken.
    #[expect(clippy::should_implement_trait, reason = "no iterator: a subscriber takes one part at a time")]
    pub fn next(&mut self) -> Option<Part> {
        let part = self.next?;
        self.next = self.plan.after(part);
        Some(part)
    }

    /// True when Commit was taken.
    pub fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// What it follows.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

/// Entries in chunks up to their limits; no chunk is empty.
fn chunked(entries: impl Iterator<Item = Entry>) -> Vec<Vec<Entry>> {
    let mut chunks: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.weight();
        match chunks.last_mut() {
            Some(chunk) if bytes <= CHUNK_BYTES && chunk.len() < CHUNK_OBJECTS => chunk.push(entry),
            _ => {
                bytes = entry.weight();
                chunks.push(vec![entry]);
            }
        }
    }
    chunks
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
