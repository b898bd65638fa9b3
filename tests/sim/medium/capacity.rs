//! How much the simulated disk takes: it is full for a while, by seed, and has a ballast that a start may free. It never touches what was written.

use std::collections::BTreeSet;
use std::io;

use hookwheel::limits::VIEW_ROOM_AGAIN;

use super::pages::Naming;
use super::{Disk, SimMedium};

/// What is left of the disk.
#[derive(Clone, Copy)]
pub(super) struct Capacity {
    /// Bytes that all files may have without touching the view's room; the disk takes [`Capacity::margin`] more.
    limit: u64,
    /// A part of the view's room that a start may use.
    margin: u64,
    /// Not even the view has room.
    starved: bool,
    has_ballast: bool,
}

impl Capacity {
    pub(super) fn endless() -> Self {
        Self { limit: u64::MAX, margin: 0, starved: false, has_ballast: true }
    }

    fn is_limited(&self) -> bool {
        self.limit < u64::MAX
    }
}

impl SimMedium {
    /// From now on there is room for `room` bytes more, and with `starved` none for the view.
    pub(crate) fn fill(&self, room: u64, segment_size: u64, starved: bool) {
        let mut disk = self.lock();
        let (limit, has_ballast) = (disk.used() + room, disk.capacity.has_ballast);
        disk.capacity = Capacity { limit, margin: segment_size, starved, has_ballast };
    }

    /// There is room again, and so the ballast is made anew.
    pub(crate) fn make_room(&self) {
        self.lock().capacity = Capacity::endless();
    }

    /// Whether sled would fail when something is written to it.
    pub(crate) fn is_starved(&self) -> bool {
        self.lock().capacity.starved
    }

    /// Frees the ballast, as a start on a full disk does: a segment and the view's room. False when a start before this one has had it.
    pub(crate) fn free_ballast(&self) -> bool {
        let capacity = &mut self.lock().capacity;
        if capacity.is_limited() && capacity.has_ballast {
            capacity.limit += 2 * capacity.margin;
            (capacity.has_ballast, capacity.starved) = (false, false);
            return true;
        }
        !capacity.is_limited()
    }
}

impl Disk {
    /// What a loss of power could bring back still has its blocks: no file system gives them to another file before it has made the removal durable.
    fn used(&self) -> u64 {
        let renamed = self.renamings.iter().map(Naming::inode);
        let named = self.names.values().chain(self.durable_names.values()).copied().chain(renamed).collect::<BTreeSet<_>>();
        named.iter().filter_map(|number| self.inodes.get(number)).map(|inode| inode.cache.len() as u64).sum()
    }

    /// What the system says is free.
    pub(super) fn free_bytes(&self) -> u64 {
        let Capacity { limit, starved, .. } = self.capacity;
        match starved {
            true => 0,
            false if self.capacity.is_limited() => limit.saturating_sub(self.used()) + VIEW_ROOM_AGAIN,
            false => u64::MAX,
        }
    }

    /// Whether a file of `size` bytes may become as long as `end`.
    pub(super) fn has_room(&self, size: usize, end: usize) -> io::Result<()> {
        if !self.capacity.is_limited() || end <= size {
            return Ok(());
        }
        let most = self.capacity.limit.saturating_add(self.capacity.margin);
        if self.used() + (end - size) as u64 > most { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}
