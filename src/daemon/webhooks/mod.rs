//! Webhooks of the admin socket: added, edited, removed, paused, given a new secret. Each change is durable before it is in force and answered, and it never touches what the file defines.

mod show;
mod trial;

use std::sync::Arc;

use zeroize::Zeroizing;

pub(super) use self::show::{LaneReport, detail, list, summary_of};
pub(super) use self::trial::test;
use super::house::House;
use super::reload;
use super::wheelhouse::Message;
use crate::engine::Input;
use crate::limits;
use crate::model::report::{RotateRequest, SecretRotated, WebhookDetail, WebhookRemoved, WebhookSummary};
use crate::model::{Definition, KeptSecret, Origin, Pause, PauseReason, Secret, Signing, WebhookId, WebhookSpec};
use crate::server::hallway::Refusal;
use crate::store::fact::{Fact, WebhookState};
use crate::store::setting::{RetiredSecret, Setting};
use crate::time::wall_now;

/// A definition that was judged, and what of it is kept elsewhere.
struct Wanted {
    definition: Definition,
    spec: WebhookSpec,
    secret: Option<Secret>,
    paused: Option<bool>,
    warnings: Vec<String>,
}

/// Adds a webhook. Without an id it gets one made of its title. Its secret is in the answer, unless whoever adds it chose it.
///
/// # Errors
/// [`Refusal::Invalid`] with every mistake; [`Refusal::Conflict`] when the id is taken, or was.
pub(super) async fn add(house: &House, mut definition: Definition, by: &str) -> Result<WebhookDetail, Refusal> {
    if definition.get("id").is_none() {
        let id = id_for(house, definition.text("title").unwrap_or_default());
        definition.set("id", id);
    }
    let wanted = judge(house, definition).await?;
    let id = wanted.spec.id.clone();
    let guard = house.0.changes.lock().await;
    refuse_taken(house, &wanted.spec)?;
    let (is_own, secret) = match wanted.secret {
        Some(secret) => (true, secret),
        None => (false, fresh_secret(wanted.spec.signing)?),
    };
    let paused = wanted.paused == Some(true);
    let state = WebhookState {
        number: house.registry().next_number(),
        id: id.clone(),
        origin: Origin::Admin,
        generated_secret: Some(KeptSecret::Open(secret.clone())),
        secret_shown: true,
        pauses: paused.then(|| by_hand(by)).into_iter().collect(),
        removed: None,
    };
    let setting = Setting::Definition { webhook: state.number, text: Some(wanted.definition.to_json()) };
    apply(house, vec![state], vec![setting]).await?;
    drop(guard);
    tracing::info!(webhook = %id, by, paused, "added");
    let shown = (!is_own).then(|| shown_once(&secret)).flatten();
    Ok(WebhookDetail { secret: shown, warnings: wanted.warnings, ..detail(house, id).await? })
}

/// Changes what `patch` names, or, where it is to replace the definition, everything.
///
/// # Errors
/// [`Refusal`]; a webhook of the file is a conflict that names its place.
pub(super) async fn edit(house: &House, id: WebhookId, patch: Definition, replaces: bool, by: &str) -> Result<WebhookDetail, Refusal> {
    let before = editable(house, &id)?;
    let old = house.registry().definition(before.number).cloned().unwrap_or_default();
    if patch.get("id").is_some_and(|wanted| wanted.as_str() != Some(id.as_str())) {
        let detail = format!("the id of a webhook can't be changed, for {id} is what its history goes by; add another webhook instead");
        return Err(Refusal::Invalid { detail });
    }
    let mut base = if replaces { Definition::default() } else { old.clone() };
    if patch.get("secret").is_some_and(|secret| !secret.is_null()) {
        // It says itself how it signs.
        base.take("signing");
    }
    let mut definition = base.patched(&patch);
    definition.set("id", id.as_str());
    let wanted = judge(house, definition).await?;
    let guard = house.0.changes.lock().await;
    let mut state = editable(house, &id)?;
    if house.registry().definition(state.number) != Some(&old) {
        return Err(Refusal::Conflict {
            detail: format!("{id} was changed by somebody else at the same moment; look at it and try again"),
        });
    }
    let (number, has_paused) = (state.number, !state.pauses.is_empty());
    let replaces_secret = wanted.secret.is_some();
    state.generated_secret = wanted.secret.map(KeptSecret::Open).or(state.generated_secret);
    match wanted.paused {
        Some(true) if !has_paused => state.pauses.push(by_hand(by)),
        Some(false) => state.pauses.clear(),
        _ => {}
    }
    let mut settings = vec![Setting::Definition { webhook: number, text: Some(wanted.definition.to_json()) }];
    if replaces_secret {
        settings.push(Setting::RetiredSecret { webhook: number, secret: None });
    }
    apply(house, vec![state], settings).await?;
    if wanted.paused == Some(false) {
        house.0.inbox.put(Message::Input(Input::Resumed { webhook: number }));
    }
    drop(guard);
    tracing::info!(webhook = %id, by, keys = ?patch, replaces, "edited");
    Ok(WebhookDetail { warnings: wanted.warnings, ..detail(house, id).await? })
}

/// Removes a webhook for good: what is pending for it is cancelled. One of the file only when it is gone from there.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn remove(house: &House, id: WebhookId, by: &str) -> Result<WebhookRemoved, Refusal> {
    let _one_at_a_time = house.0.changes.lock().await;
    let state = alive(house, &id)?;
    let in_file = house.registry().find(&id).filter(|webhook| webhook.spec.origin == Origin::File).cloned();
    if let Some(webhook) = in_file {
        let detail = format!("{id} is defined in {}; take it out there and reload, then it can be removed", place_of(&webhook.spec));
        return Err(Refusal::Conflict { detail });
    }
    let number = state.number;
    let cancelled = house.ask(move |engine, _, _| engine.lanes().get(number).map_or(0, |lane| u64::from(lane.pending))).await?;
    let mut pauses = state.pauses.clone();
    pauses.push(by_hand(by));
    let state = WebhookState { removed: Some(house.0.clock.now()), pauses, ..state };
    let why = removal_by(&state);
    apply(house, vec![state], Vec::new()).await?;
    house.0.inbox.put(Message::Input(Input::Removed { webhook: number, by: why }));
    tracing::info!(webhook = %id, by, cancelled, "removed for good");
    Ok(WebhookRemoved { id, cancelled })
}

/// Who removed a webhook, and why, as its cancelled deliveries tell it.
#[must_use]
pub(super) fn removal_by(state: &WebhookState) -> String {
    match state.pauses.last().filter(|pause| pause.reason == PauseReason::Operator) {
        Some(pause) => format!("{}: {} was removed", pause.by, state.id),
        None => format!("configuration: {} was gone for longer than orphan_grace", state.id),
    }
}

/// Gives a webhook a new secret. The old one signs, too, for a while.
///
/// # Errors
/// [`Refusal`]; a secret that the file names is changed there.
pub(super) async fn rotate_secret(house: &House, id: WebhookId, request: RotateRequest, by: &str) -> Result<SecretRotated, Refusal> {
    let grace_ms = request.grace_ms.unwrap_or(limits::ROTATION_GRACE_DEFAULT_MS);
    if grace_ms > limits::ROTATION_GRACE_MAX_MS {
        let detail = format!("the old secret can sign for {} days at most", limits::ROTATION_GRACE_MAX_MS / 86_400_000);
        return Err(Refusal::Invalid { detail });
    }
    let _one_at_a_time = house.0.changes.lock().await;
    let state = alive(house, &id)?;
    let own = house.registry().find(&id).filter(|webhook| webhook.spec.secret.is_some()).cloned();
    if let Some(webhook) = own {
        let detail = format!("{id} has its secret in {}; change it there and reload", place_of(&webhook.spec));
        return Err(Refusal::Conflict { detail });
    }
    let signing = signing_of(house, &state);
    let secret = fresh_secret(signing)?;
    let until = house.0.clock.now().plus_ms(grace_ms);
    let retired = state.generated_secret.clone().filter(|_| grace_ms > 0).map(|secret| RetiredSecret { secret, until });
    let old_secret_until = retired.as_ref().map(|retired| retired.until);
    let setting = Setting::RetiredSecret { webhook: state.number, secret: retired };
    let state = WebhookState { generated_secret: Some(KeptSecret::Open(secret.clone())), secret_shown: true, ..state };
    apply(house, vec![state], vec![setting]).await?;
    tracing::info!(webhook = %id, by, grace_ms, "its secret was replaced");
    Ok(SecretRotated { id, secret: shown_once(&secret), public_key: secret.public_key(), old_secret_until })
}

/// How a webhook signs; one that is not in force goes on as it did.
fn signing_of(house: &House, state: &WebhookState) -> Signing {
    let in_force = house.registry().find(&state.id).map(|webhook| webhook.spec.signing);
    in_force.or_else(|| state.secret().map(Secret::signing)).unwrap_or_default()
}

/// A new secret as it is shown, once. Of a `v1a` key the receiver needs the public half alone.
fn shown_once(secret: &Secret) -> Option<String> {
    (secret.signing() == Signing::V1).then(|| secret.expose_text().to_string())
}

/// Ends the grace of secrets that have signed beside their successor for long enough.
///
/// # Errors
/// [`Refusal`] when the daemon is ending or its store fails.
pub(super) async fn retire_secrets(house: &House) -> Result<(), Refusal> {
    let _one_at_a_time = house.0.changes.lock().await;
    let expired = house.registry().expired_secrets(house.0.clock.now());
    if expired.is_empty() {
        return Ok(());
    }
    tracing::info!(webhooks = expired.len(), "old secrets sign no longer");
    let settings = expired.into_iter().map(|webhook| Setting::RetiredSecret { webhook, secret: None });
    apply(house, Vec::new(), settings.collect()).await
}

/// Pauses or resumes a webhook, whatever its origin.
///
/// # Errors
/// [`Refusal`]; a conflict where something else than a hand keeps it paused.
pub(super) async fn set_paused(house: &House, id: WebhookId, paused: bool, by: &str) -> Result<WebhookSummary, Refusal> {
    let guard = house.0.changes.lock().await;
    let state = alive(house, &id)?;
    let number = state.number;
    let changed = if paused {
        house.registry().with_pause(number, by_hand(by))
    } else {
        refuse_resuming(house, &state)?;
        Some(state).filter(|state| !state.pauses.is_empty()).map(|state| WebhookState { pauses: Vec::new(), ..state })
    };
    if let Some(state) = changed {
        house.change_state(state).await?;
        tracing::info!(webhook = %id, by, "{}", if paused { "paused" } else { "resumed" });
    }
    if !paused {
        // Also where no pause was written down: what the endpoint said may be on its way to that.
        house.0.inbox.put(Message::Input(Input::Resumed { webhook: number }));
    }
    drop(guard);
    show::summary(house, id).await
}

/// What would have to be said to have this webhook again. Its secret is left out unless asked for.
///
/// # Errors
/// [`Refusal`].
pub(super) fn definition(house: &House, id: &WebhookId, with_secret: bool) -> Result<Definition, Refusal> {
    let registry = house.registry().clone();
    let state = registry.alive(id).ok_or_else(|| unknown(house, id))?;
    let mut definition = match (registry.definition(state.number), registry.find(id)) {
        (Some(definition), _) => definition.clone(),
        (None, Some(webhook)) => house.config().definition_of(&webhook.spec),
        (None, None) => {
            let detail = format!("{id} is no longer in the configuration, and what it was is not kept");
            return Err(Refusal::Conflict { detail });
        }
    };
    match state.secret() {
        _ if !with_secret => {
            definition.take("secret");
            if let Some(serde_json::Value::Object(mut headers)) = definition.take("headers") {
                headers.values_mut().for_each(|value| *value = "…".into());
                definition.set("headers", headers);
            }
        }
        Some(secret) if definition.get("secret").is_none() => definition.set("secret", secret.expose_text().as_str()),
        _ => {}
    }
    Ok(definition)
}

/// Makes changes durable and puts them in force. The caller holds the lock that lets one change happen at a time.
///
/// # Errors
/// [`Refusal`] when the daemon is ending or its store fails.
pub(super) async fn apply(house: &House, states: Vec<WebhookState>, settings: Vec<Setting>) -> Result<(), Refusal> {
    let config = house.config();
    let plan = {
        let before = house.registry();
        let mut registry = before.clone();
        states.iter().cloned().for_each(|state| registry.put(state));
        settings.iter().cloned().for_each(|setting| registry.set(setting));
        registry.plan(&config, Some(&before), house.0.clock.now(), reload::fresh_secret)
    };
    let plan = plan.map_err(|detail| Refusal::Unavailable { detail })?;
    let facts = states.into_iter().map(Fact::Webhook).chain(settings.into_iter().map(Fact::Setting)).chain(plan.facts());
    house.commit(facts.collect()).await?;
    reload::take_effect(house, &config, plan.registry);
    Ok(())
}

/// Whether this is a possible webhook under the configuration in force, and whether its address may be dialled.
async fn judge(house: &House, mut definition: Definition) -> Result<Wanted, Refusal> {
    let invalid = |detail| Refusal::Invalid { detail };
    let secret = definition.take_text("secret").map_err(invalid)?.map(Zeroizing::new);
    let secret = secret.map(|text| Secret::parse(&text)).transpose().map_err(|sentence| invalid(format!("secret: {sentence}")))?;
    if let Some(secret) = &secret {
        match definition.text("signing") {
            Some(said) => secret.agree_with(said).map_err(|sentence| invalid(format!("signing: {sentence}")))?,
            None if secret.signing() != Signing::default() => definition.set("signing", secret.signing().as_str()),
            None => {}
        }
    }
    let paused = definition.take_flag("paused").map_err(invalid)?;
    let definition = definition.patched(&Definition::default());
    let bytes = definition.to_json().len();
    if bytes > limits::DEFINITION_SIZE_MAX {
        return Err(invalid(format!("the definition has {bytes} bytes, at most {} are possible", limits::DEFINITION_SIZE_MAX)));
    }
    let spec = house.config().webhook(&definition).map_err(|mistakes| invalid(mistakes.join("; ")))?;
    let warning = house.0.dispatcher.judge_ahead(&spec).await.map_err(|sentence| invalid(format!("url: {sentence}")))?;
    let warnings = warning.map(|warning| format!("{warning}; deliveries fail until that is mended")).into_iter().collect();
    Ok(Wanted { definition, spec, secret, paused, warnings })
}

/// The state of a webhook that the admin socket may edit.
fn editable(house: &House, id: &WebhookId) -> Result<WebhookState, Refusal> {
    let registry = house.registry().clone();
    let state = registry.alive(id).ok_or_else(|| unknown(house, id))?;
    match (state.origin, registry.find(id)) {
        (Origin::Admin, _) => Ok(state.clone()),
        (Origin::File, Some(webhook)) => {
            let detail = format!("{id} is defined in {}; edit it there, then `hookwheel reload`", place_of(&webhook.spec));
            Err(Refusal::Conflict { detail })
        }
        (Origin::File, None) => {
            let detail =
                format!("{id} is gone from {}; put it back there and reload, or remove it for good", house.config().path.display());
            Err(Refusal::Conflict { detail })
        }
    }
}

/// An id names one thing for ever: that of a webhook that was removed may name it again, in the same project, and nothing else.
fn refuse_taken(house: &House, spec: &WebhookSpec) -> Result<(), Refusal> {
    let (id, registry) = (&spec.id, house.registry().clone());
    let conflict = |detail| Err(Refusal::Conflict { detail });
    if registry.of_admin() >= limits::ADMIN_WEBHOOKS_MAX {
        return conflict(format!(
            "there are {} webhooks of the admin socket, and that is as many as there may be",
            limits::ADMIN_WEBHOOKS_MAX
        ));
    }
    if let Some(state) = registry.alive(id) {
        return conflict(match (state.origin, registry.find(id)) {
            (Origin::Admin, _) => format!("there is a webhook {id} already; `hookwheel webhooks edit {id}` changes it"),
            (Origin::File, Some(webhook)) => {
                format!("{id} is taken by the webhook in {}; every webhook needs an id of its own", place_of(&webhook.spec))
            }
            (Origin::File, None) => {
                format!(
                    "{id} is taken by a webhook that is gone from the file; put it back there, or `hookwheel webhooks remove {id}` first"
                )
            }
        });
    }
    let projects = registry.numbers_of(id).into_iter().filter_map(|number| registry.definition(number)?.text("project"));
    match projects.into_iter().find(|project| crate::model::Project::parse(project).as_ref() != Ok(&spec.project)) {
        Some(project) => conflict(format!(
            "{id} was a webhook of {project} before it was removed, and its history goes by that name: an id is never used for something else. Choose another"
        )),
        None => Ok(()),
    }
}

/// What a hand can't resume.
fn refuse_resuming(house: &House, state: &WebhookState) -> Result<(), Refusal> {
    let registry = house.registry().clone();
    let id = &state.id;
    let conflict = |detail| Err(Refusal::Conflict { detail });
    match registry.find(id) {
        Some(webhook) if webhook.spec.paused => {
            conflict(format!("{id} is paused by {}; remove `paused = true` there and reload", place_of(&webhook.spec)))
        }
        Some(_) => Ok(()),
        None => match registry.unusable(state.number) {
            Some(why) => conflict(format!("{id} can't be used under this configuration: {why}")),
            None => conflict(format!(
                "{id} is gone from {}: put it back there and reload, and its deliveries go on; or `hookwheel webhooks remove {id}`, and they are cancelled",
                house.config().path.display()
            )),
        },
    }
}

/// What is known of a webhook that was not removed.
fn alive(house: &House, id: &WebhookId) -> Result<WebhookState, Refusal> {
    // In a statement of its own: whoever says why there is none looks into the registry, too.
    let found = house.registry().alive(id).cloned();
    found.ok_or_else(|| unknown(house, id))
}

/// Why there is no such webhook.
fn unknown(house: &House, id: &WebhookId) -> Refusal {
    let registry = house.registry();
    let removed = registry.numbers_of(id).into_iter().filter_map(|number| registry.state(number)?.removed).max();
    Refusal::NotFound {
        detail: match removed {
            Some(removed) => format!("the webhook {id} was removed, {removed}; `hookwheel webhooks list` shows those there are"),
            None => format!("there is no webhook {id}; `hookwheel webhooks list` shows them all"),
        },
    }
}

/// An id made of a title, that no webhook ever had.
fn id_for(house: &House, title: &str) -> String {
    let slug = slug(title);
    let registry = house.registry();
    let is_free = |id: &String| WebhookId::parse(id).is_ok_and(|id| registry.numbers_of(&id).is_empty());
    let numbered = (2_u32..).map(|number| format!("{slug}-{number}"));
    std::iter::once(slug.clone()).chain(numbered).take(limits::ADMIN_WEBHOOKS_MAX).find(is_free).unwrap_or(slug)
}

fn slug(title: &str) -> String {
    let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { ' ' };
    let words = title.chars().map(letter).collect::<String>();
    let slug = words.split_whitespace().collect::<Vec<_>>().join("-").chars().take(48).collect::<String>();
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "webhook".to_owned() } else { slug.to_owned() }
}

fn by_hand(by: &str) -> Pause {
    Pause { reason: PauseReason::Operator, since: wall_now(), by: by.to_owned() }
}

fn place_of(spec: &WebhookSpec) -> String {
    spec.place.clone().unwrap_or_else(|| "its definition".into())
}

fn fresh_secret(signing: Signing) -> Result<Secret, Refusal> {
    reload::fresh_secret(signing).map_err(|detail| Refusal::Unavailable { detail })
}

/// A webhook that is in force.
fn in_force(house: &House, id: &WebhookId) -> Result<Arc<crate::model::Webhook>, Refusal> {
    let found = house.registry().find(id).cloned();
    match found {
        Some(webhook) => Ok(webhook),
        None if house.registry().alive(id).is_some() => {
            let detail = format!("{id} is not in force: it is gone from the file, or not possible under this configuration");
            Err(Refusal::Conflict { detail })
        }
        None => Err(unknown(house, id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_made_of_the_letters_of_a_title() {
        for (title, expected) in [
            ("CRM sync", "crm-sync"),
            ("  Müller & Söhne (2) ", "m-ller-s-hne-2"),
            ("Привет", "webhook"),
            ("", "webhook"),
            (&"ab ".repeat(40), "ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab-ab"),
        ] {
            assert_eq!(slug(title), expected);
            assert!(WebhookId::parse(&slug(title)).is_ok());
        }
    }
}
