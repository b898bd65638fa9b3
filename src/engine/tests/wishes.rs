//! What operators want of single deliveries, and how that meets time, order, pauses and attempts under way. They never leave the engine.

use super::*;

fn key(sequence: u64) -> DeliveryKey {
    DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(1) }
}

impl World {
    fn retry(&mut self, sequences: &[u64]) -> Vec<Found> {
        let keys = sequences.iter().map(|sequence| key(*sequence)).collect();
        self.input(Input::RetryWanted { ticket: Ticket(77), keys });
        std::mem::take(&mut self.found)
    }

    fn cancel(&mut self, sequences: &[u64]) -> Vec<Found> {
        let keys = sequences.iter().map(|sequence| key(*sequence)).collect();
        self.input(Input::CancelWanted { ticket: Ticket(77), keys, by: "somebody".into() });
        std::mem::take(&mut self.found)
    }

    fn reopen(&mut self, sequence: u64) -> Grant {
        self.input(Input::ReopenWanted { ticket: Ticket(77), keys: vec![key(sequence)] });
        std::mem::take(&mut self.grants)[0]
    }

    fn reopened(&mut self, sequence: u64) {
        let body = Locator { segment: 2, offset: 8192 };
        self.input(Input::Reopened(vec![Entry { key: key(sequence), body, due: self.now, attempts: 0, round: 2 }]));
    }
}

fn ordered() -> Webhook {
    let mut webhook = webhook(1);
    webhook.spec.ordered = true;
    webhook
}

#[test]
fn what_waits_for_its_time_is_tried_now_and_its_schedule_goes_on_from_there() {
    let mut world = World::new(vec![webhook(1)], failure);
    world.publish(1);
    world.run_until(START.plus_ms(50_000));
    assert_eq!(world.sent_to(1), 1);
    assert_eq!(world.retry(&[1, 2]), [Found::Waiting, Found::NotPending]);
    assert_eq!(world.retry(&[1]), [Found::InFlight]);
    assert_eq!(world.sent_to(1), 2, "at once, though it was due 50 s later");
    let (_, send) = &world.sent[1];
    assert_eq!(send.attempt, 2);
    let stood_at = world.sent[0].0.plus_ms(world.latency_ms + 100_000);
    world.run_until(START.plus_ms(60_000));
    assert_eq!(world.records[1].attempt.due, stood_at, "by this the queue is found");
    assert_eq!(world.records[1].attempt.next, Next::RetryAt(START.plus_ms(50_000 + world.latency_ms + 100_000)));
    world.run_until(START.plus_ms(30_000_000));
    assert_eq!(world.sent_to(1), 16, "it is no attempt more than the schedule has");
}

#[test]
fn what_is_named_twice_is_tried_once() {
    let mut world = World::new(vec![webhook(1)], failure);
    world.publish(2);
    world.run_until(START.plus_ms(1000));
    assert_eq!(world.sent_to(1), 2);
    assert_eq!(world.retry(&[1, 2, 1]), [Found::Waiting; 3]);
    assert_eq!(world.sent_to(1), 4);
    world.run_until(START.plus_ms(30_000_000));
    assert_eq!(world.sent_to(1), 32);
}

#[test]
fn in_a_paused_lane_it_waits_for_the_lane_alone() {
    let mut world = World::new(vec![webhook(1)], failure);
    world.publish(3);
    world.run_until(START.plus_ms(1000));
    world.input(Input::Paused { webhook: WebhookNumber(1), paused: true });
    world.retry(&[1, 3]);
    world.run_until(START.plus_ms(2000));
    assert_eq!(world.sent_to(1), 3);
    world.input(Input::Paused { webhook: WebhookNumber(1), paused: false });
    assert_eq!(world.sent_to(1), 5);
}

#[test]
fn in_an_ordered_lane_the_head_is_hastened_and_nothing_overtakes_it() {
    let mut world = World::new(vec![ordered()], failure);
    world.publish(3);
    world.run_until(START.plus_ms(1000));
    assert_eq!(world.retry(&[3]), [Found::Waiting]);
    assert_eq!(world.sent_to(1), 1, "the first is still before it");
    assert_eq!(world.retry(&[1]), [Found::Waiting]);
    let sent = world.sent.iter().map(|(_, send)| send.key.sequence.0).collect::<Vec<_>>();
    assert_eq!(sent, [1, 1]);
}

#[test]
fn what_is_ended_is_not_sent_any_more_and_an_ordered_lane_goes_on_with_the_next() {
    let mut world = World::new(vec![ordered()], failure);
    world.publish(3);
    world.run_until(START.plus_ms(1000));
    assert_eq!(world.cancel(&[1, 9]), [Found::Waiting, Found::NotPending]);
    assert_eq!((world.cancelled.as_slice(), world.engine.counters().cancelled), ([key(1)].as_slice(), 1));
    assert_eq!(world.sent.last().unwrap().1.key, key(2), "its turn came at once");
    world.run_until(START.plus_ms(2_000_000));
    assert!(world.sent.iter().skip(1).all(|(_, send)| send.key == key(2)));
}

#[test]
fn what_is_ended_in_a_paused_lane_leaves_no_node_behind() {
    let mut world = World::new(vec![webhook(1)], success);
    world.input(Input::Paused { webhook: WebhookNumber(1), paused: true });
    for round in 0..20 {
        world.publish(500);
        let sequences = (round * 500 + 1..=round * 500 + 500).collect::<Vec<_>>();
        assert_eq!(world.cancel(&sequences), vec![Found::Waiting; 500]);
    }
    assert_eq!((world.engine.pending().len(), world.cancelled.len()), (0, 10_000));
    assert!(world.engine.pending().high_water() <= 500, "{}", world.engine.pending().high_water());
}

#[test]
fn what_is_ended_while_an_attempt_is_under_way_ends_with_it_unless_that_succeeds() {
    for (answer, delivered) in [(failure as fn(&Send) -> Outcome, 0), (success, 1)] {
        let mut world = World::new(vec![webhook(1)], answer);
        world.publish(1);
        assert_eq!(world.cancel(&[1]), [Found::InFlight]);
        assert!(world.cancelled.is_empty());
        world.run_until(START.plus_ms(1_000_000));
        let counters = world.engine.counters();
        assert_eq!((counters.delivered, counters.cancelled, world.sent_to(1)), (delivered, 1 - delivered, 1));
        assert!(world.engine.pending().is_empty() && world.engine.is_still() && world.engine.next_wakeup().is_none());
    }
}

#[test]
fn what_is_to_end_waits_for_a_credit_and_is_not_sent_meanwhile() {
    let mut world = World::new(vec![webhook(1)], failure);
    world.hold_records = true;
    world.publish(1);
    world.cancel(&[1]);
    world.engine.unsynced = limits::OUTCOME_CREDITS - 1;
    world.run_until(START.plus_ms(500_000));
    assert_eq!((world.cancelled.len(), world.sent_to(1)), (0, 1), "there is no credit to write it down");
    world.input(Input::Recorded(limits::OUTCOME_CREDITS));
    assert_eq!((world.cancelled.len(), world.sent_to(1)), (1, 1));
}

#[test]
fn what_ended_is_tried_anew_with_a_fresh_schedule_once_that_is_durable() {
    let mut world = World::new(vec![webhook(1)], failure);
    world.publish(1);
    assert_eq!(world.reopen(1), Grant::IsPending);
    world.run_until(START.plus_ms(30_000_000));
    assert_eq!((world.sent_to(1), world.engine.pending().len()), (16, 0));
    assert_eq!(world.reopen(1), Grant::Granted);
    assert_eq!(world.reopen(1), Grant::IsPending, "it is on its way");
    assert_eq!(world.sent_to(1), 16);
    world.reopened(1);
    assert_eq!(world.sent.last().unwrap().1.attempt, 1);
    world.run_until(START.plus_ms(60_000_000));
    assert_eq!(world.sent_to(1), 32);
    assert!(world.records.iter().skip(16).all(|record| record.attempt.round == 2));
}

#[test]
fn in_an_ordered_lane_what_is_tried_anew_has_the_place_of_its_age() {
    let answer = |send: &Send| if send.key.sequence == Sequence(1) { success(send) } else { failure(send) };
    let mut world = World::new(vec![ordered()], answer);
    world.publish(4);
    world.run_until(START.plus_ms(1000));
    // The second waits for its time, at the head.
    assert_eq!(world.reopen(1), Grant::Granted);
    world.reopened(1);
    let last = |world: &World| world.sent.last().map(|(_, send)| send.key.sequence.0);
    assert_eq!((last(&world), world.sent.len()), (Some(1), 3));
    world.run_until(START.plus_ms(150_000));
    assert_eq!((last(&world), world.sent.len()), (Some(2), 4), "then the second again");
    // While an attempt of the second is under way, the first comes in between.
    assert_eq!(world.retry(&[2]), [Found::Waiting]);
    assert_eq!(world.reopen(1), Grant::Granted);
    world.reopened(1);
    world.run_until(world.now.plus_ms(1000));
    assert_eq!((last(&world), world.sent.len()), (Some(1), 6));
    world.run_until(START.plus_ms(900_000));
    assert!(world.sent.iter().skip(6).all(|(_, send)| send.key == key(2)), "the third waits for the second");
}

#[test]
fn nothing_is_tried_anew_without_a_webhook_or_without_room() {
    let mut world = World::new(vec![webhook(1)], success);
    world.publish(1);
    world.run_until(START.plus_ms(1000));
    world.configure(vec![webhook(1)], |configuration| configuration.max_pending_per_webhook = 0);
    assert_eq!(world.reopen(1), Grant::QueueFull);
    world.configure(vec![webhook(2)], |_| {});
    assert_eq!(world.reopen(1), Grant::NoWebhook);
    let key = DeliveryKey { sequence: Sequence(1), webhook: WebhookNumber(500) };
    world.input(Input::ReopenWanted { ticket: Ticket(77), keys: vec![key] });
    assert_eq!(world.grants, [Grant::NoWebhook], "nobody ever had that number");
}

#[test]
fn what_was_on_its_way_back_when_its_webhook_was_removed_is_cancelled() {
    let mut world = World::new(vec![webhook(1), webhook(2)], success);
    world.publish(1);
    world.run_until(START.plus_ms(1000));
    assert_eq!(world.reopen(1), Grant::Granted);
    world.configure(vec![webhook(2)], |_| {});
    world.input(Input::Removed { webhook: WebhookNumber(1), by: "test".into() });
    world.run_until(START.plus_ms(2000));
    world.reopened(1);
    world.run_until(START.plus_ms(3000));
    assert_eq!((world.cancelled.as_slice(), world.sent_to(1)), ([key(1)].as_slice(), 1));
    assert!(world.engine.pending().is_empty() && world.engine.next_wakeup().is_none());
}
