//! The sandboxes on the admin socket, for the commands. It never receives requests for a sandbox itself.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /v1/sandboxes` | lists them: [`SandboxSummary`] each, the oldest first |
//! | `POST /v1/sandboxes` | makes one of [`NewSandbox`] (an empty body is the default), `201` with its [`SandboxSummary`]; `409` when there are too many |
//! | `GET /v1/sandboxes/{token}` | one |
//! | `DELETE /v1/sandboxes/{token}` | removes it and all that it received; its last [`SandboxSummary`] |
//! | `GET /v1/sandboxes/{token}/requests` | what it received, [`ReceivedPage`]: the newest `limit` (default 500), or with `after` those behind that number, oldest first |
//!
//! With `after=N&wait_ms=M` the last one answers as soon as there is a request behind `N`, and with an empty list after `M` milliseconds (at most 30 000): asking again and again with the
//! `last` of the answer before follows a sandbox without missing one, over a restart of the daemon too.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::super::api::{About, Api, Asked, Created, MayTell, Named, Telling};
use super::super::problem::Problem;
use super::Sandboxes;
use crate::limits;
use crate::model::SandboxToken;
use crate::model::sandbox::{NewSandbox, ReceivedPage, SandboxSummary};

impl Telling for NewSandbox {
    const EXPECTED: &'static str = "{\"title\":…,\"behaviour\":{…},\"secret\":…}";
}

/// The query of `GET /v1/sandboxes/{token}/requests`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    /// Behind the request of this number.
    after: Option<u64>,
    /// At most so many.
    limit: Option<usize>,
    /// With `after`: wait so many milliseconds for a request, at most 30 000.
    wait_ms: u64,
}

/// The routes below `/v1/sandboxes`.
pub fn routes(sandboxes: Sandboxes) -> Api {
    let one = |id, text| About::new(id, text).or_not_found();
    Api::new()
        .get("/v1/sandboxes", list, About::new("listSandboxes", "Every sandbox, the oldest first."))
        .post(
            "/v1/sandboxes",
            create,
            About::new("makeSandbox", "Makes a test receiver at a URL of its own.").or(StatusCode::CONFLICT, "There are too many."),
        )
        .get("/v1/sandboxes/{token}", one_sandbox, one("showSandbox", "One sandbox."))
        .delete("/v1/sandboxes/{token}", remove, one("removeSandbox", "Removes a sandbox and all that it received."))
        .get(
            "/v1/sandboxes/{token}/requests",
            requests,
            one("sandboxRequests", "What a sandbox received: the newest, or with `after` those behind that number, oldest first."),
        )
        .with_state(sandboxes)
}

async fn list(State(sandboxes): State<Sandboxes>) -> Result<Json<Vec<SandboxSummary>>, Problem> {
    let lister = sandboxes.clone();
    Ok(Json(sandboxes.at_the_disk(move || lister.list()).await?))
}

async fn create(State(sandboxes): State<Sandboxes>, MayTell(new): MayTell<NewSandbox>) -> Result<Created<SandboxSummary>, Problem> {
    let maker = sandboxes.clone();
    let summary = sandboxes.at_the_disk(move || maker.create(new)).await??;
    tracing::info!(sandbox = %summary.token.shortened(), "a sandbox was made");
    Ok(Created { path: format!("/v1/sandboxes/{}", summary.token), what: summary })
}

async fn one_sandbox(State(sandboxes): State<Sandboxes>, Named(token): Named<SandboxToken>) -> Result<Json<SandboxSummary>, Problem> {
    let sandbox = sandboxes.find(&token)?;
    let viewer = sandboxes.clone();
    Ok(Json(sandboxes.at_the_disk(move || viewer.summary(&sandbox)).await?))
}

async fn remove(State(sandboxes): State<Sandboxes>, Named(token): Named<SandboxToken>) -> Result<Json<SandboxSummary>, Problem> {
    let remover = sandboxes.clone();
    let summary = sandboxes.at_the_disk(move || remover.remove(&token)).await??;
    tracing::info!(sandbox = %summary.token.shortened(), "a sandbox was removed");
    Ok(Json(summary))
}

async fn requests(
    State(sandboxes): State<Sandboxes>,
    Named(token): Named<SandboxToken>,
    Asked(Wanted { after, limit, wait_ms }): Asked<Wanted>,
) -> Result<Json<ReceivedPage>, Problem> {
    let limit = limit.unwrap_or(limits::SANDBOX_REQUESTS_KEPT).min(limits::SANDBOX_REQUESTS_KEPT);
    if let Some(after) = after.filter(|_| wait_ms > 0) {
        sandboxes.wait_beyond(&token, after, Duration::from_millis(wait_ms.min(limits::SANDBOX_WAIT_MAX_MS))).await?;
    }
    Ok(Json(sandboxes.received(&token, after, limit, ()).await?.0))
}
