//! Reload after reload under a mixed load, every other one of a broken file. They never end the daemon.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::daemon::House;
use crate::load::Load;

const RELOADS: u64 = 100;

/// One request on a connection that stays open.
fn asks_on(stream: &mut TcpStream) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection was closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn a_hundred_reloads_under_load_half_of_them_broken_lose_and_repeat_nothing() {
    let load = Load::without_reloads();
    let house = House::new(&load.webhooks(0));
    let daemon = house.start();
    load.is_at(daemon.address);
    let mut kept = TcpStream::connect(daemon.address).unwrap();
    kept.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    load.during(&house, hookwheel::time::wall_now().0, || {
        for round in 0..RELOADS {
            let other = "[[webhook]]\nid = \"other\"\ntitle = \"now here, now not\"\nproject = \"news.example.com\"\nurl = \"http://127.0.0.1:9/\"\n";
            let (rest, code) = match round % 4 {
                0 => ("events = [\"*\"]\n", 0),
                1 => ("events = [\"*\"\n", 78),
                2 => ("events = [\"email.status.delivered\"]\n", 0),
                _ => ("events = [\"email.status.deliverd\"]\n", 78),
            };
            let other = if round % 8 == 2 { String::new() } else { format!("{other}{rest}") };
            house.configure(&(load.webhooks(round) + &other));
            let output = house.run(&["reload"]);
            assert_eq!(output.status.code(), Some(code), "round {round}: {output:?}");
            asks_on(&mut kept);
        }
    });
    let count = load.count() as u64;
    assert!(count > RELOADS, "there was load: {count}");
    assert_eq!(load.everything_is_there(&house), 0, "attempts were repeated");
    assert_eq!(house.json(&["status"])["configuration"]["last_reload_successful"], false, "the last one was broken");
    assert!(daemon.stop().success());
}
