//! One operation while it is being described, and who adds to it: what its handler takes, and what it answers. It never looks at a request.

use std::collections::{BTreeMap, VecDeque};

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::NoContent;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::super::problem::Problem;
use super::About;
use super::schemas::Schemas;

/// Something that a handler takes.
pub trait Input {
    /// Says what it is of a request, and how it may be refused.
    fn describe(sketch: &mut Sketch<'_>);
}

/// Something that a handler answers.
pub trait Output {
    /// Says with which status and body.
    fn describe(sketch: &mut Sketch<'_>);
}

/// A handler, all of whose arguments and answers can be described.
pub trait Described<D> {
    /// Describes them.
    fn sketch(sketch: &mut Sketch<'_>);
}

macro_rules! described {
    ($($input:ident),*) => {
        impl<F, A, R, $($input),*> Described<($($input,)*)> for F
        where
            F: Fn($($input),*) -> A,
            A: Future<Output = R>,
            R: Output,
            $($input: Input,)*
        {
            fn sketch(sketch: &mut Sketch<'_>) {
                $($input::describe(sketch);)*
                R::describe(sketch);
            }
        }
    };
}

described!();
described!(I1);
described!(I1, I2);
described!(I1, I2, I3);
described!(I1, I2, I3, I4);
described!(I1, I2, I3, I4, I5);

/// An operation while it is being described.
pub struct Sketch<'a> {
    schemas: &'a mut Schemas,
    /// The parameters of the path that no argument has taken yet.
    names: VecDeque<&'static str>,
    parameters: Vec<Value>,
    body: Option<Value>,
    answers: BTreeMap<u16, Value>,
    refusals: BTreeMap<u16, String>,
}

impl<'a> Sketch<'a> {
    /// The operation, described.
    pub(super) fn of(path: &'static str, schemas: &'a mut Schemas, describe: fn(&mut Sketch<'_>), about: &About) -> Value {
        let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        let mut sketch = Self { schemas, names, parameters: Vec::new(), body: None, answers: BTreeMap::new(), refusals: BTreeMap::new() };
        describe(&mut sketch);
        sketch.refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not now: too much is under way, the daemon is ending, or the disk is full. Try again after `Retry-After`.",
        );
        for (status, when) in &about.refusals {
            sketch.refused(*status, when);
        }
        sketch.finish(about)
    }

    /// The next parameter of the path.
    pub(super) fn in_path<T: JsonSchema>(&mut self) {
        let name = self.names.pop_front().unwrap_or("?");
        let schema = self.schemas.told::<T>();
        self.parameter("path", name, schema, true);
    }

    /// Parameters of the query: the fields of `Q`.
    pub(super) fn in_query<Q: JsonSchema>(&mut self) {
        let schema = self.schemas.told::<Q>();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            self.parameter("query", name, without_null(schema.clone()), required.contains(&json!(name)));
        }
    }

    fn parameter(&mut self, place: &str, name: &str, mut schema: Value, is_required: bool) {
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        let mut parameter = json!({ "name": name, "in": place, "required": is_required, "schema": schema });
        if let Some(description) = description {
            parameter["description"] = description;
        }
        self.parameters.push(parameter);
    }

    /// A JSON body.
    pub(super) fn body<B: JsonSchema>(&mut self, is_required: bool) {
        let schema = self.schemas.body::<B>();
        self.body_in(&json!({ "application/json": { "schema": schema } }), is_required);
    }

    /// The schema of a body, for [`Sketch::body_in`].
    pub(in super::super) fn schema_of_body<B: JsonSchema>(&mut self) -> Value {
        self.schemas.body::<B>()
    }

    /// A body in any of these media types.
    pub(in super::super) fn body_in(&mut self, content: &Value, is_required: bool) {
        self.body = Some(json!({ "required": is_required, "content": content }));
        self.refused(StatusCode::BAD_REQUEST, "The body did not arrive whole, or is not UTF-8.");
        self.refused(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.");
    }

    /// An answer in JSON.
    pub(in super::super) fn answers<T: JsonSchema>(&mut self, status: StatusCode, what: &str) {
        let schema = self.schemas.answered::<T>();
        self.answers_in(status, what, &json!({ "application/json": { "schema": schema } }));
    }

    /// An answer in JSON of either form.
    pub(in super::super) fn answers_either<A: JsonSchema, B: JsonSchema>(&mut self, status: StatusCode, what: &str) {
        let schema = json!({ "oneOf": [self.schemas.answered::<A>(), self.schemas.answered::<B>()] });
        self.answers_in(status, what, &json!({ "application/json": { "schema": schema } }));
    }

    /// An answer in any of these media types.
    pub(in super::super) fn answers_in(&mut self, status: StatusCode, what: &str, content: &Value) {
        self.answers.insert(status.as_u16(), json!({ "description": what, "content": content }));
    }

    /// An answer in plain text.
    pub(in super::super) fn answers_text(&mut self, status: StatusCode, what: &str) {
        self.answers_in(status, what, &json!({ "text/plain": { "schema": { "type": "string" } } }));
    }

    /// A header of the answer with that status.
    pub(super) fn header(&mut self, status: StatusCode, name: &str, header: Value) {
        if let Some(answer) = self.answers.get_mut(&status.as_u16()) {
            answer["headers"][name] = header;
        }
    }

    /// A refusal: what is said last of a status holds.
    pub(in super::super) fn refused(&mut self, status: StatusCode, when: &str) {
        self.refusals.insert(status.as_u16(), when.to_owned());
    }

    fn finish(self, about: &About) -> Value {
        let problem = self.schemas.problem();
        let refusals = self.refusals.into_iter().map(|(status, when)| (status, refusal(status, &when, &problem)));
        let answers = self.answers.into_iter().chain(refusals).map(|(status, answer)| (status.to_string(), answer));
        let mut operation = json!({
            "operationId": about.id,
            "description": about.text,
            "responses": answers.collect::<Map<_, _>>(),
        });
        if !self.parameters.is_empty() {
            operation["parameters"] = Value::Array(self.parameters);
        }
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        if about.takes_token {
            operation["security"] = json!([{}, { "token": [] }]);
        }
        operation
    }
}

fn refusal(status: u16, when: &str, problem: &Value) -> Value {
    let mut refusal = json!({ "description": when, "content": { "application/problem+json": { "schema": problem } } });
    match status {
        401 => refusal["headers"] = json!({ "WWW-Authenticate": { "required": true, "schema": { "type": "string" } } }),
        503 => {
            let seconds = json!({ "type": "integer", "minimum": 1 });
            refusal["headers"] = json!({ "Retry-After": { "required": true, "description": "Seconds after which asking again makes sense.", "schema": seconds } });
        }
        _ => {}
    }
    refusal
}

/// A query has no null: what may be null may be left out.
fn without_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array() {
        let types = types.iter().filter(|one| *one != "null").cloned().collect::<Vec<_>>();
        schema["type"] = if let [one] = types.as_slice() { one.clone() } else { Value::Array(types) };
    }
    let Some(choices) = schema.get("anyOf").and_then(Value::as_array) else {
        return without_empty(schema);
    };
    let choices = choices.iter().filter(|one| one["type"] != "null").cloned().collect::<Vec<_>>();
    if let ([Value::Object(only)], Some(schema)) = (choices.as_slice(), schema.as_object_mut()) {
        schema.remove("anyOf");
        for (key, value) in only {
            schema.entry(key.clone()).or_insert_with(|| value.clone());
        }
    } else {
        schema["anyOf"] = Value::Array(choices);
    }
    without_empty(schema)
}

/// Looking for a key in a [`Value`] may have left a null there; a default of nothing is none.
fn without_empty(mut schema: Value) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.retain(|_, value| !value.is_null());
    }
    schema
}

impl<T> Input for State<T> {
    fn describe(_: &mut Sketch<'_>) {}
}

impl<T> Input for Extension<T> {
    fn describe(_: &mut Sketch<'_>) {}
}

impl Input for HeaderMap {
    fn describe(_: &mut Sketch<'_>) {}
}

impl Input for Uri {
    fn describe(_: &mut Sketch<'_>) {}
}

impl<T: JsonSchema> Output for Json<T> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers::<T>(StatusCode::OK, "Done.");
    }
}

impl Output for NoContent {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers.insert(StatusCode::NO_CONTENT.as_u16(), json!({ "description": "Done." }));
    }
}

impl Output for &'static str {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers_text(StatusCode::OK, "One word.");
    }
}

/// How it may be refused is said by what the handler takes, and by [`About::or`].
impl<T: Output> Output for Result<T, Problem> {
    fn describe(sketch: &mut Sketch<'_>) {
        T::describe(sketch);
    }
}
