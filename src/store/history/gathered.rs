//! The rows of a segment that has no index yet, in memory. It never reads the journal: a row whose event it does not know has no names until somebody looks them up.
//!
//! Rows lie in chunks that readers share: who makes a list takes the chunks as they are and lets the writer go on.

use std::io;
use std::sync::Arc;

use super::index::Contents;
use super::reopened::{self, TakenUp};
use super::row::{EndedRow, EventRow, Names, UNKNOWN};
use crate::model::{EventTypeName, Locator, Project, Sequence};
use crate::time::UnixMillis;

/// Rows of a chunk.
const CHUNK_ROWS: usize = 4096;

/// What is known of an event without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownEvent {
    /// Its number.
    pub sequence: Sequence,
    /// Its type.
    pub event_type: EventTypeName,
    /// Its project.
    pub project: Project,
    /// When it was accepted.
    pub accepted: UnixMillis,
    /// Where it lies.
    pub place: Locator,
    /// Deliveries made of it.
    pub deliveries: u32,
}

/// The rows of one segment, in the order of the journal.
#[derive(Clone, Default)]
pub(super) struct Gathered {
    pub(super) names: Arc<Names>,
    pub(super) ends: Vec<Arc<Vec<EndedRow>>>,
    pub(super) events: Vec<Arc<Vec<EventRow>>>,
    /// Deliveries that were taken up again.
    pub(super) reopened: Arc<Vec<TakenUp>>,
    /// Chunks of ends in which every event is known, or was looked for in vain.
    settled: usize,
}

impl Gathered {
    pub(super) fn add_event(&mut self, event: &KnownEvent, id_hash: u64) {
        let (event_type, project) = self.numbers(&event.event_type, &event.project);
        let KnownEvent { sequence, accepted, place, deliveries, .. } = *event;
        let row = EventRow { sequence, accepted, id_hash, place, event_type, project, deliveries };
        let chunk = room(&mut self.events);
        // At the end, but for events that come a second time.
        let at = chunk.partition_point(|other| other.sequence < sequence);
        chunk.insert(at, row);
    }

    /// Takes in an end; `event` is what is known of the event, if anything.
    pub(super) fn add_end(&mut self, row: EndedRow, event: Option<&KnownEvent>) {
        let row = self.named(row, event);
        if let Some(taken_up) = reopened::taken_up(&row) {
            Arc::make_mut(&mut self.reopened).push(taken_up);
        }
        room(&mut self.ends).push(row);
    }

    fn named(&mut self, row: EndedRow, event: Option<&KnownEvent>) -> EndedRow {
        let Some(event) = event else { return row };
        let (event_type, project) = self.numbers(&event.event_type, &event.project);
        EndedRow { event_type, project, accepted: event.accepted, body: row.body.or(Some(event.place)), ..row }
    }

    fn numbers(&mut self, event_type: &EventTypeName, project: &Project) -> (u32, u32) {
        if let (Some(event_type), Some(project)) = (self.names.types.find(event_type), self.names.projects.find(project)) {
            return (event_type, project);
        }
        let names = Arc::make_mut(&mut self.names);
        (names.types.number(event_type), names.projects.number(project))
    }

    /// The event of that number, if it is one of these.
    pub(super) fn event(&self, sequence: Sequence) -> Option<KnownEvent> {
        let may_hold = |chunk: &&Arc<Vec<EventRow>>| {
            chunk.first().is_some_and(|first| first.sequence <= sequence) && chunk.last().is_some_and(|last| last.sequence >= sequence)
        };
        let find = |chunk: &Arc<Vec<EventRow>>| chunk.binary_search_by_key(&sequence, |row| row.sequence).ok().map(|at| chunk[at]);
        known(&self.events.iter().rev().filter(may_hold).find_map(find)?, &self.names)
    }

    /// The next full chunk whose rows may lack names, with its number.
    pub(super) fn unsettled(&self) -> Option<(usize, Arc<Vec<EndedRow>>)> {
        let chunk = self.ends.get(self.settled).filter(|chunk| chunk.len() == CHUNK_ROWS)?;
        Some((self.settled, Arc::clone(chunk)))
    }

    /// Puts in what was found for the rows of a chunk: for each that lacked names the event, or nothing.
    pub(super) fn settle(&mut self, number: usize, found: &[(usize, KnownEvent)]) {
        let Some(mut chunk) = self.ends.get(number).map(|chunk| chunk.as_ref().clone()) else { return };
        for (at, event) in found {
            chunk[*at] = self.named(chunk[*at], Some(event));
        }
        self.ends[number] = Arc::new(chunk);
        self.settled = number + 1;
    }

    /// Everything, for an index; `look_up` finds the events of rows that lack names.
    ///
    /// # Errors
    /// Those of `look_up`.
    pub(super) fn into_contents(mut self, look_up: impl Fn(&EndedRow) -> io::Result<Option<KnownEvent>>) -> io::Result<Contents> {
        let chunks = std::mem::take(&mut self.ends);
        let mut ends = Vec::with_capacity(chunks.iter().map(|chunk| chunk.len()).sum());
        for row in chunks.iter().flat_map(|chunk| chunk.iter()) {
            let event = if lacks_names(row) { look_up(row)? } else { None };
            ends.push(self.named(*row, event.as_ref()));
        }
        let events = self.events.iter().flat_map(|chunk| chunk.iter().copied()).collect();
        Ok(Contents { names: self.names.as_ref().clone(), ends, events })
    }
}

/// Whether the event of a row was not known when the row was made.
pub(super) fn lacks_names(row: &EndedRow) -> bool {
    row.event_type == UNKNOWN
}

/// A row with its names; `None` when they are not among `names`.
pub(super) fn known(row: &EventRow, names: &Names) -> Option<KnownEvent> {
    Some(KnownEvent {
        sequence: row.sequence,
        event_type: names.types.name(row.event_type)?.clone(),
        project: names.projects.name(row.project)?.clone(),
        accepted: row.accepted,
        place: row.place,
        deliveries: row.deliveries,
    })
}

/// The last chunk, or a new one when that is full. A list that is being made of it keeps what it has.
fn room<T: Clone>(chunks: &mut Vec<Arc<Vec<T>>>) -> &mut Vec<T> {
    if chunks.last().is_none_or(|chunk| chunk.len() >= CHUNK_ROWS) {
        chunks.push(Arc::new(Vec::new()));
    }
    Arc::make_mut(chunks.last_mut().expect("one was pushed when there was none"))
}
