//! What the daemon answers to its front doors. It asks the engine on the engine's own thread and reads the store beside it; it never changes a
//! delivery by itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::controls;
use super::lists::Lists;
use super::operations::Jobs;
use super::registry::Registry;
use super::top;
use super::vault;
use super::webhooks;
use super::wheelhouse::{Inbox, Message};
use crate::config::{Config, Environment};
use crate::dispatch::Dispatcher;
use crate::engine::{Engine, Input, matching};
use crate::limits;
use crate::model::blacklist::{BlacklistPage, Entry, Imported};
use crate::model::report::{
    BlacklistQuery, BulkReport, BulkRequest, ChangedDelivery, ConfigReport, ConfigurationStatus, DeliveryDetail, DeliveryFilter,
    DeliveryNewsPage, DeliveryPage, DiskStatus, EventDetail, EventFilter, EventPage, ExplainedWebhook, Explanation, Figures, NewToken,
    ReloadReport, RotateRequest, SecretRotated, Sending, Status, StatusQuery, StoreStatus, TestReport, TestRequest, TokenIssued,
    TokenRevoked, TokenSummary, Top, TopQuery, TopSort, WatchFilter, WebhookDetail, WebhookPage, WebhookQuery, WebhookRemoved,
    WebhookSummary,
};
use crate::model::{
    Address, Definition, DeliveryId, EventId, EventTypeName, NewEvent, Pause, Project, Remark, Webhook, WebhookId, WebhookNumber,
};
use crate::server::hallway::{DoorSettings, Hallway, Publication, Refusal};
use crate::server::metrics;
use crate::server::sandbox::Sandboxes;
use crate::server::tls::Tls;
use crate::store::blacklist::Blacklist;
use crate::store::carry::{Carry, Load};
use crate::store::fact::{Fact, WebhookState};
use crate::store::journal::medium::Medium;
use crate::store::space::Space;
use crate::store::view::sled::SledTable;
use crate::store::writer::WriterStatus;
use crate::time::{ScheduleClock, UnixMillis};

/// A refusal for want of room is worth asking again after so long.
pub(super) const DISK_FULL_RETRY_S: u32 = 30;

/// The daemon, as its front doors see it.
#[derive(Clone)]
pub(super) struct House(pub(super) Arc<Rooms>);

/// Everything that answering needs.
pub(super) struct Rooms {
    /// The way to the engine.
    pub(super) inbox: Inbox,
    /// Publications that may be inside at once.
    pub(super) ingest_permits: Arc<Semaphore>,
    /// Questions and commands that may be inside at once.
    pub(super) operator_permits: Arc<Semaphore>,
    /// Questions for figures that may be inside at once.
    pub(super) figures_permits: Arc<Semaphore>,
    /// The webhooks.
    pub(super) registry: Mutex<Registry>,
    /// One reload, or change of a webhook's state, at a time.
    pub(super) changes: tokio::sync::Mutex<()>,
    /// One who takes up deliveries that ended at a time, so that what was read of them is still true when it is written.
    pub(super) reopening: tokio::sync::Mutex<()>,
    /// The settings of the doors.
    pub(super) doors: RwLock<Arc<DoorSettings>>,
    /// The configuration in force.
    pub(super) config: RwLock<Arc<Config>>,
    /// The one that the daemon started with, of which some keys stay in force until it ends.
    pub(super) started_with: Arc<Config>,
    /// How the last reload went.
    pub(super) configuration: Mutex<ConfigurationStatus>,
    /// What secrets and files of the configuration are read from.
    pub(super) environment: Environment,
    /// Reads lists and single deliveries.
    pub(super) lists: Lists,
    /// Who must not be mailed.
    pub(super) blacklist: Blacklist<SledTable>,
    /// Sample events that may be under way at once.
    pub(super) trial_permits: Arc<Semaphore>,
    /// Posts deliveries.
    pub(super) dispatcher: Dispatcher,
    /// Test receivers.
    pub(super) sandboxes: Sandboxes,
    /// Where the daemon listens.
    pub(super) listen: SocketAddr,
    /// What the listener speaks TLS with, if it does.
    pub(super) tls: Option<Tls>,
    /// The socket of the commands.
    pub(super) admin_socket: PathBuf,
    /// Where its data lies.
    pub(super) data_dir: PathBuf,
    /// The room on the disk.
    pub(super) space: Space,
    /// What opening found.
    pub(super) warnings: Vec<String>,
    /// The time.
    pub(super) clock: ScheduleClock,
    /// When the doors opened.
    pub(super) started: UnixMillis,
    /// Backups and verifications.
    pub(super) jobs: Jobs,
    /// The daemon is ending.
    pub(super) draining: AtomicBool,
}

impl House {
    /// The configuration in force.
    pub(super) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The registry, for a moment.
    pub(super) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the engine something on its own thread.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine, &WriterStatus, UnixMillis) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.ask_under(&self.0.operator_permits, question).await
    }

    /// The same under one of these permits.
    async fn ask_under<T: Send + 'static>(
        &self,
        permits: &Arc<Semaphore>,
        question: impl FnOnce(&Engine, &WriterStatus, UnixMillis) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let question = Box::new(move |engine: &Engine, writer: &WriterStatus, now| drop(answer.send(question(engine, writer, now))));
        self.put_under(permits, |permit| Message::Ask { question, permit }, answered).await
    }

    /// For how many milliseconds the delivery that is due longest has been due; what is paused aside. The engine looks at some lanes after the others, and sends in between.
    pub(super) async fn oldest_due_age_ms(&self, permits: &Arc<Semaphore>) -> Result<u64, Refusal> {
        let (mut oldest_ms, mut next) = (0, Some(WebhookNumber(0)));
        while let Some(first) = next {
            (oldest_ms, next) = self.ask_under(permits, move |engine, _, now| engine.oldest_due_age_ms(oldest_ms, first, now)).await?;
        }
        Ok(oldest_ms)
    }

    /// Whether the daemon is ending.
    pub(super) fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// What is wrong with the disk, in words, as the writer knows it: whoever asks, the disk is not asked.
    pub(super) fn disk_trouble(&self) -> Option<String> {
        self.0.space.status().trouble(&self.0.data_dir.display().to_string())
    }

    /// How much is free on the disk of the data directory, where it says so.
    pub(super) async fn free_bytes(&self) -> Option<u64> {
        let medium = Arc::clone(&self.0.lists.medium);
        // A disk that does not answer keeps a thread waiting, not this one.
        tokio::task::spawn_blocking(move || medium.free_bytes().ok()).await.ok().flatten()
    }

    /// Makes facts durable. With the reserve of a full disk used up it is refused, since nobody knows for how long it would wait.
    pub(super) async fn commit(&self, facts: Vec<Fact>) -> Result<(), Refusal> {
        if self.0.space.status().is_reserve_used_up {
            return Err(self.without_room());
        }
        let facts = vault::seal(&self.0.started_with.server.sealing_keys, facts).map_err(|detail| Refusal::Unavailable { detail })?;
        let (done, waits) = oneshot::channel();
        self.operate(|permit| Message::Operate { facts, done, permit }, waits).await
    }

    /// Refuses what takes much room, as events do, while the disk is full.
    pub(super) fn refuse_without_room(&self) -> Result<(), Refusal> {
        if self.0.space.status().full_since.is_some() { Err(self.without_room()) } else { Ok(()) }
    }

    fn without_room(&self) -> Refusal {
        let detail = format!("{}; nothing was changed", self.disk_trouble().unwrap_or_else(|| "the disk is full".into()));
        Refusal::Busy { detail, retry_after_s: DISK_FULL_RETRY_S }
    }

    /// Has written down again what still holds of this, durably.
    pub(super) async fn carry(&self, carry: Vec<Carry>) -> Result<Load, Refusal> {
        let (done, waits) = oneshot::channel();
        self.operate(|permit| Message::Carry { carry, done, permit }, waits).await
    }

    /// Waits until the view has everything that was written before; at most two seconds, and then it has not. A view that rests because the disk is
    /// full is not waited for: an old answer is better than none then.
    pub(super) async fn barrier(&self) -> Result<(), Refusal> {
        if self.0.space.status().view_waits_since.is_some() {
            return Ok(());
        }
        let busy = || Refusal::Busy { detail: "the view is catching up with the journal".into(), retry_after_s: 1 };
        tokio::time::timeout(Duration::from_millis(limits::BARRIER_TIMEOUT_MS), self.patient_barrier()).await.map_err(|_| busy())?
    }

    /// Waits until the view has everything that was written before, however long that takes.
    pub(super) async fn patient_barrier(&self) -> Result<(), Refusal> {
        let (done, waits) = oneshot::channel();
        self.operate(|permit| Message::Barrier { done, permit }, waits).await
    }

    /// Sends a message under an operator's permit and waits for what it brings. The permit goes with the message: a client that goes away while it waits gives nothing back.
    pub(super) async fn operate<T>(
        &self,
        message: impl FnOnce(OwnedSemaphorePermit) -> Message,
        answered: oneshot::Receiver<T>,
    ) -> Result<T, Refusal> {
        self.put_under(&self.0.operator_permits, message, answered).await
    }

    async fn put_under<T>(
        &self,
        permits: &Arc<Semaphore>,
        message: impl FnOnce(OwnedSemaphorePermit) -> Message,
        answered: oneshot::Receiver<T>,
    ) -> Result<T, Refusal> {
        let gone = || Refusal::Unavailable { detail: "the daemon is ending".into() };
        let permit = Arc::clone(permits).acquire_owned().await.map_err(|_| gone())?;
        self.0.inbox.put(message(permit));
        answered.await.map_err(|_| gone())
    }

    /// Writes down a webhook's changed state, and tells the engine whether it is paused now.
    pub(super) async fn change_state(&self, state: WebhookState) -> Result<(), Refusal> {
        let number = state.number;
        self.commit(vec![Fact::Webhook(state.clone())]).await?;
        let (paused, new) = {
            let mut registry = self.registry();
            let new = registry.pauses_beyond(&state);
            registry.put(state);
            (registry.is_paused(number), new)
        };
        self.0.inbox.put(Message::Input(Input::Paused { webhook: number, paused }));
        self.pauses_began(new.into_iter().map(|pause| (number, pause)).collect());
        Ok(())
    }

    /// Has the engine know of pauses that are new, after it knows of the webhooks.
    pub(super) fn pauses_began(&self, pauses: Vec<(WebhookNumber, Pause)>) {
        if !pauses.is_empty() {
            self.0.inbox.put(Message::Input(Input::PausesBegan(pauses)));
        }
    }

    /// What the engine says about itself.
    async fn engine_report(&self) -> Result<Status, Refusal> {
        self.ask(|engine, writer, _| Status {
            counters: engine.counters(),
            pending: engine.pending().len() as u64,
            in_flight: u64::from(engine.in_flight()),
            next_due: engine.next_due(),
            store: StoreStatus {
                last_sequence: writer.last_sequence,
                view_lag: writer.view_lag as u64,
                segments: u64::from(writer.segment),
                ..StoreStatus::default()
            },
            ..Status::default()
        })
        .await
    }
}

/// Does something to its end, also when whoever asked for it goes away meanwhile: what is written down must take effect.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = Result<T, Refusal>> + Send + 'static) -> Result<T, Refusal> {
    let defect = |_| Refusal::Unavailable { detail: "a defect of hookwheel: its log says more".into() };
    tokio::spawn(work).await.map_err(defect)?
}

impl Hallway for House {
    fn settings(&self) -> Arc<DoorSettings> {
        Arc::clone(&self.0.doors.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn not_ready(&self) -> Option<String> {
        if self.is_draining() {
            return Some("the daemon is ending".to_owned());
        }
        // A view that waits for room keeps no event out.
        self.0.space.status().full_since.and_then(|_| self.disk_trouble())
    }

    async fn publish(&self, events: Vec<NewEvent>) -> Publication {
        super::publications::publish(self, events).await
    }

    async fn figures(&self) -> Result<Figures, Refusal> {
        let permits = &self.0.figures_permits;
        let ask = self.ask_under(permits, |engine, _, _| Figures {
            counters: engine.counters(),
            pending: engine.pending().len() as u64,
            in_flight: u64::from(engine.in_flight()),
            ..Figures::default()
        });
        let mut figures = ask.await?;
        figures.oldest_due_age_ms = self.oldest_due_age_ms(permits).await?;
        let rooms = Arc::clone(&self.0);
        let sizes = tokio::task::spawn_blocking(move || (rooms.lists.sizes().1, rooms.lists.medium.free_bytes().ok())).await;
        (figures.store_size_bytes, figures.store_free_bytes) = sizes.unwrap_or_default();
        figures.is_store_full = self.0.space.status().full_since.is_some();
        figures.is_sending_paused = self.registry().sending().is_some();
        let configuration = self.0.configuration.lock().unwrap_or_else(PoisonError::into_inner);
        figures.is_last_reload_successful = configuration.last_reload_successful;
        Ok(figures)
    }

    async fn status(&self, query: StatusQuery) -> Result<Status, Refusal> {
        let mut status = self.engine_report().await?;
        status.oldest_due_age_ms = self.oldest_due_age_ms(&self.0.operator_permits).await?;
        status.version = env!("CARGO_PKG_VERSION").to_owned();
        status.pid = std::process::id();
        status.started = self.0.started;
        status.draining = self.is_draining();
        status.resident_bytes = metrics::resident_bytes();
        status.store.data_dir = self.0.data_dir.display().to_string();
        status.store.warnings.clone_from(&self.0.warnings);
        status.configuration = self.0.configuration.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rooms = Arc::clone(&self.0);
        let sizes = tokio::task::spawn_blocking(move || rooms.lists.sizes()).await;
        (status.store.segments, status.store.size_bytes) = sizes.unwrap_or_default();
        status.store.disk = DiskStatus { free_bytes: self.free_bytes().await, ..self.0.space.status() };
        status.paused = self.registry().sending().cloned();
        let foremost = top::foremost(self, TopSort::Trouble, false, query.webhooks.unwrap_or(usize::MAX)).await?;
        (status.webhooks, status.census) = (foremost.webhooks, foremost.census);
        Ok(status)
    }

    async fn top(&self, query: TopQuery) -> Result<Top, Refusal> {
        top::top(self, query).await
    }

    async fn webhooks(&self, query: WebhookQuery) -> Result<WebhookPage, Refusal> {
        webhooks::list(self, query).await
    }

    async fn webhook(&self, id: WebhookId) -> Result<WebhookDetail, Refusal> {
        let house = self.clone();
        to_the_end(async move { webhooks::detail(&house, id).await }).await
    }

    async fn set_paused(&self, id: WebhookId, paused: bool, by: String) -> Result<WebhookSummary, Refusal> {
        let house = self.clone();
        to_the_end(async move { webhooks::set_paused(&house, id, paused, &by).await }).await
    }

    async fn add_webhook(&self, definition: Definition, by: String) -> Result<WebhookDetail, Refusal> {
        let house = self.clone();
        to_the_end(async move { webhooks::add(&house, definition, &by).await }).await
    }

    async fn edit_webhook(&self, id: WebhookId, patch: Definition, replaces: bool, by: String) -> Result<WebhookDetail, Refusal> {
        let house = self.clone();
        to_the_end(async move { webhooks::edit(&house, id, patch, replaces, &by).await }).await
    }

    async fn remove_webhook(&self, id: WebhookId, by: String) -> Result<WebhookRemoved, Refusal> {
        let house = self.clone();
        to_the_end(async move { webhooks::remove(&house, id, &by).await }).await
    }

    async fn rotate_secret(&self, id: WebhookId, request: RotateRequest, by: String) -> Result<SecretRotated, Refusal> {
        let house = self.clone();
        to_the_end(async move { webhooks::rotate_secret(&house, id, request, &by).await }).await
    }

    async fn test_webhook(&self, id: WebhookId, request: TestRequest) -> Result<TestReport, Refusal> {
        webhooks::test(self, id, request).await
    }

    async fn definition(&self, id: WebhookId, with_secret: bool) -> Result<Definition, Refusal> {
        webhooks::definition(self, &id, with_secret)
    }

    async fn deliveries(&self, filter: DeliveryFilter) -> Result<DeliveryPage, Refusal> {
        super::lists::page(self, filter).await
    }

    async fn delivery(&self, id: DeliveryId) -> Result<DeliveryDetail, Refusal> {
        super::lists::detail(self, id).await
    }

    async fn retry(&self, id: DeliveryId, by: String) -> Result<ChangedDelivery, Refusal> {
        let house = self.clone();
        to_the_end(async move { super::deliveries::retry(&house, id, &by).await }).await
    }

    async fn cancel(&self, id: DeliveryId, by: String) -> Result<ChangedDelivery, Refusal> {
        super::deliveries::cancel(self, id, &by).await
    }

    async fn retry_many(&self, request: BulkRequest, by: String) -> Result<BulkReport, Refusal> {
        let house = self.clone();
        to_the_end(async move { super::deliveries::retry_many(&house, request, &by).await }).await
    }

    async fn cancel_many(&self, request: BulkRequest, by: String) -> Result<BulkReport, Refusal> {
        super::deliveries::cancel_many(self, request, &by).await
    }

    async fn watch(&self, filter: WatchFilter) -> Result<DeliveryNewsPage, Refusal> {
        super::lists::watch(self, filter).await
    }

    async fn events(&self, filter: EventFilter) -> Result<EventPage, Refusal> {
        super::lists::events(self, filter).await
    }

    async fn event(&self, project: Project, id: EventId) -> Result<EventDetail, Refusal> {
        super::lists::event(self, project, id).await
    }

    async fn explain(&self, event_type: EventTypeName, project: Project) -> Result<Explanation, Refusal> {
        let registry = self.registry().clone();
        let explain = |webhook: &Arc<Webhook>| {
            let explained = matching::explain(webhook, &event_type, &project);
            match registry.pauses(webhook.number).first().filter(|_| explained.matches) {
                Some(pause) => {
                    ExplainedWebhook { because: format!("{}; the delivery would wait: {pause}", explained.because), ..explained }
                }
                None => explained,
            }
        };
        let webhooks = registry.in_force().map(explain).collect();
        Ok(Explanation { event_type, project, webhooks })
    }

    async fn blacklist(&self, project: Project, query: BlacklistQuery) -> Result<BlacklistPage, Refusal> {
        super::blacklist::page(self, project, query).await
    }

    async fn blacklist_entry(&self, project: Project, address: Address) -> Result<Entry, Refusal> {
        super::blacklist::find(self, project, address).await
    }

    async fn blacklist_import(&self, project: Project, entries: Vec<Entry>) -> Result<Imported, Refusal> {
        super::blacklist::list(self, project, entries).await
    }

    async fn blacklist_remove(&self, project: Project, address: Address, by: Remark) -> Result<(), Refusal> {
        super::blacklist::remove(self, project, address, by).await
    }

    async fn set_sending_paused(&self, paused: bool, by: String) -> Result<Sending, Refusal> {
        let house = self.clone();
        to_the_end(async move { controls::set_sending_paused(&house, paused, &by).await }).await
    }

    async fn tokens(&self) -> Result<Vec<TokenSummary>, Refusal> {
        Ok(controls::tokens(self))
    }

    async fn issue_token(&self, new: NewToken, by: String) -> Result<TokenIssued, Refusal> {
        let house = self.clone();
        to_the_end(async move { controls::issue_token(&house, new, &by).await }).await
    }

    async fn revoke_token(&self, name: String, even_last: bool, by: String) -> Result<TokenRevoked, Refusal> {
        let house = self.clone();
        to_the_end(async move { controls::revoke_token(&house, name, even_last, &by).await }).await
    }

    async fn configuration(&self) -> Result<ConfigReport, Refusal> {
        Ok(controls::configuration(self))
    }

    async fn reload(&self, dry_run: bool, by: String) -> Result<ReloadReport, Refusal> {
        let house = self.clone();
        to_the_end(async move { super::reload::reload(&house, dry_run, &by).await }).await
    }
}
