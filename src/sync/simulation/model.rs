//! What must be, told a second time and simply: maps of what was written, lists of who killed what. Shares no code with
//! the machines, so that a mistake there cannot hide here.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::flag::key::{FlagId, FlagKey};
use crate::sync::message::{Digest, Epoch};

/// Flags that a store may have.
pub(super) const FLAGS: u8 = 8;

/// A flag by its number in its environment.
pub(super) type FlagNumber = u8;

/// The flag of that number. Environments share no names, so that a flag betrays where it came from.
pub(super) fn flag(environment: &str, number: FlagNumber) -> FlagId {
    FlagId::plain(FlagKey::new(&format!("{environment}-{number}")).expect("a valid key"))
}

/// The number of a flag of this environment; none for another's.
pub(super) fn number_of(environment: &str, key: &str) -> Option<FlagNumber> {
    key.strip_prefix(environment)?.strip_prefix('-')?.parse().ok()
}

/// One definition: what it serves follows from a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) revision: u64,
    pub(super) number: u64,
}

impl Written {
    /// One in six is a definition that no client can use.
    pub(super) fn is_usable(self) -> bool {
        !self.number.is_multiple_of(6)
    }

    /// One in four is moved by a rollout.
    pub(super) fn is_allocated(self) -> bool {
        self.number.is_multiple_of(4)
    }

    pub(super) fn payload(self) -> Arc<[u8]> {
        let (a, b) = (self.number * 2, self.number * 2 + 1);
        let default = if self.is_usable() { "off" } else { "nowhere" };
        let text =
            format!(r#"{{"defaultVariant":"{default}","serve":{{"a":100}},"variants":{{"a":{a},"b":{b},"off":0}}}}"#);
        text.into_bytes().into()
    }

    pub(super) fn allocation(self) -> Option<Arc<[u8]>> {
        self.is_allocated().then(|| br#"{"b":100}"#.as_slice().into())
    }

    /// What it serves to everybody while it is not killed. Killed flags serve 0.
    pub(super) fn value(self) -> u64 {
        self.number * 2 + u64::from(self.is_allocated())
    }
}

/// One environment at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) epoch: Epoch,
    pub(super) revision: u64,
    pub(super) digest: Digest,
    pub(super) flags: BTreeMap<FlagNumber, Written>,
}

/// Kills and restores that somebody knows of, by generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known {
    pub(super) epoch: Epoch,
    pub(super) words: BTreeMap<u64, (FlagNumber, bool)>,
    /// Every word up to here is known.
    pub(super) complete_to: u64,
}

impl Known {
    /// The newest word on each flag.
    pub(super) fn last(&self) -> BTreeMap<FlagNumber, (u64, bool)> {
        self.words.iter().map(|(at, (flag, killed))| (*flag, (*at, *killed))).collect()
    }

    /// The flags that are killed, and since which generation.
    pub(super) fn killed(&self) -> BTreeMap<FlagNumber, u64> {
        self.last().into_iter().filter(|(_, (_, killed))| *killed).map(|(flag, (at, _))| (flag, at)).collect()
    }

    /// The newest generation.
    pub(super) fn generation(&self) -> u64 {
        self.words.keys().next_back().copied().unwrap_or(0)
    }

    /// The rule of `subscription.proto`, word by word instead of flag by flag.
    pub(super) fn merged(&self, arrived: &Self) -> Self {
        if self.epoch != arrived.epoch {
            return arrived.clone();
        }
        let (wiser, other) = if arrived.complete_to >= self.complete_to { (arrived, self) } else { (self, arrived) };
        let mut merged = wiser.clone();
        merged.words.extend(other.words.iter().filter(|(at, _)| **at > wiser.complete_to));
        merged
    }
}

/// What a client must hold, as far as the history says.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// The state it applied last.
    pub(super) state: Option<Rc<State>>,
    /// What each flag serves: its newest usable definition that this client saw.
    pub(super) values: BTreeMap<FlagNumber, u64>,
    pub(super) known: Known,
    /// Kills that it applied and that nothing it applied since has undone.
    pub(super) kills: BTreeMap<FlagNumber, u64>,
    /// What it told its user last of each flag: a revision, and whether the flag was gone.
    pub(super) told: BTreeMap<FlagNumber, (u64, bool)>,
}

impl Held {
    pub(super) fn apply(&mut self, state: &Rc<State>) {
        let value = |(flag, written): (&FlagNumber, &Written)| {
            let value = if written.is_usable() { Some(written.value()) } else { self.values.get(flag).copied() };
            value.map(|value| (*flag, value))
        };
        self.values = state.flags.iter().filter_map(value).collect();
        self.state = Some(Rc::clone(state));
    }

    /// Takes in a kill set. `lost` says which generations a store lost without saying so: those may be taken back.
    pub(super) fn apply_kills(&mut self, arrived: &Known, lost: impl Fn(u64) -> bool) {
        if self.known.epoch != arrived.epoch {
            self.kills.clear();
        }
        let last = arrived.last();
        self.kills.retain(|flag, at| {
            let undone = last.get(flag).is_some_and(|(word, killed)| !killed && word > at);
            let lost = lost(*at) && arrived.complete_to >= *at;
            !(undone || lost)
        });
        let merged = self.known.merged(arrived);
        for (flag, at) in arrived.killed() {
            // What was undone already stays undone: an old set brings nothing back.
            if merged.killed().get(&flag) == Some(&at) {
                self.kills.insert(flag, at);
            }
        }
        self.known = merged;
    }
}
