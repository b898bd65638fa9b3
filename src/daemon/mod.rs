//! THE HALLWAY: opens the rooms in order, hands things from one to the other, closes them in order. It never decides what is sent.
//!
//! ```text
//!                 publish            Commit, Record            read
//!  front doors ───────────▶ engine ──────────────────▶ writer ─────▶ journal, view
//!       ▲                   │    ▲                       │
//!       └──── reply ────────┤    └──── Committed ────────┘
//!                      Send │    ▲
//!                           ▼    │ Attempted
//!                        senders ─▶ dispatch ─▶ receivers
//! ```
//!
//! Threads: the engine's, the writer's, the senders', one for signals, tokio's workers. When engine or writer end unasked, by a failed disk or a panic, the
//! process ends: the next start is the tested way back.

mod blacklist;
mod controls;
mod deliveries;
mod house;
mod last_good;
mod lists;
mod no_dumps;
pub mod offline;
mod open_files;
mod operations;
mod outbound;
pub mod passed;
mod publications;
mod registry;
mod reload;
mod retention;
mod sockets;
mod startup;
mod systemd;
mod teller;
mod top;
mod upkeep;
mod vault;
mod watchdog;
mod webhooks;
mod wheelhouse;
mod wishes;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::house::House;
use self::wheelhouse::Message;
use crate::config::Mistakes;
use crate::engine::Input;
use crate::limits;
use crate::model::{Pause, PauseReason, WebhookNumber};
use crate::server::hallway::Refusal;
use crate::time::Stopwatch;

/// Why a daemon did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The configuration is broken.
    #[error("{0}")]
    Configuration(Mistakes),
    /// Anything else, in words that say what to do.
    #[error("{0}")]
    Failed(String),
}

impl DaemonError {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What the main thread waits for.
enum Event {
    /// A signal came.
    Signal(i32),
    /// A thread ended that should not have, or its work failed.
    Fatal(String),
}

/// A daemon whose doors are open.
struct Running {
    house: House,
    runtime: Runtime,
    closing: watch::Sender<bool>,
    doors: Vec<tokio::task::JoinHandle<()>>,
    engine: JoinHandle<()>,
    writer: JoinHandle<()>,
    /// The admin socket, where this daemon made it.
    own_socket: Option<PathBuf>,
}

/// Runs a daemon in the foreground until a signal ends it. `socket` is used instead of the configured admin socket; with `last_good`, a broken
/// configuration is replaced by the one that was in force last.
///
/// # Errors
/// [`DaemonError`].
pub fn run(config: &Path, socket: Option<&Path>, last_good: bool) -> Result<(), DaemonError> {
    no_dumps::forbid();
    let (events, happened) = sync_channel(16);
    watch_signals(events.clone())?;
    let running = startup::open(config, socket, last_good, &events)?;
    systemd::ready();
    loop {
        match happened.recv() {
            Ok(Event::Signal(SIGHUP)) => reload(&running),
            Ok(Event::Signal(_)) => return drain(running, &happened),
            Ok(Event::Fatal(why)) => return give_up(running, why),
            Err(_) => return give_up(running, "the daemon lost its signals".into()),
        }
    }
}

/// Ends without waiting for anything: whatever is not on disk was not acknowledged.
fn give_up(running: Running, why: String) -> Result<(), DaemonError> {
    running.runtime.shutdown_background();
    Err(DaemonError::Failed(why))
}

fn watch_signals(events: SyncSender<Event>) -> Result<(), DaemonError> {
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(DaemonError::failed)?;
    let work = move || {
        for signal in &mut signals {
            // A flood of signals says nothing that the first ones did not.
            drop(events.try_send(Event::Signal(signal)));
        }
    };
    std::thread::Builder::new().name("hookwheel-signals".into()).spawn(work).map(drop).map_err(DaemonError::failed)
}

/// Reloads beside the main thread, which must go on hearing of signals and failures: the file may lie on a disk that does not answer.
fn reload(running: &Running) {
    let house = running.house.clone();
    drop(running.runtime.spawn(async move {
        systemd::reloading();
        if let Err(refusal) = reload::reload(&house, false, "SIGHUP").await {
            tracing::error!(?refusal, "the configuration could not be reloaded");
        }
        if !house.is_draining() {
            systemd::ready();
        }
    }));
}

/// Closes the doors, lets attempts in flight end, writes down what is left, ends. A second signal hastens it.
fn drain(running: Running, happened: &Receiver<Event>) -> Result<(), DaemonError> {
    let Running { house, runtime, closing, doors, engine, writer, own_socket } = running;
    tracing::info!("ending: no more events are accepted, attempts in flight are waited for");
    systemd::stopping();
    house.0.draining.store(true, Ordering::Relaxed);
    house.0.inbox.put(Message::Input(Input::DrainBegan));
    // Nobody listens any more when every door has ended; that is no failure.
    let _ = closing.send(true);
    house.0.sandboxes.close();
    let stopwatch = Stopwatch::start();
    loop {
        let is_still = runtime.block_on(house.ask(|engine, _, _| engine.is_still())).unwrap_or(true);
        let doors_closed = doors.iter().all(tokio::task::JoinHandle::is_finished);
        if is_still && doors_closed {
            break;
        }
        if stopwatch.elapsed_ms() > limits::DRAIN_TIMEOUT_MS {
            tracing::warn!("some attempts were still in flight and were given up; they are made again after the next start");
            break;
        }
        match happened.recv_timeout(Duration::from_millis(10)) {
            Ok(Event::Fatal(why)) => {
                runtime.shutdown_background();
                return Err(DaemonError::Failed(why));
            }
            Ok(Event::Signal(SIGHUP)) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Event::Signal(_)) | Err(RecvTimeoutError::Disconnected) => {
                tracing::warn!("ending at once; attempts in flight are made again after the next start");
                break;
            }
        }
    }
    house.0.inbox.put(Message::Stop);
    let ended = engine.join().is_ok();
    drop(house);
    let written = writer.join().is_ok();
    runtime.shutdown_background();
    // A socket that stays is replaced by the next start.
    drop(own_socket.map(std::fs::remove_file));
    while let Ok(event) = happened.try_recv() {
        if let Event::Fatal(why) = event {
            return Err(DaemonError::Failed(why));
        }
    }
    if !ended || !written {
        return Err(DaemonError::Failed("the daemon panicked while ending; what was acknowledged is safe".into()));
    }
    tracing::info!("ended; everything acknowledged is on disk");
    Ok(())
}

/// Writes down that the engine paused a webhook. On a full disk this may have to wait.
async fn write_pause(house: &House, webhook: WebhookNumber, reason: PauseReason) {
    let pause = Pause { reason, since: crate::time::wall_now(), by: "receiver".into() };
    loop {
        let refused = {
            let _one_at_a_time = house.0.changes.lock().await;
            let Some(state) = house.registry().with_pause(webhook, pause.clone()) else { return };
            let id = state.id.clone();
            let written = house.change_state(state).await;
            if written.is_ok() {
                tracing::warn!(webhook = %id, "{pause}; its deliveries are kept. `hookwheel webhooks resume {id}` goes on");
            }
            written
        };
        match refused {
            Err(Refusal::Busy { .. }) => tokio::time::sleep(Duration::from_millis(limits::SPARE_RETRY_MS)).await,
            Err(refusal) => return tracing::error!(?refusal, "the pause could not be written down"),
            Ok(()) => return,
        }
    }
}
