//! What operators want of single deliveries: try now, try anew, end. It carries their wishes to the engine as the daemon does, and never decides what becomes of them.

use std::collections::BTreeMap;

use hookwheel::engine::pending::Entry;
use hookwheel::engine::{Found, Grant, Input, Ticket};
use hookwheel::limits::CARRIED_ATTEMPTS_MAX;
use hookwheel::model::{DeliveryKey, DeliveryState, Locator};
use hookwheel::store::carry::Carry;
use hookwheel::store::fact::{Cancelled, CancelledDelivery, Carried, Fact};
use hookwheel::store::timeline;
use hookwheel::store::writer::Order;
use hookwheel::time::UnixMillis;

use crate::hallway::{Daemon, Operation};
use crate::laws::{Law, require};
use crate::world::World;

/// Tickets of those who take up deliveries, apart from retention's.
const FIRST_TICKET: u64 = 1 << 40;

/// Wishes under way in one process.
#[derive(Default)]
pub(crate) struct Wishes {
    asked: u64,
    /// What the engine was asked about and has not answered.
    open: BTreeMap<u64, Vec<DeliveryKey>>,
    /// The one who takes up deliveries that ended.
    reopening: Option<(u64, Vec<Carried>)>,
}

impl Wishes {
    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_empty() && self.reopening.is_none()
    }

    fn ask(&mut self, keys: Vec<DeliveryKey>) -> Ticket {
        self.asked += 1;
        self.open.insert(FIRST_TICKET + self.asked, keys);
        Ticket(FIRST_TICKET + self.asked)
    }
}

impl World {
    /// An operator wants something of some deliveries.
    pub(crate) fn wish(&mut self, daemon: &mut Daemon) {
        if self.rotten || self.lied {
            return;
        }
        match self.rng.below(4) {
            0 => {
                let keys = self.some_deliveries(daemon, true);
                self.note("somebody wants deliveries tried now", &[("deliveries", keys.len() as u64)]);
                let ticket = daemon.wishes.ask(keys.clone());
                daemon.tell(Input::RetryWanted { ticket, keys }, self.now_ms);
            }
            1 => {
                let keys = self.some_deliveries(daemon, true);
                self.note("somebody wants deliveries ended", &[("deliveries", keys.len() as u64)]);
                let ticket = daemon.wishes.ask(keys.clone());
                daemon.tell(Input::CancelWanted { ticket, keys, by: "somebody".into() }, self.now_ms);
            }
            _ => self.wish_anew(daemon),
        }
    }

    /// Some deliveries, most of them pending, or most of them ended.
    fn some_deliveries(&mut self, daemon: &Daemon, pending: bool) -> Vec<DeliveryKey> {
        let waiting = daemon
            .mirror
            .lanes
            .iter()
            .flat_map(|(webhook, lane)| lane.waiting.keys().map(|sequence| DeliveryKey { sequence: *sequence, webhook: *webhook }));
        let known = self.ledger.books.deliveries.iter().filter(|(_, one)| (one.state == DeliveryState::Pending) == pending);
        let mut all = if pending { waiting.collect::<Vec<_>>() } else { known.map(|(key, _)| *key).collect() };
        all.extend(self.ledger.books.deliveries.keys().rev().take(2));
        let mut keys = Vec::new();
        for _ in 0..self.rng.between(1, 5).min(all.len() as u64) {
            keys.push(all.swap_remove(self.rng.index(all.len())));
        }
        keys.dedup();
        keys
    }

    /// One at a time reads what ended and asks the engine, as in the daemon.
    fn wish_anew(&mut self, daemon: &mut Daemon) {
        if daemon.wishes.reopening.is_some() || daemon.writer.space().status().full_since.is_some() {
            return;
        }
        let mut ended = Vec::new();
        let mut keys = self.some_deliveries(daemon, false);
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            ended.extend(self.read_ended(daemon, key));
        }
        if ended.is_empty() {
            return;
        }
        self.note("somebody wants deliveries tried anew", &[("deliveries", ended.len() as u64)]);
        let keys = ended.iter().map(key_of).collect::<Vec<_>>();
        let ticket = daemon.wishes.ask(keys.clone());
        daemon.wishes.reopening = Some((ticket.0, ended));
        daemon.tell(Input::ReopenWanted { ticket, keys }, self.now_ms);
    }

    fn read_ended(&mut self, daemon: &Daemon, key: DeliveryKey) -> Option<Carried> {
        let ended = daemon.history.end_of(key).ok().flatten()?;
        let found = daemon.bodies.read(ended.body?).ok()?;
        let event = found.fact.into_event(found.sequence, key.sequence)?;
        let timeline = timeline::read(&daemon.bodies, key, ended.last_attempt, CARRIED_ATTEMPTS_MAX).ok()?;
        let at = daemon.schedule(self.now_ms).max(ended.at.plus_ms(1));
        Some(Carried::anew(key, event, timeline, at))
    }

    /// **Wishes are answered by how things stand**: what the engine says of each delivery is what follows from what it was told.
    pub(crate) fn found(&mut self, daemon: &mut Daemon, ticket: Ticket, found: &[Found], ends: bool) -> Law {
        let law = "wishes are answered by how things stand";
        let keys = daemon.wishes.open.remove(&ticket.0).unwrap_or_default();
        require(law, keys.len() == found.len(), || format!("{found:?} for {keys:?}"))?;
        for (key, found) in keys.iter().zip(found) {
            let lane = daemon.mirror.lane(key.webhook);
            let waiting = lane.waiting.get_mut(&key.sequence);
            let expected = match &waiting {
                None => Found::NotPending,
                Some(one) if one.in_flight => Found::InFlight,
                Some(_) => Found::Waiting,
            };
            require(law, *found == expected, || format!("{key:?} was found as {found:?}, it is {waiting:?}"))?;
            match (waiting, expected) {
                (Some(one), Found::InFlight) if ends => one.is_doomed = true,
                (Some(one), Found::Waiting) if !ends => one.is_hastened = true,
                (Some(_), Found::Waiting) => drop(lane.waiting.remove(&key.sequence)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The engine ended what waited, and that is to be made durable.
    pub(crate) fn wish_ends(
        &mut self,
        daemon: &mut Daemon,
        keys: Vec<(DeliveryKey, UnixMillis)>,
        by: String,
        now: UnixMillis,
        soon_ms: u64,
    ) -> Law {
        if keys.is_empty() {
            return Ok(());
        }
        self.note("ended by hand", &[("deliveries", keys.len() as u64)]);
        for (key, due) in &keys {
            let known = self.ledger.books.deliveries.get(key);
            let fits = known.is_none_or(|known| known.state == DeliveryState::Pending);
            require("only what is pending is ended by hand", fits, || format!("{key:?}, due {due}, is {known:?}"))?;
        }
        let deliveries = keys.into_iter().map(|(key, due)| CancelledDelivery::new(key, due)).collect();
        daemon.operate(vec![Fact::Cancelled(Cancelled { at: now, by, deliveries })], Operation::Wished, soon_ms);
        Ok(())
    }

    /// The engine said which deliveries may be tried anew.
    pub(crate) fn reopen(&mut self, daemon: &mut Daemon, ticket: Ticket, grants: &[Grant], soon_ms: u64) -> Law {
        daemon.wishes.open.remove(&ticket.0);
        let Some((_, ended)) = daemon.wishes.reopening.take() else { return Ok(()) };
        for (carried, grant) in ended.iter().zip(grants) {
            let key = key_of(carried);
            let is_pending = daemon.mirror.find(key).is_some();
            require("wishes are answered by how things stand", is_pending == (*grant == Grant::IsPending), || {
                format!("{key:?} got {grant:?}; pending: {is_pending}")
            })?;
        }
        let granted = ended.into_iter().zip(grants).filter(|(_, grant)| **grant == Grant::Granted).map(|(carried, _)| carried);
        let granted = granted.collect::<Vec<_>>();
        if granted.is_empty() {
            return Ok(());
        }
        for carried in &granted {
            daemon.mirror.reserved += 1;
            daemon.mirror.lane(key_of(carried).webhook).reserved += 1;
        }
        let carry = granted.iter().cloned().map(Carry::Ended).collect();
        daemon.wishes.reopening = Some((ticket.0, granted));
        daemon.order(Order::Carry { ticket: ticket.0, carry }, soon_ms);
        Ok(())
    }

    /// Those deliveries are pending again, durably. False when that was not what was carried.
    pub(crate) fn are_reopened(&mut self, daemon: &mut Daemon, ticket: u64, moved: &[(DeliveryKey, Locator)], soon_ms: u64) -> bool {
        if ticket < FIRST_TICKET {
            return false;
        }
        let Some((_, ended)) = daemon.wishes.reopening.take() else { return true };
        self.note("tried anew", &[("deliveries", ended.len() as u64)]);
        let entry = |(carried, (key, body)): (&Carried, &(DeliveryKey, Locator))| {
            let one = &carried.deliveries[0];
            Entry { key: *key, body: *body, due: one.due, attempts: one.attempts, round: one.round }
        };
        daemon.tell(Input::Reopened(ended.iter().zip(moved).map(entry).collect()), soon_ms);
        true
    }
}

fn key_of(carried: &Carried) -> DeliveryKey {
    DeliveryKey { sequence: carried.sequence, webhook: carried.deliveries[0].webhook }
}
