//! Lists of a million deliveries that ended, over many segments: how long the first page takes, with no filter and with each. It never asserts a time.
//!
//! The deliveries are written through the journal and noted in the history as the daemon does it; a page is what the daemon reads for one: the rows, and for each its event and its
//! last attempt.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where by panicking")]

use std::collections::HashSet;
use std::sync::Arc;

use hookwheel::model::{
    Attempt, DeliveryKey, DeliveryState, EventId, EventTypeName, Next, Outcome, OutcomeClass, Project, Selector, Sequence, WebhookNumber,
};
use hookwheel::store::fact::{Accepted, Attempted, Fact};
use hookwheel::store::history::{FollowPlace, History, WantedEnds};
use hookwheel::store::journal::medium::RealMedium;
use hookwheel::store::journal::reader::JournalReader;
use hookwheel::store::journal::{JournalId, JournalOptions, JournalWriter};
use hookwheel::time::{Stopwatch, UnixMillis};

const DELIVERIES: u64 = 1_000_000;
const BATCH: u64 = 500;
const PAGE: usize = 50;
const ROUNDS: usize = 200;
const WEBHOOKS: u64 = 1000;
const PROJECTS: u64 = 200;
const TYPES: [&str; 4] = ["email.status.delivered", "email.message.read", "sms.status.delivered", "webpush.status.delivered"];
const RARE_TYPE: &str = "viber.contact.unsubscribed";
const BEGIN: UnixMillis = UnixMillis(1_795_428_000_000);

type Store = (JournalWriter<RealMedium>, History<RealMedium>, JournalReader<RealMedium>);

/// A delivery for each event, ended a while after it was accepted; webhook, project and type go round, and one in 100 000 is of a rare webhook or a rare type.
fn fill((journal, history, _): &mut Store) {
    let mut segments = 0;
    for batch in 0..DELIVERIES / BATCH {
        let numbers = batch * BATCH..(batch + 1) * BATCH;
        let events = numbers.clone().map(event).collect::<Vec<_>>();
        let places = journal.append(&events).unwrap();
        let attempts = numbers.zip(&places).map(|(number, place)| attempt(number, place.sequence, place.locator)).collect::<Vec<_>>();
        let ends = journal.append(&attempts).unwrap();
        journal.sync().unwrap();
        places.iter().zip(&events).chain(ends.iter().zip(&attempts)).for_each(|(place, fact)| history.note(*place, fact));
        if journal.segment_number() > segments {
            segments = journal.segment_number();
            while history.work().unwrap() {}
        }
    }
    while history.work().unwrap() {}
}

fn webhook(number: u64) -> WebhookNumber {
    let number = if number.is_multiple_of(100_000) { WEBHOOKS + 1 } else { number % WEBHOOKS };
    WebhookNumber(u32::try_from(number).unwrap())
}

fn at(number: u64) -> UnixMillis {
    BEGIN.plus_ms(number * 10)
}

fn event(number: u64) -> Fact {
    let event_type = if number % 100_000 == 7 { RARE_TYPE } else { TYPES[usize::try_from(number % 4).unwrap()] };
    Fact::Accepted(Accepted {
        id: EventId::parse(&format!("order-{number}")).unwrap(),
        id_by_client: true,
        event_type: EventTypeName::parse(event_type).unwrap(),
        project: Project::parse(&format!("customer-{}.example.com", number % PROJECTS)).unwrap(),
        accepted: at(number),
        fields_hash: [7; 16],
        body: vec![b'x'; 150].into(),
        deliveries: vec![webhook(number)],
        overflowed: Vec::new(),
        blacklisted: None,
    })
}

fn attempt(number: u64, sequence: Sequence, body: hookwheel::model::Locator) -> Fact {
    let next = if number % 1000 == 500 { Next::Dropped } else { Next::Delivered };
    let outcome = Outcome { status: Some(200), ..Outcome::new(OutcomeClass::Success, "the receiver answered 200 OK") };
    let attempt = Attempt { round: 1, number: 1, due: at(number), finished: at(number).plus_ms(3), outcome, next };
    Fact::Attempted(Attempted { key: DeliveryKey { sequence, webhook: webhook(number) }, body, previous: None, attempt })
}

/// A page and how many deliveries are on it.
fn page((_, history, reader): &Store, wanted: &WantedEnds) -> usize {
    let ends = history.ends(wanted, PAGE + 1).unwrap();
    for one in ends.iter().take(PAGE) {
        reader.read(one.body.unwrap()).unwrap();
        reader.read(one.last_attempt.unwrap()).unwrap();
    }
    ends.len().min(PAGE)
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let medium = Arc::new(RealMedium::open(directory.path()).unwrap());
    let reader = JournalReader::new(Arc::clone(&medium));
    let history = History::open(Arc::clone(&medium), reader.clone(), &[], FollowPlace::default()).unwrap();
    let journal = JournalWriter::begin(medium, JournalOptions::default(), JournalId(7), 1, Sequence(0)).unwrap();
    let mut store = (journal, history, reader);
    let stopwatch = Stopwatch::start();
    fill(&mut store);
    println!(
        "{DELIVERIES} deliveries in {} segments, {WEBHOOKS} webhooks, {PROJECTS} projects, made in {} ms",
        store.0.segment_number(),
        stopwatch.elapsed_ms()
    );
    let everything = WantedEnds::default;
    let hour = 3_600_000;
    let wishes = [
        ("everything", everything()),
        ("a webhook", WantedEnds { webhooks: Some(HashSet::from([webhook(77)])), ..everything() }),
        ("a rare webhook", WantedEnds { webhooks: Some(HashSet::from([webhook(0)])), ..everything() }),
        ("a webhook that has none", WantedEnds { webhooks: Some(HashSet::from([WebhookNumber(9999)])), ..everything() }),
        ("a project", WantedEnds { project: Project::parse("customer-77.example.com").ok(), ..everything() }),
        ("a channel", WantedEnds { event_type: Selector::parse("sms.*").ok(), ..everything() }),
        ("a rare type", WantedEnds { event_type: Selector::parse(RARE_TYPE).ok(), ..everything() }),
        ("dropped", WantedEnds { state: Some(DeliveryState::Dropped), ..everything() }),
        ("an hour in the middle", WantedEnds { since: Some(BEGIN.plus_ms(hour)), until: Some(BEGIN.plus_ms(2 * hour)), ..everything() }),
        (
            "a webhook's of a type that it never has",
            WantedEnds { webhooks: Some(HashSet::from([webhook(77)])), event_type: Selector::parse("sms.*").ok(), ..everything() },
        ),
    ];
    println!("| first page of | deliveries | p50 ms | p99 ms |");
    println!("| --- | --- | --- | --- |");
    for (name, wanted) in wishes {
        let found = page(&store, &wanted);
        let mut times_us = (0..ROUNDS)
            .map(|_| {
                let stopwatch = Stopwatch::start();
                assert_eq!(page(&store, &wanted), found);
                stopwatch.elapsed_us()
            })
            .collect::<Vec<_>>();
        times_us.sort_unstable();
        let ms = |us: u32| f64::from(us) / 1000.0;
        println!("| {name} | {found} | {:.2} | {:.2} |", ms(times_us[ROUNDS / 2]), ms(times_us[ROUNDS * 99 / 100]));
    }
}
