//! What the writer does while the disk is full: events are refused, outcomes take the reserve and then wait, the view rests. It never loses what was accepted.

use std::io;

use super::places::Carrying;
use super::{Answer, StoreError, Writer};
use crate::limits;
use crate::store::blacklist;
use crate::store::fact::{BlacklistChange, Fact};
use crate::store::journal::medium::Medium;
use crate::store::journal::{Appended, JournalError, Spare};
use crate::store::space::{Space, Standing};
use crate::store::view::Table;
use crate::time::UnixMillis;

/// What may use the reserve. Each is one atomic batch.
pub(super) enum Outcome {
    /// An attempt or a cancellation.
    Record(Fact),
    /// What an operator wants to be durable at once.
    Operate {
        /// The operator's.
        ticket: u64,
        /// It.
        facts: Vec<Fact>,
    },
    /// A change of a Black List, of which only what changes something is written.
    Blacklist {
        /// The operator's.
        ticket: u64,
        /// It.
        change: BlacklistChange,
    },
    /// What retention wants to be written down again. The reserve may be used for it, since it makes room.
    Carry(Carrying),
}

impl<M: Medium, T: Table> Writer<M, T> {
    /// Takes in what came of a job of [`Writer::spare_job`]. What waited for room is written down before anything else.
    ///
    /// # Errors
    /// [`StoreError`], after which nothing more may be asked of the writer.
    pub fn take_spare(&mut self, prepared: io::Result<Spare<M>>, now: UnixMillis) -> Result<(), StoreError> {
        self.journal.take_spare(prepared);
        self.place_held(now)
    }

    /// How the store stands with its disk.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// Tells everybody how things stand with the disk.
    pub fn note_space(&mut self, now: UnixMillis) {
        let standing = Standing {
            is_full: self.refuses_events(),
            is_reserve_used_up: !self.held.is_empty(),
            view_waits: self.view_waits,
            needed_bytes: self.journal.needed_bytes(),
            free_bytes: self.journal.free_bytes(),
        };
        self.space.note(standing, now);
    }

    /// Writes down an outcome, behind all that wait for room.
    pub(super) fn take_outcome(&mut self, outcome: Outcome, now: UnixMillis) -> Result<(), StoreError> {
        self.held.push_back(outcome);
        // Whoever waits already waits for a segment; nothing else brings room.
        if self.held.len() == 1 { self.place_held(now) } else { Ok(()) }
    }

    /// Writes down what waits, in order, as far as there is room.
    fn place_held(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        while let Some(outcome) = self.held.pop_front() {
            if let Some(outcome) = self.place(outcome, now)? {
                self.held.push_front(outcome);
                break;
            }
        }
        Ok(())
    }

    /// Gives the outcome back when there is no room for it.
    fn place(&mut self, outcome: Outcome, now: UnixMillis) -> Result<Option<Outcome>, StoreError> {
        let outcome = match outcome {
            Outcome::Carry(carrying) => return Ok(self.carry(carrying, now)?.map(Outcome::Carry)),
            outcome => outcome,
        };
        let facts = match &outcome {
            Outcome::Record(fact) => vec![self.with_places(fact.clone())?],
            Outcome::Operate { facts, .. } => facts.iter().map(|fact| self.with_places(fact.clone())).collect::<Result<_, _>>()?,
            Outcome::Carry(_) => Vec::new(),
            Outcome::Blacklist { change, .. } => {
                let change = blacklist::effective(&self.view, change.clone())?;
                if change.count() > 0 { vec![Fact::Blacklist(change)] } else { Vec::new() }
            }
        };
        let changed = facts.iter().map(addresses_of).sum();
        if !facts.is_empty() {
            match self.journal.append(&facts) {
                Ok(places) => self.appended(&places, facts),
                Err(JournalError::NoRoom { .. }) => return Ok(Some(outcome)),
                Err(error) => return Err(error.into()),
            }
        }
        let latest = match outcome {
            Outcome::Record(_) => {
                self.records += 1;
                now.plus_ms(limits::APPEND_SYNC_DELAY_MS)
            }
            Outcome::Operate { ticket, .. } => {
                self.owed.push(Answer::Operated { ticket });
                now
            }
            Outcome::Carry(_) => now,
            Outcome::Blacklist { ticket, .. } => {
                self.owed.push(Answer::Blacklisted { ticket, changed });
                now
            }
        };
        self.sync_at = Some(self.sync_at.map_or(latest, |at| at.min(latest)));
        Ok(None)
    }

    /// Appends new events; `None` when there is no room for them.
    pub(super) fn append_events(&mut self, facts: Vec<Fact>) -> Result<Option<Vec<Appended>>, StoreError> {
        if facts.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if self.refuses_events() {
            return Ok(None);
        }
        match self.journal.append_events(&facts) {
            Ok(places) => {
                self.appended(&places, facts);
                Ok(Some(places))
            }
            Err(JournalError::NoRoom { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether an event would be refused for want of room.
    fn refuses_events(&self) -> bool {
        self.journal.is_disk_full() || (self.view_waits && self.unapplied() > limits::VIEW_LAG_MAX)
    }

    /// Looks whether there is room for the view, and with how much it may go on. True when it must rest.
    pub(super) fn view_must_rest(&mut self) -> bool {
        let needed = if self.view_waits { limits::VIEW_ROOM_AGAIN } else { limits::VIEW_ROOM_MIN };
        self.view_waits = self.journal.measure().is_some_and(|free| free < needed);
        self.view_waits
    }

    /// Whether nothing more can be done without room on the disk.
    pub(super) fn is_stuck(&self) -> bool {
        self.view_waits || (self.journal.is_disk_full() && !self.held.is_empty())
    }

    /// Leaves the view durable, unless there is no room for that; the journal has everything anyway.
    pub(super) fn end(&self) -> Result<(), StoreError> {
        if !self.held.is_empty() {
            tracing::warn!(
                outcomes = self.held.len(),
                "the disk is full: outcomes that waited for room are lost, and those attempts are made again"
            );
        }
        if !self.view_waits {
            self.view.table().checkpoint()?;
        }
        Ok(())
    }
}

/// Addresses that a fact puts on a Black List or takes away.
fn addresses_of(fact: &Fact) -> usize {
    match fact {
        Fact::Blacklist(change) => change.count(),
        _ => 0,
    }
}
