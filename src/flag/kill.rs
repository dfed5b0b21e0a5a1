//! The kill lane's state: which flags are off, since which generation, and how two nodes' knowledge is merged.
//!
//! A mark is kept when a flag is restored, so that an old kill that arrives late cannot come back. What a killed flag
//! serves is decided in `eval`, not here.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::key::FlagId;
use super::time::Generation;

/// The last word on one flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillMark {
    /// When, in the kill lane's count.
    pub generation: Generation,
    /// Killed, or restored.
    pub killed: bool,
}

/// All marks of one environment. Merging is commutative, associative and idempotent: per flag the largest generation
/// wins, and a kill wins over a restore of the same generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KillSet {
    generation: Generation,
    killed: usize,
    marks: HashMap<FlagId, KillMark>,
}

impl KillSet {
    /// The newest generation that any mark carries.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How many flags are killed now.
    pub fn len(&self) -> usize {
        self.killed
    }

    /// True where no flag is killed now.
    pub fn is_empty(&self) -> bool {
        self.killed == 0
    }

    /// The generation of the kill in force for a flag, if there is one.
    pub fn killed(&self, flag: &FlagId) -> Option<Generation> {
        if self.killed == 0 {
            return None;
        }
        self.marks.get(flag).filter(|mark| mark.killed).map(|mark| mark.generation)
    }

    /// The last word on a flag, restored ones included.
    pub fn mark(&self, flag: &FlagId) -> Option<KillMark> {
        self.marks.get(flag).copied()
    }

    /// Takes in one mark. Returns whether it changed anything.
    pub fn merge(&mut self, flag: &FlagId, mark: KillMark) -> bool {
        self.generation = self.generation.max(mark.generation);
        let before = self.marks.get(flag).copied();
        let wins = before.is_none_or(|held| (mark.generation, mark.killed) > (held.generation, held.killed));
        if wins {
            self.killed -= usize::from(before.is_some_and(|held| held.killed));
            self.killed += usize::from(mark.killed);
            self.marks.insert(flag.clone(), mark);
        }
        wins
    }

    /// Takes in every mark of another set.
    pub fn merge_all(&mut self, other: &Self) {
        for (flag, mark) in &other.marks {
            self.merge(flag, *mark);
        }
        self.generation = self.generation.max(other.generation);
    }

    /// The flags that are killed now, in order, with their generations.
    pub fn entries(&self) -> Vec<(&FlagId, Generation)> {
        let mut entries: Vec<_> =
            self.marks.iter().filter(|(_, mark)| mark.killed).map(|(flag, mark)| (flag, mark.generation)).collect();
        entries.sort();
        entries
    }

    /// Every mark, restored ones included, in no particular order.
    pub fn marks(&self) -> impl Iterator<Item = (&FlagId, KillMark)> {
        self.marks.iter().map(|(flag, mark)| (flag, *mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flag::key::FlagKey;
    use proptest::prelude::*;

    fn flag(n: u8) -> FlagId {
        FlagId::plain(FlagKey::new(&format!("flag-{n}")).expect("a valid key"))
    }

    fn marks() -> impl Strategy<Value = Vec<(u8, u64, bool)>> {
        prop::collection::vec((0u8..4, 0u64..6, any::<bool>()), 0..24)
    }

    fn set(marks: &[(u8, u64, bool)]) -> KillSet {
        let mut set = KillSet::default();
        for (n, generation, killed) in marks {
            set.merge(&flag(*n), KillMark { generation: Generation(*generation), killed: *killed });
        }
        set
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(mut list in marks(), seed in any::<u64>()) {
            let straight = set(&list);
            let turn = usize::try_from(seed % 24).unwrap_or(0) % list.len().max(1);
            list.rotate_left(turn);
            list.reverse();
            prop_assert_eq!(&straight, &set(&list));
            prop_assert_eq!(straight.len(), straight.entries().len());
        }

        #[test]
        fn merging_sets_is_commutative_and_idempotent(left in marks(), right in marks()) {
            let (left, right) = (set(&left), set(&right));
            let mut both = left.clone();
            both.merge_all(&right);
            let mut other = right.clone();
            other.merge_all(&left);
            prop_assert_eq!(&both, &other);
            other.merge_all(&left);
            prop_assert_eq!(&both, &other);
        }
    }
}
