//! The demo, as a newcomer runs it: one command, and nothing is left behind. These tests never wait for its schedule more than it does itself.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hookwheel::model::Catalog;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::until;

fn demo(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookwheel"));
    // Neither a configuration nor a socket of the user's may matter.
    command.arg("demo").args(arguments).current_dir(directory).env("TMPDIR", directory).env("HOOKWHEEL_SOCKET", "/nowhere/admin.sock");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// A demo under way, which a test that panics does not leave behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a demo that goes on, and waits until it says which socket its daemon has.
fn ongoing(directory: &Path) -> (Running, BufReader<impl Read>, String) {
    let mut child = Running(demo(directory, &[]).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the demo ended");
        if let Some(socket) = line.trim().strip_prefix("export HOOKWHEEL_SOCKET=") {
            return (child, lines, socket.to_owned());
        }
    }
}

fn signal(child: &Running, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(child.0.id()).unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn one_event_of_every_type_is_delivered_some_after_retries_and_nothing_is_left() {
    let directory = TempDir::new().unwrap();
    let output = demo(directory.path(), &["--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(entries(directory.path()), 0);
    let catalog = Catalog::built_in();
    for event_type in catalog.types() {
        let name = format!("✓ {} ", event_type.name);
        assert_eq!(text.lines().filter(|line| line.contains(&name) && line.contains("answered 200")).count(), 1, "{name}\n{text}");
    }
    let failures = |words: &str| text.lines().filter(|line| line.contains('↻') && line.contains(words)).count();
    assert_eq!((failures("answered 500"), failures("Retry-After 2 s"), failures("dropped the connection")), (4, 8, 16), "{text}");
    assert!(
        text.contains("43 of 43 events delivered")
            && text.contains("20 of them after retries")
            && text.contains("all with a valid signature")
    );
    assert!(!text.contains('\u{1b}') && !text.contains('\r'), "a pipe gets no colours and no progress bar");
}

#[test]
fn for_scripts_it_is_one_json_document() {
    let directory = TempDir::new().unwrap();
    let output = demo(directory.path(), &["--once", "--json"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["events"], &summary["delivered"], &summary["delivered_after_retries"]), (&43.into(), &43.into(), &20.into()));
    assert_eq!((&summary["attempts"], &summary["valid_signatures"]), (&71.into(), &71.into()));
    assert!(summary["deliveries"].as_array().unwrap().iter().all(|delivery| delivery["state"] == "delivered"));
}

#[test]
fn it_goes_on_until_it_is_interrupted_and_takes_its_daemon_along() {
    let directory = TempDir::new().unwrap();
    let (mut child, mut lines, socket) = ongoing(directory.path());
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hookwheel")).args(arguments).env("HOOKWHEEL_SOCKET", &socket).output().unwrap()
    };
    let emitted = run(&["emit", "sms.status.delivered", "--project", "shop.example.com", "--data", "{\"phone\":\"+12025550143\"}"]);
    assert!(emitted.status.success(), "{emitted:?}");
    let mut line = String::new();
    while !line.contains("↻ sms.status.delivered") {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "what comes later is shown too");
    }
    signal(&child, Signal::INT);
    assert!(child.0.wait().unwrap().success());
    assert_eq!(entries(directory.path()), 0);
    assert_eq!(run(&["status"]).status.code(), Some(69));
}

#[test]
fn a_demo_that_is_killed_leaves_no_daemon_and_one_that_is_interrupted_early_nothing() {
    let directory = TempDir::new().unwrap();
    let (mut child, _lines, socket) = ongoing(directory.path());
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    until("the daemon sees that it is alone", || UnixStream::connect(&socket).is_err().then_some(()));
    let directory = TempDir::new().unwrap();
    let mut child = Running(demo(directory.path(), &["--once"]).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    signal(&child, Signal::TERM);
    child.0.wait().unwrap();
    assert_eq!(entries(directory.path()), 0);
}
