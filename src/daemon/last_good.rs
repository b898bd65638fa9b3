//! The last good configuration: remembered when one comes into force, started with when the file on disk is broken. It never does so unasked or quietly.

use std::path::Path;

use super::DaemonError;
use crate::config::{self, Config, Environment, Mistakes};
use crate::store::data_dir;

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
    let data_dir = config::data_dir_despite_mistakes(path, environment);
    let remembered = data_dir::remembered_configuration(&data_dir).ok().flatten();
    // Relative paths in it still begin where the file is; a secret's file may be gone, and then it is good no longer.
    let Some(config) = remembered.and_then(|text| Config::parse(path, &text, environment).ok()) else {
        tracing::error!(data_dir = %data_dir.display(), "the configuration is broken, and there is no earlier good one to start with");
        return Err(DaemonError::Configuration(mistakes));
    };
    for mistake in mistakes.to_string().lines() {
        tracing::error!("{mistake}");
    }
    tracing::error!("the configuration is broken: starting with the one that was in force last. Mend {} and reload", path.display());
    Ok(Loaded { config, mistakes: Some(mistakes) })
}

/// Remembers a configuration that is in force. That this fails is no reason to stop.
pub(super) fn remember(data_dir: &Path, config: &Config) {
    if let Err(error) = data_dir::remember_configuration(data_dir, &config.source.0) {
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
    fn with_nothing_to_fall_back_on_the_mistakes_end_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), "[server]\ndata_dir = \"d\"\nlistn = 5\n");
        assert!(matches!(load(&path, true, &Environment::default()), Err(DaemonError::Configuration(_))));
        std::fs::create_dir(directory.path().join("d")).unwrap();
        data_dir::remember_configuration(&directory.path().join("d"), "also = broken").unwrap();
        assert!(matches!(load(&path, true, &Environment::default()), Err(DaemonError::Configuration(_))));
    }
}
