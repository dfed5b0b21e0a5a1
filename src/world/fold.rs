//! The fold: what is true at one revision, and how one more record changes it.
//!
//! [`World::apply`] is total and deterministic: it never refuses, never checks a limit and never looks at anything but
//! the record, so that every node and every later version comes to the same world. What may be recorded is decided in
//! `control`. A change to an environment that no record created (its creation was erased) creates it as carefully as
//! possible: production, token required.
//!
//! `control` owns the one world and applies records in place; readers get snapshots made from it. Definitions are shared
//! by `Arc`, so a clone copies maps and not definitions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::change::{Change, Reach};
use super::digest::{Digest, Epoch};
use super::environment::{Environment, ObjectName, Stamp};
use super::record::{Head, Idempotency, Record};
use crate::access::policy::DataPlaneAuth;
use crate::flag::key::{EnvironmentName, FlagId};
use crate::flag::kill::{KillMark, KillSet};
use crate::flag::time::{Generation, Revision, Timestamp};

/// How long a request's idempotency key is remembered, in microseconds of record time: 24 hours, as the API promises.
pub const IDEMPOTENCY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// Everything that is true at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    pub(super) head: Head,
    pub(super) environments: BTreeMap<EnvironmentName, Environment>,
    pub(super) departed: BTreeMap<EnvironmentName, Revision>,
    pub(super) kills: BTreeMap<EnvironmentName, KillSet>,
    pub(super) tokens: BTreeMap<String, TokenState>,
    pub(super) sources: BTreeMap<String, SourceState>,
    pub(super) requests: BTreeMap<(String, String), Answered>,
    pub(super) requests_by_age: BTreeMap<(Timestamp, Revision), (String, String)>,
}

/// A token as it stands; revoked ones stay, so that an identifier is never reused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenState {
    /// What people call it.
    pub name: String,
    /// SHA-256 of the secret half.
    pub secret_hash: Digest,
    /// The words of its access scopes.
    pub scopes: Vec<String>,
    /// Where it may be used.
    pub environments: Reach,
    /// When it was issued.
    pub created: Timestamp,
    /// From when it no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// The revision that last touched it.
    pub revision: Revision,
}

/// The state in which a flag file was last taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceState {
    /// The environment it was taken into.
    pub environment: EnvironmentName,
    /// SHA-256 of the file's bytes.
    pub digest: Digest,
    /// When it was taken in.
    pub at: Timestamp,
    /// The record that took it in.
    pub revision: Revision,
}

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answered {
    /// SHA-256 of the request.
    pub fingerprint: Digest,
    /// The record that answered it.
    pub revision: Revision,
    /// The record's time.
    pub at: Timestamp,
}

impl World {
    /// The world before the first record.
    pub fn empty(epoch: Epoch) -> Self {
        Self {
            head: Head::empty(epoch),
            environments: BTreeMap::new(),
            departed: BTreeMap::new(),
            kills: BTreeMap::new(),
            tokens: BTreeMap::new(),
            sources: BTreeMap::new(),
            requests: BTreeMap::new(),
            requests_by_age: BTreeMap::new(),
        }
    }

    /// Takes in the next record.
    pub fn apply(&mut self, record: &Record) {
        self.forget_requests(record.at);
        let stamp = Stamp { revision: record.revision, at: record.at };
        for change in &record.changes {
            self.change(change, stamp);
        }
        if let Some(request) = &record.idempotency {
            self.remember(request, stamp);
        }
        self.head = record.head();
    }

    /// Where the journal stood: epoch, revision and hash of the last record.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The last revision taken in.
    pub fn revision(&self) -> Revision {
        self.head.revision
    }

    /// An environment.
    pub fn environment(&self, name: &EnvironmentName) -> Option<&Environment> {
        self.environments.get(name)
    }

    /// All environments, by name.
    pub fn environments(&self) -> &BTreeMap<EnvironmentName, Environment> {
        &self.environments
    }

    /// Environments that were deleted and not created again, with the revision that deleted them.
    pub fn departed(&self) -> &BTreeMap<EnvironmentName, Revision> {
        &self.departed
    }

    /// The kills of an environment, whether it exists or not; none where no flag in it was ever killed.
    pub fn kills(&self, name: &EnvironmentName) -> Option<&KillSet> {
        self.kills.get(name)
    }

    /// The newest generation of any kill or restore, in any environment: the next one must follow it.
    pub fn generation(&self) -> Generation {
        self.kills.values().map(KillSet::generation).max().unwrap_or_default()
    }

    /// All tokens by identifier, revoked ones included.
    pub fn tokens(&self) -> &BTreeMap<String, TokenState> {
        &self.tokens
    }

    /// The flag files that were taken in, by identity.
    pub fn sources(&self) -> &BTreeMap<String, SourceState> {
        &self.sources
    }

    /// The answer to an earlier request with this token and key, for 24 hours of record time.
    pub fn answered(&self, token: &str, key: &str) -> Option<&Answered> {
        self.requests.get(&(token.to_owned(), key.to_owned()))
    }

    /// Every request that is remembered, with its token and key.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &str, &Answered)> {
        self.requests.iter().map(|((token, key), answered)| (token.as_str(), key.as_str(), answered))
    }

    fn change(&mut self, change: &Change, stamp: Stamp) {
        match change {
            Change::EnvironmentPut { environment, production, data_plane_auth } => {
                let held = self.environment_mut(environment, stamp);
                held.production = *production;
                held.data_plane_auth = *data_plane_auth;
                held.revision = stamp.revision;
            }
            Change::EnvironmentDeleted { environment } => {
                if self.environments.remove(environment).is_some() {
                    self.departed.insert(environment.clone(), stamp.revision);
                }
            }
            Change::FlagPut { environment, flag, definition, origin } => {
                self.environment_mut(environment, stamp).put_flag(flag, definition, origin, stamp);
            }
            Change::FlagDeleted { environment, flag, origin: _ } => {
                self.delete(environment, ObjectName::Flag(flag.clone()), stamp);
            }
            Change::SegmentPut { environment, segment, definition, origin } => {
                self.environment_mut(environment, stamp).put_segment(segment, definition, origin, stamp);
            }
            Change::SegmentDeleted { environment, segment, origin: _ } => {
                self.delete(environment, ObjectName::Segment(segment.clone()), stamp);
            }
            Change::AllocationSet { environment, flag, allocation } => {
                if let Some(held) = self.environments.get_mut(environment) {
                    held.set_allocation(flag, allocation.as_ref(), stamp);
                }
            }
            Change::FlagKilled { environment, flag, generation } => {
                self.mark(environment, flag, KillMark { generation: *generation, killed: true });
                if let Some(held) = self.environments.get_mut(environment) {
                    held.empty_allocation(flag, stamp);
                }
            }
            Change::FlagRestored { environment, flag, generation, undoes: _ } => {
                self.mark(environment, flag, KillMark { generation: *generation, killed: false });
            }
            Change::TokenIssued { .. } | Change::TokenRevoked { .. } => self.token(change, stamp),
            Change::SourceImported { source, environment, digest } => {
                let state = SourceState {
                    environment: environment.clone(),
                    digest: *digest,
                    at: stamp.at,
                    revision: stamp.revision,
                };
                self.sources.insert(source.clone(), state);
            }
            // Facts about the journal, not about the world: the epoch comes with the record.
            Change::PropagationObserved { .. } | Change::EpochStarted { .. } | Change::PayloadErased { .. } => {}
        }
    }

    fn token(&mut self, change: &Change, stamp: Stamp) {
        match change {
            Change::TokenIssued { id, name, secret_hash, scopes, environments, expires } => {
                let token = TokenState {
                    name: name.clone(),
                    secret_hash: *secret_hash,
                    scopes: scopes.clone(),
                    environments: environments.clone(),
                    created: stamp.at,
                    expires: *expires,
                    revoked: None,
                    revision: stamp.revision,
                };
                self.tokens.insert(id.clone(), token);
            }
            Change::TokenRevoked { id } => {
                if let Some(token) = self.tokens.get_mut(id) {
                    token.revoked = token.revoked.or(Some(stamp.at));
                    token.revision = stamp.revision;
                }
            }
            _ => {}
        }
    }

    fn environment_mut(&mut self, name: &EnvironmentName, stamp: Stamp) -> &mut Environment {
        if !self.environments.contains_key(name) {
            self.departed.remove(name);
        }
        let careful = || Environment::new(true, DataPlaneAuth::Required, stamp.revision);
        self.environments.entry(name.clone()).or_insert_with(careful)
    }

    fn delete(&mut self, environment: &EnvironmentName, name: ObjectName, stamp: Stamp) {
        if let Some(held) = self.environments.get_mut(environment) {
            held.delete(name, stamp.revision);
        }
    }

    fn mark(&mut self, environment: &EnvironmentName, flag: &FlagId, mark: KillMark) {
        self.kills.entry(environment.clone()).or_default().merge(flag, mark);
    }

    pub(super) fn remember_answer(&mut self, request: (String, String), answer: Answered) {
        let age = (answer.at, answer.revision);
        if let Some(before) = self.requests.insert(request.clone(), answer) {
            self.requests_by_age.remove(&(before.at, before.revision));
        }
        self.requests_by_age.insert(age, request);
    }

    fn remember(&mut self, request: &Idempotency, stamp: Stamp) {
        let answer = Answered { fingerprint: request.fingerprint, revision: stamp.revision, at: stamp.at };
        self.remember_answer((request.token.clone(), request.key.clone()), answer);
    }

    /// Forgets by record time, so that every fold of the same records forgets the same.
    fn forget_requests(&mut self, now: Timestamp) {
        let limit = now.plus_micros(-IDEMPOTENCY_MICROS);
        while let Some(oldest) = self.requests_by_age.first_entry() {
            if oldest.key().0 >= limit {
                break;
            }
            self.requests.remove(&oldest.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chain::open;
    use super::super::change::Origin;
    use super::super::environment::Object;
    use super::super::record::{Actor, Draft};
    use super::super::samples::{EPOCH, allocation, chain, definition, draft, environment, flag, records, revision};
    use super::*;
    use crate::flag::definition::Allocation;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000_000;

    fn put(n: u8) -> Change {
        Change::FlagPut {
            environment: environment(0),
            flag: flag(n),
            definition: definition("docs"),
            origin: Origin::Api,
        }
    }

    fn killed(n: u8, generation: u64) -> Change {
        Change::FlagKilled { environment: environment(0), flag: flag(n), generation: Generation(generation) }
    }

    fn restored(n: u8, generation: u64, undoes: u64) -> Change {
        let (generation, undoes) = (Generation(generation), Generation(undoes));
        Change::FlagRestored { environment: environment(0), flag: flag(n), generation, undoes }
    }

    fn allocated(n: u8, percent: u32) -> Change {
        Change::AllocationSet { environment: environment(0), flag: flag(n), allocation: Some(allocation(percent)) }
    }

    fn deleted(n: u8) -> Change {
        Change::FlagDeleted { environment: environment(0), flag: flag(n), origin: Origin::Api }
    }

    fn world(changes: Vec<Change>) -> World {
        let mut world = World::empty(EPOCH);
        for sealed in chain(&changes.into_iter().map(draft).collect::<Vec<_>>()) {
            world.apply(&sealed.record);
        }
        world
    }

    fn is_killed(world: &World, n: u8) -> bool {
        world.kills(&environment(0)).is_some_and(|kills| kills.killed(&flag(n)).is_some())
    }

    fn share(world: &World, n: u8) -> Option<Allocation> {
        world.environment(&environment(0))?.flag(&flag(n))?.allocation.clone()
    }

    fn changed_since(world: &World, n: u64) -> Vec<(u64, bool)> {
        let held = world.environment(&environment(0)).unwrap();
        let describe = |object: Object<'_>| match object {
            Object::Flag(_, state) => (state.revision.0, true),
            Object::Segment(_, state) => (state.revision.0, true),
            Object::Gone(_, revision) => (revision.0, false),
        };
        held.changed_since(revision(n)).map(describe).collect()
    }

    proptest! {
        #[test]
        fn folding_what_was_stored_is_folding_what_was_sealed(chain in records()) {
            let (mut sealed, mut stored) = (World::empty(EPOCH), World::empty(EPOCH));
            for record in &chain {
                sealed.apply(&record.record);
                stored.apply(&open(&record.stored).unwrap());
            }
            prop_assert_eq!(&sealed, &stored);
            if let Some(last) = chain.last() {
                prop_assert_eq!(*sealed.head(), last.stored.head());
            }
        }

        #[test]
        fn what_changed_since_a_revision_is_what_carries_a_later_one(chain in records(), since in 0u64..24) {
            let mut world = World::empty(EPOCH);
            chain.iter().for_each(|sealed| world.apply(&sealed.record));
            for held in world.environments().values() {
                let flags = held.flags().values().map(|state| state.revision);
                let segments = held.segments().values().map(|state| state.revision);
                let gone = held.tombstones().values().copied();
                let all: Vec<_> = flags.chain(segments).chain(gone).collect();
                let expected = all.iter().filter(|touched| touched.0 > since).count();
                prop_assert_eq!(held.changed_since(revision(since)).count(), expected);
                let newest = all.into_iter().max().unwrap_or_default().max(held.revision);
                prop_assert_eq!(held.newest(), newest);
            }
        }

        #[test]
        fn kills_and_restores_end_the_same_in_any_order(
            marks in prop::collection::vec((0u8..3, 1u64..9, any::<bool>()), 0..12), turn in 0usize..12,
        ) {
            let change = |&(n, generation, kill): &(u8, u64, bool)| {
                if kill { killed(n, generation) } else { restored(n, generation, generation - 1) }
            };
            let mut other = marks.clone();
            other.rotate_left(turn % marks.len().max(1));
            other.reverse();
            let (straight, turned) =
                (world(marks.iter().map(change).collect()), world(other.iter().map(change).collect()));
            prop_assert_eq!(straight.kills(&environment(0)), turned.kills(&environment(0)));
            prop_assert_eq!(straight.generation(), turned.generation());
        }
    }

    #[test]
    fn a_kill_empties_the_allocation_and_a_restore_does_not_bring_it_back() {
        let before = vec![put(0), allocated(0, 25)];
        let world_killed = world([before.clone(), vec![killed(0, 5)]].concat());
        assert!(is_killed(&world_killed, 0));
        assert_eq!(share(&world_killed, 0), Some(allocation(0)));
        assert_eq!(changed_since(&world_killed, 2), [(3, true)]);
        let back = world([before, vec![killed(0, 5), restored(0, 6, 5)]].concat());
        assert!(!is_killed(&back, 0));
        assert_eq!(share(&back, 0), Some(allocation(0)));
    }

    #[test]
    fn a_kill_without_an_allocation_touches_no_object() {
        let world = world(vec![put(0), killed(0, 5), restored(0, 6, 5)]);
        assert_eq!(changed_since(&world, 1), []);
        assert_eq!(share(&world, 0), None);
    }

    #[test]
    fn neither_a_new_definition_nor_a_new_flag_of_that_name_undoes_a_kill() {
        let world_killed = world(vec![put(0), killed(0, 5), put(0), deleted(0), put(0)]);
        assert!(is_killed(&world_killed, 0));
        let delete = Change::EnvironmentDeleted { environment: environment(0) };
        let gone = world(vec![put(0), killed(0, 5), delete.clone()]);
        assert_eq!(gone.departed().get(&environment(0)), Some(&revision(3)));
        let again = world(vec![put(0), killed(0, 5), delete, put(0)]);
        assert!(is_killed(&again, 0));
        assert!(again.departed().is_empty());
        assert_eq!(again.environment(&environment(0)).unwrap().created, revision(4));
    }

    #[test]
    fn a_put_keeps_the_allocation_and_a_deletion_ends_it() {
        let kept = world(vec![put(0), allocated(0, 25), put(0)]);
        assert_eq!(share(&kept, 0), Some(allocation(25)));
        let fresh = world(vec![put(0), allocated(0, 25), deleted(0), put(0)]);
        assert_eq!(share(&fresh, 0), None);
        assert_eq!(changed_since(&fresh, 0), [(4, true)]);
        let gone = world(vec![put(0), put(1), deleted(0), deleted(0)]);
        assert_eq!(changed_since(&gone, 0), [(2, true), (3, false)]);
    }

    #[test]
    fn flags_are_found_by_tag() {
        let world = world(vec![put(0), put(2)]);
        let held = world.environment(&environment(0)).unwrap();
        assert_eq!(held.flags_with_tag("docs").map(|(id, _)| id.clone()).collect::<Vec<_>>(), [flag(0), flag(2)]);
        assert_eq!(held.flags_with_tag("other").count(), 0);
    }

    #[test]
    fn an_environment_that_nobody_created_is_a_careful_one() {
        let world = world(vec![put(0)]);
        let held = world.environment(&environment(0)).unwrap();
        assert!(held.production);
        assert_eq!(held.data_plane_auth, DataPlaneAuth::Required);
    }

    #[test]
    fn a_request_is_remembered_for_a_day_of_record_time() {
        let request = |key: &str| Idempotency { token: "t".to_owned(), key: key.to_owned(), fingerprint: Digest::ZERO };
        let at = |hours: i64, key: Option<&str>| {
            let mut draft = Draft::new(Timestamp::from_micros(hours * HOUR), Actor::system("test"), Vec::new());
            draft.idempotency = key.map(request);
            draft
        };
        let answered = |drafts: &[Draft], key: &str| {
            let mut world = World::empty(EPOCH);
            chain(drafts).iter().for_each(|sealed| world.apply(&sealed.record));
            world.answered("t", key).map(|answer| answer.revision.0)
        };
        let first = at(100, Some("a"));
        assert_eq!(answered(&[first.clone(), at(124, None)], "a"), Some(1));
        assert_eq!(answered(&[first.clone(), at(125, None)], "a"), None);
        assert_eq!(answered(&[first.clone(), at(90, None)], "a"), Some(1));
        assert_eq!(answered(&[first.clone(), at(110, Some("a")), at(125, None)], "a"), Some(2));
        assert_eq!(answered(&[first, at(101, None)], "b"), None);
    }
}
