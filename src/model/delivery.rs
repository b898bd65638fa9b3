//! A delivery: one event on its way to one webhook, and the names by which it is known. It never holds a body.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::WebhookNumber;
use crate::time::UnixMillis;

/// The number of a fact in the journal, consecutive from 1; an event is known by that of its `Accepted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Where a fact lies in the journal: the number of the segment and the byte offset of its frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator {
    /// The segment's number.
    pub segment: u32,
    /// Bytes from the beginning of its file.
    pub offset: u32,
}

/// What a delivery is called for ever: the sequence of its event and the number of its webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryKey {
    /// Of the fact that accepted the event.
    pub sequence: Sequence,
    /// Of the webhook.
    pub webhook: WebhookNumber,
}

impl DeliveryKey {
    /// Twelve bytes, big-endian, in the order of the key.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.webhook.0.to_be_bytes());
        bytes
    }

    /// The inverse of [`DeliveryKey::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 12]) -> Self {
        let [s0, s1, s2, s3, s4, s5, s6, s7, w0, w1, w2, w3] = bytes;
        Self {
            sequence: Sequence(u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7])),
            webhook: WebhookNumber(u32::from_be_bytes([w0, w1, w2, w3])),
        }
    }
}

/// A delivery's name in the API: `dlv_` + base32 of its key in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^dlv_[A-Za-z2-7]{19}[AQaq]$"))]
pub struct DeliveryId(pub DeliveryKey);

impl fmt::Display for DeliveryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "dlv_{}", BASE32_NOPAD.encode(&self.0.to_bytes()).to_ascii_lowercase())
    }
}

impl FromStr for DeliveryId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{} is not a delivery id: expected dlv_ and 20 letters or digits, as `hookwheel deliveries list` shows them",
                super::shown(text)
            )
        };
        let encoded = text.strip_prefix("dlv_").ok_or_else(wrong)?;
        let bytes = BASE32_NOPAD.decode(encoded.to_ascii_uppercase().as_bytes()).map_err(|_| wrong())?;
        let bytes: [u8; 12] = bytes.try_into().map_err(|_| wrong())?;
        Ok(Self(DeliveryKey::from_bytes(bytes)))
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> Self {
        id.to_string()
    }
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// Waiting for its first or next attempt, or in flight.
    Pending,
    /// The receiver answered with success.
    Delivered,
    /// Every attempt failed, or there was no room for it in its webhook's queue.
    Dropped,
    /// By the operator, or because its webhook was removed.
    Cancelled,
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Cancelled => "cancelled",
        })
    }
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt, not before this moment of the schedule clock.
    RetryAt(UnixMillis),
    /// Nothing: it arrived.
    Delivered,
    /// Nothing: that was the last attempt.
    Dropped,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_id_survives_its_text_form() {
        let id = DeliveryId(DeliveryKey { sequence: Sequence(0x0102_0304_0506), webhook: WebhookNumber(7) });
        let text = id.to_string();
        assert_eq!(text.len(), 24);
        assert_eq!(text.parse::<DeliveryId>(), Ok(id));
        for wrong in ["", "dlv_", "evt_abc", "dlv_!!!!", &text[..23]] {
            assert!(wrong.parse::<DeliveryId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_sort_as_their_bytes_do() {
        let key = |sequence, webhook| DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(webhook) };
        let mut keys = [key(2, 1), key(1, 300), key(1, 2), key(256, 0)];
        keys.sort();
        assert!(keys.map(DeliveryKey::to_bytes).is_sorted());
    }
}
