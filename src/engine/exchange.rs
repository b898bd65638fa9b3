//! What reaches the engine and what it orders: two closed enums. They decide nothing.

use std::sync::Arc;

use super::pending::Entry;
use crate::model::{
    Attempt, Catalog, DeliveryKey, EventId, Locator, NewEvent, Notice, Outcome, Pause, PauseReason, Proposal, Settled, Webhook,
    WebhookNumber,
};
use crate::time::UnixMillis;

/// Names a publication until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed.
    Ticked,
    /// There is a configuration; it replaces the one before.
    Configured(Configuration),
    /// Recovery found these deliveries pending. Comes before anything is published; what belongs to an ordered webhook comes in one piece, by age.
    Loaded(Vec<Entry>),
    /// Somebody wants these events made durable, all or none.
    Published {
        /// Who is to be answered.
        ticket: Ticket,
        /// The events, at least one.
        events: Vec<NewEvent>,
    },
    /// The store settled a commit. These come in the order of the journal.
    Committed {
        /// The publication.
        ticket: Ticket,
        /// Every proposal of it, with its verdict.
        settled: Vec<Settled>,
    },
    /// An attempt ended.
    Attempted {
        /// The delivery.
        key: DeliveryKey,
        /// What came of it.
        outcome: Outcome,
    },
    /// So many records are durable.
    Recorded(usize),
    /// A webhook's pauses changed.
    Paused {
        /// Which.
        webhook: WebhookNumber,
        /// Whether it is paused now.
        paused: bool,
    },
    /// Webhooks have one more pause, durably: that may have to be told.
    PausesBegan(Vec<(WebhookNumber, Pause)>),
    /// So many bytes are free on the disk.
    DiskMeasured {
        /// How many.
        free_bytes: u64,
    },
    /// So many notices are durable as events, or were given up.
    Told(usize),
    /// Somebody resumed a webhook: that its endpoint said it is gone counts no longer. Pauses that are written down are another matter.
    Resumed {
        /// Which.
        webhook: WebhookNumber,
    },
    /// A webhook was removed for good; the fact is durable. Its pending deliveries are cancelled in slices.
    Removed {
        /// Which.
        webhook: WebhookNumber,
        /// Who did it, and why.
        by: String,
    },
    /// An operator wants these deliveries tried now, whatever they wait for; answered by [`Effect::Found`].
    RetryWanted {
        /// Who is to be answered.
        ticket: Ticket,
        /// Which.
        keys: Vec<DeliveryKey>,
    },
    /// An operator wants these deliveries ended; answered by [`Effect::Cancel`].
    CancelWanted {
        /// Who is to be answered.
        ticket: Ticket,
        /// Which, at most [`crate::limits::BULK_SLICE_KEYS`].
        keys: Vec<DeliveryKey>,
        /// Who wants it.
        by: String,
    },
    /// An operator wants these deliveries, which ended, tried anew; answered by [`Effect::Reopen`].
    ReopenWanted {
        /// Who is to be answered.
        ticket: Ticket,
        /// Which.
        keys: Vec<DeliveryKey>,
    },
    /// Deliveries for which there was a [`Grant`] are pending again, durably.
    Reopened(Vec<Entry>),
    /// The events of these deliveries lie elsewhere from now on, durably; those that ended meanwhile are passed over.
    Carried(Vec<(DeliveryKey, Locator)>),
    /// Whether sending is paused as a whole, by hand: events are still accepted, and what comes due waits.
    SendingPaused(bool),
    /// The daemon is ending: nothing new is accepted or sent.
    DrainBegan,
}

/// What the engine needs of the configuration.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The event types.
    pub catalog: Arc<Catalog>,
    /// The webhooks in force, and whether each is paused. A webhook that is missing here takes nothing new and is sent nothing.
    pub webhooks: Vec<(Arc<Webhook>, bool)>,
    /// Attempts at once, all webhooks.
    pub max_in_flight: u32,
    /// Pending deliveries, all webhooks.
    pub max_pending: u32,
    /// Pending deliveries of one webhook.
    pub max_pending_per_webhook: u32,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make these durable, all or none, and say so with [`Input::Committed`].
    Commit {
        /// The publication.
        ticket: Ticket,
        /// Its events with their deliveries.
        batch: Vec<Proposal>,
    },
    /// Answer a publication.
    Reply {
        /// Which.
        ticket: Ticket,
        /// What to say.
        reply: Reply,
    },
    /// Post a delivery and say what came of it with [`Input::Attempted`].
    Send(Send),
    /// Write down an attempt, soon; say so with [`Input::Recorded`].
    RecordAttempt(AttemptRecord),
    /// Write down that these deliveries were cancelled, each with the due time at which it stood; say so with [`Input::Recorded`].
    RecordCancelled {
        /// Which.
        keys: Vec<(DeliveryKey, UnixMillis)>,
        /// Who did it, and why.
        by: String,
    },
    /// Answer a [`Input::RetryWanted`]: what waited is in its lane now.
    Found {
        /// Which.
        ticket: Ticket,
        /// How each delivery was found, in the order in which they were named.
        found: Vec<Found>,
    },
    /// Make durable that these deliveries were cancelled, each with the due time at which it stood, and then answer an [`Input::CancelWanted`].
    Cancel {
        /// Which.
        ticket: Ticket,
        /// The deliveries that are cancelled.
        keys: Vec<(DeliveryKey, UnixMillis)>,
        /// Who wanted it.
        by: String,
        /// How each delivery was found, in the order in which they were named.
        found: Vec<Found>,
    },
    /// Make durable that the granted ones are pending again, say so with [`Input::Reopened`], and then answer an [`Input::ReopenWanted`].
    Reopen {
        /// Which.
        ticket: Ticket,
        /// For each delivery, in the order in which they were named.
        grants: Vec<Grant>,
    },
    /// The engine paused a webhook; write that down. Ordered once, until the webhook is resumed.
    PauseWebhook {
        /// Which.
        webhook: WebhookNumber,
        /// Why.
        reason: PauseReason,
    },
    /// Publish this as an event of the daemon's own project; say with [`Input::Told`] that it is durable.
    Tell(Notice),
}

/// How an operator's wish found a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It waited for its time or for room in its lane.
    Waiting,
    /// An attempt is under way.
    InFlight,
    /// It is not pending.
    NotPending,
}

/// Whether a delivery that ended may be tried anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It may, and room is reserved for it.
    Granted,
    /// It is pending.
    IsPending,
    /// Its webhook is not in force.
    NoWebhook,
    /// The queue is full, or that of its webhook.
    QueueFull,
}

/// The answer to a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Every event is durable: id, deliveries, and whether it was so before.
    Durable(Vec<(EventId, u32, bool)>),
    /// The events with these indexes were accepted before with other content; nothing was kept.
    Conflicts(Vec<(usize, EventId)>),
    /// The queue is full; nothing was kept.
    QueueFull {
        /// Pending deliveries.
        pending: usize,
        /// How many there may be.
        max_pending: u32,
    },
    /// The disk has no room; nothing was kept.
    DiskFull,
    /// This one publication would make too many deliveries; nothing was kept.
    TooManyDeliveries {
        /// How many it would make.
        deliveries: usize,
    },
    /// The daemon is ending; nothing was kept.
    Draining,
}

/// An order to post one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// The delivery.
    pub key: DeliveryKey,
    /// Where it goes.
    pub webhook: Arc<Webhook>,
    /// Where the event lies.
    pub body: Locator,
    /// The attempt's number in its round, from 1.
    pub attempt: u32,
    /// When it was due.
    pub due: UnixMillis,
    /// Whether its lane had room when it came due, so that it ought to start at once.
    pub prompt: bool,
}

/// An attempt to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// The delivery.
    pub key: DeliveryKey,
    /// Where the event lies.
    pub body: Locator,
    /// The attempt.
    pub attempt: Attempt,
}
