//! Receivers that are not hookwheel's: one in axum that remembers what it got, and raw sockets that misbehave. They never verify anything themselves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::runtime::Runtime;

use crate::daemon::now;

/// A request as a receiver got it.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// When its answer was made.
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

type Answer = Arc<dyn Fn(&Received) -> Response + Send + Sync>;

/// A web server that answers as told and remembers every request.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    _runtime: Runtime,
}

impl Receiver {
    pub(crate) fn new(answer: impl Fn(&Received) -> Response + Send + Sync + 'static) -> Self {
        let runtime = Runtime::new().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let router = Router::new().fallback(receive).with_state((Arc::clone(&received), Arc::new(answer) as Answer));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, received, _runtime: runtime }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

async fn receive(
    State((received, answer)): State<(Arc<Mutex<Vec<Received>>>, Answer)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let one = Received { at: now(), path: uri.path().to_owned(), headers, body: body.to_vec() };
    let mut response = answer(&one);
    received.lock().unwrap().push(one);
    if let Some(Later(wait)) = response.extensions_mut().remove() {
        tokio::time::sleep(wait).await;
    }
    response
}

/// How long a response waits before it is sent.
#[derive(Clone)]
struct Later(Duration);

/// That response, so much later.
pub(crate) fn after(wait: Duration, mut response: Response) -> Response {
    response.extensions_mut().insert(Later(wait));
    response
}

pub(crate) fn ok(_: &Received) -> Response {
    StatusCode::OK.into_response()
}

/// 500 to a delivery's first attempt, then 200.
pub(crate) fn fails_first(received: &Received) -> Response {
    let status = if received.header("hookwheel-attempt") == "1" { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    status.into_response()
}

/// A raw receiver: reads a request's head and body, then writes `pieces` with `pause` after each, then closes.
pub(crate) fn raw(pieces: &'static [&'static [u8]], pause: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                read_request(&mut stream);
                for piece in pieces {
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                    std::thread::sleep(pause);
                }
            });
        }
    });
    address
}

fn read_request(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !bytes.ends_with(b"}}") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}
