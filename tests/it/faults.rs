//! The real binary over a disk that fails or is slow, sled's files included: it ends with a sentence or goes on, and what was acknowledged is there when it is started again.
//! It never makes a disk of the machine fail.
//!
//! `DISK_FAULTS=20` lets the first 20 calls of each kind fail instead of two, `DISK_HANG_S=30` has a sync hang so long instead of three seconds.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::daemon::{Daemon, House, event, now, until, webhook};
use crate::disk::image::Image;
use crate::disk::{Calls, Disk, Error, Fault, Place};
use crate::load::{Chance, Load};
use crate::receivers::{Receiver, ok};

/// A daemon that has not ended so long after its fault goes on.
const PATIENCE: Duration = Duration::from_millis(700);
/// systemd is told that all is well in a third of this.
const WATCHDOG: Duration = Duration::from_millis(600);

fn variable(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Every kind of fault at the first calls, by turns once and for ever, and every other write in part.
fn faults(kinds: &[Calls]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for at in 1..=variable("DISK_FAULTS", 2) {
        for calls in kinds {
            for (place, error) in
                [(Place::Journal, Error::Io), (Place::View, Error::NoSpace), (Place::View, Error::Io), (Place::Journal, Error::NoSpace)]
            {
                let turn = faults.len() / 2 + at as usize;
                let (for_ever, is_short) = (turn.is_multiple_of(2), *calls == Calls::Writes && !turn.is_multiple_of(2));
                faults.push(Fault { calls: *calls, place, error, at, for_ever, is_short });
            }
        }
    }
    faults
}

/// Whoever ends for a reason says it, and exits with 1. Other threads may still log something behind it, such as a reload with a line for each webhook.
fn says_why(house: &House, code: Option<i32>, what: &str) {
    let log = house.log();
    assert_eq!(code, Some(1), "{what}: {log}");
    let is_reason = |line: &str| {
        let names_it = ["disk", "journal", "view", "data directory", "os error", "sandboxes"].iter().any(|word| line.contains(word));
        names_it && !["INFO", "WARN", "panicked"].iter().any(|word| line.contains(word))
    };
    assert!(log.trim_end().lines().rev().take(20).any(is_reason), "{what}: it ended without a reason:\n{log}");
}

/// Lets a running daemon meet the fault, waits whether it ends, and ends it if it goes on.
fn meet<'a>(mut daemon: Daemon<'a>, house: &'a House, disk: &Disk, load: &Load, fault: Fault) {
    let began = now();
    disk.fail(fault);
    while daemon.ended().is_none() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    match daemon.ended() {
        Some(ended) => {
            assert!(disk.failed() > 0, "{fault:?}: it ended without having met it: {}", house.log());
            says_why(house, ended.code(), &format!("{fault:?}"));
            load.ended(began);
        }
        None => load.kill(daemon),
    }
    disk.heal();
}

#[test]
fn whatever_fails_while_it_runs_nothing_acknowledged_is_lost() {
    let load = Load::new();
    let house = House::new(&load.webhooks(0));
    let Some(disk) = Disk::under(&house) else { return };
    let (mut image, mut chance) = (Image::new(house.directory.path()), Chance(hookwheel::time::wall_now().0));
    let mut met = 0;
    for (number, fault) in faults(&[Calls::Writes, Calls::Syncs]).into_iter().enumerate() {
        let daemon = load.start_again(&house, || disk.serve_watched(&house, &mut image), &format!("before {fault:?}"));
        load.during(&house, number as u64, || {
            std::thread::sleep(Duration::from_millis(chance.below(100)));
            meet(daemon, &house, &disk, &load, fault);
        });
        met += u32::from(disk.failed() > 0);
        disk.tell(&mut image);
        if chance.below(2) == 0 {
            image.lose_power(&mut chance);
            image.write_out();
        }
    }
    assert!(met > 8, "only {met} faults were met");
    let daemon = load.start_again(&house, || disk.serve(&house), "at the end");
    load.everything_is_there(&house);
    assert!(daemon.stop().success());
    let data = house.path("data");
    house.says(&["verify", "--data-dir", data.to_str().unwrap()]);
}

#[test]
fn whatever_fails_while_it_starts_it_says_so_and_nothing_acknowledged_is_lost() {
    let load = Load::new();
    let house = House::new(&load.webhooks(0));
    let Some(disk) = Disk::under(&house) else { return };
    let daemon = house.start_as(disk.serve(&house));
    load.is_at(daemon.address);
    load.during(&house, 1, || {
        until("there is something to lose", || (load.count() > 100).then_some(()));
        load.kill(daemon);
    });
    let (mut met, mut refused) = (0, 0);
    for fault in faults(&[Calls::Writes, Calls::Syncs, Calls::Names]) {
        disk.fail(fault);
        match house.try_start_as(disk.serve(&house)) {
            Ok(daemon) => load.kill(daemon),
            Err(ended) => {
                refused += 1;
                says_why(&house, ended.code(), &format!("{fault:?}"));
            }
        }
        met += u32::from(disk.failed() > 0);
        disk.heal();
    }
    assert!(met > 12 && refused > 4, "{met} faults were met, {refused} starts refused");
    let daemon = load.start_again(&house, || disk.serve(&house), "at the end");
    load.everything_is_there(&house);
    assert!(daemon.stop().success());
}

/// What systemd was told and nobody has heard yet.
fn told(socket: &UnixDatagram) -> String {
    let (mut all, mut buffer) = (String::new(), [0; 4096]);
    while let Ok(count) = socket.recv(&mut buffer) {
        all += &String::from_utf8_lossy(&buffer[..count]);
    }
    all
}

#[test]
fn a_slow_disk_slows_acceptance_and_nothing_else() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let Some(disk) = Disk::under(&house) else { return };
    let socket = UnixDatagram::bind(house.path("notify")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut command = disk.serve(&house);
    command.env("NOTIFY_SOCKET", house.path("notify")).env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string()).env_remove("WATCHDOG_PID");
    let daemon = house.start_as(command);
    let hang_ms = 1000 * variable("DISK_HANG_S", 3);
    for (number, ms) in [50, 50, 1000, hang_ms].into_iter().enumerate() {
        disk.slow(ms);
        let posted = now();
        let waits = Duration::from_millis(ms.into());
        std::thread::scope(|scope| {
            let answer = scope.spawn(|| {
                let status = daemon.post("application/json", event(&format!("e{number}")).as_bytes()).0;
                (status, posted.elapsed())
            });
            until("the sync hangs", || (disk.hanging() > 0 || answer.is_finished()).then_some(()));
            told(&socket);
            while !answer.is_finished() {
                assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200"));
                std::thread::sleep(Duration::from_millis(20));
            }
            let (status, took) = answer.join().unwrap();
            assert!(status == 202 && took >= waits, "{status} after {took:?}, before its sync of {waits:?}");
        });
        // Four times as seldom as it should be still keeps the daemon alive.
        let fed = told(&socket).matches("WATCHDOG=1").count() as u128;
        assert!(fed >= waits.as_millis() / (WATCHDOG.as_millis() / 3) / 4, "fed {fed} times in {waits:?}");
        disk.slow(0);
    }
    assert!(daemon.get("/readyz").starts_with("HTTP/1.1 200"));
    house.drained();
    assert_eq!(receiver.received().len(), 4);
    assert!(daemon.stop().success());
}
