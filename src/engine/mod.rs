//! THE QUIET ROOM: what is sent, when, and what follows. It is pure and synchronous, it can't fail, and it never reads a clock, a disk or a socket.
//!
//! [`Engine::handle`] takes the time and one [`Input`] (news, in the past tense) and gives back [`Effect`]s (orders). Whoever drives it, the daemon or
//! the simulator, carries them out and brings the answers back as further inputs. The same inputs at the same times give the same effects.
//!
//! # The law of state
//! What the engine knows of an event changes when [`Input::Committed`] arrives, in the order of the journal, never when the commit is ordered; so nothing is
//! answered or sent that is not durable. The end of an attempt changes it at once: losing that fact in a crash repeats an attempt and no more.
//!
//! # Credits
//! Every effect is paid by a credit taken earlier, so no queue between the threads can be full when the engine adds to it:
//! a `Commit` by the ingest permit under which the `Published` came, a `Send` by the limit on attempts in flight, a record by one of
//! [`limits::OUTCOME_CREDITS`], which every attempt in flight holds already; at that number, sending stops until records are synced; a `Tell` by one of
//! [`limits::NOTICES_MAX`].

mod bulk;
mod exchange;
pub mod lanes;
pub mod list;
pub mod matching;
pub mod notices;
pub mod outlook;
pub mod pending;
pub mod recent;
pub mod retry;
pub mod tally;
mod telling;
pub mod wheel;
mod wishes;

use std::collections::HashSet;

use self::bulk::Removal;
pub use self::exchange::{AttemptRecord, Configuration, Effect, Found, Grant, Input, Reply, Send, Ticket};
use self::lanes::{Lanes, Turn};
use self::matching::Matching;
use self::notices::Notices;
use self::pending::{Entry, NodeNumber, Pending, Place};
use self::wheel::Wheel;
use self::wishes::Wishes;
use crate::limits;
use crate::model::report::Counters;
use crate::model::{
    Attempt, DeliveryKey, EventId, Locator, NewEvent, Next, Outcome, OutcomeClass, PauseReason, Proposal, Sequence, Settled, Verdict,
    WebhookNumber,
};
use crate::time::UnixMillis;

/// What is told of a webhook that had no room for a delivery.
const QUEUE_FULL: &str = "the queue of this webhook is full";

/// Who decides.
pub struct Engine {
    pending: Pending,
    wheel: Wheel,
    lanes: Lanes,
    matching: Matching,
    removals: Vec<Removal>,
    wishes: Wishes,
    notices: Notices,
    limits: EngineLimits,
    counters: Counters,
    reserved: usize,
    in_flight: u32,
    /// Attempts in flight whose event was carried elsewhere since they began.
    in_flight_elsewhere: u32,
    unsynced: usize,
    publications: usize,
    draining: bool,
    sending_paused: bool,
    more_due: bool,
}

#[derive(Clone, Copy)]
struct EngineLimits {
    max_in_flight: u32,
    max_pending: u32,
    max_pending_per_webhook: u32,
}

impl Engine {
    /// An engine without webhooks, whose wheel stands at `now`.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        let limits = EngineLimits {
            max_in_flight: limits::IN_FLIGHT_DEFAULT,
            max_pending: limits::PENDING_DEFAULT,
            max_pending_per_webhook: limits::PENDING_PER_WEBHOOK_DEFAULT,
        };
        Self {
            pending: Pending::default(),
            wheel: Wheel::new(now),
            lanes: Lanes::default(),
            matching: Matching::default(),
            removals: Vec::new(),
            wishes: Wishes::default(),
            notices: Notices::default(),
            limits,
            counters: Counters::default(),
            reserved: 0,
            in_flight: 0,
            in_flight_elsewhere: 0,
            unsynced: 0,
            publications: 0,
            draining: false,
            sending_paused: false,
            more_due: false,
        }
    }

    /// Takes in what happened and adds what is to be done to `effects`. At most [`limits::DUE_PER_CALL_MAX`] due entries are handled in one call;
    /// when there are more, [`Engine::next_wakeup`] says `now`.
    pub fn handle(&mut self, now: UnixMillis, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Ticked => {}
            Input::Configured(configuration) => self.configured(configuration, now),
            Input::Loaded(entries) => self.loaded(entries, now),
            Input::Published { ticket, events } => self.published(ticket, events, now, effects),
            Input::Committed { ticket, settled } => self.committed(ticket, settled, now, effects),
            Input::Attempted { key, outcome } => self.attempted(key, outcome, now, effects),
            Input::Recorded(count) => self.unsynced = self.unsynced.saturating_sub(count),
            Input::Paused { webhook, paused } => self.lanes.set_paused(webhook, paused),
            Input::PausesBegan(pauses) => self.pauses_began(pauses),
            Input::DiskMeasured { free_bytes } => self.disk_measured(free_bytes),
            Input::Told(count) => self.notices.told(count),
            Input::Resumed { webhook } => self.lanes.resume(webhook),
            Input::Removed { webhook, by } => self.removed(webhook, by),
            Input::RetryWanted { ticket, keys } => self.retry_wanted(ticket, &keys, now, effects),
            Input::CancelWanted { ticket, keys, by } => self.cancel_wanted(ticket, &keys, by, effects),
            Input::ReopenWanted { ticket, keys } => self.reopen_wanted(ticket, &keys, effects),
            Input::Reopened(entries) => self.reopened(entries, now),
            Input::Carried(moved) => self.carried(&moved),
            Input::SendingPaused(paused) => self.sending_paused = paused,
            Input::DrainBegan => self.draining = true,
        }
        self.advance(now);
        self.remove_slice(effects);
        self.end_doomed(effects);
        self.send(now, effects);
        self.tell(now, effects);
    }

    /// The moment at which [`Engine::handle`] wants to be called if nothing happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<UnixMillis> {
        if self.more_due || self.removal_can_go_on() || self.can_end_doomed() {
            return Some(UnixMillis(0));
        }
        self.wheel.next_wakeup().into_iter().chain(self.lanes.next_wakeup()).chain(self.notices.next_wakeup()).min()
    }

    /// Whether nothing is under way: no commit, no attempt, no record that is not durable.
    #[must_use]
    pub fn is_still(&self) -> bool {
        self.publications == 0 && self.in_flight == 0 && self.unsynced == 0
    }

    /// Counters since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Attempts under way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Attempts under way that were told a place for their event where it need not be much longer: [`Input::Carried`] came since.
    #[must_use]
    pub fn in_flight_elsewhere(&self) -> u32 {
        self.in_flight_elsewhere
    }

    /// The table of pending deliveries.
    #[must_use]
    pub fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Entries on the wheel.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.wheel.linked()
    }

    /// The lanes.
    #[must_use]
    pub fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// When the delivery that waits least is due.
    #[must_use]
    pub fn next_due(&self) -> Option<UnixMillis> {
        self.wheel.earliest_due(&self.pending)
    }

    /// A pending delivery, and whether an attempt is under way.
    #[must_use]
    pub fn delivery(&self, key: DeliveryKey) -> Option<(Entry, bool)> {
        let node = self.pending.find(key)?;
        Some((self.pending.entry(node), self.pending.place(node) == Place::InFlight))
    }

    fn configured(&mut self, configuration: Configuration, now: UnixMillis) {
        let Configuration { catalog, webhooks, max_in_flight, max_pending, max_pending_per_webhook } = configuration;
        self.limits = EngineLimits { max_in_flight, max_pending, max_pending_per_webhook };
        self.matching = Matching::new(&catalog, webhooks.iter().map(|(webhook, _)| webhook));
        self.lanes.close_all();
        let mut reordered = HashSet::new();
        for (webhook, paused) in webhooks {
            let number = webhook.number;
            if self.lanes.configure(webhook, paused, now) {
                reordered.insert(number);
            }
        }
        self.requeue(&reordered, now);
        self.look_who_listens(&catalog);
    }

    /// Gives everything that waits for these webhooks out anew, after their `ordered` changed: what an ordered lane holds is in its queue by age, what another holds is on the
    /// wheel. However many they are, the table is walked once.
    fn requeue(&mut self, webhooks: &HashSet<WebhookNumber>, now: UnixMillis) {
        if webhooks.is_empty() {
            return;
        }
        // All are found before the first is reissued, for a reissued one may get a number that the walk has not reached.
        let is_waiting = |pending: &Pending, node| {
            let is_ours = webhooks.contains(&pending.webhook(node)) && pending.entry_at(node).is_some();
            is_ours && pending.place(node) != Place::InFlight
        };
        let found = (0..self.pending.high_water()).filter(|node| is_waiting(&self.pending, *node)).collect::<Vec<_>>();
        let mut nodes = found.into_iter().map(|node| self.pending.reissue(node)).collect::<Vec<_>>();
        for number in webhooks {
            self.lanes.reset_queue(&mut self.pending, *number);
        }
        nodes.sort_by_key(|node| self.pending.entry(*node).key.sequence);
        for node in nodes {
            self.put(node, now);
        }
    }

    fn loaded(&mut self, entries: Vec<Entry>, now: UnixMillis) {
        for entry in entries {
            if let Some(node) = self.pending.insert(entry) {
                self.lanes.lane_mut(entry.key.webhook).pending += 1;
                self.put(node, now);
                self.pending.set_prompt(node, false);
                self.had_failed(entry, now);
            }
        }
    }

    fn published(&mut self, ticket: Ticket, events: Vec<NewEvent>, now: UnixMillis, effects: &mut Vec<Effect>) {
        if let Some(reply) = self.refusal(&events) {
            effects.push(Effect::Reply { ticket, reply });
            return;
        }
        self.publications += 1;
        let batch = events.into_iter().map(|event| self.propose(event, now)).collect();
        effects.push(Effect::Commit { ticket, batch });
    }

    fn refusal(&self, events: &[NewEvent]) -> Option<Reply> {
        if self.draining {
            return Some(Reply::Draining);
        }
        let deliveries = events.iter().map(|event| self.matching.wanting(&event.project, &event.event_type).len()).sum::<usize>();
        if deliveries > limits::DELIVERIES_PER_PUBLICATION_MAX {
            return Some(Reply::TooManyDeliveries { deliveries });
        }
        let (pending, max_pending) = (self.pending.len() + self.reserved, self.limits.max_pending);
        (pending + deliveries > max_pending as usize).then_some(Reply::QueueFull { pending, max_pending })
    }

    fn propose(&mut self, event: NewEvent, now: UnixMillis) -> Proposal {
        let mut proposal = Proposal::of(event, now);
        for number in self.matching.wanting(&proposal.project, &proposal.event_type) {
            let lane = self.lanes.lane_mut(*number);
            if lane.pending + lane.reserved >= self.limits.max_pending_per_webhook {
                proposal.overflowed.push(*number);
                continue;
            }
            lane.reserved += 1;
            self.reserved += 1;
            proposal.deliveries.push(*number);
        }
        proposal
    }

    fn committed(&mut self, ticket: Ticket, settled: Vec<Settled>, now: UnixMillis, effects: &mut Vec<Effect>) {
        self.publications = self.publications.saturating_sub(1);
        let mut durable = Vec::with_capacity(settled.len());
        let mut conflicts = Vec::new();
        let is_disk_full = settled.iter().any(|one| one.verdict == Verdict::NoRoom);
        for (index, one) in settled.into_iter().enumerate() {
            for number in &one.deliveries {
                self.lanes.lane_mut(*number).reserved -= 1;
                self.reserved -= 1;
            }
            match one.verdict {
                Verdict::New { sequence, locator } => durable.push(self.accepted(one, sequence, locator, now)),
                Verdict::Duplicate { deliveries } => {
                    self.counters.duplicates += 1;
                    durable.push((one.id, deliveries, true));
                }
                Verdict::Conflict => conflicts.push((index, one.id)),
                Verdict::NotKept | Verdict::NoRoom => {}
            }
        }
        let reply = match conflicts.is_empty() {
            _ if is_disk_full => Reply::DiskFull,
            true => Reply::Durable(durable),
            false => Reply::Conflicts(conflicts),
        };
        effects.push(Effect::Reply { ticket, reply });
    }

    fn accepted(&mut self, settled: Settled, sequence: Sequence, body: Locator, now: UnixMillis) -> (EventId, u32, bool) {
        let deliveries = settled.deliveries.len() + settled.overflowed.len();
        self.counters.accepted += 1;
        self.counters.deliveries += deliveries as u64;
        self.counters.dropped += settled.overflowed.len() as u64;
        for webhook in settled.overflowed {
            let tally = &mut self.lanes.lane_mut(webhook).tally;
            tally.dropped += 1;
            tally.failed(QUEUE_FULL.into(), now);
            self.was_dropped(DeliveryKey { sequence, webhook }, QUEUE_FULL, now);
        }
        for webhook in settled.deliveries {
            let entry = Entry { key: DeliveryKey { sequence, webhook }, body, due: settled.accepted, attempts: 0, round: 1 };
            if let Some(node) = self.pending.insert(entry) {
                self.lanes.lane_mut(webhook).pending += 1;
                self.put(node, now);
            }
        }
        let deliveries = u32::try_from(deliveries).expect("limits::DELIVERIES_PER_PUBLICATION_MAX is below 2^32");
        (settled.id, deliveries, false)
    }

    fn attempted(&mut self, key: DeliveryKey, outcome: Outcome, now: UnixMillis, effects: &mut Vec<Effect>) {
        let Some(node) = self.pending.find(key).filter(|node| self.pending.place(*node) == Place::InFlight) else {
            return;
        };
        self.in_flight -= 1;
        self.in_flight_elsewhere -= u32::from(self.pending.is_elsewhere(node));
        self.pending.set_elsewhere(node, false);
        self.unsynced += 1;
        self.counters.attempts += 1;
        let Entry { body, due, attempts, round, .. } = self.pending.entry(node);
        let number = u32::from(attempts) + 1;
        let lane = self.lanes.lane_mut(key.webhook);
        let next = match &lane.webhook {
            Some(webhook) => retry::decide(&webhook.spec.schedule, number, &outcome, now),
            // A lane that sent something has a webhook for good; this arm only keeps the delivery.
            None => Next::RetryAt(now.plus_ms(limits::WAKEUP_MAX_MS)),
        };
        let (class, sentence, took_us) = (outcome.class, outcome.sentence.clone(), outcome.phases.total_us);
        self.note_attempt(key, class, &sentence, next, now);
        let attempt = Attempt { round, number, due, finished: now, outcome, next };
        effects.push(Effect::RecordAttempt(AttemptRecord { key, body, attempt }));
        self.tally(key.webhook, class, sentence, next, now);
        self.lanes.attempt_ended(key.webhook, class, took_us, now);
        if class == OutcomeClass::Gone && self.lanes.set_gone(key.webhook) {
            effects.push(Effect::PauseWebhook { webhook: key.webhook, reason: PauseReason::Gone });
        }
        match next {
            Next::RetryAt(at) => {
                self.pending.reschedule(node, at, attempts.saturating_add(1));
                self.pending.set_place(node, Place::Loose);
                self.lanes.head_waits(key.webhook);
                self.wheel.insert(&mut self.pending, node);
                self.attempt_failed(key);
            }
            Next::Delivered | Next::Dropped => {
                self.forget(node);
                self.attempt_was_last(key);
            }
        }
        if self.lanes.came_to_order(key.webhook) {
            self.requeue(&HashSet::from([key.webhook]), now);
        }
    }

    fn carried(&mut self, moved: &[(DeliveryKey, Locator)]) {
        for (key, body) in moved {
            let Some(node) = self.pending.find(*key) else { continue };
            self.pending.set_body(node, *body);
            if self.pending.place(node) == Place::InFlight && !self.pending.is_elsewhere(node) {
                self.pending.set_elsewhere(node, true);
                self.in_flight_elsewhere += 1;
            }
        }
    }

    fn tally(&mut self, webhook: WebhookNumber, class: OutcomeClass, sentence: String, next: Next, now: UnixMillis) {
        let tally = &mut self.lanes.lane_mut(webhook).tally;
        if class == OutcomeClass::Success {
            tally.succeeded();
        } else {
            tally.failed_attempts += 1;
            tally.failed(sentence, now);
        }
        match next {
            Next::RetryAt(_) => {}
            Next::Delivered => {
                tally.delivered += 1;
                self.counters.delivered += 1;
            }
            Next::Dropped => {
                tally.dropped += 1;
                self.counters.dropped += 1;
            }
        }
    }

    fn forget(&mut self, node: NodeNumber) {
        let lane = self.lanes.lane_mut(self.pending.webhook(node));
        lane.pending -= 1;
        self.pending.remove(node);
    }

    fn put(&mut self, node: NodeNumber, now: UnixMillis) {
        let (number, due) = (self.pending.webhook(node), self.pending.due(node));
        if !self.pending.is_hastened(node) && self.lanes.wants_wheel(number, due, now) {
            self.wheel.insert(&mut self.pending, node);
            return;
        }
        let prompt = self.lanes.push(&mut self.pending, node, now);
        self.pending.set_prompt(node, prompt && !self.sending_paused);
    }

    fn advance(&mut self, now: UnixMillis) {
        let Self { pending, wheel, lanes, sending_paused, .. } = self;
        self.more_due = wheel.advance(pending, now, limits::DUE_PER_CALL_MAX, |pending, node| {
            let prompt = lanes.came_due(pending, node, now);
            pending.set_prompt(node, prompt && !*sending_paused);
        });
        self.lanes.wake_throttled(now);
    }

    fn send(&mut self, now: UnixMillis, effects: &mut Vec<Effect>) {
        while !self.draining
            && !self.sending_paused
            && self.in_flight < self.limits.max_in_flight
            && self.in_flight as usize + self.unsynced < limits::OUTCOME_CREDITS
        {
            match self.lanes.next(&mut self.pending, now) {
                None => return,
                Some(Turn::Wait(node)) => self.wheel.insert(&mut self.pending, node),
                Some(Turn::Send(node)) => {
                    let Entry { key, body, due, attempts, .. } = self.pending.entry(node);
                    let Some(webhook) = self.lanes.get(key.webhook).and_then(|lane| lane.webhook.clone()) else { continue };
                    self.in_flight += 1;
                    let prompt = self.pending.is_prompt(node);
                    effects.push(Effect::Send(Send { key, webhook, body, attempt: u32::from(attempts) + 1, due, prompt }));
                }
            }
        }
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
