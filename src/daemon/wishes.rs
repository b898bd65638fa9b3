//! What operators want of single deliveries, on the engine's thread: from their message to the engine, from its effects to the store, and back to them. It never decides anything.

use std::collections::HashMap;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::wheelhouse::{Waiting, Wheelhouse};
use crate::engine::pending::Entry;
use crate::engine::{Effect, Found, Grant, Input, Ticket};
use crate::model::{DeliveryKey, Locator};
use crate::store::carry::Carry;
use crate::store::fact::{Cancelled, CancelledDelivery, Carried, Fact};
use crate::store::writer::Order;
use crate::time::UnixMillis;

/// Something that an operator wants of deliveries.
pub(super) enum Wish {
    /// Try these now, as far as they are pending.
    Retry {
        /// Which.
        keys: Vec<DeliveryKey>,
        /// Told how they were found.
        done: oneshot::Sender<Vec<Found>>,
    },
    /// End these, as far as they are pending.
    Cancel {
        /// Which, at most [`crate::limits::BULK_SLICE_KEYS`].
        keys: Vec<DeliveryKey>,
        /// Who wants it.
        by: String,
        /// Told how they were found, once it is durable.
        done: oneshot::Sender<Vec<Found>>,
    },
    /// Try these anew, which ended; each with one delivery.
    Reopen {
        /// Which, as they are to be written down.
        ended: Vec<Carried>,
        /// Told for which that was possible, once it is durable.
        done: oneshot::Sender<Vec<Grant>>,
    },
}

/// Wishes under way, each with the permit that is given back when it is answered.
#[derive(Default)]
pub(super) struct Wishes(HashMap<u64, (Open, OwnedSemaphorePermit)>);

enum Open {
    Found { done: oneshot::Sender<Vec<Found>>, found: Vec<Found> },
    Asked { ended: Vec<Carried>, done: oneshot::Sender<Vec<Grant>> },
    Reopening { ended: Vec<Carried>, done: oneshot::Sender<Vec<Grant>>, grants: Vec<Grant> },
}

impl Wishes {
    /// The writer is gone: nobody is kept waiting for what will not come.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Wheelhouse {
    pub(super) fn wished(
        &mut self,
        wish: Wish,
        permit: OwnedSemaphorePermit,
        now: UnixMillis,
        effects: &mut Vec<Effect>,
        waiting: &mut Waiting,
    ) {
        let number = waiting.ticket();
        let ticket = Ticket(number);
        let (open, input) = match wish {
            Wish::Retry { keys, done } => (Open::Found { done, found: Vec::new() }, Input::RetryWanted { ticket, keys }),
            Wish::Cancel { keys, by, done } => (Open::Found { done, found: Vec::new() }, Input::CancelWanted { ticket, keys, by }),
            Wish::Reopen { ended, done } => {
                let keys = ended.iter().filter_map(key_of).collect();
                (Open::Asked { ended, done }, Input::ReopenWanted { ticket, keys })
            }
        };
        waiting.wishes.0.insert(number, (open, permit));
        self.engine.handle(now, input, effects);
    }

    /// The engine has put into their lanes what was pending.
    pub(super) fn found(ticket: Ticket, found: Vec<Found>, waiting: &mut Waiting) {
        if let Some((Open::Found { done, .. }, _permit)) = waiting.wishes.0.remove(&ticket.0) {
            // Whoever asked may have given up.
            let _ = done.send(found);
        }
    }

    /// The engine has forgotten what was pending; that is answered once it is durable.
    pub(super) fn cancel(
        &self,
        Ticket(ticket): Ticket,
        keys: Vec<(DeliveryKey, UnixMillis)>,
        by: String,
        all_found: Vec<Found>,
        waiting: &mut Waiting,
    ) {
        if keys.is_empty() {
            return Self::found(Ticket(ticket), all_found, waiting);
        }
        if let Some((Open::Found { found, .. }, _)) = waiting.wishes.0.get_mut(&ticket) {
            *found = all_found;
        }
        let deliveries = keys.into_iter().map(|(key, due)| CancelledDelivery::new(key, due)).collect();
        let facts = vec![Fact::Cancelled(Cancelled { at: self.clock.now(), by, deliveries })];
        self.order(Order::Operate { ticket, facts }, waiting);
    }

    /// The engine has reserved room for those that may be tried anew.
    pub(super) fn reopen(&self, Ticket(ticket): Ticket, grants: Vec<Grant>, waiting: &mut Waiting) {
        let Some((Open::Asked { ended, done }, permit)) = waiting.wishes.0.remove(&ticket) else { return };
        let granted = ended.into_iter().zip(&grants).filter(|(_, grant)| **grant == Grant::Granted);
        let ended = granted.map(|(carried, _)| carried).collect::<Vec<_>>();
        if ended.is_empty() {
            // Whoever asked may have given up.
            let _ = done.send(grants);
            return;
        }
        let carry = ended.iter().cloned().map(Carry::Ended).collect();
        waiting.wishes.0.insert(ticket, (Open::Reopening { ended, done, grants }, permit));
        self.order(Order::Carry { ticket, carry }, waiting);
    }

    /// What was cancelled is so durably. False when the ticket is not that of a wish.
    pub(super) fn wish_is_durable(ticket: u64, waiting: &mut Waiting) -> bool {
        let Some((Open::Found { done, found }, _permit)) = waiting.wishes.0.remove(&ticket) else { return false };
        // Whoever asked may have given up.
        let _ = done.send(found);
        true
    }

    /// What was taken up again is pending, durably. False when the ticket is not that of a wish.
    pub(super) fn are_reopened(
        &mut self,
        ticket: u64,
        moved: &[(DeliveryKey, Locator)],
        now: UnixMillis,
        effects: &mut Vec<Effect>,
        waiting: &mut Waiting,
    ) -> bool {
        let Some((Open::Reopening { ended, done, grants }, _permit)) = waiting.wishes.0.remove(&ticket) else { return false };
        let entries = ended.iter().zip(moved).filter_map(|(carried, (key, body))| {
            let one = carried.deliveries.first()?;
            Some(Entry { key: *key, body: *body, due: one.due, attempts: one.attempts, round: one.round })
        });
        self.engine.handle(now, Input::Reopened(entries.collect()), effects);
        // Whoever asked may have given up.
        let _ = done.send(grants);
        true
    }
}

/// The delivery that is to be tried anew.
fn key_of(carried: &Carried) -> Option<DeliveryKey> {
    carried.deliveries.first().map(|one| DeliveryKey { sequence: carried.sequence, webhook: one.webhook })
}
