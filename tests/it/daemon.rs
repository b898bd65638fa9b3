//! A daemon of the real binary in a directory of its own, and the commands that speak to it. It never looks inside the process.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_hookwheel");
/// Polls of ten milliseconds before a test gives up.
const PATIENCE: usize = 6000;

/// A directory with a configuration, in which a daemon can run.
pub(crate) struct House {
    pub(crate) directory: TempDir,
}

/// A running daemon.
pub(crate) struct Daemon<'a> {
    house: &'a House,
    child: Child,
    pub(crate) address: SocketAddr,
}

/// The real time, by which these tests measure.
#[expect(clippy::disallowed_methods, reason = "they watch a process from outside")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until `done` gives something.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE {
        if let Some(value) = done() {
            return value;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("waited in vain: {what}");
}

impl House {
    /// `webhooks` is what follows `[server]`; loopback may be dialled.
    pub(crate) fn new(webhooks: &str) -> Self {
        let house = Self { directory: TempDir::new().unwrap() };
        house.configure(webhooks);
        house
    }

    pub(crate) fn configure(&self, webhooks: &str) {
        let server = "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nadmin_socket = \"admin.sock\"\n";
        // Two lines, and not three: tests know on which line their webhooks begin.
        let egress = "egress.allow_networks = [\"127.0.0.0/8\"]\negress.allow_ports = [1, 9]\n";
        // In one step, for a daemon may read it at any moment.
        fs::write(self.path("webhooks.toml.new"), format!("{egress}{server}{webhooks}")).unwrap();
        fs::rename(self.path("webhooks.toml.new"), self.path("webhooks.toml")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn serve(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--config"]).arg(self.path("webhooks.toml")).env_remove("NOTIFY_SOCKET").env_remove("HOOKWHEEL_SOCKET");
        command
    }

    /// Starts a daemon and waits until its doors are open.
    pub(crate) fn start(&self) -> Daemon<'_> {
        self.start_as(self.serve())
    }

    pub(crate) fn start_as(&self, command: Command) -> Daemon<'_> {
        self.try_start_as(command).unwrap_or_else(|ended| panic!("the daemon ended with {ended:?}:\n{}", self.log()))
    }

    /// A daemon with its doors open, or how it ended before.
    pub(crate) fn try_start_as(&self, mut command: Command) -> Result<Daemon<'_>, ExitStatus> {
        command.stdout(Stdio::null());
        self.try_start_with_output(command)
    }

    /// Like [`House::start_as`], with a standard output of the command's own.
    pub(crate) fn start_with_output(&self, command: Command) -> Daemon<'_> {
        self.try_start_with_output(command).unwrap_or_else(|ended| panic!("the daemon ended with {ended:?}:\n{}", self.log()))
    }

    fn try_start_with_output(&self, mut command: Command) -> Result<Daemon<'_>, ExitStatus> {
        let log = fs::File::create(self.path("log")).unwrap();
        let mut child = command.stderr(log).spawn().unwrap();
        let address = until("the daemon opens its doors", || {
            if let Some(ended) = child.try_wait().unwrap() {
                return Some(Err(ended));
            }
            let log = self.log();
            let (_, rest) = log.split_once("ready listen=")?;
            Some(Ok(rest.split_whitespace().next()?.parse().ok()?))
        });
        Ok(Daemon { house: self, child, address: address? })
    }

    /// A daemon that is expected not to start: its exit code and what it said.
    pub(crate) fn refused(&self) -> (i32, String) {
        let output = self.serve().output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs a command against this house's socket.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(BINARY).args(arguments).env("HOOKWHEEL_SOCKET", self.path("admin.sock")).output().unwrap()
    }

    /// What a command prints; it must succeed.
    pub(crate) fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The JSON that a command prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Waits until nothing is pending, and gives the status then.
    pub(crate) fn drained(&self) -> Value {
        until("everything is delivered or dropped", || Some(self.json(&["status"])).filter(|status| status["pending"] == 0))
    }
}

impl Daemon<'_> {
    /// Posts and gives back status and body.
    pub(crate) fn post(&self, content_type: &str, body: &[u8]) -> (u16, Value) {
        self.try_post(content_type, body).expect("the daemon answers")
    }

    /// Posts; nothing when the daemon goes away meanwhile.
    pub(crate) fn try_post(&self, content_type: &str, body: &[u8]) -> Option<(u16, Value)> {
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        exchange(self.address, &[head.as_bytes(), body].concat())
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory that it had resident at its most.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit status.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn house(&self) -> &House {
        self.house
    }
}

/// A test that panics leaves no daemon behind.
impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends raw bytes, which ask for the connection to be closed, and reads one answer to its end.
pub(crate) fn exchange(address: SocketAddr, request: &[u8]) -> Option<(u16, Value)> {
    let stream = TcpStream::connect(address).ok()?;
    converse(stream, request)
}

/// One request over an admin socket: status and body.
pub(crate) fn exchange_with_socket(socket: &Path, method: &str, path: &str, body: &str) -> Option<(u16, Value)> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    converse(UnixStream::connect(socket).ok()?, &[head.as_bytes(), body.as_bytes()].concat())
}

/// Sends the beginning of a request and nothing more.
pub(crate) fn cut_short(address: SocketAddr, request: &[u8]) -> Option<(u16, Value)> {
    let stream = TcpStream::connect(address).ok()?;
    let sending = stream.try_clone().ok()?;
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        sending.shutdown(Shutdown::Write)
    });
    converse(stream, request)
}

fn converse(mut stream: impl Read + Write, request: &[u8]) -> Option<(u16, Value)> {
    // A daemon that refuses a large body closes before all of it is written; its answer counts.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// A `[[webhook]]` of `shop.example.com` that wants everything.
pub(crate) fn webhook(id: &str, url: &str, more: &str) -> String {
    webhook_of("shop.example.com", id, url, more)
}

pub(crate) fn webhook_of(project: &str, id: &str, url: &str, more: &str) -> String {
    format!("[[webhook]]\nid = \"{id}\"\ntitle = \"{id}\"\nproject = \"{project}\"\nurl = \"{url}\"\nevents = [\"*\"]\n{more}\n")
}

/// One event of `shop.example.com` as JSON.
pub(crate) fn event(id: &str) -> String {
    format!(r#"{{"type":"email.status.delivered","project":"shop.example.com","id":"{id}","data":{{"n":"{id}"}}}}"#)
}
