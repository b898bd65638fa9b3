//! One lane per webhook: what is due for it, and how much of that may be sent now. Lanes never know each other, so a dead endpoint holds up nobody else.
//!
//! * **Window**: at most `max_in_flight` attempts at once. It halves (down to one) when the endpoint can't be reached and grows by one with each success,
//!   so that dead endpoints do not eat the total.
//! * **Knocking**: endpoints that can't be reached even with one attempt at once share one small budget of attempts, and each gets one a second at least. A refusal comes back at once, and a
//!   million deliveries that wait for it would otherwise keep a processor busy. The first answer, whatever it is, takes an endpoint out of that.
//! * **Rate**: a token bucket that starts empty, fills evenly and holds a tenth of the rate's count (at least one).
//! * **Order**: an ordered lane has one attempt in flight and takes the first accepted first; a head that failed waits on the wheel and everything behind it waits in the queue.
//! * **Turns**: lanes with something to send stand in a ring and each takes one turn after the other.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::list::List;
use super::pending::{NodeNumber, Pending, Place};
use super::recent::Recent;
use super::tally::Tally;
use crate::limits;
use crate::model::report::RecentAttempts;
use crate::model::{OutcomeClass, Rate, Webhook, WebhookNumber};
use crate::time::UnixMillis;

/// What is due for one webhook, and its limits.
#[derive(Default)]
pub struct Lane {
    /// The webhook; `None` while its definition is missing: nothing can be sent then.
    pub webhook: Option<Arc<Webhook>>,
    /// Paused, for whatever reason that is written down.
    pub paused: bool,
    /// The endpoint said that it is gone. Stays until somebody resumes the lane, whatever else changes before that is written down as a pause.
    pub gone: bool,
    /// Takes no new deliveries.
    pub closed: bool,
    /// Pending deliveries: waiting, due or in flight.
    pub pending: u32,
    /// Deliveries proposed to the store and not settled yet.
    pub reserved: u32,
    /// Attempts under way.
    pub in_flight: u32,
    /// What was counted since the start.
    pub tally: Tally,
    /// How its attempts went lately; nothing while there were none.
    recent: Option<Box<Recent>>,
    window: u32,
    /// Until then the endpoint is left alone.
    rests_until: UnixMillis,
    queue: List,
    bucket: Bucket,
    in_ring: bool,
    throttled_until: Option<UnixMillis>,
    /// An ordered lane's head waits on the wheel.
    head_waits: bool,
    /// It became ordered, or got something older, while attempts were under way: it sends nothing until they are back.
    comes_to_order: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    rate: Option<Rate>,
    /// In units of 1/`per_ms` of a token.
    level: u64,
    filled: UnixMillis,
}

/// Whether a lane may send something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Now,
    NotBefore(UnixMillis),
    No,
}

impl Lane {
    fn ordered(&self) -> bool {
        self.webhook.as_ref().is_some_and(|webhook| webhook.spec.ordered)
    }

    /// Attempts that may be under way at once, as things stand.
    #[must_use]
    pub fn window(&self) -> u32 {
        self.webhook.as_ref().map_or(0, |webhook| if webhook.spec.ordered { 1 } else { self.window.clamp(1, webhook.spec.max_in_flight) })
    }

    /// The due time of what waits first in the queue.
    #[must_use]
    pub fn oldest_due(&self, pending: &Pending) -> Option<UnixMillis> {
        self.queue.iter(pending).next().map(|node| pending.due(node))
    }

    /// How its attempts went lately.
    #[must_use]
    pub fn recent(&self, now: UnixMillis) -> RecentAttempts {
        self.recent.as_ref().map_or_else(RecentAttempts::default, |recent| recent.told(now))
    }

    /// When the next of what stands in its queue may be sent; none when nothing does, or when an ordered lane waits for its head.
    #[must_use]
    pub fn next_turn(&self, now: UnixMillis) -> Option<UnixMillis> {
        let waits = self.queue.is_empty() || self.head_waits;
        (!waits).then(|| now.max(self.rests_until).max(self.throttled_until.unwrap_or_default()))
    }

    /// Until when the endpoint is left alone, because it could not be reached.
    #[must_use]
    pub fn rests_until(&self) -> UnixMillis {
        self.rests_until
    }

    fn leave(&mut self, now: UnixMillis) -> Leave {
        match self.may_send() {
            false => Leave::No,
            true if now < self.rests_until => Leave::NotBefore(self.rests_until),
            true => self.bucket.leave(now),
        }
    }

    fn may_send(&self) -> bool {
        let is_open = !self.paused && !self.gone && !self.closed && self.webhook.is_some();
        is_open && !self.queue.is_empty() && !self.head_waits && !self.comes_to_order && self.in_flight < self.window()
    }

    /// True when the endpoint is to be left alone for a while.
    fn note_outcome(&mut self, class: OutcomeClass) -> bool {
        let Some(webhook) = &self.webhook else { return false };
        if class == OutcomeClass::Success {
            self.window = (self.window + 1).min(webhook.spec.max_in_flight);
        }
        if !class.is_unreachable() {
            return false;
        }
        let was_alone = self.window == 1;
        self.window = (self.window / 2).max(1);
        was_alone
    }

    /// Whatever is known of the endpoint counts no longer.
    fn forget_rest(&mut self) {
        self.rests_until = UnixMillis(0);
    }
}

/// When the next attempt at an endpoint that can't be reached may begin, whichever it is.
#[derive(Default)]
struct Knocks {
    taken_until: UnixMillis,
}

impl Knocks {
    /// The next free moment, which is taken now; nobody waits longer than [`limits::KNOCK_REST_MAX_MS`] for one.
    fn next(&mut self, now: UnixMillis) -> UnixMillis {
        let latest = now.plus_ms(limits::KNOCK_REST_MAX_MS);
        self.taken_until = self.taken_until.max(now).plus_ms(limits::KNOCK_REST_MS).min(latest);
        self.taken_until
    }
}

impl Bucket {
    fn set_rate(&mut self, rate: Option<Rate>, now: UnixMillis) {
        if self.rate != rate {
            *self = Self { rate, level: 0, filled: now };
        }
    }

    fn leave(&mut self, now: UnixMillis) -> Leave {
        let Some(rate) = self.rate else { return Leave::Now };
        let capacity = u64::from(rate.count / 10).max(1) * rate.per_ms;
        let gained = now.since_ms(self.filled).saturating_mul(u64::from(rate.count));
        self.level = self.level.saturating_add(gained).min(capacity);
        self.filled = now.max(self.filled);
        let missing = rate.per_ms.saturating_sub(self.level);
        if missing == 0 { Leave::Now } else { Leave::NotBefore(now.plus_ms(missing.div_ceil(u64::from(rate.count)))) }
    }

    fn take(&mut self) {
        if let Some(rate) = self.rate {
            self.level = self.level.saturating_sub(rate.per_ms);
        }
    }
}

/// Every lane, and whose turn it is.
#[derive(Default)]
pub struct Lanes {
    lanes: Vec<Option<Box<Lane>>>,
    ring: VecDeque<WebhookNumber>,
    throttled: BTreeSet<(UnixMillis, WebhookNumber)>,
    knocks: Knocks,
    /// The lane that is looked at next for counts that are too old.
    looked_after: usize,
}

/// What to do with an entry that its lane gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Send it.
    Send(NodeNumber),
    /// It became the head of an ordered lane before its time: it goes on the wheel.
    Wait(NodeNumber),
}

impl Lanes {
    /// The lane of that webhook, where there is one.
    #[must_use]
    pub fn get(&self, number: WebhookNumber) -> Option<&Lane> {
        self.lanes.get(number.0 as usize)?.as_deref()
    }

    /// The lane of that webhook, made when there is none.
    pub fn lane_mut(&mut self, number: WebhookNumber) -> &mut Lane {
        let index = number.0 as usize;
        if index >= self.lanes.len() {
            self.lanes.resize_with(index + 1, || None);
        }
        self.lanes[index].get_or_insert_default()
    }

    /// The lane of that webhook, where there is one.
    pub fn existing_mut(&mut self, number: WebhookNumber) -> Option<&mut Lane> {
        self.lanes.get_mut(number.0 as usize)?.as_deref_mut()
    }

    /// Every lane from that number on, with its number.
    pub fn iter_from(&self, first: WebhookNumber) -> impl Iterator<Item = (WebhookNumber, &Lane)> {
        let number = |index| WebhookNumber(u32::try_from(index).expect("lanes are numbered by u32"));
        let lanes = self.lanes.iter().enumerate().skip(first.0 as usize);
        lanes.filter_map(move |(index, lane)| lane.as_deref().map(|lane| (number(index), lane)))
    }

    /// Closes and pauses every lane; those that the new configuration names are opened again by [`Lanes::configure`].
    pub fn close_all(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.closed = true;
            lane.paused = true;
        }
    }

    /// Gives a lane its webhook. True when what is pending for it must be queued anew because `ordered` changed.
    #[must_use]
    pub fn configure(&mut self, webhook: Arc<Webhook>, paused: bool, now: UnixMillis) -> bool {
        let number = webhook.number;
        let lane = self.lane_mut(number);
        let was_ordered = lane.webhook.is_some().then(|| lane.ordered());
        let old_limit = lane.webhook.as_ref().map(|webhook| webhook.spec.max_in_flight);
        if old_limit != Some(webhook.spec.max_in_flight) {
            lane.window = webhook.spec.max_in_flight;
        }
        if lane.webhook.as_ref().is_some_and(|old| old.spec.url != webhook.spec.url) {
            lane.forget_rest();
        }
        lane.bucket.set_rate(webhook.spec.rate, now);
        lane.paused = paused;
        lane.closed = false;
        lane.webhook = Some(webhook);
        // What came before its webhook, as after a restart in which that was gone from the configuration, lies as in a lane that is not ordered.
        let order_changed = lane.pending > 0 && was_ordered.unwrap_or(false) != lane.ordered();
        if order_changed {
            lane.comes_to_order = lane.ordered() && lane.in_flight > 0;
        }
        self.unthrottle(number);
        order_changed
    }

    /// Whether an entry that is due at `due` belongs on the wheel; in an ordered lane it does not, its head aside.
    #[must_use]
    pub fn wants_wheel(&self, number: WebhookNumber, due: UnixMillis, now: UnixMillis) -> bool {
        due > now && !self.is_ordered(number)
    }

    /// Takes a loose entry into its lane's queue, behind all others. True when the lane had room for it at that moment.
    pub fn push(&mut self, pending: &mut Pending, node: NodeNumber, now: UnixMillis) -> bool {
        self.enqueue(pending, node, now, List::push_back)
    }

    /// Takes an entry that came due on the wheel: behind all others, but before all others in an ordered lane, whose head it is.
    pub fn came_due(&mut self, pending: &mut Pending, node: NodeNumber, now: UnixMillis) -> bool {
        let lane = self.lane_mut(pending.webhook(node));
        if !lane.ordered() {
            return self.push(pending, node, now);
        }
        lane.head_waits = false;
        self.enqueue(pending, node, now, List::push_front)
    }

    fn enqueue(
        &mut self,
        pending: &mut Pending,
        node: NodeNumber,
        now: UnixMillis,
        place: fn(&mut List, &mut Pending, NodeNumber),
    ) -> bool {
        let number = pending.webhook(node);
        let lane = self.lane_mut(number);
        let was_empty = lane.queue.is_empty();
        pending.set_place(node, Place::Lane);
        place(&mut lane.queue, pending, node);
        let prompt = was_empty && lane.leave(now) == Leave::Now;
        self.enroll(number);
        prompt
    }

    /// Notes that an ordered lane's head waits on the wheel, so that nothing overtakes it.
    pub fn head_waits(&mut self, number: WebhookNumber) {
        let lane = self.lane_mut(number);
        lane.head_waits = lane.ordered();
    }

    /// Whether what waits for an ordered lane must be queued anew now, because something older came to it; while an attempt is under way that is put off until it is back.
    #[must_use]
    pub fn comes_to_order(&mut self, number: WebhookNumber) -> bool {
        let lane = self.lane_mut(number);
        lane.comes_to_order |= lane.ordered() && lane.in_flight > 0;
        lane.ordered() && lane.in_flight == 0
    }

    /// Whether the last attempt from before a lane became ordered is back, so that everything that waits for it must be queued anew.
    #[must_use]
    pub fn came_to_order(&mut self, number: WebhookNumber) -> bool {
        let lane = self.lane_mut(number);
        lane.in_flight == 0 && std::mem::take(&mut lane.comes_to_order)
    }

    /// Whether the lane takes the first accepted first.
    #[must_use]
    pub fn is_ordered(&self, number: WebhookNumber) -> bool {
        self.get(number).is_some_and(Lane::ordered)
    }

    /// Forgets the lane's queue, whose entries were all given out anew.
    pub fn reset_queue(&mut self, pending: &mut Pending, number: WebhookNumber) {
        let lane = self.lane_mut(number);
        lane.head_waits = false;
        while lane.queue.pop_front(pending).is_some() {
            debug_assert!(false, "only dead entries are left");
        }
    }

    /// The next entry whose turn it is, already counted as in flight when it is to be sent.
    pub fn next(&mut self, pending: &mut Pending, now: UnixMillis) -> Option<Turn> {
        while let Some(number) = self.ring.pop_front() {
            let lane = self.lane_mut(number);
            lane.in_ring = false;
            match lane.leave(now) {
                Leave::No => {}
                Leave::NotBefore(moment) => self.throttle(number, moment),
                Leave::Now => {
                    let Some(node) = lane.queue.pop_front(pending) else { continue };
                    if pending.due(node) > now && !pending.is_hastened(node) {
                        lane.head_waits = true;
                        return Some(Turn::Wait(node));
                    }
                    lane.bucket.take();
                    lane.in_flight += 1;
                    pending.set_place(node, Place::InFlight);
                    self.enroll(number);
                    return Some(Turn::Send(node));
                }
            }
        }
        None
    }

    /// Notes that an attempt ended, which took so many microseconds.
    pub fn attempt_ended(&mut self, number: WebhookNumber, class: OutcomeClass, took_us: u32, now: UnixMillis) {
        let lane = self.lane_mut(number);
        lane.in_flight = lane.in_flight.saturating_sub(1);
        lane.recent.get_or_insert_default().note(now, took_us, class != OutcomeClass::Success);
        if lane.note_outcome(class) {
            self.lane_mut(number).rests_until = self.knocks.next(now);
        }
        self.enroll(number);
        self.look_after_next(now);
    }

    /// Each attempt looks after one lane, turn by turn, so that counts which nobody asks for any more do not stay.
    fn look_after_next(&mut self, now: UnixMillis) {
        self.looked_after = (self.looked_after + 1) % self.lanes.len().max(1);
        let Some(lane) = self.lanes.get_mut(self.looked_after).and_then(Option::as_deref_mut) else { return };
        if lane.recent.as_ref().is_some_and(|recent| recent.is_over(now)) {
            lane.recent = None;
        }
    }

    /// Whether a lane is paused by what is written down; deliveries go on queueing.
    pub fn set_paused(&mut self, number: WebhookNumber, paused: bool) {
        self.lane_mut(number).paused = paused;
        self.enroll(number);
    }

    /// The endpoint said that it is gone. True when it had not said so before.
    #[must_use]
    pub fn set_gone(&mut self, number: WebhookNumber) -> bool {
        !std::mem::replace(&mut self.lane_mut(number).gone, true)
    }

    /// Forgets that the endpoint said that it is gone.
    pub fn resume(&mut self, number: WebhookNumber) {
        let lane = self.lane_mut(number);
        lane.gone = false;
        lane.forget_rest();
        self.unthrottle(number);
    }

    /// An entry was ended where it waited. What is dead at the front of the queue is freed, for nobody walks a queue that is paused; and when it was an ordered lane's head, the next one's turn has come.
    pub fn one_left(&mut self, pending: &mut Pending, number: WebhookNumber, place: Place) {
        let lane = self.lane_mut(number);
        lane.head_waits &= place != Place::Wheel;
        lane.queue.front(pending);
        self.enroll(number);
    }

    /// The entry that waits longest in a lane's queue, loose: for whoever empties it.
    pub fn take_queued(&mut self, pending: &mut Pending, number: WebhookNumber) -> Option<NodeNumber> {
        self.lane_mut(number).queue.pop_front(pending)
    }

    /// Lets the lanes whose bucket has filled take turns again.
    pub fn wake_throttled(&mut self, now: UnixMillis) {
        while let Some((moment, number)) = self.throttled.first().copied().filter(|(moment, _)| *moment <= now) {
            self.throttled.remove(&(moment, number));
            self.lane_mut(number).throttled_until = None;
            self.enroll(number);
        }
    }

    /// When the next lane's bucket has filled.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<UnixMillis> {
        self.throttled.first().map(|(moment, _)| *moment)
    }

    fn enroll(&mut self, number: WebhookNumber) {
        let lane = self.lane_mut(number);
        if lane.may_send() && !lane.in_ring && lane.throttled_until.is_none() {
            lane.in_ring = true;
            self.ring.push_back(number);
        }
    }

    /// Asks the lane anew whether it may send.
    fn unthrottle(&mut self, number: WebhookNumber) {
        if let Some(moment) = self.lane_mut(number).throttled_until.take() {
            self.throttled.remove(&(moment, number));
        }
        self.enroll(number);
    }

    fn throttle(&mut self, number: WebhookNumber, moment: UnixMillis) {
        self.lane_mut(number).throttled_until = Some(moment);
        self.throttled.insert((moment, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_starts_empty_and_spaces_evenly() {
        let start = UnixMillis(1_000_000);
        let mut bucket = Bucket::default();
        bucket.set_rate(Some(Rate { count: 50, per_ms: 1000 }), start);
        assert_eq!(bucket.leave(start), Leave::NotBefore(start.plus_ms(20)));
        let mut sent = 0;
        for millisecond in 1..=10_000 {
            while bucket.leave(start.plus_ms(millisecond)) == Leave::Now {
                bucket.take();
                sent += 1;
            }
        }
        assert_eq!(sent, 500);
        // After a quiet hour no more than the bucket holds goes at once.
        let later = start.plus_ms(3_600_000);
        let mut burst = 0;
        while bucket.leave(later) == Leave::Now {
            bucket.take();
            burst += 1;
        }
        assert_eq!(burst, 5);
    }

    #[test]
    fn a_slow_rate_is_kept_to_the_millisecond() {
        let start = UnixMillis(0);
        let mut bucket = Bucket::default();
        bucket.set_rate(Some(Rate { count: 7, per_ms: 60_000 }), start);
        let Leave::NotBefore(first) = bucket.leave(start) else { panic!() };
        assert_eq!(first, UnixMillis(8572));
        assert_eq!(bucket.leave(UnixMillis(8571)), Leave::NotBefore(first));
        assert_eq!(bucket.leave(first), Leave::Now);
    }
}
