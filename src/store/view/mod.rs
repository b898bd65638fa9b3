//! The view: the queue and the look-ups, folded from the journal. It never holds anything that the journal does not, and only ever what is synced there.
//!
//! Facts are folded into a *window* of row changes in memory, where they are coalesced by key: a delivery that is accepted and delivered within one window
//! never touches the table. When everything folded so far is synced, the window is *closed* and written in small batches as absolute puts and deletes;
//! the position, in [`keys::Meta`], moves in the last batch only. So a crash in the middle leaves rows of the
//! future beside a position of the past, and folding the same facts again writes the same rows again. With the first of several batches goes a mark ([`keys::AHEAD`]) that says
//! how far these rows are ahead: should the disk have lost the facts that they follow, which it had said were synced, nothing would ever take them away again, and the view is thrown away.
//!
//! Where retention let old segments go, the fold begins in the middle. A fact about a delivery names where its event lies, so the fold knows without a look-up what to make
//! of it: below the first segment that was folded lies what nobody knows any more, and the fact is about a delivery that ended, or that a later `Carried` brings in.
//!
//! Look-ups see the window being gathered, then the closed one, then the table.

// Public for fuzzing.
pub mod block;
pub mod keys;
pub mod sled;

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use self::keys::{IdempotencyRow, Meta, QueueRow};
use super::blacklist;
use super::fact::{Accepted, Attempted, Carried, CarriedId, Fact, Floor, FloorRaised};
use super::journal::{Appended, JournalId, frame};
use crate::limits::VIEW_BATCH_ROWS;
use crate::model::blacklist::Entry;
use crate::model::{Address, DeliveryKey, Locator, Next, Project, Sequence};
use crate::time::UnixMillis;

/// One change: a key with its value, or with none to remove it.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// What a scan calls with each key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An ordered table of small values: sled in the daemon, a model in the simulator.
pub trait Table: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// [`TableError`] when the table is damaged or the disk fails.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError>;
    /// Changes all of `rows` or none, visible at once, durable with the next checkpoint or before.
    ///
    /// # Errors
    /// [`TableError`] when the table is damaged or the disk fails.
    fn apply(&self, rows: &[Row]) -> Result<(), TableError>;
    /// Visits keys from `from` up to but without `to`, in order, until told to stop. It is no snapshot: rows changed meanwhile may be seen or not.
    ///
    /// # Errors
    /// [`TableError`] when the table is damaged or the disk fails.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError>;
    /// Makes everything applied so far durable, really.
    ///
    /// # Errors
    /// [`TableError`] when the table is damaged or the disk fails.
    fn checkpoint(&self) -> Result<(), TableError>;
    /// Bytes on disk.
    fn size_bytes(&self) -> u64;
}

/// The view can't be used any more; it is thrown away and rebuilt at the next start.
#[derive(Debug, thiserror::Error)]
#[error("the view (sled) failed: {0}; it will be rebuilt from the journal at the next start")]
pub struct TableError(pub String);

impl From<keys::BadRow> for TableError {
    fn from(_: keys::BadRow) -> Self {
        Self("a row does not fit its checksum".into())
    }
}

/// A table that follows the journal.
pub struct View<T> {
    table: Arc<T>,
    gathering: Window,
    closed: Option<Closed>,
    meta: Meta,
    /// What lay in older segments than this one was never folded.
    first_segment: u32,
    catching_up: bool,
}

/// Row changes, one a key.
#[derive(Default)]
struct Window {
    rows: HashMap<Vec<u8>, Change>,
    facts: usize,
}

struct Change {
    value: Option<Vec<u8>>,
    /// The key may be in what lies below the window, so that a removal must reach it.
    may_be_below: bool,
}

/// A window on its way into the table, and the position that it leads to.
struct Closed {
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Rows up to this key are in the table.
    written: Option<Vec<u8>>,
    facts: usize,
    meta: Meta,
}

impl<T: Table> View<T> {
    /// A view over a table that stands at `meta`, into which the segments from `first_segment` on were folded, or will be. While it is `catching_up`
    /// after a crash, the table may hold rows that are younger than its position.
    #[must_use]
    pub fn new(table: Arc<T>, meta: Meta, first_segment: u32, catching_up: bool) -> Self {
        Self { table, gathering: Window::default(), closed: None, meta, first_segment, catching_up }
    }

    /// Everything that was missing has been applied: from here on the table holds exactly what its position says.
    pub fn caught_up(&mut self) {
        self.catching_up = false;
    }

    /// The position of a view that holds nothing yet.
    #[must_use]
    pub fn beginning(journal: JournalId) -> Meta {
        Meta {
            journal,
            sequence: Sequence(0),
            locator: Locator::default(),
            checksum: 0,
            queue_count: 0,
            queue_digest: 0,
            latest: UnixMillis(0),
            floor: Floor::default(),
        }
    }

    /// The table below.
    #[must_use]
    pub fn table(&self) -> &Arc<T> {
        &self.table
    }

    /// The position once everything folded is applied.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Facts that are folded and not in the table yet.
    #[must_use]
    pub fn lag(&self) -> usize {
        self.gathering.facts + self.closed.as_ref().map_or(0, |closed| closed.facts)
    }

    /// The value of a key, whatever has reached the table.
    ///
    /// # Errors
    /// [`TableError`] when the table fails.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        if let Some(change) = self.gathering.rows.get(key) {
            return Ok(change.value.clone());
        }
        if let Some(value) = self.closed.as_ref().and_then(|closed| closed.rows.get(key)) {
            return Ok(value.clone());
        }
        self.table.get(key)
    }

    /// The row of a pending delivery.
    ///
    /// # Errors
    /// [`TableError`] when the table fails or the row is damaged.
    pub fn queue_row(&self, due: UnixMillis, key: DeliveryKey) -> Result<Option<QueueRow>, TableError> {
        let bytes = keys::queue_key(due, key);
        self.get(&bytes)?.map(|value| Ok(QueueRow::from_value(&bytes, &value)?)).transpose()
    }

    /// The row of an event whose id a client chose.
    ///
    /// # Errors
    /// [`TableError`] when the table fails or the row is damaged.
    pub fn idempotency_row(&self, hash: &keys::IdHash) -> Result<Option<IdempotencyRow>, TableError> {
        let bytes = keys::idempotency_key(hash);
        self.get(&bytes)?.map(|value| Ok(IdempotencyRow::from_value(&bytes, &value)?)).transpose()
    }

    /// The entry of an address on a project's Black List.
    ///
    /// # Errors
    /// [`TableError`] when the table fails or the row is damaged.
    pub fn blacklist_entry(&self, project: &Project, address: &Address) -> Result<Option<Entry>, TableError> {
        let key = keys::blacklist_key(project, address);
        self.get(&key)?.map(|value| blacklist::entry_of(&key, &value, address.clone())).transpose()
    }

    /// Folds one fact into the window. Facts come in the order of the journal.
    pub fn fold(&mut self, place: Appended, fact: &Fact) {
        match fact {
            Fact::Accepted(accepted) => self.fold_accepted(place, accepted),
            Fact::Attempted(attempted) => self.fold_attempted(place, attempted),
            Fact::Webhook(state) => {
                let key = keys::webhook_key(state.number);
                let value = keys::seal(&key, frame::encode_fact(fact));
                self.put(key, value);
            }
            Fact::Cancelled(cancelled) => {
                self.saw(cancelled.at);
                for one in cancelled.deliveries.iter().filter(|one| one.body.segment >= self.first_segment).copied().collect::<Vec<_>>() {
                    self.take_off_queue(one.due, one.key);
                }
            }
            Fact::Carried(carried) => self.fold_carried(place, carried),
            Fact::IdsCarried(ids) => ids.iter().for_each(|id| self.put_id(id)),
            Fact::FloorRaised(FloorRaised { floor, latest, at }) => {
                self.saw(*latest);
                self.saw(*at);
                self.meta.floor = *floor;
            }
            Fact::Setting(setting) => {
                let key = setting.key();
                // A row that is set again is put over itself, so taking it away must reach below the window in any case.
                match setting.is_set() {
                    true => {
                        let value = keys::seal(&key, frame::encode_fact(fact));
                        self.gathering.put(key, value, true);
                    }
                    false => self.gathering.remove(key),
                }
            }
            Fact::Blacklist(_) => {}
        }
        for (key, value) in blacklist::rows_of(fact) {
            // A row that is carried on is put over itself, so a removal must reach below the window in any case.
            match value {
                Some(value) => self.gathering.put(key, value, true),
                None => self.gathering.remove(key),
            }
        }
        self.gathering.facts += 1;
        (self.meta.sequence, self.meta.locator, self.meta.checksum) = (place.sequence, place.locator, place.checksum);
    }

    /// Closes the window that is being gathered, so that it can be written. The caller knows that everything folded is synced.
    /// Nothing happens while another one is on its way.
    pub fn close_window(&mut self) {
        if self.closed.is_some() || self.gathering.facts == 0 {
            return;
        }
        let Window { rows, facts } = std::mem::take(&mut self.gathering);
        let rows = rows.into_iter().map(|(key, change)| (key, change.value)).collect();
        self.closed = Some(Closed { rows, written: None, facts, meta: self.meta });
    }

    /// Rows of a window that one step writes.
    pub const STEP_ROWS: usize = VIEW_BATCH_ROWS - 2;

    /// Writes the next small batch of the closed window. False when there is nothing to write.
    ///
    /// # Errors
    /// [`TableError`] when the table fails.
    pub fn apply_step(&mut self) -> Result<bool, TableError> {
        let Some(closed) = &mut self.closed else { return Ok(false) };
        let is_first = closed.written.is_none();
        let from = closed.written.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = closed.rows.range((from, Bound::Unbounded)).map(|(key, value)| (key.clone(), value.clone()));
        let mut batch = rest.by_ref().take(Self::STEP_ROWS).collect::<Vec<Row>>();
        let is_last = rest.next().is_none();
        closed.written = batch.last().map(|(key, _)| key.clone());
        match (is_first, is_last) {
            (true, false) => batch.push((keys::AHEAD.to_vec(), Some(closed.meta.to_value_under(keys::AHEAD)))),
            (_, false) => {}
            (_, true) => batch.push((keys::META.to_vec(), Some(closed.meta.to_value()))),
        }
        // The process before this one may have left a mark, too.
        if is_last && (!is_first || self.catching_up) {
            batch.push((keys::AHEAD.to_vec(), None));
        }
        self.table.apply(&batch)?;
        if is_last {
            self.closed = None;
        }
        Ok(true)
    }

    /// Removes rows of the queue that no fact will ever remove, and makes its count and digest fit. Only recovery does this, after the journal lost facts.
    ///
    /// # Errors
    /// [`TableError`] when the table fails.
    pub fn repair(&mut self, stale: Vec<Row>, count: u64, digest: u64) -> Result<(), TableError> {
        (self.meta.queue_count, self.meta.queue_digest) = (count, digest);
        let mut rows = stale;
        rows.push((keys::META.to_vec(), Some(self.meta.to_value())));
        self.table.apply(&rows)
    }

    /// Forgets a few ids that were accepted before `moment`. True when there may be more.
    ///
    /// # Errors
    /// [`TableError`] when the table fails or a row is damaged.
    pub fn forget_ids_before(&mut self, moment: UnixMillis) -> Result<bool, TableError> {
        let (from, to) = keys::expiry_range(moment);
        let mut expired = Vec::new();
        self.table.scan(&from, &to, &mut |key, _| {
            expired.push(key.to_vec());
            if expired.len() < VIEW_BATCH_ROWS / 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let mut rows = Vec::with_capacity(2 * expired.len());
        for key in expired {
            let (accepted, hash) = keys::parse_expiry_key(&key)?;
            let id_key = keys::idempotency_key(&hash);
            // The same id may have been used again since; then its row is younger and stays.
            let same = self.table.get(&id_key)?.map(|value| IdempotencyRow::from_value(&id_key, &value)).transpose()?;
            if same.is_some_and(|row| row.accepted == accepted) {
                rows.push((id_key, None));
            }
            rows.push((key, None));
        }
        if rows.is_empty() {
            return Ok(false);
        }
        self.table.apply(&rows)?;
        Ok(true)
    }

    fn fold_accepted(&mut self, place: Appended, accepted: &Accepted) {
        self.saw(accepted.accepted);
        for webhook in &accepted.deliveries {
            let key = DeliveryKey { sequence: place.sequence, webhook: *webhook };
            self.put_on_queue(accepted.accepted, key, QueueRow { body: place.locator, last_attempt: None, attempts: 0, round: 1 });
        }
        if !accepted.id_by_client {
            return;
        }
        self.put_id(&CarriedId {
            hash: keys::id_hash(&accepted.project, &accepted.id),
            accepted: accepted.accepted,
            fields_hash: accepted.fields_hash,
            deliveries: u32::try_from(accepted.deliveries.len() + accepted.overflowed.len()).unwrap_or(u32::MAX),
        });
    }

    fn put_id(&mut self, id: &CarriedId) {
        let CarriedId { hash, accepted, fields_hash, deliveries } = *id;
        let key = keys::idempotency_key(&hash);
        let value = IdempotencyRow { accepted, fields_hash, deliveries }.to_value(&key);
        self.put(key, value);
        self.put(keys::expiry_key(accepted, &hash), Vec::new());
    }

    fn fold_attempted(&mut self, place: Appended, attempted: &Attempted) {
        let attempt = &attempted.attempt;
        self.saw(attempt.finished);
        if attempted.body.segment < self.first_segment {
            return;
        }
        self.take_off_queue(attempt.due, attempted.key);
        if let Next::RetryAt(at) = attempt.next {
            let attempts = u8::try_from(attempt.number).unwrap_or(u8::MAX);
            let row = QueueRow { body: attempted.body, last_attempt: Some(place.locator), attempts, round: attempt.round };
            self.put_on_queue(at, attempted.key, row);
        }
    }

    /// The row changes its place; it is a new one where the delivery had ended, and where what it was carried from was never folded.
    fn fold_carried(&mut self, place: Appended, carried: &Carried) {
        self.saw(carried.at);
        for one in &carried.deliveries {
            let key = DeliveryKey { sequence: carried.sequence, webhook: one.webhook };
            if carried.from.is_some_and(|from| from.segment >= self.first_segment) {
                self.take_off_queue(one.due, key);
            }
            let last_attempt = (!one.timeline.is_empty()).then_some(place.locator);
            self.put_on_queue(one.due, key, QueueRow { body: place.locator, last_attempt, attempts: one.attempts, round: one.round });
        }
    }

    fn put_on_queue(&mut self, due: UnixMillis, key: DeliveryKey, row: QueueRow) {
        self.meta.queue_count = self.meta.queue_count.wrapping_add(1);
        self.meta.queue_digest = self.meta.queue_digest.wrapping_add(keys::queue_digest(due, key));
        let bytes = keys::queue_key(due, key);
        let value = row.to_value(&bytes);
        self.put(bytes, value);
    }

    fn take_off_queue(&mut self, due: UnixMillis, key: DeliveryKey) {
        self.meta.queue_count = self.meta.queue_count.wrapping_sub(1);
        self.meta.queue_digest = self.meta.queue_digest.wrapping_sub(keys::queue_digest(due, key));
        self.gathering.remove(keys::queue_key(due, key));
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.gathering.put(key, value, self.catching_up);
    }

    fn saw(&mut self, moment: UnixMillis) {
        self.meta.latest = self.meta.latest.max(moment);
    }
}

impl Window {
    fn put(&mut self, key: Vec<u8>, value: Vec<u8>, may_be_below: bool) {
        match self.rows.get_mut(&key) {
            Some(change) => change.value = Some(value),
            None => drop(self.rows.insert(key, Change { value: Some(value), may_be_below })),
        }
    }

    /// A row that was put in this window and was not below it before is simply forgotten.
    fn remove(&mut self, key: Vec<u8>) {
        match self.rows.get_mut(&key) {
            Some(change) if !change.may_be_below => drop(self.rows.remove(&key)),
            Some(change) => change.value = None,
            None => drop(self.rows.insert(key, Change { value: None, may_be_below: true })),
        }
    }
}
