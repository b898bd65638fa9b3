//! Tells systemd that the daemon does its work, after having looked. It never feeds the watchdog from a timer of its own.
//!
//! The engine's loop feeds it, at most three times in the time that systemd allows (`WatchdogSec=`), and only when
//!
//! * the loop itself turns: nobody else feeds,
//! * nothing that was due has been left lying: the wheel's next moment is not far behind the clock, and
//! * the runtime that sends the attempts has made its own beats since the last feeding.
//!
//! A slow disk holds up neither the loop nor the runtime, so it starves nothing; a loop that is stuck, or a runtime whose workers are, is restarted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use super::systemd;
use crate::limits;
use crate::time::{Stopwatch, UnixMillis};

/// What the engine's thread holds to feed systemd's watchdog; without one, looking costs nothing.
pub(super) struct Watchdog {
    /// Feed no oftener.
    every_ms: u64,
    beats: Arc<AtomicU64>,
    beats_at_feeding: u64,
    since_feeding: Stopwatch,
    complained: bool,
}

impl Watchdog {
    /// The watchdog that systemd asked for, if it did, with `runtime` beating from now on.
    pub(super) fn of_process(runtime: &Runtime) -> Option<Self> {
        Some(Self::new(sd_notify::watchdog_enabled()?, runtime))
    }

    fn new(timeout: Duration, runtime: &Runtime) -> Self {
        let every_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX) / 3;
        let beats = Arc::new(AtomicU64::new(1));
        let heart = Arc::clone(&beats);
        // It ends with the runtime.
        drop(runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(every_ms / 2)).await;
                heart.fetch_add(1, Ordering::Relaxed);
            }
        }));
        Self { every_ms, beats, beats_at_feeding: 0, since_feeding: Stopwatch::start(), complained: false }
    }

    /// Called in each turn of the engine's loop; `next_wakeup` is when the engine wants to be called next.
    pub(super) fn look(&mut self, now: UnixMillis, next_wakeup: Option<UnixMillis>) {
        if self.since_feeding.elapsed_ms() < self.every_ms {
            return;
        }
        let Err(why) = self.check(now, next_wakeup) else {
            (self.since_feeding, self.complained) = (Stopwatch::start(), false);
            return systemd::alive();
        };
        if !self.complained {
            tracing::error!("the watchdog is not fed: {why}. systemd will restart the daemon unless this passes");
            self.complained = true;
        }
    }

    fn check(&mut self, now: UnixMillis, next_wakeup: Option<UnixMillis>) -> Result<(), String> {
        let late_ms = next_wakeup.map_or(0, |at| now.since_ms(at));
        if late_ms > limits::WATCHDOG_LATENESS_MAX_MS {
            return Err(format!("a delivery is {late_ms} ms over its time and was not taken off the wheel"));
        }
        let beats = self.beats.load(Ordering::Relaxed);
        if beats == self.beats_at_feeding {
            return Err("the runtime that sends attempts does not move".to_owned());
        }
        self.beats_at_feeding = beats;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_only_while_the_wheel_is_on_time_and_the_runtime_beats() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut watchdog = Watchdog::new(Duration::from_secs(3600), &runtime);
        let now = UnixMillis(1_795_428_000_000);
        assert_eq!(watchdog.check(now, None), Ok(()));
        // The runtime is never driven here, so it makes no beat of its own.
        assert!(watchdog.check(now, None).unwrap_err().contains("does not move"));
        watchdog.beats.fetch_add(1, Ordering::Relaxed);
        let late = UnixMillis(now.0 - limits::WATCHDOG_LATENESS_MAX_MS - 1);
        assert!(watchdog.check(now, Some(late)).unwrap_err().contains("over its time"));
        assert_eq!(watchdog.check(now, Some(now.plus_ms(5))), Ok(()));
    }
}
