//! Why there is no TLS with a receiver: one class for each reason, and what to do about it. It is pure: it never shakes hands.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InvalidMessage};

use super::{shortened, tls_error};
use crate::dispatch::connect::ConnectError;
use crate::dispatch::tls::ClientCertificateTalk;
use crate::model::{Outcome, OutcomeClass};
use crate::time::UnixMillis;

/// Names of a certificate that a sentence repeats.
const NAMES_SHOWN_MAX: usize = 3;

/// Why a TLS handshake failed. `has_roots`: whether any root certificate is trusted.
#[must_use]
pub fn of_handshake_error(host: &str, error: &io::Error, has_roots: bool, talk: ClientCertificateTalk) -> ConnectError {
    let (class, sentence) = match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(error)) => of_certificate_error(host, error, has_roots),
        Some(rustls::Error::AlertReceived(alert)) => of_alert(host, *alert, talk),
        Some(rustls::Error::PeerIncompatible(why)) => incompatible(host, &format!("{why:?}")),
        // What the first bytes of another protocol look like.
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion | InvalidMessage::MessageTooLarge,
        )) => {
            let sentence =
                format!("what answers at {host} does not speak TLS on this port: correct the port, or write http:// if that is meant");
            (OutcomeClass::NotTls, sentence)
        }
        Some(other) => (OutcomeClass::TlsFailed, format!("no TLS with {host}: {other}")),
        None => of_broken_handshake(host, error, talk),
    };
    ConnectError { class, sentence }
}

/// What it means that the receiver ended TLS with an alert.
#[must_use]
pub(super) fn of_alert(host: &str, alert: AlertDescription, talk: ClientCertificateTalk) -> (OutcomeClass, String) {
    use AlertDescription as Alert;
    let is_about_certificate = matches!(
        alert,
        Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::DecryptError
            | Alert::HandshakeFailure
    );
    match (talk, alert) {
        (ClientCertificateTalk::Shown, _) if is_about_certificate => refused(host, &format!("it says {alert:?}")),
        (ClientCertificateTalk::Missing, _) if is_about_certificate => demanded(host),
        (_, Alert::CertificateRequired) => demanded(host),
        (_, Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity | Alert::NoApplicationProtocol) => {
            incompatible(host, &format!("{alert:?}"))
        }
        (_, Alert::UnrecognisedName) => (
            OutcomeClass::TlsFailed,
            format!("the receiver knows no host {host}: its alert was {alert:?}; correct the url, or have its owner set up the name"),
        ),
        _ => (OutcomeClass::TlsFailed, format!("{host} ended TLS: its alert was {alert:?}; its own log may say more")),
    }
}

/// The outcome of a connection that was closed after it was asked for a client certificate says so. That need not be why, so its class stays.
#[must_use]
pub(super) fn with_hint(outcome: Outcome, talk: ClientCertificateTalk) -> Outcome {
    let hint = match talk {
        ClientCertificateTalk::NotAsked => return outcome,
        ClientCertificateTalk::Missing => "; it had asked for a client certificate, and this webhook has no client_certificate_file",
        ClientCertificateTalk::Shown => "; it had asked for the webhook's client certificate, and may not like it",
    };
    Outcome { sentence: outcome.sentence + hint, ..outcome }
}

fn of_broken_handshake(host: &str, error: &io::Error, talk: ClientCertificateTalk) -> (OutcomeClass, String) {
    match talk {
        ClientCertificateTalk::Missing => demanded(host),
        ClientCertificateTalk::Shown => refused(host, "it ended the connection without a word"),
        ClientCertificateTalk::NotAsked => (
            OutcomeClass::TlsFailed,
            format!(
                "{host} ended the connection during the TLS handshake: {error}; is this the right port, and does it know this host name?"
            ),
        ),
    }
}

fn demanded(host: &str) -> (OutcomeClass, String) {
    let what = "demands a client certificate, and this webhook has none that it could use: set client_certificate_file and client_key_file";
    (OutcomeClass::TlsClientCertificateDemanded, format!("{host} {what}"))
}

fn refused(host: &str, how: &str) -> (OutcomeClass, String) {
    let what = "does not accept the client certificate";
    let todo = "see that client_certificate_file is valid, and has every certificate up to an issuer that the receiver knows";
    (OutcomeClass::TlsClientCertificateRefused, format!("{host} {what} of this webhook ({how}): {todo}"))
}

fn incompatible(host: &str, why: &str) -> (OutcomeClass, String) {
    let what = "have no version of TLS, or no cipher, in common";
    let todo = "its owner has to allow TLS 1.2 or 1.3 with an AEAD cipher and ECDHE";
    (OutcomeClass::TlsIncompatible, format!("hookwheel and {host} {what} ({why}): {todo}"))
}

fn of_certificate_error(host: &str, error: &CertificateError, has_roots: bool) -> (OutcomeClass, String) {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let when = if let CertificateError::ExpiredContext { not_after, .. } = error { day(" on ", *not_after) } else { String::new() };
            (OutcomeClass::TlsExpired, format!("the certificate of {host} has expired{when}: its owner has to renew it"))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let when = if let CertificateError::NotValidYetContext { not_before, .. } = error {
                day(" before ", *not_before)
            } else {
                String::new()
            };
            let todo = "its owner has to replace it, unless the clock of this machine is wrong";
            (OutcomeClass::TlsNotYetValid, format!("the certificate of {host} is not valid yet{when}: {todo}"))
        }
        CertificateError::NotValidForName => (OutcomeClass::TlsWrongHost, wrong_host(host, &[])),
        CertificateError::NotValidForNameContext { presented, .. } => (OutcomeClass::TlsWrongHost, wrong_host(host, presented)),
        CertificateError::UnknownIssuer if !has_roots => {
            let why = "this machine has no root certificates: install the package ca-certificates and restart hookwheel";
            (OutcomeClass::TlsUnknownIssuer, format!("the certificate of {host} can't be checked, because {why}"))
        }
        CertificateError::UnknownIssuer => {
            let why = "is self-signed, or from an issuer that is not trusted here, or the receiver does not send the certificates between";
            let todo = "its owner has to mend that, or name the issuer's certificate in ca_file";
            (OutcomeClass::TlsUnknownIssuer, format!("the certificate of {host} {why}: {todo}"))
        }
        // What `openssl req -x509` makes by default. The library that judges it is not named by a type here, only by its words.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            let why = "is that of a certificate authority (self-signed, probably), which a server may not show as its own";
            (OutcomeClass::TlsFailed, format!("the certificate of {host} {why}: its owner has to replace it"))
        }
        other => (OutcomeClass::TlsFailed, format!("the certificate of {host} is not good: {other}; its owner has to replace it")),
    }
}

/// The names are the receiver's, and may be anything.
fn wrong_host(host: &str, presented: &[String]) -> String {
    let names = presented.iter().take(NAMES_SHOWN_MAX).map(|name| shortened(name)).collect::<Vec<_>>().join(", ");
    let more = if presented.len() > NAMES_SHOWN_MAX { ", …" } else { "" };
    let names = if names.is_empty() { String::new() } else { format!(" but for {names}{more}") };
    format!("the certificate is not for {host}{names}: correct the url, or have its owner set up the name")
}

/// `UnixMillis` writes the moment whole; a day is enough for a certificate.
fn day(before: &str, time: UnixTime) -> String {
    let moment = UnixMillis(time.as_secs().saturating_mul(1000)).to_string();
    format!("{before}{}", moment.split('T').next().unwrap_or_default())
}
