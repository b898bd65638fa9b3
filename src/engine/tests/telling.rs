//! What the engine wants told, published into it again as the daemon does. No endpoint is asked, no clock is read.

use super::*;
use crate::model::{News, Pause};

/// A webhook of the daemon's own project.
fn listener(number: u32) -> Webhook {
    let mut listener = webhook(number);
    listener.spec.project = Project::of_daemon();
    listener
}

impl World {
    /// Publishes whatever is to be told, until nothing is; what was told.
    fn tell_on(&mut self) -> Vec<News> {
        let mut all = Vec::new();
        while !self.told.is_empty() {
            let told = std::mem::take(&mut self.told);
            self.last_ticket += 1;
            let id = |index: usize| EventId::parse(&format!("told_{}_{index}", self.last_ticket)).unwrap();
            let events = told.iter().enumerate().map(|(index, notice)| notice.event(id(index))).collect();
            let (ticket, count) = (Ticket(self.last_ticket), told.len());
            self.input(Input::Published { ticket, events });
            self.input(Input::Told(count));
            all.extend(told.into_iter().map(|notice| notice.news));
        }
        all
    }

    /// Lets time pass, telling whatever is to be told at every step.
    fn run_and_tell(&mut self, hours: u64) -> Vec<News> {
        let mut all = Vec::new();
        for _ in 0..hours * 360 {
            self.run_until(self.now.plus_ms(10_000));
            all.extend(self.tell_on());
        }
        all
    }
}

fn names(told: &[News]) -> Vec<String> {
    let name = |news: &News| {
        let number = news.subject().map_or(0, |subject| subject.number.0);
        format!("{} {number}", news.event_type().segments()[2])
    };
    told.iter().map(name).collect()
}

#[test]
fn listeners_that_fail_themselves_are_told_of_others_and_never_of_each_other() {
    let mut world = World::new(vec![webhook(1), listener(2), listener(3)], failure);
    world.publish(20);
    let told = world.run_and_tell(9);
    assert_eq!(names(&told), ["failing 1", "failing 1", "failing 1", "dropped 1"]);
    let News::Dropped { count, last_outcome, .. } = &told[3] else { panic!("{told:?}") };
    assert_eq!((*count, last_outcome.as_str()), (20, "the receiver answered 500"));
    // Each of the four went to both, and failed there to the end of the schedule or is still tried.
    assert!([2, 3].iter().all(|number| world.sent_to(*number) > 4));
    assert_eq!(world.engine.counters().accepted, 20 + 4);
}

#[test]
fn whoever_listens_to_nothing_or_elsewhere_costs_nothing() {
    let mut picky = listener(2);
    picky.spec.selectors = vec![crate::model::Selector::parse("hookwheel.webhook.recovered").unwrap()];
    for (listeners, expected) in [(vec![], vec![]), (vec![picky], vec!["recovered 1"])] {
        let mut world = World::new([vec![webhook(1)], listeners].concat(), failure);
        assert_eq!(world.engine.tells(), !expected.is_empty());
        world.publish(1);
        assert!(world.run_and_tell(1).is_empty());
        world.answer = success;
        assert_eq!(names(&world.run_and_tell(1)), expected);
    }
}

#[test]
fn pauses_are_told_an_endpoint_that_is_gone_does_not_fail_and_what_is_removed_is_not_told_of() {
    let gone = |_: &Send| Outcome::new(OutcomeClass::Gone, "the receiver answered 410");
    let mut world = World::new(vec![webhook(1), webhook(2), listener(3)], gone);
    world.publish(1);
    world.run_until(START.plus_ms(10));
    assert_eq!((world.pauses.len(), world.told.len()), (2, 0));
    let pause = |reason| Pause { reason, since: START, by: "receiver".into() };
    world.input(Input::Removed { webhook: WebhookNumber(2), by: "op".into() });
    let numbers = [1, 3].map(|number| (WebhookNumber(number), pause(PauseReason::Gone)));
    world.input(Input::PausesBegan(numbers.to_vec()));
    let told = world.tell_on();
    assert_eq!(names(&told), ["paused 1"], "not the listener itself");
    let News::Paused { subject, pause, last_outcome } = &told[0] else { panic!("{told:?}") };
    assert_eq!((subject.pending, pause.reason, last_outcome.as_deref()), (1, PauseReason::Gone, Some("the receiver answered 410")));
}

#[test]
fn what_had_no_room_is_told_as_dropped() {
    let mut world = World::new(Vec::new(), failure);
    world.configure(vec![webhook(1), listener(2)], |configuration| configuration.max_pending_per_webhook = 3);
    world.publish(10);
    world.run_until(START.plus_ms(5000));
    let told = world.tell_on();
    let dropped = told.iter().find_map(|news| match news {
        News::Dropped { count, last_outcome, .. } => Some((*count, last_outcome.as_str())),
        _ => None,
    });
    assert_eq!(dropped, Some((7, QUEUE_FULL)));
}

#[test]
fn a_start_goes_on_with_what_was_told_before_it() {
    let mut world = World::new(vec![webhook(1), listener(2)], success);
    let key = DeliveryKey { sequence: Sequence(1), webhook: WebhookNumber(1) };
    let entry = Entry { key, body: Locator { segment: 1, offset: 8192 }, due: START.plus_ms(50_000), attempts: 2, round: 1 };
    world.input(Input::Loaded(vec![entry]));
    world.run_until(START.plus_ms(60_000));
    let told = world.tell_on();
    assert!(matches!(told[..], [News::Recovered { since, failed_attempts: 2, .. }] if since == UnixMillis(START.0 - 150_000)), "{told:?}");
}

#[test]
fn nothing_is_told_while_the_daemon_ends() {
    let mut world = World::new(vec![webhook(1), listener(2)], failure);
    world.publish(1);
    world.input(Input::DrainBegan);
    world.run_until(START.plus_ms(60_000));
    assert!(world.told.is_empty());
}
