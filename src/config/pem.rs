//! Certificates and private keys in PEM files (RFC 7468), and whether they belong together. It never repeats what stands in a file.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use super::outside;
use crate::limits::PEM_FILE_SIZE_MAX;

/// Why a certificate and a key can't be used, in words, and which of the two files that is about.
#[derive(Debug)]
pub enum Unfit {
    /// That of the certificates.
    Certificate(String),
    /// That of the key.
    Key(String),
}

/// Every certificate of a file, at least one.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    certificates_in(&outside::content(file, PEM_FILE_SIZE_MAX, "PEM file of certificates")?, file)
}

/// Every certificate in the content of a file, at least one. Public for fuzzing.
///
/// # Errors
/// A sentence that names the file and repeats nothing of its content.
pub fn certificates_in(content: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(content).collect::<Result<Vec<_>, _>>();
    let certificates = found.map_err(|error| format!("{} is broken PEM: {}", file.display(), broken(&error)))?;
    if certificates.is_empty() {
        return Err(format!("{} {}", file.display(), without("certificate", "BEGIN CERTIFICATE", "x509", content)));
    }
    Ok(certificates)
}

/// The first private key of a file.
pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    private_key_in(&outside::content(file, PEM_FILE_SIZE_MAX, "PEM file of a private key")?, file)
}

/// The first private key in the content of a file. Public for fuzzing.
///
/// # Errors
/// A sentence that names the file and repeats nothing of its content.
pub fn private_key_in(content: &[u8], file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let has = |words: &str| content.windows(words.len()).any(|window| window == words.as_bytes());
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        let way = "write it without, as `openssl pkey -in … -out …` does, readable for hookwheel alone";
        return Err(format!("the private key in {} is encrypted with a passphrase, for which nobody can be asked; {way}", file.display()));
    }
    PrivateKeyDer::from_pem_slice(content).map_err(|error| match error {
        pem::Error::NoItemsFound => format!("{} {}", file.display(), without("private key", "BEGIN PRIVATE KEY", "pkey", content)),
        error => format!("{} is broken PEM: {}", file.display(), broken(&error)),
    })
}

/// A chain with the key of its first certificate. The provider of cryptography is named, not the process default: which one that is depends on what else is linked in.
///
/// # Errors
/// What is wrong with which of the two.
pub fn certified(
    certificate_file: &Path,
    chain: Vec<CertificateDer<'static>>,
    key_file: &Path,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Unfit> {
    let (key_file, certificate_file) = (key_file.display(), certificate_file.display());
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Unfit::Key(format!(
            "the private key in {key_file} does not belong to the first certificate in {certificate_file}; expected that one's key, and behind that certificate those that vouch for it"
        )),
        Error::InvalidCertificate(error) => {
            Unfit::Certificate(format!("the first certificate of {certificate_file} can't be used: {error}"))
        }
        error => Unfit::Key(format!("the private key in {key_file} can't be used, expected RSA, ECDSA or Ed25519: {error}")),
    })
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
