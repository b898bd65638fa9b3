//! The schemas of what is told and answered, as the model's types derive them. They never say what a value means to the house.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::super::problem::Problem;

/// Schemas under the names of their types.
pub(super) struct Schemas {
    /// Of what is told: each whole, for a type may be told otherwise than it is answered (what has a default may be left out).
    told: SchemaGenerator,
    /// Of what is answered.
    answered: SchemaGenerator,
    bodies: Map<String, Value>,
}

impl Default for Schemas {
    fn default() -> Self {
        let settings = |inline| {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
                settings.inline_subschemas = inline;
            })
        };
        Self {
            told: settings(true).for_deserialize().into_generator(),
            answered: settings(false).for_serialize().into_generator(),
            bodies: Map::new(),
        }
    }
}

impl Schemas {
    /// What may be told, whole.
    pub(super) fn told<T: JsonSchema>(&mut self) -> Value {
        bounded(readable(self.told.subschema_for::<T>().to_value()))
    }

    /// A reference to what may be told as a body.
    pub(super) fn body<T: JsonSchema>(&mut self) -> Value {
        let (name, schema) = (T::schema_name().into_owned(), self.told::<T>());
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        self.bodies.insert(name, schema);
        reference
    }

    /// What is answered: a reference, where it has a name.
    pub(super) fn answered<T: JsonSchema>(&mut self) -> Value {
        readable(self.answered.subschema_for::<T>().to_value())
    }

    /// A reference to what every refusal is.
    pub(super) fn problem(&mut self) -> Value {
        self.answered::<Problem>()
    }

    /// All that has a name.
    pub(super) fn into_components(mut self) -> Value {
        let mut components = self.answered.take_definitions(true);
        components.extend(self.bodies);
        readable(Value::Object(components))
    }
}

/// Without what only rustdoc understands: `[`Webhook`]` is `Webhook`.
fn readable(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| match value {
                Value::String(text) if key == "description" => (key, Value::from(text.replace("[`", "`").replace("`]", "`"))),
                value => (key, readable(value)),
            })
            .collect(),
        Value::Array(values) => values.into_iter().map(readable).collect(),
        other => other,
    }
}

/// With the bound of every whole number that has none of its own: what does not fit is refused.
fn bounded(value: Value) -> Value {
    match value {
        Value::Object(mut map) => {
            let most = match map.get("format").and_then(Value::as_str) {
                Some("uint" | "uint64") => Some(u64::MAX),
                Some("uint32") => Some(u64::from(u32::MAX)),
                _ => None,
            };
            if let Some(most) = most {
                map.entry("maximum").or_insert(json!(most));
            }
            Value::Object(map.into_iter().map(|(key, value)| (key, bounded(value))).collect())
        }
        Value::Array(values) => values.into_iter().map(bounded).collect(),
        other => other,
    }
}
