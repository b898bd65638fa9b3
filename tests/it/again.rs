//! Deliveries that operators try again or end, one or many, by the commands. These tests never damage anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;

use crate::daemon::{Daemon, House, until, webhook, webhook_of};
use crate::receivers::{Receiver, ok};

fn publish(daemon: &Daemon<'_>, project: &str, ids: std::ops::Range<u32>) {
    for id in ids {
        let event = format!(r#"{{"type":"email.status.delivered","project":"{project}","id":"e{id}","data":{{"n":{id}}}}}"#);
        assert_eq!(daemon.post("application/json", event.as_bytes()).0, 202);
    }
}

/// A receiver that answers 503 until it is told that it is well.
fn flaky() -> (Receiver, Arc<AtomicBool>) {
    let is_well = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&is_well);
    let receiver = Receiver::new(move |received| match answers.load(Ordering::Relaxed) {
        true => ok(received),
        false => (StatusCode::SERVICE_UNAVAILABLE, "x".repeat(100)).into_response(),
    });
    (receiver, is_well)
}

const TWO_ATTEMPTS: &str = "retry = [ {attempts = 1, every = \"50ms\"} ]";
const ONCE_A_DAY: &str = "retry = [ {attempts = 3, every = \"1d\"} ]";

fn counters(house: &House) -> [u64; 3] {
    let status = house.json(&["status"]);
    [
        status["pending"].as_u64().unwrap(),
        status["counters"]["delivered"].as_u64().unwrap(),
        status["counters"]["cancelled"].as_u64().unwrap(),
    ]
}

fn listed(house: &House, filter: &[&str]) -> Vec<Value> {
    let list = house.json(&[&["deliveries", "list", "--limit", "10000"], filter].concat());
    list["deliveries"].as_array().unwrap().clone()
}

#[test]
fn what_was_dropped_is_tried_anew_keeps_its_attempts_and_is_listed_once_over_a_restart() {
    let (receiver, is_well) = flaky();
    let house = House::new(&webhook("crm", &receiver.url("/"), TWO_ATTEMPTS));
    let daemon = house.start();
    publish(&daemon, "shop.example.com", 0..3);
    house.drained();
    assert_eq!(listed(&house, &["--state", "dropped"]).len(), 3);
    let id = listed(&house, &[])[0]["id"].as_str().unwrap().to_owned();
    // Once more in vain, and then not.
    assert!(house.says(&["deliveries", "retry", &id]).contains("tried anew, with a fresh schedule"));
    house.drained();
    assert_eq!(listed(&house, &["--state", "dropped"]).len(), 3, "each is listed once");
    is_well.store(true, Ordering::Relaxed);
    house.says(&["deliveries", "retry", &id]);
    house.drained();
    let check = || {
        let shown = house.json(&["deliveries", "show", &id]);
        let attempts = shown["timeline"].as_array().unwrap();
        let rounds = attempts.iter().map(|one| (one["round"].as_u64().unwrap(), one["number"].as_u64().unwrap())).collect::<Vec<_>>();
        assert_eq!(rounds, [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)]);
        assert_eq!(shown["state"], "delivered");
        assert_eq!(attempts[3]["response"].as_str().unwrap().len(), 100, "the last answer before");
        let states = listed(&house, &[]).iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(states, ["delivered", "dropped", "dropped"]);
        let events = house.json(&["events", "list"]);
        let counts = events["events"].as_array().unwrap().iter().map(|event| event["deliveries"]["dropped"].as_u64().unwrap());
        assert_eq!(counts.sum::<u64>(), 2);
    };
    check();
    assert!(daemon.stop().success());
    let _daemon = house.start();
    check();
    let last = receiver.received().pop().unwrap();
    let event = house.json(&["deliveries", "show", &id])["event"].clone();
    assert_eq!((last.header("hookwheel-attempt"), last.header("webhook-id")), ("1", event.as_str().unwrap()));
}

#[test]
fn a_pending_delivery_is_tried_now_and_one_that_is_ended_is_never_sent_again() {
    let (receiver, is_well) = flaky();
    let house = House::new(&webhook("crm", &receiver.url("/"), ONCE_A_DAY));
    let daemon = house.start();
    publish(&daemon, "shop.example.com", 0..2);
    until("both failed once", || Some(()).filter(|()| house.json(&["status"])["counters"]["attempts"] == 2));
    let ids = listed(&house, &[]).iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    is_well.store(true, Ordering::Relaxed);
    assert!(house.says(&["deliveries", "retry", &ids[0]]).contains("tried now"));
    assert!(house.says(&["deliveries", "cancel", &ids[1]]).contains("cancelled"));
    house.drained();
    assert_eq!(counters(&house), [0, 1, 1]);
    let again = house.run(&["deliveries", "cancel", &ids[1]]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is cancelled"), "{again:?}");
    assert!(daemon.stop().success());
    let _daemon = house.start();
    assert_eq!(house.json(&["status"])["pending"], 0);
    assert_eq!(receiver.received().len(), 3);
    let states = listed(&house, &[]).iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(states.len(), 2);
    assert!(states.contains(&"cancelled".to_owned()) && states.contains(&"delivered".to_owned()));
}

#[test]
fn many_are_counted_first_and_only_what_the_filter_means_is_changed() {
    let (receiver, is_well) = flaky();
    let own = webhook("crm", &receiver.url("/crm"), TWO_ATTEMPTS);
    let other = webhook_of("other.example.org", "other", &receiver.url("/other"), TWO_ATTEMPTS);
    let slow = webhook_of("slow.example.org", "slow", &receiver.url("/slow"), ONCE_A_DAY);
    let house = House::new(&(own + &other + &slow));
    let daemon = house.start();
    publish(&daemon, "shop.example.com", 0..700);
    publish(&daemon, "other.example.org", 0..5);
    publish(&daemon, "slow.example.org", 0..600);
    until("all but the slow ones are dropped", || Some(()).filter(|()| house.json(&["status"])["pending"] == 600));
    let refused = house.run(&["deliveries", "retry", "--webhook", "crm"]);
    assert_eq!(refused.status.code(), Some(1), "nobody can be asked");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("retry 700 dropped deliveries of crm?"), "{refused:?}");
    is_well.store(true, Ordering::Relaxed);
    let before = receiver.received().len();
    assert_eq!(house.json(&["deliveries", "retry", "--webhook", "crm", "--yes"])["changed"], 700);
    until("they are delivered", || Some(()).filter(|()| house.json(&["status"])["counters"]["delivered"] == 700));
    assert_eq!(receiver.received().len(), before + 700, "each once");
    assert_eq!(listed(&house, &["--state", "dropped"]).len(), 5);
    assert!(house.says(&["deliveries", "retry", "--webhook", "crm", "--yes"]).contains("nothing was changed"));
    assert_eq!(
        house
            .says(&["deliveries", "retry", "--state", "pending", "--project", "slow.example.org", "--until", "1h", "--yes"])
            .lines()
            .count(),
        1
    );
    assert_eq!(house.json(&["deliveries", "cancel", "--webhook", "slow", "--type", "sms.*", "--yes"])["changed"], 0);
    until("the slow ones have failed once", || {
        Some(()).filter(|()| listed(&house, &["--webhook", "slow"]).iter().all(|one| one["attempts"] == 1 && one["in_flight"] == false))
    });
    assert!(house.says(&["deliveries", "cancel", "--webhook", "slow", "--yes"]).starts_with("600 deliveries cancelled\n"));
    assert_eq!(counters(&house), [0, 700, 600]);
    assert_eq!(house.json(&["deliveries", "retry", "--state", "cancelled", "--yes"])["changed"], 600);
    house.drained();
    assert_eq!(counters(&house), [0, 1300, 600]);
    drop(daemon);
}

#[test]
fn whoever_asks_for_the_impossible_is_told_why() {
    let (receiver, is_well) = flaky();
    let house = House::new(&webhook("crm", &receiver.url("/"), TWO_ATTEMPTS));
    let _daemon = house.start();
    publish(&_daemon, "shop.example.com", 0..1);
    house.drained();
    let id = listed(&house, &[])[0]["id"].as_str().unwrap().to_owned();
    is_well.store(true, Ordering::Relaxed);
    house.configure("");
    house.says(&["reload"]);
    for (command, sentence) in [
        (["deliveries", "retry", id.as_str()], "not in force any more"),
        (["deliveries", "retry", "dlv_aaaaaaaaacaaaaaaaaaq"], "there is no delivery"),
        (["deliveries", "cancel", "dlv_aaaaaaaaacaaaaaaaaaq"], "there is no delivery"),
        (["deliveries", "cancel", id.as_str()], "is not pending: it is dropped"),
    ] {
        let refused = house.run(&command);
        assert_eq!(refused.status.code(), Some(1), "{command:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains(sentence), "{command:?}: {refused:?}");
    }
    house.configure(&webhook("crm", &receiver.url("/"), "paused = true"));
    house.says(&["reload"]);
    assert!(house.says(&["deliveries", "retry", &id]).contains("it waits, for crm is paused"));
    assert_eq!(house.json(&["status"])["pending"], 1);
    assert!(house.says(&["deliveries", "list"]).contains("pending"));
}
