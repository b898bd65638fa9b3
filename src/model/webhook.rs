//! A webhook: who wants which events, where, and how they are to be delivered. It never knows what is pending for it.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{EventTypeName, Project, RetrySchedule, Secret, Selector, Signing, TlsIdentity};
use crate::time::UnixMillis;

/// The operator's name for a webhook: `[a-z0-9-]{1,64}`, unique, never reused for something else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[a-z0-9-]{1,64}$", "examples" = ["crm"]))]
pub struct WebhookId(Arc<str>);

impl WebhookId {
    /// Parses an id.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
            return Err(format!("{} is not a webhook id: expected 1 to 64 of a-z 0-9 -", super::shown(text)));
        }
        Ok(Self(text.into()))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WebhookId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for WebhookId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<WebhookId> for String {
    fn from(id: WebhookId) -> Self {
        id.0.to_string()
    }
}

/// The number that the store gave to a webhook id, for ever; small, so that a delivery's key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookNumber(pub u32);

/// Where a webhook comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// `webhooks.toml`.
    File,
    /// The admin socket.
    Admin,
}

/// Which HTTP statuses are success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessRule(pub Vec<RangeInclusive<u16>>);

impl Default for SuccessRule {
    /// 200 alone.
    fn default() -> Self {
        Self(vec![200..=200])
    }
}

impl SuccessRule {
    /// Whether `status` is success.
    #[must_use]
    pub fn is_success(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

/// `200`, or `200, 2xx`.
impl fmt::Display for SuccessRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(formatter, "{separator}{start}")?,
                (start, _) => write!(formatter, "{separator}{}xx", start / 100)?,
            }
        }
        Ok(())
    }
}

/// `count` attempts in every `per_ms` milliseconds, evenly; after a pause up to a tenth of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In how long: 1000 for `/s`, 60 000 for `/m`, 3 600 000 for `/h`.
    pub per_ms: u64,
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per_ms {
            60_000 => "m",
            3_600_000 => "h",
            _ => "s",
        };
        write!(formatter, "{}/{unit}", self.count)
    }
}

/// A webhook as its owner described it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSpec {
    /// Its id.
    pub id: WebhookId,
    /// What people call it.
    pub title: String,
    /// The project that it belongs to.
    pub project: Project,
    /// Where its events go.
    pub url: Url,
    /// What it wants, at least one.
    pub selectors: Vec<Selector>,
    /// Its key, when its owner chose one.
    pub secret: Option<Secret>,
    /// How its requests are signed: as its own key does, or else the kind of the one that hookwheel makes.
    pub signing: Signing,
    /// Headers sent with every attempt; checked names (lower case) and values, none that hookwheel sets itself.
    pub headers: Vec<(String, String)>,
    /// Paused by its owner.
    pub paused: bool,
    /// Networks that may be dialled although their range is refused by default; the general ones included.
    pub allow_networks: Vec<IpNet>,
    /// Whom its TLS trusts besides the system's roots, and which certificate it shows.
    pub tls: Option<Arc<TlsIdentity>>,
    /// Milliseconds for one attempt, from connect to the end of the response.
    pub timeout_ms: u64,
    /// What success is.
    pub success: SuccessRule,
    /// When a failed delivery is tried again.
    pub schedule: RetrySchedule,
    /// Attempts at once.
    pub max_in_flight: u32,
    /// Attempts in a time.
    pub rate: Option<Rate>,
    /// One after the other, first accepted first.
    pub ordered: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// Where it stands in the file: `webhooks.toml:12`.
    pub place: Option<String>,
}

impl fmt::Debug for WebhookSpec {
    /// Not its headers, nor its whole URL: both may hold what lets one in.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("WebhookSpec");
        shown.field("id", &self.id).field("project", &self.project).field("origin", &self.origin).field("place", &self.place);
        shown.field("host", &self.url.host_str()).field("secret", &self.secret).field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl WebhookSpec {
    /// The file of the authorities that it trusts besides the system's.
    #[must_use]
    pub fn ca_file(&self) -> Option<String> {
        Some(self.tls.as_ref()?.authorities.as_ref()?.file.display().to_string())
    }

    /// The file of its client certificate.
    #[must_use]
    pub fn client_certificate_file(&self) -> Option<String> {
        Some(self.tls.as_ref()?.client.as_ref()?.certificate_file.display().to_string())
    }

    /// The file of that one's private key.
    #[must_use]
    pub fn client_key_file(&self) -> Option<String> {
        Some(self.tls.as_ref()?.client.as_ref()?.key_file.display().to_string())
    }

    /// The first of its selectors that wants `name`.
    #[must_use]
    pub fn selector_for(&self, name: &EventTypeName) -> Option<&Selector> {
        self.selectors.iter().find(|selector| selector.matches(name))
    }
}

/// A webhook as the daemon runs it: with its number and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its number.
    pub number: WebhookNumber,
    /// What its owner wrote.
    pub spec: WebhookSpec,
    /// The keys that sign, newest first; one, or two while it is being rotated.
    pub secrets: Vec<Secret>,
}

/// Why a webhook sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PauseReason {
    /// `paused = true` in its definition.
    Configured,
    /// By hand.
    Operator,
    /// Its receiver answered 410.
    Gone,
    /// It is no longer in the file.
    Orphaned,
}

/// Why, since when, and by whom a webhook is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pause {
    /// Why.
    pub reason: PauseReason,
    /// Since when.
    pub since: UnixMillis,
    /// Who did it: a person, `receiver`, `configuration`.
    pub by: String,
}

/// A sentence for people.
impl fmt::Display for Pause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            PauseReason::Configured => "paused in its definition",
            PauseReason::Operator => "paused by hand",
            PauseReason::Gone => "paused because its receiver answered 410 Gone",
            PauseReason::Orphaned => "paused because it is no longer in the configuration",
        };
        write!(formatter, "{why}, since {}, by {}", self.since, self.by)
    }
}

#[cfg(test)]
impl WebhookSpec {
    /// One of the file that wants everything of `shop.example.com`, with every default, for tests to be about.
    pub(crate) fn plain(id: &str, url: &str) -> Self {
        Self {
            id: WebhookId::parse(id).unwrap(),
            title: id.to_owned(),
            project: Project::parse("shop.example.com").unwrap(),
            url: url.parse().unwrap(),
            selectors: vec![Selector::parse("*").unwrap()],
            secret: None,
            signing: Signing::default(),
            headers: Vec::new(),
            paused: false,
            allow_networks: Vec::new(),
            tls: None,
            timeout_ms: 10_000,
            success: SuccessRule::default(),
            schedule: RetrySchedule::default(),
            max_in_flight: 10,
            rate: None,
            ordered: false,
            origin: Origin::File,
            place: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_200_alone_unless_widened() {
        let narrow = SuccessRule::default();
        assert!(narrow.is_success(200) && !narrow.is_success(201) && !narrow.is_success(302));
        let wide = SuccessRule(vec![200..=299, 304..=304]);
        assert!(wide.is_success(204) && wide.is_success(304) && !wide.is_success(303));
        assert_eq!(wide.to_string(), "2xx, 304");
    }

    #[test]
    fn webhook_ids_have_a_small_alphabet() {
        for wrong in ["", "CRM", "a_b", "a.b", &"x".repeat(65)] {
            assert!(WebhookId::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(WebhookId::parse("crm-2").unwrap().as_str(), "crm-2");
    }
}
