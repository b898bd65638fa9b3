//! The connector: resolve, judge every address, dial only what passed, shake hands. It never dials an address that was not judged, a literal in the URL included.
//!
//! A name is resolved once for each connection and what is dialled is exactly what was judged, so nothing can change in between; the peer's address is
//! checked once more on the connected socket.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::{self, Refusal};
use super::outcome;
use super::progress::{ConnectionFacts, PROGRESS, Phase, Progress};
use super::resolve::CurrentNames;
use super::stream::{Io, OpenGuard, Socket, Stream};
use super::tls::Tls;
use crate::limits;
use crate::model::OutcomeClass;
use crate::time::Stopwatch;

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

/// No connection, for this reason.
pub(super) fn fail<T>(class: OutcomeClass, sentence: String) -> Result<T, ConnectError> {
    Err(ConnectError { class, sentence })
}

/// Makes connections under one egress policy, for one TLS identity.
#[derive(Clone)]
pub struct Connector {
    pub(super) names: CurrentNames,
    pub(super) tls: Tls,
    /// For the daemon's own listener, where it speaks TLS and may be dialled.
    pub(super) own_tls: Option<Arc<ClientConfig>>,
    pub(super) allow_networks: Arc<[IpNet]>,
    pub(super) allow_ports: Arc<[u16]>,
    pub(super) own_listeners: Arc<[SocketAddr]>,
    /// What is sent over its connections is for URLs of a sandbox alone, and so may go to the daemon's own listener.
    pub(super) to_sandbox: bool,
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
        // Taken here, in the attempt's own task: when an idle connection becomes free meanwhile, the client takes that one and has this future finished by a task
        // for which no deadline of an attempt counts. So it has one of its own, a little later: the attempt's is the one that tells in which phase it passed.
        let progress = PROGRESS.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Progress::start(limits::TIMEOUT_MAX_MS)));
        let alone = Duration::from_millis(progress.remaining_ms().saturating_add(limits::CONNECT_ALONE_MS));
        Box::pin(async move {
            match timeout(alone, connector.connect(&uri, &progress)).await {
                Ok(result) => result,
                Err(_) => fail(OutcomeClass::ConnectTimeout, format!("no connection to {uri} in time")),
            }
        })
    }
}

impl Connector {
    async fn connect(&self, uri: &Uri, progress: &Arc<Progress>) -> Result<Stream, ConnectError> {
        let is_https = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        progress.enter(Phase::Resolving);
        let addresses = self.resolve(host, port, progress).await?;
        let vetted = self.vet(host, &addresses)?;
        progress.enter(Phase::Connecting);
        let (stream, remote) = self.dial(host, &vetted, progress).await?;
        let guard = OpenGuard::new(&self.open);
        let facts = ConnectionFacts { remote, opened_by: Arc::clone(progress), traffic: Arc::clone(stream.traffic()) };
        if !is_https {
            return Ok(Stream::new(Io::Plain(TokioIo::new(stream)), facts, guard));
        }
        progress.enter(Phase::Handshaking);
        let stream = self.shake_hands(host, stream, remote, progress).await?;
        Ok(Stream::new(Io::Tls(Box::new(TokioIo::new(stream))), facts, guard))
    }

    /// Resolves a URL's host and judges what is found, without dialling it.
    pub(super) async fn judge(&self, url: &url::Url) -> Result<(), ConnectError> {
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or(80);
        let addresses = self.names.get().addresses(host).await?;
        let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect::<Vec<_>>();
        self.vet(host, &addresses).map(drop)
    }

    async fn resolve(&self, host: &str, port: u16, progress: &Progress) -> Result<Vec<SocketAddr>, ConnectError> {
        let stopwatch = Stopwatch::start();
        let result = self.names.get().addresses(host).await;
        if host.parse::<std::net::IpAddr>().is_err() {
            progress.note(Phase::Resolving, stopwatch);
        }
        Ok(result?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    fn vet(&self, host: &str, addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut first_refusal = None;
        let mut vetted = Vec::new();
        for address in addresses {
            match address::judge(*address, &self.allow_networks, &self.allow_ports, &self.own_listeners) {
                Ok(()) => vetted.push(*address),
                // Without an exception for the network: who may make a sandbox may let it be reached.
                Err(Refusal::OwnListener) if self.to_sandbox => vetted.push(*address),
                Err(refusal) => first_refusal = first_refusal.or(Some((*address, refusal))),
            }
        }
        match first_refusal {
            Some((address, refusal)) if vetted.is_empty() => refuse(host, address, &refusal),
            _ => Ok(vetted),
        }
    }

    /// Tries the addresses one after the other. One that does not answer may only use up its share of the time, so that the next have theirs.
    pub(super) async fn dial(&self, host: &str, vetted: &[SocketAddr], progress: &Progress) -> Result<(Socket, SocketAddr), ConnectError> {
        let stopwatch = Stopwatch::start();
        let mut failure = None;
        for (index, address) in vetted.iter().enumerate() {
            let share = share_ms(progress.remaining_ms(), vetted.len() - index);
            let result = match timeout(Duration::from_millis(share), TcpStream::connect(address)).await {
                Ok(result) => result,
                Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {share} ms"))),
            };
            progress.note(Phase::Connecting, stopwatch);
            let checked = result.and_then(|stream| Ok((stream.peer_addr()?, stream.local_addr()?, stream)));
            let (peer, local, stream) = match checked {
                Ok(connected) => connected,
                Err(error) => {
                    failure = Some(outcome::of_dial_error(*address, &error));
                    continue;
                }
            };
            if (peer.ip(), peer.port()) != (address.ip(), address.port()) {
                return fail(OutcomeClass::AddressRefused, format!("{host} was dialled at {address} but {peer} answered"));
            }
            match address::judge_connection(local, peer, &self.allow_networks, &self.own_listeners) {
                Err(Refusal::OwnListener) if self.to_sandbox => {}
                Err(refusal) => return refuse(host, peer, &refusal),
                Ok(()) => {}
            }
            // Small requests that wait for their answer gain nothing from Nagle's algorithm; without it they only wait longer.
            drop(stream.set_nodelay(true));
            return Ok((Socket::new(stream), peer));
        }
        Err(failure
            .unwrap_or_else(|| ConnectError { class: OutcomeClass::DnsNotFound, sentence: format!("the name {host} has no address") }))
    }

    async fn shake_hands(
        &self,
        host: &str,
        socket: Socket,
        remote: SocketAddr,
        progress: &Progress,
    ) -> Result<TlsStream<Socket>, ConnectError> {
        let stopwatch = Stopwatch::start();
        let Ok(name) = ServerName::try_from(host.to_owned()) else {
            return fail(OutcomeClass::UrlRefused, format!("{host} is no name that a certificate could have"));
        };
        let is_own = address::is_own_listener(remote, &self.own_listeners);
        let config = self.own_tls.as_ref().filter(|_| is_own).unwrap_or(&self.tls.config);
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, socket);
        let (result, certificate) = self.tls.listen(handshake).await;
        progress.note(Phase::Handshaking, stopwatch);
        progress.note_certificate(certificate);
        result.map_err(|error| outcome::of_handshake_error(host, &error, self.tls.has_roots, certificate))
    }
}

fn refuse<T>(host: &str, address: SocketAddr, refusal: &Refusal) -> Result<T, ConnectError> {
    let class = match refusal {
        Refusal::Special | Refusal::OwnMachine => OutcomeClass::AddressRefused,
        Refusal::Port(_) => OutcomeClass::PortRefused,
        Refusal::OwnListener => OutcomeClass::OwnListener,
    };
    fail(class, refusal.sentence(host, address))
}

/// The time for one address when `addresses` are left, itself included. The last has all that is left and more, so that it is the attempt's deadline that ends it.
fn share_ms(remaining_ms: u64, addresses: usize) -> u64 {
    if addresses <= 1 {
        return remaining_ms.saturating_add(limits::CONNECT_ALONE_MS);
    }
    let even = remaining_ms / u64::try_from(addresses).unwrap_or(u64::MAX);
    even.max(limits::CONNECT_SHARE_MIN_MS.min(remaining_ms))
}

#[cfg(test)]
mod tests {
    use super::share_ms;
    use crate::limits::{CONNECT_ALONE_MS, CONNECT_SHARE_MIN_MS};

    #[test]
    fn a_silent_address_leaves_time_for_the_next_and_the_last_one_has_it_all() {
        assert_eq!(share_ms(10_000, 1), 10_000 + CONNECT_ALONE_MS);
        assert_eq!(share_ms(10_000, 4), 2500);
        assert_eq!(share_ms(10_000, 32), CONNECT_SHARE_MIN_MS);
        assert_eq!(share_ms(300, 2), 300, "a short time-out is not cut into pieces in which nobody could answer");
        assert_eq!(share_ms(0, 3), 0);
    }
}
