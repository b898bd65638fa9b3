//! Reading single facts by their place. It never hands out a fact whose checksum does not fit.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::frame::{self, FrameError, FrameHeader, HEADER_SIZE};
use super::medium::Medium;
use super::segment::{self, SegmentHeader};
use crate::model::{Locator, Sequence};
use crate::store::fact::Fact;

const OPEN_SEGMENTS_MAX: usize = 64;
/// Most frames are shorter, so that one read suffices.
const FIRST_READ: usize = 4096;

/// A fact that was read.
#[derive(Debug)]
pub struct ReadFact {
    /// Its number.
    pub sequence: Sequence,
    /// The checksum of its frame.
    pub checksum: u32,
    /// The fact.
    pub fact: Fact,
}

/// Why a fact can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk failed, or the segment is gone.
    #[error("journal segment {segment} can't be read at {offset}: {error}")]
    Io {
        /// The segment.
        segment: u32,
        /// Where in it.
        offset: u32,
        /// What the system said.
        error: io::Error,
    },
    /// It is damaged.
    #[error("journal segment {segment} is damaged at {offset}: {error}")]
    Damaged {
        /// The segment.
        segment: u32,
        /// Where in it.
        offset: u32,
        /// In which way.
        error: FrameError,
    },
}

/// Reads facts by their place; clones share the open files.
pub struct JournalReader<M: Medium> {
    medium: Arc<M>,
    open: Arc<Mutex<BTreeMap<u32, Arc<OpenSegment<M>>>>>,
}

struct OpenSegment<M: Medium> {
    file: Arc<M::File>,
    header: SegmentHeader,
}

impl<M: Medium> Clone for JournalReader<M> {
    fn clone(&self) -> Self {
        Self { medium: Arc::clone(&self.medium), open: Arc::clone(&self.open) }
    }
}

impl<M: Medium> JournalReader<M> {
    /// A reader of the journal on that medium.
    #[must_use]
    pub fn new(medium: Arc<M>) -> Self {
        Self { medium, open: Arc::default() }
    }

    /// The fact that lies there.
    ///
    /// # Errors
    /// [`ReadError`] when the disk fails or the frame is damaged.
    pub fn read(&self, locator: Locator) -> Result<ReadFact, ReadError> {
        let Locator { segment, offset } = locator;
        let io_error = |error| ReadError::Io { segment, offset, error };
        let damaged = |error| ReadError::Damaged { segment, offset, error };
        let open = self.segment(segment).map_err(io_error)?.ok_or_else(|| damaged(FrameError::NoFrame))?;
        let mut bytes = vec![0; FIRST_READ];
        // What lies behind a short frame need not be readable.
        let (count, refused) = segment::read_as_far_as_possible(open.file.as_ref(), &mut bytes, u64::from(offset));
        if let (true, Err(error)) = (count < HEADER_SIZE, refused) {
            return Err(io_error(error));
        }
        bytes.truncate(count);
        let header = FrameHeader::parse(bytes.first_chunk().ok_or_else(|| damaged(FrameError::NoFrame))?).map_err(damaged)?;
        let size = HEADER_SIZE + header.length;
        if size > bytes.len() {
            let have = bytes.len();
            bytes.resize(size, 0);
            if !segment::read_full(open.file.as_ref(), &mut bytes[have..], u64::from(offset) + have as u64).map_err(io_error)? {
                return Err(damaged(FrameError::NoFrame));
            }
        }
        let (header, payload) = frame::decode(open.header.salt, &bytes[..size]).map_err(damaged)?;
        Ok(ReadFact { sequence: header.sequence, checksum: header.checksum, fact: payload.fact })
    }

    /// Closes the files of the segments before `number`, so that the space of those that were removed is free.
    pub fn close_before(&self, number: u32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.split_off(&number);
    }

    /// The number of the first fact in a segment; `None` when there is no such segment.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn first_of(&self, number: u32) -> io::Result<Option<Sequence>> {
        Ok(self.segment(number)?.map(|open| open.header.first))
    }

    /// What a segment says about itself; `None` when there is no such segment.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn header_of(&self, number: u32) -> io::Result<Option<SegmentHeader>> {
        Ok(self.segment(number)?.map(|open| open.header))
    }

    /// A scan of a segment from `offset`, where a frame begins; `None` when there is no such segment.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn scan_from(&self, number: u32, offset: u64) -> io::Result<Option<segment::SegmentScan<M::File>>> {
        let open = self.segment(number)?;
        Ok(open.map(|open| segment::SegmentScan::new(Arc::clone(&open.file), open.header, offset)))
    }

    /// A scan of a segment from its first frame; `None` when there is no such segment.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn scan(&self, number: u32) -> io::Result<Option<segment::SegmentScan<M::File>>> {
        self.scan_from(number, segment::FRAMES_START)
    }

    /// The segment's file and header; `None` when its header can't be read.
    fn segment(&self, number: u32) -> io::Result<Option<Arc<OpenSegment<M>>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = open.get(&number) {
            return Ok(Some(Arc::clone(segment)));
        }
        let file = match self.medium.open(&segment::file_name(number)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(header) = SegmentHeader::read(&file, number)? else { return Ok(None) };
        let segment = Arc::new(OpenSegment { file: Arc::new(file), header });
        if open.len() >= OPEN_SEGMENTS_MAX {
            // The oldest is the least likely to be wanted again.
            open.pop_first();
        }
        open.insert(number, Arc::clone(&segment));
        Ok(Some(segment))
    }
}
