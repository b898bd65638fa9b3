//! Data directories of every released format, frozen: each must open, with everything that was in it, also without its view. They never change once a format is released.
//!
//! A frozen directory is a text of its files: a line `<path> <size>`, and below it `<offset> <base64>` for each stretch that is not zeros. `FREEZE=<file>` makes
//! one of the present format, with a little of everything.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use data_encoding::BASE64;
use serde_json::Value;

use crate::daemon::{House, event, until, webhook};
use crate::receivers::{Receiver, ok};

const FORMAT_1: &str = include_str!("../data/format-1.txt");
/// As the first, and with a webhook that signs with `v1a`, a secret that is sealed, and an outcome that the first did not have.
const FORMAT_2: &str = include_str!("../data/format-2.txt");
/// Of the secrets that are sealed in the second.
const KEY: &str = "ZnJvemVuIGZyb3plbiBmcm96ZW4gZnJvemVuIGtleSE=";
const STRETCH: usize = 4096;
/// Nothing is too old, whenever this is run.
const FOR_EVER: &str = "[ingest]\nidempotency = \"3650d\"\n[history]\nkeep = \"3650d\"\n";

fn freeze(directory: &Path) -> String {
    let mut files = BTreeMap::new();
    collect(directory, directory, &mut files);
    let mut text = String::new();
    for (path, bytes) in files {
        text.push_str(&format!("{path} {}\n", bytes.len()));
        for (index, stretch) in bytes.chunks(STRETCH).enumerate() {
            let used = stretch.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if used > 0 {
                text.push_str(&format!(" {} {}\n", index * STRETCH, BASE64.encode(&stretch[..used])));
            }
        }
    }
    text
}

fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for path in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(root, &path, files);
        } else if !path.ends_with("ballast") && path.extension().is_none_or(|extension| extension != "spare") {
            files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap());
        }
    }
}

fn thaw(text: &str, directory: &Path) {
    let mut file: Option<File> = None;
    for line in text.lines() {
        match line.strip_prefix(' ').and_then(|stretch| stretch.split_once(' ')) {
            Some((offset, bytes)) => {
                let bytes = BASE64.decode(bytes.as_bytes()).unwrap();
                file.as_ref().unwrap().write_all_at(&bytes, offset.parse().unwrap()).unwrap();
            }
            None => {
                let (path, size) = line.split_once(' ').unwrap();
                let path = directory.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let new = File::create(&path).unwrap();
                new.set_len(size.parse().unwrap()).unwrap();
                file = Some(new);
            }
        }
    }
}

/// What a house says about everything that it keeps.
fn contents(house: &House) -> Vec<Value> {
    let list = house.json(&["deliveries", "list"]);
    let ids = list["deliveries"].as_array().unwrap().iter().map(|delivery| delivery["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut said = ids.iter().map(|id| house.json(&["deliveries", "show", id])).collect::<Vec<_>>();
    said.push(list);
    said.push(house.json(&["events", "list"]));
    said.push(house.json(&["blacklist", "list", "shop.example.com"]));
    said.push(house.json(&["sandbox", "list"])[0]["title"].clone());
    said
}

fn webhooks() -> String {
    let paused = |id| webhook(id, "http://127.0.0.1:9/", "paused = true\nretry = [ {attempts = 1, every = \"1h\"} ]");
    FOR_EVER.to_owned() + &paused("good") + &paused("bad")
}

#[test]
fn a_data_directory_of_format_1_opens_with_everything_that_was_in_it() {
    let house = House::new(&webhooks());
    // Its view is of an earlier layout, which is no loss.
    opens(&house, FORMAT_1, &["the view is rebuilt from the journal: it holds nothing, or another version of hookwheel laid it out"], &[]);
    assert_ne!(
        fs::read_to_string(house.path("data/format")).unwrap(),
        "hookwheel data directory, format 1\n",
        "the version before would misread it"
    );
}

#[test]
fn a_data_directory_of_format_2_opens_with_everything_that_was_in_it() {
    if let Some(path) = std::env::var_os("FREEZE") {
        fs::write(PathBuf::from(path), make_one()).unwrap();
        return;
    }
    let house = House::new("");
    configure(&house, &(webhooks() + &webhook("elliptic", "https://127.0.0.1:9/", "paused = true\nsigning = \"v1a\"")));
    opens(&house, FORMAT_2, &[], &["not_tls"]);
    let _daemon = house.start();
    let shown = house.json(&["webhooks", "show", "elliptic"]);
    assert!(shown["public_key"].as_str().unwrap().starts_with("whpk_"), "{shown}");
}

/// A configuration with the key that seals.
fn configure(house: &House, webhooks: &str) {
    house.configure(webhooks);
    fs::write(house.path("key"), KEY).unwrap();
    fs::set_permissions(house.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = fs::read_to_string(house.path("webhooks.toml")).unwrap();
    fs::write(house.path("webhooks.toml"), text.replacen("[server]\n", "[server]\nkey_file = \"key\"\n", 1)).unwrap();
}

/// Everything is there, once the daemon has started with these warnings, and once more after its view was lost.
fn opens(house: &House, frozen: &str, expected_warnings: &[&str], more: &[&str]) {
    thaw(frozen, &house.path("data"));
    let daemon = house.start();
    let warnings = house.log().lines().filter_map(|line| Some(line.split_once("WARN ")?.1.to_owned())).collect::<Vec<_>>();
    assert_eq!(warnings, expected_warnings);
    let said = contents(house);
    let text = serde_json::to_string(&said).unwrap();
    let words = ["\"pending\"", "\"delivered\"", "carried", "recent", "500 Internal Server Error"];
    let more_words = ["bounced@example.com", "by-hand@example.com", "frozen"];
    for words in words.iter().chain(&more_words).chain(more) {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains("removed@example.com"), "{text}");
    for id in ["carried", "recent"] {
        assert_eq!(daemon.post("application/json", event(id).as_bytes()).1["duplicate"], true, "{id}");
    }
    assert_eq!(house.json(&["webhooks", "show", "good"])["secret"], Value::Null, "its secret was shown");
    assert_eq!(house.json(&["verify"])["sound"], true);
    assert!(daemon.stop().success());
    assert!(house.start().stop().success());
    assert!(!house.log().contains("WARN"), "nothing is wrong with it, and its view is good:\n{}", house.log());
    fs::remove_dir_all(house.path("data/view")).unwrap();
    let daemon = house.start();
    assert_eq!(contents(house), said, "the view is the fold of the journal");
    assert!(daemon.stop().success());
}

/// A data directory with a little of everything, as text.
fn make_one() -> String {
    let (good, bad) = (Receiver::new(ok), Receiver::new(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()));
    let retry = "retry = [ {attempts = 1, every = \"1h\"} ]";
    let both = webhook("good", &good.url("/"), retry) + &webhook("bad", &bad.url("/"), retry);
    let elliptic = webhook("elliptic", &good.url("/").replace("http:", "https:"), &format!("signing = \"v1a\"\n{retry}"));
    let both = both + &elliptic;
    let house = House::new("");
    configure(&house, &("[history]\nkeep = \"1ms\"\n".to_owned() + &both));
    let daemon = house.start();
    let attempted = |count| until("all were attempted", || (house.json(&["status"])["counters"]["attempts"] == count).then_some(()));
    house.says(&["webhooks", "show", "good"]);
    house.says(&["sandbox", "new", "--title", "frozen"]);
    house.says(&["blacklist", "add", "shop.example.com", "by-hand@example.com", "removed@example.com", "--note", "a complaint"]);
    house.says(&["blacklist", "remove", "shop.example.com", "removed@example.com"]);
    assert_eq!(daemon.post("application/json", event("carried").as_bytes()).0, 202);
    attempted(3);
    assert!(daemon.stop().success());
    // The first segment goes; what is pending in it is carried.
    let daemon = house.start();
    until("the first segment goes", || (!house.path("data/journal/0000000001.segment").exists()).then_some(()));
    assert!(daemon.stop().success());
    configure(&house, &(FOR_EVER.to_owned() + &both));
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("recent").as_bytes()).0, 202);
    let bounced = event("bounced")
        .replace("email.status.delivered", "email.status.bounced")
        .replace(r#""n":"bounced""#, r#""email":"bounced@example.com""#);
    assert_eq!(daemon.post("application/json", bounced.as_bytes()).0, 202);
    attempted(6);
    house.says(&["webhooks", "pause", "bad"]);
    assert!(daemon.stop().success());
    freeze(&house.path("data"))
}
