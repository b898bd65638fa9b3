//! The sandboxes' URLs on the TCP listener: every request is kept and answered as its sandbox's script says. It never asks who sends, and never publishes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::super::connection::HangUp;
use super::super::events::discard;
use super::super::problem::Problem;
use super::{Arrived, Kept, Sandbox, Sandboxes, page};
use crate::limits;
use crate::model::SandboxToken;
use crate::time::wall_now;

/// What a look at a sandbox asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Look {
    /// Only what came behind the request of this number.
    pub(super) after: Option<u64>,
    /// At most so many.
    pub(super) limit: Option<usize>,
}

impl Look {
    pub(super) fn limit_or(&self, default: usize) -> usize {
        self.limit.unwrap_or(default).clamp(1, limits::SANDBOX_REQUESTS_KEPT)
    }
}

/// In which form somebody wants to see what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Page,
    List,
}

/// The routes below `/sandbox/`.
pub fn routes(sandboxes: Sandboxes) -> Router {
    let one = any(receive);
    Router::new()
        .route("/sandbox/{token}", one.clone())
        .route("/sandbox/{token}/", one.clone())
        .route("/sandbox/{token}/{*below}", one)
        .with_state(sandboxes)
}

async fn receive(State(sandboxes): State<Sandboxes>, request: Request) -> Response {
    let nowhere = || Problem::new(StatusCode::NOT_FOUND, "there is no such sandbox; `hookwheel sandbox list` shows them all");
    let Some((token, below)) = SandboxToken::of_path(request.uri().path()) else { return nowhere().into_response() };
    let Ok(sandbox) = sandboxes.find(&token) else { return nowhere().into_response() };
    let result = match view(request.method(), below, request.headers()) {
        Some(view) => show(&sandboxes, sandbox, view, request).await,
        None => keep(&sandboxes, sandbox, request).await,
    };
    result.unwrap_or_else(IntoResponse::into_response)
}

/// Whether this is somebody who wants to see what was received: a `GET` of the URL itself that names one of the two forms.
fn view(method: &Method, below: &str, headers: &HeaderMap) -> Option<View> {
    if method != Method::GET || !below.is_empty() {
        return None;
    }
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = accepted.map(|range| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()).collect::<Vec<_>>();
    let accepts = |form: &str| names.iter().any(|name| name == form);
    // A browser names both, the page first.
    if accepts("text/html") { Some(View::Page) } else { accepts("application/json").then_some(View::List) }
}

async fn show(sandboxes: &Sandboxes, sandbox: Arc<Sandbox>, view: View, request: Request) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let token = &sandbox.token.clone();
    let Query(look) = Query::<Look>::try_from_uri(&parts.uri)
        .map_err(|error| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the query is not understood: {}", error.body_text())))?;
    let patience = Duration::from_millis(limits::SANDBOX_LOOK_WAIT_MS);
    let Ok(Ok(permit)) = timeout(patience, Arc::clone(&sandboxes.0.looks).acquire_owned()).await else {
        return Err(Problem::busy("too many look at sandboxes at once", 1));
    };
    let mut response = match view {
        View::List => {
            let limit = look.limit_or(limits::SANDBOX_REQUESTS_KEPT);
            let (received, permit) = sandboxes.received(token, look.after, limit, permit).await?;
            let json = serde_json::to_vec(&received).expect("what was received holds strings and numbers only");
            held(json, permit, "application/json")
        }
        View::Page => {
            let viewer = sandboxes.clone();
            let (summary, permit) = sandboxes.at_the_disk(move || (viewer.summary(&sandbox), permit)).await?;
            let tag = page::entity_tag(&summary);
            if parts.headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
                StatusCode::NOT_MODIFIED.into_response()
            } else {
                let limit = look.limit_or(limits::SANDBOX_PAGE_DEFAULT);
                let (received, permit) = sandboxes.received(token, None, limit, permit).await?;
                let html = page::document(&summary, &received, wall_now()).into_bytes();
                let mut response = held(html, permit, "text/html; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, page::policy());
                response
            }
        }
    };
    // What is here is for who knows the URL alone: no cache keeps it, and no link tells the URL on.
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// A response that keeps its place until its last byte was given to the system: slow readers must not fill the memory with what they have not read yet.
fn held(bytes: Vec<u8>, permit: OwnedSemaphorePermit, content_type: &'static str) -> Response {
    let body = Body::from(Bytes::from_owner(Held { bytes, _permit: permit }));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

struct Held {
    bytes: Vec<u8>,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn keep(sandboxes: &Sandboxes, sandbox: Arc<Sandbox>, request: Request) -> Result<Response, Problem> {
    let Ok(in_flight) = Arc::clone(&sandboxes.0.in_flight).try_acquire_owned() else {
        return Err(Problem::busy(format!("{} requests to sandboxes are under way already", limits::SANDBOX_IN_FLIGHT_MAX), 1));
    };
    let (parts, mut body) = request.into_parts();
    let received = wall_now();
    let declared = body.size_hint().exact().map_or(limits::SANDBOX_BODY_READ_MAX, |size| usize::try_from(size).unwrap_or(usize::MAX));
    let kibibytes = declared.min(limits::SANDBOX_BODY_READ_MAX).div_ceil(1024).max(1);
    let kibibytes = u32::try_from(kibibytes).expect("limits::SANDBOX_BODY_READ_MAX is far below 2^32 kibibytes");
    let Ok(budget) = Arc::clone(&sandboxes.0.body_budget).try_acquire_many_owned(kibibytes) else {
        return Err(Problem::busy("too many requests to sandboxes are being read at once", 1));
    };
    let (bytes, is_cut) = read(&mut body).await?;
    let arrived = Arrived { received, method: parts.method, uri: parts.uri, headers: parts.headers, body: bytes, is_cut };
    let (keeper, script) = (sandboxes.clone(), *sandbox.behaviour.script());
    let keep = move || {
        let kept = keeper.keep(&sandbox, &arrived);
        drop((arrived, budget));
        (kept, in_flight)
    };
    let (kept, _in_flight) = sandboxes.at_the_disk(keep).await?;
    let kept = kept?;
    if is_cut {
        // It listens only after it has sent everything, perhaps.
        discard(&mut body).await;
    }
    let mut closing = sandboxes.0.closing.subscribe();
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(script.delay_ms)) => {}
        _ = closing.wait_for(|closing| *closing) => {}
    }
    Ok(answer(&kept))
}

/// Reads as much of a body as may be read, and says whether there was more.
async fn read(body: &mut Body) -> Result<(Vec<u8>, bool), Problem> {
    let whole = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, format!("the body did not arrive whole: {error}")))?;
            let Some(data) = frame.data_ref() else { continue };
            let room = limits::SANDBOX_BODY_READ_MAX - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() > room {
                return Ok((bytes, true));
            }
        }
        Ok((bytes, false))
    };
    let too_slow = |_| {
        Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not arrive within {} s", limits::REQUEST_READ_TIMEOUT_MS / 1000))
    };
    timeout(Duration::from_millis(limits::REQUEST_READ_TIMEOUT_MS), whole).await.map_err(too_slow)?
}

fn answer(kept: &Kept) -> Response {
    let Kept { number, attempt, answer } = kept;
    let Some(status) = answer.status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(HangUp);
        return response;
    };
    let has_body = status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    let mut response = match has_body {
        true => (status, format!("sandbox: request {number}, attempt {attempt}, answered {} as told\n", status.as_u16())).into_response(),
        false => status.into_response(),
    };
    if let Some(seconds) = answer.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view_of(method: &Method, below: &str, accept: &[&str]) -> Option<View> {
        let headers = accept.iter().map(|value| (header::ACCEPT, value.parse().unwrap())).collect();
        view(method, below, &headers)
    }

    #[test]
    fn a_look_is_a_get_of_the_url_itself_that_names_a_form_and_everything_else_is_a_request() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let cases: [(&[&str], Option<View>); 7] = [
            (&[browser], Some(View::Page)),
            (&["application/json"], Some(View::List)),
            (&["application/json, text/html"], Some(View::Page)),
            (&["image/png", "Application/JSON; q=0.5"], Some(View::List)),
            (&["*/*"], None),
            (&["application/json-patch+json, text/*"], None),
            (&[], None),
        ];
        for (accept, expected) in cases {
            assert_eq!(view_of(&Method::GET, "", accept), expected, "{accept:?}");
            assert_eq!(view_of(&Method::POST, "", accept), None, "{accept:?}");
            assert_eq!(view_of(&Method::HEAD, "", accept), None, "{accept:?}");
            assert_eq!(view_of(&Method::GET, "/below", accept), None, "{accept:?}");
        }
    }
}
