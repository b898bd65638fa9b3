//! What came of an attempt, in one class and one plain sentence for each way in which it can end. It is pure: it never decides what follows.

mod tls;

use std::error::Error;
use std::io;
use std::net::SocketAddr;

use hyper::header::{HeaderMap, LOCATION, RETRY_AFTER};
use hyper_util::client::legacy;

pub use self::tls::of_handshake_error;
use super::connect::ConnectError;
use super::progress::Phase;
use super::tls::TlsTalk;
use crate::limits;
use crate::model::{Outcome, OutcomeClass, SuccessRule};
use crate::time::UnixMillis;

/// The outcome of a response that arrived whole, or as far as it is read.
#[must_use]
pub fn of_response(status: u16, headers: &HeaderMap, rule: &SuccessRule, now: UnixMillis) -> Outcome {
    let (class, sentence) = if rule.is_success(status) {
        (OutcomeClass::Success, format!("the receiver answered {}", named(status)))
    } else if status == 410 {
        (OutcomeClass::Gone, "the receiver answered 410 Gone: it wants no more of this; the webhook is paused".to_owned())
    } else if (300..400).contains(&status) {
        let target = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .map_or(String::new(), |target| format!(" to {}", shortened(target)));
        (
            OutcomeClass::Redirect,
            format!(
                "the receiver answered {}, a redirect{target}, which is not followed: set the webhook's url to where it leads",
                named(status)
            ),
        )
    } else {
        (OutcomeClass::Status, format!("the receiver answered {}, where success is {rule}", named(status)))
    };
    let retry_after_ms = if matches!(status, 429 | 503) {
        headers.get(RETRY_AFTER).and_then(|value| retry_after_ms(value.to_str().ok()?, now))
    } else {
        None
    };
    Outcome { status: Some(status), retry_after_ms, ..Outcome::new(class, sentence) }
}

/// `Retry-After` (RFC 9110, section 10.2.3) in milliseconds from `now`: seconds, or an HTTP date; the past is 0, what is too large saturates.
#[must_use]
pub fn retry_after_ms(value: &str, now: UnixMillis) -> Option<u64> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1000));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let since_1970 = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let date_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    Some(date_ms.saturating_sub(now.0))
}

/// The outcome of a request that brought no response. `has_ended`: whether its connection was seen to end; one that was not, and is gone, was dropped at this end.
#[must_use]
pub fn of_client_error(error: &legacy::Error, host: &str, talk: TlsTalk, has_ended: bool) -> Outcome {
    if let Some(connect) = find::<ConnectError>(error) {
        return Outcome::new(connect.class, connect.sentence.clone());
    }
    // TLS 1.3 tells a client only after the handshake that its certificate was wanted, or not accepted.
    if let Some(alert) = talk.alert {
        let (class, sentence) = tls::of_alert(host, alert, talk.certificate);
        return Outcome::new(class, sentence);
    }
    if let Some(hyper) = find::<hyper::Error>(error) {
        // Whoever finds the fault tells the others on the connection only that it is gone.
        if !has_ended && (hyper.is_canceled() || hyper.is_closed() || is_of_waiting(hyper)) {
            let sentence =
                "the connection was given up before the request had its turn: the receiver does not keep to HTTP, or it fell silent";
            return Outcome::new(OutcomeClass::InvalidResponse, sentence);
        }
        let outcome = of_hyper_error(hyper, "before it answered");
        return if outcome.class == OutcomeClass::ConnectionClosed { tls::with_hint(outcome, talk.certificate) } else { outcome };
    }
    Outcome::new(OutcomeClass::InternalError, format!("the request failed in a way that hookwheel does not know: {}", with_causes(error)))
}

/// Whether the receiver said that it did not take the request up, `REFUSED_STREAM` or a graceful `GOAWAY` whose last stream came before (RFC 9113, sections 6.8 and 8.7), or the connection ended
/// while the request waited for its turn on it, of which no more than headers were sent: its body had not left, and there always is one.
#[must_use]
pub fn was_not_taken_up(error: &legacy::Error) -> bool {
    find::<hyper::Error>(error).is_some_and(is_of_waiting)
        || find::<h2::Error>(error).is_some_and(|h2| {
            let reason = if h2.is_go_away() { h2::Reason::NO_ERROR } else { h2::Reason::REFUSED_STREAM };
            h2.is_remote() && h2.reason() == Some(reason)
        })
}

/// The outcome of a response whose body failed. `has_ended`: as for [`of_client_error`].
#[must_use]
pub fn of_body_error(status: u16, error: &hyper::Error, has_ended: bool) -> Outcome {
    const WHEN: &str = "in the middle of its answer";
    // Of its time-out hyper tells only before the answer. In its middle it drops the connection, and what is left of the answer looks as if the receiver had closed it.
    let io = find::<io::Error>(error).or_else(|| find::<h2::Error>(error)?.get_io());
    let was_dropped = !has_ended && io.is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe);
    let base = if was_dropped { of_silence(WHEN) } else { of_hyper_error(error, WHEN) };
    let class = if base.class == OutcomeClass::ConnectionClosed { OutcomeClass::ResponseCutShort } else { base.class };
    Outcome { status: Some(status), class, ..base }
}

/// The outcome of a response over HTTP/2 whose stream was reset without an error before it was whole.
#[must_use]
pub fn of_abandoned_body(status: u16) -> Outcome {
    let sentence = "the receiver ended the stream in the middle of its answer, although without an error";
    Outcome { status: Some(status), ..Outcome::new(OutcomeClass::ResponseCutShort, sentence) }
}

/// Whether TLS ended without its farewell (`close_notify`). Many servers never send it; it matters only where nothing else tells whether the response is whole.
#[must_use]
pub fn is_tls_without_farewell(error: &hyper::Error) -> bool {
    find::<io::Error>(error).is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof)
}

/// The outcome of an attempt whose deadline passed in `phase`.
#[must_use]
pub fn of_timeout(phase: Phase, timeout_ms: u64, host: &str) -> Outcome {
    let after = format!("within {}", seconds(timeout_ms));
    let (class, sentence) = match phase {
        Phase::Resolving => (OutcomeClass::DnsTimeout, format!("the name {host} could not be resolved {after}")),
        Phase::Connecting => (OutcomeClass::ConnectTimeout, format!("no connection to {host} {after}")),
        Phase::Handshaking => (OutcomeClass::TlsTimeout, format!("the TLS handshake with {host} did not end {after}")),
        Phase::Requesting => (OutcomeClass::ResponseTimeout, format!("{host} did not answer {after}")),
        Phase::Reading => (OutcomeClass::ResponseTimeout, format!("{host} did not finish its answer {after}")),
    };
    Outcome::new(class, sentence)
}

/// Why an address could not be connected to.
#[must_use]
pub fn of_dial_error(address: SocketAddr, error: &io::Error) -> ConnectError {
    // EMFILE and ENFILE, for which std has no kind.
    let is_out_of_descriptors = matches!(error.raw_os_error(), Some(24 | 23));
    let (class, sentence) = if error.kind() == io::ErrorKind::ConnectionRefused {
        (OutcomeClass::ConnectRefused, format!("{address} refused the connection: nothing listens there"))
    } else if is_out_of_descriptors {
        let sentence = "hookwheel may not open any more connections: raise its limit of open files (LimitNOFILE, ulimit -n)".to_owned();
        (OutcomeClass::ConnectFailed, sentence)
    } else {
        (OutcomeClass::ConnectFailed, format!("no connection to {address}: {error}"))
    };
    ConnectError { class, sentence }
}

/// What rustls says, where an error is one of its.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn of_hyper_error(error: &hyper::Error, when: &str) -> Outcome {
    if error.is_parse_too_large() {
        return Outcome::new(OutcomeClass::InvalidResponse, "the headers of the receiver's answer are too large");
    }
    if error.is_parse() || error.is_parse_status() {
        return Outcome::new(OutcomeClass::InvalidResponse, format!("the receiver does not speak HTTP: {}", with_causes(error)));
    }
    if is_of_waiting(error) {
        let sentence = "the connection ended while the request waited for its turn on it";
        return Outcome::new(OutcomeClass::ConnectionClosed, sentence);
    }
    // A client of hyper has no other time-out than that for the reply to a PING.
    if error.is_timeout() {
        return of_silence(when);
    }
    let h2 = find::<h2::Error>(error);
    if let Some(h2) = h2.filter(|h2| h2.is_remote()) {
        let what = if h2.is_go_away() { "the connection" } else { "the request" };
        let reason = h2.reason().map_or_else(String::new, |reason| format!(" ({reason:?})"));
        return Outcome::new(OutcomeClass::ConnectionClosed, format!("the receiver ended {what}{reason} {when}"));
    }
    if let Some(io) = find::<io::Error>(error).or_else(|| h2?.get_io()) {
        if let Some(tls) = tls_error(io) {
            return Outcome::new(OutcomeClass::TlsFailed, format!("the receiver ended TLS {when}: {tls}"));
        }
        let how = match io.kind() {
            io::ErrorKind::ConnectionReset => "reset the connection".to_owned(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => "closed the connection".to_owned(),
            _ => format!("lost the connection ({io})"),
        };
        return Outcome::new(OutcomeClass::ConnectionClosed, format!("the receiver {how} {when}"));
    }
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return Outcome::new(OutcomeClass::ConnectionClosed, format!("the receiver closed the connection {when}"));
    }
    Outcome::new(OutcomeClass::InvalidResponse, format!("the exchange with the receiver broke off {when}: {}", with_causes(error)))
}

/// hyper has no other name for it: the task of the connection is gone, and with it a request that it had not taken up. Nothing else in a request of ours is its user's fault.
fn is_of_waiting(error: &hyper::Error) -> bool {
    error.is_user()
}

fn of_silence(when: &str) -> Outcome {
    let sentence = format!("the receiver fell silent {when}: no reply to an HTTP/2 PING within {}", seconds(limits::HTTP2_PING_MS));
    Outcome::new(OutcomeClass::ResponseTimeout, sentence)
}

/// The first error of type `E` in the chain of causes.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref::<E>())
}

/// An error with all that caused it.
pub(super) fn with_causes(error: &(dyn Error + 'static)) -> String {
    chain(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn cause<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        (*error).source()
    }
    std::iter::successors(Some(error), cause)
}

fn named(status: u16) -> String {
    let reason = hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.map_or_else(|| status.to_string(), |reason| format!("{status} {reason}"))
}

fn seconds(milliseconds: u64) -> String {
    if milliseconds.is_multiple_of(1000) { format!("{} s", milliseconds / 1000) } else { format!("{milliseconds} ms") }
}

fn shortened(text: &str) -> String {
    let short = text.chars().take(200).filter(|letter| !letter.is_control()).collect::<String>();
    if text.chars().count() > 200 { short + "…" } else { short }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_428_000_000);

    #[test]
    fn success_is_what_the_rule_says_and_410_and_redirects_have_their_own_words() {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static("https://other.example/"))]);
        let of = |status, rule: &SuccessRule| of_response(status, &headers, rule, NOW);
        let narrow = SuccessRule::default();
        let classes = [200, 201, 204, 302, 410, 500].map(|status| of(status, &narrow).class);
        use OutcomeClass::{Gone, Redirect, Status, Success};
        assert_eq!(classes, [Success, Status, Status, Redirect, Gone, Status]);
        assert!(of(302, &narrow).sentence.contains("https://other.example/"));
        assert_eq!(of(201, &narrow).sentence, "the receiver answered 201 Created, where success is 200");
        let wide = SuccessRule(vec![200..=299, 410..=410]);
        assert_eq!(of(204, &wide).class, Success);
        assert_eq!(of(410, &wide).class, Success);
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_date_and_only_where_it_means_something() {
        assert_eq!(retry_after_ms("120", NOW), Some(120_000));
        assert_eq!(retry_after_ms(" 0 ", NOW), Some(0));
        assert_eq!(retry_after_ms("99999999999999999999999", NOW), Some(u64::MAX));
        assert_eq!(retry_after_ms("Mon, 23 Nov 2026 10:01:30 GMT", NOW), Some(90_000));
        assert_eq!(retry_after_ms("Mon, 23 Nov 2020 10:01:30 GMT", NOW), Some(0));
        for wrong in ["", "-5", "soon", "1.5", "+3"] {
            assert_eq!(retry_after_ms(wrong, NOW), None, "{wrong}");
        }
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
        let asked = [429, 503, 500, 302].map(|status| of_response(status, &headers, &SuccessRule::default(), NOW).retry_after_ms);
        assert_eq!(asked, [Some(7000), Some(7000), None, None]);
    }
}
