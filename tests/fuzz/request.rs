//! Requests that no client should make, to the real daemon, of which all must be well behind them. It never looks inside the process.

use serde_json::Value;

use crate::daemon::{House, event, exchange_with_socket, webhook};
use crate::doors::{Doors, WORDS};
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
