//! The index of one sealed segment: a file beside it, written once, of the deliveries that ended in it and the events that were accepted in it. It holds nothing
//! that the journal does not, so one that is missing or damaged is made again.
//!
//! The name is the segment's number in ten digits and `.history`. All numbers are little-endian, nothing is padded, and every byte is under one of the checksums (CRC-32C).
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | `HKWHIS` and two zeros |
//! | 8 | 4 | format: 2 |
//! | 12 | 4 | the segment's number |
//! | 16 | 16 | the journal's id |
//! | 32 | 4 | the salt of that segment: an index never serves another one |
//! | 36 | 4 | ends of deliveries in it |
//! | 40 | 4 | events in it |
//! | 44 | 4 | bytes of the summary that follows this header |
//! | 48 | 8 + 8 | the earliest and the latest end |
//! | 64 | 8 + 8 | the lowest and the highest event's number of the deliveries that ended |
//! | 80 | 8 + 8 | the lowest and the highest number of the events |
//! | 96 | 4 | rows among the ends that say that a delivery was taken up again |
//! | 100 | 4 | checksum of the summary |
//! | 104 | 4 | checksum of bytes 0–103 |
//!
//! The summary is small and is read whole: the number of event types, then each with its length (2) and its letters; the projects in the same way; the number of webhooks (4) and
//! each webhook's number (4), in order; and then a directory entry of 88 bytes for each block of the four tables: its first row's sort key (8), the checksum of its rows (4), and a
//! mask of the states (4), webhooks (32), projects (32) and types (8) that occur in it. Behind it lie the tables, block after block:
//!
//! | table | bytes a row | rows a block | sorted by | a row |
//! | --- | --- | --- | --- | --- |
//! | ends | 56 | 128 | end, newest first | end (8), sequence (8), webhook (4), attempts (2), state (1: 0 taken up again, 1 delivered, 2 dropped, 3 cancelled), 0 (1), accepted (8), place of the event (8), place of the last attempt (8), type (4), project (4) |
//! | keys | 17 | 512 | sequence, webhook | sequence (8), webhook (4), which of the ends (4), state (1) |
//! | events | 44 | 128 | sequence, highest first | sequence (8), accepted (8), hash of project and id (8), place (8), type (4), project (4), deliveries (4) |
//! | ids | 12 | 512 | hash | hash of project and id (8), which of the events (4) |
//!
//! A place is segment (4) and offset (4), both 0 for none. Types and projects are where they stand in the summary, `2^32 - 1` where the event was gone already.

use std::io;
use std::sync::Arc;

use super::reopened::{self, TakenUp};
use super::row::{EndedRow, EventRow, Fields, IdRow, KeyRow, Names, Row, state_number, state_of};
use super::wanted::Mask;
use crate::model::{DeliveryKey, DeliveryState, EventTypeName, Project, Sequence, WebhookNumber};
use crate::store::journal::medium::{Medium, MediumFile};
use crate::store::journal::segment::{JournalId, SegmentHeader, read_full};
use crate::time::UnixMillis;

const MAGIC: [u8; 8] = *b"HKWHIS\0\0";
const FORMAT: u32 = 2;
const HEADER_BYTES: usize = 108;
const ENTRY_BYTES: usize = 8 + 4 + Mask::SIZE;

/// The file name of a segment's index.
pub(super) fn file_name(segment: u32) -> String {
    format!("{segment:010}.history")
}

/// The number in an index's file name.
pub(super) fn parse_file_name(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".history")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// Why an index gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    #[error("the disk failed: {0}")]
    Disk(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// What an index says about itself; this alone is read when a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) segment: u32,
    journal: JournalId,
    salt: u32,
    ends: u32,
    events: u32,
    summary_bytes: u32,
    summary_checksum: u32,
    pub(super) end_times: (UnixMillis, UnixMillis),
    pub(super) end_sequences: (Sequence, Sequence),
    pub(super) event_sequences: (Sequence, Sequence),
    /// Rows among the ends that say that a delivery was taken up again.
    pub(super) reopened: u32,
}

/// What an index is made of, in any order.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) names: Names,
    pub(super) ends: Vec<EndedRow>,
    pub(super) events: Vec<EventRow>,
}

/// A block in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The sort key of its first row.
    pub(super) first: u64,
    checksum: u32,
    pub(super) mask: Mask,
}

/// Where one table lies in the file, and what is in its blocks.
pub(super) struct TableOf {
    start: u64,
    rows: usize,
    pub(super) blocks: Vec<Block>,
}

/// An index that is open.
pub(super) struct Index<F> {
    file: F,
    pub(super) names: Arc<Names>,
    pub(super) webhooks: Vec<WebhookNumber>,
    pub(super) ends: TableOf,
    /// Deliveries that were taken up again.
    pub(super) reopened: Vec<TakenUp>,
    keys: TableOf,
    pub(super) events: TableOf,
    ids: TableOf,
}

/// The bytes of an index, and its header.
pub(super) fn encode(segment: &SegmentHeader, mut contents: Contents) -> (Vec<u8>, Header) {
    let (ends, events) = (&mut contents.ends, &mut contents.events);
    // A delivery is taken up before it ends anew, be it in the same millisecond.
    ends.sort_unstable_by_key(|row| std::cmp::Reverse((row.place(), state_number(row.state))));
    // Where an event is known from several facts, the one that tells of all its deliveries stays.
    events.sort_unstable_by_key(|row| std::cmp::Reverse((row.sequence, row.deliveries)));
    events.dedup_by_key(|row| row.sequence);
    let mut keys =
        (0_u32..).zip(&*ends).map(|(ordinal, row)| KeyRow { key: row.key, ordinal, state: state_number(row.state) }).collect::<Vec<_>>();
    keys.sort_unstable();
    let mut ids = (0_u32..).zip(&*events).map(|(ordinal, row)| IdRow { id_hash: row.id_hash, ordinal }).collect::<Vec<_>>();
    ids.sort_unstable();
    let mut webhooks = ends.iter().map(|row| row.key.webhook).collect::<Vec<_>>();
    webhooks.sort_unstable();
    webhooks.dedup();
    let position = |row: &EndedRow| webhooks.binary_search(&row.key.webhook).ok().and_then(|at| u32::try_from(at).ok()).unwrap_or_default();

    let (mut summary, mut tables) = (Vec::new(), Vec::new());
    put_names(&contents.names, &webhooks, &mut summary);
    put_table(ends, |row| row.at.0, |mask, row| mask.add_end(row, position(row)), &mut summary, &mut tables);
    put_table(&keys, |row| row.key.sequence.0, |_, _| {}, &mut summary, &mut tables);
    put_table(events, |row| row.sequence.0, Mask::add_event, &mut summary, &mut tables);
    put_table(&ids, |row| row.id_hash, |_, _| {}, &mut summary, &mut tables);
    let sequence = |row: Option<&KeyRow>| row.map(|row| row.key.sequence).unwrap_or_default();
    let time = |row: Option<&EndedRow>| row.map(|row| row.at).unwrap_or_default();
    let event = |row: Option<&EventRow>| row.map(|row| row.sequence).unwrap_or_default();
    let count = |count: usize| u32::try_from(count).expect("rows of one segment, which has fewer than 2^32 bytes");
    let header = Header {
        segment: segment.number,
        journal: segment.journal,
        salt: segment.salt,
        ends: count(ends.len()),
        events: count(events.len()),
        summary_bytes: count(summary.len()),
        summary_checksum: crc32c::crc32c(&summary),
        end_times: (time(ends.last()), time(ends.first())),
        end_sequences: (sequence(keys.first()), sequence(keys.last())),
        event_sequences: (event(events.last()), event(events.first())),
        reopened: count(ends.iter().filter_map(reopened::taken_up).count()),
    };
    ([header.to_bytes(), summary, tables].concat(), header)
}

fn put_names(names: &Names, webhooks: &[WebhookNumber], bytes: &mut Vec<u8>) {
    let mut put_list = |texts: &mut dyn ExactSizeIterator<Item = &str>| {
        bytes.extend_from_slice(&u32::try_from(texts.len()).expect("fewer names than bytes in a segment").to_le_bytes());
        for text in texts {
            let length = u16::try_from(text.len()).expect("types and projects have at most 253 letters");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
    };
    put_list(&mut names.types.list().iter().map(EventTypeName::as_str));
    put_list(&mut names.projects.list().iter().map(Project::as_str));
    bytes.extend_from_slice(&u32::try_from(webhooks.len()).expect("fewer webhooks than bytes in a segment").to_le_bytes());
    webhooks.iter().for_each(|number| bytes.extend_from_slice(&number.0.to_le_bytes()));
}

fn put_table<R: Row>(rows: &[R], sort_key: impl Fn(&R) -> u64, mark: impl Fn(&mut Mask, &R), summary: &mut Vec<u8>, tables: &mut Vec<u8>) {
    for block in rows.chunks(R::BLOCK) {
        let start = tables.len();
        block.iter().for_each(|row| row.put(tables));
        let mut mask = Mask::default();
        block.iter().for_each(|row| mark(&mut mask, row));
        summary.extend_from_slice(&block.first().map_or(0, &sort_key).to_le_bytes());
        summary.extend_from_slice(&crc32c::crc32c(&tables[start..]).to_le_bytes());
        mask.put(summary);
    }
}

/// Writes an index durably: under another name, synced, renamed.
pub(super) fn write<M: Medium>(medium: &M, segment: &SegmentHeader, contents: Contents) -> io::Result<Header> {
    let (bytes, header) = encode(segment, contents);
    let name = file_name(segment.number);
    let new = format!("{name}.new");
    let result = write_new(medium, &new, &bytes).and_then(|()| medium.rename(&new, &name)).and_then(|()| medium.sync_directory());
    if result.is_err() {
        // Best effort: what stays behind is removed by the next start, or by the next try.
        drop(medium.remove(&new));
    }
    result.map(|()| header)
}

fn write_new<M: Medium>(medium: &M, new: &str, bytes: &[u8]) -> io::Result<()> {
    match medium.remove(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = medium.create(new)?;
    file.write_all_at(bytes, 0)?;
    file.sync()
}

impl Header {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.journal.0.to_le_bytes());
        [self.salt, self.ends, self.events, self.summary_bytes].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        let ((earliest, latest), (lowest, highest), (first, last)) = (self.end_times, self.end_sequences, self.event_sequences);
        [earliest.0, latest.0, lowest.0, highest.0, first.0, last.0].iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
        bytes.extend_from_slice(&self.reopened.to_le_bytes());
        bytes.extend_from_slice(&self.summary_checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk::<4>()?;
        if u32::from_le_bytes(*checksum) != crc32c::crc32c(content) {
            return None;
        }
        let mut fields = Fields(content.strip_prefix(&MAGIC)?);
        if fields.u32()? != FORMAT {
            return None;
        }
        let (segment, journal) = (fields.u32()?, JournalId(fields.u128()?));
        let (salt, ends, events, summary_bytes) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let end_times = (UnixMillis(fields.u64()?), UnixMillis(fields.u64()?));
        let end_sequences = (Sequence(fields.u64()?), Sequence(fields.u64()?));
        let event_sequences = (Sequence(fields.u64()?), Sequence(fields.u64()?));
        let (reopened, summary_checksum) = (fields.u32()?, fields.u32()?);
        Some(Self {
            segment,
            journal,
            salt,
            ends,
            events,
            summary_bytes,
            summary_checksum,
            end_times,
            end_sequences,
            event_sequences,
            reopened,
        })
    }

    fn table_bytes(&self) -> u64 {
        let (ends, events) = (u64::from(self.ends), u64::from(self.events));
        ends * (EndedRow::SIZE + KeyRow::SIZE) as u64 + events * (EventRow::SIZE + IdRow::SIZE) as u64
    }

    /// The header of a segment's index, and its file.
    ///
    /// # Errors
    /// [`IndexError`]: also when it is not of this segment.
    pub(super) fn read<M: Medium>(medium: &M, segment: &SegmentHeader) -> Result<(Self, M::File), IndexError> {
        let file = medium.open(&file_name(segment.number))?;
        Ok((Self::of(&file, segment)?, file))
    }

    fn of(file: &impl MediumFile, segment: &SegmentHeader) -> Result<Self, IndexError> {
        let mut bytes = [0; HEADER_BYTES];
        if !read_full(file, &mut bytes, 0)? {
            return Err(IndexError::Damaged("it is shorter than its header"));
        }
        let header = Self::parse(&bytes).ok_or(IndexError::Damaged("its header does not fit its checksum"))?;
        if (header.segment, header.journal, header.salt) != (segment.number, segment.journal, segment.salt) {
            return Err(IndexError::Damaged("it is the index of another segment"));
        }
        let size = HEADER_BYTES as u64 + u64::from(header.summary_bytes) + header.table_bytes();
        if file.size()? != size {
            return Err(IndexError::Damaged("it has not the size that its header says"));
        }
        Ok(header)
    }
}

impl<F: MediumFile> Index<F> {
    /// Reads the summary.
    pub(super) fn open(header: &Header, file: F) -> Result<Self, IndexError> {
        let mut summary = vec![0; header.summary_bytes as usize];
        let whole = read_full(&file, &mut summary, HEADER_BYTES as u64)?;
        if !whole || crc32c::crc32c(&summary) != header.summary_checksum {
            return Err(IndexError::Damaged("its summary does not fit its checksum"));
        }
        let start = HEADER_BYTES as u64 + summary.len() as u64;
        let mut index = Self::parse(header, file, Fields(&summary), start).ok_or(IndexError::Damaged("its summary makes no sense"))?;
        if header.reopened > 0 {
            index.reopened = index.read_reopened()?;
        }
        Ok(index)
    }

    fn parse(header: &Header, file: F, mut fields: Fields<'_>, start: u64) -> Option<Self> {
        let mut names = Names::default();
        for _ in 0..fields.u32()? {
            names.types.number(&EventTypeName::parse(text(&mut fields)?).ok()?);
        }
        for _ in 0..fields.u32()? {
            names.projects.number(&Project::parse(text(&mut fields)?).ok()?);
        }
        let webhooks = (0..fields.u32()?).map(|_| fields.u32().map(WebhookNumber)).collect::<Option<Vec<_>>>()?;
        let (end_rows, event_rows) = (header.ends as usize, header.events as usize);
        let ends = TableOf::parse::<EndedRow>(&mut fields, start, end_rows)?;
        let keys = TableOf::parse::<KeyRow>(&mut fields, ends.end::<EndedRow>(), end_rows)?;
        let events = TableOf::parse::<EventRow>(&mut fields, keys.end::<KeyRow>(), event_rows)?;
        let ids = TableOf::parse::<IdRow>(&mut fields, events.end::<EventRow>(), event_rows)?;
        let reopened = Vec::new();
        fields.0.is_empty().then_some(Self { file, names: Arc::new(names), webhooks, ends, reopened, keys, events, ids })
    }

    /// Deliveries that were taken up again, from the blocks that have such rows.
    fn read_reopened(&self) -> Result<Vec<TakenUp>, IndexError> {
        let wanted = 1 << state_number(DeliveryState::Pending);
        let mut found = Vec::new();
        for number in (0..self.ends.blocks.len()).filter(|number| self.ends.blocks[*number].mask.states & wanted != 0) {
            found.extend(self.block::<EndedRow>(&self.ends, number)?.iter().filter_map(reopened::taken_up));
        }
        Ok(found)
    }

    /// The rows of a block.
    pub(super) fn block<R: Row>(&self, table: &TableOf, number: usize) -> Result<Vec<R>, IndexError> {
        let Some(block) = table.blocks.get(number) else { return Ok(Vec::new()) };
        let first = number * R::BLOCK;
        let mut bytes = vec![0; (table.rows - first).min(R::BLOCK) * R::SIZE];
        let whole = read_full(&self.file, &mut bytes, table.start + (first * R::SIZE) as u64)?;
        if !whole || crc32c::crc32c(&bytes) != block.checksum {
            return Err(IndexError::Damaged("a block of rows does not fit its checksum"));
        }
        let rows = bytes.chunks_exact(R::SIZE).map(|row| R::get(Fields(row))).collect::<Option<Vec<_>>>();
        rows.ok_or(IndexError::Damaged("a row makes no sense"))
    }

    fn row<R: Row>(&self, table: &TableOf, ordinal: u32) -> Result<R, IndexError> {
        let ordinal = ordinal as usize;
        let row = self.block::<R>(table, ordinal / R::BLOCK)?.get(ordinal % R::BLOCK).copied();
        row.ok_or(IndexError::Damaged("a row names another one that there is not"))
    }

    /// The newest end of a delivery.
    pub(super) fn find(&self, key: DeliveryKey) -> Result<Option<EndedRow>, IndexError> {
        let sought = |block: &Block| block.first < key.sequence.0;
        for number in self.keys.blocks.partition_point(sought).saturating_sub(1)..self.keys.blocks.len() {
            let rows = self.block::<KeyRow>(&self.keys, number)?;
            // The first of several is the newest, for the ends are sorted so.
            if let Some(found) = rows.iter().find(|row| row.key >= key) {
                return if found.key == key { self.row(&self.ends, found.ordinal).map(Some) } else { Ok(None) };
            }
        }
        Ok(None)
    }

    /// How deliveries of an event ended, the newest end of each first.
    pub(super) fn ends_of(&self, sequence: Sequence) -> Result<Vec<(WebhookNumber, DeliveryState)>, IndexError> {
        let mut found = Vec::new();
        for number in self.keys.blocks.partition_point(|block| block.first < sequence.0).saturating_sub(1)..self.keys.blocks.len() {
            let rows = self.block::<KeyRow>(&self.keys, number)?;
            let own = rows.iter().filter(|row| row.key.sequence == sequence);
            found.extend(own.filter_map(|row| Some((row.key.webhook, state_of(row.state)?))));
            if rows.last().is_some_and(|row| row.key.sequence > sequence) {
                break;
            }
        }
        Ok(found)
    }

    /// The event of that number.
    pub(super) fn event(&self, sequence: Sequence) -> Result<Option<EventRow>, IndexError> {
        let Some(number) = self.events.blocks.partition_point(|block| block.first >= sequence.0).checked_sub(1) else { return Ok(None) };
        let rows = self.block::<EventRow>(&self.events, number)?;
        Ok(rows.into_iter().find(|row| row.sequence == sequence))
    }

    /// The events whose project and id have that hash, newest first.
    pub(super) fn events_of(&self, id_hash: u64) -> Result<Vec<EventRow>, IndexError> {
        let mut ordinals = Vec::new();
        for number in self.ids.blocks.partition_point(|block| block.first < id_hash).saturating_sub(1)..self.ids.blocks.len() {
            let rows = self.block::<IdRow>(&self.ids, number)?;
            ordinals.extend(rows.iter().filter(|row| row.id_hash == id_hash).map(|row| row.ordinal));
            if rows.last().is_some_and(|row| row.id_hash > id_hash) {
                break;
            }
        }
        ordinals.into_iter().map(|ordinal| self.row(&self.events, ordinal)).collect()
    }
}

/// Reads every row of an index of that segment, and looks up what begins each block, as those do who look for it. Public for fuzzing and its tests, which give it indexes that lie; the daemon reads no more than it needs.
///
/// # Errors
/// What is wrong with it.
pub fn read_index<F: MediumFile>(file: F, segment: &SegmentHeader) -> Result<(), String> {
    let opened = Header::of(&file, segment).and_then(|header| Index::open(&header, file));
    opened.and_then(|index| index.read_through()).map_err(|error| error.to_string())
}

impl<F: MediumFile> Index<F> {
    fn read_through(&self) -> Result<(), IndexError> {
        for number in 0..self.ends.blocks.len() {
            if let Some(EndedRow { key, .. }) = self.block::<EndedRow>(&self.ends, number)?.first() {
                self.find(*key)?;
                self.ends_of(key.sequence)?;
            }
        }
        for number in 0..self.events.blocks.len() {
            if let Some(EventRow { sequence, id_hash, .. }) = self.block::<EventRow>(&self.events, number)?.first() {
                self.event(*sequence)?;
                self.events_of(*id_hash)?;
            }
        }
        (0..self.keys.blocks.len()).try_for_each(|number| self.block::<KeyRow>(&self.keys, number).map(drop))?;
        (0..self.ids.blocks.len()).try_for_each(|number| self.block::<IdRow>(&self.ids, number).map(drop))
    }
}

impl TableOf {
    fn parse<R: Row>(fields: &mut Fields<'_>, start: u64, rows: usize) -> Option<Self> {
        let count = rows.div_ceil(R::BLOCK);
        let mut entries = Fields(fields.bytes(count.checked_mul(ENTRY_BYTES)?)?);
        let block = |entries: &mut Fields<'_>| Some(Block { first: entries.u64()?, checksum: entries.u32()?, mask: Mask::get(entries)? });
        let blocks = (0..count).map(|_| block(&mut entries)).collect::<Option<Vec<_>>>()?;
        Some(Self { start, rows, blocks })
    }

    fn end<R: Row>(&self) -> u64 {
        self.start + (self.rows * R::SIZE) as u64
    }
}

fn text<'a>(fields: &mut Fields<'a>) -> Option<&'a str> {
    let length = fields.u16()?;
    std::str::from_utf8(fields.bytes(usize::from(length))?).ok()
}
