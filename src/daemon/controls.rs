//! What concerns all webhooks at once: the pause of all sending, the tokens that let events in, what is configured. It never sends and never looks at an event.

use std::net::SocketAddr;

use aws_lc_rs::rand;
use serde_json::json;

use super::house::House;
use super::webhooks::apply;
use super::wheelhouse::Message;
use crate::config::Config;
use crate::engine::Input;
use crate::limits;
use crate::model::report::{ConfigReport, NewToken, Sending, TokenIssued, TokenRevoked, TokenSummary};
use crate::model::{Pause, PauseReason, Project, Token, TokenScope};
use crate::server::hallway::Refusal;
use crate::store::fact::Fact;
use crate::store::setting::{IssuedToken, Setting};
use crate::time::wall_now;

/// Pauses or resumes all sending. Events are accepted all the same; attempts under way end.
///
/// # Errors
/// [`Refusal`] when the daemon is ending or its store fails.
pub(super) async fn set_sending_paused(house: &House, paused: bool, by: &str) -> Result<Sending, Refusal> {
    let guard = house.0.changes.lock().await;
    let is_paused = house.registry().sending().is_some();
    if is_paused != paused {
        let pause = paused.then(|| Pause { reason: PauseReason::Operator, since: wall_now(), by: by.to_owned() });
        let setting = Setting::Sending(pause);
        house.commit(vec![Fact::Setting(setting.clone())]).await?;
        house.registry().set(setting);
        house.0.inbox.put(Message::Input(Input::SendingPaused(paused)));
        tracing::warn!(by, "{}", if paused { "all sending is paused; events are still accepted" } else { "sending goes on" });
    }
    drop(guard);
    let pending = house.ask(|engine, _, _| engine.pending().len() as u64).await?;
    let paused = house.registry().sending().cloned();
    Ok(Sending { paused, pending })
}

/// Every token: those of the file, then those that the daemon made.
#[must_use]
pub(super) fn tokens(house: &House) -> Vec<TokenSummary> {
    let config = house.config();
    let in_file = config.tokens.iter().map(|token| TokenSummary {
        name: token.name.clone(),
        projects: projects_of(&token.scope),
        place: token.place.clone(),
        since: None,
        by: None,
    });
    let mut tokens = in_file.collect::<Vec<_>>();
    tokens.extend(house.registry().tokens().iter().map(|(name, token)| summary(name, token)));
    tokens
}

/// Makes a token. It is in the answer, and nowhere else.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn issue_token(house: &House, new: NewToken, by: &str) -> Result<TokenIssued, Refusal> {
    let NewToken { name, projects } = new;
    let good = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(good) {
        let detail = format!("{} is no name for a token: expected 1 to 64 of A-Z a-z 0-9 . _ -", crate::model::shown(&name));
        return Err(Refusal::Invalid { detail });
    }
    let scope = scope_of(&projects).map_err(|detail| Refusal::Invalid { detail })?;
    let _one_at_a_time = house.0.changes.lock().await;
    let known = tokens(house);
    if let Some(taken) = known.iter().find(|token| token.name == name) {
        let whose = taken.place.as_ref().map_or_else(|| "it can be revoked".to_owned(), |place| format!("it stands in {place}"));
        return Err(Refusal::Conflict { detail: format!("there is a token {name} already: {whose}; choose another name") });
    }
    if known.len() >= limits::ISSUED_TOKENS_MAX {
        return Err(Refusal::Conflict { detail: format!("there are {} tokens, and that is as many as there may be", known.len()) });
    }
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Refusal::Unavailable { detail: "the system gives no random bytes for a token".into() })?;
    let text = Token::text(bytes);
    let token = IssuedToken { sha256: Token::hash(&text), scope, since: wall_now(), by: by.to_owned() };
    let summary = summary(&name, &token);
    apply(house, Vec::new(), vec![Setting::Token { name: name.clone(), token: Some(token) }]).await?;
    tracing::info!(token = name, by, "a token was made");
    Ok(TokenIssued { summary, token: text, is_first: known.is_empty() })
}

/// Whom the lack of any token lets in, in words; nobody where the daemon listens beyond loopback, for there one is needed in any case.
#[must_use]
pub(super) fn open_without_tokens(house: &House) -> Option<String> {
    let listen = house.0.listen;
    listen.ip().to_canonical().is_loopback().then(|| format!("whoever is on this machine may post events to {listen} without one"))
}

/// Says in the log, at the start, whom the lack of any token lets in. That is the default; where the configuration before this one named some, it may be a mistake.
pub(super) fn tell_of_no_tokens(house: &House, lost_tokens: bool) {
    let Some(opens) = open_without_tokens(house).filter(|_| tokens(house).is_empty()) else { return };
    if lost_tokens {
        let config = house.config();
        tracing::warn!("{}: no [[token]] is left, and there is no other token: {opens}", config.path.display());
    } else {
        tracing::info!("there are no tokens: {opens}");
    }
}

/// Revokes a token that the daemon made; it is worth nothing from here on.
///
/// # Errors
/// [`Refusal`]; one of the file is a conflict that names its place, and so is the last one, where that opens the listener and is not said to be meant.
pub(super) async fn revoke_token(house: &House, name: String, even_last: bool, by: &str) -> Result<TokenRevoked, Refusal> {
    let _one_at_a_time = house.0.changes.lock().await;
    let known = tokens(house);
    match known.iter().find(|token| token.name == name) {
        None => {
            let detail = format!("there is no token {}; `hookwheel token list` shows them all", crate::model::shown(&name));
            return Err(Refusal::NotFound { detail });
        }
        Some(TokenSummary { place: Some(place), .. }) => {
            return Err(Refusal::Conflict {
                detail: format!("the token {name} stands in {place}; take it out there, then `hookwheel reload`"),
            });
        }
        Some(_) => {}
    }
    let opens = open_without_tokens(house).filter(|_| known.len() == 1);
    if let Some(opens) = opens.as_ref().filter(|_| !even_last) {
        let detail = format!("{name} is the last token: once it is revoked, {opens}. Make another one first, unless that is meant");
        return Err(Refusal::Conflict { detail });
    }
    apply(house, Vec::new(), vec![Setting::Token { name: name.clone(), token: None }]).await?;
    tracing::info!(token = name, by, "a token was revoked");
    if let Some(opens) = &opens {
        tracing::warn!(by, "it was the last token: {opens} from now on");
    }
    Ok(TokenRevoked { name, was_last: opens.is_some() })
}

/// The configuration in force, and where each value comes from.
#[must_use]
pub(super) fn configuration(house: &House) -> ConfigReport {
    let config = house.config();
    let mut values = config.effective();
    let started = &house.0.started_with;
    let fixed = fixed(house.0.listen, &house.0.admin_socket.display().to_string(), started);
    for (section, key, actual, changed) in fixed {
        let Some(value) = values.iter_mut().find(|value| value.section == section && value.key == key) else { continue };
        if changed(&config, started) {
            value.source = format!("as it was at the start; {} says {} and takes a restart", value.source, value.value);
        } else if key == "admin_socket" && value.value != actual {
            value.source = "--socket".into();
        }
        value.value = actual;
    }
    ConfigReport { path: config.path.display().to_string(), values }
}

type Fixed = (&'static str, &'static str, serde_json::Value, fn(&Config, &Config) -> bool);

/// What stays as it was at the start, with what it is.
fn fixed(listen: SocketAddr, admin_socket: &str, started: &Config) -> [Fixed; 4] {
    [
        ("server", "listen", json!(listen.to_string()), |now, then| now.server.listen != then.server.listen),
        ("server", "admin_socket", json!(admin_socket), |now, then| now.server.admin_socket != then.server.admin_socket),
        ("server", "data_dir", json!(started.server.data_dir.display().to_string()), |now, then| {
            now.server.data_dir != then.server.data_dir
        }),
        ("limits", "max_connections", json!(started.limits.max_connections), |now, then| {
            now.limits.max_connections != then.limits.max_connections
        }),
    ]
}

fn summary(name: &str, token: &IssuedToken) -> TokenSummary {
    TokenSummary {
        name: name.to_owned(),
        projects: projects_of(&token.scope),
        place: None,
        since: Some(token.since),
        by: Some(token.by.clone()),
    }
}

fn projects_of(scope: &TokenScope) -> Vec<String> {
    match scope {
        TokenScope::AllProjects => vec!["*".into()],
        TokenScope::Projects(projects) => projects.iter().map(ToString::to_string).collect(),
    }
}

fn scope_of(projects: &[String]) -> Result<TokenScope, String> {
    match projects {
        [] => Err("a token covers at least one project; [\"*\"] stands for all".into()),
        [all] if all == "*" => Ok(TokenScope::AllProjects),
        some => some.iter().map(|project| Project::parse(project)).collect::<Result<_, _>>().map(TokenScope::Projects),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_covers_all_projects_or_some() {
        let of = |projects: &[&str]| scope_of(&projects.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["*"]), Ok(TokenScope::AllProjects));
        assert_eq!(projects_of(&of(&["shop.example.com", "müller.example"]).unwrap()), ["shop.example.com", "müller.example"]);
        for wrong in [&[][..], &["*", "shop.example.com"], &["localhost"]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }
}
