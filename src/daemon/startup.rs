//! Opening the rooms: configuration, data directory, listeners, store, engine, doors, in this order. It never opens a door before everything behind it stands.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc, watch};

use super::controls;
use super::house::{House, Rooms};
use super::last_good::{self, Loaded};
use super::lists::Lists;
use super::open_files;
use super::operations::Jobs;
use super::outbound::Outbound;
use super::registry::{Plan, Registry};
use super::sockets::Sockets;
use super::watchdog::Watchdog;
use super::wheelhouse::{Inbox, Message, Wheelhouse};
use super::{DaemonError, Event, Running, reload, retention, systemd, teller, upkeep, vault, webhooks, write_pause};
use crate::config::{Config, Environment, Mistakes};
use crate::dispatch::Dispatcher;
use crate::engine::pending::Entry;
use crate::engine::{Effect, Engine, Input};
use crate::limits;
use crate::model::report::ConfigurationStatus;
use crate::model::{Notice, PauseReason, WebhookNumber};
use crate::server::events::budget::BodyBudget;
use crate::server::sandbox::{self, Sandboxes};
use crate::server::tls::Tls;
use crate::server::{self, doors, metrics::Metrics};
use crate::store::ballast::Ballast;
use crate::store::blacklist::Blacklist;
use crate::store::data_dir::DataDir;
use crate::store::journal::JournalOptions;
use crate::store::journal::medium::RealMedium;
use crate::store::journal::reader::JournalReader;
use crate::store::recovery::{self, OpenError, Opening, Recovered};
use crate::store::space::Space;
use crate::store::view::TableError;
use crate::store::view::sled::SledTable;
use crate::store::writer::{self, Answer, Order, StoreError, Writer, WriterStatus};
use crate::time::{ScheduleClock, wall_now};

type Store = Recovered<RealMedium, SledTable>;

/// Opens everything. The doors are open when this returns.
pub(super) fn open(path: &Path, socket: Option<&Path>, last_good: bool, events: &SyncSender<Event>) -> Result<Running, DaemonError> {
    let environment = Environment::of_process();
    let Loaded { config, mistakes } = last_good::load(path, last_good, &environment)?;
    let admin_socket = socket.unwrap_or(&config.server.admin_socket).to_owned();
    open_files::raise(&config.limits);
    let data_dir = Arc::new(DataDir::take(&config.server.data_dir).map_err(DaemonError::failed)?);
    let ballast = ballast(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(DaemonError::failed)?;
    let Sockets { listener, listen, admin, admin_path: admin_socket, own_socket } =
        runtime.block_on(Sockets::open(&config, &admin_socket))?;
    let medium = Arc::new(RealMedium::open(&data_dir.journal()).map_err(DaemonError::failed)?);
    let mut store = open_store(&data_dir, &medium)?;
    let clock = ScheduleClock::start(store.view.meta().latest);
    let registry = register(&mut store, &config, &clock)?;
    let (engine, effects) = load(&store, &config, &registry, clock)?;
    let tls = tls(&config)?;
    let sandboxes = open_sandboxes(&config, listen, tls.is_some(), &registry)?;
    let metrics = Arc::new(Metrics::new());
    let reader = JournalReader::new(Arc::clone(&medium));
    let (news, durable) = watch::channel(0);
    let lists = Lists::new(&store, &reader, medium, durable);
    let warnings = std::mem::take(&mut store.warnings);
    let dispatcher = dispatcher(&runtime, &config, listen, tls.as_ref())?;
    let (inbox, messages) = sync_channel(limits::ENGINE_INBOX);
    let inbox = Inbox(inbox);
    let (orders, writer_inbox) = sync_channel(limits::WRITER_INBOX);
    let store_writer = Writer::new(store.journal, store.view, store.history, config.ingest.idempotency_ms);
    let blacklist = store_writer.blacklist().clone();
    let space = store_writer.space().clone();
    let answers = Answers { inbox: inbox.clone(), news };
    let written = store_writer.status();
    let writer = spawn_writer(store_writer, writer_inbox, answers, clock, Arc::clone(&data_dir), events.clone())?;
    upkeep::begin(&lists, ballast, Arc::clone(&data_dir), space.clone(), events.clone())?;
    let outbound = Outbound {
        reader,
        dispatcher: dispatcher.clone(),
        inbox: inbox.clone(),
        metrics: Arc::clone(&metrics),
        clock,
        runtime: runtime.handle().clone(),
    };
    let senders = spawn_senders(&outbound, events)?;
    let (paused, pauses) = mpsc::channel(limits::OPERATOR_PERMITS);
    let (notices, told) = mpsc::channel(limits::NOTICES_MAX);
    let wheelhouse = Wheelhouse {
        engine,
        clock,
        orders,
        senders,
        paused,
        notices,
        metrics: Arc::clone(&metrics),
        effects,
        written,
        watchdog: Watchdog::of_process(&runtime),
    };
    let engine = spawn_guarded("hookwheel-engine", events.clone(), move || {
        wheelhouse.run(&messages);
        Ok(())
    })?;
    let parts =
        Parts { inbox, environment, lists, blacklist, dispatcher, sandboxes, listen, tls, admin_socket, space, warnings, clock, mistakes };
    let house = house(config, path, registry, parts);
    retention::begin(&house, runtime.handle().clone(), data_dir, events.clone())?;
    begin_tasks(&runtime, &house, pauses, told);
    let (closing, doors) = open_doors(&runtime, listener, admin, &house, metrics);
    tracing::info!(%listen, admin_socket = %house.0.admin_socket.display(), data_dir = %house.0.data_dir.display(), "ready");
    Ok(Running { house, runtime, closing, doors, engine, writer, own_socket })
}

fn dispatcher(runtime: &Runtime, config: &Config, listen: SocketAddr, tls: Option<&Tls>) -> Result<Dispatcher, DaemonError> {
    let _inside = runtime.enter();
    Dispatcher::new(reload::dispatch_settings(config, listen, tls)).map_err(DaemonError::failed)
}

/// What the listener speaks TLS with, where the configuration says so.
fn tls(config: &Config) -> Result<Option<Tls>, DaemonError> {
    let identity = config.server.tls.as_ref();
    identity.map(|identity| Tls::new(Arc::clone(&identity.certified)).map_err(DaemonError::failed)).transpose()
}

/// The ballast, freed where this start needs its room.
fn ballast(config: &Config) -> Result<Ballast, DaemonError> {
    let ballast = Ballast::of(&config.server.data_dir);
    if ballast.free_if_needed().map_err(DaemonError::failed)? {
        tracing::warn!("the disk is full: the ballast is freed for this start");
    }
    Ok(ballast)
}

/// What the house is made of besides its configuration.
struct Parts {
    inbox: Inbox,
    environment: Environment,
    lists: Lists,
    blacklist: Blacklist<SledTable>,
    dispatcher: Dispatcher,
    sandboxes: Sandboxes,
    listen: SocketAddr,
    tls: Option<Tls>,
    admin_socket: PathBuf,
    space: Space,
    warnings: Vec<String>,
    clock: ScheduleClock,
    mistakes: Option<Mistakes>,
}

fn house(config: Config, path: &Path, registry: Registry, parts: Parts) -> House {
    let Parts { inbox, environment, lists, blacklist, dispatcher, sandboxes, listen, tls, admin_socket, space, warnings, clock, mistakes } =
        parts;
    config.warnings(wall_now()).iter().for_each(|warning| tracing::warn!("{warning}"));
    // Before this one is remembered in its place.
    let lost_tokens = last_good::lost_tokens(&config, &environment);
    if mistakes.is_none() {
        last_good::remember(&config.server.data_dir, &config);
    }
    let configuration = ConfigurationStatus {
        path: path.display().to_string(),
        loaded: wall_now(),
        last_reload_successful: mistakes.is_none(),
        last_error: mistakes.map(|mistakes| mistakes.to_string()),
        last_reload: None,
    };
    let config = Arc::new(config);
    let house = House(Arc::new(Rooms {
        inbox,
        ingest_permits: Arc::new(Semaphore::new(limits::INGEST_PERMITS)),
        operator_permits: Arc::new(Semaphore::new(limits::OPERATOR_PERMITS)),
        figures_permits: Arc::new(Semaphore::new(limits::FIGURES_PERMITS)),
        trial_permits: Arc::new(Semaphore::new(limits::TRIALS_MAX)),
        changes: tokio::sync::Mutex::new(()),
        reopening: tokio::sync::Mutex::new(()),
        doors: RwLock::new(Arc::new(reload::door_settings(&config, &registry))),
        registry: Mutex::new(registry),
        admin_socket,
        data_dir: config.server.data_dir.clone(),
        config: RwLock::new(Arc::clone(&config)),
        started_with: config,
        configuration: Mutex::new(configuration),
        environment,
        lists,
        blacklist,
        dispatcher,
        sandboxes,
        listen,
        tls,
        space,
        warnings,
        clock,
        started: wall_now(),
        jobs: Jobs::default(),
        draining: AtomicBool::new(false),
    }));
    controls::tell_of_no_tokens(&house, lost_tokens);
    house
}

type Doors = (watch::Sender<bool>, Vec<tokio::task::JoinHandle<()>>);

fn open_doors(runtime: &Runtime, listener: TcpListener, admin: UnixListener, house: &House, metrics: Arc<Metrics>) -> Doors {
    let (closing, closed) = watch::channel(false);
    let (max_connections, is_loopback) = {
        let config = house.0.config.read().unwrap_or_else(PoisonError::into_inner);
        (config.limits.max_connections, house.0.listen.ip().to_canonical().is_loopback())
    };
    let sandboxes = &house.0.sandboxes;
    let budget = BodyBudget::default();
    let router =
        server::listener_router(house.clone(), metrics, budget.clone(), is_loopback).merge(sandbox::routes::routes(sandboxes.clone()));
    let admin_router = server::admin_router(house.clone(), budget, sandbox::admin::routes(sandboxes.clone()));
    let doors = vec![
        runtime.spawn(doors::serve_listener(listener, router, house.0.tls.clone(), max_connections, closed.clone())),
        runtime.spawn(doors::serve_admin(admin, admin_router, closed)),
    ];
    (closing, doors)
}

fn open_store(data_dir: &DataDir, medium: &Arc<RealMedium>) -> Result<Store, DaemonError> {
    let has_failed = data_dir.view_is_set_aside();
    if has_failed {
        // Before anything else, since the disk may be full of it.
        data_dir.delete_view().map_err(DaemonError::failed)?;
    }
    let open_table = |opening| match opening {
        Opening::Existing if has_failed => Err(TableError("it failed when it was used last".into())),
        Opening::Existing => SledTable::open(&data_dir.view()),
        Opening::Fresh => {
            data_dir.delete_view().map_err(|error| TableError(error.to_string()))?;
            SledTable::open(&data_dir.view())
        }
    };
    let mut progress = |what: String| {
        tracing::info!("opening the store: {what}");
        systemd::opening(&what);
    };
    let opened = recovery::open(Arc::clone(medium), JournalOptions::default(), open_table, &mut progress);
    let store = opened.map_err(|error| {
        if let OpenError::View(error) = &error {
            upkeep::set_view_aside(data_dir, error);
        }
        DaemonError::failed(error)
    })?;
    for warning in &store.warnings {
        tracing::warn!("{warning}");
    }
    Ok(store)
}

fn open_sandboxes(config: &Config, listen: SocketAddr, speaks_tls: bool, registry: &Registry) -> Result<Sandboxes, DaemonError> {
    let directory = config.server.data_dir.join("sandbox");
    let failed = |error| DaemonError::Failed(format!("cannot use the sandboxes' directory {}: {error}", directory.display()));
    let sandboxes = Sandboxes::open(&directory, listen, speaks_tls, &config.server.sealing_keys).map_err(failed)?;
    sandboxes.follow(registry.in_force().map(AsRef::as_ref));
    Ok(sandboxes)
}

/// Brings the webhooks that the store knows together with those that the configuration names, durably.
fn register(store: &mut Store, config: &Config, clock: &ScheduleClock) -> Result<Registry, DaemonError> {
    let (mut states, mut settings) = (std::mem::take(&mut store.webhooks), std::mem::take(&mut store.settings));
    let keys = &config.server.sealing_keys;
    let mut facts = vault::open(keys, &mut states, &mut settings).map_err(DaemonError::Failed)?;
    if !facts.is_empty() {
        tracing::info!(secrets = facts.len(), "stored secrets are sealed with the key in key_file from here on");
    }
    let known = Registry::new(states, settings);
    let mut plan = known.plan(config, None, clock.now(), reload::fresh_secret).map_err(DaemonError::Failed)?;
    plan.registry.configured_at(clock.now());
    // A start does not fail by it: everything else is delivered, and what is pending for these waits.
    for sentence in plan.unusable() {
        tracing::error!("{sentence}. It takes nothing and its deliveries wait; `hookwheel webhooks edit` mends it");
    }
    facts.extend(plan.facts());
    let facts = vault::seal(keys, facts).map_err(DaemonError::Failed)?;
    let Plan { registry, changes, .. } = plan;
    for chunk in facts.chunks(limits::BULK_SLICE_KEYS) {
        let places = store.journal.append(chunk).map_err(DaemonError::failed)?;
        store.journal.sync().map_err(DaemonError::failed)?;
        for (place, fact) in places.into_iter().zip(chunk) {
            store.view.fold(place, fact);
        }
    }
    for (_, change) in changes.iter().filter(|(_, change)| !change.starts_with("added")) {
        tracing::info!("{}", change.replace("{pending} ", ""));
    }
    Ok(registry)
}

/// An engine that knows everything that is pending, and what it ordered already.
///
/// Due times need no clamping: each lies at most [`limits::RETRY_INTERVAL_MAX_MS`] and an hour behind a moment that the journal knows, and the
/// schedule clock never starts before the latest of those, whatever the wall clock said when they were written down.
fn load(store: &Store, config: &Config, registry: &Registry, clock: ScheduleClock) -> Result<(Engine, Vec<Effect>), DaemonError> {
    const CHUNK: usize = 4096;
    let now = clock.now();
    let mut engine = Engine::new(now);
    let mut effects = Vec::new();
    engine.handle(now, Input::Configured(reload::engine_configuration(config, registry)), &mut effects);
    engine.handle(now, Input::SendingPaused(registry.sending().is_some()), &mut effects);
    let ordered = registry.in_force().filter(|webhook| webhook.spec.ordered).map(|webhook| webhook.number).collect::<HashSet<_>>();
    let (mut entries, mut entries_in_order) = (Vec::with_capacity(CHUNK), Vec::new());
    let result = recovery::read_queue(store.view.table().as_ref(), |pending| {
        let row = pending.row;
        let entry = Entry { key: pending.key, body: row.body, due: pending.due, attempts: row.attempts, round: row.round };
        if ordered.contains(&pending.key.webhook) {
            entries_in_order.push(entry);
            return;
        }
        entries.push(entry);
        if entries.len() == CHUNK {
            systemd::opening_goes_on();
            engine.handle(now, Input::Loaded(std::mem::replace(&mut entries, Vec::with_capacity(CHUNK))), &mut effects);
        }
    });
    result.map_err(DaemonError::failed)?;
    engine.handle(now, Input::Loaded(entries), &mut effects);
    // The queue is in the order of due times, in which the head of an ordered webhook, tried before, may come last.
    entries_in_order.sort_by_key(|entry| entry.key.sequence);
    engine.handle(now, Input::Loaded(entries_in_order), &mut effects);
    for state in registry.not_in_force().filter(|state| state.removed.is_some()) {
        let by = webhooks::removal_by(state);
        engine.handle(now, Input::Removed { webhook: state.number, by }, &mut effects);
    }
    tracing::info!(pending = engine.pending().len(), "the queue is loaded");
    Ok((engine, effects))
}

/// Who hears from the writer: the engine, and those who wait for whatever becomes durable next.
struct Answers {
    inbox: Inbox,
    news: watch::Sender<u64>,
}

impl Answers {
    fn give(&self, answers: Vec<Answer>, status: WriterStatus) {
        self.news.send_replace(status.last_sequence);
        self.inbox.put(Message::Answers(answers, status));
    }
}

fn spawn_writer(
    store_writer: Writer<RealMedium, SledTable>,
    orders: std::sync::mpsc::Receiver<Order>,
    answers: Answers,
    clock: ScheduleClock,
    data_dir: Arc<DataDir>,
    events: SyncSender<Event>,
) -> Result<JoinHandle<()>, DaemonError> {
    spawn_guarded("hookwheel-writer", events, move || {
        let result = writer::run(store_writer, &orders, || clock.now(), |given, status| answers.give(given, status));
        if let Err(StoreError::View(error)) = &result {
            upkeep::set_view_aside(&data_dir, error);
        }
        result.map_err(|error| error.to_string())
    })
}

fn spawn_senders(outbound: &Outbound, events: &SyncSender<Event>) -> Result<Vec<SyncSender<crate::engine::Send>>, DaemonError> {
    let mut senders = Vec::with_capacity(limits::BODY_READERS);
    for _ in 0..limits::BODY_READERS {
        let (sender, orders) = sync_channel(limits::IN_FLIGHT_MAX as usize);
        let outbound = outbound.clone();
        // Not waited for at the end: each ends with the engine that gives it orders.
        drop(spawn_guarded("hookwheel-sender", events.clone(), move || {
            outbound.run(&orders);
            Ok(())
        })?);
        senders.push(sender);
    }
    Ok(senders)
}

/// A thread whose failure or panic ends the process.
pub(super) fn spawn_guarded(
    name: &'static str,
    events: SyncSender<Event>,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<JoinHandle<()>, DaemonError> {
    let guarded = move || {
        let why = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(_) => format!("the thread {name} panicked: a defect of hookwheel. What was acknowledged is safe; start it again"),
        };
        // The main thread ends the process for whichever comes first.
        drop(events.try_send(Event::Fatal(why)));
    };
    std::thread::Builder::new().name(name.into()).spawn(guarded).map_err(DaemonError::failed)
}

/// What goes on beside the doors, as long as the daemon lives.
fn begin_tasks(runtime: &Runtime, house: &House, pauses: mpsc::Receiver<(WebhookNumber, PauseReason)>, told: mpsc::Receiver<Notice>) {
    drop(runtime.spawn(write_pauses(house.clone(), pauses)));
    drop(runtime.spawn(watch_orphans(house.clone())));
    drop(runtime.spawn(teller::tell(house.clone(), told)));
    drop(runtime.spawn(teller::watch_disk(house.clone())));
    drop(runtime.spawn(systemd::tell_status(house.clone())));
}

async fn write_pauses(house: House, mut pauses: mpsc::Receiver<(WebhookNumber, PauseReason)>) {
    while let Some((webhook, reason)) = pauses.recv().await {
        write_pause(&house, webhook, reason).await;
    }
}

async fn watch_orphans(house: House) {
    loop {
        tokio::time::sleep(Duration::from_millis(limits::ORPHANS_EVERY_MS)).await;
        if let Err(refusal) = reload::remove_expired_orphans(&house).await {
            tracing::debug!(?refusal, "orphans could not be looked after");
        }
        if let Err(refusal) = webhooks::retire_secrets(&house).await {
            tracing::debug!(?refusal, "old secrets could not be looked after");
        }
    }
}
