//! Requests that mean two things, or nothing: none of them smuggles anything past the door, and nothing in them reaches a header of an answer or of a delivery. They never send two events.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::{dial, head, is_well, post, rest_of, say, status};
use crate::daemon::{House, event, exchange_with_socket};

/// What a daemon accepted in all.
fn accepted(house: &House) -> u64 {
    house.json(&["status"])["counters"]["accepted"].as_u64().unwrap()
}

#[test]
fn framing_that_two_readers_could_read_in_two_ways_is_refused() {
    let house = super::house();
    let daemon = house.start();
    let length = event("a").len();
    let with = |more: &str, body: &str| head(more) + body;
    let chunk = |extension: &str, body: &str| format!("{:x}{extension}\r\n{body}\r\n0\r\n\r\n", body.len());
    let endless_extension = format!("1;{}", "x".repeat(100_000));
    let cases = [
        ("two lengths", with(&format!("content-length: {length}\r\ncontent-length: {}\r\n", length + 1), &event("a")), 400),
        ("a list of lengths", with(&format!("content-length: {length}, {}\r\n", length + 1), &event("a")), 400),
        ("a length with a sign", with("content-length: +5\r\n", &event("a")), 400),
        ("a length with space before the colon", with(&format!("content-length : {length}\r\n"), &event("a")), 400),
        ("chunks that are not the last coding", with("transfer-encoding: chunked, gzip\r\n", &chunk("", &event("a"))), 400),
        ("an unknown coding", with("transfer-encoding: xchunked\r\n", &chunk("", &event("a"))), 400),
        ("chunks in HTTP/1.0", with("transfer-encoding: chunked\r\n", &chunk("", &event("a"))).replacen("HTTP/1.1", "HTTP/1.0", 1), 400),
        ("a chunk with a negative size", with("transfer-encoding: chunked\r\n", "-1\r\nx\r\n0\r\n\r\n"), 400),
        ("a chunk as large as can be", with("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\nx\r\n0\r\n\r\n"), 400),
        ("a chunk whose extension never ends", with("transfer-encoding: chunked\r\n", &endless_extension), 400),
        ("a chunk that is longer than it says", with("transfer-encoding: chunked\r\n", &format!("2\r\n{}\r\n0\r\n\r\n", event("a"))), 400),
        ("trailers without end", with("transfer-encoding: chunked\r\n", &format!("1\r\n \r\n0\r\n{}", "x: y\r\n".repeat(50_000))), 400),
        ("a folded header", with(&format!("x: y\r\n z\r\ncontent-length: {length}\r\n"), &event("a")), 400),
        ("a bare CR in a header", with(&format!("x: y\rz: a\r\ncontent-length: {length}\r\n"), &event("a")), 400),
        ("a NUL in a header", with(&format!("x: y\0\r\ncontent-length: {length}\r\n"), &event("a")), 400),
        ("a header without a name", with(&format!(": y\r\ncontent-length: {length}\r\n"), &event("a")), 400),
        ("very many headers", with(&format!("{}content-length: {length}\r\n", "x: y\r\n".repeat(500)), &event("a")), 431),
        ("very large headers", with(&format!("x: {}\r\n", "y".repeat(200_000)), &event("a")), 431),
        ("a NUL in the target", "GET /\0healthz HTTP/1.1\r\nhost: localhost\r\n\r\n".into(), 400),
        ("a bare CR in the target", "GET /\rhealthz HTTP/1.1\r\nhost: localhost\r\n\r\n".into(), 400),
        ("a version from the future", "GET /healthz HTTP/3.0\r\nhost: localhost\r\n\r\n".into(), 400),
        ("no version", "GET /healthz\r\n\r\n".into(), 400),
        ("a target that is an authority", "CONNECT localhost:25 HTTP/1.1\r\nhost: localhost:25\r\nconnection: close\r\n\r\n".into(), 404),
        ("a target that is a star", "OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".into(), 404),
        ("the address of somebody else", post("", &event("a")).replacen("/v1", "http://evil.example/v1", 1), 403),
        ("a host of somebody else", post("", &event("a")).replacen("host: localhost", "host: evil.example", 1), 403),
        ("a body that is too large, announced", with("content-length: 8388609\r\n", ""), 413),
        ("a body that is too large for any number", with("content-length: 18446744073709551615\r\n", ""), 431),
    ];
    for (name, request, expected) in cases {
        let answer = say(daemon.address, request.as_bytes());
        assert_eq!(status(&answer), expected, "{name}: {answer}");
        // One answer, and the connection is closed behind it: what else was sent is not a request.
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{name}: {answer}");
    }
    assert_eq!(accepted(&house), 0);
    is_well(&daemon, "afterwards");
    assert_eq!(accepted(&house), 1);
}

/// RFC 9112, 6.3: the chunks count, and the connection ends behind the answer, so that nobody who went by the length has a say in what comes next.
#[test]
fn of_a_length_and_chunks_the_chunks_count_and_nothing_behind_them_is_a_request() {
    let house = super::house();
    let daemon = house.start();
    let body = event("outer");
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for order in ["content-length: 4\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 4\r\n"] {
        let request = head(order).replace("connection: close\r\n", "") + &chunks + &post("", &event("smuggled"));
        let answer = say(daemon.address, request.as_bytes());
        assert!(matches!(status(&answer), 200 | 202), "{answer}");
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{answer}");
    }
    assert_eq!(accepted(&house), 1, "the same event both times, and no other");
}

#[test]
fn what_is_unusual_and_clear_is_served() {
    let house = super::house();
    let daemon = house.start();
    let local = post("", &event("absolute")).replacen("/v1", &format!("http://{}/v1", daemon.address), 1);
    assert_eq!(status(&say(daemon.address, local.as_bytes())), 202);
    // RFC 9112, 2.2: a line may end with a bare LF.
    assert_eq!(status(&say(daemon.address, post("", &event("bare-lf")).replace("\r\n", "\n").as_bytes())), 202);

    let mut stream = dial(daemon.address);
    let body = event("continue");
    let announced = head(&format!("expect: 100-continue\r\nconnection: close\r\ncontent-length: {}\r\n", body.len()));
    stream.write_all(announced.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(status(&String::from_utf8(rest_of(&mut stream)).unwrap()), 202);
    assert_eq!(accepted(&house), 3);
}

/// Many requests at once on one connection, read late: each is answered, in order.
#[test]
fn pipelined_requests_are_answered_one_after_the_other() {
    let house = super::house();
    let daemon = house.start();
    let mut stream = dial(daemon.address);
    let many = (0..500).map(|number| {
        let body = event(&format!("p-{number}"));
        head(&format!("content-length: {}\r\n", body.len())) + &body
    });
    stream
        .write_all((many.collect::<String>() + "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let answers = String::from_utf8(rest_of(&mut stream)).unwrap();
    let places = (0..500).map(|number| answers.find(&format!("\"id\":\"p-{number}\"")).unwrap());
    assert!(places.clone().is_sorted() && answers.ends_with("alive\n"));
    assert_eq!(accepted(&house), 500);
}

/// CR and LF in everything that a client may name: none gets as far as the head of an answer, or of a delivery.
#[test]
fn no_line_end_of_a_client_reaches_a_header() {
    let house = super::house();
    let daemon = house.start();
    let injected = "x\r\nx-injected: yes\r\n\r\n";
    let field = |name: &str| {
        let mut event = serde_json::from_str::<Value>(&event("fields")).unwrap();
        event[name] = json!(injected);
        event.to_string()
    };
    for name in ["id", "type", "project", "timestamp"] {
        let answer = say(daemon.address, post("", &field(name)).as_bytes());
        assert!(status(&answer) == 422 && !answer.contains("\nx-injected"), "{name}: {answer}");
    }
    for path in ["/%0d%0ax-injected:%20yes", "/sandbox/%0d%0ax-injected:%20yes", "/v1/events%0d%0ax-injected:yes"] {
        let answer = say(daemon.address, format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes());
        assert!(status(&answer) == 404 && !answer.contains("\nx-injected"), "{path}: {answer}");
    }
    for more in ["content-type: application/json%0d%0ax-injected: yes\r\n", "content-encoding: x%0d%0ax-injected: yes\r\n"] {
        let answer = say(daemon.address, post(more, &event("types")).as_bytes());
        assert!(!answer.contains("\nx-injected"), "{more}: {answer}");
    }
    let webhook = json!({ "id": "crm", "title": "CRM", "project": "shop.example.com", "url": "https://crm.example.com/", "events": ["*"] });
    let changed = |name: &str, value: Value| {
        let mut webhook = webhook.clone();
        webhook[name] = value;
        webhook.to_string()
    };
    let socket = house.path("admin.sock");
    let url = format!("https://crm.example.com/{injected}");
    for definition in [
        changed("id", json!(injected)),
        changed("title", json!(injected)),
        changed("project", json!(injected)),
        changed("events", json!([injected])),
        changed("url", json!(url)),
        changed("headers", json!({ "x-tenant": injected })),
        changed("headers", json!({ injected: "42" })),
    ] {
        let (status, problem) = exchange_with_socket(&socket, "POST", "/v1/webhooks", &definition).unwrap();
        assert_eq!(status, 422, "{definition}: {problem}");
    }
    let (status, problem) =
        exchange_with_socket(&socket, "POST", "/v1/tokens", &json!({ "name": injected, "projects": ["*"] }).to_string()).unwrap();
    assert_eq!(status, 422, "{problem}");
    for (key, value) in
        [("headers", "{ \"x-tenant\" = \"x\\r\\nx-injected: yes\" }"), ("url", "\"https://crm.example.com/x\\r\\nx-injected: yes\"")]
    {
        let lines =
            if key == "url" { format!("url = {value}\n") } else { format!("url = \"https://crm.example.com/\"\n{key} = {value}\n") };
        house.configure(&format!("[[webhook]]\nid = \"crm\"\ntitle = \"CRM\"\nproject = \"shop.example.com\"\nevents = [\"*\"]\n{lines}"));
        assert_eq!(house.run(&["reload"]).status.code(), Some(78), "{key}");
    }
    assert_eq!(accepted(&house), 1, "the one whose first content type is a good one");
    is_well(&daemon, "afterwards");
}

/// A connection that is cut at every point of a publication leaves nothing half done.
#[test]
fn requests_that_end_anywhere_are_forgotten() {
    let house = super::house();
    let daemon = house.start();
    let whole = post("", &event("cut"));
    for end in (0..whole.len()).step_by(7) {
        let mut stream = TcpStream::connect(daemon.address).unwrap();
        stream.write_all(&whole.as_bytes()[..end]).unwrap();
    }
    is_well(&daemon, "afterwards");
    assert_eq!(accepted(&house), 1);
}
