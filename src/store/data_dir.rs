//! The data directory: whose it is, which format it has, and that only one daemon uses it. It never looks inside journal or view.
//!
//! ```text
//! data_dir/            0700
//! ├── ballast          holds room for a start on a full disk
//! ├── format           "hookwheel data directory, format 2"
//! ├── lock             held (flock) by the daemon that uses it
//! ├── journal/         the truth, and beside each full segment an index of what ended in it
//! ├── last-good.toml   the configuration that was in force last, for `serve --last-good`
//! ├── sandbox/         test receivers and what they got, a file each; no part of the store
//! ├── view/            sled; may be deleted while the daemon is down, it is rebuilt
//! └── view.damaged     the view that failed, set aside: the next start deletes and rebuilds it
//! ```
//!
//! Every format up to the present one is read. A daemon makes a directory that it takes one of the present format, before it writes anything into it that an older version
//! could not read: that one then refuses it with a sentence, instead of taking the unknown for damage.
//!
//! | format | what a version that knows only the one before could not read |
//! | --- | --- |
//! | 1 | |
//! | 2 | attempts that ended in one of the classes which an attempt could not end in before; webhooks with files for TLS; keys of `v1a`; secrets that are sealed |

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The format that this version writes; it reads all before, too.
pub const FORMAT: u32 = 2;

/// The name of a view that failed.
const SET_ASIDE: &str = "view.damaged";
const FORMAT_PREFIX: &str = "hookwheel data directory, format ";

/// A data directory that this process alone uses.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock goes with the file.
    _lock: File,
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system said no.
    #[error(
        "cannot use the data directory {path}: {what}: {error}. Expected a directory that this user may read and write; set data_dir in [server]"
    )]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Somebody else uses it.
    #[error("the data directory {path} is in use by another hookwheel; stop that one, or set another data_dir in [server]")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It is not ours.
    #[error(
        "the directory {path} is not hookwheel's: it has files but no \"format\" file of hookwheel's. Nothing was changed; set data_dir in [server] to an empty or new directory"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// There is none.
    #[error(
        "there is no data directory of hookwheel's at {path}; name the right configuration with --config, or the directory with --data-dir"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// Something is there that a restore would mix with what it brings.
    #[error(
        "the directory {path} is not empty, and nothing was changed: expected an empty or new one. Move it away, or name another with --data-dir"
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// It was written by a later version.
    #[error(
        "the data directory {path} has format {found}, this hookwheel knows formats up to {FORMAT}: it was written by a newer version. Nothing was changed; run that version"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

impl DataDir {
    /// Takes the directory for this process, making it when there is none. One of an older format is of the present one from here on.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing in it was changed then.
    pub fn take(path: &Path) -> Result<Self, DataDirError> {
        make_private(path).map_err(io_error(path, "making it"))?;
        Self::format(path)?;
        let taken = Self::lock(path)?;
        if Self::format(path)? == Some(FORMAT) { Ok(taken) } else { taken.finish() }
    }

    /// Takes the directory for this process when there is one already, for looking at it: its format stays what it is.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing in it was changed then.
    pub fn take_existing(path: &Path) -> Result<Self, DataDirError> {
        match fs::metadata(path.join("format")) {
            Ok(_) => {
                Self::format(path)?;
                Self::lock(path)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(DataDirError::Missing { path: path.to_owned() }),
            Err(error) => Err(io_error(path, "looking into it")(error)),
        }
    }

    /// Takes a directory for this process in which there is nothing yet, making it when there is none. It is no data directory before [`DataDir::finish`]:
    /// no daemon starts on what a process left there that ended in the middle.
    ///
    /// # Errors
    /// [`DataDirError`]; nothing in it was changed then.
    pub fn take_empty(path: &Path) -> Result<Self, DataDirError> {
        make_private(path).map_err(io_error(path, "making it"))?;
        let is_empty = !path.join("format").exists() && !Self::has_strangers(path)?;
        if !is_empty && !path.join("lock").exists() {
            return Err(DataDirError::NotEmpty { path: path.to_owned() });
        }
        // One that is in use is told apart from one that is only full.
        let taken = Self::lock(path)?;
        if is_empty { Ok(taken) } else { Err(DataDirError::NotEmpty { path: path.to_owned() }) }
    }

    /// Makes it a data directory, durably.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(self) -> Result<Self, DataDirError> {
        let format = format!("{FORMAT_PREFIX}{FORMAT}\n");
        write_durably(&self.path, "format", format.as_bytes()).map_err(io_error(&self.path, "writing its format"))?;
        Ok(self)
    }

    fn lock(path: &Path) -> Result<Self, DataDirError> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path.join("lock"));
        let lock = lock.map_err(io_error(path, "opening its lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(DataDirError::InUse { path: path.to_owned() }),
            Err(error) => Err(io_error(path, "locking it")(error.into())),
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the journal lies.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Where the view lies.
    #[must_use]
    pub fn view(&self) -> PathBuf {
        self.path.join("view")
    }

    /// Whether the view failed when it was used last.
    #[must_use]
    pub fn view_is_set_aside(&self) -> bool {
        self.path.join(SET_ASIDE).exists()
    }

    /// Sets the view that failed aside, so that the next start rebuilds it. It is renamed and nothing is written, since it may well have failed
    /// because the disk is full. Whoever has it open may go on reading it.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn set_view_aside(&self) -> io::Result<()> {
        if self.view_is_set_aside() {
            return Ok(());
        }
        fs::rename(self.view(), self.path.join(SET_ASIDE))?;
        File::open(&self.path)?.sync_all()
    }

    /// Deletes the view, also one that was set aside.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn delete_view(&self) -> io::Result<()> {
        for result in [fs::remove_dir_all(self.view()), fs::remove_dir_all(self.path.join(SET_ASIDE))] {
            match result {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Its format; none when it is empty.
    fn format(path: &Path) -> Result<Option<u32>, DataDirError> {
        match fs::read_to_string(path.join("format")) {
            Ok(text) => match text.trim().strip_prefix(FORMAT_PREFIX).and_then(|number| number.parse::<u32>().ok()) {
                Some(found) if found > FORMAT => Err(DataDirError::Newer { path: path.to_owned(), found }),
                Some(found) => Ok(Some(found)),
                None => Err(DataDirError::Foreign { path: path.to_owned() }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if Self::has_strangers(path)? {
                    Err(DataDirError::Foreign { path: path.to_owned() })
                } else {
                    Ok(None)
                }
            }
            Err(error) => Err(io_error(path, "reading its format")(error)),
        }
    }

    /// Whether there is more than what a start leaves that died before it wrote its format: nothing but the lock, or the socket of a daemon that is set to have it here.
    fn has_strangers(path: &Path) -> Result<bool, DataDirError> {
        let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(io_error(path, "reading it"))?;
        let is_ours = |name: &str| name == "lock" || name == "format.new" || name.contains("admin.sock");
        Ok(entries.iter().any(|entry| !is_ours(&entry.file_name().to_string_lossy())))
    }
}

fn io_error(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |error| DataDirError::Io { path, what, error }
}

/// Makes a directory that nobody else may look into, when there is none, and makes its name durable: what is synced in it would be lost with its name.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists()).collect::<Vec<_>>();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if missing.is_empty() {
        // Whoever made it may have died before its name was durable. Where the parent may not be read, an operator made it.
        drop(sync_parent(path));
    }
    missing.into_iter().try_for_each(sync_parent)
}

/// Makes the name of a file or directory durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// The name of the copy of the last good configuration.
pub(super) const LAST_GOOD: &str = "last-good.toml";

/// Keeps the text of a good configuration, which may be sealed, for a start with `serve --last-good`.
///
/// # Errors
/// Those of the disk.
pub fn remember_configuration(data_dir: &Path, text: &str) -> io::Result<()> {
    write_durably(data_dir, LAST_GOOD, text.as_bytes())
}

/// The text of the last good configuration as it was kept, if one ever was.
///
/// # Errors
/// Those of the disk.
pub fn remembered_configuration(data_dir: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(data_dir.join(LAST_GOOD)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file and puts it in the place of the one before, durably.
pub(super) fn write_durably(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_made_private_and_taken_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let taken = DataDir::take(&path).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777, 0o700);
        let refused = DataDir::take(&path).unwrap_err();
        assert!(matches!(refused, DataDirError::InUse { .. }), "{refused}");
        drop(taken);
        DataDir::take(&path).unwrap();
    }

    #[test]
    fn a_foreign_or_newer_directory_is_refused_and_left_alone() {
        let foreign = tempfile::tempdir().unwrap();
        fs::write(foreign.path().join("holiday.jpg"), "x").unwrap();
        assert!(matches!(DataDir::take(foreign.path()).unwrap_err(), DataDirError::Foreign { .. }));
        assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1);
        let newer = tempfile::tempdir().unwrap();
        fs::write(newer.path().join("format"), format!("{FORMAT_PREFIX}7\n")).unwrap();
        let error = DataDir::take(newer.path()).unwrap_err();
        assert!(error.to_string().contains("has format 7"), "{error}");
        assert_eq!(fs::read_dir(newer.path()).unwrap().count(), 1);
        fs::write(newer.path().join("format"), "something else").unwrap();
        assert!(matches!(DataDir::take(newer.path()).unwrap_err(), DataDirError::Foreign { .. }));
    }

    #[test]
    fn an_older_directory_is_of_the_present_format_once_a_daemon_took_it_and_not_when_it_was_only_looked_at() {
        let older = tempfile::tempdir().unwrap();
        let text = || fs::read_to_string(older.path().join("format")).unwrap();
        fs::write(older.path().join("format"), format!("{FORMAT_PREFIX}1\n")).unwrap();
        drop(DataDir::take_existing(older.path()).unwrap());
        assert_eq!(text(), format!("{FORMAT_PREFIX}1\n"));
        drop(DataDir::take(older.path()).unwrap());
        assert_eq!(text(), format!("{FORMAT_PREFIX}{FORMAT}\n"));
    }

    #[test]
    fn only_an_empty_directory_is_taken_as_one_and_it_is_no_data_directory_before_it_is_finished() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("new");
        assert!(matches!(DataDir::take_existing(&path).unwrap_err(), DataDirError::Missing { .. }));
        let taken = DataDir::take_empty(&path).unwrap();
        fs::write(path.join("half"), "x").unwrap();
        assert!(matches!(DataDir::take_empty(&path).unwrap_err(), DataDirError::InUse { .. }));
        drop(taken);
        assert!(matches!(DataDir::take_empty(&path).unwrap_err(), DataDirError::NotEmpty { .. }));
        assert!(matches!(DataDir::take(&path).unwrap_err(), DataDirError::Foreign { .. }), "no daemon starts on what is only half there");
        fs::remove_file(path.join("half")).unwrap();
        let taken = DataDir::take_empty(&path).unwrap().finish().unwrap();
        assert!(matches!(DataDir::take_empty(&path).unwrap_err(), DataDirError::InUse { .. }), "a live one is told apart from a full one");
        drop(taken);
        assert!(matches!(DataDir::take_empty(&path).unwrap_err(), DataDirError::NotEmpty { .. }));
        assert_eq!(DataDir::take_existing(&path).unwrap().path(), path);
    }

    #[test]
    fn a_path_that_is_a_file_is_refused_with_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataDir::take(file.path()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()) && error.contains("data_dir"), "{error}");
    }

    #[test]
    fn a_view_that_failed_is_set_aside_and_deleted_with_whatever_took_its_place() {
        let parent = tempfile::tempdir().unwrap();
        let taken = DataDir::take(parent.path()).unwrap();
        fs::create_dir(taken.view()).unwrap();
        taken.set_view_aside().unwrap();
        assert!(taken.view_is_set_aside() && !taken.view().exists());
        taken.set_view_aside().unwrap();
        fs::create_dir(taken.view()).unwrap();
        taken.delete_view().unwrap();
        assert!(!taken.view_is_set_aside() && !taken.view().exists());
        taken.delete_view().unwrap();
    }
}
