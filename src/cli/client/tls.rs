//! TLS to a daemon behind an `https://` address, checked against the system's roots and those that the user named. It never accepts what they do not vouch for.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore, crypto};
use url::{Host, Url};

/// A handshake with the host of `url` over `stream`.
///
/// # Errors
/// A certificate that nobody who is trusted vouches for, a peer that speaks no TLS.
pub(super) async fn connect(url: &Url, settings: &Arc<ClientConfig>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let name = match url.host() {
        Some(Host::Domain(domain)) => ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?,
        Some(Host::Ipv4(address)) => ServerName::IpAddress(address.into()),
        Some(Host::Ipv6(address)) => ServerName::IpAddress(address.into()),
        None => return Err(io::Error::other("the address names no host")),
    };
    TlsConnector::from(Arc::clone(settings)).connect(name, stream).await.map_err(with_advice)
}

/// What to do about a certificate that is refused, where that can be told.
fn with_advice(error: io::Error) -> io::Error {
    let Some(Error::InvalidCertificate(why)) = error.get_ref().and_then(|inner| inner.downcast_ref()) else { return error };
    let advice = match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired: have it renewed",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => "use a name that it was made for in the URL",
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "it is an authority's own, with which nobody may prove who he is: make one with basicConstraints CA:FALSE"
        }
        _ => "nobody who is trusted here vouches for it: --ca-file names others to trust",
    };
    io::Error::other(format!("{error}; {advice}"))
}

/// Whom a client trusts: the system's roots, and those in `ca_file`.
///
/// # Errors
/// In words: no roots on this system, a file without certificates.
pub(super) fn settings(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if let Some(path) = ca_file {
        let unusable = |why: &str| format!("--ca-file {}: {why}; expected certificates in PEM", path.display());
        let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let (added, _) = roots.add_parsable_certificates(certificates.map_err(|error| unusable(&error.to_string()))?);
        if added == 0 {
            return Err(unusable("there is no certificate in it"));
        }
    }
    if roots.is_empty() {
        return Err("this system has no root certificates: install ca-certificates, name a bundle in SSL_CERT_FILE, or the daemon's own with --ca-file".into());
    }
    // Named, not the process default: which one that is depends on what else is linked in.
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("TLS can't be set up: {error}"))?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
