//! The last good configuration: remembered when one comes into force, sealed where there is a key, and started with when the file on disk is broken. It never does so unasked or quietly.

use std::path::Path;

use zeroize::Zeroizing;

use super::{DaemonError, vault};
use crate::config::{self, Config, Environment, Mistakes, ServerSettings};
use crate::model::sealing;
use crate::store::data_dir;

/// The place that it is sealed for.
const PLACE: &str = "the last good configuration";

/// A configuration to start with.
pub(super) struct Loaded {
    /// It.
    pub(super) config: Config,
    /// What is wrong with the file on disk, when this is not what stands there.
    pub(super) mistakes: Option<Mistakes>,
}

/// Reads the configuration at `path`; when it is broken and `last_good` was asked for, the one that was in force last.
///
/// # Errors
/// [`DaemonError::Configuration`] with the mistakes of the file at `path`, when there is nothing to fall back on.
pub(super) fn load(path: &Path, last_good: bool, environment: &Environment) -> Result<Loaded, DaemonError> {
    let mistakes = match Config::load(path, environment) {
        Ok(config) => return Ok(Loaded { config, mistakes: None }),
        Err(mistakes) => mistakes,
    };
    if !last_good {
        return Err(DaemonError::Configuration(mistakes));
    }
    // The key that sealed the last good one is named in the broken file, or else it stays closed.
    let server = config::server_despite_mistakes(path, environment);
    let config = match remembered(&server, path, environment) {
        Ok(config) => config,
        Err(why) => {
            tracing::error!(data_dir = %server.data_dir.display(), "the configuration is broken, and {why}");
            return Err(DaemonError::Configuration(mistakes));
        }
    };
    for mistake in mistakes.to_string().lines() {
        tracing::error!("{mistake}");
    }
    tracing::error!("the configuration is broken: starting with the one that was in force last. Mend {} and reload", path.display());
    Ok(Loaded { config, mistakes: Some(mistakes) })
}

/// The last good configuration of the file at `path`, or why there is none.
fn remembered(server: &ServerSettings, path: &Path, environment: &Environment) -> Result<Config, String> {
    still_good(&remembered_text(server)?, path, environment).ok_or_else(nothing)
}

/// Relative paths in it still begin where the file is; a secret's file may be gone, and then it is good no longer.
fn still_good(text: &str, path: &Path, environment: &Environment) -> Option<Config> {
    Config::parse(path, text, environment).ok()
}

fn remembered_text(server: &ServerSettings) -> Result<Zeroizing<String>, String> {
    let stored = data_dir::remembered_configuration(&server.data_dir).ok().flatten().ok_or_else(nothing)?;
    let opened = sealing::open_text(&server.sealing_keys, &stored, PLACE);
    opened.map(|(text, _)| text).map_err(|why| format!("the last good one {why}"))
}

fn nothing() -> String {
    "there is no earlier good one to start with".to_owned()
}

/// Whether this configuration names no tokens, and the one that was in force last did. One that is good no longer is taken for one that did not.
pub(super) fn lost_tokens(config: &Config, environment: &Environment) -> bool {
    if !config.tokens.is_empty() {
        return false;
    }
    // What has not changed need not be parsed again, and it may be long.
    let last = remembered_text(&config.server).ok().filter(|last| **last != **config.source.0);
    last.and_then(|last| still_good(&last, &config.path, environment)).is_some_and(|last| !last.tokens.is_empty())
}

/// Remembers a configuration that is in force. That this fails is no reason to stop.
pub(super) fn remember(data_dir: &Path, config: &Config) {
    let (keys, text) = (&config.server.sealing_keys, &config.source.0);
    let known = data_dir::remembered_configuration(data_dir).ok().flatten();
    let known = known.and_then(|known| sealing::open_text(keys, &known, PLACE).ok());
    if known.is_some_and(|(known, is_current)| is_current && *known == ***text) {
        return;
    }
    let written = vault::nonce().and_then(|nonce| {
        let stored = Zeroizing::new(sealing::stored_text(keys, text, PLACE, nonce));
        data_dir::remember_configuration(data_dir, &stored).map_err(|error| error.to_string())
    });
    if let Err(error) = written {
        tracing::warn!(%error, "the configuration could not be remembered for `serve --last-good`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, text: &str) -> std::path::PathBuf {
        let path = directory.join("webhooks.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_broken_file_is_replaced_by_what_was_in_force_only_when_asked_for_and_with_its_mistakes() {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment::default();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        let good = "[server]\ndata_dir = \"d\"\n[limits]\nmax_pending = 77\n";
        let path = write(directory.path(), good);
        remember(&directory.path().join("d"), &load(&path, true, &environment).unwrap().config);

        write(directory.path(), "[server]\ndata_dir = \"d\"\nlistn = 5\n");
        assert!(matches!(load(&path, false, &environment), Err(DaemonError::Configuration(_))));
        let loaded = load(&path, true, &environment).unwrap();
        assert_eq!((loaded.config.limits.max_pending, loaded.config.server.data_dir), (77, directory.path().join("d")));
        assert!(loaded.mistakes.unwrap().to_string().contains("webhooks.toml:3:1: unknown key \"listn\""));
    }

    #[test]
    fn with_a_key_it_is_sealed_and_opens_while_the_broken_file_still_names_the_key() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("d");
        std::fs::create_dir(&data).unwrap();
        for (name, byte) in [("key", 1), ("other", 2)] {
            std::fs::write(directory.path().join(name), data_encoding::BASE64.encode(&[byte; 32])).unwrap();
        }
        let environment = Environment::default();
        let head = "[server]\ndata_dir = \"d\"\nkey_file = \"key\"\n";
        let path = write(directory.path(), &format!("{head}[limits]\nmax_pending = 77\n"));
        let good = load(&path, true, &environment).unwrap().config;
        let mut keyless = good.clone();
        keyless.server.sealing_keys.clear();
        remember(&data, &keyless);
        let stored = || std::fs::read_to_string(data.join("last-good.toml")).unwrap();
        assert!(stored().contains("max_pending"), "in the clear without a key");
        remember(&data, &good);
        let sealed = stored();
        assert!(!sealed.contains("max_pending"), "{sealed}");
        remember(&data, &good);
        assert_eq!(stored(), sealed, "once is enough");

        write(directory.path(), &format!("{head}listn = 5\n"));
        assert_eq!(load(&path, true, &environment).unwrap().config.limits.max_pending, 77);
        for other in ["", "key_file = \"other\"\n", "key_file = 5\n"] {
            write(directory.path(), &format!("[server]\ndata_dir = \"d\"\n{other}listn = 5\n"));
            assert!(matches!(load(&path, true, &environment), Err(DaemonError::Configuration(_))), "{other}");
        }
    }

    #[test]
    fn with_nothing_to_fall_back_on_the_mistakes_end_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), "[server]\ndata_dir = \"d\"\nlistn = 5\n");
        assert!(matches!(load(&path, true, &Environment::default()), Err(DaemonError::Configuration(_))));
        std::fs::create_dir(directory.path().join("d")).unwrap();
        data_dir::remember_configuration(&directory.path().join("d"), "also = broken").unwrap();
        assert!(matches!(load(&path, true, &Environment::default()), Err(DaemonError::Configuration(_))));
    }
}
