//! Following deliveries: what ends, and which attempts fail, told as it becomes durable. It keeps nothing for those who follow, and never changes anything.

use std::collections::HashSet;
use std::time::Duration;

use super::super::house::House;
use super::{Lists, OVERFLOWED, internal, numbers_of, webhook_name};
use crate::limits;
use crate::model::report::{DeliveryNews, DeliveryNewsPage, WatchFilter};
use crate::model::{DeliveryId, DeliveryKey, DeliveryState, Locator, Next, Sequence, WebhookNumber};
use crate::server::hallway::Refusal;
use crate::store::fact::{Accepted, CancelledDelivery, CarriedDelivery, Fact};
use crate::store::history::{FollowPlace, KnownEvent};
use crate::store::journal::segment::ScannedFrame;
use crate::time::Stopwatch;

/// Whoever waits looks this often whether the daemon is ending.
const LOOK_EVERY_MS: u64 = 250;
/// What comes within this time is told together, so that a busy journal is not read for each of its facts.
const GATHER_MS: u64 = 20;

/// What happened behind a place; waits for something to happen when told to.
///
/// # Errors
/// [`Refusal`].
pub(in super::super) async fn watch(house: &House, filter: WatchFilter) -> Result<DeliveryNewsPage, Refusal> {
    let webhooks = filter.webhook.as_ref().map(|id| numbers_of(house, id)).transpose()?;
    let Some(after) = &filter.after else {
        return Ok(DeliveryNewsPage { next: house.0.lists.history.noted().to_string(), ..DeliveryNewsPage::default() });
    };
    let mut after = after.parse::<FollowPlace>().map_err(|detail| Refusal::Invalid { detail })?;
    let wait_ms = filter.wait_ms.min(limits::FOLLOW_WAIT_MAX_MS);
    let stopwatch = Stopwatch::start();
    let mut durable = house.0.lists.durable.clone();
    loop {
        durable.borrow_and_update();
        let (lists, filter, webhooks) = (house.0.lists.clone(), filter.clone(), webhooks.clone());
        let read = tokio::task::spawn_blocking(move || lists.follow(after, &filter, webhooks.as_ref())).await;
        let Heard { found, missed, next } = read.map_err(|_| internal("following the journal failed"))??;
        let waits = stopwatch.elapsed_ms() < wait_ms && !house.is_draining();
        if !found.is_empty() || missed > 0 || !waits {
            let news = found.into_iter().map(|(webhook, news)| DeliveryNews { webhook: webhook_name(house, webhook), ..news });
            return Ok(DeliveryNewsPage { news: news.collect(), missed, next: next.to_string() });
        }
        if next == after || house.0.lists.history.noted() == next {
            let patience = Duration::from_millis(LOOK_EVERY_MS.min(wait_ms - stopwatch.elapsed_ms().min(wait_ms)));
            if tokio::time::timeout(patience, durable.changed()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(GATHER_MS)).await;
            }
        }
        after = next;
    }
}

/// What was found behind a place.
struct Heard {
    found: Vec<(WebhookNumber, DeliveryNews)>,
    missed: u64,
    next: FollowPlace,
}

impl Lists {
    fn follow(&self, after: FollowPlace, filter: &WatchFilter, webhooks: Option<&HashSet<WebhookNumber>>) -> Result<Heard, Refusal> {
        let failed =
            |error: &dyn std::fmt::Display| internal(&format!("the journal can't be followed: {error}; nothing is lost, try again"));
        let followed = self.history.follow(after, limits::FOLLOWED_PAGE_MAX).map_err(|error| failed(&error))?;
        let mut found = Vec::new();
        for frame in followed.frames {
            for (webhook, mut news, body) in news_of(frame) {
                let is_own = webhooks.is_none_or(|webhooks| webhooks.contains(&webhook));
                if !is_own || filter.state.is_some_and(|state| state != news.state) {
                    continue;
                }
                self.complete(&mut news, body).map_err(|error| failed(&error))?;
                let fits_project = filter.project.as_ref().is_none_or(|wanted| news.project.as_ref() == Some(wanted));
                let fits_type =
                    filter.event_type.as_ref().is_none_or(|wanted| news.event_type.as_ref().is_some_and(|name| wanted.matches(name)));
                if fits_project && fits_type {
                    found.push((webhook, news));
                }
            }
        }
        Ok(Heard { found, missed: followed.missed, next: followed.next })
    }

    /// Looks up what there is to know of the event.
    fn complete(&self, news: &mut DeliveryNews, body: Option<Locator>) -> Result<(), crate::store::history::HistoryError> {
        let DeliveryId(DeliveryKey { sequence, .. }) = news.id;
        let known = match body {
            Some(place) => Some(place),
            None => self.history.event_of(sequence, None)?.map(|event: KnownEvent| event.place),
        };
        if let Some(Accepted { id, event_type, project, .. }) = known.and_then(|place| self.accepted(sequence, place)) {
            (news.event, news.event_type, news.project) = (Some(id), Some(event_type), Some(project));
        } else if let Some(KnownEvent { event_type, project, .. }) = self.history.event_of(sequence, None)? {
            (news.event_type, news.project) = (Some(event_type), Some(project));
        }
        Ok(())
    }
}

/// What a fact says of deliveries: each with its webhook, and where its event lies if the fact says so. The webhook's name is filled in by who has it.
fn news_of(frame: ScannedFrame) -> Vec<(WebhookNumber, DeliveryNews, Option<Locator>)> {
    let (sequence, locator) = (frame.sequence, frame.locator);
    match frame.fact {
        Fact::Accepted(accepted) => {
            let dropped = |webhook: &WebhookNumber| {
                let key = DeliveryKey { sequence: Sequence(sequence.0), webhook: *webhook };
                let news = DeliveryNews { at: accepted.accepted, ..bare(key, DeliveryState::Dropped, OVERFLOWED.to_owned()) };
                (*webhook, news, Some(locator))
            };
            accepted.overflowed.iter().map(dropped).collect()
        }
        Fact::Attempted(attempted) => {
            let attempt = attempted.attempt;
            let (state, due) = match attempt.next {
                Next::RetryAt(due) => (DeliveryState::Pending, Some(due)),
                Next::Delivered => (DeliveryState::Delivered, None),
                Next::Dropped => (DeliveryState::Dropped, None),
            };
            let news = DeliveryNews {
                at: attempt.finished,
                attempt: Some(attempt.number),
                outcome: Some(attempt.outcome.class),
                due,
                ..bare(attempted.key, state, attempt.outcome.sentence)
            };
            vec![(attempted.key.webhook, news, Some(attempted.body))]
        }
        Fact::Cancelled(cancelled) => {
            let cancel = |one: &CancelledDelivery| {
                let sentence = format!("cancelled by {}", cancelled.by);
                (one.key.webhook, DeliveryNews { at: cancelled.at, ..bare(one.key, DeliveryState::Cancelled, sentence) }, Some(one.body))
            };
            cancelled.deliveries.iter().map(cancel).collect()
        }
        Fact::Carried(carried) if carried.from.is_none() => {
            let taken_up = |one: &CarriedDelivery| {
                let key = DeliveryKey { sequence: carried.sequence, webhook: one.webhook };
                let news = bare(key, DeliveryState::Pending, "taken up again, with a fresh schedule".to_owned());
                (one.webhook, DeliveryNews { at: carried.at, due: Some(one.due), ..news }, Some(locator))
            };
            carried.deliveries.iter().map(taken_up).collect()
        }
        Fact::Webhook(_) | Fact::Setting(_) | Fact::Blacklist(_) | Fact::Carried(_) | Fact::IdsCarried(_) | Fact::FloorRaised(_) => {
            Vec::new()
        }
    }
}

fn bare(key: DeliveryKey, state: DeliveryState, sentence: String) -> DeliveryNews {
    DeliveryNews {
        at: crate::time::UnixMillis(0),
        id: DeliveryId(key),
        event: None,
        event_type: None,
        project: None,
        webhook: String::new(),
        state,
        attempt: None,
        outcome: None,
        sentence,
        due: None,
    }
}
