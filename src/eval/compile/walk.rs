//! A walk over references: dependencies before their users, and every circle found on the way.
//!
//! Iterative, since a hostile import may hold a chain of 100,000 references.

use std::collections::HashMap;
use std::hash::Hash;

/// What a walk found.
#[derive(Debug)]
pub(super) struct Walk<N> {
    /// Every node that was reached, each after all it refers to, circles apart.
    pub(super) order: Vec<N>,
    /// Circles, each node named once.
    pub(super) circles: Vec<Vec<N>>,
}

/// Walks from `roots` along `references`.
pub(super) fn walk<N: Clone + Eq + Hash>(
    roots: impl IntoIterator<Item = N>,
    references: impl Fn(&N) -> Vec<N>,
) -> Walk<N> {
    let mut found = Walk { order: Vec::new(), circles: Vec::new() };
    // Node → its place in the path while it is open; none when it is done.
    let mut seen: HashMap<N, Option<usize>> = HashMap::new();
    for root in roots {
        if seen.contains_key(&root) {
            continue;
        }
        let mut path = vec![(root.clone(), references(&root).into_iter())];
        seen.insert(root, Some(0));
        while let Some((node, rest)) = path.last_mut() {
            match rest.next() {
                None => {
                    seen.insert(node.clone(), None);
                    found.order.push(node.clone());
                    path.pop();
                }
                Some(next) => match seen.get(&next) {
                    Some(None) => {}
                    Some(Some(start)) => {
                        found.circles.push(path[*start..].iter().map(|(node, _)| node.clone()).collect());
                    }
                    None => {
                        seen.insert(next.clone(), Some(path.len()));
                        let rest = references(&next).into_iter();
                        path.push((next, rest));
                    }
                },
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &'static [(u32, u32)]) -> impl Fn(&u32) -> Vec<u32> {
        |from| list.iter().filter(|(start, _)| start == from).map(|(_, end)| *end).collect()
    }

    #[test]
    fn dependencies_come_before_their_users() {
        let found = walk([1], edges(&[(1, 2), (1, 3), (2, 4), (3, 4)]));
        assert_eq!((found.order, found.circles), (vec![4, 2, 3, 1], vec![]));
    }

    #[test]
    fn every_circle_is_found_also_one_of_a_single_node() {
        let found = walk([1], edges(&[(1, 2), (2, 3), (3, 2), (1, 1)]));
        assert_eq!(found.circles, vec![vec![2, 3], vec![1]]);
        assert_eq!(found.order.len(), 3);
    }

    #[test]
    fn a_chain_of_a_million_does_not_end_the_stack() {
        let found = walk([0u32], |node| if *node < 1_000_000 { vec![node + 1] } else { vec![] });
        assert_eq!(found.order.len(), 1_000_001);
    }
}
