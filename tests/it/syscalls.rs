//! What the daemon really asks of the kernel, seen by strace: one sync per group, and before its answers. It never looks at anything else.
//!
//! strace is installed where it is missing and the package manager allows it. Where it can't be had, or the kernel forbids tracing, the test says
//! so on stderr, past the test harness, and checks nothing.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::sync::Barrier;

use crate::daemon::{Daemon, House, event, until, webhook};

/// Lone posts, one after the other.
const LONE: usize = 5;
/// Clients that post at the same moment, and how often.
const CLIENTS: usize = 16;
const ROUNDS: usize = 10;

/// What matters of one traced call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Bytes for a segment of the journal.
    Write,
    /// A sync of it that has ended.
    Sync,
    /// A 202.
    Answer,
}

/// Whether strace works here.
pub(crate) fn can_trace() -> bool {
    let works = || Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).output().is_ok_and(|output| output.status.success());
    if works() {
        return true;
    }
    let _ = Command::new("apt-get").args(["install", "--yes", "--quiet", "strace"]).env("DEBIAN_FRONTEND", "noninteractive").output();
    works()
}

/// The calls in the order in which they ended; strace splits one that another thread interrupts into "unfinished" and "resumed".
fn calls(trace: &str) -> Vec<Call> {
    let mut syncing = Vec::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        let in_journal = call.contains(".segment>");
        if call.starts_with("pwrite64(") && in_journal {
            calls.push(Call::Write);
        } else if call.starts_with("fdatasync(") && in_journal {
            if call.contains("<unfinished") {
                syncing.push(thread);
            } else {
                calls.push(Call::Sync);
            }
        } else if call.starts_with("<... fdatasync resumed>") && syncing.contains(&thread) {
            syncing.retain(|one| *one != thread);
            calls.push(Call::Sync);
        } else if call.contains("HTTP/1.1 202") {
            calls.push(Call::Answer);
        }
    }
    calls
}

/// Whether the trace tells the end of a sync of that file; strace splits one during which another thread calls something.
fn has_synced(trace: &str, file: &str) -> bool {
    let mut syncing = Vec::new();
    for (thread, call) in trace.lines().filter_map(|line| line.split_once(' ')) {
        let call = call.trim_start();
        if call.starts_with("fdatasync(") && call.contains(file) {
            if !call.contains("<unfinished") {
                return true;
            }
            syncing.push(thread);
        } else if call.starts_with("<... fdatasync resumed>") && syncing.contains(&thread) {
            return true;
        }
    }
    false
}

/// Whether the trace tells the end of that process; strace pads a short pid with spaces.
fn has_ended(trace: &str, pid: &str) -> bool {
    let ended = |line: &str| line.split_once(' ').is_some_and(|(who, what)| who == pid && what.trim_start() == "+++ exited with 0 +++");
    trace.lines().any(ended)
}

/// What a traced daemon calls once its doors are open and the first spare segment is made.
fn traced(work: impl FnOnce(&Daemon<'_>)) -> Vec<Call> {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let serve = house.serve();
    let mut command = Command::new("strace");
    // `-D`: the daemon is our child and strace its grandchild, so that signals reach the daemon.
    command.args([
        "-D",
        "-f",
        "-y",
        "-s",
        "16",
        "-e",
        "trace=pwrite64,pwritev,write,writev,sendto,sendmsg,fsync,fdatasync,sync_file_range",
        "-o",
    ]);
    command.arg(house.path("trace")).arg("--").arg(serve.get_program()).args(serve.get_args());
    command.env_remove("NOTIFY_SOCKET");
    let daemon = house.start_as(command);
    let trace = || fs::read_to_string(house.path("trace")).unwrap();
    // The spare segment is made in the background; its writes go to a file of another name, and are over with its sync.
    let before = until("the next segment is prepared", || Some(trace()).filter(|trace| has_synced(trace, "1.spare>"))).len();
    work(&daemon);
    let pid = daemon.pid().to_string();
    assert!(daemon.stop().success());
    let whole = until("the trace is complete", || Some(trace()).filter(|trace| has_ended(trace, &pid)));
    calls(&whole[before..])
}

#[test]
fn the_end_of_a_sync_is_found_whether_another_thread_calls_something_meanwhile_or_not() {
    let begun = "408   fdatasync(9</d/1.spare> <unfinished ...>\n409   write(3</x>, \"y\", 1) = 1\n";
    assert!(has_synced("408   fdatasync(9</d/1.spare>)    = 0\n", "1.spare>"));
    assert!(has_synced(&format!("{begun}408   <... fdatasync resumed>)          = 0\n"), "1.spare>"));
    for trace in [begun.to_owned(), format!("{begun}409   <... fdatasync resumed>) = 0\n"), "408   fdatasync(9</d/0.spare>) = 0\n".into()] {
        assert!(!has_synced(&trace, "1.spare>"), "{trace}");
    }
}

#[test]
fn the_end_of_a_process_is_found_whatever_the_length_of_its_pid() {
    assert!(has_ended("12345 write(1, \"x\", 1) = 1\n12345 +++ exited with 0 +++\n", "12345"));
    assert!(has_ended("408   +++ exited with 0 +++\n", "408"));
    for trace in ["4080  +++ exited with 0 +++\n", "408   +++ exited with 1 +++\n", "408   write(1, \"+++ exited with 0 +++\", 21) = 21\n"]
    {
        assert!(!has_ended(trace, "408"), "{trace}");
    }
}

#[test]
fn a_lone_event_costs_one_write_and_one_sync_before_its_answer_and_a_crowd_shares_them() {
    if !can_trace() {
        // Not `eprintln!`: the harness would swallow it.
        let _ =
            writeln!(std::io::stderr(), "NOT CHECKED: strace is missing or may not trace here; `apt-get install strace`, and allow ptrace");
        return;
    }
    let calls = traced(|daemon| {
        for number in 0..LONE {
            assert_eq!(daemon.post("application/json", event(&format!("lone-{number}")).as_bytes()).0, 202);
        }
    });
    assert_eq!(calls, [Call::Write, Call::Sync, Call::Answer].repeat(LONE), "nothing is answered before it is synced, and once is enough");

    let together = Barrier::new(CLIENTS);
    let calls = traced(|daemon| {
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let together = &together;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        together.wait();
                        assert_eq!(daemon.post("application/json", event(&format!("c{client}-{round}")).as_bytes()).0, 202);
                    }
                });
            }
        });
    });
    let count = |wanted| calls.iter().filter(|call| **call == wanted).count();
    assert_eq!(count(Call::Answer), CLIENTS * ROUNDS);
    assert!(count(Call::Sync) < CLIENTS * ROUNDS, "those that wait together are synced together: {} syncs", count(Call::Sync));
    assert!(count(Call::Sync) >= ROUNDS, "each round was answered before the next began");
}
