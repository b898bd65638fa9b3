//! The certificate and the key of the listener, read from their files and fitting together. It never shows the key, and never serves with them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::environment::Environment;
use super::mistakes::Report;
use super::notation::PATH;
use super::outside;
use super::pem::{self, Unfit};
use super::raw::Section;
use crate::limits::TLS_CHAIN_MAX;

const CERTIFICATE: &str = "tls_certificate_file";
const KEY: &str = "tls_key_file";

/// With what the listener proves who it is: a certificate, those that vouch for it, and the key that belongs to it.
#[derive(Clone)]
pub struct ListenerTls {
    /// The file of the certificates, in PEM.
    pub certificate_file: PathBuf,
    /// The file of the key, in PEM.
    pub key_file: PathBuf,
    /// What was in them; the key is that of the first certificate.
    pub certified: Arc<CertifiedKey>,
    /// Where the two files are named, such as `webhooks.toml:3`.
    pub(super) places: [String; 2],
}

impl fmt::Debug for ListenerTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ListenerTls({}, {})", self.certificate_file.display(), self.key_file.display())
    }
}

impl PartialEq for ListenerTls {
    /// The same certificates from the same files. Another key makes another certificate.
    fn eq(&self, other: &Self) -> bool {
        let of = |identity: &Self| (identity.certificate_file.clone(), identity.key_file.clone());
        of(self) == of(other) && self.certified.cert == other.certified.cert
    }
}

impl Eq for ListenerTls {}

impl ListenerTls {
    /// What `[server]` says of it; nothing when neither key is there, or when there is a mistake, which the report has then.
    pub(super) fn read(
        section: &mut Section<'_>,
        config_directory: &Path,
        environment: &Environment,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let certificate = section.text(CERTIFICATE, PATH, report);
        let key = section.text(KEY, PATH, report);
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => return None,
            (Some((_, span)), None) => {
                report.missing(span.start, format!("{CERTIFICATE}: the key that belongs to it is missing: set {KEY}, too"));
                return None;
            }
            (None, Some((_, span))) => {
                report.missing(span.start, format!("{KEY}: the certificate that belongs to it is missing: set {CERTIFICATE}, too"));
                return None;
            }
        };
        let places = [&certificate.1, &key.1].map(|span| report.place(span.start));
        let place = |text: &str| outside::place(text, config_directory, environment);
        let chain = place(certificate.0).and_then(chain);
        let chain = chain.map_err(|sentence| report.wrong(certificate.1.start, format!("{CERTIFICATE}: {sentence}"))).ok();
        let read = place(key.0).and_then(|path| Ok((pem::private_key(&path)?, path)));
        let read = read.map_err(|sentence| report.wrong(key.1.start, format!("{KEY}: {sentence}"))).ok();
        let ((certificate_file, chain), (private_key, key_file)) = (chain?, read?);
        let certified = match pem::certified(&certificate_file, chain, &key_file, private_key) {
            Ok(certified) => Arc::new(certified),
            Err(unfit) => {
                match unfit {
                    Unfit::Certificate(sentence) => report.wrong(certificate.1.start, format!("{CERTIFICATE}: {sentence}")),
                    Unfit::Key(sentence) => report.wrong(key.1.start, format!("{KEY}: {sentence}")),
                }
                return None;
            }
        };
        Some(Self { certificate_file, key_file, certified, places })
    }
}

fn chain(path: PathBuf) -> Result<(PathBuf, Vec<CertificateDer<'static>>), String> {
    let chain = pem::certificates(&path)?;
    if chain.len() > TLS_CHAIN_MAX {
        return Err(format!("{} has {} certificates; a chain of {TLS_CHAIN_MAX} is long enough", path.display(), chain.len()));
    }
    Ok((path, chain))
}
