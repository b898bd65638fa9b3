//! The view's table in sled 0.34.7: the only file that names sled. It never lets a panic of sled out, and never trusts sled's own flush.
//!
//! The settings are those that were measured: small segments, because start-up is quadratic in their number only far beyond what the view holds; a bounded cache;
//! the background flusher on, because it also frees space; no compression. `flush` of this version ends in `sync_file_range`,
//! which survives no power loss, so [`Table::checkpoint`] syncs the file itself.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Row, Table, TableError, Visit};

const SEGMENT_SIZE: usize = 256 * 1024;
const CACHE_CAPACITY: u64 = 64 * 1024 * 1024;
const FLUSH_EVERY_MS: u64 = 500;
/// Far below the size from which sled puts values into files that it never syncs.
const VALUE_SIZE_MAX: usize = 64 * 1024;

/// A sled database as a [`Table`]. Clones share it.
#[derive(Clone)]
pub struct SledTable {
    db: sled::Db,
    path: PathBuf,
    failed: Arc<AtomicBool>,
}

impl SledTable {
    /// Opens the database at `path`, making it when there is none.
    ///
    /// # Errors
    /// [`TableError`] when it is damaged, whatever sled does about that.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        remove_half_snapshots(path).map_err(|error| TableError(format!("{}: {error}", path.display())))?;
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::HighThroughput)
            .segment_size(SEGMENT_SIZE)
            .cache_capacity(CACHE_CAPACITY)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .use_compression(false);
        let db = guard(|| config.open())?;
        Ok(Self { db, path: path.to_owned(), failed: Arc::default() })
    }

    fn call<V>(&self, work: impl FnOnce() -> sled::Result<V>) -> Result<V, TableError> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(TableError("it failed before".into()));
        }
        let result = guard(work);
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Table for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, TableError> {
        self.call(|| Ok(self.db.get(key)?.map(|value| value.to_vec())))
    }

    fn apply(&self, rows: &[Row]) -> Result<(), TableError> {
        if let Some((key, _)) = rows.iter().find(|(_, value)| value.as_ref().is_some_and(|value| value.len() > VALUE_SIZE_MAX)) {
            return Err(TableError(format!("the value of a key that begins with {:?} is too large", key.first())));
        }
        self.call(|| {
            let mut batch = sled::Batch::default();
            for (key, value) in rows {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            self.db.apply_batch(batch)
        })
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), TableError> {
        self.call(|| {
            for row in self.db.range(from..to) {
                let (key, value) = row?;
                if visit(&key, &value) == ControlFlow::Break(()) {
                    break;
                }
            }
            Ok(())
        })
    }

    fn checkpoint(&self) -> Result<(), TableError> {
        self.call(|| {
            self.db.flush()?;
            File::open(self.path.join("db"))?.sync_data()?;
            File::open(&self.path)?.sync_all()?;
            Ok(())
        })?;
        // Files in blobs/ are never synced; VALUE_SIZE_MAX keeps it empty, and this says so if it ever does not.
        let blobs = fs::read_dir(self.path.join("blobs")).map_or(0, Iterator::count);
        if blobs == 0 { Ok(()) } else { Err(TableError(format!("{blobs} values lie in files that are never synced"))) }
    }

    fn size_bytes(&self) -> u64 {
        self.call(|| self.db.size_on_disk()).unwrap_or(0)
    }
}

/// A dead process can leave a snapshot half written, at which the next open fails; without that file everything is there.
fn remove_half_snapshots(path: &Path) -> std::io::Result<()> {
    let Ok(entries) = fs::read_dir(path) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn guard<V>(work: impl FnOnce() -> sled::Result<V>) -> Result<V, TableError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| TableError(error.to_string())),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
            Err(TableError(format!("a panic: {}", text.unwrap_or("without words"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, value: Option<&str>) -> Row {
        (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()))
    }

    fn keys(table: &SledTable) -> Vec<String> {
        let mut keys = Vec::new();
        table
            .scan(b"a", b"z", &mut |key, _| {
                keys.push(String::from_utf8_lossy(key).into_owned());
                ControlFlow::Continue(())
            })
            .unwrap();
        keys
    }

    #[test]
    fn rows_are_put_removed_scanned_in_order_and_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("view");
        let table = SledTable::open(&path).unwrap();
        table.apply(&[row("c", Some("3")), row("a", Some("1")), row("b", Some("2"))]).unwrap();
        table.apply(&[row("b", None), row("d", Some("4"))]).unwrap();
        assert_eq!(keys(&table), ["a", "c", "d"]);
        assert_eq!(table.get(b"c").unwrap(), Some(b"3".to_vec()));
        assert_eq!(table.get(b"b").unwrap(), None);
        table.checkpoint().unwrap();
        assert!(table.size_bytes() > 0);
        drop(table);
        fs::write(path.join("snap.0000000000000042.generating"), b"half").unwrap();
        assert_eq!(keys(&SledTable::open(&path).unwrap()), ["a", "c", "d"]);
    }

    #[test]
    fn damage_ends_in_an_error_and_never_in_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("view");
        let table = SledTable::open(&path).unwrap();
        for number in 0..2000_u32 {
            table.apply(&[(number.to_be_bytes().to_vec(), Some(vec![7; 50]))]).unwrap();
        }
        table.checkpoint().unwrap();
        drop(table);
        let good = fs::read(path.join("db")).unwrap();
        for step in 1..12 {
            let mut bad = good.clone();
            let at = good.len() * step / 12;
            bad[at] ^= 0x40;
            if step % 3 == 0 {
                bad.truncate(at);
            }
            fs::write(path.join("db"), &bad).unwrap();
            let outcome = catch_unwind(|| {
                let Ok(table) = SledTable::open(&path) else { return };
                drop(table.scan(&[0], &[255], &mut |_, _| ControlFlow::Continue(())));
                drop(table.checkpoint());
            });
            assert!(outcome.is_ok(), "a panic came through at {at}");
        }
    }

    #[test]
    fn a_value_that_sled_would_put_into_a_file_of_its_own_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let table = SledTable::open(&directory.path().join("view")).unwrap();
        assert!(table.apply(&[(b"k".to_vec(), Some(vec![0; VALUE_SIZE_MAX + 1]))]).is_err());
        assert!(table.apply(&[row("k", Some("v"))]).is_ok(), "a refusal is no damage");
    }
}
