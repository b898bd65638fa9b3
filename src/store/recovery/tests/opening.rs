//! Starts after a clean end and after crashes: what was acknowledged is there, what was not is gone whole.

use super::*;
use crate::store::history::WantedEnds;

#[test]
fn a_clean_reopening_changes_nothing_and_goes_on_counting() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([
        accepted(1),
        Fact::Webhook(webhook(1, vec![pause()])),
        accepted(3),
        attempted(1, 1, 1, Some(50)),
        attempted(3, 1, 3, None),
    ]);
    drop(running);
    let rows = disk.rows();
    assert_eq!(disk.queue(), [(1, 2, 1), (3, 2, 3), (1, 1, 50)]);
    let opened = disk.open();
    assert_eq!((opened.warnings, opened.rebuilt), (Vec::new(), false));
    assert_eq!(disk.rows(), rows);
    assert_eq!(disk.folded(), rows, "the view is the fold of the journal");
    assert_eq!((opened.journal.next_sequence(), opened.journal.segment_number()), (Sequence(6), 2));
    assert_eq!(opened.webhooks.into_values().collect::<Vec<_>>(), [webhook(1, vec![pause()])]);
    let ended = opened.history.ends(&WantedEnds::default(), 9).unwrap();
    assert_eq!(ended.iter().map(|one| one.key.sequence.0).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_store_that_was_never_used_opens_quietly_and_keeps_one_empty_segment() {
    let disk = Disk::new();
    for _ in 0..4 {
        let opened = disk.open();
        assert_eq!((opened.warnings, opened.rebuilt, opened.journal.next_sequence()), (Vec::new(), false, Sequence(1)));
    }
    let mut running = disk.running();
    running.commit([accepted(1)]);
    drop(running);
    for _ in 0..3 {
        let opened = disk.open();
        assert_eq!((opened.warnings, opened.rebuilt, opened.journal.next_sequence()), (Vec::new(), false, Sequence(2)));
        assert!(disk.medium().list().unwrap().len() <= 3, "an empty segment gives way to the next");
    }
}

#[test]
fn a_torn_tail_is_cut_and_what_was_never_acknowledged_is_gone() {
    for torn_at in [0, 17, 24, 60] {
        let disk = Disk::new();
        let mut running = disk.running();
        running.commit([accepted(1), accepted(2)]);
        running.sync(vec![accepted(3)]);
        drop(running);
        let rows = disk.rows();
        disk.edit_frame(3, |frame| frame[torn_at..].fill(0));
        let opened = disk.open();
        let expected = usize::from(torn_at > 0);
        assert_eq!(opened.warnings.len(), expected, "{:?}", opened.warnings);
        assert!(opened.warnings.iter().all(|warning| warning.contains("torn by a crash and is cut behind fact 2")));
        assert_eq!((opened.rebuilt, opened.journal.next_sequence(), disk.rows()), (false, Sequence(3), rows));
        drop(opened);
        assert_eq!(disk.open().warnings, Vec::<String>::new(), "a cut is made once");
    }
}

#[test]
fn a_batch_that_is_not_whole_is_gone_whole() {
    for lost in 3..=5 {
        let disk = Disk::new();
        let mut running = disk.running();
        running.commit([accepted(1), accepted(2)]);
        running.sync(vec![accepted(3), accepted(4), accepted(5)]);
        drop(running);
        disk.edit_frame(lost, |frame| frame.fill(0));
        let opened = disk.open();
        assert!(opened.warnings[0].contains("cut behind fact 2"), "{:?}", opened.warnings);
        assert_eq!(opened.journal.next_sequence(), Sequence(3));
        assert_eq!(disk.queue(), [(1, 1, 1), (1, 2, 1), (2, 1, 2), (2, 2, 2)]);
        assert_eq!(disk.frames().len(), 2, "nothing of it can come back later");
    }
}

#[test]
fn a_new_segment_whose_header_never_reached_the_disk_is_removed() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([accepted(1)]);
    drop(running);
    fs::write(disk.path(2), vec![0; 32 * 1024]).unwrap();
    let opened = disk.open();
    assert!(opened.warnings[0].contains("0000000002.segment was begun and never used"), "{:?}", opened.warnings);
    assert_eq!((opened.journal.segment_number(), opened.journal.next_sequence(), opened.rebuilt), (2, Sequence(2), false));
}

#[test]
fn what_a_process_left_half_made_is_removed_and_other_files_stay() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([accepted(1)]);
    drop(running);
    for name in ["7.spare", "0000000001.segment.rewrite", "notes.txt"] {
        fs::write(disk.directory.path().join(name), "x").unwrap();
    }
    assert_eq!(disk.open().warnings, Vec::<String>::new());
    let mut names = disk.medium().list().unwrap();
    names.sort();
    assert_eq!(names, ["0000000001.segment", "0000000002.segment", "notes.txt"]);
}

#[test]
fn idempotency_holds_over_a_restart_until_the_window_is_over() {
    let disk = Disk::new();
    let mut running = disk.running();
    assert!(matches!(running.submit("order-1", 1, NOW), Verdict::New { .. }));
    drop(running);
    let mut running = disk.running();
    assert!(matches!(running.submit("order-1", 1, NOW.plus_ms(WINDOW_MS - 1)), Verdict::Duplicate { deliveries: 1 }));
    assert!(matches!(running.submit("order-1", 2, NOW.plus_ms(5)), Verdict::Conflict));
    drop(running);
    disk.table.rows.lock().unwrap().clear();
    assert!(disk.open().rebuilt);
    let mut running = disk.running();
    assert!(matches!(running.submit("order-1", 1, NOW.plus_ms(5)), Verdict::Duplicate { .. }), "a rebuilt view knows it too");
    running.0.forget_old_ids(NOW.plus_ms(WINDOW_MS)).unwrap();
    let families = |disk: &Disk| disk.rows().into_keys().filter(|key| key[0] == b'i' || key[0] == b'x').count();
    assert_eq!(families(&disk), 2, "not a millisecond too early");
    running.0.forget_old_ids(NOW.plus_ms(WINDOW_MS + 2000)).unwrap();
    assert_eq!(families(&disk), 0);
    assert!(matches!(running.submit("order-1", 2, NOW.plus_ms(WINDOW_MS + 2001)), Verdict::New { .. }));
}

#[test]
fn ids_are_forgotten_while_facts_wait_for_the_view_and_one_that_was_used_again_is_kept() {
    let disk = Disk::new();
    let mut running = disk.running();
    for id in ["order-1", "order-2"] {
        assert!(matches!(running.submit(id, 1, NOW), Verdict::New { .. }));
    }
    let later = NOW.plus_ms(WINDOW_MS + 1000);
    assert!(matches!(running.submit_unapplied("order-1", 2, later), Verdict::New { .. }));
    assert!(running.0.view().lag() > 0, "a flood never lets it be 0");
    running.0.forget_old_ids(later).unwrap();
    let families = |disk: &Disk| disk.rows().into_keys().filter(|key| key[0] == b'i' || key[0] == b'x').count();
    assert_eq!(families(&disk), 0);
    assert!(matches!(running.submit_unapplied("order-1", 2, later.plus_ms(1)), Verdict::Duplicate { .. }));
    running.apply();
    assert_eq!(families(&disk), 2);
    assert!(matches!(running.submit("order-1", 2, later.plus_ms(2)), Verdict::Duplicate { .. }));
    assert!(matches!(running.submit("order-2", 3, later.plus_ms(3)), Verdict::New { .. }));
}

#[test]
fn the_last_state_of_a_webhook_is_the_one_that_is_kept() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([
        Fact::Webhook(webhook(1, vec![pause()])),
        Fact::Webhook(webhook(2, Vec::new())),
        Fact::Webhook(webhook(1, Vec::new())),
    ]);
    running.sync(vec![Fact::Webhook(webhook(2, vec![pause()]))]);
    drop(running);
    let opened = disk.open();
    let expected = BTreeMap::from([(WebhookNumber(1), webhook(1, Vec::new())), (WebhookNumber(2), webhook(2, vec![pause()]))]);
    assert_eq!(opened.webhooks, expected, "also what was synced and not yet in the view");
    drop(opened);
    disk.table.rows.lock().unwrap().clear();
    assert_eq!(disk.open().webhooks, expected);
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_left_alone() {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([accepted(1), accepted(2)]);
    drop(running);
    let salt = fs::read(disk.path(1)).unwrap()[40..44].try_into().map(u32::from_le_bytes).unwrap();
    let length = fs::read(disk.path(1)).unwrap()[disk.frame(2).locator.offset as usize] as usize;
    disk.edit_frame(2, |frame| {
        frame[17] = 2;
        let size = 24 + length;
        let checksum = crc32c::crc32c_append(crc32c::crc32c_append(salt, &frame[..4]), &frame[8..size]);
        frame[4..8].copy_from_slice(&checksum.to_le_bytes());
    });
    let before = fs::read(disk.path(1)).unwrap();
    assert!(matches!(disk.try_open(), Err(OpenError::Newer(name)) if name == "0000000001.segment"));
    assert_eq!(fs::read(disk.path(1)).unwrap(), before);
    let mut bytes = before;
    for copy in [0, 4096] {
        bytes[copy + 8] = 2;
        let checksum = crc32c::crc32c(&bytes[copy..copy + 44]);
        bytes[copy + 44..copy + 48].copy_from_slice(&checksum.to_le_bytes());
    }
    // Not even when it looks as if it had never been used.
    bytes.truncate(8192);
    fs::write(disk.path(1), &bytes).unwrap();
    assert!(matches!(disk.try_open(), Err(OpenError::Newer(_))));
    assert_eq!(fs::read(disk.path(1)).unwrap(), bytes);
}
