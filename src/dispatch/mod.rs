//! The back door: one HTTP POST at a time, and whatever comes of it as one [`Outcome`]. It never decides whether or when to try again.
//!
//! * One deadline for the whole attempt, from the name to the last byte of the answer; the phase in which it passes tells what kind of time-out it was.
//! * Redirects are not followed. A response must arrive whole: as long as its length says, or to its last chunk. A body is read up to [`limits::RESPONSE_READ_MAX`]; what is
//!   longer is cut off by closing the connection, which does not change the outcome. So a success with an endless body is a success.
//! * Connections are kept and used again, a few idle ones an endpoint ([`limits::IDLE_PER_HOST`]) for half a minute. One that the receiver had closed before anything was
//!   written is replaced: the client does that by itself.
//! * A request that crossed with the end of a connection that had served before and then rested, one that still waited for its turn on a connection that ended, and one of which an HTTP/2
//!   receiver says that it did not take it up (RFC 9113, section 8.7), are sent once more at once, and the failure is not charged. Whoever counts requests by their `webhook-id` counts none
//!   twice (RFC 9110, section 9.2.2, asks for that much). A sandbox hangs up when it is told to, and never for want of requests.
//! * Nor is one used again on which an attempt ran out of time. What a receiver sends beyond an answer's measure is read slowly ([`limits::UNASKED_READ_MAX`]), so that no flood of
//!   frames, headers or informational answers costs much; the attempt ends at its deadline, or before it when a PING of HTTP/2 has no reply ([`limits::HTTP2_PING_MS`]).
//! * A pool belongs to one egress policy and one TLS identity, because a connection made under one must not serve under another; reconfiguring drops all of them.
//! * The daemon's own listener is never dialled, but for URLs of a sandbox (`/sandbox/<token>` and below), which have pools of their own: a connection to the listener
//!   that was made for a sandbox carries nothing else. Where the listener speaks TLS, such a connection trusts the certificate that is shown there, and no other ([`own`]).
//! * The names are those of the system when the dispatcher was made or reconfigured; the root certificates, when it was made.

pub mod address;
pub mod connect;
pub mod observe;
pub mod outcome;
mod own;
pub mod progress;
pub mod request;
pub mod resolve;
pub mod stream;
pub mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::{Request, Response, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use self::connect::Connector;
use self::observe::{Exchange, Observer};
use self::progress::{ConnectionFacts, PROGRESS, Progress};
use self::resolve::{CurrentNames, Names};
use self::tls::TlsMaker;
use crate::limits;
use crate::model::tls::Fingerprint;
use crate::model::{EventId, Outcome, OutcomeClass, SandboxToken, Webhook, WebhookSpec};
use crate::time::{Stopwatch, UnixMillis, wall_now};

/// One attempt to be made.
#[derive(Clone, Debug)]
pub struct Job {
    /// Where it goes.
    pub webhook: Arc<Webhook>,
    /// The event's id.
    pub event_id: EventId,
    /// The exact bytes.
    pub body: Arc<[u8]>,
    /// The attempt's number, from 1.
    pub attempt: u32,
    /// What the wall clock says.
    pub sent_at: UnixMillis,
}

/// What holds for all attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DispatchSettings {
    /// Refuse `http:` URLs.
    pub require_https: bool,
    /// Ports that may be dialled although they belong to other services.
    pub allow_ports: Vec<u16>,
    /// Where this daemon listens itself.
    pub own_listeners: Vec<SocketAddr>,
    /// The certificate that it shows there, where it speaks TLS.
    pub own_certificate: Option<CertificateDer<'static>>,
}

/// Makes attempts. Clones share connections and settings.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

type HttpClient = Client<Connector, Full<Bytes>>;

struct Shared {
    tls: TlsMaker,
    keeping: Keeping,
    open: Arc<AtomicUsize>,
    pools: Mutex<Pools>,
}

/// How long connections are kept. Tests have no time to wait for the limits.
#[derive(Clone, Copy, Debug)]
struct Keeping {
    /// How long one is kept that is idle.
    idle_ms: u64,
    /// How often one of HTTP/2 is asked whether it is alive, and how long it has to answer.
    ping_ms: u64,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { idle_ms: limits::IDLE_TIMEOUT_MS, ping_ms: limits::HTTP2_PING_MS }
    }
}

struct Pools {
    settings: DispatchSettings,
    names: CurrentNames,
    /// Dropping one drops its idle connections.
    clients: HashMap<Party, HttpClient>,
}

/// For whom connections are made: those of one never serve another.
#[derive(PartialEq, Eq, Hash)]
struct Party {
    allow_networks: Vec<IpNet>,
    tls: Option<Fingerprint>,
    to_sandbox: bool,
}

impl Party {
    fn of(spec: &WebhookSpec) -> Self {
        Self {
            allow_networks: spec.allow_networks.clone(),
            tls: spec.tls.as_ref().map(|identity| identity.fingerprint()),
            to_sandbox: is_sandbox(spec),
        }
    }
}

/// The dispatcher can't be made.
#[derive(Debug, thiserror::Error)]
#[error("nothing can be delivered: {0}")]
pub struct DispatchError(String);

impl Dispatcher {
    /// A dispatcher that trusts the system's root certificates. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`DispatchError`] when resolver or TLS can't be set up.
    pub fn new(settings: DispatchSettings) -> Result<Self, DispatchError> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a system root certificate could not be read");
        }
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!("the system has no root certificates: no https endpoint can be trusted. Install the package ca-certificates");
        }
        Self::with_roots(settings, roots)
    }

    /// A dispatcher that trusts these root certificates.
    ///
    /// # Errors
    /// [`DispatchError`] when resolver or TLS can't be set up.
    pub fn with_roots(settings: DispatchSettings, roots: RootCertStore) -> Result<Self, DispatchError> {
        let names = Names::from_system().map_err(|error| DispatchError(error.to_string()))?;
        Self::assembled(settings, roots, names, Keeping::default())
    }

    fn assembled(settings: DispatchSettings, roots: RootCertStore, names: Names, keeping: Keeping) -> Result<Self, DispatchError> {
        let tls = TlsMaker::new(roots);
        tls.make(None).map_err(|error| DispatchError(error.to_string()))?;
        let pools = Mutex::new(Pools { settings, names: CurrentNames::new(names), clients: HashMap::new() });
        let shared = Shared { tls, keeping, open: Arc::default(), pools };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Reads the system's name servers and hosts again, and takes new settings; where they differ, every idle connection is dropped. Attempts under way end under the settings
    /// that they began with.
    pub fn reconfigure(&self, settings: DispatchSettings) {
        let names = Names::from_system();
        let mut pools = self.pools();
        if pools.settings != settings {
            pools.settings = settings;
            pools.clients.clear();
        }
        match names {
            Ok(names) => pools.names.replace(names),
            Err(error) => tracing::warn!(%error, "the name servers could not be read again; those known before stay in use"),
        }
    }

    /// Makes one attempt. It never fails and ends within the webhook's time-out; a defect in here becomes an outcome like any other.
    /// Dropping the future ends the attempt.
    pub async fn attempt(&self, job: Job) -> Outcome {
        let dispatcher = self.clone();
        caught(async move { dispatcher.attempt_now(&job, None).await }).await
    }

    /// Makes one attempt as [`Dispatcher::attempt`] does, and gives back the whole exchange besides its outcome.
    pub async fn attempt_seen(&self, job: Job) -> (Outcome, Exchange) {
        let (dispatcher, observer) = (self.clone(), Arc::new(Observer::default()));
        let seeing = Arc::clone(&observer);
        let outcome = caught(async move { dispatcher.attempt_now(&job, Some(&seeing)).await }).await;
        (outcome, observer.seen())
    }

    /// What stands against dialling a webhook's URL, as far as it can be told now: `Err` when every address of its host would be refused, a remark when
    /// that can't be told. The judgement that counts falls when it is dialled.
    ///
    /// # Errors
    /// The sentence that every attempt would end with.
    pub async fn judge_ahead(&self, spec: &WebhookSpec) -> Result<Option<String>, String> {
        let connector = self.connector(spec, &self.pools())?;
        let judged = tokio::time::timeout(Duration::from_millis(limits::JUDGE_AHEAD_MS), connector.judge(&spec.url)).await;
        match judged {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) if error.class.blocked_reason().is_some() => Err(error.sentence),
            Ok(Err(error)) => Ok(Some(error.sentence)),
            Err(_) => Ok(Some(format!("the name {} could not be resolved in time", spec.url.host_str().unwrap_or_default()))),
        }
    }

    async fn attempt_now(&self, job: &Job, observer: Option<&Observer>) -> Outcome {
        let progress = Arc::new(Progress::start(job.webhook.spec.timeout_ms));
        let first = self.send(job, &progress, observer).await;
        if !first.was_lost {
            return first.outcome;
        }
        tracing::debug!(webhook = %job.webhook.spec.id, why = first.outcome.sentence, "a request that was not taken up is sent once more");
        self.send(job, &progress, observer).await.outcome
    }

    async fn send(&self, job: &Job, progress: &Arc<Progress>, observer: Option<&Observer>) -> Sent {
        let spec = &job.webhook.spec;
        let prepared = self.client_for(spec).and_then(|client| Ok((client, request::build(job)?)));
        let (client, mut request) = match prepared {
            Ok(prepared) => prepared,
            Err(sentence) => return Sent { outcome: Outcome::new(OutcomeClass::UrlRefused, sentence), was_lost: false },
        };
        if let Some(observer) = observer {
            observer.sends(&request);
        }
        let captured = capture_connection(&mut request);
        let since_sent = Stopwatch::start();
        let exchange = PROGRESS.scope(Arc::clone(progress), exchange(&client, request, spec, progress, observer));
        let result = tokio::time::timeout(Duration::from_millis(progress.remaining_ms()), exchange).await;
        let connection = connection_of(&captured).filter(|_| !matches!(&result, Ok(Err(error)) if error.is_connect()));
        let host = spec.url.host_str().unwrap_or_default();
        let mut was_lost = false;
        let mut outcome = match result {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                let has_ended = connection.as_ref().is_none_or(|connection| connection.traffic.has_ended());
                let outcome = outcome::of_client_error(&error, host, progress.talk(connection.as_ref()), has_ended);
                let had_rested = connection.as_ref().is_some_and(|connection| {
                    let rested_ms = connection.traffic.since_answer_ms().saturating_sub(since_sent.elapsed_ms());
                    !progress.opened(connection) && !is_sandbox(spec) && rested_ms >= self.shared.keeping.idle_ms / limits::RESTED_PART
                });
                was_lost = outcome::was_not_taken_up(&error) || had_rested && outcome.class == OutcomeClass::ConnectionClosed;
                outcome
            }
            Err(_) => {
                give_up(&captured);
                outcome::of_timeout(progress.phase(connection.as_ref()), spec.timeout_ms, host)
            }
        };
        progress.complete(&mut outcome, connection.as_ref());
        Sent { outcome, was_lost }
    }

    fn client_for(&self, spec: &WebhookSpec) -> Result<HttpClient, String> {
        let scheme = spec.url.scheme();
        let mut pools = self.pools();
        if scheme != "https" && (scheme != "http" || pools.settings.require_https) {
            return Err(format!("a URL that begins with {scheme}: is not dialled here; use https:"));
        }
        if self.shared.open.load(Ordering::Relaxed) > limits::OUTGOING_CONNECTIONS_MAX {
            // Idle connections to very many endpoints: whatever is not in use goes.
            pools.clients.clear();
        }
        let party = Party::of(spec);
        if let Some(client) = pools.clients.get(&party) {
            return Ok(client.clone());
        }
        if pools.clients.len() >= limits::EGRESS_POLICIES_MAX {
            pools.clients.clear();
        }
        let client = client(self.connector(spec, &pools)?, self.shared.keeping);
        pools.clients.insert(party, client.clone());
        Ok(client)
    }

    fn connector(&self, spec: &WebhookSpec, pools: &Pools) -> Result<Connector, String> {
        let tls = self.shared.tls.make(spec.tls.as_deref());
        let tls = tls.map_err(|error| format!("the webhook's ca_file or client certificate can't be used: {error}"))?;
        let to_sandbox = is_sandbox(spec);
        let own_certificate = pools.settings.own_certificate.clone().filter(|_| to_sandbox);
        Ok(Connector {
            names: pools.names.clone(),
            own_tls: own_certificate.map(|certificate| Arc::new(own::trusting(certificate, &tls.config))),
            tls,
            allow_networks: Arc::from(spec.allow_networks.as_slice()),
            allow_ports: Arc::from(pools.settings.allow_ports.as_slice()),
            own_listeners: Arc::from(pools.settings.own_listeners.as_slice()),
            to_sandbox,
            open: Arc::clone(&self.shared.open),
        })
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, Pools> {
        self.shared.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of a request.
struct Sent {
    outcome: Outcome,
    /// It was not taken up, for all that can be told: the receiver said so, or the connection ended while it waited for its turn, or, after a rest, without a word in answer.
    was_lost: bool,
}

/// Whether a URL leads to a sandbox of this or another hookwheel.
fn is_sandbox(spec: &WebhookSpec) -> bool {
    SandboxToken::of_path(spec.url.path()).is_some()
}

/// Runs an attempt in a task of its own, so that a panic ends that task alone.
async fn caught(attempt: impl Future<Output = Outcome> + Send + 'static) -> Outcome {
    let task = tokio::spawn(attempt);
    let _guard = AbortOnDrop(task.abort_handle());
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an attempt panicked: a defect of hookwheel");
        Outcome::new(OutcomeClass::InternalError, "hookwheel itself failed while making this attempt; its log says more")
    })
}

/// An attempt that nobody waits for any more is ended.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends the request and receives the response.
async fn exchange(
    client: &HttpClient,
    request: Request<Full<Bytes>>,
    spec: &WebhookSpec,
    progress: &Progress,
    observer: Option<&Observer>,
) -> Result<Outcome, hyper_util::client::legacy::Error> {
    let mut response = client.request(request).await?;
    if let Some(observer) = observer {
        observer.receives(&response);
    }
    let status = response.status().as_u16();
    progress.answered(status);
    let connection = response.extensions().get::<ConnectionFacts>().expect("the connector gives every connection its facts").clone();
    connection.traffic.received_headers(response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum());
    let received = |data: &[u8]| {
        progress.keep(data);
        connection.traffic.received(data.len());
    };
    let end = read_body(&mut response, received).await;
    connection.traffic.answered(matches!(end, Ok(BodyEnd::Cut)));
    Ok(match end {
        Ok(BodyEnd::Whole | BodyEnd::Cut) => outcome::of_response(status, response.headers(), &spec.success, wall_now()),
        Ok(BodyEnd::Abandoned) => outcome::of_abandoned_body(status),
        Err(error) => outcome::of_body_error(status, &error, connection.traffic.has_ended()),
    })
}

/// Why no more of a body was read.
enum BodyEnd {
    /// That was all of it.
    Whole,
    /// More of it is not wanted.
    Cut,
    /// The receiver ended the stream before.
    Abandoned,
}

/// Reads the body to its end or to the bound.
async fn read_body(response: &mut Response<Incoming>, received: impl Fn(&[u8])) -> Result<BodyEnd, hyper::Error> {
    let headers = response.headers();
    let has_length = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING);
    let is_http1 = response.version() < Version::HTTP_2;
    let ends_with_connection = is_http1 && !has_length;
    let body = response.body_mut();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Err(error) if ends_with_connection && outcome::is_tls_without_farewell(&error) => return Ok(BodyEnd::Whole),
            frame => frame?,
        };
        let Some(data) = frame.data_ref() else { continue };
        received(data);
        length += data.len();
        if length > limits::RESPONSE_READ_MAX {
            return Ok(BodyEnd::Cut);
        }
    }
    // hyper takes an HTTP/2 stream that is reset without an error for one that ended. That is for receivers that want no more of a request (RFC 9113, section 8.1), and their answer is whole.
    let is_whole = is_http1 || body.is_end_stream() || body.size_hint().exact() == Some(0);
    Ok(if is_whole { BodyEnd::Whole } else { BodyEnd::Abandoned })
}

/// No other attempt is sent over a connection on which one ran out of time: over HTTP/2 the others go on, and it is closed behind the last of them.
fn give_up(captured: &CaptureConnection) {
    if let Some(connection) = captured.connection_metadata().as_ref() {
        connection.poison();
    }
}

/// The connection that the client chose last for the request, if it came to that.
fn connection_of(captured: &CaptureConnection) -> Option<ConnectionFacts> {
    let mut extensions = hyper::http::Extensions::new();
    captured.connection_metadata().as_ref()?.get_extras(&mut extensions);
    extensions.remove::<ConnectionFacts>()
}

fn client(connector: Connector, keeping: Keeping) -> HttpClient {
    let http1_buffer = limits::RESPONSE_HEADERS_MAX;
    let http2_headers = u32::try_from(limits::RESPONSE_HEADERS_MAX).expect("limits::RESPONSE_HEADERS_MAX is far below 2^32");
    let http2_body = u32::try_from(limits::RESPONSE_READ_MAX).expect("limits::RESPONSE_READ_MAX is far below 2^32");
    Client::builder(TokioExecutor::new())
        // Without a timer the idle time-out does nothing.
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_millis(keeping.idle_ms))
        .pool_max_idle_per_host(limits::IDLE_PER_HOST)
        .http1_max_buf_size(http1_buffer)
        // A connection that many attempts share must not stay when its other end is gone without a word.
        .http2_keep_alive_interval(Duration::from_millis(keeping.ping_ms))
        .http2_keep_alive_timeout(Duration::from_millis(keeping.ping_ms))
        .http2_keep_alive_while_idle(true)
        .http2_max_header_list_size(http2_headers)
        // What a receiver may send ahead of a body that is only read so far.
        .http2_initial_stream_window_size(http2_body)
        .retry_canceled_requests(true)
        .build(connector)
}

#[cfg(test)]
mod tests;
