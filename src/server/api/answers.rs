//! What a handler may answer beside `200`. It never decides which.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::sketch::{Output, Sketch};

/// `201`: it was made, and has this path.
pub(in super::super) struct Created<T> {
    pub(in super::super) path: String,
    pub(in super::super) what: T,
}

/// `202`: it was begun, and goes on.
pub(in super::super) struct Begun<T>(pub(in super::super) T);

/// `201` when it was made, `200` when it was there.
pub(in super::super) enum Put<T> {
    New(Created<T>),
    Known(T),
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        (StatusCode::CREATED, [(header::LOCATION, self.path)], Json(self.what)).into_response()
    }
}

impl<T: JsonSchema> Output for Created<T> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers::<T>(StatusCode::CREATED, "It was made.");
        let path = json!({ "required": true, "description": "Its path.", "schema": { "type": "string" } });
        sketch.header(StatusCode::CREATED, "Location", path);
    }
}

impl<T: Serialize> IntoResponse for Begun<T> {
    fn into_response(self) -> Response {
        (StatusCode::ACCEPTED, Json(self.0)).into_response()
    }
}

impl<T: JsonSchema> Output for Begun<T> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.answers::<T>(StatusCode::ACCEPTED, "It was begun; `GET` says how far it is.");
    }
}

impl<T: Serialize> IntoResponse for Put<T> {
    fn into_response(self) -> Response {
        match self {
            Self::New(created) => created.into_response(),
            Self::Known(what) => Json(what).into_response(),
        }
    }
}

impl<T: JsonSchema> Output for Put<T> {
    fn describe(sketch: &mut Sketch<'_>) {
        Created::<T>::describe(sketch);
        sketch.answers::<T>(StatusCode::OK, "It was there before.");
    }
}
