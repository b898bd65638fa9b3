//! `kill -9` under a mixed load, again and again. What was acknowledged must be there, and must have arrived.
//!
//! `KILL_ROUNDS=10000` kills so often instead of 200 times.

use std::time::Duration;

use crate::daemon::House;
use crate::disk::Disk;
use crate::load::{Chance, Load, in_houses};

const ROUNDS: u64 = 200;
/// Kills of one data directory. One of them comes late, when records of the first attempts must have been durable for long.
const ROUNDS_A_HOUSE: u64 = 50;
const LATE: Duration = Duration::from_millis(2500);
/// What one kill may repeat: three webhooks of ten attempts in flight, and what ended in the last tenth of a second, here at most four times as many.
const REPEATED_MAX: u64 = 150;

/// Kills a daemon so many times. Its disk spares it the zeros of new segments, where that can be, which would take most of the time.
fn killed(rounds: u64, seed: u64) {
    let load = Load::new();
    let house = House::new(&load.webhooks(0));
    let mut chance = Chance(seed);
    let disk = Disk::under(&house);
    let start = || house.start_as(disk.as_ref().map_or_else(|| house.serve(), |disk| disk.serve(&house)));
    let mut daemon = start();
    load.is_at(daemon.address);
    let daemon = load.during(&house, seed, || {
        for round in 0..rounds {
            let lives = if round == rounds / 2 { LATE } else { Duration::from_millis(5 + chance.below(120)) };
            std::thread::sleep(lives);
            load.kill(daemon);
            daemon = start();
            load.is_at(daemon.address);
        }
        daemon
    });
    let repeated = load.everything_is_there(&house);
    assert!(repeated as u64 <= rounds * REPEATED_MAX, "{repeated} attempts were repeated in {rounds} rounds");
    assert!(load.count() as u64 > rounds * 3, "there was load: {}", load.count());
    assert!(daemon.stop().success());
    let data = house.path("data");
    house.says(&["verify", "--data-dir", data.to_str().unwrap()]);
}

#[test]
fn nothing_acknowledged_is_lost_in_two_hundred_kills_and_little_is_repeated() {
    let rounds = std::env::var("KILL_ROUNDS").ok().map_or(ROUNDS, |text| text.parse().expect("KILL_ROUNDS is a number"));
    in_houses(rounds, ROUNDS_A_HOUSE, |rounds, seed| {
        killed(rounds, seed);
        true
    });
}
