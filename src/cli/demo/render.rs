//! How the demo looks: a line for each attempt, a table at the end, and what to try then. It never prints.

use super::super::sandbox;
use super::super::screen::{Screen, Tone, Toned, uncoloured};
use super::super::text::{measured, shortened};
use super::{Stage, Summary};
use crate::model::sandbox::{KeptBody, ReceivedRequest};
use crate::model::{DeliveryId, catalog};
use crate::time::UnixMillis;

/// Letters of the longest event type.
const TYPE_WIDTH: usize = 36;
/// Columns below which an attempt is told in fewer words.
const NARROW: u16 = 80;

/// What is about to be seen.
pub(super) fn opening(stage: &Stage<'_, '_>) -> String {
    let screen = &stage.output.screen;
    let listener = stage.channels.first().map_or("", |channel| channel.receiver.url.split("/sandbox/").next().unwrap_or_default());
    let headline =
        format!("hookwheel {} at {listener}: five webhooks, one for each channel, and their receivers", env!("CARGO_PKG_VERSION"));
    let rows = stage
        .channels
        .iter()
        .map(|channel| vec![(Tone::Label, catalog::channel_label(&channel.name)), uncoloured(channel.receiver.behaviour.to_string())]);
    format!(
        "{}\n\n{}\n{}\n\n",
        screen.paint(Tone::Good, &headline),
        screen.rows(rows.collect(), &[0], 2),
        screen.paint(
            Tone::Plain,
            "One event of every type follows. What fails is tried again after 1 s here; by default 15 times in seven hours."
        )
    )
}

/// One attempt, as its receiver saw it.
pub(super) fn attempt(request: &ReceivedRequest, began: UnixMillis, screen: &Screen) -> String {
    let elapsed_ms = request.received.since_ms(began);
    let is_success = request.answer.status.is_some_and(|status| status < 300);
    let (mark, tone) = if is_success { ("✓", Tone::Good) } else { ("↻", Tone::Waiting) };
    let answer = sandbox::answer(request).1;
    let short = answer.trim_start_matches("answered ").trim_end_matches(" the connection");
    let (answer, type_width) = if is_narrow(screen) { (short, 0) } else { (answer.as_str(), TYPE_WIDTH) };
    let which = if is_success && request.attempt == 1 { String::new() } else { format!(", attempt {}", request.attempt) };
    let time = format!("{:>3}.{:02} s", elapsed_ms / 1000, elapsed_ms % 1000 / 10);
    let pieces = [
        (Tone::Label, format!("{time}  ")),
        (tone, format!("{mark} ")),
        uncoloured(format!("{:type_width$}  ", event_type(request))),
        (tone, format!("{answer}{which}")),
        (Tone::Bad, if request.signature.valid == Some(true) { String::new() } else { format!(", {}", request.signature.detail) }),
    ];
    line(&pieces, screen)
}

fn is_narrow(screen: &Screen) -> bool {
    screen.width.is_some_and(|width| width < NARROW)
}

/// The table at the end.
pub(super) fn summary(summary: &Summary, screen: &Screen) -> String {
    let all_are_well = summary.delivered == summary.events && summary.valid_signatures == summary.attempts;
    let headline = format!(
        "{} of {} events delivered in {}, {} of them after retries; {} attempts, {} with a valid signature",
        summary.delivered,
        summary.events,
        measured(summary.duration_ms.saturating_mul(1000)),
        summary.delivered_after_retries,
        summary.attempts,
        if summary.valid_signatures == summary.attempts { "all".to_owned() } else { summary.valid_signatures.to_string() },
    );
    let rows = summary.channels.iter().map(|channel| {
        let tone = if channel.delivered == channel.events { Tone::Good } else { Tone::Bad };
        vec![
            uncoloured(catalog::channel_label(&channel.webhook)),
            uncoloured(channel.events.to_string()),
            (tone, channel.delivered.to_string()),
            uncoloured(channel.attempts.to_string()),
            uncoloured(measured(channel.longest_ms.saturating_mul(1000))),
            uncoloured(channel.receiver.as_str()),
        ]
    });
    let header = ["CHANNEL", "EVENTS", "DELIVERED", "ATTEMPTS", "LONGEST", "ITS RECEIVER"];
    // How the receivers behave was said at the start too.
    let columns = if is_narrow(screen) { header.len() - 1 } else { header.len() };
    let rows = rows.map(|row| row.into_iter().take(columns).collect::<Vec<_>>());
    let table = screen.table(&header[..columns], rows.collect(), &[0, 1, 2, 3, 4]);
    format!("\n{table}\n{}\n", screen.paint(if all_are_well { Tone::Good } else { Tone::Bad }, &headline))
}

/// What to try while it goes on. `tried_again` is a delivery that took several attempts.
pub(super) fn what_next(stage: &Stage<'_, '_>, tried_again: Option<DeliveryId>) -> String {
    let screen = &stage.output.screen;
    let program = program();
    let mut commands = vec![
        format!("export HOOKWHEEL_SOCKET={}", stage.place.socket().display()),
        format!("{program} status"),
        format!("{program} deliveries list"),
    ];
    commands.extend(tried_again.map(|id| format!("{program} deliveries show {id}")));
    commands
        .push(format!("{program} emit viber.message.clicked --project {} --data '{{\"phone\":\"+12025550143\"}}'", super::story::PROJECT));
    commands.push(format!("{program} sandbox watch \"Viber events\""));
    let commands = commands.iter().map(|command| format!("  {}\n", screen.paint(Tone::Label, command))).collect::<String>();
    let rows = stage
        .channels
        .iter()
        .map(|channel| vec![(Tone::Label, catalog::channel_label(&channel.name)), uncoloured(channel.receiver.url.as_str())]);
    format!(
        "\nIt goes on until Ctrl-C, and then nothing is left of it. In another terminal:\n\n{commands}\nWhat each receiver got, in a browser:\n\n{}\n",
        screen.rows(rows.collect(), &[0, 1], 2)
    )
}

/// How the user called this program, so that what is shown can be copied.
fn program() -> String {
    std::env::args().next().filter(|name| name.contains('/')).unwrap_or_else(|| "hookwheel".into())
}

fn event_type(request: &ReceivedRequest) -> String {
    let body = match &request.body {
        KeptBody::Text(text) => serde_json::from_str::<serde_json::Value>(text).ok(),
        KeptBody::Base64(_) => None,
    };
    let named = body.as_ref().and_then(|body| body["type"].as_str()).unwrap_or("(something else)");
    shortened(named, TYPE_WIDTH).into_owned()
}

/// Coloured pieces on one line, cut where the terminal ends.
fn line(pieces: &[Toned], screen: &Screen) -> String {
    let mut room = screen.width.map_or(usize::MAX, usize::from);
    let mut out = String::new();
    for (tone, text) in pieces {
        let length = text.chars().count();
        if room > 0 && !text.is_empty() {
            let shown = if length > room { shortened(text, room - 1) } else { text.as_str().into() };
            let (words, spaces) = shown.split_at(shown.trim_end().len());
            out.push_str(&screen.paint(*tone, words));
            out.push_str(spaces);
        }
        room = room.saturating_sub(length);
    }
    out.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::screen::PIPE;
    use super::*;

    fn request(attempt_number: u32, status: Option<u16>, retry_after_s: Option<u32>) -> ReceivedRequest {
        serde_json::from_value(json!({
            "number": 1, "received": "2026-11-23T10:00:01.234Z", "method": "POST", "target": "/", "headers": [],
            "body": "{\"type\":\"webpush.contact.desktop_unsubscribed\"}", "body_size": 1, "attempt": attempt_number,
            "signature": { "valid": true, "reason": "valid", "detail": "made with the secret of the webhook webpush" },
            "answer": { "status": status, "retry_after_s": retry_after_s }
        }))
        .unwrap()
    }

    #[test]
    fn an_attempt_is_one_line_that_says_how_it_went() {
        let lines = [request(1, Some(200), None), request(1, Some(503), Some(2)), request(2, None, None), request(3, Some(200), None)]
            .map(|request| attempt(&request, PIPE.now, &PIPE));
        insta::assert_snapshot!(lines.concat(), @"
          1.23 s  ✓ webpush.contact.desktop_unsubscribed  answered 200
          1.23 s  ↻ webpush.contact.desktop_unsubscribed  answered 503, Retry-After 2 s, attempt 1
          1.23 s  ↻ webpush.contact.desktop_unsubscribed  dropped the connection, attempt 2
          1.23 s  ✓ webpush.contact.desktop_unsubscribed  answered 200, attempt 3
        ");
    }

    #[test]
    fn a_line_never_breaks_in_a_narrow_terminal_coloured_or_not() {
        for width in [1, 10, 20, 44, 50, 60, 200] {
            let narrow = Screen { width: Some(width), ..PIPE };
            let plain = attempt(&request(2, None, None), PIPE.now, &narrow);
            assert!(plain.trim_end().chars().count() <= usize::from(width), "{width}: {plain}");
            let coloured = attempt(&request(2, None, None), PIPE.now, &Screen { colour: true, ..narrow });
            let mut bare = coloured.clone();
            for code in ["\u{1b}[0m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[36m"] {
                bare = bare.replace(code, "");
            }
            assert_eq!(bare.trim_end(), plain.trim_end());
        }
    }

    #[test]
    fn a_narrow_terminal_is_told_the_status_first_of_all() {
        let narrow = Screen { width: Some(56), ..PIPE };
        insta::assert_snapshot!(attempt(&request(1, Some(503), Some(2)), PIPE.now, &narrow), @"  1.23 s  ↻ webpush.contact.desktop_unsubscribed  503, …");
    }

    #[test]
    fn a_bad_signature_stands_out() {
        let mut bad = request(1, Some(200), None);
        bad.signature =
            serde_json::from_value(json!({ "valid": false, "reason": "wrong_secret", "detail": "made with another secret" })).unwrap();
        assert!(attempt(&bad, PIPE.now, &PIPE).contains("made with another secret"));
    }
}
