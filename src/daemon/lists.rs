//! Lists of deliveries and single ones, read from view, journal and history. They never block the engine or the writer, and never change anything.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::house::House;
use crate::limits;
use crate::model::report::{AttemptView, DeliveryDetail, DeliveryFilter, DeliveryPage, DeliverySummary};
use crate::model::{Attempt, DeliveryId, DeliveryKey, DeliveryState, Locator, Next, Sequence, WebhookNumber};
use crate::server::hallway::Refusal;
use crate::store::fact::{Accepted, Fact};
use crate::store::history::{Finished, History};
use crate::store::journal::medium::{Medium, RealMedium};
use crate::store::journal::reader::JournalReader;
use crate::store::journal::segment::{self, Scanned};
use crate::store::timeline;
use crate::store::view::keys::{self, QueueRow};
use crate::store::view::sled::SledTable;
use crate::store::view::{Table, TableError};
use crate::time::UnixMillis;

/// What lists are read from.
#[derive(Clone)]
pub(super) struct Lists {
    /// The queue.
    pub(super) table: Arc<SledTable>,
    /// Events and attempts.
    pub(super) reader: JournalReader<RealMedium>,
    /// The journal's directory.
    pub(super) medium: Arc<RealMedium>,
    /// What ended.
    pub(super) history: History,
}

/// Where a delivery stands, before its event is read.
#[derive(Clone, Copy)]
struct Standing {
    key: DeliveryKey,
    state: DeliveryState,
    body: Option<Locator>,
    last_attempt: Option<Locator>,
    due: Option<UnixMillis>,
    finished: Option<UnixMillis>,
    attempts: u32,
}

impl Standing {
    fn pending(due: UnixMillis, key: DeliveryKey, row: &QueueRow) -> Self {
        Self {
            key,
            state: DeliveryState::Pending,
            body: Some(row.body),
            last_attempt: row.last_attempt,
            due: Some(due),
            finished: None,
            attempts: u32::from(row.attempts),
        }
    }

    fn finished(one: &Finished) -> Self {
        let Finished { key, state, at, body, last_attempt } = *one;
        Self { key, state, body, last_attempt, due: None, finished: Some(at), attempts: 0 }
    }

    /// What a client passes to go on behind it.
    fn cursor(&self) -> String {
        let (kind, moment) = self.due.map_or(("f", self.finished.unwrap_or_default()), |due| ("p", due));
        format!("{kind}{}-{}", moment.0, DeliveryId(self.key))
    }
}

/// Where a page begins.
#[derive(Clone, Copy)]
enum After {
    Beginning,
    Pending(UnixMillis, DeliveryKey),
    Finished(DeliveryKey),
}

impl After {
    fn parse(text: Option<&str>) -> Result<Self, Refusal> {
        let Some(text) = text else { return Ok(Self::Beginning) };
        let wrong =
            || Refusal::Invalid { detail: format!("after={text:?} is no place in this list: pass what the page before gave as \"next\"") };
        let (moment, id) = text.get(1..).and_then(|rest| rest.split_once('-')).ok_or_else(wrong)?;
        let DeliveryId(key) = id.parse::<DeliveryId>().map_err(|_| wrong())?;
        let moment = UnixMillis(moment.parse().map_err(|_| wrong())?);
        match text.as_bytes().first() {
            Some(b'p') => Ok(Self::Pending(moment, key)),
            Some(b'f') => Ok(Self::Finished(key)),
            _ => Err(wrong()),
        }
    }
}

/// A page of deliveries: pending ones in the order of their next attempt, then finished ones, newest first.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn page(house: &House, filter: DeliveryFilter) -> Result<DeliveryPage, Refusal> {
    let after = After::parse(filter.after.as_deref())?;
    house.barrier().await?;
    let numbers = filter.webhook.as_ref().map(|id| house.registry().numbers_of(id));
    let lists = house.0.lists.clone();
    let read = tokio::task::spawn_blocking(move || lists.page(&filter, numbers.as_ref(), after)).await;
    let (found, next) = read.map_err(|_| internal("reading the list failed"))??;
    let keys = found.iter().map(|(standing, ..)| standing.key).collect::<Vec<_>>();
    let known = house.ask(move |engine, _, _| keys.iter().map(|key| engine.delivery(*key)).collect::<Vec<_>>()).await?;
    // A view that rests on a full disk still has what ended since.
    let is_stale = |standing: &Standing, known: &Option<_>| standing.state == DeliveryState::Pending && known.is_none();
    let current = found.iter().zip(known).filter(|((standing, ..), known)| !is_stale(standing, known));
    let deliveries = current
        .map(|((standing, event, last), known)| summary(house, standing, event, last.as_ref(), known.is_some_and(|(_, flying)| flying)));
    Ok(DeliveryPage { deliveries: deliveries.collect(), next })
}

/// One delivery with its attempts.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn detail(house: &House, DeliveryId(key): DeliveryId) -> Result<DeliveryDetail, Refusal> {
    house.barrier().await?;
    let pending = house.ask(move |engine, _, _| engine.delivery(key)).await?;
    let in_flight = pending.is_some_and(|(_, flying)| flying);
    let lists = house.0.lists.clone();
    let due = pending.map(|(entry, _)| entry.due);
    let read = tokio::task::spawn_blocking(move || lists.one(key, due)).await;
    let (standing, event, attempts) = read.map_err(|_| internal("reading the delivery failed"))??;
    let summary = summary(house, &standing, &event, attempts.last(), in_flight);
    let url = house.registry().in_force().find(|webhook| webhook.number == key.webhook).map(|webhook| webhook.spec.url.to_string());
    let timeline = attempts.iter().map(view_of).collect();
    Ok(DeliveryDetail { summary, url, timeline, body: String::from_utf8_lossy(&event.body).into_owned() })
}

fn summary(house: &House, standing: &Standing, event: &Accepted, last: Option<&Attempt>, in_flight: bool) -> DeliverySummary {
    let number = standing.key.webhook;
    let overflowed = standing.state == DeliveryState::Dropped && last.is_none();
    DeliverySummary {
        id: DeliveryId(standing.key),
        event: event.id.clone(),
        event_type: event.event_type.clone(),
        project: event.project.clone(),
        webhook: house.registry().id_of(number).map_or_else(|| format!("number {}", number.0), ToString::to_string),
        state: standing.state,
        attempts: last.map_or(standing.attempts, |last| last.number),
        accepted: event.accepted,
        due: standing.due,
        in_flight,
        finished: standing.finished,
        last_outcome: last
            .map(|last| last.outcome.sentence.clone())
            .or_else(|| overflowed.then(|| "the queue of this webhook was full".to_owned())),
    }
}

fn view_of(attempt: &Attempt) -> AttemptView {
    let outcome = &attempt.outcome;
    AttemptView {
        round: attempt.round,
        number: attempt.number,
        due: attempt.due,
        finished: attempt.finished,
        outcome: outcome.class,
        status: outcome.status,
        sentence: outcome.sentence.clone(),
        phases: outcome.phases,
        remote: outcome.remote.clone(),
        response: String::from_utf8_lossy(&outcome.excerpt).into_owned(),
        next: match attempt.next {
            Next::RetryAt(at) => format!("tried again at {at}"),
            Next::Delivered => "delivered".into(),
            Next::Dropped => "dropped: that was the last attempt".into(),
        },
    }
}

type Found = (Standing, Accepted, Option<Attempt>);

impl Lists {
    /// Segments of the journal, and bytes of journal and view.
    #[must_use]
    pub(super) fn sizes(&self) -> (u64, u64) {
        let names = self.medium.list().unwrap_or_default();
        let sizes = names.iter().filter_map(|name| self.medium.size_of(name).ok());
        let segments = names.iter().filter(|name| segment::parse_file_name(name).is_some()).count();
        (segments as u64, sizes.sum::<u64>() + self.table.size_bytes())
    }

    fn page(
        &self,
        filter: &DeliveryFilter,
        numbers: Option<&HashSet<WebhookNumber>>,
        after: After,
    ) -> Result<(Vec<Found>, Option<String>), Refusal> {
        let limit = filter.limit.unwrap_or(limits::PAGE_DEFAULT).clamp(1, limits::PAGE_MAX);
        let wants_pending = filter.state.is_none_or(|state| state == DeliveryState::Pending) && !matches!(after, After::Finished(_));
        let mut candidates = if wants_pending { self.pending(numbers, after)? } else { Vec::new() };
        let pending_cut = candidates.len() == limits::PAGE_ROWS_MAX;
        if !pending_cut && filter.state != Some(DeliveryState::Pending) {
            candidates.extend(self.finished(filter, numbers, after));
        }
        let is_cut = pending_cut || candidates.len() >= limits::PAGE_ROWS_MAX;
        let (mut found, mut last, count) = (Vec::new(), None, candidates.len());
        for (index, standing) in candidates.into_iter().enumerate() {
            last = Some(standing.cursor());
            let Some(event) = self.event(&standing)? else { continue };
            let type_fits = filter.event_type.as_ref().is_none_or(|selector| selector.matches(&event.event_type));
            if !type_fits || filter.project.as_ref().is_some_and(|project| *project != event.project) {
                continue;
            }
            let last_attempt = self.attempts(&standing, 1)?.pop();
            found.push((standing, event, last_attempt));
            if found.len() == limit {
                return Ok((found, last.filter(|_| index + 1 < count || is_cut)));
            }
        }
        Ok((found, last.filter(|_| is_cut)))
    }

    fn pending(&self, numbers: Option<&HashSet<WebhookNumber>>, after: After) -> Result<Vec<Standing>, Refusal> {
        let (beginning, end) = keys::queue_range();
        let from = match after {
            After::Pending(due, key) => [keys::queue_key(due, key), vec![0]].concat(),
            _ => beginning,
        };
        let (mut found, mut bad) = (Vec::new(), None);
        let scanned = self.table.scan(&from, &end, &mut |key, value| {
            match keys::parse_queue_key(key).and_then(|parsed| Ok((parsed, QueueRow::from_value(key, value)?))) {
                Ok(((due, key), row)) if numbers.is_none_or(|numbers| numbers.contains(&key.webhook)) => {
                    found.push(Standing::pending(due, key, &row));
                }
                Ok(_) => {}
                Err(error) => bad = Some(TableError::from(error)),
            }
            if bad.is_some() || found.len() == limits::PAGE_ROWS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match scanned.err().or(bad) {
            Some(error) => Err(internal(&error.to_string())),
            None => Ok(found),
        }
    }

    fn finished(&self, filter: &DeliveryFilter, numbers: Option<&HashSet<WebhookNumber>>, after: After) -> Vec<Standing> {
        let mut passed = !matches!(after, After::Finished(_));
        let wanted = |one: &Finished| {
            filter.state.is_none_or(|state| state == one.state) && numbers.is_none_or(|numbers| numbers.contains(&one.key.webhook))
        };
        let mut standings = Vec::new();
        for one in self.history.newest(usize::MAX, wanted) {
            if passed && standings.len() < limits::PAGE_ROWS_MAX {
                standings.push(Standing::finished(&one));
            }
            passed = passed || matches!(after, After::Finished(key) if key == one.key);
        }
        standings
    }

    fn one(&self, key: DeliveryKey, due: Option<UnixMillis>) -> Result<(Standing, Accepted, Vec<Attempt>), Refusal> {
        let gone = || Refusal::NotFound {
            detail: format!(
                "there is no delivery {} that is pending or ended lately; `hookwheel deliveries list` shows those",
                DeliveryId(key)
            ),
        };
        // Where its event lies may change once between the look at the view and the reading, when its segment goes.
        for _ in 0..2 {
            let standing = match due {
                Some(due) => self.pending_row(due, key)?,
                None => self.history.find(key).map(|one| Standing::finished(&one)),
            };
            let standing = standing.ok_or_else(gone)?;
            if let Some(event) = self.event(&standing)? {
                let attempts = self.attempts(&standing, limits::TIMELINE_MAX)?;
                return Ok((standing, event, attempts));
            }
        }
        Err(gone())
    }

    fn pending_row(&self, due: UnixMillis, key: DeliveryKey) -> Result<Option<Standing>, Refusal> {
        let bytes = keys::queue_key(due, key);
        let failed = |error: TableError| internal(&error.to_string());
        let Some(value) = self.table.get(&bytes).map_err(failed)? else { return Ok(None) };
        let row = QueueRow::from_value(&bytes, &value).map_err(|error| failed(error.into()))?;
        Ok(Some(Standing::pending(due, key, &row)))
    }

    /// The event of a delivery; `None` when its segment went meanwhile, so that it lies elsewhere or the delivery is of the past.
    fn event(&self, standing: &Standing) -> Result<Option<Accepted>, Refusal> {
        let sequence = standing.key.sequence;
        let found = match standing.body {
            Some(place) => self.reader.read(place).ok().and_then(|found| found.fact.into_event(found.sequence, sequence)),
            None => self.search(sequence).and_then(|fact| fact.into_event(sequence, sequence)),
        };
        let is_gone = || standing.body.is_some_and(|place| matches!(self.reader.first_of(place.segment), Ok(None)));
        match found {
            None if !is_gone() => Err(internal(&format!("the event of {} can't be read from the journal", DeliveryId(standing.key)))),
            found => Ok(found),
        }
    }

    fn attempts(&self, standing: &Standing, most: usize) -> Result<Vec<Attempt>, Refusal> {
        timeline::read(&self.reader, standing.key, standing.last_attempt, most).map_err(|error| internal(&error.to_string()))
    }

    /// Finds a fact by its number: costs reading one segment.
    fn search(&self, sequence: Sequence) -> Option<Fact> {
        let mut numbers = self.medium.list().ok()?.iter().filter_map(|name| segment::parse_file_name(name)).collect::<Vec<_>>();
        numbers.sort_unstable();
        let holds = |number: &u32| self.reader.first_of(*number).ok().flatten().is_some_and(|first| first <= sequence);
        let number = numbers.into_iter().rev().find(holds)?;
        let mut scan = self.reader.scan(number).ok()??;
        while let Some(scanned) = scan.step().ok()? {
            match scanned {
                Scanned::Frame(frame) if frame.sequence == sequence => return Some(frame.fact),
                _ => {}
            }
        }
        None
    }
}

fn internal(what: &str) -> Refusal {
    Refusal::Unavailable { detail: what.to_owned() }
}
