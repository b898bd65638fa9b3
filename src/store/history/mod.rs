//! The history: which deliveries ended, and which events were accepted, for as long as the journal has them. It never answers what is pending, and never changes a fact.
//!
//! A delivery's attempts are a chain in the journal, each pointing back to the one before; what is kept here is where the last one lies, and what lists are narrowed by.
//!
//! * Of the segment that is being written, and of those before it that have no index yet, the rows are in memory (`gathered`).
//! * Beside each sealed segment lies one immutable index (`index` has the byte tables), made by [`History::work`] on whichever thread calls it, never the writer's. Until it is there
//!   the rows stay in memory. It is derived: one that is missing or damaged is made again from its segment, with a line in the log.
//! * Opening reads the header of each index and nothing more. Only the newest segment, which had no time to get one, is read.
//! * A list is merged from all of them, the newest first, and reads one block of rows after the other of those that can hold what is wanted (`merge`, `wanted`).
//!
//! # What a question costs
//! The first page without filters reads one block of 128 rows or two. Webhook, project, type, state and time are told by summaries: an index without what is wanted costs a look at its summary,
//! which stays in memory ([`limits::HISTORY_INDEXES_OPEN_MAX`]), and a block without it nothing. One delivery by its key, one event by its number or its id: two or three blocks in each index that may have it.
//! Only combinations that occur nowhere, although each part occurs everywhere, are looked for in every row.
//!
//! # What it takes
//! In memory: 100 bytes or so for each delivery and event of the segment that is being written, some 30 MB at most where bodies are small (a bulk cancellation, with 20 bytes a delivery in the journal, is the
//! worst case: 240 MB until its segment is sealed and indexed), and 300 kB for an index that is open. On disk: 74 bytes a delivery and 57 an event.

mod follow;
mod gathered;
mod index;
mod keeper;
mod merge;
mod reopened;
mod row;
mod sources;
mod state;
mod wanted;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

pub use self::follow::{FollowPlace, Followed};
use self::gathered::Gathered;
pub use self::gathered::KnownEvent;
pub use self::index::read_index;
use self::index::{Header, Index, IndexError};
use self::merge::Trouble;
use self::reopened::Reopened;
pub use self::row::EndPlace;
use self::row::{EndedRow, Names};
use self::sources::{Ends, Events, Wanted};
use self::state::{Segment, State, short_hash};
pub use self::wanted::{WantedEnds, WantedEvents};
use super::fact::{Accepted, Fact};
use super::journal::Appended;
use super::journal::medium::Medium;
use super::journal::reader::{JournalReader, ReadError};
use crate::limits;
use crate::model::{DeliveryKey, DeliveryState, EventId, EventTypeName, Locator, Project, Sequence, WebhookNumber};
use crate::time::UnixMillis;

/// A delivery that ended. What is `None` of its event is not known any more, because the event is gone from the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub key: DeliveryKey,
    /// How it ended.
    pub state: DeliveryState,
    /// When.
    pub at: UnixMillis,
    /// Attempts made in its last round; 0 also where that is not known without reading the last attempt.
    pub attempts: u16,
    /// Where its event lies.
    pub body: Option<Locator>,
    /// Where its last attempt lies.
    pub last_attempt: Option<Locator>,
    /// When its event was accepted.
    pub accepted: Option<UnixMillis>,
    /// Its event's type.
    pub event_type: Option<EventTypeName>,
    /// Its event's project.
    pub project: Option<Project>,
}

impl Finished {
    fn of(row: &EndedRow, names: &Names) -> Self {
        Self {
            key: row.key,
            state: row.state,
            at: row.at,
            attempts: row.attempts,
            body: row.body,
            last_attempt: row.last_attempt,
            accepted: (row.accepted > UnixMillis(0)).then_some(row.accepted),
            event_type: names.types.name(row.event_type).cloned(),
            project: names.projects.name(row.project).cloned(),
        }
    }

    /// Where it stands in lists.
    #[must_use]
    pub fn place(&self) -> EndPlace {
        (self.at, self.key)
    }
}

/// The history can't be read now. What it is about is safe in the journal.
#[derive(Debug, thiserror::Error)]
#[error("the history can't be read: {0}; nothing is lost, try again")]
pub struct HistoryError(String);

/// The history of one journal; clones share it.
pub struct History<M: Medium>(Arc<Shared<M>>);

impl<M: Medium> Clone for History<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// A history that somebody else keeps open.
pub struct WeakHistory<M: Medium>(Weak<Shared<M>>);

impl<M: Medium> WeakHistory<M> {
    /// The history, while somebody keeps it.
    #[must_use]
    pub fn upgrade(&self) -> Option<History<M>> {
        self.0.upgrade().map(History)
    }
}

struct Shared<M: Medium> {
    medium: Arc<M>,
    reader: JournalReader<M>,
    state: Mutex<State>,
    opened: Mutex<BTreeMap<u32, Arc<Index<M::File>>>>,
}

impl<M: Medium> History<M> {
    /// This history, without keeping it open.
    #[must_use]
    pub fn downgrade(&self) -> WeakHistory<M> {
        WeakHistory(Arc::downgrade(&self.0))
    }

    /// Takes in what a synced fact ended, or began. Facts come in their order.
    pub fn note(&self, place: Appended, fact: &Fact) {
        self.0.state().note(place, fact);
    }

    /// The first `limit` ends that are wanted, newest first.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk fails.
    pub fn ends(&self, wanted: &WantedEnds, limit: usize) -> Result<Vec<Finished>, HistoryError> {
        self.mended(|| {
            let segments = self.0.segments();
            let reopened = self.0.reopened(&segments)?;
            let wanted = Wanted { ends: wanted, reopened: &reopened };
            let mut sources = Vec::new();
            for segment in segments {
                match segment {
                    Snapshot::Indexed(header) => sources.extend(Ends::sealed(&self.0, header, wanted)),
                    Snapshot::Gathered(Gathered { names, ends, .. }) => {
                        sources.extend(ends.iter().filter_map(|chunk| Ends::chunk(&self.0, &names, chunk, wanted)));
                    }
                }
            }
            let mut found = merge::highest(sources, limit)?;
            found.iter_mut().filter(|one| one.event_type.is_none()).try_for_each(|one| self.0.complete(one))?;
            Ok(found)
        })
    }

    /// The newest end of a delivery; `None` also when it was taken up again and has not ended since.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk fails, or when a segment whose index is still being made may tell of a newer end: whoever takes up an older one again loses what came after.
    pub fn end_of(&self, key: DeliveryKey) -> Result<Option<Finished>, HistoryError> {
        self.mended(|| {
            for (segment, source) in self.0.all_segments().into_iter().rev() {
                let Some(source) = source else {
                    return Err(Trouble { segment, error: IndexError::Disk(io::Error::other("its index is still being made")) });
                };
                let found = match source {
                    Snapshot::Indexed(header) => self.0.end_in_index(&header, key)?,
                    Snapshot::Gathered(gathered) => {
                        let rows = gathered.ends.iter().rev().flat_map(|chunk| chunk.iter().rev());
                        rows.into_iter().find(|row| row.key == key).map(|row| Finished::of(row, &gathered.names))
                    }
                };
                if let Some(mut found) = found {
                    if found.state == DeliveryState::Pending {
                        return Ok(None);
                    }
                    if found.event_type.is_none() {
                        self.0.complete(&mut found)?;
                    }
                    return Ok(Some(found));
                }
            }
            Ok(None)
        })
    }

    /// The first `limit` events that are wanted, the one accepted last first.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk fails.
    pub fn events(&self, wanted: &WantedEvents, limit: usize) -> Result<Vec<KnownEvent>, HistoryError> {
        self.mended(|| {
            // An event may be in several places: where it was accepted, and where it was carried to. It counts once.
            let mut asked = limit;
            loop {
                let mut found = self.highest_events(wanted, asked)?;
                let is_all = found.len() < asked;
                found.dedup_by(|other, kept| {
                    let is_same = other.sequence == kept.sequence;
                    // One of them tells of all its deliveries, the others of those that were pending then.
                    kept.deliveries = if is_same { kept.deliveries.max(other.deliveries) } else { kept.deliveries };
                    is_same
                });
                if is_all || found.len() >= limit {
                    found.truncate(limit);
                    return Ok(found);
                }
                asked = asked.saturating_mul(2);
            }
        })
    }

    /// The first `limit` places of events that are wanted.
    fn highest_events(&self, wanted: &WantedEvents, limit: usize) -> Result<Vec<KnownEvent>, Trouble> {
        let mut sources = Vec::new();
        for segment in self.0.segments() {
            match segment {
                Snapshot::Indexed(header) => sources.extend(Events::sealed(&self.0, header, wanted)),
                Snapshot::Gathered(Gathered { names, events, .. }) => {
                    sources.extend(events.iter().filter_map(|chunk| Events::chunk(&names, chunk, wanted)));
                }
            }
        }
        merge::highest(sources, limit)
    }

    /// The events that may have that id in that project, the newest first: they have the same hash, so whoever reads one compares it.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk fails.
    pub fn events_named(&self, project: &Project, id: &EventId) -> Result<Vec<KnownEvent>, HistoryError> {
        let hash = short_hash(project, id);
        self.mended(|| {
            let mut found = Vec::new();
            for source in self.0.segments().into_iter().rev() {
                match source {
                    Snapshot::Indexed(header) => {
                        let Some(index) = self.0.index(&header)? else { continue };
                        let rows = index.events_of(hash).map_err(|error| Trouble { segment: header.segment, error })?;
                        found.extend(rows.iter().filter_map(|row| gathered::known(row, &index.names)));
                    }
                    Snapshot::Gathered(gathered) => {
                        let rows = gathered.events.iter().flat_map(|chunk| chunk.iter()).filter(|row| row.id_hash == hash);
                        found.extend(rows.filter_map(|row| gathered::known(row, &gathered.names)));
                    }
                }
            }
            found.sort_by_key(|event| std::cmp::Reverse(event.sequence));
            Ok(found)
        })
    }

    /// How the deliveries of an event ended, those that did; `pending` says of one that it ended and was taken up again. `made` is how many it has: when all are found, older segments are not asked.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk fails.
    pub fn ends_of_event(&self, sequence: Sequence, made: usize) -> Result<BTreeMap<WebhookNumber, DeliveryState>, HistoryError> {
        self.mended(|| {
            let mut ends = BTreeMap::new();
            for source in self.0.segments().into_iter().rev() {
                match source {
                    Snapshot::Gathered(gathered) => {
                        let rows = gathered.ends.iter().rev().flat_map(|chunk| chunk.iter().rev());
                        for row in rows.filter(|row| row.key.sequence == sequence) {
                            ends.entry(row.key.webhook).or_insert(row.state);
                        }
                    }
                    Snapshot::Indexed(header) if (header.end_sequences.0..=header.end_sequences.1).contains(&sequence) => {
                        let Some(index) = self.0.index(&header)? else { continue };
                        for (webhook, state) in index.ends_of(sequence).map_err(|error| Trouble { segment: header.segment, error })? {
                            ends.entry(webhook).or_insert(state);
                        }
                    }
                    Snapshot::Indexed(_) => {}
                }
                if ends.len() >= made {
                    break;
                }
            }
            Ok(ends)
        })
    }

    /// What is known of the event of a delivery; `body` is where it lies, if that is known.
    ///
    /// # Errors
    /// [`HistoryError`] when the disk fails.
    pub fn event_of(&self, sequence: Sequence, body: Option<Locator>) -> Result<Option<KnownEvent>, HistoryError> {
        self.mended(|| self.0.event(sequence, body))
    }

    /// Segments of which lists show nothing yet, because their index is missing and being made.
    #[must_use]
    pub fn unindexed(&self) -> usize {
        self.0.state().segments.values().filter(|segment| matches!(segment, Segment::Missing)).count()
    }

    /// Forgets what ended in a segment, and removes its index: the segment is gone, or about to go. A second time does nothing.
    ///
    /// # Errors
    /// Those of the disk; lists show nothing of the segment any more in any case, and the next start tries again.
    pub fn forget_segment(&self, number: u32) -> io::Result<()> {
        self.0.state().segments.remove(&number);
        self.0.opened().remove(&number);
        match self.0.medium.remove(&index::file_name(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets what ended in the segments before `segment`, as [`History::forget_segment`] does.
    ///
    /// # Errors
    /// Those of the disk, the first; the others are forgotten all the same.
    pub fn forget_before(&self, segment: u32) -> io::Result<()> {
        let numbers = self.0.state().segments.range(..segment).map(|(number, _)| *number).collect::<Vec<_>>();
        numbers.into_iter().map(|number| self.forget_segment(number)).fold(Ok(()), io::Result::and)
    }

    /// Tries again after an index was found damaged and made anew. Each is made anew once at most, so this ends.
    fn mended<T>(&self, look: impl Fn() -> Result<T, Trouble>) -> Result<T, HistoryError> {
        let mut mended = Vec::new();
        loop {
            match look() {
                Ok(found) => return Ok(found),
                Err(Trouble { segment, error: IndexError::Damaged(what) }) if !mended.contains(&segment) => {
                    mended.push(segment);
                    self.0.mend(segment, what);
                }
                Err(trouble) => return Err(HistoryError(trouble.to_string())),
            }
        }
    }
}

/// A segment as it was when somebody looked.
enum Snapshot {
    Gathered(Gathered),
    Indexed(Header),
}

impl<M: Medium> Shared<M> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Index<M::File>>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to read, the oldest first. The lock is held only for this, not while it is read: chunks are shared.
    fn segments(&self) -> Vec<Snapshot> {
        self.all_segments().into_iter().filter_map(|(_, segment)| segment).collect()
    }

    /// The same, with those that can't be read before their index is made.
    fn all_segments(&self) -> Vec<(u32, Option<Snapshot>)> {
        let state = self.state();
        let snapshot = |segment: &Segment| match segment {
            Segment::Gathered(gathered) => Some(Snapshot::Gathered(gathered.clone())),
            Segment::Indexed(header) => Some(Snapshot::Indexed(*header)),
            Segment::Missing => None,
        };
        state.segments.iter().map(|(number, segment)| (*number, snapshot(segment))).collect()
    }

    /// Deliveries that were taken up again.
    fn reopened(&self, segments: &[Snapshot]) -> Result<Reopened, Trouble> {
        let mut reopened = Reopened::default();
        for segment in segments {
            match segment {
                Snapshot::Gathered(gathered) => reopened.add(&gathered.reopened),
                Snapshot::Indexed(header) if header.reopened > 0 => {
                    reopened.add(self.index(header)?.as_ref().map_or(&[], |index| &index.reopened));
                }
                Snapshot::Indexed(_) => {}
            }
        }
        Ok(reopened)
    }

    /// The index of a segment, opened; `None` when the segment was forgotten meanwhile.
    fn index(&self, header: &Header) -> Result<Option<Arc<Index<M::File>>>, Trouble> {
        let segment = header.segment;
        if let Some(index) = self.opened().get(&segment) {
            return Ok(Some(Arc::clone(index)));
        }
        let trouble = |error: IndexError| Trouble { segment, error };
        let file = match self.medium.open(&index::file_name(segment)) {
            Ok(file) => file,
            Err(_) if !self.state().segments.contains_key(&segment) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(trouble(IndexError::Damaged("its file is gone"))),
            Err(error) => return Err(trouble(error.into())),
        };
        let index = Arc::new(Index::open(header, file).map_err(trouble)?);
        let mut opened = self.opened();
        if opened.len() >= limits::HISTORY_INDEXES_OPEN_MAX {
            // The oldest is the least likely to be wanted again.
            opened.pop_first();
        }
        opened.insert(segment, Arc::clone(&index));
        Ok(Some(index))
    }

    fn end_in_index(&self, header: &Header, key: DeliveryKey) -> Result<Option<Finished>, Trouble> {
        let (lowest, highest) = header.end_sequences;
        if !(lowest..=highest).contains(&key.sequence) {
            return Ok(None);
        }
        let Some(index) = self.index(header)? else { return Ok(None) };
        let found = index.find(key).map_err(|error| Trouble { segment: header.segment, error })?;
        Ok(found.map(|row| Finished::of(&row, &index.names)))
    }

    /// Looks up what an end does not know of its event.
    fn complete(&self, one: &mut Finished) -> Result<(), Trouble> {
        if let Some(event) = self.event(one.key.sequence, one.body)? {
            (one.event_type, one.project, one.accepted) = (Some(event.event_type), Some(event.project), Some(event.accepted));
            one.body = one.body.or(Some(event.place));
        }
        Ok(())
    }

    /// Where it lies, the event is read; otherwise memory and the indexes are asked.
    fn event(&self, sequence: Sequence, body: Option<Locator>) -> Result<Option<KnownEvent>, Trouble> {
        if let Some(place) = body
            && let Some(event) = self.read_event(sequence, place)?
        {
            return Ok(Some(event));
        }
        for source in self.segments().into_iter().rev() {
            let found = match source {
                Snapshot::Gathered(gathered) => gathered.event(sequence),
                Snapshot::Indexed(header) if (header.event_sequences.0..=header.event_sequences.1).contains(&sequence) => {
                    let Some(index) = self.index(&header)? else { continue };
                    let row = index.event(sequence).map_err(|error| Trouble { segment: header.segment, error })?;
                    row.and_then(|row| gathered::known(&row, &index.names))
                }
                Snapshot::Indexed(_) => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// `None` when it is gone or damaged. What the disk refuses now it may give back with the next try, so that is an error.
    fn read_event(&self, sequence: Sequence, place: Locator) -> Result<Option<KnownEvent>, Trouble> {
        let found = match self.reader.read(place) {
            Ok(found) => found.fact.into_event(found.sequence, sequence),
            Err(ReadError::Io { error, .. }) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Trouble { segment: place.segment, error: error.into() });
            }
            Err(_) => None,
        };
        let Some(accepted) = found else { return Ok(None) };
        let deliveries = u32::try_from(accepted.deliveries.len() + accepted.overflowed.len()).unwrap_or(u32::MAX);
        let Accepted { event_type, project, accepted, .. } = accepted;
        Ok(Some(KnownEvent { sequence, event_type, project, accepted, place, deliveries }))
    }
}

#[cfg(test)]
mod tests;
