//! Planning a watched file: flag by flag, so that one bad flag keeps its last good definition and the rest goes on.
//!
//! A flag is taken from the file only when its text in the file is another than when it was last taken, so that saving
//! the file again never undoes what somebody changed through the API since. A file deletes only what came from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::control::command::TakeFile;
use crate::control::plan::{Draft, Plan, Scene};
use crate::control::refusal::Refusal;
use crate::flag::definition::{Definition, Segment};
use crate::flag::diagnostic::{Diagnostic, Subject};
use crate::flag::key::{FlagId, SegmentName};
use crate::world::change::{Change, Origin};
use crate::world::environment::{Environment, FlagState, Imported};

/// Of the flags that came from a file, the file may delete one in this many at once without being told to.
pub const DELETE_SHARE: usize = 5;

/// What a file asks for, compared with what is recorded.
#[derive(Debug, Default)]
struct Wanted {
    segments: Vec<(SegmentName, Arc<Segment>)>,
    flags: Vec<(FlagId, Arc<Definition>)>,
    gone_flags: Vec<FlagId>,
    gone_segments: Vec<SegmentName>,
}

/// Plans what a file changes.
///
/// # Errors
/// An environment that does not exist, too many flags, too many deletions.
pub fn plan(scene: Scene<'_>, take: TakeFile) -> Result<Plan, Refusal> {
    let environment = take.file.environment.clone().unwrap_or_else(|| take.environment.clone());
    let world = crate::control::plan::world_of(scene, &environment)?;
    let taken = scene.world.sources().get(&take.source);
    if taken.is_some_and(|taken| taken.digest == take.digest && taken.environment == environment) {
        return Ok(Plan::default());
    }
    let wanted = compare(world, &take)?;
    let mut bad = BTreeSet::new();
    let mut notes = Vec::new();
    // Each round drops the objects that do not compile, which may take others with them; at worst all are dropped.
    loop {
        let draft = draft(scene, &environment, &take.source, &wanted, &bad)?;
        let faults: Vec<Diagnostic> = draft.diagnose().into_iter().filter(Diagnostic::is_error).collect();
        let before = bad.len();
        bad.extend(faults.iter().filter_map(|fault| fault.subject.clone()));
        if bad.len() == before {
            return close(draft, take, notes, &environment, &faults);
        }
        let located = faults.into_iter().map(|fault| take.places.locate(fault));
        notes.extend(located.map(|fault| format!("kept its last good definition: {fault}")));
    }
}

fn close(
    mut draft: Draft<'_>,
    take: TakeFile,
    notes: Vec<String>,
    environment: &crate::flag::key::EnvironmentName,
    faults: &[Diagnostic],
) -> Result<Plan, Refusal> {
    if !faults.is_empty() {
        return Err(Refusal::Invalid(faults.iter().map(|fault| take.places.locate(fault.clone())).collect()));
    }
    let lost = lost_keys(draft.world(), &take);
    let bad = take.bad.iter().map(ToString::to_string).chain(lost.into_iter().map(str::to_owned));
    for name in bad.chain(take.bad_segments.iter().map(|name| format!("segment {name}"))) {
        draft.note(format!("{name} cannot be read and kept its last good definition"));
    }
    notes.into_iter().for_each(|note| draft.note(note));
    draft.record(Change::SourceImported { environment: environment.clone(), source: take.source, digest: take.digest });
    draft.close(|diagnostic| take.places.locate(diagnostic))
}

/// Of the keys that cannot be read in some flag set, those that have nothing else to say: not where a document that wins
/// says what the flag is, unless that is in another flag set and the flag in this one stays.
fn lost_keys<'t>(world: &Environment, take: &'t TakeFile) -> Vec<&'t str> {
    if take.bad_keys.is_empty() {
        return Vec::new();
    }
    let said: BTreeSet<&str> = take.file.flags.keys().map(|id| id.key.as_str()).collect();
    let came = |held: &FlagState| held.imported.as_ref().is_some_and(|taken| taken.source == take.source);
    let stays = world.flags().iter().filter(|(id, held)| came(held) && !take.file.flags.contains_key(*id));
    let stays: BTreeSet<&str> = stays.map(|(id, _)| id.key.as_str()).collect();
    take.bad_keys.iter().map(String::as_str).filter(|key| !said.contains(key) || stays.contains(key)).collect()
}

fn draft<'a>(
    scene: Scene<'a>,
    environment: &crate::flag::key::EnvironmentName,
    source: &str,
    wanted: &Wanted,
    bad: &BTreeSet<Subject>,
) -> Result<Draft<'a>, Refusal> {
    let origin = || Origin::File { source: source.to_owned() };
    let good_flag = |id: &FlagId| !bad.contains(&Subject::Flag(id.clone()));
    let good_segment = |name: &SegmentName| !bad.contains(&Subject::Segment(name.clone()));
    let mut draft = Draft::open(scene, environment)?;
    for (name, segment) in wanted.segments.iter().filter(|(name, _)| good_segment(name)) {
        draft.put_segment(name.clone(), Arc::clone(segment), origin())?;
    }
    for (id, definition) in wanted.flags.iter().filter(|(id, _)| good_flag(id)) {
        draft.put_flag(id.clone(), Arc::clone(definition), origin())?;
    }
    for id in wanted.gone_flags.iter().filter(|id| good_flag(id)) {
        draft.delete_flag(id.clone(), origin());
    }
    for name in wanted.gone_segments.iter().filter(|name| good_segment(name)) {
        draft.delete_segment(name.clone(), origin());
    }
    Ok(draft)
}

fn compare(world: &Environment, take: &TakeFile) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted::default();
    // Where what was taken came from a source that cannot be read now: the sources that win over that one.
    let unread = |taken: &Imported<Definition>| {
        let source = taken.definition.source.as_ref().filter(|_| taken.source == take.source);
        source.and_then(|source| take.unread.get(source))
    };
    for (id, definition) in &take.file.flags {
        let taken = world.flag(id).and_then(|held| held.imported.as_ref());
        let wins = |winners: &BTreeSet<String>| definition.source.as_ref().is_some_and(|name| winners.contains(name));
        if taken.and_then(unread).is_some_and(|winners| !wins(winners)) {
            continue;
        }
        let same = taken.is_some_and(|taken| taken.source == take.source && *taken.definition == *definition);
        if !same {
            wanted.flags.push((id.clone(), Arc::new(definition.clone())));
        }
    }
    for (name, segment) in &take.file.segments {
        let taken = world.segment(name).and_then(|held| held.imported.as_ref());
        let same = taken.is_some_and(|taken| taken.source == take.source && *taken.definition == *segment);
        if !same {
            wanted.segments.push((name.clone(), Arc::new(segment.clone())));
        }
    }
    let mut came = 0;
    for (id, held) in world.flags() {
        if let Some(taken) = held.imported.as_ref().filter(|taken| taken.source == take.source) {
            came += 1;
            let bad = take.bad.contains(id) || take.bad_keys.contains(id.key.as_str());
            if !take.file.flags.contains_key(id) && !bad && unread(taken).is_none() {
                wanted.gone_flags.push(id.clone());
            }
        }
    }
    let deletes = wanted.gone_flags.len();
    if deletes * DELETE_SHARE > came && !take.allow_deletes {
        return Err(Refusal::TooManyDeletes { deletes, of: came });
    }
    let gone = world.segments().iter().filter(|(name, held)| {
        held.imported.as_ref().is_some_and(|taken| taken.source == take.source)
            && take.unread.is_empty()
            && !take.file.segments.contains_key(*name)
            && !take.bad_segments.contains(name.as_str())
    });
    wanted.gone_segments = gone.map(|(name, _)| name.clone()).collect();
    Ok(wanted)
}
