//! One transfer on its way: Begin, chunks, Commit, taken one message at a time.
//!
//! It keeps the objects it began with (a shared collection) and a place among them, so a subscriber that reads slowly
//! costs no copy and no queue, and what changes meanwhile does not disturb it. It does not know when it may be sent.

use super::hash::SetHash;
use super::limits::{CHUNK_BYTES, CHUNK_OBJECTS};
use super::message::{Begin, Commit, Digest, Epoch, Mode, ServerBody};
use super::object::{Entry, ObjectKey};
use super::objects::{Objects, Place};
use super::view::View;
use crate::eval::fractional::FractionalHash;
use crate::flag::time::Revision;

/// A transfer from one state to another.
#[derive(Debug, Clone)]
pub struct Transfer {
    mode: Mode,
    from: Revision,
    epoch: Epoch,
    revision: Revision,
    digest: Digest,
    objects: Objects,
    fractional_hash: FractionalHash,
    stage: Stage,
}

#[derive(Debug, Clone)]
enum Stage {
    Begin,
    /// Objects in order of key, after this one.
    Full(Option<ObjectKey>),
    /// Objects and tombstones in order of revision, after this place.
    Delta(Option<Place>),
    Commit,
    Done,
}

impl Transfer {
    /// A transfer to what a view shows, from `from` where the mode is a delta.
    pub fn new(mode: Mode, from: Revision, view: &View) -> Self {
        Self {
            mode,
            from: if matches!(mode, Mode::Full(_)) { Revision::ZERO } else { from },
            epoch: view.epoch(),
            revision: view.revision(),
            digest: view.digest(),
            objects: view.objects().clone(),
            fractional_hash: view.fractional_hash(),
            stage: Stage::Begin,
        }
    }

    /// The next message; none when all was taken.
    #[expect(clippy::should_implement_trait, reason = "it reads a view, or borrows: no iterator")]
    pub fn next(&mut self) -> Option<ServerBody> {
        match &self.stage {
            Stage::Begin => Some(self.begin()),
            Stage::Full(after) => {
                let rest = self.objects.full_after(after.as_ref()).map(|state| Entry::Live(state.clone()));
                let chunk = fill(rest);
                self.stage = match chunk.last() {
                    Some(last) => Stage::Full(Some(last.key().clone())),
                    None => Stage::Commit,
                };
                self.chunk(chunk)
            }
            Stage::Delta(after) => {
                let chunk = fill(self.objects.newer_than(self.from, after.as_ref()).cloned());
                self.stage = match chunk.last() {
                    Some(last) => Stage::Delta(Some((last.revision(), last.key().clone()))),
                    None => Stage::Commit,
                };
                self.chunk(chunk)
            }
            Stage::Commit => {
                self.stage = Stage::Done;
                Some(ServerBody::Commit(self.commit()))
            }
            Stage::Done => None,
        }
    }

    /// True when Commit was taken.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Its end.
    pub fn commit(&self) -> Commit {
        Commit {
            revision: self.revision,
            epoch: self.epoch,
            digest: self.digest,
            set_hash: self.set_hash(),
            object_count: count(self.objects.len()),
        }
    }

    /// The hash of what the client holds after it.
    pub fn set_hash(&self) -> SetHash {
        self.objects.set_hash()
    }

    fn begin(&mut self) -> ServerBody {
        let (objects, tombstones) = match self.mode {
            Mode::Full(_) => {
                self.stage = Stage::Full(None);
                (self.objects.len(), 0)
            }
            Mode::Delta => {
                self.stage = Stage::Delta(None);
                self.objects.newer_than(self.from, None).fold((0, 0), |(live, gone), entry| match entry {
                    Entry::Live(_) => (live + 1, gone),
                    Entry::Gone { .. } => (live, gone + 1),
                })
            }
            Mode::None => {
                self.stage = Stage::Commit;
                (0, 0)
            }
        };
        ServerBody::Begin(Begin {
            mode: self.mode,
            from: self.from,
            to: self.revision,
            objects: count(objects),
            tombstones: count(tombstones),
            epoch: self.epoch,
            fractional_hash: self.fractional_hash,
        })
    }

    /// The chunk, or what follows it where it is empty.
    fn chunk(&mut self, chunk: Vec<Entry>) -> Option<ServerBody> {
        if chunk.is_empty() { self.next() } else { Some(ServerBody::Chunk(chunk)) }
    }
}

/// Entries up to the limits of a chunk; at least one where there is one.
fn fill(entries: impl Iterator<Item = Entry>) -> Vec<Entry> {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    for entry in entries {
        bytes += entry.weight();
        if !chunk.is_empty() && (bytes > CHUNK_BYTES || chunk.len() == CHUNK_OBJECTS) {
            break;
        }
        chunk.push(entry);
    }
    chunk
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
