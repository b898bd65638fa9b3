//! A disk that can be watched, that fails and that is slow, under the real binary: a small library that the loader puts between it and libc. It never knows what the bytes mean.
//!
//! `shim.c` is compiled when a test needs it, and says what comes by there and what does not. Without a C compiler, or with a libc that knows no `LD_PRELOAD`, such a test
//! says so on stderr, past the test harness, and checks nothing.

pub(crate) mod image;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use self::image::Image;
use crate::daemon::House;

/// Words of the page that is shared with the library, in the order of `shim.c`.
#[derive(Clone, Copy)]
enum Word {
    DelayMs,
    Calls,
    Place,
    At,
    Errno,
    ForEver,
    Short,
    Seen,
    Hit,
    Delayed,
    Loaded,
}

/// Calls that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    Writes = 1,
    Syncs = 2,
    /// Files that are made, renamed or removed.
    Names = 4,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Journal = 1,
    View = 2,
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    Io = 5,
    NoSpace = 28,
}

/// A call that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) calls: Calls,
    pub(crate) place: Place,
    pub(crate) error: Error,
    /// The first that fails, from 1.
    pub(crate) at: u32,
    pub(crate) for_ever: bool,
    /// The write is done in part first, and the next one fails.
    pub(crate) is_short: bool,
}

/// The disk under the data directory of a house.
pub(crate) struct Disk {
    library: &'static Path,
    page: PathBuf,
    log: PathBuf,
    words: File,
}

impl Disk {
    /// The disk under that house; nothing where it can't be watched.
    pub(crate) fn under(house: &House) -> Option<Self> {
        let Some(library) = library() else {
            // Not `eprintln!`: the harness would swallow it.
            let _ =
                writeln!(std::io::stderr(), "NOT CHECKED: the disk under the real binary; it takes a C compiler named cc, and LD_PRELOAD");
            return None;
        };
        let page = house.path("disk.page");
        fs::write(&page, [0; 4096]).unwrap();
        let words = File::options().read(true).write(true).open(&page).unwrap();
        Some(Self { library, page, log: house.path("disk.log"), words })
    }

    /// The daemon over this disk.
    pub(crate) fn serve(&self, house: &House) -> Command {
        let mut command = house.serve();
        command.env("LD_PRELOAD", self.library).env("DISK_ROOT", house.directory.path()).env("DISK_CONTROL", &self.page);
        self.set(Word::Loaded, 0);
        command
    }

    /// The daemon over this disk, with a log of everything that it does there. The image hears first of what the one before it did.
    pub(crate) fn serve_watched(&self, house: &House, image: &mut Image) -> Command {
        if self.log.exists() {
            self.tell(image);
        }
        let mut command = self.serve(house);
        File::create(&self.log).unwrap();
        command.env("DISK_LOG", &self.log);
        command
    }

    /// Tells an image what the daemon did there, once; its last word may be cut.
    pub(crate) fn tell(&self, image: &mut Image) {
        assert_eq!(self.get(Word::Loaded), 1, "the daemon ran without the library");
        image.follow(&fs::read(&self.log).unwrap());
        File::create(&self.log).unwrap();
    }

    /// From now on calls fail.
    pub(crate) fn fail(&self, fault: Fault) {
        self.set(Word::Calls, 0);
        self.set(Word::Seen, 0);
        self.set(Word::Hit, 0);
        self.set(Word::Place, fault.place as u32);
        self.set(Word::At, fault.at);
        self.set(Word::Errno, fault.error as u32);
        self.set(Word::ForEver, fault.for_ever.into());
        self.set(Word::Short, fault.is_short.into());
        self.set(Word::Calls, fault.calls as u32);
    }

    /// No call fails any more.
    pub(crate) fn heal(&self) {
        self.set(Word::Calls, 0);
    }

    /// So many calls failed.
    pub(crate) fn failed(&self) -> u32 {
        self.get(Word::Hit)
    }

    /// From now on each sync of the journal takes so much longer.
    pub(crate) fn slow(&self, ms: u32) {
        self.set(Word::DelayMs, ms);
    }

    /// So many syncs hang now.
    pub(crate) fn hanging(&self) -> u32 {
        self.get(Word::Delayed)
    }

    fn set(&self, word: Word, value: u32) {
        self.words.write_all_at(&value.to_ne_bytes(), word as u64 * 4).unwrap();
    }

    fn get(&self, word: Word) -> u32 {
        let mut bytes = [0; 4];
        self.words.read_exact_at(&mut bytes, word as u64 * 4).unwrap();
        u32::from_ne_bytes(bytes)
    }
}

/// The library, compiled once.
fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let compile = || {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (source, library) = (directory.join("disk-shim.c"), directory.join(format!("disk-shim-{}.so", std::process::id())));
        fs::write(&source, include_str!("shim.c")).unwrap();
        let output = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").output().ok()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // One name for all runs, whoever compiles at the same time.
        let name = directory.join("disk-shim.so");
        fs::rename(&library, &name).unwrap();
        cfg!(target_env = "gnu").then_some(name)
    };
    LIBRARY.get_or_init(compile).as_deref()
}
