//! What the daemon tells about itself, on its way to becoming events as any other, and the laws on it: no loops. It never decides what is told.

use std::collections::BTreeMap;

use hookwheel::engine::{AttemptRecord, Input};
use hookwheel::model::{EventId, News, Next, Notice, OutcomeClass, Settled, Verdict, WebhookNumber};

use crate::hallway::Daemon;
use crate::laws::{Law, require};
use crate::world::World;

/// What a process could tell of, and what it told.
#[derive(Default)]
pub(crate) struct Gossip {
    happened: BTreeMap<WebhookNumber, Happened>,
    disk_was_low: u64,
    disk_told: u64,
}

/// What happened to a webhook, and what was told of that.
#[derive(Default)]
struct Happened {
    /// How its last attempt ended, as far as is known.
    fails: Option<bool>,
    began_to_fail: u64,
    became_well: u64,
    dropped: u64,
    pauses: u64,
    told_failing: u64,
    told_recovered: u64,
    told_dropped: u64,
    told_paused: u64,
}

impl Gossip {
    /// Takes in what the engine is told.
    pub(crate) fn heard(&mut self, input: &Input) {
        match input {
            Input::Loaded(entries) => {
                for entry in entries.iter().filter(|entry| entry.attempts > 0) {
                    self.of(entry.key.webhook).fails = Some(true);
                }
            }
            Input::Committed { settled, .. } => settled.iter().for_each(|one| self.settled(one)),
            Input::PausesBegan(pauses) => pauses.iter().for_each(|(webhook, _)| self.of(*webhook).pauses += 1),
            Input::DiskMeasured { free_bytes: 0 } => self.disk_was_low += 1,
            _ => {}
        }
    }

    /// Takes in how an attempt ended.
    pub(crate) fn recorded(&mut self, record: &AttemptRecord) {
        let happened = self.of(record.key.webhook);
        let fails = match record.attempt.outcome.class {
            OutcomeClass::Success => Some(false),
            OutcomeClass::Gone => happened.fails,
            _ => Some(true),
        };
        match (std::mem::replace(&mut happened.fails, fails), fails) {
            (None | Some(false), Some(true)) => happened.began_to_fail += 1,
            (Some(true), Some(false)) => happened.became_well += 1,
            _ => {}
        }
        happened.dropped += u64::from(record.attempt.next == Next::Dropped);
    }

    fn settled(&mut self, settled: &Settled) {
        if matches!(settled.verdict, Verdict::New { .. }) {
            settled.overflowed.iter().for_each(|webhook| self.of(*webhook).dropped += 1);
        }
    }

    fn of(&mut self, webhook: WebhookNumber) -> &mut Happened {
        self.happened.entry(webhook).or_default()
    }

    /// **The daemon never tells of those whom it tells**, and **nothing is told that did not happen**: of each webhook no more than it changed, three times of one outage.
    fn told(&mut self, news: &News) -> Law {
        let law = "nothing is told that did not happen";
        let Some(subject) = news.subject() else {
            self.disk_told += 1;
            return require(law, self.disk_told <= self.disk_was_low, || format!("{} times {news:?}", self.disk_told));
        };
        require("the daemon never tells of those whom it tells", !subject.project.is_of_daemon(), || format!("{news:?}"))?;
        let happened = self.of(subject.number);
        let (told, at_most) = match news {
            News::Failing { .. } => {
                happened.told_failing += 1;
                // What was loaded may go on for hours.
                (happened.told_failing, 3 * (happened.began_to_fail + 1))
            }
            News::Recovered { .. } => {
                happened.told_recovered += 1;
                (happened.told_recovered, happened.became_well)
            }
            News::Dropped { count, .. } => {
                happened.told_dropped += count;
                (happened.told_dropped, happened.dropped)
            }
            News::Paused { .. } => {
                happened.told_paused += 1;
                (happened.told_paused, happened.pauses)
            }
            News::DiskLow { .. } => (0, 0),
        };
        require(law, told <= at_most, || format!("{news:?}: {told} told, {at_most} happened"))
    }
}

impl World {
    /// Something that the engine wants told becomes an event, published as any other.
    pub(crate) fn publish_notice(&mut self, daemon: &mut Daemon, notice: &Notice) -> Law {
        daemon.gossip.told(&notice.news)?;
        self.note("told", &[("webhook", notice.news.subject().map_or(0, |subject| subject.number.0).into())]);
        // Another one for each process, for what a dead one published may be there.
        self.notices += 1;
        let id = EventId::parse(&format!("told_{}", self.notices)).expect("it has the form of an id");
        self.publish_for_the_daemon(daemon, notice.event(id));
        Ok(())
    }

    /// The daemon looks at the room on its disk.
    pub(crate) fn disk_is_measured(&mut self, free_bytes: u64) {
        let now_ms = self.now_ms;
        if let Some(daemon) = &mut self.daemon {
            daemon.tell(Input::DiskMeasured { free_bytes }, now_ms);
        }
    }
}
