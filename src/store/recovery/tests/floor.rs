//! Journals whose oldest segments went: what is missing below the floor is nothing, what is missing above it is named. What retention carries is tested with it.

use super::*;
use crate::store::carry::Carry;
use crate::store::fact::Floor;

/// Three segments: an event that ended in the first, one that is pending in the second, the floor at the second in the third.
fn disk_with_a_floor() -> Disk {
    let disk = Disk::new();
    let mut running = disk.running_with_position();
    running.commit([Fact::Webhook(webhook(1, Vec::new())), accepted(2), attempted(2, 1, 2, None)]);
    running.commit([Fact::Cancelled(crate::store::fact::Cancelled {
        at: NOW.plus_ms(9),
        by: "operator".into(),
        deliveries: vec![cancelled(2, 2, 2)],
    })]);
    drop(running);
    disk.running().commit([accepted(5)]);
    let mut running = disk.running();
    let carry = vec![Carry::Webhook(WebhookNumber(1)), Carry::Floor(Floor { segment: 2, sequence: Sequence(5) })];
    running.0.take(Order::Carry { ticket: 1, carry }, NOW.plus_ms(20)).unwrap();
    running.0.sync(&mut Vec::new()).unwrap();
    running.apply();
    disk
}

fn cancelled(sequence: u64, webhook: u32, due_ms: u64) -> crate::store::fact::CancelledDelivery {
    let key = DeliveryKey { sequence: Sequence(sequence), webhook: WebhookNumber(webhook) };
    crate::store::fact::CancelledDelivery {
        key,
        due: NOW.plus_ms(due_ms),
        body: crate::model::Locator { segment: 1, offset: 8192 },
        last_attempt: None,
    }
}

const PENDING: [(u64, u32, u64); 2] = [(5, 1, 5), (5, 2, 5)];

#[test]
fn what_lies_below_the_floor_is_removed_and_missed_by_nobody() {
    let disk = disk_with_a_floor();
    let rows = disk.rows();
    let opened = disk.open();
    assert_eq!((opened.warnings, opened.rebuilt), (Vec::new(), false));
    assert!(!disk.path(1).exists() && disk.path(2).exists());
    drop(opened.journal);
    disk.table.rows.lock().unwrap().clear();
    let opened = disk.open();
    assert!(opened.warnings.iter().all(|warning| warning.contains("rebuilt")), "{:?}", opened.warnings);
    assert_eq!((disk.queue(), opened.journal.next_sequence()), (PENDING.to_vec(), Sequence(8)));
    assert_eq!(opened.webhooks.into_values().collect::<Vec<_>>(), [webhook(1, Vec::new())]);
    let without_ids = |rows: Rows| rows.into_iter().filter(|(key, _)| !matches!(key[0], b'i' | b'x')).collect::<Vec<_>>();
    assert_eq!(without_ids(disk.rows()), without_ids(rows), "the view is the fold of what is kept");
}

#[test]
fn damage_below_the_floor_is_nobodys_loss_while_its_segment_is_still_there() {
    for damaged in [2, 3, 4] {
        let disk = disk_with_a_floor();
        disk.damage(damaged);
        disk.table.rows.lock().unwrap().clear();
        let opened = disk.open();
        assert!(opened.warnings.iter().all(|warning| warning.contains("rebuilt")), "{:?}", opened.warnings);
        assert_eq!(disk.queue(), PENDING, "whatever of it had ended");
        drop(opened);
        assert!(!disk.open().rebuilt, "count and digest were made to fit");
    }
}

#[test]
fn a_view_that_never_heard_of_the_floor_is_not_followed_with_its_segments_gone() {
    let disk = Disk::new();
    disk.running_with_position().commit([accepted(1)]);
    let before = disk.rows();
    let mut running = disk.running();
    running.commit([attempted(1, 1, 1, None)]);
    running.0.take(Order::Carry { ticket: 1, carry: vec![Carry::Floor(Floor { segment: 2, sequence: Sequence(2) })] }, NOW).unwrap();
    running.0.sync(&mut Vec::new()).unwrap();
    running.apply();
    drop(running);
    fs::remove_file(disk.path(1)).unwrap();
    *disk.table.rows.lock().unwrap() = before;
    let opened = disk.open();
    assert!(opened.rebuilt && opened.warnings.iter().all(|warning| warning.contains("rebuilt")), "{:?}", opened.warnings);
    assert_eq!(disk.queue(), [], "the delivery that ended is not pending again");
}

#[test]
fn a_segment_that_is_missing_above_the_floor_is_named() {
    let disk = disk_with_a_floor();
    fs::remove_file(disk.path(2)).unwrap();
    let opened = disk.open();
    assert!(opened.warnings[0].contains("0000000002.segment is missing"), "{:?}", opened.warnings);
    drop(opened);
    disk.table.rows.lock().unwrap().clear();
    let warnings = disk.open().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("facts 5 to 5 are gone")), "{warnings:?}");
    assert!(!warnings.iter().any(|warning| warning.contains("facts 1 ")), "{warnings:?}");
}
