//! Which webhooks come first in some order, and how all of them fare. It looks at the lanes slice by slice, so that the engine sends in between; it changes nothing.

use std::cmp::Ordering;
use std::sync::Arc;

use super::house::House;
use super::webhooks::{self, LaneReport};
use crate::engine::Engine;
use crate::engine::lanes::Lane;
use crate::engine::outlook::{NextAttempt, Outlook};
use crate::limits;
use crate::model::report::{Census, RecentAttempts, Top, TopQuery, TopSort, WebhookActivity};
use crate::model::{Webhook, WebhookId, WebhookNumber};
use crate::server::hallway::Refusal;
use crate::time::UnixMillis;

/// A webhook that there is.
struct Known {
    /// Its number.
    number: WebhookNumber,
    /// Its definition, where it is in force.
    webhook: Option<Arc<Webhook>>,
    /// It was removed, and is told of as long as something is pending for it.
    is_removed: bool,
    /// It is paused, for whatever reason that is written down.
    is_paused: bool,
    /// It is not in force, and why: it counts as trouble.
    is_unusable: bool,
}

/// A lane among others.
struct Row {
    rank: Rank,
    /// Its place among all that are known.
    place: usize,
    lane: LaneReport,
    recent: RecentAttempts,
    next: Option<NextAttempt>,
}

/// Where a lane stands in the order; the smallest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// It has no such figure.
    is_missing: bool,
    figure: u64,
    /// Among equals, the one for which most waits.
    second: u64,
    number: WebhookNumber,
}

/// The foremost webhooks of a house, and how many there are.
pub(super) struct Foremost {
    /// In order.
    pub(super) webhooks: Vec<WebhookActivity>,
    /// Of all.
    pub(super) census: Census,
}

/// `GET /v1/top`
///
/// # Errors
/// [`Refusal`] when the daemon is ending.
pub(super) async fn top(house: &House, query: TopQuery) -> Result<Top, Refusal> {
    let limit = query.limit.unwrap_or(limits::TOP_DEFAULT).min(limits::TOP_MAX);
    let ask = house.ask(|engine, _, now| Top {
        at: now,
        counters: engine.counters(),
        pending: engine.pending().len() as u64,
        in_flight: u64::from(engine.in_flight()),
        ..Top::default()
    });
    let whole = ask.await?;
    let oldest_due_age_ms = house.oldest_due_age_ms(&house.0.operator_permits).await?;
    let Foremost { webhooks, census } = foremost(house, query.sort, query.reverse, limit).await?;
    Ok(Top {
        draining: house.is_draining(),
        paused: house.registry().sending().cloned(),
        disk_trouble: house.disk_trouble(),
        oldest_due_age_ms,
        census,
        recent_ms: limits::RECENT_SLICE_MS * u64::from(limits::RECENT_SLICES),
        sort: query.sort,
        reverse: query.reverse,
        webhooks,
        ..whole
    })
}

/// The first `limit` webhooks in that order.
///
/// # Errors
/// [`Refusal`] when the daemon is ending.
pub(super) async fn foremost(house: &House, sort: TopSort, reverse: bool, limit: usize) -> Result<Foremost, Refusal> {
    let known = Arc::new(known(house, sort));
    let outlook = Arc::new(house.ask(|engine, _, _| engine.outlook()).await?);
    let (mut rows, mut census) = (Vec::new(), Census::default());
    for from in (0..known.len()).step_by(limits::RANKED_LANES_MAX) {
        let (known, outlook) = (Arc::clone(&known), Arc::clone(&outlook));
        let look = move |engine: &Engine, _: &_, now| {
            let until = known.len().min(from + limits::RANKED_LANES_MAX);
            look_at(engine, from, &known[from..until], &outlook, (sort, reverse, limit), now)
        };
        let (some, counted) = house.ask(look).await?;
        rows.extend(some);
        keep_first(&mut rows, limit, |row| row.rank);
        census += counted;
    }
    rows.sort_unstable_by_key(|row| row.rank);
    let told = |row: Row| {
        let Known { number, webhook, .. } = &known[row.place];
        let summary = webhooks::summary_of(house, *number, webhook.as_ref(), row.lane)?;
        let (next_attempt, next_attempt_is_about) = row.next.map_or((None, false), |next| (Some(next.at), next.is_about));
        Some(WebhookActivity { summary, recent: row.recent, next_attempt, next_attempt_is_about })
    };
    Ok(Foremost { webhooks: rows.into_iter().filter_map(told).collect(), census })
}

/// Every webhook that there is; by id, where that is the order.
fn known(house: &House, sort: TopSort) -> Vec<Known> {
    let mut known: Vec<(Option<WebhookId>, Known)> = {
        let registry = house.registry();
        let of = |number, webhook: Option<&Arc<Webhook>>, is_removed| {
            let id = if sort == TopSort::Id { registry.id_of(number).cloned() } else { None };
            let (is_paused, is_unusable) = (registry.is_paused(number), registry.unusable(number).is_some());
            (id, Known { number, webhook: webhook.cloned(), is_removed, is_paused, is_unusable })
        };
        let in_force = registry.in_force().map(|webhook| of(webhook.number, Some(webhook), false));
        in_force.chain(registry.not_in_force().map(|state| of(state.number, None, state.removed.is_some()))).collect()
    };
    if sort == TopSort::Id {
        known.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    known.into_iter().map(|(_, known)| known).collect()
}

/// The foremost of some webhooks, and how many of them there are. `from` is the place of the first among all.
fn look_at(
    engine: &Engine,
    from: usize,
    known: &[Known],
    outlook: &Outlook,
    (sort, reverse, limit): (TopSort, bool, usize),
    now: UnixMillis,
) -> (Vec<Row>, Census) {
    let (nothing, mut rows, mut census) = (Lane::default(), Vec::new(), Census::default());
    for (index, one) in known.iter().enumerate() {
        let lane = engine.lanes().get(one.number).unwrap_or(&nothing);
        if one.is_removed && lane.pending == 0 {
            continue;
        }
        let is_paused = one.is_paused || lane.gone;
        let is_failing = !is_paused && (one.is_unusable || lane.tally.trouble.is_some());
        census += counted(is_failing, is_paused, u64::from(lane.pending));
        // Lengths are summed up only where they are the order; of the few that are told of in the end it is done anyway.
        let wants_recent = matches!(sort, TopSort::Success | TopSort::P50 | TopSort::P99);
        let recent = if wants_recent { lane.recent(now) } else { RecentAttempts::default() };
        let next = outlook.next_attempt(one.number, lane, now);
        let figure = match sort {
            TopSort::Trouble => Some(u64::from(!is_paused && !is_failing)),
            TopSort::Pending => Some(descending(u64::from(lane.pending))),
            TopSort::InFlight => Some(descending(u64::from(lane.in_flight))),
            TopSort::Success => recent.succeeded_permille(),
            TopSort::P50 => recent.p50_us.map(|us| descending(u64::from(us))),
            TopSort::P99 => recent.p99_us.map(|us| descending(u64::from(us))),
            TopSort::Next => next.map(|next| next.at.0),
            TopSort::Id => Some((from + index) as u64),
        };
        let turned = if reverse { u64::MAX } else { 0 };
        let rank = Rank {
            is_missing: figure.is_none(),
            figure: figure.unwrap_or(0) ^ turned,
            second: descending(u64::from(lane.pending)),
            number: one.number,
        };
        rows.push((rank, from + index, next));
        if rows.len() >= limit.saturating_mul(2).max(1024) {
            keep_first(&mut rows, limit, |row| row.0);
        }
    }
    keep_first(&mut rows, limit, |row| row.0);
    let row = |(rank, place, next): (Rank, usize, Option<NextAttempt>)| {
        let lane = engine.lanes().get(known[place - from].number).unwrap_or(&nothing);
        Row { rank, place, lane: LaneReport::of(lane), recent: lane.recent(now), next }
    };
    (rows.into_iter().map(row).collect(), census)
}

const fn descending(figure: u64) -> u64 {
    u64::MAX - figure
}

fn counted(is_failing: bool, is_paused: bool, pending: u64) -> Census {
    let one_if = u64::from;
    Census {
        webhooks_total: 1,
        webhooks_failing: one_if(is_failing),
        webhooks_paused: one_if(is_paused),
        pending_failing: if is_failing { pending } else { 0 },
        pending_paused: if is_paused { pending } else { 0 },
    }
}

/// Leaves the `limit` smallest, in no order.
fn keep_first<T>(rows: &mut Vec<T>, limit: usize, rank: impl Fn(&T) -> Rank) {
    if rows.len() > limit {
        let order = |one: &T, other: &T| -> Ordering { rank(one).cmp(&rank(other)) };
        if limit > 0 {
            rows.select_nth_unstable_by(limit - 1, order);
        }
        rows.truncate(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_few_are_the_smallest_and_what_has_no_figure_comes_last() {
        let rank = |figure: Option<u64>, number: u32| Rank {
            is_missing: figure.is_none(),
            figure: figure.unwrap_or(0),
            second: descending(u64::from(number)),
            number: WebhookNumber(number),
        };
        let mut rows = vec![rank(None, 1), rank(Some(7), 2), rank(Some(3), 3), rank(Some(3), 4), rank(Some(9), 5)];
        keep_first(&mut rows, 3, |rank| *rank);
        rows.sort_unstable();
        assert_eq!(rows.iter().map(|rank| rank.number.0).collect::<Vec<_>>(), [4, 3, 2], "among equals, the one for which most waits");
        keep_first(&mut rows, 0, |rank| *rank);
        assert!(rows.is_empty());
        let mut rows = [rank(None, 1), rank(Some(u64::MAX), 2)];
        rows.sort_unstable();
        assert_eq!(rows[0].number.0, 2);
    }
}
