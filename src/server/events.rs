//! `POST /v1/events`: a bounded body becomes checked events, all or none. It never keeps anything of a request that it refuses.

pub mod batch;
pub mod budget;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;
use ulid::Ulid;

use self::batch::{Form, Shape, parse, problem_of};
use self::budget::{BodyBudget, Share};
use super::api::{About, Api, Input, Output, Sketch};
use super::hallway::{Hallway, Publication};
use super::problem::{ItemProblem, Problem};
use super::tokens::{self, Door, Leave};
use crate::limits;
use crate::model::report::PublishedEvent;
use crate::model::submission::SubmittedEvent;
use crate::model::{EventId, shown};
use crate::time::wall_now;

/// What the handler needs.
#[derive(Clone)]
pub struct EventsDoor<H> {
    /// The house.
    pub hallway: H,
    /// What it may hold of bodies.
    pub budget: BodyBudget,
}

/// What has arrived of a body, in pieces of [`limits::REQUEST_BODY_STEP`] bytes: one buffer that grows is copied again and again, and for a while each body would be in memory twice or three times.
#[derive(Default)]
struct Gathered {
    pieces: Vec<Vec<u8>>,
    length: usize,
}

impl Gathered {
    fn add(&mut self, mut data: &[u8]) {
        self.length += data.len();
        while !data.is_empty() {
            if self.pieces.last().is_none_or(|piece| piece.len() == limits::REQUEST_BODY_STEP) {
                self.pieces.push(Vec::new());
            }
            let piece = self.pieces.last_mut().expect("one was added, if there was none");
            let (now, later) = data.split_at(data.len().min(limits::REQUEST_BODY_STEP - piece.len()));
            piece.extend_from_slice(now);
            data = later;
        }
    }

    /// All of it; each piece is given back as soon as it is in its place.
    fn whole(mut self) -> Vec<u8> {
        if self.pieces.len() < 2 {
            return self.pieces.pop().unwrap_or_default();
        }
        let mut whole = Vec::with_capacity(self.length);
        self.pieces.into_iter().for_each(|piece| whole.extend_from_slice(&piece));
        whole
    }
}

/// What is durable now.
enum Durable {
    /// The answer to one event.
    Event(PublishedEvent),
    /// The answer to a batch.
    Batch(PublishedBatch),
}

/// The answer to a batch that is durable.
#[derive(Serialize, JsonSchema)]
struct PublishedBatch {
    /// Events that are new.
    accepted: usize,
    /// Events that were accepted before.
    duplicates: usize,
    /// What became of each, in order.
    events: Vec<PublishedEvent>,
}

/// The body of a publication, not read yet.
struct Submitted(Body);

/// The route, as that door has it.
pub(super) fn routes<H: Hallway>(door: Door) -> Api<EventsDoor<H>> {
    let about = About::new(
        "publish",
        "Takes events, all or none: one JSON object, a JSON array of them, or one object a line (NDJSON). The answer comes when they are on disk. An `id` makes a repetition recognizable.",
    )
    .or(StatusCode::BAD_REQUEST, "The body is not JSON, not UTF-8, or did not arrive whole.")
    .or(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time.")
    .or(StatusCode::CONFLICT, "An id was used before for an event with other content; `errors` lists every one. Nothing was accepted.")
    .or(StatusCode::PAYLOAD_TOO_LARGE, "An event or the request is too large.")
    .or(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The content type, or a content coding, is not taken.")
    .or(StatusCode::UNPROCESSABLE_ENTITY, "Events are wrong; `errors` lists every mistake. Nothing was accepted.");
    let about = match door {
        Door::AdminSocket => about,
        Door::Listener { .. } => about
            .with_token()
            .or(StatusCode::UNAUTHORIZED, "A token is needed, or this one is not known.")
            .or(StatusCode::FORBIDDEN, "The token does not cover the project; without tokens: a web page seems to have sent this."),
    };
    Api::new().post("/v1/events", publish::<H>, about)
}

impl<S: Send + Sync> FromRequest<S> for Submitted {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        Ok(Self(request.into_body()))
    }
}

impl Input for Submitted {
    fn describe(sketch: &mut Sketch<'_>) {
        let event = sketch.schema_of_body::<SubmittedEvent>();
        let batch = json!({ "type": "array", "items": event, "minItems": 1, "maxItems": limits::REQUEST_EVENTS_MAX });
        let content = json!({
            "application/json": { "schema": { "oneOf": [event, batch] } },
            "application/x-ndjson": { "schema": { "type": "string", "description": "One event a line." } },
        });
        sketch.body_in(&content, true);
    }
}

impl IntoResponse for Durable {
    /// `202`; `200` where nothing is new.
    fn into_response(self) -> Response {
        let is_new = match &self {
            Self::Event(event) => !event.duplicate,
            Self::Batch(batch) => batch.accepted > 0,
        };
        let status = if is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
        match self {
            Self::Event(event) => (status, Json(event)).into_response(),
            Self::Batch(batch) => (status, Json(batch)).into_response(),
        }
    }
}

impl Output for Durable {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers_either::<PublishedEvent, PublishedBatch>(StatusCode::ACCEPTED, "Accepted, and on disk.");
        sketch.answers_either::<PublishedEvent, PublishedBatch>(StatusCode::OK, "Nothing is new: all of it was accepted before.");
    }
}

/// Handles a publication.
async fn publish<H: Hallway>(
    State(state): State<EventsDoor<H>>,
    Extension(door): Extension<Door>,
    uri: Uri,
    headers: HeaderMap,
    Submitted(mut body): Submitted,
) -> Result<Durable, Problem> {
    let answer = receive(&state, door, &uri, &headers, &mut body).await;
    // A client that asked before it sent its body is not told to go on.
    if answer.is_err() && !headers.contains_key(header::EXPECT) {
        discard(&mut body).await;
    }
    answer
}

async fn receive<H: Hallway>(
    state: &EventsDoor<H>,
    door: Door,
    uri: &Uri,
    headers: &HeaderMap,
    body: &mut Body,
) -> Result<Durable, Problem> {
    let settings = state.hallway.settings();
    let leave = tokens::judge(door, &settings.tokens, uri, headers)?;
    let form = form_of(headers)?;
    let (text, share) = read(&state.budget, &leave, body).await?;
    let (parsed, _share) = if text.len() <= limits::INLINE_PARSE_MAX {
        (parse(&text, form, &settings, &leave), share)
    } else {
        // Other connections must not wait for ten thousand events. The share goes along, so it bounds these threads too when clients go away.
        let work = move || (parse(&text, form, &settings, &leave), share);
        let defect = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of hookwheel: reading the events failed");
        tokio::task::spawn_blocking(work).await.map_err(defect)?
    };
    let (events, shape) = parsed?;
    if events.is_empty() {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "there is no event in this request"));
    }
    match state.hallway.publish(events).await {
        Publication::Refused(refusal) => Err(refusal.into()),
        Publication::Conflicts(conflicts) => Err(conflict(&conflicts, &shape)),
        Publication::Durable(published) => Ok(durable(published, shape.is_batch)),
    }
}

/// Many clients listen only after they have sent everything. An answer with the connection closed behind it would not reach them, so what
/// they still send is read for a while, and forgotten.
pub(super) async fn discard(body: &mut Body) {
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // What does not come in time is not waited for; its sender has been refused anyway.
    drop(timeout(Duration::from_millis(limits::REFUSED_BODY_TIMEOUT_MS), all).await);
}

fn durable(mut events: Vec<PublishedEvent>, is_batch: bool) -> Durable {
    if !is_batch
        && events.len() == 1
        && let Some(event) = events.pop()
    {
        return Durable::Event(event);
    }
    let duplicates = events.iter().filter(|event| event.duplicate).count();
    Durable::Batch(PublishedBatch { accepted: events.len() - duplicates, duplicates, events })
}

fn conflict(conflicts: &[(usize, EventId)], shape: &Shape) -> Problem {
    let errors = conflicts.iter().map(|(index, id)| ItemProblem {
        index: *index,
        line: shape.lines.get(*index).copied().flatten(),
        message: format!("the id {id} was used before for an event with other content"),
    });
    let summary = format!("{} of {} events conflict with earlier ones; nothing was accepted", conflicts.len(), shape.lines.len());
    problem_of(StatusCode::CONFLICT, summary, errors.collect(), shape)
}

fn form_of(headers: &HeaderMap) -> Result<Form, Problem> {
    if let Some(coding) = headers.get(header::CONTENT_ENCODING).filter(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let shown = shown(&String::from_utf8_lossy(coding.as_bytes()));
        let detail = format!("content-encoding: {shown} is not taken here: send the body as it is");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(Form::Json),
        "application/x-ndjson" | "application/ndjson" => Ok(Form::Ndjson),
        other => {
            let detail = format!(
                "the content type {} is not taken here: send application/json (an object or an array) or application/x-ndjson (one object a line)",
                shown(other)
            );
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// Reads a body as far as it may go, and takes its share of the budget as it comes.
async fn read(budget: &BodyBudget, leave: &Leave, body: &mut Body) -> Result<(String, Share), Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request has more than {} bytes; send fewer events at once", limits::REQUEST_SIZE_MAX),
        )
    };
    if body.size_hint().exact().is_some_and(|declared| declared > limits::REQUEST_SIZE_MAX as u64) {
        return Err(too_large());
    }
    let mut share = budget.share(leave)?;
    let whole = async {
        let mut gathered = Gathered::default();
        while let Some(frame) = body.frame().await {
            let cut_short = |error| Problem::new(StatusCode::BAD_REQUEST, format!("the body did not arrive whole: {error}"));
            let frame = frame.map_err(cut_short)?;
            let Some(data) = frame.data_ref() else { continue };
            let length = gathered.length + data.len();
            if length > limits::REQUEST_SIZE_MAX {
                return Err(too_large());
            }
            share.grow_to(length)?;
            gathered.add(data);
        }
        Ok(gathered.whole())
    };
    let too_slow = |_| {
        let detail = format!("the body did not arrive within {} s", limits::REQUEST_READ_TIMEOUT_MS / 1000);
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
    };
    let bytes = timeout(Duration::from_millis(limits::REQUEST_READ_TIMEOUT_MS), whole).await.map_err(too_slow)??;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not UTF-8: byte {at} does not belong there"))
    })?;
    Ok((text, share))
}

/// `evt_` + a ULID of the wall clock and 80 random bits.
///
/// # Panics
/// When the system's random generator fails.
#[must_use]
pub fn fresh_id() -> EventId {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random).expect("the system's random generator works, or no TLS would either");
    let ulid = Ulid::from_parts(wall_now().0, u128::from_le_bytes(random));
    EventId::parse(&format!("evt_{ulid}")).expect("a ULID has letters and digits only")
}
