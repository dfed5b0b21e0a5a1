//! Changes and records to test with: a small world in which everything collides often. Test code only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::chain::{Sealed, seal};
use super::change::{Change, Origin, Propagation, Reach};
use super::digest::{Digest, Epoch, Salt};
use super::record::{Actor, Draft, Head, Idempotency};
use crate::access::policy::DataPlaneAuth;
use crate::flag::definition::{Allocation, Condition, Definition, Segment};
use crate::flag::key::{EnvironmentName, FlagId, FlagKey, SegmentName, VariantName};
use crate::flag::percent::Percent;
use crate::flag::time::{Generation, Revision, Timestamp};

pub(crate) const EPOCH: Epoch = Epoch([0xe0; 16]);

pub(crate) fn environment(n: u8) -> EnvironmentName {
    EnvironmentName::new(["production", "staging"][usize::from(n % 2)]).unwrap()
}

pub(crate) fn flag(n: u8) -> FlagId {
    FlagId::plain(FlagKey::new(["alpha", "beta", "gamma"][usize::from(n % 3)]).unwrap())
}

pub(crate) fn variant(name: &str) -> VariantName {
    VariantName::new(name).unwrap()
}

pub(crate) fn definition(tag: &str) -> Arc<Definition> {
    Arc::new(Definition {
        variants: BTreeMap::from([(variant("on"), true.into()), (variant("off"), false.into())]),
        default_variant: Some(variant("off")),
        tags: BTreeSet::from([tag.to_owned()]),
        ..Definition::default()
    })
}

pub(crate) fn allocation(percent: u32) -> Allocation {
    Allocation { percentages: BTreeMap::from([(variant("on"), Percent::from_thousandths(percent * 1000).unwrap())]) }
}

/// One change of any kind that a fold takes in.
pub(crate) fn change() -> impl Strategy<Value = Change> {
    (0u8..14, 0u8..2, 0u8..3, 1u64..8, any::<bool>()).prop_map(|(kind, place, n, number, yes)| {
        let (environment, flag) = (environment(place), flag(n));
        let segment = SegmentName::new(["staff", "beta"][usize::from(n % 2)]).unwrap();
        let origin = if yes { Origin::Api } else { Origin::File { source: "flags.yaml".to_owned() } };
        let generation = Generation(number);
        match kind {
            0 => {
                let data_plane_auth = if yes { DataPlaneAuth::Required } else { DataPlaneAuth::Optional };
                Change::EnvironmentPut { environment, production: yes, data_plane_auth }
            }
            1 if number == 1 => Change::EnvironmentDeleted { environment },
            1..=3 => Change::FlagPut { environment, flag, definition: definition(&format!("tag{number}")), origin },
            4 => Change::FlagDeleted { environment, flag, origin },
            5 => {
                let definition = Arc::new(Segment { when: Condition::always() });
                Change::SegmentPut { environment, segment, definition, origin }
            }
            6 => Change::SegmentDeleted { environment, segment, origin },
            7 => Change::AllocationSet { environment, flag, allocation: yes.then(|| allocation(number as u32)) },
            8 => Change::FlagKilled { environment, flag, generation },
            9 => {
                let undoes = Generation(number - 1);
                Change::FlagRestored { environment, flag, generation, undoes }
            }
            10 => Change::TokenIssued {
                id: format!("t{n}"),
                name: "ci".to_owned(),
                secret_hash: Digest([n; 32]),
                scopes: vec!["kill".to_owned()],
                environments: if yes { Reach::All } else { Reach::Only(BTreeSet::from([environment])) },
                expires: yes.then(|| Timestamp::from_micros(5)),
            },
            12 => {
                let propagation =
                    Propagation { subscribers: number, confirmed: number, max_us: 7, ..Propagation::default() };
                Change::PropagationObserved { environment, generation, propagation }
            }
            11 => Change::TokenRevoked { id: format!("t{n}") },
            _ => Change::SourceImported { source: format!("f{n}"), environment, digest: Digest([place; 32]) },
        }
    })
}

/// Records with any changes, some hours apart, a few of them answers to requests.
pub(crate) fn records() -> impl Strategy<Value = Vec<Sealed>> {
    let draft = (prop::collection::vec(change(), 0..4), 0i64..20, prop::option::of(0u8..3));
    prop::collection::vec(draft, 0..24).prop_map(|drafts| {
        let mut at = Timestamp::from_micros(1_700_000_000_000_000);
        let drafts = drafts.into_iter().map(|(changes, hours, request)| {
            at = at.plus_micros((hours - 2) * 3_600_000_000);
            let mut draft = Draft::new(at, Actor::token("t1", "Ada"), changes);
            draft.reason = Some("because".to_owned());
            draft.idempotency = request.map(|n| Idempotency {
                token: "t1".to_owned(),
                key: format!("k{n}"),
                fingerprint: Digest([n; 32]),
            });
            draft
        });
        chain(&drafts.collect::<Vec<_>>())
    })
}

/// Seals drafts one after the other.
pub(crate) fn chain(drafts: &[Draft]) -> Vec<Sealed> {
    let mut head = Head::empty(EPOCH);
    let mut salt = 0u8;
    let mut next = || {
        salt = salt.wrapping_add(1);
        Salt([salt; 16])
    };
    let seal = |draft: &Draft| {
        let sealed = seal(draft, &head, &mut next);
        head = sealed.stored.head();
        sealed
    };
    drafts.iter().map(seal).collect()
}

/// A draft of one change at a revision-like time.
pub(crate) fn draft(change: Change) -> Draft {
    Draft::new(Timestamp::from_micros(1_700_000_000_000_000), Actor::system("test"), vec![change])
}

pub(crate) fn revision(n: u64) -> Revision {
    Revision(n)
}
