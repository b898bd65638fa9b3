//! The view's table in sled 0.34.7: the only file that names sled. It never lets a panic of sled out, and never trusts sled's own flush.
//!
//! The settings are those that were measured: small segments, because start-up is quadratic in their number only far beyond what the view holds; a bounded cache;
//! the background flusher on, because it also frees space; no compression. `flush` of this version ends in `sync_file_range`,
//! which survives no power loss, so [`Table::checkpoint`] syncs the file itself, through a handle that was open since the start and so sees the error of
//! every write in between.
//!
//! A row of its own takes some 200 bytes of memory in sled and some 300 of disk (measured with a million), and a start reads them one by one. So the rows of the queue, and of ids by age, lie many in one
//! value, in a `block`: found by the key at or before theirs, changed as a whole, split when they are full, gone when they are empty. Whoever uses the table sees
//! rows, and a batch of rows is all or nothing as before. Ids by their hash stay rows of their own: each lies somewhere else, and would rewrite a block for itself alone.
//!
//! Damage in its file is met with a panic more often than with an error, so every call runs under `catch_unwind`. After the first failure nothing is
//! asked of it any more, and it is not even dropped, since that may panic again or wait for ever.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use super::{Row, Table, TableError, Visit, block};

#[cfg(not(panic = "unwind"))]
compile_error!("a panic of sled must be caught, so panics have to unwind");

const SEGMENT_SIZE: usize = 256 * 1024;
const CACHE_CAPACITY: u64 = 64 * 1024 * 1024;
const FLUSH_EVERY_MS: u64 = 500;
/// Far below the size from which sled puts values into files that it never syncs.
const VALUE_SIZE_MAX: usize = 64 * 1024;
/// The tree that holds everything. Its name tells this layout from others: a view of another one seems empty, and is made anew.
const TREE: &str = "rows-2";
/// Rows of sled, blocks among them, that a scan takes out of it at once, so that whoever visits them runs outside of it.
const SCAN_ROWS: usize = 32;
/// Closing waits for sled's own thread, which may have died.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// A sled database as a [`Table`]. Clones share it.
#[derive(Clone)]
pub struct SledTable {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` only while it is dropped.
    open: Option<Open>,
    /// Blocks change by reading them, and are found by their neighbours: who changes some is alone.
    blocks: RwLock<()>,
    path: PathBuf,
    data: File,
    directory: File,
    /// Why nothing is asked of it any more.
    failed: OnceLock<String>,
}

struct Open {
    tree: sled::Tree,
    db: sled::Db,
}

impl SledTable {
    /// Opens the database at `path`, making it when there is none.
    ///
    /// # Errors
    /// [`TableError`] when it is damaged, whatever sled does about that.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let failed = |error: String| TableError(format!("{}: {error}", path.display()));
        prepare_directory(path).map_err(|error| failed(error.to_string()))?;
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::HighThroughput)
            .segment_size(SEGMENT_SIZE)
            .cache_capacity(CACHE_CAPACITY)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .use_compression(false);
        let open = guard(|| {
            let db = config.open()?;
            Ok(Open { tree: db.open_tree(TREE)?, db })
        });
        let open = open.map_err(failed)?;
        match open_files(path) {
            Ok((data, directory)) => {
                let (path, failed) = (path.to_owned(), OnceLock::new());
                Ok(Self { shared: Arc::new(Shared { open: Some(open), blocks: RwLock::new(()), path, data, directory, failed }) })
            }
            Err(error) => {
                close(open);
                Err(failed(error.to_string()))
            }
        }
    }

    /// Asks something of sled, unless it failed before; a panic becomes an error, and an error the last answer.
    fn call<V>(&self, work: impl FnOnce(&Open) -> sled::Result<V>) -> Result<V, TableError> {
        if let Some(why) = self.shared.failed.get() {
            return Err(TableError(format!("it failed before: {why}")));
        }
        let open = self.shared.open.as_ref().expect("only drop takes it");
        guard(|| work(open)).map_err(|error| TableError(self.shared.failed.get_or_init(|| error).clone()))
    }

    /// The block in which `key` is, or would be: the last one of its family that does not begin behind it.
    fn block_of(&self, family: u8, key: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, TableError> {
        let family: &[u8] = &[family];
        self.call(|open| open.tree.range(family..=key).next_back().transpose())
    }

    /// The first block of a family behind `key`.
    fn block_behind(&self, family: u8, key: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, TableError> {
        let range = (Bound::Excluded(key.to_vec()), Bound::Excluded(vec![family + 1]));
        self.call(|open| open.tree.range::<Vec<u8>, _>(range).next().transpose())
    }

    /// What changes about the blocks when these rows of one family change, in the order of their keys.
    fn pack(&self, family: u8, mut rows: &[Row], batch: &mut sled::Batch) -> Result<(), TableError> {
        while let Some((first, _)) = rows.first() {
            let block = match self.block_of(family, first)? {
                Some(block) => Some(block),
                None => self.block_behind(family, first)?,
            };
            let Some((key, value)) = block else {
                let blocks = block::edited(first, None, rows)?;
                blocks.iter().for_each(|(key, value)| batch.insert(key.as_slice(), value.as_slice()));
                return Ok(());
            };
            let end = self.block_behind(family, &key)?.map(|(end, _)| end);
            let count = end.map_or(rows.len(), |end| rows.partition_point(|(key, _)| key.as_slice() < end.as_ref()));
            let (inside, behind) = rows.split_at(count);
            let blocks = block::edited(&key, Some(&value), inside)?;
            if blocks.first().is_none_or(|(first, _)| first.as_slice() != key.as_ref()) {
                batch.remove(&key);
            }
            blocks.iter().for_each(|(key, value)| batch.insert(key.as_slice(), value.as_slice()));
            rows = behind;
        }
        Ok(())
    }

    /// Rows of sled from the one on in which `from` is, or would be.
    fn chunk(&self, from: &[u8], to: &[u8]) -> Result<Vec<(sled::IVec, sled::IVec)>, TableError> {
        let _reading = self.shared.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let block = block::family_of(from).map(|family| self.block_of(family, from)).transpose()?.flatten();
        let from = block.as_ref().map_or(from, |(key, _)| key.as_ref());
        self.call(|open| open.tree.range(from..to).take(SCAN_ROWS).collect())
    }
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        let Some(family) = block::family_of(key) else {
            return self.call(|open| Ok(open.tree.get(key)?.map(|value| value.to_vec())));
        };
        let _reading = self.shared.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let Some((block, value)) = self.block_of(family, key)? else { return Ok(None) };
        Ok(block::find(&block, &value, key)?)
    }

    fn apply(&self, rows: &[Row]) -> Result<(), TableError> {
        if let Some((key, _)) = rows.iter().find(|(_, value)| value.as_ref().is_some_and(|value| value.len() > VALUE_SIZE_MAX)) {
            return Err(TableError(format!("the value of a key that begins with {:?} is too large", key.first())));
        }
        let _alone = self.shared.blocks.write().unwrap_or_else(PoisonError::into_inner);
        let mut batch = sled::Batch::default();
        let mut packed: BTreeMap<u8, Vec<Row>> = BTreeMap::new();
        for (key, value) in rows {
            match (block::family_of(key), value) {
                (Some(family), _) => packed.entry(family).or_default().push((key.clone(), value.clone())),
                (None, Some(value)) => batch.insert(key.as_slice(), value.as_slice()),
                (None, None) => batch.remove(key.as_slice()),
            }
        }
        for (family, mut rows) in packed {
            rows.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.pack(family, &rows, &mut batch)?;
        }
        self.call(|open| open.tree.apply_batch(batch))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        let mut from = from.to_vec();
        while from.as_slice() < to {
            let chunk = self.chunk(&from, to)?;
            let mut last = Vec::new();
            for (key, value) in &chunk {
                if block::family_of(key).is_none() {
                    if visit(key, value).is_break() {
                        return Ok(());
                    }
                    last = key.to_vec();
                    continue;
                }
                let mut rows = block::Rows::of(key, value)?;
                while let Some((key, value)) = rows.step()? {
                    if key >= to || (key >= from.as_slice() && visit(key, value).is_break()) {
                        return Ok(());
                    }
                }
                last = rows.into_last_key();
            }
            if chunk.len() < SCAN_ROWS {
                return Ok(());
            }
            // The next key in order is the same one with a zero behind it.
            from = [last.as_slice(), &[0]].concat();
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), TableError> {
        self.call(|open| {
            open.db.flush()?;
            self.shared.data.sync_data()?;
            self.shared.directory.sync_all()?;
            Ok(())
        })?;
        // Files in blobs/ are never synced; VALUE_SIZE_MAX keeps it empty, and this says so if it ever does not.
        let blobs = fs::read_dir(self.shared.path.join("blobs")).map_or(0, Iterator::count);
        if blobs == 0 { Ok(()) } else { Err(TableError(format!("{blobs} values lie in files that are never synced"))) }
    }

    fn size_bytes(&self) -> u64 {
        self.call(|open| open.db.size_on_disk()).unwrap_or(0)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if self.failed.get().is_some() || guard(|| open.db.flush()).is_err() {
            std::mem::forget(open);
        } else {
            close(open);
        }
    }
}

/// Drops sled where its panic harms nobody, and does not wait for ever.
fn close(open: Open) {
    let (done, closed) = sync_channel(1);
    let work = move || {
        drop(guard(|| {
            drop(open);
            Ok(())
        }));
        let _ = done.send(());
    };
    if std::thread::Builder::new().name("hookwheel-close".into()).spawn(work).is_ok() {
        // Whether it closed or was given up makes no difference: every checkpoint is durable without.
        let _ = closed.recv_timeout(CLOSE_LIMIT);
    }
}

/// A dead process can leave a snapshot half written, at which the next open fails; without that file everything is there.
fn prepare_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The handles for real syncs. What sled made when it was opened (its settings, the names) becomes durable here.
fn open_files(path: &Path) -> io::Result<(File, File)> {
    let (data, directory) = (File::open(path.join("db"))?, File::open(path)?);
    File::open(path.join("conf"))?.sync_all()?;
    data.sync_all()?;
    directory.sync_all()?;
    Ok((data, directory))
}

fn guard<V>(work: impl FnOnce() -> sled::Result<V>) -> Result<V, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!("a panic: {}", text.unwrap_or("without words")))
        }
    }
}

#[cfg(test)]
mod tests;
