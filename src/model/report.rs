//! What the daemon tells people and scripts about itself: the JSON of the admin socket, read by the commands. It never holds a secret
//! but the one that is shown once.

mod bulk;
mod controls;
mod history;
mod operations;
mod top;
mod webhook;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::bulk::{BulkReport, BulkRequest, ChangedDelivery, DeliveryChange};
pub use self::history::{
    DeliveryCounts, DeliveryNews, DeliveryNewsPage, EventDelivery, EventDetail, EventFilter, EventPage, EventSummary, WatchFilter,
};
pub use self::operations::{BackupReport, Damage, MissingFacts, Progress, RestoreReport, Tell, VerifyReport};

pub use self::controls::{ConfigReport, ConfigValue, NewToken, Sending, TokenIssued, TokenRevoked, TokenSummary};
pub use self::top::{Census, RecentAttempts, StatusQuery, Top, TopQuery, TopSort, WebhookActivity};
pub use self::webhook::{
    ReceivedResponse, RotateRequest, SecretRotated, SentRequest, TestReport, TestRequest, WebhookDetail, WebhookPage, WebhookQuery,
    WebhookRemoved, WebhookSettings, WebhookSummary,
};
use super::{Address, DeliveryId, DeliveryState, EventId, EventTypeName, Moment, OutcomeClass, Pause, PhaseTimes, Project, WebhookId};
use crate::time::UnixMillis;

/// One screen about the daemon: `GET /v1/status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it opened its doors.
    pub started: UnixMillis,
    /// Whether it is ending: no new events, attempts in flight are waited for.
    pub draining: bool,
    /// What happened since it started.
    pub counters: Counters,
    /// Deliveries that wait or are in flight.
    pub pending: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// Why nothing is sent to anybody, while an operator wants it so.
    #[serde(default)]
    pub paused: Option<Pause>,
    /// How long the delivery that is due longest has been due, in milliseconds.
    pub oldest_due_age_ms: u64,
    /// When the next waiting delivery is due.
    pub next_due: Option<UnixMillis>,
    /// Bytes of memory that the process occupies (its resident set); none where the system does not say.
    #[serde(default)]
    pub resident_bytes: Option<u64>,
    /// What is on disk.
    pub store: StoreStatus,
    /// The configuration in force.
    pub configuration: ConfigurationStatus,
    /// How many webhooks there are, and how they fare.
    #[serde(flatten)]
    pub census: Census,
    /// The webhooks, the most troubled first: all of them, unless fewer were asked for.
    pub webhooks: Vec<WebhookActivity>,
}

/// Counters since the daemon started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counters {
    /// Events made durable.
    pub accepted: u64,
    /// Events recognized as repeated.
    pub duplicates: u64,
    /// Deliveries made of them.
    pub deliveries: u64,
    /// Attempts ended.
    pub attempts: u64,
    /// Deliveries that ended `delivered`.
    pub delivered: u64,
    /// Deliveries that ended `dropped`.
    pub dropped: u64,
    /// Deliveries that ended `cancelled`.
    pub cancelled: u64,
}

/// The daemon in figures, for `/metrics`: nothing of any webhook, so that telling them costs the same however many there are, the age of what is due longest aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// What happened since it started.
    pub counters: Counters,
    /// Deliveries that wait or are in flight.
    pub pending: u64,
    /// Attempts under way.
    pub in_flight: u64,
    /// How long the delivery that is due longest has been due, in milliseconds.
    pub oldest_due_age_ms: u64,
    /// Bytes of the journal and the view.
    pub store_size_bytes: u64,
    /// Bytes that are free on the disk of the data directory; none where the system does not say.
    pub store_free_bytes: Option<u64>,
    /// Whether events are refused because the disk is full.
    pub is_store_full: bool,
    /// Whether an operator has paused all sending.
    pub is_sending_paused: bool,
    /// Whether the last reload was successful.
    pub is_last_reload_successful: bool,
}

/// What is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreStatus {
    /// Where.
    pub data_dir: String,
    /// The newest fact's number.
    pub last_sequence: u64,
    /// Facts in the journal that the view does not have yet.
    pub view_lag: u64,
    /// Journal segments.
    pub segments: u64,
    /// Bytes of the journal and the view.
    pub size_bytes: u64,
    /// What opening found wrong, in words.
    pub warnings: Vec<String>,
    /// The room on the disk.
    #[serde(default)]
    pub disk: DiskStatus,
}

/// The room on the disk of the data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskStatus {
    /// Bytes that are free; none where the system does not say.
    pub free_bytes: Option<u64>,
    /// Bytes that must be free for everything to go on.
    pub needed_bytes: u64,
    /// Since when no journal segment can be prepared: so long events have been refused, while outcomes go to the reserve.
    pub full_since: Option<UnixMillis>,
    /// Whether the reserve is used up, too: outcomes wait in memory, and sending stops.
    pub is_reserve_used_up: bool,
    /// Since when nothing has been applied to the view, which needs room of its own: lists may be behind.
    pub view_waits_since: Option<UnixMillis>,
}

impl DiskStatus {
    /// What is wrong and what to do about it, in words; `None` when nothing is.
    #[must_use]
    pub fn trouble(&self, data_dir: &str) -> Option<String> {
        if self.full_since.is_none() && self.view_waits_since.is_none() {
            return None;
        }
        let mebibytes = |bytes: u64| bytes.div_ceil(1024 * 1024);
        let free = self.free_bytes.map_or_else(|| "little".to_owned(), |free| format!("{} MiB", free / (1024 * 1024)));
        let needed = mebibytes(self.needed_bytes);
        let consequence = match (self.full_since, self.is_reserve_used_up) {
            (Some(_), true) => "events are refused, and outcomes wait for room",
            (Some(_), false) => "events are refused, what was accepted is delivered",
            (None, _) => "lists may be behind",
        };
        Some(format!(
            "the disk of {data_dir} is full ({free} free, {needed} MiB needed): {consequence}; free some space, and it goes on by itself"
        ))
    }
}

/// The configuration in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigurationStatus {
    /// The file.
    pub path: String,
    /// When it was read.
    pub loaded: UnixMillis,
    /// Whether the last reload was successful.
    pub last_reload_successful: bool,
    /// What was wrong with it.
    pub last_error: Option<String>,
    /// The last reload, successful or not; none since the start.
    #[serde(default)]
    pub last_reload: Option<LastReload>,
}

/// When the configuration was last read again, or tried to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastReload {
    /// When.
    pub at: UnixMillis,
    /// Who wanted it: somebody at the admin socket, or `SIGHUP`.
    pub by: String,
    /// How many things it changed; none when it was not successful.
    pub changes: Option<u64>,
}

/// A delivery in a list: `GET /v1/deliveries`. Of an event that is no longer kept its id is not known, and the rest only from the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliverySummary {
    /// Its id.
    pub id: DeliveryId,
    /// The event's id.
    pub event: Option<EventId>,
    /// The event's type.
    #[serde(rename = "type")]
    pub event_type: Option<EventTypeName>,
    /// The event's project.
    pub project: Option<Project>,
    /// The webhook; its number where the id is no longer known.
    pub webhook: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made in this round.
    pub attempts: u32,
    /// When the event was accepted.
    pub accepted: Option<UnixMillis>,
    /// When the next attempt is due.
    pub due: Option<UnixMillis>,
    /// Whether an attempt is under way.
    pub in_flight: bool,
    /// Whether it waits for its webhook to be resumed, however long it has been due.
    #[serde(default)]
    pub paused: bool,
    /// When it ended.
    pub finished: Option<UnixMillis>,
    /// The last attempt's outcome, or why there was none, in words.
    pub last_outcome: Option<String>,
}

/// A page of deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryPage {
    /// The page.
    pub deliveries: Vec<DeliverySummary>,
    /// What to pass as `after` for the next page.
    pub next: Option<String>,
    /// Journal segments whose index is missing and being made: what ended in them is not in the list yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unindexed_segments: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// One delivery with its attempts: `GET /v1/deliveries/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeliveryDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: DeliverySummary,
    /// Where it goes.
    pub url: Option<String>,
    /// Every attempt, oldest first.
    pub timeline: Vec<AttemptView>,
    /// The body that the receiver gets; `None` when the event is no longer kept.
    pub body: Option<String>,
}

/// One attempt in a timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    /// The round.
    pub round: u16,
    /// Its number in the round.
    pub number: u32,
    /// When it was due.
    pub due: UnixMillis,
    /// When it ended.
    pub finished: UnixMillis,
    /// The class of its outcome.
    pub outcome: OutcomeClass,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The outcome in words.
    pub sentence: String,
    /// How long it took.
    pub phases: PhaseTimes,
    /// The address that was spoken to.
    pub remote: Option<String>,
    /// The first bytes of the response, as text.
    pub response: String,
    /// What follows, in words.
    pub next: String,
}

/// What a list of deliveries is narrowed to: the query of `GET /v1/deliveries`.
///
/// Pending deliveries come first, in the order of their next attempt, then finished ones, the one that ended last first. The time of a delivery, for `since` and `until`, is that of the last
/// thing that happened to it: its end; while it is pending its last attempt, or that it was accepted.
///
/// Finished ones are found by an index, whatever they are narrowed by. Of pending ones, only `webhook` is known without reading their events: at most
/// [`crate::limits::PAGE_ROWS_MAX`] of them are read for a page, which may be short then and says with `next` where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeliveryFilter {
    /// Of this webhook.
    pub webhook: Option<WebhookId>,
    /// Of this project.
    pub project: Option<Project>,
    /// Of types that this selector wants.
    #[serde(rename = "type")]
    pub event_type: Option<super::Selector>,
    /// In this state.
    pub state: Option<DeliveryState>,
    /// The last thing happened to it at this moment or later.
    pub since: Option<Moment>,
    /// The last thing happened to it before this moment.
    pub until: Option<Moment>,
    /// At most so many; 50 where nothing is said, and never more than 500.
    pub limit: Option<usize>,
    /// Behind the page that ended with this.
    #[schemars(regex(pattern = r"^[pf][0-9]{1,19}-dlv_[A-Za-z2-7]{19}[AQaq]$"))]
    pub after: Option<String>,
}

/// What a page of a Black List is narrowed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BlacklistQuery {
    /// At most so many; 50 where nothing is said, and never more than 500.
    pub limit: Option<usize>,
    /// Behind this address, whether it is listed or not.
    pub after: Option<Address>,
}

/// Which webhooks want an event, and why the others do not: `POST /v1/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The type asked about.
    #[serde(rename = "type")]
    pub event_type: EventTypeName,
    /// The project asked about.
    pub project: Project,
    /// Every webhook with the answer.
    pub webhooks: Vec<ExplainedWebhook>,
}

/// One webhook's answer in an [`Explanation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExplainedWebhook {
    /// The webhook.
    pub id: WebhookId,
    /// Whether it would get a delivery.
    pub matches: bool,
    /// Why, in words.
    pub because: String,
}

/// What a reload did, or would do: `POST /v1/reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReloadReport {
    /// Whether nothing was changed on purpose.
    pub dry_run: bool,
    /// Each change, in words.
    pub changes: Vec<String>,
    /// What is allowed and still looks like a mistake, or lets in whoever was kept out before, in words.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// What was wrong with the file, one `path:line:column: message` each; when any, nothing changed.
    pub errors: Vec<String>,
}

/// What became of one published event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedEvent {
    /// Its id.
    pub id: EventId,
    /// Deliveries made of it.
    pub deliveries: u32,
    /// Whether it had been accepted before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
}
