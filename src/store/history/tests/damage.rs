//! Indexes whose bytes are not what was written: each byte is noticed, and what it said is read from the segment again.

use super::*;
use crate::store::history::index::{self, Header, Index};

#[test]
fn every_byte_of_an_index_is_under_a_checksum() {
    let (place, _) = filled(11, 300);
    while place.history.work().unwrap() {}
    let segment = place.history.0.reader.header_of(1).unwrap().unwrap();
    let name = index::file_name(1);
    let length = place.medium.bytes(&name).len();
    let read_all = || index::read_index(place.medium.open(&name).unwrap(), &segment);
    read_all().unwrap();
    let mut unnoticed = Vec::new();
    for at in 0..length {
        place.medium.edit(&name, |bytes| bytes[at] ^= 0x10);
        if read_all().is_ok() {
            unnoticed.push(at);
        }
        place.medium.edit(&name, |bytes| bytes[at] ^= 0x10);
    }
    assert_eq!(unnoticed, Vec::<usize>::new());
    for end in [0, 50, 104, length / 2, length - 1] {
        let whole = place.medium.bytes(&name);
        place.medium.edit(&name, |bytes| bytes.truncate(end));
        assert!(read_all().is_err(), "cut at {end}");
        place.medium.edit(&name, |bytes| *bytes = whole);
    }
    read_all().unwrap();
}

/// Gives everything in an index the checksum that fits it; `tables` are the rows, the bytes of each and how many of them are a block.
fn sealed(mut bytes: Vec<u8>, summary_bytes: usize, tables: [(usize, usize, usize); 4]) -> Vec<u8> {
    const HEADER: usize = 108;
    const ENTRY: usize = 88;
    let blocks = tables.iter().map(|(rows, _, block)| rows.div_ceil(*block)).sum::<usize>();
    let (mut entry, mut start) = (HEADER + summary_bytes - blocks * ENTRY, HEADER + summary_bytes);
    for (rows, size, block) in tables {
        for first in (0..rows).step_by(block) {
            let end = start + block.min(rows - first) * size;
            let checksum = crc32c::crc32c(&bytes[start..end]);
            bytes[entry + 8..entry + 12].copy_from_slice(&checksum.to_le_bytes());
            (entry, start) = (entry + ENTRY, end);
        }
    }
    assert_eq!((entry, start), (HEADER + summary_bytes, bytes.len()), "the tables are where they are said to be");
    let summary = crc32c::crc32c(&bytes[HEADER..HEADER + summary_bytes]);
    bytes[100..104].copy_from_slice(&summary.to_le_bytes());
    let header = crc32c::crc32c(&bytes[..104]);
    bytes[104..108].copy_from_slice(&header.to_le_bytes());
    bytes
}

/// Somebody who can write to the data directory can make every checksum fit.
#[test]
fn an_index_that_lies_under_right_checksums_ends_nothing_and_claims_no_memory() {
    let (place, mut dice) = filled(15, 300);
    while place.history.work().unwrap() {}
    let segment = place.history.0.reader.header_of(1).unwrap().unwrap();
    let name = index::file_name(1);
    let good = place.medium.bytes(&name);
    let number = |at: usize| usize::try_from(u32::from_le_bytes(good[at..at + 4].try_into().unwrap())).unwrap();
    let (ends, events, summary_bytes) = (number(36), number(40), number(44));
    let tables = [(ends, 56, 128), (ends, 17, 512), (events, 44, 128), (events, 12, 512)];
    assert_eq!(sealed(good.clone(), summary_bytes, tables), good);
    let read_all = || {
        let (header, file) = Header::read(&place.medium, &segment)?;
        let index = Index::open(&header, file)?;
        for end in place.ends.iter().step_by(50) {
            index.find(end.key)?;
            index.ends_of(end.key.sequence)?;
        }
        for (sequence, _, project, id) in place.events.iter().step_by(50) {
            index.event(*sequence)?;
            index.events_of(state::short_hash(project, id))?;
        }
        (0..index.ends.blocks.len()).try_for_each(|number| index.block::<EndedRow>(&index.ends, number).map(drop))?;
        (0..index.events.blocks.len()).try_for_each(|number| index.block::<row::EventRow>(&index.events, number).map(drop))
    };
    read_all().unwrap();
    let mut refused = 0;
    // All of the header and the summary, and of the rows one byte in some.
    let of_rows = (108 + summary_bytes..good.len()).step_by(13);
    for at in (0..108 + summary_bytes).chain(of_rows) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << dice.below(8);
        let lying = sealed(bytes, summary_bytes, tables);
        place.medium.edit(&name, |bytes| *bytes = lying);
        refused += usize::from(read_all().is_err());
    }
    assert!(refused > 100, "{refused}: most of what a header says can be seen to be wrong");
}

#[test]
fn a_damaged_index_is_made_again_whenever_it_is_noticed() {
    let (mut place, mut dice) = filled(12, 900);
    while place.history.work().unwrap() {}
    let name = index::file_name(2);
    let length = place.medium.bytes(&name).len();
    for (round, at) in [0, 40, 101, 110, length / 3, length / 2, length - 1].into_iter().enumerate() {
        place.reopen();
        place.medium.edit(&name, |bytes| bytes[at] ^= 0x10);
        let damaged = place.medium.bytes(&name);
        if round % 2 == 0 {
            // Noticed when it is opened, or when it is read.
            place.reopen();
        }
        let everything = WantedEnds::default();
        while place.history.work().unwrap() {}
        assert_eq!(place.listed(&everything, 100), place.expected(&everything), "byte {at}");
        for _ in 0..6 {
            place.check(&mut dice);
        }
        if at > 104 + 100 || round % 2 == 0 {
            place.ends.iter().for_each(|end| drop(place.history.end_of(end.key).unwrap()));
            place.events.iter().for_each(|(_, _, project, id)| drop(place.history.events_named(project, id).unwrap()));
            assert_ne!(place.medium.bytes(&name), damaged, "byte {at}: it was written anew");
        }
    }
}

#[test]
fn an_older_end_is_never_taken_for_the_newest_while_an_index_is_missing() {
    let (mut place, _) = filled(14, 2400);
    while place.history.work().unwrap() {}
    for number in [2, 3] {
        place.medium.remove(&index::file_name(number)).unwrap();
    }
    place.reopen();
    assert_eq!(place.history.unindexed(), 2);
    let refused = place.ends.iter().filter(|end| match place.history.end_of(end.key) {
        Ok(found) => {
            assert_eq!(found.map(|found| found.at), Some(end.at), "{:?}", end.key);
            false
        }
        Err(error) => error.to_string().contains("still being made"),
    });
    let refused = refused.count();
    assert!(refused > 0 && refused < place.ends.len(), "{refused}");
    while place.history.work().unwrap() {}
    assert!(place.ends.iter().all(|end| place.history.end_of(end.key).unwrap().is_some_and(|found| found.at == end.at)));
}

#[test]
fn an_index_that_is_missing_or_of_another_segment_is_made_again() {
    let (mut place, mut dice) = filled(13, 1800);
    while place.history.work().unwrap() {}
    place.medium.remove(&index::file_name(1)).unwrap();
    place.medium.rename(&index::file_name(3), &index::file_name(2)).unwrap();
    place.reopen();
    assert_eq!(place.history.unindexed(), 3);
    while place.history.work().unwrap() {}
    assert_eq!(place.history.unindexed(), 0);
    place.check(&mut dice);
    // One that goes away under a running daemon.
    place.reopen();
    while place.history.work().unwrap() {}
    place.medium.remove(&index::file_name(2)).unwrap();
    place.check(&mut dice);
    assert_eq!(place.listed(&WantedEnds::default(), 100), place.expected(&WantedEnds::default()));
}
