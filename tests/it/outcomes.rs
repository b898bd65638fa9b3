//! Receivers that answer everything but what they should: each delivery ends as the contract says, with a record in words.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;

use crate::daemon::{House, event, until, webhook};
use crate::receivers::{Received, Receiver, ok, raw};

const SHORT: &str = "timeout = \"500ms\"\nretry = [ {attempts = 1, every = \"100ms\"} ]";

/// The one delivery of a webhook, whole.
fn delivery(house: &House, webhook: &str) -> Value {
    let listed = house.json(&["deliveries", "list", "--webhook", webhook]);
    let id = listed["deliveries"][0]["id"].as_str().unwrap_or_else(|| panic!("{webhook}: {listed}")).to_owned();
    house.json(&["deliveries", "show", &id])
}

#[test]
fn each_way_to_fail_has_its_class_and_ends_dropped_with_every_attempt_recorded() {
    let statuses = Receiver::new(|received| {
        let status: u16 = received.path.trim_start_matches('/').parse().unwrap();
        (StatusCode::from_u16(status).unwrap(), [("location", "http://169.254.169.254/")]).into_response()
    });
    let pause = Duration::from_millis(0);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let slow: &[&[u8]] = &[b"H", b"T", b"T", b"P", b"/", b"1", b".", b"1", b" ", b"2", b"0", b"0"];
    let cases = [
        ("internal-error", statuses.url("/500"), "status"),
        ("redirect", statuses.url("/302"), "redirect"),
        ("created", statuses.url("/201"), "status"),
        ("nothing", format!("http://{}/", raw(&[], pause)), "connection_closed"),
        ("garbage", format!("http://{}/", raw(&[b"garbage\r\n\r\n"], pause)), "invalid_response"),
        ("half", format!("http://{}/", raw(&[b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"], pause)), "response_cut_short"),
        ("slow", format!("http://{}/", raw(slow, Duration::from_millis(100))), "response_timeout"),
        ("refused", format!("http://{closed}/"), "connect_refused"),
        ("no-name", "http://nonexistent.invalid/".into(), "dns_not_found"),
        ("private", "http://10.0.0.1/".into(), "address_refused"),
    ];
    let house = House::new(&cases.iter().map(|(id, url, _)| webhook(id, url, SHORT)).collect::<String>());
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], cases.len());
    let status = house.drained();
    assert_eq!(status["counters"]["dropped"], cases.len());
    for (id, _, class) in &cases {
        let shown = delivery(&house, id);
        let timeline = shown["timeline"].as_array().unwrap();
        assert_eq!((&shown["state"], timeline.len()), (&"dropped".into(), 2), "{id}: {shown}");
        for attempt in timeline {
            assert_eq!(attempt["outcome"], *class, "{id}: {attempt}");
            assert!(attempt["sentence"].as_str().unwrap().len() > 20);
        }
    }
    assert!(statuses.received().iter().all(|received| received.path != "/"), "redirects are not followed");
}

#[test]
fn gone_pauses_loudly_keeps_everything_over_a_restart_and_resuming_goes_on() {
    fn gone_at_first(received: &Received) -> axum::response::Response {
        if received.header("hookwheel-attempt") == "1" { StatusCode::GONE.into_response() } else { ok(received) }
    }
    let receiver = Receiver::new(gone_at_first);
    let house = House::new(&webhook("crm", &receiver.url("/"), "retry = [ {attempts = 5, every = \"100ms\"} ]"));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    let paused = || house.json(&["webhooks", "list"])[0]["pauses"][0]["reason"].as_str().map(str::to_owned);
    assert_eq!(until("the webhook is paused", paused), "gone");
    assert!(house.says(&["webhooks", "list"]).contains("410"));
    assert!(
        until("the log says so", || Some(house.log()).filter(|log| log.contains("410 Gone"))).contains("hookwheel webhooks resume crm")
    );
    assert!(daemon.stop().success());
    let daemon = house.start();
    assert_eq!(paused().as_deref(), Some("gone"));
    assert_eq!(daemon.post("application/json", event("b").as_bytes()).0, 202);
    assert_eq!(house.json(&["status"])["pending"], 2, "nothing is thrown away");
    house.says(&["webhooks", "resume", "crm"]);
    // The second event's first attempt is answered 410 again.
    until("the first one arrives", || Some(()).filter(|()| house.json(&["status"])["counters"]["delivered"] != 0));
    assert_eq!(until("the webhook is paused again", paused), "gone");
    house.says(&["webhooks", "resume", "crm"]);
    house.drained();
    assert_eq!(receiver.received().len(), 4);
}

#[test]
fn retry_after_puts_the_next_attempt_off() {
    let receiver = Receiver::new(|_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1000")]).into_response());
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    let shown =
        until("the attempt is recorded", || Some(delivery(&house, "crm")).filter(|shown| shown["timeline"].as_array().unwrap().len() == 1));
    let [finished, due] = ["finished", "due"].map(|key| {
        let text = if key == "due" { &shown["due"] } else { &shown["timeline"][0]["finished"] };
        text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    });
    assert_eq!(due.duration_since(finished).as_secs(), 1000, "the schedule alone would say 100");
}
