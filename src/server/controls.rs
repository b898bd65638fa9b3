//! What concerns the daemon as a whole, on the admin socket: the pause of all sending, tokens, the configuration. It never keeps a token.
//!
//! | request | does | answers |
//! | --- | --- | --- |
//! | `POST /v1/pause`, `POST /v1/resume` | pauses or resumes all sending; events are accepted all the same | `200` [`Sending`] |
//! | `GET /v1/config` | what is configured, and where each value comes from | `200` [`ConfigReport`] |
//! | `GET /v1/tokens` | lists the tokens, the hashes aside | `200` a list of [`TokenSummary`] |
//! | `POST /v1/tokens` | makes one; the body is a [`NewToken`] | `201` [`TokenIssued`], `409` the name is taken |
//! | `DELETE /v1/tokens/{name}` | revokes one; the last of all with `?even_last=true` | `200` [`TokenRevoked`], `409` it stands in the file, or is the last |

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::{About, Api, Asked, Created, Named, Telling, Told};
use super::hallway::Hallway;
use super::peer::Peer;
use super::problem::Problem;
use crate::model::report::{ConfigReport, NewToken, Sending, TokenIssued, TokenRevoked, TokenSummary};

impl Telling for NewToken {
    const EXPECTED: &'static str = "{\"name\":…,\"projects\":[…]}";
}

/// The query of `DELETE /v1/tokens/{name}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RevokeQuery {
    /// Also when it is the last, and without it whoever is on this machine may post.
    #[serde(default)]
    even_last: bool,
}

/// The routes.
pub(super) fn routes<H: Hallway>() -> Api<H> {
    Api::new()
        .post("/v1/pause", pause::<H>, About::new("pause", "Pauses all sending; events are accepted all the same."))
        .post("/v1/resume", resume::<H>, About::new("resume", "Resumes all sending."))
        .get("/v1/config", config::<H>, About::new("config", "What is configured, and where each value comes from."))
        .get("/v1/tokens", tokens::<H>, About::new("listTokens", "Every ingest token, the hashes aside."))
        .post(
            "/v1/tokens",
            issue::<H>,
            About::new("issueToken", "Makes an ingest token, which is in the answer and nowhere else.")
                .or(StatusCode::CONFLICT, "The name is taken."),
        )
        .delete(
            "/v1/tokens/{name}",
            revoke::<H>,
            About::new("revokeToken", "Revokes a token that the daemon made.").or_not_found().or(
                StatusCode::CONFLICT,
                "It stands in the file, or without it nobody on this machine needs one, and `even_last` does not say that this is meant.",
            ),
        )
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
    Told(new): Told<NewToken>,
) -> Result<Created<TokenIssued>, Problem> {
    let what = hallway.issue_token(new, peer.to_string()).await?;
    Ok(Created { path: format!("/v1/tokens/{}", what.summary.name), what })
}

async fn revoke<H: Hallway>(
    State(hallway): State<H>,
    Named(name): Named<String>,
    Extension(peer): Extension<Peer>,
    Asked(RevokeQuery { even_last }): Asked<RevokeQuery>,
) -> Result<Json<TokenRevoked>, Problem> {
    Ok(Json(hallway.revoke_token(name, even_last, peer.to_string()).await?))
}
