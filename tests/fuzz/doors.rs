//! Requests that no client should make, at both doors of a daemon. It never sends one that would make the daemon write outside of its directory.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

pub(crate) const WORDS: [&str; 33] = [
    "GET ",
    "POST ",
    " HTTP/1.1\r\n",
    "\r\n\r\n",
    "content-length: ",
    "content-length: 1\r\n",
    "content-length: 9999\r\n",
    "transfer-encoding: chunked\r\n",
    "expect: 100-continue\r\n",
    "application/json",
    "application/x-ndjson",
    "0\r\n\r\n",
    "?limit=",
    "&after=",
    "&project=",
    "&type=",
    "&webhook=",
    "&state=pending",
    "&since=",
    "&until=",
    "18446744073709551616",
    "9999-12-31T23:59:59Z",
    "%00",
    "%ff",
    "/../",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\0",
    "\n{\"type\":\"",
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
/// What no backup is begun without. It would write where it is told to.
const BACKUP: [&[u8]; 2] = [b"backup", b"directory"];
/// So long a request is waited for that may be whole.
const GRACE: Duration = Duration::from_millis(20);
/// An answer that takes longer than the daemon's own time-outs is none.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both doors of a daemon, which has a sandbox.
pub(crate) struct Doors {
    listener: SocketAddr,
    socket: PathBuf,
    /// Of the sandbox.
    pub(crate) token: String,
}

impl Doors {
    /// Those of the daemon with that admin socket; the sandbox is made by this.
    pub(crate) fn of(socket: &Path) -> Self {
        let body = format!("{{\"secret\":\"{SECRET}\"}}");
        let length = body.len();
        let request =
            format!("POST /v1/sandboxes HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        let answer = at_socket(socket, request.as_bytes(), PATIENCE);
        let (_, made) = answer.split_once("\r\n\r\n").expect("a sandbox is made");
        let made = serde_json::from_str::<Value>(made).expect("it is told of in JSON");
        let text = |name: &str| made[name].as_str().expect("it has a token and a URL").to_owned();
        let url = text("url");
        let listener = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')?.0.parse().ok());
        Self { listener: listener.expect("its URL is at the listener"), socket: socket.to_owned(), token: text("token") }
    }

    /// Gives these bytes to both.
    pub(crate) fn knock(&self, bytes: &[u8]) {
        if BACKUP.iter().any(|word| bytes.windows(word.len()).any(|window| window == *word)) {
            return;
        }
        let bytes = self.with_token(bytes);
        assert_deliberate("the listener", &at_listener(self.listener, &bytes, GRACE));
        assert_deliberate("the admin socket", &at_socket(&self.socket, &bytes, GRACE));
    }

    /// The input with the token that the sandbox has in truth.
    fn with_token(&self, input: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for at in (0..input.len()).filter(|at| input[*at..].starts_with(TOKEN)) {
            bytes[at..at + TOKEN.len()].copy_from_slice(self.token.as_bytes());
        }
        bytes
    }
}

fn at_listener(address: SocketAddr, request: &[u8], grace: Duration) -> String {
    let stream = TcpStream::connect(address).expect("the listener takes connections");
    answered(&stream, request, grace, |wait| stream.set_read_timeout(Some(wait)), || stream.shutdown(Shutdown::Write))
}

fn at_socket(socket: &Path, request: &[u8], grace: Duration) -> String {
    let stream = UnixStream::connect(socket).expect("the admin socket takes connections");
    answered(&stream, request, grace, |wait| stream.set_read_timeout(Some(wait)), || stream.shutdown(Shutdown::Write))
}

/// Sends everything, and gives back whatever is answered. That nothing follows is said after `grace` only: the daemon lets a request go whose client does.
fn answered(
    mut stream: impl Read + Write,
    request: &[u8],
    grace: Duration,
    wait_at_most: impl Fn(Duration) -> io::Result<()>,
    hang_up: impl Fn() -> io::Result<()>,
) -> String {
    // Whoever is refused early is not heard to the end.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    wait_at_most(grace).expect("it is a time");
    if stream.read_to_end(&mut answer).is_err_and(|error| is_timeout(&error)) {
        let _ = hang_up();
        wait_at_most(PATIENCE).expect("it is a time");
        let end = stream.read_to_end(&mut answer);
        assert!(!end.is_err_and(|error| is_timeout(&error)), "no answer and no end");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn assert_deliberate(door: &str, answer: &str) {
    let line = answer.lines().next().unwrap_or_default();
    // Nothing at all is an answer to what is no request, and HTTP/2 has no such line. Further answers, to what follows the first request, are not looked at.
    let Some(status) = line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 ")) else { return };
    let status = status.get(..3).and_then(|status| status.parse::<u16>().ok());
    assert!(status.is_some_and(|status| status < 500 || status == 503), "{door}: {line:?}");
}
