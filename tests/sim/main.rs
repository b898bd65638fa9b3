//! The simulator: the real engine, writer, journal and recovery in a world of virtual time, where everything goes wrong that may. A failure is a seed.
//!
//! * `cargo test --test sim` runs 1000 fresh seeds, other ones each time, beside 20 that are always the same, and shows that the laws can be broken.
//! * Beside the seeds, a script over a disk whose every call fails in turn and whose power goes at every moment: [`disk`].
//! * `SIM_SEED=n` replays one seed; `SIM_FIRST=n` begins with that one, and `SIM_SEEDS=n` runs so many.

mod answers;
mod archivist;
mod clients;
mod defects;
mod disk;
mod endpoints;
mod hallway;
mod laws;
mod ledger;
mod lifecycle;
mod medium;
mod mirror;
mod notices;
mod office;
mod operator;
mod random;
mod settings;
mod table;
mod trace;
mod view;
mod wishes;
mod workload;
mod world;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::defects::{Defect, PLANTED};
use crate::laws::Broken;
use crate::world::{World, failure};

const FRESH_SEEDS: u64 = 1000;
const FIXED_SEEDS: u64 = 20;
const THREADS: u64 = 2;
/// Within so many seeds a planted defect is noticed.
const PLANTED_SEEDS: u64 = 200;

/// Runs a seed; the hash of its course, or what it has to say.
fn run(seed: u64, defect: Defect, readable: bool) -> Result<u64, String> {
    let mut world = World::new(seed, defect, readable);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let broken = match outcome {
        Ok(Ok(())) => return Ok(world.trace.hash()),
        Ok(Err(broken)) => broken,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Broken { law: "nothing panics", what: text.unwrap_or_default() }
        }
    };
    if readable {
        Err(failure(&broken, seed, &world.trace))
    } else {
        Err(run(seed, defect, true).err().unwrap_or_else(|| format!("seed {seed} broke {broken:?}, but not when replayed")))
    }
}

/// Runs seeds on a few threads; the first failures in words.
fn run_all(first: u64, count: u64) -> Vec<String> {
    let next = AtomicU64::new(0);
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count || failures.len() > 1 {
                return failures;
            }
            failures.extend(run(first.wrapping_add(index), Defect::None, false).err());
        }
    };
    std::thread::scope(|scope| {
        let threads = (0..THREADS).map(|_| scope.spawn(worker)).collect::<Vec<_>>();
        threads.into_iter().flat_map(|thread| thread.join().expect("panics are caught")).collect()
    })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// A seed that nobody has run before: the time, in milliseconds.
fn fresh_seed() -> u64 {
    let since_1970 = std::time::UNIX_EPOCH.elapsed().expect("the clock is past 1970");
    u64::try_from(since_1970.as_millis()).expect("it fits for half a billion years")
}

#[test]
#[expect(clippy::print_stderr, reason = "whoever watches wants to know which seeds ran")]
fn seeds_keep_the_laws() {
    if let Some(seed) = variable("SIM_SEED") {
        run(seed, Defect::None, true).unwrap_or_else(|failure| panic!("{failure}"));
        return;
    }
    let (first, count) = (variable("SIM_FIRST").unwrap_or_else(fresh_seed), variable("SIM_SEEDS").unwrap_or(FRESH_SEEDS));
    eprintln!("simulating the seeds {first} to {}", first + count - 1);
    let failures = run_all(first, count);
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn fixed_seeds_keep_the_laws_and_reach_a_full_disk_with_all_that_follows() {
    let mut reached = BTreeSet::new();
    for seed in 1..=FIXED_SEEDS {
        let mut world = World::new(seed, Defect::None, false);
        world.run().unwrap_or_else(|broken| panic!("seed {seed}: {broken:?}"));
        reached.append(&mut world.reached);
    }
    for what in ["refused, the disk is full", "outcomes wait for room", "the view rests", "started on a full disk"] {
        assert!(reached.contains(what), "no seed came to that: {what}");
    }
}

#[test]
fn the_same_seed_takes_the_same_course() {
    for seed in 100..104 {
        let (first, second) = (run(seed, Defect::None, false), run(seed, Defect::None, true));
        assert_eq!(first, second, "seed {seed}");
        assert_ne!(first, run(seed + 1000, Defect::None, false));
    }
}

/// The first seed that notices a planted defect, and what it has to say.
fn noticed(defect: Defect) -> Option<(u64, String)> {
    (0..PLANTED_SEEDS).find_map(|seed| Some((seed, run(seed, defect, false).err()?)))
}

#[test]
#[expect(clippy::print_stderr, reason = "whoever wants to know which seeds notice reads them here")]
fn planted_defects_are_caught() {
    let next = AtomicU64::new(0);
    let worker = || {
        while let Some((defect, laws)) = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok().and_then(|index| PLANTED.get(index)) {
            let (seed, failure) = noticed(*defect).unwrap_or_else(|| panic!("no seed below {PLANTED_SEEDS} notices {defect:?}"));
            let law = laws.iter().find(|law| failure.contains(&format!("broke the law \"{law}\"")));
            eprintln!("{defect:?}: seed {seed}, \"{}\"", law.unwrap_or(&"?"));
            assert!(law.is_some(), "{defect:?} was to break one of {laws:?}: {failure}");
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(worker))));
}
