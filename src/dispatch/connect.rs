//! The connector: resolve, judge every address, dial only what passed, shake hands. It never dials an address that was not judged, a literal in the URL included.
//!
//! A name is resolved once for each connection and what is dialled is exactly what was judged, so nothing can change in between; the peer's address is
//! checked once more on the connected socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hickory_resolver::TokioResolver;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::{self, Refusal};
use super::outcome::with_causes;
use crate::limits;
use crate::model::{OutcomeClass, PhaseTimes};
use crate::time::Stopwatch;

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the name.
    Resolving,
    /// TCP connect.
    Connecting,
    /// TLS handshake.
    Handshaking,
    /// The request is under way.
    Requesting,
    /// The response's body is being read.
    Reading,
}

/// What an attempt notes of its way, shared with the connector. Times are microseconds, 0 for a phase that did not happen.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    dns_us: AtomicU32,
    connect_us: AtomicU32,
    tls_us: AtomicU32,
    remote: Mutex<Option<SocketAddr>>,
}

tokio::task_local! {
    /// The progress of the attempt for which a connection is being made.
    pub static PROGRESS: Arc<Progress>;
}

impl Progress {
    /// Notes that a phase began.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The phase that was begun last.
    #[must_use]
    pub fn phase(&self) -> Phase {
        let phases = [Phase::Resolving, Phase::Connecting, Phase::Handshaking, Phase::Requesting, Phase::Reading];
        let noted = self.phase.load(Ordering::Relaxed);
        phases.into_iter().find(|phase| *phase as u8 == noted).unwrap_or(Phase::Requesting)
    }

    /// The times that were noted.
    #[must_use]
    pub fn times(&self) -> PhaseTimes {
        let noted = |cell: &AtomicU32| Some(cell.load(Ordering::Relaxed)).filter(|time| *time > 0);
        PhaseTimes {
            dns_us: noted(&self.dns_us),
            connect_us: noted(&self.connect_us),
            tls_us: noted(&self.tls_us),
            first_byte_us: None,
            total_us: 0,
        }
    }

    /// The address that a new connection was made to.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        *self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no connection: the class and the sentence of the attempt's outcome.
#[derive(Debug)]
pub struct ConnectError {
    /// The class.
    pub class: OutcomeClass,
    /// The sentence.
    pub sentence: String,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.sentence)
    }
}

impl std::error::Error for ConnectError {}

fn fail<T>(class: OutcomeClass, sentence: String) -> Result<T, ConnectError> {
    Err(ConnectError { class, sentence })
}

/// Makes connections under one egress policy.
#[derive(Clone)]
pub struct Connector {
    pub(super) resolver: Arc<TokioResolver>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) allow_networks: Arc<[IpNet]>,
    pub(super) own_listeners: Arc<[SocketAddr]>,
    pub(super) open: Arc<AtomicUsize>,
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        // Taken here, in the attempt's own task: the future itself may be finished by the pool in another.
        let progress = PROGRESS.try_with(Arc::clone).unwrap_or_default();
        Box::pin(async move { connector.connect(&uri, &progress).await })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri, progress: &Progress) -> Result<Stream, ConnectError> {
        let is_https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let addresses = self.resolve(host, port, progress).await?;
        let vetted = self.vet(host, &addresses)?;
        let stream = self.dial(host, &vetted, progress).await?;
        let guard = OpenGuard::new(&self.open);
        if !is_https {
            progress.enter(Phase::Requesting);
            return Ok(Stream { io: Io::Plain(TokioIo::new(stream)), is_h2: false, _guard: guard });
        }
        let stream = self.shake_hands(host, stream, progress).await?;
        progress.enter(Phase::Requesting);
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Stream { io: Io::Tls(Box::new(TokioIo::new(stream))), is_h2, _guard: guard })
    }

    async fn resolve(&self, host: &str, port: u16, progress: &Progress) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        progress.enter(Phase::Resolving);
        let stopwatch = Stopwatch::start();
        // The dot at the end keeps the machine's search domains out.
        let name = format!("{}.", host.trim_end_matches('.'));
        let result = self.resolver.lookup_ip(name).await;
        progress.dns_us.store(stopwatch.elapsed_us().max(1), Ordering::Relaxed);
        match result {
            Ok(found) => {
                let addresses = found.iter().take(limits::RESOLVED_ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, port)).collect::<Vec<_>>();
                if addresses.is_empty() {
                    fail(OutcomeClass::DnsNotFound, format!("the name {host} has no address"))
                } else {
                    Ok(addresses)
                }
            }
            Err(error) if error.is_nx_domain() => fail(OutcomeClass::DnsNotFound, format!("the name {host} does not exist")),
            Err(error) if error.is_no_records_found() => fail(OutcomeClass::DnsNotFound, format!("the name {host} has no address")),
            Err(error) => fail(OutcomeClass::DnsFailed, format!("the name {host} could not be resolved: {}", with_causes(&error))),
        }
    }

    fn vet(&self, host: &str, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut refusals = Vec::new();
        let mut vetted = Vec::new();
        for address in addresses {
            match address::judge(*address, &self.allow_networks, &self.own_listeners) {
                Ok(()) => vetted.push(*address),
                Err(refusal) => refusals.push((*address, refusal)),
            }
        }
        let Some((address, refusal)) = refusals.first().filter(|_| vetted.is_empty()) else { return Ok(vetted) };
        match refusal {
            Refusal::Special => {
                let ip = address.ip();
                let sentence = format!(
                    "{host} is {ip}, a private or special address, which is not dialled; allow_networks in [egress] or in the webhook makes an exception"
                );
                fail(OutcomeClass::AddressRefused, sentence)
            }
            Refusal::OwnListener => fail(OutcomeClass::OwnListener, format!("{host} is {address}, where hookwheel itself listens")),
        }
    }

    async fn dial(&self, host: &str, vetted: &[SocketAddr], progress: &Progress) -> Result<TcpStream, ConnectError> {
        progress.enter(Phase::Connecting);
        let stopwatch = Stopwatch::start();
        let mut last = None;
        for address in vetted {
            let result = TcpStream::connect(address).await;
            progress.connect_us.store(stopwatch.elapsed_us().max(1), Ordering::Relaxed);
            match result {
                Ok(stream) => {
                    let peer = stream.peer_addr().unwrap_or(*address);
                    if peer != *address {
                        return fail(OutcomeClass::AddressRefused, format!("{host} was dialled at {address} but {peer} answered"));
                    }
                    // Small requests that wait for their answer gain nothing from Nagle's algorithm.
                    drop(stream.set_nodelay(true));
                    *progress.remote.lock().unwrap_or_else(PoisonError::into_inner) = Some(peer);
                    return Ok(stream);
                }
                Err(error) => last = Some((address, error)),
            }
        }
        match last {
            Some((address, error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fail(OutcomeClass::ConnectRefused, format!("{address} refused the connection: nothing listens there"))
            }
            Some((address, error)) => fail(OutcomeClass::ConnectFailed, format!("no connection to {address}: {error}")),
            None => fail(OutcomeClass::DnsNotFound, format!("the name {host} has no address")),
        }
    }

    async fn shake_hands(&self, host: &str, stream: TcpStream, progress: &Progress) -> Result<TlsStream<TcpStream>, ConnectError> {
        progress.enter(Phase::Handshaking);
        let stopwatch = Stopwatch::start();
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return fail(OutcomeClass::UrlRefused, format!("{host} is no name that a certificate could have"));
        };
        let result = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        progress.tls_us.store(stopwatch.elapsed_us().max(1), Ordering::Relaxed);
        result.map_err(|error| of_tls_error(host, &error))
    }
}

fn of_tls_error(host: &str, error: &io::Error) -> ConnectError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let (class, sentence) = match tls {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                (OutcomeClass::TlsExpired, format!("the certificate of {host} has expired"))
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                (OutcomeClass::TlsExpired, format!("the certificate of {host} is not valid yet"))
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (OutcomeClass::TlsWrongHost, format!("the certificate is not for {host}"))
            }
            CertificateError::UnknownIssuer => {
                (OutcomeClass::TlsUnknownIssuer, format!("the certificate of {host} is from an issuer that is not trusted here"))
            }
            other => (OutcomeClass::TlsFailed, format!("the certificate of {host} is not good: {other}")),
        },
        Some(rustls::Error::InvalidMessage(_)) => (OutcomeClass::TlsFailed, format!("{host} does not speak TLS on this port")),
        Some(other) => (OutcomeClass::TlsFailed, format!("no TLS with {host}: {other}")),
        None => (OutcomeClass::TlsFailed, format!("{host} ended the connection during the TLS handshake: {error}")),
    };
    ConnectError { class, sentence }
}

/// Counts a connection as open as long as it lives.
struct OpenGuard(Arc<AtomicUsize>);

impl OpenGuard {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection, plain or TLS.
pub struct Stream {
    io: Io,
    is_h2: bool,
    _guard: OpenGuard,
}

enum Io {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.is_h2 { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_read(context, buffer),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_write(context, bytes),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_flush(context),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io).poll_shutdown(context),
            Io::Tls(io) => Pin::new(io.as_mut()).poll_shutdown(context),
        }
    }
}
