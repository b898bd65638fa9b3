//! Connections that end while nobody uses them, at the very moment at which somebody may, and connections that are not to be used again. No receiver here waits for the real limit.

use super::receivers::{Identity, OK, read_request, tls_receiver};
use super::*;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// How long an idle connection is kept here, by both sides.
const IDLE_MS: u64 = 10;
const CLIENTS: u32 = 100;
const ROUNDS: u64 = 100;

/// What a receiver saw of its connections.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    closed: AtomicUsize,
    /// Requests that crossed with the end of their connection: they were written, and got no answer.
    crossed: AtomicUsize,
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
    let names = Names::from_system().unwrap();
    let dispatcher = Dispatcher::assembled(DispatchSettings::default(), RootCertStore::empty(), names, IDLE_MS).unwrap();
    let clients = (0..CLIENTS).map(|client| {
        let dispatcher = dispatcher.clone();
        // A host of its own for each, and so a connection: all of 127.0.0.0/8 is this machine.
        let url = format!("http://127.0.0.{}:{port}/", client + 1);
        tokio::spawn(async move {
            let mut charged = Vec::new();
            for round in 0..ROUNDS {
                let outcome = dispatcher.attempt(job_with(&url, |spec| spec.timeout_ms = 60_000)).await;
                if outcome.class != OutcomeClass::Success {
                    charged.push(outcome);
                }
                tokio::time::sleep(about(IDLE_MS, round + u64::from(client))).await;
            }
            charged
        })
    });
    let mut charged = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        charged.extend(client.await.unwrap());
    }
    let [answered, closed] = [&seen.answered, &seen.closed].map(|count| count.load(Ordering::SeqCst));
    let crossed = seen.crossed.load(Ordering::SeqCst);
    assert!(closed > 100, "it closes at the limit");
    assert!(charged.is_empty(), "{} charged, {crossed} crossed: {:?}", charged.len(), charged.first());
    // Some µs lie between a look at the connection and the request: what is written much later than the end came would cross far more often.
    assert!(crossed <= answered / 100, "{crossed} crossed");
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
