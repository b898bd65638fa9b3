//! What the writer alone knows, since it sees the journal in order: where event and last attempt of a delivery lie at this very moment. It never decides what is written.

use std::collections::VecDeque;

use super::{Answer, StoreError, Writer};
use crate::model::{DeliveryKey, Locator};
use crate::store::carry::{self, Carry, Load};
use crate::store::fact::Fact;
use crate::store::journal::JournalError;
use crate::store::journal::medium::Medium;
use crate::store::view::Table;
use crate::time::UnixMillis;

/// What is being carried.
pub(super) struct Carrying {
    ticket: u64,
    /// When it was ordered. It may wait for room, and is judged as things stood then.
    at: UnixMillis,
    /// For how long an id was recognized then.
    idempotency_window_ms: u64,
    waiting: VecDeque<Carry>,
    moved: Vec<(DeliveryKey, Locator)>,
    bytes: u64,
}

impl Carrying {
    pub(super) fn new(ticket: u64, carry: Vec<Carry>, at: UnixMillis, idempotency_window_ms: u64) -> Self {
        Self { ticket, at, idempotency_window_ms, waiting: carry.into(), moved: Vec::new(), bytes: 0 }
    }
}

impl<M: Medium, T: Table> Writer<M, T> {
    /// Fills in where the event and the attempt before lie. The queue knows it, in the order of the journal; whoever gave the order may not have heard
    /// yet that the event was carried.
    pub(super) fn with_places(&self, mut fact: Fact) -> Result<Fact, StoreError> {
        match &mut fact {
            Fact::Attempted(attempted) => {
                if let Some(row) = self.view.queue_row(attempted.attempt.due, attempted.key)? {
                    (attempted.body, attempted.previous) = (row.body, row.last_attempt);
                }
            }
            Fact::Cancelled(cancelled) => {
                for one in &mut cancelled.deliveries {
                    if let Some(row) = self.view.queue_row(one.due, one.key)? {
                        (one.body, one.last_attempt) = (row.body, row.last_attempt);
                    }
                }
            }
            _ => {}
        }
        Ok(fact)
    }

    /// Appends what still holds, each fact for itself; gives back what there was no room for.
    pub(super) fn carry(&mut self, mut carrying: Carrying, now: UnixMillis) -> Result<Option<Carrying>, StoreError> {
        let bytes_before = self.journal.appended_bytes();
        while let Some(next) = carrying.waiting.pop_front() {
            let Some(fact) = next.clone().into_fact(&self.view, carrying.idempotency_window_ms, carrying.at)? else { continue };
            let keys = carry::keys_of(&fact);
            let facts = vec![fact];
            match self.journal.append(&facts) {
                Ok(places) => {
                    carrying.moved.extend(keys.into_iter().flat_map(|key| places.iter().map(move |place| (key, place.locator))));
                    self.appended(&places, facts);
                }
                Err(JournalError::NoRoom { .. }) => {
                    carrying.waiting.push_front(next);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        carrying.bytes += self.journal.appended_bytes() - bytes_before;
        self.sync_at = Some(now);
        if !carrying.waiting.is_empty() {
            return Ok(Some(carrying));
        }
        let Carrying { ticket, moved, bytes, .. } = carrying;
        let load = Load { segment: self.journal.segment_number(), bytes, deliveries: moved.len() };
        self.owed.push(Answer::Carried { ticket, moved, load });
        Ok(None)
    }
}
