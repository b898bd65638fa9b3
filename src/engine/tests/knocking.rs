//! Endpoints that can't be reached are left alone between attempts, however much waits for them. They never leave the engine.

use super::*;

fn one_at_once() -> Webhook {
    let mut webhook = webhook(1);
    webhook.spec.max_in_flight = 1;
    webhook
}

#[test]
fn an_endpoint_that_refuses_at_once_is_knocked_at_so_often_and_no_oftener() {
    let mut world = World::new(vec![one_at_once()], unreachable);
    world.latency_ms = 0;
    world.publish(1000);
    world.run_until(START.plus_ms(2000));
    let gaps = world.sent.windows(2).map(|pair| pair[1].0.since_ms(pair[0].0)).collect::<Vec<_>>();
    assert_eq!(gaps.len(), 400);
    assert!(gaps.iter().all(|gap_ms| *gap_ms == limits::KNOCK_REST_MS), "{gaps:?}");
}

#[test]
fn all_that_refuse_share_the_knocks_but_each_is_knocked_at_once_a_second() {
    for (webhooks, each) in [(10, 40), (1000, 2)] {
        let refusing = |number| {
            let mut webhook = webhook(number);
            webhook.spec.max_in_flight = 1;
            webhook
        };
        let mut world = World::new((1..=webhooks).map(refusing).collect(), unreachable);
        world.latency_ms = 0;
        world.publish(100);
        world.run_until(START.plus_ms(2000));
        for number in 1..=webhooks {
            let sent = world.sent_to(number);
            assert!((each..=each + 2).contains(&sent), "of {webhooks}, {number} was knocked at {sent} times");
        }
    }
}

#[test]
fn the_first_answer_whatever_it_is_ends_that() {
    for answer in [success as fn(&Send) -> Outcome, failure] {
        let mut world = World::new(vec![one_at_once()], unreachable);
        world.latency_ms = 0;
        world.publish(2000);
        world.run_until(START.plus_ms(5000));
        let before = world.sent.len();
        assert!(before < 1010, "{before}");
        world.answer = answer;
        world.run_until(START.plus_ms(5006));
        let answered = world.sent.len() - before;
        assert_eq!(answered, 2000 - before, "all that had not been tried before");
    }
}

#[test]
fn what_waits_alone_is_tried_on_its_schedule_to_the_millisecond() {
    let mut world = World::new(vec![webhook(1)], unreachable);
    world.publish(1);
    world.run_until(START.plus_ms(30_000_000));
    assert_eq!(world.sent_to(1), 16);
    let waits = world.sent.windows(2).zip(1..).map(|(pair, number)| {
        pair[1].0.since_ms(pair[0].0) - world.latency_ms - RetrySchedule::default().interval_after_ms(number).unwrap()
    });
    assert!(waits.sum::<u64>() == 0, "no rest is as long as an interval of the schedule");
}

#[test]
fn another_address_or_a_resume_ends_it_too() {
    let mut world = World::new(vec![one_at_once()], unreachable);
    world.latency_ms = 0;
    world.publish(5000);
    world.run_until(START.plus_ms(5000));
    let before = world.sent.len();
    let mut moved = one_at_once();
    moved.spec.url = "https://elsewhere.example.com/".parse().unwrap();
    world.configure(vec![moved], |_| {});
    assert_eq!(world.sent.len(), before + 1);
    world.run_until(START.plus_ms(8000));
    let before = world.sent.len();
    world.input(Input::Resumed { webhook: WebhookNumber(1) });
    world.run_until(START.plus_ms(8000));
    assert!(world.sent.len() > before);
}
