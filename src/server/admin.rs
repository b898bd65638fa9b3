//! The commands' API on the admin socket: HTTP and JSON in front of the [`Hallway`]. It never answers anything itself but the catalogue.

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;

use super::api::{About, Api, Asked, Named, NamedPair, Telling, Told};
use super::hallway::Hallway;
use super::peer::Peer;
use super::problem::Problem;
use crate::model::report::{
    DeliveryDetail, DeliveryFilter, DeliveryNewsPage, DeliveryPage, EventDetail, EventFilter, EventPage, Explanation, ReloadReport, Status,
    StatusQuery, Top, TopQuery, WatchFilter,
};
use crate::model::{DeliveryId, EventId, EventType, EventTypeName, Project};

/// What `POST /v1/explain` is told.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
    /// The event's type.
    #[serde(rename = "type")]
    #[schemars(with = "EventTypeName")]
    event_type: String,
    /// The event's project.
    #[schemars(with = "Project")]
    project: String,
}

impl Telling for ExplainRequest {
    const EXPECTED: &'static str = "{\"type\":…,\"project\":…}";
}

/// The query of `POST /v1/reload`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReloadQuery {
    /// Only say what would change.
    #[serde(default)]
    dry_run: bool,
}

/// The routes that only the admin socket has.
pub(super) fn routes<H: Hallway>() -> Api<H> {
    Api::new()
        .get("/v1/status", status::<H>, About::new("status", "One screen about the daemon."))
        .get(
            "/v1/top",
            top::<H>,
            About::new("top", "The webhooks that come first in some order, how each fared in the last minutes, and its next attempt."),
        )
        .get(
            "/v1/deliveries",
            deliveries::<H>,
            About::new(
                "listDeliveries",
                "A page of deliveries: pending ones in the order of their next attempt, then finished ones, the one that ended last first.",
            )
            .or_not_found(),
        )
        .get(
            "/v1/deliveries/watch",
            watch::<H>,
            About::new(
                "watchDeliveries",
                "What happens to deliveries, as it happens. Asking again and again with the `next` of the answer before misses nothing and hears nothing twice.",
            )
            .or_not_found(),
        )
        .get("/v1/deliveries/{id}", delivery::<H>, About::new("showDelivery", "One delivery with its attempts.").or_not_found())
        .get("/v1/events", events::<H>, About::new("listEvents", "A page of events, the one accepted last first."))
        .get(
            "/v1/events/{project}/{id}",
            event::<H>,
            About::new("showEvent", "One event with its deliveries: of several with one id the one accepted last.").or_not_found(),
        )
        .get("/v1/catalog", catalog::<H>, About::new("catalog", "Every event type that is accepted."))
        .post(
            "/v1/explain",
            explain::<H>,
            About::new("explain", "Which webhooks want such an event, and why the others do not."),
        )
        .post(
            "/v1/reload",
            reload::<H>,
            About::new("reload", "Reads the configuration again. Mistakes of the file are in the answer, and then nothing was changed."),
        )
        .merge(super::deliveries::routes::<H>())
}

async fn status<H: Hallway>(State(hallway): State<H>, Asked(query): Asked<StatusQuery>) -> Result<Json<Status>, Problem> {
    Ok(Json(hallway.status(query).await?))
}

async fn top<H: Hallway>(State(hallway): State<H>, Asked(query): Asked<TopQuery>) -> Result<Json<Top>, Problem> {
    Ok(Json(hallway.top(query).await?))
}

async fn deliveries<H: Hallway>(State(hallway): State<H>, Asked(filter): Asked<DeliveryFilter>) -> Result<Json<DeliveryPage>, Problem> {
    Ok(Json(hallway.deliveries(filter).await?))
}

async fn delivery<H: Hallway>(State(hallway): State<H>, Named(id): Named<DeliveryId>) -> Result<Json<DeliveryDetail>, Problem> {
    Ok(Json(hallway.delivery(id).await?))
}

async fn watch<H: Hallway>(State(hallway): State<H>, Asked(filter): Asked<WatchFilter>) -> Result<Json<DeliveryNewsPage>, Problem> {
    Ok(Json(hallway.watch(filter).await?))
}

async fn events<H: Hallway>(State(hallway): State<H>, Asked(filter): Asked<EventFilter>) -> Result<Json<EventPage>, Problem> {
    Ok(Json(hallway.events(filter).await?))
}

async fn event<H: Hallway>(
    State(hallway): State<H>,
    NamedPair(project, id): NamedPair<Project, EventId>,
) -> Result<Json<EventDetail>, Problem> {
    Ok(Json(hallway.event(project, id).await?))
}

async fn catalog<H: Hallway>(State(hallway): State<H>) -> Json<Vec<EventType>> {
    Json(hallway.settings().catalog.all().cloned().collect())
}

async fn explain<H: Hallway>(
    State(hallway): State<H>,
    Told(ExplainRequest { event_type, project }): Told<ExplainRequest>,
) -> Result<Json<Explanation>, Problem> {
    let invalid = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    let settings = hallway.settings();
    let event_type = settings.catalog.get(&event_type).ok_or_else(|| invalid(settings.catalog.unknown_type(&event_type)))?;
    let project = Project::parse(&project).map_err(invalid)?;
    Ok(Json(hallway.explain(event_type.name.clone(), project).await?))
}

async fn reload<H: Hallway>(
    State(hallway): State<H>,
    Extension(peer): Extension<Peer>,
    Asked(ReloadQuery { dry_run }): Asked<ReloadQuery>,
) -> Result<Json<ReloadReport>, Problem> {
    Ok(Json(hallway.reload(dry_run, peer.to_string()).await?))
}
