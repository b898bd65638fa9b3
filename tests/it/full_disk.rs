//! A data directory whose file system is full: refused, recorded, restarted, and all of it delivered once there is room. They never fill a disk of the machine.
//!
//! The file system is a tmpfs of its own. Where it can't be mounted, the test says so on stderr, past the test harness, and checks nothing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hookwheel::store::journal::medium::free_bytes;
use serde_json::Value;

use crate::daemon::{Daemon, House, event, until, webhook, webhook_of};
use crate::receivers::{Receiver, ok};

/// Three segments, the ballast, the view, and as much again.
const SIZE: &str = "size=700m";
/// Events of one request; together they stay below what a request may have.
const BATCH: usize = 100;
const PADDING: usize = 60_000;

/// A small file system, mounted as long as this lives.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf) -> Option<Self> {
        fs::create_dir(&at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&at).output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(at))
    }

    /// Somebody else's file takes everything but `left` bytes.
    fn fill(&self, left: u64) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        let bytes = free_bytes(&self.0).unwrap().saturating_sub(left);
        let chunk = vec![b'x'; 1 << 20];
        let mut written = 0;
        while written < bytes {
            let length = usize::try_from(bytes - written).unwrap().min(chunk.len());
            if filler.write_all(&chunk[..length]).is_err() {
                return;
            }
            written += length as u64;
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn holds(&self, name: &str) -> bool {
        Path::new(&self.0).join(name).exists()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn batch(number: usize) -> (Vec<String>, Vec<u8>) {
    let ids = (0..BATCH).map(|index| format!("b{number}-{index}")).collect::<Vec<_>>();
    let padding = "x".repeat(PADDING);
    let line = |id: &String| {
        format!(r#"{{"type":"email.status.delivered","project":"shop.example.com","id":"{id}","data":{{"padding":"{padding}"}}}}"#) + "\n"
    };
    (ids.clone(), ids.iter().map(line).collect::<String>().into_bytes())
}

/// Posts batches until the disk is full; the ids that were accepted, and what was said at the end.
fn post_until_refused(daemon: &Daemon<'_>) -> (Vec<String>, Value) {
    let mut accepted = Vec::new();
    for number in 0..60 {
        let (ids, body) = batch(number);
        match daemon.post("application/x-ndjson", &body) {
            (202, _) => accepted.extend(ids),
            (503, problem) => return (accepted, problem),
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk never became full");
}

fn disk(house: &House) -> Value {
    house.json(&["status"])["store"]["disk"].clone()
}

#[test]
fn a_full_disk_refuses_events_records_outcomes_restarts_and_goes_on_by_itself() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let Some(small) = SmallDisk::mount(house.path("data")) else {
        // Not `eprintln!`: the harness would swallow it.
        let _ = writeln!(std::io::stderr(), "NOT CHECKED: a full disk; it takes root and the right to mount a tmpfs");
        return;
    };
    let daemon = house.start();
    until("the ballast is made", || small.holds("ballast").then_some(()));
    assert_eq!(daemon.post("application/json", event("first").as_bytes()).0, 202);
    small.fill(40 << 20);
    let (mut accepted, problem) = post_until_refused(&daemon);
    let detail = problem["detail"].as_str().unwrap();
    let data = house.path("data").display().to_string();
    assert!(detail.contains(&data) && detail.contains("is full") && detail.contains("MiB needed"), "{detail}");
    assert!(accepted.len() >= 9 * BATCH, "a segment was filled: {}", accepted.len());
    accepted.push("first".into());
    // What was accepted goes out, and its outcomes are recorded: none is pending any more.
    house.drained();
    assert!(disk(&house)["full_since"].is_string() && disk(&house)["is_reserve_used_up"] == false, "{}", disk(&house));
    assert!(house.says(&["status"]).contains("is full"));
    assert!(daemon.get("/readyz").starts_with("HTTP/1.1 503"));
    assert!(daemon.get("/metrics").contains("\nhookwheel_store_full 1\n"));
    assert_eq!(daemon.post("application/json", event("first").as_bytes()).1["duplicate"], true, "what is known needs no room");
    assert!(house.says(&["deliveries", "list", "--limit", "3"]).contains("delivered"), "reads are answered");
    // To the last byte; the view rests, and nothing that rests writes. Records of outcomes are durable within a tenth of a second.
    std::thread::sleep(Duration::from_secs(1));
    small.fill(0);
    assert_eq!(daemon.post("application/json", event("second").as_bytes()).0, 503);
    daemon.kill();

    let daemon = house.start();
    assert!(house.log().contains("ballast is freed") && !house.log().contains("are gone"), "{}", house.log());
    assert_eq!(daemon.post("application/json", event("second").as_bytes()).0, 503);
    assert_eq!(house.json(&["status"])["pending"], 0, "every outcome was recorded");
    let (accepted_before, log) = (accepted.len(), house.log());
    assert!(log.matches("the disk is full: no journal segment").count() <= 1, "once, not every second:\n{log}");

    small.make_room();
    until("events are accepted again", || {
        (daemon.post("application/json", event("second").as_bytes()).0 == 202).then(|| accepted.push("second".into()))
    });
    assert_eq!(accepted.len(), accepted_before + 1);
    house.drained();
    assert_eq!(disk(&house)["full_since"], Value::Null);
    assert!(daemon.get("/readyz").starts_with("HTTP/1.1 200"));
    until("the ballast is made again", || small.holds("ballast").then_some(()));
    assert!(daemon.stop().success());
    let mut arrived: HashMap<String, usize> = HashMap::new();
    for received in receiver.received() {
        *arrived.entry(received.header("webhook-id").to_owned()).or_default() += 1;
    }
    let wrong = accepted.iter().filter(|id| arrived.get(*id) != Some(&1)).collect::<Vec<_>>();
    assert!(wrong.is_empty() && arrived.len() == accepted.len(), "not delivered exactly once: {wrong:?}, {} arrived", arrived.len());
}

#[test]
fn a_disk_that_is_nearly_full_is_told() {
    let pager = Receiver::new(ok);
    let house = House::new(&webhook_of("hookwheel", "pager", &pager.url("/"), ""));
    let Some(small) = SmallDisk::mount(house.path("data")) else {
        let _ = writeln!(std::io::stderr(), "NOT CHECKED: a disk that is nearly full; it takes root and the right to mount a tmpfs");
        return;
    };
    let daemon = house.start();
    until("the ballast is made", || small.holds("ballast").then_some(()));
    small.fill(250 << 20);
    until("it is told", || (!pager.received().is_empty()).then_some(()));
    let body: Value = serde_json::from_slice(&pager.received()[0].body).unwrap();
    let free = body["data"]["free_bytes"].as_u64().unwrap();
    assert!(body["type"] == "hookwheel.disk.low" && free < 300_000_000, "{body}");
    assert!(daemon.stop().success());
}
