//! What the front doors ask of the house. They never see who answers: the daemon does, and in tests a stand-in.

use std::future::Future;
use std::sync::Arc;

use crate::model::blacklist::{BlacklistPage, Entry, Imported};
use crate::model::report::{
    BlacklistQuery, BulkReport, BulkRequest, ChangedDelivery, DeliveryDetail, DeliveryFilter, DeliveryNewsPage, DeliveryPage, EventDetail,
    EventFilter, EventPage, Explanation, PublishedEvent, ReloadReport, Status, WatchFilter, WebhookDetail, WebhookSummary,
};
use crate::model::{Address, Catalog, DeliveryId, EventId, EventTypeName, NewEvent, Project, Remark, Token, WebhookId};

/// Why the house did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much is waiting; nothing was kept. `429` or `503` with `Retry-After`.
    Busy {
        /// A sentence for people.
        detail: String,
        /// Seconds after which asking again makes sense.
        retry_after_s: u32,
    },
    /// The daemon is ending, or the store can't write. `503`.
    Unavailable {
        /// A sentence for people.
        detail: String,
    },
    /// There is no such thing. `404`.
    NotFound {
        /// A sentence for people.
        detail: String,
    },
    /// It can't be done as things stand. `409`.
    Conflict {
        /// A sentence for people.
        detail: String,
    },
    /// The request asks for something impossible. `422`.
    Invalid {
        /// A sentence for people.
        detail: String,
    },
}

/// What became of a publication; all or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Every event is on disk, now or from before.
    Durable(Vec<PublishedEvent>),
    /// These events (index, id) were accepted before with other content. Nothing was kept.
    Conflicts(Vec<(usize, EventId)>),
    /// Nothing was kept.
    Refused(Refusal),
}

/// What part of the configuration the doors need; replaced as a whole by a reload.
#[derive(Clone, Debug)]
pub struct DoorSettings {
    /// The event types that are accepted.
    pub catalog: Arc<Catalog>,
    /// Who may post; empty: nobody needs a token on loopback.
    pub tokens: Arc<[Token]>,
    /// Bytes of one event as submitted.
    pub max_event_size: usize,
}

/// Everything that the front doors may ask.
pub trait Hallway: Clone + Send + Sync + 'static {
    /// The settings in force.
    fn settings(&self) -> Arc<DoorSettings>;
    /// `None` when events are accepted; otherwise why not, in words.
    fn not_ready(&self) -> Option<String>;
    /// Makes events durable, all or none.
    fn publish(&self, events: Vec<NewEvent>) -> impl Future<Output = Publication> + Send;
    /// One screen about the daemon.
    fn status(&self) -> impl Future<Output = Result<Status, Refusal>> + Send;
    /// Every webhook.
    fn webhooks(&self) -> impl Future<Output = Result<Vec<WebhookSummary>, Refusal>> + Send;
    /// One webhook, whole. A secret that hookwheel made is in the first answer only.
    fn webhook(&self, id: WebhookId) -> impl Future<Output = Result<WebhookDetail, Refusal>> + Send;
    /// Pauses (or resumes) a webhook's sending. `by` is who asked.
    fn set_paused(&self, id: WebhookId, paused: bool, by: String) -> impl Future<Output = Result<WebhookSummary, Refusal>> + Send;
    /// A page of deliveries: pending in the order of their next attempt, then finished newest first.
    fn deliveries(&self, filter: DeliveryFilter) -> impl Future<Output = Result<DeliveryPage, Refusal>> + Send;
    /// One delivery with its attempts.
    fn delivery(&self, id: DeliveryId) -> impl Future<Output = Result<DeliveryDetail, Refusal>> + Send;
    /// Tries a delivery again: a pending one now, one that ended with a fresh schedule. `by` is who asked.
    fn retry(&self, id: DeliveryId, by: String) -> impl Future<Output = Result<ChangedDelivery, Refusal>> + Send;
    /// Ends a pending delivery.
    fn cancel(&self, id: DeliveryId, by: String) -> impl Future<Output = Result<ChangedDelivery, Refusal>> + Send;
    /// Tries one slice of many deliveries again, or counts it.
    fn retry_many(&self, request: BulkRequest, by: String) -> impl Future<Output = Result<BulkReport, Refusal>> + Send;
    /// Ends one slice of many pending deliveries, or counts it.
    fn cancel_many(&self, request: BulkRequest, by: String) -> impl Future<Output = Result<BulkReport, Refusal>> + Send;
    /// What happens to deliveries, as it happens.
    fn watch(&self, filter: WatchFilter) -> impl Future<Output = Result<DeliveryNewsPage, Refusal>> + Send;
    /// A page of events, the one accepted last first.
    fn events(&self, filter: EventFilter) -> impl Future<Output = Result<EventPage, Refusal>> + Send;
    /// The newest event of that id, with its deliveries.
    fn event(&self, project: Project, id: EventId) -> impl Future<Output = Result<EventDetail, Refusal>> + Send;
    /// Which webhooks want an event, and why the others do not.
    fn explain(&self, event_type: EventTypeName, project: Project) -> impl Future<Output = Result<Explanation, Refusal>> + Send;
    /// A page of a project's Black List, in the order of addresses.
    fn blacklist(&self, project: Project, query: BlacklistQuery) -> impl Future<Output = Result<BlacklistPage, Refusal>> + Send;
    /// The entry of an address, as of the last change that anybody was told of; `NotFound` when it is not listed.
    fn blacklist_entry(&self, project: Project, address: Address) -> impl Future<Output = Result<Entry, Refusal>> + Send;
    /// Lists addresses; those that are listed already stay as they are.
    fn blacklist_import(&self, project: Project, entries: Vec<Entry>) -> impl Future<Output = Result<Imported, Refusal>> + Send;
    /// Takes an address off a project's Black List; `NotFound` when it is not listed.
    fn blacklist_remove(&self, project: Project, address: Address, by: Remark) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// Reads the configuration again. Errors of the file are in the report.
    fn reload(&self, dry_run: bool, by: String) -> impl Future<Output = Result<ReloadReport, Refusal>> + Send;
}
