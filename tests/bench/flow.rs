//! Events through the real daemon on loopback, beside two ceilings in the same run: the same client posting straight to the same receiver, and a relay that
//! does the same two hops without keeping anything. It never asserts a time.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use hookwheel::time::Stopwatch;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

const CLIENTS: u64 = 32;
const DELIVERIES: u64 = 20_000;

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// What the receiver notes, and the one clock of the run.
struct Bench {
    clock: Stopwatch,
    delivered: AtomicU64,
    latencies_us: Mutex<Vec<u64>>,
}

/// One row of the table.
struct Row {
    name: String,
    events_per_s: f64,
    deliveries_per_s: f64,
    acceptance_us: Vec<u64>,
    delivery_us: Vec<u64>,
}

fn now_us(bench: &Bench) -> u64 {
    u64::from(bench.clock.elapsed_us())
}

/// The moment of posting stands in the event, so that the receiver knows how long ago that was.
async fn receive(State(bench): State<Arc<Bench>>, body: Bytes) -> StatusCode {
    let text = std::str::from_utf8(&body).unwrap();
    for posted in text.split("\"posted_us\":").skip(1) {
        let digits = posted.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        let latency = now_us(&bench).saturating_sub(digits.parse().unwrap());
        bench.latencies_us.lock().unwrap().push(latency);
    }
    bench.delivered.fetch_add(1, Ordering::Relaxed);
    StatusCode::OK
}

async fn relay(State((client, target)): State<(HttpClient, SocketAddr)>, body: Bytes) -> StatusCode {
    let request = Request::post(format!("http://{target}/")).body(Full::new(body)).unwrap();
    client.request(request).await.unwrap().into_body().collect().await.unwrap();
    StatusCode::ACCEPTED
}

async fn serve(router: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

fn event(posted_us: u64) -> String {
    format!(
        r#"{{"type":"email.status.delivered","project":"shop.example.com","timestamp":"2026-11-23T10:00:00Z","data":{{"messageId":"ba28a6794d4ca9c767c98fb9","email":"user@example.com","posted_us":{posted_us}}}}}"#
    )
}

/// Posts `events` events in requests of `batch` from all clients; gives each request's latency.
async fn post_all(bench: &Arc<Bench>, url: &str, events: u64, batch: u64) -> Vec<u64> {
    let client = http_client();
    let left = Arc::new(AtomicU64::new(events / batch));
    let tasks = (0..CLIENTS).map(|_| {
        let (bench, client, left, url) = (Arc::clone(bench), client.clone(), Arc::clone(&left), url.to_owned());
        tokio::spawn(async move {
            let mut latencies = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let posted_us = now_us(&bench);
                let body = (0..batch).map(|_| event(posted_us) + "\n").collect::<String>();
                let request =
                    Request::post(&url).header("content-type", "application/x-ndjson").body(Full::new(Bytes::from(body))).unwrap();
                let response = client.request(request).await.unwrap();
                assert!(response.status().is_success(), "{}", response.status());
                response.into_body().collect().await.unwrap();
                latencies.push(now_us(&bench) - posted_us);
            }
            latencies
        })
    });
    let mut latencies = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        latencies.extend(task.await.unwrap());
    }
    latencies
}

async fn measure(bench: &Arc<Bench>, name: String, url: &str, webhooks: u64, batch: u64, arrivals_per_event: f64) -> Row {
    bench.delivered.store(0, Ordering::Relaxed);
    bench.latencies_us.lock().unwrap().clear();
    let events = (DELIVERIES / webhooks).next_multiple_of(batch).max(batch * CLIENTS.min(4));
    let start_us = now_us(bench);
    let acceptance_us = post_all(bench, url, events, batch).await;
    let accepted_us = now_us(bench) - start_us;
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small counts")]
    let expected = (events as f64 * arrivals_per_event) as u64;
    while bench.delivered.load(Ordering::Relaxed) < expected {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let delivered_us = now_us(bench) - start_us;
    let delivery_us = std::mem::take(&mut *bench.latencies_us.lock().unwrap());
    Row {
        name,
        events_per_s: per_s(events, accepted_us),
        deliveries_per_s: per_s(events * webhooks, delivered_us),
        acceptance_us,
        delivery_us,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_s(count: u64, microseconds: u64) -> f64 {
    count as f64 * 1e6 / microseconds as f64
}

/// Ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A daemon with so many webhooks, all at the one receiver.
fn daemon(directory: &Path, receiver: SocketAddr, webhooks: u64) -> (Running, SocketAddr) {
    let webhook = |number| {
        format!(
            "[[webhook]]\nid = \"w{number}\"\ntitle = \"w\"\nproject = \"shop.example.com\"\nurl = \"http://{receiver}/\"\nevents = [\"*\"]\n"
        )
    };
    let head = "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nadmin_socket = \"a.sock\"\n[egress]\nallow_networks = [\"127.0.0.1/32\"]\n[delivery]\nmax_in_flight = 64\n";
    std::fs::write(directory.join("webhooks.toml"), head.to_owned() + &(0..webhooks).map(webhook).collect::<String>()).unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_hookwheel"))
        .args(["serve", "--config"])
        .arg(directory.join("webhooks.toml"))
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    loop {
        let log = std::fs::read_to_string(directory.join("log")).unwrap();
        let address = log.split_once("ready listen=").and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
        if let Some(address) = address {
            return (running, address);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn percentile(latencies: &mut [u64], per_cent: usize) -> String {
    latencies.sort_unstable();
    let at = (latencies.len() * per_cent / 100).min(latencies.len().saturating_sub(1));
    latencies.get(at).map_or_else(String::new, |us| format!("{}.{} ms", us / 1000, us % 1000 / 100))
}

fn print(mut row: Row, ceiling: f64) {
    let share = row.deliveries_per_s / ceiling;
    let [a50, a99] = [50, 99].map(|p| percentile(&mut row.acceptance_us, p));
    let [d50, d99] = [50, 99].map(|p| percentile(&mut row.delivery_us, p));
    println!(
        "{:<34} {:>9.0} {:>13.0} {share:>9.2} {a50:>10} {a99:>10} {d50:>12} {d99:>12}",
        row.name, row.events_per_s, row.deliveries_per_s
    );
}

async fn run() {
    let bench = Arc::new(Bench { clock: Stopwatch::start(), delivered: AtomicU64::new(0), latencies_us: Mutex::new(Vec::new()) });
    let receiver = serve(Router::new().route("/", post(receive)).with_state(Arc::clone(&bench))).await;
    let relay = serve(Router::new().route("/", post(relay)).with_state((http_client(), receiver))).await;
    println!("{CLIENTS} clients; {DELIVERIES} deliveries a case; 64 attempts at once a webhook");
    println!("case                                events/s  deliveries/s  of direct  accept p50 accept p99 delivery p50 delivery p99");
    let direct = measure(&bench, "straight to the receiver".into(), &format!("http://{receiver}/"), 1, 1, 1.0).await;
    let ceiling = direct.deliveries_per_s;
    print(direct, ceiling);
    print(measure(&bench, "null relay, nothing kept".into(), &format!("http://{relay}/"), 1, 1, 1.0).await, ceiling);
    for webhooks in [1, 10, 100] {
        for batch in [1, 100] {
            let directory = tempfile::tempdir().unwrap();
            let (running, address) = daemon(directory.path(), receiver, webhooks);
            let form = if batch == 1 { "single posts".to_owned() } else { format!("batches of {batch}") };
            let plural = if webhooks == 1 { "" } else { "s" };
            let name = format!("hookwheel, {webhooks} webhook{plural}, {form}");
            #[expect(clippy::cast_precision_loss, reason = "at most 100")]
            let row = measure(&bench, name, &format!("http://{address}/v1/events"), webhooks, batch, webhooks as f64).await;
            print(row, ceiling);
            drop(running);
        }
    }
}

fn main() {
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}
