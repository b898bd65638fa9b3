//! A project: one domain of a customer, in one spelling however it was written; or `hookwheel`, the daemon's own. It never resolves anything.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The one project that is no domain: what the daemon tells about itself.
const OF_DAEMON: &str = "hookwheel";

/// A project domain, kept in its ASCII form (UTS 46, RFC 5891): `müller-bücher.example` and
/// `xn--mller-bcher-thbg.example` are one project, and case does not matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Project(Arc<str>);

impl Project {
    /// The daemon's own project.
    #[must_use]
    pub fn of_daemon() -> Self {
        Self(OF_DAEMON.into())
    }

    /// Whether it is the daemon's own.
    #[must_use]
    pub fn is_of_daemon(&self) -> bool {
        &*self.0 == OF_DAEMON
    }

    /// Parses a domain name in either form, or the name of the daemon's own project.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{} is not a project: expected a domain such as shop.example.com", super::shown(text));
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| wrong())?;
        if ascii == OF_DAEMON {
            return Ok(Self::of_daemon());
        }
        let is_address = ascii.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if !ascii.contains('.') || is_address || ascii.len() > 253 || ascii.ends_with('.') {
            return Err(wrong());
        }
        Ok(Self(ascii.into()))
    }

    /// The ASCII form, by which projects are compared.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that people read, such as `müller-bücher.example`.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }
}

/// The form that people read.
impl fmt::Display for Project {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_unicode())
    }
}

impl JsonSchema for Project {
    fn schema_name() -> Cow<'static, str> {
        "Project".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let label = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
        let (pattern, description) = match generator.contract().is_serialize() {
            true => (r"^[a-z0-9.-]+$".to_owned(), "A project domain, in its ASCII form."),
            false => (
                format!(r"^({label}\.)+[A-Za-z]([A-Za-z0-9-]{{0,61}}[A-Za-z0-9])?$"),
                "A project domain; the form with other letters, `müller-bücher.example`, is taken, too.",
            ),
        };
        json_schema!({ "type": "string", "description": description, "pattern": pattern, "maxLength": 253, "examples": ["shop.example.com"] })
    }
}

impl TryFrom<String> for Project {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Project> for String {
    fn from(project: Project) -> Self {
        project.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_and_any_case_are_one_project() {
        let unicode = Project::parse("müller-bücher.example").unwrap();
        assert_eq!(unicode, Project::parse("MÜLLER-Bücher.Example").unwrap());
        assert_eq!(unicode, Project::parse(unicode.as_str()).unwrap());
        assert!(unicode.as_str().starts_with("xn--"));
        assert_eq!(unicode.to_string(), "müller-bücher.example");
    }

    #[test]
    fn one_project_is_no_domain() {
        assert_eq!(Project::parse("hookwheel"), Ok(Project::of_daemon()));
        assert!(Project::of_daemon().is_of_daemon() && !Project::parse("hookwheel.example").unwrap().is_of_daemon());
        assert_eq!(serde_json::to_string(&Project::of_daemon()).unwrap(), "\"hookwheel\"");
    }

    #[test]
    fn what_is_no_domain_is_refused() {
        for wrong in [
            "",
            "not a domain!",
            "localhost",
            "a..b",
            ".example.com",
            "example.com.",
            "-a.example",
            "127.0.0.1",
            "a_b.example",
            "http://x.y",
            "[::1]",
        ] {
            assert!(Project::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Project::parse(&format!("{}.example", "a".repeat(64))).is_err());
    }
}
