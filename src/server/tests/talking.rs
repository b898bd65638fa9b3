//! Raw HTTP/1.1 over any stream, so that a test can say what no well-behaved client would. It never interprets more than it must.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::house::Doors;

/// No answer takes so long, even on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection with what was read of it and not used yet.
pub(super) struct Line<S> {
    stream: S,
    read: Vec<u8>,
}

/// One response.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    /// The body.
    pub(super) body: String,
}

impl Doors {
    /// A connection to the listener.
    pub(super) async fn dial(&self) -> Line<TcpStream> {
        Line { stream: TcpStream::connect(self.address).await.unwrap(), read: Vec::new() }
    }

    /// A connection to the admin socket.
    pub(super) async fn dial_admin(&self) -> Line<UnixStream> {
        Line { stream: UnixStream::connect(&self.socket).await.unwrap(), read: Vec::new() }
    }

    /// Says something to the listener on a connection of its own.
    pub(super) async fn say(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let answer = self.dial().await.ask(&bytes).await;
        self.described.assert_listener_may(bytes.as_ref(), &answer);
        answer
    }

    /// Says something to the admin socket on a connection of its own.
    pub(super) async fn say_admin(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let answer = self.dial_admin().await.ask(&bytes).await;
        self.described.assert_admin_may(bytes.as_ref(), &answer);
        answer
    }

    /// Posts a body with the content type that every test uses.
    pub(super) async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.say(post("content-type: application/json", body)).await
    }

    /// Posts a body of one event a line.
    pub(super) async fn post_lines(&self, body: impl AsRef<[u8]>) -> Answer {
        self.say(post("content-type: application/x-ndjson", body)).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Writes everything and only then listens: what a simple client does.
    pub(super) async fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.write(bytes).await;
        self.answer().await
    }

    /// Writes everything.
    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await;
        written.expect("the door reads no more").expect("the door was closed before everything was said");
    }

    /// Says that nothing follows.
    pub(super) async fn end(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads one response.
    pub(super) async fn answer(&mut self) -> Answer {
        let head = self.until_blank_line().await;
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        let mut answer = Answer { status, headers: headers.collect(), body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body = String::from_utf8(self.take(length).await).unwrap();
        answer
    }

    /// Whatever comes until the other side ends the connection, in either way.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.read_more().await > 0 {}
        std::mem::take(&mut self.read)
    }

    /// The next so many bytes.
    pub(super) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(self.read_more().await > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.read));
        }
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    async fn until_blank_line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                return String::from_utf8(self.take(end + 4).await).unwrap().trim_end().to_owned();
            }
            assert!(self.read_more().await > 0, "the connection ended after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    async fn read_more(&mut self) -> usize {
        tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("no word from the door").unwrap_or(0)
    }
}

impl Answer {
    /// A header's value.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The JSON of an answer that must have this status.
    #[track_caller]
    pub(super) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The problem details (RFC 9457) of an answer that must have this status.
    #[track_caller]
    pub(super) fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((&problem["type"], &problem["status"]), (&Value::from("about:blank"), &Value::from(status)), "{self:?}");
        assert!(problem["title"].is_string() && problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        problem
    }

    /// The detail of a problem that must have this status.
    #[track_caller]
    pub(super) fn detail(&self, status: u16) -> String {
        self.problem(status)["detail"].as_str().unwrap().to_owned()
    }
}

/// `POST /v1/events` with these headers (lines without an end) beside `Host` and `Content-Length`.
pub(super) fn post(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\n{headers}\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The start of a `POST /v1/events` of JSON with these further headers; the body is the test's affair.
pub(super) fn post_head(headers: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}\r\n\r\n")
}

/// A request without a body.
pub(super) fn bare(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// A good event with this id.
pub(super) fn event(id: &str) -> String {
    format!(r#"{{"type":"sms.status.delivered","project":"shop.example.com","id":"{id}","data":{{"phone":"+380441234567"}}}}"#)
}

/// Good events with these ids, as a JSON array.
pub(super) fn array(ids: &[&str]) -> String {
    format!("[{}]", ids.iter().map(|id| event(id)).collect::<Vec<_>>().join(","))
}
