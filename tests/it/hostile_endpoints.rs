//! A real daemon with one webhook for each way in which an endpoint can misbehave, and a healthy one beside them: each ends as documented, and what it costs is bounded.

use std::time::Duration;

use serde_json::Value;

use crate::daemon::{House, webhook_of};
use crate::hostile::{Hostile, Identity, LARGE_BODY, Misbehaviour};
use crate::receivers::{Receiver, ok};

/// So much longer an attempt may take on a machine that does many other things.
const SLACK_MS: u64 = 15_000;
const HEALTHY: usize = 300;

/// The classes in which an attempt may end. More than one, where it depends on who is faster.
fn expected(how: Misbehaviour) -> &'static [&'static str] {
    use Misbehaviour as How;
    match how {
        // The response is whole, or as long as it is read.
        How::EndlessBody | How::CompressedBomb | How::LengthTooShort | How::Http2EndlessBody => &["success"],
        // As much as is read fits into the window, and one byte is read beyond it: either it is made larger in time for that, or the stream is reset.
        How::WindowOverrun => &["success", "invalid_response"],
        How::Silence | How::SlowHeaders | How::SlowBody | How::EndlessInformational => &["response_timeout"],
        How::Http2Silence | How::ZeroWindow | How::ZeroStreams => &["response_timeout"],
        How::Http2SlowHeaders | How::Http2SlowBody | How::Http2EndlessInformational => &["response_timeout"],
        How::PingFlood | How::SettingsFlood => &["response_timeout"],
        How::HugeHeader | How::ManyHeaders | How::Http2HugeHeader | How::Http2ManyHeaders => &["invalid_response"],
        How::LengthNegative | How::LengthsTwo | How::Http09 | How::Garbage => &["invalid_response"],
        How::ContinuationFlood | How::EmptyDataFlood | How::HpackBomb | How::PushPromise | How::Http2Garbage => &["invalid_response"],
        // RST may come before connect(2) has told that the connection stands.
        How::ResetOnAccept => &["connection_closed", "connect_failed"],
        How::ResetAfterHeaders | How::HalfCloseOnAccept | How::HalfCloseAfterRequest => &["connection_closed"],
        How::GoAwayAtOnce | How::RefusedStream => &["connection_closed"],
        How::ResetMidRequest | How::ResetStreamMidRequest | How::NoErrorMidRequest => &["connection_closed"],
        How::ResetMidAnswer | How::HalfCloseMidAnswer | How::LengthTooLong => &["response_cut_short"],
        How::GoAwayMidAnswer | How::ResetStreamAfterHeaders => &["response_cut_short"],
        How::RedirectToMetadata => &["redirect"],
        How::HandshakeStall | How::HandshakeSlow => &["tls_timeout"],
        How::HandshakeGarbage => &["not_tls"],
        How::HandshakeReset => &["tls_failed"],
    }
}

/// What is taken of headers is read slowly in the end, and takes a second or two.
fn timeout_s(how: Misbehaviour) -> u64 {
    use Misbehaviour as How;
    if matches!(how, How::HugeHeader | How::ManyHeaders | How::Http2HugeHeader | How::Http2ManyHeaders) { 10 } else { 1 }
}

/// Two attempts each, so that the second meets whatever connection the first left behind.
fn short(how: Misbehaviour) -> String {
    format!("timeout = \"{}s\"\nretry = [ {{attempts = 1, every = \"100ms\"}} ]", timeout_s(how))
}

/// The project whose events a misbehaving endpoint gets.
fn project(how: Misbehaviour) -> &'static str {
    if how.wants_large_body() { "large.example.com" } else { "hostile.example.com" }
}

/// Each with a text of this length.
fn events(project: &str, count: usize, length: usize) -> String {
    let text = "x".repeat(length);
    let event = |number: usize| {
        format!("{{\"type\":\"email.status.delivered\",\"project\":\"{project}\",\"id\":\"e{number}\",\"data\":{{\"text\":\"{text}\"}}}}\n")
    };
    (0..count).map(event).collect()
}

/// A figure of `/metrics`.
fn metric(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}:\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// The attempts of the one delivery of a webhook.
fn attempts(house: &House, webhook: &str) -> Vec<Value> {
    let listed = house.json(&["deliveries", "list", "--webhook", webhook]);
    let id = listed["deliveries"][0]["id"].as_str().unwrap_or_else(|| panic!("{webhook}: {listed}")).to_owned();
    house.json(&["deliveries", "show", &id])["timeline"].as_array().unwrap().clone()
}

#[test]
fn each_misbehaviour_ends_as_documented_and_costs_the_others_nothing() {
    let identity = Identity::new();
    let servers = Misbehaviour::ALL.map(|how| (how, Hostile::new(how, &identity, Duration::ZERO, || ())));
    let receiver = Receiver::new(ok);
    let limits = "[limits]\nmax_event_size = \"512KiB\"\n".to_owned();
    let hostile = servers.iter().map(|(how, server)| webhook_of(project(*how), &how.name(), server.url(), &short(*how)));
    let healthy = webhook_of("healthy.example.com", "healthy", &receiver.url("/"), "");
    let house = House::new(&std::iter::once(limits).chain(hostile).chain([healthy]).collect::<String>());
    identity.write(&house.path("ca.pem"));
    let mut command = house.serve();
    command.env("SSL_CERT_FILE", house.path("ca.pem")).env_remove("SSL_CERT_DIR");
    let daemon = house.start_as(command);
    let (files_before, peak_before) = (metric(&daemon.get("/metrics"), "process_open_fds"), daemon.peak_bytes());

    for (project, count, length) in
        [("hostile.example.com", 1, 1), ("large.example.com", 1, LARGE_BODY), ("healthy.example.com", HEALTHY, 1)]
    {
        assert_eq!(daemon.post("application/x-ndjson", events(project, count, length).as_bytes()).0, 202);
    }
    house.drained();

    let mut wrong = Vec::new();
    for (how, _) in &servers {
        for attempt in attempts(&house, &how.name()) {
            let class = attempt["outcome"].as_str().unwrap();
            let took_ms = attempt["phases"]["total_us"].as_u64().unwrap() / 1000;
            if !expected(*how).contains(&class) || took_ms > timeout_s(*how) * 1000 + SLACK_MS {
                wrong.push(format!("{how:?} after {took_ms} ms: {attempt}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let attempt = &attempts(&house, "redirect-to-metadata")[0];
    assert!(attempt["sentence"].as_str().unwrap().contains("169.254.169.254/latest/meta-data/, which is not followed"), "{attempt}");
    let attempt = &attempts(&house, "compressed-bomb")[0];
    assert!(attempt["response"].as_str().unwrap().starts_with('\u{1f}'), "as it came: {attempt}");
    let got = receiver.received().iter().map(|one| one.header("webhook-id").to_owned()).collect::<std::collections::HashSet<_>>();
    assert_eq!(got.len(), HEALTHY, "the healthy one got everything");

    let grown_mib = (daemon.peak_bytes() - peak_before) >> 20;
    assert!(grown_mib < 128, "{grown_mib} MiB for {} hostile endpoints", servers.len());
    // Those of the healthy one, which are kept, and one for each attempt, some of which HTTP/2 leaves open for a while.
    let open = metric(&daemon.get("/metrics"), "process_open_fds") - files_before;
    assert!(open <= 16 + 2 * servers.len() as u64, "{open} connections");
    assert!(daemon.stop().success());
}

#[test]
fn the_readme_says_how_many_misbehaviours_there_are() {
    let ways = format!("in each of the {} ways that `tests/hostile` knows", Misbehaviour::ALL.len());
    assert!(include_str!("../../README.md").contains(&ways), "{ways}");
}
