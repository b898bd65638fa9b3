//! What ended, and what was accepted, as the commands list it: filters, pages, one event, and following over a restart. These tests never damage anything.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;

use crate::daemon::{House, until, webhook, webhook_of};
use crate::receivers::{Receiver, ok};

fn post(daemon: &crate::daemon::Daemon<'_>, project: &str, event_type: &str, id: &str) {
    let event = format!(r#"{{"type":"{event_type}","project":"{project}","id":"{id}","data":{{"email":"user@example.com","n":1.50}}}}"#);
    assert_eq!(daemon.post("application/json", event.as_bytes()).0, 202, "{event}");
}

/// Two projects, a webhook that fails and two that do not, and something in each state but cancelled.
fn two_projects() -> (Receiver, House) {
    let receiver = Receiver::new(|received| if received.path == "/bad" { StatusCode::BAD_GATEWAY.into_response() } else { ok(received) });
    let good = webhook("good", &receiver.url("/good"), "");
    let bad = webhook("bad", &receiver.url("/bad"), "retry = [ {attempts = 1, every = \"100ms\"} ]");
    let other = webhook_of("other.example.org", "other", &receiver.url("/other"), "");
    let house = House::new(&(good + &bad + &other));
    (receiver, house)
}

fn ids(list: &Value) -> Vec<String> {
    list["deliveries"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_are_narrowed_by_every_filter_and_paged_without_gap_or_repetition() {
    let (_receiver, house) = two_projects();
    let daemon = house.start();
    for n in 0..20 {
        let event_type = if n % 4 == 0 { "sms.status.delivered" } else { "email.status.delivered" };
        post(&daemon, "shop.example.com", event_type, &format!("s{n}"));
        post(&daemon, "other.example.org", event_type, &format!("o{n}"));
    }
    house.drained();
    let all = house.json(&["deliveries", "list", "--limit", "1000"]);
    assert_eq!((ids(&all).len(), &all["next"]), (60, &Value::Null));
    let times = all["deliveries"].as_array().unwrap().iter().map(|one| one["finished"].as_str().unwrap()).collect::<Vec<_>>();
    assert!(times.iter().rev().is_sorted(), "the newest first: {times:?}");
    for (filter, count) in [
        (&["--webhook", "bad"][..], 20),
        (&["--project", "other.example.org"], 20),
        (&["--type", "sms.*"], 15),
        (&["--type", "viber.*"], 0),
        (&["--state", "dropped"], 20),
        (&["--state", "delivered", "--project", "shop.example.com", "--type", "email.*"], 15),
        (&["--state", "pending"], 0),
        (&["--since", "1h"], 60),
        (&["--until", "1h"], 0),
        (&["--since", times[0]], times.iter().filter(|time| **time == times[0]).count()),
    ] {
        let listed = house.json(&[&["deliveries", "list", "--limit", "1000"], filter].concat());
        assert_eq!(ids(&listed).len(), count, "{filter:?}");
    }
    let (mut paged, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut command = vec!["deliveries", "list", "--limit", "7"];
        command.extend(after.iter().flat_map(|after| ["--after", after.as_str()]));
        let page = house.json(&command);
        paged.extend(ids(&page));
        after = page["next"].as_str().map(str::to_owned);
        // What ends meanwhile changes no page.
        post(&daemon, "other.example.org", "email.status.delivered", &format!("p{}", paged.len()));
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, ids(&all));
    assert!(daemon.stop().success());
    let _daemon = house.start();
    let again = house.json(&["deliveries", "list", "--limit", "1000", "--project", "shop.example.com"]);
    assert_eq!(ids(&again).len(), 40, "a restart forgets nothing");
    let dropped = house.json(&["deliveries", "list", "--state", "dropped", "--limit", "1"]);
    let shown = house.json(&["deliveries", "show", &ids(&dropped)[0]]);
    assert_eq!((shown["timeline"].as_array().unwrap().len(), &shown["timeline"][1]["status"]), (2, &502.into()));
    assert_eq!(house.run(&["deliveries", "list", "--after", "x1-dlv_a"]).status.code(), Some(1));
}

#[test]
fn events_are_listed_and_shown_with_where_their_deliveries_stand() {
    let (_receiver, house) = two_projects();
    let daemon = house.start();
    post(&daemon, "shop.example.com", "email.status.bounced", "first");
    post(&daemon, "nobody.example.net", "email.status.bounced", "unwanted");
    post(&daemon, "other.example.org", "sms.status.delivered", "last");
    house.drained();
    let listed = house.json(&["events", "list"]);
    let events = listed["events"].as_array().unwrap();
    assert_eq!(events.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(), ["last", "unwanted", "first"]);
    let counts = |event: &Value| ["pending", "delivered", "dropped"].map(|state| event["deliveries"][state].as_u64().unwrap());
    assert_eq!(events.iter().map(counts).collect::<Vec<_>>(), [[0, 1, 0], [0, 0, 0], [0, 1, 1]]);
    let own = house.json(&["events", "list", "--project", "shop.example.com", "--type", "email.*"]);
    assert_eq!(own["events"].as_array().unwrap().len(), 1);
    let page = house.json(&["events", "list", "--limit", "2"]);
    let rest = house.json(&["events", "list", "--after", &page["next"].to_string()]);
    assert_eq!((rest["events"][0]["id"].as_str(), &rest["next"]), (Some("first"), &Value::Null));
    let shown = house.json(&["events", "show", "first", "--project", "SHOP.example.com"]);
    let mut states = shown["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["webhook"].as_str().unwrap(), one["state"].as_str().unwrap()))
        .collect::<Vec<_>>();
    states.sort_unstable();
    assert_eq!(states, [("bad", "dropped"), ("good", "delivered")]);
    assert!(house.says(&["events", "show", "first", "-p", "shop.example.com"]).contains("\"n\": 1.50"), "numbers stay as they were sent");
    let missing = house.run(&["events", "show", "first", "--project", "other.example.org"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("events list"), "{missing:?}");
    drop(daemon);
}

#[test]
fn an_id_that_is_used_again_names_the_newest_event() {
    let house = House::new("[ingest]\nidempotency = \"0s\"\n");
    let daemon = house.start();
    for event_type in ["email.status.bounced", "sms.status.delivered"] {
        post(&daemon, "shop.example.com", event_type, "again");
    }
    let shown = house.json(&["events", "show", "again", "--project", "shop.example.com"]);
    assert_eq!(shown["type"], "sms.status.delivered");
    assert_eq!(house.json(&["events", "list"])["events"].as_array().unwrap().len(), 2);
}

#[test]
fn watching_tells_everything_once_over_a_restart() {
    let (_receiver, house) = two_projects();
    let daemon = house.start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookwheel"));
    command.args(["deliveries", "watch", "--json", "--project", "shop.example.com", "--count", "9"]);
    let mut watching =
        command.env("HOOKWHEEL_SOCKET", house.path("admin.sock")).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    // Whether it watches already is not to be seen from outside, so it is given something until it says so.
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let reading = {
        let told = std::sync::Arc::clone(&told);
        std::thread::spawn(move || {
            while let Some(Ok(line)) = lines.next() {
                told.lock().unwrap().push(serde_json::from_str::<Value>(&line).unwrap());
            }
        })
    };
    let count = || told.lock().unwrap().len();
    let mut tries = 0;
    until("it watches", || {
        if tries % 100 == 0 {
            post(&daemon, "shop.example.com", "email.status.bounced", &format!("a{tries}"));
        }
        tries += 1;
        Some(()).filter(|()| count() > 0)
    });
    until("the first ones are told", || Some(()).filter(|()| count() % 3 == 0));
    let before = count();
    assert!(daemon.stop().success());
    let daemon = house.start();
    let mut posted = 0;
    until("it ends by itself", || {
        if posted * 3 + before < 9 {
            posted += 1;
            post(&daemon, "other.example.org", "email.status.bounced", &format!("o{posted}"));
            post(&daemon, "shop.example.com", "email.status.bounced", &format!("b{posted}"));
        }
        watching.try_wait().unwrap()
    });
    reading.join().unwrap();
    let told = told.lock().unwrap();
    let mut keys = told.iter().map(|news| format!("{} {} {}", news["id"], news["attempt"], news["state"])).collect::<Vec<_>>();
    assert_eq!(keys.len(), 9, "{keys:?}");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 9, "nothing is told twice: {told:?}");
    let of = |webhook: &str, state: &str| told.iter().filter(|news| news["webhook"] == webhook && news["state"] == state).count();
    assert_eq!([of("good", "delivered"), of("bad", "pending"), of("bad", "dropped")], [3, 3, 3], "{told:?}");
}
