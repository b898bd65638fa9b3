//! The few calls that the journal makes to a disk, as a trait: [`RealMedium`] is a directory, the simulator has its own.
//! It never knows what the bytes mean.
//!
//! # What the journal assumes of a disk
//! * [`MediumFile::sync`] returns only when what was written to the file before, and the file's length, would survive a loss of power.
//! * Bytes that were synced and not written again keep their value. Bytes written and not synced may, after a crash, be there,
//!   be missing or be there in part, each page for itself, in any order.
//! * A file's name is durable once [`Medium::sync_directory`] returned. A rename is atomic: afterwards one of the two names stands.
//! * After a sync failed nothing is known about any byte written since the last good one.

use std::io;

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
