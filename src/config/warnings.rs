//! What a configuration may say and what still looks like a mistake: certificates whose time is not now, and keys that everybody may read. It never keeps a configuration from being used.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};

use super::Config;
use crate::time::UnixMillis;

impl Config {
    /// What is allowed and still looks like a mistake at this time, one `path: message` each, with the line where it is known.
    #[must_use]
    pub fn warnings(&self, now: UnixMillis) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(tls) = &self.server.tls {
            let [certificate, key] = &tls.places;
            let validity = tls.certified.end_entity_cert().ok().and_then(|own| validity(own, now));
            warnings.extend(validity.map(|validity| {
                let what = validity.told(&tls.certificate_file, "clients refuse it");
                format!("{certificate}: tls_certificate_file: {what}")
            }));
            warnings.extend(open_to_all(&tls.key_file).map(|what| format!("{key}: tls_key_file: {what}")));
        }
        let path = self.path.display();
        if let Some(what) = self.server.key_file.as_deref().and_then(open_to_all) {
            warnings.push(format!("{path}: key_file in [server]: {what}"));
        }
        let mut seen = BTreeSet::new();
        for webhook in &self.webhooks {
            let Some(client) = webhook.tls.as_ref().and_then(|tls| tls.client.as_ref()) else { continue };
            // Many webhooks may name the same files; the first one is told of.
            if !seen.insert((&client.certificate_file, &client.key_file)) {
                continue;
            }
            let own = client.chain.first().map(|own| CertificateDer::from(own.as_slice()));
            let validity = own.and_then(|own| validity(&own, now));
            let validity = validity.map(|validity| validity.told(&client.certificate_file, "receivers refuse it"));
            warnings.extend(validity.map(|what| format!("{path}: webhook {}: client_certificate_file: {what}", webhook.id)));
            warnings.extend(open_to_all(&client.key_file).map(|what| format!("{path}: webhook {}: client_key_file: {what}", webhook.id)));
        }
        warnings
    }
}

/// That the time of a certificate is not now.
#[derive(Clone, Copy)]
enum Validity {
    Over(UnixMillis),
    NotYet(UnixMillis),
}

impl Validity {
    fn told(self, file: &Path, consequence: &str) -> String {
        let file = file.display();
        match self {
            Self::Over(end) => format!("the certificate in {file} expired at {end}; {consequence}. Renew it, then `hookwheel reload`"),
            Self::NotYet(beginning) => format!("the certificate in {file} is not valid before {beginning}; {consequence} until then"),
        }
    }
}

/// Why a certificate is refused at this time, whoever vouches for it.
fn validity(own: &CertificateDer<'_>, now: UnixMillis) -> Option<Validity> {
    // As if this very certificate were trusted: time is judged before anything else.
    let mut roots = RootCertStore::empty();
    roots.add(own.clone().into_owned()).ok()?;
    let parsed = ParsedCertificate::try_from(own).ok()?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let at = |time: UnixTime| UnixMillis(time.as_secs().saturating_mul(1000));
    match verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, algorithms) {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => Some(Validity::Over(at(not_after))),
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => Some(Validity::NotYet(at(not_before))),
        _ => None,
    }
}

/// That every user of this machine may read a file that is to be secret.
fn open_to_all(file: &Path) -> Option<String> {
    let mode = file.metadata().ok()?.permissions().mode();
    let file = file.display();
    (mode & 0o004 != 0).then(|| format!("every user of this machine may read {file}; `chmod o-rwx {file}` mends it"))
}
