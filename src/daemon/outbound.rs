//! From an order to send to its outcome: reads the event's body from the journal, has it posted, brings the outcome back. It never decides anything.
//!
//! Bodies are read by a few threads of their own, because reading a file blocks.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use tokio::runtime::Handle;

use super::wheelhouse::{Inbox, Message};
use crate::dispatch::{Dispatcher, Job};
use crate::engine::{Input, Send};
use crate::model::{Locator, Outcome, OutcomeClass};
use crate::server::metrics::Metrics;
use crate::store::fact::Accepted;
use crate::store::journal::medium::RealMedium;
use crate::store::journal::reader::JournalReader;
use crate::time::{ScheduleClock, wall_now};

/// What a sending thread works with.
#[derive(Clone)]
pub(super) struct Outbound {
    /// Reads bodies.
    pub(super) reader: JournalReader<RealMedium>,
    /// Posts.
    pub(super) dispatcher: Dispatcher,
    /// Where outcomes go.
    pub(super) inbox: Inbox,
    /// Counts.
    pub(super) metrics: Arc<Metrics>,
    /// The time.
    pub(super) clock: ScheduleClock,
    /// Where attempts run.
    pub(super) runtime: Handle,
}

impl Outbound {
    /// Carries out orders until nobody gives any more.
    pub(super) fn run(self, orders: &Receiver<Send>) {
        // An event for many webhooks is read once for all that follow each other.
        let mut last: Option<(Locator, Arc<Accepted>)> = None;
        while let Ok(send) = orders.recv() {
            let known = last.take().filter(|(place, _)| *place == send.body);
            let accepted = known.map_or_else(|| self.read(&send), |(_, accepted)| Ok(accepted));
            let this = self.clone();
            match accepted {
                Ok(accepted) => {
                    last = Some((send.body, Arc::clone(&accepted)));
                    drop(self.runtime.spawn(async move { this.attempt(send, &accepted).await }));
                }
                Err(outcome) => this.ended(&send, *outcome),
            }
        }
    }

    fn read(&self, send: &Send) -> Result<Arc<Accepted>, Box<Outcome>> {
        let unreadable = |why: String| {
            tracing::error!(delivery = %crate::model::DeliveryId(send.key), why, "an event can't be read from the journal; nothing is sent for it");
            Box::new(Outcome::new(
                OutcomeClass::BodyUnreadable,
                format!("the event can't be read from the journal, so nothing was sent: {why}"),
            ))
        };
        let found = self.reader.read(send.body).map_err(|error| unreadable(error.to_string()))?;
        let event = found.fact.into_event(found.sequence, send.key.sequence);
        event.map(Arc::new).ok_or_else(|| unreadable(format!("another fact lies at its place in segment {}", send.body.segment)))
    }

    async fn attempt(self, send: Send, accepted: &Accepted) {
        let job = Job {
            webhook: Arc::clone(&send.webhook),
            event_id: accepted.id.clone(),
            body: Arc::clone(&accepted.body),
            attempt: send.attempt,
            sent_at: wall_now(),
        };
        let outcome = self.dispatcher.attempt(job).await;
        if outcome.class == OutcomeClass::Success {
            self.metrics.delivered_after_ms(self.clock.now().since_ms(accepted.accepted));
        }
        self.ended(&send, outcome);
    }

    fn ended(&self, send: &Send, outcome: Outcome) {
        self.metrics.attempt_ended(&outcome);
        if let Some(reason) = outcome.class.blocked_reason() {
            self.metrics.egress_was_blocked(reason);
        }
        if outcome.class != OutcomeClass::Success {
            let webhook = send.webhook.spec.id.as_str();
            tracing::debug!(webhook, delivery = %crate::model::DeliveryId(send.key), attempt = send.attempt, outcome = outcome.class.as_str(), "{}", outcome.sentence);
        }
        self.inbox.put(Message::Input(Input::Attempted { key: send.key, outcome }));
    }
}
