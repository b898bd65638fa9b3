//! HTTP/2 that no well-behaved client speaks, frame by frame. It never packs a header: literals and the static table suffice.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread;

use hookwheel::limits;

use super::{dial, is_well, rest_of};
use crate::hostile::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, go_away, reset,
};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// `GET /healthz` of `localhost`, packed.
pub(super) const GET_HEALTHZ: &[u8] = b"\x82\x86\x04\x08/healthz\x41\x09localhost";
/// `POST /v1/events` of `localhost`, packed.
const POST_EVENTS: &[u8] = b"\x83\x86\x04\x0a/v1/events\x41\x09localhost\x0f\x10\x10application/json";
const ENHANCE_YOUR_CALM: u32 = 11;
/// `431` as a packed value: its length, and three digits in the code of RFC 7541, appendix B.
const PACKED_431: &[u8] = b"\x83\x69\x90\xff";

/// A frame that was heard: its type, its stream, its payload.
struct Heard(u8, u32, Vec<u8>);

fn frames(mut bytes: &[u8]) -> Vec<Heard> {
    let mut frames = Vec::new();
    while let [a, b, c, kind, _, s @ ..] = bytes {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((stream, rest)) = s.split_first_chunk::<4>() else { break };
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        frames.push(Heard(*kind, u32::from_be_bytes(*stream), payload.to_vec()));
        bytes = rest;
    }
    frames
}

/// Says all of it on one connection, and hears what comes until its end; `GOAWAY` from this side ends it where the daemon sees no reason to.
fn flood(address: SocketAddr, said: Vec<u8>) -> Vec<Heard> {
    let mut stream = dial(address);
    let mut writer = stream.try_clone().unwrap();
    let talking = thread::spawn(move || {
        let goodbye = go_away(0, 0);
        let _ = writer.write_all(PREFACE).and_then(|()| writer.write_all(&said)).and_then(|()| writer.write_all(&goodbye));
        let _ = writer.shutdown(std::net::Shutdown::Write);
    });
    let heard = rest_of(&mut stream);
    talking.join().unwrap();
    frames(&heard)
}

/// Says all of it on one connection that stays open, and hears what comes until `is_enough` is content.
fn converse(address: SocketAddr, said: &[u8], is_enough: impl Fn(&[Heard]) -> bool) -> Vec<Heard> {
    let mut stream = dial(address);
    stream.write_all(&[PREFACE, said].concat()).unwrap();
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the connection was closed too early");
        heard.extend_from_slice(&buffer[..count]);
        let so_far = frames(&heard);
        if is_enough(&so_far) {
            return so_far;
        }
    }
}

/// With which error the daemon ended the connection.
fn reason(heard: &[Heard]) -> Option<u32> {
    let last = heard.iter().rev().find(|Heard(kind, ..)| *kind == GOAWAY)?;
    Some(u32::from_be_bytes(last.2[4..8].try_into().unwrap()))
}

fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// CVE-2023-44487: streams are opened and taken back as fast as can be.
#[test]
fn rapid_resets_cost_nobody_else_anything() {
    unharmed(|address| {
        for request in [GET_HEALTHZ, POST_EVENTS] {
            let pairs = streams()
                .take(20_000)
                .flat_map(|stream| [frame(HEADERS, END_HEADERS | END_STREAM, stream, request), reset(stream, 8)].concat());
            let heard = flood(address, pairs.collect());
            // All of them in one packet, or each served before it was taken back: harmless either way, but hardly ever the latter.
            assert!(matches!(reason(&heard), None | Some(ENHANCE_YOUR_CALM)), "{:?}", reason(&heard));
        }
    });
}

/// CVE-2025-8671: streams are opened and the daemon is made to end them.
#[test]
fn mistakes_in_stream_after_stream_end_the_connection() {
    unharmed(|address| {
        let pairs = streams()
            .take(20_000)
            .flat_map(|stream| [frame(HEADERS, END_HEADERS, stream, POST_EVENTS), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat());
        let heard = flood(address, pairs.collect());
        assert!(reason(&heard).is_some_and(|reason| reason != 0), "{:?}", reason(&heard));
        let resets = heard.iter().filter(|Heard(kind, ..)| *kind == RST_STREAM).count();
        assert!(resets <= 2 * (limits::HTTP2_MISTAKES_MAX + limits::HTTP2_STREAMS_MAX as usize), "{resets}");
    });
}

#[test]
fn headers_without_end_are_refused() {
    unharmed(|address| {
        // A literal field whose value goes on and on, and frames with nothing in them.
        let large = [0, 1, b'x', 0x7f, 0xff, 0xff, 0x7f];
        let grows = frame(CONTINUATION, 0, 1, &[b'y'; 16_384]);
        let empty = frame(CONTINUATION, 0, 1, b"");
        for (name, more) in [("large frames", grows.repeat(2000)), ("empty frames", empty.repeat(100_000))] {
            let said = [frame(HEADERS, 0, 1, &large), more].concat();
            let heard = flood(address, said);
            assert!(reason(&heard).is_some_and(|reason| reason != 0), "{name}");
        }
        // A list that is too large, in one whole request: it is refused, and the next one on the same connection is served.
        let field = [&[0, 1, b'x', 0x7f, 0x81, 0x1d][..], &[b'y'; 3840]].concat();
        let goes_on = frame(CONTINUATION, 0, 1, &field).repeat(3);
        let ends = frame(CONTINUATION, END_HEADERS, 1, &field);
        let next = frame(HEADERS, END_HEADERS | END_STREAM, 3, GET_HEALTHZ);
        let said = [frame(HEADERS, END_STREAM, 1, &[GET_HEALTHZ, &field].concat()), goes_on, ends, next].concat();
        let is_served = |Heard(kind, stream, payload): &Heard| (*kind, *stream) == (DATA, 3) && payload.ends_with(b"alive\n");
        let is_told = |Heard(kind, stream, _): &Heard| *stream == 1 && matches!(*kind, HEADERS | RST_STREAM);
        let heard = converse(address, &said, |heard| heard.iter().any(is_served) && heard.iter().any(is_told));
        let is_refused = |Heard(kind, stream, payload): &Heard| {
            let says_431 = *kind == HEADERS && payload.windows(PACKED_431.len()).any(|window| window == PACKED_431);
            *stream == 1 && (*kind == RST_STREAM || says_431)
        };
        assert!(heard.iter().any(is_refused), "the request with the large list is refused");
        assert!(!heard.iter().any(|Heard(kind, stream, _)| (*kind, *stream) == (DATA, 1)), "and nothing else answers it");
    });
}

#[test]
fn floods_of_frames_that_ask_for_nothing_are_harmless() {
    unharmed(|address| {
        let open = frame(HEADERS, END_HEADERS, 1, POST_EVENTS);
        for (name, start, again) in [
            ("SETTINGS", Vec::new(), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 1])),
            ("PING", Vec::new(), frame(PING, 0, 0, &[7; 8])),
            ("empty DATA", open, frame(DATA, 0, 1, b"")),
            ("WINDOW_UPDATE", Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
            ("unknown frames", Vec::new(), frame(0x42, 0, 0, b"what?")),
            ("PRIORITY", Vec::new(), frame(2, 0, 3, &[0, 0, 0, 0, 1])),
        ] {
            // It may end with a complaint, or with nothing left to say; it ends.
            let heard = flood(address, [start, again.repeat(100_000)].concat());
            assert!(!heard.is_empty(), "{name}");
        }
    });
}

/// More streams than there may be are refused one by one, and the others are answered.
#[test]
fn streams_beyond_the_limit_are_refused() {
    let house = super::house();
    let daemon = house.start();
    let count = limits::HTTP2_STREAMS_MAX as usize + 50;
    let opened = streams().take(count).flat_map(|stream| frame(HEADERS, END_HEADERS, stream, POST_EVENTS));
    let heard = flood(daemon.address, opened.collect());
    let refused = heard.iter().filter(|Heard(kind, _, payload)| *kind == RST_STREAM && payload[..] == [0, 0, 0, 7]).count();
    assert!(refused >= 50 || reason(&heard).is_some_and(|reason| reason != 0), "{refused} of {count}");
    is_well(&daemon, "after");
}

/// What is said to `attack`'s address makes the daemon neither unwell nor large.
fn unharmed(attack: impl FnOnce(SocketAddr)) {
    let house = super::house();
    let daemon = house.start();
    is_well(&daemon, "before");
    let before = daemon.peak_bytes();
    attack(daemon.address);
    assert_bounded(before, daemon.peak_bytes());
    is_well(&daemon, "after");
}

/// What one connection may hold: a window of bodies, its unsent answers, and each stream's headers; with as much again for what the allocator keeps.
fn assert_bounded(before: u64, after: u64) {
    let streams = u64::from(limits::HTTP2_STREAMS_MAX) + limits::HTTP2_TAKEN_BACK_MAX as u64 + limits::HTTP2_MISTAKES_MAX as u64;
    let one = u64::from(limits::HTTP2_WINDOW) + limits::HTTP2_UNSENT_MAX as u64 + streams * 2 * u64::from(limits::HTTP2_HEADERS_MAX);
    // Six floods one after the other, should none of them give anything back.
    assert!(after.saturating_sub(before) <= 6 * 2 * one, "{before} bytes before, {after} at the most, and one connection may have {one}");
}
