//! Every parser that reads outside bytes, given bytes that nobody meant. It never measures how far it got; `guided` does.
//!
//! `corpus` has a directory for each target: what its input should look like, and whatever once went wrong. A run takes each of these as it is, and then
//! changes them by chance, another chance each time: `FUZZ_RUNS=1000000` makes more of them, `FUZZ_SEED=n` the same again. What fails is written below `target/tmp/fuzz`, to be put into the corpus;
//! what ends the whole process leaves its seed there. Memory beyond a bound is not to be had, neither here nor by the daemon that is started, so that a length that is believed ends the process.
//!
//! For an hour that goes where the code has branches, there is libFuzzer, by `cargo install cargo-fuzz`, over the same targets and the same corpus:
//!
//! ```console
//! $ mkdir -p target/fuzz/config
//! $ FUZZ_TARGET=config cargo fuzz run --fuzz-dir tests/fuzz/guided --sanitizer none parser target/fuzz/config tests/fuzz/corpus/config -- -max_total_time=3600
//! ```
//!
//! There `request` is given to a daemon in the same process, which dials whom it is told to, and so it only runs in a network of its own:
//! `unshare --map-root-user --net sh -c 'ip link set lo up && FUZZ_TARGET=request cargo fuzz run …'`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where by panicking")]

#[path = "../it/daemon.rs"]
#[expect(dead_code, reason = "not all that the black-box tests need is needed here")]
mod daemon;
mod doors;
mod mutation;
#[path = "../sim/random.rs"]
#[expect(dead_code, reason = "not all that the simulator needs is needed here")]
mod random;
mod request;
mod targets;

use std::fs;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mutation::Mutation;
use random::Rng;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Memory that this process may have to write to, and each that it starts. The daemon's allocator takes half of that at once.
const MEMORY_MAX: u64 = 2 << 30;

/// Gives `take` every input of the corpus called `name`, and `runs` changed ones.
fn fuzz(name: &str, words: &[&str], runs: u64, take: impl Fn(&[u8])) {
    bound_memory();
    let of = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = of("FUZZ_SEED").unwrap_or_else(fresh_seed);
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "tests/fuzz/corpus/{name} has no inputs");
    keep(&format!("{name}.seed"), seed.to_string().as_bytes());
    let mutation = Mutation { corpus: &corpus, words };
    let mut chance = Rng::new(seed);
    let changed = (0..of("FUZZ_RUNS").unwrap_or(runs)).map(|_| mutation.next(&mut chance));
    for input in corpus.iter().cloned().chain(changed) {
        // The panic has said its own words by now.
        if catch_unwind(AssertUnwindSafe(|| take(&input))).is_err() {
            let file = keep(&format!("{name}-{:08x}", crc32c::crc32c(&input)), &input);
            panic!("{name}: failed with FUZZ_SEED={seed} by the input that is now in {}", file.display());
        }
    }
}

/// Sets [`MEMORY_MAX`] for all that follows: of memory (`RLIMIT_DATA`) and not of addresses (`RLIMIT_AS`), of which allocators reserve far more than they ever use.
fn bound_memory() {
    let maximum = getrlimit(Resource::Data).maximum;
    let current = Some(maximum.map_or(MEMORY_MAX, |maximum| maximum.min(MEMORY_MAX)));
    setrlimit(Resource::Data, Rlimit { current, maximum }).unwrap();
}

/// Writes down what somebody may want to see who looks for the reason of a failure.
fn keep(name: &str, bytes: &[u8]) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    let file = directory.join(name);
    fs::create_dir_all(&directory).and_then(|()| fs::write(&file, bytes)).unwrap();
    file
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[expect(clippy::disallowed_methods, reason = "another chance each time")]
fn fresh_seed() -> u64 {
    u64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn fuzz_target(name: &str) {
    let target = targets::target(name);
    fuzz(name, target.words, target.runs, target.run);
}

#[test]
fn a_claim_of_memory_beyond_the_bound_fails() {
    bound_memory();
    let claimed = black_box(&mut Vec::<u8>::new()).try_reserve_exact(usize::try_from(MEMORY_MAX).unwrap());
    assert!(claimed.is_err(), "{MEMORY_MAX} bytes were to be had");
}

#[test]
fn seeds_of_what_has_checksums_are_read_as_what_they_are() {
    let logs = corpus("sandbox_log").iter().map(|bytes| targets::disk::requests_in_sandbox_log(bytes)).collect::<Vec<_>>();
    assert!(logs.contains(&3), "{logs:?}");
    let indexes = corpus("index").iter().filter(|bytes| targets::disk::is_index(bytes)).count();
    assert!(indexes >= 3, "{indexes} indexes");
    let blocks = corpus("block").iter().filter(|bytes| targets::disk::is_block(bytes)).count();
    assert!(blocks >= 5, "{blocks} blocks");
}

#[test]
fn seeds_of_answers_are_understood_by_their_commands() {
    let understood = corpus("daemon_answer").iter().filter(|bytes| targets::answers::is_understood(bytes)).count();
    assert!(understood >= 50, "{understood} answers");
}

/// A test for each target, so that they run side by side.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            fuzz_target(stringify!($name));
        })*

        #[test]
        fn every_target_has_its_test() {
            assert_eq!(targets::TARGETS.iter().map(|target| target.name).collect::<Vec<_>>(), [$(stringify!($name)),*]);
        }
    };
}

tests!(
    event,
    publication,
    lines,
    config,
    pem,
    definition,
    selector,
    names,
    blacklist_line,
    retry_after,
    response,
    fact,
    row,
    block,
    segment,
    index,
    manifest,
    sealed,
    sandbox_log,
    daemon_answer,
    resolver_files,
    listen_fds
);
