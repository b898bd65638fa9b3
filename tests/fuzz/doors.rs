//! Requests that no client should make, at both doors of the real daemon. It never sends one that would make the daemon write outside of its directory.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{House, event, exchange_with_socket, webhook};
use crate::{bound_memory, fuzz};

/// Each costs a connection at both doors.
const RUNS: u64 = 4_000;
const WORDS: [&str; 21] = [
    "GET ",
    "POST ",
    " HTTP/1.1\r\n",
    "\r\n\r\n",
    "content-length: ",
    "content-length: 1\r\n",
    "transfer-encoding: chunked\r\n",
    "expect: 100-continue\r\n",
    "0\r\n\r\n",
    "?limit=",
    "&after=",
    "%00",
    "%ff",
    "/../",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\0",
    "webhook-id: ",
    "webhook-timestamp: ",
    "webhook-signature: ",
    " v1,",
    " v1a,",
];
/// Stands in inputs for the token of the sandbox, and is as long as one.
const TOKEN: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
/// The secret of that sandbox: the one of the example of Standard Webhooks, which is the input `signed`.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// An answer that takes longer than the daemon's own time-outs is none.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends everything, says that nothing follows, and gives back the first line of whatever is answered.
fn first_line(mut stream: impl Read + Write, request: &[u8], hang_up: impl Fn() -> std::io::Result<()>) -> Option<String> {
    // Whoever is refused early is not heard to the end.
    let _ = stream.write_all(request);
    let _ = hang_up();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
            panic!("no answer and no end")
        }
        _ => {}
    }
    Some(String::from_utf8_lossy(&answer).lines().next()?.to_owned())
}

/// The input with the token that the sandbox has in truth.
fn with_token(input: &[u8], token: &str) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for at in (0..input.len()).filter(|at| input[*at..].starts_with(TOKEN)) {
        bytes[at..at + TOKEN.len()].copy_from_slice(token.as_bytes());
    }
    bytes
}

fn assert_deliberate(door: &str, line: Option<&str>) {
    // Nothing at all is an answer to what is no request; and HTTP/2 has no first line.
    let Some(status) = line.and_then(|line| line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "))) else { return };
    let status = status.get(..3).and_then(|status| status.parse::<u16>().ok());
    assert!(status.is_some_and(|status| status < 500 || status == 503), "{door}: {line:?}");
}

#[test]
fn request() {
    bound_memory();
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let daemon = house.start();
    let (address, socket) = (daemon.address, house.path("admin.sock"));
    let sandbox = house.json(&["sandbox", "new", "--secret", SECRET]);
    let token = sandbox["token"].as_str().unwrap();
    fuzz("request", &WORDS, RUNS, |bytes| {
        let bytes = with_token(bytes, token);
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_deliberate("the listener", first_line(&stream, &bytes, || stream.shutdown(Shutdown::Write)).as_deref());
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_deliberate("the admin socket", first_line(&stream, &bytes, || stream.shutdown(Shutdown::Write)).as_deref());
    });
    assert_eq!(daemon.post("application/json", event("after-all-that").as_bytes()).0, 202);
    let (_, received) = exchange_with_socket(&socket, "GET", &format!("/v1/sandboxes/{token}/requests"), "").unwrap();
    // The signature of `signed` is good, and old: some of what is kept got as far as that.
    let is_judged = |request: &Value| request["signature"]["reason"] == "timestamp_too_old";
    assert!(received["requests"].as_array().unwrap().iter().any(is_judged), "no signature was judged");
    let log = house.log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
    assert!(daemon.stop().success());
}
