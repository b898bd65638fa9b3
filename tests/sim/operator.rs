//! What operators do: reload, pause, resume, remove, stop. They never touch a delivery.

use hookwheel::model::blacklist::{Cause, Entry};
use hookwheel::model::{Pause, PauseReason, Remark, WebhookNumber};
use hookwheel::store::fact::{BlacklistAction, BlacklistChange};
use hookwheel::store::writer::Order;

use crate::hallway::{Daemon, Operation};
use crate::laws::Law;
use crate::workload::{HOUR, MINUTE, address, change, project, webhook};
use crate::world::{Happening, World};

impl World {
    /// An operator does something.
    pub(crate) fn operator(&mut self) -> Law {
        let delay_ms = self.around(self.plan.operator_every_ms);
        self.plan_in(delay_ms, Happening::Operator);
        if self.rng.one_in(2) {
            // Whatever the operator does meets a publication that is under way.
            self.publish_something();
            let delay_ms = self.rng.below(4);
            self.plan_in(delay_ms, Happening::OperatorActs);
            return Ok(());
        }
        self.operator_acts()
    }

    /// What the operator wanted happens.
    pub(crate) fn operator_acts(&mut self) -> Law {
        if self.rng.one_in(8) {
            let law = self.stop_in_order();
            let delay_ms = self.rng.below(3000);
            self.plan_in(delay_ms, Happening::Start);
            return law;
        }
        if self.rng.one_in(2) {
            self.edit_file();
        }
        if let Some(mut daemon) = self.daemon.take() {
            if daemon.drains_until.is_none() {
                self.operate_on(&mut daemon);
            }
            self.daemon = Some(daemon);
        }
        Ok(())
    }

    /// Changes the file; nothing happens before a reload or a start.
    fn edit_file(&mut self) {
        let ids = self.definitions.keys().cloned().collect::<Vec<_>>();
        match self.rng.below(5) {
            0 if self.webhooks_made < 10 => {
                let spec = webhook(&mut self.rng, self.webhooks_made);
                self.webhooks_made += 1;
                self.definitions.insert(spec.id.clone(), spec);
            }
            1 if ids.len() > 1 => {
                let gone = self.rng.pick(&ids).clone();
                self.definitions.remove(&gone);
            }
            2 => {
                // A webhook comes back, if it was not removed for good.
                let back = self.rng.index(self.plan.webhooks.len());
                let spec = self.plan.webhooks[back].clone();
                let removed = self.ledger.books.webhooks.values().any(|state| state.id == spec.id && state.removed.is_some());
                if !removed {
                    self.definitions.entry(spec.id.clone()).or_insert(spec);
                }
            }
            _ => {
                if let Some(spec) = ids.first().map(|_| self.rng.pick(&ids).clone()).and_then(|id| self.definitions.get_mut(&id)) {
                    change(&mut self.rng, spec);
                }
            }
        }
    }

    fn operate_on(&mut self, daemon: &mut Daemon) {
        let numbers = daemon.office.states.values().filter(|state| state.removed.is_none()).map(|state| state.number).collect::<Vec<_>>();
        if numbers.is_empty() {
            return;
        }
        let number = *self.rng.pick(&numbers);
        let now = daemon.schedule(self.now_ms);
        match self.rng.below(17) {
            0..=2 => {
                self.note("reload", &[]);
                let facts = daemon.office.take_over(&self.definitions, now);
                daemon.operate(facts, Operation::Reconfigured, self.now_ms);
            }
            3 => {
                let pause = Pause { reason: PauseReason::Operator, since: now, by: "somebody".into() };
                self.pause(daemon, number, Some(pause));
            }
            4 | 5 => self.pause(daemon, number, None),
            6 if numbers.len() > 2 => {
                self.note("removed", &[("webhook", number.0.into())]);
                if let Some(state) = daemon.office.states.get(&number) {
                    self.definitions.remove(&state.id);
                }
                if let Some(fact) = daemon.office.remove(number, now) {
                    daemon.operate(vec![fact], Operation::Removed(number), self.now_ms);
                }
            }
            7 => {
                let ticket = daemon.barriers.last_key_value().map_or(1, |(last, _)| last + 1);
                daemon.barriers.insert(ticket, None);
                daemon.order(Order::Barrier { ticket }, self.now_ms);
                self.plan.idempotency_window_ms = self.plan.idempotency_window_ms.min(self.rng.between(MINUTE, 24 * HOUR));
                daemon.order(Order::SetIdempotencyWindow { window_ms: self.plan.idempotency_window_ms }, self.now_ms);
            }
            8..=10 => self.change_blacklist(daemon),
            11..=14 => self.wish(daemon),
            15 | 16 => self.change_setting(daemon),
            _ => {}
        }
    }

    fn change_blacklist(&mut self, daemon: &mut Daemon) {
        let now = daemon.schedule(self.now_ms);
        let project = project(&mut self.rng);
        let addresses = (0..self.rng.between(1, 4)).map(|_| address(&mut self.rng)).collect::<Vec<_>>();
        let by = Remark::parse("somebody").expect("it is one line");
        let entry = |address| Entry { address, since: now, cause: Cause::Operator { by: by.clone(), note: None } };
        let action = match self.rng.one_in(2) {
            true => BlacklistAction::List(addresses.into_iter().map(entry).collect()),
            false => BlacklistAction::Remove { at: now, by: "somebody".into(), addresses },
        };
        daemon.blacklist_tickets += 1;
        let change = BlacklistChange { project, action };
        self.note("a Black List is changed", &[("addresses", change.count() as u64)]);
        daemon.order(Order::Blacklist { ticket: daemon.blacklist_tickets, change }, self.now_ms);
    }

    fn pause(&mut self, daemon: &mut Daemon, number: WebhookNumber, pause: Option<Pause>) {
        self.note("pause set", &[("webhook", number.0.into()), ("paused", pause.is_some().into())]);
        if let Some(fact) = daemon.office.set_pause(number, pause) {
            daemon.operate(vec![fact], Operation::PauseChanged(number), self.now_ms);
        }
    }
}
