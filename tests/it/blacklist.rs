//! Black Lists of the real daemon: filled by events at once, kept over `kill -9`, exported and imported. These tests never look at the disk.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::daemon::{Daemon, House, event, webhook};

const PROJECT: &str = "shop.example.com";

fn bounce(address: &str) -> String {
    format!(r#"{{"type":"email.status.bounced","project":"{PROJECT}","data":{{"email":"{address}","code":"550 5.1.1"}}}}"#)
}

fn accepted(daemon: &Daemon<'_>, event: &str) {
    assert_eq!(daemon.post("application/json", event.as_bytes()).0, 202);
}

/// The status of a look-up, without the cost of a command.
fn look_up(house: &House, address: &str) -> u16 {
    let mut stream = UnixStream::connect(house.path("admin.sock")).unwrap();
    write!(stream, "GET /v1/blacklist/{PROJECT}/{address} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The exit code, standard output and standard error of a `blacklist` command that is given `input`.
fn run(house: &House, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookwheel"));
    command.arg("blacklist").args(arguments).env("HOOKWHEEL_SOCKET", house.path("admin.sock"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_address_is_listed_when_its_event_is_answered_however_busy_the_daemon_is() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", ""));
    let daemon = house.start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in 0..2 {
            let (daemon, stop) = (&daemon, &stop);
            scope.spawn(move || {
                for round in 0_u32.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let batch = (0..500).map(|number| event(&format!("load-{client}-{round}-{number}")) + "\n").collect::<String>();
                    daemon.post("application/x-ndjson", batch.as_bytes());
                }
            });
        }
        let mut behind = 0;
        for number in 0..200 {
            let address = format!("user{number}@example.com");
            assert_eq!(look_up(&house, &address), 404);
            accepted(&daemon, &bounce(&address));
            assert_eq!(look_up(&house, &address), 200, "{address}");
            if number % 20 == 0 {
                behind += house.json(&["status"])["store"]["view_lag"].as_u64().unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(behind > 0, "there was no load to speak of");
    });
}

#[test]
fn a_list_survives_kill_9_and_so_does_a_removal() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", ""));
    let daemon = house.start();
    for number in 0..20 {
        accepted(&daemon, &bounce(&format!("user{number}@example.com")));
    }
    let (code, said, _) = run(&house, &["remove", PROJECT, "user3@example.com", "user4@EXAMPLE.com"], "");
    assert_eq!((code, said.as_str()), (0, "removed 2 addresses from the Black List of shop.example.com\n"));
    daemon.kill();
    let daemon = house.start();
    for number in 0..20 {
        let expected = if number == 3 || number == 4 { 404 } else { 200 };
        assert_eq!(look_up(&house, &format!("user{number}@example.com")), expected, "{number}");
    }
    accepted(&daemon, &bounce("user3@example.com"));
    daemon.kill();
    fs::remove_dir_all(house.path("data/view")).unwrap();
    let _daemon = house.start();
    assert_eq!((look_up(&house, "user3@example.com"), look_up(&house, "user4@example.com")), (200, 404));
    assert_eq!(run(&house, &["export", PROJECT], "").1.lines().count(), 19);
}

#[test]
fn check_answers_with_its_exit_code_and_says_why() {
    let house = House::new("");
    let daemon = house.start();
    let unsubscribed = bounce("Anna@müller.example").replace("status.bounced", "contact.list_unsubscribed");
    accepted(&daemon, &unsubscribed.replace(r#""data""#, r#""id":"click-1","data""#));
    let (code, said, _) = run(&house, &["check", PROJECT, "Anna@xn--mller-kva.example"], "");
    assert_eq!(code, 0);
    for words in ["Anna@müller.example is on the Black List of shop.example.com", "unsubscribed", "click-1", "since"] {
        assert!(said.contains(words), "{said}");
    }
    let (code, said, complaint) = run(&house, &["check", PROJECT, "anna@müller.example", "--json"], "");
    assert_eq!((code, said.trim()), (1, "{\n  \"listed\": false\n}"));
    assert!(complaint.contains("anna@müller.example is not on the Black List of shop.example.com"), "{complaint}");
    assert_eq!(run(&house, &["check", "news.example.org", "Anna@müller.example"], "").0, 1, "each project has its own");
    assert_eq!(run(&house, &["check", PROJECT, "anna@"], "").0, 2);
    let (code, said, _) = run(&house, &["check", PROJECT, "Anna@müller.example", "--json"], "");
    assert!(code == 0 && said.contains("\"listed\": true") && said.contains("\"reason\": \"unsubscribed\""), "{said}");
    let (code, _, complaint) = run(&house, &["remove", PROJECT, "nobody@example.com"], "");
    assert!(code == 1 && complaint.contains("nobody@example.com is not on"), "{complaint}");
    // An event that names nobody is as good as any other, and lists nothing.
    accepted(&daemon, &bounce("not an address"));
    assert_eq!(run(&house, &["export", PROJECT], "").1, "Anna@xn--mller-kva.example\n");
    drop(daemon);
    assert_eq!(run(&house, &["check", PROJECT, "Anna@müller.example"], "").0, 69);
}

#[test]
fn what_is_exported_can_be_imported_and_is_the_same_list() {
    let house = House::new("");
    let daemon = house.start();
    accepted(&daemon, &bounce("bounced@example.com").replace(r#""data""#, r#""id":"e1","data""#));
    let mut file = "# ours\n\n\"#odd\"@example.com\n\"a b\"@example.com\nbounced@example.com\n".to_owned();
    file.extend((0..1500).map(|number| format!("user{number}@example.com\n")));
    fs::write(house.path("list.txt"), &file).unwrap();
    let path = house.path("list.txt").display().to_string();
    let (code, said, _) = run(&house, &["import", PROJECT, &path], "");
    assert_eq!((code, said.as_str()), (0, "1502 addresses are new on the Black List of shop.example.com, 1 listed before\n"));
    let whole = run(&house, &["export", PROJECT, "--json"], "").1;
    assert_eq!(whole.lines().count(), 1503, "over several pages");
    assert!(whole.contains(r#""address":"bounced@example.com","#) && whole.contains(r#""reason":"bounced","event":"e1""#), "{whole}");
    let (code, said, complaint) = run(&house, &["import", "news.example.org", "-"], &whole);
    assert_eq!((code, complaint.as_str()), (0, ""), "{said}");
    assert_eq!(run(&house, &["export", "news.example.org", "--json"], "").1, whole, "with reasons and times");
    let plain = run(&house, &["export", PROJECT], "").1;
    assert_eq!(run(&house, &["import", "bank.example.net", "-"], &plain).0, 0);
    assert_eq!(run(&house, &["export", "bank.example.net"], "").1, plain);
    let listed = run(&house, &["list", PROJECT, "--limit", "2", "--after", "bounced@example.com", "--json"], "").1;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed["entries"][1]["address"], &listed["next"]), (&"user1000@example.com".into(), &"user1000@example.com".into()));
    let (_, said, _) = run(&house, &["add", PROJECT, "user1@example.com", "new@example.com", "--note", "asked by phone"], "");
    assert_eq!(said, "1 address is new on the Black List of shop.example.com, 1 listed before\n");
    assert!(run(&house, &["check", PROJECT, "new@example.com"], "").1.contains("asked by phone"));
}

#[test]
fn every_bad_line_of_an_import_is_named_with_its_place() {
    let house = House::new("");
    let _daemon = house.start();
    let file = format!("{}user@\n\n# a comment\na@example.com;x\n", "a@example.com\n".repeat(1000));
    let (code, _, complaint) = run(&house, &["import", PROJECT, "-"], &file);
    assert_eq!(code, 1);
    for words in ["standard input:1001: ", "no domain behind the @", "standard input:1004: ", "no further columns", "does no harm"] {
        assert!(complaint.contains(words), "{words}: {complaint}");
    }
    assert_eq!(run(&house, &["import", PROJECT, "/does/not/exist"], "").0, 1);
}
