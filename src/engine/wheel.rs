//! The timer wheel: which pending deliveries come due next. It holds integers, never a clock.
//!
//! A hierarchical wheel after Varghese and Lauck ("Hashed and Hierarchical Timing Wheels", SOSP 1987, scheme 7): seven levels of 64 slots, one millisecond at the
//! lowest, 139 years in all. Insertion costs the same however many entries wait, and an entry is moved at most six times before it is due. The entries
//! themselves are nodes of [`Pending`], linked through the field that they have anyway.
//!
//! Invariants: every live entry in the wheel is due at or after `position`, or is filed under `position` because it was late when it came; an entry
//! in a slot of level *n* > 0 differs from `position` in the *n*-th group of six bits and in no higher one.
//! So the first occupied slot of the lowest occupied level is the earliest, and `next_wakeup` is a few bit operations.
//!
//! No call handles more than its budget: a slot of a million entries is moved down in pieces, and nothing behind it is yielded before it is through.

use super::list::{List, Popped};
use super::pending::{NodeNumber, Pending, Place};
use crate::time::UnixMillis;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 7;
const HORIZON_BITS: u32 = BITS * 7;
const WALK_MAX: usize = 4096;

/// The wheel.
pub struct Wheel {
    position: u64,
    levels: [Level; LEVELS],
    /// The slot that is being moved down, when the budget did not suffice.
    moving: Option<(usize, usize)>,
    linked: usize,
}

#[derive(Clone, Copy)]
struct Level {
    occupied: u64,
    slots: [List; SLOTS],
}

impl Wheel {
    /// An empty wheel that stands at `now`.
    #[must_use]
    pub fn new(now: UnixMillis) -> Self {
        let level = Level { occupied: 0, slots: [List::default(); SLOTS] };
        Self { position: now.0, levels: [level; LEVELS], moving: None, linked: 0 }
    }

    /// Entries in the wheel, those that died in it included.
    #[must_use]
    pub fn linked(&self) -> usize {
        self.linked
    }

    /// Puts a loose entry under its due time; a late one is yielded by the next [`Wheel::advance`].
    pub fn insert(&mut self, pending: &mut Pending, node: NodeNumber) {
        pending.set_place(node, Place::Wheel);
        self.link(pending, node);
        self.linked += 1;
    }

    /// The earliest moment at which [`Wheel::advance`] has something to do: exact for entries within 64 ms, else at most as late as the first due time.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<UnixMillis> {
        if self.moving.is_some() {
            return Some(UnixMillis(self.position));
        }
        self.first_occupied().map(|(level, slot)| UnixMillis(self.slot_start(level, slot)))
    }

    /// The due time of the entry that comes next; where very many share its slot, the beginning of that slot.
    #[must_use]
    pub fn earliest_due(&self, pending: &Pending) -> Option<UnixMillis> {
        let (level, slot) = self.moving.or_else(|| self.first_occupied())?;
        let dues = self.levels[level].slots[slot].iter(pending).take(WALK_MAX + 1).collect::<Vec<_>>();
        if dues.len() > WALK_MAX {
            return Some(UnixMillis(self.slot_start(level, slot)));
        }
        dues.into_iter().map(|node| pending.due(node)).min()
    }

    /// Shows what comes next, slot by slot, of `budget` entries at most, dead ones included. Of what is due before the moment that is given back nothing was left out; none when nothing was
    /// left out at all. Within a slot there is no order.
    pub fn soonest(&self, pending: &Pending, budget: usize, mut show: impl FnMut(NodeNumber)) -> Option<UnixMillis> {
        let mut left = budget;
        let moving = self.moving.into_iter();
        let occupied = (0..LEVELS).flat_map(|level| (0..SLOTS).map(move |slot| (level, slot)));
        let occupied = occupied.filter(|(level, slot)| self.levels[*level].occupied & (1 << slot) != 0);
        for (level, slot) in moving.chain(occupied.filter(|place| Some(*place) != self.moving)) {
            for node in self.levels[level].slots[slot].nodes(pending) {
                if left == 0 {
                    return Some(UnixMillis(self.slot_start(level, slot)));
                }
                left -= 1;
                if !pending.is_dead(node) {
                    show(node);
                }
            }
        }
        None
    }

    /// Moves on to `now` and yields what came due, oldest first, loose; stops early after `budget` entries, yielded or moved.
    /// True when it stopped early, so that it wants to be called again at once.
    pub fn advance(
        &mut self,
        pending: &mut Pending,
        now: UnixMillis,
        budget: usize,
        mut due: impl FnMut(&mut Pending, NodeNumber),
    ) -> bool {
        let mut left = budget;
        while let Some((level, slot)) = self.moving.or_else(|| self.first_occupied()) {
            let start = self.slot_start(level, slot);
            if self.moving.is_none() && start > now.0 {
                break;
            }
            self.position = self.position.max(start);
            while let Some(popped) = self.levels[level].slots[slot].pop_any(pending) {
                match popped {
                    Popped::Dead => self.linked -= 1,
                    Popped::Live(node) if level == 0 => {
                        self.linked -= 1;
                        due(pending, node);
                    }
                    Popped::Live(node) => {
                        pending.set_place(node, Place::Wheel);
                        self.link(pending, node);
                    }
                }
                left -= 1;
                if left == 0 {
                    break;
                }
            }
            let emptied = self.levels[level].slots[slot].is_empty();
            if emptied {
                self.levels[level].occupied &= !(1 << slot);
            }
            self.moving = (level > 0 && !emptied).then_some((level, slot));
            if left == 0 {
                return true;
            }
        }
        // Nothing is filed between the old position and now, so no slot is passed over; and what starts later differs from `now` where it did before.
        self.position = self.position.max(now.0);
        false
    }

    fn link(&mut self, pending: &mut Pending, node: NodeNumber) {
        let horizon = self.position | ((1 << HORIZON_BITS) - 1);
        let when = pending.due(node).0.clamp(self.position, horizon);
        let differing = (when ^ self.position) | (SLOTS as u64 - 1);
        let level = ((63 - differing.leading_zeros()) / BITS) as usize;
        let slot = slot_of(when, level);
        self.levels[level].slots[slot].push_back(pending, node);
        self.levels[level].occupied |= 1 << slot;
    }

    fn first_occupied(&self) -> Option<(usize, usize)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        Some((level, self.levels[level].occupied.trailing_zeros() as usize))
    }

    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = BITS as usize * level;
        let above = self.position & !((1_u64 << (shift + BITS as usize)) - 1);
        above | ((slot as u64) << shift)
    }
}

fn slot_of(when: u64, level: usize) -> usize {
    let bits = (when >> (BITS as usize * level)) & (SLOTS as u64 - 1);
    usize::from(bits.to_le_bytes()[0])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::pending::Entry;
    use crate::model::{DeliveryKey, Locator, Sequence, WebhookNumber};

    const START: u64 = 1_795_428_000_000;

    fn add(pending: &mut Pending, wheel: &mut Wheel, sequence: u64, due: u64) -> DeliveryKey {
        let key = DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(1) };
        let node = pending.insert(Entry { key, body: Locator::default(), due: UnixMillis(due), attempts: 0, round: 1 }).unwrap();
        wheel.insert(pending, node);
        key
    }

    fn drain(pending: &mut Pending, wheel: &mut Wheel, now: u64, budget: usize) -> (Vec<u64>, bool) {
        let mut sequences = Vec::new();
        let more = wheel.advance(pending, UnixMillis(now), budget, |pending, node| {
            sequences.push(pending.entry(node).key.sequence.0);
            pending.remove(node);
        });
        (sequences, more)
    }

    #[test]
    fn entries_come_at_their_millisecond_and_not_before() {
        let (mut pending, mut wheel) = (Pending::default(), Wheel::new(UnixMillis(START)));
        let delays = [0, 1, 63, 64, 65, 4095, 4096, 100_000, 600_000, 3_600_000, 30 * 86_400_000];
        for (sequence, delay) in delays.iter().enumerate() {
            add(&mut pending, &mut wheel, sequence as u64, START + delay);
        }
        for (sequence, delay) in delays.iter().enumerate() {
            if *delay > 0 {
                assert_eq!(drain(&mut pending, &mut wheel, START + delay - 1, 1000).0, Vec::<u64>::new(), "{delay}");
            }
            assert_eq!(drain(&mut pending, &mut wheel, START + delay, 1000).0, [sequence as u64], "{delay}");
        }
        assert!(pending.is_empty());
        assert_eq!((wheel.linked(), wheel.next_wakeup()), (0, None));
    }

    #[test]
    fn what_is_late_or_beyond_the_horizon_is_not_lost() {
        let (mut pending, mut wheel) = (Pending::default(), Wheel::new(UnixMillis(START)));
        add(&mut pending, &mut wheel, 1, 5);
        add(&mut pending, &mut wheel, 2, u64::MAX);
        assert_eq!(wheel.next_wakeup(), Some(UnixMillis(START)));
        assert_eq!(drain(&mut pending, &mut wheel, START, 10).0, [1]);
        assert!(wheel.next_wakeup().is_some());
        assert_eq!(wheel.earliest_due(&pending), Some(UnixMillis((1 << 48) - 1)));
    }

    #[test]
    fn a_large_slot_is_moved_in_pieces_and_order_is_kept() {
        let (mut pending, mut wheel) = (Pending::default(), Wheel::new(UnixMillis(START)));
        for sequence in 0..10_000 {
            add(&mut pending, &mut wheel, sequence, START + 3_600_000 + sequence % 7);
        }
        let (mut seen, mut calls) = (Vec::new(), 0);
        loop {
            let (some, more) = drain(&mut pending, &mut wheel, START + 4_000_000, 128);
            assert!(some.len() <= 128);
            seen.extend(some);
            calls += 1;
            if !more {
                break;
            }
        }
        assert!(calls >= 10_000 / 128);
        assert_eq!(seen.len(), 10_000);
        assert!(seen.is_sorted_by_key(|sequence| (sequence % 7, *sequence)), "by due time, then as inserted");
    }

    #[derive(Clone, Debug)]
    enum Action {
        Insert(u64),
        Advance(u64, usize),
        Remove(usize),
    }

    fn action() -> impl Strategy<Value = Action> {
        let delay = prop_oneof![0..200_u64, 0..10_000_u64, 0..10_000_000_u64, 0..20_000_000_000_u64];
        prop_oneof![
            4 => delay.clone().prop_map(Action::Insert),
            2 => (delay, 1..40_usize).prop_map(|(by, budget)| Action::Advance(by, budget)),
            1 => (0..1000_usize).prop_map(Action::Remove),
        ]
    }

    proptest! {
        /// The wheel against a `BTreeMap` by due time: the same entries at the same moments, a wake-up never too late.
        #[test]
        fn the_wheel_is_a_map_ordered_by_due_time(actions in proptest::collection::vec(action(), 1..120)) {
            let (mut pending, mut wheel) = (Pending::default(), Wheel::new(UnixMillis(START)));
            let mut model: BTreeMap<(u64, u64), DeliveryKey> = BTreeMap::new();
            let mut now = START;
            for (sequence, action) in actions.into_iter().enumerate() {
                match action {
                    Action::Insert(delay) => {
                        let key = add(&mut pending, &mut wheel, sequence as u64, now + delay);
                        model.insert((now + delay, sequence as u64), key);
                    }
                    Action::Remove(which) => {
                        if let Some((at, key)) = model.iter().nth(which % model.len().max(1)).map(|(at, key)| (*at, *key)) {
                            pending.remove(pending.find(key).unwrap());
                            model.remove(&at);
                        }
                    }
                    Action::Advance(by, budget) => {
                        now += by;
                        let mut yielded = Vec::new();
                        loop {
                            let mut last_due = 0;
                            let more = wheel.advance(&mut pending, UnixMillis(now), budget, |pending, node| {
                                let entry = pending.entry(node);
                                assert!(entry.due.0 >= last_due, "oldest first");
                                last_due = entry.due.0;
                                yielded.push((entry.due.0, entry.key.sequence.0));
                                pending.remove(node);
                            });
                            if !more {
                                break;
                            }
                        }
                        let later = model.split_off(&(now + 1, 0));
                        let expected = model.keys().copied().collect::<Vec<_>>();
                        yielded.sort_unstable();
                        prop_assert_eq!(yielded, expected);
                        model = later;
                    }
                }
                prop_assert_eq!(pending.len(), model.len());
                if let Some((due, _)) = model.keys().next() {
                    prop_assert!(wheel.next_wakeup().is_some_and(|wakeup| wakeup.0 <= (*due).max(now)));
                    let earliest = wheel.earliest_due(&pending);
                    prop_assert!(earliest.is_none() || earliest <= Some(UnixMillis(*due)));
                }
                let mut shown = Vec::new();
                prop_assert_eq!(wheel.soonest(&pending, usize::MAX, |node| shown.push(pending.due(node).0)), None);
                shown.sort_unstable();
                prop_assert_eq!(&shown, &model.keys().map(|(due, _)| *due).collect::<Vec<_>>());
                shown.clear();
                let until = wheel.soonest(&pending, 3, |node| shown.push(pending.due(node).0));
                prop_assert!(shown.len() <= 3);
                let before = model.keys().filter(|(due, _)| until.is_none_or(|until| *due < until.0));
                prop_assert!(before.into_iter().all(|(due, _)| shown.contains(due)), "{:?} {:?}", until, shown);
            }
        }
    }
}
