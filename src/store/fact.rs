//! The facts: everything that ever changes what the daemon owes somebody, in the past tense. They never say how they are written down.
//!
//! The state of the store is the fold of its facts. A fact carries whatever folding it needs, so that no fold ever looks anything up:
//! an [`Attempted`] names the due time at which its delivery stood in the queue, a [`WebhookState`] is the whole state of one webhook.

use std::sync::Arc;

use super::setting::Setting;
use crate::model::blacklist::{Cause, Entry};
use crate::model::{
    Address, Attempt, DeliveryKey, EventId, EventTypeName, FieldsHash, KeptSecret, Locator, Origin, Pause, Project, Secret, Sequence,
    WebhookId, WebhookNumber,
};
use crate::time::UnixMillis;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An event was accepted, with its deliveries.
    Accepted(Accepted),
    /// An attempt ended.
    Attempted(Attempted),
    /// A webhook got its number, or something about it changed.
    Webhook(WebhookState),
    /// Deliveries were cancelled.
    Cancelled(Cancelled),
    /// An operator, or retention, changed a Black List.
    Blacklist(BlacklistChange),
    /// What is still pending of an event was written down again, before its segment goes.
    Carried(Carried),
    /// Ids that are still recognized were written down again, before their segment goes.
    IdsCarried(Vec<CarriedId>),
    /// Everything that still matters in the oldest segments was written down again: they may go.
    FloorRaised(FloorRaised),
    /// An operator set something, or took it away.
    Setting(Setting),
}

impl Fact {
    /// The event that accepted number `sequence`, if this fact tells of it: its `Accepted`, which has that number itself, or a [`Carried`].
    #[must_use]
    pub fn into_event(self, own: Sequence, sequence: Sequence) -> Option<Accepted> {
        match self {
            Self::Accepted(accepted) if own == sequence => Some(accepted),
            Self::Carried(carried) if carried.sequence == sequence => Some(carried.event),
            _ => None,
        }
    }

    /// When it happened, on the schedule clock; `None` where the fact does not say.
    #[must_use]
    pub fn moment(&self) -> Option<UnixMillis> {
        match self {
            Self::Accepted(accepted) => Some(accepted.accepted),
            Self::Attempted(attempted) => Some(attempted.attempt.finished),
            Self::Cancelled(cancelled) => Some(cancelled.at),
            Self::Carried(carried) => Some(carried.at),
            Self::FloorRaised(raised) => Some(raised.at),
            Self::Webhook(_) | Self::IdsCarried(_) | Self::Blacklist(_) | Self::Setting(_) => None,
        }
    }
}

/// An event and the deliveries made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The event's id.
    pub id: EventId,
    /// Whether the client chose it.
    pub id_by_client: bool,
    /// Its type.
    pub event_type: EventTypeName,
    /// Its project.
    pub project: Project,
    /// When it was accepted, on the schedule clock; its deliveries are due at once.
    pub accepted: UnixMillis,
    /// What "the same content" compares.
    pub fields_hash: FieldsHash,
    /// The address that it put on the project's Black List; none when that was there already.
    pub blacklisted: Option<Address>,
    /// The bytes that receivers get.
    pub body: Arc<[u8]>,
    /// The webhooks that it goes to.
    pub deliveries: Vec<WebhookNumber>,
    /// The webhooks whose queue was full: these deliveries ended `dropped` at once.
    pub overflowed: Vec<WebhookNumber>,
}

impl Accepted {
    /// The entry that it put on the project's Black List.
    #[must_use]
    pub fn listing(&self) -> Option<Entry> {
        let cause = Cause::of_event(&self.event_type, &self.id)?;
        Some(Entry { address: self.blacklisted.clone()?, since: self.accepted, cause })
    }
}

impl Fact {
    /// The addresses that it put on a Black List: whoever drops the fact must see to it that they stay there, see [`super::blacklist::carried`].
    #[must_use]
    pub fn listed(&self) -> Option<(&Project, Vec<&Address>)> {
        match self {
            Self::Accepted(accepted) => accepted.blacklisted.as_ref().map(|address| (&accepted.project, vec![address])),
            Self::Blacklist(BlacklistChange { project, action: BlacklistAction::List(entries) }) => {
                Some((project, entries.iter().map(|entry| &entry.address).collect()))
            }
            _ => None,
        }
    }
}

/// An attempt with its outcome and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The delivery.
    pub key: DeliveryKey,
    /// Where its event lies. The writer puts this right: the event may have been carried since the attempt began.
    pub body: Locator,
    /// Where the attempt before it lies, alone or inside a [`Carried`]; the writer fills it in.
    pub previous: Option<Locator>,
    /// The attempt.
    pub attempt: Attempt,
}

/// The whole state of one webhook that outlives the process and is not in its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookState {
    /// Its number, for ever.
    pub number: WebhookNumber,
    /// Its id.
    pub id: WebhookId,
    /// Where it comes from.
    pub origin: Origin,
    /// The secret that hookwheel made for it, or was given through the admin socket; how it is written down says [`KeptSecret`].
    pub generated_secret: Option<KeptSecret>,
    /// Whether that secret was shown to somebody; of `v1a` nothing is ever shown but the public key.
    pub secret_shown: bool,
    /// Why it sends nothing, apart from its definition.
    pub pauses: Vec<Pause>,
    /// Set when it was removed for good: whatever is pending for it is being cancelled.
    pub removed: Option<UnixMillis>,
}

impl WebhookState {
    /// Its secret, where it is not sealed.
    #[must_use]
    pub fn secret(&self) -> Option<&Secret> {
        self.generated_secret.as_ref().and_then(KeptSecret::open)
    }
}

/// Deliveries that ended `cancelled`; at most [`crate::limits::BULK_SLICE_KEYS`] a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// When.
    pub at: UnixMillis,
    /// Who, and why.
    pub by: String,
    /// Which.
    pub deliveries: Vec<CancelledDelivery>,
}

/// One of the deliveries of a [`Cancelled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelledDelivery {
    /// Which.
    pub key: DeliveryKey,
    /// The due time at which it stood in the queue.
    pub due: UnixMillis,
    /// Where its event lies; the writer fills it in.
    pub body: Locator,
    /// Where its last attempt lies; the writer fills it in.
    pub last_attempt: Option<Locator>,
}

impl CancelledDelivery {
    /// A delivery that stood in the queue at `due`.
    #[must_use]
    pub fn new(key: DeliveryKey, due: UnixMillis) -> Self {
        Self { key, due, body: Locator::default(), last_attempt: None }
    }
}

/// An event with those of its deliveries that are still pending: from here on this, and no longer what lies at `from`, is where they find it. Or with deliveries that ended and are
/// pending again from here on, because an operator wants them tried anew.
///
/// An event with many deliveries, or long timelines, makes several of these, each with the whole event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The number of the fact that accepted the event. The deliveries' keys go on naming it.
    pub sequence: Sequence,
    /// Where the event lay for these deliveries until now: its `Accepted`, or an older `Carried`. `None`: they had ended, and whatever they ended with counts no longer.
    pub from: Option<Locator>,
    /// When it was carried; later than the end of a delivery that had ended.
    pub at: UnixMillis,
    /// The event as it was accepted, without its lists of deliveries.
    pub event: Accepted,
    /// Where each delivery stands.
    pub deliveries: Vec<CarriedDelivery>,
}

impl Carried {
    /// How a delivery that ended is written down to be tried anew from `at` on, which is later than its end: with its event and every attempt so far, of which only the last one
    /// keeps what the receiver said.
    #[must_use]
    pub fn anew(key: DeliveryKey, event: Accepted, mut timeline: Vec<Attempt>, at: UnixMillis) -> Self {
        let round = timeline.last().map_or(1, |last| last.round).saturating_add(1);
        if let Some((_, older)) = timeline.split_last_mut() {
            older.iter_mut().for_each(|attempt| attempt.outcome.excerpt.clear());
        }
        let event = Accepted { deliveries: Vec::new(), overflowed: Vec::new(), ..event };
        let deliveries = vec![CarriedDelivery { webhook: key.webhook, due: at, round, attempts: 0, timeline }];
        Self { sequence: key.sequence, from: None, at, event, deliveries }
    }
}

/// One of the deliveries of a [`Carried`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarriedDelivery {
    /// The webhook.
    pub webhook: WebhookNumber,
    /// When the next attempt is due.
    pub due: UnixMillis,
    /// The round, from 1.
    pub round: u16,
    /// Attempts made in this round.
    pub attempts: u8,
    /// The attempts so far, the oldest first; of very many the newest [`crate::limits::CARRIED_ATTEMPTS_MAX`].
    pub timeline: Vec<Attempt>,
}

/// An id that a client chose, and what is compared when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarriedId {
    /// The hash of project and id.
    pub hash: [u8; 16],
    /// When its event was accepted.
    pub accepted: UnixMillis,
    /// What "the same content" compares.
    pub fields_hash: FieldsHash,
    /// Deliveries made of it.
    pub deliveries: u32,
}

/// Where the part of the journal begins that is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The first segment that is needed.
    pub segment: u32,
    /// The number of its first fact.
    pub sequence: Sequence,
}

impl Default for Floor {
    /// Of a journal from which nothing ever went.
    fn default() -> Self {
        Self { segment: 1, sequence: Sequence(1) }
    }
}

/// Everything below this floor may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloorRaised {
    /// The floor.
    pub floor: Floor,
    /// The latest schedule time that any fact before this one named.
    pub latest: UnixMillis,
    /// When it was raised.
    pub at: UnixMillis,
}

/// A change of one project's Black List; at most [`crate::limits::BULK_SLICE_KEYS`] addresses a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlacklistChange {
    /// The project.
    pub project: Project,
    /// What changed.
    pub action: BlacklistAction,
}

/// What can change about a Black List.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlacklistAction {
    /// These are listed, whatever the list said of them before.
    List(Vec<Entry>),
    /// These are listed no more.
    Remove {
        /// When.
        at: UnixMillis,
        /// Who did it.
        by: String,
        /// Which.
        addresses: Vec<Address>,
    },
}

impl BlacklistChange {
    /// Addresses that it changes something about.
    #[must_use]
    pub fn count(&self) -> usize {
        match &self.action {
            BlacklistAction::List(entries) => entries.len(),
            BlacklistAction::Remove { addresses, .. } => addresses.len(),
        }
    }
}
