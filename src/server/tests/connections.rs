//! Connections: how many, how they end, and requests that no well-behaved client sends.

use super::house::{Doors, House};
use super::talking::{bare, event, post, post_head};
use crate::limits;

#[tokio::test]
async fn a_connection_too_many_is_told_so_at_once_and_there_is_room_when_another_ends() {
    let doors = Doors::open_as(&House::new(), true, 2).await;
    let (mut first, mut second) = (doors.dial().await, doors.dial().await);
    assert_eq!(first.ask(bare("GET", "/healthz")).await.status, 200);
    doors.house.hesitates();
    second.write(post("content-type: application/json", event("b"))).await;
    doors.house.saw_publications(1).await;
    for request in [post("content-type: application/json", event("c")), bare("GET", "/healthz").into()] {
        let mut third = doors.dial().await;
        let answer = third.ask(request).await;
        assert_eq!((answer.problem(503)["status"].as_u64(), answer.header("retry-after")), (Some(503), Some("1")));
        assert_eq!(third.rest().await, b"", "it is closed then");
    }
    doors.house.answers_again();
    second.answer().await.json(202);
    assert_eq!(doors.house.published().len(), 1);
    drop(first);
    for _ in 0..1000 {
        let mut next = doors.dial().await;
        if next.ask(bare("GET", "/healthz")).await.status == 200 {
            return;
        }
    }
    panic!("the place of a connection that ended stays taken");
}

#[tokio::test]
async fn whoever_is_refused_and_says_nothing_is_not_waited_for() {
    let doors = Doors::open_as(&House::new(), true, 1).await;
    let mut first = doors.dial().await;
    assert_eq!(first.ask(bare("GET", "/healthz")).await.status, 200);
    let mut silent = doors.dial().await;
    assert_eq!(silent.rest().await, b"");
}

#[tokio::test]
async fn closing_lets_a_request_end_and_takes_no_new_one() {
    let doors = Doors::open(&House::new()).await;
    doors.house.hesitates();
    let (mut idle, mut silent, mut busy, mut admin) =
        (doors.dial().await, doors.dial().await, doors.dial().await, doors.dial_admin().await);
    assert_eq!(idle.ask(bare("GET", "/healthz")).await.status, 200);
    busy.write(post("content-type: application/json", event("a"))).await;
    admin.write(post("content-type: application/json", event("b"))).await;
    doors.house.saw_publications(2).await;
    doors.close();
    assert_eq!(idle.rest().await, b"", "an idle connection ends");
    assert_eq!(silent.rest().await, b"", "and one that never spoke");
    while tokio::net::TcpStream::connect(doors.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    doors.house.answers_again();
    assert_eq!(busy.answer().await.json(202)["id"], "a");
    assert_eq!(admin.answer().await.json(202)["id"], "b");
    assert_eq!((busy.rest().await, admin.rest().await), (Vec::new(), Vec::new()));
    doors.closed().await;
}

#[tokio::test]
async fn requests_in_a_row_on_one_connection_are_answered_in_order() {
    let doors = Doors::open(&House::new()).await;
    let mut line = doors.dial().await;
    line.write(["a", "b", "c"].map(|id| post("content-type: application/json", event(id))).concat()).await;
    for id in ["a", "b", "c"] {
        assert_eq!(line.answer().await.json(202)["id"], id);
    }
}

#[tokio::test]
async fn a_length_that_is_not_one_number_is_400() {
    let doors = Doors::open(&House::new()).await;
    let length = event("a").len();
    for lengths in [
        format!("content-length: {length}\r\ncontent-length: {}", length + 1),
        format!("content-length: {length}, {}", length + 1),
        "content-length: -1".to_owned(),
        "content-length: +5".to_owned(),
        "content-length: 0x10".to_owned(),
        "content-length: 99999999999999999999999".to_owned(),
        "transfer-encoding: chunked, gzip".to_owned(),
    ] {
        let mut line = doors.dial().await;
        assert_eq!(line.ask(post_head(&lengths) + &event("a")).await.status, 400, "{lengths}");
        assert_eq!(line.rest().await, b"", "{lengths}: nothing behind it is read as a request");
    }
    assert!(doors.house.published().is_empty());
}

/// RFC 9112, section 6.3: the chunks win over the length, wherever it stands.
#[tokio::test]
async fn a_request_with_both_a_length_and_chunks_smuggles_nothing() {
    let doors = Doors::open(&House::new()).await;
    let inside = event("a") + &" ".repeat(20) + &String::from_utf8(post("content-type: application/json", event("smuggled"))).unwrap();
    let chunks = format!("{:x}\r\n{inside}\r\n0\r\n\r\n", inside.len());
    let length = event("a").len();
    for both in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
    ] {
        let mut line = doors.dial().await;
        let detail = line.ask(post_head(&both) + &chunks).await.detail(400);
        assert!(detail.contains("trailing characters"), "the whole chunk is the body: {detail}");
        assert_eq!(line.rest().await, b"", "the connection is not used again");
    }
    assert!(doors.house.published().is_empty());
}

#[tokio::test]
async fn headers_without_end_are_refused_and_the_door_stays_open() {
    let doors = Doors::open(&House::new()).await;
    let large = format!("x-large: {}\r\n", "y".repeat(2 * limits::REQUEST_HEADERS_MAX));
    let many = "x-many: y\r\n".repeat(1000);
    for headers in [large, many] {
        let answer = doors.say(format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n")).await;
        assert_eq!(answer.status, 431);
    }
    let long = doors.say(bare("GET", &format!("/{}", "z".repeat(2 * limits::REQUEST_HEADERS_MAX)))).await;
    assert_eq!(long.status, 431);
    for nonsense in
        ["\r\n\r\n\r\nnonsense\r\n\r\n", "GET\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\nbad header\n\n"]
    {
        assert_eq!(doors.say(nonsense).await.status, 400, "{nonsense:?}");
    }
    assert_eq!(doors.say(bare("GET", "/healthz")).await.status, 200);
}

#[tokio::test]
async fn the_admin_socket_has_room_for_so_many_and_no_more() {
    let doors = Doors::open(&House::new()).await;
    let mut lines = Vec::new();
    for _ in 0..limits::ADMIN_CONNECTIONS_MAX {
        let mut line = doors.dial_admin().await;
        line.ask(bare("GET", "/v1/catalog")).await.json(200);
        lines.push(line);
    }
    let answer = doors.dial_admin().await.ask(bare("GET", "/v1/status")).await;
    assert!(answer.detail(503).contains("64 connections are open"), "{answer:?}");
    lines[0].ask(bare("GET", "/v1/catalog")).await.json(200);
    assert!(doors.house.asked().is_empty(), "nobody has left, so the further one was not heard");
}
