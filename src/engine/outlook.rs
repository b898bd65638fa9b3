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
