//! What concerns the daemon as a whole: the pause of all sending, tokens, the configuration, who did what. These tests never wait for a schedule.

use serde_json::{Value, json};

use crate::daemon::{Daemon, House, event, exchange, exchange_with_socket, webhook};
use crate::receivers::{Receiver, ok};

fn me() -> String {
    format!("(uid {})", rustix::process::getuid().as_raw())
}

/// Posts an event with a token, or with none.
fn post(daemon: &Daemon<'_>, id: &str, token: Option<&str>) -> u16 {
    let body = event(id);
    let authorization = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{authorization}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    exchange(daemon.address, format!("{head}{body}").as_bytes()).unwrap().0
}

#[test]
fn a_pause_of_all_sending_outlives_the_process_says_who_did_it_and_refuses_nothing() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let daemon = house.start();
    assert!(house.says(&["pause"]).contains("nothing is sent to anybody"));
    assert_eq!(post(&daemon, "a", None), 202);
    assert!(daemon.stop().success());
    let daemon = house.start();
    assert_eq!(post(&daemon, "b", None), 202);
    let status = house.json(&["status"]);
    assert_eq!((&status["pending"], &status["paused"]["reason"], &status["oldest_due_age_ms"]), (&json!(2), &json!("operator"), &json!(0)));
    assert!(status["paused"]["by"].as_str().unwrap().contains(me().trim_matches(['(', ')'])), "{status}");
    assert!(house.says(&["status"]).contains("nothing is sent to anybody"), "people are told, too");
    assert!(daemon.get("/metrics").contains("hookwheel_sending_paused 1"));
    assert!(receiver.received().is_empty());
    assert!(house.says(&["resume"]).contains("sending"));
    assert!(house.drained()["paused"].is_null());
    assert_eq!(receiver.received().len(), 2);
    assert!(house.says(&["resume"]).contains("sending"), "twice does no harm");
}

#[test]
fn a_token_is_good_at_once_over_restarts_and_for_its_projects_until_it_is_revoked() {
    let house = House::new("");
    let daemon = house.start();
    assert_eq!(post(&daemon, "a", None), 202, "no token is needed as long as there is none");
    let made = house.json(&["token", "new", "platform", "--project", "shop.example.com"]);
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!((&made["is_first"], &made["projects"]), (&json!(true), &json!(["shop.example.com"])));
    let other = house.json(&["token", "new", "news", "--project", "news.example.org"])["token"].as_str().unwrap().to_owned();
    assert_eq!([post(&daemon, "b", None), post(&daemon, "c", Some(&token)), post(&daemon, "d", Some(&other))], [401, 202, 403]);
    daemon.kill();
    let daemon = house.start();
    assert_eq!([post(&daemon, "b", None), post(&daemon, "e", Some(&token))], [401, 202]);
    let list = house.says(&["token", "list"]);
    assert!(list.contains("platform") && list.contains(&me()) && !list.contains(&token), "{list}");
    let output = house.run(&["token", "new", "platform", "--project", "*"]);
    assert!(output.status.code() == Some(1) && String::from_utf8(output.stderr).unwrap().contains("there is a token platform already"));
    assert!(!house.says(&["token", "revoke", "platform"]).contains("it was the last one"));
    assert_eq!(post(&daemon, "f", Some(&token)), 401);
    assert!(house.says(&["token", "revoke", "news", "--yes"]).contains("it was the last one"));
    assert_eq!(post(&daemon, "g", None), 202);
    assert_eq!(house.run(&["token", "revoke", "news", "--yes"]).status.code(), Some(1));
}

#[test]
fn the_last_token_is_revoked_only_when_that_is_meant() {
    let house = House::new("");
    let daemon = house.start();
    for name in ["one", "other"] {
        house.says(&["token", "new", name, "--project", "*"]);
    }
    house.says(&["token", "revoke", "one"]);
    let words = format!("whoever is on this machine may post events to {} without one", daemon.address);
    let output = house.run(&["token", "revoke", "other"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in ["other is the last token", &words, "nobody can be asked here, so nothing was done; --yes goes on"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let revoke = |query: &str| exchange_with_socket(&house.path("admin.sock"), "DELETE", &format!("/v1/tokens/other{query}"), "").unwrap();
    let (status, problem) = revoke("");
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains(&words), "{problem}");
    assert_eq!(post(&daemon, "a", None), 401, "it was not revoked");
    assert_eq!(revoke("?even_last=true"), (200, json!({ "name": "other", "was_last": true })));
    assert_eq!(post(&daemon, "a", None), 202);
    assert!(house.log().contains(&format!("it was the last token: {words}")));
}

#[test]
fn a_start_without_tokens_says_whom_that_lets_in_and_warns_where_the_file_named_some_before() {
    let house = House::new("");
    let section = house.run(&["token", "new", "platform", "--project", "*", "--toml"]).stdout;
    let section = String::from_utf8(section).unwrap();
    let is_warned = |webhooks: &str| {
        house.configure(webhooks);
        let daemon = house.start();
        let words = format!("whoever is on this machine may post events to {} without one", daemon.address);
        assert!(daemon.stop().success());
        house.log().lines().find(|line| line.contains(&words)).map(|line| line.contains("WARN"))
    };
    assert_eq!(is_warned(""), Some(false), "it is the default");
    assert_eq!(is_warned(&section), None);
    assert_eq!(is_warned(""), Some(true));
    assert_eq!(is_warned(""), Some(false), "it is warned of once");
    let daemon = house.start();
    house.says(&["token", "new", "other", "--project", "*"]);
    assert!(daemon.stop().success());
    assert_eq!([is_warned(&section), is_warned("")], [None; 2], "there is another token");
}

#[test]
fn a_token_for_the_file_is_made_without_a_daemon_and_revoked_in_the_file() {
    let house = House::new("");
    let output = house.run(&["token", "new", "platform", "--project", "*", "--toml"]);
    assert!(output.status.success(), "{output:?}");
    let (section, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    let token = said.trim().rsplit(' ').next().unwrap();
    house.configure(&section);
    let daemon = house.start();
    assert_eq!([post(&daemon, "a", None), post(&daemon, "b", Some(token))], [401, 202]);
    let output = house.run(&["token", "revoke", "platform"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && message.contains("webhooks.toml:8"), "{message}");
    house.configure("");
    let words = format!("whoever is on this machine may post events to {} without one", daemon.address);
    assert!(house.json(&["reload", "--dry-run"])["warnings"][0].as_str().unwrap().ends_with(&words));
    assert!(post(&daemon, "c", None) == 401 && !house.log().contains(&words), "nothing was done");
    let warning = String::from_utf8(house.run(&["reload"]).stderr).unwrap();
    assert!(warning.starts_with("warning: ") && warning.contains("it was the last token") && warning.contains(&words), "{warning}");
    assert!(house.log().contains(&words));
    assert_eq!(post(&daemon, "c", None), 202);
    assert_eq!(house.json(&["reload"])["warnings"], json!([]), "it is told once");
}

#[test]
fn a_file_without_tokens_opens_nothing_while_there_is_another_token() {
    let house = House::new("");
    let section = house.run(&["token", "new", "platform", "--project", "*", "--toml"]).stdout;
    house.configure(&String::from_utf8(section).unwrap());
    let daemon = house.start();
    house.says(&["token", "new", "other", "--project", "*"]);
    house.configure("");
    assert_eq!(house.json(&["reload"])["warnings"], json!([]));
    assert_eq!(post(&daemon, "a", None), 401);
}

#[test]
fn the_configuration_is_shown_with_where_each_value_comes_from() {
    let house = House::new("[limits]\nmax_pending = 500\n");
    let daemon = house.start();
    let find = |values: &Value, section: &str, key: &str| {
        let found = values["values"].as_array().unwrap().iter().find(|value| value["section"] == section && value["key"] == key);
        found.cloned().unwrap()
    };
    let shown = house.json(&["config", "show"]);
    let limit = find(&shown, "limits", "max_pending");
    assert_eq!((&limit["value"], limit["source"].as_str().unwrap().ends_with("webhooks.toml:8")), (&json!(500), true), "{limit}");
    assert_eq!(find(&shown, "history", "keep")["source"], "default");
    assert_eq!(find(&shown, "server", "listen")["value"], json!(daemon.address.to_string()), "what it really is");
    house.configure("[limits]\nmax_pending = 600\nmax_connections = 7\n");
    house.says(&["reload"]);
    let shown = house.json(&["config", "show"]);
    assert_eq!(find(&shown, "limits", "max_pending")["value"], 600);
    let connections = find(&shown, "limits", "max_connections");
    assert!(
        connections["value"] == 4096 && connections["source"].as_str().unwrap().contains("says 7 and takes a restart"),
        "{connections}"
    );
    let text = house.says(&["config", "show"]);
    assert!(text.contains("[history]") && text.contains("max_size"), "{text}");
}

#[test]
fn every_change_is_in_the_log_with_who_made_it() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let _daemon = house.start();
    for arguments in
        [&["webhooks", "pause", "crm"][..], &["blacklist", "add", "shop.example.com", "a@example.com"], &["reload"], &["pause"]]
    {
        house.says(arguments);
    }
    let paused = house.json(&["webhooks", "show", "crm"]);
    assert!(paused["pauses"][0]["by"].as_str().unwrap().contains("uid "), "{paused}");
    exchange_with_socket(&house.path("admin.sock"), "DELETE", "/v1/nothing", "").unwrap();
    let log = house.log();
    for (path, status) in [
        ("POST /v1/webhooks/crm/pause", 200),
        ("POST /v1/blacklist/shop.example.com", 200),
        ("POST /v1/reload", 200),
        ("POST /v1/pause", 200),
        ("DELETE /v1/nothing", 404),
    ] {
        let line = log.lines().find(|line| line.contains(path)).unwrap_or_else(|| panic!("{path} is not in the log: {log}"));
        assert!(line.contains("uid ") && line.contains("pid=") && line.contains(&format!("status={status}")), "{line}");
    }
    assert!(!log.contains("GET /v1/webhooks/crm"));
}

#[test]
fn a_list_for_a_webhook_that_never_was_is_an_error_and_not_empty() {
    let house = House::new("");
    let _daemon = house.start();
    for command in ["list", "watch"] {
        let output = house.run(&["deliveries", command, "--webhook", "nope"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("there is no webhook nope, and there never was"));
    }
}
