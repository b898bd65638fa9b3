//! Requests that were not taken up, for all that can be told, and what is sent once more for them. No receiver here ever processes what it does not answer.

use super::receivers::{Identity, OK, answering_once, read_request, receiver, tls_receiver};
use super::*;
use h2::Reason;
use tokio::io::AsyncWriteExt;

/// A dispatcher for which every connection that is used again had rested. It keeps an idle one for less than [`limits::RESTED_PART`] milliseconds.
fn impatient() -> Dispatcher {
    keeping(RootCertStore::empty(), Keeping { idle_ms: 29, ..Keeping::default() })
}

/// The end of each connection crosses with its second request.
#[tokio::test]
async fn a_request_that_crosses_with_the_end_of_its_connection_is_sent_once_more_and_not_charged() {
    let (address, connections) = answering_once().await;
    let dispatcher = impatient();
    for round in 1..=5 {
        let outcome = dispatcher.attempt(job(&format!("http://{address}/"))).await;
        assert_eq!(outcome.class, OutcomeClass::Success, "{outcome:?}");
        assert!(outcome.phases.connect_us.is_some(), "over a connection of its own: {outcome:?}");
        assert_eq!(connections.load(Ordering::SeqCst), round);
    }
}

/// The receiver answers once, and from then on nobody.
#[tokio::test]
async fn what_is_sent_once_more_and_fails_again_is_charged() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let address = receiver(move |mut stream, number| {
        let counted = Arc::clone(&counted);
        async move {
            while !read_request(&mut stream).await.is_empty() {
                if counted.fetch_add(1, Ordering::SeqCst) > 0 {
                    return;
                }
                assert_eq!(number, 1);
                stream.write_all(OK).await.unwrap();
            }
        }
    })
    .await;
    let dispatcher = impatient();
    let url = format!("http://{address}/");
    assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::Success);
    assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::ConnectionClosed);
    assert_eq!(requests.load(Ordering::SeqCst), 3, "one that was answered, one that crossed, and one that did not");
}

/// Whoever hangs up on one request behind the other, without a rest between them, means it; and a sandbox is told to.
#[tokio::test]
async fn a_connection_that_did_not_rest_and_one_to_a_sandbox_are_not_made_up_for() {
    for (dispatcher, path) in [(dispatcher(), "/"), (impatient(), "/sandbox/abcdefghijklmnopqrstuvwxyz234567")] {
        let (address, _) = answering_once().await;
        let url = format!("http://{address}{path}");
        assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::Success);
        let outcome = dispatcher.attempt(job(&url)).await;
        assert_eq!(outcome.class, OutcomeClass::ConnectionClosed, "{outcome:?}");
    }
}

/// A half of an answer is an answer: the request was read.
#[tokio::test]
async fn an_answer_that_was_cut_short_is_never_asked_for_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let address = receiver(move |mut stream, _| {
        let counted = Arc::clone(&counted);
        async move {
            for answer in [OK, b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
                read_request(&mut stream).await;
                counted.fetch_add(1, Ordering::SeqCst);
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await;
    let dispatcher = impatient();
    let url = format!("http://{address}/");
    assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::Success);
    assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::ResponseCutShort);
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

/// What an HTTP/2 receiver does with a request that it does not answer.
#[derive(Clone, Copy, Debug)]
enum No {
    /// RST_STREAM, with a reason.
    Reset(Reason),
    /// GOAWAY that names no request, with a reason.
    GoAway(Reason),
}

/// A receiver that says no to its first requests, or connections, and answers the others; and how often it said it.
async fn saying(no: No, times: usize, identity: &Identity) -> (SocketAddr, Arc<AtomicUsize>) {
    let said = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&said);
    let address = tls_receiver(identity.acceptor(&["h2"]), move |stream, _| {
        let said = Arc::clone(&counted);
        async move {
            let says_no = || said.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |said| (said < times).then_some(said + 1)).is_ok();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            if let No::GoAway(reason) = no
                && says_no()
            {
                connection.abrupt_shutdown(reason);
            }
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                match no {
                    No::Reset(reason) if says_no() => respond.send_reset(reason),
                    _ => drop(respond.send_response(hyper::http::Response::new(()), true).unwrap()),
                }
            }
        }
    })
    .await;
    (address, said)
}

#[tokio::test]
async fn what_an_http2_receiver_says_that_it_did_not_take_up_is_sent_once_more_and_nothing_else() {
    let identity = Identity::of("localhost");
    let cases = [
        (No::Reset(Reason::REFUSED_STREAM), true),
        (No::GoAway(Reason::NO_ERROR), true),
        (No::Reset(Reason::INTERNAL_ERROR), false),
        (No::GoAway(Reason::ENHANCE_YOUR_CALM), false),
    ];
    for (no, is_sent_again) in cases {
        for times in 1..=3 {
            let (address, said) = saying(no, times, &identity).await;
            let outcome = trusting(identity.as_roots()).attempt(job(&format!("https://localhost:{}/", address.port()))).await;
            let sendings = if is_sent_again { 2 } else { 1 };
            let expected = if times < sendings { OutcomeClass::Success } else { OutcomeClass::ConnectionClosed };
            assert_eq!(outcome.class, expected, "{no:?} {times} times: {outcome:?}");
            assert_eq!(said.load(Ordering::SeqCst), times.min(sendings), "{no:?}");
        }
    }
}
