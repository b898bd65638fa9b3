//! Old history goes, what is pending stays, over restarts and `kill -9`. What retention does at scale and under faults is simulated.

use axum::http::StatusCode;
use axum::response::IntoResponse;

use crate::daemon::{House, event, until, webhook};
use crate::receivers::{Receiver, ok};

#[test]
fn a_segment_that_is_old_goes_and_what_is_pending_in_it_keeps_its_name_its_body_and_its_attempts() {
    let (good, bad) = (Receiver::new(ok), Receiver::new(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    let retry = "retry = [ {attempts = 1, every = \"1h\"} ]";
    let webhooks = webhook("good", &good.url("/"), "") + &webhook("bad", &bad.url("/"), retry);
    let house = House::new(&("[history]\nkeep = \"1ms\"\n".to_owned() + &webhooks));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    until("both were attempted", || {
        let counters = &house.json(&["status"])["counters"];
        (counters["attempts"] == 2).then_some(())
    });
    let of_bad = || house.json(&["deliveries", "list", "--webhook", "bad"])["deliveries"][0].clone();
    let id = of_bad()["id"].as_str().unwrap().to_owned();
    let before = house.json(&["deliveries", "show", &id]);
    assert!(daemon.stop().success());
    // A start begins a new segment, so the first one is sealed, and old.
    let daemon = house.start();
    let first = house.path("data/journal/0000000001.segment");
    until("the first segment goes", || (!first.exists()).then_some(()));
    until("the log says so", || house.log().contains("old journal segments are gone").then_some(()));
    assert_eq!(house.json(&["deliveries", "show", &id]), before, "carried, with everything that is known of it");
    assert_eq!(house.json(&["deliveries", "list", "--webhook", "good"])["deliveries"].as_array().unwrap().len(), 0, "it had ended");
    let (status, again) = daemon.post("application/json", event("a").as_bytes());
    assert_eq!((status, &again["duplicate"]), (200, &true.into()), "the id is still recognized");
    assert_eq!(house.json(&["verify"])["sound"], true, "nothing is missing of what is needed");
    daemon.kill();
    std::fs::remove_dir_all(house.path("data/view")).unwrap();
    let daemon = house.start();
    assert_eq!(house.json(&["deliveries", "show", &id]), before, "a view that is made anew from what is kept knows it too");
    assert_eq!(house.json(&["status"])["pending"], 1);
    assert!(daemon.stop().success());
    let data = house.path("data");
    assert_eq!(house.json(&["verify", "--data-dir", data.to_str().unwrap()])["sound"], true);
}
