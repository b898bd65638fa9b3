//! A daemon in this very process, so that the branches are seen that it takes. It never runs where anything but this machine can be reached: requests tell it whom to dial.

use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::doors::Doors;

const CONFIGURATION: &str = "[server]
listen = \"127.0.0.1:0\"
data_dir = \"data\"
admin_socket = \"admin.sock\"
[[webhook]]
id = \"crm\"
title = \"crm\"
project = \"shop.example.com\"
url = \"https://crm.example.com/\"
events = [\"*\"]
paused = true
";
/// Polls of ten milliseconds before the daemon counts as one that does not start.
const PATIENCE: usize = 6000;

/// The doors of a daemon that runs until this process ends. Its directory stays behind.
pub(crate) fn doors() -> Doors {
    for (from, to) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
        // Nothing is sent by this.
        let way = UdpSocket::bind(from).and_then(|socket| socket.connect(to));
        assert!(way.is_err(), "others can be reached from here: run this in a network of its own, as tests/fuzz/main.rs says");
    }
    let directory = tempfile::tempdir().expect("there is room").keep();
    let (config, socket) = (directory.join("webhooks.toml"), directory.join("admin.sock"));
    std::fs::write(&config, CONFIGURATION).expect("there is room");
    std::thread::spawn(move || hookwheel::daemon::run(&config, None, false).expect("the daemon runs as long as this process"));
    let is_open = (0..PATIENCE).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        UnixStream::connect(&socket).is_ok()
    });
    assert!(is_open, "the daemon does not open its doors");
    Doors::of(&socket)
}
