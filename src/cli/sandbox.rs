//! `sandbox`: test receivers at URLs of the daemon's own, and what they get. It never receives anything itself.

use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use hyper::body::Bytes;

use super::Output;
use super::client::{Answer, Body, Client, NoAnswer};
use super::failure::Failure;
use super::screen::{Screen, Tone, Toned, uncoloured};
use super::text::{counted, json_line, plain, relative};
use crate::limits::SANDBOX_WAIT_MAX_MS;
use crate::model::SandboxToken;
use crate::model::sandbox::{Behaviour, NewSandbox, ReceivedPage, ReceivedRequest, SandboxSummary, Script};

/// What can be done with sandboxes.
#[derive(Debug, Subcommand)]
pub(super) enum Sandbox {
    /// Make a test receiver, and print its URL
    ///
    /// Every request to the URL is kept, the newest 500, over restarts of the daemon too. Open it in a browser to see them, or `hookwheel sandbox watch`. A webhook may point at it
    /// without an exception for its network.
    New(New),
    /// List the test receivers
    #[command(after_help = "Example:\n  hookwheel sandbox list --json")]
    List,
    /// Show what a test receiver got last, and then whatever comes
    ///
    /// Goes on until Ctrl-C, over a restart of the daemon too.
    Watch(Watch),
    /// Remove a test receiver and everything that it got
    #[command(after_help = "Example:\n  hookwheel sandbox remove 5hj2kq")]
    Remove(Named),
}

/// How a new sandbox answers.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel sandbox new                                     answers 200 to everything
  hookwheel sandbox new --fail-first 2                      500, 500, and then 200 to each delivery
  hookwheel sandbox new --fail-first 1 --retry-after 5s     503 with Retry-After, and then 200
  hookwheel sandbox new --status 410 --title gone           always 410
  hookwheel sandbox new --drop --fail-first 1               closes the first connection without an answer
  hookwheel sandbox new --delay 15s                         answers when the time-out has passed

Attempts are told apart by the header hookwheel-attempt; for other senders, by how often a webhook-id came before.")]
pub(super) struct New {
    /// What to call it
    #[arg(long, value_name = "TEXT", default_value = "")]
    title: String,
    /// Answer with this status [default: 200]; with --fail-first, one of 300 and above is what fails
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,
    /// Wait before every answer, up to 60s
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    delay: Option<u64>,
    /// Fail the first N attempts of each delivery, with 500 unless told otherwise, and succeed then
    #[arg(long, value_name = "N", default_value_t = 0)]
    fail_first: u32,
    /// Close the connection instead of answering: always, or with --fail-first for what fails
    #[arg(long)]
    drop: bool,
    /// Ask, with a failure, to be tried again no sooner than this
    #[arg(long, value_name = "TIME", value_parser = whole_seconds)]
    retry_after: Option<u32>,
    /// Check signatures with this secret (whsec_…), or this public key (whpk_…) [default: that of the webhook that points here]
    #[arg(long, value_name = "WHSEC")]
    secret: Option<String>,
}

/// What is watched, and for how long.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel sandbox watch                            the only one there is
  hookwheel sandbox watch 5hj2kq --last 0
  hookwheel sandbox watch --json --count 1           wait for one request and end")]
pub(super) struct Watch {
    /// The sandbox: its token or the beginning of it, its URL or its title [default: the only one there is]
    #[arg(value_name = "SANDBOX")]
    sandbox: Option<String>,
    /// Begin with so many of those that came before
    #[arg(long, value_name = "N", default_value_t = 10)]
    last: u16,
    /// End after so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A sandbox, named.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The sandbox: its token or the beginning of it, its URL or its title
    #[arg(value_name = "SANDBOX")]
    sandbox: String,
}

/// Carries out one of the commands.
pub(super) fn sandbox(command: &Sandbox, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        Sandbox::New(new) => {
            let made = make(&wanted(new)?, daemon)?;
            output.show(&made, |made, _| format!("{}\n", plain(&made.url)))?;
            if !output.json {
                output.remark(&format!(
                    "{}; see what it gets in a browser, or with `hookwheel sandbox watch {}`",
                    made.behaviour,
                    short(&made.token)
                ));
            }
            Ok(())
        }
        Sandbox::List => output.show(&all(daemon)?, |all, screen| render_list(all, screen)),
        Sandbox::Watch(watch) => follow(watch, daemon, output),
        Sandbox::Remove(named) => {
            let found = find(Some(&named.sandbox), daemon)?;
            let path = format!("/v1/sandboxes/{}", found.token);
            let removed = answered(daemon.call(Method::DELETE, &path, None), daemon)?.read::<SandboxSummary>()?;
            output.show(&removed, |removed, _| {
                format!("removed {}, and {}\n", plain(&removed.url), counted(removed.kept, "request", "requests"))
            })
        }
    }
}

/// Makes a sandbox.
pub(super) fn make(new: &NewSandbox, daemon: &Client) -> Result<SandboxSummary, Failure> {
    let json = serde_json::to_vec(new)?;
    daemon.post("/v1/sandboxes", Some(Body::Json(Bytes::from(json))))
}

/// What a sandbox received behind the request of that number.
pub(super) fn received(token: &SandboxToken, after: u64, daemon: &Client) -> Result<ReceivedPage, Failure> {
    daemon.get(&format!("/v1/sandboxes/{token}/requests?after={after}"))
}

fn wanted(new: &New) -> Result<NewSandbox, Failure> {
    let New { title, status, delay, fail_first, drop, retry_after, secret } = new;
    let (status, fail_first, drop, retry_after_s) = (*status, *fail_first, *drop, *retry_after);
    let script = Script { status, delay_ms: delay.unwrap_or(0), fail_first, drop, retry_after_s };
    let behaviour = Behaviour::try_from(script).map_err(Failure::Usage)?;
    Ok(NewSandbox { title: title.clone(), behaviour, secret: secret.clone() })
}

fn all(daemon: &Client) -> Result<Vec<SandboxSummary>, Failure> {
    daemon.get("/v1/sandboxes")
}

/// The sandbox that somebody means.
fn find(named: Option<&str>, daemon: &Client) -> Result<SandboxSummary, Failure> {
    choose(named, all(daemon)?).map_err(Failure::Refused)
}

fn choose(named: Option<&str>, mut all: Vec<SandboxSummary>) -> Result<SandboxSummary, String> {
    if all.is_empty() {
        return Err("there are no sandboxes yet; `hookwheel sandbox new` makes one".into());
    }
    if let Some(named) = named {
        // A whole URL, perhaps with something below it.
        let named_token = named.find("/sandbox/").and_then(|at| SandboxToken::of_path(&named[at..])).map(|(token, _)| token);
        let is_meant = |one: &SandboxSummary| {
            let begins = named.len() >= 4 && one.token.as_str().starts_with(named);
            begins || one.title == named || named_token.as_ref() == Some(&one.token)
        };
        all.retain(is_meant);
    }
    match (all.len(), named) {
        (1, _) => Ok(all.swap_remove(0)),
        (0, _) => Err(format!("there is no sandbox {:?}; `hookwheel sandbox list` shows them all", named.unwrap_or_default())),
        (count, Some(named)) => Err(format!("{named:?} may be any of {count} sandboxes; name more letters of the token")),
        (count, None) => Err(format!("there are {count} sandboxes; name one of them, as `hookwheel sandbox list` shows it")),
    }
}

fn follow(watch: &Watch, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let found = find(watch.sandbox.as_deref(), daemon)?;
    let path = format!("/v1/sandboxes/{}/requests", found.token);
    if !output.json {
        output.remark(&format!("{} {}; Ctrl-C ends", found.url, found.behaviour));
    }
    let mut page = daemon.get::<ReceivedPage>(&format!("{path}?limit={}", watch.last))?;
    let mut left = watch.count.unwrap_or(u64::MAX);
    let mut is_gone = false;
    loop {
        for request in &page.requests {
            output.screen.now = crate::time::wall_now();
            let text = if output.json { format!("{}\n", json_line(request)?) } else { render_request(request, &output.screen) };
            output.print(&text)?;
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
        let next = format!("{path}?after={}&wait_ms={SANDBOX_WAIT_MAX_MS}", page.last);
        match daemon.call(Method::GET, &next, None) {
            Ok(answer) => {
                page = answer.read()?;
                is_gone = false;
            }
            // What comes meanwhile is kept by whoever receives it, so nothing is missed by asking again.
            Err(NoAnswer::NotSent(why) | NoAnswer::Unclear(why)) => {
                if !is_gone {
                    output.remark(&format!("the daemon does not answer ({why}); waiting for it"));
                }
                (is_gone, page.requests) = (true, Vec::new());
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    }
}

fn answered(answer: Result<Answer, NoAnswer>, daemon: &Client) -> Result<Answer, Failure> {
    answer.map_err(|no| daemon.failure(no))
}

fn short(token: &SandboxToken) -> &str {
    &token.as_str()[..8]
}

fn render_list(all: &[SandboxSummary], screen: &Screen) -> String {
    if all.is_empty() {
        return "there are no sandboxes yet: `hookwheel sandbox new` makes one\n".into();
    }
    let rows = all.iter().map(|one| {
        let webhooks = one.webhooks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        vec![
            uncoloured(one.token.as_str()),
            uncoloured(one.title.as_str()),
            uncoloured(one.behaviour.to_string()),
            uncoloured(webhooks),
            uncoloured(one.received.to_string()),
            uncoloured(one.last_received.map(|at| relative(at, screen.now)).unwrap_or_default()),
        ]
    });
    let table = screen.table(&["SANDBOX", "TITLE", "BEHAVIOUR", "WEBHOOKS", "RECEIVED", "LAST"], rows.collect(), &[0]);
    let base = all[0].url.trim_end_matches(all[0].token.as_str());
    format!("{table}\neach receives at {}SANDBOX\n", plain(base))
}

/// A received request, whole.
fn render_request(request: &ReceivedRequest, screen: &Screen) -> String {
    let answer = answer(request);
    let headline = format!("#{} {} {}", request.number, request.method, target(&request.target));
    let mut text = format!("{}  {}\n", screen.paint(Tone::Label, &headline), screen.paint(answer.0, &answer.1));
    let mut facts = vec![
        ("received", uncoloured(format!("{}, {}", relative(request.received, screen.now), request.received))),
        ("attempt", uncoloured(request.attempt.to_string())),
        ("signature", signature(request)),
    ];
    facts.extend(request.headers.iter().map(|(name, value)| (name.as_str(), uncoloured(value.as_str()))));
    text.push_str(&screen.facts(facts));
    if request.headers_left_out > 0 {
        text.push_str(&format!("  and {}\n", counted(u64::from(request.headers_left_out), "header more", "headers more")));
    }
    if request.body_size > 0 {
        text.push_str(&screen.quoted("    ", &request.body.pretty()));
    }
    if (request.body.length() as u64) < request.body_size {
        text.push_str(&format!("    … of {} bytes\n", request.body_size));
    }
    text + "\n"
}

/// What the sandbox did, in a word or two.
pub(super) fn answer(request: &ReceivedRequest) -> Toned {
    let retry_after = request.answer.retry_after_s.map(|seconds| format!(", Retry-After {seconds} s")).unwrap_or_default();
    match request.answer.status {
        None => (Tone::Bad, "dropped the connection".into()),
        Some(status) if status < 300 => (Tone::Good, format!("answered {status}{retry_after}")),
        Some(status) => (Tone::Bad, format!("answered {status}{retry_after}")),
    }
}

fn signature(request: &ReceivedRequest) -> Toned {
    let (tone, word) = match request.signature.valid {
        Some(true) => (Tone::Good, "valid"),
        Some(false) => (Tone::Bad, "not valid"),
        None => (Tone::Waiting, "not checked"),
    };
    (tone, format!("{word}: {}", request.signature.detail))
}

/// The path without most of the token, which is the same in every line.
fn target(target: &str) -> String {
    let path = target.split('?').next().unwrap_or_default();
    match SandboxToken::of_path(path) {
        Some((token, _)) => target.replacen(token.as_str(), &format!("{}…", short(&token)), 1),
        None => target.to_owned(),
    }
}

/// `2s`, `500ms`, `1m`.
pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a time: expected such as 500ms, 2s or 1m");
    let span = text.parse::<jiff::SignedDuration>().map_err(|_| wrong())?;
    u64::try_from(span.as_millis()).map_err(|_| wrong())
}

fn whole_seconds(text: &str) -> Result<u32, String> {
    let milliseconds = milliseconds(text)?;
    let seconds = u32::try_from(milliseconds / 1000).ok().filter(|_| milliseconds.is_multiple_of(1000));
    seconds.ok_or_else(|| format!("{text:?}: Retry-After has whole seconds, such as 5s"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::screen::PIPE;
    use super::*;

    fn summary(first: char, title: &str) -> SandboxSummary {
        let token = first.to_string().repeat(32);
        serde_json::from_value(json!({
            "token": token, "url": format!("http://127.0.0.1:8700/sandbox/{token}"), "title": title, "created": "2026-11-23T09:00:00Z",
            "behaviour": { "fail_first": 1 }, "received": 7, "kept": 7, "last_received": "2026-11-23T09:59:00Z", "has_secret": false, "webhooks": ["crm"]
        }))
        .unwrap()
    }

    #[test]
    fn a_sandbox_is_meant_by_token_beginning_url_or_title() {
        let all = || vec![summary('a', "one"), summary('b', "two")];
        let url = summary('b', "").url;
        for named in ["bbbb", &"b".repeat(32), "two", &url, &format!("{url}/below?x=1")] {
            assert_eq!(choose(Some(named), all()).unwrap().title, "two", "{named}");
        }
        assert_eq!(choose(None, vec![summary('a', "one")]).unwrap().title, "one");
        for (named, expected) in [(Some("cccc"), "no sandbox \"cccc\""), (Some("b"), "no sandbox"), (None, "there are 2")] {
            let error = choose(named, all()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(choose(Some("one"), vec![summary('a', "one"), summary('b', "one")]).unwrap_err().contains("any of 2"));
        assert!(choose(None, Vec::new()).unwrap_err().contains("sandbox new"));
    }

    #[test]
    fn a_list_has_one_line_a_sandbox() {
        insta::assert_snapshot!(render_list(&[summary('a', "try-\u{1b}out")], &PIPE), @"
        SANDBOX                           TITLE     BEHAVIOUR                                   WEBHOOKS  RECEIVED  LAST
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  try-␛out  fails attempt 1 with 500, then answers 200  crm       7         60 s ago

        each receives at http://127.0.0.1:8700/sandbox/SANDBOX
        ");
        assert!(render_list(&[], &PIPE).contains("sandbox new"));
    }

    #[test]
    fn a_request_is_shown_whole_and_harmless() {
        let request = serde_json::from_value::<ReceivedRequest>(json!({
            "number": 3, "received": "2026-11-23T09:59:57Z", "method": "POST", "target": format!("/sandbox/{}/x?y", "a".repeat(32)),
            "headers": [["content-type", "application/json"], ["x-evil", "\u{1b}[2J"]], "headers_left_out": 1,
            "body": "{\"a\":\"\u{9b}31m\",\"b\":[1,2]}", "body_size": 99, "attempt": 2,
            "signature": { "valid": false, "reason": "wrong_secret", "detail": "made with another secret" },
            "answer": { "status": 503, "retry_after_s": 5 }
        }));
        insta::assert_snapshot!(render_request(&request.unwrap(), &PIPE), @r#"
        #3 POST /sandbox/aaaaaaaa…/x?y  answered 503, Retry-After 5 s
          received      3 s ago, 2026-11-23T09:59:57.000Z
          attempt       2
          signature     not valid: made with another secret
          content-type  application/json
          x-evil        ␛[2J
          and 1 header more
            {
              "a": "<U+009B>31m",
              "b": [
                1,
                2
              ]
            }
            … of 99 bytes
        "#);
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(["500ms", "2s", "1m"].map(milliseconds), [Ok(500), Ok(2000), Ok(60_000)]);
        for wrong in ["", "2", "-1s", "soon"] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
        assert_eq!(whole_seconds("5s"), Ok(5));
        assert!(whole_seconds("1500ms").unwrap_err().contains("whole seconds"));
    }
}
