//! What receivers answer, and what becomes of it.

use super::receivers::{Identity, OK, answering, read_request, receiver, tls_receiver};
use super::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

async fn outcome_of(answer: &'static [u8]) -> Outcome {
    let address = answering(vec![answer], 0).await;
    dispatcher().attempt(job(&format!("http://{address}/hook"))).await
}

fn in_ms(address: SocketAddr, timeout_ms: u64) -> Job {
    job_with(&format!("http://{address}/"), |spec| spec.timeout_ms = timeout_ms)
}

#[tokio::test]
async fn the_receiver_gets_exactly_what_the_contract_says() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
        request
    });
    let outcome = dispatcher().attempt(job(&format!("http://{address}/hooks/mail?a=b"))).await;
    assert_eq!((outcome.class, outcome.status, outcome.excerpt.as_slice()), (OutcomeClass::Success, Some(200), b"hello".as_slice()));
    let phases = outcome.phases;
    assert!(phases.connect_us.is_some() && phases.tls_us.is_none() && phases.dns_us.is_none(), "{phases:?}");
    assert!(phases.first_byte_us.unwrap() <= phases.total_us);
    assert_eq!(outcome.remote, Some(address.to_string()));

    let request = receiver.await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").collect::<Vec<_>>();
    assert_eq!(lines.remove(0), "POST /hooks/mail?a=b HTTP/1.1");
    lines.sort_unstable();
    let signature = request::signature(&[secret()], "evt_1", 1_795_428_000, BODY);
    let expected = [
        format!("content-length: {}", BODY.len()),
        "content-type: application/json".to_owned(),
        "hookwheel-attempt: 3".to_owned(),
        format!("host: {address}"),
        format!("user-agent: hookwheel/{}", env!("CARGO_PKG_VERSION")),
        "webhook-id: evt_1".to_owned(),
        format!("webhook-signature: {signature}"),
        "webhook-timestamp: 1795428000".to_owned(),
        "x-tenant: 42".to_owned(),
    ];
    assert_eq!(lines, expected, "these headers and no others");
    assert_eq!(body.as_bytes(), BODY);
}

#[tokio::test]
async fn every_answer_that_is_not_success_has_its_class() {
    use OutcomeClass::{ConnectionClosed, Gone, InvalidResponse, Redirect, ResponseCutShort, Status};
    let cases: [(&[u8], OutcomeClass, &str); 14] = [
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", Status, "500"),
        (b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", Status, "201"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Status, "204"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", Redirect, "304"),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", Gone, "410"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Status, "101"),
        (b"", ConnectionClosed, "closed the connection before it answered"),
        (b"garbage garbage garbage\r\n\r\n", InvalidResponse, "does not speak HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", InvalidResponse, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", InvalidResponse, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", ConnectionClosed, "closed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", ResponseCutShort, "in the middle"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", ResponseCutShort, "in the middle"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", ResponseCutShort, "in the middle"),
    ];
    for (answer, class, words) in cases {
        let outcome = outcome_of(answer).await;
        assert_eq!(outcome.class, class, "{outcome:?}");
        assert!(outcome.sentence.contains(words), "{outcome:?}");
    }
    let half = outcome_of(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
    assert_eq!((half.status, half.excerpt.as_slice()), (Some(200), b"half".as_slice()), "what came is kept");
}

#[tokio::test]
async fn a_response_is_whole_when_its_own_measure_says_so() {
    for answer in [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".as_slice(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-trailer: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello and what was never promised",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        let outcome = outcome_of(answer).await;
        assert_eq!((outcome.class, outcome.excerpt.as_slice()), (OutcomeClass::Success, b"hello".as_slice()), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let (target, connections) = super::receivers::obedient().await;
    let answer = format!("HTTP/1.1 302 Found\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n").leak();
    let outcome = outcome_of(answer.as_bytes()).await;
    assert_eq!((outcome.class, outcome.status), (OutcomeClass::Redirect, Some(302)));
    assert!(outcome.sentence.contains(&format!("http://{target}/")) && outcome.sentence.contains("not followed"), "{outcome:?}");
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn retry_after_is_handed_on_as_sent() {
    let throttled = outcome_of(b"HTTP/1.1 429 Slow down\r\nretry-after: 77\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((throttled.class, throttled.retry_after_ms), (OutcomeClass::Status, Some(77_000)));
    let late = outcome_of(b"HTTP/1.1 503 Later\r\nretry-after: Mon, 23 Nov 2099 10:00:00 GMT\r\ncontent-length: 0\r\n\r\n").await;
    assert!(late.retry_after_ms.unwrap() > 1_000_000_000);
}

#[tokio::test]
async fn a_slow_answer_ends_at_the_deadline() {
    let hanging = receiver(|mut stream, _| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    });
    let outcome = dispatcher().attempt(in_ms(hanging.await, 200)).await;
    assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::ResponseTimeout, "127.0.0.1 did not answer within 200 ms"));
    assert!((200_000..15_000_000).contains(&outcome.phases.total_us), "{outcome:?}");

    let byte_by_byte = answering(vec![b"H", b"T", b"T", b"P", b"/", b"1", b".", b"1", b" ", b"2"], 100).await;
    let outcome = dispatcher().attempt(in_ms(byte_by_byte, 300)).await;
    assert_eq!((outcome.class, outcome.status), (OutcomeClass::ResponseTimeout, None));

    let slow_body = [vec![b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n".as_slice()], vec![b"x".as_slice(); 50]].concat();
    let outcome = dispatcher().attempt(in_ms(answering(slow_body, 100).await, 300)).await;
    let sentence = "127.0.0.1 did not finish its answer within 300 ms";
    assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::ResponseTimeout, sentence));
    assert_eq!(outcome.status, Some(200), "the status that arrived is kept, but it is no success");
    assert!(outcome.excerpt.starts_with(b"x") && outcome.phases.first_byte_us.is_some(), "{outcome:?}");
}

#[tokio::test]
async fn endless_informational_answers_end_at_the_deadline_slow_or_fast() {
    let slow = answering(vec![b"HTTP/1.1 103 Early Hints\r\n\r\n".as_slice(); 100], 20).await;
    let fast = receiver(|mut stream, _| async move {
        read_request(&mut stream).await;
        let many = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
        while stream.write_all(&many).await.is_ok() {}
    });
    for address in [slow, fast.await] {
        let outcome = dispatcher().attempt(in_ms(address, 300)).await;
        assert_eq!(outcome.class, OutcomeClass::ResponseTimeout);
        assert!(outcome.phases.total_us < 15_000_000, "it ends, however busy the machine is: {outcome:?}");
    }
}

#[tokio::test]
async fn a_long_body_is_read_to_the_bound_and_then_the_connection_is_dropped() {
    let (dropped, mut was_dropped) = tokio::sync::mpsc::channel(1);
    let endless = receiver(move |mut stream, _| {
        let dropped = dropped.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
            dropped.send(()).await.unwrap();
        }
    });
    let outcome = dispatcher().attempt(job(&format!("http://{}/", endless.await))).await;
    assert_eq!((outcome.class, outcome.excerpt.len()), (OutcomeClass::Success, limits::RESPONSE_EXCERPT_MAX));
    was_dropped.recv().await.unwrap();
}

/// Answers each request over HTTP/2 with this status and length, and with a half that ends the stream or has it reset without an error. It takes no body of a request: what is reset is still open.
async fn abandoning(identity: &Identity, status: u16, length: Option<u64>, body: &'static [u8], ends: bool) -> SocketAddr {
    tls_receiver(identity.acceptor(&["h2"]), move |stream, _| async move {
        let mut connection = h2::server::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let answer = hyper::http::Response::builder().status(status);
            let answer = length.into_iter().fold(answer, |answer, length| answer.header(CONTENT_LENGTH, length)).body(()).unwrap();
            let mut stream = respond.send_response(answer, ends && body.is_empty()).unwrap();
            if !body.is_empty() {
                stream.send_data(Bytes::from_static(body), ends).unwrap();
            }
            tokio::spawn(async move {
                // What is still to be sent would go with the stream.
                tokio::time::sleep(Duration::from_millis(50)).await;
                stream.send_reset(h2::Reason::NO_ERROR);
            });
        }
    })
    .await
}

/// A receiver that wants no more of a request may reset it without an error once it has answered (RFC 9113, section 8.1); the answer itself is whole or it is not.
#[tokio::test]
async fn an_http2_answer_is_whole_when_its_end_or_its_length_says_so() {
    use OutcomeClass::{Redirect, ResponseCutShort, Status, Success};
    let identity = Identity::of("localhost");
    let cases = [
        (200, Some(100), b"half".as_slice(), false, ResponseCutShort),
        (200, None, b"half", false, ResponseCutShort),
        (200, Some(4), b"half", false, Success),
        (200, None, b"half", true, Success),
        // The length of what is not sent (RFC 9110, section 8.6).
        (304, Some(100), b"", true, Redirect),
        (204, Some(100), b"", true, Status),
    ];
    for (status, length, body, ends, expected) in cases {
        let address = abandoning(&identity, status, length, body, ends).await;
        let outcome = trusting(identity.as_roots()).attempt(job(&format!("https://localhost:{}/", address.port()))).await;
        assert_eq!((outcome.class, outcome.status), (expected, Some(status)), "{length:?} {ends}: {outcome:?}");
    }
}

/// All of them are under way until the last pieces come: none has been answered when most of the bytes have been read.
#[tokio::test]
async fn many_long_answers_side_by_side_on_one_connection_are_no_flood() {
    const ANSWERS: usize = 100;
    let identity = Identity::of("localhost");
    let address = tls_receiver(identity.acceptor(&["h2"]), |stream, _| async move {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let mut waiting = Vec::new();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            // The first finds out that there is a connection to be shared.
            let is_first = waiting.is_empty();
            waiting.push(respond.send_response(hyper::http::Response::new(()), is_first).unwrap());
            if waiting.len() > ANSWERS {
                for number in 1..=60 {
                    for body in &mut waiting[1..] {
                        body.send_data(Bytes::from_static(&[b'x'; 1024]), number == 60).unwrap();
                    }
                }
            }
        }
    })
    .await;
    let url = format!("https://localhost:{}/", address.port());
    let dispatcher = trusting(identity.as_roots());
    assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::Success);
    let attempts = (0..ANSWERS).map(|_| {
        let (dispatcher, job) = (dispatcher.clone(), job_with(&url, |spec| spec.timeout_ms = 10_000));
        tokio::spawn(async move { dispatcher.attempt(job).await })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        let outcome = attempt.await.unwrap();
        assert_eq!(outcome.class, OutcomeClass::Success, "{outcome:?}");
        assert!(outcome.phases.connect_us.is_none(), "over a connection of its own: {outcome:?}");
    }
}

#[tokio::test]
async fn headers_have_limits() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000)).leak();
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(5000)).leak();
    for answer in [long, many] {
        let outcome = outcome_of(answer.as_bytes()).await;
        let sentence = "the headers of the receiver's answer are too large";
        assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::InvalidResponse, sentence));
    }
}

#[tokio::test]
async fn a_url_that_is_not_to_be_requested_is_refused_without_showing_its_password() {
    for url in ["ftp://127.0.0.1/", "http://user:hunter2@127.0.0.1/"] {
        let outcome = dispatcher().attempt(job(url)).await;
        assert_eq!(outcome.class, OutcomeClass::UrlRefused, "{outcome:?}");
        assert!(!outcome.sentence.contains("hunter2"));
    }
    let plain = answering(vec![OK], 0).await;
    let strict = DispatchSettings { require_https: true, ..DispatchSettings::default() };
    let strict = Dispatcher::with_roots(strict, RootCertStore::empty()).unwrap();
    assert_eq!(strict.attempt(job(&format!("http://{plain}/"))).await.class, OutcomeClass::UrlRefused);
}
