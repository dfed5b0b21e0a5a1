//! The translated flags of one snapshot, made once from those of the snapshot before, and then only read.
//!
//! A flag is translated again when it was changed or killed, or when it depends on others. Whatever has no translation
//! is named in the log when it is first seen so.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::eval::compiled::Compiled;
use crate::eval::translate::{depends_on_others, translate};
use crate::flag::key::FlagId;
use crate::snapshot::Snapshot;

/// Flags that are named in the log for one snapshot; the rest is counted.
const NAMED_MAX: usize = 20;

/// One flag.
#[derive(Debug)]
struct Held {
    flag: Arc<Compiled>,
    killed: bool,
    /// The flag's JSON, or the codes of what stands in the way.
    text: Result<Box<str>, Vec<&'static str>>,
}

/// The flags of one snapshot.
#[derive(Debug, Default)]
pub(super) struct Translations {
    held: HashMap<FlagId, Arc<Held>>,
    left_out: usize,
    sources: BTreeSet<Box<str>>,
}

impl Translations {
    /// The flag's JSON, where it has a translation.
    pub(super) fn get(&self, id: &FlagId) -> Option<&str> {
        self.held.get(id)?.text.as_deref().ok()
    }

    /// How many flags have none.
    pub(super) fn left_out(&self) -> usize {
        self.left_out
    }

    /// True where some flags came from a source of that name.
    pub(super) fn come_from(&self, source: &str) -> bool {
        self.sources.contains(source)
    }

    /// Translates what is in a snapshot; `before` are the translations of an older one.
    pub(super) fn of(snapshot: &Snapshot, before: Option<&Self>) -> Self {
        let mut new = Self::default();
        let mut news = Vec::new();
        for flag in snapshot.set.iter() {
            let Some(flag) = snapshot.set.get_shared(flag.id()) else { continue };
            if let Some(source) = flag.definition().source.as_deref()
                && !new.sources.contains(source)
            {
                new.sources.insert(source.into());
            }
            let killed = snapshot.kills().killed(flag.id()).is_some();
            let old = before.and_then(|before| before.held.get(flag.id()));
            let same = |held: &Held| Arc::ptr_eq(&held.flag, flag) && held.killed == killed && !depends_on_others(flag);
            let held = match old {
                Some(held) if same(held) => Arc::clone(held),
                old => {
                    let held = Held { flag: Arc::clone(flag), killed, text: written(snapshot, flag) };
                    let known = old.is_some_and(|old| Arc::ptr_eq(&old.flag, flag) && old.text == held.text);
                    if held.text.is_err() && !known {
                        news.push(flag.id().clone());
                    }
                    Arc::new(held)
                }
            };
            new.left_out += usize::from(held.text.is_err());
            new.held.insert(flag.id().clone(), held);
        }
        new.tell(snapshot, &news);
        new
    }

    fn tell(&self, snapshot: &Snapshot, news: &[FlagId]) {
        for id in news.iter().take(NAMED_MAX) {
            let reasons = self.held.get(id).and_then(|held| held.text.as_ref().err());
            tracing::warn!(
                environment = %snapshot.environment,
                flag = %id,
                revision = snapshot.revision.0,
                ?reasons,
                "flagd clients that evaluate by themselves do not see this flag: it has no exact translation; \
                 `rampart check --for flagd-sync` says what to write instead"
            );
        }
        if let Some(more) = news.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            tracing::warn!(environment = %snapshot.environment, more, "more flags have no exact translation for flagd");
        }
    }
}

fn written(snapshot: &Snapshot, flag: &Compiled) -> Result<Box<str>, Vec<&'static str>> {
    let translated = translate(&snapshot.set, flag);
    translated.map(|flag| flag.to_string().into()).map_err(|found| {
        let mut codes: Vec<&str> = found.iter().map(|obstacle| obstacle.code).collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    })
}
