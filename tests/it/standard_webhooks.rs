//! What the daemon sends, checked by the public libraries of Standard Webhooks for Python and for JavaScript: what is genuine is taken, and nothing else is. It never signs or checks anything
//! itself.
//!
//! The libraries are installed below `target/tmp` by the first run, and kept there. A machine without Python or Node fails the test.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::daemon::{House, event, until};
use crate::python::{self, said};
use crate::receivers::{Received, Receiver, ok};

const SIGNED: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];

/// A request, and a key that a library is to check it with.
#[derive(Clone)]
struct Case {
    what: String,
    is_genuine: bool,
    key: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Case {
    fn genuine(what: &str, received: &Received, key: &str) -> Self {
        let headers = SIGNED.map(|name| (name, received.header(name).to_owned())).to_vec();
        Self { what: what.to_owned(), is_genuine: true, key: key.to_owned(), headers, body: received.body.clone() }
    }

    fn forged(&self, how: &str, change: impl FnOnce(&mut Self)) -> Self {
        let mut forged = self.clone();
        change(&mut forged);
        Self { what: format!("{}, {how}", self.what), is_genuine: false, ..forged }
    }

    /// Everything that must be refused of a request that is taken.
    fn forgeries(&self, other_key: &str) -> Vec<Self> {
        let at = self.headers[1].1.parse::<u64>().unwrap();
        vec![
            self.forged("the body tampered with", |case| case.body[10] ^= 1),
            self.forged("the body cut", |case| case.body.truncate(10)),
            self.forged("another id", |case| case.headers[0].1.push('x')),
            self.forged("another time", |case| case.headers[1].1 = (at - 1).to_string()),
            self.forged("an old time", |case| case.headers[1].1 = (at - 301).to_string()),
            self.forged("a wrong key", |case| case.key = other_key.to_owned()),
        ]
    }
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signing")
}

fn python() -> Command {
    let place = python::environment("standard-webhooks-python", "tests/signing/requirements.txt");
    let mut command = Command::new(place.join("bin/python"));
    command.arg(scripts().join("check.py"));
    command
}

fn node() -> Command {
    const PACKAGE: &str = include_str!("../signing/package.json");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standard-webhooks-node");
    let stamp = place.join("installed.json");
    if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == PACKAGE) {
        let has = |program| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
        if !(has("node") && has("npm")) {
            python::install(&["nodejs", "npm"]);
            assert!(has("node") && has("npm"), "this test needs Node 16 or newer with npm: `apt-get install nodejs npm`");
        }
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("package.json"), PACKAGE).unwrap();
        let npm =
            Command::new("npm").args(["install", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&place).output().unwrap();
        assert!(npm.status.success(), "standardwebhooks can't be installed; npm needs its registry or a mirror of it:\n{}", said(&npm));
        fs::write(&stamp, PACKAGE).unwrap();
    }
    let mut command = Command::new("node");
    command.arg(scripts().join("check.js")).arg(place);
    command
}

/// Has a library judge every case.
fn judge(library: &str, mut command: Command, cases: &[Case]) {
    let requests = cases.iter().map(|case| {
        let headers = case.headers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str())));
        json!({ "key": case.key, "headers": headers.collect::<serde_json::Map<_, _>>(), "body": BASE64.encode(&case.body) })
    });
    let requests = requests.collect::<Value>().to_string();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(requests.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{library}:\n{}", said(&output));
    let verdicts = serde_json::from_slice::<Vec<bool>>(&output.stdout).unwrap();
    assert_eq!(verdicts.len(), cases.len());
    for (case, is_taken) in cases.iter().zip(verdicts) {
        assert_eq!(is_taken, case.is_genuine, "{library}, whether it takes: {}", case.what);
    }
}

/// The request that the receiver gets for an event.
fn delivered(house: &House, daemon: &crate::daemon::Daemon<'_>, receiver: &Receiver, id: &str) -> Received {
    assert_eq!(daemon.post("application/json", event(id).as_bytes()).1["deliveries"], 1);
    house.drained();
    until("it is received", || receiver.received().into_iter().find(|received| received.header("webhook-id") == id))
}

#[test]
fn the_public_libraries_take_what_is_genuine_and_refuse_what_is_not() {
    let receiver = Receiver::new(ok);
    let house = House::new("");
    let daemon = house.start();
    let url = receiver.url("/");
    let add = ["webhooks", "add", "--id", "crm", "--title", "CRM", "--project", "shop.example.com", "--url", &url, "--events", "*"];
    let first = house.json(&add)["secret"].as_str().unwrap().to_owned();
    let plain = delivered(&house, &daemon, &receiver, "plain");

    let second = house.json(&["webhooks", "rotate-secret", "crm"])["secret"].as_str().unwrap().to_owned();
    let rotating = delivered(&house, &daemon, &receiver, "rotating");

    let public = house.json(&["webhooks", "edit", "crm", "--signing", "v1a"])["public_key"].as_str().unwrap().to_owned();
    let changing = delivered(&house, &daemon, &receiver, "changing");
    let next = house.json(&["webhooks", "rotate-secret", "crm"])["public_key"].as_str().unwrap().to_owned();
    let asymmetric = delivered(&house, &daemon, &receiver, "asymmetric");
    let last = house.json(&["webhooks", "rotate-secret", "crm", "--grace", "0s"])["public_key"].as_str().unwrap().to_owned();
    let alone = delivered(&house, &daemon, &receiver, "alone");

    let genuine = [
        Case::genuine("v1", &plain, &first),
        Case::genuine("v1 during a rotation, with the new secret", &rotating, &second),
        Case::genuine("v1 during a rotation, with the old secret", &rotating, &first),
        Case::genuine("v1 giving way to v1a, with the old secret", &changing, &second),
        Case::genuine("v1 giving way to v1a, with the public key", &changing, &public),
        Case::genuine("v1a during a rotation, with the new key", &asymmetric, &next),
        Case::genuine("v1a during a rotation, with the old key", &asymmetric, &public),
        Case::genuine("v1a", &alone, &last),
    ];
    let wrong = |case: &Case| {
        if case.key.starts_with("whpk_") {
            "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
        } else {
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        }
    };
    let mut cases = genuine.iter().flat_map(|case| case.forgeries(wrong(case))).collect::<Vec<_>>();
    let stale = [
        ("v1, a secret before the last", &changing, &first),
        ("v1a, the old key after its time", &alone, &next),
        ("v1a, where v1 is expected", &alone, &second),
    ];
    cases.extend(stale.map(|(what, received, key)| Case { is_genuine: false, ..Case::genuine(what, received, key) }));
    cases.extend(genuine);
    judge("Python", python(), &cases);
    judge("JavaScript", node(), &cases);
    assert!(daemon.stop().success());
}
