//! How deliveries are attempted: `[delivery]`, and the same keys in a `[[webhook]]`. It never says which webhook.

use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::mistakes::Report;
use super::notation::{self, DURATION, RATE};
use super::raw::{self, Section, Value};
use crate::limits;
use crate::model::{Rate, RetrySchedule, RetryStep, SuccessRule};

const TIMEOUT_DEFAULT_MS: u64 = 10_000;
const ORPHAN_GRACE_DEFAULT_MS: u64 = 24 * 3_600_000;
const SUCCESS: &str = "a list of statuses, such as [200] or [\"2xx\"]";
const STEPS: &str = "a list of steps, such as [ {attempts = 3, every = \"100s\"} ]";

/// What a webhook may have different from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeliverySettings {
    pub(super) timeout_ms: u64,
    pub(super) success: SuccessRule,
    pub(super) schedule: RetrySchedule,
    pub(super) max_in_flight: u32,
    pub(super) rate: Option<Rate>,
    pub(super) ordered: bool,
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            timeout_ms: TIMEOUT_DEFAULT_MS,
            success: SuccessRule::default(),
            schedule: RetrySchedule::default(),
            max_in_flight: limits::LANE_IN_FLIGHT_DEFAULT,
            rate: None,
            ordered: false,
        }
    }
}

impl DeliverySettings {
    /// `[delivery]`: the settings of every webhook that says nothing else, and `orphan_grace` in milliseconds.
    pub(super) fn read(file: &mut Section<'_>, report: &mut Report<'_>) -> (Self, u64) {
        let mut section = file.section("delivery", report);
        let settings = Self::default().overridden(&mut section, report);
        let grace = section.parsed("orphan_grace", DURATION, report, |text| notation::duration_ms(text, 0..=limits::DURATION_MAX_MS));
        section.finish(&[], report);
        (settings, grace.unwrap_or(ORPHAN_GRACE_DEFAULT_MS))
    }

    /// These settings, except for what `section` says.
    pub(super) fn overridden(&self, section: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let timeout = section.parsed("timeout", DURATION, report, |text| notation::duration_ms(text, 1..=limits::TIMEOUT_MAX_MS));
        Self {
            timeout_ms: timeout.unwrap_or(self.timeout_ms),
            success: success(section, report).unwrap_or_else(|| self.success.clone()),
            schedule: schedule(section, report).unwrap_or_else(|| self.schedule.clone()),
            max_in_flight: section.integer("max_in_flight", 1..=limits::IN_FLIGHT_MAX, report).unwrap_or(self.max_in_flight),
            rate: section.parsed("rate", RATE, report, notation::rate).or(self.rate),
            ordered: section.flag("ordered", report).unwrap_or(self.ordered),
        }
    }
}

fn success(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<SuccessRule> {
    let (list, offset) = section.list("success", SUCCESS, report)?;
    if list.is_empty() {
        report.wrong(offset, "success: the list is empty, so nothing would ever be delivered");
    }
    Some(SuccessRule(list.iter().filter_map(|value| statuses(value, report)).collect()))
}

/// `200`, or `"2xx"`. 1xx is left out: such a response is never the last one (RFC 9110, 15.2).
fn statuses(value: &Value<'_>, report: &mut Report<'_>) -> Option<RangeInclusive<u16>> {
    let range = match value.get_ref() {
        DeValue::Integer(integer) => {
            u16::from_str_radix(integer.as_str(), integer.radix()).ok().filter(|status| (200..=599).contains(status)).map(|s| s..=s)
        }
        DeValue::String(class) => match class.as_ref() {
            "2xx" => Some(200..=299),
            "3xx" => Some(300..=399),
            "4xx" => Some(400..=499),
            "5xx" => Some(500..=599),
            _ => None,
        },
        _ => None,
    };
    if range.is_none() {
        raw::wrong_type(value, "success", "a status from 200 to 599, or a class of them such as \"2xx\"", report);
    }
    range
}

fn schedule(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<RetrySchedule> {
    let (list, offset) = section.list("retry", STEPS, report)?;
    let steps = list.iter().filter_map(|value| step(value, report)).collect::<Vec<_>>();
    let total = 1 + steps.iter().map(|step| u64::from(step.attempts)).sum::<u64>();
    if total > u64::from(limits::ATTEMPTS_MAX) {
        report.wrong(offset, format!("retry: {total} attempts, the first included; at most {} are possible", limits::ATTEMPTS_MAX));
        return None;
    }
    Some(RetrySchedule { steps })
}

fn step(value: &Value<'_>, report: &mut Report<'_>) -> Option<RetryStep> {
    let mut section = Section::of(value, "a step of retry", report)?;
    let attempts = section.integer("attempts", 1..=limits::ATTEMPTS_MAX, report);
    let every = section.parsed("every", DURATION, report, |text| notation::duration_ms(text, 1..=limits::RETRY_INTERVAL_MAX_MS));
    section.finish(&["attempts", "every"], report);
    Some(RetryStep { attempts: attempts?, interval_ms: every? })
}
