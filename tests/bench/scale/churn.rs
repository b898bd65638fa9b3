//! Many events one after the other, each with an id and delivered at once, under a history that is soon full: whether disk and memory stay what they are.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hookwheel::time::Stopwatch;

use crate::house::{BATCH, House, disk_mib, receiver};
use crate::plot::{Plot, Sample};
use crate::{rate, size};

const WEBHOOKS: u64 = 100;
/// Events that may be accepted and not delivered yet.
const AHEAD: u64 = 20_000;

fn project(number: u64) -> String {
    format!("project-{}.example.com", number % WEBHOOKS)
}

pub(crate) fn run() {
    let events = size("CHURN", 400_000).next_multiple_of(BATCH);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (receiver, delivered) = receiver(&runtime);
    let house = House::new();
    let settings = "[history]\nmax_size = \"256MiB\"\n[ingest]\nidempotency = \"10s\"\n";
    house.configure(settings, (0..WEBHOOKS).map(|number| (format!("webhook-{number}"), project(number), receiver, "")));
    let plot = Plot::begin("churn", house.data());
    let (daemon, _) = house.start_and(|pid| plot.follow(pid));
    let stopwatch = Stopwatch::start();
    for begin in (0..events).step_by(usize::try_from(BATCH).unwrap()) {
        house.publish(begin..begin + BATCH, project, |number| Some(format!("event-{number}")));
        while delivered.load(Ordering::Relaxed) + AHEAD < begin + BATCH {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    while delivered.load(Ordering::Relaxed) < events {
        std::thread::sleep(Duration::from_millis(1));
    }
    let elapsed_ms = stopwatch.elapsed_ms();
    println!("| what | figure |\n| --- | --- |");
    println!(
        "| {events} events with ids accepted and delivered, [history] max_size = 256 MiB, ids recognized for 10 s | {:.0} events/s |",
        rate(events, elapsed_ms)
    );
    println!("| the view at the end | {} MiB |", disk_mib(&house.data().join("view")));
    let samples = plot.end();
    let most = |part: &[Sample], of: fn(&Sample) -> u64| part.iter().map(of).max().unwrap_or(0);
    let (first, second) = samples.split_at(samples.len() / 2);
    for (what, of) in [("disk", (|one| one.disk_mib) as fn(&Sample) -> u64), ("memory", |one| one.resident_mib)] {
        println!("{what}: at most {} MiB in the first half, {} MiB in the second", most(first, of), most(second, of));
    }
    drop(daemon);
}
