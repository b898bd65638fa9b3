//! What the writer answers, on its way through the second hallway: to the engine, to retention, to operators. It never decides anything.

use hookwheel::engine::{Input, Ticket};
use hookwheel::model::{Locator, PauseReason, Sequence, Settled, Verdict};
use hookwheel::store::writer::Answer;

use crate::hallway::{Daemon, Operation};
use crate::laws::{self, Law, require};
use crate::world::World;

impl World {
    /// Passes on what the writer answered.
    pub(crate) fn pass_on(&mut self, daemon: &mut Daemon, answers: Vec<Answer>) -> Law {
        for answer in answers {
            let soon_ms = self.now_ms + self.rng.below(4);
            match answer {
                Answer::Committed { ticket, settled } => {
                    if !self.rotten {
                        laws::verdicts_are_right(self.ledger.expected.get(&ticket), &settled)?;
                    }
                    let ticket = Ticket(ticket);
                    daemon.places.insert(ticket, settled.iter().filter_map(place_of).collect());
                    daemon.tell(Input::Committed { ticket, settled }, soon_ms);
                }
                Answer::Recorded(count) => {
                    require("every record is answered once", count <= daemon.unrecorded, || format!("{count} of {}", daemon.unrecorded))?;
                    daemon.unrecorded -= count;
                    daemon.tell(Input::Recorded(count), soon_ms);
                }
                Answer::Carried { ticket, moved, .. } if self.are_reopened(daemon, ticket, &moved, soon_ms) => {}
                Answer::Carried { moved, load, .. } => {
                    daemon.archivist.carried.push_back(load);
                    daemon.tell(Input::Carried(moved), soon_ms);
                }
                Answer::Blacklisted { ticket, changed } => {
                    let expected = self.ledger.expected_changes.remove(&ticket);
                    require("the Black List is what was answered", self.rotten || expected == Some(changed), || {
                        format!("{changed} addresses changed, expected {expected:?}")
                    })?;
                }
                Answer::Operated { ticket } => self.operated(daemon, ticket, soon_ms),
                Answer::AtBarrier { ticket } => {
                    let before = daemon.barriers.remove(&ticket).flatten().unwrap_or(0);
                    let applied = self.table.position().unwrap_or(0);
                    require("a barrier passes when the table has everything before it", applied >= before, || {
                        format!("{before}, {applied}")
                    })?;
                    daemon.archivist.at_barrier(ticket, soon_ms);
                }
            }
        }
        Ok(())
    }

    /// Right after a sync, when everything taken is durable and before anybody is answered, however far the view is behind.
    pub(crate) fn check_blacklist(&mut self, daemon: &Daemon) -> Law {
        // The ledger knows already of a change that still waits for room.
        let waits_for_room = daemon.writer.space().status().is_reserve_used_up;
        let is_known = !self.rotten && !self.lied && !self.table.is_hurt() && !waits_for_room;
        if is_known { laws::the_blacklist_is_what_was_answered(&self.ledger, daemon.writer.blacklist()) } else { Ok(()) }
    }

    /// An operator's fact is durable; now it takes effect.
    pub(crate) fn operated(&mut self, daemon: &mut Daemon, ticket: u64, soon_ms: u64) {
        match daemon.operations.remove(&ticket) {
            Some(Operation::Reconfigured) => daemon.tell(Input::Configured(daemon.office.configuration(&self.plan)), soon_ms),
            Some(Operation::PauseChanged(webhook)) => {
                let paused = daemon.office.is_paused(webhook);
                daemon.tell(Input::Paused { webhook, paused }, soon_ms);
                let pauses = daemon.office.states.get(&webhook).map(|state| state.pauses.as_slice()).unwrap_or_default();
                let by_somebody = pauses.iter().filter(|pause| matches!(pause.reason, PauseReason::Operator | PauseReason::Gone));
                let began = by_somebody.map(|pause| (webhook, pause.clone())).collect();
                daemon.tell(Input::PausesBegan(began), soon_ms);
                if !daemon.office.is_gone(webhook) {
                    daemon.tell(Input::Resumed { webhook }, soon_ms);
                }
            }
            Some(Operation::Removed(webhook)) => {
                daemon.tell(Input::Configured(daemon.office.configuration(&self.plan)), soon_ms);
                daemon.tell(Input::Removed { webhook, by: "operator".into() }, soon_ms);
            }
            Some(Operation::Set(setting)) => Self::set(daemon, &setting, soon_ms),
            Some(Operation::Wished) | None => {}
        }
    }
}

fn place_of(settled: &Settled) -> Option<(Sequence, Locator)> {
    match settled.verdict {
        Verdict::New { sequence, locator } => Some((sequence, locator)),
        _ => None,
    }
}
