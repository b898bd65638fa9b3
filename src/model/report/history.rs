//! What is told of events that were accepted, and of what happens to deliveries as it happens. It never says how they are found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_zero;
use crate::model::{DeliveryId, DeliveryState, EventId, EventTypeName, OutcomeClass, Project, Selector, WebhookId};
use crate::time::UnixMillis;

/// What is followed: the query of `GET /v1/deliveries/watch`. Without `after` the answer comes at once and says from where to go on; with it, as soon as there is news behind it, and after
/// `wait_ms` (at most 30 000) in any case. Asking again and again with the `next` of the answer before misses nothing and hears nothing twice, over restarts of the daemon too.
///
/// It reads the journal from that place: nothing is kept for those who follow, however slow they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WatchFilter {
    /// Of this webhook.
    pub webhook: Option<WebhookId>,
    /// Of this project.
    pub project: Option<Project>,
    /// Of types that this selector wants.
    #[serde(rename = "type")]
    pub event_type: Option<Selector>,
    /// That came into this state; `pending` are those whose attempt failed and is made again.
    pub state: Option<DeliveryState>,
    /// Behind this.
    #[schemars(regex(pattern = r"^[0-9]{1,19}-[0-9]{1,9}-[0-9]{1,9}$"))]
    pub after: Option<String>,
    /// Wait so many milliseconds for news, at most 30 000.
    pub wait_ms: u64,
}

/// What happened to a delivery: it ended, or an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryNews {
    /// When.
    pub at: UnixMillis,
    /// The delivery.
    pub id: DeliveryId,
    /// The event's id.
    pub event: Option<EventId>,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: Option<EventTypeName>,
    /// The event's project.
    pub project: Option<Project>,
    /// The webhook; its number where the id is no longer known.
    pub webhook: String,
    /// Where the delivery stands after it.
    pub state: DeliveryState,
    /// The attempt that ended, if one did.
    pub attempt: Option<u32>,
    /// The class of its outcome.
    pub outcome: Option<OutcomeClass>,
    /// What happened, in words.
    pub sentence: String,
    /// When the next attempt is due.
    pub due: Option<UnixMillis>,
}

/// News of deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryNewsPage {
    /// What happened, in order.
    pub news: Vec<DeliveryNews>,
    /// Facts that are gone from the journal, and were not looked at: whoever asked came too late.
    #[serde(default)]
    pub missed: u64,
    /// What to pass as `after` to hear what follows.
    pub next: String,
}

/// What a list of events is narrowed to: the query of `GET /v1/events`. The one accepted last comes first. All of it is found by an index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventFilter {
    /// Of this project.
    pub project: Option<Project>,
    /// Of types that this selector wants.
    #[serde(rename = "type")]
    pub event_type: Option<Selector>,
    /// At most so many; 50 where nothing is said, and never more than 500.
    pub limit: Option<usize>,
    /// Behind the page that ended with this.
    pub after: Option<u64>,
}

/// An event in a list: `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventSummary {
    /// Its id; `None` when the event itself is no longer kept.
    pub id: Option<EventId>,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: EventTypeName,
    /// Its project.
    pub project: Project,
    /// When it was accepted.
    pub accepted: UnixMillis,
    /// Where its deliveries stand.
    pub deliveries: DeliveryCounts,
}

/// How many deliveries of an event stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryCounts {
    /// Waiting, or in flight.
    pub pending: u32,
    /// Arrived.
    pub delivered: u32,
    /// Given up.
    pub dropped: u32,
    /// Cancelled.
    pub cancelled: u32,
}

/// A page of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventPage {
    /// The page.
    pub events: Vec<EventSummary>,
    /// What to pass as `after` for the next page.
    pub next: Option<u64>,
    /// Journal segments whose index is missing and being made: their events are not in the list yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unindexed_segments: usize,
}

/// One event, whole: `GET /v1/events/{project}/{id}`. Of several with one id, which may be used again after its idempotency window, the one accepted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventDetail {
    /// Its id.
    pub id: EventId,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: EventTypeName,
    /// Its project.
    pub project: Project,
    /// When it was accepted.
    pub accepted: UnixMillis,
    /// The body that receivers get.
    pub body: String,
    /// Its deliveries.
    pub deliveries: Vec<EventDelivery>,
}

/// A delivery of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventDelivery {
    /// Its id.
    pub id: DeliveryId,
    /// The webhook; its number where the id is no longer known.
    pub webhook: String,
    /// Where it stands.
    pub state: DeliveryState,
}
