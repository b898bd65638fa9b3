//! Bad input: each gets a clear error and nothing is lost or kept by halves.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::daemon::{House, cut_short, event, exchange, webhook};

const BAD: &str = include_str!("../data/bad-events.tsv");

fn bad_lines() -> Vec<&'static str> {
    BAD.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect()
}

#[test]
fn every_bad_sample_is_refused_alone_and_in_a_batch_and_nothing_is_kept() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", ""));
    let daemon = house.start();
    for line in bad_lines().into_iter().filter(|line| !line.is_empty()) {
        let (status, problem) = daemon.post("application/json", line.as_bytes());
        assert!(matches!(status, 400 | 422), "{line}: {status} {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{line}: {problem}");
    }
    let batch = format!("{}\n{}\n", event("good"), bad_lines().join("\n"));
    let (status, problem) = daemon.post("application/x-ndjson", batch.as_bytes());
    let errors = problem["errors"].as_array().unwrap();
    assert_eq!((status, errors.len()), (422, bad_lines().len() - 1), "the empty line is skipped: {problem}");
    assert_eq!(house.json(&["status"])["counters"]["accepted"], 0);
    let file = house.path("bad.ndjson");
    fs::write(&file, &batch).unwrap();
    let output = house.run(&["emit", "--file", file.to_str().unwrap()]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("bad.ndjson:4") && said.contains("did you mean \"email.status.delivered\"?"), "{said}");
    assert_eq!(house.json(&["status"])["counters"]["accepted"], 0);
}

#[test]
fn bodies_that_are_too_large_cut_short_or_not_text_are_refused() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", ""));
    let daemon = house.start();
    let large = format!(r#"{{"type":"email.status.delivered","project":"shop.example.com","data":{{"x":"{}"}}}}"#, "y".repeat(70_000));
    assert_eq!(daemon.post("application/json", large.as_bytes()).0, 413);
    assert_eq!(daemon.post("application/json", &vec![b' '; 9 << 20]).0, 413);
    let head = "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
    assert!(cut_short(daemon.address, format!("{head}{}", event("cut")).as_bytes()).is_none_or(|(status, _)| status == 400));
    assert_eq!(daemon.post("application/json", &[b"{\"type\":\"\xff\"".as_slice(), b"}"].concat()).0, 400);
    assert_eq!(daemon.post("text/plain", event("text").as_bytes()).0, 415);
    let foreign = format!(
        "POST /v1/events HTTP/1.1\r\nhost: evil.example\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}",
        event("h").len(),
        event("h")
    );
    assert_eq!(exchange(daemon.address, foreign.as_bytes()).unwrap().0, 403);
    assert_eq!(house.json(&["status"])["counters"]["accepted"], 0);
    assert_eq!(daemon.post("application/json", event("good").as_bytes()).0, 202, "and it goes on");
}

#[test]
fn every_mistake_of_a_configuration_is_named_at_its_place() {
    let house = House::new("");
    let wrong = "[server]\nlisten = \"nowhere\"\n[delivery]\ntimeout = \"10 parsecs\"\n[[webhook]]\nid = \"CRM\"\ntittle = \"x\"\nproject = \"not a domain!\"\nurl = \"ftp://x.example/\"\nevents = [\"emial.*\"]\n";
    fs::write(house.path("webhooks.toml"), wrong).unwrap();
    let (code, said) = house.refused();
    assert_eq!(code, 78, "{said}");
    for place in [
        "webhooks.toml:2:10: ",
        "webhooks.toml:4:11: ",
        "webhooks.toml:6:6: ",
        "webhooks.toml:7:1: ",
        "webhooks.toml:8:11: ",
        "webhooks.toml:9:7: ",
        "webhooks.toml:10:11: ",
    ] {
        assert!(said.contains(place), "{place} is missing in\n{said}");
    }
    assert!(said.contains("did you mean \"title\"?") && said.contains("did you mean \"email.*\"?"), "{said}");
    let checked = house.run(&["check", "--config", house.path("webhooks.toml").to_str().unwrap()]);
    assert_eq!(checked.status.code(), Some(78));
    assert!(!house.path("data").exists());
}

#[test]
fn a_directory_that_is_foreign_newer_or_in_use_is_refused_and_left_alone() {
    let house = House::new("");
    fs::create_dir(house.path("data")).unwrap();
    fs::write(house.path("data/holiday.jpg"), "x").unwrap();
    let (code, said) = house.refused();
    assert!(code == 1 && said.contains("is not hookwheel's"), "{code} {said}");
    assert_eq!(fs::read_dir(house.path("data")).unwrap().count(), 1);
    fs::remove_file(house.path("data/holiday.jpg")).unwrap();
    fs::write(house.path("data/format"), "hookwheel data directory, format 999\n").unwrap();
    let (code, said) = house.refused();
    assert!(code == 1 && said.contains("format 999") && said.contains("newer"), "{code} {said}");
    fs::remove_file(house.path("data/format")).unwrap();
    let _daemon = house.start();
    let (code, said) = house.refused();
    assert!(code == 1 && said.contains("in use by another hookwheel"), "{code} {said}");
    fs::write(house.path("blocked"), "x").unwrap();
    fs::write(house.path("webhooks.toml"), "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"blocked\"\n").unwrap();
    let (code, said) = house.refused();
    assert!(code == 1 && said.contains("cannot use the data directory") && said.contains("blocked"), "{code} {said}");
}

#[test]
fn a_port_or_socket_in_use_is_refused_and_a_stale_socket_replaced() {
    let house = House::new("");
    let daemon = house.start();
    let other = House::new("");
    let taken = format!("[server]\nlisten = \"{}\"\ndata_dir = \"data\"\nadmin_socket = \"admin.sock\"\n", daemon.address);
    fs::write(other.path("webhooks.toml"), taken).unwrap();
    let (code, said) = other.refused();
    assert!(code == 1 && said.contains(&daemon.address.to_string()) && said.contains("in use"), "{code} {said}");
    let socket = house.path("admin.sock");
    fs::write(
        other.path("webhooks.toml"),
        format!("[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nadmin_socket = \"{}\"\n", socket.display()),
    )
    .unwrap();
    let (code, said) = other.refused();
    assert!(code == 1 && said.contains("another hookwheel answers"), "{code} {said}");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    daemon.kill();
    assert!(socket.exists());
    let again = house.start();
    assert_eq!(again.house().json(&["status"])["pending"], 0);
    assert!(again.stop().success());
    let nobody = house.run(&["status"]);
    assert_eq!(nobody.status.code(), Some(69));
    assert!(String::from_utf8(nobody.stderr).unwrap().contains("hookwheel serve"));
}
