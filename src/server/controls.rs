//! What concerns the daemon as a whole, on the admin socket: the pause of all sending, tokens, the configuration. It never keeps a token.
//!
//! | request | does | answers |
//! | --- | --- | --- |
//! | `POST /v1/pause`, `POST /v1/resume` | pauses or resumes all sending; events are accepted all the same | `200` [`Sending`] |
//! | `GET /v1/config` | what is configured, and where each value comes from | `200` [`ConfigReport`] |
//! | `GET /v1/tokens` | lists the tokens, the hashes aside | `200` a list of [`TokenSummary`] |
//! | `POST /v1/tokens` | makes one; the body is a [`NewToken`] | `201` [`TokenIssued`], `409` the name is taken |
//! | `DELETE /v1/tokens/{name}` | revokes one | `200` [`TokenRevoked`], `409` it stands in the file |

use axum::extract::rejection::{PathRejection, StringRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};

use super::hallway::Hallway;
use super::peer::Peer;
use super::problem::Problem;
use crate::model::report::{ConfigReport, NewToken, Sending, TokenIssued, TokenRevoked, TokenSummary};

/// The routes.
pub(super) fn routes<H: Hallway>(hallway: H) -> Router {
    Router::new()
        .route("/v1/pause", post(pause::<H>))
        .route("/v1/resume", post(resume::<H>))
        .route("/v1/config", get(config::<H>))
        .route("/v1/tokens", get(tokens::<H>).post(issue::<H>))
        .route("/v1/tokens/{name}", delete(revoke::<H>))
        .with_state(hallway)
}

async fn pause<H: Hallway>(State(hallway): State<H>, Extension(peer): Extension<Peer>) -> Result<Json<Sending>, Problem> {
    Ok(Json(hallway.set_sending_paused(true, peer.to_string()).await?))
}

async fn resume<H: Hallway>(State(hallway): State<H>, Extension(peer): Extension<Peer>) -> Result<Json<Sending>, Problem> {
    Ok(Json(hallway.set_sending_paused(false, peer.to_string()).await?))
}

async fn config<H: Hallway>(State(hallway): State<H>) -> Result<Json<ConfigReport>, Problem> {
    Ok(Json(hallway.configuration().await?))
}

async fn tokens<H: Hallway>(State(hallway): State<H>) -> Result<Json<Vec<TokenSummary>>, Problem> {
    Ok(Json(hallway.tokens().await?))
}

async fn issue<H: Hallway>(
    State(hallway): State<H>,
    Extension(peer): Extension<Peer>,
    body: Result<String, StringRejection>,
) -> Result<(StatusCode, Json<TokenIssued>), Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let invalid = |error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("expected {{\"name\":…,\"projects\":[…]}}: {error}"));
    let new = serde_json::from_str::<NewToken>(&body).map_err(invalid)?;
    Ok((StatusCode::CREATED, Json(hallway.issue_token(new, peer.to_string()).await?)))
}

async fn revoke<H: Hallway>(
    State(hallway): State<H>,
    path: Result<Path<String>, PathRejection>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<TokenRevoked>, Problem> {
    let Path(name) = path.map_err(|rejection| Problem::new(StatusCode::NOT_FOUND, rejection.body_text()))?;
    Ok(Json(hallway.revoke_token(name, peer.to_string()).await?))
}
