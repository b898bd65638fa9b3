//! What is done every few seconds beside the work: the view is made durable and kept small, the ballast is made again, sealed segments get the index of their history. Nothing depends on it, and it
//! never touches the journal.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::lists::Lists;
use super::{DaemonError, Event};
use crate::limits;
use crate::store::ballast::Ballast;
use crate::store::data_dir::DataDir;
use crate::store::history::History;
use crate::store::journal::medium::{RealMedium, free_bytes};
use crate::store::space::Space;
use crate::store::view::sled::{SledTable, Tidied, TidyRule};
use crate::store::view::{Table, TableError};

/// Begins it on threads of its own, which end with the daemon.
pub(super) fn begin(
    lists: &Lists,
    ballast: Ballast,
    data_dir: Arc<DataDir>,
    space: Space,
    events: SyncSender<Event>,
) -> Result<(), DaemonError> {
    keep_history(&lists.history, space.clone())?;
    // Weak: this thread must not keep the view open when the daemon ends.
    let table = Arc::downgrade(&lists.table);
    let work = move || {
        loop {
            std::thread::sleep(Duration::from_millis(limits::CHECKPOINT_EVERY_MS));
            let Some(table) = table.upgrade() else { return };
            let disk = space.status();
            if disk.view_waits_since.is_none()
                && let Err(error) = table.checkpoint().and_then(|()| tidy(&table, &data_dir))
            {
                set_view_aside(&data_dir, &error);
                drop(events.try_send(Event::Fatal(error.to_string())));
                return;
            }
            if disk.full_since.is_none()
                && let Err(error) = ballast.make_if_room()
            {
                tracing::debug!(%error, "the ballast could not be made; it is tried again");
            }
        }
    };
    std::thread::Builder::new().name("hookwheel-upkeep".into()).spawn(work).map(drop).map_err(DaemonError::failed)
}

/// Lets the view move into a fresh file when its own holds little but holes. Events are not refused for its sake: it uses what is free beyond what they need.
fn tidy(table: &SledTable, data_dir: &DataDir) -> Result<(), TableError> {
    let free = free_bytes(&data_dir.view()).unwrap_or(0);
    let room = free.saturating_sub(limits::DISK_WELL_BYTES);
    let rule = TidyRule { size_min: limits::VIEW_TIDY_SIZE_MIN, times: limits::VIEW_TIDY_TIMES, room };
    if let Some(Tidied { before, after }) = table.tidy(&rule)? {
        tracing::info!(before_bytes = before, after_bytes = after, "the view moved into a fresh file");
    }
    Ok(())
}

/// Makes the indexes of sealed segments. While the disk is full they wait, for what little room comes is for the journal; so do their rows, in memory.
fn keep_history(history: &History<RealMedium>, space: Space) -> Result<(), DaemonError> {
    // Weak: this thread must not keep the history open when the daemon ends.
    let history = history.downgrade();
    let work = move || {
        let mut last_error = String::new();
        loop {
            std::thread::sleep(Duration::from_millis(limits::HISTORY_WORK_EVERY_MS));
            let Some(history) = history.upgrade() else { return };
            let error = work_off(&history, &space).err().map(|error| error.to_string()).unwrap_or_default();
            if !error.is_empty() && error != last_error {
                tracing::warn!(%error, "the index of a sealed journal segment could not be made; it is tried again, and lists go on without it");
            }
            last_error = error;
        }
    };
    std::thread::Builder::new().name("hookwheel-history".into()).spawn(work).map(drop).map_err(DaemonError::failed)
}

fn work_off(history: &History<RealMedium>, space: &Space) -> std::io::Result<()> {
    loop {
        let disk = space.status();
        if disk.full_since.is_some() || disk.view_waits_since.is_some() || !history.work()? {
            return Ok(());
        }
    }
}

/// Leaves a view that failed for the next start to rebuild.
pub(super) fn set_view_aside(data_dir: &DataDir, error: &TableError) {
    tracing::error!(%error, "the view is set aside");
    if let Err(error) = data_dir.set_view_aside() {
        tracing::error!(%error, "the view could not be set aside, so that the next start would rebuild it; delete the directory view by hand");
    }
}
