//! What an attempt notes of its way: how far it came, how long each step took, what came back. It never decides anything.
//!
//! The connection that answers an attempt need not be the one that was opened for it: the client takes an idle one where it can, and leaves one that it had begun to
//! open to whoever comes next. So the connector notes its steps in the [`Progress`] of the attempt that had it begin, each connection carries
//! [`ConnectionFacts`], and an attempt counts only the steps of a connection that it both opened and used.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::outcome::tls_error;
use super::stream::Traffic;
use super::tls::{ClientCertificateTalk, TlsTalk};
use crate::limits;
use crate::model::{Outcome, PhaseTimes};
use crate::time::Stopwatch;

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the name.
    Resolving,
    /// TCP connect.
    Connecting,
    /// TLS handshake.
    Handshaking,
    /// The request is under way.
    Requesting,
    /// The response's body is being read.
    Reading,
}

/// The way of one attempt, shared with the connector. Times are microseconds, 0 for a step that did not happen.
#[derive(Debug)]
pub struct Progress {
    timeout_ms: u64,
    since_start: Stopwatch,
    phase: AtomicU8,
    dns_us: AtomicU32,
    connect_us: AtomicU32,
    tls_us: AtomicU32,
    talk: Mutex<TlsTalk>,
    received: Mutex<Option<Received>>,
}

/// What came back so far.
#[derive(Clone, Debug)]
struct Received {
    status: u16,
    /// Since the attempt began.
    first_byte_us: u32,
    excerpt: Vec<u8>,
}

/// What is known of a connection as long as it stands.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    /// The address at its other end.
    pub remote: SocketAddr,
    /// The attempt that opened it.
    pub opened_by: Arc<Progress>,
    /// What came over it.
    pub traffic: Arc<Traffic>,
}

tokio::task_local! {
    /// The progress of the attempt for which a connection is being made.
    pub static PROGRESS: Arc<Progress>;
}

impl Progress {
    /// An attempt begins; it may take `timeout_ms` in all.
    #[must_use]
    pub fn start(timeout_ms: u64) -> Self {
        Self {
            timeout_ms,
            since_start: Stopwatch::start(),
            phase: AtomicU8::new(Phase::Requesting as u8),
            dns_us: AtomicU32::new(0),
            connect_us: AtomicU32::new(0),
            tls_us: AtomicU32::new(0),
            talk: Mutex::default(),
            received: Mutex::new(None),
        }
    }

    /// Milliseconds that are left of the attempt's time.
    #[must_use]
    pub fn remaining_ms(&self) -> u64 {
        self.timeout_ms.saturating_sub(self.since_start.elapsed_ms())
    }

    /// Notes that a phase began.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Notes how long a step of connecting took so far; it counts as 1 µs at least, so that it is seen to have happened.
    pub fn note(&self, phase: Phase, stopwatch: Stopwatch) {
        let cell = match phase {
            Phase::Resolving => &self.dns_us,
            Phase::Connecting => &self.connect_us,
            Phase::Handshaking => &self.tls_us,
            Phase::Requesting | Phase::Reading => return,
        };
        cell.store(stopwatch.elapsed_us().max(1), Ordering::Relaxed);
    }

    /// Notes what was said about a client certificate in the handshake.
    pub fn note_certificate(&self, certificate: ClientCertificateTalk) {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner).certificate = certificate;
    }

    /// Notes with what alert the receiver ended TLS, if this error is one.
    pub fn note_alert(&self, error: &std::io::Error) {
        if let Some(rustls::Error::AlertReceived(alert)) = tls_error(error) {
            self.talk.lock().unwrap_or_else(PoisonError::into_inner).alert = Some(*alert);
        }
    }

    /// Whether this attempt opened a connection, rather than used one again.
    #[must_use]
    pub fn opened(self: &Arc<Self>, connection: &ConnectionFacts) -> bool {
        Arc::ptr_eq(&connection.opened_by, self)
    }

    /// What was said about TLS on the connection that this attempt opened and used; nothing of another's, on which others were answered.
    #[must_use]
    pub fn talk(self: &Arc<Self>, connection: Option<&ConnectionFacts>) -> TlsTalk {
        let is_own = connection.is_none_or(|connection| self.opened(connection));
        if is_own { *self.talk.lock().unwrap_or_else(PoisonError::into_inner) } else { TlsTalk::default() }
    }

    /// Notes that the head of the response is here.
    pub fn answered(&self, status: u16) {
        let first_byte_us = self.since_start.elapsed_us();
        *self.received() = Some(Received { status, first_byte_us, excerpt: Vec::new() });
    }

    /// Keeps of the response's body what still fits into the excerpt.
    pub fn keep(&self, data: &[u8]) {
        if let Some(received) = self.received().as_mut() {
            let room = limits::RESPONSE_EXCERPT_MAX.saturating_sub(received.excerpt.len());
            received.excerpt.extend_from_slice(&data[..data.len().min(room)]);
        }
    }

    /// The phase in which the attempt is, given the connection that carries it.
    #[must_use]
    pub fn phase(&self, connection: Option<&ConnectionFacts>) -> Phase {
        if self.received().is_some() {
            return Phase::Reading;
        }
        if connection.is_some() {
            return Phase::Requesting;
        }
        let phases = [Phase::Resolving, Phase::Connecting, Phase::Handshaking];
        let noted = self.phase.load(Ordering::Relaxed);
        phases.into_iter().find(|phase| *phase as u8 == noted).unwrap_or(Phase::Requesting)
    }

    /// Writes into the outcome what the attempt noted.
    pub fn complete(self: &Arc<Self>, outcome: &mut Outcome, connection: Option<&ConnectionFacts>) {
        let is_own = connection.is_none_or(|connection| self.opened(connection));
        let noted = |cell: &AtomicU32| Some(cell.load(Ordering::Relaxed)).filter(|time| is_own && *time > 0);
        let times = [noted(&self.dns_us), noted(&self.connect_us), noted(&self.tls_us)];
        let connecting_us = times.iter().flatten().fold(0_u32, |sum, time| sum.saturating_add(*time));
        let [dns_us, connect_us, tls_us] = times;
        let received = self.received().clone();
        let first_byte_us = received.as_ref().map(|received| received.first_byte_us.saturating_sub(connecting_us));
        outcome.phases = PhaseTimes { dns_us, connect_us, tls_us, first_byte_us, total_us: self.since_start.elapsed_us() };
        outcome.remote = connection.map(|connection| connection.remote.to_string());
        if let Some(received) = received {
            outcome.status = Some(received.status);
            outcome.excerpt = received.excerpt;
        }
    }

    fn received(&self) -> MutexGuard<'_, Option<Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OutcomeClass;

    #[test]
    fn only_the_steps_of_a_connection_that_the_attempt_opened_and_used_are_counted() {
        let mine = Arc::new(Progress::start(1000));
        mine.note(Phase::Connecting, Stopwatch::start());
        mine.enter(Phase::Handshaking);
        assert_eq!(mine.phase(None), Phase::Handshaking);
        let facts = |opened_by| ConnectionFacts { remote: "192.0.2.1:443".parse().unwrap(), opened_by, traffic: Arc::default() };
        let completed = |facts: &ConnectionFacts| {
            let mut outcome = Outcome::new(OutcomeClass::Success, "");
            mine.complete(&mut outcome, Some(facts));
            outcome
        };
        let [own, other] = [facts(Arc::clone(&mine)), facts(Arc::new(Progress::start(1000)))];
        assert_eq!(mine.phase(Some(&other)), Phase::Requesting, "a connection in the background does not count");
        assert!(completed(&own).phases.connect_us.is_some());
        assert!(completed(&other).phases.connect_us.is_none());
        assert_eq!(completed(&other).remote.as_deref(), Some("192.0.2.1:443"));
    }

    #[test]
    fn what_came_back_is_kept_up_to_the_bound_even_when_the_rest_never_comes() {
        let progress = Arc::new(Progress::start(1000));
        progress.answered(200);
        for _ in 0..3 {
            progress.keep(&[b'x'; 500]);
        }
        assert_eq!(progress.phase(None), Phase::Reading);
        let mut outcome = Outcome::new(OutcomeClass::ResponseTimeout, "");
        progress.complete(&mut outcome, None);
        assert_eq!((outcome.status, outcome.excerpt.len()), (Some(200), limits::RESPONSE_EXCERPT_MAX));
        assert!(outcome.phases.first_byte_us.is_some());
    }
}
