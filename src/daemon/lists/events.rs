//! Lists of events and single ones, with where their deliveries stand. They never change anything.

use super::super::house::House;
use super::{Lists, internal, webhook_name};
use crate::limits;
use crate::model::report::{DeliveryCounts, EventDelivery, EventDetail, EventFilter, EventPage, EventSummary};
use crate::model::{DeliveryId, DeliveryKey, DeliveryState, EventId, Project, Sequence, WebhookNumber};
use crate::server::hallway::Refusal;
use crate::store::fact::{Accepted, Fact};
use crate::store::history::{HistoryError, KnownEvent, WantedEvents};

/// A page of events, the one accepted last first.
///
/// # Errors
/// [`Refusal`].
pub(in super::super) async fn events(house: &House, filter: EventFilter) -> Result<EventPage, Refusal> {
    house.barrier().await?;
    let lists = house.0.lists.clone();
    let read = tokio::task::spawn_blocking(move || lists.events(filter)).await;
    read.map_err(|_| internal("reading the list failed"))?.map_err(|error| internal(&error.to_string()))
}

/// The newest event of that id, with its deliveries.
///
/// # Errors
/// [`Refusal`].
pub(in super::super) async fn event(house: &House, project: Project, id: EventId) -> Result<EventDetail, Refusal> {
    house.barrier().await?;
    let lists = house.0.lists.clone();
    let not_found = format!(
        "there is no event {id} of {project}, or it is so old that it is not kept any more; `hookwheel events list` shows those there are"
    );
    let read = tokio::task::spawn_blocking(move || lists.event_named(&project, &id)).await;
    let found = read.map_err(|_| internal("reading the event failed"))?.map_err(|error| internal(&error.to_string()))?;
    let Some((event, accepted)) = found else { return Err(Refusal::NotFound { detail: not_found }) };
    let deliveries = deliveries(house, event.sequence, &accepted).await?;
    let body = String::from_utf8_lossy(&accepted.body).into_owned();
    let Accepted { id, event_type, project, accepted, .. } = accepted;
    Ok(EventDetail { id, event_type, project, accepted, body, deliveries })
}

/// Where each delivery of an event stands. What neither the engine nor the history knows was just accepted, or ends at this moment: it is pending.
async fn deliveries(house: &House, sequence: Sequence, accepted: &Accepted) -> Result<Vec<EventDelivery>, Refusal> {
    let mut numbers = accepted.deliveries.iter().chain(&accepted.overflowed).copied().collect::<Vec<_>>();
    numbers.sort_unstable();
    numbers.dedup();
    let mut pending = Vec::with_capacity(numbers.len());
    for slice in numbers.chunks(limits::BULK_SLICE_KEYS) {
        let slice = slice.to_vec();
        let is_pending = move |webhook: &WebhookNumber| DeliveryKey { sequence, webhook: *webhook };
        let answer =
            house.ask(move |engine, _, _| slice.iter().map(|number| engine.delivery(is_pending(number)).is_some()).collect::<Vec<_>>());
        pending.extend(answer.await?);
    }
    let (lists, made) = (house.0.lists.clone(), numbers.len());
    let read = tokio::task::spawn_blocking(move || lists.history.ends_of_event(sequence, made)).await;
    let ends = read.map_err(|_| internal("reading the history failed"))?.map_err(|error| internal(&error.to_string()))?;
    let delivery = |(webhook, is_pending): (&WebhookNumber, bool)| EventDelivery {
        id: DeliveryId(DeliveryKey { sequence, webhook: *webhook }),
        webhook: webhook_name(house, *webhook),
        state: ends.get(webhook).copied().filter(|_| !is_pending).unwrap_or(DeliveryState::Pending),
    };
    Ok(numbers.iter().zip(pending).map(delivery).collect())
}

impl Lists {
    fn events(&self, filter: EventFilter) -> Result<EventPage, HistoryError> {
        let EventFilter { project, event_type, limit, after } = filter;
        let limit = limit.unwrap_or(limits::PAGE_DEFAULT).clamp(1, limits::PAGE_MAX);
        let wanted = WantedEvents { project, event_type, after: after.map(Sequence) };
        let unindexed_segments = self.history.unindexed();
        let mut found = self.history.events(&wanted, limit + 1)?;
        let goes_on = found.len() > limit;
        found.truncate(limit);
        let next = found.last().map(|event| event.sequence.0).filter(|_| goes_on);
        let events = found.into_iter().map(|event| self.summary_of(event)).collect::<Result<_, _>>()?;
        Ok(EventPage { events, next, unindexed_segments })
    }

    fn summary_of(&self, event: KnownEvent) -> Result<EventSummary, HistoryError> {
        let ends = self.history.ends_of_event(event.sequence, event.deliveries as usize)?;
        let ended = u32::try_from(ends.len()).unwrap_or(u32::MAX);
        let mut deliveries = DeliveryCounts { pending: event.deliveries.saturating_sub(ended), ..DeliveryCounts::default() };
        for state in ends.values() {
            match state {
                DeliveryState::Pending => deliveries.pending += 1,
                DeliveryState::Delivered => deliveries.delivered += 1,
                DeliveryState::Dropped => deliveries.dropped += 1,
                DeliveryState::Cancelled => deliveries.cancelled += 1,
            }
        }
        let id = self.accepted(event.sequence, event.place).map(|accepted| accepted.id);
        let KnownEvent { event_type, project, accepted, .. } = event;
        Ok(EventSummary { id, event_type, project, accepted, deliveries })
    }

    fn event_named(&self, project: &Project, id: &EventId) -> Result<Option<(KnownEvent, Accepted)>, HistoryError> {
        let candidates = self.history.events_named(project, id)?;
        let read = candidates.into_iter().filter_map(|event| Some((self.event_at(&event)?, event)));
        let mut named = read.filter(|(accepted, _)| accepted.id == *id && accepted.project == *project);
        let Some((mut accepted, event)) = named.next() else { return Ok(None) };
        // One that was carried or taken up again lies in several places, each with some of its deliveries.
        for (other, _) in named.take_while(|(_, other)| other.sequence == event.sequence) {
            accepted.deliveries.extend(other.deliveries);
            accepted.overflowed.extend(other.overflowed);
        }
        Ok(Some((event, accepted)))
    }

    /// An event where it lies, with those of its deliveries that are told of there.
    fn event_at(&self, event: &KnownEvent) -> Option<Accepted> {
        let found = self.reader.read(event.place).ok()?;
        match found.fact {
            Fact::Carried(carried) if carried.sequence == event.sequence => {
                let deliveries = carried.deliveries.iter().map(|one| one.webhook).collect();
                Some(Accepted { deliveries, ..carried.event })
            }
            fact => fact.into_event(found.sequence, event.sequence),
        }
    }
}
