//! A daemon of the real binary in a directory of its own, a receiver, and a client. It never looks inside the process but for what `/proc` says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use hookwheel::time::Stopwatch;

/// Events of one request.
pub(crate) const BATCH: u64 = 5000;
/// Where a house has it, this file has the root certificates that its daemon trusts.
pub(crate) const TRUSTED: &str = "trusted.pem";
/// The kernel counts processor time in these (`CLK_TCK`).
const TICK_MS: f64 = 10.0;

/// A directory with a configuration.
pub(crate) struct House {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) address: SocketAddr,
}

/// A running daemon; it is killed in the end.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address at which nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl House {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), address: free_address() }
    }

    /// Writes the configuration: what follows `[server]` and `[egress]`, and the webhooks, each with id, project, URL and whatever more.
    pub(crate) fn configure(&self, settings: &str, webhooks: impl IntoIterator<Item = (String, String, SocketAddr, &'static str)>) {
        let mut text = format!(
            "[server]\nlisten = \"{}\"\ndata_dir = \"data\"\nadmin_socket = \"admin.sock\"\n[egress]\nallow_networks = [\"127.0.0.0/8\"]\n{settings}\n",
            self.address
        );
        for (id, project, url, more) in webhooks {
            text.push_str(&format!(
                "[[webhook]]\nid = \"{id}\"\ntitle = \"{id}\"\nproject = \"{project}\"\nurl = \"http://{url}/\"\nevents = [\"*\"]\n{more}\n"
            ));
        }
        std::fs::write(self.directory.path().join("webhooks.toml"), text).unwrap();
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts the daemon; the milliseconds until its doors are open.
    pub(crate) fn start(&self) -> (Running, u64) {
        self.start_and(|_| ())
    }

    /// Like [`House::start`]; whoever wants to look at it meanwhile is told its number.
    pub(crate) fn start_and(&self, tell: impl FnOnce(u32)) -> (Running, u64) {
        let stopwatch = Stopwatch::start();
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let child = self.command(&["serve", "--config", "webhooks.toml"]).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        tell(running.pid());
        while !self.request("GET", "/readyz", "").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            assert!(stopwatch.elapsed_ms() < 1_200_000, "the daemon does not open its doors: {}", self.directory.path().display());
            std::thread::sleep(Duration::from_millis(2));
        }
        (running, stopwatch.elapsed_ms())
    }

    /// A command that speaks to the daemon, or is one.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookwheel"));
        command.args(arguments).current_dir(self.directory.path());
        if self.directory.path().join(TRUSTED).exists() {
            command.env("SSL_CERT_FILE", TRUSTED).env_remove("SSL_CERT_DIR");
        }
        command
    }

    /// The whole answer to a request on a connection of its own; `None` when nobody listens.
    fn request(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Posts that many events, each of the project that its number gives and with the id that it gives; where too much is on its way the daemon says so, and is asked again.
    pub(crate) fn publish(&self, numbers: std::ops::Range<u64>, project: impl Fn(u64) -> String, id: impl Fn(u64) -> Option<String>) {
        let text = "x".repeat(60);
        let event = |number| {
            let (project, id) = (project(number), id(number).map_or_else(String::new, |id| format!(r#""id":"{id}","#)));
            format!(
                r#"{{"type":"email.status.delivered",{id}"project":"{project}","data":{{"messageId":"ba28a6794d4ca9c767c98fb9","email":"user@example.com","text":"{text}"}}}}"#
            )
        };
        let body = numbers.map(event).collect::<Vec<_>>().join("\n");
        loop {
            let answer = self.request("POST", "/v1/events", &body).unwrap();
            if answer.starts_with("HTTP/1.1 202") {
                return;
            }
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Milliseconds from an event to its first attempt.
    pub(crate) fn first_delivery_ms(&self, delivered: &AtomicU64, project: &str) -> u64 {
        let before = delivered.load(Ordering::Relaxed);
        let stopwatch = Stopwatch::start();
        self.publish(0..1, |_| project.to_owned(), |_| None);
        while delivered.load(Ordering::Relaxed) == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        stopwatch.elapsed_ms()
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn resident_mib(&self) -> u64 {
        resident_mib(self.pid()).unwrap()
    }

    /// Milliseconds of processor time since its start.
    pub(crate) fn processor_ms(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace().collect::<Vec<_>>();
        // utime and stime are the fields 14 and 15; what is here begins with the third.
        [11, 12].map(|field| fields[field].parse::<f64>().unwrap()).iter().sum::<f64>() * TICK_MS
    }
}

pub(crate) fn resident_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// The sum of what the files of a directory have on the disk.
pub(crate) fn disk_mib(directory: &Path) -> u64 {
    fn bytes(directory: &Path) -> u64 {
        let size = |entry: std::fs::DirEntry| {
            if entry.path().is_dir() { bytes(&entry.path()) } else { entry.metadata().map_or(0, |file| file.len()) }
        };
        std::fs::read_dir(directory).map_or(0, |entries| entries.flatten().map(size).sum())
    }
    bytes(directory) >> 20
}

async fn receive(State(delivered): State<Arc<AtomicU64>>) -> StatusCode {
    delivered.fetch_add(1, Ordering::Relaxed);
    StatusCode::OK
}

/// A receiver that counts.
pub(crate) fn receiver(runtime: &tokio::runtime::Runtime) -> (SocketAddr, Arc<AtomicU64>) {
    let delivered = Arc::new(AtomicU64::new(0));
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/", post(receive)).with_state(Arc::clone(&delivered));
    runtime.spawn(async move { axum::serve(listener, router).await });
    (address, delivered)
}
