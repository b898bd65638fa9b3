//! Following the journal: what happened to deliveries behind some fact, in order, as far as it is durable. It keeps nothing for those who follow: the journal is what they read.
//!
//! Whoever follows holds a [`FollowPlace`], the last fact that he knows. Facts keep their numbers and places over restarts, so nothing is missed or told twice; only
//! facts that retention has taken meanwhile are missed, and then it is said how many.

use std::fmt;
use std::io;
use std::str::FromStr;

use super::keeper::refused_now;
use super::{History, Shared};
use crate::limits;
use crate::model::{Locator, Sequence};
use crate::store::fact::Fact;
use crate::store::journal::medium::Medium;
use crate::store::journal::segment::{FRAMES_START, Scanned, ScannedFrame, parse_file_name};

/// The last fact that somebody knows who follows the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowPlace {
    /// Its number.
    pub sequence: Sequence,
    /// Where it lies.
    pub locator: Locator,
}

/// `number-segment-offset`.
impl fmt::Display for FollowPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}-{}", self.sequence, self.locator.segment, self.locator.offset)
    }
}

impl FromStr for FollowPlace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no place to go on from: pass what the answer before gave as \"next\"");
        let mut numbers = text.split('-');
        let mut next = || numbers.next().ok_or_else(wrong);
        let sequence = Sequence(next()?.parse().map_err(|_| wrong())?);
        let locator = Locator { segment: next()?.parse().map_err(|_| wrong())?, offset: next()?.parse().map_err(|_| wrong())? };
        if numbers.next().is_some() { Err(wrong()) } else { Ok(Self { sequence, locator }) }
    }
}

/// What somebody hears who follows.
#[derive(Debug)]
pub struct Followed {
    /// Facts that ended deliveries, and attempts that failed, in order.
    pub frames: Vec<ScannedFrame>,
    /// Facts that are gone from the journal, and were not heard of.
    pub missed: u64,
    /// Where to go on.
    pub next: FollowPlace,
}

impl<M: Medium> History<M> {
    /// The last fact that is durable.
    #[must_use]
    pub fn noted(&self) -> FollowPlace {
        self.0.state().noted
    }

    /// What happened to deliveries behind `after`: at most `limit` facts, and no more than [`limits::FOLLOWED_FACTS_MAX`] are read to find them. Nothing when there is nothing new.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn follow(&self, after: FollowPlace, limit: usize) -> io::Result<Followed> {
        let noted = self.noted();
        let mut followed = Followed { frames: Vec::new(), missed: 0, next: after };
        if after.sequence >= noted.sequence {
            // A place in the future is one of another past: there is nothing to tell but what comes.
            followed.next = noted;
            return Ok(followed);
        }
        let mut segment = self.0.segment_behind(&mut followed)?;
        let mut read = 0;
        while followed.next.sequence < noted.sequence && followed.frames.len() < limit && read < limits::FOLLOWED_FACTS_MAX {
            let from = if followed.next.locator.segment == segment { u64::from(followed.next.locator.offset) } else { FRAMES_START };
            let until = self.0.last_of(segment)?.unwrap_or(noted.sequence).min(noted.sequence);
            read += self.0.read_segment(segment, from, until, limit, &mut followed)?;
            if followed.next.sequence >= until {
                segment += 1;
            }
        }
        Ok(followed)
    }
}

impl<M: Medium> Shared<M> {
    /// The segment in which the fact behind lies that is known; where that is gone, the oldest there is.
    fn segment_behind(&self, followed: &mut Followed) -> io::Result<u32> {
        let FollowPlace { sequence, locator } = followed.next;
        if self.reader.read(locator).is_ok_and(|found| found.sequence == sequence) {
            return Ok(locator.segment);
        }
        let mut numbers = self.medium.list()?.iter().filter_map(|name| parse_file_name(name)).collect::<Vec<_>>();
        numbers.sort_unstable();
        followed.next.locator = Locator::default();
        for number in numbers.iter().rev() {
            if self.reader.first_of(*number)?.is_some_and(|first| first <= sequence.next()) {
                return Ok(*number);
            }
        }
        let oldest = numbers.first().copied().unwrap_or_default();
        if let Some(first) = self.reader.first_of(oldest)? {
            followed.missed = first.0.saturating_sub(sequence.next().0);
            followed.next.sequence = Sequence(first.0.saturating_sub(1));
        }
        Ok(oldest)
    }

    /// The last fact of a segment that another one follows.
    fn last_of(&self, segment: u32) -> io::Result<Option<Sequence>> {
        Ok(self.reader.first_of(segment + 1)?.map(|first| Sequence(first.0.saturating_sub(1))))
    }

    /// Reads a segment up to the fact `until`; the number of facts read. Behind that one nothing is read: it may not be durable yet.
    fn read_segment(&self, segment: u32, from: u64, until: Sequence, limit: usize, followed: &mut Followed) -> io::Result<usize> {
        let mut read = 0;
        let Some(mut scan) = self.reader.scan_from(segment, from)? else {
            followed.next = FollowPlace { sequence: until, locator: Locator::default() };
            return Ok(read);
        };
        while followed.next.sequence < until && followed.frames.len() < limit && read < limits::FOLLOWED_FACTS_MAX {
            let frame = match scan.step()? {
                Some(Scanned::Frame(frame)) => frame,
                Some(Scanned::Damage { error, .. }) => {
                    refused_now(&error)?;
                    continue;
                }
                None => {
                    // What is missing here was damaged, and recovery named it.
                    followed.next = FollowPlace { sequence: until, locator: Locator::default() };
                    break;
                }
            };
            read += 1;
            if frame.sequence > until || frame.sequence <= followed.next.sequence {
                continue;
            }
            followed.next = FollowPlace { sequence: frame.sequence, locator: frame.locator };
            if is_news(&frame.fact) {
                followed.frames.push(*frame);
            }
        }
        Ok(read)
    }
}

fn is_news(fact: &Fact) -> bool {
    match fact {
        Fact::Accepted(accepted) => !accepted.overflowed.is_empty(),
        Fact::Attempted(_) | Fact::Cancelled(_) => true,
        Fact::Carried(carried) => carried.from.is_none(),
        Fact::Webhook(_) | Fact::Setting(_) | Fact::Blacklist(_) | Fact::IdsCarried(_) | Fact::FloorRaised(_) => false,
    }
}
