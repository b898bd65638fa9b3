//! The segments of a journal as they are found at the start, and where the newest one ends. It never looks at what the facts say.

use std::io;
use std::sync::Arc;

use super::{OpenError, Unfit, place_of};
use crate::model::{Locator, Sequence};
use crate::store::fact::Floor;
use crate::store::history::History;
use crate::store::journal::frame::FrameError;
use crate::store::journal::medium::{Medium, MediumFile};
use crate::store::journal::reader::{JournalReader, ReadError};
use crate::store::journal::remove_leftovers;
use crate::store::journal::segment::{self, FRAMES_START, JournalId, Scanned, SegmentHeader, SegmentScan};
use crate::store::view::Table;
use crate::store::view::keys::{self, Meta};

/// Segments without an index that opening waits for; older ones get theirs in the background.
const UNINDEXED_MAX: usize = 2;

/// The segments of a journal.
pub(super) struct Segments {
    pub(super) journal: JournalId,
    pub(super) numbers: Vec<u32>,
}

/// Where the newest segment ends.
#[derive(Debug)]
pub(super) struct Tail {
    /// The segment; 0 when there is none.
    segment: u32,
    /// The first byte behind what is kept.
    end: u64,
    /// Bytes behind that were not zeros: a torn tail.
    cut: bool,
    /// The last sequence that is kept in it, if any is.
    last: Option<Sequence>,
    /// What is kept ends with this number, here or before this segment.
    kept_through: Sequence,
    /// Everything up to here was synced, and may have been acknowledged, whether it is still there or not: no fact ever gets such a number again.
    pub(super) synced_through: Sequence,
}

impl Tail {
    pub(super) fn is_beyond(&self, locator: Locator) -> bool {
        locator.segment == self.segment && u64::from(locator.offset) >= self.end
    }

    /// Whether what is no frame at that place was never acknowledged.
    pub(super) fn is_torn_at(&self, segment: u32, offset: u64) -> bool {
        self.cut && segment == self.segment && offset >= self.end
    }

    /// The segment whose end was torn, if one was.
    pub(super) fn torn_segment(&self) -> Option<u32> {
        self.cut.then_some(self.segment)
    }

    /// A disk that said that it had synced, and had not, leaves a view that holds more than the journal.
    pub(super) fn shorter_than(&self, position: Option<&Meta>) -> Option<String> {
        let followed = position.map(|meta| meta.sequence).filter(|followed| *followed > self.kept_through)?;
        let kept = self.kept_through;
        Some(format!(
            "the journal ends with fact {kept}, but the view followed it to fact {followed}: what lies between was acknowledged, and the disk lost it"
        ))
    }
}

impl Segments {
    pub(super) fn list<M: Medium>(medium: &M, warnings: &mut Vec<String>) -> Result<Self, OpenError> {
        remove_leftovers(medium)?;
        let mut numbers = medium.list()?.iter().filter_map(|name| segment::parse_file_name(name)).collect::<Vec<_>>();
        numbers.sort_unstable();
        let mut journal = None;
        let newest = numbers.last().copied();
        let mut readable = Vec::with_capacity(numbers.len());
        for number in numbers {
            let name = segment::file_name(number);
            let file = medium.open(&name)?;
            let Some(header) = SegmentHeader::read(&file, number)? else {
                if SegmentHeader::newer_format(&file)?.is_some() {
                    return Err(OpenError::Newer(name));
                }
                // A header is durable before its segment has its name, so this disk lied; without frames nothing is lost by it. But the file had its full length before, too.
                let size = file.size()?;
                if newest == Some(number) && !has_frames::<M>(file, number)? {
                    warnings.push(if size < FRAMES_START {
                        format!("{name} was cut to {size} bytes: whatever was in it is gone; it is removed")
                    } else {
                        format!("{name} was begun and never used; it is removed")
                    });
                    medium.remove(&name)?;
                    continue;
                }
                return Err(OpenError::Header(name));
            };
            if *journal.get_or_insert(header.journal) != header.journal {
                return Err(OpenError::Mixed(name));
            }
            readable.push(number);
        }
        let journal = match journal {
            Some(journal) => journal,
            None => JournalId((u128::from(medium.entropy()?) << 64) | u128::from(medium.entropy()?)),
        };
        Ok(Self { journal, numbers: readable })
    }

    /// Whether there is nothing that a view could hold.
    pub(super) fn are_unused(&self, tail: &Tail) -> bool {
        self.numbers.len() <= 1 && tail.synced_through == Sequence(0) && tail.last.is_none()
    }

    /// How far a view of this journal followed it, as the view says.
    pub(super) fn position_of<T: Table>(&self, table: &T) -> Option<Meta> {
        // A view that can't be read is found out when it is followed.
        let meta = table.get(keys::META).ok().flatten().and_then(|value| Meta::from_value(&value).ok());
        meta.filter(|meta| meta.journal == self.journal)
    }

    pub(super) fn newest_number(&self) -> u32 {
        self.numbers.last().copied().unwrap_or(0)
    }

    /// The segments from `from` on, up to but without `to`, that are not there.
    pub(super) fn missing(&self, from: u32, to: u32) -> Vec<u32> {
        (from..to).filter(|number| !self.numbers.contains(number)).collect()
    }

    /// Removes what a process left behind that ended while it let segments go. The oldest go first, so that no hole comes to be.
    pub(super) fn remove_below<M: Medium>(mut self, floor: Floor, table: &impl Table, medium: &M, warnings: &mut Vec<String>) -> Self {
        let kept = self.numbers.partition_point(|number| *number < floor.segment).min(self.numbers.len().saturating_sub(1));
        if kept == 0 {
            return self;
        }
        // Else a crash could leave a view that still needs them.
        if let Err(error) = table.checkpoint() {
            warnings.push(format!("journal segments that are of no use any more stay until the next start: {error}"));
            return self;
        }
        for number in self.numbers.drain(..kept) {
            let name = segment::file_name(number);
            if let Err(error) = medium.remove(&name).and_then(|()| medium.sync_directory()) {
                warnings.push(format!("{name} is of no use any more and can't be removed: {error}"));
                break;
            }
        }
        self
    }

    /// Finds the end of the newest segment: everything up to the first hole above the highest synced mark, and no half batch. Where the journal holds exactly the
    /// frame of the view's `position`, that is a mark too: the only one for the newest group, of which no other says that it was synced.
    pub(super) fn read_tail<M: Medium>(&self, reader: &JournalReader<M>, position: Option<&Meta>) -> Result<Tail, OpenError> {
        let number = self.newest_number();
        let is_held =
            |meta: &&Meta| reader.read(meta.locator).is_ok_and(|found| (found.sequence, found.checksum) == (meta.sequence, meta.checksum));
        let followed_through = position.filter(is_held).map_or(Sequence(0), |meta| meta.sequence);
        let mut tail = Tail {
            segment: number,
            end: FRAMES_START,
            cut: false,
            last: None,
            kept_through: Sequence(0),
            synced_through: followed_through,
        };
        let Some(first) = reader.first_of(number)? else { return Ok(tail) };
        // What lies before this segment was synced before it was begun.
        let before = Sequence(first.0.saturating_sub(1));
        let mut mark = before.max(followed_through);
        let mut scan = reader.scan(number)?.ok_or_else(|| OpenError::Header(segment::file_name(number)))?;
        while let Some(scanned) = scan.step()? {
            match scanned {
                Scanned::Frame(frame) => mark = mark.max(frame.synced_through.unwrap_or_default()),
                Scanned::Damage { offset, error, .. } => refuse(number, offset, &error)?,
            }
        }
        tail.synced_through = mark;
        let mut scan = reader.scan(number)?.ok_or_else(|| OpenError::Header(segment::file_name(number)))?;
        let mut expected = first;
        while let Some(scanned) = scan.step()? {
            let frame = match scanned {
                Scanned::Frame(frame) => frame,
                Scanned::Damage { offset, error, .. } => {
                    refuse(number, offset, &error)?;
                    tail.cut = true;
                    continue;
                }
            };
            if frame.sequence < expected || (frame.sequence > expected && frame.sequence > mark.next()) {
                tail.cut = true;
                break;
            }
            expected = frame.sequence.next();
            if !frame.batch_continues || frame.sequence <= mark {
                (tail.end, tail.last, tail.cut) = (frame.end, Some(frame.sequence), false);
            } else {
                tail.cut = true;
            }
        }
        tail.kept_through = tail.last.unwrap_or(before);
        // Otherwise it is damage, which is named when what is missing is known.
        tail.cut &= tail.kept_through >= mark && position.is_none_or(|meta| tail.kept_through >= meta.sequence);
        Ok(tail)
    }

    /// Whether the journal holds exactly the frame that the view names as its position.
    pub(super) fn check_position<M: Medium>(&self, meta: &Meta, tail: &Tail, reader: &JournalReader<M>) -> Result<(), Unfit> {
        if meta.journal != self.journal {
            return Err(Unfit::Table("it follows another journal".into()));
        }
        if meta.sequence == Sequence(0) {
            return Ok(());
        }
        if tail.is_beyond(meta.locator) {
            return Err(Unfit::Table(format!("it is ahead of the journal: it holds fact {}", meta.sequence)));
        }
        match reader.read(meta.locator) {
            Ok(found) if (found.sequence, found.checksum) == (meta.sequence, meta.checksum) => Ok(()),
            Ok(_) => Err(Unfit::Table(format!("the journal has another fact {}", meta.sequence))),
            Err(ReadError::Io { error, .. }) if error.kind() != io::ErrorKind::NotFound => Err(Unfit::Open(error.into())),
            Err(error) => Err(Unfit::Table(error.to_string())),
        }
    }

    /// Reads the newest segments that have no index of what ended in them: the last one of the process before, and one more where that had no time.
    pub(super) fn note_unindexed<M: Medium>(&self, tail: &Tail, reader: &JournalReader<M>, history: &History<M>) -> Result<(), OpenError> {
        for number in history.newest_unindexed(UNINDEXED_MAX) {
            let Some(mut scan) = reader.scan(number)? else { continue };
            while let Some(scanned) = scan.step()? {
                match scanned {
                    Scanned::Frame(frame) if !tail.is_beyond(frame.locator) => history.note_found(place_of(&frame), &frame.fact),
                    Scanned::Frame(_) => {}
                    Scanned::Damage { offset, error, .. } => refuse(number, offset, &error)?,
                }
            }
        }
        Ok(())
    }

    /// Makes what is kept of the newest segment durable beyond doubt, and cuts off the rest. A segment in which nothing is kept is removed,
    /// unless it is the only one and so the only one that knows the journal's id.
    pub(super) fn settle_tail<M: Medium>(mut self, medium: &M, tail: &Tail, warnings: &mut Vec<String>) -> Result<Self, OpenError> {
        if self.numbers.is_empty() {
            return Ok(self);
        }
        if tail.cut {
            let behind = tail.last.map_or_else(|| "its beginning".to_owned(), |last| format!("fact {last}"));
            warnings.push(format!(
                "the end of journal segment {} was torn by a crash and is cut behind {behind}; nothing acknowledged was in it",
                tail.segment
            ));
        }
        if tail.last.is_none() && self.numbers.len() > 1 {
            medium.remove(&segment::file_name(tail.segment))?;
            medium.sync_directory()?;
            self.numbers.pop();
            return Ok(self);
        }
        segment::rewrite(medium, tail.segment, tail.end)?;
        Ok(self)
    }
}

/// Stops the start where going on would lose what is there: frames of a newer version are whole, and what the disk refuses now it may give back with the next
/// try. Neither may be skipped or cut.
pub(super) fn refuse(number: u32, offset: u64, error: &FrameError) -> Result<(), OpenError> {
    let name = segment::file_name(number);
    match error {
        FrameError::Version(_) => Err(OpenError::Newer(name)),
        FrameError::Unreadable(_) => Err(OpenError::Disk(io::Error::other(format!("{name} at byte {offset}: {error}")))),
        _ => Ok(()),
    }
}

/// Whether anything but zeros lies where a segment's frames would.
fn has_frames<M: Medium>(file: M::File, number: u32) -> io::Result<bool> {
    let header = SegmentHeader { number, journal: JournalId(0), first: Sequence(0), salt: 0 };
    Ok(SegmentScan::new(Arc::new(file), header, FRAMES_START).step()?.is_some())
}
