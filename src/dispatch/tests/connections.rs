//! Connections: refused, made, kept, replaced.

use super::receivers::{OK, answering, obedient, read_request, receiver};
use super::*;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};

#[tokio::test]
async fn an_endpoint_that_is_not_there_has_its_class() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outcome = dispatcher().attempt(job(&format!("http://{closed}/"))).await;
    assert_eq!(outcome.class, OutcomeClass::ConnectRefused, "{outcome:?}");
    assert_eq!(outcome.sentence, format!("{closed} refused the connection: nothing listens there"));
}

#[tokio::test]
async fn a_connect_that_is_not_answered_ends_at_the_deadline() {
    // A listener that never accepts, with a queue that is full: further connects stay unanswered.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "the queue of 1 never fills");
    }
    let outcome = dispatcher().attempt(job_with(&format!("http://{address}/"), |spec| spec.timeout_ms = 200)).await;
    assert_eq!((outcome.class, outcome.sentence.as_str()), (OutcomeClass::ConnectTimeout, "no connection to 127.0.0.1 within 200 ms"));
}

#[tokio::test]
async fn the_daemons_own_listeners_are_never_dialled() {
    let (own, connections) = obedient().await;
    let everywhere = SocketAddr::new("0.0.0.0".parse().unwrap(), own.port());
    let everywhere_v6 = SocketAddr::new("::".parse().unwrap(), own.port());
    for listener in [own, everywhere, everywhere_v6] {
        let settings = DispatchSettings { own_listeners: vec![listener], ..DispatchSettings::default() };
        let dispatcher = Dispatcher::with_roots(settings, RootCertStore::empty()).unwrap();
        let outcome = dispatcher.attempt(job(&format!("http://{own}/"))).await;
        assert_eq!(outcome.class, OutcomeClass::OwnListener, "{outcome:?}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_connection_is_used_again_and_one_that_the_receiver_closed_is_replaced() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let (closed, mut was_closed) = tokio::sync::mpsc::channel(1);
    // Two requests a connection, and then it is closed without a word.
    let address = receiver(move |mut stream, number| {
        counted.store(number, Ordering::SeqCst);
        let closed = closed.clone();
        async move {
            for _ in 0..2 {
                read_request(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
            drop(stream);
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let dispatcher = dispatcher();
    for round in 0..20 {
        let outcome = dispatcher.attempt(job(&format!("http://{address}/"))).await;
        assert_eq!(outcome.class, OutcomeClass::Success, "{round}: {outcome:?}");
        assert_eq!(outcome.remote, Some(address.to_string()), "known for a kept connection too");
        let is_fresh = round % 2 == 0;
        assert_eq!(outcome.phases.connect_us.is_some(), is_fresh, "{round}: {outcome:?}");
        if !is_fresh {
            was_closed.recv().await.unwrap();
        }
    }
    assert_eq!(connections.load(Ordering::SeqCst), 10);
}

/// A receiver in a thread, which answers one request a connection, then says its last words and closes, and reports it.
fn hanging_up(last_words: &'static [u8]) -> (SocketAddr, std::sync::mpsc::Receiver<()>) {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (closed, was_closed) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !request.ends_with(BODY) {
                let Ok(count @ 1..) = stream.read(&mut buffer) else { break };
                request.extend_from_slice(&buffer[..count]);
            }
            drop(stream.write_all(OK));
            // Late enough for the answer to be read alone: the connection must look alive.
            std::thread::sleep(Duration::from_millis(20));
            drop(stream.write_all(last_words));
            drop(stream);
            if closed.send(()).is_err() {
                return;
            }
        }
    });
    (address, was_closed)
}

/// The receiver hangs up while the runtime sleeps, so the next request is on its way to the connection before anybody has heard of that.
#[tokio::test]
async fn a_connection_that_was_closed_unheard_is_replaced_too() {
    for last_words in [b"".as_slice(), b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"] {
        let (address, was_closed) = hanging_up(last_words);
        let dispatcher = dispatcher();
        for round in 0..10 {
            let outcome = dispatcher.attempt(job(&format!("http://{address}/"))).await;
            assert_eq!(outcome.class, OutcomeClass::Success, "{round}: {outcome:?}");
            // Let the connection return to the pool, and then block this runtime's only thread until it is closed.
            tokio::task::yield_now().await;
            was_closed.recv().unwrap();
        }
    }
}

#[tokio::test]
async fn a_fresh_connection_that_breaks_is_charged_and_not_tried_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let address = receiver(move |mut stream, number| {
        counted.store(number, Ordering::SeqCst);
        async move { drop(read_request(&mut stream).await) }
    })
    .await;
    let outcome = dispatcher().attempt(job(&format!("http://{address}/"))).await;
    assert_eq!(outcome.class, OutcomeClass::ConnectionClosed);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_the_limit() {
    let (address, _) = obedient().await;
    let dispatcher = dispatcher();
    let attempts = (0..20).map(|_| {
        let dispatcher = dispatcher.clone();
        tokio::spawn(async move { dispatcher.attempt(job(&format!("http://{address}/"))).await.class })
    });
    for attempt in attempts.collect::<Vec<_>>() {
        assert_eq!(attempt.await.unwrap(), OutcomeClass::Success);
    }
    becomes(&dispatcher, |open| open <= limits::IDLE_PER_HOST).await;
    let kept = dispatcher.shared.open.load(Ordering::Relaxed);
    dispatcher.reconfigure(DispatchSettings::default());
    assert_eq!(dispatcher.shared.open.load(Ordering::Relaxed), kept, "nothing changed, so nothing is dropped");
    dispatcher.reconfigure(DispatchSettings { require_https: true, ..DispatchSettings::default() });
    becomes(&dispatcher, |open| open == 0).await;
}

/// Waits until the number of open connections is as expected.
async fn becomes(dispatcher: &Dispatcher, expected: impl Fn(usize) -> bool) {
    let waiting = async {
        while !expected(dispatcher.shared.open.load(Ordering::Relaxed)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the number of connections settles");
}

#[tokio::test]
async fn a_connection_made_under_one_policy_never_serves_another() {
    let (address, connections) = obedient().await;
    let dispatcher = dispatcher();
    let url = format!("http://{address}/");
    assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::Success);
    let outcome = dispatcher.attempt(job_with(&url, |spec| spec.allow_networks.clear())).await;
    assert_eq!(outcome.class, OutcomeClass::AddressRefused, "the idle connection is not there for it");
    dispatcher.reconfigure(DispatchSettings { own_listeners: vec![address], ..DispatchSettings::default() });
    assert_eq!(dispatcher.attempt(job(&url)).await.class, OutcomeClass::OwnListener);
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn policies_without_end_do_not_fill_the_memory() {
    let dispatcher = dispatcher();
    for number in 0..=u32::try_from(limits::EGRESS_POLICIES_MAX).unwrap() {
        let network = ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::from(number), 32);
        let job = job_with("http://192.0.2.1/", |spec| spec.allow_networks = vec![network.into()]);
        dispatcher.client_for(&job.webhook.spec).unwrap();
    }
    assert!(dispatcher.pools().clients.len() <= limits::EGRESS_POLICIES_MAX);
}

#[tokio::test]
async fn dropping_an_attempt_closes_its_connection() {
    let (closed, mut was_closed) = tokio::sync::mpsc::channel(1);
    let (arrived, mut has_arrived) = tokio::sync::mpsc::channel(1);
    let address = receiver(move |mut stream, _| {
        let (closed, arrived) = (closed.clone(), arrived.clone());
        async move {
            read_request(&mut stream).await;
            arrived.send(()).await.unwrap();
            read_request(&mut stream).await;
            closed.send(()).await.unwrap();
        }
    })
    .await;
    let attempt = tokio::spawn(async move { dispatcher().attempt(job(&format!("http://{address}/"))).await });
    has_arrived.recv().await.unwrap();
    attempt.abort();
    was_closed.recv().await.unwrap();
}

#[tokio::test]
async fn a_slow_endpoint_does_not_hold_up_another() {
    let (address, _) = obedient().await;
    let hanging = answering(vec![b"HTTP/1.1"], 60_000).await;
    let dispatcher = dispatcher();
    let slow = (0..50).map(|_| {
        let dispatcher = dispatcher.clone();
        tokio::spawn(async move { dispatcher.attempt(job(&format!("http://{hanging}/"))).await.class })
    });
    let slow = slow.collect::<Vec<_>>();
    for _ in 0..50 {
        assert_eq!(dispatcher.attempt(job(&format!("http://{address}/"))).await.class, OutcomeClass::Success);
    }
    for attempt in slow {
        assert_eq!(attempt.await.unwrap(), OutcomeClass::ResponseTimeout);
    }
}

#[tokio::test]
async fn the_daemons_own_listener_is_dialled_for_the_url_of_a_sandbox_and_for_nothing_else() {
    let (own, connections) = obedient().await;
    let token = "abcdefghijklmnopqrstuvwxyz234567";
    for listener in [own, SocketAddr::new("0.0.0.0".parse().unwrap(), own.port())] {
        let settings = DispatchSettings { own_listeners: vec![listener], ..DispatchSettings::default() };
        let dispatcher = Dispatcher::with_roots(settings, RootCertStore::empty()).unwrap();
        let attempt = async |path: &str, allowed: bool| {
            let change = |spec: &mut WebhookSpec| {
                if !allowed {
                    spec.allow_networks.clear();
                }
            };
            dispatcher.attempt(job_with(&format!("http://{own}{path}"), change)).await.class
        };
        let before = connections.load(Ordering::SeqCst);
        let sandboxes = [format!("/sandbox/{token}"), format!("/sandbox/{token}/a/b?c=d"), format!("/v1/../sandbox/{token}")];
        for path in &sandboxes {
            assert_eq!(attempt(path, false).await, OutcomeClass::Success, "{path} needs no exception");
        }
        let after = connections.load(Ordering::SeqCst);
        assert!(after > before);
        let others =
            ["/", "/v1/events", "/sandbox", "/sandbox/", "/sandbox/short", "/metrics", "/sandbox/ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"];
        let escapes = [format!("/sandbox/{token}/../../v1/events"), format!("/sandbox/{token}x"), format!("/sandbox/%61{}", &token[1..])];
        for path in others.into_iter().chain(escapes.iter().map(String::as_str)).chain([format!("/x/sandbox/{token}").as_str()]) {
            // With a kept connection of the sandbox's at hand, and an exception for the network.
            assert_eq!(attempt(path, true).await, OutcomeClass::OwnListener, "{path}");
            assert_eq!(attempt(path, false).await, OutcomeClass::OwnListener, "{path}");
        }
        assert_eq!(connections.load(Ordering::SeqCst), after, "nobody was dialled for what is refused");
    }
    let elsewhere = Dispatcher::with_roots(DispatchSettings::default(), RootCertStore::empty()).unwrap();
    let job = job_with(&format!("http://{own}/sandbox/{token}"), |spec| spec.allow_networks.clear());
    assert_eq!(elsewhere.attempt(job).await.class, OutcomeClass::AddressRefused, "the same path on any other private address");
}
