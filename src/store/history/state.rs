//! What the history holds in memory: for each segment its rows or the header of its index, and how facts become rows. It never reads a file.

use std::collections::BTreeMap;

use super::FollowPlace;
use super::gathered::{Gathered, KnownEvent};
use super::index::Header;
use super::row::{EndedRow, UNKNOWN};
use crate::model::{DeliveryKey, DeliveryState, EventId, Locator, Next, Project, Sequence};
use crate::store::fact::{Accepted, Carried, Fact};
use crate::store::journal::Appended;
use crate::store::view::keys::id_hash;
use crate::time::UnixMillis;

/// The segments of a journal, as the history knows them.
pub(super) struct State {
    pub(super) segments: BTreeMap<u32, Segment>,
    /// The segment that is being written; those before it are sealed.
    pub(super) open: u32,
    /// The last fact that was noted.
    pub(super) noted: FollowPlace,
}

pub(super) enum Segment {
    /// Its rows are in memory.
    Gathered(Gathered),
    /// It has an index.
    Indexed(Header),
    /// It has neither.
    Missing,
}

impl State {
    fn gathered(&mut self, number: u32) -> &mut Gathered {
        let segment = self.segments.entry(number).or_insert(Segment::Missing);
        if !matches!(segment, Segment::Gathered(_)) {
            *segment = Segment::Gathered(Gathered::default());
        }
        match segment {
            Segment::Gathered(gathered) => gathered,
            Segment::Indexed(_) | Segment::Missing => unreachable!("it was made one of those in memory above"),
        }
    }

    /// The event of that number, if it is in memory.
    pub(super) fn event(&self, sequence: Sequence) -> Option<KnownEvent> {
        self.segments.values().rev().find_map(|segment| match segment {
            Segment::Gathered(gathered) => gathered.event(sequence),
            Segment::Indexed(_) | Segment::Missing => None,
        })
    }

    pub(super) fn note(&mut self, place: Appended, fact: &Fact) {
        let segment = place.locator.segment;
        for skipped in self.open..segment {
            self.segments.entry(skipped).or_insert(Segment::Missing);
        }
        self.open = self.open.max(segment);
        self.noted = FollowPlace { sequence: place.sequence, locator: place.locator };
        self.gathered(segment);
        match fact {
            Fact::Accepted(accepted) => self.note_accepted(place, accepted),
            Fact::Attempted(attempted) => {
                let state = match attempted.attempt.next {
                    Next::RetryAt(_) => return,
                    Next::Delivered => DeliveryState::Delivered,
                    Next::Dropped => DeliveryState::Dropped,
                };
                let attempts = u16::try_from(attempted.attempt.number).unwrap_or(u16::MAX);
                let (body, last_attempt) = (Some(attempted.body), Some(place.locator));
                let row = EndedRow { body, last_attempt, attempts, ..nameless(attempted.key, state, attempted.attempt.finished) };
                self.note_end(segment, row);
            }
            Fact::Cancelled(cancelled) => {
                for one in &cancelled.deliveries {
                    let (body, last_attempt) = (Some(one.body).filter(|body| *body != Locator::default()), one.last_attempt);
                    let row = EndedRow { body, last_attempt, ..nameless(one.key, DeliveryState::Cancelled, cancelled.at) };
                    self.note_end(segment, row);
                }
            }
            Fact::Carried(carried) => self.note_carried(place, carried),
            Fact::Webhook(_) | Fact::Setting(_) | Fact::Blacklist(_) | Fact::IdsCarried(_) | Fact::FloorRaised(_) => {}
        }
    }

    fn note_accepted(&mut self, place: Appended, accepted: &Accepted) {
        let event = KnownEvent {
            sequence: place.sequence,
            event_type: accepted.event_type.clone(),
            project: accepted.project.clone(),
            accepted: accepted.accepted,
            place: place.locator,
            deliveries: u32::try_from(accepted.deliveries.len() + accepted.overflowed.len()).unwrap_or(u32::MAX),
        };
        let gathered = self.gathered(place.locator.segment);
        gathered.add_event(&event, short_hash(&accepted.project, &accepted.id));
        for webhook in &accepted.overflowed {
            let key = DeliveryKey { sequence: place.sequence, webhook: *webhook };
            gathered.add_end(nameless(key, DeliveryState::Dropped, accepted.accepted), Some(&event));
        }
    }

    /// From here on the event is listed as what lies there; of its deliveries those count that are still pending.
    fn note_carried(&mut self, place: Appended, carried: &Carried) {
        let event = KnownEvent {
            sequence: carried.sequence,
            event_type: carried.event.event_type.clone(),
            project: carried.event.project.clone(),
            accepted: carried.event.accepted,
            place: place.locator,
            deliveries: u32::try_from(carried.deliveries.len()).unwrap_or(u32::MAX),
        };
        let gathered = self.gathered(place.locator.segment);
        gathered.add_event(&event, short_hash(&event.project, &carried.event.id));
        if carried.from.is_some() {
            return;
        }
        for one in &carried.deliveries {
            let key = DeliveryKey { sequence: carried.sequence, webhook: one.webhook };
            gathered.add_end(nameless(key, DeliveryState::Pending, carried.at), Some(&event));
        }
    }

    fn note_end(&mut self, segment: u32, row: EndedRow) {
        let event = self.event(row.key.sequence);
        self.gathered(segment).add_end(row, event.as_ref());
    }
}

fn nameless(key: DeliveryKey, state: DeliveryState, at: UnixMillis) -> EndedRow {
    let accepted = UnixMillis(0);
    EndedRow { at, key, accepted, body: None, last_attempt: None, attempts: 0, state, event_type: UNKNOWN, project: UNKNOWN }
}

/// Half of the hash under which the idempotency of an event is kept.
pub(super) fn short_hash(project: &Project, id: &EventId) -> u64 {
    u64::from_le_bytes(*id_hash(project, id).first_chunk().expect("sixteen bytes have eight"))
}
