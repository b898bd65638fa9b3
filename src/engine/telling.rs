//! What happens to deliveries and webhooks, passed on to [`Notices`](super::notices::Notices), and what comes of it. It never decides when something is told.

use super::lanes::Lane;
use super::pending::Entry;
use super::{Effect, Engine, retry};
use crate::model::notice::Subject;
use crate::model::{Catalog, DeliveryKey, EventTypeName, Next, OutcomeClass, Pause, Project, WebhookNumber};
use crate::time::UnixMillis;

impl Engine {
    /// Whether somebody wants to be told what the daemon tells about itself.
    #[must_use]
    pub fn tells(&self) -> bool {
        self.notices.is_wanted()
    }

    /// After a change of the configuration.
    pub(super) fn look_who_listens(&mut self, catalog: &Catalog) {
        let is_wanted = catalog.types_of(&Project::of_daemon()).iter().any(|event_type| self.is_wanted(&event_type.name));
        self.notices.set_wanted(is_wanted);
    }

    /// A delivery that waited when the process began.
    pub(super) fn had_failed(&mut self, entry: Entry, now: UnixMillis) {
        let attempts = u32::from(entry.attempts);
        if attempts == 0 || !self.is_told_of(entry.key.webhook) {
            return;
        }
        if let Some(webhook) = self.lanes.get(entry.key.webhook).and_then(|lane| lane.webhook.as_ref()) {
            let since = retry::failing_since(&webhook.spec.schedule, attempts, entry.due);
            self.notices.had_failed(entry.key.webhook, since, attempts.into(), now);
        }
    }

    /// An attempt ended. An endpoint that is gone does not fail: its webhook is paused, and that is told.
    pub(super) fn note_attempt(&mut self, key: DeliveryKey, class: OutcomeClass, sentence: &str, next: Next, now: UnixMillis) {
        if !self.is_told_of(key.webhook) {
            return;
        }
        match class {
            OutcomeClass::Success => self.notices.succeeded(key.webhook, key, now),
            OutcomeClass::Gone => {}
            _ => self.notices.failed(key.webhook, key, sentence, now),
        }
        if next == Next::Dropped {
            self.notices.dropped(key.webhook, key, sentence, now);
        }
    }

    /// There was no room for a delivery.
    pub(super) fn was_dropped(&mut self, key: DeliveryKey, sentence: &str, now: UnixMillis) {
        if self.is_told_of(key.webhook) {
            self.notices.dropped(key.webhook, key, sentence, now);
        }
    }

    /// Webhooks have one more pause.
    pub(super) fn pauses_began(&mut self, pauses: Vec<(WebhookNumber, Pause)>) {
        for (webhook, pause) in pauses {
            if self.is_told_of(webhook) {
                self.notices.paused(webhook, pause);
            }
        }
    }

    /// So much is free on the disk.
    pub(super) fn disk_measured(&mut self, free_bytes: u64) {
        if self.notices.is_wanted() {
            self.notices.disk_measured(free_bytes);
        }
    }

    /// Orders what is to be told now.
    pub(super) fn tell(&mut self, now: UnixMillis, effects: &mut Vec<Effect>) {
        while self.notices.is_wanted() && !self.draining {
            let Self { notices, lanes, .. } = self;
            let Some(notice) = notices.next(now, |number| lanes.get(number).and_then(subject)) else { return };
            if self.is_wanted(&notice.news.event_type()) {
                effects.push(Effect::Tell(notice));
            } else {
                self.notices.told(1);
            }
        }
    }

    fn is_wanted(&self, event_type: &EventTypeName) -> bool {
        !self.matching.wanting(&Project::of_daemon(), event_type).is_empty()
    }

    /// Whether anything is told of a webhook. Not of those of the daemon's own project, or what is told would have to be told of.
    fn is_told_of(&self, webhook: WebhookNumber) -> bool {
        self.notices.is_wanted() && self.lanes.get(webhook).is_some_and(may_be_told_of)
    }
}

fn may_be_told_of(lane: &Lane) -> bool {
    lane.webhook.as_ref().is_some_and(|webhook| !webhook.spec.project.is_of_daemon())
}

/// The webhook of a lane and its trouble, if it may be told of.
fn subject(lane: &Lane) -> Option<(Subject, Option<String>)> {
    let webhook = lane.webhook.as_ref().filter(|_| may_be_told_of(lane))?;
    let subject = Subject {
        number: webhook.number,
        webhook: webhook.spec.id.clone(),
        title: webhook.spec.title.clone(),
        project: webhook.spec.project.clone(),
        pending: lane.pending,
    };
    Some((subject, lane.tally.trouble.clone()))
}
