//! A stand-in for the house behind the doors: it writes down what it was asked and answers as told. It never keeps an event anywhere else.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use super::described::{Described, description};
use crate::limits;
use crate::model::blacklist::{BlacklistPage, Cause, Entry, Imported};
use crate::model::report::{
    BackupReport, BlacklistQuery, BulkReport, BulkRequest, ChangedDelivery, ConfigReport, DeliveryChange, DeliveryDetail, DeliveryFilter,
    DeliveryNewsPage, DeliveryPage, DeliverySummary, EventDetail, EventFilter, EventPage, Explanation, Figures, NewToken, Progress,
    PublishedEvent, ReloadReport, RotateRequest, SecretRotated, Sending, SentRequest, Status, StatusQuery, TestReport, TestRequest,
    TokenIssued, TokenRevoked, TokenSummary, Top, TopQuery, VerifyReport, WatchFilter, WebhookDetail, WebhookPage, WebhookQuery,
    WebhookRemoved, WebhookSummary,
};
use crate::model::{
    Address, Catalog, Definition, DeliveryId, DeliveryState, EventId, EventTypeName, NewEvent, Origin, OutcomeClass, PhaseTimes, Project,
    Remark, Token, WebhookId,
};
use crate::server::api::Api;
use crate::server::events::budget::BodyBudget;
use crate::server::hallway::{DoorSettings, Hallway, Publication, Refusal};
use crate::server::metrics::Metrics;
use crate::server::operations::Operations;
use crate::server::{admin_router, doors, listener_router};
use crate::time::UnixMillis;

/// A stand-in for the daemon.
#[derive(Clone)]
pub(super) struct House(Arc<Rooms>);

struct Rooms {
    settings: Mutex<DoorSettings>,
    not_ready: Mutex<Option<String>>,
    publication: Mutex<Option<Publication>>,
    refusal: Mutex<Option<Refusal>>,
    published: watch::Sender<Vec<Vec<NewEvent>>>,
    asked: Mutex<Vec<String>>,
    /// One permit for each publication, or question for figures, that may be answered.
    answers: Semaphore,
}

impl House {
    /// A house that needs no token, and makes two deliveries of every event.
    pub(super) fn new() -> Self {
        Self(Arc::new(Rooms {
            settings: Mutex::new(DoorSettings {
                catalog: Arc::new(Catalog::built_in()),
                tokens: Arc::new([]),
                max_event_size: limits::EVENT_SIZE_DEFAULT,
            }),
            not_ready: Mutex::default(),
            publication: Mutex::default(),
            refusal: Mutex::default(),
            published: watch::Sender::default(),
            asked: Mutex::default(),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
        }))
    }

    /// Tokens are needed from now on.
    pub(super) fn with_tokens(self, tokens: &[Token]) -> Self {
        self.0.settings.lock().unwrap().tokens = tokens.into();
        self
    }

    /// Events may have so many bytes.
    pub(super) fn with_max_event_size(self, bytes: usize) -> Self {
        self.0.settings.lock().unwrap().max_event_size = bytes;
        self
    }

    /// Not ready, with a reason.
    pub(super) fn becomes_unready(&self, why: &str) {
        *self.0.not_ready.lock().unwrap() = Some(why.to_owned());
    }

    /// What every publication is answered from now on.
    pub(super) fn answers_publications(&self, publication: Publication) {
        *self.0.publication.lock().unwrap() = Some(publication);
    }

    /// What every other question is answered from now on.
    pub(super) fn refuses(&self, refusal: Refusal) {
        *self.0.refusal.lock().unwrap() = Some(refusal);
    }

    /// Publications, and questions for figures, are not answered until [`House::answers_again`].
    pub(super) fn hesitates(&self) {
        self.0.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// What waits is answered.
    pub(super) fn answers_again(&self) {
        self.0.answers.add_permits(1000);
    }

    /// Waits until so many publications have come in.
    pub(super) async fn saw_publications(&self, count: usize) {
        self.0.published.subscribe().wait_for(|published| published.len() >= count).await.unwrap();
    }

    /// Every publication so far.
    pub(super) fn published(&self) -> Vec<Vec<NewEvent>> {
        self.0.published.borrow().clone()
    }

    /// The ids of the events of the one publication so far.
    pub(super) fn published_ids(&self) -> Vec<String> {
        let published = self.published();
        assert_eq!(published.len(), 1, "{published:?}");
        published[0].iter().map(|event| event.id.to_string()).collect()
    }

    /// Every other question so far, in words.
    pub(super) fn asked(&self) -> Vec<String> {
        self.0.asked.lock().unwrap().clone()
    }

    fn answer<T>(&self, question: String, answer: T) -> Result<T, Refusal> {
        self.0.asked.lock().unwrap().push(question);
        self.0.refusal.lock().unwrap().clone().map_or(Ok(answer), Err)
    }
}

impl Hallway for House {
    fn settings(&self) -> Arc<DoorSettings> {
        Arc::new(self.0.settings.lock().unwrap().clone())
    }

    fn not_ready(&self) -> Option<String> {
        self.0.not_ready.lock().unwrap().clone()
    }

    async fn publish(&self, events: Vec<NewEvent>) -> Publication {
        let kept = events.iter().map(|event| published(event.id.as_str(), false)).collect();
        self.0.published.send_modify(|published| published.push(events));
        self.0.answers.acquire().await.unwrap().forget();
        self.0.publication.lock().unwrap().clone().unwrap_or(Publication::Durable(kept))
    }

    async fn figures(&self) -> Result<Figures, Refusal> {
        let answer = self.answer("figures".into(), Figures { pending: 7, ..Figures::default() });
        self.0.answers.acquire().await.unwrap().forget();
        answer
    }

    async fn status(&self, query: StatusQuery) -> Result<Status, Refusal> {
        let webhooks = query.webhooks.map(|count| format!(" {count} webhooks")).unwrap_or_default();
        self.answer(format!("status{webhooks}"), Status { pending: 7, ..Status::default() })
    }

    async fn top(&self, query: TopQuery) -> Result<Top, Refusal> {
        self.answer(format!("top {}", serde_json::to_string(&query).unwrap()), Top { pending: 7, ..Top::default() })
    }

    async fn webhooks(&self, query: WebhookQuery) -> Result<WebhookPage, Refusal> {
        let page = WebhookPage { webhooks: vec![webhook("crm"), webhook("shop-2")], next: None };
        self.answer(format!("webhooks {}", serde_json::to_string(&query).unwrap()), page)
    }

    async fn webhook(&self, id: WebhookId) -> Result<WebhookDetail, Refusal> {
        self.answer(format!("webhook {id}"), detail(id.as_str()))
    }

    async fn add_webhook(&self, definition: Definition, by: String) -> Result<WebhookDetail, Refusal> {
        self.answer(format!("add {} by {by}", definition.to_json()), detail(definition.text("id").unwrap_or("new")))
    }

    async fn edit_webhook(&self, id: WebhookId, patch: Definition, replaces: bool, by: String) -> Result<WebhookDetail, Refusal> {
        let known = id.as_str() != "unknown";
        let verb = if replaces { "replace" } else { "edit" };
        let answer = self.answer(format!("{verb} {id} {} by {by}", patch.to_json()), detail(id.as_str()));
        if known { answer } else { Err(Refusal::NotFound { detail: "there is no such webhook".into() }) }
    }

    async fn remove_webhook(&self, id: WebhookId, by: String) -> Result<WebhookRemoved, Refusal> {
        self.answer(format!("remove {id} by {by}"), WebhookRemoved { id, cancelled: 7 })
    }

    async fn rotate_secret(&self, id: WebhookId, request: RotateRequest, by: String) -> Result<SecretRotated, Refusal> {
        let question = format!("rotate {id} {:?} by {by}", request.grace_ms);
        self.answer(question, SecretRotated { id, secret: Some("whsec_x".into()), public_key: None, old_secret_until: None })
    }

    async fn test_webhook(&self, id: WebhookId, request: TestRequest) -> Result<TestReport, Refusal> {
        let question = format!("test {id} {}", serde_json::to_string(&request).unwrap());
        let report = TestReport {
            webhook: id,
            event_type: EventTypeName::parse("email.status.delivered").unwrap(),
            wanted: true,
            request: SentRequest::default(),
            response: None,
            outcome: OutcomeClass::Success,
            sentence: "the receiver answered 200 OK".into(),
            phases: PhaseTimes::default(),
            remote: None,
        };
        self.answer(question, report)
    }

    async fn definition(&self, id: WebhookId, with_secret: bool) -> Result<Definition, Refusal> {
        let mut definition = Definition::default();
        definition.set("id", id.as_str());
        self.answer(format!("definition {id} {with_secret}"), definition)
    }

    async fn set_paused(&self, id: WebhookId, paused: bool, by: String) -> Result<WebhookSummary, Refusal> {
        let verb = if paused { "pause" } else { "resume" };
        self.answer(format!("{verb} {id} by {by}"), webhook(id.as_str()))
    }

    async fn deliveries(&self, filter: DeliveryFilter) -> Result<DeliveryPage, Refusal> {
        let page = DeliveryPage { deliveries: vec![delivery("dlv_aaaaaaaaaaaacaaaaaaa")], next: Some("p2".into()), unindexed_segments: 0 };
        self.answer(format!("deliveries {}", serde_json::to_string(&filter).unwrap()), page)
    }

    async fn delivery(&self, id: DeliveryId) -> Result<DeliveryDetail, Refusal> {
        let detail = DeliveryDetail { summary: delivery(&id.to_string()), url: None, timeline: Vec::new(), body: Some("{}".into()) };
        self.answer(format!("delivery {id}"), detail)
    }

    async fn retry(&self, id: DeliveryId, by: String) -> Result<ChangedDelivery, Refusal> {
        let delivery = self.delivery(id).await?;
        self.answer(format!("retry {id} by {by}"), ChangedDelivery { change: DeliveryChange::TriedNow, delivery })
    }

    async fn cancel(&self, id: DeliveryId, by: String) -> Result<ChangedDelivery, Refusal> {
        let delivery = self.delivery(id).await?;
        self.answer(format!("cancel {id} by {by}"), ChangedDelivery { change: DeliveryChange::Cancelled, delivery })
    }

    async fn retry_many(&self, request: BulkRequest, by: String) -> Result<BulkReport, Refusal> {
        self.answer(format!("retry many by {by}: {request:?}"), BulkReport { matched: 7, ..BulkReport::default() })
    }

    async fn cancel_many(&self, request: BulkRequest, by: String) -> Result<BulkReport, Refusal> {
        self.answer(format!("cancel many by {by}: {request:?}"), BulkReport { matched: 7, ..BulkReport::default() })
    }

    async fn watch(&self, filter: WatchFilter) -> Result<DeliveryNewsPage, Refusal> {
        let page = DeliveryNewsPage { next: "1-2-3".into(), ..DeliveryNewsPage::default() };
        self.answer(format!("watch {}", serde_json::to_string(&filter).unwrap()), page)
    }

    async fn events(&self, filter: EventFilter) -> Result<EventPage, Refusal> {
        self.answer(format!("events {}", serde_json::to_string(&filter).unwrap()), EventPage { next: Some(7), ..EventPage::default() })
    }

    async fn event(&self, project: Project, id: EventId) -> Result<EventDetail, Refusal> {
        let detail = EventDetail {
            id: id.clone(),
            event_type: EventTypeName::parse("email.status.delivered").unwrap(),
            project: project.clone(),
            accepted: UnixMillis(0),
            body: "{}".into(),
            deliveries: Vec::new(),
        };
        self.answer(format!("event {project} {id}"), detail)
    }

    async fn explain(&self, event_type: EventTypeName, project: Project) -> Result<Explanation, Refusal> {
        let question = format!("explain {event_type} {project}");
        self.answer(question, Explanation { event_type, project, webhooks: Vec::new() })
    }

    async fn blacklist(&self, project: Project, query: BlacklistQuery) -> Result<BlacklistPage, Refusal> {
        let entries = vec![blacklisted("a@example.com"), blacklisted("b@example.com")];
        let next = entries.last().map(|entry| entry.address.clone());
        self.answer(format!("blacklist {project} {}", serde_json::to_string(&query).unwrap()), BlacklistPage { entries, next })
    }

    async fn blacklist_entry(&self, project: Project, address: Address) -> Result<Entry, Refusal> {
        self.answer(format!("blacklisted {project} {}", address.as_str()), blacklisted(address.as_str()))
    }

    async fn blacklist_import(&self, project: Project, entries: Vec<Entry>) -> Result<Imported, Refusal> {
        let lines = entries.iter().map(|entry| serde_json::to_value(entry).unwrap()).map(|mut entry| {
            entry.as_object_mut().unwrap().remove("since");
            entry.to_string()
        });
        let question = format!("blacklist {} in {project}", lines.collect::<Vec<_>>().join(" "));
        self.answer(question, Imported { listed: entries.len() as u64, known: 0 })
    }

    async fn blacklist_remove(&self, project: Project, address: Address, by: Remark) -> Result<(), Refusal> {
        self.answer(format!("remove {} of {project} by {}", address.as_str(), by.as_str()), ())
    }

    async fn set_sending_paused(&self, paused: bool, by: String) -> Result<Sending, Refusal> {
        self.answer(format!("sending paused {paused} by {by}"), Sending { paused: None, pending: 7 })
    }

    async fn tokens(&self) -> Result<Vec<TokenSummary>, Refusal> {
        self.answer("tokens".into(), vec![issued("platform")])
    }

    async fn issue_token(&self, new: NewToken, by: String) -> Result<TokenIssued, Refusal> {
        let issued = TokenIssued { summary: issued(&new.name), token: "hwt_x".into(), is_first: true };
        self.answer(format!("token {} {} by {by}", new.name, new.projects.join(",")), issued)
    }

    async fn revoke_token(&self, name: String, even_last: bool, by: String) -> Result<TokenRevoked, Refusal> {
        self.answer(format!("revoke {name} even_last={even_last} by {by}"), TokenRevoked { name, was_last: even_last })
    }

    async fn configuration(&self) -> Result<ConfigReport, Refusal> {
        self.answer("config".into(), ConfigReport { path: "webhooks.toml".into(), values: Vec::new() })
    }

    async fn reload(&self, dry_run: bool, by: String) -> Result<ReloadReport, Refusal> {
        self.answer(format!("reload dry_run={dry_run} by {by}"), ReloadReport { dry_run, ..ReloadReport::default() })
    }
}

impl Operations for House {
    async fn begin_backup(&self, directory: PathBuf, by: String) -> Result<Progress<BackupReport>, Refusal> {
        let progress = Progress { number: 1, running: true, ..Progress::default() };
        self.answer(format!("back up to {} by {by}", directory.display()), progress)
    }

    fn backup(&self) -> Progress<BackupReport> {
        Progress { number: 7, ..Progress::default() }
    }

    async fn begin_verify(&self, by: String) -> Result<Progress<VerifyReport>, Refusal> {
        self.answer(format!("verify by {by}"), Progress { number: 2, running: true, ..Progress::default() })
    }

    fn verify(&self) -> Progress<VerifyReport> {
        Progress { number: 8, ..Progress::default() }
    }
}

fn blacklisted(address: &str) -> Entry {
    let cause = Cause::Bounced { event: Some(EventId::parse("e1").unwrap()) };
    Entry { address: Address::parse(address).unwrap(), since: UnixMillis(0), cause }
}

/// What became of an event, with two deliveries.
pub(super) fn published(id: &str, duplicate: bool) -> PublishedEvent {
    PublishedEvent { id: EventId::parse(id).unwrap(), deliveries: 2, duplicate }
}

fn webhook(id: &str) -> WebhookSummary {
    WebhookSummary {
        id: WebhookId::parse(id).unwrap(),
        title: "CRM sync".into(),
        project: "shop.example.com".into(),
        url: "https://crm.example.com/hooks/mail".into(),
        events: vec!["*".into()],
        origin: Origin::File,
        place: Some("webhooks.toml:12".into()),
        pauses: Vec::new(),
        pending: 0,
        in_flight: 0,
        window: 10,
        delivered: 0,
        failed_attempts: 0,
        dropped: 0,
        trouble: None,
        trouble_since: None,
    }
}

fn delivery(id: &str) -> DeliverySummary {
    DeliverySummary {
        id: id.parse().unwrap(),
        event: EventId::parse("a").ok(),
        event_type: EventTypeName::parse("email.status.delivered").ok(),
        project: Project::parse("shop.example.com").ok(),
        webhook: "crm".into(),
        state: DeliveryState::Pending,
        attempts: 0,
        accepted: Some(UnixMillis(0)),
        due: None,
        in_flight: false,
        paused: false,
        finished: None,
        last_outcome: None,
    }
}

fn detail(id: &str) -> WebhookDetail {
    WebhookDetail { summary: webhook(id), settings: None, secret: None, public_key: None, old_secret_until: None, warnings: Vec::new() }
}

fn issued(name: &str) -> TokenSummary {
    TokenSummary { name: name.into(), projects: vec!["*".into()], place: None, since: Some(UnixMillis(0)), by: Some("me".into()) }
}

/// Both doors, open.
pub(super) struct Doors {
    /// What the doors say of themselves.
    pub(super) described: Described,
    /// Who answers.
    pub(super) house: House,
    /// Where the listener listens.
    pub(super) address: std::net::SocketAddr,
    /// The admin socket.
    pub(super) socket: PathBuf,
    closing: watch::Sender<bool>,
    tasks: [JoinHandle<()>; 2],
    _directory: tempfile::TempDir,
}

impl Doors {
    /// Opens both doors on loopback.
    pub(super) async fn open(house: &House) -> Self {
        Self::open_as(house, true, limits::CONNECTIONS_DEFAULT).await
    }

    /// Opens both doors. The listener is on loopback whatever it believes itself.
    pub(super) async fn open_as(house: &House, is_loopback: bool, max_connections: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let listener = doors::bind_listener("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let admin = doors::bind_admin_socket(&socket).unwrap();
        let address = listener.local_addr().unwrap();
        let budget = BodyBudget::default();
        let router = listener_router(house.clone(), Arc::new(Metrics::new()), budget.clone(), is_loopback);
        let admin_router = admin_router(house.clone(), budget, Api::new());
        let described = Described { listener: description(&router).await, admin: description(&admin_router).await };
        let (closing, closed) = watch::channel(false);
        let tasks = [
            tokio::spawn(doors::serve_listener(listener, router, None, max_connections, closed.clone())),
            tokio::spawn(doors::serve_admin(admin, admin_router, closed)),
        ];
        Self { house: house.clone(), described, address, socket, closing, tasks, _directory: directory }
    }

    /// Says that the doors close; [`Doors::closed`] waits for it.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until both doors are closed and nothing is under way.
    pub(super) async fn closed(self) {
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}
