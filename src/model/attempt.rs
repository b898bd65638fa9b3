//! One HTTP POST and what came of it. An outcome never decides what follows; that is the engine's.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Next;
use crate::time::UnixMillis;

/// One class for each way in which an attempt can end. The names are the values of the metric label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeClass {
    /// The status was one of the webhook's success statuses, and the response arrived whole.
    Success,
    /// 410: the receiver is gone for good.
    Gone,
    /// A redirect, which is not followed.
    Redirect,
    /// Another status.
    Status,
    /// The URL can't be dialled: its scheme is refused, for one.
    UrlRefused,
    /// Every address of the host is in a refused range.
    AddressRefused,
    /// The port belongs to another service than HTTP.
    PortRefused,
    /// The address is one of hookwheel's own listeners.
    OwnListener,
    /// The host name does not exist.
    DnsNotFound,
    /// The host name could not be resolved.
    DnsFailed,
    /// The receiver's machine refused the connection.
    ConnectRefused,
    /// No connection: unreachable, reset while connecting.
    ConnectFailed,
    /// The certificate has expired.
    TlsExpired,
    /// The certificate is not valid yet.
    TlsNotYetValid,
    /// The certificate is for another name.
    TlsWrongHost,
    /// The certificate's issuer is not known.
    TlsUnknownIssuer,
    /// There is no version of TLS, or no cipher, that both sides know.
    TlsIncompatible,
    /// The receiver wants a client certificate, and the webhook has none.
    TlsClientCertificateDemanded,
    /// The receiver does not accept the webhook's client certificate.
    TlsClientCertificateRefused,
    /// What answers on this port does not speak TLS.
    NotTls,
    /// Any other failure of the TLS handshake.
    TlsFailed,
    /// The deadline passed while the name was being resolved.
    DnsTimeout,
    /// The deadline passed while connecting.
    ConnectTimeout,
    /// The deadline passed in the TLS handshake.
    TlsTimeout,
    /// The deadline passed before the response was complete.
    ResponseTimeout,
    /// The connection ended before any response.
    ConnectionClosed,
    /// What came back is not HTTP, or its headers are too large.
    InvalidResponse,
    /// The response ended before it was complete.
    ResponseCutShort,
    /// The body could not be read from the journal, so nothing was sent.
    BodyUnreadable,
    /// A defect of hookwheel, caught.
    InternalError,
}

impl OutcomeClass {
    /// Every class, in the order of the metric.
    pub const ALL: [Self; 30] = [
        Self::Success,
        Self::Gone,
        Self::Redirect,
        Self::Status,
        Self::UrlRefused,
        Self::AddressRefused,
        Self::PortRefused,
        Self::OwnListener,
        Self::DnsNotFound,
        Self::DnsFailed,
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::TlsExpired,
        Self::TlsNotYetValid,
        Self::TlsWrongHost,
        Self::TlsUnknownIssuer,
        Self::TlsIncompatible,
        Self::TlsClientCertificateDemanded,
        Self::TlsClientCertificateRefused,
        Self::NotTls,
        Self::TlsFailed,
        Self::DnsTimeout,
        Self::ConnectTimeout,
        Self::TlsTimeout,
        Self::ResponseTimeout,
        Self::ConnectionClosed,
        Self::InvalidResponse,
        Self::ResponseCutShort,
        Self::BodyUnreadable,
        Self::InternalError,
    ];

    /// Its name in JSON and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Gone => "gone",
            Self::Redirect => "redirect",
            Self::Status => "status",
            Self::UrlRefused => "url_refused",
            Self::AddressRefused => "address_refused",
            Self::PortRefused => "port_refused",
            Self::OwnListener => "own_listener",
            Self::DnsNotFound => "dns_not_found",
            Self::DnsFailed => "dns_failed",
            Self::ConnectRefused => "connect_refused",
            Self::ConnectFailed => "connect_failed",
            Self::TlsExpired => "tls_expired",
            Self::TlsNotYetValid => "tls_not_yet_valid",
            Self::TlsWrongHost => "tls_wrong_host",
            Self::TlsUnknownIssuer => "tls_unknown_issuer",
            Self::TlsIncompatible => "tls_incompatible",
            Self::TlsClientCertificateDemanded => "tls_client_certificate_demanded",
            Self::TlsClientCertificateRefused => "tls_client_certificate_refused",
            Self::NotTls => "not_tls",
            Self::TlsFailed => "tls_failed",
            Self::DnsTimeout => "dns_timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::TlsTimeout => "tls_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::ConnectionClosed => "connection_closed",
            Self::InvalidResponse => "invalid_response",
            Self::ResponseCutShort => "response_cut_short",
            Self::BodyUnreadable => "body_unreadable",
            Self::InternalError => "internal_error",
        }
    }

    /// Why nothing was dialled, for the metric label `reason`; `None` when something was.
    #[must_use]
    pub const fn blocked_reason(self) -> Option<&'static str> {
        match self {
            Self::UrlRefused => Some("url"),
            Self::AddressRefused => Some("special_range"),
            Self::PortRefused => Some("port"),
            Self::OwnListener => Some("own_listener"),
            _ => None,
        }
    }

    /// Whether the endpoint seems not to be there at all, so that fewer attempts at once should wait for it.
    #[must_use]
    pub const fn is_unreachable(self) -> bool {
        matches!(
            self,
            Self::DnsNotFound
                | Self::DnsFailed
                | Self::ConnectRefused
                | Self::ConnectFailed
                | Self::DnsTimeout
                | Self::ConnectTimeout
                | Self::TlsTimeout
                | Self::ResponseTimeout
        )
    }
}

impl fmt::Display for OutcomeClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How long each phase of an attempt took, in microseconds; `None` for a phase that did not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseTimes {
    /// Resolving the name.
    pub dns_us: Option<u32>,
    /// TCP connect.
    pub connect_us: Option<u32>,
    /// TLS handshake.
    pub tls_us: Option<u32>,
    /// From the request's start, on a connection that stands, to the first byte of the response.
    pub first_byte_us: Option<u32>,
    /// The whole attempt.
    pub total_us: u32,
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The class.
    pub class: OutcomeClass,
    /// The HTTP status, where one arrived.
    pub status: Option<u16>,
    /// One plain sentence for people.
    pub sentence: String,
    /// How long it took.
    pub phases: PhaseTimes,
    /// What `Retry-After` of a 429 or 503 asked for, in milliseconds from the end of the attempt, as sent.
    pub retry_after_ms: Option<u64>,
    /// The address that was spoken to.
    pub remote: Option<String>,
    /// The first bytes of the response's body, at most [`crate::limits::RESPONSE_EXCERPT_MAX`].
    pub excerpt: Vec<u8>,
}

impl Outcome {
    /// An outcome with a class and a sentence and nothing else known.
    #[must_use]
    pub fn new(class: OutcomeClass, sentence: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            sentence: sentence.into(),
            phases: PhaseTimes::default(),
            retry_after_ms: None,
            remote: None,
            excerpt: Vec::new(),
        }
    }
}

/// One finished attempt with the decision that followed, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The round: 1, and one more for each retry by hand.
    pub round: u16,
    /// Its number within the round, from 1.
    pub number: u32,
    /// When it was due, on the schedule clock.
    pub due: UnixMillis,
    /// When it ended, on the schedule clock.
    pub finished: UnixMillis,
    /// What came of it.
    pub outcome: Outcome,
    /// What follows.
    pub next: Next,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_in_metrics_is_the_name_in_json() {
        for class in OutcomeClass::ALL {
            assert_eq!(serde_json::to_string(&class).unwrap(), format!("\"{class}\""));
        }
        let mut distinct = OutcomeClass::ALL.to_vec();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), OutcomeClass::ALL.len());
    }
}
