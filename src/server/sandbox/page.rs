//! What a sandbox received, as a page for a browser. It loads nothing from elsewhere, runs no script but its own, and shows nothing that was received but as text.
//!
//! It works without its script too: then it is a list that stays as it is until it is loaded again. Its policy (CSP) allows exactly the one script and the one style
//! that are part of it, by their hashes.

use std::fmt::Write as _;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use axum::http::HeaderValue;
use data_encoding::BASE64;

use crate::limits;
use crate::model::sandbox::{ReceivedPage, ReceivedRequest, SandboxSummary};
use crate::time::UnixMillis;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = |text: &str| BASE64.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    HeaderValue::from_str(&policy).expect("base64 and the words above are visible ASCII")
});

/// Changes whenever the page does.
pub(super) fn entity_tag(summary: &SandboxSummary) -> String {
    format!("\"{}-{}-{}\"", summary.created.0, summary.received, summary.webhooks.len())
}

/// What a browser is told to allow the page: `Content-Security-Policy`.
pub(super) fn policy() -> HeaderValue {
    POLICY.clone()
}

/// The page: the newest request on top.
pub(super) fn document(summary: &SandboxSummary, received: &ReceivedPage, now: UnixMillis) -> String {
    let title = if summary.title.is_empty() { "Sandbox" } else { &summary.title };
    let mut list = received.requests.iter().rev().map(|request| article(request, now)).collect::<String>();
    if list.is_empty() {
        list = empty(summary);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title} · hookwheel</title>\n<style>{STYLE}</style>\n</head>\n<body data-tag=\"{tag}\">\n\
         <h1>{title}</h1>\n{about}<main id=\"requests\">{list}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        title = escaped(title),
        tag = escaped(&entity_tag(summary)),
        about = about(summary),
    )
}

fn about(summary: &SandboxSummary) -> String {
    let from = match summary.webhooks.as_slice() {
        [] if summary.has_secret => "signatures are checked with the secret that it was given".to_owned(),
        [] => "no webhook points here".to_owned(),
        webhooks => format!("receives from {}", webhooks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    let kept = match summary.received {
        0 => "nothing received yet".to_owned(),
        received if received > summary.kept => format!("{received} received, the newest {} kept", summary.kept),
        received => format!("{received} received"),
    };
    format!(
        "<p class=\"about\" id=\"about\"><code>{}</code><br>{} · {} · {} · <span id=\"live\">load again to see more</span></p>\n",
        escaped(&summary.url),
        escaped(&summary.behaviour.to_string()),
        escaped(&from),
        escaped(&kept)
    )
}

fn empty(summary: &SandboxSummary) -> String {
    let url = escaped(&summary.url);
    format!(
        "<div class=\"empty\"><p>Send something here, or let a webhook point here:</p><pre>curl -d '{{\"hello\":\"world\"}}' {url}</pre>\
         <pre>[[webhook]]\nid      = \"try-out\"\ntitle   = \"Sandbox\"\nproject = \"shop.example.com\"\nurl     = \"{url}\"\nevents  = [\"*\"]</pre></div>"
    )
}

fn article(request: &ReceivedRequest, now: UnixMillis) -> String {
    let mut html = String::new();
    let verdict = match request.signature.valid {
        Some(true) => ("good", "signature valid"),
        Some(false) => ("bad", "signature not valid"),
        None => ("wait", "signature not checked"),
    };
    let answer = match request.answer.status {
        Some(status) if status < 300 => ("good", format!("answered {status}")),
        Some(status) => ("bad", format!("answered {status}")),
        None => ("bad", "dropped the connection".to_owned()),
    };
    let at = request.received;
    // Writing to a String succeeds.
    let _ = write!(
        html,
        "<article id=\"request-{number}\"><header><span class=\"number\">#{number}</span><b>{method}</b><code>{target}</code><span>attempt {attempt}</span>\
         <span class=\"{tone}\">{answer}</span><time datetime=\"{at}\" title=\"{at}\">{shown}</time></header>\
         <p class=\"verdict\"><span class=\"{verdict_tone}\">{verdict}</span>: {detail}</p>",
        number = request.number,
        method = escaped(&request.method),
        target = escaped(&request.target),
        attempt = request.attempt,
        tone = answer.0,
        answer = answer.1,
        shown = time(at, now),
        verdict_tone = verdict.0,
        verdict = verdict.1,
        detail = escaped(&request.signature.detail),
    );
    if request.body_size > 0 {
        let _ = write!(html, "<pre>{}</pre>", escaped(&request.body.pretty()));
    }
    let kept = request.body.length() as u64;
    if kept < request.body_size {
        let _ = write!(html, "<p class=\"cut\">the first {kept} of {} bytes</p>", request.body_size);
    }
    let rows = request.headers.iter().map(|(name, value)| format!("<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value)));
    let _ = write!(html, "<details><summary>{} headers</summary><table>{}</table>", request.headers.len(), rows.collect::<String>());
    if request.headers_left_out > 0 {
        let most = limits::SANDBOX_HEADERS_KEPT_MAX / 1024;
        let _ = write!(html, "<p class=\"cut\">{} more were left out: only {most} KiB of headers are kept</p>", request.headers_left_out);
    }
    html.push_str("</details></article>\n");
    html
}

/// The time of day where it is today's, UTC.
fn time(at: UnixMillis, now: UnixMillis) -> String {
    let (at, now) = (at.to_string(), now.to_string());
    match (at.split_once('T'), now.split_once('T')) {
        (Some((day, time)), Some((today, _))) if day == today => time.trim_end_matches('Z').to_owned() + " UTC",
        _ => at,
    }
}

/// Text that is nothing but text, between tags as well as in an attribute in double quotes. Controls that no page may hold are shown as their pictures.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(letter),
            '\u{0}'..='\u{1f}' => out.push(char::from_u32(0x2400 + u32::from(letter)).unwrap_or(char::REPLACEMENT_CHARACTER)),
            '\u{7f}'..='\u{9f}' => out.push(char::REPLACEMENT_CHARACTER),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SandboxToken;
    use crate::model::sandbox::{Behaviour, KeptBody, SandboxAnswer, SignatureReason, SignatureVerdict};

    const EVIL: &str = "</pre></style></script><script>alert(1)</script><img src=x onerror=\"alert('2')\">\u{0}&amp;";

    fn page(evil: &str, requests: usize) -> String {
        let summary = SandboxSummary {
            token: SandboxToken::from_random([7; 20]),
            url: "http://127.0.0.1:8700/sandbox/x".into(),
            title: evil.to_owned(),
            created: UnixMillis(0),
            behaviour: Behaviour::default(),
            received: 7,
            kept: 7,
            last_received: None,
            has_secret: false,
            webhooks: Vec::new(),
        };
        let request = ReceivedRequest {
            number: 7,
            received: UnixMillis(1_795_428_000_000),
            method: evil.to_owned(),
            target: evil.to_owned(),
            headers: vec![(evil.to_owned(), evil.to_owned())],
            headers_left_out: 2,
            body: KeptBody::Text(evil.to_owned()),
            body_size: 100_000,
            attempt: 3,
            signature: SignatureVerdict::new(SignatureReason::WrongSecret, evil),
            answer: SandboxAnswer { status: None, retry_after_s: None },
        };
        document(&summary, &ReceivedPage { requests: vec![request; requests], last: 7 }, UnixMillis(1_795_428_001_000))
    }

    #[test]
    fn what_was_received_is_shown_and_never_becomes_markup() {
        let (hostile, tame) = (page(EVIL, 1), page("tame", 1));
        for markup in ["<", ">", "\"", "'"] {
            assert_eq!(
                hostile.matches(markup).count(),
                tame.matches(markup).count(),
                "{markup} of a request must not reach the page as it is"
            );
        }
        assert!(
            hostile.contains("&lt;script&gt;alert(1)") && hostile.contains("onerror=&quot;alert(&#39;2&#39;)&quot;&gt;␀&amp;amp;"),
            "{hostile}"
        );
        assert!(!hostile.contains('\u{0}'));
    }

    #[test]
    fn nothing_is_loaded_from_elsewhere_and_the_policy_names_exactly_what_is_there() {
        let html = page("x", 0);
        for word in ["src=", "href=", "@import", "url(", "https://", "onload", "style="] {
            assert!(!html.contains(word), "{word}");
        }
        assert_eq!((html.matches("<script>").count(), html.matches("<style>").count()), (1, 1));
        assert!(!SCRIPT.contains("innerHTML") && !SCRIPT.contains("</script") && !STYLE.contains("</style"));
        let policy = POLICY.to_str().unwrap();
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert!(html.contains("curl -d"), "an empty sandbox says how to use it");
    }

    #[test]
    fn a_request_says_how_it_was_signed_answered_and_cut() {
        let html = page("x", 1);
        for words in
            ["signature not valid", "dropped the connection", "attempt 3", "of 100000 bytes", "10:00:00.000 UTC", "2 more were left out"]
        {
            assert!(html.contains(words), "{words}: {html}");
        }
    }
}
