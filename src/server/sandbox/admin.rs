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

use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

use super::super::problem::Problem;
use super::Sandboxes;
use crate::limits;
use crate::model::SandboxToken;
use crate::model::sandbox::{NewSandbox, ReceivedPage, SandboxSummary};

/// The token in a path; what can't be one names nothing, so it is not found.
struct Token(SandboxToken);

impl<S: Send + Sync> FromRequestParts<S> for Token {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let not_found = |detail| Problem::new(StatusCode::NOT_FOUND, detail);
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|rejection| not_found(rejection.body_text()))?;
        SandboxToken::parse(&text).map(Token).map_err(not_found)
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    after: Option<u64>,
    limit: Option<usize>,
    wait_ms: u64,
}

/// The routes below `/v1/sandboxes`.
pub fn routes(sandboxes: Sandboxes) -> Router {
    Router::new()
        .route("/v1/sandboxes", get(list).post(create))
        .route("/v1/sandboxes/{token}", get(one).delete(remove))
        .route("/v1/sandboxes/{token}/requests", get(requests))
        .with_state(sandboxes)
}

async fn list(State(sandboxes): State<Sandboxes>) -> Result<Json<Vec<SandboxSummary>>, Problem> {
    let lister = sandboxes.clone();
    Ok(Json(sandboxes.at_the_disk(move || lister.list()).await?))
}

async fn create(State(sandboxes): State<Sandboxes>, body: String) -> Result<Response, Problem> {
    let invalid = |error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the sandbox is not understood: {error}"));
    let new = if body.trim().is_empty() { NewSandbox::default() } else { serde_json::from_str(&body).map_err(invalid)? };
    let maker = sandboxes.clone();
    let summary = sandboxes.at_the_disk(move || maker.create(new)).await??;
    tracing::info!(sandbox = %summary.token, "a sandbox was made");
    Ok((StatusCode::CREATED, Json(summary)).into_response())
}

async fn one(State(sandboxes): State<Sandboxes>, Token(token): Token) -> Result<Json<SandboxSummary>, Problem> {
    let sandbox = sandboxes.find(&token)?;
    let viewer = sandboxes.clone();
    Ok(Json(sandboxes.at_the_disk(move || viewer.summary(&sandbox)).await?))
}

async fn remove(State(sandboxes): State<Sandboxes>, Token(token): Token) -> Result<Json<SandboxSummary>, Problem> {
    let remover = sandboxes.clone();
    let summary = sandboxes.at_the_disk(move || remover.remove(&token)).await??;
    tracing::info!(sandbox = %summary.token, "a sandbox was removed");
    Ok(Json(summary))
}

async fn requests(State(sandboxes): State<Sandboxes>, Token(token): Token, uri: Uri) -> Result<Json<ReceivedPage>, Problem> {
    let wanted = Query::<Wanted>::try_from_uri(&uri);
    let Query(Wanted { after, limit, wait_ms }) = wanted
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the query is not understood: {}", error.body_text())))?;
    let limit = limit.unwrap_or(limits::SANDBOX_REQUESTS_KEPT).min(limits::SANDBOX_REQUESTS_KEPT);
    if let Some(after) = after.filter(|_| wait_ms > 0) {
        sandboxes.wait_beyond(&token, after, Duration::from_millis(wait_ms.min(limits::SANDBOX_WAIT_MAX_MS))).await?;
    }
    Ok(Json(sandboxes.received(&token, after, limit).await?))
}
