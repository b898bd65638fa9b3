//! A webhook as the admin socket is told of it: the keys of a `[[webhook]]`, as JSON. It never knows which values are right; the configuration's own checks say that.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Project, Selector, WebhookId};
use crate::limits;

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

/// What is to change of a [`Definition`]: the keys that it names; null is the default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Patch(pub Definition);

impl JsonSchema for Definition {
    fn schema_name() -> Cow<'static, str> {
        "Definition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "A webhook: the keys of a `[[webhook]]`.",
            "properties": keys(generator),
            "required": ["title", "project", "url", "events"],
            "additionalProperties": false,
        })
    }
}

impl JsonSchema for Patch {
    fn schema_name() -> Cow<'static, str> {
        "Patch".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let keys = keys(generator).into_iter().map(|(key, schema)| (key, json!({ "anyOf": [schema, { "type": "null" }] })));
        json_schema!({
            "type": "object",
            "description": "What is to change of a webhook: the keys of a `[[webhook]]`; null is the default.",
            "properties": keys.collect::<Map<_, _>>(),
            "additionalProperties": false,
        })
    }
}

/// Each key of a webhook, as the checks of the configuration want it.
fn keys(generator: &mut SchemaGenerator) -> Map<String, Value> {
    let duration = |text: &str| json!({ "type": "string", "pattern": "^[1-9][0-9]{0,6}(ms|s|m|h|d)$", "description": text });
    let attempts = json!({ "type": "integer", "minimum": 1, "maximum": limits::ATTEMPTS_MAX });
    let step = json!({
        "type": "object",
        "properties": { "attempts": attempts, "every": duration("From the end of one attempt to the next.") },
        "required": ["attempts", "every"],
        "additionalProperties": false,
    });
    let status = json!({ "anyOf": [{ "type": "integer", "minimum": 200, "maximum": 599 }, { "enum": ["2xx", "3xx", "4xx", "5xx"] }] });
    let file = |text: &str| json!({ "type": "string", "minLength": 1, "description": format!("{text} A file of the daemon's machine; what is in it is never told.") });
    let event = generator.subschema_for::<Selector>();
    let events = json!({ "type": "array", "items": event, "minItems": 1, "description": "What it wants." });
    [
        ("id", json!(generator.subschema_for::<WebhookId>())),
        ("title", json!({ "pattern": r"^[^\x00-\x1f\x7f-\x9f]*$", "type": "string", "minLength": 1, "maxLength": limits::TITLE_LENGTH_MAX, "description": "What people call it, on one line." })),
        ("project", json!(generator.subschema_for::<Project>())),
        ("url", json!({ "type": "string", "format": "uri", "pattern": "^https?://", "maxLength": limits::URL_LENGTH_MAX, "description": "Where its events go." })),
        ("events", events),
        ("secret", json!({ "type": "string", "pattern": "^(whsec_[A-Za-z0-9+/]{32,86}={0,2}|whsk_[A-Za-z0-9+/]{43,86}={0,2})$", "description": "Its key; hookwheel makes one when it is left out." })),
        ("signing", json!({ "enum": ["v1", "v1a"], "description": "How its requests are signed, HMAC-SHA256 or ed25519: which kind of key hookwheel makes. A key of one's own says it itself." })),
        ("headers", json!({ "type": "object", "additionalProperties": { "type": "string" }, "maxProperties": limits::HEADERS_MAX, "description": "Sent with every attempt." })),
        ("paused", json!({ "type": "boolean" })),
        ("allow_networks", json!({ "type": "array", "items": { "type": "string" }, "description": "Networks that may be dialled although refused by default." })),
        ("ca_file", file("Certificates (PEM) of authorities that it trusts besides the system's.")),
        ("client_certificate_file", file("The certificate (PEM) that it shows to a receiver which asks for one.")),
        ("client_key_file", file("That one's private key (PEM).")),
        ("timeout", duration("One attempt, from connect to the end of the response.")),
        ("success", json!({ "type": "array", "items": status, "minItems": 1, "description": "Which statuses are success." })),
        ("retry", json!({ "type": "array", "items": step, "description": "When a failed delivery is tried again." })),
        ("max_in_flight", json!({ "type": "integer", "minimum": 1, "maximum": limits::IN_FLIGHT_MAX, "description": "Attempts at once." })),
        ("rate", json!({ "type": "string", "pattern": "^[1-9][0-9]{0,6}/[smh]$", "description": "Attempts in a time, such as `50/s`." })),
        ("ordered", json!({ "type": "boolean", "description": "One after the other, first accepted first." })),
    ]
    .map(|(key, schema)| (key.to_owned(), schema))
    .into_iter()
    .collect()
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

    /// The keys that are set.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
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
