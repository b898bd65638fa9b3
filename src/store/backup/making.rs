//! Making a backup: what is new is linked or copied, then the manifest takes the place of the one before. It never writes to a file that a manifest names.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::manifest::{self, Manifest, StoredFile};
use super::{BackupDir, BackupError, Meter, copy, names_in, pass, sync_directory};
use crate::model::Sequence;
use crate::model::report::{BackupReport, Tell};
use crate::store::data_dir::{self, LAST_GOOD};
use crate::store::journal::segment::{self, FRAMES_START, Scanned, SegmentHeader, SegmentScan};
use crate::time::wall_now;

/// Lists of segments that are begun with before it is given up: each time retention was faster.
const ATTEMPTS: u32 = 20;

/// How far a journal goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Somebody writes it; everything up to this fact is synced.
    SyncedThrough(Sequence),
    /// Nobody writes it, and so every segment stays as it is.
    AtRest,
}

/// Makes a backup of the data directory at `data_dir` in the directory `to`. `extent` says how far the journal goes, as of the moment at which it is asked; `tell` is told of the
/// progress.
///
/// # Errors
/// [`BackupError`]; a backup that was there before is as good as it was.
pub fn make(
    data_dir: &Path,
    to: &Path,
    extent: &mut dyn FnMut() -> Result<Extent, BackupError>,
    tell: &mut Tell<'_>,
) -> Result<BackupReport, BackupError> {
    let made = wall_now();
    let target = BackupDir::take(to)?;
    let earlier = Manifest::read(to)?;
    let held = earlier.as_ref().map_or(&[][..], |manifest| &manifest.files);
    let mut making = Making {
        data_dir,
        target: &target,
        held,
        meter: Meter { done: 0, total: 0, tell },
        report: BackupReport { directory: to.display().to_string(), made, ..BackupReport::default() },
    };
    let journal = making.journal(earlier.as_ref(), extent)?;
    let files = [journal.files, making.others()?].concat();
    let mut report = making.report;
    for part in ["journal", "sandbox"] {
        sync_directory(&to.join(part))?;
    }
    sync_directory(to)?;
    let (version, sequence) = (env!("CARGO_PKG_VERSION").to_owned(), journal.sequence.0);
    let manifest = Manifest { version, made, data_format: data_dir::FORMAT, journal: journal.id, sequence, files };
    manifest.write(to)?;
    prune(to, &manifest)?;
    report.sequence = sequence;
    report.files = manifest.files.len() as u64;
    report.bytes = manifest.files.iter().map(|file| file.size).sum();
    Ok(report)
}

struct Making<'a, 'b, 'c> {
    data_dir: &'a Path,
    target: &'a BackupDir,
    held: &'a [StoredFile],
    meter: Meter<'b, 'c>,
    report: BackupReport,
}

/// A journal that is in the backup.
struct Journal {
    id: String,
    sequence: Sequence,
    files: Vec<StoredFile>,
}

/// Why a list of segments can't be gone through to its end.
enum Stopped {
    /// One of them is not there any more.
    Gone,
    Failed(BackupError),
}

impl From<BackupError> for Stopped {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Io { error, .. } if error.kind() == ErrorKind::NotFound => Self::Gone,
            other => Self::Failed(other),
        }
    }
}

impl Making<'_, '_, '_> {
    fn journal(
        &mut self,
        earlier: Option<&Manifest>,
        extent: &mut dyn FnMut() -> Result<Extent, BackupError>,
    ) -> Result<Journal, BackupError> {
        for _ in 0..ATTEMPTS {
            let before = self.segments()?;
            let extent = extent()?;
            let numbers = self.segments()?;
            if before.iter().any(|number| !numbers.contains(number)) {
                continue;
            }
            (self.report.kept, self.report.linked, self.report.copied, self.report.copied_bytes) = (0, 0, 0, 0);
            match self.take_all(&numbers, extent, earlier) {
                Ok(journal) => return Ok(journal),
                Err(Stopped::Gone) => {}
                Err(Stopped::Failed(error)) => return Err(error),
            }
        }
        Err(BackupError::TooFast)
    }

    fn take_all(&mut self, numbers: &[u32], extent: Extent, earlier: Option<&Manifest>) -> Result<Journal, Stopped> {
        let Some((newest, sealed)) = numbers.split_last() else {
            return Err(Stopped::Failed(BackupError::Nothing { path: self.data_dir.join("journal") }));
        };
        let end = self.end_of(*newest, extent)?;
        if let Some(earlier) = earlier {
            self.refuse_to_go_back(earlier, &end)?;
        }
        self.meter.done = 0;
        self.meter.total = if extent == Extent::AtRest { 0 } else { end.offset };
        let whole = if extent == Extent::AtRest { numbers } else { sealed };
        for number in whole {
            let path = self.data_dir.join(journal_path(*number));
            let size = fs::metadata(&path).map_err(BackupError::io("looking at", &path))?.len();
            self.meter.total += if self.unchanged(&journal_path(*number))?.is_some() { 0 } else { size };
        }
        let mut files = Vec::with_capacity(numbers.len());
        for number in whole {
            files.push(self.take(&journal_path(*number), true)?);
        }
        if extent != Extent::AtRest {
            files.push(self.take_beginning(&journal_path(*newest), end.offset)?);
        }
        Ok(Journal { id: end.journal, sequence: end.sequence, files })
    }

    fn refuse_to_go_back(&self, earlier: &Manifest, end: &End) -> Result<(), BackupError> {
        let path = self.target.path.clone();
        if earlier.journal != end.journal {
            return Err(BackupError::OtherJournal { path, theirs: earlier.journal.clone(), ours: end.journal.clone() });
        }
        if earlier.sequence > end.sequence.0 {
            return Err(BackupError::Ahead { path, theirs: earlier.sequence, ours: end.sequence.0 });
        }
        Ok(())
    }

    /// The segments that are there, in order.
    fn segments(&self) -> Result<Vec<u32>, BackupError> {
        let path = self.data_dir.join("journal");
        let names = names_in(&path).map_err(BackupError::io("reading", &path))?;
        let mut numbers = names.iter().filter_map(|name| segment::parse_file_name(name)).collect::<Vec<_>>();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Where the newest segment ends, as far as it may be taken.
    fn end_of(&self, number: u32, extent: Extent) -> Result<End, BackupError> {
        let path = self.data_dir.join(journal_path(number));
        let file = File::open(&path).map_err(BackupError::io("opening", &path))?;
        let header = SegmentHeader::read(&file, number).map_err(BackupError::io("reading", &path))?;
        let header = header.ok_or_else(|| BackupError::Header { path: path.clone() })?;
        let limit = if let Extent::SyncedThrough(sequence) = extent { sequence } else { Sequence(u64::MAX) };
        let before = Sequence(header.first.0.saturating_sub(1));
        let mut end = End { journal: format!("{:032x}", header.journal.0), sequence: before, offset: FRAMES_START };
        if limit <= before {
            return Ok(end);
        }
        let mut scan = SegmentScan::new(Arc::new(file), header, FRAMES_START);
        while let Some(scanned) = scan.step().map_err(BackupError::io("reading", &path))? {
            if let Scanned::Frame(frame) = scanned {
                if frame.sequence > limit {
                    break;
                }
                (end.sequence, end.offset) = (frame.sequence, frame.end);
                // What lies behind is being written.
                if frame.sequence == limit {
                    break;
                }
            }
        }
        Ok(end)
    }

    /// What is kept outside of the journal. It may change while it is copied: a line of a sandbox's log has its own checksum, and the configuration is replaced in one go.
    fn others(&mut self) -> Result<Vec<StoredFile>, BackupError> {
        let directory = self.data_dir.join("sandbox");
        let mut paths = match names_in(&directory) {
            Ok(names) => names.into_iter().filter(|name| name.ends_with(".log")).map(|name| format!("sandbox/{name}")).collect(),
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(BackupError::io("reading", &directory)(error)),
        };
        paths.sort();
        paths.push(LAST_GOOD.to_owned());
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            match self.take(&path, false) {
                Ok(file) => files.push(file),
                Err(BackupError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    /// The file that the backup holds of one that was not changed since.
    fn unchanged(&self, path: &str) -> Result<Option<StoredFile>, BackupError> {
        let original = self.data_dir.join(path);
        let metadata = fs::metadata(&original).map_err(BackupError::io("looking at", &original))?;
        let is_same =
            |file: &&StoredFile| (file.path.as_str(), file.size, file.modified_ns) == (path, metadata.len(), modified_ns(&metadata));
        Ok(self.held.iter().find(is_same).filter(|file| self.holds(file)).cloned())
    }

    /// Takes a whole file. One that `never_changes` is linked where that can be.
    fn take(&mut self, path: &str, never_changes: bool) -> Result<StoredFile, BackupError> {
        if let Some(held) = self.unchanged(path)? {
            self.report.kept += 1;
            return Ok(held);
        }
        let (original, new) = (self.data_dir.join(path), self.new_file(path)?);
        let is_linked = never_changes && link(&original, &new).map_err(BackupError::io("linking", &original))?;
        let mut file = File::open(&original).map_err(BackupError::io("opening", &original))?;
        let modified_ns = file.metadata().map(|metadata| modified_ns(&metadata)).map_err(BackupError::io("looking at", &original))?;
        if is_linked {
            let mut file = File::open(&new).map_err(BackupError::io("opening", &new))?;
            let read = pass(&mut file, &mut io::sink(), u64::MAX, &mut self.meter).map_err(BackupError::io("reading", &original))?;
            return self.keep(path, read, modified_ns, true);
        }
        let copied = copy(&mut file, &new, u64::MAX, &mut self.meter).map_err(BackupError::io("copying", &original))?;
        self.keep(path, copied, modified_ns, false)
    }

    /// Takes the beginning of a file that is being written to.
    fn take_beginning(&mut self, path: &str, size: u64) -> Result<StoredFile, BackupError> {
        let (original, new) = (self.data_dir.join(path), self.new_file(path)?);
        let mut file = File::open(&original).map_err(BackupError::io("opening", &original))?;
        let copied = copy(&mut file, &new, size, &mut self.meter).map_err(BackupError::io("copying", &original))?;
        // No time: it is never taken for a file that was not changed.
        self.keep(path, copied, 0, false)
    }

    /// The path at which a file is made before it has its name.
    fn new_file(&self, path: &str) -> Result<std::path::PathBuf, BackupError> {
        let new = self.target.path.join(format!("{path}.new"));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(BackupError::io("removing", &new)(error)),
            _ => Ok(new),
        }
    }

    /// Gives a new file its name, unless one with the same bytes has it already.
    fn keep(&mut self, path: &str, (size, crc32c): (u64, u32), modified_ns: u64, is_linked: bool) -> Result<StoredFile, BackupError> {
        let file = StoredFile::new(path, size, crc32c, modified_ns);
        let new = self.target.path.join(format!("{path}.new"));
        if self.holds(&file) {
            self.report.kept += 1;
            fs::remove_file(&new).map_err(BackupError::io("removing", &new))?;
            return Ok(file);
        }
        fs::rename(&new, Manifest::place_of(&self.target.path, &file)).map_err(BackupError::io("naming", &new))?;
        if is_linked {
            self.report.linked += 1;
        } else {
            self.report.copied += 1;
            self.report.copied_bytes += size;
        }
        Ok(file)
    }

    fn holds(&self, file: &StoredFile) -> bool {
        fs::metadata(Manifest::place_of(&self.target.path, file)).is_ok_and(|metadata| metadata.len() == file.size)
    }
}

/// Where a journal ends.
struct End {
    journal: String,
    sequence: Sequence,
    /// In its newest segment.
    offset: u64,
}

fn journal_path(number: u32) -> String {
    format!("journal/{}", segment::file_name(number))
}

fn modified_ns(metadata: &fs::Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|moment| moment.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// False where a file can't be linked, because of the file system or its rights: then it is copied.
fn link(original: &Path, new: &Path) -> io::Result<bool> {
    match fs::hard_link(original, new) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
        Err(_) => Ok(false),
    }
}

/// Removes what earlier backups put there and this one does not name.
fn prune(directory: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    let named = manifest.files.iter().map(StoredFile::stored).collect::<BTreeSet<_>>();
    for part in ["", "journal/", "sandbox/"] {
        let path = directory.join(part);
        for name in names_in(&path).map_err(BackupError::io("reading", &path))? {
            let stored = format!("{part}{name}");
            if manifest::is_stored(&stored) && !named.contains(&stored) {
                fs::remove_file(directory.join(&stored)).map_err(BackupError::io("removing", &directory.join(&stored)))?;
            }
        }
    }
    Ok(())
}
