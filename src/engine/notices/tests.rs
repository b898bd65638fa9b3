//! What is told and when, second by second. No engine, no clock.

use super::*;
use crate::model::{PauseReason, Project, Sequence, WebhookId};

const START: UnixMillis = UnixMillis(1_795_428_000_000);
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const CRM: WebhookNumber = WebhookNumber(1);

/// Notices that somebody wants, at a moment after the start, with everything told so far.
struct Desk {
    notices: Notices,
    now: UnixMillis,
    told: Vec<News>,
}

fn subject(number: WebhookNumber) -> Option<(Subject, Option<String>)> {
    let webhook = WebhookId::parse(&format!("hook-{}", number.0)).unwrap();
    let project = Project::parse("shop.example.com").unwrap();
    (number.0 < 1000).then(|| (Subject { number, webhook, title: "Hook".into(), project, pending: 3 }, None))
}

fn key(sequence: u64) -> DeliveryKey {
    DeliveryKey { sequence: Sequence(sequence), webhook: CRM }
}

impl Desk {
    fn new() -> Self {
        let mut notices = Notices::default();
        notices.set_wanted(true);
        Self { notices, now: START, told: Vec::new() }
    }

    /// Everything that is told at that moment; each is durable at once.
    fn at(&mut self, after_ms: u64, happens: impl FnOnce(&mut Notices, UnixMillis)) -> Vec<News> {
        self.now = START.plus_ms(after_ms);
        happens(&mut self.notices, self.now);
        let mut told = Vec::new();
        while let Some(notice) = self.notices.next(self.now, subject) {
            assert_eq!(notice.at, self.now);
            self.notices.told(1);
            told.push(notice.news);
        }
        self.told.extend(told.clone());
        told
    }

    fn fails(&mut self, after_ms: u64) -> Vec<News> {
        self.at(after_ms, |notices, now| notices.failed(CRM, key(after_ms), &format!("failed at {after_ms}"), now))
    }

    fn succeeds(&mut self, after_ms: u64) -> Vec<News> {
        self.at(after_ms, |notices, now| notices.succeeded(CRM, key(after_ms), now))
    }

    fn drops(&mut self, after_ms: u64) -> Vec<News> {
        self.at(after_ms, |notices, now| notices.dropped(CRM, key(after_ms), &format!("dropped at {after_ms}"), now))
    }

    fn passes(&mut self, after_ms: u64) -> Vec<News> {
        self.at(after_ms, |_, _| {})
    }

    fn keeps_nothing(&self) -> bool {
        let Notices { records, ready, timers, .. } = &self.notices;
        records.is_empty() && ready.is_empty() && timers.is_empty()
    }
}

#[test]
fn an_outage_is_told_at_once_after_an_hour_after_six_and_when_it_is_over() {
    let mut desk = Desk::new();
    let told = (0..=8 * 12).filter(|fifth| !desk.fails(fifth * HOUR / 12).is_empty()).map(|fifth| fifth * 5).collect::<Vec<_>>();
    assert_eq!(told, [0, 60, 360], "minutes");
    let News::Failing { subject, since, failed_attempts, delivery, last_outcome } = &desk.told[1] else { panic!("{:?}", desk.told) };
    assert_eq!(
        (subject.pending, *since, *failed_attempts, *delivery, last_outcome.as_str()),
        (3, START, 13, key(HOUR), "failed at 3600000")
    );
    let recovered = desk.succeeds(9 * HOUR);
    assert!(
        matches!(recovered[..], [News::Recovered { since: START, failed_attempts: 97, delivery, .. }] if delivery == key(9 * HOUR)),
        "{recovered:?}"
    );
    assert!(desk.succeeds(9 * HOUR + 1).is_empty());
    desk.passes(10 * HOUR);
    assert!(desk.keeps_nothing());
}

#[test]
fn one_that_flaps_is_told_once_a_minute_at_most() {
    let mut desk = Desk::new();
    for second in 0..600 {
        desk.fails(second * 1000);
        desk.succeeds(second * 1000 + 500);
    }
    let failing = desk.told.iter().filter(|news| matches!(news, News::Failing { .. })).count();
    assert_eq!((failing, desk.told.len()), (10, 20));
    assert!(desk.told.chunks(2).all(|two| matches!(two, [News::Failing { .. }, News::Recovered { .. }])), "{:?}", desk.told);
    desk.passes(11 * MINUTE);
    assert!(desk.keeps_nothing());
}

#[test]
fn one_that_fails_again_too_soon_is_told_when_the_minute_is_over_if_it_still_fails() {
    let mut desk = Desk::new();
    assert_eq!((desk.fails(0).len(), desk.succeeds(1000).len(), desk.fails(2000).len()), (1, 1, 0));
    assert!(desk.passes(2 * MINUTE).is_empty(), "without an attempt there is nothing to say");
    let told = desk.fails(2 * MINUTE + 1);
    assert!(matches!(told[..], [News::Failing { failed_attempts: 2, since, .. }] if since == START.plus_ms(2000)), "{told:?}");
}

#[test]
fn drops_that_come_together_are_told_together_and_then_once_a_minute() {
    let mut desk = Desk::new();
    (0..1000).for_each(|millisecond| assert!(desk.drops(millisecond).is_empty()));
    assert!(desk.passes(4999).is_empty());
    assert_eq!(desk.notices.next_wakeup(), Some(START.plus_ms(5000)));
    let told = desk.passes(5000);
    let [News::Dropped { count, since, delivery, last_outcome, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!((*count, *since, *delivery, last_outcome.as_str()), (1000, START, key(0), "dropped at 999"));
    for second in 6..=64 {
        assert!(desk.drops(second * 1000).is_empty());
    }
    let told = desk.passes(65_000);
    assert!(matches!(&told[..], [News::Dropped { count: 59, delivery, .. }] if *delivery == key(6000)), "{told:?}");
    desk.passes(10 * MINUTE);
    assert!(desk.keeps_nothing());
}

#[test]
fn what_finds_no_room_waits_and_merges() {
    let mut desk = Desk::new();
    let hooks = |count| (2..2 + count).map(WebhookNumber);
    let room = u32::try_from(limits::NOTICES_MAX).unwrap();
    hooks(room).for_each(|number| desk.notices.failed(number, key(1), "it failed", START));
    let under_way = std::iter::from_fn(|| desk.notices.next(START, subject)).count();
    assert_eq!(under_way, limits::NOTICES_MAX);
    // Meanwhile one fails and is well again; another fails, and recovers, and fails; a third is paused twice.
    desk.notices.failed(CRM, key(1), "it failed", START);
    for minute in 1..=1000 {
        let now = START.plus_ms(minute * MINUTE);
        desk.notices.succeeded(CRM, key(1), now);
        desk.notices.succeeded(WebhookNumber(2), key(2), now);
        desk.notices.failed(WebhookNumber(2), key(3), "again", now);
        desk.notices.dropped(WebhookNumber(3), key(4), "dropped", now);
        let pause = |reason, since| Pause { reason, since, by: "op".into() };
        desk.notices.paused(WebhookNumber(4), pause(PauseReason::Operator, now));
        assert!(desk.notices.next(now, subject).is_none() && desk.notices.ready.len() <= limits::NOTICES_MAX + 1);
    }
    desk.notices.told(limits::NOTICES_MAX);
    let told = desk.passes(1001 * MINUTE);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().any(|news| matches!(news, News::Dropped { count: 1000, .. })));
    assert!(told.iter().any(|news| matches!(news, News::Paused { .. })));
}

#[test]
fn what_a_process_before_told_is_not_told_again() {
    let mut desk = Desk::new();
    let before = |ms: u64| UnixMillis(START.0 - ms);
    desk.notices.had_failed(CRM, before(20 * MINUTE), 4, START);
    desk.notices.had_failed(CRM, before(90 * MINUTE), 7, START);
    assert!(desk.fails(1000).is_empty(), "the first failure and the hour were");
    let told = desk.fails(5 * HOUR);
    assert!(matches!(told[..], [News::Failing { failed_attempts: 13, since, .. }] if since == before(90 * MINUTE)), "{told:?}");
    assert!(matches!(desk.succeeds(6 * HOUR)[..], [News::Recovered { .. }]));
}

#[test]
fn the_disk_is_told_once_until_it_was_well() {
    let mut desk = Desk::new();
    let low = limits::DISK_LOW_BYTES;
    let told = [low, low - 1, low - 2, low, low - 3, limits::DISK_WELL_BYTES, low - 4]
        .map(|free| desk.at(0, |notices, _| notices.disk_measured(free)));
    let free = told.map(|news| match news[..] {
        [News::DiskLow { free_bytes, .. }] => low - free_bytes,
        _ => 0,
    });
    assert_eq!(free, [0, 1, 0, 0, 0, 0, 4]);
}

#[test]
fn nothing_is_kept_for_nobody_nor_of_what_may_not_be_told_of() {
    let mut desk = Desk::new();
    let nameless = WebhookNumber(1000);
    assert!(desk.at(0, |notices, now| notices.failed(nameless, key(1), "it failed", now)).is_empty());
    assert!(desk.keeps_nothing());
    desk.fails(0);
    desk.drops(1);
    desk.notices.set_wanted(false);
    assert!(desk.keeps_nothing() && desk.passes(HOUR).is_empty());
    desk.notices.set_wanted(true);
    desk.fails(HOUR);
    desk.notices.removed(CRM);
    desk.passes(2 * HOUR);
    assert!(desk.keeps_nothing() && desk.told.len() == 2, "{:?}", desk.told);
}
