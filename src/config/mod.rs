//! `webhooks.toml`: read, checked as a whole, and every default filled in. It never applies what it read, and never writes.
//!
//! Reading has two stages. `raw` knows the shape of the file: sections, keys, types, places. One file per family of sections
//! then parses each value into what it means. Both hand their mistakes to one report, so that a person sees all of them at once.

mod definition;
mod delivery;
mod effective;
mod environment;
mod event_type;
mod listener_tls;
mod mistakes;
mod notation;
mod outside;
pub mod pem;
mod raw;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod warnings;
mod webhook;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use environment::{Environment, default_data_dir, default_socket, socket_of_a_daemon};
pub use listener_tls::ListenerTls;
pub use mistakes::{Mistake, Mistakes};
pub use settings::{EgressSettings, HistorySettings, IngestSettings, Limits, ServerSettings};

use zeroize::Zeroizing;

use crate::limits::CONFIG_SIZE_MAX;
use crate::model::{Catalog, Token, WebhookSpec};
use delivery::DeliverySettings;
use mistakes::Report;
use raw::Section;

/// Where the configuration is looked for, in this order.
const PATHS_DEFAULT: [&str; 2] = ["webhooks.toml", "/etc/hookwheel/webhooks.toml"];
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A checked configuration: everything that the daemon is told from outside, with no value left open.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that it was read from.
    pub path: PathBuf,
    /// What stood in it.
    pub source: SourceText,
    /// `[server]`.
    pub server: ServerSettings,
    /// `[limits]`.
    pub limits: Limits,
    /// `[ingest]`.
    pub ingest: IngestSettings,
    /// `[egress]`.
    pub egress: EgressSettings,
    /// `[history]`.
    pub history: HistorySettings,
    /// `[delivery]`.
    delivery: DeliverySettings,
    /// How long a webhook that is gone from the file is paused before its deliveries are cancelled, in milliseconds.
    pub orphan_grace_ms: u64,
    /// Every `[[webhook]]`, with what `[delivery]` and `[egress]` say merged in. Their ids differ.
    pub webhooks: Vec<WebhookSpec>,
    /// Every `[[token]]`.
    pub tokens: Vec<Token>,
    /// The built-in event types and every `[[event_type]]`.
    pub catalog: Catalog,
}

/// The text of a configuration, kept so that a good one can be remembered. It may hold secrets, so it is never printed, and wiped with its last user.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceText(pub Arc<Zeroizing<String>>);

impl fmt::Debug for SourceText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SourceText({} bytes)", self.0.len())
    }
}

impl Config {
    /// Reads and checks the file at `path`, and the files and variables that hold its secrets.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(path: &Path, environment: &Environment) -> Result<Self, Mistakes> {
        let bytes = read(path).map_err(|message| Mistakes::of_file(path, message))?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(path, text, environment),
            Err(error) => Err(not_utf8(path, &bytes, error.valid_up_to())),
        }
    }

    /// Checks `text` as the content of the file at `path`. Relative paths in it begin in that file's directory.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Self, Mistakes> {
        let (text, has_mark) = text.strip_prefix(BYTE_ORDER_MARK).map_or((text, false), |text| (text, true));
        let mut report = Report::new(path, text);
        if has_mark {
            report.wrong(0, "the file begins with a byte order mark; save it as UTF-8 without one");
        }
        let readable = raw::report_syntax(text, &mut report);
        let table = raw::table(&readable);
        let source = SourceText(Arc::new(Zeroizing::new(text.to_owned())));
        let config = Self::check(path, source, Section::whole(&table), environment, &mut report);
        report.into_mistakes().map_or(Ok(config), Err)
    }

    fn check(path: &Path, source: SourceText, mut file: Section<'_>, environment: &Environment, report: &mut Report<'_>) -> Self {
        let config_directory = path.parent().unwrap_or(Path::new(""));
        let server = ServerSettings::read(&mut file, config_directory, environment, report);
        let limits = Limits::read(&mut file, report);
        let ingest = IngestSettings::read(&mut file, report);
        let egress = EgressSettings::read(&mut file, report);
        let history = HistorySettings::read(&mut file, report);
        let (delivery, orphan_grace_ms) = DeliverySettings::read(&mut file, report);
        let catalog = event_type::catalog(&mut file, report);
        let tokens = token::tokens(&mut file, report);
        let around = webhook::Surroundings { catalog: &catalog, delivery: &delivery, egress: &egress, config_directory, environment };
        let webhooks = webhook::webhooks(&mut file, &around, report);
        file.finish(&[], report);
        Self {
            path: path.to_owned(),
            source,
            server,
            limits,
            ingest,
            egress,
            history,
            delivery,
            orphan_grace_ms,
            webhooks,
            tokens,
            catalog,
        }
    }
}

/// `[server]` of the file at `path`, as far as that can be read despite its mistakes, and the defaults for the rest: where the data lies, and what opens it.
#[must_use]
pub fn server_despite_mistakes(path: &Path, environment: &Environment) -> ServerSettings {
    server_in(path, &String::from_utf8_lossy(&read(path).unwrap_or_default()), environment)
}

/// The same of `text` as the content of that file. Public for fuzzing.
#[must_use]
pub fn server_in(path: &Path, text: &str, environment: &Environment) -> ServerSettings {
    let mut report = Report::new(path, text);
    let readable = raw::report_syntax(text, &mut report);
    let table = raw::table(&readable);
    let config_directory = path.parent().unwrap_or(Path::new(""));
    ServerSettings::read(&mut Section::whole(&table), config_directory, environment, &mut report)
}

/// The configuration file to use: the `explicit` one, else `webhooks.toml` here, else `/etc/hookwheel/webhooks.toml`.
///
/// # Errors
/// A sentence when there is none. Whether an explicit one exists is seen when it is read.
pub fn find(explicit: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = explicit {
        return Ok(path.to_owned());
    }
    find_among(PATHS_DEFAULT.map(Path::new))
}

fn find_among(paths: [&Path; 2]) -> Result<PathBuf, String> {
    // A link that leads nowhere is found, too: reading it says what is wrong, silently going on to the next would not.
    let found = paths.into_iter().find(|path| path.symlink_metadata().is_ok());
    let [here, system] = paths.map(Path::display);
    found.map(Path::to_owned).ok_or_else(|| format!("there is no {here} here and no {system}; name the configuration with --config"))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    if path.is_dir() {
        return Err(format!("this is a directory; expected a file such as {}", path.join(PATHS_DEFAULT[0]).display()));
    }
    let failed = |error: std::io::Error| format!("can't be read: {error}");
    let bytes = File::open(path).and_then(|file| outside::up_to(CONFIG_SIZE_MAX, file)).map_err(failed)?;
    if bytes.len() as u64 > CONFIG_SIZE_MAX {
        return Err(format!("larger than {} MiB: that is no configuration", CONFIG_SIZE_MAX >> 20));
    }
    Ok(bytes)
}

fn not_utf8(path: &Path, bytes: &[u8], valid_up_to: usize) -> Mistakes {
    let before = String::from_utf8_lossy(&bytes[..valid_up_to]);
    let byte = bytes.get(valid_up_to).copied().unwrap_or_default();
    Mistakes::at(path, &before, valid_up_to, format!("the byte 0x{byte:02X} is not UTF-8; save the file as UTF-8"))
}
