//! The back door: one HTTP POST at a time, and whatever comes of it as one [`Outcome`]. It never decides whether or when to try again.
//!
//! * One deadline for the whole attempt, from the name to the last byte of the answer.
//! * Redirects are not followed. A body is read up to [`limits::RESPONSE_READ_MAX`]; what is longer is cut off by closing the connection, which does not change the outcome.
//! * Connections are kept and used again, two idle ones an endpoint for half a minute. One that the receiver had closed before anything was
//!   written is replaced and not charged: the client sends such a request again by itself, and only such a one.
//! * A pool belongs to one egress policy, because a connection made under one must not serve under another; reconfiguring drops all of them.

pub mod address;
pub mod connect;
pub mod outcome;
pub mod request;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use rustls::{ClientConfig, RootCertStore};

use self::connect::{Connector, PROGRESS, Phase, Progress};
use crate::limits;
use crate::model::{EventId, Outcome, OutcomeClass, PhaseTimes, Webhook};
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
#[derive(Clone, Debug, Default)]
pub struct DispatchSettings {
    /// Refuse `http:` URLs.
    pub require_https: bool,
    /// Where this daemon listens itself.
    pub own_listeners: Vec<SocketAddr>,
}

/// Makes attempts. Clones share connections and settings.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
}

type HttpClient = Client<Connector, Full<Bytes>>;

struct Shared {
    resolver: Arc<TokioResolver>,
    tls: Arc<ClientConfig>,
    open: Arc<AtomicUsize>,
    pools: Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    settings: DispatchSettings,
    by_policy: HashMap<Vec<IpNet>, HttpClient>,
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
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut tls = versions.map_err(|error| DispatchError(error.to_string()))?.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let pools = Mutex::new(Pools { settings, by_policy: HashMap::new() });
        let shared = Shared { resolver: Arc::new(resolver()?), tls: Arc::new(tls), open: Arc::default(), pools };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Takes new settings and drops every idle connection.
    pub fn reconfigure(&self, settings: DispatchSettings) {
        *self.pools() = Pools { settings, by_policy: HashMap::new() };
    }

    /// Makes one attempt. It never fails and ends within the webhook's time-out; a defect in here becomes an outcome like any other.
    pub async fn attempt(&self, job: Job) -> Outcome {
        let dispatcher = self.clone();
        let attempt = tokio::spawn(async move { dispatcher.attempt_now(&job).await });
        let guard = AbortOnDrop(attempt.abort_handle());
        let outcome = match attempt.await {
            Ok(outcome) => outcome,
            Err(error) => {
                tracing::error!(%error, "an attempt panicked: a defect of hookwheel");
                Outcome::new(OutcomeClass::InternalError, "hookwheel itself failed while making this attempt; its log says more")
            }
        };
        drop(guard);
        outcome
    }

    async fn attempt_now(&self, job: &Job) -> Outcome {
        let spec = &job.webhook.spec;
        let stopwatch = Stopwatch::start();
        let progress = Arc::new(Progress::default());
        progress.enter(Phase::Requesting);
        let deadline = Duration::from_millis(spec.timeout_ms);
        let exchange = PROGRESS.scope(Arc::clone(&progress), self.exchange(job, &progress));
        let mut outcome = match tokio::time::timeout(deadline, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => outcome::of_timeout(progress.phase(), spec.timeout_ms, spec.url.host_str().unwrap_or_default()),
        };
        let first_byte_us = outcome.phases.first_byte_us;
        outcome.phases = PhaseTimes { first_byte_us, total_us: stopwatch.elapsed_us(), ..progress.times() };
        outcome.remote = progress.remote().map(|remote| remote.to_string());
        outcome
    }

    async fn exchange(&self, job: &Job, progress: &Progress) -> Outcome {
        let spec = &job.webhook.spec;
        let client = match self.client_for(&spec.allow_networks, spec.url.scheme()) {
            Ok(client) => client,
            Err(sentence) => return Outcome::new(OutcomeClass::UrlRefused, sentence),
        };
        let request = match request::build(job) {
            Ok(request) => request,
            Err(sentence) => return Outcome::new(OutcomeClass::UrlRefused, sentence),
        };
        let stopwatch = Stopwatch::start();
        let response = match client.request(request).await {
            Ok(response) => response,
            Err(error) => return outcome::of_client_error(&error),
        };
        progress.enter(Phase::Reading);
        let times = progress.times();
        let before_request = [times.dns_us, times.connect_us, times.tls_us].into_iter().flatten().sum::<u32>();
        let first_byte_us = Some(stopwatch.elapsed_us().saturating_sub(before_request));
        let (parts, body) = response.into_parts();
        let status = parts.status.as_u16();
        let (excerpt, result) = read_body(body).await;
        let mut outcome = match result {
            Ok(()) => outcome::of_response(status, &parts.headers, &spec.success, wall_now()),
            Err(error) => outcome::of_body_error(status, &error),
        };
        outcome.excerpt = excerpt;
        outcome.phases.first_byte_us = first_byte_us;
        outcome
    }

    fn client_for(&self, allow_networks: &[IpNet], scheme: &str) -> Result<HttpClient, String> {
        let mut pools = self.pools();
        if scheme != "https" && (scheme != "http" || pools.settings.require_https) {
            return Err(format!("a URL that begins with {scheme}: is not dialled here; use https:"));
        }
        if self.shared.open.load(Ordering::Relaxed) > limits::OUTGOING_CONNECTIONS_MAX {
            // Idle connections to very many endpoints: whatever is not in use goes.
            pools.by_policy.clear();
        }
        let own_listeners = Arc::from(pools.settings.own_listeners.as_slice());
        let client = pools.by_policy.entry(allow_networks.to_vec()).or_insert_with(|| {
            client(Connector {
                resolver: Arc::clone(&self.shared.resolver),
                tls: Arc::clone(&self.shared.tls),
                allow_networks: Arc::from(allow_networks),
                own_listeners,
                open: Arc::clone(&self.shared.open),
            })
        });
        Ok(client.clone())
    }

    fn pools(&self) -> std::sync::MutexGuard<'_, Pools> {
        self.shared.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that nobody waits for any more is ended.
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads a body to its end or to the bound. Gives back its first bytes and whether it came whole.
async fn read_body(mut body: Incoming) -> (Vec<u8>, Result<(), hyper::Error>) {
    let mut excerpt = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return (excerpt, Err(error)),
        };
        let Some(data) = frame.data_ref() else { continue };
        length += data.len();
        let room = limits::RESPONSE_EXCERPT_MAX - excerpt.len();
        excerpt.extend_from_slice(&data[..data.len().min(room)]);
        if length > limits::RESPONSE_READ_MAX {
            break;
        }
    }
    (excerpt, Ok(()))
}

fn client(connector: Connector) -> HttpClient {
    let http1_buffer = limits::RESPONSE_HEADERS_MAX;
    let http2_headers = u32::try_from(limits::RESPONSE_HEADERS_MAX).expect("limits::RESPONSE_HEADERS_MAX is far below 2^32");
    Client::builder(TokioExecutor::new())
        // Without a timer the idle time-out does nothing.
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_millis(limits::IDLE_TIMEOUT_MS))
        .pool_max_idle_per_host(limits::IDLE_PER_HOST)
        .http1_max_buf_size(http1_buffer)
        .http2_max_header_list_size(http2_headers)
        .retry_canceled_requests(true)
        .build(connector)
}

/// The system's resolver; where the system has none, one that only knows `/etc/hosts`.
fn resolver() -> Result<TokioResolver, DispatchError> {
    let mut builder = match TokioResolver::builder_tokio() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::warn!(%error, "the system's name servers could not be read; only names in /etc/hosts can be resolved");
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        }
    };
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    // A few hundred attempts may ask at once; the default would refuse them as too busy.
    builder.options_mut().max_active_requests = limits::IN_FLIGHT_DEFAULT as usize;
    builder.build().map_err(|error| DispatchError(error.to_string()))
}

#[cfg(test)]
mod tests;
