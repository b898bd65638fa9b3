//! What an answer over HTTP/2 is worth whose stream or connection ends with it, behind it or in its middle. No receiver here is asked twice within an attempt.

use super::framed::{Answer, When, framed, go_away, ok, reset};
use super::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, frame};
use super::receivers::{Identity, tls_receiver};
use super::*;
use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// `content-length: 4`, whose name alone is in the static table of HPACK.
const LENGTH_4: &[u8] = b"\x0f\x0d\x014";
/// `x: y`, which is in no table and goes into none.
const TRAILER: &[u8] = b"\x00\x01x\x01y";

fn url(address: SocketAddr) -> String {
    format!("https://localhost:{}/", address.port())
}

/// What a receiver says of its answer before it resets the stream.
#[derive(Clone, Copy, Debug)]
enum Said {
    /// All of it, the end included, …
    HeadersThatEnd,
    DataThatEnds,
    TrailersThatEnd,
    /// … or the length, and as much, but no end, …
    DataOfItsLength,
    /// … or neither an end nor a length.
    Headers,
    Data,
}

impl Said {
    fn frames(self, stream: u32) -> Vec<u8> {
        let data = |flags| frame(DATA, flags, stream, b"half");
        match self {
            Self::HeadersThatEnd => ok(stream, END_STREAM, &[]),
            Self::DataThatEnds => [ok(stream, 0, &[]), data(END_STREAM)].concat(),
            Self::TrailersThatEnd => [ok(stream, 0, &[]), data(0), frame(HEADERS, END_HEADERS | END_STREAM, stream, TRAILER)].concat(),
            Self::DataOfItsLength => [ok(stream, 0, LENGTH_4), data(0)].concat(),
            Self::Headers => ok(stream, 0, &[]),
            Self::Data => [ok(stream, 0, &[]), data(0)].concat(),
        }
    }

    fn has_end(self) -> bool {
        matches!(self, Self::HeadersThatEnd | Self::DataThatEnds | Self::TrailersThatEnd)
    }

    fn excerpt(self) -> &'static [u8] {
        if matches!(self, Self::HeadersThatEnd | Self::Headers) { b"" } else { b"half" }
    }
}

/// An answer and the reset of its stream in one write, and so in one read. Whoever has said where the answer ends has answered, whatever follows: to try again would deliver twice. It rests
/// on h2, which keeps what came before a reset, the end included (`recv_reset_preserves_received_end_stream` among its own tests).
#[tokio::test]
async fn an_http2_answer_that_has_its_end_is_whole_whatever_reset_comes_right_behind_it() {
    use Said::{Data, DataOfItsLength, DataThatEnds, Headers, HeadersThatEnd, TrailersThatEnd};
    let identity = Identity::of("localhost");
    for when in [When::Whole, When::Begun] {
        for said in [HeadersThatEnd, DataThatEnds, TrailersThatEnd, DataOfItsLength, Headers, Data] {
            for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
                let answer = move |stream| Answer::More([said.frames(stream), reset(stream, reason)].concat());
                let (address, requests) = framed(&identity, when, answer).await;
                // A length alone counts for whoever wants no more of the request, and not for whoever gives up.
                let is_whole = said.has_end() || matches!(said, DataOfItsLength) && reason == Reason::NO_ERROR;
                let expected = if is_whole { OutcomeClass::Success } else { OutcomeClass::ResponseCutShort };
                let dispatcher = trusting(identity.as_roots());
                // By the second time the client has heard what window there is.
                for number in 1..=2 {
                    let outcome = dispatcher.attempt(job(&url(address))).await;
                    assert_eq!((outcome.class, outcome.status), (expected, Some(200)), "{when:?} {said:?} {reason:?}: {outcome:?}");
                    assert_eq!(outcome.excerpt, said.excerpt(), "{when:?} {said:?} {reason:?}");
                    assert_eq!(requests.load(Ordering::SeqCst), number, "{when:?} {said:?} {reason:?}");
                }
            }
        }
    }
}

/// Whether the receiver names our stream as the last that it took up, or none; whether it has begun to answer. That it took nothing up, without an error, is the one case that is sent once more.
#[tokio::test]
async fn a_connection_that_http2_ends_is_charged_and_its_request_is_not_sent_again() {
    let identity = Identity::of("localhost");
    for reason in [Reason::ENHANCE_YOUR_CALM, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        for (last_stream, has_begun) in [(0, true), (0, false), (1, true), (1, false)] {
            if (reason, last_stream, has_begun) == (Reason::NO_ERROR, 0, false) {
                continue;
            }
            let answer = move |stream| {
                let begun = if has_begun { Said::Data.frames(stream) } else { Vec::new() };
                let frames = [begun, go_away(last_stream, reason)].concat();
                // A stream that was taken up goes on until the connection ends.
                if last_stream < stream { Answer::More(frames) } else { Answer::Last(frames) }
            };
            let (address, requests) = framed(&identity, When::Whole, answer).await;
            let outcome = trusting(identity.as_roots()).attempt(job(&url(address))).await;
            let (class, status, excerpt) = if has_begun {
                (OutcomeClass::ResponseCutShort, Some(200), b"half".as_slice())
            } else {
                (OutcomeClass::ConnectionClosed, None, b"".as_slice())
            };
            assert_eq!((outcome.class, outcome.status), (class, status), "{reason:?} {last_stream}: {outcome:?}");
            assert_eq!(outcome.excerpt, excerpt, "{reason:?} {last_stream}");
            assert_eq!(requests.load(Ordering::SeqCst), 1, "{reason:?} {last_stream}: {outcome:?}");
        }
    }
}

/// A receiver that takes one request at a time answers the first on a connection, leaves the second unanswered, and closes the connection when it is told to. On others it answers all.
#[tokio::test]
async fn what_waits_for_its_turn_on_a_connection_that_ends_is_sent_on_another() {
    let identity = Identity::of("localhost");
    let (taken, mut is_taken) = tokio::sync::mpsc::channel(1);
    let close = Arc::new(tokio::sync::Notify::new());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let (closing, seen) = (Arc::clone(&close), Arc::clone(&requests));
    let address = tls_receiver(identity.acceptor(&["h2"]), move |stream, number| {
        let (taken, closing, seen) = (taken.clone(), Arc::clone(&closing), Arc::clone(&seen));
        async move {
            let mut connection = h2::server::Builder::new().max_concurrent_streams(1).handshake::<_, Bytes>(stream).await.unwrap();
            let mut unanswered = None;
            loop {
                tokio::select! {
                    request = connection.accept() => {
                        let Some(Ok((_, mut respond))) = request else { return };
                        seen.lock().unwrap().push(number);
                        if number == 1 && respond.stream_id().as_u32() == 3 {
                            unanswered = Some(respond);
                            taken.send(()).await.unwrap();
                        } else {
                            drop(respond.send_response(hyper::http::Response::new(()), true).unwrap());
                        }
                    }
                    () = closing.notified(), if unanswered.is_some() => return,
                }
            }
        }
    })
    .await;
    let dispatcher = trusting(identity.as_roots());
    let attempt = || {
        let (dispatcher, job) = (dispatcher.clone(), job(&url(address)));
        tokio::spawn(async move { dispatcher.attempt(job).await })
    };
    assert_eq!(attempt().await.unwrap().class, OutcomeClass::Success);
    let unanswered = attempt();
    tokio::time::timeout(Duration::from_secs(60), is_taken.recv()).await.unwrap().unwrap();
    let waiting = attempt();
    // It waits on the connection by then, or finds that it is gone, which it may.
    tokio::time::sleep(Duration::from_millis(100)).await;
    close.notify_one();
    assert_eq!(unanswered.await.unwrap().class, OutcomeClass::ConnectionClosed);
    let outcome = waiting.await.unwrap();
    assert_eq!(outcome.class, OutcomeClass::Success, "{outcome:?}");
    assert_eq!(*requests.lock().unwrap(), [1, 1, 2], "it came once, over the other");
}

/// The fault may be found before the request has its turn on the connection, or after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_over_http2_is_an_invalid_response_whoever_is_faster() {
    let identity = Identity::of("localhost");
    let address = tls_receiver(identity.acceptor(&["h2"]), |mut stream, _| async move {
        stream.write_all(&[0xa7; 4096]).await.unwrap();
        stream.flush().await.unwrap();
        while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {}
    })
    .await;
    let dispatcher = trusting(identity.as_roots());
    for _ in 0..200 {
        let outcome = dispatcher.attempt(job(&url(address))).await;
        assert_eq!(outcome.class, OutcomeClass::InvalidResponse, "{outcome:?}");
    }
}

/// It takes the request, perhaps begins to answer, and from then on the connection might as well be cut.
#[tokio::test]
async fn a_receiver_that_answers_no_ping_is_given_up_long_before_the_deadline() {
    let identity = Identity::of("localhost");
    for (has_begun, status, when) in [(false, None, "before it answered"), (true, Some(200), "in the middle of its answer")] {
        let answer = move |stream| Answer::More(if has_begun { Said::Data.frames(stream) } else { Vec::new() });
        let (address, requests) = framed(&identity, When::Whole, answer).await;
        let dispatcher = keeping(identity.as_roots(), Keeping { ping_ms: 1000, ..Keeping::default() });
        let outcome = dispatcher.attempt(job_with(&url(address), |spec| spec.timeout_ms = 60_000)).await;
        assert_eq!((outcome.class, outcome.status), (OutcomeClass::ResponseTimeout, status), "{outcome:?}");
        assert_eq!(outcome.sentence, format!("the receiver fell silent {when}: no reply to an HTTP/2 PING within 5 s"));
        assert!(outcome.phases.total_us < 50_000_000, "{outcome:?}");
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{outcome:?}");
    }
}
