//! TLS on the listener: the handshake, and the certificate that is shown, which can be replaced at any time. It never reads a file, and never speaks a version below TLS 1.2.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, crypto};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::paced::Paced;
use crate::limits;

/// What is said to a client that speaks HTTP without TLS: otherwise it would see no more than a connection that ends.
const NO_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 134\r\nconnection: close\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Bad Request\",\"status\":400,\"detail\":\"this listener speaks TLS; use https:// where you used http:// now\"}";

/// The listener's side of TLS. Clones show the same certificate.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
}

/// The certificate for the handshakes to come.
struct Shown(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shown")
    }
}

impl ResolvesServerCert for Shown {
    /// The same for whatever name is asked for: a listener has one.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// TLS with this certificate.
    ///
    /// # Errors
    /// A sentence when the library was built without what this needs.
    pub fn new(certified: Arc<CertifiedKey>) -> Result<Self, String> {
        let shown = Arc::new(Shown(RwLock::new(certified)));
        // Named, not the process default: which one that is depends on what else is linked in.
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            versions.map_err(|error| error.to_string())?.with_no_client_auth().with_cert_resolver(Arc::clone(&shown) as Arc<_>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = ServerSessionMemoryCache::new(limits::TLS_SESSIONS_MAX);
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), shown })
    }

    /// Shows this certificate from the next handshake on. Connections under way go on as they began.
    pub fn show(&self, certified: Arc<CertifiedKey>) {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
    }

    /// The listener's own certificate that is shown now, in DER.
    ///
    /// # Panics
    /// Never: a key without a certificate is none for TLS.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        let shown = self.shown.0.read().unwrap_or_else(PoisonError::into_inner);
        shown.cert.first().expect("a certified key has its certificate").clone()
    }

    /// Shakes hands. Whoever waits for this sees to it that it ends in time.
    ///
    /// # Errors
    /// When the client does not speak TLS, or not one that is spoken here.
    pub(super) async fn accept(self, stream: TcpStream) -> io::Result<TlsStream<Paced<TcpStream>>> {
        let mut first = [0];
        // Each record of TLS begins with a number, each request of HTTP with a letter.
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic() {
            refuse(stream).await;
            return Err(io::Error::new(ErrorKind::InvalidData, "the client speaks HTTP without TLS"));
        }
        self.acceptor.accept(Paced::new(stream)).await
    }
}

/// Whether it arrives does not matter: nothing was promised.
async fn refuse(mut stream: TcpStream) {
    let talk = async {
        stream.write_all(NO_TLS).await?;
        stream.shutdown().await?;
        // What was sent and never read would take the answer with it.
        let (reader, _) = stream.split();
        tokio::io::copy(&mut reader.take(limits::REQUEST_HEADERS_MAX as u64), &mut tokio::io::sink()).await
    };
    drop(tokio::time::timeout(Duration::from_millis(limits::REFUSAL_TIMEOUT_MS), talk).await);
}
