//! Bodies of publications that may be in memory at once, whatever door they come through, shared among those who send them. It never waits for room, and never reads a body.
//!
//! Whoever sends them may hold a few times what is still free, and no more (dynamic thresholds: A. K. Choudhury and E. L. Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches",
//! IEEE/ACM Transactions on Networking 6 (2), 1998). So one alone has most of the room, several that are as greedy have as much as each other, and who comes next has at least a little.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits;
use crate::server::problem::Problem;
use crate::server::tokens::Leave;

/// What may be held of bodies. Clones share it.
#[derive(Clone)]
pub struct BodyBudget(Arc<Mutex<Room>>);

/// In steps of [`limits::REQUEST_BODY_STEP`] bytes.
struct Room {
    free: usize,
    held: HashMap<Holder, usize>,
}

/// The name of the token with which bodies come, where one is needed.
type Holder = Option<Arc<str>>;

/// A body's share of the budget: as much as has arrived of it, so that one that only says it is large keeps nobody out. It goes back when it is dropped.
pub(super) struct Share {
    budget: BodyBudget,
    holder: Holder,
    steps: usize,
}

impl Default for BodyBudget {
    /// [`limits::REQUEST_BODIES_MAX`] bytes.
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Room { free: limits::REQUEST_BODIES_MAX / limits::REQUEST_BODY_STEP, held: HashMap::new() })))
    }
}

impl BodyBudget {
    /// The share of a body of which nothing has arrived.
    ///
    /// # Errors
    /// There is no room.
    pub(super) fn share(&self, leave: &Leave) -> Result<Share, Problem> {
        let holder = match leave {
            Leave::All => None,
            Leave::Token(token) => Some(Arc::from(token.name.as_str())),
        };
        let mut share = Share { budget: self.clone(), holder, steps: 0 };
        share.grow_to(1)?;
        Ok(share)
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Sees to it that the share is enough for a body of so many bytes.
    ///
    /// # Errors
    /// There is no room, or whoever sends it holds too much of that.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let missing = bytes.div_ceil(limits::REQUEST_BODY_STEP).saturating_sub(self.steps);
        if missing > 0 {
            self.budget.room().take(&self.holder, missing)?;
            self.steps += missing;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.room().give_back(&self.holder, self.steps);
    }
}

impl Room {
    fn take(&mut self, holder: &Holder, steps: usize) -> Result<(), Problem> {
        let holds = self.held.get(holder).copied().unwrap_or(0) + steps;
        let left = self.free.checked_sub(steps).ok_or_else(|| Problem::busy("too many requests are being read at once", 1))?;
        if holds > 1 && holds > limits::REQUEST_BODIES_PER_FREE * left {
            let whose = if holder.is_some() { "that come with this token" } else { "that come without a token" };
            return Err(Problem::busy(format!("too many requests {whose} are being read at once"), 1));
        }
        self.free = left;
        self.held.insert(holder.clone(), holds);
        Ok(())
    }

    fn give_back(&mut self, holder: &Holder, steps: usize) {
        self.free += steps;
        let left = self.held.get(holder).map_or(0, |held| held.saturating_sub(steps));
        match left {
            0 => drop(self.held.remove(holder)),
            left => drop(self.held.insert(holder.clone(), left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Token, TokenScope};

    const ALL: usize = limits::REQUEST_BODIES_MAX;

    fn of(name: &str) -> Leave {
        Leave::Token(Token { name: name.into(), sha256: Token::hash(name), scope: TokenScope::AllProjects, place: None })
    }

    /// Takes shares of so many bytes each until there is no more, in turn.
    fn greedy(budget: &BodyBudget, leaves: &[Leave], size: usize) -> Vec<Vec<Share>> {
        let mut shares = leaves.iter().map(|_| Vec::new()).collect::<Vec<_>>();
        loop {
            let mut took = false;
            for (leave, shares) in leaves.iter().zip(&mut shares) {
                let share = budget.share(leave).and_then(|mut share| share.grow_to(size).map(|()| share));
                took |= share.map(|share| shares.push(share)).is_ok();
            }
            if !took {
                return shares;
            }
        }
    }

    fn bytes(shares: &[Share]) -> usize {
        shares.iter().map(|share| share.steps * limits::REQUEST_BODY_STEP).sum()
    }

    #[test]
    fn whoever_holds_most_of_the_room_leaves_some_for_the_next() {
        let budget = BodyBudget::default();
        let first = greedy(&budget, &[of("greedy")], limits::REQUEST_SIZE_MAX).remove(0);
        assert!((ALL / 2..=ALL * 3 / 4).contains(&bytes(&first)), "one alone has most of it: {}", bytes(&first));
        assert!(budget.share(&of("greedy")).and_then(|mut share| share.grow_to(limits::REQUEST_SIZE_MAX)).is_err());
        let next = [of("modest"), Leave::All].map(|leave| budget.share(&leave).unwrap());
        for mut share in next {
            share.grow_to(limits::REQUEST_SIZE_MAX).unwrap();
        }
        drop(first);
        let room = budget.room();
        assert_eq!((room.free * limits::REQUEST_BODY_STEP, room.held.len()), (ALL, 0), "all of it is given back");
    }

    #[test]
    fn those_who_are_as_greedy_have_as_much_as_each_other_and_never_all() {
        let budget = BodyBudget::default();
        let names = (0..20).map(|number| of(&format!("token-{number}"))).collect::<Vec<_>>();
        let held = greedy(&budget, &names, limits::REQUEST_BODY_STEP);
        let shares = held.iter().map(|shares| bytes(shares)).collect::<Vec<_>>();
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        assert!(*least > ALL / 30 && most - least <= limits::REQUEST_BODY_STEP, "{shares:?}");
        let newcomers = (0..20).map(|number| budget.share(&of(&format!("newcomer-{number}"))).unwrap());
        assert_eq!(newcomers.collect::<Vec<_>>().len(), 20, "a little for each");
    }

    #[test]
    fn a_share_grows_by_what_is_missing_and_what_did_not_fit_is_not_kept() {
        let budget = BodyBudget::default();
        let mut share = budget.share(&Leave::All).unwrap();
        for bytes in [1, limits::REQUEST_BODY_STEP, limits::REQUEST_BODY_STEP + 1, 2] {
            share.grow_to(bytes).unwrap();
        }
        assert_eq!(share.steps, 2);
        assert!(share.grow_to(ALL).is_err());
        assert_eq!(share.steps, 2);
        drop(share);
        assert_eq!(budget.room().free * limits::REQUEST_BODY_STEP, ALL);
    }
}
