//! The certificate and the key of the listener, read from their files and fitting together. It never shows the key, and never serves with them.

use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::environment::Environment;
use super::mistakes::Report;
use super::notation::PATH;
use super::outside;
use super::raw::Section;
use crate::limits::{TLS_CHAIN_MAX, TLS_FILE_SIZE_MAX};
use crate::time::UnixMillis;

const CERTIFICATE: &str = "tls_certificate_file";
const KEY: &str = "tls_key_file";
const ENCRYPTED: &[u8] = b"ENCRYPTED PRIVATE KEY";

/// With what the listener proves who it is: a certificate, those that vouch for it, and the key that belongs to it.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The file of the certificates, in PEM.
    pub certificate_file: PathBuf,
    /// The file of the key, in PEM.
    pub key_file: PathBuf,
    /// What was in them; the key is that of the first certificate.
    pub certified: Arc<CertifiedKey>,
    /// Where the key is named: `webhooks.toml:3`, and for the certificate likewise.
    places: [String; 2],
    /// Every user of this machine may read the key.
    key_is_open: bool,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TlsIdentity({}, {})", self.certificate_file.display(), self.key_file.display())
    }
}

impl PartialEq for TlsIdentity {
    /// The same certificates from the same files. Another key makes another certificate.
    fn eq(&self, other: &Self) -> bool {
        let of = |identity: &Self| (identity.certificate_file.clone(), identity.key_file.clone());
        of(self) == of(other) && self.certified.cert == other.certified.cert
    }
}

impl Eq for TlsIdentity {}

impl TlsIdentity {
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
        let chain = chain(certificate.0, config_directory, environment);
        let chain = chain.map_err(|sentence| report.wrong(certificate.1.start, format!("{CERTIFICATE}: {sentence}"))).ok();
        let read = private_key(key.0, config_directory, environment);
        let read = read.map_err(|sentence| report.wrong(key.1.start, format!("{KEY}: {sentence}"))).ok();
        let ((certificate_file, chain), (key_file, private_key, key_is_open)) = (chain?, read?);
        let certified = match CertifiedKey::from_der(chain, private_key, &provider()) {
            Ok(certified) => Arc::new(certified),
            Err(error) => {
                let (offset, sentence) = match error {
                    Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => (
                        key.1.start,
                        format!(
                            "{KEY}: {} is not the key of the first certificate in {}; that one has to be the listener's own, those that vouch for it follow",
                            key_file.display(),
                            certificate_file.display()
                        ),
                    ),
                    Error::InvalidCertificate(why) => (
                        certificate.1.start,
                        format!("{CERTIFICATE}: the first certificate in {} can't be used: {why}", certificate_file.display()),
                    ),
                    other => (key.1.start, format!("{KEY}: the key in {} can't be used: {other}", key_file.display())),
                };
                report.wrong(offset, sentence);
                return None;
            }
        };
        Some(Self { certificate_file, key_file, certified, places, key_is_open })
    }

    /// What is allowed and still looks like a mistake at this time, one sentence each with its place.
    #[must_use]
    pub fn warnings(&self, now: UnixMillis) -> Vec<String> {
        let [certificate, key] = &self.places;
        let validity = self.validity(now).map(|sentence| format!("{certificate}: {CERTIFICATE}: {sentence}"));
        let open = self.key_is_open.then(|| {
            let path = self.key_file.display();
            format!("{key}: {KEY}: every user of this machine may read {path}; `chmod o-rwx {path}` mends it")
        });
        validity.into_iter().chain(open).collect()
    }

    /// Why clients refuse the certificate at this time, whoever vouches for it.
    fn validity(&self, now: UnixMillis) -> Option<String> {
        let own = self.certified.end_entity_cert().ok()?;
        // As if this very certificate were trusted: time is judged before anything else.
        let mut roots = RootCertStore::empty();
        roots.add(own.clone().into_owned()).ok()?;
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now.0));
        let algorithms = provider().signature_verification_algorithms.all;
        let parsed = ParsedCertificate::try_from(own).ok()?;
        let shown = |time: UnixTime| UnixMillis(time.as_secs().saturating_mul(1000));
        let path = self.certificate_file.display();
        match verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => Some(format!(
                "the certificate in {path} expired at {}; clients refuse it. Renew it, then `hookwheel reload`",
                shown(not_after)
            )),
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                Some(format!("the certificate in {path} is not valid before {}; clients refuse it until then", shown(not_before)))
            }
            _ => None,
        }
    }
}

/// Named, not the process default: which one that is depends on what else is linked in.
fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn chain(text: &str, config_directory: &Path, environment: &Environment) -> Result<(PathBuf, Vec<CertificateDer<'static>>), String> {
    let path = outside::place(text, config_directory, environment)?;
    let pem = outside::content(&path, TLS_FILE_SIZE_MAX, "certificate")?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| not_pem(&path, &error))?;
    if chain.is_empty() || chain.len() > TLS_CHAIN_MAX {
        return Err(format!(
            "{} has {} certificates in PEM; expected 1 to {TLS_CHAIN_MAX}, each between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
            path.display(),
            chain.len()
        ));
    }
    Ok((path, chain))
}

fn private_key(text: &str, config_directory: &Path, environment: &Environment) -> Result<(PathBuf, PrivateKeyDer<'static>, bool), String> {
    let path = outside::place(text, config_directory, environment)?;
    let pem = outside::content(&path, TLS_FILE_SIZE_MAX, "key")?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| match error {
        pem::Error::NoItemsFound if pem.windows(ENCRYPTED.len()).any(|some| some == ENCRYPTED) => {
            format!("the key in {} is encrypted; expected one that is not, in a file that only hookwheel's user may read", path.display())
        }
        pem::Error::NoItemsFound => {
            format!("{} has no key in PEM; expected one that begins with -----BEGIN PRIVATE KEY-----", path.display())
        }
        other => not_pem(&path, &other),
    })?;
    let mode = path.metadata().map_err(|error| format!("{} can't be read: {error}", path.display()))?.permissions().mode();
    Ok((path, key, mode & 0o004 != 0))
}

/// Says what kind of thing is wrong, and repeats nothing of the file: it may hold a key.
fn not_pem(path: &Path, error: &pem::Error) -> String {
    let what = match error {
        pem::Error::MissingSectionEnd { .. } => "the line that ends a section is missing",
        pem::Error::IllegalSectionStart { .. } => "a line that begins a section is malformed",
        pem::Error::Base64Decode(_) => "what stands between two such lines is not base64",
        _ => "it can't be understood",
    };
    format!("{} is not PEM: {what}", path.display())
}
