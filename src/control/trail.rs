//! The audit trail, read back: records newest first, a bounded number at a time. It reads the journal and nothing else.

use std::sync::Arc;

use super::Control;
use super::refusal::Refusal;
use crate::flag::time::Revision;
use crate::journal::Journal;
use crate::journal::error::JournalError;
use crate::world::chain::open;
use crate::world::record::Record;

/// Records that one call looks at; a rarer filter goes on from `next`.
const SCAN_MAX: u64 = 10_000;
/// Records read from the journal at a time.
const PAGE: u64 = 250;

/// What is to be done after a record was looked at.
#[derive(Debug)]
pub enum Keep<T> {
    /// It is wanted.
    Yes(T),
    /// It is not.
    No,
    /// Neither it nor anything older is.
    Stop,
}

/// Some of the trail.
#[derive(Debug)]
pub struct Page<T> {
    /// What was kept, newest first.
    pub records: Vec<T>,
    /// Where to go on, where there may be more.
    pub next: Option<Revision>,
}

impl Control {
    /// Reads the trail backwards from before a revision (none: from the end), keeping at most `limit` records.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn trail<T: Send + 'static>(
        &self,
        before: Option<Revision>,
        limit: usize,
        keep: impl Fn(&Record) -> Keep<T> + Send + 'static,
    ) -> Result<Page<T>, Refusal> {
        let journal = Arc::clone(&self.journal);
        let read = tokio::task::spawn_blocking(move || scan(journal.as_ref(), before, limit, &keep)).await;
        Ok(read.unwrap_or(Err(JournalError::Busy))?)
    }
}

fn scan<T>(
    journal: &dyn Journal,
    before: Option<Revision>,
    limit: usize,
    keep: &dyn Fn(&Record) -> Keep<T>,
) -> Result<Page<T>, JournalError> {
    let mut end = before.map_or(u64::MAX, |revision| revision.0).min(journal.head().revision.0 + 1);
    let stop = end.saturating_sub(SCAN_MAX).max(1);
    let mut records = Vec::new();
    while end > stop {
        let start = end.saturating_sub(PAGE).max(stop);
        let page = journal.read(Revision(start), usize::try_from(end - start).unwrap_or(usize::MAX))?;
        for stored in page.iter().rev() {
            let record = open(stored)?;
            match keep(&record) {
                Keep::Yes(kept) => records.push(kept),
                Keep::No => {}
                Keep::Stop => return Ok(Page { records, next: None }),
            }
            if records.len() == limit {
                return Ok(Page { records, next: (record.revision.0 > 1).then_some(record.revision) });
            }
        }
        end = start;
    }
    Ok(Page { records, next: (end > 1).then_some(Revision(end)) })
}
