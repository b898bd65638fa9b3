//! `POST /v1/events`: a bounded body becomes checked events, all or none. It never keeps anything of a request that it refuses.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use ulid::Ulid;

use super::hallway::{DoorSettings, Hallway, Publication};
use super::problem::{ItemProblem, Problem};
use super::tokens::{self, Door, Leave};
use crate::limits;
use crate::model::report::PublishedEvent;
use crate::model::{EventId, NewEvent, submission};
use crate::time::wall_now;

/// What the handler needs.
#[derive(Clone)]
pub struct EventsDoor<H> {
    /// The house.
    pub hallway: H,
    /// Kibibytes of bodies that may be in memory at once.
    pub body_budget: Arc<Semaphore>,
}

impl<H> EventsDoor<H> {
    /// A door with a full budget.
    #[must_use]
    pub fn new(hallway: H) -> Self {
        Self { hallway, body_budget: Arc::new(Semaphore::new(limits::REQUEST_BODIES_MAX / 1024)) }
    }
}

/// The answer to a batch that is durable.
#[derive(Serialize)]
struct BatchAnswer {
    accepted: usize,
    duplicates: usize,
    events: Vec<PublishedEvent>,
}

/// The shape of a request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Ndjson,
}

/// Handles a publication.
pub async fn publish<H: Hallway>(
    State(state): State<EventsDoor<H>>,
    Extension(door): Extension<Door>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let settings = state.hallway.settings();
    let leave = tokens::judge(door, &settings.tokens, &headers)?;
    let form = form_of(&headers)?;
    let (text, _budget) = read(&state.body_budget, body).await?;
    let items = split(&text, form)?;
    let (is_batch, count) = (items.is_batch, items.items.len());
    let events = check(items, &settings, &leave)?;
    if events.is_empty() {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "there is no event in this request"));
    }
    match state.hallway.publish(events).await {
        Publication::Refused(refusal) => Err(refusal.into()),
        Publication::Conflicts(conflicts) => {
            let message = |id: &EventId| format!("the id {id} was used before for an event with other content");
            let errors =
                conflicts.iter().map(|(index, id)| ItemProblem { index: *index, line: None, message: message(id) }).collect::<Vec<_>>();
            let detail = if is_batch {
                format!("{} of {count} events conflict with earlier ones; nothing was accepted", errors.len())
            } else {
                errors[0].message.clone()
            };
            Err(Problem::new(StatusCode::CONFLICT, detail).with_errors(errors))
        }
        Publication::Durable(published) => {
            let duplicates = published.iter().filter(|event| event.duplicate).count();
            let status = if duplicates == published.len() { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok(match published.as_slice() {
                [event] if !is_batch => (status, Json(event)).into_response(),
                _ => (status, Json(BatchAnswer { accepted: published.len() - duplicates, duplicates, events: published })).into_response(),
            })
        }
    }
}

fn form_of(headers: &HeaderMap) -> Result<Form, Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(Form::Json),
        "application/x-ndjson" | "application/ndjson" => Ok(Form::Ndjson),
        other => {
            let detail = format!(
                "the content type {other:?} is not taken here: send application/json (an object or an array) or application/x-ndjson (one object a line)"
            );
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// Reads a body whose size is known to fit the budget; one of unknown size counts as the largest.
async fn read(budget: &Arc<Semaphore>, body: Body) -> Result<(String, tokio::sync::OwnedSemaphorePermit), Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request has more than {} bytes; send fewer events at once", limits::REQUEST_SIZE_MAX),
        )
    };
    let declared = body.size_hint().exact().map_or(limits::REQUEST_SIZE_MAX, |size| usize::try_from(size).unwrap_or(usize::MAX));
    if declared > limits::REQUEST_SIZE_MAX {
        return Err(too_large());
    }
    let kibibytes = u32::try_from(declared.div_ceil(1024).max(1)).expect("limits::REQUEST_SIZE_MAX is far below 2^32");
    let permit =
        Arc::clone(budget).try_acquire_many_owned(kibibytes).map_err(|_| Problem::busy("too many requests are being read at once", 1))?;
    let collected = tokio::time::timeout(
        Duration::from_millis(limits::REQUEST_READ_TIMEOUT_MS),
        Limited::new(body, limits::REQUEST_SIZE_MAX).collect(),
    )
    .await;
    let Ok(collected) = collected else {
        return Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not arrive within {} s", limits::REQUEST_READ_TIMEOUT_MS / 1000),
        ));
    };
    let bytes = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(error) => return Err(Problem::new(StatusCode::BAD_REQUEST, format!("the body did not arrive whole: {error}"))),
    };
    let text = String::from_utf8(bytes.into()).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not UTF-8: byte {at} does not belong there"))
    })?;
    Ok((text, permit))
}

/// A request's events, still text.
struct Items<'a> {
    is_batch: bool,
    /// Each with its line in NDJSON.
    items: Vec<(Option<usize>, &'a str)>,
}

fn split(text: &str, form: Form) -> Result<Items<'_>, Problem> {
    let not_json = |error: serde_json::Error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}"));
    let items = match form {
        Form::Ndjson => {
            let lines = text.lines().enumerate().map(|(index, line)| (Some(index + 1), line.trim())).filter(|(_, line)| !line.is_empty());
            Items { is_batch: true, items: lines.collect() }
        }
        Form::Json if text.trim_start().starts_with('[') => {
            let values = serde_json::from_str::<Vec<&RawValue>>(text).map_err(not_json)?;
            Items { is_batch: true, items: values.into_iter().map(|value| (None, value.get())).collect() }
        }
        Form::Json => {
            let value = serde_json::from_str::<&RawValue>(text).map_err(not_json)?;
            Items { is_batch: false, items: vec![(None, value.get())] }
        }
    };
    if items.items.len() > limits::REQUEST_EVENTS_MAX {
        let detail = format!("the request has {} events, at most {} are taken at once", items.items.len(), limits::REQUEST_EVENTS_MAX);
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(items)
}

fn check(items: Items<'_>, settings: &DoorSettings, leave: &Leave) -> Result<Vec<NewEvent>, Problem> {
    let Items { is_batch, items } = items;
    let now = wall_now();
    let count = items.len();
    let mut events = Vec::with_capacity(count);
    let (mut errors, mut status) = (Vec::new(), StatusCode::UNPROCESSABLE_ENTITY);
    for (index, (line, item)) in items.into_iter().enumerate() {
        let wrong = |message| ItemProblem { index, line, message };
        if item.len() > settings.max_event_size {
            status = StatusCode::PAYLOAD_TOO_LARGE;
            errors.push(wrong(format!("the event has {} bytes, at most {} are taken", item.len(), settings.max_event_size)));
            continue;
        }
        match submission::parse(item, &settings.catalog, now, fresh_id) {
            Ok(event) if !leave.covers(&event.project) => {
                status = StatusCode::FORBIDDEN;
                errors.push(wrong(format!("this token does not cover the project {}", event.project)));
            }
            Ok(event) => events.push(event),
            Err(mistakes) => errors.extend(mistakes.into_iter().map(wrong)),
        }
    }
    if errors.is_empty() {
        return Ok(events);
    }
    let bad = count - events.len();
    let detail = if is_batch { format!("{bad} of {count} events can't be accepted, so none was") } else { errors[0].message.clone() };
    Err(Problem::new(status, detail).with_errors(errors))
}

/// `evt_` + a ULID of the wall clock and 80 random bits.
fn fresh_id() -> EventId {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).expect("the system's random generator works, or no TLS would either");
    let ulid = Ulid::from_parts(wall_now().0, u128::from_le_bytes(random));
    EventId::parse(&format!("evt_{ulid}")).expect("a ULID has letters and digits only")
}
