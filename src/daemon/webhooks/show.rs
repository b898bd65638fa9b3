//! What is told about webhooks, those included that are gone from the file. It changes nothing but that a secret counts as shown.

use std::collections::HashMap;
use std::sync::Arc;

use super::alive;
use crate::daemon::house::House;
use crate::engine::lanes::Lane;
use crate::engine::tally::Tally;
use crate::model::report::{WebhookDetail, WebhookPage, WebhookQuery, WebhookSettings, WebhookSummary};
use crate::model::{Origin, Secret, Signing, Webhook, WebhookId, WebhookNumber};
use crate::server::hallway::Refusal;
use crate::store::fact::WebhookState;

/// What the engine says about a lane.
#[derive(Default)]
pub(in crate::daemon) struct LaneReport {
    pending: u64,
    in_flight: u32,
    window: u32,
    tally: Tally,
}

impl LaneReport {
    /// As it stands.
    pub(in crate::daemon) fn of(lane: &Lane) -> Self {
        Self { pending: u64::from(lane.pending), in_flight: lane.in_flight, window: lane.window(), tally: lane.tally.clone() }
    }
}

/// A page of webhooks in the order of their ids.
///
/// # Errors
/// [`Refusal`] when the daemon is ending.
pub(in crate::daemon) async fn list(house: &House, query: WebhookQuery) -> Result<WebhookPage, Refusal> {
    let WebhookQuery { limit, after } = query;
    let ask =
        house.ask(|engine, _, _| engine.lanes().iter_from(WebhookNumber(0)).map(|(number, lane)| (number, LaneReport::of(lane))).collect());
    let mut webhooks = summaries(house, ask.await?);
    webhooks.retain(|webhook| after.as_ref().is_none_or(|after| webhook.id > *after));
    // One that was removed and came back may be there twice for a while.
    webhooks.sort_by(|one, other| one.id.cmp(&other.id));
    let limit = limit.unwrap_or(usize::MAX).max(1);
    // A page never ends between two of one id.
    let cut = (limit..webhooks.len()).find(|index| webhooks[*index].id != webhooks[index - 1].id);
    let next = cut.map(|cut| webhooks[cut - 1].id.clone());
    webhooks.truncate(cut.unwrap_or(webhooks.len()));
    Ok(WebhookPage { webhooks, next })
}

/// Every webhook that there is, and those that are removed while something is pending for them.
pub(in crate::daemon) fn summaries(house: &House, lanes: Vec<(WebhookNumber, LaneReport)>) -> Vec<WebhookSummary> {
    let mut lanes = lanes.into_iter().collect::<HashMap<_, _>>();
    let (in_force, others) = {
        let registry = house.registry();
        let is_told = |state: &&WebhookState| state.removed.is_none() || lanes.get(&state.number).is_some_and(|lane| lane.pending > 0);
        (registry.in_force().cloned().collect::<Vec<_>>(), registry.not_in_force().filter(is_told).cloned().collect::<Vec<_>>())
    };
    let mut summaries =
        in_force.iter().map(|webhook| of_webhook(house, webhook, lanes.remove(&webhook.number).unwrap_or_default())).collect::<Vec<_>>();
    summaries.extend(others.iter().map(|state| of_state(house, state, lanes.remove(&state.number).unwrap_or_default())));
    summaries
}

/// One webhook in short: by its definition, or, where it is not in force, by what is written down of it; nothing when it is not known any more.
pub(in crate::daemon) fn summary_of(
    house: &House,
    number: WebhookNumber,
    webhook: Option<&Arc<Webhook>>,
    report: LaneReport,
) -> Option<WebhookSummary> {
    if let Some(webhook) = webhook {
        return Some(of_webhook(house, webhook, report));
    }
    let state = house.registry().state(number).cloned()?;
    Some(of_state(house, &state, report))
}

/// One webhook in short.
///
/// # Errors
/// [`Refusal::NotFound`].
pub(super) async fn summary(house: &House, id: WebhookId) -> Result<WebhookSummary, Refusal> {
    let state = alive(house, &id)?;
    let number = state.number;
    let report = house.ask(move |engine, _, _| engine.lanes().get(number).map(LaneReport::of)).await?.unwrap_or_default();
    let webhook = house.registry().find(&id).cloned();
    Ok(match webhook {
        Some(webhook) => of_webhook(house, &webhook, report),
        None => of_state(house, &state, report),
    })
}

/// One webhook, whole; its generated secret the first time, which is written down before it is shown.
///
/// # Errors
/// [`Refusal::NotFound`].
pub(in crate::daemon) async fn detail(house: &House, id: WebhookId) -> Result<WebhookDetail, Refusal> {
    let state = alive(house, &id)?;
    let number = state.number;
    let report = house.ask(move |engine, _, _| engine.lanes().get(number).map(LaneReport::of)).await?.unwrap_or_default();
    let Some(webhook) = house.registry().find(&id).cloned() else {
        let summary = of_state(house, &state, report);
        return Ok(WebhookDetail { summary, settings: None, secret: None, public_key: None, old_secret_until: None, warnings: Vec::new() });
    };
    let guard = house.0.changes.lock().await;
    // Of a v1a key the receiver needs the public half alone, and so nobody is shown the other.
    let is_shown = webhook.spec.secret.is_none() && webhook.spec.signing == Signing::V1;
    let unseen = house.registry().state(number).filter(|state| is_shown && !state.secret_shown).cloned();
    let mut secret = None;
    if let Some(mut state) = unseen {
        secret = state.secret().map(|secret| secret.expose_text().to_string());
        state.secret_shown = true;
        house.change_state(state).await?;
    }
    drop(guard);
    let old_secret_until = house.registry().old_secret_until(number);
    let (summary, settings) = (of_webhook(house, &webhook, report), Some(settings_of(&webhook)));
    let public_key = webhook.secrets.first().and_then(Secret::public_key);
    Ok(WebhookDetail { summary, settings, secret, public_key, old_secret_until, warnings: Vec::new() })
}

fn settings_of(webhook: &Webhook) -> WebhookSettings {
    let spec = &webhook.spec;
    let attempts_total = spec.schedule.attempts_total();
    WebhookSettings {
        signing: spec.signing,
        timeout_ms: spec.timeout_ms,
        success: spec.success.to_string(),
        attempts_total,
        retry_intervals_ms: (1..attempts_total).filter_map(|attempt| spec.schedule.interval_after_ms(attempt)).collect(),
        max_in_flight: spec.max_in_flight,
        rate: spec.rate.map(|rate| rate.to_string()),
        ordered: spec.ordered,
        headers: spec.headers.iter().map(|(name, _)| name.clone()).collect(),
        allow_networks: spec.allow_networks.iter().map(ToString::to_string).collect(),
        ca_file: spec.ca_file(),
        client_certificate_file: spec.client_certificate_file(),
        client_key_file: spec.client_key_file(),
    }
}

fn of_webhook(house: &House, webhook: &Arc<Webhook>, report: LaneReport) -> WebhookSummary {
    let spec = &webhook.spec;
    WebhookSummary {
        title: spec.title.clone(),
        project: spec.project.to_string(),
        url: spec.url.to_string(),
        events: spec.selectors.iter().map(|selector| selector.as_str().to_owned()).collect(),
        place: spec.place.clone(),
        pauses: house.registry().pauses(webhook.number),
        ..of_lane(spec.id.clone(), spec.origin, report)
    }
}

/// A webhook that is not in force: gone from the file, not possible under the configuration, or removed while something is still pending for it.
fn of_state(house: &House, state: &WebhookState, report: LaneReport) -> WebhookSummary {
    let registry = house.registry();
    let definition = registry.definition(state.number);
    let text = |key| definition.and_then(|definition| definition.text(key)).unwrap_or_default().to_owned();
    let events = definition.and_then(|definition| definition.get("events")?.as_array()).into_iter().flatten();
    let title = match (state.removed, definition) {
        (Some(_), _) => "(removed)".into(),
        (None, Some(_)) => text("title"),
        (None, None) => "(no longer in the configuration)".into(),
    };
    let unusable = registry.unusable(state.number).map(|why| format!("not possible under this configuration: {why}"));
    let lane = of_lane(state.id.clone(), state.origin, report);
    WebhookSummary {
        title,
        project: text("project"),
        url: text("url"),
        events: events.filter_map(|event| event.as_str()).map(str::to_owned).collect(),
        pauses: state.pauses.clone(),
        window: 0,
        trouble: unusable.or(lane.trouble),
        ..lane
    }
}

/// What its lane says of a webhook, and nothing of what defines it.
fn of_lane(id: WebhookId, origin: Origin, report: LaneReport) -> WebhookSummary {
    let LaneReport { pending, in_flight, window, tally } = report;
    let Tally { delivered, dropped, failed_attempts, trouble, trouble_since } = tally;
    WebhookSummary {
        id,
        title: String::new(),
        project: String::new(),
        url: String::new(),
        events: Vec::new(),
        origin,
        place: None,
        pauses: Vec::new(),
        pending,
        in_flight,
        window,
        delivered,
        failed_attempts,
        dropped,
        trouble,
        trouble_since,
    }
}
