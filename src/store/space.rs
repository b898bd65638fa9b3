//! What the store knows of the room on its disk, for everybody who has to say why something is refused. It never asks the disk or decides anything itself.

use std::sync::{Arc, Mutex, PoisonError};

use crate::model::report::DiskStatus;
use crate::time::UnixMillis;

/// How the store stands with its disk at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// No journal segment can be prepared.
    pub(super) is_full: bool,
    /// Outcomes wait, too.
    pub(super) is_reserve_used_up: bool,
    /// Nothing is applied to the view.
    pub(super) view_waits: bool,
    /// Bytes that must be free.
    pub(super) needed_bytes: u64,
    /// Bytes that were free when the disk was last asked.
    pub(super) free_bytes: Option<u64>,
}

/// The disk, as the writer knows it. Clones share it.
#[derive(Clone, Default)]
pub struct Space(Arc<Mutex<DiskStatus>>);

impl Space {
    /// What is known. How much is free is from when the writer last asked the disk, as it does every second or so.
    #[must_use]
    pub fn status(&self) -> DiskStatus {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in how things stand; whatever changed is said in the log, once. True when something did.
    pub(super) fn note(&self, standing: Standing, now: UnixMillis) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (known.full_since.is_some(), known.is_reserve_used_up, known.view_waits_since.is_some());
        (known.needed_bytes, known.free_bytes) = (standing.needed_bytes, standing.free_bytes);
        let after = (standing.is_full, standing.is_reserve_used_up, standing.view_waits);
        if before == after {
            return false;
        }
        let since = |is: bool, since: Option<UnixMillis>| is.then(|| since.unwrap_or(now));
        known.full_since = since(standing.is_full, known.full_since);
        known.is_reserve_used_up = standing.is_reserve_used_up;
        known.view_waits_since = since(standing.view_waits, known.view_waits_since);
        drop(known);
        tell(before, after, standing.needed_bytes);
        true
    }
}

fn tell(before: (bool, bool, bool), after: (bool, bool, bool), needed_bytes: u64) {
    match (before.0, after.0) {
        (false, true) => tracing::error!(
            needed_bytes,
            "the disk is full: no journal segment can be prepared. Events are refused, deliveries go on and are recorded in the reserve; it goes on by itself once there is room"
        ),
        (true, false) => tracing::info!("the disk has room again: events are accepted"),
        _ => {}
    }
    match (before.1, after.1) {
        (false, true) => tracing::error!(
            needed_bytes,
            "the disk is full and the reserve of the journal is used up: outcomes wait in memory, and attempts that are not recorded are made again after a crash"
        ),
        (true, false) => tracing::info!("outcomes are recorded again"),
        _ => {}
    }
    match (before.2, after.2) {
        (false, true) => tracing::warn!("the disk has so little room that nothing is written to the view; lists may be behind"),
        (true, false) => tracing::info!("the view is brought up again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_noted_once_and_keeps_the_moment_at_which_it_began() {
        let space = Space::default();
        let full = Standing { is_full: true, needed_bytes: 9, ..Standing::default() };
        assert!(!space.note(Standing::default(), UnixMillis(1)));
        assert!(space.note(full, UnixMillis(2)));
        assert!(!space.note(Standing { free_bytes: Some(8), ..full }, UnixMillis(3)), "nobody is told of every byte");
        assert_eq!(space.status().free_bytes, Some(8));
        assert!(space.note(Standing { view_waits: true, ..full }, UnixMillis(4)));
        let status = space.status();
        assert_eq!((status.full_since, status.view_waits_since), (Some(UnixMillis(2)), Some(UnixMillis(4))));
        assert!(space.note(Standing::default(), UnixMillis(5)));
        assert_eq!(space.status(), DiskStatus::default());
    }
}
