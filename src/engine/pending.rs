//! The compact table of pending deliveries that wheel and lanes share. It never holds a body and never moves an entry.
//!
//! An entry is a [`Node`] of 32 bytes in a chunked slab, found by its key through a sharded hash table of node numbers, so that growing
//! never moves more than one shard at once. Every entry is linked into at most one list at a time (a wheel slot or a lane's queue) through one
//! field of its node ([`List`](super::list::List)). Taking an entry out of the middle of a list would need a second link, so it is done lazily: the entry is marked dead, is not found
//! any more, and whoever walks the list next frees it.
//!
//! | word | bits | what |
//! | --- | --- | --- |
//! | 0 | 48 · 8 · 8 | due, Unix milliseconds · attempts made in this round · place and marks |
//! | 1 | 48 · 16 | sequence · round |
//! | 2 | 32 · 32 | segment · offset of the body |
//! | 3 | 32 · 32 | webhook · link |

use hashbrown::HashTable;

use crate::model::{DeliveryKey, Locator, Sequence, WebhookNumber};
use crate::time::UnixMillis;

/// The number of a node; it stays the same as long as the entry lives.
pub type NodeNumber = u32;

/// No node.
pub const NONE: NodeNumber = u32::MAX;

const CHUNK: usize = 8192;
const SHARDS: usize = 256;
const LOW_48: u64 = (1 << 48) - 1;
const PLACE_MASK: u64 = 0b11;
const HASTENED: u64 = 1 << 4;
const ELSEWHERE: u64 = 1 << 5;
const PROMPT: u64 = 1 << 6;
const DEAD: u64 = 1 << 7;

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In no list: just made, or just taken out of one.
    Loose,
    /// In a slot of the wheel, waiting for its due time.
    Wheel,
    /// In its lane's queue, due and waiting for room.
    Lane,
    /// Handed to dispatch.
    InFlight,
}

/// A pending delivery, spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub key: DeliveryKey,
    /// Where its event lies in the journal.
    pub body: Locator,
    /// When its next attempt is due.
    pub due: UnixMillis,
    /// Attempts made in this round.
    pub attempts: u8,
    /// The round, from 1.
    pub round: u16,
}

#[derive(Clone, Copy)]
struct Node([u64; 4]);

const _: () = assert!(size_of::<Node>() == 32);

/// The table.
pub struct Pending {
    chunks: Vec<Box<[Node]>>,
    allocated: usize,
    free: NodeNumber,
    live: usize,
    shards: Vec<HashTable<NodeNumber>>,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            allocated: 0,
            free: NONE,
            live: 0,
            shards: std::iter::repeat_with(HashTable::new).take(SHARDS).collect(),
        }
    }
}

impl Pending {
    /// Entries that are not dead.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Bytes that the table occupies, its free places included. Public for the benchmark of the wheel.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let nodes = self.chunks.len() * CHUNK * size_of::<Node>();
        nodes + self.shards.iter().map(HashTable::allocation_size).sum::<usize>()
    }

    /// Node numbers ever used lie below this; [`Pending::entry_at`] says which are live.
    #[must_use]
    pub fn high_water(&self) -> NodeNumber {
        number(self.allocated)
    }

    /// Adds an entry, in no list yet. `None` when its key is there already.
    pub fn insert(&mut self, entry: Entry) -> Option<NodeNumber> {
        let hash = hash_of(entry.key);
        if self.find_hashed(hash, entry.key).is_some() {
            return None;
        }
        let node_number = self.allocate();
        *self.node_mut(node_number) = Node::of(entry);
        let Self { chunks, shards, .. } = self;
        shards[shard_of(hash)].insert_unique(hash, node_number, |other| hash_of(node_in(chunks, *other).key()));
        self.live += 1;
        Some(node_number)
    }

    /// The live entry with that key.
    #[must_use]
    pub fn find(&self, key: DeliveryKey) -> Option<NodeNumber> {
        self.find_hashed(hash_of(key), key)
    }

    /// Ends an entry: at once when it is in no list, else as soon as its list is walked.
    pub fn remove(&mut self, node_number: NodeNumber) {
        let key = self.node(node_number).key();
        let hash = hash_of(key);
        let Self { shards, .. } = self;
        // By its number, not by its key: what was reissued has the same key, and is not meant.
        let found = shards[shard_of(hash)].find_entry(hash, |other| *other == node_number);
        if let Ok(occupied) = found {
            occupied.remove();
            self.live -= 1;
        }
        match self.place(node_number) {
            Place::Loose | Place::InFlight => self.release(node_number),
            Place::Wheel | Place::Lane => self.node_mut(node_number).0[0] |= DEAD,
        }
    }

    /// Replaces an entry that is in a list by a loose one with the same content, so that it can go elsewhere.
    #[must_use]
    pub fn reissue(&mut self, node_number: NodeNumber) -> NodeNumber {
        let (entry, hastened) = (self.entry(node_number), self.is_hastened(node_number));
        self.remove(node_number);
        let reissued = self.insert(entry).expect("its key was removed the line before");
        self.set_hastened(reissued, hastened);
        reissued
    }

    /// The entry of a node.
    #[must_use]
    pub fn entry(&self, node_number: NodeNumber) -> Entry {
        let node = self.node(node_number);
        Entry { key: node.key(), body: node.body(), due: node.due(), attempts: node.attempts(), round: node.round() }
    }

    /// The live entry with that node number, if there is one.
    #[must_use]
    pub fn entry_at(&self, node_number: NodeNumber) -> Option<Entry> {
        let entry = self.entry(node_number);
        (self.find(entry.key) == Some(node_number)).then_some(entry)
    }

    /// When an entry is due.
    #[must_use]
    pub fn due(&self, node_number: NodeNumber) -> UnixMillis {
        self.node(node_number).due()
    }

    /// Which webhook's it is.
    #[must_use]
    pub fn webhook(&self, node_number: NodeNumber) -> WebhookNumber {
        self.node(node_number).key().webhook
    }

    /// Puts down that one more attempt was made and when the next is due.
    pub fn reschedule(&mut self, node_number: NodeNumber, due: UnixMillis, attempts: u8) {
        let node = self.node_mut(node_number);
        node.0[0] = (due.0.min(LOW_48) << 16) | (u64::from(attempts) << 8) | (node.0[0] & 0xff & !HASTENED);
    }

    /// Where an entry is.
    #[must_use]
    pub fn place(&self, node_number: NodeNumber) -> Place {
        match self.node(node_number).0[0] & PLACE_MASK {
            0 => Place::Loose,
            1 => Place::Wheel,
            2 => Place::Lane,
            _ => Place::InFlight,
        }
    }

    /// Puts down where an entry is.
    pub fn set_place(&mut self, node_number: NodeNumber, place: Place) {
        let bits = match place {
            Place::Loose => 0,
            Place::Wheel => 1,
            Place::Lane => 2,
            Place::InFlight => 3,
        };
        let node = self.node_mut(node_number);
        node.0[0] = (node.0[0] & !PLACE_MASK) | bits;
    }

    /// Whether its lane had room at the moment it came due; such an attempt ought to start at once.
    #[must_use]
    pub fn is_prompt(&self, node_number: NodeNumber) -> bool {
        self.node(node_number).0[0] & PROMPT != 0
    }

    /// Puts down whether its lane had room at the moment it came due.
    pub fn set_prompt(&mut self, node_number: NodeNumber, prompt: bool) {
        let node = self.node_mut(node_number);
        node.0[0] = (node.0[0] & !PROMPT) | if prompt { PROMPT } else { 0 };
    }

    /// Whether an operator wants it tried before its time.
    #[must_use]
    pub fn is_hastened(&self, node_number: NodeNumber) -> bool {
        self.node(node_number).0[0] & HASTENED != 0
    }

    /// Puts down whether an operator wants it tried before its time; that ends with the attempt.
    pub fn set_hastened(&mut self, node_number: NodeNumber, hastened: bool) {
        let node = self.node_mut(node_number);
        node.0[0] = (node.0[0] & !HASTENED) | if hastened { HASTENED } else { 0 };
    }

    /// Puts down where the event of an entry lies now.
    pub fn set_body(&mut self, node_number: NodeNumber, body: Locator) {
        self.node_mut(node_number).0[2] = word_of(body);
    }

    /// Whether the event was carried elsewhere since the attempt under way began.
    #[must_use]
    pub fn is_elsewhere(&self, node_number: NodeNumber) -> bool {
        self.node(node_number).0[0] & ELSEWHERE != 0
    }

    /// Puts down whether the event was carried elsewhere since the attempt under way began.
    pub fn set_elsewhere(&mut self, node_number: NodeNumber, elsewhere: bool) {
        let node = self.node_mut(node_number);
        node.0[0] = (node.0[0] & !ELSEWHERE) | if elsewhere { ELSEWHERE } else { 0 };
    }

    /// Whether an entry was removed while it was in a list.
    pub(super) fn is_dead(&self, node_number: NodeNumber) -> bool {
        self.node(node_number).0[0] & DEAD != 0
    }

    fn find_hashed(&self, hash: u64, key: DeliveryKey) -> Option<NodeNumber> {
        self.shards[shard_of(hash)].find(hash, |other| self.node(*other).key() == key).copied()
    }

    fn allocate(&mut self) -> NodeNumber {
        if self.free != NONE {
            let node_number = self.free;
            self.free = self.link(node_number);
            return node_number;
        }
        if self.allocated == self.chunks.len() * CHUNK {
            self.chunks.push(vec![Node([0; 4]); CHUNK].into_boxed_slice());
        }
        self.allocated += 1;
        number(self.allocated - 1)
    }

    pub(super) fn release(&mut self, node_number: NodeNumber) {
        let free = self.free;
        *self.node_mut(node_number) = Node([0; 4]);
        self.set_link(node_number, free);
        self.free = node_number;
    }

    pub(super) fn link(&self, node_number: NodeNumber) -> NodeNumber {
        low_32(self.node(node_number).0[3])
    }

    pub(super) fn set_link(&mut self, node_number: NodeNumber, link: NodeNumber) {
        let node = self.node_mut(node_number);
        node.0[3] = (node.0[3] & !u64::from(u32::MAX)) | u64::from(link);
    }

    fn node(&self, node_number: NodeNumber) -> &Node {
        node_in(&self.chunks, node_number)
    }

    fn node_mut(&mut self, node_number: NodeNumber) -> &mut Node {
        let index = node_number as usize;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

impl Node {
    fn of(entry: Entry) -> Self {
        let Entry { key, body, due, attempts, round } = entry;
        Self([
            (due.0.min(LOW_48) << 16) | (u64::from(attempts) << 8),
            ((key.sequence.0 & LOW_48) << 16) | u64::from(round),
            word_of(body),
            (u64::from(key.webhook.0) << 32) | u64::from(NONE),
        ])
    }

    fn key(&self) -> DeliveryKey {
        DeliveryKey { sequence: Sequence(self.0[1] >> 16), webhook: WebhookNumber(high_32(self.0[3])) }
    }

    fn body(&self) -> Locator {
        Locator { segment: high_32(self.0[2]), offset: low_32(self.0[2]) }
    }

    fn due(&self) -> UnixMillis {
        UnixMillis(self.0[0] >> 16)
    }

    fn attempts(&self) -> u8 {
        self.0[0].to_le_bytes()[1]
    }

    fn round(&self) -> u16 {
        let bytes = self.0[1].to_le_bytes();
        u16::from_le_bytes([bytes[0], bytes[1]])
    }
}

fn word_of(body: Locator) -> u64 {
    (u64::from(body.segment) << 32) | u64::from(body.offset)
}

fn node_in(chunks: &[Box<[Node]>], node_number: NodeNumber) -> &Node {
    let index = node_number as usize;
    &chunks[index / CHUNK][index % CHUNK]
}

fn number(index: usize) -> NodeNumber {
    u32::try_from(index).expect("limits::PENDING_MAX is far below 2^32")
}

fn high_32(word: u64) -> u32 {
    let bytes = word.to_be_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn low_32(word: u64) -> u32 {
    let bytes = word.to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

fn shard_of(hash: u64) -> usize {
    // The low bits choose the bucket and the top seven are the tag inside a shard, so the shard takes bits in between.
    usize::from(hash.to_le_bytes()[5])
}

/// Sequences are dealt by the journal, not chosen by clients, so a fixed mixer (the finalizer of SplitMix64) is enough.
fn hash_of(key: DeliveryKey) -> u64 {
    let mut hash = key.sequence.0 ^ u64::from(key.webhook.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: u64, webhook: u32, due: u64) -> Entry {
        Entry {
            key: DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(webhook) },
            body: Locator { segment: 7, offset: 4096 },
            due: UnixMillis(due),
            attempts: 3,
            round: 2,
        }
    }

    #[test]
    fn a_node_keeps_the_extremes_of_every_field() {
        let mut pending = Pending::default();
        let extreme = Entry {
            key: DeliveryKey { sequence: Sequence(LOW_48), webhook: WebhookNumber(u32::MAX) },
            body: Locator { segment: u32::MAX, offset: u32::MAX },
            due: UnixMillis(LOW_48),
            attempts: u8::MAX,
            round: u16::MAX,
        };
        let node = pending.insert(extreme).unwrap();
        pending.set_place(node, Place::InFlight);
        pending.set_prompt(node, true);
        assert_eq!(pending.entry(node), extreme);
        pending.reschedule(node, UnixMillis(5), 1);
        assert_eq!(pending.entry(node), Entry { due: UnixMillis(5), attempts: 1, ..extreme });
        assert_eq!((pending.place(node), pending.is_prompt(node)), (Place::InFlight, true));
    }

    #[test]
    fn a_delivery_takes_at_most_48_bytes() {
        let mut pending = Pending::default();
        for sequence in 0..1_000_000 {
            pending.insert(entry(sequence, 1, sequence)).unwrap();
        }
        let bytes_each = pending.memory_bytes().div_ceil(pending.len());
        assert!(bytes_each <= 48, "{bytes_each} bytes a delivery");
    }
}
