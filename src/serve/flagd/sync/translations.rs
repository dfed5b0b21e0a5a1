//! The translated flags of one environment, kept from snapshot to snapshot.
//!
//! A flag is translated again when it was changed or killed, or when it depends on others. Whatever has no translation
//! is named in the log when it is first seen so.

use std::collections::HashMap;
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

/// The flags of one environment.
#[derive(Debug, Default)]
pub(super) struct Translations {
    held: HashMap<FlagId, Held>,
    left_out: usize,
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

    /// Takes over what is in a snapshot.
    pub(super) fn update(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.held);
        let mut news = Vec::new();
        for flag in snapshot.set.iter() {
            let Some(flag) = snapshot.set.get_shared(flag.id()) else { continue };
            let killed = snapshot.kills().killed(flag.id()).is_some();
            let old = before.remove(flag.id());
            let same = |held: &Held| Arc::ptr_eq(&held.flag, flag) && held.killed == killed && !depends_on_others(flag);
            let held = match old {
                Some(held) if same(&held) => held,
                old => {
                    let held = Held { flag: Arc::clone(flag), killed, text: written(snapshot, flag) };
                    let known = old.is_some_and(|old| Arc::ptr_eq(&old.flag, flag) && old.text == held.text);
                    if held.text.is_err() && !known {
                        news.push(flag.id().clone());
                    }
                    held
                }
            };
            self.held.insert(flag.id().clone(), held);
        }
        self.left_out = self.held.values().filter(|held| held.text.is_err()).count();
        self.tell(snapshot, &news);
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
