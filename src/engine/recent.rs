//! How the attempts of one webhook went lately: how many, how many of them failed, how long they took. It holds counts, never an attempt and never a clock.
//!
//! Time is cut into slices of a minute, and the last few of them count. A length is counted in one of 240 classes, eight to each doubling, so that what is told of it is at most a sixteenth off.
//! Only what came up takes room: an attempt adds one cell of 12 bytes, or none where its like came up in the same minute. So all lanes together never hold more cells than there
//! were attempts lately, however many webhooks there are; a lane in which nothing happened for that long gives its cells back ([`super::lanes::Lanes`] looks after that).

use crate::limits;
use crate::model::report::RecentAttempts;
use crate::time::UnixMillis;

const STEPS_BITS: u32 = 3;
const STEPS: u32 = 1 << STEPS_BITS;
const CLASSES: usize = 240;

/// The attempts of the last minutes, counted.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// In the order of their slices.
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    slice: u32,
    count: u32,
    class: u8,
    failed: bool,
}

const _: () = assert!(size_of::<Cell>() == 12);

impl Recent {
    /// Counts an attempt that ended now and took so many microseconds.
    pub fn note(&mut self, now: UnixMillis, took_us: u32, failed: bool) {
        let (slice, class) = (slice_of(now), class_of(took_us));
        if self.cells.last().is_some_and(|newest| newest.slice != slice) {
            self.cells.retain(|cell| is_recent(cell.slice, slice));
        }
        let of_this_slice = self.cells.iter_mut().rev().take_while(|cell| cell.slice == slice);
        match of_this_slice.into_iter().find(|cell| (cell.class, cell.failed) == (class, failed)) {
            Some(cell) => cell.count = cell.count.saturating_add(1),
            None => self.cells.push(Cell { slice, count: 1, class, failed }),
        }
    }

    /// Whether everything in it is too old to count.
    #[must_use]
    pub fn is_over(&self, now: UnixMillis) -> bool {
        self.cells.last().is_none_or(|newest| !is_recent(newest.slice, slice_of(now)))
    }

    /// What is told about it.
    #[must_use]
    pub fn told(&self, now: UnixMillis) -> RecentAttempts {
        let slice = slice_of(now);
        let mut by_class = [0_u64; CLASSES];
        let (mut attempts, mut failed) = (0, 0);
        for cell in self.cells.iter().filter(|cell| is_recent(cell.slice, slice)) {
            let count = u64::from(cell.count);
            attempts += count;
            failed += if cell.failed { count } else { 0 };
            by_class[usize::from(cell.class)] += count;
        }
        let of_hundred = |percent: u64| {
            let rank = (attempts * percent).div_ceil(100);
            let mut below = 0;
            let class = by_class.iter().position(|count| {
                below += count;
                rank > 0 && below >= rank
            })?;
            u32::try_from(class).ok().map(middle_of)
        };
        RecentAttempts { attempts, failed, p50_us: of_hundred(50), p99_us: of_hundred(99) }
    }
}

fn slice_of(now: UnixMillis) -> u32 {
    u32::try_from(now.0 / limits::RECENT_SLICE_MS).unwrap_or(u32::MAX)
}

fn is_recent(slice: u32, now: u32) -> bool {
    now.saturating_sub(slice) < limits::RECENT_SLICES
}

/// Up to 7 µs a class of its own for each microsecond, then eight to each doubling.
fn class_of(took_us: u32) -> u8 {
    let class = if took_us < STEPS {
        took_us
    } else {
        let doubling = took_us.ilog2() - STEPS_BITS;
        (doubling + 1) * STEPS + ((took_us >> doubling) & (STEPS - 1))
    };
    u8::try_from(class).expect("32 bits have 29 doublings from 8 on, which makes 240 classes")
}

/// The length in the middle of a class.
fn middle_of(class: u32) -> u32 {
    let Some(doubling) = (class / STEPS).checked_sub(1) else { return class };
    ((STEPS + class % STEPS) << doubling) + ((1 << doubling) >> 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: UnixMillis = UnixMillis(1_795_428_000_000);

    fn minutes(count: u64) -> UnixMillis {
        START.plus_ms(count * limits::RECENT_SLICE_MS)
    }

    #[test]
    fn nothing_is_told_of_nothing() {
        assert_eq!(Recent::default().told(START), RecentAttempts::default());
        assert!(Recent::default().is_over(START));
    }

    #[test]
    fn quantiles_are_those_of_the_attempts() {
        let mut recent = Recent::default();
        for number in 1..=100_u32 {
            recent.note(START, number * 1000, number % 4 == 0);
        }
        let told = recent.told(START);
        assert_eq!((told.attempts, told.failed), (100, 25));
        let near = |told: Option<u32>, exact: u32| told.is_some_and(|told| told.abs_diff(exact) * 16 <= exact);
        assert!(near(told.p50_us, 50_000) && near(told.p99_us, 99_000), "{told:?}");
        let mut one = Recent::default();
        one.note(START, 5, true);
        assert_eq!(one.told(START), RecentAttempts { attempts: 1, failed: 1, p50_us: Some(5), p99_us: Some(5) });
    }

    #[test]
    fn the_window_slides_by_the_minute_and_in_the_end_nothing_is_left() {
        let mut recent = Recent::default();
        for minute in 0..10 {
            recent.note(minutes(minute), 1000, false);
            recent.note(minutes(minute), 1000, true);
            assert_eq!(recent.told(minutes(minute)).attempts, 2 * (minute + 1).min(u64::from(limits::RECENT_SLICES)));
            assert!(recent.cells.len() <= 2 * limits::RECENT_SLICES as usize, "what is too old is given back");
        }
        let last = minutes(9 + u64::from(limits::RECENT_SLICES) - 1);
        assert_eq!((recent.told(last).attempts, recent.is_over(last)), (2, false));
        let over = minutes(9 + u64::from(limits::RECENT_SLICES));
        assert_eq!((recent.told(over), recent.is_over(over)), (RecentAttempts::default(), true));
    }

    proptest! {
        #[test]
        fn a_length_is_told_to_a_sixteenth(took_us: u32) {
            let told = middle_of(u32::from(class_of(took_us)));
            prop_assert!(u64::from(told.abs_diff(took_us)) * 16 <= u64::from(took_us), "{took_us} {told}");
        }

        #[test]
        fn a_longer_attempt_is_in_no_lower_class(one: u32, other: u32) {
            prop_assert!((one <= other) == (class_of(one) <= class_of(other)) || class_of(one) == class_of(other));
        }

        #[test]
        fn no_more_cells_than_attempts_and_than_there_can_be(lengths in proptest::collection::vec((0..20_u64, 0..300_000_000_u32, any::<bool>()), 0..500)) {
            let mut recent = Recent::default();
            let mut now = 0;
            for (index, (pause, took_us, failed)) in lengths.into_iter().enumerate() {
                now += pause / 10;
                recent.note(minutes(now), took_us, failed);
                prop_assert!(recent.cells.len() <= index + 1);
                prop_assert!(recent.cells.is_sorted_by_key(|cell| cell.slice));
            }
        }
    }
}
