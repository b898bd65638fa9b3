//! What lists of the history are merged from: the rows of an index, and those of a chunk in memory, narrowed to what is wanted. They never sort more than one run.

use std::cmp::Reverse;
use std::sync::Arc;

use super::gathered::{KnownEvent, known, lacks_names};
use super::index::{Header, Index};
use super::merge::{Run, Source, Trouble};
use super::reopened::Reopened;
use super::row::{EndPlace, EndedRow, EventRow, Names};
use super::wanted::{Narrowed, WantedEnds, WantedEvents};
use super::{Finished, Shared};
use crate::model::{DeliveryKey, Sequence, WebhookNumber};
use crate::store::journal::medium::Medium;

const LAST_KEY: DeliveryKey = DeliveryKey { sequence: Sequence(u64::MAX), webhook: WebhookNumber(u32::MAX) };

/// An index in which reading has begun.
pub(super) struct Reading<M: Medium> {
    index: Arc<Index<M::File>>,
    narrowed: Narrowed,
    block: usize,
}

/// What is wanted of the ends, and which of them count.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) ends: &'a WantedEnds,
    pub(super) reopened: &'a Reopened,
}

/// Ends of deliveries.
pub(super) enum Ends<'a, M: Medium> {
    /// Of a sealed segment.
    Sealed { history: &'a Shared<M>, header: Header, wanted: Wanted<'a>, reading: Option<Box<Reading<M>>> },
    /// In memory.
    Chunk { history: &'a Shared<M>, names: Arc<Names>, rows: Option<Arc<Vec<EndedRow>>>, highest: EndPlace, wanted: Wanted<'a> },
}

impl<'a, M: Medium> Ends<'a, M> {
    /// `None` when nothing in the segment can be wanted.
    pub(super) fn sealed(history: &'a Shared<M>, header: Header, wanted: Wanted<'a>) -> Option<Self> {
        let (earliest, latest) = header.end_times;
        (earliest <= wanted.ends.latest() && latest >= wanted.ends.earliest()).then_some(Self::Sealed {
            history,
            header,
            wanted,
            reading: None,
        })
    }

    pub(super) fn chunk(history: &'a Shared<M>, names: &Arc<Names>, rows: &Arc<Vec<EndedRow>>, wanted: Wanted<'a>) -> Option<Self> {
        let highest = rows.iter().map(EndedRow::place).max()?;
        Some(Self::Chunk { history, names: Arc::clone(names), rows: Some(Arc::clone(rows)), highest, wanted })
    }
}

impl<M: Medium> Source for Ends<'_, M> {
    type Place = EndPlace;
    type Row = Finished;

    fn highest(&self) -> EndPlace {
        match self {
            Self::Sealed { header, .. } => (header.end_times.1, LAST_KEY),
            Self::Chunk { highest, .. } => *highest,
        }
    }

    fn next_run(&mut self) -> Result<Option<Run<Self>>, Trouble> {
        match self {
            Self::Sealed { history, header, wanted, reading } => {
                if reading.is_none() {
                    *reading = begin_ends(history, header, wanted.ends)?;
                }
                let Some(reading) = reading else { return Ok(None) };
                next_ends(reading, *wanted).map_err(|error| Trouble { segment: header.segment, error })
            }
            Self::Chunk { history, names, rows, wanted, .. } => {
                let Some(rows) = rows.take() else { return Ok(None) };
                let Wanted { ends: wanted, reopened } = *wanted;
                let narrowed = wanted.narrowed(names, None);
                let mut run = Vec::new();
                for row in rows.iter().filter(|row| wanted.fits_apart_from_names(row) && reopened.leaves(row)) {
                    let mut one = Finished::of(row, names);
                    let fits = if lacks_names(row) && wanted.needs_names() {
                        history.complete(&mut one)?;
                        wanted.fits_names(one.event_type.as_ref(), one.project.as_ref())
                    } else {
                        narrowed.as_ref().is_some_and(|narrowed| wanted.fits(row, narrowed))
                    };
                    if fits {
                        run.push((row.place(), one));
                    }
                }
                run.sort_unstable_by_key(|(place, _)| Reverse(*place));
                Ok((!run.is_empty()).then_some(run))
            }
        }
    }
}

fn begin_ends<M: Medium>(history: &Shared<M>, header: &Header, wanted: &WantedEnds) -> Result<Option<Box<Reading<M>>>, Trouble> {
    let Some(index) = history.index(header)? else { return Ok(None) };
    let Some(narrowed) = wanted.narrowed(&index.names, Some(&index.webhooks)) else { return Ok(None) };
    // The block before the first that begins at or below the wanted time may end with what is wanted.
    let block = index.ends.blocks.partition_point(|block| block.first > wanted.latest().0).saturating_sub(1);
    Ok(Some(Box::new(Reading { index, narrowed, block })))
}

fn next_ends<M: Medium>(
    reading: &mut Reading<M>,
    Wanted { ends: wanted, reopened }: Wanted<'_>,
) -> Result<Option<Vec<(EndPlace, Finished)>>, super::index::IndexError> {
    let Reading { index, narrowed, block } = reading;
    while let Some(entry) = index.ends.blocks.get(*block).filter(|entry| entry.first >= wanted.earliest().0) {
        let number = *block;
        *block += 1;
        if !entry.mask.may_hold(&narrowed.mask) {
            continue;
        }
        let rows = index.block::<EndedRow>(&index.ends, number)?;
        let fitting = rows.iter().filter(|row| wanted.fits(row, narrowed) && reopened.leaves(row));
        let run = fitting.map(|row| (row.place(), Finished::of(row, &index.names))).collect::<Vec<_>>();
        if !run.is_empty() {
            return Ok(Some(run));
        }
    }
    Ok(None)
}

/// Events that were accepted.
pub(super) enum Events<'a, M: Medium> {
    /// In a sealed segment.
    Sealed { history: &'a Shared<M>, header: Header, wanted: &'a WantedEvents, reading: Option<Box<Reading<M>>> },
    /// In memory.
    Chunk { names: Arc<Names>, rows: Option<Arc<Vec<EventRow>>>, highest: Sequence, wanted: &'a WantedEvents },
}

impl<'a, M: Medium> Events<'a, M> {
    /// `None` when nothing in the segment can be wanted.
    pub(super) fn sealed(history: &'a Shared<M>, header: Header, wanted: &'a WantedEvents) -> Option<Self> {
        (header.event_sequences.0 <= wanted.latest()).then_some(Self::Sealed { history, header, wanted, reading: None })
    }

    pub(super) fn chunk(names: &Arc<Names>, rows: &Arc<Vec<EventRow>>, wanted: &'a WantedEvents) -> Option<Self> {
        let highest = rows.last()?.sequence;
        Some(Self::Chunk { names: Arc::clone(names), rows: Some(Arc::clone(rows)), highest, wanted })
    }
}

impl<M: Medium> Source for Events<'_, M> {
    type Place = Sequence;
    type Row = KnownEvent;

    fn highest(&self) -> Sequence {
        match self {
            Self::Sealed { header, .. } => header.event_sequences.1,
            Self::Chunk { highest, .. } => *highest,
        }
    }

    fn next_run(&mut self) -> Result<Option<Run<Self>>, Trouble> {
        match self {
            Self::Sealed { history, header, wanted, reading } => {
                if reading.is_none() {
                    *reading = begin_events(history, header, wanted)?;
                }
                let Some(reading) = reading else { return Ok(None) };
                next_events(reading, wanted).map_err(|error| Trouble { segment: header.segment, error })
            }
            Self::Chunk { names, rows, wanted, .. } => {
                let (Some(rows), Some(narrowed)) = (rows.take(), wanted.narrowed(names)) else { return Ok(None) };
                let fitting = rows.iter().rev().filter(|row| wanted.fits(row, &narrowed));
                let run = fitting.filter_map(|row| Some((row.sequence, known(row, names)?))).collect::<Vec<_>>();
                Ok((!run.is_empty()).then_some(run))
            }
        }
    }
}

fn begin_events<M: Medium>(history: &Shared<M>, header: &Header, wanted: &WantedEvents) -> Result<Option<Box<Reading<M>>>, Trouble> {
    let Some(index) = history.index(header)? else { return Ok(None) };
    let Some(narrowed) = wanted.narrowed(&index.names) else { return Ok(None) };
    let block = index.events.blocks.partition_point(|block| block.first > wanted.latest().0).saturating_sub(1);
    Ok(Some(Box::new(Reading { index, narrowed, block })))
}

fn next_events<M: Medium>(
    reading: &mut Reading<M>,
    wanted: &WantedEvents,
) -> Result<Option<Vec<(Sequence, KnownEvent)>>, super::index::IndexError> {
    let Reading { index, narrowed, block } = reading;
    while let Some(entry) = index.events.blocks.get(*block) {
        let number = *block;
        *block += 1;
        if !entry.mask.may_hold(&narrowed.mask) {
            continue;
        }
        let rows = index.block::<EventRow>(&index.events, number)?;
        let fitting = rows.iter().filter(|row| wanted.fits(row, narrowed));
        let run = fitting.filter_map(|row| Some((row.sequence, known(row, &index.names)?))).collect::<Vec<_>>();
        if !run.is_empty() {
            return Ok(Some(run));
        }
    }
    Ok(None)
}
