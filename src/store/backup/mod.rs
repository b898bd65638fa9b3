//! Backups: the journal and what little else can't be made again, in a directory of their own, with a checksum for each file. They never change the data directory that they are made of.
//!
//! ```text
//! backup/                                            0700
//! ├── journal/0000000001.segment.<crc-32c>-<size>    sealed segments: hard links where the file system is the same, else copies
//! ├── last-good.toml.<crc-32c>-<size>                the configuration that was in force last
//! ├── lock                                           held (flock) while a backup is made or read
//! ├── manifest                                       what belongs to it ([`manifest`])
//! └── sandbox/<token>.log.<crc-32c>-<size>           test receivers and what they got
//! ```
//!
//! # What is in it
//! * The journal, and so everything that was accepted, what became of it as far as the journal still has it, the webhooks' numbers, their pauses and the secrets that hookwheel made for them, and the
//!   Black Lists. Sealed segments never change, so they are taken as they are; of the one that is being written, what was synced when the backup began.
//! * The sandboxes, and the last good configuration.
//!
//! Not in it: the view, the indexes of the history and the ballast, which are made again, and `webhooks.toml` itself with the files that it names, which lie elsewhere.
//!
//! # Why it is whole
//! * The list of segments is read first, then how far the journal is synced, then the list again. Whatever retention removed before the first list was carried, synced and recorded
//!   before the second question; whatever it removes later is missed when it is to be taken, and then all of this begins again.
//! * Nothing that an older manifest names is ever written to. The new manifest takes its place in one rename, when every file that it names is durable; only then goes what nobody names any more.
//!   So a backup that ends in the middle leaves the one before.
//! * The directory belongs to one journal, and only ever goes forward: that of another one, or of one that ends earlier, is refused, for it would push out the better backup.
//!
//! # What it costs
//! A segment that was not changed since the backup before (size and time say so) is not read again. A new one is read once, for its checksum, also where it is linked.
//! A hard link is no second copy: it guards against what happens to the data directory's names, not to the disk's bytes.

mod making;
mod manifest;
mod restoring;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub use self::making::{Extent, make};
use self::manifest::Manifest;
pub use self::restoring::{Checked, check, restore};
use super::data_dir::{DataDirError, make_private};
use crate::model::report::Tell;

const BUFFER_BYTES: usize = 1 << 20;

/// Why a backup can't be made, or not be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system said no.
    #[error("the backup stopped at {what} {path}: {error}. An earlier backup in the same directory is as good as it was")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Other files are there.
    #[error("the directory {path} holds other files ({found}) and no backup of hookwheel's; nothing was changed. Name an empty or new one")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// One of them.
        found: String,
    },
    /// There is none.
    #[error("there is no backup in {path}: it has no file \"manifest\" of hookwheel's")]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody makes or reads it.
    #[error("the backup in {path} is being made or read by another process; try again when that has ended")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// It was made by a later version.
    #[error(
        "{path} has {what} {found}, this hookwheel knows {known}: it was made by a newer version. Nothing was changed; use that version"
    )]
    Newer {
        /// The manifest.
        path: PathBuf,
        /// Which format.
        what: &'static str,
        /// Its number.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// The manifest can't be read.
    #[error("the manifest {path} is damaged: {why}. Nothing was changed; use another backup, or make a new one in another directory")]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// In which way.
        why: String,
    },
    /// Files are not as they were when the backup was made.
    #[error("the backup in {path} is damaged, and nothing was changed; use another one:\n{}", files.join("\n"))]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// Each file, and what is wrong with it.
        files: Vec<String>,
    },
    /// It is of other data.
    #[error(
        "the directory {path} holds the backup of another journal ({theirs}, this one is {ours}), and nothing was changed: it may be the only one. Name another directory"
    )]
    OtherJournal {
        /// The directory.
        path: PathBuf,
        /// Its journal.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// It goes further than the journal.
    #[error(
        "the backup in {path} goes to fact {theirs}, further than this journal, which ends with {ours}; nothing was changed: it may be the only one. Name another directory"
    )]
    Ahead {
        /// The directory.
        path: PathBuf,
        /// Its last fact.
        theirs: u64,
        /// Ours.
        ours: u64,
    },
    /// There is nothing yet.
    #[error("there is no journal in {path}; there is nothing to back up")]
    Nothing {
        /// The journal's directory.
        path: PathBuf,
    },
    /// A segment's header can't be read.
    #[error(
        "{path}: both copies of its header are damaged, so it can't be backed up; `hookwheel verify` says more. The backup before is as good as it was"
    )]
    Header {
        /// The segment.
        path: PathBuf,
    },
    /// Retention removed segments faster than they could be taken.
    #[error("old journal segments went faster than they could be backed up; try again")]
    TooFast,
    /// The daemon does not say how far its journal is synced.
    #[error("the daemon is ending, and the backup with it; the one before is as good as it was")]
    Ending,
    /// The data directory can't be made.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
}

impl BackupError {
    /// Whether the user that this process runs as may not write there.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem];
        matches!(self, Self::Io { error, .. } if kinds.contains(&error.kind()))
    }

    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { what, path, error }
    }
}

/// A backup's directory that this process alone uses.
struct BackupDir {
    path: PathBuf,
    /// The lock goes with the file.
    _lock: File,
}

impl BackupDir {
    /// The directory for a new backup, made when there is none.
    fn take(path: &Path) -> Result<Self, BackupError> {
        make_private(path).map_err(BackupError::io("making", path))?;
        if !path.join(manifest::NAME).exists() {
            // What a first backup leaves that ended in the middle, too, is ours.
            let is_ours = |name: &str| ["lock", "manifest.new", "journal", "sandbox"].contains(&name) || manifest::is_stored(name);
            let names = names_in(path).map_err(BackupError::io("reading", path))?;
            let found = names.into_iter().find(|name| !is_ours(name));
            // A data directory has these names as well.
            let found = found.or_else(|| ["format", "view"].map(str::to_owned).into_iter().find(|name| path.join(name).exists()));
            if let Some(found) = found {
                return Err(BackupError::Foreign { path: path.to_owned(), found });
            }
        }
        let taken = Self::lock(path)?;
        for part in ["journal", "sandbox"] {
            make_private(&path.join(part)).map_err(BackupError::io("making", &path.join(part)))?;
        }
        Ok(taken)
    }

    /// The directory of a backup that is there, and its manifest.
    fn open(path: &Path) -> Result<(Self, Manifest), BackupError> {
        let manifest = Manifest::read(path)?.ok_or_else(|| BackupError::Missing { path: path.to_owned() })?;
        Ok((Self::lock(path)?, manifest))
    }

    /// A backup on a medium that can't be written to can't be changed by anybody else either.
    fn lock(path: &Path) -> Result<Self, BackupError> {
        let file = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&file);
        let lock = lock.or_else(|_| File::open(path)).map_err(BackupError::io("opening", &file))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(Errno::WOULDBLOCK) => Err(BackupError::InUse { path: path.to_owned() }),
            Err(error) => Err(BackupError::io("locking", &file)(error.into())),
        }
    }
}

/// Counts bytes, for whoever watches.
struct Meter<'a, 'b> {
    done: u64,
    total: u64,
    tell: &'a mut Tell<'b>,
}

impl Meter<'_, '_> {
    fn add(&mut self, bytes: u64) {
        self.done += bytes;
        (self.tell)(self.done, self.total.max(self.done));
    }
}

/// Reads `source` to its end, or `limit` bytes of it, into `target`; how many bytes that were, and their checksum.
fn pass(source: &mut impl Read, target: &mut impl Write, limit: u64, meter: &mut Meter<'_, '_>) -> io::Result<(u64, u32)> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut size, mut crc32c) = (0, 0);
    while size < limit {
        let wanted = usize::try_from(limit - size).unwrap_or(usize::MAX).min(buffer.len());
        let count = match source.read(&mut buffer[..wanted]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        target.write_all(&buffer[..count])?;
        crc32c = crc32c::crc32c_append(crc32c, &buffer[..count]);
        size += count as u64;
        meter.add(count as u64);
    }
    Ok((size, crc32c))
}

/// Makes a new file of what `source` has, at most `limit` bytes, and syncs it.
fn copy(source: &mut impl Read, to: &Path, limit: u64, meter: &mut Meter<'_, '_>) -> io::Result<(u64, u32)> {
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = pass(source, &mut target, limit, meter)?;
    target.sync_all()?;
    Ok(copied)
}

fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

fn sync_directory(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(BackupError::io("making durable the names in", path))
}

#[cfg(test)]
mod tests;
