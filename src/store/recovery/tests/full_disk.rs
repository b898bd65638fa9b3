//! A store whose disk is full for a while: what is refused, what waits, what rests, and that all of it goes on. They never use a real disk.

use super::*;
use crate::limits::SPARE_RETRY_MS;
use crate::model::report::DiskStatus;
use crate::store::carry::Carry;
use crate::store::fact::{Cancelled, CarriedId};
use crate::store::journal::memory::MemoryMedium;

const SMALL: JournalOptions = JournalOptions { segment_size: 16 * 1024 };

struct Store {
    medium: MemoryMedium,
    table: MapTable,
    writer: Writer<MemoryMedium, MapTable>,
    now: UnixMillis,
}

impl Store {
    fn open(medium: MemoryMedium, table: MapTable) -> Self {
        let opened = super::super::open(Arc::new(medium.clone()), SMALL, |_| Ok(table.clone()), &mut |_| {}).unwrap();
        let mut store = Self { medium, table, writer: Writer::new(opened.journal, opened.view, opened.history, WINDOW_MS), now: NOW };
        store.prepare();
        store
    }

    fn prepare(&mut self) {
        self.now = self.now.plus_ms(SPARE_RETRY_MS);
        while let Some(job) = self.writer.spare_job(self.now) {
            self.writer.take_spare(job.run(), self.now).unwrap();
        }
        self.writer.note_space(self.now);
    }

    fn sync(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        self.writer.sync(&mut answers).unwrap();
        answers
    }

    fn submit(&mut self, id: &str) -> Verdict {
        let proposal = Proposal {
            blacklisted: None,
            id: EventId::parse(id).unwrap(),
            id_by_client: true,
            event_type: EventTypeName::parse("email.status.delivered").unwrap(),
            project: Project::parse("shop.example").unwrap(),
            fields_hash: [1; 16],
            body: vec![b'x'; 3000].into(),
            accepted: self.now,
            deliveries: vec![WebhookNumber(1)],
            overflowed: Vec::new(),
        };
        self.writer.take(Order::Commit { ticket: 7, batch: vec![proposal] }, self.now).unwrap();
        let Some(Answer::Committed { settled, .. }) = self.sync().pop() else { panic!("no answer") };
        settled[0].verdict
    }

    fn record(&mut self, number: u32) {
        let by = format!("{number} {}", "x".repeat(3000));
        let fact = Fact::Cancelled(Cancelled { at: self.now, by, deliveries: Vec::new() });
        self.writer.take(Order::Record(fact), self.now).unwrap();
    }

    fn status(&self) -> DiskStatus {
        self.writer.space().status()
    }
}

fn empty_table() -> MapTable {
    MapTable { rows: Arc::default(), changes_left: Arc::new(AtomicUsize::new(usize::MAX)) }
}

#[test]
fn events_are_refused_outcomes_are_kept_in_order_and_nothing_is_lost_when_there_is_room_again() {
    let mut store = Store::open(MemoryMedium::default(), empty_table());
    assert!(matches!(store.submit("before"), Verdict::New { .. }));
    store.medium.set_full(true);
    while !matches!(store.submit(&format!("e{}", store.writer.status().last_sequence)), Verdict::NoRoom) {}
    assert_eq!((store.status().full_since, store.status().free_bytes), (Some(store.now), Some(0)));
    assert_eq!(store.submit("before"), Verdict::Duplicate { deliveries: 1 }, "what is known needs no room");
    let accepted = store.writer.status().last_sequence;
    // Outcomes go on, until the reserve is used up; then they wait in order, and with them what operators want.
    let mut answered = 0;
    for number in 0..20 {
        store.record(number);
        answered += store.sync().into_iter().map(|answer| if let Answer::Recorded(count) = answer { count } else { 0 }).sum::<usize>();
    }
    store.writer.take(Order::Operate { ticket: 5, facts: vec![webhook_state()] }, store.now).unwrap();
    assert_eq!(store.sync(), []);
    assert!((2..20).contains(&answered), "{answered} fitted into the reserve");
    assert!(store.status().is_reserve_used_up);
    assert_eq!(store.submit("late"), Verdict::NoRoom);
    store.medium.set_full(false);
    store.prepare();
    assert_eq!(store.sync(), [Answer::Operated { ticket: 5 }, Answer::Recorded(20 - answered)]);
    store.prepare();
    assert_eq!(
        store.status(),
        DiskStatus { free_bytes: Some(u64::MAX), needed_bytes: store.status().needed_bytes, ..DiskStatus::default() }
    );
    assert!(matches!(store.submit("late"), Verdict::New { .. }));
    while store.writer.apply_step(&mut Vec::new()).unwrap() {}
    let Store { medium, table, writer, .. } = store;
    let last = writer.status().last_sequence;
    assert_eq!(last, accepted + 20 + 1 + 1);
    drop(writer);
    let opened = super::super::open(Arc::new(medium), SMALL, |_| Ok(table.clone()), &mut |_| {}).unwrap();
    assert_eq!((opened.warnings, opened.view.meta().sequence), (Vec::new(), Sequence(last)));
}

#[test]
fn ids_that_wait_to_be_carried_are_judged_as_things_stood_when_that_was_ordered() {
    let mut store = Store::open(MemoryMedium::default(), empty_table());
    assert!(matches!(store.submit("before"), Verdict::New { .. }));
    while store.writer.apply_step(&mut Vec::new()).unwrap() {}
    let hash = keys::id_hash(&Project::parse("shop.example").unwrap(), &EventId::parse("before").unwrap());
    let row = store.writer.view().idempotency_row(&hash).unwrap().unwrap();
    let id = CarriedId { hash, accepted: row.accepted, fields_hash: row.fields_hash, deliveries: row.deliveries };
    store.medium.set_full(true);
    while !store.status().is_reserve_used_up {
        store.record(1);
        store.sync();
        store.writer.note_space(store.now);
    }
    store.writer.take(Order::Carry { ticket: 9, carry: vec![Carry::Ids(vec![id])] }, store.now).unwrap();
    store.writer.take(Order::SetIdempotencyWindow { window_ms: 1 }, store.now).unwrap();
    store.medium.set_full(false);
    while store.writer.apply_step(&mut Vec::new()).unwrap() {}
    store.writer.forget_old_ids(store.now.plus_ms(10 * WINDOW_MS)).unwrap();
    let last = store.writer.status().last_sequence;
    store.prepare();
    assert!(store.sync().iter().any(|answer| matches!(answer, Answer::Carried { ticket: 9, .. })));
    assert!(store.writer.view().idempotency_row(&hash).unwrap().is_some(), "it was carried, not forgotten meanwhile");
    assert_eq!(store.writer.status().last_sequence, last + 2, "the record that waited, and the id");
}

#[test]
fn the_view_rests_while_there_is_no_room_for_it_and_is_read_all_the_same() {
    let mut store = Store::open(MemoryMedium::default(), empty_table());
    store.medium.set_full(true);
    assert!(matches!(store.submit("one"), Verdict::New { .. }), "two segments wait");
    assert!(!store.writer.apply_step(&mut Vec::new()).unwrap());
    store.writer.note_space(store.now);
    assert_eq!((store.writer.view().lag(), store.status().view_waits_since), (1, Some(store.now)));
    store.writer.forget_old_ids(store.now.plus_ms(10 * WINDOW_MS)).unwrap();
    assert!(store.table.rows.lock().unwrap().is_empty(), "nothing is written to it");
    assert_eq!(store.submit("one"), Verdict::Duplicate { deliveries: 1 });
    store.medium.set_full(false);
    while store.writer.apply_step(&mut Vec::new()).unwrap() {}
    store.writer.note_space(store.now);
    assert_eq!((store.writer.view().lag(), store.status().view_waits_since), (0, None));
}

fn webhook_state() -> Fact {
    Fact::Webhook(WebhookState {
        number: WebhookNumber(1),
        id: WebhookId::parse("crm").unwrap(),
        origin: Origin::File,
        generated_secret: None,
        secret_shown: false,
        pauses: Vec::new(),
        removed: None,
    })
}
