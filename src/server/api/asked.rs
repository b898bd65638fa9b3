//! What a handler may take of a request: names in its path, its query, its body; each parsed, or refused in words. It never asks the house.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::json;

use super::super::problem::Problem;
use super::sketch::{Input, Sketch};

/// The name in a path. What can't be one is refused with `WRONG`: with 404 where it then names nothing.
pub(in super::super) struct Named<T, const WRONG: u16 = 404>(pub(in super::super) T);

/// Two names in a path.
pub(in super::super) struct NamedPair<A, B, const WRONG: u16 = 404>(pub(in super::super) A, pub(in super::super) B);

/// The query, each of whose parameters is a field of `Q`.
pub(in super::super) struct Asked<Q>(pub(in super::super) Q);

/// The body: a JSON object.
pub(in super::super) struct Told<B>(pub(in super::super) B);

/// The body: a JSON object, or nothing for the default.
pub(in super::super) struct MayTell<B>(pub(in super::super) B);

/// The body: lines of text.
pub(in super::super) struct Text(pub(in super::super) String);

/// Something that may be told in a body.
pub(in super::super) trait Telling: DeserializeOwned + JsonSchema {
    /// What it looks like, in a few words.
    const EXPECTED: &'static str;
}

fn wrong(status: u16, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND), detail)
}

fn invalid(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
}

fn describe_wrong_name(sketch: &mut Sketch<'_>, status: u16) {
    let when = if status == 404 { "Nothing has that name." } else { "The name can't be one." };
    sketch.refused(StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND), when);
}

impl<T: TryFrom<String, Error: ToString>, S: Send + Sync, const WRONG: u16> FromRequestParts<S> for Named<T, WRONG> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|rejection| wrong(WRONG, rejection.body_text()))?;
        T::try_from(text).map(Self).map_err(|error| wrong(WRONG, error.to_string()))
    }
}

impl<T: JsonSchema, const WRONG: u16> Input for Named<T, WRONG> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.in_path::<T>();
        describe_wrong_name(sketch, WRONG);
    }
}

impl<A, B, S, const WRONG: u16> FromRequestParts<S> for NamedPair<A, B, WRONG>
where
    A: TryFrom<String, Error: ToString>,
    B: TryFrom<String, Error: ToString>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((first, second)) = path.map_err(|rejection| wrong(WRONG, rejection.body_text()))?;
        let first = A::try_from(first).map_err(|error| wrong(WRONG, error.to_string()))?;
        let second = B::try_from(second).map_err(|error| wrong(WRONG, error.to_string()))?;
        Ok(Self(first, second))
    }
}

impl<A: JsonSchema, B: JsonSchema, const WRONG: u16> Input for NamedPair<A, B, WRONG> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.in_path::<A>();
        sketch.in_path::<B>();
        describe_wrong_name(sketch, WRONG);
    }
}

impl<Q: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let not_understood = |words: String| invalid(format!("the query is not understood: {words}"));
        Query::<Q>::try_from_uri(&parts.uri).map(|Query(query)| Self(query)).map_err(|error| not_understood(error.body_text()))
    }
}

impl<Q: JsonSchema> Input for Asked<Q> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.in_query::<Q>();
        sketch.refused(StatusCode::UNPROCESSABLE_ENTITY, "A parameter is not understood.");
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let text = String::from_request(request, state).await;
        text.map(Self).map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))
    }
}

impl Input for Text {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.body_in(&json!({ "text/plain": { "schema": { "type": "string" } } }), false);
        sketch.refused(StatusCode::UNPROCESSABLE_ENTITY, "A line is wrong; `errors` lists every one.");
    }
}

impl<B: Telling, S: Send + Sync> FromRequest<S> for Told<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Text(text) = Text::from_request(request, state).await?;
        parse(&text).map(Self).map_err(|error| invalid(format!("expected {}: {error}", B::EXPECTED)))
    }
}

impl<B: Telling> Input for Told<B> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.body::<B>(true);
        sketch.refused(StatusCode::UNPROCESSABLE_ENTITY, "The body is not what was expected.");
    }
}

impl<B: Telling + Default, S: Send + Sync> FromRequest<S> for MayTell<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Text(text) = Text::from_request(request, state).await?;
        if text.trim().is_empty() {
            return Ok(Self(B::default()));
        }
        parse(&text).map(Self).map_err(|error| invalid(format!("expected nothing or {}: {error}", B::EXPECTED)))
    }
}

impl<B: Telling + Default> Input for MayTell<B> {
    fn describe(sketch: &mut Sketch<'_>) {
        sketch.body::<B>(false);
        sketch.refused(StatusCode::UNPROCESSABLE_ENTITY, "The body is not what was expected.");
    }
}

/// serde would also take an array with the values of the fields in their order.
fn parse<B: DeserializeOwned>(text: &str) -> Result<B, String> {
    if !text.trim_start().starts_with('{') {
        serde_json::from_str::<IgnoredAny>(text).map_err(|error| error.to_string())?;
        return Err("this is no JSON object".into());
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}
