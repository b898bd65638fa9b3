//! The power cut under a mixed load: only what was synced survives for sure. What was acknowledged must be there after each cut. It never asks the store how it is.
//!
//! `POWER_CUTS=1000` cuts so often instead of 50 times.

use std::time::Duration;

use crate::daemon::House;
use crate::disk::Disk;
use crate::disk::image::Image;
use crate::load::{Chance, Load, in_houses};

const CUTS: u64 = 50;
/// Cuts of one data directory; the first ones come while it is new.
const CUTS_A_HOUSE: u64 = 10;

/// Cuts the power of a daemon so many times. False where that can't be done here.
fn cut(cuts: u64, seed: u64) -> bool {
    let load = Load::new();
    let house = House::new(&load.webhooks(0));
    let Some(disk) = Disk::under(&house) else { return false };
    let mut chance = Chance(seed);
    let mut image = Image::new(house.directory.path());
    for round in 0..=cuts {
        // What a start did that had to be repeated happened, too.
        let what = format!("seed {seed}, cut {round}");
        let daemon = load.start_again(&house, || disk.serve_watched(&house, &mut image), &what);
        if round == cuts {
            load.everything_is_there(&house);
            assert!(daemon.stop().success());
            break;
        }
        load.during(&house, seed ^ round << 40, || {
            std::thread::sleep(Duration::from_millis(chance.below(300)));
            load.kill(daemon);
        });
        disk.tell(&mut image);
        image.lose_power(&mut chance);
        image.write_out();
    }
    assert!(load.count() as u64 > cuts * 3, "there was load: {}", load.count());
    let data = house.path("data");
    house.says(&["verify", "--data-dir", data.to_str().unwrap()]);
    true
}

#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut_fifty_times() {
    let cuts = std::env::var("POWER_CUTS").ok().map_or(CUTS, |text| text.parse().expect("POWER_CUTS is a number"));
    in_houses(cuts, CUTS_A_HOUSE, cut);
}
