//! What `/metrics` says: Prometheus text, prefix `hookwheel_`, base units, no label whose values grow. It never decides anything.
//!
//! Histograms and attempts are counted as they happen; everything that the engine counts anyway comes in [`Figures`] when somebody asks.

use std::collections::HashMap;
use std::fmt::Write as _;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::model::report::Figures;
use crate::model::{Outcome, OutcomeClass};

type Label = [(&'static str, &'static str); 1];

/// The metrics of this process.
pub struct Metrics {
    registry: Registry,
    accepted: Counter,
    attempts: Family<Label, Counter>,
    deliveries: Family<Label, Counter>,
    pending: Gauge,
    in_flight: Gauge,
    oldest_due_age_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    attempt_duration: Histogram,
    delivery_latency: Histogram,
    timer_lateness: Histogram,
    commit_duration: Histogram,
    store_size: Gauge,
    store_free: Gauge,
    store_full: Gauge,
    sending_paused: Gauge,
    egress_blocked: Family<Label, Counter>,
    last_reload_successful: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that count from zero.
    #[must_use]
    pub fn new() -> Self {
        let latencies = || Histogram::new(exponential_buckets(0.000_5, 2.0, 20));
        let metrics = Self {
            registry: Registry::with_prefix("hookwheel"),
            accepted: Counter::default(),
            attempts: Family::default(),
            deliveries: Family::default(),
            pending: Gauge::default(),
            in_flight: Gauge::default(),
            oldest_due_age_seconds: Gauge::default(),
            attempt_duration: latencies(),
            // A delivery may succeed with its last attempt, seven hours after the first.
            delivery_latency: Histogram::new(exponential_buckets(0.001, 3.0, 18)),
            timer_lateness: latencies(),
            commit_duration: latencies(),
            store_size: Gauge::default(),
            store_free: Gauge::default(),
            store_full: Gauge::default(),
            sending_paused: Gauge::default(),
            egress_blocked: Family::default(),
            last_reload_successful: Gauge::default(),
        };
        for class in OutcomeClass::ALL {
            drop(metrics.attempts.get_or_create(&[("outcome", class.as_str())]));
            if let Some(reason) = class.blocked_reason() {
                drop(metrics.egress_blocked.get_or_create(&[("reason", reason)]));
            }
        }
        metrics.last_reload_successful.set(1);
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("events_accepted", "Events made durable", self.accepted.clone());
        registry.register("attempts", "Attempts that ended, by outcome", self.attempts.clone());
        registry.register("deliveries", "Deliveries that ended, by state", self.deliveries.clone());
        registry.register("pending_deliveries", "Deliveries that wait or are in flight", self.pending.clone());
        registry.register("in_flight_attempts", "Attempts under way", self.in_flight.clone());
        let age = self.oldest_due_age_seconds.clone();
        registry.register_with_unit(
            "oldest_due_age",
            "How long the delivery that is due longest has been due, paused webhooks aside",
            Unit::Seconds,
            age,
        );
        registry.register_with_unit("attempt_duration", "Time of one attempt", Unit::Seconds, self.attempt_duration.clone());
        registry.register_with_unit("delivery_latency", "From acceptance to success", Unit::Seconds, self.delivery_latency.clone());
        let lateness = self.timer_lateness.clone();
        registry.register_with_unit(
            "timer_lateness",
            "From due time to the start of an attempt whose lane had room",
            Unit::Seconds,
            lateness,
        );
        let commit = self.commit_duration.clone();
        registry.register_with_unit("store_commit_duration", "From the order of a commit to its durability", Unit::Seconds, commit);
        registry.register_with_unit("store_size", "Size of journal and view on disk", Unit::Bytes, self.store_size.clone());
        registry.register_with_unit("store_free", "Free space of the disk of the data directory", Unit::Bytes, self.store_free.clone());
        registry.register("sending_paused", "1 while an operator has paused all sending", self.sending_paused.clone());
        registry.register("store_full", "1 while events are refused because the disk is full", self.store_full.clone());
        registry.register("egress_blocked", "Attempts whose address was refused, by reason", self.egress_blocked.clone());
        let reload = self.last_reload_successful.clone();
        registry.register("config_last_reload_successful", "1 when the last reload of the configuration was successful", reload);
        registry.register("build", "Version", Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]));
        self
    }

    /// Counts an attempt that ended.
    pub fn attempt_ended(&self, outcome: &Outcome) {
        self.attempts.get_or_create(&[("outcome", outcome.class.as_str())]).inc();
        self.attempt_duration.observe(f64::from(outcome.phases.total_us) / 1e6);
    }

    /// Notes the time from acceptance to success.
    pub fn delivered_after_ms(&self, milliseconds: u64) {
        self.delivery_latency.observe(seconds(milliseconds));
    }

    /// Notes how much later than due an attempt began whose lane had room.
    pub fn timer_was_late_ms(&self, milliseconds: u64) {
        self.timer_lateness.observe(seconds(milliseconds));
    }

    /// Notes how long a commit took, in microseconds.
    pub fn commit_took_us(&self, microseconds: u32) {
        self.commit_duration.observe(f64::from(microseconds) / 1e6);
    }

    /// Counts an attempt whose address was refused.
    pub fn egress_was_blocked(&self, reason: &'static str) {
        self.egress_blocked.get_or_create(&[("reason", reason)]).inc();
    }

    /// The text for Prometheus.
    #[must_use]
    pub fn render(&self, figures: &Figures) -> String {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let counters = figures.counters;
        self.accepted.inner().store(counters.accepted, std::sync::atomic::Ordering::Relaxed);
        for (name, count) in [("delivered", counters.delivered), ("dropped", counters.dropped), ("cancelled", counters.cancelled)] {
            self.deliveries.get_or_create(&[("state", name)]).inner().store(count, std::sync::atomic::Ordering::Relaxed);
        }
        self.pending.set(signed(figures.pending));
        self.in_flight.set(signed(figures.in_flight));
        self.oldest_due_age_seconds.set(seconds(figures.oldest_due_age_ms));
        self.store_size.set(signed(figures.store_size_bytes));
        self.store_free.set(signed(figures.store_free_bytes.unwrap_or(0)));
        self.sending_paused.set(i64::from(figures.is_sending_paused));
        self.store_full.set(i64::from(figures.is_store_full));
        self.last_reload_successful.set(i64::from(figures.is_last_reload_successful));
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a String succeeds");
        let process = process_metrics();
        text.insert_str(text.rfind("# EOF").unwrap_or(text.len()), &process);
        text
    }
}

/// OpenMetrics in the older text format of Prometheus (0.0.4): there a counter is named with its `_total` and an information with its `_info`, and units and the end are not told.
#[must_use]
pub fn in_prometheus_text(text: &str) -> String {
    let suffix_of = |kind: &str| match kind {
        "counter" => Some(("_total", "counter")),
        "info" => Some(("_info", "gauge")),
        _ => None,
    };
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect::<HashMap<_, _>>();
    let mut older = String::with_capacity(text.len());
    for line in text.lines() {
        let words = line.splitn(4, ' ').collect::<Vec<_>>();
        let written = match words.as_slice() {
            ["#", "EOF" | "UNIT", ..] => continue,
            ["#", what @ ("HELP" | "TYPE"), name, rest] => match kinds.get(name).and_then(|kind| suffix_of(kind)) {
                Some((suffix, kind)) => format!("# {what} {name}{suffix} {}", if *what == "TYPE" { kind } else { rest }),
                None => line.to_owned(),
            },
            _ => line.to_owned(),
        };
        older.push_str(&written);
        older.push('\n');
    }
    older
}

fn seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}

/// The usual `process_*` metrics, from `/proc`; what can't be read is left out.
fn process_metrics() -> String {
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, value: Option<f64>| {
        if let Some(value) = value {
            writeln!(text, "# TYPE {name} {kind}\n{name}{} {value}", if kind == "counter" { "_total" } else { "" })
                .expect("writing to a String succeeds");
        }
    };
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the program's name, may hold spaces; everything behind its closing bracket is plain.
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<f64>().ok());
    const TICKS_PER_SECOND: f64 = 100.0;
    add("process_cpu_seconds", "counter", field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS_PER_SECOND));
    add(
        "process_resident_memory_bytes",
        "gauge",
        resident_bytes().and_then(|bytes| u32::try_from(bytes / 1024).ok()).map(|kibibytes| f64::from(kibibytes) * 1024.0),
    );
    let boot = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
    add("process_start_time_seconds", "gauge", boot.zip(field(22)).map(|(boot, start)| boot + start / TICKS_PER_SECOND));
    let open = std::fs::read_dir("/proc/self/fd").ok().and_then(|entries| u32::try_from(entries.count()).ok());
    add("process_open_fds", "gauge", open.map(f64::from));
    text
}

/// Bytes of memory that this process occupies (its resident set); none where the system does not say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    resident_bytes_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` of `/proc/self/status`. It is in KiB whatever the size of a page, and pages of 16 and 64 KiB are usual on ARM.
fn resident_bytes_in(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::report::Counters;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes_in("VmHWM:\t    9000 kB\nVmRSS:\t    1234 kB\nRssAnon:\t 1 kB\n"), Some(1_263_616));
        assert_eq!(resident_bytes_in("Name:\thookwheel\n"), None);
    }

    #[test]
    fn every_metric_of_the_contract_is_there_and_says_what_happened() {
        let metrics = Metrics::new();
        metrics.attempt_ended(&Outcome::new(OutcomeClass::ConnectRefused, "x"));
        metrics.egress_was_blocked("special_range");
        metrics.delivered_after_ms(20);
        metrics.timer_was_late_ms(1);
        metrics.commit_took_us(900);
        let text = metrics.render(&Figures {
            counters: Counters { accepted: 9, dropped: 3, ..Counters::default() },
            pending: 7,
            in_flight: 2,
            oldest_due_age_ms: 1500,
            store_free_bytes: Some(77),
            is_store_full: true,
            ..Figures::default()
        });
        for line in [
            "hookwheel_events_accepted_total 9",
            "hookwheel_attempts_total{outcome=\"connect_refused\"} 1",
            "hookwheel_attempts_total{outcome=\"success\"} 0",
            "hookwheel_deliveries_total{state=\"dropped\"} 3",
            "hookwheel_pending_deliveries 7",
            "hookwheel_in_flight_attempts 2",
            "hookwheel_oldest_due_age_seconds 1.5",
            "hookwheel_attempt_duration_seconds_count 1",
            "hookwheel_delivery_latency_seconds_count 1",
            "hookwheel_timer_lateness_seconds_count 1",
            "hookwheel_store_commit_duration_seconds_count 1",
            "hookwheel_store_size_bytes 0",
            "hookwheel_store_free_bytes 77",
            "hookwheel_store_full 1",
            "hookwheel_sending_paused 0",
            "hookwheel_egress_blocked_total{reason=\"special_range\"} 1",
            "hookwheel_config_last_reload_successful 0",
            "hookwheel_build_info{version=",
            "process_resident_memory_bytes ",
            "process_cpu_seconds_total ",
            "process_open_fds ",
            "process_start_time_seconds ",
        ] {
            assert!(text.contains(&format!("\n{line}")), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_older_format_names_counters_in_full() {
        let text = in_prometheus_text(&Metrics::new().render(&Figures::default()));
        for line in [
            "# HELP hookwheel_events_accepted_total Events made durable.",
            "# TYPE hookwheel_events_accepted_total counter",
            "hookwheel_events_accepted_total 0",
            "# TYPE hookwheel_build_info gauge",
            "# TYPE hookwheel_pending_deliveries gauge",
            "# TYPE hookwheel_attempt_duration_seconds histogram",
            "hookwheel_egress_blocked_total{reason=\"url\"} 0",
            "hookwheel_egress_blocked_total{reason=\"special_range\"} 0",
            "hookwheel_egress_blocked_total{reason=\"port\"} 0",
            "hookwheel_egress_blocked_total{reason=\"own_listener\"} 0",
            "# TYPE process_cpu_seconds_total counter",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
    }
}
