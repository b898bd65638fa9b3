//! Clients that take their time: with headers, bodies, handshakes, answers, or with saying anything at all. They never wait for a moment, only for the end.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::http2::{GET_HEALTHZ, PREFACE};
use super::{dial, head, is_well, rest_of};
use crate::hostile::frames::{CONTINUATION, HEADERS, frame};
use crate::tls;

/// A slow client in a thread of its own, and everything that it heard until its connection was closed.
struct Slow {
    name: &'static str,
    thread: JoinHandle<String>,
}

/// Says `start` and then `drop` again and again, until nobody listens any more.
fn trickling(name: &'static str, address: SocketAddr, start: impl Into<Vec<u8>>, drop: impl Into<Vec<u8>>) -> Slow {
    let (start, drop) = (start.into(), drop.into());
    let mut stream = dial(address);
    let mut writer = stream.try_clone().unwrap();
    thread::spawn(move || {
        let mut said = writer.write_all(&start);
        while said.is_ok() && !drop.is_empty() {
            thread::sleep(Duration::from_millis(200));
            said = writer.write_all(&drop);
        }
    });
    Slow { name, thread: thread::spawn(move || String::from_utf8_lossy(&rest_of(&mut stream)).into_owned()) }
}

/// Asks and asks, and never reads an answer. Its writes end when the connection does.
fn never_reading(address: SocketAddr) -> Slow {
    let mut stream = dial(address);
    let asking = move || {
        while stream.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n").is_ok() {}
        is_reset(&stream)
    };
    Slow { name: "answers that are never read", thread: thread::spawn(asking) }
}

fn is_reset(stream: &TcpStream) -> String {
    // A write that ran into its time-out instead would leave no trace here.
    let ended = stream.peer_addr().is_err() || stream.take_error().unwrap().is_some();
    if ended || (&*stream).write_all(b"x").is_err() { String::new() } else { "still open".to_owned() }
}

#[test]
fn whoever_takes_too_long_loses_the_connection_and_nobody_else_notices() {
    let made = tls::made();
    let (house, tls_house) = (super::house(), tls::house(&made, ""));
    let (daemon, tls_daemon) = (house.start(), tls_house.start());
    let address = daemon.address;
    let of_http2 = |frames: &[Vec<u8>]| [&[PREFACE.to_vec()], frames].concat().concat();
    let unended = frame(HEADERS, 0, 1, &[0x82]);
    let silent = [
        trickling("nothing at all", address, "", ""),
        trickling("one letter of both protocols", address, "P", ""),
        trickling("a header of HTTP/1.1 that grows by a byte", address, "GET / HTTP/1.1\r\nx: ", "y"),
        trickling("header after header of HTTP/1.1", address, "GET / HTTP/1.1\r\n", "x: y\r\n"),
        trickling("headers of HTTP/2 that grow by a byte", address, of_http2(&[unended]), frame(CONTINUATION, 0, 1, b"\0")),
        trickling("pings of HTTP/2", address, PREFACE, frame(6, 0, 0, &[7; 8])),
        trickling("a TLS handshake that never comes", tls_daemon.address, "", ""),
        trickling("a TLS hello that never ends", tls_daemon.address, *b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", "\x07"),
    ];
    let idle = trickling("a connection kept alive", address, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", "");
    let bodies = [
        trickling("a body that grows by a byte", address, head("content-length: 5000\r\n"), " "),
        trickling("a chunked body that grows by a byte", address, head("transfer-encoding: chunked\r\n"), "1\r\n \r\n"),
    ];
    let unread = never_reading(address);
    let in_http2 =
        trickling("a connection kept alive, HTTP/2", address, of_http2(&[frame(HEADERS, 5, 1, GET_HEALTHZ)]), frame(6, 0, 0, &[7; 8]));
    is_well(&daemon, "meanwhile");
    assert!(made.dial(tls_daemon.address, rustls::ALL_VERSIONS, &[]).is_ok(), "a handshake waits for no other");
    for Slow { name, thread } in silent {
        let heard = thread.join().expect(name);
        assert!(!heard.contains("HTTP/1.1 2"), "{name}: {heard}");
    }
    assert!(idle.thread.join().unwrap().ends_with("alive\n"));
    for Slow { name, thread } in bodies {
        let heard = thread.join().expect(name);
        assert!(heard.starts_with("HTTP/1.1 408") && heard.contains("the body did not arrive within 30 s"), "{name}: {heard}");
    }
    assert_eq!(unread.thread.join().expect(unread.name), "");
    is_well(&daemon, "afterwards");
    assert!(tls_house.json(&["status"])["pending"] == 0 && made.dial(tls_daemon.address, rustls::ALL_VERSIONS, &[]).is_ok());
    // Its minute is not waited for here: `server::connection` has a test of that with a shorter one. A daemon that ends does not wait for it either.
    assert!(daemon.stop().success());
    assert!(in_http2.thread.join().unwrap().contains("alive\n"));
}
