//! The front doors: events, metrics and the sandbox on TCP, the commands' API on a Unix socket. They never decide what is sent, and never touch the store.

mod admin;
pub mod api;
mod blacklist;
mod connection;
mod controls;
mod deliveries;
pub mod doors;
pub mod events;
mod exposition;
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
use axum::http::{Method, StatusCode, Uri};
use axum::{Extension, Router};

use self::api::{About, Api};
use self::events::EventsDoor;
use self::events::budget::BodyBudget;
use self::exposition::{LatestMetrics, render_metrics};
use self::hallway::Hallway;
use self::metrics::Metrics;
use self::operations::Operations;
use self::problem::Problem;
use self::tokens::Door;
use crate::limits;

/// What the description of the listener says first.
const LISTENER: &str = "What the TCP listener serves: events in, and how the daemon is. Every refusal is a problem (RFC 9457) whose `detail` a person can act on; 404 and 405 answer what is not here. \
    The sandboxes' URLs (`/sandbox/…`) are not described: they answer whatever their owners told them to. All else is on the admin socket, which describes itself at `/openapi.json`, too.";
/// What the description of the admin socket says first.
const ADMIN: &str = "What the admin socket serves: everything that the commands do. Who may open the socket may do all of it, and who changed what is in the log. Every refusal is a problem (RFC 9457) \
    whose `detail` a person can act on; 404 and 405 answer what is not here. Lists page with `limit` and `after`: pass what the page before gave as `next`. Bodies are JSON whatever their content type says, \
    those of `POST /v1/events` aside.";

/// What the TCP listener serves.
pub fn listener_router<H: Hallway>(hallway: H, metrics: Arc<Metrics>, budget: BodyBudget, is_loopback: bool) -> Router {
    let open = Api::new()
        .get("/healthz", healthz, About::new("healthz", "Whether the daemon lives."))
        .get("/readyz", readyz::<H>, About::new("readyz", "Whether events are accepted."))
        .get("/metrics", render_metrics::<H>, About::new("metrics", "Prometheus metrics; in OpenMetrics, where that is asked for by name."))
        .with_state((hallway.clone(), LatestMetrics::new(metrics)));
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

async fn readyz<H: Hallway>(State((hallway, _)): State<(H, LatestMetrics)>) -> Result<&'static str, Problem> {
    match hallway.not_ready() {
        None => Ok("ready\n"),
        Some(why) => Err(Problem::busy(why, 5)),
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
