//! What is read from the disk, where somebody else may have written. A target here never writes outside of a directory of its own.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use hookwheel::model::Sequence;
use hookwheel::store::backup;
use hookwheel::store::journal::frame;
use hookwheel::store::journal::medium::MediumFile;
use hookwheel::store::journal::segment::{JournalId, Scanned, SegmentHeader, SegmentScan};
use hookwheel::store::view::keys::{self, BlacklistRow, IdempotencyRow, Meta, QueueRow};

/// A record says one thing, or nothing.
pub(super) fn fact(bytes: &[u8]) {
    let Ok(fact) = frame::decode_fact(bytes) else { return };
    assert_eq!(frame::decode_fact(&frame::encode_fact(&fact)).expect("what was written can be read"), fact);
}

/// A key and a value of the view, the value with its right checksum, so that what is behind that is reached.
pub(super) fn row(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return };
    let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let _ = (keys::parse_queue_key(key), keys::parse_expiry_key(key), keys::parse_blacklist_key(key));
    let sealed = keys::seal(key, value.to_vec());
    if let Ok(row) = QueueRow::from_value(key, &sealed) {
        assert_eq!(QueueRow::from_value(key, &row.to_value(key)).expect("it was read before"), row);
    }
    if let Ok(row) = IdempotencyRow::from_value(key, &sealed) {
        assert_eq!(row.to_value(key), sealed);
    }
    if let Ok(row) = BlacklistRow::from_value(key, &sealed) {
        assert_eq!(BlacklistRow::from_value(key, &row.to_value(key)).expect("it was read before"), row);
    }
    let sealed = keys::seal(keys::META, value.to_vec());
    if let Ok(meta) = Meta::from_value(&sealed) {
        assert_eq!(meta.to_value(), sealed);
    }
}

/// Frames behind a good header: a scan ends, and goes through them in order.
pub(super) fn segment(bytes: &[u8]) {
    let header = SegmentHeader { number: 1, journal: JournalId(7), first: Sequence(1), salt: 0 };
    let mut file = header.to_bytes();
    let start = file.len() as u64;
    file.extend_from_slice(bytes);
    let size = file.len() as u64;
    let mut scan = SegmentScan::new(Arc::new(Bytes(Mutex::new(file))), header, start);
    let (mut at, mut steps, mut seen) = (start, 0, BTreeSet::new());
    while let Some(scanned) = scan.step().expect("memory does not fail") {
        steps += 1;
        assert!(steps <= bytes.len() + 1, "a scan does not end");
        match scanned {
            Scanned::Frame(frame) => {
                assert!(frame.end > at && u64::from(frame.locator.offset) >= at, "{frame:?} behind {at}");
                assert!(seen.insert(frame.locator.offset));
                at = frame.end;
            }
            Scanned::Damage { offset, skipped, .. } => {
                assert!(offset >= at && offset + skipped <= size, "{skipped} from {offset} of {size}");
                drop(scan.remains(offset, skipped));
            }
        }
    }
}

/// A backup whose manifest somebody else wrote. No file is read that lies outside of it.
pub(super) fn manifest(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("there is room");
    // With its right checksum as well, so that what is behind that is reached.
    let mended = std::str::from_utf8(bytes).ok().and_then(|text| {
        let json = text.split_once('\n')?.1.strip_suffix('\n')?;
        Some(format!("hookwheel backup, format 1, crc32c {:08x}\n{json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
    });
    for bytes in [Some(bytes.to_vec()), mended].into_iter().flatten() {
        std::fs::write(directory.path().join("manifest"), bytes).expect("there is room");
        if let Ok(checked) = backup::check(directory.path(), &mut |_, _| {}) {
            assert!(checked.segments.iter().all(|(_, path)| path.starts_with(directory.path())), "{:?}", checked.segments);
        }
    }
}

/// A file in memory.
struct Bytes(Mutex<Vec<u8>>);

impl MediumFile for Bytes {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.lock().expect("nobody panics while holding it");
        let from = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let length = buffer.len().min(bytes.len() - from);
        buffer[..length].copy_from_slice(&bytes[from..from + length]);
        Ok(length)
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().expect("nobody panics while holding it").len() as u64)
    }
}
