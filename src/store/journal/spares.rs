//! The segments that wait to be used: the next one, and one in reserve for outcomes and operators. It never writes a fact.
//!
//! A disk is full only ever here, while the zeros of a segment are written: whatever is written later goes over space that is settled. So being full is a state
//! of this list and no failure of the journal. It begins when a segment can't be prepared and ends when none is missing any more.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};

use super::medium::{Medium, is_no_room};
use super::segment::{Spare, SpareJob};
use crate::limits;
use crate::time::UnixMillis;

/// On whose behalf a segment is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// An event that nobody was told yet to be accepted: it leaves the reserve alone.
    Event,
    /// What must be written down about events that were accepted.
    Outcome,
}

/// The segments that wait to be used.
pub(super) struct Spares<M: Medium> {
    medium: Arc<M>,
    segment_size: u64,
    ready: VecDeque<Spare<M>>,
    begun: u32,
    /// Alive while somebody prepares one.
    preparing: Weak<()>,
    is_full: bool,
    /// Bytes that were free when the disk was last asked.
    free_bytes: Option<u64>,
    try_at: UnixMillis,
}

impl<M: Medium> Spares<M> {
    /// None yet, and the file for the first segment of this process, which is made whatever room that leaves.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn begin(medium: Arc<M>, segment_size: u64) -> io::Result<(Self, Spare<M>)> {
        let mut spares = Self {
            medium,
            segment_size,
            ready: VecDeque::new(),
            begun: 0,
            preparing: Weak::new(),
            is_full: false,
            free_bytes: None,
            try_at: UnixMillis(0),
        };
        let first = spares.new_job().run()?;
        // Known before the doors open, not only when the second of two can't be prepared.
        spares.is_full = !spares.has_room_for(spares.needed_bytes());
        Ok((spares, first))
    }

    /// Whether a segment could not be prepared for want of room, and one is still missing.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether not even the reserve is left.
    pub(super) fn are_used_up(&self) -> bool {
        self.ready.is_empty()
    }

    /// Bytes that must be free for all that is missing.
    pub(super) fn needed_bytes(&self) -> u64 {
        (limits::SPARE_SEGMENTS - self.ready.len()) as u64 * self.segment_size + limits::VIEW_ROOM_AGAIN
    }

    /// Bytes that were free when the disk was last asked, where it said so. While it is full it is asked each [`limits::SPARE_RETRY_MS`].
    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.free_bytes
    }

    /// Asks the disk how many bytes are free.
    pub(super) fn measure(&mut self) -> Option<u64> {
        self.free_bytes = self.medium.free_bytes().ok();
        self.free_bytes
    }

    /// The job of preparing one that is missing, when nobody has it; after a failure not before [`limits::SPARE_RETRY_MS`] have passed.
    pub(super) fn job(&mut self, now: UnixMillis) -> Option<SpareJob<M>> {
        if self.ready.len() >= limits::SPARE_SEGMENTS || self.preparing.strong_count() > 0 || now < self.try_at {
            return None;
        }
        self.try_at = now.plus_ms(limits::SPARE_RETRY_MS);
        if !self.has_room_for(self.needed_for_one()) {
            self.is_full = true;
            return None;
        }
        let job = self.new_job();
        self.preparing = Arc::downgrade(&job.token);
        Some(job)
    }

    /// Takes one in from whoever prepared it.
    pub(super) fn put(&mut self, spare: Spare<M>) {
        self.preparing = Weak::new();
        self.try_at = UnixMillis(0);
        self.ready.push_back(spare);
        self.is_full &= self.ready.len() < limits::SPARE_SEGMENTS;
    }

    /// Hears that one could not be prepared.
    pub(super) fn failed(&mut self, error: &io::Error) {
        self.preparing = Weak::new();
        self.is_full |= is_no_room(error);
    }

    /// The file for the next segment: prepared before, or else now. `None` when there is no room for it, or none for the reserve behind it.
    ///
    /// # Errors
    /// Those of the disk, a full one aside.
    pub(super) fn take(&mut self, claim: Claim) -> io::Result<Option<Spare<M>>> {
        let kept = usize::from(claim == Claim::Event);
        if self.ready.len() <= kept && (self.is_full || !self.has_room_for(self.needed_for_one())) {
            self.is_full = true;
            return Ok(None);
        }
        if let Some(spare) = self.ready.pop_front() {
            return Ok(Some(spare));
        }
        match self.new_job().run() {
            Ok(spare) => Ok(Some(spare)),
            Err(error) if is_no_room(&error) => {
                self.is_full = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A segment is not prepared down to the last byte: that would take the view its room.
    fn needed_for_one(&self) -> u64 {
        self.segment_size + limits::VIEW_ROOM_AGAIN
    }

    /// Whether so much is free. A disk that does not say is tried.
    fn has_room_for(&mut self, bytes: u64) -> bool {
        self.measure().is_none_or(|free| free >= bytes)
    }

    fn new_job(&mut self) -> SpareJob<M> {
        let name = format!("{}.spare", self.begun);
        self.begun += 1;
        SpareJob { medium: Arc::clone(&self.medium), name, size: self.segment_size, token: Arc::default() }
    }
}
