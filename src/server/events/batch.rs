//! The text of a publication: cut into events, each checked, all or none. It never keeps more of them than a request may have.

use std::fmt;

use axum::http::StatusCode;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::fresh_id;
use crate::limits;
use crate::model::blacklist::Reason;
use crate::model::{NewEvent, submission};
use crate::server::hallway::DoorSettings;
use crate::server::problem::{ItemProblem, Problem};
use crate::server::tokens::Leave;
use crate::time::{UnixMillis, wall_now};

/// The shape of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One event, or an array of them.
    Json,
    /// One event a line.
    Ndjson,
}

/// A request's events, still text.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Whether it may hold several, and is answered item by item.
    pub is_batch: bool,
    /// Each of them.
    pub items: Vec<Item<'a>>,
}

/// What is left of a batch once its events are read: enough to speak of any of them.
#[derive(Debug)]
pub struct Shape {
    /// As of its [`Batch`].
    pub is_batch: bool,
    /// Of each event, its line in NDJSON.
    pub lines: Vec<Option<usize>>,
}

/// One event, still text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its line in NDJSON, from 1.
    pub line: Option<usize>,
    /// As it was submitted.
    pub text: &'a str,
}

/// The elements of a JSON array, of which no more are kept than a request may have: millions of tiny ones would take many times the
/// memory of their text.
struct Elements<'a> {
    kept: Vec<&'a RawValue>,
    count: usize,
}

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

struct ElementsVisitor;

impl<'de> Visitor<'de> for ElementsVisitor {
    type Value = Elements<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut elements = Elements { kept: Vec::new(), count: 0 };
        while let Some(element) = sequence.next_element::<&RawValue>()? {
            elements.count += 1;
            if elements.count <= limits::REQUEST_EVENTS_MAX {
                elements.kept.push(element);
            }
        }
        Ok(elements)
    }
}

/// The events of a body, or every mistake in it.
///
/// # Errors
/// What is answered instead: with the place of each event that is wrong, where the body could be cut into events.
pub fn parse(text: &str, form: Form, settings: &DoorSettings, leave: &Leave) -> Result<(Vec<NewEvent>, Shape), Problem> {
    let batch = split(text, form)?;
    let shape = Shape { is_batch: batch.is_batch, lines: batch.items.iter().map(|item| item.line).collect() };
    Ok((check(&batch, &shape, settings, leave)?, shape))
}

/// Cuts a body into events. Blank lines of NDJSON are none.
///
/// # Errors
/// It is not JSON, or there are too many.
pub fn split(text: &str, form: Form) -> Result<Batch<'_>, Problem> {
    let not_json = |error: serde_json::Error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}"));
    match form {
        Form::Ndjson => {
            let lines = text.lines().enumerate().map(|(index, line)| Item { line: Some(index + 1), text: line.trim() });
            let lines = lines.filter(|item| !item.text.is_empty());
            bounded(lines.clone().count())?;
            Ok(Batch { is_batch: true, items: lines.collect() })
        }
        Form::Json if text.trim_start().starts_with('[') => {
            let elements = serde_json::from_str::<Elements<'_>>(text).map_err(not_json)?;
            bounded(elements.count)?;
            Ok(Batch { is_batch: true, items: elements.kept.into_iter().map(|value| Item { line: None, text: value.get() }).collect() })
        }
        Form::Json => {
            let value = serde_json::from_str::<&RawValue>(text).map_err(not_json)?;
            Ok(Batch { is_batch: false, items: vec![Item { line: None, text: value.get() }] })
        }
    }
}

fn bounded(count: usize) -> Result<(), Problem> {
    if count <= limits::REQUEST_EVENTS_MAX {
        return Ok(());
    }
    let detail = format!("the request has {count} events, at most {} are taken at once", limits::REQUEST_EVENTS_MAX);
    Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
}

/// Every event of the batch, or every mistake: 413 or 403 where all mistakes are of that kind, else 422.
fn check(batch: &Batch<'_>, shape: &Shape, settings: &DoorSettings, leave: &Leave) -> Result<Vec<NewEvent>, Problem> {
    let now = wall_now();
    let mut events = Vec::with_capacity(batch.items.len());
    let (mut errors, mut statuses) = (Vec::new(), Vec::new());
    for (index, item) in batch.items.iter().enumerate() {
        match check_item(item.text, settings, leave, now) {
            Ok(event) => events.push(event),
            Err((status, messages)) => {
                statuses.push(status);
                errors.extend(messages.into_iter().map(|message| ItemProblem { index, line: item.line, message }));
            }
        }
    }
    let Some(status) = statuses.iter().copied().reduce(|one, other| if one == other { one } else { StatusCode::UNPROCESSABLE_ENTITY })
    else {
        return Ok(events);
    };
    let summary = format!("{} of {} events can't be accepted, so none was", statuses.len(), batch.items.len());
    Err(problem_of(status, summary, errors, shape))
}

fn check_item(text: &str, settings: &DoorSettings, leave: &Leave, now: UnixMillis) -> Result<NewEvent, (StatusCode, Vec<String>)> {
    if text.len() > settings.max_event_size {
        let message = format!("the event has {} bytes, at most {} are taken", text.len(), settings.max_event_size);
        return Err((StatusCode::PAYLOAD_TOO_LARGE, vec![message]));
    }
    let parsed = submission::parse(text, &settings.catalog, now, fresh_id);
    let event = parsed.map_err(|mistakes| (StatusCode::UNPROCESSABLE_ENTITY, mistakes))?;
    if !leave.covers(&event.project) {
        return Err((StatusCode::FORBIDDEN, vec![format!("this token does not cover the project {}", event.project)]));
    }
    if event.blacklisted.is_none() && Reason::of_type(&event.event_type).is_some() {
        tracing::debug!(id = %event.id, project = %event.project, "data.email is no mail address, so nothing goes on the Black List");
    }
    Ok(event)
}

/// A problem with every bad item; the one of a request that is no batch is told in its own words.
pub(super) fn problem_of(status: StatusCode, summary: String, errors: Vec<ItemProblem>, shape: &Shape) -> Problem {
    let detail = match errors.first() {
        Some(error) if !shape.is_batch => error.message.clone(),
        _ => summary,
    };
    Problem::new(status, detail).with_errors(errors)
}
