//! Deliveries that ended and were taken up again by an operator: the end that they had counts no longer. It never says whether they are pending now.
//!
//! Taking a delivery up again leaves a row among the ends, whose state is `pending`. It is no end and is never listed; it is the newest row of its delivery as long as that has not ended anew.

use std::collections::HashMap;

use super::row::EndedRow;
use crate::model::{DeliveryKey, DeliveryState};
use crate::time::UnixMillis;

/// A delivery that was taken up again, and when.
pub(super) type TakenUp = (DeliveryKey, UnixMillis);

/// When each delivery was taken up the last time.
#[derive(Default)]
pub(super) struct Reopened(HashMap<DeliveryKey, UnixMillis>);

impl Reopened {
    pub(super) fn add(&mut self, taken_up: &[TakenUp]) {
        for (key, at) in taken_up {
            let latest = self.0.entry(*key).or_default();
            *latest = (*latest).max(*at);
        }
    }

    /// Whether a row is an end that still counts.
    pub(super) fn leaves(&self, row: &EndedRow) -> bool {
        row.state != DeliveryState::Pending && self.0.get(&row.key).is_none_or(|at| row.at >= *at)
    }
}

/// What a row says of a delivery that was taken up again.
pub(super) fn taken_up(row: &EndedRow) -> Option<TakenUp> {
    (row.state == DeliveryState::Pending).then_some((row.key, row.at))
}
