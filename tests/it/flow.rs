//! Events in, deliveries out: every sample, to the letter, once. These tests never disturb the daemon.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use serde_json::Value;

use crate::daemon::{House, event, until, webhook, webhook_of};
use crate::receivers::{Received, Receiver, fails_first, ok};

const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/events.ndjson");

/// Standard Webhooks' `v1`, written here anew so that it checks the program's.
fn is_signed(received: &Received) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(SECRET.as_bytes()).unwrap());
    let signed =
        [received.header("webhook-id").as_bytes(), b".", received.header("webhook-timestamp").as_bytes(), b".", &received.body].concat();
    let signature = received.header("webhook-signature").strip_prefix("v1,").unwrap();
    hmac::verify(&key, &signed, &BASE64.decode(signature.as_bytes()).unwrap()).is_ok()
}

#[test]
fn every_sample_arrives_exactly_once_as_it_was_written_and_the_status_adds_up() {
    let receiver = Receiver::new(ok);
    let projects = ["shop.example.com", "news.example.org", "bank.example.net", "müller-bücher.example"];
    let secret = format!("secret = \"whsec_{SECRET}\"\nheaders = {{ \"X-Tenant\" = \"42\" }}");
    let webhooks =
        projects.iter().enumerate().map(|(index, project)| webhook_of(project, &format!("w{index}"), &receiver.url("/hooks"), &secret));
    let house = House::new(&webhooks.collect::<String>());
    let daemon = house.start();
    let said = house.says(&["emit", "--file", SAMPLES]);
    assert!(said.contains("accepted 1000 events, 0 repeated, 1000 deliveries"), "{said}");
    let status = house.drained();
    let counters = &status["counters"];
    assert_eq!(
        (&counters["accepted"], &counters["delivered"], &counters["attempts"], &counters["dropped"]),
        (&1000.into(), &1000.into(), &1000.into(), &0.into())
    );
    let received = receiver.received();
    assert_eq!(received.len(), 1000, "exactly once");
    let submitted = std::fs::read_to_string(SAMPLES).unwrap();
    let mut expected = BTreeMap::new();
    for line in submitted.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        *expected.entry(event["data"].to_string()).or_insert(0) += 1;
    }
    let mut types = BTreeSet::new();
    for one in &received {
        let body: Value = serde_json::from_slice(&one.body).unwrap();
        let left = expected.get_mut(&body["data"].to_string()).expect("nothing arrives that was not submitted");
        *left -= 1;
        types.insert(body["type"].as_str().unwrap().to_owned());
        assert_eq!(body.as_object().unwrap().len(), 4, "{body}");
        assert!(projects.contains(&body["project"].as_str().unwrap()));
        assert_eq!(
            (one.path.as_str(), one.header("content-type"), one.header("hookwheel-attempt"), one.header("x-tenant")),
            ("/hooks", "application/json", "1", "42")
        );
        assert!(one.header("user-agent").starts_with("hookwheel/") && is_signed(one));
    }
    assert!(expected.values().all(|left| *left == 0));
    assert_eq!(types.len(), 43);
    assert!(daemon.get("/metrics").contains("\nhookwheel_events_accepted_total 1000"));
    assert!(daemon.stop().success());
}

#[test]
fn a_failed_attempt_is_made_again_with_the_same_id_and_bytes_and_the_timeline_says_so() {
    let receiver = Receiver::new(fails_first);
    let house = House::new(&webhook("crm", &receiver.url("/"), "retry = [ {attempts = 2, every = \"100ms\"} ]"));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    house.drained();
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert_eq!((&received[0].body, received[0].header("webhook-id")), (&received[1].body, received[1].header("webhook-id")));
    assert_eq!((received[0].header("webhook-id"), received[1].header("hookwheel-attempt")), ("a", "2"));
    let listed = house.json(&["deliveries", "list"]);
    let id = listed["deliveries"][0]["id"].as_str().unwrap().to_owned();
    let shown = house.json(&["deliveries", "show", &id]);
    let outcomes = shown["timeline"].as_array().unwrap().iter().map(|attempt| attempt["outcome"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((outcomes.as_slice(), &shown["state"]), (["status", "success"].as_slice(), &"delivered".into()));
    assert!(house.says(&["deliveries", "show", &id]).contains("the receiver answered 500 Internal Server Error"));
}

#[test]
fn metrics_tell_of_what_happened_though_they_were_asked_for_just_before() {
    let house = House::new("");
    let daemon = house.start();
    assert!(daemon.get("/metrics").contains("\nhookwheel_events_accepted_total 0\n"));
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    until("the metrics tell of it", || daemon.get("/metrics").contains("\nhookwheel_events_accepted_total 1\n").then_some(()));
    assert!(daemon.stop().success());
}

#[test]
fn a_repeated_id_is_recognized_also_after_a_restart_and_other_content_is_refused() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    house.drained();
    assert!(daemon.stop().success());
    let daemon = house.start();
    let (status, answer) = daemon.post("application/json", event("a").as_bytes());
    assert_eq!((status, &answer["duplicate"], &answer["deliveries"]), (200, &true.into(), &1.into()));
    let other = event("a").replace(r#""n":"a""#, r#""n":"b""#);
    assert_eq!(daemon.post("application/json", other.as_bytes()).0, 409);
    house.drained();
    assert_eq!(receiver.received().len(), 1);
}

#[test]
fn the_commands_answer_in_words_and_in_json() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", ""));
    let _daemon = house.start();
    assert_eq!(house.json(&["catalog"]).as_array().unwrap().len(), 43 + 5, "those of the platform, and the daemon's own");
    assert!(house.says(&["catalog"]).contains("Contact unsubscribes using List-Unsubscribe technology"));
    let explained = house.json(&["events", "explain", "email.status.bounced", "--project", "news.example.org"]);
    assert_eq!(explained["webhooks"][0]["matches"], false);
    assert!(house.says(&["webhooks", "list"]).contains("crm"));
    let secret = |shown: &Value| shown["secret"].as_str().map(|secret| secret.starts_with("whsec_"));
    assert_eq!(secret(&house.json(&["webhooks", "show", "crm"])), Some(true));
    assert_eq!(secret(&house.json(&["webhooks", "show", "crm"])), None, "it is shown once");
    let missing = house.run(&["webhooks", "show", "nobody"]);
    assert_eq!(missing.status.code(), Some(1));
}
