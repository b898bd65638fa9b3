//! The records of what retention writes down again. They never say more than the fact does.

use bincode::{BorrowDecode, Encode};

use super::{NextRecord, OutcomeRecord, decode_fact, encode_fact, locator, pair};
use crate::model::{Attempt, Locator, Sequence, WebhookNumber};
use crate::store::fact::{Carried, CarriedDelivery, CarriedId, Fact, Floor, FloorRaised};
use crate::time::UnixMillis;

#[derive(Encode, BorrowDecode)]
pub(super) struct CarriedRecord<'a> {
    sequence: u64,
    from: (u32, u32),
    at: u64,
    /// The record of the event's `Accepted`.
    event: Vec<u8>,
    deliveries: Vec<DeliveryRecord<'a>>,
}

#[derive(Encode, BorrowDecode)]
struct DeliveryRecord<'a> {
    webhook: u32,
    due: u64,
    round: u16,
    attempts: u8,
    timeline: Vec<AttemptRecord<'a>>,
}

#[derive(Encode, BorrowDecode)]
struct AttemptRecord<'a> {
    round: u16,
    number: u32,
    due: u64,
    finished: u64,
    outcome: OutcomeRecord<'a>,
    next: NextRecord,
}

#[derive(Encode, BorrowDecode)]
pub(super) struct CarriedIdRecord {
    hash: [u8; 16],
    accepted: u64,
    fields_hash: [u8; 16],
    deliveries: u32,
}

#[derive(Encode, BorrowDecode)]
pub(super) struct FloorRecord {
    segment: u32,
    sequence: u64,
    latest: u64,
    at: u64,
}

impl<'a> CarriedRecord<'a> {
    pub(super) fn of(carried: &'a Carried) -> Self {
        Self {
            sequence: carried.sequence.0,
            // Segments count from 1, so the default is no place.
            from: pair(carried.from.unwrap_or_default()),
            at: carried.at.0,
            event: encode_fact(&Fact::Accepted(carried.event.clone())),
            deliveries: carried.deliveries.iter().map(DeliveryRecord::of).collect(),
        }
    }

    pub(super) fn into_carried(self) -> Result<Carried, String> {
        let Self { sequence, from, at, event, deliveries } = self;
        let Fact::Accepted(event) = decode_fact(&event).map_err(|error| error.to_string())? else {
            return Err("what was carried is not an event".into());
        };
        Ok(Carried {
            sequence: Sequence(sequence),
            from: Some(locator(from)).filter(|from| *from != Locator::default()),
            at: UnixMillis(at),
            event,
            deliveries: deliveries.into_iter().map(DeliveryRecord::into_delivery).collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> DeliveryRecord<'a> {
    fn of(delivery: &'a CarriedDelivery) -> Self {
        let CarriedDelivery { webhook, due, round, attempts, timeline } = delivery;
        let timeline = timeline.iter().map(AttemptRecord::of).collect();
        Self { webhook: webhook.0, due: due.0, round: *round, attempts: *attempts, timeline }
    }

    fn into_delivery(self) -> Result<CarriedDelivery, String> {
        let Self { webhook, due, round, attempts, timeline } = self;
        let timeline = timeline.into_iter().map(AttemptRecord::into_attempt).collect::<Result<_, _>>()?;
        Ok(CarriedDelivery { webhook: WebhookNumber(webhook), due: UnixMillis(due), round, attempts, timeline })
    }
}

impl<'a> AttemptRecord<'a> {
    fn of(attempt: &'a Attempt) -> Self {
        let Attempt { round, number, due, finished, outcome, next } = attempt;
        let (outcome, next) = (OutcomeRecord::of(outcome), NextRecord::of(*next));
        Self { round: *round, number: *number, due: due.0, finished: finished.0, outcome, next }
    }

    fn into_attempt(self) -> Result<Attempt, String> {
        let Self { round, number, due, finished, outcome, next } = self;
        let (due, finished) = (UnixMillis(due), UnixMillis(finished));
        Ok(Attempt { round, number, due, finished, outcome: outcome.into_outcome()?, next: next.into_next() })
    }
}

impl CarriedIdRecord {
    pub(super) fn of(id: &CarriedId) -> Self {
        let CarriedId { hash, accepted, fields_hash, deliveries } = *id;
        Self { hash, accepted: accepted.0, fields_hash, deliveries }
    }

    pub(super) fn into_id(self) -> CarriedId {
        let Self { hash, accepted, fields_hash, deliveries } = self;
        CarriedId { hash, accepted: UnixMillis(accepted), fields_hash, deliveries }
    }
}

impl FloorRecord {
    pub(super) fn of(raised: &FloorRaised) -> Self {
        let FloorRaised { floor, latest, at } = *raised;
        Self { segment: floor.segment, sequence: floor.sequence.0, latest: latest.0, at: at.0 }
    }

    pub(super) fn into_raised(self) -> FloorRaised {
        let Self { segment, sequence, latest, at } = self;
        let floor = Floor { segment, sequence: Sequence(sequence) };
        FloorRaised { floor, latest: UnixMillis(latest), at: UnixMillis(at) }
    }
}
