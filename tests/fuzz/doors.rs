//! Requests that no client should make, at both doors of the real daemon. It never sends one that would make the daemon write outside of its directory.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::daemon::{House, event, webhook};
use crate::fuzz;

/// Each costs a connection at both doors.
const RUNS: u64 = 4_000;
const WORDS: [&str; 16] = [
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
];
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

fn assert_deliberate(door: &str, line: Option<&str>) {
    // Nothing at all is an answer to what is no request; and HTTP/2 has no first line.
    let Some(status) = line.and_then(|line| line.strip_prefix("HTTP/1.1 ").or(line.strip_prefix("HTTP/1.0 "))) else { return };
    let status = status.get(..3).and_then(|status| status.parse::<u16>().ok());
    assert!(status.is_some_and(|status| status < 500 || status == 503), "{door}: {line:?}");
}

#[test]
fn request() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let daemon = house.start();
    let (address, socket) = (daemon.address, house.path("admin.sock"));
    fuzz("request", &WORDS, RUNS, |bytes| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_deliberate("the listener", first_line(&stream, bytes, || stream.shutdown(Shutdown::Write)).as_deref());
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_deliberate("the admin socket", first_line(&stream, bytes, || stream.shutdown(Shutdown::Write)).as_deref());
    });
    assert_eq!(daemon.post("application/json", event("after-all-that").as_bytes()).0, 202);
    let log = house.log();
    assert!(!log.contains("panicked") && !log.contains(" ERROR "), "{log}");
    assert!(daemon.stop().success());
}
