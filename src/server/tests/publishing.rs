//! `POST /v1/events` when all is well, and when an event was seen before.

use serde_json::json;

use super::house::{Doors, House, published};
use super::talking::{array, event, post, post_head};
use crate::model::EventId;
use crate::server::hallway::Publication;

#[tokio::test]
async fn one_event_is_accepted_and_answered_by_itself() {
    let doors = Doors::open(&House::new()).await;
    let answer = doors.post(event("a-1")).await;
    assert_eq!(answer.json(202), json!({"id": "a-1", "deliveries": 2}));
    let publications = doors.house.published();
    let [publication] = publications.as_slice() else { panic!("{publications:?}") };
    let [kept] = publication.as_slice() else { panic!("{publication:?}") };
    assert!(kept.id_by_client);
    assert_eq!((kept.event_type.as_str(), kept.project.as_str()), ("sms.status.delivered", "shop.example.com"));
    assert!(kept.body.ends_with(br#""project":"shop.example.com","data":{"phone":"+380441234567"}}"#));
}

#[tokio::test]
async fn an_event_without_an_id_gets_one_that_the_answer_tells() {
    let doors = Doors::open(&House::new()).await;
    let answer = doors.post(r#" { "type" : "sms.status.delivered", "project":"shop.example.com", "data" : {} } "#).await.json(202);
    let id = answer["id"].as_str().unwrap();
    assert!(id.strip_prefix("evt_").is_some_and(|ulid| ulid.len() == 26), "{id}");
    assert_eq!(doors.house.published_ids(), [id]);
    assert!(!doors.house.published()[0][0].id_by_client);
}

#[tokio::test]
async fn batches_are_answered_item_by_item_in_both_forms() {
    let expected = json!({"accepted": 2, "duplicates": 0, "events": [{"id": "a", "deliveries": 2}, {"id": "b", "deliveries": 2}]});
    let doors = Doors::open(&House::new()).await;
    assert_eq!(doors.post(array(&["a", "b"])).await.json(202), expected);
    let lines = format!("{}\r\n\n  \n{}", event("a"), event("b"));
    assert_eq!(doors.post_lines(&lines).await.json(202), expected);
    assert_eq!(doors.say(post("content-type: application/ndjson", &lines)).await.json(202), expected);
    let one = json!({"accepted": 1, "duplicates": 0, "events": [{"id": "c", "deliveries": 2}]});
    assert_eq!(doors.post(array(&["c"])).await.json(202), one, "an array of one is a batch");
    assert_eq!(doors.post_lines(event("c")).await.json(202), one, "one line is a batch");
}

/// People read these too: what was asked for first, then what came of it.
#[tokio::test]
async fn answers_name_the_id_first_and_the_counts_before_the_events() {
    let doors = Doors::open(&House::new()).await;
    assert_eq!(doors.post(event("a")).await.body, r#"{"id":"a","deliveries":2}"#);
    assert_eq!(doors.post(array(&["a"])).await.body, r#"{"accepted":1,"duplicates":0,"events":[{"id":"a","deliveries":2}]}"#);
}

#[tokio::test]
async fn every_good_sample_goes_through_in_one_request() {
    let samples = include_str!("../../../tests/data/events.ndjson");
    let doors = Doors::open(&House::new()).await;
    let answer = doors.post_lines(samples).await.json(202);
    assert_eq!(answer["accepted"], samples.lines().count());
    assert_eq!(doors.house.published()[0].len(), samples.lines().count());
}

#[tokio::test]
async fn the_admin_socket_takes_events_without_a_token() {
    let doors = Doors::open(&House::new()).await;
    let request = format!("POST /v1/events HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", event("a").len());
    assert_eq!(doors.say_admin(request + &event("a")).await.json(202)["id"], "a");
}

#[tokio::test]
async fn what_was_accepted_before_is_200_and_says_so() {
    let doors = Doors::open(&House::new()).await;
    doors.house.answers_publications(Publication::Durable(vec![published("a", true)]));
    let seen = json!({"id": "a", "deliveries": 2, "duplicate": true});
    assert_eq!(doors.post(event("a")).await.json(200), seen);
    let all = json!({"accepted": 0, "duplicates": 1, "events": [seen]});
    assert_eq!(doors.post(array(&["a"])).await.json(200), all);
    assert_eq!(doors.post_lines(event("a")).await.json(200), all);
    doors.house.answers_publications(Publication::Durable(vec![published("a", true), published("b", false)]));
    let some = json!({"accepted": 1, "duplicates": 1, "events": [seen, {"id": "b", "deliveries": 2}]});
    assert_eq!(doors.post(array(&["a", "b"])).await.json(202), some);
}

#[tokio::test]
async fn an_id_used_for_something_else_is_409() {
    let doors = Doors::open(&House::new()).await;
    let conflicts =
        |indexes: &[usize]| Publication::Conflicts(indexes.iter().map(|index| (*index, EventId::parse("b").unwrap())).collect());
    let message = "the id b was used before for an event with other content";
    doors.house.answers_publications(conflicts(&[0]));
    let problem = doors.post(event("b")).await.problem(409);
    assert_eq!((&problem["detail"], &problem["errors"]), (&json!(message), &json!([{"index": 0, "message": message}])));
    doors.house.answers_publications(conflicts(&[1, 2]));
    let problem = doors.post(array(&["a", "b", "b"])).await.problem(409);
    assert_eq!(problem["detail"], "2 of 3 events conflict with earlier ones; nothing was accepted");
    assert_eq!(problem["errors"], json!([{"index": 1, "message": message}, {"index": 2, "message": message}]));
    let problem = doors.post_lines([event("a"), String::new(), event("b"), event("b")].join("\n")).await.problem(409);
    assert_eq!(problem["errors"], json!([{"index": 1, "line": 3, "message": message}, {"index": 2, "line": 4, "message": message}]));
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_continue() {
    let doors = Doors::open(&House::new()).await;
    let mut line = doors.dial().await;
    let body = event("a");
    line.write(post_head(&format!("expect: 100-continue\r\ncontent-length: {}", body.len()))).await;
    assert_eq!(line.answer().await.status, 100);
    assert_eq!(line.ask(body).await.json(202)["id"], "a");
}

#[tokio::test]
async fn a_body_in_chunks_and_the_next_request_on_the_same_connection_are_taken() {
    let doors = Doors::open(&House::new()).await;
    let mut line = doors.dial().await;
    let body = event("a");
    let (start, end) = body.split_at(10);
    line.write(post_head("transfer-encoding: chunked")).await;
    line.write(format!("a\r\n{start}\r\n{:x}\r\n{end}\r\n", end.len())).await;
    assert_eq!(line.ask("0\r\n\r\n").await.json(202)["id"], "a");
    assert_eq!(line.ask(post("content-type: application/json", event("b"))).await.json(202)["id"], "b");
}

#[tokio::test]
async fn http_2_is_spoken_to_those_who_begin_with_it() {
    let doors = Doors::open(&House::new()).await;
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).unwrap();
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    // RFC 7541, section 6.2.2: literals that are never indexed, the name given by its place in the static table.
    let literal = |name: u8, value: &str| [&[name, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    let content_type = [&[0x0f, 31 - 15, 16], b"application/json".as_slice()].concat();
    let head = [vec![0x83, 0x86], literal(4, "/v1/events"), literal(1, "localhost:8700"), content_type].concat();
    let (settings, headers, data) = (frame(4, 0, 0, &[]), frame(1, 4, 1, &head), frame(0, 1, 1, event("a").as_bytes()));
    let mut line = doors.dial().await;
    line.write([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &settings, &headers, &data].concat()).await;
    let body = loop {
        let frame = line.take(9).await;
        let payload = line.take(usize::from(frame[1]) << 8 | usize::from(frame[2])).await;
        if frame[3] == 0 {
            break payload;
        }
    };
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), json!({"id": "a", "deliveries": 2}));
}
