//! The sections that there is one of, `[[token]]` and `[[event_type]]`: what they take and what they refuse.

use super::*;
use crate::limits;
use crate::model::{Project, TokenScope};

#[test]
fn every_setting_is_taken_from_the_file() {
    let config = good(
        r#"
[server]
listen = "[::1]:0"
admin_socket = "run/admin.sock"
data_dir = "/srv/hookwheel"
[limits]
max_in_flight = 64
max_pending = 0x1000
max_pending_per_webhook = 4_096
max_event_size = "1MiB"
max_connections = 10
[ingest]
idempotency = "10m"
[egress]
allow_networks = ["10.1.2.0/24", "fd00::/8"]
require_https = true
[history]
keep = "7d"
max_size = "512MiB"
[delivery]
orphan_grace = "0s"
"#,
    );
    assert_eq!(config.server.listen.to_string(), "[::1]:0");
    assert_eq!(config.server.admin_socket, Path::new("run/admin.sock"));
    assert_eq!(config.server.data_dir, Path::new("/srv/hookwheel"));
    let limits = config.limits;
    assert_eq!((limits.max_in_flight, limits.max_pending, limits.max_pending_per_webhook), (64, 4096, 4096));
    assert_eq!((limits.max_event_size, limits.max_connections), (1 << 20, 10));
    assert_eq!(config.ingest.idempotency_ms, 600_000);
    assert_eq!(config.egress.allow_networks.len(), 2);
    assert!(config.egress.require_https);
    assert_eq!((config.history.keep_ms, config.history.max_size_bytes), (7 * 86_400_000, 512 << 20));
    assert_eq!(config.orphan_grace_ms, 0);
}

#[test]
fn numbers_have_bounds() {
    let limit = |line: &str| mistake("[limits]", line);
    assert_eq!(limit("max_in_flight = 0"), "17: max_in_flight: expected a whole number from 1 to 8192, found 0");
    assert_eq!(limit("max_in_flight = 8193"), "17: max_in_flight: expected a whole number from 1 to 8192, found 8193");
    assert!(limit("max_pending = 100_000_001").ends_with("found 100_000_001"));
    assert!(limit("max_pending = -1").ends_with("found -1"));
    assert!(limit("max_pending = 1.5").ends_with("found 1.5"));
    assert!(limit("max_pending = 99999999999999999999999999999999999999999").contains("from 1 to 100000000"));
    assert!(limit("max_pending_per_webhook = 10_000_001").contains("from 1 to 10000000"));
    assert!(limit("max_connections = \"10\"").ends_with("found \"10\""));
    assert_eq!(limit("max_event_size = \"2MiB\""), "18: max_event_size: \"2MiB\" is out of bounds: from \"1B\" to \"1MiB\"");
    assert!(limit("max_event_size = 65536").starts_with("18: max_event_size: expected a size in quotes"));
}

#[test]
fn a_smaller_total_lowers_the_limit_of_each_webhook() {
    assert_eq!(good("[limits]\nmax_pending = 1000").limits.max_pending_per_webhook, 1000);
}

#[test]
fn durations_have_their_form_and_bounds() {
    assert!(mistake("[ingest]", "idempotency = 24").starts_with("15: idempotency: expected a duration in quotes"));
    assert!(mistake("[ingest]", "idempotency = \"24\"").ends_with("found \"24\""));
    assert!(mistake("[history]", "keep = \"4000d\"").ends_with("out of bounds: from \"0ms\" to \"3650d\""));
    assert!(mistake("[history]", "max_size = \"10GB\"").ends_with("did you mean \"10GiB\"?"));
    assert!(mistake("[delivery]", "timeout = \"301s\"").ends_with("out of bounds: from \"1ms\" to \"5m\""));
    assert!(mistake("[egress]", "require_https = \"yes\"").ends_with("expected true or false, found \"yes\""));
}

#[test]
fn addresses_and_sockets_have_their_form() {
    let server = |line: &str| mistake("[server]", line);
    assert!(server("listen = \":8700\"").ends_with("every address of this machine is \"0.0.0.0:8700\""));
    assert!(server("listen = \"localhost:8700\"").ends_with("did you mean \"127.0.0.1:8700\"?"));
    assert!(server("listen = 8700").ends_with("found 8700"));
    assert!(server("data_dir = \"\"").starts_with("12: data_dir: expected a path"));
    assert!(server("data_dir = \"~/data\"").contains("not expanded"));
    let long = "x".repeat(limits::SOCKET_PATH_LENGTH_MAX);
    assert!(server(&format!("admin_socket = \"/{long}\"")).ends_with("makes a path of 108 bytes; a Unix socket's has at most 107"));
    assert_eq!(good(&format!("[server]\nadmin_socket = \"{long}\"")).server.admin_socket, Path::new(&long));
}

#[test]
fn a_listener_that_others_can_reach_needs_a_token() {
    let open = "[server]\nlisten = \"0.0.0.0:8700\"\n";
    let expected = "webhooks.toml:2:10: listen: 0.0.0.0:8700 can be reached from other machines, which needs at least one [[token]]; \
                    `hookwheel token new NAME --project DOMAIN --toml` makes one";
    assert_eq!(mistakes(open), expected);
    let token = format!("[[token]]\nname = \"platform\"\nsha256 = \"{}\"\nprojects = [\"*\"]\n", "aB".repeat(32));
    let config = good(&format!("{open}{token}"));
    assert!(!config.server.is_loopback());
    assert_eq!(config.tokens[0].sha256, [0xab; 32]);
    for loopback in ["127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        assert!(good(&format!("[server]\nlisten = \"{loopback}\"")).server.is_loopback(), "{loopback}");
    }
}

#[test]
fn networks_are_never_names() {
    assert!(
        mistake("[egress]", "allow_networks = [\"crm.internal\"]").starts_with("19: allow_networks: \"crm.internal\" is not a network")
    );
    assert!(mistake("[egress]", "allow_networks = [ \"10.1.2.3/24\" ]").starts_with("20: allow_networks: \"10.1.2.3/24\" has bits"));
    assert!(mistake("[egress]", "allow_networks = \"10.0.0.0/8\"").contains("expected a list of networks"));
    assert!(mistake("[egress]", "allow_networks = [10]").ends_with("found 10"));
}

#[test]
fn tokens_have_a_name_a_hash_and_projects() {
    let hash = "0123456789abcdef".repeat(4);
    let config = good(&format!("[[token]]\nname = \"a\"\nsha256 = \"{hash}\"\nprojects = [\"Shop.Example.com\", \"müller.example\"]\n"));
    let projects = ["shop.example.com", "müller.example"].map(|text| Project::parse(text).unwrap()).to_vec();
    assert_eq!(config.tokens[0].scope, TokenScope::Projects(projects));

    let text = format!(
        "[[token]]\nname = \"\"\nsha256 = \"hw_secret_token\"\nprojects = []\n[[token]]\n\
         name = \"b\"\nsha256 = \"{hash}\"\nprojects = [\"*\", \"shop\"]\n[[token]]\nname = \"b\"\nsha256 = \"{hash}\"\nprojects = [\"*\"]\n"
    );
    let expected = r#"webhooks.toml:2:8: name: expected some text, found none
webhooks.toml:3:10: sha256: expected 64 hexadecimal digits in quotes, as `printf %s TOKEN | sha256sum` prints them; the token itself does not belong here
webhooks.toml:4:12: projects: the list is empty; "*" stands for every project
webhooks.toml:8:13: projects: "*" stands for every project; write it alone
webhooks.toml:8:18: projects: "shop" is not a project: expected a domain such as shop.example.com
webhooks.toml:9:1: this [[token]] has the name or the sha256 of the one at webhooks.toml:5; each needs its own"#;
    assert_eq!(mistakes(&text), expected);
    assert!(mistakes("[[token]]").contains("[[token]] has no \"sha256\""));
}

#[test]
fn own_event_types_join_the_catalogue_and_can_be_selected() {
    let own = "[[event_type]]\ntype = \"whatsapp.status.delivered\"\nlabel = \"Message is delivered\"\n";
    let config = good(&format!("{}{own}", CRM.replace("[\"*\"]", "[\"whatsapp.*\"]")));
    let added = config.catalog.get("whatsapp.status.delivered").unwrap();
    assert_eq!(
        (added.channel.as_str(), added.group.as_str(), added.label.as_str()),
        ("Whatsapp", "Message Status", "Message is delivered")
    );

    let event_type = |line: &str| mistakes(&format!("[[event_type]]\nlabel = \"x\"\n{line}\n"));
    assert!(event_type("type = \"email.status.bounced\"").ends_with("1:1: the event type email.status.bounced exists already"));
    assert!(event_type("type = \"whatsapp\"").starts_with("webhooks.toml:3:8: type: \"whatsapp\" is not an event type"));
    assert!(event_type("description = 5").contains("webhooks.toml:3:15: description: expected"));
}
