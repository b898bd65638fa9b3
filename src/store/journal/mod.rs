//! The journal: facts in order, numbered, synced. It is the truth, and it never knows what the facts mean.
//!
//! Facts are gathered in memory by [`JournalWriter::append`] and made durable as one group by [`JournalWriter::sync`]: one write, one sync. The first frame of a group carries
//! the highest sequence known to be synced, so that recovery can tell a torn tail (never acknowledged) from damage (acknowledged, and gone).
//! A batch is atomic and never spans segments.

pub mod frame;
pub mod medium;
#[cfg(test)]
pub(in crate::store) mod memory;
pub mod reader;
pub mod segment;
mod spares;

use std::io;
use std::sync::Arc;

use self::medium::{Medium, MediumFile};
use self::segment::{FRAMES_START, SegmentHeader};
pub use self::segment::{JournalId, Spare, SpareJob};
use self::spares::{Claim, Spares};
use super::fact::Fact;
use crate::limits;
use crate::model::{Locator, Sequence};
use crate::time::UnixMillis;

/// The buffer of a group keeps no more than this between groups.
const GROUP_CAPACITY_KEPT: usize = 4 * 1024 * 1024;

/// How a journal is laid out.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// Bytes of a segment.
    pub segment_size: u64,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { segment_size: limits::SEGMENT_SIZE }
    }
}

/// Where a fact was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its number.
    pub sequence: Sequence,
    /// Where its frame lies.
    pub locator: Locator,
    /// The checksum of its frame.
    pub checksum: u32,
}

/// Why the journal can't be written. Except for [`JournalError::TooLarge`] and [`JournalError::NoRoom`] nothing more can be written by this writer.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The disk failed.
    #[error(
        "the journal can't be written: {what} {file}: {error}. Nothing more is accepted; what was acknowledged is safe, and the next start goes on from it"
    )]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        error: io::Error,
    },
    /// A batch does not fit into a segment.
    #[error("a batch of {bytes} bytes does not fit into a journal segment, which takes {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What fits.
        limit: u64,
    },
    /// The disk has no room for the next segment; nothing was written and nothing is wrong with the journal.
    #[error("the disk is full: the next journal segments need {needed_bytes} bytes of free space")]
    NoRoom {
        /// Bytes that must be free.
        needed_bytes: u64,
    },
    /// It failed before.
    #[error("the journal failed before and takes nothing more until the next start")]
    Poisoned,
}

/// The writing end of a journal.
pub struct JournalWriter<M: Medium> {
    medium: Arc<M>,
    options: JournalOptions,
    journal: JournalId,
    file: M::File,
    header: SegmentHeader,
    /// Where the next group goes.
    group_start: u64,
    group: Vec<u8>,
    next: Sequence,
    synced_through: Sequence,
    appended_bytes: u64,
    spares: Spares<M>,
    poisoned: bool,
}

impl<M: Medium> JournalWriter<M> {
    /// A writer that begins a new segment behind the fact `last`; it never appends to an old one.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the segment can't be made.
    pub fn begin(medium: Arc<M>, options: JournalOptions, journal: JournalId, number: u32, last: Sequence) -> Result<Self, JournalError> {
        let name = segment::file_name(number);
        let (spares, spare) = Spares::begin(Arc::clone(&medium), options.segment_size).map_err(io_error("preparing", &name))?;
        let (file, header) = open_segment(medium.as_ref(), spare, journal, number, last.next())?;
        Ok(Self {
            medium,
            options,
            journal,
            file,
            header,
            group_start: FRAMES_START,
            group: Vec::new(),
            next: last.next(),
            synced_through: last,
            appended_bytes: 0,
            spares,
            poisoned: false,
        })
    }

    /// The number that the next fact gets.
    #[must_use]
    pub fn next_sequence(&self) -> Sequence {
        self.next
    }

    /// The highest number that is durable.
    #[must_use]
    pub fn synced_through(&self) -> Sequence {
        self.synced_through
    }

    /// Bytes that wait for a sync.
    #[must_use]
    pub fn unsynced_bytes(&self) -> usize {
        self.group.len()
    }

    /// Bytes of all frames that were gathered so far.
    #[must_use]
    pub fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// The number of the segment that is being written.
    #[must_use]
    pub fn segment_number(&self) -> u32 {
        self.header.number
    }

    /// The job of preparing a segment that is missing, when nobody was given it. While the disk has no room it is not asked over and over,
    /// but each [`limits::SPARE_RETRY_MS`].
    pub fn spare_job(&mut self, now: UnixMillis) -> Option<SpareJob<M>> {
        if self.poisoned { None } else { self.spares.job(now) }
    }

    /// Takes in what whoever was given the job made of it.
    pub fn take_spare(&mut self, prepared: io::Result<Spare<M>>) {
        match prepared {
            Ok(spare) => self.spares.put(spare),
            Err(error) => {
                self.spares.failed(&error);
                if !medium::is_no_room(&error) {
                    tracing::warn!(%error, "the next journal segment could not be prepared; it is tried again");
                }
            }
        }
    }

    /// Whether the disk has no room for the segments that ought to wait: no event is taken then, but outcomes are, as far as the reserve goes.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.spares.is_full()
    }

    /// Whether not even the reserve is left.
    #[must_use]
    pub fn is_reserve_used_up(&self) -> bool {
        self.spares.are_used_up()
    }

    /// Bytes that must be free for the segments that are missing.
    #[must_use]
    pub fn needed_bytes(&self) -> u64 {
        self.spares.needed_bytes()
    }

    /// Bytes that were free when the disk was last asked, where it said so. While it is full it is asked each [`limits::SPARE_RETRY_MS`].
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        self.spares.free_bytes()
    }

    /// Asks the disk how many bytes are free.
    pub fn measure(&mut self) -> Option<u64> {
        self.spares.measure()
    }

    /// [`JournalWriter::append`] for events that nobody was told yet to be accepted: not while the disk is full.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn append_events(&mut self, batch: &[Fact]) -> Result<Vec<Appended>, JournalError> {
        if self.spares.is_full() && !self.poisoned {
            return Err(self.no_room());
        }
        self.append_for(Claim::Event, batch)
    }

    /// Gathers facts as one atomic batch. Their numbers and places are known at once; they are durable after the next [`JournalWriter::sync`].
    /// Moves on to the next segment where this one is full, syncing it first.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn append(&mut self, batch: &[Fact]) -> Result<Vec<Appended>, JournalError> {
        self.append_for(Claim::Outcome, batch)
    }

    fn append_for(&mut self, claim: Claim, batch: &[Fact]) -> Result<Vec<Appended>, JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        let records = batch.iter().map(frame::encode_fact).collect::<Vec<_>>();
        // Eight bytes more for the mark, should this be the first of its group.
        let bytes = 8 + records.iter().map(|record| frame::frame_size(record.len()) as u64).sum::<u64>();
        let limit = limits::BATCH_BYTES_MAX.min(self.options.segment_size - FRAMES_START);
        let too_long = records.iter().any(|record| record.len() > limits::FRAME_PAYLOAD_MAX);
        if bytes > limit || too_long {
            return Err(JournalError::TooLarge { bytes, limit });
        }
        if self.group_start + self.group.len() as u64 + bytes > self.options.segment_size {
            self.next_segment(claim)?;
        }
        let last = records.len().saturating_sub(1);
        Ok(records.iter().enumerate().map(|(index, record)| self.gather(record, index < last)).collect())
    }

    /// Makes everything gathered durable: one write, one sync.
    ///
    /// # Errors
    /// [`JournalError`]; afterwards the writer refuses everything. Whether the group is durable is for recovery to find out.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned);
        }
        if self.group.is_empty() {
            return Ok(());
        }
        self.poisoned = true;
        let name = segment::file_name(self.header.number);
        self.file.write_all_at(&self.group, self.group_start).map_err(io_error("writing", &name))?;
        self.file.sync().map_err(io_error("syncing", &name))?;
        self.poisoned = false;
        self.group_start += self.group.len() as u64;
        self.group.clear();
        self.group.shrink_to(GROUP_CAPACITY_KEPT);
        self.synced_through = Sequence(self.next.0 - 1);
        Ok(())
    }

    fn gather(&mut self, record: &[u8], batch_continues: bool) -> Appended {
        let offset = self.group_start + self.group.len() as u64;
        let mark = self.group.is_empty().then_some(self.synced_through);
        let sequence = self.next;
        let checksum = frame::append(&mut self.group, self.header.salt, sequence, record, mark, batch_continues);
        self.next = sequence.next();
        self.appended_bytes += self.group_start + self.group.len() as u64 - offset;
        let offset = u32::try_from(offset).expect("limits::SEGMENT_SIZE is below 2^32, asserted in segment.rs");
        Appended { sequence, locator: Locator { segment: self.header.number, offset }, checksum }
    }

    fn next_segment(&mut self, claim: Claim) -> Result<(), JournalError> {
        let number = self.header.number + 1;
        self.poisoned = true;
        let spare = self.spares.take(claim).map_err(io_error("preparing", &segment::file_name(number)))?;
        self.poisoned = false;
        let spare = spare.ok_or_else(|| self.no_room())?;
        self.sync()?;
        self.poisoned = true;
        (self.file, self.header) = open_segment(self.medium.as_ref(), spare, self.journal, number, self.next)?;
        self.group_start = FRAMES_START;
        self.poisoned = false;
        Ok(())
    }

    fn no_room(&self) -> JournalError {
        JournalError::NoRoom { needed_bytes: self.spares.needed_bytes() }
    }
}

/// Turns a spare into a segment, durably. The header is synced before the name: were it left to the first group's sync, a crash could keep that group's
/// pages and lose the header's, and nobody could tell that from a header that was destroyed together with acknowledged facts behind it.
fn open_segment<M: Medium>(
    medium: &M,
    spare: Spare<M>,
    journal: JournalId,
    number: u32,
    first: Sequence,
) -> Result<(M::File, SegmentHeader), JournalError> {
    let name = segment::file_name(number);
    if medium.list().map_err(io_error("looking for", &name))?.contains(&name) {
        // A rename would replace what was acknowledged.
        return Err(io_error("beginning", &name)(io::ErrorKind::AlreadyExists.into()));
    }
    let entropy = medium.entropy().map_err(io_error("choosing a salt for", &name))?;
    let salt = u32::from_le_bytes(*entropy.to_le_bytes().first_chunk().expect("eight bytes have four"));
    let header = SegmentHeader { number, journal, first, salt };
    spare.file.write_all_at(&header.to_bytes(), 0).map_err(io_error("writing the header of", &name))?;
    spare.file.sync().map_err(io_error("syncing the header of", &name))?;
    medium.rename(&spare.name, &name).map_err(io_error("naming", &name))?;
    medium.sync_directory().map_err(io_error("making durable the name of", &name))?;
    Ok((spare.file, header))
}

/// Removes what a process left behind that ended in the middle: spares and copies that never became segments.
///
/// # Errors
/// Those of the disk.
pub fn remove_leftovers<M: Medium>(medium: &M) -> io::Result<()> {
    for name in medium.list()? {
        if name.ends_with(".spare") || name.ends_with(".rewrite") {
            medium.remove(&name)?;
        }
    }
    Ok(())
}

fn io_error<'a>(what: &'static str, file: &'a str) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |error| JournalError::Io { what, file: file.to_owned(), error }
}

#[cfg(test)]
mod tests;
