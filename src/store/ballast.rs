//! A file that holds room on the disk, so that a start on a full disk has what it needs. It never holds anything else.
//!
//! A start makes a new segment, and sled needs room merely to be opened. On a full disk the file is removed first, and made again when there is
//! room for it beside everything else. Its blocks are reserved and not written: nobody ever reads them.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};

use super::journal::medium::free_bytes;
use crate::limits::{BALLAST_SIZE, SEGMENT_SIZE, VIEW_ROOM_AGAIN};

/// The ballast of a data directory.
#[derive(Clone, Debug)]
pub struct Ballast {
    file: PathBuf,
    directory: PathBuf,
}

impl Ballast {
    /// That of the data directory at `directory`.
    #[must_use]
    pub fn of(directory: &Path) -> Self {
        Self { file: directory.join("ballast"), directory: directory.to_owned() }
    }

    /// Removes it when the disk has not the room that a start needs. True when it was there and was removed.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn free_if_needed(&self) -> io::Result<bool> {
        if free_bytes(&self.directory)? >= SEGMENT_SIZE + VIEW_ROOM_AGAIN {
            return Ok(false);
        }
        match fs::remove_file(&self.file) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes it when it is not there and the disk has room for it, for another segment and for the view.
    ///
    /// # Errors
    /// Those of the disk; nothing is left behind then, as far as that goes.
    pub fn make_if_room(&self) -> io::Result<()> {
        if self.file.exists() || free_bytes(&self.directory)? < BALLAST_SIZE + SEGMENT_SIZE + VIEW_ROOM_AGAIN {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file)?;
        let reserved = fallocate(&file, FallocateFlags::empty(), 0, BALLAST_SIZE).and_then(|()| rustix::fs::fsync(&file));
        if reserved.is_err() {
            fs::remove_file(&self.file)?;
        }
        Ok(reserved?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn it_takes_real_room_and_stays_while_there_is_enough() {
        let directory = tempfile::tempdir().unwrap();
        let ballast = Ballast::of(directory.path());
        assert!(!ballast.free_if_needed().unwrap(), "there is none");
        ballast.make_if_room().unwrap();
        let metadata = fs::metadata(directory.path().join("ballast")).unwrap();
        assert_eq!(metadata.len(), BALLAST_SIZE);
        assert!(metadata.blocks() * 512 >= BALLAST_SIZE, "a file full of holes would hold no room");
        ballast.make_if_room().unwrap();
        assert!(!ballast.free_if_needed().unwrap(), "the disk is not full");
    }
}
