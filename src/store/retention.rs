//! Retention: the oldest segments go when they are old, or when the journal is large, and whatever in them still matters is carried first. It never drops pending work.
//!
//! **The law: the fold of the segments that are kept is the fold of all segments, without the deliveries that ended.** So a view rebuilt after any number of dropped segments
//! is the view there was.
//!
//! # The order of things
//! 1. **Carry.** The segments that are to go are read through. The engine says which of their deliveries are pending, the view where they stand; these are written down again at the
//!    end of the journal ([`Carry`]): the event with its body, due time, round and attempts of each delivery. So are the ids that are still recognized, and the
//!    webhooks. What changed between the look and the writing is left out there and found by the next pass. Passes end when one finds nothing that is pending and
//!    lies here: no delivery ever comes to lie here again, so this stays true.
//! 2. **Sync, apply.** Each order is answered when it is durable.
//! 3. **Record the floor.** A fact says that nothing below a certain segment is needed. It goes the way of all orders, so the records of the deliveries that
//!    ended meanwhile are durable before it. Then the view applies it and is made durable: a view that still needed the old segments would have to be rebuilt.
//! 4. **Let go.** Lists forget what lies there, and attempts that were told a place there end.
//! 5. **Unlink**, the oldest first, each made durable before the next, so that no hole can come to be below the floor.
//!
//! A crash at any step is safe. Before 3, what was carried is carried once more than needed, and the fold is the same. After 3, recovery removes what lies below the floor.
//!
//! # Why nobody finds a body gone
//! The engine hears of a carried delivery's new place on its own thread once that is durable; every attempt that it orders from then on is told the new place. Those that were in
//! flight are marked and counted ([`Engine::in_flight_elsewhere`](crate::engine::Engine::in_flight_elsewhere)), and the unlinking waits until the last of them has ended. A deadline ends each.
//! Lists read what they were told a moment ago by the view; what is gone then was carried or ended, and they pass over it or look again.
//!
//! # When a segment goes
//! * By age: its newest fact is older than `keep`; one such segment a minute.
//! * By size: while the sealed segments are larger than what `max_size` leaves beside the segment that is written and those that are prepared, and also **larger than twice what
//!   was carried and is still pending**. Were it not for the second, a journal of pending work alone would be carried round and round and never get smaller. With it at least half of
//!   what goes is free space on the whole: each byte that is carried pays for another one that is not. So pending work may take the
//!   journal beyond `max_size`, to twice its own size. After a start nothing is known of what was carried before, so pending work may be carried round once.
//!
//! The segment that is being written never goes. A segment that is damaged stays as long as deliveries are pending whose event can't be read.

mod policy;
mod slice;

use std::sync::Arc;

pub use self::policy::{Because, RetentionSettings};
use self::policy::{Ledger, Sealed};
use self::slice::Slice;
use super::carry::{Carry, Load};
use super::fact::Floor;
use super::journal::frame::FrameError;
use super::journal::medium::{Medium, MediumFile};
use super::journal::reader::{JournalReader, ReadError};
use super::journal::segment::{self, Scanned, SegmentScan};
use super::recovery;
use super::view::keys::{self, Meta};
use super::view::{Table, TableError};
use crate::limits;
use crate::model::DeliveryKey;
use crate::time::UnixMillis;

/// What retention wants done next; the answer is given to the next [`Retention::step`].
#[derive(Debug)]
pub enum Request {
    /// Come back after so long, with [`Reply::Done`].
    Rest {
        /// Milliseconds.
        ms: u64,
    },
    /// Ask the engine which of these are pending: [`Reply::Pending`].
    FindPending(Vec<DeliveryKey>),
    /// Order this of the writer, tell the engine what moved, and then say [`Reply::Carried`].
    Carry(Vec<Carry>),
    /// Wait until the table has everything ordered before: [`Reply::Done`].
    Barrier,
    /// Have lists forget what lies in the segments before this one, wait until no attempt is under way whose event lay there: [`Reply::Done`].
    LetGo {
        /// The first segment that stays.
        before: u32,
    },
    /// Segments are gone; close their files and say so. [`Reply::Done`].
    Dropped(Dropped),
}

/// The answer to a [`Request`].
#[derive(Debug)]
pub enum Reply {
    /// It is done.
    Done,
    /// These of the deliveries asked about are pending, each with its due time.
    Pending(Vec<(DeliveryKey, UnixMillis)>),
    /// What carrying took.
    Carried(Load),
}

/// What became of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The segments that are gone.
    pub segments: Vec<u32>,
    /// The first one that is there.
    pub floor: Floor,
    /// Why.
    pub because: Because,
    /// Deliveries that were carried.
    pub deliveries: usize,
    /// Bytes that carrying took.
    pub carried_bytes: u64,
    /// Bytes of the files that are gone.
    pub freed_bytes: u64,
}

/// Why retention can't go on.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// A segment can't be read, listed or removed. Nothing is lost; it is tried again later.
    #[error(
        "retention stopped at {what}: {error}. Nothing is lost by it, the journal only does not get smaller; it is tried again in a minute"
    )]
    Disk {
        /// What was tried.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The directory could not be synced: whether what was removed stays so is not known.
    #[error("removing a journal segment could not be made durable: {0}. What was acknowledged is safe; the next start goes on from it")]
    Directory(std::io::Error),
    /// The view failed.
    #[error(transparent)]
    View(#[from] TableError),
}

impl From<ReadError> for RetentionError {
    fn from(error: ReadError) -> Self {
        Self::Disk { what: "reading".into(), error: std::io::Error::other(error.to_string()) }
    }
}

/// Retention, as a state machine: the daemon drives it on a thread of its own, the simulator step by step. It does nothing between its steps, and each step reads a bounded piece.
pub struct Retention<M: Medium> {
    medium: Arc<M>,
    reader: JournalReader<M>,
    slice_bytes: usize,
    ledger: Ledger,
    state: State<M>,
}

enum State<M: Medium> {
    Resting,
    /// A pass through the segments of a run, at a slice.
    Passing(Run, Pass<M>, Slice),
    /// The engine was asked which deliveries of the slice are pending.
    Asking(Run, Pass<M>, Slice),
    Raising(Run),
    Applying(Run),
    LettingGo(Run),
}

/// Segments on their way out.
struct Run {
    segments: Vec<Sealed>,
    floor: Floor,
    because: Because,
    deliveries: usize,
    carried_bytes: u64,
}

/// A reading of a run's segments from front to back.
struct Pass<M: Medium> {
    /// The segment that is read, by its index in the run.
    index: usize,
    scan: Option<SegmentScan<M::File>>,
    /// Only the first pass carries what is no delivery.
    is_first: bool,
    /// Something is pending here, or was when it was looked at.
    found: bool,
    damaged: bool,
}

impl<M: Medium> Pass<M> {
    fn new(is_first: bool) -> Self {
        Self { index: 0, scan: None, is_first, found: false, damaged: false }
    }
}

impl<M: Medium> Retention<M> {
    /// Retention of the journal on that medium, whose segments have so many bytes.
    #[must_use]
    pub fn new(medium: Arc<M>, segment_size: u64) -> Self {
        let slice_bytes = usize::try_from(segment_size / 16).unwrap_or(usize::MAX).min(limits::CARRY_SLICE_BYTES);
        let reader = JournalReader::new(Arc::clone(&medium));
        Self { medium, reader, slice_bytes, ledger: Ledger::new(segment_size), state: State::Resting }
    }

    /// Takes the answer to the request before ([`Reply::Done`] at first), does a piece of work on the disk, and gives the next request.
    ///
    /// # Errors
    /// [`RetentionError`]; the state machine rests then.
    pub fn step<T: Table>(
        &mut self,
        now: UnixMillis,
        settings: &RetentionSettings,
        table: &T,
        reply: Reply,
    ) -> Result<Request, RetentionError> {
        if let Reply::Carried(load) = &reply {
            self.ledger.carried(*load);
        }
        match (std::mem::replace(&mut self.state, State::Resting), reply) {
            (State::Resting, _) => self.look(now, settings, table),
            (State::Passing(mut run, pass, slice), reply) => {
                run.note(&reply);
                self.pass(run, pass, slice, now, settings, table)
            }
            (State::Asking(run, mut pass, mut slice), Reply::Pending(pending)) => {
                pass.found |= slice.note_pending(&pending, table)?;
                self.pass(run, pass, slice, now, settings, table)
            }
            (State::Asking(..), _) => Ok(Request::Rest { ms: limits::RETENTION_EVERY_MS }),
            (State::Raising(run), _) => {
                self.state = State::Applying(run);
                Ok(Request::Barrier)
            }
            (State::Applying(run), _) => {
                table.checkpoint()?;
                let before = run.floor.segment;
                self.state = State::LettingGo(run);
                Ok(Request::LetGo { before })
            }
            (State::LettingGo(run), _) => self.unlink(run, now),
        }
    }

    /// Whether something is to go now.
    fn look<T: Table>(&mut self, now: UnixMillis, settings: &RetentionSettings, table: &T) -> Result<Request, RetentionError> {
        let rest = Ok(Request::Rest { ms: limits::RETENTION_EVERY_MS });
        let numbers = self.numbers()?;
        let Some((newest, sealed)) = numbers.split_last() else { return rest };
        self.ledger.follow(sealed, &self.reader, self.medium.as_ref())?;
        let pending = table.get(keys::META)?.and_then(|value| Meta::from_value(&value).ok()).map_or(0, |meta| meta.queue_count);
        let Some((count, because)) = self.ledger.how_many(settings, pending, now) else { return rest };
        let segments = self.ledger.oldest(count);
        let first_kept = sealed.get(count).unwrap_or(newest);
        let sequence = self.reader.first_of(*first_kept).map_err(disk("reading the header of", *first_kept))?;
        let Some(sequence) = sequence else { return rest };
        let run = Run { segments, floor: Floor { segment: *first_kept, sequence }, because, deliveries: 0, carried_bytes: 0 };
        self.state = State::Passing(run, Pass::new(true), Slice::default());
        Ok(Request::Barrier)
    }

    /// Goes on with a slice, and then with the next, until there is something to be asked or ordered.
    fn pass<T: Table>(
        &mut self,
        run: Run,
        mut pass: Pass<M>,
        mut slice: Slice,
        now: UnixMillis,
        settings: &RetentionSettings,
        table: &T,
    ) -> Result<Request, RetentionError> {
        loop {
            if let Some(keys) = slice.next_question() {
                self.state = State::Asking(run, pass, slice);
                return Ok(Request::FindPending(keys));
            }
            let carry = slice.next_carry(&self.reader, table, self.slice_bytes)?;
            if !carry.is_empty() {
                self.state = State::Passing(run, pass, slice);
                return Ok(Request::Carry(carry));
            }
            match self.read_slice(&run, &mut pass, now, settings)? {
                Some(next) => slice = next,
                None => return self.passed(run, &pass, table),
            }
        }
    }

    /// A pass has ended.
    fn passed<T: Table>(&mut self, run: Run, pass: &Pass<M>, table: &T) -> Result<Request, RetentionError> {
        if pass.found {
            self.state = State::Passing(run, Pass::new(false), Slice::default());
            return Ok(Request::Barrier);
        }
        if pass.damaged && self.strands_somebody(&run, table)? {
            return Ok(Request::Rest { ms: limits::RETENTION_RETRY_MS });
        }
        let floor = run.floor;
        self.state = State::Raising(run);
        Ok(Request::Carry(vec![Carry::Floor(floor)]))
    }

    /// The next piece of the run; `None` when it was read to its end.
    fn read_slice(
        &self,
        run: &Run,
        pass: &mut Pass<M>,
        now: UnixMillis,
        settings: &RetentionSettings,
    ) -> Result<Option<Slice>, RetentionError> {
        let mut slice = Slice::default();
        slice.ids_since = pass.is_first.then(|| UnixMillis(now.0.saturating_sub(settings.idempotency_window_ms)));
        while let Some(sealed) = run.segments.get(pass.index) {
            if slice.is_full(self.slice_bytes) {
                return Ok(Some(slice));
            }
            let reading = disk("reading", sealed.number);
            let scan = match &mut pass.scan {
                Some(scan) => scan,
                None => {
                    let scan = self.reader.scan(sealed.number).map_err(disk("opening", sealed.number))?;
                    pass.scan.insert(scan.ok_or(std::io::ErrorKind::NotFound.into()).map_err(disk("opening", sealed.number))?)
                }
            };
            match scan.step().map_err(reading)? {
                Some(Scanned::Frame(frame)) => slice.take(*frame),
                // What the disk refuses now may be a fact that still matters, and be given back with the next try.
                Some(Scanned::Damage { error: error @ (FrameError::Unreadable(_) | FrameError::Version(_)), .. }) => {
                    return Err(disk("reading", sealed.number)(std::io::Error::other(error.to_string())));
                }
                Some(Scanned::Damage { .. }) => pass.damaged = true,
                None => (pass.index, pass.scan) = (pass.index + 1, None),
            }
        }
        Ok((!slice.is_empty()).then_some(slice))
    }

    /// Whether deliveries are pending whose event lies in the run and can't be read.
    fn strands_somebody<T: Table>(&self, run: &Run, table: &T) -> Result<bool, RetentionError> {
        let mut stranded = 0_u64;
        recovery::read_queue(table, |pending| stranded += u64::from(pending.row.body.segment < run.floor.segment))?;
        if stranded > 0 {
            let first = run.segments.first().map_or(0, |sealed| sealed.number);
            tracing::warn!(
                segment = first,
                stranded,
                "a damaged journal segment stays: deliveries are pending whose event can't be read from it"
            );
        }
        Ok(stranded > 0)
    }

    fn unlink(&mut self, run: Run, now: UnixMillis) -> Result<Request, RetentionError> {
        let Run { segments, floor, because, deliveries, carried_bytes } = run;
        self.reader.close_before(floor.segment);
        for sealed in &segments {
            self.medium.remove(&segment::file_name(sealed.number)).map_err(disk("removing", sealed.number))?;
            self.medium.sync_directory().map_err(RetentionError::Directory)?;
        }
        self.ledger.dropped(floor.segment, because, now);
        let freed_bytes = segments.iter().map(|sealed| sealed.size).sum();
        let segments = segments.iter().map(|sealed| sealed.number).collect();
        Ok(Request::Dropped(Dropped { segments, floor, because, deliveries, carried_bytes, freed_bytes }))
    }

    fn numbers(&self) -> Result<Vec<u32>, RetentionError> {
        let listing = |error| RetentionError::Disk { what: "listing the segments".into(), error };
        let mut numbers = self.medium.list().map_err(listing)?.iter().filter_map(|name| segment::parse_file_name(name)).collect::<Vec<_>>();
        numbers.sort_unstable();
        Ok(numbers)
    }
}

impl Run {
    fn note(&mut self, reply: &Reply) {
        if let Reply::Carried(load) = reply {
            self.deliveries += load.deliveries;
            self.carried_bytes += load.bytes;
        }
    }
}

fn disk(what: &'static str, number: u32) -> impl Fn(std::io::Error) -> RetentionError {
    move |error| RetentionError::Disk { what: format!("{what} {}", segment::file_name(number)), error }
}

/// The size of a segment's file.
fn size_of<M: Medium>(medium: &M, number: u32) -> Result<u64, RetentionError> {
    let file = medium.open(&segment::file_name(number)).map_err(disk("opening", number))?;
    file.size().map_err(disk("measuring", number))
}

#[cfg(test)]
mod tests;
