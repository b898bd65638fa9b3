//! What a webhook's TLS has of its own, in PEM files: read and checked. It never repeats what stands in them.
//!
//! The files of a definition that came over the admin socket are read, too, though whoever may use the socket need not be one who may read them: what is in them is never told.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use url::Url;
use zeroize::Zeroizing;

use super::mistakes::Report;
use super::notation::PATH;
use super::pem::{self, Unfit};
use super::raw::Section;
use super::webhook::Surroundings;
use crate::model::TlsIdentity;
use crate::model::tls::{Authorities, ClientCertificate};

const CA_FILE: &str = "ca_file";
const CERTIFICATE_FILE: &str = "client_certificate_file";
const KEY_FILE: &str = "client_key_file";
/// The keys that name files.
pub(super) const KEYS: [&str; 3] = [CA_FILE, CERTIFICATE_FILE, KEY_FILE];

/// What was read already: many webhooks may name the same files.
pub(super) type Known = HashMap<[Option<PathBuf>; 3], Arc<TlsIdentity>>;

/// The mistake about a key, in words.
type Wrong = (&'static str, String);

/// What the files that a `[[webhook]]` names come to; nothing when it names none, or where there is a mistake.
pub(super) fn identity(
    section: &mut Section<'_>,
    url: Option<&Url>,
    around: &Surroundings<'_>,
    known: &mut Known,
    report: &mut Report<'_>,
) -> Option<Arc<TlsIdentity>> {
    let mut offsets = [0; 3];
    let mut files = [const { None }; 3];
    for (index, key) in KEYS.into_iter().enumerate() {
        let Some((text, span)) = section.text(key, PATH, report) else { continue };
        offsets[index] = span.start;
        match super::outside::place(text, around.config_directory, around.environment) {
            Ok(path) => files[index] = Some(path),
            Err(sentence) => report.wrong(span.start, format!("{key}: {sentence}")),
        }
    }
    let first = files.iter().position(Option::is_some)?;
    if url.is_some_and(|url| url.scheme() != "https") {
        report.wrong(
            offsets[first],
            format!("{}: there is no TLS where the url begins with http:; leave it out, or write https:", KEYS[first]),
        );
        return None;
    }
    if let Some(identity) = known.get(&files) {
        return Some(Arc::clone(identity));
    }
    match read(&files) {
        Ok(identity) => {
            let identity = Arc::new(identity);
            known.insert(files, Arc::clone(&identity));
            Some(identity)
        }
        Err((key, sentence)) => {
            let offset = KEYS.iter().zip(offsets).find(|(one, _)| **one == key).map_or(section.offset(), |(_, offset)| offset);
            report.wrong(offset, format!("{key}: {sentence}"));
            None
        }
    }
}

fn read([ca, certificate, key]: &[Option<PathBuf>; 3]) -> Result<TlsIdentity, Wrong> {
    let authorities = ca.as_deref().map(|file| authorities(file).map_err(|sentence| (CA_FILE, sentence))).transpose()?;
    let client = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(client(certificate, key)?),
        (None, None) => None,
        (Some(_), None) => {
            return Err((CERTIFICATE_FILE, format!("{KEY_FILE} is missing, the file of its private key (it may be the same file)")));
        }
        (None, Some(_)) => {
            return Err((KEY_FILE, format!("{CERTIFICATE_FILE} is missing, the file of the certificate that it belongs to")));
        }
    };
    Ok(TlsIdentity::new(authorities, client))
}

fn authorities(file: &Path) -> Result<Authorities, String> {
    let certificates = pem::certificates(file)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("the {} of {} is none that could be trusted: {error}", numbered(index), file.display()))?;
    }
    Ok(Authorities { file: file.to_owned(), certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect() })
}

fn client(certificate_file: &Path, key_file: &Path) -> Result<ClientCertificate, Wrong> {
    let chain = pem::certificates(certificate_file).map_err(|sentence| (CERTIFICATE_FILE, sentence))?;
    let key = pem::private_key(key_file).map_err(|sentence| (KEY_FILE, sentence))?;
    let kept = (chain.iter().map(|certificate| certificate.to_vec()).collect(), Zeroizing::new(key.secret_der().to_vec()));
    match pem::certified(certificate_file, chain, key_file, key) {
        Ok(_) => Ok(ClientCertificate {
            certificate_file: certificate_file.to_owned(),
            key_file: key_file.to_owned(),
            chain: kept.0,
            key: kept.1,
        }),
        Err(Unfit::Certificate(sentence)) => Err((CERTIFICATE_FILE, sentence)),
        Err(Unfit::Key(sentence)) => Err((KEY_FILE, sentence)),
    }
}

fn numbered(index: usize) -> String {
    if index == 0 { "first certificate".to_owned() } else { format!("certificate {}", index + 1) }
}
