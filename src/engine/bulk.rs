//! Cancelling everything that is pending for a removed webhook, in slices. It never stalls the engine and never touches an attempt in flight.

use super::pending::{NodeNumber, Place};
use super::{Effect, Engine};
use crate::limits::BULK_SLICE_KEYS;
use crate::model::WebhookNumber;

/// Nodes that one slice looks at.
const NODES_PER_SLICE: NodeNumber = 16_384;

/// A webhook whose pending deliveries are being cancelled.
pub(super) struct Removal {
    webhook: WebhookNumber,
    by: String,
    /// Nodes below it have been looked at.
    cursor: NodeNumber,
}

impl Engine {
    /// The lane is dead from here on; what is pending in it ends `cancelled`, slice by slice.
    pub(super) fn removed(&mut self, webhook: WebhookNumber, by: String) {
        let lane = self.lanes.lane_mut(webhook);
        lane.closed = true;
        self.lanes.set_paused(webhook, true);
        self.notices.removed(webhook);
        self.removals.push(Removal { webhook, by, cursor: 0 });
    }

    /// Whether a removal could go on at once.
    pub(super) fn removal_can_go_on(&self) -> bool {
        let waits_for_attempts = |removal: &Removal| removal.cursor >= self.pending.high_water();
        self.has_record_credit() && self.removals.first().is_some_and(|removal| !waits_for_attempts(removal))
    }

    /// Cancels the next slice of the first removal.
    pub(super) fn remove_slice(&mut self, effects: &mut Vec<Effect>) {
        if !self.has_record_credit() || self.removals.is_empty() {
            return;
        }
        let mut removal = self.removals.remove(0);
        let keys = self.cancel_slice(&mut removal);
        if !keys.is_empty() {
            self.unsynced += 1;
            self.counters.cancelled += keys.len() as u64;
            effects.push(Effect::RecordCancelled { keys, by: removal.by.clone() });
        }
        let lane = self.lanes.get(removal.webhook);
        let (pending, reserved, in_flight) = lane.map_or((0, 0, 0), |lane| (lane.pending, lane.reserved, lane.in_flight));
        if pending == 0 && reserved == 0 {
            return;
        }
        if removal.cursor >= self.pending.high_water() && pending > in_flight {
            // An attempt that was in flight when its node was passed has come back since, or what was under way to the store was settled.
            removal.cursor = 0;
        }
        self.removals.push(removal);
    }

    /// First what is in the lane's queue, which nobody would walk any more; its nodes are free at once. Then what is on the wheel, which frees its own in time.
    fn cancel_slice(&mut self, removal: &mut Removal) -> Vec<(crate::model::DeliveryKey, crate::time::UnixMillis)> {
        let mut keys = Vec::new();
        while keys.len() < BULK_SLICE_KEYS
            && let Some(node) = self.lanes.take_queued(&mut self.pending, removal.webhook)
        {
            let entry = self.pending.entry(node);
            keys.push((entry.key, entry.due));
            self.forget(node);
        }
        let end = self.pending.high_water().min(removal.cursor.saturating_add(NODES_PER_SLICE));
        while removal.cursor < end && keys.len() < BULK_SLICE_KEYS {
            let node = removal.cursor;
            removal.cursor += 1;
            let Some(entry) = self.pending.entry_at(node).filter(|entry| entry.key.webhook == removal.webhook) else { continue };
            if self.pending.place(node) == Place::InFlight {
                continue;
            }
            keys.push((entry.key, entry.due));
            self.forget(node);
        }
        keys
    }
}
