//! Using a backup: checking every file of it, and making a data directory of them. It never begins to copy before all of it is known to be good.

use std::fs::File;
use std::io;
use std::path::Path;

use super::manifest::{Manifest, StoredFile};
use super::{BackupDir, BackupError, Meter, copy, pass, sync_directory};
use crate::model::report::{Damage, RestoreReport, Tell};
use crate::store::data_dir::{DataDir, make_private};

/// A backup's manifest and what is wrong with its files.
#[derive(Debug)]
pub struct Checked {
    /// Everything up to this fact is in it.
    pub sequence: u64,
    /// The journal's id.
    pub journal: u128,
    /// Its segments, in order: the number, and the path of the file.
    pub segments: Vec<(u32, std::path::PathBuf)>,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Reads every file of the backup in `directory` and compares size and checksum.
///
/// # Errors
/// [`BackupError`] when there is none, or its manifest can't be read. Damaged files are in the answer.
pub fn check(directory: &Path, tell: &mut Tell<'_>) -> Result<Checked, BackupError> {
    let (_taken, manifest) = BackupDir::open(directory)?;
    let mut meter = Meter { done: 0, total: manifest.files.iter().map(|file| file.size).sum(), tell };
    let damage = damage_of(directory, &manifest, &mut meter);
    let number = |path: &str| path.strip_prefix("journal/").and_then(crate::store::journal::segment::parse_file_name);
    let segments = manifest.files.iter().filter_map(|file| Some((number(&file.path)?, Manifest::place_of(directory, file)))).collect();
    let journal = u128::from_str_radix(&manifest.journal, 16).unwrap_or(0);
    Ok(Checked { sequence: manifest.sequence, journal, segments, bytes: meter.done, damage })
}

/// Makes a data directory at `data_dir` of the backup in `directory`. The view is made again by the next start.
///
/// # Errors
/// [`BackupError`]; `data_dir` is no data directory then.
pub fn restore(directory: &Path, data_dir: &Path, tell: &mut Tell<'_>) -> Result<RestoreReport, BackupError> {
    let (_taken, manifest) = BackupDir::open(directory)?;
    let bytes = manifest.files.iter().map(|file| file.size).sum::<u64>();
    let mut meter = Meter { done: 0, total: 2 * bytes, tell };
    let damage = damage_of(directory, &manifest, &mut meter);
    if !damage.is_empty() {
        let files = damage.iter().map(|damage| format!("  {}: {}", damage.file, damage.what)).collect();
        return Err(BackupError::Damaged { path: directory.to_owned(), files });
    }
    let target = DataDir::take_empty(data_dir)?;
    for part in ["journal", "sandbox"] {
        make_private(&data_dir.join(part)).map_err(BackupError::io("making", &data_dir.join(part)))?;
    }
    for file in &manifest.files {
        let (from, to) = (Manifest::place_of(directory, file), data_dir.join(&file.path));
        let mut source = File::open(&from).map_err(BackupError::io("opening", &from))?;
        let copied = copy(&mut source, &to, u64::MAX, &mut meter).map_err(BackupError::io("copying", &from))?;
        if !is_as_it_was(file, copied) {
            let files = vec![format!("  {}: it changed while it was read", file.stored())];
            return Err(BackupError::Damaged { path: directory.to_owned(), files });
        }
    }
    for part in ["journal", "sandbox", ""] {
        sync_directory(&data_dir.join(part))?;
    }
    target.finish()?;
    let Manifest { made, sequence, files, .. } = manifest;
    let [backup, data_dir] = [directory, data_dir].map(|path| path.display().to_string());
    Ok(RestoreReport { backup, data_dir, made, sequence, files: files.len() as u64, bytes })
}

fn damage_of(directory: &Path, manifest: &Manifest, meter: &mut Meter<'_, '_>) -> Vec<Damage> {
    let mut damage = Vec::new();
    for file in &manifest.files {
        let read =
            File::open(Manifest::place_of(directory, file)).and_then(|mut source| pass(&mut source, &mut io::sink(), u64::MAX, meter));
        let what = match read {
            Ok(read) if is_as_it_was(file, read) => continue,
            Ok((size, _)) if size != file.size => format!("it has {size} bytes, the manifest says {}", file.size),
            Ok(_) => "its checksum does not fit".to_owned(),
            Err(error) => error.to_string(),
        };
        damage.push(Damage { file: file.stored(), offset: None, bytes: None, what });
    }
    damage
}

fn is_as_it_was(file: &StoredFile, (size, crc32c): (u64, u32)) -> bool {
    size == file.size && file.has_checksum(crc32c)
}
