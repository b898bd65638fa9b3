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
/// How every answer begins that is none over HTTP/2, and no body of the daemon's.
const HTTP1: &[u8] = b"HTTP/1.";
/// A frame of HTTP/2 with which headers begin.
const HEADERS: u8 = 1;
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
        let answer = String::from_utf8_lossy(&at_socket(socket, request.as_bytes(), PATIENCE)).into_owned();
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

fn at_listener(address: SocketAddr, request: &[u8], grace: Duration) -> Vec<u8> {
    let stream = TcpStream::connect(address).expect("the listener takes connections");
    answered(&stream, request, grace, |wait| stream.set_read_timeout(Some(wait)), || stream.shutdown(Shutdown::Write))
}

fn at_socket(socket: &Path, request: &[u8], grace: Duration) -> Vec<u8> {
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
) -> Vec<u8> {
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
    answer
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Nothing at all is an answer to what is no request.
fn assert_deliberate(door: &str, answer: &[u8]) {
    for status in statuses(answer) {
        assert!(status < 500 || status == 503, "{door}: {status} in {:?}", String::from_utf8_lossy(answer));
    }
}

/// Every status in what was answered over one connection. Behind an answer of HTTP/1.1 that says how long it is stands another one, or nothing.
pub(crate) fn statuses(answer: &[u8]) -> Vec<u16> {
    if !answer.starts_with(HTTP1) {
        return statuses_of_frames(answer);
    }
    let (mut found, mut rest) = (Vec::new(), answer);
    while !rest.is_empty() {
        assert!(rest.starts_with(HTTP1), "no answer follows that of {found:?}: {:?}", String::from_utf8_lossy(rest));
        let end = find(rest, b"\r\n\r\n").unwrap_or(rest.len());
        let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|status| status.parse::<u16>().ok());
        let status = status.unwrap_or_else(|| panic!("an answer without a status: {head:?}"));
        found.push(status);
        rest = behind_body(&head, status, rest.get(end + 4..).unwrap_or_default());
    }
    found
}

/// What follows the body of an answer with that head; nothing where that can't be told.
fn behind_body<'a>(head: &str, status: u16, rest: &'a [u8]) -> &'a [u8] {
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    // An answer to HEAD says how long a body would be, and has none.
    if status < 200 || matches!(status, 204 | 304) || rest.starts_with(HTTP1) {
        return rest;
    }
    if header("transfer-encoding").is_some() {
        return behind_chunks(rest);
    }
    let length = header("content-length").and_then(|length| length.parse::<usize>().ok());
    length.and_then(|length| rest.get(length..)).unwrap_or_default()
}

fn behind_chunks(mut rest: &[u8]) -> &[u8] {
    while let Some(end) = find(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        // A line ends behind the size and another one behind the chunk, also where that is the last one and empty: none of ours has trailers.
        let behind = size.and_then(|size| rest.get(size.checked_add(end + 4)?..)).unwrap_or_default();
        if size == Some(0) {
            return behind;
        }
        rest = behind;
    }
    &[]
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Those of HTTP/2, except one that was sent over the same connection before and is a number in a table then. The daemon neither pads its frames nor gives them priorities.
fn statuses_of_frames(answer: &[u8]) -> Vec<u16> {
    let (mut found, mut rest) = (Vec::new(), answer);
    while let Some(([high, middle, low, kind, ..], behind)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        let Some((frame, behind)) = behind.split_at_checked(length) else { break };
        if *kind == HEADERS {
            found.extend(status_in(frame));
        }
        rest = behind;
    }
    found
}

/// The status with which a block of headers begins (RFC 7541); trailers have none.
fn status_in(mut block: &[u8]) -> Option<u16> {
    // The client may have asked for a table of another size: then that comes first.
    while let Some((first, rest)) = block.split_first().filter(|(first, _)| **first & 0xe0 == 0x20) {
        block = rest;
        if *first & 0x1f == 0x1f {
            let last = block.iter().position(|byte| byte & 0x80 == 0)?;
            block = &block[last + 1..];
        }
    }
    let (first, rest) = block.split_first()?;
    match *first {
        known @ 0x88..=0x8e => Some([200, 204, 206, 304, 400, 404, 500][usize::from(known - 0x88)]),
        // The name of one of those, and another value.
        0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e => {
            let (length, value) = rest.split_first()?;
            let value = value.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 { std::str::from_utf8(value).ok()?.parse().ok() } else { unpacked(value) }
        }
        _ => None,
    }
}

/// Three digits in the code of Huffman that RFC 7541 has: 0 to 2 in five bits, 3 to 9 in six.
fn unpacked(value: &[u8]) -> Option<u16> {
    let mut packed = [0xff; 4];
    packed.get_mut(..value.len())?.copy_from_slice(value);
    let (mut bits, mut status) = (u32::from_be_bytes(packed), 0);
    for _ in 0..3 {
        let (digit, length) = match bits >> 27 {
            digit @ 0..=2 => (digit, 5),
            _ => ((bits >> 26).checked_sub(22).filter(|digit| (3..=9).contains(digit))?, 6),
        };
        status = status * 10 + digit;
        bits <<= length;
    }
    u16::try_from(status).ok()
}
