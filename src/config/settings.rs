//! The sections that there is one of: `[server]`, `[limits]`, `[ingest]`, `[egress]`, `[history]`. It never opens what they name.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::environment::{Environment, default_data_dir, default_socket};
use super::listener_tls::ListenerTls;
use super::mistakes::Report;
use super::notation::{self, DURATION, PATH, SIZE};
use super::raw::{self, Section};
use super::secret;
use crate::limits;
use crate::model::SealingKey;

const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8700);
const LISTEN: &str = "an address and a port in quotes, such as \"127.0.0.1:8700\"";
const IDEMPOTENCY_DEFAULT_MS: u64 = 24 * 3_600_000;
const KEEP_DEFAULT_MS: u64 = 72 * 3_600_000;
const HISTORY_SIZE_DEFAULT: u64 = 10 << 30;

/// `[server]`: where the daemon is found and where it keeps its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerSettings {
    /// The TCP listener; port 0 is any free one. Default 127.0.0.1:8700.
    pub listen: SocketAddr,
    /// The Unix socket of the commands; see [`default_socket`].
    pub admin_socket: PathBuf,
    /// Everything that outlives the process; see [`default_data_dir`].
    pub data_dir: PathBuf,
    /// With what the listener speaks TLS. Left out, it speaks none.
    pub tls: Option<ListenerTls>,
    /// The file with the keys below.
    pub key_file: Option<PathBuf>,
    /// What stored secrets are sealed with: the first seals, all open. None: they are stored in the clear.
    pub sealing_keys: Vec<SealingKey>,
}

impl ServerSettings {
    /// Whether only this machine can reach the listener.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.listen.ip().to_canonical().is_loopback()
    }

    pub(super) fn read(file: &mut Section<'_>, config_directory: &Path, environment: &Environment, report: &mut Report<'_>) -> Self {
        let mut section = file.section("server", report);
        let has_tokens = file.value("token").is_some();
        let listen = section.text("listen", LISTEN, report).and_then(|(text, span)| {
            let listen = socket_address(text).map_err(|sentence| report.wrong(span.start, format!("listen: {sentence}"))).ok()?;
            if !listen.ip().to_canonical().is_loopback() && !has_tokens {
                let message = format!(
                    "listen: {listen} can be reached from other machines, which needs at least one [[token]]; `hookwheel token new NAME --project DOMAIN --toml` makes one"
                );
                report.missing(span.start, message);
            }
            Some(listen)
        });
        let admin_socket = section.parsed("admin_socket", PATH, report, |text| socket_path(text, config_directory));
        let data_dir = section.parsed("data_dir", PATH, report, |text| notation::path(text, config_directory));
        let tls = ListenerTls::read(&mut section, config_directory, environment, report);
        let keys = section.parsed("key_file", PATH, report, |text| secret::sealing_keys(text, config_directory, environment));
        let (key_file, sealing_keys) = keys.unzip();
        section.finish(&[], report);
        Self {
            tls,
            key_file,
            sealing_keys: sealing_keys.unwrap_or_default(),
            listen: listen.unwrap_or(LISTEN_DEFAULT),
            admin_socket: admin_socket.unwrap_or_else(|| default_socket(environment)),
            data_dir: data_dir.unwrap_or_else(|| default_data_dir(environment)),
        }
    }
}

/// `[limits]`: how much of everything there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attempts at once, all webhooks.
    pub max_in_flight: u32,
    /// Pending deliveries, all webhooks.
    pub max_pending: u32,
    /// Pending deliveries of one webhook; never more than `max_pending`.
    pub max_pending_per_webhook: u32,
    /// Bytes of one event as submitted.
    pub max_event_size: usize,
    /// Connections to the listener at once.
    pub max_connections: u32,
}

impl Limits {
    pub(super) fn read(file: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let mut section = file.section("limits", report);
        let max_in_flight = section.integer("max_in_flight", 1..=limits::IN_FLIGHT_MAX, report);
        let max_pending = section.integer("max_pending", 1..=limits::PENDING_MAX, report).unwrap_or(limits::PENDING_DEFAULT);
        let per_webhook = section.integer("max_pending_per_webhook", 1..=max_pending, report);
        let event_size_max = limits::EVENT_SIZE_MAX as u64;
        let event_size = section.parsed("max_event_size", SIZE, report, |text| notation::size_bytes(text, 1..=event_size_max));
        let max_connections = section.integer("max_connections", 1..=limits::CONNECTIONS_MAX, report);
        section.finish(&[], report);
        Self {
            max_in_flight: max_in_flight.unwrap_or(limits::IN_FLIGHT_DEFAULT),
            max_pending,
            max_pending_per_webhook: per_webhook.unwrap_or(limits::PENDING_PER_WEBHOOK_DEFAULT.min(max_pending)),
            max_event_size: event_size.and_then(|size| usize::try_from(size).ok()).unwrap_or(limits::EVENT_SIZE_DEFAULT),
            max_connections: max_connections.unwrap_or(limits::CONNECTIONS_DEFAULT),
        }
    }
}

/// `[ingest]`: how events are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngestSettings {
    /// How long a repeated id is recognized, in milliseconds.
    pub idempotency_ms: u64,
}

impl IngestSettings {
    pub(super) fn read(file: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let mut section = file.section("ingest", report);
        let idempotency = section.parsed("idempotency", DURATION, report, |text| notation::duration_ms(text, 0..=limits::DURATION_MAX_MS));
        section.finish(&[], report);
        Self { idempotency_ms: idempotency.unwrap_or(IDEMPOTENCY_DEFAULT_MS) }
    }
}

/// `[egress]`: which addresses may be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressSettings {
    /// Networks that may be dialled although their range is refused by default.
    pub allow_networks: Vec<IpNet>,
    /// Ports that may be dialled although they belong to other services than HTTP.
    pub allow_ports: Vec<u16>,
    /// Whether `http://` is refused.
    pub require_https: bool,
}

impl EgressSettings {
    pub(super) fn read(file: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let mut section = file.section("egress", report);
        let allow_networks = notation::networks(&mut section, "allow_networks", report);
        let allow_ports = ports(&mut section, report);
        let require_https = section.flag("require_https", report).unwrap_or(false);
        section.finish(&[], report);
        Self { allow_networks, allow_ports, require_https }
    }
}

/// `[history]`: how long finished deliveries and their attempts are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// Milliseconds …
    pub keep_ms: u64,
    /// … as far as they fit into so many bytes.
    pub max_size_bytes: u64,
}

impl HistorySettings {
    pub(super) fn read(file: &mut Section<'_>, report: &mut Report<'_>) -> Self {
        let mut section = file.section("history", report);
        let keep = section.parsed("keep", DURATION, report, |text| notation::duration_ms(text, 0..=limits::DURATION_MAX_MS));
        let max_size = section.parsed("max_size", SIZE, report, |text| notation::size_bytes(text, 0..=u64::MAX));
        section.finish(&[], report);
        Self { keep_ms: keep.unwrap_or(KEEP_DEFAULT_MS), max_size_bytes: max_size.unwrap_or(HISTORY_SIZE_DEFAULT) }
    }
}

/// `allow_ports = [25]`
fn ports(section: &mut Section<'_>, report: &mut Report<'_>) -> Vec<u16> {
    const KEY: &str = "allow_ports";
    let Some((list, _)) = section.list(KEY, "a list of ports, such as [25]", report) else { return Vec::new() };
    let ports = list.iter().filter_map(|value| raw::integer(value, 1..=u32::from(u16::MAX), KEY, report));
    ports.filter_map(|port| u16::try_from(port).ok()).collect()
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let hint = match text.rsplit_once(':') {
            Some(("", port)) => format!("; every address of this machine is \"0.0.0.0:{port}\""),
            Some(("localhost", port)) => format!("; did you mean \"127.0.0.1:{port}\"?"),
            _ => String::new(),
        };
        format!("expected {LISTEN}, found {text:?}{hint}")
    })
}

fn socket_path(text: &str, config_directory: &Path) -> Result<PathBuf, String> {
    let path = notation::path(text, config_directory)?;
    let (length, length_max) = (path.as_os_str().len(), limits::SOCKET_PATH_LENGTH_MAX);
    if length > length_max {
        return Err(format!("{text:?} makes a path of {length} bytes; a Unix socket's has at most {length_max}"));
    }
    Ok(path)
}
