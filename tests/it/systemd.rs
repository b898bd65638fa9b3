//! What systemd hears: ready, reloading, how things stand, that opening takes longer, that the daemon lives, and that it does not. It never needs systemd.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::daemon::{Daemon, House, event, until, webhook};
use crate::receivers::{Receiver, ok};
use crate::syscalls::can_trace;

/// What systemd asks for, in microseconds: it is fed in a third of that.
const WATCHDOG_USEC: &str = "300000";
/// A watchdog that hears nothing for so long is not fed any more.
const SILENCE: Duration = Duration::from_millis(1200);

/// systemd's end of the conversation.
struct Systemd(UnixDatagram);

impl Systemd {
    /// Listens beside that house.
    fn beside(house: &House) -> Self {
        let socket = UnixDatagram::bind(house.path("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self(socket)
    }

    /// Starts the daemon as systemd would.
    fn start<'a>(&self, house: &'a House) -> Daemon<'a> {
        let mut command = house.serve();
        command.env("NOTIFY_SOCKET", house.path("notify")).env("WATCHDOG_USEC", WATCHDOG_USEC).env_remove("WATCHDOG_PID");
        house.start_as(command)
    }

    /// The next that was said; nothing when that takes longer than the time limit.
    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let count = self.0.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
    }

    /// Waits until something with that in it is said; all of it, and what was said before.
    fn hears(&self, what: &str) -> String {
        let mut all = String::new();
        until(what, || {
            all += &self.next().unwrap_or_default();
            all.contains(what).then_some(())
        });
        all
    }

    /// Waits until the watchdog is not fed any more.
    fn hears_no_more_feeding(&self) {
        self.0.set_read_timeout(Some(SILENCE)).unwrap();
        until("the watchdog is not fed any more", || {
            while let Some(said) = self.next() {
                if said.contains("WATCHDOG=1") {
                    return None;
                }
            }
            Some(())
        });
        self.0.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    }
}

#[test]
fn systemd_is_told_when_the_doors_are_open_and_when_they_close() {
    let house = House::new("");
    let systemd = Systemd::beside(&house);
    let daemon = systemd.start(&house);
    systemd.hears("READY=1");
    assert!(daemon.get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(daemon.get("/healthz").starts_with("HTTP/1.1 200"));
    daemon.signal(Signal::TERM);
    systemd.hears("STOPPING=1");
    assert!(daemon.wait().success());
    assert!(!house.path("admin.sock").exists());
}

#[test]
fn systemd_is_told_of_a_reload_and_of_how_things_stand() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let systemd = Systemd::beside(&house);
    let daemon = systemd.start(&house);
    systemd.hears("STATUS=accepting and delivering; 0 pending, 0 in flight, 0 accepted, 0 delivered");
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    systemd.hears("STATUS=accepting and delivering; 0 pending, 0 in flight, 1 accepted, 1 delivered");
    house.says(&["pause"]);
    assert_eq!(daemon.post("application/json", event("b").as_bytes()).0, 202);
    let said = systemd.hears("1 pending, 0 in flight, 2 accepted");
    assert!(said.contains("STATUS=accepting, and sending nothing: paused by hand"), "{said}");
    daemon.signal(Signal::HUP);
    let said = systemd.hears("READY=1");
    assert!(said.contains("RELOADING=1\nMONOTONIC_USEC="), "{said}");
}

#[test]
fn a_long_opening_asks_for_more_time() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    assert!(daemon.stop().success());
    fs::remove_dir_all(house.path("data/view")).unwrap();
    let systemd = Systemd::beside(&house);
    let _daemon = systemd.start(&house);
    let said = systemd.hears("READY=1");
    assert!(said.contains("EXTEND_TIMEOUT_USEC=60000000"), "{said}");
    assert!(said.contains("STATUS=reading journal segment 1 of"), "{said}");
}

#[test]
fn the_watchdog_is_fed_while_the_daemon_works() {
    let house = House::new("");
    let systemd = Systemd::beside(&house);
    let daemon = systemd.start(&house);
    (0..3).for_each(|_| drop(systemd.hears("WATCHDOG=1")));
    // A process that stands still feeds nothing.
    daemon.signal(Signal::STOP);
    systemd.hears_no_more_feeding();
    daemon.signal(Signal::CONT);
    systemd.hears("WATCHDOG=1");
}

/// Threads whose every wait takes seconds longer, until this is dropped.
struct Stuck(Child);

impl Stuck {
    /// The threads of that name.
    fn threads(daemon: &Daemon<'_>, name: &str) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
        let ids = tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name));
        let ids = ids.map(|task| task.file_name().into_string().unwrap()).collect::<Vec<_>>();
        assert!(!ids.is_empty(), "no thread is called {name}");
        let mut command = Command::new("strace");
        command.args(["-q", "-e", "trace=futex,epoll_wait", "-e", "inject=futex,epoll_wait:delay_enter=10000000", "-o", "/dev/null"]);
        command.args(ids.iter().flat_map(|id| ["-p", id])).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        // Not killed: strace lets go of what it holds.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn a_loop_that_is_stuck_starves_the_watchdog_and_so_does_the_runtime() {
    if !can_trace() {
        let _ = writeln!(std::io::stderr(), "NOT CHECKED: a loop that is stuck; it takes strace, and leave to trace");
        return;
    }
    let house = House::new("");
    let systemd = Systemd::beside(&house);
    let daemon = systemd.start(&house);
    // The kernel keeps 15 letters of a name.
    for name in ["hookwheel-engin", "tokio-rt-worker"] {
        systemd.hears("WATCHDOG=1");
        let stuck = Stuck::threads(&daemon, name);
        systemd.hears_no_more_feeding();
        drop(stuck);
        systemd.hears("WATCHDOG=1");
    }
    until("the log says why", || {
        house.log().contains("the watchdog is not fed: the runtime that sends attempts does not move").then_some(())
    });
}
