//! Backup and verify while the daemon runs: each on a thread of its own, one of a kind at a time. They never hold up the engine or the writer, and never keep the store open when the daemon ends.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::runtime::Handle;

use super::house::{House, Rooms};
use crate::model::Sequence;
use crate::model::report::{BackupReport, Progress, VerifyReport};
use crate::server::hallway::Refusal;
use crate::server::operations::Operations;
use crate::store::backup::{self, BackupError, Extent};
use crate::store::recovery::verify::{self, VerifyError};

/// What goes on.
#[derive(Default)]
pub(super) struct Jobs {
    backup: Job<BackupReport>,
    verify: Job<VerifyReport>,
}

/// The newest piece of work of one kind.
struct Job<R>(Arc<Mutex<Progress<R>>>);

impl<R> Default for Job<R> {
    fn default() -> Self {
        let none = Progress { number: 0, running: false, done_bytes: 0, total_bytes: 0, report: None, error: None };
        Self(Arc::new(Mutex::new(none)))
    }
}

impl<R> Clone for Job<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Clone + Send + 'static> Job<R> {
    fn progress(&self) -> MutexGuard<'_, Progress<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins the next one on a thread, unless one goes on. `work` is given what to tell of its progress.
    fn begin(
        &self,
        name: &'static str,
        work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> Result<R, String> + Send + 'static,
    ) -> Result<Progress<R>, Refusal> {
        let mut progress = self.progress();
        if progress.running {
            return Err(Refusal::Conflict { detail: format!("a {name} is under way already; try again when it has ended") });
        }
        let number = progress.number + 1;
        let job = self.clone();
        let thread = std::thread::Builder::new().name(format!("hookwheel-{name}"));
        let run = move || {
            let mut guard = Unfinished { job: &job, name };
            let result = work(&mut |done, total| {
                let mut progress = guard.job.progress();
                (progress.done_bytes, progress.total_bytes) = (done, total);
            });
            guard.end(result);
        };
        thread.spawn(run).map_err(|error| Refusal::Unavailable { detail: format!("the system refused a thread: {error}") })?;
        *progress = Progress { number, running: true, done_bytes: 0, total_bytes: 0, report: None, error: None };
        Ok(progress.clone())
    }
}

/// Sees to it that nobody waits for work that ended in a panic.
struct Unfinished<'a, R: Clone + Send + 'static> {
    job: &'a Job<R>,
    name: &'static str,
}

impl<R: Clone + Send + 'static> Unfinished<'_, R> {
    fn end(&mut self, result: Result<R, String>) {
        if let Err(error) = &result {
            tracing::warn!("{}: {error}", self.name);
        }
        let mut progress = self.job.progress();
        progress.running = false;
        match result {
            Ok(report) => progress.report = Some(report),
            Err(error) => progress.error = Some(error),
        }
    }
}

impl<R: Clone + Send + 'static> Drop for Unfinished<'_, R> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end(Err("a defect of hookwheel: its log says more".into()));
        }
    }
}

/// The way from such a thread to the engine's. It does not keep the house open.
struct Asking {
    rooms: Weak<Rooms>,
    runtime: Handle,
}

impl Asking {
    fn of(house: &House) -> Self {
        Self { rooms: Arc::downgrade(&house.0), runtime: Handle::current() }
    }

    /// Up to which fact the journal is synced: nothing beyond it was acknowledged to anybody before this was asked. `None` when the daemon is ending.
    fn synced_through(&self) -> Option<Sequence> {
        let house = House(self.rooms.upgrade()?);
        self.runtime.block_on(house.ask(|_, writer, _| writer.synced_through)).ok()
    }
}

/// Whoever asks is rarely the user that the daemon runs as.
fn told(error: &BackupError) -> String {
    let hint = if error.is_denied() {
        "\nThe daemon writes the backup, as its own user and within what its unit allows (ReadWritePaths=)"
    } else {
        ""
    };
    format!("{error}{hint}")
}

impl Operations for House {
    async fn begin_backup(&self, directory: PathBuf, by: String) -> Result<Progress<BackupReport>, Refusal> {
        let (asking, data_dir) = (Asking::of(self), self.0.data_dir.clone());
        tracing::info!(by, directory = %directory.display(), "a backup begins");
        self.0.jobs.backup.begin("backup", move |tell| {
            let mut extent = || asking.synced_through().map(Extent::SyncedThrough).ok_or(BackupError::Ending);
            let report = backup::make(&data_dir, &directory, &mut extent, tell).map_err(|error| told(&error))?;
            let BackupReport { sequence, files, kept, linked, copied, .. } = report;
            tracing::info!(directory = report.directory, sequence, files, kept, linked, copied, "the backup is made");
            Ok(report)
        })
    }

    fn backup(&self) -> Progress<BackupReport> {
        self.0.jobs.backup.progress().clone()
    }

    async fn begin_verify(&self, by: String) -> Result<Progress<VerifyReport>, Refusal> {
        let (asking, directory) = (Asking::of(self), self.0.data_dir.display().to_string());
        let (medium, table) = (Arc::clone(&self.0.lists.medium), Arc::downgrade(&self.0.lists.table));
        tracing::info!(by, "verifying begins");
        self.0.jobs.verify.begin("verification", move |tell| {
            let table = table.upgrade().ok_or_else(|| VerifyError::Ending.to_string())?;
            let mut synced_through = || asking.synced_through().ok_or(VerifyError::Ending);
            let report = verify::in_use(medium.as_ref(), table.as_ref(), &mut synced_through, tell).map_err(|error| error.to_string())?;
            let report = VerifyReport { directory, ..report };
            let (facts, damaged, missing) = (report.facts, report.damage.len(), report.missing.len());
            if report.sound {
                tracing::info!(facts, "verified: everything is sound");
            } else {
                tracing::error!(facts, damaged, missing, view = ?report.view, "verified: damage was found; `hookwheel verify` says what");
            }
            Ok(report)
        })
    }

    fn verify(&self) -> Progress<VerifyReport> {
        self.0.jobs.verify.progress().clone()
    }
}
