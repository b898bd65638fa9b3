//! Webhooks on the admin socket: `/v1/webhooks[/{id}[/…]]`. It never judges a definition itself: the house does.
//!
//! | request | does | answers |
//! | --- | --- | --- |
//! | `GET /v1/webhooks?limit=&after=` | a page, in the order of ids | `200` [`WebhookPage`] |
//! | `POST /v1/webhooks` | adds one; the body has the keys of a `[[webhook]]`; without an id it gets one | `201` [`WebhookDetail`] with the secret, `409` the id is taken, `422` every mistake |
//! | `GET /v1/webhooks/{id}` | shows one | `200` [`WebhookDetail`] |
//! | `PATCH /v1/webhooks/{id}` | changes the keys in the body; `null` goes back to the default | `200` [`WebhookDetail`], `409` it stands in the file |
//! | `PUT /v1/webhooks/{id}` | replaces the definition, or adds one of that id | `200`, `201` |
//! | `DELETE /v1/webhooks/{id}` | removes one; its pending deliveries are cancelled | `200` [`WebhookRemoved`] |
//! | `GET /v1/webhooks/{id}/definition?with_secret=true` | what would have to be said to have it again | `200` [`Definition`] |
//! | `POST /v1/webhooks/{id}/pause`, `resume` | | `200` [`WebhookSummary`] |
//! | `POST /v1/webhooks/{id}/test` | sends a sample event at once; the body may be [`TestRequest`] | `200` [`TestReport`], whatever the receiver did |
//! | `POST /v1/webhooks/{id}/rotate-secret` | a new secret; the body may be [`RotateRequest`] | `200` [`SecretRotated`] |

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::{About, Api, Asked, Created, MayTell, Named, Put, Telling, Told};
use super::hallway::{Hallway, Refusal};
use super::peer::Peer;
use super::problem::Problem;
use crate::model::definition::Patch;
use crate::model::report::{
    RotateRequest, SecretRotated, TestReport, TestRequest, WebhookDetail, WebhookPage, WebhookQuery, WebhookRemoved, WebhookSummary,
};
use crate::model::{Definition, WebhookId};

/// The query of `GET /v1/webhooks/{id}/definition`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DefinitionQuery {
    /// Its secret, too.
    #[serde(default)]
    with_secret: bool,
}

impl Telling for Definition {
    const EXPECTED: &'static str =
        "a JSON object with the keys of a [[webhook]], such as {\"title\":…,\"project\":…,\"url\":…,\"events\":[…]}";
}

impl Telling for Patch {
    const EXPECTED: &'static str = "a JSON object with the keys of a [[webhook]] that are to change, such as {\"title\":…}";
}

impl Telling for TestRequest {
    const EXPECTED: &'static str = "{\"type\":…,\"data\":{…}}";
}

impl Telling for RotateRequest {
    const EXPECTED: &'static str = "{\"grace_ms\":…}";
}

/// The routes.
pub(super) fn routes<H: Hallway>() -> Api<H> {
    let mistakes = "What is wrong with the definition, every mistake at once.";
    let one = |id, text| About::new(id, text).or_not_found();
    let in_file = |about: About| about.or(StatusCode::CONFLICT, "It stands in the file, and is changed there.");
    Api::new()
        .get("/v1/webhooks", list::<H>, About::new("listWebhooks", "A page of webhooks, in the order of their ids."))
        .post(
            "/v1/webhooks",
            add::<H>,
            About::new("addWebhook", "Adds a webhook; without an id it gets one. Its secret is in the answer.")
                .or(StatusCode::CONFLICT, "The id is taken.")
                .or(StatusCode::UNPROCESSABLE_ENTITY, mistakes),
        )
        .get(
            "/v1/webhooks/{id}",
            show::<H>,
            one("showWebhook", "One webhook, whole. A secret that hookwheel made is in the first answer only."),
        )
        .put(
            "/v1/webhooks/{id}",
            replace::<H>,
            in_file(one("putWebhook", "Replaces a webhook's definition, or adds one of that id."))
                .or(StatusCode::UNPROCESSABLE_ENTITY, mistakes),
        )
        .patch(
            "/v1/webhooks/{id}",
            edit::<H>,
            in_file(one("editWebhook", "Changes the keys in the body; null goes back to the default."))
                .or(StatusCode::UNPROCESSABLE_ENTITY, mistakes),
        )
        .delete(
            "/v1/webhooks/{id}",
            remove::<H>,
            in_file(one("removeWebhook", "Removes a webhook for good; its pending deliveries are cancelled.")),
        )
        .get(
            "/v1/webhooks/{id}/definition",
            definition::<H>,
            one("webhookDefinition", "What would have to be said to have this webhook again."),
        )
        .post("/v1/webhooks/{id}/pause", pause::<H>, one("pauseWebhook", "Pauses a webhook's sending; its deliveries go on queueing."))
        .post("/v1/webhooks/{id}/resume", resume::<H>, one("resumeWebhook", "Resumes a webhook's sending."))
        .post(
            "/v1/webhooks/{id}/test",
            test::<H>,
            one("testWebhook", "Sends a sample event at once, and tells of the whole exchange, whatever the receiver did."),
        )
        .post(
            "/v1/webhooks/{id}/rotate-secret",
            rotate_secret::<H>,
            in_file(one("rotateSecret", "Gives a webhook a new secret; the old one signs, too, for a while.")),
        )
}

async fn list<H: Hallway>(State(hallway): State<H>, Asked(query): Asked<WebhookQuery>) -> Result<Json<WebhookPage>, Problem> {
    Ok(Json(hallway.webhooks(query).await?))
}

async fn add<H: Hallway>(
    State(hallway): State<H>,
    Extension(peer): Extension<Peer>,
    Told(definition): Told<Definition>,
) -> Result<Created<WebhookDetail>, Problem> {
    Ok(created(hallway.add_webhook(definition, peer.to_string()).await?))
}

fn created(what: WebhookDetail) -> Created<WebhookDetail> {
    Created { path: format!("/v1/webhooks/{}", what.summary.id), what }
}

async fn show<H: Hallway>(State(hallway): State<H>, Named(id): Named<WebhookId>) -> Result<Json<WebhookDetail>, Problem> {
    Ok(Json(hallway.webhook(id).await?))
}

async fn edit<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
    Told(Patch(patch)): Told<Patch>,
) -> Result<Json<WebhookDetail>, Problem> {
    Ok(Json(hallway.edit_webhook(id, patch, false, peer.to_string()).await?))
}

async fn replace<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
    Told(mut definition): Told<Definition>,
) -> Result<Put<WebhookDetail>, Problem> {
    match hallway.edit_webhook(id.clone(), definition.clone(), true, peer.to_string()).await {
        Ok(detail) => Ok(Put::Known(detail)),
        Err(Refusal::NotFound { .. }) => {
            definition.set("id", id.as_str());
            Ok(Put::New(created(hallway.add_webhook(definition, peer.to_string()).await?)))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

async fn remove<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<WebhookRemoved>, Problem> {
    Ok(Json(hallway.remove_webhook(id, peer.to_string()).await?))
}

async fn definition<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Asked(DefinitionQuery { with_secret }): Asked<DefinitionQuery>,
) -> Result<Json<Definition>, Problem> {
    Ok(Json(hallway.definition(id, with_secret).await?))
}

async fn pause<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<WebhookSummary>, Problem> {
    Ok(Json(hallway.set_paused(id, true, peer.to_string()).await?))
}

async fn resume<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<WebhookSummary>, Problem> {
    Ok(Json(hallway.set_paused(id, false, peer.to_string()).await?))
}

async fn test<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    MayTell(request): MayTell<TestRequest>,
) -> Result<Json<TestReport>, Problem> {
    Ok(Json(hallway.test_webhook(id, request).await?))
}

async fn rotate_secret<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
    MayTell(request): MayTell<RotateRequest>,
) -> Result<Json<SecretRotated>, Problem> {
    Ok(Json(hallway.rotate_secret(id, request, peer.to_string()).await?))
}
