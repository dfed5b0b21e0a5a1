//! How objects refer to each other: refuses changes until every reference has its target.
//!
//! The set before is consistent, so wherever something is wrong a change is to blame: the one that holds the reference,
//! or, where nobody touched that one, the change that took its target away. Each round refuses what it finds and every
//! object is refused at most once, so this ends; in the worst case with everything as it was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::flag::definition::Requirement;
// An object, as a node of the graph that references form.
use crate::flag::diagnostic::Subject as Node;
use crate::flag::diagnostic::{Diagnostic, join_pointer};
use crate::flag::key::{FlagId, SegmentName};
use crate::flag::limits::{NESTING_MAX, STEPS_MAX};

use crate::eval::compiled::{Compiled, CompiledSegment, Uses};

use super::condition::find_segment;
use super::drafts::{Draft, Drafts};
use super::flag::{flag_pointer, segment_pointer};
use super::walk::walk;

/// How far an object's references reach, and how many conditions its evaluation may look at.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    levels: usize,
    steps: u64,
}

/// Refuses changes until what remains is consistent.
pub(super) fn settle(drafts: &mut Drafts<'_>) {
    let bystanders = bystanders(drafts);
    let roots: Vec<Node> = drafts
        .segments
        .keys()
        .cloned()
        .map(Node::Segment)
        .chain(drafts.flags.keys().cloned().map(Node::Flag))
        .chain(bystanders)
        .collect();
    loop {
        let mut round = Round { drafts, reach: HashMap::new(), in_use: BTreeMap::new(), refused: false };
        round.check(&roots);
        round.refuse_used();
        if !round.refused {
            return;
        }
    }
}

/// Objects that nobody changed, but whose references may be touched by a change.
fn bystanders(drafts: &Drafts<'_>) -> Vec<Node> {
    let mut nodes = Vec::new();
    let untouched = |flag: &&Arc<Compiled>| !drafts.flags.contains_key(flag.id());
    let segments = drafts.segments.values().any(matters_to_segment_users);
    if segments {
        let segments = drafts.before.segments();
        nodes.extend(segments.iter().map(|segment| Node::Segment(segment.name().clone())));
        nodes.extend(drafts.before.segmented().filter(untouched).map(|flag| Node::Flag(flag.id().clone())));
    }
    if segments || drafts.flags.values().any(matters_to_flag_users) {
        nodes.extend(drafts.before.requiring().filter(untouched).map(|flag| Node::Flag(flag.id().clone())));
    }
    nodes
}

/// True where a change can break, or lengthen, what other flags reach through this one.
fn matters_to_flag_users(draft: &Draft<Compiled>) -> bool {
    match (&draft.old, &draft.new) {
        // A new flag in a flag set may take the place of one in none.
        (None, Some(new)) => new.id().flag_set.is_some(),
        (None, None) => false,
        (Some(_), None) => !draft.refused,
        (Some(old), Some(new)) => {
            !old.variants().iter().map(|(name, _)| name).eq(new.variants().iter().map(|(name, _)| name))
                || old.requires() != new.requires()
                || old.uses != new.uses
        }
    }
}

fn matters_to_segment_users(draft: &Draft<CompiledSegment>) -> bool {
    match (&draft.old, &draft.new) {
        (None, _) => false,
        (Some(_), None) => !draft.refused,
        (Some(old), Some(new)) => old.uses != new.uses,
    }
}

/// One look at everything.
struct Round<'r, 'b> {
    drafts: &'r mut Drafts<'b>,
    reach: HashMap<Node, Reach>,
    /// Changes that take away what others use, with those others.
    in_use: BTreeMap<Node, BTreeSet<String>>,
    refused: bool,
}

impl Round<'_, '_> {
    fn check(&mut self, roots: &[Node]) {
        let found = walk(roots.iter().cloned(), |node| self.references(node));
        for circle in &found.circles {
            self.refuse_circle(circle);
        }
        for node in &found.order {
            match node {
                Node::Segment(name) => self.check_segment(name),
                Node::Flag(id) => self.check_flag(id),
            }
        }
    }

    /// What an object refers to, as far as it exists.
    fn references(&self, node: &Node) -> Vec<Node> {
        let segments = |uses: &Uses| {
            let names = uses.segments.keys().filter(|name| self.drafts.segment(name).is_some());
            names.cloned().map(Node::Segment).collect::<Vec<_>>()
        };
        match node {
            Node::Segment(name) => self.drafts.segment(name).map(|segment| segments(&segment.uses)).unwrap_or_default(),
            Node::Flag(id) => {
                let Some(flag) = self.drafts.flag(id) else { return Vec::new() };
                let mut nodes = segments(&flag.uses);
                nodes.extend(flag.requires().iter().filter_map(|required| {
                    let other = self.drafts.required(id.flag_set.as_ref(), &required.flag)?;
                    Some(Node::Flag(other.id().clone()))
                }));
                nodes
            }
        }
    }

    fn check_segment(&mut self, name: &SegmentName) {
        let Some(segment) = self.drafts.segment(name).cloned() else { return };
        let node = Node::Segment(name.clone());
        let is_change = self.is_fresh(&node);
        let reach = self.check_segments_of(&node, &segment.uses, |used| {
            find_segment(&segment_pointer(name), &segment.segment().when, used)
        });
        if is_change == self.is_fresh(&node) {
            self.limit(node, reach);
        }
    }

    fn check_flag(&mut self, id: &FlagId) {
        let Some(flag) = self.drafts.flag(id).cloned() else { return };
        let node = Node::Flag(id.clone());
        let pointer = flag_pointer(id);
        let is_change = self.is_fresh(&node);
        let mut reach = self.check_segments_of(&node, &flag.uses, |used| {
            let mut rules = flag.definition().rules.iter().enumerate();
            rules.find_map(|(at, rule)| find_segment(&format!("{pointer}/rules/{at}/when"), &rule.when, used))
        });
        // Segments and prerequisites are followed one after the other, not inside each other.
        let mut levels = 0;
        for (at, required) in flag.requires().iter().enumerate() {
            let other = self.check_requirement(&flag, is_change, at, required);
            levels = levels.max(other.levels);
            reach.steps = reach.steps.saturating_add(other.steps);
        }
        reach.levels = levels + 1;
        if is_change == self.is_fresh(&node) {
            self.limit(node, reach);
        }
    }

    /// Checks that the segments of an object exist. Returns how far they reach, with the object itself.
    fn check_segments_of(&mut self, user: &Node, uses: &Uses, place: impl Fn(&SegmentName) -> Option<String>) -> Reach {
        let mut reach = Reach { levels: 0, steps: uses.conditions.saturating_add(1) };
        let is_change = self.is_fresh(user);
        for (name, times) in &uses.segments {
            let used = Node::Segment(name.clone());
            if self.drafts.segment(name).is_some() {
                let inner = self.reach.get(&used).copied().unwrap_or_default();
                reach.levels = reach.levels.max(inner.levels);
                reach.steps = reach.steps.saturating_add(inner.steps.saturating_mul(*times));
            } else if is_change {
                let pointer = place(name).unwrap_or_else(|| pointer(user));
                let message = format!("there is no segment `{name}`{}", self.why_missing(&used));
                let help = "define it under `segments`, or correct the name";
                self.refuse(user, Diagnostic::error("unknown-segment", pointer, message, help));
            } else {
                let user = label(user);
                self.in_use.entry(used).or_default().insert(user);
            }
        }
        reach.levels += 1;
        reach
    }

    /// Checks that a prerequisite exists and has the variant. Returns how far it reaches. `is_change` says whether the
    /// flag that names it is what changed.
    fn check_requirement(&mut self, flag: &Compiled, is_change: bool, at: usize, required: &Requirement) -> Reach {
        let user = Node::Flag(flag.id().clone());
        let other = self.drafts.required(flag.id().flag_set.as_ref(), &required.flag).cloned();
        let plain = Node::Flag(FlagId::plain(required.flag.clone()));
        let in_set = flag.id().flag_set.clone();
        let in_set = in_set.map(|set| Node::Flag(FlagId { flag_set: Some(set), key: required.flag.clone() }));
        let pointer = format!("{}/requires/{at}", flag_pointer(flag.id()));
        match other {
            Some(other) if other.definition().variants.contains_key(&required.variant) => {
                self.reach.get(&Node::Flag(other.id().clone())).copied().unwrap_or_default()
            }
            Some(other) if is_change => {
                let names: Vec<&str> = other.variants().iter().map(|(name, _)| name.as_str()).take(8).collect();
                let message = format!("the flag `{}` has no variant `{}`", required.flag, required.variant);
                let help = format!("it has: {}", names.join(", "));
                self.refuse(&user, Diagnostic::error("unknown-variant", pointer + "/variant", message, help));
                Reach::default()
            }
            None if is_change => {
                let why = in_set.map(|node| self.why_missing(&node)).filter(|why| !why.is_empty());
                let why = why.unwrap_or_else(|| self.why_missing(&plain));
                let message = format!("there is no flag `{}`{why}", required.flag);
                let help = "define it, or correct the key; prerequisites are looked up in the same flag set first";
                self.refuse(&user, Diagnostic::error("unknown-flag", pointer + "/flag", message, help));
                Reach::default()
            }
            Some(_) | None => {
                let culprit = in_set.filter(|node| self.is_fresh(node)).unwrap_or(plain);
                self.in_use.entry(culprit).or_default().insert(label(&user));
                Reach::default()
            }
        }
    }

    /// Notes how far an object reaches and refuses what reaches too far.
    fn limit(&mut self, node: Node, reach: Reach) {
        let (code, what) = if reach.levels > NESTING_MAX {
            ("too-deep", format!("follows more than {NESTING_MAX} references in a row"))
        } else if reach.steps > STEPS_MAX {
            ("too-many-steps", format!("may look at {} conditions, at most {STEPS_MAX} are allowed", reach.steps))
        } else {
            self.reach.insert(node, reach);
            return;
        };
        let help = "flatten the chain of prerequisites and segments, or name each of them less often";
        for culprit in self.culprits(&node) {
            let message = format!("evaluating {} {what}", label(&node));
            let pointer = pointer(&culprit);
            self.refuse(&culprit, Diagnostic::error(code, pointer, message, help));
        }
    }

    fn refuse_circle(&mut self, circle: &[Node]) {
        // Segments name only segments, so a circle with a flag in it is one of flags.
        let (code, word, what) = match circle.first() {
            Some(Node::Segment(_)) => ("segment-cycle", "", "segments"),
            _ => ("requires-cycle", "requires", "prerequisites"),
        };
        let mut fresh: Vec<Node> = circle.iter().filter(|node| self.is_fresh(node)).cloned().collect();
        if fresh.is_empty() {
            fresh = circle.first().map(|node| self.culprits(node)).unwrap_or_default();
        }
        for culprit in fresh {
            let start = circle.iter().position(|node| *node == culprit).unwrap_or(0);
            let names = circle.iter().cycle().skip(start).take(circle.len() + 1).map(name);
            let message = format!("the {what} form a circle: {}", names.collect::<Vec<_>>().join(" → "));
            let pointer = pointer(&culprit);
            let pointer = if word.is_empty() { pointer } else { join_pointer(&pointer, word) };
            let help = "remove one of these references";
            self.refuse(&culprit, Diagnostic::error(code, pointer, message, help));
        }
    }

    /// Refuses the changes that took away what others use.
    fn refuse_used(&mut self) {
        for (node, users) in std::mem::take(&mut self.in_use) {
            let users = listed(&users);
            let (code, message) = match &node {
                Node::Segment(name) => ("segment-in-use", format!("the segment `{name}` is used by {users}")),
                Node::Flag(id) if self.drafts.flag(id).is_some() => {
                    ("variant-in-use", format!("a variant that the flag `{id}` no longer has is required by {users}"))
                }
                Node::Flag(id) => ("flag-in-use", format!("the flag `{id}` is required by {users}")),
            };
            let pointer = pointer(&node);
            let help = "change those first, or in the same change";
            if self.is_fresh(&node) {
                self.refuse(&node, Diagnostic::error(code, pointer, message, help));
            } else if !self.refused {
                self.refuse_rest(code, &message, help);
            }
        }
    }

    /// Who is to blame for what an object reaches: itself, else the first change that it reaches, else all changes.
    fn culprits(&self, node: &Node) -> Vec<Node> {
        let reached = walk([node.clone()], |node| self.references(node)).order;
        let nearest = reached.into_iter().rev().find(|node| self.is_fresh(node));
        nearest.map_or_else(|| self.fresh(), |node| vec![node])
    }

    /// Every change that is not refused yet.
    fn fresh(&self) -> Vec<Node> {
        let flags = self.drafts.flags.iter().filter(|(_, draft)| !draft.refused).map(|(id, _)| Node::Flag(id.clone()));
        let segments = self.drafts.segments.iter().filter(|(_, draft)| !draft.refused);
        flags.chain(segments.map(|(name, _)| Node::Segment(name.clone()))).collect()
    }

    /// What cannot happen while the set before is consistent; ends the rounds all the same.
    fn refuse_rest(&mut self, code: &'static str, message: &str, help: &str) {
        for node in self.fresh() {
            let pointer = pointer(&node);
            self.refuse(&node, Diagnostic::error(code, pointer, message, help));
        }
    }

    fn refuse(&mut self, node: &Node, diagnostic: Diagnostic) {
        match node {
            Node::Flag(id) => {
                if let Some(draft) = self.drafts.flags.get_mut(id) {
                    draft.refused = true;
                }
            }
            Node::Segment(name) => {
                if let Some(draft) = self.drafts.segments.get_mut(name) {
                    draft.refused = true;
                }
            }
        }
        self.refused = true;
        self.drafts.diagnostics.push(diagnostic.about(node.clone()));
    }

    /// True for a change that is not refused.
    fn is_fresh(&self, node: &Node) -> bool {
        match node {
            Node::Flag(id) => self.drafts.flags.get(id).is_some_and(|draft| !draft.refused),
            Node::Segment(name) => self.drafts.segments.get(name).is_some_and(|draft| !draft.refused),
        }
    }

    /// A hint for a reference to something that is there, but was refused.
    fn why_missing(&self, node: &Node) -> &'static str {
        let drafted = match node {
            Node::Flag(id) => self.drafts.flags.get(id).map(|draft| draft.refused),
            Node::Segment(name) => self.drafts.segments.get(name).map(|draft| draft.refused),
        };
        match drafted {
            Some(true) => ": it is refused for errors of its own",
            Some(false) => ": it is deleted by the same change",
            None => "",
        }
    }
}

fn pointer(node: &Node) -> String {
    match node {
        Node::Flag(id) => flag_pointer(id),
        Node::Segment(name) => segment_pointer(name),
    }
}

fn label(node: &Node) -> String {
    match node {
        Node::Flag(id) => format!("the flag `{id}`"),
        Node::Segment(name) => format!("the segment `{name}`"),
    }
}

fn name(node: &Node) -> &str {
    match node {
        Node::Flag(id) => id.key.as_str(),
        Node::Segment(name) => name.as_str(),
    }
}

/// The first names of a list, and how many more there are.
fn listed(users: &BTreeSet<String>) -> String {
    const SHOWN: usize = 5;
    let mut text = users.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if users.len() > SHOWN {
        text.push_str(&format!(" and {} more", users.len() - SHOWN));
    }
    text
}
