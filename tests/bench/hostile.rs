//! A thousand healthy endpoints of the real daemon, and how late they get their events beside one that misbehaves, for each way to misbehave: with and without it in turn, in one run. It
//! asserts no time.
//!
//! `cargo bench --bench hostile` takes a quarter of an hour; `cargo bench --bench hostile -- ping-flood garbage` has these alone. `ROUNDS=9` and `SECONDS_EACH=10` make it longer.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where by panicking")]

#[path = "../hostile/mod.rs"]
mod hostile;
#[expect(dead_code, reason = "much of it is for the benchmarks of scale")]
#[path = "scale/house.rs"]
mod house;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use hookwheel::time::Stopwatch;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use crate::hostile::{Hostile, Identity, Misbehaviour};
use crate::house::{House, Running};

const HEALTHY: u64 = 1000;
/// Events for the healthy ones, one after the other, so far apart.
const EVERY: Duration = Duration::from_millis(5);
/// The hostile one gets as many events as all healthy ones together, at the same moments; what fails waits until it is cancelled.
const HOSTILE: &str = "timeout = \"1s\"\nretry = [ {attempts = 1, every = \"1d\"} ]";
/// What an endpoint sends for ever comes in pieces of 16 KiB so far apart: 130 Mbit/s.
const PAUSE: Duration = Duration::from_millis(1);
/// The endpoint that does what it should, under the same load as the others: what it costs is the load.
const GOOD: &str = "well-behaved";

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// What the receiver notes, and the one clock of the run.
struct Bench {
    clock: Stopwatch,
    seconds: u64,
    daemon: SocketAddr,
    client: HttpClient,
    received: AtomicU64,
    latencies_us: Mutex<Vec<u64>>,
}

/// Percentiles of one window.
#[derive(Clone, Copy)]
struct Window {
    p50_us: u64,
    p99_us: u64,
    processor_ms: f64,
}

/// The moment of posting stands in the events for the healthy; the others have none.
async fn receive(State(bench): State<Arc<Bench>>, body: Bytes) -> StatusCode {
    let text = std::str::from_utf8(&body).unwrap();
    if let Some((_, posted)) = text.split_once("\"posted_us\":") {
        let digits = posted.split(|c: char| !c.is_ascii_digit()).next().unwrap();
        let latency = u64::from(bench.clock.elapsed_us()).saturating_sub(digits.parse().unwrap());
        bench.latencies_us.lock().unwrap().push(latency);
        bench.received.fetch_add(1, Ordering::Relaxed);
    }
    StatusCode::OK
}

impl Bench {
    async fn post(&self, events: String) {
        let request = Request::post(format!("http://{}/v1/events", self.daemon)).header("content-type", "application/x-ndjson");
        let response = self.client.request(request.body(Full::new(Bytes::from(events))).unwrap()).await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        response.into_body().collect().await.unwrap();
    }

    /// Posts at the same pace whatever the answers do, and waits until all of it has arrived.
    async fn window(self: &Arc<Self>, daemon: &Running, beside: Option<&str>) -> Window {
        self.received.store(0, Ordering::Relaxed);
        self.latencies_us.lock().unwrap().clear();
        let before = daemon.processor_ms();
        let count = self.seconds * 1000 / u64::try_from(EVERY.as_millis()).unwrap();
        let mut ticks = tokio::time::interval(EVERY);
        for number in 0..count {
            ticks.tick().await;
            let bench = Arc::clone(self);
            let other = beside.map_or_else(String::new, |id| event(&format!("{id}.example.com"), ""));
            tokio::spawn(async move {
                let data = format!("\"posted_us\":{}", bench.clock.elapsed_us());
                bench.post(event(&format!("p{}.example.com", number * 7 % HEALTHY), &data) + &other).await;
            });
        }
        let processor_ms = daemon.processor_ms() - before;
        while self.received.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut latencies = std::mem::take(&mut *self.latencies_us.lock().unwrap());
        latencies.sort_unstable();
        let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)];
        Window { p50_us: at(50), p99_us: at(99), processor_ms }
    }
}

fn event(project: &str, data: &str) -> String {
    format!("{{\"type\":\"email.status.delivered\",\"project\":\"{project}\",\"data\":{{{data}}}}}\n")
}

fn webhook(id: &str, project: &str, url: &str, more: &str) -> String {
    format!("[[webhook]]\nid = \"{id}\"\ntitle = \"{id}\"\nproject = \"{project}\"\nurl = \"{url}\"\nevents = [\"*\"]\n{more}\n")
}

/// Ends what is left for an endpoint, and lets the attempts that are under way end.
async fn cancel(house: &House, id: &str) {
    let output = house.command(&["--socket", "admin.sock", "deliveries", "cancel", "--webhook", id, "--yes"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    tokio::time::sleep(Duration::from_millis(1500)).await;
}

fn median<T: Copy>(mut figures: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> T {
    figures.sort_by(order);
    figures[figures.len() / 2]
}

fn size(variable: &str, smaller: u64) -> u64 {
    std::env::var(variable).map_or(smaller, |text| text.parse().unwrap())
}

/// Without and with, in turn.
async fn row(bench: &Arc<Bench>, house: &House, daemon: &Running, id: &str, rounds: u64) {
    let (mut ratios, mut alone, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let without = bench.window(daemon, None).await;
        let with = bench.window(daemon, Some(id)).await;
        cancel(house, id).await;
        ratios.push(ms(with.p99_us) / ms(without.p99_us));
        alone.push(without);
        beside.push(with);
    }
    let of = |windows: &[Window], what: fn(&Window) -> f64| median(windows.iter().map(what).collect(), f64::total_cmp);
    println!(
        "| {id} | {:.2} | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms | {:.0} ms | {:.0} ms | {} MiB |",
        median(ratios, f64::total_cmp),
        of(&alone, |window| ms(window.p99_us)),
        of(&beside, |window| ms(window.p99_us)),
        of(&alone, |window| ms(window.p50_us)),
        of(&beside, |window| ms(window.p50_us)),
        of(&alone, |window| window.processor_ms),
        of(&beside, |window| window.processor_ms),
        daemon.resident_mib()
    );
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn ms(microseconds: u64) -> f64 {
    microseconds as f64 / 1000.0
}

fn main() {
    let wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect::<Vec<_>>();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let house = House::new();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let bench = Arc::new(Bench {
        clock: Stopwatch::start(),
        seconds: size("SECONDS_EACH", 3),
        daemon: house.address,
        client: runtime.block_on(async { Client::builder(TokioExecutor::new()).build(connector) }),
        received: AtomicU64::new(0),
        latencies_us: Mutex::default(),
    });
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let receiver = listener.local_addr().unwrap();
    let router = Router::new().fallback(receive).with_state(Arc::clone(&bench));
    runtime.spawn(async move { axum::serve(listener, router).await });

    let identity = Identity::new();
    identity.write(&house.directory.path().join(house::TRUSTED));
    let servers = Misbehaviour::ALL.iter().filter(|how| is_wanted(&how.name()));
    let servers = servers.map(|how| (how.name(), Hostile::new(*how, &identity, PAUSE))).collect::<Vec<_>>();
    let healthy = (0..HEALTHY)
        .map(|number| webhook(&format!("healthy-{number}"), &format!("p{number}.example.com"), &format!("http://{receiver}/{number}"), ""));
    let good = webhook(GOOD, &format!("{GOOD}.example.com"), &format!("http://{receiver}/"), HOSTILE);
    let hostile = servers.iter().map(|(id, server)| webhook(id, &format!("{id}.example.com"), server.url(), HOSTILE));
    house.configure(&healthy.chain([good]).chain(hostile).collect::<String>(), []);
    let (daemon, _) = house.start();

    let rounds = size("ROUNDS", 3);
    println!("medians of {rounds} pairs of {} s, {HEALTHY} healthy endpoints with 200 events a second\n", bench.seconds);
    println!("| beside | p99 ratio | p99 alone | p99 beside | p50 alone | p50 beside | processor alone | processor beside | memory |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    runtime.block_on(async {
        bench.window(&daemon, None).await;
        for id in std::iter::once(GOOD).chain(servers.iter().map(|(id, _)| id.as_str())) {
            row(&bench, &house, &daemon, id, rounds).await;
        }
    });
}
