//! The dispatcher against receivers that misbehave on loopback. Time-outs are real and short; nothing here waits for a schedule.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::model::{Origin, Project, RetrySchedule, Secret, Selector, SuccessRule, WebhookId, WebhookNumber, WebhookSpec};

fn job(url: &str) -> Job {
    let spec = WebhookSpec {
        id: WebhookId::parse("crm").unwrap(),
        title: "CRM".into(),
        project: Project::parse("shop.example.com").unwrap(),
        url: url.parse().unwrap(),
        selectors: vec![Selector::parse("*").unwrap()],
        secret: None,
        headers: vec![("x-tenant".into(), "42".into())],
        paused: false,
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        timeout_ms: 2000,
        success: SuccessRule::default(),
        schedule: RetrySchedule::default(),
        max_in_flight: 10,
        rate: None,
        ordered: false,
        origin: Origin::File,
        place: None,
    };
    let webhook = Webhook { number: WebhookNumber(1), spec, secrets: vec![Secret::from_bytes(vec![7; 24]).unwrap()] };
    Job {
        webhook: Arc::new(webhook),
        event_id: EventId::parse("evt_1").unwrap(),
        body: Arc::from(br#"{"type":"email.status.bounced"}"#.as_slice()),
        attempt: 3,
        sent_at: UnixMillis(1_795_428_000_123),
    }
}

fn with_timeout_ms(url: &str, timeout_ms: u64) -> Job {
    let mut job = job(url);
    let mut webhook = (*job.webhook).clone();
    webhook.spec.timeout_ms = timeout_ms;
    job.webhook = Arc::new(webhook);
    job
}

fn dispatcher() -> Dispatcher {
    Dispatcher::with_roots(DispatchSettings::default(), RootCertStore::empty()).unwrap()
}

/// A receiver that reads one request and writes `answer` in pieces, a pause after each; then it closes.
async fn receiver(answer: Vec<&'static [u8]>, pause_ms: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                read_request(&mut stream).await;
                for piece in answer {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
            });
        }
    });
    address
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&bytes).contains("bounced\"}") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn outcome_of(answer: &'static [u8]) -> Outcome {
    let address = receiver(vec![answer], 0).await;
    dispatcher().attempt(job(&format!("http://{address}/hook"))).await
}

#[tokio::test]
async fn the_receiver_gets_exactly_what_the_contract_says() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks/mail?a=b", listener.local_addr().unwrap());
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await.unwrap();
        request
    });
    let outcome = dispatcher().attempt(job(&url)).await;
    assert_eq!((outcome.class, outcome.status, outcome.excerpt.as_slice()), (OutcomeClass::Success, Some(200), b"hello".as_slice()));
    assert!(outcome.phases.connect_us.is_some() && outcome.phases.first_byte_us.is_some() && outcome.phases.tls_us.is_none());
    assert!(outcome.remote.is_some());
    let request = receiver.await.unwrap();
    let signature =
        request::signature(&[Secret::from_bytes(vec![7; 24]).unwrap()], "evt_1", 1_795_428_000, br#"{"type":"email.status.bounced"}"#);
    for line in [
        "POST /hooks/mail?a=b HTTP/1.1\r\n",
        "content-type: application/json\r\n",
        concat!("user-agent: hookwheel/", env!("CARGO_PKG_VERSION"), "\r\n"),
        "webhook-id: evt_1\r\n",
        "webhook-timestamp: 1795428000\r\n",
        &format!("webhook-signature: {signature}\r\n"),
        "hookwheel-attempt: 3\r\n",
        "x-tenant: 42\r\n",
        "\r\n\r\n{\"type\":\"email.status.bounced\"}",
    ] {
        assert!(request.contains(line), "{line:?} is missing in {request}");
    }
}

#[tokio::test]
async fn every_answer_that_is_not_success_has_its_class() {
    let cases: [(&[u8], OutcomeClass, &str); 9] = [
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n", OutcomeClass::Status, "500"),
        (b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", OutcomeClass::Status, "201"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", OutcomeClass::Redirect, "not followed"),
        (b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", OutcomeClass::Gone, "410"),
        (b"", OutcomeClass::ConnectionClosed, "closed the connection before it answered"),
        (b"garbage garbage garbage\r\n\r\n", OutcomeClass::InvalidResponse, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", OutcomeClass::ConnectionClosed, "closed"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", OutcomeClass::ResponseCutShort, "in the middle"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", OutcomeClass::ResponseCutShort, "in the middle"),
    ];
    for (answer, class, words) in cases {
        let outcome = outcome_of(answer).await;
        assert_eq!(outcome.class, class, "{outcome:?}");
        assert!(outcome.sentence.contains(words), "{outcome:?}");
    }
    let throttled = outcome_of(b"HTTP/1.1 429 Slow down\r\nretry-after: 77\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!((throttled.class, throttled.retry_after_ms), (OutcomeClass::Status, Some(77_000)));
    let late = outcome_of(b"HTTP/1.1 503 Later\r\nretry-after: Mon, 23 Nov 2099 10:00:00 GMT\r\ncontent-length: 0\r\n\r\n").await;
    assert!(late.retry_after_ms.unwrap() > 1_000_000_000);
}

#[tokio::test]
async fn a_slow_or_endless_answer_ends_at_the_deadline_and_a_long_one_at_the_bound() {
    let slow = receiver(vec![b"H", b"T", b"T", b"P", b"/", b"1", b".", b"1", b" ", b"2"], 100).await;
    let outcome = dispatcher().attempt(with_timeout_ms(&format!("http://{slow}/"), 300)).await;
    assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::ResponseTimeout, "127.0.0.1 did not answer within 300 ms"));
    let slow_body =
        receiver([vec![b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n".as_slice()], vec![b"x".as_slice(); 50]].concat(), 100).await;
    let outcome = dispatcher().attempt(with_timeout_ms(&format!("http://{slow_body}/"), 300)).await;
    assert_eq!(
        (outcome.class, outcome.sentence.as_str()),
        (OutcomeClass::ResponseTimeout, "127.0.0.1 did not finish its answer within 300 ms")
    );
    let informational = receiver(vec![b"HTTP/1.1 103 Early Hints\r\n\r\n".as_slice(); 100], 20).await;
    let outcome = dispatcher().attempt(with_timeout_ms(&format!("http://{informational}/"), 300)).await;
    assert_eq!(outcome.class, OutcomeClass::ResponseTimeout);
    const LONG: [u8; 8192] = [b'x'; 8192];
    let endless = receiver([vec![b"HTTP/1.1 200 OK\r\n\r\n".as_slice()], vec![LONG.as_slice(); 100]].concat(), 0).await;
    let outcome = dispatcher().attempt(job(&format!("http://{endless}/"))).await;
    assert_eq!((outcome.class, outcome.excerpt.len()), (OutcomeClass::Success, limits::RESPONSE_EXCERPT_MAX));
    let header = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(200_000)).leak().as_bytes();
    let outcome = outcome_of(header).await;
    assert_eq!(
        (outcome.class, outcome.sentence.as_str()),
        (OutcomeClass::InvalidResponse, "the headers of the receiver's answer are too large")
    );
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_has_its_class() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = dispatcher().attempt(job(&format!("http://{closed}/"))).await;
    assert_eq!(outcome.class, OutcomeClass::ConnectRefused, "{outcome:?}");
    let outcome = dispatcher().attempt(job("http://nonexistent.invalid/")).await;
    assert_eq!(outcome.class, OutcomeClass::DnsNotFound, "{outcome:?}");
    assert!(outcome.sentence.contains("nonexistent.invalid"));
}

#[tokio::test]
async fn special_addresses_are_refused_however_they_are_written() {
    for host in ["10.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:10.0.0.1]", "169.254.169.254", "[fd00::1]"] {
        let mut job = job(&format!("http://{host}/"));
        let mut webhook = (*job.webhook).clone();
        webhook.spec.allow_networks = vec!["192.168.7.0/24".parse().unwrap()];
        job.webhook = Arc::new(webhook);
        let outcome = dispatcher().attempt(job).await;
        assert_eq!(outcome.class, OutcomeClass::AddressRefused, "{host}: {outcome:?}");
        assert!(outcome.sentence.contains("allow_networks"));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    let settings = DispatchSettings { require_https: false, own_listeners: vec![own] };
    let strict = Dispatcher::with_roots(settings, RootCertStore::empty()).unwrap();
    assert_eq!(strict.attempt(job(&format!("http://{own}/"))).await.class, OutcomeClass::OwnListener);
    strict.reconfigure(DispatchSettings { require_https: true, own_listeners: Vec::new() });
    assert_eq!(strict.attempt(job(&format!("http://{own}/"))).await.class, OutcomeClass::UrlRefused);
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_the_receiver_closed_is_replaced() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let (closed, mut was_closed) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            // Two requests a connection, and then it is closed without a word.
            for _ in 0..2 {
                read_request(&mut stream).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            }
            drop(stream);
            closed.send(()).await.unwrap();
        }
    });
    let dispatcher = dispatcher();
    for round in 0..6 {
        let outcome = dispatcher.attempt(job(&url)).await;
        assert_eq!(outcome.class, OutcomeClass::Success, "{round}: {outcome:?}");
        if round % 2 == 1 {
            was_closed.recv().await.unwrap();
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

/// A TLS receiver that answers 200 to every HTTP/1.1 or HTTP/2 request, with a certificate for `name`.
async fn tls_receiver(name: &str, expired: bool) -> (SocketAddr, RootCertStore) {
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let answer = hyper::service::service_fn(|request: hyper::Request<Incoming>| async move {
                    let version = format!("{:?}", request.version());
                    drop(request.into_body().collect().await);
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::new(Bytes::from(version))))
                });
                let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                drop(server.serve_connection(hyper_util::rt::TokioIo::new(stream), answer).await);
            });
        }
    });
    (address, roots)
}

#[tokio::test]
async fn tls_and_its_failures_each_in_words() {
    let attempt = |roots: RootCertStore, address: SocketAddr, host: &'static str| async move {
        let dispatcher = Dispatcher::with_roots(DispatchSettings::default(), roots).unwrap();
        dispatcher.attempt(job(&format!("https://{host}:{}/", address.port()))).await
    };
    let (good, roots) = tls_receiver("localhost", false).await;
    let outcome = attempt(roots.clone(), good, "localhost").await;
    assert_eq!((outcome.class, outcome.excerpt.as_slice()), (OutcomeClass::Success, b"HTTP/2.0".as_slice()), "{outcome:?}");
    assert!(outcome.phases.tls_us.is_some() && outcome.phases.dns_us.is_some());
    let untrusted = attempt(RootCertStore::empty(), good, "localhost").await;
    assert_eq!(untrusted.class, OutcomeClass::TlsUnknownIssuer, "{untrusted:?}");
    let wrong_host = attempt(roots, good, "127.0.0.1").await;
    assert_eq!(wrong_host.class, OutcomeClass::TlsWrongHost, "{wrong_host:?}");
    let (expired, roots) = tls_receiver("localhost", true).await;
    let outcome = attempt(roots, expired, "localhost").await;
    assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::TlsExpired, "the certificate of localhost has expired"));
    let plain = receiver(vec![b"HTTP/1.1 400 Bad Request\r\n\r\n"], 0).await;
    let outcome = dispatcher().attempt(with_timeout_ms(&format!("https://{plain}/"), 500)).await;
    assert!(matches!(outcome.class, OutcomeClass::TlsFailed | OutcomeClass::TlsTimeout), "{outcome:?}");
}
