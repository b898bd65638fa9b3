//! A large backlog for endpoints that are down, beside 999 that are well: what it takes in memory and on disk, how long a start with it takes, and one without its view, and what
//! the backlog of one dead endpoint costs the healthy. With `BACKLOG_IDS=1` each event has an id of the client's own, which is then remembered, too.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookwheel::time::Stopwatch;

use crate::house::{BATCH, House, free_address, receiver};
use crate::plot::Plot;
use crate::{median, rate, size};

const HEALTHY_WEBHOOKS: u64 = 999;
/// Events for the healthy webhooks, one delivery each, spread over all of them.
const HEALTHY_EVENTS: u64 = 40_000;
const ROUNDS: usize = 9;
/// Pending deliveries of one dead webhook: what the default limit allows.
const PENDING_OF_ONE: u64 = 1_000_000;

fn healthy(number: u64) -> String {
    format!("healthy-{}.example.com", number % HEALTHY_WEBHOOKS)
}

fn dead(number: u64) -> String {
    format!("dead-{}.example.com", number / PENDING_OF_ONE)
}

/// Deliveries a second to the healthy webhooks.
fn healthy_throughput(house: &House, delivered: &AtomicU64) -> f64 {
    let before = delivered.load(Ordering::Relaxed);
    let stopwatch = Stopwatch::start();
    (0..HEALTHY_EVENTS / BATCH).for_each(|batch| house.publish(batch * BATCH..(batch + 1) * BATCH, healthy, |_| None));
    while delivered.load(Ordering::Relaxed) < before + HEALTHY_EVENTS {
        std::thread::sleep(Duration::from_millis(1));
    }
    rate(HEALTHY_EVENTS, stopwatch.elapsed_ms())
}

/// Beside the backlog, and the same for a second daemon that has none: round by round one after the other, so that whatever else this machine does meets both.
fn compare(house: &House, without: &House, delivered: &AtomicU64) {
    let (mut beside, mut alone, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        beside.push(healthy_throughput(house, delivered));
        alone.push(healthy_throughput(without, delivered));
        shares.push(beside[beside.len() - 1] * 100.0 / alone[alone.len() - 1]);
    }
    println!("| deliveries/s to {HEALTHY_WEBHOOKS} healthy webhooks beside that backlog | {:.0} |", median(beside));
    println!("| of a daemon without it, in turns with that one | {:.0} |", median(alone));
    println!("| the first of the second, median of {ROUNDS} pairs | {:.0} % |", median(shares));
}

fn seconds(elapsed_ms: u64) -> String {
    format!("{}.{:02} s", elapsed_ms / 1000, elapsed_ms % 1000 / 10)
}

/// Starts again and again, and says how long that takes.
fn starts(house: &House, plot: &Plot, delivered: &AtomicU64) {
    for (what, removes_view) in [("killed and started again", false), ("started without its view, which is rebuilt", true)] {
        if removes_view {
            std::fs::remove_dir_all(house.data().join("view")).unwrap();
        }
        let (daemon, doors_ms) = house.start_and(|pid| plot.follow(pid));
        let first_ms = house.first_delivery_ms(delivered, &healthy(0));
        println!("| {what}: doors open after | {} |", seconds(doors_ms));
        println!("| first delivery of a new event then | {first_ms} ms |");
        println!("| resident memory then | {} MiB |", daemon.resident_mib());
    }
}

pub(crate) fn run() {
    let backlog = size("BACKLOG", 200_000).next_multiple_of(BATCH);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (receiver, delivered) = receiver(&runtime);
    let (house, without) = (House::new(), House::new());
    let refusing = free_address();
    let of_healthy = || (0..HEALTHY_WEBHOOKS).map(|number| (format!("healthy-{number}"), healthy(number), receiver, ""));
    let of_dead =
        (0..backlog.div_ceil(PENDING_OF_ONE)).map(|number| (format!("dead-{number}"), dead(number * PENDING_OF_ONE), refusing, ""));
    house.configure(&format!("[limits]\nmax_pending = {}\n", backlog + 10 * HEALTHY_EVENTS), of_healthy().chain(of_dead));
    without.configure("", of_healthy());

    let plot = Plot::begin("backlog", house.data());
    let (daemon, _) = house.start_and(|pid| plot.follow(pid));
    println!("| what | figure |\n| --- | --- |");
    println!("| resident memory, nothing pending | {} MiB |", daemon.resident_mib());
    let (first, rest) = (backlog.min(PENDING_OF_ONE), backlog);
    let with_ids = size("BACKLOG_IDS", 0) > 0;
    let id = |number: u64| with_ids.then(|| format!("event-{number}"));
    let fill = |numbers: std::ops::Range<u64>| {
        let stopwatch = Stopwatch::start();
        numbers.step_by(usize::try_from(BATCH).unwrap()).for_each(|begin| house.publish(begin..begin + BATCH, dead, id));
        stopwatch.elapsed_ms()
    };
    let filled_ms = fill(0..first);
    println!("| {first} events for one webhook whose endpoint refuses, accepted in | {} |", seconds(filled_ms));
    {
        let (_other, _) = without.start();
        compare(&house, &without, &delivered);
    }
    if rest > first {
        println!("| the rest of {rest}, for others that refuse, accepted in | {} |", seconds(fill(first..rest)));
    }
    println!("| resident memory, {backlog} pending | {} MiB |", daemon.resident_mib());
    println!("| the data directory | {} MiB |", crate::house::disk_mib(&house.data()));
    drop(daemon);
    starts(&house, &plot, &delivered);
    plot.end();
}
