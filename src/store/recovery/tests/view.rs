//! Views that do not fit their journal are rebuilt, and half-written ones catch up to exactly the same rows.

use super::*;
use crate::store::view::sled::SledTable;

fn filled() -> Disk {
    let disk = Disk::new();
    let mut running = disk.running();
    running.commit([accepted(1), accepted(2), Fact::Webhook(webhook(1, vec![pause()])), attempted(1, 1, 1, Some(90)), accepted(5)]);
    disk
}

#[test]
fn a_view_that_does_not_fit_is_rebuilt_from_the_journal() {
    type Harm = fn(&mut Rows);
    fn meta(rows: &mut Rows, change: fn(&mut Meta)) {
        let mut meta = Meta::from_value(&rows[keys::META]).unwrap();
        change(&mut meta);
        rows.insert(keys::META.to_vec(), meta.to_value());
    }
    fn first(rows: &Rows, family: u8) -> Vec<u8> {
        rows.keys().find(|key| key[0] == family).unwrap().clone()
    }
    let harms: [(&str, Harm); 10] = [
        ("it holds nothing", |rows| rows.clear()),
        ("it holds nothing", |rows| drop(rows.remove(keys::META))),
        ("another journal", |rows| meta(rows, |meta| meta.journal.0 ^= 1)),
        ("another fact", |rows| meta(rows, |meta| meta.checksum ^= 1)),
        ("another fact", |rows| meta(rows, |meta| meta.sequence = Sequence(4))),
        ("ahead of the journal", |rows| meta(rows, |meta| meta.locator.offset += 4096)),
        ("its queue holds", |rows| meta(rows, |meta| meta.queue_digest ^= 1)),
        ("its queue holds", |rows| drop(rows.remove(&first(rows, b'q')))),
        ("checksum", |rows| rows.get_mut(&first(rows, b'q')).unwrap()[3] ^= 1),
        ("checksum", |rows| rows.get_mut(&first(rows, b'w')).unwrap()[3] ^= 1),
    ];
    for (why, harm) in harms {
        let disk = filled();
        let rows = disk.rows();
        harm(&mut disk.table.rows.lock().unwrap());
        let opened = disk.open();
        assert!(opened.rebuilt, "{why}");
        assert!(opened.warnings.iter().any(|warning| warning.contains(why)), "{why}: {:?}", opened.warnings);
        assert_eq!((disk.rows(), opened.journal.next_sequence()), (rows, Sequence(6)), "{why}");
    }
}

#[test]
fn a_view_that_fails_when_it_is_to_catch_up_is_rebuilt() {
    let disk = filled();
    let mut running = disk.running();
    running.sync(vec![accepted(7)]);
    drop(running);
    let failing = MapTable { rows: Arc::clone(&disk.table.rows), changes_left: Arc::new(AtomicUsize::new(0)) };
    let open_table = |opening| match opening {
        Opening::Existing => Ok(failing.clone()),
        Opening::Fresh => {
            disk.table.rows.lock().unwrap().clear();
            Ok(disk.table.clone())
        }
    };
    let opened = super::super::open(disk.medium(), OPTIONS, open_table, &mut |_| {}).unwrap();
    assert!(opened.rebuilt && opened.warnings.iter().any(|warning| warning.contains("no more changes")), "{:?}", opened.warnings);
    assert_eq!(disk.rows(), disk.folded());
}

#[test]
fn a_damaged_position_is_no_reason_to_give_up() {
    let disk = filled();
    let rows = disk.rows();
    disk.table.rows.lock().unwrap().get_mut(keys::META).unwrap()[5] ^= 1;
    assert!(disk.open().rebuilt);
    assert_eq!(disk.rows(), rows);
}

#[test]
fn a_view_ahead_of_the_journal_names_what_the_journal_lost() {
    let disk = filled();
    let older = fs::read(disk.path(1)).unwrap();
    let end = disk.frame(4).end;
    let mut bytes = older;
    bytes[usize::try_from(end).unwrap()..].fill(0);
    fs::write(disk.path(1), bytes).unwrap();
    let opened = disk.open();
    let warning =
        "the journal ends with fact 4, but the view followed it to fact 5: what lies between was acknowledged, and the disk lost it";
    assert!(opened.warnings.iter().any(|one| one == warning), "{:?}", opened.warnings);
    assert_eq!((opened.rebuilt, opened.journal.next_sequence()), (true, Sequence(5)));
}

/// Facts of which some undo others, so that a window is more than a list of new rows.
fn eventful() -> Vec<Fact> {
    let mut facts = (1..=60).map(accepted).collect::<Vec<_>>();
    facts.extend((1..=60).step_by(2).map(|sequence| attempted(sequence, 1, sequence, (sequence % 3 == 0).then_some(500 + sequence))));
    facts.extend((61..=80).map(accepted));
    facts.extend((3..=60).step_by(6).map(|sequence| attempted(sequence, 2, 500 + sequence, None)));
    facts
}

#[test]
fn a_view_that_was_left_half_written_catches_up_to_the_same_rows() {
    let reference = Disk::new();
    let mut running = reference.running();
    running.commit(eventful());
    drop(running);
    let rows = reference.rows();
    for changes in [0, 1, 2, 3, 4, 6] {
        let disk = Disk::new();
        let mut running = disk.running();
        let mut facts = eventful();
        let later = facts.split_off(70);
        running.commit(facts);
        for fact in later {
            running.sync(vec![fact]);
        }
        disk.table.changes_left.store(changes, Ordering::Relaxed);
        while running.0.apply_step(&mut Vec::new()).unwrap_or(false) {}
        drop(running);
        disk.table.changes_left.store(usize::MAX, Ordering::Relaxed);
        let opened = disk.open();
        assert_eq!((opened.warnings, opened.rebuilt), (Vec::new(), false), "{changes}");
        let without_position = |mut rows: Rows| {
            let meta = Meta::from_value(&rows.remove(keys::META).unwrap()).unwrap();
            (rows, meta.sequence, meta.queue_count, meta.queue_digest)
        };
        assert_eq!(without_position(disk.rows()), without_position(rows.clone()), "{changes}");
    }
}

/// A disk that says it has synced what it has not, and then the power: the view may keep rows of facts that the journal lost, and its position says nothing of them.
#[test]
fn a_half_written_view_ahead_of_what_the_disk_kept_is_rebuilt() {
    let disk = Disk::new();
    let mut running = disk.running_with_position();
    running.commit((1..=10).map(accepted));
    let kept = fs::read(disk.path(1)).unwrap();
    let by_client = |number| match accepted(number) {
        Fact::Accepted(one) => Fact::Accepted(Accepted { id_by_client: true, ..one }),
        other => other,
    };
    running.sync((11..=80).map(by_client).collect());
    // Only ids, of which nobody keeps count: anything wrong with the queue is noticed by itself.
    disk.table.changes_left.store(1, Ordering::Relaxed);
    while running.0.apply_step(&mut Vec::new()).unwrap_or(false) {}
    drop(running);
    disk.table.changes_left.store(usize::MAX, Ordering::Relaxed);
    fs::write(disk.path(1), kept).unwrap();
    assert_eq!(disk.queue().len(), 20);
    let opened = disk.open();
    assert!(opened.rebuilt && opened.warnings.iter().any(|warning| warning.contains("ahead of the journal")), "{:?}", opened.warnings);
    let rows = disk.rows();
    assert!(!rows.contains_key(keys::AHEAD));
    assert_eq!((disk.queue().len(), rows.keys().filter(|key| key[0] == b'i').count()), (20, 5));
}

#[test]
fn a_view_that_fails_while_it_is_rebuilt_is_an_error_and_the_next_start_tries_again() {
    let disk = filled();
    let rows = disk.rows();
    disk.table.rows.lock().unwrap().clear();
    disk.table.changes_left.store(0, Ordering::Relaxed);
    assert!(matches!(disk.try_open(), Err(OpenError::View(_))));
    disk.table.changes_left.store(usize::MAX, Ordering::Relaxed);
    assert!(disk.open().rebuilt);
    assert_eq!(disk.rows(), rows);
}

#[test]
fn a_view_in_sled_is_kept_over_a_restart_and_rebuilt_when_its_file_is_ruined() {
    let disk = Disk::new();
    let view = tempfile::tempdir().unwrap();
    let path = view.path().join("view");
    let open = || {
        let open_table = |opening| {
            if opening == Opening::Fresh && path.exists() {
                fs::remove_dir_all(&path).unwrap();
            }
            SledTable::open(&path)
        };
        super::super::open(disk.medium(), OPTIONS, open_table, &mut |_| {}).unwrap()
    };
    let count = |opened: &Recovered<RealMedium, SledTable>| {
        let mut count = 0;
        read_queue(opened.view.table().as_ref(), |_| count += 1).unwrap();
        count
    };
    let opened = open();
    let mut writer = Writer::new(opened.journal, opened.view, opened.history, WINDOW_MS);
    writer.take(Order::Operate { ticket: 1, facts: (1..=100).map(accepted).collect() }, NOW).unwrap();
    writer.sync(&mut Vec::new()).unwrap();
    while writer.apply_step(&mut Vec::new()).unwrap() {}
    writer.view().table().checkpoint().unwrap();
    drop(writer);
    let opened = open();
    assert_eq!((&opened.warnings, opened.rebuilt, count(&opened)), (&Vec::new(), false, 200));
    drop(opened);
    let mut bytes = fs::read(path.join("db")).unwrap();
    bytes.iter_mut().step_by(7).for_each(|byte| *byte ^= 0x55);
    fs::write(path.join("db"), bytes).unwrap();
    let opened = open();
    assert_eq!((opened.rebuilt, count(&opened), opened.journal.next_sequence()), (true, 200, Sequence(101)));
}

/// systemd gives each step of a start so long and no longer; writing out a great many facts on a slow disk is more than one step.
#[test]
fn whoever_waits_hears_again_and_again_while_facts_are_written() {
    let webhooks = 1000;
    let mut view = View::new(Arc::new(Disk::new().table), View::<MapTable>::beginning(segment::JournalId(1)), 0, true);
    let Fact::Accepted(one) = accepted(1) else { unreachable!() };
    let fact = Fact::Accepted(Accepted { deliveries: (1..=webhooks).map(WebhookNumber).collect(), ..one });
    let events = 2 * PROGRESS_BATCHES as u64 * 64 / u64::from(webhooks);
    for sequence in 1..=events {
        let locator = crate::model::Locator { segment: 1, offset: 8192 };
        view.fold(Appended { sequence: Sequence(sequence), locator, checksum: 0 }, &fact);
    }
    let mut told = Vec::new();
    write_out(&mut view, &mut |what| told.push(what)).unwrap();
    let last = 2 * PROGRESS_BATCHES * View::<MapTable>::STEP_ROWS;
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[2], format!("writing {events} facts to the view: {last} rows so far"));
}
