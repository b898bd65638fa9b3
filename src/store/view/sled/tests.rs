//! What the cellar relies on in a table of sled, and that its damage stays inside. They never look at what rows mean.

use std::fs;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Always, whatever is in it.
const AT_ONCE: TidyRule = TidyRule { size_min: 0, times: 0, room: 0 };

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
fn a_table_that_somebody_has_a_moment_longer_is_waited_for_and_one_that_stays_held_is_told_of() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("view");
    let table = SledTable::open(&path).unwrap();
    let held = SledTable::open(&path).err().unwrap();
    assert!(held.0.contains("could not acquire lock"), "{held}");
    let holder = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        drop(table);
    });
    SledTable::open(&path).unwrap();
    holder.join().unwrap();
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

#[test]
fn a_scan_sees_its_range_in_order_across_chunks_and_stops_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let table = SledTable::open(&directory.path().join("view")).unwrap();
    let rows = (0..1000).map(|number| row(&format!("k{number:04}"), Some("x"))).collect::<Vec<_>>();
    rows.chunks(64).for_each(|rows| table.apply(rows).unwrap());
    let all = (0..1000).map(|number| format!("k{number:04}")).collect::<Vec<_>>();
    assert_eq!(keys(&table), all);
    let scan = |from: &str, to: &str, limit: usize| {
        let mut seen = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            seen.push(String::from_utf8_lossy(key).into_owned());
            if seen.len() == limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        table.scan(from.as_bytes(), to.as_bytes(), visit).unwrap();
        seen
    };
    assert_eq!(scan("k0005", &format!("k{:04}", 5 + SCAN_ROWS), usize::MAX), all[5..5 + SCAN_ROWS]);
    assert_eq!(scan("k0005", "z", 3), all[5..8]);
    assert!(scan("k0007", "k0007", usize::MAX).is_empty() && scan("k0009", "k0007", usize::MAX).is_empty());
}

#[test]
fn what_visits_rows_may_change_them_and_its_panic_is_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let table = SledTable::open(&directory.path().join("view")).unwrap();
    table.apply(&[row("a", Some("1")), row("b", Some("2"))]).unwrap();
    let panics = catch_unwind(AssertUnwindSafe(|| table.scan(b"a", b"z", &mut |_, _| std::panic::resume_unwind(Box::new("mine")))));
    assert!(panics.is_err(), "a panic of the visitor is not taken for one of sled");
    let visit = &mut |key: &[u8], _: &[u8]| {
        table.apply(&[(key.to_vec(), None)]).unwrap();
        ControlFlow::Continue(())
    };
    table.scan(b"a", b"z", visit).unwrap();
    assert!(keys(&table).is_empty());
}

#[test]
fn a_checkpoint_is_in_the_files_and_needs_no_drop() {
    let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let table = SledTable::open(directory.path()).unwrap();
    table.apply(&[row("k", Some("seven"))]).unwrap();
    table.checkpoint().unwrap();
    for entry in fs::read_dir(directory.path()).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    assert_eq!(keys(&SledTable::open(copy.path()).unwrap()), ["k"]);
}

#[test]
fn after_a_panic_inside_nothing_is_answered_any_more_and_dropping_it_is_quiet() {
    let directory = tempfile::tempdir().unwrap();
    let table = SledTable::open(directory.path()).unwrap();
    let error = table.call::<()>(|_| std::panic::resume_unwind(Box::new("broken page".to_owned()))).unwrap_err();
    assert_eq!(error.0, "a panic: broken page");
    let clone = table.clone();
    for error in [clone.get(b"k").unwrap_err(), clone.apply(&[]).unwrap_err(), clone.checkpoint().unwrap_err()] {
        assert_eq!(error.0, "it failed before: a panic: broken page");
    }
    assert!(clone.scan(b"a", b"z", &mut |_, _| ControlFlow::Continue(())).is_err());
    drop((table, clone));
    // The name is free for a new one, whatever the old one still holds.
    fs::remove_dir_all(directory.path()).unwrap();
    assert!(keys(&SledTable::open(directory.path()).unwrap()).is_empty());
}

#[test]
fn a_value_in_a_file_of_its_own_fails_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let table = SledTable::open(directory.path()).unwrap();
    fs::write(directory.path().join("blobs/17"), b"large").unwrap();
    assert!(table.checkpoint().unwrap_err().to_string().contains("never synced"));
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"").unwrap();
    let error = SledTable::open(&path).err().unwrap().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

/// A generator of numbers that look random (SplitMix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

fn below(state: &mut u64, end: u64) -> usize {
    usize::try_from(random(state) % end).unwrap()
}

fn packed(family: u8, number: u64) -> Vec<u8> {
    [[family].as_slice(), &number.to_be_bytes(), b"tail"].concat()
}

#[test]
fn rows_in_blocks_are_what_a_plain_map_would_hold_whatever_is_put_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("view");
    let (mut table, mut model, mut state) = (SledTable::open(&path).unwrap(), BTreeMap::new(), 7);
    let all = |table: &SledTable, from: &[u8], to: &[u8]| {
        let mut rows = Vec::new();
        let visit = &mut |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        table.scan(from, to, visit).unwrap();
        rows
    };
    for round in 0..400_u64 {
        // Now at the end, now anywhere, now many away.
        let mut batch = BTreeMap::new();
        for step in 0..random(&mut state) % 100 {
            let family = b"qxzq"[below(&mut state, 4)];
            let number = if round % 3 == 0 { round * 100 + step } else { random(&mut state) % 40_000 };
            let removes = random(&mut state).is_multiple_of(if round % 50 < 35 { 4 } else { 1 });
            let value = (!removes).then(|| random(&mut state).to_be_bytes()[..below(&mut state, 9)].to_vec());
            batch.insert(packed(family, number), value);
        }
        if round % 7 == 0 {
            let old = model.keys().take(150).cloned().collect::<Vec<Vec<u8>>>();
            batch.extend(old.into_iter().map(|key| (key, None)));
        }
        for (key, value) in &batch {
            match value {
                Some(value) => drop(model.insert(key.clone(), value.clone())),
                None => drop(model.remove(key)),
            }
        }
        // The order in a batch means nothing.
        table.apply(&batch.clone().into_iter().rev().collect::<Vec<_>>()).unwrap();
        for key in batch.keys() {
            assert_eq!(table.get(key).unwrap().as_ref(), model.get(key));
        }
        let (from, to) = (packed(b'q', random(&mut state) % 40_000), packed(b'x', random(&mut state) % 40_000));
        let expected = model.range(from.clone()..to.clone()).map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>();
        assert_eq!(all(&table, &from, &to), expected);
        if round % 100 == 99 {
            if round % 200 == 199 {
                assert!(table.tidy(&AT_ONCE).unwrap().is_some());
                assert_eq!(all(&table, b"a", &[0xff]), model.clone().into_iter().collect::<Vec<_>>());
            }
            drop(table);
            table = SledTable::open(&path).unwrap();
            assert_eq!(all(&table, b"a", &[0xff]), model.clone().into_iter().collect::<Vec<_>>());
        }
    }
    assert!(model.len() > 1000, "{}", model.len());
}

#[test]
fn a_scan_misses_no_row_that_stays_while_others_come_and_go() {
    let directory = tempfile::tempdir().unwrap();
    let table = SledTable::open(&directory.path().join("view")).unwrap();
    let stay = (0..5000).map(|number| (packed(b'q', number * 1000), Some(b"stays".to_vec()))).collect::<Vec<_>>();
    stay.chunks(64).for_each(|rows| table.apply(rows).unwrap());
    let (ends, other) = (AtomicBool::new(false), table.clone());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = 3;
            while !ends.load(Ordering::Relaxed) {
                let keys = (0..60).map(|_| packed(b'q', (random(&mut state) % 5_000_000) | 1)).collect::<std::collections::BTreeSet<_>>();
                other.apply(&keys.iter().map(|key| (key.clone(), Some(Vec::new()))).collect::<Vec<_>>()).unwrap();
                other.apply(&keys.into_iter().map(|key| (key, None)).collect::<Vec<_>>()).unwrap();
            }
        });
        for _ in 0..30 {
            let mut seen = Vec::new();
            let visit = &mut |key: &[u8], value: &[u8]| {
                seen.extend((!value.is_empty()).then(|| key.to_vec()));
                ControlFlow::Continue(())
            };
            table.scan(b"q", b"r", visit).unwrap();
            assert!(seen.iter().eq(stay.iter().map(|(key, _)| key)), "{} of {}", seen.len(), stay.len());
        }
        ends.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_view_of_another_layout_seems_empty() {
    let directory = tempfile::tempdir().unwrap();
    let older = SledTable::open(directory.path()).unwrap();
    // Where the first layout had its rows.
    older.call(|open| open.db.insert(b"m", b"an older position")).unwrap();
    drop(older);
    assert_eq!(SledTable::open(directory.path()).unwrap().get(b"m").unwrap(), None);
}

fn all(table: &SledTable) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let visit = &mut |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    table.scan(&[0], &[0xff], visit).unwrap();
    rows
}

fn names(path: &Path) -> Vec<String> {
    let mut names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>();
    names.sort();
    names
}

/// Rows that come and go, each behind the one before, as those of the queue do.
#[test]
fn a_file_that_holds_little_but_holes_is_left_for_a_small_one_and_nothing_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let table = SledTable::open(directory.path()).unwrap();
    table.apply(&[row("k", Some("stays"))]).unwrap();
    for begin in (0..60_000_u64).step_by(60) {
        let mut rows = (begin..begin + 60).map(|number| (packed(b'q', number), Some(vec![7; 40]))).collect::<Vec<_>>();
        rows.extend((begin..begin + 60).filter_map(|number| Some((packed(b'q', number.checked_sub(600)?), None))));
        table.apply(&rows).unwrap();
    }
    table.checkpoint().unwrap();
    let (before, size) = (all(&table), table.size_bytes());
    assert_eq!(before.len(), 601);
    let rule = |size_min, room| TidyRule { size_min, times: 4, room };
    assert_eq!(table.tidy(&rule(2 * size, u64::MAX)).unwrap(), None, "it is not that large");
    assert_eq!(SledTable::clone(&table).tidy(&rule(0, 1000)).unwrap(), None, "there is no room");
    drop(table);
    let table = SledTable::open(directory.path()).unwrap();
    let tidied = table.tidy(&rule(0, u64::MAX)).unwrap().unwrap();
    assert!(tidied.after < tidied.before / 2, "{tidied:?}");
    assert_eq!(names(directory.path()), ["1", "current"]);
    assert_eq!(all(&table), before);
    assert_eq!(table.tidy(&rule(0, u64::MAX)).unwrap(), None, "it has just been done");
    table.apply(&[row("k", None)]).unwrap();
    table.checkpoint().unwrap();
    drop(table);
    assert_eq!(all(&SledTable::open(directory.path()).unwrap()), before[1..]);
}

#[test]
fn whoever_reads_and_writes_meanwhile_notices_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut table = SledTable::open(directory.path()).unwrap();
    let stay = (0..20_000).map(|number| (packed(b'q', number * 1000), Some(b"stays".to_vec()))).collect::<Vec<_>>();
    stay.chunks(64).for_each(|rows| table.apply(rows).unwrap());
    let mut model = BTreeMap::new();
    for seed in 1..5 {
        let ends = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (writer, reader) = (table.clone(), table.clone());
            let (ends, model) = (&ends, &mut model);
            scope.spawn(move || {
                let mut state = seed;
                while !ends.load(Ordering::Relaxed) {
                    let batch = (0..40).map(|_| {
                        let value = (!random(&mut state).is_multiple_of(3)).then(|| random(&mut state).to_be_bytes().to_vec());
                        (packed(b"qz"[below(&mut state, 2)], (random(&mut state) % 20_000_000) | 1), value)
                    });
                    let batch = batch.collect::<BTreeMap<_, _>>().into_iter().collect::<Vec<_>>();
                    writer.apply(&batch).unwrap();
                    for (key, value) in batch {
                        assert_eq!(writer.get(&key).unwrap(), value);
                        model.insert(key, value);
                    }
                }
            });
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let seen = all(&reader).into_iter().filter(|(_, value)| value == b"stays").count();
                    assert_eq!(seen, 20_000);
                }
            });
            assert!(table.tidy(&AT_ONCE).unwrap().is_some());
            ends.store(true, Ordering::Relaxed);
        });
        let mut expected = stay.iter().map(|(key, value)| (key.clone(), value.clone().unwrap())).collect::<BTreeMap<_, _>>();
        expected.extend(model.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))));
        assert!(all(&table) == expected.clone().into_iter().collect::<Vec<_>>());
        table.checkpoint().unwrap();
        drop(table);
        table = SledTable::open(directory.path()).unwrap();
        assert!(all(&table) == expected.into_iter().collect::<Vec<_>>(), "it is the same after a start");
    }
}

/// What a start finds when the daemon died while it copied, before and after the copy was named.
#[test]
fn a_copy_counts_from_the_moment_on_in_which_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    drop(SledTable::open(directory.path()).and_then(|table| table.apply(&[row("k", Some("old"))])));
    drop(SledTable::open(other.path()).and_then(|table| table.apply(&[row("k", Some("copy"))])));
    let copy = directory.path().join("1");
    fs::create_dir(&copy).unwrap();
    fs::write(copy.join("db"), "half").unwrap();
    fs::write(directory.path().join("current.new"), "").unwrap();
    let table = SledTable::open(directory.path()).unwrap();
    assert_eq!(table.get(b"k").unwrap().unwrap(), b"old");
    assert!(!copy.exists() && !directory.path().join("current.new").exists());
    drop(table);
    fs::rename(other.path(), &copy).unwrap();
    fs::write(directory.path().join("current"), "1\n").unwrap();
    let table = SledTable::open(directory.path()).unwrap();
    assert_eq!(table.get(b"k").unwrap().unwrap(), b"copy");
    assert_eq!(names(directory.path()), ["1", "current"]);
    drop(table);
    fs::write(directory.path().join("current"), "both").unwrap();
    assert!(SledTable::open(directory.path()).is_err());
}

#[test]
fn a_copy_that_cannot_be_made_harms_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let table = SledTable::open(directory.path()).unwrap();
    table.apply(&[row("k", Some("v"))]).unwrap();
    fs::write(directory.path().join("1"), "in the way").unwrap();
    assert_eq!(table.tidy(&AT_ONCE).unwrap(), None);
    table.apply(&[row("l", Some("w"))]).unwrap();
    table.checkpoint().unwrap();
    assert_eq!(keys(&table), ["k", "l"]);
}
