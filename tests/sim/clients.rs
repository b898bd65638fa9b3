//! Clients: they publish, wait for the answer, and ask again when none came. They never know why.

use hookwheel::engine::{Input, Reply, Ticket};
use hookwheel::model::NewEvent;

use crate::hallway::Daemon;
use crate::laws::{self, Law};
use crate::workload::{event, told_again};
use crate::world::{Happening, World};

const EVENTS_KEPT: usize = 200;
/// Bytes of one publication: it must fit into the small segments of the simulated journal.
const PUBLICATION_MAX: usize = 24 * 1024;

/// What clients want, and what became of it.
#[derive(Default)]
pub(crate) struct Clients {
    publications: Vec<Publication>,
    tickets: u64,
    ids: u64,
    open: usize,
    /// Events that may be told again.
    told: Vec<NewEvent>,
}

struct Publication {
    events: Vec<NewEvent>,
    /// The ticket under which an answer is waited for.
    ticket: Option<Ticket>,
    is_open: bool,
    /// The daemon tells about itself, and forgets it when it ends.
    is_of_daemon: bool,
}

impl Clients {
    /// Whether somebody still waits.
    pub(crate) fn has_open(&self) -> bool {
        self.open > 0
    }

    /// The publication under that ticket.
    pub(crate) fn events_of(&self, ticket: Ticket) -> Option<(usize, &[NewEvent])> {
        let mut found = self.publications.iter().enumerate().rev();
        found.find(|(_, one)| one.ticket == Some(ticket)).map(|(index, one)| (index, one.events.as_slice()))
    }

    fn close(&mut self, index: usize) {
        let one = &mut self.publications[index];
        one.ticket = None;
        if std::mem::take(&mut one.is_open) {
            self.open -= 1;
        }
    }
}

impl World {
    /// A client publishes something new, or something told before, or both.
    pub(crate) fn publish(&mut self) {
        if self.is_calm {
            return;
        }
        let publications = if self.rng.one_in(25) { self.rng.between(10, 30) } else { 1 };
        for _ in 0..publications {
            self.publish_something();
        }
        let delay_ms = if self.rng.one_in(3) { self.rng.below(5) } else { self.around(self.plan.publish_every_ms * 3 / 2) };
        self.plan_in(delay_ms, Happening::Publish);
    }

    /// One publication of one event or several.
    pub(crate) fn publish_something(&mut self) {
        let count = if self.rng.one_in(3) { self.rng.between(2, 12) } else { 1 };
        let mut events = Vec::new();
        let mut bytes = 0;
        for _ in 0..count {
            let one = self.make_event();
            bytes += one.body.len() + 200;
            if bytes < PUBLICATION_MAX {
                events.push(one);
            }
        }
        if !events.is_empty() {
            self.clients.open += 1;
            self.clients.publications.push(Publication { events, ticket: None, is_open: true, is_of_daemon: false });
            self.resend(self.clients.publications.len() - 1);
        }
    }

    /// The daemon itself publishes something.
    pub(crate) fn publish_for_the_daemon(&mut self, daemon: &mut Daemon, event: NewEvent) {
        self.clients.open += 1;
        self.clients.tickets += 1;
        let ticket = Ticket(self.clients.tickets);
        let events = vec![event];
        self.clients.publications.push(Publication { events: events.clone(), ticket: Some(ticket), is_open: true, is_of_daemon: true });
        let at_ms = self.now_ms + self.rng.below(3);
        daemon.tell(Input::Published { ticket, events }, at_ms);
    }

    fn make_event(&mut self) -> NewEvent {
        let told = self.clients.told.len();
        if told > 0 && self.rng.one_in(6) {
            let (index, other_content) = (self.rng.index(told), self.rng.one_in(8));
            return told_again(&mut self.rng, &self.clients.told[index], other_content, self.now_ms);
        }
        self.clients.ids += 1;
        let by_client = self.rng.percent(70);
        let id = format!("{}_{}", if by_client { "order" } else { "evt" }, self.clients.ids);
        let one = event(&mut self.rng, &id, by_client, self.now_ms);
        if by_client {
            let at = if told < EVENTS_KEPT { told } else { self.rng.index(told) };
            self.clients.told.truncate(EVENTS_KEPT);
            self.clients.told.insert(at, one.clone());
        }
        one
    }

    /// Posts a publication; when nobody is there it is tried again later.
    pub(crate) fn resend(&mut self, index: usize) {
        if !self.clients.publications[index].is_open {
            return;
        }
        let is_there = self.daemon.as_ref().is_some_and(|daemon| daemon.drains_until.is_none());
        if !is_there {
            if self.clients.publications[index].is_of_daemon {
                return self.clients.close(index);
            }
            let delay_ms = self.around(5000);
            self.plan_in(delay_ms, Happening::Resend(index));
            return;
        }
        self.clients.tickets += 1;
        let ticket = Ticket(self.clients.tickets);
        // Whoever gave no id gets a new one with each request.
        let mut ids = self.clients.ids;
        for one in self.clients.publications[index].events.iter_mut().filter(|one| !one.id_by_client) {
            ids += 1;
            one.id = hookwheel::model::EventId::parse(&format!("evt_{ids}")).expect("it has the form of an id");
        }
        self.clients.ids = ids;
        self.clients.publications[index].ticket = Some(ticket);
        let events = self.clients.publications[index].events.clone();
        self.note("published", &[("ticket", ticket.0), ("events", events.len() as u64)]);
        let now_ms = self.now_ms;
        let delay_ms = self.rng.below(3);
        if let Some(daemon) = &mut self.daemon {
            daemon.tell(Input::Published { ticket, events }, now_ms + delay_ms);
        }
    }

    /// An answer reaches its client.
    pub(crate) fn reply(&mut self, daemon: &mut Daemon, ticket: Ticket, reply: &Reply) -> Law {
        let Some((index, events)) = self.clients.events_of(ticket) else { return Ok(()) };
        if !self.rotten {
            laws::replies_are_right(&daemon.mirror, events, self.ledger.expected.get(&ticket.0), reply)?;
        }
        for (sequence, locator) in daemon.places.remove(&ticket).unwrap_or_default() {
            if !self.lied {
                laws::it_is_durable(&daemon.durable, sequence, locator)?;
            }
        }
        let accepted = match reply {
            Reply::Durable(list) => {
                list.iter().zip(events).map(|((id, made, _), event)| (event.project.clone(), id.to_string(), *made)).collect()
            }
            _ => Vec::new(),
        };
        self.note("answered", &[("ticket", ticket.0), ("accepted", accepted.len() as u64)]);
        for (project, id, deliveries) in accepted {
            self.answered.insert((project, id), deliveries);
        }
        let is_of_daemon = self.clients.publications[index].is_of_daemon;
        match reply {
            Reply::QueueFull { .. } | Reply::DiskFull if is_of_daemon && !self.is_calm => {
                let delay_ms = self.around(2000);
                self.plan_in(delay_ms, Happening::Resend(index));
            }
            _ if is_of_daemon => {
                daemon.tell(Input::Told(1), self.now_ms);
                self.clients.close(index);
            }
            Reply::QueueFull { .. } | Reply::DiskFull | Reply::Draining if !self.is_calm && self.rng.percent(70) => {
                let delay_ms = self.around(20_000);
                self.plan_in(delay_ms, Happening::Resend(index));
            }
            _ => self.clients.close(index),
        }
        Ok(())
    }

    /// The daemon is gone: whoever waits asks again, or gives up.
    pub(crate) fn clients_lose_their_connection(&mut self) {
        for index in 0..self.clients.publications.len() {
            if self.clients.publications[index].ticket.take().is_none() {
                continue;
            }
            if !self.clients.publications[index].is_of_daemon && self.rng.percent(85) {
                let delay_ms = self.around(4000);
                self.plan_in(delay_ms, Happening::Resend(index));
            } else {
                self.clients.close(index);
            }
        }
    }
}
