//! Very many webhooks, each of a project of its own: what accepting an event costs beside 100, how long a start and a reload take. The webhooks are paused, so that nothing but
//! accepting takes time.

use std::fmt::Write as _;

use hookwheel::time::Stopwatch;

use crate::house::{BATCH, House, Running, free_address};
use crate::{median, rate, size};

const FEW: u64 = 100;
const EVENTS: u64 = 50_000;
const ROUNDS: usize = 3;

fn project(number: u64) -> String {
    format!("project-{number}.example.com")
}

fn configure(house: &House, count: u64) {
    let nowhere = free_address();
    let webhooks = (0..count).map(|number| (format!("webhook-{number}"), project(number), nowhere, "paused = true"));
    house.configure("", webhooks);
}

/// Events a second, and microseconds of processor time an event, while they go round all projects.
fn acceptance(house: &House, daemon: &Running, webhooks: u64) -> (f64, f64) {
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    // Numbers far apart, so that neighbours are not neighbours in memory.
    let of = |number: u64| project(number * 7919 % webhooks);
    (0..EVENTS / BATCH).for_each(|batch| house.publish(batch * BATCH..(batch + 1) * BATCH, of, |_| None));
    for _ in 0..ROUNDS {
        let (stopwatch, before) = (Stopwatch::start(), daemon.processor_ms());
        (0..EVENTS / BATCH).for_each(|batch| house.publish(batch * BATCH..(batch + 1) * BATCH, of, |_| None));
        rates.push(rate(EVENTS, stopwatch.elapsed_ms()));
        costs.push((daemon.processor_ms() - before) * 1000.0 / f64::from(u32::try_from(EVENTS).unwrap()));
    }
    (median(rates), median(costs))
}

/// Processor time of a daemon that has nothing to do, as a share of one processor.
fn idle(daemon: &Running) -> f64 {
    // What a start still does behind it is over by then.
    std::thread::sleep(std::time::Duration::from_secs(10));
    let (stopwatch, before) = (Stopwatch::start(), daemon.processor_ms());
    std::thread::sleep(std::time::Duration::from_secs(5));
    (daemon.processor_ms() - before) * 100.0 / f64::from(u32::try_from(stopwatch.elapsed_ms()).unwrap())
}

pub(crate) fn run() {
    let many = size("WEBHOOKS", 20_000);
    let mut table = String::from(
        "| webhooks | first start | a start | memory then | idle | events/s accepted | processor time an event |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let mut costs = Vec::new();
    for count in [FEW, many] {
        let house = House::new();
        configure(&house, count);
        let (daemon, first_ms) = house.start();
        drop(daemon);
        let (daemon, again_ms) = house.start();
        let (memory, idle) = (daemon.resident_mib(), idle(&daemon));
        let (rate, cost) = acceptance(&house, &daemon, count);
        costs.push(cost);
        writeln!(table, "| {count} | {first_ms} ms | {again_ms} ms | {memory} MiB | {idle:.1} % | {rate:.0} | {cost:.1} µs |").unwrap();
    }
    println!("{table}\nan event costs {:.2} × as much with {many} webhooks as with {FEW}", costs[1] / costs[0]);
    let house = House::new();
    configure(&house, FEW);
    let (daemon, _) = house.start();
    configure(&house, many);
    for what in ["a reload that brings the others", "a reload that changes nothing"] {
        let stopwatch = Stopwatch::start();
        let output = house.command(&["--socket", "admin.sock", "reload", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        println!("{what}: {} ms", stopwatch.elapsed_ms());
    }
    println!("resident memory then: {} MiB", daemon.resident_mib());
}
