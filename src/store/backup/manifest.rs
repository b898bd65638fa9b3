//! What a backup says about itself: its files with size and checksum. It never names a file outside of the backup's directory.
//!
//! The file `manifest` is two lines: `hookwheel backup, format 1, crc32c <checksum of the second line>`, and JSON.
//!
//! A file of the backup is called like in the data directory, with its checksum and size behind: `journal/0000000001.segment.9f3a2c10-67108864`. So a file that is there never
//! changes, and a backup that ends in the middle leaves everything that the manifest before it names.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::store::data_dir::{self, LAST_GOOD, write_durably};
use crate::store::journal::segment;
use crate::time::UnixMillis;

/// The format that this version reads and writes.
pub(super) const FORMAT: u32 = 1;
/// The manifest's file name.
pub(super) const NAME: &str = "manifest";

const PREFIX: &str = "hookwheel backup, format ";
const BEFORE_CHECKSUM: &str = ", crc32c ";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The version of hookwheel that made it.
    pub(super) version: String,
    /// When it was begun.
    pub(super) made: UnixMillis,
    /// The format of the data directory.
    pub(super) data_format: u32,
    /// The journal's id.
    pub(super) journal: String,
    /// Everything up to this fact is in it.
    pub(super) sequence: u64,
    pub(super) files: Vec<StoredFile>,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredFile {
    /// What it is called in the data directory.
    pub(super) path: String,
    pub(super) size: u64,
    /// CRC-32C of its bytes, eight hexadecimal digits.
    pub(super) crc32c: String,
    /// When the original was changed last, in nanoseconds since 1970: one that was not changed since is not read again.
    pub(super) modified_ns: u64,
}

impl StoredFile {
    pub(super) fn new(path: &str, size: u64, crc32c: u32, modified_ns: u64) -> Self {
        Self { path: path.to_owned(), size, crc32c: format!("{crc32c:08x}"), modified_ns }
    }

    /// What it is called in the backup.
    pub(super) fn stored(&self) -> String {
        format!("{}.{}-{}", self.path, self.crc32c, self.size)
    }

    pub(super) fn has_checksum(&self, crc32c: u32) -> bool {
        self.crc32c == format!("{crc32c:08x}")
    }
}

/// Whether a path is one of those that a backup holds.
fn is_path_of_a_backup(path: &str) -> bool {
    match path.split_once('/') {
        Some(("journal", name)) => segment::parse_file_name(name).is_some(),
        Some(("sandbox", name)) => {
            name.strip_suffix(".log").is_some_and(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        }
        _ => path == LAST_GOOD,
    }
}

/// Whether a file of a backup's directory is one that a backup put there: one of its files, or the beginning of one.
pub(super) fn is_stored(path: &str) -> bool {
    let of = path.strip_suffix(".new").or_else(|| path.rsplit_once('.').filter(|(_, mark)| is_mark(mark)).map(|(of, _)| of));
    of.is_some_and(is_path_of_a_backup)
}

fn is_mark(mark: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    mark.split_once('-').is_some_and(|(crc32c, size)| crc32c.len() == 8 && is_hexadecimal(crc32c) && is_number(size))
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Manifest {
    /// Reads the manifest of the backup in `directory`; `None` when there is none.
    ///
    /// # Errors
    /// When it is damaged, or of a newer version.
    pub(super) fn read(directory: &Path) -> Result<Option<Self>, BackupError> {
        let path = directory.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BackupError::io("reading", &path)(error)),
        };
        Self::parse(&bytes, &path).map(Some)
    }

    /// Writes it into `directory`, in the place of the one before, durably.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn write(&self, directory: &Path) -> Result<(), BackupError> {
        let json = serde_json::to_string(self).map_err(|error| BackupError::io("writing", &directory.join(NAME))(error.into()))?;
        let text = format!("{PREFIX}{FORMAT}{BEFORE_CHECKSUM}{:08x}\n{json}\n", crc32c::crc32c(json.as_bytes()));
        write_durably(directory, NAME, text.as_bytes()).map_err(BackupError::io("writing", &directory.join(NAME)))
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, BackupError> {
        let damaged = |why: &str| BackupError::Manifest { path: path.to_owned(), why: why.to_owned() };
        let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not text"))?;
        let (head, json) = text.split_once('\n').ok_or_else(|| damaged("it ends in its first line"))?;
        let (format, checksum) =
            head.strip_prefix(PREFIX).and_then(|head| head.split_once(BEFORE_CHECKSUM)).ok_or_else(|| damaged("it is not a manifest"))?;
        let format = format.parse::<u32>().ok().filter(|format| *format > 0).ok_or_else(|| damaged("it does not say its format"))?;
        if format > FORMAT {
            return Err(BackupError::Newer { path: path.to_owned(), what: "format", found: format, known: FORMAT });
        }
        let json = json.strip_suffix('\n').ok_or_else(|| damaged("its end is missing"))?;
        if checksum != format!("{:08x}", crc32c::crc32c(json.as_bytes())) {
            return Err(damaged("its checksum does not fit"));
        }
        let manifest = serde_json::from_str::<Self>(json).map_err(|error| damaged(&error.to_string()))?;
        if manifest.data_format > data_dir::FORMAT {
            let (found, known) = (manifest.data_format, data_dir::FORMAT);
            return Err(BackupError::Newer { path: path.to_owned(), what: "data format", found, known });
        }
        let is_good = |file: &StoredFile| is_path_of_a_backup(&file.path) && file.crc32c.len() == 8 && is_hexadecimal(&file.crc32c);
        if let Some(bad) = manifest.files.iter().find(|file| !is_good(file)) {
            return Err(damaged(&format!("it names {:?}, which is no file of a backup", bad.path)));
        }
        Ok(manifest)
    }

    /// Where a file lies.
    pub(super) fn place_of(directory: &Path, file: &StoredFile) -> PathBuf {
        directory.join(file.stored())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let files = vec![
            StoredFile::new("journal/0000000001.segment", 64, 0xA1, 5),
            StoredFile::new("sandbox/abc123.log", 3, 0xFFFF_FFFF, 6),
            StoredFile::new("last-good.toml", 9, 7, 8),
        ];
        Manifest { version: "0.1.0".into(), made: UnixMillis(1_795_428_000_000), data_format: 1, journal: "ab".into(), sequence: 4, files }
    }

    #[test]
    fn a_manifest_is_read_as_it_was_written_and_any_changed_byte_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Manifest::read(directory.path()).unwrap().is_none());
        manifest().write(directory.path()).unwrap();
        assert_eq!(Manifest::read(directory.path()).unwrap(), Some(manifest()));
        let path = directory.path().join(NAME);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(Manifest::read(directory.path()).is_err(), "at {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert!(Manifest::read(directory.path()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_told_and_a_path_that_leads_out_is_refused() {
        let path = Path::new("manifest");
        let error = Manifest::parse(b"hookwheel backup, format 2, crc32c 00000000\n{}\n", path).unwrap_err().to_string();
        assert!(error.contains("format 2") && error.contains("newer"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        Manifest { data_format: 9, ..manifest() }.write(directory.path()).unwrap();
        assert!(Manifest::read(directory.path()).unwrap_err().to_string().contains("data format 9"));
        for bad in ["../x", "journal/../../x.log", "sandbox/../x.log", "sandbox/.log", "/etc/passwd", "journal/1.segment", "format"] {
            let files = vec![StoredFile::new(bad, 1, 1, 1)];
            Manifest { files, ..manifest() }.write(directory.path()).unwrap();
            assert!(Manifest::read(directory.path()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_a_backup_put_there_is_told_from_everything_else() {
        for file in &manifest().files {
            assert!(is_stored(&file.stored()) && is_stored(&format!("{}.new", file.path)), "{file:?}");
            assert!(!is_stored(&file.path));
        }
        for other in
            ["holiday.jpg", "journal/0000000001.segment.x-1", "journal/notes.00000001-5", "sandbox/a/b.log.new", "manifest", "lock"]
        {
            assert!(!is_stored(other), "{other}");
        }
    }
}
