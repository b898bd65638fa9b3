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
    let read_all = || {
        let (header, file) = Header::read(&place.medium, &segment)?;
        let index = Index::open(&header, file)?;
        for number in 0..index.ends.blocks.len() {
            index.block::<EndedRow>(&index.ends, number)?;
        }
        for number in 0..index.events.blocks.len() {
            index.block::<row::EventRow>(&index.events, number)?;
        }
        index.read_look_ups()
    };
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
