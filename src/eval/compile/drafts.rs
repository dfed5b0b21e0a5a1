//! The changed objects on their way into a set: each with its old form, its new form, and whether it was refused.
//!
//! Seen through the drafts, the environment is what it will be if nothing more is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::flag::definition::{Allocation, Definition, Segment};
use crate::flag::diagnostic::{Diagnostic, Subject};
use crate::flag::key::{FlagId, FlagKey, FlagSetName, SegmentName};
use crate::flag::limits::{FLAGS_MAX, SEGMENTS_MAX};
use crate::flag::time::Revision;

use crate::eval::compiled::{Compiled, CompiledSegment};
use crate::eval::object::Object;
use crate::eval::set::CompiledSet;
use crate::eval::table::Edit;

use super::flag::{Compilation, compile_flag, compile_segment, flag_pointer, segment_pointer};

/// One changed object.
#[derive(Debug)]
pub(super) struct Draft<T> {
    /// What is in force; none where the object is new.
    pub(super) old: Option<Arc<T>>,
    /// What is to come; none where the object is gone, or could not be compiled by itself.
    pub(super) new: Option<Arc<T>>,
    /// The old form stays.
    pub(super) refused: bool,
}

/// A flag's new definition and allocation.
type WantedFlag<'o> = (&'o Arc<Definition>, Option<&'o Allocation>);

/// All changed objects over the set they change.
#[derive(Debug)]
pub(super) struct Drafts<'b> {
    /// What is in force.
    pub(super) before: &'b CompiledSet,
    /// Changed flags.
    pub(super) flags: BTreeMap<FlagId, Draft<Compiled>>,
    /// Changed segments.
    pub(super) segments: BTreeMap<SegmentName, Draft<CompiledSegment>>,
    /// What is wrong so far.
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl<T> Draft<T> {
    /// The form that will be in force as things stand.
    fn current(&self) -> Option<&Arc<T>> {
        if self.refused { self.old.as_ref() } else { self.new.as_ref() }
    }
}

/// What is to become of each named object: its revision and its new state, none where it is gone.
type Latest<'o, K, V> = BTreeMap<&'o K, (Revision, Option<V>)>;

impl<'b> Drafts<'b> {
    /// Compiles every changed object by itself.
    pub(super) fn collect(before: &'b CompiledSet, changed: &[Object]) -> Self {
        let mut drafts = Self { before, flags: BTreeMap::new(), segments: BTreeMap::new(), diagnostics: Vec::new() };
        let (flags, segments) = latest(changed);
        for (id, (revision, wanted)) in flags {
            let compiled = wanted.map(|(definition, allocation)| compile_flag(id, revision, definition, allocation));
            let old = before.get_shared(id).cloned();
            let draft = drafts.draft(&Subject::Flag(id.clone()), old, compiled);
            drafts.flags.insert(id.clone(), draft);
        }
        for (name, (revision, wanted)) in segments {
            let compiled = wanted.map(|segment| compile_segment(name, revision, segment));
            let old = before.segment_shared(name).cloned();
            let draft = drafts.draft(&Subject::Segment(name.clone()), old, compiled);
            drafts.segments.insert(name.clone(), draft);
        }
        drafts.refuse_surplus();
        drafts
    }

    fn draft<T>(&mut self, subject: &Subject, old: Option<Arc<T>>, compiled: Option<Compilation<T>>) -> Draft<T> {
        let (new, refused, diagnostics) = match compiled {
            None => (None, false, Vec::new()),
            Some(Ok((new, diagnostics))) => (Some(Arc::new(new)), false, diagnostics),
            Some(Err(diagnostics)) => (None, true, diagnostics),
        };
        self.diagnostics.extend(diagnostics.into_iter().map(|found| found.about(subject.clone())));
        Draft { old, new, refused }
    }

    /// Refuses new objects beyond what one environment may hold.
    fn refuse_surplus(&mut self) {
        let help = "delete flags that are no longer used, or use another environment";
        let surplus = surplus(self.flags.values(), self.before.len(), FLAGS_MAX);
        for (id, draft) in self.flags.iter_mut().rev().filter(|(_, draft)| is_added(draft)).take(surplus) {
            draft.refused = true;
            let message = format!("an environment holds at most {FLAGS_MAX} flags");
            let found = Diagnostic::error("too-many", flag_pointer(id), message, help);
            self.diagnostics.push(found.about(Subject::Flag(id.clone())));
        }
        let held = if self.segments.is_empty() { 0 } else { self.before.segments().len() };
        let surplus = self::surplus(self.segments.values(), held, SEGMENTS_MAX);
        for (name, draft) in self.segments.iter_mut().rev().filter(|(_, draft)| is_added(draft)).take(surplus) {
            draft.refused = true;
            let message = format!("an environment holds at most {SEGMENTS_MAX} segments");
            let found = Diagnostic::error("too-many", segment_pointer(name), message, help);
            self.diagnostics.push(found.about(Subject::Segment(name.clone())));
        }
    }

    /// A flag as it will be.
    pub(super) fn flag(&self, id: &FlagId) -> Option<&Arc<Compiled>> {
        match self.flags.get(id) {
            Some(draft) => draft.current(),
            None => self.before.get_shared(id),
        }
    }

    /// A segment as it will be.
    pub(super) fn segment(&self, name: &SegmentName) -> Option<&Arc<CompiledSegment>> {
        match self.segments.get(name) {
            Some(draft) => draft.current(),
            None => self.before.segment_shared(name),
        }
    }

    /// The flag that a prerequisite names, as it will be: the one in the same flag set, else the one in none.
    pub(super) fn required(&self, flag_set: Option<&FlagSetName>, key: &FlagKey) -> Option<&Arc<Compiled>> {
        let in_set = flag_set.and_then(|set| self.flag(&FlagId { flag_set: Some(set.clone()), key: key.clone() }));
        in_set.or_else(|| self.flag(&FlagId::plain(key.clone())))
    }

    /// The set that comes out, and what was wrong.
    pub(super) fn finish(self) -> (CompiledSet, Vec<Diagnostic>) {
        let flags = self.flags.into_values().filter_map(Draft::into_edit).collect();
        let segments: Vec<_> = self.segments.into_values().filter_map(Draft::into_edit).collect();
        let mut diagnostics = self.diagnostics;
        diagnostics.sort_by(|left, right| left.pointer.cmp(&right.pointer));
        (self.before.edited(flags, &segments), diagnostics)
    }
}

impl<T> Draft<T> {
    fn into_edit(self) -> Option<Edit<T>> {
        match (self.refused, self.new, self.old) {
            (true, _, _) | (false, None, None) => None,
            (false, Some(new), _) => Some(Edit::Put(new)),
            (false, None, Some(old)) => Some(Edit::Remove(old)),
        }
    }
}

fn is_added<T>(draft: &Draft<T>) -> bool {
    !draft.refused && draft.old.is_none() && draft.new.is_some()
}

/// The last word on every object; of two with the same revision the one that stands later.
fn latest<'o>(
    changed: &'o [Object],
) -> (Latest<'o, FlagId, WantedFlag<'o>>, Latest<'o, SegmentName, &'o Arc<Segment>>) {
    let (mut flags, mut segments) = (Latest::new(), Latest::new());
    for object in changed {
        match object {
            Object::Flag { id, revision, definition, allocation } => {
                put(&mut flags, id, *revision, Some((definition, allocation.as_ref())));
            }
            Object::FlagGone { id, revision } => put(&mut flags, id, *revision, None),
            Object::Segment { name, revision, segment } => put(&mut segments, name, *revision, Some(segment)),
            Object::SegmentGone { name, revision } => put(&mut segments, name, *revision, None),
        }
    }
    (flags, segments)
}

fn put<'o, K: Ord, V>(latest: &mut Latest<'o, K, V>, name: &'o K, revision: Revision, state: Option<V>) {
    if latest.get(name).is_none_or(|(held, _)| *held <= revision) {
        latest.insert(name, (revision, state));
    }
}

/// How many of the added objects are too many.
fn surplus<'d, T: 'd>(drafts: impl Iterator<Item = &'d Draft<T>>, held: usize, max: usize) -> usize {
    let (mut added, mut gone) = (0, 0);
    for draft in drafts {
        added += usize::from(is_added(draft));
        gone += usize::from(!draft.refused && draft.new.is_none() && draft.old.is_some());
    }
    (held + added).saturating_sub(gone).saturating_sub(max)
}
