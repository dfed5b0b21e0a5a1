//! All flags in order, in chunks: what bulk evaluation walks, so that no request ever sorts.
//!
//! A change copies the chunk it falls into and shares the others.

use std::sync::Arc;

use crate::flag::key::FlagId;

use super::compiled::Compiled;
use super::table::Edit;

/// A chunk that grows beyond this is cut in two.
const CHUNK_MAX: usize = 256;

/// Flags in the order of their identity: flags without a flag set first, then set by set, each by key.
#[derive(Debug, Clone, Default)]
pub(super) struct Chunks {
    /// Never empty inside; each chunk sorted, and all of it before the next one.
    chunks: Arc<[Arc<[Arc<Compiled>]>]>,
    len: usize,
}

impl Chunks {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Compiled>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The flags from the first one that is not `before` the wanted place.
    pub(super) fn starting(&self, before: impl Fn(&FlagId) -> bool) -> impl Iterator<Item = &Arc<Compiled>> {
        let first = self.chunks.partition_point(|chunk| chunk.last().is_some_and(|flag| before(flag.id())));
        self.chunks[first..].iter().flat_map(|chunk| chunk.iter()).skip_while(move |flag| before(flag.id()))
    }

    /// The flags after some edits, at most one for each flag; chunks without an edit are shared.
    pub(super) fn edited(&self, edits: &[Edit<Compiled>]) -> Self {
        if edits.is_empty() {
            return self.clone();
        }
        let mut edits: Vec<&Edit<Compiled>> = edits.iter().collect();
        edits.sort_by(|left, right| left.subject().id().cmp(right.subject().id()));
        let mut rest = edits.as_slice();
        let mut chunks = Vec::with_capacity(self.chunks.len() + 1);
        for (index, chunk) in self.chunks.iter().enumerate() {
            let mine = match self.chunks.get(index + 1).and_then(|next| next.first()) {
                Some(next) => rest.partition_point(|edit| edit.subject().id() < next.id()),
                None => rest.len(),
            };
            let (edits, later) = rest.split_at(mine);
            rest = later;
            if edits.is_empty() {
                chunks.push(Arc::clone(chunk));
            } else {
                push_cut(&mut chunks, merged(chunk, edits));
            }
        }
        push_cut(&mut chunks, merged(&[], rest));
        let len = chunks.iter().map(|chunk| chunk.len()).sum();
        Self { chunks: chunks.into(), len }
    }
}

/// A sorted chunk after sorted edits.
fn merged(chunk: &[Arc<Compiled>], edits: &[&Edit<Compiled>]) -> Vec<Arc<Compiled>> {
    let mut flags = Vec::with_capacity(chunk.len() + edits.len());
    let mut old = chunk.iter().peekable();
    for edit in edits {
        let id = edit.subject().id();
        while let Some(flag) = old.next_if(|flag| flag.id() < id) {
            flags.push(Arc::clone(flag));
        }
        old.next_if(|flag| flag.id() == id);
        if let Edit::Put(flag) = edit {
            flags.push(Arc::clone(flag));
        }
    }
    flags.extend(old.cloned());
    flags
}

fn push_cut(chunks: &mut Vec<Arc<[Arc<Compiled>]>>, flags: Vec<Arc<Compiled>>) {
    if flags.len() <= CHUNK_MAX {
        if !flags.is_empty() {
            chunks.push(flags.into());
        }
        return;
    }
    chunks.extend(flags.chunks(CHUNK_MAX / 2).map(Arc::from));
}
