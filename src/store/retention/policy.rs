//! Which of the oldest segments go, and how many: pure arithmetic over what is known of them. It never touches one.

use std::collections::BTreeMap;

use super::{RetentionError, disk, size_of};
use crate::limits;
use crate::store::carry::Load;
use crate::store::journal::medium::Medium;
use crate::store::journal::reader::JournalReader;
use crate::store::journal::segment::Scanned;
use crate::time::UnixMillis;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// How long what ended is kept, in milliseconds.
    pub keep_ms: u64,
    /// Bytes that the journal may have.
    pub max_size_bytes: u64,
    /// How long an id is recognized, in milliseconds.
    pub idempotency_window_ms: u64,
}

/// Why a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// Its newest fact is older than `keep`.
    OfAge,
    /// The journal is larger than `max_size`.
    OfSize,
}

/// A segment that is not written to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) number: u32,
    /// Bytes of its file.
    pub(super) size: u64,
    /// When its newest fact happened; the beginning of time for one without any. Known of the oldest segment only.
    pub(super) newest: Option<UnixMillis>,
}

/// What is known of the segments.
pub(super) struct Ledger {
    segment_size: u64,
    sealed: BTreeMap<u32, Sealed>,
    /// What was carried into each segment.
    loads: BTreeMap<u32, SegmentLoad>,
    dropped_by_age: Option<UnixMillis>,
}

#[derive(Clone, Copy, Default)]
struct SegmentLoad {
    deliveries: u64,
    bytes_of_deliveries: u64,
    other_bytes: u64,
}

impl Ledger {
    pub(super) fn new(segment_size: u64) -> Self {
        Self { segment_size, sealed: BTreeMap::new(), loads: BTreeMap::new(), dropped_by_age: None }
    }

    /// Learns of new segments, and of the age of the oldest.
    pub(super) fn follow<M: Medium>(&mut self, numbers: &[u32], reader: &JournalReader<M>, medium: &M) -> Result<(), RetentionError> {
        self.sealed.retain(|number, _| numbers.contains(number));
        for number in numbers {
            if !self.sealed.contains_key(number) {
                let size = size_of(medium, *number)?;
                self.sealed.insert(*number, Sealed { number: *number, size, newest: None });
            }
        }
        let Some(oldest) = self.sealed.values_mut().next().filter(|sealed| sealed.newest.is_none()) else { return Ok(()) };
        let mut newest = UnixMillis(0);
        let Some(mut scan) = reader.scan(oldest.number).map_err(disk("opening", oldest.number))? else { return Ok(()) };
        while let Some(scanned) = scan.step().map_err(disk("reading", oldest.number))? {
            if let Scanned::Frame(frame) = scanned {
                newest = newest.max(frame.fact.moment().unwrap_or_default());
            }
        }
        oldest.newest = Some(newest);
        Ok(())
    }

    /// Puts down what carrying took.
    pub(super) fn carried(&mut self, load: Load) {
        let segment = self.loads.entry(load.segment).or_default();
        if load.deliveries == 0 {
            segment.other_bytes += load.bytes;
        } else {
            segment.deliveries += load.deliveries as u64;
            segment.bytes_of_deliveries += load.bytes;
        }
    }

    /// The segments before `first_kept` are gone.
    pub(super) fn dropped(&mut self, first_kept: u32, because: Because, now: UnixMillis) {
        self.sealed = self.sealed.split_off(&first_kept);
        self.loads = self.loads.split_off(&first_kept);
        if because == Because::OfAge {
            self.dropped_by_age = Some(now);
        }
    }

    /// The oldest segments.
    pub(super) fn oldest(&self, count: usize) -> Vec<Sealed> {
        self.sealed.values().take(count).copied().collect()
    }

    /// How many of the oldest segments go now, and why. `pending` is how many deliveries are.
    pub(super) fn how_many(&self, settings: &RetentionSettings, pending: u64, now: UnixMillis) -> Option<(usize, Because)> {
        let total = self.sealed.values().map(|sealed| sealed.size).sum::<u64>();
        // The segment that is written and those that are prepared are part of the journal, and never go.
        let wanted = settings.max_size_bytes.saturating_sub((1 + limits::SPARE_SEGMENTS as u64) * self.segment_size);
        let allowed = wanted.max(2 * self.carried_and_pending(pending));
        let (mut count, mut left) = (0, total);
        for sealed in self.sealed.values().take(limits::SEGMENTS_DROPPED_MAX) {
            if left <= allowed {
                break;
            }
            (count, left) = (count + 1, left - sealed.size);
        }
        if count > 0 {
            return Some((count, Because::OfSize));
        }
        let oldest = self.sealed.values().next()?;
        let is_old = oldest.newest.is_some_and(|newest| now.since_ms(newest) > settings.keep_ms);
        let rests = self.dropped_by_age.is_some_and(|last| now.since_ms(last) < limits::DROP_BY_AGE_EVERY_MS);
        (is_old && !rests).then_some((1, Because::OfAge))
    }

    /// Bytes of what was carried and may still be needed: never more than what was carried, and of the deliveries among it no greater part than can be pending.
    fn carried_and_pending(&self, pending: u64) -> u64 {
        let (mut deliveries, mut bytes, mut others) = (0_u64, 0_u64, 0_u64);
        for load in self.loads.values() {
            deliveries += load.deliveries;
            bytes += load.bytes_of_deliveries;
            others += load.other_bytes;
        }
        let share = u128::from(bytes) * u128::from(pending.min(deliveries)) / u128::from(deliveries.max(1));
        others + u64::try_from(share).unwrap_or(u64::MAX)
    }
}
