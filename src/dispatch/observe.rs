//! An attempt that somebody wants to see whole: the heads of its request and its response, as they were. It never changes how an attempt is made.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderMap;
use hyper::{Request, Response};

/// What somebody sees of an attempt besides its outcome.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Such as `POST /hooks/mail`; empty when nothing was sent.
    pub request_line: String,
    /// The headers that were sent, those of the connection aside.
    pub request_headers: Vec<(String, String)>,
    /// Such as `HTTP/1.1 200 OK`, when there was an answer.
    pub response_line: Option<String>,
    /// The headers that came back.
    pub response_headers: Vec<(String, String)>,
}

impl fmt::Debug for Exchange {
    /// No headers: the request's may hold what lets one in.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Exchange").field("response_line", &self.response_line).finish_non_exhaustive()
    }
}

/// Where an attempt notes what it sends and what comes back.
#[derive(Debug, Default)]
pub(super) struct Observer(Mutex<Exchange>);

impl Observer {
    /// A request goes out.
    pub(super) fn sends<B>(&self, request: &Request<B>) {
        let mut exchange = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        exchange.request_line = format!("{} {target}", request.method());
        let host = request.uri().authority().map(|authority| ("host".to_owned(), authority.to_string()));
        exchange.request_headers = host.into_iter().chain(pairs(request.headers())).collect();
    }

    /// The head of a response came.
    pub(super) fn receives<B>(&self, response: &Response<B>) {
        let mut exchange = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, status) = (response.version(), response.status());
        exchange.response_line = Some(format!("{version:?} {status}"));
        exchange.response_headers = pairs(response.headers());
    }

    /// What was seen.
    pub(super) fn seen(&self) -> Exchange {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
}
