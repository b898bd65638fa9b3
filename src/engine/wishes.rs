//! What operators want of single deliveries: try them now, try those that ended anew, end them. It never touches an attempt in flight and never asks whether a delivery ever existed.
//!
//! * **Try now.** A pending delivery goes into its lane at once, whatever it waits for. Nothing is written: its attempt is recorded with the due time at which it stands in the
//!   queue, and after a crash it is tried at that time.
//! * **Try anew.** A delivery that ended is pending again, in the next round and with a fresh schedule, as soon as that is durable. Until then it is reserved, so that nobody does the same twice.
//! * **End.** A pending delivery ends `cancelled`. One whose attempt is under way is marked: if the attempt fails, the delivery ends before it is tried again; the first terminal fact wins.

use std::collections::{HashMap, HashSet, VecDeque};

use super::exchange::{Found, Grant, Ticket};
use super::pending::{Entry, NodeNumber, Place};
use super::{Effect, Engine};
use crate::limits::{BULK_SLICE_KEYS, OUTCOME_CREDITS};
use crate::model::DeliveryKey;
use crate::time::UnixMillis;

/// What waits until it can be done.
#[derive(Default)]
pub(super) struct Wishes {
    /// Deliveries that ended and are on their way back, until that is durable.
    reopening: HashSet<DeliveryKey>,
    /// Deliveries that end with the attempt that is under way, and who wants that.
    doomed: HashMap<DeliveryKey, String>,
    /// Those of them whose attempt is back and failed.
    to_cancel: VecDeque<(DeliveryKey, String)>,
}

impl Engine {
    /// Puts what waits for its time into its lane now.
    pub(super) fn retry_wanted(&mut self, ticket: Ticket, keys: &[DeliveryKey], now: UnixMillis, effects: &mut Vec<Effect>) {
        let mut all_found = Vec::with_capacity(keys.len());
        for key in keys {
            // Each is looked for when its turn comes: one that is named twice has another node then.
            let (found, node) = self.find(*key);
            if found == Found::Waiting {
                self.hasten(node, now);
            }
            all_found.push(found);
        }
        effects.push(Effect::Found { ticket, found: all_found });
    }

    /// Ends what is pending.
    pub(super) fn cancel_wanted(&mut self, ticket: Ticket, keys: &[DeliveryKey], by: String, effects: &mut Vec<Effect>) {
        let mut cancelled = Vec::new();
        let mut all_found = Vec::with_capacity(keys.len());
        for key in keys {
            let (found, node) = self.find(*key);
            match found {
                Found::Waiting => cancelled.push((*key, self.cancel(node))),
                Found::InFlight => drop(self.wishes.doomed.insert(*key, by.clone())),
                Found::NotPending => {}
            }
            all_found.push(found);
        }
        effects.push(Effect::Cancel { ticket, keys: cancelled, by, found: all_found });
    }

    /// Says which deliveries that ended may be tried anew, and reserves room for them.
    pub(super) fn reopen_wanted(&mut self, ticket: Ticket, keys: &[DeliveryKey], effects: &mut Vec<Effect>) {
        let grants = keys.iter().map(|key| self.grant(*key)).collect();
        effects.push(Effect::Reopen { ticket, grants });
    }

    fn grant(&mut self, key: DeliveryKey) -> Grant {
        if self.pending.find(key).is_some() || self.wishes.reopening.contains(&key) {
            return Grant::IsPending;
        }
        let all = self.pending.len() + self.reserved;
        let Some(lane) = self.lanes.existing_mut(key.webhook).filter(|lane| !lane.closed && lane.webhook.is_some()) else {
            return Grant::NoWebhook;
        };
        if all >= self.limits.max_pending as usize || lane.pending + lane.reserved >= self.limits.max_pending_per_webhook {
            return Grant::QueueFull;
        }
        lane.reserved += 1;
        self.reserved += 1;
        self.wishes.reopening.insert(key);
        Grant::Granted
    }

    /// They are pending again, durably. In an ordered lane each has the place that its age gives it.
    pub(super) fn reopened(&mut self, entries: Vec<Entry>, now: UnixMillis) {
        let mut unordered = HashSet::new();
        for entry in entries {
            if !self.wishes.reopening.remove(&entry.key) {
                continue;
            }
            self.reserved -= 1;
            self.lanes.lane_mut(entry.key.webhook).reserved -= 1;
            if let Some(node) = self.pending.insert(entry) {
                self.lanes.lane_mut(entry.key.webhook).pending += 1;
                self.put(node, now);
                unordered.insert(entry.key.webhook);
            }
        }
        unordered.retain(|number| self.lanes.comes_to_order(*number));
        self.requeue(&unordered, now);
    }

    /// An attempt of this delivery failed and another one is to follow: if somebody wanted it ended meanwhile, it ends with the next slice.
    pub(super) fn attempt_failed(&mut self, key: DeliveryKey) {
        if let Some(by) = self.wishes.doomed.remove(&key) {
            self.wishes.to_cancel.push_back((key, by));
        }
    }

    /// This delivery ended by itself.
    pub(super) fn attempt_was_last(&mut self, key: DeliveryKey) {
        self.wishes.doomed.remove(&key);
    }

    /// Whether deliveries wait to be ended and could be.
    pub(super) fn can_end_doomed(&self) -> bool {
        !self.wishes.to_cancel.is_empty() && self.has_record_credit()
    }

    /// Ends deliveries whose attempt failed after somebody wanted them ended.
    pub(super) fn end_doomed(&mut self, effects: &mut Vec<Effect>) {
        while self.can_end_doomed() {
            let mut keys = Vec::new();
            let mut who = None;
            while let Some((_, by)) = self.wishes.to_cancel.front()
                && who.as_ref().is_none_or(|who| who == by)
                && keys.len() < BULK_SLICE_KEYS
                && let Some((key, by)) = self.wishes.to_cancel.pop_front()
            {
                who = Some(by);
                // A webhook that was removed meanwhile ended it already.
                if let (Found::Waiting, node) = self.find(key) {
                    keys.push((key, self.cancel(node)));
                }
            }
            if let Some(by) = who.filter(|_| !keys.is_empty()) {
                self.unsynced += 1;
                effects.push(Effect::RecordCancelled { keys, by });
            }
        }
    }

    pub(super) fn has_record_credit(&self) -> bool {
        self.in_flight as usize + self.unsynced < OUTCOME_CREDITS
    }

    /// How a delivery is found; the node means something only where it is pending.
    fn find(&self, key: DeliveryKey) -> (Found, NodeNumber) {
        match self.pending.find(key) {
            None => (Found::NotPending, super::pending::NONE),
            Some(node) if self.pending.place(node) == Place::InFlight => (Found::InFlight, node),
            Some(node) => (Found::Waiting, node),
        }
    }

    fn hasten(&mut self, node: NodeNumber, now: UnixMillis) {
        if self.pending.place(node) == Place::Lane {
            self.pending.set_hastened(node, true);
            return;
        }
        let node = self.pending.reissue(node);
        self.pending.set_hastened(node, true);
        self.lanes.came_due(&mut self.pending, node, now);
        self.pending.set_prompt(node, false);
    }

    /// Forgets a delivery that is not in flight; the due time at which it stood.
    fn cancel(&mut self, node: NodeNumber) -> UnixMillis {
        let (number, due, place) = (self.pending.webhook(node), self.pending.due(node), self.pending.place(node));
        self.forget(node);
        self.counters.cancelled += 1;
        self.lanes.one_left(&mut self.pending, number, place);
        due
    }
}
