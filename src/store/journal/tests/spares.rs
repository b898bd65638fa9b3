//! Segments that are prepared in time, late, or not at all because the disk is full. They never look at what the facts say.

use super::damage::{SMALL, begin_in, fact, scan_in, sequences};
use super::*;
use crate::limits::SPARE_RETRY_MS;
use crate::store::journal::memory::MemoryMedium;

const NOW: UnixMillis = UnixMillis(1_000_000);

fn prepare(writer: &mut JournalWriter<MemoryMedium>, now: UnixMillis) {
    while let Some(job) = writer.spare_job(now) {
        writer.take_spare(job.run());
    }
}

#[test]
fn a_full_segment_is_synced_before_the_next_is_begun_with_the_spare() {
    let medium = MemoryMedium::default();
    let mut writer = begin_in(&medium);
    let job = writer.spare_job(NOW).unwrap();
    assert!(writer.spare_job(NOW).is_none(), "somebody prepares it");
    writer.take_spare(job.run());
    prepare(&mut writer, NOW);
    assert_eq!(medium.list().unwrap(), ["0000000001.segment", "1.spare", "2.spare"], "the next one, and the reserve");
    writer.append(&[fact(5000)]).unwrap();
    medium.take_calls();
    let places = writer.append(&[fact(2000), fact(2000)]).unwrap();
    assert_eq!(places[0].locator, Locator { segment: 2, offset: 8192 });
    assert_eq!((places[0].sequence, writer.synced_through()), (Sequence(2), Sequence(1)));
    let calls = medium.take_calls();
    let expected =
        ["sync 0000000001.segment", "write 1.spare 0+8192", "sync 1.spare", "rename 1.spare 0000000002.segment", "sync directory"];
    assert_eq!(calls[1..], expected);
    writer.sync().unwrap();
    let (frames, _) = scan_in(&medium, 2);
    assert_eq!((frames[0].synced_through, frames[0].batch_continues), (Some(Sequence(1)), true));
    assert!(writer.spare_job(NOW).is_some());
}

#[test]
fn a_preparation_that_failed_leaves_no_file_and_is_tried_again_a_second_later() {
    let medium = MemoryMedium::default();
    let mut writer = begin_in(&medium);
    medium.fail(Some("sync 1.spare"));
    let failing = writer.spare_job(NOW).unwrap();
    writer.take_spare(failing.run());
    medium.fail(None);
    assert_eq!(medium.list().unwrap(), ["0000000001.segment"]);
    assert!(writer.spare_job(NOW.plus_ms(SPARE_RETRY_MS - 1)).is_none(), "not over and over");
    assert!(!writer.is_disk_full(), "a disk that fails is not full");
    writer.append(&[fact(5000)]).unwrap();
    writer.append(&[fact(5000)]).unwrap();
    assert_eq!(writer.segment_number(), 2, "it is prepared when it is needed");
    let slow = writer.spare_job(NOW.plus_ms(SPARE_RETRY_MS)).unwrap();
    writer.append(&[fact(5000)]).unwrap();
    assert_eq!(writer.segment_number(), 3);
    assert!(writer.spare_job(NOW.plus_ms(9 * SPARE_RETRY_MS)).is_none(), "one that is on its way is waited for");
    writer.take_spare(slow.run());
    writer.append(&[fact(5000)]).unwrap();
    writer.sync().unwrap();
    assert_eq!((1..=4).map(|number| sequences(&scan_in(&medium, number).0)[0]).collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn on_a_full_disk_events_are_refused_at_once_and_outcomes_have_the_rest_of_the_segment_and_the_reserve() {
    let medium = MemoryMedium::default();
    let mut writer = begin_in(&medium);
    prepare(&mut writer, NOW);
    writer.append_events(&[fact(5000)]).unwrap();
    medium.set_full(true);
    assert!(writer.append_events(&[fact(100)]).is_ok(), "nobody has asked for a segment yet");
    assert!(writer.append_events(&[fact(5000)]).is_ok(), "one is prepared for it, beside the reserve");
    assert_eq!(writer.segment_number(), 2);
    assert!(writer.spare_job(NOW).is_none(), "a segment is not even tried");
    assert!(writer.is_disk_full() && !writer.is_reserve_used_up());
    assert!(matches!(writer.append_events(&[fact(1)]), Err(JournalError::NoRoom { .. })));
    writer.append(&[fact(5000)]).unwrap();
    assert_eq!((writer.segment_number(), writer.is_reserve_used_up()), (3, true), "outcomes take the reserve");
    writer.append(&[fact(100)]).unwrap();
    let last = writer.next_sequence();
    assert!(matches!(writer.append(&[fact(5000)]), Err(JournalError::NoRoom { .. })));
    assert_eq!(writer.next_sequence(), last, "nothing was half written");
    writer.sync().unwrap();
    // There is room again: the reserve comes first, and events only when nothing is missing.
    medium.set_full(false);
    assert!(writer.spare_job(NOW.plus_ms(SPARE_RETRY_MS - 1)).is_none(), "not before a second has passed");
    let later = NOW.plus_ms(SPARE_RETRY_MS);
    let reserve = writer.spare_job(later).unwrap();
    writer.take_spare(reserve.run());
    assert!(matches!(writer.append_events(&[fact(1)]), Err(JournalError::NoRoom { .. })));
    prepare(&mut writer, later);
    assert!(!writer.is_disk_full());
    writer.append_events(&[fact(5000)]).unwrap();
    writer.sync().unwrap();
    assert_eq!(writer.segment_number(), 4);
    let kept = (1..=4).flat_map(|number| sequences(&scan_in(&medium, number).0)).collect::<Vec<_>>();
    assert_eq!(kept, [1, 2, 3, 4, 5, 6], "in order, without a gap");
}

#[test]
fn a_disk_that_becomes_full_while_a_segment_is_prepared_is_full_and_keeps_nothing_of_it() {
    let medium = MemoryMedium::default();
    let mut writer = begin_in(&medium);
    let job = writer.spare_job(NOW).unwrap();
    medium.set_full(true);
    medium.fail(Some("write 1.spare"));
    writer.take_spare(job.run());
    assert!(writer.is_disk_full());
    assert_eq!(medium.list().unwrap(), ["0000000001.segment"]);
}

#[test]
fn a_start_with_room_for_one_segment_only_refuses_events_from_the_beginning() {
    let medium = MemoryMedium::default();
    medium.set_full(true);
    let mut writer = begin_in(&medium);
    assert!(writer.is_disk_full());
    assert!(matches!(writer.append_events(&[fact(1)]), Err(JournalError::NoRoom { .. })));
    writer.append(&[fact(1)]).unwrap();
    writer.sync().unwrap();
    assert!(writer.needed_bytes() > 2 * SMALL.segment_size);
}
