//! What the front doors ask of the house. They never see who answers: the daemon does, and in tests a stand-in.

use std::future::Future;
use std::sync::Arc;

use crate::model::blacklist::{BlacklistPage, Entry, Imported};
use crate::model::report::{
    BlacklistQuery, BulkReport, BulkRequest, ChangedDelivery, ConfigReport, DeliveryDetail, DeliveryFilter, DeliveryNewsPage, DeliveryPage,
    EventDetail, EventFilter, EventPage, Explanation, Figures, NewToken, PublishedEvent, ReloadReport, RotateRequest, SecretRotated,
    Sending, Status, StatusQuery, TestReport, TestRequest, TokenIssued, TokenRevoked, TokenSummary, Top, TopQuery, WatchFilter,
    WebhookDetail, WebhookPage, WebhookQuery, WebhookRemoved, WebhookSummary,
};
use crate::model::{Address, Catalog, Definition, DeliveryId, EventId, EventTypeName, NewEvent, Project, Remark, Token, WebhookId};

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
    /// The daemon in figures, for anybody: it costs operators nothing, and never much.
    fn figures(&self) -> impl Future<Output = Result<Figures, Refusal>> + Send;
    /// One screen about the daemon.
    fn status(&self, query: StatusQuery) -> impl Future<Output = Result<Status, Refusal>> + Send;
    /// The webhooks that come first in some order, and how they fared lately.
    fn top(&self, query: TopQuery) -> impl Future<Output = Result<Top, Refusal>> + Send;
    /// A page of webhooks, in the order of their ids.
    fn webhooks(&self, query: WebhookQuery) -> impl Future<Output = Result<WebhookPage, Refusal>> + Send;
    /// One webhook, whole. A secret that hookwheel made is in the first answer only.
    fn webhook(&self, id: WebhookId) -> impl Future<Output = Result<WebhookDetail, Refusal>> + Send;
    /// Pauses (or resumes) a webhook's sending. `by` is who asked.
    fn set_paused(&self, id: WebhookId, paused: bool, by: String) -> impl Future<Output = Result<WebhookSummary, Refusal>> + Send;
    /// Adds a webhook; its secret is in the answer.
    fn add_webhook(&self, definition: Definition, by: String) -> impl Future<Output = Result<WebhookDetail, Refusal>> + Send;
    /// Changes the keys that `patch` names, or all where it `replaces` what there was. A conflict for a webhook of the file.
    fn edit_webhook(
        &self,
        id: WebhookId,
        patch: Definition,
        replaces: bool,
        by: String,
    ) -> impl Future<Output = Result<WebhookDetail, Refusal>> + Send;
    /// Removes a webhook for good; its pending deliveries are cancelled.
    fn remove_webhook(&self, id: WebhookId, by: String) -> impl Future<Output = Result<WebhookRemoved, Refusal>> + Send;
    /// Gives a webhook a new secret; the old one signs, too, for a while.
    fn rotate_secret(
        &self,
        id: WebhookId,
        request: RotateRequest,
        by: String,
    ) -> impl Future<Output = Result<SecretRotated, Refusal>> + Send;
    /// Sends a sample event at once, and tells of the whole exchange.
    fn test_webhook(&self, id: WebhookId, request: TestRequest) -> impl Future<Output = Result<TestReport, Refusal>> + Send;
    /// What would have to be said to have this webhook again.
    fn definition(&self, id: WebhookId, with_secret: bool) -> impl Future<Output = Result<Definition, Refusal>> + Send;
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
    /// Pauses or resumes all sending.
    fn set_sending_paused(&self, paused: bool, by: String) -> impl Future<Output = Result<Sending, Refusal>> + Send;
    /// Every token.
    fn tokens(&self) -> impl Future<Output = Result<Vec<TokenSummary>, Refusal>> + Send;
    /// Makes a token, which is in the answer and nowhere else.
    fn issue_token(&self, new: NewToken, by: String) -> impl Future<Output = Result<TokenIssued, Refusal>> + Send;
    /// Revokes a token that the daemon made. A conflict for one of the file, and, unless it is to go even so, for the last without which whoever is on this machine may post.
    fn revoke_token(&self, name: String, even_last: bool, by: String) -> impl Future<Output = Result<TokenRevoked, Refusal>> + Send;
    /// The configuration in force, and where each value comes from.
    fn configuration(&self) -> impl Future<Output = Result<ConfigReport, Refusal>> + Send;
    /// Reads the configuration again. Errors of the file are in the report.
    fn reload(&self, dry_run: bool, by: String) -> impl Future<Output = Result<ReloadReport, Refusal>> + Send;
}
