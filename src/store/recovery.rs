//! Opening: what the journal holds, where it ends, and a view that follows it. It says exactly what a damaged journal lost, and never makes it worse.
//!
//! 1. The position of the view names one frame. If the journal holds exactly that frame, only what follows it is read; else the view is thrown away
//!    and everything is read.
//! 2. Sequence numbers are consecutive, so a hole is always seen. Every group carries the highest sequence known to be synced when it was begun, and a segment is synced
//!    before the next is begun. A hole at or below the highest such mark is *damage*: what is readable behind it is kept, what is missing
//!    is named. A hole above it is a *torn tail*, never acknowledged, normal after a crash: the journal is cut at the first one, and before a batch that is not whole.
//! 3. What is kept of the newest segment is copied into a fresh file and synced before anything is applied or answered: after a failed sync the
//!    cache of the old file can't be trusted. Number and offsets stay, so every locator stays true.
//! 4. The view catches up, the queue is read whole and compared with the count and the digest that the view keeps of it. If they do not agree, the view is rebuilt, once.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::fact::{Fact, WebhookState};
use super::history::History;
use super::journal::medium::Medium;
use super::journal::reader::{JournalReader, ReadError};
use super::journal::segment::{self, FRAMES_START, JournalId, Scanned, ScannedFrame, SegmentHeader, SegmentScan};
use super::journal::{Appended, JournalError, JournalOptions, JournalWriter, remove_leftovers};
use super::view::keys::{self, Meta, QueueRow};
use super::view::{Table, TableError, View, Visit};
use crate::limits;
use crate::model::{DeliveryKey, Locator, Sequence, WebhookNumber};
use crate::time::UnixMillis;

/// Facts folded into memory before they are written to the view, while it is rebuilt.
const FOLD_MAX: usize = 500_000;

/// A delivery that is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRow {
    /// Which.
    pub key: DeliveryKey,
    /// When its next attempt is due.
    pub due: UnixMillis,
    /// Everything else.
    pub row: QueueRow,
}

/// A store that was opened.
pub struct Recovered<M: Medium, T: Table> {
    /// The writing end, at a new segment.
    pub journal: JournalWriter<M>,
    /// The view, up to date.
    pub view: View<T>,
    /// What ended in the newest segments.
    pub history: History,
    /// Every webhook that ever got a number.
    pub webhooks: BTreeMap<WebhookNumber, WebhookState>,
    /// What was found wrong, in words.
    pub warnings: Vec<String>,
    /// Whether the view had to be rebuilt.
    pub rebuilt: bool,
}

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("the journal can't be read: {0}")]
    Disk(#[from] io::Error),
    /// A fact can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The new segment can't be made.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The view failed even when made anew.
    #[error(transparent)]
    View(#[from] TableError),
    /// A segment's header is damaged in both copies.
    #[error(
        "journal segment {0} is not readable: both copies of its header are damaged. Restore it from a backup, or move the file away to go on without its facts"
    )]
    Header(String),
    /// Segments of two journals lie in one directory.
    #[error("journal segment {0} belongs to another journal; move it away")]
    Mixed(String),
}

/// What the caller wants of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The table as it was left; made when there is none.
    Existing,
    /// An empty one, whatever was there.
    Fresh,
}

/// Opens a store.
///
/// `open_table` gives the view's table; `progress` is called now and then with a sentence, so that whoever waits knows that work goes on.
///
/// # Errors
/// [`OpenError`].
pub fn open<M: Medium, T: Table>(
    medium: Arc<M>,
    options: JournalOptions,
    mut open_table: impl FnMut(Opening) -> Result<T, TableError>,
    progress: &mut dyn FnMut(String),
) -> Result<Recovered<M, T>, OpenError> {
    let mut warnings = Vec::new();
    let segments = Segments::list(medium.as_ref(), &mut warnings)?;
    let existing = match open_table(Opening::Existing) {
        Ok(table) => Some(Arc::new(table)),
        Err(error) => {
            warnings.push(error.to_string());
            None
        }
    };
    let tail = segments.read_tail(&JournalReader::new(Arc::clone(&medium)))?;
    let segments = segments.settle_tail(medium.as_ref(), &tail, &mut warnings)?;
    let reader = JournalReader::new(Arc::clone(&medium));
    let mut newest = None;
    if let Some(table) = existing {
        match follow(table, &segments, &tail, &reader, &mut warnings, progress) {
            Ok(followed) => newest = Some((followed, false)),
            Err(Unfit::Table(why)) => warnings.push(format!("the view is rebuilt from the journal: {why}")),
            Err(Unfit::Open(error)) => return Err(error),
        }
    }
    let (view, rebuilt) = match newest {
        Some(newest) => newest,
        None => {
            let table = Arc::new(open_table(Opening::Fresh)?);
            (rebuild(table, &segments, &tail, &reader, &mut warnings, progress)?, true)
        }
    };
    let history = History::default();
    segments.note_recent(&tail, &reader, &history)?;
    let webhooks = webhooks_of(view.table().as_ref())?;
    let number = segments.newest_number() + 1;
    let journal = JournalWriter::begin(medium, options, segments.journal, number, view.meta().sequence)?;
    Ok(Recovered { journal, view, history, webhooks, warnings, rebuilt })
}

/// Visits the whole queue in the order of the next attempt. The view is up to date.
///
/// # Errors
/// [`TableError`] when a row is damaged or the table fails.
pub fn read_queue(table: &impl Table, mut visit: impl FnMut(PendingRow)) -> Result<(), TableError> {
    let mut bad = Ok(());
    let (from, to) = keys::queue_range();
    let each: &mut Visit<'_> =
        &mut |key, value| match keys::parse_queue_key(key).and_then(|parsed| Ok((parsed, QueueRow::from_value(key, value)?))) {
            Ok(((due, key), row)) => {
                visit(PendingRow { key, due, row });
                ControlFlow::Continue(())
            }
            Err(error) => {
                bad = Err(error);
                ControlFlow::Break(())
            }
        };
    table.scan(&from, &to, each)?;
    Ok(bad?)
}

/// Why a view is not used.
enum Unfit {
    Table(String),
    Open(OpenError),
}

impl From<TableError> for Unfit {
    fn from(error: TableError) -> Self {
        Self::Table(error.0)
    }
}

impl From<OpenError> for Unfit {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// Lets an existing view catch up.
fn follow<M: Medium, T: Table>(
    table: Arc<T>,
    segments: &Segments,
    tail: &Tail,
    reader: &JournalReader<M>,
    warnings: &mut Vec<String>,
    progress: &mut dyn FnMut(String),
) -> Result<View<T>, Unfit> {
    let meta = match table.get(keys::META)? {
        Some(value) => Meta::from_value(&value).map_err(TableError::from)?,
        None if segments.numbers.is_empty() => View::<T>::beginning(segments.journal),
        None => return Err(Unfit::Table("it says of no journal how far it follows it".into())),
    };
    segments.check_position(&meta, tail, reader)?;
    let mut view = View::new(table, meta, true);
    catch_up(&mut view, segments, tail, reader, warnings, progress)?;
    check_queue(&view)?;
    webhooks_of(view.table().as_ref())?;
    Ok(view)
}

/// Folds the whole journal into an empty view.
fn rebuild<M: Medium, T: Table>(
    table: Arc<T>,
    segments: &Segments,
    tail: &Tail,
    reader: &JournalReader<M>,
    warnings: &mut Vec<String>,
    progress: &mut dyn FnMut(String),
) -> Result<View<T>, OpenError> {
    let mut view = View::new(table, View::<T>::beginning(segments.journal), false);
    catch_up(&mut view, segments, tail, reader, warnings, progress)?;
    match check_queue(&view) {
        Ok(()) => Ok(view),
        Err(Unfit::Open(error)) => Err(error),
        Err(Unfit::Table(why)) => Err(OpenError::View(TableError(why))),
    }
}

/// Folds everything behind the view's position and writes it.
fn catch_up<M: Medium, T: Table>(
    view: &mut View<T>,
    segments: &Segments,
    tail: &Tail,
    reader: &JournalReader<M>,
    warnings: &mut Vec<String>,
    progress: &mut dyn FnMut(String),
) -> Result<(), OpenError> {
    let position = *view.meta();
    let mut has_lost = false;
    let mut expected = position.sequence.next();
    for number in segments.numbers.iter().copied().filter(|number| *number >= position.locator.segment) {
        progress(format!("reading journal segment {number} of {}", segments.newest_number()));
        let mut scan = reader.scan(number)?.ok_or_else(|| OpenError::Header(segment::file_name(number)))?;
        while let Some(scanned) = scan.step()? {
            let frame = match scanned {
                Scanned::Damage { .. } => continue,
                Scanned::Frame(frame) if frame.sequence < expected => continue,
                Scanned::Frame(frame) => frame,
            };
            if tail.is_beyond(frame.locator) {
                break;
            }
            if frame.sequence > expected {
                warnings.push(lost(expected, frame.sequence));
                has_lost = true;
            }
            expected = frame.sequence.next();
            view.fold(place_of(&frame), &frame.fact);
            if view.lag() >= FOLD_MAX {
                write_out(view, progress)?;
            }
        }
    }
    write_out(view, progress)?;
    view.caught_up();
    if has_lost {
        repair_queue(view)?;
    }
    Ok(())
}

/// After facts were lost, others name deliveries that nobody knows, or leave a delivery in the queue twice. What is there is kept, the younger of two,
/// and the count and the digest are made to fit.
fn repair_queue<T: Table>(view: &mut View<T>) -> Result<(), TableError> {
    let mut newest: BTreeMap<DeliveryKey, UnixMillis> = BTreeMap::new();
    let mut stale = Vec::new();
    read_queue(view.table().as_ref(), |pending| {
        if let Some(older) = newest.insert(pending.key, pending.due) {
            stale.push((keys::queue_key(older, pending.key), None));
        }
    })?;
    let digest = newest.iter().fold(0_u64, |digest, (key, due)| digest.wrapping_add(keys::queue_digest(*due, *key)));
    view.repair(stale, newest.len() as u64, digest)
}

fn write_out<T: Table>(view: &mut View<T>, progress: &mut dyn FnMut(String)) -> Result<(), TableError> {
    let facts = view.lag();
    if facts > 0 {
        progress(format!("writing {facts} facts to the view"));
    }
    loop {
        view.close_window();
        if !view.apply_step()? {
            return Ok(());
        }
    }
}

/// Compares the queue with its count and digest.
fn check_queue<T: Table>(view: &View<T>) -> Result<(), Unfit> {
    let (mut count, mut digest) = (0_u64, 0_u64);
    read_queue(view.table().as_ref(), |pending| {
        count += 1;
        digest = digest.wrapping_add(keys::queue_digest(pending.due, pending.key));
    })?;
    let meta = view.meta();
    if (count, digest) != (meta.queue_count, meta.queue_digest) {
        return Err(Unfit::Table(format!(
            "its queue holds {count} deliveries, the journal says {}, or not the same ones",
            meta.queue_count
        )));
    }
    Ok(())
}

fn webhooks_of<T: Table>(table: &T) -> Result<BTreeMap<WebhookNumber, WebhookState>, TableError> {
    let mut webhooks = BTreeMap::new();
    let mut bad = Ok(());
    let (from, to) = keys::webhook_range();
    table.scan(&from, &to, &mut |key, value| {
        let record = keys::unseal(key, value).map_err(TableError::from);
        match record.and_then(|record| super::journal::frame::decode_fact(record).map_err(|error| TableError(error.to_string()))) {
            Ok(Fact::Webhook(state)) => drop(webhooks.insert(state.number, state)),
            Ok(_) => bad = Err(TableError("a webhook's row holds another fact".into())),
            Err(error) => bad = Err(error),
        }
        if bad.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    bad.map(|()| webhooks)
}

fn place_of(frame: &ScannedFrame) -> Appended {
    Appended { sequence: frame.sequence, locator: frame.locator, checksum: frame.checksum }
}

fn lost(from: Sequence, to: Sequence) -> String {
    format!("the journal is damaged: facts {from} to {} are gone; everything else was kept", to.0 - 1)
}

/// The segments of a journal.
struct Segments {
    journal: JournalId,
    numbers: Vec<u32>,
}

/// Where the newest segment ends.
#[derive(Debug)]
struct Tail {
    /// The segment; 0 when there is none.
    segment: u32,
    /// The first byte behind what is kept.
    end: u64,
    /// Bytes behind that were not zeros: a torn tail.
    cut: bool,
    /// The last sequence that is kept in it, if any is.
    last: Option<Sequence>,
}

impl Tail {
    fn is_beyond(&self, locator: Locator) -> bool {
        locator.segment == self.segment && u64::from(locator.offset) >= self.end
    }
}

impl Segments {
    fn list<M: Medium>(medium: &M, warnings: &mut Vec<String>) -> Result<Self, OpenError> {
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
                // A header is durable before its segment has its name, so this disk lied; without frames nothing is lost by it.
                if newest == Some(number) && !has_frames::<M>(file, number)? {
                    warnings.push(format!("{name} was begun and never used; it is removed"));
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

    fn newest_number(&self) -> u32 {
        self.numbers.last().copied().unwrap_or(0)
    }

    /// Finds the end of the newest segment: everything up to the first hole above the highest synced mark, and no half batch.
    fn read_tail<M: Medium>(&self, reader: &JournalReader<M>) -> Result<Tail, OpenError> {
        let number = self.newest_number();
        let mut tail = Tail { segment: number, end: FRAMES_START, cut: false, last: None };
        let Some(first) = reader.first_of(number)? else { return Ok(tail) };
        // What lies before this segment was synced before it was begun.
        let mut mark = Sequence(first.0 - 1);
        let mut scan = reader.scan(number)?.ok_or_else(|| OpenError::Header(segment::file_name(number)))?;
        while let Some(scanned) = scan.step()? {
            if let Scanned::Frame(frame) = scanned {
                mark = mark.max(frame.synced_through.unwrap_or_default());
            }
        }
        let mut scan = reader.scan(number)?.ok_or_else(|| OpenError::Header(segment::file_name(number)))?;
        let mut expected = first;
        while let Some(scanned) = scan.step()? {
            let frame = match scanned {
                Scanned::Frame(frame) => frame,
                Scanned::Damage { .. } => {
                    tail.cut = true;
                    continue;
                }
            };
            if frame.sequence < expected || (frame.sequence > expected && frame.sequence > mark.next()) {
                tail.cut = true;
                break;
            }
            expected = frame.sequence.next();
            if !frame.batch_continues {
                (tail.end, tail.last, tail.cut) = (frame.end, Some(frame.sequence), false);
            } else if frame.sequence <= mark {
                (tail.end, tail.last) = (frame.end, Some(frame.sequence));
            } else {
                tail.cut = true;
            }
        }
        Ok(tail)
    }

    /// Whether the journal holds exactly the frame that the view names as its position.
    fn check_position<M: Medium>(&self, meta: &Meta, tail: &Tail, reader: &JournalReader<M>) -> Result<(), Unfit> {
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

    /// Notes what ended in the two newest segments, so that lists have something to show after a restart.
    fn note_recent<M: Medium>(&self, tail: &Tail, reader: &JournalReader<M>, history: &History) -> Result<(), OpenError> {
        for number in self.numbers.iter().rev().take(2).rev() {
            let Some(mut scan) = reader.scan(*number)? else { continue };
            while let Some(scanned) = scan.step()? {
                if let Scanned::Frame(frame) = scanned
                    && !tail.is_beyond(frame.locator)
                {
                    history.note(place_of(&frame), &frame.fact);
                }
            }
        }
        Ok(())
    }

    /// Makes what is kept of the newest segment durable beyond doubt, and cuts off the rest. A segment in which nothing is kept is removed,
    /// unless it is the only one and so the only one that knows the journal's id.
    fn settle_tail<M: Medium>(mut self, medium: &M, tail: &Tail, warnings: &mut Vec<String>) -> Result<Self, OpenError> {
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

/// Whether anything but zeros lies where a segment's frames would.
fn has_frames<M: Medium>(file: M::File, number: u32) -> io::Result<bool> {
    let header = SegmentHeader { number, journal: JournalId(0), first: Sequence(0), salt: 0 };
    Ok(SegmentScan::new(Arc::new(file), header, FRAMES_START).step()?.is_some())
}

const _: () = assert!(FOLD_MAX > limits::VIEW_LAG_MAX);
