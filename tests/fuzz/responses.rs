//! Answers that no receiver should give, taken by the real dispatcher over loopback. It never waits for a deadline: the receiver always hangs up.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use hookwheel::config::{Config, Environment};
use hookwheel::dispatch::{DispatchSettings, Dispatcher, Job};
use hookwheel::model::{EventId, OutcomeClass, Secret, Webhook, WebhookNumber};
use hookwheel::time::UnixMillis;
use rustls::RootCertStore;

use crate::fuzz;

/// Each costs a connection.
const RUNS: u64 = 5_000;
const WORDS: [&str; 12] = [
    "HTTP/1.1 ",
    "HTTP/1.0 200",
    "100 Continue",
    "\r\n\r\n",
    "content-length: ",
    "transfer-encoding: chunked",
    "retry-after: ",
    "location: ",
    "ffffffffffffffff",
    "0\r\n\r\n",
    "-1",
    "content-encoding: gzip",
];

/// A receiver that gives the answer that lies there just now to whoever comes.
fn receiver(answer: Arc<Mutex<Vec<u8>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.lock().unwrap().clone();
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
    let config = Config::parse(Path::new("webhooks.toml"), &text, &Environment::default()).unwrap();
    let spec = config.webhooks[0].clone();
    let webhook = Webhook { number: WebhookNumber(1), spec, secrets: vec![Secret::from_bytes(vec![7; 32]).unwrap()] };
    Job {
        webhook: Arc::new(webhook),
        event_id: EventId::parse("evt_1").unwrap(),
        body: Arc::from(&b"{}"[..]),
        attempt: 1,
        sent_at: UnixMillis(0),
    }
}

#[test]
fn response() {
    let answer = Arc::new(Mutex::new(Vec::new()));
    let job = job(receiver(Arc::clone(&answer)));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let dispatcher = runtime.block_on(async { Dispatcher::with_roots(DispatchSettings::default(), RootCertStore::empty()) }).unwrap();
    fuzz("response", &WORDS, RUNS, |bytes| {
        bytes.clone_into(&mut answer.lock().unwrap());
        let outcome = runtime.block_on(dispatcher.attempt(job.clone()));
        // A success was said to be one; a defect of ours is no outcome; and the receiver had hung up, so nothing had to be waited for.
        assert!(outcome.class != OutcomeClass::Success || outcome.status == Some(200), "{outcome:?}");
        let unexpected = [OutcomeClass::InternalError, OutcomeClass::ResponseTimeout, OutcomeClass::ConnectFailed];
        assert!(!unexpected.contains(&outcome.class) && !outcome.sentence.is_empty(), "{outcome:?}");
        assert!(!outcome.sentence.contains(['\r', '\n', '\0']), "{outcome:?}");
    });
}
