//! What is carried out of a segment that is about to go, and whether it still holds when its turn comes to be written. It never decides which segment goes.
//!
//! Between the look at the old segment and the order in the journal anything may happen: a delivery ends, is tried again, an id is used anew. The writer alone sees all that, in
//! order, so [`Carry::into_fact`] compares with what the writer's view holds at that very moment: what changed is left out, and whoever looked looks again. So
//! nothing that ended comes back, and nothing is set back.

use super::blacklist;
use super::fact::{Accepted, Carried, CarriedDelivery, CarriedId, Fact, Floor, FloorRaised};
use super::journal::frame;
use super::view::keys::{self, IdempotencyRow, QueueRow};
use super::view::{Table, TableError, View};
use crate::model::{Address, DeliveryKey, Locator, Project, Sequence, WebhookNumber};
use crate::time::UnixMillis;

/// Something that held when the old segment was looked at.
#[derive(Clone, Debug)]
pub enum Carry {
    /// These deliveries of an event are pending.
    Event {
        /// The number of the fact that accepted it.
        sequence: Sequence,
        /// Where it lies.
        from: Locator,
        /// The event, without its lists of deliveries.
        event: Accepted,
        /// Each delivery, with the row that said so.
        deliveries: Vec<(CarriedDelivery, QueueRow)>,
    },
    /// These deliveries of an event had ended, and an operator wants them tried anew. Whoever orders this knows that none of them is pending.
    Ended(Carried),
    /// These ids are recognized.
    Ids(Vec<CarriedId>),
    /// This webhook is known.
    Webhook(WebhookNumber),
    /// This address was put on a project's Black List.
    Listed(Project, Address),
    /// Something is set about this subject, by its key in the view.
    Setting(Vec<u8>),
    // A further kind of state that facts put into the view is carried as these three are: a variant that names it here, its current row written
    // again in `into_fact`, and an arm for its fact in `retention::slice`.
    /// Nothing that matters is left below this floor.
    Floor(Floor),
}

/// What carrying took in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The segment that took it; where several did, the last.
    pub segment: u32,
    /// Bytes of frames.
    pub bytes: u64,
    /// Deliveries.
    pub deliveries: usize,
}

impl Carry {
    /// The fact that says what of this still holds; `None` when nothing does.
    ///
    /// # Errors
    /// [`TableError`] when the view fails.
    pub fn into_fact<T: Table>(self, view: &View<T>, idempotency_window_ms: u64, now: UnixMillis) -> Result<Option<Fact>, TableError> {
        match self {
            Self::Event { sequence, from, event, deliveries } => {
                let mut kept = Vec::with_capacity(deliveries.len());
                for (delivery, row) in deliveries {
                    let key = DeliveryKey { sequence, webhook: delivery.webhook };
                    if view.queue_row(delivery.due, key)? == Some(row) && row.body == from {
                        kept.push(delivery);
                    }
                }
                let carried = Carried { sequence, from: Some(from), at: now, event, deliveries: kept };
                Ok((!carried.deliveries.is_empty()).then_some(Fact::Carried(carried)))
            }
            Self::Ended(carried) => Ok(Some(Fact::Carried(carried))),
            Self::Ids(ids) => {
                let mut kept = Vec::with_capacity(ids.len());
                for id in ids.into_iter().filter(|id| now.since_ms(id.accepted) < idempotency_window_ms) {
                    let CarriedId { accepted, fields_hash, deliveries, .. } = id;
                    if view.idempotency_row(&id.hash)? == Some(IdempotencyRow { accepted, fields_hash, deliveries }) {
                        kept.push(id);
                    }
                }
                Ok((!kept.is_empty()).then_some(Fact::IdsCarried(kept)))
            }
            Self::Webhook(number) => written_again(view, &keys::webhook_key(number)),
            Self::Setting(key) => written_again(view, &key),
            Self::Listed(project, address) => blacklist::carried(view, &project, &address),
            Self::Floor(floor) => Ok(Some(Fact::FloorRaised(FloorRaised { floor, latest: view.meta().latest, at: now }))),
        }
    }
}

/// The fact that a row holds as it is; `None` when there is no such row any more.
fn written_again<T: Table>(view: &View<T>, key: &[u8]) -> Result<Option<Fact>, TableError> {
    let Some(value) = view.get(key)? else { return Ok(None) };
    let record = keys::unseal(key, &value)?;
    frame::decode_fact(record).map(Some).map_err(|error| TableError(format!("the row {key:?}: {error}")))
}

/// The deliveries whose event lies where this fact does from now on.
pub(super) fn keys_of(fact: &Fact) -> Vec<DeliveryKey> {
    let Fact::Carried(carried) = fact else { return Vec::new() };
    carried.deliveries.iter().map(|one| DeliveryKey { sequence: carried.sequence, webhook: one.webhook }).collect()
}
