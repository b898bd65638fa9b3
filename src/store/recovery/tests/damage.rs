//! Journals that lost what was acknowledged: it is named by number, everything else is kept, and no number is given twice.

use super::*;
use crate::store::journal::memory::MemoryMedium;

fn gone(from: u64, to: u64) -> String {
    format!("the journal is damaged: facts {from} to {to} are gone; everything else was kept")
}

#[test]
fn damage_below_the_synced_mark_is_named_and_everything_else_is_kept() {
    let disk = Disk::new();
    let mut running = disk.running_with_position();
    running.sync(vec![accepted(1)]);
    running.sync(vec![accepted(2)]);
    running.sync(vec![accepted(3), accepted(4)]);
    running.sync(vec![accepted(5)]);
    drop(running);
    disk.damage(2);
    disk.damage(3);
    let opened = disk.open();
    assert_eq!((opened.warnings, opened.rebuilt), (vec![gone(2, 3)], false));
    assert_eq!(opened.journal.next_sequence(), Sequence(6));
    assert_eq!(disk.queue(), [(1, 1, 1), (1, 2, 1), (4, 1, 4), (4, 2, 4), (5, 1, 5), (5, 2, 5)]);
    let opened = disk.open();
    assert_eq!((opened.warnings, opened.rebuilt), (Vec::new(), false), "the view is beyond it now");
    assert_eq!(disk.queue().len(), 6);
}

#[test]
fn attempts_of_an_event_that_is_gone_leave_a_queue_that_agrees_with_itself() {
    let disk = Disk::new();
    let mut running = disk.running_with_position();
    running.sync(vec![accepted(1)]);
    running.sync(vec![accepted(2)]);
    running.sync(vec![attempted(1, 1, 1, Some(100))]);
    running.sync(vec![attempted(2, 1, 2, None)]);
    running.sync(vec![accepted(5)]);
    drop(running);
    disk.damage(1);
    disk.damage(2);
    let opened = disk.open();
    assert_eq!((opened.warnings, opened.rebuilt), (vec![gone(1, 2)], false));
    assert_eq!(disk.queue(), [(5, 1, 5), (5, 2, 5), (1, 1, 100)]);
    let opened = disk.open();
    assert_eq!((opened.warnings, opened.rebuilt), (Vec::new(), false), "count and digest were made to fit");
}

#[test]
fn a_lost_attempt_leaves_a_delivery_in_the_queue_once_at_its_younger_time() {
    let disk = Disk::new();
    let mut running = disk.running_with_position();
    running.sync(vec![accepted(1)]);
    running.sync(vec![attempted(1, 1, 1, Some(100))]);
    running.sync(vec![attempted(1, 2, 100, Some(200))]);
    running.sync(vec![accepted(4)]);
    drop(running);
    disk.damage(2);
    assert_eq!(disk.open().warnings, [gone(2, 2)]);
    assert_eq!(disk.queue(), [(1, 2, 1), (4, 1, 4), (4, 2, 4), (1, 1, 200)]);
    assert!(!disk.open().rebuilt);
}

#[test]
fn damage_in_the_newest_group_is_no_torn_tail_when_the_view_holds_it() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([accepted(1)]);
    running.sync(vec![accepted(2), accepted(3), accepted(4)]);
    running.apply();
    drop(running);
    disk.damage(2);
    let opened = disk.open();
    assert_eq!((opened.warnings, opened.rebuilt), (Vec::new(), false), "the view holds what was lost, and its position is good");
    assert_eq!(opened.journal.next_sequence(), Sequence(5));
    assert_eq!(disk.frames().len(), 3, "nothing behind the damage is cut");
    assert_eq!(disk.queue().len(), 8);
}

#[test]
fn a_newest_group_that_is_gone_with_the_position_of_the_view_is_not_called_a_torn_tail() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([accepted(1), accepted(2), accepted(3), accepted(4)]);
    drop(running);
    disk.damage(3);
    disk.damage(4);
    let opened = disk.open();
    assert!(opened.rebuilt && opened.warnings[0].contains("ends with fact 2, but the view followed it to fact 4"), "{:?}", opened.warnings);
    assert!(!opened.warnings.iter().any(|warning| warning.contains("nothing acknowledged")), "{:?}", opened.warnings);
    assert_eq!(disk.queue().len(), 4);
}

#[test]
fn the_end_of_a_sealed_segment_that_is_gone_is_named_when_only_an_empty_one_follows() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([accepted(1), accepted(2), accepted(3)]);
    drop(running);
    drop(disk.open());
    disk.damage(3);
    // Without the view, only the header of the empty segment says that fact 3 was synced.
    disk.table.rows.lock().unwrap().clear();
    for _ in 0..2 {
        let opened = disk.open();
        assert!(opened.warnings.contains(&gone(3, 3)), "{:?}", opened.warnings);
        assert_eq!(opened.journal.next_sequence(), Sequence(4), "no number is given twice");
    }
    let opened = disk.open();
    let mut running = Running(Writer::new(opened.journal, opened.view, opened.history, WINDOW_MS));
    running.commit([accepted(4)]);
    drop(running);
    assert_eq!(disk.open().warnings, Vec::<String>::new());
    assert_eq!(disk.queue(), [(1, 1, 1), (1, 2, 1), (2, 1, 2), (2, 2, 2), (4, 1, 4), (4, 2, 4)]);
}

#[test]
fn a_mark_tells_damage_from_a_torn_tail_even_where_nothing_behind_it_is_kept() {
    let disk = Disk::new();
    let mut running = disk.running_with_position();
    running.sync(vec![accepted(1)]);
    running.sync(vec![accepted(2)]);
    // This group says that 2 was synced, and is itself only half there.
    running.sync(vec![accepted(3), accepted(4)]);
    drop(running);
    disk.damage(2);
    disk.damage(4);
    let opened = disk.open();
    assert_eq!(opened.warnings, [gone(2, 2)]);
    assert_eq!((opened.journal.next_sequence(), disk.queue().len()), (Sequence(3), 2));
}

#[test]
fn a_header_that_is_destroyed_twice_stops_the_start_until_its_segment_is_moved_away() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([accepted(1)]);
    drop(running);
    let mut running = disk.running();
    running.commit([accepted(2), accepted(3)]);
    drop(running);
    let mut running = disk.running();
    running.commit([accepted(4)]);
    drop(running);
    let destroy = |number| {
        let mut bytes = fs::read(disk.path(number)).unwrap();
        [0, 4096].into_iter().for_each(|copy| bytes[copy + 20] ^= 1);
        fs::write(disk.path(number), bytes).unwrap();
    };
    destroy(2);
    let error = disk.try_open().err().unwrap().to_string();
    assert!(error.contains("0000000002.segment") && error.contains("move the file away"), "{error}");
    fs::remove_file(disk.path(2)).unwrap();
    disk.table.rows.lock().unwrap().clear();
    let opened = disk.open();
    assert!(opened.warnings.contains(&gone(2, 3)), "{:?}", opened.warnings);
    assert_eq!(disk.queue(), [(1, 1, 1), (1, 2, 1), (4, 1, 4), (4, 2, 4)]);
    drop(opened);
    // The newest one, with facts in it, is not taken for one that was never used.
    destroy(3);
    assert!(matches!(disk.try_open(), Err(OpenError::Header(name)) if name == "0000000003.segment"));
    fs::remove_file(disk.path(3)).unwrap();
    let opened = disk.open();
    assert!(opened.warnings.contains(&gone(2, 4)), "{:?}", opened.warnings);
    assert_eq!(opened.journal.next_sequence(), Sequence(5), "segment 4 says that fact 4 was synced");
}

#[test]
fn a_newest_segment_that_was_cut_within_its_header_is_not_called_unused() {
    for size in [0, 10, 47] {
        let disk = Disk::new();
        disk.running().commit([accepted(1)]);
        disk.running().commit([accepted(2)]);
        fs::File::options().write(true).open(disk.path(2)).unwrap().set_len(size).unwrap();
        let opened = disk.open();
        assert!(opened.warnings[0].contains(&format!("0000000002.segment was cut to {size} bytes")), "{:?}", opened.warnings);
        assert!(opened.warnings.iter().any(|warning| warning.contains("ends with fact 1, but the view followed it to fact 2")));
        assert_eq!(disk.queue().len(), 2);
    }
}

#[test]
fn segments_of_another_journal_are_refused_by_name() {
    let (disk, other) = (Disk::new(), Disk::new());
    for disk in [&disk, &other] {
        for number in 1..3 {
            let mut running = disk.running();
            running.commit([accepted(number)]);
        }
    }
    fs::copy(other.path(2), disk.path(2)).unwrap();
    assert!(matches!(disk.try_open(), Err(OpenError::Mixed(name)) if name == "0000000002.segment"));
}

#[test]
fn what_the_disk_refuses_for_a_while_stops_the_start_and_costs_nothing() {
    let medium = MemoryMedium::default();
    let table = Disk::new().table;
    let open = || super::super::open(Arc::new(medium.clone()), OPTIONS, |_| Ok(table.clone()), &mut |_| {});
    let mut journal = open().unwrap().journal;
    for number in 1..=60 {
        journal.append(&[accepted(number)]).unwrap();
        journal.sync().unwrap();
    }
    drop(journal);
    let before = medium.bytes(&segment::file_name(1));
    for refused in [12_288..16_384, 8500..8501, 20_000..20_001, 30_000..30_001] {
        medium.refuse_to_read(refused.clone());
        let error = open().err().unwrap().to_string();
        assert!(error.contains("bad sector") && error.contains("Nothing acknowledged was touched"), "{refused:?}: {error}");
        assert_eq!(medium.bytes(&segment::file_name(1)), before, "{refused:?}");
    }
    medium.refuse_to_read(0..0);
    let opened = open().unwrap();
    assert_eq!((opened.view.meta().queue_count, opened.journal.next_sequence()), (120, Sequence(61)));
}
