//! What a front door says when it does not do what it was asked: RFC 9457 problem details. It never says more than the asker may know.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use super::hallway::Refusal;

/// `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Problem {
    /// `about:blank`: the status says which kind of problem it is.
    #[serde(rename = "type")]
    about: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What happened, and what to do about it.
    detail: String,
    /// What is wrong with each item of a batch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<ItemProblem>,
    #[serde(skip)]
    retry_after_s: Option<u32>,
    #[serde(skip)]
    asks_for_token: bool,
}

/// What is wrong with one item of a batch.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ItemProblem {
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Its line, from 1, in NDJSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl Problem {
    /// A problem with a status and a sentence that a person can act on.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            about: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_s: None,
            asks_for_token: false,
        }
    }

    /// The same, with what is wrong with each item.
    #[must_use]
    pub fn with_errors(self, errors: Vec<ItemProblem>) -> Self {
        Self { errors, ..self }
    }

    /// 401, with the header that says what is expected (RFC 6750).
    #[must_use]
    pub fn unauthorized(detail: &str) -> Self {
        Self { asks_for_token: true, ..Self::new(StatusCode::UNAUTHORIZED, detail) }
    }

    /// 503 for now.
    #[must_use]
    pub fn busy(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Busy { detail, retry_after_s } => Self::busy(detail, retry_after_s),
            Refusal::Unavailable { detail } => Self::busy(detail, 5),
            Refusal::NotFound { detail } => Self::new(StatusCode::NOT_FOUND, detail),
            Refusal::Conflict { detail } => Self::new(StatusCode::CONFLICT, detail),
            Refusal::Invalid { detail } => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a problem holds strings and numbers only");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).expect("it was made from a StatusCode");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.asks_for_token {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hookwheel\""));
        }
        response
    }
}
