//! Clients that mean harm, against the real binary: each gets what is documented, and a healthy publication is accepted after all of them. They never look inside the process.

mod at_leisure;
mod crowd;
mod http2;
mod malformed;
mod tokens;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::daemon::{Daemon, House, event, until};

/// No answer takes so long, even on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// A daemon whose listener anybody on this machine may speak to.
fn house() -> House {
    House::new("")
}

/// A healthy client is served, if not at once, then as soon as those before it have been dealt with.
fn is_well(daemon: &Daemon<'_>, id: &str) {
    until("a healthy client's event is accepted", || {
        let (status, answer) = daemon.try_post("application/json", event(id).as_bytes())?;
        assert!(matches!(status, 200 | 202 | 503), "{answer}");
        (status != 503).then_some(())
    });
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything until the other side ends the connection, in whatever way.
fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return heard,
            Ok(count) => heard.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("the connection stays open; so far: {:?}", String::from_utf8_lossy(&heard))
            }
            Err(_) => return heard,
        }
    }
}

/// Says something and hears everything to the end of the connection.
fn say(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = dial(address);
    // A daemon that refuses closes before all of it is written; its answer counts.
    let _ = stream.write_all(bytes);
    String::from_utf8_lossy(&rest_of(&mut stream)).into_owned()
}

/// The status of an answer.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// `POST /v1/events` of JSON with these further header lines, without a body.
fn head(more: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{more}\r\n")
}

/// A whole publication on a connection that is closed then.
fn post(more: &str, body: &str) -> String {
    head(&format!("connection: close\r\ncontent-length: {}\r\n{more}", body.len())) + body
}
