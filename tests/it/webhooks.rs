//! Webhooks of the admin socket, through the commands: what they do, what they refuse, and that it outlives the process. These tests never look into the data.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::daemon::{House, event, exchange_with_socket, until, webhook};
use crate::receivers::{Received, Receiver, ok};

fn add<'a>(id: &'a str, url: &'a str) -> Vec<&'a str> {
    vec!["webhooks", "add", "--id", id, "--title", id, "--project", "shop.example.com", "--url", url, "--events", "*"]
}

fn json_of(received: &Received) -> Value {
    serde_json::from_slice(&received.body).unwrap()
}

/// Exit code and message of a command that is refused.
fn refused(house: &House, arguments: &[&str]) -> (i32, String) {
    let output = house.run(arguments);
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn ids(house: &House) -> Vec<String> {
    house.json(&["webhooks", "list"]).as_array().unwrap().iter().map(|webhook| webhook["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_webhook_is_added_delivered_to_and_there_after_a_crash_and_a_rebuild_of_the_view() {
    let receiver = Receiver::new(ok);
    let house = House::new("");
    let daemon = house.start();
    let added = house.json(&[&add("crm", &receiver.url("/hooks"))[..], &["--header", "X-Tenant=42", "--retry", "2x1s"]].concat());
    let secret = added["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{added}");
    assert_eq!((&added["origin"], &added["attempts_total"], &added["headers"]), (&json!("admin"), &json!(3), &json!(["x-tenant"])));
    assert!(house.json(&["webhooks", "show", "crm"])["secret"].is_null(), "it is shown once");
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], 1);
    house.drained();
    let received = &receiver.received()[0];
    assert_eq!((received.path.as_str(), received.headers["x-tenant"].to_str().unwrap()), ("/hooks", "42"));
    daemon.kill();
    fs::remove_dir_all(house.path("data/view")).unwrap();
    let daemon = house.start();
    assert_eq!(ids(&house), ["crm"]);
    assert_eq!(daemon.post("application/json", event("b").as_bytes()).1["deliveries"], 1);
    house.drained();
    // The end of the first attempt may not have been on disk when the process was killed; then it is made again.
    let got = receiver.received().iter().map(|received| received.header("webhook-id").to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(got, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    assert_eq!(house.json(&["webhooks", "export", "--with-secrets"])[0]["secret"], secret, "the secret is the same");
    house.says(&["reload"]);
    assert_eq!(ids(&house), ["crm"], "a reload of the file leaves it alone");
}

#[test]
fn an_edit_changes_what_it_names_and_a_wrong_one_names_every_mistake() {
    let [old, new] = [(); 2].map(|()| Receiver::new(ok));
    let house = House::new("[delivery]\ntimeout = \"7s\"\n");
    let daemon = house.start();
    house.says(&[&add("crm", &old.url("/"))[..], &["--rate", "5/s"]].concat());
    let edited =
        house.json(&["webhooks", "edit", "crm", "--url", &new.url("/new"), "--events", "email.*,sms.status.delivered", "--unset", "rate"]);
    assert_eq!((&edited["rate"], &edited["timeout_ms"]), (&Value::Null, &json!(7000)), "defaults are those of the file: {edited}");
    assert_eq!(edited["events"], json!(["email.*", "sms.status.delivered"]));
    let (code, message) =
        refused(&house, &["webhooks", "edit", "crm", "--events", "email.statos.*", "--timeout", "10 parsecs", "--url", "ftp://x"]);
    assert!(
        code == 1 && ["events: ", "timeout: expected a duration", "expected \"http://\""].iter().all(|word| message.contains(word)),
        "{message}"
    );
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], 1);
    house.drained();
    assert_eq!((old.received().len(), new.received()[0].path.as_str()), (0, "/new"));
    assert_eq!(refused(&house, &["webhooks", "edit", "crm"]).0, 2);
    assert!(refused(&house, &["webhooks", "edit", "nope", "--url", "http://x/"]).1.contains("there is no webhook nope"));
}

#[test]
fn what_the_file_defines_is_edited_there_and_the_error_says_where() {
    let receiver = Receiver::new(ok);
    let house = House::new(&webhook("crm", &receiver.url("/"), ""));
    let _daemon = house.start();
    let place = format!("{}:7", house.path("webhooks.toml").display());
    for arguments in [
        vec!["webhooks", "edit", "crm", "--url", "http://127.0.0.1:1/"],
        vec!["webhooks", "remove", "crm", "--yes"],
        add("crm", "http://127.0.0.1:1/"),
    ] {
        let (code, message) = refused(&house, &arguments);
        assert!(code == 1 && message.contains(&place), "{arguments:?}: {message}");
    }
    house.says(&["webhooks", "pause", "crm"]);
    house.says(&["webhooks", "resume", "crm"]);
    assert!(house.says(&["webhooks", "test", "crm"]).contains("200 OK"));
    assert!(house.says(&["webhooks", "show", "crm"]).contains(&place));
    let exported = house.says(&["webhooks", "export", "crm"]);
    assert!(exported.contains("id = \"crm\"") && !exported.contains("whsec_"), "{exported}");
    assert_eq!(house.says(&["webhooks", "export"]), "", "what stands in the file need not be pasted there");
}

#[test]
fn removing_asks_first_cancels_what_is_pending_and_survives_a_restart() {
    let house = House::new("");
    let daemon = house.start();
    house.says(&[&add("crm", "http://127.0.0.1:1/")[..], &["--paused"]].concat());
    (0..3).for_each(|number| assert_eq!(daemon.post("application/json", event(&number.to_string()).as_bytes()).0, 202));
    let (code, message) = refused(&house, &["webhooks", "remove", "crm"]);
    assert!(code == 1 && message.contains("3 pending deliveries will be cancelled") && message.contains("--yes"), "{message}");
    assert_eq!(house.json(&["webhooks", "remove", "crm", "--yes"]), json!({ "id": "crm", "cancelled": 3 }));
    assert_eq!(house.drained()["counters"]["cancelled"], 3);
    assert_eq!(daemon.post("application/json", event("d").as_bytes()).1["deliveries"], 0);
    assert!(refused(&house, &["webhooks", "show", "crm"]).1.contains("the webhook crm was removed"));
    assert_eq!(house.json(&["deliveries", "list", "--webhook", "crm"])["deliveries"].as_array().unwrap().len(), 3, "history knows it");
    assert!(daemon.stop().success());
    let _daemon = house.start();
    assert!(ids(&house).is_empty());
    let mut elsewhere = add("crm", "http://127.0.0.1:1/");
    elsewhere[7] = "news.example.org";
    assert!(refused(&house, &elsewhere).1.contains("never used for something else"));
    house.says(&add("crm", "http://127.0.0.1:1/"));
    assert_eq!(ids(&house), ["crm"], "the same thing may come back");
}

#[test]
fn an_id_is_made_of_the_title_and_never_given_twice() {
    let house = House::new("");
    let _daemon = house.start();
    let nameless =
        |title| ["webhooks", "add", "--title", title, "--project", "shop.example.com", "--url", "http://127.0.0.1:1/", "--events", "*"];
    assert_eq!(house.json(&nameless("CRM sync"))["id"], "crm-sync");
    assert_eq!(house.json(&nameless("CRM sync"))["id"], "crm-sync-2");
    assert!(refused(&house, &add("crm-sync", "http://127.0.0.1:1/")).1.contains("there is a webhook crm-sync already"));
    let (code, message) = refused(&house, &["webhooks", "add", "--title", "CRM"]);
    assert!(code == 2 && message.contains("--project, --url, --events must be named"), "{message}");
}

#[test]
fn an_address_that_would_never_be_dialled_is_refused_at_once_and_a_name_that_is_not_found_is_told() {
    let house = House::new("");
    let _daemon = house.start();
    let (code, message) = refused(&house, &add("crm", "http://10.1.2.3/"));
    assert!(code == 1 && message.contains("a private or special address") && message.contains("allow_networks"), "{message}");
    house.says(&[&add("crm", "http://10.1.2.3/")[..], &["--allow-network", "10.1.2.0/24"]].concat());
    let output = house.run(&add("later", "http://name.invalid/"));
    assert!(output.status.success() && String::from_utf8(output.stderr).unwrap().contains("warning: "));
}

#[test]
fn a_test_shows_the_whole_exchange_and_leaves_no_trace() {
    let receiver = Receiver::new(|received| {
        let status = if json_of(received)["type"] == "email.status.bounced" { 500 } else { 200 };
        axum::response::Response::builder().status(status).header("x-seen-by", "receiver").body("hello".into()).unwrap()
    });
    let house = House::new("");
    let _daemon = house.start();
    house.says(&[&add("crm", &receiver.url("/hooks"))[..], &["--header", "Authorization=Bearer 12345"]].concat());
    let said = house.says(&["webhooks", "test", "crm"]);
    for words in [
        "> POST /hooks",
        "> webhook-signature: v1,",
        "> {\"type\":\"email.status.delivered\"",
        "< HTTP/1.1 200 OK",
        "< x-seen-by: receiver",
        "< hello",
        "first byte",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(said.contains("> authorization: …") && !said.contains("12345"), "{said}");
    house.says(&["webhooks", "pause", "crm"]);
    let output = house.run(&["webhooks", "test", "crm", "--type", "email.status.bounced"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the receiver answered 500"));
    let received = receiver.received();
    assert!(json_of(&received[1])["data"]["email"].is_string() && received[1].headers["webhook-id"].to_str().unwrap().starts_with("test_"));
    let status = house.json(&["status"]);
    assert_eq!((&status["counters"]["attempts"], &status["counters"]["accepted"], &status["pending"]), (&json!(0), &json!(0), &json!(0)));
    assert!(house.json(&["deliveries", "list"])["deliveries"].as_array().unwrap().is_empty());
    assert!(refused(&house, &["webhooks", "test", "crm", "--type", "email.status.bounce"]).1.contains("did you mean"));
}

#[test]
fn a_rotated_secret_signs_beside_the_old_one_over_a_restart_until_its_time_is_over() {
    let receiver = Receiver::new(ok);
    let house = House::new("");
    let daemon = house.start();
    let old = house.json(&add("crm", &receiver.url("/")))["secret"].clone();
    let rotated = house.json(&["webhooks", "rotate-secret", "crm"]);
    assert!(rotated["secret"] != old && rotated["old_secret_until"].is_string(), "{rotated}");
    assert!(daemon.stop().success());
    let daemon = house.start();
    daemon.post("application/json", event("a").as_bytes());
    house.drained();
    let signatures = |index: usize| receiver.received()[index].headers["webhook-signature"].to_str().unwrap().split(' ').count();
    assert_eq!(signatures(0), 2);
    assert!(house.says(&["webhooks", "show", "crm"]).contains("being rotated"));
    house.says(&["webhooks", "rotate-secret", "crm", "--grace", "1ms"]);
    until("the old secret is retired", || house.json(&["webhooks", "show", "crm"])["old_secret_until"].is_null().then_some(()));
    daemon.post("application/json", event("b").as_bytes());
    house.drained();
    assert_eq!(signatures(1), 1);
}

#[test]
fn an_export_can_be_pasted_into_the_file_which_takes_the_webhook_over() {
    let receiver = Receiver::new(ok);
    let house = House::new("");
    let daemon = house.start();
    house.says(&[&add("crm", &receiver.url("/"))[..], &["--paused", "--success", "200,2xx", "--header", "X-Tenant=42"]].concat());
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], 1);
    let exported = house.says(&["webhooks", "export", "--with-secrets"]);
    house.configure(&exported);
    let report = house.json(&["reload", "--dry-run"]);
    assert!(report["changes"][0].as_str().unwrap().starts_with("taken over crm: "), "{report}");
    house.says(&["reload"]);
    house.says(&["webhooks", "resume", "crm"]);
    house.drained();
    assert_eq!(receiver.received()[0].headers["x-tenant"], "42");
    assert_eq!(house.json(&["webhooks", "show", "crm"])["origin"], "file");
    house.configure("");
    house.says(&["reload"]);
    let orphan = house.json(&["webhooks", "show", "crm"]);
    assert_eq!(orphan["pauses"][0]["reason"], "orphaned", "{orphan}");
    let (_, message) = refused(&house, &["webhooks", "resume", "crm"]);
    assert!(message.contains("put it back there and reload"), "{message}");
    house.says(&["webhooks", "remove", "crm", "--yes"]);
    assert!(ids(&house).is_empty());
}

#[test]
fn a_configuration_that_makes_an_added_webhook_impossible_is_refused_and_a_start_under_it_goes_on_without() {
    let receiver = Receiver::new(ok);
    let house = House::new("");
    let daemon = house.start();
    house.says(&add("crm", &receiver.url("/")));
    let strict = "[egress]\nrequire_https = true\n[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nadmin_socket = \"admin.sock\"\n";
    fs::write(house.path("webhooks.toml"), strict).unwrap();
    let (code, message) = refused(&house, &["reload"]);
    assert!(code == 78 && message.contains("the webhook crm of the admin socket is not possible"), "{message}");
    assert_eq!(daemon.post("application/json", event("a").as_bytes()).1["deliveries"], 1, "nothing changed");
    house.drained();
    assert!(daemon.stop().success());
    let daemon = house.start();
    assert_eq!(daemon.post("application/json", event("b").as_bytes()).1["deliveries"], 0);
    let shown = house.json(&["webhooks", "show", "crm"]);
    assert!(shown["trouble"].as_str().unwrap().contains("require_https"), "{shown}");
    house.says(&["webhooks", "edit", "crm", "--url", "https://crm.example.invalid/"]);
    assert_eq!(daemon.post("application/json", event("c").as_bytes()).1["deliveries"], 1);
}

#[test]
fn the_socket_pages_creates_and_replaces() {
    let house = House::new("");
    let _daemon = house.start();
    let say =
        |method: &str, path: &str, body: &Value| exchange_with_socket(&house.path("admin.sock"), method, path, &body.to_string()).unwrap();
    for id in ["c", "a", "b"] {
        let body = json!({ "id": id, "title": id, "project": "shop.example.com", "url": "http://127.0.0.1:1/", "events": ["*"] });
        assert_eq!(say("POST", "/v1/webhooks", &body).0, 201);
    }
    let (_, page) = say("GET", "/v1/webhooks?limit=2", &Value::Null);
    assert_eq!((&page["webhooks"][0]["id"], &page["webhooks"][1]["id"], &page["next"]), (&json!("a"), &json!("b"), &json!("b")));
    let (_, rest) = say("GET", "/v1/webhooks?limit=2&after=b", &Value::Null);
    assert_eq!((&rest["webhooks"][0]["id"], &rest["next"]), (&json!("c"), &Value::Null));
    let body = json!({ "title": "new", "project": "shop.example.com", "url": "http://127.0.0.1:1/", "events": ["sms.*"], "ordered": true });
    assert_eq!(say("PUT", "/v1/webhooks/a", &body).0, 200);
    assert_eq!(say("PUT", "/v1/webhooks/d", &body).0, 201);
    let (status, problem) = say("PATCH", "/v1/webhooks/a", &json!({ "id": "z" }));
    assert!(status == 422 && problem["detail"].as_str().unwrap().contains("can't be changed"), "{problem}");
    assert_eq!(say("PATCH", "/v1/webhooks/a", &json!({ "ordered": null })).1["ordered"], false);
    assert_eq!(say("DELETE", "/v1/webhooks/nope", &Value::Null).0, 404);
    let log = house.log();
    assert!(log.contains("PUT /v1/webhooks/d") && log.contains(&format!("uid {}", rustix::process::getuid().as_raw())), "{log}");
}
