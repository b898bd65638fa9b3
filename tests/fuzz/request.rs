//! Requests that no client should make, to the real daemon, of which all must be well behind them. It never looks inside the process.

use serde_json::Value;

use crate::daemon::{House, event, exchange_with_socket, webhook};
use crate::doors::{Doors, WORDS, statuses};
use crate::{bound_memory, fuzz};

/// Each costs a connection at both doors.
const RUNS: u64 = 4_000;

#[test]
fn request() {
    bound_memory();
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let daemon = house.start();
    let socket = house.path("admin.sock");
    let doors = Doors::of(&socket);
    fuzz("request", &WORDS, RUNS, |bytes| doors.knock(bytes));
    assert_eq!(daemon.post("application/json", event("after-all-that").as_bytes()).0, 202);
    let path = format!("/v1/sandboxes/{}/requests", doors.token);
    let (_, received) = exchange_with_socket(&socket, "GET", &path, "").unwrap();
    // The signature of `signed` is good, and old: some of what is kept got as far as that.
    let is_judged = |request: &Value| request["signature"]["reason"] == "timestamp_too_old";
    assert!(received["requests"].as_array().unwrap().iter().any(is_judged), "no signature was judged");
    let log = house.log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
    assert!(daemon.stop().success());
}

#[test]
fn every_status_that_a_door_answers_is_seen() {
    let pipelined = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\
        transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n\r\nHTT";
    assert_eq!(statuses(pipelined.as_bytes()), [100, 202, 200, 200, 500]);
    assert!(statuses(b"").is_empty());
    let frame = |kind: u8, payload: &[u8]| [[0, 0, u8::try_from(payload.len()).unwrap(), kind, 4, 0, 0, 0, 1].as_slice(), payload].concat();
    // Settings; 413 and 503, packed as digits; 404 and 500, which are known by number; data; trailers; and the beginning of something.
    let frames = [
        frame(4, b""),
        frame(1, b"\x48\x83\x68\x2c\xff"),
        frame(1, b"\x3f\xe1\x1f\x48\x83\x6c\x0c\xff\x8e"),
        frame(1, b"\x8d\x8e"),
        frame(0, b"HTTP/1.1 500"),
        frame(1, b"\x8e"),
        frame(1, b"\x40\x01a\x01b"),
        frame(1, b"\x08\x03418"),
        vec![0, 0, 9],
    ];
    assert_eq!(statuses(&frames.concat()), [413, 503, 404, 500, 418]);
}
