//! One database of sled with its files: opened, asked, made durable, closed. It never knows what is in it, and never lets a panic of sled out.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use rustix::fs::FlockOperation;

use crate::store::view::TableError;

#[cfg(not(panic = "unwind"))]
compile_error!("a panic of sled must be caught, so panics have to unwind");

const SEGMENT_SIZE: usize = 256 * 1024;
const CACHE_CAPACITY: u64 = 64 * 1024 * 1024;
const FLUSH_EVERY_MS: u64 = 500;
/// The tree that holds everything. Its name tells this layout from others: a view of another one seems empty, and is made anew.
const TREE: &str = "rows-2";
/// sled's file.
const DATABASE: &str = "db";
/// How often, and after what pauses, is looked whether somebody else still has it.
const LOCK_TRIES: usize = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// Closing waits for sled's own thread, which may have died.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// A database. After its first failure nothing is asked of it any more, and it is not even dropped, since that may panic again or wait for ever.
pub(super) struct Generation {
    /// `None` only while it is dropped.
    open: Option<Open>,
    path: PathBuf,
    data: File,
    directory: File,
    /// Why nothing is asked of it any more.
    failed: OnceLock<String>,
}

/// What sled gives.
pub(super) struct Open {
    pub(super) tree: sled::Tree,
    pub(super) db: sled::Db,
}

/// Waits until nobody has the database open, for a while. Whoever dropped it may still have it: sled writes in threads of its own, which hold the file, and with it the lock, a moment longer.
/// A lock that stays is told of by sled.
fn wait_for_lock(path: &Path) {
    let Ok(file) = File::open(path.join(DATABASE)) else { return };
    for _ in 0..LOCK_TRIES {
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return;
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}

impl Generation {
    /// Opens the database in the directory at `path`, making it when there is none.
    pub(super) fn open(path: &Path) -> Result<Self, TableError> {
        let failed = |error: String| TableError(format!("{}: {error}", path.display()));
        prepare_directory(path).map_err(|error| failed(error.to_string()))?;
        let config = sled::Config::new()
            .path(path)
            .mode(sled::Mode::HighThroughput)
            .segment_size(SEGMENT_SIZE)
            .cache_capacity(CACHE_CAPACITY)
            .flush_every_ms(Some(FLUSH_EVERY_MS))
            .use_compression(false);
        wait_for_lock(path);
        let open = guard(|| {
            let db = config.open()?;
            Ok(Open { tree: db.open_tree(TREE)?, db })
        });
        let open = open.map_err(failed)?;
        match open_files(path) {
            Ok((data, directory)) => Ok(Self { open: Some(open), path: path.to_owned(), data, directory, failed: OnceLock::new() }),
            Err(error) => {
                close(open);
                Err(failed(error.to_string()))
            }
        }
    }

    /// Asks something of sled, unless it failed before; a panic becomes an error, and an error the last answer.
    pub(super) fn call<V>(&self, work: impl FnOnce(&Open) -> sled::Result<V>) -> Result<V, TableError> {
        if let Some(why) = self.failed.get() {
            return Err(TableError(format!("it failed before: {why}")));
        }
        let open = self.open.as_ref().expect("only drop takes it");
        guard(|| work(open)).map_err(|error| TableError(self.failed.get_or_init(|| error).clone()))
    }

    /// Makes everything in it durable, really.
    pub(super) fn checkpoint(&self) -> Result<(), TableError> {
        self.call(|open| {
            open.db.flush()?;
            self.data.sync_data()?;
            self.directory.sync_all()?;
            Ok(())
        })?;
        // Files in blobs/ are never synced; VALUE_SIZE_MAX keeps it empty, and this says so if it ever does not.
        let blobs = fs::read_dir(self.path.join("blobs")).map_or(0, Iterator::count);
        if blobs == 0 { Ok(()) } else { Err(TableError(format!("{blobs} values lie in files that are never synced"))) }
    }

    /// Bytes on disk.
    pub(super) fn size_bytes(&self) -> u64 {
        self.call(|open| open.db.size_on_disk()).unwrap_or(0)
    }
}

impl Drop for Generation {
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
    let (data, directory) = (File::open(path.join(DATABASE))?, File::open(path)?);
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
