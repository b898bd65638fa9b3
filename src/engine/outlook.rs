//! What comes next for each webhook, for whoever looks at the whole. It only looks, and never at more entries than it may.

use std::collections::HashMap;

use super::Engine;
use super::lanes::Lane;
use crate::limits;
use crate::model::WebhookNumber;
use crate::time::UnixMillis;

/// What is due soonest, as far as it was looked at.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    dues: HashMap<WebhookNumber, UnixMillis>,
    /// From here on something may have been passed over, because very much waits.
    seen_until: Option<UnixMillis>,
    is_sending_paused: bool,
}

/// When a webhook's next attempt starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NextAttempt {
    /// At this moment, if its lane has room then.
    pub at: UnixMillis,
    /// It may be earlier, though not before everything that was looked at: so much waits that not all of it was.
    pub is_about: bool,
}

impl Engine {
    /// What is due soonest of each webhook; at most [`limits::OUTLOOK_ENTRIES_MAX`] entries are looked at.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        let mut dues = HashMap::new();
        let seen_until = self.wheel.soonest(&self.pending, limits::OUTLOOK_ENTRIES_MAX, |node| {
            let due = self.pending.due(node);
            let soonest = dues.entry(self.pending.webhook(node)).or_insert(due);
            *soonest = due.min(*soonest);
        });
        Outlook { dues, seen_until, is_sending_paused: self.sending_paused }
    }

    /// For how many milliseconds the delivery that is due longest has been due; what is paused aside. At most [`limits::RANKED_LANES_MAX`] lanes are looked at, from `first` on: with the age comes
    /// the lane behind them, where there is one to go on with. `so_far_ms` is the age in the lanes before; it counts no longer when all sending was paused meanwhile.
    #[must_use]
    pub fn oldest_due_age_ms(&self, so_far_ms: u64, first: WebhookNumber, now: UnixMillis) -> (u64, Option<WebhookNumber>) {
        if self.sending_paused || self.pending.is_empty() {
            return (0, None);
        }
        let mut lanes = self.lanes.iter_from(first);
        let open = lanes.by_ref().take(limits::RANKED_LANES_MAX).filter(|(_, lane)| !lane.paused && !lane.gone);
        let oldest = open.filter_map(|(_, lane)| lane.oldest_due(&self.pending)).min();
        (oldest.map_or(0, |due| now.since_ms(due)).max(so_far_ms), lanes.next().map(|(number, _)| number))
    }
}

impl Outlook {
    /// When the next attempt of a lane starts. None when nothing waits, when it is paused, or when so much is due before that it was not come across.
    #[must_use]
    pub fn next_attempt(&self, number: WebhookNumber, lane: &Lane, now: UnixMillis) -> Option<NextAttempt> {
        if self.is_sending_paused || lane.paused || lane.gone || lane.closed {
            return None;
        }
        if let Some(at) = lane.next_turn(now) {
            return Some(NextAttempt { at, is_about: false });
        }
        let at = *self.dues.get(&number)?;
        Some(NextAttempt { at: at.max(now), is_about: self.seen_until.is_some_and(|until| at >= until) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::wheel::Wheel;
    use crate::engine::{Input, pending};
    use crate::model::{DeliveryKey, Locator, Sequence};

    const START: UnixMillis = UnixMillis(1_795_428_000_000);

    /// An engine in which so many deliveries wait for each of three webhooks, a minute apart.
    fn engine(each: u64) -> Engine {
        let mut engine = Engine::new(START);
        let entry = |number: u64| pending::Entry {
            key: DeliveryKey { sequence: Sequence(number), webhook: WebhookNumber(u32::try_from(number % 3).unwrap()) },
            body: Locator::default(),
            due: START.plus_ms(60_000 * (number + 1)),
            attempts: 1,
            round: 1,
        };
        engine.handle(START, Input::Loaded((0..3 * each).map(entry).collect()), &mut Vec::new());
        engine
    }

    #[test]
    fn the_next_attempt_is_the_soonest_of_its_lane_and_none_while_it_is_paused() {
        let mut engine = engine(4);
        let next = |engine: &Engine, number| {
            let lane = engine.lanes().get(WebhookNumber(number)).unwrap();
            engine.outlook().next_attempt(WebhookNumber(number), lane, START)
        };
        for number in 0..3 {
            let at = START.plus_ms(60_000 * (u64::from(number) + 1));
            assert_eq!(next(&engine, number), Some(NextAttempt { at, is_about: false }));
        }
        engine.handle(START, Input::Paused { webhook: WebhookNumber(1), paused: true }, &mut Vec::new());
        assert_eq!(next(&engine, 1), None);
        engine.handle(START, Input::SendingPaused(true), &mut Vec::new());
        assert_eq!(next(&engine, 0), None);
    }

    #[test]
    fn where_very_much_waits_no_more_is_looked_at_than_may_be() {
        let engine = engine(limits::OUTLOOK_ENTRIES_MAX as u64);
        let mut shown = 0;
        let until = Wheel::soonest(&engine.wheel, &engine.pending, limits::OUTLOOK_ENTRIES_MAX, |_| shown += 1);
        assert_eq!(shown, limits::OUTLOOK_ENTRIES_MAX);
        assert!(until.is_some());
        let outlook = engine.outlook();
        assert_eq!(outlook.dues.len(), 3);
    }

    #[test]
    fn what_is_due_longest_is_looked_for_in_so_many_lanes_and_no_more_at_once() {
        let slice = u32::try_from(limits::RANKED_LANES_MAX).unwrap();
        let mut engine = Engine::new(START);
        // The higher its number, the longer a lane has waited.
        let entry = |number: u32| pending::Entry {
            key: DeliveryKey { sequence: Sequence(u64::from(number)), webhook: WebhookNumber(number) },
            body: Locator::default(),
            due: UnixMillis(START.0 - u64::from(number)),
            attempts: 0,
            round: 1,
        };
        engine.handle(START, Input::Loaded((1..=2 * slice + 1).map(entry).collect()), &mut Vec::new());
        let ages = |engine: &Engine| {
            let (mut ages, mut next) = (Vec::new(), Some(WebhookNumber(0)));
            while let Some(first) = next {
                let (age_ms, behind) = engine.oldest_due_age_ms(0, first, START);
                ages.push(age_ms);
                next = behind;
            }
            ages
        };
        assert_eq!(ages(&engine), [slice, 2 * slice, 2 * slice + 1].map(u64::from));
        engine.handle(START, Input::Paused { webhook: WebhookNumber(2 * slice), paused: true }, &mut Vec::new());
        assert_eq!(ages(&engine)[1], u64::from(2 * slice - 1), "what is paused aside");
        let (so_far_ms, behind) = engine.oldest_due_age_ms(0, WebhookNumber(0), START);
        let second = behind.unwrap();
        assert_eq!(engine.oldest_due_age_ms(9 * u64::from(slice), second, START).0, 9 * u64::from(slice), "the lanes before count");
        engine.handle(START, Input::SendingPaused(true), &mut Vec::new());
        assert_eq!(ages(&engine), [0]);
        assert_eq!(engine.oldest_due_age_ms(so_far_ms, second, START), (0, None), "paused between two slices");
    }
}
