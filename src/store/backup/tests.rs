//! Backups of small journals in real directories: what is in them, what becomes of one that ends in the middle, and what is refused.

use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::model::Sequence;
use crate::store::data_dir::DataDir;
use crate::store::fact::{Cancelled, Fact};
use crate::store::journal::medium::RealMedium;
use crate::store::journal::{JournalId, JournalOptions, JournalWriter, segment};
use crate::time::UnixMillis;

const OPTIONS: JournalOptions = JournalOptions { segment_size: 16 * 1024 };

/// A data directory without a daemon, and places beside it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        drop(DataDir::take(&place.data()).unwrap());
        place
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn backup(&self) -> PathBuf {
        self.0.path().join("backup")
    }

    /// Writes so many facts into a segment of its own.
    fn write(&self, number: u32, facts: std::ops::RangeInclusive<u64>) {
        let medium = Arc::new(RealMedium::open(&self.data().join("journal")).unwrap());
        let before = Sequence(facts.start() - 1);
        let mut writer = JournalWriter::begin(medium, OPTIONS, JournalId(7), number, before).unwrap();
        for at in facts {
            writer.append(&[Fact::Cancelled(Cancelled { at: UnixMillis(at), by: "x".repeat(100), deliveries: Vec::new() })]).unwrap();
            writer.sync().unwrap();
        }
    }

    fn make(&self, extent: Extent) -> Result<crate::model::report::BackupReport, BackupError> {
        make(&self.data(), &self.backup(), &mut || Ok(extent), &mut |_, _| {})
    }

    fn check(&self) -> Checked {
        check(&self.backup(), &mut |_, _| {}).unwrap()
    }

    fn segments(&self) -> Vec<u32> {
        self.check().segments.into_iter().map(|(number, _)| number).collect()
    }
}

#[test]
fn what_lies_behind_the_last_sync_is_not_in_it() {
    let place = Place::new();
    place.write(1, 1..=4);
    place.write(2, 5..=9);
    let report = place.make(Extent::SyncedThrough(Sequence(4))).unwrap();
    assert_eq!(
        (report.sequence, report.files, report.copied_bytes),
        (4, 2, 8192),
        "of a segment of which nothing is synced yet, the header is"
    );
    let report = place.make(Extent::SyncedThrough(Sequence(7))).unwrap();
    assert_eq!((report.sequence, report.files, report.kept, report.copied), (7, 2, 1, 1));
    let checked = place.check();
    assert!(checked.damage.is_empty() && checked.sequence == 7);
    let restored = place.0.path().join("restored");
    restore(&place.backup(), &restored, &mut |_, _| {}).unwrap();
    let medium = Arc::new(RealMedium::open(&restored.join("journal")).unwrap());
    let reader = crate::store::journal::reader::JournalReader::new(medium);
    let mut scan = reader.scan(2).unwrap().unwrap();
    let mut found = Vec::new();
    while let Some(segment::Scanned::Frame(frame)) = scan.step().unwrap() {
        found.push(frame.sequence.0);
    }
    assert_eq!(found, [5, 6, 7]);
    let report = place.make(Extent::SyncedThrough(Sequence(7))).unwrap();
    assert_eq!((report.kept, report.copied), (2, 0), "nothing is new");
}

#[test]
fn one_that_ends_in_the_middle_leaves_the_one_before_and_the_next_one_tidies_up() {
    let place = Place::new();
    place.write(1, 1..=4);
    place.make(Extent::AtRest).unwrap();
    place.write(2, 5..=9);
    place.write(3, 10..=12);
    // Segment 3 can't be made, so the manifest is never written.
    let obstacle = place.backup().join("journal/0000000003.segment.new");
    fs::create_dir(&obstacle).unwrap();
    let error = place.make(Extent::AtRest).unwrap_err().to_string();
    assert!(error.contains("0000000003.segment.new") && error.contains("as good as it was"), "{error}");
    assert_eq!((place.check().damage, place.check().sequence, place.segments()), (Vec::new(), 4, vec![1]));
    fs::remove_dir(&obstacle).unwrap();
    // And what a process leaves that is killed there.
    fs::write(&obstacle, "half").unwrap();
    let report = place.make(Extent::AtRest).unwrap();
    assert_eq!((report.sequence, report.kept, report.linked), (12, 2, 1), "segment 2 was there already");
    assert_eq!((place.check().damage, place.segments()), (Vec::new(), vec![1, 2, 3]));
    assert!(!obstacle.exists());
}

#[test]
fn a_segment_that_goes_meanwhile_is_no_trouble() {
    let place = Place::new();
    place.write(1, 1..=4);
    place.write(2, 5..=9);
    let mut asked = 0;
    let mut extent = || {
        asked += 1;
        drop(fs::remove_file(place.data().join("journal/0000000001.segment")));
        Ok(Extent::SyncedThrough(Sequence(9)))
    };
    make(&place.data(), &place.backup(), &mut extent, &mut |_, _| {}).unwrap();
    assert_eq!((asked, place.segments()), (2, vec![2]));
}

#[test]
fn a_directory_of_another_journal_or_of_a_later_state_is_left_alone() {
    let place = Place::new();
    place.write(1, 1..=4);
    place.make(Extent::AtRest).unwrap();
    let other = Place::new();
    other.write(1, 1..=9);
    let path = other.data().join("journal/0000000001.segment");
    let mut bytes = fs::read(&path).unwrap();
    let header = segment::SegmentHeader { number: 1, journal: JournalId(8), first: Sequence(1), salt: 1 };
    bytes[..8192].copy_from_slice(&header.to_bytes());
    fs::write(&path, bytes).unwrap();
    let error = make(&other.data(), &place.backup(), &mut || Ok(Extent::AtRest), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, BackupError::OtherJournal { .. }), "{error}");
    let earlier = Place::new();
    earlier.write(1, 1..=3);
    let error = make(&earlier.data(), &place.backup(), &mut || Ok(Extent::AtRest), &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, BackupError::Ahead { theirs: 4, ours: 3, .. }), "{error}");
    assert_eq!((place.check().damage, place.check().sequence), (Vec::new(), 4));
}

#[test]
fn nothing_but_a_backup_or_an_empty_directory_is_used_and_two_never_at_once() {
    let place = Place::new();
    assert!(matches!(place.make(Extent::AtRest).unwrap_err(), BackupError::Io { .. } | BackupError::Nothing { .. }));
    place.write(1, 1..=4);
    let into = |to: &Path| make(&place.data(), to, &mut || Ok(Extent::AtRest), &mut |_, _| {});
    assert!(matches!(into(&place.data()).unwrap_err(), BackupError::Foreign { .. }));
    fs::write(place.0.path().join("holiday.jpg"), "x").unwrap();
    assert!(matches!(into(place.0.path()).unwrap_err(), BackupError::Foreign { found, .. } if !found.is_empty()));
    assert!(matches!(check(place.0.path(), &mut |_, _| {}).unwrap_err(), BackupError::Missing { .. }));
    place.make(Extent::AtRest).unwrap();
    let held = BackupDir::take(&place.backup()).unwrap();
    assert!(matches!(place.make(Extent::AtRest).unwrap_err(), BackupError::InUse { .. }));
    drop(held);
    fs::write(place.backup().join(manifest::NAME), "hookwheel backup").unwrap();
    assert!(matches!(place.make(Extent::AtRest).unwrap_err(), BackupError::Manifest { .. }), "it is not taken for none");
}

#[test]
fn a_restore_that_ends_in_the_middle_is_no_data_directory() {
    let place = Place::new();
    place.write(1, 1..=4);
    fs::write(place.data().join("last-good.toml"), "# good").unwrap();
    place.make(Extent::AtRest).unwrap();
    let restored = place.0.path().join("restored");
    fs::create_dir(&restored).unwrap();
    restore(&place.backup(), &restored, &mut |_, _| {}).unwrap();
    assert_eq!(fs::read_to_string(restored.join("last-good.toml")).unwrap(), "# good");
    assert!(matches!(
        restore(&place.backup(), &restored, &mut |_, _| {}).unwrap_err(),
        BackupError::DataDir(DataDirError::NotEmpty { .. })
    ));
    fs::remove_file(restored.join("format")).unwrap();
    assert!(matches!(DataDir::take(&restored).unwrap_err(), DataDirError::Foreign { .. }), "the format comes last");
}
