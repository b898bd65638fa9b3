//! Answers that no receiver should give, taken by the real dispatcher over loopback. It never waits for a deadline: the receiver always hangs up.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use hookwheel::config::{Config, Environment};
use hookwheel::dispatch::outcome::retry_after_ms;
use hookwheel::dispatch::{DispatchSettings, Dispatcher, Job};
use hookwheel::model::{EventId, OutcomeClass, Secret, Webhook, WebhookNumber};
use hookwheel::time::UnixMillis;
use rustls::RootCertStore;
use tokio::runtime::Runtime;

use super::NOW;

/// A dispatcher, and the receiver that it posts to.
struct Exchange {
    /// What the receiver answers next.
    answer: Arc<Mutex<Vec<u8>>>,
    job: Job,
    dispatcher: Dispatcher,
    runtime: Runtime,
}

static EXCHANGE: LazyLock<Exchange> = LazyLock::new(|| {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let job = job(receiver(Arc::clone(&answer)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("the system has a thread");
    let dispatcher = runtime.block_on(async { Dispatcher::with_roots(DispatchSettings::default(), RootCertStore::empty()) });
    Exchange { answer, job, dispatcher: dispatcher.expect("TLS can be set up"), runtime }
});

/// A receiver that gives the answer that lies there just now to whoever comes.
fn receiver(answer: Arc<Mutex<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.lock().expect("nobody panics while holding it").clone();
            // The dispatcher hangs up on what it does not understand.
            let _ = answer_one(stream, &answer);
        }
    });
    address
}

fn answer_one(mut stream: TcpStream, answer: &[u8]) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n{}") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&buffer[..length]),
        }
    }
    stream.write_all(answer)?;
    stream.shutdown(Shutdown::Write)
}

fn job(address: SocketAddr) -> Job {
    let text = format!(
        "[egress]\nallow_networks = [\"127.0.0.0/8\"]\n[[webhook]]\nid = \"crm\"\ntitle = \"CRM\"\nproject = \"shop.example.com\"\nurl = \"http://{address}/\"\nevents = [\"*\"]\n"
    );
    let config = Config::parse(Path::new("webhooks.toml"), &text, &Environment::default()).expect("it has no mistake");
    let secrets = vec![Secret::from_bytes(vec![7; 32]).expect("32 bytes are enough")];
    let webhook = Webhook { number: WebhookNumber(1), spec: config.webhooks[0].clone(), secrets };
    Job {
        webhook: Arc::new(webhook),
        event_id: EventId::parse("evt_1").expect("it is one"),
        body: Arc::from(&b"{}"[..]),
        attempt: 1,
        sent_at: UnixMillis(0),
    }
}

pub(super) fn response(bytes: &[u8]) {
    let Exchange { answer, job, dispatcher, runtime } = &*EXCHANGE;
    bytes.clone_into(&mut answer.lock().expect("nobody panics while holding it"));
    let outcome = runtime.block_on(dispatcher.attempt(job.clone()));
    // A success was said to be one; a defect of ours is no outcome; and the receiver had hung up, so nothing had to be waited for.
    assert!(outcome.class != OutcomeClass::Success || outcome.status == Some(200), "{outcome:?}");
    let unexpected = [OutcomeClass::InternalError, OutcomeClass::ResponseTimeout, OutcomeClass::ConnectFailed];
    assert!(!unexpected.contains(&outcome.class) && !outcome.sentence.is_empty(), "{outcome:?}");
    assert!(!outcome.sentence.contains(['\r', '\n', '\0']), "{outcome:?}");
}

pub(super) fn retry_after(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // It never lies in the past, and where it is counted from changes nothing of seconds.
    if let Some(wait_ms) = retry_after_ms(text, NOW).filter(|_| text.trim().bytes().all(|byte| byte.is_ascii_digit())) {
        assert_eq!(retry_after_ms(text, UnixMillis(0)), Some(wait_ms));
    }
}
