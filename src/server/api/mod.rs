//! The one way to a route: what is served is described, in OpenAPI 3.1, from what its handler takes and answers. It never answers anything itself but that description.
//!
//! A route is added with its handler and an [`About`]. What the handler takes ([`Input`]) and answers ([`Output`]) says the rest: parameters, body, statuses, schemas. A handler that
//! takes or answers something that can't be described does not compile; a refusal that the types don't show is named with [`About::or`], and the tests of the doors hold every
//! answer that they get against the description.

mod answers;
mod asked;
mod schemas;
mod sketch;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Extension;
use axum::handler::Handler;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Map, Value, json};

pub(super) use self::answers::{Begun, Created, Put};
pub(super) use self::asked::{Asked, MayTell, Named, NamedPair, Telling, Text, Told};
use self::schemas::Schemas;
use self::sketch::Described;
pub(super) use self::sketch::{Input, Output, Sketch};

/// Where each door describes itself.
const OPENAPI: &str = "/openapi.json";

/// What is said about a route beyond what its handler's types say.
#[derive(Clone, Debug)]
pub struct About {
    id: &'static str,
    text: &'static str,
    refusals: Vec<(StatusCode, &'static str)>,
    takes_token: bool,
}

impl About {
    /// The operation's name, unique at its door, and what it does.
    #[must_use]
    pub const fn new(id: &'static str, text: &'static str) -> Self {
        Self { id, text, refusals: Vec::new(), takes_token: false }
    }

    /// It may also be refused with this status.
    #[must_use]
    pub fn or(mut self, status: StatusCode, when: &'static str) -> Self {
        self.refusals.push((status, when));
        self
    }

    /// The thing that the path names may not be there.
    #[must_use]
    pub fn or_not_found(self) -> Self {
        self.or(StatusCode::NOT_FOUND, "There is no such thing.")
    }

    /// It may need a token.
    #[must_use]
    pub const fn with_token(mut self) -> Self {
        self.takes_token = true;
        self
    }
}

#[derive(Clone)]
struct Operation {
    method: &'static str,
    path: &'static str,
    about: About,
    sketch: fn(&mut Sketch<'_>),
}

/// Routes, each with its description.
#[derive(Clone)]
pub struct Api<S = ()> {
    router: Router<S>,
    operations: Vec<Operation>,
}

/// The description of a door, as it is served: it goes along with every request, so a copy costs nothing.
#[derive(Clone)]
struct Document(Bytes);

impl<S: Clone + Send + Sync + 'static> Default for Api<S> {
    fn default() -> Self {
        Self { router: Router::new(), operations: Vec::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Api<S> {
    /// Without any route.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a `GET`.
    #[must_use]
    pub fn get<T: 'static, D, F: Handler<T, S> + Described<D>>(self, path: &'static str, handler: F, about: About) -> Self {
        self.with("get", path, on(MethodFilter::GET, handler), F::sketch, about)
    }

    /// Adds a `POST`.
    #[must_use]
    pub fn post<T: 'static, D, F: Handler<T, S> + Described<D>>(self, path: &'static str, handler: F, about: About) -> Self {
        self.with("post", path, on(MethodFilter::POST, handler), F::sketch, about)
    }

    /// Adds a `PUT`.
    #[must_use]
    pub fn put<T: 'static, D, F: Handler<T, S> + Described<D>>(self, path: &'static str, handler: F, about: About) -> Self {
        self.with("put", path, on(MethodFilter::PUT, handler), F::sketch, about)
    }

    /// Adds a `PATCH`.
    #[must_use]
    pub fn patch<T: 'static, D, F: Handler<T, S> + Described<D>>(self, path: &'static str, handler: F, about: About) -> Self {
        self.with("patch", path, on(MethodFilter::PATCH, handler), F::sketch, about)
    }

    /// Adds a `DELETE`.
    #[must_use]
    pub fn delete<T: 'static, D, F: Handler<T, S> + Described<D>>(self, path: &'static str, handler: F, about: About) -> Self {
        self.with("delete", path, on(MethodFilter::DELETE, handler), F::sketch, about)
    }

    fn with(
        mut self,
        method: &'static str,
        path: &'static str,
        served: MethodRouter<S>,
        sketch: fn(&mut Sketch<'_>),
        about: About,
    ) -> Self {
        self.router = self.router.route(path, served);
        self.operations.push(Operation { method, path, about, sketch });
        self
    }

    /// These routes and those.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.operations.extend(other.operations);
        Self { router: self.router.merge(other.router), operations: self.operations }
    }

    /// Gives the handlers what they need.
    #[must_use]
    pub fn with_state<S2: Clone + Send + Sync + 'static>(self, state: S) -> Api<S2> {
        Api { router: self.router.with_state(state), operations: self.operations }
    }
}

impl Api {
    /// The routes, and `/openapi.json` with what they are.
    pub(super) fn into_router(self, title: &str, text: &str) -> Router {
        let api = self.get(OPENAPI, openapi, About::new("openapi", "This description."));
        let document = Document(document(&api.operations, title, text).to_string().into());
        api.router.layer(Extension(document))
    }
}

async fn openapi(Extension(document): Extension<Document>) -> Document {
    document
}

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

impl Output for Document {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers_in(StatusCode::OK, "OpenAPI 3.1.", &json!({ "application/json": { "schema": { "type": "object" } } }));
    }
}

fn document(operations: &[Operation], title: &str, text: &str) -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    for operation in operations {
        let described = Sketch::of(operation.path, &mut schemas, operation.sketch, &operation.about);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    let token =
        json!({ "type": "http", "scheme": "bearer", "description": "A token as `hookwheel token new` makes it, or `[[token]]` names it." });
    let takes_token = operations.iter().any(|operation| operation.about.takes_token);
    let mut components = json!({ "schemas": schemas.into_components() });
    if takes_token {
        components["securitySchemes"] = json!({ "token": token });
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": env!("CARGO_PKG_VERSION"),
            "description": text,
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": components,
    })
}
