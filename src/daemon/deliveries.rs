//! What operators do with deliveries: try them again, end them, one or many. It never does more than one slice of many in one go; whoever wants all asks again with where to go on.
//!
//! A pending delivery is put into its lane, a delivery that ended is written down anew with its event and every attempt so far, so that nothing of it depends on how long its old
//! segments are kept. Of the responses it once got only the last one's beginning goes along.

use tokio::sync::oneshot;

use super::house::House;
use super::lists;
use super::wheelhouse::Message;
use super::wishes::Wish;
use crate::engine::{Found, Grant};
use crate::limits;
use crate::model::report::{BulkReport, BulkRequest, ChangedDelivery, DeliveryChange};
use crate::model::{DeliveryId, DeliveryKey, DeliveryState, Moment};
use crate::server::hallway::Refusal;
use crate::store::fact::Carried;

/// Tries a delivery again: a pending one now, one that ended with a fresh schedule.
///
/// # Errors
/// [`Refusal`]; `Conflict` while an attempt is under way.
pub(super) async fn retry(house: &House, id: DeliveryId, by: &str) -> Result<ChangedDelivery, Refusal> {
    let key = id.0;
    let change = match first(wish(house, |done| Wish::Retry { keys: vec![key], done }).await?) {
        Found::Waiting => DeliveryChange::TriedNow,
        Found::InFlight => {
            return Err(Refusal::Conflict { detail: format!("an attempt of {id} is under way; wait for what comes of it") });
        }
        Found::NotPending => {
            reopen_one(house, key).await?;
            DeliveryChange::TriedAnew
        }
    };
    tracing::info!(delivery = %id, by, "{change}");
    Ok(ChangedDelivery { change, delivery: lists::detail(house, id).await? })
}

/// Ends a pending delivery; one whose attempt is under way when that fails.
///
/// # Errors
/// [`Refusal`]; `Conflict` when it ended already.
pub(super) async fn cancel(house: &House, id: DeliveryId, by: &str) -> Result<ChangedDelivery, Refusal> {
    let change = match first(wish(house, |done| Wish::Cancel { keys: vec![id.0], by: by.to_owned(), done }).await?) {
        Found::Waiting => DeliveryChange::Cancelled,
        Found::InFlight => DeliveryChange::CancelledUnlessDelivered,
        Found::NotPending => {
            let ended = lists::detail(house, id).await?;
            return Err(Refusal::Conflict { detail: format!("{id} is not pending: it is {}", ended.summary.state) });
        }
    };
    tracing::info!(delivery = %id, by, "{change}");
    Ok(ChangedDelivery { change, delivery: lists::detail(house, id).await? })
}

/// Tries one slice of many again. With `dry_run` it only counts.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn retry_many(house: &House, request: BulkRequest, by: &str) -> Result<BulkReport, Refusal> {
    let state = request.filter.state.unwrap_or(DeliveryState::Dropped);
    if state == DeliveryState::Pending {
        let (keys, report) = slice_of(house, request, state).await?;
        let Some(keys) = keys else { return Ok(report) };
        let found = wish(house, |done| Wish::Retry { keys, done }).await?;
        return Ok(told(report, &found, by, "tried now"));
    }
    let _one_at_a_time = house.0.reopening.lock().await;
    let (keys, mut report) = slice_of(house, request, state).await?;
    let Some(keys) = keys else { return Ok(report) };
    for keys in keys.chunks(limits::REOPEN_SLICE_KEYS) {
        let (ended, gone) = read(house, keys.to_vec()).await?;
        report.gone += gone;
        for grant in reopen(house, ended).await? {
            match grant {
                Grant::Granted => report.changed += 1,
                Grant::IsPending => report.not_as_wanted += 1,
                Grant::NoWebhook => report.without_webhook += 1,
                Grant::QueueFull => report.queue_full += 1,
            }
        }
    }
    tracing::info!(by, deliveries = report.changed, "deliveries that ended are tried anew");
    Ok(report)
}

/// Ends one slice of many. With `dry_run` it only counts.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn cancel_many(house: &House, request: BulkRequest, by: &str) -> Result<BulkReport, Refusal> {
    let state = request.filter.state.unwrap_or(DeliveryState::Pending);
    if state != DeliveryState::Pending {
        return Err(Refusal::Invalid { detail: format!("a delivery that is {state} has ended; only pending ones can be cancelled") });
    }
    let (keys, report) = slice_of(house, request, state).await?;
    let Some(keys) = keys else { return Ok(report) };
    let found = wish(house, |done| Wish::Cancel { keys, by: by.to_owned(), done }).await?;
    Ok(told(report, &found, by, "cancelled"))
}

/// The deliveries of a slice, and a report that counts them; none where only that was wanted.
async fn slice_of(house: &House, request: BulkRequest, state: DeliveryState) -> Result<(Option<Vec<DeliveryKey>>, BulkReport), Refusal> {
    let BulkRequest { mut filter, dry_run } = request;
    filter.state = Some(state);
    filter.limit = Some(filter.limit.unwrap_or(limits::PAGE_MAX));
    let now = house.0.clock.now();
    let since = filter.since.map(|since| since.resolve(now));
    // What happened in this very millisecond is meant, too.
    let until = filter.until.map_or(now.plus_ms(1), |until| until.resolve(now).min(now.plus_ms(1)));
    (filter.since, filter.until) = (since.map(Moment::At), Some(Moment::At(until)));
    let (keys, next) = lists::keys(house, filter).await?;
    let report = BulkReport { matched: keys.len() as u64, since, until, next, ..BulkReport::default() };
    Ok(((!dry_run && !keys.is_empty()).then_some(keys), report))
}

fn told(mut report: BulkReport, found: &[Found], by: &str, what: &str) -> BulkReport {
    let count = |wanted| found.iter().filter(|found| **found == wanted).count() as u64;
    (report.changed, report.in_flight, report.not_as_wanted) = (count(Found::Waiting), count(Found::InFlight), count(Found::NotPending));
    tracing::info!(by, deliveries = report.changed, in_flight = report.in_flight, "deliveries {what}");
    report
}

async fn reopen_one(house: &House, key: DeliveryKey) -> Result<(), Refusal> {
    let id = DeliveryId(key);
    let _one_at_a_time = house.0.reopening.lock().await;
    // Says that there is no such delivery, too.
    let ended = lists::detail(house, id).await?;
    let conflict = |detail: String| Err(Refusal::Conflict { detail });
    let (found, _) = read(house, vec![key]).await?;
    if found.is_empty() && ended.summary.state != DeliveryState::Pending {
        return Err(Refusal::NotFound { detail: format!("the event of {id} is not kept any more, so there is nothing to be sent") });
    }
    match reopen(house, found).await?.first() {
        Some(Grant::Granted) => Ok(()),
        Some(Grant::IsPending) | None => conflict(format!("{id} became pending at this moment")),
        Some(Grant::NoWebhook) => {
            conflict(format!("the webhook {} of {id} is not in force any more, so there is nobody to send it to", ended.summary.webhook))
        }
        Some(Grant::QueueFull) => Err(Refusal::Busy { detail: "the queue is full; nothing was changed".into(), retry_after_s: 30 }),
    }
}

/// What is needed to try these anew, and of how many the event is not kept any more. Those that are pending are left out.
async fn read(house: &House, keys: Vec<DeliveryKey>) -> Result<(Vec<Carried>, u64), Refusal> {
    house.barrier().await?;
    let (lists, now) = (house.0.lists.clone(), house.0.clock.now());
    let reading = tokio::task::spawn_blocking(move || {
        let mut gone = 0;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            match lists.ended(key)? {
                Some((standing, Some(event), attempts)) => {
                    // Later than its end in any case, so that it is clear which came first.
                    let at = now.max(standing.finished.map_or(now, |ended| ended.plus_ms(1)));
                    found.push(Carried::anew(key, event, attempts, at));
                }
                Some((_, None, _)) => gone += 1,
                None => {}
            }
        }
        Ok((found, gone))
    });
    reading.await.map_err(|_| Refusal::Unavailable { detail: "reading the deliveries failed".into() })?
}

/// Makes durable that these are pending again, as far as there is room and a webhook.
async fn reopen(house: &House, ended: Vec<Carried>) -> Result<Vec<Grant>, Refusal> {
    if ended.is_empty() {
        return Ok(Vec::new());
    }
    house.refuse_without_room()?;
    wish(house, |done| Wish::Reopen { ended, done }).await
}

async fn wish<T>(house: &House, wish: impl FnOnce(oneshot::Sender<T>) -> Wish) -> Result<T, Refusal> {
    let (done, answered) = oneshot::channel();
    let wish = wish(done);
    house.operate(|permit| Message::Wish { wish, permit }, answered).await
}

fn first(found: Vec<Found>) -> Found {
    found.into_iter().next().unwrap_or(Found::NotPending)
}
