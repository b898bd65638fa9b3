//! What a webhook's TLS has of its own: whom it trusts besides the system, and the certificate that it shows. It never reads a file, and never shows a key.

use std::fmt;
use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256};
use zeroize::Zeroizing;

/// Whom a webhook trusts and how it shows who it is: checked certificates and their key, as they stood in their files. Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// Trusted besides the system's roots.
    pub authorities: Option<Authorities>,
    /// Shown to a receiver that asks for it.
    pub client: Option<ClientCertificate>,
    fingerprint: Fingerprint,
}

/// Certificates of issuers, at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    /// The file that they stand in.
    pub file: PathBuf,
    /// Each in DER.
    pub certificates: Vec<Vec<u8>>,
}

/// A client certificate with what proves that it is one's own.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The file that the certificates stand in.
    pub certificate_file: PathBuf,
    /// The file that the key stands in.
    pub key_file: PathBuf,
    /// The certificate in DER, and those that lead from it to its issuer.
    pub chain: Vec<Vec<u8>>,
    /// The private key of the first, in DER. Wiped when dropped.
    pub key: Zeroizing<Vec<u8>>,
}

/// Tells one identity from another by what stands in the files.
pub type Fingerprint = [u8; 32];

impl TlsIdentity {
    /// One of these.
    #[must_use]
    pub fn new(authorities: Option<Authorities>, client: Option<ClientCertificate>) -> Self {
        let mut context = Context::new(&SHA256);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_le_bytes());
            context.update(bytes);
        };
        let certificates = authorities.as_ref().map(|authorities| authorities.certificates.as_slice()).unwrap_or_default();
        part(&(certificates.len() as u64).to_le_bytes());
        certificates.iter().for_each(|certificate| part(certificate));
        if let Some(client) = &client {
            client.chain.iter().for_each(|certificate| part(certificate));
            part(&client.key);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        Self { authorities, client, fingerprint }
    }

    /// The same for the same certificates and key, wherever their files lie.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsIdentity").field("authorities", &self.authorities).field("client", &self.client).finish()
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Authorities({} of {})", self.certificates.len(), self.file.display())
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientCertificate({})", self.certificate_file.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_makes_the_fingerprint_and_the_key_is_not_shown() {
        let authorities = |certificates: &[&[u8]]| Authorities {
            file: "ca.pem".into(),
            certificates: certificates.iter().map(|certificate| certificate.to_vec()).collect(),
        };
        let client = |chain: &[&[u8]], key: &[u8]| ClientCertificate {
            certificate_file: "crm.pem".into(),
            key_file: "crm.key".into(),
            chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
            key: key.to_vec().into(),
        };
        let identities = [
            TlsIdentity::new(Some(authorities(&[b"a"])), None),
            TlsIdentity::new(Some(authorities(&[b"a", b"b"])), None),
            TlsIdentity::new(Some(authorities(&[b"ab"])), None),
            TlsIdentity::new(Some(authorities(&[b"a"])), Some(client(&[b"b"], b"secret"))),
            TlsIdentity::new(None, Some(client(&[b"a", b"b"], b"secret"))),
            TlsIdentity::new(None, Some(client(&[b"a", b"b"], b"other"))),
        ];
        let mut fingerprints = identities.iter().map(TlsIdentity::fingerprint).collect::<Vec<_>>();
        fingerprints.sort_unstable();
        fingerprints.dedup();
        assert_eq!(fingerprints.len(), identities.len());
        let mut elsewhere = client(&[b"a", b"b"], b"secret");
        elsewhere.key_file = "elsewhere.key".into();
        assert_eq!(TlsIdentity::new(None, Some(elsewhere)).fingerprint(), identities[4].fingerprint());
        assert_eq!(
            format!("{:?}", identities[3]),
            "TlsIdentity { authorities: Some(Authorities(1 of ca.pem)), client: Some(ClientCertificate(crm.pem)) }"
        );
    }
}
