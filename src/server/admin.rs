//! The commands' API on the admin socket: HTTP and JSON in front of the [`Hallway`]. It never answers anything itself but the catalogue.

use axum::extract::rejection::{PathRejection, StringRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::hallway::Hallway;
use super::peer::Peer;
use super::problem::Problem;
use crate::model::report::{
    DeliveryDetail, DeliveryFilter, DeliveryNewsPage, DeliveryPage, EventDetail, EventPage, Explanation, ReloadReport, Status,
};
use crate::model::{DeliveryId, EventId, EventType, Project};

/// The id in a path; what can't be one names nothing, so it is not found.
pub(super) struct Named<T>(pub(super) T);

impl<T: TryFrom<String, Error = String>, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|rejection| not_found(rejection.body_text()))?;
        T::try_from(text).map(Self).map_err(not_found)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    #[serde(rename = "type")]
    event_type: String,
    project: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    #[serde(default)]
    dry_run: bool,
}

/// The routes that only the admin socket has.
pub fn routes<H: Hallway>(hallway: H) -> Router {
    Router::new()
        .route("/v1/status", get(status::<H>))
        .route("/v1/deliveries", get(deliveries::<H>))
        .route("/v1/deliveries/watch", get(watch::<H>))
        .route("/v1/deliveries/{id}", get(delivery::<H>))
        .route("/v1/events", get(events::<H>))
        .route("/v1/events/{project}/{id}", get(event::<H>))
        .route("/v1/catalog", get(catalog::<H>))
        .route("/v1/explain", post(explain::<H>))
        .route("/v1/reload", post(reload::<H>))
        .merge(super::deliveries::routes::<H>())
        .with_state(hallway)
}

async fn status<H: Hallway>(State(hallway): State<H>) -> Result<Json<Status>, Problem> {
    Ok(Json(hallway.status().await?))
}

async fn deliveries<H: Hallway>(State(hallway): State<H>, uri: Uri) -> Result<Json<DeliveryPage>, Problem> {
    let filter = query::<DeliveryFilter>(&uri)?;
    Ok(Json(hallway.deliveries(filter).await?))
}

async fn delivery<H: Hallway>(State(hallway): State<H>, Named(id): Named<DeliveryId>) -> Result<Json<DeliveryDetail>, Problem> {
    Ok(Json(hallway.delivery(id).await?))
}

async fn watch<H: Hallway>(State(hallway): State<H>, uri: Uri) -> Result<Json<DeliveryNewsPage>, Problem> {
    Ok(Json(hallway.watch(query(&uri)?).await?))
}

async fn events<H: Hallway>(State(hallway): State<H>, uri: Uri) -> Result<Json<EventPage>, Problem> {
    Ok(Json(hallway.events(query(&uri)?).await?))
}

async fn event<H: Hallway>(
    State(hallway): State<H>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<EventDetail>, Problem> {
    let Path((project, id)) = path.map_err(|rejection| not_found(rejection.body_text()))?;
    let project = Project::parse(&project).map_err(not_found)?;
    let id = EventId::parse(&id).map_err(not_found)?;
    Ok(Json(hallway.event(project, id).await?))
}

async fn catalog<H: Hallway>(State(hallway): State<H>) -> Json<Vec<EventType>> {
    Json(hallway.settings().catalog.all().cloned().collect())
}

async fn explain<H: Hallway>(State(hallway): State<H>, body: Result<String, StringRejection>) -> Result<Json<Explanation>, Problem> {
    let body = body.map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let invalid = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    let request: ExplainRequest =
        serde_json::from_str(&body).map_err(|error| invalid(format!("expected {{\"type\":…,\"project\":…}}: {error}")))?;
    let settings = hallway.settings();
    let event_type =
        settings.catalog.get(&request.event_type).ok_or_else(|| invalid(settings.catalog.unknown_type(&request.event_type)))?;
    let project = Project::parse(&request.project).map_err(invalid)?;
    Ok(Json(hallway.explain(event_type.name.clone(), project).await?))
}

async fn reload<H: Hallway>(State(hallway): State<H>, Extension(peer): Extension<Peer>, uri: Uri) -> Result<Json<ReloadReport>, Problem> {
    let ReloadQuery { dry_run } = query(&uri)?;
    Ok(Json(hallway.reload(dry_run, peer.to_string()).await?))
}

pub(super) fn query<Q: DeserializeOwned>(uri: &Uri) -> Result<Q, Problem> {
    let parsed = Query::<Q>::try_from_uri(uri);
    parsed
        .map(|Query(query)| query)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the query is not understood: {}", error.body_text())))
}

fn not_found(detail: String) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, detail)
}
