//! The writer and the kill lane over a journal that fails when it is told to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::Control;
use super::boot::{Boot, Booted};
use super::clock::Clock;
use super::command::{Call, Command, Durability, Effect, Precondition, Targets};
use super::refusal::Refusal;
use crate::access::policy::DataPlaneAuth;
use crate::eval::context::Context;
use crate::eval::evaluate::evaluate;
use crate::eval::fractional::FractionalHash;
use crate::flag::definition::{Definition, FlagFile, Serve};
use crate::flag::key::{EnvironmentName, FlagId, FlagKey, VariantName};
use crate::flag::time::Timestamp;
use crate::journal::memory::{MemoryJournal, Trouble};
use crate::world::chain::open;
use crate::world::digest::Epoch;

const NOW: Timestamp = Timestamp::from_micros(1_000_000);

fn environment() -> EnvironmentName {
    EnvironmentName::new("production").unwrap()
}

fn id(key: &str) -> FlagId {
    FlagId::plain(FlagKey::new(key).unwrap())
}

fn definition(description: &str) -> Definition {
    let variant = |name: &str| VariantName::new(name).unwrap();
    Definition {
        description: Some(description.to_owned()),
        variants: [(variant("on"), true.into()), (variant("off"), false.into())].into(),
        default_variant: Some(variant("off")),
        serve: Some(Serve::variant(variant("on"))),
        ..Definition::default()
    }
}

fn put(key: &str, description: &str) -> Command {
    let definition = Arc::new(definition(description));
    Command::PutFlag { environment: environment(), flag: id(key), definition, precondition: Precondition::None }
}

fn delete(key: &str) -> Command {
    Command::DeleteFlag { environment: environment(), flag: id(key), precondition: Precondition::None }
}

fn targets(key: &str) -> Targets {
    Targets::Flags(BTreeSet::from([id(key)]))
}

fn call() -> Call {
    Call::of_system("test")
}

/// Runs a test against a node with one environment and the flag `a`.
fn with_node<T>(test: impl AsyncFnOnce(&Control, &MemoryJournal) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let journal = Arc::new(MemoryJournal::new(Epoch([7; 16])));
    let boot = Boot {
        journal: Arc::<MemoryJournal>::clone(&journal),
        pending: None,
        clock: Clock::manual(NOW),
        random: |bytes| bytes.fill(1),
        patience: Duration::from_millis(5),
        fractional_hash: FractionalHash::V3,
        keep_lost: crate::snapshot::roster::KEEP_LOST,
    };
    let Booted { control, writer, jobs } = boot.run().unwrap();
    let stop = CancellationToken::new();
    runtime.block_on(async {
        let tested = async {
            let data_plane_auth = DataPlaneAuth::Optional;
            let environment = Command::PutEnvironment { environment: environment(), production: true, data_plane_auth };
            control.submit(environment, call()).await.unwrap();
            control.submit(put("a", "first"), call()).await.unwrap();
            let tested = test(&control, &journal).await;
            stop.cancel();
            tested
        };
        tokio::join!(writer.run(jobs, stop.clone()), tested).1
    })
}

fn served(control: &Control, key: &str) -> Option<bool> {
    let snapshot = control.hub().current(&environment())?;
    let flag = snapshot.set.get(&id(key))?;
    evaluate(&snapshot.set, flag, &Context::empty(), NOW).value?.as_bool()
}

#[test]
fn a_kill_needs_no_journal_and_enters_it_before_anything_else() {
    with_node(async |control, journal| {
        journal.set_trouble(Some(Trouble::Full));
        let refused = control.submit(put("b", "never"), call()).await;
        assert!(matches!(refused, Err(Refusal::DiskFull(_))), "{refused:?}");
        assert_eq!((served(control, "a"), served(control, "b")), (Some(true), None));

        let killed = control.kill(&environment(), &targets("a"), call()).await.unwrap();
        assert_eq!((killed.durability, killed.revision), (Durability::Memory, None));
        assert_eq!(killed.objects[0].effect, Effect::Killed);
        assert_eq!(served(control, "a"), Some(false));
        assert_eq!((control.unjournaled_kills(), control.journal_works()), (1, false));

        let restore = || Command::Restore { environment: environment(), targets: targets("a"), generation: None };
        let refused = control.submit(restore(), call()).await;
        assert!(matches!(refused, Err(Refusal::DiskFull(_))), "a restore waits for its kill: {refused:?}");
        assert_eq!(served(control, "a"), Some(false));

        journal.set_trouble(None);
        control.submit(restore(), call()).await.unwrap();
        assert_eq!((served(control, "a"), control.unjournaled_kills(), control.journal_works()), (Some(true), 0, true));
        let kinds: Vec<_> = journal
            .records()
            .iter()
            .flat_map(|stored| open(stored).unwrap().changes)
            .map(|change| change.kind())
            .collect();
        assert_eq!(kinds, ["environment_put", "flag_put", "flag_killed", "flag_restored"]);
    });
}

#[test]
fn what_was_prepared_before_a_kill_does_not_undo_it() {
    with_node(async |control, _| {
        let before = control.hub().current(&environment()).unwrap();
        control.kill(&environment(), &targets("a"), call()).await.unwrap();
        control.hub().publish(&environment(), |_| before.as_ref().clone());
        assert_eq!(served(control, "a"), Some(false));
    });
}

#[test]
fn two_restores_of_one_kill_undo_it_once_and_a_later_kill_stays() {
    with_node(async |control, _| {
        let first = control.kill(&environment(), &targets("a"), call()).await.unwrap().generation;
        let restore = |generation| Command::Restore { environment: environment(), targets: targets("a"), generation };
        control.submit(restore(first), call()).await.unwrap();
        let second = control.kill(&environment(), &targets("a"), call()).await.unwrap().generation;
        assert!(second > first);
        let late = control.submit(restore(first), call()).await;
        assert!(matches!(late, Err(Refusal::NewerKill { .. })), "{late:?}");
        assert_eq!(served(control, "a"), Some(false));
    });
}

#[test]
fn a_refused_command_changes_nothing() {
    with_node(async |control, journal| {
        let records = journal.records().len();
        let mut broken = definition("x");
        broken.serve = Some(Serve::variant(VariantName::new("gone").unwrap()));
        let definition = Arc::new(broken);
        let precondition = Precondition::None;
        let flag = id("a");
        let command = Command::PutFlag { environment: environment(), flag, definition, precondition };
        assert!(matches!(control.submit(command, call()).await, Err(Refusal::Invalid(_))));
        assert!(matches!(control.submit(delete("nope"), call()).await, Err(Refusal::UnknownFlag(_))));
        let nobody = Targets::Tag("nobody".to_owned());
        assert!(matches!(control.kill(&environment(), &nobody, call()).await, Err(Refusal::UnknownTag(_))));
        assert_eq!((journal.records().len(), served(control, "a")), (records, Some(true)));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_but_a_restore_brings_a_killed_flag_back(steps in prop::collection::vec(0u8..6, 1..20)) {
        with_node(async |control, _| {
            control.kill(&environment(), &targets("a"), call()).await.unwrap();
            for (number, step) in steps.iter().enumerate() {
                let text = number.to_string();
                let command = match step {
                    0 => put("a", &text),
                    1 => delete("a"),
                    2 => put("b", &text),
                    3 => {
                        let flags = [(id("a"), definition(&text))].into();
                        let file = FlagFile { flags, ..FlagFile::default() };
                        Command::Import { environment: environment(), file, dry_run: false }
                    }
                    4 => Command::PutEnvironment {
                        environment: environment(),
                        production: number.is_multiple_of(2),
                        data_plane_auth: DataPlaneAuth::Optional,
                    },
                    _ => Command::Restore { environment: environment(), targets: targets("b"), generation: None },
                };
                // Some are refused (deleting what is gone); none may turn the flag on.
                drop(control.submit(command, call()).await);
                assert_ne!(served(control, "a"), Some(true), "step {number} of {steps:?}");
            }
        });
    }
}
