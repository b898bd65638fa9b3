//! `webhooks test`: a sample event, and everything that was said on both sides. It fails when the receiver did not take it.

use serde_json::json;

use super::arguments::Test;
use crate::cli::Output;
use crate::cli::client::{Body, Client};
use crate::cli::deliveries;
use crate::cli::failure::Failure;
use crate::cli::screen::{Screen, Tone};
use crate::cli::text::plain;
use crate::model::OutcomeClass;
use crate::model::report::TestReport;

/// `webhooks test`
pub(super) fn test(arguments: &Test, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let body = Body::json(&json!({ "type": arguments.event_type }));
    let report = daemon.post::<TestReport>(&format!("/v1/webhooks/{}/test", arguments.webhook.id), Some(body))?;
    if !report.wanted && !output.json {
        output.remark(&format!("note: {} does not want {}; it was sent all the same", report.webhook, report.event_type));
    }
    output.show(&report, render)?;
    match report.outcome {
        OutcomeClass::Success => Ok(()),
        _ => Err(Failure::Refused(report.sentence)),
    }
}

fn render(report: &TestReport, screen: &Screen) -> String {
    let mut text = String::new();
    if !report.request.line.is_empty() {
        text.push_str(&half(">", &report.request.line, &report.request.headers, &report.request.body, screen));
    }
    if let Some(response) = &report.response {
        text.push('\n');
        text.push_str(&half("<", &response.line, &response.headers, &response.body, screen));
    }
    let tone = if report.outcome == OutcomeClass::Success { Tone::Good } else { Tone::Bad };
    text.push_str(&format!("\n{}\n{}", screen.paint(tone, &report.sentence), deliveries::render_phases(0, &report.phases)));
    if let Some(remote) = &report.remote {
        text.push_str(&format!("  spoke to    {}\n", plain(remote)));
    }
    text
}

fn half(mark: &str, line: &str, headers: &[(String, String)], body: &str, screen: &Screen) -> String {
    let margin = format!("{mark} ");
    let mut text = format!("{margin}{}\n", screen.paint(Tone::Label, line));
    for (name, value) in headers {
        text.push_str(&format!("{margin}{}: {}\n", plain(name), plain(value)));
    }
    if !body.is_empty() {
        text.push_str(&format!("{mark}\n{}", screen.quoted(&margin, body)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::screen::PIPE;

    #[test]
    fn the_exchange_is_shown_whole() {
        let report = serde_json::from_value::<TestReport>(json!({
            "webhook": "crm", "type": "email.status.bounced", "wanted": true,
            "request": { "line": "POST /hooks", "headers": [["host", "crm.example.com"], ["webhook-id", "test_1"]], "body": "{\"type\":1}" },
            "response": { "line": "HTTP/1.1 500 Internal Server Error", "headers": [["x", "\u{1b}[2J"]], "body": "no\nno" },
            "outcome": "status", "sentence": "the receiver answered 500 Internal Server Error", "remote": "203.0.113.9:443",
            "phases": { "dns_us": null, "connect_us": 20_000, "tls_us": null, "first_byte_us": 130_000, "total_us": 150_000 }
        }));
        insta::assert_snapshot!(render(&report.unwrap(), &PIPE), @r#"
        > POST /hooks
        > host: crm.example.com
        > webhook-id: test_1
        >
        > {"type":1}

        < HTTP/1.1 500 Internal Server Error
        < x: ␛[2J
        <
        < no
        < no

        the receiver answered 500 Internal Server Error
          connect     ━━━━━                                     20.0 ms
          first byte       ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  130 ms
          spoke to    203.0.113.9:443
        "#);
    }
}
