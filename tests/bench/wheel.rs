//! The engine's timer wheel beside the standard library's `BinaryHeap` and tokio-util's `DelayQueue`, and the bytes of a pending delivery. It never asserts a time.
//!
//! Each holds `n` timers spread over an hour. One step takes whatever is due within the next moment and puts every timer back, an hour later at most, as
//! a failing receiver does.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where by panicking")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hookwheel::engine::pending::{Entry, Pending};
use hookwheel::engine::wheel::Wheel;
use hookwheel::model::{DeliveryKey, Locator, Sequence, WebhookNumber};
use hookwheel::time::{Stopwatch, UnixMillis};
use tokio_util::time::DelayQueue;

const HOUR_MS: u64 = 3_600_000;
const ROUNDS: usize = 3;
const RESCHEDULED_PER_TIMER: u64 = 2;

/// SplitMix64: the same delays for all three.
fn delay_ms(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ (mixed >> 31)) % HOUR_MS + 1
}

fn wheel(count: u64) -> (f64, usize) {
    let (mut seed, mut now) = (1, UnixMillis(1_795_428_000_000));
    let (mut pending, mut wheel) = (Pending::default(), Wheel::new(now));
    let stopwatch = Stopwatch::start();
    for number in 0..count {
        let key = DeliveryKey { sequence: Sequence(number), webhook: WebhookNumber(1) };
        let due = now.plus_ms(delay_ms(&mut seed));
        let node = pending.insert(Entry { key, body: Locator::default(), due, attempts: 0, round: 1 }).unwrap();
        wheel.insert(&mut pending, node);
    }
    let mut left = count * RESCHEDULED_PER_TIMER;
    let mut due = Vec::new();
    while left > 0 {
        now = wheel.next_wakeup().unwrap().max(now);
        wheel.advance(&mut pending, now, 1024, |_, node| due.push(node));
        for node in due.drain(..) {
            pending.reschedule(node, now.plus_ms(delay_ms(&mut seed)), 1);
            wheel.insert(&mut pending, node);
            left = left.saturating_sub(1);
        }
    }
    (ns_per_operation(&stopwatch, count), pending.memory_bytes() / pending.len())
}

fn heap(count: u64) -> f64 {
    let (mut seed, mut now) = (1, 0_u64);
    let mut heap = BinaryHeap::new();
    let stopwatch = Stopwatch::start();
    for number in 0..count {
        heap.push(Reverse((now + delay_ms(&mut seed), number)));
    }
    for _ in 0..count * RESCHEDULED_PER_TIMER {
        let Reverse((due, number)) = heap.pop().unwrap();
        now = now.max(due);
        heap.push(Reverse((now + delay_ms(&mut seed), number)));
    }
    black_box(&heap);
    ns_per_operation(&stopwatch, count)
}

/// `DelayQueue` waits for real time, so tokio's clock is paused and moved on by hand, each time so far that about 64 timers expire: moving it
/// costs more than a timer does.
fn delay_queue(count: u64) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut seed = 1;
        let mut queue = DelayQueue::new();
        let stopwatch = Stopwatch::start();
        for number in 0..count {
            queue.insert(number, Duration::from_millis(delay_ms(&mut seed)));
        }
        let mut left = count * RESCHEDULED_PER_TIMER;
        let mut context = Context::from_waker(Waker::noop());
        let step = Duration::from_millis((HOUR_MS * 64 / count).max(1));
        while left > 0 {
            while let Poll::Ready(Some(expired)) = queue.poll_expired(&mut context) {
                queue.insert(expired.into_inner(), Duration::from_millis(delay_ms(&mut seed)));
                left = left.saturating_sub(1);
            }
            tokio::time::advance(step).await;
        }
        ns_per_operation(&stopwatch, count)
    })
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ns_per_operation(stopwatch: &Stopwatch, count: u64) -> f64 {
    f64::from(stopwatch.elapsed_us()) * 1000.0 / (count * (1 + RESCHEDULED_PER_TIMER)) as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    println!(
        "timers      wheel   BinaryHeap   DelayQueue   (ns an operation, median of {ROUNDS})   heap/wheel   queue/wheel   bytes a delivery"
    );
    for count in [10_000, 100_000, 1_000_000] {
        let mut bytes = 0;
        let ours = median(
            (0..ROUNDS)
                .map(|_| {
                    let (ns, size) = wheel(count);
                    bytes = size;
                    ns
                })
                .collect(),
        );
        let heap = median((0..ROUNDS).map(|_| heap(count)).collect());
        let queue = median((0..ROUNDS).map(|_| delay_queue(count)).collect());
        println!("{count:>9} {ours:>8.0} {heap:>12.0} {queue:>12.0} {:>51.1} {:>13.1} {bytes:>18}", heap / ours, queue / ours);
    }
}
