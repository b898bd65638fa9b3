//! What the daemon tells about itself, and when: a state machine over attempts, drops, pauses and the disk. It never touches a delivery and never waits.
//!
//! * **Failing** is told with the first failed attempt of an endpoint that was well, and again with the first that fails an hour, and six hours, after that one, with no success between; at
//!   most once a minute for a webhook. **Recovered** is told with the first success after it was told that it fails.
//! * **Dropped** is told a few seconds after the first, so that those which come together are counted together, and then once a minute.
//! * **Paused** is told at once, **the disk** when its free room passes below a mark, and then again only after it was well above.
//! * **No loops**: nothing is ever told of the webhooks of the daemon's own project, which get all this.
//! * **Bounded**: a record for each webhook that fails, or of which something was told in the last minute; none for the others. At most [`limits::NOTICES_MAX`] are under way at once; what
//!   would be told beyond that waits in its record, and merges there: an endpoint that is well again before anybody was told that it failed is not told of.
//! * While nobody wants any of it nothing is kept.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::limits;
use crate::model::notice::Subject;
use crate::model::{DeliveryKey, News, Notice, Pause, WebhookNumber};
use crate::time::UnixMillis;

/// What is to be told, and what was.
#[derive(Default)]
pub struct Notices {
    is_wanted: bool,
    records: HashMap<WebhookNumber, Record>,
    /// Webhooks of which something may have to be told.
    ready: VecDeque<WebhookNumber>,
    /// When a record is to be looked at.
    timers: BTreeSet<(UnixMillis, WebhookNumber)>,
    disk_is_low: bool,
    /// So much is free, and nobody was told.
    disk_untold: Option<u64>,
    under_way: usize,
}

/// What is known of a webhook.
#[derive(Default)]
struct Record {
    outage: Option<Outage>,
    /// It was told that it fails, and it does no more.
    recovery: Option<Recovery>,
    drops: Option<Drops>,
    pause: Option<Pause>,
    /// No new outage is told before.
    failing_rests_until: UnixMillis,
    /// No drops are told before.
    drops_rest_until: UnixMillis,
    /// It stands among those that are ready.
    is_ready: bool,
}

struct Outage {
    since: UnixMillis,
    failed_attempts: u64,
    /// So many of [`limits::FAILING_TOLD_AFTER_MS`] were told, or passed before anybody could be.
    told: usize,
    /// It is to be told now.
    is_due: bool,
    last: Option<(DeliveryKey, String)>,
}

struct Recovery {
    since: UnixMillis,
    failed_attempts: u64,
    delivery: DeliveryKey,
}

struct Drops {
    count: u64,
    since: UnixMillis,
    first: DeliveryKey,
    last_outcome: String,
    /// When they are told.
    tell_at: UnixMillis,
}

impl Notices {
    /// Whether somebody wants to be told of anything. What was kept is forgotten with the last who does.
    pub fn set_wanted(&mut self, is_wanted: bool) {
        if self.is_wanted && !is_wanted {
            *self = Self { under_way: self.under_way, ..Self::default() };
        }
        self.is_wanted = is_wanted;
    }

    /// Whether somebody wants to be told of anything. While nobody does, nothing need be said here.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// A delivery that waited when the process began had failed so often, since about then: that was told by the process before.
    pub fn had_failed(&mut self, webhook: WebhookNumber, since: UnixMillis, failed_attempts: u64, now: UnixMillis) {
        let outage = self.records.entry(webhook).or_default().outage.get_or_insert_with(|| Outage::new(since));
        outage.since = outage.since.min(since);
        outage.failed_attempts += failed_attempts;
        outage.told = outage.marks_passed(now);
    }

    /// An attempt failed.
    pub fn failed(&mut self, webhook: WebhookNumber, delivery: DeliveryKey, sentence: &str, now: UnixMillis) {
        let record = self.records.entry(webhook).or_default();
        let was_told = record.recovery.take().is_some();
        let outage = record.outage.get_or_insert_with(|| Outage { told: usize::from(was_told), ..Outage::new(now) });
        outage.failed_attempts += 1;
        outage.last = Some((delivery, sentence.to_owned()));
        let may_begin = outage.told > 0 || now >= record.failing_rests_until;
        outage.is_due |= may_begin && outage.marks_passed(now) > outage.told;
        if outage.is_due {
            self.make_ready(webhook);
        }
    }

    /// An attempt succeeded.
    pub fn succeeded(&mut self, webhook: WebhookNumber, delivery: DeliveryKey, now: UnixMillis) {
        let Some(record) = self.records.get_mut(&webhook) else { return };
        let Some(Outage { since, failed_attempts, told, .. }) = record.outage.take() else { return };
        if told > 0 {
            record.recovery = Some(Recovery { since, failed_attempts, delivery });
            self.make_ready(webhook);
        }
        self.forget_if_over(webhook, now);
    }

    /// A delivery was given up.
    pub fn dropped(&mut self, webhook: WebhookNumber, delivery: DeliveryKey, sentence: &str, now: UnixMillis) {
        let record = self.records.entry(webhook).or_default();
        let tell_at = now.plus_ms(limits::DROPS_GATHERED_MS).max(record.drops_rest_until);
        let drops = record.drops.get_or_insert_with(|| {
            self.timers.insert((tell_at, webhook));
            Drops { count: 0, since: now, first: delivery, last_outcome: String::new(), tell_at }
        });
        drops.count += 1;
        sentence.clone_into(&mut drops.last_outcome);
    }

    /// A webhook was paused.
    pub fn paused(&mut self, webhook: WebhookNumber, pause: Pause) {
        self.records.entry(webhook).or_default().pause = Some(pause);
        self.make_ready(webhook);
    }

    /// A webhook is no more: nothing is told of it.
    pub fn removed(&mut self, webhook: WebhookNumber) {
        self.records.remove(&webhook);
    }

    /// So much is free on the disk.
    pub fn disk_measured(&mut self, free_bytes: u64) {
        if free_bytes >= limits::DISK_WELL_BYTES {
            (self.disk_is_low, self.disk_untold) = (false, None);
        } else if free_bytes < limits::DISK_LOW_BYTES && !std::mem::replace(&mut self.disk_is_low, true) {
            self.disk_untold = Some(free_bytes);
        }
    }

    /// So many notices are durable, or were given up.
    pub fn told(&mut self, count: usize) {
        self.under_way = self.under_way.saturating_sub(count);
    }

    /// When [`Notices::next`] is to be asked if nothing happens before.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<UnixMillis> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next notice, if there is one and it may be told now. `subject` knows the webhooks that may be told of.
    pub fn next(&mut self, now: UnixMillis, subject: impl Fn(WebhookNumber) -> Option<(Subject, Option<String>)>) -> Option<Notice> {
        self.pass_timers(now);
        if self.under_way >= limits::NOTICES_MAX {
            return None;
        }
        let news = self.disk_news().or_else(|| self.next_of_webhooks(now, subject))?;
        self.under_way += 1;
        Some(Notice { at: now, news })
    }

    fn disk_news(&mut self) -> Option<News> {
        self.disk_untold.take().map(|free_bytes| News::DiskLow { free_bytes, low_bytes: limits::DISK_LOW_BYTES })
    }

    fn next_of_webhooks(&mut self, now: UnixMillis, subject: impl Fn(WebhookNumber) -> Option<(Subject, Option<String>)>) -> Option<News> {
        while let Some(webhook) = self.ready.pop_front() {
            let Some(record) = self.records.get_mut(&webhook) else { continue };
            let Some((subject, trouble)) = subject(webhook) else {
                self.records.remove(&webhook);
                continue;
            };
            record.is_ready = false;
            let Some(news) = record.take(subject, trouble, now) else {
                self.forget_if_over(webhook, now);
                continue;
            };
            let rests_until = now.plus_ms(limits::NOTICE_REST_MS);
            match news {
                News::Failing { .. } => record.failing_rests_until = rests_until,
                News::Dropped { .. } => record.drops_rest_until = rests_until,
                _ => {}
            }
            self.timers.insert((rests_until, webhook));
            // There may be more to tell of it.
            self.make_ready(webhook);
            return Some(news);
        }
        None
    }

    fn pass_timers(&mut self, now: UnixMillis) {
        while let Some((at, webhook)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, webhook));
            self.make_ready(webhook);
        }
    }

    fn make_ready(&mut self, webhook: WebhookNumber) {
        let Some(record) = self.records.get_mut(&webhook) else { return };
        if !std::mem::replace(&mut record.is_ready, true) {
            self.ready.push_back(webhook);
        }
    }

    fn forget_if_over(&mut self, webhook: WebhookNumber, now: UnixMillis) {
        if self.records.get(&webhook).is_some_and(|record| record.is_over(now)) {
            self.records.remove(&webhook);
        }
    }
}

impl Record {
    /// Takes one thing out that is to be told now.
    fn take(&mut self, subject: Subject, trouble: Option<String>, now: UnixMillis) -> Option<News> {
        if let Some(pause) = self.pause.take() {
            return Some(News::Paused { subject, pause, last_outcome: trouble });
        }
        if let Some(Recovery { since, failed_attempts, delivery }) = self.recovery.take() {
            return Some(News::Recovered { subject, since, failed_attempts, delivery });
        }
        if let Some(outage) = self.outage.as_mut().filter(|outage| outage.is_due)
            && let Some((delivery, last_outcome)) = outage.last.clone()
        {
            (outage.is_due, outage.told) = (false, outage.marks_passed(now));
            let Outage { since, failed_attempts, .. } = *outage;
            return Some(News::Failing { subject, since, failed_attempts, delivery, last_outcome });
        }
        let Drops { count, since, first, last_outcome, .. } = self.drops.take_if(|drops| drops.tell_at <= now)?;
        Some(News::Dropped { subject, count, since, delivery: first, last_outcome })
    }

    /// Whether nothing of it will ever be needed.
    fn is_over(&self, now: UnixMillis) -> bool {
        let is_empty = self.outage.is_none() && self.recovery.is_none() && self.drops.is_none() && self.pause.is_none();
        is_empty && !self.is_ready && now >= self.failing_rests_until && now >= self.drops_rest_until
    }
}

impl Outage {
    fn new(since: UnixMillis) -> Self {
        Self { since, failed_attempts: 0, told: 0, is_due: false, last: None }
    }

    fn marks_passed(&self, now: UnixMillis) -> usize {
        limits::FAILING_TOLD_AFTER_MS.iter().filter(|after_ms| now.since_ms(self.since) >= **after_ms).count()
    }
}

#[cfg(test)]
mod tests;
