//! Frames of HTTP/2 (RFC 9113), one by one, for those who send what no library would. It never knows what they are for.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of what a client sends before its first frame, section 3.4.
pub(crate) const PREFACE_LENGTH: usize = 24;

/// The types of frames, section 6.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Of DATA and HEADERS: nothing more comes on the stream.
pub(crate) const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION: these are all headers.
pub(crate) const END_HEADERS: u8 = 4;

/// A frame that came.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// Reads the next frame.
pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut head = [0; 9];
    reader.read_exact(&mut head).await?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
    reader.read_exact(&mut payload).await?;
    Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
}

/// `:status: 200` in the static table of HPACK.
pub(crate) const STATUS_200: u8 = 0x88;

/// The headers of an answer, or as many of them as there are here, packed: `:status: 200` and these.
pub(crate) fn ok(stream: u32, flags: u8, packed: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, stream, &[[STATUS_200].as_slice(), packed].concat())
}

pub(crate) fn reset(stream: u32, reason: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &reason.to_be_bytes())
}

pub(crate) fn go_away(last_stream: u32, reason: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last_stream.to_be_bytes(), reason.to_be_bytes()].concat())
}

/// The bytes of a frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
