//! Sandboxes of the real daemon: what they keep, how they answer, and that nothing else of the listener can be reached by a webhook.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use aws_lc_rs::hmac;
use data_encoding::BASE64;
use hookwheel::time::wall_now;
use serde_json::{Value, json};

use crate::daemon::{Daemon, House, event, until, webhook};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A house whose daemon may dial nothing that is refused by default.
fn strict(listen: &str) -> House {
    let house = House::new("");
    configure(&house, listen, "");
    house
}

fn configure(house: &House, listen: &str, webhooks: &str) {
    let server = format!("[server]\nlisten = \"{listen}\"\ndata_dir = \"data\"\nadmin_socket = \"admin.sock\"\n");
    let token = format!("[[token]]\nname = \"t\"\nsha256 = \"{}\"\nprojects = [\"*\"]\n", "0".repeat(64));
    let token = if listen.starts_with("127.") { String::new() } else { token };
    fs::write(house.path("webhooks.toml"), format!("{server}{token}{webhooks}")).unwrap();
}

fn made(house: &House, arguments: &[&str]) -> Value {
    house.json(&[&["sandbox", "new"], arguments].concat())
}

fn path(sandbox: &Value) -> String {
    format!("/sandbox/{}", sandbox["token"].as_str().unwrap())
}

/// Posts with these header lines; the answer, whole.
fn post(address: SocketAddr, path: &str, headers: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: evil.example\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    // A dropped connection may end in a reset.
    let _ = stream.read_to_string(&mut answer);
    answer
}

/// What a sandbox received, as its URL tells it.
fn received(daemon: &Daemon<'_>, sandbox: &Value) -> Vec<Value> {
    let mut stream = TcpStream::connect(local(daemon)).unwrap();
    let path = path(sandbox);
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\naccept: application/json\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str::<Value>(body).unwrap()["requests"].as_array().unwrap().clone()
}

fn local(daemon: &Daemon<'_>) -> SocketAddr {
    SocketAddr::new("127.0.0.1".parse().unwrap(), daemon.address.port())
}

fn signed(id: &str, timestamp: u64, body: &str) -> String {
    let key = BASE64.decode(SECRET.trim_start_matches("whsec_").as_bytes()).unwrap();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), format!("{id}.{timestamp}.{body}").as_bytes());
    format!("webhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\nwebhook-signature: v1,{}\r\n", BASE64.encode(tag.as_ref()))
}

#[test]
fn a_webhook_reaches_a_sandbox_without_an_exception_and_nothing_else_of_the_listener() {
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let house = strict(listen);
        let daemon = house.start();
        let sandbox = made(&house, &[]);
        let url = sandbox["url"].as_str().unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        let base = url.split("/sandbox/").next().unwrap();
        let schedule = "retry = [ {attempts = 1, every = \"50ms\"} ]";
        let reached = [webhook("plain", url, schedule), webhook("below", &format!("{url}/below?x=1"), schedule)];
        let refused = ["/v1/events", "/metrics", "/sandbox/short", "/sandbox"];
        let refused = refused.iter().enumerate().map(|(n, path)| webhook(&format!("refused-{n}"), &format!("{base}{path}"), schedule));
        configure(&house, listen, &(reached.concat() + &refused.collect::<String>()));
        house.says(&["reload"]);
        fs::write(house.path("event.json"), event("e1")).unwrap();
        house.says(&["emit", "--file", house.path("event.json").to_str().unwrap()]);
        house.drained();
        let deliveries = house.json(&["deliveries", "list"]);
        for delivery in deliveries["deliveries"].as_array().unwrap() {
            let is_refused = delivery["webhook"].as_str().unwrap().starts_with("refused");
            assert_eq!(delivery["state"], if is_refused { "dropped" } else { "delivered" }, "{delivery}");
            assert_eq!(delivery["last_outcome"].as_str().unwrap().contains("where hookwheel itself listens"), is_refused, "{delivery}");
        }
        let requests = received(&daemon, &sandbox);
        assert_eq!(requests.len(), 2);
        for request in &requests {
            assert_eq!((&request["signature"]["valid"], &request["attempt"]), (&json!(true), &json!(1)), "{request}");
        }
        assert_eq!(house.json(&["sandbox", "list"])[0]["webhooks"], json!(["plain", "below"]));
        assert!(daemon.stop().success());
    }
}

#[test]
fn signatures_are_judged_and_everything_is_kept_over_a_kill() {
    let house = strict("127.0.0.1:0");
    let daemon = house.start();
    let sandbox = made(&house, &["--secret", SECRET, "--title", "judge"]);
    let now = wall_now().seconds();
    let wrong = signed("evt_1", now, "{}");
    for (headers, body) in [
        (signed("evt_1", now, "{}"), "{}"),
        (wrong, "{ }"),
        (signed("evt_1", now - 3600, "{}"), "{}"),
        (String::new(), "<script>alert(1)</script>"),
    ] {
        assert!(post(daemon.address, &path(&sandbox), &headers, body).starts_with("HTTP/1.1 200"));
    }
    daemon.kill();
    let log = house.path(&format!("data/sandbox/{}.log", sandbox["token"].as_str().unwrap()));
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend(b"0123abcd {\"request\":{\"group\":1,");
    fs::write(&log, bytes).unwrap();
    let daemon = house.start();
    let requests = received(&daemon, &sandbox);
    let reasons = requests.iter().map(|request| request["signature"]["reason"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(reasons, ["valid", "wrong_secret", "timestamp_too_old", "header_missing"]);
    let page = {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        write!(stream, "GET {} HTTP/1.1\r\nhost: x\r\naccept: text/html\r\nconnection: close\r\n\r\n", path(&sandbox)).unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    };
    assert!(
        page.contains("content-security-policy: default-src 'none'") && page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{page}"
    );
    assert!(!page.contains("<script>alert"));
    assert!(post(daemon.address, &path(&sandbox), "", "later").starts_with("HTTP/1.1 200"));
    assert_eq!(received(&daemon, &sandbox)[4]["number"], 5);
    assert_eq!(house.says(&["sandbox", "remove", "judge"]).split_whitespace().next(), Some("removed"));
    assert!(post(daemon.address, &path(&sandbox), "", "").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_sandbox_behaves_as_told_and_asks_nobody_where_he_comes_from() {
    let house = strict("127.0.0.1:0");
    let daemon = house.start();
    let answers = |arguments: &[&str], count: usize| {
        let path = path(&made(&house, arguments));
        (0..count).map(|_| post(daemon.address, &path, "origin: https://evil.example\r\n", "{}")).collect::<Vec<_>>()
    };
    let statuses = |arguments: &[&str], count| {
        let status = |answer: &String| answer.split(' ').nth(1).unwrap_or("dropped").to_owned();
        answers(arguments, count).iter().map(status).collect::<Vec<_>>()
    };
    assert_eq!(statuses(&["--status", "418"], 2), ["418", "418"]);
    assert_eq!(statuses(&["--fail-first", "2"], 3), ["500", "500", "200"]);
    assert_eq!(statuses(&["--drop", "--fail-first", "1"], 2), ["dropped", "200"]);
    assert_eq!(statuses(&["--drop"], 1), ["dropped"]);
    assert_eq!(statuses(&["--delay", "10ms"], 1), ["200"]);
    let throttled = answers(&["--fail-first", "1", "--retry-after", "5s"], 1).remove(0);
    assert!(throttled.starts_with("HTTP/1.1 503") && throttled.contains("retry-after: 5\r\n"), "{throttled}");
    let refused = post(daemon.address, "/v1/events", "origin: https://evil.example\r\ncontent-type: application/json\r\n", &event("e"));
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let nonsense = house.run(&["sandbox", "new", "--retry-after", "5s"]);
    assert!(nonsense.status.code() == Some(2) && String::from_utf8(nonsense.stderr).unwrap().contains("fail-first"));
    let url = house.says(&["sandbox", "new"]);
    assert!(url.starts_with(&format!("http://{}/sandbox/", daemon.address)) && url.lines().count() == 1, "{url}");
}

#[test]
fn watching_shows_what_was_and_what_comes_over_a_restart_and_keeps_no_daemon_from_ending() {
    let house = House::new("");
    let daemon = house.start();
    let sandbox = made(&house, &["--title", "watched"]);
    post(daemon.address, &path(&sandbox), "", "first");
    let mut watch = Command::new(env!("CARGO_BIN_EXE_hookwheel"));
    watch.args(["sandbox", "watch", "watched", "--json", "--count", "3"]).env("HOOKWHEEL_SOCKET", house.path("admin.sock"));
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap()["body"].clone();
    assert_eq!(next(), "first");
    post(daemon.address, &path(&sandbox), "", "second");
    assert_eq!(next(), "second");
    assert!(daemon.stop().success());
    assert!(!house.log().contains("given up"), "{}", house.log());
    let daemon = house.start();
    post(daemon.address, &path(&sandbox), "", "third");
    assert_eq!(next(), "third");
    assert!(until("the watch ends", || watch.try_wait().unwrap()).success());
}
