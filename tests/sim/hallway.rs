//! The second hallway: it carries news and orders between the real engine, the real writer and simulated everything else. It never decides anything, as the first one does not.

use std::collections::{BTreeMap, HashMap, VecDeque};

use hookwheel::engine::{AttemptRecord, Effect, Engine, Input, Send, Ticket};
use hookwheel::limits::SPARE_RETRY_MS;
use hookwheel::model::{DeliveryKey, Locator, Outcome, OutcomeClass, Pause, Proposal, Sequence, WebhookNumber};
use hookwheel::store::fact::{Attempted, Cancelled, CancelledDelivery, Fact};
use hookwheel::store::history::History;
use hookwheel::store::journal::SpareJob;
use hookwheel::store::journal::reader::JournalReader;
use hookwheel::store::setting::Setting;
use hookwheel::store::view::keys::id_hash;
use hookwheel::store::writer::{Order, StoreError, Writer};
use hookwheel::time::UnixMillis;

use crate::archivist::Archivist;
use crate::defects::Defect;
use crate::laws::{self, Law, require};
use crate::ledger::KnownId;
use crate::medium::SimMedium;
use crate::mirror::Mirror;
use crate::notices::Gossip;
use crate::office::Office;
use crate::table::SimTable;
use crate::wishes::Wishes;
use crate::world::{Happening, World};

/// After there is room again it takes so long until all segments are prepared that were missing.
const FULL_LINGERS_MS: u64 = 60_000;

/// What follows when an operator's fact is durable.
#[derive(Debug)]
pub(crate) enum Operation {
    Reconfigured,
    PauseChanged(WebhookNumber),
    /// Somebody is told that what he wanted is done.
    Wished,
    Removed(WebhookNumber),
    Set(Setting),
}

/// One process.
pub(crate) struct Daemon {
    pub(crate) incarnation: u64,
    pub(crate) engine: Engine,
    pub(crate) writer: Writer<SimMedium, SimTable>,
    pub(crate) bodies: JournalReader<SimMedium>,
    pub(crate) durable: JournalReader<SimMedium>,
    pub(crate) mirror: Mirror,
    pub(crate) gossip: Gossip,
    pub(crate) office: Office,
    /// News on its way to the engine.
    pub(crate) inbox: VecDeque<Input>,
    /// Orders on their way to the writer.
    pub(crate) orders: VecDeque<Order>,
    pub(crate) operations: BTreeMap<u64, Operation>,
    /// Barriers on their way, each with the number of the fact that must be in the table; none while its order waits.
    pub(crate) barriers: BTreeMap<u64, Option<u64>>,
    pub(crate) history: History<SimMedium>,
    /// Where new events of unanswered publications lie.
    pub(crate) places: HashMap<Ticket, Vec<(Sequence, Locator)>>,
    pub(crate) spare: Option<(u64, SpareJob<SimMedium>)>,
    /// Changes of Black Lists ordered so far.
    pub(crate) blacklist_tickets: u64,
    /// Records ordered and not yet durable.
    pub(crate) unrecorded: usize,
    pub(crate) archivist: Archivist,
    pub(crate) wishes: Wishes,
    /// A record that a planted defect holds back.
    pub(crate) held_back: Option<Order>,
    pub(crate) started_ms: u64,
    pub(crate) started: UnixMillis,
    pub(crate) engine_at: u64,
    pub(crate) writer_at: u64,
    pub(crate) lull_until: u64,
    pub(crate) checkpoint_at: u64,
    pub(crate) drains_until: Option<u64>,
}

impl Daemon {
    /// The schedule clock.
    pub(crate) fn schedule(&self, now_ms: u64) -> UnixMillis {
        self.started.plus_ms(now_ms - self.started_ms)
    }

    /// Puts news into the engine's inbox.
    pub(crate) fn tell(&mut self, input: Input, at_ms: u64) {
        self.inbox.push_back(input);
        self.engine_at = self.engine_at.min(at_ms);
    }

    /// Puts an order into the writer's inbox.
    pub(crate) fn order(&mut self, order: Order, at_ms: u64) {
        self.orders.push_back(order);
        self.writer_at = self.writer_at.min(at_ms);
    }

    /// Makes facts durable; what follows then is `operation`.
    pub(crate) fn operate(&mut self, facts: Vec<Fact>, operation: Operation, at_ms: u64) {
        let ticket = self.operations.last_key_value().map_or(1, |(last, _)| last + 1);
        self.operations.insert(ticket, operation);
        self.order(Order::Operate { ticket, facts }, at_ms);
    }

    /// Nothing is on its way anywhere, and the view has everything.
    pub(crate) fn is_idle(&self) -> bool {
        let is_quiet = self.inbox.is_empty()
            && self.orders.is_empty()
            && self.operations.is_empty()
            && self.barriers.is_empty()
            && self.wishes.is_idle()
            && self.engine.is_still();
        is_quiet && self.writer.sync_at().is_none() && self.writer.view().lag() == 0
    }
}

impl World {
    /// The engine's thread runs for a while.
    pub(crate) fn engine_step(&mut self) -> Law {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        let law = self.run_engine(&mut daemon);
        self.daemon = Some(daemon);
        law
    }

    fn run_engine(&mut self, daemon: &mut Daemon) -> Law {
        let now = daemon.schedule(self.now_ms);
        let inputs = if daemon.inbox.is_empty() { 0 } else { 1 + self.rng.index(daemon.inbox.len()) };
        for _ in 0..inputs.max(1) {
            let input = daemon.inbox.pop_front().unwrap_or(Input::Ticked);
            self.mirror_input(daemon, &input, now);
            let is_carried = matches!(input, Input::Carried(_));
            let mut effects = Vec::new();
            daemon.engine.handle(self.spoil_time(now), self.spoil_input(input), &mut effects);
            for effect in effects {
                self.carry_out(daemon, effect, now)?;
            }
            if is_carried {
                self.the_engine_knows_what_was_carried(daemon);
            }
        }
        self.answer_the_archivist(daemon);
        laws::the_engine_knows_what_is_pending(&daemon.mirror, &daemon.engine)?;
        let wakeup = daemon.engine.next_wakeup();
        if wakeup.is_none_or(|at| at > now) && self.rng.one_in(4) {
            laws::nobody_is_forgotten(&daemon.mirror, &daemon.engine, now)?;
        }
        let lateness_ms = self.rng.below(3);
        daemon.engine_at = match wakeup {
            _ if !daemon.inbox.is_empty() => self.now_ms + lateness_ms,
            Some(at) => self.now_ms + at.since_ms(now) + lateness_ms,
            None => u64::MAX,
        };
        Ok(())
    }

    fn mirror_input(&mut self, daemon: &mut Daemon, input: &Input, now: UnixMillis) {
        let mirror = &mut daemon.mirror;
        daemon.gossip.heard(input);
        match input {
            Input::Configured(configuration) => {
                mirror.configured(configuration, now);
                for (webhook, _) in &configuration.webhooks {
                    let longest = self.longest.entry(webhook.number).or_default();
                    *longest = (*longest).max(webhook.spec.schedule.attempts_total());
                    self.moods.entry(webhook.number).or_default();
                }
            }
            Input::Loaded(entries) => mirror.loaded(entries),
            Input::Committed { settled, .. } => mirror.committed(settled),
            Input::Paused { webhook, paused } => mirror.lane(*webhook).paused = *paused,
            Input::Resumed { webhook } => mirror.lane(*webhook).gone = false,
            Input::Removed { webhook, .. } => mirror.lane(*webhook).removed = true,
            Input::DrainBegan => mirror.draining = true,
            Input::Reopened(entries) => mirror.reopened(entries),
            Input::RetryWanted { .. } | Input::CancelWanted { .. } | Input::ReopenWanted { .. } | Input::Carried(_) => {}
            Input::SendingPaused(paused) => mirror.sending_paused = *paused,
            Input::Published { .. } | Input::Attempted { .. } | Input::Recorded(_) | Input::Ticked => {}
            Input::PausesBegan(_) | Input::DiskMeasured { .. } | Input::Told(_) => {}
        }
    }

    fn carry_out(&mut self, daemon: &mut Daemon, effect: Effect, now: UnixMillis) -> Law {
        let soon_ms = self.now_ms + self.rng.below(3);
        match effect {
            Effect::Commit { ticket, batch } => self.commit(daemon, ticket, batch, soon_ms)?,
            Effect::Reply { ticket, reply } => self.reply(daemon, ticket, &reply)?,
            Effect::Send(send) => self.send(daemon, &send, now)?,
            Effect::RecordAttempt(record) => {
                laws::attempts_follow_the_schedule(&daemon.mirror, &record, now)?;
                daemon.mirror.recorded(&record);
                daemon.gossip.recorded(&record);
                daemon.unrecorded += 1;
                let AttemptRecord { key, body, attempt } = record;
                self.note(
                    "attempt ended",
                    &[("event", key.sequence.0), ("webhook", key.webhook.0.into()), ("number", attempt.number.into())],
                );
                daemon.order(Order::Record(Fact::Attempted(Attempted { key, body, previous: None, attempt })), soon_ms);
            }
            Effect::RecordCancelled { keys, by } => {
                self.note("cancelled", &[("deliveries", keys.len() as u64)]);
                for (key, due) in &keys {
                    let lane = daemon.mirror.lane(key.webhook);
                    let waiting = lane.waiting.remove(&key.sequence);
                    let is_doomed = waiting.is_some_and(|one| one.is_doomed);
                    let fits = (lane.removed || is_doomed) && waiting.is_some_and(|one| !one.in_flight && one.due == *due);
                    require("only what waits for a removed webhook, or failed after somebody wanted it ended, is cancelled", fits, || {
                        format!("{key:?}: {waiting:?}")
                    })?;
                }
                daemon.unrecorded += 1;
                let deliveries = keys.into_iter().map(|(key, due)| CancelledDelivery::new(key, due)).collect();
                daemon.order(Order::Record(Fact::Cancelled(Cancelled { at: now, by, deliveries })), soon_ms);
            }
            Effect::Found { ticket, found } => self.found(daemon, ticket, &found, false)?,
            Effect::Cancel { ticket, keys, by, found } => {
                self.found(daemon, ticket, &found, true)?;
                self.wish_ends(daemon, keys, by, now, soon_ms)?;
            }
            Effect::Reopen { ticket, grants } => self.reopen(daemon, ticket, &grants, soon_ms)?,
            Effect::PauseWebhook { webhook, reason } => {
                self.note("paused by 410", &[("webhook", webhook.0.into())]);
                let said_before = std::mem::replace(&mut daemon.mirror.lane(webhook).gone, true);
                require("a webhook that is gone is paused once", !said_before, || format!("{webhook:?}"))?;
                let pause = Pause { reason, since: now, by: "receiver".into() };
                if let Some(fact) = daemon.office.set_pause(webhook, Some(pause)) {
                    daemon.operate(vec![fact], Operation::PauseChanged(webhook), soon_ms);
                }
            }
            Effect::Tell(notice) => self.publish_notice(daemon, &notice)?,
        }
        Ok(())
    }

    fn commit(&mut self, daemon: &mut Daemon, ticket: Ticket, batch: Vec<Proposal>, soon_ms: u64) -> Law {
        for proposal in &batch {
            laws::all_that_match_get_it(&daemon.mirror, &proposal.event_type, &proposal.project, proposal)?;
            daemon.mirror.proposed(proposal);
        }
        if self.defect == Defect::AnswersEarly {
            let says = |proposal: &Proposal| {
                (proposal.project.clone(), proposal.id.to_string(), proposal.deliveries.len() + proposal.overflowed.len())
            };
            let told = batch.iter().filter(|proposal| !proposal.id_by_client).map(says).collect::<Vec<_>>();
            self.answered.extend(told.into_iter().map(|(project, id, made)| ((project, id), u32::try_from(made).expect("few webhooks"))));
        }
        daemon.order(Order::Commit { ticket: ticket.0, batch }, soon_ms);
        Ok(())
    }

    fn send(&mut self, daemon: &mut Daemon, send: &Send, now: UnixMillis) -> Law {
        let key = send.key;
        self.note("sent", &[("event", key.sequence.0), ("webhook", key.webhook.0.into()), ("attempt", send.attempt.into())]);
        if !self.lied && !self.rotten {
            laws::it_is_durable(&daemon.durable, key.sequence, send.body)?;
        }
        laws::never_early(&daemon.mirror, send, now)?;
        laws::caps_hold(&daemon.mirror, send, daemon.mirror.in_flight as usize + daemon.unrecorded)?;
        daemon.mirror.sent(send, now);
        laws::the_rate_holds(daemon.mirror.lane(key.webhook), now)?;
        let read = daemon.bodies.read(send.body);
        if !self.rotten {
            laws::the_event_is_there(key, &read)?;
        }
        let (outcome, takes_ms) = match read {
            Ok(read) => {
                if !self.rotten {
                    laws::bytes_are_identical(&self.ledger, send, &read.fact)?;
                }
                *self.sends.entry(key).or_default() += 1;
                let mood = self.moods.get(&key.webhook).copied().unwrap_or_default();
                mood.answer(&mut self.rng, send.webhook.spec.timeout_ms)
            }
            Err(error) => {
                *self.sends.entry(key).or_default() += 1;
                (Outcome::new(OutcomeClass::BodyUnreadable, error.to_string()), 1)
            }
        };
        self.plan_in(takes_ms, Happening::AttemptEnds { incarnation: daemon.incarnation, key, body: send.body, outcome });
        Ok(())
    }

    /// A response arrives, if the process that waited for it still lives.
    pub(crate) fn attempt_ends(&mut self, incarnation: u64, key: DeliveryKey, body: Locator, outcome: Outcome) -> Law {
        let now_ms = self.now_ms + self.rng.below(2);
        let Some(daemon) = self.daemon.as_mut().filter(|daemon| daemon.incarnation == incarnation) else { return Ok(()) };
        if !self.rotten {
            laws::the_event_is_there(key, &daemon.bodies.read(body))?;
        }
        daemon.tell(Input::Attempted { key, outcome }, now_ms);
        Ok(())
    }

    /// The writer's thread runs for a while.
    pub(crate) fn writer_step(&mut self) -> Law {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        let outcome = self.run_writer(&mut daemon);
        self.daemon = Some(daemon);
        match outcome {
            Ok(law) => law,
            Err(error) => {
                self.process_fails(&error);
                Ok(())
            }
        }
    }

    fn run_writer(&mut self, daemon: &mut Daemon) -> Result<Law, StoreError> {
        let now = daemon.schedule(self.now_ms);
        self.latest_schedule = self.latest_schedule.max(now);
        let takes = self.rng.index(daemon.orders.len() + 1).max(usize::from(!daemon.orders.is_empty()));
        for _ in 0..takes {
            let Some(order) = daemon.orders.pop_front() else { break };
            if let Err(broken) = self.take(daemon, order, now)? {
                return Ok(Err(broken));
            }
        }
        let mut answers = Vec::new();
        if daemon.writer.sync_at().is_some_and(|at| at <= now) {
            daemon.writer.sync(&mut answers)?;
            self.ledger.acknowledge(daemon.writer.status().last_sequence);
            if let Err(broken) = self.check_blacklist(daemon) {
                return Ok(Err(broken));
            }
        }
        let steps = if self.now_ms < daemon.lull_until { 0 } else { self.rng.below(4) };
        for _ in 0..steps {
            daemon.writer.apply_step(&mut answers)?;
        }
        daemon.writer.forget_old_ids(now)?;
        if self.now_ms >= daemon.checkpoint_at && daemon.writer.space().status().view_waits_since.is_none() {
            daemon.writer.view().table().checkpoint_as_the_daemon_does()?;
            daemon.checkpoint_at = self.now_ms + self.rng.between(1000, 20_000);
        }
        self.prepare_spare(daemon, now)?;
        self.keep_history(daemon);
        daemon.writer.note_space(now);
        let disk = daemon.writer.space().status();
        self.reached.extend(disk.is_reserve_used_up.then_some("outcomes wait for room"));
        self.reached.extend(disk.view_waits_since.map(|_| "the view rests"));
        if let Err(broken) = laws::the_view_rests_without_room(&self.table) {
            return Ok(Err(broken));
        }
        if let Err(broken) = self.pass_on(daemon, answers) {
            return Ok(Err(broken));
        }
        daemon.writer_at = self.next_writer_step(daemon, now);
        Ok(Ok(()))
    }

    fn next_writer_step(&mut self, daemon: &Daemon, now: UnixMillis) -> u64 {
        let lateness_ms = self.rng.below(3);
        let waits = if daemon.writer.view().lag() > 0 && self.now_ms >= daemon.lull_until { 1 } else { 30_000 };
        let until_sync = daemon.writer.sync_at().map_or(u64::MAX, |at| at.since_ms(now));
        let orders = if daemon.orders.is_empty() { u64::MAX } else { 1 };
        let retry_ms = if daemon.writer.space().status().full_since.is_some() { SPARE_RETRY_MS } else { u64::MAX };
        let spare = daemon.spare.as_ref().map_or(retry_ms, |(at, _)| at.saturating_sub(self.now_ms));
        self.now_ms + lateness_ms + waits.min(until_sync).min(orders).min(spare)
    }

    /// Indexes of sealed segments are made beside the writer, when it comes to it.
    fn keep_history(&mut self, daemon: &Daemon) {
        if self.rng.one_in(8)
            && let Err(error) = daemon.history.work()
        {
            self.report(&format!("no index for a sealed segment: {error}"));
        }
    }

    /// The next segment is prepared beside the writer, and is ready some time later.
    fn prepare_spare(&mut self, daemon: &mut Daemon, now: UnixMillis) -> Result<(), StoreError> {
        if let Some(job) = daemon.writer.spare_job(now) {
            daemon.spare = Some((self.now_ms + self.rng.below(5000), job));
        }
        if let Some((_, job)) = daemon.spare.take_if(|(at, _)| *at <= self.now_ms) {
            let prepared = job.run();
            if let Err(error) = &prepared {
                self.report(&format!("no spare segment: {error}"));
            }
            daemon.writer.take_spare(prepared, now)?;
        }
        Ok(())
    }

    /// The writer takes an order. Whether it refuses a commit is for it to say, and for a law to judge.
    fn take(&mut self, daemon: &mut Daemon, order: Order, now: UnixMillis) -> Result<Law, StoreError> {
        let Order::Commit { ticket, batch } = &order else {
            self.foretell(daemon, &order);
            for order in self.spoil_order(daemon, order) {
                daemon.writer.take(order, now)?;
            }
            return Ok(Ok(()));
        };
        if self.rotten {
            daemon.writer.take(order, now)?;
            return Ok(Ok(()));
        }
        for proposal in batch {
            self.forget_if_forgotten(daemon, proposal);
        }
        let (ticket, batch, last) = (*ticket, batch.clone(), daemon.writer.status().last_sequence);
        daemon.writer.take(order, now)?;
        if daemon.writer.status().last_sequence > last || !self.ledger.has_new(&batch) {
            self.ledger.take_commit(ticket, &batch);
            return Ok(Ok(()));
        }
        self.note("refused, the disk is full", &[("ticket", ticket), ("events", batch.len() as u64)]);
        self.ledger.refuse_commit(ticket, batch.len());
        let was_full = self.full_until.is_some_and(|until| self.now_ms < until.saturating_add(FULL_LINGERS_MS));
        Ok(require("events are refused only while the disk is full", was_full, || format!("full until {:?}", self.full_until)))
    }

    /// The ledger learns of an order before the writer does.
    pub(crate) fn foretell(&mut self, daemon: &mut Daemon, order: &Order) {
        if self.rotten {
            return;
        }
        match order {
            Order::Commit { .. } => {}
            Order::Record(fact) => self.ledger.take_facts(vec![fact.clone()]),
            Order::Operate { facts, .. } => self.ledger.take_facts(facts.clone()),
            Order::Carry { carry, .. } => {
                self.forget_carried_if_forgotten(daemon, carry);
                self.ledger.take_carry(carry, daemon.schedule(self.now_ms));
            }
            Order::Blacklist { ticket, change } => self.ledger.take_blacklist(*ticket, change),
            Order::Barrier { ticket } => drop(daemon.barriers.insert(*ticket, Some(daemon.writer.status().last_sequence))),
            Order::SetIdempotencyWindow { window_ms } => self.ledger.window_ms = *window_ms,
        }
    }

    /// An id that is as old as the window may be forgotten or not.
    fn forget_if_forgotten(&mut self, daemon: &Daemon, proposal: &Proposal) {
        let name = (proposal.project.clone(), proposal.id.clone());
        let is_old = |known: &KnownId| self.latest_schedule.since_ms(known.accepted) >= self.ledger.window_ms;
        if self.ledger.books.ids.get(&name).is_some_and(is_old) {
            let row = daemon.writer.view().idempotency_row(&id_hash(&proposal.project, &proposal.id));
            if matches!(row, Ok(None)) {
                self.ledger.books.ids.remove(&name);
            }
        }
    }
}
