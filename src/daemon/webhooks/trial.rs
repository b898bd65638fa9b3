//! A sample event sent to a webhook at once, and everything that came of it. It is never queued, recorded or tried again, and has no influence on what is.

use std::sync::Arc;

use serde_json::{Value, json};

use super::in_force;
use crate::daemon::house::House;
use crate::dispatch::Job;
use crate::dispatch::observe::Exchange;
use crate::limits;
use crate::model::report::{ReceivedResponse, SentRequest, TestReport, TestRequest};
use crate::model::{Catalog, EventId, EventType, Webhook, WebhookId, sample, submission};
use crate::server::hallway::Refusal;
use crate::time::wall_now;

/// Sends a sample event and tells of the whole exchange. That the webhook is paused does not matter.
///
/// # Errors
/// [`Refusal`]; whatever the receiver does is no error.
pub(in crate::daemon) async fn test(house: &House, id: WebhookId, request: TestRequest) -> Result<TestReport, Refusal> {
    let mut webhook = in_force(house, &id)?;
    let permit = Arc::clone(&house.0.trial_permits).try_acquire_owned();
    let _permit = permit.map_err(|_| Refusal::Busy {
        detail: format!("{} sample events are under way already, and that is as many as there may be", limits::TRIALS_MAX),
        retry_after_s: 1,
    })?;
    let config = house.config();
    let event_type = type_for(&request, &webhook, &config.catalog)?;
    let wanted = webhook.spec.selector_for(&event_type.name).is_some();
    let data = request.data.unwrap_or_else(|| sample::data(event_type));
    let sent_at = wall_now();
    // Not the form of an id that the daemon gives to events, so that a receiver, and whoever reads its log, can tell.
    let fresh_id = || EventId::parse(&format!("test_{}", sent_at.0)).expect("digits are good in an id");
    let event = if event_type.name.is_of_daemon() {
        submission::of_daemon(event_type.name.clone(), sent_at, &Value::Object(data), fresh_id())
    } else {
        let text = json!({ "type": event_type.name, "project": webhook.spec.project, "data": data }).to_string();
        let event = submission::parse(&text, &config.catalog, sent_at, fresh_id);
        event.map_err(|mistakes| Refusal::Invalid { detail: mistakes.join("; ") })?
    };
    if webhook.spec.timeout_ms > limits::TRIAL_TIMEOUT_MAX_MS {
        Arc::make_mut(&mut webhook).spec.timeout_ms = limits::TRIAL_TIMEOUT_MAX_MS;
    }
    let own_headers = webhook.spec.headers.clone();
    let job = Job { webhook, event_id: event.id, body: Arc::clone(&event.body), attempt: 1, sent_at };
    let (outcome, Exchange { request_line, request_headers, response_line, response_headers }) = house.0.dispatcher.attempt_seen(job).await;
    let response = response_line.map(|line| ReceivedResponse {
        line,
        headers: response_headers,
        body: String::from_utf8_lossy(&outcome.excerpt).into_owned(),
    });
    let request = SentRequest {
        line: request_line,
        headers: request_headers.into_iter().map(|header| without_secrets(header, &own_headers)).collect(),
        body: String::from_utf8_lossy(&event.body).into_owned(),
    };
    Ok(TestReport {
        webhook: id,
        event_type: event_type.name.clone(),
        wanted,
        request,
        response,
        outcome: outcome.class,
        sentence: outcome.sentence,
        phases: outcome.phases,
        remote: outcome.remote,
    })
}

/// The type that was asked for, else the first that the webhook wants.
fn type_for<'a>(request: &TestRequest, webhook: &Webhook, catalog: &'a Catalog) -> Result<&'a EventType, Refusal> {
    let project = &webhook.spec.project;
    let found = match &request.event_type {
        Some(name) if name.is_of_daemon() != project.is_of_daemon() => {
            Err(format!("there is never an event {name} in the project {project}"))
        }
        Some(name) => catalog.get(name.as_str()).ok_or_else(|| catalog.unknown_type(name.as_str())),
        None => {
            let first = catalog.types_of(project).iter().find(|event_type| webhook.spec.selector_for(&event_type.name).is_some());
            first.ok_or_else(|| "no event type of the catalogue is one that this webhook wants".to_owned())
        }
    };
    found.map_err(|detail| Refusal::Invalid { detail })
}

/// A header as it is shown: of those that the webhook has of its own the names alone, as everywhere.
fn without_secrets((name, value): (String, String), own: &[(String, String)]) -> (String, String) {
    let is_own = own.iter().any(|(own, _)| *own == name);
    (name, if is_own { "…".to_owned() } else { value })
}
