//! Connections that end while nobody uses them, at the very moment at which somebody may, and connections that are not to be used again. No receiver here waits for the real limit.

use super::framed::{Answer, NO_LAST_STREAM, When, framed, go_away, ok};
use super::frames::END_STREAM;
use super::receivers::{Identity, OK, read_request, tls_receiver};
use super::*;
use h2::Reason;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

/// How long an idle connection is kept here, by both sides.
const IDLE_MS: u64 = 10;
const CLIENTS: u32 = 100;
const ROUNDS: u64 = 100;
/// Over HTTP/2 there are fewer, and they ask less often: each connection takes a TLS handshake.
const HTTP2_CLIENTS: u64 = 40;
const HTTP2_ROUNDS: u64 = 50;

/// What a receiver saw of its connections.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    closed: AtomicUsize,
    /// Requests that crossed with the end of their connection, and were read all the same.
    crossed: AtomicUsize,
}

impl Seen {
    fn counts(&self) -> [usize; 3] {
        [&self.answered, &self.closed, &self.crossed].map(|count| count.load(Ordering::SeqCst))
    }
}

/// A millisecond less, the same, a millisecond more, by the round.
fn about(idle_ms: u64, round: u64) -> Duration {
    Duration::from_millis(idle_ms - 1 + round % 3)
}

/// Answers until no request has come for about [`IDLE_MS`]. Then it ends its half of the connection, and counts what comes all the same, without an answer.
async fn impatient(mut stream: TcpStream, seen: Arc<Seen>, number: u64) {
    for round in number.. {
        let waited = tokio::time::timeout(about(IDLE_MS, round), stream.readable()).await;
        if waited.is_err() && !has_bytes(&stream) {
            stream.shutdown().await.unwrap();
            seen.closed.fetch_add(1, Ordering::SeqCst);
            if !read_request(&mut stream).await.is_empty() {
                seen.crossed.fetch_add(1, Ordering::SeqCst);
            }
            return;
        }
        if read_request(&mut stream).await.is_empty() || stream.write_all(OK).await.is_err() {
            return;
        }
        seen.answered.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether the kernel has bytes of a request, or the end.
fn has_bytes(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::<u8>::uninit()];
    rustix::net::recv(stream, &mut byte, rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT).is_ok()
}

/// Asks each URL again and again, after about as long as a connection is kept, and gives back what was charged.
async fn charged(roots: RootCertStore, urls: Vec<String>, rounds: u64) -> Vec<Outcome> {
    let dispatcher = keeping(roots, Keeping { idle_ms: IDLE_MS, ..Keeping::default() });
    let clients = urls.into_iter().zip(0..).map(|(url, client)| {
        let dispatcher = dispatcher.clone();
        tokio::spawn(async move {
            let mut charged = Vec::new();
            for round in 0..rounds {
                let outcome = dispatcher.attempt(job_with(&url, |spec| spec.timeout_ms = 60_000)).await;
                if outcome.class != OutcomeClass::Success {
                    charged.push(outcome);
                }
                tokio::time::sleep(about(IDLE_MS, round + client)).await;
            }
            charged
        })
    });
    let mut charged = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        charged.extend(client.await.unwrap());
    }
    charged
}

/// Both sides give a connection up at the same time, and a request may come at that time, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_at_the_idle_limit_charges_nothing() {
    let seen = Arc::new(Seen::default());
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let sees = Arc::clone(&seen);
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(impatient(stream, Arc::clone(&sees), number));
        }
    });
    // A host of its own for each, and so a connection: all of 127.0.0.0/8 is this machine.
    let urls = (1..=CLIENTS).map(|host| format!("http://127.0.0.{host}:{port}/")).collect();
    let charged = charged(RootCertStore::empty(), urls, ROUNDS).await;
    let [answered, closed, crossed] = seen.counts();
    assert!(closed > 100, "it closes at the limit");
    assert!(charged.is_empty(), "{} charged, {crossed} crossed: {:?}", charged.len(), charged.first());
    // Some µs lie between a look at the connection and the request: what is written much later than the end came would cross far more often.
    assert!(crossed <= answered / 100, "{crossed} crossed");
}

/// How an HTTP/2 receiver ends a connection that rests.
#[derive(Clone, Copy, Debug)]
enum End {
    /// GOAWAY that lets come what is on its way, and another one behind that.
    InTwoSteps,
    /// GOAWAY that names the last request that was taken up.
    AtOnce,
    /// Without a word.
    Silent,
}

/// Answers until no request has come for about [`IDLE_MS`] since the last one, and ends the connection then. One that was not used yet does not rest.
async fn impatient_over_http2(stream: TlsStream<TcpStream>, end: End, seen: Arc<Seen>, number: u64) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut patience = Duration::from_secs(60);
    for round in number.. {
        match tokio::time::timeout(patience, connection.accept()).await {
            Ok(Some(Ok((_, mut respond)))) => drop(respond.send_response(Response::new(()), true).unwrap()),
            Ok(_) => return,
            Err(_) => break,
        }
        seen.answered.fetch_add(1, Ordering::SeqCst);
        patience = about(IDLE_MS, round);
    }
    seen.closed.fetch_add(1, Ordering::SeqCst);
    match end {
        End::InTwoSteps => connection.graceful_shutdown(),
        End::AtOnce => connection.abrupt_shutdown(Reason::NO_ERROR),
        End::Silent => return,
    }
    while let Some(Ok((_, mut respond))) = connection.accept().await {
        drop(respond.send_response(Response::new(()), true).unwrap());
        seen.answered.fetch_add(1, Ordering::SeqCst);
        seen.crossed.fetch_add(1, Ordering::SeqCst);
    }
}

/// What crosses is answered, refused or lost, as the receiver has it; whatever was answered is not sent again. How many cross is chance, and a receiver does not see those that it does not read:
/// there may be none on some machine, so the next test has one cross in each way.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_at_the_idle_limit_over_http2_charges_nothing() {
    let identity = Identity::of("127.0.0.1");
    for end in [End::InTwoSteps, End::AtOnce, End::Silent] {
        let seen = Arc::new(Seen::default());
        let mut urls = Vec::new();
        // A port of its own for each, and so a connection.
        for client in 0..HTTP2_CLIENTS {
            let sees = Arc::clone(&seen);
            let address = tls_receiver(identity.acceptor(&["h2"]), move |stream, number| {
                impatient_over_http2(stream, end, Arc::clone(&sees), client + number as u64)
            })
            .await;
            urls.push(format!("https://{address}/"));
        }
        let charged = charged(identity.as_roots(), urls, HTTP2_ROUNDS).await;
        let [answered, closed, crossed] = seen.counts();
        assert!(closed > 20, "{end:?}: it closes at the limit");
        assert!(charged.is_empty(), "{end:?}: {} charged, {crossed} crossed: {:?}", charged.len(), charged.first());
        assert_eq!(answered as u64, HTTP2_CLIENTS * HTTP2_ROUNDS, "{end:?}: each is answered once, {crossed} after the end was announced");
    }
}

/// The receiver ends the connection when it sees its second request, so that this one crosses with the end for certain.
#[tokio::test]
async fn what_crosses_with_the_end_over_http2_is_answered_or_sent_once_more() {
    let identity = Identity::of("localhost");
    for (end, is_sent_again) in [(End::InTwoSteps, false), (End::AtOnce, true), (End::Silent, true)] {
        let crossed = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&crossed);
        let answer = move |stream| {
            let answer = ok(stream, END_STREAM, &[]);
            if stream == 1 {
                return Answer::More(answer);
            }
            counted.fetch_add(1, Ordering::SeqCst);
            match end {
                End::InTwoSteps => Answer::More([go_away(NO_LAST_STREAM, Reason::NO_ERROR), answer].concat()),
                End::AtOnce => Answer::More(go_away(1, Reason::NO_ERROR)),
                End::Silent => Answer::Last(Vec::new()),
            }
        };
        let (address, requests) = framed(&identity, When::Whole, answer).await;
        // Every connection that is used again had rested. Each is kept for so short a time that the second request may have one of its own, and then the next is the second.
        let dispatcher = keeping(identity.as_roots(), Keeping { idle_ms: limits::RESTED_PART - 1, ..Keeping::default() });
        let mut attempts = 0;
        while crossed.load(Ordering::SeqCst) == 0 {
            attempts += 1;
            assert!(attempts <= 1000, "{end:?}: no connection is used again");
            let outcome = dispatcher.attempt(job(&format!("https://localhost:{}/", address.port()))).await;
            assert_eq!(outcome.class, OutcomeClass::Success, "{end:?}: {outcome:?}");
        }
        assert_eq!(requests.load(Ordering::SeqCst), attempts + usize::from(is_sent_again), "{end:?}");
    }
}

/// Over HTTP/2 an attempt that ends leaves its connection to the others. One that never answered is not among those that are asked again.
#[tokio::test]
async fn a_connection_on_which_time_ran_out_is_not_used_again() {
    let identity = Identity::of("localhost");
    let address = tls_receiver(identity.acceptor(&["h2"]), |stream, number| async move {
        let answer = hyper::service::service_fn(move |_: Request<hyper::body::Incoming>| async move {
            if number == 1 {
                std::future::pending::<()>().await;
            }
            Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from(format!("connection {number}")))))
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(hyper_util::rt::TokioIo::new(stream), answer).await);
    })
    .await;
    let dispatcher = trusting(identity.as_roots());
    let attempt = |timeout_ms| {
        let url = format!("https://localhost:{}/", address.port());
        dispatcher.attempt(job_with(&url, |spec| spec.timeout_ms = timeout_ms))
    };
    assert_eq!(attempt(500).await.class, OutcomeClass::ResponseTimeout);
    for _ in 0..2 {
        let outcome = attempt(10_000).await;
        assert_eq!((outcome.class, outcome.excerpt.as_slice()), (OutcomeClass::Success, b"connection 2".as_slice()), "{outcome:?}");
    }
}
