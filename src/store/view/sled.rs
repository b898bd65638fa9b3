//! The view's table in sled 0.34.7: the only file that names sled. It never lets a panic of sled out, and never trusts sled's own flush.
//!
//! The settings are those that were measured: small segments, because start-up is quadratic in their number only far beyond what the view holds; a bounded cache;
//! the background flusher on, because it also frees space; no compression. `flush` of this version ends in `sync_file_range`,
//! which survives no power loss, so [`Table::checkpoint`] syncs the file itself, through a handle that was open since the start and so sees the error of
//! every write in between.
//!
//! Damage in its file is met with a panic more often than with an error, so every call runs under `catch_unwind`. After the first failure nothing is
//! asked of it any more, and it is not even dropped, since that may panic again or wait for ever.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Row, Table, TableError, Visit};

#[cfg(not(panic = "unwind"))]
compile_error!("a panic of sled must be caught, so panics have to unwind");

const SEGMENT_SIZE: usize = 256 * 1024;
const CACHE_CAPACITY: u64 = 64 * 1024 * 1024;
const FLUSH_EVERY_MS: u64 = 500;
/// Far below the size from which sled puts values into files that it never syncs.
const VALUE_SIZE_MAX: usize = 64 * 1024;
/// Rows that a scan takes out of sled at once, so that whoever visits them runs outside of it.
const SCAN_ROWS: usize = 256;
/// Closing waits for sled's own thread, which may have died.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// A sled database as a [`Table`]. Clones share it.
#[derive(Clone)]
pub struct SledTable {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    path: PathBuf,
    data: File,
    directory: File,
    /// Why nothing is asked of it any more.
    failed: OnceLock<String>,
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
        let db = guard(|| config.open()).map_err(failed)?;
        match open_files(path) {
            Ok((data, directory)) => {
                Ok(Self { shared: Arc::new(Shared { db: Some(db), path: path.to_owned(), data, directory, failed: OnceLock::new() }) })
            }
            Err(error) => {
                close(db);
                Err(failed(error.to_string()))
            }
        }
    }

    /// Asks something of sled, unless it failed before; a panic becomes an error, and an error the last answer.
    fn call<V>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<V>) -> Result<V, TableError> {
        if let Some(why) = self.shared.failed.get() {
            return Err(TableError(format!("it failed before: {why}")));
        }
        let db = self.shared.db.as_ref().expect("only drop takes it");
        guard(|| work(db)).map_err(|error| TableError(self.shared.failed.get_or_init(|| error).clone()))
    }
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.call(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    fn apply(&self, rows: &[Row]) -> Result<(), TableError> {
        if let Some((key, _)) = rows.iter().find(|(_, value)| value.as_ref().is_some_and(|value| value.len() > VALUE_SIZE_MAX)) {
            return Err(TableError(format!("the value of a key that begins with {:?} is too large", key.first())));
        }
        self.call(|db| {
            let mut batch = sled::Batch::default();
            for (key, value) in rows {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            db.apply_batch(batch)
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        let mut from = from.to_vec();
        while from.as_slice() < to {
            let rows = self.call(|db| db.range(from.as_slice()..to).take(SCAN_ROWS).collect::<sled::Result<Vec<_>>>())?;
            for (key, value) in &rows {
                if visit(key, value).is_break() {
                    return Ok(());
                }
            }
            match rows.last() {
                // The next key in order is the same one with a zero behind it.
                Some((last, _)) if rows.len() == SCAN_ROWS => from = [last, [0].as_slice()].concat(),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<(), TableError> {
        self.call(|db| {
            db.flush()?;
            self.shared.data.sync_data()?;
            self.shared.directory.sync_all()?;
            Ok(())
        })?;
        // Files in blobs/ are never synced; VALUE_SIZE_MAX keeps it empty, and this says so if it ever does not.
        let blobs = fs::read_dir(self.shared.path.join("blobs")).map_or(0, Iterator::count);
        if blobs == 0 { Ok(()) } else { Err(TableError(format!("{blobs} values lie in files that are never synced"))) }
    }

    fn size_bytes(&self) -> u64 {
        self.call(|db| db.size_on_disk()).unwrap_or(0)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.failed.get().is_some() || guard(|| db.flush()).is_err() {
            std::mem::forget(db);
        } else {
            close(db);
        }
    }
}

/// Drops sled where its panic harms nobody, and does not wait for ever.
fn close(db: sled::Db) {
    let (done, closed) = sync_channel(1);
    let work = move || {
        drop(guard(|| {
            drop(db);
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
