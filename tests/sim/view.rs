//! The view's rows as they follow from the journal, folded a second time, and the laws about them. It never uses the store's own fold.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hookwheel::model::{DeliveryKey, Next};
use hookwheel::store::fact::{Accepted, Fact};
use hookwheel::store::journal::frame::encode_fact;
use hookwheel::store::journal::medium::Medium;
use hookwheel::store::journal::reader::JournalReader;
use hookwheel::store::journal::segment::{Scanned, ScannedFrame, parse_file_name};
use hookwheel::store::view::keys::{self, IdempotencyRow, Meta, QueueRow};
use hookwheel::time::UnixMillis;

use crate::laws::{Broken, Law, require};
use crate::medium::SimMedium;
use crate::table::{Rows, SimTable};

/// What a journal says must be in the view.
#[derive(Default)]
struct Expected {
    queue: BTreeMap<DeliveryKey, (UnixMillis, QueueRow)>,
    /// Rows that must be there.
    rows: Rows,
    /// The newest row of each id, whatever its age.
    ids: HashMap<Vec<u8>, IdempotencyRow>,
    /// Every row that may be there although it is old.
    expiries: BTreeMap<Vec<u8>, UnixMillis>,
    latest: UnixMillis,
}

/// Every fact of the journal in order. Nothing in it may be damaged.
pub(crate) fn scan(medium: SimMedium) -> Result<Vec<ScannedFrame>, Broken> {
    let law = "the journal can be read";
    let broken = |what: String| Broken { law, what };
    let mut numbers = medium.list().map_err(|error| broken(error.to_string()))?;
    numbers.retain(|name| parse_file_name(name).is_some());
    numbers.sort();
    let reader = JournalReader::new(Arc::new(medium));
    let mut frames = Vec::new();
    for number in numbers.iter().filter_map(|name| parse_file_name(name)) {
        let scan = reader.scan(number).map_err(|error| broken(error.to_string()))?;
        let mut scan = scan.ok_or_else(|| broken(format!("segment {number} has no header")))?;
        while let Some(scanned) = scan.step().map_err(|error| broken(error.to_string()))? {
            match scanned {
                Scanned::Frame(frame) => frames.push(*frame),
                Scanned::Damage { offset, skipped, error } => {
                    return Err(broken(format!("segment {number} is damaged at {offset}, {skipped} bytes: {error}")));
                }
            }
        }
    }
    Ok(frames)
}

/// **The view equals the fold of the journal**, row by row; only ids older than the window may be there or not.
/// A table that was hurt is excused where nobody has looked yet: at its ids.
pub(crate) fn the_view_equals_the_fold(journal: &[ScannedFrame], table: &SimTable, now: UnixMillis, window_ms: u64) -> Law {
    let law = "the view equals the fold of the journal";
    let (rows, is_hurt) = (&table.rows(), table.is_hurt());
    let mut expected = Expected::default();
    for frame in journal {
        expected.fold(frame);
    }
    let young = |accepted: UnixMillis| now.since_ms(accepted) < window_ms;
    for (key, row) in expected.ids.iter().filter(|(_, row)| young(row.accepted)) {
        expected.rows.insert(key.clone(), row.to_value(key));
    }
    for (key, _) in expected.expiries.iter().filter(|(_, accepted)| young(**accepted)) {
        expected.rows.insert(key.clone(), Vec::new());
    }
    for (key, (due, row)) in &expected.queue {
        let bytes = keys::queue_key(*due, *key);
        let value = row.to_value(&bytes);
        expected.rows.insert(bytes, value);
    }
    let is_excused = |key: &[u8]| is_hurt && matches!(key.first(), Some(b'i' | b'x'));
    for (key, value) in expected.rows.iter().filter(|(key, _)| !is_excused(key)) {
        require(law, rows.get(key) == Some(value), || format!("row {key:?} should be {value:?}, is {:?}", rows.get(key)))?;
    }
    for (key, value) in rows.iter().filter(|(key, _)| !expected.rows.contains_key(*key) && key.as_slice() != keys::META && !is_excused(key))
    {
        let is_old_id = expected.ids.get(key).is_some_and(|row| row.to_value(key) == *value);
        require(law, is_old_id || expected.expiries.contains_key(key), || format!("row {key:?} with {value:?} should not be there"))?;
    }
    expected.check_position(journal, rows)
}

impl Expected {
    fn fold(&mut self, frame: &ScannedFrame) {
        match &frame.fact {
            Fact::Accepted(accepted) => self.accepted(frame, accepted),
            Fact::Attempted(attempted) => {
                let attempt = &attempted.attempt;
                self.latest = self.latest.max(attempt.finished);
                self.queue.remove(&attempted.key);
                if let Next::RetryAt(due) = attempt.next {
                    let attempts = u8::try_from(attempt.number).expect("schedules are short");
                    let row = QueueRow { body: attempted.body, last_attempt: Some(frame.locator), attempts, round: attempt.round };
                    self.queue.insert(attempted.key, (due, row));
                }
            }
            Fact::Webhook(state) => {
                let key = keys::webhook_key(state.number);
                let value = keys::seal(&key, encode_fact(&frame.fact));
                self.rows.insert(key, value);
            }
            Fact::Cancelled(cancelled) => {
                self.latest = self.latest.max(cancelled.at);
                for (key, _) in &cancelled.keys {
                    self.queue.remove(key);
                }
            }
        }
    }

    fn accepted(&mut self, frame: &ScannedFrame, accepted: &Accepted) {
        self.latest = self.latest.max(accepted.accepted);
        for webhook in &accepted.deliveries {
            let row = QueueRow { body: frame.locator, last_attempt: None, attempts: 0, round: 1 };
            self.queue.insert(DeliveryKey { sequence: frame.sequence, webhook: *webhook }, (accepted.accepted, row));
        }
        if accepted.id_by_client {
            let hash = keys::id_hash(&accepted.project, &accepted.id);
            let deliveries = u32::try_from(accepted.deliveries.len() + accepted.overflowed.len()).expect("few webhooks");
            let row = IdempotencyRow { accepted: accepted.accepted, fields_hash: accepted.fields_hash, deliveries };
            self.ids.insert(keys::idempotency_key(&hash), row);
            self.expiries.insert(keys::expiry_key(accepted.accepted, &hash), accepted.accepted);
        }
    }

    /// The position names the last fact, and count, digest and latest time fit.
    fn check_position(&self, journal: &[ScannedFrame], rows: &Rows) -> Law {
        let law = "the view equals the fold of the journal";
        let Some(last) = journal.last() else { return Ok(()) };
        let meta = rows.get(keys::META).map(|value| Meta::from_value(value));
        let Some(Ok(meta)) = meta else { return require(law, false, || format!("its position is {meta:?}")) };
        let at = (meta.sequence, meta.locator, meta.checksum);
        require(law, at == (last.sequence, last.locator, last.checksum), || format!("it stands at {meta:?}, the last is {last:?}"))?;
        let digest = self.queue.iter().fold(0_u64, |sum, (key, (due, _))| sum.wrapping_add(keys::queue_digest(*due, *key)));
        let fits = meta.queue_count == self.queue.len() as u64 && meta.queue_digest == digest && meta.latest == self.latest;
        require(law, fits, || format!("{meta:?} does not fit {} rows, digest {digest}, latest {}", self.queue.len(), self.latest))
    }
}
