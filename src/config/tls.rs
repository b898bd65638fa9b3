//! What a webhook's TLS has of its own, in PEM files (RFC 7468): read and checked. It never repeats what stands in them.
//!
//! The files of a definition that came over the admin socket are read, too, though whoever may use the socket need not be one who may read them: what is in them is never told.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use url::Url;
use zeroize::{Zeroize, Zeroizing};

use super::mistakes::Report;
use super::notation::PATH;
use super::outside;
use super::raw::Section;
use super::webhook::Surroundings;
use crate::limits::PEM_FILE_SIZE_MAX;
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
        match outside::place(text, around.config_directory, around.environment) {
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
    let certificates = certificates(file)?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in certificates.iter().enumerate() {
        let added = roots.add(CertificateDer::from_slice(certificate));
        added.map_err(|error| format!("the {} of {} is none that could be trusted: {error}", numbered(index), file.display()))?;
    }
    Ok(Authorities { file: file.to_owned(), certificates })
}

fn client(certificate_file: &Path, key_file: &Path) -> Result<ClientCertificate, Wrong> {
    let chain = certificates(certificate_file).map_err(|sentence| (CERTIFICATE_FILE, sentence))?;
    let key = private_key(key_file).map_err(|sentence| (KEY_FILE, sentence))?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let owned = chain.iter().map(|certificate| CertificateDer::from(certificate.clone())).collect::<Vec<_>>();
    let parsed = PrivateKeyDer::try_from(key.to_vec()).map_err(|error| rustls::Error::General(error.to_owned()));
    match parsed.and_then(|key| CertifiedKey::from_der(owned, key, &provider)) {
        Ok(_) => Ok(ClientCertificate { certificate_file: certificate_file.to_owned(), key_file: key_file.to_owned(), chain, key }),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let (key, certificate) = (key_file.display(), certificate_file.display());
            Err((
                KEY_FILE,
                format!("the private key in {key} does not belong to the first certificate in {certificate}; expected that one's key"),
            ))
        }
        Err(rustls::Error::InvalidCertificate(error)) => {
            Err((CERTIFICATE_FILE, format!("the first certificate of {} can't be used: {error}", certificate_file.display())))
        }
        Err(error) => {
            Err((KEY_FILE, format!("the private key in {} can't be used, expected RSA, ECDSA or Ed25519: {error}", key_file.display())))
        }
    }
}

/// Every certificate of a PEM file, at least one.
fn certificates(file: &Path) -> Result<Vec<Vec<u8>>, String> {
    let content = outside::content(file, PEM_FILE_SIZE_MAX, "PEM file of certificates")?;
    let found = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    let certificates = found.map_err(|error| format!("{} is broken PEM: {}", file.display(), broken(&error)))?;
    if certificates.is_empty() {
        return Err(format!("{} {}", file.display(), without("certificate", "BEGIN CERTIFICATE", "x509", &content)));
    }
    Ok(certificates.iter().map(|certificate| certificate.to_vec()).collect())
}

/// The first private key of a PEM file, in DER.
fn private_key(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let content = outside::content(file, PEM_FILE_SIZE_MAX, "PEM file of a private key")?;
    let has = |words: &str| content.windows(words.len()).any(|window| window == words.as_bytes());
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        let way = "write it without, as `openssl pkey -in … -out …` does, readable for hookwheel alone";
        return Err(format!("the private key in {} is encrypted with a passphrase, for which nobody can be asked; {way}", file.display()));
    }
    match PrivateKeyDer::from_pem_slice(&content) {
        Ok(mut key) => {
            let bytes = Zeroizing::new(key.secret_der().to_vec());
            key.zeroize();
            Ok(bytes)
        }
        Err(pem::Error::NoItemsFound) => {
            Err(format!("{} {}", file.display(), without("private key", "BEGIN PRIVATE KEY", "pkey", &content)))
        }
        Err(error) => Err(format!("{} is broken PEM: {}", file.display(), broken(&error))),
    }
}

/// What a file is in which nothing was found.
fn without(what: &str, line: &str, tool: &str, content: &[u8]) -> String {
    let is_pem = content.windows(11).any(|window| window == b"-----BEGIN ");
    // The tag of a sequence, with which DER begins.
    match (is_pem, content.first()) {
        (true, _) => format!("has no {what}: expected a part that begins with \"-----{line}-----\""),
        (false, Some(0x30)) => format!("is not PEM but DER, it seems; `openssl {tool} -inform der -in … -out …` makes PEM of it"),
        (false, _) => format!("is not PEM: expected text with a line \"-----{line}-----\""),
    }
}

/// What is wrong with PEM, without a word of what stands there.
fn broken(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a part of it has no line that begins with \"-----END\"",
        pem::Error::IllegalSectionStart { .. } => "a line with \"-----BEGIN\" does not end with \"-----\"",
        _ => "between the lines with BEGIN and END there is something else than base64",
    }
}

fn numbered(index: usize) -> String {
    if index == 0 { "first certificate".to_owned() } else { format!("certificate {}", index + 1) }
}
