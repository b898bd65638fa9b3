//! What the writer alone knows, since it sees the journal in order: where event and last attempt of a delivery lie at this very moment. It never decides what is written.

use super::{StoreError, Writer};
use crate::model::{DeliveryKey, Locator};
use crate::store::carry::{self, Carry, Load};
use crate::store::fact::Fact;
use crate::store::journal::medium::Medium;
use crate::store::view::Table;
use crate::time::UnixMillis;

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
                        one.body = row.body;
                    }
                }
            }
            _ => {}
        }
        Ok(fact)
    }

    /// Appends what still holds, each fact for itself.
    pub(super) fn carry(&mut self, carry: Vec<Carry>, now: UnixMillis) -> Result<(Vec<(DeliveryKey, Locator)>, Load), StoreError> {
        let bytes_before = self.journal.appended_bytes();
        let mut moved = Vec::new();
        for one in carry {
            let Some(fact) = one.into_fact(&self.view, self.idempotency_window_ms, now)? else { continue };
            let keys = carry::keys_of(&fact);
            let places = self.append(vec![fact])?;
            moved.extend(keys.into_iter().flat_map(|key| places.iter().map(move |place| (key, place.locator))));
        }
        let load =
            Load { segment: self.journal.segment_number(), bytes: self.journal.appended_bytes() - bytes_before, deliveries: moved.len() };
        Ok((moved, load))
    }
}
