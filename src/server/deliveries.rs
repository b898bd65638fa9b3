//! What operators do with deliveries, on the admin socket. It never decides which are meant.
//!
//! | request | does | answers |
//! | --- | --- | --- |
//! | `POST /v1/deliveries/{id}/retry` | tries a pending one now, one that ended anew | `200` [`ChangedDelivery`]; `404`; `409` while an attempt is under way, or when its webhook is gone |
//! | `POST /v1/deliveries/{id}/cancel` | ends a pending one | `200` [`ChangedDelivery`]; `404`; `409` when it has ended |
//! | `POST /v1/deliveries/retry`, `/cancel` | the same with one slice of many, or only counts it: [`BulkRequest`] | `200` [`BulkReport`], with `next` where there are more |

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::api::{About, Api, Named, Telling, Told};
use super::hallway::Hallway;
use super::peer::Peer;
use super::problem::Problem;
use crate::model::DeliveryId;
use crate::model::report::{BulkReport, BulkRequest, ChangedDelivery};

impl Telling for BulkRequest {
    const EXPECTED: &'static str = "{\"filter\":{…},\"dry_run\":false}, the filter with the keys of GET /v1/deliveries";
}

/// The routes.
pub(super) fn routes<H: Hallway>() -> Api<H> {
    let of_many = |id, text| About::new(id, text).or_not_found();
    Api::new()
        .post(
            "/v1/deliveries/retry",
            retry_many::<H>,
            of_many(
                "retryDeliveries",
                "Tries one slice of many deliveries again, or only counts it; `next` says where the next slice begins.",
            ),
        )
        .post(
            "/v1/deliveries/cancel",
            cancel_many::<H>,
            of_many(
                "cancelDeliveries",
                "Ends one slice of many pending deliveries, or only counts it; `next` says where the next slice begins.",
            ),
        )
        .post(
            "/v1/deliveries/{id}/retry",
            retry::<H>,
            About::new("retryDelivery", "Tries a pending delivery now, one that ended anew, with a fresh schedule.")
                .or_not_found()
                .or(StatusCode::CONFLICT, "An attempt is under way, or its webhook is gone."),
        )
        .post(
            "/v1/deliveries/{id}/cancel",
            cancel::<H>,
            About::new("cancelDelivery", "Ends a pending delivery.").or_not_found().or(StatusCode::CONFLICT, "It has ended."),
        )
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
    Told(request): Told<BulkRequest>,
) -> Result<Json<BulkReport>, Problem> {
    Ok(Json(hallway.retry_many(request, peer.to_string()).await?))
}

async fn cancel_many<H: Hallway>(
    State(hallway): State<H>,
    Extension(peer): Extension<Peer>,
    Told(request): Told<BulkRequest>,
) -> Result<Json<BulkReport>, Problem> {
    Ok(Json(hallway.cancel_many(request, peer.to_string()).await?))
}
