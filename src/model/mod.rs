//! The nouns of hookwheel, plain values that every room may hold. They never read a clock, a file, a socket or chance.
//!
//! A value of one of these types is right by construction: text becomes a [`Project`], an [`EventTypeName`], a
//! [`Selector`] or a [`WebhookId`] by parsing, and nowhere else is its form checked again.

pub mod attempt;
pub mod blacklist;
pub mod catalog;
pub mod definition;
pub mod delivery;
pub mod event;
pub mod moment;
pub mod notice;
pub mod port;
pub mod project;
pub mod publication;
pub mod report;
pub mod sample;
pub mod sandbox;
pub mod schedule;
pub mod sealing;
pub mod secret;
pub mod selector;
pub mod submission;
pub mod tls;
pub mod token;
pub mod webhook;

use serde::de::{self, Deserialize, DeserializeOwned, Deserializer};
use serde_json::{Map, Value};

pub use attempt::{Attempt, Outcome, OutcomeClass, PhaseTimes};
pub use blacklist::{Address, Remark};
pub use catalog::{Catalog, EventType, EventTypeName};
pub use definition::Definition;
pub use delivery::{DeliveryId, DeliveryKey, DeliveryState, Locator, Next, Sequence};
pub use event::{EventId, FieldsHash, NewEvent};
pub use moment::Moment;
pub use notice::{News, Notice};
pub use port::port_refusal;
pub use project::Project;
pub use publication::{Proposal, Settled, Verdict};
pub use sandbox::SandboxToken;
pub use schedule::{RetrySchedule, RetryStep};
pub use sealing::{KeptSecret, SealingKey};
pub use secret::{CheckingKey, Secret, Signing};
pub use selector::Selector;
pub use tls::TlsIdentity;
pub use token::{Token, TokenScope};
pub use webhook::{Origin, Pause, PauseReason, Rate, SuccessRule, Webhook, WebhookId, WebhookNumber, WebhookSpec};

/// Reads a field that is an object, and nothing else: serde would also take an array with the values of its fields in their order.
///
/// # Errors
/// What the deserializer says.
pub fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let object = Map::<String, Value>::deserialize(deserializer)?;
    T::deserialize(Value::Object(object)).map_err(de::Error::custom)
}

/// Text of a client as a message repeats it: in quotes, escaped, and cut to [`SHOWN_CHARACTERS_MAX`](crate::limits::SHOWN_CHARACTERS_MAX), for it may be as long as a request.
#[must_use]
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(crate::limits::SHOWN_CHARACTERS_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The entry of `known` that `wrong` was most likely meant to be, for a "did you mean".
#[must_use]
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| (candidate.len() / 3).clamp(1, 4);
    known
        .into_iter()
        // Each step of distance changes at most four bytes. Anything longer is not compared letter by letter: it may be as long as a request.
        .filter(|candidate| wrong.len().abs_diff(candidate.len()) <= 4 * near(candidate))
        .map(|candidate| (strsim::osa_distance(wrong, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= near(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::{nearest, shown};

    #[test]
    fn what_is_repeated_is_quoted_and_short() {
        assert_eq!(shown("a\"b"), r#""a\"b""#);
        assert_eq!(shown(&"ä".repeat(60)), format!("\"{}\"", "ä".repeat(60)));
        assert_eq!(shown(&"ä".repeat(8_000_000)), format!("\"{}\"…", "ä".repeat(60)));
    }

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("tittle", ["title", "project", "url"]), Some("title"));
        assert_eq!(nearest("colour", ["title", "project", "url"]), None);
        assert_eq!(nearest(&"title".repeat(100_000), ["title"]), None);
    }
}
