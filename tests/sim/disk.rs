//! A script over a disk on which each call fails in turn, once or for ever, and over which the power goes at every moment. It never leaves anything to chance but what the power takes.
//!
//! * Every call that the script makes to the disk fails in each way in which a disk fails, one call a run, until a run meets no fault any more. What goes wrong is reported, the process
//!   ends or goes on, the next one opens the store once nothing fails, and the laws of the simulator hold: nothing acknowledged is lost or altered.
//! * Before every change there is an image of the disk; the power goes there, and again while the store is opened. What was written and not synced is kept, dropped or torn, each page
//!   for itself, in any order. `CRASH_IMAGES=100000` looks at so many instead of 1 200.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hookwheel::model::Sequence;
use hookwheel::store::journal::JournalOptions;
use hookwheel::store::recovery;

use crate::defects::Defect;
use crate::laws::{self, Broken, Law, require};
use crate::ledger::{Books, last_of};
use crate::medium::{Call, Fault, SimMedium};
use crate::random::mix;
use crate::view;
use crate::world::{Before, World};
use crate::{THREADS, variable};

/// Where the search for the script begins: the first seed in which all of this happens is it.
const FIRST: u64 = 51;
const HAPPENS: [&str; 10] = [
    "answered",
    "sent",
    "attempt ended",
    "cancelled",
    "tried anew",
    "segments went",
    "a Black List is changed",
    "reload",
    "removed",
    "stopped in order",
];
const IMAGES: u64 = 1200;
/// Calls to the disk of a script.
const CALLS_MAX: u64 = 1500;

fn script_of(seed: u64, readable: bool) -> World {
    let mut world = World::new(seed, Defect::None, readable);
    world.plan = world.plan.of_script();
    world
}

/// A script in which everything happens, and that with few calls: each of them is a run of all of it.
fn script() -> u64 {
    let has_all = |seed: &u64| {
        let mut world = script_of(*seed, false);
        world.medium.fail_at(Fault::Refused, CALLS_MAX, false);
        world.run().is_ok() && world.medium.hit().is_empty() && HAPPENS.iter().all(|what| world.reached.contains(what))
    };
    (FIRST..FIRST + 1000).find(has_all).expect("one script of 1000 has everything in few calls, and breaks no law by itself")
}

/// Runs the script with a fault; the calls that it met, or what went wrong.
fn run_with(seed: u64, fault: Fault, number: u64, for_ever: bool, readable: bool) -> Result<Vec<Call>, String> {
    let mut world = script_of(seed, readable);
    world.medium.fail_at(fault, number, for_ever);
    if fault == Fault::NoRoom {
        world.full_until = Some(u64::MAX);
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run().and_then(|()| it_was_reported(&world))));
    let broken = match outcome {
        Ok(Ok(())) => return Ok(world.medium.hit()),
        Ok(Err(broken)) => broken,
        Err(panic) => Broken { law: "nothing panics", what: panic.downcast_ref::<String>().cloned().unwrap_or_default() },
    };
    if !readable {
        return run_with(seed, fault, number, for_ever, true);
    }
    let (met, tail) = (world.medium.hit().first().copied(), world.trace.tail());
    let times = if for_ever { "for ever" } else { "once" };
    let Broken { law, what } = broken;
    Err(format!(
        "script {seed}, {fault:?} at call {number} {times}, met {met:?}, broke the law \"{law}\": {what}\nthe last of what happened:\n{tail}"
    ))
}

fn on_all_threads(worker: impl Fn() -> Result<(), String> + Sync) -> Result<(), String> {
    std::thread::scope(|scope| {
        let threads = (0..THREADS).map(|_| scope.spawn(&worker)).collect::<Vec<_>>();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a worker gives back what it has to say"))
    })
}

/// **A fault is never silent**, but where nothing depends on the call: what can't be removed stays, and what can't be read is read again.
fn it_was_reported(world: &World) -> Law {
    let matters = world.medium.hit().into_iter().find(|call| !matches!(call, Call::Read | Call::Remove));
    require("a fault is never silent", matters.is_none() || world.reported > 0, || format!("{matters:?} failed"))
}

#[test]
fn each_call_to_the_disk_fails_in_turn_once_or_for_ever_and_nothing_acknowledged_is_lost() {
    let seed = script();
    let faults = [Fault::Refused, Fault::NoRoom, Fault::Short, Fault::SyncFails];
    for (fault, for_ever) in faults.iter().flat_map(|fault| [(*fault, false), (*fault, true)]) {
        // Every call in turn, until a run meets no fault any more.
        let (next, clean) = (AtomicU64::new(1), AtomicBool::new(false));
        let worker = || {
            while !clean.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if run_with(seed, fault, number, for_ever, false)?.is_empty() {
                    clean.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        on_all_threads(worker).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(next.into_inner() > 100, "the script hardly uses the disk");
    }
}

/// Loses the power at every change of a script with that seed; so many images were looked at.
fn lose_power_everywhere(seed: u64, lies: bool) -> Result<u64, Broken> {
    let mut world = script_of(seed, false);
    world.medium.keep_images();
    world.medium.set_lies(lies);
    world.lied = lies;
    let mut looked_at = 0;
    world.run_watched(&mut |world, before| {
        for image in world.medium.take_images() {
            looked_at += 1;
            after_the_power_went(world, &image, before, mix(seed ^ looked_at << 32))?;
        }
        Ok(())
    })?;
    Ok(looked_at)
}

/// What is left of an image opens, and has everything that had been acknowledged.
fn after_the_power_went(world: &mut World, image: &SimMedium, before: &Before, seed: u64) -> Law {
    let medium = image.copy(seed);
    let table = before.table.copy(medium.daemon(), seed);
    let go = || {
        medium.power_lost();
        table.crash(true);
    };
    let open = || {
        let options = JournalOptions { segment_size: world.plan.segment_size };
        recovery::open(Arc::new(medium.daemon()), options, |opening| table.open(opening), &mut |_| {})
    };
    go();
    if seed.is_multiple_of(2) {
        // And again while the store is opened.
        medium.die_after(1 + seed / 2 % 20);
        drop(open());
        medium.never_die();
        go();
    }
    let opened = open().map_err(|error| Broken { law: "the store opens", what: error.to_string() })?;
    let journal = view::scan(medium.cache())?;
    let acknowledged = std::mem::replace(&mut world.ledger.acknowledged, before.acknowledged);
    let is_whole = laws::the_journal_is_what_was_asked_for(&world.ledger, &journal);
    world.ledger.acknowledged = acknowledged;
    is_whole?;
    let mut books = Books::default();
    for (logged, number) in world.ledger.log[..last_of(&journal)].iter().zip(1..) {
        books.fold(Sequence(number), &logged.fact);
    }
    let (now, window_ms) = (world.latest_schedule.max(world.wall()).max(books.latest), world.plan.idempotency_window_ms);
    view::the_view_equals_the_fold(&journal, &table, now, window_ms)?;
    view::what_is_live_survives(&books, &journal, now, window_ms)?;
    view::the_history_is_complete(&journal, &opened.history)?;
    let named = opened.warnings.iter().find(|warning| warning.contains("are gone"));
    require("the journal is what was asked for", named.is_none(), || format!("{named:?}"))
}

#[test]
fn wherever_the_power_goes_the_store_opens_with_everything_acknowledged() {
    let wanted = variable("CRASH_IMAGES").unwrap_or(IMAGES);
    let (seeds, looked_at) = (AtomicU64::new(FIRST), AtomicU64::new(0));
    let worker = || {
        while looked_at.load(Ordering::Relaxed) < wanted {
            let seed = seeds.fetch_add(1, Ordering::Relaxed);
            let images = lose_power_everywhere(seed, false).map_err(|broken| format!("script {seed}: {broken:?}"))?;
            looked_at.fetch_add(images, Ordering::Relaxed);
        }
        Ok(())
    };
    on_all_threads(worker).unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn what_a_disk_that_lies_loses_with_the_power_is_noticed() {
    let broken = lose_power_everywhere(FIRST, true).expect_err("a sync that does nothing loses what was acknowledged");
    assert!(broken.what.contains("were acknowledged"), "{broken:?}");
}
