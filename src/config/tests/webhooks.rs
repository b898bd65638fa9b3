//! `[[webhook]]` and `[delivery]`: what they take and what they refuse.

use super::*;
use crate::model::{Rate, RetryStep, Signing, WebhookSpec};

/// The webhook that `CRM` with these lines is, behind these sections.
#[track_caller]
fn webhook(sections: &str, lines: &str) -> WebhookSpec {
    good(&format!("{sections}{CRM}{lines}\n")).webhooks.remove(0)
}

/// The only mistake of `CRM` with one more line, which is the eighth, or with another value for one of its keys.
#[track_caller]
fn refused(line: &str) -> String {
    let (key, _) = line.split_once(" = ").unwrap();
    let without_key = CRM.lines().filter(|known| !known.starts_with(&format!("{key} = "))).collect::<Vec<_>>().join("\n");
    let all = mistakes(&format!("{without_key}\n{line}\n"));
    assert_eq!(all.lines().count(), 1, "{all}");
    all.split_once(": ").unwrap().1.to_owned()
}

#[test]
fn a_webhook_overrides_the_defaults_of_its_section() {
    let general = r#"[delivery]
timeout = "3s"
success = ["2xx", 304]
retry = [ {attempts = 2, every = "250ms"} ]
max_in_flight = 3
rate = "50/s"
ordered = true
[egress]
allow_networks = ["10.1.0.0/16"]
"#;
    let plain = webhook(general, "");
    assert_eq!((plain.timeout_ms, plain.max_in_flight, plain.ordered), (3000, 3, true));
    assert_eq!(plain.success, SuccessRule(vec![200..=299, 304..=304]));
    assert_eq!(plain.schedule.steps, [RetryStep { attempts: 2, interval_ms: 250 }]);
    assert_eq!(plain.rate, Some(Rate { count: 50, per_ms: 1000 }));

    let own = r#"
timeout = "5m"
success = [204]
retry = []
max_in_flight = 1
rate = "7/h"
ordered = false
paused = true
allow_networks = ["10.2.0.0/16", "10.1.0.0/16"]
headers = { "X-Tenant" = "42", "Authorization" = "Bearer a b" }
"#;
    let own = webhook(general, own);
    assert_eq!((own.timeout_ms, own.max_in_flight, own.ordered, own.paused), (300_000, 1, false, true));
    assert_eq!((own.success, own.schedule.attempts_total()), (SuccessRule(vec![204..=204]), 1));
    assert_eq!(own.rate, Some(Rate { count: 7, per_ms: 3_600_000 }));
    assert_eq!(own.allow_networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.0.0/16", "10.2.0.0/16"]);
    let headers = [("x-tenant", "42"), ("authorization", "Bearer a b")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(own.headers, headers);
}

#[test]
fn a_schedule_has_bounds() {
    let delivery = |line: &str| mistake("[delivery]", line);
    assert_eq!(good("[delivery]\nretry = [{attempts = 199, every = \"30d\"}]").webhooks.len(), 0);
    let many = "retry = [{attempts = 199, every = \"1s\"}, {attempts = 1, every = \"1s\"}]";
    assert_eq!(delivery(many), "9: retry: 201 attempts, the first included; at most 200 are possible");
    assert!(delivery("retry = [{attempts = 1, every = \"31d\"}]").contains("out of bounds: from \"1ms\" to \"30d\""));
    assert!(delivery("retry = [{attempts = 1, every = \"0s\"}]").contains("out of bounds"));
    assert!(delivery("retry = [{attempts = 1, evry = \"1s\"}]").ends_with("did you mean \"every\"?"));
    assert!(delivery("retry = [\"100s\"]").contains("a step of retry: expected a table"));
    assert!(delivery("retry = 3").contains("expected a list of steps"));
    assert!(delivery("rate = 50").contains("expected a rate"));
    assert!(mistakes(&format!("{CRM}orphan_grace = \"1h\"\n")).contains("unknown key \"orphan_grace\" in [[webhook]]"));
}

#[test]
fn success_is_statuses_and_classes() {
    for wrong in ["[100]", "[600]", "[\"1xx\"]", "[\"200\"]", "[\"2XX\"]", "[true]", "[-200]", "[99999]"] {
        let sentence = mistake("[delivery]", &format!("success = {wrong}"));
        assert!(sentence.starts_with("12: success: expected a status from 200 to 599"), "{sentence}");
    }
    assert!(mistake("[delivery]", "success = 200").contains("expected a list of statuses"));
    assert!(mistake("[delivery]", "success = []").contains("nothing would ever be delivered"));
}

#[test]
fn a_url_is_http_and_holds_nothing_that_is_not_sent() {
    for good_url in
        ["http://a.example", "HTTPS://a.example:8443/x?y=%20#".trim_end_matches('#'), "https://[2001:db8::1]/", "http://127.0.0.1:9000/"]
    {
        assert!(parse(&CRM.replace("https://crm.example.com/hooks/mail", good_url)).is_ok(), "{good_url}");
    }
    let url = |text: &str| refused(&format!("url = {text:?}"));
    assert!(url("crm.example.com/x").ends_with("it has to begin with \"http://\" or \"https://\""));
    assert!(url("htps://a.example").ends_with("found \"htps://\""));
    assert!(url("https:a.example").contains("has to begin"));
    assert!(url("https://user:pa55word@a.example/").contains("user name or password"));
    assert!(!url("https://user:pa55word@a.example/").contains("pa55word"));
    assert!(url("https://a.example/#x").contains("never sent"));
    assert!(url("https://a.example/a b").contains("white space"));
    assert!(url(" https://a.example/").starts_with("url: "));
    assert!(url("https://").starts_with("url: not a URL: "));
    assert!(url("https://a.example:99999/").starts_with("url: not a URL: "));
    let unheard_of = url("https://a{b.example/?key=hunter2");
    assert!(unheard_of.contains("can't be requested") && !unheard_of.contains("hunter2"), "{unheard_of}");
    assert!(url("https://a.example:0/").contains("port 0"));
    assert!(
        url("https://a.example:25/").contains("port 25 is not dialled") && url("https://a.example:25/").contains("allow_ports in [egress]")
    );
    for zone in ["https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[::1%lo]:8443/"] {
        assert!(url(zone).starts_with("url: not a URL: "), "{zone}");
    }
    assert!(url(&format!("https://a.example/{}", "x".repeat(2048))).contains("longer than 2048"));
}

#[test]
fn ports_of_other_services_are_exceptions_of_the_egress_and_sandboxes_are_on_the_listeners() {
    let with = |url: &str, egress: &str| format!("{egress}\n{CRM}").replace("https://crm.example.com/hooks/mail", url);
    assert_eq!(good(&with("https://crm.example.com:25/", "[egress]\nallow_ports = [587, 25]")).egress.allow_ports, [587, 25]);
    good(&with("http://127.0.0.1:88/sandbox/abcdefghijklmnopqrstuvwxyz234567", ""));
    for wrong in ["25", "[0]", "[65536]", "[\"smtp\"]"] {
        let told = mistakes(&with("https://crm.example.com/", &format!("[egress]\nallow_ports = {wrong}")));
        assert!(told.contains("allow_ports: expected"), "{told}");
    }
}

#[test]
fn require_https_refuses_http() {
    let text = format!("[egress]\nrequire_https = true\n{CRM}").replace("https:", "http:");
    assert_eq!(mistakes(&text), "webhooks.toml:8:7: url: [egress] require_https refuses \"http://\"; write \"https://\"");
}

#[test]
fn headers_are_http_and_none_of_those_that_hookwheel_sets() {
    let header = |name: &str, value: &str| refused(&format!("headers = {{ {name:?} = {value:?} }}"));
    let hop_by_hop =
        ["Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"];
    let own = [
        "Host",
        "content-length",
        "Content-Type",
        "Content-Encoding",
        "Expect",
        "HTTP2-Settings",
        "User-Agent",
        "Webhook-Id",
        "webhook-anything",
    ];
    for taken in hop_by_hop.into_iter().chain(own) {
        assert!(header(taken, "x").contains("can't be set here"), "{taken}");
    }
    assert!(header("hookwheel-attempt", "1").contains("can't be set here"));
    for wrong in ["", "X Tenant", "X:Y", "Ünicode"] {
        assert!(header(wrong, "x").contains("is not the name of an HTTP header"), "{wrong}");
    }
    for wrong in ["a\nb", "grün", " x", "x "] {
        assert!(header("x-a", wrong).contains("printable ASCII"), "{wrong:?}");
    }
    assert!(refused("headers = { x-a = \"\\u007f\" }").contains("printable ASCII"));
    assert!(!header("x-a", "confidential\n").contains("confidential"));
    assert!(refused("headers = { x-a = 42 }").ends_with("headers: \"x-a\": expected text in quotes"));
    assert!(refused("headers = [\"x\"]").contains("expected a table such as"));
    assert!(refused("headers = { X-A = \"1\", x-a = \"2\" }").contains("\"x-a\" is set twice"));
    let many = (0..33).map(|number| format!("x{number} = \"1\"")).collect::<Vec<_>>().join(", ");
    assert!(refused(&format!("headers = {{ {many} }}")).contains("33 of them; at most 32"));
    assert_eq!(webhook("", "headers.x-empty = \"\"").headers, [("x-empty".to_owned(), String::new())]);
}

#[test]
fn how_a_webhook_signs_is_said_by_its_secret_or_else_by_signing() {
    const PAIR: &str = "secret = \"whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==\"";
    assert_eq!(
        [webhook("", ""), webhook("", "signing = \"v1a\""), webhook("", PAIR)].map(|spec| spec.signing),
        [Signing::V1, Signing::V1a, Signing::V1a]
    );
    assert_eq!(webhook("", &format!("{PAIR}\nsigning = \"v1a\"")).signing, Signing::V1a);
    assert!(refused(&format!("{PAIR}\nsigning = \"v1\"")).contains("the secret of this webhook is one of v1a"));
    assert!(refused("signing = \"v2\"").contains("expected \"v1\" (HMAC-SHA256) or \"v1a\" (ed25519)"));
    assert!(refused("secret = \"whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=\"").contains("a public key"));
}

#[test]
fn events_are_selectors_that_match_something() {
    assert!(refused("events = []").contains("the list is empty"));
    assert!(refused("events = [5]").contains("found 5"));
    assert!(refused("events = [\"email\"]").contains("is not a selector"));
    assert!(refused("events = [\"emial.*\"]").ends_with("did you mean \"email.*\"?"));
    assert!(refused("events = [\"fax.*\"]").ends_with("matches no event type"));
    assert_eq!(webhook("", "").selectors.len(), 1);
}

#[test]
fn names_and_projects_have_their_form() {
    assert!(refused("title = \"\"").contains("found none"));
    assert!(refused("title = \"a\\nb\"").contains("one line"));
    assert!(refused(&format!("title = \"{}\"", "ä".repeat(201))).contains("at most 200 characters"));
    assert!(refused("project = \"localhost\"").contains("is not a project"));
    assert!(refused("paused = 1").contains("true or false"));
    assert!(refused("max_in_flight = 0").contains("from 1 to 8192"));
}

#[test]
fn an_id_belongs_to_one_webhook() {
    let expected = "webhooks.toml:10:6: id: \"crm\" is taken by the webhook at webhooks.toml:2; every webhook needs an id of its own";
    assert_eq!(mistakes(&format!("{CRM}{CRM}")), expected);
}

#[test]
fn every_webhook_knows_its_line() {
    let config = Config::parse(
        Path::new("/etc/hookwheel/webhooks.toml"),
        &format!("{CRM}{}", CRM.replace("\"crm\"", "\"b\"")),
        &Environment::default(),
    );
    let places = config.unwrap().webhooks.into_iter().map(|webhook| webhook.place.unwrap()).collect::<Vec<_>>();
    assert_eq!(places, ["/etc/hookwheel/webhooks.toml:2", "/etc/hookwheel/webhooks.toml:9"]);
}
