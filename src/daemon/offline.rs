//! Backup, restore and verify with no daemon running: the data directory is taken under its lock. They never change what is in one.

use std::path::{Path, PathBuf};

use crate::config::{self, Environment};
use crate::model::report::{BackupReport, RestoreReport, Tell, VerifyReport};
use crate::store::backup::{self, Extent};
use crate::store::data_dir::DataDir;
use crate::store::journal::medium::RealMedium;
use crate::store::recovery::verify;
use crate::store::view::TableError;
use crate::store::view::sled::SledTable;

/// The data directory to work on: the one that is named, else that of the configuration, else the default place.
#[must_use]
pub fn data_dir(named: Option<&Path>, config: Option<&Path>) -> PathBuf {
    let environment = Environment::of_process();
    match (named, config::find(config)) {
        (Some(named), _) => named.to_owned(),
        (None, Ok(config)) => config::server_despite_mistakes(&config, &environment).data_dir,
        (None, Err(_)) => config::default_data_dir(&environment),
    }
}

/// Makes a backup of a data directory that nobody uses.
///
/// # Errors
/// What happened and what to do, in words.
pub fn backup(data_dir: &Path, to: &Path, tell: &mut Tell<'_>) -> Result<BackupReport, String> {
    let taken = DataDir::take_existing(data_dir).map_err(|error| error.to_string())?;
    backup::make(taken.path(), to, &mut || Ok(Extent::AtRest), tell).map_err(|error| error.to_string())
}

/// Makes a data directory of a backup.
///
/// # Errors
/// What happened and what to do, in words.
pub fn restore(from: &Path, data_dir: &Path, tell: &mut Tell<'_>) -> Result<RestoreReport, String> {
    backup::restore(from, data_dir, tell).map_err(|error| error.to_string())
}

/// Verifies a data directory that nobody uses. Opening the view lets sled tidy its own files, as the next start would.
///
/// # Errors
/// What happened and what to do, in words.
pub fn verify(data_dir: &Path, tell: &mut Tell<'_>) -> Result<VerifyReport, String> {
    let taken = DataDir::take_existing(data_dir).map_err(|error| error.to_string())?;
    let medium = RealMedium::open(&taken.journal()).map_err(|error| format!("{} can't be read: {error}", taken.journal().display()))?;
    let table = if taken.view_is_set_aside() {
        Err(TableError("it failed when it was used last, and was set aside".into()))
    } else if taken.view().exists() {
        SledTable::open(&taken.view()).map(Some)
    } else {
        Ok(None)
    };
    let report = verify::at_rest(medium.into(), table, tell).map_err(|error| error.to_string())?;
    Ok(VerifyReport { directory: data_dir.display().to_string(), ..report })
}

/// Verifies a backup.
///
/// # Errors
/// What happened and what to do, in words.
pub fn verify_backup(directory: &Path, tell: &mut Tell<'_>) -> Result<VerifyReport, String> {
    let report = verify::of_backup(directory, tell).map_err(|error| error.to_string())?;
    Ok(VerifyReport { directory: directory.display().to_string(), ..report })
}
