//! Where secrets are, and above all where they are not: not in the log, the metrics, an answer, a core dump, and with a key not in the data directory either. These tests look at the files as a
//! thief would.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use data_encoding::BASE64;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;

use crate::daemon::{House, event, exchange, exchange_with_socket, webhook};
use crate::receivers::{Receiver, ok};

const OWN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OWN_PAIR: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";
const GIVEN: &str = "whsec_plJ3nmyCDGBKInavdOK15jsl9vmTvYpF";
const OF_SANDBOX: &str = "whsec_c2FuZGJveGVzIGtlZXAgdGhlaXIgb3duIHNlY3JldA==";
const HEADER: &str = "Bearer swordfish-of-the-receiver";
/// Of a header whose name says nothing.
const PASS: &str = "open-sesame-says-the-receiver";
const IN_QUERY: &str = "key-that-stands-in-a-query";
const KEY: &str = "a2V5IHRoYXQgc2VhbHMsIGV4YWN0bHkgMzIgYnl0ZXM=";
const OTHER_KEY: &str = "YW5vdGhlciBrZXkgd2l0aCBleGFjdGx5IDMyIGJ5dGU=";

/// The house's configuration with the file `key` named as the one that seals, and what is in it.
fn seal_with(house: &House, keys: &[&str], webhooks: &str) {
    house.configure(webhooks);
    fs::write(house.path("key"), keys.join("\n")).unwrap();
    let text = fs::read_to_string(house.path("webhooks.toml")).unwrap();
    fs::write(house.path("webhooks.toml"), text.replacen("[server]\n", "[server]\nkey_file = \"key\"\n", 1)).unwrap();
}

fn add(house: &House, id: &str, url: &str, more: &[&str]) -> Value {
    let what = ["webhooks", "add", "--id", id, "--title", id, "--project", "shop.example.com", "--url", url, "--events", "*"];
    house.json(&[&what[..], more].concat())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// A secret as it may turn up: its base64, or its bytes in the ways in which programs show them.
fn traces(secret: &str) -> Vec<Vec<u8>> {
    let body = secret.split_once('_').map_or(secret, |(_, body)| body);
    let mut traces = vec![body.as_bytes().to_vec()];
    if let Ok(bytes) = BASE64.decode(body.as_bytes()) {
        // Of a pair the second half is no secret, and begins with its first half.
        let bytes = &bytes[..bytes.len().min(32)];
        traces.push(format!("{bytes:?}").trim_matches(['[', ']']).as_bytes().to_vec());
        traces.push(data_encoding::HEXLOWER.encode(bytes).into_bytes());
        traces.push(bytes.to_vec());
    }
    traces
}

fn shows(haystack: &[u8], secret: &str) -> bool {
    traces(secret).iter().any(|trace| haystack.windows(trace.len()).any(|part| part == trace))
}

/// Every file below a directory, without the pages in which there is nothing: the journal has hundreds of megabytes of them.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            let pages = bytes.chunks(4096).filter(|page| page.iter().any(|byte| *byte != 0));
            all.push((path.display().to_string(), pages.flatten().copied().collect()));
        }
    }
    all
}

/// Every list and every thing that the admin socket tells of, as it answers.
fn answers(house: &House, delivery: &str) -> Vec<(String, String)> {
    let paths = [
        "status",
        "top",
        "config",
        "catalog",
        "tokens",
        "sandboxes",
        "webhooks",
        "webhooks/own",
        "webhooks/pair",
        "webhooks/given",
        "webhooks/made",
        "webhooks/signs",
        "deliveries",
        "events",
        "webhooks/own/definition",
        "webhooks/given/definition",
        "webhooks/signs/definition",
        "events/shop.example.com/a",
        "blacklist/shop.example.com",
        "verify",
    ];
    let paths = paths.map(str::to_owned).into_iter().chain([format!("deliveries/{delivery}")]);
    let socket = house.path("admin.sock");
    let ask = |method: &str, path: &str, body: &str| {
        let (status, answer) = exchange_with_socket(&socket, method, &format!("/v1/{path}"), body).unwrap();
        (format!("{method} {path}: {status}"), answer.to_string())
    };
    let mut answers = paths.map(|path| ask("GET", &path, "")).collect::<Vec<_>>();
    answers.push(ask("POST", "webhooks/own/test", ""));
    answers.push(ask("POST", "reload", ""));
    answers.push(ask("POST", "explain", r#"{"type":"email.status.delivered","project":"shop.example.com"}"#));
    let mistakes = [
        format!(r#"{{"title":"x","secret":"{GIVEN}x"}}"#),
        format!(r#"{{"title":"x","id":"{GIVEN}"}}"#),
        format!(r#"{{"title":"x","project":"a.example","url":"https://{GIVEN}@a.example/","events":["*"]}}"#),
        format!(r#"{{"{GIVEN}":1}}"#),
    ];
    answers.extend(mistakes.map(|body| ask("POST", "webhooks", &body)));
    answers
}

#[test]
fn no_secret_is_in_the_log_at_its_most_talkative_nor_in_the_metrics_or_any_answer() {
    let receiver = Receiver::new(ok);
    let house = House::new("");
    let url = receiver.url("/");
    let own = webhook("own", &url, &format!("secret = \"{OWN}\"\nheaders = {{ authorization = \"{HEADER}\", x-pass = \"{PASS}\" }}"));
    let pair = webhook("pair", &url, &format!("secret = \"{OWN_PAIR}\""));
    seal_with(&house, &[KEY], &format!("{own}{pair}"));
    let mut command = house.serve();
    command.env("HOOKWHEEL_LOG", "trace");
    let daemon = house.start_as(command);
    let file = house.path("given");
    fs::write(&file, GIVEN).unwrap();
    add(&house, "given", &url, &["--secret-file", file.to_str().unwrap(), "--header", &format!("authorization={HEADER}")]);
    let made = text(&add(&house, "made", &url, &[])["secret"]);
    let replaced = text(&house.json(&["webhooks", "rotate-secret", "made"])["secret"]);
    let signs = add(&house, "signs", &url, &["--signing", "v1a"]);
    assert!(signs["secret"].is_null() && text(&signs["public_key"]).starts_with("whpk_"), "{signs}");
    let private = text(&house.json(&["webhooks", "export", "signs", "--with-secrets"])[0]["secret"]);
    assert!(private.starts_with("whsk_"));
    let asked_for = house.says(&["webhooks", "export", "--with-secrets"]);
    assert!([GIVEN, HEADER, &replaced, &private].iter().all(|secret| shows(asked_for.as_bytes(), secret)), "who asks for them is told");
    let sandbox = text(&house.json(&["sandbox", "new", "--secret", OF_SANDBOX])["token"]);
    let removed = text(&house.json(&["sandbox", "new"])["token"]);
    house.says(&["sandbox", "remove", &removed]);
    for query in ["", "?v=2"] {
        house.says(&[
            "webhooks",
            "edit",
            "signs",
            "--url",
            &format!("{url}{query}{}key={IN_QUERY}", if query.is_empty() { "?" } else { "&" }),
        ]);
    }
    let token = text(&house.json(&["token", "new", "platform", "--project", "*"])["token"]);
    let body = event("a");
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(exchange(daemon.address, head.as_bytes()).unwrap().0, 202);
    assert_eq!(exchange(daemon.address, head.replace(&token, &format!("{token}x")).as_bytes()).unwrap().0, 401);
    house.drained();
    assert_eq!(receiver.received().len(), 5);
    let delivery = text(&house.json(&["deliveries", "list"])["deliveries"][0]["id"]);

    let mut places = answers(&house, &delivery);
    places.push(("metrics".into(), daemon.get("/metrics")));
    places.push(("openapi.json".into(), daemon.get("/openapi.json")));
    for arguments in
        [&["config", "show"][..], &["webhooks", "list"], &["webhooks", "show", "signs"], &["webhooks", "export"], &["token", "list"]]
    {
        places.push((arguments.join(" "), house.says(arguments)));
    }
    places.push(("the log".into(), house.log()));
    assert!(house.log().contains(" TRACE "), "it was not at its most talkative");
    assert!(daemon.stop().success());
    places.push(("the log at the end".into(), house.log()));
    for secret in [&sandbox, &removed, IN_QUERY] {
        assert!(!shows(house.log().as_bytes(), secret), "the log shows {secret}:\n{}", house.log());
    }
    assert!(house.log().contains(&removed[..6]), "of a token it has the beginning");
    let secrets = [OWN, OWN_PAIR, GIVEN, OF_SANDBOX, KEY, HEADER, PASS, &made, &replaced, &private, &token];
    for (place, said) in &places {
        for secret in secrets {
            assert!(!shows(said.as_bytes(), secret), "{place} shows {secret}:\n{said}");
        }
    }
}

#[test]
fn with_a_key_no_stored_secret_is_in_the_data_directory_and_without_it_the_daemon_does_not_start() {
    let receiver = Receiver::new(ok);
    let house = House::new("");
    let own = webhook("own", &receiver.url("/"), &format!("secret = \"{OWN}\""));
    seal_with(&house, &[KEY], &own);
    let daemon = house.start();
    let file = house.path("given");
    fs::write(&file, GIVEN).unwrap();
    let header = format!("authorization={HEADER}");
    add(&house, "given", &receiver.url("/"), &["--secret-file", file.to_str().unwrap(), "--header", &header]);
    let sandbox = text(&house.json(&["sandbox", "new", "--secret", OF_SANDBOX])["token"]);
    let made = text(&add(&house, "made", &receiver.url("/"), &[])["secret"]);
    let replaced = text(&house.json(&["webhooks", "rotate-secret", "made"])["secret"]);
    add(&house, "signs", &receiver.url("/"), &["--signing", "v1a"]);
    let export = || house.json(&["webhooks", "export", "--with-secrets"]);
    let known = export();
    let private = known.as_array().unwrap().iter().find(|one| one["id"] == "signs").map(|one| text(&one["secret"])).unwrap();
    assert!(known.to_string().contains(HEADER));
    house.says(&["backup", house.path("backup").to_str().unwrap()]);
    assert!(daemon.stop().success());
    let mode = |path: &str| fs::metadata(house.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    let stored = files(&house.path("data")).into_iter().chain(files(&house.path("backup"))).collect::<Vec<_>>();
    assert!(
        stored.iter().any(|(path, _)| path.contains("journal")) && stored.iter().any(|(path, _)| path.contains("view")),
        "they are where they are looked for"
    );
    for (path, bytes) in &stored {
        for secret in [OWN, GIVEN, HEADER, OF_SANDBOX, &made, &replaced, &private, KEY] {
            assert!(!shows(bytes, secret), "{path} has {secret}");
        }
    }
    for arguments in [
        vec!["verify", "--data-dir", house.path("data").to_str().unwrap()],
        vec!["verify", "--backup", house.path("backup").to_str().unwrap()],
    ] {
        house.says(&arguments);
    }
    // Without the key, and with another.
    house.configure(&own);
    let (code, said) = house.refused();
    assert!(code == 1 && said.contains("the secret of the webhook given is sealed") && said.contains("key_file"), "{code}: {said}");
    seal_with(&house, &[OTHER_KEY], &own);
    let (code, said) = house.refused();
    assert!(code == 1 && said.contains("another key") && said.contains("key_file"), "{code}: {said}");
    // A new key before the old one seals everything anew, and then the old one may go.
    seal_with(&house, &[OTHER_KEY, KEY], &own);
    let daemon = house.start();
    assert_eq!(export(), known);
    assert!(daemon.stop().success());
    seal_with(&house, &[OTHER_KEY], &own);
    let daemon = house.start();
    assert_eq!(export(), known);
    assert_eq!(house.json(&["sandbox", "list"])[0]["token"], sandbox.as_str());
    assert!(daemon.stop().success());
    // What was backed up is as it was then.
    fs::rename(house.path("data"), house.path("before")).unwrap();
    house.says(&["restore", house.path("backup").to_str().unwrap(), "--data-dir", house.path("data").to_str().unwrap()]);
    seal_with(&house, &[KEY], &own);
    let daemon = house.start();
    assert_eq!(export(), known);
    assert!(daemon.stop().success());
}

#[test]
fn a_key_seals_what_was_stored_before_it_at_once_and_deliveries_are_signed_as_ever() {
    let receiver = Receiver::new(ok);
    let house = House::new("");
    let daemon = house.start();
    let made = text(&add(&house, "made", &receiver.url("/"), &["--header", &format!("authorization={HEADER}")])["secret"]);
    house.says(&["sandbox", "new", "--secret", OF_SANDBOX]);
    assert!(daemon.stop().success());
    let stored_in = |secret: &str, place: &str| files(&house.path("data").join(place)).iter().any(|(_, bytes)| shows(bytes, secret));
    for (secret, place) in [(made.as_str(), "journal"), (HEADER, "journal"), (OF_SANDBOX, "sandbox")] {
        assert!(stored_in(secret, place), "in the clear it is found, so that the test can fail: {secret}");
    }
    seal_with(&house, &[KEY], "");
    let daemon = house.start();
    assert!(house.log().contains("stored secrets are sealed"), "{}", house.log());
    assert!(!stored_in(OF_SANDBOX, "sandbox"));
    assert_eq!(text(&house.json(&["webhooks", "export", "--with-secrets"])[0]["secret"]), made);
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).0, 202);
    house.drained();
    assert!(receiver.received()[0].header("webhook-signature").starts_with("v1,"));
    assert!(daemon.stop().success());
    house.configure("");
    assert!(house.refused().1.contains("there is no key"), "what holds now is sealed");
}

#[test]
fn a_crash_leaves_no_core_dump_however_high_its_limit_was() {
    let house = House::new("");
    let serve = house.serve();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -c unlimited; exec \"$0\" \"$@\""]).arg(serve.get_program()).args(serve.get_args());
    command.env_remove("NOTIFY_SOCKET").env_remove("HOOKWHEEL_SOCKET");
    let daemon = house.start_as(command);
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    daemon.signal(Signal::ABORT);
    let ended = daemon.wait();
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false), "{ended:?}");
}

/// The limit is not all: root may raise it again later, and there are dumps that no limit holds (core(5), `core_pattern` with a pipe). Where the test may not raise it, it sees that the process is
/// closed to its own user (proc(5)).
#[test]
fn a_limit_that_is_raised_again_makes_no_core_dump_either() {
    let crashes = |pid: u32| {
        let unlimited = Rlimit { current: None, maximum: None };
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        prlimit(Some(pid), Resource::Core, unlimited).map(|_| kill_process(pid, Signal::ABORT).unwrap())
    };
    let house = House::new("");
    let daemon = house.start();
    match crashes(daemon.pid()) {
        Ok(()) => {
            let ended = daemon.wait();
            assert_eq!((ended.signal(), ended.core_dumped()), (Some(6), false), "{ended:?}");
            // A process that has nothing to hide, in the same place and under the same limit.
            let mut other = Command::new("sleep").arg("1000").current_dir(house.path("")).spawn().unwrap();
            crashes(other.id()).unwrap();
            let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
            // What is at the other end of a pipe is not known.
            let dumps_into_files = !pattern.trim().is_empty() && !pattern.starts_with('|');
            assert!(other.wait().unwrap().core_dumped() || !dumps_into_files, "a dump would have been made here");
        }
        Err(_) => assert_eq!(fs::metadata(format!("/proc/{}/mem", daemon.pid())).unwrap().uid(), 0),
    }
}

#[test]
fn headers_that_are_hookwheels_own_are_refused_through_the_socket_as_in_the_file() {
    let house = House::new("");
    let _daemon = house.start();
    for name in ["host", "Content-Length", "transfer-encoding", "Connection", "Webhook-Signature", "hookwheel-attempt", "user-agent"] {
        let body = format!(r#"{{"title":"x","project":"a.example","url":"https://a.example/","events":["*"],"headers":{{"{name}":"x"}}}}"#);
        let (status, problem) = exchange_with_socket(&house.path("admin.sock"), "POST", "/v1/webhooks", &body).unwrap();
        let detail = text(&problem["detail"]);
        assert!(
            status == 422 && detail.contains(&name.to_lowercase()) && detail.contains("can't be set here"),
            "{name}: {status} {detail}"
        );
    }
}
