//! A journal in memory: for tests, simulations and trying things out. It keeps every rule of the real one except that a
//! restart forgets it, and it can be told to fail as a disk does.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::error::JournalError;
use super::{Appending, Journal, follow};
use crate::flag::time::Revision;
use crate::world::chain::is_erasable;
use crate::world::digest::Epoch;
use crate::world::record::{Head, StoredRecord};

/// A journal in memory.
#[derive(Debug)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    head: Head,
    records: Vec<StoredRecord>,
    checkpoint: Option<Vec<u8>>,
    trouble: Option<Trouble>,
}

/// How a journal in memory may be told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Every write finds the disk full, until told otherwise.
    Full,
    /// Every write fails as if the disk had, until told otherwise.
    Failing,
}

impl MemoryJournal {
    /// A journal without records.
    pub fn new(epoch: Epoch) -> Self {
        Self::holding(epoch, Vec::new())
    }

    /// A journal that holds records, as they are.
    pub fn holding(epoch: Epoch, records: Vec<StoredRecord>) -> Self {
        let head = records.last().map_or(Head::empty(epoch), StoredRecord::head);
        Self { state: Mutex::new(State { head, records, checkpoint: None, trouble: None }) }
    }

    /// Makes every write fail from now on, or (none) work again.
    pub fn set_trouble(&self, trouble: Option<Trouble>) {
        self.state().trouble = trouble;
    }

    /// All records, to be looked at or altered.
    pub fn records(&self) -> Vec<StoredRecord> {
        self.state().records.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn writable(&self) -> Result<(), JournalError> {
        match self.trouble {
            None => Ok(()),
            Some(Trouble::Full) => Err(JournalError::Full { path: PathBuf::from("memory") }),
            Some(Trouble::Failing) => {
                Err(JournalError::Unavailable { what: "it was told to fail".to_owned(), source: None })
            }
        }
    }

    fn append(&mut self, records: Vec<StoredRecord>) -> Result<Head, JournalError> {
        self.writable()?;
        self.head = follow(self.head, &records)?;
        self.records.extend(records);
        Ok(self.head)
    }
}

impl Journal for MemoryJournal {
    fn head(&self) -> Head {
        self.state().head
    }

    fn append(&self, records: Vec<StoredRecord>) -> Appending {
        Appending::answered(self.state().append(records))
    }

    fn read(&self, from: Revision, limit: usize) -> Result<Vec<StoredRecord>, JournalError> {
        let first = usize::try_from(from.0.saturating_sub(1)).unwrap_or(usize::MAX);
        Ok(self.state().records.iter().skip(first).take(limit).cloned().collect())
    }

    fn erase(&self, revision: Revision, payload: u32) -> Result<(), JournalError> {
        let mut state = self.state();
        state.writable()?;
        let missing = JournalError::NoSuchPayload { revision, payload };
        let record = usize::try_from(revision.0).ok().and_then(|at| state.records.get_mut(at.checked_sub(1)?));
        let part = record.and_then(|record| record.payloads.get_mut(payload as usize));
        let part = part.filter(|part| is_erasable(&part.kind)).ok_or(missing)?;
        part.content = None;
        state.checkpoint = None;
        Ok(())
    }

    fn put_checkpoint(&self, bytes: &[u8]) -> Result<(), JournalError> {
        let mut state = self.state();
        state.writable()?;
        state.checkpoint = Some(bytes.to_vec());
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<Vec<u8>>, JournalError> {
        Ok(self.state().checkpoint.clone())
    }
}
