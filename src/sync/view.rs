//! What one environment's subscribers keep up with at one moment: the one thing the server's machine reads.
//!
//! Immutable and cheap to clone; one is made for every published snapshot, and a session's every decision is made on
//! one view, so that no update can fall between two reads. It holds the digests of past revisions: a resume token whose
//! digest differs betrays a store whose past was changed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::kills::KillList;
use super::limits::HISTORY_MAX;
use super::message::{Digest, Epoch, FullReason, Resume};
use super::objects::Objects;
use crate::eval::fractional::FractionalHash;
use crate::flag::kill::KillSet;
use crate::flag::time::Revision;

/// One environment at one revision, as subscribers see it.
#[derive(Debug, Clone)]
pub struct View {
    epoch: Epoch,
    revision: Revision,
    digest: Digest,
    kills: Arc<KillSet>,
    kill_list: Arc<KillList>,
    objects: Objects,
    history: Arc<VecDeque<(Revision, Digest)>>,
    fractional_hash: FractionalHash,
}

/// What a resume token is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The token is a place in this history: go on from there.
    Known,
    /// Everything has to be sent.
    Full(FullReason),
}

impl View {
    /// An environment before its first revision.
    pub fn empty(epoch: Epoch) -> Self {
        let kills = Arc::new(KillSet::default());
        Self {
            epoch,
            revision: Revision::ZERO,
            digest: [0; 16],
            kill_list: Arc::new(KillList::of(&kills)),
            kills,
            objects: Objects::default(),
            history: Arc::default(),
            fractional_hash: FractionalHash::default(),
        }
    }

    /// The same view for subscribers to whom another generation of `fractional` counts where a flag names none.
    #[must_use]
    pub fn with_fractional_hash(&self, fractional_hash: FractionalHash) -> Self {
        Self { fractional_hash, ..self.clone() }
    }

    /// Which generation of `fractional` counts where a flag names none.
    pub fn fractional_hash(&self) -> FractionalHash {
        self.fractional_hash
    }

    /// The view after this one, with the same kills. In another epoch the history begins anew.
    #[must_use]
    pub fn advance(&self, epoch: Epoch, revision: Revision, digest: Digest, objects: Objects) -> Self {
        let mut history = if epoch == self.epoch { VecDeque::clone(&self.history) } else { VecDeque::new() };
        history.retain(|(known, _)| *known < revision);
        history.push_back((revision, digest));
        let surplus = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..surplus);
        Self { epoch, revision, digest, objects, history: Arc::new(history), ..self.clone() }
    }

    /// The same view with digests of earlier revisions, oldest first, such as the journal has them: after a restart,
    /// clients that were up to date then need only what is new. Those not below the oldest one known are ignored.
    #[must_use]
    pub fn remembering(&self, earlier: impl IntoIterator<Item = (Revision, Digest)>) -> Self {
        let first = self.history.front().map_or(self.revision, |(first, _)| *first);
        let mut history: VecDeque<_> = earlier.into_iter().filter(|(known, _)| *known < first).collect();
        history.extend(self.history.iter().copied());
        let surplus = history.len().saturating_sub(HISTORY_MAX);
        history.drain(..surplus);
        Self { history: Arc::new(history), ..self.clone() }
    }

    /// The same view with other kills.
    #[must_use]
    pub fn with_kills(&self, kills: Arc<KillSet>) -> Self {
        // Most publishes bring the same kills in another place; what was made of them is kept.
        if Arc::ptr_eq(&kills, &self.kills) || kills == self.kills {
            return self.clone();
        }
        Self { kill_list: Arc::new(KillList::of(&kills)), kills, ..self.clone() }
    }

    /// Which history.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The digest at that revision.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The kills in force.
    pub fn kills(&self) -> &Arc<KillSet> {
        &self.kills
    }

    /// The kills in force as they are sent.
    pub fn kill_list(&self) -> &Arc<KillList> {
        &self.kill_list
    }

    /// The objects.
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// What a resume token is worth here.
    pub fn judge(&self, resume: &Resume) -> Standing {
        if resume.epoch != self.epoch {
            return Standing::Full(FullReason::EpochChanged);
        }
        if resume.revision > self.revision {
            return Standing::Full(FullReason::FutureRevision);
        }
        if resume.revision < self.objects.compacted() {
            return Standing::Full(FullReason::Compacted);
        }
        match self.history.binary_search_by_key(&resume.revision, |(revision, _)| *revision) {
            Ok(at) if self.history[at].1 == resume.digest => Standing::Known,
            Ok(_) => Standing::Full(FullReason::DigestMismatch),
            Err(_) => Standing::Full(FullReason::Compacted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::time::Generation;

    fn view(upto: u64) -> View {
        (1..=upto).fold(View::empty([1; 16]), |view, revision| {
            view.advance([1; 16], Revision(revision), digest(revision), view.objects().clone())
        })
    }

    fn digest(revision: u64) -> Digest {
        u128::from(revision).to_be_bytes()
    }

    fn token(epoch: u8, revision: u64, digest: Digest) -> Resume {
        Resume { epoch: [epoch; 16], revision: Revision(revision), digest, kill_generation: Generation::ZERO }
    }

    #[test]
    fn a_token_is_judged_by_epoch_revision_and_digest() {
        let view = view(10);
        for (token, standing) in [
            (token(1, 10, digest(10)), Standing::Known),
            (token(1, 3, digest(3)), Standing::Known),
            (token(1, 3, digest(4)), Standing::Full(FullReason::DigestMismatch)),
            (token(1, 11, digest(11)), Standing::Full(FullReason::FutureRevision)),
            (token(2, 3, digest(3)), Standing::Full(FullReason::EpochChanged)),
        ] {
            assert_eq!(view.judge(&token), standing, "{token:?}");
        }
    }

    #[test]
    fn a_token_older_than_the_memory_costs_everything() {
        let view = view(HISTORY_MAX as u64 + 5);
        assert_eq!(view.judge(&token(1, 5, digest(5))), Standing::Full(FullReason::Compacted));
        assert_eq!(view.judge(&token(1, 6, digest(6))), Standing::Known);
    }

    #[test]
    fn digests_that_the_journal_has_make_old_tokens_good_again() {
        let fresh = View::empty([1; 16]).advance([1; 16], Revision(10), digest(10), Objects::default());
        assert_eq!(fresh.judge(&token(1, 9, digest(9))), Standing::Full(FullReason::Compacted));
        let fresh = fresh.remembering((1..=10).map(|revision| (Revision(revision), digest(revision))));
        assert_eq!(fresh.judge(&token(1, 9, digest(9))), Standing::Known);
        assert_eq!(fresh.judge(&token(1, 10, digest(10))), Standing::Known);
        assert_eq!(fresh.judge(&token(1, 9, digest(8))), Standing::Full(FullReason::DigestMismatch));
    }

    #[test]
    fn another_epoch_begins_a_new_history() {
        let view = view(10).advance([2; 16], Revision(4), digest(44), Objects::default());
        assert_eq!(view.judge(&token(2, 3, digest(3))), Standing::Full(FullReason::Compacted));
        assert_eq!(view.judge(&token(2, 4, digest(44))), Standing::Known);
        assert_eq!(view.judge(&token(1, 4, digest(4))), Standing::Full(FullReason::EpochChanged));
    }
}
