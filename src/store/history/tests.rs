//! The history beside a plain list of what happened: random ends over many segments, every filter, pages, restarts, damage. These tests know no daemon.

mod damage;
mod following;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::*;
use crate::model::{Attempt, Next, Outcome, OutcomeClass, Selector};
use crate::store::fact::{Attempted, Cancelled, CancelledDelivery, Carried, CarriedDelivery};
use crate::store::journal::memory::MemoryMedium;
use crate::store::journal::segment::{Scanned, parse_file_name};
use crate::store::journal::{JournalId, JournalOptions, JournalWriter};

const OPTIONS: JournalOptions = JournalOptions { segment_size: 64 * 1024 };
const NOW: UnixMillis = UnixMillis(1_795_428_000_000);
const TYPES: [&str; 4] = ["email.status.bounced", "email.status.delivered", "sms.status.delivered", "viber.message.clicked"];

/// SplitMix64: the same course in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    fn webhook(&mut self) -> WebhookNumber {
        WebhookNumber(u32::try_from(self.below(300)).unwrap())
    }
}

/// A delivery that ended, in the words of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    at: UnixMillis,
    key: DeliveryKey,
    state: DeliveryState,
    event_type: EventTypeName,
    project: Project,
}

/// A journal with its history, and what they should say.
struct Place {
    medium: MemoryMedium,
    journal: JournalWriter<MemoryMedium>,
    history: History<MemoryMedium>,
    ends: Vec<End>,
    /// Number, type, project, id, webhooks.
    events: Vec<(Sequence, EventTypeName, Project, EventId)>,
    pending: BTreeMap<DeliveryKey, (Locator, EventTypeName, Project)>,
    now: UnixMillis,
}

fn open(medium: &MemoryMedium, last: FollowPlace) -> (JournalWriter<MemoryMedium>, History<MemoryMedium>) {
    let mut numbers = medium.list().unwrap().iter().filter_map(|name| parse_file_name(name)).collect::<Vec<_>>();
    numbers.sort_unstable();
    let shared = Arc::new(medium.clone());
    let reader = JournalReader::new(Arc::clone(&shared));
    let history = History::open(Arc::clone(&shared), reader.clone(), &numbers, last).unwrap();
    for number in history.newest_unindexed(2) {
        let mut scan = reader.scan(number).unwrap().unwrap();
        while let Some(scanned) = scan.step().unwrap() {
            let Scanned::Frame(frame) = scanned else { panic!("{scanned:?}") };
            history.note_found(Appended { sequence: frame.sequence, locator: frame.locator, checksum: frame.checksum }, &frame.fact);
        }
    }
    let number = numbers.last().map_or(1, |number| number + 1);
    crate::store::journal::remove_leftovers(medium).unwrap();
    (JournalWriter::begin(shared, OPTIONS, JournalId(7), number, last.sequence).unwrap(), history)
}

impl Place {
    fn new() -> Self {
        let medium = MemoryMedium::default();
        let (journal, history) = open(&medium, FollowPlace::default());
        Self { medium, journal, history, ends: Vec::new(), events: Vec::new(), pending: BTreeMap::new(), now: NOW }
    }

    fn reopen(&mut self) {
        (self.journal, self.history) = open(&self.medium, self.history.noted());
    }

    fn append(&mut self, fact: &Fact) -> Appended {
        let place = self.journal.append(std::slice::from_ref(fact)).unwrap()[0];
        self.journal.sync().unwrap();
        self.history.note(place, fact);
        place
    }

    fn accept(&mut self, id: &str, event_type: &str, project: &str, webhooks: &[u32], overflowed: &[u32]) -> Sequence {
        let (event_type, project) = (EventTypeName::parse(event_type).unwrap(), Project::parse(project).unwrap());
        let id = EventId::parse(id).unwrap();
        let place = self.append(&Fact::Accepted(Accepted {
            id: id.clone(),
            id_by_client: true,
            event_type: event_type.clone(),
            project: project.clone(),
            accepted: self.now,
            fields_hash: [7; 16],
            body: vec![b'x'; 200].into(),
            deliveries: webhooks.iter().copied().map(WebhookNumber).collect(),
            overflowed: overflowed.iter().copied().map(WebhookNumber).collect(),
            blacklisted: None,
        }));
        let key = |webhook: &u32| DeliveryKey { sequence: place.sequence, webhook: WebhookNumber(*webhook) };
        self.pending.extend(webhooks.iter().map(|webhook| (key(webhook), (place.locator, event_type.clone(), project.clone()))));
        for webhook in overflowed {
            self.ends.push(End {
                at: self.now,
                key: key(webhook),
                state: DeliveryState::Dropped,
                event_type: event_type.clone(),
                project: project.clone(),
            });
        }
        self.events.push((place.sequence, event_type, project, id));
        place.sequence
    }

    fn attempt(&mut self, key: DeliveryKey, next: Next) {
        let (body, event_type, project) = self.pending[&key].clone();
        let attempt =
            Attempt { round: 1, number: 3, due: self.now, finished: self.now, outcome: Outcome::new(OutcomeClass::Status, "503"), next };
        self.append(&Fact::Attempted(Attempted { key, body, previous: None, attempt }));
        let state = match next {
            Next::RetryAt(_) => return,
            Next::Delivered => DeliveryState::Delivered,
            Next::Dropped => DeliveryState::Dropped,
        };
        self.pending.remove(&key);
        self.ends.push(End { at: self.now, key, state, event_type, project });
    }

    fn cancel(&mut self, keys: Vec<DeliveryKey>) {
        let mut deliveries = Vec::new();
        for key in keys {
            let (body, event_type, project) = self.pending.remove(&key).unwrap();
            self.ends.push(End { at: self.now, key, state: DeliveryState::Cancelled, event_type, project });
            deliveries.push(CancelledDelivery { body, ..CancelledDelivery::new(key, UnixMillis(1)) });
        }
        self.append(&Fact::Cancelled(Cancelled { at: self.now, by: "test".into(), deliveries }));
    }

    /// An operator takes up a delivery that ended.
    fn take_up(&mut self, index: usize) {
        let End { at, key, event_type, project, .. } = self.ends.remove(index);
        self.now = self.now.max(at.plus_ms(1));
        let id = self.events.iter().find(|(sequence, ..)| *sequence == key.sequence).map(|(.., id)| id.clone()).unwrap();
        let delivery = CarriedDelivery { webhook: key.webhook, due: self.now, round: 2, attempts: 0, timeline: Vec::new() };
        let carried = carried(key.sequence, (id, &event_type, &project), None, self.now, delivery);
        let place = self.append(&carried);
        self.pending.insert(key, (place.locator, event_type, project));
    }

    fn step(&mut self, dice: &mut Dice) {
        self.now = self.now.plus_ms(dice.below(3));
        if dice.below(15) == 0 && !self.ends.is_empty() {
            let index = dice.index(self.ends.len());
            return self.take_up(index);
        }
        let old = self.pending.keys().nth(dice.index(self.pending.len().max(1))).copied();
        match (dice.below(10), old) {
            (0..=4, _) | (_, None) => {
                let types = if dice.below(50) == 0 { 4 } else { 3 };
                let event_type = TYPES[dice.index(types)];
                let project = format!("p{}.example", dice.below(5));
                let webhooks = (0..dice.below(4)).map(|_| dice.webhook().0).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
                let overflowed = if dice.below(9) == 0 { vec![900] } else { Vec::new() };
                let id = format!("id-{}", dice.below(400));
                self.accept(&id, event_type, &project, &webhooks, &overflowed);
            }
            (5, Some(key)) => self.attempt(key, Next::RetryAt(self.now)),
            (6, Some(_)) => {
                let keys = self.pending.keys().copied().take(dice.index(4) + 1).collect();
                self.cancel(keys);
            }
            (7, Some(key)) => self.attempt(key, Next::Dropped),
            (_, Some(key)) => self.attempt(key, Next::Delivered),
        }
    }

    /// What the model lists.
    fn expected(&self, wanted: &WantedEnds) -> Vec<End> {
        let fits = |end: &&End| {
            wanted.webhooks.as_ref().is_none_or(|webhooks| webhooks.contains(&end.key.webhook))
                && wanted.project.as_ref().is_none_or(|project| *project == end.project)
                && wanted.event_type.as_ref().is_none_or(|selector| selector.matches(&end.event_type))
                && wanted.state.is_none_or(|state| state == end.state)
                && wanted.since.is_none_or(|since| end.at >= since)
                && wanted.until.is_none_or(|until| end.at < until)
        };
        let mut ends = self.ends.iter().filter(fits).cloned().collect::<Vec<_>>();
        ends.sort_by_key(|end| std::cmp::Reverse((end.at, end.key)));
        ends
    }

    /// What the history lists, page by page.
    fn listed(&self, wanted: &WantedEnds, page: usize) -> Vec<End> {
        let (mut wanted, mut listed) = (wanted.clone(), Vec::new());
        loop {
            let ends = self.history.ends(&wanted, page).unwrap();
            wanted.after = ends.last().map(Finished::place).or(wanted.after);
            let is_last = ends.len() < page;
            listed.extend(ends.into_iter().map(|end| {
                let (event_type, project) = (end.event_type.expect("every event is there"), end.project.expect("every event is there"));
                assert!(end.accepted.is_some() && (end.body.is_some()), "{:?}", end.key);
                End { at: end.at, key: end.key, state: end.state, event_type, project }
            }));
            if is_last {
                return listed;
            }
        }
    }

    fn check(&self, dice: &mut Dice) {
        let mut wanted = WantedEnds::default();
        if dice.below(3) == 0 {
            wanted.webhooks = Some((0..=dice.below(3)).map(|_| dice.webhook()).collect::<HashSet<_>>());
        }
        if dice.below(3) == 0 {
            wanted.project = Project::parse(&format!("p{}.example", dice.below(6))).ok();
        }
        if dice.below(3) == 0 {
            wanted.event_type = Selector::parse(["email.*", "viber.*", "sms.status.delivered", "*"][dice.index(4)]).ok();
        }
        if dice.below(3) == 0 {
            wanted.state = Some([DeliveryState::Delivered, DeliveryState::Dropped, DeliveryState::Cancelled][dice.index(3)]);
        }
        let moment = |dice: &mut Dice| Some(NOW.plus_ms(dice.below(self.now.since_ms(NOW) + 2)));
        if dice.below(3) == 0 {
            wanted.since = moment(dice);
        }
        if dice.below(3) == 0 {
            wanted.until = moment(dice);
        }
        let page = [3, 50, 100_000][dice.index(3)];
        assert_eq!(self.listed(&wanted, page), self.expected(&wanted), "{wanted:?} in pages of {page}");
        for _ in 0..20 {
            let end = &self.ends[dice.index(self.ends.len())];
            let found = self.history.end_of(end.key).unwrap().unwrap();
            assert_eq!((found.at, found.state, found.event_type.as_ref()), (end.at, end.state, Some(&end.event_type)));
            let mut states = self.history.ends_of_event(end.key.sequence, usize::MAX).unwrap();
            states.retain(|webhook, state| {
                let is_taken_up = *state == DeliveryState::Pending;
                assert!(!is_taken_up || self.pending.contains_key(&DeliveryKey { sequence: end.key.sequence, webhook: *webhook }));
                !is_taken_up
            });
            let own = self.ends.iter().filter(|other| other.key.sequence == end.key.sequence).map(|other| (other.key.webhook, other.state));
            assert_eq!(states, own.collect());
        }
        self.check_events(dice, wanted);
    }

    fn check_events(&self, dice: &mut Dice, WantedEnds { project, event_type, .. }: WantedEnds) {
        let mut wanted = WantedEvents { project, event_type, after: None };
        let fits = |project: &Project, name: &EventTypeName| {
            wanted.project.as_ref().is_none_or(|wanted| wanted == project)
                && wanted.event_type.as_ref().is_none_or(|wanted| wanted.matches(name))
        };
        let expected = self
            .events
            .iter()
            .rev()
            .filter(|(_, name, project, _)| fits(project, name))
            .map(|(sequence, ..)| *sequence)
            .collect::<Vec<_>>();
        let mut listed = Vec::new();
        loop {
            let page = self.history.events(&wanted, 37).unwrap();
            listed.extend(page.iter().map(|event| event.sequence));
            wanted.after = page.last().map(|event| event.sequence);
            if page.len() < 37 {
                break;
            }
        }
        assert_eq!(listed, expected);
        let (_, _, project, id) = &self.events[dice.index(self.events.len())];
        let same =
            self.events.iter().rev().filter(|(_, _, other, other_id)| (other, other_id) == (project, id)).map(|(sequence, ..)| *sequence);
        let mut named = self.history.events_named(project, id).unwrap().iter().map(|event| event.sequence).collect::<Vec<_>>();
        // One that was taken up lies in several places.
        named.dedup();
        assert_eq!(named, same.collect::<Vec<_>>());
        let pending = self.pending.keys().nth(dice.index(self.pending.len().max(1)));
        assert_eq!(pending.and_then(|key| self.history.end_of(*key).unwrap()), None, "what is pending has no end, whatever it had before");
    }
}

/// An event that is written down again for one of its deliveries.
fn carried(
    sequence: Sequence,
    (id, event_type, project): (EventId, &EventTypeName, &Project),
    from: Option<Locator>,
    at: UnixMillis,
    delivery: CarriedDelivery,
) -> Fact {
    let event = Accepted {
        id,
        id_by_client: true,
        event_type: event_type.clone(),
        project: project.clone(),
        accepted: NOW,
        fields_hash: [7; 16],
        body: vec![b'x'; 200].into(),
        deliveries: Vec::new(),
        overflowed: Vec::new(),
        blacklisted: None,
    };
    Fact::Carried(Carried { sequence, from, at, event, deliveries: vec![delivery] })
}

/// Some segments with everything that can happen, and their indexes, if so wished.
fn filled(seed: u64, steps: usize) -> (Place, Dice) {
    let (mut place, mut dice) = (Place::new(), Dice(seed));
    for _ in 0..steps {
        place.step(&mut dice);
    }
    (place, dice)
}

#[test]
fn it_lists_what_a_plain_list_does_whatever_is_in_memory_and_what_in_files() {
    for seed in 0..6 {
        let (mut place, mut dice) = (Place::new(), Dice(seed));
        for round in 0..40 {
            for _ in 0..60 {
                place.step(&mut dice);
            }
            while dice.below(3) > 0 && place.history.work().unwrap() {}
            if round % 9 == 8 {
                place.reopen();
            }
            place.check(&mut dice);
        }
        assert!(place.journal.segment_number() > 5, "there are many segments: {}", place.journal.segment_number());
        while place.history.work().unwrap() {}
        place.reopen();
        assert_eq!(place.history.unindexed(), 0);
        (0..10).for_each(|_| place.check(&mut dice));
    }
}

#[test]
fn opening_reads_the_headers_of_the_indexes_and_nothing_more_of_them() {
    let (mut place, mut dice) = filled(1, 1500);
    while place.history.work().unwrap() {}
    place.reopen();
    let sealed = place.history.0.state().segments.values().filter(|segment| matches!(segment, Segment::Indexed(_))).count();
    assert!(sealed > 3 && place.history.0.opened().is_empty(), "{sealed} of {}", place.journal.segment_number());
    place.check(&mut dice);
    assert!(!place.history.0.opened().is_empty());
}

#[test]
fn what_does_not_occur_is_told_by_summaries_without_reading_a_row() {
    let (place, _) = filled(2, 1500);
    while place.history.work().unwrap() {}
    let rare = [
        WantedEnds { webhooks: Some(HashSet::from([WebhookNumber(4000)])), ..WantedEnds::default() },
        WantedEnds { project: Project::parse("nobody.example").ok(), ..WantedEnds::default() },
        WantedEnds { event_type: Selector::parse("webpush.*").ok(), ..WantedEnds::default() },
        WantedEnds { until: Some(NOW), ..WantedEnds::default() },
        WantedEnds { since: Some(place.now.plus_ms(1)), ..WantedEnds::default() },
    ];
    // Their summaries are known from now on.
    assert!(!place.history.ends(&WantedEnds::default(), usize::MAX).unwrap().is_empty());
    place.medium.refuse_to_read(0..u64::MAX);
    for wanted in rare {
        assert_eq!(place.history.ends(&wanted, 50).unwrap(), [], "{wanted:?}");
    }
    assert!(place.history.ends(&WantedEnds::default(), usize::MAX).unwrap_err().to_string().contains("bad sector"));
}

#[test]
fn a_forgotten_segment_leaves_nothing_behind_and_its_events_are_still_known_of_what_ended_later() {
    let mut place = Place::new();
    let first = place.accept("a", TYPES[0], "p.example", &[1], &[2]);
    let key = DeliveryKey { sequence: first, webhook: WebhookNumber(1) };
    while place.journal.segment_number() < 3 {
        place.accept("b", TYPES[1], "p.example", &[], &[]);
    }
    place.attempt(key, Next::Dropped);
    while place.journal.segment_number() < 5 {
        place.accept("b", TYPES[1], "p.example", &[], &[]);
    }
    while place.history.work().unwrap() {}
    place.medium.remove("0000000001.segment").unwrap();
    place.history.forget_segment(1).unwrap();
    place.history.forget_segment(1).unwrap();
    assert!(!place.medium.list().unwrap().iter().any(|name| name.starts_with("0000000001.")));
    for _ in 0..2 {
        let ends = place.history.ends(&WantedEnds::default(), 9).unwrap();
        assert_eq!(ends.iter().map(|end| end.key.webhook.0).collect::<Vec<_>>(), [1], "the other one ended in the segment that is gone");
        assert_eq!(ends[0].event_type.as_ref().map(EventTypeName::as_str), Some(TYPES[0]));
        assert!(place.history.events_named(&Project::parse("p.example").unwrap(), &EventId::parse("a").unwrap()).unwrap().is_empty());
        place.reopen();
    }
}

#[test]
fn what_an_interrupted_start_or_removal_left_behind_is_removed_by_the_next_start() {
    let (mut place, _) = filled(3, 900);
    while place.history.work().unwrap() {}
    for name in ["0000000099.history", "0000000002.history.new"] {
        place.medium.create(name).unwrap();
    }
    place.reopen();
    let names = place.medium.list().unwrap();
    assert!(!names.iter().any(|name| name.contains("99.") || name.ends_with(".new")), "{names:?}");
}

#[test]
fn an_index_that_could_not_be_written_is_tried_again_and_meanwhile_nothing_is_missing() {
    let (place, mut dice) = filled(4, 900);
    for call in
        ["create 0", "write 0000000001.history.new", "sync 0000000001.history.new", "rename 0000000001.history.new", "sync directory"]
    {
        place.medium.fail(Some(call));
        assert!(place.history.work().is_err(), "{call}");
        assert!(!place.medium.list().unwrap().iter().any(|name| name.ends_with(".new")), "{call}");
        place.check(&mut dice);
    }
    place.medium.fail(None);
    while place.history.work().unwrap() {}
    assert!(
        place.history.0.state().segments.range(..place.journal.segment_number()).all(|(_, segment)| matches!(segment, Segment::Indexed(_)))
    );
    place.check(&mut dice);
}

#[test]
fn an_event_that_was_carried_several_times_counts_once_and_shortens_no_page() {
    let mut place = Place::new();
    let sequences = ["a", "b", "c"].map(|id| place.accept(id, "email.status.delivered", "shop.example", &[1, 2], &[]));
    for webhook in [1, 2, 1] {
        for sequence in sequences {
            let names = (EventTypeName::parse("email.status.delivered").unwrap(), Project::parse("shop.example").unwrap());
            let delivery = CarriedDelivery { webhook: WebhookNumber(webhook), due: NOW, round: 1, attempts: 0, timeline: Vec::new() };
            let from = Some(Locator { segment: 1, offset: 8192 });
            place.append(&carried(sequence, (EventId::parse("x").unwrap(), &names.0, &names.1), from, NOW, delivery));
        }
    }
    let listed = |limit| {
        let found = place.history.events(&WantedEvents::default(), limit).unwrap();
        found.into_iter().map(|event| event.sequence).collect::<Vec<_>>()
    };
    let [a, b, c] = sequences;
    assert_eq!([1, 2, 3, 10].map(listed), [vec![c], vec![c, b], vec![c, b, a], vec![c, b, a]]);
}

#[test]
fn ends_of_old_events_get_their_names_in_the_background() {
    let mut place = Place::new();
    let mut keys = Vec::new();
    while place.journal.segment_number() < 40 {
        let sequence = place.accept("a", TYPES[0], "p.example", &(0..100).collect::<Vec<_>>(), &[]);
        keys.extend((0..100).map(|webhook| DeliveryKey { sequence, webhook: WebhookNumber(webhook) }));
    }
    while place.history.work().unwrap() {}
    place.reopen();
    let keys = keys.into_iter().take(5000).collect::<Vec<_>>();
    let (medium, options) = (Arc::new(place.medium.clone()), JournalOptions { segment_size: 1 << 20 });
    let number = place.journal.segment_number() + 10;
    place.journal = JournalWriter::begin(medium, options, JournalId(7), number, place.history.noted().sequence).unwrap();
    keys.chunks(1000).for_each(|slice| place.cancel(slice.to_vec()));
    let wanted = WantedEnds { event_type: Selector::parse("email.*").ok(), ..WantedEnds::default() };
    assert_eq!(place.history.ends(&wanted, 10_000).unwrap().len(), 5000);
    while place.history.work().unwrap() {}
    let state = place.history.0.state();
    let Some(Segment::Gathered(gathered)) = state.segments.get(&number) else { panic!("it is being written") };
    let nameless = gathered.ends.iter().map(|chunk| chunk.iter().filter(|row| gathered::lacks_names(row)).count()).collect::<Vec<_>>();
    assert_eq!(nameless, [0, 5000 - 4096], "the chunk that is full has its names");
}
