//! TLS: what is trusted, what is not, and in which words.

use std::future::pending;

use super::receivers::{Identity, OK, answering, read_request, receiver, serve, tls_receiver};
use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BOTH: &[&str] = &["h2", "http/1.1"];

fn to(host: &str, address: SocketAddr) -> Job {
    job(&format!("https://{host}:{}/", address.port()))
}

/// Roots that know nobody in these tests.
fn strangers() -> RootCertStore {
    let stranger = Identity::with("stranger.example", |parameters| {
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "a stranger");
    });
    stranger.as_roots()
}

#[tokio::test]
async fn http_2_is_spoken_where_the_receiver_can_and_its_connection_is_shared() {
    let identity = Identity::of("localhost");
    let address = tls_receiver(identity.acceptor(BOTH), serve).await;
    let dispatcher = trusting(identity.as_roots());
    let first = dispatcher.attempt(to("localhost", address)).await;
    assert_eq!((first.class, first.excerpt.as_slice()), (OutcomeClass::Success, b"HTTP/2.0 on connection 1".as_slice()), "{first:?}");
    assert!(first.phases.tls_us.is_some() && first.phases.dns_us.is_some());
    let again = dispatcher.attempt(to("localhost", address)).await;
    assert_eq!(again.excerpt, b"HTTP/2.0 on connection 1", "{again:?}");
    assert_eq!((again.phases.tls_us, again.remote), (None, Some(address.to_string())));

    let old = tls_receiver(identity.acceptor(&[]), serve).await;
    let outcome = dispatcher.attempt(to("localhost", old)).await;
    assert_eq!((outcome.class, outcome.excerpt.as_slice()), (OutcomeClass::Success, b"HTTP/1.1 on connection 1".as_slice()));
}

#[tokio::test]
async fn every_certificate_that_is_not_trusted_has_its_class() {
    let good = Identity::of("localhost");
    let expired = Identity::with("localhost", |parameters| {
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let early = Identity::with("localhost", |parameters| parameters.not_before = rcgen::date_time_ymd(4000, 1, 1));
    let authority = Identity::with("localhost", |parameters| {
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    use OutcomeClass::{TlsExpired, TlsFailed, TlsNotYetValid, TlsUnknownIssuer, TlsWrongHost};
    let cases = [
        (&good, strangers(), "localhost", TlsUnknownIssuer, "name the issuer's certificate in ca_file"),
        (&good, RootCertStore::empty(), "localhost", TlsUnknownIssuer, "install the package ca-certificates"),
        (
            &good,
            good.as_roots(),
            "127.0.0.1",
            TlsWrongHost,
            "the certificate is not for 127.0.0.1 but for DnsName(\"localhost\"): correct the url",
        ),
        (
            &expired,
            expired.as_roots(),
            "localhost",
            TlsExpired,
            "the certificate of localhost has expired on 2002-01-01: its owner has to renew it",
        ),
        (
            &early,
            early.as_roots(),
            "localhost",
            TlsNotYetValid,
            "the certificate of localhost is not valid yet before 4000-01-01: its owner",
        ),
        (&authority, strangers(), "localhost", TlsFailed, "is that of a certificate authority"),
    ];
    for (identity, roots, host, class, words) in cases {
        let address = tls_receiver(identity.acceptor(BOTH), serve).await;
        let outcome = trusting(roots).attempt(to(host, address)).await;
        assert_eq!(outcome.class, class, "{outcome:?}");
        assert!(outcome.sentence.contains(words), "{outcome:?}");
        assert_eq!(outcome.remote, None, "nothing was sent");
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_speak_tls_is_told_apart_from_one_that_stalls() {
    let plain = receiver(|mut stream, _| async move {
        drop(stream.read(&mut [0; 100]).await);
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        pending::<()>().await;
    });
    let outcome = dispatcher().attempt(to("127.0.0.1", plain.await)).await;
    assert_eq!(outcome.class, OutcomeClass::NotTls, "{outcome:?}");
    assert!(outcome.sentence.starts_with("what answers at 127.0.0.1 does not speak TLS on this port"), "{outcome:?}");

    let hanging_up = receiver(|mut stream, _| async move { drop(stream.read(&mut [0; 1]).await) });
    let outcome = dispatcher().attempt(to("127.0.0.1", hanging_up.await)).await;
    assert_eq!(outcome.class, OutcomeClass::TlsFailed, "{outcome:?}");
    assert!(outcome.sentence.contains("ended the connection during the TLS handshake"), "{outcome:?}");

    let stalling = answering(vec![], 0).await;
    let url = format!("https://{stalling}/");
    let outcome = dispatcher().attempt(job_with(&url, |spec| spec.timeout_ms = 200)).await;
    let sentence = "the TLS handshake with 127.0.0.1 did not end within 200 ms";
    assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::TlsTimeout, sentence));
    assert!(outcome.phases.connect_us.is_some());
}

#[tokio::test]
async fn a_missing_farewell_matters_only_when_the_response_is_not_whole() {
    let identity = Identity::of("localhost");
    let cases: [(&[u8], OutcomeClass); 3] = [
        (b"HTTP/1.0 200 OK\r\n\r\nhello", OutcomeClass::Success),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", OutcomeClass::Success),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", OutcomeClass::ResponseCutShort),
    ];
    for (answer, class) in cases {
        let address = tls_receiver(identity.acceptor(&[]), move |mut stream, _| async move {
            read_request(&mut stream).await;
            stream.write_all(answer).await.unwrap();
            stream.flush().await.unwrap();
            // Down to the socket and closed there, so that TLS never says goodbye.
            let (socket, _) = stream.into_inner();
            drop(socket);
        })
        .await;
        let outcome = trusting(identity.as_roots()).attempt(to("localhost", address)).await;
        assert_eq!((outcome.class, outcome.excerpt.as_slice()), (class, b"hello".as_slice()), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_connection_begun_in_the_background_has_an_end_and_does_not_count() {
    let identity = Identity::of("localhost");
    let acceptor = identity.acceptor(&[]);
    let (arrived, mut has_arrived) = tokio::sync::mpsc::channel(2);
    // The first connection answers when the second has come; the second never shakes hands.
    let (second_is_here, first_may_answer) = tokio::sync::watch::channel(false);
    let address = receiver(move |stream, number| {
        let (acceptor, arrived) = (acceptor.clone(), arrived.clone());
        let (second_is_here, mut first_may_answer) = (second_is_here.clone(), first_may_answer.clone());
        async move {
            if number > 1 {
                second_is_here.send(true).unwrap();
                pending::<()>().await;
            }
            let mut stream = acceptor.accept(stream).await.unwrap();
            read_request(&mut stream).await;
            arrived.send(()).await.unwrap();
            first_may_answer.wait_for(|here| *here).await.unwrap();
            for _ in 0..2 {
                stream.write_all(OK).await.unwrap();
                stream.flush().await.unwrap();
                read_request(&mut stream).await;
            }
        }
    })
    .await;
    let dispatcher = trusting(identity.as_roots());
    let short = |dispatcher: Dispatcher| async move {
        dispatcher.attempt(job_with(&format!("https://localhost:{}/", address.port()), |spec| spec.timeout_ms = 700)).await
    };
    let first = tokio::spawn(short(dispatcher.clone()));
    has_arrived.recv().await.unwrap();
    let second = short(dispatcher.clone()).await;
    assert_eq!((first.await.unwrap().class, second.class), (OutcomeClass::Success, OutcomeClass::Success), "{second:?}");
    assert_eq!(second.phases.tls_us, None, "it was answered on the connection of the first");
    assert_eq!(dispatcher.shared.open.load(Ordering::Relaxed), 2);
    let given_up = async {
        while dispatcher.shared.open.load(Ordering::Relaxed) > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), given_up).await.expect("the second connection is given up");
}
