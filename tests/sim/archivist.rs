//! Retention's thread: carries the real state machine's requests to engine, writer and lists of the simulated process. It never decides what goes.

use std::collections::VecDeque;
use std::sync::Arc;

use hookwheel::model::DeliveryState;
use hookwheel::store::carry::{Carry, Load};
use hookwheel::store::journal::medium::Medium;
use hookwheel::store::journal::segment::parse_file_name;
use hookwheel::store::retention::{Reply, Request, Retention, RetentionError, RetentionSettings};
use hookwheel::store::writer::{Order, StoreError};

use crate::defects::Defect;
use crate::hallway::Daemon;
use crate::laws::{Law, require};
use crate::medium::SimMedium;
use crate::workload::{MINUTE, Plan};
use crate::world::World;

/// Retention in one process.
pub(crate) struct Archivist {
    retention: Retention<SimMedium>,
    reply: Reply,
    /// When it goes on; never while it waits for an answer.
    pub(crate) at: u64,
    question: Option<Vec<hookwheel::model::DeliveryKey>>,
    barrier: Option<u64>,
    /// Loads of which the engine has not heard yet.
    pub(crate) carried: VecDeque<Load>,
    is_letting_go: bool,
    tickets: u64,
}

impl Archivist {
    pub(crate) fn new(medium: SimMedium, plan: &Plan, now_ms: u64) -> Self {
        Self {
            retention: Retention::new(Arc::new(medium), plan.segment_size),
            reply: Reply::Done,
            at: now_ms + MINUTE,
            question: None,
            barrier: None,
            carried: VecDeque::new(),
            is_letting_go: false,
            tickets: 0,
        }
    }

    fn answer(&mut self, reply: Reply, at_ms: u64) {
        (self.reply, self.at) = (reply, at_ms);
    }

    /// A barrier passed.
    pub(crate) fn at_barrier(&mut self, ticket: u64, at_ms: u64) {
        if self.barrier.take_if(|waits| *waits == ticket).is_some() {
            self.answer(Reply::Done, at_ms);
        }
    }
}

impl World {
    /// Retention's thread runs for a while.
    pub(crate) fn archivist_step(&mut self) -> Law {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        let now = daemon.schedule(self.now_ms);
        daemon.archivist.at = u64::MAX;
        if daemon.archivist.is_letting_go && daemon.engine.in_flight_elsewhere() > 0 && self.defect != Defect::LetsGoEarly {
            daemon.archivist.at = self.now_ms + 1 + self.rng.below(1000);
            self.daemon = Some(daemon);
            return Ok(());
        }
        daemon.archivist.is_letting_go = false;
        let Plan { keep_ms, max_size_bytes, idempotency_window_ms, .. } = self.plan;
        let settings = RetentionSettings { keep_ms, max_size_bytes, idempotency_window_ms };
        let reply = std::mem::replace(&mut daemon.archivist.reply, Reply::Done);
        let request = daemon.archivist.retention.step(now, &settings, &self.table, reply);
        match request {
            Ok(request) => self.do_for_the_archivist(&mut daemon, request),
            Err(error @ RetentionError::Disk { .. }) => {
                self.report(&error.to_string());
                daemon.archivist.at = self.now_ms + MINUTE;
            }
            Err(error) => {
                self.daemon = Some(daemon);
                self.report(&error.to_string());
                return self.archivist_fails(error);
            }
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    fn archivist_fails(&mut self, error: RetentionError) -> Law {
        match error {
            RetentionError::View(error) => self.process_fails(&StoreError::View(error)),
            _ => self.sudden_end(),
        }
        Ok(())
    }

    fn do_for_the_archivist(&mut self, daemon: &mut Daemon, request: Request) {
        let soon_ms = self.now_ms + self.rng.below(4);
        match request {
            // More seldom than in the daemon, for a seed has many hours.
            Request::Rest { .. } => daemon.archivist.at = self.now_ms + self.around(MINUTE),
            Request::FindPending(keys) => {
                daemon.archivist.question = Some(keys);
                daemon.engine_at = daemon.engine_at.min(soon_ms);
            }
            Request::Carry(carry) => {
                daemon.archivist.tickets += 1;
                daemon.order(Order::Carry { ticket: daemon.archivist.tickets, carry }, soon_ms);
            }
            Request::Barrier => {
                let ticket = daemon.barriers.last_key_value().map_or(1, |(last, _)| last + 1);
                daemon.barriers.insert(ticket, None);
                daemon.archivist.barrier = Some(ticket);
                daemon.order(Order::Barrier { ticket }, soon_ms);
            }
            Request::LetGo { before } => {
                // What can't be removed now is removed by the next start.
                drop(daemon.history.forget_before(before));
                daemon.archivist.is_letting_go = true;
                daemon.archivist.at = soon_ms;
            }
            Request::Dropped(dropped) => {
                let carried = dropped.deliveries as u64;
                self.note("segments went", &[("first kept", dropped.floor.segment.into()), ("carried", carried)]);
                daemon.bodies.close_before(dropped.floor.segment);
                daemon.durable.close_before(dropped.floor.segment);
                daemon.archivist.at = soon_ms;
            }
        }
    }

    /// The engine's thread answers what was asked, after it gave the orders that what it handled led to.
    pub(crate) fn answer_the_archivist(&mut self, daemon: &mut Daemon) {
        let Some(keys) = daemon.archivist.question.take() else { return };
        let due_of = |key| Some((key, daemon.engine.delivery(key)?.0.due));
        let pending = if self.defect == Defect::CarriesNothing { Vec::new() } else { keys.into_iter().filter_map(due_of).collect() };
        daemon.archivist.answer(Reply::Pending(pending), self.now_ms + self.rng.below(3));
    }

    /// The engine has heard where the events of carried deliveries lie now.
    pub(crate) fn the_engine_knows_what_was_carried(&mut self, daemon: &mut Daemon) {
        let load = daemon.archivist.carried.pop_front().unwrap_or_default();
        daemon.archivist.answer(Reply::Carried(load), self.now_ms + self.rng.below(3));
    }

    /// An id that is as old as the window may be forgotten or not.
    pub(crate) fn forget_carried_if_forgotten(&mut self, daemon: &Daemon, carry: &[Carry]) {
        for one in carry {
            let Carry::Ids(ids) = one else { continue };
            for id in ids.iter().filter(|id| self.latest_schedule.since_ms(id.accepted) >= self.ledger.window_ms) {
                let name = self.ledger.books.names.get(&id.hash);
                if let (Some(name), Ok(None)) = (name, daemon.writer.view().idempotency_row(&id.hash)) {
                    self.ledger.books.ids.remove(name);
                }
            }
        }
    }

    /// **Disk use is bounded**: when nothing is pending, every segment that is older than `keep` goes, and no more come than went. What still matters without being pending, such as
    /// an id, is carried on; where a crash had it carried twice there are two of it until both go at once.
    pub(crate) fn old_segments_go(&mut self) -> Law {
        let is_pending = self.ledger.books.deliveries.values().any(|delivery| delivery.state == DeliveryState::Pending);
        if is_pending || self.plan.keep_ms > 72 * MINUTE || self.daemon.is_none() {
            return Ok(());
        }
        let before = self.segments();
        let takes_ms = self.plan.keep_ms + 4 * MINUTE * (before.len() as u64 + 3);
        let (mut until_ms, mut incarnation) = (self.now_ms + takes_ms, self.incarnation);
        while self.now_ms < until_ms {
            self.step()?;
            if self.incarnation != incarnation {
                // A table that was hurt may be noticed only now; the process that follows takes its time anew.
                (until_ms, incarnation) = (self.now_ms + takes_ms, self.incarnation);
            }
        }
        let after = self.segments();
        let sealed_before = &before[..before.len().saturating_sub(1)];
        let stayed = sealed_before.iter().filter(|number| after.contains(number)).collect::<Vec<_>>();
        require("disk use is bounded", stayed.is_empty(), || {
            format!("the old segments {stayed:?} are still there, and nothing is pending")
        })?;
        require("disk use is bounded", after.len() <= before.len().max(2), || {
            format!("{before:?} became {after:?}, and nothing is pending")
        })?;
        self.come_to_rest()
    }

    /// The numbers of the segments that are there.
    fn segments(&self) -> Vec<u32> {
        let names = self.medium.cache().list().unwrap_or_default();
        let mut numbers = names.iter().filter_map(|name| parse_file_name(name)).collect::<Vec<_>>();
        numbers.sort_unstable();
        numbers
    }
}
