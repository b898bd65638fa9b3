//! The Black Lists on the admin socket: `/v1/blacklist/{project}[/{address}]`. It never guesses: who asks about what is no address is not told "not listed".
//!
//! | request | does | answers |
//! | --- | --- | --- |
//! | `GET /v1/blacklist/{project}?limit=&after=` | a page, in the order of addresses | `200` [`BlacklistPage`] |
//! | `POST /v1/blacklist/{project}` | imports: a line is an address, an entry as a JSON object, a comment (`#`) or blank | `200` [`Imported`]; `422` with every bad line, and then nothing was imported |
//! | `GET /v1/blacklist/{project}/{address}` | looks one up, at once | `200` [`Entry`], `404` not listed |
//! | `PUT /v1/blacklist/{project}/{address}` | lists one; the body may be `{"note":"…"}` | `201` new, `200` listed before, unchanged; the [`Entry`] as it is now |
//! | `DELETE /v1/blacklist/{project}/{address}` | removes one | `204`, `404` not listed |
//!
//! Addresses are percent-encoded. A project or an address that is none is `422`, so that no client takes a spelling mistake for "may be mailed".

use axum::extract::rejection::{PathRejection, StringRejection};
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;

use super::admin::query;
use super::hallway::Hallway;
use super::peer::Peer;
use super::problem::{ItemProblem, Problem};
use crate::limits::BLACKLIST_IMPORT_MAX;
use crate::model::blacklist::{BlacklistPage, Cause, Entry, Imported};
use crate::model::report::BlacklistQuery;
use crate::model::{Address, Project, Remark};
use crate::time::wall_now;

/// What may be said about an address that is put on the list.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    note: Option<Remark>,
}

/// The routes.
pub(super) fn routes<H: Hallway>(hallway: H) -> Router {
    let one = get(find::<H>).put(put::<H>).delete(remove::<H>);
    Router::new()
        .route("/v1/blacklist/{project}", get(page::<H>).post(import::<H>))
        .route("/v1/blacklist/{project}/{address}", one)
        .with_state(hallway)
}

async fn page<H: Hallway>(
    State(hallway): State<H>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
) -> Result<Json<BlacklistPage>, Problem> {
    let project = project_of(path)?;
    Ok(Json(hallway.blacklist(project, query::<BlacklistQuery>(&uri)?).await?))
}

async fn import<H: Hallway>(
    State(hallway): State<H>,
    path: Result<Path<String>, PathRejection>,
    Extension(peer): Extension<Peer>,
    body: Result<String, StringRejection>,
) -> Result<Json<Imported>, Problem> {
    let project = project_of(path)?;
    let entries = parse(&text_of(body)?, &remark_of(&peer)?)?;
    Ok(Json(hallway.blacklist_import(project, entries).await?))
}

async fn find<H: Hallway>(State(hallway): State<H>, path: Result<Path<(String, String)>, PathRejection>) -> Result<Json<Entry>, Problem> {
    let (project, address) = named(path)?;
    Ok(Json(hallway.blacklist_entry(project, address).await?))
}

async fn put<H: Hallway>(
    State(hallway): State<H>,
    path: Result<Path<(String, String)>, PathRejection>,
    Extension(peer): Extension<Peer>,
    body: Result<String, StringRejection>,
) -> Result<Response, Problem> {
    let (project, address) = named(path)?;
    let body = text_of(body)?;
    let note = if body.trim().is_empty() { Ok(Note::default()) } else { serde_json::from_str::<Note>(&body) };
    let Note { note } = note.map_err(|error| invalid(format!("expected nothing or {{\"note\":…}}: {error}")))?;
    let entry = Entry { address: address.clone(), since: wall_now(), cause: Cause::Operator { by: remark_of(&peer)?, note } };
    let Imported { listed, .. } = hallway.blacklist_import(project.clone(), vec![entry]).await?;
    let status = if listed > 0 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(hallway.blacklist_entry(project, address).await?)).into_response())
}

async fn remove<H: Hallway>(
    State(hallway): State<H>,
    path: Result<Path<(String, String)>, PathRejection>,
    Extension(peer): Extension<Peer>,
) -> Result<StatusCode, Problem> {
    let (project, address) = named(path)?;
    hallway.blacklist_remove(project, address, remark_of(&peer)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The entries of an import, or every mistake in it.
fn parse(text: &str, by: &Remark) -> Result<Vec<Entry>, Problem> {
    let now = wall_now();
    let (mut entries, mut errors) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate() {
        match Entry::parse_line(line, now, by) {
            Ok(entry) => entries.extend(entry),
            Err(message) => errors.push(ItemProblem { index, line: Some(index + 1), message }),
        }
        if entries.len() + errors.len() > BLACKLIST_IMPORT_MAX {
            let detail = format!("the request has more than {BLACKLIST_IMPORT_MAX} entries; import fewer at once");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
    }
    if errors.is_empty() {
        return Ok(entries);
    }
    let detail = format!("{} of {} entries are wrong, so nothing was imported", errors.len(), entries.len() + errors.len());
    Err(invalid(detail).with_errors(errors))
}

fn project_of(path: Result<Path<String>, PathRejection>) -> Result<Project, Problem> {
    let Path(project) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    Project::parse(&project).map_err(invalid)
}

fn named(path: Result<Path<(String, String)>, PathRejection>) -> Result<(Project, Address), Problem> {
    let Path((project, address)) = path.map_err(|rejection| invalid(rejection.body_text()))?;
    Ok((Project::parse(&project).map_err(invalid)?, Address::parse(&address).map_err(invalid)?))
}

fn text_of(body: Result<String, StringRejection>) -> Result<String, Problem> {
    body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
}

fn remark_of(peer: &Peer) -> Result<Remark, Problem> {
    Remark::parse(&peer.number()).map_err(invalid)
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}
