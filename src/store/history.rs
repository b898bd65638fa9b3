//! Finished deliveries: what ended in the newest segments, in memory, newest first. It never answers what is pending.
//!
//! A delivery's attempts are a chain in the journal, each pointing back to the one before, so all that is kept here is where the last one lies.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::fact::Fact;
use super::journal::Appended;
use crate::limits::RECENT_FINISHED_MAX;
use crate::model::{DeliveryKey, DeliveryState, Locator, Next};
use crate::time::UnixMillis;

/// A delivery that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub key: DeliveryKey,
    /// How it ended.
    pub state: DeliveryState,
    /// When.
    pub at: UnixMillis,
    /// Where its event lies, where that is known.
    pub body: Option<Locator>,
    /// Where its last attempt lies.
    pub last_attempt: Option<Locator>,
}

/// The newest finished deliveries, at most [`RECENT_FINISHED_MAX`]. Clones share them.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<VecDeque<Finished>>>);

impl History {
    /// Takes in what a synced fact ended.
    pub fn note(&self, place: Appended, fact: &Fact) {
        let mut ended = Vec::new();
        match fact {
            Fact::Accepted(accepted) => ended.extend(accepted.overflowed.iter().map(|webhook| Finished {
                key: DeliveryKey { sequence: place.sequence, webhook: *webhook },
                state: DeliveryState::Dropped,
                at: accepted.accepted,
                body: Some(place.locator),
                last_attempt: None,
            })),
            Fact::Attempted(attempted) => {
                let state = match attempted.attempt.next {
                    Next::RetryAt(_) => return,
                    Next::Delivered => DeliveryState::Delivered,
                    Next::Dropped => DeliveryState::Dropped,
                };
                let (body, last_attempt) = (Some(attempted.body), Some(place.locator));
                ended.push(Finished { key: attempted.key, state, at: attempted.attempt.finished, body, last_attempt });
            }
            Fact::Cancelled(cancelled) => ended.extend(cancelled.deliveries.iter().map(|one| Finished {
                key: one.key,
                state: DeliveryState::Cancelled,
                at: cancelled.at,
                body: Some(one.body),
                last_attempt: None,
            })),
            Fact::Webhook(_) | Fact::Blacklist(_) | Fact::Carried(_) | Fact::IdsCarried(_) | Fact::FloorRaised(_) => {}
        }
        if ended.is_empty() {
            return;
        }
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in ended {
            if recent.len() == RECENT_FINISHED_MAX {
                recent.pop_back();
            }
            recent.push_front(one);
        }
    }

    /// The first `limit` that `wanted` says yes to, newest first.
    pub fn newest(&self, limit: usize, wanted: impl Fn(&Finished) -> bool) -> Vec<Finished> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().filter(|one| wanted(one)).take(limit).copied().collect()
    }

    /// Forgets the deliveries whose event lies in a segment before `segment`, because those go.
    pub fn forget_before(&self, segment: u32) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|one| one.body.is_none_or(|body| body.segment >= segment));
    }

    /// The end of that delivery.
    #[must_use]
    pub fn find(&self, key: DeliveryKey) -> Option<Finished> {
        self.newest(1, |one| one.key == key).first().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Sequence, WebhookNumber};
    use crate::store::fact::{Cancelled, CancelledDelivery};

    #[test]
    fn the_newest_come_first_and_the_oldest_are_forgotten() {
        let history = History::default();
        let place = Appended { sequence: Sequence(1), locator: Locator::default(), checksum: 0 };
        for round in 0..=RECENT_FINISHED_MAX as u64 / 1000 {
            let deliveries = (0..1000)
                .map(|n| DeliveryKey { sequence: Sequence(round * 1000 + n), webhook: WebhookNumber(1) })
                .map(|key| CancelledDelivery { key, due: UnixMillis(0), body: Locator { segment: 1, offset: 8192 } })
                .collect();
            history.note(place, &Fact::Cancelled(Cancelled { at: UnixMillis(round), by: "test".into(), deliveries }));
        }
        let newest = history.newest(2, |_| true);
        assert_eq!(newest[0].key.sequence, Sequence(RECENT_FINISHED_MAX as u64 + 999));
        assert_eq!(newest[0].state, DeliveryState::Cancelled);
        assert!(history.find(DeliveryKey { sequence: Sequence(0), webhook: WebhookNumber(1) }).is_none());
        assert!(history.find(DeliveryKey { sequence: Sequence(1000), webhook: WebhookNumber(1) }).is_some());
        assert_eq!(history.newest(usize::MAX, |_| true).len(), RECENT_FINISHED_MAX);
    }
}
