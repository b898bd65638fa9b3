//! Opening: what the journal holds, where it ends, and a view that follows it. It says exactly what a damaged journal lost, and never makes it worse.
//!
//! 1. The position of the view names one frame, and another where a window was written in part. If the journal holds exactly these frames, only what follows the first is read;
//!    else the view is thrown away and everything is read.
//! 2. Sequence numbers are consecutive, so a hole is always seen. Every group carries the highest sequence known to be synced when it was begun, and a segment is synced
//!    before the next is begun. A hole at or below the highest such mark is *damage*: what is readable behind it is kept, what is missing
//!    is named, and its numbers are never given again. A hole above it is a *torn tail*, never acknowledged, normal after a crash: the journal is cut at the first one, and before a batch that is not whole.
//! 3. What is kept of the newest segment is copied into a fresh file and synced before anything is applied or answered: after a failed sync the
//!    cache of the old file can't be trusted. Number and offsets stay, so every locator stays true.
//! 4. Retention lets the oldest segments go and raises a floor. What is missing below it is not damage; what still lies below it is removed. A view that was left
//!    before it heard of the floor, and needs what went, is thrown away.
//! 5. The view catches up, the queue is read whole and compared with the count and the digest that the view keeps of it. If they do not agree, the view is rebuilt, once.

mod segments;
pub mod verify;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use self::segments::{Segments, Tail, refuse};
use super::fact::{Fact, WebhookState};
use super::history::{FollowPlace, History};
use super::journal::medium::Medium;
use super::journal::reader::{JournalReader, ReadError};
use super::journal::segment::{self, Scanned, ScannedFrame};
use super::journal::{Appended, JournalError, JournalOptions, JournalWriter};
use super::setting::{self, Setting};
use super::view::keys::{self, Meta, QueueRow};
use super::view::{Table, TableError, View, Visit};
use crate::limits;
use crate::model::{DeliveryKey, Sequence, WebhookNumber};
use crate::time::UnixMillis;

/// Facts folded into memory before they are written to the view, while it is rebuilt.
const FOLD_MAX: usize = 500_000;
/// Progress is told after so many batches of rows: soon enough even on a disk that takes milliseconds for each.
const PROGRESS_BATCHES: usize = 4096;
/// Events that are named in one sentence about facts that are gone.
const LOST_EVENTS_TOLD_MAX: usize = 20;

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
    /// What ended.
    pub history: History<M>,
    /// Every webhook that ever got a number.
    pub webhooks: BTreeMap<WebhookNumber, WebhookState>,
    /// Everything that operators have set.
    pub settings: Vec<Setting>,
    /// What was found wrong, in words.
    pub warnings: Vec<String>,
    /// Whether the view had to be rebuilt.
    pub rebuilt: bool,
}

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error(
        "the journal can't be read: {0}. Nothing acknowledged was touched; try again, and if the disk is failing put a copy of the file in its place"
    )]
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
    /// A newer version wrote it.
    #[error("journal segment {0} was written by a newer hookwheel, and nothing was changed; run that version")]
    Newer(String),
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
    let position = existing.as_ref().and_then(|table| segments.position_of(table.as_ref()));
    let tail = segments.read_tail(&JournalReader::new(Arc::clone(&medium)), position.as_ref())?;
    warnings.extend(tail.shorter_than(position.as_ref()));
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
    let floor = view.meta().floor;
    let segments = segments.remove_below(floor, view.table().as_ref(), medium.as_ref(), &mut warnings);
    let (sequence, locator) = (view.meta().sequence, view.meta().locator);
    let history = History::open(Arc::clone(&medium), reader.clone(), &segments.numbers, FollowPlace { sequence, locator })?;
    segments.note_unindexed(&tail, &reader, &history)?;
    let webhooks = webhooks_of(view.table().as_ref())?;
    let settings = settings_of(view.table().as_ref())?;
    let number = segments.newest_number() + 1;
    let journal = JournalWriter::begin(medium, options, segments.journal, number, view.meta().sequence.max(tail.synced_through))?;
    Ok(Recovered { journal, view, history, webhooks, settings, warnings, rebuilt })
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
        match error {
            // A view can be damaged where only a write comes to look.
            OpenError::View(TableError(why)) => Self::Table(why),
            error => Self::Open(error),
        }
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
        None if segments.are_unused(tail) => View::<T>::beginning(segments.journal),
        None => return Err(Unfit::Table("it holds nothing, or another version of hookwheel laid it out".into())),
    };
    segments.check_position(&meta, tail, reader)?;
    if let Some(ahead) = table.get(keys::AHEAD)? {
        let ahead = Meta::from_value_under(keys::AHEAD, &ahead).map_err(TableError::from)?;
        segments.check_position(&ahead, tail, reader)?;
    }
    let mut view = View::new(table, meta, meta.floor.segment, true);
    catch_up(&mut view, segments, tail, reader, warnings, progress)?;
    if let Some(number) = segments.missing(meta.floor.segment, view.meta().floor.segment).first() {
        // What was carried out of it comes behind the view's position, so the view can't tell what of it had ended.
        return Err(Unfit::Table(format!("it still needs journal segment {number}, which went")));
    }
    for number in segments.missing(view.meta().floor.segment, segments.newest_number()) {
        warnings.push(format!("the journal is damaged: {} is missing; everything else was kept", segment::file_name(number)));
    }
    check_queue(&view)?;
    webhooks_of(view.table().as_ref())?;
    settings_of(view.table().as_ref())?;
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
    let mut view = View::new(table, View::<T>::beginning(segments.journal), segments.numbers.first().copied().unwrap_or(0), false);
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
    let mut holes = Vec::new();
    let mut remains = BTreeMap::new();
    let mut expected = position.sequence.next();
    // What lies before the first segment that there is was never folded, and leaves no trace in the queue.
    let first = segments.numbers.iter().find(|number| **number >= position.locator.segment);
    let begins = first.map(|number| reader.first_of(*number)).transpose()?.flatten().filter(|begins| *begins > expected);
    if let Some(begins) = begins {
        holes.push((expected, begins));
        expected = begins;
    }
    for number in segments.numbers.iter().copied().filter(|number| *number >= position.locator.segment) {
        progress(format!("reading journal segment {number} of {}", segments.newest_number()));
        let mut scan = reader.scan(number)?.ok_or_else(|| OpenError::Header(segment::file_name(number)))?;
        while let Some(scanned) = scan.step()? {
            let frame = match scanned {
                Scanned::Damage { offset, skipped, error } => {
                    refuse(number, offset, &error)?;
                    remains.extend(scan.remains(offset, skipped));
                    continue;
                }
                Scanned::Frame(frame) if frame.sequence < expected => continue,
                Scanned::Frame(frame) => frame,
            };
            if tail.is_beyond(frame.locator) {
                break;
            }
            if frame.sequence > expected {
                holes.push((expected, frame.sequence));
            }
            expected = frame.sequence.next();
            view.fold(place_of(&frame), &frame.fact);
            if view.lag() >= FOLD_MAX {
                write_out(view, progress)?;
            }
        }
    }
    if expected <= tail.synced_through {
        holes.push((expected, tail.synced_through.next()));
    }
    write_out(view, progress)?;
    view.caught_up();
    // A hole below the floor is nobody's loss, but where its segment is still there the queue was folded over it all the same.
    let is_folded_over_a_hole = holes.len() > usize::from(begins.is_some());
    // What is missing below the floor went because nobody needed it.
    let needed = view.meta().floor.sequence;
    let lost = holes.into_iter().map(|(from, to)| (needed.max(from), to)).filter(|(from, to)| from < to).collect::<Vec<_>>();
    warnings.extend(lost.iter().map(|(from, to)| lost_facts(*from, *to, &remains)));
    if is_folded_over_a_hole || !lost.is_empty() { Ok(repair_queue(view)?) } else { Ok(()) }
}

/// After facts were lost, others name deliveries that nobody knows, or leave a delivery in the queue twice, or one that had ended. What is there is kept, the younger of two, and
/// nothing whose event lies below the floor, for nothing there was pending; the count and the digest are made to fit.
fn repair_queue<T: Table>(view: &mut View<T>) -> Result<(), TableError> {
    let mut newest: BTreeMap<DeliveryKey, UnixMillis> = BTreeMap::new();
    let mut stale = Vec::new();
    let floor = view.meta().floor.segment;
    read_queue(view.table().as_ref(), |pending| {
        if pending.row.body.segment < floor {
            stale.push((keys::queue_key(pending.due, pending.key), None));
        } else if let Some(older) = newest.insert(pending.key, pending.due) {
            stale.push((keys::queue_key(older, pending.key), None));
        }
    })?;
    let digest = newest.iter().fold(0_u64, |digest, (key, due)| digest.wrapping_add(keys::queue_digest(*due, *key)));
    view.repair(stale, newest.len() as u64, digest)
}

fn write_out<T: Table>(view: &mut View<T>, progress: &mut dyn FnMut(String)) -> Result<(), TableError> {
    let facts = view.lag();
    for batches in 0_usize.. {
        if facts > 0 && batches.is_multiple_of(PROGRESS_BATCHES) {
            progress(format!("writing {facts} facts to the view: {} rows so far", batches * View::<T>::STEP_ROWS));
        }
        view.close_window();
        if !view.apply_step()? {
            break;
        }
    }
    Ok(())
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
    read_records(table, keys::webhook_range(), |fact| match fact {
        Fact::Webhook(state) => {
            webhooks.insert(state.number, state);
            Ok(())
        }
        _ => Err(TableError("a webhook's row holds another fact".into())),
    })?;
    Ok(webhooks)
}

fn settings_of<T: Table>(table: &T) -> Result<Vec<Setting>, TableError> {
    let mut settings = Vec::new();
    read_records(table, setting::range(), |fact| match fact {
        Fact::Setting(setting) => {
            settings.push(setting);
            Ok(())
        }
        _ => Err(TableError("a setting's row holds another fact".into())),
    })?;
    Ok(settings)
}

/// Reads the rows that hold a record as in the journal.
fn read_records<T: Table>(
    table: &T,
    (from, to): (Vec<u8>, Vec<u8>),
    mut take: impl FnMut(Fact) -> Result<(), TableError>,
) -> Result<(), TableError> {
    let mut read = Ok(());
    table.scan(&from, &to, &mut |key, value| {
        let record = keys::unseal(key, value).map_err(TableError::from);
        let fact = record.and_then(|record| super::journal::frame::decode_fact(record).map_err(|error| TableError(error.to_string())));
        read = fact.and_then(&mut take);
        if read.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    read
}

fn place_of(frame: &ScannedFrame) -> Appended {
    Appended { sequence: frame.sequence, locator: frame.locator, checksum: frame.checksum }
}

/// `remains` is what can still be read of damaged frames, be it right or not.
fn lost_facts(from: Sequence, to: Sequence, remains: &BTreeMap<Sequence, Fact>) -> String {
    let event = |fact: &Fact| if let Fact::Accepted(event) = fact { Some(format!("{} of {}", event.id, event.project)) } else { None };
    let events = remains.range(from..to).filter_map(|(_, fact)| event(fact)).take(LOST_EVENTS_TOLD_MAX).collect::<Vec<_>>().join(", ");
    let events = if events.is_empty() { events } else { format!(" (as far as can still be read: {events})") };
    format!("the journal is damaged: facts {from} to {} are gone{events}; everything else was kept", to.0 - 1)
}

const _: () = assert!(FOLD_MAX > limits::VIEW_LAG_MAX);

#[cfg(test)]
mod tests;
