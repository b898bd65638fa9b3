//! A webhook as the admin socket is told of it: the keys of a `[[webhook]]`, as JSON. It never knows which values are right; the configuration's own checks say that.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The keys that come first when a definition is written, in this order; the others follow in the order of the alphabet.
const FIRST: [&str; 5] = ["id", "title", "project", "url", "events"];

/// The keys of a webhook with their values. It may hold what is confidential (headers), so it shows its keys alone.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Definition(Map<String, Value>);

impl fmt::Debug for Definition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

impl Definition {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| {
            format!("expected a JSON object with the keys of a [[webhook]], such as {{\"title\":…,\"project\":…,\"url\":…,\"events\":[…]}}: {error}")
        })
    }

    /// The definition as JSON, on one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// The value of a key, where it is text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// Sets a key.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Takes a key away.
    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key)
    }

    /// Takes a key away that is a text, as [`Definition::take`] does.
    ///
    /// # Errors
    /// A sentence when it is something else.
    pub fn take_text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{key}: expected text")),
        }
    }

    /// Takes a key away that is true or false, as [`Definition::take`] does.
    ///
    /// # Errors
    /// A sentence when it is something else.
    pub fn take_flag(&mut self, key: &str) -> Result<Option<bool>, String> {
        match self.0.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(format!("{key}: expected true or false")),
        }
    }

    /// This definition with what `patch` says; a key that is null there goes back to its default.
    #[must_use]
    pub fn patched(&self, patch: &Self) -> Self {
        let mut map = self.0.clone();
        map.extend(patch.0.iter().map(|(key, value)| (key.clone(), value.clone())));
        map.retain(|_, value| !value.is_null());
        Self(map)
    }

    /// The definition as it stands in `webhooks.toml`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let others = self.0.keys().map(String::as_str).filter(|key| !FIRST.contains(key));
        let mut text = "[[webhook]]\n".to_owned();
        for key in FIRST.into_iter().chain(others) {
            if let Some(value) = self.0.get(key).filter(|value| !value.is_null()) {
                text.push_str(&format!("{} = {}\n", toml_key(key), toml_value(value)));
            }
        }
        text
    }
}

fn toml_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if is_bare { key.to_owned() } else { toml_text(key) }
}

/// JSON's escapes are all known to TOML, which wants one character escaped that JSON leaves alone.
fn toml_text(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// A value as it stands in `webhooks.toml`.
#[must_use]
pub fn toml_value(value: &Value) -> String {
    match value {
        Value::String(text) => toml_text(text),
        Value::Array(values) => format!("[{}]", values.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{} = {}", toml_key(key), toml_value(value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        // TOML knows no null; as text it is what the checks complain about.
        Value::Null => "\"null\"".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_toml_reads_back_as_it_was() {
        let text = r#"{"events":["*"],"headers":{"X-Tenant":"4\"2\\ \u007f\t\u0000ü"},"id":"crm","max_in_flight":3,"ordered":true,"retry":[{"attempts":3,"every":"100s"}],"title":"CRM"}"#;
        let definition = Definition::parse(text).unwrap();
        let toml = definition.to_toml();
        insta::assert_snapshot!(toml, @r#"
        [[webhook]]
        id = "crm"
        title = "CRM"
        events = ["*"]
        headers = { X-Tenant = "4\"2\\ \u007F\t\u0000ü" }
        max_in_flight = 3
        ordered = true
        retry = [{ attempts = 3, every = "100s" }]
        "#);
        let table: toml::Table = toml::from_str(&toml).unwrap();
        let back = serde_json::to_value(&table["webhook"][0]).unwrap();
        assert_eq!(back, serde_json::from_str::<Value>(text).unwrap());
        assert_eq!(Definition::parse(&definition.to_json()).unwrap(), definition);
    }

    #[test]
    fn a_patch_changes_what_it_names_and_null_takes_away() {
        let definition = Definition::parse(r#"{"id":"crm","rate":"5/s","title":"old"}"#).unwrap();
        let patch = Definition::parse(r#"{"rate":null,"title":"new","ordered":true}"#).unwrap();
        assert_eq!(definition.patched(&patch).to_json(), r#"{"id":"crm","ordered":true,"title":"new"}"#);
    }

    #[test]
    fn what_is_no_object_is_refused_and_values_stay_out_of_debug() {
        for wrong in ["", "[]", "12", "{"] {
            assert!(Definition::parse(wrong).unwrap_err().contains("expected a JSON object"), "{wrong}");
        }
        assert_eq!(format!("{:?}", Definition::parse(r#"{"headers":{"authorization":"x"}}"#).unwrap()), r#"{"headers"}"#);
    }
}
