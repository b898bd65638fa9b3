//! What the engine proposes to make durable, and what the store made of it. It never says how.

use std::sync::Arc;

use super::{Address, EventId, EventTypeName, FieldsHash, Locator, NewEvent, Project, Sequence, WebhookNumber};
use crate::time::UnixMillis;

/// An event with the deliveries that would be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The event's id.
    pub id: EventId,
    /// Whether the client chose it; only then can the event be a repetition.
    pub id_by_client: bool,
    /// Its type.
    pub event_type: EventTypeName,
    /// Its project.
    pub project: Project,
    /// What "the same content" compares.
    pub fields_hash: FieldsHash,
    /// The bytes that receivers get.
    pub body: Arc<[u8]>,
    /// The address that it puts on the Black List; the store leaves out one that is there already.
    pub blacklisted: Option<Address>,
    /// When it was accepted, on the schedule clock.
    pub accepted: UnixMillis,
    /// The webhooks that it goes to.
    pub deliveries: Vec<WebhookNumber>,
    /// The webhooks that want it, but whose queue is full.
    pub overflowed: Vec<WebhookNumber>,
}

impl Proposal {
    /// A proposal for `event`, whose deliveries are still to be filled in.
    #[must_use]
    pub fn of(event: NewEvent, accepted: UnixMillis) -> Self {
        let NewEvent { id, id_by_client, event_type, project, body, fields_hash, blacklisted } = event;
        let (deliveries, overflowed) = (Vec::new(), Vec::new());
        Self { id, id_by_client, event_type, project, fields_hash, body, blacklisted, accepted, deliveries, overflowed }
    }
}

/// A proposal with the store's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The event's id.
    pub id: EventId,
    /// The deliveries as proposed.
    pub deliveries: Vec<WebhookNumber>,
    /// The overflowed ones as proposed.
    pub overflowed: Vec<WebhookNumber>,
    /// When it was accepted, as proposed.
    pub accepted: UnixMillis,
    /// What became of it.
    pub verdict: Verdict,
}

/// What the store made of one proposal. In a batch with a `Conflict` nothing is `New`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is on disk.
    New {
        /// The number of its fact.
        sequence: Sequence,
        /// Where it lies.
        locator: Locator,
    },
    /// It was on disk already, with so many deliveries.
    Duplicate {
        /// Deliveries that were made of it then.
        deliveries: u32,
    },
    /// Its id was used before for something else.
    Conflict,
    /// It would have been good, but another one of its batch was not.
    NotKept,
    /// The disk has no room for it. Nothing of its batch was kept.
    NoRoom,
}
