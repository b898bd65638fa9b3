//! Verifying: every frame of every segment is read, and the view compared with what the journal says. It never writes to the journal and never mends anything.
//!
//! * **At rest** ([`at_rest`]), with the lock of the data directory held, the journal is folded into a table in memory and compared with the view row by row. That takes memory as for the rows of
//!   the view. What a crash left undone (a torn tail, a view that is behind) is no damage: the next start does it.
//! * **In use** ([`in_use`]) the view moves while it is looked at, so it is not compared row by row: each row is read and its checksum checked, and the count and the digest of the queue that the view keeps
//!   are compared with those of the journal at the very fact up to which the view follows it. Of the journal everything is read that was synced when it began.
//! * Of **a backup** ([`of_backup`]) the checksums are compared and the frames read.
//!
//! Not looked at is what is made again when it is damaged, such as the indexes of the history, and what is no part of the store.
//!
//! Damage is told by file and offset, what is gone by number. Of a frame whose checksum does not fit, the event's id is told when it still stands there; it may be damaged itself.

mod frames;
mod rows;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use self::frames::{Frames, Reading};
use self::rows::{Changes, Digest};
use super::segments::{Segments, Tail};
use super::{OpenError, place_of, write_out};
use crate::model::Sequence;
use crate::model::report::{Tell, VerifyReport};
use crate::store::backup::{BackupError, Checked};
use crate::store::fact::Floor;
use crate::store::journal::JournalId;
use crate::store::journal::medium::{Medium, MediumFile};
use crate::store::journal::reader::JournalReader;
use crate::store::journal::segment::{self, ScannedFrame, SegmentHeader};
use crate::store::view::keys::{self, Meta};
use crate::store::view::{Table, TableError, View};

/// Lists of segments that are begun with before it is given up: each time retention removed one before it was read.
const ATTEMPTS: u32 = 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory can't be read.
    #[error("the journal can't be read: {0}")]
    Disk(#[from] io::Error),
    /// The segments are not those of one journal that this version reads.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backup can't be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// Retention removed segments faster than they could be read.
    #[error("old journal segments went faster than they could be read; try again")]
    TooFast,
    /// The daemon does not say how far its journal is synced.
    #[error("the daemon is ending; verify again when it is down, or up again")]
    Ending,
}

/// The segments whose headers can be read, in order.
struct Found<F> {
    journal: JournalId,
    segments: Vec<(SegmentHeader, Arc<F>)>,
}

/// Opens every segment in the directory.
fn find<M: Medium>(medium: &M, frames: &mut Frames<'_, '_>) -> Result<Found<M::File>, VerifyError> {
    let mut numbers = medium.list()?.iter().filter_map(|name| segment::parse_file_name(name)).collect::<Vec<_>>();
    numbers.sort_unstable();
    let (mut segments, mut journal) = (Vec::with_capacity(numbers.len()), None);
    for number in numbers {
        let name = segment::file_name(number);
        let file = Arc::new(medium.open(&name)?);
        let Some(header) = frames.header(&format!("journal/{name}"), number, file.as_ref()) else { continue };
        if *journal.get_or_insert(header.journal) != header.journal {
            return Err(OpenError::Mixed(name).into());
        }
        segments.push((header, file));
    }
    Ok(Found { journal: journal.unwrap_or(JournalId(0)), segments })
}

/// Verifies a journal that nobody uses, and its view. `table` is `None` where there is no view, and an error where it can't be opened.
///
/// # Errors
/// [`VerifyError`] when the journal can't be looked at at all.
pub fn at_rest<M: Medium, T: Table>(
    medium: Arc<M>,
    table: Result<Option<T>, TableError>,
    tell: &mut Tell<'_>,
) -> Result<VerifyReport, VerifyError> {
    let mut frames = Frames::new(tell);
    let found = find(medium.as_ref(), &mut frames)?;
    let segments = Segments { journal: found.journal, numbers: found.segments.iter().map(|(header, _)| header.number).collect() };
    let table = table.map_err(|error| frames.report.view.push(error.0)).ok().flatten();
    if table.is_none() && frames.report.view.is_empty() {
        frames.report.notes.push("there is no view; the next start makes it from the journal".into());
    }
    let position = table.as_ref().and_then(|table| segments.position_of(table));
    let tail = segments.read_tail(&JournalReader::new(medium), position.as_ref())?;
    frames.report.view.extend(tail.shorter_than(position.as_ref()));
    let first = segments.numbers.first().copied().unwrap_or(0);
    let folded = Arc::new(Changes::default());
    let mut fold = View::new(Arc::clone(&folded), View::<Changes>::beginning(found.journal), first, false);
    let follows = position.map(|meta| (meta, Arc::new(Changes::of_a_view())));
    let mut follower = follows.as_ref().map(|(meta, changes)| View::new(Arc::clone(changes), *meta, meta.floor.segment, true));
    frames.total(&found.segments)?;
    for (header, file) in &found.segments {
        let reading = if header.number == segments.newest_number() { Reading::Kept(&tail) } else { Reading::Whole };
        frames.read(*header, file, reading, &mut |frame| {
            take_in(&mut fold, frame);
            if let Some(view) = follower.as_mut().filter(|view| frame.sequence > view.meta().sequence) {
                take_in(view, frame);
            }
        })?;
    }
    // Also where the journal ends before what its view followed: that was acknowledged.
    let followed = position.map_or(Sequence(0), |meta| meta.sequence);
    frames.end(fold.meta().floor, tail.synced_through.max(followed));
    for view in [Some(&mut fold), follower.as_mut()].into_iter().flatten() {
        write_out(view, &mut |_| {}).map_err(OpenError::View)?;
    }
    note_tail(&tail, &mut frames);
    if let Some(table) = &table {
        match follows {
            _ if !frames.report.missing.is_empty() => {
                frames.report.scope.push("the view was not compared with the journal, of which facts are missing".into());
            }
            Some((_, changes)) => {
                frames
                    .report
                    .scope
                    .push("the view was compared with the journal row by row, but for ids that were forgotten because of their age".into());
                rows::compare(table, &changes, &folded, &mut frames.report.view);
            }
            None if segments.numbers.is_empty() => {}
            None => frames.report.view.push("it does not say how far it follows this journal".into()),
        }
    }
    Ok(frames.finish())
}

/// Folds a frame, and keeps what is in memory small.
fn take_in(view: &mut View<Changes>, frame: &ScannedFrame) {
    view.fold(place_of(frame), &frame.fact);
    if view.lag() >= super::FOLD_MAX {
        // A table in memory does not fail.
        let _ = write_out(view, &mut |_| {});
    }
}

fn note_tail(tail: &Tail, frames: &mut Frames<'_, '_>) {
    if let Some(segment) = tail.torn_segment() {
        let name = segment::file_name(segment);
        frames
            .report
            .notes
            .push(format!("the end of journal/{name} was torn by a crash, and nothing acknowledged was in it; the next start cuts it"));
    }
}

/// Verifies a journal that is being written, and its view, which follows it. `synced_through` says up to which fact the journal is synced, as of the moment at which it is asked.
///
/// # Errors
/// [`VerifyError`] when the journal can't be looked at at all.
pub fn in_use<M: Medium, T: Table>(
    medium: &M,
    table: &T,
    synced_through: &mut dyn FnMut() -> Result<Sequence, VerifyError>,
    tell: &mut Tell<'_>,
) -> Result<VerifyReport, VerifyError> {
    for _ in 0..ATTEMPTS {
        let before = medium.list()?;
        // In this order: what retention removed before the list, the view does not need any more.
        let position =
            table.get(keys::META).and_then(|value| value.map(|value| Meta::from_value(&value).map_err(TableError::from)).transpose());
        let limit = synced_through()?;
        let mut frames = Frames::new(tell);
        let found = match find(medium, &mut frames) {
            Err(VerifyError::Disk(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        let is_there =
            |number: u32| frames.damaged_headers.contains(&number) || found.segments.iter().any(|(header, _)| header.number == number);
        if before.iter().filter_map(|name| segment::parse_file_name(name)).any(|number| !is_there(number)) {
            continue;
        }
        return in_use_up_to(limit, &found, position, table, frames);
    }
    Err(VerifyError::TooFast)
}

fn in_use_up_to<F: MediumFile, T: Table>(
    limit: Sequence,
    found: &Found<F>,
    position: Result<Option<Meta>, TableError>,
    table: &T,
    mut frames: Frames<'_, '_>,
) -> Result<VerifyReport, VerifyError> {
    let first = found.segments.first().map_or(0, |(header, _)| header.number);
    let newest = found.segments.last().map_or(0, |(header, _)| header.number);
    let mut fold = View::new(Arc::new(Digest), View::<Digest>::beginning(found.journal), first, false);
    let follows = position.as_ref().ok().copied().flatten();
    let mut floor = Floor::default();
    frames.total(&found.segments)?;
    for (header, file) in &found.segments {
        let reading = if header.number == newest { Reading::UpTo(limit) } else { Reading::Whole };
        frames.read(*header, file, reading, &mut |frame| {
            if let crate::store::fact::Fact::FloorRaised(raised) = &frame.fact {
                floor = raised.floor;
            }
            if follows.is_some_and(|meta| frame.sequence <= meta.sequence) {
                fold.fold(place_of(frame), &frame.fact);
                if fold.lag() >= super::FOLD_MAX {
                    let _ = write_out(&mut fold, &mut |_| {});
                }
            }
        })?;
    }
    let last = found.segments.last().map_or(Sequence(0), |(header, _)| Sequence(header.first.0.saturating_sub(1)));
    frames.end(floor, limit.max(last));
    match position {
        Err(error) => frames.report.view.push(error.0),
        Ok(None) => frames.report.view.push("it does not say how far it follows the journal".into()),
        Ok(Some(_)) if !frames.report.missing.is_empty() => {
            frames.report.scope.push("the view was not compared with the journal, of which facts are missing".into());
        }
        Ok(Some(meta)) => {
            frames.report.scope.push(format!(
                "the view is in use: the count and the digest of its queue were compared with the journal at fact {}, and each of its rows was read; row by row it is compared when the daemon is down",
                meta.sequence
            ));
            let (ours, theirs) = ((fold.meta().queue_count, fold.meta().queue_digest), (meta.queue_count, meta.queue_digest));
            if ours != theirs {
                let (ours, theirs) = (ours.0, theirs.0);
                frames
                    .report
                    .view
                    .push(format!("it counts {theirs} pending deliveries where the journal says {ours}, or not the same ones"));
            }
        }
    }
    rows::read_all(table, &mut frames.report.view);
    Ok(frames.finish())
}

/// Verifies the backup in `directory`.
///
/// # Errors
/// [`VerifyError`] when there is none, or its manifest can't be read.
pub fn of_backup(directory: &Path, tell: &mut Tell<'_>) -> Result<VerifyReport, VerifyError> {
    let Checked { sequence, journal, segments, bytes, damage } = crate::store::backup::check(directory, tell)?;
    let mut quiet = |_, _| {};
    let mut frames = Frames::new(&mut quiet);
    frames.report.damage = damage;
    let mut floor = Floor::default();
    for (number, path) in &segments {
        let name = path.strip_prefix(directory).unwrap_or(path).display().to_string();
        let Ok(file) = File::open(path) else { continue };
        let file = Arc::new(file);
        let Some(header) = frames.header(&name, *number, file.as_ref()) else { continue };
        if header.journal.0 != journal {
            frames.damage(&name, None, "it belongs to another journal");
            continue;
        }
        frames.read_as(&name, header, &file, Reading::UpTo(Sequence(u64::MAX)), &mut |frame| {
            if let crate::store::fact::Fact::FloorRaised(raised) = &frame.fact {
                floor = raised.floor;
            }
        })?;
    }
    frames.end(floor, Sequence(sequence));
    frames.report.bytes = bytes;
    frames.report.scope.push("every file was compared with the manifest; a backup has no view".into());
    Ok(frames.finish())
}
