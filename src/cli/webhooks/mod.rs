//! `webhooks`: who gets what, and whether it is being sent. It never prints a secret but the one that the daemon shows once.

pub(super) mod arguments;
mod change;
mod dialogue;
mod trial;

use self::arguments::Webhooks;
use super::Output;
use super::client::Client;
use super::failure::Failure;
use super::screen::{Screen, Tone, Toned, uncoloured};
use super::text::{counted, measured, relative};
use crate::limits::COMMAND_PAGE_MAX;
use crate::model::report::{WebhookDetail, WebhookPage, WebhookSettings, WebhookSummary};
use crate::model::{Origin, Pause, PauseReason, Signing, WebhookId};

/// Carries out one of the commands.
pub(super) fn webhooks(command: &Webhooks, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        Webhooks::List => output.show(&list_all(daemon)?, |webhooks, screen| render_list(webhooks, screen)),
        Webhooks::Show(webhook) => show(&webhook.id, daemon, output),
        Webhooks::Add(add) => change::add(add, daemon, output),
        Webhooks::Edit(edit) => change::edit(edit, daemon, output),
        Webhooks::Remove(remove) => change::remove(remove, daemon, output),
        Webhooks::Pause(webhook) => set_paused(&webhook.id, true, daemon, output),
        Webhooks::Resume(webhook) => set_paused(&webhook.id, false, daemon, output),
        Webhooks::Test(test) => trial::test(test, daemon, output),
        Webhooks::RotateSecret(rotate) => change::rotate_secret(rotate, daemon, output),
        Webhooks::Export(export) => change::export(export, daemon, output),
    }
}

/// Every webhook, page by page.
fn list_all(daemon: &Client) -> Result<Vec<WebhookSummary>, Failure> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let mut page = daemon.get::<WebhookPage>(&format!("/v1/webhooks?limit={COMMAND_PAGE_MAX}{after}"))?;
        all.append(&mut page.webhooks);
        match page.next {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(all),
        }
    }
}

fn show(id: &WebhookId, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let webhook = daemon.get::<WebhookDetail>(&format!("/v1/webhooks/{id}"))?;
    output.show(&webhook, render_detail)
}

/// `webhooks pause` and `webhooks resume`
fn set_paused(id: &WebhookId, paused: bool, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let verb = if paused { "pause" } else { "resume" };
    let webhook = daemon.post::<WebhookSummary>(&format!("/v1/webhooks/{id}/{verb}"), None)?;
    output.show(&webhook, render_pauses)
}

/// In a word or two, whether a webhook's deliveries go out.
pub(super) fn state(webhook: &WebhookSummary) -> Toned {
    let reasons = webhook.pauses.iter().map(|pause| match pause.reason {
        PauseReason::Configured => "in its definition",
        PauseReason::Operator => "by hand",
        PauseReason::Gone => "its receiver answered 410",
        PauseReason::Orphaned => "no longer in the file",
    });
    let reasons = reasons.collect::<Vec<_>>();
    if !reasons.is_empty() {
        return (Tone::Waiting, format!("paused: {}", reasons.join(", ")));
    }
    match &webhook.trouble {
        Some(trouble) => (Tone::Bad, format!("failing: {trouble}")),
        None => (Tone::Good, "ok".into()),
    }
}

fn render_list(webhooks: &[WebhookSummary], screen: &Screen) -> String {
    if webhooks.is_empty() {
        return "there are no webhooks yet: `hookwheel webhooks add`, or a [[webhook]] in webhooks.toml and `hookwheel reload`\n".into();
    }
    let rows = webhooks.iter().map(|webhook| {
        vec![
            uncoloured(webhook.id.as_str()),
            uncoloured(webhook.project.as_str()),
            uncoloured(webhook.events.join(", ")),
            uncoloured(webhook.url.as_str()),
            uncoloured(webhook.pending.to_string()),
            state(webhook),
        ]
    });
    screen.table(&["WEBHOOK", "PROJECT", "EVENTS", "URL", "PENDING", "STATE"], rows.collect(), &[0, 4])
}

fn render_detail(webhook: &WebhookDetail, screen: &Screen) -> String {
    let summary = &webhook.summary;
    let origin = match summary.origin {
        Origin::File => summary.place.clone().unwrap_or_else(|| "no file any more".into()),
        Origin::Admin => "the admin socket".into(),
    };
    let mut facts = vec![
        ("state", state(summary)),
        ("project", uncoloured(summary.project.as_str())),
        ("url", uncoloured(summary.url.as_str())),
        ("events", uncoloured(summary.events.join(", "))),
        ("defined in", uncoloured(origin)),
        ("queue", uncoloured(format!("{} pending, {} of {} in flight", summary.pending, summary.in_flight, summary.window))),
        (
            "since start",
            uncoloured(format!(
                "{} delivered, {}, {} dropped",
                summary.delivered,
                counted(summary.failed_attempts, "failed attempt", "failed attempts"),
                summary.dropped
            )),
        ),
    ];
    facts.extend(webhook.settings.iter().flat_map(settings));
    if let Some(key) = &webhook.public_key {
        facts.push(("public key", uncoloured(key.as_str())));
    }
    if let Some(until) = webhook.old_secret_until {
        facts.push(("secret", uncoloured(format!("being rotated: the old one signs, too, until {until}"))));
    }
    let mut text = format!(
        "{}  {}\n{}",
        screen.paint(Tone::Label, summary.id.as_str()),
        screen.paint(Tone::Plain, &summary.title),
        screen.facts(facts)
    );
    text.extend(summary.pauses.iter().map(|pause| format!("\n{}\n", pause_sentence(pause, screen))));
    if let Some(secret) = &webhook.secret {
        let warning = screen.paint(Tone::Waiting, "This secret is shown once, now. Keep it where the receiver checks signatures:");
        text.push_str(&format!("\n{warning}\n  {}\n", screen.paint(Tone::Plain, secret)));
    }
    text
}

fn settings(settings: &WebhookSettings) -> Vec<(&'static str, Toned)> {
    let mut facts = vec![
        ("success", uncoloured(settings.success.as_str())),
        ("time-out", uncoloured(measured(settings.timeout_ms.saturating_mul(1000)))),
        ("attempts", uncoloured(schedule(settings))),
        ("at once", uncoloured(lane_limits(settings))),
    ];
    if settings.signing == Signing::V1a {
        facts.push(("signing", uncoloured("v1a (ed25519): the receiver needs the public key and no secret")));
    }
    if !settings.headers.is_empty() {
        facts.push(("headers", uncoloured(settings.headers.join(", "))));
    }
    if !settings.allow_networks.is_empty() {
        facts.push(("may dial", uncoloured(settings.allow_networks.join(", "))));
    }
    if let Some(file) = &settings.ca_file {
        facts.push(("trusts", uncoloured(format!("{file}, besides the system's authorities"))));
    }
    if let Some(file) = &settings.client_certificate_file {
        let key = settings.client_key_file.as_deref().unwrap_or_default();
        facts.push(("shows", uncoloured(format!("{file}, with the key in {key}"))));
    }
    facts
}

/// `16 in all: the first, then 3 × 100 s, 6 × 600 s, 6 × 3600 s`
fn schedule(webhook: &WebhookSettings) -> String {
    let mut steps: Vec<(u64, u64)> = Vec::new();
    for interval_ms in &webhook.retry_intervals_ms {
        match steps.last_mut() {
            Some((count, last_ms)) if last_ms == interval_ms => *count += 1,
            _ => steps.push((1, *interval_ms)),
        }
    }
    let steps = steps
        .into_iter()
        .map(|(count, interval_ms)| format!("{count} × {}", measured(interval_ms.saturating_mul(1000))))
        .collect::<Vec<_>>();
    if steps.is_empty() {
        return webhook.attempts_total.to_string();
    }
    format!("{} in all: the first, then {}", webhook.attempts_total, steps.join(", "))
}

fn lane_limits(webhook: &WebhookSettings) -> String {
    let rate = webhook.rate.as_ref().map(|rate| format!(", at most {rate}")).unwrap_or_default();
    if webhook.ordered { format!("1, in order{rate}") } else { format!("{}{rate}", webhook.max_in_flight) }
}

fn pause_sentence(pause: &Pause, screen: &Screen) -> String {
    screen.paint(Tone::Waiting, &format!("{pause} ({})", relative(pause.since, screen.now)))
}

fn render_pauses(webhook: &WebhookSummary, screen: &Screen) -> String {
    let waiting = counted(webhook.pending, "delivery", "deliveries");
    if webhook.pauses.is_empty() {
        return screen.paint(Tone::Good, &format!("{} is sending; {waiting} pending", webhook.id)) + "\n";
    }
    let headline = format!("{} sends nothing; {waiting} pending", webhook.id);
    let pauses = webhook.pauses.iter().map(|pause| format!("  {}\n", pause_sentence(pause, screen))).collect::<String>();
    format!("{}\n{pauses}", screen.paint(Tone::Waiting, &headline))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::screen::PIPE;
    use super::*;

    fn webhook() -> WebhookDetail {
        serde_json::from_value(json!({
            "id": "crm", "title": "CRM \u{1b}[31msync", "project": "shop.example.com", "url": "https://crm.example.com/hooks/mail",
            "events": ["email.*", "sms.status.delivered"], "origin": "file", "place": "webhooks.toml:12", "pauses": [],
            "pending": 12, "in_flight": 3, "window": 5, "delivered": 120, "failed_attempts": 1, "dropped": 0, "trouble": null,
            "timeout_ms": 10_000, "success": "200", "attempts_total": 16, "max_in_flight": 10, "rate": "50/s", "ordered": false,
            "retry_intervals_ms": [100_000, 100_000, 100_000, 600_000, 600_000, 3_600_000],
            "headers": ["x-tenant"], "allow_networks": [], "client_certificate_file": "/etc/crm.pem", "client_key_file": "/etc/crm.key", "secret": "whsec_c2VjcmV0"
        }))
        .unwrap()
    }

    fn paused() -> WebhookSummary {
        let pause = json!({ "reason": "gone", "since": "2026-11-23T09:55:00Z", "by": "receiver" });
        WebhookSummary { pauses: vec![serde_json::from_value(pause).unwrap()], ..webhook().summary }
    }

    #[test]
    fn a_list_has_one_line_a_webhook() {
        let trouble = WebhookSummary { trouble: Some("connection refused".into()), ..webhook().summary };
        insta::assert_snapshot!(render_list(&[webhook().summary, paused(), trouble], &PIPE), @"
        WEBHOOK  PROJECT           EVENTS                         URL                                 PENDING  STATE
        crm      shop.example.com  email.*, sms.status.delivered  https://crm.example.com/hooks/mail  12       ok
        crm      shop.example.com  email.*, sms.status.delivered  https://crm.example.com/hooks/mail  12       paused: its receiver answered 410
        crm      shop.example.com  email.*, sms.status.delivered  https://crm.example.com/hooks/mail  12       failing: connection refused
        ");
        assert!(render_list(&[], &PIPE).contains("[[webhook]]"));
    }

    #[test]
    fn one_webhook_is_shown_whole_with_the_secret_that_is_given_once() {
        insta::assert_snapshot!(render_detail(&webhook(), &PIPE), @"
        crm  CRM ␛[31msync
          state        ok
          project      shop.example.com
          url          https://crm.example.com/hooks/mail
          events       email.*, sms.status.delivered
          defined in   webhooks.toml:12
          queue        12 pending, 3 of 5 in flight
          since start  120 delivered, 1 failed attempt, 0 dropped
          success      200
          time-out     10.0 s
          attempts     16 in all: the first, then 3 × 100 s, 2 × 600 s, 1 × 3600 s
          at once      10, at most 50/s
          headers      x-tenant
          shows        /etc/crm.pem, with the key in /etc/crm.key

        This secret is shown once, now. Keep it where the receiver checks signatures:
          whsec_c2VjcmV0
        ");
        assert!(!render_detail(&WebhookDetail { secret: None, ..webhook() }, &PIPE).contains("secret"));
        let orphan =
            WebhookDetail { settings: None, secret: None, summary: WebhookSummary { place: None, ..webhook().summary }, ..webhook() };
        let text = render_detail(&orphan, &PIPE);
        assert!(text.contains("no file any more") && !text.contains("attempts  "), "{text}");
    }

    #[test]
    fn a_pause_says_why_and_since_when() {
        insta::assert_snapshot!(render_pauses(&paused(), &PIPE), @"
        crm sends nothing; 12 deliveries pending
          paused because its receiver answered 410 Gone, since 2026-11-23T09:55:00.000Z, by receiver (5 min ago)
        ");
        insta::assert_snapshot!(render_pauses(&webhook().summary, &PIPE), @"crm is sending; 12 deliveries pending");
    }
}
