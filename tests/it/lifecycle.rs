//! Starting, reloading, ending: signals, a changed file. These tests never damage anything.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::{House, event, until, webhook};
use crate::receivers::{Receiver, ok};

fn slow(received: &crate::receivers::Received) -> axum::response::Response {
    std::thread::sleep(Duration::from_millis(300));
    ok(received)
}

#[test]
fn the_limit_of_open_files_is_raised_and_one_that_is_too_low_is_told() {
    let house = House::new("");
    let under = |limits: &str| {
        let serve = house.serve();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(serve.get_program()).args(serve.get_args());
        command.env_remove("NOTIFY_SOCKET").env_remove("HOOKWHEEL_SOCKET");
        let daemon = house.start_as(command);
        let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let soft_and_hard = line.split_whitespace().take(2).map(|number| number.parse::<u32>().unwrap()).collect::<Vec<_>>();
        assert!(daemon.stop().success());
        (soft_and_hard, house.log().contains("may open fewer files"))
    };
    assert_eq!(under("ulimit -S -n 256; ulimit -H -n 8000"), (vec![8000, 8000], false));
    assert_eq!(under("ulimit -S -n 256; ulimit -H -n 1024"), (vec![1024, 1024], true));
}

#[test]
fn sigterm_lets_the_attempt_in_flight_end_and_records_it() {
    let receiver = Receiver::new(slow);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    until("the attempt is in flight", || (house.json(&["status"])["in_flight"] == 1).then_some(()));
    assert!(daemon.stop().success());
    let _daemon = house.start();
    assert_eq!(house.json(&["status"])["pending"], 0);
    assert_eq!(house.json(&["deliveries", "list"])["deliveries"][0]["state"], "delivered");
    assert_eq!(receiver.received().len(), 1, "it was not made again");
}

#[test]
fn a_reload_applies_a_good_file_and_a_broken_one_changes_nothing() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let daemon = house.start();
    house.configure(&(webhook("crm", &receiver.url("/new"), "") + &webhook("second", &receiver.url("/second"), "")));
    let report = house.json(&["reload", "--dry-run"]);
    let changes = report["changes"].as_array().unwrap().iter().map(|change| change.as_str().unwrap()).collect::<Vec<_>>();
    assert!(
        changes.iter().any(|change| change.starts_with("changed crm: url from ")) && changes.contains(&"added second (second)"),
        "{changes:?}"
    );
    assert_eq!(house.json(&["webhooks", "list"]).as_array().unwrap().len(), 1, "a dry run changes nothing");
    daemon.signal(Signal::HUP);
    until("the reload", || (house.json(&["webhooks", "list"]).as_array().unwrap().len() == 2).then_some(()));
    house.configure("[[webhook]]\nid = \"crm\"\n");
    let output = house.run(&["reload"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("webhooks.toml:7:"));
    let status = house.json(&["status"]);
    assert_eq!(status["configuration"]["last_reload_successful"], false);
    assert!(daemon.get("/metrics").contains("hookwheel_config_last_reload_successful 0"));
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], 2, "the one before stays in force");
    house.drained();
    let mut paths = receiver.received().iter().map(|received| received.path.clone()).collect::<Vec<_>>();
    paths.sort();
    assert_eq!(paths, ["/new", "/second"]);
}

#[test]
fn a_webhook_gone_from_the_file_keeps_its_deliveries_until_it_is_back_or_its_grace_is_over() {
    let receiver = Receiver::new(ok);
    let paused = webhook("crm", &receiver.url("/"), "paused = true");
    let house = House::new(&paused);
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], 1);
    house.configure("");
    assert!(house.says(&["reload"]).contains("orphaned crm: its 1 pending deliveries"));
    assert_eq!(daemon.post("application/json", event("b").as_bytes()).1["deliveries"], 0);
    assert!(daemon.stop().success());
    let daemon = house.start();
    assert_eq!(house.json(&["status"])["pending"], 1, "over a restart too");
    house.configure(&webhook("crm", &receiver.url("/"), ""));
    assert!(house.says(&["reload"]).contains("restored crm: its 1 pending deliveries go on"));
    house.drained();
    assert_eq!(receiver.received().len(), 1);
    house.configure(&paused);
    house.says(&["reload"]);
    assert_eq!(daemon.post("application/json", event("c").as_bytes()).1["deliveries"], 1);
    house.configure("[delivery]\norphan_grace = \"1ms\"\n");
    house.says(&["reload"]);
    assert_eq!(house.drained()["counters"]["cancelled"], 1);
}

#[test]
fn pausing_by_hand_holds_deliveries_back_and_resuming_sends_them() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let daemon = house.start();
    house.says(&["webhooks", "pause", "crm"]);
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    let explained = house.json(&["events", "explain", "email.status.delivered", "--project", "shop.example.com"]);
    assert!(explained["webhooks"][0]["because"].as_str().unwrap().contains("paused by hand"), "{explained}");
    assert_eq!(house.json(&["status"])["pending"], 1);
    let listed = house.says(&["deliveries", "list"]);
    assert!(listed.contains("paused") && !listed.contains("due now"), "it waits for nobody's clock: {listed}");
    house.says(&["webhooks", "resume", "crm"]);
    house.drained();
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn last_good_starts_with_the_configuration_that_was_in_force_when_the_file_is_broken() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    assert!(house.start().stop().success());
    house.configure("[[webhook]]\nid = \"crm\"\n");
    assert_eq!(house.refused().0, 78, "without --last-good a broken file ends the start");
    let mut command = house.serve();
    command.arg("--last-good");
    let daemon = house.start_as(command);
    assert!(house.log().contains("starting with the one that was in force last"), "{}", house.log());
    let status = house.json(&["status"]);
    assert_eq!(status["configuration"]["last_reload_successful"], false);
    assert!(status["configuration"]["last_error"].as_str().unwrap().contains("webhooks.toml:"));
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], 1);
    house.drained();
    assert_eq!(receiver.received().len(), 1);
    house.configure(&webhook("crm", &receiver.url("/mended"), ""));
    house.says(&["reload"]);
    assert_eq!(house.json(&["status"])["configuration"]["last_reload_successful"], true);
}
