//! Backups of a daemon under load, incremental ones, and data directories made from them. They never look into the files but to damage them.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::daemon::{House, event, until, webhook};
use crate::receivers::{Receiver, ok};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a command that is refused, and gives what it says on stderr.
fn refused(house: &House, arguments: &[&str]) -> String {
    let output = house.run(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn restored(backup: &Path, webhooks: &str) -> House {
    let house = House::new(webhooks);
    let config = house.path("webhooks.toml");
    let report = house.json(&["restore", text(backup), "--config", text(&config)]);
    assert_eq!(report["data_dir"], text(&house.path("data")));
    house
}

/// The journal's part of a backup: what each file is of, and the file.
fn journal_of(backup: &Path) -> Vec<(String, PathBuf)> {
    let names = fs::read_dir(backup.join("journal")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files =
        names.map(|name| (name.split_once(".segment.").unwrap().0.to_owned(), backup.join("journal").join(&name))).collect::<Vec<_>>();
    files.sort();
    files
}

#[test]
fn whatever_was_acknowledged_before_a_backup_under_load_is_delivered_after_a_restore() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let daemon = house.start();
    let secret = house.json(&["webhooks", "show", "crm"])["secret"].as_str().unwrap().to_owned();
    let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(HashSet::new()));
    let backup = house.path("backup");
    let known = std::thread::scope(|scope| {
        for client in 0..3 {
            let (stop, acknowledged, daemon) = (&stop, &acknowledged, &daemon);
            scope.spawn(move || {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let ids = (0..20).map(|index| format!("e{client}-{number}-{index}")).collect::<Vec<_>>();
                    let body = ids.iter().map(|id| event(id) + "\n").collect::<String>();
                    assert_eq!(daemon.post("application/x-ndjson", body.as_bytes()).0, 202);
                    acknowledged.lock().unwrap().extend(ids);
                }
            });
        }
        until("there is load", || (acknowledged.lock().unwrap().len() > 500).then_some(()));
        let known = acknowledged.lock().unwrap().clone();
        let report = house.json(&["backup", text(&backup)]);
        assert!(report["sequence"].as_u64().unwrap() >= known.len() as u64, "{report}");
        until("it goes on", || (acknowledged.lock().unwrap().len() > known.len()).then_some(()));
        for _ in 0..5 {
            let report = house.json(&["verify"]);
            assert!(report["sound"] == true && report["facts"].as_u64() >= Some(known.len() as u64), "{report}");
        }
        // And once more, under load and incremental.
        let known = acknowledged.lock().unwrap().clone();
        house.json(&["backup", text(&backup)]);
        stop.store(true, Ordering::Relaxed);
        known
    });
    assert!(daemon.stop().success());
    house.says(&["verify", "--backup", text(&backup)]);

    let receiver = Receiver::new(ok);
    let again = restored(&backup, &webhook("crm", &receiver.url("/"), ""));
    let daemon = again.start();
    again.drained();
    let arrived = receiver.received().iter().map(|received| received.header("webhook-id").to_owned()).collect::<HashSet<_>>();
    let lost = known.difference(&arrived).collect::<Vec<_>>();
    assert!(lost.is_empty(), "{} of {} are lost, such as {:?}", lost.len(), known.len(), lost.first());
    assert_eq!(daemon.post("application/json", event("e0-0-0").as_bytes()).1["duplicate"], true, "ids are known");
    assert_eq!(again.json(&["webhooks", "show", "crm"])["secret"], Value::Null, "the secret was shown before");
    assert!(secret.starts_with("whsec_"));
    assert!(daemon.stop().success());
    again.says(&["verify", "--data-dir", text(&again.path("data"))]);
}

#[test]
fn a_second_backup_takes_only_what_is_new_and_links_what_is_sealed() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let backup = house.path("backup");
    let counts = |report: &Value| ["kept", "linked", "copied"].map(|name| report[name].as_u64().unwrap());
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    house.says(&["sandbox", "new"]);
    // The open segment, the sandbox, the last good configuration.
    assert_eq!(counts(&house.json(&["backup", text(&backup)])), [0, 0, 3]);
    assert_eq!(counts(&house.json(&["backup", text(&backup)])), [3, 0, 0], "nothing is new");
    assert_eq!(daemon.post("application/json", event("b").as_bytes()).0, 202);
    assert_eq!(counts(&house.json(&["backup", text(&backup)])), [2, 0, 1]);
    assert_eq!(daemon.post("application/json", event("b2").as_bytes()).0, 202);
    assert!(daemon.stop().success());
    // Each start begins a new segment, so the first one is sealed now.
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("c").as_bytes()).0, 202);
    let report = house.json(&["backup", text(&backup)]);
    assert_eq!(counts(&report), [2, 1, 1], "{report}");
    assert!(daemon.stop().success());
    let files = journal_of(&backup);
    assert_eq!(
        files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["0000000001", "0000000002"],
        "what nobody names any more is gone"
    );
    let original = fs::metadata(house.path("data/journal/0000000001.segment")).unwrap();
    assert_eq!(fs::metadata(&files[0].1).unwrap().ino(), original.ino(), "it is a hard link");
    // Without a daemon every segment is sealed.
    let config = house.path("webhooks.toml");
    let report = house.json(&["backup", text(&backup), "--config", text(&config)]);
    assert_eq!(counts(&report), [3, 1, 0], "{report}");
    let again = restored(&backup, &webhook("crm", "http://127.0.0.1:9/", ""));
    let _daemon = again.start();
    assert_eq!(again.json(&["status"])["pending"], 4);
    assert_eq!(again.json(&["sandbox", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_damaged_backup_is_refused_by_name_and_a_directory_that_is_in_use_or_not_empty_stays_as_it_is() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    let backup = house.path("backup");
    house.says(&["backup", text(&backup)]);
    let (config, elsewhere) = (house.path("webhooks.toml"), house.path("elsewhere"));
    let live = refused(&house, &["restore", text(&backup), "--config", text(&config)]);
    assert!(live.contains("in use by another hookwheel"), "{live}");
    assert!(daemon.stop().success());
    let full = refused(&house, &["restore", text(&backup), "--config", text(&config)]);
    assert!(full.contains("is not empty") && full.contains("nothing was changed"), "{full}");
    let foreign = refused(&house, &["backup", text(house.directory.path()), "--config", text(&config)]);
    assert!(foreign.contains("holds other files"), "{foreign}");

    let (_, segment) = journal_of(&backup).remove(0);
    let good = fs::read(&segment).unwrap();
    for at in [0, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 4;
        fs::write(&segment, &bad).unwrap();
        let said = refused(&house, &["restore", text(&backup), "--data-dir", text(&elsewhere)]);
        assert!(said.contains("is damaged") && said.contains("0000000001.segment") && said.contains("checksum"), "{said}");
        assert!(!elsewhere.exists(), "nothing is made before everything is checked");
        let verified = house.run(&["verify", "--backup", text(&backup)]);
        assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    }
    fs::write(&segment, &good[..good.len() - 8]).unwrap();
    assert!(refused(&house, &["restore", text(&backup), "--data-dir", text(&elsewhere)]).contains("bytes, the manifest says"));
    fs::remove_file(&segment).unwrap();
    assert!(refused(&house, &["restore", text(&backup), "--data-dir", text(&elsewhere)]).contains("No such file"));
    let nothing = refused(&house, &["restore", text(&house.path("nowhere")), "--data-dir", text(&elsewhere)]);
    assert!(nothing.contains("no backup in"), "{nothing}");
}

#[test]
fn verify_says_what_is_sound_and_names_what_is_not_with_the_daemon_up_and_down() {
    let house = House::new(&webhook("crm", "http://127.0.0.1:9/", "paused = true"));
    let config = house.path("webhooks.toml");
    let daemon = house.start();
    for number in 0..5 {
        assert_eq!(daemon.post("application/json", event(&format!("e{number}")).as_bytes()).0, 202);
    }
    let up = house.json(&["verify"]);
    assert!(up["sound"] == true && up["facts"].as_u64() >= Some(6) && up["scope"][0].as_str().unwrap().contains("in use"), "{up}");
    daemon.kill();
    let down = house.json(&["verify", "--config", text(&config)]);
    assert!(down["sound"] == true && down["scope"][0].as_str().unwrap().contains("row by row"), "{down}");
    let daemon = house.start();
    assert!(daemon.stop().success());
    assert_eq!(house.json(&["verify", "--config", text(&config)])["sound"], true);

    let segment = house.path("data/journal/0000000001.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(10).position(|window| window == br#"{"n":"e2"}"#).unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let check = |output: std::process::Output| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let report = serde_json::from_slice::<Value>(&output.stdout).unwrap();
        assert_eq!(report["damage"][0]["file"], "journal/0000000001.segment");
        let (offset, length) = (report["damage"][0]["offset"].as_u64().unwrap(), report["damage"][0]["bytes"].as_u64().unwrap());
        assert!((offset..offset + length).contains(&(at as u64)), "{report}");
        assert_eq!((&report["missing"][0]["from"], &report["missing"][0]["through"]), (&4.into(), &4.into()), "{report}");
        assert_eq!(report["missing"][0]["events"][0], "e2 of shop.example.com", "{report}");
    };
    check(house.run(&["verify", "--json", "--config", text(&config)]));
    let daemon = house.start();
    check(house.run(&["verify", "--json"]));
    let output = house.run(&["verify"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("is DAMAGED") && said.contains("fact 4; as far as can still be read: e2 of shop.example.com"), "{said}");
    assert!(daemon.stop().success());
    // A view that lost something says so, too.
    fs::remove_dir_all(house.path("data/view")).unwrap();
    let output = house.run(&["verify", "--json", "--config", text(&config)]);
    let report = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    assert!(report["notes"][0].as_str().unwrap().contains("there is no view"), "{report}");
}
