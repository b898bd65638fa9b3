//! Opening a history and keeping it: the indexes of sealed segments are made here, in the background, and made again when they are missing or damaged. It never holds up the writer.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::gathered::{Gathered, KnownEvent, lacks_names};
use super::index::{self, Contents, Header, IndexError};
use super::merge::Trouble;
use super::row::EndedRow;
use super::state::{Segment, State};
use super::{FollowPlace, History, Shared};
use crate::store::journal::Appended;
use crate::store::journal::frame::FrameError;
use crate::store::journal::medium::Medium;
use crate::store::journal::reader::JournalReader;
use crate::store::journal::segment::{Scanned, SegmentHeader};

/// A piece of work.
enum Work {
    /// A sealed segment's rows become an index.
    Write(u32, Gathered),
    /// A segment has to be read to know its rows.
    Rebuild(u32),
    /// Rows of a chunk lack names.
    Settle(u32, usize, Arc<Vec<EndedRow>>),
}

impl<M: Medium> History<M> {
    /// The history of a journal whose segments are `numbers`, in order, and whose last fact lies at `last`. Of the newest segment the index is not trusted, for its end may have been cut.
    ///
    /// # Errors
    /// Those of the disk where it can't say which files there are. An index that can't be read is made again.
    pub fn open(medium: Arc<M>, reader: JournalReader<M>, numbers: &[u32], last: FollowPlace) -> io::Result<Self> {
        for name in medium.list()? {
            let is_stray = index::parse_file_name(&name).is_some_and(|number| numbers.binary_search(&number).is_err());
            if is_stray || name.ends_with(".history.new") {
                medium.remove(&name)?;
            }
        }
        let newest = numbers.last().copied().unwrap_or(0);
        let mut segments = BTreeMap::new();
        for number in numbers {
            let found = if *number == newest { None } else { read_header(medium.as_ref(), &reader, *number) };
            segments.insert(*number, found.map_or(Segment::Missing, Segment::Indexed));
        }
        let state = State { segments, open: newest + 1, noted: last };
        let shared = Shared { medium, reader, state: Mutex::new(state), opened: Mutex::default() };
        Ok(Self(Arc::new(shared)))
    }

    /// The newest segments that have no index, at most `limit` of them, the oldest first: whoever opens the history notes their facts.
    #[must_use]
    pub fn newest_unindexed(&self, limit: usize) -> Vec<u32> {
        let state = self.0.state();
        let newest = state.segments.iter().rev().take_while(|(_, segment)| matches!(segment, Segment::Missing));
        let mut numbers = newest.map(|(number, _)| *number).take(limit).collect::<Vec<_>>();
        numbers.reverse();
        numbers
    }

    /// Takes in a fact of a segment that is being read while the history is opened.
    pub fn note_found(&self, place: Appended, fact: &crate::store::fact::Fact) {
        let mut state = self.0.state();
        let (open, noted) = (state.open, state.noted);
        state.note(place, fact);
        (state.open, state.noted) = (open, noted);
    }

    /// Does one piece of what waits to be done: an index for a sealed segment, or names for rows in memory. False when nothing waits.
    ///
    /// # Errors
    /// Those of the disk: what could not be done waits for the next call.
    pub fn work(&self) -> io::Result<bool> {
        match self.0.next_work() {
            None => return Ok(false),
            Some(Work::Write(number, gathered)) => self.0.write_index(number, gathered)?,
            Some(Work::Rebuild(number)) => {
                tracing::info!(segment = number, "the history of a journal segment has no index; it is made from the segment");
                self.0.rebuild(number)?;
            }
            Some(Work::Settle(number, chunk, rows)) => self.0.settle(number, chunk, &rows)?,
        }
        Ok(true)
    }
}

fn read_header<M: Medium>(medium: &M, reader: &JournalReader<M>, number: u32) -> Option<Header> {
    let segment = reader.header_of(number).ok().flatten()?;
    match Header::read(medium, &segment) {
        Ok((header, _)) => Some(header),
        Err(IndexError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(
                segment = number,
                "the history index of a journal segment can't be used: {error}; it is made again from the segment"
            );
            None
        }
    }
}

impl<M: Medium> Shared<M> {
    /// Makes a damaged index again. If that fails, lists go on without it and [`History::work`] tries again.
    pub(super) fn mend(&self, number: u32, what: &str) {
        tracing::warn!(segment = number, "the history index of a journal segment is damaged ({what}); it is made again from the segment");
        self.opened().remove(&number);
        if let Some(segment) = self.state().segments.get_mut(&number) {
            *segment = Segment::Missing;
        }
        if let Err(error) = self.rebuild(number) {
            tracing::warn!(segment = number, %error, "the history index could not be made; it will be tried again");
        }
    }

    fn next_work(&self) -> Option<Work> {
        let state = self.state();
        let sealed = state.segments.range(..state.open);
        let gathered = sealed.clone().find_map(|(number, segment)| match segment {
            Segment::Gathered(gathered) => Some(Work::Write(*number, gathered.clone())),
            Segment::Indexed(_) | Segment::Missing => None,
        });
        let missing = || sealed.rev().find(|(_, segment)| matches!(segment, Segment::Missing)).map(|(number, _)| Work::Rebuild(*number));
        let unsettled = || match state.segments.get(&state.open) {
            Some(Segment::Gathered(gathered)) => gathered.unsettled().map(|(chunk, rows)| Work::Settle(state.open, chunk, rows)),
            _ => None,
        };
        gathered.or_else(missing).or_else(unsettled)
    }

    fn write_index(&self, number: u32, gathered: Gathered) -> io::Result<()> {
        let contents = gathered.into_contents(|row| self.event_of_row(row))?;
        self.put_index(number, contents)
    }

    fn rebuild(&self, number: u32) -> io::Result<()> {
        let Some(mut scan) = self.reader.scan(number)? else {
            // Gone, or its header is not readable any more: there is nothing to be listed.
            self.state().segments.remove(&number);
            return Ok(());
        };
        let mut state = State { segments: BTreeMap::new(), open: number, noted: FollowPlace::default() };
        while let Some(scanned) = scan.step()? {
            match scanned {
                Scanned::Frame(frame) => {
                    let place = Appended { sequence: frame.sequence, locator: frame.locator, checksum: frame.checksum };
                    state.note(place, &frame.fact);
                }
                Scanned::Damage { error, .. } => refused_now(&error)?,
            }
        }
        let Some(Segment::Gathered(gathered)) = state.segments.remove(&number) else {
            return self.put_index(number, Contents::default());
        };
        self.write_index(number, gathered)
    }

    fn put_index(&self, number: u32, contents: Contents) -> io::Result<()> {
        let Some(segment) = self.segment_header(number)? else { return Ok(()) };
        let header = index::write(self.medium.as_ref(), &segment, contents)?;
        let mut state = self.state();
        match state.segments.get_mut(&number) {
            Some(segment) => *segment = Segment::Indexed(header),
            None => {
                drop(state);
                // The segment was forgotten meanwhile, and so is what was written.
                self.medium.remove(&index::file_name(number))?;
            }
        }
        Ok(())
    }

    fn segment_header(&self, number: u32) -> io::Result<Option<SegmentHeader>> {
        let header = self.reader.header_of(number)?;
        if header.is_none() {
            self.state().segments.remove(&number);
        }
        Ok(header)
    }

    fn settle(&self, number: u32, chunk: usize, rows: &[EndedRow]) -> io::Result<()> {
        let mut found = Vec::new();
        for (at, row) in rows.iter().enumerate().filter(|(_, row)| lacks_names(row)) {
            found.extend(self.event_of_row(row)?.map(|event| (at, event)));
        }
        if let Some(Segment::Gathered(gathered)) = self.state().segments.get_mut(&number) {
            gathered.settle(chunk, &found);
        }
        Ok(())
    }

    /// The event of a row, if it is still there. An index that is damaged is made again first, once; it is out of the way then, whether that went well or not.
    fn event_of_row(&self, row: &EndedRow) -> io::Result<Option<KnownEvent>> {
        loop {
            match self.event(row.key.sequence, row.body) {
                Err(Trouble { segment, error: IndexError::Damaged(what) }) => self.mend(segment, what),
                other => return other.map_err(io::Error::other),
            }
        }
    }
}

/// Damage is skipped, for what was there is lost; but what the disk refuses now it may give back with the next try, so an index is not made without it.
pub(super) fn refused_now(error: &FrameError) -> io::Result<()> {
    match error {
        FrameError::Unreadable(_) | FrameError::Version(_) => Err(io::Error::other(error.to_string())),
        _ => Ok(()),
    }
}
