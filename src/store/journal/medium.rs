//! The few calls that the journal makes to a disk, as a trait: [`RealMedium`] is a directory, the simulator has its own.
//! It never knows what the bytes mean.
//!
//! # What the journal assumes of a disk
//! * [`MediumFile::sync`] returns only when what was written to the file before, and the file's length, would survive a loss of power.
//! * Bytes that were synced and not written again keep their value. Bytes written and not synced may, after a crash, be there,
//!   be missing or be there in part, each page for itself, in any order.
//! * A file's name is durable once [`Medium::sync_directory`] returned. A rename is atomic: afterwards one of the two names stands.
//! * After a sync failed nothing is known about any byte written since the last good one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::store::data_dir::make_private;

/// One directory of a disk.
pub trait Medium: Send + Sync + 'static {
    /// An open file of it.
    type File: MediumFile;

    /// The names of its files, in no order.
    ///
    /// # Errors
    /// Those of the disk.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file, which must not exist.
    ///
    /// # Errors
    /// Those of the disk.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// Those of the disk.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// Those of the disk.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// Those of the disk.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names durable.
    ///
    /// # Errors
    /// Those of the disk.
    fn sync_directory(&self) -> io::Result<()>;
    /// Bytes that may still be written to this disk by this user, whatever a quota says.
    ///
    /// # Errors
    /// Those of the system.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Eight random bytes, for a segment's salt and the journal's id.
    ///
    /// # Errors
    /// Those of the system.
    fn entropy(&self) -> io::Result<u64>;
}

/// One open file.
pub trait MediumFile: Send + Sync + 'static {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
    ///
    /// # Errors
    /// Those of the disk.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// Those of the disk; some of the bytes may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes everything written to the file durable.
    ///
    /// # Errors
    /// Those of the disk; afterwards nothing is known about what was written since the last sync.
    fn sync(&self) -> io::Result<()>;
    /// Bytes in the file.
    ///
    /// # Errors
    /// Those of the disk.
    fn size(&self) -> io::Result<u64>;
}

/// A directory of a real file system.
#[derive(Debug)]
pub struct RealMedium {
    path: PathBuf,
}

impl RealMedium {
    /// The directory at `path`, made (0700) when there is none.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_private(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Bytes of a file.
    ///
    /// # Errors
    /// Those of the system.
    pub fn size_of(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }
}

/// Bytes that a user without privileges may still write to the file system of `path`.
///
/// # Errors
/// Those of the system.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let file_system = rustix::fs::statvfs(path)?;
    Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}

/// Whether an error says that the disk, or a quota of it, is full.
#[must_use]
pub fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Medium for RealMedium {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.path.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.path)
    }

    fn entropy(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl MediumFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}
