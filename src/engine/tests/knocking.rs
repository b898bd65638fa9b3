//! Endpoints that can't be reached are left alone between attempts, however much waits for them. They never leave the engine.

use super::*;

fn one_at_once() -> Webhook {
    let mut webhook = webhook(1);
    webhook.spec.max_in_flight = 1;
    webhook
}

#[test]
fn an_endpoint_that_refuses_at_once_is_knocked_at_ever_less_often_down_to_once_a_second() {
    let mut world = World::new(vec![one_at_once()], unreachable);
    world.latency_ms = 0;
    world.publish(1000);
    world.run_until(START.plus_ms(10_000));
    let gaps = world.sent.windows(2).map(|pair| pair[1].0.since_ms(pair[0].0)).collect::<Vec<_>>();
    assert_eq!(&gaps[..10], [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    assert!(gaps[10..].iter().all(|gap_ms| *gap_ms == 1000), "{gaps:?}");
}

#[test]
fn the_first_answer_whatever_it_is_ends_that() {
    for answer in [success as fn(&Send) -> Outcome, failure] {
        let mut world = World::new(vec![one_at_once()], unreachable);
        world.latency_ms = 0;
        world.publish(100);
        world.run_until(START.plus_ms(5000));
        let before = world.sent.len();
        assert!(before < 20, "{before}");
        world.answer = answer;
        world.run_until(START.plus_ms(6001));
        let answered = world.sent.len() - before;
        assert_eq!(answered, 100 - before, "all that had not been tried before");
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
    world.publish(100);
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
