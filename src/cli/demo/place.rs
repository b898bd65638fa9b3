//! A daemon of this very program in a temporary directory, both gone when this is dropped. It never leaves anything behind but by a `kill -9`, and then no process.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::super::client::{Address, Client};
use super::super::failure::Failure;
use crate::limits::SOCKET_PATH_LENGTH_MAX;
use crate::model::report::Status;
use crate::time::Stopwatch;

const START_TIMEOUT_MS: u64 = 20_000;
const STOP_TIMEOUT_MS: u64 = 8000;
/// Last lines of the daemon's log that are told when it fails.
const LOG_LINES: usize = 8;

/// A running daemon with everything that it needs.
pub(super) struct Place {
    directory: Directory,
    child: Child,
    /// As long as it is open, the daemon runs: it ends by itself when this process is no more, however that ended.
    input: Option<ChildStdin>,
}

/// A directory that is deleted with everything in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        let mut bits = [0; 5];
        aws_lc_rs::rand::fill(&mut bits).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let name = format!("hookwheel-demo-{}", data_encoding::BASE32_NOPAD.encode(&bits).to_ascii_lowercase());
        let usual = std::path::absolute(std::env::temp_dir())?.join(&name);
        // A Unix socket has to fit below it.
        let fits = usual.join(".0000000/s").as_os_str().len() <= SOCKET_PATH_LENGTH_MAX;
        let path = if fits { usual } else { Path::new("/tmp").join(name) };
        DirBuilder::new().mode(0o700).create(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}; TMPDIR names another directory for temporary files", path.display()))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What can't be deleted now could not be told to anybody who would do better.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Place {
    /// Starts a daemon without webhooks on a free port, and waits until its doors are open.
    ///
    /// # Errors
    /// What kept it from starting.
    pub(super) fn start() -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::Refused(format!("the demo could not start: {error}"));
        let directory = Directory::new().map_err(failed)?;
        write_configuration(&directory.0, "").map_err(failed)?;
        let log = File::create(directory.0.join("log")).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["serve", "--until-end-of-input", "--config"]).arg(directory.0.join("webhooks.toml"));
        for name in ["HOOKWHEEL_SOCKET", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            command.env_remove(name);
        }
        // A group of its own: Ctrl-C ends the demo, and the demo ends the daemon.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let input = child.stdin.take();
        let mut place = Self { directory, child, input };
        place.wait_for_the_doors()?;
        Ok(place)
    }

    /// The way to the daemon.
    ///
    /// # Errors
    /// When the system refuses an event loop.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Client::new(Address::Socket(self.socket()))
    }

    /// The daemon's admin socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.directory.0.join("admin.sock")
    }

    /// Where everything is.
    pub(super) fn path(&self) -> &Path {
        &self.directory.0
    }

    /// Writes these webhooks into the configuration.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn configure(&self, webhooks: &str) -> Result<(), Failure> {
        write_configuration(&self.directory.0, webhooks)
            .map_err(|error| Failure::Refused(format!("can't write the configuration: {error}")))
    }

    /// The daemon ended by itself, which it should not: why, as far as it told.
    pub(super) fn ended(&mut self) -> Option<Failure> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(Failure::Refused(format!("the demo's daemon ended ({status}). The end of its log:\n{}", self.log())))
    }

    /// The last lines of the daemon's log.
    pub(super) fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.0.join("log")).unwrap_or_default();
        let lines = log.lines().collect::<Vec<_>>();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    fn wait_for_the_doors(&mut self) -> Result<(), Failure> {
        let (client, waiting) = (self.client()?, Stopwatch::start());
        loop {
            if let Some(failure) = self.ended() {
                return Err(failure);
            }
            match client.get::<Status>("/v1/status") {
                Ok(_) => return Ok(()),
                Err(_) if waiting.elapsed_ms() < START_TIMEOUT_MS => std::thread::sleep(Duration::from_millis(10)),
                Err(failure) => return Err(failure.and(&format!("the end of the daemon's log:\n{}", self.log()))),
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.input = None;
        let waiting = Stopwatch::start();
        while matches!(self.child.try_wait(), Ok(None)) {
            if waiting.elapsed_ms() > STOP_TIMEOUT_MS {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn write_configuration(directory: &Path, webhooks: &str) -> io::Result<()> {
    let mut file = File::create(directory.join("webhooks.toml"))?;
    writeln!(file, "[server]\nlisten       = \"127.0.0.1:0\"\nadmin_socket = \"admin.sock\"\ndata_dir     = \"data\"\n\n{webhooks}")
}
