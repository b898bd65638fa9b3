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

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::NoContent;
use axum::{Extension, Json};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::{About, Api, Asked, Created, MayTell, Named, NamedPair, Put, Telling, Text};
use super::hallway::Hallway;
use super::peer::Peer;
use super::problem::{ItemProblem, Problem};
use crate::limits::BLACKLIST_IMPORT_MAX;
use crate::model::blacklist::{BlacklistPage, Cause, Entry, Imported};
use crate::model::report::BlacklistQuery;
use crate::model::{Address, Project, Remark};
use crate::time::wall_now;

/// What a path can't hold as it is, and some that it could.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');
/// A name that can't be one is not taken for one that is not listed.
const WRONG: u16 = 422;

/// What may be said about an address that is put on the list.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Note {
    /// What for.
    note: Option<Remark>,
}

impl Telling for Note {
    const EXPECTED: &'static str = "{\"note\":…}";
}

/// The routes.
pub(super) fn routes<H: Hallway>() -> Api<H> {
    let not_listed = |id, text| About::new(id, text).or(StatusCode::NOT_FOUND, "It is not listed.");
    Api::new()
        .get(
            "/v1/blacklist/{project}",
            page::<H>,
            About::new("listBlacklist", "A page of a project's Black List, in the order of addresses."),
        )
        .post(
            "/v1/blacklist/{project}",
            import::<H>,
            About::new(
                "importBlacklist",
                "Lists addresses, all or none: a line is an address, an entry as a JSON object, a comment (`#`) or blank.",
            ),
        )
        .get(
            "/v1/blacklist/{project}/{address}",
            find::<H>,
            not_listed("findBlacklisted", "Says at once whether an address is listed, and why."),
        )
        .put(
            "/v1/blacklist/{project}/{address}",
            put::<H>,
            not_listed("putBlacklisted", "Lists an address; one that is listed stays as it is."),
        )
        .delete("/v1/blacklist/{project}/{address}", remove::<H>, not_listed("removeBlacklisted", "Takes an address off the list."))
}

async fn page<H: Hallway>(
    State(hallway): State<H>,
    Named(project): Named<Project, WRONG>,
    Asked(query): Asked<BlacklistQuery>,
) -> Result<Json<BlacklistPage>, Problem> {
    Ok(Json(hallway.blacklist(project, query).await?))
}

async fn import<H: Hallway>(
    State(hallway): State<H>,
    Named(project): Named<Project, WRONG>,
    Extension(peer): Extension<Peer>,
    Text(text): Text,
) -> Result<Json<Imported>, Problem> {
    let entries = parse(&text, &remark_of(&peer)?)?;
    Ok(Json(hallway.blacklist_import(project, entries).await?))
}

async fn find<H: Hallway>(
    State(hallway): State<H>,
    NamedPair(project, address): NamedPair<Project, Address, WRONG>,
) -> Result<Json<Entry>, Problem> {
    Ok(Json(hallway.blacklist_entry(project, address).await?))
}

async fn put<H: Hallway>(
    State(hallway): State<H>,
    NamedPair(project, address): NamedPair<Project, Address, WRONG>,
    Extension(peer): Extension<Peer>,
    MayTell(Note { note }): MayTell<Note>,
) -> Result<Put<Entry>, Problem> {
    let entry = Entry { address: address.clone(), since: wall_now(), cause: Cause::Operator { by: remark_of(&peer)?, note } };
    let Imported { listed, .. } = hallway.blacklist_import(project.clone(), vec![entry]).await?;
    let path = path_of(&project, &address);
    let what = hallway.blacklist_entry(project, address).await?;
    Ok(if listed > 0 { Put::New(Created { path, what }) } else { Put::Known(what) })
}

async fn remove<H: Hallway>(
    State(hallway): State<H>,
    NamedPair(project, address): NamedPair<Project, Address, WRONG>,
    Extension(peer): Extension<Peer>,
) -> Result<NoContent, Problem> {
    hallway.blacklist_remove(project, address, remark_of(&peer)?).await?;
    Ok(NoContent)
}

/// Where an entry is: what a path can't hold is percent-encoded.
fn path_of(project: &Project, address: &Address) -> String {
    format!("/v1/blacklist/{}/{}", project.as_str(), utf8_percent_encode(address.as_str(), ENCODED))
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

fn remark_of(peer: &Peer) -> Result<Remark, Problem> {
    Remark::parse(&peer.number()).map_err(invalid)
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}
