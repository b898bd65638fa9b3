//! What is read from the disk, where somebody else may have written. A target here never writes outside of a directory of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};

use hookwheel::limits::SANDBOX_REQUESTS_KEPT;
use hookwheel::model::sandbox::{ReceivedPage, SandboxSummary};
use hookwheel::model::{SandboxToken, Sequence};
use hookwheel::server::sandbox::Sandboxes;
use hookwheel::store::backup;
use hookwheel::store::history::read_index;
use hookwheel::store::journal::frame;
use hookwheel::store::journal::medium::MediumFile;
use hookwheel::store::journal::segment::{JournalId, Scanned, SegmentHeader, SegmentScan};
use hookwheel::store::view::block::{self, Pair, Rows};
use hookwheel::store::view::keys::{self, BlacklistRow, IdempotencyRow, Meta, QueueRow};
use tempfile::TempDir;

use super::sealed::KEYS;

/// The segment that is read, and whose index is.
const SEGMENT: SegmentHeader = SegmentHeader { number: 1, journal: JournalId(7), first: Sequence(1), salt: 0 };
/// The token of the sandbox whose file is read.
const TOKEN: &str = "abcdefghijklmnopqrstuvwxyz234567";

/// A directory in memory, where the system has a place for such: what is made sure of costs no time there.
pub(super) fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("there is room")
}

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

/// Whether bytes are the key of a block of the view and rows, in an order in which they can be found and changed.
pub(crate) fn is_block(bytes: &[u8]) -> bool {
    let Some((key, sealed)) = block_of(bytes) else { return false };
    rows_in(&[(key.clone(), sealed)]).is_some_and(|rows| !rows.is_empty() && are_in_order(&key, &rows))
}

/// The key and, with their right checksum, the rows.
fn block_of(bytes: &[u8]) -> Option<Pair> {
    let (length, rest) = bytes.split_first()?;
    let (key, rows) = rest.split_at(usize::from(*length).min(rest.len()));
    Some((key.to_vec(), keys::seal(key, rows.to_vec())))
}

fn are_in_order(key: &[u8], rows: &[Pair]) -> bool {
    rows.is_sorted_by(|(one, _), (next, _)| one < next) && rows.first().is_none_or(|(first, _)| first.as_slice() >= key)
}

/// The key of a block of the view and its rows, with their right checksum: written again they are the same, and those in order can be found and changed.
pub(super) fn rows_of_block(bytes: &[u8]) {
    let Some((key, sealed)) = block_of(bytes) else { return };
    let Some(rows) = rows_in(&[(key.clone(), sealed.clone())]) else {
        assert!(block::edited(&key, Some(&sealed), &[]).is_err());
        return;
    };
    let written = block::edited(&key, Some(&sealed), &[]);
    assert!(written.is_err() || rows_in(&written.unwrap_or_default()).as_ref() == Some(&rows));
    if !are_in_order(&key, &rows) {
        return;
    }
    for (row, value) in rows.iter().step_by(rows.len() / block::ROWS_MAX + 1) {
        assert_eq!(block::find(&key, &sealed, row).expect("it was read before").as_ref(), Some(value));
    }
    let mut changes = BTreeMap::new();
    for (index, (row, _)) in rows.iter().enumerate() {
        match index % 4 {
            0 => drop(changes.insert(row.clone(), None)),
            1 => drop(changes.insert(row.clone(), Some(vec![1]))),
            2 => drop(changes.insert([row.as_slice(), &[0]].concat(), Some(Vec::new()))),
            _ => {}
        }
    }
    let mut wanted = rows.into_iter().collect::<BTreeMap<_, _>>();
    for (row, value) in &changes {
        match value {
            Some(value) => drop(wanted.insert(row.clone(), value.clone())),
            None => drop(wanted.remove(row)),
        }
    }
    // A row may be too large for a block now.
    let Ok(blocks) = block::edited(&key, Some(&sealed), &changes.into_iter().collect::<Vec<_>>()) else { return };
    assert!(blocks.is_sorted_by(|(one, _), (next, _)| one < next));
    assert!(blocks.iter().all(|one| rows_in(std::slice::from_ref(one)).is_some_and(|rows| (1..=block::ROWS_MAX).contains(&rows.len()))));
    assert_eq!(rows_in(&blocks), Some(wanted.into_iter().collect()));
}

/// The rows of these blocks, one after the other; nothing where they are damaged.
fn rows_in(blocks: &[Pair]) -> Option<Vec<Pair>> {
    let mut found = Vec::new();
    for (key, sealed) in blocks {
        let mut rows = Rows::of(key, sealed).ok()?;
        while let Some((key, value)) = rows.step().ok()? {
            found.push((key.to_vec(), value.to_vec()));
        }
    }
    Some(found)
}

/// Frames behind a good header: a scan ends, and goes through them in order. And the same bytes as a header.
pub(super) fn segment(bytes: &[u8]) {
    header(bytes);
    let mut file = SEGMENT.to_bytes();
    let start = file.len() as u64;
    file.extend_from_slice(bytes);
    let size = file.len() as u64;
    let mut scan = SegmentScan::new(Arc::new(Bytes(Mutex::new(file))), SEGMENT, start);
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

/// The beginning of a segment: what it says of itself it says again when it is written anew.
fn header(bytes: &[u8]) {
    let mut mended = bytes.to_vec();
    // With its right mark and checksum, so that what is behind those is reached.
    if let Some(copy) = mended.first_chunk_mut::<48>() {
        copy[..8].copy_from_slice(b"HKWSEG\0\0");
        let checksum = crc32c::crc32c(&copy[..44]);
        copy[44..].copy_from_slice(&checksum.to_le_bytes());
    }
    for bytes in [bytes.to_vec(), mended] {
        let number = bytes.get(12..16).and_then(|number| number.try_into().ok()).map_or(SEGMENT.number, u32::from_le_bytes);
        let file = Bytes(Mutex::new(bytes));
        let read = SegmentHeader::read(&file, number).expect("memory does not fail");
        let newer = SegmentHeader::newer_format(&file).expect("memory does not fail");
        assert!(newer.is_none_or(|format| format > 1));
        let Some(header) = read else { continue };
        let again = Bytes(Mutex::new(header.to_bytes()));
        assert!(SegmentHeader::read(&again, number).expect("memory does not fail") == read && header.damaged_copies(&again).is_empty());
    }
}

/// The index of a segment's history, which is made again wherever it makes no sense: it claims nothing, and is the same whenever it is read.
pub(super) fn index(bytes: &[u8]) {
    for bytes in [Some(bytes.to_vec()), with_fitting_numbers(bytes.to_vec())].into_iter().flatten() {
        let read = || read_index(Bytes(Mutex::new(bytes.clone())), &SEGMENT);
        assert_eq!(read(), read());
    }
}

/// Whether rows are found in it, as in the seeds that are to be changed.
pub(crate) fn is_index(bytes: &[u8]) -> bool {
    read_index(Bytes(Mutex::new(bytes.to_vec())), &SEGMENT).is_ok()
}

/// The same with the length and the checksums that it should have, as far as the numbers of its rows allow for that.
fn with_fitting_numbers(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    const HEADER: usize = 108;
    const ENTRY: usize = 88;
    let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize);
    let (ends, events) = (number(36)?, number(40)?);
    let tables: [(usize, usize, usize); 4] = [(ends, 56, 128), (ends, 17, 512), (events, 44, 128), (events, 12, 512)];
    let mut start = bytes.len().checked_sub(tables.iter().map(|(rows, size, _)| rows * size).sum())?;
    let summary = start.checked_sub(HEADER)?;
    let mut entry = start.checked_sub(tables.iter().map(|(rows, _, block)| rows.div_ceil(*block) * ENTRY).sum())?;
    for (rows, size, block) in tables {
        for first in (0..rows).step_by(block) {
            let end = start + block.min(rows - first) * size;
            let checksum = crc32c::crc32c(bytes.get(start..end)?);
            bytes.get_mut(entry + 8..entry + 12)?.copy_from_slice(&checksum.to_le_bytes());
            (entry, start) = (entry + ENTRY, end);
        }
    }
    bytes[44..48].copy_from_slice(&u32::try_from(summary).ok()?.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[HEADER..HEADER + summary]);
    bytes[100..104].copy_from_slice(&checksum.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..104]);
    bytes[104..108].copy_from_slice(&checksum.to_le_bytes());
    Some(bytes)
}

/// A backup whose manifest somebody else wrote. No file is read that lies outside of it.
pub(super) fn manifest(bytes: &[u8]) {
    let directory = directory();
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

/// A sandbox's file. Reading mends it, and so it says the same when it is read again.
pub(super) fn sandbox_log(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), with_right_checksums(bytes)] {
        let directory = directory_with_sandbox(&bytes);
        let first = received(directory.path());
        assert_eq!(received(directory.path()), first);
    }
}

/// How many requests are found in a sandbox's file.
pub(crate) fn requests_in_sandbox_log(bytes: &[u8]) -> usize {
    received(directory_with_sandbox(bytes).path()).map_or(0, |(_, page)| page.requests.len())
}

/// A directory in which a sandbox has that file.
fn directory_with_sandbox(bytes: &[u8]) -> TempDir {
    let directory = directory();
    std::fs::write(directory.path().join(format!("{TOKEN}.log")), bytes).expect("there is room");
    directory
}

/// The lines with the checksums that they should have, so that what is behind those is reached.
fn with_right_checksums(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let Some((_, json)) = line.split_at_checked(9) else { return line.to_vec() };
        let checksum = format!("{:08x} ", crc32c::crc32c(json.strip_suffix(b"\n").unwrap_or(json)));
        [checksum.as_bytes(), json].concat()
    });
    lines.collect::<Vec<_>>().concat()
}

/// What the sandbox in that directory is, and what it received; nothing where its file does not say what it is.
fn received(directory: &Path) -> Option<(SandboxSummary, ReceivedPage)> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8700));
    let sandboxes = Sandboxes::open(directory, listen, false, &KEYS[..1]).expect("the directory can be read");
    let summary = sandboxes.list().pop()?;
    let token = SandboxToken::parse(TOKEN).expect("it is one");
    let page = sandboxes.page(&token, None, usize::MAX).expect("what was listed can be read");
    assert!(page.requests.len() <= SANDBOX_REQUESTS_KEPT);
    assert_eq!((summary.kept, summary.received), (page.requests.len() as u64, page.last));
    let told = serde_json::to_string(&page).expect("it holds strings and numbers only");
    assert_eq!(serde_json::from_str::<ReceivedPage>(&told).expect("a command can read it"), page);
    for request in &page.requests {
        assert!(request.body.length() <= told.len());
        // As a browser or a command shows it.
        drop(request.body.pretty());
    }
    Some((summary, page))
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
