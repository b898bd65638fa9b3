//! The front doors: events, metrics and the sandbox on TCP, the commands' API on a Unix socket. They never decide what is sent, and never touch the store.

pub mod admin;
mod blacklist;
mod controls;
mod deliveries;
pub mod doors;
pub mod events;
pub mod hallway;
pub mod metrics;
pub mod operations;
pub mod peer;
pub mod problem;
pub mod sandbox;
pub mod tokens;
mod webhooks;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};

use self::events::{BodyBudget, EventsDoor};
use self::hallway::Hallway;
use self::metrics::Metrics;
use self::operations::Operations;
use self::problem::Problem;
use self::tokens::Door;
use crate::limits;
use crate::model::report::StatusQuery;

/// What the TCP listener serves.
pub fn listener_router<H: Hallway>(hallway: H, metrics: Arc<Metrics>, budget: BodyBudget, is_loopback: bool) -> Router {
    let open = Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz::<H>))
        .route("/metrics", get(render_metrics::<H>))
        .with_state((hallway.clone(), metrics));
    with_events(open, EventsDoor { hallway, budget }, Door::Listener { is_loopback })
}

/// What the admin socket serves.
pub fn admin_router<H: Hallway + Operations>(hallway: H, budget: BodyBudget) -> Router {
    let admin = admin::routes(hallway.clone()).merge(blacklist::routes(hallway.clone())).merge(webhooks::routes(hallway.clone()));
    let admin = admin.merge(controls::routes(hallway.clone())).merge(operations::routes(hallway.clone()));
    with_events(admin, EventsDoor { hallway, budget }, Door::AdminSocket)
}

fn with_events<H: Hallway>(router: Router, events_door: EventsDoor<H>, door: Door) -> Router {
    let events = Router::new().route("/v1/events", post(events::publish::<H>)).with_state(events_door);
    router
        .merge(events)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(Extension(door))
        .layer(DefaultBodyLimit::max(limits::REQUEST_SIZE_MAX))
}

async fn readyz<H: Hallway>(State((hallway, _)): State<(H, Arc<Metrics>)>) -> Response {
    match hallway.not_ready() {
        None => "ready\n".into_response(),
        Some(why) => Problem::busy(why, 5).into_response(),
    }
}

/// In the format that was asked for: OpenMetrics by name, else the older one, which everybody reads.
async fn render_metrics<H: Hallway>(State((hallway, metrics)): State<(H, Arc<Metrics>)>, headers: HeaderMap) -> Result<Response, Problem> {
    // No metric has a webhook's name for a label, so none is asked for.
    let status = hallway.status(StatusQuery { webhooks: Some(0) }).await?;
    let text = metrics.render(&status);
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (content_type, text) = if accepted.into_iter().any(|accepted| accepted.contains("application/openmetrics-text")) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", metrics::in_prometheus_text(&text))
    };
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

async fn not_found(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is no {method} {}; events go to POST /v1/events", uri.path()))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

#[cfg(test)]
mod tests;
