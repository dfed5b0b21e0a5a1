//! What is served now, swapped whole: a reader takes the state that is there and never waits.
//!
//! The second home of `ArcSwap`, beside `snapshot::hub`: the client is built without the server. Written by the one
//! task that owns the copy.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::eval::compiled::Compiled;
use crate::eval::set::CompiledSet;
use crate::flag::key::FlagSetName;
use crate::flag::time::{Generation, Revision};

/// Where the flags that answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// There are none yet: code defaults count.
    #[default]
    Nothing,
    /// The last-known-good file.
    File,
    /// The server, in this process.
    Server,
}

/// How a client is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Where the flags that answer came from.
    pub source: Source,
    /// The environment; none before the server or the file named it.
    pub environment: Option<Arc<str>>,
    /// The revision that answers; none before there is one.
    pub revision: Option<Revision>,
    /// The kill generation in force.
    pub kill_generation: Generation,
    /// How many flags there are.
    pub flags: usize,
    /// A stream to the server is open.
    pub connected: bool,
    /// Nothing was heard for longer than the options allow; values are served all the same.
    pub stale: bool,
    /// The server does not let this client in at the moment.
    pub denied: bool,
    /// How often the server sent everything instead of what is new, since the client started.
    pub full_transfers: u64,
    /// Objects that this version cannot use; their last usable form answers.
    pub rejected: usize,
}

/// The flags that answer, and how the client is.
#[derive(Debug, Clone, Default)]
pub(super) struct Served {
    pub(super) set: CompiledSet,
    /// The flag sets that there are, by name.
    pub(super) flag_sets: Arc<[FlagSetName]>,
    pub(super) status: Status,
}

/// The present [`Served`].
#[derive(Debug, Default)]
pub(super) struct State(ArcSwap<Served>);

impl State {
    /// Runs a function on what is served now. Nothing is locked meanwhile.
    #[inline]
    pub(super) fn read<T>(&self, read: impl FnOnce(&Served) -> T) -> T {
        read(&self.0.load())
    }

    /// Puts something else in its place. Called by one task only.
    pub(super) fn change(&self, change: impl FnOnce(&mut Served)) {
        let mut served = Served::clone(&self.0.load());
        change(&mut served);
        self.0.store(Arc::new(served));
    }
}

impl Served {
    /// The flag that a key names: in `flag_set` where one is asked for (empty: flags in no set), else the one in no
    /// set, else the one in the first set by name. The rule of every surface of the server.
    #[inline]
    pub(super) fn find(&self, flag_set: Option<&str>, key: &str) -> Option<&Compiled> {
        if let Some(name) = flag_set {
            return self.set.flag((!name.is_empty()).then_some(name), key);
        }
        let in_set = |name: &FlagSetName| self.set.flag(Some(name.as_str()), key);
        self.set.flag(None, key).or_else(|| self.flag_sets.iter().find_map(in_set))
    }
}

/// The flag sets of a set, by name.
pub(super) fn flag_sets(set: &CompiledSet) -> Arc<[FlagSetName]> {
    // Flags come set by set.
    let mut names: Vec<FlagSetName> = set.iter().filter_map(|flag| flag.id().flag_set.clone()).collect();
    names.dedup();
    names.into()
}
