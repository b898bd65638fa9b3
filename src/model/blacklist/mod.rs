//! The Black List: addresses that must not be mailed, per project, and why. It is for whoever sends mail to ask; it never touches the delivery of webhooks.
//!
//! An address comes on the list with an event of one of two types, or by an operator, and goes only when an operator removes it. While it is listed it
//! keeps the reason and the time with which it came: being listed again changes nothing. Once removed, the next such event lists it anew.

mod address;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::address::Address;
use super::{EventId, EventTypeName};
use crate::limits::REMARK_LENGTH_MAX;
use crate::time::UnixMillis;

/// One address of a project's Black List.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Who must not be mailed.
    pub address: Address,
    /// Since when.
    pub since: UnixMillis,
    /// Why.
    #[serde(flatten)]
    pub cause: Cause,
}

/// Why an address is on the Black List.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Cause {
    /// Mail to it bounced for good.
    Bounced {
        /// The event that said so, where it is known.
        event: Option<EventId>,
    },
    /// Its owner unsubscribed.
    Unsubscribed {
        /// The event that said so, where it is known.
        event: Option<EventId>,
    },
    /// An operator put it there.
    Operator {
        /// Who.
        by: Remark,
        /// What for.
        note: Option<Remark>,
    },
}

/// What an event of some type puts its address on the Black List for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// [`Cause::Bounced`]
    Bounced,
    /// [`Cause::Unsubscribed`]
    Unsubscribed,
    /// [`Cause::Operator`]
    Operator,
}

/// A line of text by a person: 1 to [`REMARK_LENGTH_MAX`] letters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("minLength" = 1, "maxLength" = REMARK_LENGTH_MAX, "pattern" = r"^[^\x00-\x1f\x7f-\x9f]*$"))]
pub struct Remark(String);

/// A page of a Black List: `GET /v1/blacklist/{project}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlacklistPage {
    /// In the order of their addresses.
    pub entries: Vec<Entry>,
    /// What to pass as `after` for the next page.
    pub next: Option<Address>,
}

/// What an import did: `POST /v1/blacklist/{project}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// Addresses that are listed now and were not before.
    pub listed: u64,
    /// Addresses that were listed before; nothing about them changed.
    pub known: u64,
}

/// An entry as it may stand in a file, one JSON object a line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine {
    address: Address,
    since: Option<UnixMillis>,
    reason: Option<Reason>,
    event: Option<EventId>,
    by: Option<Remark>,
    note: Option<Remark>,
}

impl Reason {
    /// The reason for which events of that type put the address in `data.email` on the Black List; most types do not.
    #[must_use]
    pub fn of_type(event_type: &EventTypeName) -> Option<Self> {
        match event_type.as_str() {
            "email.status.bounced" => Some(Self::Bounced),
            "email.contact.list_unsubscribed" => Some(Self::Unsubscribed),
            _ => None,
        }
    }
}

impl Cause {
    /// What an event of that type is the cause of; nothing for most types.
    #[must_use]
    pub fn of_event(event_type: &EventTypeName, id: &EventId) -> Option<Self> {
        let event = Some(id.clone());
        match Reason::of_type(event_type)? {
            Reason::Bounced => Some(Self::Bounced { event }),
            Reason::Unsubscribed => Some(Self::Unsubscribed { event }),
            Reason::Operator => None,
        }
    }

    /// The cause as the disk has it: a number for the reason, event or operator, note.
    #[must_use]
    pub fn to_parts(&self) -> (u8, Option<&str>, Option<&str>) {
        match self {
            Self::Bounced { event } => (0, event.as_ref().map(EventId::as_str), None),
            Self::Unsubscribed { event } => (1, event.as_ref().map(EventId::as_str), None),
            Self::Operator { by, note } => (2, Some(by.as_str()), note.as_ref().map(Remark::as_str)),
        }
    }

    /// The inverse of [`Cause::to_parts`].
    ///
    /// # Errors
    /// When these are the parts of none.
    pub fn from_parts(reason: u8, source: Option<&str>, note: Option<&str>) -> Result<Self, String> {
        match (reason, source, note) {
            (0, event, None) => Ok(Self::Bounced { event: event.map(EventId::parse).transpose()? }),
            (1, event, None) => Ok(Self::Unsubscribed { event: event.map(EventId::parse).transpose()? }),
            (2, Some(by), note) => Ok(Self::Operator { by: Remark::parse(by)?, note: note.map(Remark::parse).transpose()? }),
            _ => Err(format!("a Black List entry has no reason {reason} from {source:?} with the note {note:?}")),
        }
    }
}

impl Remark {
    /// Parses a remark.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let length = text.chars().count();
        if length == 0 || length > REMARK_LENGTH_MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "expected one line of 1 to {REMARK_LENGTH_MAX} letters; there are {length}, line breaks and tabs included"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Remark {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Remark> for String {
    fn from(remark: Remark) -> Self {
        remark.0
    }
}

impl Entry {
    /// Reads a line of a file to be imported by `by` at `now`: an address, or an entry as a JSON object of which only the address must be there.
    /// `None` for blank lines and comments (`#`).
    ///
    /// # Errors
    /// A sentence that says what is wrong with the line.
    pub fn parse_line(line: &str, now: UnixMillis, by: &Remark) -> Result<Option<Self>, String> {
        // Editors on some systems begin a file with a byte order mark.
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        if line.starts_with('{') {
            let entry = serde_json::from_str::<EntryLine>(line).map_err(|error| format!("not an entry: {error}"))?;
            return entry.into_entry(now, by).map(Some);
        }
        let address = Address::parse(line).map_err(|error| match line.split_once('@') {
            Some((_, behind)) if behind.contains([',', ';', '\t', ' ']) => {
                format!("{error}; a line has one address and no further columns")
            }
            _ => error,
        })?;
        Ok(Some(Self { address, since: now, cause: Cause::Operator { by: by.clone(), note: None } }))
    }
}

impl EntryLine {
    fn into_entry(self, now: UnixMillis, importer: &Remark) -> Result<Entry, String> {
        let Self { address, since, reason, event, by, note } = self;
        let reason = reason.unwrap_or(Reason::Operator);
        let cause = match reason {
            Reason::Operator if event.is_some() => {
                return Err("\"event\" goes with \"reason\":\"bounced\" or \"unsubscribed\"".into());
            }
            Reason::Operator => Cause::Operator { by: by.unwrap_or_else(|| importer.clone()), note },
            _ if by.is_some() || note.is_some() => return Err("\"by\" and \"note\" go with \"reason\":\"operator\"".into()),
            Reason::Bounced => Cause::Bounced { event },
            Reason::Unsubscribed => Cause::Unsubscribed { event },
        };
        Ok(Entry { address, since: since.unwrap_or(now), cause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_428_000_000);

    fn remark(text: &str) -> Remark {
        Remark::parse(text).unwrap()
    }

    fn line(text: &str) -> Result<Option<Entry>, String> {
        Entry::parse_line(text, NOW, &remark("uid 7"))
    }

    fn causes() -> Vec<Cause> {
        let event = Some(EventId::parse("evt_1").unwrap());
        vec![
            Cause::Bounced { event: event.clone() },
            Cause::Bounced { event: None },
            Cause::Unsubscribed { event },
            Cause::Operator { by: remark("uid 0"), note: None },
            Cause::Operator { by: remark("uid 0"), note: Some(remark("asked by phone")) },
        ]
    }

    #[test]
    fn causes_survive_their_parts_and_their_json_and_an_export_can_be_imported() {
        for cause in causes() {
            let (reason, source, note) = cause.to_parts();
            assert_eq!(Cause::from_parts(reason, source, note), Ok(cause.clone()));
            let entry = Entry { address: Address::parse("#a@example.com").unwrap(), since: UnixMillis(7), cause };
            let json = serde_json::to_string(&entry).unwrap();
            assert_eq!(serde_json::from_str::<Entry>(&json).unwrap(), entry, "{json}");
            assert_eq!(line(&json), Ok(Some(entry)), "{json}");
        }
        for (reason, source, note) in [(0, Some("a b"), None), (0, None, Some("x")), (2, None, None), (3, None, None), (2, Some(""), None)]
        {
            assert!(Cause::from_parts(reason, source, note).is_err());
        }
    }

    #[test]
    fn only_two_types_put_an_address_on_the_list() {
        let catalog = crate::model::Catalog::built_in();
        let listing = catalog.types().iter().filter_map(|one| Some((one.name.as_str(), Reason::of_type(&one.name)?))).collect::<Vec<_>>();
        assert_eq!(
            listing,
            [("email.status.bounced", Reason::Bounced), ("email.contact.list_unsubscribed", Reason::Unsubscribed)],
            "both names are those of the catalogue"
        );
    }

    #[test]
    fn lines_are_addresses_entries_comments_or_mistakes() {
        for nothing in ["", "  \t", "# a comment", "  #user@example.com"] {
            assert_eq!(line(nothing), Ok(None), "{nothing}");
        }
        let address = Address::parse("user@example.com").unwrap();
        let by_hand = Cause::Operator { by: remark("uid 7"), note: None };
        let expected = Entry { address, since: NOW, cause: by_hand };
        for good in ["user@example.com", "\u{feff}user@EXAMPLE.com\r", r#"{"address":"user@example.com"}"#] {
            assert_eq!(line(good), Ok(Some(expected.clone())), "{good}");
        }
        for (wrong, words) in [
            ("user", "there is no @"),
            ("user@example.com,bounced", "no further columns"),
            ("user@example.com\tbounced", "no further columns"),
            ("user@example.com; b@example.com", "no further columns"),
            ("{}", "missing field `address`"),
            (r#"{"address":"user@"}"#, "no domain behind the @"),
            (r#"{"address":"a@b.example","why":1}"#, "unknown field `why`"),
            (r#"{"address":"a@b.example","reason":"spam"}"#, "unknown variant `spam`"),
            (r#"{"address":"a@b.example","event":"e1"}"#, "\"event\" goes with"),
            (r#"{"address":"a@b.example","reason":"bounced","note":"x"}"#, "\"note\" go with"),
            (r#"{"address":"a@b.example","note":"x\ny"}"#, "one line"),
        ] {
            let error = line(wrong).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
