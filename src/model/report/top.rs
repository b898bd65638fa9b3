//! What is told to whoever watches the webhooks: which fare worst, and how each fared lately. It holds figures, and orders nothing.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Counters, WebhookSummary};
use crate::model::Pause;
use crate::time::UnixMillis;

/// The webhooks that come first in some order, and the whole in figures: `GET /v1/top`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Top {
    /// When this was so.
    pub at: UnixMillis,
    /// Whether the daemon is ending.
    pub draining: bool,
    /// Why nothing is sent to anybody, while an operator wants it so.
    pub paused: Option<Pause>,
    /// What is wrong with the disk, in words.
    pub disk_trouble: Option<String>,
    /// What happened since it started.
    pub counters: Counters,
    /// Deliveries that wait or are in flight.
    pub pending: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// How long the delivery that is due longest has been due, in milliseconds.
    pub oldest_due_age_ms: u64,
    /// How many webhooks there are, and how they fare.
    #[serde(flatten)]
    pub census: Census,
    /// The last attempts of each webhook are those of so many milliseconds at most.
    pub recent_ms: u64,
    /// The order.
    pub sort: TopSort,
    /// Whether it is the other way round.
    pub reverse: bool,
    /// The webhooks that come first.
    pub webhooks: Vec<WebhookActivity>,
}

/// How many webhooks there are, and how they fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Census {
    /// Webhooks in all.
    pub webhooks_total: u64,
    /// Those whose last attempt failed and that are not paused.
    pub webhooks_failing: u64,
    /// Those that are paused, for whatever reason.
    pub webhooks_paused: u64,
    /// Deliveries that wait for one that fails.
    pub pending_failing: u64,
    /// Deliveries that wait for one that is paused.
    pub pending_paused: u64,
}

impl std::ops::AddAssign for Census {
    fn add_assign(&mut self, other: Self) {
        self.webhooks_total += other.webhooks_total;
        self.webhooks_failing += other.webhooks_failing;
        self.webhooks_paused += other.webhooks_paused;
        self.pending_failing += other.pending_failing;
        self.pending_paused += other.pending_paused;
    }
}

/// A webhook, and how it fared lately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookActivity {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: WebhookSummary,
    /// Its last attempts.
    pub recent: RecentAttempts,
    /// When its next attempt starts; none when nothing waits, when it is paused, or when too much is due before to say.
    pub next_attempt: Option<UnixMillis>,
    /// The next attempt may be earlier, for so much waits that not all of it was looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub next_attempt_is_about: bool,
}

/// How the attempts of one webhook went lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecentAttempts {
    /// Attempts that ended.
    pub attempts: u64,
    /// Those that failed.
    pub failed: u64,
    /// Microseconds within which half of them ended, to a sixteenth; none where there was none.
    pub p50_us: Option<u32>,
    /// Microseconds within which 99 of 100 ended, to a sixteenth.
    pub p99_us: Option<u32>,
}

impl RecentAttempts {
    /// How many of a thousand attempts succeeded; none where there was none.
    #[must_use]
    pub fn succeeded_permille(&self) -> Option<u64> {
        self.attempts.saturating_sub(self.failed).saturating_mul(1000).checked_div(self.attempts)
    }
}

/// An order of webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TopSort {
    /// Those that fail or are paused first, and of these the one for which most waits.
    #[default]
    Trouble,
    /// The one for which most waits first.
    Pending,
    /// The one with the most attempts under way first.
    InFlight,
    /// The one that succeeds least first.
    Success,
    /// The one whose usual attempt takes longest first.
    P50,
    /// The one whose slowest attempts take longest first.
    P99,
    /// The one that is tried next first.
    Next,
    /// By id.
    Id,
}

impl TopSort {
    /// Every order.
    pub const ALL: [Self; 8] = [Self::Trouble, Self::Pending, Self::InFlight, Self::Success, Self::P50, Self::P99, Self::Next, Self::Id];

    /// Its name in JSON and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Pending => "pending",
            Self::InFlight => "in-flight",
            Self::Success => "success",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Next => "next",
            Self::Id => "id",
        }
    }
}

impl fmt::Display for TopSort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What is asked of `GET /v1/top`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopQuery {
    /// The order.
    pub sort: TopSort,
    /// The other way round; what has no such figure comes last all the same.
    pub reverse: bool,
    /// At most so many webhooks, and at most [`crate::limits::TOP_MAX`].
    pub limit: Option<usize>,
}

/// What is asked of `GET /v1/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusQuery {
    /// At most so many webhooks; all of them where nothing is said.
    pub webhooks: Option<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_one_name_everywhere() {
        for sort in TopSort::ALL {
            assert_eq!(serde_json::to_value(sort).unwrap(), sort.as_str());
        }
    }

    #[test]
    fn a_share_of_nothing_is_none() {
        assert_eq!(RecentAttempts::default().succeeded_permille(), None);
        assert_eq!(RecentAttempts { attempts: 3, failed: 1, ..RecentAttempts::default() }.succeeded_permille(), Some(666));
    }
}
