//! HTTP/JSON to a daemon: over its admin socket, or to its listener elsewhere. It never retries and never prints.

mod tls;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;
use url::Url;

use super::failure::Failure;
use crate::limits::{COMMAND_ANSWER_MAX, COMMAND_CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS};

/// Where a daemon listens.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// Its admin socket.
    Socket(PathBuf),
    /// Its listener, over TCP.
    Listener {
        /// `http://…` or `https://…`.
        url: Url,
        /// What lets this client in.
        token: Option<String>,
        /// Certificates to trust besides the system's, in PEM.
        ca_file: Option<PathBuf>,
    },
}

/// One daemon to speak to, one connection a request.
pub(super) struct Client {
    runtime: Runtime,
    address: Address,
    /// Where the address is one of TLS.
    tls: Option<Arc<ClientConfig>>,
}

/// What is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// One JSON text.
    Json(Bytes),
    /// One JSON text a line.
    Lines(Bytes),
}

impl Body {
    /// That value.
    pub(super) fn json(value: &Value) -> Self {
        Self::Json(Bytes::from(value.to_string()))
    }
}

/// What a daemon answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// `Retry-After`, where it is a number of seconds.
    pub(super) retry_after_s: Option<u64>,
    pub(super) body: Bytes,
}

/// An error answer, RFC 9457.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Problem {
    title: String,
    detail: String,
    /// What is wrong with each bad event of a batch.
    pub(super) errors: Vec<BadItem>,
}

/// One bad event of a batch.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct BadItem {
    /// Its place in the batch, from 0.
    pub(super) index: usize,
    /// What is wrong with it.
    pub(super) message: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// No connection: the daemon knows nothing of the request.
    NotSent(String),
    /// The connection broke, or the answer did not come in time: whether the request was carried out is not known.
    Unclear(String),
}

impl Client {
    /// A client; nothing is dialled yet.
    ///
    /// # Errors
    /// When the system refuses an event loop, or there is nobody to trust.
    pub(super) fn new(address: Address) -> Result<Self, Failure> {
        let tls = match &address {
            Address::Listener { url, ca_file, .. } if url.scheme() == "https" => {
                Some(tls::settings(ca_file.as_deref()).map_err(Failure::Refused)?)
            }
            _ => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Refused(format!("can't start: the system refused an event loop: {error}")))?;
        Ok(Self { runtime, address, tls })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// No answer, an error answer, or one that this version does not understand.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.send(Method::GET, path, None)
    }

    /// `POST path`.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: Option<Body>) -> Result<T, Failure> {
        self.send(Method::POST, path, body)
    }

    /// A request of any method.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub(super) fn send<T: DeserializeOwned>(&self, method: Method, path: &str, body: Option<Body>) -> Result<T, Failure> {
        self.call(method, path, body).map_err(|no| self.failure(no))?.read()
    }

    /// One request and its answer, whatever its status.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub(super) fn call(&self, method: Method, path: &str, body: Option<Body>) -> Result<Answer, NoAnswer> {
        let request = self.request(method, path, body)?;
        self.runtime.block_on(async {
            match &self.address {
                Address::Socket(path) => exchange(connected(UnixStream::connect(path)).await?, request).await,
                Address::Listener { url, .. } => {
                    let addresses =
                        url.socket_addrs(|| None).map_err(|error| NoAnswer::NotSent(format!("the name does not resolve: {error}")))?;
                    let stream = connected(TcpStream::connect(addresses.as_slice())).await?;
                    match &self.tls {
                        Some(tls) => exchange(connected(tls::connect(url, tls, stream)).await?, request).await,
                        None => exchange(stream, request).await,
                    }
                }
            }
        })
    }

    /// Waits, for a daemon that asked for it.
    pub(super) fn sleep(&self, seconds: u64) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_secs(seconds)).await });
    }

    /// Waits, for work that goes on.
    pub(super) fn sleep_ms(&self, milliseconds: u64) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(milliseconds)).await });
    }

    /// The failure of a command whose request got no answer.
    pub(super) fn failure(&self, no_answer: NoAnswer) -> Failure {
        match (no_answer, &self.address) {
            (NoAnswer::NotSent(why), Address::Socket(path)) => Failure::Unreachable(unreachable_socket(path, &why)),
            (NoAnswer::NotSent(why), Address::Listener { url, .. }) => Failure::Unreachable(format!(
                "no daemon can be reached at {url}: {why}\nis it running, and is this the address of its `listen`?"
            )),
            (NoAnswer::Unclear(why), _) => {
                Failure::Refused(format!("the daemon did not answer: {why}\nwhether it did what it was asked is not known"))
            }
        }
    }

    fn request(&self, method: Method, path: &str, body: Option<Body>) -> Result<Request<Full<Bytes>>, NoAnswer> {
        let (host, target, token) = match &self.address {
            Address::Socket(_) => ("localhost".to_owned(), path.to_owned(), None),
            Address::Listener { url, token, .. } => {
                (authority(url), format!("{}{path}", url.path().trim_end_matches('/')), token.as_deref())
            }
        };
        let mut request = Request::builder().method(method).uri(target).header(header::HOST, host);
        request = request.header(header::USER_AGENT, concat!("hookwheel/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = match body {
            None => Bytes::new(),
            Some(Body::Json(bytes)) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                bytes
            }
            Some(Body::Lines(bytes)) => {
                request = request.header(header::CONTENT_TYPE, "application/x-ndjson");
                bytes
            }
        };
        request.body(Full::new(bytes)).map_err(|error| NoAnswer::NotSent(format!("the request can't be written: {error}")))
    }
}

impl Answer {
    /// The answer's value.
    ///
    /// # Errors
    /// An error answer, or one that this version does not understand.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if !self.status.is_success() {
            return Err(Failure::Refused(self.complaint()));
        }
        serde_json::from_slice(&self.body).map_err(|error| {
            Failure::Refused(format!(
                "the daemon's answer is not understood: {error}\nif hookwheel was upgraded, restart the daemon, so that both are one version"
            ))
        })
    }

    /// An error answer as the daemon explains it; empty when it does not.
    pub(super) fn problem(&self) -> Problem {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What is wrong, in words.
    pub(super) fn complaint(&self) -> String {
        let problem = self.problem();
        let mut text = if problem.detail.is_empty() { problem.title } else { problem.detail };
        for bad in problem.errors.iter().filter(|bad| !bad.message.is_empty()) {
            if !text.contains(&bad.message) {
                text.push_str(&format!("\n{}", bad.message));
            }
        }
        let hint = match self.status {
            StatusCode::UNAUTHORIZED => "\npass a token with --token, or in HOOKWHEEL_TOKEN",
            _ => "",
        };
        if !text.is_empty() {
            return format!("{text}{hint}");
        }
        let body = String::from_utf8_lossy(&self.body);
        format!("the daemon answered {}: {}{hint}", self.status, crate::cli::text::shortened(&body, 300))
    }
}

fn unreachable_socket(path: &Path, why: &str) -> String {
    let path = path.display();
    format!(
        "no daemon can be reached at {path}: {why}\n\
         start one with `hookwheel serve` (or `systemctl start hookwheel`), or name its socket with --socket or HOOKWHEEL_SOCKET"
    )
}

/// Host and port as the `host` header has them: no default port.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn connected<T>(connecting: impl Future<Output = std::io::Result<T>>) -> Result<T, NoAnswer> {
    match timeout(Duration::from_millis(COMMAND_CONNECT_TIMEOUT_MS), connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(NoAnswer::NotSent(format!("{error}; your user must be in the group that owns the socket")))
        }
        Ok(Err(error)) => Err(NoAnswer::NotSent(error.to_string())),
        Err(_) => Err(NoAnswer::NotSent(format!("no connection within {} s", COMMAND_CONNECT_TIMEOUT_MS / 1000))),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let unclear = |error: hyper::Error| NoAnswer::Unclear(with_cause(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unclear)?;
    let connection = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await.map_err(unclear)?;
        let (head, body) = response.into_parts();
        let retry_after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = Limited::new(body, COMMAND_ANSWER_MAX).collect().await;
        let body = body.map_err(|error| NoAnswer::Unclear(error.to_string()))?.to_bytes();
        Ok(Answer { status: head.status, retry_after_s: retry_after, body })
    };
    let answer = timeout(Duration::from_millis(COMMAND_TIMEOUT_MS), answer).await;
    connection.abort();
    answer.unwrap_or_else(|_| Err(NoAnswer::Unclear(format!("no whole answer within {} s", COMMAND_TIMEOUT_MS / 1000))))
}

/// hyper's errors hide the interesting half in their cause.
fn with_cause(error: &hyper::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests;
