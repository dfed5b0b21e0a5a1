//! From a journal to the world: the newest usable checkpoint, then every record after it, verified while it is folded.
//!
//! A checkpoint that is missing, damaged, foreign or of another history costs time and nothing else.

use tracing::warn;

use super::error::JournalError;
use super::{Journal, PAGE_RECORDS};
use crate::flag::time::Revision;
use crate::world::chain::{open, verify};
use crate::world::checkpoint;
use crate::world::digest::Epoch;
use crate::world::fold::World;
use crate::world::record::Head;

/// A folded journal.
#[derive(Debug)]
pub struct Replayed {
    /// What is true after the last record.
    pub world: World,
    /// The checkpoint's revision; none where everything was folded.
    pub checkpoint: Option<Revision>,
    /// How many records were folded after it.
    pub records: u64,
}

/// Folds a journal to its end, verifying every record that it folds.
///
/// # Errors
/// The first record that is not what it was or that this version cannot read, or a store that cannot be read.
pub fn replay(journal: &dyn Journal) -> Result<Replayed, JournalError> {
    let found = usable_checkpoint(journal)?;
    let checkpoint = found.as_ref().map(World::revision);
    let mut world = match found {
        Some(world) => world,
        None => World::empty(first_epoch(journal)?),
    };
    let records = catch_up(&mut world, journal)?;
    Ok(Replayed { world, checkpoint, records })
}

/// Folds the records after the world's head, as far as the journal goes.
///
/// # Errors
/// As [`replay`].
pub fn catch_up(world: &mut World, journal: &dyn Journal) -> Result<u64, JournalError> {
    let mut records = 0;
    loop {
        let page = journal.read(world.revision().next(), PAGE_RECORDS)?;
        for stored in &page {
            verify(world.head(), stored)?;
            world.apply(&open(stored)?);
        }
        records += page.len() as u64;
        if page.len() < PAGE_RECORDS {
            return Ok(records);
        }
    }
}

fn usable_checkpoint(journal: &dyn Journal) -> Result<Option<World>, JournalError> {
    let bytes = match journal.checkpoint() {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(error) => {
            warn!(%error, "checkpoint cannot be read, folding the whole journal");
            return Ok(None);
        }
    };
    let world = match checkpoint::decode(&bytes) {
        Ok(world) => world,
        Err(error) => {
            warn!(%error, "checkpoint ignored, folding the whole journal");
            return Ok(None);
        }
    };
    if is_part_of(world.head(), journal)? {
        return Ok(Some(world));
    }
    warn!(revision = %world.revision(), "checkpoint belongs to another history, folding the whole journal");
    Ok(None)
}

fn is_part_of(head: &Head, journal: &dyn Journal) -> Result<bool, JournalError> {
    if head.revision == Revision::ZERO {
        return Ok(false);
    }
    Ok(journal.read(head.revision, 1)?.first().is_some_and(|record| record.head() == *head))
}

fn first_epoch(journal: &dyn Journal) -> Result<Epoch, JournalError> {
    Ok(journal.read(Revision::ZERO.next(), 1)?.first().map_or(journal.head().epoch, |record| record.epoch))
}
