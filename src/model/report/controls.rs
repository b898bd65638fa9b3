//! What is told about the daemon as a whole: whether it sends, who may post, what is configured. It never holds a token but the one that is shown once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::model::Pause;
use crate::time::UnixMillis;

/// Whether anything is sent: `POST /v1/pause` and `/v1/resume`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sending {
    /// Why not, since when and by whom; none while it is.
    pub paused: Option<Pause>,
    /// Deliveries that wait or are in flight.
    pub pending: u64,
}

/// A token in a list: `GET /v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenSummary {
    /// Its name.
    pub name: String,
    /// The projects that it covers; `*` is all.
    pub projects: Vec<String>,
    /// Where it stands in the file; none when the daemon made it.
    pub place: Option<String>,
    /// Since when, where the daemon made it.
    pub since: Option<UnixMillis>,
    /// Who had it made.
    pub by: Option<String>,
}

/// What `POST /v1/tokens` is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Its name, 1 to 64 of A-Z a-z 0-9 . _ -
    #[schemars(regex(pattern = "^[A-Za-z0-9._-]{1,64}$"))]
    pub name: String,
    /// The projects that it covers; `["*"]` is all.
    #[schemars(length(min = 1), extend("examples" = [["shop.example.com"], ["*"]]))]
    pub projects: Vec<String>,
}

/// A token was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenIssued {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: TokenSummary,
    /// The token itself, shown once.
    pub token: String,
    /// It is the first: until now nobody needed one.
    pub is_first: bool,
}

impl fmt::Debug for TokenIssued {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TokenIssued").field("summary", &self.summary).finish_non_exhaustive()
    }
}

/// A token was revoked: `DELETE /v1/tokens/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRevoked {
    /// Its name.
    pub name: String,
    /// It was the last: from now on whoever can reach the listener on this machine may post.
    pub was_last: bool,
}

/// The configuration in force: `GET /v1/config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigReport {
    /// The file.
    pub path: String,
    /// Every value, section by section.
    pub values: Vec<ConfigValue>,
}

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigValue {
    /// Such as `limits`, or `webhook crm`.
    pub section: String,
    /// Such as `max_pending`.
    pub key: String,
    /// As it would stand in the file; null where there is no such limit.
    pub value: serde_json::Value,
    /// Where it comes from: `default`, or a place such as `webhooks.toml:3`.
    pub source: String,
}
