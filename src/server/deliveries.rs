//! What operators do with deliveries, on the admin socket. It never decides which are meant.
//!
//! | request | does | answers |
//! | --- | --- | --- |
//! | `POST /v1/deliveries/{id}/retry` | tries a pending one now, one that ended anew | `200` [`ChangedDelivery`]; `404`; `409` while an attempt is under way, or when its webhook is gone |
//! | `POST /v1/deliveries/{id}/cancel` | ends a pending one | `200` [`ChangedDelivery`]; `404`; `409` when it has ended |
//! | `POST /v1/deliveries/retry`, `/cancel` | the same with one slice of many, or only counts it: [`BulkRequest`] | `200` [`BulkReport`], with `next` where there are more |

use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Extension, Json, Router};

use super::admin::Named;
use super::hallway::Hallway;
use super::peer::Peer;
use super::problem::Problem;
use crate::model::DeliveryId;
use crate::model::report::{BulkReport, BulkRequest, ChangedDelivery};

/// The routes.
pub(super) fn routes<H: Hallway>() -> Router<H> {
    Router::new()
        .route("/v1/deliveries/retry", post(retry_many::<H>))
        .route("/v1/deliveries/cancel", post(cancel_many::<H>))
        .route("/v1/deliveries/{id}/retry", post(retry::<H>))
        .route("/v1/deliveries/{id}/cancel", post(cancel::<H>))
}

async fn retry<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<DeliveryId>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<ChangedDelivery>, Problem> {
    Ok(Json(hallway.retry(id, peer.to_string()).await?))
}

async fn cancel<H: Hallway>(
    State(hallway): State<H>,
    Named(id): Named<DeliveryId>,
    Extension(peer): Extension<Peer>,
) -> Result<Json<ChangedDelivery>, Problem> {
    Ok(Json(hallway.cancel(id, peer.to_string()).await?))
}

async fn retry_many<H: Hallway>(
    State(hallway): State<H>,
    Extension(peer): Extension<Peer>,
    body: Result<String, StringRejection>,
) -> Result<Json<BulkReport>, Problem> {
    Ok(Json(hallway.retry_many(request(body)?, peer.to_string()).await?))
}

async fn cancel_many<H: Hallway>(
    State(hallway): State<H>,
    Extension(peer): Extension<Peer>,
    body: Result<String, StringRejection>,
) -> Result<Json<BulkReport>, Problem> {
    Ok(Json(hallway.cancel_many(request(body)?, peer.to_string()).await?))
}

fn request(body: Result<String, StringRejection>) -> Result<BulkRequest, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let expected = "expected {\"filter\":{…},\"dry_run\":false}, the filter with the keys of GET /v1/deliveries";
    serde_json::from_str(&body).map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{expected}: {error}")))
}
