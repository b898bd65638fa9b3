//! The laws: what must hold whatever happens, one function each. They never change anything.

use std::collections::{BTreeMap, HashMap};

use hookwheel::engine::{AttemptRecord, Engine, Reply, Send};
use hookwheel::limits::{KNOCK_REST_MAX_MS, OUTCOME_CREDITS, RETRY_AFTER_EXTRA_MAX_MS};
use hookwheel::model::{
    DeliveryKey, DeliveryState, EventId, EventTypeName, Locator, NewEvent, Next, OutcomeClass, Project, Proposal, Sequence, Settled,
    Verdict, Webhook, WebhookNumber,
};
use hookwheel::store::blacklist::Blacklist;
use hookwheel::store::fact::{Accepted, Carried, Fact};
use hookwheel::store::journal::reader::{JournalReader, ReadError, ReadFact};
use hookwheel::store::journal::segment::ScannedFrame;
use hookwheel::time::UnixMillis;

use crate::ledger::{Books, Expected, Ledger};
use crate::medium::SimMedium;
use crate::mirror::{LaneMirror, Mirror};
use crate::table::SimTable;
use crate::workload::everybody;

/// A law that was broken, and how.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) law: &'static str,
    pub(crate) what: String,
}

/// Whether a law holds.
pub(crate) type Law = Result<(), Broken>;

/// `holds`, or the law is broken in the way that `what` says.
pub(crate) fn require(law: &'static str, holds: bool, what: impl FnOnce() -> String) -> Law {
    if holds { Ok(()) } else { Err(Broken { law, what: what() }) }
}

/// **Accepted is never lost**: whatever was answered with 202 is in the books, with a delivery for every webhook that it was answered for.
pub(crate) fn accepted_is_never_lost(ledger: &Ledger, answered: &BTreeMap<(Project, String), u32>) -> Law {
    for ((project, id), deliveries) in answered {
        let made = made_of(&ledger.books, project, id);
        require("accepted is never lost", made.contains(&(*deliveries as usize)), || {
            format!("{id} of {project} was answered with {deliveries} deliveries; the journal has it with {made:?}")
        })?;
    }
    Ok(())
}

/// With how many deliveries the events of that name were accepted.
pub(crate) fn made_of(books: &Books, project: &Project, id: &str) -> Vec<usize> {
    let name = (project.clone(), EventId::parse(id).expect("it was one when it was sent"));
    let accepted = books.by_id.get(&name).into_iter().flatten().filter_map(|sequence| books.events.get(sequence));
    accepted.map(|event| event.webhooks.len()).collect()
}

/// **The journal is what was asked for**: everything acknowledged, to the byte and in order, and behind it whole batches of what was not acknowledged.
pub(crate) fn the_journal_is_what_was_asked_for(ledger: &Ledger, journal: &[ScannedFrame]) -> Law {
    ledger.compare(journal).map_err(|what| Broken { law: "the journal is what was asked for", what })
}

/// **The Black List is what was answered**: whoever is listed by what is durable is found at once with the first reason and time, and nobody else is,
/// whether the view has it yet or not.
pub(crate) fn the_blacklist_is_what_was_answered(ledger: &Ledger, blacklist: &Blacklist<SimTable>) -> Law {
    for name in everybody() {
        // A table that fails ends the process soon.
        let Ok(found) = blacklist.find(&name.0, &name.1) else { continue };
        let listed = ledger.books.blacklist.get(&name);
        require("the Black List is what was answered", found.as_ref() == listed, || {
            format!("{name:?} is {found:?}, should be {listed:?}")
        })?;
    }
    Ok(())
}

/// **Nothing is sent or answered before it is durable**: at that moment the most unlucky loss of power would leave its `Accepted`.
pub(crate) fn it_is_durable(reader: &JournalReader<SimMedium>, sequence: Sequence, locator: Locator) -> Law {
    let found = reader.read(locator);
    let is_there = found.as_ref().is_ok_and(|found| found.fact.clone().into_event(found.sequence, sequence).is_some());
    require("nothing is sent or answered before it is durable", is_there, || format!("fact {sequence} at {locator:?}: {found:?}"))
}

/// **Never early**: no attempt begins before its due time, unless an operator wants that; nothing that an operator ended is sent; and only what is pending is sent, one attempt at a time.
pub(crate) fn never_early(mirror: &Mirror, send: &Send, now: UnixMillis) -> Law {
    let waiting = mirror.find(send.key).copied();
    let fits = waiting.is_some_and(|one| !one.in_flight && one.due == send.due && one.attempts + 1 == send.attempt);
    let fits = fits && waiting.is_some_and(|one| (one.due <= now || one.is_hastened) && !one.is_doomed);
    require("never early", fits, || format!("at {now} {send:?} was ordered; pending is {waiting:?}"))
}

/// **Caps hold**: attempts at once for one webhook and in all; an ordered lane has one, that of the first accepted; a closed or paused lane has none that is new.
pub(crate) fn caps_hold(mirror: &Mirror, send: &Send, credits_taken: usize) -> Law {
    let lane = mirror.lanes.get(&send.key.webhook);
    let law = "caps hold";
    let Some(lane) = lane else { return require(law, false, || format!("{send:?} has no lane")) };
    require(law, lane.is_open() && !mirror.draining && !mirror.sending_paused, || {
        let (paused, gone, removed, configured) = (lane.paused, lane.gone, lane.removed, lane.webhook.is_some());
        format!("{send:?} although paused: {paused}, gone: {gone}, removed: {removed}, configured: {configured}")
    })?;
    let Some(webhook) = &lane.webhook else { return Ok(()) };
    require(law, **webhook == *send.webhook, || format!("{send:?} goes by a definition that was replaced"))?;
    let cap = if webhook.spec.ordered { 1 } else { webhook.spec.max_in_flight };
    require(law, lane.in_flight < cap, || format!("{send:?} is one more than {cap} at once"))?;
    require(law, mirror.in_flight < mirror.max_in_flight, || format!("{send:?} is one more than {} in all", mirror.max_in_flight))?;
    require(law, credits_taken < OUTCOME_CREDITS, || format!("{send:?} has no outcome credit"))?;
    let first = lane.waiting.keys().next();
    require(law, !webhook.spec.ordered || first == Some(&send.key.sequence), || format!("{send:?} overtakes {first:?}"))
}

/// **The rate holds**: a bucket that starts empty and holds a tenth of the rate's count, at least one.
pub(crate) fn the_rate_holds(lane: &LaneMirror, now: UnixMillis) -> Law {
    let Some(rate) = lane.webhook.as_ref().and_then(|webhook| webhook.spec.rate) else { return Ok(()) };
    let capacity = u64::from(rate.count / 10).max(1);
    for (index, since) in lane.sends.iter().rev().enumerate() {
        let attempts = index as u64 + 1;
        let allowed = (capacity * rate.per_ms + now.since_ms(*since) * u64::from(rate.count)) / rate.per_ms;
        require("the rate holds", attempts <= allowed, || format!("{attempts} attempts since {since}, at {now}, with {rate}"))?;
    }
    let filled = now.since_ms(lane.rate_since) * u64::from(rate.count) >= rate.per_ms;
    require("the rate holds", filled, || format!("an attempt at {now}, the bucket was empty at {} with {rate}", lane.rate_since))
}

/// **Attempts follow the schedule**: the decision after an attempt is the schedule's, `Retry-After` puts it off by an hour at most, and nothing follows the last.
pub(crate) fn attempts_follow_the_schedule(mirror: &Mirror, record: &AttemptRecord, now: UnixMillis) -> Law {
    let (attempt, law) = (&record.attempt, "attempts follow the schedule");
    let waiting = mirror.find(record.key).copied();
    let fits = waiting.is_some_and(|one| one.in_flight && one.attempts + 1 == attempt.number && one.due == attempt.due);
    require(law, fits && attempt.finished == now, || format!("{record:?} was recorded at {now}; pending is {waiting:?}"))?;
    let webhook = mirror.lanes.get(&record.key.webhook).and_then(|lane| lane.last_known.as_ref());
    let steps = webhook.map(|webhook| webhook.spec.schedule.steps.as_slice()).unwrap_or_default();
    let mut intervals = steps.iter().flat_map(|step| std::iter::repeat_n(step.interval_ms, step.attempts as usize));
    let interval = intervals.nth(attempt.number as usize - 1);
    let expected = match interval {
        _ if attempt.outcome.class == OutcomeClass::Success => Next::Delivered,
        None => Next::Dropped,
        Some(interval_ms) => {
            let asked_ms = attempt.outcome.retry_after_ms.unwrap_or(0);
            Next::RetryAt(now.plus_ms(interval_ms.max(asked_ms.min(interval_ms + RETRY_AFTER_EXTRA_MAX_MS))))
        }
    };
    require(law, attempt.next == expected, || format!("{record:?} at {now} should have been followed by {expected:?}"))
}

/// **Attempts never exceed the schedule**: those in the journal are numbered from 1 without a gap and end with the delivery;
/// whatever was sent beyond them was under way, or not yet durable, in a crash.
pub(crate) fn attempts_never_exceed_the_schedule(
    ledger: &Ledger,
    sends: &HashMap<DeliveryKey, u32>,
    repeats: &HashMap<DeliveryKey, u32>,
    longest: &BTreeMap<WebhookNumber, u32>,
) -> Law {
    let law = "attempts never exceed the schedule";
    let mut recorded: HashMap<DeliveryKey, u32> = HashMap::new();
    let mut in_round: HashMap<DeliveryKey, u32> = HashMap::new();
    let mut ended: HashMap<DeliveryKey, usize> = HashMap::new();
    for (index, logged) in ledger.log.iter().enumerate() {
        if let Fact::Carried(Carried { sequence, from: None, deliveries, .. }) = &logged.fact {
            for key in deliveries.iter().map(|one| DeliveryKey { sequence: *sequence, webhook: one.webhook }) {
                in_round.remove(&key);
                ended.remove(&key);
            }
        }
        let Fact::Attempted(attempted) = &logged.fact else { continue };
        *recorded.entry(attempted.key).or_default() += 1;
        let count = in_round.entry(attempted.key).or_default();
        *count += 1;
        let number = attempted.attempt.number;
        require(law, *count == number, || format!("attempt {count} of {:?} calls itself {number}", attempted.key))?;
        let may_be = longest.get(&attempted.key.webhook).copied().unwrap_or(0);
        require(law, number <= may_be, || format!("attempt {number} of {:?}, the schedule has {may_be}", attempted.key))?;
        let before = ended.get(&attempted.key);
        require(law, before.is_none(), || format!("{:?} ended with fact {before:?} and was attempted again", attempted.key))?;
        if !matches!(attempted.attempt.next, Next::RetryAt(_)) {
            ended.insert(attempted.key, index + 1);
        }
    }
    for (key, sent) in sends {
        let (recorded, repeats) = (recorded.get(key).copied().unwrap_or(0), repeats.get(key).copied().unwrap_or(0));
        require(law, *sent <= recorded + repeats, || {
            format!("{key:?} was sent {sent} times: {recorded} recorded, {repeats} lost in crashes")
        })?;
    }
    Ok(())
}

/// **Every webhook that wants an event gets it**, and no other; one whose queue is full gets it `dropped`.
pub(crate) fn all_that_match_get_it(mirror: &Mirror, event_type: &EventTypeName, project: &Project, proposal: &Proposal) -> Law {
    let wants = |webhook: &Webhook| webhook.spec.project == *project && webhook.spec.selectors.iter().any(|one| one.matches(event_type));
    let wanting = mirror.lanes.iter().filter(|(_, lane)| lane.webhook.as_deref().is_some_and(wants));
    let mut numbers = proposal.deliveries.iter().chain(&proposal.overflowed).copied().collect::<Vec<_>>();
    numbers.sort_unstable();
    let expected = wanting.map(|(number, _)| *number).collect::<Vec<_>>();
    require("all that match get it", numbers == expected, || format!("{proposal:?} should go to {expected:?}"))?;
    for number in &proposal.overflowed {
        let full = mirror.lanes.get(number).map_or(0, |lane| lane.waiting.len() + lane.reserved);
        let is_full = full >= mirror.max_pending_per_webhook as usize;
        require("all that match get it", is_full, || format!("{number:?} was full with {full} deliveries"))?;
    }
    Ok(())
}

/// **Answers are right**: an id that was accepted is a duplicate within the window, with other content a conflict; of a refused batch nothing is kept.
pub(crate) fn verdicts_are_right(expected: Option<&Vec<Expected>>, settled: &[Settled]) -> Law {
    let verdicts = settled.iter().map(|one| match one.verdict {
        Verdict::New { sequence, .. } => Expected::New(sequence),
        Verdict::Duplicate { deliveries } => Expected::Duplicate(deliveries),
        Verdict::Conflict => Expected::Conflict,
        Verdict::NotKept => Expected::NotKept,
        Verdict::NoRoom => Expected::NoRoom,
    });
    let verdicts = verdicts.collect::<Vec<_>>();
    require("answers are right", expected == Some(&verdicts), || format!("expected {expected:?}, the store said {settled:?}"))
}

/// **Answers are right**: the client hears of each event what the store said, and a refusal for a full queue has a reason.
pub(crate) fn replies_are_right(mirror: &Mirror, events: &[NewEvent], expected: Option<&Vec<Expected>>, reply: &Reply) -> Law {
    let law = "answers are right";
    match reply {
        Reply::Durable(list) => {
            let ids = list.iter().map(|(id, _, _)| id).eq(events.iter().map(|event| &event.id));
            let fits = |(_, deliveries, duplicate): &(_, u32, bool), one: &Expected| match one {
                Expected::New(_) => !duplicate,
                Expected::Duplicate(made) => *duplicate && made == deliveries,
                _ => false,
            };
            let all_fit = expected.is_some_and(|expected| list.iter().zip(expected).all(|(said, one)| fits(said, one)));
            require(law, ids && all_fit, || format!("expected {expected:?}, the client heard {list:?}"))
        }
        Reply::Conflicts(list) => {
            let indexes = list.iter().map(|(index, _)| *index).collect::<Vec<_>>();
            let conflicts = expected.into_iter().flatten().enumerate().filter(|(_, one)| **one == Expected::Conflict);
            let should_be = conflicts.map(|(index, _)| index).collect::<Vec<_>>();
            require(law, indexes == should_be, || format!("expected {expected:?}, the client heard of {list:?}"))
        }
        Reply::QueueFull { pending, max_pending } => {
            let really = mirror.pending() + mirror.reserved;
            require(law, really == *pending && *max_pending == mirror.max_pending, || format!("{reply:?}, pending are {really}"))
        }
        Reply::Draining => require(law, mirror.draining, || "refused as draining, which it is not".into()),
        Reply::DiskFull => {
            let all_refused = expected.is_some_and(|expected| expected.iter().all(|one| *one == Expected::NoRoom));
            require(law, all_refused, || format!("expected {expected:?}, the client heard that the disk is full"))
        }
        Reply::TooManyDeliveries { .. } => require(law, false, || format!("{reply:?} to a small batch")),
    }
}

/// **The view rests while there is no room for it**: sled fails for good when it is written to on a full disk.
pub(crate) fn the_view_rests_without_room(table: &SimTable) -> Law {
    require("the view rests while there is no room for it", !table.wrote_without_room(), || "something was written to it".into())
}

/// **Bytes delivered equal bytes accepted**: what is read for an attempt is the event of that number, made for that webhook.
pub(crate) fn bytes_are_identical(ledger: &Ledger, send: &Send, fact: &Fact) -> Law {
    let event = ledger.books.events.get(&send.key.sequence).map(|event| &event.accepted);
    let same = match fact {
        Fact::Accepted(read) => {
            let read_alone = Accepted { deliveries: Vec::new(), overflowed: Vec::new(), ..read.clone() };
            read.deliveries.contains(&send.key.webhook) && event == Some(&read_alone)
        }
        Fact::Carried(read) => read.deliveries.iter().any(|one| one.webhook == send.key.webhook) && event == Some(&read.event),
        _ => false,
    };
    require("bytes delivered equal bytes accepted", same, || format!("{send:?} would post {fact:?}"))
}

/// **An event is there as long as it is wanted**: from the order to send until the attempt has ended, whatever became of its segment. A disk that fails is excused.
pub(crate) fn the_event_is_there(key: DeliveryKey, read: &Result<ReadFact, ReadError>) -> Law {
    let is_gone = matches!(read, Err(ReadError::Damaged { .. }));
    require("an event is there as long as it is wanted", !is_gone, || format!("{key:?}: {read:?}"))
}

/// **Nobody is forgotten**: what is due and has room in its lane, and in all, is under way by the time the engine rests.
pub(crate) fn nobody_is_forgotten(mirror: &Mirror, engine: &Engine, now: UnixMillis) -> Law {
    if mirror.draining || mirror.sending_paused || mirror.in_flight >= mirror.max_in_flight {
        return Ok(());
    }
    for (number, lane) in &mirror.lanes {
        let window = engine.lanes().get(*number).map_or(0, |lane| lane.window());
        // An endpoint that can't be reached is left alone for a second at most.
        let rests_ms = engine.lanes().get(*number).map_or(0, |lane| lane.rests_until().since_ms(now));
        require("nobody is forgotten", rests_ms <= KNOCK_REST_MAX_MS, || format!("{number:?} is left alone for {rests_ms} ms"))?;
        let is_limited = rests_ms > 0 || lane.webhook.as_ref().is_some_and(|webhook| webhook.spec.rate.is_some());
        if !lane.is_open() || is_limited || lane.in_flight >= window {
            continue;
        }
        let candidates = lane.waiting.iter().take(if lane.is_ordered() { 1 } else { usize::MAX });
        let forgotten = candidates.filter(|(_, one)| !one.in_flight).find(|(_, one)| (one.due <= now || one.is_hastened) && !one.is_doomed);
        require("nobody is forgotten", forgotten.is_none(), || {
            let (spec, of, all) = (lane.webhook.as_ref().map(|webhook| &webhook.spec), lane.in_flight, mirror.in_flight);
            format!(
                "{number:?}: at {now} {forgotten:?} is due and there is room: {of} of {window}, {all} of {} are in flight; {spec:?}",
                mirror.max_in_flight
            )
        })?;
    }
    Ok(())
}

/// **The engine knows what is pending**: when nothing is under way, exactly what the journal says.
pub(crate) fn the_engine_has_what_the_journal_says(books: &Books, engine: &Engine) -> Law {
    let law = "the engine knows what is pending";
    let mut pending = 0;
    for (key, delivery) in books.deliveries.iter().filter(|(_, delivery)| delivery.state == DeliveryState::Pending) {
        pending += 1;
        let known = engine.delivery(*key).map(|(entry, _)| (entry.due, u32::from(entry.attempts), entry.round));
        let expected = (delivery.due, delivery.attempts, delivery.round);
        require(law, known == Some(expected), || format!("{key:?} is pending as {expected:?}, the engine says {known:?}"))?;
    }
    require(law, pending == engine.pending().len(), || format!("{pending} are pending, the engine has {}", engine.pending().len()))
}

/// **The engine knows what is pending**: as many as follow from what it was told.
pub(crate) fn the_engine_knows_what_is_pending(mirror: &Mirror, engine: &Engine) -> Law {
    let (mirrored, known, in_flight) = (mirror.pending(), engine.pending().len(), engine.in_flight());
    require("the engine knows what is pending", mirrored == known && mirror.in_flight == in_flight, || {
        format!("{mirrored} are pending, {} in flight; the engine says {known}, {in_flight}", mirror.in_flight)
    })
}
