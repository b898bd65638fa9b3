//! The catalogue of event types: the 43 that every hookwheel knows, the operator's, and those that the daemon tells about itself. It never changes while in use.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Project, nearest};

/// The channel of what the daemon tells about itself.
pub const CHANNEL_OF_DAEMON: &str = "hookwheel";

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

    /// Whether the daemon tells of such events itself, and nobody else does.
    #[must_use]
    pub fn is_of_daemon(&self) -> bool {
        self.segments()[0] == CHANNEL_OF_DAEMON
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

/// Every event type that this daemon knows, in the order in which they are shown.
#[derive(Clone, Debug)]
pub struct Catalog {
    types: Vec<EventType>,
    of_daemon: Vec<EventType>,
    by_name: HashMap<EventTypeName, usize>,
}

#[derive(Deserialize)]
struct CatalogFile {
    event_type: Vec<EventType>,
    own_type: Vec<EventType>,
}

impl Catalog {
    /// The 43 types of the messaging platform, and those of the daemon itself.
    #[must_use]
    pub fn built_in() -> Self {
        let file: CatalogFile = toml::from_str(BUILT_IN).expect("the embedded catalogue is read by a test");
        let mut catalog = Self { types: Vec::new(), of_daemon: file.own_type, by_name: HashMap::new() };
        for event_type in file.event_type {
            catalog.add(event_type).expect("the embedded catalogue names each type once");
        }
        catalog
    }

    /// Adds a type of the operator's own.
    ///
    /// # Errors
    /// A sentence when the name is taken, or of the daemon's own channel.
    pub fn add(&mut self, event_type: EventType) -> Result<(), String> {
        if event_type.name.is_of_daemon() {
            return Err(format!("{}: the channel {CHANNEL_OF_DAEMON} is the daemon's own; choose another", event_type.name));
        }
        if self.by_name.contains_key(&event_type.name) {
            return Err(format!("the event type {} exists already", event_type.name));
        }
        self.by_name.insert(event_type.name.clone(), self.types.len());
        self.types.push(event_type);
        Ok(())
    }

    /// The type of that name, of the platform or of the daemon.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&EventType> {
        let name = EventTypeName::parse(name).ok()?;
        let of_daemon = || self.of_daemon.iter().find(|event_type| event_type.name == name);
        self.by_name.get(&name).map(|index| &self.types[*index]).or_else(of_daemon)
    }

    /// Every type that may be posted, in the order in which they are shown.
    #[must_use]
    pub fn types(&self) -> &[EventType] {
        &self.types
    }

    /// Every type that events of a project may have: in the daemon's own project those of the daemon and no others.
    #[must_use]
    pub fn types_of(&self, project: &Project) -> &[EventType] {
        if project.is_of_daemon() { &self.of_daemon } else { &self.types }
    }

    /// Every type, those of the daemon last.
    pub fn all(&self) -> impl Iterator<Item = &EventType> {
        self.types.iter().chain(&self.of_daemon)
    }

    /// The known name that `wrong` was most likely meant to be.
    #[must_use]
    pub fn nearest(&self, wrong: &str) -> Option<&str> {
        nearest(wrong, self.all().map(|event_type| event_type.name.as_str()))
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
    fn the_daemons_own_types_are_a_channel_apart() {
        let (catalog, [daemon, shop]) = (Catalog::built_in(), ["hookwheel", "shop.example.com"].map(|text| Project::parse(text).unwrap()));
        assert_eq!((catalog.types_of(&shop).len(), catalog.types_of(&daemon).len(), catalog.all().count()), (43, 5, 48));
        for event_type in catalog.types_of(&daemon) {
            let [channel, group, _] = event_type.name.segments();
            assert_eq!((channel, event_type.channel.as_str()), (CHANNEL_OF_DAEMON, CHANNEL_OF_DAEMON));
            assert_eq!(event_type.group, group_label(group));
            assert!(event_type.name.is_of_daemon() && catalog.get(event_type.name.as_str()) == Some(event_type));
            assert!(!event_type.label.is_empty() && event_type.description.ends_with('.'), "{event_type:?}");
        }
        assert!(catalog.types().iter().all(|event_type| !event_type.name.is_of_daemon()));
        let own = EventType { name: EventTypeName::parse("hookwheel.webhook.resumed").unwrap(), ..catalog.types()[0].clone() };
        assert!(Catalog::built_in().add(own).unwrap_err().contains("the daemon's own"));
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
        assert_eq!((catalog.types().len(), catalog.types().last()), (44, Some(&own)));
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
