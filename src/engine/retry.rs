//! What follows an attempt: (outcome, attempt, schedule, now) → another attempt at …, delivered, or dropped. It keeps nothing.

use crate::limits::RETRY_AFTER_EXTRA_MAX_MS;
use crate::model::{Next, Outcome, OutcomeClass, RetrySchedule};
use crate::time::UnixMillis;

/// Decides what follows attempt number `attempt` (1 is the first of the round), which ended `now`.
///
/// `Retry-After` (RFC 9110, section 10.2.3) is heeded where the outcome carries one, which is on 429 and 503: it can put the next attempt later than
/// the schedule, by at most an hour, and never earlier. It buys no further attempt.
#[must_use]
pub fn decide(schedule: &RetrySchedule, attempt: u32, outcome: &Outcome, now: UnixMillis) -> Next {
    if outcome.class == OutcomeClass::Success {
        return Next::Delivered;
    }
    let Some(interval_ms) = schedule.interval_after_ms(attempt) else {
        return Next::Dropped;
    };
    let asked_ms = outcome.retry_after_ms.unwrap_or(0);
    Next::RetryAt(now.plus_ms(asked_ms.clamp(interval_ms, interval_ms + RETRY_AFTER_EXTRA_MAX_MS)))
}

/// About when the first attempt of a round failed, of which `attempts` failed and the next is due at `due`: as the schedule has it, which `Retry-After` may have stretched.
#[must_use]
pub fn failing_since(schedule: &RetrySchedule, attempts: u32, due: UnixMillis) -> UnixMillis {
    let waited_ms = (1..=attempts).filter_map(|attempt| schedule.interval_after_ms(attempt)).sum::<u64>();
    UnixMillis(due.0.saturating_sub(waited_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(retry_after_ms: Option<u64>) -> Outcome {
        Outcome { status: Some(503), retry_after_ms, ..Outcome::new(OutcomeClass::Status, "the receiver answered 503") }
    }

    #[test]
    fn the_whole_schedule_to_the_millisecond() {
        let schedule = RetrySchedule::default();
        let mut now = UnixMillis(1_795_428_000_123);
        let mut intervals_s = Vec::new();
        for attempt in 1..=15 {
            let Next::RetryAt(at) = decide(&schedule, attempt, &failed(None), now) else { panic!("attempt {attempt} has a successor") };
            intervals_s.push(at.since_ms(now) / 1000);
            assert_eq!(at.since_ms(now) % 1000, 0);
            now = at;
        }
        assert_eq!(intervals_s, [100, 100, 100, 600, 600, 600, 600, 600, 600, 3600, 3600, 3600, 3600, 3600, 3600]);
        assert_eq!(decide(&schedule, 16, &failed(None), now), Next::Dropped);
        assert_eq!(decide(&schedule, 16, &Outcome::new(OutcomeClass::Success, "200"), now), Next::Delivered);
    }

    #[test]
    fn retry_after_puts_off_by_an_hour_at_most_and_never_hastens() {
        let (schedule, now) = (RetrySchedule::default(), UnixMillis(1_000_000));
        let wait_ms = |attempt, asked_ms| match decide(&schedule, attempt, &failed(Some(asked_ms)), now) {
            Next::RetryAt(at) => at.since_ms(now),
            other => panic!("{other:?}"),
        };
        assert_eq!(wait_ms(1, 0), 100_000);
        assert_eq!(wait_ms(1, 99_999), 100_000);
        assert_eq!(wait_ms(1, 250_000), 250_000);
        assert_eq!(wait_ms(1, u64::MAX), 3_700_000);
        assert_eq!(wait_ms(10, 100_000), 3_600_000);
        assert_eq!(decide(&schedule, 16, &failed(Some(1000)), now), Next::Dropped);
    }

    #[test]
    fn the_beginning_of_a_round_follows_from_what_failed_and_what_is_due() {
        let (schedule, began) = (RetrySchedule::default(), UnixMillis(1_795_428_000_000));
        let mut now = began;
        for attempt in 1..=15 {
            let Next::RetryAt(at) = decide(&schedule, attempt, &failed(None), now) else { panic!("attempt {attempt} has a successor") };
            assert_eq!(failing_since(&schedule, attempt, at), began);
            now = at;
        }
    }
}
