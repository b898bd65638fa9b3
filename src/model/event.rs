//! An event on its way in: parsed, given an id, its delivered body made once. It never changes afterwards.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Address, EventTypeName, Project};

/// An event's id: the client's idempotency key within its project, or `evt_` + a ULID made by the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[A-Za-z0-9_-]{1,128}$", "examples" = ["order-1042"]))]
pub struct EventId(Arc<str>);

impl EventId {
    /// Parses `[A-Za-z0-9_-]{1,128}`.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let good = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if text.is_empty() || text.len() > 128 || !text.bytes().all(good) {
            return Err(format!("{} is not an id: expected 1 to 128 of A-Z a-z 0-9 _ -", super::shown(text)));
        }
        Ok(Self(text.into()))
    }

    /// The id's text, which becomes the header `webhook-id`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for EventId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<EventId> for String {
    fn from(id: EventId) -> Self {
        id.0.to_string()
    }
}

/// The first 16 bytes of the SHA-256 of an event's fields as submitted: what "the same content" compares.
pub type FieldsHash = [u8; 16];

/// A checked event that wants to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Its id.
    pub id: EventId,
    /// Whether the client chose the id; only then can it be a repetition.
    pub id_by_client: bool,
    /// Its type, one of the catalogue.
    pub event_type: EventTypeName,
    /// Its project.
    pub project: Project,
    /// The exact bytes that every receiver gets, a JSON object.
    pub body: Arc<[u8]>,
    /// The hash of its fields as submitted.
    pub fields_hash: FieldsHash,
    /// The address that it puts on the Black List, if it is of a type that does.
    pub blacklisted: Option<Address>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_a_small_alphabet() {
        for wrong in ["", "has.dot", "a b", "ä", &"x".repeat(129)] {
            assert!(EventId::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(EventId::parse("wx_5-6").unwrap().as_str(), "wx_5-6");
    }
}
