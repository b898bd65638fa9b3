//! The two clocks of the program, and the only place that reads either. It never decides anything.
//!
//! * The **wall clock** ([`wall_now`]) serves headers, HTTP dates and people. It may step.
//! * The **schedule clock** ([`ScheduleClock`]) is what due times are compared with. It starts at the later of the
//!   wall clock and the last time found in the journal, and from then on follows `CLOCK_BOOTTIME` alone: it never steps,
//!   and it counts the time a suspended machine slept.

use std::fmt;

use rustix::time::{ClockId, clock_gettime};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(extend("format" = "date-time"))]
pub struct UnixMillis(#[schemars(with = "String")] pub u64);

impl UnixMillis {
    /// The moment `milliseconds` later, at most the end of time.
    #[must_use]
    pub const fn plus_ms(self, milliseconds: u64) -> Self {
        Self(self.0.saturating_add(milliseconds))
    }

    /// Milliseconds from `earlier` to here; 0 when `earlier` is later.
    #[must_use]
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole seconds since 1970, as `webhook-timestamp` carries them.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// RFC 3339 in UTC with milliseconds, such as `2026-11-23T10:00:00.000Z`.
impl fmt::Display for UnixMillis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = i64::try_from(self.0).ok().and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok());
        match timestamp {
            Some(timestamp) => write!(formatter, "{timestamp:.3}"),
            None => write!(formatter, "{} ms after 1970", self.0),
        }
    }
}

/// RFC 3339 in JSON, as people and their scripts read it.
impl Serialize for UnixMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The inverse; nothing before 1970.
impl<'de> Deserialize<'de> for UnixMillis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("{text:?} is not a time: expected RFC 3339, such as 2026-11-23T10:00:00.000Z"));
        let timestamp = text.parse::<jiff::Timestamp>().map_err(|_| wrong())?;
        u64::try_from(timestamp.as_millisecond()).map(Self).map_err(|_| wrong())
    }
}

/// What the wall clock says now; 1970 when it is set before that.
#[must_use]
pub fn wall_now() -> UnixMillis {
    UnixMillis(millis_of(ClockId::Realtime))
}

/// A clock that only goes forward and that no change of the wall clock reaches.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleClock {
    origin: UnixMillis,
    boottime_ms_at_origin: u64,
}

impl ScheduleClock {
    /// Starts at the later of the wall clock and `last_known`, the newest schedule time found in the journal.
    #[must_use]
    pub fn start(last_known: UnixMillis) -> Self {
        Self { origin: wall_now().max(last_known), boottime_ms_at_origin: millis_of(ClockId::Boottime) }
    }

    /// The schedule time now. It never goes back.
    #[must_use]
    pub fn now(&self) -> UnixMillis {
        self.origin.plus_ms(millis_of(ClockId::Boottime).saturating_sub(self.boottime_ms_at_origin))
    }
}

/// Measures how long something took, in microseconds, on the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Microseconds since the start, at most 71 minutes of them.
    #[must_use]
    pub fn elapsed_us(&self) -> u32 {
        u32::try_from(self.0.elapsed().as_micros()).unwrap_or(u32::MAX)
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn millis_of(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1000 + nanoseconds / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_clock_starts_no_earlier_than_what_the_journal_knows() {
        let future = wall_now().plus_ms(86_400_000);
        let clock = ScheduleClock::start(future);
        assert!(clock.now() >= future);
        assert!(clock.now().since_ms(future) < 60_000);
    }

    #[test]
    fn moments_print_as_rfc_3339_with_milliseconds() {
        assert_eq!(UnixMillis(1_795_428_000_007).to_string(), "2026-11-23T10:00:00.007Z");
        assert_eq!(UnixMillis(u64::MAX).to_string(), format!("{} ms after 1970", u64::MAX));
    }

    #[test]
    fn moments_are_rfc_3339_in_json() {
        let moment = UnixMillis(1_795_428_000_007);
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(json, "\"2026-11-23T10:00:00.007Z\"");
        assert_eq!(serde_json::from_str::<UnixMillis>(&json).unwrap(), moment);
        for wrong in ["\"yesterday\"", "\"1969-12-31T23:59:59Z\"", "7"] {
            assert!(serde_json::from_str::<UnixMillis>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixMillis(5).since_ms(UnixMillis(9)), 0);
        assert_eq!(UnixMillis(u64::MAX).plus_ms(1), UnixMillis(u64::MAX));
    }
}
