//! `pause`, `resume`, `config show`, `token`: what concerns the daemon as a whole. They never print a token but the one that was just made.

use aws_lc_rs::rand;
use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::Output;
use super::asking;
use super::client::{Body, Client};
use super::failure::Failure;
use super::screen::{Screen, Tone, uncoloured};
use super::text::{counted, in_path, relative};
use crate::model::definition::toml_value;
use crate::model::report::{ConfigReport, Sending, TokenIssued, TokenRevoked, TokenSummary};
use crate::model::{self, Project};

/// What can be asked about the configuration.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Show every value that is in force, and whether it is the default or which line of the file says it
    #[command(after_help = "Example:\n  hookwheel config show --json")]
    Show,
}

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token that lets events in, at once; it is shown once
    New(New),
    /// List the tokens
    #[command(after_help = "Example:\n  hookwheel token list")]
    List,
    /// Revoke a token that was made with `token new`; it is worth nothing from then on
    ///
    /// Where the daemon listens on loopback, the last token is revoked only after a question: from then on whoever is on that machine may post events without one.
    #[command(after_help = "Examples:\n  hookwheel token revoke platform\n  hookwheel token revoke platform --yes")]
    Revoke {
        /// Its name
        #[arg(value_name = "NAME")]
        name: String,
        /// Do not ask, also when it is the last one
        #[arg(long, short)]
        yes: bool,
    },
}

/// What is made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hookwheel token new platform --project shop.example.com
  hookwheel token new platform --project '*'
  hookwheel token new platform --project '*' --toml >> webhooks.toml    for a file that needs one before the daemon can start")]
pub(super) struct New {
    /// Its name, which appears in lists and logs
    #[arg(value_name = "NAME")]
    name: String,
    /// The project that it may post for, a domain, or * for all; may be repeated
    #[arg(long, short, value_name = "DOMAIN", required = true, value_parser = project)]
    project: Vec<String>,
    /// Store nothing: print the [[token]] for webhooks.toml, and the token itself to standard error. Needs no daemon
    #[arg(long)]
    pub(super) toml: bool,
}

/// `pause` and `resume`
pub(super) fn set_paused(paused: bool, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let sending = daemon.post::<Sending>(if paused { "/v1/pause" } else { "/v1/resume" }, None)?;
    output.show(&sending, render_sending)
}

fn render_sending(sending: &Sending, screen: &Screen) -> String {
    let pending = counted(sending.pending, "delivery", "deliveries");
    match &sending.paused {
        None => screen.paint(Tone::Good, &format!("sending; {pending} pending")) + "\n",
        Some(pause) => {
            let headline = format!("nothing is sent to anybody; events are still accepted; {pending} pending");
            let since = relative(pause.since, screen.now);
            format!("{}\n  {}\n", screen.paint(Tone::Waiting, &headline), screen.paint(Tone::Plain, &format!("{pause} ({since})")))
        }
    }
}

/// `config show`
pub(super) fn config(Config::Show: &Config, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let report = daemon.get::<ConfigReport>("/v1/config")?;
    output.show(&report, render_config)
}

fn render_config(report: &ConfigReport, screen: &Screen) -> String {
    let mut text = String::new();
    for section in report.values.chunk_by(|one, next| one.section == next.section) {
        let Some(first) = section.first() else { continue };
        text.push_str(&format!(
            "{}{}\n",
            if text.is_empty() { "" } else { "\n" },
            screen.paint(Tone::Label, &format!("[{}]", first.section))
        ));
        let rows = section.iter().map(|value| {
            let written = if value.value.is_null() { "none".to_owned() } else { toml_value(&value.value) };
            let tone = if value.source == "default" { Tone::Label } else { Tone::Plain };
            vec![uncoloured(value.key.as_str()), uncoloured(written), (tone, value.source.clone())]
        });
        text.push_str(&screen.rows(rows.collect(), &[0], 2));
    }
    text
}

/// `token`
pub(super) fn token(command: &Token, daemon: impl FnOnce() -> Result<Client, Failure>, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        Token::New(new) if new.toml => token_for_file(new, output),
        Token::New(New { name, project, .. }) => {
            let body = Body::json(&json!({ "name": name, "projects": project }));
            let issued = daemon()?.post::<TokenIssued>("/v1/tokens", Some(body))?;
            output.show(&issued, render_issued)
        }
        Token::List => output.show(&daemon()?.get::<Vec<TokenSummary>>("/v1/tokens")?, |tokens, screen| render_tokens(tokens, screen)),
        Token::Revoke { name, yes } => revoke(name, *yes, &daemon()?, output),
    }
}

/// The daemon does not revoke the last token unless it is told that this is meant; so somebody is asked, with what it says that would follow.
fn revoke(name: &str, yes: bool, daemon: &Client, output: &mut Output<'_>) -> Result<(), Failure> {
    let ask = |even_last: bool| {
        let path = format!("/v1/tokens/{}?even_last={even_last}", in_path(name));
        daemon.call(Method::DELETE, &path, None).map_err(|no_answer| daemon.failure(no_answer))
    };
    let mut answer = ask(yes)?;
    if answer.status == StatusCode::CONFLICT && !yes {
        let tokens = daemon.get::<Vec<TokenSummary>>("/v1/tokens")?;
        // One that stands in the file is refused whatever is said, with its place.
        if tokens.iter().any(|token| token.name == name && token.place.is_none()) {
            asking::confirmed(&format!("{}\nRevoke {name} all the same?", answer.complaint()), false, output)?;
            answer = ask(true)?;
        }
    }
    output.show(&answer.read::<TokenRevoked>()?, |revoked, screen| {
        let last = "; it was the last one: from now on whoever is on this machine may post events without a token";
        let last = if revoked.was_last { last } else { "" };
        screen.paint(Tone::Good, &format!("the token {} is worth nothing any more{last}", revoked.name)) + "\n"
    })
}

fn render_issued(issued: &TokenIssued, screen: &Screen) -> String {
    let warning =
        screen.paint(Tone::Waiting, "This token is shown once, now. Send it as \"Authorization: Bearer …\" with POST /v1/events:");
    let first = if issued.is_first { "\nIt is the first one: from now on nobody may post without a token.\n" } else { "" };
    let headline = format!("made the token {}, good at once for {}", issued.summary.name, issued.summary.projects.join(", "));
    format!("{}\n\n{warning}\n  {}\n{first}", screen.paint(Tone::Plain, &headline), screen.paint(Tone::Plain, &issued.token))
}

fn render_tokens(tokens: &[TokenSummary], screen: &Screen) -> String {
    if tokens.is_empty() {
        return "there are no tokens: programs on this machine may post events without one\n".into();
    }
    let rows = tokens.iter().map(|token| {
        let made = token.since.map(|since| format!("{}, by {}", relative(since, screen.now), token.by.as_deref().unwrap_or("somebody")));
        let origin = token.place.clone().or(made).unwrap_or_default();
        vec![uncoloured(token.name.as_str()), uncoloured(token.projects.join(", ")), uncoloured(origin)]
    });
    screen.table(&["TOKEN", "PROJECTS", "FROM"], rows.collect(), &[0])
}

/// A token that nobody stores: its hash for the file, itself for whoever posts.
#[derive(Serialize)]
struct ForFile {
    name: String,
    projects: Vec<String>,
    token: String,
    sha256: String,
}

fn token_for_file(new: &New, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Failure::Refused("the system gives no random bytes for a token".into()))?;
    let token = model::Token::text(bytes);
    let sha256 = HEXLOWER.encode(&model::Token::hash(&token));
    if !output.json {
        output.remark(&format!("the token, shown once: {token}"));
    }
    output.show(&ForFile { name: new.name.clone(), projects: new.project.clone(), token, sha256 }, |made, _| {
        let projects = toml_value(&json!(made.projects));
        format!("\n[[token]]\nname = {}\nsha256 = \"{}\"\nprojects = {projects}\n", toml_value(&json!(made.name)), made.sha256)
    })
}

fn project(text: &str) -> Result<String, String> {
    if text == "*" { Ok(text.to_owned()) } else { Project::parse(text).map(|project| project.as_str().to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::super::screen::PIPE;
    use super::*;

    #[test]
    fn values_stand_as_in_the_file_with_where_they_come_from() {
        let value =
            |section: &str, key: &str, value, source: &str| json!({ "section": section, "key": key, "value": value, "source": source });
        let report = serde_json::from_value::<ConfigReport>(json!({ "path": "webhooks.toml", "values": [
            value("delivery", "timeout", json!("10s"), "default"),
            value("delivery", "retry", json!([{ "attempts": 3, "every": "100s" }]), "webhooks.toml:4"),
            value("delivery", "rate", json!(null), "default"),
            value("webhook crm", "ordered", json!(true), "webhooks.toml:12"),
        ] }));
        insta::assert_snapshot!(render_config(&report.unwrap(), &PIPE), @r#"
        [delivery]
          timeout  "10s"                               default
          retry    [{ attempts = 3, every = "100s" }]  webhooks.toml:4
          rate     none                                default

        [webhook crm]
          ordered  true  webhooks.toml:12
        "#);
    }

    #[test]
    fn a_pause_says_who_and_since_when() {
        let sending =
            json!({ "paused": { "reason": "operator", "since": "2026-11-23T09:55:00Z", "by": "alice (uid 1000)" }, "pending": 7 });
        insta::assert_snapshot!(render_sending(&serde_json::from_value(sending).unwrap(), &PIPE), @"
        nothing is sent to anybody; events are still accepted; 7 deliveries pending
          paused by hand, since 2026-11-23T09:55:00.000Z, by alice (uid 1000) (5 min ago)
        ");
        insta::assert_snapshot!(render_sending(&Sending { paused: None, pending: 1 }, &PIPE), @"sending; 1 delivery pending");
    }

    #[test]
    fn tokens_are_listed_with_where_they_come_from() {
        let tokens = serde_json::from_value::<Vec<TokenSummary>>(json!([
            { "name": "platform", "projects": ["*"], "place": "webhooks.toml:40", "since": null, "by": null },
            { "name": "shop", "projects": ["shop.example.com"], "place": null, "since": "2026-11-23T09:55:00Z", "by": "alice (uid 1000)" },
        ]));
        insta::assert_snapshot!(render_tokens(&tokens.unwrap(), &PIPE), @"
        TOKEN     PROJECTS          FROM
        platform  *                 webhooks.toml:40
        shop      shop.example.com  5 min ago, by alice (uid 1000)
        ");
        assert!(render_tokens(&[], &PIPE).contains("without one"));
    }
}
