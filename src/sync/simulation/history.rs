//! What happened, in order, and what went wrong: the last lines are printed with a violation.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

/// Lines that are printed with a violation.
const TAIL: usize = 40;

/// The invariants of a subscription, by their names in the design: etcd's seven, and ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Invariant {
    Ordered,
    Unique,
    Reliable,
    Atomic,
    Resumable,
    Bookmarkable,
    Filtered,
    Convergent,
    KillBounded,
    NoResurrection,
    Durable,
    Monotone,
    HonestAcknowledgements,
}

/// One invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) invariant: Invariant,
    pub(super) what: String,
}

/// What a check says.
pub(super) type Verdict = Result<(), Violation>;

impl Invariant {
    /// Holds, or does not, and then says what is wrong.
    pub(super) fn holds(self, holds: bool, what: impl FnOnce() -> String) -> Verdict {
        if holds { Ok(()) } else { Err(Violation { invariant: self, what: what() }) }
    }
}

/// Every operation of one run, as text; and which kinds of operation occurred at all.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) lines: VecDeque<(u64, String)>,
    /// Everything is kept, for a replay that prints it.
    pub(super) whole: bool,
    pub(super) reached: BTreeSet<&'static str>,
}

impl History {
    /// Keeps a line where somebody will read it: a seed that fails is run once more with its history.
    pub(super) fn note(&mut self, now: u64, line: impl FnOnce() -> String) {
        if !self.whole {
            return;
        }
        self.lines.push_back((now, line()));
    }

    /// An operation of this kind occurred.
    pub(super) fn reach(&mut self, word: &'static str) {
        self.reached.insert(word);
    }
}

/// A seed that fails, and where.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) seed: u64,
    pub(super) step: u64,
    pub(super) violation: Violation,
    pub(super) history: History,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, step, violation, history } = self;
        writeln!(f, "seed {seed}, step {step}: {:?} does not hold: {}", violation.invariant, violation.what)?;
        let skipped = history.lines.len().saturating_sub(TAIL);
        writeln!(f, "the last of {} lines of history:", history.lines.len())?;
        for (at, line) in history.lines.iter().skip(skipped) {
            writeln!(f, "  {at:>4}  {line}")?;
        }
        write!(f, "replay it exactly: make simulate SEED={seed}")
    }
}

impl History {
    /// Every line, for a replay.
    pub(super) fn print(&self) {
        for (at, line) in &self.lines {
            println!("{at:>4}  {line}");
        }
    }
}
