//! Retention over a journal in memory, with the real writer: what goes, what stays, how large the journal gets. What crashes do to it is the simulator's business.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Mutex;

use super::*;
use crate::model::{
    Address, Attempt, EventId, EventTypeName, Locator, Next, Outcome, OutcomeClass, Project, Proposal, RetrySchedule, Sequence, Verdict,
    WebhookNumber,
};
use crate::store::fact::{Attempted, Fact};
use crate::store::journal::JournalOptions;
use crate::store::journal::memory::MemoryMedium;
use crate::store::recovery::Opening;
use crate::store::view::{Row, Visit};
use crate::store::writer::{Answer, Order, Writer};

const NOW: UnixMillis = UnixMillis(1_795_428_000_000);
const HOUR: u64 = 3_600_000;
/// So many times fewer events than at a thousand a second, and so many times less room for them.
const SCALE: u64 = 4096;
const SEGMENT: u64 = 64 * 1024;

#[derive(Clone, Default)]
struct MapTable(Arc<Mutex<BTreeMap<Vec<u8>, Vec<u8>>>>);

impl Table for MapTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    fn apply(&self, rows: &[Row]) -> Result<(), TableError> {
        let mut table = self.0.lock().unwrap();
        for (key, value) in rows {
            match value {
                Some(value) => drop(table.insert(key.clone(), value.clone())),
                None => drop(table.remove(key)),
            }
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        for (key, value) in self.0.lock().unwrap().range(from.to_vec()..to.to_vec()) {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), TableError> {
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        0
    }
}

/// A store in virtual time, with everybody around it.
struct House {
    now: UnixMillis,
    medium: Arc<MemoryMedium>,
    table: MapTable,
    writer: Writer<MemoryMedium, MapTable>,
    retention: Retention<MemoryMedium>,
    settings: RetentionSettings,
    /// What the engine knows: due time and attempts made.
    pending: BTreeMap<DeliveryKey, (UnixMillis, u32)>,
    events: u64,
    dropped: Vec<Dropped>,
}

impl House {
    fn new(keep_ms: u64, max_size_bytes: u64) -> Self {
        let (medium, table) = (Arc::new(MemoryMedium::default()), MapTable::default());
        let settings = RetentionSettings { keep_ms, max_size_bytes, idempotency_window_ms: 24 * HOUR };
        let opened = open(&medium, &table);
        Self {
            now: NOW,
            writer: Writer::new(opened.journal, opened.view, opened.history, settings.idempotency_window_ms),
            retention: Retention::new(Arc::clone(&medium), SEGMENT),
            medium,
            table,
            settings,
            pending: BTreeMap::new(),
            events: 0,
            dropped: Vec::new(),
        }
    }

    /// One event for one webhook, of `body` bytes.
    fn accept(&mut self, body: usize) -> DeliveryKey {
        self.events += 1;
        let proposal = Proposal {
            id: EventId::parse(&format!("order_{}", self.events)).unwrap(),
            id_by_client: self.events.is_multiple_of(4),
            event_type: EventTypeName::parse("email.status.delivered").unwrap(),
            project: Project::parse("shop.example").unwrap(),
            fields_hash: [7; 16],
            blacklisted: None,
            body: vec![b'x'; body].into(),
            accepted: self.now,
            deliveries: vec![WebhookNumber(1)],
            overflowed: Vec::new(),
        };
        let answers = self.order(Order::Commit { ticket: 1, batch: vec![proposal] });
        let Some(Answer::Committed { settled, .. }) = answers.first() else { panic!("{answers:?}") };
        let Verdict::New { sequence, .. } = settled[0].verdict else { panic!("{settled:?}") };
        let key = DeliveryKey { sequence, webhook: WebhookNumber(1) };
        self.pending.insert(key, (self.now, 0));
        key
    }

    /// One attempt of a pending delivery.
    fn attempt(&mut self, key: DeliveryKey, succeeds: bool) {
        let (due, made) = self.pending.remove(&key).unwrap();
        let retry = RetrySchedule::default().interval_after_ms(made + 1).map(|interval_ms| self.now.plus_ms(interval_ms));
        let next = match retry {
            _ if succeeds => Next::Delivered,
            Some(at) => Next::RetryAt(at),
            None => Next::Dropped,
        };
        if let Next::RetryAt(at) = next {
            self.pending.insert(key, (at, made + 1));
        }
        let outcome = Outcome::new(if succeeds { OutcomeClass::Success } else { OutcomeClass::Status }, "the receiver answered");
        let attempt = Attempt { round: 1, number: made + 1, due, finished: self.now, outcome, next };
        self.order(Order::Record(Fact::Attempted(Attempted { key, body: Locator::default(), previous: None, attempt })));
    }

    /// Takes an order, syncs, applies.
    fn order(&mut self, order: Order) -> Vec<Answer> {
        self.writer.take(order, self.now).unwrap();
        let mut answers = Vec::new();
        self.writer.sync(&mut answers).unwrap();
        while self.writer.apply_step(&mut answers).unwrap() {}
        while let Some(job) = self.writer.spare_job(self.now) {
            self.writer.take_spare(job.run(), self.now).unwrap();
        }
        answers
    }

    /// Lets retention go on until it rests.
    fn retain(&mut self) {
        let mut reply = Reply::Done;
        loop {
            let request = self.retention.step(self.now, &self.settings, &self.table, reply).unwrap();
            reply = match request {
                Request::Rest { .. } => return,
                Request::FindPending(keys) => {
                    Reply::Pending(keys.into_iter().filter_map(|key| Some((key, self.pending.get(&key)?.0))).collect())
                }
                Request::Carry(carry) => match self.order(Order::Carry { ticket: 2, carry }).pop() {
                    Some(Answer::Carried { load, .. }) => Reply::Carried(load),
                    other => panic!("{other:?}"),
                },
                Request::Dropped(dropped) => {
                    self.dropped.push(dropped);
                    Reply::Done
                }
                Request::Barrier | Request::LetGo { .. } => Reply::Done,
            };
        }
    }

    /// Bytes of all files.
    fn size(&self) -> u64 {
        self.medium.list().unwrap().iter().map(|name| self.medium.open(name).unwrap().size().unwrap()).sum()
    }

    /// What must be in any view of this store: everything but the position and ids that are old.
    fn rows(&self, table: &MapTable) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let old = UnixMillis(self.now.0 - self.settings.idempotency_window_ms);
        let mut rows = table.0.lock().unwrap().clone();
        rows.remove(keys::META);
        let (from, to) = keys::expiry_range(old.plus_ms(1));
        for key in rows.range(from..to).map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            rows.remove(&key);
            rows.remove(&keys::idempotency_key(&keys::parse_expiry_key(&key).unwrap().1));
        }
        rows
    }

    /// Folds the segments that are kept into an empty view, which must be the view there is.
    fn rebuild(&self) {
        let (copy, rebuilt) = (Arc::new(MemoryMedium::default()), MapTable::default());
        for name in self.medium.list().unwrap() {
            copy.create(&name).unwrap().write_all_at(&self.medium.bytes(&name), 0).unwrap();
        }
        let opened = open(&copy, &rebuilt);
        assert!(opened.rebuilt && opened.warnings.iter().all(|warning| warning.contains("the view is rebuilt")), "{:?}", opened.warnings);
        let (there, folded) = (self.rows(&self.table), self.rows(&rebuilt));
        assert_eq!(there.len(), folded.len());
        let differs = there.iter().find(|(key, value)| folded.get(*key) != Some(value));
        assert!(differs.is_none(), "{differs:?}");
        let position = |table: &MapTable| Meta::from_value(&table.get(keys::META).unwrap().unwrap()).unwrap();
        assert_eq!(position(&rebuilt), position(&self.table));
    }
}

fn open(medium: &Arc<MemoryMedium>, table: &MapTable) -> recovery::Recovered<MemoryMedium, MapTable> {
    let options = JournalOptions { segment_size: SEGMENT };
    let open_table = |opening| {
        if opening == Opening::Fresh {
            table.0.lock().unwrap().clear();
        }
        Ok(table.clone())
    };
    recovery::open(Arc::clone(medium), options, open_table, &mut |_| {}).unwrap()
}

/// A thousand events a second for three days, with fewer events and less room in proportion. One delivery of twenty fails to the end of its schedule, which is longer than
/// what fits into `max_size`, so it is carried with all its attempts; so is the id of each fourth event, as long as it is recognized.
#[test]
#[expect(clippy::print_stderr, reason = "the points of the plot")]
fn in_72_hours_at_a_thousand_events_a_second_the_disk_stays_flat() {
    let max_size = 10 * 1024 * 1024 * 1024 / SCALE;
    let mut house = House::new(72 * HOUR, max_size);
    let mut waiting = BTreeSet::new();
    let (mut peak, mut plotted) = (0, 0);
    eprintln!("hour   journal MiB (times {SCALE})   pending   segments gone");
    while house.now.since_ms(NOW) < 72 * HOUR {
        house.now = house.now.plus_ms(SCALE);
        house.medium.take_calls();
        let key = house.accept(500);
        waiting.insert((house.now, key));
        while let Some((due, key)) = waiting.first().copied().filter(|(due, _)| *due <= house.now) {
            waiting.remove(&(due, key));
            house.attempt(key, !key.sequence.0.is_multiple_of(20));
            if let Some((due, _)) = house.pending.get(&key) {
                waiting.insert((*due, key));
            }
        }
        house.writer.forget_old_ids(house.now).unwrap();
        if house.events.is_multiple_of(16) {
            house.retain();
            peak = peak.max(house.size());
        }
        let hour = house.now.since_ms(NOW) / HOUR;
        if hour >= plotted {
            let gone = house.dropped.iter().map(|one| one.segments.len()).sum::<usize>();
            let hundredths = (house.size() * 100) >> 20;
            eprintln!("{hour:>4}   {:>5}.{:02}   {:>6}   {gone:>6}", hundredths / 100, hundredths % 100, house.pending.len());
            plotted += 3;
        }
    }
    assert!(peak <= max_size + 2 * SEGMENT, "the journal had {peak} bytes at its largest, {max_size} were allowed");
    assert!(house.size() > max_size * 9 / 10, "what fits is kept: {} of {max_size} bytes", house.size());
    house.rebuild();
}

#[test]
fn what_is_old_goes_one_segment_a_minute_and_what_is_pending_stays_with_its_attempts() {
    let mut house = House::new(HOUR, 1 << 40);
    let lasting = house.accept(100);
    house.attempt(lasting, false);
    for _ in 0..400 {
        let key = house.accept(500);
        house.attempt(key, true);
    }
    house.retain();
    assert_eq!(house.dropped, [], "nothing is old");
    house.now = house.now.plus_ms(HOUR + 1);
    let sealed = house.writer.status().segment - 1;
    for minute in 1..=u64::from(sealed) {
        house.retain();
        house.retain();
        assert_eq!(house.dropped.len() as u64, minute, "one a minute");
        house.now = house.now.plus_ms(limits::DROP_BY_AGE_EVERY_MS);
        house.rebuild();
    }
    house.retain();
    assert_eq!(house.dropped.len() as u64, u64::from(sealed), "what is written now stays");
    assert_eq!(house.dropped[0].deliveries, 1);
    let (due, made) = house.pending[&lasting];
    let row = house.writer.view().queue_row(due, lasting).unwrap().unwrap();
    let timeline = crate::store::timeline::read(&JournalReader::new(Arc::clone(&house.medium)), lasting, row.last_attempt, 9).unwrap();
    assert_eq!((row.body.segment > sealed, made, timeline.len()), (true, 1, 1));
    house.now = due;
    house.attempt(lasting, true);
    assert!(house.pending.is_empty());
    house.rebuild();
}

/// Were pending work carried whenever the journal is too large, it would be carried for ever.
#[test]
fn pending_work_beyond_max_size_is_carried_round_once_and_no_more() {
    let mut house = House::new(72 * HOUR, 4 * SEGMENT);
    for _ in 0..1200 {
        house.accept(500);
    }
    for _ in 0..50 {
        house.retain();
    }
    let carried = house.dropped.iter().map(|one| one.carried_bytes).sum::<u64>();
    let written = house.size() - 3 * SEGMENT;
    assert!(carried <= written + 2 * SEGMENT, "{carried} bytes were carried of {written}");
    let before = house.dropped.len();
    for _ in 0..50 {
        house.retain();
    }
    assert_eq!(house.dropped.len(), before, "it rests");
    house.rebuild();
    for key in house.pending.keys().copied().collect::<Vec<_>>() {
        house.attempt(key, true);
    }
    for _ in 0..50 {
        house.retain();
    }
    assert!(house.size() <= 6 * SEGMENT, "{} bytes are left, and nothing is pending", house.size());
    house.rebuild();
}

#[test]
fn an_event_for_thousands_is_carried_in_pieces_and_a_repeated_id_stays_known() {
    let mut house = House::new(HOUR, 1 << 40);
    let proposal = |at| Proposal {
        id: EventId::parse("order_wide").unwrap(),
        id_by_client: true,
        event_type: EventTypeName::parse("email.status.delivered").unwrap(),
        project: Project::parse("shop.example").unwrap(),
        fields_hash: [9; 16],
        blacklisted: Some(Address::parse("user@example.com").unwrap()),
        body: vec![b'x'; 1000].into(),
        accepted: at,
        deliveries: (1..=3000).map(WebhookNumber).collect(),
        overflowed: Vec::new(),
    };
    house.order(Order::Commit { ticket: 1, batch: vec![proposal(house.now)] });
    let keys = (1..=3000).map(|webhook| DeliveryKey { sequence: Sequence(1), webhook: WebhookNumber(webhook) }).collect::<Vec<_>>();
    house.pending.extend(keys.iter().map(|key| (*key, (NOW, 0))));
    for _ in 0..150 {
        let key = house.accept(500);
        house.attempt(key, true);
    }
    house.now = house.now.plus_ms(HOUR + 1);
    house.retain();
    assert_eq!((house.dropped.len(), house.dropped[0].deliveries), (1, 3000));
    house.rebuild();
    let answers = house.order(Order::Commit { ticket: 1, batch: vec![proposal(house.now)] });
    let Some(Answer::Committed { settled, .. }) = answers.first() else { panic!("{answers:?}") };
    assert_eq!(settled[0].verdict, Verdict::Duplicate { deliveries: 3000 });
}
