//! The catalogue of event types: the 43 that every hookwheel knows and the operator's own. It never changes while in use.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::nearest;

const BUILT_IN: &str = include_str!("catalog.toml");

/// The name of an event type, `channel.group.what`, such as `email.status.bounced`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^[a-z0-9_]+\.[a-z0-9_]+\.[a-z0-9_]+$", "maxLength" = 128, "examples" = ["email.status.bounced"]))]
pub struct EventTypeName(Arc<str>);

impl EventTypeName {
    /// Parses three segments of `[a-z0-9_]`, joined by dots.
    ///
    /// # Errors
    /// A sentence that says what form is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let segments = text.split('.').collect::<Vec<_>>();
        let good =
            |segment: &&str| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if segments.len() != 3 || !segments.iter().all(good) || text.len() > 128 {
            return Err(format!(
                "{} is not an event type: expected channel.group.what in lower case, such as email.status.bounced",
                super::shown(text)
            ));
        }
        Ok(Self(text.into()))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The three segments: channel, group, what.
    #[must_use]
    pub fn segments(&self) -> [&str; 3] {
        let mut segments = self.0.split('.');
        std::array::from_fn(|_| segments.next().unwrap_or_default())
    }
}

impl fmt::Display for EventTypeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl TryFrom<String> for EventTypeName {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<EventTypeName> for String {
    fn from(name: EventTypeName) -> Self {
        name.0.to_string()
    }
}

/// One kind of thing that happens, in the words that people read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventType {
    /// Its name in events and selectors.
    #[serde(rename = "type")]
    pub name: EventTypeName,
    /// The channel as people write it, such as `WebPush`.
    pub channel: String,
    /// The group as people write it: Message Status, Contact Event or Message Event.
    pub group: String,
    /// A few words.
    pub label: String,
    /// One or two sentences.
    pub description: String,
}

/// Every event type that this daemon accepts, in the order in which they are shown.
#[derive(Clone, Debug)]
pub struct Catalog {
    types: Vec<EventType>,
    by_name: HashMap<EventTypeName, usize>,
}

#[derive(Deserialize)]
struct CatalogFile {
    event_type: Vec<EventType>,
}

impl Catalog {
    /// The 43 types of the messaging platform.
    #[must_use]
    pub fn built_in() -> Self {
        let file: CatalogFile = toml::from_str(BUILT_IN).expect("the embedded catalogue is read by a test");
        let mut catalog = Self { types: Vec::new(), by_name: HashMap::new() };
        for event_type in file.event_type {
            catalog.add(event_type).expect("the embedded catalogue names each type once");
        }
        catalog
    }

    /// Adds a type of the operator's own.
    ///
    /// # Errors
    /// A sentence when the name is taken.
    pub fn add(&mut self, event_type: EventType) -> Result<(), String> {
        if self.by_name.contains_key(&event_type.name) {
            return Err(format!("the event type {} exists already", event_type.name));
        }
        self.by_name.insert(event_type.name.clone(), self.types.len());
        self.types.push(event_type);
        Ok(())
    }

    /// The type of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&EventType> {
        let name = EventTypeName::parse(name).ok()?;
        self.by_name.get(&name).map(|index| &self.types[*index])
    }

    /// The place of a type in [`Catalog::types`].
    #[must_use]
    pub fn index_of(&self, name: &EventTypeName) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Every type, in the order in which they are shown.
    #[must_use]
    pub fn types(&self) -> &[EventType] {
        &self.types
    }

    /// The known name that `wrong` was most likely meant to be.
    #[must_use]
    pub fn nearest(&self, wrong: &str) -> Option<&str> {
        nearest(wrong, self.types.iter().map(|event_type| event_type.name.as_str()))
    }

    /// The sentence for a name that is not in the catalogue.
    #[must_use]
    pub fn unknown_type(&self, wrong: &str) -> String {
        let shown = super::shown(wrong);
        match self.nearest(wrong) {
            Some(near) => format!("unknown event type {shown}; did you mean {near:?}?"),
            None => format!("unknown event type {shown}; `hookwheel catalog` lists the types, and [[event_type]] adds one"),
        }
    }
}

/// How people write a channel's name: the first segment of a type name.
#[must_use]
pub fn channel_label(segment: &str) -> String {
    match segment {
        "sms" => "SMS".into(),
        "webpush" => "WebPush".into(),
        other => capitalized(other),
    }
}

/// How people write a group's name: the second segment of a type name.
#[must_use]
pub fn group_label(segment: &str) -> String {
    match segment {
        "status" => "Message Status".into(),
        "contact" => "Contact Event".into(),
        "message" => "Message Event".into(),
        other => capitalized(other),
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_catalogue_has_43_types_in_five_channels_with_labels_that_follow_from_their_names() {
        let catalog = Catalog::built_in();
        assert_eq!(catalog.types().len(), 43);
        let mut channels = catalog.types().iter().map(|t| t.channel.as_str()).collect::<Vec<_>>();
        channels.dedup();
        assert_eq!(channels, ["Email", "SMS", "WebPush", "Telegram", "Viber"]);
        for event_type in catalog.types() {
            let [channel, group, _] = event_type.name.segments();
            assert_eq!(event_type.channel, channel_label(channel));
            assert_eq!(event_type.group, group_label(group));
            assert!(!event_type.label.is_empty() && event_type.description.ends_with('.'), "{event_type:?}");
        }
    }

    #[test]
    fn a_misspelt_type_gets_a_suggestion() {
        let catalog = Catalog::built_in();
        assert!(catalog.get("email.status.delivred").is_none());
        assert_eq!(catalog.nearest("email.status.delivred"), Some("email.status.delivered"));
        assert!(catalog.unknown_type("fax.sent").contains("hookwheel catalog"));
    }

    #[test]
    fn a_type_is_added_once() {
        let mut catalog = Catalog::built_in();
        let own = EventType { name: EventTypeName::parse("whatsapp.status.delivered").unwrap(), ..catalog.types()[0].clone() };
        catalog.add(own.clone()).unwrap();
        assert_eq!(catalog.index_of(&own.name), Some(43));
        assert!(catalog.add(own).unwrap_err().contains("exists already"));
    }

    #[test]
    fn type_names_have_three_lower_case_segments() {
        for wrong in ["", "email", "email.status", "email.status.", "Email.status.x", "a.b.c.d", "email.*.x", "é.b.c"] {
            assert!(EventTypeName::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(EventTypeName::parse("a_1.b.c").unwrap().segments(), ["a_1", "b", "c"]);
    }
}
