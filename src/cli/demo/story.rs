//! What the demo plays: five channels, each with a receiver that behaves in its own way, and one event of every type. It never speaks to a daemon.

use serde::Serialize;
use serde_json::Value;

use crate::model::sandbox::{Behaviour, NewSandbox, SandboxSummary, Script};
use crate::model::{EventType, EventTypeName, catalog, sample};

/// The project of every webhook and event.
pub(super) const PROJECT: &str = "shop.example.com";
/// The schedule, as it stands in the configuration.
const RETRY: &str = "[ {attempts = 3, every = \"1s\"}, {attempts = 6, every = \"2s\"}, {attempts = 6, every = \"4s\"} ]";

/// One event as it is posted.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) event_type: EventTypeName,
    project: &'static str,
    data: Value,
}

/// The channels of a catalogue, each once: the first segment of the types' names.
pub(super) fn channels(types: &[EventType]) -> Vec<String> {
    let mut channels = Vec::new();
    for event_type in types {
        let [channel, ..] = event_type.name.segments();
        if !channels.iter().any(|known| known == channel) {
            channels.push(channel.to_owned());
        }
    }
    channels
}

/// The receiver of a channel.
///
/// # Panics
/// Never: every script is one that makes sense, which a test sees to.
pub(super) fn receiver(channel: &str) -> NewSandbox {
    let script = match channel {
        "sms" => Script { fail_first: 1, ..Script::default() },
        "webpush" => Script { delay_ms: 120, ..Script::default() },
        "telegram" => Script { fail_first: 1, retry_after_s: Some(2), ..Script::default() },
        "viber" => Script { fail_first: 2, drop: true, ..Script::default() },
        _ => Script::default(),
    };
    let behaviour = Behaviour::try_from(script).expect("a test checks the script of every channel");
    NewSandbox { title: format!("{} events", catalog::channel_label(channel)), behaviour, secret: None }
}

/// The `[[webhook]]` of a channel, which points at its receiver.
pub(super) fn webhook(channel: &str, receiver: &SandboxSummary) -> String {
    format!(
        "[[webhook]]\nid      = \"{channel}\"\ntitle   = \"{}\"\nproject = \"{PROJECT}\"\nurl     = \"{}\"\nevents  = [\"{channel}.*\"]\nretry   = {RETRY}\n\n",
        receiver.title, receiver.url
    )
}

/// One event of a type, with data such as a messaging platform would send.
pub(super) fn event(event_type: &EventType) -> Event {
    Event { event_type: event_type.name.clone(), project: PROJECT, data: Value::Object(sample::data(event_type)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Catalog;

    #[test]
    fn every_channel_has_a_receiver_and_some_of_them_fail_at_first() {
        let types = Catalog::built_in();
        let channels = channels(types.types());
        assert_eq!(channels, ["email", "sms", "webpush", "telegram", "viber"]);
        let behaviours = channels.iter().map(|channel| receiver(channel).behaviour.to_string()).collect::<Vec<_>>();
        insta::assert_snapshot!(behaviours.join("\n"), @"
        answers 200
        fails attempt 1 with 500, then answers 200
        answers 200, each after 120 ms
        fails attempt 1 with 503, Retry-After 2 s, then answers 200
        drops attempts 1 to 2, then answers 200
        ");
    }

    #[test]
    fn every_event_has_data_of_its_channel() {
        for event_type in Catalog::built_in().types() {
            let event = event(event_type);
            assert!(event.data.as_object().is_some_and(|data| data.len() >= 2), "{event:?}");
            assert_eq!(event.event_type, event_type.name);
        }
    }
}
