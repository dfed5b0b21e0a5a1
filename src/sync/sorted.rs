//! A sorted map that is cheap to clone and to change by a little: the collection below `Objects`.
//!
//! Leaves of at most 256 entries behind shared pointers: a change copies one leaf and the list of leaves, about 600
//! pointers at 100,000 entries, and shares the rest with every earlier clone. Where nobody else holds a leaf it is
//! changed in place, so that filling a new map copies nothing. No general-purpose tree: this is all that is needed.

use std::sync::Arc;

/// Entries of a leaf; it is split in two beyond.
const LEAF_MAX: usize = 256;
/// A leaf with fewer entries is joined with its neighbour where both together stay below half the maximum.
const LEAF_MIN: usize = 32;

/// Neighbours, shared with every clone that has the same.
type Leaf<K, V> = Arc<Vec<(K, V)>>;

/// Keys in order, each with a value.
#[derive(Debug)]
pub(super) struct Sorted<K, V> {
    /// No leaf is empty; keys rise within and across leaves.
    leaves: Arc<Vec<Leaf<K, V>>>,
    len: usize,
}

impl<K, V> Clone for Sorted<K, V> {
    fn clone(&self) -> Self {
        Self { leaves: Arc::clone(&self.leaves), len: self.len }
    }
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Self { leaves: Arc::default(), len: 0 }
    }
}

impl<K: Ord + Clone, V: Clone> Sorted<K, V> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let leaf = self.leaves.get(self.leaf_of(key))?;
        let at = leaf.binary_search_by(|(held, _)| held.cmp(key)).ok()?;
        Some(&leaf[at].1)
    }

    /// Sets the value of a key; gives back the one it had.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let leaves = Arc::make_mut(&mut self.leaves);
        let index = Self::place(leaves, &key).min(leaves.len().saturating_sub(1));
        let Some(leaf) = leaves.get_mut(index) else {
            leaves.push(Arc::new(vec![(key, value)]));
            self.len = 1;
            return None;
        };
        let leaf = Arc::make_mut(leaf);
        match leaf.binary_search_by(|(held, _)| held.cmp(&key)) {
            Ok(at) => return Some(std::mem::replace(&mut leaf[at].1, value)),
            Err(at) => leaf.insert(at, (key, value)),
        }
        self.len += 1;
        if leaf.len() > LEAF_MAX {
            let upper = leaf.split_off(leaf.len() / 2);
            leaves.insert(index + 1, Arc::new(upper));
        }
        None
    }

    /// Takes a key out; gives back its value.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let index = self.leaf_of(key);
        let at = self.leaves.get(index)?.binary_search_by(|(held, _)| held.cmp(key)).ok()?;
        let leaves = Arc::make_mut(&mut self.leaves);
        let leaf = Arc::make_mut(&mut leaves[index]);
        let (_, value) = leaf.remove(at);
        self.len -= 1;
        if leaf.is_empty() {
            leaves.remove(index);
        } else if leaf.len() < LEAF_MIN {
            Self::join(leaves, index);
        }
        Some(value)
    }

    /// The entries from the first on whose key does not come `before`, in order. `before` holds for the keys up to
    /// some point and for none after it.
    pub(super) fn starting(&self, before: impl Fn(&K) -> bool) -> impl Iterator<Item = &(K, V)> {
        let first = self.leaves.partition_point(|leaf| leaf.last().is_some_and(|(last, _)| before(last)));
        let skip = self.leaves.get(first).map_or(0, |leaf| leaf.partition_point(|(key, _)| before(key)));
        self.leaves[first..].iter().flat_map(|leaf| leaf.iter()).skip(skip)
    }

    /// The last entry.
    pub(super) fn last(&self) -> Option<&(K, V)> {
        self.leaves.last().and_then(|leaf| leaf.last())
    }

    /// Every entry, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.leaves.iter().flat_map(|leaf| leaf.iter())
    }

    fn leaf_of(&self, key: &K) -> usize {
        Self::place(&self.leaves, key)
    }

    /// The first leaf whose last key is not below `key`; the number of leaves where there is none.
    fn place(leaves: &[Arc<Vec<(K, V)>>], key: &K) -> usize {
        leaves.partition_point(|leaf| leaf.last().is_some_and(|(last, _)| last < key))
    }

    /// Joins a leaf with its left or its right neighbour, where both together are small.
    fn join(leaves: &mut Vec<Arc<Vec<(K, V)>>>, index: usize) {
        let small = |left: usize| {
            leaves
                .get(left)
                .zip(leaves.get(left + 1))
                .is_some_and(|(left, right)| left.len() + right.len() <= LEAF_MAX / 2)
        };
        let left = index.checked_sub(1).filter(|left| small(*left)).or_else(|| small(index).then_some(index));
        if let Some(left) = left {
            let right = leaves.remove(left + 1);
            Arc::make_mut(&mut leaves[left]).extend(right.iter().cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_holds_what_a_btree_map_holds(edits in prop::collection::vec((any::<bool>(), 0u32..800), 0..2500)) {
            let mut sorted = Sorted::default();
            let mut model = BTreeMap::new();
            for (step, (insert, key)) in edits.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(sorted.insert(key, step), model.insert(key, step));
                } else {
                    prop_assert_eq!(sorted.remove(&key), model.remove(&key));
                }
                prop_assert_eq!(sorted.len(), model.len());
                prop_assert_eq!(sorted.get(&key), model.get(&key));
            }
            let all: Vec<_> = sorted.iter().copied().collect();
            prop_assert_eq!(all, model.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>());
            for key in [0, 1, 399, 400, 799, 900] {
                let after: Vec<u32> = sorted.starting(|held| *held <= key).map(|(key, _)| *key).collect();
                prop_assert_eq!(after, model.range(key + 1..).map(|(key, _)| *key).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_clone_shares_every_leaf_but_the_changed_one() {
        let mut sorted = Sorted::default();
        for key in 0..100_000u32 {
            sorted.insert(key, key);
        }
        let before = sorted.clone();
        sorted.insert(50_000, 1);
        let shared = before.leaves.iter().filter(|leaf| sorted.leaves.iter().any(|other| Arc::ptr_eq(leaf, other)));
        assert_eq!(shared.count(), before.leaves.len() - 1);
        assert_eq!(before.get(&50_000), Some(&50_000), "the earlier clone is as it was");
        assert!(before.leaves.len() < 1000, "{} leaves", before.leaves.len());
    }

    #[test]
    fn leaves_that_were_emptied_here_and_there_are_joined() {
        let mut sorted = Sorted::default();
        for key in 0..100_000u32 {
            sorted.insert(key, ());
        }
        for key in (0..100_000).filter(|key| key % 100 != 0) {
            sorted.remove(&key);
        }
        assert_eq!(sorted.len(), 1000);
        assert!(sorted.leaves.len() <= 1000 / (LEAF_MIN / 2), "{} leaves", sorted.leaves.len());
    }
}
