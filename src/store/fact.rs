//! The facts: everything that ever changes what the daemon owes somebody, in the past tense. They never say how they are written down.
//!
//! The state of the store is the fold of its facts. A fact carries whatever folding it needs, so that no fold ever looks anything up:
//! an [`Attempted`] names the due time at which its delivery stood in the queue, a [`WebhookState`] is the whole state of one webhook.

use std::sync::Arc;

use crate::model::blacklist::{Cause, Entry};
use crate::model::{
    Address, Attempt, DeliveryKey, EventId, EventTypeName, FieldsHash, Locator, Origin, Pause, Project, Secret, WebhookId, WebhookNumber,
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
    /// Where its `Accepted` lies.
    pub body: Locator,
    /// Where the attempt before it lies; the writer fills it in.
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
    /// The secret that hookwheel made for it.
    pub generated_secret: Option<Secret>,
    /// Whether that secret was shown to somebody.
    pub secret_shown: bool,
    /// Why it sends nothing, apart from its definition.
    pub pauses: Vec<Pause>,
    /// Set when it was removed for good: whatever is pending for it is being cancelled.
    pub removed: Option<UnixMillis>,
}

/// Deliveries that ended `cancelled`; at most [`crate::limits::BULK_SLICE_KEYS`] a fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// When.
    pub at: UnixMillis,
    /// Who, and why.
    pub by: String,
    /// Which, each with the due time at which it stood in the queue.
    pub keys: Vec<(DeliveryKey, UnixMillis)>,
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
