//! The engine in virtual time, with a store that settles at once and endpoints that answer as told. It never waits for anything.

mod knocking;
mod telling;
mod wishes;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::testing::webhook;
use super::*;
use crate::model::{Catalog, EventTypeName, Notice, Project, Rate, RetrySchedule, RetryStep, Webhook};

const START: UnixMillis = UnixMillis(1_795_428_000_000);

/// A hallway in miniature: settles commits at once, answers every attempt after `latency_ms` with what `answer` says.
struct World {
    engine: Engine,
    now: UnixMillis,
    latency_ms: u64,
    answer: fn(&Send) -> Outcome,
    ends: BTreeMap<(UnixMillis, u64), Send>,
    sent: Vec<(UnixMillis, Send)>,
    records: Vec<AttemptRecord>,
    cancelled: Vec<DeliveryKey>,
    pauses: Vec<WebhookNumber>,
    told: Vec<Notice>,
    found: Vec<Found>,
    grants: Vec<Grant>,
    replies: Vec<Reply>,
    hold_records: bool,
    last_sequence: u64,
    last_ticket: u64,
}

fn success(_: &Send) -> Outcome {
    Outcome { status: Some(200), ..Outcome::new(OutcomeClass::Success, "the receiver answered 200") }
}

fn failure(_: &Send) -> Outcome {
    Outcome { status: Some(500), ..Outcome::new(OutcomeClass::Status, "the receiver answered 500") }
}

fn unreachable(_: &Send) -> Outcome {
    Outcome::new(OutcomeClass::ConnectTimeout, "no connection within 10 s")
}

fn event(index: usize) -> NewEvent {
    NewEvent {
        id: EventId::parse(&format!("evt_{index}")).unwrap(),
        id_by_client: false,
        event_type: EventTypeName::parse("email.status.delivered").unwrap(),
        project: Project::parse("shop.example.com").unwrap(),
        body: Arc::from(b"{}".as_slice()),
        fields_hash: [0; 16],
        blacklisted: None,
    }
}

impl World {
    fn new(webhooks: Vec<Webhook>, answer: fn(&Send) -> Outcome) -> Self {
        let mut world = Self {
            engine: Engine::new(START),
            now: START,
            latency_ms: 5,
            answer,
            ends: BTreeMap::new(),
            sent: Vec::new(),
            records: Vec::new(),
            cancelled: Vec::new(),
            pauses: Vec::new(),
            told: Vec::new(),
            found: Vec::new(),
            grants: Vec::new(),
            replies: Vec::new(),
            hold_records: false,
            last_sequence: 0,
            last_ticket: 0,
        };
        world.configure(webhooks, |_| {});
        world
    }

    fn configure(&mut self, webhooks: Vec<Webhook>, adjust: impl Fn(&mut Configuration)) {
        let mut configuration = Configuration {
            catalog: Arc::new(Catalog::built_in()),
            webhooks: webhooks.into_iter().map(|one| (Arc::new(one), false)).collect(),
            max_in_flight: limits::IN_FLIGHT_DEFAULT,
            max_pending: limits::PENDING_DEFAULT,
            max_pending_per_webhook: limits::PENDING_PER_WEBHOOK_DEFAULT,
        };
        adjust(&mut configuration);
        self.input(Input::Configured(configuration));
    }

    fn publish(&mut self, count: usize) {
        self.last_ticket += 1;
        self.input(Input::Published { ticket: Ticket(self.last_ticket), events: (0..count).map(event).collect() });
    }

    fn input(&mut self, input: Input) {
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            self.engine.handle(self.now, input, &mut effects);
            for effect in effects {
                inputs.extend(self.carry_out(effect));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Commit { ticket, batch } => {
                let settled = batch.into_iter().map(|proposal| self.settle(proposal)).collect();
                return Some(Input::Committed { ticket, settled });
            }
            Effect::Reply { reply, .. } => self.replies.push(reply),
            Effect::Send(send) => {
                self.ends.insert((self.now.plus_ms(self.latency_ms), self.sent.len() as u64), send.clone());
                self.sent.push((self.now, send));
            }
            Effect::RecordAttempt(record) => {
                self.records.push(record);
                return (!self.hold_records).then_some(Input::Recorded(1));
            }
            Effect::RecordCancelled { keys, .. } => {
                self.cancelled.extend(keys.into_iter().map(|(key, _)| key));
                return Some(Input::Recorded(1));
            }
            Effect::Found { found, .. } => self.found = found,
            Effect::Cancel { keys, found, .. } => {
                self.found = found;
                self.cancelled.extend(keys.into_iter().map(|(key, _)| key));
            }
            Effect::Reopen { grants, .. } => self.grants = grants,
            Effect::PauseWebhook { webhook, .. } => self.pauses.push(webhook),
            Effect::Tell(notice) => self.told.push(notice),
        }
        None
    }

    fn settle(&mut self, proposal: Proposal) -> Settled {
        self.last_sequence += 1;
        let verdict = Verdict::New { sequence: Sequence(self.last_sequence), locator: Locator { segment: 1, offset: 8192 } };
        let Proposal { id, deliveries, overflowed, accepted, .. } = proposal;
        Settled { id, deliveries, overflowed, accepted, verdict }
    }

    /// Lets time pass up to `end`, stopping at every moment at which something happens.
    fn run_until(&mut self, end: UnixMillis) {
        loop {
            let next_end = self.ends.keys().next().map(|(at, _)| *at);
            let next = self.engine.next_wakeup().into_iter().chain(next_end).min().filter(|at| *at <= end);
            let Some(at) = next else { break };
            self.now = self.now.max(at);
            match self.ends.first_entry().filter(|entry| entry.key().0 <= self.now).map(|entry| entry.remove()) {
                Some(send) => {
                    let outcome = (self.answer)(&send);
                    self.input(Input::Attempted { key: send.key, outcome });
                }
                None => self.input(Input::Ticked),
            }
        }
        self.now = end;
    }

    fn sent_to(&self, number: u32) -> usize {
        self.sent.iter().filter(|(_, send)| send.key.webhook == WebhookNumber(number)).count()
    }
}

#[test]
fn a_dead_receiver_gets_sixteen_attempts_to_the_millisecond_and_then_the_delivery_is_dropped() {
    let mut world = World::new(vec![webhook(1)], failure);
    world.publish(1);
    world.run_until(START.plus_ms(30_000_000));
    let mut due = START;
    for (index, (at, send)) in world.sent.iter().enumerate() {
        assert_eq!((*at, send.attempt as usize), (due, index + 1));
        let interval_ms = RetrySchedule::default().interval_after_ms(send.attempt).unwrap_or(0);
        due = at.plus_ms(world.latency_ms + interval_ms);
    }
    assert_eq!(world.sent.len(), 16);
    assert_eq!(world.records.last().unwrap().attempt.next, Next::Dropped);
    assert_eq!((world.engine.pending().len(), world.engine.counters().dropped), (0, 1));
    assert!(world.engine.is_still());
}

#[test]
fn nothing_is_sent_before_it_is_committed() {
    let mut world = World::new(vec![webhook(1)], success);
    let mut effects = Vec::new();
    let event = NewEvent {
        id: EventId::parse("a").unwrap(),
        id_by_client: true,
        event_type: EventTypeName::parse("email.status.delivered").unwrap(),
        project: Project::parse("shop.example.com").unwrap(),
        body: Arc::from(b"{}".as_slice()),
        fields_hash: [0; 16],
        blacklisted: None,
    };
    world.engine.handle(START, Input::Published { ticket: Ticket(9), events: vec![event] }, &mut effects);
    world.engine.handle(START.plus_ms(60_000), Input::Ticked, &mut effects);
    assert!(matches!(effects.as_slice(), [Effect::Commit { batch, .. }] if batch[0].deliveries == [WebhookNumber(1)]), "{effects:?}");
    assert!(!world.engine.is_still());
}

#[test]
fn the_caps_on_attempts_at_once_hold_for_a_lane_and_for_all() {
    let mut world = World::new((1..=5).map(webhook).collect(), success);
    world.publish(40);
    assert_eq!((1..=5).map(|number| world.sent_to(number)).collect::<Vec<_>>(), [10; 5]);
    let mut world = World::new(Vec::new(), success);
    world.configure((1..=5).map(webhook).collect(), |configuration| configuration.max_in_flight = 12);
    world.publish(40);
    assert_eq!(world.engine.in_flight(), 12);
    assert!((1..=5).all(|number| (2..=3).contains(&world.sent_to(number))), "turn by turn");
    world.run_until(START.plus_ms(10_000));
    assert_eq!(world.engine.counters().delivered, 200);
}

#[test]
fn an_unreachable_endpoint_is_left_one_attempt_at_once_and_gets_its_window_back_by_successes() {
    let mut world = World::new(vec![webhook(1)], unreachable);
    world.publish(50);
    world.run_until(START.plus_ms(20));
    let window = |world: &World| world.engine.lanes().get(WebhookNumber(1)).unwrap().window();
    assert_eq!(window(&world), 1);
    world.run_until(START.plus_ms(99_000));
    assert_eq!((world.sent.len(), world.engine.in_flight()), (50, 0));
    world.answer = success;
    world.run_until(START.plus_ms(200_000));
    assert_eq!((window(&world), world.engine.counters().delivered), (10, 50));
}

#[test]
fn a_rate_is_kept_over_every_second() {
    let mut limited = webhook(1);
    limited.spec.rate = Some(Rate { count: 50, per_ms: 1000 });
    let mut world = World::new(vec![limited, webhook(2)], success);
    world.publish(300);
    world.run_until(START.plus_ms(10_000));
    let times = world.sent.iter().filter(|(_, send)| send.key.webhook == WebhookNumber(1)).map(|(at, _)| at.0).collect::<Vec<_>>();
    assert_eq!(times.len(), 300);
    assert!(times.windows(51).all(|window| window[50] - window[0] >= 1000), "no 51 within a second");
    assert_eq!(times[299] - START.0, 6000, "50 a second, the bucket empty at the start");
    assert!(world.sent.iter().filter(|(_, send)| send.key.webhook == WebhookNumber(2)).all(|(at, _)| at.since_ms(START) < 1000));
}

#[test]
fn an_ordered_webhook_gets_its_events_one_by_one_in_order_however_often_the_head_fails() {
    let mut ordered = webhook(1);
    ordered.spec.ordered = true;
    let mut world =
        World::new(vec![ordered], |send| if send.attempt < 3 && send.key.sequence.0 % 4 == 2 { failure(send) } else { success(send) });
    world.publish(10);
    world.run_until(START.plus_ms(150_000));
    world.publish(3);
    world.run_until(START.plus_ms(2_000_000));
    let order = world.sent.iter().map(|(_, send)| (send.key.sequence.0, send.attempt)).collect::<Vec<_>>();
    let expected = (1..=13).flat_map(|sequence| (1..=if sequence % 4 == 2 { 3 } else { 1 }).map(move |attempt| (sequence, attempt)));
    assert_eq!(order, expected.collect::<Vec<_>>());
    assert!(world.sent.windows(2).all(|pair| pair[1].0 >= pair[0].0.plus_ms(5)), "one at a time");
}

#[test]
fn switching_ordered_on_and_off_loses_nothing_and_restores_the_order() {
    let ordered = |on| {
        let mut made = webhook(1);
        (made.spec.ordered, made.spec.max_in_flight) = (on, 3);
        made
    };
    let mut world = World::new(vec![ordered(false)], failure);
    world.publish(20);
    world.run_until(START.plus_ms(1000));
    world.configure(vec![ordered(true)], |_| {});
    world.answer = success;
    let before = world.sent.len();
    world.run_until(START.plus_ms(101_000));
    let order = world.sent[before..].iter().map(|(_, send)| send.key.sequence.0).collect::<Vec<_>>();
    assert!(order.is_sorted() && order.len() == 20, "{order:?}");
    world.answer = failure;
    world.publish(5);
    world.run_until(START.plus_ms(102_000));
    assert_eq!(world.engine.pending().len(), 5);
    world.configure(vec![ordered(false)], |_| {});
    world.answer = success;
    world.run_until(START.plus_ms(250_000));
    assert!(world.engine.pending().is_empty());
}

#[test]
fn becoming_ordered_waits_for_the_attempts_under_way_and_then_goes_by_age() {
    let ordered = |on| {
        let mut made = webhook(1);
        (made.spec.ordered, made.spec.max_in_flight) = (on, 3);
        made
    };
    let mut world = World::new(vec![ordered(false)], success);
    // Free places in the table, in no order, for the entries that are queued anew.
    world.publish(40);
    world.run_until(START.plus_ms(1000));
    world.answer = |send| if send.attempt == 1 { failure(send) } else { success(send) };
    world.publish(10);
    world.configure(vec![ordered(true)], |_| {});
    let before = world.sent.len();
    world.run_until(START.plus_ms(3_000_000));
    let order = world.sent[before..].iter().map(|(_, send)| send.key.sequence.0).collect::<Vec<_>>();
    assert!(order.is_sorted() && order.len() == 17, "three had their first attempt before: {order:?}");
    assert!(world.sent[before..].windows(2).all(|pair| pair[1].0 >= pair[0].0.plus_ms(5)), "one at a time");
    assert!(world.engine.pending().is_empty());
}

#[test]
fn a_webhook_that_left_the_configuration_is_sent_nothing_even_when_it_is_resumed() {
    let mut world = World::new(vec![webhook(1), webhook(2)], failure);
    world.publish(1);
    world.configure(vec![webhook(2)], |_| {});
    world.input(Input::Paused { webhook: WebhookNumber(1), paused: false });
    world.run_until(START.plus_ms(200_000));
    assert_eq!(world.sent_to(1), 1, "the one before it left");
    world.configure(vec![webhook(1), webhook(2)], |_| {});
    assert_eq!(world.sent_to(1), 2);
}

#[test]
fn while_sending_is_paused_events_are_accepted_nothing_is_sent_and_nobody_counts_as_late() {
    let mut world = World::new(vec![webhook(1), webhook(2)], success);
    world.input(Input::SendingPaused(true));
    world.publish(3);
    let later = START.plus_ms(60_000);
    world.run_until(later);
    let (oldest_ms, _) = world.engine.oldest_due_age_ms(0, WebhookNumber(1), later);
    assert_eq!((world.sent_to(1), world.engine.pending().len(), oldest_ms), (0, 6, 0));
    world.input(Input::SendingPaused(false));
    world.run_until(later.plus_ms(1000));
    assert_eq!((world.sent_to(1), world.sent_to(2), world.engine.pending().len()), (3, 3, 0));
}

#[test]
fn what_was_under_way_to_the_store_when_its_webhook_was_removed_is_cancelled_too() {
    let mut world = World::new(vec![webhook(1), webhook(2)], success);
    let mut effects = Vec::new();
    world.engine.handle(world.now, Input::Published { ticket: Ticket(1), events: vec![event(1)] }, &mut effects);
    world.configure(vec![webhook(2)], |_| {});
    world.input(Input::Removed { webhook: WebhookNumber(1), by: "test".into() });
    world.run_until(START.plus_ms(50));
    for effect in effects {
        let committed = world.carry_out(effect).unwrap();
        world.input(committed);
    }
    world.run_until(START.plus_ms(100));
    assert_eq!((world.sent_to(1), world.sent_to(2), world.cancelled.len()), (0, 1, 1));
    assert!(world.engine.pending().is_empty() && world.engine.next_wakeup().is_none());
}

#[test]
fn what_a_removed_webhook_left_in_its_queue_is_free_for_others_at_once() {
    let mut world = World::new(vec![webhook(1)], success);
    world.input(Input::Paused { webhook: WebhookNumber(1), paused: true });
    world.publish(5000);
    let before = world.engine.pending().high_water();
    world.input(Input::Removed { webhook: WebhookNumber(1), by: "test".into() });
    world.run_until(START.plus_ms(100));
    assert_eq!((world.cancelled.len(), world.engine.pending().len()), (5000, 0));
    world.configure(vec![webhook(2)], |_| {});
    world.input(Input::Paused { webhook: WebhookNumber(2), paused: true });
    world.publish(5000);
    assert_eq!((world.engine.pending().len(), world.engine.pending().high_water()), (5000, before));
}

#[test]
fn a_dead_endpoint_with_many_pending_does_not_slow_the_others() {
    let mut world =
        World::new(
            (1..=4).map(webhook).collect(),
            |send| if send.key.webhook == WebhookNumber(1) { unreachable(send) } else { success(send) },
        );
    world.publish(2000);
    world.run_until(START.plus_ms(1005));
    for healthy in 2..=4 {
        assert_eq!(world.sent_to(healthy), 2000, "ten at once, five milliseconds each: 2 000 within a second");
    }
    assert!(world.sent_to(1) < 300);
}

#[test]
fn gone_pauses_the_webhook_keeps_its_deliveries_and_resuming_goes_on() {
    let gone = |_: &Send| Outcome { status: Some(410), ..Outcome::new(OutcomeClass::Gone, "the receiver answered 410 Gone") };
    let mut world = World::new(vec![webhook(1)], gone);
    world.publish(30);
    world.run_until(START.plus_ms(500_000));
    assert_eq!((world.sent.len(), world.engine.pending().len()), (10, 30), "what was in flight, and then nothing");
    assert_eq!(world.pauses, [WebhookNumber(1)], "ten said so, and it is ordered once");
    world.publish(1);
    assert_eq!(world.engine.pending().len(), 31, "it goes on queueing");
    world.answer = success;
    world.configure(vec![webhook(1)], |_| {});
    world.input(Input::Paused { webhook: WebhookNumber(1), paused: false });
    world.run_until(START.plus_ms(550_000));
    assert_eq!(world.sent.len(), 10, "whatever else changes before the pause is written down");
    world.input(Input::Resumed { webhook: WebhookNumber(1) });
    world.run_until(START.plus_ms(600_000));
    assert_eq!(world.engine.counters().delivered, 31);
}

#[test]
fn beyond_its_limit_a_webhook_drops_loudly_and_beyond_the_total_acceptance_is_refused() {
    let mut world = World::new(Vec::new(), failure);
    world.configure(vec![webhook(1), webhook(2)], |configuration| {
        (configuration.max_pending, configuration.max_pending_per_webhook) = (100, 30);
    });
    world.publish(20);
    world.publish(20);
    assert_eq!(world.engine.counters().dropped, 20);
    assert_eq!(world.engine.lanes().get(WebhookNumber(1)).unwrap().tally.trouble.as_deref(), Some("the queue of this webhook is full"));
    assert!(matches!(world.replies.as_slice(), [_, Reply::Durable(events)] if events.iter().all(|(_, deliveries, _)| *deliveries == 2)));
    world.publish(30);
    assert_eq!(world.replies.last(), Some(&Reply::QueueFull { pending: 60, max_pending: 100 }));
    assert_eq!(world.engine.pending().len(), 60);
    world.input(Input::DrainBegan);
    world.publish(1);
    assert_eq!(world.replies.last(), Some(&Reply::Draining));
}

#[test]
fn a_removed_webhook_is_cancelled_in_slices_and_what_was_in_flight_ends_by_itself() {
    let mut world = World::new(vec![webhook(1), webhook(2)], failure);
    world.publish(3000);
    world.input(Input::Removed { webhook: WebhookNumber(1), by: "configuration".into() });
    world.run_until(START.plus_ms(50));
    assert_eq!((world.sent_to(1), world.cancelled.len()), (10, 3000), "ten were in flight, failed, and were cancelled then");
    assert_eq!(world.engine.counters().cancelled, 3000);
    assert!(world.cancelled.iter().all(|key| key.webhook == WebhookNumber(1)));
    assert_eq!(world.engine.lanes().get(WebhookNumber(2)).unwrap().pending, 3000);
}

#[test]
fn a_webhook_that_left_the_configuration_is_sent_nothing_until_it_is_back() {
    let mut world = World::new(vec![webhook(1)], failure);
    world.publish(5);
    world.run_until(START.plus_ms(1000));
    world.configure(Vec::new(), |_| {});
    world.publish(1);
    world.run_until(START.plus_ms(1_000_000));
    assert_eq!((world.sent.len(), world.engine.pending().len()), (5, 5), "nothing new, nothing sent, nothing lost");
    world.configure(vec![webhook(1)], |_| {});
    world.run_until(START.plus_ms(1_000_100));
    assert_eq!(world.sent.len(), 10);
}

#[test]
fn sending_stops_when_too_many_outcomes_are_not_on_disk() {
    let mut fast = webhook(1);
    fast.spec.max_in_flight = 1024;
    fast.spec.schedule = RetrySchedule { steps: vec![RetryStep { attempts: 1, interval_ms: 1000 }] };
    let mut world = World::new(vec![fast], success);
    world.hold_records = true;
    world.publish(limits::OUTCOME_CREDITS + 500);
    world.run_until(START.plus_ms(60_000));
    assert_eq!(world.sent.len(), limits::OUTCOME_CREDITS);
    world.input(Input::Recorded(limits::OUTCOME_CREDITS));
    world.run_until(START.plus_ms(61_000));
    assert!(world.engine.pending().is_empty());
}

#[test]
fn what_was_loaded_goes_on_where_it_stood() {
    let mut world = World::new(vec![webhook(1)], success);
    let entry = |sequence, due: UnixMillis, attempts| Entry {
        key: DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(1) },
        body: Locator::default(),
        due,
        attempts,
        round: 1,
    };
    world.input(Input::Loaded(vec![entry(1, UnixMillis(5), 2), entry(2, START.plus_ms(5000), 15)]));
    assert_eq!(world.sent[0].1.attempt, 3);
    assert!(!world.sent[0].1.prompt, "it was late before the start");
    world.run_until(START.plus_ms(4999));
    assert_eq!(world.sent.len(), 1);
    world.run_until(START.plus_ms(5000));
    assert_eq!((world.sent[1].1.attempt, world.sent[1].1.prompt), (16, true));
}

#[test]
fn an_attempt_that_began_before_its_event_was_carried_is_counted_until_it_ends() {
    let mut world = World::new(vec![webhook(1)], failure);
    world.publish(1);
    let (key, place) = (world.sent[0].1.key, Locator { segment: 9, offset: 8192 });
    for _ in 0..2 {
        world.input(Input::Carried(vec![(key, place)]));
        assert_eq!(world.engine.in_flight_elsewhere(), 1);
    }
    world.run_until(START.plus_ms(1000));
    assert_eq!((world.engine.in_flight(), world.engine.in_flight_elsewhere()), (0, 0));
    world.run_until(START.plus_ms(101_000));
    assert_eq!(world.sent[1].1.body, place, "the next attempt is told where the event lies now");
}
