//! A new configuration while the daemon runs: read, checked, planned, made durable, and only then put in force as a whole. A broken file changes nothing.

use std::sync::{Arc, PoisonError};

use zeroize::Zeroizing;

use super::controls;
use super::house::House;
use super::last_good;
use super::registry::{Plan, Registry};
use super::webhooks;
use super::wheelhouse::Message;
use crate::config::Config;
use crate::dispatch::DispatchSettings;
use crate::engine::{Configuration, Input};
use crate::model::report::{LastReload, ReloadReport};
use crate::model::{Secret, Signing, Token};
use crate::server::hallway::{DoorSettings, Refusal};
use crate::server::tls::Tls;
use crate::store::fact::{Fact, WebhookState};
use crate::time::wall_now;

/// Reads the configuration again and puts it in force, unless it is broken or this is a dry run. The errors of a broken file are in the report.
///
/// # Errors
/// [`Refusal`] when the daemon is ending or its store fails.
pub(super) async fn reload(house: &House, dry_run: bool, by: &str) -> Result<ReloadReport, Refusal> {
    let _one_at_a_time = house.0.changes.lock().await;
    let old = house.config();
    let (path, environment) = (old.path.clone(), house.0.environment.clone());
    let loaded = tokio::task::spawn_blocking(move || Config::load(&path, &environment)).await;
    let config = match loaded.map_err(|_| Refusal::Unavailable { detail: "reading the configuration failed".into() })? {
        Ok(config) => config,
        Err(mistakes) => return Ok(refused(house, dry_run, by, mistakes.to_string().lines().map(str::to_owned).collect())),
    };
    let now = house.0.clock.now();
    let mut plan = house.registry().plan(&config, None, now, fresh_secret).map_err(|detail| Refusal::Unavailable { detail })?;
    plan.registry.configured_at(now);
    let unusable = plan.unusable();
    if !unusable.is_empty() {
        return Ok(refused(house, dry_run, by, unusable));
    }
    let mut changes = words(house, &plan).await?;
    changes.extend(settings_changes(&old, &config, &house.0.started_with));
    let report = ReloadReport { dry_run, changes, warnings: warnings(house, &old, &config), errors: Vec::new() };
    if dry_run {
        return Ok(report);
    }
    let facts = plan.facts();
    if !facts.is_empty() {
        house.commit(facts).await?;
    }
    put_in_force(house, config, plan.registry);
    let last = LastReload { at: wall_now(), by: by.to_owned(), changes: Some(report.changes.len() as u64) };
    house.0.configuration.lock().unwrap_or_else(PoisonError::into_inner).last_reload = Some(last);
    tracing::info!(by, changes = report.changes.len(), "the configuration was reloaded");
    report.changes.iter().for_each(|change| tracing::info!("{change}"));
    report.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(report)
}

fn refused(house: &House, dry_run: bool, by: &str, errors: Vec<String>) -> ReloadReport {
    if !dry_run {
        let mut status = house.0.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        status.last_reload_successful = false;
        status.last_error = Some(errors.join("\n"));
        status.last_reload = Some(LastReload { at: wall_now(), by: by.to_owned(), changes: None });
        for error in &errors {
            tracing::error!("{error}");
        }
        tracing::error!("the configuration is broken and was not reloaded; the one before stays in force");
    }
    ReloadReport { dry_run, errors, ..ReloadReport::default() }
}

fn put_in_force(house: &House, config: Config, registry: Registry) {
    take_effect(house, &config, registry);
    house.0.inbox.put(Message::SetIdempotencyWindow(config.ingest.idempotency_ms));
    if let (Some(tls), Some(identity)) = (&house.0.tls, &config.server.tls) {
        tls.show(Arc::clone(&identity.certified));
    }
    house.0.dispatcher.reconfigure(dispatch_settings(&config, house.0.listen, house.0.tls.as_ref()));
    last_good::remember(&house.0.data_dir, &config);
    let mut status = house.0.configuration.lock().unwrap_or_else(PoisonError::into_inner);
    (status.last_reload_successful, status.last_error, status.loaded) = (true, None, wall_now());
    *house.0.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
}

/// What is allowed in the new configuration and still looks like a mistake, or lets in whoever was kept out by the old one.
fn warnings(house: &House, old: &Config, new: &Config) -> Vec<String> {
    let mut warnings = new.warnings(wall_now());
    let is_last_gone = !old.tokens.is_empty() && new.tokens.is_empty() && house.registry().tokens().is_empty();
    let opens = controls::open_without_tokens(house).filter(|_| is_last_gone);
    warnings.extend(opens.map(|opens| format!("{}: no [[token]] is left, and it was the last token: {opens}", new.path.display())));
    warnings
}

/// Puts a registry in force whose facts are durable.
pub(super) fn take_effect(house: &House, config: &Config, registry: Registry) {
    let input = Input::Configured(engine_configuration(config, &registry));
    house.0.sandboxes.follow(registry.in_force().map(AsRef::as_ref));
    *house.0.doors.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(door_settings(config, &registry));
    let new_pauses = registry.new_pauses(&house.registry());
    *house.registry() = registry;
    house.0.inbox.put(Message::Input(input));
    house.pauses_began(new_pauses);
}

/// The plan's changes with the number of pending deliveries that each touches.
async fn words(house: &House, plan: &Plan) -> Result<Vec<String>, Refusal> {
    let numbers = plan.changes.iter().map(|(number, _)| *number).collect::<Vec<_>>();
    let pending = house
        .ask(move |engine, _, _| {
            let of = |number| engine.lanes().get(number).map_or(0, |lane| lane.pending);
            numbers.into_iter().map(|number| number.map_or(0, of)).collect::<Vec<_>>()
        })
        .await?;
    let in_words = |(words, pending): (&String, u32)| match (words.contains("{pending}"), pending) {
        (true, pending) => words.replace("{pending}", &pending.to_string()),
        (false, 0) => words.clone(),
        (false, 1) => format!("{words}; 1 delivery is pending for it"),
        (false, pending) => format!("{words}; {pending} deliveries are pending for it"),
    };
    Ok(plan.changes.iter().map(|(_, words)| words).zip(pending).map(in_words).collect())
}

/// What changed outside of the webhooks. What takes a restart is compared with what the daemon started with, so it is told until the restart.
fn settings_changes(old: &Config, new: &Config, started: &Config) -> Vec<String> {
    let mut changes = Vec::new();
    let needs_restart = [
        ("[server] listen", started.server.listen != new.server.listen),
        ("[server] admin_socket", started.server.admin_socket != new.server.admin_socket),
        ("[server] data_dir", started.server.data_dir != new.server.data_dir),
        // To speak TLS or not is settled for a listener; with which certificate is not.
        ("[server] tls_certificate_file", started.server.tls.is_some() != new.server.tls.is_some()),
        ("[server] key_file", started.server.sealing_keys != new.server.sealing_keys),
        ("[limits] max_connections", started.limits.max_connections != new.limits.max_connections),
    ];
    changes
        .extend(needs_restart.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| format!("{key} changed, which takes a restart")));
    let live = [
        ("the certificate of the listener", old.server.tls.is_some() && new.server.tls.is_some() && old.server.tls != new.server.tls),
        ("[limits]", old.limits != new.limits),
        ("[ingest]", old.ingest != new.ingest),
        ("[history]", old.history != new.history),
        ("[egress]", old.egress != new.egress),
        ("[delivery] orphan_grace", old.orphan_grace_ms != new.orphan_grace_ms),
        ("[[token]]", !same_tokens(&old.tokens, &new.tokens)),
        ("[[event_type]]", old.catalog.types() != new.catalog.types()),
    ];
    changes.extend(live.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| format!("{key} changed")));
    changes
}

/// Whether these are the same tokens, wherever they stand.
fn same_tokens(old: &[Token], new: &[Token]) -> bool {
    let of = |token: &Token| (token.name.clone(), token.sha256, token.scope.clone());
    old.iter().map(of).eq(new.iter().map(of))
}

/// What the engine needs of a configuration.
#[must_use]
pub(super) fn engine_configuration(config: &Config, registry: &Registry) -> Configuration {
    Configuration {
        catalog: Arc::new(config.catalog.clone()),
        webhooks: registry.in_force().map(|webhook| (Arc::clone(webhook), registry.is_paused(webhook.number))).collect(),
        max_in_flight: config.limits.max_in_flight,
        max_pending: config.limits.max_pending,
        max_pending_per_webhook: config.limits.max_pending_per_webhook,
    }
}

/// What the front doors need of a configuration.
#[must_use]
pub(super) fn door_settings(config: &Config, registry: &Registry) -> DoorSettings {
    let issued = registry.tokens().iter();
    let issued = issued.map(|(name, token)| Token { name: name.clone(), sha256: token.sha256, scope: token.scope.clone(), place: None });
    DoorSettings {
        catalog: Arc::new(config.catalog.clone()),
        tokens: config.tokens.iter().cloned().chain(issued).collect(),
        max_event_size: config.limits.max_event_size,
    }
}

/// What the dispatcher needs of a configuration.
#[must_use]
pub(super) fn dispatch_settings(config: &Config, listen: std::net::SocketAddr, tls: Option<&Tls>) -> DispatchSettings {
    let egress = &config.egress;
    DispatchSettings {
        require_https: egress.require_https,
        allow_ports: egress.allow_ports.clone(),
        own_listeners: vec![listen],
        own_certificate: tls.map(Tls::certificate),
    }
}

/// A fresh key, of 32 random bytes.
///
/// # Errors
/// A sentence when the system gives none.
pub(super) fn fresh_secret(signing: Signing) -> Result<Secret, String> {
    let mut key = Zeroizing::new(vec![0; 32]);
    aws_lc_rs::rand::fill(&mut key).map_err(|_| "the system gives no random bytes for a secret".to_owned())?;
    match signing {
        Signing::V1 => Secret::from_bytes(std::mem::take(&mut *key)),
        Signing::V1a => Secret::from_key_pair(&key),
    }
}

/// Ends the grace of webhooks that have been gone from the file for too long: from here on they are removed for good and their deliveries are cancelled.
///
/// # Errors
/// [`Refusal`] when the daemon is ending or its store fails.
pub(super) async fn remove_expired_orphans(house: &House) -> Result<(), Refusal> {
    let _one_at_a_time = house.0.changes.lock().await;
    let now = house.0.clock.now();
    let grace_ms = house.config().orphan_grace_ms;
    let expired = house.registry().expired_orphans(now, grace_ms);
    for state in expired {
        let state = WebhookState { removed: Some(now), ..state };
        tracing::warn!(webhook = %state.id, "gone from the configuration for longer than orphan_grace: its pending deliveries are cancelled");
        house.commit(vec![Fact::Webhook(state.clone())]).await?;
        let by = webhooks::removal_by(&state);
        house.0.inbox.put(Message::Input(Input::Removed { webhook: state.number, by }));
        house.registry().put(state);
    }
    Ok(())
}
