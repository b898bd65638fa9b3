//! TLS as one webhook speaks it: whom it trusts, which certificate it shows, and what was said about that. It never reads a file and never decides what follows.
//!
//! TLS 1.2 and 1.3 with the ciphers that rustls has, nothing older. Each identity has a configuration of its own, so that nothing, no kept session either, passes from one to another.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, RootCertStore, SignatureScheme};

use crate::model::TlsIdentity;

/// What the receiver and the webhook said to each other about TLS, beside an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsTalk {
    /// About a client certificate.
    pub certificate: ClientCertificateTalk,
    /// With what the receiver ended TLS.
    pub alert: Option<AlertDescription>,
}

/// What was said about a client certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificateTalk {
    /// The receiver asked for none.
    #[default]
    NotAsked,
    /// It asked, and the webhook has none.
    Missing,
    /// It asked, and was shown the webhook's.
    Shown,
}

/// Makes the configurations of TLS.
pub(super) struct TlsMaker {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
}

/// TLS as it is spoken for one identity.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    /// Whether any root certificate is trusted.
    pub(super) has_roots: bool,
    /// Whether there is a client certificate to show.
    pub(super) has_certificate: bool,
}

impl TlsMaker {
    /// These are trusted for every webhook.
    pub(super) fn new(roots: RootCertStore) -> Self {
        Self { provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()), roots: Arc::new(roots) }
    }

    /// The configuration for an identity.
    ///
    /// # Errors
    /// When its certificates or its key can't be used; the configuration's checks exclude that.
    pub(super) fn make(&self, identity: Option<&TlsIdentity>) -> Result<Tls, rustls::Error> {
        let mut roots = Arc::clone(&self.roots);
        if let Some(authorities) = identity.and_then(|identity| identity.authorities.as_ref()) {
            let roots = Arc::make_mut(&mut roots);
            authorities.certificates.iter().try_for_each(|certificate| roots.add(CertificateDer::from_slice(certificate)))?;
        }
        let certificate = identity.and_then(|identity| identity.client.as_ref());
        let certificate = certificate.map(|client| {
            let chain = client.chain.iter().map(|certificate| CertificateDer::from(certificate.clone())).collect();
            let key = PrivateKeyDer::try_from(client.key.to_vec()).map_err(|error| rustls::Error::General(error.to_owned()))?;
            CertifiedKey::from_der(chain, key, &self.provider).map(Arc::new)
        });
        let certificate = certificate.transpose()?;
        let (has_roots, has_certificate) = (!roots.is_empty(), certificate.is_some());
        let versions = ClientConfig::builder_with_provider(Arc::clone(&self.provider)).with_safe_default_protocol_versions()?;
        let mut config = versions.with_root_certificates(roots).with_client_cert_resolver(Arc::new(Shown(certificate)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config), has_roots, has_certificate })
    }
}

impl Tls {
    /// What is said about a client certificate while `handshake` runs.
    pub(super) async fn listen<T>(&self, handshake: impl Future<Output = T>) -> (T, ClientCertificateTalk) {
        let asked = Arc::new(AtomicBool::new(false));
        let result = ASKED.scope(Arc::clone(&asked), handshake).await;
        let talk = match (asked.load(Ordering::Relaxed), self.has_certificate) {
            (false, _) => ClientCertificateTalk::NotAsked,
            (true, false) => ClientCertificateTalk::Missing,
            (true, true) => ClientCertificateTalk::Shown,
        };
        (result, talk)
    }
}

tokio::task_local! {
    /// Whether the receiver asked for a client certificate in the handshake that is under way.
    static ASKED: Arc<AtomicBool>;
}

/// The certificate to show, if there is one.
struct Shown(Option<Arc<CertifiedKey>>);

impl fmt::Debug for Shown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shown(…)")
    }
}

impl ResolvesClientCert for Shown {
    /// Called when the receiver asks, and only then.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // Outside of a handshake of ours nobody wants to know.
        let _ = ASKED.try_with(|asked| asked.store(true, Ordering::Relaxed));
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}
