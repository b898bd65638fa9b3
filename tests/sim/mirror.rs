//! What the engine must know, kept a second time as plain maps, from its inputs and effects alone. It never decides anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use hookwheel::engine::pending::Entry;
use hookwheel::engine::{AttemptRecord, Configuration, Send};
use hookwheel::model::{DeliveryKey, Next, Proposal, Sequence, Settled, Verdict, Webhook, WebhookNumber};
use hookwheel::time::UnixMillis;

const SENDS_KEPT: usize = 64;

/// A pending delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) due: UnixMillis,
    pub(crate) attempts: u32,
    pub(crate) in_flight: bool,
    /// An operator wants it tried before its time.
    pub(crate) is_hastened: bool,
    /// An operator wants it ended; it must not be sent again.
    pub(crate) is_doomed: bool,
}

impl Waiting {
    pub(crate) fn new(due: UnixMillis, attempts: u32) -> Self {
        Self { due, attempts, in_flight: false, is_hastened: false, is_doomed: false }
    }
}

/// A webhook's lane.
#[derive(Default)]
pub(crate) struct LaneMirror {
    /// Its definition, when it is in the configuration.
    pub(crate) webhook: Option<Arc<Webhook>>,
    /// Its newest definition, in the configuration or not.
    pub(crate) last_known: Option<Arc<Webhook>>,
    pub(crate) paused: bool,
    /// Its endpoint said that it is gone, and nobody resumed it.
    pub(crate) gone: bool,
    pub(crate) removed: bool,
    pub(crate) reserved: usize,
    pub(crate) in_flight: u32,
    pub(crate) waiting: BTreeMap<Sequence, Waiting>,
    /// When the newest attempts began, since the rate was set.
    pub(crate) sends: VecDeque<UnixMillis>,
    pub(crate) rate_since: UnixMillis,
}

/// Every lane, and the limits that they share.
#[derive(Default)]
pub(crate) struct Mirror {
    pub(crate) lanes: BTreeMap<WebhookNumber, LaneMirror>,
    pub(crate) in_flight: u32,
    pub(crate) reserved: usize,
    pub(crate) max_in_flight: u32,
    pub(crate) max_pending: u32,
    pub(crate) max_pending_per_webhook: u32,
    pub(crate) draining: bool,
    pub(crate) sending_paused: bool,
}

impl Mirror {
    pub(crate) fn lane(&mut self, number: WebhookNumber) -> &mut LaneMirror {
        self.lanes.entry(number).or_default()
    }

    pub(crate) fn pending(&self) -> usize {
        self.lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    pub(crate) fn configured(&mut self, configuration: &Configuration, now: UnixMillis) {
        (self.max_in_flight, self.max_pending) = (configuration.max_in_flight, configuration.max_pending);
        self.max_pending_per_webhook = configuration.max_pending_per_webhook;
        for lane in self.lanes.values_mut() {
            lane.webhook = None;
        }
        for (webhook, paused) in &configuration.webhooks {
            let lane = self.lane(webhook.number);
            if lane.last_known.as_ref().is_none_or(|known| known.spec.rate != webhook.spec.rate) {
                lane.sends.clear();
                lane.rate_since = now;
            }
            lane.webhook = Some(Arc::clone(webhook));
            lane.last_known = Some(Arc::clone(webhook));
            lane.paused = *paused;
        }
    }

    pub(crate) fn loaded(&mut self, entries: &[Entry]) {
        for entry in entries {
            let waiting = Waiting::new(entry.due, u32::from(entry.attempts));
            self.lane(entry.key.webhook).waiting.insert(entry.key.sequence, waiting);
        }
    }

    /// Deliveries that ended are pending again.
    pub(crate) fn reopened(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.reserved -= 1;
            self.lane(entry.key.webhook).reserved -= 1;
        }
        self.loaded(entries);
    }

    /// The engine proposed an event.
    pub(crate) fn proposed(&mut self, proposal: &Proposal) {
        for number in &proposal.deliveries {
            self.lane(*number).reserved += 1;
            self.reserved += 1;
        }
    }

    pub(crate) fn committed(&mut self, settled: &[Settled]) {
        for one in settled {
            for number in &one.deliveries {
                self.reserved -= 1;
                let accepted = one.accepted;
                let lane = self.lane(*number);
                lane.reserved -= 1;
                if let Verdict::New { sequence, .. } = one.verdict {
                    lane.waiting.insert(sequence, Waiting::new(accepted, 0));
                }
            }
        }
    }

    pub(crate) fn sent(&mut self, send: &Send, now: UnixMillis) {
        self.in_flight += 1;
        let lane = self.lane(send.key.webhook);
        lane.in_flight += 1;
        if let Some(waiting) = lane.waiting.get_mut(&send.key.sequence) {
            waiting.in_flight = true;
            waiting.is_hastened = false;
        }
        lane.sends.push_back(now);
        if lane.sends.len() > SENDS_KEPT {
            lane.sends.pop_front();
        }
    }

    pub(crate) fn recorded(&mut self, record: &AttemptRecord) {
        self.in_flight -= 1;
        let lane = self.lane(record.key.webhook);
        lane.in_flight -= 1;
        match record.attempt.next {
            Next::RetryAt(due) => {
                let is_doomed = lane.waiting.get(&record.key.sequence).is_some_and(|one| one.is_doomed);
                let waiting = Waiting { is_doomed, ..Waiting::new(due, record.attempt.number) };
                lane.waiting.insert(record.key.sequence, waiting);
            }
            Next::Delivered | Next::Dropped => drop(lane.waiting.remove(&record.key.sequence)),
        }
    }

    /// What is pending under that key.
    pub(crate) fn find(&self, key: DeliveryKey) -> Option<&Waiting> {
        self.lanes.get(&key.webhook)?.waiting.get(&key.sequence)
    }
}

impl LaneMirror {
    /// Whether anything may be sent for it.
    pub(crate) fn is_open(&self) -> bool {
        self.webhook.is_some() && !self.paused && !self.gone && !self.removed
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.webhook.as_ref().is_some_and(|webhook| webhook.spec.ordered)
    }
}
