//! What is told about webhooks: in lists, one whole, and what came of changing or trying one. It never holds a secret but the one that is shown once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::limits::ROTATION_GRACE_MAX_MS;
use crate::model::{EventTypeName, Origin, OutcomeClass, Pause, PhaseTimes, Signing, WebhookId};
use crate::time::UnixMillis;

/// A webhook in a list: `GET /v1/webhooks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSummary {
    /// Its id.
    pub id: WebhookId,
    /// Its title.
    pub title: String,
    /// Its project, as people read it.
    pub project: String,
    /// Where its events go.
    pub url: String,
    /// What it wants.
    pub events: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    /// Where it stands in the file.
    pub place: Option<String>,
    /// Why it sends nothing; empty when it does.
    pub pauses: Vec<Pause>,
    /// Deliveries that wait or are in flight.
    pub pending: u64,
    /// Attempts under way.
    pub in_flight: u32,
    /// Attempts that may be under way at once, as things stand.
    pub window: u32,
    /// Deliveries delivered since the daemon started.
    pub delivered: u64,
    /// Failed attempts since the daemon started.
    pub failed_attempts: u64,
    /// Deliveries dropped since the daemon started.
    pub dropped: u64,
    /// The last failure, in words, when nothing succeeded since.
    pub trouble: Option<String>,
    /// When the first failure came that no success followed; as far back as the daemon's start.
    #[serde(default)]
    pub trouble_since: Option<UnixMillis>,
}

/// What a list of webhooks is narrowed to: the query of `GET /v1/webhooks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookQuery {
    /// At most so many; all of them where nothing is said.
    pub limit: Option<usize>,
    /// Behind this id, whether there is such a webhook or not.
    pub after: Option<WebhookId>,
}

/// A page of webhooks, in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookPage {
    /// The page.
    pub webhooks: Vec<WebhookSummary>,
    /// What to pass as `after` for the next page.
    pub next: Option<WebhookId>,
}

/// One webhook, whole: `GET /v1/webhooks/{id}`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookDetail {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: WebhookSummary,
    /// How its deliveries are made; none of a webhook that is not in force, such as one that is gone from the file.
    #[serde(flatten)]
    pub settings: Option<WebhookSettings>,
    /// The secret that hookwheel made, the first time that it is asked for; never one of `v1a`.
    pub secret: Option<String>,
    /// What the receiver of a webhook that signs with `v1a` checks with, `whpk_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// While its secret is being rotated: the old one signs, too, until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_secret_until: Option<UnixMillis>,
    /// What is possible and still looks like a mistake, after a change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// How a webhook's deliveries are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSettings {
    /// How its requests are signed.
    #[serde(default)]
    pub signing: Signing,
    /// Milliseconds for one attempt.
    pub timeout_ms: u64,
    /// What success is, such as `200, 2xx`.
    pub success: String,
    /// Attempts of a delivery in all.
    pub attempts_total: u32,
    /// Milliseconds between the attempts.
    pub retry_intervals_ms: Vec<u64>,
    /// Attempts at once.
    pub max_in_flight: u32,
    /// Attempts in a time, such as `50/s`.
    pub rate: Option<String>,
    /// One after the other.
    pub ordered: bool,
    /// Names of the headers that are added.
    pub headers: Vec<String>,
    /// Networks that may be dialled although refused by default.
    pub allow_networks: Vec<String>,
    /// The file of the authorities that it trusts besides the system's.
    #[serde(default)]
    pub ca_file: Option<String>,
    /// The file of its client certificate.
    #[serde(default)]
    pub client_certificate_file: Option<String>,
    /// The file of that one's private key.
    #[serde(default)]
    pub client_key_file: Option<String>,
}

/// A webhook was removed: `DELETE /v1/webhooks/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookRemoved {
    /// Which.
    pub id: WebhookId,
    /// Deliveries that were pending for it, and are being cancelled.
    pub cancelled: u64,
}

/// A webhook has a new secret: `POST /v1/webhooks/{id}/rotate-secret`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRotated {
    /// Which.
    pub id: WebhookId,
    /// The new secret, shown once; none of `v1a`, whose receiver needs the public key.
    pub secret: Option<String>,
    /// Of `v1a`: what the receiver checks with from now on, `whpk_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The old one signs, too, until then; none when it signs no more.
    pub old_secret_until: Option<UnixMillis>,
}

impl fmt::Debug for WebhookDetail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebhookDetail").field("summary", &self.summary).finish_non_exhaustive()
    }
}

impl fmt::Debug for SecretRotated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SecretRotated").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What `POST /v1/webhooks/{id}/rotate-secret` may be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RotateRequest {
    /// For how many milliseconds the old secret still signs; a day where nothing is said.
    #[schemars(range(max = ROTATION_GRACE_MAX_MS))]
    pub grace_ms: Option<u64>,
}

/// What `POST /v1/webhooks/{id}/test` may be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestRequest {
    /// The type of the sample event; the first that the webhook wants where nothing is said.
    #[serde(rename = "type")]
    pub event_type: Option<EventTypeName>,
    /// Its data; a sample where nothing is said.
    pub data: Option<serde_json::Map<String, serde_json::Value>>,
}

/// What came of sending a sample event: the whole exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TestReport {
    /// The webhook.
    pub webhook: WebhookId,
    /// The type of the sample.
    #[serde(rename = "type")]
    pub event_type: EventTypeName,
    /// Whether the webhook wants such events.
    pub wanted: bool,
    /// What was sent.
    pub request: SentRequest,
    /// What came back, when anything did.
    pub response: Option<ReceivedResponse>,
    /// The class of the outcome.
    pub outcome: OutcomeClass,
    /// The outcome in words.
    pub sentence: String,
    /// How long each phase took.
    pub phases: PhaseTimes,
    /// The address that was spoken to.
    pub remote: Option<String>,
}

/// A request as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SentRequest {
    /// Such as `POST https://crm.example.com/hooks/mail`.
    pub line: String,
    /// Its headers; those that sound confidential without their values.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

/// A response as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceivedResponse {
    /// Such as `HTTP/1.1 200 OK`.
    pub line: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The first bytes of its body, as text.
    pub body: String,
}
