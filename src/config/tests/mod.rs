//! Tests of the whole room: from the text of a file to a checked configuration, or to every mistake in it.

mod files;
mod listener_tls;
mod sections;
mod webhooks;

use proptest::prelude::*;

use super::*;
use crate::model::{RetrySchedule, SuccessRule};

const EXAMPLE: &str = include_str!("../../../webhooks.toml");

/// A webhook without mistakes, to which a test adds lines.
const CRM: &str = r#"
[[webhook]]
id = "crm"
title = "CRM sync"
project = "shop.example.com"
url = "https://crm.example.com/hooks/mail"
events = ["*"]
"#;

fn parse(text: &str) -> Result<Config, Mistakes> {
    Config::parse(Path::new("webhooks.toml"), text, &Environment::default())
}

#[track_caller]
fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Every mistake of `text`, one a line.
#[track_caller]
fn mistakes(text: &str) -> String {
    parse(text).expect_err("there are mistakes in it").to_string()
}

/// The only mistake of a `line` under `header`, which stands in the second line.
#[track_caller]
fn mistake(header: &str, line: &str) -> String {
    let all = mistakes(&format!("{header}\n{line}\n"));
    assert_eq!(all.lines().count(), 1, "{all}");
    all.strip_prefix("webhooks.toml:2:").unwrap_or(&all).to_owned()
}

#[test]
fn the_example_parses_and_shows_the_defaults() {
    let (example, empty) = (good(EXAMPLE), good(""));
    assert_eq!(example.server, empty.server);
    assert_eq!(example.limits, empty.limits);
    assert_eq!(example.ingest, empty.ingest);
    assert_eq!(example.egress, empty.egress);
    assert_eq!(example.history, empty.history);
    assert_eq!(example.orphan_grace_ms, empty.orphan_grace_ms);
    assert_eq!((example.tokens.len(), example.catalog.types().len()), (0, 43));
    let [crm] = example.webhooks.as_slice() else { panic!("one webhook") };
    let [plain] = &good(CRM).webhooks[..] else { panic!("one webhook") };
    assert_eq!((&crm.id, &crm.title, &crm.project, &crm.url), (&plain.id, &plain.title, &plain.project, &plain.url));
    assert_eq!((crm.timeout_ms, &crm.success, &crm.schedule), (plain.timeout_ms, &plain.success, &plain.schedule));
    assert_eq!((crm.max_in_flight, crm.rate, crm.ordered, crm.paused), (plain.max_in_flight, None, false, false));
}

#[test]
fn what_the_example_has_in_comments_is_good_too() {
    let is_key = |line: &str| line.split_once('=').is_some_and(|(key, _)| key.trim().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
    let uncommented = EXAMPLE.lines().map(|line| match line.strip_prefix("# ") {
        // What these name would have to be there.
        Some(rest) if ["secret", "tls_", "key_file", "ca_file", "client_"].iter().any(|beginning| rest.starts_with(beginning)) => "",
        Some(rest) if rest.starts_with("[[") || is_key(rest) || rest.starts_with("sha256") => rest,
        _ => line,
    });
    let text = uncommented.collect::<Vec<_>>().join("\n").replace("\"…\"", &format!("\"{}\"", "0".repeat(64)));
    let text = text.replace("http://127.0.0.1:9000/", "https://127.0.0.1:9000/");
    let config = good(&text);
    assert_eq!((config.webhooks.len(), config.tokens.len(), config.catalog.types().len()), (3, 1, 44));
    assert!(config.egress.require_https && config.webhooks[0].ordered && config.webhooks[0].paused);
    assert_eq!(config.server.admin_socket, Path::new("/run/hookwheel/admin.sock"));
}

#[test]
fn an_empty_file_has_every_default() {
    let environment = Environment { is_root: true, ..Environment::default() };
    let config = Config::parse(Path::new("webhooks.toml"), "", &environment).unwrap();
    assert_eq!(config.path, Path::new("webhooks.toml"));
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8700");
    assert_eq!(config.server.admin_socket, Path::new("/run/hookwheel/admin.sock"));
    assert_eq!(config.server.data_dir, Path::new("/var/lib/hookwheel"));
    let limits = config.limits;
    assert_eq!((limits.max_in_flight, limits.max_pending, limits.max_pending_per_webhook), (1024, 10_000_000, 1_000_000));
    assert_eq!((limits.max_event_size, limits.max_connections), (65_536, 4096));
    assert_eq!((config.ingest.idempotency_ms, config.orphan_grace_ms), (86_400_000, 86_400_000));
    assert_eq!((config.history.keep_ms, config.history.max_size_bytes), (259_200_000, 10_737_418_240));
    assert_eq!(config.egress, EgressSettings { allow_networks: Vec::new(), allow_ports: Vec::new(), require_https: false });
    assert!(config.webhooks.is_empty() && config.tokens.is_empty());

    let crm = good(CRM).webhooks.remove(0);
    assert_eq!((crm.timeout_ms, crm.max_in_flight, crm.rate, crm.ordered, crm.paused), (10_000, 10, None, false, false));
    assert_eq!((crm.success, crm.schedule), (SuccessRule::default(), RetrySchedule::default()));
    assert_eq!((crm.secret, crm.headers.len(), crm.allow_networks.len()), (None, 0, 0));
    assert_eq!(crm.place.as_deref(), Some("webhooks.toml:2"));
}

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    let text = r#"[server]
listen = "127.0.0.1"
port = 8700

[delivery]
timeuot = "10s"
retry = [ {attempts = 0, every = "100s"}, {attempts = 3} ]

[[webhook]]
id = "CRM"
tittle = "CRM sync"
project = "shop.example.com"
url = "ftp://crm.example.com/"
events = ["email.*", "sms.status.deliverd"]

[[webhook]]
id = "müll"
project = 5
events = "*"
"#;
    let expected = r#"webhooks.toml:2:10: listen: expected an address and a port in quotes, such as "127.0.0.1:8700", found "127.0.0.1"
webhooks.toml:3:1: unknown key "port" in [server]; there are: admin_socket, data_dir, key_file, listen, tls_certificate_file, tls_key_file
webhooks.toml:6:1: unknown key "timeuot" in [delivery]; did you mean "timeout"?
webhooks.toml:7:23: attempts: expected a whole number from 1 to 200, found 0
webhooks.toml:7:43: a step of retry has no "every"
webhooks.toml:10:6: id: "CRM" is not a webhook id: expected 1 to 64 of a-z 0-9 -
webhooks.toml:11:1: unknown key "tittle" in [[webhook]]; did you mean "title"?
webhooks.toml:13:7: url: expected "http://" or "https://", found "ftp://"
webhooks.toml:14:22: events: unknown event type "sms.status.deliverd"; did you mean "sms.status.delivered"?
webhooks.toml:16:1: [[webhook]] has no "title"
webhooks.toml:16:1: [[webhook]] has no "url"
webhooks.toml:17:6: id: "müll" is not a webhook id: expected 1 to 64 of a-z 0-9 -
webhooks.toml:18:11: project: expected a domain in quotes, such as "shop.example.com", found 5
webhooks.toml:19:10: events: expected a list of event types, such as ["email.*", "sms.status.delivered"], found "*""#;
    assert_eq!(mistakes(text), expected);
}

#[test]
fn syntax_errors_come_together_with_the_other_mistakes() {
    let text = r#"[server]
listen "127.0.0.1:8700"
[delivery]
timeout = 10s
success = [200 201]
ordered =
[[webhook]]
id = "crm
tittle = "CRM sync"
"#;
    let expected = r#"webhooks.toml:2:8: expected `=` and a value behind this key
webhooks.toml:4:11: text needs quotes around it
webhooks.toml:5:12: text needs quotes around it
webhooks.toml:6:10: the value is missing
webhooks.toml:8:10: the closing quote is missing
webhooks.toml:9:1: unknown key "tittle" in [[webhook]]; did you mean "title"?"#;
    assert_eq!(mistakes(text), expected);
}

#[test]
fn behind_a_broken_header_only_syntax_is_told() {
    let text = "[limits]\nmax_pendign = 3\nserver]\nlisten = \"127.0.0.1:1\"\n[ingest\nfoo = 1\nbar = 2s\n";
    let expected = r#"webhooks.toml:2:1: unknown key "max_pendign" in [limits]; did you mean "max_pending"?
webhooks.toml:3:7: expected `=` and a value behind this key
webhooks.toml:5:8: the closing `]` of this table is missing
webhooks.toml:7:7: text needs quotes around it"#;
    assert_eq!(mistakes(text), expected);
}

#[test]
fn what_is_set_twice_is_told_where_it_is_set_again() {
    let text = "[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n[history]\n[server]\n";
    assert_eq!(mistakes(text), "webhooks.toml:3:1: this is set twice: listen\nwebhooks.toml:5:2: this is set twice: server");
}

#[test]
fn sections_have_their_form() {
    assert_eq!(mistakes("server = 5"), "webhooks.toml:1:10: [server]: expected a table, found 5");
    assert_eq!(mistakes("[webhook]"), "webhooks.toml:1:1: there can be several of these: write [[webhook]], with two brackets");
    assert_eq!(mistakes("webhook = 5"), "webhooks.toml:1:11: webhook: expected sections [[webhook]], found 5");
    assert_eq!(mistakes("webhook = [5]"), "webhooks.toml:1:12: [[webhook]]: expected a table, found 5");
    assert_eq!(mistakes("[[webhooks]]\nid = 5"), "webhooks.toml:1:3: unknown key \"webhooks\" in the file; did you mean \"webhook\"?");
    assert_eq!(mistakes("[[server]]"), "webhooks.toml:1:1: [server]: expected a table, found [[server]]");
}

#[test]
fn a_byte_order_mark_is_a_mistake_and_does_not_hide_others() {
    let expected = "webhooks.toml:1:1: the file begins with a byte order mark; save it as UTF-8 without one\n\
                    webhooks.toml:1:9: server: ";
    assert!(mistakes("\u{feff}server = 5").replace("1:10: [server]", "1:9: server").starts_with(expected));
}

#[test]
fn a_large_file_is_read_whether_it_is_good_or_garbage() {
    let many = (0..20_000).map(|number| CRM.replace("\"crm\"", &format!("\"crm-{number}\""))).collect::<String>();
    assert_eq!(good(&many).webhooks.len(), 20_000);
    let garbage = parse(&"a\n".repeat(200_000)).unwrap_err();
    assert_eq!((garbage.list.len(), garbage.untold), (1000, 199_000));
}

/// Pieces from which a text is made that is nearly a configuration.
fn nearly_a_configuration() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(EXAMPLE.lines().map(|line| format!("{line}\n")).collect::<Vec<_>>()),
        proptest::sample::select(vec![
            "[", "]", "{", "}", "=", ",", "\"", "'''", "\"\"\"", "\n", "\r", ".", "#", " ", "\u{feff}", "ä", "\\u", "-"
        ])
        .prop_map(str::to_owned),
        proptest::sample::select(vec![
            "webhook",
            "secret_file",
            "[[token]]\n",
            "1e9",
            "0x_",
            "1979-05-27",
            "retry = [{",
            "[a.b]\n",
            "a.b.c=1\n"
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in nearly_a_configuration()) {
        if let Err(mistakes) = parse(&text) {
            prop_assert!(!mistakes.list.is_empty());
            let lines = text.matches('\n').count() + 1;
            prop_assert!(mistakes.list.iter().filter_map(|mistake| mistake.position).all(|(line, column)| line <= lines && column >= 1));
        }
    }

    #[test]
    fn no_arbitrary_text_makes_it_panic(text in "\\PC{0,200}|[\\s\\S]{0,100}") {
        let _ = parse(&text);
    }
}
