//! One segment: a file of the journal, its header, and reading it from front to back. It never decides what damage means.
//!
//! A segment's name is its number in ten digits and `.segment`. Its first 8 KiB hold the same header twice, at 0 and at 4096, so that no single torn or
//! damaged page loses it. Frames begin at 8192. All numbers are little-endian.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | `HKWSEG` and two zeros |
//! | 8 | 4 | format: 1 |
//! | 12 | 4 | the segment's number, from 1 |
//! | 16 | 16 | the journal's id, random, the same in all its segments |
//! | 32 | 8 | sequence number of its first frame |
//! | 40 | 4 | salt of its checksums, random |
//! | 44 | 4 | CRC-32C over bytes 0–43 |
//!
//! The file is filled with zeros and synced before it is used, so that a group is written over space that the file system has already
//! settled, and a sync has only data to write. Where the frames end, zeros follow. A segment that is not the newest is never written to again.

use std::io;
use std::sync::Arc;

use super::frame::{self, ALIGNMENT, FrameError, FrameHeader, HEADER_SIZE, Payload};
use super::medium::{Medium, MediumFile};
use crate::limits;
use crate::model::{Locator, Sequence};
use crate::store::fact::Fact;

/// Where frames begin.
pub const FRAMES_START: u64 = 8192;

const COPY_OFFSET: u64 = 4096;
/// Bytes of one copy of the header.
pub(in crate::store) const HEADER_BYTES: usize = 48;
const MAGIC: [u8; 8] = *b"HKWSEG\0\0";
const FORMAT: u32 = 1;
const READ_AHEAD: usize = 1 << 20;
const ZEROS: [u8; 4096] = [0; 4096];
/// What is stepped over where the disk refuses to give it back.
const PAGE_SIZE: u64 = 4096;

/// Names a journal; a view that follows another one is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JournalId(pub u128);

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Its number.
    pub number: u32,
    /// The journal that it belongs to.
    pub journal: JournalId,
    /// The number of its first fact.
    pub first: Sequence,
    /// The salt of its checksums.
    pub salt: u32,
}

/// The file name of a segment.
#[must_use]
pub fn file_name(number: u32) -> String {
    format!("{number:010}.segment")
}

/// The number in a segment's file name.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".segment")?;
    let number = digits.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

impl SegmentHeader {
    /// The bytes of the 8 KiB before the frames.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        let mut copy = Vec::with_capacity(HEADER_BYTES);
        copy.extend_from_slice(&MAGIC);
        copy.extend_from_slice(&FORMAT.to_le_bytes());
        copy.extend_from_slice(&self.number.to_le_bytes());
        copy.extend_from_slice(&self.journal.0.to_le_bytes());
        copy.extend_from_slice(&self.first.0.to_le_bytes());
        copy.extend_from_slice(&self.salt.to_le_bytes());
        let checksum = crc32c::crc32c(&copy);
        copy.extend_from_slice(&checksum.to_le_bytes());
        let mut bytes = copy.clone();
        bytes.resize(usize::try_from(COPY_OFFSET).expect("4096 fits"), 0);
        bytes.extend_from_slice(&copy);
        bytes.resize(usize::try_from(FRAMES_START).expect("8192 fits"), 0);
        bytes
    }

    /// Reads the header of segment `number`, from its second copy when the first is damaged or the disk does not give it back.
    ///
    /// # Errors
    /// `Err` is the disk's; `Ok(None)` means that neither copy is good.
    pub fn read(file: &impl MediumFile, number: u32) -> io::Result<Option<Self>> {
        let mut refused = Ok(None);
        for offset in [0, COPY_OFFSET] {
            let mut bytes = [0; HEADER_BYTES];
            match read_full(file, &mut bytes, offset) {
                Ok(true) => {
                    if let Some(header) = Self::parse(&bytes, number) {
                        return Ok(Some(header));
                    }
                }
                Ok(false) => {}
                Err(error) => refused = Err(error),
            }
        }
        refused
    }

    /// Where those of its copies begin that are not as they should be, or can't be read.
    #[must_use]
    pub fn damaged_copies(&self, file: &impl MediumFile) -> Vec<u64> {
        let is_damaged = |offset: &u64| {
            let mut bytes = [0; HEADER_BYTES];
            let is_read = read_full(file, &mut bytes, *offset).unwrap_or(false);
            !is_read || Self::parse(&bytes, self.number).as_ref() != Some(self)
        };
        [0, COPY_OFFSET].into_iter().filter(is_damaged).collect()
    }

    /// The format of a header that is whole, but newer than what this version knows.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn newer_format(file: &impl MediumFile) -> io::Result<Option<u32>> {
        for offset in [0, COPY_OFFSET] {
            let mut bytes = [0; HEADER_BYTES];
            if read_full(file, &mut bytes, offset)?
                && let Some(format) = whole(&bytes).and_then(|content| word(content, 8)).filter(|format| *format > FORMAT)
            {
                return Ok(Some(format));
            }
        }
        Ok(None)
    }

    fn parse(bytes: &[u8; HEADER_BYTES], number: u32) -> Option<Self> {
        let content = whole(bytes)?;
        if word(content, 8)? != FORMAT || word(content, 12)? != number {
            return None;
        }
        let journal = JournalId(u128::from_le_bytes(content[16..32].try_into().ok()?));
        let first = Sequence(u64::from_le_bytes(content[32..40].try_into().ok()?));
        Some(Self { number, journal, first, salt: word(content, 40)? })
    }
}

/// The fields of a copy of the header whose magic and checksum are right. These keep their places in every format.
fn whole(bytes: &[u8; HEADER_BYTES]) -> Option<&[u8]> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    (u32::from_le_bytes(*checksum) == crc32c::crc32c(content) && content[..8] == MAGIC).then_some(content)
}

fn word(content: &[u8], at: usize) -> Option<u32> {
    content.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_le_bytes)
}

/// A frame that was read, checked and decoded.
#[derive(Debug)]
pub struct ScannedFrame {
    /// The number of its fact.
    pub sequence: Sequence,
    /// Where it lies.
    pub locator: Locator,
    /// Its checksum.
    pub checksum: u32,
    /// Where the next one begins.
    pub end: u64,
    /// The next one belongs to the same atomic batch.
    pub batch_continues: bool,
    /// The highest sequence known to be synced when its group was begun.
    pub synced_through: Option<Sequence>,
    /// The fact.
    pub fact: Fact,
}

/// What a scan came upon.
#[derive(Debug)]
pub enum Scanned {
    /// A good frame.
    Frame(Box<ScannedFrame>),
    /// Bytes that are no good frame; `skipped` of them, up to the next good frame or the end of the file.
    Damage {
        /// Where.
        offset: u64,
        /// How many.
        skipped: u64,
        /// Why the first of them are no good frame; [`FrameError::Unreadable`] when the disk refused any of them.
        error: FrameError,
    },
}

/// Reads a segment's frames in order. It never stops at damage, nor at what the disk refuses to give back: it says so and goes on behind it.
/// Whether what was refused is lost or comes back with the next try is not for a scan to know.
pub struct SegmentScan<F> {
    file: Arc<F>,
    header: SegmentHeader,
    offset: u64,
    buffer: Vec<u8>,
    buffer_start: u64,
    /// What the disk said when it refused something, if it did so in this step.
    refused: Option<String>,
}

impl<F: MediumFile> SegmentScan<F> {
    /// A scan from `offset`, where a frame begins.
    #[must_use]
    pub fn new(file: Arc<F>, header: SegmentHeader, offset: u64) -> Self {
        Self { file, header, offset, buffer: Vec::new(), buffer_start: 0, refused: None }
    }

    /// The next frame or damage; `None` at the end, where nothing follows but zeros.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn step(&mut self) -> io::Result<Option<Scanned>> {
        let start = self.offset;
        self.refused = None;
        let error = match self.frame_at(start) {
            Ok(frame) => {
                self.offset = frame.end;
                return Ok(Some(Scanned::Frame(Box::new(frame))));
            }
            Err(error) => error,
        };
        let next = self.next_frame_after(start)?;
        // What the disk refuses is not known to be zeros.
        let is_end = next.is_none() && !self.has_bytes_from(start).unwrap_or(true);
        let error = self.refused.take().map_or(error, FrameError::Unreadable);
        self.offset = next.unwrap_or(u64::MAX / 2);
        let skipped = next.map_or_else(|| self.file.size(), Ok)?.saturating_sub(start);
        Ok((!is_end).then_some(Scanned::Damage { offset: start, skipped, error }))
    }

    /// What can still be read of frames that begin among damaged bytes: the number and the fact, either of which may be damaged itself. It serves to tell what is gone,
    /// and nothing else.
    pub fn remains(&mut self, offset: u64, length: u64) -> Vec<(Sequence, Fact)> {
        let mut found = Vec::new();
        let mut at = offset.next_multiple_of(ALIGNMENT as u64);
        let end = offset + length.min(READ_AHEAD as u64);
        while at < end {
            let first = self.header.first;
            let header = match self.bytes(at, HEADER_SIZE) {
                Ok(Some(bytes)) => bytes.first_chunk().and_then(|bytes| FrameHeader::parse(bytes).ok()),
                Ok(None) | Err(_) => break,
            };
            let frame = header.filter(|header| header.sequence >= first).and_then(|header| {
                let bytes = self.bytes(at, HEADER_SIZE + header.length).ok()??;
                Some((header.sequence, header.frame_size(), frame::remains(bytes)?))
            });
            at += match frame {
                Some((sequence, size, fact)) => {
                    found.push((sequence, fact));
                    size as u64
                }
                None => ALIGNMENT as u64,
            };
        }
        self.refused = None;
        found
    }

    fn frame_at(&mut self, offset: u64) -> Result<ScannedFrame, FrameError> {
        let salt = self.header.salt;
        let bytes = self.bytes(offset, HEADER_SIZE).map_err(unreadable)?.ok_or(FrameError::NoFrame)?;
        let header = FrameHeader::parse(bytes.first_chunk().expect("bytes gives as many as asked for"))?;
        if header.sequence < self.header.first {
            return Err(FrameError::NoFrame);
        }
        let segment = self.header.number;
        let bytes = self.bytes(offset, HEADER_SIZE + header.length).map_err(unreadable)?.ok_or(FrameError::NoFrame)?;
        frame::decode(salt, bytes).map(|(header, Payload { synced_through, fact })| ScannedFrame {
            sequence: header.sequence,
            locator: Locator { segment, offset: u32::try_from(offset).expect("limits::SEGMENT_SIZE is below 2^32") },
            checksum: header.checksum,
            end: offset + header.frame_size() as u64,
            batch_continues: header.batch_continues,
            synced_through,
            fact,
        })
    }

    /// Where the next frame with a good checksum begins behind `offset`.
    fn next_frame_after(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let size = self.size()?;
        let mut candidate = (offset + 1).next_multiple_of(ALIGNMENT as u64);
        while candidate + (HEADER_SIZE as u64) < size {
            let Ok(zeros) = self.leading_zeros(candidate) else {
                candidate = (candidate / PAGE_SIZE + 1) * PAGE_SIZE;
                continue;
            };
            if zeros >= ALIGNMENT {
                candidate += (zeros / ALIGNMENT * ALIGNMENT) as u64;
                continue;
            }
            if matches!(self.frame_at(candidate), Ok(_) | Err(FrameError::Version(_) | FrameError::Record(_))) {
                return Ok(Some(candidate));
            }
            candidate += ALIGNMENT as u64;
        }
        Ok(None)
    }

    fn has_bytes_from(&mut self, offset: u64) -> io::Result<bool> {
        let size = self.size()?;
        let mut at = offset;
        while at < size {
            let zeros = self.leading_zeros(at)?;
            if zeros == 0 {
                return Ok(true);
            }
            at += zeros as u64;
        }
        Ok(false)
    }

    /// How many zeros lie at `offset`, as far as the buffer reaches.
    fn leading_zeros(&mut self, offset: u64) -> io::Result<usize> {
        self.bytes(offset, 1)?;
        let from = usize::try_from(offset - self.buffer_start).expect("the buffer holds this offset");
        let rest = self.buffer.get(from..).unwrap_or_default();
        // By blocks, for most of a segment may be zeros.
        let blocks = rest.chunks(ZEROS.len()).take_while(|block| **block == ZEROS[..block.len()]);
        let in_blocks = blocks.map(<[u8]>::len).sum::<usize>();
        Ok(in_blocks + rest[in_blocks..].iter().take_while(|byte| **byte == 0).count())
    }

    /// Bytes of the file. A disk that does not say has refused whatever was to be read.
    fn size(&mut self) -> io::Result<u64> {
        self.file.size().inspect_err(|error| self.refused = Some(error.to_string()))
    }

    /// `length` bytes at `offset`; `None` where the file ends before. What the disk refuses matters only when it is among them.
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let buffer_end = self.buffer_start + self.buffer.len() as u64;
        if offset < self.buffer_start || offset + length as u64 > buffer_end {
            let left = usize::try_from(self.size()?.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.buffer = vec![0; length.max(READ_AHEAD).min(left)];
            self.buffer_start = offset;
            let (filled, refused) = read_as_far_as_possible(self.file.as_ref(), &mut self.buffer, offset);
            self.buffer.truncate(filled);
            if let (true, Err(error)) = (filled < length, refused) {
                self.refused = Some(error.to_string());
                return Err(error);
            }
        }
        let from = usize::try_from(offset - self.buffer_start).expect("the buffer begins at or before this offset");
        Ok(self.buffer.get(from..from + length))
    }
}

/// Reads exactly `buffer.len()` bytes; false where the file ends before.
///
/// # Errors
/// Those of the disk.
pub fn read_full(file: &impl MediumFile, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    let (filled, refused) = read_as_far_as_possible(file, buffer, offset);
    refused.map(|()| filled == buffer.len())
}

/// Reads until the buffer is full, the file ends or the disk refuses; says in any case how many bytes there are.
pub(super) fn read_as_far_as_possible(file: &impl MediumFile, buffer: &mut [u8], offset: u64) -> (usize, io::Result<()>) {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (filled, Err(error)),
        }
    }
    (filled, Ok(()))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands the error over")]
fn unreadable(error: io::Error) -> FrameError {
    FrameError::Unreadable(error.to_string())
}

/// Copies the first `end` bytes of a segment into a new file, syncs it, gives it the segment's name and syncs that. Number and offsets
/// stay, so every locator stays true. Recovery does this with frames that may not have been synced: after a failed sync the cache of the
/// old file can't be trusted, a fresh copy can. Both copies of the header are whole in it.
///
/// # Errors
/// Those of the disk; the segment is as it was then.
pub fn rewrite<M: Medium>(medium: &M, number: u32, end: u64) -> io::Result<()> {
    let name = file_name(number);
    let copy_name = format!("{name}.rewrite");
    let (old, new) = (medium.open(&name)?, medium.create(&copy_name)?);
    let header = SegmentHeader::read(&old, number)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: both copies of its header are damaged")))?;
    new.write_all_at(&header.to_bytes(), 0)?;
    let mut buffer = vec![0; READ_AHEAD];
    let mut at = FRAMES_START;
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(READ_AHEAD);
        if !read_full(&old, &mut buffer[..length], at)? {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} became shorter while it was copied")));
        }
        new.write_all_at(&buffer[..length], at)?;
        at += length as u64;
    }
    new.sync()?;
    medium.rename(&copy_name, &name)?;
    medium.sync_directory()
}

/// A file of zeros, synced, that waits to become a segment.
pub struct Spare<M: Medium> {
    pub(super) file: M::File,
    pub(super) name: String,
    /// The job's, so that the writer knows of it until it takes the spare.
    _token: Arc<()>,
}

/// The work of making a [`Spare`]: writing zeros, which takes a while and is best done by somebody else.
pub struct SpareJob<M> {
    pub(super) medium: Arc<M>,
    pub(super) name: String,
    pub(super) size: u64,
    /// Alive while somebody has this job.
    pub(super) token: Arc<()>,
}

impl<M: Medium> SpareJob<M> {
    /// Does it.
    ///
    /// # Errors
    /// Those of the disk; what was written so far is removed, as far as that goes.
    pub fn run(self) -> io::Result<Spare<M>> {
        let result = self.fill();
        if result.is_err() {
            // Best effort: what stays behind is removed by the next start.
            drop(self.medium.remove(&self.name));
        }
        Ok(Spare { file: result?, name: self.name, _token: self.token })
    }

    fn fill(&self) -> io::Result<M::File> {
        let file = self.medium.create(&self.name)?;
        let zeros = vec![0; READ_AHEAD];
        let mut at = 0;
        while at < self.size {
            let length = usize::try_from(self.size - at).unwrap_or(usize::MAX).min(READ_AHEAD);
            file.write_all_at(&zeros[..length], at)?;
            at += length as u64;
        }
        file.sync()?;
        self.medium.sync_directory()?;
        Ok(file)
    }
}

const _: () = assert!(limits::SEGMENT_SIZE <= u32::MAX as u64, "offsets are kept in 32 bits");
