//! Memory and disk of a daemon over the time, as rows of bars, and as a table in `target/scale`. It never touches the daemon.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use hookwheel::time::Stopwatch;

use crate::house::{disk_mib, resident_mib};

const EVERY: Duration = Duration::from_millis(250);
const ROWS: usize = 24;
const WIDTH: u64 = 24;

/// One look at the daemon.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    at_ms: u64,
    pub(crate) resident_mib: u64,
    pub(crate) disk_mib: u64,
}

/// Looks at a daemon until it is ended.
pub(crate) struct Plot {
    name: &'static str,
    pid: Arc<AtomicU32>,
    ends: Arc<AtomicBool>,
    samples: Arc<Mutex<Vec<Sample>>>,
    looks: JoinHandle<()>,
}

impl Plot {
    /// Begins to look at a directory; nobody is looked at until [`Plot::follow`].
    pub(crate) fn begin(name: &'static str, data: PathBuf) -> Self {
        let (pid, ends, samples) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (of, until, into) = (Arc::clone(&pid), Arc::clone(&ends), Arc::clone(&samples));
        let looks = std::thread::spawn(move || {
            let stopwatch = Stopwatch::start();
            while !until.load(Ordering::Relaxed) {
                let resident_mib = resident_mib(of.load(Ordering::Relaxed)).unwrap_or(0);
                into.lock().unwrap().push(Sample { at_ms: stopwatch.elapsed_ms(), resident_mib, disk_mib: disk_mib(&data) });
                std::thread::sleep(EVERY);
            }
        });
        Self { name, pid, ends, samples, looks }
    }

    /// From here on it is this process.
    pub(crate) fn follow(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Prints the plot, writes the table, and gives back what it was made of.
    pub(crate) fn end(self) -> Vec<Sample> {
        self.ends.store(true, Ordering::Relaxed);
        self.looks.join().unwrap();
        let samples = self.samples.lock().unwrap().clone();
        let most = |of: fn(&Sample) -> u64| samples.iter().map(of).max().unwrap_or(0).max(1);
        let (memory, disk) = (most(|sample| sample.resident_mib), most(|sample| sample.disk_mib));
        println!("\n{:>8}  {:<34}  data directory", "seconds", "resident memory");
        let bar = |value: u64, most: u64| "█".repeat(usize::try_from((value * WIDTH).div_ceil(most)).unwrap());
        for part in samples.chunks(samples.len().div_ceil(ROWS).max(1)) {
            // The most of each part, so that no peak is left out.
            let (resident, on_disk) =
                (part.iter().map(|one| one.resident_mib).max().unwrap(), part.iter().map(|one| one.disk_mib).max().unwrap());
            println!(
                "{:>8}  {:>5} MiB {:<24}  {:>6} MiB {}",
                part[0].at_ms / 1000,
                resident,
                bar(resident, memory),
                on_disk,
                bar(on_disk, disk)
            );
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/scale");
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join(format!("{}.csv", self.name));
        let rows = samples.iter().map(|one| format!("{},{},{}\n", one.at_ms, one.resident_mib, one.disk_mib)).collect::<String>();
        std::fs::write(&path, format!("ms,resident_mib,disk_mib\n{rows}")).unwrap();
        println!("\nthe same as a table, every {} ms: {}", EVERY.as_millis(), path.display());
        samples
    }
}
