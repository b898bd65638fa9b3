//! Backup and verify on the admin socket: each is begun with `POST`, goes on without anybody waiting, and is asked after with `GET`. They never do the work themselves.

use std::future::Future;
use std::path::PathBuf;

use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;

use super::hallway::Refusal;
use super::peer::Peer;
use super::problem::Problem;
use crate::model::report::{BackupReport, Progress, VerifyReport};

/// What the house does with its data at an operator's wish.
pub trait Operations: Clone + Send + Sync + 'static {
    /// Begins a backup into that directory. One at a time: while another goes on it is a `Conflict`.
    fn begin_backup(&self, directory: PathBuf, by: String) -> impl Future<Output = Result<Progress<BackupReport>, Refusal>> + Send;
    /// How far the newest backup is.
    fn backup(&self) -> Progress<BackupReport>;
    /// Begins to verify journal and view. One at a time, likewise.
    fn begin_verify(&self, by: String) -> impl Future<Output = Result<Progress<VerifyReport>, Refusal>> + Send;
    /// How far the newest verification is.
    fn verify(&self) -> Progress<VerifyReport>;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackupRequest {
    directory: PathBuf,
}

/// The routes, which only the admin socket has.
pub fn routes<H: Operations>(house: H) -> Router {
    Router::new()
        .route("/v1/backup", get(backup::<H>).post(begin_backup::<H>))
        .route("/v1/verify", get(verify::<H>).post(begin_verify::<H>))
        .with_state(house)
}

async fn backup<H: Operations>(State(house): State<H>) -> Json<Progress<BackupReport>> {
    Json(house.backup())
}

async fn begin_backup<H: Operations>(
    State(house): State<H>,
    Extension(peer): Extension<Peer>,
    body: Result<String, StringRejection>,
) -> Result<(StatusCode, Json<Progress<BackupReport>>), Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let invalid = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    let request: BackupRequest =
        serde_json::from_str(&body).map_err(|error| invalid(format!("expected {{\"directory\":\"/…\"}}: {error}")))?;
    if !request.directory.is_absolute() {
        let directory = request.directory.display();
        return Err(invalid(format!(
            "directory: expected an absolute path, for the daemon does not know where you are; found {directory}"
        )));
    }
    Ok((StatusCode::ACCEPTED, Json(house.begin_backup(request.directory, peer.to_string()).await?)))
}

async fn verify<H: Operations>(State(house): State<H>) -> Json<Progress<VerifyReport>> {
    Json(house.verify())
}

async fn begin_verify<H: Operations>(
    State(house): State<H>,
    Extension(peer): Extension<Peer>,
) -> Result<(StatusCode, Json<Progress<VerifyReport>>), Problem> {
    Ok((StatusCode::ACCEPTED, Json(house.begin_verify(peer.to_string()).await?)))
}
