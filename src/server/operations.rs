//! Backup and verify on the admin socket: each is begun with `POST`, goes on without anybody waiting, and is asked after with `GET`. They never do the work themselves.

use std::future::Future;
use std::path::PathBuf;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::{About, Api, Begun, Telling, Told};
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

/// What `POST /v1/backup` is told.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BackupRequest {
    /// Where to, an absolute path: the daemon does not know where you are.
    #[schemars(with = "String", regex(pattern = "^/"))]
    directory: PathBuf,
}

impl Telling for BackupRequest {
    const EXPECTED: &'static str = "{\"directory\":\"/…\"}";
}

/// The routes, which only the admin socket has.
pub(super) fn routes<H: Operations>() -> Api<H> {
    Api::new()
        .get("/v1/backup", backup::<H>, About::new("backup", "How far the newest backup is."))
        .post(
            "/v1/backup",
            begin_backup::<H>,
            About::new("beginBackup", "Begins a backup into a directory.").or(StatusCode::CONFLICT, "Another one goes on."),
        )
        .get("/v1/verify", verify::<H>, About::new("verify", "How far the newest verification is."))
        .post(
            "/v1/verify",
            begin_verify::<H>,
            About::new("beginVerify", "Begins to verify journal and view.").or(StatusCode::CONFLICT, "Another one goes on."),
        )
}

async fn backup<H: Operations>(State(house): State<H>) -> Json<Progress<BackupReport>> {
    Json(house.backup())
}

async fn begin_backup<H: Operations>(
    State(house): State<H>,
    Extension(peer): Extension<Peer>,
    Told(BackupRequest { directory }): Told<BackupRequest>,
) -> Result<Begun<Progress<BackupReport>>, Problem> {
    if !directory.is_absolute() {
        let detail =
            format!("directory: expected an absolute path, for the daemon does not know where you are; found {}", directory.display());
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    Ok(Begun(house.begin_backup(directory, peer.to_string()).await?))
}

async fn verify<H: Operations>(State(house): State<H>) -> Json<Progress<VerifyReport>> {
    Json(house.verify())
}

async fn begin_verify<H: Operations>(
    State(house): State<H>,
    Extension(peer): Extension<Peer>,
) -> Result<Begun<Progress<VerifyReport>>, Problem> {
    Ok(Begun(house.begin_verify(peer.to_string()).await?))
}
