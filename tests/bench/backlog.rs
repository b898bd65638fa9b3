//! A daemon with a large backlog for one endpoint that is down, beside 999 that are well: what it takes in memory and on disk, how long a start with it takes, how long a start without its view, and what the
//! backlog costs the healthy. It never asserts a time.
//!
//! `BACKLOG=10000000 cargo bench --bench backlog` makes one of ten million; the default is one million.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on says where by panicking")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use hookwheel::time::Stopwatch;

const BACKLOG: u64 = 1_000_000;
const HEALTHY_WEBHOOKS: u64 = 999;
const BATCH: u64 = 5000;
/// Events for the healthy webhooks, one delivery each, spread over all of them.
const HEALTHY_EVENTS: u64 = 30_000;
const ROUNDS: usize = 3;

/// The project of the endpoint that is down.
const DEAD: &str = "dead.example.com";

/// The project of a healthy one.
fn healthy(number: u64) -> String {
    format!("healthy-{}.example.com", number % HEALTHY_WEBHOOKS)
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn receive(State(delivered): State<Arc<AtomicU64>>) -> StatusCode {
    delivered.fetch_add(1, Ordering::Relaxed);
    StatusCode::OK
}

/// A receiver that counts.
fn receiver(runtime: &tokio::runtime::Runtime) -> (SocketAddr, Arc<AtomicU64>) {
    let delivered = Arc::new(AtomicU64::new(0));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", post(receive)).with_state(Arc::clone(&delivered));
    runtime.spawn(async move { axum::serve(listener, router).await });
    (address, delivered)
}

fn configure(directory: &Path, address: SocketAddr, receiver: SocketAddr, dead: SocketAddr) {
    let mut text = format!(
        "[server]\nlisten = \"{address}\"\ndata_dir = \"data\"\nadmin_socket = \"admin.sock\"\n[egress]\nallow_networks = [\"127.0.0.0/8\"]\n"
    );
    let mut webhook = |id: &str, project: &str, url: SocketAddr| {
        text.push_str(&format!(
            "[[webhook]]\nid = \"{id}\"\ntitle = \"{id}\"\nproject = \"{project}\"\nurl = \"http://{url}/\"\nevents = [\"*\"]\n"
        ));
    };
    (0..HEALTHY_WEBHOOKS).for_each(|number| webhook(&format!("healthy-{number}"), &healthy(number), receiver));
    webhook("dead", DEAD, dead);
    std::fs::write(directory.join("webhooks.toml"), text).unwrap();
}

/// Starts the daemon; the milliseconds until its doors are open.
fn start(directory: &Path, address: SocketAddr) -> (Running, u32) {
    let stopwatch = Stopwatch::start();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_hookwheel"))
        .args(["serve", "--config", "webhooks.toml"])
        .current_dir(directory)
        .stderr(log)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    while !request(address, "GET", "/readyz", "").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        assert!(stopwatch.elapsed_ms() < 600_000, "the daemon does not open its doors: {}", directory.display());
        std::thread::sleep(Duration::from_millis(2));
    }
    (running, u32::try_from(stopwatch.elapsed_ms()).unwrap())
}

/// The whole answer to a request on a connection of its own; `None` when nobody listens.
fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Posts that many events, each of the project that its number gives; where too much is on its way the daemon says so, and is asked again.
fn publish(address: SocketAddr, count: u64, project: impl Fn(u64) -> String) {
    let text = "x".repeat(60);
    let event = |number| {
        let project = project(number);
        format!(
            r#"{{"type":"email.status.delivered","project":"{project}","data":{{"messageId":"ba28a6794d4ca9c767c98fb9","email":"user@example.com","text":"{text}"}}}}"#
        )
    };
    let body = (0..count).map(event).collect::<Vec<_>>().join("\n");
    loop {
        let answer = request(address, "POST", "/v1/events", &body).unwrap();
        if answer.starts_with("HTTP/1.1 202") {
            return;
        }
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn resident_mib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn disk_mib(directory: &Path) -> u64 {
    let size = |entry: std::fs::DirEntry| {
        if entry.path().is_dir() { disk_mib(&entry.path()) << 20 } else { entry.metadata().map_or(0, |file| file.len()) }
    };
    std::fs::read_dir(directory).unwrap().flatten().map(size).sum::<u64>() >> 20
}

/// Deliveries a second to the healthy webhooks.
fn healthy_throughput(address: SocketAddr, delivered: &AtomicU64) -> f64 {
    let before = delivered.load(Ordering::Relaxed);
    let stopwatch = Stopwatch::start();
    (0..HEALTHY_EVENTS / BATCH).for_each(|_| publish(address, BATCH, healthy));
    while delivered.load(Ordering::Relaxed) < before + HEALTHY_EVENTS {
        std::thread::sleep(Duration::from_millis(1));
    }
    f64::from(u32::try_from(HEALTHY_EVENTS).unwrap()) * 1000.0 / f64::from(u32::try_from(stopwatch.elapsed_ms()).unwrap())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let backlog = std::env::var("BACKLOG").map_or(BACKLOG, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (receiver, delivered) = receiver(&runtime);
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, dead) = (free(), free());
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    configure(directory.path(), address, receiver, dead);

    let (daemon, _) = start(directory.path(), address);
    println!("| what | figure |\n| --- | --- |");
    println!("| resident memory, nothing pending | {} MiB |", resident_mib(&daemon.0));
    let alone = median((0..ROUNDS).map(|_| healthy_throughput(address, &delivered)).collect());
    println!("| deliveries/s to {HEALTHY_WEBHOOKS} healthy webhooks, nothing else pending | {alone:.0} |");
    let stopwatch = Stopwatch::start();
    (0..backlog / BATCH).for_each(|_| publish(address, BATCH, |_| DEAD.to_owned()));
    let seconds = f64::from(u32::try_from(stopwatch.elapsed_ms()).unwrap()) / 1000.0;
    println!("| {backlog} events for one webhook whose endpoint refuses, accepted in | {seconds:.1} s |");
    let beside = median((0..ROUNDS).map(|_| healthy_throughput(address, &delivered)).collect());
    println!("| deliveries/s to the healthy ones beside that backlog | {beside:.0}, {:.0} % |", beside * 100.0 / alone);
    println!("| resident memory, {backlog} pending | {} MiB |", resident_mib(&daemon.0));
    println!("| the data directory | {} MiB |", disk_mib(&data));
    drop(daemon);

    for (what, removes_view) in [("killed and started again", false), ("started without its view, which is rebuilt", true)] {
        if removes_view {
            std::fs::remove_dir_all(data.join("view")).unwrap();
        }
        let (daemon, doors_ms) = start(directory.path(), address);
        let before = delivered.load(Ordering::Relaxed);
        let stopwatch = Stopwatch::start();
        publish(address, 1, healthy);
        while delivered.load(Ordering::Relaxed) == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        let first_ms = stopwatch.elapsed_ms();
        println!("| {what}: doors open after, first delivery of a new event | {:.2} s, {first_ms} ms |", f64::from(doors_ms) / 1000.0);
        println!("| resident memory then | {} MiB |", resident_mib(&daemon.0));
        drop(daemon);
    }
}
