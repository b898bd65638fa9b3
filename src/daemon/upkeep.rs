//! What is done every few seconds beside the work: the view is made durable, the ballast is made again. Nothing depends on it, and it never touches the journal.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::lists::Lists;
use super::{DaemonError, Event};
use crate::limits;
use crate::store::ballast::Ballast;
use crate::store::data_dir::DataDir;
use crate::store::space::Space;
use crate::store::view::{Table, TableError};

/// Begins it on a thread of its own, which ends with the daemon.
pub(super) fn begin(
    lists: &Lists,
    ballast: Ballast,
    data_dir: Arc<DataDir>,
    space: Space,
    events: SyncSender<Event>,
) -> Result<(), DaemonError> {
    // Weak: this thread must not keep the view open when the daemon ends.
    let table = Arc::downgrade(&lists.table);
    let work = move || {
        loop {
            std::thread::sleep(Duration::from_millis(limits::CHECKPOINT_EVERY_MS));
            let Some(table) = table.upgrade() else { return };
            let disk = space.status();
            if disk.view_waits_since.is_none()
                && let Err(error) = table.checkpoint()
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

/// Leaves a view that failed for the next start to rebuild.
pub(super) fn set_view_aside(data_dir: &DataDir, error: &TableError) {
    tracing::error!(%error, "the view is set aside");
    if let Err(error) = data_dir.set_view_aside() {
        tracing::error!(%error, "the view could not be set aside, so that the next start would rebuild it; delete the directory view by hand");
    }
}
