//! Which database a table is in, and how it moves into a fresh one when its file holds little but holes. It never keeps a reader or a writer waiting for more than a few rows.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::SledTable;
use super::generation::Generation;
use crate::store::view::TableError;

/// The file that names the generation; there is none before the first copy, which is when it lies in the table's directory itself.
const CURRENT: &str = "current";
/// Rows of sled that are copied at once.
const COPY_ROWS: usize = 64;

/// When a table moves.
#[derive(Clone, Copy, Debug)]
pub struct TidyRule {
    /// A smaller file is left as it is, in bytes.
    pub size_min: u64,
    /// It has to be so many times as large as what is in it.
    pub times: u64,
    /// What may be used of the disk meanwhile, in bytes.
    pub room: u64,
}

/// A table that has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tidied {
    /// Bytes on disk before.
    pub before: u64,
    /// And now.
    pub after: u64,
}

pub(super) struct Shared {
    root: PathBuf,
    pub(super) blocks: RwLock<()>,
    generations: RwLock<Generations>,
    looked: Mutex<Looked>,
}

struct Generations {
    number: u32,
    current: Arc<Generation>,
    copy: Option<Arc<Generation>>,
}

/// What was found when it was looked last, so that it is not looked all the time.
#[derive(Default)]
struct Looked {
    /// The file's size then.
    size: u64,
    /// Its size after the last move: what it cannot be less than, whatever is in it.
    after_move: u64,
}

impl Shared {
    pub(super) fn open(root: &Path) -> Result<Self, TableError> {
        let failed = |error: io::Error| TableError(format!("{}: {error}", root.display()));
        let number = current_number(root).map_err(failed)?;
        remove_others(root, number).map_err(failed)?;
        let current = Arc::new(Generation::open(&directory_of(root, number))?);
        let generations = RwLock::new(Generations { number, current, copy: None });
        Ok(Self { root: root.to_owned(), blocks: RwLock::new(()), generations, looked: Mutex::default() })
    }

    pub(super) fn current(&self) -> Arc<Generation> {
        Arc::clone(&self.generations.read().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// The generation into which it is being copied.
    pub(super) fn copy(&self) -> Option<Arc<Generation>> {
        self.generations.read().unwrap_or_else(PoisonError::into_inner).copy.clone()
    }

    fn set_copy(&self, copy: Option<Arc<Generation>>) {
        self.generations.write().unwrap_or_else(PoisonError::into_inner).copy = copy;
    }
}

impl SledTable {
    /// Moves into a fresh database if the rule says so. Call it now and then, from one thread; others go on reading and writing meanwhile.
    ///
    /// # Errors
    /// [`TableError`] when the table itself failed. A copy that can't be made is no error: it is tried again when the file has grown further.
    pub fn tidy(&self, rule: &TidyRule) -> Result<Option<Tidied>, TableError> {
        let shared = &self.shared;
        let before = shared.current().size_bytes();
        {
            let mut looked = shared.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if before < rule.size_min.max(looked.size + looked.size / 10).max(2 * looked.after_move) {
                return Ok(None);
            }
            looked.size = before;
        }
        let live = self.live_bytes()?;
        if before < rule.times * live || rule.room < rule.times * live {
            return Ok(None);
        }
        let number = shared.generations.read().unwrap_or_else(PoisonError::into_inner).number + 1;
        let moved = self.move_into(number);
        shared.set_copy(None);
        match moved {
            // Here, where nobody waits, since closing takes its time.
            Ok(last) => drop(last),
            Err(Failure::Table(error)) => return Err(error),
            Err(Failure::Copy(why)) => {
                tracing::warn!(%why, "the view takes more of the disk than it needs, and could not be copied; it is tried again");
                drop(fs::remove_dir_all(directory_of(&shared.root, number)));
                return Ok(None);
            }
        }
        if let Err(error) = remove_others(&shared.root, number) {
            tracing::warn!(%error, "the files of the view's last generation could not be removed; the next start tries again");
        }
        let after = shared.current().size_bytes();
        *shared.looked.lock().unwrap_or_else(PoisonError::into_inner) = Looked { size: after, after_move: after };
        Ok(Some(Tidied { before, after }))
    }

    /// Bytes of all keys and values.
    fn live_bytes(&self) -> Result<u64, TableError> {
        let (mut bytes, mut from) = (0, Bound::Unbounded);
        loop {
            let some = self.some_rows(&from)?;
            bytes += some.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
            let Some((last, _)) = some.last() else { return Ok(bytes) };
            from = Bound::Excluded(last.to_vec());
        }
    }

    /// Rows of sled behind `from`, as they are just now.
    fn some_rows(&self, from: &Bound<Vec<u8>>) -> Result<Vec<(sled::IVec, sled::IVec)>, TableError> {
        let range = (from.clone(), Bound::Unbounded);
        self.call(|open| open.tree.range::<Vec<u8>, _>(range).take(COPY_ROWS).collect())
    }

    /// Gives back the generation that it was in.
    fn move_into(&self, number: u32) -> Result<Arc<Generation>, Failure> {
        let shared = &self.shared;
        let path = directory_of(&shared.root, number);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let copy = Arc::new(Generation::open(&path)?);
        // From here on it gets every change, and what is copied over it later is the same or newer.
        shared.set_copy(Some(Arc::clone(&copy)));
        let mut from = Bound::Unbounded;
        loop {
            let _alone = self.alone();
            let some = self.some_rows(&from).map_err(Failure::Table)?;
            let Some((last, _)) = some.last() else { break };
            from = Bound::Excluded(last.to_vec());
            let mut batch = sled::Batch::default();
            some.into_iter().for_each(|(key, value)| batch.insert(key, value));
            copy.call(|open| open.tree.apply_batch(batch))?;
        }
        // Most of it, while others go on; what has come meanwhile is little.
        copy.checkpoint()?;
        let _alone = self.alone();
        copy.checkpoint()?;
        name_current(&shared.root, number)?;
        let mut generations = shared.generations.write().unwrap_or_else(PoisonError::into_inner);
        generations.number = number;
        Ok(std::mem::replace(&mut generations.current, copy))
    }
}

/// Why a table did not move.
enum Failure {
    /// It failed itself.
    Table(TableError),
    /// Its copy failed, which is no harm.
    Copy(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Copy(error.to_string())
    }
}

/// Where a generation lies.
fn directory_of(root: &Path, number: u32) -> PathBuf {
    if number == 0 { root.to_owned() } else { root.join(number.to_string()) }
}

fn current_number(root: &Path) -> io::Result<u32> {
    match fs::read_to_string(root.join(CURRENT)) {
        Ok(text) => text.trim().parse().map_err(|_| io::Error::other(format!("the file {CURRENT} names no generation"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Durable before anything of the last generation goes.
fn name_current(root: &Path, number: u32) -> io::Result<()> {
    let new = root.join(format!("{CURRENT}.new"));
    let mut file = File::create(&new)?;
    writeln!(file, "{number}")?;
    file.sync_all()?;
    fs::rename(&new, root.join(CURRENT))?;
    File::open(root)?.sync_all()
}

/// Removes what belongs to no generation or to another than `number`.
fn remove_others(root: &Path, number: u32) -> io::Result<()> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let generation = name.parse::<u32>().ok();
        // The first generation's files lie beside the directories of later ones.
        let is_kept = match generation {
            Some(generation) => generation == number,
            None => name == CURRENT || (number == 0 && name != format!("{CURRENT}.new")),
        };
        match entry.file_type()?.is_dir() {
            _ if is_kept => {}
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}
