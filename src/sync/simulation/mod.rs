//! Both machines against each other in a seeded world: networks drop, repeat, delay, reorder and cut; clients and
//! servers restart with everything, with less, or with an older past; stores are compacted, and restored from backups
//! with and without saying so; nodes do not know each other's kills.
//!
//! Every operation goes into a history, and after every step thirteen invariants are asked by name against a model that
//! shares no code with the machines. A seed that fails is printed and replays exactly (`make simulate SEED=…`); each
//! invariant is shown to fail by a mistake planted for it. No threads and no time: a step is a number.

mod client;
mod dice;
mod history;
mod invariants;
mod model;
mod network;
mod plant;
mod store;
mod world;

use std::collections::BTreeSet;
use std::io::Read;
use std::ops::Range;

use history::Failure;
use plant::Bug;
use world::World;

/// What the seeds of `make test` must reach.
const WANTED: &[&str] = &[
    "initial",
    "compacted",
    "epoch-changed",
    "digest-mismatch",
    "future-revision",
    "requested",
    "confirmed-empty",
    "delta",
    "none",
    "gap",
    "set mismatch",
    "suspicious empty",
    "rollback",
    "kills ahead",
    "rejected",
    "objects differ",
    "kills differ",
    "kills unusable",
    "kill during a transfer",
    "lost",
    "repeated",
    "late",
    "reordered",
    "transfer repeated",
    "wrong proof",
    "cut",
    "half cut",
    "storm",
    "silence",
    "acknowledgement overdue",
    "protocol fault",
    "restart",
    "restart without digests",
    "new epoch",
    "declared restore",
    "undeclared restore",
    "client lost everything",
    "client returns to an older state",
    "client goes to another node",
    "client asks for everything",
];

/// One seed. One that fails is run again, with its history.
fn run(seed: u64, bug: Option<Bug>) -> Result<BTreeSet<&'static str>, Box<Failure>> {
    let mut world = World::new(seed, bug, false);
    if world.run().is_ok() {
        return Ok(world.history.reached);
    }
    let mut world = World::new(seed, bug, true);
    let violation = world.run().expect_err("the same seed does the same");
    Err(Box::new(Failure { seed, step: world.now, violation, history: world.history }))
}

fn run_all(seeds: Range<u64>) {
    let mut reached = BTreeSet::new();
    for seed in seeds {
        match run(seed, None) {
            Ok(words) => reached.extend(words),
            Err(failure) => panic!("{failure}"),
        }
    }
    let missing: Vec<_> = WANTED.iter().filter(|word| !reached.contains(*word)).collect();
    assert!(missing.is_empty(), "the simulation no longer reaches what it is for: {missing:?}");
}

#[test]
fn the_invariants_hold_in_the_first_thousand_seeds() {
    run_all(1..1001);
}

#[test]
fn the_invariants_hold_in_the_second_thousand_seeds() {
    run_all(1001..2001);
}

#[test]
fn each_invariant_names_the_mistake_that_is_planted_for_it() {
    for (bug, invariant) in Bug::ALL {
        let named = (1..60).find_map(|seed| run(seed, Some(bug)).err()).map(|failure| failure.violation);
        let names = named.as_ref().map(|violation| violation.invariant);
        assert_eq!(names, Some(invariant), "{bug:?}: {named:?}");
    }
}

/// `make simulate` says on standard input which seeds: `first last`, or one seed, whose history is printed.
#[test]
#[ignore = "make simulate: reads its seeds from standard input"]
fn seeds_from_standard_input() {
    let mut said = String::new();
    std::io::stdin().read_to_string(&mut said).expect("text");
    let numbers: Vec<u64> = said.split_whitespace().map(|word| word.parse().expect("a seed")).collect();
    match numbers[..] {
        [seed] => {
            let mut world = World::new(seed, None, true);
            let verdict = world.run();
            world.history.print();
            assert_eq!(verdict, Ok(()), "seed {seed}, step {}", world.now);
        }
        [first, last] => {
            let mut failed = 0;
            for seed in first..=last {
                if let Err(failure) = run(seed, None) {
                    failed += 1;
                    if failed <= 12 {
                        println!("{failure}\n");
                    }
                }
            }
            println!("seeds {first} to {last}: {failed} failed");
            assert_eq!(failed, 0, "seeds failed");
        }
        _ => panic!("say one seed, or the first and the last"),
    }
}
