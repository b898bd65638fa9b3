//! What a webhook asks for: `*`, `email.*`, `email.status.*`, `*.status.delivered` or one exact type. It never matches by prefix.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Catalog, EventType, EventTypeName, Project};

/// A pattern over event type names: three segments, each a word or anything.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^((\*|[a-z0-9_]+)\.(\*|[a-z0-9_]+)\.(\*|[a-z0-9_]+)|((\*|[a-z0-9_]+)\.)?\*)$", "examples" = ["email.*"]))]
pub struct Selector {
    text: String,
    segments: [Option<String>; 3],
}

impl Selector {
    /// Parses a selector. A trailing `*` stands for all that follows: `email.*` is a whole channel, `*` everything.
    ///
    /// # Errors
    /// A sentence that says which forms there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{} is not a selector: expected \"*\", \"email.*\", \"email.status.*\", \"*.status.delivered\" or an exact type",
                super::shown(text)
            )
        };
        let parts = text.split('.').collect::<Vec<_>>();
        let good = |part: &&str| {
            *part == "*" || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        };
        if parts.len() > 3 || !parts.iter().all(good) || (parts.len() < 3 && parts.last() != Some(&"*")) {
            return Err(wrong());
        }
        let segments = std::array::from_fn(|index| parts.get(index).filter(|part| **part != "*").map(|part| (*part).to_owned()));
        Ok(Self { text: text.to_owned(), segments })
    }

    /// Whether this selector wants events of that type.
    #[must_use]
    pub fn matches(&self, name: &EventTypeName) -> bool {
        self.segments.iter().zip(name.segments()).all(|(wanted, segment)| wanted.as_deref().is_none_or(|wanted| wanted == segment))
    }

    /// Why this selector can't want anything of a project's events, or of those of any domain; `None` when it can.
    #[must_use]
    pub fn mistake(&self, catalog: &Catalog, project: Option<&Project>) -> Option<String> {
        let is_any = |types: &[EventType]| types.iter().any(|event_type| self.matches(&event_type.name));
        let daemon = Project::of_daemon();
        let types = project.map_or(catalog.types(), |project| catalog.types_of(project));
        if is_any(types) {
            return None;
        }
        if is_any(catalog.types_of(&daemon)) {
            return Some(format!("{:?} is what the daemon tells about itself, in the project {daemon} alone", self.text));
        }
        if is_any(catalog.types()) {
            return Some(format!(
                "{:?} matches nothing in the project {daemon}, where the daemon tells about itself; try \"*\"",
                self.text
            ));
        }
        if !self.text.contains('*') {
            return Some(catalog.unknown_type(&self.text));
        }
        let forms = types.iter().flat_map(|event_type| {
            let [channel, group, what] = event_type.name.segments();
            [
                format!("{channel}.*"),
                format!("{channel}.{group}.*"),
                format!("*.{group}.{what}"),
                format!("{channel}.*.{what}"),
                format!("*.{group}.*"),
            ]
        });
        let forms = forms.collect::<Vec<_>>();
        let hint = super::nearest(&self.text, forms.iter().map(String::as_str)).map(|near| format!("; did you mean {near:?}?"));
        Some(format!("{:?} matches no event type{}", self.text, hint.unwrap_or_default()))
    }

    /// The selector as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl TryFrom<String> for Selector {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(selector: &str) -> usize {
        let selector = Selector::parse(selector).unwrap();
        Catalog::built_in().types().iter().filter(|event_type| selector.matches(&event_type.name)).count()
    }

    #[test]
    fn each_form_selects_what_it_says() {
        assert_eq!(matched("*"), 43);
        assert_eq!(matched("*.*.*"), 43);
        assert_eq!(matched("email.*"), 11);
        assert_eq!(matched("email.status.*"), 3);
        assert_eq!(matched("*.status.delivered"), 5);
        assert_eq!(matched("*.*.clicked"), 5);
        assert_eq!(matched("email.status.bounced"), 1);
        assert_eq!(matched("fax.*"), 0);
    }

    #[test]
    fn what_is_no_selector_is_refused_and_what_selects_nothing_is_explained() {
        for wrong in ["", "email", "email.status", "email.sta*", "*.delivered", "a.b.c.d", "Email.*", ".*"] {
            assert!(Selector::parse(wrong).is_err(), "{wrong}");
        }
        let (catalog, shop, daemon) = (Catalog::built_in(), Project::parse("shop.example.com").unwrap(), Project::of_daemon());
        assert!(Selector::parse("emial.*").unwrap().mistake(&catalog, Some(&shop)).unwrap().contains("did you mean \"email.*\"?"));
        assert!(Selector::parse("email.status.bounce").unwrap().mistake(&catalog, Some(&shop)).unwrap().contains("email.status.bounced"));
        assert_eq!(Selector::parse("email.*").unwrap().mistake(&catalog, Some(&shop)), None);
        let mistake = |text, project| Selector::parse(text).unwrap().mistake(&catalog, Some(project)).unwrap_or_default();
        assert!(mistake("hookwheel.*", &shop).contains("in the project hookwheel alone"));
        assert!(mistake("email.*", &daemon).contains("where the daemon tells about itself"));
        assert!(mistake("hookwheel.webhok.*", &daemon).contains("did you mean \"hookwheel.webhook.*\"?"));
        assert_eq!(["*", "hookwheel.webhook.*", "hookwheel.disk.low"].map(|text| mistake(text, &daemon)), [""; 3]);
    }
}
