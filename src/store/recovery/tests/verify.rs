//! What verifying finds in journals and views that are sound, behind, torn, damaged, in use; and that it changes nothing.

use super::*;
use crate::model::report::VerifyReport;
use crate::store::recovery::verify::{at_rest, in_use};

fn filled() -> Disk {
    let disk = Disk::new();
    let mut running = disk.running_with_position();
    running.commit([accepted(1), accepted(2), Fact::Webhook(webhook(1, vec![pause()])), attempted(1, 1, 1, Some(90)), accepted(5)]);
    disk
}

fn verify(disk: &Disk) -> VerifyReport {
    let files = || {
        let mut names = disk.medium().list().unwrap();
        names.sort();
        names.into_iter().map(|name| fs::read(disk.directory.path().join(&name)).map(|bytes| (name, bytes)).unwrap()).collect::<Vec<_>>()
    };
    let before = (files(), disk.rows());
    let report = at_rest(disk.medium(), Ok(Some(disk.table.clone())), &mut |_, _| {}).unwrap();
    assert!((files(), disk.rows()) == before, "verifying changes nothing");
    report
}

fn verify_in_use(disk: &Disk, synced_through: u64) -> VerifyReport {
    in_use(disk.medium().as_ref(), &disk.table, &mut || Ok(Sequence(synced_through)), &mut |_, _| {}).unwrap()
}

#[test]
fn what_is_whole_is_sound_also_with_a_view_that_is_behind_or_half_a_window_ahead() {
    let disk = filled();
    let report = verify(&disk);
    assert_eq!((report.sound, report.facts, report.first, report.last, report.segments), (true, 5, 1, 5, 1), "{report:?}");
    assert!(verify_in_use(&disk, 5).sound);
    // Two windows behind, and of the first of them some rows are there already.
    let mut running = disk.running();
    running.sync((6..100).map(accepted).collect());
    assert!(running.0.apply_step(&mut Vec::new()).unwrap());
    running.sync(vec![attempted(1, 2, 90, None)]);
    drop(running);
    let report = verify(&disk);
    assert!(report.sound && report.last == 100, "{report:?}");
    assert!(verify_in_use(&disk, 100).sound);
    disk.open();
    assert!(verify(&disk).sound);
    disk.table.rows.lock().unwrap().clear();
    assert!(!verify(&disk).sound, "an empty table is not a view of this journal");
    assert!(at_rest(disk.medium(), Ok(None::<MapTable>), &mut |_, _| {}).unwrap().sound, "that there is none is no damage");
}

#[test]
fn ids_that_were_forgotten_are_not_missed() {
    let disk = filled();
    let mut running = disk.running();
    running.0.forget_old_ids(NOW.plus_ms(WINDOW_MS + 3)).unwrap();
    drop(running);
    let families = disk.rows().keys().map(|key| key[0]).collect::<std::collections::BTreeSet<_>>();
    assert!(!families.contains(&b'x'), "the test would test nothing");
    let report = verify(&disk);
    assert!(report.sound, "{report:?}");
}

#[test]
fn each_row_that_is_not_what_the_journal_says_is_told() {
    type Harm = fn(&mut Rows);
    fn first(rows: &Rows, family: u8) -> Vec<u8> {
        rows.keys().find(|key| key[0] == family).unwrap().clone()
    }
    let harms: [(&str, Harm); 7] = [
        ("the pending delivery dlv_", |rows| drop(rows.remove(&first(rows, b'q')))),
        ("a webhook is missing", |rows| drop(rows.remove(&first(rows, b'w')))),
        ("does not fit its checksum", |rows| rows.get_mut(&first(rows, b'q')).unwrap()[3] ^= 1),
        ("does not fit its checksum", |rows| rows.get_mut(keys::META).unwrap()[3] ^= 1),
        ("says something else than the journal", |rows| {
            let key = first(rows, b'q');
            let row = QueueRow { attempts: 9, ..QueueRow::from_value(&key, &rows[&key]).unwrap() };
            rows.insert(key.clone(), row.to_value(&key));
        }),
        ("is there, and not in the journal", |rows| {
            let key = keys::webhook_key(WebhookNumber(77));
            rows.insert(key.clone(), keys::seal(&key, vec![1]));
        }),
        ("position", |rows| {
            let mut meta = Meta::from_value(&rows[keys::META]).unwrap();
            meta.queue_digest ^= 1;
            rows.insert(keys::META.to_vec(), meta.to_value());
        }),
    ];
    for (words, harm) in harms {
        let disk = filled();
        harm(&mut disk.table.rows.lock().unwrap());
        let report = verify(&disk);
        let is_position = report.view.iter().any(|finding| finding.contains("how far it follows"));
        assert!(!report.sound && (is_position || report.view.iter().any(|finding| finding.contains(words))), "{words}: {report:?}");
        assert!(report.damage.is_empty() && report.missing.is_empty(), "{report:?}");
    }
}

#[test]
fn in_use_the_digest_is_compared_and_what_lies_behind_the_last_sync_is_left_alone() {
    let disk = filled();
    let mut meta = Meta::from_value(&disk.rows()[keys::META]).unwrap();
    meta.queue_count += 1;
    disk.table.apply(&[(keys::META.to_vec(), Some(meta.to_value()))]).unwrap();
    let report = verify_in_use(&disk, 5);
    assert!(!report.sound && report.view[0].contains("counts 7 pending deliveries where the journal says 6"), "{report:?}");

    let disk = filled();
    let mut running = disk.running();
    running.sync(vec![accepted(6)]);
    drop(running);
    disk.damage(6);
    assert!(verify_in_use(&disk, 5).sound, "the first group of a new segment is being written");

    let disk = filled();
    let mut running = disk.running();
    running.commit([accepted(6)]);
    running.sync(vec![accepted(7)]);
    drop(running);
    // Half of what is being written.
    disk.damage(7);
    let report = verify_in_use(&disk, 6);
    assert!(report.sound && report.last == 6, "{report:?}");
    assert!(!verify_in_use(&disk, 7).sound);
}

#[test]
fn a_torn_tail_is_a_note_and_damage_is_told_by_place_number_and_event() {
    let disk = filled();
    let mut running = disk.running();
    running.sync(vec![accepted(6), accepted(7)]);
    drop(running);
    disk.damage(7);
    let report = verify(&disk);
    assert!(report.sound && report.notes[0].contains("0000000002.segment was torn by a crash") && report.last == 5, "{report:?}");

    let ScannedFrame { locator, .. } = disk.frame(2);
    // A bit of its body: the rest can still be read.
    disk.edit_frame(2, |frame| {
        let at = frame.iter().rposition(|byte| *byte == b'x').unwrap();
        frame[at] ^= 1;
    });
    let report = verify(&disk);
    assert_eq!(report.damage.len(), 1, "{report:?}");
    let damage = &report.damage[0];
    assert_eq!((damage.file.as_str(), damage.offset), ("journal/0000000001.segment", Some(u64::from(locator.offset))));
    let missing = &report.missing[0];
    assert_eq!((missing.from, missing.through, missing.events[0].as_str()), (Sequence(2), Sequence(2), "evt_2 of shop.example"));
    // The log of the next start that has to read it says so, too.
    disk.table.rows.lock().unwrap().clear();
    let warnings = disk.open().warnings;
    assert!(
        warnings.iter().any(|warning| warning.contains("facts 2 to 2 are gone (as far as can still be read: evt_2 of shop.example)")),
        "{warnings:?}"
    );
}

#[test]
fn a_copy_of_a_header_that_is_damaged_is_told_and_costs_nothing() {
    let disk = filled();
    let mut bytes = fs::read(disk.path(1)).unwrap();
    bytes[4096 + 20] ^= 1;
    fs::write(disk.path(1), &bytes).unwrap();
    let report = verify(&disk);
    assert!(!report.sound && report.missing.is_empty() && report.damage[0].offset == Some(4096), "{report:?}");
    bytes[20] ^= 1;
    fs::write(disk.path(1), &bytes).unwrap();
    let report = at_rest(disk.medium(), Ok(None::<MapTable>), &mut |_, _| {}).unwrap();
    assert!(!report.sound && report.damage[0].what.contains("both copies"), "{report:?}");
}
