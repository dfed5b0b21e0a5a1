//! What happened between two snapshots, as event streams tell it: found out once and encoded once for all streams.
//!
//! After a change thousands of streams look at the same two snapshots, and most of them select everything. So the last
//! few differences are kept, each with the messages that were made of it; a stream that lagged behind pays for its own.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use connectrpc::{CodecFormat, ConnectError};
use hyper::body::Bytes;

use super::encode;
use crate::flag::key::FlagId;
use crate::flag::time::Generation;
use crate::serve::selection::{Selection, Selector};
use crate::snapshot::Snapshot;
use crate::snapshot::changes::{ChangeKind, between, kills_after};

/// Flags in one message: clients take four megabytes, a key has at most 256 bytes.
const FLAGS_IN_MESSAGE: usize = 10_000;
/// Differences that are kept: streams lag behind by one or two.
const KEPT: usize = 8;
/// Selectors whose messages are kept with a difference. Callers choose them, so there is an end to it.
const SELECTORS_KEPT: usize = 64;

/// The last differences.
#[derive(Debug, Default)]
pub struct Changes {
    recent: Mutex<VecDeque<Arc<Difference>>>,
}

/// Who is told alike: the selector, and whether JSON is spoken.
type Listener = (Option<Box<str>>, bool);

/// What is told to one stream.
type Messages = Arc<[Bytes]>;

/// Between two snapshots. Holds neither of them.
#[derive(Debug)]
struct Difference {
    before: Weak<Snapshot>,
    after: Weak<Snapshot>,
    /// None inside: everything may differ.
    flags: OnceLock<Option<Vec<(FlagId, ChangeKind)>>>,
    told: Mutex<HashMap<Listener, Messages>>,
}

impl Changes {
    /// The `configuration_change` events of a stream that has a selector; none where nothing differs for it.
    ///
    /// # Errors
    /// INTERNAL; never in practice.
    pub fn messages(
        &self,
        before: &Arc<Snapshot>,
        after: &Arc<Snapshot>,
        selector: Option<&str>,
        format: CodecFormat,
    ) -> Result<Messages, ConnectError> {
        let difference = self.difference(before, after);
        let flags = difference.flags.get_or_init(|| between(before, after));
        let key = (selector.map(Box::from), format == CodecFormat::Json);
        let mut told = difference.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(messages) = told.get(&key) {
            return Ok(Arc::clone(messages));
        }
        let selector = Selector::parse(selector).map_err(|fault| ConnectError::invalid_argument(fault.to_string()))?;
        let changed: Vec<_> = changed(before, after, selector, flags.as_deref()).into_iter().collect();
        let parts = changed.chunks(FLAGS_IN_MESSAGE);
        let parts = parts.map(|part| encode::event("configuration_change", Some(part), format));
        let messages: Messages = parts.collect::<Result<Vec<_>, _>>()?.into();
        if told.len() < SELECTORS_KEPT {
            told.insert(key, Arc::clone(&messages));
        }
        Ok(messages)
    }

    fn difference(&self, before: &Arc<Snapshot>, after: &Arc<Snapshot>) -> Arc<Difference> {
        let is = |held: &Weak<Snapshot>, snapshot: &Arc<Snapshot>| std::ptr::eq(held.as_ptr(), Arc::as_ptr(snapshot));
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // A weak pointer keeps its address from being used again, so the same address is the same snapshot.
        let held = recent.iter().find(|held| is(&held.before, before) && is(&held.after, after));
        if let Some(held) = held {
            return Arc::clone(held);
        }
        let difference = Arc::new(Difference {
            before: Arc::downgrade(before),
            after: Arc::downgrade(after),
            flags: OnceLock::new(),
            told: Mutex::default(),
        });
        recent.push_front(Arc::clone(&difference));
        recent.truncate(KEPT);
        difference
    }
}

/// The `configuration_change` events that a new stream begins with: kills and restores after a generation.
///
/// # Errors
/// INTERNAL; never in practice.
pub fn missed(
    snapshot: &Snapshot,
    since: Generation,
    selector: Selector<'_>,
    format: CodecFormat,
) -> Result<Vec<Bytes>, ConnectError> {
    let flags = kills_after(snapshot, since);
    let selection = Selection::of(snapshot, selector);
    let told = |id: &&FlagId| selection.find(id.key.as_str()).is_some_and(|flag| flag.id() == *id);
    let keys: Vec<_> = flags.iter().filter(told).map(|id| (id.key.as_str(), word(true, true))).collect();
    keys.chunks(FLAGS_IN_MESSAGE).map(|part| encode::event("configuration_change", Some(part), format)).collect()
}

/// The keys that may answer differently for a selector, with flagd's words for what became of them.
fn changed<'s>(
    before: &'s Snapshot,
    after: &'s Snapshot,
    selector: Selector<'s>,
    flags: Option<&'s [(FlagId, ChangeKind)]>,
) -> BTreeMap<&'s str, &'static str> {
    let (old, new) = (Selection::of(before, selector), Selection::of(after, selector));
    let Some(flags) = flags else {
        let every = old.iter().chain(new.iter()).map(|flag| flag.id().key.as_str());
        return every.map(|key| (key, word(old.find(key).is_some(), new.find(key).is_some()))).collect();
    };
    let told = |(id, _): &'s (FlagId, ChangeKind)| {
        let key = id.key.as_str();
        match (old.find(key), new.find(key)) {
            (None, None) => None,
            // The flag that the key names is another one than this.
            (Some(old), Some(new)) if old.id() == new.id() && new.id() != id => None,
            (old, new) => Some((key, word(old.is_some(), new.is_some()))),
        }
    };
    flags.iter().filter_map(told).collect()
}

fn word(before: bool, after: bool) -> &'static str {
    match (before, after) {
        (false, _) => "write",
        (true, true) => "update",
        (true, false) => "delete",
    }
}
