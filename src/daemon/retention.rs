//! Drives retention: a thread that carries its requests to engine, writer and lists, and rests most of the time. It never decides what goes.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::house::{House, Rooms};
use super::{DaemonError, Event, startup, upkeep};
use crate::limits;
use crate::server::hallway::Refusal;
use crate::store::data_dir::DataDir;
use crate::store::journal::JournalOptions;
use crate::store::journal::medium::RealMedium;
use crate::store::retention::{Because, Dropped, Reply, Request, Retention, RetentionError, RetentionSettings};

/// What the thread holds. It must not keep the store open when the daemon ends.
struct Driver {
    rooms: Weak<Rooms>,
    runtime: Handle,
    retention: Retention<RealMedium>,
}

/// The daemon is ending.
struct Ending;

/// Begins retention, for as long as the house stands.
pub(super) fn begin(house: &House, runtime: Handle, data_dir: Arc<DataDir>, events: SyncSender<Event>) -> Result<(), DaemonError> {
    let medium = Arc::clone(&house.0.lists.medium);
    let retention = Retention::new(medium, JournalOptions::default().segment_size);
    let mut driver = Driver { rooms: Arc::downgrade(&house.0), runtime, retention };
    let thread = startup::spawn_guarded("hookwheel-retention", events, move || {
        driver.run().map_err(|error| {
            if let RetentionError::View(error) = &error {
                upkeep::set_view_aside(&data_dir, error);
            }
            error.to_string()
        })
    });
    thread.map(drop)
}

impl Driver {
    /// Runs until the daemon ends, or the store can't be relied upon any more.
    fn run(&mut self) -> Result<(), RetentionError> {
        let mut reply = Reply::Done;
        while let Some(request) = self.step(std::mem::replace(&mut reply, Reply::Done))? {
            reply = match self.carry_out(request) {
                Ok(reply) => reply,
                Err(Ending) => return Ok(()),
            };
        }
        Ok(())
    }

    /// The next request; `None` when the daemon is ending.
    fn step(&mut self, reply: Reply) -> Result<Option<Request>, RetentionError> {
        let Some(rooms) = self.rooms.upgrade() else { return Ok(None) };
        let settings = {
            let config = rooms.config.read().unwrap_or_else(PoisonError::into_inner);
            RetentionSettings {
                keep_ms: config.history.keep_ms,
                max_size_bytes: config.history.max_size_bytes,
                idempotency_window_ms: config.ingest.idempotency_ms,
            }
        };
        match self.retention.step(rooms.clock.now(), &settings, rooms.lists.table.as_ref(), reply) {
            Err(error @ RetentionError::Disk { .. }) => {
                tracing::warn!("{error}");
                Ok(Some(Request::Rest { ms: limits::RETENTION_RETRY_MS }))
            }
            result => result.map(Some),
        }
    }

    fn carry_out(&self, request: Request) -> Result<Reply, Ending> {
        if let Request::Rest { ms } = request {
            std::thread::sleep(Duration::from_millis(ms));
            return Ok(Reply::Done);
        }
        let house = House(self.rooms.upgrade().ok_or(Ending)?);
        let ending = |_: Refusal| Ending;
        match request {
            Request::Rest { .. } => {}
            Request::FindPending(keys) => {
                let pending = self.runtime.block_on(house.ask(move |engine, _, _| {
                    let due_of = |key| Some((key, engine.delivery(key)?.0.due));
                    keys.into_iter().filter_map(due_of).collect()
                }));
                return pending.map(Reply::Pending).map_err(ending);
            }
            Request::Carry(carry) => return self.runtime.block_on(house.carry(carry)).map(Reply::Carried).map_err(ending),
            Request::Barrier => self.runtime.block_on(house.patient_barrier()).map_err(ending)?,
            Request::LetGo { before } => {
                if let Err(error) = house.0.lists.history.forget_before(before) {
                    tracing::warn!(%error, "an index of the history that is of no use any more could not be removed; the next start tries again");
                }
                while self.runtime.block_on(house.ask(|engine, _, _| engine.in_flight_elsewhere())).map_err(ending)? > 0 {
                    std::thread::sleep(Duration::from_millis(limits::RETENTION_POLL_MS));
                }
            }
            Request::Dropped(dropped) => {
                house.0.lists.reader.close_before(dropped.floor.segment);
                tell(&dropped);
            }
        }
        Ok(Reply::Done)
    }
}

fn tell(dropped: &Dropped) {
    let Dropped { segments, floor, because, deliveries, carried_bytes, freed_bytes } = dropped;
    let why = match because {
        Because::OfAge => "they are older than [history] keep",
        Because::OfSize => "the journal was larger than [history] max_size",
    };
    tracing::info!(
        ?segments,
        first_kept = floor.segment,
        deliveries,
        carried_bytes,
        freed_bytes,
        "old journal segments are gone: {why}; what is pending was carried"
    );
}
