//! When a failed delivery is tried again. A schedule never looks at a clock or an outcome.

use serde::{Deserialize, Serialize};

/// `attempts` retries, each `interval_ms` after the end of the attempt before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryStep {
    /// How many attempts this step has, at least one.
    pub attempts: u32,
    /// Milliseconds from the end of one attempt to the next.
    pub interval_ms: u64,
}

/// The retries after a failed first attempt, step by step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetrySchedule {
    /// The steps, in order.
    pub steps: Vec<RetryStep>,
}

impl Default for RetrySchedule {
    /// The schedule of the original: 3 × 100 s, 6 × 600 s, 6 × 3600 s.
    fn default() -> Self {
        let step = |attempts, seconds: u64| RetryStep { attempts, interval_ms: seconds * 1000 };
        Self { steps: vec![step(3, 100), step(6, 600), step(6, 3600)] }
    }
}

impl RetrySchedule {
    /// Every attempt of a round, the first included.
    #[must_use]
    pub fn attempts_total(&self) -> u32 {
        1 + self.steps.iter().map(|step| step.attempts).sum::<u32>()
    }

    /// Milliseconds from the end of attempt number `attempt` (1 is the first) to the next; `None` when it was the last.
    #[must_use]
    pub fn interval_after_ms(&self, attempt: u32) -> Option<u64> {
        let mut last_of_step = 0;
        for step in &self.steps {
            last_of_step += step.attempts;
            if attempt <= last_of_step {
                return Some(step.interval_ms);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_original_schedule_has_fifteen_retries_over_seven_hours() {
        let schedule = RetrySchedule::default();
        assert_eq!(schedule.attempts_total(), 16);
        let seconds = (1..=16).map(|attempt| schedule.interval_after_ms(attempt).map(|ms| ms / 1000)).collect::<Vec<_>>();
        let expected = [[Some(100); 3].as_slice(), &[Some(600); 6], &[Some(3600); 6], &[None]].concat();
        assert_eq!(seconds, expected);
        assert_eq!(seconds.iter().flatten().sum::<u64>(), 25_500);
    }

    #[test]
    fn a_schedule_without_steps_has_one_attempt() {
        let schedule = RetrySchedule { steps: Vec::new() };
        assert_eq!((schedule.attempts_total(), schedule.interval_after_ms(1)), (1, None));
    }
}
