//! What a scan, a reader and a rewrite make of segments that are not as they were written, and a writer of disks that refuse.

use super::*;
use crate::store::journal::frame::FrameError;
use crate::store::journal::memory::MemoryMedium;
use crate::store::journal::segment::{ScannedFrame, file_name, rewrite};

pub(super) const SMALL: JournalOptions = JournalOptions { segment_size: 16 * 1024 };

/// A fact that takes about `bytes` on disk.
pub(super) fn fact(bytes: usize) -> Fact {
    Fact::Cancelled(Cancelled { at: UnixMillis(1), by: "x".repeat(bytes), deliveries: Vec::new() })
}

pub(super) fn begin_in(medium: &MemoryMedium) -> JournalWriter<MemoryMedium> {
    JournalWriter::begin(Arc::new(medium.clone()), SMALL, JournalId(7), 1, Sequence(0)).unwrap()
}

/// A medium with one segment that holds these groups, and its frames.
fn written(groups: &[&[Fact]]) -> (MemoryMedium, Vec<ScannedFrame>) {
    let medium = MemoryMedium::default();
    let mut writer = begin_in(&medium);
    for group in groups {
        writer.append(group).unwrap();
        writer.sync().unwrap();
    }
    let (frames, damage) = scan_in(&medium, 1);
    assert!(damage.is_empty());
    (medium, frames)
}

/// The good frames of a segment, and the damage with its length.
pub(super) fn scan_in(medium: &MemoryMedium, number: u32) -> (Vec<ScannedFrame>, Vec<(u64, u64, FrameError)>) {
    let mut scan = JournalReader::new(Arc::new(medium.clone())).scan(number).unwrap().unwrap();
    let (mut frames, mut damages) = (Vec::new(), Vec::new());
    while let Some(scanned) = scan.step().unwrap() {
        match scanned {
            Scanned::Frame(frame) => frames.push(*frame),
            Scanned::Damage { offset, skipped, error } => damages.push((offset, skipped, error)),
        }
    }
    (frames, damages)
}

pub(super) fn sequences(frames: &[ScannedFrame]) -> Vec<u64> {
    frames.iter().map(|frame| frame.sequence.0).collect()
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

fn flip(medium: &MemoryMedium, offset: u64) {
    medium.edit(&file_name(1), |bytes| bytes[index(offset)] ^= 0x10);
}

#[test]
fn zeros_to_the_end_are_the_clean_end_in_a_file_of_any_size() {
    for size in [0, 1, 23, 24, 5000] {
        let (medium, frames) = written(&[&[fact(10), fact(20)], &[fact(30)]]);
        medium.edit(&file_name(1), |bytes| bytes.resize(index(frames[2].end) + size, 0));
        let (frames, damage) = scan_in(&medium, 1);
        assert!(damage.is_empty() && sequences(&frames) == [1, 2, 3], "{size}: {damage:?}");
    }
}

#[test]
fn wherever_a_frame_is_torn_what_stands_before_it_is_whole_and_nothing_is_behind_it() {
    let (_, frames) = written(&[&[fact(10)], &[fact(300)]]);
    // The padding is zeros anyway.
    for cut in frames[0].end..frames[1].end - 8 {
        let (medium, _) = written(&[&[fact(10)], &[fact(300)]]);
        medium.edit(&file_name(1), |bytes| bytes[index(cut)..].fill(0));
        let (left, damage) = scan_in(&medium, 1);
        assert_eq!((sequences(&left), damage.is_empty()), (vec![1], cut == frames[0].end), "cut at {cut}");
        medium.edit(&file_name(1), |bytes| bytes.truncate(index(cut)));
        assert_eq!(sequences(&scan_in(&medium, 1).0), [1], "ended at {cut}");
    }
}

#[test]
fn a_page_that_was_never_written_is_a_hole_with_its_length() {
    let (medium, frames) = written(&[&[fact(10)], &[fact(300)], &[fact(40)]]);
    medium.edit(&file_name(1), |bytes| bytes[index(frames[0].end)..index(frames[1].end)].fill(0));
    let (left, damage) = scan_in(&medium, 1);
    assert_eq!(sequences(&left), [1, 3]);
    assert_eq!(damage, [(frames[0].end, frames[1].end - frames[0].end, FrameError::NoFrame)]);
}

#[test]
fn what_the_disk_refuses_is_damage_only_where_it_is() {
    let (medium, frames) = written(&[&[fact(1000)], &[fact(4000)], &[fact(10)], &[fact(500)]]);
    medium.refuse_to_read(frames[0].end + 500..frames[0].end + 1000);
    let (left, damage) = scan_in(&medium, 1);
    assert_eq!(sequences(&left), [1, 3, 4], "{damage:?}");
    assert!(matches!(&damage[..], [(offset, _, FrameError::Unreadable(why))] if *offset == frames[0].end && why == "bad sector"));
    let reader = JournalReader::new(Arc::new(medium.clone()));
    assert_eq!(reader.read(frames[0].locator).unwrap().sequence, Sequence(1), "its neighbour on the same page is read");
    assert!(matches!(reader.read(frames[1].locator), Err(ReadError::Io { .. })));
    assert_eq!(reader.read(frames[2].locator).unwrap().sequence, Sequence(3));
    // Also where the search for the next frame comes upon it.
    flip(&medium, frames[0].end + 30);
    let (_, damage) = scan_in(&medium, 1);
    assert!(matches!(&damage[..], [(_, _, FrameError::Unreadable(_))]), "{damage:?}");
    flip(&medium, frames[0].end + 30);
    // Zeros that can't be read to the end are no clean end.
    medium.refuse_to_read(16_000..16_001);
    let (left, damage) = scan_in(&medium, 1);
    assert!(sequences(&left) == [1, 2, 3, 4] && damage.len() == 1, "{damage:?}");
}

#[test]
fn a_header_is_read_from_the_copy_that_the_disk_gives_back() {
    for refused in [0..48, 4096..4144] {
        let (medium, _) = written(&[&[fact(10)]]);
        medium.refuse_to_read(refused);
        assert_eq!(sequences(&scan_in(&medium, 1).0), [1]);
    }
    let (medium, _) = written(&[&[fact(10)]]);
    medium.refuse_to_read(0..8192);
    assert!(JournalReader::new(Arc::new(medium)).scan(1).is_err(), "a header that can't be read is not taken for none");
}

#[test]
fn a_frame_inside_a_body_is_not_found() {
    let mut inner = vec![0; 3];
    frame::append(&mut inner, 0x1234_5678, Sequence(2), &frame::encode_fact(&fact(3)), None, false);
    for shift in 0..8 {
        let Fact::Accepted(mut outer) = accepted(1, 0) else { unreachable!("accepted makes one") };
        outer.body = [vec![b'x'; shift], inner.clone()].concat().into();
        let (medium, _) = written(&[&[Fact::Accepted(outer)]]);
        flip(&medium, 8192 + 4);
        let (left, damage) = scan_in(&medium, 1);
        assert!(left.is_empty() && damage.len() == 1);
    }
}

#[test]
fn a_rewritten_segment_has_the_same_places_both_headers_and_ends_where_told() {
    let (medium, frames) = written(&[&one_of_each(), &[fact(10)], &[fact(20)]]);
    medium.edit(&file_name(1), |bytes| bytes[..48].fill(0));
    medium.take_calls();
    rewrite(&medium, 1, frames[4].end).unwrap();
    let calls = medium.take_calls();
    let expected = [
        "create 0000000001.segment.rewrite",
        "sync 0000000001.segment.rewrite",
        "rename 0000000001.segment.rewrite 0000000001.segment",
        "sync directory",
    ];
    assert_eq!(calls.iter().filter(|call| !call.starts_with("write ")).collect::<Vec<_>>(), expected);
    assert!(calls[calls.len() - 4].starts_with("write "), "everything is written before the sync: {calls:?}");
    let (left, _) = scan_in(&medium, 1);
    assert!(left.iter().zip(&frames).all(|(a, b)| (a.locator, &a.fact) == (b.locator, &b.fact)) && left.len() == 5);
    let bytes = medium.bytes(&file_name(1));
    assert_eq!((bytes.len() as u64, &bytes[..48]), (frames[4].end, &bytes[4096..4144]));
    assert_ne!(bytes[..48], [0; 48]);
}

#[test]
fn a_rewrite_that_fails_or_can_not_read_everything_leaves_the_segment_as_it_was() {
    let (medium, frames) = written(&[&[fact(10)], &[fact(20)]]);
    let before = medium.bytes(&file_name(1));
    for failing in ["write", "sync 0000000001.segment.rewrite", "rename"] {
        medium.fail(Some(failing));
        assert!(rewrite(&medium, 1, frames[0].end).is_err());
        assert_eq!(medium.bytes(&file_name(1)), before);
        medium.fail(None);
        remove_leftovers(&medium).unwrap();
    }
    assert_eq!(rewrite(&medium, 1, 1_000_000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    remove_leftovers(&medium).unwrap();
    medium.refuse_to_read(8200..8201);
    assert!(rewrite(&medium, 1, frames[1].end).is_err(), "what can't be read now may be readable later");
    assert_eq!(medium.bytes(&file_name(1)), before);
}

#[test]
fn after_a_failed_write_or_sync_the_writer_refuses_everything() {
    for failing in ["write 0", "sync 0"] {
        let medium = MemoryMedium::default();
        let mut writer = begin_in(&medium);
        writer.append(&[fact(1)]).unwrap();
        writer.sync().unwrap();
        writer.append(&[fact(1)]).unwrap();
        medium.fail(Some(failing));
        let error = writer.sync().unwrap_err().to_string();
        assert!(error.contains("0000000001.segment") && error.contains("the disk is gone"), "{error}");
        medium.fail(None);
        medium.take_calls();
        assert!(matches!(writer.sync(), Err(JournalError::Poisoned)));
        assert!(matches!(writer.append(&[fact(1)]), Err(JournalError::Poisoned)));
        assert!(writer.spare_job(UnixMillis(0)).is_none());
        assert_eq!((medium.take_calls(), writer.synced_through()), (Vec::new(), Sequence(1)));
    }
}

#[test]
fn a_segment_that_exists_is_never_begun_again() {
    let (medium, frames) = written(&[&[fact(1)]]);
    let error = JournalWriter::begin(Arc::new(medium.clone()), SMALL, JournalId(7), 1, Sequence(1)).err().unwrap();
    assert!(matches!(error, JournalError::Io { what: "beginning", .. }), "{error}");
    assert_eq!(sequences(&scan_in(&medium, 1).0), sequences(&frames));
}

#[test]
fn a_reader_answers_whatever_the_size_and_says_what_it_could_not_read() {
    let medium = MemoryMedium::default();
    let options = JournalOptions { segment_size: 1024 * 1024 };
    let mut writer = JournalWriter::begin(Arc::new(medium.clone()), options, JournalId(7), 1, Sequence(0)).unwrap();
    let reader = JournalReader::new(Arc::new(medium.clone()));
    for size in [0, 1, 3900, 4000, 4072, 4096, 5000, 300_000] {
        let fact = accepted(1, size);
        let place = writer.append(std::slice::from_ref(&fact)).unwrap()[0];
        writer.sync().unwrap();
        let read = reader.read(place.locator).unwrap();
        assert_eq!((read.sequence, read.checksum, read.fact), (place.sequence, place.checksum, fact));
    }
    let at = |segment, offset| reader.read(Locator { segment, offset }).unwrap_err();
    assert!(matches!(at(2, 8192), ReadError::Damaged { error: FrameError::NoFrame, .. }));
    assert!(matches!(at(1, 8193), ReadError::Damaged { .. }));
    assert!(matches!(at(1, 900_000), ReadError::Damaged { error: FrameError::NoFrame, .. }));
    assert!(matches!(at(1, 2_000_000), ReadError::Damaged { error: FrameError::NoFrame, .. }));
}

#[test]
fn only_files_named_like_segments_are_segments() {
    for name in ["1.segment", "0000000002.segment.rewrite", "spare", "notes.txt", "99999999999.segment", "+000000003.segment"] {
        assert_eq!(segment::parse_file_name(name), None, "{name}");
    }
    assert_eq!(segment::parse_file_name(&file_name(u32::MAX)), Some(u32::MAX));
}

proptest! {
    /// Whatever becomes of the bytes, a scan ends, never invents a fact, keeps their order, and finds every frame that is still whole.
    #[test]
    fn a_scan_of_damaged_bytes_ends_and_invents_nothing(
        edits in proptest::collection::vec((8192_usize..16_384, any::<u8>()), 0..12),
        sizes in proptest::collection::vec(0_usize..700, 1..10),
    ) {
        let groups = sizes.into_iter().map(|size| [fact(size)]).collect::<Vec<_>>();
        let (medium, originals) = written(&groups.iter().map(<[Fact; 1]>::as_slice).collect::<Vec<_>>());
        let before = medium.bytes(&file_name(1));
        medium.edit(&file_name(1), |bytes| edits.iter().for_each(|(place, value)| bytes[*place] = *value));
        let after = medium.bytes(&file_name(1));
        // Padding means nothing: only header and payload must be as they were.
        let is_whole = |frame: &&ScannedFrame| {
            let start = index(frame.locator.offset.into());
            let length = u32::from_le_bytes(before[start..start + 4].try_into().unwrap()) as usize;
            let size = start..start + frame::HEADER_SIZE + length;
            before[size.clone()] == after[size]
        };
        let expected = originals.iter().filter(is_whole).map(|frame| frame.sequence.0).collect::<Vec<_>>();
        prop_assert_eq!(sequences(&scan_in(&medium, 1).0), expected);
    }
}
