//! Events that are refused: with which status, in which words, and that the house never hears of them.

use serde_json::{Value, json};

use super::house::{Doors, House};
use super::talking::{array, event, post, post_head};
use crate::limits;
use crate::server::hallway::{Publication, Refusal};

/// Nothing of what was refused came further than the door.
#[track_caller]
fn assert_never_asked(doors: &Doors) {
    assert_eq!(doors.house.published(), Vec::<Vec<_>>::new());
}

/// One field of every error.
fn each(problem: &Value, field: &str) -> Vec<Value> {
    problem["errors"].as_array().unwrap().iter().map(|error| error[field].clone()).collect()
}

#[tokio::test]
async fn every_bad_line_is_listed_with_its_index_and_line() {
    let samples = include_str!("../../../tests/data/bad-events.tsv").lines().skip(1);
    let lines = samples.map(|sample| sample.split('\t').next().unwrap()).collect::<Vec<_>>();
    let empty = lines.iter().position(|line| line.is_empty()).unwrap();
    let doors = Doors::open(&House::new()).await;
    let problem = doors.post_lines(lines.join("\n")).await.problem(422);
    let numbers = (1..=lines.len()).filter(|number| *number != empty + 1).collect::<Vec<_>>();
    assert_eq!(json!(each(&problem, "line")), json!(numbers));
    assert_eq!(json!(each(&problem, "index")), json!((0..numbers.len()).collect::<Vec<_>>()));
    assert_eq!(problem["detail"], format!("{0} of {0} events can't be accepted, so none was", numbers.len()));
    assert_eq!(each(&problem, "message")[2], r#"unknown event type "email.status.delivred"; did you mean "email.status.delivered"?"#);
    assert_never_asked(&doors);
}

#[tokio::test]
async fn one_bad_item_keeps_all_out_and_all_its_mistakes_are_named() {
    let bad = r#"{"type":"sms.status.delivered","project":"x","id":"a b","data":[]}"#;
    let doors = Doors::open(&House::new()).await;
    let problem = doors.post(format!("[{},{bad},{}]", event("a"), event("c"))).await.problem(422);
    assert_eq!(problem["detail"], "1 of 3 events can't be accepted, so none was");
    assert_eq!(each(&problem, "index"), [1, 1, 1]);
    assert!(each(&problem, "line").iter().all(Value::is_null), "an array has no lines");
    let alone = doors.post(bad).await.problem(422);
    assert_eq!(alone["errors"][0]["message"], alone["detail"]);
    assert_eq!(each(&alone, "index"), [0, 0, 0]);
    assert_never_asked(&doors);
}

#[tokio::test]
async fn an_event_is_an_object_and_nothing_that_looks_like_its_fields() {
    let doors = Doors::open(&House::new()).await;
    let fields_in_order = r#"["sms.status.delivered","shop.example.com","a",null,{}]"#;
    for items in [fields_in_order, "5", "null", "\"text\"", "true"] {
        let problem = doors.post(format!("[{items}]")).await.problem(422);
        assert_eq!(each(&problem, "message"), ["not an event: expected a JSON object"], "{items}");
        doors.post_lines(items).await.problem(422);
    }
    assert_eq!(doors.post("5").await.detail(422), "not an event: expected a JSON object");
    assert_never_asked(&doors);
}

#[tokio::test]
async fn what_is_not_json_or_not_text_is_400() {
    let doors = Doors::open(&House::new()).await;
    for body in ["not json", "{", "[", "[1,]", r#"{"a":1} {"b":2}"#, "", "  ", "[{}]]"] {
        let detail = doors.post(body).await.detail(400);
        assert!(detail.starts_with("the body is not JSON: "), "{body}: {detail}");
    }
    let detail = doors.post(b"{\"type\":\"\xff\"}").await.detail(400);
    assert_eq!(detail, "the body is not UTF-8: byte 9 does not belong there");
    assert_never_asked(&doors);
}

#[tokio::test]
async fn a_body_that_ends_early_is_400_and_nothing_of_it_is_kept() {
    let doors = Doors::open(&House::new()).await;
    let length_lies = post_head("content-length: 1000") + &event("a");
    let chunk_lies = post_head("transfer-encoding: chunked") + "100\r\n" + &event("a");
    let last_chunk_is_missing = post_head("transfer-encoding: chunked") + &format!("{:x}\r\n{}\r\n", event("a").len(), event("a"));
    let no_chunk_at_all = post_head("transfer-encoding: chunked") + "what?\r\n";
    for request in [length_lies, chunk_lies, last_chunk_is_missing, no_chunk_at_all] {
        let mut line = doors.dial().await;
        line.write(&request).await;
        line.end().await;
        let detail = line.answer().await.detail(400);
        assert!(detail.starts_with("the body did not arrive whole"), "{request}: {detail}");
    }
    assert_never_asked(&doors);
}

#[tokio::test]
async fn a_request_without_an_event_is_422() {
    let doors = Doors::open(&House::new()).await;
    assert_eq!(doors.post(" [ ] ").await.detail(422), "there is no event in this request");
    for lines in ["", "\n", "\r\n \n\t\n"] {
        assert_eq!(doors.post_lines(lines).await.detail(422), "there is no event in this request");
    }
    assert_never_asked(&doors);
}

#[tokio::test]
async fn too_large_an_event_is_413_with_its_index() {
    let doors = Doors::open(&House::new().with_max_event_size(event("a").len())).await;
    doors.post(array(&["a", "b"])).await.json(202);
    let large = event("four");
    let message = format!("the event has {} bytes, at most {} are taken", large.len(), event("a").len());
    let problem = doors.post_lines(format!("{}\n{large}", event("a"))).await.problem(413);
    assert_eq!(problem["errors"], json!([{"index": 1, "line": 2, "message": message}]));
    assert_eq!(doors.post(&large).await.detail(413), message);
    assert_eq!(doors.house.published().len(), 1);
}

#[tokio::test]
async fn mistakes_of_several_kinds_are_422_whatever_their_order() {
    let doors = Doors::open(&House::new().with_max_event_size(event("a").len())).await;
    for items in [[event("four"), "{}".to_owned()], ["{}".to_owned(), event("four")]] {
        assert_eq!(each(&doors.post_lines(items.join("\n")).await.problem(422), "index"), [0, 1]);
    }
    assert_never_asked(&doors);
}

#[tokio::test]
async fn too_large_a_body_is_413_even_for_a_client_that_sends_it_all_before_it_listens() {
    let doors = Doors::open(&House::new()).await;
    let largest = " ".repeat(limits::REQUEST_SIZE_MAX - event("a").len()) + &event("a");
    doors.post(&largest).await.json(202);
    let expected = format!("the request has more than {} bytes; send fewer events at once", limits::REQUEST_SIZE_MAX);
    assert_eq!(doors.post(largest.clone() + " ").await.detail(413), expected);
    let twice = largest.repeat(2);
    assert_eq!(doors.post(&twice).await.detail(413), expected);
    let chunked = post_head("transfer-encoding: chunked") + &format!("{:x}\r\n{twice}\r\n0\r\n\r\n", twice.len());
    assert_eq!(doors.say(chunked).await.detail(413), expected);
    assert_eq!(doors.house.published().len(), 1);
}

#[tokio::test]
async fn too_large_a_body_that_is_only_announced_is_never_asked_for() {
    let doors = Doors::open(&House::new()).await;
    for length in [(limits::REQUEST_SIZE_MAX + 1).to_string(), (u64::MAX - 2).to_string()] {
        doors.say(post_head(&format!("expect: 100-continue\r\ncontent-length: {length}"))).await.problem(413);
    }
    assert_never_asked(&doors);
}

#[tokio::test]
async fn more_than_ten_thousand_events_are_413() {
    let doors = Doors::open(&House::new()).await;
    let events = vec![event("a"); limits::REQUEST_EVENTS_MAX];
    assert_eq!(doors.post(format!("[{}]", events.join(","))).await.json(202)["accepted"], limits::REQUEST_EVENTS_MAX);
    assert_eq!(doors.post_lines(events.join("\n")).await.json(202)["accepted"], limits::REQUEST_EVENTS_MAX);
    let expected = "the request has 10001 events, at most 10000 are taken at once";
    assert_eq!(doors.post(format!("[{},5]", events.join(","))).await.detail(413), expected);
    assert_eq!(doors.post_lines(events.join("\n") + "\n5").await.detail(413), expected);
    assert_eq!(doors.house.published().len(), 2);
}

#[tokio::test]
async fn long_nonsense_in_every_field_is_refused_like_any_other() {
    let long = "x".repeat(15_000);
    let nonsense = format!(r#"{{"type":"{long}","project":"{long}","id":"{long}.","timestamp":"{long}","data":{{}}}}"#);
    let doors = Doors::open(&House::new()).await;
    let problem = doors.post_lines(vec![nonsense; 100].join("\n")).await.problem(422);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 400);
    assert_never_asked(&doors);
}

#[tokio::test]
async fn only_json_is_taken() {
    let doors = Doors::open(&House::new()).await;
    for taken in ["application/json; charset=utf-8", "APPLICATION/JSON", " application/json ;x=y"] {
        doors.say(post(&format!("content-type: {taken}"), event("a"))).await.json(202);
    }
    let asked = doors.house.published().len();
    for other in [
        "content-type: text/plain",
        "content-type: application/x-www-form-urlencoded",
        "content-type:",
        "x-other: 1",
        "content-type: \u{e9}",
    ] {
        let detail = doors.say(post(other, event("a"))).await.detail(415);
        assert!(detail.contains("application/json") && detail.contains("application/x-ndjson"), "{detail}");
    }
    assert_eq!(doors.house.published().len(), asked);
}

#[tokio::test]
async fn what_the_house_refuses_is_told_with_its_reason_and_when_to_ask_again() {
    let doors = Doors::open(&House::new()).await;
    let detail = || "because".to_owned();
    for (refusal, status, retry_after) in [
        (Refusal::Busy { detail: detail(), retry_after_s: 7 }, 503, Some("7")),
        (Refusal::Unavailable { detail: detail() }, 503, Some("5")),
        (Refusal::NotFound { detail: detail() }, 404, None),
        (Refusal::Conflict { detail: detail() }, 409, None),
        (Refusal::Invalid { detail: detail() }, 422, None),
    ] {
        doors.house.answers_publications(Publication::Refused(refusal.clone()));
        doors.house.refuses(refusal);
        let mut answers = vec![doors.say_admin("POST /v1/webhooks/crm/rotate-secret HTTP/1.1\r\nhost: hookwheel\r\n\r\n").await];
        // A publication names nothing that could be missing.
        if status != 404 {
            answers.push(doors.post(event("a")).await);
        }
        for answer in answers {
            assert_eq!(answer.detail(status), "because");
            assert_eq!(answer.header("retry-after"), retry_after, "{answer:?}");
        }
    }
}
