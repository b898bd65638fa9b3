//! The rows of the history: a delivery that ended, an event that was accepted, and the names that they share. They never hold a body.

use std::collections::HashMap;
use std::hash::Hash;

use crate::model::{DeliveryKey, DeliveryState, EventTypeName, Locator, Project, Sequence, WebhookNumber};
use crate::time::UnixMillis;

/// The number of a name that is not known.
pub(super) const UNKNOWN: u32 = u32::MAX;

/// Where a delivery's end stands in the history, which is told from the highest to the lowest.
pub type EndPlace = (UnixMillis, DeliveryKey);

/// A delivery that ended, with numbers instead of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EndedRow {
    pub(super) at: UnixMillis,
    pub(super) key: DeliveryKey,
    /// 0 where it is not known.
    pub(super) accepted: UnixMillis,
    pub(super) body: Option<Locator>,
    pub(super) last_attempt: Option<Locator>,
    pub(super) attempts: u16,
    pub(super) state: DeliveryState,
    pub(super) event_type: u32,
    pub(super) project: u32,
}

/// An event that was accepted, with numbers instead of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventRow {
    pub(super) sequence: Sequence,
    pub(super) accepted: UnixMillis,
    pub(super) id_hash: u64,
    pub(super) place: Locator,
    pub(super) event_type: u32,
    pub(super) project: u32,
    pub(super) deliveries: u32,
}

/// Where a delivery's end lies among the [`EndedRow`]s of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeyRow {
    pub(super) key: DeliveryKey,
    pub(super) ordinal: u32,
    /// The state's number, so that the states of an event's deliveries are told without reading their ends.
    pub(super) state: u8,
}

/// Where an event lies among the [`EventRow`]s of one index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IdRow {
    pub(super) id_hash: u64,
    pub(super) ordinal: u32,
}

/// A row of a fixed number of bytes, little-endian.
pub(super) trait Row: Copy {
    /// Its bytes.
    const SIZE: usize;
    /// Rows that share a checksum and are read at once.
    const BLOCK: usize;

    fn put(&self, bytes: &mut Vec<u8>);
    /// `None` when no row has such bytes.
    fn get(bytes: Fields<'_>) -> Option<Self>;
}

/// Bytes that are taken field by field.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn key(&mut self) -> Option<DeliveryKey> {
        Some(DeliveryKey { sequence: Sequence(self.u64()?), webhook: WebhookNumber(self.u32()?) })
    }

    /// Segments count from 1, so 0 is no place.
    fn place(&mut self) -> Option<Option<Locator>> {
        let (segment, offset) = (self.u32()?, self.u32()?);
        Some((segment > 0).then_some(Locator { segment, offset }))
    }
}

fn put_key(key: DeliveryKey, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&key.sequence.0.to_le_bytes());
    bytes.extend_from_slice(&key.webhook.0.to_le_bytes());
}

fn put_place(place: Option<Locator>, bytes: &mut Vec<u8>) {
    let Locator { segment, offset } = place.unwrap_or_default();
    bytes.extend_from_slice(&segment.to_le_bytes());
    bytes.extend_from_slice(&offset.to_le_bytes());
}

impl EndedRow {
    pub(super) fn place(&self) -> EndPlace {
        (self.at, self.key)
    }
}

impl Row for EndedRow {
    const SIZE: usize = 56;
    const BLOCK: usize = 128;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.at.0.to_le_bytes());
        put_key(self.key, bytes);
        bytes.extend_from_slice(&self.attempts.to_le_bytes());
        bytes.push(state_number(self.state));
        bytes.push(0);
        bytes.extend_from_slice(&self.accepted.0.to_le_bytes());
        put_place(self.body, bytes);
        put_place(self.last_attempt, bytes);
        bytes.extend_from_slice(&self.event_type.to_le_bytes());
        bytes.extend_from_slice(&self.project.to_le_bytes());
    }

    fn get(mut fields: Fields<'_>) -> Option<Self> {
        let (at, key, attempts) = (UnixMillis(fields.u64()?), fields.key()?, fields.u16()?);
        let state = state_of(fields.u8()?)?;
        if fields.u8()? != 0 {
            return None;
        }
        let (accepted, body, last_attempt) = (UnixMillis(fields.u64()?), fields.place()?, fields.place()?);
        Some(Self { at, key, accepted, body, last_attempt, attempts, state, event_type: fields.u32()?, project: fields.u32()? })
    }
}

/// The number of a state in rows, and of its bit in summaries.
pub(super) const fn state_number(state: DeliveryState) -> u8 {
    match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::Dropped => 2,
        DeliveryState::Cancelled => 3,
    }
}

/// The inverse of [`state_number`].
pub(super) fn state_of(number: u8) -> Option<DeliveryState> {
    match number {
        0 => Some(DeliveryState::Pending),
        1 => Some(DeliveryState::Delivered),
        2 => Some(DeliveryState::Dropped),
        3 => Some(DeliveryState::Cancelled),
        _ => None,
    }
}

impl Row for EventRow {
    const SIZE: usize = 44;
    const BLOCK: usize = 128;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.sequence.0.to_le_bytes());
        bytes.extend_from_slice(&self.accepted.0.to_le_bytes());
        bytes.extend_from_slice(&self.id_hash.to_le_bytes());
        put_place(Some(self.place), bytes);
        bytes.extend_from_slice(&self.event_type.to_le_bytes());
        bytes.extend_from_slice(&self.project.to_le_bytes());
        bytes.extend_from_slice(&self.deliveries.to_le_bytes());
    }

    fn get(mut fields: Fields<'_>) -> Option<Self> {
        Some(Self {
            sequence: Sequence(fields.u64()?),
            accepted: UnixMillis(fields.u64()?),
            id_hash: fields.u64()?,
            place: fields.place()??,
            event_type: fields.u32()?,
            project: fields.u32()?,
            deliveries: fields.u32()?,
        })
    }
}

impl Row for KeyRow {
    const SIZE: usize = 17;
    const BLOCK: usize = 512;

    fn put(&self, bytes: &mut Vec<u8>) {
        put_key(self.key, bytes);
        bytes.extend_from_slice(&self.ordinal.to_le_bytes());
        bytes.push(self.state);
    }

    fn get(mut fields: Fields<'_>) -> Option<Self> {
        Some(Self { key: fields.key()?, ordinal: fields.u32()?, state: fields.u8()? })
    }
}

impl Row for IdRow {
    const SIZE: usize = 12;
    const BLOCK: usize = 512;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.id_hash.to_le_bytes());
        bytes.extend_from_slice(&self.ordinal.to_le_bytes());
    }

    fn get(mut fields: Fields<'_>) -> Option<Self> {
        Some(Self { id_hash: fields.u64()?, ordinal: fields.u32()? })
    }
}

/// Names with the numbers that stand for them in rows: the number of a name is where it stands in its list.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) types: Numbered<EventTypeName>,
    pub(super) projects: Numbered<Project>,
}

/// Each name once, with its number.
#[derive(Clone, Debug)]
pub(super) struct Numbered<T> {
    list: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { list: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    /// The number of `name`, known from now on.
    pub(super) fn number(&mut self, name: &T) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).expect("a segment has fewer than 2^32 bytes, and so fewer names");
        self.list.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    pub(super) fn find(&self, name: &T) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    /// The name behind a number; `None` for [`UNKNOWN`].
    pub(super) fn name(&self, number: u32) -> Option<&T> {
        self.list.get(usize::try_from(number).ok()?)
    }

    pub(super) fn list(&self) -> &[T] {
        &self.list
    }
}
