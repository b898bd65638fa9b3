//! The client against a stand-in daemon on a Unix socket or a loopback listener. They never leave the machine.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use serde_json::Value;

use super::*;

/// What a request looked like on the wire.
#[derive(Debug)]
struct Seen {
    line: String,
    headers: HashMap<String, String>,
    body: String,
}

fn serve_one(mut stream: impl Read + Write, answer: &str) -> Seen {
    let mut reader = BufReader::new(&mut stream);
    let mut next = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let line = next();
    let mut headers = HashMap::new();
    while let Some((name, value)) = next().split_once(": ") {
        headers.insert(name.to_owned(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    Seen { line, headers, body: String::from_utf8(body).unwrap() }
}

/// A daemon that answers once, on a socket in a directory of its own.
fn daemon(answer: &str) -> (Client, JoinHandle<Seen>, tempfile::TempDir) {
    let answer = answer.to_owned();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let thread = std::thread::spawn(move || serve_one(listener.accept().unwrap().0, &answer));
    (Client::new(Address::Socket(path)).unwrap(), thread, directory)
}

#[test]
fn a_question_goes_over_the_socket_and_the_answer_comes_back() {
    let (client, thread, _directory) = daemon("HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n{\"ok\":true}");
    let value = client.post::<Value>("/v1/explain?x=1", Some(Body::Json(Bytes::from_static(b"{}")))).unwrap();
    let seen = thread.join().unwrap();
    assert_eq!(value, serde_json::json!({ "ok": true }));
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("POST /v1/explain?x=1 HTTP/1.1", "{}"));
    assert_eq!((seen.headers["host"].as_str(), seen.headers["content-type"].as_str()), ("localhost", "application/json"));
    assert!(!seen.headers.contains_key("authorization"));
}

#[test]
fn a_problem_becomes_the_sentence_that_it_carries() {
    let problem = r#"{"title":"not found","status":404,"detail":"no webhook \"crm\""}"#;
    let (client, thread, _directory) = daemon(&format!("HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{problem}", problem.len()));
    let failure = client.get::<Value>("/v1/webhooks/crm").unwrap_err();
    thread.join().unwrap();
    assert!(failure.exit_code() == 1 && failure.to_string() == "no webhook \"crm\"", "{failure}");
}

#[test]
fn a_busy_daemon_says_when_to_come_back() {
    let (client, thread, _directory) = daemon("HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n");
    let answer = client.call(Method::POST, "/v1/events", Some(Body::Lines(Bytes::from_static(b"{}\n")))).unwrap();
    assert_eq!((answer.status.as_u16(), answer.retry_after_s), (429, Some(7)));
    assert_eq!(thread.join().unwrap().headers["content-type"], "application/x-ndjson");
    assert!(answer.complaint().contains("429 Too Many Requests"));
}

#[test]
fn nobody_at_the_socket_is_exit_code_69_with_the_socket_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let failure = Client::new(Address::Socket(path.clone())).unwrap().get::<Value>("/v1/status").unwrap_err();
    assert_eq!(failure.exit_code(), 69);
    for expected in [path.to_str().unwrap(), "No such file", "hookwheel serve", "--socket"] {
        assert!(failure.to_string().contains(expected), "{failure}");
    }
    drop(UnixListener::bind(&path).unwrap());
    let failure = Client::new(Address::Socket(path)).unwrap().get::<Value>("/v1/status").unwrap_err();
    assert!(failure.exit_code() == 69 && failure.to_string().contains("refused"), "{failure}");
}

#[test]
fn an_answer_cut_short_is_a_failure_that_claims_nothing() {
    let (client, thread, _directory) = daemon("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"ok\"");
    let failure = client.get::<Value>("/v1/status").unwrap_err();
    thread.join().unwrap();
    assert!(failure.exit_code() == 1 && failure.to_string().contains("not known"), "{failure}");
    let (client, thread, _directory) = daemon("");
    assert!(matches!(client.call(Method::GET, "/", None), Err(NoAnswer::Unclear(_))));
    thread.join().unwrap();
}

#[test]
fn an_answer_of_another_version_says_so() {
    let (client, thread, _directory) = daemon("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]");
    let failure = client.get::<crate::model::report::Status>("/v1/status").unwrap_err();
    thread.join().unwrap();
    assert!(failure.to_string().contains("restart the daemon"), "{failure}");
}

#[test]
fn a_daemon_elsewhere_is_told_its_host_its_path_and_the_token() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread =
        std::thread::spawn(move || serve_one(listener.accept().unwrap().0, "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}"));
    let url = format!("http://127.0.0.1:{port}/mail/").parse().unwrap();
    let client = Client::new(Address::Listener { url, token: Some("hwt_1".into()), ca_file: None }).unwrap();
    client.post::<Value>("/v1/events", Some(Body::Json(Bytes::from_static(b"{}")))).unwrap();
    let seen = thread.join().unwrap();
    assert_eq!(seen.line, "POST /mail/v1/events HTTP/1.1");
    assert_eq!((seen.headers["host"].clone(), seen.headers["authorization"].as_str()), (format!("127.0.0.1:{port}"), "Bearer hwt_1"));
}

#[test]
fn a_listener_that_speaks_no_tls_is_not_reached_by_https() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    let thread = std::thread::spawn(move || listener.accept().unwrap().0.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap());
    let failure = Client::new(Address::Listener { url, token: None, ca_file: None }).unwrap().get::<Value>("/").unwrap_err();
    assert!(failure.exit_code() == 69 && failure.to_string().contains("can be reached"), "{failure}");
    thread.join().unwrap();
}

#[test]
fn a_file_of_certificates_that_is_none_is_told_of_before_anybody_is_dialled() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (file, why) in [(empty, "there is no certificate in it"), (directory.path().join("none.pem"), "No such file")] {
        let url = "https://127.0.0.1:9/".parse().unwrap();
        let address = Address::Listener { url, token: None, ca_file: Some(file.clone()) };
        let failure = Client::new(address).err().unwrap();
        let told = failure.to_string();
        assert!(told.starts_with(&format!("--ca-file {}: ", file.display())) && told.contains(why), "{told}");
        assert_eq!(failure.exit_code(), 1);
    }
}
