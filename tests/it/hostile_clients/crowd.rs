//! Very many clients at once, each of which may be harmless. They never do more than there is room for on this machine.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Barrier};
use std::thread;

use hookwheel::limits;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{dial, head, is_well, rest_of};
use crate::daemon::event;

/// Raises the limit of open files of this process, and says how many connections fit in beside everything else.
fn room_for(wanted: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let current = getrlimit(Resource::Nofile).current.or(current).unwrap_or(u64::MAX);
    wanted.min(usize::try_from(current).unwrap().saturating_sub(1000))
}

/// A connection that is being made; whether it is ever accepted is not waited for.
fn knock(address: SocketAddr) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None).unwrap();
    let _ = rustix::net::connect(&socket, &address);
    socket
}

#[test]
fn ten_thousand_idle_connections_keep_nobody_out_for_long() {
    let house = super::house();
    let daemon = house.start();
    is_well(&daemon, "before");
    let before = daemon.peak_bytes();
    let count = room_for(10_000);
    assert!(count > 1000, "the limit of open files leaves room for {count} connections only");
    let idle = (0..count).map(|_| knock(daemon.address)).collect::<Vec<_>>();
    // All of them are still there, as far as they are concerned.
    is_well(&daemon, "beside");
    let grown = daemon.peak_bytes().saturating_sub(before);
    let connections = u64::from(limits::CONNECTIONS_DEFAULT) + limits::REFUSALS_MAX as u64;
    let bound = connections * limits::REQUEST_HEADERS_MAX as u64;
    assert!(grown <= bound, "{grown} bytes for {count} connections; {connections} of them may take {bound}");
    drop(idle);
    is_well(&daemon, "after");
    assert!(daemon.stop().success());
}

/// Twice as much as there is room for arrives at once: what is too much is refused, and what was taken in is accepted once it is whole.
#[test]
fn bodies_in_memory_are_bounded_in_total() {
    let house = super::house();
    let daemon = house.start();
    is_well(&daemon, "before");
    let before = daemon.peak_bytes();
    let clients = 2 * limits::REQUEST_BODIES_MAX / limits::REQUEST_SIZE_MAX;
    let all_there = Arc::new(Barrier::new(clients + 1));
    let threads = (0..clients).map(|number| {
        let (address, all_there) = (daemon.address, Arc::clone(&all_there));
        thread::spawn(move || {
            let mut stream = dial(address);
            let body = event(&format!("large-{number}"));
            let start = head(&format!("connection: close\r\ncontent-length: {}\r\n", limits::REQUEST_SIZE_MAX)).into_bytes();
            let spaces = vec![b' '; limits::REQUEST_SIZE_MAX - body.len()];
            let _ = stream.write_all(&start).and_then(|()| stream.write_all(&spaces));
            all_there.wait();
            let _ = stream.write_all(body.as_bytes());
            let mut status = [0; 12];
            stream.read_exact(&mut status).map(|()| status[9..].to_vec()).unwrap_or_default()
        })
    });
    let threads = threads.collect::<Vec<_>>();
    all_there.wait();
    let statuses = threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>();
    let of = |wanted: &[u8]| statuses.iter().filter(|status| status.as_slice() == wanted).count();
    // What still lay between the two when the first were answered may have found their room: how many fit is not said, how much memory they take is.
    assert!(of(b"202") + of(b"503") == clients && of(b"503") > 0, "{statuses:?}");
    // Its pieces, the whole body, and for a moment what the allocator has not given back of either; and each connection has a buffer of its own.
    let bound = 3 * limits::REQUEST_BODIES_MAX + clients * 2 * limits::REQUEST_HEADERS_MAX;
    let grown = daemon.peak_bytes().saturating_sub(before);
    assert!(grown <= bound as u64, "{grown} bytes for {clients} bodies at once; the bound is {bound}");
    is_well(&daemon, "after");
    assert!(daemon.stop().success());
}

/// A connection too many is told so, over and over, and those that were there first are served.
#[test]
fn beyond_the_limit_of_connections_the_answer_is_503_and_room_is_used_again() {
    let house = crate::daemon::House::new("[limits]\nmax_connections = 3\n");
    let daemon = house.start();
    let mut held = (0..3).map(|_| dial(daemon.address)).collect::<Vec<_>>();
    for stream in &mut held {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        assert_eq!(stream.read(&mut [0; 1024]).unwrap().min(1), 1);
    }
    for _ in 0..20 {
        let mut stream = dial(daemon.address);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let answer = String::from_utf8(rest_of(&mut stream)).unwrap();
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    }
    drop(held);
    is_well(&daemon, "after");
    assert!(daemon.stop().success());
}
