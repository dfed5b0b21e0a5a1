//! From a command to the changes it means: checks what it names, compiles what it touches, and writes down what
//! happened to which object. Nothing is recorded or published here; the world is only read.

use std::sync::Arc;

use crate::access::policy::DataPlaneAuth;
use crate::access::scope::Scope;
use crate::access::token::Environments;
use crate::control::command::{Command, Effect, NewToken, Outcome, Precondition, Targets, Touched};
use crate::control::file;
use crate::control::kill::KillLane;
use crate::control::refusal::Refusal;
use crate::eval::compile::compile;
use crate::eval::object::Object;
use crate::eval::set::CompiledSet;
use crate::flag::definition::{Definition, FlagFile, Segment};
use crate::flag::diagnostic::Diagnostic;
use crate::flag::key::{EnvironmentName, FlagId, SegmentName};
use crate::flag::kill::KillSet;
use crate::flag::limits::{FLAGS_MAX, SEGMENTS_MAX};
use crate::flag::time::{Generation, Revision, Timestamp};
use crate::snapshot::hub::Hub;
use crate::world::change::{Change, Origin, Reach};
use crate::world::digest::Digest;
use crate::world::environment::Environment;
use crate::world::fold::{TokenState, World};

/// What a command comes to.
#[derive(Debug, Default)]
pub struct Plan {
    /// The changes to record; empty where there is nothing to do.
    pub changes: Vec<Change>,
    /// The environment whose flags or segments change, and its compiled form afterwards.
    pub compiled: Option<(EnvironmentName, CompiledSet)>,
    /// What happened to which object.
    pub touched: Vec<Touched>,
    /// The generation of a restore.
    pub generation: Option<Generation>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// What planning reads.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The world as recorded.
    pub world: &'a World,
    /// What is served.
    pub hub: &'a Hub,
    /// The kill lane, which counts restores too.
    pub lane: &'a KillLane,
    /// The revision that the changes will have.
    pub next: Revision,
    /// The time.
    pub now: Timestamp,
}

/// Plans a command.
///
/// # Errors
/// Why it cannot be carried out.
pub fn plan(scene: Scene<'_>, command: Command) -> Result<Plan, Refusal> {
    match command {
        Command::PutEnvironment { environment, production, data_plane_auth } => {
            Ok(put_environment(scene, environment, production, data_plane_auth))
        }
        Command::PutFlag { environment, flag, definition, precondition } => {
            let held = world_of(scene, &environment)?.flag(&flag).map(|state| state.revision);
            check(precondition, held)?;
            let mut draft = Draft::open(scene, &environment)?;
            draft.put_flag(flag, definition, Origin::Api)?;
            draft.close(std::convert::identity)
        }
        Command::DeleteFlag { environment, flag, precondition } => {
            let held = world_of(scene, &environment)?.flag(&flag).map(|state| state.revision);
            check(precondition, held)?;
            held.ok_or_else(|| Refusal::UnknownFlag(flag.clone()))?;
            let mut draft = Draft::open(scene, &environment)?;
            draft.delete_flag(flag, Origin::Api);
            draft.close(std::convert::identity)
        }
        Command::PutSegment { environment, segment, definition, precondition } => {
            let held = world_of(scene, &environment)?.segment(&segment).map(|state| state.revision);
            check(precondition, held)?;
            let mut draft = Draft::open(scene, &environment)?;
            draft.put_segment(segment, definition, Origin::Api)?;
            draft.close(std::convert::identity)
        }
        Command::DeleteSegment { environment, segment, precondition } => {
            let held = world_of(scene, &environment)?.segment(&segment).map(|state| state.revision);
            check(precondition, held)?;
            held.ok_or_else(|| Refusal::UnknownSegment(segment.clone()))?;
            let mut draft = Draft::open(scene, &environment)?;
            draft.delete_segment(segment, Origin::Api);
            draft.close(std::convert::identity)
        }
        Command::Import { environment, file, .. } => import(scene, &environment, file),
        Command::TakeFile(take) => file::plan(scene, take),
        Command::Restore { environment, targets, generation } => restore(scene, &environment, &targets, generation),
        Command::ObservePropagation { environment, generation, propagation } => {
            let change = Change::PropagationObserved { environment, generation, propagation };
            Ok(Plan { changes: vec![change], ..Plan::default() })
        }
        Command::IssueToken(token) => Ok(issue(token)),
        Command::RevokeToken { id } => revoke(scene, id),
    }
}

/// An environment of the recorded world.
pub fn world_of<'a>(scene: Scene<'a>, environment: &EnvironmentName) -> Result<&'a Environment, Refusal> {
    scene.world.environment(environment).ok_or_else(|| Refusal::UnknownEnvironment(environment.clone()))
}

fn check(precondition: Precondition, held: Option<Revision>) -> Result<(), Refusal> {
    let holds = match precondition {
        Precondition::None => true,
        Precondition::Absent => held.is_none(),
        Precondition::Present => held.is_some(),
        Precondition::Revision(revision) => held == Some(revision),
    };
    if holds { Ok(()) } else { Err(Refusal::Precondition { current: held }) }
}

fn put_environment(
    scene: Scene<'_>,
    environment: EnvironmentName,
    production: bool,
    data_plane_auth: DataPlaneAuth,
) -> Plan {
    let held = scene.world.environment(&environment);
    let same = held.is_some_and(|held| held.production == production && held.data_plane_auth == data_plane_auth);
    let effect = match held {
        None => Effect::Created,
        Some(_) if same => Effect::Unchanged,
        Some(_) => Effect::Changed,
    };
    let touched = vec![Touched::named("environment", &environment, effect)];
    let changes =
        if same { Vec::new() } else { vec![Change::EnvironmentPut { environment, production, data_plane_auth }] };
    Plan { changes, touched, ..Plan::default() }
}

fn import(scene: Scene<'_>, environment: &EnvironmentName, file: FlagFile) -> Result<Plan, Refusal> {
    let environment = file.environment.as_ref().unwrap_or(environment);
    let mut draft = Draft::open(scene, environment)?;
    for (name, segment) in file.segments {
        draft.put_segment(name, Arc::new(segment), Origin::Api)?;
    }
    for (id, definition) in file.flags {
        draft.put_flag(id, Arc::new(definition), Origin::Api)?;
    }
    draft.close(std::convert::identity)
}

/// The flags that a kill or a restore is about.
///
/// # Errors
/// A flag or a tag that does not exist.
pub fn resolve(set: &CompiledSet, targets: &Targets) -> Result<Vec<FlagId>, Refusal> {
    match targets {
        Targets::Flags(flags) => {
            for flag in flags {
                set.get(flag).ok_or_else(|| Refusal::UnknownFlag(flag.clone()))?;
            }
            Ok(flags.iter().cloned().collect())
        }
        Targets::Tag(tag) => {
            let tagged = set.iter().filter(|flag| flag.definition().tags.contains(tag));
            let flags: Vec<FlagId> = tagged.map(|flag| flag.id().clone()).collect();
            if flags.is_empty() { Err(Refusal::UnknownTag(tag.clone())) } else { Ok(flags) }
        }
    }
}

fn restore(
    scene: Scene<'_>,
    environment: &EnvironmentName,
    targets: &Targets,
    named: Option<Generation>,
) -> Result<Plan, Refusal> {
    let world = world_of(scene, environment)?;
    let nothing = KillSet::default();
    let kills = scene.world.kills(environment).unwrap_or(&nothing);
    let flags = match targets {
        // A flag that was deleted while it was killed can still be restored by its key.
        Targets::Flags(flags) => {
            let known = |flag: &&FlagId| world.flag(flag).is_some() || kills.mark(flag).is_some();
            if let Some(flag) = flags.iter().find(|flag| !known(flag)) {
                return Err(Refusal::UnknownFlag((*flag).clone()));
            }
            flags.iter().cloned().collect()
        }
        Targets::Tag(_) => {
            let snapshot =
                scene.hub.current(environment).ok_or_else(|| Refusal::UnknownEnvironment(environment.clone()))?;
            resolve(&snapshot.set, targets)?
        }
    };
    let generation = scene.lane.claim();
    let mut plan = Plan::default();
    for flag in flags {
        let Some(current) = kills.killed(&flag) else {
            plan.touched.push(Touched::flag(&flag, Effect::Unchanged));
            continue;
        };
        if let Some(named) = named.filter(|named| *named != current) {
            return Err(Refusal::NewerKill { flag, current, named });
        }
        plan.generation = Some(generation);
        plan.touched.push(Touched::flag(&flag, Effect::Restored));
        let environment = environment.clone();
        plan.changes.push(Change::FlagRestored { environment, flag, generation, undoes: current });
    }
    Ok(plan)
}

fn issue(token: NewToken) -> Plan {
    let touched = vec![Touched::named("token", &token.id, Effect::Created)];
    let change = Change::TokenIssued {
        id: token.id,
        name: token.name,
        secret_hash: Digest(token.hash),
        scopes: token.scopes.iter().map(|scope| scope.to_string()).collect(),
        environments: match token.environments {
            Environments::All => Reach::All,
            Environments::Only(names) => Reach::Only(std::collections::BTreeSet::clone(&names)),
        },
        expires: token.expires,
    };
    Plan { changes: vec![change], touched, ..Plan::default() }
}

fn revoke(scene: Scene<'_>, id: String) -> Result<Plan, Refusal> {
    let token = scene.world.tokens().get(&id).ok_or_else(|| Refusal::UnknownToken(id.clone()))?;
    if token.revoked.is_some() {
        let touched = vec![Touched::named("token", &id, Effect::Unchanged)];
        return Ok(Plan { touched, ..Plan::default() });
    }
    let opens = |token: &&TokenState| {
        token.revoked.is_none()
            && token.environments == Reach::All
            && token.scopes.iter().any(|word| word == Scope::Admin.as_str())
            && token.expires.is_none_or(|end| end > scene.now)
    };
    if opens(&token) && scene.world.tokens().values().filter(opens).count() == 1 {
        return Err(Refusal::LastAdmin);
    }
    let touched = vec![Touched::named("token", &id, Effect::Deleted)];
    Ok(Plan { changes: vec![Change::TokenRevoked { id }], touched, ..Plan::default() })
}

// === Draft ===

/// Flags and segments of one environment that are about to change together.
#[derive(Debug)]
pub struct Draft<'a> {
    scene: Scene<'a>,
    environment: EnvironmentName,
    world: &'a Environment,
    before: CompiledSet,
    plan: Plan,
    objects: Vec<Object>,
    flags: usize,
    segments: usize,
}

impl<'a> Draft<'a> {
    /// Begins with what the environment serves now.
    ///
    /// # Errors
    /// There is no such environment.
    pub fn open(scene: Scene<'a>, environment: &EnvironmentName) -> Result<Self, Refusal> {
        let world = world_of(scene, environment)?;
        let snapshot =
            scene.hub.current(environment).ok_or_else(|| Refusal::UnknownEnvironment(environment.clone()))?;
        Ok(Self {
            scene,
            environment: environment.clone(),
            world,
            before: snapshot.set.clone(),
            plan: Plan::default(),
            objects: Vec::new(),
            flags: world.flags().len(),
            segments: world.segments().len(),
        })
    }

    /// The recorded environment.
    pub fn world(&self) -> &'a Environment {
        self.world
    }

    /// Puts a flag; a definition that is already there is no change.
    ///
    /// # Errors
    /// Too many flags.
    pub fn put_flag(&mut self, id: FlagId, definition: Arc<Definition>, origin: Origin) -> Result<(), Refusal> {
        let held = self.world.flag(&id);
        if held.is_some_and(|held| held.definition == definition) {
            self.plan.touched.push(Touched::flag(&id, Effect::Unchanged));
            return Ok(());
        }
        self.flags += usize::from(held.is_none());
        if self.flags > FLAGS_MAX {
            return Err(Refusal::Limit { what: "the number of flags in an environment", max: FLAGS_MAX });
        }
        self.plan.touched.push(Touched::flag(&id, if held.is_some() { Effect::Changed } else { Effect::Created }));
        self.objects.push(Object::Flag {
            id: id.clone(),
            revision: self.scene.next,
            definition: Arc::clone(&definition),
            allocation: held.and_then(|held| held.allocation.clone()),
        });
        self.plan.changes.push(Change::FlagPut { environment: self.environment.clone(), flag: id, definition, origin });
        Ok(())
    }

    /// Deletes a flag that exists.
    pub fn delete_flag(&mut self, id: FlagId, origin: Origin) {
        self.flags = self.flags.saturating_sub(1);
        self.plan.touched.push(Touched::flag(&id, Effect::Deleted));
        self.objects.push(Object::FlagGone { id: id.clone(), revision: self.scene.next });
        self.plan.changes.push(Change::FlagDeleted { environment: self.environment.clone(), flag: id, origin });
    }

    /// Puts a segment; a definition that is already there is no change.
    ///
    /// # Errors
    /// Too many segments.
    pub fn put_segment(&mut self, name: SegmentName, segment: Arc<Segment>, origin: Origin) -> Result<(), Refusal> {
        let held = self.world.segment(&name);
        if held.is_some_and(|held| held.definition == segment) {
            self.plan.touched.push(Touched::named("segment", &name, Effect::Unchanged));
            return Ok(());
        }
        self.segments += usize::from(held.is_none());
        if self.segments > SEGMENTS_MAX {
            return Err(Refusal::Limit { what: "the number of segments in an environment", max: SEGMENTS_MAX });
        }
        let effect = if held.is_some() { Effect::Changed } else { Effect::Created };
        self.plan.touched.push(Touched::named("segment", &name, effect));
        let (revision, definition) = (self.scene.next, Arc::clone(&segment));
        self.objects.push(Object::Segment { name: name.clone(), revision, segment });
        let environment = self.environment.clone();
        self.plan.changes.push(Change::SegmentPut { environment, segment: name, definition, origin });
        Ok(())
    }

    /// Deletes a segment that exists.
    pub fn delete_segment(&mut self, name: SegmentName, origin: Origin) {
        self.segments = self.segments.saturating_sub(1);
        self.plan.touched.push(Touched::named("segment", &name, Effect::Deleted));
        self.objects.push(Object::SegmentGone { name: name.clone(), revision: self.scene.next });
        self.plan.changes.push(Change::SegmentDeleted { environment: self.environment.clone(), segment: name, origin });
    }

    /// What `compile` says of the draft as it stands.
    pub fn diagnose(&self) -> Vec<Diagnostic> {
        compile(&self.before, &self.objects).1
    }

    /// Compiles the draft; any error refuses all of it. `locate` says where in a file a diagnostic belongs.
    ///
    /// # Errors
    /// What is wrong with the definitions.
    pub fn close(mut self, locate: impl Fn(Diagnostic) -> Diagnostic) -> Result<Plan, Refusal> {
        if self.objects.is_empty() {
            return Ok(self.plan);
        }
        let (after, diagnostics) = compile(&self.before, &self.objects);
        let diagnostics: Vec<Diagnostic> = diagnostics.into_iter().map(locate).collect();
        if diagnostics.iter().any(Diagnostic::is_error) {
            return Err(Refusal::Invalid(diagnostics));
        }
        self.plan.notes.extend(diagnostics.iter().map(ToString::to_string));
        self.plan.compiled = Some((self.environment, after));
        Ok(self.plan)
    }

    /// Adds a change that no evaluation depends on.
    pub fn record(&mut self, change: Change) {
        self.plan.changes.push(change);
    }

    /// Adds something worth knowing.
    pub fn note(&mut self, note: String) {
        self.plan.notes.push(note);
    }
}

impl Plan {
    /// The answer once the changes are recorded at `revision`.
    pub fn outcome(&self, revision: Option<Revision>) -> Outcome {
        Outcome {
            revision,
            generation: self.generation,
            notes: self.notes.clone(),
            ..Outcome::nothing(self.touched.clone())
        }
    }
}
