//! Lists of deliveries and single ones, read from view, journal and history. They never block the engine or the writer, and never change anything.

mod events;
mod keys;
mod watch;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::watch::Receiver;

pub(super) use self::events::{event, events};
pub(super) use self::watch::watch;
use super::house::House;
use crate::limits;
use crate::model::report::{AttemptView, DeliveryDetail, DeliveryFilter, DeliveryPage, DeliverySummary};
use crate::model::{
    Attempt, DeliveryId, DeliveryKey, DeliveryState, EventTypeName, Locator, Next, Project, Selector, Sequence, WebhookId, WebhookNumber,
};
use crate::server::hallway::Refusal;
use crate::store::fact::Accepted;
use crate::store::history::{EndPlace, Finished, History, WantedEnds};
use crate::store::journal::medium::{Medium, RealMedium};
use crate::store::journal::reader::JournalReader;
use crate::store::journal::segment;
use crate::store::recovery::Recovered;
use crate::store::timeline;
use crate::store::view::keys::{self as view_keys, QueueRow};
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
    pub(super) history: History<RealMedium>,
    /// The last fact that is durable, for those who wait for the next.
    pub(super) durable: Receiver<u64>,
}

/// Where a delivery stands, before its event is read.
#[derive(Clone)]
pub(super) struct Standing {
    /// Which.
    pub(super) key: DeliveryKey,
    state: DeliveryState,
    body: Option<Locator>,
    last_attempt: Option<Locator>,
    due: Option<UnixMillis>,
    /// When it ended.
    pub(super) finished: Option<UnixMillis>,
    attempts: u32,
    /// What the history knows of the event.
    accepted: Option<UnixMillis>,
    event_type: Option<EventTypeName>,
    project: Option<Project>,
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
            accepted: None,
            event_type: None,
            project: None,
        }
    }

    fn finished(one: Finished) -> Self {
        let Finished { key, state, at, attempts, body, last_attempt, accepted, event_type, project } = one;
        let (finished, attempts) = (Some(at), u32::from(attempts));
        Self { key, state, body, last_attempt, due: None, finished, attempts, accepted, event_type, project }
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
    Finished(EndPlace),
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
            Some(b'f') => Ok(Self::Finished((moment, key))),
            _ => Err(wrong()),
        }
    }
}

/// A filter in the daemon's own terms: webhooks by number, moments as times.
struct Wish {
    webhooks: Option<HashSet<WebhookNumber>>,
    project: Option<Project>,
    event_type: Option<Selector>,
    state: Option<DeliveryState>,
    since: Option<UnixMillis>,
    until: Option<UnixMillis>,
    limit: usize,
}

impl Wish {
    fn new(house: &House, filter: DeliveryFilter) -> Result<Self, Refusal> {
        let now = house.0.clock.now();
        let DeliveryFilter { webhook, project, event_type, state, since, until, limit, after: _ } = filter;
        let webhooks = webhook.map(|id| numbers_of(house, &id)).transpose()?;
        let limit = limit.unwrap_or(limits::PAGE_DEFAULT).clamp(1, limits::PAGE_MAX);
        let [since, until] = [since, until].map(|moment| moment.map(|moment| moment.resolve(now)));
        Ok(Self { webhooks, project, event_type, state, since, until, limit })
    }

    fn ends(&self, after: After) -> WantedEnds {
        WantedEnds {
            webhooks: self.webhooks.clone(),
            project: self.project.clone(),
            event_type: self.event_type.clone(),
            state: self.state,
            since: self.since,
            until: self.until,
            after: match after {
                After::Finished(place) => Some(place),
                After::Beginning | After::Pending(..) => None,
            },
        }
    }

    fn asks_about_events(&self) -> bool {
        self.project.is_some() || self.event_type.is_some()
    }

    fn asks_about_moments(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }

    /// Whether a pending delivery is wanted; its webhook was looked at before.
    fn wants(&self, event: Option<&Accepted>, last: Option<&Attempt>) -> bool {
        let moment = last.map(|last| last.finished).or_else(|| event.map(|event| event.accepted)).unwrap_or_default();
        self.since.is_none_or(|since| moment >= since)
            && self.until.is_none_or(|until| moment < until)
            && self.project.as_ref().is_none_or(|wanted| event.is_some_and(|event| event.project == *wanted))
            && self.event_type.as_ref().is_none_or(|wanted| event.is_some_and(|event| wanted.matches(&event.event_type)))
    }
}

/// A page of deliveries: pending ones in the order of their next attempt, then finished ones, newest first.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn page(house: &House, filter: DeliveryFilter) -> Result<DeliveryPage, Refusal> {
    let after = After::parse(filter.after.as_deref())?;
    house.barrier().await?;
    let wish = Wish::new(house, filter)?;
    let lists = house.0.lists.clone();
    // Before it is read: an index that is made meanwhile comes too late for this page.
    let unindexed_segments = lists.history.unindexed();
    let read = tokio::task::spawn_blocking(move || lists.page(&wish, after)).await;
    let (found, next) = read.map_err(|_| internal("reading the list failed"))??;
    let keys = found.iter().map(|(standing, ..)| standing.key).collect::<Vec<_>>();
    let known = house.ask(move |engine, _, _| keys.iter().map(|key| engine.delivery(*key)).collect::<Vec<_>>()).await?;
    // A view that rests on a full disk still has what ended since.
    let is_stale = |standing: &Standing, known: &Option<_>| standing.state == DeliveryState::Pending && known.is_none();
    let current = found.iter().zip(known).filter(|((standing, ..), known)| !is_stale(standing, known));
    let deliveries = current.map(|((standing, event, last), known)| {
        summary(house, standing, event.as_ref(), last.as_ref(), known.is_some_and(|(_, flying)| flying))
    });
    Ok(DeliveryPage { deliveries: deliveries.collect(), next, unindexed_segments })
}

/// One delivery with its attempts.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn detail(house: &House, DeliveryId(key): DeliveryId) -> Result<DeliveryDetail, Refusal> {
    let ((standing, event, attempts), in_flight) = settled(house, key).await?;
    let summary = summary(house, &standing, event.as_ref(), attempts.last(), in_flight);
    let url = house.registry().in_force().find(|webhook| webhook.number == key.webhook).map(|webhook| webhook.spec.url.to_string());
    let timeline = attempts.iter().map(view_of).collect();
    let body = event.map(|event| String::from_utf8_lossy(&event.body).into_owned());
    Ok(DeliveryDetail { summary, url, timeline, body })
}

/// A delivery, and whether an attempt is under way. Between the engine's word and a look into the store it may come to stand elsewhere, so it is looked for again until it
/// was not pending before everything written was to be read, and is not found.
async fn settled(house: &House, key: DeliveryKey) -> Result<(One, bool), Refusal> {
    let mut was_pending = true;
    loop {
        house.barrier().await?;
        let pending = house.ask(move |engine, _, _| engine.delivery(key)).await?;
        let (lists, due) = (house.0.lists.clone(), pending.map(|(entry, _)| entry.due));
        let read = tokio::task::spawn_blocking(move || lists.one(key, due)).await;
        match read.map_err(|_| internal("reading the delivery failed"))? {
            Err(Refusal::NotFound { .. }) if was_pending => was_pending = pending.is_some(),
            found => return Ok((found?, pending.is_some_and(|(_, flying)| flying))),
        }
    }
}

/// Which deliveries a filter means, of one state, at most as many as its limit; and where to go on.
///
/// # Errors
/// [`Refusal`].
pub(super) async fn keys(house: &House, filter: DeliveryFilter) -> Result<(Vec<DeliveryKey>, Option<String>), Refusal> {
    let after = After::parse(filter.after.as_deref())?;
    house.barrier().await?;
    let wish = Wish::new(house, filter)?;
    let lists = house.0.lists.clone();
    let read = tokio::task::spawn_blocking(move || lists.keys(&wish, after)).await;
    read.map_err(|_| internal("reading the list failed"))?
}

/// Every number of a webhook that there is or was; a name that nothing ever had is most likely a spelling mistake, and no empty list.
fn numbers_of(house: &House, id: &WebhookId) -> Result<HashSet<WebhookNumber>, Refusal> {
    let numbers = house.registry().numbers_of(id);
    let unknown =
        || Refusal::NotFound { detail: format!("there is no webhook {id}, and there never was; `hookwheel webhooks list` shows them all") };
    if numbers.is_empty() { Err(unknown()) } else { Ok(numbers) }
}

fn webhook_name(house: &House, number: WebhookNumber) -> String {
    house.registry().id_of(number).map_or_else(|| format!("number {}", number.0), ToString::to_string)
}

fn summary(house: &House, standing: &Standing, event: Option<&Accepted>, last: Option<&Attempt>, in_flight: bool) -> DeliverySummary {
    let overflowed = standing.state == DeliveryState::Dropped && standing.last_attempt.is_none();
    DeliverySummary {
        id: DeliveryId(standing.key),
        event: event.map(|event| event.id.clone()),
        event_type: event.map(|event| event.event_type.clone()).or_else(|| standing.event_type.clone()),
        project: event.map(|event| event.project.clone()).or_else(|| standing.project.clone()),
        webhook: webhook_name(house, standing.key.webhook),
        state: standing.state,
        attempts: last.map_or(standing.attempts, |last| last.number),
        accepted: event.map(|event| event.accepted).or(standing.accepted),
        due: standing.due,
        in_flight,
        paused: standing.state == DeliveryState::Pending && house.registry().is_paused(standing.key.webhook),
        finished: standing.finished,
        last_outcome: last.map(|last| last.outcome.sentence.clone()).or_else(|| overflowed.then(|| OVERFLOWED.to_owned())),
    }
}

/// Why a delivery ended before its first attempt.
const OVERFLOWED: &str = "the queue of this webhook was full";

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

type Found = (Standing, Option<Accepted>, Option<Attempt>);

/// A delivery with its event and its attempts.
pub(super) type One = (Standing, Option<Accepted>, Vec<Attempt>);

impl Lists {
    /// Lists of that store.
    pub(super) fn new(
        store: &Recovered<RealMedium, SledTable>,
        reader: &JournalReader<RealMedium>,
        medium: Arc<RealMedium>,
        durable: Receiver<u64>,
    ) -> Self {
        Self { table: Arc::clone(store.view.table()), reader: reader.clone(), medium, history: store.history.clone(), durable }
    }

    /// Segments of the journal, and bytes of journal and view.
    #[must_use]
    pub(super) fn sizes(&self) -> (u64, u64) {
        let names = self.medium.list().unwrap_or_default();
        let sizes = names.iter().filter_map(|name| self.medium.size_of(name).ok());
        let segments = names.iter().filter(|name| segment::parse_file_name(name).is_some()).count();
        (segments as u64, sizes.sum::<u64>() + self.table.size_bytes())
    }

    fn page(&self, wish: &Wish, after: After) -> Result<(Vec<Found>, Option<String>), Refusal> {
        let mut found = Vec::new();
        if wish.state.is_none_or(|state| state == DeliveryState::Pending) && !matches!(after, After::Finished(_)) {
            let candidates = self.pending(wish.webhooks.as_ref(), after, limits::PAGE_ROWS_MAX)?;
            let (mut cursor, count, is_cut) = (None, candidates.len(), candidates.len() == limits::PAGE_ROWS_MAX);
            for (index, standing) in candidates.into_iter().enumerate() {
                cursor = Some(standing.cursor());
                let (event, last) = (self.event(&standing), self.last_attempt(&standing));
                if !wish.wants(event.as_ref(), last.as_ref()) {
                    continue;
                }
                found.push((standing, event, last));
                if found.len() == wish.limit {
                    let goes_on = index + 1 < count || is_cut || self.has_finished(wish)?;
                    return Ok((found, cursor.filter(|_| goes_on)));
                }
            }
            if is_cut {
                return Ok((found, cursor));
            }
        }
        if wish.state == Some(DeliveryState::Pending) {
            return Ok((found, None));
        }
        let room = wish.limit - found.len();
        let mut ends = self.history.ends(&wish.ends(after), room + 1).map_err(|error| internal(&error.to_string()))?;
        let goes_on = ends.len() > room;
        ends.truncate(room);
        for one in ends {
            let standing = Standing::finished(one);
            let (event, last) = (self.event(&standing), self.last_attempt(&standing));
            found.push((standing, event, last));
        }
        let next = found.last().map(|(standing, ..)| standing.cursor()).filter(|_| goes_on);
        Ok((found, next))
    }

    fn has_finished(&self, wish: &Wish) -> Result<bool, Refusal> {
        if wish.state == Some(DeliveryState::Pending) {
            return Ok(false);
        }
        let ends = self.history.ends(&wish.ends(After::Beginning), 1).map_err(|error| internal(&error.to_string()))?;
        Ok(!ends.is_empty())
    }

    /// The rows of the queue behind a place, of these webhooks, at most `most`.
    fn pending(&self, numbers: Option<&HashSet<WebhookNumber>>, after: After, most: usize) -> Result<Vec<Standing>, Refusal> {
        let (beginning, end) = view_keys::queue_range();
        let from = match after {
            After::Pending(due, key) => [view_keys::queue_key(due, key), vec![0]].concat(),
            _ => beginning,
        };
        let (mut found, mut bad) = (Vec::new(), None);
        let scanned = self.table.scan(&from, &end, &mut |key, value| {
            match view_keys::parse_queue_key(key).and_then(|parsed| Ok((parsed, QueueRow::from_value(key, value)?))) {
                Ok(((due, key), row)) if numbers.is_none_or(|numbers| numbers.contains(&key.webhook)) => {
                    found.push(Standing::pending(due, key, &row));
                }
                Ok(_) => {}
                Err(error) => bad = Some(TableError::from(error)),
            }
            if bad.is_some() || found.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match scanned.err().or(bad) {
            Some(error) => Err(internal(&error.to_string())),
            None => Ok(found),
        }
    }

    fn one(&self, key: DeliveryKey, due: Option<UnixMillis>) -> Result<One, Refusal> {
        let pending = match due {
            Some(due) => self.pending_row(due, key)?,
            None => None,
        };
        let standing = match pending {
            Some(standing) => Some(standing),
            None => self.history.end_of(key).map_err(|error| internal(&error.to_string()))?.map(Standing::finished),
        };
        let standing = standing.ok_or_else(|| Refusal::NotFound {
            detail: format!(
                "there is no delivery {}, or it ended so long ago that it is not kept any more; `hookwheel deliveries list` shows those there are",
                DeliveryId(key)
            ),
        })?;
        let event = self.event(&standing);
        let attempts = self.attempts(&standing, limits::TIMELINE_MAX)?;
        Ok((standing, event, attempts))
    }

    fn pending_row(&self, due: UnixMillis, key: DeliveryKey) -> Result<Option<Standing>, Refusal> {
        let bytes = view_keys::queue_key(due, key);
        let failed = |error: TableError| internal(&error.to_string());
        let Some(value) = self.table.get(&bytes).map_err(failed)? else { return Ok(None) };
        let row = QueueRow::from_value(&bytes, &value).map_err(|error| failed(error.into()))?;
        Ok(Some(Standing::pending(due, key, &row)))
    }

    /// The event of a delivery; `None` when it is not kept any more, or can't be read.
    fn event(&self, standing: &Standing) -> Option<Accepted> {
        self.accepted(standing.key.sequence, standing.body?)
    }

    fn accepted(&self, sequence: Sequence, place: Locator) -> Option<Accepted> {
        let found = self.reader.read(place).ok()?;
        found.fact.into_event(found.sequence, sequence)
    }

    /// The last attempt of a delivery; `None` before the first, and when it is not kept any more or can't be read.
    fn last_attempt(&self, standing: &Standing) -> Option<Attempt> {
        self.attempts(standing, 1).ok()?.pop()
    }

    fn attempts(&self, standing: &Standing, most: usize) -> Result<Vec<Attempt>, Refusal> {
        timeline::read(&self.reader, standing.key, standing.last_attempt, most).map_err(|error| internal(&error.to_string()))
    }
}

fn internal(what: &str) -> Refusal {
    Refusal::Unavailable { detail: what.to_owned() }
}
