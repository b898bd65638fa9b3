//! A queue of pending deliveries, linked through their own nodes. It never allocates.

use super::pending::{NONE, NodeNumber, Pending, Place};

/// A first-in-first-out list of entries, linked through their nodes. Dead ones in it are freed when they come to its front.
#[derive(Clone, Copy, Debug)]
pub struct List {
    head: NodeNumber,
    tail: NodeNumber,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl List {
    /// Whether nothing is in it, not even a dead entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// Adds an entry behind all others.
    pub fn push_back(&mut self, pending: &mut Pending, node_number: NodeNumber) {
        pending.set_link(node_number, NONE);
        match self.tail {
            NONE => self.head = node_number,
            tail => pending.set_link(tail, node_number),
        }
        self.tail = node_number;
    }

    /// Adds an entry before all others.
    pub fn push_front(&mut self, pending: &mut Pending, node_number: NodeNumber) {
        pending.set_link(node_number, self.head);
        if self.tail == NONE {
            self.tail = node_number;
        }
        self.head = node_number;
    }

    /// Takes the first node, dead or alive.
    pub fn pop_any(&mut self, pending: &mut Pending) -> Option<Popped> {
        let node_number = self.head;
        if node_number == NONE {
            return None;
        }
        self.head = pending.link(node_number);
        if self.head == NONE {
            self.tail = NONE;
        }
        if pending.is_dead(node_number) {
            pending.release(node_number);
            return Some(Popped::Dead);
        }
        pending.set_place(node_number, Place::Loose);
        Some(Popped::Live(node_number))
    }

    /// Takes the first live entry.
    pub fn pop_front(&mut self, pending: &mut Pending) -> Option<NodeNumber> {
        loop {
            if let Popped::Live(node_number) = self.pop_any(pending)? {
                return Some(node_number);
            }
        }
    }

    /// The live entries in it, in order.
    pub fn iter(self, pending: &Pending) -> impl Iterator<Item = NodeNumber> {
        self.nodes(pending).filter(|node| !pending.is_dead(*node))
    }

    /// The entries in it, dead or alive, in order: for whoever may look at so many and no more.
    pub fn nodes(self, pending: &Pending) -> impl Iterator<Item = NodeNumber> {
        let step = |node: NodeNumber| (node != NONE).then_some(node);
        std::iter::successors(step(self.head), move |node| step(pending.link(*node)))
    }

    /// The first live entry; dead ones before it are freed.
    pub fn front(&mut self, pending: &mut Pending) -> Option<NodeNumber> {
        let place = pending.place(if self.head == NONE { return None } else { self.head });
        let node_number = self.pop_front(pending)?;
        pending.set_place(node_number, place);
        self.push_front(pending, node_number);
        Some(node_number)
    }
}

/// What came off the front of a [`List`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popped {
    /// A live entry, now in no list.
    Live(NodeNumber),
    /// A dead one, now freed.
    Dead,
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;
    use crate::engine::pending::Entry;
    use crate::model::{DeliveryKey, Locator, Sequence, WebhookNumber};
    use crate::time::UnixMillis;

    fn entry(sequence: u64, webhook: u32, due: u64) -> Entry {
        let key = DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(webhook) };
        Entry { key, body: Locator { segment: 7, offset: 4096 }, due: UnixMillis(due), attempts: 3, round: 2 }
    }

    #[derive(Clone, Debug)]
    enum Action {
        Insert(u64, u32),
        RemoveLoose(u64, u32),
        PushBack(u64, u32),
        PushFront(u64, u32),
        Pop,
        Reissue(u64, u32),
    }

    fn action() -> impl Strategy<Value = Action> {
        let key = (0..12_u64, 0..3_u32);
        prop_oneof![
            3 => key.clone().prop_map(|(s, w)| Action::Insert(s, w)),
            2 => key.clone().prop_map(|(s, w)| Action::RemoveLoose(s, w)),
            3 => key.clone().prop_map(|(s, w)| Action::PushBack(s, w)),
            1 => key.clone().prop_map(|(s, w)| Action::PushFront(s, w)),
            2 => Just(Action::Pop),
            1 => key.prop_map(|(s, w)| Action::Reissue(s, w)),
        ]
    }

    proptest! {
        /// The table and one list against a `BTreeMap` and a `VecDeque`.
        #[test]
        fn the_table_is_a_map_and_a_list_is_a_queue(actions in proptest::collection::vec(action(), 1..200)) {
            let mut pending = Pending::default();
            let mut list = List::default();
            let mut model: BTreeMap<DeliveryKey, Place> = BTreeMap::new();
            let mut queue: VecDeque<DeliveryKey> = VecDeque::new();
            for action in actions {
                match action {
                    Action::Insert(s, w) => {
                        let new = entry(s, w, s * 10);
                        prop_assert_eq!(pending.insert(new).is_some(), !model.contains_key(&new.key));
                        model.entry(new.key).or_insert(Place::Loose);
                    }
                    Action::RemoveLoose(s, w) => {
                        let key = entry(s, w, 0).key;
                        if let Some(node) = pending.find(key) {
                            pending.remove(node);
                        }
                        model.remove(&key);
                        queue.retain(|other| *other != key);
                    }
                    Action::PushBack(s, w) | Action::PushFront(s, w) => {
                        let key = entry(s, w, 0).key;
                        if model.get(&key) == Some(&Place::Loose) {
                            let node = pending.find(key).unwrap();
                            pending.set_place(node, Place::Lane);
                            model.insert(key, Place::Lane);
                            if matches!(action, Action::PushBack(..)) {
                                list.push_back(&mut pending, node);
                                queue.push_back(key);
                            } else {
                                list.push_front(&mut pending, node);
                                queue.push_front(key);
                            }
                        }
                    }
                    Action::Pop => {
                        let front = list.front(&mut pending).map(|node| pending.entry(node).key);
                        prop_assert_eq!(front, queue.front().copied());
                        let popped = list.pop_front(&mut pending).map(|node| pending.entry(node).key);
                        prop_assert_eq!(popped, queue.pop_front());
                        popped.map(|key| model.insert(key, Place::Loose));
                    }
                    Action::Reissue(s, w) => {
                        let key = entry(s, w, 0).key;
                        if let Some(node) = pending.find(key) {
                            let new = pending.reissue(node);
                            prop_assert_eq!(pending.place(new), Place::Loose);
                            model.insert(key, Place::Loose);
                            queue.retain(|other| *other != key);
                        }
                    }
                }
                prop_assert_eq!(pending.len(), model.len());
                for (key, place) in &model {
                    let node = pending.find(*key).unwrap();
                    prop_assert_eq!(pending.entry_at(node).unwrap().key, *key);
                    prop_assert_eq!(pending.place(node), *place);
                }
            }
        }
    }
}
