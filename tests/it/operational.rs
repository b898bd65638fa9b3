//! What the daemon tells about itself through its own webhooks. These tests never wait for a minute to pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::daemon::{Daemon, House, event, until, webhook, webhook_of};
use crate::receivers::{Receiver, ok};

const FOR_EVER: &str = "retry = [ {attempts = 150, every = \"50ms\"} ]";
const NO_RETRY: &str = "retry = []";

/// A receiver that answers with a status which can be changed, 500 at first.
fn moody() -> (Receiver, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(500));
    let answers = Arc::clone(&status);
    let receiver = Receiver::new(move |_| StatusCode::from_u16(answers.load(Ordering::Relaxed)).unwrap().into_response());
    (receiver, status)
}

/// A webhook of the daemon's own project.
fn listener(id: &str, receiver: &Receiver, more: &str) -> String {
    webhook_of("hookwheel", id, &receiver.url("/"), more)
}

fn publish(daemon: &Daemon<'_>, ids: &[&str]) {
    ids.iter().for_each(|id| assert_eq!(daemon.post("application/json", event(id).as_bytes()).0, 202));
}

/// What a listener was told of that type, each event once.
fn told(receiver: &Receiver, name: &str) -> Vec<Value> {
    let mut events = BTreeMap::new();
    for received in receiver.received() {
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        assert_eq!(body["project"], "hookwheel");
        events.insert(received.header("webhook-id").to_owned(), body);
    }
    events.into_values().filter(|body| body["type"] == format!("hookwheel.{name}")).map(|body| body["data"].clone()).collect()
}

/// The first thing that a listener is told of that type.
fn first(receiver: &Receiver, name: &str) -> Value {
    until(name, || told(receiver, name).into_iter().next())
}

fn text<'a>(data: &'a Value, key: &str) -> &'a str {
    data[key].as_str().unwrap_or_else(|| panic!("{key} of {data}"))
}

#[test]
fn an_endpoint_that_dies_and_comes_back_is_told_once_each_in_events_like_any_other() {
    let ((shop, status), pager) = (moody(), Receiver::new(ok));
    let house = House::new(&(webhook("crm", &shop.url("/"), FOR_EVER) + &listener("pager", &pager, "")));
    let daemon = house.start();
    publish(&daemon, &["a", "b"]);
    let failing = first(&pager, "webhook.failing");
    assert_eq!((text(&failing, "webhook"), text(&failing, "title"), text(&failing, "project")), ("crm", "crm", "shop.example.com"));
    assert!(failing["failed_attempts"].as_u64() >= Some(1) && failing["pending"].as_u64() >= Some(1), "{failing}");
    assert!(text(&failing, "last_outcome").contains("500 Internal Server Error") && text(&failing, "since").ends_with('Z'), "{failing}");
    assert!(text(&failing, "summary").starts_with("crm (crm) "), "{failing}");
    let shown = house.json(&["deliveries", "show", text(&failing, "delivery")]);
    assert_eq!(shown["webhook"], "crm", "what is told can be looked at");
    status.store(200, Ordering::Relaxed);
    let recovered = first(&pager, "webhook.recovered");
    assert_eq!((text(&recovered, "webhook"), &recovered["since"]), ("crm", &failing["since"]));
    assert!(recovered["failed_attempts"].as_u64() >= failing["failed_attempts"].as_u64(), "{recovered}");
    assert_eq!(house.json(&["deliveries", "show", text(&recovered, "delivery")])["webhook"], "crm");
    house.drained();
    let listed = house.json(&["events", "list", "--project", "hookwheel"]);
    let types = listed["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(types, ["hookwheel.webhook.recovered", "hookwheel.webhook.failing"], "once each");
    let received = &pager.received()[0];
    assert!(received.header("webhook-id").starts_with("evt_") && received.header("webhook-signature").starts_with("v1,"));
    assert!(daemon.stop().success());
}

#[test]
fn pauses_are_told_with_who_made_them_and_why() {
    let ((gone, status), pager) = (moody(), Receiver::new(ok));
    status.store(410, Ordering::Relaxed);
    let webhooks =
        |more: &str| webhook("crm", &gone.url("/"), "") + &webhook("billing", "http://127.0.0.1:1/", more) + &listener("pager", &pager, "");
    let house = House::new(&webhooks(""));
    let daemon = house.start();
    let count = |expected| until("so many pauses", || Some(told(&pager, "webhook.paused")).filter(|told| told.len() == expected));
    house.says(&["webhooks", "pause", "billing"]);
    let by_hand = count(1).remove(0);
    assert_eq!((text(&by_hand, "webhook"), text(&by_hand, "reason")), ("billing", "operator"));
    assert!(text(&by_hand, "by").contains("root") || !text(&by_hand, "by").is_empty(), "{by_hand}");
    assert!(text(&by_hand, "summary").contains("paused by hand"), "{by_hand}");
    publish(&daemon, &["a"]);
    let by_receiver = count(2).into_iter().find(|told| told["webhook"] == "crm").unwrap();
    assert_eq!((text(&by_receiver, "reason"), text(&by_receiver, "by"), &by_receiver["pending"]), ("gone", "receiver", &json!(1)));
    assert!(text(&by_receiver, "last_outcome").contains("410 Gone"), "{by_receiver}");
    assert!(told(&pager, "webhook.failing").iter().all(|told| told["webhook"] != "crm"), "it is gone, and does not fail");
    house.says(&["webhooks", "pause", "pager"]);
    house.says(&["webhooks", "resume", "pager"]);
    house.says(&["webhooks", "resume", "billing"]);
    house.configure(&webhooks("paused = true"));
    house.says(&["reload"]);
    let configured = count(3).into_iter().find(|told| told["reason"] == "configured").unwrap();
    assert_eq!((text(&configured, "webhook"), text(&configured, "by")), ("billing", "configuration"));
    assert!(told(&pager, "webhook.paused").iter().all(|told| told["webhook"] != "pager"), "nothing is told of the listener itself");
    assert!(daemon.stop().success());
}

#[test]
fn what_is_dropped_is_counted_and_not_told_one_by_one() {
    let ((shop, _), pager) = (moody(), Receiver::new(ok));
    let house = House::new(&(webhook("crm", &shop.url("/"), NO_RETRY) + &listener("pager", &pager, "")));
    let daemon = house.start();
    let ids = (0..20).map(|number| format!("e{number}")).collect::<Vec<_>>();
    let batch = format!("[{}]", ids.iter().map(|id| event(id)).collect::<Vec<_>>().join(","));
    assert_eq!(daemon.post("application/json", batch.as_bytes()).0, 202);
    // On a slow machine some may come later than the first few seconds; they are told after a minute.
    let all = until("all drops are told", || {
        let told = told(&pager, "delivery.dropped");
        (told.iter().map(|told| told["count"].as_u64().unwrap()).sum::<u64>() == 20).then_some(told)
    });
    assert!(all.len() <= 2, "{all:?}");
    assert_eq!(text(&all[0], "webhook"), "crm");
    assert!(text(&all[0], "last_outcome").contains("500"), "{all:?}");
    assert_eq!(house.json(&["deliveries", "show", text(&all[0], "delivery")])["state"], "dropped");
    assert!(daemon.stop().success());
}

#[test]
fn listeners_whose_own_endpoints_fail_are_told_of_nothing_by_that() {
    let ((shop, _), (one, _), (other, status)) = (moody(), moody(), moody());
    status.store(410, Ordering::Relaxed);
    let listeners = listener("one", &one, NO_RETRY) + &listener("other", &other, FOR_EVER);
    let house = House::new(&(webhook("crm", &shop.url("/"), NO_RETRY) + &listeners));
    let daemon = house.start();
    publish(&daemon, &["a"]);
    first(&one, "delivery.dropped");
    // The other is paused by its own 410, which nobody is told of; resumed, it gets what the first one got.
    status.store(200, Ordering::Relaxed);
    until("the other is paused", || {
        house.json(&["webhooks", "show", "other"])["pauses"].as_array().map(Vec::len).filter(|count| *count > 0)
    });
    house.says(&["webhooks", "resume", "other"]);
    until("the other has got everything", || (told(&other, "delivery.dropped").len() == 1).then_some(()));
    house.drained();
    let listed = house.json(&["events", "list", "--project", "hookwheel"]);
    let types = listed["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(types, ["hookwheel.delivery.dropped", "hookwheel.webhook.failing"], "about crm, and nothing about the two");
    assert_eq!(house.json(&["status"])["counters"]["accepted"], 3);
    assert!(daemon.stop().success());
}

#[test]
fn without_a_listener_nothing_is_written_and_a_restart_goes_on_with_what_was_told() {
    let ((shop, status), pager) = (moody(), Receiver::new(ok));
    let crm = webhook("crm", &shop.url("/"), "retry = [ {attempts = 150, every = \"100ms\"} ]");
    let house = House::new(&crm);
    let daemon = house.start();
    publish(&daemon, &["a"]);
    until("it was tried", || (shop.received().len() > 1).then_some(()));
    house.says(&["webhooks", "pause", "crm"]);
    assert!(house.json(&["events", "list", "--project", "hookwheel"])["events"].as_array().unwrap().is_empty());
    assert_eq!(house.json(&["status"])["counters"]["accepted"], 1);
    // Whoever listens from now on hears of it with the next failed attempt, and not again after a restart.
    house.configure(&(crm + &listener("pager", &pager, "")));
    house.says(&["reload"]);
    house.says(&["webhooks", "resume", "crm"]);
    first(&pager, "webhook.failing");
    assert!(daemon.stop().success());
    let tried = shop.received().len();
    let daemon = house.start();
    until("it was tried again", || (shop.received().len() > tried + 1).then_some(()));
    status.store(200, Ordering::Relaxed);
    first(&pager, "webhook.recovered");
    assert_eq!(told(&pager, "webhook.failing").len(), 1);
    assert!(daemon.stop().success());
}

#[test]
fn nobody_else_tells_of_the_daemon_and_its_project_takes_no_other_events() {
    let pager = Receiver::new(ok);
    let house = House::new(&listener("pager", &pager, ""));
    let daemon = house.start();
    for (event, words) in [
        (r#"{"type":"hookwheel.disk.low","project":"hookwheel","data":{}}"#, "the daemon itself tells"),
        (r#"{"type":"hookwheel.disk.low","project":"shop.example.com","data":{}}"#, "the daemon itself tells"),
        (r#"{"type":"email.status.delivered","project":"hookwheel","data":{}}"#, "it is the daemon's own"),
    ] {
        let (status, problem) = daemon.post("application/json", event.as_bytes());
        assert!(status == 422 && problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    let explained = house.json(&["events", "explain", "hookwheel.disk.low", "--project", "hookwheel"]);
    assert_eq!(explained["webhooks"][0]["matches"], true);
    assert!(house.says(&["catalog"]).contains("told by the daemon itself"));
    let tried = house.json(&["webhooks", "test", "pager", "--type", "hookwheel.delivery.dropped"]);
    assert!(text(&tried["request"], "body").contains(r#""count":17"#), "{tried}");
    let wrong = listener("pager", &pager, "").replace("[\"*\"]", "[\"email.*\"]")
        + &webhook("crm", "http://127.0.0.1:1/", "").replace("[\"*\"]", "[\"hookwheel.*\"]");
    house.configure(&wrong);
    let output = house.run(&["reload"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("where the daemon tells about itself") && message.contains("in the project hookwheel alone"), "{message}");
    assert!(daemon.stop().success());
}
