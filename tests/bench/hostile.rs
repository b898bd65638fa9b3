//! A thousand healthy endpoints of the real daemon, and how late they get their events beside one that misbehaves, for each way to misbehave: with and without it in turn, in one run. It
//! asserts no time.
//!
//! A percentile of one window says little: its slowest hundredth is as slow as the machine, and above all its disk, happened to be, and a shared machine is slower for minutes. So every kind has
//! its turn in each of several rounds, right behind a window without it, and the medians of the windows' percentiles are compared. How far that is to be trusted is found by drawing the windows
//! anew, with repetition ([`RESAMPLINGS`] times): nine of ten ratios lie within the bounds. With `TMPDIR=/dev/shm` there is no disk in it.
//!
//! `cargo bench --bench hostile` takes an hour; `cargo bench --bench hostile -- ping-flood garbage` has these alone. `ROUNDS=20` and `SECONDS_EACH=20` make it longer,
//! `HEALTHY_FOR_EACH=4` gives the hostile one an event for every four of the others.

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

use crate::hostile::{Hostile, Identity, LARGE_BODY, Misbehaviour};
use crate::house::{House, Running};

const HEALTHY: u64 = 1000;
/// Events for the healthy ones, one after the other, so far apart.
const EVERY: Duration = Duration::from_micros(2500);
/// The hostile one gets one event for so many of the others, ten times the share of one among a thousand: as long as an attempt takes its whole time, some four are under way. What fails
/// waits until it is cancelled.
const HEALTHY_FOR_EACH: u64 = 100;
/// The least for one that wants large bodies, of which more would be a load of their own.
const HEALTHY_FOR_EACH_LARGE: u64 = 64;
/// How often the windows are drawn anew.
const RESAMPLINGS: usize = 500;
const HOSTILE: &str = "timeout = \"1s\"\nretry = [ {attempts = 1, every = \"1d\"} ]";
/// What an endpoint sends for ever comes in pieces of 16 KiB so far apart: 130 Mbit/s.
const PAUSE: Duration = Duration::from_millis(1);
/// The endpoints that do what they should, under the same load as the others, and as those that want large bodies: what they cost is the load.
const GOOD: &str = "well-behaved";
const GOOD_LARGE: &str = "well-behaved-large";

type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// What the receiver notes, and the one clock of the run.
struct Bench {
    clock: Stopwatch,
    seconds: u64,
    healthy_for_each: u64,
    daemon: SocketAddr,
    client: HttpClient,
    received: AtomicU64,
    latencies_us: Mutex<Vec<u64>>,
}

/// What was measured in one window.
#[derive(Clone, Copy)]
struct Window {
    p50_ms: f64,
    p99_ms: f64,
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

    /// Posts an event so many times, each half way between two of the others: a request of its own, for what it costs to take it in is not what is measured.
    async fn post_beside(self: Arc<Self>, event: String, count: u64, for_each: u64) {
        let every = EVERY * u32::try_from(for_each).unwrap();
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY / 2, every);
        for _ in 0..count {
            ticks.tick().await;
            tokio::spawn({
                let (bench, event) = (Arc::clone(&self), event.clone());
                async move { bench.post(event).await }
            });
        }
    }

    /// Posts at the same pace whatever the answers do, and waits until all of it has arrived.
    async fn window(self: &Arc<Self>, daemon: &Running, beside: Option<&str>) -> Window {
        self.received.store(0, Ordering::Relaxed);
        self.latencies_us.lock().unwrap().clear();
        let (for_each, text) = if beside.is_some_and(wants_large_body) {
            (self.healthy_for_each.max(HEALTHY_FOR_EACH_LARGE), format!("\"text\":\"{}\"", "x".repeat(LARGE_BODY)))
        } else {
            (self.healthy_for_each, String::new())
        };
        let before = daemon.processor_ms();
        let count = self.seconds * 1_000_000 / u64::try_from(EVERY.as_micros()).unwrap();
        let hostile = beside
            .map(|id| tokio::spawn(Arc::clone(self).post_beside(event(&format!("{id}.example.com"), &text), count / for_each, for_each)));
        let mut ticks = tokio::time::interval(EVERY);
        for number in 0..count {
            ticks.tick().await;
            let bench = Arc::clone(self);
            tokio::spawn(async move {
                let data = format!("\"posted_us\":{}", bench.clock.elapsed_us());
                bench.post(event(&format!("p{}.example.com", number * 7 % HEALTHY), &data)).await;
            });
        }
        if let Some(hostile) = hostile {
            hostile.await.unwrap();
        }
        let processor_ms = daemon.processor_ms() - before;
        while self.received.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut latencies_us = std::mem::take(&mut *self.latencies_us.lock().unwrap());
        latencies_us.sort_unstable();
        Window { p50_ms: percentile(&latencies_us, 50), p99_ms: percentile(&latencies_us, 99), processor_ms }
    }
}

/// What a hostile server works takes nobody's processor (setpriority(2), which on Linux is a thread's own): elsewhere it would have a machine of its own.
fn give_way() {
    rustix::process::setpriority_process(None, 19).unwrap();
}

fn wants_large_body(id: &str) -> bool {
    id == GOOD_LARGE || Misbehaviour::ALL.iter().any(|how| how.wants_large_body() && how.name() == id)
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

/// A percentile of sorted microseconds, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn percentile(sorted_us: &[u64], percent: usize) -> f64 {
    sorted_us[sorted_us.len() * percent / 100] as f64 / 1000.0
}

fn median(windows: &[Window], what: fn(&Window) -> f64) -> f64 {
    let mut figures = windows.iter().map(what).collect::<Vec<_>>();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn ratio(alone: &[Window], beside: &[Window]) -> f64 {
    median(beside, |window| window.p99_ms) / median(alone, |window| window.p99_ms)
}

/// Between which bounds nine of ten ratios of 99th percentiles lie, when the windows are drawn anew, each with the one right before it.
fn bounds(alone: &[Window], beside: &[Window]) -> (f64, f64) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % alone.len()
    };
    let mut again = || {
        let (alone, beside) = (0..alone.len()).map(&mut draw).map(|number| (alone[number], beside[number])).unzip::<_, _, Vec<_>, Vec<_>>();
        ratio(&alone, &beside)
    };
    let mut ratios = (0..RESAMPLINGS).map(|_| again()).collect::<Vec<_>>();
    ratios.sort_by(f64::total_cmp);
    (ratios[RESAMPLINGS / 20], ratios[RESAMPLINGS - RESAMPLINGS / 20])
}

fn size(variable: &str, smaller: u64) -> u64 {
    std::env::var(variable).map_or(smaller, |text| text.parse().unwrap())
}

/// Every kind in turn, in each round: what was measured without it, and right after that beside it.
async fn rounds(bench: &Arc<Bench>, house: &House, daemon: &Running, ids: &[&str], rounds: u64) -> Vec<(Vec<Window>, Vec<Window>)> {
    let mut measured = vec![(Vec::new(), Vec::new()); ids.len()];
    for _ in 0..rounds {
        for (id, (alone, beside)) in ids.iter().zip(&mut measured) {
            alone.push(bench.window(daemon, None).await);
            beside.push(bench.window(daemon, Some(id)).await);
            cancel(house, id).await;
        }
    }
    measured
}

fn report(id: &str, alone: &[Window], beside: &[Window]) {
    let (lowest, highest) = bounds(alone, beside);
    print!("| {id} | {:.2} | {lowest:.2} … {highest:.2} |", ratio(alone, beside));
    let both = |figure: fn(&Window) -> f64, digits: usize| {
        format!("{:.digits$} ms | {:.digits$} ms", median(alone, figure), median(beside, figure))
    };
    let [p99, p50, processor] = [both(|window| window.p99_ms, 2), both(|window| window.p50_ms, 2), both(|window| window.processor_ms, 0)];
    println!(" {p99} | {p50} | {processor} |");
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
        seconds: size("SECONDS_EACH", 6),
        healthy_for_each: size("HEALTHY_FOR_EACH", HEALTHY_FOR_EACH),
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
    let servers = servers.map(|how| (how.name(), Hostile::new(*how, &identity, PAUSE, give_way))).collect::<Vec<_>>();
    let healthy = (0..HEALTHY)
        .map(|number| webhook(&format!("healthy-{number}"), &format!("p{number}.example.com"), &format!("http://{receiver}/{number}"), ""));
    let good = [GOOD, GOOD_LARGE].map(|id| webhook(id, &format!("{id}.example.com"), &format!("http://{receiver}/"), HOSTILE));
    let hostile = servers.iter().map(|(id, server)| webhook(id, &format!("{id}.example.com"), server.url(), HOSTILE));
    let limits = "[limits]\nmax_event_size = \"512KiB\"\n".to_owned();
    house.configure(&std::iter::once(limits).chain(healthy).chain(good).chain(hostile).collect::<String>(), []);
    let (daemon, _) = house.start();

    let ids = [GOOD, GOOD_LARGE].into_iter().chain(servers.iter().map(|(id, _)| id.as_str())).collect::<Vec<_>>();
    let measured = runtime.block_on(async {
        bench.window(&daemon, None).await;
        rounds(&bench, &house, &daemon, &ids, size("ROUNDS", 5)).await
    });
    println!(
        "windows of {} s, {HEALTHY} healthy endpoints, an event for one of them every {EVERY:?}, one in {} times for the other\n",
        bench.seconds, bench.healthy_for_each
    );
    println!("| beside | p99 ratio | nine of ten | p99 without | p99 | p50 without | p50 | processor without | processor |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for (id, (alone, beside)) in ids.iter().zip(&measured) {
        report(id, alone, beside);
    }
    println!("\nthe daemon has {} MiB", daemon.resident_mib());
}
