//! The front doors: events, metrics and the sandbox on TCP, the commands' API on a Unix socket. They never decide what is sent, and never touch the store.

mod admin;
pub mod api;
mod blacklist;
mod connection;
mod controls;
mod deliveries;
pub mod doors;
pub mod events;
pub mod hallway;
pub mod metrics;
pub mod operations;
mod paced;
pub mod peer;
pub mod problem;
pub mod sandbox;
pub mod tls;
pub mod tokens;
mod webhooks;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use serde_json::json;

use self::api::{About, Api, Output, Sketch};
use self::events::{BodyBudget, EventsDoor};
use self::hallway::Hallway;
use self::metrics::Metrics;
use self::operations::Operations;
use self::problem::Problem;
use self::tokens::Door;
use crate::limits;
use crate::model::report::StatusQuery;

/// What the description of the listener says first.
const LISTENER: &str = "What the TCP listener serves: events in, and how the daemon is. Every refusal is a problem (RFC 9457) whose `detail` a person can act on; 404 and 405 answer what is not here. \
    The sandboxes' URLs (`/sandbox/…`) are not described: they answer whatever their owners told them to. All else is on the admin socket, which describes itself at `/openapi.json`, too.";
/// What the description of the admin socket says first.
const ADMIN: &str = "What the admin socket serves: everything that the commands do. Who may open the socket may do all of it, and who changed what is in the log. Every refusal is a problem (RFC 9457) \
    whose `detail` a person can act on; 404 and 405 answer what is not here. Lists page with `limit` and `after`: pass what the page before gave as `next`. Bodies are JSON whatever their content type says, \
    those of `POST /v1/events` aside.";

/// The metrics as text.
struct Exposition {
    content_type: &'static str,
    text: String,
}

/// What the TCP listener serves.
pub fn listener_router<H: Hallway>(hallway: H, metrics: Arc<Metrics>, budget: BodyBudget, is_loopback: bool) -> Router {
    let open = Api::new()
        .get("/healthz", healthz, About::new("healthz", "Whether the daemon lives."))
        .get("/readyz", readyz::<H>, About::new("readyz", "Whether events are accepted."))
        .get("/metrics", render_metrics::<H>, About::new("metrics", "Prometheus metrics; in OpenMetrics, where that is asked for by name."))
        .with_state((hallway.clone(), metrics));
    router("hookwheel", LISTENER, open, EventsDoor { hallway, budget }, Door::Listener { is_loopback })
}

/// What the admin socket serves, beside what `more` does.
pub fn admin_router<H: Hallway + Operations>(hallway: H, budget: BodyBudget, more: Api) -> Router {
    let admin =
        admin::routes::<H>().merge(blacklist::routes()).merge(webhooks::routes()).merge(controls::routes()).merge(operations::routes());
    let admin = admin.with_state(hallway.clone()).merge(more);
    router("hookwheel, the admin socket", ADMIN, admin, EventsDoor { hallway, budget }, Door::AdminSocket)
}

fn router<H: Hallway>(title: &str, text: &str, api: Api, events_door: EventsDoor<H>, door: Door) -> Router {
    api.merge(events::routes(door).with_state(events_door))
        .into_router(title, text)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(Extension(door))
        .layer(DefaultBodyLimit::max(limits::REQUEST_SIZE_MAX))
}

async fn healthz() -> &'static str {
    "alive\n"
}

async fn readyz<H: Hallway>(State((hallway, _)): State<(H, Arc<Metrics>)>) -> Result<&'static str, Problem> {
    match hallway.not_ready() {
        None => Ok("ready\n"),
        Some(why) => Err(Problem::busy(why, 5)),
    }
}

/// In the format that was asked for: OpenMetrics by name, else the older one, which everybody reads.
async fn render_metrics<H: Hallway>(
    State((hallway, metrics)): State<(H, Arc<Metrics>)>,
    headers: HeaderMap,
) -> Result<Exposition, Problem> {
    // No metric has a webhook's name for a label, so none is asked for.
    let status = hallway.status(StatusQuery { webhooks: Some(0) }).await?;
    let text = metrics.render(&status);
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let is_wanted = accepted.into_iter().any(|accepted| accepted.contains("application/openmetrics-text"));
    Ok(match is_wanted {
        true => Exposition { content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8", text },
        false => Exposition { content_type: "text/plain; version=0.0.4; charset=utf-8", text: metrics::in_prometheus_text(&text) },
    })
}

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, self.content_type)], self.text).into_response()
    }
}

impl Output for Exposition {
    fn describe(sketch: &mut Sketch<'_>) {
        let text = json!({ "schema": { "type": "string" } });
        sketch.answers_in(StatusCode::OK, "The metrics.", &json!({ "text/plain": text, "application/openmetrics-text": text }));
    }
}

async fn not_found(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {method} {}; events go to POST /v1/events", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

#[cfg(test)]
mod tests;
