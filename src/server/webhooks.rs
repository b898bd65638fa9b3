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
use axum::extract::rejection::StringRejection;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::admin::{Named, query};
use super::hallway::{Hallway, Refusal};
use super::peer::Peer;
use super::problem::Problem;
use crate::model::report::{
    RotateRequest, SecretRotated, TestReport, TestRequest, WebhookDetail, WebhookPage, WebhookQuery, WebhookRemoved, WebhookSummary,
};
use crate::model::{Definition, WebhookId};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DefinitionQuery {
    #[serde(default)]
    with_secret: bool,
}

/// The routes.
pub(super) fn routes<H: Hallway>(hallway: H) -> Router {
    Router::new()
        .route("/v1/webhooks", get(list::<H>).post(add::<H>))
        .route("/v1/webhooks/{id}", get(show::<H>).patch(edit::<H>).put(replace::<H>).delete(remove::<H>))
        .route("/v1/webhooks/{id}/definition", get(definition::<H>))
        .route("/v1/webhooks/{id}/pause", post(pause::<H>))
        .route("/v1/webhooks/{id}/resume", post(resume::<H>))
        .route("/v1/webhooks/{id}/test", post(test::<H>))
        .route("/v1/webhooks/{id}/rotate-secret", post(rotate_secret::<H>))
        .with_state(hallway)
}

type Text = Result<String, StringRejection>;

async fn list<H: Hallway>(State(hallway): State<H>, uri: Uri) -> Result<Json<WebhookPage>, Problem> {
    Ok(Json(hallway.webhooks(query::<WebhookQuery>(&uri)?).await?))
}

async fn add<H: Hallway>(State(hallway): State<H>, Extension(peer): Extension<Peer>, body: Text) -> Result<Response, Problem> {
    created(hallway.add_webhook(definition_of(body)?, peer.to_string()).await?)
}

fn created(detail: WebhookDetail) -> Result<Response, Problem> {
    let place = format!("/v1/webhooks/{}", detail.summary.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(detail)).into_response())
}

async fn show<H: Hallway>(State(hallway): State<H>, Named(id): Named<WebhookId>) -> Result<Json<WebhookDetail>, Problem> {
    Ok(Json(hallway.webhook(id).await?))
}

async fn edit<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
    body: Text,
) -> Result<Json<WebhookDetail>, Problem> {
    Ok(Json(hallway.edit_webhook(id, definition_of(body)?, false, peer.to_string()).await?))
}

async fn replace<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
    body: Text,
) -> Result<Response, Problem> {
    let mut definition = definition_of(body)?;
    match hallway.edit_webhook(id.clone(), definition.clone(), true, peer.to_string()).await {
        Ok(detail) => Ok(Json(detail).into_response()),
        Err(Refusal::NotFound { .. }) => {
            definition.set("id", id.as_str());
            created(hallway.add_webhook(definition, peer.to_string()).await?)
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

async fn definition<H: Hallway>(State(hallway): State<H>, Named(id): Named<WebhookId>, uri: Uri) -> Result<Json<Definition>, Problem> {
    let DefinitionQuery { with_secret } = query(&uri)?;
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

async fn test<H: Hallway>(State(hallway): State<H>, Named(id): Named<WebhookId>, body: Text) -> Result<Json<TestReport>, Problem> {
    let request = request_of::<TestRequest>(body, "{\"type\":…,\"data\":{…}}")?;
    Ok(Json(hallway.test_webhook(id, request).await?))
}

async fn rotate_secret<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<WebhookId>,
    Extension(peer): Extension<Peer>,
    body: Text,
) -> Result<Json<SecretRotated>, Problem> {
    let request = request_of::<RotateRequest>(body, "{\"grace_ms\":…}")?;
    Ok(Json(hallway.rotate_secret(id, request, peer.to_string()).await?))
}

fn definition_of(body: Text) -> Result<Definition, Problem> {
    Definition::parse(&text_of(body)?).map_err(invalid)
}

/// A body that may be left out.
pub(super) fn request_of<T: DeserializeOwned + Default>(body: Text, expected: &str) -> Result<T, Problem> {
    let body = text_of(body)?;
    if body.trim().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(&body).map_err(|error| invalid(format!("expected nothing or {expected}: {error}")))
}

fn text_of(body: Text) -> Result<String, Problem> {
    body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}
