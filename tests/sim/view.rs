//! The view's rows as they follow from the journal, folded a second time, and the laws about them. It never uses the store's own fold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use hookwheel::model::blacklist::Cause;
use hookwheel::model::{Address, DeliveryKey, DeliveryState, Locator, Next, Project, Sequence};
use hookwheel::store::fact::{Accepted, BlacklistAction, BlacklistChange, CarriedId, Fact, Floor};
use hookwheel::store::history::{History, WantedEnds, WantedEvents};
use hookwheel::store::journal::frame::encode_fact;
use hookwheel::store::journal::medium::Medium;
use hookwheel::store::journal::reader::JournalReader;
use hookwheel::store::journal::segment::{Scanned, ScannedFrame, parse_file_name};
use hookwheel::store::timeline;
use hookwheel::store::view::keys::{self, BlacklistRow, IdempotencyRow, Meta, QueueRow};
use hookwheel::time::UnixMillis;

use crate::laws::{Broken, Law, require};
use crate::ledger::{Books, Delivery};
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
    floor: Floor,
    /// Where the events lie of deliveries that facts name and that are not known.
    strangers: Vec<Locator>,
}

/// Every fact of the journal in order. Nothing in it may be damaged.
pub(crate) fn scan(medium: SimMedium) -> Result<Vec<ScannedFrame>, Broken> {
    let (frames, damage) = scan_what_is_readable(medium)?;
    require("the journal can be read", damage.is_empty(), || damage.join("; ")).map(|()| frames)
}

/// Every fact of the journal that can be read, in order, and what can't be.
pub(crate) fn scan_what_is_readable(medium: SimMedium) -> Result<(Vec<ScannedFrame>, Vec<String>), Broken> {
    let broken = |what: String| Broken { law: "the journal can be read", what };
    let mut damage = Vec::new();
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
                    damage.push(format!("segment {number} is damaged at {offset}, {skipped} bytes: {error}"));
                }
            }
        }
    }
    Ok((frames, damage))
}

/// **A damaged journal keeps what is readable**: each delivery whose event can be read, and whose end can't, is in the queue once, and every number that is missing is named.
/// `told` is what a rebuild told about it; a view that was kept has nothing to tell.
pub(crate) fn what_is_readable_is_kept(journal: &[ScannedFrame], rows: &Rows, told: Option<&str>) -> Law {
    let law = "a damaged journal keeps what is readable";
    let mut pending = BTreeSet::new();
    for frame in journal {
        match &frame.fact {
            Fact::Accepted(accepted) => {
                pending.extend(accepted.deliveries.iter().map(|webhook| DeliveryKey { sequence: frame.sequence, webhook: *webhook }));
            }
            Fact::Attempted(attempted) if !matches!(attempted.attempt.next, Next::RetryAt(_)) => drop(pending.remove(&attempted.key)),
            Fact::Cancelled(cancelled) => pending.retain(|key| !cancelled.deliveries.iter().any(|gone| gone.key == *key)),
            Fact::Carried(carried) => {
                pending.extend(carried.deliveries.iter().map(|one| DeliveryKey { sequence: carried.sequence, webhook: one.webhook }));
            }
            Fact::Attempted(_) | Fact::Webhook(_) | Fact::Setting(_) | Fact::Blacklist(_) | Fact::IdsCarried(_) | Fact::FloorRaised(_) => {}
        }
    }
    let (from, to) = keys::queue_range();
    let mut queued = BTreeSet::new();
    for key in rows.range(from..to).filter_map(|(key, _)| keys::parse_queue_key(key).ok()).map(|(_, key)| key) {
        require(law, queued.insert(key), || format!("{key:?} is in the queue twice"))?;
    }
    // A view that was not rebuilt knows of ends that can't be read any more.
    let Some(told) = told else { return Ok(()) };
    let missing = pending.difference(&queued).next();
    require(law, missing.is_none(), || format!("{missing:?} can be read and is not in the queue"))?;
    for pair in journal.windows(2).filter(|pair| pair[0].sequence.next() != pair[1].sequence) {
        let (from, to) = (pair[0].sequence.next(), pair[1].sequence.0 - 1);
        require(law, told.contains(&format!("facts {from} to {to} are gone")), || format!("{from} to {to} are missing; told was {told}"))?;
    }
    Ok(())
}

/// **The view equals the fold of the journal**, row by row; only ids older than the window may be there or not.
/// A table that was hurt is excused where nobody has looked yet: at its ids and its Black Lists.
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
    let first = journal.first().map_or(0, |frame| frame.locator.segment);
    let stranger = expected.strangers.iter().find(|body| body.segment >= first);
    require(law, stranger.is_none(), || {
        format!("a fact names a delivery that nobody knows, at {stranger:?}; the journal begins in segment {first}")
    })?;
    let is_excused = |key: &[u8]| is_hurt && matches!(key.first(), Some(b'i' | b'x' | b'b'));
    for (key, value) in expected.rows.iter().filter(|(key, _)| !is_excused(key)) {
        require(law, rows.get(key) == Some(value), || format!("row {key:?} should be {value:?}, is {:?}", rows.get(key)))?;
    }
    for (key, value) in rows.iter().filter(|(key, _)| !expected.rows.contains_key(*key) && key.as_slice() != keys::META && !is_excused(key))
    {
        // What is kept of the journal need not tell of an id that is old any more.
        let is_old_id = match key.first() {
            Some(b'i') => IdempotencyRow::from_value(key, value).is_ok_and(|row| !young(row.accepted)),
            Some(b'x') => keys::parse_expiry_key(key).is_ok_and(|(accepted, _)| !young(accepted)),
            _ => false,
        };
        require(law, is_old_id, || format!("row {key:?} with {value:?} should not be there"))?;
    }
    expected.check_position(journal, rows)
}

/// **What is live survives**: the fold of what is kept is the fold of everything that there ever was, without the deliveries that ended.
pub(crate) fn what_is_live_survives(books: &Books, journal: &[ScannedFrame], now: UnixMillis, window_ms: u64) -> Law {
    let law = "what is live survives";
    let mut kept = Expected::default();
    for frame in journal {
        kept.fold(frame);
    }
    let is_pending = |(_, delivery): &(_, &Delivery)| delivery.state == DeliveryState::Pending;
    let mut pending = 0;
    for (key, delivery) in books.deliveries.iter().filter(is_pending) {
        pending += 1;
        let found = kept.queue.get(key).map(|(due, row)| (*due, u32::from(row.attempts), row.round));
        let expected = (delivery.due, delivery.attempts, delivery.round);
        require(law, found == Some(expected), || format!("{key:?} is pending as {expected:?}, what is kept says {found:?}"))?;
    }
    require(law, pending == kept.queue.len(), || format!("{pending} are pending, what is kept says {}", kept.queue.len()))?;
    for ((project, id), known) in books.ids.iter().filter(|(_, known)| now.since_ms(known.accepted) < window_ms) {
        let row = IdempotencyRow { accepted: known.accepted, fields_hash: known.hash, deliveries: known.deliveries };
        let found = kept.ids.get(&keys::idempotency_key(&keys::id_hash(project, id)));
        require(law, found == Some(&row), || format!("{id} of {project} is recognized by {row:?}, what is kept says {found:?}"))?;
    }
    for (number, state) in &books.webhooks {
        let key = keys::webhook_key(*number);
        let value = keys::seal(&key, encode_fact(&Fact::Webhook(state.clone())));
        require(law, kept.rows.get(&key) == Some(&value), || format!("webhook {} is {state:?}", number.0))?;
    }
    for (key, setting) in &books.settings {
        let value = keys::seal(key, encode_fact(&Fact::Setting(setting.clone())));
        require(law, kept.rows.get(key) == Some(&value), || format!("{setting:?} is set"))?;
    }
    for ((project, address), entry) in &books.blacklist {
        let key = keys::blacklist_key(project, address);
        let value = BlacklistRow { since: entry.since, cause: entry.cause.clone() }.to_value(&key);
        require(law, kept.rows.get(&key) == Some(&value), || format!("{address} of {project} is listed: {entry:?}"))?;
    }
    Ok(())
}

/// **A pending delivery keeps its timeline**: every attempt that was ever recorded is found from its row.
pub(crate) fn timelines_are_complete(books: &Books, medium: SimMedium, rows: &Rows) -> Law {
    let reader = JournalReader::new(Arc::new(medium));
    let (from, to) = keys::queue_range();
    for (bytes, value) in rows.range(from..to) {
        let (Ok((_, key)), Ok(row)) = (keys::parse_queue_key(bytes), QueueRow::from_value(bytes, value)) else { continue };
        let found = timeline::read(&reader, key, row.last_attempt, usize::MAX);
        let expected = books.timelines.get(&key).cloned().unwrap_or_default();
        require("a pending delivery keeps its timeline", found.as_ref().is_ok_and(|found| *found == expected), || {
            format!("{key:?} was attempted {expected:?}; found was {found:?}")
        })?;
    }
    Ok(())
}

/// What a journal says must be listed, or may be: what lies below the floor may be forgotten already.
#[derive(Default)]
struct Listed {
    ends: Vec<(UnixMillis, DeliveryKey, DeliveryState, Option<Locator>)>,
    events: BTreeSet<Sequence>,
}

impl Listed {
    fn take(&mut self, frame: &ScannedFrame) {
        match &frame.fact {
            Fact::Accepted(accepted) => {
                self.events.insert(frame.sequence);
                let dropped = accepted.overflowed.iter().map(|webhook| DeliveryKey { sequence: frame.sequence, webhook: *webhook });
                self.ends.extend(dropped.map(|key| (accepted.accepted, key, DeliveryState::Dropped, None)));
            }
            Fact::Attempted(attempted) => {
                let state = match attempted.attempt.next {
                    Next::RetryAt(_) => return,
                    Next::Delivered => DeliveryState::Delivered,
                    Next::Dropped => DeliveryState::Dropped,
                };
                self.ends.push((attempted.attempt.finished, attempted.key, state, Some(frame.locator)));
            }
            Fact::Cancelled(cancelled) => {
                let ends = cancelled.deliveries.iter().map(|one| (cancelled.at, one.key, DeliveryState::Cancelled, one.last_attempt));
                self.ends.extend(ends);
            }
            Fact::Carried(carried) => {
                self.events.insert(carried.sequence);
                let is_taken_up =
                    |key: DeliveryKey| carried.from.is_none() && carried.deliveries.iter().any(|one| one.webhook == key.webhook);
                self.ends.retain(|(_, key, ..)| key.sequence != carried.sequence || !is_taken_up(*key));
            }
            Fact::Webhook(_) | Fact::Setting(_) | Fact::Blacklist(_) | Fact::IdsCarried(_) | Fact::FloorRaised(_) => {}
        }
    }
}

/// **The history is complete**: every delivery that ended, and every event, is listed in the order of its end or number, and no other; but what lies below the floor may be
/// forgotten already. Each end is found with where its last attempt lies.
pub(crate) fn the_history_is_complete(journal: &[ScannedFrame], history: &History<SimMedium>) -> Law {
    let law = "the history is complete";
    let raised = journal.iter().rev().find_map(|frame| if let Fact::FloorRaised(raised) = &frame.fact { Some(raised) } else { None });
    let floor = raised.map_or(Floor::default(), |raised| raised.floor);
    let (mut must, mut may) = (Listed::default(), Listed::default());
    for frame in journal {
        may.take(frame);
        if frame.locator.segment >= floor.segment {
            must.take(frame);
        }
    }
    // A disk that fails now says nothing about what is written there.
    let Ok(ends) = history.ends(&WantedEnds::default(), usize::MAX) else { return Ok(()) };
    if history.unindexed() > 0 {
        return Ok(());
    }
    let listed = ends.iter().map(|one| (one.at, one.key, one.state, one.last_attempt)).collect::<Vec<_>>();
    require(law, ends.is_sorted_by(|one, next| one.place() >= next.place()), || format!("{listed:?} is not in order"))?;
    let count = |ends: &[_]| {
        ends.iter().fold(HashMap::new(), |mut counts, end| {
            *counts.entry(format!("{end:?}")).or_insert(0_u32) += 1;
            counts
        })
    };
    let (is, must_be, may_be) = (count(&listed), count(&must.ends), count(&may.ends));
    let missing = must_be.iter().find(|(end, times)| is.get(*end).unwrap_or(&0) < times);
    require(law, missing.is_none(), || format!("{missing:?} is not listed"))?;
    let invented = is.iter().find(|(end, times)| may_be.get(*end).unwrap_or(&0) < times);
    require(law, invented.is_none(), || format!("{invented:?} is listed"))?;
    let is_known = |key: &DeliveryKey| must.events.contains(&key.sequence);
    let nameless =
        ends.iter().find(|one| is_known(&one.key) && (one.event_type.is_none() || one.project.is_none() || one.accepted.is_none()));
    require(law, nameless.is_none(), || format!("of {nameless:?} the event is not known"))?;
    let Ok(known) = history.events(&WantedEvents::default(), usize::MAX) else { return Ok(()) };
    let known = known.iter().map(|event| event.sequence).collect::<Vec<_>>();
    require(law, known.is_sorted_by(|one, next| one > next), || format!("{known:?} is not in order"))?;
    let known = known.into_iter().collect::<BTreeSet<_>>();
    require(law, must.events.is_subset(&known) && known.is_subset(&may.events), || {
        format!("not listed: {:?}; invented: {:?}", must.events.difference(&known), known.difference(&may.events))
    })?;
    for (at, key, state, _) in must.ends.iter().step_by(7) {
        let Ok(found) = history.end_of(*key) else { return Ok(()) };
        let fits = found.as_ref().is_some_and(|one| one.at >= *at && (one.state == *state || one.at > *at));
        require(law, fits, || format!("{key:?} ended as {state} at {at}; found is {found:?}"))?;
    }
    Ok(())
}

impl Expected {
    fn fold(&mut self, frame: &ScannedFrame) {
        match &frame.fact {
            Fact::Accepted(accepted) => self.accepted(frame, accepted),
            Fact::Attempted(attempted) => {
                let attempt = &attempted.attempt;
                self.latest = self.latest.max(attempt.finished);
                if self.queue.remove(&attempted.key).is_none() {
                    // It ended, or was carried, in a fact that went or is still to come.
                    self.strangers.push(attempted.body);
                } else if let Next::RetryAt(due) = attempt.next {
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
            Fact::Setting(setting) => {
                let key = setting.key();
                match setting.is_set() {
                    true => drop(self.rows.insert(key.clone(), keys::seal(&key, encode_fact(&frame.fact)))),
                    false => drop(self.rows.remove(&key)),
                }
            }
            Fact::Cancelled(cancelled) => {
                self.latest = self.latest.max(cancelled.at);
                for one in &cancelled.deliveries {
                    if self.queue.remove(&one.key).is_none() {
                        self.strangers.push(one.body);
                    }
                }
            }
            Fact::Carried(carried) => {
                self.latest = self.latest.max(carried.at);
                for one in &carried.deliveries {
                    let last_attempt = (!one.timeline.is_empty()).then_some(frame.locator);
                    let row = QueueRow { body: frame.locator, last_attempt, attempts: one.attempts, round: one.round };
                    self.queue.insert(DeliveryKey { sequence: carried.sequence, webhook: one.webhook }, (one.due, row));
                }
            }
            Fact::IdsCarried(ids) => {
                for CarriedId { hash, accepted, fields_hash, deliveries } in ids.iter().copied() {
                    self.ids.insert(keys::idempotency_key(&hash), IdempotencyRow { accepted, fields_hash, deliveries });
                    self.expiries.insert(keys::expiry_key(accepted, &hash), accepted);
                }
            }
            Fact::FloorRaised(raised) => {
                self.latest = self.latest.max(raised.latest).max(raised.at);
                self.floor = raised.floor;
            }
            Fact::Blacklist(BlacklistChange { project, action }) => match action {
                BlacklistAction::List(entries) => {
                    entries.iter().for_each(|entry| self.listed(project, &entry.address, entry.since, &entry.cause));
                }
                BlacklistAction::Remove { addresses, .. } => {
                    for address in addresses {
                        self.rows.remove(&keys::blacklist_key(project, address));
                    }
                }
            },
        }
    }

    fn listed(&mut self, project: &Project, address: &Address, since: UnixMillis, cause: &Cause) {
        let key = keys::blacklist_key(project, address);
        let value = BlacklistRow { since, cause: cause.clone() }.to_value(&key);
        self.rows.insert(key, value);
    }

    fn accepted(&mut self, frame: &ScannedFrame, accepted: &Accepted) {
        self.latest = self.latest.max(accepted.accepted);
        for webhook in &accepted.deliveries {
            let row = QueueRow { body: frame.locator, last_attempt: None, attempts: 0, round: 1 };
            self.queue.insert(DeliveryKey { sequence: frame.sequence, webhook: *webhook }, (accepted.accepted, row));
        }
        if let (Some(address), Some(cause)) = (&accepted.blacklisted, Cause::of_event(&accepted.event_type, &accepted.id)) {
            self.listed(&accepted.project, address, accepted.accepted, &cause);
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
        let fits = fits && meta.floor == self.floor;
        require(law, fits, || format!("{meta:?} does not fit {} rows, digest {digest}, latest {}", self.queue.len(), self.latest))
    }
}
