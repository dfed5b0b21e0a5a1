//! Whose answers a change can change: the flags that were touched, and those that ask them or their segments.
//!
//! For followers that hold answers of single flags and must ask again. It names too many rather than too few: whether
//! an answer really differs depends on the context, which nobody here has.

use std::collections::BTreeSet;

use crate::flag::key::{FlagId, SegmentName};

use super::set::CompiledSet;

/// `flags` and everything of `set` that depends on them or on `segments`, through any number of steps.
pub fn affected(set: &CompiledSet, flags: BTreeSet<FlagId>, segments: BTreeSet<SegmentName>) -> BTreeSet<FlagId> {
    let (mut flags, mut segments) = (flags, segments);
    if !segments.is_empty() {
        grow(&mut segments, |known| {
            let uses = |name: &SegmentName| known.contains(name);
            let users = set.segments().into_iter().filter(|segment| segment.uses.segments.keys().any(uses));
            users.map(|segment| segment.name().clone()).collect()
        });
        let uses = |name: &SegmentName| segments.contains(name);
        let users = set.segmented().filter(|flag| flag.uses.segments.keys().any(uses));
        flags.extend(users.map(|flag| flag.id().clone()));
    }
    grow(&mut flags, |known| {
        // Whichever flag the key resolves to now: before, it may have been another, of its own flag set or of none, that
        // is gone.
        let users = set.requiring().filter(|flag| {
            let own = &flag.id().flag_set;
            flag.requires().iter().any(|required| {
                let plain = FlagId::plain(required.flag.clone());
                known.contains(&plain) || known.contains(&FlagId { flag_set: own.clone(), ..plain })
            })
        });
        users.map(|flag| flag.id().clone()).collect()
    });
    flags
}

/// Adds what `more` finds until it finds nothing new.
fn grow<T: Ord>(known: &mut BTreeSet<T>, more: impl Fn(&BTreeSet<T>) -> Vec<T>) {
    if known.is_empty() {
        return;
    }
    loop {
        let before = known.len();
        let found = more(known);
        known.extend(found);
        if known.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{always, boolean, equals, flag, id, in_segment, requires, rule, segment, set_of};
    use super::*;
    use crate::flag::definition::Definition;

    #[test]
    fn users_of_users_are_found_and_strangers_are_not() {
        let needing = |key: &str| Definition { requires: vec![requires(key, "on")], ..boolean() };
        let asking = |name: &str| Definition { rules: vec![rule(in_segment(name), always("on"))], ..boolean() };
        let set = set_of([
            segment("staff", equals("group", "staff")),
            segment("internal", in_segment("staff")),
            segment("other", equals("group", "other")),
            flag("base", boolean()),
            flag("middle", needing("base")),
            flag("top", needing("middle")),
            flag("inside", asking("internal")),
            flag("outside", asking("other")),
        ]);
        let names = |flags: &[&str], segments: &[&str]| {
            let flags = flags.iter().map(|key| id(key)).collect();
            let segments = segments.iter().map(|name| SegmentName::new(name).expect("a valid name")).collect();
            affected(&set, flags, segments).iter().map(|id| id.key.to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&["base"], &[]), "base middle top");
        assert_eq!(names(&["top"], &[]), "top");
        assert_eq!(names(&[], &["staff"]), "inside");
        assert_eq!(names(&["gone"], &["other"]), "gone outside");
        assert_eq!(names(&[], &[]), "");
    }

    /// What a key resolves to may change with the very change that is asked about.
    #[test]
    fn a_flag_is_found_whatever_its_prerequisite_was_before() {
        let needing = || Definition { requires: vec![requires("base", "on")], ..boolean() };
        let plain =
            [flag("base", boolean()), flag("shop/f", needing()), flag("f", needing()), flag("other/f", needing())];
        let own = [flag("shop/base", boolean())];
        let names = |set: &CompiledSet, key: &str| {
            let found = affected(set, BTreeSet::from([id(key)]), BTreeSet::new());
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let both = set_of(plain.iter().chain(&own).cloned());
        // Deleted, so that the plain one takes its place; and there.
        for set in [&set_of(plain.clone()), &both] {
            assert_eq!(names(set, "shop/base"), [id("shop/base"), id("shop/f")].map(|id| id.to_string()));
        }
        let asking = ["base", "f", "other/f"];
        let found = names(&both, "base");
        assert!(asking.iter().all(|key| found.contains(&id(key).to_string())), "{found:?}");
    }
}
